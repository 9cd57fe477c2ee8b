// An email as the database hands it out, whoever carries it.
import { z } from "zod";
import { readPublicAddress } from "../../http/webhook-env.ts";

const addresses = z.array(z.string().min(1));

/** The link's token, and what is said beside it: whose email it is, and where they are. */
const unsubscribePart = z.object({
  token: z.string().regex(/^[0-9a-f]{64}$/),
  name: z.string().nullish(),
  address: z.string().nullish(),
  required: z.boolean().nullish(),
  /** Where the functions were found when it was first claimed: repeated by another process, it says the same. */
  functions: z.string().nullish(),
});

export const emailPayload = z.object({
  to: addresses.min(1),
  subject: z.string(),
  html: z.string().nullish(),
  text: z.string().nullish(),
  from: z.string().min(1).nullish(),
  reply_to: addresses.nullish(),
  cc: addresses.nullish(),
  bcc: addresses.nullish(),
  headers: z.record(z.string(), z.string()).nullish(),
  unsubscribe: unsubscribePart.nullish(),
}).refine((email) => typeof email.html === "string" || typeof email.text === "string", {
  path: ["html"],
  message: "an email needs html or text",
});

export type Email = z.infer<typeof emailPayload>;

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text: string) => text.replace(/[&<>"]/g, (character) => escapes[character]!);

/** Where the template wants its link; where it says nothing, the footer is added. */
const PLACE = /\{unsubscribe_url\}/g;

function htmlWithLink(html: string, url: string, said: string): string {
  if (html.search(PLACE) >= 0) return html.replace(PLACE, escaped(url));
  const footer = `<p style="font-size:12px;color:#666">${escaped(said)}<br>` +
    `<a href="${escaped(url)}">Unsubscribe</a></p>`;
  const end = html.search(/<\/body\s*>/i);
  return end < 0 ? html + footer : html.slice(0, end) + footer + html.slice(end);
}

function textWithLink(text: string, url: string, said: string): string {
  return text.search(PLACE) >= 0
    ? text.replace(PLACE, url)
    : `${text}\n\n-- \n${said}\nUnsubscribe: ${url}\n`;
}

/** Where the outside finds the functions; undefined: nowhere, and then no link can be made. */
export type FunctionsAddress = () => string | undefined;

export const functionsAddress: FunctionsAddress = () => readPublicAddress().base;

/** A way out, in the headers that mail programs know (RFC 8058) and in what is read. Last, so that no step sets it. */
export function withUnsubscribe(email: Email, functions: FunctionsAddress): Email {
  const { unsubscribe, ...rest } = email;
  if (!unsubscribe) return rest;
  let base = unsubscribe.functions ?? undefined;
  try {
    base ??= functions();
  } catch (error) {
    if (unsubscribe.required) throw error;
  }
  if (base === undefined) return rest;
  const url = `${base}/unsubscribe?token=${unsubscribe.token}`;
  const said = [unsubscribe.name, unsubscribe.address].filter(Boolean).join(", ");
  const others = Object.entries(email.headers ?? {}).filter(([name]) =>
    !/^list-unsubscribe(-post)?$/i.test(name.trim())
  );
  return {
    ...rest,
    ...(typeof email.html === "string" ? { html: htmlWithLink(email.html, url, said) } : {}),
    ...(typeof email.text === "string" ? { text: textWithLink(email.text, url, said) } : {}),
    headers: {
      ...Object.fromEntries(others),
      "List-Unsubscribe": `<${url}>`,
      "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    },
  };
}

/** Of `Maria Lopez <Maria@example.com>`, maria@example.com. */
export function addressOf(mailbox: string): string {
  return (/<([^<>]+)>\s*$/.exec(mailbox)?.[1] ?? mailbox).trim().toLowerCase();
}

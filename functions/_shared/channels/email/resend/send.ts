import process from "node:process";
import { Resend } from "resend";
import { z } from "zod";
import { ConfigurationError, TimeoutError } from "../../../runtime/errors.ts";
import {
  ambiguous,
  classifyException,
  classifyResend,
  type Outcome,
  parseRetryAfter,
  stepError,
} from "../../../engine/outcome.ts";
import type { ClaimedStep } from "../../../engine/queue.ts";
import { readPublicAddress } from "../../../http/webhook-env.ts";
import { noSecrets, type Secrets } from "../../../runtime/secrets.ts";
import {
  credentialsOf,
  parsePayload,
  type Sender,
  type SentMessage,
  SKEW_MS,
} from "../../sender.ts";
import { readResend, type ResendSettings } from "./settings.ts";

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

const emailPayload = z.object({
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

type Email = z.infer<typeof emailPayload>;

function fromOf(email: Email, settings: ResendSettings): string {
  const from = email.from ?? settings.from;
  if (from) return from;
  throw new ConfigurationError(
    "RESEND_FROM",
    'set it to a sender on a verified domain, "Acme Roofing <office@example.com>"',
  );
}

function bodyOf(email: Email): { html: string; text?: string } | { text: string } {
  const { html, text } = email;
  if (typeof html !== "string") return { text: text ?? "" };
  return typeof text === "string" ? { html, text } : { html };
}

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

/**
 * A way out, in the headers that mail programs know (RFC 8058) and in what is read. Last, so that no step sets it.
 * `functions`: where the outside finds them; undefined: nowhere, and then no link can be made.
 */
export function withUnsubscribe(email: Email, functions: () => string | undefined): Email {
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

function requestOf(email: Email, settings: ResendSettings) {
  return {
    from: fromOf(email, settings),
    to: email.to,
    subject: email.subject,
    ...bodyOf(email),
    ...(email.reply_to?.length ? { replyTo: email.reply_to } : {}),
    ...(email.cc?.length ? { cc: email.cc } : {}),
    ...(email.bcc?.length ? { bcc: email.bcc } : {}),
    ...(email.headers ? { headers: email.headers } : {}),
  };
}

function addressOf(mailbox: string): string {
  return (/<([^<>]+)>\s*$/.exec(mailbox)?.[1] ?? mailbox).trim().toLowerCase();
}

function sameAddresses(left: readonly string[], right: readonly string[]): boolean {
  const sorted = (list: readonly string[]) => JSON.stringify(list.map(addressOf).sort());
  return sorted(left) === sorted(right);
}

const listed = z.object({
  id: z.string(),
  to: z.array(z.string()),
  from: z.string(),
  subject: z.string().nullish(),
  created_at: z.string().transform((text) => Date.parse(normalIso(text))),
});
type Listed = z.infer<typeof listed>;

/** Resend writes `2026-11-02 09:30:12.123456+00`. */
function normalIso(text: string): string {
  return text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00");
}

function matches(sent: Listed, email: Email, from: string, notBefore: number): boolean {
  return !(sent.created_at < notBefore) && sameAddresses(sent.to, email.to) &&
    addressOf(sent.from) === addressOf(from) && (sent.subject ?? "") === email.subject;
}

const PAGE_SIZE = 100;
const MAX_PAGES = 20;

async function find(
  client: Resend,
  email: Email,
  from: string,
  since: Date,
  known: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<SentMessage | null> {
  const notBefore = since.getTime() - SKEW_MS;
  let after: string | undefined;
  for (let number = 1; number <= MAX_PAGES; number++) {
    const cursor = after === undefined ? {} : { after };
    const { data, error } = await client.emails.list({ limit: PAGE_SIZE, ...cursor }, { signal });
    if (error) throw new Error(`the list of emails answered ${error.statusCode ?? "nothing"}`);
    const page = z.array(listed).parse(data.data);
    const hit = page.find((sent) => !known.has(sent.id) && matches(sent, email, from, notBefore));
    if (hit) return { provider_id: hit.id };
    after = page.at(-1)?.id;
    const older = page.some((sent) => sent.created_at < notBefore);
    if (!data.has_more || older || after === undefined) return null;
  }
  throw new Error("more emails since the attempt than can be searched");
}

/** Resend forgets an Idempotency-Key after 24 hours; within them the key itself is the answer. */
const KEY_LIFETIME_MS = 23 * 3_600_000;

export interface ResendOptions {
  /** Of the environment, or with the key given. */
  settings?: (credentials?: string) => ResendSettings;
  secrets?: Secrets;
  timeoutMs?: number;
  now?: () => number;
  /** Where the outside finds the functions. */
  functions?: () => string | undefined;
}

export function createSender(options: ResendOptions = {}): Sender {
  const { secrets = noSecrets, timeoutMs = 10_000, now = Date.now } = options;
  const functions = options.functions ?? (() => readPublicAddress().base);
  const settings = options.settings ?? ((key?: string) => readResend(process.env, key));
  const settingsOf = async (step: ClaimedStep) =>
    settings(await credentialsOf(step, "resend", secrets));

  async function send(step: ClaimedStep, signal: AbortSignal): Promise<Outcome> {
    const email = withUnsubscribe(parsePayload(emailPayload, step), functions);
    const current = await settingsOf(step);
    const client = new Resend(current.apiKey, { baseUrl: current.baseUrl });
    const { data, error, headers } = await client.emails.send(requestOf(email, current), {
      idempotencyKey: step.idempotency_key,
      signal,
    });
    if (!error) {
      return data?.id
        ? { outcome: "succeeded", result: { provider_id: data.id, http_status: 200 } }
        : ambiguous(stepError("resend_no_id", "Resend's answer names no email", 200));
    }
    if (typeof error.statusCode !== "number") {
      const cause = signal.aborted ? signal.reason : new Error(error.message);
      return classifyException("resend", cause instanceof TimeoutError ? cause : error);
    }
    const seconds = parseRetryAfter(headers?.["retry-after"]);
    return classifyResend({
      status: error.statusCode,
      code: error.name,
      message: error.message,
      ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }),
    });
  }

  return {
    timeoutMs,
    send,
    reconciliation: {
      isNeeded: (since) => now() - since.getTime() > KEY_LIFETIME_MS,
      async findSent(step, since, knownIds, signal) {
        const email = parsePayload(emailPayload, step);
        const current = await settingsOf(step);
        const client = new Resend(current.apiKey, { baseUrl: current.baseUrl });
        return await find(client, email, fromOf(email, current), since, new Set(knownIds), signal);
      },
    },
  };
}

// What every provider of email says, in the words that the database knows. A provider's folder beside this file
// verifies a call, reads it, and puts it into these.
import { z } from "zod";
import { cutText } from "../../http/inbound.ts";
import { RequestError } from "../../runtime/errors.ts";
import { parsePast } from "../../runtime/moment.ts";
import { textOfHtml } from "./html.ts";
import type { ProviderCall } from "../receiver.ts";

/** What of a body is kept. */
const MAX_TEXT = 100_000;

/** Not refused for its length: an email that is cut is better than one that is lost. */
const cut = (length: number) => z.string().transform((text) => cutText(text, length));
/** A stranger chooses how many it is to, and each is looked for among the addresses of offices. */
const mailboxes = z.array(z.string()).transform((all) =>
  all.slice(0, 1_000).map((one) => cutText(one, 1_000))
);

/**
 * Suppressed: the provider sends nothing to the address, which is on its own list. Unsubscribed: whoever got it wants no
 * more of its kind, and said so to the provider. Received: one that came in.
 */
export const EVENTS = [
  "delivered",
  "delivery_delayed",
  "bounced",
  "complained",
  "failed",
  "suppressed",
  "unsubscribed",
  "opened",
  "clicked",
  "received",
] as const;

const event = z.object({
  /** Of the email, as the provider answered when it took it, or of one that came in. */
  email_id: z.string().regex(/^[\x21-\x7e]{1,200}$/),
  type: z.enum(EVENTS),
  occurred_at: z.string(),
  /** Whom it is about, or whom an email that came in is to. */
  to: mailboxes.optional(),
  /** Of a bounce: whether the address is dead. */
  permanent: z.boolean().optional(),
  error_code: cut(200).optional(),
  detail: z.record(z.string(), cut(500)).optional(),
  link: cut(2_000).optional(),
  user_agent: cut(500).optional(),
  /** Of an email that came in. */
  from: cut(500).optional(),
  cc: mailboxes.optional(),
  subject: cut(1_000).optional(),
  text: cut(MAX_TEXT).optional(),
  html: cut(MAX_TEXT).optional(),
  headers: z.record(z.string(), cut(200)).optional(),
});
export type EmailEvent = z.infer<typeof event>;

/** Null: it has not the shape of one, and is not kept. What is undefined or null is left out. */
export function eventOf(fields: { [key in keyof EmailEvent]?: unknown }): EmailEvent | null {
  const given = Object.entries(fields).filter(([, value]) => value !== undefined && value !== null);
  return event.safeParse(Object.fromEntries(given)).data ?? null;
}

/** An event that is ours to keep and says an impossible time is refused, so that the provider shows it as failed. */
export function timeOf(field: string, value: unknown): string {
  const at = parsePast(value);
  if (at) return at.toISOString();
  throw new RequestError(
    400,
    "invalid_date",
    `${field}: is no date at which this can have happened`,
  );
}

/** Of these members those that are texts. */
export const words = (fields: Record<string, unknown>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(fields).filter((entry): entry is [string, string] =>
      typeof entry[1] === "string"
    ),
  );

/** What the headers say of machines; the rest is nobody's business. */
const TELLING = [
  "auto-submitted",
  "precedence",
  "x-autoreply",
  "x-autorespond",
  "return-path",
];

export interface Content {
  text?: string | null | undefined;
  html?: string | null | undefined;
  /** In their order. */
  headers?: readonly (readonly [name: string, value: string])[] | null | undefined;
}

/**
 * What an email that came in says, as it is kept: words in any case, and of its headers the telling ones. `verdicts`: in
 * which the provider says who has written it, in lower case. Any other came with the email, which speaks for itself
 * there, as does the second by one name.
 */
export function contentOf({ text, html, headers }: Content, verdicts: readonly string[] = []) {
  const telling = new Map<string, readonly [string, string]>();
  for (const header of headers ?? []) {
    const name = header[0].toLowerCase();
    if ([...TELLING, ...verdicts].includes(name) && !telling.has(name)) telling.set(name, header);
  }
  return {
    text: text?.trim() ? text : html ? textOfHtml(html.slice(0, 4 * MAX_TEXT)) : undefined,
    html: html ?? undefined,
    headers: Object.fromEntries(telling.values()),
  };
}

export interface Incoming extends ProviderCall {
  /** As it came, and no more than `maxBytes` of it. Not read before it is needed, for an email may be long. */
  body: (maxBytes: number) => Promise<string>;
}

export interface Told {
  /** What one call tells, each under an id of its own that a repetition has too. None: nothing that is kept. */
  events: readonly { id: string; event: EmailEvent }[];
}

export interface Receiver {
  /** Verifies, then reads. A RequestError with status 401 or 403: nobody known has signed it. */
  read(incoming: Incoming): Promise<Told>;
}

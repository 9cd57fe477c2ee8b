import { Resend } from "resend";
import { z } from "zod";
import { RequestError } from "../../../runtime/errors.ts";
import { parsePast } from "../../../runtime/moment.ts";
import { callFunction, type Database, storableText } from "../../../http/inbound.ts";
import type { ResendSettings } from "./settings.ts";

const clean = z.string().transform(storableText);
const strings = z.union([clean.transform((one) => [one]), z.array(clean)]);
const engagement = z.looseObject({
  link: clean.optional(),
  userAgent: clean.optional(),
  timestamp: z.unknown().optional(),
});

/** Of an event of Resend, what is kept. `created_at` of the event says when it happened. */
const resendEvent = z.object({
  type: z.string().regex(/^email\./).transform((type) => type.slice("email.".length)),
  created_at: z.unknown().optional(),
  data: z.looseObject({
    email_id: z.string().min(1).max(200),
    to: strings.optional(),
    bounce: z.looseObject({
      type: clean.optional(),
      subType: clean.optional(),
      message: clean.optional(),
    }).optional(),
    from: clean.optional(),
    cc: strings.nullish(),
    subject: clean.nullish(),
    text: clean.nullish(),
    html: clean.nullish(),
    failed: z.looseObject({ reason: clean.optional() }).optional(),
    open: engagement.optional(),
    click: engagement.optional(),
  }),
});

const KEPT = new Set([
  "delivered",
  "delivery_delayed",
  "bounced",
  "complained",
  "failed",
  "suppressed",
  "opened",
  "clicked",
  "received",
]);

export interface EmailEvent {
  email_id: string;
  type: string;
  occurred_at: string;
  to?: string[];
  permanent?: boolean;
  error_code?: string;
  link?: string;
  user_agent?: string;
  detail?: Record<string, string>;
  /** Of an email that came in. */
  from?: string;
  cc?: string[];
  subject?: string;
  text?: string;
  html?: string;
  headers?: Record<string, string>;
}

const MAX_TEXT = 100_000;

const cut = (text: string | null | undefined, length: number) => text?.slice(0, length);

function withoutUndefined<T>(fields: Record<string, T | undefined>): Record<string, T> {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) => value === undefined ? [] : [[name, value]]),
  );
}

/** An event that is ours to keep and says an impossible time is refused, so that Resend shows it as failed. */
function timeOf(field: string, value: unknown): string {
  const at = parsePast(value);
  if (at) return at.toISOString();
  throw new RequestError(
    400,
    "invalid_date",
    `${field}: is no date at which this can have happened`,
  );
}

/** What a verified body reports; null: nothing that is kept. */
export function emailEventOf(json: unknown): EmailEvent | null {
  const parsed = resendEvent.safeParse(json);
  if (!parsed.success || !KEPT.has(parsed.data.type)) return null;
  const { type, created_at, data } = parsed.data;
  const { bounce, failed } = data;
  const seen = type === "clicked" ? data.click : type === "opened" ? data.open : undefined;
  const created = timeOf("created_at", created_at);
  const event: EmailEvent = {
    email_id: data.email_id,
    type,
    occurred_at: seen?.timestamp == null || seen.timestamp === ""
      ? created
      : timeOf(`data.${type === "clicked" ? "click" : "open"}.timestamp`, seen.timestamp),
    ...(data.to ? { to: data.to } : {}),
    ...(seen?.link === undefined ? {} : { link: seen.link.slice(0, 2_000) }),
    ...(seen?.userAgent === undefined ? {} : { user_agent: seen.userAgent.slice(0, 500) }),
  };
  if (type === "bounced") {
    // Without a type it is what Resend calls a bounce: a permanent refusal.
    event.permanent = /^(permanent|hard)/i.test(bounce?.type ?? "Permanent");
    event.error_code = bounce?.subType ?? bounce?.type ?? "bounced";
    event.detail = withoutUndefined({
      type: bounce?.type,
      sub_type: bounce?.subType,
      message: bounce?.message?.slice(0, 500),
    });
  } else if (type === "failed") {
    event.error_code = failed?.reason?.slice(0, 200) ?? "failed";
  } else if (type === "received") {
    return {
      ...event,
      ...withoutUndefined({
        from: cut(data.from, 500),
        subject: cut(data.subject, 1_000),
        text: cut(data.text, MAX_TEXT),
        html: cut(data.html, MAX_TEXT),
      }),
      ...(data.cc ? { cc: data.cc } : {}),
    };
  }
  return event;
}

/** Resend's event of an email that came in has no body and no headers: they are asked for by its id. */
export type FetchContent = (emailId: string) => Promise<Content | null>;

const content = z.object({
  text: clean.nullish(),
  html: clean.nullish(),
  headers: z.record(z.string(), z.coerce.string().transform(storableText)).nullish().catch(null),
});
export type Content = z.infer<typeof content>;

const FETCH_TIMEOUT_MS = 10_000;

/** Null: Resend has no such email, or does not show it with this key. What may pass is thrown, as a 503. */
export function createContentFetcher(
  { apiKey, baseUrl }: Pick<ResendSettings, "apiKey" | "baseUrl">,
): FetchContent {
  const client = new Resend(apiKey, { baseUrl });
  return async (emailId) => {
    const { data, error } = await client.emails.receiving.get(
      emailId,
      { html_format: "cid" },
      { signal: AbortSignal.timeout(FETCH_TIMEOUT_MS) },
    );
    if (!error) return content.parse(data);
    const status = error.statusCode ?? 0;
    if (status >= 400 && status < 500 && ![408, 409, 425, 429].includes(status)) return null;
    throw new RequestError(503, "content_unavailable", "the email cannot be fetched just now");
  };
}

/** What the headers say of machines; the rest is nobody's business. */
const TELLING = new Set([
  "auto-submitted",
  "precedence",
  "x-autoreply",
  "x-autorespond",
  "return-path",
]);

/** Of an email in HTML alone, its words. */
function textOfHtml(html: string): string {
  return html.slice(0, 4 * MAX_TEXT)
    .replace(/<(style|script|head|title)\b[^>]*>[\s\S]*?<\/\1\s*>|<!--[\s\S]*?-->/gi, "")
    .replace(/<blockquote\b[\s\S]*$/i, "")
    .replace(/\s+/g, " ")
    .replace(/<(br|\/p|\/div|\/tr|\/li|\/h[1-6])\b[^>]*>/gi, "\n")
    .replace(/<[^>]*>/g, "")
    .replace(/&nbsp;|&#160;/gi, " ")
    .replace(/&lt;/gi, "<").replace(/&gt;/gi, ">").replace(/&quot;/gi, '"').replace(/&#39;/g, "'")
    .replace(/&amp;/gi, "&")
    .replace(/ *\n */g, "\n")
    .trim();
}

export function withContent(event: EmailEvent, { text, html, headers }: Content): EmailEvent {
  const words = text?.trim() ? text : html ? textOfHtml(html) : undefined;
  const telling = Object.entries(headers ?? {}).filter(([name]) => TELLING.has(name.toLowerCase()));
  return {
    ...event,
    ...withoutUndefined({ text: cut(words, MAX_TEXT), html: cut(html, MAX_TEXT) }),
    headers: Object.fromEntries(telling.map(([name, value]) => [name, value.slice(0, 200)])),
  };
}

/** Records a verified event once for its id; answers what the database made of it. */
export type RecordEmailEvent = (eventId: string, event: EmailEvent) => Promise<string>;

export function createEmailRecorder(sql: Database): RecordEmailEvent {
  return (eventId, event) =>
    callFunction(
      "record_email_event",
      z.string(),
      sql`select automation.record_email_event(
            ${eventId}::text, ${sql.json({ ...event, provider: "resend" })}::jsonb) as result`,
    );
}

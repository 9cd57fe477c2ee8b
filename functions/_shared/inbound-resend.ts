import { z } from "zod";
import { RequestError } from "./errors.ts";
import { parsePast } from "./moment.ts";
import { callFunction, type Database, storableText } from "./inbound.ts";

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

/** Records a verified event once for its id; answers what the database made of it. */
export type RecordEmailEvent = (eventId: string, event: EmailEvent) => Promise<string>;

export function createEmailRecorder(sql: Database): RecordEmailEvent {
  return (eventId, event) =>
    callFunction(
      "record_email_event",
      z.string(),
      sql`select automation.record_email_event(
            ${eventId}::text, ${sql.json({ ...event })}::jsonb) as result`,
    );
}

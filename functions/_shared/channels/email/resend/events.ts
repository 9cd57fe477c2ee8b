// What Resend reports, read: resend.com/docs/dashboard/webhooks/event-types.
import { z } from "zod";
import { type EmailEvent, eventOf, EVENTS, timeOf, words } from "../receiver.ts";

const strings = z.union([z.string().transform((one) => [one]), z.array(z.string())]);
const engagement = z.looseObject({
  link: z.string().optional(),
  userAgent: z.string().optional(),
  timestamp: z.unknown().optional(),
});

/** `created_at` of the event says when it happened. */
const report = z.object({
  type: z.string().regex(/^email\./).transform((type) => type.slice("email.".length)),
  created_at: z.unknown().optional(),
  data: z.looseObject({
    email_id: z.string(),
    to: strings.optional(),
    bounce: z.looseObject({
      type: z.string().optional(),
      subType: z.string().optional(),
      message: z.string().optional(),
    }).optional(),
    from: z.string().optional(),
    cc: strings.nullish(),
    subject: z.string().nullish(),
    text: z.string().nullish(),
    html: z.string().nullish(),
    failed: z.looseObject({ reason: z.string().optional() }).optional(),
    open: engagement.optional(),
    click: engagement.optional(),
  }),
});
type Data = z.infer<typeof report>["data"];

/** Resend's words for them are the database's. */
const KEPT: ReadonlySet<string> = new Set(EVENTS);

function bounced({ bounce }: Data) {
  return {
    // Without a type it is what Resend calls a bounce: a permanent refusal.
    permanent: /^(permanent|hard)/i.test(bounce?.type ?? "Permanent"),
    error_code: bounce?.subType ?? bounce?.type ?? "bounced",
    detail: words({ type: bounce?.type, sub_type: bounce?.subType, message: bounce?.message }),
  };
}

function seen(name: "open" | "click", data: Data) {
  const { timestamp, link, userAgent } = data[name] ?? {};
  return {
    link,
    user_agent: userAgent,
    ...(timestamp == null || timestamp === ""
      ? {}
      : { occurred_at: timeOf(`data.${name}.timestamp`, timestamp) }),
  };
}

/** What each type says beside whom it is about and when. */
const OF_TYPE: Readonly<Record<string, (data: Data) => Parameters<typeof eventOf>[0]>> = {
  bounced,
  failed: ({ failed }) => ({ error_code: failed?.reason ?? "failed" }),
  opened: (data) => seen("open", data),
  clicked: (data) => seen("click", data),
  received: ({ from, cc, subject, text, html }) => ({ from, cc, subject, text, html }),
};

/** What a verified body reports; null: nothing that is kept. */
export function resendEventOf(json: unknown): EmailEvent | null {
  const parsed = report.safeParse(json);
  if (!parsed.success || !KEPT.has(parsed.data.type)) return null;
  const { type, created_at, data } = parsed.data;
  return eventOf({
    email_id: data.email_id,
    type,
    occurred_at: timeOf("created_at", created_at),
    to: data.to,
    ...OF_TYPE[type]?.(data),
  });
}

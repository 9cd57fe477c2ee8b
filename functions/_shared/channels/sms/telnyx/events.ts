// What Telnyx reports, read: developers.telnyx.com/docs/messaging/messages/receiving-webhooks.
import { z } from "zod";
import { eventOf, type SmsEvent, text } from "../receiver.ts";
import { classOf } from "./codes.ts";

const end = z.looseObject({ phone_number: text, status: z.string().nullish().catch(null) });

const report = z.looseObject({
  data: z.looseObject({
    event_type: z.string(),
    payload: z.looseObject({
      id: z.string(),
      from: end.nullish().catch(null),
      to: z.array(end).min(1),
      text: text.nullish(),
      media: z.array(z.looseObject({ url: text })).nullish().catch(null),
      autoresponse_type: z.string().nullish().catch(null),
      errors: z.array(z.looseObject({ code: text })).nullish().catch(null),
    }),
  }),
});
type Payload = z.infer<typeof report>["data"]["payload"];

/** In the database's words; what is in neither's is passed on, and changes nothing there. */
const STATUSES: Readonly<Record<string, string>> = {
  sending_failed: "failed",
  delivery_failed: "undelivered",
  expired: "undelivered",
  cancelled: "canceled",
  // Handed over, and nobody says what became of it.
  delivery_unconfirmed: "sent",
};

/** What Telnyx took the text for, and answered by itself (Advanced Opt-In/Out). */
const KEYWORDS = new Set(["STOP", "START", "HELP"]);

function received({ id, from, to, text, media, autoresponse_type }: Payload): SmsEvent | null {
  // Of a text to several, ours is the one that it came to.
  const ours = to.find(({ status }) => status === "webhook_delivered") ?? to[0]!;
  const keyword = autoresponse_type?.toUpperCase() ?? "";
  return eventOf("sms", {
    message_sid: id,
    channel: "sms",
    from: from?.phone_number ?? "",
    to: ours.phone_number,
    body: text ?? "",
    ...(KEYWORDS.has(keyword) ? { opt_out_type: keyword } : {}),
    ...(media?.length ? { media_urls: media.slice(0, 10).map(({ url }) => url) } : {}),
  });
}

function status({ id, to, errors }: Payload): SmsEvent | null {
  const said = to[0]!.status ?? "";
  const codes = errors?.map(({ code }) => code) ?? [];
  // Of several the one that says more.
  const error_code = codes.find((code) => classOf(code)) ?? codes[0];
  return eventOf("message_status", {
    message_sid: id,
    status: STATUSES[said] ?? said,
    ...(error_code === undefined ? {} : { error_code, error_class: classOf(error_code) }),
  });
}

/** What a verified body reports; null: nothing that is kept. */
export function telnyxEventOf(json: unknown): SmsEvent | null {
  const parsed = report.safeParse(json);
  if (!parsed.success) return null;
  const { event_type, payload } = parsed.data.data;
  if (event_type === "message.received") return received(payload);
  return /^message\.(sent|finalized)$/.test(event_type) ? status(payload) : null;
}

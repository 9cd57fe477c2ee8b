// A text as the database hands it out, whoever carries it.
import { z } from "zod";

export const smsPayload = z.object({
  to: z.string().min(1),
  body: z.string(),
  from: z.string().min(1).nullish(),
  messaging_service_sid: z.string().min(1).nullish(),
  media_urls: z.array(z.url()).nullish(),
  /** How long it is of use, or may go out at all: Twilio queues up to ten hours by itself. */
  validity_seconds: z.int().min(1).max(36_000).nullish(),
}).refine((sms) => sms.body !== "" || sms.media_urls?.length, {
  path: ["body"],
  message: "must not be empty without media_urls",
});

export type Sms = z.infer<typeof smsPayload>;

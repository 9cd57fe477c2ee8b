// What every provider of texts says, in the words that the database knows. A provider's folder beside this file
// verifies a call, reads it, and puts it into these.
import { z } from "zod";
import { errorClass } from "../../engine/outcome.ts";
import { cutText, storableText } from "../../http/inbound.ts";
import type { ProviderCall } from "../receiver.ts";

/** Any value as text that Postgres can keep. */
export const text = z.preprocess(
  (value) => storableText(String(Array.isArray(value) ? value[0] : value ?? "")),
  z.string(),
);

/** Not refused for its length: a message that is cut is better than one that is lost. */
export const cut = (length: number) => z.string().transform((value) => cutText(value, length));

const id = z.string().regex(/^[0-9A-Za-z_-]{8,100}$/);

const sms = z.object({
  message_sid: id,
  channel: cut(20),
  from: cut(64),
  to: z.string().min(1).max(64),
  body: cut(10_000),
  opt_out_type: z.string().max(20).optional(),
  media_urls: z.array(cut(2_000)).max(10).optional(),
});
const messageStatus = z.object({
  message_sid: id,
  /** As automation.delivery_rank() knows them; another is answered and changes nothing. */
  status: z.string().max(40),
  error_code: z.string().max(20).optional(),
  error_class: errorClass.optional(),
});
const call = z.object({
  call_sid: id,
  from: z.string().max(64),
  to: z.string().max(64),
  direction: z.string().max(20),
  status: z.string().max(40),
  dial_status: z.string().max(40).optional(),
  duration: z.string().regex(/^\d{1,7}$/).optional(),
});
const schemas = { sms, message_status: messageStatus, call };

export type SmsEvent = {
  [K in keyof typeof schemas]: { kind: K; event: z.infer<(typeof schemas)[K]> };
}[keyof typeof schemas];

/** Null: it has not the shape of one, and is not kept. */
export function eventOf(kind: SmsEvent["kind"], value: unknown): SmsEvent | null {
  const result = schemas[kind].safeParse(value);
  return result.success ? { kind, event: result.data } as SmsEvent : null;
}

/** A text, a call or news of a delivery, as it came. */
export interface Incoming extends ProviderCall {
  isJson: boolean;
  /** What a signature is about. */
  bytes: Uint8Array;
  body: string;
  /** The addresses under which the provider may have known this endpoint. */
  urls: () => readonly string[];
}

export interface Told {
  /** Null: nothing that is kept. */
  event: SmsEvent | null;
  /** Whose own account says so. */
  tenantId?: string;
}

export interface Receiver {
  /** Verifies, then reads. A RequestError with status 403: nobody known has signed it. */
  read(incoming: Incoming): Promise<Told>;
  /** Whether the answer may hold words that are said back to a text. */
  readonly takesReply: boolean;
  answer(outcome: string, reply?: string): Response;
}

import { z } from "zod";
import { parseTwilioAccount } from "../../runtime/env.ts";
import { callFunction, type Database, storableText } from "../../http/inbound.ts";
import type { Log } from "../../runtime/log.ts";
import type { Parameters } from "./webhook.ts";

const text = z.preprocess(
  (value) => storableText(String(Array.isArray(value) ? value[0] : value ?? "")),
  z.string(),
);
const word = (value: unknown) => text.parse(value).trim();
const sid = z.string().regex(/^[A-Z]{2}[0-9A-Za-z]{10,64}$/);

/** Not refused for its length: a message that is cut is better than one that is lost. */
const cut = (length: number) => z.string().transform((value) => value.slice(0, length));

const sms = z.object({
  message_sid: sid,
  channel: cut(20),
  from: cut(64),
  to: z.string().min(1).max(64),
  body: cut(10_000),
  opt_out_type: z.string().max(20).optional(),
  media_urls: z.array(cut(2_000)).max(10).optional(),
});
const messageStatus = z.object({
  message_sid: sid,
  status: z.string().max(40),
  error_code: z.string().max(20).optional(),
});
const call = z.object({
  call_sid: sid,
  from: z.string().max(64),
  to: z.string().max(64),
  direction: z.string().max(20),
  status: z.string().max(40),
  dial_status: z.string().max(40).optional(),
  duration: z.string().regex(/^\d{1,7}$/).optional(),
});

export type TwilioEvent =
  | { kind: "sms"; event: z.infer<typeof sms> }
  | { kind: "message_status"; event: z.infer<typeof messageStatus> }
  | { kind: "call"; event: z.infer<typeof call> };

/** whatsapp:+15125550100 is a number on another channel. */
const channelOf = (address: string) => /^([a-z]{2,20}):/i.exec(address)?.[1]?.toLowerCase();
const withoutChannel = (address: string) => address.replace(/^[a-z]{2,20}:/i, "").trim();

/** Where somebody said they are, instead of words. */
function placeOf(given: (name: string) => string): string {
  if (!given("Latitude")) return "";
  const place = [given("Label"), given("Address")].filter(Boolean).join(", ");
  return `${place} (${given("Latitude")}, ${given("Longitude")})`.trim();
}

/** What a verified request reports; null: nothing that is kept. */
export function twilioEventOf(parameters: Parameters): TwilioEvent | null {
  const given = (name: string) => word(parameters[name]);
  const optional = (name: string) => given(name) || undefined;
  const from = given("From");
  const to = given("To");
  // A leg of <Dial> reports for itself; the call it belongs to says how it ended.
  if (given("CallSid")) {
    if (given("ParentCallSid")) return null;
    return parsed("call", call, {
      call_sid: given("CallSid"),
      from,
      to,
      direction: given("Direction"),
      status: given("CallStatus"),
      dial_status: optional("DialCallStatus"),
      duration: optional("DialCallDuration") ?? optional("CallDuration"),
    });
  }
  const message_sid = given("MessageSid") || given("SmsSid");
  const status = given("MessageStatus") || given("SmsStatus");
  if (!message_sid) return null;
  const media = Array.from({ length: 10 }, (_, index) => given(`MediaUrl${index}`)).filter(Boolean);
  const hasContent = "Body" in parameters || media.length > 0 || "Latitude" in parameters;
  if (/^receiv(ed|ing)$/.test(status) || (!status && hasContent)) {
    return parsed("sms", sms, {
      message_sid,
      channel: channelOf(from) ?? channelOf(to) ?? "sms",
      from: withoutChannel(from),
      to: withoutChannel(to),
      body: text.parse(parameters.Body) || placeOf(given),
      opt_out_type: optional("OptOutType"),
      ...(media.length > 0 ? { media_urls: media } : {}),
    });
  }
  return parsed("message_status", messageStatus, {
    message_sid,
    status,
    error_code: optional("ErrorCode"),
  });
}

function parsed<K extends TwilioEvent["kind"], T>(
  kind: K,
  schema: z.ZodType<T>,
  value: unknown,
): { kind: K; event: T } | null {
  const result = schema.safeParse(value);
  return result.success ? { kind, event: result.data } : null;
}

/** Of our side of an event: the number, and the messaging service that sent from it. */
export interface OurSide {
  address: string;
  service: string;
}

/** Twilio tells of a message that came in and of one that went out in the same words: ours is one or the other. */
export function ourSideOf(parameters: Parameters): OurSide {
  const given = (name: string) => word(parameters[name]);
  const isInbound = given("CallSid")
    ? given("Direction") === "inbound"
    : twilioEventOf(parameters)?.kind === "sms";
  return {
    address: withoutChannel(given(isInbound ? "To" : "From")).slice(0, 64),
    service: given("MessagingServiceSid").slice(0, 64),
  };
}

/** A tenant's own account: what it signs is believed of this tenant alone. */
export interface OwnAccount {
  tenantId: string;
  authToken: string;
}

/** Undefined: the number is nobody's, or is texted from the environment's account. */
export type FindAccount = (side: OurSide) => Promise<OwnAccount | undefined>;

const accountRow = z.object({ tenant_id: z.string(), account: z.string().nullable() });

export function createAccountFinder(sql: Database, log: Log): FindAccount {
  return async ({ address, service }) => {
    const found = await callFunction(
      "twilio_account",
      accountRow.nullable(),
      sql`select case when a.tenant_id is not null then to_jsonb(a) end as result
          from automation.twilio_account(${address}::text, ${service}::text) as a`,
    );
    if (found === null) return undefined;
    try {
      const { authToken } = parseTwilioAccount(found.account ?? "");
      return { tenantId: found.tenant_id, authToken };
    } catch {
      // Texts are being lost: whoever looks after the installation is told whose, and nobody what.
      log("error", "twilio_account_unusable", { tenant_id: found.tenant_id });
      return undefined;
    }
  };
}

/** Records a verified event; answers what the database made of it. tenantId: whose own account signed it. */
export type RecordTwilioEvent = (event: TwilioEvent, tenantId?: string) => Promise<string>;

/** What is said back at once, in the answer to Twilio's call; undefined: nothing. */
export type ReplyToText = (event: TwilioEvent & { kind: "sms" }) => Promise<string | undefined>;

export function createReplier(sql: Database): ReplyToText {
  return async ({ event }) => {
    const json = sql.json({ message_sid: event.message_sid, to: event.to });
    const reply = await callFunction(
      "reply_to_sms",
      z.string().nullable(),
      sql`select automation.reply_to_sms(${json}::jsonb) as result`,
    );
    return reply ?? undefined;
  };
}

export function createTwilioRecorder(sql: Database): RecordTwilioEvent {
  return ({ kind, event }, tenantId) => {
    const json = sql.json({ ...event, ...(tenantId === undefined ? {} : { tenant_id: tenantId }) });
    switch (kind) {
      case "sms":
        return callFunction(
          "receive_sms",
          z.string(),
          sql`select automation.receive_sms(${json}::jsonb) as result`,
        );
      case "message_status":
        return callFunction(
          "record_message_status",
          z.string(),
          sql`select automation.record_message_status(${json}::jsonb) as result`,
        );
      case "call":
        return callFunction(
          "record_call",
          z.string(),
          sql`select automation.record_call(${json}::jsonb) as result`,
        );
    }
  };
}

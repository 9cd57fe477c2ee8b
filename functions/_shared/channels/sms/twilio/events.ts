// What Twilio reports, read: www.twilio.com/docs/messaging/guides/webhook-request.
import type { OurSide } from "../../receiver.ts";
import { eventOf, type SmsEvent, text } from "../receiver.ts";
import { classOf } from "./codes.ts";
import type { Parameters } from "./signature.ts";

const word = (value: unknown) => text.parse(value).trim();
const isSid = (value: string) => /^[A-Z]{2}[0-9A-Za-z]{10,64}$/.test(value);

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
export function twilioEventOf(parameters: Parameters): SmsEvent | null {
  const given = (name: string) => word(parameters[name]);
  const optional = (name: string) => given(name) || undefined;
  const from = given("From");
  const to = given("To");
  // A leg of <Dial> reports for itself; the call it belongs to says how it ended.
  if (given("CallSid")) {
    if (given("ParentCallSid") || !isSid(given("CallSid"))) return null;
    return eventOf("call", {
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
  if (!isSid(message_sid)) return null;
  const media = Array.from({ length: 10 }, (_, index) => given(`MediaUrl${index}`)).filter(Boolean);
  const hasContent = "Body" in parameters || media.length > 0 || "Latitude" in parameters;
  if (/^receiv(ed|ing)$/.test(status) || (!status && hasContent)) {
    return eventOf("sms", {
      message_sid,
      channel: channelOf(from) ?? channelOf(to) ?? "sms",
      from: withoutChannel(from),
      to: withoutChannel(to),
      body: text.parse(parameters.Body) || placeOf(given),
      opt_out_type: optional("OptOutType"),
      ...(media.length > 0 ? { media_urls: media } : {}),
    });
  }
  const error_code = optional("ErrorCode");
  return eventOf("message_status", {
    message_sid,
    status,
    error_code,
    error_class: error_code === undefined ? undefined : classOf(error_code),
  });
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

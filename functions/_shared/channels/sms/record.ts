// What was told, into the database: one function an event.
import { z } from "zod";
import { callFunction, type Database } from "../../http/inbound.ts";
import type { SmsEvent } from "./receiver.ts";

/** Records a verified event; answers what the database made of it. tenantId: whose own account signed it. */
export type RecordSmsEvent = (
  provider: string,
  event: SmsEvent,
  tenantId?: string,
) => Promise<string>;

/** What is said back at once, in the answer to the provider's call; undefined: nothing. */
export type ReplyToText = (
  provider: string,
  event: SmsEvent & { kind: "sms" },
) => Promise<string | undefined>;

export function createReplier(sql: Database): ReplyToText {
  return async (provider, { event }) => {
    const json = sql.json({ provider, message_sid: event.message_sid, to: event.to });
    const reply = await callFunction(
      "reply_to_sms",
      z.string().nullable(),
      sql`select automation.reply_to_sms(${json}::jsonb) as result`,
    );
    return reply ?? undefined;
  };
}

export function createSmsRecorder(sql: Database): RecordSmsEvent {
  return (provider, { kind, event }, tenantId) => {
    const json = sql.json({
      ...event,
      provider,
      ...(tenantId === undefined ? {} : { tenant_id: tenantId }),
    });
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

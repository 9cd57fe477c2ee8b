// What was told, into the database: one function an event.
import { z } from "zod";
import { callFunction, type Database } from "../../http/inbound.ts";
import { codeOf } from "../../runtime/errors.ts";
import type { Log } from "../../runtime/log.ts";
import type { FindAccounts, OurSide, SmsEvent } from "./receiver.ts";

const accountRows = z.array(z.object({ owner: z.string(), account: z.string().nullable() }));

const UNDEFINED_FUNCTION = "42883";

async function accountsOf(sql: Database, provider: string, side: OurSide) {
  const { tenantId = null, address = null, service = null } = side;
  try {
    return await callFunction(
      "accounts_of_senders",
      accountRows,
      sql`select coalesce(jsonb_agg(a), '[]') as result
          from automation.accounts_of_senders(
            ${provider}::text, ${tenantId}::uuid, ${address}::text, ${service}::text) as a`,
    );
  } catch (error) {
    // A database of API 1 knows one provider, and asks for its accounts by number.
    if (codeOf(error) !== UNDEFINED_FUNCTION || provider !== "twilio") throw error;
    return await callFunction(
      "twilio_account",
      accountRows,
      sql`select coalesce(jsonb_agg(jsonb_build_object('owner', a.tenant_id, 'account', a.account))
            filter (where a.tenant_id is not null), '[]') as result
          from automation.twilio_account(${address}::text, ${service}::text) as a`,
    );
  }
}

/** The accounts of tenants with one provider. */
export function createAccountFinder(sql: Database, provider: string, log: Log): FindAccounts {
  return async (side, parse) => {
    const found = await accountsOf(sql, provider, side);
    return found.flatMap(({ owner, account }) => {
      try {
        return [{ tenantId: owner, account: parse(account ?? "") }];
      } catch {
        // Texts are being lost: whoever looks after the installation is told whose, and nobody what.
        log("error", `${provider}_account_unusable`, { tenant_id: owner });
        return [];
      }
    });
  };
}

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

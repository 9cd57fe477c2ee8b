import { z } from "zod";
import { callFunction, type Database } from "../http/inbound.ts";
import { codeOf } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import type { FindAccounts, OurSide } from "./receiver.ts";

const accountRows = z.array(z.object({ owner: z.string(), account: z.string().nullable() }));

const UNDEFINED_FUNCTION = "42883";

async function accountsOf(
  sql: Database,
  channel: "sms" | "email",
  provider: string,
  side: OurSide,
) {
  const { tenantId = null, address = null, service = null } = side;
  try {
    return await callFunction(
      "accounts_of_senders",
      accountRows,
      sql`select coalesce(jsonb_agg(a), '[]') as result
          from automation.accounts_of_senders(
            ${channel}::text, ${provider}::text, ${tenantId}::uuid, ${address}::text, ${service}::text) as a`,
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

/** The accounts of tenants with one provider of a channel. */
export function createAccountFinder(
  sql: Database,
  channel: "sms" | "email",
  provider: string,
  log: Log,
): FindAccounts {
  return async (side, parse) => {
    const found = await accountsOf(sql, channel, provider, side);
    return found.flatMap(({ owner, account }) => {
      try {
        return [{ tenantId: owner, account: parse(account ?? "") }];
      } catch {
        // News is being lost: whoever looks after the installation is told whose, and nobody what.
        log("error", `${provider}_account_unusable`, { tenant_id: owner });
        return [];
      }
    });
  };
}

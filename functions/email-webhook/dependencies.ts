import { createReceivers } from "../_shared/channels/email/receivers.ts";
import { createAccountFinder } from "../_shared/channels/accounts.ts";
import { createEmailRecorder, type RecordEmailEvent } from "../_shared/channels/email/record.ts";
import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import type { Dependencies } from "./handler.ts";

/** As a deployed function has them. */
export function dependencies(name: string, provider?: string): Dependencies {
  let database: ReturnType<typeof connect> | undefined;
  let recorder: RecordEmailEvent | undefined;
  const sql = () => database ??= connect(readDatabaseUrl());
  return {
    name,
    ...(provider === undefined ? {} : { provider }),
    receivers: createReceivers(),
    findAccounts: (provider) => createAccountFinder(sql(), "email", provider, logToConsole),
    record: () => recorder ??= createEmailRecorder(sql()),
    log: logToConsole,
  };
}

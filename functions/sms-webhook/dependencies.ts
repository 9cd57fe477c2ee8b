import { createReceivers } from "../_shared/channels/sms/receivers.ts";
import { createAccountFinder } from "../_shared/channels/accounts.ts";
import {
  createReplier,
  createSmsRecorder,
  type RecordSmsEvent,
  type ReplyToText,
} from "../_shared/channels/sms/record.ts";
import { readPublicAddress } from "../_shared/http/webhook-env.ts";
import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import type { Dependencies } from "./handler.ts";

/** As a deployed function has them. */
export function dependencies(name: string, provider?: string): Dependencies {
  let database: ReturnType<typeof connect> | undefined;
  let recorder: RecordSmsEvent | undefined;
  let replier: ReplyToText | undefined;
  const sql = () => database ??= connect(readDatabaseUrl());
  return {
    name,
    ...(provider === undefined ? {} : { provider }),
    receivers: createReceivers(),
    address: readPublicAddress,
    findAccounts: (provider) => createAccountFinder(sql(), "sms", provider, logToConsole),
    record: () => recorder ??= createSmsRecorder(sql()),
    reply: () => replier ??= createReplier(sql()),
    log: logToConsole,
  };
}

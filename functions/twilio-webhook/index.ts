import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import {
  createAccountFinder,
  createReplier,
  createTwilioRecorder,
  type FindAccount,
  type RecordTwilioEvent,
  type ReplyToText,
} from "../_shared/channels/sms/inbound.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { readPublicAddress, readTwilioToken } from "../_shared/http/webhook-env.ts";
import { createHandler } from "./handler.ts";

let database: ReturnType<typeof connect> | undefined;
let recorder: RecordTwilioEvent | undefined;
let finder: FindAccount | undefined;
let replier: ReplyToText | undefined;
const sql = () => database ??= connect(readDatabaseUrl());

Deno.serve(createHandler({
  authToken: readTwilioToken,
  findAccount: () => finder ??= createAccountFinder(sql(), logToConsole),
  address: readPublicAddress,
  record: () => recorder ??= createTwilioRecorder(sql()),
  reply: () => replier ??= createReplier(sql()),
  log: logToConsole,
}));

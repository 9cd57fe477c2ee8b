import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl, readResend } from "../_shared/runtime/env.ts";
import {
  createContentFetcher,
  createEmailRecorder,
  type FetchContent,
  type RecordEmailEvent,
} from "../_shared/channels/email/inbound.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { readResendSecret } from "../_shared/http/webhook-env.ts";
import { createHandler } from "./handler.ts";

let recorder: RecordEmailEvent | undefined;
let fetcher: FetchContent | undefined;

Deno.serve(createHandler({
  secret: readResendSecret,
  fetchContent: () => fetcher ??= createContentFetcher(readResend()),
  record: () => recorder ??= createEmailRecorder(connect(readDatabaseUrl())),
  log: logToConsole,
}));

import { connect } from "../_shared/database.ts";
import { readDatabaseUrl, readResend } from "../_shared/env.ts";
import {
  createContentFetcher,
  createEmailRecorder,
  type FetchContent,
  type RecordEmailEvent,
} from "../_shared/inbound-resend.ts";
import { logToConsole } from "../_shared/log.ts";
import { readResendSecret } from "../_shared/webhook-env.ts";
import { createHandler } from "./handler.ts";

let recorder: RecordEmailEvent | undefined;
let fetcher: FetchContent | undefined;

Deno.serve(createHandler({
  secret: readResendSecret,
  fetchContent: () => fetcher ??= createContentFetcher(readResend()),
  record: () => recorder ??= createEmailRecorder(connect(readDatabaseUrl())),
  log: logToConsole,
}));

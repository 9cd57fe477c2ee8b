import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import {
  createContentFetcher,
  createEmailRecorder,
  type FetchContent,
  type RecordEmailEvent,
} from "../_shared/channels/email/resend/receive.ts";
import { readResend, readResendSecret } from "../_shared/channels/email/resend/settings.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { createHandler } from "./handler.ts";

let recorder: RecordEmailEvent | undefined;
let fetcher: FetchContent | undefined;

Deno.serve(createHandler({
  secret: readResendSecret,
  fetchContent: () => fetcher ??= createContentFetcher(readResend()),
  record: () => recorder ??= createEmailRecorder(connect(readDatabaseUrl())),
  log: logToConsole,
}));

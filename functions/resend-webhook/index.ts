import { connect } from "../_shared/database.ts";
import { readDatabaseUrl } from "../_shared/env.ts";
import { createEmailRecorder, type RecordEmailEvent } from "../_shared/inbound-resend.ts";
import { logToConsole } from "../_shared/log.ts";
import { readResendSecret } from "../_shared/webhook-env.ts";
import { createHandler } from "./handler.ts";

let recorder: RecordEmailEvent | undefined;

Deno.serve(createHandler({
  secret: readResendSecret,
  record: () => recorder ??= createEmailRecorder(connect(readDatabaseUrl())),
  log: logToConsole,
}));

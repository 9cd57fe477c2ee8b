import { connect } from "../_shared/database.ts";
import { readDatabaseUrl } from "../_shared/env.ts";
import { createTwilioRecorder, type RecordTwilioEvent } from "../_shared/inbound-twilio.ts";
import { logToConsole } from "../_shared/log.ts";
import { readPublicAddress, readTwilioToken } from "../_shared/webhook-env.ts";
import { createHandler } from "./handler.ts";

let recorder: RecordTwilioEvent | undefined;

Deno.serve(createHandler({
  authToken: readTwilioToken,
  address: readPublicAddress,
  record: () => recorder ??= createTwilioRecorder(connect(readDatabaseUrl())),
  log: logToConsole,
}));

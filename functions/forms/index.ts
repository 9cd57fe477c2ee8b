import { connect } from "../_shared/runtime/database.ts";
import { readDatabaseUrl } from "../_shared/runtime/env.ts";
import { createForms, type Forms } from "../_shared/http/inbound-forms.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import { readForwardedHops } from "../_shared/http/webhook-env.ts";
import { createHandler } from "./handler.ts";

let forms: Forms | undefined;

const handler = createHandler({
  forms: () => forms ??= createForms(connect(readDatabaseUrl())),
  forwardedHops: readForwardedHops,
  log: logToConsole,
});

Deno.serve((request, info) => {
  const peer = info?.remoteAddr;
  return handler(request, peer && "hostname" in peer ? peer.hostname : "");
});

import { decodeText, mediaType, problemOf, readBody, requireMethod } from "../_shared/inbound.ts";
import { type RecordTwilioEvent, twilioEventOf } from "../_shared/inbound-twilio.ts";
import type { Log } from "../_shared/log.ts";
import type { PublicAddress } from "../_shared/webhook-env.ts";
import { verifyTwilio } from "../_shared/webhook-twilio.ts";
import { publicUrls } from "../_shared/webhook-url.ts";

export interface Dependencies {
  authToken: () => string;
  address: () => PublicAddress;
  /** Made at the first verified call. */
  record: () => RecordTwilioEvent;
  log: Log;
}

/** Twilio's own are a few kilobytes. */
const MAX_BODY_BYTES = 64 * 1024;

/** "Do nothing": an answer to texts and to calls. Replies are steps of workflows. */
function noInstructions(): Response {
  return new Response('<?xml version="1.0" encoding="UTF-8"?><Response></Response>', {
    headers: { "content-type": "text/xml; charset=utf-8" },
  });
}

export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { authToken, address, record, log } = dependencies;
  return async (request) => {
    try {
      requireMethod(request, "POST");
      const body = decodeText(await readBody(request, MAX_BODY_BYTES));
      const parameters = verifyTwilio(authToken(), {
        signature: request.headers.get("x-twilio-signature"),
        urls: publicUrls(request, "twilio-webhook", address()),
        isJson: mediaType(request) === "application/json",
        body,
      });
      const event = twilioEventOf(parameters);
      if (event === null) {
        log("warn", "twilio_event_ignored");
        return noInstructions();
      }
      const result = await record()(event);
      const id = "call_sid" in event.event ? event.event.call_sid : event.event.message_sid;
      log("info", "twilio_event", { kind: event.kind, id, result });
      return noInstructions();
    } catch (error) {
      return problemOf(error, log, "twilio_webhook");
    }
  };
}

import { RequestError } from "../_shared/errors.ts";
import { decodeText, problemOf, readBody, requireMethod } from "../_shared/inbound.ts";
import { emailEventOf, type RecordEmailEvent } from "../_shared/inbound-resend.ts";
import type { Log } from "../_shared/log.ts";
import { verifyResend } from "../_shared/webhook-resend.ts";

export interface Dependencies {
  secret: () => string;
  /** Made at the first verified call. */
  record: () => RecordEmailEvent;
  log: Log;
}

const MAX_BODY_BYTES = 256 * 1024;

function parseJson(body: string): unknown {
  try {
    return JSON.parse(body);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
}

export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { secret, record, log } = dependencies;
  return async (request) => {
    try {
      requireMethod(request, "POST");
      const body = decodeText(await readBody(request, MAX_BODY_BYTES));
      const id = verifyResend(secret(), request.headers, body);
      const event = emailEventOf(parseJson(body));
      // An event that is not ours to keep is no failure: Resend would send it again for a day.
      const result = event === null ? "ignored" : await record()(id, event);
      log("info", "resend_event", { id, type: event?.type, result });
      return Response.json({ result });
    } catch (error) {
      return problemOf(error, log, "resend_webhook");
    }
  };
}

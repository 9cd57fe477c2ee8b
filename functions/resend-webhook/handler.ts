import { ConfigurationError, RequestError } from "../_shared/runtime/errors.ts";
import { decodeText, readBody, requireMethod } from "../_shared/http/inbound.ts";
import { problemOf, problemResponse } from "../_shared/http/problem.ts";
import {
  type EmailEvent,
  emailEventOf,
  type FetchContent,
  type RecordEmailEvent,
  withContent,
} from "../_shared/channels/email/resend/receive.ts";
import { parseBody } from "../_shared/runtime/json.ts";
import type { Log } from "../_shared/runtime/log.ts";
import { verifyResend } from "../_shared/channels/email/resend/signature.ts";

export interface Dependencies {
  secret: () => string;
  /** Made at the first email that comes in. */
  fetchContent: () => FetchContent;
  /** Made at the first verified call. */
  record: () => RecordEmailEvent;
  log: Log;
}

const MAX_BODY_BYTES = 256 * 1024;

function parseEvent(body: string): unknown {
  try {
    return parseBody(body);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
}

/** An email is kept without its body rather than not at all; what may pass is left to Resend to send again. */
async function complete(
  { fetchContent, log }: Dependencies,
  event: EmailEvent | null,
): Promise<EmailEvent | null> {
  if (event?.type !== "received" || event.text !== undefined || event.html !== undefined) {
    return event;
  }
  try {
    const content = await fetchContent()(event.email_id);
    if (content) return withContent(event, content);
    log("warn", "resend_content_missing", { email_id: event.email_id });
  } catch (error) {
    if (!(error instanceof ConfigurationError)) throw error;
    log("error", "resend_content_missing", { email_id: event.email_id, variable: error.variable });
  }
  return event;
}

export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { secret, record, log } = dependencies;
  return async (request) => {
    try {
      requireMethod(request, "POST");
      const body = decodeText(await readBody(request, MAX_BODY_BYTES));
      const id = verifyResend(secret(), request.headers, body);
      const event = await complete(dependencies, emailEventOf(parseEvent(body)));
      // An event that is not ours to keep is no failure: Resend would send it again for a day.
      const result = event === null ? "ignored" : await record()(id, event);
      log("info", "resend_event", { id, type: event?.type, result });
      return Response.json({ result });
    } catch (error) {
      const id = crypto.randomUUID();
      return problemResponse(problemOf(error, { name: "resend_webhook", request: id, log }), id);
    }
  };
}

import { decodeText, mediaType, readBody, requireMethod } from "../_shared/http/inbound.ts";
import { problemOf, problemResponse } from "../_shared/http/problem.ts";
import { ConfigurationError, RequestError } from "../_shared/runtime/errors.ts";
import {
  type FindAccount,
  ourSideOf,
  type RecordTwilioEvent,
  type ReplyToText,
  twilioEventOf,
} from "../_shared/channels/sms/inbound.ts";
import type { Log } from "../_shared/runtime/log.ts";
import type { PublicAddress } from "../_shared/http/webhook-env.ts";
import {
  claimedParameters,
  type Parameters,
  type SignedRequest,
  verifyTwilio,
} from "../_shared/channels/sms/webhook.ts";
import { publicUrls } from "../_shared/http/webhook-url.ts";

export interface Dependencies {
  /** Of the environment's account. */
  authToken: () => string;
  /** Made at the first call that the environment's account has not signed. */
  findAccount: () => FindAccount;
  address: () => PublicAddress;
  /** Made at the first verified call. */
  record: () => RecordTwilioEvent;
  /** Made at the first text that is stored. */
  reply?: () => ReplyToText;
  log: Log;
}

/** Twilio's own are a few kilobytes. */
const MAX_BODY_BYTES = 64 * 1024;

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const escaped = (text: string) => text.replace(/[&<>]/g, (character) => entities[character]!);

/** Nothing to do, or one text back; other replies are steps of workflows. */
function instructions(reply?: string): Response {
  const message = reply === undefined ? "" : `<Message>${escaped(reply)}</Message>`;
  return new Response(`<?xml version="1.0" encoding="UTF-8"?><Response>${message}</Response>`, {
    headers: { "content-type": "text/xml; charset=utf-8" },
  });
}

interface Verified {
  parameters: Parameters;
  /** Whose own account signed it. */
  tenantId?: string;
}

/** By the installation's own account, or else by that of the tenant whose number is meant. */
async function verify(
  { authToken, findAccount }: Dependencies,
  request: SignedRequest,
): Promise<Verified> {
  try {
    return { parameters: verifyTwilio(authToken(), request) };
  } catch (error) {
    const isOpen = error instanceof ConfigurationError ||
      error instanceof RequestError && error.code === "bad_signature";
    if (!isOpen || !request.signature) throw error;
    const account = await findAccount()(ourSideOf(claimedParameters(request)));
    if (!account) throw error;
    return { parameters: verifyTwilio(account.authToken, request), tenantId: account.tenantId };
  }
}

export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { address, record, reply, log } = dependencies;
  return async (request) => {
    try {
      requireMethod(request, "POST");
      const body = decodeText(await readBody(request, MAX_BODY_BYTES));
      const { parameters, tenantId } = await verify(dependencies, {
        signature: request.headers.get("x-twilio-signature"),
        urls: publicUrls(request, "twilio-webhook", address()),
        isJson: mediaType(request) === "application/json",
        body,
      });
      const event = twilioEventOf(parameters);
      if (event === null) {
        log("warn", "twilio_event_ignored");
        return instructions();
      }
      const result = await record()(event, tenantId);
      const id = "call_sid" in event.event ? event.event.call_sid : event.event.message_sid;
      log("info", "twilio_event", { kind: event.kind, id, result });
      const isNew = event.kind === "sms" && result === "stored";
      return instructions(isNew ? await reply?.()(event) : undefined);
    } catch (error) {
      const id = crypto.randomUUID();
      return problemResponse(problemOf(error, { name: "twilio_webhook", request: id, log }), id);
    }
  };
}

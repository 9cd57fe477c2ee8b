import { ConfigurationError, RequestError } from "../../../runtime/errors.ts";
import type { Incoming, Receiver } from "../receiver.ts";
import { ourSideOf, twilioEventOf } from "./events.ts";
import { parseTwilioAccount, readTwilioToken } from "./settings.ts";
import {
  claimedParameters,
  type Parameters,
  type SignedRequest,
  verifyTwilio,
} from "./signature.ts";

const entities: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;" };
const escaped = (text: string) => text.replace(/[&<>]/g, (character) => entities[character]!);

interface Verified {
  parameters: Parameters;
  /** Whose own account signed it. */
  tenantId?: string;
}

/** By the installation's own account, or else by that of the tenant whose number is meant. */
async function verify(
  authToken: () => string,
  request: SignedRequest,
  accounts: Incoming["accounts"],
): Promise<Verified> {
  try {
    return { parameters: verifyTwilio(authToken(), request) };
  } catch (error) {
    const isOpen = error instanceof ConfigurationError ||
      error instanceof RequestError && error.code === "bad_signature";
    if (!isOpen || !request.signature) throw error;
    const [own] = await accounts(ourSideOf(claimedParameters(request)), parseTwilioAccount);
    if (!own) throw error;
    const { tenantId, account } = own;
    return { parameters: verifyTwilio(account.authToken, request), tenantId };
  }
}

export interface TwilioReceiverOptions {
  /** Of the environment's account. */
  authToken?: () => string;
}

export function createReceiver(
  { authToken = readTwilioToken }: TwilioReceiverOptions = {},
): Receiver {
  return {
    takesReply: true,
    async read({ headers, urls, isJson, body, accounts }) {
      const { parameters, tenantId } = await verify(authToken, {
        signature: headers.get("x-twilio-signature"),
        urls: urls(),
        isJson,
        body,
      }, accounts);
      const event = twilioEventOf(parameters);
      return tenantId === undefined ? { event } : { event, tenantId };
    },
    /** TwiML: nothing to do, or one text back. Other replies are steps of workflows. */
    answer(_outcome, reply) {
      const message = reply === undefined ? "" : `<Message>${escaped(reply)}</Message>`;
      return new Response(
        `<?xml version="1.0" encoding="UTF-8"?><Response>${message}</Response>`,
        { headers: { "content-type": "text/xml; charset=utf-8" } },
      );
    },
  };
}

import { parseBody } from "../../../runtime/json.ts";
import { RequestError } from "../../../runtime/errors.ts";
import type { Incoming, Receiver } from "../receiver.ts";
import { telnyxEventOf } from "./events.ts";
import { parseTelnyxSigner, readTelnyxPublicKey } from "./settings.ts";
import { isSignedBy, refusal, signedOf } from "./signature.ts";

/**
 * The account of the environment, or of the tenant that the address names: the body, which nobody has vouched for, is
 * not asked whose it is.
 */
async function verify(publicKey: () => string, incoming: Incoming): Promise<void> {
  const { headers, bytes, tenantId, accounts } = incoming;
  const signed = signedOf(headers, bytes);
  const keys = tenantId === undefined
    ? [publicKey()]
    : (await accounts({ tenantId }, parseTelnyxSigner)).map(({ account }) => account);
  if (!keys.some((key) => isSignedBy(key, signed))) throw refusal();
}

function parsed(body: string): unknown {
  try {
    return parseBody(body);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
}

export interface TelnyxReceiverOptions {
  /** Of the environment's account. */
  publicKey?: () => string;
}

export function createReceiver(
  { publicKey = readTelnyxPublicKey }: TelnyxReceiverOptions = {},
): Receiver {
  return {
    // What is answered, Telnyx does not read: STOP and HELP have its own autoresponses.
    takesReply: false,
    async read(incoming) {
      await verify(publicKey, incoming);
      const event = telnyxEventOf(parsed(incoming.body));
      return incoming.tenantId === undefined ? { event } : { event, tenantId: incoming.tenantId };
    },
    answer: (outcome) => Response.json({ result: outcome }),
  };
}

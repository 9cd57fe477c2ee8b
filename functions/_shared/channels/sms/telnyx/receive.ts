import { parseJsonBody } from "../../../http/inbound.ts";
import { signersOf } from "../../receiver.ts";
import type { Incoming, Receiver } from "../receiver.ts";
import { telnyxEventOf } from "./events.ts";
import { parseTelnyxSigner, readTelnyxPublicKey } from "./settings.ts";
import { isSignedBy, refusal, signedOf } from "./signature.ts";

async function verify(publicKey: () => string, incoming: Incoming): Promise<void> {
  const signed = signedOf(incoming.headers, incoming.bytes);
  const keys = await signersOf(incoming, publicKey, parseTelnyxSigner);
  if (!keys.some((key) => isSignedBy(key, signed))) throw refusal();
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
      const event = telnyxEventOf(parseJsonBody(incoming.body));
      return incoming.tenantId === undefined ? { event } : { event, tenantId: incoming.tenantId };
    },
    answer: (outcome) => Response.json({ result: outcome }),
  };
}

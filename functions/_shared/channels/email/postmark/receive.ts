import { parseJsonBody } from "../../../http/inbound.ts";
import { signersOf } from "../../receiver.ts";
import type { Receiver } from "../receiver.ts";
import { postmarkEventOf } from "./events.ts";
import { parsePostmarkPassword, readPostmarkPassword } from "./settings.ts";
import { isSame, passwordOf, refusal } from "./signature.ts";

/** An email that comes in has its attachments in it, up to 35 MB; they are not kept. */
const MAX_BODY_BYTES = 40 * 1024 * 1024;

export interface PostmarkReceiverOptions {
  /** Of the environment's account. */
  password?: () => string;
}

export function createReceiver(
  { password = readPostmarkPassword }: PostmarkReceiverOptions = {},
): Receiver {
  return {
    async read(incoming) {
      const given = passwordOf(incoming.headers);
      const passwords = await signersOf(incoming, password, parsePostmarkPassword);
      if (!passwords.some((one) => isSame(one, given))) throw refusal();
      const told = postmarkEventOf(parseJsonBody(await incoming.body(MAX_BODY_BYTES)));
      return { events: told ? [told] : [] };
    },
  };
}

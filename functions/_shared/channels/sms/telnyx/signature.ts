import { Buffer } from "node:buffer";
import { createPublicKey, verify } from "node:crypto";
import { RequestError } from "../../../runtime/errors.ts";

/** Older, or newer, than this is a replay, or a clock that is wrong. */
const TOLERANCE_SECONDS = 300;

/** What stands before the 32 bytes of a key of ed25519 in the form that node:crypto reads. */
const SPKI = Buffer.from("302a300506032b6570032100", "hex");

/** What Telnyx signed: the time, a bar, and the body byte for byte. */
export interface Signed {
  signature: Buffer;
  message: Buffer;
}

export const refusal = () =>
  new RequestError(403, "bad_signature", "the request is not signed by Telnyx, or too old");

/** Refused without a look at the body: no signature, or of another time. */
export function signedOf(headers: Headers, body: Uint8Array, now = Date.now()): Signed {
  const timestamp = headers.get("telnyx-timestamp") ?? "";
  const signature = headers.get("telnyx-signature-ed25519") ?? "";
  const isTime = /^\d{1,12}$/.test(timestamp) &&
    Math.abs(Number(timestamp) - now / 1000) <= TOLERANCE_SECONDS;
  if (!isTime || !/^[A-Za-z0-9+/]{86}==$/.test(signature)) throw refusal();
  return {
    signature: Buffer.from(signature, "base64"),
    message: Buffer.concat([Buffer.from(`${timestamp}|`), body]),
  };
}

export function isSignedBy(publicKey: string, { signature, message }: Signed): boolean {
  try {
    const key = createPublicKey({
      key: Buffer.concat([SPKI, Buffer.from(publicKey, "base64")]),
      format: "der",
      type: "spki",
    });
    return verify(null, message, key, signature);
  } catch {
    // 32 bytes that are no key have signed nothing.
    return false;
  }
}

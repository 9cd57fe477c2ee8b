// Postmark signs nothing. What its webhooks prove themselves with is HTTP's basic authentication over TLS:
// postmarkapp.com/developer/webhooks/webhooks-overview#protecting-your-webhook.
import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";
import { RequestError } from "../../../runtime/errors.ts";

/** Not 403, at which Postmark gives an email that came in up at once: a password that is mended saves it. */
export const refusal = () =>
  new RequestError(401, "unauthorized", "the request has not the password of the webhook");

/** What a call logs in with; the name beside it may be any. */
export function passwordOf(headers: Headers): string {
  const [, encoded] = /^basic +([A-Za-z0-9+/]+={0,2})$/i.exec(headers.get("authorization") ?? "") ??
    [];
  const said = Buffer.from(encoded ?? "", "base64").toString("utf8");
  const colon = said.indexOf(":");
  if (colon < 0) throw refusal();
  return said.slice(colon + 1);
}

/** Digests have one length, so neither the length nor the position of a difference shows in time. */
const digest = (text: string) => createHash("sha256").update(text).digest();

export const isSame = (password: string, given: string): boolean =>
  timingSafeEqual(digest(password), digest(given));

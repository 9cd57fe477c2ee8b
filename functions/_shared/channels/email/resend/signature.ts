import { Webhook } from "standardwebhooks";
import { RequestError } from "../../../runtime/errors.ts";

/** Svix's names of the headers, and those that the specification gave them later. */
const HEADERS = {
  "webhook-id": "svix-id",
  "webhook-timestamp": "svix-timestamp",
  "webhook-signature": "svix-signature",
} as const;

/**
 * The event's id, once the signature and its age (five minutes, either way) are found good. What
 * was replayed within that time is for the database to find out by the id.
 */
export function verifyResend(secret: string, headers: Headers, body: string): string {
  const given: Record<string, string> = {};
  for (const [name, alias] of Object.entries(HEADERS)) {
    given[name] = headers.get(alias) ?? headers.get(name) ?? "";
  }
  const id = given["webhook-id"] ?? "";
  try {
    // The timestamp is signed as a number, so digits are all it may be.
    if (!/^\d{1,12}$/.test(given["webhook-timestamp"] ?? "") || id.length > 255) throw new Error();
    new Webhook(secret).verify(body, given, { jsonParse: false });
  } catch {
    throw new RequestError(403, "bad_signature", "the request is not signed by Resend, or too old");
  }
  return id;
}

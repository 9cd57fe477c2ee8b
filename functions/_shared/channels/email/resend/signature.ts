import { Webhook } from "standardwebhooks";
import { RequestError } from "../../../runtime/errors.ts";

/** Svix's names of the headers, and those that the specification gave them later. */
const HEADERS = {
  "webhook-id": "svix-id",
  "webhook-timestamp": "svix-timestamp",
  "webhook-signature": "svix-signature",
} as const;

export interface Signed {
  /** Of the event: what was replayed within five minutes is for the database to find out by it. */
  id: string;
  headers: Record<string, string>;
  body: string;
}

export const refusal = () =>
  new RequestError(403, "bad_signature", "the request is not signed by Resend, or too old");

export function signedOf(headers: Headers, body: string): Signed {
  const given = Object.fromEntries(
    Object.entries(HEADERS).map(([name, alias]) => [
      name,
      headers.get(alias) ?? headers.get(name) ?? "",
    ]),
  );
  const id = given["webhook-id"] ?? "";
  // The timestamp is signed as a number, so digits are all it may be.
  if (!/^\d{1,12}$/.test(given["webhook-timestamp"] ?? "") || id.length > 255) throw refusal();
  return { id, headers: given, body };
}

/** The signature and its age (five minutes, either way) are good. */
export function isSignedBy(secret: string, { headers, body }: Signed): boolean {
  try {
    new Webhook(secret).verify(body, headers, { jsonParse: false });
    return true;
  } catch {
    return false;
  }
}

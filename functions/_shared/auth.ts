import { createHash, timingSafeEqual } from "node:crypto";
import { RequestError } from "./errors.ts";

/** Digests have one length, so neither the length nor the position of a difference shows in time. */
function digest(key: string): Uint8Array {
  return createHash("sha256").update(key).digest();
}

/** Secret keys arrive in the `apikey` header; they are no JWTs, so the platform cannot check them. */
export function requireSecretKey(request: Request, secretKeys: readonly string[]): void {
  const given = digest(request.headers.get("apikey") ?? "");
  let known = false;
  for (const key of secretKeys) {
    if (timingSafeEqual(given, digest(key))) known = true;
  }
  if (!known) {
    throw new RequestError(
      401,
      "unauthorized",
      "this function needs a secret key (sb_secret_...) in the apikey header",
    );
  }
}

import { createHash, timingSafeEqual } from "node:crypto";
import { RequestError } from "../runtime/errors.ts";

/** Digests have one length, so neither the length nor the position of a difference shows in time. */
function digest(key: string): Uint8Array {
  return createHash("sha256").update(key).digest();
}

/** Is one of these keys in the `apikey` header? Keys are no JWTs, so the platform cannot check them. */
export function hasKey(request: Request, keys: readonly string[]): boolean {
  const given = digest(request.headers.get("apikey") ?? "");
  let known = false;
  for (const key of keys) {
    if (timingSafeEqual(given, digest(key))) known = true;
  }
  return known;
}

export function requireSecretKey(request: Request, secretKeys: readonly string[]): void {
  if (!hasKey(request, secretKeys)) {
    throw new RequestError(
      401,
      "unauthorized",
      "this function needs a secret key (sb_secret_...) in the apikey header",
    );
  }
}

// Who may pass the gateway where the real platform has a gateway of its own: no key, nobody.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import type http from "node:http";

/** What a path belongs to; null is nothing that this stack serves. */
export type Place = "rest" | "auth" | "system" | "static" | "ui" | "session" | null;

const PLACES: [RegExp, Place][] = [
  [/^\/rest\/v1(\/|$)/, "rest"],
  [/^\/auth\/v1\/./, "auth"],
  [/^\/_system\/./, "system"],
  [/^\/_session$/, "session"],
  [/^\/static\/(assets\/)?[\w-]+\.\w+$/, "static"],
  [/^\/(editor(\/[^/]*)?|auth|auth\/users)?$/, "ui"],
];

export function placeOf(url: string): Place {
  const path = url.split("?", 1)[0] ?? "";
  return PLACES.find(([pattern]) => pattern.test(path))?.[1] ?? null;
}

const COOKIE = "ridgeline_table_ui";
const digest = (text: string) => createHash("sha256").update(text).digest();
const sameSecret = (left: string, right: string) => timingSafeEqual(digest(left), digest(right));

/** The table UI's sessions: somebody who showed the secret key once, until the stack stops. */
export class Sessions {
  readonly #secretKey: string;
  readonly #publishableKey: string;
  readonly #open = new Set<string>();

  constructor(keys: { secretKey: string; publishableKey: string }) {
    this.#secretKey = keys.secretKey;
    this.#publishableKey = keys.publishableKey;
  }

  /** The cookie of a new session; null for anything but the secret key. */
  begin(key: string): string | null {
    if (!sameSecret(key, this.#secretKey)) return null;
    const session = randomBytes(24).toString("base64url");
    this.#open.add(session);
    return `${COOKIE}=${session}; HttpOnly; SameSite=Strict; Path=/`;
  }

  /** The table UI holds no key: what its browser asks on its behalf gets the key here. */
  holds(request: http.IncomingMessage): boolean {
    const { cookie, origin, host } = request.headers;
    const session = cookie?.split(/;\s*/).find((one) => one.startsWith(`${COOKIE}=`))
      ?.slice(COOKIE.length + 1);
    if (session === undefined || !this.#open.has(session)) return false;
    return origin === undefined || origin === `http://${host}`;
  }

  hasSecretKey(request: http.IncomingMessage): boolean {
    const key = request.headers.apikey;
    return typeof key === "string" && sameSecret(key, this.#secretKey);
  }

  /** The request's headers as they go on. With credentials of somebody it speaks for them. */
  headersFor(request: http.IncomingMessage, place: Place): http.IncomingHttpHeaders {
    const { headers } = request;
    if (place === "ui" || this.#speaksForSomebody(request) || !this.holds(request)) return headers;
    // A secret key in a browser's hands is refused, as on the platform; this one stays here.
    const { authorization: _, ...rest } = headers;
    return { ...rest, apikey: this.#secretKey, "user-agent": "ridgeline-table-ui" };
  }

  /** The table UI's own requests carry the publishable key, which is nobody's. */
  #speaksForSomebody({ headers, url }: http.IncomingMessage): boolean {
    const key = this.#publishableKey;
    const { apikey = key, authorization = `Bearer ${key}` } = headers;
    return apikey !== key || authorization !== `Bearer ${key}` || /[?&]apikey=/.test(url ?? "");
  }
}

/** What the platform's Auth answers a browser that asks whether it may call from another origin. */
export const PREFLIGHT = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE, OPTIONS",
  "access-control-allow-headers":
    "accept, accept-language, content-language, content-type, authorization, apikey, " +
    "x-client-info, x-supabase-api-version",
  "access-control-max-age": "3600",
};

export const signInPage = (wrong: boolean) =>
  `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>Ridgeline tables</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body{font:16px system-ui;max-width:28rem;margin:15vh auto;padding:0 1rem}
input,button{font:inherit;padding:.5rem;width:100%;box-sizing:border-box;margin:.25rem 0}</style>
<h1>Ridgeline tables</h1>
<p>The table editor sees and changes everything. Show it this stack's secret key: it is
<code>secretKey</code> in <code>.stack.json</code>.</p>
${wrong ? '<p role="alert"><strong>That is not this stack\'s secret key.</strong></p>' : ""}
<form method="post" action="/_session">
<label>Secret key <input name="key" type="password" autocomplete="off" autofocus required></label>
<button>Open</button></form></html>
`;

/**
 * What lite says of itself, for whoever showed the key: they are its admin whatever it thinks, and
 * the address of the database comes without what opens it.
 */
export function describeSystem(json: string): string {
  return json.replace(/"admin":false/, '"admin":true').replace(
    /(postgres(?:ql)?:\/\/[^:@/"\s]+):[^@"\s]*@/g,
    "$1:[redacted]@",
  );
}

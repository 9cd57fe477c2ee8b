import type { PublicAddress } from "./webhook-env.ts";

const TOGGLES: [RegExp, string][] = [
  [/'/g, "%27"],
  [/%27/g, "'"],
  [/,/g, "%2C"],
  [/%2C/gi, ","],
  [/\+/g, "%20"],
  [/%20/g, "+"],
  [/\+/g, "%2B"],
  [/%2B/gi, "+"],
  [/%22/g, '"'],
  [/%3C/gi, "<"],
  [/%3E/gi, ">"],
  [/%7C/gi, "|"],
  [/[()!*~]/g, ""],
];
const MAX_SPELLINGS = 200;

/**
 * A query as it may have been signed. What stands between the sender and us (a proxy, the platform,
 * the parser of URLs behind request.url) writes some characters in another way, and the signature is
 * about the text.
 */
export function spellingsOf(search: string): string[] {
  const spellings = new Set([search]);
  for (const [pattern, replacement] of TOGGLES) {
    for (const one of [...spellings]) {
      if (spellings.size >= MAX_SPELLINGS) break;
      spellings.add(
        replacement === "" ? one.replace(pattern, percentOf) : one.replace(pattern, replacement),
      );
    }
  }
  return [...spellings];
}

const percentOf = (one: string) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`;

/**
 * The addresses under which the sender may have known this request. A function sees its own name
 * as the first part of the path; what is in front of it differs from platform to platform, so it
 * comes from the configuration and not from the request.
 */
export function publicUrls(request: Request, name: string, address: PublicAddress): string[] {
  // Not through new URL(), which would write the query anew.
  const [, pathname = "/", search = ""] =
    /^[a-z]+:\/\/[^/?#]*([^?#]*)(\?[^#]*)?/i.exec(request.url) ?? [];
  const at = pathname.indexOf(`/${name}`);
  const path = at < 0 ? `/${name}` : pathname.slice(at);
  const bases: string[] = [];
  if (address.base !== undefined) bases.push(address.base);
  if (address.trustForwarded) {
    const first = (header: string) => request.headers.get(header)?.split(",")[0]?.trim();
    const host = first("x-forwarded-host");
    const scheme = first("x-forwarded-proto") ?? "https";
    const port = first("x-forwarded-port");
    if (host && /^https?$/.test(scheme)) {
      const prefix = address.base ? new URL(address.base).pathname : "/functions/v1";
      bases.push(`${scheme}://${host}${prefix}`);
      if (port && /^\d{1,5}$/.test(port) && !/:\d+$/.test(host)) {
        bases.push(`${scheme}://${host}:${port}${prefix}`);
      }
    }
  }
  return bases.flatMap((base) => spellingsOf(search).map((query) => `${base}${path}${query}`));
}

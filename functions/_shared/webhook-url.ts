import type { PublicAddress } from "./webhook-env.ts";

/**
 * The addresses under which the sender may have known this request. A function sees its own name
 * as the first part of the path; what is in front of it differs from platform to platform, so it
 * comes from the configuration and not from the request.
 */
export function publicUrls(request: Request, name: string, address: PublicAddress): string[] {
  const { pathname, search } = new URL(request.url);
  const at = pathname.indexOf(`/${name}`);
  const path = at < 0 ? `/${name}` : pathname.slice(at);
  const urls: string[] = [];
  if (address.base !== undefined) urls.push(`${address.base}${path}${search}`);
  if (address.trustForwarded) {
    const first = (header: string) => request.headers.get(header)?.split(",")[0]?.trim();
    const host = first("x-forwarded-host");
    const scheme = first("x-forwarded-proto") ?? "https";
    if (host && /^https?$/.test(scheme)) {
      const prefix = address.base ? new URL(address.base).pathname : "/functions/v1";
      urls.push(`${scheme}://${host}${prefix}${path}${search}`);
    }
  }
  return urls;
}

import { lookup as resolve } from "node:dns/promises";
import type { LookupAddress, LookupOptions } from "node:dns";
import ipaddr from "ipaddr.js";
import { ForbiddenAddressError } from "../../runtime/errors.ts";

/** Ranges of ipaddr.js that are the public internet. Everything it names otherwise is not. */
const PUBLIC = "unicast";

/** Public by their range, yet services of the hosts themselves. */
const METADATA = new Set(["168.63.129.16", "100.100.100.200"]);

const NAT64 = ipaddr.parseCIDR("64:ff9b::/96");

/** All of IPv6 that is assigned to the public internet; the rest only looks like it. */
const GLOBAL_IPV6 = ipaddr.parseCIDR("2000::/3");

/** IPv4 inside IPv6 (mapped, NAT64) is judged as the IPv4 it reaches. */
function embedded(address: ipaddr.IPv4 | ipaddr.IPv6): ipaddr.IPv4 | ipaddr.IPv6 {
  if (address instanceof ipaddr.IPv4) return address;
  if (address.isIPv4MappedAddress()) return address.toIPv4Address();
  const bytes = address.toByteArray();
  if (address.match(NAT64)) return new ipaddr.IPv4(bytes.slice(12));
  return address;
}

export function isPublicAddress(text: string): boolean {
  if (!ipaddr.isValid(text)) return false;
  const address = embedded(ipaddr.parse(text));
  if (address instanceof ipaddr.IPv6 && !address.match(GLOBAL_IPV6)) return false;
  return address.range() === PUBLIC && !METADATA.has(address.toString());
}

function forbidden(host: string): ForbiddenAddressError {
  return new ForbiddenAddressError(
    `${host} is not a public address: private, loopback, link-local and metadata addresses ` +
      "are refused",
  );
}

/** Names that resolve to this machine or this network whatever DNS says. */
const LOCAL_NAME = /(^|\.)(localhost|local|internal|localdomain|home\.arpa)\.?$/i;

/** Refuses what can be refused before any name is resolved. */
export function checkUrl(text: string, allowPrivate: boolean): URL {
  if (!URL.canParse(text)) throw new ForbiddenAddressError("url: not an absolute address");
  const url = new URL(text);
  const schemes = allowPrivate ? ["https:", "http:"] : ["https:"];
  if (!schemes.includes(url.protocol)) {
    throw new ForbiddenAddressError(`url: ${url.protocol} is refused, use https:`);
  }
  if (url.username || url.password) {
    throw new ForbiddenAddressError("url: put credentials in a header, not in the address");
  }
  if (allowPrivate) return url;
  const host = url.hostname.replace(/^\[|\]$/g, "");
  if (LOCAL_NAME.test(host)) throw forbidden(host);
  if (ipaddr.isValid(host) && !isPublicAddress(host)) throw forbidden(host);
  return url;
}

export type Resolve = (host: string) => Promise<LookupAddress[]>;

export const resolveAll: Resolve = (host) => resolve(host, { all: true, verbatim: true });

type LookupCallback = (
  error: NodeJS.ErrnoException | null,
  address: string | LookupAddress[],
  family?: number,
) => void;

/**
 * The `lookup` of a socket: what is checked here is what the socket connects to, so a name that
 * answers differently a second time (DNS rebinding) gains nothing. One private address among
 * several refuses the name.
 */
export function guardedLookup(resolve: Resolve) {
  return (host: string, options: LookupOptions, done: LookupCallback): void => {
    resolve(host).then((addresses) => {
      const [first] = addresses;
      if (!first || !addresses.every(({ address }) => isPublicAddress(address))) {
        done(forbidden(host), []);
      } else if (options.all) done(null, addresses);
      else done(null, first.address, first.family);
    }, (error: NodeJS.ErrnoException) => done(error, []));
  };
}

import ipaddr from "ipaddr.js";

/** Who asks. Entries that a client wrote itself stand left of those that our proxies added. */
export function sourceOf(request: Request, peer: string, hops: number): string {
  const forwarded = (request.headers.get("x-forwarded-for") ?? "").split(",").map((one) =>
    one.trim()
  ).filter(Boolean);
  return hops > 0 ? forwarded.at(-hops) ?? peer : peer;
}

/** Whoever has one address of IPv6 has 2^64 of them. */
export function networkOf(source: string): string {
  if (!ipaddr.isValid(source)) return source;
  const address = ipaddr.process(source);
  if (address.kind() === "ipv4") return address.toString();
  return `${
    (address as ipaddr.IPv6).parts.slice(0, 4).map((part) => part.toString(16)).join(":")
  }::/64`;
}

export interface Allowance {
  /** For how many more seconds a source has none left; 0: it has some. */
  spentFor: (source: string) => number;
  spend: (source: string) => void;
}

const MAX_SOURCES = 10_000;

/** So many of something a minute and source, in the memory of this one process. */
export function createAllowance(perMinute: number, now = Date.now): Allowance {
  const spent = new Map<string, { count: number; until: number }>();
  const current = (source: string) => {
    const known = spent.get(source);
    return known && known.until > now() ? known : undefined;
  };
  return {
    spentFor: (source) => {
      const known = current(source);
      return known && known.count >= perMinute ? Math.ceil((known.until - now()) / 1000) : 0;
    },
    spend: (source) => {
      const known = current(source);
      if (known) {
        known.count++;
        return;
      }
      if (spent.size >= MAX_SOURCES) spent.clear();
      spent.set(source, { count: 1, until: now() + 60_000 });
    },
  };
}

import { isTransient } from "../_shared/runtime/database.ts";
import { codeOf, messageOf, RequestError } from "../_shared/runtime/errors.ts";
import { problemOf, problemResponse } from "../_shared/http/problem.ts";
import { createAllowance, networkOf, sourceOf } from "../_shared/http/source.ts";
import type { Log } from "../_shared/runtime/log.ts";
import { withTimeout } from "../_shared/runtime/timeout.ts";

export interface Links {
  /** Where a link leads; null: nobody made this code, or it has expired. */
  find: (code: string) => Promise<string | null>;
  /** Somebody followed it; what it was taken for. */
  record: (code: string, userAgent: string | null, hint: string | null) => Promise<string>;
}

export interface Dependencies {
  /** Made at the first call. */
  links: () => Links;
  log: Log;
  /** Proxies that add to x-forwarded-for; without any the peer's own address counts. */
  forwardedHops?: () => number;
  now?: () => number;
  /** Keeps the process while something goes on behind an answer. */
  track?: (work: Promise<unknown>) => void;
  timeoutMs?: number;
}

const CODE = /\/([0-9A-Za-z]{11})\/?$/;
/** A person waits no longer than this for what we want to know. */
const PATIENCE_MS = 300;
/** What is asked for again and again in a flood is looked up and written down by a few. */
const MAX_UNDER_WAY = 50;
/**
 * Codes that nobody made, a minute and source: whoever tries codes is not looked up for any more. What leads somewhere does
 * not count, however many people an office or a scanner of links has behind one address.
 */
const MAX_MISSES = 100;
const KEPT_MS = 60_000;
const MAX_KEPT = 1_000;

/** What the request itself says of who asks: nobody has pressed anything then. */
function hintOf({ method, headers }: Request): string | null {
  if (method === "HEAD") return "head";
  const purposes = ["purpose", "sec-purpose", "x-purpose", "x-moz"].map((name) =>
    headers.get(name) ?? ""
  );
  if (/prefetch|preview|prerender/i.test(purposes.join(" "))) return "prefetch";
  // Browsers say what for: a page, or an image, a script, nothing to be seen.
  const destination = headers.get("sec-fetch-dest");
  return destination !== null && destination !== "document" ? "not_a_page" : null;
}

const plain = (status: number, text: string, headers: Record<string, string> = {}): Response =>
  new Response(`${text}\n`, {
    status,
    headers: {
      "content-type": "text/plain; charset=utf-8",
      "cache-control": "no-store",
      ...headers,
    },
  });

const unknown = () =>
  plain(404, "This link does not lead anywhere any more. Please ask whoever sent it to you.");

/** Browsers come back by themselves. */
const unavailable = () =>
  plain(503, "This link does not work for a moment. It is tried again in five seconds.", {
    "retry-after": "5",
    refresh: "5",
  });

/** The same for a code that leads somewhere, so that nothing is learned; a person's browser comes back. */
const tooMany = (seconds: number) =>
  plain(
    429,
    `Too many links that lead nowhere were tried from here. Try again in ${seconds} seconds.`,
    {
      "retry-after": String(seconds),
      refresh: String(seconds),
    },
  );

const redirect = (url: string): Response =>
  new Response(null, {
    status: 302,
    headers: {
      // As it was written; a header holds ASCII alone.
      location: /^[\x21-\x7e]+$/.test(url) ? url : new URL(url).href,
      "cache-control": "no-store",
      "referrer-policy": "no-referrer",
      "x-robots-tag": "noindex, nofollow",
    },
  });

export function createHandler(
  { links, log, forwardedHops = () => 0, now = Date.now, track = () => {}, timeoutMs = 3_000 }:
    Dependencies,
): (request: Request, peer?: string) => Promise<Response> {
  const misses = createAllowance(MAX_MISSES, now);
  const kept = new Map<string, { url: string; until: number }>();
  let underWay = 0;

  function keptUrl(code: string): string | undefined {
    const known = kept.get(code);
    return known && known.until > now() ? known.url : undefined;
  }

  async function find(code: string): Promise<string | null> {
    const known = keptUrl(code);
    if (known !== undefined) return known;
    const look = () => withTimeout("link", timeoutMs, () => links().find(code));
    const url = await look().catch((error) => {
      if (isTransient(error)) return look();
      throw error;
    });
    if (url !== null) {
      if (kept.size >= MAX_KEPT) kept.clear();
      kept.set(code, { url, until: now() + KEPT_MS });
    }
    return url;
  }

  /** Never fails, and is not waited for. */
  async function record(code: string, request: Request): Promise<void> {
    if (underWay >= MAX_UNDER_WAY) return;
    underWay++;
    try {
      const agent = request.headers.get("user-agent");
      const taken = await links().record(code, agent?.slice(0, 500) ?? null, hintOf(request));
      log("info", "link_followed", { taken });
    } catch (error) {
      log("warn", "link_not_recorded", { code: codeOf(error), message: messageOf(error) });
    } finally {
      underWay--;
    }
  }

  return async (request, peer = "") => {
    try {
      if (request.method !== "GET" && request.method !== "HEAD") {
        throw new RequestError(405, "method_not_allowed", "use GET");
      }
      const code = CODE.exec(new URL(request.url).pathname)?.[1];
      if (code === undefined) return unknown();
      const source = networkOf(sourceOf(request, peer, forwardedHops()));
      const seconds = keptUrl(code) === undefined ? misses.spentFor(source) : 0;
      if (seconds > 0) return tooMany(seconds);
      const url = await find(code).catch((error) => {
        log("error", "link_not_found", { code: codeOf(error), message: messageOf(error) });
        return undefined;
      });
      if (url === undefined) return unavailable();
      if (url === null) {
        misses.spend(source);
        return unknown();
      }
      const recorded = record(code, request);
      track(recorded);
      let timer: ReturnType<typeof setTimeout> | undefined;
      await Promise.race([recorded, new Promise((go) => timer = setTimeout(go, PATIENCE_MS))]);
      clearTimeout(timer);
      return redirect(url);
    } catch (error) {
      const id = crypto.randomUUID();
      return problemResponse(problemOf(error, { name: "link", request: id, log }), id);
    }
  };
}

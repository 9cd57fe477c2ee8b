import { decodeText, mediaType, readBody } from "../_shared/http/inbound.ts";
import { problemOf, problemResponse } from "../_shared/http/problem.ts";
import { RequestError } from "../_shared/runtime/errors.ts";
import type { Log } from "../_shared/runtime/log.ts";

/** Ends what an unsubscribe link is of; a token that nobody made does nothing. */
export type Unsubscribe = (token: string, purpose: "marketing" | "all") => Promise<void>;

export interface Dependencies {
  /** Made at the first post. */
  unsubscribe: () => Unsubscribe;
  /** The static page that asks and posts back; undefined: there is none. */
  page: () => string | undefined;
  /** Where this function is, for the page. */
  address: () => string;
  log: Log;
}

const MAX_BODY_BYTES = 16 * 1024;

/** The page may be served from anywhere; who has the token may use it. */
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-allow-methods": "POST",
  "access-control-allow-headers": "content-type",
  "access-control-max-age": "86400",
};

/** Scanners and mail programs open links: that changes nothing. The token stays out of logs behind the #. */
function toPage(page: string | undefined, token: string, address: string): Response {
  if (page === undefined) {
    return new Response(
      "Use the unsubscribe button of your mail program, or answer the email with the word unsubscribe.\n",
      { headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" } },
    );
  }
  const fragment = new URLSearchParams({ token, post: address });
  return new Response(null, {
    status: 302,
    headers: { location: `${page}#${fragment}`, "cache-control": "no-store" },
  });
}

/** What was chosen on the page; one click (RFC 8058) says nothing but that there was one. */
function purposeOf(body: string, type: string): "marketing" | "all" {
  if (type === "application/json") return /"purpose"\s*:\s*"all"/.test(body) ? "all" : "marketing";
  return new URLSearchParams(body).get("purpose") === "all" ? "all" : "marketing";
}

export function createHandler(
  { unsubscribe, page, address, log }: Dependencies,
): (request: Request) => Promise<Response> {
  return async (request) => {
    try {
      const token = new URL(request.url).searchParams.get("token") ?? "";
      switch (request.method) {
        case "OPTIONS":
          return new Response(null, { status: 204, headers: CORS });
        case "GET":
        case "HEAD":
          return toPage(page(), token, address());
        case "POST": {
          const body = decodeText(await readBody(request, MAX_BODY_BYTES));
          // The same answer for every token: nobody learns which ones there are.
          if (/^[0-9a-f]{64}$/.test(token)) {
            await unsubscribe()(token, purposeOf(body, mediaType(request)));
          }
          log("info", "unsubscribe_posted");
          return new Response(null, { status: 200, headers: CORS });
        }
        default:
          throw new RequestError(405, "method_not_allowed", "use POST");
      }
    } catch (error) {
      const id = crypto.randomUUID();
      return problemResponse(problemOf(error, { name: "unsubscribe", request: id, log }), id);
    }
  };
}

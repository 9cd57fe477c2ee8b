import { RequestError } from "../_shared/errors.ts";
import { decodeText, mediaType, problem, problemOf, readBody } from "../_shared/inbound.ts";
import {
  FieldErrors,
  type Fields,
  fieldsOf,
  type Forms,
  gather,
  type Outcome,
} from "../_shared/inbound-forms.ts";
import { NumberTooLargeError, parseBody } from "../_shared/json.ts";
import type { Log } from "../_shared/log.ts";

export interface Dependencies {
  /** Made at the first call. */
  forms: () => Forms;
  /** Proxies that add to x-forwarded-for; without any the peer's own address counts. */
  forwardedHops: () => number;
  log: Log;
}

const MAX_BODY_BYTES = 64 * 1024;
const KEY = /\/(form_[0-9a-z]{16,64})\/?$/;

/** Entries that a client wrote itself stand left of those that our proxies added. */
function sourceOf(request: Request, peer: string, hops: number): string {
  const forwarded = (request.headers.get("x-forwarded-for") ?? "").split(",").map((one) =>
    one.trim()
  ).filter(Boolean);
  return hops > 0 ? forwarded.at(-hops) ?? peer : peer;
}

async function readFields(request: Request): Promise<Fields> {
  const type = mediaType(request);
  const bytes = await readBody(request, MAX_BODY_BYTES);
  if (type === "application/json") return fieldsOf(Object.entries(jsonObject(decodeText(bytes))));
  if (type === "application/x-www-form-urlencoded") {
    return fieldsOf(gather(new URLSearchParams(decodeText(bytes))));
  }
  if (type === "multipart/form-data") {
    const headers = { "content-type": request.headers.get("content-type") ?? "" };
    const body = new Uint8Array(bytes);
    const data = await new Response(body, { headers }).formData().catch(() => {
      throw new RequestError(400, "invalid_form", "the body is not multipart/form-data");
    });
    return fieldsOf(gather(data));
  }
  throw new RequestError(
    415,
    "unsupported_media_type",
    "send application/json, application/x-www-form-urlencoded or multipart/form-data",
  );
}

function jsonObject(text: string): object {
  let json: unknown;
  try {
    json = parseBody(text);
  } catch (error) {
    if (error instanceof NumberTooLargeError) {
      throw new RequestError(422, "invalid_request", error.message);
    }
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new RequestError(422, "invalid_request", "the body must be a JSON object of fields");
  }
  return json;
}

function unknownForm(): Response {
  return problem(404, "unknown_form", "there is no form with this key");
}

function answer(outcome: Outcome, request: Request): Response {
  switch (outcome.outcome) {
    case "accepted": {
      // Scripts read the answer; a page that posts by itself is sent on.
      const wantsPage = (request.headers.get("accept") ?? "").includes("text/html");
      if (wantsPage && outcome.redirect_url) {
        return new Response(null, { status: 303, headers: { location: outcome.redirect_url } });
      }
      return Response.json({ received: true }, { status: 202 });
    }
    case "invalid":
      return problem(422, "invalid_fields", "some fields cannot be taken", {
        errors: outcome.errors,
      });
    case "rate_limited":
      return problem(429, "rate_limited", "too many posts within the hour; try again later", {
        headers: { "retry-after": String(outcome.retry_after_seconds) },
      });
    case "unknown_form":
      return unknownForm();
    case "origin_not_allowed":
      return problem(403, "origin_not_allowed", "this page may not post to this form");
  }
}

function withCors(response: Response, origin: string | null): Response {
  response.headers.set("vary", "Origin");
  if (origin !== null) {
    response.headers.set("access-control-allow-origin", origin);
    response.headers.set("access-control-expose-headers", "retry-after");
  }
  return response;
}

async function preflight(forms: Forms, key: string, origin: string | null): Promise<Response> {
  if (origin === null || !(await forms.accepts(key, origin))) {
    return withCors(
      problem(403, "origin_not_allowed", "this page may not post to this form"),
      null,
    );
  }
  const response = new Response(null, {
    status: 204,
    headers: {
      "access-control-allow-methods": "POST",
      "access-control-allow-headers": "content-type, apikey, authorization, x-client-info",
      "access-control-max-age": "600",
    },
  });
  return withCors(response, origin);
}

export function createHandler(
  dependencies: Dependencies,
): (request: Request, peer?: string) => Promise<Response> {
  const { forms, forwardedHops, log } = dependencies;

  async function post(request: Request, key: string, peer: string): Promise<Response> {
    const fields = await readFields(request);
    const outcome = await forms().submit({
      publicKey: key,
      origin: request.headers.get("origin"),
      source: sourceOf(request, peer, forwardedHops()),
      fields,
    });
    log("info", "form_post", { form: key, outcome: outcome.outcome });
    return answer(outcome, request);
  }

  return async (request, peer = "") => {
    const origin = request.headers.get("origin");
    try {
      const key = KEY.exec(new URL(request.url).pathname)?.[1];
      if (key === undefined) return withCors(unknownForm(), null);
      if (request.method === "OPTIONS") return await preflight(forms(), key, origin);
      if (request.method !== "POST") {
        throw new RequestError(405, "method_not_allowed", "use POST");
      }
      const response = await post(request, key, peer);
      return withCors(response, response.status === 403 ? null : origin);
    } catch (error) {
      // Such an answer holds nothing of the tenant's; a page may read what it did wrong.
      const response = error instanceof FieldErrors
        ? problem(422, "invalid_fields", error.message, { errors: error.errors })
        : problemOf(error, log, "forms");
      return withCors(response, origin);
    }
  };
}

import { messageOf, RequestError } from "../_shared/runtime/errors.ts";
import { decode, formBodyOf, urlEncodedFields } from "../_shared/http/form-body.ts";
import { BodyTooLarge, mediaType, readBody, storableText } from "../_shared/http/inbound.ts";
import { Problem, problemOf, problemResponse } from "../_shared/http/problem.ts";
import {
  FieldErrors,
  type Fields,
  fieldsOf,
  type Forms,
  type Outcome,
  TooManyFields,
  type Unreadable,
} from "../_shared/http/inbound-forms.ts";
import { sourceOf } from "../_shared/http/source.ts";
import type { Log } from "../_shared/runtime/log.ts";

export interface Dependencies {
  /** Made at the first call. */
  forms: () => Forms;
  /** Proxies that add to x-forwarded-for; without any the peer's own address counts. */
  forwardedHops: () => number;
  log: Log;
}

const MAX_BODY_BYTES = 64 * 1024;
/** A photograph that comes along is not kept, and must not cost the lead. */
const MAX_MULTIPART_BYTES = 10 * 1024 * 1024;
const MAX_RAW = 20_000;
const KEY = /\/(form_[0-9a-z]{16,64})\/?$/;

/** A post that cannot be taken, with as much of it as the office may want to look at. */
interface Refused {
  error: unknown;
  fields: Fields | null;
  raw: string | null;
}

const refusal = (
  error: unknown,
  fields: Fields | null = null,
  raw: string | null = null,
): Refused => ({
  error,
  fields,
  raw,
});

async function readFields(request: Request): Promise<Fields | Refused> {
  const isMultipart = mediaType(request) === "multipart/form-data";
  const read = await readBody(request, isMultipart ? MAX_MULTIPART_BYTES : MAX_BODY_BYTES).catch(
    (error) => {
      if (error instanceof BodyTooLarge) return error;
      throw error;
    },
  );
  const bytes = read instanceof BodyTooLarge ? read.begun : read;
  const cut = read instanceof BodyTooLarge ? read : undefined;
  const raw = () => isMultipart ? null : storableText(decode(bytes.subarray(0, MAX_RAW)));
  try {
    const body = formBodyOf(bytes, request.headers.get("content-type") ?? "");
    const broken = cut ?? ("pairs" in body ? body.problem : undefined);
    if (broken && "json" in body) return refusal(broken, null, raw());
    const fields = fieldsOf(body);
    return broken ? refusal(broken, fields, fields === "{}" ? raw() : null) : fields;
  } catch (error) {
    if (error instanceof FieldErrors || error instanceof TooManyFields) {
      return refusal(cut ?? error, error.fields);
    }
    if (error instanceof RequestError) return refusal(cut ?? error, null, raw());
    throw error;
  }
}

/** method="get" puts the fields into the address, where any image on any page could put them too. */
function fieldsOfAddress(request: Request): Refused {
  const query = new URL(request.url).search.slice(1, MAX_RAW);
  const error = new RequestError(405, "method_not_allowed", "use POST");
  try {
    return refusal(error, query === "" ? null : fieldsOf({ pairs: urlEncodedFields(query) }));
  } catch {
    return refusal(error, null, query);
  }
}

function wordsOf(error: unknown): string {
  if (!(error instanceof FieldErrors)) return messageOf(error);
  return error.errors.map(({ field, message }) => `${field} ${message}`).join("; ");
}

const unknownForm = () => new Problem(404, "unknown_form", "there is no form with this key");
const foreignPage = () =>
  new Problem(403, "origin_not_allowed", "this page may not post to this form");

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
      throw new Problem(422, "invalid_fields", "some fields cannot be taken", {
        errors: outcome.errors,
      });
    case "rate_limited":
      throw new Problem(429, "rate_limited", "too many posts within the hour; try again later", {
        headers: { "retry-after": String(outcome.retry_after_seconds) },
      });
    case "unknown_form":
      throw unknownForm();
    case "origin_not_allowed":
      throw foreignPage();
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
  if (origin === null || !(await forms.accepts(key, origin))) throw foreignPage();
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
    const sender = {
      publicKey: key,
      origin: request.headers.get("origin"),
      source: sourceOf(request, peer, forwardedHops()),
    };
    const read = request.method === "POST" ? await readFields(request) : fieldsOfAddress(request);
    if (typeof read === "string") {
      const outcome = await forms().submit({ ...sender, fields: read });
      log("info", "form_post", { form: key, outcome: outcome.outcome });
      return answer(outcome, request);
    }
    await keep({ ...sender, ...read });
    throw read.error;
  }

  /** The visitor is told what is wrong in any case; keeping it must not stand in the way of that. */
  async function keep({ error, fields, raw, ...sender }: Refused & Omit<Unreadable, "problem">) {
    if (fields === null && (raw ?? "").trim() === "") return;
    try {
      const outcome = await forms().keep({ ...sender, fields, raw, problem: wordsOf(error) });
      log("warn", "form_post_kept", { form: sender.publicKey, outcome });
    } catch (failure) {
      problemOf(failure, { name: "forms", request: crypto.randomUUID(), log });
    }
  }

  return async (request, peer = "") => {
    const origin = request.headers.get("origin");
    try {
      const key = KEY.exec(new URL(request.url).pathname)?.[1];
      if (key === undefined) throw unknownForm();
      if (request.method === "OPTIONS") return await preflight(forms(), key, origin);
      if (request.method !== "POST" && request.method !== "GET") {
        throw new RequestError(405, "method_not_allowed", "use POST");
      }
      return withCors(await post(request, key, peer), origin);
    } catch (error) {
      const id = crypto.randomUUID();
      const problem = error instanceof FieldErrors
        ? new Problem(422, "invalid_fields", error.message, { errors: error.errors })
        : problemOf(error, { name: "forms", request: id, log });
      // A page may read what it did wrong, unless it is none that may post here.
      const mayRead = problem.code !== "origin_not_allowed" && problem.code !== "unknown_form";
      return withCors(problemResponse(problem, id), mayRead ? origin : null);
    }
  };
}

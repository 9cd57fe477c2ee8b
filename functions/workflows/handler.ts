import type { JSONValue } from "postgres";
import { z } from "zod";
import {
  act,
  type Answer,
  type Caller,
  type Credentials,
  identify,
  look,
} from "../_shared/http/caller.ts";
import type { Database } from "../_shared/runtime/database.ts";
import { decodeText, mediaType, readBody as readBytes } from "../_shared/http/inbound.ts";
import {
  jsonResponse,
  LosslessNumber,
  NumberTooLargeError,
  parseBody,
  plainNumber,
  stringifyJson,
} from "../_shared/runtime/json.ts";
import type { Log } from "../_shared/runtime/log.ts";
import { openApiDocument } from "../_shared/http/openapi.ts";
import { invalidRequest, Problem, problemOf, problemResponse } from "../_shared/http/problem.ts";
import { withTimeout } from "../_shared/runtime/timeout.ts";
import { type Operation, operations } from "./operations.ts";
import * as schemas from "./schemas.ts";

export interface Dependencies extends Credentials {
  /** Connected at the first call that needs it. */
  database: () => Database;
  log: Log;
}

export const MAX_BODY_BYTES = 1_048_576;

/** Any page may ask: what counts is a token, which no browser adds by itself. */
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "idempotency-replayed, retry-after, x-request-id",
};
const PREFLIGHT = {
  "access-control-allow-methods": "GET, POST, PUT",
  "access-control-allow-headers":
    "authorization, apikey, content-type, idempotency-key, x-client-info, x-tenant-id",
  "access-control-max-age": "3600",
};

const health: Described = { method: "GET", path: "/health" };
const openapi: Described = { method: "GET", path: "/openapi.json" };
type Described = Pick<Operation, "method" | "path">;

const document = JSON.stringify(openApiDocument({
  title: "Ridgeline workflows",
  version: "1",
  description:
    "Starts, stops and explains the workflows of a tenant, with the caller's own rights.",
  server: "/functions/v1/workflows",
  operations,
  problem: schemas.problem,
  health: schemas.health,
}));

/** The platform and the gateway leave the function's own name in the path. */
function pathOf(request: Request): string {
  const { pathname } = new URL(request.url);
  const path = pathname.replace(/^(\/functions\/v1)?\/workflows(?=\/|$)/, "");
  return path.replace(/\/+$/, "") || "/";
}

function route<T extends Described>(request: Request, path: string, all: readonly T[]): T {
  const here = all.filter((one) => one.path === path);
  const found = here.find(({ method }) => method === request.method);
  if (found) return found;
  if (here.length === 0) throw new Problem(404, "unknown_path", "there is nothing at this path");
  const allow = here.map(({ method }) => method).join(", ");
  throw new Problem(405, "method_not_allowed", `use ${allow}`, { headers: { allow } });
}

const NOT_STORABLE = /\\u0000|\\ud[89a-f]/i;

async function readBody(request: Request, operation: Operation): Promise<JSONValue> {
  if (!operation.legacy && mediaType(request) !== "application/json") {
    throw new Problem(415, "unsupported_media_type", "send application/json");
  }
  const text = decodeText(await readBytes(request, MAX_BODY_BYTES));
  let body: JSONValue;
  try {
    body = parseBody(text) as JSONValue;
  } catch (error) {
    if (error instanceof NumberTooLargeError) {
      throw new Problem(422, "invalid_request", error.message);
    }
    throw new Problem(400, "invalid_json", "the body is not JSON");
  }
  // JSON writes exactly what Postgres refuses as an escape: U+0000 and half a surrogate.
  if (NOT_STORABLE.test(text) && NOT_STORABLE.test(stringifyJson(body).replaceAll("\\\\", ""))) {
    throw new Problem(
      422,
      "invalid_request",
      "the body holds U+0000 or half a surrogate, which Postgres stores in no text",
    );
  }
  return body;
}

/** A key that is a number, however long, is text from here on; a count such as 600.0 is a number. */
function readable(raw: unknown): unknown {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return raw;
  const keys = (value: unknown) => value instanceof LosslessNumber ? value.value : value;
  return Object.fromEntries(
    Object.entries(raw).map(([name, value]) => [
      name,
      name === "record_ids" && Array.isArray(value) ? value.map(keys) : plainNumber(value),
    ]),
  );
}

function checked(schema: z.ZodType, raw: unknown): unknown {
  const parsed = schema.safeParse(readable(raw));
  if (parsed.success) return parsed.data;
  throw invalidRequest(parsed.error);
}

/** The draft of the header's standard puts the value in quotes; most clients do not. */
function idempotencyKey(request: Request): string | undefined {
  const header = request.headers.get("idempotency-key");
  if (header === null) return undefined;
  const key = /^"(.*)"$/.exec(header.trim())?.[1] ?? header.trim();
  if (/^[\x21-\x7e]{1,255}$/.test(key)) return key;
  throw new Problem(422, "invalid_request", "Idempotency-Key: 1 to 255 printable characters", {
    errors: [{
      field: "Idempotency-Key",
      message: "is empty, too long or not printable ASCII",
      fix: "send a UUID",
    }],
  });
}

const tenantId = z.guid();

/** The tenant that the request names: in its header, or in what it asks for. */
function namedTenant(request: Request, named: string | undefined): Pick<Caller, "tenantId"> {
  const header = request.headers.get("x-tenant-id")?.trim() || undefined;
  const given = named ?? header;
  if (given === undefined) return {};
  const parsed = tenantId.safeParse(given);
  if (
    parsed.success && (header === undefined || header.toLowerCase() === parsed.data.toLowerCase())
  ) {
    return { tenantId: parsed.data.toLowerCase() };
  }
  throw new Problem(422, "invalid_request", "x-tenant-id: is not the id of the tenant meant", {
    errors: [{
      field: "x-tenant-id",
      message: "is not the id of the tenant meant",
      fix: "send the tenant's id, here or as tenant_id, and the same in both",
    }],
  });
}

async function isHealthy(database: Database): Promise<Response> {
  try {
    await withTimeout("health", 3_000, async (signal) => {
      const query = database`select 1`;
      signal.addEventListener("abort", () => query.cancel(), { once: true });
      await query;
    });
  } catch {
    throw new Problem(503, "unavailable", "the database does not answer");
  }
  return Response.json({ status: "ok" });
}

export function createHandler(
  dependencies: Dependencies,
): (request: Request) => Promise<Response> {
  const { database, log } = dependencies;

  async function perform(operation: Operation, request: Request): Promise<Response> {
    const identified = await identify(request, dependencies);
    const { searchParams } = new URL(request.url);
    const raw = operation.method === "GET"
      ? Object.fromEntries(searchParams)
      : await readBody(request, operation);
    const input = checked(operation.input, raw);
    const caller = { ...identified, ...namedTenant(request, operation.tenantOf(input)) };
    const run = async (sql: Parameters<Operation["run"]>[0]): Promise<Answer> => ({
      status: 200,
      body: await operation.run(sql, input, caller),
    });
    if (operation.kind === "look") {
      const { status, body } = await look(database(), caller, run);
      return jsonResponse(body, { status });
    }
    const key = idempotencyKey(request);
    const fingerprint = { method: operation.method, path: operation.path, body: raw as JSONValue };
    const { status, body, replayed } = await act(
      database(),
      caller,
      key === undefined ? undefined : { key, fingerprint, input: raw as JSONValue },
      run,
    );
    const headers = replayed ? { "idempotency-replayed": "true" } : undefined;
    return jsonResponse(body, { status, ...(headers ? { headers } : {}) });
  }

  async function answer(request: Request, path: string): Promise<Response> {
    if (request.method === "OPTIONS") {
      return new Response(null, { status: 204, headers: PREFLIGHT });
    }
    const found = route(request, path, [...operations, health, openapi]);
    if (found === health) return await isHealthy(database());
    if (found === openapi) {
      return new Response(document, { headers: { "content-type": "application/json" } });
    }
    return await perform(found as Operation, request);
  }

  function refuse(error: unknown, path: string, id: string): Response {
    const problem = problemOf(error, { name: "workflows", request: id, log, tellsDatabase: true });
    const legacy = path.startsWith("/api/") ? { error: problem.message } : {};
    return problemResponse(problem, id, legacy);
  }

  return async (request) => {
    const id = crypto.randomUUID();
    const started = performance.now();
    const path = pathOf(request);
    const response = await answer(request, path).catch((error) => refuse(error, path, id));
    for (const [name, value] of Object.entries(CORS)) response.headers.set(name, value);
    response.headers.set("cache-control", "no-store");
    response.headers.set("x-request-id", id);
    if (path !== "/health") {
      log("info", "workflows_request", {
        request: id,
        method: request.method,
        path: path.slice(0, 100),
        status: response.status,
        ms: Math.round(performance.now() - started),
      });
    }
    return response;
  };
}

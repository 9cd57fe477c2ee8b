import type { JSONValue } from "postgres";
import { z } from "zod";
import { act, type Answer, type Credentials, identify, look } from "../_shared/http/caller.ts";
import type { Database } from "../_shared/runtime/database.ts";
import { jsonResponse, LosslessNumber, plainNumber } from "../_shared/runtime/json.ts";
import type { Log } from "../_shared/runtime/log.ts";
import { openApiDocument } from "../_shared/http/openapi.ts";
import { invalidRequest, Problem, problemOf, problemResponse } from "../_shared/http/problem.ts";
import { withTimeout } from "../_shared/runtime/timeout.ts";
import { type Operation, operations } from "./operations.ts";
import { createLegacy } from "./legacy/handler.ts";
import type { Envelope } from "./legacy/envelope.ts";
import { idempotencyKey, namedTenant, readBody } from "./request.ts";
import * as schemas from "./schemas.ts";

export { MAX_BODY_BYTES } from "./request.ts";

export interface Dependencies extends Credentials {
  /** Connected at the first call that needs it. */
  database: () => Database;
  log: Log;
  /** How the routes of the old application answer; read at the first call of one. */
  legacyEnvelope?: () => Envelope;
}

/** Any page may ask: what counts is a token, which no browser adds by itself. */
const CORS = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "idempotency-replayed, retry-after, x-request-id",
};
const PREFLIGHT = {
  "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
  "access-control-allow-headers":
    "authorization, apikey, content-type, idempotency-key, x-client-info, x-tenant-id",
  "access-control-max-age": "3600",
};

const health: Described = { method: "GET", path: "/health" };
const engine: Described = { method: "GET", path: "/health/engine" };
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

const state = z.tuple([
  z.object({ state: z.object({ is_alive: z.boolean(), last_tick: z.string().nullable() }) }),
]);

type Query = Promise<readonly unknown[]> & { cancel(): void };

async function ask(query: Query): Promise<readonly unknown[]> {
  try {
    return await withTimeout("health", 3_000, (signal) => {
      signal.addEventListener("abort", () => query.cancel(), { once: true });
      return query;
    });
  } catch {
    throw new Problem(503, "unavailable", "the database does not answer");
  }
}

async function isHealthy(database: Database): Promise<Response> {
  await ask(database`select 1`);
  return Response.json({ status: "ok" });
}

/** For a monitor outside, which nobody can tell anything when all of it stands still: it has to ask. */
async function isAlive(database: Database): Promise<Response> {
  const [{ state: { is_alive, last_tick } }] = state.parse([
    ...await ask(database`select automation.engine_status() as state`),
  ]);
  if (is_alive) return Response.json({ status: "ok" });
  throw new Problem(
    503,
    "engine_stopped",
    `what is due is not done, or nothing ticks (last: ${last_tick ?? "never"})`,
  );
}

export function createHandler(
  dependencies: Dependencies,
): (request: Request) => Promise<Response> {
  const { database, log } = dependencies;
  const legacy = createLegacy(dependencies);

  async function perform(operation: Operation, request: Request): Promise<Response> {
    const identified = await identify(request, dependencies);
    const { searchParams } = new URL(request.url);
    const raw = operation.method === "GET"
      ? Object.fromEntries(searchParams)
      : await readBody(request);
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

  async function answer(request: Request, path: string, id: string): Promise<Response> {
    if (request.method === "OPTIONS") {
      return new Response(null, { status: 204, headers: PREFLIGHT });
    }
    if (path.startsWith("/api/")) return await legacy(request, path, id);
    const found = route(request, path, [...operations, health, engine, openapi]);
    if (found === health) return await isHealthy(database());
    if (found === engine) return await isAlive(database());
    if (found === openapi) {
      return new Response(document, { headers: { "content-type": "application/json" } });
    }
    return await perform(found as Operation, request);
  }

  function refuse(error: unknown, id: string): Response {
    const problem = problemOf(error, { name: "workflows", request: id, log, tellsDatabase: true });
    return problemResponse(problem, id);
  }

  return async (request) => {
    const id = crypto.randomUUID();
    const started = performance.now();
    const path = pathOf(request);
    const response = await answer(request, path, id).catch((error) => refuse(error, id));
    for (const [name, value] of Object.entries(CORS)) response.headers.set(name, value);
    response.headers.set("cache-control", "no-store");
    response.headers.set("x-request-id", id);
    if (!path.startsWith("/health")) {
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

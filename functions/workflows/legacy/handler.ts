// The old application's routes, answered in its own envelopes.
import type { JSONValue } from "postgres";
import { z } from "zod";
import { act, type Answer, type Credentials, identify, look } from "../../_shared/http/caller.ts";
import { Problem, problemOf } from "../../_shared/http/problem.ts";
import type { Database } from "../../_shared/runtime/database.ts";
import { jsonResponse } from "../../_shared/runtime/json.ts";
import type { Log } from "../../_shared/runtime/log.ts";
import { idempotencyKey, namedTenant, readBody } from "../request.ts";
import { bodyOf, type Envelope, OldError, refusal } from "./envelope.ts";
import { type Route, routesAt } from "./routes.ts";

export interface LegacyDependencies extends Credentials {
  database: () => Database;
  log: Log;
  legacyEnvelope?: () => Envelope;
}

/** Read as a number by nothing here: what a client's numbers mean is the engine's business. */
const plain = (query: URLSearchParams) => Object.fromEntries(query);

export function createLegacy(dependencies: LegacyDependencies) {
  const { database, log } = dependencies;
  const warned = new Set<string>();

  /** Once a process: whoever reads the log learns which calls are still to be replaced. */
  function warn({ method, path }: Route): void {
    const name = `${method} ${path}`;
    if (warned.has(name)) return;
    warned.add(name);
    log("warn", "legacy_route", { route: name });
  }

  function route(request: Request, path: string): { route: Route; id: string } {
    const { routes, id } = routesAt(path);
    const found = routes.find(({ method }) => method === request.method);
    if (found) return { route: found, id };
    if (routes.length === 0) {
      throw new Problem(404, "unknown_path", "there is nothing at this path");
    }
    const allow = routes.map(({ method }) => method).join(", ");
    throw new Problem(405, "method_not_allowed", `use ${allow}`, { headers: { allow } });
  }

  async function perform(request: Request, path: string, envelope: Envelope): Promise<Response> {
    const { route: found, id } = route(request, path);
    warn(found);
    const identified = await identify(request, dependencies);
    const query = plain(new URL(request.url).searchParams);
    const body = found.method === "GET" ? {} : await readBody(request, {
      anyType: true,
      mayBeEmpty: found.bodiless === true,
    });
    const named = z.object({ tenant_id: z.guid() }).safeParse(body);
    const caller = { ...identified, ...namedTenant(request, named.data?.tenant_id) };
    const work = async (sql: Parameters<Route["run"]>[0]["sql"]): Promise<Answer> => {
      const answered = await found.run({ sql, caller, envelope, id, query, body });
      return { status: answered.status ?? 200, body: bodyOf(envelope, answered) };
    };
    if (found.kind === "look") {
      const { status, body: answer } = await look(database(), caller, work);
      return jsonResponse(answer, { status });
    }
    const key = idempotencyKey(request);
    const fingerprint = { method: found.method, path, envelope, body: body as JSONValue };
    const { status, body: answer, replayed } = await act(
      database(),
      caller,
      key === undefined ? undefined : { key, fingerprint, input: body as JSONValue },
      work,
    );
    const headers = replayed ? { "idempotency-replayed": "true" } : undefined;
    return jsonResponse(answer, { status, ...(headers ? { headers } : {}) });
  }

  function told(error: unknown, request: string): OldError | Problem {
    if (error instanceof OldError) return error;
    return problemOf(error, { name: "workflows", request, log, tellsDatabase: true });
  }

  return async (request: Request, path: string, id: string): Promise<Response> => {
    const envelope = dependencies.legacyEnvelope?.() ?? "data";
    try {
      return await perform(request, path, envelope);
    } catch (error) {
      const refused = told(error, id);
      const { status, body } = refusal(envelope, refused);
      const headers = refused instanceof Problem ? refused.headers : {};
      return jsonResponse(body, { status, headers });
    }
  };
}

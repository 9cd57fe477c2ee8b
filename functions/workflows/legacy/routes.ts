// The old application's routes, one line each.
import type { TransactionSql } from "postgres";
import { z } from "zod";
import type { Caller } from "../../_shared/http/caller.ts";
import * as definitions from "./definitions.ts";
import type { Answered, Envelope } from "./envelope.ts";
import * as runs from "./runs.ts";

export interface Asked {
  sql: TransactionSql;
  caller: Caller;
  envelope: Envelope;
  id: string;
  query: Record<string, string>;
  body: unknown;
}

export interface Route {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  /** :id stands for a segment. */
  path: string;
  kind: "look" | "act";
  /** Reads nothing, or a body that may be left out. */
  bodiless?: true;
  run: (asked: Asked) => Promise<Answered>;
}

/** The tenant that the request means: its header's, or the only one of whoever calls. */
async function room({ sql, caller }: Asked): Promise<definitions.Room> {
  const [row] = await sql<{ tenant: string }[]>`
    select automation.own_tenant(${caller.tenantId ?? null}) as tenant`;
  return { sql, tenantId: z.string().parse(row?.tenant) };
}

const look = (path: string, run: Route["run"]): Route => ({
  method: "GET",
  path,
  kind: "look",
  bodiless: true,
  run,
});
const act = (method: Route["method"], path: string, run: Route["run"]): Route => ({
  method,
  path,
  kind: "act",
  run,
});

export const routes: readonly Route[] = [
  act("POST", "/api/workflows/trigger", ({ sql, body }) => runs.trigger(sql, body)),
  act(
    "POST",
    "/api/automations/execute",
    ({ sql, body, caller, envelope }) => runs.execute(sql, body, caller, envelope),
  ),
  act(
    "PUT",
    "/api/automations/execute",
    ({ sql, body, caller, envelope }) => runs.manual(sql, body, caller, envelope),
  ),

  look("/api/workflows", async (asked) => definitions.listServer(await room(asked), asked.query)),
  act(
    "POST",
    "/api/workflows",
    async (asked) => definitions.createServer(await room(asked), asked.body),
  ),
  look("/api/workflows/:id", async (asked) => definitions.getServer(await room(asked), asked.id)),
  act(
    "PATCH",
    "/api/workflows/:id",
    async (asked) => definitions.patchServer(await room(asked), asked.id, asked.body),
  ),
  {
    ...act(
      "DELETE",
      "/api/workflows/:id",
      async (asked) => definitions.remove(await room(asked), asked.id),
    ),
    bodiless: true,
  },
  look(
    "/api/workflows/:id/executions",
    async (asked) => runs.serverExecutions(await room(asked), asked.id, asked.query),
  ),
  {
    ...act(
      "POST",
      "/api/workflows/:id/test",
      async (asked) => runs.test(await room(asked), asked.id, asked.body),
    ),
    kind: "look",
    bodiless: true,
  },
  look("/api/workflows/:id/stats", async (asked) => runs.stats(await room(asked), asked.id)),

  look("/api/automations", async (asked) => definitions.listClient(await room(asked), asked.query)),
  act(
    "POST",
    "/api/automations",
    async (asked) => definitions.createClient(await room(asked), asked.body),
  ),
  look(
    "/api/automations/executions",
    async (asked) => runs.clientExecutions(await room(asked), undefined, asked.query),
  ),
  look("/api/automations/:id", async (asked) => definitions.getClient(await room(asked), asked.id)),
  act(
    "PATCH",
    "/api/automations/:id",
    async (asked) => definitions.patchClient(await room(asked), asked.id, asked.body),
  ),
  {
    ...act(
      "DELETE",
      "/api/automations/:id",
      async (asked) => definitions.remove(await room(asked), asked.id),
    ),
    bodiless: true,
  },
  look(
    "/api/automations/:id/executions",
    async (asked) => runs.clientExecutions(await room(asked), asked.id, asked.query),
  ),
  {
    ...act(
      "POST",
      "/api/automations/:id/test",
      async (asked) => runs.test(await room(asked), asked.id, asked.body),
    ),
    kind: "look",
    bodiless: true,
  },
  look("/api/automations/:id/stats", async (asked) => runs.stats(await room(asked), asked.id)),
];

const isLike = (pattern: readonly string[], path: readonly string[]) =>
  pattern.length === path.length &&
  pattern.every((segment, place) =>
    segment === ":id" ? path[place] !== "" : segment === path[place]
  );

/** The routes at a path, those that name it before those that take it for an id. */
export function routesAt(path: string): { routes: Route[]; id: string } {
  const segments = path.split("/");
  const here = routes.filter((route) => isLike(route.path.split("/"), segments));
  const named = here.filter((route) => route.path === path);
  return { routes: named.length > 0 ? named : here, id: segments[3] ?? "" };
}

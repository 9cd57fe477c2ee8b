// Functions and database are upgraded at two moments: what happens in between, and when one is forgotten.
import { expect, it } from "vitest";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { connect } from "../../functions/_shared/runtime/database.ts";
import { createQueue } from "../../functions/_shared/engine/queue.ts";
import { createHandler as dispatchHandler } from "../../functions/dispatch/handler.ts";
import { createHandler as workflowsHandler } from "../../functions/workflows/handler.ts";
import { API_VERSION, checkVersion, versionCheck } from "../../functions/_shared/engine/version.ts";
import { recordingLog, sendersOf, sent } from "../functions/fakes.ts";
import { type TestDatabase, withDatabase } from "../support/database.ts";

const KEY = "sb_secret_one";

/** Both functions on a database, as their index files put them together, and how both answer. */
async function answersOf({ url }: TestDatabase) {
  const sql = connect(url);
  const { log, lines } = recordingLog();
  try {
    const dispatch = dispatchHandler({
      secretKeys: () => [KEY],
      budgetMs: () => 5_000,
      dispatcher: () =>
        createDispatcher({
          queue: createQueue(sql),
          senders: sendersOf(() => Promise.resolve(sent)),
          log,
          worker: "w",
        }),
    });
    const workflows = workflowsHandler({
      secretKeys: () => [KEY],
      verify: () => Promise.reject(new Error("no token is expected here")),
      database: () => sql,
      log,
    });
    const headers = { apikey: KEY, "content-type": "application/json" };
    const dispatched = await dispatch(
      new Request("http://127.0.0.1/dispatch", { method: "POST", headers }),
    );
    const triggered = await workflows(
      new Request("http://127.0.0.1/workflows/execute", {
        method: "POST",
        headers,
        body: JSON.stringify({ trigger_type: "manual", trigger_data: {} }),
      }),
    );
    return {
      dispatched: { status: dispatched.status, body: await dispatched.json() },
      triggered: { status: triggered.status, body: await triggered.json() },
      lines,
    };
  } finally {
    await sql.end({ timeout: 1 });
  }
}

const setApi = ({ sql }: TestDatabase, api: number) =>
  sql.unsafe(`
    create or replace function automation.api_version() returns integer language sql immutable
      as 'select ${api}';
    create or replace function automation.version() returns text language sql immutable
      as 'select ''${api}.2.0''';`);

it("more than one apart, both functions refuse and say which side to upgrade", () =>
  withDatabase(async (database) => {
    await setApi(database, API_VERSION + 2);
    const { dispatched, triggered, lines } = await answersOf(database);
    const message =
      `the database has Ridgeline ${API_VERSION + 2}.2.0 (API version ${API_VERSION + 2}), ` +
      `these functions speak API version ${API_VERSION}: deploy the functions of that release ` +
      "(supabase functions deploy)";
    expect(dispatched).toMatchObject({
      status: 503,
      body: { code: "incompatible_version", detail: message },
    });
    expect(triggered).toMatchObject({
      status: 503,
      body: { code: "incompatible_version", detail: message },
    });
    expect(JSON.stringify(lines)).toContain("supabase functions deploy");
  }));

it("a database without a release says that its migrations are missing", () =>
  withDatabase(async (database) => {
    await database.sql`drop function automation.api_version()`;
    const { dispatched, triggered } = await answersOf(database);
    for (const { status, body } of [dispatched, triggered]) {
      expect(status).toBe(503);
      expect(JSON.stringify(body)).toContain("apply its migrations (supabase db push)");
    }
  }));

it("one apart, in either direction, both work", () =>
  withDatabase(async (database) => {
    for (const api of [API_VERSION - 1, API_VERSION, API_VERSION + 1]) {
      await setApi(database, api);
      const { dispatched, triggered } = await answersOf(database);
      expect([api, dispatched.status]).toEqual([api, 200]);
      // Nobody is named for whom to start it: the database itself was asked.
      expect([api, triggered.body.code]).not.toEqual([api, "incompatible_version"]);
      expect(triggered.status).toBeLessThan(500);
    }
  }));

it("older functions are told to be deployed, an older database to be migrated", () => {
  expect(() => checkVersion(5, "5.0.0", 3)).toThrow(/deploy the functions/);
  expect(() => checkVersion(1, "1.0.0", 3)).toThrow(/apply the migrations of their release/);
  expect(() => checkVersion(2, "2.0.0", 3)).not.toThrow();
});

it("is read once by a process, and again after it could not be read", () =>
  withDatabase(async ({ sql }) => {
    const check = versionCheck();
    await sql`alter function automation.api_version() rename to away`;
    await expect(check(sql)).rejects.toThrow("apply its migrations");
    await sql`alter function automation.away() rename to api_version`;
    await check(sql);
    await sql`alter function automation.api_version() rename to away`;
    await expect(check(sql)).resolves.toMatchObject({ api: API_VERSION });
  }));

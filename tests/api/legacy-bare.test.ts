// The same routes in the envelope of before February 2026, and what is decided before the database is asked.
import { randomUUID } from "node:crypto";
import { beforeAll, describe, expect, it, test } from "vitest";
import type { Database } from "../../functions/_shared/runtime/database.ts";
import { createHandler } from "../../functions/workflows/handler.ts";
import { recordingLog } from "../functions/fakes.ts";
import { Office, useStack } from "../stories/support.ts";
import { apiOf, type Call, caller } from "./support.ts";

const stage = useStack(() => ({
  heartbeat: false,
  environment: { LEGACY_API_ENVELOPE: "bare" },
}));

let apex: Office;
let asApex: Call;
let welcome: string;
let greet: string;

beforeAll(async () => {
  apex = await Office.open(stage());
  const { data } = await apex.client.auth.getSession();
  asApex = caller(apiOf(stage()), { token: data.session!.access_token });
  const steps = [{
    step_type: "create_task",
    step_config: { title: "{{trigger.note}} {{trigger.user.id}}" },
  }];
  welcome = await apex.workflow({ name: "Welcome", trigger_type: "manual", steps });
  greet = await apex.workflow({ name: "Greet", trigger_type: "contact_created", steps });
});

describe("the bare envelope", () => {
  it("execute answers a summary, with the context laid over the data", async () => {
    const { status, body } = await asApex("POST", "/api/automations/execute", {
      workflow_id: welcome,
      trigger_data: { note: "data" },
      context: { note: "context" },
    });
    expect(status).toBe(200);
    expect(body).toEqual({
      execution_id: expect.any(String),
      status: "pending",
      started_at: expect.any(String),
      completed_at: null,
      executed_actions: 0,
      error_message: null,
    });
    await stage().sql`select automation.tick()`;
    const me = (await apex.client.auth.getUser()).data.user!.id;
    const [task] = await stage().sql`
      select title from public.tasks where execution_id = ${String(body.execution_id)}`;
    expect(task).toEqual({ title: `context ${me}` });
  });

  it("errors are a text", async () => {
    const anybody = caller(apiOf(stage()));
    expect(await anybody("POST", "/api/automations/execute", {})).toMatchObject({
      status: 401,
      body: { error: expect.any(String) },
    });
    expect(await asApex("POST", "/api/automations/execute", {})).toMatchObject({
      status: 400,
      body: { error: "Missing required fields: workflow_id, trigger_data" },
    });
    const unknown = { workflow_id: randomUUID(), trigger_data: {} };
    expect(await asApex("POST", "/api/automations/execute", unknown)).toMatchObject({
      status: 404,
      body: { error: "Workflow not found" },
    });
    const { body } = await asApex("GET", `/api/workflows/${randomUUID()}`);
    expect(body).toEqual({ error: "Workflow not found" });
  });

  it("PUT starts what is for starting by hand, and fails on everything else with the reason", async () => {
    expect(await asApex("PUT", "/api/automations/execute", { workflow_id: welcome })).toMatchObject(
      {
        status: 200,
        body: { message: "Manual workflow triggered successfully" },
      },
    );
    expect(await asApex("PUT", "/api/automations/execute", { workflow_id: greet })).toMatchObject({
      status: 500,
      body: { error: "Workflow Greet is not configured for manual triggering" },
    });
  });

  it("lists have no pagination of their own, and nothing has a success", async () => {
    const { body } = await asApex("GET", "/api/workflows?limit=1");
    expect(body).toMatchObject({ workflows: [{ name: "Greet" }], total: 2, page: 1, limit: 1 });
    expect(body).not.toHaveProperty("success");
    expect(body).not.toHaveProperty("pagination");
  });
});

describe("before the database is asked", () => {
  const setUp = (legacyEnvelope?: () => "data" | "bare", error: unknown = new Error("no")) => {
    const { log, lines } = recordingLog();
    const handler = createHandler({
      secretKeys: () => ["sb_secret_one"],
      verify: () => Promise.reject(new Error("no token is expected here")),
      database: () => ({ begin: () => Promise.reject(error) }) as unknown as Database,
      log,
      ...(legacyEnvelope ? { legacyEnvelope } : {}),
    });
    const base = "http://127.0.0.1/functions/v1/workflows";
    return { call: caller(base, { apikey: "sb_secret_one" }, handler), lines };
  };

  test("each deprecated name is in the log once", async () => {
    const { call, lines } = setUp();
    for (let n = 0; n < 3; n++) {
      await call("POST", "/api/workflows/trigger", { trigger_type: "x", trigger_data: {} });
      await call("GET", `/api/workflows/${randomUUID()}`);
    }
    expect(lines.filter(({ event }) => event === "legacy_route").map(({ route }) => route)).toEqual(
      [
        "POST /api/workflows/trigger",
        "GET /api/workflows/:id",
      ],
    );
  });

  test("what broke is told in the old words, and in none of Postgres's", async () => {
    const failure = Object.assign(new Error("relation secret does not exist"), { code: "42P01" });
    const data = await setUp(() => "data", failure).call("GET", "/api/automations");
    expect(data).toMatchObject({
      status: 500,
      body: { success: false, error: { code: "INTERNAL_ERROR" } },
    });
    expect(JSON.stringify(data.body)).not.toContain("secret");
    const bare = await setUp(() => "bare", failure).call("GET", "/api/automations");
    expect(bare).toMatchObject({ status: 500, body: { error: expect.any(String) } });
    expect(Object.keys(bare.body)).toEqual(["error"]);
  });

  test.each([["{", 400], ["x".repeat(2_000_000), 400], ['{"a": "\\u0000"}', 400]])(
    "a body that is none",
    async (raw, status) => {
      const answer = await setUp().call("POST", "/api/workflows", undefined, { raw });
      expect(answer).toMatchObject({ status, body: { error: { code: "VALIDATION_ERROR" } } });
    },
  );
});

// The routes of the old application, held to what legacy.md says of them: shapes, words and statuses.
import { randomUUID } from "node:crypto";
import type { JSONValue } from "postgres";
import { beforeAll, describe, expect, it } from "vitest";
import { got, newPhone, Office, useStack } from "../stories/support.ts";
import { apiOf, type Call, caller } from "./support.ts";

const stage = useStack(() => ({ heartbeat: false }));

let apex: Office;
let blue: Office;
let asApex: Call;
let asBlue: Call;
let asService: Call;
let asNobody: Call;
let asViewer: Call;
let maria: string;

const tokenOf = async ({ client }: Pick<Office, "client">) =>
  (await client.auth.getSession()).data.session!.access_token;

beforeAll(async () => {
  apex = await Office.open(stage(), "Apex Roofing");
  blue = await Office.open(stage(), "Blue Ridge Solar");
  const { secretKey, publishableKey } = stage().stack;
  asApex = caller(apiOf(stage()), { token: await tokenOf(apex) });
  asBlue = caller(apiOf(stage()), { token: await tokenOf(blue) });
  asService = caller(apiOf(stage()), { apikey: secretKey });
  asNobody = caller(apiOf(stage()), { apikey: publishableKey });
  const { client, userId } = await stage().signUp();
  got(
    await stage().service().from("tenant_members")
      .insert({ tenant_id: apex.tenantId, user_id: userId, role: "member" }).select("user_id"),
  );
  asViewer = caller(apiOf(stage()), { token: await tokenOf({ client }) });
  maria = await apex.lead({ phone: newPhone(), email: "maria@example.com" });
});

interface Enveloped<T> extends Record<string, unknown> {
  success: boolean;
  data: T;
  pagination?: { page: number; limit: number; total: number; hasMore: boolean };
  error?: { code: string; message: string; details?: { issues?: { path: string[] }[] } };
}

async function data<T = Record<string, JSONValue>>(
  call: Call,
  method: string,
  path: string,
  body?: JSONValue,
  status = 200,
): Promise<T> {
  const answer = await call<Enveloped<T>>(method, path, body);
  expect([answer.status, answer.body.error]).toEqual([status, undefined]);
  expect(answer.body.success).toBe(true);
  return answer.body.data;
}

async function refused(call: Call, method: string, path: string, body?: JSONValue) {
  const { status, body: answer, headers } = await call<Enveloped<null>>(method, path, body);
  expect(answer.success).toBe(false);
  expect(headers.get("content-type")).toBe("application/json");
  return { status, ...answer.error! };
}

type Created = { workflow: { id: string } & Record<string, JSONValue> };
const greet = (more: Record<string, JSONValue> = {}) => ({
  name: "Greet",
  trigger_type: "contact_created",
  steps: [{
    step_order: 1,
    step_type: "create_task",
    step_config: {
      title: "Call {{trigger.contact.first_name}}",
      due_date_days: 3,
      priority: "high",
    },
  }],
  ...more,
});

describe("who may ask", () => {
  it("nobody without a token or a key, in the old words", async () => {
    expect(await refused(asNobody, "GET", "/api/workflows")).toMatchObject({
      status: 401,
      code: "UNAUTHORIZED",
    });
  });

  it("a key names the tenant", async () => {
    expect(await refused(asService, "GET", "/api/workflows")).toMatchObject({
      status: 400,
      code: "VALIDATION_ERROR",
      message: expect.stringContaining("which tenant is meant"),
    });
    const named = caller(apiOf(stage()), {
      apikey: stage().stack.secretKey,
      headers: { "x-tenant-id": apex.tenantId },
    });
    expect(await data(named, "GET", "/api/workflows")).toMatchObject({ page: 1, limit: 20 });
  });

  it("nobody sees or touches another office's", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/workflows", greet(), 201);
    for (
      const [method, path, body] of [
        ["GET", "", undefined],
        ["PATCH", "", { name: "Mine" }],
        ["DELETE", "", undefined],
        ["GET", "/executions", undefined],
        ["GET", "/stats", undefined],
        ["POST", "/test", { trigger_data: {} }],
      ] as const
    ) {
      for (const kind of ["workflows", "automations"]) {
        const answer = await refused(asBlue, method, `/api/${kind}/${workflow.id}${path}`, body);
        expect([method, path, answer.status, answer.code, answer.message]).toEqual([
          method,
          path,
          404,
          "NOT_FOUND",
          "Workflow not found not found",
        ]);
      }
    }
    const execution = { workflow_id: workflow.id, trigger_data: {} };
    expect(await refused(asBlue, "POST", "/api/automations/execute", execution)).toMatchObject({
      status: 404,
      message: "Workflow not found or not active not found",
    });
    expect(await data(asApex, "GET", `/api/workflows/${workflow.id}`)).toMatchObject({
      workflow: { name: "Greet", is_active: true },
    });
  });

  it("who may not publish gets a draft no further", async () => {
    await stage().sql`
      update public.tenants set settings = settings || '{"editors_publish": false}'
      where id = ${apex.tenantId}`;
    expect(await refused(asViewer, "POST", "/api/workflows", greet())).toMatchObject({
      status: 403,
      code: "FORBIDDEN",
    });
    const { workflow } = await data<Created>(
      asViewer,
      "POST",
      "/api/workflows",
      greet({ is_active: false }),
      201,
    );
    const path = `/api/workflows/${workflow.id}`;
    expect(await refused(asViewer, "PATCH", path, { is_active: true })).toMatchObject({
      status: 403,
    });
    await data(asViewer, "PATCH", path, { name: "Renamed" });
    await data(asApex, "PATCH", path, { is_active: true });
    // Nor by the back door.
    expect(await refused(asViewer, "PATCH", path, { trigger_config: { type: "lead" } }))
      .toMatchObject({ status: 403 });
    expect(await refused(asViewer, "DELETE", path)).toMatchObject({ status: 403 });
  });
});

describe("/api/workflows", () => {
  it("creates with steps, and answers what was sent", async () => {
    const sent = greet({
      name: "Won",
      trigger_type: "pipeline_stage_changed",
      trigger_config: { new_stage: "won" },
      description: "Tells the office",
    });
    const { workflow } = await data<Created>(asApex, "POST", "/api/workflows", sent, 201);
    expect(workflow).toEqual({
      id: expect.any(String),
      tenant_id: apex.tenantId,
      name: "Won",
      description: "Tells the office",
      trigger_type: "pipeline_stage_changed",
      trigger_config: { new_stage: "won" },
      is_active: true,
      created_by: null,
      created_at: expect.any(String),
      updated_at: expect.any(String),
      is_deleted: false,
    });
    const read = await data<Created>(asApex, "GET", `/api/workflows/${workflow.id}`);
    expect(read.workflow.workflow_steps).toEqual([{
      id: expect.any(String),
      workflow_id: workflow.id,
      step_order: 1,
      step_type: "create_task",
      step_config: sent.steps[0]!.step_config,
      delay_minutes: 0,
      created_at: expect.any(String),
      updated_at: expect.any(String),
    }]);
    // It does what it says.
    const { id } = got(
      await apex.client.from("projects").insert({
        tenant_id: apex.tenantId,
        contact_id: maria,
        name: "Roof",
        pipeline_stage: "quoted",
      }).select("id").single(),
    );
    got(await apex.client.from("projects").update({ pipeline_stage: "won" }).eq("id", id).select());
    await stage().sql`select automation.tick()`;
    const tasks = got(await apex.client.from("tasks").select("title").eq("project_id", id));
    expect(tasks).toEqual([{ title: "Call Maria" }]);
  });

  it("lists newest first, by page and filter", async () => {
    await data(asBlue, "POST", "/api/workflows", greet({ name: "One" }), 201);
    await data(asBlue, "POST", "/api/workflows", greet({ name: "Two", is_active: false }), 201);
    await data(
      asBlue,
      "POST",
      "/api/workflows",
      greet({ name: "Three", trigger_type: "manual" }),
      201,
    );
    const answer = await asBlue<Enveloped<{ workflows: { name: string }[]; total: number }>>(
      "GET",
      "/api/workflows?limit=2",
    );
    expect(answer.body.data).toMatchObject({
      workflows: [{ name: "Three" }, { name: "Two" }],
      total: 3,
      page: 1,
      limit: 2,
    });
    expect(answer.body.pagination).toEqual({ page: 1, limit: 2, total: 3, hasMore: true });
    const names = async (query: string) =>
      (await data<{ workflows: { name: string }[] }>(asBlue, "GET", `/api/workflows?${query}`))
        .workflows.map(({ name }) => name);
    expect(await names("limit=2&page=2")).toEqual(["One"]);
    expect(await names("trigger_type=manual")).toEqual(["Three"]);
    expect(await names("is_active=false")).toEqual(["Two"]);
    expect(await refused(asBlue, "GET", "/api/workflows?page=0")).toMatchObject({
      status: 400,
      code: "VALIDATION_ERROR",
      message: "Validation failed",
      details: { issues: [{ path: ["page"] }] },
    });
  });

  /** What requests come to that have read a workflow when somebody else's change of it commits. */
  async function meanwhile(id: string, requests: () => Promise<unknown>[]) {
    const { sql } = stage();
    const { waiting } = await sql.begin(async (tx) => {
      await tx`select from ridgeline.workflows where id = ${id} for update`;
      const waiting = requests();
      await expect.poll(async () =>
        (await sql`
          select distinct pid from pg_locks where not granted`).length, {
        timeout: 15_000,
      }).toBe(waiting.length);
      await tx`
        update ridgeline.workflows set name = 'Theirs', trigger_config = '{"type": "lead"}' where id = ${id}`;
      return { waiting };
    });
    return await Promise.all(waiting);
  }

  it("tells who saves over what somebody else has just saved, and keeps theirs", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/workflows", greet(), 201);
    const id = String(workflow.id);
    const path = `/api/workflows/${id}`;
    const [conflicting, renamed] = await meanwhile(id, () => [
      refused(asApex, "PATCH", path, { trigger_config: { type: "customer" } }),
      data(asApex, "PATCH", path, { description: "What we say" }),
    ]);
    expect(conflicting).toMatchObject({
      status: 409,
      message: expect.stringMatching(/Somebody else has changed this workflow/),
    });
    // What says nothing of what they changed goes beside it.
    expect(renamed).toMatchObject({ workflow: { name: "Theirs", description: "What we say" } });
    const shown = await data<Created>(asApex, "GET", path);
    expect(shown.workflow).toMatchObject({ name: "Theirs", trigger_config: { type: "lead" } });
    // Loaded again it is saved.
    expect(
      (await data<Created>(asApex, "PATCH", path, { trigger_config: { type: "customer" } }))
        .workflow,
    ).toMatchObject({ name: "Theirs", trigger_config: { type: "customer" } });
  });

  it("tells the browser's editor as well", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/workflows", greet(), 201);
    const id = String(workflow.id);
    const path = `/api/automations/${id}`;
    const { workflow: shown } = await data<Created>(asApex, "GET", path);
    const actions = [...(shown.actions as JSONValue[]), {
      type: "create_task",
      config: { title: "Mine" },
    }];
    const [conflicting] = await meanwhile(id, () => [refused(asApex, "PATCH", path, { actions })]);
    expect(conflicting).toMatchObject({ status: 409 });
    expect((await data<Created>(asApex, "GET", path)).workflow).toMatchObject({
      name: "Theirs",
      actions: shown.actions,
    });
  });

  it("changes name, description, is_active and trigger_config, and passes the rest over", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/workflows", greet(), 201);
    const path = `/api/workflows/${workflow.id}`;
    const changed = await data<Created>(asApex, "PATCH", path, {
      name: "Greet leads",
      trigger_config: { type: "lead" },
      trigger_type: "manual",
      steps: [],
    });
    expect(changed.workflow).toMatchObject({
      name: "Greet leads",
      trigger_type: "contact_created",
      trigger_config: { type: "lead" },
      is_active: true,
    });
    // An edit of the old engine's was what ran from then on.
    await apex.lead({ first_name: "Cus", type: "customer" });
    await apex.lead({ first_name: "Lea", type: "lead" });
    await stage().sql`select automation.tick()`;
    const titles = got(
      await apex.client.from("tasks").select("title").in("title", ["Call Cus", "Call Lea"]),
    );
    const runs = await data<{ total: number }>(asApex, "GET", `${path}/executions`);
    expect(runs.total).toBe(1);
    expect(titles.some(({ title }) => title === "Call Lea")).toBe(true);
    expect(await data<Created>(asApex, "PATCH", path, { is_active: false })).toMatchObject({
      workflow: { is_active: false },
    });
    expect(await refused(asApex, "PATCH", path, { name: "" })).toMatchObject({
      status: 400,
      message: "Validation failed",
    });
  });

  it("deletes softly", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/workflows", greet(), 201);
    const path = `/api/workflows/${workflow.id}`;
    expect(await data(asApex, "DELETE", path)).toBeNull();
    expect(await refused(asApex, "GET", path)).toMatchObject({ status: 404 });
    expect(await refused(asApex, "DELETE", path)).toMatchObject({ status: 404 });
    const [kept] = await stage().sql`
      select status, is_active from ridgeline.workflows where id = ${workflow.id}`;
    expect(kept).toEqual({ status: "archived", is_active: false });
    expect(
      await refused(asApex, "POST", "/api/automations/execute", {
        workflow_id: workflow.id,
        trigger_data: {},
      }),
    ).toMatchObject({ message: "Workflow not found or not active not found" });
  });

  it.each<[string, Record<string, JSONValue>, string]>([
    ["no name", { name: undefined as unknown as null }, "name"],
    ["a name of blanks", { name: "  " }, "name"],
    ["a name too long", { name: "x".repeat(201) }, "name"],
    ["no trigger", { trigger_type: undefined as unknown as null }, "trigger_type"],
    ["steps that are none", { steps: [{ step_type: "wait" }] }, "steps"],
    ["a step of no type there is", {
      steps: [{ step_order: 1, step_type: "fly", step_config: {} }],
    }, "step"],
    ["another's record", {
      steps: [{
        step_order: 1,
        step_type: "update_contact",
        step_config: { contact_id: randomUUID(), updates: { stage: "won" } },
      }],
    }, "steps"],
  ])("%s: 400, and nothing of it is kept", async (_name, change, path) => {
    const count = async () =>
      (await data<{ total: number }>(asApex, "GET", "/api/workflows")).total;
    const before = await count();
    const answer = await refused(asApex, "POST", "/api/workflows", greet(change));
    expect([answer.status, answer.code]).toEqual([400, "VALIDATION_ERROR"]);
    expect(JSON.stringify(answer)).toContain(path);
    expect(await count()).toBe(before);
  });

  it("takes hostile words for words", async () => {
    const name = `'; drop table ridgeline.workflows; -- {{contact.email}} 🏠`;
    const { workflow } = await data<Created>(
      asApex,
      "POST",
      "/api/workflows",
      greet({ name }),
      201,
    );
    expect(workflow.name).toBe(name);
    const found = await data<{ workflows: unknown[] }>(
      asApex,
      "GET",
      `/api/automations?search=${encodeURIComponent(name.slice(0, 40))}`,
    );
    expect(found.workflows).toHaveLength(1);
    for (const id of ["1", "%00", "..%2f..", "' or true --", "%E0%A4%A"]) {
      const { status } = await asApex("GET", `/api/workflows/${id}`);
      expect([id, [400, 404].includes(status)]).toEqual([id, true]);
    }
    expect((await asApex("PUT", `/api/workflows/${workflow.id}`, {})).status).toBe(405);
    expect((await asApex("GET", "/api/nothing")).status).toBe(404);
    expect(await refused(asApex, "POST", "/api/workflows", undefined)).toMatchObject({
      status: 400,
    });
  });
});

describe("/api/workflows/trigger and /api/automations/execute", () => {
  it("start what matches, and say how many", async () => {
    const { workflow } = await data<Created>(
      asApex,
      "POST",
      "/api/workflows",
      greet({ trigger_type: "call_missed" }),
      201,
    );
    const answer = await data<{ execution_ids: string[] }>(
      asApex,
      "POST",
      "/api/workflows/trigger",
      {
        trigger_type: "call_missed",
        trigger_data: { contact_id: maria, call_sid: "CA1" },
        source: "a member that nobody knows",
      },
    );
    expect(answer).toEqual({
      message: "Workflows triggered successfully",
      execution_ids: [expect.any(String)],
      count: 1,
    });
    const { executions } = await data<{ executions: Record<string, JSONValue>[] }>(
      asApex,
      "GET",
      `/api/workflows/${workflow.id}/executions`,
    );
    expect(executions).toMatchObject([{
      id: answer.execution_ids[0],
      workflow_id: workflow.id,
      tenant_id: apex.tenantId,
      status: "pending",
      trigger_data: { call_sid: "CA1", contact_id: maria },
      completed_at: null,
      error_message: null,
    }]);
  });

  it.each([["call_completed"], ["full_moon"]])("nothing listens to %s: 400", async (type) => {
    expect(
      await refused(asApex, "POST", "/api/workflows/trigger", {
        trigger_type: type,
        trigger_data: {},
      }),
    ).toEqual({
      status: 400,
      code: "VALIDATION_ERROR",
      message: "No workflows found for this trigger type",
      details: { trigger_type: type },
    });
  });

  it("both members are needed", async () => {
    expect(await refused(asApex, "POST", "/api/workflows/trigger", { trigger_type: "manual" }))
      .toMatchObject({
        status: 400,
        message: "Validation failed",
        details: { issues: [{ path: ["trigger_data"] }] },
      });
    for (
      const body of [{}, { workflow_id: randomUUID() }, {
        workflow_id: randomUUID(),
        trigger_data: null,
      }]
    ) {
      expect(await refused(asApex, "POST", "/api/automations/execute", body)).toEqual({
        status: 400,
        code: "VALIDATION_ERROR",
        message: "Missing required fields: workflow_id, trigger_data",
      });
    }
    expect(await refused(asApex, "PUT", "/api/automations/execute", {})).toMatchObject({
      status: 400,
      message: "Missing required field: workflow_id",
    });
  });

  it("execute starts any active workflow, whatever its trigger, and knows its caller", async () => {
    const { workflow } = await data<Created>(
      asApex,
      "POST",
      "/api/workflows",
      greet({
        trigger_type: "job_completed",
        steps: [{
          step_order: 1,
          step_type: "create_task",
          step_config: {
            title: "{{trigger.user.id}} {{trigger.user.desk}} {{trigger.triggered_manually}}",
          },
        }],
      }),
      201,
    );
    const me = (await apex.client.auth.getUser()).data.user!.id;
    const first = await data(asApex, "POST", "/api/automations/execute", {
      workflow_id: workflow.id,
      trigger_data: { contact_id: maria, user: { desk: "3" } },
    });
    expect(first).toEqual({
      execution_id: expect.any(String),
      status: "pending",
      message: expect.any(String),
    });
    const second = await data(asApex, "PUT", "/api/automations/execute", {
      workflow_id: workflow.id,
      manual_data: { contact_id: maria },
    });
    expect(second).toEqual({
      execution_id: expect.any(String),
      message: "Manual workflow triggered successfully",
    });
    await stage().sql`select automation.tick()`;
    const titles = await stage().sql`
      select title from public.tasks
      where execution_id in (${String(first.execution_id)}, ${String(second.execution_id)})
      order by created_at, title`;
    expect(titles.map(({ title }) => title.trim()).sort()).toEqual(
      [`${me} 3`, `${me}  true`].sort(),
    );
  });

  it("unknown, inactive and no id at all are one: 404", async () => {
    const { workflow } = await data<Created>(
      asApex,
      "POST",
      "/api/workflows",
      greet({ is_active: false }),
      201,
    );
    for (const workflow_id of [workflow.id, randomUUID(), "workflow_123", 5]) {
      expect(
        await refused(asApex, "POST", "/api/automations/execute", {
          workflow_id,
          trigger_data: {},
        }),
      ).toEqual({
        status: 404,
        code: "NOT_FOUND",
        message: "Workflow not found or not active not found",
      });
    }
  });

  it("a key carries a request out once, and any content type will do", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/workflows", greet(), 201);
    const body = { workflow_id: workflow.id, trigger_data: { contact_id: maria } };
    const options = { key: randomUUID(), headers: { "content-type": "text/plain" } };
    const first = await asApex("POST", "/api/automations/execute", body, options);
    const again = await asApex("POST", "/api/automations/execute", body, options);
    expect(first.status).toBe(200);
    expect(again.body).toEqual(first.body);
    expect(again.headers.get("idempotency-replayed")).toBe("true");
  });
});

describe("/api/automations", () => {
  const nurture = {
    name: "New lead",
    status: "active",
    trigger: {
      id: "t1",
      type: "contact_created",
      config: { type: "contact_created", contact_type: ["prospect"] },
      enabled: true,
    },
    actions: [
      {
        id: "a1",
        type: "create_task",
        config: { type: "create_task", title: "First", due_date: "+3 days" },
        enabled: true,
        order: 0,
      },
      {
        id: "a2",
        type: "create_task",
        config: { title: "After three days" },
        delay: 72,
        enabled: true,
        order: 1,
      },
      {
        id: "a3",
        type: "add_tag",
        config: { tags: ["new", "hot"] },
        delay: 1,
        enabled: true,
        order: 2,
      },
      { id: "a4", type: "create_task", config: { title: "Never" }, enabled: false, order: 3 },
    ],
    conditions: [
      { id: "c1", field: "contact.first_name", operator: "equals", value: "Ann", logic_gate: "OR" },
      {
        id: "c2",
        field: "contact.first_name",
        operator: "equals",
        value: "Zoe",
        logic_gate: "AND",
      },
    ],
  };

  it("takes a document as it is, runs it in its own order of time, and gives it back", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/automations", nurture, 201);
    expect(workflow).toMatchObject({
      ...nurture,
      tenant_id: apex.tenantId,
      is_template: false,
      execution_count: 0,
      last_executed_at: null,
    });
    const ann = await apex.lead({ first_name: "Ann", type: "prospect" });
    await apex.lead({ first_name: "Bob", type: "prospect" });
    const zoe = await apex.lead({ first_name: "Zoe", type: "prospect" });
    await apex.lead({ first_name: "Zoe", type: "lead" });
    const titles = async () =>
      got(
        await apex.client.from("tasks").select("title, contact_id").in("contact_id", [ann, zoe])
          .order("created_at").order("title"),
      ).map(({ title }) => title);
    const work = async (interval: string) => {
      await stage().sql`select automation.advance_clock(${interval}::interval)`;
      for (let round = 0; round < 3; round++) await stage().sql`select automation.tick()`;
    };
    await work("1 second");
    expect((await titles()).filter((title) => title === "First")).toHaveLength(2);
    await work("61 minutes");
    const tags = got(
      await apex.client.from("contact_tags").select("tags(name)").eq("contact_id", ann),
    );
    expect(tags.map(({ tags }) => tags!.name).sort()).toEqual(["hot", "new"]);
    expect(await titles()).not.toContain("After three days");
    // From the start of the run, and not from the tags before it.
    await work("71 hours");
    expect((await titles()).filter((title) => title === "After three days")).toHaveLength(2);
    expect(await titles()).not.toContain("Never");
    const { executions } = await data<{ executions: Record<string, JSONValue>[] }>(
      asApex,
      "GET",
      `/api/automations/${workflow.id}/executions`,
    );
    expect(executions).toHaveLength(2);
    expect(executions[0]).toMatchObject({
      workflow_id: workflow.id,
      status: "completed",
      error_message: null,
      executed_actions: [
        { action_id: "a1", status: "completed" },
        { action_id: "a3", status: "completed" },
        { action_id: "a3", status: "completed" },
        { action_id: "a2", status: "completed" },
      ],
    });
    expect(await data(asApex, "GET", `/api/automations/${workflow.id}/stats`)).toMatchObject({
      workflow_id: workflow.id,
      total_executions: 2,
      successful_executions: 2,
      failed_executions: 0,
      running_executions: 0,
      success_rate: 100,
      last_executed_at: expect.any(String),
    });
    expect(await data(asApex, "GET", `/api/automations/${workflow.id}`)).toMatchObject({
      workflow: { execution_count: 2 },
    });
    const all = await data<{ executions: { workflow_id: string }[] }>(
      asApex,
      "GET",
      `/api/automations/executions?status=completed&workflow_id=${workflow.id}`,
    );
    expect(all.executions).toHaveLength(2);
    expect(await refused(asApex, "GET", "/api/automations/executions?status=done")).toMatchObject({
      status: 400,
    });
  });

  it("changes what was sent, and that is what runs; a status alone leaves it as it is", async () => {
    const { workflow } = await data<Created>(
      asApex,
      "POST",
      "/api/automations",
      {
        ...nurture,
        status: "draft",
        trigger: { type: "manual", config: { type: "manual" } },
        conditions: [],
      },
      201,
    );
    const path = `/api/automations/${workflow.id}`;
    expect(workflow.status).toBe("draft");
    const actions = [{
      id: "b1",
      type: "create_task",
      config: { title: "Edited" },
      order: 0,
      enabled: true,
    }];
    expect(await data(asApex, "PATCH", path, { actions, status: "active" })).toMatchObject({
      workflow: { status: "active", actions, trigger: { type: "manual" } },
    });
    expect(await data(asApex, "PATCH", path, { status: "paused" })).toMatchObject({
      workflow: { status: "paused", actions },
    });
    await data(asApex, "PATCH", path, { status: "active" });
    const again = [{ ...actions[0]!, config: { title: "Edited twice" } }];
    await data(asApex, "PATCH", path, { actions: again });
    const { execution_id } = await data(asApex, "PUT", "/api/automations/execute", {
      workflow_id: workflow.id,
    });
    await stage().sql`select automation.tick()`;
    const [task] = await stage().sql`
      select title from public.tasks where execution_id = ${String(execution_id)}`;
    expect(task).toEqual({ title: "Edited twice" });
    // Edited elsewhere: what runs is shown, not what was sent once.
    got(
      await apex.client.schema("ridgeline").from("workflow_steps")
        .update({ step_config: { title: "From Studio" } }).eq("workflow_id", workflow.id).select(
          "id",
        ),
    );
    expect(await data(asApex, "GET", path)).toMatchObject({
      workflow: { actions: [{ type: "create_task", config: { title: "From Studio" }, order: 0 }] },
    });
  });

  it("test is a dry run", async () => {
    const { workflow } = await data<Created>(asApex, "POST", "/api/automations", nurture, 201);
    const before = got(await apex.client.from("tasks").select("id")).length;
    const answer = await data(asApex, "POST", `/api/automations/${workflow.id}/test`, {
      trigger_data: { contact: { first_name: "Ann", type: "prospect" } },
    });
    expect(answer).toMatchObject({
      dry_run: true,
      workflow_id: workflow.id,
      conditions_met: true,
      status: "completed",
      executed_actions: [
        { action_id: "a1", type: "create_task", status: "completed", output: { title: "First" } },
        { action_id: "a3" },
        { action_id: "a3" },
        { action_id: "a2" },
      ],
    });
    expect(
      await data(asApex, "POST", `/api/automations/${workflow.id}/test`, {
        trigger_data: { contact: { first_name: "Bob" } },
      }),
    ).toMatchObject({ conditions_met: false, executed_actions: [] });
    expect(got(await apex.client.from("tasks").select("id")).length).toBe(before);
    const runs = await data<{ total: number }>(
      asApex,
      "GET",
      `/api/automations/${workflow.id}/executions`,
    );
    expect(runs.total).toBe(0);
  });

  it("filters its list", async () => {
    const make = (name: string, status: string, type = "manual") =>
      data(asBlue, "POST", "/api/automations", {
        name,
        status,
        trigger: { type, config: { type } },
        actions: [{ type: "create_task", config: { title: "x" } }],
      }, 201);
    await make("Alpha", "active");
    await make("Beta", "draft");
    await make("Gamma", "paused", "contact_created");
    const names = async (query: string) =>
      (await data<{ workflows: { name: string }[] }>(asBlue, "GET", `/api/automations?${query}`))
        .workflows.map(({ name }) => name);
    expect(await names("status=active,paused&search=a&trigger_type=manual,contact_created&limit=2"))
      .toEqual(["Gamma", "Alpha"]);
    expect(await names("status=draft&search=BET")).toEqual(["Beta"]);
    expect(await names("is_template=true")).toEqual([]);
    const page = await data(asBlue, "GET", "/api/automations?limit=1");
    expect(page).toMatchObject({ page: 1, limit: 1, has_more: true, total: expect.any(Number) });
  });

  it("refuses a password in a definition, and says where it belongs", async () => {
    const answer = await refused(asApex, "POST", "/api/automations", {
      ...nurture,
      actions: [{
        type: "webhook",
        config: {
          url: "https://example.com",
          method: "POST",
          auth: { type: "bearer", token: "s3cret" },
        },
      }],
    });
    expect(answer).toMatchObject({
      status: 400,
      message: expect.stringContaining("actions.0.config.auth"),
    });
    expect(JSON.stringify(answer)).not.toContain("s3cret");
  });

  describe("a workflow that was made elsewhere", () => {
    const made = {
      name: "Made in the builder",
      trigger_type: "contact_created",
      trigger_config: { type: ["prospect"] },
      conditions: { any: [{ all: [{ field: "contact.first_name", operator: "is_not_empty" }] }] },
      settings: { reentry: "never" },
      steps: [
        {
          step_key: "ask",
          name: "A question",
          step_type: "conditional",
          step_config: {
            conditions: [{ field: "contact.first_name", operator: "equals", value: "Ann" }],
          },
          branches: {
            then: [{ step_key: "yes", step_type: "create_task", step_config: { title: "Ann" } }],
            else: [{ step_key: "no", step_type: "create_task", step_config: { title: "Not Ann" } }],
          },
        },
        {
          step_key: "write",
          step_type: "send_sms",
          step_config: { to: "{{contact.phone}}", body: "Hello", purpose: "transactional" },
          delay_minutes: 20,
          conditions: [{ field: "contact.phone", operator: "is_not_empty" }],
          continue_on_error: true,
          retry: { max_attempts: 2 },
        },
        { step_key: "pause", step_type: "wait", step_config: { minutes: 90 } },
        {
          step_key: "after",
          step_type: "create_task",
          step_config: { title: "After", due_in_days: 3 },
        },
      ],
    };
    interface Definition {
      name: string;
      steps:
        (Record<string, JSONValue> & { step_key: string; branches?: Record<string, object[]> })[];
      [key: string]: unknown;
    }
    const create = async () => {
      const saved = got(
        await apex.client.schema("ridgeline").rpc("save_workflow", { definition: made }),
      ) as { workflow_id: string };
      return { id: saved.workflow_id, path: `/api/automations/${saved.workflow_id}` };
    };
    const source = async (id: string) =>
      (got(
        await apex.client.schema("ridgeline").rpc("get_definition", { workflow_id: id }),
      ) as unknown as { definition: Definition }).definition;
    type Shown = Record<string, JSONValue> & { actions: Record<string, JSONValue>[] };
    const load = async (path: string) =>
      (await data<{ workflow: Shown }>(asApex, "GET", path)).workflow;

    it("is shown as its main line, in the screen's words", async () => {
      const { path } = await create();
      expect(await load(path)).toMatchObject({
        trigger: {
          type: "contact_created",
          config: { type: "contact_created", contact_type: ["prospect"] },
        },
        actions: [
          { type: "conditional" },
          { type: "send_sms", config: { message: "Hello" }, delay: 0.333 },
          { type: "wait", config: { duration: 1.5 } },
          { type: "create_task", config: { title: "After", due_date: "+3 days" } },
        ],
        conditions: [],
      });
    });

    it("saved back as it was shown, it is what it was, under its new name", async () => {
      const { id, path } = await create();
      const before = await source(id);
      const shown = await load(path);
      await data(asApex, "PATCH", path, { ...shown, name: "Renamed" });
      expect(await source(id)).toEqual({ ...before, name: "Renamed" });
      // And through the server's shape, which takes no steps.
      await data(asApex, "PATCH", `/api/workflows/${id}`, {
        name: "Again",
        trigger_config: before.trigger_config as JSONValue,
        steps: [],
      });
      expect(await source(id)).toEqual({ ...before, name: "Again" });
    });

    it("what was edited is edited, and the rest keeps what the screen cannot show", async () => {
      const { id, path } = await create();
      const before = await source(id);
      const shown = await load(path);
      const [ask, write, pause, after] = shown.actions as [
        Record<string, JSONValue>,
        Record<string, JSONValue>,
        Record<string, JSONValue>,
        Record<string, JSONValue>,
      ];
      const actions = [
        ask,
        { ...write, config: { ...write.config as object, message: "Good morning" } },
        { ...pause, config: { ...pause.config as object, duration: 2 } },
        after,
        { id: "new", type: "add_tag", config: { tags: ["a"] }, delay: 5, order: 9 },
      ] as JSONValue[];
      await data(asApex, "PATCH", path, { actions });
      const edited = await source(id);
      expect(edited.steps.slice(0, 4)).toEqual([
        before.steps[0],
        {
          ...before.steps[1],
          step_config: { to: "{{contact.phone}}", body: "Good morning", purpose: "transactional" },
        },
        { ...before.steps[2], step_config: { minutes: 120 } },
        before.steps[3],
      ]);
      expect(edited.steps[4]).toMatchObject({
        step_type: "add_tag",
        step_config: { tag: "a" },
        delay_minutes: 280,
      });
      const { steps: _steps, ...rest } = edited;
      const { steps: _before, ...was } = before;
      expect(rest).toEqual(was);
    });

    it("what has branches is not lost by leaving it out, nor grouped conditions by writing others", async () => {
      const { id, path } = await create();
      const before = await source(id);
      const { actions } = await load(path);
      expect(await refused(asApex, "PATCH", path, { actions: actions.slice(1) })).toMatchObject({
        status: 400,
        message: expect.stringContaining("ask has branches"),
      });
      expect(
        await refused(asApex, "PATCH", path, {
          conditions: [{ field: "contact.stage", operator: "equals", value: "new" }],
        }),
      ).toMatchObject({ status: 400, message: expect.stringContaining("grouped") });
      expect(await source(id)).toEqual(before);
      // Its trigger may change, and what was asked is asked on.
      await data(asApex, "PATCH", path, {
        trigger: { type: "contact_created", config: { contact_type: ["lead"] } },
      });
      expect(await source(id)).toEqual({ ...before, trigger_config: { type: "lead" } });
    });
  });

  it("supabase-js reaches it from a page", async () => {
    const { data: answer, error } = await apex.client.functions.invoke("workflows/api/workflows", {
      method: "GET",
    });
    expect(error).toBeNull();
    expect(answer).toMatchObject({ success: true, data: { page: 1 } });
  });
});

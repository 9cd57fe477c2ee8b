// What the Data API answers when a call cannot be done: a 4xx with the engine's words, never a 500.
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startTestStack, type TestStack } from "../support/stack.ts";

let running: TestStack;
let tenantId: string;
let draft: string;
let flow: string;
let done: string;

beforeAll(async () => {
  running = await startTestStack();
  const service = running.service();
  const { data } = await service.from("tenants").insert({ name: "Apex Roofing" }).select().single();
  tenantId = data!.id;
  const workflow = async (name: string, steps: object[]) => {
    const made = await service.from("workflows")
      .insert({ tenant_id: tenantId, name, trigger_type: "manual" }).select().single();
    for (const [place, step] of steps.entries()) {
      await service.from("workflow_steps").insert({
        tenant_id: tenantId,
        workflow_id: made.data!.id,
        step_order: place,
        step_type: "create_task",
        ...step,
      });
    }
    return made.data!.id as string;
  };
  draft = await workflow("Half done", [{ step_config: {} }]);
  flow = await workflow("Call", [{ step_config: { title: "Call" } }]);
  await service.from("workflows").update({ is_active: true }).eq("id", flow);
  const run = await service.rpc("execute_workflow", { workflow_id: flow });
  done = (run.data as unknown as { id: string }).id;
  await running.sql`select automation.run_database_steps()`;
});
afterAll(() => running?.stop());

const rest = (method: string, path: string, body?: unknown) =>
  fetch(`${running.stack.apiUrl}/rest/v1/${path}`, {
    method,
    headers: { apikey: running.stack.secretKey, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

const nobody = randomUUID();
const cases: [string, string, string, () => unknown, number, string, RegExp][] = [
  [
    "an unknown workflow",
    "POST",
    "rpc/execute_workflow",
    () => ({ workflow_id: nobody }),
    404,
    "PT404",
    /^workflow_id: /,
  ],
  [
    "an unknown workflow",
    "POST",
    "rpc/publish_workflow",
    () => ({ workflow_id: nobody }),
    404,
    "PT404",
    /^workflow_id: /,
  ],
  [
    "an unknown workflow",
    "POST",
    "rpc/validate_workflow",
    () => ({ workflow_id: nobody }),
    404,
    "PT404",
    /^workflow_id: /,
  ],
  [
    "an unknown workflow",
    "POST",
    "rpc/test_workflow",
    () => ({ workflow_id: nobody }),
    404,
    "PT404",
    /^workflow_id: /,
  ],
  [
    "an unknown workflow",
    "POST",
    "rpc/explain_enrollment",
    () => ({ workflow_id: nobody, record: {} }),
    404,
    "PT404",
    /^workflow_id: /,
  ],
  [
    "an unknown workflow",
    "POST",
    "rpc/move_executions",
    () => ({ workflow_id: nobody }),
    404,
    "PT404",
    /^workflow_id: /,
  ],
  [
    "an unknown workflow",
    "POST",
    "rpc/enroll_records",
    () => ({ workflow_id: nobody, record_ids: [nobody] }),
    404,
    "PT404",
    /^workflow_id: /,
  ],
  [
    "an unknown run",
    "POST",
    "rpc/cancel_execution",
    () => ({ execution_id: nobody }),
    404,
    "PT404",
    /^execution_id: /,
  ],
  [
    "an unknown run",
    "POST",
    "rpc/retry_execution",
    () => ({ execution_id: nobody }),
    404,
    "PT404",
    /^execution_id: /,
  ],
  [
    "an unknown enrolment",
    "POST",
    "rpc/cancel_bulk_enrollment",
    () => ({ id: nobody }),
    404,
    "PT404",
    /was not found/,
  ],
  [
    "an unknown contact",
    "POST",
    "rpc/execute_workflow",
    () => ({ workflow_id: flow, trigger_data: { contact_id: nobody } }),
    404,
    "PT404",
    /^contact_id: /,
  ],
  [
    "an unknown version",
    "POST",
    "rpc/move_executions",
    () => ({ workflow_id: flow, to_version: 9 }),
    404,
    "PT404",
    /^to_version: /,
  ],
  [
    "an unknown version",
    "POST",
    "rpc/test_workflow",
    () => ({ workflow_id: flow, options: { version: 9 } }),
    404,
    "PT404",
    /^options.version: /,
  ],
  [
    "a draft",
    "POST",
    "rpc/execute_workflow",
    () => ({ workflow_id: draft }),
    409,
    "PT409",
    /^workflow_id: .* not active/,
  ],
  [
    "a draft",
    "POST",
    "rpc/enroll_records",
    () => ({ workflow_id: draft, record_ids: [nobody] }),
    409,
    "PT409",
    /not active/,
  ],
  [
    "a run that went well",
    "POST",
    "rpc/retry_execution",
    () => ({ execution_id: done }),
    409,
    "PT409",
    /^execution_id: only a failed/,
  ],
  [
    "no object",
    "POST",
    "rpc/execute_workflow",
    () => ({ workflow_id: flow, trigger_data: [1] }),
    400,
    "22023",
    /^trigger_data: /,
  ],
  [
    "an unknown trigger",
    "POST",
    "rpc/trigger_workflows",
    () => ({ trigger_type: "nope", trigger_data: {}, tenant_id: tenantId }),
    400,
    "22023",
    /^trigger_type: /,
  ],
  [
    "a broken draft",
    "POST",
    "rpc/publish_workflow",
    () => ({ workflow_id: draft }),
    400,
    "22023",
    /cannot be published/,
  ],
  [
    "a misspelt status",
    "POST",
    "rpc/get_execution_history",
    () => ({ status: "complete" }),
    400,
    "22023",
    /^status: /,
  ],
  ["no id", "POST", "rpc/cancel_execution", () => ({ execution_id: "x" }), 400, "22P02", /uuid/],
  [
    "too much",
    "POST",
    "rpc/execute_workflow",
    () => ({
      workflow_id: flow,
      trigger_data: { x: Array.from({ length: 30_000 }, () => randomUUID()) },
    }),
    413,
    "PT413",
    /^trigger_data: /,
  ],
];

test.each(cases)(
  "%s: %s %s",
  { timeout: 30_000 },
  async (_, method, path, body, status, code, message) => {
    const answer = await rest(method, path, body());
    const told = await answer.json();
    expect([answer.status, told.code]).toEqual([status, code]);
    expect(told.message).toMatch(message);
    expect(JSON.stringify(told)).not.toMatch(/PL\/pgSQL|SQL statement|select /);
  },
);

test("what rows may not be", async () => {
  const refused = async (method: string, path: string, body?: unknown) => {
    const answer = await rest(method, path, body);
    await answer.text();
    return answer.status;
  };
  expect(await refused("DELETE", `workflows?id=eq.${flow}`)).toBe(409);
  expect(await refused("PATCH", `workflows?id=eq.${draft}`, { is_active: true })).toBe(400);
  expect(await refused("PATCH", `workflows?id=eq.${flow}`, { trigger_type: "nope" })).toBe(400);
  expect(
    await refused("POST", "workflow_steps", {
      tenant_id: tenantId,
      workflow_id: nobody,
      step_type: "stop",
    }),
  )
    .toBe(409);
});

test("a tenant that publishes enough at once is told to wait, by every door; others are not", {
  timeout: 30_000,
}, async () => {
  const service = running.service();
  const { data: other } = await service.from("tenants").insert({ name: "Zoe Solar" }).select()
    .single();
  const busy = await Promise.all([running.sql.reserve(), running.sql.reserve()]);
  for (const session of busy) {
    await session`begin`;
    await session`select validate_workflow(${flow})`;
  }
  try {
    const switchOn = (id: string) => rest("PATCH", `workflows?id=eq.${id}`, { is_active: true });
    await rest("PATCH", `workflows?id=eq.${flow}`, { is_active: false });
    const doors = [
      await switchOn(flow),
      await rest("POST", "rpc/publish_workflow", { workflow_id: flow }),
      await rest("POST", "rpc/validate_workflow", { workflow_id: flow }),
      await rest("POST", "rpc/test_workflow", { workflow_id: flow }),
    ];
    for (const door of doors) {
      expect([door.status, (await door.json()).code]).toEqual([429, "PT429"]);
    }
    const api = await fetch(`${running.stack.apiUrl}/functions/v1/workflows/validate`, {
      method: "POST",
      headers: { apikey: running.stack.secretKey, "content-type": "application/json" },
      body: JSON.stringify({ workflow_id: flow }),
    });
    expect([api.status, api.headers.get("retry-after")]).toEqual([429, "1"]);
    const theirs = await service.from("workflows")
      .insert({ tenant_id: other!.id, name: "Call", trigger_type: "manual", is_active: true })
      .select().single();
    const steps = await rest("POST", "workflow_steps", {
      tenant_id: other!.id,
      workflow_id: theirs.data!.id,
      step_type: "create_task",
      step_config: { title: "Call" },
    });
    expect(steps.status).toBe(201);
  } finally {
    for (const session of busy) {
      await session`rollback`;
      session.release();
    }
  }
  const again = await rest("PATCH", `workflows?id=eq.${flow}`, { is_active: true });
  expect(again.status).toBeLessThan(300);
});

// What a client may send by mistake or on purpose: refused with an error that names the field, and
// whatever was there before goes on working.
import { randomUUID } from "node:crypto";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Json } from "../../packages/client/database.types.ts";
import { got, newPhone, Office, type Step, useStack } from "./support.ts";

const stage = useStack();
let office: Office;
let other: Office;
let greeted: number;

beforeAll(async () => {
  office = await Office.open(stage());
  other = await Office.open(stage(), "Blue Ridge Solar");
  await office.workflow({
    steps: [{ step_type: "create_task", step_config: { title: "Call {{contact.first_name}}" } }],
  });
  greeted = 0;
});

// Nothing is lost: after every mistake the next lead gets its task.
afterEach(async () => {
  const first_name = `Lead ${++greeted}`;
  await office.lead({ first_name, source: "nothing-is-lost" });
  await office.quiet();
  const { data } = await office.client.from("tasks").select("title").eq(
    "title",
    `Call ${first_name}`,
  );
  expect(data).toHaveLength(1);
});

/** A request as any program could make it, without the help of supabase-js. */
async function post(path: string, body: unknown) {
  const { data } = await office.client.auth.getSession();
  const answer = await fetch(`${stage().stack.apiUrl}/rest/v1/${path}`, {
    method: "POST",
    headers: {
      apikey: stage().stack.publishableKey,
      authorization: `Bearer ${data.session?.access_token}`,
      "content-type": "application/json",
      "content-profile": /^(contacts|projects|jobs|tasks|tags)/.test(path) ? "public" : "ridgeline",
      prefer: "return=representation",
    },
    body: typeof body === "string" ? body : JSON.stringify(body),
  });
  return { status: answer.status, text: await answer.text() };
}

describe("a workflow with", () => {
  const workflow = (fields: Record<string, unknown>) =>
    post("workflows", {
      tenant_id: office.tenantId,
      name: "Wrong",
      trigger_type: "contact_created",
      ...fields,
    });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["an unknown trigger type", { trigger_type: "contact_exploded" }, /trigger_type.*exploded/],
    ["no trigger type", { trigger_type: null }, /trigger_type/],
    ["a trigger type that is an object", { trigger_type: { a: 1 } }, /trigger_type/],
    ["a trigger_config that is a list", { trigger_config: ["lead"] }, /trigger_config/],
    ["a trigger_config that is text", { trigger_config: "lead" }, /trigger_config/],
    ["a trigger_config that is null", { trigger_config: null }, /trigger_config/],
    ["no name", { name: null }, /name/],
    ["a blank name", { name: "  " }, /name/],
    ["an unknown status", { status: "on" }, /status/],
    ["metadata that is a number", { metadata: 5 }, /metadata/],
    ["a column that does not exist", { trigger: "contact_created" }, /trigger/],
    ["the tenant of others", { tenant_id: "OTHER" }, /workflows/],
    ["a tenant that is no id", { tenant_id: "apex" }, /apex/],
  ])("%s is refused", async (_what, fields, message) => {
    const fixed = "tenant_id" in fields && fields.tenant_id === "OTHER"
      ? { ...fields, tenant_id: other.tenantId }
      : fields;
    const { status, text } = await workflow(fixed);
    expect(text).toMatch(message);
    expect(status).toBeGreaterThanOrEqual(400);
  });

  /** Everything that is known only when the parts come together is said at publishing. */
  async function publish(fields: Record<string, unknown>, step: Partial<Step> = {}) {
    const created = await workflow(fields);
    expect(created.status, created.text).toBe(201);
    const [{ id }] = JSON.parse(created.text);
    const added = await post("workflow_steps", {
      tenant_id: office.tenantId,
      workflow_id: id,
      step_order: 1,
      step_type: "create_task",
      step_config: { title: "Call" },
      ...step,
    });
    if (added.status >= 400) return added;
    const { error } = await office.client.schema("ridgeline").rpc("publish_workflow", {
      workflow_id: id,
    });
    const { data } = await office.client.schema("ridgeline").from("workflows").select("is_active")
      .eq("id", id)
      .single();
    // It would greet the leads of the other tests.
    await office.client.schema("ridgeline").from("workflows").update({ is_active: false }).eq(
      "id",
      id,
    );
    expect(data?.is_active).toBe(false);
    return { status: error ? 400 : 200, text: JSON.stringify(error) };
  }

  it.each<[string, Record<string, unknown>, Partial<Step>, RegExp]>([
    [
      "a column the record does not have",
      { trigger_config: { colour: "red" } },
      {},
      /trigger_config.colour/,
    ],
    ["no field to watch", { trigger_type: "field_changed" }, {}, /trigger_config.field/],
    [
      "an operator nobody knows",
      {
        conditions: [{ field: "contact.stage", operator: "resembles", value: "won" }],
      },
      {},
      /conditions\[0\].operator/,
    ],
    ["conditions that are text", { conditions: "stage = won" }, {}, /conditions/],
    [
      "a condition without a field",
      { conditions: [{ operator: "equals" }] },
      {},
      /conditions\[0\]/,
    ],
    ["an unknown step type", {}, { step_type: "send_fax" }, /step_type.*send_fax/],
    [
      "a step without what it needs",
      {},
      { step_type: "send_sms", step_config: {} },
      /steps\[0\].step_config.body/,
    ],
    [
      "a body that is blank",
      {},
      { step_type: "send_sms", step_config: { body: "" } },
      /steps\[0\].step_config.body/,
    ],
    [
      "a template that does not end",
      {},
      { step_config: { title: "Call {{contact.first_name" } },
      /steps\[0\].step_config.title/,
    ],
    [
      "a filter nobody knows",
      {},
      { step_config: { title: "{{contact.first_name | shout}}" } },
      /steps\[0\].step_config.title/,
    ],
    ["a delay below zero", {}, { delay_minutes: -1 }, /delay/],
    ["a delay of a million years", {}, { delay_minutes: 1e12 }, /delay/],
    ["a delay that is no number", {}, { delay_minutes: "NaN" as unknown as number }, /delay/],
    [
      "a step_config that is a list",
      {},
      { step_config: [] as unknown as Step["step_config"] },
      /step_config|config/,
    ],
    [
      "a step_config that is null",
      {},
      { step_config: null as unknown as Step["step_config"] },
      /step_config/,
    ],
    ["a field that may not be written", {}, {
      step_type: "update_field",
      step_config: { field: "tenant_id", value: randomUUID() },
    }, /steps\[0\].step_config.field/],
    ["an address that is none", {}, {
      step_type: "webhook",
      step_config: { url: "ftp://example.com" },
    }, /steps\[0\].step_config.url/],
    ["a number that is none", {}, {
      step_config: { title: "Call", due_in_days: "soon" },
    }, /steps\[0\].step_config.due_in_days/],
    ["a text that is a list", {}, {
      step_type: "send_sms",
      step_config: { body: ["Hi"] },
    }, /steps\[0\].step_config.body/],
    ["a title that is an object", {}, {
      step_config: { title: { a: 1 } },
    }, /steps\[0\].step_config.title/],
    ["a template of an unknown root", {}, {
      step_config: { title: "{{customer.name}}" },
    }, /steps\[0\].step_config.title.*customer/],
    ["a field that is misspelt", {}, {
      step_config: { title: "{{contact.frist_name}}" },
    }, /steps\[0\].step_config.title.*Did you mean first_name/],
    ["a text to nobody", { trigger_type: "scheduled", trigger_config: { every: "1 day" } }, {
      step_type: "send_sms",
      step_config: { body: "Hi" },
    }, /steps\[0\].step_config.to/],
    [
      "a date compared with a number",
      { conditions: [{ field: "contact.lead_score", operator: "before", value: "2026-03-01" }] },
      {},
      /conditions\[0\].operator/,
    ],
  ])("%s is not published", async (_what, fields, step, message) => {
    const { status, text } = await publish(fields, step);
    expect(text).toMatch(message);
    expect(status).toBeGreaterThanOrEqual(400);
  });
});

describe("a call with", () => {
  const call = (args: unknown) => post("rpc/trigger_workflows", args);

  it.each<[string, () => unknown, RegExp]>([
    ["an unknown trigger type", () => ({ trigger_type: "nothing" }), /trigger_type.*nothing/],
    ["a trigger type of null", () => ({ trigger_type: null }), /trigger_type/],
    ["data that is a list", () => ({ trigger_type: "manual", trigger_data: [1] }), /trigger_data/],
    ["data that is text", () => ({ trigger_type: "manual", trigger_data: "x" }), /trigger_data/],
    ["data of null", () => ({ trigger_type: "manual", trigger_data: null }), /trigger_data/],
    ["a contact nobody has", () => ({
      trigger_type: "manual",
      trigger_data: { contact_id: randomUUID() },
    }), /contact_id/],
    ["a contact that is no id", () => ({
      trigger_type: "manual",
      trigger_data: { contact_id: "Maria' or 1=1" },
    }), /contact_id/],
    ["a contact id that is an object", () => ({
      trigger_type: "manual",
      trigger_data: { contact_id: { a: 1 } },
    }), /contact_id/],
    ["two megabytes", () => ({
      trigger_type: "manual",
      trigger_data: { note: Array.from({ length: 60_000 }, () => randomUUID()).join("") },
    }), /trigger_data.*1 MB/],
    ["another tenant", () => ({ trigger_type: "manual", tenant_id: other.tenantId }), /tenant_id/],
    ["a parameter that does not exist", () => ({ trigger: "manual" }), /trigger/],
    [
      "U+0000 in a text",
      () => '{"trigger_type": "manual", "trigger_data": {"note": "\\u0000"}}',
      /u0000|U\+0000|null character|Unicode/i,
    ],
    [
      "a lone surrogate in a text",
      () => '{"trigger_type": "manual", "trigger_data": {"note": "\\ud800"}}',
      /surrogate|Unicode/i,
    ],
    ["half a JSON document", () => '{"trigger_type": "man', /JSON|body|parse/i],
    ["something that is no JSON at all", () => "<xml/>", /JSON|body|parse/i],
  ])("%s is refused", async (_what, args, message) => {
    const before = (await office.executions()).length;
    const { status, text } = await call(args());
    expect(text).toMatch(message);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(await office.executions()).toHaveLength(before);
  });

  it.each([null, "not-an-id", "", 5, {}])("execute_workflow of %j is refused", async (id) => {
    const { status, text } = await post("rpc/execute_workflow", { workflow_id: id });
    expect(text).toMatch(/workflow_id|uuid/);
    expect(status).toBeGreaterThanOrEqual(400);
  });

  it("a record that is no record is refused", async () => {
    const contact_id = await office.lead();
    const { status, text } = await call({
      trigger_type: "manual",
      trigger_data: { contact_id, contact: "Maria" },
    });
    expect(text).toMatch(/contact/);
    expect(status).toBeGreaterThanOrEqual(400);
  });
});

describe("a lead with", () => {
  const long = "x".repeat(200_000);

  it.each<[string, Record<string, Json>]>([
    ["nothing but nulls", { first_name: null, last_name: null, phone: null, email: null }],
    ["a name of 50,000 characters", { first_name: long.slice(0, 50_000) }],
    ["a name in many scripts", { first_name: "Żółć 屋根 سقف 🏠 \u202e\u200b" }],
    ["a name that looks like a template", {
      first_name: "{{tenant.name}} {{{contact.phone}}} {{#if",
    }],
    ["a name that looks like SQL", { first_name: "'; drop table contacts; --" }],
    ["deep custom fields", {
      custom_fields: JSON.parse('{"a":'.repeat(500) + "1" + "}".repeat(500)) as Json,
    }],
    ["huge numbers in custom fields", { custom_fields: { n: 1e300, m: -1e-300, z: 9e15 } }],
  ])("%s commits, and its run comes to an end", async (_what, fields) => {
    const before = (await office.executions()).length;
    await office.lead(fields);
    await office.quiet();
    const executions = await office.executions();
    expect(executions).toHaveLength(before + 1);
    expect(executions.at(-1)).toMatchObject({ status: "completed" });
  });

  it("a name of 200,000 characters commits, and its run says what it was too long for", async () => {
    await office.lead({ first_name: long });
    await office.quiet();
    const executions = await office.executions();
    expect(executions.at(-1)).toMatchObject({ status: "failed", error: { code: "too_large" } });
  });

  it("too long a text for the provider fails its step and says so", async () => {
    const id = await office.workflow({
      name: "Long",
      trigger_config: { source: "long" },
      steps: [{ step_type: "send_sms", step_config: { body: "{{contact.company}}" } }],
    });
    await office.lead({ source: "long", company: "x".repeat(2_000), phone: newPhone() });
    await office.quiet();
    const [run] = got(
      await office.client.schema("ridgeline").from("workflow_executions").select("status, error")
        .eq("workflow_id", id),
    );
    expect(run).toMatchObject({
      status: "failed",
      error: { step: "step_1", code: "too_large", message: expect.stringMatching(/1600/) },
    });
  });

  it.each<[string, Record<string, unknown>, RegExp]>([
    ["a score that is too large", { lead_score: 1e30 }, /lead_score|integer/],
    ["a score that is text", { lead_score: "high" }, /integer/],
    ["custom fields that are a list", { custom_fields: [1] }, /custom_fields/],
    ["a field that does not exist", { nickname: "Mia" }, /nickname/],
    ["the tenant of others", { tenant_id: "OTHER" }, /contacts/],
  ])("%s is refused", async (_what, fields, message) => {
    const tenant_id = fields.tenant_id === "OTHER" ? other.tenantId : office.tenantId;
    const { status, text } = await post("contacts", { ...fields, tenant_id });
    expect(text).toMatch(message);
    expect(status).toBeGreaterThanOrEqual(400);
  });
});

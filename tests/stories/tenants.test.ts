// Two offices on one database: neither sees, changes or starts anything of the other's.
import type { SupabaseClient } from "@supabase/supabase-js";
import { beforeAll, describe, expect, it } from "vitest";
import type { Client } from "../../scripts/lib/client.ts";
import { newPhone, Office, useStack } from "./support.ts";

const stage = useStack();
let apex: Office;
let blue: Office;
let workflow_id: string;
let contact_id: string;
let execution_id: string;

beforeAll(async () => {
  apex = await Office.open(stage());
  blue = await Office.open(stage(), "Blue Ridge Solar");
  workflow_id = await apex.workflow({
    steps: [
      { step_type: "send_sms", step_config: { body: "Hi" } },
      { step_type: "send_email", step_config: { subject: "Hi", text: "Hi" } },
      { step_type: "create_task", step_config: { title: "Call" } },
      { step_type: "add_tag", step_config: { tag: "greeted" } },
      { step_type: "create_task", step_config: { title: "Call again" }, delay_minutes: 60 },
    ],
  });
  contact_id = await apex.lead({ phone: newPhone(), email: "maria@example.com" });
  await apex.quiet();
  execution_id = (await apex.executions())[0]?.id as string;
});

const tables = [
  "contacts",
  "tasks",
  "tags",
  "contact_tags",
  "messages",
  "emails",
  "workflows",
  "workflow_steps",
  "workflow_versions",
  "workflow_executions",
  "workflow_step_executions",
  "scheduled_steps",
] as const;

/** A table where it is: of the CRM, or of the engine. */
function table(client: Client, name: typeof tables[number]) {
  return (client as unknown as SupabaseClient)
    .schema(["contacts", "tasks", "tags", "contact_tags"].includes(name) ? "public" : "ridgeline")
    .from(name);
}

describe("a member of another tenant", () => {
  it.each(tables)("sees nothing in %s where a colleague sees rows", async (name) => {
    const mine = await table(apex.client, name).select();
    expect(mine.error).toBeNull();
    expect(mine.data?.length).toBeGreaterThan(0);
    const theirs = await table(blue.client, name).select();
    expect(theirs).toMatchObject({ data: [], error: null });
    const anonymous = await table(stage().client(), name).select();
    expect(anonymous.error?.code).toBe("42501");
  });

  it("changes and deletes nothing", async () => {
    const renamed = await blue.client.schema("ridgeline").from("workflows").update({ name: "Mine" })
      .eq("id", workflow_id).select();
    expect(renamed.data).toEqual([]);
    const deleted = await blue.client.from("contacts").delete().eq("id", contact_id).select();
    expect(deleted.data).toEqual([]);
    const kept = await apex.client.from("contacts").select("id").eq("id", contact_id);
    expect(kept.data).toHaveLength(1);
  });

  const notFound = (name: string) => ({
    code: "PT404",
    hint: expect.stringMatching(/tenant/),
    message: expect.stringMatching(new RegExp(`^${name}: .* was not found$`)),
  });

  it.each(["cancel_execution", "retry_execution"] as const)("cannot call %s", async (name) => {
    const { error } = await blue.client.schema("ridgeline").rpc(name, { execution_id });
    expect(error).toMatchObject(notFound("execution_id"));
    expect((await apex.executions())[0]?.status).toBe("waiting");
  });

  it.each(["publish_workflow", "validate_workflow", "execute_workflow"] as const)(
    "cannot call %s",
    async (name) => {
      const { error } = await blue.client.schema("ridgeline").rpc(name, { workflow_id });
      expect(error).toMatchObject(notFound("workflow_id"));
    },
  );

  it("learns nothing from the history", async () => {
    for (const filter of [{}, { execution_id }, { workflow_id }, { tenant_id: apex.tenantId }]) {
      const theirs = await blue.client.schema("ridgeline").rpc("get_execution_history", filter);
      expect(theirs).toMatchObject({ data: [], error: null });
      const mine = await apex.client.schema("ridgeline").rpc("get_execution_history", filter);
      expect(mine.data).toHaveLength(1);
    }
  });

  it("starts nothing with the other's records or in the other's name", async () => {
    const own = await blue.workflow({
      trigger_type: "manual",
      steps: [{ step_type: "create_task", step_config: { title: "Call" } }],
    });
    const mine = blue.client.schema("ridgeline").rpc("execute_workflow", {
      workflow_id: own,
      trigger_data: { contact_id },
    });
    expect((await mine).error).toMatchObject(notFound("contact_id"));
    const named = await blue.client.schema("ridgeline").rpc("trigger_workflows", {
      trigger_type: "manual",
      tenant_id: apex.tenantId,
    });
    expect(named.error).toMatchObject(notFound("tenant_id"));
    const inData = await blue.client.schema("ridgeline").rpc("trigger_workflows", {
      trigger_type: "manual",
      trigger_data: { tenant_id: apex.tenantId },
    });
    expect(inData.error).toMatchObject(notFound("tenant_id"));
    expect(await blue.executions()).toEqual([]);
    expect(await apex.executions()).toHaveLength(1);
  });

  it("points no row of its own at the other's", async () => {
    const project = await blue.client.from("projects")
      .insert({ tenant_id: blue.tenantId, name: "Roof", contact_id });
    expect(project.error?.code).toBe("23503");
    const step = await blue.client.schema("ridgeline").from("workflow_steps").insert({
      tenant_id: blue.tenantId,
      workflow_id,
      step_type: "create_task",
      step_config: { title: "Call" },
    });
    expect(step.error?.code).toBe("23503");
    const intrusion = await blue.client.schema("ridgeline").from("workflows").insert({
      tenant_id: apex.tenantId,
      name: "Mine",
      trigger_type: "contact_created",
    });
    expect(intrusion.error?.code).toBe("42501");
  });

  it.each(["workflow_executions", "workflow_step_executions", "scheduled_steps"] as const)(
    "writes no history, not even its own: %s",
    async (name) => {
      const { error } = await table(apex.client, name).delete().eq("tenant_id", apex.tenantId);
      expect(error?.code).toBe("42501");
    },
  );
});

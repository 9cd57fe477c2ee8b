// Speed to lead, as an office runs it: three levels of branches, waits, a split and an exit, through the whole
// stack on the demo's clock.
import { beforeAll, describe, expect, it } from "vitest";
import type { Json } from "../../packages/client/database.types.ts";
import { got, newPhone, Office, useStack } from "./support.ts";

const stage = useStack();
let office: Office;
let workflowId: string;

interface Written {
  key: string;
  type: string;
  config: Json;
  delay?: number;
  on?: Record<string, Written[]>;
}

const replied = { type: "sms_received", config: {} };
const steps: Written[] = [
  {
    key: "hello",
    type: "send_sms",
    config: { body: "Hi {{contact.first_name}}, when shall we call?" },
  },
  {
    key: "reply",
    type: "wait",
    config: { event: replied, timeout: "10 minutes" },
    on: {
      event: [
        {
          key: "kind",
          type: "conditional",
          config: {
            branches: [
              {
                name: "urgent",
                conditions: [{
                  field: "steps.reply.event.record.body",
                  operator: "contains",
                  value: "leak",
                }],
              },
              {
                name: "big",
                conditions: [{ field: "contact.lead_score", operator: "greater_than", value: 80 }],
              },
            ],
          },
          on: {
            urgent: [{
              key: "hours",
              type: "conditional",
              config: {
                conditions: [{ field: "contact.city", operator: "equals", value: "Austin" }],
              },
              on: {
                then: [{
                  key: "drive",
                  type: "create_task",
                  config: { title: "Drive over: {{steps.reply.event.record.body}}" },
                }],
                else: [{
                  key: "partner",
                  type: "create_task",
                  config: { title: "Call a partner" },
                }],
              },
            }],
            big: [{ key: "boss", type: "create_task", config: { title: "Boss calls" } }],
            else: [{ key: "call", type: "create_task", config: { title: "Call back" } }],
          },
        },
        { key: "done", type: "stop", config: { reason: "they answered" } },
      ],
      timeout: [{ key: "alert", type: "create_task", config: { title: "Nobody answered" } }],
    },
  },
  {
    key: "ab",
    type: "split",
    config: { branches: [{ name: "short", weight: 1 }, { name: "long", weight: 1 }] },
    on: {
      short: [{
        key: "short",
        type: "send_email",
        config: { subject: "Your roof", text: "Short", purpose: "transactional" },
      }],
      long: [{
        key: "long",
        type: "send_email",
        config: { subject: "Your roof", text: "Long", purpose: "transactional" },
      }],
    },
  },
  { key: "two_days", type: "wait", config: { days: 2 } },
  { key: "again", type: "send_sms", config: { body: "Still interested?" } },
];

async function write(list: Written[], parent: string | null = null, branch: string | null = null) {
  for (const [index, step] of list.entries()) {
    const { id } = got(
      await office.client.schema("ridgeline").from("workflow_steps").insert({
        tenant_id: office.tenantId,
        workflow_id: workflowId,
        step_order: index,
        step_key: step.key,
        step_type: step.type,
        step_config: step.config,
        delay_minutes: step.delay ?? 0,
        parent_step_id: parent,
        branch,
      }).select("id").single(),
    );
    for (const [name, inner] of Object.entries(step.on ?? {})) await write(inner, id, name);
  }
}

beforeAll(async () => {
  office = await Office.open(stage());
  workflowId = got(
    await office.client.schema("ridgeline").from("workflows").insert({
      tenant_id: office.tenantId,
      name: "Speed to lead",
      trigger_type: "contact_created",
      trigger_config: { type: "lead" },
      settings: {
        reentry: "never",
        dedupe_key: "{{contact.phone}}",
        exit_events: [{ type: "stage_changed", config: { to: ["appointment", "lost"] } }],
      },
    }).select("id").single(),
  ).id;
  await write(steps);
  got(await office.client.schema("ridgeline").rpc("publish_workflow", { workflow_id: workflowId }));
});

const says = async (contact: string, phone: string, body: string) => {
  await stage()
    .sql`insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
    values (${office.tenantId}, ${contact}, 'inbound', ${phone}, ${body})`;
  await office.quiet();
};

async function wayOf(contact: string): Promise<{ status: string; way: string[]; code?: string }> {
  const [run] = got(
    await office.client.schema("ridgeline").rpc("get_execution_history", { contact_id: contact })
      .order("created_at"),
  );
  const steps = run?.steps as { step_key: string; status: string }[];
  const { code } = (run?.error ?? {}) as { code?: string };
  return {
    status: run?.status ?? "none",
    way: steps.map(({ step_key, status }) =>
      status === "completed" ? step_key : `${step_key} ${status}`
    ),
    ...(code ? { code } : {}),
  };
}

async function lead(fields: Record<string, Json> = {}): Promise<{ id: string; phone: string }> {
  const phone = newPhone();
  const id = await office.lead({ phone, email: `${phone.slice(2)}@example.com`, ...fields });
  await office.quiet();
  return { id, phone };
}

describe("a lead", () => {
  it("who answers that the roof leaks, in town, gets a visit", async () => {
    const { id, phone } = await lead({ city: "Austin" });
    expect(office.texts(phone)).toEqual(["Hi Maria, when shall we call?"]);
    await says(id, phone, "There is a LEAK!");
    expect(await wayOf(id)).toEqual({
      status: "completed",
      way: ["hello", "reply", "kind", "hours", "drive", "done"],
    });
    const [task] = got(await office.client.from("tasks").select("title").eq("contact_id", id));
    expect(task?.title).toBe("Drive over: There is a LEAK!");
  });

  it("who answers, and is worth it, is called by the boss", async () => {
    const { id, phone } = await lead({ lead_score: 95 });
    await says(id, phone, "Tomorrow at noon");
    expect((await wayOf(id)).way).toEqual(["hello", "reply", "kind", "boss", "done"]);
  });

  it("who does not answer gets an email, and a text two days later", async () => {
    const { id, phone } = await lead();
    await office.later("11 minutes");
    const { way } = await wayOf(id);
    expect(way.slice(0, 4)).toEqual(["hello", "reply", "alert", "ab"]);
    expect(["short", "long"]).toContain(way[4]);
    const emails = stage().resend.emails().filter(({ to }) =>
      to.includes(`${phone.slice(2)}@example.com`)
    );
    expect(emails.map(({ text }) => text?.toLowerCase())).toEqual([way[4]]);
    await office.later("2 days");
    expect(await wayOf(id)).toMatchObject({ status: "completed" });
    expect(office.texts(phone)).toEqual(["Hi Maria, when shall we call?", "Still interested?"]);
  });

  it("who makes an appointment on the way hears no more", async () => {
    const { id, phone } = await lead();
    await office.later("11 minutes");
    got(
      await office.client.from("contacts").update({ stage: "appointment" }).eq("id", id)
        .select("id"),
    );
    await office.later("3 days");
    expect(await wayOf(id)).toMatchObject({ status: "cancelled", code: "exit_event" });
    expect(office.texts(phone)).toEqual(["Hi Maria, when shall we call?"]);
  });

  it("who is entered twice is texted once", async () => {
    const { phone } = await lead();
    const twice = await office.lead({ phone });
    await office.quiet();
    expect(await wayOf(twice)).toEqual({ status: "skipped", way: [], code: "already_entered" });
    expect(office.texts(phone)).toHaveLength(1);
  });
});

it("is what the dry run said it would be", async () => {
  const run = async (options: Json) =>
    got(
      await office.client.schema("ridgeline").rpc("test_workflow", {
        workflow_id: workflowId,
        trigger_data: { contact: { first_name: "Zoe", phone: "+14155550000", city: "Austin" } },
        options,
      }),
    ) as { path: { key: string }[]; ended: { status: string } };
  const answered = await run({ events: { reply: { body: "a leak" } } });
  expect(answered.path.map(({ key }) => key))
    .toEqual(["hello", "reply", "kind", "hours", "drive", "done"]);
  const silent = await run({});
  expect(silent.path.map(({ key }) => key).filter((key) => !["short", "long"].includes(key)))
    .toEqual(["hello", "reply", "alert", "ab", "two_days", "again"]);
  expect(silent.ended.status).toBe("completed");
});

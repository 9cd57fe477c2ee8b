// A contractor's own CRM, its own tables, its own people: the three examples that this began with, and five recipes that
// roofers really run. Definitions are written by the office with supabase-js; what fires them are the CRM's own writes.
import { beforeAll, describe, expect, it } from "vitest";
import type { Json } from "../../packages/client/database.types.ts";
import { got } from "../stories/support.ts";
import { JOB, LOPEZ_ROOF, MARIA, SUMMIT } from "../support/host.ts";
import { useHostStack } from "./stage.ts";

const stage = useHostStack();
let manager: Awaited<ReturnType<ReturnType<typeof stage>["hire"]>>;
let seller: typeof manager;
beforeAll(async () => {
  manager = await stage().hire("Mia", "office_manager");
  seller = await stage().hire("Sid", "sales");
});

type Step = [type: string, config: { [key: string]: Json }, minutes?: number, conditions?: Json];

/** Drafted by sales, published by the office manager. */
async function workflow(
  trigger_type: string,
  steps: Step[],
  more: { trigger_config?: { [key: string]: Json }; settings?: Json; conditions?: Json } = {},
): Promise<string> {
  const drafts = seller.client.schema("ridgeline");
  const { id } = got(
    await drafts.from("workflows")
      .insert({ tenant_id: SUMMIT, name: trigger_type, trigger_type, ...more }).select("id")
      .single(),
  );
  got(
    await drafts.from("workflow_steps").insert(
      steps.map(([step_type, step_config, minutes = 0, conditions = []], at) => ({
        tenant_id: SUMMIT,
        workflow_id: id,
        step_order: at,
        step_type,
        step_config,
        delay_minutes: minutes,
        conditions,
      })),
    ).select("id"),
  );
  got(await manager.client.schema("ridgeline").rpc("publish_workflow", { workflow_id: id }));
  return id;
}

let leads = 0;
async function lead(fields: Record<string, Json> = {}) {
  const number = 3000 + ++leads;
  const row = {
    tenant_id: SUMMIT,
    first_name: "Lead",
    last_name: String(number),
    email: `lead${number}@example.com`,
    mobile_phone: `(512) 555-${number}`,
    ...fields,
  };
  const { id } = got(await seller.crm.from("contacts").insert(row).select("id").single()) as {
    id: string;
  };
  return { id, phone: `+1512555${number}`, email: row.email };
}

async function project(contact_id: string, fields: Record<string, Json> = {}): Promise<string> {
  const row = { tenant_id: SUMMIT, contact_id, name: "Roof", ...fields };
  return (got(await seller.crm.from("projects").insert(row).select("id").single()) as {
    id: string;
  }).id;
}

const set = async (table: string, id: string | number, fields: Record<string, Json>) =>
  got(await seller.crm.from(table).update(fields).eq("id", id).select("id"));
const tasksOf = async (contact_id: string) =>
  (await stage().sql`
    select title, status, priority::text, due_date::text, assigned_to, task_type from public.tasks
    where contact_id = ${contact_id} order by created_at`) as unknown as Record<string, Json>[];
const reply = (from: string, body: string) =>
  stage().sql`select automation.receive_sms(${
    stage().sql.json({ message_sid: `SM${from}${body}`, from, to: "+15125550100", body })
  })`;

describe("the three examples, as they were written", { timeout: 120_000 }, () => {
  it("a new lead gets a text at once, and the office a task a day later, in the CRM's words", async () => {
    await workflow("contact_created", [
      ["send_sms", {
        to: "{{trigger.contact.phone}}",
        body: "Thanks for your interest, {{trigger.contact.first_name}}!",
      }],
      [
        "create_task",
        { title: "Follow up with {{trigger.contact.first_name}}", due_date_days: 1 },
        1440,
      ],
    ], { trigger_config: { type: "lead" } });
    const maria = await lead({ first_name: "Ana", phone: "512.555.7010", mobile_phone: null });
    maria.phone = "+15125557010";
    const onlyMobile = await lead();
    const customer = await lead({ type: "customer" });
    await stage().pass(0);
    expect(stage().texts(maria.phone)).toEqual(["Thanks for your interest, Ana!"]);
    expect(stage().texts(customer.phone)).toEqual([]);
    // The column of that name, which she has left empty: without "to" the text would find her.
    expect(stage().texts(onlyMobile.phone)).toEqual([]);
    expect(await tasksOf(maria.id)).toEqual([]);
    await stage().pass(24, 12);
    expect(await tasksOf(maria.id)).toEqual([
      {
        title: "Follow up with Ana",
        status: "todo",
        priority: "medium",
        due_date: "2026-06-03",
        assigned_to: null,
        task_type: "follow_up",
      },
    ]);
    const [shown] = await stage()
      .sql`select type, direction, content from public.activities where contact_id = ${maria.id}`;
    expect(shown).toEqual({
      type: "sms",
      direction: "outgoing",
      content: "Thanks for your interest, Ana!",
    });
  });

  it("a project that is won congratulates its contact, once", async () => {
    await workflow("project_won", [
      ["send_email", {
        to: "{{trigger.contact.email}}",
        subject: "Congratulations! Your project is approved",
        html: "<p>We're excited to work with you...</p>",
      }],
    ]);
    await set("projects", LOPEZ_ROOF, { pipeline_stage: "won" });
    await set("projects", LOPEZ_ROOF, { description: "Tiles" });
    await stage().pass(0);
    expect(stage().emails("maria@example.com")).toEqual([
      "Congratulations! Your project is approved",
    ]);
  });

  it("by hand, for whom the conditions hold", async () => {
    const id = await workflow("manual", [["send_sms", {
      to: "{{contact.phone}}",
      message: "Test message",
    }]], {
      conditions: [{ field: "contact.stage", operator: "equals", value: "lead" }],
    });
    const [warm, cold] = [
      await lead({ stage: "lead", type: "prospect", phone: "+15125557011" }),
      await lead({ stage: "cold", type: "prospect", phone: "+15125557012" }),
    ];
    [warm.phone, cold.phone] = ["+15125557011", "+15125557012"];
    for (const { id: contact_id } of [warm, cold]) {
      got(
        await seller.client.schema("ridgeline").rpc("execute_workflow", {
          workflow_id: id,
          trigger_data: { contact_id },
        }),
      );
    }
    await stage().pass(0);
    expect([stage().texts(warm.phone), stage().texts(cold.phone)]).toEqual([["Test message"], []]);
  });
});

describe("five recipes", { timeout: 240_000 }, () => {
  it("missed-call text-back: a stranger becomes a contact, is texted once a day, and called back", async () => {
    const { sql } = stage();
    await sql`
      insert into ridgeline.tenant_settings (tenant_id, settings)
      values (${SUMMIT}, '{"inbound": {"create_contacts": true}}')`;
    await workflow("call_missed", [
      ["send_sms", { body: "Sorry we missed you. This is {{tenant.name}}, how can we help?" }],
      ["create_task", { title: "Call {{contact.phone}} back", priority: "urgent" }, 120],
    ], {
      settings: {
        dedupe_key: "{{contact.id}}",
        reentry: { once_in: "1 day" },
        exit_events: [{ type: "sms_received" }],
      },
    });
    const ring = (from: string, sid: string) =>
      sql`select automation.record_call(${
        sql.json({
          call_sid: sid,
          direction: "inbound",
          from,
          to: "+15125550100",
          status: "no-answer",
        })
      })`;
    await ring("+15125557001", "CA1");
    await ring("+15125557001", "CA2");
    await ring("+15125557002", "CA3");
    await stage().pass(0);
    expect(stage().texts("+15125557001").filter((text) => !/interest/.test(text))).toEqual([
      "Sorry we missed you. This is Summit Roofing, how can we help?",
    ]);
    await reply("+15125557002", "I need a quote");
    await stage().pass(3);
    const called = async (phone: string) => {
      const [contact] = await sql<
        { id: string }[]
      >`select id from public.contacts where phone = ${phone}`;
      return (await tasksOf(contact!.id)).map(({ title, priority }) => ({ title, priority }));
    };
    expect(await called("+15125557001")).toEqual([{
      title: "Call +15125557001 back",
      priority: "high",
    }]);
    expect(await called("+15125557002")).toEqual([]);
  });

  it("estimate follow-up: ends with a reply, and with the project that is won or lost", async () => {
    await workflow("pipeline_stage_changed", [
      ["send_sms", { body: "Any questions about {{project.name}}?" }, 2 * 1440],
      ["send_email", {
        subject: "Your estimate",
        html: "<p>{{project.estimated_value | formatCurrency}}</p>",
      }, 2 * 1440],
      ["create_task", { title: "Call about the estimate" }, 10 * 1440],
    ], {
      trigger_config: { to: "quote_sent" },
      settings: {
        exit_events: [{ type: "sms_received" }, {
          type: "pipeline_stage_changed",
          config: { from: "quote_sent" },
        }],
      },
    });
    const [quiet, answers, wins] = [
      await lead({ type: "prospect" }),
      await lead({ type: "prospect" }),
      await lead({ type: "prospect" }),
    ];
    const roofs: string[] = [];
    for (const { id } of [quiet, answers, wins]) {
      roofs.push(await project(id, { estimated_value: 12000 }));
    }
    for (const roof of roofs) await set("projects", roof, { pipeline_stage: "quote_sent" });
    await stage().pass(48, 24);
    for (const { phone } of [quiet, answers, wins]) {
      expect(stage().texts(phone)).toEqual(["Any questions about Roof?"]);
    }
    await reply(answers.phone, "Not yet");
    await set("projects", roofs[2]!, { pipeline_stage: "won" });
    await stage().pass(13 * 24, 24);
    expect(stage().emails(quiet.email)).toEqual(["Your estimate"]);
    expect((await tasksOf(quiet.id)).map(({ title }) => title)).toEqual([
      "Call about the estimate",
    ]);
    for (const one of [answers, wins]) {
      expect(stage().emails(one.email)).not.toContain("Your estimate");
      expect(await tasksOf(one.id)).toEqual([]);
    }
  });

  it("review request: a job without a contact of its own, when nothing is owed any more", async () => {
    await workflow("job_completed", [
      ["send_sms", { body: "How did we do, {{contact.first_name}}?" }, 1440, [
        { field: "project.balance_due", operator: "equals", value: 0 },
      ]],
    ]);
    const owes = await lead({ type: "customer" });
    const roof = await project(owes.id, { balance_due: 500 });
    await stage().sql`update public.projects set balance_due = 0 where id = ${LOPEZ_ROOF}`;
    const { id: other } = got(
      await seller.crm.from("jobs")
        .insert({ tenant_id: SUMMIT, project_id: roof, job_number: "J-78" }).select("id").single(),
    ) as { id: string };
    for (const job of [JOB, other]) await set("jobs", job, { status: "completed" });
    await stage().pass(24, 12);
    expect(stage().texts("+15125550142")).toEqual(["How did we do, Maria?"]);
    expect(stage().texts(owes.phone)).toEqual([]);
  });

  it("payment reminder: three days before, on the day and after, until it is paid", async () => {
    for (
      const [offset, body] of [["-3 days", "is due soon"], ["0 days", "is due today"], [
        "3 days",
        "is overdue",
      ]]
    ) {
      await workflow("time_elapsed", [["send_sms", {
        body: `Invoice {{invoice.number}} ${body}: {{invoice.balance}}`,
      }]], {
        trigger_config: { entity: "invoice", field: "due_on", offset: offset!, at: "10:00" },
        conditions: [{ field: "invoice.state", operator: "equals", value: "open" }],
      });
    }
    const { sql } = stage();
    const [pays, owes] = [await lead({ type: "customer" }), await lead({ type: "customer" })];
    const invoices: number[] = [];
    for (const { id } of [pays, owes]) {
      const { id: invoice } = got(
        await manager.crm.from("invoices").insert({
          tenant_id: SUMMIT,
          customer_id: id,
          number: `R-${invoices.length + 1}`,
          amount: 900,
          balance: 900,
          due_on:
            (await sql`select (automation.now() + interval '5 days')::date::text as day`)[0]!.day,
        }).select("id").single(),
      ) as { id: number };
      invoices.push(invoice);
    }
    await stage().pass(3 * 24, 12);
    expect(stage().texts(pays.phone)).toEqual(["Invoice R-1 is due soon: 900.00"]);
    got(
      await manager.crm.from("invoices").update({ balance: 400 }).eq("id", invoices[1]!).select(
        "id",
      ),
    );
    got(
      await manager.crm.from("invoices").update({ state: "paid", balance: 0 }).eq(
        "id",
        invoices[0]!,
      ).select("id"),
    );
    await stage().pass(6 * 24, 12);
    expect(stage().texts(pays.phone)).toHaveLength(1);
    expect(stage().texts(owes.phone)).toEqual([
      "Invoice R-2 is due soon: 900.00",
      "Invoice R-2 is due today: 400.00",
      "Invoice R-2 is overdue: 400.00",
    ]);
  });

  it("appointment reminder: a day before, not when it is off, not when it is too late, and it moves along", async () => {
    await workflow("time_elapsed", [["send_sms", {
      body: 'See you at {{appointment.starts_at | formatDate: "h:mm a"}}',
    }]], {
      trigger_config: { entity: "appointment", field: "starts_at", offset: "-24 hours" },
      conditions: [{ field: "appointment.state", operator: "equals", value: "booked" }],
    });
    const { sql } = stage();
    const book = async (contact_id: string, hours: number) => {
      const [{ at }] = await sql<[{ at: string }]>`
        select (automation.now() + make_interval(hours => ${hours}))::text as at`;
      const row = { tenant_id: SUMMIT, contact_id, starts_at: at };
      return (got(await seller.crm.from("appointments").insert(row).select("id").single()) as {
        id: number;
      }).id;
    };
    const [comes, cancels, late, moves] = [
      await lead({ type: "prospect" }),
      await lead({ type: "prospect" }),
      await lead({ type: "prospect" }),
      await lead({ type: "prospect" }),
    ];
    await book(comes.id, 30);
    await set("appointments", await book(cancels.id, 30), { state: "cancelled" });
    await book(late.id, 2);
    const moved = await book(moves.id, 30);
    const [{ at }] = await sql<
      [{ at: string }]
    >`select (automation.now() + interval '60 hours')::text as at`;
    await set("appointments", moved, { starts_at: at });
    await stage().pass(8);
    const counts = () =>
      [comes, cancels, late, moves].map(({ phone }) => stage().texts(phone).length);
    expect(counts()).toEqual([1, 0, 0, 0]);
    await stage().pass(40, 4);
    expect(counts()).toEqual([1, 0, 0, 1]);
  });
});

it(
  "speed to lead: a form makes one contact in the CRM's table, who is texted at once and once",
  async () => {
    const { sql, stack } = stage();
    await workflow("form_submitted", [
      ["send_sms", { body: "Got it, {{contact.first_name}}. We call you in five minutes." }],
      ["create_task", {
        title: "Call {{contact.first_name}}",
        due_in_minutes: 5,
        priority: "urgent",
      }],
    ]);
    const { public_key } = got(
      await manager.client.schema("ridgeline").from("forms").insert({
        tenant_id: SUMMIT,
        name: "Estimate",
      })
        .select("public_key").single(),
    );
    const post = () =>
      fetch(`${stack.apiUrl}/functions/v1/forms/${public_key}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          name: "Pia Form",
          phone: "(512) 555-8001",
          email: "pia@example.com",
          city: "Austin",
        }),
      });
    expect([(await post()).ok, (await post()).ok]).toEqual([true, true]);
    await stage().pass(0);
    expect(
      await sql`select first_name, last_name, phone, email, type from public.contacts where email = 'pia@example.com'`,
    ).toEqual([
      {
        first_name: "Pia",
        last_name: "Form",
        phone: "+15125558001",
        email: "pia@example.com",
        type: "lead",
      },
    ]);
    expect(stage().texts("+15125558001").filter((text) => /five minutes/.test(text)))
      .toEqual(["Got it, Pia. We call you in five minutes."]);
  },
  60_000,
);

it("what sales drafts does not run before the office says so", async () => {
  const drafts = seller.client.schema("ridgeline");
  const { id } = got(
    await drafts.from("workflows").insert({
      tenant_id: SUMMIT,
      name: "Mine",
      trigger_type: "manual",
    })
      .select("id").single(),
  );
  got(
    await drafts.from("workflow_steps")
      .insert({
        tenant_id: SUMMIT,
        workflow_id: id,
        step_type: "add_tag",
        step_config: { tag: "vip" },
      }).select("id"),
  );
  const { error } = await drafts.rpc("publish_workflow", { workflow_id: id });
  expect(error?.code).toBe("42501");
  got(await manager.client.schema("ridgeline").rpc("publish_workflow", { workflow_id: id }));
  got(
    await drafts.rpc("execute_workflow", { workflow_id: id, trigger_data: { contact_id: MARIA } }),
  );
  await stage().pass(0);
  expect((await stage().sql`select tags from public.contacts where id = ${MARIA}`)[0]!.tags)
    .toEqual(["hail", "insurance", "vip"]);
});

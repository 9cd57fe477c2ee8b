// Imported automations at work in a CRM that is not ours: what customers and the office get, and when.
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import type { JSONValue, Sql } from "postgres";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { connect } from "../../scripts/lib/scratch.ts";
import {
  type Choices,
  safeChoices,
} from "../../functions/workflows/legacy/translate/definition.ts";
import { importLegacy, type Order, undoLegacy } from "../../scripts/legacy/import.ts";
import type { JsonObject } from "../../functions/workflows/legacy/translate/keys.ts";
import type { Report } from "../../scripts/legacy/report.ts";
import {
  createHost,
  type Host,
  LAKESIDE,
  LOPEZ_ROOF,
  MARIA,
  OTTO,
  SAM,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";
import { campaign, clientWorkflow, serverWorkflow } from "./shapes.ts";

let host: Host & { sql: Sql };
let sql: Sql;
const directory = fs.mkdtempSync(path.join(os.tmpdir(), "legacy-"));

beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  await speakAs(sql, SUMMIT, "+15125550100");
  await sql`delete from public.workflows`;
});
afterAll(async () => {
  fs.rmSync(directory, { recursive: true, force: true });
  await host.drop();
});

const choices: Choices = { ...safeChoices, purpose: "transactional", neverRan: "activate" };
const order = (from: string[], more: Partial<Order> = {}): Order => ({
  from,
  tenants: [SUMMIT],
  choices,
  apply: true,
  activate: true,
  overwrite: false,
  history: true,
  ...more,
});
const json = (value: unknown) => sql.json(value as JSONValue);

/** A document of the browser's engine comes from a file. */
async function bring(document: JsonObject, more: Partial<Order> = {}): Promise<Report> {
  const file = path.join(directory, "workflow.json");
  fs.writeFileSync(file, JSON.stringify(document));
  return await importLegacy(sql, order([file], more));
}

/** A row and its steps, as a screen of the old application would have written them. */
async function store(workflow: JsonObject): Promise<string> {
  const { steps, ...row } = workflow as JsonObject & { steps: JsonObject[] };
  delete row.created_by;
  await sql`insert into public.workflows select * from jsonb_populate_record(null::public.workflows, ${
    json(row)
  })`;
  for (const step of steps) {
    await sql`insert into public.workflow_steps (id, workflow_id, step_order, step_type, step_config, delay_minutes)
      values (${step.id as string}, ${row.id as string}, ${step.step_order as number}, ${step
      .step_type as string}, ${json(step.step_config)}, ${(step.delay_minutes as number) ?? 0})`;
  }
  return row.id as string;
}

const newContact = async (more: Record<string, unknown> = {}): Promise<string> => {
  const [row] = await sql<{ id: string }[]>`insert into public.contacts ${
    sql({
      tenant_id: SUMMIT,
      first_name: "Ada",
      last_name: "Byron",
      email: "ada@x.example",
      phone: "+15125550177",
      type: "lead",
      ...more,
    } as never)
  } returning id`;
  return row!.id;
};
const contact = async (id: string) =>
  (await sql`select * from public.contacts where id = ${id}`)[0]!;
const bodies = (sent: Awaited<ReturnType<typeof work>>) =>
  sent.map(({ payload }) => payload.body ?? payload.subject);
const text = (message: string, more: JsonObject = {}): JsonObject => ({
  type: "send_sms",
  config: { to: "{{contact.phone}}", message },
  ...more,
});
const later = (length: string) => sql`select automation.advance_clock(${length}::interval)`;

beforeEach(async () => {
  await sql`select automation.set_clock('2026-11-30T18:00:00Z')`;
  await sql`update ridgeline.workflows set is_active = false where is_active`;
});

describe("documents of the browser's engine", () => {
  it("run by the time they name, conditions as they compared", async () => {
    const report = await bring(clientWorkflow("contact_created", { contact_type: ["lead"] }, [
      text("at once"),
      text("after three days", { delay: 72 }),
      { type: "add_tag", config: { tags: ["Nurture", "2026"] }, delay: 1 },
      {
        type: "update_field",
        config: { field: "lead_score", value: 15, operator: "add" },
        delay: 1,
      },
      {
        type: "update_field",
        config: { field: "notes", value: "Called.", operator: "append" },
        delay: 1,
      },
      { type: "change_stage", config: { stage: "contacted", substatus: "waiting" }, delay: 2 },
      { type: "assign_user", config: { user_id: SAM }, delay: 2 },
      {
        type: "create_task",
        config: { title: "Ring {{contact.full_name}}", due_date: "+3 days", priority: "urgent" },
        delay: 2,
      },
    ], {
      // [A (OR), B (AND), C] is (A or B) and C; lead_score is the number 0, so "0" does not equal it.
      conditions: [
        { field: "contact.source", operator: "equals", value: "storm", logic_gate: "OR" },
        { field: "contact.email", operator: "contains", value: "@x.", logic_gate: "AND" },
        { field: "contact.lead_score", operator: "less_than", value: "10", logic_gate: "AND" },
      ],
    }));
    expect(
      report.entries.map(({ outcome, problems }) => [
        outcome,
        problems.filter(({ severity }) => severity === "error"),
      ]),
    ).toEqual([["created", []]]);
    const ada = await newContact({ notes: "Web. " });
    await newContact({ email: "ada@other.example", phone: "+15125550178" });
    await newContact({ type: "customer", phone: "+15125550179" });
    expect(bodies(await work(sql))).toEqual(["at once"]);
    await later("1 hour");
    expect(await work(sql)).toEqual([]);
    expect(await contact(ada)).toMatchObject({
      tags: ["Nurture", "2026"],
      lead_score: 15,
      notes: "Web. Called.",
      stage: "new",
    });
    await later("1 hour");
    await work(sql);
    expect(await contact(ada)).toMatchObject({
      stage: "contacted",
      substatus: "waiting",
      assigned_to: SAM,
    });
    expect(
      await sql`select title, priority, due_date::text, contact_id from public.tasks where title like 'Ring%'`,
    )
      .toEqual([{
        title: "Ring Ada Byron",
        priority: "high",
        due_date: "2026-12-03",
        contact_id: ada,
      }]);
    await later("69 hours");
    expect(await work(sql)).toEqual([]);
    await later("1 hour");
    expect(bodies(await work(sql))).toEqual(["after three days"]);
  });

  it("equals on a number never held where the builder had written a text", async () => {
    await bring(
      clientWorkflow("contact_created", {}, [text("never")], {
        conditions: [{
          field: "contact.lead_score",
          operator: "equals",
          value: "0",
          logic_gate: "AND",
        }],
      }),
    );
    await bring(
      clientWorkflow("contact_created", {}, [text("always")], {
        conditions: [{
          field: "contact.lead_score",
          operator: "equals",
          value: 0,
          logic_gate: "AND",
        }],
      }),
    );
    await newContact();
    expect(bodies(await work(sql))).toEqual(["always"]);
  });

  it("a change of stage knows before and after; an email has its sender", async () => {
    await bring(
      clientWorkflow("stage_changed", { from_stage: ["new"], to_stage: ["won", "lost"] }, [
        {
          type: "send_email",
          config: {
            to: "{{contact.email}}",
            subject: "{{stage_change.from}} > {{stage_change.to}}",
            body: "Hi\n{{contact.first_name}}",
            from_name: "Sam",
            from_email: "office@15125550100.example",
          },
        },
      ]),
    );
    const ada = await newContact();
    await sql`update public.contacts set stage = 'won' where id = ${ada}`;
    const sent = await work(sql);
    expect(sent.map(({ payload }) => payload)).toMatchObject([{
      subject: "new > won",
      text: "Hi\nAda",
      from: "Sam <office@15125550100.example>",
    }]);
    await sql`update public.contacts set stage = 'lost' where id = ${ada}`;
    expect(await work(sql)).toEqual([]);
  });

  it("field_changed compares as it did; a webhook has its secret in the vault alone", async () => {
    await bring(
      clientWorkflow("field_changed", {
        field: "lead_score",
        to_value: "50",
        operator: "greater_than",
      }, [
        {
          type: "webhook",
          config: {
            url: "https://hooks.example/score",
            method: "POST",
            payload: { now: "{{field_change.to}}", was: "{{trigger.field_change.from}}" },
            auth: { type: "bearer", token: "tok-123" },
          },
        },
      ]),
    );
    const ada = await newContact();
    await sql`update public.contacts set lead_score = 40 where id = ${ada}`;
    expect(await work(sql)).toEqual([]);
    await sql`update public.contacts set lead_score = 60 where id = ${ada}`;
    const [sent] = await work(sql);
    expect(sent!.payload).toMatchObject({
      body: { now: "60", was: "40" },
      headers: { Authorization: { prefix: "Bearer " } },
    });
    expect(JSON.stringify(await sql`select to_jsonb(w) from ridgeline.workflow_versions as w`)).not
      .toContain("tok-123");
  });

  it("what needs a person says so and stays a draft", async () => {
    const report = await bring(
      clientWorkflow("scheduled", { schedule: "weekly", time: "09:00", day_of_week: 1 }, [
        {
          type: "send_email",
          config: {
            to: "{{contact.assigned_to}}@company.com",
            subject: "Yours, [Your Name]",
            body: "{{invoice.number}}",
          },
        },
      ]),
    );
    expect(report.needsPerson).toBe(true);
    expect(report.entries[0]!.notes.filter(({ kind }) => kind === "person").map(({ key }) => key))
      .toEqual(expect.arrayContaining([
        "trigger.config",
        "actions[0].config.to",
        "actions[0].config.subject",
        "actions[0].config.body",
      ]));
  });
});

describe("the server's engine", () => {
  it("update_contact, update_project and a wait do what they did", async () => {
    await store(
      serverWorkflow("pipeline_stage_changed", {
        previous_stage: "quote_sent",
        new_stage: "negotiation",
      }, [
        {
          step_type: "update_contact",
          step_config: {
            contact_id: "{{trigger.contact_id}}",
            updates: { stage: "negotiation", notes: "From {{trigger.previous_stage}}" },
          },
        },
        { step_type: "wait", step_config: { delay_minutes: 30 }, delay_minutes: 30 },
        {
          step_type: "update_project",
          step_config: {
            project_id: "{{trigger.project_id}}",
            updates: { description: "{{trigger.estimated_value}} {{trigger.missing}}" },
          },
        },
      ]),
    );
    const report = await importLegacy(sql, order(["server"]));
    expect(report.entries.at(-1)!.problems.filter(({ severity }) => severity === "error")).toEqual(
      [],
    );
    await sql`update public.projects set pipeline_stage = 'quote_sent', estimated_value = 1200 where id = ${LOPEZ_ROOF}`;
    await sql`update public.projects set pipeline_stage = 'negotiation' where id = ${LOPEZ_ROOF}`;
    await work(sql);
    expect(await contact(MARIA)).toMatchObject({ stage: "negotiation", notes: "From quote_sent" });
    await later("29 minutes");
    await work(sql);
    const project = async () =>
      (await sql`select description from public.projects where id = ${LOPEZ_ROOF}`)[0]!.description;
    expect(await project()).toBeNull();
    await later("1 minute");
    await work(sql);
    expect((await project()).trim()).toBe("1200.00");
  });
});

async function storeCampaign(given: JsonObject): Promise<string> {
  const { triggers, steps, ...row } = given as JsonObject & {
    triggers: JsonObject[];
    steps: JsonObject[];
  };
  delete row.created_by;
  await sql`insert into public.campaigns select * from jsonb_populate_record(null::public.campaigns, ${
    json({ ...row, created_at: "2026-01-01", updated_at: "2026-01-01" })
  })`;
  for (const trigger of triggers) {
    await sql`insert into public.campaign_triggers select * from jsonb_populate_record(null::public.campaign_triggers, ${
      json({ ...trigger, campaign_id: row.id, priority: 0 })
    })`;
  }
  for (const step of steps) {
    await sql`insert into public.campaign_steps select * from jsonb_populate_record(null::public.campaign_steps, ${
      json({ ...step, campaign_id: row.id })
    })`;
  }
  return row.id as string;
}

describe("campaigns", () => {
  const enters: JsonObject = {
    trigger_type: "stage_change",
    trigger_config: { entity_type: "project", to_stage: "won" },
    enrollment_conditions: null,
    exclusion_conditions: null,
  };
  const mail = (subject: string, more: JsonObject = {}): JsonObject => ({
    step_type: "send_email",
    step_config: { subject, body: "Hi {{first_name}}" },
    ...more,
  });
  let id: string;
  const stage = (to: string) =>
    sql`update public.projects set pipeline_stage = ${to} where id = ${LOPEZ_ROOF}`;

  it("a contact enters once, and leaves when the project leaves the stage", async () => {
    id = await storeCampaign(
      campaign([enters], [mail("first"), mail("second", { delay_value: 2 })], {
        respect_business_hours: false,
        allow_re_enrollment: false,
        name: "Won, welcome",
      }),
    );
    const report = await importLegacy(sql, order(["campaigns"]));
    expect(report.entries.map(({ outcome }) => outcome)).toEqual(["created"]);
    await stage("won");
    expect(bodies(await work(sql))).toEqual(["first"]);
    await later("1 day");
    await stage("production");
    await later("2 days");
    expect(await work(sql)).toEqual([]);
    await stage("won");
    expect(await work(sql)).toEqual([]);
    expect(
      (await sql`select status, error ->> 'code' as code from ridgeline.workflow_executions where workflow_id = ${id} order by created_at`)
        .map(({ status, code }) => [status, code]),
    ).toEqual([["cancelled", "exit_event"], ["skipped", "already_entered"]]);
  });

  it("enrolments: history for good, those in flight at the step they stood at, paused ones left", async () => {
    await sql`select automation.set_clock('2026-11-30T18:00:00Z')`;
    const [first, second] = (await sql<
      { id: string }[]
    >`select id from public.campaign_steps where campaign_id = ${id} order by step_order`).map((
      step,
    ) => step.id);
    const contacts = await Promise.all(
      ["+15125550181", "+15125550182", "+15125550183"].map((phone) =>
        newContact({ phone, email: `${phone}@x.example` })
      ),
    );
    const enrol = async (who: string, status: string, more: Record<string, unknown> = {}) => {
      const [row] = await sql<{ id: string }[]>`insert into public.campaign_enrollments ${
        sql(
          {
            campaign_id: id,
            tenant_id: SUMMIT,
            contact_id: who,
            status,
            enrolled_at: "2026-11-01T10:00Z",
            ...more,
          } as never,
        )
      } returning id`;
      return row!.id;
    };
    const done = await enrol(contacts[0]!, "completed", { completed_at: "2026-11-03T10:00Z" });
    const open = await enrol(contacts[1]!, "active");
    await enrol(contacts[2]!, "paused");
    await sql`insert into public.campaign_step_executions (enrollment_id, step_id, status, started_at, completed_at, opened_at, scheduled_at) values
      (${done}, ${first!}, 'completed', '2026-11-01T10:00Z', '2026-11-01T10:00Z', '2026-11-01T12:00Z', null),
      (${done}, ${first!}, 'completed', '2026-11-02T10:00Z', '2026-11-02T10:00Z', null, null),
      (${open}, ${first!}, 'completed', '2026-11-29T10:00Z', '2026-11-29T10:00Z', null, null),
      (${open}, ${second!}, 'pending', null, null, null, '2026-12-01T10:00Z')`;
    await sql`update ridgeline.workflows set is_active = true where id = ${id}`;
    const report = await importLegacy(sql, order(["campaigns"]));
    expect(report.taken).toEqual([{
      tenantId: SUMMIT,
      source: "campaigns",
      outcomes: { taken: 1, "it is paused: resume or end it there": 1 },
    }]);
    expect(report.history).toEqual([
      { source: "campaigns", runs: 1, steps: 2, foreign: 0, failed: [] },
    ]);
    expect(await importLegacy(sql, order(["campaigns"]))).toMatchObject({
      history: [{ runs: 0, steps: 0 }],
    });
    expect(
      (await sql`select status, exit_reason from public.campaign_enrollments where id = ${open}`)[
        0
      ],
    ).toEqual({ status: "exited", exit_reason: "error" });
    expect(await work(sql)).toEqual([]);
    await later("1 day");
    const sent = await work(sql);
    expect(sent.map(({ payload }) => [payload.subject, payload.to])).toEqual([["second", [
      "+15125550182@x.example",
    ]]]);
    // Who was in it before, or is paused in it there, enters no second time.
    for (const who of [contacts[0]!, contacts[2]!]) {
      const [project] = await sql<
        { id: string }[]
      >`insert into public.projects (tenant_id, contact_id, name, pipeline_stage) values (${SUMMIT}, ${who}, 'Again', 'prospect') returning id`;
      await sql`update public.projects set pipeline_stage = 'won' where id = ${project!.id}`;
      expect(await work(sql)).toEqual([]);
    }
  });

  it("of several triggers those that fired are one workflow: a contact is in it once, whichever fires", async () => {
    await sql`select automation.set_clock('2026-11-30T18:00:00Z')`;
    const to = (stage: string, more: JsonObject = {}): JsonObject => ({
      ...enters,
      trigger_config: { entity_type: "project", to_stage: stage, ...more },
    });
    const many = await storeCampaign(
      campaign(
        [
          { ...enters, trigger_type: "manual", trigger_config: { manual: true } },
          to("won", { from_stage: "negotiation" }),
          to("production", { from_stage: "won" }),
        ],
        [mail("hello")],
        {
          respect_business_hours: false,
          allow_re_enrollment: false,
          name: "Many ways in",
        },
      ),
    );
    const report = await importLegacy(
      sql,
      order(["campaigns"], { choices: { ...choices, neverRan: "pause" } }),
    );
    const made = report.entries.filter(({ legacyId }) => legacyId === many);
    expect(made.map(({ part, outcome, isOn }) => [part, outcome, isOn])).toEqual([
      [0, "created", true],
      [1, "created", false],
    ]);
    const open = async (phone: string, stages: string[]) => {
      const who = await newContact({ phone, email: `${phone}@x.example` });
      const [project] = await sql<
        { id: string }[]
      >`insert into public.projects (tenant_id, contact_id, name, pipeline_stage) values (${SUMMIT}, ${who}, 'P', 'prospect') returning id`;
      const sent = [];
      for (const stage of stages) {
        await sql`update public.projects set pipeline_stage = ${stage} where id = ${project!.id}`;
        sent.push((await work(sql)).filter(({ payload }) => payload.subject === "hello").length);
      }
      return sent;
    };
    // Neither from that stage to this one, nor the other way.
    expect(await open("+15125550191", ["won", "negotiation", "production"])).toEqual([0, 0, 0]);
    expect(await open("+15125550192", ["negotiation", "won", "production"])).toEqual([0, 1, 0]);
    // An enrolment of the old engine is the first workflow's history, and keeps out of all.
    const [, before] = [0, await newContact({ phone: "+15125550193", email: "b@x.example" })];
    await sql`insert into public.campaign_enrollments (campaign_id, tenant_id, contact_id, status, enrolled_at, completed_at)
      values (${many}, ${SUMMIT}, ${before}, 'completed', '2026-11-01T10:00Z', '2026-11-03T10:00Z')`;
    await importLegacy(sql, order(["campaigns"]));
    expect(
      await sql`select count(*)::int as n from automation.entries as e join automation.legacy_imports as i
        on i.workflow_id = e.workflow_id where i.legacy_id = ${many} and e.key = ${`key ${before}`}`,
    ).toEqual([{ n: 2 }]);
    expect(
      await sql`select e.workflow_id = ${many} as first from ridgeline.workflow_executions as e where e.contact_id = ${before}`,
    ).toEqual([{ first: true }]);
    // A trigger that is gone there has a workflow that stays, and is named.
    await sql`delete from public.campaign_triggers where campaign_id = ${many} and trigger_type = 'manual'`;
    const later = await importLegacy(sql, order(["campaigns"]));
    expect(later.entries.filter(({ legacyId }) => legacyId === many).map(({ outcome }) => outcome))
      .toEqual(["updated", "gone_there"]);
  });
});

describe("whatever else is in those tables", () => {
  it("cycles, rubbish, SQL and other tenants' ids harm nobody", async () => {
    const evil = "'; drop table public.contacts; --";
    const loop = await store(
      serverWorkflow("contact_updated", {}, [{
        step_type: "update_contact",
        step_config: { contact_id: "{{trigger.contact_id}}", updates: { notes: "again {{now}}" } },
      }], { name: "Round and round" }),
    );
    await store(
      serverWorkflow("contact_created", { [evil]: evil }, [{
        step_type: "send_sms",
        step_config: { to: "{{trigger.contact.phone}}", body: evil, [evil]: 1 },
      }], { name: evil }),
    );
    await store(
      serverWorkflow("contact_created", {}, [{
        step_type: "create_task",
        step_config: {
          title: "t",
          tenant_id: LAKESIDE,
          project_id: "0d000000-0000-4000-8000-00000000ffff",
        },
      }], { name: "Another's" }),
    );
    await store(
      serverWorkflow("contact_created", {}, [{
        step_type: "send_sms",
        step_config: { to: 5, body: { a: [1] } },
      }, { step_type: "webhook", step_config: { url: ["x"], headers: "h", body: 7 } }], {
        name: "Wrong types",
      }),
    );
    await store(
      serverWorkflow("contact_created", {}, [{
        step_type: "send_sms",
        step_config: { to: "{{trigger.contact.phone}}", body: "x".repeat(400_000) },
      }], { name: "Huge" }),
    );
    await store(
      serverWorkflow(
        "contact_created",
        {},
        Array.from(
          { length: 1200 },
          (_, n) => ({ step_type: "wait", step_config: {}, delay_minutes: n }),
        ),
        { name: "Endless" },
      ),
    );
    await sql`insert into public.automations (tenant_id, name, trigger_type, trigger_config, actions, is_active) values
      (${SUMMIT}, ${evil}, 'contact_created', '[1]', '"none"', true), (null, 'Nobody''s', 'x', '{}', '[]', true), (gen_random_uuid(), 'No such tenant', 'manual', '{}', '[]', true)`;
    const report = await importLegacy(
      sql,
      order(["server", "automations"], {
        tenants: null,
        choices: { ...choices, neverRan: "pause" },
      }),
    );
    const outcome = (name: string) => report.entries.find((entry) => entry.name === name);
    expect(report.needsPerson).toBe(true);
    expect(outcome("Another's")).toMatchObject({ isDraft: true });
    expect(outcome("Wrong types")).toMatchObject({ isDraft: true });
    expect(outcome("Huge")!.outcome).toBe("refused");
    expect(outcome("Endless")!.outcome).toBe("refused");
    expect(outcome("Nobody's")!.problems[0]!.message).toContain("names no tenant");
    expect(outcome("No such tenant")!.problems[0]!.message).toContain("is no tenant here");
    expect(await sql`select count(*)::int as n from public.contacts`).not.toEqual([{ n: 0 }]);
    expect(await sql`select status from ridgeline.workflows where id = ${loop}`).toEqual([{
      status: "paused",
    }]);
    expect(
      report.entries.find(({ name }) => name === "Round and round")!.problems.map(({ code }) =>
        code
      ),
    ).toContain("cycle");
    const again = await importLegacy(
      sql,
      order(["server", "automations"], {
        tenants: null,
        choices: { ...choices, neverRan: "pause" },
      }),
    );
    expect(new Set(again.entries.map((entry) => entry.outcome))).toEqual(
      new Set(["unchanged", "refused"]),
    );
    await undoLegacy(sql, [], null);
  });

  it("killed in the middle, it goes on where it stood, and nothing is there twice", async () => {
    const flow = await store(serverWorkflow("job_completed", {}, [
      { step_type: "create_task", step_config: { title: "One", tenant_id: SUMMIT } },
      {
        step_type: "create_task",
        step_config: { title: "Two", tenant_id: SUMMIT },
        delay_minutes: 60,
      },
    ], { name: "In the middle" }));
    const [, second] = (await sql<
      { id: string }[]
    >`select id from public.workflow_steps where workflow_id = ${flow} order by step_order`).map((
      step,
    ) => step.id);
    await sql`insert into public.workflow_executions (workflow_id, tenant_id, trigger_data, status, started_at, completed_at, created_at)
      select ${flow}, ${SUMMIT}, jsonb_build_object('job_id', gen_random_uuid()), 'completed', t, t, t from generate_series('2026-01-01'::timestamptz, '2026-01-03', interval '1 minute') as t`;
    await sql`with run as (insert into public.workflow_executions (workflow_id, tenant_id, trigger_data, status)
        select ${flow}, ${SUMMIT}, jsonb_build_object('contact_id', ${OTTO}::text, 'job_id', '0e000000-0000-4000-8000-000000000001'), 'running' from generate_series(1, 300) returning id)
      insert into public.workflow_step_executions (execution_id, step_id, status, scheduled_at) select r.id, ${second!}, 'pending', '2026-11-30T18:30Z' from run as r`;
    const session = connect(host.url, { max: 1 });
    const [{ pid }] = await session<[{ pid: number }]>`select pg_backend_pid() as pid`;
    const cut = importLegacy(session, order(["server"])).catch((error: Error) => error);
    for (let waiting = true; waiting;) {
      const [row] = await sql<
        { n: number }[]
      >`select count(*)::int as n from automation.legacy_links where workflow_id = ${flow}`;
      waiting = row!.n === 0;
    }
    await sql`select pg_terminate_backend(${pid})`;
    await cut;
    await session.end({ timeout: 1 });
    await importLegacy(sql, order(["server"]));
    const report = await importLegacy(sql, order(["server"]));
    expect(report.history[0]).toMatchObject({ runs: 0, steps: 0 });
    const [counts] =
      await sql`select count(*) filter (where mode = 'imported')::int as history, count(*) filter (where mode = 'live')::int as live,
      (select count(*)::int from ridgeline.scheduled_steps as s join ridgeline.workflow_executions as x on x.id = s.execution_id where x.workflow_id = ${flow}) as scheduled from ridgeline.workflow_executions where workflow_id = ${flow}`;
    expect(counts).toEqual({ history: 2881, live: 300, scheduled: 300 });
    await later("30 minutes");
    await work(sql);
    expect(
      await sql`select title, count(*)::int as n from public.tasks where title in ('One', 'Two') group by 1`,
    ).toEqual([{ title: "Two", n: 300 }]);
  }, 120_000);
});

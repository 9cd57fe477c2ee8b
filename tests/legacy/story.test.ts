// Summit Roofing moves over: what the old engines had becomes what runs here, and no customer is written to twice.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { importLegacy, type Order, undoLegacy } from "../../scripts/legacy/import.ts";
import { safeChoices } from "../../functions/workflows/legacy/translate/definition.ts";
import {
  createHost,
  type Host,
  LAKESIDE,
  LOPEZ_ROOF,
  MARIA,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";
import type { Sql } from "postgres";

let host: Host & { sql: Sql };
let sql: Sql;

beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  await speakAs(sql, SUMMIT, "+15125550100");
  // Noon at the office, when texts may go out.
  await sql`select automation.set_clock('2026-11-30T18:00:00Z')`;
});
afterAll(() => host.drop());

const order = (more: Partial<Order> = {}): Order => ({
  from: ["server", "campaigns", "automations"],
  tenants: [SUMMIT],
  choices: { ...safeChoices, purpose: "transactional" },
  apply: true,
  activate: false,
  overwrite: false,
  history: true,
  ...more,
});

const WON = "1a000000-0000-4000-8000-000000000001";
const step = (n: number) => `1b000000-0000-4000-8000-00000000000${n}`;

/** Won: an email at once, a day later a task for the office. */
async function fillOld(): Promise<void> {
  await sql`delete from public.workflows`;
  await sql`
    insert into public.workflows (id, tenant_id, name, trigger_type, trigger_config, is_active)
    values (${WON}, ${SUMMIT}, 'Won', 'project_won', '{}', true)`;
  await sql`
    insert into public.workflow_steps (id, workflow_id, step_order, step_type, step_config, delay_minutes) values
      (${step(1)}, ${WON}, 1, 'send_email', ${
    sql.json({
      to: "{{trigger.contact.email}}",
      subject: "{{trigger.project_name}} is yours",
      html: "<p>Worth {{trigger.approved_value}}</p>",
    })
  }, 0),
      (${step(2)}, ${WON}, 2, 'create_task', ${
    sql.json({
      title: "Call about {{trigger.project_name}}",
      due_date_days: 3,
      priority: "high",
      tenant_id: SUMMIT,
    })
  }, 1440),
      (${step(3)}, ${WON}, 3, 'send_sms', ${
    sql.json({ to: "{{trigger.contact.phone}}", body: "All well?" })
  }, 60)`;
}

const status = async (id: string) =>
  (await sql`select status, error_message from public.workflow_executions where id = ${id}`)[0];

describe("the server's engine", () => {
  beforeAll(fillOld);

  it("is looked at first, and nothing is written", async () => {
    const report = await importLegacy(sql, order({ apply: false }));
    expect(report.entries.map(({ name, outcome, problems }) => [
      name,
      outcome,
      problems.filter(({ severity }) => severity === "error"),
    ])).toEqual([
      ["Won", "would_be_created", []],
    ]);
    expect(report.needsPerson).toBe(false);
    expect(await sql`select id from ridgeline.workflows`).toHaveLength(0);
  });

  it("comes switched off, once, under its old id", async () => {
    const report = await importLegacy(sql, order());
    expect(report.entries.map(({ outcome, workflowId }) => [outcome, workflowId])).toEqual([[
      "created",
      WON,
    ]]);
    expect(await sql`select name, status, published_version from ridgeline.workflows`).toEqual([
      { name: "Won", status: "paused", published_version: 2 },
    ]);
    const again = await importLegacy(sql, order());
    expect(again.entries.map(({ outcome }) => outcome)).toEqual(["unchanged"]);
    await sql`update public.projects set pipeline_stage = 'won' where id = ${LOPEZ_ROOF}`;
    expect(await work(sql)).toEqual([]);
    await sql`update public.projects set pipeline_stage = 'negotiation', approved_value = 9000 where id = ${LOPEZ_ROOF}`;
  });

  it("an edit there becomes a new version; one here is not overwritten", async () => {
    await sql`update public.workflow_steps set delay_minutes = 30 where id = ${step(3)}`;
    expect((await importLegacy(sql, order())).entries[0]!.outcome).toBe("updated");
    expect(await sql`select status, published_version from ridgeline.workflows`).toEqual([
      { status: "paused", published_version: 3 },
    ]);
    await sql`update ridgeline.workflow_steps set delay_minutes = 45 where step_type = 'send_sms'`;
    await sql`update public.workflow_steps set delay_minutes = 60 where id = ${step(3)}`;
    expect((await importLegacy(sql, order({ apply: false }))).entries[0]!.outcome).toBe(
      "would_be_edited",
    );
    const edited = await importLegacy(sql, order());
    expect([edited.entries[0]!.outcome, edited.needsPerson]).toEqual(["edited", true]);
    expect((await importLegacy(sql, order({ overwrite: true }))).entries[0]!.outcome).toBe(
      "updated",
    );
    expect(
      await sql`select delay_minutes from ridgeline.workflow_steps where step_type = 'send_sms'`,
    )
      .toEqual([{ delay_minutes: "60" }]);
  });

  it("what was switched off there since is switched off here; what was switched on waits for --activate", async () => {
    const isOn = async () =>
      (await sql`select is_active from ridgeline.workflows where id = ${WON}`)[0]!.is_active;
    await importLegacy(sql, order({ activate: true }));
    expect(await isOn()).toBe(true);
    await sql`update public.workflows set is_active = false where id = ${WON}`;
    expect((await importLegacy(sql, order())).entries[0]!.outcome).toBe("updated");
    expect(await isOn()).toBe(false);
    // Switched on here by hand it stays on, as long as nothing changes there.
    await sql`update ridgeline.workflows set is_active = true where id = ${WON}`;
    expect((await importLegacy(sql, order())).entries[0]!.outcome).toBe("unchanged");
    expect(await isOn()).toBe(true);
    await sql`update ridgeline.workflows set is_active = false where id = ${WON}`;
    await sql`update public.workflows set is_active = true where id = ${WON}`;
    expect((await importLegacy(sql, order())).entries[0]!.outcome).toBe("updated");
    expect(await isOn()).toBe(false);
  });

  it("history comes along, read-only; runs in flight wait for the switch", async () => {
    await sql`
      insert into public.workflow_executions (id, workflow_id, tenant_id, trigger_data, status, started_at, completed_at, error_message, created_at) values
        ('1c000000-0000-4000-8000-000000000001', ${WON}, ${SUMMIT}, ${
      sql.json({ project_id: LOPEZ_ROOF, project_name: "Lopez roof", contact_id: MARIA })
    }, 'completed', '2026-01-05T10:00Z', '2026-01-06T11:00Z', null, '2026-01-05T10:00Z'),
        ('1c000000-0000-4000-8000-000000000002', ${WON}, ${SUMMIT}, ${
      sql.json({ project_id: LOPEZ_ROOF })
    }, 'failed', '2026-01-07T10:00Z', '2026-01-07T10:00:05Z', 'Step failed: no address', '2026-01-07T10:00Z'),
        ('1c000000-0000-4000-8000-000000000003', ${WON}, ${SUMMIT}, ${
      sql.json({
        project_id: LOPEZ_ROOF,
        project_name: "What it was called",
        contact_id: MARIA,
        previous_stage: "negotiation",
      })
    }, 'running', '2026-11-26T08:00Z', null, null, '2026-11-26T08:00Z'),
        ('1c000000-0000-4000-8000-000000000004', ${WON}, ${SUMMIT}, ${
      sql.json({ triggered_by: "assistant" })
    }, 'pending', '2026-11-20T08:00Z', null, null, '2026-11-20T08:00Z'),
        ('1c000000-0000-4000-8000-000000000005', ${WON}, ${LAKESIDE}, '{}', 'completed', '2026-01-05T10:00Z', '2026-01-06T11:00Z', null, '2026-01-05T10:00Z')`;
    await sql`
      insert into public.workflow_step_executions (id, execution_id, step_id, status, started_at, completed_at, result_data, error_message, scheduled_at, created_at) values
        ('1d000000-0000-4000-8000-000000000001', '1c000000-0000-4000-8000-000000000001', ${
      step(1)
    }, 'completed', '2026-01-05T10:00Z', '2026-01-05T10:00:02Z', ${
      sql.json({ success: true, email_id: "re_1", to: "maria@x.example" })
    }, null, null, '2026-01-05T10:00Z'),
        ('1d000000-0000-4000-8000-000000000002', '1c000000-0000-4000-8000-000000000001', ${
      step(2)
    }, 'completed', '2026-01-06T10:00Z', '2026-01-06T10:00:01Z', ${
      sql.json({ task_id: "t" })
    }, null, '2026-01-06T10:00Z', '2026-01-05T10:00Z'),
        ('1d000000-0000-4000-8000-000000000003', '1c000000-0000-4000-8000-000000000002', ${
      step(1)
    }, 'failed', '2026-01-07T10:00Z', '2026-01-07T10:00:05Z', null, 'no address', null, '2026-01-07T10:00Z'),
        ('1d000000-0000-4000-8000-000000000004', '1c000000-0000-4000-8000-000000000003', ${
      step(1)
    }, 'completed', '2026-11-26T08:00Z', '2026-11-26T08:00:02Z', ${
      sql.json({ email_id: "re_2", to: "maria@x.example" })
    }, null, null, '2026-11-26T08:00Z'),
        ('1d000000-0000-4000-8000-000000000005', '1c000000-0000-4000-8000-000000000003', ${
      step(2)
    }, 'pending', null, null, null, null, '2026-11-30T19:00Z', '2026-11-26T08:00:02Z')`;
    const report = await importLegacy(sql, order());
    expect(report.history).toContainEqual({
      source: "server",
      runs: 2,
      steps: 3,
      foreign: 1,
      failed: [],
    });
    expect(await importLegacy(sql, order())).toMatchObject({
      history: [{ runs: 0, steps: 0 }, { runs: 0 }],
    });
    const runs = await sql`
      select status, mode, version, record_id, error, finished_at from ridgeline.workflow_executions order by created_at`;
    expect(
      runs.map((
        { status, mode, version, error },
      ) => [status, mode, version, error?.message ?? null]),
    ).toEqual([
      ["completed", "imported", 1, null],
      ["failed", "imported", 1, "Step failed: no address"],
    ]);
    expect(runs[0]!.record_id).toBe(LOPEZ_ROOF);
    const steps =
      await sql`select step_type, status, provider_id, recipient from ridgeline.workflow_step_executions order by started_at`;
    expect(steps.map((one) => Object.values(one))).toEqual([
      ["send_email", "completed", "re_1", "maria@x.example"],
      ["create_task", "completed", null, null],
      ["send_email", "failed", null, null],
    ]);
    expect(await status("1c000000-0000-4000-8000-000000000003")).toMatchObject({
      status: "running",
    });
    await expect(
      sql`select ridgeline.retry_execution(id) from ridgeline.workflow_executions where status = 'failed'`,
    )
      .rejects.toThrow("history of another system");
  });

  it("while the old engine is at work for the tenant, its runs stay its own", async () => {
    await sql`insert into ridgeline.tenant_settings (tenant_id, unified_engine) values (${SUMMIT}, 'shadow')
      on conflict (tenant_id) do update set unified_engine = 'shadow'`;
    const report = await importLegacy(sql, order({ activate: true }));
    expect(report.taken).toEqual([{
      tenantId: SUMMIT,
      source: "server",
      outcomes: { "left: the old engine is still at work for this tenant": 2 },
    }]);
    expect(await status("1c000000-0000-4000-8000-000000000003")).toMatchObject({
      status: "running",
    });
    await expect(sql`select automation.take_over_runs(${SUMMIT})`).rejects.toThrow("still at work");
    await sql`update ridgeline.tenant_settings set unified_engine = 'on' where tenant_id = ${SUMMIT}`;
    await sql`update ridgeline.workflows set is_active = false`;
  });

  it("switched on, a run goes on at the step it stood at, once, however often it is imported", async () => {
    const [first, second] = await Promise.all([
      importLegacy(sql, order({ activate: true })),
      importLegacy(sql, order({ activate: true })),
    ]);
    const taken = [...first.taken, ...second.taken].flatMap(({ outcomes }) =>
      Object.entries(outcomes)
    );
    expect(Object.fromEntries(taken)).toMatchObject({ taken: 1, ended: 1 });
    expect(await status("1c000000-0000-4000-8000-000000000003")).toEqual({
      status: "cancelled",
      error_message: "Goes on in Ridgeline",
    });
    expect(
      await sql`select status, error ->> 'code' as code from ridgeline.workflow_executions where status = 'cancelled'`,
    )
      .toEqual([{ status: "cancelled", code: "legacy_stranded" }]);
    expect(await work(sql)).toEqual([]);
    await sql`update ridgeline.scheduled_steps set run_at = automation.now()`;
    expect(await work(sql)).toEqual([]);
    expect(await sql`select title, priority, contact_id from public.tasks where title like 'Call%'`)
      .toEqual([{ title: "Call about What it was called", priority: "high", contact_id: MARIA }]);
    expect(
      await sql`select s.step_key from ridgeline.workflow_step_executions as s join ridgeline.workflow_executions as e
      on e.id = s.execution_id where e.mode = 'live' order by s.started_at`,
    ).toHaveLength(2);
    await sql`update ridgeline.scheduled_steps set run_at = automation.now()`;
    expect((await work(sql)).map(({ payload }) => payload.body)).toEqual(["All well?"]);
  });

  it("a new event starts what was imported", async () => {
    await sql`update public.projects set pipeline_stage = 'won' where id = ${LOPEZ_ROOF}`;
    const sent = await work(sql);
    expect(sent.map(({ payload }) => payload.subject)).toEqual(["Lopez roof is yours"]);
  });

  it("undone, what has run since stays and is named", async () => {
    const report = await undoLegacy(sql, ["server"], [SUMMIT]);
    expect(report.undone).toMatchObject([{
      name: "Won",
      undone: false,
      reason: "it has run here since",
    }]);
    expect(await sql`select is_active from ridgeline.workflows`).toEqual([{ is_active: true }]);
  });
});

describe("undo", () => {
  const OTHER = "1a000000-0000-4000-8000-000000000002";
  const RUN = "1c000000-0000-4000-8000-000000000021";
  const PENDING = "1d000000-0000-4000-8000-000000000022";
  it("takes out a workflow with its history, and gives a run that has not moved back", async () => {
    await sql`insert into public.workflows (id, tenant_id, name, trigger_type, is_active)
      values (${OTHER}, ${SUMMIT}, 'Job done', 'job_completed', true)`;
    await sql`insert into public.workflow_steps (id, workflow_id, step_order, step_type, step_config, delay_minutes) values
      (${step(5)}, ${OTHER}, 1, 'wait', '{"delay_minutes": 1440}', 1440),
      (${step(6)}, ${OTHER}, 2, 'webhook', ${
      sql.json({
        url: "https://hooks.example/x",
        headers: { Authorization: "Bearer s3cret-token" },
      })
    }, 0)`;
    await sql`insert into public.workflow_executions (id, workflow_id, tenant_id, trigger_data, status, created_at) values
      (${RUN}, ${OTHER}, ${SUMMIT}, '{"job_id": "0e000000-0000-4000-8000-000000000001"}', 'running', now())`;
    await sql`insert into public.workflow_step_executions (id, execution_id, step_id, status, scheduled_at) values
      (${PENDING}, ${RUN}, ${step(6)}, 'pending', now() + interval '1 day')`;
    await importLegacy(sql, order({ activate: true }));
    const [taken] = await sql`select e.status, s.step_key from ridgeline.workflow_executions as e
      join ridgeline.scheduled_steps as s on s.execution_id = e.id where e.workflow_id = ${OTHER}`;
    expect(taken).toMatchObject({ status: "waiting" });
    const secrets = await sql`select name from ridgeline.list_secrets(${SUMMIT})`;
    expect(secrets).toHaveLength(1);
    expect(JSON.stringify(await sql`select step_config from ridgeline.workflow_steps`)).not
      .toContain("s3cret");
    expect(JSON.stringify(await sql`select notes from automation.legacy_imports`)).not.toContain(
      "s3cret",
    );
    const report = await undoLegacy(sql, [], [SUMMIT]);
    expect(report.undone.find(({ name }) => name === "Job done")).toMatchObject({
      undone: true,
      given_back: 1,
    });
    expect(await status(RUN)).toEqual({ status: "running", error_message: null });
    expect(await sql`select status from public.workflow_step_executions where id = ${PENDING}`)
      .toEqual([{ status: "pending" }]);
    expect(await sql`select 1 from ridgeline.workflows where id = ${OTHER}`).toHaveLength(0);
    expect(await sql`select name from ridgeline.list_secrets(${SUMMIT})`).toHaveLength(0);
    await sql`alter table public.workflow_step_executions drop column scheduled_at, drop column trigger_data`;
    const once = await importLegacy(sql, order());
    expect(once.entries.find(({ legacyId }) => legacyId === OTHER)).toMatchObject({
      outcome: "created",
    });
  });

  it("what has run as a shadow alone has not run: it goes", async () => {
    const SHADOWED = "1a000000-0000-4000-8000-000000000003";
    await sql`select ridgeline.set_engine('shadow', ${SUMMIT})`;
    await sql`insert into public.workflows (id, tenant_id, name, trigger_type, is_active)
      values (${SHADOWED}, ${SUMMIT}, 'Shadowed', 'contact_created', true)`;
    await sql`insert into public.workflow_steps (workflow_id, step_order, step_type, step_config)
      values (${SHADOWED}, 1, 'send_sms', '{"to": "{{trigger.contact.phone}}", "body": "Hi"}')`;
    await importLegacy(sql, order({ activate: true }));
    await sql`insert into public.contacts (tenant_id, first_name, last_name, phone)
      values (${SUMMIT}, 'Ann', 'Lee', '+15125550333')`;
    expect(await work(sql)).toEqual([]);
    expect(
      await sql`select mode from ridgeline.workflow_executions where workflow_id = ${SHADOWED}`,
    ).toEqual([{ mode: "shadow" }]);
    const report = await undoLegacy(sql, [], [SUMMIT]);
    expect(report.undone.find(({ name }) => name === "Shadowed")).toMatchObject({ undone: true });
    await sql`delete from public.workflows where id = ${SHADOWED}`;
    await sql`select ridgeline.set_engine('on', ${SUMMIT})`;
    await importLegacy(sql, order());
  });

  it("what is gone there stays here, and is named; what was deleted there is archived", async () => {
    await sql`delete from public.workflows where id = ${OTHER}`;
    await sql`update public.workflows set is_deleted = true, is_active = false where id = ${WON}`;
    const report = await importLegacy(sql, order());
    expect(report.entries.map(({ name, outcome }) => [name, outcome])).toEqual([
      ["Won", "updated"],
      ["Job done", "gone_there"],
    ]);
    expect(await sql`select name, status from ridgeline.workflows order by name`).toEqual([
      { name: "Job done", status: "paused" },
      { name: "Won", status: "archived" },
    ]);
  });

  it("a lead who is written meanwhile is, and has begun", async () => {
    const BUSY = "1a000000-0000-4000-8000-000000000004";
    await sql`insert into public.workflows (id, tenant_id, name, trigger_type, is_active)
      values (${BUSY}, ${SUMMIT}, 'Busy', 'contact_created', true)`;
    await sql`insert into public.workflow_steps (workflow_id, step_order, step_type, step_config)
      values (${BUSY}, 1, 'create_task', '{"title": "Call"}')`;
    await importLegacy(sql, order({ activate: true }));
    const undoing = await sql.reserve();
    await undoing`begin`;
    await undoing`
      select automation.undo_import(i.tenant_id, i.source, i.legacy_id, i.part)
      from automation.legacy_imports as i where i.legacy_id = ${BUSY}`;
    await sql.begin(async (writer) => {
      await writer`set local statement_timeout = '5s'`;
      await writer`insert into public.contacts (tenant_id, first_name, last_name, phone)
        values (${SUMMIT}, 'Cy', 'Lee', '+15125550334')`;
    });
    await undoing`commit`;
    undoing.release();
    const report = await undoLegacy(sql, [], [SUMMIT]);
    expect(report.undone.find(({ name }) => name === "Busy"))
      .toMatchObject({ undone: false, reason: "it has run here since" });
  });
});

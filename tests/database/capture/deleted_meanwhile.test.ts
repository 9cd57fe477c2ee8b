// A workflow is deleted (its import is undone, its office forgotten) in the moment in which a lead comes in for it.
import type { Sql, TransactionSql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { type Step, useSessions } from "../executions/support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const task: Step = { type: "create_task", config: { title: "Call {{contact.first_name}}" } };
const text: Step = {
  type: "send_sms",
  config: { body: "Hi {{contact.first_name}}", purpose: "transactional" },
};

/** As whoever undoes an import does it. */
async function drop(session: Sql | TransactionSql, workflow: string): Promise<void> {
  await session`update ridgeline.workflows set published_version = null where id = ${workflow}`;
  await session`delete from ridgeline.workflows where id = ${workflow}`;
}

const insert = (session: Sql, tenant: string) =>
  session`insert into contacts (tenant_id, first_name, phone)
    values (${tenant}, 'Maria', '+15125550100') returning first_name`;

async function left() {
  const [rows] = await sql`
    select (select count(*)::int from contacts) as contacts,
      (select count(*)::int from tasks) as tasks,
      (select count(*)::int from ridgeline.messages) as texts,
      (select count(*)::int from ridgeline.workflow_executions) as runs,
      (select count(*)::int from ridgeline.workflow_step_executions) as steps,
      (select count(*)::int from ridgeline.scheduled_steps) as queued`;
  return rows;
}

describe.each([["a task", task], ["a text", text]])("a workflow that begins with %s", (_, step) => {
  // Another office's is due in the same set, and is not mistaken for it.
  const others = async () => {
    const { tenantId } = await sessions.office([task]);
    await sessions.lead(tenantId, "+15125550199");
  };
  const work = async () => {
    await sql`select automation.tick()`;
    await sql`select automation.claim_steps('w', 10)`;
  };
  // A dump that is being restored looks the same, so it waits for a day and does nothing.
  const workForADay = async () => {
    await work();
    expect(await left()).toEqual({ ...onlyTheOthers, runs: 2, queued: 1 });
    await sql`select automation.advance_clock('25 hours')`;
    await work();
    return await left();
  };
  const onlyTheOthers = { contacts: 2, tasks: 1, texts: 0, runs: 1, steps: 1, queued: 0 };

  it("is deleted while a lead is written, who waits for nobody", async () => {
    const { tenantId, workflowId } = await sessions.office([step]);
    await others();
    const manager = await sessions.begin();
    await drop(manager, workflowId);
    const writer = sessions.connect();
    await writer`set statement_timeout = '5s'`;
    expect(await insert(writer, tenantId)).toEqual([{ first_name: "Maria" }]);
    await manager`commit`;
    expect(await workForADay()).toEqual(onlyTheOthers);
  });

  it("is gone for everybody but who looked at the CRM before", async () => {
    const { tenantId, workflowId } = await sessions.office([step]);
    await others();
    const writer = await sessions.begin();
    await writer`set transaction isolation level repeatable read`;
    await writer`select count(*) from contacts`;
    await sql.begin((manager) => drop(manager, workflowId));
    expect(await insert(writer, tenantId)).toEqual([{ first_name: "Maria" }]);
    await writer`commit`;
    expect(await workForADay()).toEqual(onlyTheOthers);
  });
});

it("takes along a run and a step that somebody is changing", async () => {
  const { tenantId, workflowId } = await sessions.office([task]);
  await sessions.lead(tenantId);
  const engine = await sessions.begin();
  await engine`update ridgeline.scheduled_steps set attempt = 1`;
  await engine`update ridgeline.workflow_executions set changed_at = now()`;
  const manager = sql.begin((session) => drop(session, workflowId));
  await sessions.somebodyWaits();
  await engine`commit`;
  await manager;
  expect(await left()).toMatchObject({ runs: 0, queued: 0 });
});

it("goes while somebody works on it, and fails neither of them", async () => {
  const { tenantId, workflowId } = await sessions.office([task]);
  await sessions.lead(tenantId);
  const engine = await sessions.begin();
  await engine`select from ridgeline.scheduled_steps for update`;
  const manager = sql.begin((session) => drop(session, workflowId));
  await sessions.somebodyWaits();
  await engine`select from ridgeline.workflow_executions for no key update`;
  await engine`commit`;
  await manager;
  expect(await left()).toMatchObject({ runs: 0, queued: 0 });
});

it("a run that could not begin goes too, though it is never due", async () => {
  const { tenantId, workflowId } = await sessions.office([task]);
  await sql`update automation.active_triggers set conditions = '{"code": "none"}', quick = null`;
  const manager = await sessions.begin();
  await drop(manager, workflowId);
  await insert(sessions.connect(), tenantId);
  await manager`commit`;
  const runs = () =>
    sql`select status, error ->> 'code' as code from ridgeline.workflow_executions`;
  expect(await runs()).toEqual([{ status: "failed", code: "conditions_failed" }]);
  for (const [later, left] of [["23 hours", 1], ["2 hours", 0]] as const) {
    await sql`select automation.advance_clock(${later}::interval)`;
    await sql`select automation.prune()`;
    expect(await runs()).toHaveLength(left);
  }
  await sql`select automation.prune()`;
  expect(await sql`select from automation.gone_versions`).toEqual([]);
});

describe("a step whose run is nowhere", () => {
  const restore = (statement: string) =>
    sql.begin(async (restored) => {
      await restored`set local session_replication_role = replica`;
      await restored.unsafe(statement);
    });

  it("waits for it, as for one that a dump brings later", async () => {
    const { tenantId } = await sessions.office([task]);
    await sessions.lead(tenantId);
    await sql`create table kept as table ridgeline.workflow_executions`;
    await restore("delete from ridgeline.workflow_executions");
    await sql`select automation.tick()`;
    expect(await left()).toMatchObject({ tasks: 0, runs: 0, queued: 1 });
    await restore("insert into ridgeline.workflow_executions select * from kept");
    await sql`select automation.advance_clock('1 minute')`;
    await sql`select automation.tick()`;
    expect(await left()).toMatchObject({ tasks: 1, runs: 1, queued: 0 });
  });

  it("leaves the queue after a day", async () => {
    const { tenantId } = await sessions.office([task]);
    await sessions.lead(tenantId);
    await restore("delete from ridgeline.workflow_executions");
    for (const later of ["0 minutes", "23 hours", "61 minutes"]) {
      expect(await left()).toMatchObject({ queued: 1 });
      await sql`select automation.advance_clock(${later}::interval)`;
      await sql`select automation.tick()`;
    }
    expect(await left()).toMatchObject({ tasks: 0, runs: 0, queued: 0 });
  });

  // The dispatcher that had it is gone too.
  const lose = async () => {
    const { tenantId } = await sessions.office([text]);
    await sessions.lead(tenantId);
    expect(await sql`select from automation.claim_steps('w', 10)`).toHaveLength(1);
    await sql`create table kept as table ridgeline.workflow_executions`;
    await restore("delete from ridgeline.workflow_executions");
    await sql`
      update ridgeline.scheduled_steps
      set leased_at = leased_at - interval '1 hour', lease_expires_at = lease_expires_at - interval '1 hour'`;
  };
  const claim = async (later: string) => {
    await sql`select automation.advance_clock(${later}::interval)`;
    await sql`select automation.tick()`;
    return await sql`select reconcile_since is not null as unclear from automation.claim_steps('w', 10)`;
  };

  it("leaves the queue after a day, though it was being sent", async () => {
    await lose();
    for (const later of ["0 minutes", "23 hours", "61 minutes"]) {
      expect(await left()).toMatchObject({ queued: 1 });
      expect(await claim(later)).toEqual([]);
    }
    expect(await left()).toMatchObject({ runs: 0, queued: 0 });
    expect(await sql`select from automation.suspects`).toEqual([]);
  });

  it("is looked up at its provider when the run comes, if it was being sent", async () => {
    await lose();
    expect(await claim("0 minutes")).toEqual([]);
    await restore("insert into ridgeline.workflow_executions select * from kept");
    expect(await claim("1 minute")).toEqual([{ unclear: true }]);
  });
});

describe("a workflow that waits for a date", () => {
  async function reminders() {
    const config = { entity: "contact", field: "last_contacted_at", offset: "1 hour" };
    const [tenant] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
    const [workflow] = await sql`
      insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config)
      values (${tenant?.id}, 'Reminder', 'time_elapsed', ${sql.json(config)}) returning id`;
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
      values (${tenant?.id}, ${workflow?.id}, 1, ${task.type}, ${sql.json(task.config)})`;
    await sql`update ridgeline.workflows set is_active = true where id = ${workflow?.id}`;
    return { tenantId: tenant?.id, workflowId: workflow?.id };
  }
  const write = (session: Sql, tenant: string) =>
    session`insert into contacts (tenant_id, first_name, last_contacted_at)
      values (${tenant}, 'Maria', automation.now()) returning first_name`;
  const timers = async () => (await sql`select from ridgeline.workflow_timers`).length;

  it("takes its timers along", async () => {
    const { tenantId, workflowId } = await reminders();
    await write(sql, tenantId);
    expect(await timers()).toBe(1);
    await drop(sql, workflowId);
    expect(await timers()).toBe(0);
  });

  it("is deleted while a date is written, and nobody waits, nor is reminded", async () => {
    const { tenantId, workflowId } = await reminders();
    const manager = await sessions.begin();
    await drop(manager, workflowId);
    const writer = sessions.connect();
    await writer`set statement_timeout = '5s'`;
    expect(await write(writer, tenantId)).toEqual([{ first_name: "Maria" }]);
    await manager`commit`;
    await sql`update ridgeline.workflow_timers set due_at = automation.now()`;
    await sql`select automation.tick()`;
    expect([await timers(), (await left())?.tasks]).toEqual([0, 0]);
  });

  it("is gone for everybody but who looked at the CRM before", async () => {
    const { tenantId, workflowId } = await reminders();
    const writer = await sessions.begin();
    await writer`set transaction isolation level repeatable read`;
    await writer`select count(*) from contacts`;
    await drop(sql, workflowId);
    expect(await write(writer, tenantId)).toEqual([{ first_name: "Maria" }]);
    await writer`commit`;
    await sql`update ridgeline.workflow_timers set due_at = automation.now()`;
    await sql`select automation.tick()`;
    expect([await timers(), (await left())?.tasks]).toEqual([0, 0]);
  });
});

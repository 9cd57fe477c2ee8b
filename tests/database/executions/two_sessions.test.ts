// What two sessions may do to each other: nothing. Each test lets one of them stop halfway.
import type { ReservedSql, Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { waitFor } from "../../support/standins.ts";
import { type Step, useSessions } from "./support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const begin = () => sessions.begin();
const office = (steps: Step[]) => sessions.office(steps);
const lead = (tenantId: string, phone?: string) => sessions.lead(tenantId, phone);
const somebodyWaits = () => sessions.somebodyWaits();

const task: Step = { type: "create_task", config: { title: "Call {{contact.first_name}}" } };
const text: Step = { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } };
const claim = (session: Sql | ReservedSql, most: number) =>
  session`select tenant_id, step_id, attempt_token from automation.claim_steps('w', ${most})`;
/** All that is due: on a busy machine one portion may be over after the first step. */
const run = async (session: Sql | ReservedSql): Promise<number> => {
  const [{ ran }] = await session<[{ ran: number }]>`select automation.run_database_steps() as ran`;
  return ran > 0 ? ran + await run(session) : 0;
};

describe("database steps", () => {
  it("run once when two sessions run them at once", async () => {
    const { tenantId } = await office([task, { type: "add_tag", config: { tag: "new" } }, task]);
    for (let n = 0; n < 40; n++) await lead(tenantId);
    const runners = Array.from({ length: 4 }, () => sessions.connect());
    for (;;) {
      const ran = await Promise.all(
        runners.map((runner) => runner`select automation.run_database_steps(7) as steps`),
      );
      // One that waited too long for another's new tag comes again a moment later.
      const [left] = await sql`select count(*)::int from ridgeline.scheduled_steps`;
      if (ran.every(([first]) => first?.steps === 0) && left?.count === 0) break;
    }
    const [counts] = await sql`
      select (select count(*)::int from tasks) as tasks,
        (select count(*)::int from contact_tags) as tags,
        (select count(*)::int from ridgeline.workflow_step_executions where status = 'completed') as steps,
        (select count(*)::int from ridgeline.workflow_executions where status = 'completed') as runs`;
    expect(counts).toEqual({ tasks: 80, tags: 40, steps: 120, runs: 40 });
  });

  it("are as if they had never been tried when their session dies", async () => {
    const { tenantId } = await office([task]);
    await lead(tenantId);
    const dying = await begin();
    expect(await dying`select automation.run_database_steps() as steps`).toEqual([{ steps: 1 }]);
    const [{ pid } = { pid: 0 }] = await dying<{ pid: number }[]>`select pg_backend_pid() as pid`;
    expect(await sql`select automation.run_database_steps() as steps`).toEqual([{ steps: 0 }]);
    await sql`select pg_terminate_backend(${pid})`;
    await waitFor("the step to be free again", async () => {
      const [ran] = await sql`select automation.run_database_steps() as steps`;
      return ran?.steps === 1;
    });
    expect(await sql`select title from tasks`).toEqual([{ title: "Call Maria" }]);
  });

  it(
    "wait for a record that a user is editing, and keep nobody waiting",
    async () => {
      const { tenantId } = await office([
        task,
        { type: "update_contact", config: { city: "Austin" } },
        task,
      ]);
      const contact = await lead(tenantId);
      const user = await begin();
      await user`update contacts set last_name = 'Lee' where id = ${contact}`;

      // It comes back while the user still holds the record.
      expect(await sql`select automation.run_database_steps() as steps`).toEqual([{ steps: 1 }]);
      expect(await sql`select status, current_step, error from ridgeline.workflow_executions`)
        .toEqual([
          { status: "waiting", current_step: "step_2", error: null },
        ]);
      // The user goes on writing while the engine has let go of everything.
      await user`update contacts set company = 'Lee & Sons' where id = ${contact}`;
      await user`commit`;

      await sql`select automation.advance_clock('1 minute')`;
      expect(await run(sql)).toBe(2);
      expect(await sql`select last_name, company, city from contacts`).toEqual([
        { last_name: "Lee", company: "Lee & Sons", city: "Austin" },
      ]);
      expect(await sql`select count(*)::int as tasks from tasks`).toEqual([{ tasks: 2 }]);
    },
  );

  it("do not wait for it themselves, whatever a lock may take", async () => {
    const { tenantId } = await office([{ type: "update_contact", config: { city: "Austin" } }]);
    const held = await lead(tenantId);
    await lead(tenantId, "+15125550101");
    await sql`alter function automation.run_database_steps(integer) set lock_timeout = 0`;
    const user = await begin();
    await user`update contacts set last_name = 'Lee' where id = ${held}`;
    const engine = await begin();
    await engine`set local statement_timeout = '10s'`;
    await engine`select automation.run_database_steps()`;
    await engine`commit`;
    expect(await sql`select count(*)::int as edited from contacts where city = 'Austin'`)
      .toEqual([{ edited: 1 }]);
    await user`commit`;
  });

  it("do not keep a user waiting who writes the same record", async () => {
    const { tenantId } = await office([{ type: "update_contact", config: { city: "Austin" } }]);
    const contact = await lead(tenantId);
    const other = await lead(tenantId, "+15125550101");
    const user = await begin();
    await user`update contacts set last_name = 'Held' where id = ${other}`;
    const engine = await begin();
    await engine`select automation.run_database_steps()`;
    // The engine holds the first contact and gave up on the second; the user wants the first.
    const wanted = user`update contacts set last_name = 'Wanted' where id = ${contact}`;
    await Promise.all([wanted, somebodyWaits().then(() => engine`commit`)]);
    await user`commit`;
    await sql`select automation.advance_clock('1 minute')`;
    await sql`select automation.run_database_steps()`;
    expect(await sql`select last_name, city from contacts order by last_name`).toEqual([
      { last_name: "Held", city: "Austin" },
      { last_name: "Wanted", city: "Austin" },
    ]);
  });

  it("make one project of two runs that want it at once", async () => {
    const { tenantId } = await office([{ type: "create_project", config: { name: "Roof" } }]);
    const contact = await lead(tenantId);
    const [workflow] = await sql`select id from ridgeline.workflows`;
    await sql`select ridgeline.execute_workflow(${workflow?.id}, ${
      sql.json({ contact_id: contact })
    })`;
    const first = await begin();
    await first`select automation.run_database_steps(1)`;
    await sql`select automation.run_database_steps(1)`;
    await first`commit`;
    await sql`select automation.advance_clock('1 minute')`;
    await sql`select automation.run_database_steps()`;
    expect(await sql`select name from projects`).toEqual([{ name: "Roof" }]);
    expect(
      await sql`select count(*)::int as runs from ridgeline.workflow_executions
      where status = 'completed'`,
    ).toEqual([{ runs: 2 }]);
  });
});

describe("claims", () => {
  it("never overlap", async () => {
    const { tenantId } = await office([text]);
    for (let n = 0; n < 60; n++) await lead(tenantId);
    const first = await begin();
    const mine = await claim(first, 20);
    const theirs = await claim(sql, 20);
    await first`commit`;
    const workers = Array.from({ length: 4 }, () => claim(sessions.connect(), 5));
    const all = [mine, theirs, ...await Promise.all(workers)].flat();
    expect(all).toHaveLength(60);
    expect(new Set(all.map(({ step_id }) => step_id)).size).toBe(60);
  });

  it("go back into the queue when the session that claimed dies before its commit", async () => {
    const { tenantId } = await office([text]);
    await lead(tenantId);
    const dying = await begin();
    expect(await claim(dying, 1)).toHaveLength(1);
    expect(await claim(sql, 1)).toHaveLength(0);
    await dying`rollback`;
    expect(await claim(sql, 1)).toHaveLength(1);
  });

  it("see a STOP that commits while they are under way or before", async () => {
    const { tenantId } = await office([text]);
    await lead(tenantId);
    const customer = await begin();
    await customer`insert into ridgeline.messages (tenant_id, direction, from_number, body)
      values (${tenantId}, 'inbound', '+15125550100', 'STOP')`;
    const worker = await begin();
    await customer`commit`;
    expect(await claim(worker, 1)).toHaveLength(0);
    await worker`commit`;
    expect(
      await sql`select status, error ->> 'code' as code from ridgeline.workflow_step_executions`,
    )
      .toEqual([{ status: "skipped", code: "suppressed" }]);
  });

  it("are finished by one of two that report the same attempt", async () => {
    const { tenantId } = await office([text, task]);
    await lead(tenantId);
    const [step] = await claim(sql, 1);
    const report = (session: Sql | ReservedSql, outcome: string) =>
      session`select accepted, status from automation.finish_steps(${
        session.json([{ ...step, outcome }])
      })`;
    const first = await begin();
    expect(await report(first, "succeeded")).toEqual([{ accepted: true, status: "completed" }]);
    const second = report(sql, "failed");
    await Promise.all([second, somebodyWaits().then(() => first`commit`)]);
    expect(await second).toEqual([{ accepted: false, status: null }]);
    expect(await sql`select status from ridgeline.workflow_step_executions`).toEqual([{
      status: "completed",
    }]);
    expect(await sql`select step_key from ridgeline.scheduled_steps`).toEqual([{
      step_key: "step_2",
    }]);
  });
});

describe("cancelling", () => {
  const cancel = (session: Sql | ReservedSql) =>
    session`select (ridgeline.cancel_execution(id)).status from ridgeline.workflow_executions`;

  it("waits for a claim under way, lets it send, and stops what comes after", async () => {
    const { tenantId } = await office([text, task]);
    await lead(tenantId);
    const worker = await begin();
    const [step] = await claim(worker, 1);
    const cancelled = cancel(sql);
    await Promise.all([cancelled, somebodyWaits().then(() => worker`commit`)]);
    expect(await cancelled).toEqual([{ status: "cancelled" }]);
    const report = sql.json([{ ...step, outcome: "succeeded" }] as never);
    expect(await sql`select accepted from automation.finish_steps(${report})`)
      .toEqual([{ accepted: true }]);
    expect(await sql`select * from ridgeline.scheduled_steps`).toEqual([]);
    expect(await sql`select status from ridgeline.workflow_executions`).toEqual([{
      status: "cancelled",
    }]);
  });

  it("wins over a claim that comes later", async () => {
    const { tenantId } = await office([text, task]);
    await lead(tenantId);
    const office_ = await begin();
    await cancel(office_);
    expect(await claim(sql, 1)).toHaveLength(0);
    await office_`commit`;
    expect(await claim(sql, 1)).toHaveLength(0);
    expect(await sql`select status from ridgeline.workflow_executions`).toEqual([{
      status: "cancelled",
    }]);
  });

  it("waits for a database step under way", async () => {
    const { tenantId } = await office([task, { ...task, delay: 60 }]);
    await lead(tenantId);
    const engine = await begin();
    await engine`select automation.run_database_steps()`;
    const cancelled = cancel(sql);
    await Promise.all([cancelled, somebodyWaits().then(() => engine`commit`)]);
    expect(await cancelled).toEqual([{ status: "cancelled" }]);
    expect(await sql`select * from ridgeline.scheduled_steps`).toEqual([]);
    expect(await sql`select count(*)::int as tasks from tasks`).toEqual([{ tasks: 1 }]);
  });

  it("never ends in a deadlock with claims, steps and reports", async () => {
    const { tenantId } = await office([text, task, text]);
    for (let n = 0; n < 40; n++) await lead(tenantId);
    const stop = { now: false };
    const errors: string[] = [];
    const until = async (work: () => Promise<unknown>) => {
      while (!stop.now) await work().catch((error: Error) => errors.push(error.message));
    };
    const worker = sessions.connect();
    const engine = sessions.connect();
    const clerk = sessions.connect();
    const running = [
      until(async () => {
        const steps = await claim(worker, 7);
        const reports = steps.map((step) => ({ ...step, outcome: "succeeded" }));
        await worker`select automation.finish_steps(${worker.json(reports)})`;
      }),
      until(() => engine`select automation.tick(7)`),
    ];
    for (
      const { id } of await clerk`select id from ridgeline.workflow_executions order by random()`
    ) {
      await clerk`select ridgeline.cancel_execution(${id})`;
    }
    stop.now = true;
    await Promise.all(running);
    expect(errors).toEqual([]);
    const left = await sql`select status from ridgeline.workflow_executions
      where status not in ('cancelled', 'completed')`;
    expect(left).toEqual([]);
  });
});

describe("retrying", () => {
  it("happens once when two ask for it", async () => {
    const { tenantId } = await office([{
      type: "assign_user",
      config: { user_id: "00000000-0000-4000-8000-0000000000ff" },
    }]);
    await lead(tenantId);
    await sql`select automation.run_database_steps()`;
    const retry = (session: Sql | ReservedSql) =>
      session`select (ridgeline.retry_execution(id)).status from ridgeline.workflow_executions`;
    const first = await begin();
    await retry(first);
    const second = retry(sql).then(() => "retried", (error: Error) => error.message);
    await Promise.all([second, somebodyWaits().then(() => first`commit`)]);
    expect(await second).toContain("only a failed execution can be retried; this one is pending");
    expect(await sql`select step_key from ridgeline.scheduled_steps`).toHaveLength(1);
  });
});

describe("coming back", () => {
  it(
    "waits for one that is entering, and leaves the place to it",
    async () => {
      const { tenantId, workflowId } = await sessions.office([
        task,
        { type: "add_tag", config: { tag: "{{contact.custom_fields.tag}}" } },
        { type: "wait", config: { days: 1 } },
        { type: "stop", config: {} },
      ], { reentry: "not_while_open" });
      const contact = await lead(tenantId);
      await run(sql);
      const [failed] =
        await sql`select id from ridgeline.workflow_executions where status = 'failed'`;
      await sql`update contacts set custom_fields = '{"tag": "vip"}'`;
      await sql`select ridgeline.execute_workflow(${workflowId}, ${
        sql.json({ contact_id: contact })
      })`;
      const engine = await begin();
      await engine`select automation.run_database_steps()`;
      const retried = sql`select ridgeline.retry_execution(${failed?.id as string})`
        .then(() => "retried", (error: Error) => error.message);
      await Promise.all([retried, somebodyWaits().then(() => engine`commit`)]);
      expect(await retried).toContain("has entered since");
      await run(sql);
      expect(await sql`select status from ridgeline.workflow_executions order by seq`)
        .toEqual([{ status: "failed" }, { status: "waiting" }]);
    },
  );
});

describe("publishing", () => {
  it("does not hold up those who write, nor they it", async () => {
    const { tenantId, workflowId } = await office([task]);
    await sql`update ridgeline.workflow_steps set step_config = '{"title": "New"}'`;
    const writer = await begin();
    await writer`insert into contacts (tenant_id) values (${tenantId})`;
    const publisher = await begin();
    await publisher`select ridgeline.publish_workflow(${workflowId})`;
    await lead(tenantId);
    await publisher`commit`;
    await writer`commit`;
    await lead(tenantId);
    expect(
      await sql`select version, count(*)::int from ridgeline.workflow_executions group by 1 order by 1`,
    )
      .toEqual([{ version: 1, count: 2 }, { version: 2, count: 1 }]);
  });

  it("numbers versions once when two publish at once", async () => {
    const { workflowId } = await office([task]);
    await sql`update ridgeline.workflow_steps set step_config = '{"title": "New"}'`;
    const first = await begin();
    await first`select ridgeline.publish_workflow(${workflowId})`;
    const second = sql`select (ridgeline.publish_workflow(${workflowId})).version`;
    await Promise.all([second, somebodyWaits().then(() => first`commit`)]);
    expect(await second).toEqual([{ version: 2 }]);
    expect(await sql`select count(*)::int from ridgeline.workflow_versions`).toEqual([{
      count: 2,
    }]);
  });
});

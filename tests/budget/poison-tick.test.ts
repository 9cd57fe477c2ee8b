// What a tick does besides steps (timers, schedules, bulk enrolments, signals) and never comes to its end: it is
// tried alone and put off or given up with a reason; no other office waits for it, nor the other work of a tick.
// The poison is a contact or a workflow by that name.
import type { Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { createQueue } from "../../functions/_shared/engine/queue.ts";
import { useSessions } from "../database/executions/support.ts";
import { recordingLog, sendersOf, sent } from "../functions/fakes.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(async () => {
  sql = sessions.sql;
  await sql`update automation.settings set value = '0 seconds' where name = 'cut_off_pause'`;
});

interface Definition {
  name?: string;
  trigger: string;
  config?: Record<string, string | boolean>;
  settings?: Record<string, string[]>;
  step?: { type: string; config: Record<string, string>; delay?: number };
}

const TASK = { type: "create_task", config: { title: "Call" } };

async function office(...names: string[]): Promise<string> {
  const [tenant] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
  for (const name of names) {
    await sql`
      insert into contacts (tenant_id, first_name, phone, stage)
      values (${tenant?.id}, ${name}, ${`+1512555${
      Math.floor(1000 + Math.random() * 9000)
    }`}, 'new')`;
  }
  return tenant?.id;
}

async function workflow(
  tenantId: string,
  { name = "Follow-up", trigger, config = {}, settings = {}, step = TASK }: Definition,
): Promise<string> {
  const [made] = await sql`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, settings)
    values (${tenantId}, ${name}, ${trigger}, ${sql.json(config)}, ${
    sql.json(settings)
  }) returning id`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config, delay_minutes)
    values (${tenantId}, ${made?.id}, 1, ${step.type}, ${sql.json(step.config)}, ${
    step.delay ?? 0
  })`;
  await sql`update ridgeline.workflows set is_active = true where id = ${made?.id}`;
  return made?.id;
}

/** What a trigger that somebody has put on the history does to the poison, as long as its run has not failed. */
const ruleThat = (deed: string, spares = "new.status = 'failed'") =>
  sql.unsafe(`
    create function public.office_rule() returns trigger language plpgsql as $$
    begin
      if not (${spares}) and (
        exists (select from ridgeline.workflows as w where w.id = new.workflow_id and w.name = 'Poison')
        or exists (select from public.contacts as c where c.id::text = new.contact_id and c.first_name = 'Poison'))
      then
        ${deed}
      end if;
      return new;
    end $$;
    create trigger office_rule before insert or update on ridgeline.workflow_executions
      for each row execute function public.office_rule()`);

/** What pg_cron does; then as if a while had passed. */
async function tick(connection: Sql): Promise<void> {
  // One whose session has ended begins another.
  await connection`select`.catch(() => {});
  await connection.unsafe("call automation.tick_for('200 milliseconds')").catch(() => {});
  await sql`update automation.tick_portions set started_at = started_at - interval '1 minute'`;
  await sql`update ridgeline.workflow_timers set due_at = least(due_at, automation.now())`;
  await sql`update ridgeline.workflow_schedules set next_run_at = automation.now() where error is not null`;
  await sql`update ridgeline.bulk_enrollments set next_batch_at = automation.now()`;
  await sql`update automation.signals set next_try_at = clock_timestamp() - interval '1 second'`;
  await sql`update automation.suspects set next_try_at = next_try_at - interval '1 minute'`;
}

/** Ticks until something is so. */
async function tickUntil(what: string, isSo: () => Promise<boolean>, most = 12): Promise<void> {
  const connection = sessions.connect();
  for (let ticks = 0; ticks < most; ticks++) {
    await tick(connection);
    if (await isSo()) return;
  }
  throw new Error(`After ${most} ticks: not ${what}`);
}

/** Contacts by how their runs stand. */
const runs = async () =>
  (await sql`
    select c.first_name || ' ' || e.status || coalesce(' ' || (e.error ->> 'code'), '') as run
    from ridgeline.workflow_executions as e join contacts as c on c.id::text = e.contact_id
    order by 1`).map(({ run }) => run as string);
const count = async (table: string) => (await sql`select from ${sql.unsafe(table)}`).length;

/** As a timeout does, whenever it comes. */
const IS_CUT_OFF = "perform pg_cancel_backend(pg_backend_pid()); perform pg_sleep(60);";
const DIES = "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1);";
const GIVEN_UP = "Poison failed work_cancelled";

describe.each([["is cut off", IS_CUT_OFF], ["ends its session", DIES]])(
  "work of a tick that %s",
  { timeout: 60_000 },
  (_what, deed) => {
    it("a timer is given up after three tries; the timers of others fire", async () => {
      const config = { entity: "contact", field: "last_contacted_at", offset: "1 hour" };
      const mine = await office("Poison", "Maria");
      const other = await office("Zoe");
      for (const tenant of [mine, other]) {
        await workflow(tenant, { trigger: "time_elapsed", config });
      }
      await ruleThat(deed);
      await sql`update contacts set last_contacted_at = automation.now() - interval '1 hour 1 second'`;
      await tickUntil("Maria and Zoe enrolled", async () => {
        const all = await runs();
        return ["Maria completed", "Zoe completed"].every((one) => all.includes(one));
      }, 6);
      await tickUntil("given up", async () => (await runs()).includes(GIVEN_UP));
      expect(await runs()).toEqual(["Maria completed", GIVEN_UP, "Zoe completed"]);
      expect([await count("ridgeline.workflow_timers"), await count("automation.suspects")])
        .toEqual([0, 0]);
    });

    it("a schedule is put off and says so; the schedules of others run", async () => {
      const config = { every: "1 hour" };
      const mine = await office();
      const other = await office();
      const poison = await workflow(mine, { name: "Poison", trigger: "scheduled", config });
      for (const tenant of [mine, other]) await workflow(tenant, { trigger: "scheduled", config });
      await ruleThat(deed);
      await sql`update ridgeline.workflow_schedules set next_run_at = automation.now() - interval '1 second'`;
      await tickUntil(
        "the others run",
        async () =>
          (await sql`select from ridgeline.workflow_executions where status = 'completed'`)
            .length === 2,
      );
      await tickUntil("put off", async () => {
        const [row] = await sql`select error ->> 'code' as code from ridgeline.workflow_schedules
          where workflow_id = ${poison} and (error ->> 'tries')::int >= 2`;
        return row?.code === "work_cancelled";
      });
      expect(await count("ridgeline.workflow_executions")).toBe(2);
    });

    it("a bulk enrolment is given up after three tries; those of others go on", async () => {
      const mine = await office("Poison", "Maria");
      const other = await office("Zoe");
      const flows = [
        await workflow(mine, { trigger: "manual" }),
        await workflow(other, { trigger: "manual" }),
      ];
      await ruleThat(deed);
      for (const id of flows) {
        await sql`select ridgeline.enroll_records(${id}, filter => '[]', entity => 'contact')`;
      }
      await tickUntil("Zoe enrolled", async () => (await runs()).includes("Zoe completed"), 6);
      await tickUntil("given up", async () => {
        const [job] =
          await sql`select error ->> 'code' as code from ridgeline.bulk_enrollments where status = 'failed'`;
        return job?.code === "work_cancelled";
      });
      expect(await sql`select status from ridgeline.bulk_enrollments order by 1`)
        .toEqual([{ status: "completed" }, { status: "failed" }]);
      expect(await count("automation.suspects")).toBe(0);
    });

    it("an event is tried again and again, and its run waits; the events of others end theirs", async () => {
      const definition: Definition = {
        trigger: "manual",
        settings: { exit_events: ["sms_received"] },
        step: { ...TASK, delay: 60 },
      };
      const mine = await office("Poison", "Maria");
      const other = await office("Zoe");
      for (const tenant of [mine, other]) {
        const id = await workflow(tenant, definition);
        for (
          const { contact }
            of await sql`select id as contact from contacts where tenant_id = ${tenant}`
        ) {
          await sql`select ridgeline.execute_workflow(${id}, ${sql.json({ contact_id: contact })})`;
        }
      }
      await ruleThat(deed);
      await sql`
        insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
        select tenant_id, id, 'inbound', phone, 'Yes please' from contacts
        order by first_name = 'Poison' desc`;
      expect(await count("automation.signals")).toBe(3);
      await tickUntil("the others ended", async () => {
        const all = await runs();
        return ["Maria cancelled exit_event", "Zoe cancelled exit_event"].every((one) =>
          all.includes(one)
        );
      });
      await tickUntil(
        "counted",
        async () =>
          (await sql`select from automation.suspects where kind = 'signal' and tries >= 2`)
            .length === 1,
      );
      await sql`update ridgeline.scheduled_steps set run_at = automation.now()`;
      const connection = sessions.connect();
      for (let ticks = 0; ticks < 2; ticks++) await tick(connection);
      expect(await count("tasks")).toBe(0);
      await sql`drop trigger office_rule on ridgeline.workflow_executions`;
      await tickUntil(
        "ended",
        async () => (await runs()).filter((run) => run.includes("cancelled")).length === 3,
      );
    });
  },
);

it.each([
  ["is cut off", IS_CUT_OFF],
  ["raises", `if new.status = 'failed' then raise exception 'not so'; end if; ${IS_CUT_OFF}`],
])("a timer whose giving up %s stands in nobody's way", { timeout: 60_000 }, async (_, deed) => {
  const config = { entity: "contact", field: "last_contacted_at", offset: "1 hour" };
  const [mine, other] = [await office("Poison"), await office("Zoe")];
  for (const tenant of [mine, other]) await workflow(tenant, { trigger: "time_elapsed", config });
  await ruleThat(deed, "false");
  const fires = (tenant: string) =>
    sql`update contacts set last_contacted_at = automation.now() - interval '1 hour 1 second' where tenant_id = ${tenant}`;
  await fires(mine);
  await tickUntil(
    "tried as often as anything is",
    async () => (await sql`select from automation.suspects where tries >= 3`).length === 1,
  );
  await fires(other);
  await tickUntil("Zoe called", async () => (await runs()).includes("Zoe completed"), 2);
  // What a tick does at its end.
  expect(await count("automation.statistic_changes")).toBe(0);
  await sql`drop trigger office_rule on ridgeline.workflow_executions`;
  await tickUntil("given up", async () => (await runs()).includes(GIVEN_UP), 2);
});

/** How far ahead it is due again, in seconds, and how often its error says it was cut off. */
const IS_DUE = {
  timer:
    "select extract(epoch from due_at - automation.now())::int as later from ridgeline.workflow_timers",
  bulk:
    "select extract(epoch from next_batch_at - automation.now())::int as later from ridgeline.bulk_enrollments",
  schedule:
    "select extract(epoch from next_run_at - automation.now())::int as later, error -> 'tries' as tries from ridgeline.workflow_schedules",
};
it.each(
  [["timer", "fire_timers", 60], ["bulk", "run_bulk", 30], [
    "schedule",
    "run_schedules",
    60,
  ]] as const,
)(
  "a %s that is cut off by the end of a time that others used up is put off as after a whole try",
  { timeout: 60_000 },
  async (kind, does, seconds) => {
    const tenant = await office("Poison");
    if (kind === "timer") {
      const config = { entity: "contact", field: "last_contacted_at", offset: "1 hour" };
      await workflow(tenant, { trigger: "time_elapsed", config });
      await sql`update contacts set last_contacted_at = automation.now() - interval '1 hour 1 second'`;
    } else if (kind === "bulk") {
      const id = await workflow(tenant, { trigger: "manual" });
      await sql`select ridgeline.enroll_records(${id}, filter => '[]', entity => 'contact')`;
    } else {
      await workflow(tenant, { name: "Poison", trigger: "scheduled", config: { every: "1 hour" } });
      await sql`update ridgeline.workflow_schedules set next_run_at = automation.now() - interval '1 second'`;
    }
    await ruleThat("perform pg_sleep(60);");
    const connection = sessions.connect();
    await connection`set statement_timeout = '2s'`;
    const tries = () => sql`select tries from automation.suspects`;
    while ((await tries()).length === 0) {
      await connection.unsafe(
        `do $$ begin perform pg_sleep(1.85); perform automation.${does}(); end $$`,
      ).catch(() => {});
    }
    expect(await tries()).toEqual([{ tries: 0 }]);
    const [due] = await sql.unsafe(IS_DUE[kind]);
    expect(due!.later).toBeGreaterThan(seconds - 15);
    if (kind === "schedule") expect(due!.tries).toBe(1);
  },
);

const text = { type: "send_sms", config: { body: "Hi", purpose: "transactional" } };
/** What a worker that is lost has claimed; then there is a rule. */
async function lose(many: number, deed: string): Promise<void> {
  expect(await sql`select from automation.claim_steps('lost', 10)`).toHaveLength(many);
  await sql`update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'
    where attempt_token is not null`;
  await ruleThat(deed);
}
/** Six texts whose worker is lost, the poison's among them, and a task of another office. */
async function lostTexts(deed: string): Promise<void> {
  const mine = await office("Ann", "Poison", "Maria");
  const other = await office("Bo", "Cy", "Di");
  for (const tenant of [mine, other]) {
    await workflow(tenant, { trigger: "contact_updated", step: text });
  }
  await workflow(other, { trigger: "contact_created" });
  await sql`update contacts set company = 'Lee'`;
  await lose(6, deed);
  await sql`insert into contacts (tenant_id, first_name) values (${other}, 'Zoe')`;
}
const WAIT = ["Ann waiting", "Bo waiting", "Cy waiting", "Di waiting", "Maria waiting"];
const areBack = async () => {
  const all = await runs();
  return WAIT.every((run) => all.includes(run));
};

describe.each([
  ["raises", "raise exception 'not this one';", "step_failed"],
  ["is cut off", IS_CUT_OFF, "work_cancelled"],
  ["ends its session", DIES, "work_cancelled"],
])("a lease that ran out and whose run %s", { timeout: 60_000 }, (_what, deed, code) => {
  it("fails by itself: the others are taken back, and the tick does its other work", async () => {
    await lostTexts(deed);
    await tickUntil(
      "the task of another office",
      async () => (await runs()).includes("Zoe completed"),
      2,
    );
    await tickUntil("the others taken back", areBack, 6);
    await tickUntil("given up", async () => (await runs()).includes(`Poison failed ${code}`));
    expect(await runs()).toEqual([
      ...WAIT.slice(0, 4),
      "Maria waiting",
      `Poison failed ${code}`,
      "Zoe completed",
    ]);
    // It may have been sent: whoever retries it has it looked up first.
    expect(
      await sql`select error -> 'may_have_been_sent' as perhaps, input ->> 'body' as body
      from ridgeline.workflow_step_executions where status = 'failed'`,
    )
      .toEqual([{ perhaps: true, body: "Hi" }]);
    expect([await count("automation.suspects"), await count("automation.tick_portions")]).toEqual([
      0,
      0,
    ]);
  });

  it("does not end a dispatcher, which takes the others back and sends what is due", async () => {
    await lostTexts(deed);
    const tenant = await office("Eve");
    await workflow(tenant, { trigger: "contact_updated", step: text });
    await sql`update contacts set company = 'Roe' where first_name = 'Eve'`;
    const { log } = recordingLog();
    const queue = createQueue(sessions.connect(), 3_000, 1_500);
    const summaries: unknown[] = [];
    for (let n = 0; n < 8; n++) {
      const dispatcher = createDispatcher({
        queue,
        senders: sendersOf(() => Promise.resolve(sent)),
        log,
        worker: "w",
      });
      summaries.push(await dispatcher.dispatch({ budgetMs: 5_000 }));
      await sql`update automation.tick_portions set started_at = started_at - interval '1 minute'`;
      if (await areBack()) break;
    }
    expect(summaries[0]).toMatchObject({ claimed: 1, succeeded: 1, stopped: "idle" });
    expect(await runs()).toEqual(expect.arrayContaining(WAIT));
  });
});

describe(
  "a lease that ran out and that something keeps from being taken back",
  { timeout: 60_000 },
  () => {
    const reap = (on: Sql) => on.unsafe("call automation.reap_leases(0, 100, '50 milliseconds')");

    it("is taken back later where that passes by itself", async () => {
      await sql`create table public.storm ()`;
      await sql`insert into public.storm default values`;
      await lostTexts(
        "if exists (select from public.storm) then raise exception 'not now' using errcode = '40001'; end if;",
      );
      await tickUntil("the others taken back", areBack, 3);
      for (let ticks = 0; ticks < 3; ticks++) await tick(sessions.connect());
      expect(await runs()).toContain("Poison running");
      await sql`delete from public.storm`;
      await tickUntil("taken back", async () => (await runs()).includes("Poison waiting"), 3);
      expect(await count("automation.suspects")).toBe(0);
    });

    it("keeps none waiting that ran out later, while somebody holds its run", async () => {
      await lostTexts("perform pg_sleep(0);");
      await sql`update ridgeline.scheduled_steps as s set lease_expires_at = s.lease_expires_at - interval '1 minute'
        from ridgeline.workflow_executions as e join contacts as c on c.id::text = e.contact_id
        where e.id = s.execution_id and c.first_name in ('Ann', 'Maria', 'Poison')`;
      const user = await sessions.begin();
      await user`select from ridgeline.workflow_executions as e join contacts as c on c.id::text = e.contact_id
        where c.first_name in ('Ann', 'Maria', 'Poison') for update of e`;
      const connection = sessions.connect();
      const few = () => connection.unsafe("call automation.reap_leases(0, 3, '50 milliseconds')");
      const free = async () => (await runs()).filter((run) => run.includes("waiting"));
      // Two are enough where the machine is not slow.
      for (let calls = 0; calls < 6 && (await free()).length < 3; calls++) await few();
      expect(await free()).toEqual(["Bo waiting", "Cy waiting", "Di waiting"]);
      await user`rollback`;
      await tickUntil("all taken back", areBack);
    });

    it("does not end a reaper that is noting the same as another", async () => {
      await lostTexts("perform pg_sleep(0);");
      // Another reaper has found somebody on Ann's run, and has not committed that.
      const other = await sessions.begin();
      await other`
        with held as (
          select e.tenant_id, e.id from ridgeline.workflow_executions as e
          join contacts as c on c.id::text = e.contact_id where c.first_name = 'Ann' for update of e)
        insert into automation.suspects (tenant_id, kind, key)
        select s.tenant_id, 'lease', s.id from ridgeline.scheduled_steps as s
        join held on held.tenant_id = s.tenant_id and held.id = s.execution_id`;
      const connection = sessions.connect();
      const [done] = await connection.unsafe("call automation.reap_leases(0, 100, '1 second')");
      expect(done?.reaped).toBe(5);
      expect(await count("automation.tick_portions")).toBe(0);
      await other`rollback`;
      await reap(connection);
      expect(await areBack()).toBe(true);
      expect(await count("automation.suspects")).toBe(0);
    });

    describe("keeps nobody waiting who finds another session at its note", () => {
      const leaseOf = (name: string) =>
        sql`
          select s.tenant_id, 'lease' as kind, s.id::text as key from ridgeline.scheduled_steps as s
          join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
          join contacts as c on c.id::text = e.contact_id
          where c.first_name = ${name} and s.attempt_token is not null`;
      /** Another session notes something of a lease, and has not committed that. */
      async function noting(name: string) {
        const [lease] = await leaseOf(name);
        const session = await sessions.begin();
        await session`
          insert into automation.suspects (tenant_id, kind, key)
          values (${lease?.tenant_id}, 'lease', ${lease?.key})
          on conflict on constraint suspects_pkey do update set next_try_at = excluded.next_try_at`;
        return session;
      }
      const noted = (name: string) =>
        sql`insert into automation.suspects (tenant_id, kind, key) ${leaseOf(name)}`;
      async function reaped(): Promise<number> {
        const connection = sessions.connect();
        await connection`set statement_timeout = '5s'`;
        return (await connection.unsafe("call automation.reap_leases(0, 100, '1 second')"))[0]
          ?.reaped;
      }

      it("and its run: it is not tried", async () => {
        await lostTexts("perform pg_sleep(0);");
        await noted("Ann");
        const other = await noting("Ann");
        await other`select from ridgeline.workflow_executions as e join contacts as c on c.id::text = e.contact_id
          where c.first_name = 'Ann' for update of e`;
        expect(await reaped()).toBe(5);
        await other`rollback`;
        await tickUntil("all taken back", areBack, 2);
        expect(await count("automation.suspects")).toBe(0);
      });

      it("when it has been taken back: it stays so", async () => {
        await lostTexts("perform pg_sleep(0);");
        await noted("Ann");
        const other = await noting("Ann");
        expect(await reaped()).toBe(6);
        await other`rollback`;
        expect(await areBack()).toBe(true);
        await reaped();
        expect(await count("automation.suspects")).toBe(0);
      });

      it("when what a session left is swept: it is counted the next time", async () => {
        await lostTexts("perform pg_sleep(0);");
        await sql`
          insert into automation.tick_portions (kind, tenant_ids, keys, started_at)
          select l.kind, array[l.tenant_id], array[l.key], clock_timestamp() - interval '1 minute'
          from (${leaseOf("Ann")}) as l`;
        const other = await noting("Ann");
        expect(await reaped()).toBe(5);
        expect(await count("automation.tick_portions")).toBe(1);
        await other`rollback`;
        await sql`update automation.settings set value = '1 hour' where name = 'cut_off_pause'`;
        expect(await reaped()).toBe(0);
        expect(await sql`select tries from automation.suspects`).toEqual([{ tries: 1 }]);
        expect(await count("automation.tick_portions")).toBe(0);
      });

      it("when it has been cut off: it is counted the next time", async () => {
        await lostTexts(IS_CUT_OFF);
        const other = await noting("Poison");
        await reaped();
        expect(await count("automation.tick_portions")).toBe(1);
        await other`rollback`;
        await tickUntil("the others taken back", areBack, 6);
        await tickUntil("given up", async () => (await runs()).includes(GIVEN_UP));
        expect(await count("automation.tick_portions")).toBe(0);
      });
    });

    it("is counted when it fails by itself", async () => {
      await lostTexts("raise exception 'not this one';");
      const [done] = await sql.unsafe("call automation.reap_leases(0, 100, '1 second')");
      expect(done?.reaped).toBe(6);
    });

    it("takes the time that it was given, and no more of a tick than other parts", async () => {
      const tenant = await office(...Array.from({ length: 40 }, () => "Poison"));
      await workflow(tenant, { trigger: "contact_updated", step: text });
      await sql`update contacts set company = 'Lee'`;
      expect(await sql`select from automation.claim_steps('lost', 100)`).toHaveLength(40);
      await sql`update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'`;
      await ruleThat("perform pg_advisory_xact_lock(42); perform pg_sleep(0.05);");
      const took = async (duration: string) => {
        const began = performance.now();
        await sql.unsafe(`call automation.reap_leases(0, 100, '${duration}')`);
        return performance.now() - began;
      };
      expect(await took("200 milliseconds")).toBeLessThan(1_000);
      await sql`
        insert into automation.suspects (tenant_id, kind, key)
        select s.tenant_id, 'lease', s.id from ridgeline.scheduled_steps as s where s.attempt_token is not null`;
      const user = await sessions.begin();
      await user`select pg_advisory_xact_lock(42)`;
      expect(await took("10 seconds")).toBeLessThan(2_700);
      await user`rollback`;
    });

    it("keeps no other waiting that is tried alone as well", async () => {
      await lostTexts("perform pg_advisory_xact_lock(42);");
      // All six were cut off in company, the poison first.
      await sql`
      insert into automation.suspects (tenant_id, kind, key, tries, next_try_at)
      select s.tenant_id, 'lease', s.id, 2, clock_timestamp() - case c.first_name
        when 'Poison' then interval '2 minutes' else interval '1 minute' end
      from ridgeline.scheduled_steps as s
      join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
      join contacts as c on c.id::text = e.contact_id
      where s.attempt_token is not null`;
      const user = await sessions.begin();
      await user`select pg_advisory_xact_lock(42)`;
      const connection = sessions.connect();
      // One at least is tried each time.
      for (let calls = 0; calls < 6; calls++) await reap(connection);
      expect(await areBack()).toBe(true);
      // It has not been tried, and is what it was.
      expect(await sql`select tries from automation.suspects`).toEqual([{ tries: 2 }]);
      await user`rollback`;
      await tickUntil("taken back", async () => (await runs()).includes("Poison waiting"), 3);
      expect(await count("automation.suspects")).toBe(0);
    });

    /** Its turn comes when others have used up most of what a statement has. */
    async function late(on: Sql, timeout: number, others: number): Promise<void> {
      await on.unsafe(`set statement_timeout = ${timeout}`);
      await on.unsafe(
        `do $$ begin perform pg_sleep(${others} / 1000.0); perform automation.reap_expired_leases(); end $$`,
      )
        .catch(() => {});
    }
    async function lostText(deed: string): Promise<void> {
      await workflow(await office("Poison"), { trigger: "contact_updated", step: text });
      await sql`update contacts set company = 'Lee'`;
      await lose(1, deed);
    }

    it("is not to blame when the time was used up by others", async () => {
      await lostText("perform pg_sleep(0.3);");
      const connection = sessions.connect();
      for (let ticks = 0; ticks < 4; ticks++) await late(connection, 800, 750);
      expect(await runs()).toEqual(["Poison running"]);
      await connection`set statement_timeout = 0`;
      await reap(connection);
      expect(await runs()).toEqual(["Poison waiting"]);
      expect(await count("automation.suspects")).toBe(0);
    });

    it("is given up in the end even where its turn is always late", async () => {
      await lostText("perform pg_sleep(60);");
      const connection = sessions.connect();
      for (let ticks = 0; ticks < 60 && (await runs())[0] === "Poison running"; ticks++) {
        await late(connection, 300, 270);
      }
      expect(await runs()).toEqual([GIVEN_UP]);
    });
  },
);

it("a record that breaks a bulk enrolment is its own failure, and the others are enrolled", async () => {
  const mine = await office("Ann", "Poison", "Maria");
  await sql`insert into contacts (tenant_id, first_name) select ${mine}, 'Bo' from generate_series(1, 200)`;
  const filtered = await workflow(mine, { trigger: "manual" });
  const listed = await workflow(mine, { trigger: "manual" });
  await ruleThat("raise exception 'not this one';");
  await sql`select ridgeline.enroll_records(${filtered}, filter => '[]', entity => 'contact')`;
  const few = await sql`select id from contacts where first_name <> 'Bo'`;
  await sql`select ridgeline.enroll_records(${listed}, record_ids => ${
    few.map(({ id }) => id as string)
  })`;
  await tick(sessions.connect());
  await tick(sessions.connect());
  const jobs = await sql`
    select b.status, b.enrolled, b.failed, b.scanned from ridgeline.bulk_enrollments as b order by b.scanned`;
  expect(jobs).toEqual([
    { status: "completed", enrolled: 2, failed: 1, scanned: 3 },
    { status: "completed", enrolled: 202, failed: 1, scanned: 203 },
  ]);
  const failed = await sql`
    select error ->> 'code' as code, error ->> 'message' as message from ridgeline.workflow_executions where status = 'failed'`;
  expect(failed).toEqual([
    { code: "enrollment_failed", message: "not this one" },
    { code: "enrollment_failed", message: "not this one" },
  ]);
});

describe("work that is only slow, and a lot of it, for one office", { timeout: 60_000 }, () => {
  const many = 300;
  /** Everything that a workflow called Slow begins or ends takes a while. */
  const slowly = () =>
    sql.unsafe(`
      create function public.office_rule() returns trigger language plpgsql as $$
      begin
        if exists (select from ridgeline.workflows as w where w.id = new.workflow_id and w.name = 'Slow')
        then perform pg_sleep(0.05); end if;
        return new;
      end $$;
      create trigger office_rule before insert or update on ridgeline.workflow_executions
        for each row execute function public.office_rule()`);
  const crowd = (tenantId: string) =>
    sql`insert into contacts (tenant_id, first_name, phone)
      select ${tenantId}, 'Bo', '+1512555' || (1000 + n) from generate_series(1, ${many}) as n`;
  const runsOf = async (tenantId: string, status?: string) =>
    (await sql`select status from ridgeline.workflow_executions where tenant_id = ${tenantId}`)
      .filter((run) => status === undefined || run.status === status).length;
  /** What one tick has done of the slow work, and of the other office's. */
  async function oneTick(mine: string, other: string, status?: string) {
    await tick(sessions.connect());
    return { slow: await runsOf(mine, status), other: await runsOf(other, status) };
  }

  it("timers of another office fire in the same tick", async () => {
    const config = { entity: "contact", field: "last_contacted_at", offset: "1 hour" };
    const [mine, other] = [await office(), await office("Zoe")];
    await workflow(mine, { name: "Slow", trigger: "time_elapsed", config });
    await workflow(other, { trigger: "time_elapsed", config });
    await crowd(mine);
    await slowly();
    await sql`update contacts set last_contacted_at = automation.now() - interval '1 hour 2 seconds'`;
    await sql`update ridgeline.workflow_timers set due_at = due_at + interval '1 second' where tenant_id = ${other}`;
    const { slow, other: done } = await oneTick(mine, other);
    expect(slow).toBeLessThan(many);
    expect(done).toBe(1);
  });

  it("schedules of another office run in the same tick", async () => {
    const config = { every: "1 hour" };
    const [mine, other] = [await office(), await office()];
    for (let n = 0; n < 60; n++) {
      await workflow(mine, { name: "Slow", trigger: "scheduled", config });
    }
    await workflow(other, { trigger: "scheduled", config });
    await slowly();
    await sql`update ridgeline.workflow_schedules set next_run_at = automation.now() - interval '1 minute'`;
    await sql`update ridgeline.workflow_schedules set next_run_at = automation.now() where tenant_id = ${other}`;
    const { slow, other: done } = await oneTick(mine, other);
    expect(slow).toBeLessThan(60);
    expect(done).toBe(1);
  });

  it("bulk enrolments of another office go on in the same tick", async () => {
    const [mine, other] = [await office(), await office("Zoe")];
    await crowd(mine);
    const enrol = (id: string) =>
      sql`select ridgeline.enroll_records(${id}, filter => '[]', entity => 'contact')`;
    for (let n = 0; n < 25; n++) {
      await enrol(await workflow(mine, { name: "Slow", trigger: "manual" }));
    }
    await enrol(await workflow(other, { trigger: "manual" }));
    await slowly();
    await sql`
      update ridgeline.bulk_enrollments set next_batch_at = automation.now() - interval '1 minute' where tenant_id = ${mine}`;
    const { slow, other: done } = await oneTick(mine, other);
    expect(slow).toBeLessThan(25 * many);
    expect(done).toBe(1);
  });

  it("events of another office end its runs in the same tick", async () => {
    const waits: Definition = {
      trigger: "contact_created",
      settings: { exit_events: ["sms_received"] },
      step: { ...TASK, delay: 60 },
    };
    const [mine, other] = [await office(), await office()];
    await workflow(mine, { ...waits, name: "Slow" });
    await workflow(other, waits);
    await crowd(mine);
    await sql`insert into contacts (tenant_id, first_name, phone) values (${other}, 'Zoe', '+15125550100')`;
    await slowly();
    await sql`
      insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
      select tenant_id, id, 'inbound', phone, 'Yes' from contacts order by first_name`;
    const { slow, other: done } = await oneTick(mine, other, "cancelled");
    expect(slow).toBeLessThan(many);
    expect(done).toBe(1);
  });
});

it("a part that is cut off in every tick does not keep the others from their turn", async () => {
  const tenant = await office("Maria");
  await workflow(tenant, { trigger: "contact_updated" });
  await workflow(tenant, { name: "Poison", trigger: "scheduled", config: { every: "1 hour" } });
  // Whatever is done about schedules takes for ever, and nobody can tell which of them it is.
  await sql.unsafe(`
    create or replace function automation.lock_schedules(tenant_ids uuid[], keys text[])
      returns setof ridgeline.workflow_schedules language plpgsql as
      $$ begin ${IS_CUT_OFF} end $$`);
  await sql`update ridgeline.workflow_schedules set next_run_at = automation.now() - interval '1 second'`;
  await sql`update contacts set company = 'Lee'`;
  await tickUntil("the step done", async () => (await runs()).includes("Maria completed"), 3);
});

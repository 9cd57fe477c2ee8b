// What is worked on as a set is held for a moment only, and what somebody holds does not hold the rest.
import type { Sql } from "postgres";
import { beforeEach, expect, it } from "vitest";
import { type Step, useSessions } from "../database/executions/support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const TASK = { type: "create_task", config: { title: "Call {{contact.first_name}}" } };

const tasks = async () =>
  (await sql<{ title: string; n: number }[]>`
    select title, count(*)::int as n from tasks group by title order by title`)
    .map(({ title, n }) => `${title} ${n}`);
const work = (on: Sql) => on.unsafe("call automation.work_database_steps(0, 1000, '5 seconds')");
/** As if a whole set had been worked on before. */
const wholeSets = async (on: Sql) => {
  await on`
    select set_config('automation.portion_size', '800', false),
      set_config('automation.size_of_create_task', '200', false)`;
};

/** What the CRM does about a row of a table, before it is written. */
const ruleOn = (table: string, deed: string) =>
  sql.unsafe(`
    create or replace function public.office_rule() returns trigger language plpgsql as $$
    begin ${deed} return new; end $$;
    create trigger office_rule before insert on ${table}
      for each row execute function public.office_rule()`);
/** Takes 8 ms and writes to the contact, which is the office's own from then on until the engine commits. */
const SLOWLY_TOUCHES =
  "perform pg_sleep(0.008); update public.contacts set updated_at = now() where id = new.contact_id;";

/** While the engine works, somebody in the office writes one thing after the other: the longest that took, in ms. */
async function longestWait(
  write: (on: Sql, turn: number) => Promise<unknown>,
  working: () => Promise<unknown>,
): Promise<number> {
  const user = sessions.connect();
  await write(user, 0);
  let isDone = false;
  const work = working().finally(() => {
    isDone = true;
  });
  let longest = 0;
  for (let turn = 1; !isDone; turn++) {
    const began = performance.now();
    await write(user, turn);
    longest = Math.max(longest, performance.now() - began);
  }
  await work;
  return longest;
}
/** The bound of a user's wait: portion_ms (200), the set that was begun before they were over, and room for a busy machine. */
const AT_MOST = 500;

async function leads(tenantId: string, ...names: string[]): Promise<string[]> {
  const rows = await sql<{ id: string }[]>`
    insert into contacts (tenant_id, first_name) select ${tenantId}, n from unnest(${names}::text[]) as n
    returning id`;
  return rows.map(({ id }) => id);
}

it("a contact that a user holds keeps the step for it waiting, and no other", async () => {
  const { tenantId } = await sessions.office([TASK]);
  const [, held] = await leads(tenantId, "Ann", "Bo", "Cy", "Di", "Eve");
  const user = await sessions.begin();
  await user`select from contacts where id = ${held!} for update`;
  const worker = sessions.connect();
  await wholeSets(worker);
  await work(worker);
  expect(await tasks()).toEqual(["Call Ann 1", "Call Cy 1", "Call Di 1", "Call Eve 1"]);
  const [waiting] = await sql`
    select e.record_id, s.run_at > automation.now() as later
    from ridgeline.scheduled_steps as s join ridgeline.workflow_executions as e on e.id = s.execution_id`;
  expect(waiting).toEqual({ record_id: held, later: true });
  await user`rollback`;
  await sql`select automation.advance_clock('2 seconds')`;
  await work(worker);
  expect(await tasks()).toEqual([
    "Call Ann 1",
    "Call Bo 1",
    "Call Cy 1",
    "Call Di 1",
    "Call Eve 1",
  ]);
});

it("a run that somebody holds is left to them, and tried again", async () => {
  const { tenantId } = await sessions.office([TASK]);
  const [, held] = await leads(tenantId, "Ann", "Bo", "Cy");
  const other = await sessions.begin();
  await other`select from ridgeline.workflow_executions where record_id = ${held!} for update`;
  const worker = sessions.connect();
  await wholeSets(worker);
  await work(worker);
  expect(await tasks()).toEqual(["Call Ann 1", "Call Cy 1"]);
  await other`rollback`;
  await sql`select automation.advance_clock('2 seconds')`;
  await work(worker);
  expect(await tasks()).toEqual(["Call Ann 1", "Call Bo 1", "Call Cy 1"]);
});

it("what was tried alone and met somebody stays to be tried alone, after the others", async () => {
  const { tenantId } = await sessions.office([TASK]);
  const [held] = await leads(tenantId, "Ann", "Bo");
  await sql`
    insert into automation.suspects (tenant_id, kind, key, tries, next_try_at)
    select s.tenant_id, 'database', s.id, 2, clock_timestamp() - case e.record_id
      when ${held!} then interval '2 minutes' else interval '1 minute' end
    from ridgeline.scheduled_steps as s join ridgeline.workflow_executions as e on e.id = s.execution_id`;
  const user = await sessions.begin();
  await user`select from contacts where id = ${held!} for update`;
  const worker = sessions.connect();
  const tryOne = () =>
    worker.unsafe("call automation.work_database_steps(0, 1000, '10 milliseconds')");
  await tryOne();
  await tryOne();
  expect(await tasks()).toEqual(["Call Bo 1"]);
  expect(await sql`select tries from automation.suspects`).toEqual([{ tries: 2 }]);
  await user`rollback`;
  await sql`update automation.suspects set next_try_at = next_try_at - interval '1 minute'`;
  await sql`select automation.advance_clock('2 seconds')`;
  await tryOne();
  expect(await tasks()).toEqual(["Call Ann 1", "Call Bo 1"]);
  expect(await sql`select from automation.suspects`).toHaveLength(0);
});

/** What was cut off before is tried alone, and somebody is halfway through a note about it. */
async function noted(lane: string) {
  await sql`
    insert into automation.suspects (tenant_id, kind, key)
    select tenant_id, ${lane}, id from ridgeline.scheduled_steps`;
  const other = await sessions.begin();
  await other`select from automation.suspects for update`;
  return other;
}

it("a step whose note somebody holds is done, and its note goes later", async () => {
  const { tenantId } = await sessions.office([TASK]);
  await leads(tenantId, "Ann");
  const other = await noted("database");
  const worker = sessions.connect();
  await work(worker);
  expect(await tasks()).toEqual(["Call Ann 1"]);
  await other`rollback`;
  await leads(tenantId, "Bo");
  await work(worker);
  expect(await tasks()).toEqual(["Call Ann 1", "Call Bo 1"]);
  expect(await sql`select from automation.suspects`).toHaveLength(0);
});

it("a claim that meets somebody at a run and at its note brings what there is besides", async () => {
  const { tenantId } = await sessions.office([{ type: "send_sms", config: { body: "Hi" } }]);
  await sessions.lead(tenantId);
  const other = await noted("sms");
  await other`select from ridgeline.workflow_executions for update`;
  const worker = sessions.connect();
  await worker`set lock_timeout = '2s'`;
  expect(await worker`select from automation.claim_steps('w', 10)`).toHaveLength(0);
  await other`rollback`;
  await sql`select automation.advance_clock('10 seconds')`;
  expect(await worker`select from automation.claim_steps('w', 10)`).toHaveLength(1);
});

it("portions that were left over and whose notes somebody holds cost the next one no more than a portion", async () => {
  const { tenantId } = await sessions.office([TASK]);
  await leads(tenantId, ...Array.from({ length: 30 }, (_, n) => `Ann ${n}`));
  const other = await noted("database");
  await sql`
    insert into automation.portions (lane, tenant_ids, step_ids, started_at)
    select 'database', array[tenant_id], array[id], clock_timestamp() - interval '1 minute'
    from ridgeline.scheduled_steps`;
  const sweep = async () => {
    const began = performance.now();
    await sql`select automation.begin_portion('database', 200)`;
    return performance.now() - began;
  };
  expect(await sweep()).toBeLessThan(1000);
  await other`rollback`;
  // Those it came to are left for a while: it comes to others first.
  await sweep();
  const left =
    await sql`select from automation.portions where started_at > clock_timestamp() - interval '5 seconds'`;
  expect(left.length).toBeGreaterThan(0);
  expect(await sql`select from automation.portions`).toHaveLength(left.length);
});

it("a run about what is not attached any more goes on beside one whose contact a user holds", async () => {
  const { tenantId } = await sessions.office([TASK]);
  await workflow(
    tenantId,
    { type: "create_task", config: { title: "Invoice" } },
    "job_completed",
    {},
  );
  await sql`insert into jobs (tenant_id, name) values (${tenantId}, 'Roof')`;
  await sql`update jobs set status = 'completed'`;
  const [held] = await leads(tenantId, "Ann", "Bo");
  await sql`select automation.detach('job')`;
  const user = await sessions.begin();
  await user`select from contacts where id = ${held!} for update`;
  const worker = sessions.connect();
  await wholeSets(worker);
  await work(worker);
  expect(await tasks()).toContain("Call Bo 1");
});

it("a table whose triggers take 8 ms a row is written in portions, under a timeout of 3 s", {
  timeout: 60_000,
}, async () => {
  const { tenantId } = await sessions.office([TASK]);
  await ruleOn("public.tasks", "perform pg_sleep(0.008);");
  await leads(tenantId, ...Array.from({ length: 150 }, (_, n) => `Lead ${n}`));
  const worker = sessions.connect();
  await worker`set statement_timeout = '3s'`;
  for (let ticks = 0; ticks < 15 && (await sql`select from tasks`).length < 150; ticks++) {
    await worker.unsafe("call automation.tick_for('2 seconds')");
  }
  const [written] = await sql`
    select sum(p.n)::int as all, max(p.n)::int as at_once
    from (select count(*) as n from tasks group by xmin) as p`;
  expect(written!.all).toBe(150);
  // A quarter of a second of them at most, however many would have fitted.
  expect(written!.at_once).toBeLessThanOrEqual(32);
});

it("steps that are done one by one ask the clock themselves, whatever their kind has cost before", {
  timeout: 60_000,
}, async () => {
  const { tenantId } = await sessions.office([{ type: "add_tag", config: { tag: "roof" } }]);
  await ruleOn("public.contact_tags", "perform pg_sleep(0.008);");
  await leads(tenantId, ...Array.from({ length: 100 }, (_, n) => `Lead ${n}`));
  const worker = sessions.connect();
  await wholeSets(worker);
  await worker`select set_config('automation.size_of_add_tag', '200', false)`;
  for (
    let rounds = 0;
    rounds < 15 && (await sql`select from contact_tags`).length < 100;
    rounds++
  ) {
    await work(worker);
  }
  const [written] = await sql`
    select sum(p.n)::int as all, max(p.n)::int as at_once
    from (select count(*) as n from contact_tags group by xmin) as p`;
  expect(written!.all).toBe(100);
  expect(written!.at_once).toBeLessThanOrEqual(32);
});

it("a set that is cut off is tried one by one, and the one that takes for ever is given up", {
  timeout: 60_000,
}, async () => {
  const { tenantId } = await sessions.office([TASK]);
  await sql`update automation.settings set value = '0 seconds' where name = 'cut_off_pause'`;
  await ruleOn("public.tasks", "if new.title = 'Call Poison' then perform pg_sleep(60); end if;");
  await leads(tenantId, "Ann", "Bo", "Poison", "Cy", "Di");
  const worker = sessions.connect();
  await wholeSets(worker);
  await worker`set statement_timeout = '1s'`;
  for (let ticks = 0; ticks < 12; ticks++) {
    await work(worker);
    await wholeSets(worker);
  }
  expect(await tasks()).toEqual(["Call Ann 1", "Call Bo 1", "Call Cy 1", "Call Di 1"]);
  const failed = await sql`
    select e.error ->> 'code' as code from ridgeline.workflow_executions as e where e.status = 'failed'`;
  expect(failed).toEqual([{ code: "work_cancelled" }]);
});

/** A workflow of an office for contacts from somewhere, or for what time says. */
async function workflow(
  tenantId: string,
  { type, config }: Step,
  trigger: "contact_created" | "time_elapsed" | "job_completed" | "manual",
  about: Record<string, string>,
): Promise<void> {
  const [made] = await sql`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config)
    values (${tenantId}, ${trigger}, ${trigger}, ${sql.json(about)}) returning id`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
    values (${tenantId}, ${made!.id}, 1, ${type}, ${sql.json(config)})`;
  await sql`update ridgeline.workflows set is_active = true where id = ${made!.id}`;
}
const REMINDER = { entity: "contact", field: "last_contacted_at", offset: "1 hour" };
const tenant = async () =>
  (await sql<{ id: string }[]>`insert into tenants (name) values ('Apex Roofing') returning id`)[0]!
    .id;
/** Says of a contact that they were spoken to long enough ago for the reminder to be due. */
const spokenTo = (on: Sql, id: string) =>
  on`update contacts set last_contacted_at = automation.now() - interval '1 hour 100 milliseconds' where id = ${id}`;

it(
  "whoever moves dates while timers fire and steps run waits for a portion at most, under a timeout of 3 s",
  {
    timeout: 60_000,
  },
  async () => {
    const apex = await tenant();
    await workflow(apex, TASK, "time_elapsed", REMINDER);
    const ids = await leads(apex, ...Array.from({ length: 200 }, (_, n) => `Lead ${n}`));
    await sql`update contacts set last_contacted_at = automation.now() - interval '1 hour 1 second'`;
    await ruleOn("public.tasks", SLOWLY_TOUCHES);
    await sql.unsafe(`
    create function public.office_log() returns trigger language plpgsql as $$
    begin perform pg_sleep(0.008); return new; end $$;
    create trigger office_log before insert on ridgeline.workflow_executions
      for each row execute function public.office_log()`);
    const worker = sessions.connect();
    await worker`set statement_timeout = '3s'`;
    const longest = await longestWait(
      (on, turn) => spokenTo(on, ids[turn % ids.length]!),
      async () => {
        for (let ticks = 0; ticks < 3; ticks++) {
          await worker.unsafe("call automation.tick_for('1 second')");
        }
      },
    );
    expect(longest).toBeLessThan(AT_MOST);
    const [did] = await sql`
    select (select count(*)::int from ridgeline.workflow_executions) as fired, (select count(*)::int from tasks) as tasks`;
    expect(did!.fired, "timers fired").toBeGreaterThan(50);
    expect(did!.tasks, "steps ran").toBeGreaterThan(10);
  },
);

it("steps of a kind that is dear are not worked on by what a cheap kind has cost", {
  timeout: 60_000,
}, async () => {
  const apex = await tenant();
  await workflow(apex, TASK, "contact_created", { source: "web" });
  await workflow(
    apex,
    { type: "create_project", config: { name: "Roof" } },
    "contact_created",
    { source: "fair" },
  );
  await ruleOn("public.projects", SLOWLY_TOUCHES);
  const add = (source: string, many: number) =>
    sql`insert into contacts (tenant_id, first_name, source)
      select ${apex}, 'Lead', ${source} from generate_series(1, ${many}::int) returning id`;
  await add("web", 400);
  const dear = (await add("fair", 200)).map(({ id }) => id as string);
  const worker = sessions.connect();
  const longest = await longestWait(
    (on, turn) => on`update contacts set company = 'Lee' where id = ${dear[turn % dear.length]!}`,
    () => work(worker),
  );
  expect(longest).toBeLessThan(AT_MOST);
  expect(await sql`select from tasks`).toHaveLength(400);
  expect((await sql`select from projects`).length).toBeGreaterThan(50);
});

it("a table that becomes dear while a session rests is not written to by what it has cost before", {
  timeout: 60_000,
}, async () => {
  const { tenantId } = await sessions.office([TASK]);
  const ids = await leads(tenantId, ...Array.from({ length: 200 }, (_, n) => `Lead ${n}`));
  const worker = sessions.connect();
  await wholeSets(worker);
  await worker`select set_config('automation.size_of_create_task', '200 1', false)`;
  await ruleOn("public.tasks", SLOWLY_TOUCHES);
  const longest = await longestWait(
    (on, turn) => on`update contacts set company = 'Lee' where id = ${ids[turn % ids.length]!}`,
    () => work(worker),
  );
  expect(longest).toBeLessThan(AT_MOST);
  expect(await sql`select from tasks`).toHaveLength(200);
});

it.each([
  ["contacts", "for update", ""],
  [
    "what a trigger of the CRM's wants for them",
    "",
    "if new.title = 'Call Held' then perform pg_advisory_xact_lock(42); end if;",
  ],
])("nobody waits for the engine while it waits for somebody who holds many: %s", {
  timeout: 60_000,
}, async (_what, hold, wanted) => {
  const { tenantId } = await sessions.office([TASK]);
  const names = Array.from({ length: 100 }, (_, n) => n % 10 === 0 ? "Held" : "Free");
  const ids = await leads(tenantId, ...names);
  await ruleOn(
    "public.tasks",
    `${wanted} update public.contacts set updated_at = now() where id = new.contact_id;`,
  );
  const user = await sessions.begin();
  await user.unsafe(
    `select pg_advisory_xact_lock(42); select from contacts where first_name = 'Held' ${hold}`,
  );
  const free = ids.filter((_, n) => names[n] === "Free");
  const worker = sessions.connect();
  await wholeSets(worker);
  const longest = await longestWait(
    (on, turn) => on`update contacts set company = 'Lee' where id = ${free[turn % free.length]!}`,
    async () => {
      for (
        let rounds = 0;
        rounds < 30 && (await tasks()).at(0) !== `Call Free ${free.length}`;
        rounds++
      ) {
        await worker.unsafe("call automation.work_database_steps(0, 1000, '500 milliseconds')");
        await sql`select automation.advance_clock('2 seconds')`;
      }
    },
  );
  expect(longest).toBeLessThan(AT_MOST);
  expect(await tasks()).toEqual([`Call Free ${free.length}`]);
  await user`rollback`;
  await work(worker);
  expect(await tasks()).toEqual([
    `Call Free ${free.length}`,
    `Call Held ${names.length - free.length}`,
  ]);
});

it(
  "a date that somebody is moving keeps nobody from theirs while a workflow takes up what is there",
  {
    timeout: 60_000,
  },
  async () => {
    const apex = await tenant();
    const ids = await leads(apex, ...Array.from({ length: 60 }, (_, n) => `Lead ${n}`));
    await workflow(apex, TASK, "time_elapsed", REMINDER);
    await sql`update contacts set last_contacted_at = automation.now()`;
    await sql`delete from ridgeline.workflow_timers`;
    // In the order in which they are taken up.
    ids.sort();
    const last = ids.at(-1);
    const user = await sessions.begin();
    await user`update contacts set last_contacted_at = automation.now() + interval '1 day' where id = ${last!}`;
    const worker = sessions.connect();
    const waiting = async () => (await sql`select from ridgeline.workflow_timers`).length;
    const longest = await longestWait(
      (on, turn) =>
        on`update contacts set last_contacted_at = automation.now() where id = ${ids[turn % 20]!}`,
      async () => {
        for (let rounds = 0; rounds < 20 && await waiting() < 59; rounds++) {
          await worker.unsafe("call automation.tick_for('100 milliseconds')");
          await sql`select automation.advance_clock('2 seconds')`;
        }
      },
    );
    expect(longest).toBeLessThan(AT_MOST);
    expect(await waiting()).toBe(59);
    await user`commit`;
    await sql`select automation.advance_clock('2 seconds')`;
    await worker.unsafe("call automation.tick_for('100 milliseconds')");
    expect(await sql`select status, scanned from ridgeline.bulk_enrollments`)
      .toEqual([{ status: "completed", scanned: 60 }]);
  },
);

it("a bulk enrolment that meets somebody's lock keeps to what a minute allows", async () => {
  /** In one transaction, for which the clock stands still. */
  const at = (second: number, statement: string) =>
    sql.begin(async (one) => {
      await one`select automation.set_clock('2026-03-02 12:00:00Z'::timestamptz + ${second} * interval '1 second')`;
      await one.unsafe(statement);
    });
  const apex = await tenant();
  const ids = await leads(apex, "Ann", "Bo", "Cy", "Di");
  ids.sort();
  await workflow(apex, TASK, "manual", {});
  await at(
    0,
    `select ridgeline.enroll_records(w.id, filter => '[]', entity => 'contact', per_minute => 24)
    from ridgeline.workflows as w`,
  );
  await sql.unsafe(`
    create function public.office_log() returns trigger language plpgsql as $$
    begin if new.contact_id = '${
    ids[1]
  }' then perform pg_advisory_xact_lock(42); end if; return new; end $$;
    create trigger office_log before insert on ridgeline.workflow_executions
      for each row execute function public.office_log()`);
  const user = await sessions.begin();
  await user`select pg_advisory_xact_lock(42)`;
  const enrolledAt = async (second: number) => {
    await at(second, "select automation.run_bulk()");
    return (await sql`select from ridgeline.workflow_executions`).length;
  };
  expect(await enrolledAt(1), "one, and the second is held").toBe(1);
  await user`rollback`;
  // One that was enrolled takes two and a half seconds of a minute of which there are twenty-four.
  expect(await enrolledAt(3), "too early for the next").toBe(1);
  expect(await enrolledAt(4), "those that are allowed together").toBe(3);
});

it(
  "whoever writes to contacts whose texts were lost with their worker waits for a portion at most",
  {
    timeout: 60_000,
  },
  async () => {
    const { tenantId } = await sessions.office([{ type: "send_sms", config: { body: "Hi" } }]);
    const names = Array.from({ length: 80 }, (_, n) => n % 4 === 3 ? "Held" : "Free");
    const rows = await sql<{ id: string; first_name: string }[]>`
    insert into contacts (tenant_id, first_name, phone)
    select ${tenantId}, n.name, '+1512555' || 1000 + n.place
    from unnest(${names}::text[]) with ordinality as n (name, place) returning id, first_name`;
    const free = rows.filter((row) => row.first_name === "Free");
    expect(await sql`select from automation.claim_steps('lost', 100)`).toHaveLength(names.length);
    await sql`update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'`;
    await sql.unsafe(`
    create function public.office_log() returns trigger language plpgsql as $$
    begin
      update public.contacts set updated_at = now() where id = new.contact_id::uuid;
      if exists (select from public.contacts where id = new.contact_id::uuid and first_name = 'Held')
      then perform pg_advisory_xact_lock(42); end if;
      return new;
    end $$;
    create trigger office_log before update on ridgeline.workflow_executions
      for each row execute function public.office_log()`);
    const user = await sessions.begin();
    await user`select pg_advisory_xact_lock(42)`;
    const worker = sessions.connect();
    const back = async () =>
      (await sql`select from ridgeline.scheduled_steps where attempt_token is null`).length;
    const reap = () => worker.unsafe("call automation.reap_leases(0, 100, '1 second')");
    const longest = await longestWait(
      (on, turn) =>
        on`update contacts set company = 'Lee' where id = ${free[turn % free.length]!.id}`,
      async () => {
        for (let rounds = 0; rounds < 10 && await back() < free.length; rounds++) await reap();
      },
    );
    expect(longest).toBeLessThan(AT_MOST);
    expect(await back()).toBe(free.length);
    await user`rollback`;
    await sql`update automation.suspects set next_try_at = next_try_at - interval '1 minute'`;
    await reap();
    expect(await back()).toBe(names.length);
  },
);

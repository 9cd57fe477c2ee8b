// What is worked on as a set is held for a moment only, and what somebody holds does not hold the rest.
import type { Sql } from "postgres";
import { beforeEach, expect, it } from "vitest";
import { useSessions } from "../database/executions/support.ts";

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
  await on`select set_config('automation.portion_size', '800', false)`;
};

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

it("a table whose triggers take 8 ms a row is written in portions, under a timeout of 3 s", {
  timeout: 60_000,
}, async () => {
  const { tenantId } = await sessions.office([TASK]);
  await sql.unsafe(`
    create function public.office_rule() returns trigger language plpgsql as $$
    begin perform pg_sleep(0.008); return new; end $$;
    create trigger office_rule before insert on public.tasks
      for each row execute function public.office_rule()`);
  await leads(tenantId, ...Array.from({ length: 150 }, (_, n) => `Lead ${n}`));
  const worker = sessions.connect();
  await worker`set statement_timeout = '3s'`;
  for (let ticks = 0; ticks < 15; ticks++) {
    await worker.unsafe("call automation.tick_for('2 seconds')");
  }
  const [written] = await sql`
    select sum(p.n)::int as all, max(p.n)::int as at_once
    from (select count(*) as n from tasks group by xmin) as p`;
  expect(written!.all).toBe(150);
  // A quarter of a second of them at most, however many would have fitted.
  expect(written!.at_once).toBeLessThanOrEqual(32);
});

it("a set that is cut off is tried one by one, and the one that takes for ever is given up", {
  timeout: 60_000,
}, async () => {
  const { tenantId } = await sessions.office([TASK]);
  await sql`update automation.settings set value = '0 seconds' where name = 'cut_off_pause'`;
  await sql.unsafe(`
    create function public.office_rule() returns trigger language plpgsql as $$
    begin if new.title = 'Call Poison' then perform pg_sleep(60); end if; return new; end $$;
    create trigger office_rule before insert on public.tasks
      for each row execute function public.office_rule()`);
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

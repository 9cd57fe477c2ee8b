// (e): what a claim costs with many delayed rows behind it, and with one tenant's backlog.
import type { Sql } from "postgres";
import { type Bench, createTenant, type Database, type Step, type Workflow } from "./bench.ts";
import { alternate, median, milliseconds, ratio } from "./measure.ts";
import { atMost, microseconds, type Row } from "./report.ts";

const due = 50;
/** Fairness must not depend on how many tenants merely have something delayed. */
const tenantsOf = (rows: number) => Math.min(rows / 10, 10_000);

const webhook: Step = {
  step_type: "webhook",
  step_config: { url: "https://example.com/", body: { id: "{{trigger.contact.id}}" } },
};
const workflow: Workflow = { trigger_type: "contact_created", steps: [webhook] };

/**
 * Delayed rows without their executions: nothing reads those until a row is due. A tenant after another, and the
 * indexes but the primary key are made when all is there: ten million take minutes instead of an hour.
 */
async function addDelayed(sql: Sql, rows: number): Promise<void> {
  await sql.begin(async (transaction) => {
    await transaction`set local session_replication_role = replica`;
    await transaction`set local maintenance_work_mem = '1GB'`;
    const indexes = await transaction<{ name: string; definition: string }[]>`
      select i.indexrelid::regclass::text as name, pg_get_indexdef(i.indexrelid) as definition
      from pg_index as i
      where i.indrelid = 'ridgeline.scheduled_steps'::regclass and not i.indisprimary`;
    for (const { name } of indexes) await transaction.unsafe(`drop index ${name}`);
    await transaction`
      insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
      select t.id, gen_random_uuid(), 'step_1', (case when n % 3 = 0 then 'database' else 'webhook' end)::ridgeline.automation_lane,
        now() + interval '1 day' + (n * 7919 + t.place) % 43200 * interval '1 minute'
      from (
        select md5('tenant ' || p)::uuid as id, p as place
        from generate_series(1, ${tenantsOf(rows)}::integer) as p
        order by 1) as t, generate_series(1, ${Math.ceil(rows / tenantsOf(rows))}::integer) as n`;
    for (const { definition } of indexes) await transaction.unsafe(definition);
  });
}

async function addDue(sql: Sql, rows: number): Promise<string> {
  const tenant = await createTenant(sql, [workflow]);
  await sql`
    insert into public.contacts (tenant_id, first_name)
    select ${tenant}, 'Maria' from generate_series(1, ${rows}::integer)`;
  return tenant;
}

/** Milliseconds of work in a transaction that is rolled back, so that every claim finds the same. */
async function undone<T>(sql: Sql, work: () => Promise<T>): Promise<{ time: number; value: T }> {
  await sql`begin`;
  let value: T | undefined;
  const time = await milliseconds(async () => value = await work());
  await sql`rollback`;
  return { time, value: value as T };
}

const claim = (sql: Sql, steps: number) =>
  undone(sql, () =>
    sql<{ tenant_id: string }[]>`
      select tenant_id from automation.claim_steps('bench', ${steps}::integer)`);

interface Filled {
  rows: number;
  database: Database;
  sql: Sql;
}

/**
 * Statistics from when the table was small and everything in it was due: what a planner knows
 * after an import, before autovacuum has come by.
 */
async function fill({ database, say }: Bench, rows: number): Promise<Filled> {
  const opened = await database(`bench_claim_${rows}`);
  const { sql } = opened;
  await sql.unsafe("alter table ridgeline.scheduled_steps set (autovacuum_enabled = off)");
  const tenant = await addDue(sql, 100);
  await sql.unsafe("analyze ridgeline.scheduled_steps");
  await sql`delete from public.contacts where tenant_id = ${tenant}`;
  await sql`delete from ridgeline.workflow_executions where tenant_id = ${tenant}`;
  say(`  ${rows.toLocaleString("en-US")} delayed rows ...`);
  await addDelayed(sql, rows);
  return { rows, database: opened, sql: opened.session() };
}

type Times = Record<string, number[]>;

/** Claims on tables of every size in turn; fresh sessions, so that no old plan helps. */
async function claims(filled: readonly Filled[], rounds: number, steps: number): Promise<Times> {
  const sessions = filled.map(({ rows, database }) => ({ rows, sql: database.session() }));
  const variants = Object.fromEntries(sessions.map(({ rows, sql }) => [
    String(rows),
    async () => (await claim(sql, steps)).time,
  ]));
  const times = await alternate(variants, rounds);
  await Promise.all(sessions.map(({ sql }) => sql.end()));
  return times;
}

const short = (rows: number) =>
  rows >= 1_000_000 ? `${rows / 1_000_000} million` : `${rows / 1_000} thousand`;

/** From a client, the trip and the transaction around it included. */
const MOST_MS = 8;
const within = (milliseconds: number): Row => ({
  row: "e",
  what: `claim of ${due}, from a client`,
  ours: microseconds(milliseconds),
  against: `${MOST_MS} ms`,
  ratio: milliseconds / MOST_MS,
  aim: atMost(1),
});

type Compared = Row & { milliseconds: number };

function compare(filled: readonly Filled[], what: string, times: Times): Compared[] {
  const [small, ...larger] = filled;
  const base = times[String(small!.rows)] ?? [];
  return larger.map(({ rows }) => ({
    row: "e",
    what: `${what}, ${short(rows)} rows delayed`,
    milliseconds: median(times[String(rows)] ?? []),
    ours: microseconds(median(times[String(rows)] ?? [])),
    against: `${microseconds(median(base))}, ${short(small!.rows)} delayed`,
    ratio: ratio(times[String(rows)] ?? [], base),
    aim: atMost(1.3),
  }));
}

async function withStatistics(
  filled: Filled[],
  rounds: number,
  kind: string,
): Promise<Compared[]> {
  const nothing = await claims(filled, rounds, due);
  const owners = await Promise.all(filled.map(({ database }) => addDue(database.sql, due)));
  const some = await claims(filled, rounds, due);
  for (const [index, { database: { sql } }] of filled.entries()) {
    await sql`delete from ridgeline.workflow_executions where tenant_id = ${owners[index]!}`;
  }
  return [
    ...compare(filled, `claim, nothing due, ${kind} statistics`, nothing),
    ...compare(filled, `claim of ${due}, ${kind} statistics`, some),
  ];
}

/** One tenant's backlog and another's single step: is it in the first claim, and what does it cost? */
async function behindBacklog({ sizes, say }: Bench, filled: readonly Filled[]): Promise<Row[]> {
  const { database: { sql }, sql: session } = filled[filled.length - 1]!;
  const waiting = await addDue(sql, 1);
  const before = await alternate({
    claim: async () => (await claim(session, due)).time,
  }, sizes.claimRounds);
  say(`  ${sizes.backlog.toLocaleString("en-US")} due rows of another tenant ...`);
  await addDue(sql, sizes.backlog);
  await sql.unsafe("vacuum analyze ridgeline.scheduled_steps");
  let found = 0;
  let tries = 0;
  const behind = await alternate({
    claim: async () => {
      const { time, value } = await claim(session, due);
      tries++;
      if (value.some((step) => step.tenant_id === waiting)) found++;
      return time;
    },
  }, sizes.claimRounds);
  return [{
    row: "e",
    what: `one step behind ${short(sizes.backlog)} of another tenant: in the first claim`,
    ours: `${found} of ${tries}; ${microseconds(median(behind.claim))} a claim`,
    against: `${microseconds(median(before.claim))}, alone`,
    ratio: found / tries,
    aim: { text: "always (1x)", met: (share) => share === 1 },
  }];
}

export async function claimCost(bench: Bench): Promise<Row[]> {
  const filled: Filled[] = [];
  for (const rows of bench.sizes.delayed) filled.push(await fill(bench, rows));
  const stale = await withStatistics(filled, bench.sizes.claimRounds, "stale");
  for (const { database: { sql } } of filled) {
    await sql.unsafe("vacuum (analyze) ridgeline.scheduled_steps");
  }
  const fresh = await withStatistics(filled, bench.sizes.claimRounds, "fresh");
  const largest = fresh.findLast(({ what }) => what.startsWith("claim of"));
  const fair = await behindBacklog(bench, filled);
  for (const { database } of filled) await database.drop();
  return [...fresh, ...(largest ? [within(largest.milliseconds)] : []), ...stale, ...fair];
}

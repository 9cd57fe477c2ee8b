// What waits costs the tick nothing: counted in pages, which no other load of the machine disturbs.
import { describe, expect, it } from "vitest";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { pagesOf } from "../support/pages.ts";

const due = 20;

/** Contacts of whom `due` are due now, while `waiting` others wait for another day. */
async function setUp({ sql }: TestDatabase, waiting: number): Promise<void> {
  const [tenant] = await sql<{ id: string }[]>`
    insert into public.tenants (name) values ('Apex Roofing') returning id`;
  const [workflow] = await sql<{ id: string }[]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config)
    values (${tenant!.id}, 'Stay in touch', 'time_elapsed',
      '{"field": "last_contacted_at", "offset": "30 days", "zone": "UTC"}') returning id`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
    values (${tenant!.id}, ${workflow!.id}, 'create_task', '{"title": "Call"}')`;
  await sql`update ridgeline.workflows set is_active = true`;
  await sql`select automation.tick()`;
  await sql`
    insert into public.contacts (tenant_id, first_name, last_contacted_at)
    select ${tenant!.id}, 'Waits ' || n, automation.now() - n % 29 * interval '1 day'
    from generate_series(1, ${waiting}::int) as n`;
  await sql`
    insert into public.contacts (tenant_id, first_name, last_contacted_at)
    select ${tenant!.id}, 'Due ' || n, automation.now() - interval '30 days 1 second'
    from generate_series(1, ${due}::int) as n`;
  await sql`vacuum analyze ridgeline.workflow_timers, public.contacts`;
}

const few = 500;
const many = 50_000;

async function pages(waiting: number): Promise<{ idle: number; firing: number }> {
  return await withDatabase(async (database) => {
    await setUp(database, waiting);
    // In one session, whose plans and caches the first call warms.
    const sql = database.connect({ max: 1 });
    await sql`select automation.fire_timers(1)`;
    const firing = await pagesOf(sql, "select automation.fire_timers()");
    const [fired] = await sql<{ runs: number }[]>`
      select count(*)::int as runs from ridgeline.workflow_executions`;
    expect(fired).toEqual({ runs: due });
    return { firing, idle: await pagesOf(sql, "select automation.fire_timers()") };
  });
}

describe("firing timers", () => {
  it("fires each once, when more are due than a tick takes", async () => {
    await withDatabase(async ({ sql }) => {
      await setUp({ sql } as TestDatabase, 10);
      await sql`
        update public.contacts set last_contacted_at = automation.now() - interval '30 days 1 second'`;
      const fired = [];
      for (let tick = 0; tick < 4; tick++) {
        const [row] = await sql<{ fired: number }[]>`select automation.fire_timers(12) as fired`;
        fired.push(row!.fired);
      }
      const [runs] = await sql`
        select count(*)::int as runs, count(distinct record_id)::int as records
        from ridgeline.workflow_executions`;
      expect(runs).toEqual({ runs: fired.reduce((sum, one) => sum + one), records: runs!.runs });
      expect(runs!.runs).toBeGreaterThan(20);
    });
  });

  it("reads as many pages while a hundred times as many wait", async () => {
    const [small, large] = [await pages(few), await pages(many)];
    // A level or two of an index, for each timer and the record it is about.
    expect(large.idle).toBeLessThan(small.idle + 20);
    expect(large.firing).toBeLessThan(small.firing + due * 20);
    expect(large.firing).toBeLessThan(many / 25);
  }, 120_000);

  it("never scans the records", async () => {
    await withDatabase(async (database) => {
      await setUp(database, 5_000);
      const read = await database.sql.begin(async (sql) => {
        await sql`select automation.tick()`;
        const [row] = await sql<{ rows: number; runs: number }[]>`
          select seq_tup_read::int as rows, (
            select count(*)::int from ridgeline.workflow_executions) as runs
          from pg_stat_xact_user_tables where relid = 'public.contacts'::regclass`;
        return row!;
      });
      expect(read).toEqual({ rows: 0, runs: due });
    });
  });
});

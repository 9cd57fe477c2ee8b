// Paging through history, as a property: whatever runs there are, at whatever moments, whatever is asked for and
// in pages of whatever size, every run that matches is shown once, newest first, and no other is.
import fc from "fast-check";
import type { Sql } from "postgres";
import { beforeAll, expect, test } from "vitest";
import { useDatabase } from "../../support/database.ts";

const database = useDatabase();
const numRuns = Math.min(Number(process.env.RIDGELINE_PROPERTY_RUNS ?? 60), 1_000);
let sql: Sql;
const tenants: string[] = [];
const workflows: { id: string; tenant: number }[] = [];

beforeAll(async () => {
  sql = database().sql;
  for (const tenant of [0, 1]) {
    const [made] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
    tenants.push(made!.id);
    for (const trigger of ["contact_created", "manual"]) {
      const [workflow] = await sql`
        insert into ridgeline.workflows (tenant_id, name, trigger_type) values (${
        made!.id
      }, 'Greet', ${trigger}) returning id`;
      await sql`
        insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
        values (${made!.id}, ${workflow!.id}, 'create_task', '{"title": "Call"}')`;
      await sql`update ridgeline.workflows set is_active = true where id = ${workflow!.id}`;
      workflows.push({ id: workflow!.id, tenant });
    }
  }
});

const STATUSES = ["completed", "failed", "waiting", "cancelled"] as const;
const run = fc.record({
  workflow: fc.nat({ max: 3 }),
  status: fc.constantFrom(...STATUSES),
  /** Many share one, as the runs of an import do; later ids may have earlier ones, as clocks do. */
  minute: fc.nat({ max: 3 }),
  record: fc.nat({ max: 3 }),
});
type Run = typeof run extends fc.Arbitrary<infer T> ? T : never;
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: null, freq: 2 });
const query = fc.record({
  page: fc.integer({ min: 1, max: 12 }),
  tenant: maybe(fc.nat({ max: 1 })),
  workflow: maybe(fc.nat({ max: 3 })),
  status: maybe(fc.constantFrom(...STATUSES)),
  record: maybe(fc.nat({ max: 3 })),
  since: maybe(fc.nat({ max: 4 })),
  until: maybe(fc.nat({ max: 4 })),
});
type Query = typeof query extends fc.Arbitrary<infer T> ? T : never;

const DAY = Date.parse("2026-11-02T09:00:00Z");
const at = (minute: number) => new Date(DAY + minute * 60_000);

async function write(all: Run[]): Promise<string[]> {
  await sql`delete from ridgeline.workflow_executions`;
  const rows = all.map(({ workflow, status, minute, record }) => ({
    tenant_id: tenants[workflows[workflow]!.tenant],
    workflow_id: workflows[workflow]!.id,
    status,
    trigger_type: workflow % 2 === 0 ? "contact_created" : "manual",
    record_id: `record ${record}`,
    created_at: at(minute),
    finished_at: status === "waiting" ? null : at(minute),
  }));
  const written = await sql<{ id: string }[]>`
    insert into ridgeline.workflow_executions (
      tenant_id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id, created_at, finished_at,
      error)
    select r.tenant_id, r.workflow_id, 1, r.status, r.trigger_type, '{}', 'contact', r.record_id, r.created_at,
      r.finished_at, case when r.status = 'failed' then '{"code": "x"}'::jsonb end
    from jsonb_to_recordset(${sql.json(rows as never)}) as r (
      tenant_id uuid, workflow_id uuid, status ridgeline.automation_status, trigger_type text, record_id text,
      created_at timestamptz, finished_at timestamptz)
    returning id`;
  return written.map(({ id }) => id);
}

async function pages(asked: Query): Promise<string[][]> {
  const shown: string[][] = [];
  for (;;) {
    const page = await sql<{ id: string }[]>`
      select id from ridgeline.get_execution_history(
        workflow_id => ${asked.workflow === null ? null : workflows[asked.workflow]!.id},
        status => ${asked.status},
        record_id => ${asked.record === null ? null : `record ${asked.record}`},
        tenant_id => ${asked.tenant === null ? null : tenants[asked.tenant]!},
        since => ${asked.since === null ? null : at(asked.since)},
        until => ${asked.until === null ? null : at(asked.until)},
        before => ${shown.at(-1)?.at(-1) ?? null},
        max_rows => ${asked.page})`;
    if (page.length === 0) return shown;
    shown.push(page.map(({ id }) => id));
  }
}

const matches = (one: Run, asked: Query) =>
  (asked.workflow === null || one.workflow === asked.workflow) &&
  (asked.tenant === null || workflows[one.workflow]!.tenant === asked.tenant) &&
  (asked.status === null || one.status === asked.status) &&
  (asked.record === null || one.record === asked.record) &&
  (asked.since === null || one.minute >= asked.since) &&
  (asked.until === null || one.minute < asked.until);

test(
  "every run that matches is shown once, newest first, in full pages",
  { timeout: 120_000 },
  async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(run, { maxLength: 40, size: "max" }),
        fc.array(query, { minLength: 1, maxLength: 3 }),
        async (all, queries) => {
          const ids = await write(all);
          for (const asked of queries) {
            const shown = await pages(asked);
            const wanted = ids.filter((_, index) => matches(all[index]!, asked)).sort().reverse();
            expect(shown.flat()).toEqual(wanted);
            expect(shown.slice(0, -1).every((page) => page.length === asked.page)).toBe(true);
          }
        },
      ),
      { numRuns },
    );
  },
);

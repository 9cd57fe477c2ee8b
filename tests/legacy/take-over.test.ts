// Two at once: the old engine's cron and a take-over, two take-overs, a take-over and its undoing.
import type { Sql } from "postgres";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { safeChoices } from "../../functions/workflows/legacy/translate/definition.ts";
import { importLegacy, undoLegacy } from "../../scripts/legacy/import.ts";
import { connect } from "../../scripts/lib/scratch.ts";
import { createHost, type Host, MARIA, SUMMIT, work } from "../support/host.ts";

/** Anew for each test: what has gone on here stays known. */
let [FLOW, STEP, RUN, PENDING] = ["", "", "", ""];

let host: Host & { sql: Sql };
let sql: Sql;
let other: Sql;

beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  other = connect(host.url, { max: 1 });
});
afterAll(async () => {
  await other.end({ timeout: 1 });
  await host.drop();
});

const order = {
  from: ["server"],
  tenants: [SUMMIT],
  choices: safeChoices,
  apply: true,
  activate: false,
  overwrite: false,
  history: true,
};
const takeOver = (by: Sql) =>
  by<
    { page: { outcomes: Record<string, number> } }[]
  >`select automation.take_over_runs(${SUMMIT}) as page`.then(([row]) => row!.page.outcomes);
const live = async () =>
  (await sql`select id from ridgeline.workflow_executions where mode = 'live' and workflow_id = ${FLOW}`)
    .length;
/** Until somebody waits for a lock. */
async function waits(): Promise<void> {
  for (let n = 0; n === 0;) {
    n = (await sql<
      { n: number }[]
    >`select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`)[
      0
    ]!.n;
  }
}

beforeEach(async () => {
  await undoLegacy(sql, [], null);
  await sql`delete from public.workflows`;
  await sql`delete from public.tasks`;
  [FLOW, STEP, RUN, PENDING] = [1, 2, 3, 4].map(() => crypto.randomUUID()) as [
    string,
    string,
    string,
    string,
  ];
  await sql`insert into public.workflows (id, tenant_id, name, trigger_type) values (${FLOW}, ${SUMMIT}, 'Flow', 'contact_created')`;
  await sql`insert into public.workflow_steps (id, workflow_id, step_order, step_type, step_config) values
    (${STEP}, ${FLOW}, 1, 'create_task', ${sql.json({ title: "Call", tenant_id: SUMMIT })})`;
  await sql`insert into public.workflow_executions (id, workflow_id, tenant_id, trigger_data, status) values (${RUN}, ${FLOW}, ${SUMMIT}, ${
    sql.json({ contact_id: MARIA })
  }, 'running')`;
  await sql`insert into public.workflow_step_executions (id, execution_id, step_id, status, scheduled_at) values (${PENDING}, ${RUN}, ${STEP}, 'pending', now() - interval '1 minute')`;
  await importLegacy(sql, order);
  await sql`update ridgeline.workflows set is_active = true`;
});

it("a step that the old cron has begun is the old engine's to finish", async () => {
  let taken: Promise<Record<string, number>> | undefined;
  await other.begin(async (cron) => {
    await cron`update public.workflow_step_executions set status = 'running', started_at = now() where id = ${PENDING}`;
    taken = takeOver(sql);
    await waits();
  });
  expect(await taken).toEqual({ "one of its steps is running there": 1 });
  expect([
    await live(),
    (await sql`select 1 from automation.legacy_links where workflow_id = ${FLOW}`).length,
  ]).toEqual([0, 0]);
  expect(await sql`select status from public.workflow_executions where id = ${RUN}`).toEqual([{
    status: "running",
  }]);
});

it("of two who take over at once one does, and the run is known", async () => {
  let second: Promise<Record<string, number>> | undefined;
  await other.begin(async (first) => {
    const [row] = await first<
      { page: { outcomes: Record<string, number> } }[]
    >`select automation.take_over_runs(${SUMMIT}) as page`;
    expect(row!.page.outcomes).toEqual({ taken: 1 });
    second = takeOver(sql);
    await waits();
  });
  expect(await second).toEqual({ "taken already": 1 });
  expect([
    await live(),
    (await sql`select 1 from automation.legacy_links where workflow_id = ${FLOW} and kind = 'in_flight'`)
      .length,
  ]).toEqual([1, 1]);
  await work(sql);
  expect(await sql`select title from public.tasks where title = 'Call'`).toHaveLength(1);
  expect(await takeOver(sql)).toEqual({});
});

it("a workflow that is off here leaves its runs there, where they go on", async () => {
  await sql`update ridgeline.workflows set is_active = false`;
  expect(await takeOver(sql)).toEqual({
    "its workflow is switched off here, where its runs would wait": 1,
  });
  expect(await sql`select status from public.workflow_step_executions where id = ${PENDING}`)
    .toEqual([{ status: "pending" }]);
});

it("what has gone on here since it was taken over is not given back", async () => {
  await sql`delete from public.tasks`;
  await sql`update public.workflow_step_executions set scheduled_at = now() + interval '1 day' where id = ${PENDING}`;
  await takeOver(sql);
  await sql`update ridgeline.scheduled_steps set run_at = automation.now()`;
  await work(sql);
  const report = await undoLegacy(sql, [], null);
  expect(report.undone).toContainEqual(expect.objectContaining({
    undone: false,
    reason: "1 of the runs that were taken over have gone on here",
  }));
  expect(await sql`select status from public.workflow_executions where id = ${RUN}`).toEqual([{
    status: "cancelled",
  }]);
  // It stays as it was: what is undone is switched off first.
  expect(await sql`select is_active from ridgeline.workflows where id = ${FLOW}`).toEqual([{
    is_active: true,
  }]);
  expect(await sql`select title from public.tasks where title = 'Call'`).toHaveLength(1);
});

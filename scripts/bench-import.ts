// What bringing the older engines over costs: so many definitions, and so many runs of history with their steps, in the
// tables that the old application had; and what comparing so many runs of it with their shadows costs.
// npx tsx scripts/bench-import.ts [--definitions 1000] [--runs 1000000] [--compare 1000] [--debian]
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Sql } from "postgres";
import { milliseconds } from "./benchmarks/measure.ts";
import { safeChoices } from "../functions/workflows/legacy/translate/definition.ts";
import { importLegacy, type Order, undoLegacy } from "./legacy/import.ts";
import { embeddedBinaries } from "./lib/postgres.ts";
import { applySchema, runScript } from "./lib/schema.ts";
import { connect, createDatabase, startScratchServer } from "./lib/scratch.ts";
import { debianBinaries } from "./lib/servers.ts";

const tenant = "0a000000-0000-4000-8000-000000000001";
const host = (file: string) =>
  fs.readFileSync(path.resolve(import.meta.dirname, "../tests/support", file), "utf8");

const order = (more: Partial<Order> = {}): Order => ({
  from: ["server"],
  tenants: [tenant],
  choices: safeChoices,
  apply: true,
  activate: false,
  overwrite: false,
  history: true,
  ...more,
});

/** A text, a wait, an email and a task in each; one in ten asks for somebody. */
async function fillDefinitions(sql: Sql, count: number): Promise<void> {
  await sql`delete from public.workflows`;
  await sql`
    insert into public.workflows (tenant_id, name, trigger_type, trigger_config)
    select ${tenant}, 'Workflow ' || n, (array['contact_created', 'project_won', 'job_completed', 'pipeline_stage_changed'])[n % 4 + 1],
      case when n % 4 = 3 then '{"new_stage": "won"}' else '{}' end::jsonb
    from generate_series(1, ${count}) as n`;
  await sql`
    insert into public.workflow_steps (workflow_id, step_order, step_type, step_config, delay_minutes)
    select w.id, s.place, s.type, s.config::jsonb, s.delay
    from public.workflows as w cross join (values
      (1, 'send_sms', '{"to": "{{trigger.contact.phone}}", "body": "Hi {{trigger.contact.first_name}}, thanks!"}', 0),
      (2, 'wait', '{"delay_minutes": 1440}', 1440),
      (3, 'send_email', '{"to": "{{trigger.contact.email}}", "subject": "Your roof", "html": "<p>Hi {{trigger.contact.first_name}}</p>"}', 0),
      (4, 'create_task', '{"title": "Call {{trigger.contact.first_name}}", "due_date_days": 3, "tenant_id": "${
    sql.unsafe(tenant)
  }"}', 60)
    ) as s (place, type, config, delay)`;
}

/** Two steps a run, over two years; one run in fifty failed. */
async function fillHistory(sql: Sql, runs: number): Promise<void> {
  await sql`
    insert into public.workflow_executions (workflow_id, tenant_id, trigger_data, status, started_at, completed_at, error_message, created_at)
    select w.ids[n % cardinality(w.ids) + 1], ${tenant},
      jsonb_build_object('contact_id', gen_random_uuid(), 'project_name', 'Roof ' || n, 'contact', jsonb_build_object('first_name', 'Maria', 'email', 'maria' || n || '@x.example')),
      case when n % 50 = 0 then 'failed' else 'completed' end, t.at, t.at + interval '1 day', case when n % 50 = 0 then 'Step failed: no address' end, t.at
    from (select array_agg(id) as ids from public.workflows) as w, generate_series(1, ${runs}) as n
    cross join lateral (select timestamptz '2024-11-01' + n * interval '730 days' / ${runs} as at) as t`;
  await sql`
    insert into public.workflow_step_executions (execution_id, step_id, status, started_at, completed_at, result_data, created_at)
    select e.id, s.id, e.status, e.started_at, e.started_at, jsonb_build_object('success', true, 'to', e.trigger_data #>> '{contact,email}'), e.created_at
    from public.workflow_executions as e
    join public.workflow_steps as s on s.workflow_id = e.workflow_id and s.step_order in (1, 3)`;
}

/** An office in the shadow of its old engine: so many contacts, each with a run there and one here, both over. */
async function fillComparison(sql: Sql, count: number): Promise<void> {
  const [flow] = await sql<{ id: string }[]>`
    insert into public.workflows (tenant_id, name, trigger_type) values (${tenant}, 'Compared', 'contact_created')
    returning id`;
  await sql`
    insert into public.workflow_steps (workflow_id, step_order, step_type, step_config, delay_minutes)
    select ${flow!.id}, s.place, s.type, s.config::jsonb, s.delay from (values
      (1, 'create_task', '{"title": "Greet {{trigger.contact.first_name}}"}', 0),
      (2, 'create_task', '{"title": "Call {{trigger.contact.first_name}}"}', 60)) as s (place, type, config, delay)`;
  await sql`select ridgeline.set_engine('shadow', ${tenant})`;
  await importLegacy(sql, order({ history: false, activate: true }));
  await sql`
    insert into public.contacts (tenant_id, first_name, last_name, phone, email)
    select ${tenant}, 'Maria', 'Lopez', '+1512' || 5550000 + n, 'maria' || n || '@x.example' from generate_series(1, ${count}) as n`;
  for (const pause of ["0", "61 minutes"]) {
    await sql`select automation.advance_clock(${pause}::interval)`;
    for (let left = 1; left > 0;) {
      await sql`select automation.tick()`;
      const [row] = await sql<{ left: number }[]>`
        select count(*)::int as left from ridgeline.scheduled_steps where run_at <= automation.now()`;
      left = row!.left;
    }
  }
  await sql`
    with run as (
      insert into public.workflow_executions (workflow_id, tenant_id, trigger_data, status, started_at, completed_at, created_at)
      select ${
    flow!.id
  }, ${tenant}, jsonb_build_object('contact_id', c.id, 'contact', to_jsonb(c)), 'completed',
        e.created_at, e.finished_at, e.created_at
      from ridgeline.workflow_executions as e join public.contacts as c on c.id::text = e.record_id
      where e.workflow_id = ${flow!.id} returning id, trigger_data ->> 'contact_id' as contact
    )
    insert into public.workflow_step_executions (execution_id, step_id, status, started_at, completed_at)
    select r.id, s.id, 'completed', x.finished_at, x.finished_at
    from run as r
    join ridgeline.workflow_executions as e on e.record_id = r.contact and e.workflow_id = ${
    flow!.id
  }
    join ridgeline.workflow_step_executions as x on x.execution_id = e.id
    join public.workflow_steps as s on s.workflow_id = ${flow!.id}
      and s.step_order = case when x.input ->> 'title' like 'Greet%' then 1 else 2 end`;
}

const compare = (sql: Sql) =>
  sql<{ text: string }[]>`
    select ridgeline.compare_engines(automation.now() - interval '7 days', automation.now() + interval '1 second',
      '5 minutes', ${tenant}) ->> 'text' as text`;

/** The most memory a process has had, in MB, where the system tells. */
function peak(pid: number): string {
  try {
    const found = /VmHWM:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
    return found ? `${Math.round(Number(found[1]) / 1024)} MB` : "?";
  } catch {
    return "?";
  }
}

/** Seconds of a processor that a process and ours have had: on a busy machine the clock says little. */
function processors(pid: number): number {
  try {
    const [, after = ""] = fs.readFileSync(`/proc/${pid}/stat`, "utf8").split(") ");
    const [user = 0, system = 0] = after.split(" ").slice(11, 13).map(Number);
    const own = process.cpuUsage();
    return (user + system) / 100 + (own.user + own.system) / 1_000_000;
  } catch {
    return Number.NaN;
  }
}

async function measured(
  pid: number,
  what: string,
  work: () => Promise<unknown>,
  result: () => { count: number; more?: string },
): Promise<void> {
  const before = processors(pid);
  const seconds = await milliseconds(work) / 1000;
  const busy = processors(pid) - before;
  const { count, more = "" } = result();
  const each = (time: number) => Math.round(count / time).toLocaleString("en-US");
  console.log(
    `  ${what.padEnd(34)}${seconds.toFixed(1).padStart(8)} s, ${
      each(seconds)
    } a second; of a processor ${busy.toFixed(1)} s, ${each(busy)} a second  ${more}`,
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      definitions: { type: "string", default: "100" },
      runs: { type: "string", default: "20000" },
      compare: { type: "string", default: "0" },
      debian: { type: "boolean", default: false },
    },
  });
  const [definitions, runs] = [Number(values.definitions), Number(values.runs)];
  const { server, stop } = await startScratchServer({
    binaries: values.debian ? debianBinaries : embeddedBinaries(),
  });
  try {
    const sql = connect(await createDatabase(server.url(), "bench_import"), {
      max: 1,
      // One process of the server from beginning to end, as its time is taken.
      max_lifetime: null,
    });
    await runScript(sql, host("host-crm.sql"));
    await applySchema(sql, ["engine"]);
    await runScript(sql, host("host-attach.sql"));
    await fillDefinitions(sql, definitions);
    const [version] = await sql<{ server_version: string }[]>`show server_version`;
    const [{ pid }] = await sql<[{ pid: number }]>`select pg_backend_pid() as pid`;
    console.log(
      `Postgres ${version?.server_version}, ${definitions} definitions of four steps, ${runs} runs of two`,
    );
    const work = (
      what: string,
      job: () => Promise<unknown>,
      result: () => { count: number; more?: string },
    ) => measured(pid, what, job, result);
    const all = () => ({ count: definitions });
    await work("dry run", () => importLegacy(sql, order({ apply: false })), all);
    await work("definitions, published", () => importLegacy(sql, order({ history: false })), all);
    await work("again, nothing changed", () => importLegacy(sql, order({ history: false })), all);
    const before = peak(pid);
    let [steps, came] = [0, 0];
    const rows = () => ({ count: came + steps });
    if (runs > 0) {
      await fillHistory(sql, runs);
      await work("history", async () => {
        const report = await importLegacy(sql, order());
        [came, steps] = [report.history[0]!.runs, report.history[0]!.steps];
      }, () => ({
        ...rows(),
        more: `${came} runs, ${steps} steps; backend at most ${
          peak(pid)
        } (${before} before), Node ${peak(process.pid)}`,
      }));
      await work("again, nothing new", () => importLegacy(sql, order()), rows);
    }
    const compared = Number(values.compare);
    if (compared > 0) {
      await fillComparison(sql, compared);
      let said = "";
      await work("compared for the first time", async () => {
        said = (await compare(sql))[0]!.text;
      }, () => ({ count: compared, more: said }));
      await work("compared again", () => compare(sql), () => ({ count: compared }));
      await sql`select ridgeline.set_engine('on', ${tenant})`;
    }
    await work("undone", () => undoLegacy(sql, ["server"], [tenant]), rows);
    await sql.end({ timeout: 5 });
  } finally {
    await stop();
  }
}

await main();

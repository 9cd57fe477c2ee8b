// What bringing the older engines over costs: so many definitions, and so many runs of history with their steps, in the
// tables that the old application had. npx tsx scripts/bench-import.ts [--definitions 1000] [--runs 1000000] [--debian]
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import type { Sql } from "postgres";
import { milliseconds } from "./benchmarks/measure.ts";
import { safeChoices } from "./legacy/definition.ts";
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

/** The most memory a process has had, in MB, where the system tells. */
function peak(pid: number): string {
  try {
    const found = /VmHWM:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"));
    return found ? `${Math.round(Number(found[1]) / 1024)} MB` : "?";
  } catch {
    return "?";
  }
}

const row = (what: string, ms: number, count: number, more = "") =>
  console.log(
    `  ${what.padEnd(34)}${(ms / 1000).toFixed(1).padStart(9)} s${
      Math.round(count / (ms / 1000)).toLocaleString("en-US").padStart(10)
    } a second  ${more}`,
  );

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      definitions: { type: "string", default: "100" },
      runs: { type: "string", default: "20000" },
      debian: { type: "boolean", default: false },
    },
  });
  const [definitions, runs] = [Number(values.definitions), Number(values.runs)];
  const { server, stop } = await startScratchServer({
    binaries: values.debian ? debianBinaries : embeddedBinaries(),
  });
  try {
    const sql = connect(await createDatabase(server.url(), "bench_import"), { max: 1 });
    await runScript(sql, host("host-crm.sql"));
    await applySchema(sql, ["engine"]);
    await runScript(sql, host("host-attach.sql"));
    await fillDefinitions(sql, definitions);
    const [version] = await sql<{ server_version: string }[]>`show server_version`;
    const [{ pid }] = await sql<[{ pid: number }]>`select pg_backend_pid() as pid`;
    console.log(
      `Postgres ${version?.server_version}, ${definitions} definitions of four steps, ${runs} runs of two`,
    );
    row(
      "dry run",
      await milliseconds(() => importLegacy(sql, order({ apply: false }))),
      definitions,
    );
    row(
      "definitions, published",
      await milliseconds(() => importLegacy(sql, order({ history: false }))),
      definitions,
    );
    row(
      "again, nothing changed",
      await milliseconds(() => importLegacy(sql, order({ history: false }))),
      definitions,
    );
    await fillHistory(sql, runs);
    const before = peak(pid);
    let [steps, came] = [0, 0];
    const took = await milliseconds(async () => {
      const report = await importLegacy(sql, order());
      [came, steps] = [report.history[0]!.runs, report.history[0]!.steps];
    });
    row(
      `history: ${came} runs, ${steps} steps`,
      took,
      came + steps,
      `backend at most ${peak(pid)} (${before} before), Node ${peak(process.pid)}`,
    );
    row("again, nothing new", await milliseconds(() => importLegacy(sql, order())), came + steps);
    row("undone", await milliseconds(() => undoLegacy(sql, ["server"], [tenant])), came + steps);
    await sql.end({ timeout: 5 });
  } finally {
    await stop();
  }
}

await main();

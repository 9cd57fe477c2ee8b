// What waiting timers cost the tick: a thousand of them against a million, with nothing due and with
// a hundred due. npx tsx scripts/bench-time.ts [--many N] [--repetitions N] [--binaries DIRECTORY]
import { parseArgs } from "node:util";
import type { Sql } from "postgres";
import { cloneDatabase, connect, createTemplate, startScratchServer } from "./lib/scratch.ts";

const { values } = parseArgs({
  options: {
    many: { type: "string", default: "1000000" },
    repetitions: { type: "string", default: "15" },
    binaries: { type: "string" },
  },
});
const few = 1000;
const many = Number(values.many);
const due = 100;
const repetitions = Number(values.repetitions);
const tenant = "00000000-0000-0000-0000-00000000000a";
const workflow = "00000000-0000-0000-0000-00000000000b";

/** A tenant whose workflow writes to a contact thirty days after the last word with them. */
async function setUp(sql: Sql): Promise<void> {
  await sql`insert into public.tenants (id, name) values (${tenant}, 'Apex Roofing')`;
  await sql`
    insert into ridgeline.workflows (tenant_id, id, name, trigger_type, trigger_config)
    values (${tenant}, ${workflow}, 'Stay in touch', 'time_elapsed',
      '{"field": "last_contacted_at", "offset": "30 days", "zone": "UTC"}')`;
  await sql`
    insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config, delay_minutes)
    values (${tenant}, ${workflow}, 'create_task', '{"title": "Call"}', 1440)`;
  await sql`update ridgeline.workflows set is_active = true`;
  await sql`
    insert into public.contacts (tenant_id, first_name)
    select ${tenant}, 'Contact ' || n from generate_series(1, ${due}) as n`;
  await sql`select automation.tick()`;
}

/** Records that wait; only those that fire need to be there. */
async function wait(sql: Sql, from: number, to: number): Promise<void> {
  await sql`
    insert into ridgeline.workflow_timers (tenant_id, workflow_id, record_id, due_at, generation)
    select t.tenant_id, t.workflow_id, gen_random_uuid()::text,
      now() + interval '1 day' + n * interval '2 seconds', t.generation
    from generate_series(${from}::int, ${to}::int) as n, automation.timer_listeners as t`;
  await sql`vacuum analyze ridgeline.workflow_timers`;
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

async function tick(sql: Sql): Promise<{ milliseconds: number; fired: number }> {
  const began = performance.now();
  const [row] = await sql<{ fired: number }[]>`
    select (automation.tick() ->> 'timers')::int as fired`;
  return { milliseconds: performance.now() - began, fired: row?.fired ?? 0 };
}

interface Ticks {
  idle: number[];
  firing: number[];
}

async function measure(sql: Sql, ticks: Ticks): Promise<void> {
  const quiet = await tick(sql);
  await sql`update public.contacts set last_contacted_at = now() - interval '30 days 1 second'`;
  const busy = await tick(sql);
  if (quiet.fired !== 0 || busy.fired !== due) {
    throw new Error(`${quiet.fired} and ${busy.fired} fired, not 0 and ${due}`);
  }
  ticks.idle.push(quiet.milliseconds);
  ticks.firing.push(busy.milliseconds);
}

const { server, stop } = await startScratchServer(
  values.binaries ? { binaries: values.binaries } : {},
);
try {
  await createTemplate(server.url());
  const open = async (name: string) => connect(await cloneDatabase(server.url(), name), { max: 1 });
  const [small, large] = [await open("bench_few"), await open("bench_many")];
  const [version] = await small<{ server_version: string }[]>`show server_version`;
  console.log(`Postgres ${version?.server_version}, median of ${repetitions} ticks, milliseconds`);
  await setUp(small);
  await wait(small, 1, few);
  await setUp(large);
  const began = performance.now();
  await wait(large, 1, many);
  const filled = (performance.now() - began) / 1000;
  const [ofFew, ofMany]: [Ticks, Ticks] = [{ idle: [], firing: [] }, { idle: [], firing: [] }];
  // In turns, so that whatever else the machine does hits both; the first round fills caches.
  for (let repetition = 0; repetition <= repetitions; repetition++) {
    await measure(small, ofFew);
    await measure(large, ofMany);
    if (repetition > 0) continue;
    for (const ticks of [ofFew, ofMany]) {
      ticks.idle.length = 0;
      ticks.firing.length = 0;
    }
  }
  const [size] = await large<{ bytes: number }[]>`
    select pg_total_relation_size('ridgeline.workflow_timers')::float8 / count(*) as bytes
    from ridgeline.workflow_timers`;
  const row = (label: string, left: number[], right: number[]) => {
    const [a, b] = [median(left), median(right)];
    console.log(
      `  ${label.padEnd(24)}${a.toFixed(2).padStart(10)}${b.toFixed(2).padStart(12)}` +
        `${(b / a).toFixed(2).padStart(8)}`,
    );
  };
  console.log(
    `  ${"waiting timers".padEnd(24)}${few.toLocaleString("en-US").padStart(10)}` +
      `${many.toLocaleString("en-US").padStart(12)}${"ratio".padStart(8)}`,
  );
  row("tick, nothing due", ofFew.idle, ofMany.idle);
  row(`tick, ${due} due`, ofFew.firing, ofMany.firing);
  console.log(
    `  a waiting timer: ${(size?.bytes ?? NaN).toFixed(0)} bytes with its indexes, ` +
      `${(filled * 1e6 / many).toFixed(1)} us to set in bulk`,
  );
  await small.end({ timeout: 1 });
  await large.end({ timeout: 1 });
} finally {
  await stop();
}

// What the gate costs: the same texts claimed and reported with it, and in a second database where a stub lets all of them
// pass. Measured is the time that the server's process was on a processor, where the system tells it, so that
// whatever else the machine does counts less.
// npx tsx scripts/bench-gate.ts [--texts N] [--batch N] [--repetitions N] [--binaries DIRECTORY]
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import type { Sql } from "postgres";
import { cloneDatabase, connect, createTemplate, startScratchServer } from "./lib/scratch.ts";

const { values } = parseArgs({
  options: {
    texts: { type: "string", default: "2000" },
    batch: { type: "string", default: "200" },
    repetitions: { type: "string", default: "9" },
    binaries: { type: "string" },
  },
});
const texts = Number(values.texts);
const repetitions = Number(values.repetitions);
const tenant = "00000000-0000-0000-0000-00000000000a";
const batch = Number(values.batch);

const kinds = {
  transactional: { purpose: "transactional", settings: {} },
  "marketing, all rules on": {
    purpose: "marketing",
    settings: { consent: "required", marketing_cap: { per_day: 1000 } },
  },
} as const;
type Kind = keyof typeof kinds;

const stub = `
  create or replace function automation.gate(
    questions automation.send_question[], now timestamptz default automation.now(), is_trial boolean default false,
    tenants automation.tenant[] default null, may_send boolean default false)
    returns automation.send_verdict[]
    language sql volatile
    set search_path = pg_catalog, pg_temp
    as $$
      select array(
        select row(q.place, (q.due).tenant_id, (q.due).id, (q.due).execution_id, 'send', q.prepared, null, null,
          null)::automation.send_verdict
        from unnest(questions) as q)
    $$`;

/**
 * An office whose people have agreed, and whose number is as fast as any. The hours are asked as always, of the same
 * rules, and are open around the clock here: the test clock would say when it is noon, and costs 30 us each time.
 */
async function setUp(sql: Sql, hasGate: boolean): Promise<void> {
  await sql`update automation.open_hours set opens = '00:00', closes = '24:00'`;
  await sql`insert into public.tenants (id, name, timezone) values (${tenant}, 'Apex Roofing', 'America/Chicago')`;
  await sql`
    insert into ridgeline.senders (tenant_id, channel, address, limits, is_default)
    values (${tenant}, 'sms', '+15125550900', '{"per_second": 9999}', true)`;
  for (const [name, { purpose }] of Object.entries(kinds)) {
    const [workflow] = await sql<{ id: string }[]>`
      insert into ridgeline.workflows (tenant_id, name, trigger_type)
      values (${tenant}, ${name}, 'manual') returning id`;
    const config = { body: "Hi {{contact.first_name}}, about your roof", purpose };
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
      values (${tenant}, ${workflow!.id}, 'send_sms', ${sql.json(config)})`;
  }
  await sql`update ridgeline.workflows set is_active = true`;
  await sql`
    insert into public.contacts (tenant_id, first_name, phone)
    select ${tenant}, 'Contact ' || n, '+1512' || lpad((2000000 + n)::text, 7, '0')
    from generate_series(1, ${texts}::int) as n`;
  await sql`
    select automation.record_consent(tenant_id, 'sms', phone, 'granted', 'marketing', 'written')
    from public.contacts`;
  if (!hasGate) await sql.unsafe(stub);
  await sql`vacuum analyze`;
}

/** Milliseconds that a process has been on a processor; elsewhere than on Linux, the time. */
function spentBy(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/schedstat`, "utf8").split(" ")[0]) / 1e6;
  } catch {
    return performance.now();
  }
}

/** Microseconds a text, from the first claim to the last report. */
async function send(sql: Sql, kind: Kind): Promise<{ claim: number; all: number }> {
  const [backend] = await sql<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const spent = () => spentBy(backend!.pid);
  await sql`update public.tenants set settings = ${sql.json(kinds[kind].settings)}`;
  await sql`
    select ridgeline.execute_workflow(w.id, jsonb_build_object('contact_id', c.id))
    from ridgeline.workflows as w, public.contacts as c where w.name = ${kind}`;
  let claiming = 0;
  let sent = 0;
  const began = spent();
  while (sent < texts) {
    const start = spent();
    const claimed = await sql<{ step_id: string; attempt_token: string }[]>`
      select step_id, attempt_token from automation.claim_steps('bench', ${batch}::int)`;
    claiming += spent() - start;
    if (claimed.length === 0) throw new Error(`${kind}: ${texts - sent} of ${texts} are held`);
    sent += claimed.length;
    await sql`select from automation.finish_steps(${
      sql.json(claimed.map(({ step_id, attempt_token }) => ({
        tenant_id: tenant,
        step_id,
        attempt_token,
        outcome: "succeeded",
        result: { provider_id: `SM${step_id}` },
      })))
    })`;
  }
  const all = spent() - began;
  await sql`delete from ridgeline.workflow_executions`;
  await sql`truncate automation.marketing_sent, automation.sender_slots, automation.statistic_changes`;
  await sql`vacuum analyze ridgeline.workflow_executions, ridgeline.workflow_step_executions, ridgeline.scheduled_steps`;
  return { claim: 1000 * claiming / texts, all: 1000 * all / texts };
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

const { server, stop } = await startScratchServer({
  settings: { "automation.test_clock": "off" },
  ...(values.binaries ? { binaries: values.binaries } : {}),
});
try {
  await createTemplate(server.url());
  const open = async (name: string, hasGate: boolean) => {
    const url = await cloneDatabase(server.url(), name);
    const first = connect(url, { max: 1 });
    await setUp(first, hasGate);
    return first;
  };
  const withGate = await open("bench_with", true);
  const without = await open("bench_without", false);
  const [version] = await withGate<{ server_version: string }[]>`show server_version`;
  console.log(
    `Postgres ${version?.server_version}, ${texts} texts in batches of ${batch}, median of ${repetitions}, us a text`,
  );
  console.log(
    `  ${"".padEnd(36)}${"with".padStart(8)}${"without".padStart(10)}${"gate".padStart(8)}${
      "of the whole".padStart(15)
    }`,
  );
  for (const kind of Object.keys(kinds) as Kind[]) {
    const times = {
      with: [] as { claim: number; all: number }[],
      without: [] as { claim: number; all: number }[],
    };
    // In turns, so that whatever else the machine does hits both; the first round fills caches.
    for (let round = 0; round <= repetitions; round++) {
      const order = round % 2 === 0 ? [true, false] : [false, true];
      for (const hasGate of order) {
        const time = await send(hasGate ? withGate : without, kind);
        if (round > 0) times[hasGate ? "with" : "without"].push(time);
      }
    }
    for (const part of ["claim", "all"] as const) {
      const [a, b] = [
        median(times.with.map((t) => t[part])),
        median(times.without.map((t) => t[part])),
      ];
      console.log(
        `  ${`${kind}: ${part === "all" ? "claimed and reported" : "claimed"}`.padEnd(46)}${
          a.toFixed(0).padStart(8)
        }` +
          `${b.toFixed(0).padStart(10)}${(a - b).toFixed(0).padStart(8)}${
            `${(100 * (a - b) / a).toFixed(0)}%`.padStart(8)
          }`,
      );
    }
  }
  await withGate.end({ timeout: 1 });
  await without.end({ timeout: 1 });
} finally {
  await stop();
}

// The two engines side by side: a database each on the same server, a process each, one receiver.
import { makeWorkerUtils } from "graphile-worker";
import type { Sql } from "postgres";
import { sleep } from "../lib/process.ts";
import { enableTestClock } from "../lib/schema.ts";
import { type Bench, createTenant, setDoorbell, type Step } from "./bench.ts";
import {
  startDispatcher,
  startPgBoss,
  startReceiver,
  startWorker,
  type Usage,
} from "./processes.ts";

/** What a contact starts, by its source: a workflow of ours, a task of theirs. */
export type Job = "post" | "create_task" | "chain" | "five" | "hundred" | "delayed";

export type From = "insert" | "commit" | "due";

export interface Engine {
  /** Inserts so many contacts in one statement. */
  burst: (job: Job, times: number) => Promise<void>;
  insert: (job: Job) => Promise<void>;
  /** Makes what is delayed by a day due. */
  makeDue: () => Promise<void>;
  /** From the first insert, from its commit or from makeDue, until the last result was committed. */
  finished: (from: From) => Promise<{ seconds: number; steps: number }>;
  /** Milliseconds from each insert to the commit of its result. */
  latencies: () => Promise<number[]>;
  /** Forgets what was inserted so far. */
  mark: () => Promise<void>;
  /** So many more tenants, each with a workflow of its own. */
  addStrangers: (count: number) => Promise<void>;
  /** So many contacts of each of them, in one statement. */
  burstOfStrangers: (each: number) => Promise<void>;
  usage: () => Usage;
}

interface Side {
  sql: Sql;
  tenant: (job: Job) => string;
  /** True when the queue is empty. */
  idle: string;
  ledger: string;
  /** The contact of a ledger row l. */
  contact: string;
  makeDue: string;
  stranger: (number: number) => Promise<string>;
  usage: () => Usage;
}

const task: Step = {
  step_type: "create_task",
  step_config: { title: "Call {{trigger.contact.first_name}}", due_in_days: 1, priority: "normal" },
};

const insertContacts = (rows: string) =>
  `insert into public.contacts (tenant_id, source, first_name, phone, company, last_contacted_at)
   select $1::uuid, $2, 'Maria', '+14155550142', $3, clock_timestamp() ${rows}`;

function engine(side: Side): Engine {
  const { sql, tenant, idle, ledger, contact, makeDue, usage } = side;
  const strangers: string[] = [];
  let round = 0;
  let dueSince = new Date(0);
  const run = (rows: string, job: Job, more: number[] = []) =>
    sql.unsafe(insertContacts(rows), [tenant(job), job, `round ${round}`, ...more], {
      prepare: true,
    });
  const settled = async () => {
    for (;;) {
      const [row] = await sql.unsafe(`select not exists (${idle}) as idle`);
      if (row?.idle) return;
      await sleep(20);
    }
  };
  return {
    burst: async (job, times) => {
      await run("from generate_series(1, $4::integer)", job, [times]);
    },
    insert: async (job) => {
      await run("", job);
    },
    addStrangers: async (count) => {
      while (strangers.length < count) strangers.push(await side.stranger(strangers.length));
    },
    burstOfStrangers: async (each) => {
      await sql.unsafe(
        `insert into public.contacts (tenant_id, source, first_name, phone, company, last_contacted_at)
         select t, 'create_task', 'Maria', '+14155550142', $2, clock_timestamp()
         from unnest($1::uuid[]) as t, generate_series(1, $3::integer) as n
         order by n`,
        [strangers, `round ${round}`, each],
      );
    },
    usage,
    makeDue: async () => {
      dueSince = new Date();
      await sql.unsafe(makeDue).simple();
    },
    finished: async (from) => {
      await settled();
      const begin = {
        insert: "min(c.last_contacted_at)",
        commit: "min(pg_xact_commit_timestamp(c.xmin))",
        due: `timestamptz '${dueSince.toISOString()}'`,
      }[from];
      const [row] = await sql.unsafe(
        `select count(l.*)::integer as steps, extract(epoch from
           max(pg_xact_commit_timestamp(l.xmin)) - ${begin})::float8 as seconds
         from public.contacts as c join ${ledger} on ${contact} = c.id
         where c.company = $1`,
        [`round ${round}`],
      );
      return { seconds: Number(row!.seconds), steps: Number(row!.steps) };
    },
    latencies: async () => {
      await settled();
      const rows = await sql.unsafe(
        `select extract(epoch from
           pg_xact_commit_timestamp(l.xmin) - c.last_contacted_at)::float8 * 1000 as latency
         from public.contacts as c join ${ledger} on ${contact} = c.id
         where c.company = $1`,
        [`round ${round}`],
      );
      return rows.map((row) => Number(row.latency));
    },
    mark: async () => {
      round++;
      await sql.unsafe("vacuum (analyze)");
    },
  };
}

async function startOurs(bench: Bench, url: string, clock: boolean): Promise<Engine> {
  const { sql, url: databaseUrl } = await bench.database(clock ? "bench_clock" : "bench_ours");
  if (clock) await enableTestClock(sql);
  await setDoorbell(sql, "notify");
  const started = (steps: Step[], workflows = 1) =>
    createTenant(
      sql,
      Array.from({ length: workflows }, () => ({ trigger_type: "contact_created", steps })),
    );
  const post: Step = {
    step_type: "webhook",
    step_config: {
      url,
      body: {
        event: "contact_created",
        contact_id: "{{trigger.contact.id}}",
        first_name: "{{trigger.contact.first_name}}",
        phone: "{{trigger.contact.phone}}",
      },
    },
  };
  const tenants: Record<Job, string> = {
    post: await started([post]),
    create_task: await started([task]),
    chain: await started([task, task, task, task, task]),
    five: "",
    hundred: await started([task], 100),
    delayed: await started([{ ...task, delay_minutes: 1440 }]),
  };
  tenants.five = tenants.chain;
  const dispatcher = await startDispatcher(databaseUrl, bench.sizes.concurrency);
  bench.onStop(dispatcher.stop);
  return engine({
    sql,
    usage: dispatcher.usage,
    // Workflows that differ, as those of tenants do.
    stranger: (number) =>
      started([{
        ...task,
        step_config: { ...task.step_config, title: `${number}: {{trigger.contact.first_name}}` },
      }]),
    tenant: (job) => tenants[job],
    idle: "select from ridgeline.scheduled_steps",
    ledger: `(ridgeline.workflow_step_executions as l join ridgeline.workflow_executions as e
      on e.tenant_id = l.tenant_id and e.id = l.execution_id)`,
    contact: "e.record_id::uuid",
    // The dispatcher of a stack is rung by its heartbeat once a second; here, at once.
    makeDue: `set automation.test_clock = 'on'; select automation.advance_clock('1 day');
      select pg_notify('ridgeline_doorbell', '')`,
  });
}

const byHand = (url: string) => `
  alter table public.contacts disable trigger automation_capture_insert,
    disable trigger automation_capture_update;
  create schema bench;
  create table bench.ledger (like ridgeline.workflow_step_executions including all);
  create function bench.enqueue() returns trigger language plpgsql as $$
  declare
    job constant jsonb := jsonb_build_object(
      'tenant_id', new.tenant_id, 'execution_id', new.id, 'contact', to_jsonb(new),
      'url', '${url}');
  begin
    if new.source = 'hundred' then
      perform graphile_worker.add_job('create_task', (job || jsonb_build_object('step', n))::json)
      from generate_series(1, 100) as n;
    elsif new.source = 'delayed' then
      perform graphile_worker.add_job(
        'create_task', job::json, run_at => now() + interval '1 day');
    else
      perform graphile_worker.add_job(new.source, job::json);
    end if;
    return null;
  end $$;
  create trigger bench_enqueue after insert on public.contacts
    for each row execute function bench.enqueue();`;

async function startTheirs(bench: Bench, url: string): Promise<Engine> {
  const { sql, url: databaseUrl } = await bench.database("bench_theirs");
  const utils = await makeWorkerUtils({ connectionString: databaseUrl });
  await utils.migrate();
  await utils.release();
  await sql.unsafe(byHand(url)).simple();
  const tenant = await createTenant(sql, []);
  const worker = await startWorker(databaseUrl, bench.sizes.concurrency);
  bench.onStop(worker.stop);
  return engine({
    sql,
    usage: worker.usage,
    stranger: () => createTenant(sql, []),
    tenant: () => tenant,
    idle: "select from graphile_worker._private_jobs",
    ledger: "bench.ledger as l",
    contact: "l.execution_id",
    makeDue: `update graphile_worker._private_jobs set run_at = now();
      select pg_notify('jobs:insert', '{"r":0,"count":1000}')`,
  });
}

/** Of pg-boss what it says of itself: rows of its table are jobs. Its worker takes them a hundred at a time. */
async function startBoss(bench: Bench): Promise<Engine> {
  const { sql, url: databaseUrl } = await bench.database("bench_boss");
  const worker = await startPgBoss(databaseUrl, bench.sizes.concurrency);
  bench.onStop(worker.stop);
  await sql.unsafe(`
    alter table public.contacts disable trigger automation_capture_insert,
      disable trigger automation_capture_update;
    create schema bench;
    create table bench.ledger (like ridgeline.workflow_step_executions including all);
    create function bench.enqueue() returns trigger language plpgsql as $$
    begin
      insert into pgboss.job (name, data) values ('create_task', jsonb_build_object(
        'tenant_id', new.tenant_id, 'execution_id', new.id, 'contact', to_jsonb(new)));
      return null;
    end $$;
    create trigger bench_enqueue after insert on public.contacts
      for each row execute function bench.enqueue();`).simple();
  const tenant = await createTenant(sql, []);
  return engine({
    sql,
    usage: worker.usage,
    stranger: () => createTenant(sql, []),
    tenant: () => tenant,
    idle: "select from pgboss.job where state < 'completed' and name = 'create_task'",
    ledger: "bench.ledger as l",
    contact: "l.execution_id",
    makeDue: "select 1",
  });
}

interface Rivals {
  ours: Engine;
  theirs: Engine;
  /** Another one of ours, whose clock can be moved. */
  onTestClock: () => Promise<Engine>;
  onPgBoss: () => Promise<Engine>;
}
const started = new WeakMap<Bench, Promise<Rivals>>();

/** Started once for all rows that compare the two. */
export function rivals(bench: Bench): Promise<Rivals> {
  const running = started.get(bench) ?? (async () => {
    const receiver = await startReceiver();
    bench.onStop(receiver.stop);
    const url = `${receiver.ready}/contacts`;
    return {
      ours: await startOurs(bench, url, false),
      theirs: await startTheirs(bench, url),
      onTestClock: () => startOurs(bench, url, true),
      onPgBoss: () => startBoss(bench),
    };
  })();
  started.set(bench, running);
  return running;
}

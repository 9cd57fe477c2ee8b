// A CRM whose people and crons go on writing, and a dispatcher that goes on working, while the engine is upgraded.
import type { Sql } from "postgres";
import { afterAll, beforeAll, expect, it } from "vitest";
import { runScript } from "../../scripts/lib/schema.ts";
import { connect, startScratchServer } from "../../scripts/lib/scratch.ts";
import {
  attachHost,
  createProject,
  fillHost,
  type Host,
  publish,
  speakAs,
  SUMMIT,
} from "../support/host.ts";
import { previousEngine, shippedEngine } from "./releases.ts";

const undo: (() => Promise<unknown>)[] = [];
let host: Host;
let owner: Sql;
/** What a statement of people may take, on the platform; longer where the machine is slow, or busy with other tests. */
let patience = 8_000;

beforeAll(async () => {
  const { server, stop } = await startScratchServer({
    settings: { max_connections: "60", log_lock_waits: "on" },
  });
  undo.push(stop);
  host = await createProject({ adminUrl: server.url() });
  owner = connect(host.url);
  undo.push(() => owner.end({ timeout: 1 }));
  await fillHost(owner);
  // The release before wrote under a path of its own, where these found nothing.
  await owner.unsafe(`
    drop trigger contacts_log on public.contacts;
    drop trigger tasks_log on public.tasks;
    drop trigger activities_log on public.activities;
    alter table public.contacts drop constraint contacts_source_taken;
    alter table public.tasks alter number drop default`);
  const began = performance.now();
  for (const script of previousEngine) await runScript(owner, script);
  patience *= Math.max(1, (performance.now() - began) / 4_000);
  await attachHost(owner);
  await speakAs(owner, SUMMIT, "+15125550100");
}, 120_000);
afterAll(async () => {
  for (let step = undo.pop(); step; step = undo.pop()) await step();
});

/** What one who writes all the time saw of it. */
interface Told {
  writes: number;
  longest: number;
  errors: string[];
}

/** Writes, one after another, until it is told to stop. */
function keepDoing(work: (sql: Sql, n: number) => Promise<unknown>, rest = 10) {
  const sql = connect(host.url, {
    max: 1,
    connection: { statement_timeout: Math.round(patience) },
  });
  let going = true;
  const told: Told = { writes: 0, longest: 0, errors: [] };
  const done = (async () => {
    for (let n = 0; going; n++) {
      const begun = performance.now();
      try {
        await work(sql, n);
        told.writes++;
      } catch (error) {
        told.errors.push((error as Error).message);
      }
      told.longest = Math.max(told.longest, performance.now() - begun);
      await new Promise((resolve) => setTimeout(resolve, rest));
    }
    await sql.end({ timeout: 5 });
  })();
  return {
    told,
    stop: async () => {
      going = false;
      await done;
      return told;
    },
  };
}

async function wroteSomething(writers: { told: Told }[]): Promise<void> {
  const before = writers.map(({ told }) => told.writes);
  while (writers.some(({ told }, n) => told.writes < before[n]! + 10)) {
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function dispatchOnce(sql: Sql) {
  const claimed = await sql<{ tenant_id: string; step_id: string; attempt_token: string }[]>`
    select tenant_id, step_id, attempt_token::text from automation.claim_steps('old', 5, '3 seconds')`;
  if (claimed.length === 0) return;
  const results = claimed.map((step) => ({
    ...step,
    outcome: "succeeded",
    result: { provider_id: `SM${step.step_id}` },
  }));
  await sql`select automation.finish_steps(${sql.json(results)})`;
}

it("nobody's write fails, and each has its run, once", { timeout: 240_000 }, async () => {
  await publish(owner, SUMMIT, "contact_created", [
    ["create_task", { title: "Call {{contact.first_name}}" }],
    ["send_sms", { body: "Hi {{contact.first_name}}", purpose: "transactional" }],
    ["create_task", { title: "Sent {{contact.first_name}}" }],
  ]);
  await publish(owner, SUMMIT, "project_won", [["create_task", { title: "Won {{project.name}}" }]]);
  await publish(owner, SUMMIT, "time_elapsed", [["create_task", { title: "Later" }]], {
    trigger_config: { entity: "invoice", field: "created_at", offset: "1 day" },
  });
  await owner`alter table public.jobs enable always trigger automation_capture_update`;
  // Somebody has a page open all the while.
  const page = connect(host.url, { max: 1 });
  undo.push(() => page.end({ timeout: 1 }));

  const writers = [
    keepDoing((sql, n) =>
      sql`
      insert into public.contacts (tenant_id, first_name, last_name, mobile_phone)
      values (${SUMMIT}, ${`a${n}`}, 'A', '+15125550142')`
    ),
    keepDoing((sql, n) =>
      sql.begin(async (one) => {
        const [contact] = await one`
          insert into public.contacts (tenant_id, first_name, last_name, mobile_phone)
          values (${SUMMIT}, ${`b${n}`}, 'B', '+15125550143') returning id`;
        const [project] = await one`
          insert into public.projects (tenant_id, contact_id, name) values (${SUMMIT}, ${
          contact!.id
        }, ${`b${n}`})
          returning id`;
        await one`update public.projects set pipeline_stage = 'won' where id = ${project!.id}`;
      })
    ),
    keepDoing((sql, n) =>
      sql`
      update public.contacts set stage = ${`s${n}`} where id = (
        select id from public.contacts where tenant_id = ${SUMMIT} order by random() limit 1)`
    ),
    keepDoing((sql) =>
      sql`
      insert into public.invoices (tenant_id, number, amount, balance, due_on)
      values (${SUMMIT}, '1', 1, 1, current_date)`
    ),
  ];
  const readers = [keepDoing((sql) => sql`select count(*) from public.contacts`)];
  const workers = [
    keepDoing((sql) => sql`select automation.tick()`, 1000),
    keepDoing((sql) => sql`select automation.run_database_steps(5)`, 300),
    keepDoing(dispatchOnce, 300),
  ];
  await wroteSomething(writers);
  await page.begin(async (open) => {
    await open`select count(*) from public.contacts`;
    for (const script of shippedEngine) await runScript(owner, script);
  });
  await wroteSomething(writers);
  const wrote = await Promise.all(writers.map((writer) => writer.stop()));
  const read = await Promise.all(readers.map((reader) => reader.stop()));
  await Promise.all(workers.map((worker) => worker.stop()));
  console.log(
    [...wrote, ...read].map(({ writes, longest }) =>
      `${writes}: ${Math.round(longest)} ms at most`
    ),
  );
  for (let more = true; more;) {
    await owner`select automation.tick()`;
    await dispatchOnce(owner);
    const [{ due }] = await owner<[{ due: number }]>`
      select count(*)::int as due from ridgeline.workflow_executions where finished_at is null`;
    more = due > 0;
  }
  // A write that would have waited for longer than people's own statements may would be among these.
  expect([...wrote, ...read].flatMap(({ errors }) => errors)).toEqual([]);
  const [counts] = await owner<[Record<string, number>]>`
    select (select count(*)::int from public.contacts where first_name ~ '^[ab][0-9]') as contacts,
      (select count(*)::int from public.tasks where title ~ '^Call [ab]') as calls,
      (select count(distinct title)::int from public.tasks where title ~ '^Call [ab]') as called,
      (select count(*)::int from public.tasks where title ~ '^Sent [ab]') as sent,
      (select count(distinct title)::int from public.tasks where title ~ '^Won b') as won,
      (select count(*)::int from public.tasks where title ~ '^Won b') as wons,
      (select count(*)::int from public.projects where pipeline_stage = 'won' and name ~ '^b[0-9]') as projects,
      (select count(*)::int from public.invoices) as invoices,
      (select count(*)::int from ridgeline.workflow_timers) as timers`;
  const { contacts, projects, invoices } = counts;
  expect(counts).toEqual({
    contacts,
    calls: contacts,
    called: contacts,
    sent: contacts,
    won: projects,
    wons: projects,
    projects,
    invoices,
    timers: invoices,
  });
  // From now on they would.
  expect(
    await owner`select s.value, p.proconfig[1] as path from automation.settings as s, pg_proc as p
      where s.name = 'host_search_path' and p.proname = 'write_tasks'`,
  ).toEqual([{ value: "public", path: "search_path=public, pg_temp" }]);
  const triggers = await owner<{ name: string; enabled: string }[]>`
    select tgname as name, tgenabled as enabled from pg_trigger
    where tgrelid = 'public.jobs'::regclass and tgname ~ '^automation' order by 1`;
  expect(triggers.map(({ name, enabled }) => [name, enabled])).toEqual([
    ["automation_capture_delete", "O"],
    ["automation_capture_insert", "O"],
    ["automation_capture_truncate", "O"],
    ["automation_capture_update", "A"],
    ["automation_timers", "D"],
  ]);
});

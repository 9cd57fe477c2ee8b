// The server is gone; there is a dump of the data. It restores into a fresh install, and the runs go on.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { afterAll, expect, inject, it } from "vitest";
import type { Sql } from "postgres";
import { enableTestClock } from "../../scripts/lib/schema.ts";
import { connect, startScratchServer, using } from "../../scripts/lib/scratch.ts";
import { debianBinaries } from "../../scripts/lib/servers.ts";
import {
  attachHost,
  createProject,
  fillHost,
  installEngine,
  MARIA,
  publish,
  receive,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";
import { now, Office, task } from "./office.ts";
import { scratchDatabase, sourceScripts } from "./releases.ts";

const undo: (() => Promise<unknown>)[] = [];
afterAll(async () => {
  for (let step = undo.pop(); step; step = undo.pop()) await step();
});

const ours = "('automation', 'ridgeline', 'public')";
const hasDump = fs.existsSync(`${debianBinaries}/pg_dump`);

function run(program: string, args: string[]): string {
  const { status, stdout, stderr } = spawnSync(`${debianBinaries}/${program}`, args, {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) throw new Error(`${program}: ${stderr}`);
  return stdout;
}

/** As docs/upgrading.md says. */
function byPgDump(from: string, to: string): Promise<void> {
  const file = `${fs.mkdtempSync("/tmp/dump-")}/data.sql`;
  const schemas = ["ridgeline", "automation", "public"].map((name) => `--schema=${name}`);
  run("pg_dump", ["--data-only", ...schemas, `--file=${file}`, from]);
  run("psql", [
    "-X",
    "--single-transaction",
    "--set=ON_ERROR_STOP=1",
    to,
    "--command=select automation.begin_restore()",
    `--file=${file}`,
    "--command=select automation.end_restore()",
  ]);
  fs.rmSync(file);
  return Promise.resolve();
}

/** The same where there is no pg_dump: the rows of every table, in one transaction. */
async function bySql(from: string, to: string): Promise<void> {
  await using(from, (source) =>
    using(to, (target) =>
      target.begin(async (restore) => {
        await restore`select automation.begin_restore()`;
        const tables = await source.unsafe<{ name: string; columns: string }[]>(`
          select c.oid::regclass::text as name, string_agg(quote_ident(a.attname), ', ') as columns
          from pg_class as c
          join pg_attribute as a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
          where c.relkind = 'r' and c.relnamespace::regnamespace::text in ${ours} and a.attgenerated = ''
          group by c.oid`);
        for (const { name, columns } of tables) {
          const [row] = await source.unsafe<{ rows: string | null }[]>(
            `select json_agg(row_to_json(t))::text as rows from ${name} as t`,
          );
          await restore.unsafe(
            `insert into ${name} (${columns}) overriding system value
             select ${columns} from json_populate_recordset(null::${name}, $1::text::json)`,
            [row!.rows ?? "[]"],
          );
        }
        const sequences = await source.unsafe<{ name: string; last_value: string | null }[]>(`
          select format('%I.%I', schemaname, sequencename) as name, last_value::text
          from pg_sequences where schemaname in ${ours} and last_value is not null`);
        for (const { name, last_value } of sequences) {
          await restore`select setval(${name}::regclass, ${last_value}::bigint)`;
        }
        await restore`select automation.end_restore()`;
      })));
}

let debian: Promise<string> | undefined;
async function startDebian(): Promise<string> {
  const { server, stop } = await startScratchServer({ binaries: debianBinaries });
  undo.unshift(stop);
  return server.url();
}
const adminOf = (usesDump: boolean) =>
  usesDump ? (debian ??= startDebian()) : Promise.resolve(inject("adminUrl"));

it.runIf(hasDump).each([["pg_dump", true] as const])("%s and psql", story, 240_000);
it.each([["SQL alone", false] as const])("%s", story, 240_000);

async function story(_name: string, usesDump: boolean): Promise<void> {
  const adminUrl = await adminOf(usesDump);
  const office = await Office.open(sourceScripts(), adminUrl);
  undo.push(office.drop);
  const { sql } = office;
  await office.workflow("contact_created", [
    task("Call"),
    task("Ask for a review", 3 * 1440),
  ]);
  // Half a day from now, whatever the time of day: not within the hour that passes before the dump.
  const hour = (new Date().getUTCHours() + 12) % 24;
  await office.workflow("scheduled", [task("Monday meeting")], {
    cron: `0 ${hour} * * *`,
    zone: "UTC",
  });
  await office.workflow("time_elapsed", [task("Anniversary")], {
    entity: "contact",
    field: "created_at",
    offset: "5 days",
  });
  await office.lead("Maria");
  await office.lead("Bob");
  await office.later("1 hour");
  await sql`update automation.settings set value = '3' where name = 'max_attempts'`;
  await sql`update automation.step_types set description = 'of an older release' where name = 'wait'`;
  const before = await sql`
    select run_at from ridgeline.scheduled_steps where tenant_id = ${office.tenant} order by 1`;
  expect(before.length).toBe(2);

  const { url, sql: fresh, drop } = await scratchDatabase(sourceScripts(), adminUrl);
  undo.push(drop);
  await enableTestClock(fresh);
  if (usesDump) await byPgDump(office.url, url);
  else await bySql(office.url, url);
  await fresh.end({ timeout: 1 });

  const restored = new Office(now.connect(url), url, office.tenant);
  undo.push(() => restored.sql.end({ timeout: 1 }));
  expect(await restored.tasks()).toEqual({ Call: 2 });
  expect(
    await restored.sql`
      select run_at from ridgeline.scheduled_steps where tenant_id = ${office.tenant} order by 1`,
  ).toEqual(before);
  const [settings] = await restored.sql`
    select (select value from automation.settings where name = 'max_attempts') as value,
      (select description from automation.step_types where name = 'wait') as description`;
  expect(settings!.value).toBe("3");
  expect(settings!.description).not.toBe("of an older release");
  for (let day = 0; day < 6; day++) {
    await restored.later("1 day");
    await restored.dispatch(now);
  }
  expect(await restored.tasks()).toEqual({
    Call: 2,
    "Ask for a review": 2,
    "Monday meeting": 6,
    Anniversary: 2,
  });
  // What is written from now on fires as before.
  await restored.lead("Zoe");
  await restored.dispatch(now);
  expect((await restored.tasks()).Call).toBe(3);
}

// Somebody else's CRM, by whoever owns it: its rows come along, and are attached again by the restore or were before.
it.runIf(hasDump)("a CRM of its own, by pg_dump", () => hostStory(true, false), 240_000);
it.each([["again", false], ["before", true]])(
  "a CRM of its own that is attached %s, by SQL alone",
  (_when, isAttached) => hostStory(false, isAttached),
  240_000,
);

async function hostStory(usesDump: boolean, isAttached: boolean): Promise<void> {
  const adminUrl = await adminOf(usesDump);
  const open = async () => {
    const host = await createProject({ adminUrl });
    undo.push(host.drop);
    const sql = connect(host.url);
    undo.push(() => sql.end({ timeout: 1 }));
    await fillHost(sql);
    await sql`create schema shelf`;
    return { ...host, sql };
  };
  const old = await open();
  await installEngine(old.sql);
  await attachHost(old.sql);
  // A schema on the path that somebody else may write in by now.
  await old
    .sql`update automation.settings set value = 'shelf, public' where name = 'host_search_path'`;
  await old.sql`grant create on schema shelf to public`;
  await speakAs(old.sql, SUMMIT, "+15125550100");
  await old.sql`select automation.set_clock('2026-06-01 15:00+00')`;
  await old.sql`update automation.settings set value = '3' where name = 'max_attempts'`;
  await old.sql`insert into ridgeline.tenant_settings (tenant_id, settings)
    values (${SUMMIT}, '{"editors_publish": true}')`;
  const text = (body: string) => ({ body, purpose: "transactional" });
  await publish(old.sql, SUMMIT, "contact_created", [
    ["create_task", { title: "Call {{contact.first_name}}" }],
    ["send_sms", text("How was it, {{contact.first_name}}?"), 3 * 1440],
  ]);
  await publish(old.sql, SUMMIT, "time_elapsed", [["send_sms", text("See you tomorrow")]], {
    trigger_config: { entity: "appointment", field: "starts_at", offset: "-1 day" },
  });
  await publish(old.sql, SUMMIT, "scheduled", [["create_task", { title: "Meeting" }]], {
    trigger_config: { cron: "0 9 * * *" },
  });
  const lead = (sql: Sql, name: string, phone: string) =>
    sql`insert into public.contacts (tenant_id, first_name, last_name, mobile_phone)
      values (${SUMMIT}, ${name}, 'Lead', ${phone})`;
  await lead(old.sql, "Rosa", "+15125550151");
  await lead(old.sql, "Theo", "+15125550152");
  const [{ id: appointment }] = await old.sql<[{ id: string }]>`
    insert into public.appointments (tenant_id, contact_id, starts_at)
    values (${SUMMIT}, ${MARIA}, '2026-06-04 15:00+00') returning id`;
  await work(old.sql);
  await receive(old.sql, "+15125550152", "STOP");
  await old.sql`select automation.reset_clock()`;

  const fresh = await open();
  await fresh.sql.unsafe(`
    do $$ begin
      execute (select 'truncate ' || string_agg(oid::regclass::text, ', ') from pg_class
        where relnamespace = 'public'::regnamespace and relkind = 'r');
    end $$`);
  // pg_dump empties the search_path, and this CRM's check finds its table by it: docs/upgrading.md.
  if (usesDump) await fresh.sql`alter table public.contacts drop constraint contacts_source_taken`;
  await installEngine(fresh.sql);
  if (isAttached) {
    await attachHost(fresh.sql);
    await fresh
      .sql`update automation.settings set value = 'shelf, public' where name = 'host_search_path'`;
  }
  await fresh.sql`grant create on schema shelf to public`;
  await (usesDump ? byPgDump : bySql)(old.url, fresh.url);

  const { sql } = fresh;
  await sql`select automation.set_clock('2026-06-01 16:00+00')`;
  const rows = (from: Sql) =>
    from`select (select count(*)::int from public.contacts) as contacts,
      (select count(*)::int from public.activity_log) as logged,
      (select max(id) from public.invoices) as invoice, nextval('public.project_numbers') as number,
      (select value from automation.settings where name = 'max_attempts') as attempts,
      (select settings from ridgeline.tenant_settings where tenant_id = ${SUMMIT}) as settings`;
  expect(await rows(sql)).toEqual(await rows(old.sql));
  expect(await sql`select automation.host_path() as path`).toEqual([{ path: "public, pg_temp" }]);
  // One appointment is put off after the restore, and a new one made.
  await sql`update public.appointments set starts_at = '2026-06-05 15:00+00' where id = ${appointment}`;
  await lead(sql, "Zoe", "+15125550153");
  const sent: string[] = [];
  for (let day = 0; day < 6; day++) {
    const [{ date }] = await sql<[{ date: string }]>`select automation.now()::date::text as date`;
    sent.push(...(await work(sql)).map(({ payload }) => `${date} ${payload.body}`));
    await sql`select automation.advance_clock('1 day')`;
  }
  expect(sent.map((one) => one.split("\n")[0]).toSorted()).toEqual([
    "2026-06-04 How was it, Rosa?",
    "2026-06-04 How was it, Zoe?",
    "2026-06-04 See you tomorrow",
  ]);
  expect(
    await sql`select title, count(*)::int as n from public.tasks group by title order by title`,
  ).toEqual([
    { title: "Call Rosa", n: 1 },
    { title: "Call Theo", n: 1 },
    { title: "Call Zoe", n: 1 },
    { title: "Meeting", n: 5 },
  ]);
}

it("a database that is in use is not restored over", async () => {
  const office = await Office.open(sourceScripts());
  undo.push(office.drop);
  await office.workflow("contact_created", [task("Call")]);
  await expect(office.sql`select automation.begin_restore()`).rejects.toThrow(
    "restore into a fresh install",
  );
});

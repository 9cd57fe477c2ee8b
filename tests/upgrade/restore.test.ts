// The server is gone; there is a dump of the data. It restores into a fresh install, and the runs go on.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { afterAll, expect, inject, it } from "vitest";
import { enableTestClock } from "../../scripts/lib/schema.ts";
import { startScratchServer, using } from "../../scripts/lib/scratch.ts";
import { debianBinaries } from "../../scripts/lib/servers.ts";
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
            `insert into ${name} (${columns})
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

async function adminOf(usesDump: boolean): Promise<string> {
  if (!usesDump) return inject("adminUrl");
  const { server, stop } = await startScratchServer({ binaries: debianBinaries });
  undo.push(stop);
  return server.url();
}

it.runIf(hasDump).each([["pg_dump", true] as const])("%s and psql", story, 60_000);
it.each([["SQL alone", false] as const])("%s", story, 60_000);

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

it("a database that is in use is not restored over", async () => {
  const office = await Office.open(sourceScripts());
  undo.push(office.drop);
  await office.workflow("contact_created", [task("Call")]);
  await expect(office.sql`select automation.begin_restore()`).rejects.toThrow(
    "restore into a fresh install",
  );
});

import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, inject, it } from "vitest";
import {
  checksum,
  isGenerated,
  migrationFiles,
  migrations,
  readReleases,
  releaseProblems,
  runScript,
  schemaScript,
} from "../../scripts/lib/schema.ts";
import { contents, fingerprint } from "../../scripts/lib/fingerprint.ts";
import { createDatabase, dropDatabase, using } from "../../scripts/lib/scratch.ts";
import { useDatabase } from "../support/database.ts";

async function built(name: string, ...scripts: string[]) {
  const adminUrl = inject("adminUrl");
  const url = await createDatabase(adminUrl, name);
  try {
    return await using(url, async (sql) => {
      for (const script of scripts) await runScript(sql, script);
      return { fingerprint: await fingerprint(sql), contents: await contents(sql) };
    });
  } finally {
    await dropDatabase(adminUrl, name);
  }
}

const source = [schemaScript("engine"), schemaScript("crm")];

/**
 * To drop a trigger takes a table from its readers too. So those that followed the dates of the first release stay,
 * switched off and empty, until the table is detached.
 */
const isLeftOver = (line: string) =>
  /^(routine|trigger) .*automation[._](capture_\w+_)?timers\b/.test(line);

/** A migration adds a column at the end of its table, wherever it stands in sql/. */
const anywhere = (lines: string[]) =>
  migrations.every((one) => isGenerated(one))
    ? lines
    : lines.map((line) => line.replace(/^(column \S+) \d+ /, "$1 ")).sort();

describe("the migrations", () => {
  it("build the database that sql/ describes", async () => {
    const fromSource = await built("from_source", ...source);
    const fromMigrations = await built("from_migrations", ...migrationFiles().values());
    expect(fromSource.fingerprint.length).toBeGreaterThan(500);
    const leftOver = fromMigrations.fingerprint.filter(isLeftOver);
    expect(leftOver.filter((line) => !/begin return null; end|^trigger /.test(line))).toEqual([]);
    expect(fromSource.fingerprint.filter(isLeftOver)).toEqual([]);
    expect(anywhere(fromMigrations.fingerprint.filter((line) => !isLeftOver(line))))
      .toEqual(anywhere(fromSource.fingerprint));
    expect(fromMigrations.contents).toEqual(fromSource.contents);
  });

  it("would be told apart by a single grant or comment", async () => {
    const fromSource = await built("from_source_2", ...source);
    const { fingerprint: other } = await built(
      "other",
      ...source,
      "grant select on public.contacts to anon;",
    );
    expect(other).not.toEqual(fromSource.fingerprint);
  });
});

describe("a released migration", () => {
  it("is as it was when it was released, and what follows comes after it", () => {
    expect(releaseProblems(readReleases(), migrationFiles())).toEqual([]);
  });

  it("that is changed, gone or overtaken is named", () => {
    const releases = { "1.0.0": { "20260101000000_a.sql": checksum("select 1;") } };
    const problems = (files: Record<string, string>) =>
      releaseProblems(releases, new Map(Object.entries(files)));
    const kept = { "20260101000000_a.sql": "select 1;" };
    expect(problems({ ...kept, "20260201000000_b.sql": "select 2;" })).toEqual([]);
    expect(problems({ "20260101000000_a.sql": "select 1; " })).toEqual([
      "20260101000000_a.sql was released and differs: put it back, and write the next migration",
    ]);
    expect(problems({})).toEqual(["20260101000000_a.sql was released and is gone: put it back"]);
    expect(problems({ ...kept, "20251201000000_c.sql": "" })).toEqual([
      "20251201000000_c.sql comes before 20260101000000_a.sql, which is released: " +
      "give it a later number",
    ]);
  });
});

describe("the schema", () => {
  const database = useDatabase();

  it("has row-level security on every table of public", async () => {
    const open = await database().sql`
      select oid::regclass::text as name from pg_class
      where relkind in ('r', 'p') and relnamespace = 'public'::regnamespace
        and not relrowsecurity`;
    expect(open.map(({ name }) => name)).toEqual([]);
  });

  it("gives anon no privilege on any table", async () => {
    const granted = await database().sql`
      select oid::regclass::text as name from pg_class
      where relkind in ('r', 'p', 'v', 'm')
        and relnamespace in ('public'::regnamespace, 'automation'::regnamespace)
        and has_table_privilege('anon', oid, 'select, insert, update, delete, truncate')`;
    expect(granted.map(({ name }) => name)).toEqual([]);
  });

  it("has an index that serves each foreign key", async () => {
    const without = await database().sql`
      select k.conname from pg_constraint k
      where k.contype = 'f'
        and k.connamespace in ('public'::regnamespace, 'automation'::regnamespace)
        and not exists (
          select from pg_index i
          where i.indrelid = k.conrelid and i.indpred is null
            and (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey
        )`;
    expect(without.map(({ conname }) => conname)).toEqual([]);
  });
});

describe("the lint", () => {
  let folder: string;
  beforeEach(() => folder = fs.mkdtempSync(path.join(os.tmpdir(), "lint-")));
  afterEach(() => fs.rmSync(folder, { recursive: true }));

  const write = (name: string, body: string, does: string) => {
    const file = path.join(folder, "sql", name);
    fs.mkdirSync(path.dirname(file), { recursive: true });
    fs.writeFileSync(
      file,
      `create or replace function automation.${body}() returns integer
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ ${does} $$;
`,
    );
  };
  const lint = () => {
    const { stdout, stderr, status } = spawnSync(process.execPath, [
      "--import",
      "tsx",
      path.resolve(import.meta.dirname, "../../scripts/lint-sql.ts"),
      folder,
    ], { encoding: "utf8" });
    return { status, said: stderr.trim().split("\n").filter(Boolean), stdout };
  };

  it("names an arrow that runs up, and two files of one number", () => {
    const later = "select automation.later()";
    write("engine/20_gate/01_later.sql", "later", "select 1");
    write("engine/30_dispatch/01_asks.sql", "asks", later);
    write("crm/01_crm.sql", "crm", later);
    expect(lint()).toMatchObject({ status: 0, said: [] });
    write("engine/10_values/01_early.sql", "early", later);
    write("engine/30_dispatch/01_too.sql", "too", later);
    expect(lint()).toMatchObject({
      status: 1,
      said: [
        "sql/engine/10_values/01_early.sql:1: automation.early names automation.later, which comes later " +
        "(sql/engine/20_gate/01_later.sql)",
        "sql/engine/30_dispatch/01_too.sql:1: has the number of sql/engine/30_dispatch/01_asks.sql",
      ],
    });
  });

  it("names what is written where nobody who reads the statement looks", () => {
    const gone = (name: string, more = "") =>
      `with ${name} (delete from t returning 1)${more} select count(*)`;
    write("engine/10_values/01_seen.sql", "seen", `${gone("gone as")} from gone`);
    write("engine/10_values/02_by.sql", "by", gone("gone as", ", kept as (select 1 from gone)"));
    write("crm/01_reads.sql", "reads", "with gone as (select 1) select 2");
    expect(lint()).toMatchObject({ status: 0, said: [] });
    write(
      "engine/10_values/04_unseen.sql",
      "unseen",
      `${gone("gone as")} from t; select 1 from gone`,
    );
    write("engine/10_values/05_once.sql", "once", gone("gone (a) as materialized"));
    const why = "gone: a CTE that writes, and that nothing names";
    expect(lint()).toMatchObject({
      status: 1,
      said: [
        `sql/engine/10_values/04_unseen.sql:4: ${why}`,
        `sql/engine/10_values/05_once.sql:4: ${why}`,
      ],
    });
  });
});

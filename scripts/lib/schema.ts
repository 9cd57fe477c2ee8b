// The database's source of truth, sql/, as one script; and putting it into a database.
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Sql } from "postgres";

const root = path.resolve(import.meta.dirname, "../..");
const bootstrapFile = path.join(import.meta.dirname, "bootstrap.sql");

export type Part = "engine" | "crm";

export interface Migration {
  version: string;
  name: string;
  /** A folder of sql/: the engine, or the reference CRM that a project with its own leaves out. */
  part: Part;
}

const directory = path.join(root, "supabase/migrations");
const releasesFile = path.join(root, "supabase/releases.json");

/** The first of each part: generated as a whole from sql/ until it is released, and never again. */
const first: Migration[] = [
  { version: "20261126000000", name: "ridgeline", part: "engine" },
  { version: "20261126000001", name: "reference_crm", part: "crm" },
];

/** All migrations in their order. Those of the reference CRM have its name in theirs. */
export const migrations: Migration[] = (() => {
  const further = fs.readdirSync(directory).sort().flatMap((file): Migration[] => {
    const [, version, name] = /^(\d{14})_(\w+)\.sql$/.exec(file) ?? [];
    if (!version || !name) throw new Error(`supabase/migrations/${file} is no migration's name`);
    if (first.some((one) => one.version === version)) return [];
    return [{ version, name, part: name.startsWith("reference_crm") ? "crm" : "engine" }];
  });
  return [...first, ...further];
})();

export const migrationFile = ({ version, name }: Pick<Migration, "version" | "name">) =>
  path.join(directory, `${version}_${name}.sql`);

/** What is released: by release, its files and their checksums. No such file changes any more. */
export type Releases = Record<string, Record<string, string>>;

export function readReleases(): Releases {
  return fs.existsSync(releasesFile) ? JSON.parse(fs.readFileSync(releasesFile, "utf8")) : {};
}

export function writeReleases(releases: Releases): void {
  fs.writeFileSync(releasesFile, `${JSON.stringify(releases, null, 2)}\n`);
}

export const checksum = (text: string) => createHash("sha256").update(text).digest("hex");

/** What is wrong with the released files: changed, gone, or with an unreleased one before them. */
export function releaseProblems(
  releases: Releases,
  files: ReadonlyMap<string, string>,
): string[] {
  const released = Object.assign({}, ...Object.values(releases)) as Record<string, string>;
  const last = Object.keys(released).sort().at(-1) ?? "";
  return [
    ...Object.entries(released).flatMap(([file, sum]) => {
      const text = files.get(file);
      if (text === undefined) return [`${file} was released and is gone: put it back`];
      if (checksum(text) === sum) return [];
      return [`${file} was released and differs: put it back, and write the next migration`];
    }),
    ...[...files.keys()].filter((file) => !(file in released) && file < last)
      .map((file) => `${file} comes before ${last}, which is released: give it a later number`),
  ];
}

export function migrationFiles(): Map<string, string> {
  return new Map(
    migrations.map(migrationFile).filter((file) => fs.existsSync(file))
      .map((file) => [path.basename(file), fs.readFileSync(file, "utf8")]),
  );
}

/** Generated from sql/ as a whole: as long as nothing has been released. */
export function isGenerated({ version }: Migration, releases = readReleases()): boolean {
  return Object.keys(releases).length === 0 && first.some((one) => one.version === version);
}

/** What comes after the releases, and is drafted until it is one. */
export function unreleased(): Migration[] {
  const released = Object.assign({}, ...Object.values(readReleases())) as Record<string, string>;
  return migrations.filter((one) =>
    !isGenerated(one) && !(path.basename(migrationFile(one)) in released)
  );
}

export function migrationScript(migration: Migration): string {
  return isGenerated(migration)
    ? schemaScript(migration.part)
    : fs.readFileSync(migrationFile(migration), "utf8");
}

/** The files of a part of sql/ in the order in which they apply: chapters and files by name. */
export function schemaFiles(part?: Part, from: string = root): string[] {
  if (!part) return first.flatMap((one) => schemaFiles(one.part, from));
  const directory = path.join(from, "sql", part);
  return fs.readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map((name) => path.join("sql", part, name));
}

export function schemaScript(part: Part): string {
  const parts = schemaFiles(part).map((file) =>
    `-- ${file.replaceAll(path.sep, "/")}\n\n${
      fs.readFileSync(path.join(root, file), "utf8").trim()
    }\n`
  );
  return [
    `-- Generated from sql/${part} by scripts/migrations. Edit there.\n`,
    "-- Functions may name what a later chapter creates.",
    "set check_function_bodies = off;\n",
    ...parts,
    "reset check_function_bodies;\n",
  ].join("\n");
}

/** Creates what the Supabase platform provides, where it is missing. */
export async function bootstrap(sql: Sql): Promise<void> {
  await sql.unsafe(fs.readFileSync(bootstrapFile, "utf8")).simple();
}

/** Runs a whole script as one transaction; a failure names the line of the script. */
export async function runScript(sql: Sql, script: string): Promise<void> {
  try {
    await sql.begin((transaction) => transaction.unsafe(script).simple());
  } catch (error) {
    throw locate(error, script);
  }
}

function locate(error: unknown, script: string): unknown {
  const { message, position, where } = error as {
    message?: string;
    position?: string;
    where?: string;
  };
  if (!position) return error;
  const before = script.slice(0, Number(position)).split("\n");
  const file = before.findLast((line) => /^-- sql\//.test(line))?.slice(3);
  const line = file ? before.length - before.lastIndexOf(`-- ${file}`) - 2 : before.length;
  return new Error(
    `${file ?? "script"}:${line}: ${message}${where ? `\n${where}` : ""}`,
    { cause: error },
  );
}

export type SchemaState = "absent" | "current" | "behind" | "older" | "foreign";

/**
 * What a database holds: nothing of ours, this very schema, one that lacks the latest migrations, one that
 * this stack applied from another sql/, or one that came in another way, such as `supabase db push`.
 */
export async function schemaState(sql: Sql): Promise<SchemaState> {
  const [{ present }] = await sql<[{ present: boolean }]>`
    select to_regnamespace('automation') is not null as present`;
  if (!present) return "absent";
  const [{ recorded }] = await sql<[{ recorded: boolean }]>`
    select to_regclass('supabase_migrations.schema_migrations') is not null as recorded`;
  if (!recorded) return "foreign";
  const applied = await appliedMigrations(sql);
  const parts = partsOf(applied);
  for (const migration of migrations.filter(({ part }) => parts.includes(part))) {
    const statements = applied.get(migration.version);
    if (!statements && !first.includes(migration)) return "behind";
    if (statements?.length !== 1) return "foreign";
    if (statements[0] !== migrationScript(migration)) return "older";
  }
  return applied.has(first[0]!.version) ? "current" : "foreign";
}

type Applied = ReadonlyMap<string, string[] | null>;

async function appliedMigrations(sql: Sql): Promise<Applied> {
  const rows = await sql<{ version: string; statements: string[] | null }[]>`
    select version, statements from supabase_migrations.schema_migrations`;
  return new Map(rows.map(({ version, statements }) => [version, statements]));
}

/** A project with a CRM of its own has left ours out. */
const partsOf = (applied: Applied) =>
  first.filter(({ version }) => applied.has(version)).map(({ part }) => part);

/** Does public hold tables already? Then the database is somebody's, with a CRM of its own. */
export async function isSomebodys(sql: Sql): Promise<boolean> {
  const [{ held }] = await sql<[{ held: boolean }]>`
    select exists (
      select from pg_class as c
      where c.relnamespace = to_regnamespace('public') and c.relkind in ('r', 'p', 'v', 'm', 'f')
        and not exists (
          select from pg_depend as d
          where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e')
    ) as held`;
  return held;
}

/** Applies the migrations that are missing and records them where `supabase db push` records a migration. */
export async function applySchema(
  sql: Sql,
  wanted: readonly Part[] = ["engine", "crm"],
): Promise<void> {
  await sql`create schema if not exists supabase_migrations`;
  await sql`
    create table if not exists supabase_migrations.schema_migrations (
      version text not null primary key,
      statements text[],
      name text,
      created_by text,
      idempotency_key text,
      rollback text[]
    )`;
  const applied = await appliedMigrations(sql);
  const present = partsOf(applied);
  const parts = present.length > 0 ? present : wanted;
  for (const migration of migrations.filter((one) => parts.includes(one.part))) {
    const { version, name } = migration;
    if (applied.has(version)) continue;
    const script = migrationScript(migration);
    await runScript(sql, script);
    await sql`
      insert into supabase_migrations.schema_migrations (version, statements, name)
      values (${version}, ${[script]}, ${name})
      on conflict (version) do update set statements = excluded.statements, name = excluded.name`;
  }
}

/** What sql/ says, whether there is a migration for all of it yet or not: what tests are made of. */
export async function applySource(sql: Sql): Promise<void> {
  for (const { part } of first) await runScript(sql, schemaScript(part));
}

/** Runs sql/uninstall.sql: the engine's jobs, triggers and schemas go, the CRM stays. */
export async function uninstall(
  sql: Sql,
  { force = false, cascade = false }: { force?: boolean; cascade?: boolean } = {},
): Promise<void> {
  const allowed = [...(force ? ["force"] : []), ...(cascade ? ["cascade"] : [])].join(",");
  const script = fs.readFileSync(path.join(root, "sql/uninstall.sql"), "utf8");
  await sql.begin(async (transaction) => {
    await transaction`select set_config('ridgeline.uninstall', ${allowed}, true)`;
    await transaction.unsafe(script).simple();
  });
}

/**
 * Lets automation.set_clock and its siblings move the time in this database. `anyHour`: and texts go out at
 * night as well, which only a database with a test clock allows.
 */
export async function enableTestClock(sql: Sql, { anyHour = false } = {}): Promise<void> {
  const settings = { test_clock: "on", ...(anyHour ? { quiet_hours: "off" } : {}) };
  for (const [name, value] of Object.entries(settings)) {
    await sql.unsafe(
      `do $$ begin
         execute format('alter database %I set automation.${name} = %L', current_database(), '${value}');
       end $$`,
    );
  }
}

/**
 * For development and tests: the environment's sender and signing secret serve all tenants, as fast as they like, and
 * nobody is asked what marketing needs.
 */
export async function settleForDevelopment(sql: Sql): Promise<void> {
  await sql`
    update automation.settings as s set value = v.value
    from (values ('environment_serves', 'every_tenant'), ('environment_per_second', '0'),
      ('consent_asked_since', 'infinity')) as v (name, value)
    where s.name = v.name`;
}

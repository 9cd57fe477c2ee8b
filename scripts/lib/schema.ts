// The database's source of truth, sql/, as one script; and putting it into a database.
import fs from "node:fs";
import path from "node:path";
import type { Sql } from "postgres";

const root = path.resolve(import.meta.dirname, "../..");
const bootstrapFile = path.join(import.meta.dirname, "bootstrap.sql");

export interface Migration {
  version: string;
  name: string;
  /** A folder of sql/: the engine, or the reference CRM that a project with its own leaves out. */
  part: "engine" | "crm";
}

/** While nothing has been released there is one migration a part, generated as a whole from sql/. */
export const migrations: Migration[] = [
  { version: "20261126000000", name: "ridgeline", part: "engine" },
  { version: "20261126000001", name: "reference_crm", part: "crm" },
];

export const migrationFile = ({ version, name }: Migration) =>
  path.join(root, "supabase/migrations", `${version}_${name}.sql`);

/** The files of a part of sql/ in the order in which they apply: chapters and files by name. */
export function schemaFiles(part?: Migration["part"]): string[] {
  if (!part) return migrations.flatMap((one) => schemaFiles(one.part));
  const directory = path.join(root, "sql", part);
  return fs.readdirSync(directory, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".sql"))
    .sort()
    .map((name) => path.join("sql", part, name));
}

export function schemaScript(part: Migration["part"]): string {
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

export type SchemaState = "absent" | "current" | "older" | "foreign";

/**
 * What a database holds: nothing of ours, this very schema, one that this stack applied from
 * another sql/, or one that came in another way, such as `supabase db push`.
 */
export async function schemaState(sql: Sql): Promise<SchemaState> {
  const [{ present }] = await sql<[{ present: boolean }]>`
    select to_regnamespace('automation') is not null as present`;
  if (!present) return "absent";
  const [{ recorded }] = await sql<[{ recorded: boolean }]>`
    select to_regclass('supabase_migrations.schema_migrations') is not null as recorded`;
  if (!recorded) return "foreign";
  for (const { version, name, part } of migrations) {
    const [row] = await sql<{ statements: string[] | null }[]>`
      select statements from supabase_migrations.schema_migrations
      where version = ${version} and name = ${name}`;
    if (!row && part === "crm") continue;
    if (row?.statements?.length !== 1) return "foreign";
    if (row.statements[0] !== schemaScript(part)) return "older";
  }
  return "current";
}

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

/** Applies sql/ and records it where `supabase db push` records a migration. */
export async function applySchema(
  sql: Sql,
  parts: readonly Migration["part"][] = ["engine", "crm"],
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
  for (const { version, name, part } of migrations.filter((one) => parts.includes(one.part))) {
    const script = schemaScript(part);
    await runScript(sql, script);
    await sql`
      insert into supabase_migrations.schema_migrations (version, statements, name)
      values (${version}, ${[script]}, ${name})
      on conflict (version) do update set statements = excluded.statements, name = excluded.name`;
  }
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

/** Lets automation.set_clock and its siblings move the time in this database. */
export async function enableTestClock(sql: Sql): Promise<void> {
  await sql.unsafe(
    `do $$ begin
       execute format('alter database %I set automation.test_clock = %L', current_database(), 'on');
     end $$`,
  );
}

/** The environment's sender and signing secret serve all tenants: for development and tests. */
export async function serveEveryTenant(sql: Sql): Promise<void> {
  await sql`
    update automation.settings set value = 'every_tenant' where name = 'environment_serves'`;
}

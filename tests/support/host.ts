// Somebody else's project: a database as the platform gives it, owned by a role that is no superuser, with a CRM of
// its own in it, and Ridgeline's engine beside that. The reference CRM is left out.
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { Sql } from "postgres";
import { inject } from "vitest";
import { applySchema, runScript } from "../../scripts/lib/schema.ts";
import { connect, createDatabase, dropDatabase, using } from "../../scripts/lib/scratch.ts";

/** What the platform's role `postgres` is there: the owner of the project, and no superuser. */
export const OWNER = "host_owner";

const support = (file: string) => fs.readFileSync(path.join(import.meta.dirname, file), "utf8");

/** The ids of host-crm.sql. */
export const SUMMIT = "0a000000-0000-4000-8000-000000000001";
export const LAKESIDE = "0a000000-0000-4000-8000-000000000002";
export const OLIVIA = "0b000000-0000-4000-8000-000000000001";
export const MANUEL = "0b000000-0000-4000-8000-000000000002";
export const SAM = "0b000000-0000-4000-8000-000000000003";
export const CORY = "0b000000-0000-4000-8000-000000000004";
export const LENA = "0b000000-0000-4000-8000-000000000005";
export const MARIA = "0c000000-0000-4000-8000-000000000001";
export const OTTO = "0c000000-0000-4000-8000-000000000002";
export const LOPEZ_ROOF = "0d000000-0000-4000-8000-000000000001";
export const JOB = "0e000000-0000-4000-8000-000000000001";

export interface Host {
  adminUrl: string;
  /** As the owner of the project. */
  url: string;
  name: string;
  drop: () => Promise<void>;
}

async function createOwner(sql: Sql): Promise<void> {
  await sql.unsafe(`
    do $$ begin
      if to_regrole('${OWNER}') is null then
        create role ${OWNER} login nosuperuser createrole createdb bypassrls;
      end if;
    exception when duplicate_object or unique_violation then null;
    end $$;
    grant anon, authenticated, service_role to ${OWNER} with admin option`);
}

/** A project with nothing in it yet. */
export async function createProject(adminUrl: string = inject("adminUrl")): Promise<Host> {
  const name = `host_${randomBytes(6).toString("hex")}`;
  const admin = await createDatabase(adminUrl, name);
  await using(admin, async (sql) => {
    await createOwner(sql);
    await sql.unsafe(`
      alter database ${name} owner to ${OWNER};
      alter default privileges for role ${OWNER} in schema public
        grant all on tables to anon, authenticated, service_role;
      alter default privileges for role ${OWNER} in schema public
        grant all on functions to anon, authenticated, service_role;
      alter default privileges for role ${OWNER} in schema public
        grant all on sequences to anon, authenticated, service_role;
      grant usage on schema auth, vault to ${OWNER} with grant option;
      grant select on vault.decrypted_secrets to ${OWNER} with grant option;
      grant execute on all functions in schema vault to ${OWNER}`);
  });
  const owned = new URL(admin);
  owned.username = OWNER;
  return { adminUrl: admin, url: owned.href, name, drop: () => dropDatabase(adminUrl, name) };
}

export const fillHost = (sql: Sql) => runScript(sql, support("host-crm.sql"));
export const installEngine = (sql: Sql) => applySchema(sql, ["engine"]);
export const attachHost = (sql: Sql) => runScript(sql, support("host-attach.sql"));

/** The fixture with the engine attached to it, as its owner would have it after docs/install.md. */
export async function createHost(): Promise<Host & { sql: Sql }> {
  const host = await createProject();
  const sql = connect(host.url);
  await fillHost(sql);
  await installEngine(sql);
  await attachHost(sql);
  return {
    ...host,
    sql,
    drop: async () => {
      await sql.end({ timeout: 1 });
      await host.drop();
    },
  };
}

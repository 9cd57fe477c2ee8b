// Somebody else's project: a database as the platform gives it, owned by a role that is no superuser, with a CRM of
// its own in it, and Ridgeline's engine beside that. The reference CRM is left out.
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import type { JSONValue, Sql } from "postgres";
import { afterAll, beforeAll, inject } from "vitest";
import { applySchema, runScript } from "../../scripts/lib/schema.ts";
import {
  connect,
  createDatabase,
  dropDatabase,
  inDatabase,
  using,
} from "../../scripts/lib/scratch.ts";

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

// What is granted for the whole server is granted once: suites that do it at the same time would fail of each other.
async function createOwner(sql: Sql, owner: string): Promise<void> {
  await sql.unsafe(`
    do $$ begin
      if to_regrole('${owner}') is null then
        create role ${owner} login nosuperuser createrole createdb bypassrls;
        ${owner === OWNER ? `grant set on parameter session_replication_role to ${owner};` : ""}
      end if;
    exception when duplicate_object or unique_violation then null;
    end $$;
    grant anon, authenticated, service_role to ${owner} with admin option`);
}

const newName = () => `host_${randomBytes(6).toString("hex")}`;

function ownedBy(owner: string, admin: string): string {
  const owned = new URL(admin);
  owned.username = owner;
  return owned.href;
}

/** A project with nothing in it yet. `owner`: OWNER may what the platform's postgres may, another no more than it needs. */
export async function createProject(
  { adminUrl = inject("adminUrl"), owner = OWNER }: { adminUrl?: string; owner?: string } = {},
): Promise<Host> {
  const name = newName();
  const admin = await createDatabase(adminUrl, name);
  await using(admin, async (sql) => {
    await createOwner(sql, owner);
    await sql.unsafe(`
      alter database ${name} owner to ${owner};
      alter default privileges for role ${owner} in schema public
        grant all on tables to anon, authenticated, service_role;
      alter default privileges for role ${owner} in schema public
        grant all on functions to anon, authenticated, service_role;
      alter default privileges for role ${owner} in schema public
        grant all on sequences to anon, authenticated, service_role;
      grant usage on schema auth, vault to ${owner} with grant option;
      grant select, insert, update, delete on vault.secrets to ${owner};
      grant select on vault.decrypted_secrets to ${owner} with grant option;
      grant execute on all functions in schema vault to ${owner}`);
  });
  return {
    adminUrl: admin,
    url: ownedBy(owner, admin),
    name,
    drop: () => dropDatabase(adminUrl, name),
  };
}

export const fillHost = (sql: Sql) => runScript(sql, support("host-crm.sql"));
export async function installEngine(sql: Sql): Promise<void> {
  await applySchema(sql, ["engine"]);
  // What tells of something else sends what it likes: tests/database/gate tells of who is asked.
  await sql`update automation.settings set value = 'infinity' where name = 'consent_asked_since'`;
}
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

/** Copies of one fixture, for a suite whose tests each take it apart: it is attached once. */
export function useCopies(): () => Promise<Host & { sql: Sql }> {
  let original: Host & { sql: Sql };
  beforeAll(async () => {
    original = await createHost();
    await original.sql.end({ timeout: 1 });
  });
  afterAll(() => original?.drop());
  return async () => {
    const adminUrl = inject("adminUrl");
    const name = newName();
    await using(adminUrl, (sql) =>
      sql.unsafe(
        `create database ${name} template ${original.name} owner ${OWNER} strategy file_copy`,
      ));
    const copied = inDatabase(adminUrl, name);
    const sql = connect(ownedBy(OWNER, copied));
    return {
      adminUrl: copied,
      url: ownedBy(OWNER, copied),
      name,
      sql,
      drop: async () => {
        await sql.end({ timeout: 1 });
        await dropDatabase(adminUrl, name);
      },
    };
  };
}

/** One workflow, published: [step type, its config, minutes to wait before it]. */
export async function publish(
  sql: Sql,
  tenant: string,
  trigger: string,
  steps: [type: string, config: object, delay?: number][],
  more: { trigger_config?: object; settings?: object; conditions?: object } = {},
): Promise<string> {
  const json = (value: object) => sql.json(value as JSONValue);
  const [{ id }] = await sql<[{ id: string }]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, settings, conditions)
    values (${tenant}, ${trigger}, ${trigger}, ${json(more.trigger_config ?? {})},
      ${json(more.settings ?? {})}, ${json(more.conditions ?? [])})
    returning id`;
  for (const [order, [type, config, delay]] of steps.entries()) {
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config, delay_minutes)
      values (${tenant}, ${id}, ${order}, ${type}, ${json(config)}, ${delay ?? 0})`;
  }
  await sql`select ridgeline.publish_workflow(${id}, tenant_id => ${tenant})`;
  return id;
}

/** The number, and for Summit the address, that a tenant sends from. */
export const speakAs = (sql: Sql, tenant: string, number: string) =>
  sql`
    insert into ridgeline.senders (tenant_id, channel, provider, kind, address, is_default, limits) values
      (${tenant}, 'sms', 'twilio', 'number', ${number}, true, '{"per_second": 0}'),
      (${tenant}, 'email', 'resend', 'address', ${`office@${
    number.slice(1)
  }.example`}, true, '{}')`;

export interface Sent {
  tenant_id: string;
  step_id: string;
  attempt_token: string;
  payload: { to: unknown; body?: string; subject?: string };
}

/** What the dispatcher does, with a provider that takes everything; what it took. */
export async function send(sql: Sql): Promise<Sent[]> {
  const claimed = await sql<Sent[]>`
    select tenant_id, step_id, attempt_token::text, payload from automation.claim_steps('test', 100)`;
  for (const { payload: _, ...step } of claimed) {
    const report = { ...step, outcome: "succeeded", result: { provider_id: `ID${step.step_id}` } };
    await sql`select automation.finish_steps(${sql.json([report])})`;
  }
  return claimed;
}

/** Ticks and sends until there is nothing to do any more. */
export async function work(sql: Sql): Promise<Sent[]> {
  const sent: Sent[] = [];
  for (let busy = true; busy;) {
    const [{ did }] = await sql<[{ did: number }]>`
      select (automation.tick() ->> 'database_steps')::int as did`;
    const now = await send(sql);
    sent.push(...now);
    busy = did + now.length > 0;
  }
  return sent;
}

let texts = 0;
export const receive = (sql: Sql, from: string, body: string, to = "+15125550100") =>
  sql`select automation.receive_sms(${sql.json({ message_sid: `SM${++texts}`, from, to, body })})`;

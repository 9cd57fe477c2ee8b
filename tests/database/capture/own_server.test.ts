// What needs a server of its own: transactions in two phases, and rows that arrive by replication.
import type { Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sleep } from "../../../scripts/lib/process.ts";
import {
  cloneDatabase,
  connect,
  createTemplate,
  inDatabase,
  startScratchServer,
} from "../../../scripts/lib/scratch.ts";

const APEX = "00000000-0000-0000-0000-00000000000a";
let stop: () => Promise<void>;
let adminUrl: string;
const opened: Sql[] = [];

/** A database in which Apex has a workflow for new contacts, and one for changes. */
async function office(name: string): Promise<Sql> {
  const sql = connect(await cloneDatabase(adminUrl, name));
  opened.push(sql);
  await sql`insert into public.tenants (id, name) values (${APEX}, 'Apex Roofing')`;
  for (const trigger of ["contact_created", "contact_updated"]) {
    const [workflow] = await sql<[{ id: string }]>`
      insert into ridgeline.workflows (tenant_id, name, trigger_type)
      values (${APEX}, ${trigger}, ${trigger}) returning id`;
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
      values (${APEX}, ${workflow.id}, 'create_task', '{"title": "Call"}')`;
    await sql`update ridgeline.workflows set is_active = true where id = ${workflow.id}`;
  }
  return sql;
}

const fired = async (sql: Sql) =>
  (await sql<{ trigger_type: string }[]>`
    select trigger_type from ridgeline.workflow_executions order by seq`)
    .map(({ trigger_type }) => trigger_type);

async function until(what: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await what()) return;
    await sleep(50);
  }
  throw new Error("It did not come about");
}

beforeAll(async () => {
  const started = await startScratchServer({
    settings: { max_prepared_transactions: "5", wal_level: "logical", max_replication_slots: "5" },
  });
  stop = started.stop;
  adminUrl = started.server.url();
  await createTemplate(adminUrl);
});
afterAll(async () => {
  await Promise.all(opened.map((sql) => sql.end({ timeout: 1 })));
  await stop();
});

describe("a transaction that commits in two phases", () => {
  const write = (sql: Sql, doorbell: string) =>
    sql.unsafe(`
      update automation.settings set value = '${doorbell}' where name = 'doorbell';
      begin;
      insert into public.contacts (tenant_id, first_name) values ('${APEX}', 'Maria');
      prepare transaction 'maria';`).simple();

  it("fires when it is committed, with any doorbell but notify", async () => {
    const sql = await office("two_phases");
    const one = connect(inDatabase(adminUrl, "two_phases"), { max: 1 });
    opened.push(one);
    for (const doorbell of ["none", "pg_net"]) {
      await write(one, doorbell);
      const before = (await fired(sql)).length;
      await one.unsafe("commit prepared 'maria'");
      expect((await fired(sql)).slice(before)).toEqual(["contact_created"]);
    }
    await expect(write(one, "notify")).rejects.toThrow(/PREPARE.*NOTIFY/);
    await one.unsafe("rollback").catch(() => {});
    expect(await fired(sql)).toHaveLength(2);
  });
});

describe("the subscriber of a publication", () => {
  it("fires nothing, and all of it where its triggers are enabled always", async () => {
    const there = await office("publisher");
    const here = await office("subscriber");
    await there.unsafe("create publication crm for table public.contacts, public.tenants");
    await there`select pg_create_logical_replication_slot('crm', 'pgoutput')`;
    await here.unsafe(`create subscription crm connection
      'host=${new URL(adminUrl).hostname} port=${
      new URL(adminUrl).port
    } user=postgres dbname=publisher'
      publication crm with (create_slot = false, slot_name = 'crm', copy_data = false)`);
    const arrived = async (name: string) => {
      await until(async () =>
        (await here`select from public.contacts where first_name = ${name}`).length > 0
      );
    };
    const add = (name: string) =>
      there`insert into public.contacts (tenant_id, first_name) values (${APEX}, ${name})`;
    await add("Maria");
    await arrived("Maria");
    expect(await fired(here)).toEqual([]);
    for (const op of ["insert", "update", "delete"]) {
      await here.unsafe(
        `alter table public.contacts enable always trigger automation_capture_${op}`,
      );
    }
    await add("Bob");
    await arrived("Bob");
    await there`update public.contacts set first_name = 'Robert' where first_name = 'Bob'`;
    await arrived("Robert");
    expect(await fired(here)).toEqual(["contact_created", "contact_updated"]);
    await here.unsafe("alter subscription crm disable");
    await here.unsafe("alter subscription crm set (slot_name = none)");
    await here.unsafe("drop subscription crm");
  });
});

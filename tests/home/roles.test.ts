// Who may do what, by the words of the CRM: owner, office_manager (an admin here), sales (an editor), crew (a viewer).
import type { Sql, TransactionSql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { asRole } from "../support/database.ts";
import {
  CORY,
  createHost,
  type Host,
  LENA,
  MANUEL,
  MARIA,
  OLIVIA,
  SAM,
  SUMMIT,
  work,
} from "../support/host.ts";

let host: Host & { sql: Sql };
let sql: Sql;
beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
});
afterAll(() => host.drop());

const as = <T>(user: string, work: (sql: TransactionSql) => Promise<T>) =>
  asRole(sql, { user }, work);

async function draft(user: string, trigger = "manual"): Promise<string> {
  return await as(user, async (sql) => {
    const [{ id }] = await sql<[{ id: string }]>`
      insert into ridgeline.workflows (tenant_id, name, trigger_type)
      values (${SUMMIT}, 'Draft', ${trigger}) returning id`;
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
      values (${SUMMIT}, ${id}, 'create_task', '{"title": "Call {{contact.first_name}}"}')`;
    return id;
  });
}

const publish = (user: string, id: string) =>
  as(user, (sql) => sql`select ridgeline.publish_workflow(${id})`);
const switchTo = (user: string, id: string, active: boolean) =>
  as(
    user,
    (sql) =>
      sql`update ridgeline.workflows set is_active = ${active} where id = ${id} returning is_active`,
  );
const execute = (user: string, id: string) =>
  as(
    user,
    (sql) =>
      sql<{ id: string }[]>`select (ridgeline.execute_workflow(${id}, ${
        sql.json({ contact_id: MARIA })
      })).id`,
  );
const enroll = (user: string, id: string) =>
  as(user, (sql) => sql`select ridgeline.enroll_records(${id}, array[${MARIA}])`);
const test = (user: string, id: string) =>
  as(user, (sql) => sql`select ridgeline.test_workflow(${id}, ${sql.json({ contact_id: MARIA })})`);

const forAdmins = /role: .* is for owners and admins/;
const forEditors = /role: a viewer only looks; .* is for editors/;

describe("the crew, who only look", () => {
  it("see definitions and history, and write, try and start nothing", async () => {
    const id = await draft(OLIVIA);
    await publish(OLIVIA, id);
    const [run] = await execute(OLIVIA, id);
    expect(await as(CORY, (sql) => sql`select name from ridgeline.workflows where id = ${id}`))
      .toHaveLength(1);
    expect(
      await as(
        CORY,
        (sql) => sql`select from ridgeline.get_execution_history(workflow_id => ${id})`,
      ),
    )
      .toHaveLength(1);
    expect(
      await as(CORY, (sql) => sql`select ridgeline.validate_workflow(${id}) ->> 'valid' as valid`),
    )
      .toEqual([{ valid: "true" }]);
    await expect(draft(CORY)).rejects.toThrow(/row-level security/);
    expect(
      await as(
        CORY,
        (sql) => sql`update ridgeline.workflows set name = 'Mine' where id = ${id} returning id`,
      ),
    )
      .toHaveLength(0);
    expect(
      await as(
        CORY,
        (sql) => sql`delete from ridgeline.workflow_steps where workflow_id = ${id} returning id`,
      ),
    )
      .toHaveLength(0);
    await expect(
      as(
        CORY,
        (sql) =>
          sql`insert into ridgeline.messages (tenant_id, direction, body) values (${SUMMIT}, 'outbound', 'x')`,
      ),
    )
      .rejects.toThrow(/row-level security/);
    for (const attempt of [test, execute]) {
      await expect(attempt(CORY, id)).rejects.toThrow(forEditors);
    }
    for (const attempt of [publish, enroll]) {
      await expect(attempt(CORY, id)).rejects.toThrow(forAdmins);
    }
    await expect(as(CORY, (sql) => sql`select ridgeline.cancel_execution(${run!.id})`)).rejects
      .toThrow(forEditors);
    await expect(as(CORY, (sql) => sql`select ridgeline.retry_execution(${run!.id})`)).rejects
      .toThrow(forEditors);
    await expect(
      as(CORY, (sql) => sql`select ridgeline.trigger_workflows('manual', '{}', ${SUMMIT})`),
    )
      .rejects.toThrow(forEditors);
  });

  it("set workflows off all the same by what they write: the tenant's automation is nobody's in particular", async () => {
    const id = await draft(OLIVIA, "job_completed");
    await publish(OLIVIA, id);
    await as(
      CORY,
      (sql) => sql`update public.jobs set status = 'completed' where tenant_id = ${SUMMIT}`,
    );
    await work(sql);
    expect(await sql`select status from ridgeline.workflow_executions where workflow_id = ${id}`)
      .toEqual([{ status: "completed" }]);
  });
});

describe("sales, who draft and try", () => {
  it("publish nothing and switch nothing on or off, and keep their draft", async () => {
    const id = await draft(SAM);
    await test(SAM, id);
    await expect(publish(SAM, id)).rejects.toThrow(forAdmins);
    await expect(switchTo(SAM, id, true)).rejects.toThrow(forAdmins);
    await expect(
      as(
        SAM,
        (sql) =>
          sql`insert into ridgeline.workflows (tenant_id, name, trigger_type, is_active)
        values (${SUMMIT}, 'At once', 'manual', true)`,
      ),
    ).rejects.toThrow(forAdmins);
    await expect(
      as(SAM, (sql) => sql`update ridgeline.workflows set status = 'active' where id = ${id}`),
    )
      .rejects.toThrow(forAdmins);
    expect(await sql`select status, published_version from ridgeline.workflows where id = ${id}`)
      .toEqual([{ status: "draft", published_version: null }]);
    await publish(MANUEL, id);
    await expect(switchTo(SAM, id, false)).rejects.toThrow(forAdmins);
    // A change is a draft until somebody publishes it.
    await as(
      SAM,
      (sql) =>
        sql`update ridgeline.workflow_steps set step_config = '{"title": "Text"}' where workflow_id = ${id}`,
    );
    await expect(publish(SAM, id)).rejects.toThrow(forAdmins);
    await work(sql);
    const [run] = await execute(SAM, id);
    await work(sql);
    expect(
      await sql`select t.title from public.tasks as t, ridgeline.workflow_step_executions as s
      where s.execution_id = ${run!.id} and t.id::text = s.result_data ->> 'task_id'`,
    ).toEqual([{ title: "Call Maria" }]);
  });

  it("start, cancel and retry single runs of what was published, not many at once", async () => {
    const id = await draft(OLIVIA);
    await sql`update ridgeline.workflow_steps set delay_minutes = 10 where workflow_id = ${id}`;
    await publish(OLIVIA, id);
    const [run] = await execute(SAM, id);
    expect(await as(SAM, (sql) => sql`select (ridgeline.cancel_execution(${run!.id})).status`))
      .toEqual([{ status: "cancelled" }]);
    await expect(enroll(SAM, id)).rejects.toThrow(forAdmins);
    await expect(as(SAM, (sql) => sql`select ridgeline.move_executions(${id})`)).rejects.toThrow(
      forAdmins,
    );
    await expect(as(SAM, (sql) => sql`select ridgeline.release_workflow(${id})`)).rejects.toThrow(
      forAdmins,
    );
    expect(await enroll(MANUEL, id)).toHaveLength(1);
  });

  it("publish where the tenant says so, and where the installation does", async () => {
    const id = await draft(SAM);
    await as(
      MANUEL,
      (sql) =>
        sql`insert into ridgeline.tenant_settings (tenant_id, settings) values (${SUMMIT}, '{"editors_publish": true}')`,
    );
    await publish(SAM, id);
    await expect(publish(CORY, id)).rejects.toThrow(forAdmins);
    await sql`update ridgeline.tenant_settings set settings = '{"editors_publish": false}'`;
    await sql`update automation.settings set value = 'true' where name = 'editors_publish'`;
    await expect(switchTo(SAM, id, false)).rejects.toThrow(forAdmins);
    await sql`update ridgeline.tenant_settings set settings = '{}'`;
    expect(await switchTo(SAM, id, false)).toEqual([{ is_active: false }]);
    await sql`update automation.settings set value = 'false' where name = 'editors_publish'`;
    await expect(
      as(
        SAM,
        (sql) =>
          sql`update ridgeline.tenant_settings set settings = '{"editors_publish": true}' returning 1`,
      ),
    )
      .resolves.toHaveLength(0);
  });
});

it("who was suspended is nobody, and who is promoted is it in the same moment", async () => {
  const id = await draft(OLIVIA);
  await expect(publish(LENA, id)).rejects.toThrow(/workflow_id: .* was not found/);
  await sql`update public.tenant_users set role = 'office_manager' where user_id = ${SAM}`;
  await publish(SAM, id);
  await sql`update public.tenant_users set status = 'suspended' where user_id = ${SAM}`;
  await expect(publish(SAM, id)).rejects.toThrow(/was not found/);
  expect(await as(SAM, (sql) => sql`select from ridgeline.workflows`)).toHaveLength(0);
});

it("roles may stand inside a JSON column, as in Supabase's auth.users, and so may the tenant and who is active", async () => {
  await sql.unsafe(`
    create table public.accounts (id uuid primary key, raw_app_meta_data jsonb not null);
    insert into public.accounts values
      ('${OLIVIA}', '{"role": "Boss", "office": {"id": "${SUMMIT}"}, "state": "on"}'),
      ('${SAM}', '{"role": "sales", "office": {"id": "${SUMMIT}"}, "state": "on"}'),
      ('${CORY}', '{"role": "sales", "office": {"id": "${SUMMIT}"}, "state": "off"}'),
      ('${LENA}', '{"role": "sales", "office": {"id": "${SUMMIT}"}, "state": "on", "left_at": "2026-01-01"}')`);
  await sql`select automation.attach_members('public.accounts', '{"user": "id", "tenant": "raw_app_meta_data.office.id",
    "role": "raw_app_meta_data.role", "active": "raw_app_meta_data.state", "deleted": "raw_app_meta_data.left_at"}',
    roles => '{"boss": "owner", "sales": "editor"}', active => '["on"]')`;
  expect(
    await sql`select user_id, role from automation.read_members(array[${SUMMIT}]::uuid[], null) order by role desc`,
  )
    .toEqual([{ user_id: OLIVIA, role: "owner" }, { user_id: SAM, role: "editor" }]);
  const id = await draft(SAM);
  await expect(publish(SAM, id)).rejects.toThrow(forAdmins);
  await publish(OLIVIA, id);
  await sql`
    update public.accounts set raw_app_meta_data = raw_app_meta_data || '{"role": "boss"}' where id = ${SAM}`;
  await switchTo(SAM, id, false);
  expect(
    await sql`select before ->> 'role' as was, after ->> 'role' as is_now from ridgeline.changes
      where relation = 'public.accounts' and tenant_id = ${SUMMIT}`,
  ).toEqual([{ was: "sales", is_now: "boss" }]);
  // Known by a key inside it, too.
  await sql`update public.accounts set raw_app_meta_data = raw_app_meta_data || jsonb_build_object('uid', id)`;
  await sql`select automation.attach_members('public.accounts', '{"user": "raw_app_meta_data.uid",
    "tenant": "raw_app_meta_data.office.id", "role": "raw_app_meta_data.role"}')`;
  expect(await as(CORY, (sql) => sql`select from ridgeline.workflows limit 1`)).toHaveLength(1);
});

it("of several rows of somebody the highest role counts", async () => {
  await sql.unsafe(`
    create table public.seats (tenant_id uuid, user_id uuid, role text);
    insert into public.seats values ('${SUMMIT}', '${SAM}', 'viewer'), ('${SUMMIT}', '${SAM}', 'owner'),
      ('${SUMMIT}', '${SAM}', 'editor'), ('${SUMMIT}', '${CORY}', 'editor'), ('${SUMMIT}', '${CORY}', 'viewer')`);
  await sql`select automation.attach_members('public.seats')`;
  await publish(SAM, await draft(SAM));
  await expect(publish(CORY, await draft(CORY))).rejects.toThrow(forAdmins);
});

it("that a key set somebody's row to nobody is on record as the end of a membership", async () => {
  await sql.unsafe(`
    create table public.logins (id uuid primary key);
    insert into public.logins values ('${SAM}');
    create table public.chairs (
      id integer primary key, tenant_id uuid, user_id uuid references public.logins on delete set null, role text);
    insert into public.chairs values (1, '${SUMMIT}', '${SAM}', 'editor'), (2, '${SUMMIT}', null, 'editor');
    select automation.attach_members('public.chairs');
    delete from public.logins;
    update public.chairs set role = 'admin' where id = 2`);
  expect(
    await sql`select tenant_id, record_id, operation, before, after from ridgeline.changes where relation = 'public.chairs'`,
  ).toEqual([{
    tenant_id: SUMMIT,
    record_id: SAM,
    operation: "update",
    before: { user: SAM, role: "editor" },
    after: { user: null, role: "editor" },
  }]);
});

it("and a tenant's settings; but not its key", async () => {
  await sql`alter table public.tenants add details jsonb`;
  await sql`update public.tenants set details = '{"ridgeline": {"locale": "es-US"}, "gone": true}' where id = ${SUMMIT}`;
  await expect(sql`select automation.attach_tenants('public.tenants', '{"id": "details.id"}')`)
    .rejects.toThrow(/columns\.id: "details\.id" is inside a JSON column/);
  await sql`select automation.attach_tenants('public.tenants', '{"settings": "details.ridgeline", "deleted": null}')`;
  expect(
    await sql`select settings ->> 'locale' as locale from automation.read_offices(array[${SUMMIT}]::uuid[])`,
  )
    .toEqual([{ locale: "es-US" }]);
  await sql`select automation.attach_tenants('public.tenants', '{"deleted": "details.gone"}')`;
  expect(await sql`select name from automation.read_tenants(null)`).toEqual([{ name: "lakeside" }]);
  expect(await sql`select automation.tenant_state(${SUMMIT}) as state`).toEqual([{
    state: "deleted",
  }]);
});

it("a tenant counts as deleted by what can say so, and by what it says", async () => {
  await sql.unsafe(`
    alter table public.tenants add is_active smallint default 1, add enabled timestamptz default now(),
      add settings jsonb default '{"is_active": true, "gone": 0, "left": ""}', add "a.b" boolean default true`);
  const attach = (deleted: string) =>
    sql`select automation.attach_tenants('public.tenants', ${sql.json({ deleted })})`;
  const here = async () =>
    (await sql`
      select t.name from automation.read_tenants(null) as t where automation.tenant_state(t.id) = 'here' order by 1`)
      .map(({ name }) => name);
  await sql`select automation.attach_tenants('public.tenants', '{"deleted": null}')`;
  const all = await here();
  expect(all).toEqual(["lakeside", "summit"]);
  const said: Record<string, string[]> = {};
  const columns = [
    "settings.is_active",
    "settings.gone",
    "settings.left",
    "settings.nothing",
    "enabled",
  ];
  for (const column of columns) {
    await attach(column);
    said[column] = await here();
  }
  expect(said).toEqual(Object.fromEntries(columns.map((column) => [column, all])));
  await expect(attach("is_active")).rejects.toThrow(
    /deleted "is_active" is smallint; it must be boolean, a date or a timestamp/,
  );
  await expect(
    sql`select automation.attach_members('public.tenants', '{"tenant": "id", "user": "id",
    "deleted": "is_active"}')`,
  ).rejects.toThrow(/deleted "is_active" is smallint/);
  await expect(attach("a.b")).rejects.toThrow(/the name of the column "a\.b" has a dot/);
  const further = [{ relation: "public.tenants", key: "id", columns: { full_name: "a.b" } }];
  for (
    const [columns, rest, key] of [
      [{ deleted: "a.b" }, [], "deleted"],
      [{ active: "a.b" }, [], "active"],
      [{ deleted: null }, further, "full_name"],
    ] as const
  ) {
    await expect(
      sql`select automation.attach_members('public.tenants', ${
        sql.json({ tenant: "id", user: "id", ...columns })
      }, further => ${sql.json(rest as never)})`,
    ).rejects.toThrow(`columns.${key}: the name of the column "a.b" has a dot`);
  }
  const gone = async (key: string, words: unknown[]) => {
    await attach(`settings.${key}`);
    const found: unknown[] = [];
    for (const word of words) {
      await sql`update public.tenants set settings = ${
        sql.json({ [key]: word } as never)
      } where id = ${SUMMIT}`;
      if ((await here()).length === 1) found.push(word);
    }
    return found;
  };
  const no = [false, 0, "False", "FALSE", "f", "no", "N", "off", "0", " false "];
  const yes = [true, 1, "True", "t", "yes", "Y", "on", "1"];
  const unknown = [null, "", "never", "maybe", "0000-00-00"];
  const times = ["2026-11-03T15:00:00Z", "11/03/2026", "Tue Nov 3 2026", 1793718000];
  expect(await gone("gone", [...no, ...unknown, ...yes, ...times])).toEqual([...yes, ...times]);
  expect(await gone("is_active", [...yes, ...unknown, ...times, ...no])).toEqual(no);
});

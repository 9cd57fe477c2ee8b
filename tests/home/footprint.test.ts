// Ridgeline moves into somebody else's database, works there for a day, and leaves without a trace.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import type { Sql, TransactionSql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { uninstall } from "../../scripts/lib/schema.ts";
import { connect, using } from "../../scripts/lib/scratch.ts";
import {
  attachHost,
  createProject,
  fillHost,
  type Host,
  installEngine,
  JOB,
  LOPEZ_ROOF,
  MARIA,
  OWNER,
  publish,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";

const root = path.resolve(import.meta.dirname, "../..");
const read = (file: string) =>
  fs.readFileSync(path.join(import.meta.dirname, "../support", file), "utf8");

const snapshot = read("footprint.sql");

/** All that the database is besides its rows, a line a thing; a superuser reads it. */
async function footprintBy(sql: Sql | TransactionSql): Promise<string[]> {
  const rows = await sql.unsafe<{ kind: string; name: string; what: string | null }[]>(snapshot);
  return rows.map(({ kind, name, what }) => `${kind} ${name}: ${what}`);
}
const footprint = (host: Host) => using(host.adminUrl, footprintBy);

/** A sequence moves on whenever the host's own rows are written. */
const isValue = (line: string) => line.startsWith("value of a sequence ");
const shape = (lines: string[]) => lines.filter((line) => !isValue(line));
const values = (lines: string[]) => lines.filter(isValue);

function difference(before: string[], after: string[]) {
  const [was, is] = [new Set(before), new Set(after)];
  return {
    gone: before.filter((line) => !is.has(line)),
    come: after.filter((line) => !was.has(line)),
  };
}
const none = { gone: [], come: [] };

/** The dump of the host's schema, where a pg_dump of the server's version or newer is at hand. */
async function dump(host: Host): Promise<string | null> {
  const [{ version }] = await using(
    host.adminUrl,
    (sql) =>
      sql<
        [{ version: number }]
      >`select current_setting('server_version_num')::int / 10000 as version`,
  );
  const found = ["pg_dump", ...[15, 16, 17, 18].map((n) => `/usr/lib/postgresql/${n}/bin/pg_dump`)]
    .find((program) => {
      const said = spawnSync(program, ["--version"], { encoding: "utf8" });
      return said.status === 0 && Number(/ (\d+)/.exec(said.stdout)?.[1]) >= version;
    });
  if (!found) return null;
  const { status, stdout, stderr } = spawnSync(found, [
    "--schema-only",
    "--exclude-schema=supabase_migrations",
    "--dbname",
    host.adminUrl,
  ], { encoding: "utf8", maxBuffer: 50_000_000 });
  if (status !== 0) throw new Error(stderr);
  // A dump names a key of its own for \restrict each time.
  return stdout.replace(/^\\(un)?restrict .*$/gm, "");
}

/** A day of the office: leads, a project that is won, a job done, a contact deleted. */
async function aDay(sql: Sql): Promise<void> {
  await speakAs(sql, SUMMIT, "+15125550100");
  await publish(sql, SUMMIT, "contact_created", [
    ["send_sms", { body: "Thanks, {{contact.first_name}}!" }],
    ["add_tag", { tag: "texted" }],
    ["create_task", { title: "Call {{contact.first_name}}", due_in_days: 1 }, 1440],
  ]);
  await publish(sql, SUMMIT, "project_won", [
    ["send_email", { subject: "Welcome", html: "<p>Hello</p>" }],
    ["create_project", { name: "{{contact.last_name}} care" }],
    ["change_stage", { entity: "contact", stage: "customer" }],
  ]);
  await publish(sql, SUMMIT, "job_completed", [[
    "update_field",
    { field: "lead_score", value: "10" },
    60,
  ]]);
  await sql`select automation.set_clock('2026-06-01 15:00+00')`;
  await sql`
    insert into public.contacts (tenant_id, first_name, last_name, mobile_phone)
    select ${SUMMIT}, 'Lead', 'Number ' || n, '512555' || (2000 + n) from generate_series(1, 20) as n`;
  await sql`update public.projects set pipeline_stage = 'won' where id = ${LOPEZ_ROOF}`;
  await sql`update public.jobs set status = 'completed' where id = ${JOB}`;
  await sql`update public.contacts set is_deleted = true where last_name = 'Number 20'`;
  for (let hour = 0; hour < 26; hour++) {
    await work(sql);
    await sql`select automation.advance_clock('1 hour')`;
  }
}

/** What could be left of it, and the line that tells. */
const marks: [statement: string, seen: RegExp][] = [
  ["grant insert on public.contacts to anon", /^relation r public\.contacts:/],
  ["grant select (stage) on public.contacts to anon", /^column public\.contacts\.stage:/],
  ["grant create on schema public to anon", /^schema public:/],
  ["revoke all on function public.open_balance from anon", /^function open_balance/],
  ["grant usage on type public.task_priority to anon", /^type public\.task_priority:/],
  ["grant usage on language plpgsql to anon", /^language plpgsql:/],
  ["grant set on parameter work_mem to anon", /^parameter work_mem:/],
  [
    "alter default privileges in schema public revoke all on tables from anon",
    /^default privileges /,
  ],
  ["grant anon to authenticated", /^membership authenticated in anon:/],
  ["alter role anon connection limit 5", /^role anon:/],
  ["alter role anon in database :name set work_mem = '1MB'", /^setting of the database anon:/],
  ["alter role anon set work_mem = '1MB'", /^setting of the database every anon:/],
  ["alter database :name set work_mem = '1MB'", /^setting of the database -:/],
  ["alter database :name connection limit 5", /^database this:/],
  ["comment on database :name is 'x'", /^comment database /],
  ["comment on policy \"the office\" on public.invoices is 'x'", /^comment policy /],
  ["comment on trigger contacts_touch on public.contacts is 'x'", /^comment trigger /],
  [
    "comment on column public.contacts.stage is 'x'",
    /^comment table column public\.contacts\.stage:/,
  ],
  ["alter table public.contacts owner to anon", /^relation r public\.contacts:/],
  ["alter table public.contacts disable row level security", /^relation r public\.contacts:/],
  ["alter table public.contacts replica identity full", /^relation r public\.contacts:/],
  ["alter table public.contacts set (fillfactor = 90)", /^relation r public\.contacts:/],
  [
    "alter table public.contacts set (toast.autovacuum_enabled = off)",
    /^relation r public\.contacts:/,
  ],
  ["alter table public.activity_log set unlogged", /^relation r public\.activity_log:/],
  ["alter table public.contacts cluster on contacts_pkey", /^index contacts_pkey:/],
  ["alter table public.contacts alter stage set statistics 5", /^column public\.contacts\.stage:/],
  [
    "alter table public.contacts alter notes set storage external",
    /^column public\.contacts\.notes:/,
  ],
  ["alter table public.contacts alter stage set default 'x'", /^column public\.contacts\.stage:/],
  [
    "alter table public.contacts disable trigger contacts_touch",
    /^trigger public\.contacts\.contacts_touch:/,
  ],
  ["alter table public.jobs disable trigger all", /^triggers of foreign keys public\.jobs:/],
  [
    'alter policy "the office" on public.invoices using (true)',
    /^policy public\.invoices\.the office:/,
  ],
  [
    "create rule quiet as on delete to public.jobs do instead nothing",
    /^rule public\.jobs\.quiet:/,
  ],
  ["alter view public.users reset (security_barrier)", /^relation v public\.users:/],
  [
    "create statistics public.stages on stage, type from public.contacts",
    /^statistics public\.stages:/,
  ],
  ["alter function public.touch() security definer", /^function touch\(\):/],
  ["alter type public.task_priority add value 'urgent'", /^type public\.task_priority:/],
  [
    "alter sequence public.project_numbers owned by public.projects.project_number",
    /^sequence public\.project_numbers:/,
  ],
  ["create publication changes for table public.contacts", /^publication changes:/],
  ["create extension hstore", /^extension hstore:/],
  [
    "create function public.seen() returns event_trigger language plpgsql as 'begin end';" +
    "create event trigger seen on ddl_command_end execute function public.seen()",
    /^event trigger seen:/,
  ],
  [
    "create collation public.words (provider = icu, locale = 'en')",
    /^other collation public\.words:/,
  ],
  ["select lo_create(0)", /^large object /],
  // It is not taken back: the last.
  ["select nextval('public.project_numbers')", /^value of a sequence public\.project_numbers:/],
];

const captured = ["delete", "insert", "truncate", "update"].map((event) => `capture_${event}`);
const ourTriggers = Object.entries({
  appointments: captured,
  contacts: captured,
  invoices: captured,
  jobs: captured,
  projects: captured,
  tenant_users: ["members"],
  tenants: ["tenant_gone"],
}).flatMap(([table, names]) => names.map((name) => `trigger public.${table}.automation_${name}`));

describe("in a CRM that was there before", { timeout: 240_000 }, () => {
  let host: Host;
  let sql: Sql;
  beforeAll(async () => {
    host = await createProject();
    sql = connect(host.url);
    await fillHost(sql);
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  it("would be seen in whatever differs", async () => {
    await using(host.adminUrl, async (admin) => {
      const before = await footprintBy(admin);
      for (const [statement, seen] of marks) {
        await admin`begin`;
        await admin.unsafe(statement.replace(":name", host.name)).simple();
        const { gone, come } = difference(before, await footprintBy(admin));
        await admin`rollback`;
        expect([...gone, ...come], statement).toContainEqual(expect.stringMatching(seen));
      }
    });
  });

  it("installs, attaches, runs for a day, detaches and leaves: nothing of the host's is different", async () => {
    const before = await footprint(host);
    const dumped = await dump(host);

    await installEngine(sql);
    expect(difference(before, await footprint(host)), "installing").toEqual(none);

    await attachHost(sql);
    const attached = await footprint(host);
    const { gone, come } = difference(before, attached);
    expect(gone).toEqual([]);
    expect(come.map((line) => line.replace(/:.*/s, ""))).toEqual(ourTriggers);
    for (const line of come) expect(line).toMatch(/ EXECUTE FUNCTION automation\.\w+\(.*\) [OD]$/);

    await aDay(sql);
    expect(
      await sql`select step_key, error from ridgeline.workflow_step_executions where error is not null`,
    ).toEqual([]);
    expect(
      await sql`
        select w.name, e.status, e.error ->> 'code' as code, count(*)::int
        from ridgeline.workflow_executions as e join ridgeline.workflows as w using (tenant_id)
        where w.id = e.workflow_id group by 1, 2, 3 order by w.name, e.status::text`,
    ).toEqual([
      { name: "contact_created", status: "cancelled", code: "record_deleted", count: 1 },
      { name: "contact_created", status: "completed", code: null, count: 19 },
      { name: "job_completed", status: "completed", code: null, count: 1 },
      { name: "project_won", status: "completed", code: null, count: 1 },
    ]);
    const worked = await footprint(host);
    expect(difference(shape(attached), shape(worked)), "a day").toEqual(none);

    for (const { name } of await sql`select name from automation.entities`) {
      await sql`select automation.detach(${name})`;
    }
    for (const { name } of await sql`select name from automation.targets`) {
      await sql`select automation.detach_target(${name})`;
    }
    await sql`select automation.detach_tenants()`;
    await sql`select automation.detach_members()`;
    const settled = [...shape(before), ...values(worked)];
    expect(difference(settled, await footprint(host)), "detached").toEqual(none);

    await uninstall(sql);
    await sql`vacuum`;
    await sql`drop schema supabase_migrations cascade`;
    expect(difference(settled, await footprint(host)), "gone").toEqual(none);
    if (dumped !== null) expect(await dump(host)).toEqual(dumped);
    else console.log("no pg_dump of the server's version: the dumps were not compared");

    // What its own rows have become stays.
    expect(await sql`select count(*)::int as n from public.tasks where title like 'Call %'`)
      .toEqual([{ n: 19 }]);
    expect(await sql`select stage from public.contacts where id = ${MARIA}`).toEqual([{
      stage: "customer",
    }]);
    // And may move in again.
    await installEngine(sql);
    await attachHost(sql);
    await uninstall(sql);
  });
});

describe("a table of another owner", { timeout: 240_000 }, () => {
  it("is let go of by whoever may no more than put a trigger on it", async () => {
    const host = await createProject();
    const sql = connect(host.url);
    const settled = async () => {
      await using(host.adminUrl, (admin) => admin`vacuum`);
      return await footprint(host);
    };
    const attach = async () => {
      await sql`select automation.attach_tenants('public.firms')`;
      await sql`select automation.attach('public.orders', 'order')`;
    };
    try {
      await using(host.adminUrl, (admin) =>
        admin.unsafe(`
          create table public.orders (tenant_id uuid not null, id bigint primary key);
          create table public.firms (id uuid primary key, name text);
          grant all on public.orders, public.firms to ${OWNER}`).simple());
      const found = await settled();
      await installEngine(sql);
      await attach();
      await sql`select automation.detach('order')`;
      expect(difference(found, await settled()).come.map((line) => line.replace(/:.*/s, "")))
        .toEqual(["has had triggers public.firms", "trigger public.firms.automation_tenant_gone"]);
      await attach();
      await uninstall(sql);
      await sql`drop schema supabase_migrations cascade`;
      expect(difference(found, await settled())).toEqual(none);
    } finally {
      await sql.end({ timeout: 1 });
      await host.drop();
    }
  });
});

describe("leaving", { timeout: 240_000 }, () => {
  const command = (host: Host, ...more: string[]) => {
    const { status, stdout, stderr } = spawnSync(path.join(root, "scripts/uninstall"), [
      "--database-url",
      host.url,
      ...more,
    ], { encoding: "utf8", timeout: 60_000 });
    return { status, said: stdout + stderr };
  };

  it("waits for what is in flight, and for what was built on it, unless it is told otherwise", async () => {
    const host = await createProject();
    const sql = connect(host.url);
    try {
      await fillHost(sql);
      const before = await footprint(host);
      await installEngine(sql);
      await attachHost(sql);
      await publish(sql, SUMMIT, "contact_created", [["create_task", { title: "Call" }, 1440]]);
      await sql`insert into public.contacts (tenant_id, first_name, last_name) values (${SUMMIT}, 'New', 'Lead')`;
      await sql.unsafe(`
        create index contacts_by_phone_key on public.contacts (automation.phone_key(mobile_phone));
        create view public.waiting as select id from ridgeline.workflow_executions`);

      expect(command(host)).toEqual({
        status: 1,
        said: expect.stringMatching(/1 runs? (is|are) in flight: nothing was removed.*--force/),
      });
      const refused = command(host, "--force");
      expect(refused).toEqual({
        status: 1,
        said: expect.stringMatching(
          /depends on Ridgeline, so nothing was removed: .*public\.waiting/,
        ),
      });
      expect(await sql`select count(*)::int as n from ridgeline.workflow_executions`).toEqual([{
        n: 1,
      }]);
      await sql`insert into public.contacts (tenant_id, first_name, last_name) values (${SUMMIT}, 'Other', 'Lead')`;
      expect(await sql`select count(*)::int as n from public.waiting`).toEqual([{ n: 2 }]);

      // Behind somebody who holds a table nobody waits for long.
      const slow = connect(host.url, { max: 1 });
      await slow`begin`;
      await slow`select from public.contacts`;
      expect(command(host, "--force", "--cascade")).toEqual({
        status: 1,
        said: expect.stringMatching(/contacts is in use by a transaction .*: nothing was removed/),
      });
      await slow.end();

      expect(command(host, "--force", "--cascade")).toEqual({
        status: 0,
        said: "Ridgeline is gone.\n",
      });
      await sql`vacuum`;
      await sql`drop schema supabase_migrations cascade`;
      expect(difference(shape(before), shape(await footprint(host)))).toEqual(none);
      expect(command(host)).toEqual({ status: 0, said: "Ridgeline is not in this database\n" });
    } finally {
      await sql.end({ timeout: 1 });
      await host.drop();
    }
  });
});

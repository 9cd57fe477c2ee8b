// Ridgeline moves into somebody else's database, works there for a day, and leaves without a trace.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import type { Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
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
  publish,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";

const root = path.resolve(import.meta.dirname, "../..");
const read = (file: string) =>
  fs.readFileSync(path.join(import.meta.dirname, "../support", file), "utf8");

/** All that the database is besides its rows, a line a thing; a superuser reads it. */
async function footprint(host: Host): Promise<string[]> {
  const rows = await using(
    host.adminUrl,
    (sql) =>
      sql.unsafe<{ kind: string; name: string; what: string | null }[]>(read("footprint.sql")),
  );
  // Other suites of the run make databases and roles of theirs on the same server.
  return rows.map(({ kind, name, what }) => `${kind} ${name}: ${what}`);
}

const added = (before: string[], after: string[]) => {
  const known = new Set(before);
  return after.filter((line) => !known.has(line));
};

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

describe("in a CRM that was there before", { timeout: 240_000 }, () => {
  let host: Host;
  let sql: Sql;
  beforeAll(async () => {
    host = await createProject(inject("adminUrl"));
    sql = connect(host.url);
    await fillHost(sql);
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  it("installs, attaches, runs for a day, detaches and leaves: nothing of the host's is different", async () => {
    const before = await footprint(host);
    const dumped = await dump(host);

    await installEngine(sql);
    expect(added(before, await footprint(host)), "installing").toEqual([]);

    await attachHost(sql);
    const attached = added(before, await footprint(host));
    const of = (line: string) => /^trigger (\S+)\.(automation_\w+): /.exec(line)?.slice(1);
    expect(attached.filter((line) => !of(line)).filter((line) => !/^relation r .* t /.test(line)))
      .toEqual([]);
    expect([...new Set(attached.map(of).filter(Boolean).map((one) => one![0]))].toSorted()).toEqual(
      ["appointments", "contacts", "invoices", "jobs", "projects", "tenant_users", "tenants"].map((
        name,
      ) => `public.${name}`),
    );

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
    expect(added(before, await footprint(host))).toEqual(attached);

    for (const { name } of await sql`select name from automation.entities`) {
      await sql`select automation.detach(${name})`;
    }
    for (const { name } of await sql`select name from automation.targets`) {
      await sql`select automation.detach_target(${name})`;
    }
    await sql`select automation.detach_tenants()`;
    await sql`select automation.detach_members()`;
    const detached = await footprint(host);
    // That a table once had triggers Postgres remembers until it is vacuumed.
    const settled = (lines: string[]) => lines.filter((line) => !/^relation r /.test(line));
    expect(added(settled(before), settled(detached)), "detached").toEqual([]);

    await uninstall(sql);
    await sql`vacuum`;
    await sql`drop schema supabase_migrations cascade`;
    expect(await footprint(host)).toEqual(before);
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

describe("leaving", { timeout: 240_000 }, () => {
  const command = (host: Host, ...more: string[]) => {
    const { status, stdout, stderr } = spawnSync(path.join(root, "scripts/uninstall"), [
      "--database-url",
      host.url,
      ...more,
    ], { encoding: "utf8" });
    return { status, said: stdout + stderr };
  };

  it("waits for what is in flight, and for what was built on it, unless it is told otherwise", async () => {
    const host = await createProject(inject("adminUrl"));
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

      expect(command(host, "--force", "--cascade")).toEqual({
        status: 0,
        said: "Ridgeline is gone.\n",
      });
      await sql`vacuum`;
      await sql`drop schema supabase_migrations cascade`;
      expect(await footprint(host)).toEqual(before);
      expect(command(host)).toEqual({ status: 0, said: "Ridgeline is not in this database\n" });
    } finally {
      await sql.end({ timeout: 1 });
      await host.drop();
    }
  });
});

// Tables whose rows several columns tell apart, and a restore by a role that is no superuser: both say what to do.
import { afterAll, beforeAll, expect, test } from "vitest";
import { connect, using } from "../../scripts/lib/scratch.ts";
import { createHost, createProject, installEngine } from "../support/host.ts";

let host: Awaited<ReturnType<typeof createHost>>;
beforeAll(async () => {
  host = await createHost();
  await host.sql.unsafe(`
    create table public.visits (
      tenant_id uuid not null, job integer, day date, notes text, primary key (tenant_id, job, day));
    create table public.pairs (tenant_id uuid not null, a integer, b integer, id uuid default gen_random_uuid(),
      primary key (a, b));
    create table public.numbered (tenant_id uuid not null, id integer, name text, primary key (tenant_id, id));
    create table public.both (
      tenant_id uuid not null, a integer, b integer, key uuid not null default gen_random_uuid() unique,
      primary key (a, b))`);
});
afterAll(() => host.drop());

const attach = (table: string, columns: object = {}) =>
  host.sql`select automation.attach(${table}::regclass, ${table.split(".")[1] ?? ""}, ${
    host.sql.json(columns as never)
  })`;

test.each<[string, object, RegExp]>([
  ["public.visits", {}, /told apart by tenant_id, job, day together/],
  ["public.visits", { id: "job" }, /told apart by tenant_id, job, day together/],
  ["public.visits", { id: ["job", "day"] }, /told apart by tenant_id, job, day together/],
  ["public.pairs", {}, /told apart by a, b together/],
])("%s with %j is refused before anything is generated", async (table, columns, says) => {
  await expect(attach(table, columns)).rejects.toMatchObject({
    message: expect.stringMatching(says),
    hint: expect.stringContaining("unique by itself"),
  });
  expect(await host.sql`select tgname from pg_trigger where tgrelid = ${table}::regclass`).toEqual(
    [],
  );
});

test.each<[string, object]>([
  ["public.numbered", {}],
  ["public.both", { id: "key" }],
])("%s with %j is not", async (table, columns) => {
  await attach(table, columns);
  await host.sql`select automation.detach(${table.split(".")[1] ?? ""})`;
});

test.each<[string, RegExp]>([
  [
    "user",
    /"user" is the member who is responsible wherever a workflow says so; .* such as "crm_user"/,
  ],
  ["tenant", /"tenant" is the office/],
  ["old", /"old" is the record as it was/],
  ["call", /"call" is a record of Ridgeline's own \(ridgeline\.calls\); .* such as "crm_call"/],
  ["form_submission", /ridgeline\.form_submissions/],
])("a table that is to be called %s is told that the name is taken", async (name, says) => {
  await expect(host.sql`select automation.attach('public.numbered', ${name})`).rejects.toThrow(
    says,
  );
  expect(
    await host.sql`select relation from automation.entities where relation = 'public.numbered'`,
  ).toEqual([]);
});

test("and so is what a record belongs to: who wrote it is another question than whose it is", async () => {
  await expect(
    host.sql`select automation.attach('public.numbered', 'numbered', '{"user": "name"}')`,
  )
    .rejects.toThrow(/columns: "user" is the member who is responsible/);
});

test("a restore by a role that may not switch triggers off says what to grant; with it, it goes", async () => {
  const owner = "modest_owner";
  const project = await createProject({ owner });
  const sql = connect(project.url);
  try {
    await installEngine(sql);
    await expect(sql`select automation.begin_restore()`).rejects.toMatchObject({
      code: "42501",
      hint: expect.stringContaining(`grant set on parameter session_replication_role to ${owner}`),
    });
    await using(
      project.adminUrl,
      (admin) => admin.unsafe(`grant set on parameter session_replication_role to ${owner}`),
    );
    await sql.begin(async (own) => {
      await own`select automation.begin_restore()`;
      await own`
        insert into ridgeline.workflows (tenant_id, name, trigger_type)
        values ('0a000000-0000-4000-8000-000000000001', 'Of the dump', 'manual')`;
      const [{ said }] = await own<[{ said: { workflows: number } }]>`
        select automation.end_restore() as said`;
      expect(said).toMatchObject({ workflows: 1 });
    });
    expect(await sql`select count(*)::int as types from automation.step_types`).toEqual([{
      types: 18,
    }]);
  } finally {
    await using(
      project.adminUrl,
      (admin) => admin.unsafe(`revoke set on parameter session_replication_role from ${owner}`),
    );
    await sql.end({ timeout: 1 });
    await project.drop();
  }
});

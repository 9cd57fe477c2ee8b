// The platform's own command line, on a project that has a CRM: the engine's migration alone, as the role that owns it.
import { afterAll, beforeAll, expect, it } from "vitest";
import { migrationFiles, uninstall } from "../../scripts/lib/schema.ts";
import { using } from "../../scripts/lib/scratch.ts";
import { attachHost, createProject, fillHost, type Host } from "../support/host.ts";
import { createPushing, type Pushing } from "../support/push.ts";

let host: Host;
let project: Pushing;
beforeAll(async () => {
  host = await createProject();
  await using(host.url, fillHost);
  project = createPushing(host.url);
  // The CRM's own, made after ours and pushed before them.
  const [own, made] = ["29991231235959", "create table public.crews (id bigint primary key)"];
  project.write(`${own}_crews.sql`, made);
  await using(host.url, (sql) =>
    sql.unsafe(`${made};
      create schema supabase_migrations;
      create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
      insert into supabase_migrations.schema_migrations (version, name) values ('${own}', 'crews')`));
  project.add(...[...migrationFiles().keys()].filter((name) => !name.includes("_reference_crm")));
});
afterAll(async () => {
  project.remove();
  await host.drop();
});

it("is pushed, attached, pushed again, taken out, and pushed anew", async () => {
  expect(await project.push()).toEqual({
    status: 0,
    said: expect.stringMatching(/Applying migration \S+_ridgeline\.sql/),
  });
  await using(host.url, async (sql) => {
    await attachHost(sql);
    expect(
      await sql`select rolname from pg_namespace join pg_roles on pg_roles.oid = nspowner
      where nspname in ('ridgeline', 'automation')`,
    ).toEqual([{ rolname: "host_owner" }, { rolname: "host_owner" }]);
  });
  expect(await project.push()).toEqual({ status: 0, said: expect.stringMatching(/up to date/) });
  await using(host.url, (sql) => uninstall(sql));
  expect(await project.push()).toEqual({
    status: 0,
    said: expect.stringMatching(/Applying migration \S+_ridgeline\.sql/),
  });
}, 120_000);

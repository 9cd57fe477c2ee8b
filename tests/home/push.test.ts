// The platform's own command line, on a project that has a CRM: the engine's migration alone, as the role that owns it.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { uninstall } from "../../scripts/lib/schema.ts";
import { using } from "../../scripts/lib/scratch.ts";
import { attachHost, createProject, fillHost, type Host } from "../support/host.ts";

const root = path.resolve(import.meta.dirname, "../..");
let host: Host;
let project: string;
beforeAll(async () => {
  host = await createProject();
  await using(host.url, fillHost);
  project = fs.mkdtempSync(path.join(os.tmpdir(), "ridgeline-host-"));
  fs.cpSync(path.join(root, "supabase"), path.join(project, "supabase"), {
    recursive: true,
    filter: (file) => !file.includes("_reference_crm"),
  });
});
afterAll(async () => {
  fs.rmSync(project, { recursive: true, force: true });
  await host.drop();
});

function push(): { status: number | null; said: string } {
  const { status, stdout, stderr } = spawnSync(
    path.join(root, "node_modules/.bin/supabase"),
    ["db", "push", "--db-url", `${host.url}?sslmode=disable`, "--yes"],
    {
      cwd: project,
      encoding: "utf8",
      env: { ...process.env, DO_NOT_TRACK: "1", SUPABASE_TELEMETRY_DISABLED: "1" },
      timeout: 60_000,
    },
  );
  return { status, said: stdout + stderr };
}

it("is pushed, attached, pushed again, taken out, and pushed anew", async () => {
  expect(push()).toEqual({
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
  expect(push()).toEqual({ status: 0, said: expect.stringMatching(/up to date/) });
  await using(host.url, (sql) => uninstall(sql));
  expect(push()).toEqual({
    status: 0,
    said: expect.stringMatching(/Applying migration \S+_ridgeline\.sql/),
  });
}, 120_000);

// The platform's own command line, as a user would run it on a project that is new.
import { spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, inject, it } from "vitest";
import { z } from "zod";
import { createDatabase, dropDatabase, using } from "../../scripts/lib/scratch.ts";

const root = path.resolve(import.meta.dirname, "../..");
const name = `platform_${randomBytes(6).toString("hex")}`;
let databaseUrl: string;
let project: string;

function supabase(...args: string[]): { status: number | null; output: string; stdout: string } {
  const { status, stdout, stderr } = spawnSync(
    path.join(root, "node_modules/.bin/supabase"),
    [...args, "--db-url", `${databaseUrl}?sslmode=disable`, "--yes"],
    {
      cwd: project,
      encoding: "utf8",
      env: { ...process.env, DO_NOT_TRACK: "1", SUPABASE_TELEMETRY_DISABLED: "1" },
      timeout: 60_000,
    },
  );
  return { status, stdout, output: stdout + stderr };
}

beforeAll(async () => {
  databaseUrl = await createDatabase(inject("adminUrl"), name);
  // The command line leaves files of its own in the project.
  project = fs.mkdtempSync(path.join(os.tmpdir(), "ridgeline-project-"));
  fs.cpSync(path.join(root, "supabase"), path.join(project, "supabase"), { recursive: true });
});
afterAll(async () => {
  fs.rmSync(project, { recursive: true, force: true });
  await dropDatabase(inject("adminUrl"), name);
});

const Advice = z.object({
  results: z.array(z.object({ name: z.string(), level: z.string(), detail: z.string() })),
});

/** What the advisors are told is meant so, each kind with its reason. */
const MEANT: Record<string, { why: string; about?: RegExp }> = {
  unindexed_foreign_keys: {
    why:
      "the advisor wants the key's columns first and in its order; only primary keys lead with " +
      "the tenant here, and each key is covered in another order (tests/database/security)",
  },
  unused_index: { why: "the database was made a moment ago: nothing has been asked of it" },
  function_search_path_mutable: {
    why:
      "bodies that were bound when they were created, hot ones that must be inlined, and procedures " +
      "that commit; what REST embeds by: every name in them is qualified, and none runs with its owner's rights " +
      "(tests/database/security, scripts/lint-sql.ts)",
    about: /`automation\.|`ridgeline\.(scheduled_steps|workflow_executions|workflow_versions)`/,
  },
  rls_enabled_no_policy: {
    why: "tables of the engine's own, which no role of the API has a grant on",
    about: /`automation\./,
  },
};

/** The connection ends in the middle of the first migration. */
const cut = `
  create function public.cut() returns event_trigger language plpgsql as $$
  begin
    if exists (
      select from pg_event_trigger_ddl_commands() as c
      where c.object_identity = 'ridgeline.workflow_executions')
    then
      perform pg_terminate_backend(pg_backend_pid());
    end if;
  end $$;
  create event trigger cut on ddl_command_end when tag in ('CREATE TABLE') execute function public.cut()`;

describe("the platform's command line", { timeout: 180_000 }, () => {
  it("leaves nothing of a push that is broken off", async () => {
    await using(databaseUrl, (sql) => sql.unsafe(cut));
    const broken = supabase("db", "push");
    expect(broken.output).toMatch(/Applying migration \S+_ridgeline\.sql/);
    expect(broken.status).not.toBe(0);
    await using(databaseUrl, async (sql) => {
      expect(
        await sql`select to_regnamespace('automation') as engine, count(*)::int as pushed
          from supabase_migrations.schema_migrations`,
      ).toEqual([{ engine: null, pushed: 0 }]);
      await sql.unsafe("drop event trigger cut; drop function public.cut()");
    });
  });

  it("pushes the migrations once, and says so", () => {
    const dry = supabase("db", "push", "--dry-run");
    expect(dry.status, dry.output).toBe(0);
    expect(dry.output).toMatch(/Would push these migrations:[^]*ridgeline\.sql/);
    const pushed = supabase("db", "push");
    expect(pushed.status, pushed.output).toBe(0);
    const again = supabase("db", "push");
    expect(again.output).toMatch(/up to date/);
  });

  it("has no advice but what is meant so", () => {
    const answer = supabase("db", "advisors", "--level", "info", "--output-format", "json");
    expect(answer.status, answer.output).toBe(0);
    const { results } = Advice.parse(JSON.parse(answer.stdout));
    const unexplained = results.filter(({ name, detail }) => {
      const meant = MEANT[name];
      return !meant || !(meant.about ?? /./).test(detail);
    });
    expect(unexplained.map(({ level, name, detail }) => `${level} ${name}: ${detail}`)).toEqual([]);
    for (const [kind, { why }] of Object.entries(MEANT)) {
      const found = results.filter((one) => one.name === kind).length;
      console.log(`${String(found).padStart(4)} x ${kind}: ${why}`);
    }
  });
});

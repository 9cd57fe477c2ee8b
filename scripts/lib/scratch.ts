// Databases for tests and checks: one template made from sql/, cloned in milliseconds.
import postgres, { type Options, type PostgresType, type Sql } from "postgres";
import {
  embeddedBinaries,
  PostgresServer,
  temporaryDirectory,
  throwawaySettings,
} from "./postgres.ts";
import fs from "node:fs";
import path from "node:path";
import { applySource, bootstrap, settleForDevelopment } from "./schema.ts";

export type ClientOptions = Options<Record<string, PostgresType>>;

/** A client that stays quiet about notices such as "already exists, skipping". */
export function connect(url: string, options: ClientOptions = {}): Sql {
  return postgres(url, { onnotice: () => {}, max: 4, ...options });
}

export async function using<T>(url: string, work: (sql: Sql) => Promise<T>): Promise<T> {
  const sql = connect(url, { max: 1 });
  try {
    return await work(sql);
  } finally {
    await sql.end({ timeout: 5 });
  }
}

export const templateName = "ridgeline_template";

/** A server in a temporary directory, with the test clock on; stop() removes it. */
export async function startScratchServer(
  { binaries = embeddedBinaries(), settings = {} }: {
    binaries?: string;
    settings?: Record<string, string>;
  } = {},
): Promise<{ server: PostgresServer; stop: () => Promise<void> }> {
  const directory = temporaryDirectory("scratch");
  const server = new PostgresServer({
    binaries,
    dataDirectory: path.join(directory, "data"),
    settings: {
      ...throwawaySettings,
      "automation.test_clock": "on",
      // Tests run at any hour; those that tell of quiet hours turn them on.
      "automation.quiet_hours": "off",
      ...settings,
    },
  });
  const stop = async () => {
    await server.stop("immediate");
    fs.rmSync(directory, { recursive: true, force: true });
  };
  try {
    await server.start();
  } catch (error) {
    await stop();
    throw error;
  }
  return { server, stop };
}

/** Creates a database as a new project finds it on the platform, empty but for its bootstrap. */
export async function createDatabase(adminUrl: string, name: string): Promise<string> {
  await using(adminUrl, (sql) => sql.unsafe(`create database ${name}`));
  const url = inDatabase(adminUrl, name);
  await using(url, bootstrap);
  return url;
}

export function inDatabase(url: string, name: string): string {
  const changed = new URL(url);
  changed.pathname = `/${name}`;
  return changed.href;
}

/** The template that cloneDatabase copies; `prepare` runs before sql/ does. */
export async function createTemplate(
  adminUrl: string,
  prepare: (sql: Sql) => Promise<unknown> = async () => {},
): Promise<void> {
  const url = await createDatabase(adminUrl, templateName);
  await using(url, async (sql) => {
    await prepare(sql);
    await applySource(sql);
    // Tests tell of many tenants and one stand-in; those about senders say otherwise.
    await settleForDevelopment(sql);
  });
}

// Files are copied: through the buffers and the log, as is the default, it takes half as much again of a processor.
export async function cloneDatabase(adminUrl: string, name: string): Promise<string> {
  const copied = `create database ${name} template ${templateName} strategy file_copy`;
  await using(adminUrl, (sql) => sql.unsafe(copied));
  return inDatabase(adminUrl, name);
}

export async function dropDatabase(adminUrl: string, name: string): Promise<void> {
  await using(adminUrl, (sql) => sql.unsafe(`drop database if exists ${name} with (force)`));
}

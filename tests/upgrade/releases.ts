// A release as it was: its migrations, which never change, and its Edge Functions as one file without their libraries.
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { inject } from "vitest";
import {
  draftMigration,
  draftScript,
  handwritten,
  writtenRoutines,
} from "../../scripts/lib/draft.ts";
import {
  migrationFile,
  migrationFiles,
  migrations,
  readReleases,
  type Releases,
  runScript,
  schemaScript,
} from "../../scripts/lib/schema.ts";
import { connect, createDatabase, dropDatabase, using } from "../../scripts/lib/scratch.ts";

export interface Upgrade {
  /** The release that a database has. */
  from: string;
  /** Its migrations, and those that it lacks. */
  before: string[];
  after: string[];
}

/** The last release, and what comes after it; where nothing does yet, the one before it, and the last. */
export function upgradeOf(releases: Releases, files: readonly string[]): Upgrade {
  const upTo = (count: number) =>
    new Set(Object.values(releases).slice(0, count).flatMap((one) => Object.keys(one)));
  const count = Object.keys(releases).length;
  const isOpen = files.some((file) => !upTo(count).has(file));
  const had = upTo(isOpen ? count : count - 1);
  const from = Object.keys(releases)[(isOpen ? count : count - 1) - 1];
  if (from === undefined) throw new Error("there is no release to upgrade from");
  const sorted = files.toSorted();
  return {
    from,
    before: sorted.filter((file) => had.has(file)),
    after: sorted.filter((file) => !had.has(file)),
  };
}

const files = migrationFiles();
export const upgrade = upgradeOf(readReleases(), [...files.keys()]);
export const isEngine = (file: string) => !file.includes("_reference_crm");

const scriptsOf = (names: readonly string[]) => names.map((name) => files.get(name)!);
/** What was pushed of the release before, what `supabase db push` would apply to it, and of either the engine's alone. */
export const previousScripts = scriptsOf(upgrade.before);
export const shippedScripts = scriptsOf(upgrade.after);
export const previousEngine = scriptsOf(upgrade.before.filter(isEngine));
export const shippedEngine = scriptsOf(upgrade.after.filter(isEngine));

export const sourceScripts = () => [schemaScript("engine"), schemaScript("crm")];

const ours = ["automation", "ridgeline"];
const theirs = ["public", "ridgeline_crm"];

/** What no draft can know comes before it: data to be moved, columns that change their type. */
const byHand = migrations.map((one) => migrationFile(one))
  .filter((file) => upgrade.after.includes(path.basename(file)))
  .map((file) => handwritten(file)).join("\n");

export async function scratchDatabase(
  scripts: readonly string[],
  adminUrl: string = inject("adminUrl"),
) {
  const name = `upgrade_${randomBytes(6).toString("hex")}`;
  const url = await createDatabase(adminUrl, name);
  await using(url, async (sql) => {
    for (const script of scripts) await runScript(sql, script);
  });
  const sql = connect(url);
  return {
    url,
    sql,
    drop: async () => {
      await sql.end({ timeout: 1 });
      await dropDatabase(adminUrl, name);
    },
  };
}

/** The migration from the release before to today's sql/, as scripts/migrations --new begins it. */
export async function nextMigration(): Promise<{ statements: string[]; script: string }> {
  const [before, after] = [
    await scratchDatabase([...previousScripts, byHand]),
    await scratchDatabase(sourceScripts()),
  ];
  try {
    const written = writtenRoutines([...previousScripts, ...sourceScripts()].join("\n"));
    const engine = await draftMigration(before.sql, after.sql, ours, written);
    const crm = await draftMigration(before.sql, after.sql, theirs, written);
    const { beside, statements, afterwards, byHand: left } = {
      beside: [...engine.beside, ...crm.beside],
      statements: [...engine.statements, ...crm.statements],
      afterwards: [...engine.afterwards, ...crm.afterwards],
      byHand: [...engine.byHand, ...crm.byHand],
    };
    if (left.length > 0) {
      throw new Error(
        `to be written by hand, at the head of the next migration:\n${left.join("\n")}`,
      );
    }
    return {
      statements: [...beside, ...statements],
      script: byHand + draftScript({ beside, statements, afterwards, byHand: [] }),
    };
  } finally {
    await before.drop();
    await after.drop();
  }
}

/** The Edge Functions of the release before, put together as in their index files. */
export async function oldFunctions<T>(): Promise<T> {
  const file = path.join(import.meta.dirname, "releases", upgrade.from, "functions.mjs");
  if (!fs.existsSync(file)) {
    throw new Error(
      `${file} is missing: bundle the functions of ${upgrade.from} (CONTRIBUTING.md)`,
    );
  }
  return await import(file) as T;
}

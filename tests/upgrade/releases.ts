// A release as it was: its migrations, and its Edge Functions as one file without their libraries.
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import zlib from "node:zlib";
import { inject } from "vitest";
import {
  draftMigration,
  draftScript,
  handwritten,
  writtenRoutines,
} from "../../scripts/lib/draft.ts";
import { migrationFile, runScript, schemaScript, unreleased } from "../../scripts/lib/schema.ts";
import { connect, createDatabase, dropDatabase, using } from "../../scripts/lib/scratch.ts";

export const previous = "1.0.0-rc";
const directory = path.join(import.meta.dirname, "releases", previous);

/** The migrations of the release before this one: the engine's, and the reference CRM's. */
export const previousScripts: string[] = fs.readdirSync(directory)
  .filter((name) => name.endsWith(".sql.gz")).sort()
  .map((name) => zlib.gunzipSync(fs.readFileSync(path.join(directory, name))).toString("utf8"));

export const sourceScripts = () => [schemaScript("engine"), schemaScript("crm")];

const ours = ["automation", "ridgeline"];
const theirs = ["public", "ridgeline_crm"];

/** What no draft can know comes before it: data to be moved, columns that change their type. */
const byHand = unreleased().map((one) => handwritten(migrationFile(one))).join("\n");

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
  return await import(path.join(directory, "functions.mjs")) as T;
}

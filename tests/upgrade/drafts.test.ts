// How the next migration is made: drafted from the difference, and nothing of it can be forgotten.
import { beforeAll, expect, it } from "vitest";
import { contents, fingerprint } from "../../scripts/lib/fingerprint.ts";
import { nextMigration, previousScripts, scratchDatabase, sourceScripts } from "./releases.ts";

/** As in fingerprint(), but wherever a column stands: a migration adds it at the end. */
const unordered = (lines: string[]) =>
  lines.map((line) => line.replace(/^(column \S+) \d+ /, "$1 ")).sort();

async function builtFrom(...scripts: string[]) {
  const { sql, drop } = await scratchDatabase(scripts);
  try {
    return { lines: unordered(await fingerprint(sql)), rows: await contents(sql) };
  } finally {
    await drop();
  }
}

let next: Awaited<ReturnType<typeof nextMigration>>;
let source: Awaited<ReturnType<typeof builtFrom>>;
beforeAll(async () => {
  next = await nextMigration();
  source = await builtFrom(...sourceScripts());
});

it("the release before and the next migration build what sql/ says", async () => {
  const upgraded = await builtFrom(...previousScripts, next.script);
  expect(upgraded.lines).toEqual(source.lines);
  for (const [table, rows] of Object.entries(source.rows)) {
    expect([table, upgraded.rows[table]]).toEqual([table, rows]);
  }
});

it.each([
  ["a function", /^create or replace function/i],
  ["a comment", /^comment on column/],
  ["a grant", /^revoke all/],
  ["a constraint", /^alter table \S+ add constraint/],
])("%s that was forgotten is seen", async (_name, pattern) => {
  const forgotten = next.statements.find((statement) => pattern.test(statement));
  expect(forgotten).toBeDefined();
  const script = next.script.replace(`${forgotten!.trimEnd()};`, "");
  // The next statement that needs it may say so first.
  const lines = await builtFrom(...previousScripts, script).then((built) => built.lines, String);
  expect(lines).not.toEqual(source.lines);
});

// How the next migration is made: drafted from the difference, and nothing of it can be forgotten.
import { beforeAll, expect, it } from "vitest";
import { contents, fingerprint } from "../../scripts/lib/fingerprint.ts";
import { draftMigration, draftScript, writtenRoutines } from "../../scripts/lib/draft.ts";
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

// What a release has none of today, and may have tomorrow.
const rare = `
create or replace function automation.times(a numeric, b numeric) returns numeric
  language sql immutable parallel safe set search_path = pg_catalog, pg_temp as 'select a * b';
create aggregate automation.product(numeric) (
  sfunc = automation.times, stype = numeric, initcond = '1', parallel = safe);
create or replace function automation.watch_schema() returns event_trigger
  language plpgsql set search_path = pg_catalog, pg_temp as 'begin end';
create event trigger ridgeline_watch on ddl_command_end when tag in ('DROP TABLE') execute function automation.watch_schema();
alter default privileges in schema ridgeline grant select on tables to service_role;
grant truncate on ridgeline.messages to service_role;`;

it("aggregates, event triggers and default privileges are drafted like the rest, and taken back", async () => {
  const own = ["automation", "ridgeline"];
  const [plain, richer] = [
    await scratchDatabase(sourceScripts()),
    await scratchDatabase([...sourceScripts(), rare]),
  ];
  try {
    const written = writtenRoutines([...sourceScripts(), rare].join("\n"));
    const [before, wanted] = [await fingerprint(plain.sql), await fingerprint(richer.sql)];
    expect(wanted.length).toBeGreaterThan(before.length);
    await plain.sql.unsafe(draftScript(await draftMigration(plain.sql, richer.sql, own, written)));
    expect(unordered(await fingerprint(plain.sql))).toEqual(unordered(wanted));
    expect(
      await plain.sql`select automation.product(n)::int as made from generate_series(1, 5) as n`,
    )
      .toEqual([{ made: 120 }]);
    const bare = await scratchDatabase(sourceScripts());
    try {
      await plain.sql.unsafe(draftScript(await draftMigration(plain.sql, bare.sql, own, written)));
      expect(unordered(await fingerprint(plain.sql))).toEqual(unordered(before));
    } finally {
      await bare.drop();
    }
  } finally {
    await plain.drop();
    await richer.drop();
  }
});

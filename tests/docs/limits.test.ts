// docs/limits.md says what automation.limits() says.
import fs from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";

const database = useDatabase();

test("every limit is written down, as it is", async () => {
  const page = fs.readFileSync(path.resolve(import.meta.dirname, "../../docs/limits.md"), "utf8");
  const written = [...page.matchAll(/^\| `([a-z_]+)` +\| (\d+) ([^|]+?) +\| ([^|]+?) +\|$/gm)]
    .map(([, name, most, unit, what]) => ({ name, most: Number(most), unit, what }));
  const limits = await database().sql`select name, most, unit, what from automation.limits()`;
  const byName = (one: { name?: string }, other: { name?: string }) =>
    (one.name ?? "").localeCompare(other.name ?? "");
  expect(written.sort(byName)).toEqual([...limits].map((row) => ({ ...row })).sort(byName));
});

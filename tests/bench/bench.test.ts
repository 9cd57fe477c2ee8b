// The figures of a run this small mean nothing; that every row is there does.
import { spawn } from "node:child_process";
import path from "node:path";
import { expect, test } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");

function run(args: string[]): Promise<{ status: number | null; output: string; errors: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [
      "--import",
      "tsx",
      "scripts/commands/bench.ts",
      ...args,
    ], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => output += chunk.toString());
    child.stderr.on("data", (chunk: Buffer) => errors += chunk.toString());
    child.once("error", reject);
    child.once("close", (status) => resolve({ status, output, errors }));
  });
}

/** How many lines of the table each row has. */
function countRows(output: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const [, row = "", ratio] of output.matchAll(/^\| ([a-z]) .*\| +(\d+\.\d\d)x \|/gm)) {
    expect(Number(ratio)).toBeGreaterThanOrEqual(0);
    counts[row] = (counts[row] ?? 0) + 1;
  }
  return counts;
}

test("a quick run prints every row of the table", async () => {
  const { status, output, errors } = await run(["--quick"]);
  expect({ status, errors: status === 0 ? "" : errors }).toEqual({ status: 0, errors: "" });
  expect(countRows(output)).toEqual({
    a: 14,
    b: 4,
    c: 3,
    d: 3,
    e: 6,
    f: 3,
    g: 1,
    h: 2,
    i: 1,
    j: 1,
    k: 7,
    l: 2,
  });
}, 300_000);

test("a row that does not exist is refused by name", async () => {
  const { status, errors } = await run(["--rows", "a,z"]);
  expect(status).toBe(1);
  expect(errors).toContain("--rows: there is no row z");
});

// Runs every check and every test; scripts/test --help lists the phases.
import { spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { z } from "zod";
import { denoBinary } from "../lib/functions.ts";
import { checkRoutines, validateRoutines } from "../lib/routines.ts";
import { provePgtap } from "../lib/pgtap.ts";
import { embeddedBinaries } from "../lib/postgres.ts";
import { cloneDatabase, dropDatabase, using } from "../lib/scratch.ts";
import { debianBinaries, startDebian, startEmbedded, type SuiteServer } from "../lib/servers.ts";

const root = path.resolve(import.meta.dirname, "../..");

interface Count {
  passed: number;
  failed: number;
  /** What failed, as file > test, where the phase knows more than that it did. */
  failures?: string[];
}
interface Phase {
  name: string;
  /** Needs the packages of Debian that scripts/test installs where it may. */
  needsPackages?: boolean;
  /** Keeps one processor busy and no server: the next of this kind runs beside it. */
  isAlone?: boolean;
  run: () => Promise<Count>;
}

const one = (passed: boolean): Count => ({ passed: passed ? 1 : 0, failed: passed ? 0 : 1 });

/** Runs a program with its output shown as it comes, or when it is over; resolves to its status and output. */
function run(
  program: string,
  args: string[],
  environment: Record<string, string> = {},
  isShown = true,
): Promise<{ status: number; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...environment },
    });
    let output = "";
    for (
      const [from, to] of [[child.stdout, process.stdout], [child.stderr, process.stderr]] as const
    ) {
      from.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        if (isShown) to.write(chunk);
      });
    }
    child.once("error", reject);
    child.once("close", (status) => resolve({ status: status ?? 1, output }));
  });
}

const command = (program: string, ...args: string[]) => async () => {
  const { status, output } = await run(program, args, {}, false);
  process.stdout.write(output);
  return one(status === 0);
};
const typescript = (script: string, ...args: string[]) =>
  command(process.execPath, "--import", "tsx", script, ...args);
const deno = (...args: string[]) => command(denoBinary(), ...args);

function files(directory: string, ending: string): string[] {
  const absolute = path.join(root, directory);
  if (!fs.existsSync(absolute)) return [];
  if (fs.statSync(absolute).isFile()) return [directory];
  return fs.readdirSync(absolute, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending))
    .map((name) => path.join(directory, name))
    .sort();
}

// Each server is started for the first phase that wants it and stopped at the end.
type Version = "15" | "17" | "18";

const servers = new Map<Version, Promise<SuiteServer>>();
function server(version: Version): Promise<SuiteServer> {
  const running = servers.get(version) ??
    (version === "15" ? startDebian() : startEmbedded(version));
  servers.set(version, running);
  return running;
}

async function stopServers(): Promise<void> {
  const started = [...servers.values()];
  servers.clear();
  await Promise.all(started.map(async (starting) => (await starting.catch(() => null))?.stop()));
}

/** Those of some files that the command line asks for: all, or those whose path contains a word. */
const wanted = (paths: string[]) =>
  words.length ? paths.filter((file) => words.some((word) => file.includes(word))) : paths;

const nothing = { passed: 0, failed: 0 };

/** From Node, with nothing to be installed. */
async function pgtap(version: "17" | "18"): Promise<Count> {
  const suites = wanted(files("tests/database", ".sql"));
  if (suites.length === 0) return nothing;
  const { url } = await server(version);
  const { passed, failures } = await provePgtap(url, root, suites);
  return { passed, failed: failures.length, failures };
}

/** With psql and pg_prove, as an operator would. */
async function proveDebian(): Promise<Count> {
  const suites = wanted(files("tests/database", ".sql"));
  if (suites.length === 0) return nothing;
  const { url } = await server("15");
  const { hostname, port } = new URL(url);
  const clones = fs.mkdtempSync(path.join(os.tmpdir(), "ridgeline-clones-"));
  try {
    const { status, output } = await run("pg_prove", [
      "--jobs",
      "2",
      "--psql-bin",
      path.join(root, "scripts/lib/psql-in-clone"),
      ...suites,
    ], { PGHOST: hostname, PGPORT: port, PGUSER: "postgres", RIDGELINE_CLONES: clones });
    return countProve(output, status);
  } finally {
    fs.rmSync(clones, { recursive: true, force: true });
  }
}

/** "Files=3, Tests=40, ..." and, for each file that failed, "(Wstat: 0 Tests: 5 Failed: 2)". */
function countProve(output: string, status: number): Count {
  const tests = Number(/^Files=\d+, Tests=(\d+)/m.exec(output)?.[1] ?? 0);
  const counts = [...output.matchAll(/\(Wstat: .*Failed: (\d+)\)/g)];
  const failed = counts.reduce((sum, match) => sum + Math.max(Number(match[1]), 1), 0);
  if (status === 0) return { passed: tests, failed: 0 };
  const failures = [...output.matchAll(/^(\S+)\s+\(Wstat: (.*)\)\n((?: {2}.*\n)*)/gm)]
    .map(([, file, state, details]) =>
      `${file} > ${details?.trim().replace(/\s*\n\s*/g, "; ") || state}`
    );
  return { passed: Math.max(tests - failed, 0), failed: Math.max(failed, 1), failures };
}

type Check = (sql: Parameters<typeof validateRoutines>[0]) => ReturnType<typeof validateRoutines>;

async function routines(version: Version, check: Check): Promise<Count> {
  const { url } = await server(version);
  const database = `routines_${process.pid}`;
  const clone = await cloneDatabase(url, database);
  try {
    const { checked, problems } = await using(clone, check);
    for (const problem of problems) console.error(problem);
    console.log(`${checked} functions, ${problems.length} complaints`);
    return one(problems.length === 0);
  } finally {
    await dropDatabase(url, database);
  }
}

const Report = z.object({
  numPassedTests: z.number(),
  numFailedTests: z.number(),
  testResults: z.array(z.object({
    name: z.string(),
    status: z.string(),
    message: z.string().optional(),
    assertionResults: z.array(z.object({
      status: z.string(),
      title: z.string(),
      ancestorTitles: z.array(z.string()),
    })),
  })),
});

/** The tests that failed, and the files that could not even be loaded, which fail without one. */
function failuresOf({ testResults }: z.infer<typeof Report>): string[] {
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = path.relative(root, name);
    const failed = assertionResults.filter((test) => test.status === "failed");
    if (failed.length === 0 && status === "failed") {
      return [`${file} > ${message?.split("\n")[0] || "could not be run"}`];
    }
    return failed.map(({ ancestorTitles, title }) => [file, ...ancestorTitles, title].join(" > "));
  });
}

async function vitest(where: string[], environment: Record<string, string> = {}): Promise<Count> {
  const suites = wanted(where.flatMap((directory) => files(directory, ".test.ts")));
  if (suites.length === 0) return nothing;
  const report = path.join(os.tmpdir(), `ridgeline-vitest-${process.pid}.json`);
  const { status } = await run(process.execPath, [
    path.join(root, "node_modules/vitest/vitest.mjs"),
    "run",
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${report}`,
    ...(words.length ? suites : where),
  ], environment);
  try {
    const told = Report.parse(JSON.parse(fs.readFileSync(report, "utf8")));
    const failures = failuresOf(told);
    const failed = status === 0 ? 0 : Math.max(told.numFailedTests, failures.length, 1);
    return { passed: told.numPassedTests, failed, failures };
  } catch {
    return one(false);
  } finally {
    fs.rmSync(report, { force: true });
  }
}

/** What runs on 15 and 18 as well as on 17. */
const onEachVersion = ["tests/database", "tests/home/footprint.test.ts"];

const phases: Phase[] = [
  {
    name: "tsc",
    isAlone: true,
    run: command(process.execPath, "node_modules/typescript/bin/tsc", "-p", "."),
  },
  {
    name: "deno-check",
    isAlone: true,
    run: () => deno("check", "--config=deno.json", "--quiet", ...files("functions", ".ts"))(),
  },
  { name: "deno-fmt", isAlone: true, run: deno("fmt", "--check", "--quiet") },
  { name: "deno-lint", isAlone: true, run: deno("lint", "--quiet") },
  { name: "sql-lint", isAlone: true, run: typescript("scripts/lint-sql.ts") },
  {
    name: "migrations",
    isAlone: true,
    run: typescript("scripts/commands/migrations.ts", "--check"),
  },
  { name: "types", isAlone: true, run: typescript("scripts/commands/types.ts", "--check") },
  { name: "validate-17", run: () => routines("17", validateRoutines) },
  { name: "pgtap-17", run: () => pgtap("17") },
  { name: "validate-15", needsPackages: true, run: () => routines("15", validateRoutines) },
  { name: "plpgsql-check", needsPackages: true, run: () => routines("15", checkRoutines) },
  { name: "pgtap-15", needsPackages: true, run: proveDebian },
  {
    name: "vitest-15",
    needsPackages: true,
    run: () => vitest(onEachVersion, { RIDGELINE_POSTGRES_BINARIES: debianBinaries }),
  },
  { name: "validate-18", run: () => routines("18", validateRoutines) },
  { name: "pgtap-18", run: () => pgtap("18") },
  {
    name: "vitest-18",
    run: () => vitest(onEachVersion, { RIDGELINE_POSTGRES_BINARIES: embeddedBinaries("18") }),
  },
  { name: "vitest", run: () => vitest(["tests"]) },
];

const { values: given, positionals: words } = parseArgs({
  allowPositionals: true,
  options: {
    only: { type: "string", multiple: true },
    soak: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});
if (given.help) {
  console.log(`Usage: scripts/test [--soak] [--only PHASE]... [WORD]...

  WORD            of the suites, only the files whose path contains one of the words
  --soak          the fault tests at their larger size
  --only PHASE    just this: ${phases.map(({ name }) => name).join(", ")}`);
  process.exit(0);
}
const unknown = given.only?.find((name) => !phases.some((phase) => phase.name === name));
if (unknown) {
  console.error(`There is no phase ${unknown}; scripts/test --help lists them`);
  process.exit(1);
}
// A phase that was meant and taken for a word would be left out unseen.
const wordless = given.only?.every((name) => !/^(pgtap|vitest)/.test(name)) && words.length > 0;
if (wordless) {
  console.error(
    `Only suites take words: write --only before each phase (${
      words.map((word) => `--only ${word}`).join(" ")
    })`,
  );
  process.exit(1);
}
if (given.soak) process.env.RIDGELINE_SOAK = "1";

for (const name of ["SIGINT", "SIGTERM"] as const) {
  process.once(name, () => void stopServers().then(() => process.exit(130)));
}

const havePackages = spawnSync("pg_prove", ["--version"]).status === 0 &&
  fs.existsSync(`${debianBinaries}/postgres`) &&
  ["pg_cron", "pgtap", "plpgsql_check"].every((extension) =>
    fs.existsSync(`/usr/share/postgresql/15/extension/${extension}.control`)
  );
const results: { name: string; count: Count; seconds: number }[] = [];
const left: string[] = [];
const began = Date.now();

const asked = phases.filter(({ name }) => !given.only || given.only.includes(name));
const runnable = asked.filter(({ name, needsPackages }) => {
  const isLeft = needsPackages && !havePackages && process.env.CI !== "true";
  if (isLeft) left.push(name);
  return !isLeft;
});

async function runPhase({ name, run }: Phase): Promise<void> {
  console.log(`\n==> ${name}`);
  const started = Date.now();
  const count = await run().catch((error: unknown) => {
    console.error(error instanceof Error ? error.stack : error);
    return one(false);
  });
  results.push({ name, count, seconds: (Date.now() - started) / 1000 });
}

try {
  const alone = runnable.filter(({ isAlone }) => isAlone);
  const next = async () => {
    for (let phase = alone.shift(); phase; phase = alone.shift()) await runPhase(phase);
  };
  await Promise.all([next(), next()]);
  for (const phase of runnable) if (!phase.isAlone) await runPhase(phase);
} finally {
  await stopServers();
}

console.log("");
for (const { name, count, seconds } of results) {
  const verdict = count.failed ? "FAILED" : "ok";
  console.log(
    `${verdict.padEnd(7)} ${name.padEnd(14)} ${String(count.passed).padStart(5)} passed ` +
      `${String(count.failed).padStart(3)} failed ${seconds.toFixed(1).padStart(7)} s`,
  );
}
if (left.length) {
  console.log(`\nNot run, for want of Debian's postgresql-15 packages: ${left.join(", ")}`);
}
const total = results.reduce(
  (sum, { count }) => ({ passed: sum.passed + count.passed, failed: sum.failed + count.failed }),
  { passed: 0, failed: 0 },
);
console.log(`\nTook ${((Date.now() - began) / 1000).toFixed(0)} s`);
console.log(`${total.passed} passed, ${total.failed} failed`);
// Last, since the beginning of a long log may be cut off.
for (const { name, count } of results) {
  if (count.failed === 0) continue;
  console.log(`\nFAILED in ${name}:`);
  for (const failure of count.failures?.length ? count.failures : ["its output says what"]) {
    console.log(`  ${failure}`);
  }
}
process.exitCode = total.failed ? 1 : 0;

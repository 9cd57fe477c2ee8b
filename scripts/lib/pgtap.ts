// pgTAP without pg_prove and psql, so that a machine needs nothing but Node for it.
import fs from "node:fs";
import path from "node:path";
import pg from "pg";
import { runFile } from "./psql.ts";
import { cloneDatabase, dropDatabase } from "./scratch.ts";

export interface TapReport {
  passed: number;
  /** What failed, in words; not empty also where a file stopped or ran another number of tests. */
  failures: string[];
  /** The diagnostics. */
  notes: string[];
}

/** What the lines of a TAP producer amount to. */
export function readTap(lines: readonly string[], stopped?: string): TapReport {
  let planned: number | undefined;
  let ran = 0;
  let passed = 0;
  const failures: string[] = [];
  for (const line of lines) {
    const [, plan] = /^1\.\.(\d+)/.exec(line) ?? [];
    if (plan !== undefined) planned = Number(plan);
    const [, not, number = "", name = ""] = /^(not )?ok\b ?(\d*)(?: - )?(.*)$/.exec(line) ?? [];
    if (!/^(not )?ok\b/.test(line)) continue;
    ran++;
    if (not && !/# TODO\b/i.test(name)) failures.push(`${number} ${name}`.trim());
    else passed++;
  }
  if (stopped !== undefined) failures.push(stopped);
  else if (planned === undefined) failures.push("it has no plan");
  else if (planned !== ran) failures.push(`it planned ${planned} tests and ran ${ran}`);
  return { passed, failures, notes: lines.filter((line) => /^#/.test(line)) };
}

/** Runs a file in a database of its own, cloned from the template of this server. */
export async function runPgtap(serverUrl: string, file: string): Promise<TapReport> {
  const clone = await newClone(serverUrl);
  try {
    return await runIn(clone.url, file);
  } finally {
    await clone.drop();
  }
}

interface Clone {
  url: string;
  drop: () => Promise<void>;
}

let counter = 0;

async function newClone(serverUrl: string): Promise<Clone> {
  const name = `pgtap_${process.pid}_${counter++}`;
  const url = await cloneDatabase(serverUrl, name);
  return { url, drop: () => dropDatabase(serverUrl, name) };
}

/**
 * Whether a file leaves nothing to the next one but the sequences and dead rows: it is one transaction, which it undoes.
 */
export function leavesNothing(script: string): boolean {
  const bounds = script.match(/^(begin|commit|rollback);/gim) ?? [];
  return bounds.join("").toLowerCase() === "begin;rollback;";
}

/** Whether it needs tables that nobody has written: it takes statistics of them. */
export const needsFreshTables = (script: string): boolean => /^analyze\b/im.test(script);

/** Longer than any statement of a file may take: one that stands ends as an error that names its file and line. */
const patience = 5 * 60_000;

async function runIn(url: string, file: string): Promise<TapReport> {
  const client = new pg.Client({ connectionString: url, statement_timeout: patience });
  // A server that is stopped under it ends the session with an error that its query reports as well.
  client.on("error", () => {});
  const lines: string[] = [];
  const warnings: string[] = [];
  client.on("notice", ({ severity, message }) => {
    if (severity === "WARNING") warnings.push(`# WARNING: ${message}`);
  });
  try {
    await client.connect();
    const onRow = (row: string) => lines.push(...row.split("\n"));
    await runFile({ client, variables: new Map(), onRow }, file);
    return withWarnings(readTap(lines), warnings);
  } catch (error) {
    const stopped = error instanceof Error ? error.message : String(error);
    return withWarnings(readTap(lines, stopped), warnings);
  } finally {
    await client.end().catch(() => {});
  }
}

const withWarnings = (report: TapReport, warnings: string[]): TapReport => ({
  ...report,
  notes: [...report.notes, ...warnings],
});

export interface SuiteReport {
  passed: number;
  /** File > test. */
  failures: string[];
}

/**
 * Runs files, so many at once, and prints a line for each. One that leaves nothing behind hands its database on to
 * the next.
 */
export async function provePgtap(
  serverUrl: string,
  root: string,
  files: readonly string[],
  jobs = 2,
): Promise<SuiteReport> {
  const waiting = [...files];
  const total: SuiteReport = { passed: 0, failures: [] };
  const widest = Math.max(...files.map((file) => file.length));
  async function work(): Promise<void> {
    let clone: Clone | undefined;
    for (let file = waiting.shift(); file; file = waiting.shift()) {
      const script = fs.readFileSync(path.join(root, file), "utf8");
      if (clone && needsFreshTables(script)) {
        await clone.drop();
        clone = undefined;
      }
      clone ??= await newClone(serverUrl);
      const began = performance.now();
      const { passed, failures, notes } = await runIn(clone.url, path.join(root, file));
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      if (!leavesNothing(script)) {
        await clone.drop();
        clone = undefined;
      }
      total.passed += passed;
      total.failures.push(...failures.map((failure) => `${file} > ${failure}`));
      const verdict = failures.length ? `FAILED ${failures.length}` : "ok";
      console.log(`${file.padEnd(widest + 3, ".")} ${verdict} (${passed} passed, ${seconds} s)`);
      if (failures.length) console.log([...notes, ...failures].join("\n"));
    }
    await clone?.drop();
  }
  await Promise.all(Array.from({ length: jobs }, work));
  return total;
}

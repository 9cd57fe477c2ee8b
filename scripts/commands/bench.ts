// Measures the engine against a bare table, graphile-worker and pg-boss; scripts/bench --help.
import os from "node:os";
import { parseArgs } from "node:util";
import { type Bench, full, openDatabase, quick, type Sizes } from "../benchmarks/bench.ts";
import { claimCost } from "../benchmarks/claim.ts";
import {
  cost,
  databaseSteps,
  documented,
  outbound,
  secondOpinion,
  strangers,
} from "../benchmarks/compare.ts";
import { added, bulkRows, singleRows, updates } from "../benchmarks/capture.ts";
import { pruning } from "../benchmarks/prune.ts";
import { printTable, type Row } from "../benchmarks/report.ts";
import { embeddedBinaries } from "../lib/postgres.ts";
import {
  createTemplate,
  inDatabase,
  startScratchServer,
  templateName,
  using,
} from "../lib/scratch.ts";
import { debianBinaries } from "../lib/servers.ts";

const benchmarks: Record<string, (bench: Bench) => Promise<Row[]>> = {
  a: singleRows,
  b: bulkRows,
  c: outbound,
  d: databaseSteps,
  e: claimCost,
  f: documented,
  g: strangers,
  h: cost,
  i: secondOpinion,
  j: pruning,
  k: added,
  l: updates,
};

const usage = `scripts/bench [options]

Prints one table; each row is a ratio taken side by side in one run on one server.

  --rows a,b,c     only these rows (${Object.keys(benchmarks).join(", ")})
  --quick          small sizes: shows that every row works, its figures mean nothing
  --huge           claim cost with ten million delayed rows as well
  --durable        every commit waits for the disk (synchronous_commit = on)
  --debian         Debian's Postgres 15 in place of the embedded 17
  --set name=n     another size: ${Object.keys(full).join(", ")}
`;

function sizesOf(options: { quick?: boolean; huge?: boolean; set?: string[] }): Sizes {
  const sizes: Record<string, number | readonly number[]> = { ...(options.quick ? quick : full) };
  for (const setting of options.set ?? []) {
    const [, name = "", value = ""] = /^(\w+)=([\d.,]+)$/.exec(setting) ?? [];
    if (!(name in sizes)) throw new Error(`--set ${setting}: there is no such size`);
    const numbers = value.split(",").map(Number);
    sizes[name] = Array.isArray(sizes[name]) ? numbers : numbers[0]!;
  }
  const complete = sizes as unknown as Sizes;
  return options.huge ? { ...complete, delayed: [...complete.delayed, 10_000_000] } : complete;
}

const { values } = parseArgs({
  options: {
    rows: { type: "string" },
    quick: { type: "boolean" },
    huge: { type: "boolean" },
    durable: { type: "boolean" },
    debian: { type: "boolean" },
    set: { type: "string", multiple: true },
    help: { type: "boolean", short: "h" },
  },
});

const undo: (() => Promise<unknown> | unknown)[] = [];
async function stop(): Promise<void> {
  for (let step = undo.pop(); step; step = undo.pop()) await step();
}

async function main(): Promise<void> {
  const wanted = values.rows?.split(",") ?? Object.keys(benchmarks);
  const unknown = wanted.filter((row) => !(row in benchmarks));
  if (unknown.length) throw new Error(`--rows: there is no row ${unknown.join(", ")}`);
  const sizes = sizesOf(values);
  const say = (line: string) => process.stderr.write(`${line}\n`);
  const { server, stop: stopServer } = await startScratchServer({
    binaries: values.debian ? debianBinaries : embeddedBinaries(),
    settings: {
      fsync: "on",
      full_page_writes: "on",
      synchronous_commit: values.durable ? "on" : "off",
      "automation.test_clock": "off",
      track_commit_timestamp: "on",
      shared_buffers: "512MB",
      max_wal_size: "8GB",
      max_connections: "100",
    },
  });
  undo.push(stopServer);
  await createTemplate(server.url());
  // The gate asks for quiet hours as it always does, and finds every hour open.
  await using(
    inDatabase(server.url(), templateName),
    (sql) => sql`update automation.open_hours set opens = '00:00', closes = '24:00'`,
  );
  const onStop = (step: () => Promise<unknown> | unknown) => undo.push(step);
  const bench: Bench = {
    sizes,
    say,
    onStop,
    database: (name) => openDatabase(server.url(), name, onStop),
  };
  const rows: Row[] = [];
  for (const name of wanted) {
    say(`Row ${name} (load average ${os.loadavg()[0]!.toFixed(1)}) ...`);
    rows.push(...await benchmarks[name]!(bench));
  }
  const version = await using(
    server.url(),
    async (sql) => (await sql<[{ v: string }]>`select current_setting('server_version') as v`)[0].v,
  );
  console.log(printTable(rows));
  console.log(
    `\nPostgres ${version}, fsync on, synchronous_commit ${values.durable ? "on" : "off"}; ` +
      `${os.cpus().length} cores, ${Math.round(os.totalmem() / 2 ** 30)} GB; Node ` +
      `${process.versions.node}; load average ${
        os.loadavg().map((load) => load.toFixed(1)).join(" ")
      }`,
  );
}

if (values.help) {
  console.log(usage);
} else {
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.once(name, () => void stop().then(() => process.exit(130)));
  }
  try {
    await main();
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  } finally {
    await stop();
  }
}

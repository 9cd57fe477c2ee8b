// What each package adds to the start of an Edge Function and to its bundle, in Deno.
// npx tsx scripts/bench-startup.ts [--runs N]
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { denoBinary } from "./lib/functions.ts";

const root = path.resolve(import.meta.dirname, "..");
const { values } = parseArgs({ options: { runs: { type: "string", default: "7" } } });
const runs = Number(values.runs);

const message = "twilio/lib/rest/api/v2010/account/message.js";
const cases: readonly (readonly [name: string, imports: readonly string[]])[] = [
  ["nothing", []],
  ["zod", ["zod"]],
  ["postgres", ["postgres"]],
  ["ipaddr.js", ["ipaddr.js"]],
  ["standardwebhooks", ["standardwebhooks"]],
  ["resend", ["resend"]],
  ["twilio, its message resource", [
    message,
    "twilio/lib/base/Version.js",
    "twilio/lib/base/Domain.js",
  ]],
  ["twilio, its REST client", ["twilio/lib/rest/Twilio.js"]],
  ["twilio, whole", ["twilio"]],
  ["dispatch", [
    "./functions/dispatch/handler.ts",
    "./functions/_shared/runtime/database.ts",
    "./functions/_shared/engine/queue.ts",
    "./functions/_shared/channels/mod.ts",
  ]],
];

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((left, right) => left - right);
  return sorted[Math.floor(sorted.length / 2)] ?? NaN;
}

/** Every export is kept, or the bundler would drop what nothing uses. */
function sourceOf(imports: readonly string[]): string {
  const lines = imports.map((name, index) =>
    `import * as m${index} from ${JSON.stringify(name.replace(/^\./, ".."))};\n` +
    `Reflect.set(globalThis, "kept${index}", m${index});\n`
  );
  return lines.join("");
}

function startUpMs(file: string): number {
  const startedAt = performance.now();
  execFileSync(denoBinary(), ["run", "--quiet", "--cached-only", "-A", file], { cwd: root });
  return performance.now() - startedAt;
}

function bundleKb(file: string): number {
  const output = `${file}.js`;
  const options = ["bundle", "--quiet", "--minify", "--platform=deno", "-o", output, file];
  execFileSync(denoBinary(), options, { cwd: root, stdio: ["ignore", "ignore", "inherit"] });
  return fs.statSync(output).size / 1024;
}

// Inside the project, so that bare specifiers resolve as they do in functions/.
const directory = fs.mkdtempSync(path.join(root, ".bench-startup-"));
try {
  const files = cases.map(([, imports], index) => {
    const file = path.join(directory, `case${index}.ts`);
    fs.writeFileSync(file, sourceOf(imports));
    return file;
  });
  const times = cases.map((): number[] => []);
  // Round by round, so that a busy moment of the machine falls on every case alike; the first
  // round fills Deno's caches and does not count.
  for (let run = 0; run <= runs; run++) {
    files.forEach((file, index) => {
      const time = startUpMs(file);
      if (run > 0) times[index]?.push(time);
    });
  }
  const empty = median(times[0] ?? []);
  console.log("| import | start-up | adds | bundle |\n|---|---:|---:|---:|");
  cases.forEach(([name], index) => {
    const time = median(times[index] ?? []);
    const size = bundleKb(files[index] ?? "");
    const columns = [
      `${time.toFixed(0)} ms`,
      `${(time - empty).toFixed(0)} ms`,
      `${size.toFixed(0)} kB`,
    ];
    console.log(`| ${name} | ${columns.join(" | ")} |`);
  });
} finally {
  fs.rmSync(directory, { recursive: true, force: true });
}

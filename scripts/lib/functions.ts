// Edge Functions as local processes: the real Deno from npm, one process a function.
import { type ChildProcess, spawn } from "node:child_process";
import fs from "node:fs";
import { createRequire } from "node:module";
import net from "node:net";
import path from "node:path";
import { commandLine, endProcess, freePort, sleep, waitFor } from "./process.ts";

const root = path.resolve(import.meta.dirname, "../..");

/**
 * How Deno runs an Edge Function: with the permissions that it has on the platform, and no more; and with little garbage
 * kept, as there, where memory is bounded. What is alive of a dispatcher is under 20 MB, and V8 would let it
 * grow to five times that before it looks. It is no limit that work could run into.
 */
export const edgeRuntime = [
  "run",
  "--no-prompt",
  "--cached-only",
  "--quiet",
  "--v8-flags=--max-semi-space-size=2,--heap-growing-percent=50",
  `--config=${path.join(root, "deno.json")}`,
  "--allow-net",
  "--allow-env",
  `--allow-read=${root}`,
  "--allow-sys=hostname,osRelease,uid,cpus",
];

/** The functions there are: every folder of functions/ with an index.ts. */
export function functionNames(): string[] {
  const directory = path.join(root, "functions");
  if (!fs.existsSync(directory)) return [];
  return fs.readdirSync(directory)
    .filter((name) => fs.existsSync(path.join(directory, name, "index.ts")))
    .sort();
}

/** Deno's own binary: its launcher in node_modules/.bin would be one more process to end. */
export function denoBinary(): string {
  const require = createRequire(createRequire(import.meta.url).resolve("deno/package.json"));
  const executable = process.platform === "win32" ? "deno.exe" : "deno";
  const libc = process.platform === "linux" ? "-glibc" : "";
  const platform = process.platform === "win32" ? "win32" : process.platform;
  const manifest = require.resolve(`@deno/${platform}-${process.arch}${libc}/package.json`);
  return path.join(path.dirname(manifest), executable);
}

export interface FunctionOptions {
  name: string;
  environment: Record<string, string>;
  /** Marks the process as this stack's, so that a later start can tell. */
  mark: string;
  log: (line: string) => void;
  /** Told whenever the process changes, so that it can be written down. */
  onSpawn: () => void;
}

export class EdgeFunction {
  readonly name: string;
  readonly #options: FunctionOptions;
  #port = 0;
  #process: ChildProcess | undefined;
  #stopping = false;
  #starts = 0;

  constructor(options: FunctionOptions) {
    this.name = options.name;
    this.#options = options;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  get port(): number {
    return this.#port;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  async start(): Promise<void> {
    this.#port ||= await freePort();
    const child = this.#spawn();
    const ready = await waitFor(
      `function ${this.name} to answer`,
      async () => child.exitCode !== null ? "ended" : (await accepts(this.#port)) && "ready",
      { timeout: 60_000, interval: 30 },
    );
    if (ready === "ended") {
      throw new Error(`Function ${this.name} ended at its start; its output is above`);
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    if (this.#process?.pid) await endProcess(this.#process.pid, { patience: 3_000 });
  }

  /** kill -9, as an Edge worker that the platform takes away; a new one starts by itself. */
  async kill(): Promise<void> {
    const before = this.#process;
    before?.kill("SIGKILL");
    await waitFor(`a new process of ${this.name}`, () => this.#process !== before);
    await waitFor(`function ${this.name} to answer again`, () => accepts(this.#port));
  }

  #spawn(): ChildProcess {
    const { name, environment, mark, log, onSpawn } = this.#options;
    const child = spawn(denoBinary(), [
      ...edgeRuntime,
      path.join(root, "functions", name, "index.ts"),
      mark,
    ], {
      cwd: root,
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        ...(process.env.DENO_DIR ? { DENO_DIR: process.env.DENO_DIR } : {}),
        DENO_NO_UPDATE_CHECK: "1",
        DENO_SERVE_ADDRESS: `tcp:127.0.0.1:${this.#port}`,
        NO_COLOR: "1",
        ...environment,
      },
    });
    for (const stream of [child.stdout, child.stderr]) {
      forEachLine(stream, (line) => {
        if (!/^Listening on http/.test(line)) log(`[${name}] ${line}`);
      });
    }
    child.once("error", (error) => log(`[${name}] ${error.message}`));
    child.once("exit", () => void this.#revive(child));
    this.#process = child;
    this.#starts++;
    onSpawn();
    return child;
  }

  async #revive(ended: ChildProcess): Promise<void> {
    const neverAnswered = this.#starts === 1 && !(ended.signalCode);
    if (this.#stopping || this.#process !== ended || neverAnswered) return;
    this.#options.log(
      `[${this.name}] ended (${ended.signalCode ?? ended.exitCode}); starting again`,
    );
    await sleep(Math.min(50 * this.#starts, 2_000));
    if (!this.#stopping) this.#spawn();
  }
}

/** Does somebody listen on this port of the machine? */
export function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, "127.0.0.1");
    const finish = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once("connect", () => finish(true));
    socket.once("error", () => finish(false));
  });
}

function forEachLine(stream: NodeJS.ReadableStream | null, use: (line: string) => void): void {
  let rest = "";
  stream?.on("data", (chunk: Buffer) => {
    const lines = (rest + chunk.toString()).split("\n");
    rest = lines.pop() ?? "";
    lines.forEach(use);
  });
  stream?.on("end", () => rest && use(rest));
}

/** Ends what a stack that was killed left behind: only processes that carry its mark. */
export async function endMarked(pids: number[], mark: string): Promise<number> {
  const ours = pids.filter((pid) => commandLine(pid)?.includes(mark));
  await Promise.all(ours.map((pid) => endProcess(pid)));
  return ours.length;
}

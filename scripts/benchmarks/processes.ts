// The processes of a comparison: the receiver, our dispatcher in Deno, their worker in Node.
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import { denoBinary, edgeRuntime } from "../lib/functions.ts";
import { endProcess } from "../lib/process.ts";

const root = path.resolve(import.meta.dirname, "../..");
const Ready = z.object({ ready: z.union([z.string(), z.literal(true)]) });
const secret = `whsec_${randomBytes(32).toString("base64")}`;

export interface Running {
  /** What the process said when it was ready. */
  ready: string | true;
  usage: () => Usage;
  stop: () => Promise<void>;
}

export interface Usage {
  /** On a processor, since the process began. */
  cpuMs: number;
  /** The most memory that it had resident since it was last asked: rows before are none of it. */
  peakMb: number;
}

/** As Linux tells it; ticks are a hundredth of a second there. */
function usageOf(pid: number): Usage {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, "utf8");
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13).map(Number);
  // Writing 5 forgets the peak.
  const peak = /VmHWM:\s+(\d+) kB/.exec(fs.readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  fs.writeFileSync(`/proc/${pid}/clear_refs`, "5");
  return { cpuMs: ((user ?? NaN) + (system ?? NaN)) * 10, peakMb: Number(peak) / 1024 };
}

async function start(
  name: string,
  program: string,
  args: string[],
  environment: Record<string, string>,
): Promise<Running> {
  const child: ChildProcess = spawn(program, args, {
    cwd: root,
    stdio: ["ignore", "pipe", "inherit"],
    env: {
      PATH: process.env.PATH,
      HOME: process.env.HOME,
      ...(process.env.DENO_DIR ? { DENO_DIR: process.env.DENO_DIR } : {}),
      DENO_NO_UPDATE_CHECK: "1",
      NO_COLOR: "1",
      WEBHOOK_SIGNING_SECRET: secret,
      ...environment,
    },
  });
  const stop = async () => {
    if (child.pid && child.exitCode === null) await endProcess(child.pid);
  };
  const ready = await new Promise<string | true>((resolve, reject) => {
    let output = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      output += chunk.toString();
      const end = output.indexOf("\n");
      if (end < 0) return;
      const line = output.slice(0, end);
      const parsed = Ready.safeParse(parseJson(line));
      if (parsed.success) resolve(parsed.data.ready);
      else reject(new Error(`${name} said: ${line}`));
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${name} ended (${code})`)));
  });
  return { ready, stop, usage: () => usageOf(child.pid!) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const script = (name: string) => path.join(import.meta.dirname, name);
const node = (name: string) => ["--import", "tsx", script(name)];

export const startReceiver = () => start("receiver", process.execPath, node("receiver.ts"), {});

/** With the permissions that the stack gives its Edge Functions. */
export function startDispatcher(url: string, concurrency: number): Promise<Running> {
  return start("dispatcher", denoBinary(), [
    ...edgeRuntime,
    script("dispatcher.ts"),
  ], {
    DATABASE_URL: url,
    DISPATCH_CONCURRENCY: String(concurrency),
    WEBHOOK_ALLOW_PRIVATE: "true",
  });
}

export function startWorker(url: string, concurrency: number): Promise<Running> {
  return start("graphile-worker", process.execPath, node("worker.ts"), {
    DATABASE_URL: url,
    CONCURRENCY: String(concurrency),
  });
}

export function startPgBoss(url: string, concurrency: number): Promise<Running> {
  return start("pg-boss", process.execPath, node("boss.ts"), {
    DATABASE_URL: url,
    CONCURRENCY: String(concurrency),
  });
}

// scripts/stack as people run it: as a process of its own that may be killed at any moment.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import fs from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import os from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { stateDirectory } from "../../scripts/lib/postgres.ts";
import { commandLine, freePort, waitFor } from "../../scripts/lib/process.ts";
import { using } from "../../scripts/lib/scratch.ts";
import type { StackFile } from "../../scripts/lib/stack.ts";

const root = path.resolve(import.meta.dirname, "../..");

class Running {
  readonly port: number;
  readonly file: string;
  readonly child: ChildProcess;
  output = "";

  constructor(port: number, ...args: string[]) {
    this.port = port;
    this.file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), "stack-test-")), "stack.json");
    const { TWILIO_BASE_URL: _twilio, RESEND_BASE_URL: _resend, DATABASE_URL: _database, ...rest } =
      process.env;
    this.child = spawn(
      path.join(root, "scripts/stack"),
      ["--port", String(port), "--stack-file", this.file, ...args],
      { env: rest, stdio: ["ignore", "pipe", "pipe"] },
    );
    for (const stream of [this.child.stdout, this.child.stderr]) {
      stream?.on("data", (chunk: Buffer) => this.output += chunk.toString());
    }
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  /** What .stack.json says once the stack is ready. */
  async ready(): Promise<StackFile> {
    await waitFor("the stack to be ready", () => {
      if (this.ended) throw new Error(`The stack ended:\n${this.output}`);
      return fs.existsSync(this.file);
    }, { timeout: 60_000 });
    return JSON.parse(fs.readFileSync(this.file, "utf8"));
  }

  async signal(name: NodeJS.Signals): Promise<void> {
    this.child.kill(name);
    await waitFor("the stack to end", () => this.ended);
  }
}

/** The processes whose command line mentions this directory. */
function processesOf(directory: string): string[] {
  const pids = fs.existsSync("/proc/self")
    ? fs.readdirSync("/proc").filter((name) => /^\d+$/.test(name))
    : spawnSync("ps", ["-ax", "-o", "pid="], { encoding: "utf8" }).stdout.split(/\s+/);
  return pids.map((pid) => commandLine(Number(pid)) ?? "").filter((line) =>
    line.includes(directory)
  );
}

const started: Running[] = [];
const ports: number[] = [];

function start(port: number, ...args: string[]): Running {
  const running = new Running(port, ...args);
  started.push(running);
  ports.push(port);
  return running;
}

afterEach(async () => {
  for (const one of started.splice(0)) if (!one.ended) await one.signal("SIGTERM");
  for (const port of ports.splice(0)) {
    fs.rmSync(stateDirectory(port), { recursive: true, force: true });
  }
});

const tenantNames = (databaseUrl: string) =>
  using(databaseUrl, async (sql) => {
    const rows = await sql<{ name: string }[]>`select name from public.tenants order by name`;
    return rows.map(({ name }) => name);
  });

const addTenant = (databaseUrl: string, name: string) =>
  using(databaseUrl, (sql) => sql`insert into public.tenants (name) values (${name})`);

describe("scripts/stack", { timeout: 120_000 }, () => {
  it("stops every process it started when Ctrl-C is pressed", async () => {
    const port = await freePort();
    const running = start(port);
    await running.ready();
    const directory = stateDirectory(port);
    expect(processesOf(directory).length).toBeGreaterThan(0);
    await running.signal("SIGINT");
    expect(running.child.exitCode).toBe(0);
    expect(processesOf(directory)).toEqual([]);
    expect(fs.existsSync(running.file)).toBe(false);
  });

  it("starts on the same data and with the same keys after it was killed", async () => {
    const port = await freePort();
    const first = start(port);
    const before = await first.ready();
    await addTenant(before.databaseUrl, "Apex Roofing");
    await first.signal("SIGKILL");
    const orphans = processesOf(stateDirectory(port)).length;
    expect(orphans).toBeGreaterThan(0);

    fs.rmSync(first.file);
    const second = start(port);
    const after = await second.ready();
    expect(await tenantNames(after.databaseUrl)).toEqual(["Apex Roofing"]);
    expect(after.publishableKey).toBe(before.publishableKey);
    expect(after.secretKey).toBe(before.secretKey);
    expect(processesOf(stateDirectory(port)).length).toBe(orphans);
  });

  it("leaves no trace of an ephemeral stack that was killed, once another one starts", async () => {
    const first = start(await freePort(), "--ephemeral");
    // Other suites have stacks of this kind, too.
    const port = new URL((await first.ready()).databaseUrl).port;
    const [line] = processesOf("ridgeline-ephemeral-").filter((one) =>
      one.includes(` -p ${port} `)
    );
    const directory = /\S*ridgeline-ephemeral-\w+/.exec(line ?? "")?.[0] ?? "none";
    await first.signal("SIGKILL");
    const second = start(await freePort(), "--ephemeral");
    await second.ready();
    // One of those may have been the first to find it.
    await waitFor("the directory to go", () => !fs.existsSync(directory));
    expect(processesOf(directory)).toEqual([]);
  });

  it("runs twice side by side on different ports, each with its own data", async () => {
    const left = start(await freePort());
    const right = start(await freePort());
    const [a, b] = await Promise.all([left.ready(), right.ready()]);
    await addTenant(a.databaseUrl, "Apex Roofing");
    await addTenant(b.databaseUrl, "Blue Ridge Solar");
    expect(await tenantNames(a.databaseUrl)).toEqual(["Apex Roofing"]);
    expect(await tenantNames(b.databaseUrl)).toEqual(["Blue Ridge Solar"]);
    await left.signal("SIGINT");
    const { status } = await fetch(`${b.apiUrl}/rest/v1/tenants`, {
      headers: { apikey: b.secretKey },
    });
    expect(status).toBe(200);
  });

  it("says in one line that its port is in use and how to choose another", async () => {
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
    const { port } = taken.address() as AddressInfo;
    try {
      const running = start(port);
      await waitFor("the stack to end", () => running.ended);
      expect(running.child.exitCode).toBe(1);
      expect(running.output.trim()).toMatch(/^Port \d+ is in use.*--port \d+$/);
      expect(processesOf(stateDirectory(port))).toEqual([]);
    } finally {
      taken.close();
    }
  });

  it("says what to do with data that another version of Postgres made", async () => {
    const port = await freePort();
    const data = path.join(stateDirectory(port), "postgres");
    fs.mkdirSync(data, { recursive: true });
    fs.writeFileSync(path.join(data, "PG_VERSION"), "16\n");
    const stack = start(port);
    await waitFor("the refusal", () => stack.ended, { timeout: 60_000 });
    expect(stack.output).toMatch(/made by Postgres 16[^]*scripts\/stack --reset/);
  });

  it("tells how to start afresh when the data is of an older schema", async () => {
    const port = await freePort();
    const first = start(port);
    const { databaseUrl } = await first.ready();
    await using(
      databaseUrl,
      (sql) => sql`update supabase_migrations.schema_migrations set statements = '{"select 1"}'`,
    );
    await first.signal("SIGTERM");
    const second = start(port);
    await waitFor("the stack to end", () => second.ended);
    expect(second.child.exitCode).toBe(1);
    expect(second.output).toContain("scripts/stack --reset");
    const third = start(port, "--reset");
    expect(await tenantNames((await third.ready()).databaseUrl)).toEqual([]);
  });
});

// PgBouncer as hosted projects have a pooler: a session belongs to a client for one transaction.
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { onTestFinished } from "vitest";
import { connect } from "../../scripts/lib/scratch.ts";
import { postgresIdentity, temporaryDirectory } from "../../scripts/lib/postgres.ts";
import { endProcess, freePort, waitFor } from "../../scripts/lib/process.ts";

const program = "/usr/sbin/pgbouncer";

/** Where Debian's package is missing the tests that need it are left out, but not where all have to run. */
export const withoutPooler = !fs.existsSync(program) && process.env.CI !== "true";

/** A pooler before `url`, with so many sessions of the server, for as long as the test runs. The address is returned. */
export async function startPooler(url: string, sessions: number): Promise<string> {
  const { hostname, port, pathname } = new URL(url);
  const own = await freePort();
  const directory = temporaryDirectory("pooler");
  const file = path.join(directory, "pgbouncer.ini");
  fs.writeFileSync(
    file,
    `[databases]
* = host=${hostname} port=${port} user=postgres

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = ${sessions}
max_client_conn = 100
`,
  );
  const child = spawn(program, [file], { stdio: "ignore", ...postgresIdentity() });
  onTestFinished(async () => {
    if (child.pid) await endProcess(child.pid);
    fs.rmSync(directory, { recursive: true, force: true });
  });
  const address = `postgres://postgres@127.0.0.1:${own}${pathname}`;
  const probe = connect(address, { max: 1 });
  try {
    await waitFor("the pooler", () => probe`select 1`.then(() => true, () => false));
  } finally {
    await probe.end({ timeout: 1 });
  }
  return address;
}

// A server that takes connections with TLS only, as the hosted platform's may be set to.
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "../../functions/_shared/runtime/database.ts";
import { denoBinary } from "../../scripts/lib/functions.ts";
import { postgresIdentity } from "../../scripts/lib/postgres.ts";
import { startScratchServer } from "../../scripts/lib/scratch.ts";
import { certificate, key } from "./certificate.ts";

const root = path.resolve(import.meta.dirname, "../..");
let server: Awaited<ReturnType<typeof startScratchServer>>;

beforeAll(async () => {
  server = await startScratchServer();
  const directory = server.server.dataDirectory;
  const owner = postgresIdentity();
  for (const [name, text] of [["server.crt", certificate], ["server.key", key]] as const) {
    fs.writeFileSync(path.join(directory, name), text, { mode: 0o600 });
    if (owner) fs.chownSync(path.join(directory, name), owner.uid, owner.gid);
  }
  await server.server.reconfigure({ ssl: "on" });
  fs.writeFileSync(path.join(directory, "pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust\n");
  const sql = connect(server.server.url());
  await sql`select pg_reload_conf()`.catch(() => {});
  await sql.end();
}, 90_000);
afterAll(() => server?.stop());

async function isEncrypted(url: string): Promise<unknown> {
  const sql = connect(url);
  try {
    const statement = () => sql`select ssl from pg_stat_ssl where pid = pg_backend_pid()`;
    const [[single], [begun]] = await Promise.all([
      statement(),
      sql.begin((transaction) =>
        transaction`select ssl from pg_stat_ssl where pid = pg_backend_pid()`
      ),
    ]);
    return [single?.ssl, begun?.ssl];
  } finally {
    await sql.end({ timeout: 1 });
  }
}

describe("a server that enforces TLS", () => {
  it("is talked to with TLS, for single statements and in transactions", async () => {
    expect(await isEncrypted(server.server.url())).toEqual([true, true]);
  });

  it("is as the address says, if it says", async () => {
    const url = server.server.url();
    expect(await isEncrypted(`${url}?sslmode=require`)).toEqual([true, true]);
    await expect(isEncrypted(`${url}?sslmode=disable`)).rejects.toThrow(/no pg_hba.conf entry/);
    // Its certificate is signed by nobody.
    await expect(isEncrypted(`${url}?sslmode=verify-full`)).rejects.toThrow(/certificate/);
  });

  it("is talked to with TLS from Deno, where the functions run", () => {
    const program = path.join(root, "functions/_shared/runtime/database.ts");
    const { stdout, stderr } = spawnSync(denoBinary(), [
      "eval",
      "--cached-only",
      `--config=${path.join(root, "deno.json")}`,
      `import { connect } from ${JSON.stringify(`file://${program}`)};
       const sql = connect(${JSON.stringify(server.server.url())});
       const [row] = await sql\`select ssl from pg_stat_ssl where pid = pg_backend_pid()\`;
       console.log(row.ssl);
       await sql.end();`,
    ], { cwd: root, encoding: "utf8", timeout: 30_000 });
    expect(stdout.trim(), stderr).toBe("true");
  });
});

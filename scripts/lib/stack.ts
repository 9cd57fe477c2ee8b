// The whole of Ridgeline on one machine: Postgres, REST, Auth, Edge Functions, stand-ins.
import { randomBytes } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { z } from "zod";
import type { ResendStandIn } from "../standins/resend.ts";
import { startResend } from "../standins/resend.ts";
import { type PostmarkStandIn, startPostmark } from "../standins/postmark.ts";
import { startTelnyx, type TelnyxStandIn } from "../standins/telnyx.ts";
import type { TwilioStandIn } from "../standins/twilio.ts";
import { startTwilio } from "../standins/twilio.ts";
import { EdgeFunction, endMarked, functionNames } from "./functions.ts";
import { type Gateway, listen, startLite } from "./gateway.ts";
import { startHeartbeat } from "./heartbeat.ts";
import {
  embeddedBinaries,
  PostgresServer,
  stateDirectory,
  temporaryDirectory,
  throwawaySettings,
} from "./postgres.ts";
import { commandLine, isAlive } from "./process.ts";
import {
  applySchema,
  bootstrap,
  enableTestClock,
  isSomebodys,
  schemaState,
  settleForDevelopment,
} from "./schema.ts";
import { connect, using } from "./scratch.ts";

export interface StackOptions {
  /** The port of the gateway; 0 for any that is free. */
  port?: number;
  /** An existing server to use instead of the embedded one. */
  databaseUrl?: string;
  /** Keep nothing: a temporary data directory, removed at the end. */
  ephemeral?: boolean;
  /** Texts go out at any hour: quiet hours are off in the embedded database. */
  anyHour?: boolean;
  /** Throw the embedded database of this port away first. */
  reset?: boolean;
  /** Where to say how the stack can be reached; null for nowhere. */
  stackFile?: string | null;
  /** Play pg_cron and pg_net (true unless told otherwise). */
  heartbeat?: boolean;
  /** More environment for the Edge Functions. */
  environment?: Record<string, string>;
  log?: (line: string) => void;
}

/** An error whose message is all there is to say: no stack trace. */
export class StackError extends Error {}

const Keys = z.object({
  publishableKey: z.string(),
  secretKey: z.string(),
  jwtSecret: z.string(),
  databasePassword: z.string(),
});
const Leftovers = z.object({ owner: z.number(), functions: z.array(z.number()) });

const opaque = (prefix: string, bytes = 24) => prefix + randomBytes(bytes).toString("base64url");

/** What .stack.json holds. */
export interface StackFile {
  apiUrl: string;
  databaseUrl: string;
  publishableKey: string;
  secretKey: string;
  twilioUrl: string;
  telnyxUrl: string;
  resendUrl: string;
  postmarkUrl: string;
}

export class Stack implements StackFile {
  apiUrl = "";
  databaseUrl = "";
  publishableKey = "";
  secretKey = "";
  twilioUrl = "";
  telnyxUrl = "";
  resendUrl = "";
  postmarkUrl = "";
  /** The embedded server; null when an existing one is used. */
  postgres: PostgresServer | null = null;
  /** The stand-ins; null where the environment names another address. */
  twilio: TwilioStandIn | null = null;
  telnyx: TelnyxStandIn | null = null;
  resend: ResendStandIn | null = null;
  postmark: PostmarkStandIn | null = null;
  readonly functions = new Map<string, EdgeFunction>();
  readonly #options: StackOptions;
  readonly #log: (line: string) => void;
  #undo: (() => Promise<unknown> | unknown)[] = [];
  #stopping: Promise<void> | undefined;

  private constructor(options: StackOptions) {
    this.#options = options;
    this.#log = options.log ?? (() => {});
  }

  /** Starts everything, or stops what it had started and says why. */
  static async start(
    options: StackOptions = {},
    created: (stack: Stack) => void = () => {},
  ): Promise<Stack> {
    const stack = new Stack(options);
    created(stack);
    try {
      await stack.#start();
    } catch (error) {
      await stack.stop();
      throw error;
    }
    return stack;
  }

  /** Stops everything that was started, last things first. */
  stop(): Promise<void> {
    this.#stopping ??= (async () => {
      for (let undo = this.#undo.pop(); undo; undo = this.#undo.pop()) {
        try {
          await undo();
        } catch (error) {
          this.#log(`While stopping: ${error instanceof Error ? error.message : String(error)}`);
        }
      }
    })();
    return this.#stopping;
  }

  // A stop may come in the middle of a start: what starts after it is stopped at once.
  async #onStop(undo: () => Promise<unknown> | unknown): Promise<void> {
    if (this.#stopping) {
      await undo();
      throw new StackError("Stopped while starting");
    }
    this.#undo.push(undo);
  }

  async #start(): Promise<void> {
    const gateway = await this.#takePort();
    const directory = await this.#stateDirectory(gateway.port);
    const keys = this.#keys(directory);
    this.apiUrl = gateway.url;
    this.publishableKey = keys.publishableKey;
    this.secretKey = keys.secretKey;
    await this.#startDatabase(directory, keys.databasePassword);
    await this.#startStandIns();
    const lite = await startLite({ ...keys, databaseUrl: this.databaseUrl, siteUrl: this.apiUrl });
    await this.#onStop(() => lite.close());
    await this.#startFunctions(directory, keys);
    gateway.open(lite, this.functions);
    await this.#startHeartbeat();
    await this.#writeStackFile();
  }

  async #takePort(): Promise<Gateway> {
    const wanted = this.#options.port ?? 54321;
    try {
      const gateway = await listen(wanted);
      await this.#onStop(() => gateway.close());
      return gateway;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
      throw new StackError(
        `Port ${wanted} is in use. End what uses it, or choose another: ` +
          `scripts/stack --port ${wanted + 10}`,
      );
    }
  }

  async #stateDirectory(port: number): Promise<string> {
    await sweepEphemeral();
    if (!this.#options.ephemeral) {
      const directory = stateDirectory(port);
      if (this.#options.reset) fs.rmSync(directory, { recursive: true, force: true });
      return stateDirectory(port);
    }
    const directory = temporaryDirectory("ephemeral");
    await this.#onStop(() => fs.rmSync(directory, { recursive: true, force: true }));
    return directory;
  }

  #keys(directory: string): z.infer<typeof Keys> {
    const file = path.join(directory, "keys.json");
    if (fs.existsSync(file)) return Keys.parse(JSON.parse(fs.readFileSync(file, "utf8")));
    const keys = {
      publishableKey: opaque("sb_publishable_"),
      secretKey: opaque("sb_secret_"),
      jwtSecret: opaque("", 48),
      databasePassword: opaque(""),
    };
    writeAtomically(file, keys);
    return keys;
  }

  async #startDatabase(directory: string, password: string): Promise<void> {
    const { databaseUrl, ephemeral } = this.#options;
    if (databaseUrl) {
      this.databaseUrl = databaseUrl;
    } else {
      const started = Date.now();
      const server = new PostgresServer({
        binaries: embeddedBinaries(),
        dataDirectory: path.join(directory, "postgres"),
        password,
        settings: ephemeral ? throwawaySettings : {},
      });
      const { otherVersion } = server;
      if (otherVersion !== undefined) {
        throw new StackError(
          `The database in ${directory} was made by Postgres ${otherVersion}, which is not the one ` +
            "started here. Throw it away: scripts/stack --reset. Or keep it, and serve it with a " +
            `Postgres ${otherVersion} of your own: scripts/stack --database-url URL`,
        );
      }
      await this.#onStop(() => server.stop(ephemeral ? "immediate" : "fast"));
      await server.start();
      this.postgres = server;
      this.databaseUrl = server.url();
      this.#log(`Postgres answers on port ${server.port} (${Date.now() - started} ms)`);
    }
    await using(this.databaseUrl, async (sql) => {
      await bootstrap(sql);
      const state = await schemaState(sql);
      if (state === "older") throw new StackError(olderSchema(directory));
      if (state === "behind") await applySchema(sql);
      if (state === "absent") {
        const somebodys = await isSomebodys(sql);
        await applySchema(sql, somebodys ? ["engine"] : ["engine", "crm"]);
        this.#log(
          somebodys
            ? "The engine is in the database, beside the tables that were there: docs/attach.md"
            : "The schema of sql/ is in the database",
        );
      }
      if (databaseUrl) return;
      await enableTestClock(sql, { anyHour: this.#options.anyHour ?? false });
      await sql`update automation.settings set value = 'notify' where name = 'doorbell'`;
      await settleForDevelopment(sql);
    });
  }

  async #startStandIns(): Promise<void> {
    const { TWILIO_BASE_URL, TELNYX_BASE_URL, RESEND_BASE_URL, POSTMARK_BASE_URL } = process.env;
    if (!TWILIO_BASE_URL) {
      const twilio = await startTwilio();
      await this.#onStop(() => twilio.stop());
      this.twilio = twilio;
    }
    if (!TELNYX_BASE_URL) {
      const telnyx = await startTelnyx();
      await this.#onStop(() => telnyx.stop());
      this.telnyx = telnyx;
    }
    if (!RESEND_BASE_URL) {
      const resend = await startResend();
      await this.#onStop(() => resend.stop());
      this.resend = resend;
    }
    if (!POSTMARK_BASE_URL) {
      const postmark = await startPostmark();
      await this.#onStop(() => postmark.stop());
      this.postmark = postmark;
    }
    this.twilioUrl = TWILIO_BASE_URL || this.twilio!.url;
    this.telnyxUrl = TELNYX_BASE_URL || this.telnyx!.url;
    this.resendUrl = RESEND_BASE_URL || this.resend!.url;
    this.postmarkUrl = POSTMARK_BASE_URL || this.postmark!.url;
  }

  async #startFunctions(directory: string, keys: z.infer<typeof Keys>): Promise<void> {
    const names = functionNames();
    const mark = `--ridgeline-stack=${directory}`;
    const leftovers = path.join(directory, "processes.json");
    await endLeftovers(leftovers, mark);
    const environment = this.#functionEnvironment(keys);
    const remember = () =>
      writeAtomically(leftovers, {
        owner: process.pid,
        functions: [...this.functions.values()].flatMap(({ pid }) => pid ?? []),
      });
    await this.#onStop(() => fs.rmSync(leftovers, { force: true }));
    remember();
    const started = Date.now();
    for (const name of names) {
      const edge = new EdgeFunction({
        name,
        environment,
        mark,
        log: this.#log,
        onSpawn: remember,
      });
      this.functions.set(name, edge);
      await this.#onStop(() => edge.stop());
    }
    await Promise.all([...this.functions.values()].map((edge) => edge.start()));
    if (names.length) {
      this.#log(`Edge Functions answer: ${names.join(", ")} (${Date.now() - started} ms)`);
    }
  }

  #functionEnvironment(keys: z.infer<typeof Keys>): Record<string, string> {
    const given = Object.entries(process.env).filter(([name, value]) =>
      value && /^(TWILIO|TELNYX|RESEND|POSTMARK|WEBHOOK|DISPATCH|RECONCILE)_/.test(name)
    ) as [string, string][];
    return {
      TWILIO_ACCOUNT_SID: "AC00000000000000000000000000000000",
      TWILIO_AUTH_TOKEN: "stand-in",
      ...(process.env.TWILIO_MESSAGING_SERVICE_SID ? {} : { TWILIO_FROM: "+15005550006" }),
      TELNYX_API_KEY: "KEY_standin",
      ...(this.telnyx ? { TELNYX_PUBLIC_KEY: this.telnyx.keys.publicKey } : {}),
      RESEND_API_KEY: "re_standin",
      RESEND_FROM: "Ridgeline <hello@ridgeline.example>",
      POSTMARK_SERVER_TOKEN: "postmark-standin",
      POSTMARK_FROM: "Ridgeline <hello@ridgeline.example>",
      POSTMARK_WEBHOOK_PASSWORD: "postmark-standin",
      WEBHOOK_ALLOW_PRIVATE: "true",
      ...Object.fromEntries(given),
      TWILIO_BASE_URL: this.twilioUrl,
      TELNYX_BASE_URL: this.telnyxUrl,
      RESEND_BASE_URL: this.resendUrl,
      POSTMARK_BASE_URL: this.postmarkUrl,
      DATABASE_URL: this.databaseUrl,
      SUPABASE_DB_URL: this.databaseUrl,
      SUPABASE_URL: this.apiUrl,
      UNSUBSCRIBE_PAGE_URL: `${this.apiUrl}/pages/unsubscribe.html`,
      SUPABASE_PUBLISHABLE_KEYS: JSON.stringify({ default: keys.publishableKey }),
      SUPABASE_SECRET_KEYS: JSON.stringify({ default: keys.secretKey }),
      ...this.#options.environment,
    };
  }

  async #startHeartbeat(): Promise<void> {
    if (this.#options.heartbeat === false) return;
    const sql = connect(this.databaseUrl, {
      max: 2,
      fetch_types: false,
      connection: { application_name: "ridgeline-heartbeat" },
    });
    await this.#onStop(() => sql.end({ timeout: 2 }));
    const dispatch = this.functions.has("dispatch") ? () => this.dispatch().then(() => {}) : null;
    const heartbeat = await startHeartbeat({ sql, dispatch, log: this.#log });
    await this.#onStop(() => heartbeat.stop());
  }

  /** Calls the dispatch function once, as pg_net would, and returns its answer. */
  async dispatch(body: Record<string, unknown> = {}): Promise<unknown> {
    const answer = await fetch(`${this.apiUrl}/functions/v1/dispatch`, {
      method: "POST",
      headers: { apikey: this.secretKey, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${answer.status} ${text.slice(0, 300)}`);
    return JSON.parse(text);
  }

  /** What a client needs to reach the stack. */
  describe(): StackFile {
    const { apiUrl, databaseUrl, publishableKey, secretKey } = this;
    const { twilioUrl, telnyxUrl, resendUrl, postmarkUrl } = this;
    return {
      apiUrl,
      databaseUrl,
      publishableKey,
      secretKey,
      twilioUrl,
      telnyxUrl,
      resendUrl,
      postmarkUrl,
    };
  }

  async #writeStackFile(): Promise<void> {
    const file = this.#options.stackFile;
    if (!file) return;
    writeAtomically(file, this.describe());
    await this.#onStop(() => {
      // Another stack may have written its own since.
      if (fs.existsSync(file) && fs.readFileSync(file, "utf8").includes(`"${this.apiUrl}"`)) {
        fs.rmSync(file);
      }
    });
  }
}

function olderSchema(directory: string): string {
  return [
    `The database in ${directory} was made from an older sql/.`,
    "There is no migration between unreleased versions: start afresh (its data is lost) with",
    "  scripts/stack --reset        the same port",
    "  scripts/stack --ephemeral    a database that lasts as long as the stack",
  ].join("\n");
}

function writeAtomically(file: string, content: unknown): void {
  const partial = `${file}.${process.pid}`;
  fs.writeFileSync(partial, JSON.stringify(content, null, 2) + "\n", { mode: 0o600 });
  fs.renameSync(partial, file);
}

function readLeftovers(file: string): z.infer<typeof Leftovers> | null {
  try {
    return Leftovers.parse(JSON.parse(fs.readFileSync(file, "utf8")));
  } catch {
    return null;
  }
}

async function endLeftovers(file: string, mark: string): Promise<void> {
  await endMarked(readLeftovers(file)?.functions ?? [], mark);
}

// Ephemeral stacks that were killed could not remove their directories and processes.
async function sweepEphemeral(): Promise<void> {
  const probe = temporaryDirectory("ephemeral");
  const parent = path.dirname(probe);
  fs.rmSync(probe, { recursive: true });
  for (const name of fs.readdirSync(parent)) {
    if (!name.startsWith("ridgeline-ephemeral-")) continue;
    const directory = path.join(parent, name);
    const left = readLeftovers(path.join(directory, "processes.json"));
    if (!left || (isAlive(left.owner) && /node/.test(commandLine(left.owner) ?? ""))) continue;
    try {
      await endMarked(left.functions, `--ridgeline-stack=${directory}`);
      await PostgresServer.endOrphan(path.join(directory, "postgres"));
      fs.rmSync(directory, { recursive: true, force: true });
    } catch {
      // Somebody else's: not ours to remove.
    }
  }
}

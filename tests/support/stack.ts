// A stack for tests, inside the test's own process, on a free port.
import { randomBytes } from "node:crypto";
import { inject } from "vitest";
import { apiClient, type Client } from "../../scripts/lib/client.ts";
import { cloneDatabase, connect, dropDatabase, using } from "../../scripts/lib/scratch.ts";
import { Stack, type StackOptions } from "../../scripts/lib/stack.ts";
import type { Sql } from "postgres";

export interface TestStack {
  stack: Stack;
  /** A pool of the owner's connections. */
  sql: Sql;
  /** supabase-js with the publishable key: anon until it signs in. */
  client: () => Client;
  /** supabase-js with the secret key: service_role. */
  service: () => Client;
  /** A new user, signed in. */
  signUp: (email?: string) => Promise<{ client: Client; userId: string }>;
  stop: () => Promise<void>;
}

/**
 * `ownPostgres` gives the stack a server of its own (stack.postgres) that the test may crash and
 * restart; otherwise it gets a database on the shared one, which is quicker. `prepare` may add to
 * that database what the API is to find: it looks at the schema once, at the start.
 */
export async function startTestStack(
  { ownPostgres = false, prepare = async () => {}, ...options }: StackOptions & {
    ownPostgres?: boolean;
    prepare?: (sql: Sql) => Promise<unknown>;
  } = {},
): Promise<TestStack> {
  const log: string[] = [];
  const name = `stack_${randomBytes(6).toString("hex")}`;
  const adminUrl = inject("adminUrl");
  const databaseUrl = ownPostgres ? undefined : await cloneDatabase(adminUrl, name);
  if (databaseUrl) {
    await using(databaseUrl, async (sql) => {
      await sql`update automation.settings set value = 'notify' where name = 'doorbell'`;
      await prepare(sql);
    });
  }
  let stack: Stack;
  try {
    stack = await Stack.start({
      port: 0,
      ephemeral: true,
      stackFile: null,
      anyHour: true,
      log: (line) => log.push(line),
      ...(databaseUrl ? { databaseUrl } : {}),
      ...options,
    });
  } catch (error) {
    if (databaseUrl) await dropDatabase(adminUrl, name);
    throw new Error(`${error instanceof Error ? error.message : error}\n${log.join("\n")}`, {
      cause: error,
    });
  }
  const sql = connect(stack.databaseUrl);
  const client = (key: string) => apiClient(stack.apiUrl, key);
  return {
    stack,
    sql,
    client: () => client(stack.publishableKey),
    service: () => client(stack.secretKey),
    signUp: async (email = `${randomBytes(6).toString("hex")}@ridgeline.example`) => {
      const signedUp = client(stack.publishableKey);
      const { data, error } = await signedUp.auth.signUp({ email, password: "a long password" });
      if (error || !data.user) throw error ?? new Error("No user came back");
      return { client: signedUp, userId: data.user.id };
    },
    stop: async () => {
      await sql.end({ timeout: 1 });
      await stack.stop();
      if (databaseUrl) await dropDatabase(adminUrl, name);
    },
  };
}

// A database of its own for each suite or test, cloned from the template in milliseconds.
import { randomBytes } from "node:crypto";
import type { Sql, TransactionSql } from "postgres";
import { afterAll, beforeAll, inject } from "vitest";
import {
  type ClientOptions,
  cloneDatabase,
  connect,
  dropDatabase,
} from "../../scripts/lib/scratch.ts";

export interface TestDatabase {
  url: string;
  /** A pool of the owner's connections. */
  sql: Sql;
  /** Further sessions, for tests about two of them; closed with the database. */
  connect: (options?: ClientOptions) => Sql;
}

export async function createTestDatabase(): Promise<TestDatabase & { drop: () => Promise<void> }> {
  const adminUrl = inject("adminUrl");
  const name = `test_${randomBytes(6).toString("hex")}`;
  const url = await cloneDatabase(adminUrl, name);
  const opened: Sql[] = [];
  const open = (options?: ClientOptions) => {
    const sql = connect(url, options);
    opened.push(sql);
    return sql;
  };
  return {
    url,
    sql: open(),
    connect: open,
    drop: async () => {
      await Promise.all(opened.map((sql) => sql.end({ timeout: 1 })));
      await dropDatabase(adminUrl, name);
    },
  };
}

/** Runs `work` in a database of its own. */
export async function withDatabase<T>(work: (database: TestDatabase) => Promise<T>): Promise<T> {
  const database = await createTestDatabase();
  try {
    return await work(database);
  } finally {
    await database.drop();
  }
}

/** One database for the suite that calls this; the function returned gives it to its tests. */
export function useDatabase(): () => TestDatabase {
  let database: Awaited<ReturnType<typeof createTestDatabase>> | undefined;
  beforeAll(async () => {
    database = await createTestDatabase();
  });
  afterAll(() => database?.drop());
  return () => {
    if (!database) throw new Error("The database exists only inside tests and hooks");
    return database;
  };
}

/** Runs `work` in a transaction as a role of the API: a signed-in user, anon or service_role. */
export async function asRole<T>(
  sql: Sql,
  who: { user: string } | "anon" | "service_role",
  work: (sql: TransactionSql) => Promise<T>,
): Promise<T> {
  const role = typeof who === "string" ? who : "authenticated";
  const claims = typeof who === "string" ? { role } : { role, sub: who.user };
  const result = await sql.begin(async (transaction) => {
    await transaction`
      select set_config('request.jwt.claims', ${JSON.stringify(claims)}, true),
        set_config('role', ${role}, true)`;
    return { value: await work(transaction) };
  });
  return result.value as T;
}

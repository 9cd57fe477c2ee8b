// Connections that end whenever they like: each is a retry or a 503, and never the end of a process.
import { setTimeout as sleep } from "node:timers/promises";
import net from "node:net";
import postgres from "postgres";
import { afterEach, describe, expect, it } from "vitest";
import { connect, isTransient } from "../../functions/_shared/database.ts";
import { type TestDatabase, useDatabase } from "../support/database.ts";
import { startTestStack, type TestStack } from "../support/stack.ts";

const soak = process.env.RIDGELINE_SOAK === "1";
const database = useDatabase();

/** A name by which the killer knows whose connections to end. */
function victim({ url }: TestDatabase, max = 4) {
  return connect(url, max);
}

const endAll = (sql: postgres.Sql) =>
  sql`select pg_terminate_backend(pid) from pg_stat_activity
    where application_name = 'ridgeline-dispatch' and datname = current_database()`;

/** Whatever went wrong, the next to ask is answered. */
async function answersAgain(sql: postgres.Sql): Promise<void> {
  const until = Date.now() + 15_000;
  for (;;) {
    try {
      await Promise.all(Array.from({ length: 8 }, () => sql`select 1`));
      return;
    } catch (error) {
      if (!isTransient(error) || Date.now() > until) throw error;
    }
  }
}

describe("a connection that is lost", { timeout: 60_000 }, () => {
  const moments: Record<string, (sql: postgres.TransactionSql) => Promise<unknown>> = {
    "while a statement runs": async (sql) => {
      await Promise.all([sql`select pg_sleep(10)`, sleep(100).then(() => endAll(database().sql))]);
    },
    "between two statements": async (sql) => {
      await sql`select 1`;
      await endAll(database().sql);
      await sql`select 2`;
    },
    "some time before the next statement": async (sql) => {
      await sql`select 1`;
      await endAll(database().sql);
      await sleep(60);
      await sql`select 2`;
    },
    "with many statements on their way": async (sql) => {
      await Promise.all([
        endAll(database().sql),
        ...Array.from({ length: 20 }, () => sql`select pg_sleep(0.05)`),
      ]);
    },
    "after an error of its own": async (sql) => {
      await sql`select 1 / 0`.catch(() => {});
      await endAll(database().sql);
      await sql`select 2`;
    },
    "just before the commit": async () => {
      await endAll(database().sql);
    },
  };

  it.each(Object.keys(moments))("%s is an error that can be tried again", async (moment) => {
    const sql = victim(database(), 2);
    try {
      for (let round = 0; round < 3; round++) {
        const error = await sql.begin(moments[moment]!).then(() => null, (one: unknown) => one);
        expect(error).toBeInstanceOf(Error);
        expect(isTransient(error) || /division by zero/.test(String(error)), String(error))
          .toBe(true);
        await answersAgain(sql);
      }
    } finally {
      await sql.end({ timeout: 1 });
    }
  });

  it("is noticed at once where nobody was using it", async () => {
    const sql = victim(database(), 1);
    try {
      for (let round = 0; round < 5; round++) {
        await sql`select 1`;
        await endAll(database().sql);
        await sleep(30);
        expect(await sql`select 2 as n`).toMatchObject([{ n: 2 }]);
      }
    } finally {
      await sql.end({ timeout: 1 });
    }
  });

  it("is no reason to open it in plain text where TLS was asked for", async () => {
    const server = net.createServer((socket) => socket.once("data", () => socket.write("N")));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as net.AddressInfo;
    const sql = connect(`postgres://nobody@127.0.0.1:${port}/x?sslmode=require`, 1);
    await expect(sql`select 1`).rejects.toMatchObject({ code: "TLS_REFUSED" });
    await sql.end({ timeout: 1 });
    server.close();
  });
});

describe("under load, with backends ended at random", () => {
  let running: TestStack | undefined;
  afterEach(() => running?.stop());
  const seconds = soak ? 60 : 8;

  it(`nothing dies and nothing stays broken for ${seconds} s`, {
    timeout: 120_000 + seconds * 2_000,
  }, async () => {
    running = await startTestStack();
    const { stack, sql } = running;
    const alive = () => [...stack.functions].map(([name, { pid }]) => `${name} ${pid}`);
    const before = alive();
    const answers = new Map<string, number>();
    const until = Date.now() + seconds * 1_000;
    const paths = [
      "/rest/v1/tenants?select=id",
      "/functions/v1/workflows/executions?limit=1",
      "/functions/v1/workflows/workflows",
    ];
    const ask = async (path: string) => {
      while (Date.now() < until) {
        const answer = await fetch(stack.apiUrl + path, { headers: { apikey: stack.secretKey } });
        await answer.arrayBuffer();
        const key = `${path.split("?")[0]} ${answer.status}`;
        answers.set(key, (answers.get(key) ?? 0) + 1);
      }
    };
    let ended = 0;
    const kill = async () => {
      while (Date.now() < until) {
        const gone = await sql`
          select pg_terminate_backend(pid) from pg_stat_activity
          where datname = current_database() and application_name like 'ridgeline-%'
          order by random() limit 1`;
        ended += gone.length;
        await sleep(20);
      }
    };
    const killers = running.sql;
    await Promise.all([kill(), ...paths.flatMap((path) => [ask(path), ask(path)])]);
    console.log(`${ended} connections ended; answers:`, Object.fromEntries(answers));
    expect(alive()).toEqual(before);
    const refused = [...answers.keys()].filter((key) => !/ (200|404|503)$/.test(key));
    expect(refused).toEqual([]);
    for (const path of paths) {
      const deadline = Date.now() + 20_000;
      let status = 0;
      while (status !== 200 && status !== 404 && Date.now() < deadline) {
        ({ status } = await fetch(stack.apiUrl + path, { headers: { apikey: stack.secretKey } }));
      }
      expect([200, 404]).toContain(status);
    }
    await killers`select 1`;
  });
});

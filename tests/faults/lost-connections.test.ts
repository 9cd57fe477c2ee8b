// Connections that end whenever they like: each is a retry or a 503, and never the end of a process.
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import postgres from "postgres";
import { afterEach, describe, expect, it } from "vitest";
import { connect, isTransient } from "../../functions/_shared/runtime/database.ts";
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
  const until = Date.now() + 5_000;
  for (;;) {
    await sleep(20);
    try {
      await Promise.all(Array.from({ length: 8 }, () => sql`select 1`));
      return;
    } catch (error) {
      if (!isTransient(error) || Date.now() > until) throw error;
    }
  }
}

describe("a connection that is lost", () => {
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

  it("takes everything of its transaction with it, also what waited for its turn", async () => {
    const sql = victim(database(), 2);
    const { sql: owner } = database();
    await owner`create table public.parts (name text)`;
    try {
      for (let round = 0; round < 5; round++) {
        const work = sql.begin(async (own) => {
          await own`insert into public.parts values (${"first"})`;
          const rest = Array.from(
            { length: 20 },
            (_, n) =>
              own`insert into public.parts select ${`part ${n}`} from pg_sleep(0.02)`.catch(
                () => {},
              ),
          );
          await sleep(10 * round);
          await endAll(owner);
          await Promise.all(rest);
          await own`insert into public.parts values (${"last"})`.catch(() => {});
          await sleep(100);
          await own`insert into public.parts values (${"late"})`.catch(() => {});
        });
        await expect(work).rejects.toSatisfy(isTransient);
        expect(await owner`select name from public.parts`).toEqual([]);
      }
      await answersAgain(sql);
    } finally {
      await sql.end({ timeout: 1 });
      await owner`drop table public.parts`;
    }
  });

  it("leaves no transaction waiting for a connection that will not come back", async () => {
    const sql = victim(database(), 2);
    try {
      const works = Array.from({ length: 12 }, () =>
        sql.begin(async (own) => {
          await own`select pg_sleep(0.05)`;
          return "done";
        }).catch(isTransient));
      await sleep(70);
      await endAll(database().sql);
      const outcomes = await Promise.all(works);
      expect(outcomes).not.toContain(false);
      expect(outcomes).toContain("done");
    } finally {
      await sql.end({ timeout: 1 });
    }
  });

  it("has not begun for who comes later: an idle connection that was lost is replaced", async () => {
    const sql = victim(database(), 1);
    try {
      for (let round = 0; round < 5; round++) {
        expect(await sql.begin((own) => own`select 1 as n`)).toMatchObject([{ n: 1 }]);
        await endAll(database().sql);
      }
    } finally {
      await sql.end({ timeout: 1 });
    }
  });
});

describe("a transaction", () => {
  it("in which a statement failed is not reported as done, though nobody looked", async () => {
    const sql = victim(database(), 1);
    try {
      const work = sql.begin(async (own) => {
        await own`select 1 / 0`.catch(() => {});
      });
      await expect(work).rejects.toMatchObject({ code: "25P02" });
      await expect(sql.begin("read only", (own) => own`create table public.parts ()`))
        .rejects.toMatchObject({ code: "25006" });
      expect(await sql.begin((own) => own`select 1 as n`)).toMatchObject([{ n: 1 }]);
    } finally {
      await sql.end({ timeout: 1 });
    }
  });
});

describe("a statement", () => {
  const pidOf = async (sql: postgres.Sql) => (await sql`select pg_backend_pid() as pid`)[0]?.pid;

  it("goes to the session that was used last, and to another only beside one that is under way", async () => {
    const sql = victim(database(), 3);
    try {
      const beside = await Promise.all(
        Array.from({ length: 3 }, () => sql`select pg_backend_pid() as pid, pg_sleep(0.2)`),
      );
      expect(new Set(beside.map(([row]) => row?.pid)).size).toBe(3);
      const one = new Set<unknown>();
      for (let n = 0; n < 6; n++) one.add(await pidOf(sql));
      expect(one.size).toBe(1);
    } finally {
      await sql.end({ timeout: 1 });
    }
  });

  it("that is cancelled while it waits for a session takes none, and none is lost by an error", async () => {
    const sql = victim(database(), 1);
    try {
      const first = sql`select pg_sleep(0.3)`.execute();
      await sleep(50);
      const second = sql`select 2`.execute();
      const refused = expect(second).rejects.toMatchObject({ code: "57014" });
      await sleep(20);
      second.cancel();
      await refused;
      await first;
      await expect(sql`select 1 / 0`).rejects.toMatchObject({ code: "22012" });
      expect(await pidOf(sql)).toBe(await pidOf(sql));
    } finally {
      await sql.end({ timeout: 1 });
    }
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
    const { apiUrl, secretKey } = stack;
    const [tenant] = await sql<[{ id: string }]>`
      insert into public.tenants (name) values ('Cascade Decks') returning id`;
    const trigger = JSON.stringify({
      trigger_type: "contact_created",
      trigger_data: {},
      tenant_id: tenant.id,
    });
    const requests: Record<string, () => Promise<Response>> = {
      rest: () => fetch(`${apiUrl}/rest/v1/tenants?select=id`, { headers: { apikey: secretKey } }),
      history: () =>
        fetch(`${apiUrl}/functions/v1/workflows/history?tenant_id=${tenant.id}`, {
          headers: { apikey: secretKey },
        }),
      execute: () =>
        fetch(`${apiUrl}/functions/v1/workflows/execute`, {
          method: "POST",
          headers: {
            apikey: secretKey,
            "content-type": "application/json",
            "idempotency-key": randomUUID(),
          },
          body: trigger,
        }),
    };
    const alive = () => [...stack.functions].map(([name, { pid }]) => `${name} ${pid}`);
    const before = alive();
    const answers: Record<string, number> = {};
    const strange: string[] = [];
    const until = Date.now() + seconds * 1_000;
    const ask = async (name: string, request: () => Promise<Response>) => {
      while (Date.now() < until) {
        const answer = await request();
        const text = await answer.text();
        const key = `${name} ${answer.status}`;
        answers[key] = (answers[key] ?? 0) + 1;
        if (!answer.ok && answer.status !== 503) strange.push(`${key} ${text}`);
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
    const asked = Object.entries(requests);
    await Promise.all([kill(), ...[...asked, ...asked].map(([name, call]) => ask(name, call))]);
    console.log(`${ended} connections ended; answers:`, answers);
    expect(strange).toEqual([]);
    expect(alive()).toEqual(before);
    for (const [name, request] of asked) {
      await expect.poll(async () => {
        const answer = await request();
        await answer.arrayBuffer();
        return `${name} ${answer.status}`;
      }, { timeout: 20_000 }).toMatch(/ 200$/);
    }
  });
});

// Clients of postgres.js that outlive the loss of a connection, which its own pool does not: what is
// written to a connection that has just closed, if only the rollback of a transaction, ends the
// process with an error that nobody can catch, leaves that place of the pool unusable, or lands in
// whatever session it has been opened for since. Here a connection for several statements has a client
// of its own, and is never written to after it closed; and a pool that lost a connection is replaced.
import postgres, { type ReservedSql, type Sql, type TransactionSql } from "postgres";

const IDLE_MS = 20_000;
const LONGEST_LIFE_MS = 30 * 60_000;

interface Session {
  sql: Sql;
  born: number;
  isUsed: boolean;
  isLost: boolean;
  idle?: ReturnType<typeof setTimeout>;
}

class Sessions {
  readonly #template: Sql;
  readonly #all = new Set<Session>();
  readonly #idle: Session[] = [];
  readonly #waiting: { resolve: (session: Session) => void; reject: (error: Error) => void }[] = [];
  #isEnded = false;

  constructor(template: Sql) {
    this.#template = template;
  }

  take(): Promise<Session> {
    if (this.#isEnded) return Promise.reject(ended());
    const session = this.#idle.pop();
    clearTimeout(session?.idle);
    if (session) return Promise.resolve(session);
    if (this.#all.size < this.#template.options.max) return Promise.resolve(this.#open());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  give(session: Session): void {
    if (session.isLost) return;
    session.isUsed = true;
    if (Date.now() - session.born > LONGEST_LIFE_MS) return this.discard(session);
    const next = this.#waiting.shift();
    if (next) return next.resolve(session);
    this.#idle.push(session);
    session.idle = setTimeout(() => this.discard(session), IDLE_MS);
  }

  discard(session: Session): void {
    if (session.isLost) return;
    session.isLost = true;
    clearTimeout(session.idle);
    this.#all.delete(session);
    if (this.#idle.includes(session)) this.#idle.splice(this.#idle.indexOf(session), 1);
    session.sql.end({ timeout: 0 }).catch(() => {});
    const next = this.#isEnded ? undefined : this.#waiting.shift();
    next?.resolve(this.#open());
  }

  async end(timeout?: number): Promise<void> {
    this.#isEnded = true;
    for (const { reject } of this.#waiting.splice(0)) reject(ended());
    const all = [...this.#all];
    await Promise.all(all.map(({ sql }) => sql.end(timeout === undefined ? {} : { timeout })));
    all.forEach((session) => this.discard(session));
  }

  #open(): Session {
    const session: Session = {
      // The client must not close between two statements for being idle or old. A statement that still
      // waited for a connection that was lost is refused before the client could open another.
      sql: another(this.#template, {
        max: 1,
        fetch_types: false,
        max_lifetime: 0,
        idle_timeout: 60,
        onclose: () => this.discard(session),
      }),
      born: Date.now(),
      isUsed: false,
      isLost: false,
    };
    this.#all.add(session);
    return session;
  }
}

const ended = () =>
  Object.assign(new Error("the connections were ended"), { code: "CONNECTION_ENDED" });

/** Another client like this one. Options that were read once are taken as they are. */
function another({ options }: Sql, more: Record<string, unknown>): Sql {
  const shared = "shared" in options ? options.shared as Record<string, unknown> : {};
  return postgres({ ...options, shared: { ...shared, retries: 0 }, ...more } as unknown as string);
}

/** A session in a transaction; one that had been lost unnoticed while it lay idle does not count. */
async function begun(sessions: Sessions, mode: string): Promise<Session> {
  for (;;) {
    const session = await sessions.take();
    try {
      await session.sql.unsafe(`begin ${mode}`);
      return session;
    } catch (error) {
      sessions.discard(session);
      if (!session.isUsed) throw error;
    }
  }
}

async function transact<T>(
  sessions: Sessions,
  mode: string,
  work: (sql: TransactionSql) => Promise<T>,
): Promise<T> {
  const session = await begun(sessions, mode);
  try {
    const value = await work(session.sql as unknown as TransactionSql);
    const { command } = await session.sql.unsafe("commit");
    // Postgres answers so when a statement has failed, though the work went on as if it had not.
    if (command !== "COMMIT") {
      throw Object.assign(new Error("the transaction was rolled back"), { code: "25P02" });
    }
    sessions.give(session);
    return value;
  } catch (error) {
    if (!session.isLost) {
      await session.sql.unsafe("rollback").then(
        () => sessions.give(session),
        () => sessions.discard(session),
      );
    }
    throw error;
  }
}

async function reserve(sessions: Sessions): Promise<ReservedSql> {
  const session = await sessions.take();
  return Object.assign(session.sql, { release: () => sessions.give(session) });
}

type End = { timeout?: number };

/** Mends `reserve` of a client that somebody else uses, for nothing but that. */
export function mendReserve(client: Sql): void {
  const sessions = new Sessions(client);
  const end = client.end.bind(client);
  Object.assign(client, {
    reserve: () => reserve(sessions),
    end: async (options?: End) => {
      await Promise.all([end(options), sessions.end(options?.timeout)]);
    },
  });
}

/**
 * A client like this one, whose connections may be lost at any time. Its `begin` has no savepoints.
 * A client that is replaced finishes the statements that it has, within the time of the longest of
 * them. One that was sent between the error and the close of its connection fails only then.
 */
export function outliving(template: Sql): Sql {
  const sessions = new Sessions(template);
  let isEnded = false;
  const open = (): Sql => {
    const client: Sql = another(template, {
      onclose: () => {
        if (isEnded || client !== current) return;
        current = open();
        client.end({ timeout: 10 }).catch(() => {});
      },
    });
    return client;
  };
  let current = open();

  type Work = (sql: TransactionSql) => Promise<unknown>;
  const own: Record<PropertyKey, unknown> = {
    begin: (...given: [Work] | [string, Work]) =>
      given.length === 1
        ? transact(sessions, "", given[0])
        : transact(sessions, given[0], given[1]),
    reserve: () => reserve(sessions),
    end: async (options?: End) => {
      isEnded = true;
      await Promise.all([current.end(options), sessions.end(options?.timeout)]);
    },
  };
  return new Proxy(template, {
    apply: (_, self, given) => Reflect.apply(current, self, given),
    get: (_, name) => own[name] ?? Reflect.get(current, name),
  });
}

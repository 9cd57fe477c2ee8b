// Clients of postgres.js that outlive the loss of a connection, which its own pool does not: what is
// written to a connection that has just closed, if only the rollback of a transaction, ends the
// process with an error that nobody can catch, leaves that place of the pool unusable, or lands in
// whatever session it has been opened for since. Here a connection for several statements has a client
// of its own, and is never written to after it closed.
import postgres, { type ReservedSql, type Sql, type TransactionSql } from "postgres";

const IDLE_MS = 20_000;
const LONGEST_LIFE_MS = 30 * 60_000;

interface Session {
  sql: Sql;
  born: number;
  isUsed: boolean;
  isLost: boolean;
  idleSince: number;
  idle?: ReturnType<typeof setTimeout>;
}

/**
 * Whoever needs a session gets the one that was used last: its backend has plans and catalogs at hand, and those that
 * a quiet hour does not need are closed. A pool of postgres.js takes turns, so that all of them stay, and are cold.
 */
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
    session.idleSince = Date.now();
    session.idle ??= setTimeout(() => this.#expire(session), IDLE_MS);
  }

  /** A timer that looks again is less than one for every statement. */
  #expire(session: Session): void {
    delete session.idle;
    if (session.isLost || !this.#idle.includes(session)) return;
    const left = session.idleSince + IDLE_MS - Date.now();
    if (left <= 0) this.discard(session);
    else session.idle = setTimeout(() => this.#expire(session), left);
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
        idle_timeout: 0,
        onclose: () => this.discard(session),
      }),
      born: Date.now(),
      isUsed: false,
      isLost: false,
      idleSince: 0,
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

/** What postgres.js calls with a query when it is awaited, and types do not show. */
interface Pending extends Promise<unknown> {
  handler: (query: Pending) => unknown;
  cancelled: unknown;
  reject: (error: unknown) => void;
}

const isPending = (value: unknown): value is Pending =>
  value instanceof Promise && "handler" in value && "cancelled" in value;

/** Of a server: it answered, and its session is as good as before. */
const isAnswer = (error: unknown) => error instanceof postgres.PostgresError;

async function execute(sessions: Sessions, query: Pending): Promise<void> {
  const session = await sessions.take().catch(query.reject);
  if (!session) return;
  // Cancelled while it waited for one.
  if (query.cancelled) return sessions.give(session);
  query.then(
    () => sessions.give(session),
    (error: unknown) => isAnswer(error) ? sessions.give(session) : sessions.discard(session),
  );
  const own: unknown = session.sql``;
  if (isPending(own)) own.handler(query);
}

/**
 * A client like this one, whose connections may be lost at any time. Its `begin` has no savepoints. A statement that
 * was sent between the error and the close of its connection fails only then.
 */
export function outliving(template: Sql): Sql {
  const statements = new Sessions(template);
  const transactions = new Sessions(template);

  /** A piece of a statement, which nobody awaits, never comes here. */
  function sent<Q>(query: Q): Q {
    if (isPending(query)) query.handler = (own) => execute(statements, own);
    return query;
  }

  type Work = (sql: TransactionSql) => Promise<unknown>;
  const own: Record<PropertyKey, unknown> = {
    unsafe: (...given: Parameters<Sql["unsafe"]>) => sent(template.unsafe(...given)),
    begin: (...given: [Work] | [string, Work]) =>
      given.length === 1
        ? transact(transactions, "", given[0])
        : transact(transactions, given[0], given[1]),
    reserve: () => reserve(transactions),
    end: async (options?: End) => {
      await Promise.all([
        template.end(options),
        statements.end(options?.timeout),
        transactions.end(options?.timeout),
      ]);
    },
  };
  return new Proxy(template, {
    apply: (_, self, given) => sent(Reflect.apply(template, self, given)),
    get: (_, name) => own[name] ?? Reflect.get(template, name),
  });
}

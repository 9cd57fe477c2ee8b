import type { JSONValue, TransactionSql } from "postgres";
import { z } from "zod";
import { requireSecretKey } from "./auth.ts";
import type { Database } from "../runtime/database.ts";
import { RequestError } from "../runtime/errors.ts";
import { Problem } from "./problem.ts";
import type { Claims, VerifyToken } from "./token.ts";
import { requireVersion } from "../engine/version.ts";

/** Who calls: a signed-in user with their claims, or the office's own server with a secret key. */
export type Caller = ({ kind: "user"; claims: Claims } | { kind: "service" }) & {
  /** Whose rows the request means, where it says so: an id alone may be several tenants'. */
  tenantId?: string;
  /** From where, as the proxies in front of the functions say: for the record of changes. */
  forwardedFor?: string;
};

export interface Credentials {
  secretKeys: () => readonly string[];
  verify: VerifyToken;
}

/**
 * A user's token counts for more than any key beside it: what carries both acts for the user.
 * Clients that have nobody signed in repeat their key in `authorization`.
 */
export async function identify(request: Request, credentials: Credentials): Promise<Caller> {
  const bearer = /^Bearer\s+(\S+)$/i.exec(request.headers.get("authorization") ?? "")?.[1];
  const key = request.headers.get("apikey");
  const forwardedFor = request.headers.get("x-forwarded-for") ?? undefined;
  if (bearer !== undefined && bearer !== key && !bearer.startsWith("sb_")) {
    return { kind: "user", claims: await credentials.verify(bearer), forwardedFor };
  }
  try {
    requireSecretKey(request, credentials.secretKeys());
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    throw new Problem(
      401,
      "unauthorized",
      "send a user's access token (Authorization: Bearer ...), or a secret key in apikey",
      { headers: { "www-authenticate": "Bearer" } },
    );
  }
  return { kind: "service", forwardedFor };
}

const STATEMENT_TIMEOUT = "8s";

/** From here to the end of the transaction, Postgres itself holds the caller to their rights. */
export async function become(sql: TransactionSql, caller: Caller): Promise<void> {
  const role = caller.kind === "user" ? "authenticated" : "service_role";
  const claims = caller.kind === "user" ? caller.claims : { role };
  // What is not known is left out.
  const headers = { "x-tenant-id": caller.tenantId, "x-forwarded-for": caller.forwardedFor };
  await sql`
    select set_config('statement_timeout', ${STATEMENT_TIMEOUT}, true),
      set_config('request.jwt.claims', ${JSON.stringify(claims)}, true),
      set_config('request.headers', ${JSON.stringify(headers)}, true),
      set_config('role', ${role}, true)`;
}

export type Work = (sql: TransactionSql) => Promise<Answer>;

export interface Answer {
  status: number;
  body: JSONValue;
}

/** Looks without touching: a read-only transaction refuses to write. */
export function look(database: Database, caller: Caller, work: Work): Promise<Answer> {
  return transaction(database, "read only", async (sql) => {
    await become(sql, caller);
    return await work(sql);
  });
}

export interface IdempotentRequest {
  key: string;
  /** What tells the tenant, where the request does not name it. */
  input: JSONValue;
  /** Method, path and body: what must be the same for the same answer. */
  fingerprint: JSONValue;
}

const begun = z.object({
  verdict: z.enum(["new", "replay", "mismatch", "in_flight"]),
  status: z.int().nullable(),
  answer: z.unknown(),
});

/**
 * Does the work, once a key. The answer is kept in the same transaction, so a call that breaks off
 * anywhere has either done nothing or is answered the same when it is repeated.
 */
export function act(
  database: Database,
  caller: Caller,
  request: IdempotentRequest | undefined,
  work: Work,
): Promise<Answer & { replayed: boolean }> {
  return transaction(database, "", async (sql) => {
    const scope = request ? await scopeOf(sql, caller, request) : "";
    if (request) {
      const first = await begin(sql, scope, request);
      if (first) return { ...first, replayed: true };
    }
    await become(sql, caller);
    const answer = await work(sql);
    if (request) {
      const { key, fingerprint } = request;
      await sql`select set_config('role', 'none', true)`;
      await sql`
        select automation.keep_answer(
          ${scope}, ${key}, ${sql.json(fingerprint)}, ${answer.status}, ${sql.json(answer.body)})`;
    }
    return { ...answer, replayed: false };
  });
}

/** Whose idempotency keys these are: a key belongs to a tenant. */
async function scopeOf(
  sql: TransactionSql,
  caller: Caller,
  { input }: IdempotentRequest,
): Promise<string> {
  await become(sql, caller);
  const [row] = await sql`select automation.request_scope(${sql.json(input)}) as scope`;
  await sql`select set_config('role', 'none', true)`;
  return z.string().parse(row?.scope);
}

async function begin(
  sql: TransactionSql,
  scope: string,
  request: IdempotentRequest,
): Promise<Answer | undefined> {
  const { key, fingerprint } = request;
  const [row] = await sql`
    select * from automation.begin_request(${scope}, ${key}, ${sql.json(fingerprint)})`;
  const { verdict, status, answer } = begun.parse(row);
  switch (verdict) {
    case "new":
      return undefined;
    case "replay":
      return { status: status ?? 200, body: answer as JSONValue };
    case "mismatch":
      throw new Problem(
        422,
        "idempotency_key_reused",
        "this Idempotency-Key was used for another request",
        {
          errors: [{
            field: "Idempotency-Key",
            message: "was used for another request",
            fix: "make a new key for every new request",
          }],
        },
      );
    case "in_flight":
      throw new Problem(
        409,
        "request_in_flight",
        "the first request with this Idempotency-Key has not been answered yet",
        { headers: { "retry-after": "1" } },
      );
  }
}

async function transaction<T>(
  database: Database,
  options: string,
  work: (sql: TransactionSql) => Promise<T>,
): Promise<T> {
  // postgres.js unwraps arrays of promises in what it is given back; a wrapped value is kept as it is.
  const { value } = await database.begin(options, async (sql) => {
    await requireVersion(database, sql);
    return { value: await work(sql) };
  });
  return value;
}

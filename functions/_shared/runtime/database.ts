import postgres from "postgres";
import { codeOf, TimeoutError } from "./errors.ts";
import { parseJson, stringifyJson } from "./json.ts";
import { outliving } from "./sessions.ts";

export type Database = postgres.Sql;

/**
 * Safe behind a transaction pooler: no prepared statements, no session settings, no LISTEN, and no
 * query of its own (`fetch_types`) before the first one. Up to `max` connections for single
 * statements, and as many for transactions.
 */
export function connect(url: string, max = 4): Database {
  // A server that enforces TLS refuses a plain connection, an embedded one has none: whatever it
  // offers, unless the address says which (sslmode=disable, require, verify-full).
  const says = /[?&](sslmode|ssl|sslrootcert)=/.test(url);
  return outliving(postgres(url, {
    ...(says ? {} : { ssl: "prefer" }),
    max,
    prepare: false,
    fetch_types: false,
    connect_timeout: 10,
    idle_timeout: 20,
    backoff: (attempts) => Math.min(0.05 * 2 ** attempts, 1),
    onnotice: () => {},
    // 114 is json, 3802 jsonb: no digit of a number is lost, in either direction.
    types: { json: { to: 114, from: [114, 3802], parse: parseJson, serialize: stringifyJson } },
    connection: { application_name: "ridgeline-dispatch" },
  }));
}

/**
 * A text as a literal of SQL, for a statement without parameters. Without prepared statements postgres.js asks what
 * the parameters of a statement are before it sends them, which is a trip more for each. As libpq's
 * PQescapeLiteral() has it; good in a session that speaks UTF-8, which is what postgres.js asks for.
 */
export function literal(text: string): string {
  if (text.includes("\0")) throw new RangeError("U+0000 cannot be in a text of Postgres");
  return `E'${text.replace(/['\\]/g, "$&$&")}'`;
}

const LOST_CONNECTION = new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "CONNECTION_DESTROYED",
  "CONNECT_TIMEOUT",
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);

/** Connection exceptions, shutdown and start-up, too many connections, serialization, deadlock, failover. */
const TRANSIENT_SQLSTATE = /^(08...|57P0[1-4]|53[0-3]00|40001|40P01|25006|55P03|57014)$/;

/** A statement was cut off: it took too long, or waited too long for what somebody else holds. */
export function isCutOff(error: unknown): boolean {
  return error instanceof TimeoutError || /^(55P03|57014)$/.test(codeOf(error) ?? "");
}

/** The same call may well succeed in a moment. */
export function isTransient(error: unknown): boolean {
  if (error instanceof TimeoutError) return true;
  const code = codeOf(error);
  return code !== undefined && (LOST_CONNECTION.has(code) || TRANSIENT_SQLSTATE.test(code));
}

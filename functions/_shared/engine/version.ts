// The functions are deployed at one moment and the migrations pushed at another. Whichever comes first,
// both go on as long as they are at most one version apart; beyond that nothing is touched.
import type { Sql, TransactionSql } from "postgres";
import { z } from "zod";
import { codeOf, VersionError } from "../runtime/errors.ts";

/** What these functions call and read; automation.api_version() says what the database offers. */
export const API_VERSION = 2;

/** A worker may outlive an upgrade of its database. */
const READ_AGAIN_MS = 60_000;

const row = z.object({
  api: z.int(),
  version: z.string(),
  server: z.int(),
  sms: z.string(),
  email: z.string(),
});

export interface Offer {
  api: number;
  /** Of Postgres: 17. */
  server: number;
  /** Who carries what the environment's own sender says, by channel: the settings sms_provider and email_provider. */
  providers: Readonly<Record<"sms" | "email", string>>;
}

/** Throws what to do when the two are more than one apart. */
export function checkVersion(api: number, version: string, ours = API_VERSION): void {
  if (Math.abs(api - ours) <= 1) return;
  const both = `the database has Ridgeline ${version} (API version ${api}), ` +
    `these functions speak API version ${ours}`;
  throw new VersionError(
    api > ours
      ? `${both}: deploy the functions of that release (supabase functions deploy)`
      : `${both}: apply the migrations of their release (supabase db push)`,
  );
}

type Reader = Sql | TransactionSql;

async function readVersion(sql: Reader): Promise<z.infer<typeof row>> {
  try {
    const rows = await sql`
      select automation.api_version() as api, automation.version() as version,
             current_setting('server_version_num')::int / 10000 as server,
             automation.setting('sms_provider') as sms, automation.setting('email_provider') as email`;
    return row.parse(rows[0]);
  } catch (error) {
    // There is no such function, or no such schema.
    if (!["42883", "3F000"].includes(codeOf(error) ?? "")) throw error;
    throw new VersionError(
      "the database has no release of Ridgeline: apply its migrations (supabase db push)",
    );
  }
}

const checks = new WeakMap<object, (sql: Reader) => Promise<Offer>>();

/**
 * Asked before every use of a database, and reads once a minute, through `sql`, a transaction of it. What
 * cannot be read is read again. Returns the API version of the database, the release of its server, and its providers.
 */
export function requireVersion(database: Sql, sql: Reader = database): Promise<Offer> {
  let check = checks.get(database);
  if (!check) checks.set(database, check = versionCheck());
  return check(sql);
}

export function versionCheck(ours = API_VERSION): (sql: Reader) => Promise<Offer> {
  let reading: Promise<Offer> | undefined;
  let until = 0;
  return (sql) => {
    if (reading === undefined || performance.now() > until) {
      until = performance.now() + READ_AGAIN_MS;
      reading = readVersion(sql).then(({ api, version, server, ...providers }) => {
        checkVersion(api, version, ours);
        return { api, server, providers };
      });
      reading.catch(() => reading = undefined);
    }
    return reading;
  };
}

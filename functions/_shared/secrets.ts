import type { JSONValue } from "postgres";
import { z } from "zod";
import type { Database } from "./database.ts";

/** What a delivery may ask of the tenant's part of the Vault: at the send, and for it alone. */
export interface Secrets {
  /** The secret of that name, or undefined. */
  read(tenantId: string, name: string): Promise<string | undefined>;
  /** What webhooks are signed with, newest first; none: the environment's will do, if it serves. */
  signing(tenantId: string, name?: string): Promise<Signing>;
  /** The tenant's own signing secret, made now if there is none. */
  firstSigning(tenantId: string): Promise<string | undefined>;
}

const signing = z.object({ secrets: z.array(z.string()), environment_serves: z.boolean() });
export type Signing = z.infer<typeof signing>;

const one = z.object({ secret: z.string().nullable() });

export function createSecrets(sql: () => Database): Secrets {
  return {
    async read(tenantId, name) {
      const [row] = await sql()`select automation.read_secret(${tenantId}, ${name}) as secret`;
      return one.parse(row).secret ?? undefined;
    },
    async signing(tenantId, name) {
      const [row] = await sql()`
        select to_jsonb(secrets) as secrets, environment_serves
        from automation.signing_secrets(${tenantId}, ${name ?? null})`;
      return signing.parse(row);
    },
    async firstSigning(tenantId) {
      const [row] = await sql()`select automation.first_signing_secret(${tenantId}) as secret`;
      return one.parse(row).secret ?? undefined;
    },
  };
}

/** For whoever has no database: nobody has a secret, and the environment serves everybody. */
export const noSecrets: Secrets = {
  read: () => Promise.resolve(undefined),
  signing: () => Promise.resolve({ secrets: [], environment_serves: true }),
  firstSigning: () => Promise.resolve(undefined),
};

/** A step names a secret that its tenant has not set: an operator's doing, not the provider's. */
export class SecretMissingError extends Error {
  override readonly name = "SecretMissingError";
  constructor(readonly secret: string) {
    super(`there is no secret "${secret}": an owner or admin sets it with set_secret`);
  }
}

const reference = z.strictObject({ secret: z.string(), prefix: z.string().optional() });
const withHeaders = z.looseObject({ headers: z.record(z.string(), z.unknown()) });

/** Header values such as {"secret": "crm", "prefix": "Bearer "} become what they stand for. */
export async function resolveHeaders(
  payload: unknown,
  tenantId: string,
  secrets: Secrets,
): Promise<unknown> {
  const parsed = withHeaders.safeParse(payload);
  if (!parsed.success) return payload;
  const headers: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(parsed.data.headers)) {
    const named = reference.safeParse(value);
    headers[name] = named.success ? await resolve(named.data, tenantId, secrets) : value;
  }
  return { ...parsed.data, headers } as JSONValue;
}

async function resolve(
  { secret, prefix = "" }: z.infer<typeof reference>,
  tenantId: string,
  secrets: Secrets,
): Promise<string> {
  const value = await secrets.read(tenantId, secret);
  if (value === undefined) throw new SecretMissingError(secret);
  return prefix + value;
}

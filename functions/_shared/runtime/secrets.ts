import { z } from "zod";
import type { Database } from "./database.ts";
import { codeOf, messageOf, SecretMissingError } from "./errors.ts";

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
      const [row] = await sql()`select automation.read_secret(${tenantId}, ${name}) as secret`
        .catch(unreadable);
      return one.parse(row).secret ?? undefined;
    },
    async signing(tenantId, name) {
      const [row] = await sql()`
        select to_jsonb(secrets) as secrets, environment_serves
        from automation.signing_secrets(${tenantId}, ${name ?? null})`.catch(unreadable);
      return signing.parse(row);
    },
    async firstSigning(tenantId) {
      const [row] = await sql()`select automation.first_signing_secret(${tenantId}) as secret`
        .catch(unreadable);
      return one.parse(row).secret ?? undefined;
    },
  };
}

/** What the Vault cannot decrypt is there for nobody, until somebody writes it again. */
function unreadable(error: unknown): never {
  if (codeOf(error) === "55000") throw new SecretMissingError(messageOf(error));
  throw error;
}

/** For whoever has no database: nobody has a secret, and the environment serves everybody. */
export const noSecrets: Secrets = {
  read: () => Promise.resolve(undefined),
  signing: () => Promise.resolve({ secrets: [], environment_serves: true }),
  firstSigning: () => Promise.resolve(undefined),
};

/** The values of those that there are, by name. */
export async function readAll(
  secrets: Secrets,
  tenantId: string,
  names: readonly string[],
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  for (const name of names) {
    const value = await secrets.read(tenantId, name);
    if (value !== undefined) found.set(name, value);
  }
  return found;
}

/** What to say of one that its tenant has not set. */
export function missing(name: string): SecretMissingError {
  return new SecretMissingError(
    `there is no secret "${name}": an owner or admin sets it with set_secret`,
  );
}

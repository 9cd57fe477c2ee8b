import process from "node:process";
import { z } from "zod";
import { ConfigurationError } from "./errors.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

/** Unset and empty mean the same: `.env` files and CI systems produce both. */
export function read(env: Environment, name: string): string | undefined {
  const value = env[name]?.trim();
  return value === "" ? undefined : value;
}

export function parse<T>(
  name: string,
  value: string | undefined,
  schema: z.ZodType<T>,
  fix: string,
): T {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new ConfigurationError(name, fix);
  return parsed.data;
}

const httpUrl = z.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, ""));

export function baseUrl(env: Environment, name: string, fallback: string): string {
  return parse(
    name,
    read(env, name) ?? fallback,
    httpUrl,
    `set it to an http(s) address such as ${fallback}, or leave it unset`,
  );
}

function integer(env: Environment, name: string, fallback: number, min: number, max: number) {
  return parse(
    name,
    read(env, name) ?? String(fallback),
    z.coerce.number().int().min(min).max(max),
    `set it to a whole number from ${min} to ${max}, or leave it unset for ${fallback}`,
  );
}

/** `DATABASE_URL` is ours to set; `SUPABASE_DB_URL` is what the hosted platform provides. */
export function readDatabaseUrl(env: Environment = process.env): string {
  const name = read(env, "DATABASE_URL") ? "DATABASE_URL" : "SUPABASE_DB_URL";
  const value = read(env, name);
  if (!value) {
    throw new ConfigurationError(
      "DATABASE_URL",
      "set it to the Postgres address, postgresql://user:password@host:5432/postgres " +
        "(the hosted platform sets SUPABASE_DB_URL by itself)",
    );
  }
  return parse(
    name,
    value,
    z.url({ protocol: /^postgres(ql)?$/ }),
    "set it to an address that starts with postgresql://",
  );
}

const keyring = z.record(z.string(), z.string().min(1)).refine((keys) =>
  Object.keys(keys).length > 0
);

/**
 * `SUPABASE_SECRET_KEYS` is a JSON object of name -> key. The legacy service_role key counts only
 * when there is no such object: the platform goes on setting it after it has been disabled.
 */
export function readSecretKeys(env: Environment = process.env): string[] {
  const json = read(env, "SUPABASE_SECRET_KEYS");
  if (json !== undefined) {
    return Object.values(
      parse(
        "SUPABASE_SECRET_KEYS",
        json,
        z.string().transform(parseJson).pipe(keyring),
        'set it to a JSON object of names and keys, {"default":"sb_secret_..."}',
      ),
    );
  }
  const legacy = read(env, "SUPABASE_SERVICE_ROLE_KEY");
  if (legacy !== undefined) return [legacy];
  throw new ConfigurationError(
    "SUPABASE_SECRET_KEYS",
    'set it to a JSON object of names and keys, {"default":"sb_secret_..."}, ' +
      "or set SUPABASE_SERVICE_ROLE_KEY",
  );
}

/** The key with which the database rings, and which opens nothing else; none where nobody rings. */
export function readRingKey(env: Environment = process.env): string | undefined {
  const key = read(env, "DISPATCH_RING_KEY");
  if (key === undefined) return undefined;
  const ringKey = parse(
    "DISPATCH_RING_KEY",
    key,
    z.string().min(16),
    "set it to at least 16 random characters, the same as ridgeline_ring_key in Vault",
  );
  if (readSecretKeys(env).includes(ringKey)) {
    throw new ConfigurationError(
      "DISPATCH_RING_KEY",
      "set it to a key of its own: every role of the database can read it while a ring waits",
    );
  }
  return ringKey;
}

/** How the routes of the old application answer: as since February 2026 (`data`), or as before (`bare`). */
export function readLegacyEnvelope(env: Environment = process.env): "data" | "bare" {
  return parse(
    "LEGACY_API_ENVELOPE",
    read(env, "LEGACY_API_ENVELOPE") ?? "data",
    z.enum(["data", "bare"]),
    'set it to data ({"success": true, "data": ...}) or bare (the data alone), or leave it unset for data',
  );
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export interface WebhookSettings {
  allowPrivate: boolean;
  /** False: the environment has no WEBHOOK_SIGNING_SECRET, and each tenant signs with its own. */
  hasDefault?: boolean;
  /** The signing secret of that name, or the default one. */
  secret(name?: string): string;
}

const secretName = z.string().regex(/^[A-Za-z][A-Za-z0-9_-]*$/);
const signingSecret = z.string().regex(/^(whsec_)?[A-Za-z0-9+/]{16,}={0,2}$/);

export function readWebhook(env: Environment = process.env): WebhookSettings {
  const allow = read(env, "WEBHOOK_ALLOW_PRIVATE") ?? "false";
  return {
    allowPrivate: parse(
      "WEBHOOK_ALLOW_PRIVATE",
      allow,
      z.enum(["true", "false"]),
      "set it to true (development only) or false",
    ) === "true",
    hasDefault: read(env, "WEBHOOK_SIGNING_SECRET") !== undefined,
    secret(name) {
      const variable = name === undefined
        ? "WEBHOOK_SIGNING_SECRET"
        : `WEBHOOK_SECRET_${
          parse("secret_name", name, secretName, "use letters, digits, _ and -").toUpperCase()
            .replaceAll("-", "_")
        }`;
      return parse(
        variable,
        read(env, variable),
        signingSecret,
        'set it to "whsec_" followed by base64 of 24 to 64 random bytes',
      );
    },
  };
}

export interface DispatchSettings {
  budgetMs: number;
  concurrency: number;
  maxSteps: number;
  /** How long a claim is ours; must outlast the longest send. Tests shorten it. */
  leaseSeconds: number;
  /** For every provider, in place of its own; tests shorten it. */
  providerTimeoutMs?: number;
}

export const LONGEST_BUDGET_MS = 380_000;

/** An Edge request has 2 s of CPU time; a process of one's own has no such limit. */
const MAX_STEPS = "EdgeRuntime" in globalThis ? 1_000 : 1_000_000;

export function readDispatch(env: Environment = process.env): DispatchSettings {
  const timeout = integer(env, "DISPATCH_PROVIDER_TIMEOUT_MS", 0, 0, 25_000);
  return {
    budgetMs: integer(env, "DISPATCH_BUDGET_MS", 50_000, 100, LONGEST_BUDGET_MS),
    concurrency: integer(env, "DISPATCH_CONCURRENCY", 10, 1, 200),
    maxSteps: integer(env, "DISPATCH_MAX_STEPS", MAX_STEPS, 1, 10_000_000),
    leaseSeconds: integer(env, "DISPATCH_LEASE_SECONDS", 60, 1, 3_600),
    ...(timeout > 0 ? { providerTimeoutMs: timeout } : {}),
  };
}

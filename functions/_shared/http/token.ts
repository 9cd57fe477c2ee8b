import { GoTrueClient, isAuthError, isAuthRetryableFetchError, type JWK } from "@supabase/auth-js";
import process from "node:process";
import { z } from "zod";
import { type Environment, readSecretKeys } from "../runtime/env.ts";
import { ConfigurationError } from "../runtime/errors.ts";
import { Problem } from "./problem.ts";
import { withTimeout } from "../runtime/timeout.ts";

/** The members that are relied on; the others are handed to the policies as they are. */
const claims = z.looseObject({
  sub: z.guid(),
  role: z.literal("authenticated"),
  aud: z.union([z.string(), z.array(z.string())]),
  exp: z.number(),
  iss: z.string().optional(),
});
export type Claims = z.infer<typeof claims>;

/** Resolves to the claims of a token that Supabase Auth signed for a user, or throws a `Problem`. */
export type VerifyToken = (token: string) => Promise<Claims>;

export interface AuthSettings {
  /** Of the API; Auth is under /auth/v1. */
  url: string;
  /** Any key of the project: the Auth server wants one with every call. */
  apiKey: string;
  /** Public keys at hand, so that they need not be fetched first. */
  jwks: JWK[];
  /** Whose tokens are taken, where they say whose they are. */
  issuer: string;
}

const url = z.url({ protocol: /^https?$/ });
const keySet = z.object({ keys: z.array(z.looseObject({ kid: z.string(), kty: z.string() })) });

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}

function publicKeys(env: Environment): JWK[] {
  const parsed = keySet.safeParse(parseJson(env.SUPABASE_JWKS));
  // A symmetric key in the set must never check a signature: its holder could sign.
  const keys = parsed.success ? parsed.data.keys.filter(({ kty }) => kty !== "oct") : [];
  return keys as unknown as JWK[];
}

/** Everything here is set by the platform; `JWT_ISSUER` is for a project behind another address. */
export function readAuth(env: Environment = process.env): AuthSettings {
  const parsed = url.safeParse(env.SUPABASE_URL);
  if (!parsed.success) {
    throw new ConfigurationError("SUPABASE_URL", "set it to the address of the API");
  }
  const address = parsed.data.replace(/\/+$/, "");
  const publishable = z.record(z.string(), z.string()).safeParse(
    parseJson(env.SUPABASE_PUBLISHABLE_KEYS),
  );
  const apiKey = (publishable.success ? Object.values(publishable.data)[0] : undefined) ??
    env.SUPABASE_ANON_KEY ?? readSecretKeys(env)[0] ?? "";
  return {
    url: address,
    apiKey,
    jwks: publicKeys(env),
    issuer: env.JWT_ISSUER || `${address}/auth/v1`,
  };
}

const LOOPBACK = /^http:\/\/(127\.0\.0\.1|localhost)(:\d+)?\/auth\/v1$/;

/** `supabase start` signs for the address people use, which is not the one that functions use. */
function isOurs(issuer: string, settings: AuthSettings): boolean {
  return issuer === settings.issuer ||
    (settings.url.startsWith("http://") && LOOPBACK.test(issuer));
}

const MAX_TOKEN_LENGTH = 16_384;

function refused(): Problem {
  return new Problem(
    401,
    "invalid_token",
    "the token is not valid, or has expired: sign in again",
    {
      headers: { "www-authenticate": 'Bearer error="invalid_token"' },
    },
  );
}

function authUnavailable(): Problem {
  return new Problem(503, "unavailable", "the Auth server did not answer; try again in a moment", {
    headers: { "retry-after": "5" },
  });
}

/**
 * Supabase's own client decides: a signature of the project's asymmetric keys is checked here,
 * against the key set; any other token (projects with the old shared secret) goes to the Auth
 * server, which knows the secret. We never hold a key that could sign.
 */
export function createVerifier(settings: AuthSettings): VerifyToken {
  const client = new GoTrueClient({
    url: `${settings.url}/auth/v1`,
    headers: { apikey: settings.apiKey },
    persistSession: false,
    autoRefreshToken: false,
    detectSessionInUrl: false,
  });

  async function verified(token: string): Promise<unknown> {
    try {
      const { data, error } = await withTimeout(
        "auth",
        5_000,
        () => client.getClaims(token, { jwks: { keys: settings.jwks } }),
      );
      if (error) throw error;
      return data?.claims;
    } catch (error) {
      if (error instanceof Error && error.name === "TimeoutError") throw authUnavailable();
      if (isAuthRetryableFetchError(error)) throw authUnavailable();
      if (isAuthError(error) && (error.status ?? 0) >= 500) throw authUnavailable();
      throw refused();
    }
  }

  return async (token) => {
    if (token.length > MAX_TOKEN_LENGTH) throw refused();
    const parsed = claims.safeParse(await verified(token));
    if (!parsed.success) throw refused();
    const { aud, iss } = parsed.data;
    if (![aud].flat().includes("authenticated")) throw refused();
    if (iss !== undefined && !isOurs(iss, settings)) throw refused();
    return parsed.data;
  };
}

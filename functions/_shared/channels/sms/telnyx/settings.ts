import { Buffer } from "node:buffer";
import process from "node:process";
import { z } from "zod";
import { ConfigurationError } from "../../../runtime/errors.ts";
import { baseUrl, type Environment, parse, parseJson, read } from "../../../runtime/env.ts";

export interface TelnyxSettings {
  apiKey: string;
  baseUrl: string;
  from?: string;
  messagingProfileId?: string;
}

const publicKey = z.string().trim().pipe(z.base64()).refine((key) =>
  Buffer.from(key, "base64").length === 32
);

/** What Telnyx signs with is checked with the account's public key, which is no secret. */
export function readTelnyxPublicKey(env: Environment = process.env): string {
  return parse(
    "TELNYX_PUBLIC_KEY",
    read(env, "TELNYX_PUBLIC_KEY"),
    publicKey,
    "set it to the public key of the Telnyx portal (Keys & Credentials): 44 characters of base64",
  );
}

const telnyxAccount = z.union([
  z.string().transform(parseJson).pipe(
    z.object({ api_key: z.string().trim().min(1), public_key: publicKey.optional() }),
  ),
  z.string().trim().regex(/^[^{\s]+$/).transform((api_key) => ({ api_key, public_key: undefined })),
]);

export interface TelnyxAccount {
  apiKey: string;
  /** Without it nothing that comes in can be shown to be of this account. */
  publicKey?: string;
}

/** A tenant's own account, as its secret has it. */
export function parseTelnyxAccount(secret: string): TelnyxAccount {
  const { api_key, public_key } = parse(
    "the secret of the sender",
    secret,
    telnyxAccount,
    'set it to {"api_key": "KEY...", "public_key": "..."}, or to the API key alone',
  );
  return { apiKey: api_key, ...(public_key === undefined ? {} : { publicKey: public_key }) };
}

/** What a tenant's own account signs with; that it is missing is a mistake where something comes in from it. */
export function parseTelnyxSigner(secret: string): string {
  const { publicKey } = parseTelnyxAccount(secret);
  if (publicKey !== undefined) return publicKey;
  throw new ConfigurationError("the secret of the sender", "add its public_key to it");
}

/** With the key of the environment, or the one given. */
export function readTelnyx(
  env: Environment = process.env,
  apiKey: string = parse(
    "TELNYX_API_KEY",
    read(env, "TELNYX_API_KEY"),
    z.string().min(1),
    "set it to an API key of the Telnyx portal; it starts with KEY",
  ),
): TelnyxSettings {
  const settings: TelnyxSettings = {
    apiKey,
    baseUrl: baseUrl(env, "TELNYX_BASE_URL", "https://api.telnyx.com"),
  };
  const from = read(env, "TELNYX_FROM");
  const profile = read(env, "TELNYX_MESSAGING_PROFILE_ID");
  if (from) settings.from = from;
  if (profile) settings.messagingProfileId = profile;
  return settings;
}

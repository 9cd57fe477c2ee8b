import process from "node:process";
import { z } from "zod";
import { ConfigurationError } from "../../../runtime/errors.ts";
import { baseUrl, type Environment, parse, parseJson, read } from "../../../runtime/env.ts";

export interface ResendSettings {
  apiKey: string;
  baseUrl: string;
  from?: string;
}

/** With the key of the environment, or the one given. */
export function readResend(
  env: Environment = process.env,
  apiKey: string = parse(
    "RESEND_API_KEY",
    read(env, "RESEND_API_KEY"),
    z.string().min(1),
    "set it to an API key of the Resend dashboard; it starts with re_",
  ),
): ResendSettings {
  const settings: ResendSettings = {
    apiKey,
    baseUrl: baseUrl(env, "RESEND_BASE_URL", "https://api.resend.com"),
  };
  const from = read(env, "RESEND_FROM");
  if (from) settings.from = from;
  return settings;
}

const webhookSecret = z.string().trim().regex(/^whsec_[A-Za-z0-9+/]{16,}={0,2}$/);

export function readResendSecret(env: Environment = process.env): string {
  return parse(
    "RESEND_WEBHOOK_SECRET",
    read(env, "RESEND_WEBHOOK_SECRET"),
    webhookSecret,
    "set it to the signing secret of the webhook in the Resend dashboard; it starts with whsec_",
  );
}

const resendAccount = z.union([
  z.string().transform(parseJson).pipe(
    z.object({ api_key: z.string().trim().min(1), webhook_secret: webhookSecret.optional() }),
  ),
  z.string().trim().regex(/^[^{\s]+$/).transform((api_key) => ({
    api_key,
    webhook_secret: undefined,
  })),
]);

export interface ResendAccount {
  apiKey: string;
  /** Without it nothing that it tells can be shown to be of this account. */
  webhookSecret?: string;
}

/** A tenant's own account, as its secret has it. */
export function parseResendAccount(secret: string): ResendAccount {
  const { api_key, webhook_secret } = parse(
    "the secret of the sender",
    secret,
    resendAccount,
    'set it to {"api_key": "re_...", "webhook_secret": "whsec_..."}, or to the API key alone',
  );
  return { apiKey: api_key, ...(webhook_secret ? { webhookSecret: webhook_secret } : {}) };
}

export interface ResendSigner {
  webhookSecret: string;
  /** Of a tenant's own account, with which the text of an email that comes in is asked for. */
  apiKey?: string;
}

/** What a tenant's own account signs with; that it is missing is a mistake where something comes in from it. */
export function parseResendSigner(secret: string): ResendSigner {
  const { apiKey, webhookSecret } = parseResendAccount(secret);
  if (webhookSecret !== undefined) return { apiKey, webhookSecret };
  throw new ConfigurationError("the secret of the sender", "add its webhook_secret to it");
}

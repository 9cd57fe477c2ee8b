import process from "node:process";
import { z } from "zod";
import { ConfigurationError } from "../../../runtime/errors.ts";
import { baseUrl, type Environment, parse, read } from "../../../runtime/env.ts";

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

export function readResendSecret(env: Environment = process.env): string {
  const secret = read(env, "RESEND_WEBHOOK_SECRET");
  if (secret && /^whsec_[A-Za-z0-9+/]{16,}={0,2}$/.test(secret)) return secret;
  throw new ConfigurationError(
    "RESEND_WEBHOOK_SECRET",
    "set it to the signing secret of the webhook in the Resend dashboard; it starts with whsec_",
  );
}

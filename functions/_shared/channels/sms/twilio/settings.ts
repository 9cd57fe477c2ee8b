import process from "node:process";
import { z } from "zod";
import { ConfigurationError } from "../../../runtime/errors.ts";
import { baseUrl, type Environment, parse, parseJson, read } from "../../../runtime/env.ts";

export interface TwilioSettings {
  accountSid: string;
  authToken: string;
  baseUrl: string;
  from?: string;
  messagingServiceSid?: string;
  /** Where Twilio reports what became of a text. */
  statusCallback?: string;
}

export type TwilioAccount = Pick<TwilioSettings, "accountSid" | "authToken">;

function readTwilioAccount(env: Environment): TwilioAccount {
  return {
    accountSid: parse(
      "TWILIO_ACCOUNT_SID",
      read(env, "TWILIO_ACCOUNT_SID"),
      z.string().regex(/^AC[0-9A-Za-z]+$/),
      "set it to the Account SID of the Twilio console; it starts with AC",
    ),
    authToken: parse(
      "TWILIO_AUTH_TOKEN",
      read(env, "TWILIO_AUTH_TOKEN"),
      z.string().min(1),
      "set it to the Auth Token of the Twilio console",
    ),
  };
}

const twilioAccount = z.string().transform(parseJson).pipe(z.object({
  account_sid: z.string().trim().regex(/^AC[0-9A-Za-z]+$/),
  auth_token: z.string().trim().min(1),
}));

/** A tenant's own account, as its secret has it. */
export function parseTwilioAccount(secret: string): TwilioAccount {
  const { account_sid, auth_token } = parse(
    "the secret of the sender",
    secret,
    twilioAccount,
    'set it to {"account_sid": "AC...", "auth_token": "..."}',
  );
  return { accountSid: account_sid, authToken: auth_token };
}

/** The account of the environment, or the one given. */
export function readTwilio(
  env: Environment = process.env,
  account: TwilioAccount = readTwilioAccount(env),
): TwilioSettings {
  const settings: TwilioSettings = {
    ...account,
    baseUrl: baseUrl(env, "TWILIO_BASE_URL", "https://api.twilio.com"),
  };
  const from = read(env, "TWILIO_FROM");
  const service = read(env, "TWILIO_MESSAGING_SERVICE_SID");
  if (from) settings.from = from;
  if (service) settings.messagingServiceSid = service;
  const callback = read(env, "TWILIO_STATUS_CALLBACK_URL");
  if (callback) {
    settings.statusCallback = parse(
      "TWILIO_STATUS_CALLBACK_URL",
      callback,
      z.url({ protocol: /^https?$/ }),
      "set it to the public address of the function sms-webhook, with /twilio",
    );
  }
  return settings;
}

/** Twilio signs with the auth token of the account; nothing else is needed to take its events. */
export function readTwilioToken(env: Environment = process.env): string {
  const token = read(env, "TWILIO_AUTH_TOKEN");
  if (token) return token;
  throw new ConfigurationError(
    "TWILIO_AUTH_TOKEN",
    "set it to the Auth Token of the Twilio console",
  );
}

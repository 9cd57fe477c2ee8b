import process from "node:process";
import { z } from "zod";
import { ConfigurationError } from "../../../runtime/errors.ts";
import { baseUrl, type Environment, parse, parseJson, read } from "../../../runtime/env.ts";

export interface PostmarkSettings {
  serverToken: string;
  baseUrl: string;
  from?: string;
  messageStream?: string;
}

const webhookPassword = z.string().trim().min(16).max(200);

/** Postmark signs nothing: it logs in, with what its webhooks' addresses are written with. */
export function readPostmarkPassword(env: Environment = process.env): string {
  return parse(
    "POSTMARK_WEBHOOK_PASSWORD",
    read(env, "POSTMARK_WEBHOOK_PASSWORD"),
    webhookPassword,
    "set it to at least 16 random characters, and the webhooks' addresses in Postmark to " +
      "https://ridgeline:<them>@project.supabase.co/functions/v1/email-webhook/postmark",
  );
}

const postmarkAccount = z.union([
  z.string().transform(parseJson).pipe(z.object({
    server_token: z.string().trim().min(1),
    webhook_password: webhookPassword.optional(),
    message_stream: z.string().trim().min(1).optional(),
  })),
  z.string().trim().regex(/^[^{\s]+$/).transform((server_token) => ({
    server_token,
    webhook_password: undefined,
    message_stream: undefined,
  })),
]);

export interface PostmarkAccount {
  serverToken: string;
  /** Without it nothing that it tells can be shown to be of this account. */
  webhookPassword?: string;
  messageStream?: string;
}

/** A tenant's own account, as its secret has it. */
export function parsePostmarkAccount(secret: string): PostmarkAccount {
  const { server_token, webhook_password, message_stream } = parse(
    "the secret of the sender",
    secret,
    postmarkAccount,
    'set it to {"server_token": "...", "webhook_password": "..."} (16 characters at least), or to the token alone',
  );
  return {
    serverToken: server_token,
    ...(webhook_password ? { webhookPassword: webhook_password } : {}),
    ...(message_stream ? { messageStream: message_stream } : {}),
  };
}

/** What a tenant's own account logs in with; that it is missing is a mistake where something comes in from it. */
export function parsePostmarkPassword(secret: string): string {
  const { webhookPassword } = parsePostmarkAccount(secret);
  if (webhookPassword !== undefined) return webhookPassword;
  throw new ConfigurationError("the secret of the sender", "add its webhook_password to it");
}

/** The account of the environment, or the one given. */
export function readPostmark(
  env: Environment = process.env,
  account?: PostmarkAccount,
): PostmarkSettings {
  const serverToken = account?.serverToken ?? parse(
    "POSTMARK_SERVER_TOKEN",
    read(env, "POSTMARK_SERVER_TOKEN"),
    z.string().min(1),
    "set it to the API token of a server in Postmark",
  );
  const from = read(env, "POSTMARK_FROM");
  const messageStream = account ? account.messageStream : read(env, "POSTMARK_MESSAGE_STREAM");
  return {
    serverToken,
    baseUrl: baseUrl(env, "POSTMARK_BASE_URL", "https://api.postmarkapp.com"),
    ...(from ? { from } : {}),
    ...(messageStream ? { messageStream } : {}),
  };
}

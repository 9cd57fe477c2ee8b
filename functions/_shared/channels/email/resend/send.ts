import process from "node:process";
import { Resend } from "resend";
import { z } from "zod";
import { ConfigurationError, TimeoutError } from "../../../runtime/errors.ts";
import {
  ambiguous,
  classifyException,
  type Outcome,
  parseRetryAfter,
  stepError,
} from "../../../engine/outcome.ts";
import type { ClaimedStep } from "../../../engine/queue.ts";
import { noSecrets, type Secrets } from "../../../runtime/secrets.ts";
import {
  credentialsOf,
  parsePayload,
  type Sender,
  type SentMessage,
  SKEW_MS,
} from "../../sender.ts";
import {
  addressOf,
  type Email,
  emailPayload,
  type FunctionsAddress,
  functionsAddress,
  withUnsubscribe,
} from "../payload.ts";
import { classify } from "./codes.ts";
import { parseResendAccount, readResend, type ResendSettings } from "./settings.ts";

function fromOf(email: Email, settings: ResendSettings): string {
  const from = email.from ?? settings.from;
  if (from) return from;
  throw new ConfigurationError(
    "RESEND_FROM",
    'set it to a sender on a verified domain, "Acme Roofing <office@example.com>"',
  );
}

function bodyOf(email: Email): { html: string; text?: string } | { text: string } {
  const { html, text } = email;
  if (typeof html !== "string") return { text: text ?? "" };
  return typeof text === "string" ? { html, text } : { html };
}

function requestOf(email: Email, settings: ResendSettings) {
  return {
    from: fromOf(email, settings),
    to: email.to,
    subject: email.subject,
    ...bodyOf(email),
    ...(email.reply_to?.length ? { replyTo: email.reply_to } : {}),
    ...(email.cc?.length ? { cc: email.cc } : {}),
    ...(email.bcc?.length ? { bcc: email.bcc } : {}),
    ...(email.headers ? { headers: email.headers } : {}),
  };
}

function sameAddresses(left: readonly string[], right: readonly string[]): boolean {
  const sorted = (list: readonly string[]) => JSON.stringify(list.map(addressOf).sort());
  return sorted(left) === sorted(right);
}

const listed = z.object({
  id: z.string(),
  to: z.array(z.string()),
  from: z.string(),
  subject: z.string().nullish(),
  created_at: z.string().transform((text) => Date.parse(normalIso(text))),
});
type Listed = z.infer<typeof listed>;

/** Resend writes `2026-11-02 09:30:12.123456+00`. */
function normalIso(text: string): string {
  return text.replace(" ", "T").replace(/([+-]\d\d)$/, "$1:00");
}

function matches(sent: Listed, email: Email, from: string, notBefore: number): boolean {
  return !(sent.created_at < notBefore) && sameAddresses(sent.to, email.to) &&
    addressOf(sent.from) === addressOf(from) && (sent.subject ?? "") === email.subject;
}

const PAGE_SIZE = 100;
const MAX_PAGES = 20;

async function find(
  client: Resend,
  email: Email,
  from: string,
  since: Date,
  known: ReadonlySet<string>,
  signal: AbortSignal,
): Promise<SentMessage | null> {
  const notBefore = since.getTime() - SKEW_MS;
  let after: string | undefined;
  for (let number = 1; number <= MAX_PAGES; number++) {
    const cursor = after === undefined ? {} : { after };
    const { data, error } = await client.emails.list({ limit: PAGE_SIZE, ...cursor }, { signal });
    if (error) throw new Error(`the list of emails answered ${error.statusCode ?? "nothing"}`);
    const page = z.array(listed).parse(data.data);
    const hit = page.find((sent) => !known.has(sent.id) && matches(sent, email, from, notBefore));
    if (hit) return { provider_id: hit.id };
    after = page.at(-1)?.id;
    const older = page.some((sent) => sent.created_at < notBefore);
    if (!data.has_more || older || after === undefined) return null;
  }
  throw new Error("more emails since the attempt than can be searched");
}

/** Resend forgets an Idempotency-Key after 24 hours; within them the key itself is the answer. */
const KEY_LIFETIME_MS = 23 * 3_600_000;

export interface ResendOptions {
  /** Of the environment, or of the account whose secret is given. */
  settings?: (credentials?: string) => ResendSettings;
  secrets?: Secrets;
  timeoutMs?: number;
  now?: () => number;
  functions?: FunctionsAddress;
}

const readSettings = (credentials?: string): ResendSettings =>
  credentials === undefined
    ? readResend()
    : readResend(process.env, parseResendAccount(credentials).apiKey);

export function createSender(options: ResendOptions = {}): Sender {
  const {
    settings = readSettings,
    secrets = noSecrets,
    timeoutMs = 10_000,
    now = Date.now,
    functions = functionsAddress,
  } = options;
  const settingsOf = async (step: ClaimedStep) =>
    settings(await credentialsOf(step, "resend", secrets));

  async function send(step: ClaimedStep, signal: AbortSignal): Promise<Outcome> {
    const email = withUnsubscribe(parsePayload(emailPayload, step), functions);
    const current = await settingsOf(step);
    const client = new Resend(current.apiKey, { baseUrl: current.baseUrl });
    const { data, error, headers } = await client.emails.send(requestOf(email, current), {
      idempotencyKey: step.idempotency_key,
      signal,
    });
    if (!error) {
      return data?.id
        ? { outcome: "succeeded", result: { provider_id: data.id, http_status: 200 } }
        : ambiguous(stepError("resend_no_id", "Resend's answer names no email", 200));
    }
    if (typeof error.statusCode !== "number") {
      const cause = signal.aborted ? signal.reason : new Error(error.message);
      return classifyException("resend", cause instanceof TimeoutError ? cause : error);
    }
    const seconds = parseRetryAfter(headers?.["retry-after"]);
    return classify({
      status: error.statusCode,
      code: error.name,
      message: error.message,
      ...(seconds === undefined ? {} : { retryAfterSeconds: seconds }),
    });
  }

  return {
    timeoutMs,
    send,
    reconciliation: {
      isNeeded: (since) => now() - since.getTime() > KEY_LIFETIME_MS,
      async findSent(step, since, knownIds, signal) {
        const email = parsePayload(emailPayload, step);
        const current = await settingsOf(step);
        const client = new Resend(current.apiKey, { baseUrl: current.baseUrl });
        return await find(client, email, fromOf(email, current), since, new Set(knownIds), signal);
      },
    },
  };
}

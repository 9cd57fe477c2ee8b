import { z } from "zod";
import { codeOf, messageOf, TimeoutError } from "../runtime/errors.ts";

/**
 * Why a provider did not take a message, or did not deliver it: each says it in codes of its own, and its folder has
 * what they mean. The database acts on the first three (automation.error_class).
 */
export const errorClass = z.enum([
  /** The recipient wants none, and the provider knows. */
  "opted_out",
  /** No text reaches it, today or later. */
  "landline",
  /** A carrier takes no more from this sender today. */
  "daily_limit",
  /** There is no such number. */
  "unknown_number",
  /** It is switched off, or its carrier is. */
  "unreachable",
  /** Taken for spam. */
  "filtered",
  /** Too fast. */
  "throttled",
  /** The account's key, its money, its rights: the operator's to mend. */
  "account",
]);
export type ErrorClass = z.infer<typeof errorClass>;

/** What the codes of a provider mean. */
export type ErrorClasses = Readonly<Record<number, ErrorClass>>;

export interface StepResult {
  provider_id?: string;
  http_status?: number;
  /** Of a webhook: what the receiver answered, JSON read, for the steps after it. */
  body?: unknown;
  body_truncated?: true;
  headers?: Record<string, string>;
  /** Found in the provider's list after an attempt whose answer never came. */
  reconciled?: true;
}

export interface StepError {
  code: string;
  message: string;
  http_status?: number;
  /**
   * Of a retry. daily_limit: a carrier takes no more today; it is held till its day is over, and no attempt counts.
   * receiver: what else would call that host waits as long.
   */
  holds?: "daily_limit" | "receiver";
}

/**
 * succeeded  the provider has it
 * failed     it will never be accepted: no further attempt
 * retry      certainly not accepted: another attempt later
 * ambiguous  may have been accepted: look it up before another attempt
 */
export type Outcome =
  | { outcome: "succeeded"; result: StepResult }
  | { outcome: "failed"; error: StepError; suppress?: true | "landline" }
  | { outcome: "retry"; error: StepError; retry_after_seconds?: number }
  | { outcome: "ambiguous"; error: StepError; retry_after_seconds?: number };

/** What a provider answered, as far as the decision needs it. */
export interface Answer {
  status: number;
  code?: number | string;
  message?: string;
  retryAfterSeconds?: number;
}

/** A wrong key or a suspended account is the operator's to mend: the message waits for it. */
export const OPERATOR_DELAY_SECONDS = 600;

export function failed(code: string, message: string, status?: number): Outcome {
  return { outcome: "failed", error: stepError(code, message, status) };
}

export function retry(error: StepError, seconds?: number): Outcome {
  return seconds === undefined
    ? { outcome: "retry", error }
    : { outcome: "retry", error, retry_after_seconds: seconds };
}

export function ambiguous(error: StepError, seconds?: number): Outcome {
  return seconds === undefined
    ? { outcome: "ambiguous", error }
    : { outcome: "ambiguous", error, retry_after_seconds: seconds };
}

export function stepError(code: string, message: string, status?: number): StepError {
  const error = { code, message: message.slice(0, 500) };
  return status === undefined ? error : { ...error, http_status: status };
}

function errorOf(provider: string, answer: Answer): StepError {
  return stepError(
    `${provider}_${answer.code ?? `http_${answer.status}`}`,
    answer.message ?? `${provider} answered ${answer.status}`,
    answer.status,
  );
}

/** Seconds or an HTTP date; capped, because a mistaken header must not park a message for a year. */
export function parseRetryAfter(value: string | null | undefined, now = Date.now()) {
  if (!value) return undefined;
  const seconds = /^\s*\d+(\.\d+)?\s*$/.test(value)
    ? Number(value)
    : (Date.parse(value) - now) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(Math.ceil(seconds), 0), 86_400) : undefined;
}

const pacificClock = new Intl.DateTimeFormat("en-US", {
  timeZone: "America/Los_Angeles",
  hourCycle: "h23",
  hour: "numeric",
  minute: "numeric",
  second: "numeric",
});

/** By the clock on the wall: an hour off at most in the two nights in which it changes. */
export function secondsToMidnightPacific(now = new Date()): number {
  const parts = new Map(
    pacificClock.formatToParts(now).map(({ type, value }) => [type, Number(value)]),
  );
  const past = (parts.get("hour") ?? 0) * 3600 + (parts.get("minute") ?? 0) * 60 +
    (parts.get("second") ?? 0);
  return 86_400 - past;
}

const dailyLimit = (error: StepError): Outcome =>
  retry({ ...error, holds: "daily_limit" }, secondsToMidnightPacific());

/** What an answer means of which the provider's code has been given a meaning; without one its status decides. */
export function classifyAnswer(provider: string, answer: Answer, meaning?: ErrorClass): Outcome {
  const error = errorOf(provider, answer);
  if (meaning === "opted_out") return { outcome: "failed", error, suppress: true };
  if (meaning === "landline") return { outcome: "failed", error, suppress: "landline" };
  if (meaning === "daily_limit") return dailyLimit(error);
  if (answer.status === 429 || meaning === "throttled" || meaning === "unreachable") {
    return retry(error, answer.retryAfterSeconds);
  }
  if (answer.status === 401 || meaning === "account") return retry(error, OPERATOR_DELAY_SECONDS);
  if (answer.status >= 500 || answer.status === 408) {
    return ambiguous(error, answer.retryAfterSeconds);
  }
  return { outcome: "failed", error };
}

const WEBHOOK_RETRY = new Set([408, 409, 425, 429]);

/** At least once is the promise, and `webhook-id` lets the receiver drop a second copy. */
export function classifyWebhook(answer: Answer): Outcome {
  const { status } = answer;
  if (status >= 200 && status < 300) {
    return { outcome: "succeeded", result: { http_status: status } };
  }
  if (status >= 500 || WEBHOOK_RETRY.has(status)) {
    const error = errorOf("webhook", answer);
    const holds = status === 429 && answer.retryAfterSeconds !== undefined;
    return retry(holds ? { ...error, holds: "receiver" } : error, answer.retryAfterSeconds);
  }
  if (status === 410) {
    return failed("webhook_gone", "the receiver answered 410: it wants no more of these", 410);
  }
  if (status < 400) {
    return failed(
      "webhook_redirect",
      `the receiver answered ${status}: redirects are not followed, use the final address`,
      status,
    );
  }
  return { outcome: "failed", error: errorOf("webhook", answer) };
}

const NEVER_CONNECTED =
  /^(ECONNREFUSED|ENOTFOUND|EAI_AGAIN|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|CERT_.+|DEPTH_ZERO_.+|SELF_SIGNED_.+|UNABLE_TO_.+|ERR_TLS_.+)$/;

/** Deno's fetch says so in words only. */
const DENO_CONNECT = "client error (Connect)";

/** The request cannot have reached the provider: no name, no route, no connection, no TLS session. */
export function neverConnected(error: unknown): boolean {
  return NEVER_CONNECTED.test(codeOf(error) ?? "") || messageOf(error).includes(DENO_CONNECT);
}

/** An exception instead of an answer: nothing was sent, or nobody knows. */
export function classifyException(provider: string, error: unknown): Outcome {
  if (neverConnected(error)) {
    return retry(stepError(`${provider}_unreachable`, `${provider} could not be reached`));
  }
  if (error instanceof TimeoutError) {
    return ambiguous(stepError(`${provider}_timeout`, error.message));
  }
  return ambiguous(
    stepError(`${provider}_connection_lost`, `no usable answer: ${messageOf(error)}`),
  );
}

import { z } from "zod";
import { failed, type Outcome } from "../outcome.ts";
import type { ClaimedStep, StepType } from "../queue.ts";

export interface SentMessage {
  provider_id: string;
}

/** One provider. `send` never throws for what a provider does; it says what happened. */
export interface Sender {
  readonly timeoutMs: number;
  send(step: ClaimedStep, signal: AbortSignal): Promise<Outcome>;
  reconciliation?: Reconciliation;
}

/** For providers that can be asked what they accepted. */
export interface Reconciliation {
  /** Whether an earlier, unanswered attempt makes another send unsafe without a look. */
  isNeeded(since: Date): boolean;
  /** The message, null when it was certainly not accepted; throws when that cannot be told. */
  findSent(
    step: ClaimedStep,
    since: Date,
    knownIds: readonly string[],
    signal: AbortSignal,
  ): Promise<SentMessage | null>;
}

export type Senders = Readonly<Record<StepType, Sender>>;

/** Clocks differ, and providers round to the second. */
export const SKEW_MS = 60_000;

export class InvalidPayloadError extends Error {
  override readonly name = "InvalidPayloadError";
}

export function parsePayload<T>(schema: z.ZodType<T>, step: ClaimedStep): T {
  const parsed = schema.safeParse(step.payload);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map((issue) =>
    `${["payload", ...issue.path].join(".")}: ${issue.message}`
  );
  throw new InvalidPayloadError(issues.join("; "));
}

export function invalidPayload(error: InvalidPayloadError): Outcome {
  return failed("invalid_payload", error.message);
}

import { z } from "zod";
import { failed, type Outcome } from "../engine/outcome.ts";
import type { Channel, ClaimedStep } from "../engine/queue.ts";
import { missing, type Secrets } from "../runtime/secrets.ts";

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
  isNeeded(since: Date, step: ClaimedStep): boolean | Promise<boolean>;
  /** The message, null when it was certainly not accepted; throws when that cannot be told. */
  findSent(
    step: ClaimedStep,
    since: Date,
    knownIds: readonly string[],
    signal: AbortSignal,
  ): Promise<SentMessage | null>;
}

export type Senders = Readonly<Record<Channel, Sender>>;

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

const sender = z.object({
  sender: z.object({ provider: z.string(), credentials: z.string().nullish() }).nullish(),
});

/**
 * With what the sender of a step calls its provider: its tenant's secret of that name, or
 * undefined where it calls with what the environment has.
 */
export async function credentialsOf(
  step: ClaimedStep,
  provider: string,
  secrets: Secrets,
): Promise<string | undefined> {
  const named = parsePayload(sender, step).sender;
  if (!named) return undefined;
  if (named.provider !== provider) {
    throw new InvalidPayloadError(`payload.sender.provider: ${named.provider} is not ${provider}`);
  }
  if (!named.credentials) return undefined;
  const secret = await secrets.read(step.tenant_id, named.credentials);
  if (secret === undefined) throw missing(named.credentials);
  return secret;
}

export function invalidPayload(error: InvalidPayloadError): Outcome {
  return failed("invalid_payload", error.message);
}

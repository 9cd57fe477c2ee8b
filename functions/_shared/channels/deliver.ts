import {
  ConfigurationError,
  messageOf,
  SecretMissingError,
  TimeoutError,
} from "../runtime/errors.ts";
import {
  ambiguous,
  OPERATOR_DELAY_SECONDS,
  type Outcome,
  retry,
  stepError,
} from "../engine/outcome.ts";
import type { ClaimedStep } from "../engine/queue.ts";
import { withTimeout } from "../runtime/timeout.ts";
import { invalidPayload, InvalidPayloadError, type Sender } from "./sender.ts";

/** The longest a step can hold its slot. */
export function worstCaseMs(step: ClaimedStep, sender: Sender): number {
  return step.reconcile_since && sender.reconciliation ? 2 * sender.timeoutMs : sender.timeoutMs;
}

/** Sends one step; one that may have been accepted before is looked up first, never sent blind. */
export async function deliver(step: ClaimedStep, sender: Sender): Promise<Outcome> {
  try {
    return await reconcile(step, sender) ??
      await withTimeout(step.step_type, sender.timeoutMs, (signal) => sender.send(step, signal));
  } catch (error) {
    if (error instanceof InvalidPayloadError) return invalidPayload(error);
    if (error instanceof SecretMissingError) {
      return retry(stepError("secret_missing", error.message), OPERATOR_DELAY_SECONDS);
    }
    if (error instanceof ConfigurationError) {
      return retry(stepError("not_configured", error.message), OPERATOR_DELAY_SECONDS);
    }
    if (error instanceof TimeoutError) {
      return ambiguous(stepError("timeout", error.message));
    }
    return ambiguous(stepError("internal_error", messageOf(error)));
  }
}

async function reconcile(step: ClaimedStep, sender: Sender): Promise<Outcome | null> {
  const { reconciliation, timeoutMs } = sender;
  const since = step.reconcile_since;
  if (!reconciliation || !since || !await reconciliation.isNeeded(since, step)) return null;
  try {
    const found = await withTimeout(
      "the lookup",
      timeoutMs,
      (signal) => reconciliation.findSent(step, since, step.known_provider_ids, signal),
    );
    return found && { outcome: "succeeded", result: { ...found, reconciled: true } };
  } catch (error) {
    if (
      error instanceof InvalidPayloadError || error instanceof ConfigurationError ||
      error instanceof SecretMissingError
    ) throw error;
    return ambiguous(
      stepError("reconcile_failed", `the earlier attempt was not looked up: ${messageOf(error)}`),
    );
  }
}

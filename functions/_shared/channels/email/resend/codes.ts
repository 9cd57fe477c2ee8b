// What Resend's names of errors mean: resend.com/docs/api-reference/errors.
import {
  ambiguous,
  type Answer,
  classifyAnswer,
  type ErrorClass,
  type Outcome,
  stepError,
} from "../../../engine/outcome.ts";

export const classes: Readonly<Record<string, ErrorClass>> = {
  missing_api_key: "account",
  invalid_api_key: "account",
  restricted_api_key: "account",
};

export function classify(answer: Answer): Outcome {
  // Another attempt with this key is on its way, and may get through: the next one repeats it.
  if (answer.code === "concurrent_idempotent_requests") {
    const { status, code, message, retryAfterSeconds } = answer;
    return ambiguous(stepError(`resend_${code}`, message ?? code, status), retryAfterSeconds);
  }
  return classifyAnswer("resend", answer, classes[String(answer.code)]);
}

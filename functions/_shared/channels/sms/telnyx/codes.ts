// What Telnyx's codes mean: developers.telnyx.com/docs/messaging/messages/error-codes.
import {
  type Answer,
  classifyAnswer,
  type ErrorClass,
  type ErrorClasses,
  type Outcome,
} from "../../../engine/outcome.ts";

export const classes: ErrorClasses = {
  40300: "opted_out",
  40001: "landline",
  // T-Mobile's daily limit of a brand.
  40016: "daily_limit",
  40012: "unknown_number",
  40310: "unknown_number",
  40006: "unreachable",
  40002: "filtered",
  40003: "filtered",
  40015: "filtered",
  10011: "throttled",
  40011: "throttled",
  // More a minute than AT&T takes of the campaign.
  40018: "throttled",
  40318: "throttled",
  10009: "account",
  10010: "account",
  20100: "account",
};

export const classOf = (code: unknown): ErrorClass | undefined => classes[Number(code)];

/** A 403 without a code that says more is about the key. */
export const classify = (answer: Answer): Outcome =>
  classifyAnswer(
    "telnyx",
    answer,
    classOf(answer.code) ?? (answer.status === 403 ? "account" : undefined),
  );

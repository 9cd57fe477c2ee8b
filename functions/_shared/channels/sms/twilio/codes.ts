// What Twilio's codes mean: www.twilio.com/docs/api/errors.
import {
  type Answer,
  classifyAnswer,
  type ErrorClass,
  type ErrorClasses,
  type Outcome,
} from "../../../engine/outcome.ts";

export const classes: ErrorClasses = {
  21610: "opted_out",
  21614: "landline",
  30006: "landline",
  // T-Mobile's daily limit of a brand, which ends at midnight Pacific.
  30023: "daily_limit",
  30027: "daily_limit",
  21211: "unknown_number",
  30005: "unknown_number",
  30003: "unreachable",
  30007: "filtered",
  20429: "throttled",
  21611: "throttled",
  30001: "throttled",
  // More a minute than a carrier takes of the campaign.
  30022: "throttled",
  20003: "account",
  20005: "account",
};

export const classOf = (code: unknown): ErrorClass | undefined => classes[Number(code)];

export const classify = (answer: Answer): Outcome =>
  classifyAnswer("twilio", answer, classOf(answer.code));

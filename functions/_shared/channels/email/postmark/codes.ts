// What Postmark's codes mean: postmarkapp.com/developer/api/overview#error-codes, and of bounces
// postmarkapp.com/developer/api/bounce-api#bounce-types.
import {
  type Answer,
  classifyAnswer,
  type ErrorClass,
  type ErrorClasses,
  type Outcome,
} from "../../../engine/outcome.ts";

export const classes: ErrorClasses = {
  // All recipients are inactive: they bounced for good, complained, or unsubscribed from that stream. Which of them it
  // does not say; where its webhook has told of the last, receipts go on (automation.suppress_recipient).
  406: "opted_out",
  429: "throttled",
  // The token.
  10: "account",
  // Whom it is from: unknown, or not confirmed.
  400: "account",
  401: "account",
  // No money, an account that is not approved yet, one that may not send.
  405: "account",
  412: "account",
  413: "account",
  // No such message stream.
  1235: "account",
};

const classOf = (code: unknown): ErrorClass | undefined => classes[Number(code)];

/** A 403 without a code is not Postmark's own: something before it has stopped the request. */
export const classify = (answer: Answer): Outcome =>
  classifyAnswer(
    "postmark",
    answer,
    classOf(answer.code) ?? (answer.status === 403 ? "account" : undefined),
  );

type Bounce = "permanent" | "suppressed" | "unsubscribed" | "delayed" | "failed" | "none";

/** What a bounce of that type is; of a type that is not here it is one that may pass. */
export const bounces: Readonly<Record<string, Bounce>> = {
  HardBounce: "permanent",
  BadEmailAddress: "permanent",
  // Whoever gets it asks for no more of its kind.
  Unsubscribe: "unsubscribed",
  // The office has put the address on Postmark's list.
  ManuallyDeactivated: "suppressed",
  // Postmark goes on trying.
  Transient: "delayed",
  // Nothing went out.
  SMTPApiError: "failed",
  TemplateRenderingFailed: "failed",
  InboundError: "none",
  // Machines that answer: the email has arrived.
  AutoResponder: "none",
  AddressChange: "none",
  Subscribe: "none",
  OpenRelayTest: "none",
};

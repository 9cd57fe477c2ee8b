import { expect, test } from "vitest";
import { TimeoutError } from "../../functions/_shared/runtime/errors.ts";
import {
  type Answer,
  classifyException,
  classifyWebhook,
  OPERATOR_DELAY_SECONDS,
  parseRetryAfter,
  secondsToMidnightPacific,
} from "../../functions/_shared/engine/outcome.ts";
import { classify as classifyPostmark } from "../../functions/_shared/channels/email/postmark/codes.ts";
import { classify as classifyResend } from "../../functions/_shared/channels/email/resend/codes.ts";
import { classify as classifyTelnyx } from "../../functions/_shared/channels/sms/telnyx/codes.ts";
import { classify as classifyTwilio } from "../../functions/_shared/channels/sms/twilio/codes.ts";

type Row = [answer: Answer, outcome: string, extra?: object];

test.each<Row>([
  [{ status: 400, code: 21211 }, "failed"],
  [{ status: 400, code: 21610 }, "failed", { suppress: true }],
  [{ status: 400, code: 21614 }, "failed", { suppress: "landline" }],
  [{ status: 400, code: 21635 }, "failed"],
  [{ status: 400, code: 30005 }, "failed"],
  [{ status: 400, code: 30006 }, "failed", { suppress: "landline" }],
  [{ status: 400, code: 30007 }, "failed"],
  [{ status: 400, code: 21617 }, "failed"],
  [{ status: 404 }, "failed"],
  [{ status: 429, retryAfterSeconds: 7 }, "retry", { retry_after_seconds: 7 }],
  [{ status: 400, code: 20429 }, "retry"],
  [{ status: 400, code: 30001 }, "retry"],
  [{ status: 400, code: 21611 }, "retry"],
  [{ status: 400, code: 30003 }, "retry"],
  [{ status: 400, code: 30022 }, "retry"],
  ...[30023, 30027].map((code): Row => [{ status: 400, code }, "retry", {
    error: { code: `twilio_${code}`, holds: "daily_limit" },
    retry_after_seconds: expect.any(Number),
  }]),
  [{ status: 401, code: 20003 }, "retry", { retry_after_seconds: OPERATOR_DELAY_SECONDS }],
  [{ status: 403, code: 20005 }, "retry", { retry_after_seconds: OPERATOR_DELAY_SECONDS }],
  [{ status: 408 }, "ambiguous"],
  [{ status: 500, code: 20500 }, "ambiguous"],
  [{ status: 503, retryAfterSeconds: 3 }, "ambiguous", { retry_after_seconds: 3 }],
])("Twilio %o is %s", (answer, outcome, extra = {}) => {
  expect(classifyTwilio(answer)).toMatchObject({ outcome, ...extra });
});

test.each<Row>([
  [{ status: 422, code: 40016 }, "retry", { error: { holds: "daily_limit" } }],
  [{ status: 422, code: 40018 }, "retry"],
  [{ status: 422, code: 40300 }, "failed", { suppress: true }],
  [{ status: 422, code: 40001 }, "failed", { suppress: "landline" }],
  [{ status: 422, code: 40013 }, "failed"],
])("Telnyx %o is %s", (answer, outcome, extra = {}) => {
  expect(classifyTelnyx(answer)).toMatchObject({ outcome, ...extra });
});

test("only what a carrier refuses for the day is held till its day is over", () => {
  for (const code of [20429, 30022, 30001]) {
    expect(classifyTwilio({ status: 400, code })).not.toHaveProperty("error.holds");
  }
});

test("only an opted-out recipient is suppressed", () => {
  expect(classifyTwilio({ status: 400, code: 21211 })).not.toHaveProperty("suppress");
});

test.each<Row>([
  [{ status: 429, code: "rate_limit_exceeded", retryAfterSeconds: 2 }, "retry", {
    retry_after_seconds: 2,
  }],
  [{ status: 409, code: "concurrent_idempotent_requests" }, "ambiguous"],
  [{ status: 409, code: "invalid_idempotent_request" }, "failed"],
  [{ status: 422, code: "validation_error" }, "failed"],
  [{ status: 403, code: "validation_error" }, "failed"],
  [{ status: 401, code: "missing_api_key" }, "retry", {
    retry_after_seconds: OPERATOR_DELAY_SECONDS,
  }],
  [{ status: 403, code: "invalid_api_key" }, "retry"],
  [{ status: 500, code: "internal_server_error" }, "ambiguous"],
])("Resend %o is %s", (answer, outcome, extra = {}) => {
  expect(classifyResend(answer)).toMatchObject({ outcome, ...extra });
});

test.each<Row>([
  [{ status: 429 }, "retry"],
  [{ status: 422, code: 406 }, "failed", { error: { code: "postmark_406" }, suppress: true }],
  [{ status: 422, code: 300, message: "Illegal email address" }, "failed", {
    error: { code: "postmark_300", message: "Illegal email address" },
  }],
  [{ status: 401, code: 10 }, "retry", { retry_after_seconds: OPERATOR_DELAY_SECONDS }],
  [{ status: 422, code: 400 }, "retry", { retry_after_seconds: OPERATOR_DELAY_SECONDS }],
  [{ status: 422, code: 405 }, "retry", { retry_after_seconds: OPERATOR_DELAY_SECONDS }],
  [{ status: 403 }, "retry", { retry_after_seconds: OPERATOR_DELAY_SECONDS }],
  [{ status: 503, code: 100 }, "ambiguous"],
  [{ status: 500 }, "ambiguous"],
])("Postmark %o is %s", (answer, outcome, extra = {}) => {
  expect(classifyPostmark(answer)).toMatchObject({ outcome, ...extra });
});

test.each<Row>([
  [{ status: 200 }, "succeeded"],
  [{ status: 204 }, "succeeded"],
  [{ status: 301 }, "failed", { error: { code: "webhook_redirect" } }],
  [{ status: 400 }, "failed"],
  [{ status: 404 }, "failed"],
  [{ status: 408 }, "retry"],
  [{ status: 409 }, "retry"],
  [{ status: 410 }, "failed", { error: { code: "webhook_gone" } }],
  [{ status: 429, retryAfterSeconds: 9 }, "retry", {
    retry_after_seconds: 9,
    error: { holds: "receiver" },
  }],
  [{ status: 500 }, "retry"],
  [{ status: 503 }, "retry"],
])("a receiver's %o is %s", (answer, outcome, extra = {}) => {
  expect(classifyWebhook(answer)).toMatchObject({ outcome, ...extra });
});

test("a request that never connected is safe to repeat, every other silence is not", () => {
  const refused = new TypeError("fetch failed", {
    cause: Object.assign(new Error("connect"), { code: "ECONNREFUSED" }),
  });
  const deno = new TypeError("error sending request for url (x): client error (Connect): refused");
  const reset = Object.assign(new Error("read"), { code: "ECONNRESET" });
  expect(classifyException("twilio", refused).outcome).toBe("retry");
  expect(classifyException("twilio", deno).outcome).toBe("retry");
  expect(classifyException("twilio", reset).outcome).toBe("ambiguous");
  expect(classifyException("twilio", new SyntaxError("JSON")).outcome).toBe("ambiguous");
  expect(classifyException("twilio", new TimeoutError("twilio", 10))).toMatchObject({
    outcome: "ambiguous",
    error: { code: "twilio_timeout" },
  });
});

test("Retry-After is seconds or a date, and no mistake parks a message for a year", () => {
  const now = Date.parse("2026-11-02T10:00:00Z");
  expect(parseRetryAfter("120", now)).toBe(120);
  expect(parseRetryAfter("1.2", now)).toBe(2);
  expect(parseRetryAfter("Mon, 02 Nov 2026 10:01:30 GMT", now)).toBe(90);
  expect(parseRetryAfter("Mon, 02 Nov 2026 09:00:00 GMT", now)).toBe(0);
  expect(parseRetryAfter("99999999", now)).toBe(86_400);
  expect(parseRetryAfter("soon", now)).toBeUndefined();
  expect(parseRetryAfter(null, now)).toBeUndefined();
});

test.each([
  ["2026-06-04T06:59:30Z", 30],
  ["2026-06-04T07:00:00Z", 86_400],
  ["2026-12-01T20:00:00Z", 12 * 3600],
])("at %s T-Mobile's day has %d seconds left", (at, seconds) => {
  expect(secondsToMidnightPacific(new Date(at))).toBe(seconds);
});

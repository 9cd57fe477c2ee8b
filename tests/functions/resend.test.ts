import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { ResendSettings } from "../../functions/_shared/channels/email/resend/settings.ts";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import { createSender as createResendSender } from "../../functions/_shared/channels/email/resend/send.ts";
import { type ResendStandIn, startResend } from "../../scripts/standins/resend.ts";
import { anEmail, aStep, impatientOnce } from "./fakes.ts";

let resend: ResendStandIn;
let settings: ResendSettings;
const HOUR = 3_600_000;

beforeAll(async () => {
  resend = await startResend({ port: 0, apiKey: "re_1" });
  settings = { apiKey: "re_1", baseUrl: resend.url, from: "Acme <office@example.com>" };
});
beforeEach(() => resend.reset());
afterAll(() => resend.stop());

function sender(changes: Partial<ResendSettings> = {}, now?: () => number) {
  return createResendSender({
    settings: () => ({ ...settings, ...changes }),
    timeoutMs: 30_000,
    ...(now ? { now } : {}),
  });
}

const emailStep = (changes: object = {}) =>
  aStep({ step_type: "send_email", payload: anEmail, ...changes });
const posts = () => resend.requests().filter(({ method }) => method === "POST");

test("an email is accepted under the step's key", async () => {
  const step = emailStep({
    payload: {
      ...anEmail,
      text: "Hi Jo",
      reply_to: ["sales@example.com"],
      cc: ["a@example.com"],
      bcc: ["b@example.com"],
      headers: { "List-Unsubscribe": "<https://example.com/u>" },
    },
  });
  const outcome = await deliver(step, sender());
  const [email] = resend.emails();
  expect(outcome).toEqual({
    outcome: "succeeded",
    result: { provider_id: email?.id, http_status: 200 },
  });
  expect(email).toMatchObject({
    from: "Acme <office@example.com>",
    to: anEmail.to,
    subject: "Welcome",
    html: "<p>Hi Jo</p>",
    text: "Hi Jo",
    reply_to: ["sales@example.com"],
    cc: ["a@example.com"],
    bcc: ["b@example.com"],
    headers: { "List-Unsubscribe": "<https://example.com/u>" },
  });
  expect(posts()[0]?.headers["idempotency-key"]).toBe(step.idempotency_key);
});

test("text alone is enough, nothing at all is not", async () => {
  const { html: _html, ...bare } = anEmail;
  expect(await deliver(emailStep({ payload: { ...bare, text: "Hi" } }), sender()))
    .toMatchObject({ outcome: "succeeded" });
  expect(await deliver(emailStep({ payload: bare }), sender())).toMatchObject({
    outcome: "failed",
    error: { code: "invalid_payload", message: expect.stringContaining("payload.html") },
  });
});

test("without a from the email waits for the operator", async () => {
  const { from: _from, ...bare } = settings;
  expect(await deliver(emailStep(), createResendSender({ settings: () => bare }))).toMatchObject({
    outcome: "retry",
    error: { code: "not_configured", message: expect.stringMatching(/^RESEND_FROM: /) },
  });
});

test.each([
  [{ status: 429, headers: { "retry-after": "3" } }, "retry", { retry_after_seconds: 3 }],
  [{ status: 409, code: "concurrent_idempotent_requests" }, "ambiguous", {}],
  [{ status: 409, code: "invalid_idempotent_request" }, "failed", {}],
  [{ status: 422, code: "validation_error" }, "failed", {}],
  [{ status: 401, code: "missing_api_key" }, "retry", { retry_after_seconds: 600 }],
  [{ status: 500 }, "ambiguous", { error: { http_status: 500 } }],
])("%o is %s", async (fault, outcome, extra) => {
  resend.fault({ kind: "status", ...fault });
  expect(await deliver(emailStep(), sender())).toMatchObject({ outcome, ...extra });
});

describe("what may have been accepted", () => {
  test.each(
    ["timeout_after_accept", "reset_after_accept", "status_after_accept", "garbage"] as const,
  )(
    "%s is ambiguous; the same key makes the repeat harmless",
    async (kind) => {
      resend.fault({ kind });
      const step = emailStep();
      const first = kind === "timeout_after_accept"
        ? impatientOnce(() => resend.emails().length > 0, sender())
        : sender();
      expect(await deliver(step, first)).toMatchObject({ outcome: "ambiguous" });
      const again = await deliver({ ...step, reconcile_since: new Date() }, sender());
      expect(again).toMatchObject({ outcome: "succeeded" });
      expect(resend.emails()).toHaveLength(1);
      expect(posts()).toHaveLength(2);
    },
  );

  test("after a day the key is forgotten, so the list is asked first", async () => {
    const step = emailStep();
    await deliver(step, sender());
    const late = { ...step, reconcile_since: new Date(Date.now() - 24 * HOUR) };
    expect(await deliver(late, sender())).toEqual({
      outcome: "succeeded",
      result: { provider_id: resend.emails()[0]?.id, reconciled: true },
    });
    expect(posts()).toHaveLength(1);
  });

  test("an email of another step, address or subject is not taken for it", async () => {
    const other = emailStep();
    await deliver(other, sender());
    await deliver(emailStep({ payload: { ...anEmail, subject: "Bye" } }), sender());
    await deliver(emailStep({ payload: { ...anEmail, to: ["x@example.com"] } }), sender());
    const known_provider_ids = [resend.emails()[0]?.id ?? ""];
    const reconcile_since = new Date(Date.now() - 24 * HOUR);
    const outcome = await deliver(emailStep({ reconcile_since, known_provider_ids }), sender());
    expect(outcome).toMatchObject({ outcome: "succeeded", result: { http_status: 200 } });
    expect(resend.emails()).toHaveLength(4);
  });

  test("a list that cannot be read leaves it ambiguous, never sent blind", async () => {
    resend.fault({ kind: "status", status: 500 });
    const reconcile_since = new Date(Date.now() - 24 * HOUR);
    expect(await deliver(emailStep({ reconcile_since }), sender())).toMatchObject({
      outcome: "ambiguous",
      error: { code: "reconcile_failed" },
    });
    expect(posts()).toHaveLength(0);
  });
});

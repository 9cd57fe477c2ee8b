import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import {
  comparableBody,
  createSender as createTwilioSender,
} from "../../functions/_shared/channels/sms/twilio/send.ts";
import type { TwilioSettings } from "../../functions/_shared/channels/sms/twilio/settings.ts";
import { startTwilio, type TwilioStandIn } from "../../scripts/standins/twilio.ts";
import { aStep, impatientOnce } from "./fakes.ts";

let twilio: TwilioStandIn;
let settings: TwilioSettings;
const TO = "+15550001111";
const FROM = "+15559990000";

beforeAll(async () => {
  twilio = await startTwilio({ port: 0, accountSid: "AC1", authToken: "token" });
  settings = { accountSid: "AC1", authToken: "token", baseUrl: twilio.url, from: FROM };
});
beforeEach(() => twilio.reset());
afterAll(() => twilio.stop());

function sender(changes: Partial<TwilioSettings> = {}, timeoutMs = 30_000) {
  return createTwilioSender({
    settings: () => ({ ...settings, ...changes }),
    timeoutMs,
  });
}

const posts = () => twilio.requests().filter(({ method }) => method === "POST").length;

/** An attempt that began now, so whatever the stand-in has accepted may be its message. */
const since = () => new Date(Date.now() - 5_000);

test("a text is accepted and its sid kept", async () => {
  const outcome = await deliver(aStep(), sender());
  const [message] = twilio.messages();
  expect(outcome).toEqual({
    outcome: "succeeded",
    result: { provider_id: message?.sid, http_status: 201 },
  });
  expect(message).toMatchObject({ to: TO, from: FROM, body: "Your estimate is ready" });
});

test("the step's own sender wins, then a service of the environment, then its number", async () => {
  const payload = { to: TO, body: "Hi" };
  await deliver(aStep({ payload: { ...payload, from: "+15558887777" } }), sender());
  await deliver(aStep({ payload }), sender({ messagingServiceSid: "MG1" }));
  await deliver(
    aStep({ payload: { ...payload, messaging_service_sid: "MG2" } }),
    sender({ messagingServiceSid: "MG1" }),
  );
  expect(twilio.messages().map(({ from, messaging_service_sid }) => from ?? messaging_service_sid))
    .toEqual(["+15558887777", "MG1", "MG2"]);
});

test("several media addresses are all sent, with or without a body", async () => {
  const media_urls = ["https://example.com/1.jpg", "https://example.com/2.jpg"];
  await deliver(aStep({ payload: { to: TO, body: "", media_urls } }), sender());
  expect(twilio.messages()[0]).toMatchObject({ num_media: "2", body: "" });
});

test("Twilio is asked to report delivery where somebody listens", async () => {
  const statusCallback = "https://apex.example.com/functions/v1/twilio-webhook";
  await deliver(aStep(), sender());
  await deliver(aStep(), sender({ statusCallback }));
  expect(twilio.requests().map(({ body }) => new URLSearchParams(body).get("StatusCallback")))
    .toEqual([null, statusCallback]);
});

test("Twilio is told how long a text may wait in its queue, where that is short", async () => {
  const payload = { to: TO, body: "Tonight only", from: FROM };
  await deliver(aStep({ payload: { ...payload, validity_seconds: 3_600 } }), sender());
  await deliver(aStep({ payload }), sender());
  expect(twilio.requests().map(({ body }) => new URLSearchParams(body).get("ValidityPeriod")))
    .toEqual(["3600", null]);
});

test("without a sender the text waits for the operator", async () => {
  const { from: _from, ...bare } = settings;
  const outcome = await deliver(aStep(), createTwilioSender({ settings: () => bare }));
  expect(outcome).toMatchObject({ outcome: "retry", retry_after_seconds: 600 });
  expect(outcome).toHaveProperty("error.message", expect.stringMatching(/^TWILIO_FROM: /));
  expect(posts()).toBe(0);
});

test.each([
  [{ body: "Hi" }, /payload\.to/],
  [{ to: TO, body: "" }, /payload\.body: must not be empty/],
  [{ to: TO, body: 7 }, /payload\.body/],
  [{ to: TO, body: "Hi", media_urls: ["nope"] }, /payload\.media_urls\.0/],
  [null, /^payload: /],
])("a malformed payload %j fails its step and names the field", async (payload, message) => {
  expect(await deliver(aStep({ payload }), sender())).toMatchObject({
    outcome: "failed",
    error: { code: "invalid_payload", message: expect.stringMatching(message) },
  });
  expect(posts()).toBe(0);
});

describe("what Twilio refuses", () => {
  test("a bad number fails with Twilio's code", async () => {
    expect(await deliver(aStep({ payload: { to: "12", body: "Hi" } }), sender())).toMatchObject({
      outcome: "failed",
      error: { code: "twilio_21211", http_status: 400 },
    });
  });

  test("a recipient who opted out is suppressed", async () => {
    twilio.fault({ kind: "status", status: 400, code: 21610 });
    expect(await deliver(aStep(), sender())).toMatchObject({ outcome: "failed", suppress: true });
  });

  test("429 is tried again when Twilio says", async () => {
    twilio.fault({ kind: "status", status: 429, headers: { "retry-after": "30" } });
    expect(await deliver(aStep(), sender())).toMatchObject({
      outcome: "retry",
      retry_after_seconds: 30,
      error: { code: "twilio_20429" },
    });
  });

  test("a wrong token holds the message instead of losing it", async () => {
    expect(await deliver(aStep(), sender({ authToken: "wrong" }))).toMatchObject({
      outcome: "retry",
      retry_after_seconds: 600,
      error: { code: "twilio_20003" },
    });
  });
});

describe("what may have been accepted", () => {
  test.each(
    [
      ["timeout_after_accept", "twilio_timeout"],
      ["reset_after_accept", "twilio_connection_lost"],
      ["status_after_accept", "twilio_20500"],
      ["garbage", "twilio_connection_lost"],
    ] as const,
  )("%s is ambiguous, and looked up instead of sent again", async (kind, code) => {
    twilio.fault({ kind });
    const step = aStep();
    const first = kind === "timeout_after_accept"
      ? impatientOnce(() => twilio.messages().length > 0, sender())
      : sender();
    expect(await deliver(step, first)).toMatchObject({
      outcome: "ambiguous",
      error: { code },
    });
    const again = await deliver({ ...step, attempt: 2, reconcile_since: since() }, sender());
    expect(again).toEqual({
      outcome: "succeeded",
      result: { provider_id: twilio.messages()[0]?.sid, reconciled: true },
    });
    expect(twilio.messages()).toHaveLength(1);
    expect(posts()).toBe(1);
  });

  test("a body of JSON without a sid is no message", async () => {
    const server = createServer((_request, response) => response.end('{"hello":1}'));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    try {
      const outcome = await deliver(aStep(), sender({ baseUrl: `http://127.0.0.1:${port}` }));
      expect(outcome).toMatchObject({ outcome: "ambiguous", error: { code: "twilio_no_sid" } });
    } finally {
      server.close();
    }
  });

  test("a refused connection never arrived: it is simply tried again", async () => {
    expect(await deliver(aStep(), sender({ baseUrl: "http://127.0.0.1:2" }))).toMatchObject({
      outcome: "retry",
      error: { code: "twilio_unreachable" },
    });
  });

  test("500 before acceptance: the lookup finds nothing and it is sent once", async () => {
    twilio.fault({ kind: "status", status: 500 });
    const step = aStep();
    expect(await deliver(step, sender())).toMatchObject({ outcome: "ambiguous" });
    const again = await deliver({ ...step, reconcile_since: since() }, sender());
    expect(again).toMatchObject({ outcome: "succeeded", result: { http_status: 201 } });
    expect(twilio.messages()).toHaveLength(1);
  });

  test.each(
    [
      ["the lookup answers 500", { kind: "status", status: 500 }],
      ["the lookup times out", { kind: "timeout_before_accept" }],
      ["the lookup answers garbage", { kind: "garbage" }],
      ["the lookup is throttled", { kind: "status", status: 429 }],
    ] as const,
  )("%s: still ambiguous, never sent blind", async (_what, fault) => {
    twilio.fault({ ...fault, match: { path: "/Messages" } });
    const impatient = fault.kind === "timeout_before_accept" ? sender({}, 300) : sender();
    const outcome = await deliver(aStep({ reconcile_since: since() }), impatient);
    expect(outcome).toMatchObject({ outcome: "ambiguous", error: { code: "reconcile_failed" } });
    expect(posts()).toBe(0);
  });
});

describe("which message is the step's own", () => {
  const ONE_ID = randomUUID();
  const reconciled = async (changes: object, payload: object = { to: TO, body: "Hello" }) => {
    const step = aStep({ payload, reconcile_since: since(), ...changes });
    const outcome = await deliver(step, sender());
    return outcome.outcome === "succeeded" && outcome.result.reconciled === true;
  };
  const accept = (payload: object) => deliver(aStep({ payload }), sender());

  test("not one with another body, recipient or sender", async () => {
    await accept({ to: TO, body: "Hello there" });
    await accept({ to: "+15550002222", body: "Hello" });
    await accept({ to: TO, body: "Hello", from: "+15551112222" });
    expect(await reconciled({})).toBe(false);
  });

  test("not one that belongs to another step", async () => {
    await accept({ to: TO, body: "Hello" });
    const known_provider_ids = twilio.messages().map(({ sid }) => sid);
    expect(await reconciled({ known_provider_ids })).toBe(false);
  });

  test("not one from before the attempt", async () => {
    await accept({ to: TO, body: "Hello" });
    const reconcile_since = new Date(Date.now() + 120_000);
    expect(await reconciled({ reconcile_since })).toBe(false);
  });

  test("though Twilio made its typography plain", async () => {
    await accept({ to: TO, body: 'It\'s "done" - see you...' });
    expect(
      await reconciled({}, { to: TO, body: "It\u2019s \u201cdone\u201d \u2013 see you\u2026 " }),
    )
      .toBe(true);
  });

  test("though the number was written by hand", async () => {
    await accept({ to: TO, body: "Hello" });
    expect(await reconciled({}, { to: "+1 (555) 000-1111", body: "Hello" })).toBe(true);
  });

  test("though it is on the second page", async () => {
    await accept({ to: TO, body: "Hello" });
    for (let number = 0; number < 120; number++) await accept({ to: TO, body: `No ${number}` });
    expect(await reconciled({})).toBe(true);
    expect(twilio.requests().filter(({ method }) => method === "GET")).toHaveLength(2);
  });

  test.each([
    ["two steps", () => ({})],
    ["steps of two tenants by one id", () => ({ tenant_id: randomUUID(), step_id: ONE_ID })],
  ])("%s looked up at once do not share one message", async (_who, idsOf) => {
    await accept({ to: TO, body: "Hello" });
    const shared = sender();
    const payload = { to: TO, body: "Hello" };
    const outcomes = await Promise.all(
      [1, 2].map(() => deliver(aStep({ payload, reconcile_since: since(), ...idsOf() }), shared)),
    );
    const ids = outcomes.map((outcome) =>
      outcome.outcome === "succeeded" ? outcome.result.provider_id : null
    );
    expect(new Set(ids).size).toBe(2);
    expect(twilio.messages()).toHaveLength(2);
  });
});

test("comparable bodies ignore what Twilio adds, and nothing else", () => {
  expect(comparableBody("Sent from your Twilio trial account - Hi  there\n")).toBe("Hi there");
  expect(comparableBody("Hi there!")).not.toBe(comparableBody("Hi there"));
  expect(comparableBody("HI")).not.toBe(comparableBody("hi"));
});

// The stand-ins answer, refuse and fail as the providers do.
import { Resend } from "resend";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { ResendStandIn } from "../../scripts/standins/resend.ts";
import type { TwilioStandIn } from "../../scripts/standins/twilio.ts";
import { startResend, startTwilio } from "../support/standins.ts";

const account = "AC00000000000000000000000000000000";
const authorization = `Basic ${Buffer.from(`${account}:token`).toString("base64")}`;

describe("the Twilio stand-in", () => {
  let twilio: TwilioStandIn;
  beforeAll(async () => {
    twilio = await startTwilio();
  });
  beforeEach(() => twilio.reset());
  afterAll(() => twilio.stop());

  const address = () => `${twilio.url}/2010-04-01/Accounts/${account}/Messages.json`;
  const send = (form: Record<string, string>, signal?: AbortSignal) =>
    fetch(address(), {
      method: "POST",
      headers: { authorization },
      body: new URLSearchParams(form),
      ...(signal ? { signal } : {}),
    });
  const text = { To: "+14155550142", From: "+15005550006", Body: "Hello" };

  it("accepts a message and lists it, newest first", async () => {
    const first = await send(text);
    expect(first.status).toBe(201);
    expect(await first.json()).toMatchObject({ status: "queued", to: text.To, body: "Hello" });
    await send({ ...text, Body: "Again" });
    await send({ ...text, To: "+14155550143" });
    const list = await fetch(`${address()}?To=%2B14155550142&PageSize=1`, {
      headers: { authorization },
    });
    expect(await list.json()).toMatchObject({
      messages: [{ body: "Again" }],
      next_page_uri: expect.stringContaining("Page=1"),
    });
  });

  it("finds what was sent at or after a moment, and nothing later", async () => {
    const before = new Date(Date.now() - 1_000).toISOString();
    const after = new Date(Date.now() + 60_000).toISOString();
    await send(text);
    const count = async (since: string) => {
      const answer = await fetch(`${address()}?DateSent%3E=${encodeURIComponent(since)}`, {
        headers: { authorization },
      });
      return (await answer.json()).messages.length;
    };
    expect(await count(before)).toBe(1);
    expect(await count(after)).toBe(0);
  });

  it.each([
    ["no recipient", { From: text.From, Body: "x" }, 21604],
    ["no body", { To: text.To, From: text.From }, 21602],
    ["no sender", { To: text.To, Body: "x" }, 21603],
    ["a bad number", { ...text, To: "555" }, 21211],
  ])("refuses %s", async (_what, form, code) => {
    const answer = await send(form);
    expect(answer.status).toBe(400);
    expect(await answer.json()).toMatchObject({
      code,
      status: 400,
      more_info: `https://www.twilio.com/docs/errors/${code}`,
    });
    expect(twilio.messages()).toEqual([]);
  });

  it("refuses another account's credentials", async () => {
    const answer = await fetch(address(), { headers: { authorization: "Basic eDp5" } });
    expect(await answer.json()).toMatchObject({ code: 20003, status: 401 });
  });

  it("can time out after it has accepted, so many times, for one recipient", async () => {
    twilio.fault({ kind: "timeout_after_accept", match: { to: text.To }, times: 1 });
    await expect(send(text, AbortSignal.timeout(200))).rejects.toThrow();
    expect(twilio.messages()).toHaveLength(1);
    expect((await send(text)).status).toBe(201);
    expect(twilio.requests().map(({ fault, accepted }) => [fault, accepted])).toEqual([
      ["timeout_after_accept", true],
      [null, true],
    ]);
  });

  it("can fail before accepting, reset afterwards, and answer garbage", async () => {
    twilio.fault(
      { kind: "status", status: 429, headers: { "retry-after": "7" } },
      { kind: "reset_after_accept" },
      { kind: "garbage" },
    );
    const busy = await send(text);
    expect([busy.status, busy.headers.get("retry-after")]).toEqual([429, "7"]);
    expect(await busy.json()).toMatchObject({ code: 20429 });
    expect(twilio.messages()).toHaveLength(0);
    await expect(send(text)).rejects.toThrow();
    expect(twilio.messages()).toHaveLength(1);
    await expect((await send(text)).json()).rejects.toThrow();
    expect(twilio.messages()).toHaveLength(2);
  });

  it("takes faults and gives its record over HTTP", async () => {
    const armed = await fetch(`${twilio.url}/_control/faults`, {
      method: "POST",
      body: JSON.stringify([{ kind: "status", status: 500, times: 1 }]),
    });
    expect(await armed.json()).toEqual({ armed: 1 });
    expect((await send(text)).status).toBe(500);
    const requests = await (await fetch(`${twilio.url}/_control/requests`)).json();
    expect(requests).toMatchObject([{ method: "POST", status: 500, accepted: false }]);
    const nonsense = await fetch(`${twilio.url}/_control/faults`, { method: "POST", body: "[{}]" });
    expect(nonsense.status).toBe(400);
  });
});

describe("the Resend stand-in", () => {
  let resend: ResendStandIn;
  beforeAll(async () => {
    resend = await startResend();
  });
  beforeEach(() => resend.reset());
  afterAll(() => resend.stop());

  const email = { from: "a@x.example", to: "b@y.example", subject: "Hi", text: "Hello" };
  const send = (body: unknown, key?: string, path = "/emails") =>
    fetch(resend.url + path, {
      method: "POST",
      headers: { authorization: "Bearer re_x", ...(key ? { "idempotency-key": key } : {}) },
      body: JSON.stringify(body),
    });

  it("answers Resend's own package", async () => {
    const client = new Resend("re_x", { baseUrl: resend.url });
    const { data, error } = await client.emails.send({ ...email, to: ["b@y.example"] });
    expect(error).toBeNull();
    const kept = await client.emails.get(data?.id ?? "");
    expect(kept.data).toMatchObject({ subject: "Hi", to: ["b@y.example"] });
  });

  it("sends once for one idempotency key, whatever is retried", async () => {
    const first = await (await send(email, "step-1")).json();
    const second = await (await send(email, "step-1")).json();
    expect(second).toEqual(first);
    expect(resend.emails()).toHaveLength(1);
    const other = await send({ ...email, subject: "Else" }, "step-1");
    expect([other.status, (await other.json()).name]).toEqual([409, "invalid_idempotent_request"]);
  });

  it("refuses a key whose first request is still under way", async () => {
    resend.fault({ kind: "delay", delay_ms: 300 });
    const slow = send(email, "step-2");
    await expect.poll(() => resend.requests().length).toBe(1);
    const eager = await send(email, "step-2");
    expect((await eager.json()).name).toBe("concurrent_idempotent_requests");
    expect((await slow).status).toBe(200);
    expect((await send(email, "step-2")).status).toBe(200);
    expect(resend.emails()).toHaveLength(1);
  });

  it("accepts a batch whole or not at all", async () => {
    const bad = await send([email, { ...email, to: "nobody" }], undefined, "/emails/batch");
    expect(bad.status).toBe(422);
    expect(resend.emails()).toHaveLength(0);
    const good = await send([email, email], undefined, "/emails/batch");
    expect((await good.json()).data).toHaveLength(2);
  });

  it.each([
    ["no recipient", { ...email, to: undefined }, "missing_required_field"],
    ["a bad address", { ...email, to: "nobody" }, "validation_error"],
    ["no content", { ...email, text: undefined }, "validation_error"],
  ])("refuses %s", async (_what, body, name) => {
    const answer = await send(body);
    expect([answer.status, (await answer.json()).name]).toEqual([422, name]);
  });

  it("refuses whoever brings no key", async () => {
    expect((await fetch(`${resend.url}/emails`)).status).toBe(401);
  });
});

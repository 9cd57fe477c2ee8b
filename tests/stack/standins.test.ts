// The stand-ins answer, refuse and fail as the providers do.
import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { Resend } from "resend";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import fc from "fast-check";
import { SegmentedMessage } from "sms-segments-calculator";
import type { ResendStandIn } from "../../scripts/standins/resend.ts";
import { segmentsOf } from "../../scripts/standins/segments.ts";
import { type PostmarkStandIn, startPostmark } from "../../scripts/standins/postmark.ts";
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
    ["a name as a number", { ...text, To: "Maria" }, 21211],
    ["a number in text", { ...text, To: "call +14155550142" }, 21211],
    ["too many digits", { ...text, To: "+1415555014212345" }, 21211],
    ["too few digits after +1", { ...text, To: "+1415555014" }, 21211],
    ["a number without a country", { ...text, To: "4155550142" }, 21211],
    ["two numbers", { ...text, To: "+14155550142,+14155550143" }, 21211],
    ["another channel", { ...text, To: "whatsapp:+14155550142" }, 21211],
    ["an empty recipient", { ...text, To: "" }, 21604],
    ["an empty body", { ...text, Body: "" }, 21602],
    ["an empty sender", { ...text, From: "" }, 21603],
    ["a sender that is none", { ...text, From: "Apex Roofing Inc" }, 21212],
    ["a sender with a line break", { ...text, From: "+15005550006\n+15005550007" }, 21212],
    ["a text to its own sender", { ...text, From: text.To }, 21266],
    ["no such service", { To: text.To, Body: "x", MessagingServiceSid: "apex" }, 21701],
    ["a body over 1600 characters", { ...text, Body: "x".repeat(1601) }, 21617],
    ["a picture that is no URL", { ...text, MediaUrl: "roof.jpg" }, 21620],
    ["a picture of another protocol", { ...text, MediaUrl: "file:///etc/passwd" }, 21620],
    ["a callback that is no URL", { ...text, StatusCallback: "later" }, 21609],
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

  it("takes ten pictures and not eleven", async () => {
    const pictures = (count: number) => {
      const form = new URLSearchParams(text);
      for (let n = 0; n < count; n++) form.append("MediaUrl", `https://example.com/${n}.jpg`);
      return fetch(address(), { method: "POST", headers: { authorization }, body: form });
    };
    expect(await (await pictures(10)).json()).toMatchObject({ num_media: "10" });
    const refused = await pictures(11);
    expect([refused.status, (await refused.json()).code]).toEqual([400, 21623]);
  });

  it.each([
    ["a body of exactly 1600", { Body: "x".repeat(1600) }],
    ["a picture without words", { Body: "", MediaUrl: "https://example.com/roof.jpg" }],
    ["a short code", { From: "88811" }],
    ["a name", { From: "ApexRoofing" }],
    ["a number as people write it", { To: "+1 (415) 555-0142" }],
    ["a number of another country", { To: "+442079460000" }],
  ])("takes %s", async (_what, changes) => {
    expect((await send({ ...text, ...changes })).status).toBe(201);
  });

  it("reads nothing of a request that is not a form", async () => {
    const answer = await fetch(address(), {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify(text),
    });
    expect([answer.status, (await answer.json()).code]).toEqual([400, 21604]);
  });

  it.each([
    ["160 plain characters", "x".repeat(160), "1"],
    ["161 of them", "x".repeat(161), "2"],
    ["306 of them", "x".repeat(306), "2"],
    ["307 of them", "x".repeat(307), "3"],
    ["80 euro signs, each of two", "€".repeat(80), "1"],
    ["81 of them", "€".repeat(81), "2"],
    ["an escape that no segment can end with", "x".repeat(152) + "€" + "x".repeat(152), "3"],
    ["70 with one curly quote", "’" + "x".repeat(69), "1"],
    ["71 with one curly quote", "’" + "x".repeat(70), "2"],
    ["35 emoji, each of two units", "🏠".repeat(35), "1"],
    ["36 of them", "🏠".repeat(36), "2"],
    ["67 of them: 33 go into a segment", "🏠".repeat(67), "3"],
    ["letters of the plain alphabet", "ÄÖÑÜ§¿àé".repeat(20), "1"],
    ["a letter that is not in it", "ê" + "x".repeat(70), "2"],
  ])("counts the segments of %s", async (_what, Body, segments) => {
    expect((await (await send({ ...text, Body })).json()).num_segments).toBe(segments);
  });

  it("counts segments as Twilio's own calculator does", () => {
    const character = fc.oneof(
      { weight: 6, arbitrary: fc.constantFrom(..."aZ0 \né@ß") },
      { weight: 2, arbitrary: fc.constantFrom(..."€^{}[]~|\\") },
      { weight: 1, arbitrary: fc.constantFrom("’", "ê", "屋", "🏠", "👍", "\u00a0") },
    );
    const gsm = fc.array(fc.constantFrom(..."aZ0 é€^[|"), { maxLength: 400 });
    const any = fc.array(character, { maxLength: 400 });
    fc.assert(
      fc.property(fc.oneof(gsm, any).map((list) => list.join("")), (body) => {
        const theirs = new SegmentedMessage(body, "auto");
        const ours = segmentsOf(body);
        expect([ours.encoding, ours.segments]).toEqual([
          theirs.encodingName,
          Math.max(theirs.segmentsCount, 1),
        ]);
      }),
      { numRuns: 500 },
    );
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
    ["no sender", { ...email, from: "" }, "missing_required_field"],
    ["no subject", { ...email, subject: null }, "missing_required_field"],
    [
      "a line break in the subject",
      { ...email, subject: "Hi\nBcc: c@z.example" },
      "validation_error",
    ],
    ["a return in the subject", { ...email, subject: "Hi\rthere" }, "validation_error"],
    ["a control character in the subject", { ...email, subject: "Hi\u0007" }, "validation_error"],
    ["a subject that is a number", { ...email, subject: 7 }, "validation_error"],
    ["a subject that is a list", { ...email, subject: ["Hi"] }, "validation_error"],
    ["html that is a number", { ...email, html: 5 }, "validation_error"],
    ["text that is a list", { ...email, text: ["Hello"] }, "validation_error"],
    [
      "a line break in the sender",
      { ...email, from: "A\r\nBcc: <a@x.example>" },
      "validation_error",
    ],
    ["a line break in a recipient", { ...email, to: "B\n <b@y.example>" }, "validation_error"],
    ["a recipient that is a number", { ...email, to: 7 }, "validation_error"],
    [
      "a recipient that is an object",
      { ...email, to: { email: "b@y.example" } },
      "validation_error",
    ],
    ["no recipient in a list", { ...email, to: [] }, "validation_error"],
    ["51 recipients", { ...email, to: Array(51).fill("b@y.example") }, "validation_error"],
    ["51 copies", { ...email, cc: Array(51).fill("b@y.example") }, "validation_error"],
    [
      "two recipients in one text",
      { ...email, to: "b@y.example, c@z.example" },
      "validation_error",
    ],
    ["two senders", { ...email, from: "a@x.example, b@y.example" }, "validation_error"],
    ["a name with a comma", { ...email, to: "Lopez, Inc. <b@y.example>" }, "validation_error"],
    ["a name with a <", { ...email, to: "Tom <3 Ann <b@y.example>" }, "validation_error"],
    [
      "a name that looks like an address",
      { ...email, to: "c@z.example <b@y.example>" },
      "validation_error",
    ],
    ["an address without a domain", { ...email, to: "b@localhost" }, "validation_error"],
    ["an address that is not ASCII", { ...email, to: "jörg@y.example" }, "validation_error"],
    ["a group", { ...email, to: "Team: b@y.example;" }, "validation_error"],
    ["a bad copy", { ...email, bcc: ["b@y.example", "nobody"] }, "validation_error"],
    ["a bad answer address", { ...email, reply_to: "nobody" }, "validation_error"],
    [
      "a header with a line break",
      { ...email, headers: { "X-A": "1\r\nBcc: c@z.example" } },
      "validation_error",
    ],
    ["a header that is a number", { ...email, headers: { "X-A": 1 } }, "validation_error"],
    ["a header name that is none", { ...email, headers: { "X A": "1" } }, "validation_error"],
    ["headers that are a list", { ...email, headers: ["X-A: 1"] }, "validation_error"],
    ["a tag with a blank", { ...email, tags: [{ name: "a", value: "b c" }] }, "validation_error"],
    ["a tag without a value", { ...email, tags: [{ name: "a" }] }, "validation_error"],
    ["tags that are texts", { ...email, tags: ["a"] }, "validation_error"],
    ["a list of emails", [email], "validation_error"],
    ["a text", "Hello", "validation_error"],
  ])("refuses %s", async (_what, body, name) => {
    const answer = await send(body);
    expect([answer.status, (await answer.json()).name]).toEqual([422, name]);
  });

  it("names the field and the line break", async () => {
    const refused = await (await send({ ...email, subject: "Hi\nthere" })).json();
    expect(refused.message).toBe("The `\\n` is not allowed in the `subject` field.");
  });

  it.each([
    ["a quoted name", { to: '"Lopez Roofing, \\"Inc.\\"" <b@y.example>' }],
    ["a name in other letters", { to: ["José Núñez <b@y.example>", "屋根 <c@z.example>"] }],
    ["a name with a dot", { from: "Acme Inc. <a@x.example>" }],
    ["50 recipients", { to: Array.from({ length: 50 }, (_, n) => `b${n}@y.example`) }],
    ["headers and tags", {
      headers: { "List-Unsubscribe": "<https://x.example/u>" },
      tags: [{ name: "step", value: "a_1-b" }],
    }],
  ])("takes %s", async (_what, changes) => {
    expect((await send({ ...email, ...changes })).status).toBe(200);
  });

  it("keeps a key to 256 characters, and lets a mended request have it again", async () => {
    const long = await send(email, "k".repeat(257));
    expect([long.status, (await long.json()).name]).toEqual([400, "invalid_idempotency_key"]);
    expect((await send({ ...email, subject: 7 }, "step-3")).status).toBe(422);
    expect((await send(email, "step-3")).status).toBe(200);
    expect((await send(email, "step-3", "/emails/batch")).status).toBe(409);
  });

  it("takes no attachments in a batch", async () => {
    const attached = { ...email, attachments: [{ filename: "a.txt", content: "aGk=" }] };
    expect((await send([email, attached], undefined, "/emails/batch")).status).toBe(422);
    expect((await send(attached)).status).toBe(200);
  });

  it("refuses whoever brings no key", async () => {
    expect((await fetch(`${resend.url}/emails`)).status).toBe(401);
  });
});

/** In a thread of its own, since this one sleeps: a text on a new connection, hung up on; then a look on a kept one. */
const hasty = `
  const http = require("node:http");
  const { parentPort, workerData: { url, to } } = require("node:worker_threads");
  const kept = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const path = url + "/2010-04-01/Accounts/AC1/Messages.json";
  const authorization = "Basic " + Buffer.from("AC1:token").toString("base64");
  const ask = (method, query, body, agent, ms) => new Promise((resolve) => {
    const headers = body ? { authorization, "content-type": "application/x-www-form-urlencoded" } : { authorization };
    const request = http.request(path + query, { method, headers, agent }, (answer) => {
      let text = "";
      answer.on("data", (chunk) => text += chunk).on("end", () => resolve(text));
    });
    request.on("error", () => resolve(""));
    if (ms) setTimeout(() => request.destroy(), ms);
    request.end(body);
  });
  const look = () => ask("GET", "?To=" + encodeURIComponent(to), undefined, kept);
  const body = new URLSearchParams({ To: to, From: "+15550009999", Body: "Hi" }).toString();
  look().then(() => {
    parentPort.postMessage("ready");
    parentPort.once("message", async () => {
      await new Promise((resolve) => setTimeout(resolve, 100));
      await ask("POST", "", body, new http.Agent(), 200);
      await new Promise((resolve) => setTimeout(resolve, 100));
      parentPort.postMessage(JSON.parse(await look()).messages.length);
    });
  });`;

it("a list has what arrived before it was asked for, though the provider had slept", async () => {
  const twilio = await startTwilio({ port: 0 });
  const worker = new Worker(hasty, {
    eval: true,
    workerData: { url: twilio.url, to: "+15550001111" },
  });
  try {
    const said = () => new Promise((resolve) => worker.once("message", resolve));
    await said();
    twilio.fault({ kind: "delay", delay_ms: 10, times: null });
    const listed = said();
    worker.postMessage("go");
    await setTimeout(20);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1_500);
    expect(await listed).toBe(1);
    expect(twilio.messages()).toHaveLength(1);
  } finally {
    await worker.terminate();
    await twilio.stop();
  }
});

describe("the Postmark stand-in", () => {
  let postmark: PostmarkStandIn;
  beforeAll(async () => {
    postmark = await startPostmark();
  });
  beforeEach(() => postmark.reset());
  afterAll(() => postmark.stop());

  const ask = async (path: string, body?: object, token = "token") => {
    const answer = await fetch(`${postmark.url}/${path}`, {
      headers: { "x-postmark-server-token": token },
      ...(body ? { method: "POST", body: JSON.stringify(body) } : {}),
    });
    return [answer.status, await answer.json()];
  };
  const email = {
    From: "Apex Roofing <office@apex.example>",
    To: '"Lopez, Maria" <maria@example.com>, jose@example.com',
    Subject: "Your roof",
    TextBody: "Hi",
  };

  it("takes an email, and lists it by what was said beside it", async () => {
    const [status, { MessageID, ErrorCode }] = await ask("email", {
      ...email,
      Metadata: { step: "1" },
    });
    expect([status, ErrorCode]).toEqual([200, 0]);
    await ask("email", { ...email, Metadata: { step: "2" } });
    expect(postmark.emails()[0]).toMatchObject({ to: ["maria@example.com", "jose@example.com"] });
    expect(await ask("messages/outbound?count=10&offset=0&metadata_step=1"))
      .toMatchObject([200, { TotalCount: 1, Messages: [{ MessageID, Metadata: { step: "1" } }] }]);
    expect(await ask("messages/outbound?offset=0")).toMatchObject([422, {}]);
  });

  it.each<[string, object, number, number]>([
    ["a name with a comma", { ...email, To: "Lopez, Maria <maria@example.com>" }, 422, 300],
    ["no recipient", { ...email, To: "" }, 422, 300],
    ["two senders", { ...email, From: "a@apex.example, b@apex.example" }, 422, 300],
    ["a line break in the subject", { ...email, Subject: "Hi\nBcc: x@example.com" }, 422, 300],
    ["no words", { ...email, TextBody: "" }, 422, 300],
    ["a list as a list", { ...email, To: ["maria@example.com"] }, 422, 300],
    ["more than fifty", { ...email, Bcc: Array(49).fill("a@example.com").join(",") }, 422, 300],
    ["metadata that is too long", { ...email, Metadata: { key: "x".repeat(81) } }, 422, 300],
    ["a key of metadata that is", { ...email, Metadata: { ["x".repeat(21)]: "1" } }, 422, 300],
    ["another stream", { ...email, MessageStream: "pigeons" }, 422, 1235],
  ])("refuses %s", async (_what, body, status, code) => {
    expect(await ask("email", body)).toMatchObject([status, { ErrorCode: code }]);
    expect(postmark.emails()).toEqual([]);
  });

  it("sends nothing to who is inactive, and to the others it does", async () => {
    postmark.deactivate("Maria@example.com");
    expect(await ask("email", email)).toMatchObject([200, {}]);
    expect(await ask("email", { ...email, To: "maria@example.com" }))
      .toMatchObject([422, { ErrorCode: 406 }]);
  });

  it("refuses whoever brings no token", async () => {
    expect(await ask("email", email, "")).toMatchObject([401, { ErrorCode: 10 }]);
  });
});

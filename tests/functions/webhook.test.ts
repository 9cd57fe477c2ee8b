import http from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { ConfigurationError } from "../../functions/_shared/runtime/errors.ts";
import {
  checkUrl,
  guardedLookup,
  isPublicAddress,
} from "../../functions/_shared/channels/webhook/address.ts";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import { createWebhookSender } from "../../functions/_shared/channels/webhook/send.ts";
import type { Database } from "../../functions/_shared/runtime/database.ts";
import { parseJson, stringifyJson } from "../../functions/_shared/runtime/json.ts";
import { createSecrets } from "../../functions/_shared/runtime/secrets.ts";
import type { StandIn } from "../../scripts/standins/standin.ts";
import { startWebhookReceiver } from "../../scripts/standins/webhook.ts";
import { aStep, impatientOnce } from "./fakes.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NAMED = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

let receiver: StandIn;
beforeAll(async () => {
  receiver = await startWebhookReceiver({ port: 0 });
});
beforeEach(() => receiver.reset());
afterAll(() => receiver.stop());

function secret(name?: string): string {
  if (name === undefined) return SECRET;
  if (name === "zap") return NAMED;
  throw new ConfigurationError("WEBHOOK_SECRET_CRM", "set it");
}

/** Development: a receiver on this machine. */
const local = createWebhookSender({
  settings: () => ({ allowPrivate: true, secret }),
  timeoutMs: 30_000,
});

function webhookStep(payload: object = {}) {
  return aStep({
    step_type: "webhook",
    payload: {
      url: `${receiver.url}/hook`,
      method: "POST",
      headers: {},
      body: { a: 1 },
      ...payload,
    },
  });
}

test("a delivery is signed the Standard Webhooks way", async () => {
  const step = webhookStep({ headers: { "X-Team": "roofing" } });
  expect(await deliver(step, local)).toEqual({
    outcome: "succeeded",
    result: {
      http_status: 200,
      body: { ok: true },
      headers: { "content-type": "application/json; charset=utf-8" },
    },
  });
  const [request] = receiver.requests();
  expect(request).toMatchObject({ method: "POST", path: "/hook", body: '{"a":1}' });
  expect(request?.headers).toMatchObject({
    "content-type": "application/json",
    "x-team": "roofing",
    "webhook-id": step.step_id,
  });
  const verify = new Webhook(SECRET).verify(request?.body ?? "", request?.headers ?? {});
  expect(verify).toEqual({ a: 1 });
});

test("a header holds letters of any script, as the bytes of their UTF-8", async () => {
  const value = "Zoë Ōta 🏠";
  expect(await deliver(webhookStep({ headers: { "x-lead": value } }), local)).toMatchObject({
    outcome: "succeeded",
  });
  const [request] = receiver.requests();
  expect(Buffer.from(request?.headers["x-lead"] ?? "", "latin1").toString()).toBe(value);
});

test("a repeat has the same id, so that the receiver can drop it", async () => {
  const step = webhookStep();
  await deliver(step, local);
  await deliver({ ...step, attempt: 2 }, local);
  const ids = receiver.requests().map(({ headers }) => headers["webhook-id"]);
  expect(ids).toEqual([step.step_id, step.step_id]);
});

test("a named secret signs; a missing one holds the delivery", async () => {
  await deliver(webhookStep({ secret_name: "zap", method: "PUT" }), local);
  const [request] = receiver.requests();
  expect(() => new Webhook(NAMED).verify(request?.body ?? "", request?.headers ?? {})).not
    .toThrow();
  expect(await deliver(webhookStep({ secret_name: "crm" }), local)).toMatchObject({
    outcome: "retry",
    retry_after_seconds: 600,
    error: { code: "not_configured" },
  });
  expect(receiver.requests()).toHaveLength(1);
});

test.each([
  [{ headers: { "webhook-id": "x" } }, /payload\.headers\.webhook-id/],
  [{ headers: { Host: "internal" } }, /payload\.headers\.Host/],
  [{ headers: { "Transfer-Encoding": "chunked" } }, /payload\.headers\.Transfer-Encoding/],
  [{ headers: { "x-a": "1\r\nx-b: 2" } }, /payload\.headers\.x-a/],
  [{ method: "TRACE" }, /payload\.method/],
  [{ headers: { "x-a": 5 } }, /payload\.headers\.x-a/],
  [{ url: 7 }, /payload\.url/],
])("a malformed payload %j fails its step and names the field", async (payload, message) => {
  expect(await deliver(webhookStep(payload), local)).toMatchObject({
    outcome: "failed",
    error: { code: "invalid_payload", message: expect.stringMatching(message) },
  });
  expect(receiver.requests()).toHaveLength(0);
});

test.each([
  [{ status: 503, headers: { "retry-after": "8" } }, "retry", { retry_after_seconds: 8 }],
  [{ status: 429 }, "retry", {}],
  [{ status: 410 }, "failed", { error: { code: "webhook_gone" } }],
  [{ status: 400 }, "failed", { error: { code: "webhook_http_400" } }],
])("a receiver's %o is %s", async (fault, outcome, extra) => {
  receiver.fault({ kind: "status", ...fault });
  expect(await deliver(webhookStep(), local)).toMatchObject({ outcome, ...extra });
});

test.each(
  [
    ["timeout_after_accept", "webhook_timeout"],
    ["reset_after_accept", "webhook_connection_lost"],
  ] as const,
)("%s is tried again", async (kind, code) => {
  receiver.fault({ kind });
  const sender = kind === "timeout_after_accept"
    ? impatientOnce(() => receiver.requests().length > 0, local)
    : local;
  expect(await deliver(webhookStep(), sender)).toMatchObject({ outcome: "retry", error: { code } });
});

test("a receiver that is not there is tried again", async () => {
  expect(await deliver(webhookStep({ url: "http://127.0.0.1:2/" }), local)).toMatchObject({
    outcome: "retry",
    error: { code: "webhook_unreachable" },
  });
});

describe("a receiver that misbehaves", () => {
  let server: http.Server;
  const paths: string[] = [];
  let url: string;

  beforeAll(async () => {
    server = http.createServer((request, response) => {
      paths.push(request.url ?? "");
      if (request.url === "/moved") response.writeHead(302, { location: `${url}/target` }).end();
      else if (request.url === "/endless") {
        response.writeHead(200);
        const flood = () => response.write("x".repeat(65_536), flood);
        flood();
      } else {
        response.writeHead(200);
        response.write("never ends");
      }
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });

  test("its redirect is not followed", async () => {
    expect(await deliver(webhookStep({ url: `${url}/moved` }), local)).toMatchObject({
      outcome: "failed",
      error: { code: "webhook_redirect", http_status: 302 },
    });
    expect(paths).not.toContain("/target");
  });

  test("its endless body is cut without waiting for the timeout", { timeout: 30_000 }, async () => {
    const patient = createWebhookSender({
      settings: () => ({ allowPrivate: true, secret }),
      timeoutMs: 3_600_000,
    });
    expect(await deliver(webhookStep({ url: `${url}/endless` }), patient)).toEqual({
      outcome: "succeeded",
      result: { http_status: 200, body: "x".repeat(16_384), body_truncated: true },
    });
  });

  test("its body may get stuck: the status is what counts", async () => {
    const brief = createWebhookSender({
      settings: () => ({ allowPrivate: true, secret }),
      timeoutMs: 2_000,
    });
    expect(await deliver(webhookStep({ url: `${url}/stuck` }), brief)).toEqual({
      outcome: "succeeded",
      result: { http_status: 200 },
    });
  });
});

describe("an answer is kept for the steps after it", () => {
  let server: http.Server;
  let answer: { type: string; body: string } = { type: "", body: "" };
  beforeAll(async () => {
    server = http.createServer((_request, response) => {
      response.writeHead(200, { "content-type": answer.type, "x-request-id": "r-1", "x-b": "2" });
      response.end(answer.body);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  });
  afterAll(() => server.close());

  async function kept(type: string, body: string): Promise<unknown> {
    answer = { type, body };
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const outcome = await deliver(webhookStep({ url, method: "GET", body: undefined }), local);
    return outcome.outcome === "succeeded" ? outcome.result : outcome;
  }

  test("JSON with every digit", async () => {
    const text = '{"id":7615917337495251231,"price":1.10,"list":[1e400,5]}';
    const result = await kept("application/json", text) as { body: unknown };
    expect(stringifyJson(result.body)).toBe(text);
    expect(result).toMatchObject({
      http_status: 200,
      headers: { "content-type": "application/json", "x-request-id": "r-1" },
    });
    expect(result).not.toHaveProperty("headers.x-b");
  });

  test.each([
    ["words", "OK, thanks"],
    ["broken JSON", '{"a": '],
    ["too many brackets for the database", "[".repeat(5_000) + "]".repeat(5_000)],
    ["a number of a million digits", '{"n": 1e1000000}'],
  ])("%s as text", async (_what, body) => {
    expect(await kept("application/json", body)).toMatchObject({ body });
  });

  test("what is long is cut, between characters", async () => {
    const body = `x${"👍".repeat(9_000)}`;
    expect(await kept("text/plain", body)).toMatchObject({
      body: `x${"👍".repeat(8_191)}`,
      body_truncated: true,
    });
  });

  test("an object that calls itself a number is an object", async () => {
    const text = '{"isLosslessNumber":true,"value":"1}","n":1.0}';
    const { body } = await kept("application/json", text) as { body: unknown };
    expect(stringifyJson(body)).toBe(text);
  });
});

test("every digit of a body goes out as it came in", async () => {
  const written = '{"id":7615917337495251231,"tiny":0.1000000000000000055,"price":1.10,"one":1}';
  await deliver(webhookStep({ body: parseJson(written) }), local);
  const [request] = receiver.requests();
  expect(request?.body).toBe(written);
  expect(() => new Webhook(SECRET).verify(request?.body ?? "", request?.headers ?? {})).not
    .toThrow();
});

test.each(["GET", "DELETE"])("%s has no body unless it is given one", async (method) => {
  await deliver(webhookStep({ method, body: undefined }), local);
  await deliver(webhookStep({ method, body: { a: 1 } }), local);
  const [bare, full] = receiver.requests();
  expect(bare).toMatchObject({ method, body: "" });
  expect(bare?.headers).not.toHaveProperty("content-type");
  expect(new Webhook(SECRET).sign(
    bare?.headers["webhook-id"] ?? "",
    new Date(
      Number(bare?.headers["webhook-timestamp"]) * 1000,
    ),
    "",
  )).toBe(bare?.headers["webhook-signature"]);
  expect(full).toMatchObject({ method, body: '{"a":1}' });
});

describe("a secret in a header", () => {
  const headers = { Authorization: { secret: "crm_api_key", prefix: "Bearer " } };
  const asked: string[][] = [];
  const withSecrets = createWebhookSender({
    settings: () => ({ allowPrivate: true, secret }),
    timeoutMs: 30_000,
    resolveSecrets: (_step, names) => {
      asked.push([...names]);
      return Promise.resolve(new Map([["crm_api_key", "k-123"], ["odd", "a\r\nb: c"]]));
    },
  });

  test("is put in at the send", async () => {
    const step = webhookStep({ headers });
    expect(await deliver(step, withSecrets)).toMatchObject({ outcome: "succeeded" });
    expect(receiver.requests()[0]?.headers.authorization).toBe("Bearer k-123");
    expect(asked).toEqual([["crm_api_key"]]);
    expect(JSON.stringify(step)).not.toContain("k-123");
  });

  test.each([
    [{ "X-Key": { secret: "unknown" } }, 'headers.X-Key: there is no secret "unknown"'],
    [{ "X-Key": { secret: "odd" } }, 'headers.X-Key: the secret "odd" fits no header'],
  ])("holds the delivery when it is not to be had: %j", async (given, message) => {
    expect(await deliver(webhookStep({ headers: given }), withSecrets)).toEqual({
      outcome: "retry",
      retry_after_seconds: 600,
      error: { code: "secret_missing", message },
    });
    expect(receiver.requests()).toHaveLength(0);
  });

  test("holds it, too, while the Vault cannot decrypt what it is signed with", async () => {
    const message = 'the secret "webhook_signing" cannot be read: invalid ciphertext';
    const database = () => Promise.reject(Object.assign(new Error(message), { code: "55000" }));
    const unread = createWebhookSender({
      settings: () => ({ allowPrivate: true, secret }),
      secrets: createSecrets(() => database as unknown as Database),
    });
    expect(await deliver(webhookStep({}), unread)).toEqual({
      outcome: "retry",
      retry_after_seconds: 600,
      error: { code: "secret_missing", message },
    });
    expect(receiver.requests()).toHaveLength(0);
  });

  test("nobody has by default", async () => {
    expect(await deliver(webhookStep({ headers }), local)).toMatchObject({
      outcome: "retry",
      error: { code: "secret_missing" },
    });
  });
});

describe("addresses of the inside are refused", () => {
  const lookups: string[] = [];
  const names: Record<string, string[]> = {
    "rebind.example": ["93.184.216.34", "10.0.0.5"],
    "inside.example": ["192.168.1.10"],
    "mapped.example": ["::ffff:169.254.169.254"],
    "empty.example": [],
  };
  const guarded = createWebhookSender({
    settings: () => ({ allowPrivate: false, secret }),
    timeoutMs: 1_000,
    resolve(host) {
      lookups.push(host);
      return Promise.resolve((names[host] ?? []).map((address) => ({
        address,
        family: address.includes(":") ? 6 : 4,
      })));
    },
  });

  test.each([
    "http://example.com/hook",
    "ftp://example.com/",
    "file:///etc/passwd",
    "/relative",
    "https://user:pass@example.com/",
    "https://localhost/",
    "https://LOCALHOST./",
    "https://api.localhost/",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://printer.local/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0177.0.0.1/",
    "https://0.0.0.0/",
    "https://10.1.2.3/",
    "https://172.16.0.1/",
    "https://192.168.0.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://100.64.0.1/",
    "https://100.100.100.200/",
    "https://168.63.129.16/",
    "https://192.0.0.192/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://240.0.0.1/",
    "https://255.255.255.255/",
    "https://[::]/",
    "https://[::1]/",
    "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/",
    "https://[64:ff9b::7f00:1]/",
    "https://[64:ff9b:1::a00:1]/",
    "https://[2002:7f00:1::]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "https://[fc00::1]/",
    "https://[fd00:ec2::254]/",
    "https://[fe80::1]/",
    "https://[fec0::1]/",
    "https://[ff02::1]/",
    "https://[::7f00:1]/",
    "https://rebind.example/",
    "https://inside.example/",
    "https://mapped.example/",
    "https://empty.example/",
  ])("%s", async (url) => {
    expect(await deliver(webhookStep({ url }), guarded)).toMatchObject({
      outcome: "failed",
      error: { code: "webhook_forbidden" },
    });
  });

  test("the address that was checked is the one that is connected to", async () => {
    const answers = [["93.184.216.34"], ["127.0.0.1"]];
    let asked = 0;
    const lookup = guardedLookup(() =>
      Promise.resolve((answers[asked++] ?? []).map((address) => ({ address, family: 4 })))
    );
    const connectTo = await new Promise((resolve) =>
      lookup("rebind.example", { all: false }, (_error, address) => resolve(address))
    );
    expect(connectTo).toBe("93.184.216.34");
    expect(asked).toBe(1);
    const error = await new Promise((resolve) => lookup("rebind.example", { all: true }, resolve));
    expect(error).toMatchObject({ name: "ForbiddenAddressError" });
  });

  test("public addresses pass", () => {
    for (
      const address of [
        "93.184.216.34",
        "8.8.8.8",
        "2606:4700::1111",
        "64:ff9b::808:808",
        "::ffff:8.8.8.8",
      ]
    ) {
      expect(isPublicAddress(address), address).toBe(true);
    }
    expect(checkUrl("https://hooks.example.com:8443/x?y=1", false).hostname)
      .toBe("hooks.example.com");
    expect(isPublicAddress("not an address")).toBe(false);
  });
});

// One shape for whatever a function answers other than what was asked for: a problem document of RFC 9457, whoever
// is at fault, so that a program reads one. Each function is put through each kind of fault that it can have. The
// routes of the older application have its envelopes (tests/api).
import fs from "node:fs";
import path from "node:path";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { createHandler as createDispatch } from "../../functions/dispatch/handler.ts";
import { createHandler as createEmails } from "../../functions/email-webhook/handler.ts";
import { createHandler as createForms } from "../../functions/forms/handler.ts";
import { createHandler as createTexts } from "../../functions/sms-webhook/handler.ts";
import { byPostmark } from "../../scripts/standins/postmark.ts";
import { signedByTelnyx, telnyxKeys } from "../../scripts/standins/telnyx.ts";
import { createReceiver as createPostmark } from "../../functions/_shared/channels/email/postmark/receive.ts";
import { createReceiver as createResend } from "../../functions/_shared/channels/email/resend/receive.ts";
import { createReceiver as createTelnyx } from "../../functions/_shared/channels/sms/telnyx/receive.ts";
import { createReceiver as createTwilio } from "../../functions/_shared/channels/sms/twilio/receive.ts";
import { createHandler as createWorkflows } from "../../functions/workflows/handler.ts";
import type { Outcome } from "../../functions/_shared/http/inbound-forms.ts";
import { ConfigurationError } from "../../functions/_shared/runtime/errors.ts";

const document = z.strictObject({
  type: z.literal("about:blank"),
  title: z.string().regex(/^[A-Z]/),
  status: z.int().min(400).max(599),
  code: z.string().regex(/^[a-z]+(_[a-z]+)*$/),
  detail: z.string().min(1),
  instance: z.string().regex(/^urn:uuid:[0-9a-f-]{36}$/),
  errors: z.array(
    z.strictObject({
      field: z.string().min(1),
      message: z.string().min(1),
      fix: z.string().min(1),
    }),
  ).nonempty().optional(),
  // What a run that broke off had done.
  summary: z.looseObject({}).optional(),
});

const KEY = "sb_secret_x";
const FORM = "form_0123456789abcdef";
const at = (name: string) => `https://project.example/functions/v1/${name}`;
const post = (body: BodyInit, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  body,
  headers: { "content-type": "application/json", ...headers },
});

type Handler = (request: Request) => Promise<Response>;
const quiet = () => {};
const fail = (error: unknown) => (): never => {
  throw error;
};
const crash = new Error("postgres://user:hunter2@db");
const unset = new ConfigurationError("DATABASE_URL", "set it");
const lost = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });

const dispatch = (error: unknown): Handler =>
  createDispatch({ secretKeys: () => [KEY], dispatcher: fail(error), budgetMs: () => 100 });
const workflows = (error: unknown): Handler =>
  createWorkflows({
    secretKeys: () => [KEY],
    verify: fail(error),
    database: fail(error),
    log: quiet,
  });
const signed = signedByTelnyx(telnyxKeys(), {}).headers;
const telnyx = (error: unknown): Handler =>
  createTexts({
    name: "sms-webhook",
    receivers: { telnyx: createTelnyx({ publicKey: fail(error) }) },
    findAccounts: fail(error),
    address: () => ({ base: undefined, trustForwarded: false }),
    record: fail(error),
    log: quiet,
  });
const twilio = (error: unknown): Handler =>
  createTexts({
    name: "twilio-webhook",
    provider: "twilio",
    receivers: { twilio: createTwilio({ authToken: fail(error) }) },
    findAccounts: fail(error),
    address: () => ({ base: undefined, trustForwarded: false }),
    record: fail(error),
    log: quiet,
  });
const withSvix = { "svix-id": "msg_1", "svix-timestamp": "1", "svix-signature": "v1,AAAA" };
const resend = (error: unknown): Handler =>
  createEmails({
    name: "resend-webhook",
    provider: "resend",
    receivers: { resend: createResend({ secret: fail(error), fetchContent: fail(error) }) },
    findAccounts: fail(error),
    record: fail(error),
    log: quiet,
  });
const withPassword = byPostmark("0123456789abcdef", {}).headers;
const postmark = (error: unknown): Handler =>
  createEmails({
    name: "email-webhook",
    receivers: { postmark: createPostmark({ password: fail(error) }) },
    findAccounts: fail(error),
    record: fail(error),
    log: quiet,
  });
const forms = (error: unknown, outcome?: Outcome): Handler =>
  createForms({
    forms: outcome
      ? () => ({
        accepts: () => Promise.resolve(false),
        submit: () => Promise.resolve(outcome),
        keep: () => Promise.resolve("kept"),
      })
      : fail(error),
    forwardedHops: () => 0,
    log: quiet,
  });

const long = `{"a":"${"x".repeat(2_000_000)}"}`;
const keyed = { apikey: KEY };

type Case = [name: string, handler: Handler, url: string, init: RequestInit, status: number];

const cases: Record<string, Case[]> = {
  dispatch: [
    ["another method", dispatch(crash), at("dispatch"), { method: "GET" }, 405],
    ["no key", dispatch(crash), at("dispatch"), post(""), 401],
    ["no JSON", dispatch(crash), at("dispatch"), post("{", keyed), 400],
    ["a wrong type", dispatch(crash), at("dispatch"), post('{"budget_ms":"soon"}', keyed), 422],
    ["an unknown member", dispatch(crash), at("dispatch"), post('{"budget":1}', keyed), 422],
    ["too much", dispatch(crash), at("dispatch"), post(long, keyed), 413],
    ["a variable that is not set", dispatch(unset), at("dispatch"), post("", keyed), 500],
    ["a database that is away", dispatch(lost), at("dispatch"), post("", keyed), 503],
    ["a crash", dispatch(crash), at("dispatch"), post("", keyed), 500],
  ],
  workflows: [
    ["an unknown path", workflows(crash), at("workflows/nothing"), post("{}", keyed), 404],
    ["another method", workflows(crash), at("workflows/history"), post("{}", keyed), 405],
    ["no key", workflows(crash), at("workflows/test"), post("{}"), 401],
    [
      "another type",
      workflows(crash),
      at("workflows/test"),
      post("a=1", {
        ...keyed,
        "content-type": "application/x-www-form-urlencoded",
      }),
      415,
    ],
    ["no JSON", workflows(crash), at("workflows/test"), post("{", keyed), 400],
    ["a wrong id", workflows(crash), at("workflows/test"), post('{"workflow_id":"x"}', keyed), 422],
    ["a cursor of nobody", workflows(crash), `${at("workflows/history")}?limit=0`, {
      headers: keyed,
    }, 422],
    ["too much", workflows(crash), at("workflows/test"), post(long, keyed), 413],
    ["a variable that is not set", workflows(unset), `${at("workflows/history")}`, {
      headers: keyed,
    }, 500],
    ["a database that is away", workflows(lost), at("workflows/history"), { headers: keyed }, 503],
    ["a crash", workflows(crash), at("workflows/history"), { headers: keyed }, 500],
  ],
  "sms-webhook": [
    ["another method", telnyx(crash), at("sms-webhook/telnyx"), { method: "GET" }, 405],
    ["an unknown provider", telnyx(crash), at("sms-webhook/pigeon"), post("{}"), 404],
    ["no provider", telnyx(crash), at("sms-webhook"), post("{}"), 404],
    ["too much", telnyx(crash), at("sms-webhook/telnyx"), post(long), 413],
    ["no signature", telnyx(crash), at("sms-webhook/telnyx"), post("{}"), 403],
    [
      "a variable that is not set",
      telnyx(unset),
      at("sms-webhook/telnyx"),
      post("{}", signed),
      500,
    ],
    ["a database that is away", telnyx(lost), at("sms-webhook/telnyx"), post("{}", signed), 503],
    ["a crash", telnyx(crash), at("sms-webhook/telnyx"), post("{}", signed), 500],
  ],
  "twilio-webhook": [
    ["another method", twilio(crash), at("twilio-webhook"), { method: "GET" }, 405],
    ["too much", twilio(crash), at("twilio-webhook"), post(long), 413],
    ["a variable that is not set", twilio(unset), at("twilio-webhook"), post("{}"), 500],
    ["a database that is away", twilio(lost), at("twilio-webhook"), post("{}"), 503],
    ["a crash", twilio(crash), at("twilio-webhook"), post("{}"), 500],
  ],
  "resend-webhook": [
    ["another method", resend(crash), at("resend-webhook"), { method: "GET" }, 405],
    ["too much", resend(crash), at("resend-webhook"), post(long), 413],
    ["no signature", resend(crash), at("resend-webhook"), post("{}"), 403],
    ["a variable that is not set", resend(unset), at("resend-webhook"), post("{}", withSvix), 500],
    ["a database that is away", resend(lost), at("resend-webhook"), post("{}", withSvix), 503],
    ["a crash", resend(crash), at("resend-webhook"), post("{}", withSvix), 500],
  ],
  "email-webhook": [
    ["another method", postmark(crash), at("email-webhook/postmark"), { method: "GET" }, 405],
    ["an unknown provider", postmark(crash), at("email-webhook/pigeon"), post("{}"), 404],
    ["no provider", postmark(crash), at("email-webhook"), post("{}"), 404],
    ["no password", postmark(crash), at("email-webhook/postmark"), post("{}"), 401],
    [
      "a variable that is not set",
      postmark(unset),
      at("email-webhook/postmark"),
      post("{}", withPassword),
      500,
    ],
    [
      "a database that is away",
      postmark(lost),
      at("email-webhook/postmark"),
      post("{}", withPassword),
      503,
    ],
    ["a crash", postmark(crash), at("email-webhook/postmark"), post("{}", withPassword), 500],
  ],
  forms: [
    ["an unknown form", forms(crash), at("forms/nothing"), post("{}"), 404],
    [
      "a form of nobody",
      forms(crash, { outcome: "unknown_form" }),
      at(`forms/${FORM}`),
      post(
        '{"a":1}',
      ),
      404,
    ],
    ["another method", forms(crash), at(`forms/${FORM}`), { method: "PUT", body: "x" }, 405],
    ["no JSON", forms(crash, { outcome: "unknown_form" }), at(`forms/${FORM}`), post("{"), 400],
    [
      "fields that are none",
      forms(crash, { outcome: "unknown_form" }),
      at(`forms/${FORM}`),
      post(
        '{"": 1}',
      ),
      422,
    ],
    [
      "fields that its rules refuse",
      forms(crash, {
        outcome: "invalid",
        errors: [{ field: "email", message: "is no address", fix: "correct it" }],
      }),
      at(`forms/${FORM}`),
      post('{"email":"x"}'),
      422,
    ],
    [
      "too many posts",
      forms(crash, { outcome: "rate_limited", retry_after_seconds: 60 }),
      at(
        `forms/${FORM}`,
      ),
      post('{"a":1}'),
      429,
    ],
    [
      "a foreign page",
      forms(crash, { outcome: "origin_not_allowed" }),
      at(`forms/${FORM}`),
      post(
        '{"a":1}',
      ),
      403,
    ],
    [
      "a preflight of a foreign page",
      forms(crash, { outcome: "unknown_form" }),
      at(
        `forms/${FORM}`,
      ),
      { method: "OPTIONS", headers: { origin: "https://elsewhere.example" } },
      403,
    ],
    ["too much", forms(crash, { outcome: "unknown_form" }), at(`forms/${FORM}`), post(long), 413],
    ["a variable that is not set", forms(unset), at(`forms/${FORM}`), post('{"a":1}'), 500],
    ["a database that is away", forms(lost), at(`forms/${FORM}`), post('{"a":1}'), 503],
    ["a crash", forms(crash), at(`forms/${FORM}`), post('{"a":1}'), 500],
  ],
};

describe.each(Object.entries(cases))("%s", (_, faults) => {
  test.each(faults)("%s", async (_name, handler, url, init, status) => {
    const response = await handler(new Request(url, init));
    const body: unknown = await response.json();
    expect(response.status, JSON.stringify(body)).toBe(status);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(document.parse(body).status).toBe(status);
    expect(JSON.stringify(body)).not.toContain("hunter2");
    if (status === 503 || status === 429) {
      expect(response.headers.get("retry-after")).toMatch(/^\d+$/);
    }
  });
});

/** Functions whose answers people read in a browser, in words of their own. */
const pages = ["link", "unsubscribe"];

test("every function is held to it", () => {
  const all = fs.readdirSync(path.join(import.meta.dirname, "../../functions"), {
    withFileTypes: true,
  }).filter((one) => one.isDirectory() && !one.name.startsWith("_")).map(({ name }) => name);
  expect(all.filter((name) => !pages.includes(name)).toSorted()).toEqual(
    Object.keys(cases).toSorted(),
  );
});

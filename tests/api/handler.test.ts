// What is decided before the database is asked, and what is told when it errs.
import { describe, expect, test } from "vitest";
import { Validator } from "@seriousme/openapi-schema-validator";
import type { Database } from "../../functions/_shared/runtime/database.ts";
import { createHandler, MAX_BODY_BYTES } from "../../functions/workflows/handler.ts";
import { operations } from "../../functions/workflows/operations.ts";
import { execute } from "../../functions/workflows/schemas.ts";
import { recordingLog } from "../functions/fakes.ts";
import { caller, type CallOptions } from "./support.ts";

const KEY = "sb_secret_one";
const ID = "6f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11";

/** A database whose every transaction ends in this error. */
function failing(error: unknown): Database {
  return { begin: () => Promise.reject(error) } as unknown as Database;
}

function setUp({ error, ...options }: { error?: unknown } & CallOptions = {}) {
  const { log, lines } = recordingLog();
  const handler = createHandler({
    secretKeys: () => [KEY],
    verify: () => Promise.reject(new Error("no token is expected here")),
    database: () => failing(error ?? new Error("the database is not asked here")),
    log,
  });
  const call = caller(
    "http://127.0.0.1/functions/v1/workflows",
    { apikey: KEY, ...options },
    handler,
  );
  return { call, lines };
}

describe("a request that cannot be", () => {
  test.each([
    ["nothing", {}, "workflow_id"],
    ["both", { workflow_id: ID, trigger_type: "manual" }, "workflow_id"],
    ["no UUID", { workflow_id: "1" }, "workflow_id"],
    ["a member too many", { workflow_id: ID, tenant: ID }, "tenant"],
    ["data that is no object", { workflow_id: ID, trigger_data: [1] }, "trigger_data"],
    ["data that is null", { workflow_id: ID, trigger_data: null }, "trigger_data"],
    ["no object at all", [1], "body"],
  ])("%s: 422 names the field and the fix", async (_name, body, field) => {
    const { call } = setUp();
    const answer = await call("POST", "/execute", body);
    expect(answer).toMatchObject({
      status: 422,
      body: {
        type: "about:blank",
        title: "Unprocessable Content",
        status: 422,
        code: "invalid_request",
        errors: [{ field, message: expect.any(String), fix: expect.stringMatching(/./) }],
      },
    });
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(answer.body.instance).toBe(`urn:uuid:${answer.headers.get("x-request-id")}`);
  });

  test("not JSON, another media type, too large", async () => {
    const { call } = setUp();
    expect((await call("POST", "/execute", undefined, { raw: "{" })).status).toBe(400);
    const plain = { raw: "{}", headers: { "content-type": "text/plain" } };
    expect((await call("POST", "/execute", undefined, plain)).status).toBe(415);
    const raw = JSON.stringify({ trigger_data: { note: "x".repeat(MAX_BODY_BYTES) } });
    expect((await call("POST", "/execute", undefined, { raw })).status).toBe(413);
  });

  test("text that Postgres cannot store is refused; text that only looks like it is not", async () => {
    const { call } = setUp();
    const note = (text: string) => ({
      raw: `{"workflow_id":"${ID}","trigger_data":{"note":"${text}"}}`,
    });
    for (const text of ["a\\u0000b", "\\ud800", "\\uDC00x"]) {
      const { status } = await call("POST", "/execute", undefined, note(text));
      expect([text, status]).toEqual([text, 422]);
    }
    for (const text of ["a\\\\u0000b", "\\ud83d\\ude00", "\\\\ud800"]) {
      const { status } = await call("POST", "/execute", undefined, note(text));
      expect([text, status]).toEqual([text, 500]);
    }
  });

  test("unknown paths and methods", async () => {
    const { call } = setUp();
    expect((await call("POST", "/drop")).status).toBe(404);
    const wrong = await call("GET", "/execute");
    expect(wrong.status).toBe(405);
    expect(wrong.headers.get("allow")).toBe("POST");
  });

  test("an Idempotency-Key that is none", async () => {
    const { call } = setUp();
    for (const key of ["x".repeat(256), "two words", '""']) {
      const answer = await call("POST", "/cancel", { execution_id: ID }, { key });
      expect(answer).toMatchObject({
        status: 422,
        body: { errors: [{ field: "Idempotency-Key" }] },
      });
    }
  });

  test("credentials are looked at before the body", async () => {
    const { call } = setUp({ apikey: "sb_publishable_x" });
    expect((await call("POST", "/execute", undefined, { raw: "{" })).status).toBe(401);
  });
});

const databaseError = (code: string, message: string, more: object = {}) =>
  Object.assign(new Error(message), { code, query: "select secret", ...more });

describe("an error of the database", () => {
  test.each([
    ["22023", "trigger_type: there is no trigger", 422],
    ["22P02", 'invalid input syntax for type uuid: "x"', 422],
    ["PT404", "workflow_id: x was not found", 404],
    ["42501", "permission denied for table settings", 403],
    ["PT409", "execution_id: only a failed execution can be retried", 409],
    ["23503", 'violates foreign key constraint "workflow_steps_workflow_fk"', 409],
    ["PT413", "trigger_data: at most 1 MB is taken", 413],
    ["PT429", "workflow_id: 2 workflows of this tenant are being published already", 429],
    ["42883", "function ridgeline.test_workflow(uuid, jsonb) does not exist", 501],
    ["40001", "could not serialize access", 503],
    ["57014", "canceling statement due to statement timeout", 503],
    ["42P01", 'relation "public.secret" does not exist', 500],
    ["XX000", "cache lookup failed for secret", 500],
  ])("%s %s: %i", async (code, message, status) => {
    const { call } = setUp({ error: databaseError(code, message, { detail: "secret" }) });
    const answer = await call("POST", "/execute", { workflow_id: ID });
    expect(answer.status).toBe(status);
    const told = JSON.stringify(answer.body);
    expect(told).not.toMatch(/secret|permission denied|constraint|relation|syntax|select|public\./);
    const own = /^(\w+): (.*)$/.exec(message);
    if (own && status < 500) {
      expect(answer.body.errors).toMatchObject([{ field: own[1], message: own[2] }]);
    }
  });

  test("what is unexpected is in the log, under the instance that the caller was told", async () => {
    const { call, lines } = setUp({ error: databaseError("XX000", "cache lookup failed") });
    const answer = await call("POST", "/cancel", { execution_id: ID });
    const line = lines.find(({ event }) => event === "workflows_failed");
    expect(line).toMatchObject({ message: "cache lookup failed", code: "XX000" });
    expect(answer.body.instance).toBe(`urn:uuid:${line?.request}`);
  });
});

describe("openapi.json", () => {
  const document = async () => (await setUp().call("GET", "/openapi.json")).body;

  test("is valid OpenAPI 3.1", async () => {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(await document());
    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
    expect(validator.version).toBe("3.1");
    validator.resolveRefs();
  });

  test("describes every operation, and every reference in it leads somewhere", async () => {
    const { paths, components } = await document() as {
      paths: Record<string, Record<string, unknown>>;
      components: Record<string, Record<string, unknown>>;
    };
    for (const { path, method } of operations) {
      expect(paths[path]).toHaveProperty(method.toLowerCase());
    }
    const text = JSON.stringify({ paths, components });
    expect(text).not.toMatch(/\$defs|__schema/);
    const references = [...text.matchAll(/"\$ref":"#\/components\/(\w+)\/(\w+)"/g)];
    expect(references.length).toBeGreaterThan(20);
    for (const [, kind, name] of references) {
      expect(components[kind!]).toHaveProperty(name!);
      expect(components[kind!]![name!]).not.toHaveProperty("$ref");
    }
    expect((text.match(/"\$ref"/g) ?? []).length).toBe(references.length);
  });

  test("says what the checks say", async () => {
    const { components } = await document() as {
      components: { schemas: Record<string, { additionalProperties?: unknown }> };
    };
    expect(components.schemas.Execute?.additionalProperties).toBe(false);
    expect(execute.safeParse({ workflow_id: ID, more: 1 }).success).toBe(false);
    expect(components.schemas.Execution).toMatchObject({
      properties: { status: { enum: expect.arrayContaining(["waiting", "skipped"]) } },
    });
  });
});

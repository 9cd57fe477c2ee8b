import { describe, expect, test } from "vitest";
import { createHandler, type Dependencies } from "../../functions/dispatch/handler.ts";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { ConfigurationError, VersionError } from "../../functions/_shared/runtime/errors.ts";
import { aStep, FakeQueue, recordingLog, sendersOf, sent } from "./fakes.ts";

const KEY = "sb_secret_one";
const ADDRESS = "http://127.0.0.1/functions/v1/dispatch";

function setUp(changes: Partial<Dependencies> = {}) {
  const queue = new FakeQueue([aStep(), aStep()]);
  const dispatcher = createDispatcher({
    queue,
    senders: sendersOf(() => Promise.resolve(sent)),
    log: recordingLog().log,
    worker: "w",
    databasePatienceMs: 50,
  });
  const handler = createHandler({
    secretKeys: () => [KEY, "sb_secret_two"],
    dispatcher: () => dispatcher,
    budgetMs: () => 5_000,
    ...changes,
  });
  const call = (init: RequestInit = {}) =>
    handler(new Request(ADDRESS, { method: "POST", headers: { apikey: KEY }, ...init }));
  return { queue, call };
}

test("an authorised call runs and answers the counts", async () => {
  const { call } = setUp();
  const response = await call({ body: '{"budget_ms":2000}' });
  expect(response.status).toBe(200);
  expect(await response.json()).toMatchObject({
    database_steps: 0,
    claimed: 2,
    succeeded: 2,
    failed: 0,
    retried: 0,
    ambiguous: 0,
    released: 0,
    elapsed_ms: expect.any(Number),
  });
});

test("every named key opens; an empty body means the defaults", async () => {
  const { call } = setUp();
  expect((await call({ headers: { apikey: "sb_secret_two" } })).status).toBe(200);
});

describe("without a secret key nothing is touched", () => {
  test.each([
    [{}],
    [{ apikey: "" }],
    [{ apikey: "sb_publishable_x" }],
    [{ apikey: `${KEY}x` }],
    [{ apikey: KEY.slice(0, -1) }],
    [{ authorization: `Bearer ${KEY}` }],
  ])("%j", async (headers: Record<string, string>) => {
    const { call, queue } = setUp();
    const response = await call({ headers });
    expect(response.status).toBe(401);
    expect(await response.json()).toMatchObject({ code: "unauthorized" });
    expect(queue.calls.claim).toBe(0);
  });
});

test.each([
  [{ method: "GET" }, 405, /POST/],
  [{ body: "{" }, 400, /not JSON/],
  [{ body: "[]" }, 422, /body/],
  [{ body: '{"budget_ms":"soon"}' }, 422, /budget_ms/],
  [{ body: '{"budget_ms":-1}' }, 422, /budget_ms/],
  [{ body: '{"budget_ms":99}' }, 422, /budget_ms/],
  [{ body: '{"budget_ms":380001}' }, 422, /budget_ms/],
  [{ body: '{"budget":1}' }, 422, /budget/],
  [{ body: `{"a":"${"x".repeat(20_000)}"}` }, 413, /exceeds/],
])("%o is answered %i", async (init, status, message) => {
  const { call, queue } = setUp();
  const response = await call(init);
  expect(response.status).toBe(status);
  expect(await response.json()).toMatchObject({ detail: expect.stringMatching(message) });
  expect(queue.calls.claim).toBe(0);
});

test("a missing variable is named in the answer", async () => {
  const { call } = setUp({
    dispatcher: () => {
      throw new ConfigurationError("DATABASE_URL", "set it");
    },
  });
  const response = await call();
  expect(response.status).toBe(500);
  expect(await response.json()).toMatchObject({
    code: "not_configured",
    detail: "DATABASE_URL: set it",
  });
});

test("a lost database is 503 with what was done until then", async () => {
  const { call, queue } = setUp();
  const lost = Object.assign(new Error("refused"), { code: "ECONNREFUSED" });
  queue.claim = () => Promise.reject(lost);
  const response = await call();
  expect([response.status, response.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(await response.json()).toMatchObject({
    code: "unavailable",
    summary: { claimed: 0 },
  });
});

test("a database of another version says which", async () => {
  const { call, queue } = setUp();
  queue.claim = () => Promise.reject(new VersionError("the database speaks 9"));
  const response = await call();
  expect([response.status, await response.json()]).toEqual([
    503,
    expect.objectContaining({ code: "incompatible_version", detail: "the database speaks 9" }),
  ]);
});

test("a run has as long as its caller says, else as long as it has here", async () => {
  const budgets: number[] = [];
  const { call } = setUp({
    dispatcher: () => ({
      dispatch: (options) => {
        budgets.push(options.budgetMs);
        return Promise.reject(new Error("enough"));
      },
      run: () => Promise.reject(new Error("not asked for")),
      ring: () => {},
    }),
  });
  await call({ body: '{"budget_ms":2000}' });
  await call();
  expect(budgets).toEqual([2_000, 5_000]);
});

test("an unexpected error says nothing about itself", async () => {
  const { call } = setUp({
    budgetMs: () => {
      throw new Error("postgres://user:hunter2@db");
    },
  });
  const response = await call();
  expect(response.status).toBe(500);
  expect(await response.text()).not.toContain("hunter2");
});

test("a shutdown ends the run and releases what it holds", async () => {
  const controller = new AbortController();
  controller.abort();
  const tracked: Promise<unknown>[] = [];
  const { call, queue } = setUp({
    shutdown: {
      signal: controller.signal,
      track(work) {
        tracked.push(work);
        return work;
      },
    },
  });
  expect(await (await call()).json()).toMatchObject({ claimed: 0, stopped: "aborted" });
  expect(tracked).toHaveLength(1);
  expect(queue.leased.size).toBe(0);
});

describe("a ring", () => {
  const RING_KEY = "a key that only rings";
  const ring = { headers: { apikey: RING_KEY }, body: "{}" };

  function setUpRing(changes: Partial<Dependencies> = {}) {
    const tracked: Promise<unknown>[] = [];
    const set = setUp({
      ringKey: () => RING_KEY,
      shutdown: {
        signal: new AbortController().signal,
        track(work) {
          tracked.push(work);
          return work;
        },
      },
      ...changes,
    });
    return { ...set, tracked };
  }

  test("is answered at once, and the run that it started goes on", async () => {
    const { call, queue, tracked } = setUpRing();
    let open = () => {};
    const gate = new Promise<void>((resolve) => open = resolve);
    const claim = queue.claim.bind(queue);
    queue.claim = async (...given: Parameters<typeof claim>) => {
      await gate;
      return claim(...given);
    };
    const response = await call(ring);
    expect(response.status).toBe(202);
    expect(await response.json()).toEqual({ ringing: true });
    expect(queue.calls.claim).toBe(0);
    open();
    expect(tracked).toHaveLength(1);
    expect(await tracked[0]).toMatchObject({ claimed: 2, succeeded: 2 });
  });

  test("that fails after its answer says so in the log, and ends nothing", async () => {
    const { call, queue, tracked } = setUpRing();
    queue.claim = () => Promise.reject(Object.assign(new Error("gone"), { code: "ECONNREFUSED" }));
    expect((await call(ring)).status).toBe(202);
    await expect(tracked[0]).rejects.toThrow();
  });

  test("needs nobody who keeps the process alive", async () => {
    const { queue, call } = setUp({ ringKey: () => RING_KEY });
    expect((await call(ring)).status).toBe(202);
    await expect.poll(() => queue.calls.claim).toBeGreaterThan(0);
  });

  test.each([
    ['{"budget_ms":100}', 422],
    ["[]", 422],
    [`{"a":"${"x".repeat(20_000)}"}`, 413],
  ])("can only ring: %s is answered %i", async (body, status) => {
    const { call, queue } = setUpRing();
    expect((await call({ ...ring, body })).status).toBe(status);
    expect(queue.calls.claim).toBe(0);
  });

  test("of nobody's is refused", async () => {
    const { call, queue } = setUpRing();
    for (const apikey of ["", `${RING_KEY}x`, RING_KEY.slice(0, -1)]) {
      expect((await call({ headers: { apikey } })).status).toBe(401);
    }
    const { call: withoutKey } = setUp({ ringKey: () => undefined });
    expect((await withoutKey({ headers: { apikey: "" } })).status).toBe(401);
    expect(queue.calls.claim).toBe(0);
  });
});

import { randomUUID } from "node:crypto";
import { describe, expect, test, vi } from "vitest";
import {
  createDispatcher,
  type DispatcherOptions,
  DispatchError,
} from "../../functions/_shared/engine/dispatcher.ts";
import type { Outcome } from "../../functions/_shared/engine/outcome.ts";
import type { Sender } from "../../functions/_shared/channels/sender.ts";
import { Slots } from "../../functions/_shared/engine/slots.ts";
import { type ClaimedStep, lanesOf } from "../../functions/_shared/engine/queue.ts";
import { waitFor } from "../../scripts/lib/process.ts";
import { aStep, FakeQueue, recordingLog, sendersOf, sent } from "./fakes.ts";

const BUDGET = { budgetMs: 20_000 };
const LOST = Object.assign(new Error("terminating connection"), { code: "57P01" });

function steps(count: number): ClaimedStep[] {
  return Array.from({ length: count }, () => aStep());
}

function setUp(queue: FakeQueue, send: Sender["send"], options: Partial<DispatcherOptions> = {}) {
  const { lines, log } = recordingLog();
  const senders = sendersOf(send);
  return { lines, dispatcher: createDispatcher({ queue, senders, log, worker: "w", ...options }) };
}

/** A send that waits until it is let go. */
function gate() {
  const waiting: (() => void)[] = [];
  const arrived: (() => void)[] = [];
  let open = false;
  const state = { started: 0, peak: 0 };
  let inside = 0;
  return {
    state,
    async send(): Promise<Outcome> {
      state.started++;
      state.peak = Math.max(state.peak, ++inside);
      arrived.splice(0).forEach((resolve) => resolve());
      if (!open) await new Promise<void>((resolve) => waiting.push(resolve));
      inside--;
      return sent;
    },
    open() {
      open = true;
      waiting.splice(0).forEach((resolve) => resolve());
    },
    async untilStarted(count: number) {
      while (state.started < count) await new Promise<void>((resolve) => arrived.push(resolve));
    },
  };
}

test("everything due is sent once, recorded, and the run ends by itself", async () => {
  const due = steps(250);
  const queue = new FakeQueue([...due]);
  queue.databaseSteps = 450;
  const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
  const summary = await dispatcher.dispatch(BUDGET);
  expect(summary).toMatchObject({
    database_steps: 450,
    claimed: 250,
    succeeded: 250,
    failed: 0,
    retried: 0,
    ambiguous: 0,
    released: 0,
    late: 0,
    unrecorded: 0,
    stopped: "idle",
  });
  expect(queue.leased.size).toBe(0);
  expect(queue.finished.map(({ step_id }) => step_id).sort())
    .toEqual(due.map(({ step_id }) => step_id).sort());
  expect(queue.calls.finish).toBeLessThan(60);
});

test("each outcome is counted as what it is", async () => {
  const error = { code: "x", message: "x" };
  const outcomes: Outcome[] = [
    sent,
    { outcome: "failed", error },
    { outcome: "retry", error, retry_after_seconds: 3 },
    { outcome: "ambiguous", error },
  ];
  const queue = new FakeQueue(steps(4));
  const { dispatcher } = setUp(queue, () => Promise.resolve(outcomes.shift() ?? sent));
  expect(await dispatcher.dispatch(BUDGET)).toMatchObject({
    succeeded: 1,
    failed: 1,
    retried: 1,
    ambiguous: 1,
  });
  expect(queue.finished).toContainEqual(expect.objectContaining({ retry_after_seconds: 3 }));
});

test("a step that a finished one makes due is sent in the same run", async () => {
  const queue = new FakeQueue(steps(1));
  let follow = 3;
  queue.onFinish = () => {
    if (follow-- > 0) queue.due.push(aStep());
  };
  const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
  expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ claimed: 4, succeeded: 4 });
});

test("sends under way never exceed the concurrency, and claims stay ahead by little", async () => {
  const door = gate();
  const queue = new FakeQueue(steps(100));
  const { dispatcher } = setUp(queue, door.send, { concurrency: 4 });
  const run = dispatcher.dispatch(BUDGET);
  await door.untilStarted(4);
  expect(queue.leased.size).toBeLessThanOrEqual(8);
  door.open();
  expect(await run).toMatchObject({ succeeded: 100 });
  expect(door.state.peak).toBe(4);
});

test("with more places than a claim may fill, it goes on claiming, and ends when nothing is due", async () => {
  const queue = new FakeQueue(steps(2_500));
  const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { concurrency: 1_500 });
  expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 2_500, stopped: "idle" });
});

test("a quick provider lets more be claimed at once", async () => {
  const queue = new FakeQueue(steps(2_000));
  const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { concurrency: 10 });
  await dispatcher.dispatch(BUDGET);
  expect(Math.max(...queue.claimSizes)).toBeGreaterThan(50);
});

describe("a burst", () => {
  test("has its results recorded in sets, since one that waits for a place is not kept from it", async () => {
    const queue = new FakeQueue(steps(2_000));
    const sizes: number[] = [];
    queue.onFinish = (results) => sizes.push(results.length);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { concurrency: 10 });
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 2_000 });
    expect(sizes.length).toBeLessThan(80);
  });

  test("keeps no result to itself for long, however long the other sends hang", async () => {
    const door = gate();
    const [first, ...others] = steps(20);
    const queue = new FakeQueue([first!, ...others]);
    const { dispatcher } = setUp(
      queue,
      (step) => step.step_id === first!.step_id ? Promise.resolve(sent) : door.send(),
      { concurrency: 4 },
    );
    const run = dispatcher.dispatch(BUDGET);
    await waitFor("the first result", () => Promise.resolve(queue.finished.length === 1));
    expect(queue.leased.size).toBeGreaterThan(4);
    door.open();
    expect(await run).toMatchObject({ succeeded: 20 });
  });

  test("of one office costs no looks for it while enough of it waits", () => {
    const slots = new Slots<string>(2, () => "an office");
    const enough = slots.target;
    for (let n = 0; n <= enough; n++) slots.wait("a text");
    expect(slots.crowded).toEqual(["an office"]);
    slots.noteDry(7, slots.crowded);
    expect(slots.isDry(7)).toBe(true);
    // Something has happened: others may have work.
    expect(slots.isDry(8)).toBe(false);
    slots.start(slots.next()!);
    expect(slots.isDry(7)).toBe(true);
    slots.start(slots.next()!);
    expect(slots.isDry(7)).toBe(false);
  });
});

describe("one trip", () => {
  /** What each exchange carried: results in, channels wanted. */
  function watched(queue: FakeQueue) {
    const trips: { results: number; wanted: boolean }[] = [];
    const exchange = queue.exchange.bind(queue);
    queue.exchange = (worker, results, wanted) => {
      trips.push({ results: results.length, wanted: Object.keys(wanted).length > 0 });
      return exchange(worker, results, wanted);
    };
    return trips;
  }

  test("takes the results that are waiting along with a claim", async () => {
    const queue = new FakeQueue(steps(500));
    const trips = watched(queue);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 500 });
    expect(trips.some(({ results, wanted }) => results > 0 && wanted)).toBe(true);
    expect(trips.every(({ results, wanted }) => results > 0 || wanted)).toBe(true);
  });

  test("leaves a crowd of results to a session of their own, beside the claim", async () => {
    const queue = new FakeQueue(steps(4_000));
    const trips = watched(queue);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { concurrency: 100 });
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 4_000 });
    expect(trips.some(({ results, wanted }) => results >= 40 && !wanted)).toBe(true);
    expect(trips.filter(({ results, wanted }) => results >= 40 && wanted)).toEqual([]);
  });

  test("a result that is refused on such a trip is recorded by itself, and claims go on", async () => {
    const queue = new FakeQueue(steps(100));
    const exchange = queue.exchange.bind(queue);
    let refused = 0;
    queue.exchange = (worker, results, wanted) => {
      if (results.length > 0 && Object.keys(wanted).length > 0) {
        refused++;
        return Promise.reject(Object.assign(new Error("no"), { code: "22023" }));
      }
      return exchange(worker, results, wanted);
    };
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 100, unrecorded: 0 });
    expect(refused).toBeGreaterThan(0);
  });

  test("from a ring to the claim there is no rest, even when it rings during a claim that finds nothing", async () => {
    const queue = new FakeQueue();
    const controller = new AbortController();
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { pollMs: 60_000 });
    // Timers stand still: whatever waited for one would never come.
    vi.useFakeTimers({ toFake: ["setTimeout"] });
    try {
      const claim = queue.claim.bind(queue);
      let rung = false;
      queue.claim = async (wanted) => {
        const claimed = await claim(wanted);
        if (!rung) {
          rung = true;
          queue.due.push(aStep());
          dispatcher.ring();
        }
        return claimed;
      };
      queue.onFinish = () => controller.abort();
      const summary = await dispatcher.run({ until: controller.signal });
      expect(summary).toMatchObject({ succeeded: 1 });
    } finally {
      vi.useRealTimers();
    }
  });
});

describe("a backlog of database steps", () => {
  /** Each call waits until it is let go with what it ran. */
  function slow(queue: FakeQueue) {
    const calls: ((ran: number) => void)[] = [];
    const comers: (() => void)[] = [];
    queue.runDatabaseSteps = () =>
      new Promise((resolve) => {
        calls.push(resolve);
        comers.splice(0).forEach((come) => come());
      });
    const call = async (number: number) => {
      while (calls.length < number) await new Promise<void>((resolve) => comers.push(resolve));
      return calls[number - 1]!;
    };
    return { calls, call };
  }

  test("is worked on in a second session once it shows, and the run waits for both", async () => {
    const queue = new FakeQueue();
    const { calls, call } = slow(queue);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    let ended = false;
    const run = dispatcher.dispatch(BUDGET).finally(() => ended = true);
    (await call(1))(200);
    const [second, third] = [await call(2), await call(3)];
    expect(calls).toHaveLength(3);
    second(0);
    await new Promise((resolve) => setImmediate(resolve));
    expect(ended).toBe(false);
    third(7);
    (await call(4))(0);
    expect(await run).toMatchObject({ database_steps: 207, stopped: "idle" });
  });

  test("that is small stays in one", async () => {
    const queue = new FakeQueue();
    const { calls, call } = slow(queue);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    const run = dispatcher.dispatch(BUDGET);
    (await call(1))(199);
    const second = await call(2);
    await new Promise((resolve) => setImmediate(resolve));
    expect(calls).toHaveLength(2);
    second(0);
    expect(await run).toMatchObject({ database_steps: 199 });
  });
});

describe("stopping in good order", () => {
  test("at the end of the budget what is under way is finished, the rest released", async () => {
    const door = gate();
    const queue = new FakeQueue(steps(50));
    const { dispatcher } = setUp(queue, door.send, { concurrency: 3 });
    queue.onFinish = () => {};
    const run = dispatcher.dispatch({ budgetMs: 200 });
    while (queue.released.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    door.open();
    const summary = await run;
    expect(summary).toMatchObject({ succeeded: 3, stopped: "budget" });
    expect(summary.released).toBe(summary.claimed - 3);
    expect(queue.leased.size).toBe(0);
    expect(door.state.started).toBe(3);
  });

  test("an abort does the same, and no claim follows it", async () => {
    const door = gate();
    const queue = new FakeQueue(steps(50));
    const controller = new AbortController();
    const { dispatcher } = setUp(queue, door.send, { concurrency: 3 });
    const run = dispatcher.run({ until: controller.signal });
    await door.untilStarted(3);
    controller.abort();
    const claims = queue.calls.claim;
    door.open();
    expect(await run).toMatchObject({ succeeded: 3, stopped: "aborted" });
    expect(queue.calls.claim).toBe(claims);
    expect(queue.leased.size).toBe(0);
  });

  test("a run that is aborted before it starts touches nothing", async () => {
    const queue = new FakeQueue(steps(1));
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    await dispatcher.run({ until: AbortSignal.abort() });
    expect(queue.calls).toEqual({ claim: 0, finish: 0, release: 0, database: 0, reap: 0 });
  });

  test("a claim that arrives after the end is released", async () => {
    const queue = new FakeQueue(steps(5));
    const controller = new AbortController();
    const claim = queue.claim.bind(queue);
    queue.claim = async (wanted) => {
      controller.abort();
      return await claim(wanted);
    };
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    expect(await dispatcher.run({ until: controller.signal })).toMatchObject({
      claimed: 5,
      released: 5,
      succeeded: 0,
    });
    expect(queue.leased.size).toBe(0);
  });

  test("at most so many steps are claimed in one run", async () => {
    const queue = new FakeQueue(steps(100));
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { maxSteps: 25 });
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ claimed: 25, stopped: "limit" });
    expect(queue.leased.size).toBe(0);
    expect(queue.due).toHaveLength(75);
  });

  test("a step whose lease would end during the send goes back unsent", async () => {
    const queue = new FakeQueue(steps(4));
    // A lease of 3.4 s leaves 0.4 s to start a send that may take 1 s, with 2 s of margin.
    const slow = async (): Promise<Outcome> => {
      await new Promise((resolve) => setTimeout(resolve, 500));
      return sent;
    };
    const { dispatcher } = setUp(queue, slow, { concurrency: 2, leaseSeconds: 3.4 });
    const summary = await dispatcher.dispatch(BUDGET);
    expect(summary.succeeded).toBe(2);
    expect(summary.released).toBe(2);
  });

  test("a lease shorter than a send is refused at once", () => {
    expect(() => setUp(new FakeQueue(), () => Promise.resolve(sent), { leaseSeconds: 3 }))
      .toThrow(/leaseSeconds/);
  });
});

describe("a database that goes away", () => {
  test("results are recorded when it is back", async () => {
    const queue = new FakeQueue(steps(20));
    queue.faults.finish = [LOST, LOST, LOST];
    queue.faults.claim = [LOST];
    queue.faults.database = [LOST];
    const { dispatcher, lines } = setUp(queue, () => Promise.resolve(sent));
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 20, stopped: "idle" });
    expect(queue.leased.size).toBe(0);
    const retries = lines.filter(({ event }) => event === "database_retry");
    expect(retries.map(({ call }) => call).sort())
      .toEqual(["claim", "finish", "finish", "finish", "run_database_steps"]);
  });

  test("a bounded run gives up after its patience and says what it did", async () => {
    const queue = new FakeQueue(steps(3));
    queue.claim = () => Promise.reject(LOST);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { databasePatienceMs: 100 });
    const error: unknown = await dispatcher.dispatch(BUDGET).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(DispatchError);
    expect(error).toMatchObject({ summary: { stopped: "error", claimed: 0 }, cause: LOST });
  });

  test("a budget that ends while it is away is no success", async () => {
    const queue = new FakeQueue(steps(3));
    queue.claim = () => Promise.reject(LOST);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    await expect(dispatcher.dispatch({ budgetMs: 100 })).rejects.toThrow(DispatchError);
  });

  test("a standing run waits for it, and works on", async () => {
    const queue = new FakeQueue(steps(3));
    queue.faults.claim = Array.from({ length: 4 }, () => LOST);
    const controller = new AbortController();
    queue.onFinish = () => controller.abort();
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { databasePatienceMs: 0 });
    expect(await dispatcher.run({ until: controller.signal })).toMatchObject({ succeeded: 3 });
  });

  test("an error that is not the connection's ends the run at once", async () => {
    const queue = new FakeQueue();
    queue.faults.claim = [Object.assign(new Error("no such function"), { code: "42883" })];
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    await expect(dispatcher.dispatch(BUDGET)).rejects.toThrow(DispatchError);
  });

  test("results that are cut off are taken apart; the one to blame is tried again, behind the others", async () => {
    const due = steps(300);
    const poisoned = due[123]?.step_id;
    const queue = new FakeQueue(due);
    let hangs = true;
    const sizes: number[] = [];
    queue.onFinish = (results) => {
      sizes.push(results.length);
      if (hangs && results.some(({ step_id }) => step_id === poisoned)) {
        hangs = queue.finished.length < 299;
        throw Object.assign(new Error("canceling statement due to statement timeout"), {
          code: "57014",
        });
      }
    };
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { concurrency: 300 });
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({
      succeeded: 300,
      unrecorded: 0,
      stopped: "idle",
    });
    expect(queue.finished.at(-1)?.step_id).toBe(poisoned);
    expect(sizes.at(-1)).toBe(1);
  });

  test("a result that somebody holds till its lease ends fails neither the others nor the run", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance"] });
    try {
      const due = steps(5);
      const held = due[3]?.step_id;
      const queue = new FakeQueue(due);
      queue.onFinish = (results) => {
        if (results.every(({ step_id }) => step_id !== held)) return;
        throw Object.assign(new Error("canceling statement due to lock timeout"), {
          code: "55P03",
        });
      };
      const { dispatcher, lines } = setUp(queue, () => Promise.resolve(sent), { leaseSeconds: 5 });
      let summary: unknown;
      void dispatcher.dispatch(BUDGET).then((said) => summary = said, (error) => summary = error);
      for (let second = 0; second < 20 && !summary; second++) {
        await vi.advanceTimersByTimeAsync(1_000);
        // Whoever comes meanwhile is served.
        if (second === 2) queue.due.push(aStep());
      }
      expect(summary).toMatchObject({ succeeded: 5, unrecorded: 1, stopped: "idle" });
      expect(lines).toContainEqual(
        expect.objectContaining({ event: "result_unrecorded", step_id: held, code: "55P03" }),
      );
    } finally {
      vi.useRealTimers();
    }
  });

  test("a trip that ran out of time leaves the rest to the next, and none is recorded or counted twice", async () => {
    const queue = new FakeQueue(steps(300));
    const exchange = queue.exchange.bind(queue);
    queue.exchange = (worker, results, wanted) => exchange(worker, results.slice(0, 30), wanted);
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { concurrency: 300 });
    expect(await dispatcher.dispatch(BUDGET))
      .toMatchObject({ succeeded: 300, late: 0, unrecorded: 0, stopped: "idle" });
    expect(queue.finished).toHaveLength(300);
  });

  test("leases that cannot be reaped do not end the run", async () => {
    const queue = new FakeQueue(steps(3));
    queue.reapExpiredLeases = () =>
      Promise.reject(Object.assign(new Error("no"), { code: "P0001" }));
    const { dispatcher, lines } = setUp(queue, () => Promise.resolve(sent));
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 3, stopped: "idle" });
    expect(lines).toContainEqual(expect.objectContaining({ event: "reap_failed", code: "P0001" }));
  });

  test("one result that is refused does not take its batch with it", async () => {
    const due = steps(40);
    const poisoned = due[13]?.step_id;
    const queue = new FakeQueue(due);
    queue.onFinish = (results) => {
      if (results.some(({ step_id }) => step_id === poisoned)) {
        throw Object.assign(new Error("invalid input syntax"), { code: "22P02" });
      }
    };
    const { dispatcher, lines } = setUp(queue, () => Promise.resolve(sent), { concurrency: 40 });
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 39, unrecorded: 1 });
    expect([...queue.leased.keys()]).toEqual([poisoned]);
    expect(lines).toContainEqual(
      expect.objectContaining({ event: "result_unrecorded", step_id: poisoned }),
    );
  });
});

test("a result that comes after its lease was reaped changes nothing and is said so", async () => {
  const due = steps(2);
  const queue = new FakeQueue([...due]);
  queue.reaped.add(due[0]?.step_id ?? "");
  const { dispatcher, lines } = setUp(queue, () => Promise.resolve(sent));
  expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 1, late: 1 });
  expect(lines).toContainEqual(
    expect.objectContaining({ event: "result_late", step_id: due[0]?.step_id }),
  );
});

test("two offices whose steps have one id are told apart", async () => {
  const mine = aStep();
  const theirs = aStep({ tenant_id: randomUUID(), step_id: mine.step_id });
  const queue = new FakeQueue([mine, theirs]);
  queue.finish = (results) =>
    Promise.resolve(results.map(({ tenant_id, step_id }) => {
      const accepted = tenant_id === theirs.tenant_id;
      return { step_id, accepted, status: accepted ? "completed" : null, due_now: false };
    }));
  const { dispatcher, lines } = setUp(queue, () => Promise.resolve(sent));
  expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 1, late: 1 });
  expect(lines).toContainEqual(
    expect.objectContaining({ event: "result_late", tenant_id: mine.tenant_id }),
  );
});

test("a sender that throws leaves the step ambiguous, never lost", async () => {
  const queue = new FakeQueue(steps(1));
  const { dispatcher } = setUp(queue, () => Promise.reject(new Error("bug")));
  expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ ambiguous: 1 });
});

test("a sender that ignores its signal does not hold the run for ever", async () => {
  const queue = new FakeQueue(steps(1));
  const { log } = recordingLog();
  const senders = sendersOf(() => new Promise(() => {}), 50);
  const dispatcher = createDispatcher({ queue, senders, log, worker: "w" });
  expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ ambiguous: 1 });
});

test("logs carry ids and codes, no bodies and no numbers", async () => {
  const queue = new FakeQueue(steps(1));
  const message = "cannot send to +15550001111";
  const { dispatcher, lines } = setUp(
    queue,
    () => Promise.resolve({ outcome: "failed", error: { code: "twilio_21211", message } }),
  );
  await dispatcher.dispatch(BUDGET);
  expect(lines).toContainEqual(
    expect.objectContaining({ event: "step_failed", code: "twilio_21211" }),
  );
  expect(JSON.stringify(lines)).not.toMatch(/5550001111|estimate/);
});

describe("rings", () => {
  test("a second dispatch joins the first, and what it rang for is sent", async () => {
    const door = gate();
    const queue = new FakeQueue(steps(1));
    const { dispatcher } = setUp(queue, door.send);
    const first = dispatcher.dispatch(BUDGET);
    await door.untilStarted(1);
    queue.due.push(...steps(2));
    const second = dispatcher.dispatch(BUDGET);
    await door.untilStarted(3);
    door.open();
    expect(await second).toBe(await first);
    expect(await first).toMatchObject({ succeeded: 3 });
    queue.due.push(...steps(1));
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ succeeded: 1 });
  });

  test("a ring at the very end of a run is never lost", async () => {
    const queue = new FakeQueue();
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    for (let round = 0; round < 200; round++) {
      const first = dispatcher.dispatch(BUDGET);
      for (let tick = 0; tick < round % 40; tick++) await Promise.resolve();
      queue.due.push(...steps(1));
      await Promise.all([first, dispatcher.dispatch(BUDGET)]);
      expect(queue.due).toHaveLength(0);
    }
  });

  test("a standing run idles without hammering the database, and wakes at a ring", async () => {
    const queue = new FakeQueue();
    const controller = new AbortController();
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { pollMs: 10_000 });
    const run = dispatcher.run({ until: controller.signal });
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(queue.calls.claim).toBeLessThan(5);
    const finished = new Promise<void>((resolve) => queue.onFinish = () => resolve());
    queue.due.push(...steps(1));
    dispatcher.ring();
    await finished;
    controller.abort();
    expect(await run).toMatchObject({ succeeded: 1, stopped: "aborted" });
  });

  test("a ring that says its lane costs no look at the others, and one that says nothing known looks at all", async () => {
    const queue = new FakeQueue();
    const controller = new AbortController();
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { pollMs: 60_000 });
    const asked: string[][] = [];
    const claim = queue.claim.bind(queue);
    queue.claim = (wanted) => {
      asked.push(Object.keys(wanted));
      return claim(wanted);
    };
    const run = dispatcher.run({ until: controller.signal });
    await vi.waitUntil(() => queue.calls.claim === 1 && queue.calls.database === 1);
    const finished = new Promise<void>((resolve) => queue.onFinish = () => resolve());
    queue.due.push(aStep({ step_type: "webhook" }));
    dispatcher.ring(lanesOf("webhook"));
    await finished;
    expect(asked.slice(1).every((channels) => channels.join() === "webhook")).toBe(true);
    expect(queue.calls.database).toBe(1);
    const claims = asked.length;
    dispatcher.ring(lanesOf("database"));
    await vi.waitUntil(() => queue.calls.database === 2);
    expect(asked).toHaveLength(claims);
    dispatcher.ring(lanesOf("of a later release"));
    await vi.waitUntil(() => queue.calls.database === 3 && asked.length > claims);
    expect(asked.at(-1)).toEqual(["sms", "email", "webhook"]);
    controller.abort();
    await run;
  });

  test("with every ring lost, a standing run still finds the work", async () => {
    const queue = new FakeQueue();
    const controller = new AbortController();
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent), { pollMs: 20 });
    const run = dispatcher.run({ until: controller.signal });
    const finished = new Promise<void>((resolve) => queue.onFinish = () => resolve());
    queue.due.push(...steps(1));
    await finished;
    controller.abort();
    await run;
  });
});

describe("sends that hang", () => {
  const webhook = (tenant_id: string) => aStep({ tenant_id, step_type: "webhook" });
  const OTHER = "00000000-0000-4000-8000-00000000000b";

  test("hold up no other channel", async () => {
    const door = gate();
    const queue = new FakeQueue(Array.from({ length: 50 }, () => webhook(OTHER)));
    const { log } = recordingLog();
    const quick = { timeoutMs: 1_000, send: () => Promise.resolve(sent) };
    const senders = {
      sms: quick,
      email: quick,
      webhook: { timeoutMs: 1_000, send: door.send },
    };
    const dispatcher = createDispatcher({ queue, senders, log, worker: "w", concurrency: 4 });
    const run = dispatcher.dispatch(BUDGET);
    await door.untilStarted(4);
    const texted = new Promise<void>((resolve) => queue.onFinish = () => resolve());
    queue.due.push(aStep({ step_type: "send_sms" }));
    dispatcher.ring();
    await texted;
    expect(door.state.peak).toBe(4);
    door.open();
    expect(await run).toMatchObject({ succeeded: 51 });
  });

  test("leave places for other tenants of the same channel", async () => {
    const door = gate();
    const queue = new FakeQueue(Array.from({ length: 50 }, () => webhook(OTHER)));
    const { dispatcher } = setUp(
      queue,
      (step) => step.tenant_id === OTHER ? door.send() : Promise.resolve(sent),
      { concurrency: 4 },
    );
    const run = dispatcher.dispatch(BUDGET);
    await door.untilStarted(4);
    const mine = new Promise<void>((resolve) => queue.onFinish = () => resolve());
    queue.due.push(...steps(20).map((step) => ({ ...step, step_type: "webhook" as const })));
    dispatcher.ring();
    await mine;
    door.open();
    expect(await run).toMatchObject({ succeeded: 70 });
  });

  test("what is tried alone is sent too, and is not waited for", async () => {
    const queue = new FakeQueue(steps(3));
    queue.suspects.push(...steps(2));
    const { dispatcher } = setUp(queue, () => Promise.resolve(sent));
    expect(await dispatcher.dispatch(BUDGET)).toMatchObject({ claimed: 5, succeeded: 5 });
  });
});

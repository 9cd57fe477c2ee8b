// Who waits is woken by the next ring, or when the time is up; most waits end by a ring, and cost no timer.
import { expect, onTestFinished, test, vi } from "vitest";
import { Bell } from "../../functions/_shared/runtime/bell.ts";

const elapsed = async (waiting: Promise<void>) => {
  const startedAt = performance.now();
  await waiting;
  return performance.now() - startedAt;
};

test("a ring wakes everyone who waits, and nobody who comes after it", async () => {
  const bell = new Bell();
  let woken = 0;
  const waiting = [bell.wait(), bell.wait(10_000)].map((wait) => wait.then(() => woken++));
  bell.ring();
  await Promise.all(waiting);
  expect(woken).toBe(2);
  void bell.wait().then(() => woken++);
  await Promise.resolve();
  expect(woken).toBe(2);
  bell.end();
});

test("whoever cannot wait as long as the others is woken in time, and so are they", async () => {
  const bell = new Bell();
  const long = elapsed(bell.wait(10_000));
  expect(await elapsed(bell.wait(30))).toBeLessThan(5_000);
  // All are woken together: whoever has time left waits again.
  expect(await long).toBeLessThan(5_000);
  expect(await elapsed(bell.wait(30))).toBeLessThan(5_000);
});

test("waits that end by rings share one timer", async () => {
  const bell = new Bell();
  const timers = vi.spyOn(globalThis, "setTimeout");
  onTestFinished(() => timers.mockRestore());
  for (let n = 0; n < 100; n++) {
    const waiting = bell.wait(10_000);
    bell.ring();
    await waiting;
  }
  expect(timers).toHaveBeenCalledTimes(1);
  bell.end();
});

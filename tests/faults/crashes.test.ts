// Processes that die without a word, while sends are on their way.
import { afterEach, describe, expect, it } from "vitest";
import { waitFor } from "../support/standins.ts";
import {
  type FaultStack,
  inFlight,
  insertLeads,
  type Lead,
  report,
  settle,
  size,
  slowDown,
  startFaultStack,
} from "./support.ts";

let running: FaultStack | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

/** New leads, and then the blow, while their messages are under way; again and again. */
async function strike(
  stack: FaultStack,
  { blows, leadsEach, blow }: { blows: number; leadsEach: number; blow: () => Promise<void> },
): Promise<Lead[]> {
  const leads: Lead[] = [];
  for (let number = 0; number < blows; number++) {
    for (const tenant of stack.tenants) {
      leads.push(...await insertLeads(stack.sql, tenant, leadsEach));
    }
    const before = stack.twilio.messages().length;
    await waitFor(
      "sends under way",
      () => inFlight(stack) > 0 && stack.twilio.messages().length > before,
      { interval: 2 },
    );
    await blow();
  }
  return leads;
}

describe("a crash", { timeout: size(120_000, 1_200_000) }, () => {
  it("of the dispatcher (kill -9), many times, loses and repeats nothing", async () => {
    const stack = running = await startFaultStack();
    slowDown(stack, 40);
    const edge = stack.stack.functions.get("dispatch");
    const kills = size(10, 60);
    const leads = await strike(stack, {
      blows: kills,
      leadsEach: size(10, 20),
      blow: async () => await edge?.kill(),
    });
    const account = await settle(stack, leads);
    expect(account.ambiguous).toBeGreaterThanOrEqual(kills);
    expect(account.reconciled).toBeGreaterThan(0);
    report("kill -9 of the dispatcher", { kills, ...account });
  });

  it("of Postgres (immediate restart, kill -9), many times, loses and repeats nothing", async () => {
    const stack = running = await startFaultStack({ ownPostgres: true });
    const { postgres } = stack.stack;
    // Ephemeral stacks do without; here a commit must mean what it says.
    await postgres?.reconfigure({ synchronous_commit: "on" });
    slowDown(stack, 40);
    const crashes = size(5, 30);
    let number = 0;
    const leads = await strike(stack, {
      blows: crashes,
      leadsEach: size(15, 30),
      blow: async () => {
        // By turns: a restart without a shutdown, a kill -9, and both processes at once.
        const kind = number++ % 3;
        if (kind === 1) {
          await postgres?.crash();
          return await postgres?.start();
        }
        const dispatcher = stack.stack.functions.get("dispatch");
        await Promise.all([
          postgres?.restart("immediate"),
          kind === 2 ? dispatcher?.kill() : undefined,
        ]);
      },
    });
    const account = await settle(stack, leads);
    expect(account.ambiguous).toBeGreaterThan(0);
    report("crash of Postgres", { crashes, ...account });
  });
});

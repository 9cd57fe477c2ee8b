// More than one dispatcher, one that comes late, and none that is called.
import process from "node:process";
import { afterEach, describe, expect, it } from "vitest";
import { withDatabase } from "../support/database.ts";
import { waitFor } from "../support/standins.ts";
import {
  addWorkflow,
  allEnded,
  type FaultStack,
  inFlight,
  insertLeads,
  report,
  set,
  settle,
  size,
  slowDown,
  startDispatcher,
  startFaultStack,
} from "./support.ts";

let running: FaultStack | undefined;
const undo: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const stop of undo.splice(0)) await stop();
  await running?.stop();
  running = undefined;
});

/** Dispatches again and again until everything has ended, as pg_cron would. */
async function untilAllEnded(stack: FaultStack, dispatch: () => Promise<unknown>): Promise<void> {
  let ended = false;
  const ending = allEnded(stack.sql).finally(() => ended = true);
  while (!ended) await dispatch();
  await ending;
}

describe("two dispatchers at once", { timeout: size(90_000, 600_000) }, () => {
  it("share the work, and send nothing twice even when one of them dies", async () => {
    const stack = running = await startFaultStack({ heartbeat: false });
    const second = await startDispatcher(stack);
    undo.push(() => second.stop());
    slowDown(stack, 10);
    const leads = [];
    for (const tenant of stack.tenants) {
      leads.push(...await insertLeads(stack.sql, tenant, size(100, 1_000)));
    }
    const killed = (async () => {
      await waitFor("half of the texts", () => stack.twilio.messages().length > leads.length / 2);
      await waitFor("a send under way", () => inFlight(stack) > 0, { interval: 1 });
      await second.kill();
    })();
    await untilAllEnded(
      stack,
      () => Promise.all([stack.stack.dispatch(), second.dispatch().catch(() => null)]),
    );
    await killed;
    const account = await settle(stack, leads);
    const shares = await stack.sql<{ worker: string; done: number }[]>`
      select a.value ->> 'worker' as worker, count(*)::int as done
      from ridgeline.workflow_step_executions as s, jsonb_array_elements(s.attempts) as a
      where a.value ->> 'outcome' = 'succeeded'
      group by 1 order by 2 desc`;
    expect(shares.length).toBeGreaterThanOrEqual(2);
    expect(shares[1]?.done).toBeGreaterThan(leads.length / 10);
    report("two dispatchers", { ...account, most_by_one: shares[0]?.done ?? 0 });
  });
});

/** This process, and with it the providers' stand-ins, does nothing at all for so long. */
const sleepTight = (ms: number) =>
  void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

describe("a machine that stands still", { timeout: size(90_000, 600_000) }, () => {
  it("for longer than a send is waited for and looked up after, sends nothing twice", async () => {
    const stack = running = await startFaultStack({ heartbeat: false });
    const second = await startDispatcher(stack);
    undo.push(() => second.stop());
    slowDown(stack, 10);
    const leads = [];
    for (const tenant of stack.tenants) leads.push(...await insertLeads(stack.sql, tenant, 25));
    const naps = (async () => {
      for (const many of [5, 18, 31]) {
        await waitFor(`${many} texts`, () => stack.twilio.messages().length >= many, {
          interval: 1,
        });
        await waitFor("a send under way", () => inFlight(stack) > 0, { interval: 1 });
        sleepTight(2_000);
      }
    })();
    await untilAllEnded(
      stack,
      () =>
        Promise.all(
          [stack.stack.dispatch(), second.dispatch()].map((one) => one.catch(() => null)),
        ),
    );
    await naps;
    const account = await settle(stack, leads);
    report("a machine that stands still", { ...account });
  });
});

describe("a dispatcher that comes late", { timeout: 60_000 }, () => {
  it("having slept past its leases, changes nothing that another has recorded", async () => {
    const stack = running = await startFaultStack({ heartbeat: false });
    const second = await startDispatcher(stack);
    undo.push(() => second.stop());
    // As many as one dispatcher sends at once: all of them are under way when it falls asleep.
    const leads = await insertLeads(stack.sql, stack.tenants[0] as string, 10);
    stack.twilio.fault({ kind: "delay", delay_ms: 400, times: 10 });
    const sleeper = stack.stack.functions.get("dispatch")?.pid as number;
    const late = stack.stack.dispatch() as Promise<{ late: number }>;
    await waitFor("ten texts under way", () => inFlight(stack) === 10, { interval: 2 });
    process.kill(sleeper, "SIGSTOP");
    undo.push(() => Promise.resolve(process.kill(sleeper, "SIGCONT")));
    await waitFor("the leases to run out", async () => {
      const [row] = await stack.sql`
        select count(*)::int from ridgeline.scheduled_steps where lease_expires_at < clock_timestamp()`;
      return row?.count === 10;
    });
    expect(stack.twilio.messages()).toHaveLength(10);
    await untilAllEnded(stack, second.dispatch);
    const before = await stack.sql`select * from ridgeline.workflow_step_executions order by id`;

    process.kill(sleeper, "SIGCONT");
    const summary = await late;
    expect(summary).toMatchObject({ claimed: 10, late: 10, succeeded: 0 });
    expect(await stack.sql`select * from ridgeline.workflow_step_executions order by id`).toEqual(
      before,
    );
    const account = await settle(stack, leads);
    expect(account).toMatchObject({ ambiguous: 10, reconciled: 10, sent_again: 0 });
    report("a late dispatcher", { refused_reports: summary.late, ...account });
  });

  it("can neither finish nor release a step that was taken from it", () =>
    withDatabase(async ({ sql }) => {
      await set(sql, "retry_base", "1 millisecond");
      await set(sql, "reconcile_delay", "0 seconds");
      const [tenant] = await sql<[{ id: string }]>`
        insert into tenants (name) values ('Apex Roofing') returning id`;
      await addWorkflow(sql, tenant.id, [
        { step_type: "send_sms", step_config: { body: "Hi {{trigger.contact.first_name}}" } },
      ]);
      await insertLeads(sql, tenant.id, 1);
      const claim = async (worker: string) => {
        const [step] = await sql`
          select tenant_id, step_id, attempt_token, attempt, reconcile_since
          from automation.claim_steps(${worker}, 10, '1 second')`;
        return step;
      };
      const finish = async (step: Awaited<ReturnType<typeof claim>>, outcome: string) => {
        const report = { ...step, outcome, result: { provider_id: `SM-${step?.attempt}` } };
        const [row] = await sql`
          select accepted from automation.finish_steps(${sql.json([report])})`;
        return row?.accepted;
      };
      const stored = () =>
        sql`select s.*, q.attempt_token from ridgeline.workflow_step_executions as s
          left join ridgeline.scheduled_steps as q on q.tenant_id = s.tenant_id and q.id = s.id`;

      const early = await claim("early");
      expect(early?.reconcile_since).toBeNull();
      await waitFor("the lease to run out and be reaped", async () => {
        const [row] = await sql`select automation.reap_expired_leases() as reaped`;
        return row?.reaped === 1;
      });
      for (const outcome of ["succeeded", "failed", "retry", "ambiguous"]) {
        expect(await finish(early, outcome)).toBe(false);
      }
      const later = await waitFor("the step to be due again", () => claim("later"));
      expect(later).toMatchObject({ step_id: early?.step_id, attempt: 2 });
      expect(later.reconcile_since).toBeInstanceOf(Date);

      const before = await stored();
      for (const outcome of ["succeeded", "failed", "retry", "ambiguous"]) {
        expect(await finish(early, outcome)).toBe(false);
      }
      const [released] = await sql`
        select automation.release_steps(${sql.json([{ ...early }])}) as count`;
      expect(released?.count).toBe(0);
      expect(await stored()).toEqual(before);

      expect(await finish(later, "succeeded")).toBe(true);
      expect(await finish(later, "failed")).toBe(false);
      const [step] = await sql`
        select s.status, s.provider_id, e.status as execution
        from ridgeline.workflow_step_executions as s
        join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id`;
      expect(step).toEqual({ status: "completed", provider_id: "SM-2", execution: "completed" });
    }));
});

describe("when every ring is lost", { timeout: 60_000 }, () => {
  it("the heartbeat alone gets everything done", async () => {
    const stack = running = await startFaultStack();
    await set(stack.sql, "doorbell", "none");
    let rings = 0;
    await stack.sql.listen("ridgeline_doorbell", () => rings++);
    const leads = [];
    for (const tenant of stack.tenants) {
      leads.push(...await insertLeads(stack.sql, tenant, size(50, 500)));
    }
    const account = await settle(stack, leads);
    expect(rings).toBe(0);
    report("every ring lost", { ...account });
  });
});

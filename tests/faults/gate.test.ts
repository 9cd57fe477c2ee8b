// What the gate holds, while processes die: nothing of it is lost, and nothing is sent early.
import type { Sql } from "postgres";
import { afterEach, describe, expect, it } from "vitest";
import { waitFor } from "../support/standins.ts";
import {
  addWorkflow,
  allEnded,
  type FaultStack,
  insertLeads,
  type Lead,
  report,
  size,
  slowDown,
  startFaultStack,
} from "./support.ts";

let running: FaultStack | undefined;
afterEach(async () => {
  await running?.stop();
  running = undefined;
});

async function addOffice(
  sql: Sql,
  purpose: string,
  limits: Record<string, number>,
): Promise<string> {
  const [tenant] = await sql<[{ id: string }]>`
    insert into tenants (name, timezone) values ('Apex Roofing', 'America/Chicago') returning id`;
  await sql`
    insert into ridgeline.senders (tenant_id, channel, address, limits, is_default)
    values (${tenant.id}, 'sms', '+15125550900', ${sql.json(limits)}, true)`;
  await addWorkflow(sql, tenant.id, [
    { step_type: "send_sms", step_config: { body: "Hi {{contact.first_name}}", purpose } },
    { step_type: "create_task", step_config: { title: "Call {{contact.first_name}}" } },
  ]);
  return tenant.id;
}

/** By turns: the dispatcher, the server without a shutdown, the server by kill -9, and both at once. */
async function strike({ stack }: FaultStack, number: number): Promise<void> {
  const { postgres } = stack;
  const dispatcher = stack.functions.get("dispatch");
  switch (number % 4) {
    case 0:
      return await dispatcher?.kill();
    case 1:
      return await postgres?.restart("immediate");
    case 2:
      await postgres?.crash();
      return await postgres?.start();
    default:
      await Promise.all([postgres?.restart("immediate"), dispatcher?.kill()]);
  }
}

async function held(sql: Sql, code: string): Promise<number> {
  const [row] = await sql<[{ count: number }]>`
    select count(*)::int from ridgeline.scheduled_steps where held ->> 'code' = ${code}`;
  return row.count;
}

/** A server that has just come back refuses the first connections. */
const patiently = <T>(what: string, ask: () => Promise<T>) =>
  waitFor(what, async () => {
    try {
      return { value: await ask() };
    } catch {
      return undefined;
    }
  }, { timeout: 30_000 }).then(({ value }) => value);

async function expectEachOnce(stack: FaultStack, sent: Lead[], all: Lead[]): Promise<void> {
  await patiently("the account", () => allEnded(stack.sql));
  expect(stack.twilio.messages().map(({ body }) => body).sort())
    .toEqual(sent.map(({ name }) => `Hi ${name}`).sort());
  const tasks = await stack.sql<
    { title: string }[]
  >`select title from tasks where title like 'Call %'`;
  expect(tasks.map(({ title }) => title).sort()).toEqual(
    all.map(({ name }) => `Call ${name}`).sort(),
  );
  expect(await stack.sql`select * from ridgeline.scheduled_steps`).toEqual([]);
}

describe("texts that the gate holds", { timeout: size(180_000, 900_000) }, () => {
  it("for the morning: kills and restarts lose none and send none early, and a stop meanwhile counts", async () => {
    const stack = running = await startFaultStack({
      ownPostgres: true,
      anyHour: false,
      tenants: 0,
    });
    await stack.stack.postgres?.reconfigure({ synchronous_commit: "on" });
    const { sql, twilio } = stack;
    await patiently("the night", () => sql`select automation.set_clock('2026-06-04 03:30+00')`);
    const tenant = await addOffice(sql, "transactional", { per_second: 0 });
    const leads = await insertLeads(sql, tenant, size(60, 400));
    await waitFor("all of them held", async () => await held(sql, "quiet_hours") === leads.length, {
      timeout: 30_000,
    });
    const blows = size(8, 40);
    for (let number = 0; number < blows; number++) {
      await strike(stack, number);
      expect(await patiently("what is held", () => held(sql, "quiet_hours"))).toBe(leads.length);
    }
    const stopped = leads.slice(0, 5);
    for (const { phone } of stopped) {
      await sql`
        select automation.record_consent(${tenant}, 'sms', ${phone}, 'revoked', 'all', 'message')`;
    }
    await sql`select automation.set_clock('2026-06-04 12:59:30+00')`;
    await stack.stack.dispatch();
    expect(twilio.messages()).toEqual([]);
    slowDown(stack, 40);
    await sql`select automation.set_clock('2026-06-04 13:00:30+00')`;
    for (let number = 0; number < 3; number++) {
      const before = twilio.messages().length;
      await waitFor("some to go", () => twilio.messages().length > before, { timeout: 30_000 });
      await strike(stack, number);
    }
    await expectEachOnce(stack, leads.slice(5), leads);
    report("held for the morning", {
      texts: leads.length,
      blows: blows + 3,
      stopped: stopped.length,
    });
  });

  it("for their places: of a sender that sends ten a second none overtakes, through kills and restarts", async () => {
    const stack = running = await startFaultStack({ ownPostgres: true, tenants: 0 });
    await stack.stack.postgres?.reconfigure({ synchronous_commit: "on" });
    const { sql, twilio } = stack;
    const tenant = await patiently(
      "an office",
      () => addOffice(sql, "transactional", { per_second: 10 }),
    );
    const leads = await insertLeads(sql, tenant, size(120, 600));
    await waitFor(
      "places for nearly all",
      async () => await held(sql, "rate") > leads.length * 0.8,
      {
        timeout: 30_000,
        interval: 20,
      },
    );
    const places = await sql<{ name: string; at: Date }[]>`
      select c.first_name as name, q.run_at as at
      from ridgeline.scheduled_steps as q
      join ridgeline.workflow_executions as e on e.tenant_id = q.tenant_id and e.id = q.execution_id
      join contacts as c on c.id::text = e.contact_id
      where q.held ->> 'code' = 'rate' and q.run_at > now()`;
    expect(places.length).toBeGreaterThan(leads.length / 2);
    const blows = size(6, 20);
    for (let number = 0; number < blows; number++) {
      await strike(stack, number);
      const before = twilio.messages().length;
      await waitFor("the next", () => twilio.messages().length > before, { timeout: 30_000 })
        .catch(() => {});
    }
    await expectEachOnce(stack, leads, leads);
    const arrived = new Map(
      twilio.requests().filter(({ accepted, method }) => accepted && method === "POST")
        .map(({ body, at }) => [new URLSearchParams(body).get("Body"), Date.parse(at)]),
    );
    const early = places.filter(({ name, at }) =>
      (arrived.get(`Hi ${name}`) ?? 0) < at.getTime() - 5
    );
    expect(early).toEqual([]);
    report("held for a place", { texts: leads.length, places: places.length, blows });
  });

  it("without a date: a pause outlives a crash, and what it held goes when somebody lets it", async () => {
    const stack = running = await startFaultStack({ ownPostgres: true, tenants: 0 });
    await stack.stack.postgres?.reconfigure({ synchronous_commit: "on" });
    const { sql, twilio } = stack;
    const tenant = await patiently(
      "an office",
      () => addOffice(sql, "transactional", { per_second: 0 }),
    );
    await sql`select automation.pause_sending(${tenant}, 'A wrong price')`;
    const leads = await insertLeads(sql, tenant, 20);
    await waitFor("all of them held", async () => await held(sql, "sending_paused") === 20, {
      timeout: 30_000,
    });
    for (let number = 0; number < 4; number++) await strike(stack, number);
    expect(await patiently("what is held", () => held(sql, "sending_paused"))).toBe(20);
    expect(twilio.messages()).toEqual([]);
    await sql`select automation.resume_sending(${tenant})`;
    await sql`select automation.advance_clock('1 minute')`;
    await strike(stack, 3);
    await expectEachOnce(stack, leads, leads);
  });
});

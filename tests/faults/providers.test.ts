// Providers that take the message and say otherwise, say nothing, or say to come back later.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Fault, Received } from "../support/standins.ts";
import {
  addWorkflow,
  allEnded,
  type FaultStack,
  insertLeads,
  type Lead,
  newLeads,
  report,
  set,
  settle,
  startFaultStack,
} from "./support.ts";

interface Trouble {
  /** In the order in which the requests about one message come. */
  faults: Omit<Fault, "match">[];
  /** What a text's attempts come to, and whether the text was found in the provider's list. */
  attempts: string;
  reconciled?: true;
  /** Seconds that the provider asks for. */
  retryAfter?: number;
}

const a = "ambiguous", r = "retry", s = "succeeded";
const outcomes = (...list: string[]) => list.join(" ");
const comeBackIn2s = { "retry-after": "2" };

const troubles: Record<string, Trouble> = {
  "nothing goes wrong": { faults: [], attempts: outcomes(s) },
  "silence after it was accepted": {
    faults: [{ kind: "timeout_after_accept" }],
    attempts: outcomes(a, s),
    reconciled: true,
  },
  "silence before it was accepted": {
    faults: [{ kind: "timeout_before_accept" }],
    attempts: outcomes(a, s),
  },
  "an answer that comes too late": {
    faults: [{ kind: "delay", delay_ms: 1_000 }],
    attempts: outcomes(a, s),
    reconciled: true,
  },
  "500 after it was accepted": {
    faults: [{ kind: "status_after_accept", status: 500 }],
    attempts: outcomes(a, s),
    reconciled: true,
  },
  "500 before it was accepted": {
    faults: [{ kind: "status", status: 500 }],
    attempts: outcomes(a, s),
  },
  "500 that says when to come back": {
    faults: [{ kind: "status", status: 500, headers: comeBackIn2s }],
    attempts: outcomes(a, s),
    retryAfter: 2,
  },
  "429 twice, each saying when to come back": {
    faults: [{ kind: "status", status: 429, headers: comeBackIn2s, times: 2 }],
    attempts: outcomes(r, r, s),
    retryAfter: 2,
  },
  "garbage with 201": {
    faults: [{ kind: "garbage", status: 201 }],
    attempts: outcomes(a, s),
    reconciled: true,
  },
  "garbage with 502": {
    faults: [{ kind: "garbage", status: 502 }],
    attempts: outcomes(a, s),
  },
  "a connection reset after it was accepted": {
    faults: [{ kind: "reset_after_accept" }],
    attempts: outcomes(a, s),
    reconciled: true,
  },
  // Of a text, the second request is the lookup.
  "503 three times": {
    faults: [{ kind: "status", status: 503, times: 3 }],
    attempts: outcomes(a, a, a, s),
  },
  "silence, and a lookup that answers garbage": {
    faults: [{ kind: "timeout_after_accept" }, { kind: "garbage", status: 200 }],
    attempts: outcomes(a, a, s),
    reconciled: true,
  },
  "silence, and two lookups that fail": {
    faults: [{ kind: "timeout_after_accept" }, { kind: "status", status: 500, times: 2 }],
    attempts: outcomes(a, a, a, s),
    reconciled: true,
  },
  "a reset, and a lookup that answers garbage": {
    faults: [{ kind: "reset_after_accept" }, { kind: "garbage", status: 200 }],
    attempts: outcomes(a, a, s),
    reconciled: true,
  },
};

let running: FaultStack;
const leads = newLeads(Object.keys(troubles).length);
const cases = Object.entries(troubles).map(([name, trouble], index) => ({
  name,
  ...trouble,
  lead: leads[index] as Lead,
}));

/** Every request about this lead, in order, lookups included. */
const about = ({ name, phone }: Lead, standIn: { requests: () => Received[] }) =>
  standIn.requests().filter((request) => {
    const words = decodeURIComponent(request.path + request.body);
    return words.includes(name) || words.includes(phone);
  });

async function textOf({ name }: Lead) {
  const [step] = await running.sql<
    { outcomes: string; reconciled: boolean; status: string; error: { code: string } | null }[]
  >`
    select (select string_agg(a.value ->> 'outcome', ' ' order by a.ordinality)
        from jsonb_array_elements(s.attempts) with ordinality as a) as outcomes,
      coalesce((s.result_data ->> 'reconciled')::boolean, false) as reconciled, s.status, s.error
    from ridgeline.workflow_step_executions as s
    where s.step_type = 'send_sms' and s.input ->> 'body' like ${`%${name}`}`;
  return step;
}

describe("providers that fail in every way they can", () => {
  beforeAll(async () => {
    running = await startFaultStack({ tenants: 1 });
    // Time enough for an answer that is late to be listed before it is looked up.
    await set(running.sql, "reconcile_delay", "600 milliseconds");
    const { twilio, resend, receiver, sql, tenants } = running;
    for (const { lead, faults } of cases) {
      for (const fault of faults) {
        twilio.fault({ ...fault, match: { to: lead.phone } });
        resend.fault({ ...fault, match: { to: lead.email } });
        receiver.fault({ ...fault, match: { path: lead.name } });
      }
    }
    await insertLeads(sql, tenants[0] as string, leads);
    await allEnded(sql);
  });
  afterAll(() => running?.stop());

  it("still accept each message once", async () => {
    const account = await settle(running, leads);
    expect(account.reconciled).toBe(cases.filter(({ reconciled }) => reconciled).length);
    report("failing providers", { ...account });
  });

  it.each(cases)("$name: $attempts", async ({ lead, attempts, reconciled = false }) => {
    expect(await textOf(lead)).toMatchObject({ outcomes: attempts, reconciled });
    const posted = about(lead, running.twilio).filter(({ method }) => method === "POST");
    expect(posted.filter(({ accepted }) => accepted)).toHaveLength(1);
  });

  const patient = cases.filter(({ retryAfter }) => retryAfter);
  it.each(patient)("$name: no attempt comes earlier", ({ lead, retryAfter = 0 }) => {
    for (const standIn of [running.twilio, running.resend, running.receiver]) {
      const requests = about(lead, standIn);
      expect(requests.length).toBeGreaterThan(1);
      for (const [index, { at, headers: _, status }] of requests.entries()) {
        const next = requests[index + 1];
        if (!next || (status ?? 0) < 400) continue;
        expect(Date.parse(next.at) - Date.parse(at)).toBeGreaterThanOrEqual(1_000 * retryAfter);
      }
    }
  });

  it("get an email again under the key it had, unless they refused it for certain", () => {
    for (const { lead, attempts } of cases) {
      const keys = about(lead, running.resend).map(({ headers }) => headers["idempotency-key"]);
      const refusals = attempts.split(" ").filter((outcome) => outcome === "retry").length;
      expect(new Set(keys).size).toBe(1 + refusals);
      expect(new Set(keys.map((key) => key?.slice(0, 36))).size).toBe(1);
      expect(keys[0]).toMatch(/^[0-9a-f-]{36}$/);
    }
  });

  it("get a webhook again under the id it had", () => {
    for (const { lead } of cases) {
      const ids = about(lead, running.receiver).map(({ headers }) => headers["webhook-id"]);
      expect(new Set(ids).size).toBe(1);
    }
  });
});

describe("a provider that stays down", () => {
  beforeAll(async () => {
    running = await startFaultStack({ tenants: 1 });
    await set(running.sql, "max_attempts", "3");
    await running.sql`update ridgeline.workflows set is_active = false`;
    await addWorkflow(running.sql, running.tenants[0] as string, [
      { step_type: "send_sms", step_config: { body: "Hi {{trigger.contact.first_name}}" } },
    ]);
  });
  afterAll(() => running?.stop());

  async function fail(faults: Fault[]): Promise<Lead> {
    const [lead] = newLeads(1) as [Lead];
    running.twilio.fault(...faults.map((fault) => ({ ...fault, match: { to: lead.phone } })));
    await insertLeads(running.sql, running.tenants[0] as string, [lead]);
    await allEnded(running.sql);
    expect(await textOf(lead)).toMatchObject({
      status: "failed",
      error: { code: "attempts_exhausted" },
    });
    return lead;
  }

  async function redrive(): Promise<void> {
    const [execution] = await running.sql<[{ id: string }]>`
      select id from ridgeline.workflow_executions where status = 'failed'`;
    const { error } = await running.service().schema("ridgeline").rpc("retry_execution", {
      execution_id: execution.id,
    });
    expect(error).toBeNull();
    await allEnded(running.sql);
  }

  const accepted = (lead: Lead) =>
    running.twilio.messages().filter(({ to }) => to === lead.phone).length;

  it("fails the step after the last attempt, and retry_execution sends it", async () => {
    const lead = await fail([{ kind: "status", status: 503, times: 3 }]);
    expect(await textOf(lead)).toMatchObject({ outcomes: outcomes(a, a, a) });
    expect(accepted(lead)).toBe(0);
    await redrive();
    expect(await textOf(lead)).toMatchObject({ status: "completed", reconciled: false });
    expect(accepted(lead)).toBe(1);
  });

  const silent: Fault[] = [
    { kind: "timeout_after_accept" },
    { kind: "status", status: 500, times: 2 },
  ];

  it("had accepted the message: retry_execution finds it and sends none", async () => {
    const lead = await fail(silent);
    await redrive();
    expect(await textOf(lead)).toMatchObject({ status: "completed", reconciled: true });
    expect(accepted(lead)).toBe(1);
  });

  it("had accepted the message: found, whatever the test clock says", async () => {
    await running.sql`select automation.advance_clock('3 days')`;
    const lead = await fail(silent);
    await redrive();
    expect(accepted(lead)).toBe(1);
    expect(await textOf(lead)).toMatchObject({ status: "completed", reconciled: true });
  });

  it("refuses for good: the step fails at once, and an opt-out is remembered", async () => {
    const [lead] = newLeads(1) as [Lead];
    running.twilio.fault({ kind: "status", status: 400, code: 21610, match: { to: lead.phone } });
    const insert = () => insertLeads(running.sql, running.tenants[0] as string, [lead]);
    await insert();
    await allEnded(running.sql);
    expect(await textOf(lead)).toMatchObject({
      outcomes: "failed",
      error: { code: "twilio_21610" },
    });
    const before = about(lead, running.twilio).length;
    await insert();
    await allEnded(running.sql);
    const [step] = await running.sql`
      select status, error ->> 'code' as code from ridgeline.workflow_step_executions order by id desc`;
    expect(step).toEqual({ status: "skipped", code: "suppressed" });
    expect(about(lead, running.twilio)).toHaveLength(before);
  });
});

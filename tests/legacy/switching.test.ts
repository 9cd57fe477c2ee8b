// Switching between the engines, at the moments that are not simple: a step that is running, a call too many, a change of mind.
import type { Sql } from "postgres";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { connect } from "../../scripts/lib/scratch.ts";
import {
  CORY,
  type Host,
  LENA,
  MANUEL,
  OLIVIA,
  send,
  speakAs,
  SUMMIT,
  useCopies,
} from "../support/host.ts";
import { OldEngine } from "./old-engine.ts";
import { type Given, Side } from "./side.ts";

const copyHost = useCopies();
let host: Host & { sql: Sql } | undefined;
let sql: Sql;
let side: Side;
let old: OldEngine;

const toLead = (
  body: string,
  delay = 0,
): Given => ["send_sms", { to: "{{trigger.contact.phone}}", body }, delay];

beforeEach(async () => {
  await host?.drop();
  host = await copyHost();
  sql = host.sql;
  side = new Side(sql);
  old = new OldEngine(sql, SUMMIT);
  await sql`delete from public.workflows`;
  await sql`select automation.set_clock('2026-11-02 15:00:00+00')`;
  await speakAs(sql, SUMMIT, "+15125550100");
  await setEngine("shadow");
});
afterAll(() => host?.drop());

interface Report {
  was: string;
  taken_over: { server: { outcomes: Record<string, number>; more: boolean } };
  duplicates_stopped?: number;
  given_back: number;
  going_on_here: number;
  unclaimed: { record_id: string }[];
  stop_calling: { call: string }[];
}
async function setEngine(engine: string): Promise<Report> {
  const [row] = await sql<
    { report: Report }[]
  >`select ridgeline.set_engine(${engine}, ${SUMMIT}) as report`;
  return row!.report;
}

const ours: string[] = [];
async function work(): Promise<string[]> {
  ours.length = 0;
  for (let round = 0; round < 4; round++) {
    await sql`select automation.tick()`;
    ours.push(...(await send(sql)).map(({ payload }) => payload.body!));
  }
  return ours;
}
const theirs = () => old.texts.map(({ body }) => body);
async function both(interval: string): Promise<void> {
  await side.later(interval);
  await old.cron();
}

describe("switching on", () => {
  it("leaves a step that is running to whoever runs it, and takes the run over when that has ended", async () => {
    await side.adopt("Two", "contact_created", [
      toLead("One"),
      toLead("Two", 60),
      toLead("Three", 60),
    ]);
    await side.lead(old, "Ann");
    await work();
    await side.later("61 minutes");
    // Its cron has taken the second step and not come back yet.
    await sql`update public.workflow_step_executions set status = 'running', started_at = automation.now() where status = 'pending'`;
    expect((await setEngine("on")).taken_over.server.outcomes).toEqual({
      "one of its steps is running there": 1,
    });
    await sql`update public.workflow_step_executions set status = 'pending' where status = 'running'`;
    await old.cron();
    expect(theirs()).toEqual(["One", "Two"]);
    expect((await setEngine("on")).taken_over.server.outcomes).toEqual({ taken: 1 });
    await both("61 minutes");
    expect(await work()).toEqual(["Three"]);
    expect(theirs()).toEqual(["One", "Two"]);
  });

  it("waits for no cron that has its rows locked, and is waited for by none", async () => {
    await side.adopt("Two", "contact_created", [toLead("One"), toLead("Two", 60)]);
    await side.lead(old, "Ann");
    await work();
    await side.later("61 minutes");
    // A cron and the switch at once: each row is one's or the other's.
    const other = connect(host!.url);
    const cron = new OldEngine(other, SUMMIT);
    const [report] = await Promise.all([setEngine("on"), cron.cron()]);
    await other.end();
    const again = await setEngine("on");
    const taken = (report.taken_over.server.outcomes.taken ?? 0) +
      (again.taken_over.server.outcomes.taken ?? 0);
    expect([...cron.texts.map(({ body }) => body), ...await work()]).toEqual(["Two"]);
    expect(taken + cron.texts.length).toBe(1);
  });

  it("ends there what was begun there although it is on, and says that somebody still calls", async () => {
    await side.adopt("Two", "contact_created", [toLead("One"), toLead("Two", 60)]);
    await setEngine("on");
    await side.later("1 minute");
    await side.lead(old, "Ann");
    expect(await work()).toEqual(["One"]);
    // Heard twice: nobody could prevent the first, but it is told, and the second is.
    expect(theirs()).toEqual(["One"]);
    const [row] = await sql<
      { report: { begun_there_since: number; stop_calling: { call: string }[] } }[]
    >`
      select ridgeline.engine_report(${SUMMIT}) as report`;
    expect(row!.report.begun_there_since).toBe(1);
    expect(row!.report.stop_calling[0]).toMatchObject({
      call: "triggerWorkflows('contact_created')",
    });
    expect(await setEngine("on")).toMatchObject({
      duplicates_stopped: 1,
      taken_over: { server: { outcomes: {} } },
    });
    await both("61 minutes");
    expect(await work()).toEqual(["Two"]);
    expect(theirs()).toEqual(["One"]);
  });

  it("takes over what only a call begins, once, whenever it began", async () => {
    await side.adopt("Missed", "call_missed", [["send_sms", { to: "+15125550101", body: "One" }], [
      "send_sms",
      { to: "+15125550101", body: "Two" },
      60,
    ]]);
    await setEngine("on");
    await side.later("1 minute");
    await old.trigger("call_missed", { contact_id: null, call_sid: "CA1" });
    expect(await work()).toEqual([]);
    expect(await setEngine("on")).toMatchObject({
      duplicates_stopped: 0,
      taken_over: { server: { outcomes: { taken: 1 } } },
    });
    await both("61 minutes");
    expect(await work()).toEqual(["Two"]);
    expect(theirs()).toEqual(["One"]);
  });

  it("names the shadows that the old engine had not begun yet", async () => {
    await side.adopt("One", "contact_created", [toLead("One", 60)]);
    await side.lead(old, "Ann");
    const late = await side.lead(undefined, "Bob");
    expect((await setEngine("on")).unclaimed).toMatchObject([{ record_id: late }]);
  });

  it("is for owners, admins and the service", async () => {
    const as = (user: string) =>
      sql.begin(async (tx) => {
        await tx`select set_config('request.jwt.claims', ${
          JSON.stringify({ sub: user, role: "authenticated" })
        }, true), set_config('role', 'authenticated', true)`;
        const [row] = await tx<
          { report: Report }[]
        >`select ridgeline.set_engine('shadow') as report`;
        return row!.report.was;
      });
    await expect(as(CORY)).rejects.toThrow("for owners and admins");
    // Of another office: hers alone is hers.
    expect(await as(LENA)).toBe("on");
    expect(await as(MANUEL)).toBe("shadow");
    expect(await as(OLIVIA)).toBe("shadow");
    const switches =
      await sql`select engine, was, by_user from automation.engine_switches where by_user = ${OLIVIA}`;
    expect(switches).toEqual([{ engine: "shadow", was: "shadow", by_user: OLIVIA }]);
  });
});

describe("switching back", () => {
  it("gives back what stands where it stood; what has gone on here ends here", async () => {
    await side.adopt("Three", "contact_created", [
      toLead("One"),
      toLead("Two", 60),
      toLead("Three", 24 * 60),
    ]);
    await side.lead(old, "Ann");
    await both("61 minutes");
    await work();
    await side.lead(old, "Bob");
    // Ann has heard One and Two, Bob One.
    expect(theirs()).toEqual(["One", "Two", "One"]);
    expect((await setEngine("on")).taken_over.server.outcomes).toEqual({ taken: 2 });
    await both("61 minutes");
    expect(await work()).toEqual(["Two"]);
    const back = await setEngine("off");
    expect([back.given_back, back.going_on_here]).toEqual([1, 1]);
    await both("25 hours");
    expect(await work()).toEqual(["Three"]);
    expect(theirs()).toEqual(["One", "Two", "One", "Three"]);
    const [open] = await sql`
      select (select count(*)::int from public.workflow_executions where status = 'running') as there,
        (select count(*)::int from ridgeline.workflow_executions where finished_at is null) as here`;
    expect(open).toEqual({ there: 0, here: 0 });
  });

  it("there and back and there again moves nothing twice", async () => {
    await side.adopt("Two", "contact_created", [toLead("One"), toLead("Two", 60)]);
    await side.lead(old, "Ann");
    for (let n = 0; n < 3; n++) {
      expect((await setEngine("on")).taken_over.server.outcomes).toEqual({ taken: 1 });
      expect((await setEngine("shadow")).given_back).toBe(1);
    }
    await both("61 minutes");
    expect(await work()).toEqual([]);
    expect(theirs()).toEqual(["One", "Two"]);
  });
});

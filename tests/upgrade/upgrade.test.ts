// A contractor's database is upgraded in the middle of its work: runs wait, are leased, have timers, schedules and
// a bulk enrolment under way. Nothing is lost, nothing happens twice, and functions of either release go on.
import { createAccountFinder } from "../../functions/_shared/channels/accounts.ts";
import { createSmsRecorder } from "../../functions/_shared/channels/sms/record.ts";
import type { SmsEvent } from "../../functions/_shared/channels/sms/receiver.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import type {
  ClaimedStep,
  FinishedRow,
  FinishedStep,
  Wanted,
} from "../../functions/_shared/engine/queue.ts";
import { runScript, settleForDevelopment } from "../../scripts/lib/schema.ts";
import { type Functions, now, Office, task, text } from "./office.ts";
import { createPushing } from "../support/push.ts";
import { oldFunctions, previousScripts, shippedScripts, upgrade, upgradeOf } from "./releases.ts";

/** What the queue of the release before was called by. */
interface OldQueue {
  claim(worker: string, wanted: Wanted, leaseSeconds: number): Promise<ClaimedStep[]>;
  finish(results: readonly FinishedStep[]): Promise<FinishedRow[]>;
}
const oldQueue = (office: Office) => office.queue(old) as unknown as OldQueue;

let old: Functions;
beforeAll(async () => {
  old = await oldFunctions<Functions>();
});

const offices: { drop: () => Promise<void> }[] = [];
async function openOffice() {
  const office = await Office.open(previousScripts);
  offices.push(office);
  return office;
}
afterAll(() => Promise.all(offices.map((office) => office.drop())));

/** As docs/upgrading.md says: the new files are copied into the project, and pushed. */
async function push({ url }: Office): Promise<void> {
  const project = createPushing(url);
  try {
    project.add(...upgrade.before, ...upgrade.after);
    const { status, said } = await project.push();
    expect(status, said).toBe(0);
    const applied = [...said.matchAll(/Applying migration (\S+\.sql)/g)].map(([, file]) => file);
    expect(applied).toEqual(upgrade.after);
  } finally {
    project.remove();
  }
}

/** What an earlier push wrote down of the migrations that it applied. */
const recorded = `
  create schema supabase_migrations;
  create table supabase_migrations.schema_migrations (version text primary key, statements text[], name text);
  insert into supabase_migrations.schema_migrations (version, name)
  values ${
  upgrade.before.map((file) => `('${file.slice(0, 14)}', '${file.slice(15, -4)}')`).join(", ")
}`;

it("runs under way are finished by the release after", { timeout: 240_000 }, async () => {
  const office = await openOffice();
  const { sql, tenant } = office;
  // One that waits three days, one that waits for a reply, one whose text is with a dispatcher.
  await office.workflow("contact_created", [task("Call"), task("Ask for a review", 3 * 1440)], {
    type: "lead",
  });
  await office.workflow("contact_created", [
    text,
    { type: "wait", config: { event: "sms_received", timeout: "1 day" } },
    task("No answer"),
  ]);
  // Half a day away, so that however long this takes the clock passes it once a day.
  const [{ hour }] = await sql<[{ hour: number }]>`
    select extract(hour from automation.now() at time zone 'America/New_York')::int as hour`;
  await office.workflow("scheduled", [task("Monday meeting")], {
    cron: `0 ${(hour + 12) % 24} * * *`,
  });
  await office.workflow("time_elapsed", [task("Anniversary")], {
    entity: "contact",
    field: "created_at",
    offset: "5 days",
  });
  await office.workflow("time_elapsed", [task("How is the roof?")], {
    entity: "project",
    field: "created_at",
    offset: "5 days",
  });
  const bulk = await office.workflow("manual", [task("Newsletter")]);
  await office.lead("Maria");
  await office.lead("Bob");
  await sql`select automation.tick()`;
  const leased = await oldQueue(office).claim("old", { sms: { most: 10, but: [] } }, 60);
  expect(leased.length).toBe(2);
  await sql`
    select ridgeline.enroll_records(${bulk}, null, '[]', 'contact', 1, '{}', ${tenant})`;
  expect(await office.tasks()).toEqual({ Call: 2 });

  await sql.unsafe(recorded).simple();
  await push(office);

  // The dispatcher that was in the middle of its sends reports to the new database.
  const reported = await oldQueue(office).finish(
    leased.map(({ tenant_id, step_id, attempt_token }) => ({
      tenant_id,
      step_id,
      attempt_token,
      outcome: "succeeded",
      result: { provider_id: `SM${step_id}` },
    })),
  );
  expect(reported.map(({ accepted }) => accepted)).toEqual([true, true]);
  for (let day = 0; day < 6; day++) {
    await office.later("1 day");
    await office.dispatch(now);
  }
  const tasks = await office.tasks();
  expect(tasks).toEqual({
    Call: 2,
    "Ask for a review": 2,
    "No answer": 2,
    "Monday meeting": 6,
    Anniversary: 2,
    Newsletter: 2,
  });
  expect(office.sends).toEqual([]);
  expect(Object.keys(await office.statuses())).toEqual(["completed"]);
  // And what is written from now on fires as before.
  const zoe = await office.lead("Zoe");
  await sql`insert into public.projects (tenant_id, contact_id, name) values (${tenant}, ${zoe}, 'Roof')`;
  expect(
    await sql`select w.trigger_config ->> 'entity' as entity, count(*)::int as n
      from ridgeline.workflow_timers as t join ridgeline.workflows as w on w.id = t.workflow_id group by 1 order by 1`,
  ).toEqual([{ entity: "contact", n: 1 }, { entity: "project", n: 1 }]);
  await office.dispatch(now);
  expect((await office.tasks()).Call).toBe(3);
  expect(await sql`select held from ridgeline.scheduled_steps where held is not null`).toEqual([]);
  expect(office.sends.length).toBe(1);
});

it.each([
  ["functions of the release before on the new database", true],
  ["new functions on the database of the release before", false],
])("%s work", { timeout: 240_000 }, async (_name, isNewDatabase) => {
  const office = await openOffice();
  if (isNewDatabase) {
    for (const script of shippedScripts) await runScript(office.sql, script);
    // An office that begins after the upgrade is asked what marketing needs; this one has said.
    await settleForDevelopment(office.sql);
  }
  const functions = isNewDatabase ? old : now;
  const flow = await office.workflow("contact_created", [task("Call"), text, task("Sent")]);
  const maria = await office.lead("Maria");
  await office.dispatch(functions);
  expect(await office.tasks()).toEqual({ Call: 1, Sent: 1 });
  expect(office.sends.length).toBe(1);
  const executed = await office.execute(functions, flow, maria);
  expect([executed.status, await executed.text()]).toEqual([
    200,
    expect.stringContaining("execution"),
  ]);
  await office.dispatch(functions);
  expect(await office.tasks()).toEqual({ Call: 2, Sent: 2 });
  expect(office.sends.length).toBe(2);
  expect(await office.statuses()).toEqual({ completed: 2 });
  await hearsTexts(office, isNewDatabase);
});

/** What comes in, as functions of API 1 told it, or as they do now. */
async function hearsTexts({ sql, tenant }: Office, isOld: boolean): Promise<void> {
  const [us, maria] = ["+15125550199", "+14155550142"];
  const account = JSON.stringify({ account_sid: "AC1", auth_token: "the token of Apex" });
  await sql`select ridgeline.set_secret('twilio', ${account}, ${tenant})`;
  await sql`
    insert into ridgeline.senders (tenant_id, channel, address, credentials)
    values (${tenant}, 'sms', ${us}, 'twilio')`;
  const [found] = isOld
    ? (await sql`select tenant_id as "tenantId" from automation.twilio_account(${us}, '')`)
    : await createAccountFinder(sql, "sms", "twilio", () => {})(
      { address: us, service: "" },
      String,
    );
  expect(found?.tenantId).toBe(tenant);
  const tell = async (event: SmsEvent): Promise<string> => {
    if (!isOld) return await createSmsRecorder(sql)("twilio", event);
    const called = event.kind === "sms" ? "receive_sms" : "record_message_status";
    const [row] = await sql.unsafe(`select automation.${called}($1::jsonb) as result`, [
      { ...event.event, error_class: undefined } as never,
    ]);
    return row!.result;
  };
  const [sent] = await sql`
    select provider_id from ridgeline.messages where tenant_id = ${tenant} and direction = 'outbound' limit 1`;
  expect(
    await tell({
      kind: "message_status",
      event: {
        message_sid: sent!.provider_id,
        status: "undelivered",
        error_code: "30006",
        error_class: "landline",
      },
    }),
  ).toBe("updated");
  const suppressed = () =>
    sql`select address, reason from ridgeline.suppressions where tenant_id = ${tenant}`;
  expect(await suppressed()).toEqual([{ address: maria, reason: "landline" }]);
  const stop: SmsEvent = {
    kind: "sms",
    event: { message_sid: "SM00000000", channel: "sms", from: maria, to: us, body: "STOP" },
  };
  expect([await tell(stop), await tell(stop)]).toEqual(["stored", "duplicate"]);
  expect(await suppressed()).toEqual([{ address: maria, reason: "opt_out" }]);
}

it("where nothing has come after the last release, that is what is upgraded to", () => {
  const releases = { "1.0.0": { a: "", b: "" }, "1.1.0": { c: "" } };
  expect(upgradeOf(releases, ["a", "b", "c", "e", "d"])).toEqual({
    from: "1.1.0",
    before: ["a", "b", "c"],
    after: ["d", "e"],
  });
  expect(upgradeOf(releases, ["a", "b", "c"])).toEqual({
    from: "1.0.0",
    before: ["a", "b"],
    after: ["c"],
  });
  expect(() => upgradeOf({ "1.0.0": { a: "" } }, ["a"])).toThrow("no release to upgrade from");
});

// A contractor's database is upgraded in the middle of its work: runs wait, are leased, have timers, schedules and
// a bulk enrolment under way. Nothing is lost, nothing happens twice, and functions of either release go on.
import { randomUUID } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { createAccountFinder } from "../../functions/_shared/channels/accounts.ts";
import { createSmsRecorder } from "../../functions/_shared/channels/sms/record.ts";
import type { SmsEvent } from "../../functions/_shared/channels/sms/receiver.ts";
import type { Sql } from "postgres";
import { afterAll, beforeAll, expect, it } from "vitest";
import type {
  ClaimedStep,
  FinishedRow,
  FinishedStep,
  Wanted,
} from "../../functions/_shared/engine/queue.ts";
import { safeChoices } from "../../functions/workflows/legacy/translate/definition.ts";
import { importLegacy } from "../../scripts/legacy/import.ts";
import { draftScript } from "../../scripts/lib/draft.ts";
import { runScript, settleForDevelopment } from "../../scripts/lib/schema.ts";
import { using } from "../../scripts/lib/scratch.ts";
import { type Functions, now, Office, task, text } from "./office.ts";
import { createPushing, type Pushing } from "../support/push.ts";
import { waitFor } from "../support/standins.ts";
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

/**
 * As docs/upgrading.md says: the new files are copied into the project, and pushed; again, for the laptop is shut in the
 * middle of it.
 */
async function push({ sql, url }: Office): Promise<void> {
  const project = createPushing(url);
  try {
    project.add(...upgrade.before, ...upgrade.after);
    await isInterrupted(project, sql);
    const { status, said } = await project.push();
    expect(status, said).toBe(0);
    const applied = [...said.matchAll(/Applying migration (\S+\.sql)/g)].map(([, file]) => file);
    expect(applied).toEqual(upgrade.after);
  } finally {
    project.remove();
  }
}

/** What is new is there for that transaction alone, which waits for the engine's tables: then nobody is left to end it. */
async function isInterrupted(project: Pushing, sql: Sql): Promise<void> {
  const waiting = () =>
    sql<{ pid: number }[]>`
      select a.pid from pg_stat_activity as a
      where a.datname = current_database() and a.wait_event_type = 'Lock' and a.pid <> pg_backend_pid()`;
  const said = async () =>
    (await sql`
      select automation.version() as version, count(*)::int as objects,
        (select array_agg(m.version order by m.version) from supabase_migrations.schema_migrations as m) as pushed
      from pg_depend as d where d.refclassid = 'pg_namespace'::regclass
        and d.refobjid in ('automation'::regnamespace, 'ridgeline'::regnamespace)`)[0];
  const before = await said();
  await sql.begin(async (reader) => {
    await reader`select from ridgeline.messages`;
    const { status } = await project.push(() =>
      waitFor("the lock", async () => (await waiting()).length > 0, { timeout: 60_000 })
    );
    expect(status).toBe(null);
    expect(await said()).toEqual(before);
  });
}

/** What every release does, whatever is in it: it takes the tables for itself, and makes the captures anew. */
const nextRelease = draftScript({ beside: [], statements: [], afterwards: [], byHand: [] });

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
  // Too many of these had begun by themselves: its runs wait until somebody has looked.
  const flood = await office.workflow("manual", [task("Measure")]);
  await sql`
    insert into ridgeline.workflow_holds (tenant_id, workflow_id, reason, held_at)
    values (${tenant}, ${flood}, '{"code": "workflow_held", "message": "too many"}', now())`;
  const maria = await office.lead("Maria");
  await sql`select ridgeline.execute_workflow(${flood}, ${sql.json({ contact_id: maria })})`;
  await office.lead("Bob");
  await sql`select automation.tick()`;
  const leased = await oldQueue(office).claim("old", { sms: { most: 10, but: [] } }, 60);
  expect(leased.length).toBe(2);
  await sql`
    select ridgeline.enroll_records(${bulk}, null, '[]', 'contact', 1, '{}', ${tenant})`;
  expect(await office.tasks()).toEqual({ Call: 2 });
  expect(await sql`select id from ridgeline.scheduled_steps where run_at = 'infinity'`)
    .toHaveLength(1);

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
  const release = async () =>
    (await sql`select ridgeline.release_workflow(${flood}) as released`)[0]!.released;
  for (let day = 0; day < 6; day++) {
    await office.later("1 day");
    await office.dispatch(now);
    if (day === 3) {
      expect([await office.tasks(), await release()]).toEqual([
        expect.not.objectContaining({ Measure: 1 }),
        1,
      ]);
    }
  }
  const tasks = await office.tasks();
  expect(tasks).toEqual({
    Measure: 1,
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
  if (isNewDatabase) {
    await office.sql`update ridgeline.workflows set is_active = false where id = ${flow}`;
    await goesOnWithWhatIsNew(office, maria);
  }
  await hearsTexts(office, isNewDatabase);
});

/**
 * A shadow, a text that is held, a contact that is being merged and a run that was taken over, while the functions are
 * the old ones, and one more release comes.
 */
async function goesOnWithWhatIsNew(office: Office, maria: string): Promise<void> {
  const { sql, tenant, sends } = office;
  await sql`alter table public.contacts add column merged_into uuid`;
  await sql`select automation.attach('public.contacts', 'contact', '{"merged_into": "merged_into"}')`;
  const shadow = await office.workflow("manual", [text, task("Shadow")]);
  await sql`select ridgeline.set_workflow_mode(${shadow}, 'shadow', ${tenant})`;
  const chase = await office.workflow("manual", [text, task("Chased")]);
  const later = await office.workflow("manual", [task("Later", 1440)]);
  const [ann, zoe] = [await office.lead("Ann"), await office.lead("Zoe")];
  await takeOver(office, maria);
  const start = async (workflow: string, contact: string) =>
    expect((await office.execute(old, workflow, contact)).status).toBe(200);
  await start(shadow, maria);
  await start(chase, ann);
  await start(later, zoe);
  await sql.begin(async (somebody) => {
    await somebody`select from ridgeline.workflow_executions where workflow_id = ${later} for update`;
    await sql`update public.contacts set merged_into = ${zoe} where id = ${ann}`;
    await office.dispatch(old);
    await sql`select ridgeline.pause_sending('they look wrong', ${tenant})`;
    await start(chase, maria);
    await office.dispatch(old);
    // One waits for the merge, one to be let go on.
    const due = await sql`
      select coalesce(held ->> 'code', '') as held from ridgeline.scheduled_steps
      where lane = 'sms' order by held is null`;
    expect(due).toEqual([{ held: "sending_paused" }, { held: "" }]);
  });
  await sql.begin(async (reader) => {
    await reader`select from ridgeline.messages`;
    const impatient = nextRelease.replace("75 seconds", "1 second");
    await expect(runScript(sql, impatient)).rejects.toThrow("too long: nothing is changed");
  });
  await runScript(sql, nextRelease);
  expect(sends.length).toBe(2);
  expect(
    await sql`select status, error ->> 'code' as code from ridgeline.workflow_step_executions
    where execution_id = (select id from ridgeline.workflow_executions where workflow_id = ${shadow})`,
  )
    .toEqual(Array(2).fill({ status: "skipped", code: "shadow" }));
  await sql`select ridgeline.resume_sending(${tenant})`;
  await waitFor("the merge, and both texts", async () => {
    await office.dispatch(old);
    return sends.length === 4;
  });
  // What waits for a day here waits for it, and so does what has waited for it there.
  expect(await office.tasks()).toEqual({ Call: 2, Sent: 2, Chased: 2 });
  await office.later("1 day");
  await office.dispatch(now);
  expect(await office.statuses()).toEqual({ completed: 7 });
  expect(await office.tasks()).toEqual({ Call: 2, Sent: 2, Chased: 2, Later: 1, "Old call": 1 });
  expect(sends.length).toBe(4);
}

/** A run of an older engine that goes on here, a day from now. */
async function takeOver({ sql, url, tenant }: Office, contact: string): Promise<void> {
  const tables = fs.readFileSync(path.join(import.meta.dirname, "../support/host-crm.sql"), "utf8")
    .match(/^create table public\.workflow\w* \([^]*?^\);$/gm)!;
  await sql.unsafe(tables.join("\n"));
  const [flow, step, run] = [randomUUID(), randomUUID(), randomUUID()];
  await sql`
    insert into public.workflows (id, tenant_id, name, trigger_type)
    values (${flow}, ${tenant}, 'Old', 'contact_created')`;
  await sql`
    insert into public.workflow_steps (id, workflow_id, step_order, step_type, step_config)
    values (${step}, ${flow}, 1, 'create_task', ${sql.json({ title: "Old call" })})`;
  await sql`
    insert into public.workflow_executions (id, workflow_id, tenant_id, trigger_data, status)
    values (${run}, ${flow}, ${tenant}, ${sql.json({ contact_id: contact })}, 'running')`;
  await sql`
    insert into public.workflow_step_executions (execution_id, step_id, status, scheduled_at)
    values (${run}, ${step}, 'pending', now() + interval '1 day')`;
  const order = { apply: true, activate: false, overwrite: false, history: true };
  await using(
    url,
    (importer) =>
      importLegacy(importer, {
        ...order,
        from: ["server"],
        tenants: [tenant],
        choices: safeChoices,
      }),
  );
  await sql`update ridgeline.workflows set is_active = true where name = 'Old'`;
  const [page] = await sql`select automation.take_over_runs(${tenant}) -> 'outcomes' as outcomes`;
  expect(page!.outcomes).toEqual({ taken: 1 });
}

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
  if (!isOld) return;
  await sql`
    insert into ridgeline.email_addresses (tenant_id, address) values (${tenant}, 'office@apex.example')`;
  const call = { call_sid: "CA1", from: maria, to: us, direction: "inbound", status: "no-answer" };
  const email = {
    email_id: "re_1",
    type: "received",
    occurred_at: new Date(),
    from: "Maria <maria@example.com>",
    to: ["office@apex.example"],
    subject: "unsubscribe",
  };
  expect(
    await sql`select automation.record_call(${sql.json(call)}) as call,
      automation.record_email_event('msg_1', ${sql.json(email as never)}) as email,
      automation.form_accepts('form_of_nobody', '') as form`,
  ).toEqual([{ call: "stored", email: "stored", form: false }]);
  expect((await suppressed()).map(({ address }) => address).toSorted())
    .toEqual([maria, "maria@example.com"]);
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

// Runs that take each other's place, reminders whose date moves, contacts that are merged, while somebody else is halfway
// through something.
import type { JSONValue } from "postgres";
import { describe, expect, it } from "vitest";
import { type Step, useSessions } from "./support.ts";

const sessions = useSessions();
const day: Step = { type: "wait", config: { days: 1 } };
const stop: Step = { type: "stop", config: {} };
const once: Step = { type: "create_task", config: { title: "Once" } };

/** An office with one active workflow, and a project of a customer's. */
async function office(
  trigger: string,
  config: Record<string, JSONValue>,
  steps: Step[],
  settings: Record<string, JSONValue> = { reentry: "restart" },
) {
  const { sql } = sessions;
  const { tenantId, workflowId } = await sessions.office(steps, settings);
  await sql`update ridgeline.workflows set trigger_type = ${trigger}, trigger_config = ${
    sql.json(config)
  } where id = ${workflowId}`;
  await sql`select ridgeline.publish_workflow(${workflowId}, tenant_id => ${tenantId})`;
  const [contact] = await sql`
    insert into contacts (tenant_id, first_name, phone) values (${tenantId}, 'Maria', '+15125550100') returning id`;
  const [project] = await sql`
    insert into projects (tenant_id, contact_id, name) values (${tenantId}, ${contact?.id}, 'Roof') returning id`;
  return {
    tenantId,
    workflowId,
    contactId: contact?.id as string,
    projectId: project?.id as string,
  };
}

const fates = async () =>
  (await sessions.sql<{ fate: string }[]>`
    select concat_ws(' ', status, error ->> 'code') as fate from ridgeline.workflow_executions order by seq`)
    .map(({ fate }) => fate);

async function settle() {
  for (let quiet = 0; quiet < 2;) {
    const [ran] = await sessions.sql`select automation.run_database_steps() as steps`;
    quiet = ran?.steps === 0 ? quiet + 1 : 0;
  }
}

describe("a run that begins anew", () => {
  it("leaves one, when two are enrolled that cannot see each other", async () => {
    const { tenantId, workflowId, projectId } = await office(
      "pipeline_stage_changed",
      { to: "sent" },
      [once, day, stop],
    );
    const { sql } = sessions;
    const hand = await sessions.begin();
    await hand`select ridgeline.execute_workflow(${workflowId}, ${
      sql.json({ project_id: projectId })
    }, ${tenantId})`;
    await sql`update projects set pipeline_stage = 'sent' where id = ${projectId}`;
    await hand`commit`;
    await settle();
    expect(await fates()).toEqual(["skipped restarted", "waiting"]);
    expect(await sql`select title from tasks`).toHaveLength(1);
  });

  it("leaves the later one, though the earlier commits after that one has begun", async () => {
    const { tenantId, workflowId, projectId } = await office(
      "pipeline_stage_changed",
      { to: "sent" },
      [once, day, stop],
    );
    const { sql } = sessions;
    const hand = await sessions.begin();
    await hand`select ridgeline.execute_workflow(${workflowId}, ${
      sql.json({ project_id: projectId })
    }, ${tenantId})`;
    await sql`update projects set pipeline_stage = 'sent' where id = ${projectId}`;
    await settle();
    await hand`commit`;
    await settle();
    expect(await fates()).toEqual(["skipped restarted", "waiting"]);
    expect(await sql`select title from tasks`).toHaveLength(1);
  });

  it("ends the one before, though that commits while its signal is read", async () => {
    const { tenantId, workflowId, projectId } = await office(
      "pipeline_stage_changed",
      { to: "sent" },
      [day, once],
    );
    const { sql } = sessions;
    await sql`update projects set pipeline_stage = 'sent' where id = ${projectId}`;
    await settle();
    const hand = await sessions.begin();
    await hand`select ridgeline.execute_workflow(${workflowId}, ${
      sql.json({ project_id: projectId })
    }, ${tenantId})`;
    await sql`update projects set pipeline_stage = 'lead' where id = ${projectId}`;
    await sql`update projects set pipeline_stage = 'sent' where id = ${projectId}`;
    await settle();
    await hand`commit`;
    await settle();
    expect((await fates()).filter((fate) => fate === "waiting")).toHaveLength(1);
    expect((await fates()).at(-1)).toBe("waiting");
    await sql`select automation.advance_clock('25 hours')`;
    await settle();
    expect(await sql`select title from tasks`).toHaveLength(1);
  });

  it("waits until whoever holds the one before lets go of it", async () => {
    const { tenantId, projectId } = await office("pipeline_stage_changed", { to: "sent" }, [
      day,
      stop,
    ]);
    const { sql } = sessions;
    await sql`update projects set pipeline_stage = 'sent' where id = ${projectId}`;
    await settle();
    const worker = await sessions.begin();
    await worker`
      select automation.lock_execution(tenant_id, id) from ridgeline.workflow_executions where tenant_id = ${tenantId}`;
    await sql`update projects set pipeline_stage = 'lead' where id = ${projectId}`;
    await sql`update projects set pipeline_stage = 'sent' where id = ${projectId}`;
    await settle();
    expect(await fates()).toEqual(["waiting", "waiting"]);
    expect(await sql`select role from automation.signals`).toEqual([{ role: "restart" }]);
    await worker`commit`;
    await sql`update automation.signals set next_try_at = '-infinity'`;
    await settle();
    expect(await fates()).toEqual(["cancelled restarted", "waiting"]);
    // One that was acted on is kept while anybody's transaction is open, of another test as well.
    expect(await sql`select role from automation.signals where kept_for is null`).toEqual([]);
  });

  it("is one for two people who send the same estimate again at once", async () => {
    const { projectId } = await office("field_changed", { entity: "project", field: "value" }, [
      once,
      day,
      stop,
    ]);
    const { sql } = sessions;
    const ann = await sessions.begin();
    await ann`update projects set value = 1 where id = ${projectId}`;
    const bob = sql`update projects set value = 2 where id = ${projectId}`.execute();
    await sessions.somebodyWaits();
    await ann`commit`;
    await bob;
    await settle();
    expect(await fates()).toEqual(["cancelled restarted", "waiting"]);
    expect(await sql`select title from tasks`).toHaveLength(1);
  });
});

describe("a reminder", () => {
  it("hears of a date that was moved, uncommitted, while it read the old one", async () => {
    const { tenantId, contactId } = await office("appointment_booked", {}, [
      {
        type: "wait",
        config: {
          until: "{{appointment.starts_at}}",
          offset: "-1 day",
          follow: true,
          if_missing: "wait",
          if_past: "skip",
        },
      },
      once,
    ], {});
    const { sql } = sessions;
    const [appointment] = await sql`
      insert into appointments (tenant_id, contact_id, starts_at)
      values (${tenantId}, ${contactId}, automation.now() + interval '10 days') returning id, starts_at`;
    const ann = await sessions.begin();
    await ann`update appointments set starts_at = starts_at - interval '5 days' where id = ${appointment?.id}`;
    await settle();
    const waiting = async () =>
      (await sql`select run_at from ridgeline.scheduled_steps`).map(({ run_at }) =>
        Math.round((run_at - appointment?.starts_at) / 86_400_000)
      );
    expect(await waiting()).toEqual([-1]);
    await ann`commit`;
    await settle();
    expect(await waiting()).toEqual([-6]);
  });
});

describe("merging two contacts", () => {
  it("waits for whoever works on a run of theirs, and holds up nobody else", async () => {
    const { tenantId, workflowId, contactId } = await office(
      "contact_created",
      {},
      [day, once],
      {},
    );
    const { sql } = sessions;
    const other = await sessions.lead(tenantId);
    const ann = await sessions.lead(tenantId, "+15125550177");
    await settle();
    const worker = await sessions.begin();
    await worker`
      select automation.lock_execution(tenant_id, id) from ridgeline.workflow_executions
      where workflow_id = ${workflowId} and record_id = ${other}`;
    const merging = sql`select ridgeline.merge_contacts(${other}, ${contactId}, ${tenantId})`
      .execute();
    await sessions.somebodyWaits();
    const free = sessions.connect();
    await free`select automation.lock_execution(tenant_id, id) from ridgeline.workflow_executions where record_id = ${ann}`;
    await worker`commit`;
    await merging;
    await sql`delete from contacts where id = ${other}`;
    await sql`select automation.advance_clock('25 hours')`;
    await settle();
    expect(await sql`select contact_id from tasks order by contact_id = ${ann}`).toEqual([
      { contact_id: contactId },
      { contact_id: ann },
    ]);
  });

  it("lets a worker say that the number which gets the revocation is no good", async () => {
    const { tenantId, contactId } = await office("contact_created", {}, [day, once], {});
    const { sql } = sessions;
    const other = await sessions.lead(tenantId, "+15125550177");
    await settle();
    await sql`select ridgeline.record_revocation('sms', '+15125550177', 'by phone', 'all', ${tenantId})`;
    const worker = await sessions.begin();
    await worker`
      select automation.lock_execution(tenant_id, id) from ridgeline.workflow_executions
      where record_id = ${contactId}`;
    const merging =
      sql`select ridgeline.merge_contacts(${other}, ${contactId}, ${tenantId}) as merged`
        .execute();
    await sessions.somebodyWaits();
    await worker`select automation.suppress(${tenantId}, 'sms', '+15125550100', 'landline')`;
    await worker`commit`;
    expect(await merging).toMatchObject([{ merged: { moved_runs: 1, revocations: 1 } }]);
    expect(await sql`select address, reason from ridgeline.suppressions order by address`).toEqual([
      { address: "+15125550100", reason: "opt_out" },
      { address: "+15125550177", reason: "manual" },
    ]);
  });

  it("takes along a run that was enrolled meanwhile, unseen", async () => {
    const { tenantId, contactId } = await office("stage_changed", { to: "hot" }, [day, once], {});
    const { sql } = sessions;
    const other = await sessions.lead(tenantId);
    const writer = await sessions.begin();
    await writer`
      insert into projects (tenant_id, contact_id, name) values (${tenantId}, ${other}, 'Porch')`;
    await writer`update contacts set stage = 'hot' where id = ${other}`;
    await sql`select ridgeline.merge_contacts(${other}, ${contactId}, ${tenantId})`;
    await writer`commit`;
    await sql`update projects set contact_id = ${contactId} where contact_id = ${other}`;
    await sql`select ridgeline.merge_contacts(${other}, ${contactId}, ${tenantId})`;
    await sql`delete from contacts where id = ${other}`;
    await settle();
    await sql`select automation.advance_clock('25 hours')`;
    await settle();
    expect(await sql`select contact_id from tasks`).toEqual([{ contact_id: contactId }]);
  });

  it("is done once by two who merge the same pair both ways", async () => {
    const { tenantId, contactId } = await office("contact_created", {}, [day, once], {});
    const { sql } = sessions;
    const other = await sessions.lead(tenantId);
    await settle();
    const ann = await sessions.begin();
    await ann`select ridgeline.merge_contacts(${other}, ${contactId}, ${tenantId})`;
    const bob = sql`select ridgeline.merge_contacts(${contactId}, ${other}, ${tenantId})`.execute();
    await sessions.somebodyWaits();
    await ann`commit`;
    await bob;
    await settle();
    await sql`select automation.advance_clock('25 hours')`;
    await settle();
    expect(await sql`select title from tasks`).toHaveLength(1);
  });
});

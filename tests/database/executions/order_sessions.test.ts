// Two sessions write at once and commit in whatever order: an event that a run could not have known of when
// it began ends it, whichever was written first; one that it did know of does not.
import type { ReservedSql, Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { type Step, useSessions } from "./support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

const task: Step = { type: "create_task", delay: 60, config: { title: "Call" } };
const wonExit = { exit_events: [{ type: "stage_changed", config: { to: "won" } }] };
type Session = Sql | ReservedSql;

const enter = (session: Session, workflowId: string, contact: string) =>
  session`select ridgeline.execute_workflow(${workflowId}, ${sql.json({ contact_id: contact })})`;
const win = (session: Session, contact: string) =>
  session`update contacts set stage = 'won' where id = ${contact}`;
const reply = (session: Session, tenantId: string, contact: string) =>
  session`insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
    values (${tenantId}, ${contact}, 'inbound', '+15125550100', 'Yes')`;
const settle = async () => {
  await sql`update automation.signals set next_try_at = clock_timestamp()`;
  await sql`select automation.run_database_steps()`;
};
const later = (interval: string) => sql`select automation.advance_clock(${interval}::interval)`;
const statuses = async () =>
  (await sql`select status from ridgeline.workflow_executions order by seq`).map(({ status }) =>
    status
  );
/** A workflow started by hand for a contact that is there already. */
async function scene(steps: Step[], settings: Record<string, never> | typeof wonExit) {
  const office = await sessions.office(steps, settings as never);
  await sql`update ridgeline.workflows set trigger_type = 'manual'`;
  await sql`select ridgeline.publish_workflow(${office.workflowId})`;
  return { ...office, contact: await sessions.lead(office.tenantId) };
}

describe("an exit", () => {
  it("counts when its transaction began before the run's and wrote after", async () => {
    const { workflowId, contact } = await scene([task], wonExit);
    const office = await sessions.begin();
    await office`insert into tasks (tenant_id, title) select id, 'Note' from tenants`;
    await enter(sql, workflowId, contact);
    await win(office, contact);
    await office`commit`;
    await settle();
    expect(await statuses()).toEqual(["cancelled"]);
  });

  it("counts when it was written before the run and committed after", async () => {
    const { workflowId, contact } = await scene([task], wonExit);
    const office = await sessions.begin();
    await win(office, contact);
    await enter(sql, workflowId, contact);
    await office`commit`;
    await settle();
    expect(await statuses()).toEqual(["cancelled"]);
  });

  it("counts when the run was written before it and committed after it had been read", async () => {
    const { workflowId, contact } = await scene([{ ...task, delay: 0 }], wonExit);
    const slow = await sessions.begin();
    await enter(slow, workflowId, contact);
    await win(sql, contact);
    await settle();
    expect(await statuses()).toEqual([]);
    await slow`commit`;
    await settle();
    expect(await statuses()).toEqual(["cancelled"]);
    expect(await sql`select title from tasks`).toEqual([]);
  });

  it("ends such a run too when that waits for something else meanwhile", async () => {
    const { workflowId, contact } = await scene([task], wonExit);
    const slow = await sessions.begin();
    await enter(slow, workflowId, contact);
    await win(sql, contact);
    await settle();
    await slow`commit`;
    await expect.poll(async () => {
      await settle();
      return await statuses();
    }).toEqual(["cancelled"]);
  });

  it("does not count for a run that began knowing of it, whoever has a transaction open", async () => {
    const { workflowId, contact, tenantId } = await scene([task], wonExit);
    const stranger = await sessions.begin();
    await stranger`insert into tasks (tenant_id, title) values (${tenantId}, 'Long')`;
    await win(sql, contact);
    await settle();
    await enter(sql, workflowId, contact);
    await settle();
    expect(await statuses()).toEqual(["waiting"]);
    await stranger`commit`;
    await settle();
    expect(await statuses()).toEqual(["waiting"]);
    await expect.poll(async () => {
      await settle();
      return (await sql`select * from automation.signals where kept_for is null`).length;
    }).toBe(0);
  });

  it("does not count twice in one serializable transaction that wins and begins again", async () => {
    const { workflowId, contact } = await scene([task], wonExit);
    const office = await sessions.connect().reserve();
    await office`begin isolation level serializable`;
    await win(office, contact);
    await enter(office, workflowId, contact);
    await office`commit`;
    office.release();
    await settle();
    expect(await statuses()).toEqual(["waiting"]);
  });
});

// What a transaction sees is decided when it first looks, where it is REPEATABLE READ or SERIALIZABLE; which
// is before it writes.
describe("an exit that an early snapshot does not show", () => {
  /** Looks at something, and enters the workflow only after the contact has been won. */
  async function early(isolation: string, meanwhile: (session: ReservedSql) => Promise<unknown>) {
    const { workflowId, contact } = await scene([task], wonExit);
    const office = await sessions.connect().reserve();
    await office.unsafe(`begin isolation level ${isolation}`);
    await office`select from contacts`;
    await meanwhile(office);
    await win(sql, contact);
    return async () => {
      await enter(office, workflowId, contact);
      await office`commit`;
      office.release();
      await settle();
      return await statuses();
    };
  }
  const note = (session: ReservedSql) =>
    session`insert into tasks (tenant_id, title) select id, 'Note' from tenants`;

  it.each(["repeatable read", "serializable"])(
    "counts while it is unread: %s",
    async (isolation) => {
      const enters = await early(isolation, () => Promise.resolve());
      expect(await enters()).toEqual(["cancelled"]);
    },
  );

  it("counts after it was read, for a transaction that had written something", async () => {
    const enters = await early("repeatable read", note);
    await settle();
    await enters();
    // It is read again once nobody writes any more who had begun before it was read first, in any database.
    await expect.poll(async () => {
      await settle();
      return await statuses();
    }).toEqual(["cancelled"]);
  });

  // The limit that docs/lifecycle.md names: nobody can know of a transaction that has only looked.
  it("does not count after it was read, for one that had only looked", async () => {
    const enters = await early("repeatable read", () => Promise.resolve());
    // It is kept for a while where others write meanwhile, in whatever database of the server.
    await expect.poll(async () => {
      await settle();
      return (await sql`select from automation.signals`).length;
    }).toBe(0);
    expect(await enters()).toEqual(["waiting"]);
  });

  it("is no event of the past for a transaction that looks anew each time", async () => {
    const enters = await early("read committed", note);
    expect(await enters()).toEqual(["waiting"]);
  });
});

describe("a step that waits for a reply", () => {
  const asking: Step[] = [
    { type: "create_task", key: "ask", config: { title: "Asked" } },
    { type: "wait", key: "reply", config: { event: "sms_received", timeout: "1 day" } },
    { type: "create_task", key: "last", config: { title: "{{steps.reply.result}}" } },
  ];
  const outcome = async () =>
    (await sql`select title from tasks where title <> 'Asked'`).map(({ title }) => title);

  it("hears one whose transaction began before the run did", async () => {
    const { tenantId, workflowId, contact } = await scene(asking, {});
    const customer = await sessions.begin();
    await customer`select automation.now()`;
    await enter(sql, workflowId, contact);
    await settle();
    await reply(customer, tenantId, contact);
    await customer`commit`;
    await settle();
    expect(await outcome()).toEqual(["event"]);
  });

  it("hears one that was written before it asked and committed after", async () => {
    const { tenantId, workflowId, contact } = await scene(asking, {});
    await enter(sql, workflowId, contact);
    const customer = await sessions.begin();
    await reply(customer, tenantId, contact);
    await settle();
    await customer`commit`;
    await settle();
    expect(await outcome()).toEqual(["event"]);
  });

  it("does not hear one that had come before it asked", async () => {
    const { tenantId, workflowId, contact } = await scene([
      { type: "create_task", key: "early", config: { title: "Asked" } },
      { ...asking[0]!, delay: 5 },
      ...asking.slice(1),
    ], {});
    await enter(sql, workflowId, contact);
    await settle();
    await reply(sql, tenantId, contact);
    await settle();
    await later("6 minutes");
    await settle();
    await later("25 hours");
    await settle();
    expect(await outcome()).toEqual(["timeout"]);
  });
});

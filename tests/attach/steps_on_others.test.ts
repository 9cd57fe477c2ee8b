// Steps that find or make a contact, work on other records and tell members, on somebody else's CRM: two columns of
// numbers, names that must be there, rows that are only marked as deleted, people in another table. And with two
// sessions at work at the same time.
import type { Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "../../scripts/lib/scratch.ts";
import {
  createHost,
  type Host,
  LOPEZ_ROOF,
  MARIA,
  OTTO,
  publish,
  SAM,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";

let host: Host & { sql: Sql };
let sql: Sql;
beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  await speakAs(sql, SUMMIT, "+15125550100");
}, 120_000);
afterAll(() => host.drop());

let calls = 0;
const misses = (from: string, by: Sql = sql) =>
  by`select automation.record_call(${
    by.json({
      call_sid: `CA${++calls}`,
      from,
      to: "+15125550100",
      direction: "inbound",
      status: "no-answer",
    })
  })`;
const off = (id: string) => sql`update ridgeline.workflows set is_active = false where id = ${id}`;
const start = (id: string, data: object) =>
  sql`select ridgeline.execute_workflow(${id}, ${sql.json(data as never)}, ${SUMMIT})`;
const ended = async (id: string) =>
  (await sql`
    select s.status, s.error ->> 'message' as said from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.id = s.execution_id where e.workflow_id = ${id} order by s.seq`)
    .map(({ status, said }) => said ?? status);

describe("a missed call on somebody else's CRM", { timeout: 120_000 }, () => {
  it("cannot be published without what its contacts need", async () => {
    await expect(
      publish(sql, SUMMIT, "call_missed", [["find_or_create_contact", {
        phone: "{{call.from_number}}",
        fields: { first_name: "Caller" },
      }]]),
    ).rejects.toThrow("a contact of yours needs last_name, and a new one would have none");
  });

  it("does not grant consent in the CRM's own columns", async () => {
    await sql`select automation.attach('public.contacts', 'contact',
      '{"phone": ["mobile_phone", "phone"], "deleted": "is_deleted", "sms_consent": "text_consent"}',
      '[{"type": "stage_changed", "column": "stage"}]', authors => 'members')`;
    await expect(
      publish(sql, SUMMIT, "call_missed", [["find_or_create_contact", {
        phone: "{{call.from_number}}",
        fields: { first_name: "Caller", last_name: "Unknown", text_consent: true },
      }]]),
    ).rejects.toThrow("who calls or writes has not agreed to anything by it");
  });

  it("makes a stranger a contact, finds others by any column, and never who was deleted", async () => {
    const id = await publish(sql, SUMMIT, "call_missed", [
      ["find_or_create_contact", {
        phone: "{{call.from_number}}",
        fields: { first_name: "Caller", last_name: "{{call.from_number}}", source: "missed_call" },
      }],
      ["add_tag", { tag: "missed" }],
      ["send_sms", { body: "Sorry we missed you", purpose: "transactional" }],
      ["create_task", { title: "Call back {{contact.first_name}}" }],
    ]);
    await sql`update public.contacts set mobile_phone = '(512) 555-0199', phone = '5125550188' where id = ${MARIA}`;
    await sql`update public.contacts set is_deleted = true where id = ${OTTO}`;
    for (const caller of ["+15125550177", "+15125550188", "+15125550143", "anonymous"]) {
      await misses(caller);
    }
    const sent = await work(sql);
    expect(sent.map(({ payload }) => payload.to).toSorted())
      .toEqual(["+15125550143", "+15125550177", "+15125550199"]);
    expect(
      await sql`
        select first_name, last_name, tags, text_consent from public.contacts
        where 'missed' = any (tags) order by last_name`,
    ).toEqual([
      { first_name: "Caller", last_name: "+15125550143", tags: ["missed"], text_consent: false },
      { first_name: "Caller", last_name: "+15125550177", tags: ["missed"], text_consent: false },
      {
        first_name: "Maria",
        last_name: "Lopez",
        tags: ["hail", "insurance", "missed"],
        text_consent: false,
      },
    ]);
    expect(await sql`select title from public.tasks where title like 'Call back%' order by 1`)
      .toEqual(
        ["Call back ", "Call back Caller", "Call back Caller", "Call back Maria"].map((title) => ({
          title,
        })),
      );
    expect(await ended(id)).toContain('phone: "anonymous" is not a phone number');
    await off(id);
    await sql`update public.contacts set is_deleted = false where id = ${OTTO}`;
  });

  it("says which column the new one cannot hold", async () => {
    const id = await publish(sql, SUMMIT, "manual", [["find_or_create_contact", {
      phone: "{{custom.phone}}",
      fields: {
        first_name: "{{custom.name}}",
        last_name: "{{custom.last}}",
        type: "{{custom.type}}",
      },
    }]]);
    const names = { name: "Al", last: "B", type: "lead", phone: "5125550160" };
    await start(id, { custom: { ...names, name: "x".repeat(10_000) } });
    await start(id, { custom: { ...names, phone: "5125550161", last: " " } });
    await start(id, { custom: { ...names, phone: "5125550162", type: "alien" } });
    await work(sql);
    expect(await ended(id)).toEqual([
      "fields.first_name: value too long for type character varying(100)",
      "fields.last_name: it must have a value: a contact of this CRM needs it",
      'fields.type: "alien" is refused by the check contacts_type_check',
    ]);
    expect(await sql`select from public.contacts where phone like '%555016%'`).toEqual([]);
    await off(id);
  });
});

describe("two sessions", { timeout: 120_000 }, () => {
  it("make one contact of one number between them, and each run goes on with it", async () => {
    const id = await publish(sql, SUMMIT, "manual", [
      ["find_or_create_contact", {
        phone: "{{custom.phone}}",
        fields: { first_name: "New", last_name: "One" },
      }],
      ["add_tag", { tag: "called" }],
    ]);
    for (let n = 0; n < 40; n++) {
      await start(id, { custom: { phone: `(512) 555-04${10 + n % 10}` } });
    }
    const sessions = [connect(host.url), connect(host.url), connect(host.url)];
    try {
      for (let round = 0; round < 8; round++) {
        await Promise.all(sessions.map((one) => one`select automation.run_database_steps(7)`));
      }
      // Whoever met somebody else's comes again a second later.
      await expect.poll(async () => {
        await Promise.all(sessions.map((one) => one`select automation.run_database_steps(50)`));
        return (await sql`
          select status from ridgeline.workflow_executions where workflow_id = ${id} and status <> 'completed'`)
          .length;
      }, { interval: 200 }).toBe(0);
    } finally {
      await Promise.all(sessions.map((one) => one.end({ timeout: 1 })));
    }
    expect(await sql`select count(*)::int as made from public.contacts where first_name = 'New'`)
      .toEqual([{ made: 10 }]);
    expect(
      await sql`
        select count(distinct contact_id)::int as contacts, count(*)::int as runs,
          count(*) filter (where (trigger_data ->> 'contact_id') = contact_id)::int as about
        from ridgeline.workflow_executions where workflow_id = ${id}`,
    ).toEqual([{ contacts: 10, runs: 40, about: 40 }]);
    await off(id);
  });

  it("wait for nobody: while a call is making the contact, the run comes back and finds it", async () => {
    const id = await publish(sql, SUMMIT, "manual", [["find_or_create_contact", {
      phone: "512 555 0700",
      fields: { first_name: "Slow", last_name: "Call" },
    }]]);
    const other = connect(host.url);
    try {
      await other.begin(async (call) => {
        await call`select automation.lock_inbound(${SUMMIT + "+15125550700"})`;
        await call`insert into public.contacts (tenant_id, first_name, last_name, phone)
          values (${SUMMIT}, 'By', 'Phone', '+15125550700')`;
        await start(id, {});
        await sql`select automation.run_database_steps()`;
        expect(await ended(id)).toEqual([]);
      });
    } finally {
      await other.end({ timeout: 1 });
    }
    await expect.poll(async () => {
      await sql`select automation.run_database_steps()`;
      return ended(id);
    }, { interval: 200 }).toEqual(["completed"]);
    expect(await sql`select first_name from public.contacts where phone like '%5550700'`)
      .toEqual([{ first_name: "By" }]);
    await off(id);
  });
});

describe("work that is undone", { timeout: 120_000 }, () => {
  it("before its commit has made nobody and told nobody, and the next makes one contact", async () => {
    const id = await publish(sql, SUMMIT, "manual", [
      ["find_or_create_contact", {
        phone: "5125550750",
        fields: { first_name: "After", last_name: "Crash" },
      }],
      ["create_project", { name: "Roof", key: "crash" }],
      ["create_task", { title: "Crash", target: "{{steps.step_2.project_id}}" }],
      ["add_tag", { tag: "crash", target: "{{steps.step_1.contact_id}}" }],
    ]);
    await start(id, {});
    const cut = sql.begin(async (one) => {
      await one`select automation.run_database_steps()`;
      expect((await one`select from public.contacts where first_name = 'After'`).length).toBe(1);
      throw new Error("the lights go out");
    });
    await expect(cut).rejects.toThrow("the lights go out");
    expect(await sql`select from public.contacts where first_name = 'After'`).toEqual([]);
    await work(sql);
    expect(await sql`select tags, id from public.contacts where first_name = 'After'`)
      .toEqual([{ tags: ["crash"], id: expect.any(String) }]);
    expect(await ended(id)).toEqual(["completed", "completed", "completed", "completed"]);
    expect(await sql`select count(*)::int from public.tasks where title = 'Crash'`)
      .toEqual([{ count: 1 }]);
    await off(id);
  });
});

describe("other records", { timeout: 120_000 }, () => {
  it("won, lost and won again is one project, with a task of its own, in the CRM's words", async () => {
    const id = await publish(sql, SUMMIT, "stage_changed", [
      ["create_project", { name: "Roof of {{contact.first_name}}", key: "roof" }],
      ["change_stage", { target: "{{steps.step_1.project_id}}", stage: "production" }],
      ["create_task", { title: "Deposit", target: "{{steps.step_1.project_id}}" }],
      ["assign_user", { user_id: SAM }],
    ], { trigger_config: { to: "won" } });
    for (const stage of ["won", "lost", "won"]) {
      await sql`update public.contacts set stage = ${stage} where id = ${OTTO}`;
      await work(sql);
    }
    const projects = await sql<[{ id: string }]>`
      select id, contact_id, pipeline_stage from public.projects where name = 'Roof of Otto'`;
    expect(projects).toEqual([{
      id: expect.any(String),
      contact_id: OTTO,
      pipeline_stage: "production",
    }]);
    expect(await sql`select project_id, contact_id from public.tasks where title = 'Deposit'`)
      .toEqual(Array(2).fill({ project_id: projects[0].id, contact_id: OTTO }));
    expect(await sql`select assigned_to from public.contacts where id = ${OTTO}`).toEqual([{
      assigned_to: SAM,
    }]);
    // A person throws it away: it is not made again, and nothing is done to it.
    await sql`update public.projects set is_deleted = true where id = ${projects[0].id}`;
    await sql`update public.contacts set stage = 'lost' where id = ${OTTO}`;
    await sql`update public.contacts set stage = 'won' where id = ${OTTO}`;
    await work(sql);
    expect(await ended(id)).toContain(`target: there is no project "${projects[0].id}"`);
    expect(await sql`select count(*)::int from public.projects where name = 'Roof of Otto'`)
      .toEqual([{ count: 1 }]);
    await off(id);
  });

  it("are refused at publishing where their table has no such column", async () => {
    await expect(
      publish(sql, SUMMIT, "manual", [["assign_user", {
        user_id: SAM,
        target: LOPEZ_ROOF,
        entity: "project",
      }]]),
    ).rejects.toThrow('project has no field "assigned_to" to write');
  });

  it("of a table with a number for a key are worked on, and a text that is none is not there", async () => {
    const [{ id: invoice }] = await sql<[{ id: string }]>`
      insert into public.invoices (tenant_id, customer_id, number, amount, balance, due_on)
      values (${SUMMIT}, ${MARIA}, 'I-1', 10, 10, '2026-12-01') returning id`;
    const id = await publish(sql, SUMMIT, "manual", [
      ["update_field", {
        entity: "invoice",
        field: "state",
        value: "paid",
        target: "{{custom.invoice}}",
      }],
      ["create_task", {
        entity: "invoice",
        title: "Thank for {{custom.invoice}}",
        target: "{{custom.invoice}}",
      }],
    ]);
    await start(id, { custom: { invoice: Number(invoice) } });
    await start(id, { custom: { invoice: "1; drop table public.invoices" } });
    await work(sql);
    expect(await ended(id)).toEqual([
      "completed",
      "completed",
      'target: there is no invoice "1; drop table public.invoices"',
    ]);
    expect(await sql`select contact_id from public.tasks where title like 'Thank for%'`).toEqual([{
      contact_id: MARIA,
    }]);
    await off(id);
  });
});

describe("members in a table of their own", { timeout: 120_000 }, () => {
  it("are told by the number and the address that are kept there", async () => {
    const id = await publish(sql, SUMMIT, "manual", [
      ["assign_user", { user_id: SAM }],
      ["notify_member", {
        user_id: "{{contact.assigned_to}}",
        channel: "sms",
        body: "{{user.full_name}}: {{contact.first_name}}",
      }],
      ["notify_member", {
        user_id: "owner",
        channel: "email",
        subject: "Lead",
        body: "Hi {{user.full_name}}",
      }],
    ]);
    await start(id, { contact_id: MARIA });
    expect((await work(sql)).map(({ payload }) => [payload.to, payload.body ?? payload.subject]))
      .toEqual([
        ["+15125550103", "Sam Sales: Maria"],
        [["olivia@summit.example"], "Lead"],
      ]);
    // Who is suspended is no member any more.
    await sql`update public.tenant_users set status = 'suspended' where user_id = ${SAM} and tenant_id = ${SUMMIT}`;
    await start(id, { contact_id: MARIA });
    await work(sql);
    expect((await ended(id))[3]).toBe(`user_id: "${SAM}" is not a member of the tenant`);
    await off(id);
  });

  it("without an address anywhere are nobody whom a workflow could tell", async () => {
    await sql`select automation.attach_members('public.tenant_users', '{"active": "status"}',
      roles => '{"owner": "owner"}')`;
    await expect(
      publish(sql, SUMMIT, "manual", [["notify_member", {
        user_id: "owner",
        channel: "sms",
        body: "x",
      }]]),
    ).rejects.toThrow("notify_member reaches nobody: members have no phone");
  });
});

// Somebody else's CRM: keys that are numbers, enums, dates without a time, records that are only marked as deleted. What
// moves with its date, begins anew, counts when it is inserted, and is one person under two names.
import type { Sql } from "postgres";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  createHost,
  type Host,
  LOPEZ_ROOF,
  MARIA,
  publish,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";

let host: Host & { sql: Sql };
let sql: Sql;
beforeEach(async () => {
  host = await createHost();
  sql = host.sql;
  await speakAs(sql, SUMMIT, "+15125550100");
  await clock("2026-06-01 10:00");
});
afterEach(() => host.drop());

/** The time in Austin, and what is due by then. */
async function clock(wall: string) {
  await sql`select automation.set_clock(${wall}::timestamp at time zone 'America/Chicago')`;
  return (await work(sql)).map(({ payload }) => payload.body);
}

const text = (body: string) => ["send_sms", { body, purpose: "transactional" }] as [string, object];
const before = (until: string, offset: string, more: object = {}) =>
  ["wait", { until, offset, follow: true, if_missing: "stop", if_past: "skip", ...more }] as [
    string,
    object,
  ];
const fates = async (workflow: string) =>
  (await sql<{ fate: string }[]>`
    select concat_ws(' ', status, error ->> 'code') as fate from ridgeline.workflow_executions
    where workflow_id = ${workflow} order by seq`).map(({ fate }) => fate);

describe("an appointment", () => {
  const book = async (wall: string) => {
    const [row] = await sql<[{ id: string }]>`
      insert into public.appointments (tenant_id, contact_id, starts_at)
      values (${SUMMIT}, ${MARIA}, ${wall}::timestamp at time zone 'America/Chicago') returning id`;
    return row.id;
  };
  const move = (id: string, wall: string) =>
    sql`update public.appointments set starts_at = ${wall}::timestamp at time zone 'America/Chicago' where id = ${id}`;

  it("is reminded of by one workflow, at the time that it has by then", async () => {
    await publish(sql, SUMMIT, "appointment_booked", [
      text("Booked"),
      before("{{appointment.starts_at}}", "-1 day"),
      text('Tomorrow at {{appointment.starts_at | formatDate: "h:mm a"}}'),
      before("{{appointment.starts_at}}", "-2 hours"),
      text("In two hours"),
    ], { settings: { exit_events: ["appointment_cancelled"] } });
    const visit = await book("2026-06-04 15:00");
    expect(await clock("2026-06-01 10:01")).toEqual(["Booked"]);
    await move(visit, "2026-06-03 11:30");
    expect(await clock("2026-06-02 11:29")).toEqual([]);
    expect(await clock("2026-06-02 11:31")).toEqual(["Tomorrow at 11:30 AM"]);
    await move(visit, "2026-06-05 16:00");
    expect(await clock("2026-06-03 12:00")).toEqual([]);
    expect(await clock("2026-06-05 14:01")).toEqual(["In two hours"]);
    const soon = await book("2026-06-05 15:30");
    expect(await clock("2026-06-05 14:02")).toEqual(["Booked"]);
    expect(await clock("2026-06-05 15:29")).toEqual([]);
    const off = await book("2026-06-08 12:00");
    await clock("2026-06-05 15:30");
    await sql`update public.appointments set state = 'cancelled' where id in (${off}, ${soon})`;
    expect(await clock("2026-06-08 11:00")).toEqual([]);
  });
});

describe("an invoice", () => {
  it("that is due on another day is dunned for anew, with what is still to be paid", async () => {
    const dunning = await publish(sql, SUMMIT, "field_changed", [
      before("{{invoice.due_on}}", "-3 days", { at: "10:00" }),
      text("Soon: {{invoice.balance}}"),
      before("{{invoice.due_on}}", "0 days", { at: "10:00" }),
      text("Today: {{invoice.balance}}"),
      before("{{invoice.due_on}}", "7 days", { at: "10:00" }),
      text("Overdue: {{invoice.balance}}"),
    ], {
      trigger_config: { entity: "invoice", field: "due_on", on_insert: true },
      settings: {
        reentry: "restart",
        exit_events: ["invoice_paid"],
        exit_conditions: [{ field: "invoice.state", operator: "not_equals", value: "open" }],
      },
    });
    const [bill] = await sql<[{ id: string }]>`
      insert into public.invoices (tenant_id, customer_id, number, amount, balance, due_on)
      values (${SUMMIT}, ${MARIA}, 'R-1', 900, 900, '2026-06-05') returning id`;
    expect(await clock("2026-06-02 10:01")).toEqual(["Soon: 900.00"]);
    await sql`update public.invoices set balance = 400 where id = ${bill.id}`;
    await sql`update public.invoices set due_on = '2026-06-09' where id = ${bill.id}`;
    expect(await clock("2026-06-05 10:01")).toEqual([]);
    expect(await clock("2026-06-06 10:01")).toEqual(["Soon: 400.00"]);
    expect(await clock("2026-06-09 10:01")).toEqual(["Today: 400.00"]);
    await sql`update public.invoices set balance = 0, state = 'paid' where id = ${bill.id}`;
    expect(await clock("2026-06-17 10:01")).toEqual([]);
    expect(await fates(dunning)).toEqual(["cancelled restarted", "cancelled exit_event"]);
  });
});

describe("a project", () => {
  it("that is entered as won is welcomed where the office says so", async () => {
    const welcome = await publish(sql, SUMMIT, "project_won", [text("Welcome aboard")], {
      trigger_config: { on_insert: true },
    });
    const plain = await publish(sql, SUMMIT, "project_won", [["create_task", { title: "Order" }]]);
    await sql`
      insert into public.projects (tenant_id, contact_id, name, pipeline_stage)
      values (${SUMMIT}, ${MARIA}, 'Garage', 'won'), (${SUMMIT}, ${MARIA}, 'Shed', 'negotiation')`;
    expect(await clock("2026-06-01 10:05")).toEqual(["Welcome aboard"]);
    expect(await fates(welcome)).toEqual(["completed"]);
    expect(await fates(plain)).toEqual([]);
  });

  it("that lies there for ten business days is asked about, whoever touched it but a person", async () => {
    await sql`update public.projects set pipeline_stage = 'quote_sent' where id = ${LOPEZ_ROOF}`;
    await clock("2026-06-03 10:00");
    const robot = await publish(sql, SUMMIT, "manual", [
      ["update_field", { entity: "project", field: "pipeline_stage", value: "negotiation" }],
    ]);
    await sql`select ridgeline.execute_workflow(${robot}, ${
      sql.json({ project_id: LOPEZ_ROOF })
    }, ${SUMMIT})`;
    await clock("2026-06-03 10:01");
    const nudge = await publish(sql, SUMMIT, "time_elapsed", [["create_task", { title: "Call" }]], {
      trigger_config: {
        entity: "project",
        changed: "pipeline_stage",
        by: "people",
        offset: "10 business days",
        existing: { overdue: true, per_minute: 60 },
      },
      conditions: [{
        field: "project.pipeline_stage",
        operator: "in",
        value: ["quote_sent", "negotiation"],
      }],
    });
    await clock("2026-06-03 10:02");
    expect(await fates(nudge)).toEqual([]);
    await clock("2026-06-18 10:05");
    expect(await fates(nudge)).toEqual(["completed"]);
  });

  it("that has lain there for long is asked about as soon as somebody thinks of it", async () => {
    await sql`update public.projects set pipeline_stage = 'quote_sent' where id = ${LOPEZ_ROOF}`;
    await clock("2026-07-20 10:00");
    const nudge = await publish(sql, SUMMIT, "time_elapsed", [["create_task", { title: "Call" }]], {
      trigger_config: {
        entity: "project",
        changed: "pipeline_stage",
        offset: "10 business days",
        existing: { overdue: true },
      },
    });
    await clock("2026-07-20 10:01");
    expect(await fates(nudge)).toEqual(["completed"]);
    await clock("2026-08-20 10:01");
    expect(await fates(nudge)).toEqual(["completed"]);
  });
});

describe("two contacts that are one person", () => {
  const double = async (mobile: string) => {
    const [row] = await sql<[{ id: string }]>`
      insert into public.contacts (tenant_id, first_name, last_name, mobile_phone)
      values (${SUMMIT}, 'Maria', 'Lopez-Diaz', ${mobile}) returning id`;
    return row.id;
  };

  it("hear of everything once, though the CRM only marks the one as deleted", async () => {
    const chase = await publish(sql, SUMMIT, "stage_changed", [
      ["wait", { days: 2 }],
      text("Still interested?"),
    ], { trigger_config: { to: "quoted" } });
    const other = await double("512 555 0188");
    await sql`update public.contacts set stage = 'quoted' where id = ${other}`;
    await clock("2026-06-01 11:00");
    await sql`update public.contacts set stage = 'quoted' where id = ${MARIA}`;
    await sql.begin(async (tx) => {
      await tx`update public.contacts set is_deleted = true where id = ${other}`;
      await tx`update public.projects set contact_id = ${MARIA} where contact_id = ${other}`;
      await tx`select ridgeline.merge_contacts(${other}, ${MARIA}, ${SUMMIT})`;
    });
    expect(await clock("2026-06-03 10:30")).toEqual([]);
    expect(await clock("2026-06-03 11:30")).toEqual(["Still interested?"]);
    expect(await fates(chase)).toEqual(["completed", "cancelled merged"]);
  });

  it("are left alone under either name, at each of their numbers", async () => {
    const other = await double("512 555 0188");
    await sql`select ridgeline.record_revocation('sms', '+15125550188', 'on the phone', tenant_id => ${SUMMIT})`;
    await sql`select ridgeline.merge_contacts(${other}, ${MARIA}, ${SUMMIT})`;
    await sql`update public.contacts set is_deleted = true where id = ${other}`;
    await publish(sql, SUMMIT, "stage_changed", [text("Hi")]);
    await sql`update public.contacts set stage = 'quoted' where id = ${MARIA}`;
    expect(await clock("2026-06-01 10:10")).toEqual([]);
    await sql`update public.contacts set mobile_phone = '512 555 0189' where id = ${MARIA}`;
    await sql`update public.contacts set stage = 'won' where id = ${MARIA}`;
    expect(await clock("2026-06-01 10:20")).toEqual([]);
  });
});

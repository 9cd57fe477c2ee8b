// Whatever is attached has four triggers: created, updated, a field that changed, and time.
import type { JSONValue } from "postgres";
import { expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";

const database = useDatabase();

/** How a row of each table comes about, and a column of it that changes then. */
const rows: Record<string, { insert: Record<string, JSONValue>; change: Record<string, string> }> =
  {
    contact: { insert: { first_name: "Maria" }, change: { company: "Lopez & Sons" } },
    project: { insert: { name: "Roof" }, change: { description: "Tiles" } },
    job: { insert: { name: "Tear-off" }, change: { name: "Tear-off, again" } },
    appointment: { insert: { name: "Estimate visit" }, change: { location: "12 Oak St" } },
    invoice: { insert: { number: "1001" }, change: { pay_url: "https://pay.example/1001" } },
    message: { insert: { direction: "outbound" }, change: { error_code: "30007" } },
    call: { insert: { status: "ringing" }, change: { to_number: "+15125550100" } },
    email: { insert: { subject: "Hi" }, change: { error_code: "General" } },
    form_submission: { insert: { form: "Estimate" }, change: { form: "Free estimate" } },
    email_event: {
      insert: { type: "delivered", occurred_at: "2026-03-02T12:00:00Z" },
      change: { user_agent: "Chrome" },
    },
  };

it("created, updated, field_changed and time_elapsed, for every attached table", async () => {
  const { sql } = database();
  const entities = await sql<{ name: string; relation: string }[]>`
    select name, relation from automation.entities order by name`;
  expect(entities.map(({ name }) => name)).toEqual(Object.keys(rows).toSorted());
  const [tenant] = await sql<{ id: string }[]>`
    insert into public.tenants (name) values ('Apex Roofing') returning id`;
  const tenant_id = tenant!.id;
  const [email] = await sql<{ id: string }[]>`
    insert into ridgeline.emails (tenant_id, subject) values (${tenant_id}, 'Sent') returning id`;
  const listen = async (name: string, trigger_type: string, config: JSONValue = {}) => {
    const [workflow] = await sql<{ id: string }[]>`
      insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config)
      values (${tenant_id}, ${name}, ${trigger_type}, ${sql.json(config)}) returning id`;
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
      values (${tenant_id}, ${workflow!.id}, 'create_task', '{"title": "Look"}')`;
    await sql`update ridgeline.workflows set is_active = true where id = ${workflow!.id}`;
  };
  for (const { name } of entities) {
    const [field] = Object.keys(rows[name]!.change);
    await listen(`${name} created`, `${name}_created`);
    await listen(`${name} updated`, `${name}_updated`);
    await listen(`${name} changed`, "field_changed", { entity: name, field: field! });
    await listen(`${name} waits`, "time_elapsed", {
      entity: name,
      offset: "1 day",
      existing: false,
    });
  }
  for (const { name, relation } of entities) {
    const { insert, change } = rows[name]!;
    const [row] = await sql<{ id: string }[]>`
      insert into ${sql(relation)} ${
      sql({ tenant_id, ...insert, ...(name === "email_event" ? { email_id: email!.id } : {}) })
    } returning id`;
    await sql`update ${sql(relation)} set ${sql(change)} where id = ${row!.id}`;
    const fired = await sql<{ name: string }[]>`
      select w.name from ridgeline.workflow_executions as e
      join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
      where e.record_id = ${row!.id} and e.entity = ${name}
      union all
      select w.name from ridgeline.workflow_timers as t
      join ridgeline.workflows as w on w.tenant_id = t.tenant_id and w.id = t.workflow_id
      where t.record_id = ${row!.id}
      order by name`;
    expect(fired.map(({ name }) => name)).toEqual(
      ["changed", "created", "updated", "waits"].map((what) => `${name} ${what}`),
    );
  }
});

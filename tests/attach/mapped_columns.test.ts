// A CRM whose people are called otherwise, down to the phone: mapped once, and then texts, replies,
// stages, tags and timers find their way.
import type { JSONValue, Sql } from "postgres";
import { beforeAll, beforeEach, describe, expect, it } from "vitest";
import { useDatabase, withDatabase } from "../support/database.ts";

const database = useDatabase();
let company: string;

const createTables = (sql: Sql) =>
  sql.unsafe(`
  create schema crm;
  create table crm.people (
    company_id uuid not null,
    id uuid not null default gen_random_uuid(),
    given text,
    mobile_no text,
    mail varchar(200),
    phase text not null default 'new',
    state text not null default 'open',
    owner uuid,
    tz text,
    entered_at timestamptz not null default automation.now(),
    changed_at timestamptz not null default automation.now(),
    primary key (id),
    unique (id, company_id)
  );
  create table crm.orders (
    company_id uuid not null,
    no bigint generated always as identity primary key,
    customer uuid references crm.people (id) on delete set null,
    site_phone text,
    state text not null default 'new',
    due date
  );
  create table crm.vans (company_id uuid not null, id bigint primary key, plate text);
  create table crm.labels (id bigint generated always as identity primary key, label text not null);
  create table crm.people_labels (
    person uuid not null references crm.people (id) on delete cascade,
    label bigint not null references crm.labels (id),
    primary key (person, label)
  );
  create table crm.todos (
    company_id uuid not null,
    no bigint generated always as identity primary key,
    person uuid references crm.people (id) on delete cascade,
    what text not null,
    urgency text not null check (urgency in ('low', 'mid', 'high')),
    until date,
    list text not null
  );`);

const people = {
  tenant: "company_id",
  phone: "mobile_no",
  email: "mail",
  first_name: "given",
  stage: "phase",
  status: "state",
  assigned_to: "owner",
  timezone: "tz",
  created_at: "entered_at",
  updated_at: "changed_at",
  tags: {
    links: "crm.people_labels",
    tags: "crm.labels",
    record: "person",
    tag: "label",
    name: "label",
  },
};
const orders = {
  tenant: "company_id",
  id: "no",
  contact: "customer",
  phone: "site_phone",
  status: "state",
};

const attach = (
  sql: Sql,
  table: string,
  entity: string,
  columns: JSONValue,
  events: JSONValue = [],
) =>
  sql`select automation.attach(${table}::regclass, ${entity}, ${sql.json(columns)}, ${
    sql.json(events)
  })`;

async function attachAll(sql: Sql) {
  await createTables(sql);
  await sql`select automation.detach('contact')`;
  await attach(sql, "crm.people", "contact", people, [{ type: "phase_changed", column: "phase" }]);
  await attach(sql, "crm.orders", "order", orders);
  await attach(sql, "crm.vans", "van", { tenant: "company_id" });
  await sql`
    select automation.attach_target('task', 'crm.todos', ${
    sql.json({
      tenant: "company_id",
      id: "no",
      contact: "person",
      title: "what",
      priority: "urgency",
      due: "until",
    })
  }, '{"priority": {"normal": "mid", "urgent": "high"}}', '{"list": "office"}')`;
}

interface Step {
  type: string;
  config: JSONValue;
}

async function workflow(
  trigger_type: string,
  steps: Step[],
  trigger_config: JSONValue = {},
  conditions: JSONValue = [],
): Promise<string> {
  const { sql } = database();
  const [row] = await sql<{ id: string }[]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, conditions)
    values (${company}, ${trigger_type}, ${trigger_type}, ${sql.json(trigger_config)},
      ${sql.json(conditions)})
    returning id`;
  for (const [place, { type, config }] of steps.entries()) {
    await sql`
      insert into ridgeline.workflow_steps (
        tenant_id, workflow_id, step_order, step_type, step_config)
      values (${company}, ${row!.id}, ${place + 1}, ${type}, ${sql.json(config)})`;
  }
  await sql`update ridgeline.workflows set is_active = true where id = ${row!.id}`;
  return row!.id;
}

const text = (config: Record<string, string> = {}): Step => ({
  type: "send_sms",
  config: { body: "Hello", ...config },
});
const task = (title: string): Step => ({ type: "create_task", config: { title } });

async function person(columns: Record<string, string> = {}): Promise<string> {
  const { sql } = database();
  const [row] = await sql<{ id: string }[]>`
    insert into crm.people ${
    sql({
      company_id: company,
      given: "Maria",
      mobile_no: "(415) 555-0100",
      mail: "maria@example.com",
      ...columns,
    })
  } returning id`;
  return row!.id;
}

async function order(columns: Record<string, string> = {}): Promise<string> {
  const { sql } = database();
  const [row] = await sql<{ no: string }[]>`
    insert into crm.orders ${sql({ company_id: company, ...columns })} returning no`;
  return row!.no;
}

interface Claimed {
  tenant_id: string;
  step_id: string;
  attempt_token: string;
  step_type: string;
  payload: Record<string, unknown>;
}

/** Takes what is due to be sent, as the dispatcher does, and reports it as sent. */
async function send(): Promise<Claimed[]> {
  const { sql } = database();
  await sql`select automation.tick()`;
  const claimed = await sql<Claimed[]>`select * from automation.claim_steps('van', 50)`;
  const reports = claimed.map(({ tenant_id, step_id, attempt_token }) => ({
    tenant_id,
    step_id,
    attempt_token,
    outcome: "succeeded",
    result: { provider_id: `SM${step_id}` },
  }));
  await sql`select * from automation.finish_steps(${sql.json(reports)})`;
  return claimed.filter(({ tenant_id }) => tenant_id === company);
}

const sentTo = async () => (await send()).map(({ payload }) => payload.to);

async function steps() {
  return await database().sql<
    { step_type: string; status: string; reason: string | null; input: JSONValue }[]
  >`
    select s.step_type, s.status::text, s.error ->> 'message' as reason, s.input
    from ridgeline.workflow_step_executions as s where s.tenant_id = ${company} order by s.id`;
}

beforeAll(() => attachAll(database().sql));
beforeEach(async () => {
  const [tenant] = await database().sql<{ id: string }[]>`
    insert into public.tenants (name, timezone) values ('Ridge & Sons', 'America/Chicago')
    returning id`;
  company = tenant!.id;
});

describe("a step without `to`", () => {
  it("goes to the person's own phone and email, and is kept with the person", async () => {
    await workflow("contact_created", [
      text(),
      { type: "send_email", config: { subject: "Hello", text: "Hi" } },
    ]);
    const maria = await person();
    expect(await sentTo()).toEqual(["+14155550100"]);
    expect(await sentTo()).toEqual([["maria@example.com"]]);
    const kept = await database().sql`
      select contact_id from ridgeline.messages where tenant_id = ${company}
      union all select contact_id from ridgeline.emails where tenant_id = ${company}`;
    expect(kept).toEqual([{ contact_id: maria }, { contact_id: maria }]);
  });

  it("of an order goes to the order's phone, and to the customer's where it has none", async () => {
    await workflow("order_created", [text()]);
    const customer = await person();
    await order({ customer, site_phone: "+1 415 555 0177" });
    await order({ customer });
    await order({ customer, site_phone: " " });
    await order();
    expect((await sentTo()).toSorted()).toEqual(["+14155550100", "+14155550100", "+14155550177"]);
    expect((await steps()).at(-1)).toMatchObject({
      status: "skipped",
      reason: expect.stringContaining("no phone number"),
    });
  });

  it("of an order sends its email to the customer: orders have none of their own", async () => {
    await workflow("order_created", [{ type: "send_email", config: { subject: "S", text: "T" } }]);
    await order({ customer: await person() });
    expect(await sentTo()).toEqual([["maria@example.com"]]);
  });
});

describe("change_stage and assign_user", () => {
  const of = async (table: string, column: string, key: string, id: string) =>
    (await database().sql.unsafe(
      `select ${column} as value from ${table} where ${key}::text = '${id}'`,
    ))[0]!.value;

  it("write the person's phase and owner", async () => {
    const { sql } = database();
    const [member] = await sql<{ user_id: string }[]>`
      insert into public.tenant_members (tenant_id, user_id)
      values (${company}, gen_random_uuid()) returning user_id`;
    await workflow("contact_created", [
      { type: "change_stage", config: { stage: "contacted" } },
      { type: "assign_user", config: { user_id: member!.user_id } },
    ]);
    const maria = await person();
    await sql`select automation.tick()`;
    expect(await of("crm.people", "phase", "id", maria)).toBe("contacted");
    expect(await of("crm.people", "owner", "id", maria)).toBe(member!.user_id);
  });

  it("write the state of an order, which has no stage, and its customer's phase by name", async () => {
    await workflow("order_created", [
      { type: "change_stage", config: { stage: "planned" } },
      { type: "change_stage", config: { stage: "customer", entity: "contact" } },
    ]);
    const customer = await person();
    const no = await order({ customer });
    await database().sql`select automation.tick()`;
    expect((await steps()).map(({ reason }) => reason)).toEqual([null, null]);
    expect(await of("crm.orders", "state", "no", no)).toBe("planned");
    expect(await of("crm.people", "phase", "id", customer)).toBe("customer");
  });

  it("are refused where a table has neither stage nor anybody responsible", async () => {
    await expect(workflow("van_created", [
      { type: "change_stage", config: { stage: "sold", entity: "van" } },
    ])).rejects.toThrow('steps[0].step_config.entity: van has no field "stage" to write');
    await expect(workflow("van_created", [
      { type: "assign_user", config: { user_id: company, entity: "van" } },
    ])).rejects.toThrow('steps[0].step_config.entity: van has no field "assigned_to" to write');
  });

  it("leave the status of a text alone: it is the provider's, the stage is the contact's", async () => {
    const { sql } = database();
    await workflow("sms_received", [{ type: "change_stage", config: { stage: "replied" } }]);
    const contact_id = await person();
    await sql`
      insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
      values (${company}, ${contact_id}, 'inbound', '+14155550100', 'Yes please')`;
    await sql`select automation.tick()`;
    expect(await of("crm.people", "phase", "id", contact_id)).toBe("replied");
  });
});

describe("the names that every CRM knows", () => {
  it("read and write the CRM's own columns, whose own names work too", async () => {
    const { sql } = database();
    await workflow(
      "contact_updated",
      [
        task(
          "{{contact.first_name}}/{{contact.given}} {{contact.phone}} {{trigger.record.email}} {{phone}}",
        ),
        { type: "update_contact", config: { fields: { phone: "+14155550111", state: "busy" } } },
      ],
      { stage: "quoted" },
      [
        { field: "contact.phone", operator: "contains", value: "555" },
        { field: "contact.mobile_no", operator: "contains", value: "555" },
      ],
    );
    const maria = await person();
    await sql`update crm.people set mail = 'm@example.com' where id = ${maria}`;
    await sql`update crm.people set phase = 'quoted' where id = ${maria}`;
    await sql`select automation.tick()`;
    expect((await steps())[0]!.input).toMatchObject({
      title: "Maria/Maria (415) 555-0100 m@example.com (415) 555-0100",
    });
    const [now] = await sql`select mobile_no, state from crm.people where id = ${maria}`;
    expect(now).toEqual({ mobile_no: "+14155550111", state: "busy" });
  });

  it("narrow field_changed, and say what was there before", async () => {
    const { sql } = database();
    await workflow("field_changed", [task("{{trigger.old.phone}}")], { field: "phone" });
    const maria = await person();
    await sql`update crm.people set given = 'Mary' where id = ${maria}`;
    await sql`update crm.people set mobile_no = '+14155550122' where id = ${maria}`;
    await sql`select automation.tick()`;
    expect((await steps()).map(({ input }) => input)).toEqual([
      expect.objectContaining({ title: "(415) 555-0100" }),
    ]);
  });

  it("cannot be written where the engine must not: when it was created is the CRM's to say", async () => {
    const fields = { created_at: "2026-01-01" };
    await expect(workflow("contact_created", [{ type: "update_contact", config: { fields } }]))
      .rejects.toThrow(/created_at/);
  });

  it("an update that only touches changed_at is none", async () => {
    await workflow("contact_updated", [task("x")]);
    const maria = await person();
    await database().sql`update crm.people set changed_at = now() where id = ${maria}`;
    expect(
      await database().sql`
      select from ridgeline.workflow_executions where tenant_id = ${company}`,
    ).toHaveLength(0);
  });

  it("a record of any table is a root: live in steps, in conditions as it was", async () => {
    await workflow(
      "order_created",
      [task("{{order.state}} {{order.no}} for {{contact.given}}")],
      {},
      [
        { field: "order.state", operator: "equals", value: "new" },
      ],
    );
    const no = await order({ customer: await person() });
    await order({ state: "lost" });
    await database().sql`update crm.orders set state = 'moved' where no = ${no}`;
    await database().sql`select automation.tick()`;
    expect((await steps()).map(({ input }) => input)).toEqual([
      expect.objectContaining({ title: `moved ${no} for Maria` }),
    ]);
  });
});

describe("what comes in", () => {
  const text_in = async (from: string, body: string) => {
    const { sql } = database();
    const [number] = await sql<{ number: string }[]>`
      insert into ridgeline.senders (tenant_id, channel, address)
      values (${company}, 'sms', '+1512' || lpad((random() * 9999999)::int::text, 7, '2'))
      on conflict do nothing returning address as number`;
    const event = { message_sid: `SM${crypto.randomUUID()}`, from, to: number!.number, body };
    const [row] = await sql<{ outcome: string }[]>`
      select automation.receive_sms(${sql.json(event)}) as outcome`;
    return row!.outcome;
  };
  const contactsOfTexts = () =>
    database().sql`select contact_id from ridgeline.messages where tenant_id = ${company}`;

  it("a person's STOP is theirs, and stops what was about to be sent", async () => {
    await workflow("contact_created", [text()]);
    await workflow("sms_received", [task("{{contact.first_name}} wrote")]);
    const maria = await person();
    expect(await text_in("+14155550100", "STOP")).toBe("stored");
    expect(await contactsOfTexts()).toEqual([{ contact_id: maria }]);
    expect(await sentTo()).toEqual([]);
    expect((await steps()).toSorted((a, b) => a.step_type.localeCompare(b.step_type))).toEqual([
      expect.objectContaining({ input: expect.objectContaining({ title: "Maria wrote" }) }),
      expect.objectContaining({ status: "skipped", reason: expect.stringContaining("opted out") }),
    ]);
  });

  it("a stranger becomes a person only where the tenant asks for it", async () => {
    const { sql } = database();
    await text_in("+14155550133", "Do you do gutters?");
    expect(await contactsOfTexts()).toEqual([{ contact_id: null }]);
    await sql`
      update public.tenants set settings = '{"inbound": {"create_contacts": true}}'
      where id = ${company}`;
    await workflow("contact_created", [task("{{contact.phone}}")]);
    await text_in("+14155550133", "Do you do gutters?");
    expect(await sql`select mobile_no, phase from crm.people where company_id = ${company}`)
      .toEqual([
        { mobile_no: "+14155550133", phase: "new" },
      ]);
    await sql`select automation.tick()`;
    expect((await steps())[0]!.input).toMatchObject({ title: "+14155550133" });
  });

  it("a text is kept though the table takes no such person", async () => {
    const { sql } = database();
    await sql`
      update public.tenants set settings = '{"inbound": {"create_contacts": true}}'
      where id = ${company}`;
    await sql`alter table crm.people add constraint people_named check (given is not null) not valid`;
    expect(await text_in("+14155550144", "Hello?")).toBe("stored");
    await sql`alter table crm.people drop constraint people_named`;
    expect(await contactsOfTexts()).toEqual([{ contact_id: null }]);
  });

  it("a trusted form finds the person by email, fills blanks, and makes a new one of a new one", async () => {
    const { sql } = database();
    const [form] = await sql<{ public_key: string }[]>`
      insert into ridgeline.forms (tenant_id, name, trusted) values (${company}, 'Estimate', true)
      returning public_key`;
    const submit = (fields: JSONValue) =>
      sql`select automation.submit_form(${form!.public_key}, null, 'here', ${sql.json(fields)})`;
    const maria = await person({ mobile_no: "" });
    await sql`update crm.people set mobile_no = null where id = ${maria}`;
    await submit({ email: "MARIA@example.com", name: "Mary Lopez", phone: "415 555 0155" });
    await submit({ email: "otto@example.com", first_name: "Otto", city: "Austin" });
    expect(
      await sql`
      select given, mobile_no, mail from crm.people where company_id = ${company}
      order by given`,
    ).toEqual([
      { given: "Maria", mobile_no: "+14155550155", mail: "maria@example.com" },
      { given: "Otto", mobile_no: null, mail: "otto@example.com" },
    ]);
    expect(
      await sql`
      select from ridgeline.form_submissions where tenant_id = ${company} and contact_id is not null`,
    )
      .toHaveLength(2);
  });
});

describe("tags and tasks", () => {
  it("are the person's, and go when the person goes", async () => {
    const { sql } = database();
    await workflow("contact_created", [
      { type: "add_tag", config: { tag: "Roof" } },
      { type: "add_tag", config: { tag: "Storm" } },
      { type: "remove_tag", config: { tag: "roof" } },
      task("Call {{contact.first_name}}"),
    ]);
    const maria = await person();
    await sql`select automation.tick()`;
    expect((await steps()).map(({ status }) => status)).toEqual(Array(4).fill("completed"));
    const tagged = () =>
      sql`
        select t.label, k.what, k.urgency, k.until::text, k.list from crm.people_labels as c
        join crm.labels as t on t.id = c.label
        join crm.todos as k on k.person = c.person
        where c.person = ${maria}`;
    expect(await tagged()).toEqual([
      { label: "Storm", what: "Call Maria", urgency: "mid", until: null, list: "office" },
    ]);
    await sql`delete from crm.people where id = ${maria}`;
    expect(await tagged()).toEqual([]);
    expect(await sql`select from public.tasks where tenant_id = ${company}`).toHaveLength(0);
  });
});

describe("time", () => {
  const dues = () =>
    database().sql`
      select t.record_id, t.due_at from ridgeline.workflow_timers as t
      where t.tenant_id = ${company} order by t.due_at`;

  it("a person's timers count from entered_at, an order's from any date of its own", async () => {
    const { sql } = database();
    await workflow("time_elapsed", [task("Call")], { offset: "3 days" });
    await workflow("time_elapsed", [task("Dun")], {
      entity: "order",
      field: "due",
      offset: "-1 day",
    });
    const maria = await person({ entered_at: "2099-03-02 12:00:00Z" });
    const no = await order({ due: "2099-06-10" });
    expect(await dues()).toEqual([
      { record_id: maria, due_at: new Date("2099-03-05T12:00:00Z") },
      { record_id: no, due_at: new Date("2099-06-09T05:00:00Z") },
    ]);
    await sql`update crm.orders set due = '2099-06-20' where no = ${no}`;
    expect((await dues())[1]).toMatchObject({ due_at: new Date("2099-06-19T05:00:00Z") });
    await sql`delete from crm.orders where no = ${no}`;
    await sql`delete from crm.people where id = ${maria}`;
    expect(await dues()).toEqual([]);
  });

  it("counted from a change of what the engine calls the stage", async () => {
    await workflow("time_elapsed", [task("Stalled")], { changed: "stage", offset: "3 days" });
    const maria = await person();
    const [before] = await dues();
    await database().sql`update crm.people set given = 'Mary' where id = ${maria}`;
    expect((await dues())[0]).toEqual(before);
    await database().sql`update crm.people set phase = 'quoted' where id = ${maria}`;
    expect((await dues())[0]!.due_at.getTime()).toBeGreaterThan(before!.due_at.getTime());
  });
});

describe("by hand", () => {
  it("starts for an order by its key, with its customer", async () => {
    const { sql } = database();
    const id = await workflow("manual", [
      task("{{order.state}} for {{contact.first_name}}"),
      text(),
    ]);
    const customer = await person();
    const no = await order({ customer });
    const [run] = await sql`
      select entity, record_id, contact_id
      from ridgeline.execute_workflow(${id}, ${sql.json({ order_id: no })})`;
    expect(run).toEqual({ entity: "order", record_id: no, contact_id: customer });
    expect(await sentTo()).toEqual(["+14155550100"]);
    expect((await steps())[0]!.input).toMatchObject({ title: "new for Maria" });
  });

  it("can be tried for an order first, with nothing sent", async () => {
    const { sql } = database();
    const id = await workflow("order_updated", [text({ body: "{{order.state}}" })]);
    const no = await order({ site_phone: "4155550177" });
    const [tried] = await sql<{ path: JSONValue }[]>`
      select ridgeline.test_workflow(${id}, ${sql.json({ order_id: no })}) -> 'path' as path`;
    expect(tried!.path).toMatchObject([
      { verdict: "run", input: { to: "+14155550177", body: "new" } },
    ]);
    expect(await sentTo()).toEqual([]);
  });

  it("is retried with the order as it is by then, when it could not be enrolled", async () => {
    const { sql } = database();
    const id = await workflow("order_created", [task("{{order.state}} {{trigger.order.state}}")]);
    const no = await order();
    await sql`
      update ridgeline.workflow_executions set status = 'failed', finished_at = now(),
        error = '{"code": "conditions_failed", "message": "broken"}'
      where workflow_id = ${id}`;
    await sql`delete from ridgeline.scheduled_steps where tenant_id = ${company}`;
    await sql`update crm.orders set state = 'moved' where no = ${no}`;
    await sql`
      select ridgeline.retry_execution(e.id) from ridgeline.workflow_executions as e
      where e.workflow_id = ${id}`;
    await sql`select automation.tick()`;
    expect((await steps()).map(({ input }) => input)).toEqual([
      expect.objectContaining({ title: "moved moved" }),
    ]);
  });

  it("enrols orders by their keys, and by a filter", async () => {
    const { sql } = database();
    const id = await workflow("order_updated", [task("{{order.no}}")]);
    const [first, second] = [await order(), await order({ state: "lost" })];
    const [listed] = await sql`
      select status, enrolled, skipped
      from ridgeline.enroll_records(${id}, record_ids => ${[first, second, "999999"]})`;
    expect(listed).toEqual({ status: "completed", enrolled: 2, skipped: 1 });
    await sql`
      select ridgeline.enroll_records(${id},
        filter => '[{"field": "order.state", "operator": "equals", "value": "lost"}]')`;
    await sql`select automation.tick()`;
    const runs = await sql`
      select record_id from ridgeline.workflow_executions where tenant_id = ${company} order by id`;
    expect(runs.map(({ record_id }) => record_id)).toEqual([first, second, second]);
  });
});

describe("attach", () => {
  it.each<[string, JSONValue, RegExp]>([
    ["a phone that is not there", { phone: "handy" }, /no column "handy"/],
    ["an email that is the key of another record", { email: "id" }, /email "id" is bigint/],
  ])("names the mistake: %s", async (_name, columns, says) => {
    await expect(
      attach(database().sql, "crm.vans", "van", { tenant: "company_id", ...(columns as object) }),
    ).rejects.toThrow(says);
  });

  it("null says that a column of that name means something else", async () => {
    const { sql } = database();
    await attach(sql, "crm.orders", "order", { ...orders, phone: null });
    await workflow("order_created", [text()]);
    await order({ customer: await person(), site_phone: "+14155550177" });
    expect(await sentTo()).toEqual(["+14155550100"]);
    await attach(sql, "crm.orders", "order", orders);
  });

  it("whoever takes their place, no foreign key leads from the engine to a table of the CRM", async () => {
    await withDatabase(async ({ sql }) => {
      const outside = () =>
        sql`
          select conname from pg_constraint
          where contype = 'f' and connamespace in ('ridgeline'::regnamespace, 'automation'::regnamespace)
            and (select relnamespace from pg_class where oid = confrelid)
              not in ('ridgeline'::regnamespace, 'automation'::regnamespace)`;
      expect(await outside()).toEqual([]);
      await attachAll(sql);
      expect(await outside()).toEqual([]);
    });
  });

  it("contacts with other keys than uuid get their texts; what the CRM has no place for says so", async () => {
    await withDatabase(async ({ sql }) => {
      await sql.unsafe(`create table public.clients (
        tenant_id uuid not null, id bigint generated always as identity primary key, phone text)`);
      await sql`select automation.detach('contact')`;
      await attach(sql, "public.clients", "contact", {});
      const [tenant] = await sql`insert into public.tenants (name) values ('Bolt') returning id`;
      const [id] = await sql`
        insert into ridgeline.workflows (tenant_id, name, trigger_type)
        values (${tenant!.id}, 'Greet', 'contact_created') returning id`;
      await sql`
        insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config,
          continue_on_error)
        values (${tenant!.id}, ${id!.id}, 1, 'add_tag', '{"tag": "New"}', true),
          (${tenant!.id}, ${id!.id}, 2, 'send_sms', '{"body": "Hi"}', false)`;
      await sql`update ridgeline.workflows set is_active = true`;
      await sql`insert into public.clients (tenant_id, phone) values (${tenant!.id}, '4155550100')`;
      await sql`select automation.tick()`;
      const [claimed] = await sql<Claimed[]>`select * from automation.claim_steps('van', 5)`;
      expect(claimed!.payload.to).toBe("+14155550100");
      const [tagging] = await sql`
        select error ->> 'message' as message from ridgeline.workflow_step_executions
        where step_type = 'add_tag'`;
      expect(tagging!.message).toMatch(/contacts of this CRM have no tags/);
    });
  });
});

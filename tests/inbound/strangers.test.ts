// Anybody can post a form, under anybody's name and with any address to answer to. A stranger speaks for
// himself: he neither changes nor learns what the office knows of a customer, and the office is not his
// megaphone.
import type { JSONValue } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { asRole, useDatabase } from "../support/database.ts";
import {
  accepted,
  anotherForm,
  contactsOf,
  type Form,
  heldOf,
  openForm,
  postTo,
  submissionsOf,
  tasksOf,
} from "./form-support.ts";
import { fired, type Functions, functionsOn, newNumber, openOffice } from "./support.ts";

const database = useDatabase();
let functions: Functions;
beforeAll(() => {
  functions = functionsOn(database());
});
afterAll(() => functions.close());

const post = (form: Form, fields: object, options = {}) =>
  accepted(postTo(functions, form, fields, options));

interface Step {
  type: "send_sms" | "send_email";
  config: JSONValue;
}

async function reply(
  form: Form,
  steps: Step[],
  conditions: JSONValue = [],
  trigger = "form_submitted",
) {
  const { sql } = database();
  const [workflow] = await sql`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, conditions)
    values (${form.tenantId}, ${crypto.randomUUID()}, ${trigger}, ${
    sql.json(conditions)
  }) returning id`;
  for (const [order, { type, config }] of steps.entries()) {
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
      values (${form.tenantId}, ${workflow!.id}, ${order + 1}, ${type}, ${sql.json(config)})`;
  }
  await sql`
    update ridgeline.workflows set is_active = true where tenant_id = ${form.tenantId} and id = ${
    workflow!.id
  }`;
}

const sms = (body: string, more: object = {}): Step => ({
  type: "send_sms",
  config: { body, ...more },
});

/** Everything that this office's workflows would send now, and what was skipped and why. */
async function said(form: Form): Promise<Record<string, unknown>[]> {
  const { sql } = database();
  const messages = [];
  for (let round = 0; round < 5; round++) {
    const claimed = await sql`select * from automation.claim_steps('test', 100)`;
    const own = claimed.filter(({ tenant_id }) => tenant_id === form.tenantId);
    messages.push(...own.map(({ payload }) => payload));
    if (claimed.length === 0) break;
    await sql`select * from automation.finish_steps(${
      sql.json(claimed.map((one) => ({
        tenant_id: one.tenant_id,
        step_id: one.step_id,
        attempt_token: one.attempt_token,
        outcome: "succeeded",
        result: { provider_id: crypto.randomUUID() },
      })))
    })`;
  }
  return messages;
}

async function knowMaria(form: Form, changes: object = {}) {
  const { sql } = database();
  const maria = {
    tenant_id: form.tenantId,
    first_name: "Maria",
    last_name: "Lopez",
    email: "maria@example.com",
    phone: newNumber(),
    address_line1: "12 Secret St",
    stage: "won",
    ...changes,
  };
  const [row] = await sql`insert into contacts ${sql(maria)} returning *`;
  return row!;
}

describe("a post about a customer who is known", () => {
  it("is linked and changes nothing; what differs is a task for the office", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    const maria = await knowMaria(form, { company: "", city: null });
    await post(form, {
      name: "Mallory Smith",
      email: "MARIA@example.com",
      phone: "+12065550142",
      company: "Mallory Inc",
      city: "Austin",
    });
    expect(await contactsOf(sql, form)).toEqual([maria]);
    expect(await submissionsOf(sql, form)).toMatchObject([{
      contact_id: maria.id,
      email: "maria@example.com",
      phone: "+12065550142",
      is_trusted: false,
      is_contact_new: false,
      understood: { first_name: "Mallory", last_name: "Smith", company: "Mallory Inc" },
    }]);
    const [task] = await tasksOf(sql, form);
    expect(task).toMatchObject({
      contact_id: maria.id,
      title: 'The form "Estimate" says something else of a contact',
      status: "open",
    });
    expect(task!.description.split("\n")).toEqual([
      "city: Austin (known: nothing)",
      "company: Mallory Inc (known: nothing)",
      "first_name: Mallory (known: Maria)",
      "last_name: Smith (known: Lopez)",
      `phone: +12065550142 (known: ${maria.phone})`,
    ]);
    await post(form, { email: "maria@example.com", name: "maria LOPEZ", roof: "tile" });
    expect(await tasksOf(sql, form)).toHaveLength(1);
  });

  it("fills blanks, '' too, where the form is trusted, and overwrites nothing", async () => {
    const { sql } = database();
    const form = await openForm(sql, { trusted: true });
    const maria = await knowMaria(form, { company: "", city: "  ", postal_code: null });
    await reply(form, [sms("Hi {{contact.first_name}} of {{contact.address_line1}}")]);
    await post(form, {
      name: "Mallory Smith",
      email: "maria@example.com",
      company: "Lopez Ltd",
      city: "Austin",
      zip: "78701",
    });
    expect(await contactsOf(sql, form)).toMatchObject([{
      ...maria,
      company: "Lopez Ltd",
      city: "Austin",
      postal_code: "78701",
      updated_at: expect.anything(),
    }]);
    expect(await said(form)).toMatchObject([{ to: maria.phone, body: "Hi Maria of 12 Secret St" }]);
    // What it could not fill is still the office's to judge.
    expect((await tasksOf(sql, form))[0]!.description).toContain(
      "first_name: Mallory (known: Maria)",
    );
  });

  const SPIES: [string, object][] = [
    ["the reply, by default", {}],
    ["a text to the number that was posted", { to: "{{form_submission.phone}}" }],
    ["a text to a field of the post", { to: "{{trigger.record.data.phone}}" }],
    ["a text to the number of the contact, as the author meant it", { to: "{{contact.phone}}" }],
    ["a text to the number of the contact at that time", { to: "{{trigger.contact.phone}}" }],
  ];
  const LEAKS =
    "{{contact.first_name}} {{contact.address_line1}} {{contact.stage}} {{contact.tags}} " +
    "{{trigger.contact.last_name}} {{trigger.contact.address_line1}} {{contact.email}} " +
    "{{form_submission.understood.first_name}} {{user.full_name}} " +
    '{{#if contact.stage == "won"}}customer{{/if}}';

  it.each(SPIES)("reveals nothing of hers: %s", async (_name, more) => {
    const { sql } = database();
    const form = await openForm(sql);
    const user = crypto.randomUUID();
    await sql`
      insert into tenant_members (tenant_id, user_id, full_name)
      values (${form.tenantId}, ${user}, 'Her own agent')`;
    const maria = await knowMaria(form, { assigned_to: user });
    const [tag] = await sql`
      insert into tags (tenant_id, name) values (${form.tenantId}, 'divorced') returning id`;
    await sql`
      insert into contact_tags (tenant_id, contact_id, tag_id)
      values (${form.tenantId}, ${maria.id}, ${tag!.id})`;
    await reply(form, [sms(LEAKS, more)]);
    await post(form, { name: "Mallory", email: "maria@example.com", phone: "+12065550142" });
    const [message] = await said(form);
    expect(message).toMatchObject({ to: "+12065550142" });
    const words = String(message!.body).split(/[\s[\]]+/).filter(Boolean);
    expect(words).toEqual(["Mallory", "maria@example.com", "Mallory"]);
  });

  it("reveals nothing by email either, whichever address matched", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    const maria = await knowMaria(form);
    await reply(form, [{
      type: "send_email",
      config: {
        subject: 'Hi {{contact.last_name | default: "there"}}',
        html: "<p>{{contact.email}} {{contact.address_line1}}</p>",
      },
    }]);
    await post(form, { email: "mallory@evil.example", phone: maria.phone });
    const [message] = await said(form);
    expect(message).toMatchObject({ subject: "Hi there", html: "<p>mallory@evil.example </p>" });
    expect(JSON.stringify(message)).not.toMatch(/Lopez|Secret|maria@/);
    expect((await submissionsOf(sql, form))[0]!.contact_id).toBe(maria.id);
  });

  it("sends nothing to her other addresses: who posts names the one to answer to", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await knowMaria(form);
    await reply(form, [sms("Hi")]);
    await post(form, { email: "maria@example.com" });
    expect(await said(form)).toEqual([]);
    const [step] = await sql`
      select status, error from ridgeline.workflow_step_executions where tenant_id = ${form.tenantId}
        and step_type = 'send_sms'`;
    expect(step).toMatchObject({ status: "skipped" });
  });

  it("is still decided on by what the office knows of her, and told to the office in full", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await knowMaria(form);
    await reply(form, [sms("Welcome, new lead")], [{
      field: "contact.stage",
      operator: "not_equals",
      value: "won",
    }]);
    await sql`update tenants set phone = '+12065550100' where id = ${form.tenantId}`;
    await reply(form, [
      sms("{{contact.first_name}} {{contact.address_line1}}: {{trigger.record.data.notes}}", {
        to: "+12065550100",
      }),
    ]);
    const notes = `See https://photos.example/roof ${"x".repeat(600)}`;
    await post(form, { email: "maria@example.com", phone: "+12065550142", notes });
    expect(await said(form)).toMatchObject([
      { to: "+12065550100", body: `Maria 12 Secret St: ${notes}` },
    ]);
  });

  it("sees a contact that it created itself", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await reply(form, [sms("Hi {{contact.first_name}} {{contact.last_name}} of {{contact.city}}")]);
    const phone = newNumber();
    await post(form, { name: "Juan de la Cruz", phone, city: "Austin" });
    expect(await said(form)).toMatchObject([{ to: phone, body: "Hi Juan de la Cruz of Austin" }]);
  });

  it("that a member wrote down is the office's own, and sees her", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    const maria = await knowMaria(form);
    await reply(form, [sms("Hi {{contact.first_name}} {{form_submission.data.link}}")]);
    const user = crypto.randomUUID();
    await sql`insert into tenant_members (tenant_id, user_id) values (${form.tenantId}, ${user})`;
    await asRole(sql, { user }, (as) =>
      as`
        insert into ridgeline.form_submissions (tenant_id, form, contact_id, data)
        values (${form.tenantId}, 'By phone', ${maria.id}, '{"link": "https://apex.example/x"}')`);
    expect(await said(form)).toMatchObject([
      { to: maria.phone, body: "Hi Maria https://apex.example/x" },
    ]);
  });
});

describe("the words of a stranger", () => {
  it.each<[string, string]>([
    ["a link", "WIN $500 https://evil.example/win now"],
    ["a bare name", "Prize at evil-prize.com"],
    ["a short link", "bit.ly/3xYz"],
    ["www", "WWW.EVIL.EXAMPLE"],
    ["full-width letters", "ｅｖｉｌ．ｃｏｍ"],
    ["a name cut by what cannot be seen", "ev\u200bil.c\u200bom"],
    ["an address", "help@evil.example"],
    ["a tag", "<a href=x>click</a>"],
  ])("are no name when they hold %s", async (_name, name) => {
    const { sql } = database();
    const form = await openForm(sql);
    await reply(form, [
      sms(
        'Hi {{contact.first_name | default: "there"}}{{contact.last_name}}! {{trigger.record.data.name}}',
      ),
    ]);
    await reply(
      form,
      [sms('Hi {{contact.first_name | default: "you"}}{{contact.company}}')],
      [],
      "contact_created",
    );
    await post(form, { name, company: name, phone: "+12065550142" });
    expect(await contactsOf(sql, form)).toMatchObject([{
      first_name: null,
      last_name: null,
      company: null,
    }]);
    // As it was posted, for the office to look at.
    expect((await submissionsOf(sql, form))[0]!.data.name).toBe(name);
    const messages = await said(form);
    const greetings = messages.map(({ body }) => String(body).split("!")[0]).sort();
    expect(greetings).toEqual(["Hi there", "Hi you"]);
    expect(JSON.stringify(messages)).not.toMatch(/evil-prize|https|bit\.ly|WWW\.|<a/i);
  });

  it.each<[string, string | undefined]>([
    ["Dr. J.R. Smith Jr.", "J.R."],
    ["St.John Rivers", "St.John"],
    ["María-José O'Neil", "María-José"],
    ["A. B. Co", "A. B."],
  ])("may be a name with dots: %s", async (name, first) => {
    const { sql } = database();
    const form = await openForm(sql);
    await post(form, { name, phone: newNumber() });
    expect((await contactsOf(sql, form))[0]!.first_name).toBe(first);
  });

  it("go out cut, escaped even where the author did not ask for it, and without links", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await reply(form, [{
      type: "send_email",
      config: {
        subject: "You wrote",
        html: "<p>{{{trigger.record.data.notes}}}</p><i>{{{form_submission.data.more.note}}}</i>",
      },
    }]);
    await reply(form, [
      sms("{{form_submission.data.notes}}|{{trigger.form_submission.data.list}}"),
    ]);
    await post(form, {
      email: "victim@example.com",
      phone: "+12065550142",
      notes:
        `<script src="//evil.example/x">\u0007\u202eline\nbreak javascript:alert(1) evil.com/pay me@home.com ${
          "x".repeat(900)
        }`,
      more: { note: '"><img src=x onerror=y>' },
      list: ["see http://evil.example", "fine"],
    });
    const messages = await said(form);
    const email = messages.find((one) => "html" in one)!;
    const text = messages.find((one) => "body" in one)!;
    expect(email.html).not.toMatch(/<script|<img|evil\.|javascript/);
    expect(String(email.html)).toContain("me@home.com");
    expect(String(email.html).length).toBeLessThan(620);
    const [notes, list] = String(text.body).split("|");
    expect(notes).toMatch(/line\nbreak \[link\] \[link\] me@home\.com x+…$/);
    expect([...notes!].length).toBe(500);
    for (const hidden of ["\u0007", "\u202e"]) expect(notes).not.toContain(hidden);
    expect(list).toContain("see [link]");
  });
});

describe("how much one can make the office say", () => {
  const bodies = async (form: Form) => (await said(form)).length;

  it("to one number: three texts an hour, however different the posts are; the others are held", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await reply(form, [sms("Thanks!")]);
    const other = { ...form, ...(await anotherForm(sql, form, { name: "Contact" })) };
    const spellings = ["+12065550142", "206-555-0142", "(206) 555 0142", "1 206.555.0142"];
    for (let i = 0; i < 12; i++) {
      await post(i % 2 ? form : other, {
        phone: spellings[i % 4],
        email: `m${i}@example.com`,
        notes: `word ${i}`,
      });
    }
    expect(await bodies(form)).toBe(3);
    expect(await submissionsOf(sql, form)).toHaveLength(3);
    const held = await heldOf(sql, form);
    expect(held).toHaveLength(9);
    expect(held[0]).toMatchObject({
      reason: "limit",
      problem: "more than 3 posts within the hour with this phone number",
    });
    expect(await tasksOf(sql, form)).toHaveLength(2 + 2);
    // Nothing else happened on its account either.
    expect(await contactsOf(sql, form)).toHaveLength(1);
  });

  it("to one mailbox, in whatever spelling", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await reply(form, [{ type: "send_email", config: { subject: "Hi", text: "Thanks" } }]);
    const spellings = [
      "jo.lee@gmail.com",
      "jolee+a@gmail.com",
      "JOLEE@googlemail.com",
      "j.o.l.e.e@gmail.com",
      "jolee+b@gmail.com",
    ];
    for (const email of spellings) await post(form, { email });
    expect(await bodies(form)).toBe(3);
    expect(await heldOf(sql, form)).toHaveLength(2);
  });

  it("through one form and for the tenant, as they are set", async () => {
    const { sql } = database();
    const form = await openForm(sql, { max_fired_per_hour: 4 }, {
      forms: { max_fired_per_hour: 6 },
    });
    await reply(form, [sms("Thanks!")]);
    const other = { ...form, ...(await anotherForm(sql, form, { name: "Contact" })) };
    for (let i = 0; i < 8; i++) await post(form, { phone: newNumber() });
    for (let i = 0; i < 8; i++) await post(other, { phone: newNumber() });
    expect(await bodies(form)).toBe(6);
    expect((await heldOf(sql, form)).map(({ form: of, problem }) => `${of}: ${problem}`)).toEqual([
      ...Array(4).fill("Estimate: more than 4 posts within the hour through this form"),
      ...Array(6).fill("Contact: more than 6 posts within the hour through all forms"),
    ]);
    await sql`
      update automation.form_reach set window_start = window_start - interval '61 minutes'
      where tenant_id = ${form.tenantId}`;
    await post(form, { phone: newNumber() });
    expect(await bodies(form)).toBe(1);
    // Another office is not concerned.
    const neighbour = await openForm(sql);
    await reply(neighbour, [sms("Thanks!")]);
    await post(neighbour, { phone: newNumber() });
    expect(await bodies(neighbour)).toBe(1);
  });

  it("at the same time as one after the other", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await reply(form, [sms("Thanks!")]);
    await Promise.all(
      Array.from(
        { length: 10 },
        (_, i) => post(form, { phone: "+12065550142", notes: `word ${i}` }),
      ),
    );
    expect(await bodies(form)).toBe(3);
    expect(await heldOf(sql, form)).toHaveLength(7);
  });

  it("what was held is released by a member of that office, once, and fires then", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    const [user, stranger] = [crypto.randomUUID(), crypto.randomUUID()];
    await sql`insert into tenant_members (tenant_id, user_id) values (${form.tenantId}, ${user})`;
    await sql`
      insert into tenant_members (tenant_id, user_id)
      values (${(await openOffice(sql)).tenantId}, ${stranger})`;
    await post(form, { [form.honeypot]: "x", name: "Ann Lee", phone: "206 555 0142" });
    expect(await fired(sql, form.tenantId)).toEqual([]);
    const read = (who: string) =>
      asRole(
        sql,
        { user: who },
        (as) => as`select id, reason, data from ridgeline.held_submissions`,
      );
    const [held] = await read(user);
    expect(held).toMatchObject({ reason: "honeypot", data: { name: "Ann Lee" } });
    expect(await read(stranger)).toEqual([]);
    const release = (who: string) =>
      asRole(sql, { user: who }, (as) => as`select (ridgeline.release_submission(${held!.id})).id`);
    await expect(release(stranger)).rejects.toThrow(/was not found/);
    const [first] = await release(user);
    expect(await release(user)).toEqual([first]);
    expect(await fired(sql, form.tenantId)).toEqual(["form_submitted"]);
    expect(await submissionsOf(sql, form)).toMatchObject([
      { id: first!.id, data: { name: "Ann Lee", phone: "206 555 0142" } },
    ]);
    await expect(
      asRole(sql, { user }, (as) => as`update ridgeline.held_submissions set reason = 'limit'`),
    ).rejects.toThrow(/denied/);
    await asRole(sql, { user: stranger }, (as) => as`delete from ridgeline.held_submissions`);
    expect(await heldOf(sql, form)).toHaveLength(1);
  });

  it("what was held is gone after a month", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await post(form, { [form.honeypot]: "x", name: "Robot" });
    await sql`
      update ridgeline.held_submissions set created_at = created_at - interval '29 days'
      where tenant_id = ${form.tenantId}`;
    await post(form, { [form.honeypot]: "x", name: "Robot" });
    expect(await heldOf(sql, form)).toHaveLength(2);
    await sql`
      update ridgeline.held_submissions set created_at = created_at - interval '2 days'
      where tenant_id = ${form.tenantId}`;
    await post(form, { [form.honeypot]: "x", name: "Robot" });
    expect(await heldOf(sql, form)).toHaveLength(2);
  });
});

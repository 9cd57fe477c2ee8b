// A newcomer attaches a CRM of landlords by the names that the pages use, and is told of what would have been silent:
// who rents is no tenant here, who said no is in a column nobody heeds, what a task says has no column.
import fs from "node:fs";
import path from "node:path";
import type { Sql } from "postgres";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { connect } from "../../scripts/lib/scratch.ts";
import { asRole } from "../support/database.ts";
import {
  createProject,
  type Host,
  installEngine,
  publish,
  receive,
  speakAs,
  work,
} from "../support/host.ts";

const OFFICE = "0a000000-0000-4000-8000-0000000000e1";
const PAULA = "0b000000-0000-4000-8000-0000000000e1";
let host: Host;
let sql: Sql;
let said: string[] = [];
const told = (pattern: RegExp) => said.filter((one) => pattern.test(one));
beforeAll(async () => {
  host = await createProject();
  sql = connect(host.url, {
    onnotice: ({ severity, message, hint }) => said.push(`${severity}: ${message} ${hint ?? ""}`),
  });
  await sql.unsafe(`
    create table public.offices (id uuid primary key, name text not null, is_active boolean not null default true);
    create table public.people (
      id bigint generated always as identity primary key, office_id uuid not null references public.offices, first_name text,
      phone text, mobile text, email text, do_not_email boolean not null default false, "optedOutAt" timestamptz,
      is_active boolean not null default true);
    create table public.tenants (
      id uuid primary key default gen_random_uuid(), office_id uuid not null references public.offices,
      person_id bigint not null references public.people, rent numeric);
    create table public.leases (
      id bigint generated always as identity primary key, office_id uuid not null references public.offices,
      tenant_id uuid not null references public.tenants, billed_to bigint references public.people, status text);
    create table public.caretakers (
      id bigint generated always as identity primary key, office_id uuid not null references public.offices, user_id uuid,
      display_name text not null, role text not null default 'member', banned boolean not null default false);
    create table public.errands (
      id bigint generated always as identity primary key, office uuid not null references public.offices, title text not null,
      who uuid not null, person_id bigint references public.people, by_when timestamptz);
    insert into public.offices (id, name) values ('${OFFICE}', 'Elm Street');
    insert into public.caretakers (office_id, user_id, display_name, role, banned) values
      ('${OFFICE}', '${PAULA}', 'Paula Pike', 'admin', false),
      ('${OFFICE}', gen_random_uuid(), 'Ben Banned', 'admin', true),
      ('${OFFICE}', null, 'A machine', 'admin', false)`);
  await installEngine(sql);
  await sql`select automation.attach_tenants('public.offices', '{"deleted": "is_active"}')`;
  await speakAs(sql, OFFICE, "+15125550100");
});
beforeEach(() => {
  said = [];
});
afterAll(async () => {
  await sql.end({ timeout: 1 });
  await host.drop();
});

test("is told that nobody says where its offices are", async () => {
  await sql`select automation.attach_tenants('public.offices', '{"deleted": "is_active"}')`;
  expect(said).toEqual([
    expect.stringMatching(
      /^NOTICE: .*no column of public\.offices is known as timezone, country: .*New_York, US/,
    ),
  ]);
  said = [];
  await sql`select automation.attach_tenants('public.offices', '{"deleted": "is_active", "timezone": null, "country": null}')`;
  expect(said).toEqual([]);
});

test("is told which keys of the settings say where its offices are, for they are read only where they are named", async () => {
  await sql`alter table public.offices add column settings jsonb`;
  await sql`update public.offices set settings = '{"timezone": "America/Denver", "Country": "CA"}'`;
  const where = async (columns: object) => {
    said = [];
    await sql`select automation.attach_tenants('public.offices', ${sql.json({ ...columns })})`;
    return (await sql`select timezone, country from automation.read_tenants(null)`)[0];
  };
  expect(await where({})).toEqual({ timezone: "America/New_York", country: "US" });
  const hint = { timezone: "settings.timezone", country: "settings.Country" };
  expect(said).toEqual([
    expect.stringMatching(/^NOTICE: .*no column of public\.offices is known as timezone, country/),
  ]);
  expect(JSON.parse(/\{[^}]*\}/.exec(said[0]!)![0])).toEqual(hint);
  expect(await where(hint)).toEqual({ timezone: "America/Denver", country: "CA" });
  expect(said).toEqual([]);
  await sql`alter table public.offices drop column settings`;
  await sql`select automation.attach_tenants('public.offices', '{"deleted": "is_active"}')`;
});

test("counts neither a machine nor whoever is banned as a member, and calls the others by their name", async () => {
  await sql`select automation.attach_members('public.caretakers', '{"tenant": "office_id"}')`;
  expect(await sql`select user_id, full_name from automation.read_members(null, null)`).toEqual([
    { user_id: PAULA, full_name: "Paula Pike" },
  ]);
  await sql`insert into public.caretakers (office_id, display_name) values (${OFFICE}, 'Another machine')`;
  expect(told(/^WARNING/)).toEqual([]);
});

test("knows a role that is a row of another table, through a view as the pages have it", async () => {
  const page = fs.readFileSync(path.join(import.meta.dirname, "../../docs/members.md"), "utf8");
  await sql.unsafe(`
    create table public.roles (id int primary key, name text not null);
    create table public.memberships (organization_id uuid, user_id uuid, role_id int references public.roles);
    insert into public.roles values (1, 'Owner');
    insert into public.memberships values ('${OFFICE}', '${PAULA}', 1)`);
  await sql.unsafe(/^```text\n(create view public\.members_by_role[^]*?)^```/m.exec(page)![1]!);
  expect(await sql`select user_id, role from automation.read_members(null, null)`).toEqual([
    { user_id: PAULA, role: "owner" },
  ]);
  await sql`select automation.attach_members('public.caretakers', '{"tenant": "office_id"}')`;
});

test("is told of who said no though other columns say it by their name, and not of what belongs to those", async () => {
  const alarm = async (columns: string, mapped: object = {}) => {
    await sql.unsafe(`create table public.heads (
      id bigint primary key, office_id uuid not null, phone text, email text, ${columns})`);
    said = [];
    await sql`select automation.attach('public.heads', 'contact', ${
      sql.json({ tenant: "office_id", ...mapped })
    })`;
    await sql`select automation.detach('contact')`;
    await sql`drop table public.heads`;
    return said.map((one) => /: ([^:]+) of public\.heads may say who/.exec(one)?.[1] ?? one);
  };
  const outs = "sms_opt_out boolean, email_opt_out boolean";
  const consents = "sms_consent boolean, email_consent boolean";
  expect(await alarm(`${outs}, do_not_contact boolean`)).toEqual(["do_not_contact"]);
  expect(await alarm(`${consents}, sms_opted_out_at timestamptz, sms_unsubscribed boolean`))
    .toEqual(["sms_opted_out_at, sms_unsubscribed"]);
  const said_so = { sms_consent: "sms_consent", email_consent: "email_consent" };
  expect(await alarm(`${consents}, do_not_contact boolean`, said_so)).toEqual(["do_not_contact"]);
  expect(
    await alarm(`${outs}, do_not_contact boolean`, {
      sms_opt_out: "do_not_contact",
      email_opt_out: "do_not_contact",
    }),
  ).toEqual([]);
  expect(await alarm("dnd jsonb, opt_in boolean", { sms_opt_out: null, email_opt_out: null }))
    .toEqual([]);
  expect(await alarm(`${outs}, ${consents}, sms_opted_out_at timestamptz, email_consent_date date`))
    .toEqual([]);
  expect(await alarm("mailing_city text, cancelled_by text, unsubscribe_url text")).toEqual([]);
});

test("is told of who said no, of numbers that nobody is known by, and of rows that are gone", async () => {
  await sql`select automation.attach('public.people', 'contact', '{"tenant": "office_id"}')`;
  expect(said).toEqual([
    expect.stringMatching(
      /^NOTICE: .*of public\.people phone alone is mapped as phone, .* mobile .*\["phone", "mobile"\]/,
    ),
    expect.stringMatching(
      /^NOTICE: .*which rows of public\.people are gone: .* \{"deleted": "is_active"\}/,
    ),
    expect.stringMatching(
      /^WARNING: .*: do_not_email, optedOutAt of public\.people may say who is not to be written to, and nothing heeds it/,
    ),
  ]);
  said = [];
  await sql`select automation.attach('public.people', 'contact', '{"tenant": "office_id", "phone": ["mobile", "phone"],
    "deleted": "is_active", "email_opt_out": "do_not_email", "sms_opt_out": "optedOutAt"}')`;
  expect(said).toEqual([]);
});

test("writes to nobody who is not active any more, and ends their runs", async () => {
  await publish(sql, OFFICE, "contact_created", [
    ["send_sms", { body: "Hi {{contact.first_name}}", purpose: "transactional" }],
    ["wait", { days: 1 }],
    ["send_sms", { body: "Still here?", purpose: "transactional" }],
  ]);
  await sql`insert into public.people (office_id, first_name, mobile, is_active) values
    (${OFFICE}, 'Rita', '512-555-0142', true), (${OFFICE}, 'Gone', '512-555-0143', false)`;
  expect((await work(sql)).map(({ payload }) => payload.to)).toEqual(["+15125550142"]);
  await receive(sql, "+15125550142", "Thanks");
  await receive(sql, "+15125550143", "Who is this?");
  expect(
    await sql`select contact_id from ridgeline.messages where direction = 'inbound' order by created_at, id`,
  ).toEqual([{ contact_id: "1" }, { contact_id: null }]);
  await sql`update public.people set is_active = false where first_name = 'Rita'`;
  await work(sql);
  expect(await sql`select distinct status from ridgeline.workflow_executions where record_id = '1'`)
    .toEqual([{ status: "cancelled" }]);
  expect(await sql`select automation.read_record('contact', ${OFFICE}, '1') as gone`).toEqual([
    { gone: null },
  ]);
  await sql`update public.offices set is_active = false`;
  expect(await sql`select automation.tenant_state(${OFFICE}) as state`).toEqual([{
    state: "deleted",
  }]);
  await sql`update public.offices set is_active = true`;
});

test("is told that tenant_id is another table's key, and which columns lead to a contact", async () => {
  await sql`select automation.attach('public.leases', 'lease')`;
  expect(told(/^WARNING/)).toEqual([
    expect.stringMatching(
      /public\.leases\.tenant_id refers to public\.tenants, and the tenants are public\.offices/,
    ),
  ]);
  expect(told(/names a record of/)).toEqual([
    expect.stringMatching(/billed_to of public\.leases .* "contact".*\{"contact": "billed_to"\}/),
  ]);
  said = [];
  await sql`select automation.attach('public.leases', 'lease', '{"tenant": "office_id", "contact": "billed_to"}')`;
  expect(said).toEqual([]);
});

test("is not told of a column that leads back, nor of what it has answered", async () => {
  await sql.unsafe(`
    create table public.repairs (
      id bigint primary key, office_id uuid not null, person_id bigint not null references public.people,
      lease_id bigint references public.leases);
    alter table public.people add column latest_repair_id bigint references public.repairs`);
  const links = async (table: string, entity: string, columns: object) => {
    said = [];
    await sql`select automation.attach(${`public.${table}`}, ${entity}, ${
      sql.json({ tenant: "office_id", ...columns })
    })`;
    return told(/names a record of/).map((one) => / ([a-z_]+) of public/.exec(one)![1]);
  };
  expect(await links("repairs", "repair", { contact: "person_id" })).toEqual(["lease_id"]);
  expect(await links("repairs", "repair", { contact: "person_id", lease: null })).toEqual([]);
  expect(await links("people", "contact", { deleted: "is_active" })).toEqual([]);
  expect(await links("leases", "lease", { contact: null })).toEqual([]);
  await sql`insert into public.repairs (id, office_id, person_id) select 1, office_id, id from public.people limit 1`;
  await sql`select automation.detach('repair')`;
  await sql`alter table public.people drop column latest_repair_id`;
  await links("people", "contact", {
    phone: ["mobile", "phone"],
    deleted: "is_active",
    email_opt_out: "do_not_email",
    sms_opt_out: "optedOutAt",
  });
  await links("leases", "lease", { contact: "billed_to" });
});

test("may have a tenant for each user, whose key is the users'", async () => {
  await sql.unsafe(`
    create table public.logins (id uuid primary key);
    create table public.profiles (id uuid primary key references public.logins, full_name text);
    create table public.prospects (id uuid primary key, user_id uuid not null references public.logins, name text);
    create table public.chores (
      id uuid primary key, user_id uuid not null references public.logins, title text, contact_id text, due_at timestamptz);
    create table public.texts_in (
      id uuid primary key, user_id uuid not null references public.logins, "from" text, "to" text, body text);
    select automation.attach_tenants('public.profiles', '{"timezone": null, "country": null}')`);
  said = [];
  await sql`select automation.attach('public.prospects', 'prospect', '{"tenant": "user_id"}')`;
  await sql`select automation.attach_target('task', 'public.chores', '{"tenant": "user_id"}')`;
  await sql`select automation.attach_inbox('public.texts_in', '{"tenant": "user_id"}')`;
  expect(told(/^WARNING/)).toEqual([]);
  await sql`select automation.detach_inbox('public.texts_in')`;
  await sql`select automation.detach('prospect')`;
  await sql`select automation.attach_tenants('public.offices', '{"deleted": "is_active"}')`;
});

test("is told what a task says that no column takes, and what it must not leave out", async () => {
  await sql`select automation.attach_target('task', 'public.errands', '{"tenant": "office", "assigned_to": "who"}')`;
  expect(said).toEqual([
    expect.stringMatching(/^NOTICE: .*no column of public\.errands is known as contact, due:/),
    expect.stringMatching(
      /^WARNING: .*who of public\.errands must not be empty: .*defaults => \{"who"/,
    ),
  ]);
  const greet = (config: object) =>
    publish(sql, OFFICE, "lease_created", [["create_task", { title: "Call", ...config }]]);
  await expect(greet({})).rejects.toThrow(
    /steps\[0\]\.step_config\.assigned_to: who of public\.errands must not be empty/,
  );
  said = [];
  await greet({ due_in_days: 2, assigned_to: PAULA });
  expect(told(/due_in_days is written nowhere: no column of public\.errands is known as due/))
    .toHaveLength(1);
  await sql`select automation.attach_target('task', 'public.errands', '{"tenant": "office", "assigned_to": "who",
    "due": "by_when", "contact": "person_id"}', defaults => ${sql.json({ who: PAULA })})`;
  said = [];
  await greet({ due_in_days: 1 });
  expect(said).toEqual([]);
  await sql.unsafe(`
    insert into public.people (office_id, first_name) values ('${OFFICE}', 'Lee');
    insert into public.tenants (office_id, person_id) select p.office_id, p.id from public.people as p where p.first_name = 'Lee';
    insert into public.leases (office_id, tenant_id, billed_to) select t.office_id, t.id, t.person_id from public.tenants as t`);
  await work(sql);
  expect(
    await sql`select who, person_id is not null as about, by_when is not null as due from public.errands`,
  ).toEqual([{ who: PAULA, about: true, due: true }, { who: PAULA, about: true, due: true }]);
});

test("is told nothing where there is nothing to tell", async () => {
  await sql.unsafe(`
    create table public.notes (
      id bigint generated always as identity primary key, office_id uuid not null, person_id bigint, content text, direction text);
    create table public.inbox (
      id bigint generated always as identity primary key, office_id uuid not null, "from" text, "to" text, body text)`);
  await sql`select automation.attach_target('timeline', 'public.notes', '{"tenant": "office_id", "contact": "person_id"}')`;
  await sql`select automation.attach_inbox('public.inbox', '{"tenant": "office_id"}')`;
  await sql`select automation.attach_inbox('public.inbox', '{"tenant": "office_id"}')`;
  expect(said).toEqual([]);
});

test("brings the schemas of its offices together as the pages say, and writes into each", async () => {
  const page = fs.readFileSync(path.join(import.meta.dirname, "../../docs/attach.md"), "utf8");
  const oak = "0a000000-0000-4000-8000-0000000000e2";
  for (const slug of ["elm", "oak"]) {
    await sql.unsafe(`
      create schema ${slug};
      create table ${slug}.contacts (id uuid primary key default gen_random_uuid(), first_name text, phone text, email text);
      create table ${slug}.tasks (id uuid primary key, title text, contact_id uuid references ${slug}.contacts, due_at timestamptz,
        assigned_to uuid)`);
  }
  await sql.unsafe(`
    alter table public.offices add column slug text;
    update public.offices set slug = 'elm';
    insert into public.offices (id, name, slug) values ('${oak}', 'Oak Street', 'oak');
    select automation.attach_tenants('public.offices');
    select automation.detach('contact')`);
  await sql.unsafe(/^```text\n(create table public\.everybody [^]*?)^```/m.exec(page)![1]!);
  await speakAs(sql, oak, "+15125550200");
  for (const office of [OFFICE, oak]) {
    await publish(sql, office, "contact_created", [
      ["send_sms", {
        body: "{{tenant.name}}: hi {{contact.first_name}}",
        purpose: "transactional",
      }],
      ["create_task", { title: "Call {{contact.first_name}}", due_in_days: 1 }],
    ], { trigger_config: {} });
  }
  await sql.unsafe(`
    insert into elm.contacts (first_name, phone) values ('Ida', '512-555-0160');
    insert into oak.contacts (first_name, phone) values ('Otto', '512-555-0161')`);
  const sent = (await work(sql)).map(({ payload }) => [payload.to, payload.body?.split("\n")[0]]);
  expect(sent.filter(([, body]) => / Street: /.test(String(body))).toSorted()).toEqual([
    ["+15125550160", expect.stringContaining("Elm Street: hi Ida")],
    ["+15125550161", expect.stringContaining("Oak Street: hi Otto")],
  ]);
  expect(
    await sql`select 'elm' as at, title, due_at is not null as due from elm.tasks
      union all select 'oak', title, due_at is not null from oak.tasks order by 1`,
  ).toEqual([{ at: "elm", title: "Call Ida", due: true }, {
    at: "oak",
    title: "Call Otto",
    due: true,
  }]);
});

test("keeps the people of its offices apart, whatever id one is given, and shows them to nobody", async () => {
  const [ida] = await sql<[{ id: string }]>`select id from elm.contacts where first_name = 'Ida'`;
  await sql`grant usage on schema oak to authenticated`;
  await sql`grant select, insert, update, delete on oak.contacts to authenticated`;
  const everybody = (of: Sql) =>
    of`select o.slug, e.first_name, e.phone from public.everybody as e join public.offices as o on o.id = e.office_id
      order by 1, 2`;
  const ours = { slug: "elm", first_name: "Ida", phone: "512-555-0160" };
  const otto = { slug: "oak", first_name: "Otto", phone: "512-555-0161" };
  const asOak = (statement: string) =>
    asRole(sql, { user: PAULA }, (of) => of.unsafe(statement, [ida.id]));
  await asOak("insert into oak.contacts (id, first_name, phone) values ($1, 'Mallory', '1')");
  await asOak("update oak.contacts set phone = '2' where id = $1");
  expect(await everybody(sql)).toEqual([ours, {
    slug: "oak",
    first_name: "Mallory",
    phone: "2",
  }, otto]);
  await asOak("delete from oak.contacts where id = $1");
  expect(await everybody(sql)).toEqual([ours, otto]);
  for (const who of ["anon", { user: PAULA }] as const) {
    expect(await asRole(sql, who, (of) => of`select from public.everybody`)).toEqual([]);
  }
});

// CRMs as the usual frameworks make them: tenants and members with keys of their own kind, tables that leave it to the
// program to say a key and a time, and names that nobody writes in SQL.
import fs from "node:fs";
import path from "node:path";
import type { JSONValue, Sql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, using } from "../../scripts/lib/scratch.ts";
import { asRole } from "../support/database.ts";
import {
  createProject,
  type Host,
  installEngine,
  LAKESIDE,
  OWNER,
  publish,
  receive,
  SAM,
  speakAs,
  work,
} from "../support/host.ts";

const fixture = (file: string) =>
  fs.readFileSync(path.join(import.meta.dirname, "../support", file), "utf8");

/** The statements of docs/attach.md under a heading. */
const documented = (heading: string): string[] => {
  const docs = fs.readFileSync(path.join(import.meta.dirname, "../../docs/attach.md"), "utf8");
  const section = docs.slice(docs.indexOf(`## ${heading}`)).split(/^## /m)[1]!;
  return [...section.matchAll(/^```text\n([^]*?)^```/gm)].map(([, text]) => text!);
};

const tenantOf = async (sql: Sql, key: string) =>
  (await sql<{ id: string }[]>`select ridgeline.tenant_of(${key}) as id`)[0]!.id;

const runs = (sql: Sql) =>
  sql<{ trigger_type: string; status: string; error: JSONValue }[]>`
    select trigger_type, status, error from ridgeline.workflow_executions order by created_at, id`;

describe("a CRM of Prisma's", { timeout: 180_000 }, () => {
  let host: Host;
  let sql: Sql;
  let apex: string;
  const notices: string[] = [];
  beforeAll(async () => {
    host = await createProject();
    sql = connect(host.url, { onnotice: (notice) => notices.push(notice.message ?? "") });
    await sql.unsafe(fixture("prisma-crm.sql"));
    await installEngine(sql);
    await sql.unsafe(`
      select automation.attach_tenants('public."Organization"');
      select automation.attach_members('public."Membership"', '{"tenant": "organizationId", "user": "userId"}',
        further => '[{"relation": "public.User", "key": "id", "columns": {"email": "email", "full_name": "name"}}]');
      select automation.attach('public."Contact"', 'contact', '{"tenant": "organizationId", "phone": "phoneNumber",
        "assigned_to": "ownerId", "timestamps": "UTC",
        "tags": {"links": "public._ContactToTag", "tags": "public.Tag", "record": "A", "tag": "B"}}',
        '[{"type": "stage_changed", "column": "stage"}]');
      select automation.attach_target('task', 'public."Task"',
        '{"tenant": "organizationId", "assigned_to": "assigneeId", "timestamps": "UTC"}',
        words => '{"status": {"open": "BACKLOG"}, "priority": {"normal": "MEDIUM", "high": "HIGH"}}')`);
    apex = await tenantOf(sql, "cm3orgapex0000abcd");
    await speakAs(sql, apex, "+15125550100");
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  const add = (id: string, more: Record<string, JSONValue> = {}) =>
    sql`insert into public."Contact" ${
      sql({
        id,
        organizationId: "cm3orgapex0000abcd",
        firstName: "Maria",
        updatedAt: "2026-11-20T10:00:00",
        ...more,
      } as Record<string, string>)
    }`;

  it("has its tenants and members under the keys that it gave them", async () => {
    expect(
      await sql`select id, name, timezone, record ->> 'id' as key from automation.read_tenants(array[${apex}]::uuid[])`,
    )
      .toEqual([{
        id: apex,
        name: "Apex Roofing",
        timezone: "America/Chicago",
        key: "cm3orgapex0000abcd",
      }]);
    expect(
      await sql`select tenant_id, role, full_name, email, record ->> 'id' as key
        from automation.read_members(null, null) order by full_name`,
    ).toEqual([
      {
        tenant_id: apex,
        role: "owner",
        full_name: "Olivia Owner",
        email: "olivia@apex.example",
        key: "cm3userolivia00001",
      },
      {
        tenant_id: apex,
        role: "editor",
        full_name: "Sam Sales",
        email: "sam@apex.example",
        key: "cm3usersam00000001",
      },
    ]);
  });

  it("knows columns in camelCase for what they are", async () => {
    const [mapped] =
      await sql`select e.mapped from automation.entities as e where e.name = 'contact'`;
    expect(mapped!.mapped).toMatchObject({
      first_name: "firstName",
      last_name: "lastName",
      created_at: "createdAt",
      updated_at: "updatedAt",
      deleted: "deletedAt",
    });
  });

  it("greets a new lead, tags, assigns and gives the office a task, all in its own tables", async () => {
    await publish(sql, apex, "contact_created", [
      ["send_sms", { body: "Hi {{contact.first_name}}, {{tenant.name}} here" }],
      ["add_tag", { tag: "vip" }],
      ["add_tag", { tag: "New lead" }],
      ["assign_user", { user_ids: ["cm3usersam00000001", "cm3userolivia00001"] }],
      ["create_task", {
        title: "Call {{contact.firstName}} for {{user.full_name}}",
        priority: "high",
        due_at: "2026-12-01T15:00:00Z",
        assigned_to: "{{contact.assigned_to}}",
      }],
    ], { trigger_config: { source: "web" } });
    await add("cm3contactmaria001", { phoneNumber: "(512) 555-0142", source: "web" });
    expect((await work(sql)).map(({ payload }) => payload.body)).toEqual([
      expect.stringContaining("Hi Maria, Apex Roofing here"),
    ]);
    expect(await runs(sql)).toEqual([{
      trigger_type: "contact_created",
      status: "completed",
      error: null,
    }]);
    expect(
      await sql`select t."name", t."organizationId" from public."_ContactToTag" as l
        join public."Tag" as t on t."id" = l."B" where l."A" = 'cm3contactmaria001' order by 1`,
    ).toEqual([
      { name: "New lead", organizationId: "cm3orgapex0000abcd" },
      { name: "VIP", organizationId: "cm3orgapex0000abcd" },
    ]);
    expect(
      await sql`select "title", "organizationId", "contactId", "status", "priority", "dueDate"::text as due, "assigneeId",
        length("id") >= 25 as has_id, "updatedAt" = "createdAt" or "updatedAt" > now() at time zone 'UTC' - interval '1 hour' as fresh
        from public."Task"`,
    ).toEqual([{
      title: "Call Maria for Sam Sales",
      organizationId: "cm3orgapex0000abcd",
      contactId: "cm3contactmaria001",
      status: "BACKLOG",
      priority: "HIGH",
      due: "2026-12-01 15:00:00",
      assigneeId: "cm3usersam00000001",
      has_id: true,
      fresh: true,
    }]);
  });

  it("moves a stage that is an enum of another schema, ends at a reply and at a soft delete", async () => {
    await publish(sql, apex, "stage_changed", [
      ["wait", { days: 1 }],
      ["send_sms", { body: "Still there?" }],
    ], { settings: { exit_events: ["sms_received"] } });
    await publish(sql, apex, "contact_created", [["change_stage", { stage: "QUOTED" }]], {
      trigger_config: { source: "referral" },
    });
    await add("cm3contactotto0001", { phoneNumber: "512-555-0143", source: "referral" });
    await add("cm3contactida00001", { phoneNumber: "512-555-0144", source: "referral" });
    await work(sql);
    expect(
      await sql`select "stage", "updatedAt" > '2026-11-20T10:00:00' as touched from public."Contact" where "source" = 'referral'`,
    )
      .toEqual([{ stage: "QUOTED", touched: true }, { stage: "QUOTED", touched: true }]);
    await receive(sql, "+15125550143", "Yes");
    await sql`update public."Contact" set "deletedAt" = now() where "id" = 'cm3contactida00001'`;
    await work(sql);
    expect(
      (await runs(sql)).filter((run) => run.trigger_type === "stage_changed").map((run) =>
        run.status
      ),
    )
      .toEqual(["cancelled", "cancelled"]);
  });

  it("reads and writes its times, which are UTC and do not say so", async () => {
    await publish(sql, apex, "contact_created", [
      ["update_field", { field: "followUpAt", value: "2026-12-01T09:00:00-06:00" }],
      ["create_task", { title: "At {{contact.followUpAt | formatDate: 'HH:mm'}}" }],
    ], { trigger_config: { source: "times" } });
    await add("cm3contactlena0001", { source: "times" });
    await work(sql);
    expect(
      await sql`select "followUpAt"::text as at from public."Contact" where "id" = 'cm3contactlena0001'`,
    )
      .toEqual([{ at: "2026-12-01 15:00:00" }]);
    expect(await sql`select "title" from public."Task" where "title" like 'At%'`).toEqual([{
      title: "At 09:00",
    }]);
  });

  it("makes a contact whom nobody has typed in, with a key and the times that the program would give it", async () => {
    await publish(sql, apex, "sms_received", [["find_or_create_contact", {
      phone: "{{message.from_number}}",
      fields: { source: "text" },
    }]]);
    await receive(sql, "+15125550177", "Do you do gutters?");
    await work(sql);
    expect(
      await sql`select "organizationId", "phoneNumber", length("id") > 20 as has_id, "updatedAt" is not null as timed
        from public."Contact" where "source" = 'text'`,
    ).toEqual([{
      organizationId: "cm3orgapex0000abcd",
      phoneNumber: "+15125550177",
      has_id: true,
      timed: true,
    }]);
  });

  it("keeps another organization's records apart", async () => {
    await sql`insert into public."Contact" ("id", "organizationId", "updatedAt", "source", "phoneNumber")
      values ('cm3contactblue0001', 'cm3orgblue0000abcd', now(), 'web', '512-555-0150')`;
    expect(await work(sql)).toEqual([]);
    const blue = await tenantOf(sql, "cm3orgblue0000abcd");
    expect(
      await sql`select automation.read_record('contact', ${apex}, 'cm3contactblue0001') as record,
      automation.read_record('contact', ${blue}, 'cm3contactblue0001') ->> 'source' as source`,
    )
      .toEqual([{ record: null, source: "web" }]);
  });

  it("gives nothing of an organization to whoever calls their own as its key is known here", async () => {
    const mallory = "0b000000-0000-4000-8000-00000000dead";
    await sql.unsafe(`
      insert into public."User" ("id", "email", "name") values ('${mallory}', 'mallory@example.com', 'Mallory');
      insert into public."Organization" ("id", "name", "updatedAt") values ('${apex}', 'Not Apex', now());
      insert into public."Membership" ("id", "userId", "organizationId", "role")
      values ('cm3membermallory', '${mallory}', '${apex}', 'OWNER');
      insert into public."Contact" ("id", "organizationId", "updatedAt", "source")
      values ('cm3contactmallory', '${apex}', now(), 'web')`);
    expect(
      await sql`select from automation.read_members(array[${apex}]::uuid[], array[${mallory}]::uuid[])`,
    ).toEqual(
      [],
    );
    expect(await asRole(sql, { user: mallory }, (me) => me`select id from ridgeline.workflows`))
      .toEqual([]);
    expect(await work(sql)).toEqual([]);
    await sql`delete from public."Contact" where "id" = 'cm3contactmallory'`;
    await sql`delete from public."Organization" where "id" = ${apex}`;
    expect(
      await sql`select automation.tenant_state(${apex}) as state, automation.tenant_key(${apex}) as key,
        exists (select from automation.gone_tenants as g where g.tenant_id = ${apex}) as gone`,
    ).toEqual([{ state: "here", key: "cm3orgapex0000abcd", gone: false }]);
  });

  it("and its tags, whatever says there whose they are", async () => {
    await sql.unsafe(`
      create table public.words (id int generated always as identity primary key, org_id text not null, name text not null);
      create table public.worded (contact_id text not null, tag_id int not null references public.words);
      insert into public.words (org_id, name) values ('cm3orgblue0000abcd', 'gold'), ('cm3orgblue0000abcd', 'secret');
      insert into public.worded values ('cm3contactlena0001', 2);
      create table public.shared_words (id int generated always as identity primary key, name text not null);
      create table public.shared_worded (contact_id text not null, tag_id int not null references public.shared_words)`);
    const attach = (tags: Record<string, string | null>) =>
      sql`select automation.attach('public."Contact"', 'contact', ${
        sql.json({ tenant: "organizationId", phone: "phoneNumber", timestamps: "UTC", tags })
      })`;
    const shared = { links: "public.shared_worded", tags: "public.shared_words" };
    await expect(attach({ ...shared, tenant: "whose" })).rejects.toThrow(
      /columns\.tags\.tenant: neither public\.shared_worded nor public\.shared_words has a column "whose"/,
    );
    const warned = () =>
      notices.filter((notice) => /all tenants share the tags/.test(notice)).length;
    await attach({ ...shared, tenant: null });
    expect(warned()).toBe(0);
    await attach(shared);
    expect(warned()).toBe(1);
    for (const tenant of [{}, { tenant: "org_id" }] as Record<string, string>[]) {
      await sql`delete from public.worded where tag_id > 2`;
      await sql`delete from public.words where id > 2`;
      await attach({ links: "public.worded", tags: "public.words", ...tenant });
      await sql`select automation.link_tag(${apex}, 'cm3contactlena0001', 'Gold')`;
      expect(
        await sql`select w.org_id, w.name from public.worded as l join public.words as w on w.id = l.tag_id order by w.id`,
      ).toEqual([
        { org_id: "cm3orgblue0000abcd", name: "secret" },
        { org_id: "cm3orgapex0000abcd", name: "Gold" },
      ]);
      expect(await sql`select automation.linked_tags(${apex}, 'cm3contactlena0001') as tags`)
        .toEqual([{ tags: ["Gold"] }]);
    }
    expect(warned()).toBe(1);
  });

  it("and its contacts, though somebody here gives a job of theirs to one", async () => {
    await sql.unsafe(`
      create table public.jobs ("id" text primary key, "organizationId" text not null, "contactId" text references public."Contact" on delete set null);
      insert into public.shared_words (name) values ('secret');
      insert into public.shared_worded values ('cm3contactblue0001', 1);
      select automation.attach('public."Contact"', 'contact', '{"tenant": "organizationId", "phone": "phoneNumber", "timestamps": "UTC",
        "tags": {"links": "public.shared_worded", "tags": "public.shared_words", "tenant": null}}');
      select automation.attach('public.jobs', 'job', '{"tenant": "organizationId", "contact": "contactId"}')`);
    await publish(sql, apex, "job_created", [["wait", { days: 1 }], ["add_tag", { tag: "vip" }]]);
    await sql`insert into public.jobs values ('roof', 'cm3orgapex0000abcd', 'cm3contactlena0001')`;
    await work(sql);
    const asked = () =>
      sql`select automation.contact_key(e) as contact, automation.read_root(e, 'contact.tags') as tags
        from ridgeline.workflow_executions as e where e.record_id = 'roof'`;
    expect(await asked()).toEqual([{ contact: "cm3contactlena0001", tags: [] }]);
    await sql`update public.jobs set "contactId" = 'cm3contactblue0001'`;
    expect(await asked()).toEqual([{ contact: null, tags: [] }]);
    await expect(
      sql`select automation.add_tag(e, '{"tag": "vip"}') from ridgeline.workflow_executions as e
      where e.record_id = 'roof'`,
    ).rejects.toThrow(/contact: the execution has no contact to work on/);
    // Once it is due, it ends, as with a contact who was deleted.
    await sql`update ridgeline.scheduled_steps set run_at = now()`;
    await work(sql);
    expect(
      await sql`select status, error ->> 'code' as code
      from ridgeline.workflow_executions where record_id = 'roof'`,
    )
      .toEqual([{ status: "cancelled", code: "record_deleted" }]);
    expect(await sql`select contact_id, tag_id from public.shared_worded`).toEqual([
      { contact_id: "cm3contactblue0001", tag_id: 1 },
    ]);
  });

  it("lets a client ask by the key that it knows", async () => {
    const [row] = await asRole(
      sql,
      "service_role",
      (role) =>
        role`select count(*)::int as n from ridgeline.workflows where tenant_id = ridgeline.tenant_of('cm3orgapex0000abcd')`,
    );
    expect(row!.n).toBeGreaterThan(0);
  });

  it("knows which organization a member means by the CRM's own key: in the token, the header, or the data", async () => {
    await sql.unsafe(`
      insert into public."User" ("id", "email", "name") values ('${SAM}', 'sam@apex.example', 'Sam');
      insert into public."Membership" values
        ('cm3mem3', '${SAM}', 'cm3orgapex0000abcd', 'OWNER'), ('cm3mem4', '${SAM}', 'cm3orgblue0000abcd', 'OWNER')`);
    const start = (claims: object, headers: object, data: Record<string, JSONValue> = {}) =>
      asRole(sql, { user: SAM }, async (member) => {
        await member`select set_config('request.jwt.claims', ${
          JSON.stringify({ role: "authenticated", sub: SAM, ...claims })
        }, true), set_config('request.headers', ${JSON.stringify(headers)}, true)`;
        return await member`select e.tenant_id = ${apex} as here
          from ridgeline.trigger_workflows('contact_created', ${
          sql.json({ contact: { source: "times" }, ...data })
        }) as e limit 1`;
      });
    for (
      const said of [
        start({ app_metadata: { tenant_id: "cm3orgapex0000abcd" } }, {}),
        start({}, { "x-tenant-id": "cm3orgapex0000abcd" }),
        start({}, { "x-tenant-id": apex }),
        start({}, {}, { tenant_id: "cm3orgapex0000abcd" }),
      ]
    ) expect(await said).toEqual([{ here: true }]);
    await expect(start({}, {})).rejects.toThrow(/which tenant is meant/);
    await expect(start({}, { "x-tenant-id": "cm3orgcrow" })).rejects.toThrow(
      /tenant_id: .* was not found/,
    );
  });

  it("ends what an organization had that is deleted", async () => {
    const blue = await tenantOf(sql, "cm3orgblue0000abcd");
    await sql`delete from public."Organization" where "id" = 'cm3orgblue0000abcd'`;
    expect(
      await sql`select automation.tenant_state(${blue}) as state,
      exists (select from automation.gone_tenants as g where g.tenant_id = ${blue}) as gone`,
    )
      .toEqual([{ state: "gone", gone: true }]);
  });
});

describe("a CRM of Rails'", { timeout: 180_000 }, () => {
  let host: Host;
  let sql: Sql;
  let apex: string;
  beforeAll(async () => {
    host = await createProject();
    sql = connect(host.url);
    await sql.unsafe(fixture("rails-crm.sql"));
    await installEngine(sql);
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  it("is told what to do first where tenants have numbers", async () => {
    await expect(
      sql`select automation.attach('public.contacts', 'contact', '{"tenant": "account_id"}')`,
    )
      .rejects.toMatchObject({
        message: expect.stringMatching(
          /^columns: the tenant column "account_id" is bigint, and which table it refers to is not known/,
        ),
        hint: expect.stringMatching(/automation\.attach_tenants/),
      });
  });

  it("is attached with bigint keys, tags of many kinds of record and a partitioned timeline", async () => {
    await sql.unsafe(`
      select automation.attach_tenants('public.accounts');
      select automation.attach_members('public.users', '{"tenant": "account_id", "user": "id", "full_name": "name"}',
        roles => '{"0": "editor", "2": "owner"}');
      select automation.attach('public.contacts', 'contact', '{"tenant": "account_id", "assigned_to": "owner_id",
        "timestamps": "UTC", "tags": {"links": "public.taggings", "tags": "public.tags", "record": "taggable_id",
          "where": {"taggable_type": "Contact", "context": "tags"}}}');
      select automation.attach_target('task', 'public.tasks', '{"tenant": "account_id", "description": "body",
        "due": "due_on", "assigned_to": "user_id", "timestamps": "UTC"}',
        words => '{"status": {"open": "0"}, "priority": {"low": "0", "normal": "1", "high": "2", "urgent": "2"}}');
      select automation.attach_target('timeline', 'public.activities', '{"tenant": "account_id", "type": "kind",
        "content": "body", "at": "occurred_at", "timestamps": "UTC"}')`);
    apex = await tenantOf(sql, "1");
    expect(
      await sql`select e.mapped ->> 'deleted' as deleted from automation.entities as e where e.name = 'contact'`,
    )
      .toEqual([{ deleted: "discarded_at" }]);
    expect(await sql`select automation.tenant_zone(${apex}) as zone`).toEqual([{
      zone: "America/Denver",
    }]);
  });

  it("tags a contact and no other record that has its number", async () => {
    await sql`insert into public.taggings (tag_id, taggable_type, taggable_id, context, created_at)
      values (1, 'Deal', 1, 'tags', now())`;
    await publish(sql, apex, "contact_created", [
      ["add_tag", { tag: "hot" }],
      ["assign_user", { user_id: "2" }],
      ["create_task", {
        title: "Tags {{contact.tags | join: ' '}}",
        due_at: "2026-12-01T15:00:00Z",
        assigned_to: "{{contact.owner_id}}",
      }],
    ]);
    await sql`insert into public.contacts (account_id, type, first_name, created_at, updated_at)
      values (1, 'Lead', 'Maria', now(), now())`;
    await work(sql);
    expect(await runs(sql)).toEqual([{
      trigger_type: "contact_created",
      status: "completed",
      error: null,
    }]);
    expect(
      await sql`select g.name, t.taggable_type, t.taggable_id::int as id, t.context, t.created_at is not null as timed
      from public.taggings as t join public.tags as g on g.id = t.tag_id order by t.id`,
    ).toEqual([
      { name: "vip", taggable_type: "Deal", id: 1, context: "tags", timed: true },
      { name: "hot", taggable_type: "Contact", id: 1, context: "tags", timed: true },
    ]);
    expect(
      await sql`select title, account_id::int, contact_id::int, status, priority, due_on::text, user_id::int,
      updated_at is not null as timed from public.tasks`,
    ).toEqual([{
      title: "Tags hot",
      account_id: 1,
      contact_id: 1,
      status: 0,
      priority: 1,
      due_on: "2026-12-01",
      user_id: 2,
      timed: true,
    }]);
    expect(await sql`select owner_id::int from public.contacts`).toEqual([{ owner_id: 2 }]);
  });

  it("says as a shadow, and in a dry run, whom it would make responsible", async () => {
    const workflow = await publish(sql, apex, "manual", [["assign_user", { user_id: "1" }]]);
    await sql`select ridgeline.set_workflow_mode(${workflow}, 'shadow', ${apex})`;
    await sql`select ridgeline.execute_workflow(${workflow}, '{"contact_id": "1"}', ${apex})`;
    await work(sql);
    const shadow = await sql<{ status: string; output: string }[]>`
      select s.status, to_jsonb(s)::text as output from ridgeline.workflow_step_executions as s
      join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
      where e.mode = 'shadow'`;
    expect(shadow).toEqual([{
      status: "skipped",
      output: expect.stringMatching(/"user_id": "1"/),
    }]);
    const [tried] = await sql<{ said: string }[]>`
      select ridgeline.test_workflow(${workflow}, '{"contact_id": "1"}', tenant_id => ${apex})::text as said`;
    expect(tried!.said).toMatch(/"user_id": "1"/);
    expect(await sql`select owner_id::int from public.contacts where id = 1`).toEqual([{
      owner_id: 2,
    }]);
  });

  it("texts the number that stands in a table of its own, and knows who answers", async () => {
    await sql.unsafe(documented("What is not one table")[0]!);
    await sql.unsafe(`
      select automation.attach('public.contacts', 'contact', '{"tenant": "account_id", "assigned_to": "owner_id",
        "phone": "main_phone", "timestamps": "UTC", "ignore": ["updated_at", "main_phone"]}')`);
    await speakAs(sql, apex, "+17205550100");
    await publish(sql, apex, "contact_created", [["send_sms", {
      body: "Hi {{contact.first_name}}",
    }]], {
      trigger_config: { type: "Prospect" },
    });
    await publish(sql, apex, "contact_updated", [["create_task", { title: "Updated" }]]);
    await sql.begin((once) => [
      once`insert into public.contacts (account_id, type, first_name, created_at, updated_at)
        values (1, 'Prospect', 'Otto', now(), now())`,
      once`insert into public.contact_phones (contact_id, number, "primary", created_at, updated_at)
        select c.id, n.number, n.is_main, now(), now() from public.contacts as c,
          (values ('720.555.0143 x12', false), ('(720) 555-0144', true)) as n (number, is_main)
        where c.first_name = 'Otto'`,
    ]);
    expect((await work(sql)).map(({ payload }) => payload.to)).toEqual(["+17205550144"]);
    await receive(sql, "+17205550144", "Who is this?", "+17205550100");
    expect(await sql`select kind, body, account_id::int from public.activities order by id`)
      .toEqual([
        { kind: "sms", body: expect.stringContaining("Hi Otto"), account_id: 1 },
        { kind: "sms", body: "Who is this?", account_id: 1 },
      ]);
    expect(await sql`select from public.tasks where title = 'Updated'`).toEqual([]);
  });
});

describe("a CRM with two tables of people and whole names", { timeout: 180_000 }, () => {
  const SUMMIT = "0a000000-0000-4000-8000-000000000001";
  let host: Host;
  let sql: Sql;
  beforeAll(async () => {
    host = await createProject();
    sql = connect(host.url);
    await sql.unsafe(`
      create type public.postal as (street text, city text);
      create domain public.phone_text as text check (length(value) < 40);
      create domain public.money_amount as numeric(12, 2) check (value >= 0);
      create table public.leads (
        id uuid primary key default gen_random_uuid(), tenant_id uuid not null, full_name text not null, phone public.phone_text,
        email text, stage text not null default 'new', estimate public.money_amount, interests text[] not null default '{}',
        address public.postal);
      create table public.customers (
        id uuid primary key default gen_random_uuid(), tenant_id uuid not null, full_name text not null, phone public.phone_text,
        email text, lifetime_value numeric(12, 2) default 0);
      create table public.todos (
        id bigint generated always as identity primary key, tenant_id uuid not null, person uuid, what text not null)`);
    await installEngine(sql);
    await sql.unsafe(documented("What is not one table")[1]!);
    await sql.unsafe(`
      insert into ridgeline.tenant_settings (tenant_id, name) values ('${SUMMIT}', 'Summit');
      select automation.attach_target('task', 'public.todos', '{"title": "what", "contact": "person"}')`);
    await speakAs(sql, SUMMIT, "+15125550100");
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  it("greets a lead by the first name, and ends its run when it answers", async () => {
    await publish(sql, SUMMIT, "lead_created", [
      ["send_sms", { body: "Hi {{contact.first_name}}" }],
      ["wait", { days: 1 }],
      ["create_task", { title: "Call {{contact.last_name}}" }],
    ], { settings: { exit_events: ["sms_received"] } });
    await sql`insert into public.leads (tenant_id, full_name, phone, estimate, interests, address) values
      (${SUMMIT}, 'Dr. Maria de la Cruz', '512.555.0142 x12', 1200.50, '{roof,gutters}', row ('1 Main St', 'Austin')),
      (${SUMMIT}, 'Lee, Ann', '(512) 555-0143', null, '{}', null)`;
    expect(
      (await work(sql)).map(({ payload }) => [payload.to, payload.body?.split("\n")[0]]).toSorted(),
    ).toEqual([
      ["+15125550142", expect.stringContaining("Hi Maria")],
      ["+15125550143", expect.stringContaining("Hi Ann")],
    ]);
    await receive(sql, "+15125550143", "Yes please");
    await work(sql);
    expect((await runs(sql)).map((run) => run.status).toSorted()).toEqual(["cancelled", "waiting"]);
  });

  it("ends the run of one that is moved to an archive", async () => {
    await sql`create table public.leads_archive (like public.leads)`;
    await sql`with gone as (delete from public.leads where full_name like 'Dr. Maria%' returning *)
      insert into public.leads_archive select * from gone`;
    await work(sql);
    expect((await runs(sql)).map((run) => run.status)).toEqual(["cancelled", "cancelled"]);
  });

  it("knows a deal's stage by another table, its person by a link, and an item's office by its deal", async () => {
    const [, , items, links, stages] = documented("What is not one table");
    await sql.unsafe(`
      create table public.pipeline_stages (
        id serial primary key, name text not null, is_won boolean not null default false, is_lost boolean not null default false);
      create table public.deals (
        id uuid primary key default gen_random_uuid(), tenant_id uuid not null, name text, stage_id int references public.pipeline_stages);
      create table public.deal_people (deal_id uuid references public.deals, person_id uuid, is_primary boolean not null default false);
      create table public.deal_items (id serial primary key, deal_id uuid references public.deals, name text);
      insert into public.pipeline_stages (name, is_won) values ('New', false), ('Signed', true), ('Deposit paid', true)`);
    await expect(sql`select automation.attach('public.deal_items', 'item', '{"deal": "deal_id"}')`)
      .rejects.toMatchObject({
        message: expect.stringMatching(/has no column "tenant_id"/),
        hint: expect.stringMatching(/only a parent row says it/),
      });
    await sql.unsafe(links!);
    await sql.unsafe(stages!);
    await sql.unsafe(items!);
    await expect(sql`
      select automation.attach('public.deals', 'deal', '{"contact": "main_contact_id"}',
        '[{"type": "deal_won", "column": "stage", "becomes": "won"}, {"type": "deal_won", "column": "stage", "becomes": "paid"}]')`)
      .rejects.toMatchObject({ message: expect.stringMatching(/"deal_won" stands there twice/) });
    await publish(sql, SUMMIT, "deal_won", [
      ["send_sms", { body: "Congratulations, {{contact.first_name}}" }],
      ["update_field", { entity: "deal", field: "stage_id", value: "1" }],
    ]);
    await publish(sql, SUMMIT, "item_created", [
      ["create_task", { title: "Order {{item.name}} for {{deal.name}}" }],
    ]);
    const [{ deal }] = await sql<[{ deal: string }]>`
      insert into public.deals (tenant_id, name, stage_id) values (${SUMMIT}, 'Roof', 1) returning id as deal`;
    await sql`insert into public.deal_people select ${deal}, p.id, p.full_name = 'Lee, Ann' from public.people as p`;
    await sql`insert into public.deal_items (deal_id, name) values (${deal}, 'Shingles')`;
    await sql`update public.deals set stage_id = 3 where id = ${deal}`;
    const sent = (await work(sql)).map(({ payload }) => [payload.to, payload.body?.split("\n")[0]]);
    expect(sent).toEqual([["+15125550143", expect.stringContaining("Congratulations, Ann")]]);
    await work(sql);
    expect(await sql`select what from public.todos where what like 'Order%'`).toEqual([
      { what: "Order Shingles for Roof" },
    ]);
    expect(await sql`select stage, stage_id from public.deals`).toEqual([{
      stage: "new",
      stage_id: 1,
    }]);
  });

  it("is one person as a lead and as a customer, and never another office's", async () => {
    const [{ id }] = await sql<[{ id: string }]>`
      insert into public.leads (tenant_id, full_name, phone) values (${SUMMIT}, 'Nell Reed', '512-555-0177') returning id`;
    const people = () =>
      sql`select tenant_id, kind, phone from public.people where id = ${id} order by tenant_id`;
    const write = (tenant: string, phone: string) =>
      asRole(
        sql,
        { user: SAM },
        (of) =>
          of`insert into public.customers (tenant_id, id, full_name, phone) values (${tenant}, ${id}, 'Nell Reed', ${phone})`,
      );
    await write(LAKESIDE, "512-555-0178");
    expect(await people()).toEqual([
      { tenant_id: SUMMIT, kind: "lead", phone: "512-555-0177" },
      { tenant_id: LAKESIDE, kind: "customer", phone: "512-555-0178" },
    ]);
    await asRole(sql, { user: SAM }, (of) => of`delete from public.customers where id = ${id}`);
    expect(await people()).toEqual([{ tenant_id: SUMMIT, kind: "lead", phone: "512-555-0177" }]);
    await write(SUMMIT, "512-555-0177");
    await asRole(sql, { user: SAM }, (of) => of`delete from public.leads where id = ${id}`);
    expect(await people()).toEqual([{
      tenant_id: SUMMIT,
      kind: "customer",
      phone: "512-555-0177",
    }]);
    for (const who of ["anon", { user: SAM }] as const) {
      expect(await asRole(sql, who, (of) => of`select from public.people`)).toEqual([]);
    }
    await sql`delete from public.customers where id = ${id}`;
    expect(await people()).toEqual([]);
  });

  it("gives a new contact the whole name", async () => {
    await sql.unsafe(`
      drop table public.people cascade;
      drop function public.keep_person cascade;
      select automation.detach('contact');
      select automation.detach('customer');
      drop trigger if exists a_person on public.customers;
      select automation.attach('public.customers', 'contact')`);
    await publish(sql, SUMMIT, "sms_received", [["find_or_create_contact", {
      phone: "{{message.from_number}}",
      fields: { first_name: "Unknown", last_name: "Caller" },
    }]]);
    await receive(sql, "+15125550188", "Hello?");
    await work(sql);
    expect(await sql`select full_name, phone from public.customers`).toEqual([
      { full_name: "Unknown Caller", phone: "+15125550188" },
    ]);
  });

  it("keeps tags in a list of JSON", async () => {
    await sql`alter table public.customers add column tags jsonb`;
    await sql`select automation.attach('public.customers', 'contact')`;
    await publish(sql, SUMMIT, "contact_created", [
      ["add_tag", { tag: "vip" }],
      ["add_tag", { tag: "roof" }],
      ["remove_tag", { tag: "VIP" }],
      ["create_task", { title: "Tagged {{contact.tags}}" }],
    ]);
    await sql`insert into public.customers (tenant_id, full_name, tags) values
      (${SUMMIT}, 'Ida Stone', '["old"]'), (${SUMMIT}, 'Lena Park', null)`;
    await work(sql);
    expect(
      await sql`select full_name, tags from public.customers where tags is not null order by 1`,
    ).toEqual([
      { full_name: "Ida Stone", tags: ["old", "roof"] },
      { full_name: "Lena Park", tags: ["roof"] },
    ]);
    expect(await sql`select what from public.todos where what like 'Tagged%' order by 1`).toEqual([
      { what: "Tagged old, roof" },
      { what: "Tagged roof" },
    ]);
    // What is no list is left as it is.
    await sql`insert into public.customers (tenant_id, full_name, tags) values
      (${SUMMIT}, 'Otto Reyes', '{"vip": true}'), (${SUMMIT}, 'Nora Diaz', '"vip"')`;
    await work(sql);
    expect(
      (await sql`select error ->> 'message' as message from ridgeline.workflow_executions
        where status = 'failed' order by 1`).map(({ message }) => message),
    ).toEqual([
      expect.stringMatching(/contact\.tags: the contact has a string there, and a list of texts/),
      expect.stringMatching(/contact\.tags: the contact has an object there, and a list of texts/),
    ]);
    expect(await sql`select tags from public.customers where full_name = 'Otto Reyes'`)
      .toEqual([{ tags: { vip: true } }]);
  });
});

describe("a CRM of one office with lists in its rows", { timeout: 180_000 }, () => {
  const OFFICE = "00000000-0000-4000-8000-000000000001";
  const DANA = "0b000000-0000-4000-8000-0000000000d1";
  const KIM = "0b000000-0000-4000-8000-0000000000d2";
  let host: Host;
  let sql: Sql;
  const said: string[] = [];
  const told = (pattern: RegExp) => said.filter((one) => pattern.test(one));
  beforeAll(async () => {
    host = await createProject();
    sql = connect(host.url, {
      onnotice: (notice) => said.push(`${notice.severity}: ${notice.message} ${notice.hint}`),
    });
    await using(host.adminUrl, (admin) =>
      admin.unsafe(`
        create table auth.users (id uuid primary key, email text);
        alter table auth.users owner to ${OWNER};
        grant create on schema auth to ${OWNER}`));
    await sql.unsafe(`
      create table public.staff (
        id bigint generated by default as identity primary key, user_id uuid not null unique references auth.users,
        first_name text, last_name text, email text not null, is_boss boolean not null, disabled boolean not null default false);
      create function public.hire() returns trigger language plpgsql security definer set search_path = '' as $$
      begin
        insert into public.staff (user_id, first_name, last_name, email, is_boss)
        values (new.id, split_part(new.email, '.', 1), split_part(split_part(new.email, '@', 1), '.', 2), new.email,
          not exists (select from public.staff));
        return new;
      end $$;
      create trigger hire after insert on auth.users for each row execute function public.hire();
      create table public.tags (id bigint generated by default as identity primary key, name text not null, color text not null default 'grey');
      create table public.contacts (
        id bigint generated by default as identity primary key, first_name text, last_name text, first_seen timestamptz,
        phones jsonb, emails jsonb, tags bigint[], owner_id bigint references public.staff, archived_at timestamptz);
      create table public.deals (
        id bigint generated by default as identity primary key, name text not null, stage text not null, contact_ids bigint[],
        owner_id bigint references public.staff);
      create table public.todos (
        id bigint generated by default as identity primary key, contact_id bigint not null references public.contacts on delete cascade,
        text text, due_date timestamptz, owner_id bigint references public.staff);
      alter table public.contacts enable row level security;
      create policy everybody on public.contacts to authenticated using (true);
      insert into auth.users values ('${DANA}', 'Dana.Boss@apex.example'), ('${KIM}', 'Kim.Crew@apex.example')`);
    await installEngine(sql);
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  it("is told, by a script that is not right yet, which field it is and what to write", async () => {
    await sql`select automation.attach_members('public.staff', '{"tenant": null}')`;
    expect(told(/names a member by/)).toEqual([
      'WARNING: automation: public.contacts.owner_id names a member by public.staff.id, and here a member is known by user_id Where that is who is responsible: {"user": "id", "login": "user_id"}.',
    ]);
    expect(told(/is the role of a member/)).toHaveLength(1);
    await sql`select automation.attach('public.contacts', 'contact', '{"tenant": null}')`;
    expect(told(/is mapped as/)).toEqual([
      expect.stringMatching(/mapped as phone.*\(phones\?\)/),
      expect.stringMatching(/mapped as email.*\(emails\?\)/),
    ]);
    const refused = (columns: string) =>
      sql`select automation.attach('public.contacts', 'contact', ${columns}::text::jsonb)`.then(
        () => null,
        ({ message, hint }) => `${message} ${hint}`,
      );
    expect(await refused('{"tenant": null, "phone": ["phones"]}')).toMatch(
      /^columns: phone "phones" is jsonb; it must be text.*main_phone text generated always as \(phones #>> '\{0,number\}'\) stored/,
    );
    await expect(
      sql`select automation.attach('public.deals', 'deal', '{"tenant": null, "contact": "contact_ids"}')`,
    ).rejects.toMatchObject({
      message: 'columns: contact "contact_ids" is bigint[]; it must be one id',
      hint: expect.stringMatching(
        /main_contact_id bigint generated always as \(contact_ids\[1\]\) stored/,
      ),
    });
    await publish(sql, OFFICE, "contact_updated", [["add_tag", { tag: "vip" }]]);
    expect(told(/contacts have no list of texts as tags/)).toHaveLength(1);
  });

  it("is attached as the pages say", async () => {
    const [, , , , , lists, tags] = documented("What is not one table");
    await sql.unsafe(lists!);
    await sql.unsafe(tags!);
    said.length = 0;
    await sql.unsafe(`
      alter table public.deals add column main_contact_id bigint generated always as (contact_ids[1]) stored;
      select automation.attach_members('public.staff', '{"tenant": null, "user": "id", "login": "user_id", "role": "is_boss"}',
        roles => '{"true": "admin", "false": "editor"}');
      select automation.attach('public.contacts', 'contact', '{"tenant": null, "phone": ["phone", "other_phone"],
        "assigned_to": "owner_id", "created_at": "first_seen", "deleted": "archived_at",
        "tags": {"links": "public.contact_tags", "tags": "public.tags"}}',
        visible => '{first_name,last_name,phone,other_phone,email}');
      select automation.attach('public.deals', 'deal', '{"tenant": null, "contact": "main_contact_id", "assigned_to": "owner_id"}',
        '[{"type": "deal_won", "column": "stage", "becomes": "won"}]');
      select automation.attach_target('task', 'public.todos', '{"tenant": null, "title": "text", "assigned_to": "owner_id"}')`);
    expect(told(/automation:/)).toEqual([]);
    await speakAs(sql, OFFICE, "+15125550100");
    expect(
      await sql`select role, full_name, record ->> 'id' as key from automation.read_members(null, null) order by 2`,
    ).toEqual([
      { role: "admin", full_name: "Dana Boss", key: "1" },
      { role: "editor", full_name: "Kim Crew", key: "2" },
    ]);
  });

  it("greets a new lead, tags, assigns and writes a task by the keys that its tables have", async () => {
    await publish(sql, OFFICE, "contact_created", [
      ["assign_user", { user_ids: ["2", "1"] }],
      ["send_sms", { body: "Hi {{contact.first_name}}, {{user.full_name}} here" }],
      ["add_tag", { tag: "vip" }],
      ["create_task", {
        title: "Call {{contact.first_name}}: {{contact.tags}}",
        assigned_to: "{{contact.assigned_to}}",
      }],
      ["notify_member", {
        user_id: "{{contact.assigned_to}}",
        channel: "email",
        subject: "Yours",
        body: "{{contact.first_name}}",
      }],
      ["wait", { days: 1 }],
      ["send_sms", { body: "Still there?" }],
    ], { settings: { exit_events: ["sms_received"] } });
    expect(told(/value_type|an id is needed/)).toEqual([]);
    await sql`insert into public.contacts (first_name, phones, emails, first_seen) values
      ('Maria', '[{"number": "(512) 555-0142", "type": "Work"}, {"number": "512-555-0143"}]', '[{"email": "maria@lopez.example"}]', now())`;
    expect((await work(sql)).map(({ payload }) => [payload.to, payload.body?.split("\n")[0]]))
      .toEqual([
        ["+15125550142", expect.stringContaining("Hi Maria, Kim Crew here")],
        [["Kim.Crew@apex.example"], undefined],
      ]);
    expect(await sql`select text, contact_id::int, owner_id::int from public.todos`).toEqual([
      { text: "Call Maria: vip", contact_id: 1, owner_id: 2 },
    ]);
    expect(
      await sql`select t.name, t.color from public.contacts as c join public.tags as t on t.id = any (c.tags)`,
    )
      .toEqual([{ name: "vip", color: "grey" }]);
  });

  it("ends a run at a reply from the second number, or when the contact is archived", async () => {
    await sql`insert into public.contacts (first_name, phones) values ('Otto', '[{"number": "512-555-0150"}]')`;
    await work(sql);
    await receive(sql, "+15125550143", "Yes");
    await sql`update public.contacts set archived_at = now() where first_name = 'Otto'`;
    await work(sql);
    expect(
      (await runs(sql)).filter((run) => run.trigger_type === "contact_created").map((run) =>
        run.status
      ),
    ).toEqual(["cancelled", "cancelled"]);
  });

  it("writes to the first contact of a deal that is won, and finds or makes one by a number", async () => {
    await publish(sql, OFFICE, "deal_won", [["send_email", {
      subject: "Thank you",
      text: "{{contact.first_name}}, {{deal.name}} is yours",
      purpose: "transactional",
    }]]);
    await sql`insert into public.deals (name, stage, contact_ids) values ('Roof', 'open', '{1,2}')`;
    await sql`update public.deals set stage = 'won'`;
    expect((await work(sql)).map(({ payload }) => payload.to)).toEqual([["maria@lopez.example"]]);
    await publish(sql, OFFICE, "sms_received", [["find_or_create_contact", {
      phone: "{{message.from_number}}",
      fields: { first_name: "Caller" },
    }]]);
    await receive(sql, "+15125550177", "Do you do gutters?");
    await work(sql);
    expect(await sql`select phones from public.contacts where first_name = 'Caller'`).toEqual([
      { phones: [{ number: "+15125550177", type: "Other" }] },
    ]);
  });

  it("lets people draft and publish by what they sign in with, and nobody who is disabled", async () => {
    const draft = (user: string, name: string) =>
      asRole(sql, { user }, async (me) => {
        const [{ id }] = await me<[{ id: string }]>`
          insert into ridgeline.workflows (tenant_id, name, trigger_type)
          values (${OFFICE}, ${name}, 'deal_created') returning id`;
        await me`insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
          values (${OFFICE}, ${id}, 1, 'create_task', '{"title": "Call {{user.full_name}}"}')`;
        return id;
      });
    const publishing = (user: string, id: string) =>
      asRole(sql, { user }, (me) => me`select ridgeline.publish_workflow(${id})`);
    const drafted = await draft(KIM, "Call back");
    await expect(publishing(KIM, drafted)).rejects.toMatchObject({ code: "42501" });
    await publishing(DANA, drafted);
    await asRole(
      sql,
      { user: KIM },
      (me) =>
        me`insert into public.deals (name, stage, contact_ids) values ('Gutters', 'open', '{1}')`,
    );
    await work(sql);
    expect(await sql`select text from public.todos where text like 'Call Kim%'`).toEqual([
      { text: "Call Kim Crew" },
    ]);
    await sql`update public.staff set disabled = true where user_id = ${KIM}`;
    await expect(draft(KIM, "Once more")).rejects.toMatchObject({ code: "42501" });
  });
});

describe("tables that nothing can be put on, or that hide their rows", { timeout: 120_000 }, () => {
  let host: Host;
  let sql: Sql;
  const warnings: string[] = [];
  beforeAll(async () => {
    host = await createProject();
    sql = connect(host.url, {
      onnotice: (notice) => warnings.push(`${notice.severity}: ${notice.message}`),
    });
    await installEngine(sql);
    await sql.unsafe(`
      create table public.leads (id uuid primary key default gen_random_uuid(), tenant_id uuid not null, seen timestamp);
      create view public.people as select * from public.leads`);
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  it("says of a view that the table behind it is meant", async () => {
    await expect(sql`select automation.attach('public.people', 'contact')`).rejects.toMatchObject({
      message: "relation: public.people is a view, which fires nothing for each row",
      hint: expect.stringMatching(/Attach the table behind it/),
    });
  });

  it("warns of row level security that holds for whoever attaches", async () => {
    await using(host.adminUrl, async (admin) => {
      await admin.unsafe(`
        create role ${host.name}_plain;
        alter table public.leads owner to ${host.name}_plain;
        alter table public.leads enable row level security;
        alter table public.leads force row level security;
        grant usage on schema automation to ${host.name}_plain;
        grant execute on function automation.warn_hidden(regclass) to ${host.name}_plain`);
      const said: string[] = [];
      const other = connect(host.adminUrl, {
        max: 1,
        onnotice: (notice) => said.push(notice.message ?? ""),
      });
      await other.unsafe(
        `set role ${host.name}_plain; select automation.warn_hidden('public.leads')`,
      );
      await other.end({ timeout: 1 });
      expect(said.join("\n")).toMatch(
        /row level security of public.leads holds for \w+_plain too, who attaches it/,
      );
      await admin.unsafe(`
        alter table public.leads no force row level security;
        alter table public.leads owner to ${OWNER};
        drop owned by ${host.name}_plain;
        drop role ${host.name}_plain`);
    });
  });

  it("says in which zone it reads times that have none, unless it was told", async () => {
    await sql`select automation.attach('public.leads', 'contact')`;
    expect(warnings.join("\n")).toMatch(
      /NOTICE: automation: times of public.leads without a zone \(seen\) count as the tenant's/,
    );
    expect(warnings.join("\n")).not.toMatch(/row level security/);
  });

  it("refuses a table of tasks that could hold none of its words, and names the others", async () => {
    await sql.unsafe(
      `create table public.todos (id uuid primary key default gen_random_uuid(), tenant_id uuid, title text,
      status boolean, priority text check (priority in ('low', 'mid')))`,
    );
    await expect(sql`select automation.attach_target('task', 'public.todos')`).rejects
      .toMatchObject({
        message:
          'words.status: public.todos cannot hold "open" in status: invalid input syntax for type boolean: "open"',
        hint: expect.stringMatching(/\{"status": \{"open": "\.\.\."\}\}/),
      });
    await sql`select automation.attach_target('task', 'public.todos',
      words => '{"status": {"open": "false"}, "priority": {"normal": "mid", "high": "mid"}}')`;
    const said = warnings.filter((warning) => /words\./.test(warning));
    expect(said).toEqual([
      expect.stringMatching(
        /^WARNING: automation: words\.priority: "urgent" cannot be written to public\.todos/,
      ),
    ]);
  });

  it("says of a tenant that no table has what makes it known", async () => {
    const office = "0a000000-0000-4000-8000-0000000000c1";
    const publishing = () =>
      publish(sql, office, "contact_created", [["create_task", { title: "Call" }]]);
    await expect(publishing()).rejects.toMatchObject({
      code: "PT404",
      hint: expect.stringMatching(
        /^No tenant 0a000000-\S+ is known: .* each is a row of ridgeline\.tenant_settings\.$/,
      ),
    });
    await sql`insert into ridgeline.tenant_settings (tenant_id, name) values (${office}, 'Apex')`;
    await publishing();
  });

  it("counts nobody as a member whom the CRM has switched off, and tells of words that make viewers", async () => {
    await sql.unsafe(`
      create table public.profiles (id uuid primary key, office_id uuid not null, role text not null, is_active boolean not null default true);
      insert into public.profiles values
        ('${SAM}', '0a000000-0000-4000-8000-000000000001', 'Technician', true),
        (gen_random_uuid(), '0a000000-0000-4000-8000-000000000001', 'Owner', false)`);
    warnings.length = 0;
    await sql`select automation.attach_members('public.profiles', '{"tenant": "office_id", "user": "id"}')`;
    expect(warnings).toEqual([
      "NOTICE: automation: roles that nobody explained count as viewers: technician",
    ]);
    expect(await sql`select user_id, role from automation.read_members(null, null)`).toEqual([
      { user_id: SAM, role: "viewer" },
    ]);
    await sql`select automation.detach_members()`;
  });

  it("nor whom any of several columns shuts out, for as long as it does", async () => {
    await sql.unsafe(`
      create table public.crew (name text not null, user_id uuid primary key default gen_random_uuid(),
        tenant_id uuid not null default '0a000000-0000-4000-8000-000000000001', deleted_at timestamptz,
        is_suspended boolean, "revokedAt" timestamp, banned_until timestamptz);
      insert into public.crew (name, deleted_at, is_suspended, "revokedAt", banned_until) values
        ('Ana', null, null, null, null), ('Ben', null, false, null, now() - interval '1 day'),
        ('Cal', now(), null, null, null), ('Dee', null, true, null, null), ('Eve', null, null, now(), null),
        ('Fay', null, null, null, now() + interval '1 day'), ('Gus', null, null, null, 'infinity')`);
    const members = async (columns: Record<string, string | null>) => {
      await sql`select automation.attach_members('public.crew', ${sql.json(columns)})`;
      return (await sql`select full_name from automation.read_members(null, null) order by 1`)
        .map(({ full_name }) => full_name);
    };
    expect(await members({ full_name: "name" })).toEqual(["Ana", "Ben"]);
    expect(await members({ full_name: "name", deleted: "banned_until" })).toEqual([
      "Ana",
      "Ben",
      "Cal",
    ]);
    expect(await members({ full_name: "name", deleted: null })).toHaveLength(7);
    await sql`alter table public.crew drop column deleted_at`;
    expect(await members({ full_name: "name" })).toEqual(["Ana", "Ben", "Cal"]);
    await sql`select automation.detach_members()`;
  });

  it("nor whom a status shuts out in words, or has not let in yet, and says what it takes them for", async () => {
    await sql.unsafe(`
      create table public.staff_list (name text not null, user_id uuid primary key default gen_random_uuid(),
        tenant_id uuid not null default '0a000000-0000-4000-8000-000000000001', role text default 'admin',
        "accountStatus" text);
      insert into public.staff_list (name, "accountStatus") values ('Ana', 'active'), ('Ben', null), ('Cal', 'Suspended '),
        ('Dee', 'inactive'), ('Eve', 'invited'), ('Fay', 'on_leave'), ('Gus', 'REVOKED')`);
    const members = async (columns: Record<string, string | null> = {}, active?: string[]) => {
      warnings.length = 0;
      await sql`select automation.attach_members('public.staff_list', ${
        sql.json({ full_name: "name", ...columns })
      }, active => ${sql.json(active ?? ["active", true])})`;
      return (await sql`select full_name from automation.read_members(null, null) order by 1`)
        .map(({ full_name }) => full_name);
    };
    expect(await members()).toEqual(["Ana", "Ben", "Fay"]);
    expect(warnings).toEqual([
      expect.stringMatching(
        /^NOTICE: automation: public\.staff_list\.accountStatus says who is no member: suspended, .*; whatever else .* such as active, on_leave$/,
      ),
    ]);
    expect(await members({ active: "accountStatus" })).toEqual(["Ana"]);
    expect(await members({ active: "accountStatus" }, ["active", "on_leave"])).toEqual([
      "Ana",
      "Fay",
    ]);
    expect(warnings).toEqual([]);
    expect(await members({ status: null })).toHaveLength(7);
    expect(warnings).toEqual([]);
    await sql.unsafe(`
      create type public.standing as enum ('fine', 'blocked');
      alter table public.staff_list drop column "accountStatus", add column status public.standing default 'fine'`);
    await sql`update public.staff_list set status = 'blocked' where name = 'Ana'`;
    expect(await members()).toHaveLength(6);
    await sql`select automation.detach_members()`;
  });

  it("guesses a status when somebody attaches, and not behind their back", async () => {
    await sql.unsafe(`
      create table public.hands (name text not null, user_id uuid primary key default gen_random_uuid(),
        tenant_id uuid not null default '0a000000-0000-4000-8000-000000000001', role text default 'admin',
        is_in boolean default true, standing integer default 1);
      insert into public.hands (name) values ('Ana'), ('Ben')`);
    const attach = (columns: Record<string, string | null>) =>
      sql`select automation.attach_members('public.hands', ${
        sql.json({ full_name: "name", ...columns })
      })`;
    const members = async () =>
      (await sql`select full_name from automation.read_members(null, null) order by 1`)
        .map(({ full_name }) => full_name);
    for (const column of ["is_in", "standing"]) {
      await expect(attach({ status: column })).rejects.toMatchObject({
        code: "22023",
        message: expect.stringMatching(/^columns: status: public\.hands\.\w+ is (boolean|integer)/),
      });
    }
    await attach({});
    // A column that comes later, of whose words nobody was told; as after an upgrade.
    await sql`alter table public.hands add column status text`;
    await sql`update public.hands set status = case name when 'Ana' then 'pending' else 'active' end`;
    warnings.length = 0;
    await sql`select automation.regenerate_readers()`;
    expect(await members()).toEqual(["Ana", "Ben"]);
    expect(warnings).toEqual([
      expect.stringMatching(/^WARNING: automation: by public\.hands\.status 1 of those who count/),
    ]);
    const [{ again }] = await sql<[{ again: string }]>`
      select automation.attach_members_again(m, 'status') as again from automation.membership as m`;
    await sql.unsafe(again);
    expect(await members()).toEqual(["Ben"]);
    // Who said with which values of another column somebody is a member said it all.
    await attach({ active: "is_in" });
    warnings.length = 0;
    await sql`select automation.regenerate_readers()`;
    expect(await members()).toEqual(["Ana", "Ben"]);
    expect(warnings).toEqual([]);
    await sql`select automation.detach_members()`;
  });

  it("warns of a table of tasks whose rows lack what it needs, or whose they are", async () => {
    await sql.unsafe(`
      create table public.errands (id bigint generated by default as identity primary key, account_id uuid not null, title text,
        kind text not null, at timestamptz not null default now());
      create table public.chores (id uuid primary key, title text, account_id uuid);
      create table public.accounts (id uuid primary key);
      select automation.attach_tenants('public.accounts')`);
    warnings.length = 0;
    await sql`select automation.attach_target('task', 'public.errands')`;
    await sql`select automation.attach_target('task', 'public.errands', '{"tenant": "account_id"}', defaults => '{"kind": "call"}')`;
    await sql`select automation.attach_target('task', 'public.chores')`;
    await sql`select automation.attach_target('task', 'public.chores', '{"tenant": "account_id"}')`;
    expect(warnings.filter((warning) => /^WARNING/.test(warning))).toEqual([
      expect.stringMatching(/nothing is written to account_id, kind of public\.errands/),
      expect.stringMatching(/no column of public\.chores says whose a row is/),
    ]);
    await sql`select automation.detach_tenants()`;
  });

  it("takes nobody's word for what they may do", async () => {
    await sql.unsafe(`
      create table public.accounts_of_people (id uuid, org uuid, role text, raw_user_meta_data jsonb)`);
    for (
      const [field, path] of [["role", "raw_user_meta_data.role"], [
        "tenant",
        "raw_user_meta_data.org",
      ]]
    ) {
      await expect(
        sql`select automation.attach_members('public.accounts_of_people',
          ${sql.json({ user: "id", tenant: "org", [field!]: path! })})`,
      ).rejects.toMatchObject({
        message: expect.stringMatching(new RegExp(`^columns: ${field} must not be`)),
      });
    }
  });

  it("warns of tenants whose zones are none", async () => {
    await sql.unsafe(`create table public.offices (id uuid primary key, time_zone text);
      insert into public.offices values (gen_random_uuid(), 'Mountain Time (US & Canada)'), (gen_random_uuid(), 'America/Denver');
      select automation.attach_tenants('public.offices')`);
    expect(warnings.join("\n")).toMatch(
      /WARNING: automation: 1 of public\.offices with a time zone that is none, such as "Mountain Time \(US & Canada\)"/,
    );
  });

  it("takes whole names apart, plain ones and others alike", async () => {
    expect(
      await sql`select n.given, automation.parts_of_name(n.given) - 'x' as parts from (values
      ('Maria Lopez'), ('Dr. Maria de la Cruz'), ('Lee, Ann'), ('Mr Smith'), ('Sam Jr'), ('Apex Roofing LLC'), ('Cher'), ('')
      ) as n (given)`,
    ).toEqual([
      { given: "Maria Lopez", parts: { first_name: "Maria", last_name: "Lopez" } },
      { given: "Dr. Maria de la Cruz", parts: { first_name: "Maria", last_name: "de la Cruz" } },
      { given: "Lee, Ann", parts: { first_name: "Ann", last_name: "Lee" } },
      { given: "Mr Smith", parts: { first_name: null, last_name: "Smith" } },
      { given: "Sam Jr", parts: { first_name: "Sam", last_name: null } },
      { given: "Apex Roofing LLC", parts: { first_name: null, last_name: null } },
      { given: "Cher", parts: { first_name: "Cher", last_name: null } },
      { given: "", parts: { first_name: null, last_name: null } },
    ]);
  });

  it("refuses a zone of its times that is none, and words for tags that are none", async () => {
    await expect(
      sql`select automation.attach('public.leads', 'contact', '{"timestamps": "utc time"}')`,
    )
      .rejects.toThrow(/columns\.timestamps: "utc time" is not a time zone/);
    await expect(
      sql`select automation.attach('public.leads', 'contact',
        '{"tags": {"links": "public.leads", "tags": "public.leads", "were": {}}}')`,
    ).rejects.toThrow(/columns\.tags: "were" is none of links, tags, .*tenant/);
  });
});

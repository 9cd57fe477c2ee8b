// What a host may say of its tables: no tenants at all, several numbers, keys and words of its own.
import type { Sql, TransactionSql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import { createSender } from "../../functions/_shared/channels/email/resend/send.ts";
import { connect } from "../../scripts/lib/scratch.ts";
import { startResend } from "../../scripts/standins/resend.ts";
import { aStep } from "../functions/fakes.ts";
import { asRole } from "../support/database.ts";
import {
  attachHost,
  createHost,
  createProject,
  type Host,
  installEngine,
  MARIA,
  OTTO,
  publish,
  receive,
  send,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";

const claim = (sql: Sql) =>
  sql<{ payload: { to: string; body: string } }[]>`
    select payload from automation.claim_steps('test', 100)`;

const SOLE = "00000000-0000-4000-8000-000000000001";

const ended = (sql: Sql) =>
  sql<{ status: string; error: { message: string } | null }[]>`
    select status, error from ridgeline.workflow_executions order by id`;

describe("a contact with a mobile and a telephone", { timeout: 120_000 }, () => {
  let host: Host & { sql: Sql };
  let sql: Sql;
  beforeAll(async () => {
    host = await createHost();
    sql = host.sql;
    await speakAs(sql, SUMMIT, "+15125550100");
  });
  afterAll(() => host.drop());

  it("is texted on the first that is filled", async () => {
    await publish(sql, SUMMIT, "contact_updated", [["send_sms", {
      body: "Hi {{contact.first_name}}",
    }]]);
    await sql`update public.contacts set notes = 'x' where id in (${MARIA}, ${OTTO})`;
    expect((await claim(sql)).map(({ payload }) => payload.to).toSorted())
      .toEqual(["+15125550142", "+15125550143"]);
    await sql`update public.contacts set mobile_phone = '  ', phone = '5125550199' where id = ${OTTO}`;
    expect((await claim(sql)).map(({ payload }) => payload.to)).toEqual(["+15125550199"]);
  });

  it("that was altered after it was attached tells whoever writes, and what to do", async () => {
    const told: string[] = [];
    const owner = connect(host.url, {
      max: 1,
      onnotice: ({ severity, message, hint }) => told.push(`${severity} ${message} ${hint ?? ""}`),
    });
    const after = async (...statements: string[]) => {
      told.length = 0;
      await owner.begin(async (transaction) => {
        for (const statement of statements) await transaction.unsafe(statement);
        throw new Error("undone");
      }).catch((error: Error) => {
        if (error.message !== "undone") throw error;
      });
      return told.join("\n");
    };
    const attach = `
      select automation.attach('public.contacts', 'contact', '{"phone": ["mobile_phone", "phone"]}', authors => 'members')`;
    const write =
      "insert into public.contacts (tenant_id, first_name, last_name) select id, 'A', 'B' from public.tenants";
    const watched = await publish(sql, SUMMIT, "field_changed", [["create_task", {
      title: "Read",
    }]], {
      trigger_config: { entity: "contact", field: "notes" },
    });
    expect(await after(write)).toBe("");
    // Once a transaction, however many rows.
    const change = "update public.contacts set first_name = first_name || '!'";
    const slower = (await after(
      "alter table public.contacts drop column phone cascade",
      change,
      change,
    )).split("\n").filter((line) => line.startsWith("WARNING"));
    expect(slower).toEqual([
      expect.stringMatching(
        /^WARNING automation: contact was altered after it was attached \(.*phone.*\); its writes are captured, but slowly Call automation\.attach\(\) again\.$/,
      ),
    ]);
    const slowly = (why: string) =>
      `WARNING automation: contact was altered after it was attached (${why}); its writes are captured, but slowly ` +
      "Call automation.attach() again.";
    for (
      const [alteration, why] of [
        ["add column roof text", null],
        [
          "alter column lead_score type text using lead_score::text",
          "a column that was integer is text",
        ],
        ["drop column address_zip", 'record "new" has no field "address_zip"'],
      ] as const
    ) {
      expect(await after(`alter table public.contacts ${alteration}`, change, write, change))
        .toBe(why ? slowly(why) : "");
    }
    // Where it is now it knows by itself.
    for (
      const [moved, table] of [
        ["alter table public.contacts rename to people", "public.people"],
        ["create schema crm; alter table public.contacts set schema crm", "crm.contacts"],
      ] as const
    ) {
      const there = [change, write].map((one) => one.replace("public.contacts", table));
      expect([moved, await after(moved, ...there)]).toEqual([moved, ""]);
    }
    // The tenant's own key: nobody can say whose the row is.
    expect(
      (await after("alter table public.contacts rename column tenant_id to company_id", change))
        .split("\n").filter((line) => line.startsWith("WARNING")),
    ).toEqual([
      expect.stringMatching(
        /^WARNING automation: a write to contact fires nothing: .*\btenant_id\b.* The table was altered after it was attached: call automation\.attach\(\) again\.$/,
      ),
    ]);
    expect(await after("alter table public.contacts rename column id to contact_key", change))
      .toMatch(
        /^WARNING automation: a write to contact fires nothing: .*\bid\b.* The table was altered after it was attached: call automation\.attach\(\) again\.$/m,
      );
    const again = await after(
      "select automation.detach('contact')",
      "alter table public.contacts rename column notes to remarks",
      attach,
    );
    expect(again).toContain(
      `WARNING workflow "field_changed" of tenant ${SUMMIT} hears nothing until contact is attached again`,
    );
    expect(again).toMatch(
      new RegExp(
        `^WARNING workflow ${watched} of tenant ${SUMMIT} does not fit contact any more: .*notes`,
        "m",
      ),
    );
    await sql`update ridgeline.workflows set is_active = false where id = ${watched}`;
    await owner.end({ timeout: 1 });
  });

  it("is known by any of them when a text comes in", async () => {
    await publish(sql, SUMMIT, "sms_received", [["create_task", {
      title: "Answer {{contact.first_name}}",
    }]]);
    await sql`update public.contacts set phone = '(512) 555-0188' where id = ${MARIA}`;
    await receive(sql, "+15125550188", "Call me on this one");
    await receive(sql, "+15125550142", "or this one");
    await sql`select automation.tick()`;
    expect(await sql`select title, contact_id from public.tasks where title like 'Answer%'`)
      .toEqual([
        { title: "Answer Maria", contact_id: MARIA },
        { title: "Answer Maria", contact_id: MARIA },
      ]);
  });

  it("is written to at the first of several addresses, known by any, and each opts out alone", async () => {
    await sql`update ridgeline.workflows set is_active = false`;
    await work(sql);
    await sql`alter table public.contacts add column work_email text`;
    await sql`select automation.attach('public.contacts', 'contact',
      '{"phone": ["mobile_phone", "phone"], "email": ["work_email", "email"], "deleted": "is_deleted"}',
      '[{"type": "stage_changed", "column": "stage"}]', authors => 'members')`;
    const write = await publish(sql, SUMMIT, "manual", [["send_email", {
      subject: "Your roof",
      text: "Hi {{contact.first_name}}",
      purpose: "transactional",
    }]]);
    await publish(sql, SUMMIT, "email_received", [["create_task", {
      title: "Read what {{contact.first_name}} wrote",
    }]]);
    await sql`insert into ridgeline.email_addresses (tenant_id, address) values (${SUMMIT}, 'office@summit.example')`;
    const writtenTo = async () => {
      await sql`select ridgeline.execute_workflow(${write}, ${
        sql.json({ contact_id: MARIA })
      }, ${SUMMIT})`;
      return (await work(sql)).map(({ payload }) => payload.to);
    };
    expect(await writtenTo()).toEqual([["maria@example.com"]]);
    await sql`update public.contacts set work_email = 'Maria@lopez.example' where id = ${MARIA}`;
    expect(await writtenTo()).toEqual([["Maria@lopez.example"]]);
    for (const from of ["maria@example.com", "maria@LOPEZ.example"]) {
      await sql`select automation.receive_email(${
        sql.json({
          email_id: from,
          from,
          to: ["office@summit.example"],
          subject: "Hm",
          text: "Hm",
        })
      })`;
    }
    await work(sql);
    expect(await sql`select contact_id from public.tasks where title = 'Read what Maria wrote'`)
      .toEqual([{ contact_id: MARIA }, { contact_id: MARIA }]);
    await sql`insert into ridgeline.suppressions (tenant_id, channel, address, reason)
      values (${SUMMIT}, 'email', 'maria@lopez.example', 'opt_out')`;
    expect(await writtenTo()).toEqual([]);
    await sql`update public.contacts set work_email = null where id = ${MARIA}`;
    expect(await writtenTo()).toEqual([["maria@example.com"]]);
  });

  it("hears from an office that is named and placed as its own tables say, and reads numbers as that country does", async () => {
    const offer = (): Promise<string> =>
      publish(sql, SUMMIT, "manual", [
        ["send_email", { subject: "Spring", html: "<p>Hi</p>", purpose: "marketing" }],
        ["send_sms", { body: "Spring", purpose: "transactional" }],
      ]);
    await sql`update ridgeline.workflows set is_active = false`;
    await work(sql);
    await expect(offer()).rejects.toThrow("postal address");
    await sql`update public.tenant_settings set address_line = '1 Main St, Austin TX' where tenant_id = ${SUMMIT}`;
    const resend = await startResend({ port: 0, apiKey: "re_1" });
    try {
      const sender = createSender({
        settings: () => ({ apiKey: "re_1", baseUrl: resend.url, from: "office@summit.example" }),
        timeoutMs: 5_000,
        functions: () => "https://summit.supabase.example/functions/v1",
      });
      const spring = await offer();
      await sql`update public.contacts set mobile_phone = null, phone = '020 7946 0958' where id = ${OTTO}`;
      await sql`update public.tenant_settings set country = 'GB' where tenant_id = ${SUMMIT}`;
      await sql`select ridgeline.execute_workflow(${spring}, ${
        sql.json({ contact_id: OTTO })
      }, ${SUMMIT})`;
      const [email, text, ...more] = await work(sql);
      expect(more).toEqual([]);
      expect(text!.payload.to).toBe("+442079460958");
      await deliver(aStep({ step_type: "send_email", payload: { ...email!.payload } }), sender);
      const [post] = resend.requests().filter(({ method }) => method === "POST");
      expect(JSON.parse(post!.body).html).toContain("Summit Roofing, 1 Main St, Austin TX");
      // Who answers is found by the number as it stands in the CRM.
      await receive(sql, "+442079460958", "Lovely");
      expect(
        await sql`select contact_id from ridgeline.messages where from_number = '+442079460958'`,
      ).toEqual([{ contact_id: OTTO }]);
    } finally {
      await resend.stop();
      await sql`update public.tenant_settings set country = 'US' where tenant_id = ${SUMMIT}`;
    }
  });

  it("is written as its people write it: triggers, checks and defaults find what they name by no schema", async () => {
    await sql`update ridgeline.workflows set is_active = false`;
    await work(sql);
    await sql.unsafe(`
      insert into public.refused_sources values ('spam');
      truncate public.activity_log`);
    const meet = await publish(sql, SUMMIT, "manual", [
      ["update_contact", { fields: { source: "fair" } }],
      ["create_task", { title: "Meet {{contact.first_name}}" }],
      ["send_sms", { body: "See you at the fair" }],
      ["find_or_create_contact", {
        phone: "+15125550155",
        fields: { first_name: "Ann", last_name: "Gray" },
      }],
      ["update_contact", { fields: { source: "spam" } }],
    ]);
    // Anybody can make a table that is there for the session only; it is not what a trigger means.
    await sql.reserve().then(async (session) => {
      await session`create temporary table activity_log (like public.activity_log including all)`;
      await session`select ridgeline.execute_workflow(${meet}, ${
        sql.json({ contact_id: MARIA })
      }, ${SUMMIT})`;
      await session`select automation.tick()`;
      await send(session);
      await session`select automation.tick()`;
      expect(await session`select from pg_temp.activity_log`).toEqual([]);
      await session`drop table pg_temp.activity_log`;
      session.release();
    });
    expect((await sql`select done from public.activity_log order by id`).map(({ done }) => done))
      .toEqual(["contacts update", "tasks insert", "activities insert", "contacts insert"]);
    expect(
      await sql`select number ~ '^T-[0-9]+$' as numbered from public.tasks where title like 'Meet%'`,
    )
      .toEqual([{ numbered: true }]);
    expect(
      await sql`select status, error ->> 'message' as said from ridgeline.workflow_executions
      where workflow_id = ${meet}`,
    ).toEqual([
      { status: "failed", said: expect.stringContaining("contacts_source_taken") },
    ]);
    expect(
      await sql`select ridgeline.test_workflow(${meet}, ${
        sql.json({ contact_id: MARIA })
      }, tenant_id => ${SUMMIT}) #>> '{path,4,reason,message}' as said`,
    )
      .toEqual([{ said: expect.stringContaining("contacts_source_taken") }]);

    await sql`insert into ridgeline.tenant_settings (tenant_id, settings)
      values (${SUMMIT}, '{"inbound": {"create_contacts": true}}')`;
    await receive(sql, "+15125550166", "Who are you?");
    expect(
      await sql`select c.phone from ridgeline.messages as m
      join public.contacts as c on c.id::text = m.contact_id where m.from_number = '+15125550166'`,
    )
      .toEqual([{ phone: "+15125550166" }]);
  });

  it("and by its people as ever: their own search_path is what its triggers see", async () => {
    await sql.unsafe(`
      create table public.paths (path text);
      create function public.note_path() returns trigger language plpgsql as $$
        begin insert into public.paths values (current_setting('search_path')); return null; end $$;
      create trigger z_path after update on public.contacts for each row execute function public.note_path()`);
    await publish(sql, SUMMIT, "field_changed", [["update_contact", {
      fields: { priority: "high" },
    }]], {
      trigger_config: { entity: "contact", field: "company" },
    });
    await sql.begin(async (sql) => {
      await sql`set local search_path = "$user", extensions, public, "Odd One"`;
      await sql`update public.contacts set company = 'Lopez & Co' where id = ${MARIA}`;
      expect(await sql`show search_path`).toMatchObject([
        { search_path: '"$user", extensions, public, "Odd One"' },
      ]);
    });
    await sql`select automation.tick()`;
    expect(await sql`select path from public.paths`).toEqual([
      { path: '"$user", extensions, public, "Odd One"' },
      { path: "public, pg_temp" },
    ]);
    await sql`drop trigger z_path on public.contacts`;
  });

  const entered = async (name: string) => {
    const [{ path }] = await sql<[{ path: string }]>`
      select c as path from pg_proc, unnest(proconfig) as c where proname = ${name} and c like 'search_path%'`;
    return path.slice("search_path=".length);
  };

  it("under the path that whoever attached it has, and never under one that callers can add to", async () => {
    const set = (sql: Sql | TransactionSql, path: string) =>
      sql`update automation.settings set value = ${path} where name = 'host_search_path'`;
    const kept = async () =>
      (await sql<
        { value: string }[]
      >`select value from automation.settings where name = 'host_search_path'`)[0]
        ?.value;
    expect(await kept()).toBe("public");
    await sql`create schema open`;
    await sql`grant create on schema open to authenticated`;
    await expect(set(sql, "public, nowhere")).rejects.toThrow(/there is no schema "nowhere"/);
    await expect(set(sql, "open, public")).rejects.toThrow(/may create in schema "open"/);
    await expect(asRole(sql, "service_role", (sql) => set(sql, ""))).rejects.toThrow(
      /permission denied|must be owner/,
    );

    await sql`create schema "Odd One"`;
    await sql`create table "Odd One".activity_log (like public.activity_log including all)`;
    await sql.unsafe(
      `alter database ${host.name} set search_path = "$user", open, pg_catalog, "Odd One", public, missing`,
    );
    await set(sql, "");
    const said: string[] = [];
    const another = connect(host.url, { onnotice: (notice) => said.push(notice.message ?? "") });
    await another`set search_path = extensions`;
    await attachHost(another);
    await another.end();
    expect(said.filter((one) => /by itself/.test(one))).toEqual([
      expect.stringContaining("do not find what is in open by itself"),
    ]);
    // It is kept, and comes back with the next attaching once it is nobody else's.
    expect(await kept()).toBe('open, "Odd One", public');
    expect(await entered("in_host_path")).toBe('"Odd One", public, pg_temp');
    await sql`update public.contacts set company = 'Lopez & Sons' where id = ${MARIA}`;
    await sql`select automation.tick()`;
    expect(await sql`select done from "Odd One".activity_log`).toEqual([{
      done: "contacts update",
    }]);
    await sql`revoke create on schema open from authenticated`;
    await attachHost(sql);
    expect(await entered("in_host_path")).toBe('open, "Odd One", public, pg_temp');
    await sql.unsafe(`alter database ${host.name} reset search_path`);
    await set(sql, '"$user", public');
  });

  it("nor under one that another role may add to, whoever lets it, for as long as that is so", async () => {
    const role = `guest_${host.name}`;
    const admin = connect(host.adminUrl, { max: 1 });
    const written = async () => {
      await sql`select automation.prune()`;
      return await entered("in_host_path");
    };
    try {
      await sql`create schema shelf`;
      await admin.unsafe(`create role ${role} login; grant create on schema shelf to ${role}`);
      await expect(
        sql`update automation.settings set value = 'shelf, public' where name = 'host_search_path'`,
      )
        .rejects.toThrow(/others than the owners of the CRM's tables may create in schema "shelf"/);
      // Nobody can log in as that, and it is nobody's.
      await admin.unsafe(`alter role ${role} nologin`);
      await sql`update automation.settings set value = 'shelf, public' where name = 'host_search_path'`;
      expect(await written()).toBe("shelf, public, pg_temp");
      // What stands there comes before ours in no statement of the engine's, however well it fits.
      await sql.unsafe(`
        create function shelf.taken() returns jsonb language plpgsql as $$ begin raise exception 'taken over'; end $$;
        create function shelf.jsonb_populate_record(public.contacts, jsonb) returns public.contacts language sql
          as 'select jsonb_populate_record($1, shelf.taken())'`);
      await sql`update public.contacts set company = 'Lopez Brothers' where id = ${MARIA}`;
      await sql`select automation.tick()`;
      expect((await ended(sql)).at(-1)).toEqual({ status: "completed", error: null });
      await sql`drop function shelf.jsonb_populate_record, shelf.taken`;
      // Until somebody may become it.
      const insider = `insider_${host.name}`;
      await admin.unsafe(`create role ${insider} login noinherit; grant ${role} to ${insider}`);
      try {
        expect(await written()).toBe("public, pg_temp");
        // Who owns a table that the engine writes has its triggers, and gains nothing.
        await admin.unsafe(
          `create table shelf.notes (id uuid primary key default gen_random_uuid(), tenant_id uuid);
          alter table shelf.notes owner to ${insider}`,
        );
        await admin`select automation.attach('shelf.notes', 'note')`;
        expect(await written()).toBe("shelf, public, pg_temp");
        await admin`select automation.detach('note')`;
        expect(await written()).toBe("public, pg_temp");
      } finally {
        await admin.unsafe(`drop owned by ${insider} cascade; drop role ${insider}`);
      }
      expect(await written()).toBe("shelf, public, pg_temp");
      // A target that cannot be generated any more keeps nothing under the path that is open, itself neither.
      await sql`alter table public.tasks rename column title to headline`;
      await admin`grant create on schema shelf to public`;
      expect(await written()).toBe("public, pg_temp");
      expect(await entered("write_task")).toBe("public, pg_temp");
      await sql`select automation.regenerate_readers()`;
      await sql`alter table public.tasks rename column headline to title`;
    } finally {
      await admin.unsafe(`drop owned by ${role}; drop role ${role}`);
      await admin.end();
      await sql`update automation.settings set value = '"$user", public' where name = 'host_search_path'`;
    }
  });

  it("is tagged in whatever column its list of tags is", async () => {
    await sql`alter table public.contacts rename column tags to labels`;
    await sql`select automation.attach('public.contacts', 'contact',
      '{"tags": "labels", "phone": ["mobile_phone", "phone"]}', authors => 'members')`;
    const tag = await publish(sql, SUMMIT, "manual", [
      ["add_tag", { tag: "called" }],
      ["remove_tag", { tag: "HAIL" }],
      ["create_task", { title: "Tags: {{contact.tags | join: ' '}}" }],
    ], { conditions: [{ field: "contact.tags", operator: "contains", value: "insurance" }] });
    await sql`select ridgeline.execute_workflow(${tag}, ${
      sql.json({ contact_id: MARIA })
    }, ${SUMMIT})`;
    await work(sql);
    expect(await sql`select labels from public.contacts where id = ${MARIA}`)
      .toEqual([{ labels: ["insurance", "called"] }]);
    expect(await sql`select title from public.tasks where title like 'Tags%'`)
      .toEqual([{ title: "Tags: insurance called" }]);
  });

  it("or in tables that link it to tags, each with the tenant under the CRM's name for it", async () => {
    await sql.unsafe(`
      alter table public.contacts rename column tenant_id to company_id;
      create table public.labels (id serial primary key, company_id uuid not null, word text not null);
      create table public.labelled (company_id uuid not null, person uuid not null, label int not null references public.labels);
      create trigger labelled_log before insert or delete on public.labelled for each row execute function public.log_activity();
      truncate public.activity_log;
      select automation.attach('public.contacts', 'contact', '{"tenant": "company_id", "phone": ["mobile_phone", "phone"],
        "tags": {"links": "public.labelled", "tags": "public.labels", "record": "person", "tag": "label", "name": "word"}}',
        authors => 'members')`);
    const tag = await publish(sql, SUMMIT, "manual", [["add_tag", { tag: "vip" }], ["add_tag", {
      tag: "VIP",
    }]]);
    await sql`select ridgeline.execute_workflow(${tag}, ${
      sql.json({ contact_id: MARIA })
    }, ${SUMMIT})`;
    await work(sql);
    expect(
      await sql`select k.company_id, l.word from public.labelled as k join public.labels as l on l.id = k.label`,
    )
      .toEqual([{ company_id: SUMMIT, word: "vip" }]);
    expect((await sql`select done from public.activity_log`).map(({ done }) => done)).toEqual([
      "labelled insert",
    ]);
    await expect(sql`select automation.attach('public.contacts', 'contact',
      '{"tenant": "company_id", "tags": {"links": "public.labelled", "tags": "public.words"}}')`)
      .rejects.toThrow(/columns\.tags\.tags: there is no table "public\.words"/);
  });

  it("refuses lists where one column is meant, and columns that are not there", async () => {
    const attach = (columns: object) =>
      sql`select automation.attach('public.contacts', 'contact', ${
        sql.json({ tenant: "company_id", ...columns } as never)
      })`;
    await expect(attach({ stage: ["stage", "substatus"] })).rejects.toThrow(
      /columns\.stage: one column is meant/,
    );
    await expect(attach({ phone: [] })).rejects.toThrow(/columns\.phone: a list of the names/);
    await expect(attach({ phone: ["mobile_phone", "fax"] })).rejects.toThrow(/has no column "fax"/);
    await expect(attach({ phone: ["mobile_phone", "lead_score"] })).rejects.toThrow(
      /phone "lead_score" is integer/,
    );
  });
});

describe(
  "a CRM of one office, without tenants, with numbers for keys",
  { timeout: 120_000 },
  () => {
    let host: Host;
    let sql: Sql;
    beforeAll(async () => {
      host = await createProject();
      sql = connect(host.url);
      await sql.unsafe(`
      create table public.company (name text, tz text, phone text);
      insert into public.company values ('One Man Roofing', 'America/Denver', '+17205550100');
      create table public.staff (user_id uuid primary key, role text, full_name text, email text);
      insert into public.staff values ('0b000000-0000-4000-8000-000000000001', 'boss', 'Ida Boss', 'ida@one.example');
      create table public.customers (
        id bigint generated always as identity primary key, given text, tel text, mail text, phase text default 'new',
        owner uuid, gone_at timestamptz);
      create table public.labels (id serial primary key, name text not null unique);
      create table public.customer_labels (customer bigint references public.customers, label int references public.labels,
        primary key (customer, label));
      create table public.orders (
        no int generated always as identity primary key, customer bigint references public.customers, state text);
      create table public.todos (
        id bigint generated always as identity primary key, customer bigint references public.customers, what text, due date)`);
      await installEngine(sql);
      await sql.unsafe(`
      select automation.attach_tenants('public.company', '{"id": null, "timezone": "tz"}');
      select automation.attach_members('public.staff', '{"tenant": null}', roles => '{"boss": "owner"}');
      select automation.attach('public.customers', 'contact', '{"tenant": null, "phone": "tel", "email": "mail",
        "first_name": "given", "stage": "phase", "assigned_to": "owner", "deleted": "gone_at",
        "tags": {"links": "public.customer_labels", "tags": "public.labels", "record": "customer", "tag": "label"}}',
        '[{"type": "stage_changed", "column": "phase"}]');
      select automation.attach('public.orders', 'order',
        '{"tenant": null, "id": "no", "contact": "customer", "status": "state"}',
        '[{"type": "order_done", "column": "state", "becomes": "done"}]');
      select automation.attach_target('task', 'public.todos',
        '{"contact": "customer", "title": "what", "due": "due"}')`);
    });
    afterAll(async () => {
      await sql.end({ timeout: 1 });
      await host.drop();
    });

    it("is one tenant, with the company's name and zone", async () => {
      expect(await sql`select id, name, timezone, phone from automation.read_tenants(null)`)
        .toEqual([
          { id: SOLE, name: "One Man Roofing", timezone: "America/Denver", phone: "+17205550100" },
        ]);
      expect(await sql`select tenant_id, role, full_name from automation.read_members(null, null)`)
        .toEqual([
          { tenant_id: SOLE, role: "owner", full_name: "Ida Boss" },
        ]);
    });

    it("runs from an insert to a text, a task, a label and a new phase", async () => {
      await publish(sql, SOLE, "contact_created", [
        ["send_sms", { body: "Hi {{contact.first_name}}, this is {{tenant.name}}" }],
        ["create_task", { title: "Call {{contact.given}}", due_in_days: 1 }],
        ["add_tag", { tag: "texted" }],
        ["change_stage", { stage: "contacted" }],
        ["assign_user", { user_id: "0b000000-0000-4000-8000-000000000001" }],
      ]);
      await publish(sql, SOLE, "stage_changed", [["create_task", {
        title: "Now {{contact.stage}}",
      }]]);
      const [{ id }] = await sql<[{ id: string }]>`
      insert into public.customers (given, tel) values ('Nora', '720 555 0142') returning id`;
      const sent = await send(sql);
      expect(sent.map(({ payload }) => payload)).toMatchObject([
        { to: "+17205550142", body: "Hi Nora, this is One Man Roofing" },
      ]);
      for (let n = 0; n < 4; n++) await sql`select automation.tick()`;
      expect(await ended(sql)).toEqual([
        { status: "completed", error: null },
        { status: "completed", error: null },
      ]);
      expect(await sql`select what, customer from public.todos order by id`).toEqual([
        { what: "Call Nora", customer: id },
        { what: "Now contacted", customer: id },
      ]);
      expect(
        await sql`select phase, owner is not null as owned from public.customers where id = ${id}`,
      )
        .toEqual([{ phase: "contacted", owned: true }]);
      expect(
        await sql`select l.name from public.customer_labels as c join public.labels as l on l.id = c.label`,
      )
        .toEqual([{ name: "texted" }]);
      expect(await sql`select contact_id, body from ridgeline.messages`).toEqual([
        { contact_id: id, body: "Hi Nora, this is One Man Roofing" },
      ]);
    });

    it("takes a reply and a stranger, enrols by list and ends with a soft delete", async () => {
      await speakAs(sql, SOLE, "+17205550100");
      await sql`update ridgeline.tenant_settings set settings = '{"inbound": {"create_contacts": true}}'`;
      await receive(sql, "+17205550142", "Thanks", "+17205550100");
      await receive(sql, "+17205550177", "Who are you?", "+17205550100");
      expect(
        await sql`select c.given, c.tel from ridgeline.messages as m join public.customers as c on c.id::text = m.contact_id
        where m.direction = 'inbound' order by c.id`,
      ).toEqual([{ given: "Nora", tel: "720 555 0142" }, { given: null, tel: "+17205550177" }]);

      const nudge = await publish(sql, SOLE, "manual", [["create_task", { title: "Nudge" }, 60]]);
      const [{ id }] = await sql<[{ id: string }]>`select min(id) as id from public.customers`;
      await sql`select ridgeline.enroll_records(${nudge}, array[${id}::text])`;
      await sql`select automation.tick()`;
      await sql`update public.customers set gone_at = now() where id = ${id}`;
      await sql`select automation.tick()`;
      expect(
        await sql`select status, error ->> 'code' as code from ridgeline.workflow_executions where workflow_id = ${nudge}`,
      ).toEqual([{ status: "cancelled", code: "record_deleted" }]);
      await sql`insert into public.orders (customer, state) values (${id}, 'new')`;
      await publish(sql, SOLE, "order_done", [["create_task", {
        title: "Bill {{contact.given}}",
      }]]);
      await sql`update public.orders set state = 'done'`;
      expect(
        await sql`select record_id, contact_id from ridgeline.workflow_executions where entity = 'order'`,
      )
        .toEqual([{ record_id: "1", contact_id: id }]);
    });

    it("is forgotten when somebody asks, though the CRM cannot say that it is gone", async () => {
      await sql`select ridgeline.erase_tenant(${SOLE})`;
      for (let n = 0; n < 5; n++) await sql`select automation.tick()`;
      // Whoever works there works on; nothing hears it.
      await sql`insert into public.customers (given, tel) values ('Late', '720 555 0199')`;
      await sql`select automation.advance_clock('2 hours')`;
      await sql`select automation.tick()`;
      expect(await sql`select cause, status from ridgeline.tenant_erasures`)
        .toEqual([{ cause: "asked", status: "completed" }]);
      for (const table of ["workflows", "workflow_executions", "messages", "senders"]) {
        expect(await sql`select from ${sql(`ridgeline.${table}`)}`).toHaveLength(0);
      }
      expect((await sql`select from public.customers`).length).toBeGreaterThan(2);
    });
  },
);

describe("a CRM whose records know their customer by other names, and through others", {
  timeout: 120_000,
}, () => {
  let host: Host;
  let sql: Sql;
  beforeAll(async () => {
    host = await createProject();
    sql = connect(host.url);
    await sql.unsafe(`
      create table public.clients (id serial primary key, first_name text, phone text, timezone text, extra jsonb);
      create table public.deals (id serial primary key, "clientId" int references public.clients, title text);
      create table public.projects (id serial primary key, customer_id int references public.clients, name text);
      create table public.jobs (id serial primary key, project int references public.projects, done boolean);
      create table public.invoices (
        id serial primary key, job int references public.jobs, payer int references public.clients, due_on date, meta json);
      create table public.permits (id serial primary key, deal int references public.deals, state text);
      create table public.todos (id serial primary key, contact_id int, title text);
      insert into public.clients (first_name, phone) values ('Rosa', '5125550142'), ('Theo', '5125550143');
      insert into public.deals ("clientId", title) values (1, 'Roof'), (2, 'Siding');
      insert into public.projects (customer_id, name) values (1, 'Roof'), (2, 'Siding');
      insert into public.jobs (project) values (1), (2)`);
    await installEngine(sql);
    // What they belong to is attached after them.
    await sql.unsafe(`
      insert into ridgeline.tenant_settings (tenant_id, timezone) values ('${SOLE}', 'America/Chicago');
      select automation.attach('public.invoices', 'invoice', '{"tenant": null, "job": "job", "contact": "payer"}');
      select automation.attach('public.permits', 'permit', '{"tenant": null, "deal": "deal", "status": "state"}');
      select automation.attach('public.jobs', 'job', '{"tenant": null, "project": "project"}');
      select automation.attach('public.deals', 'deal', '{"tenant": null, "contact": "clientId"}');
      select automation.attach('public.projects', 'project', '{"tenant": null, "contact": "customer_id"}');
      select automation.attach('public.clients', 'contact', '{"tenant": null, "custom_fields": "extra"}');
      select automation.attach_target('task', 'public.todos', '{"tenant": null}')`);
    await speakAs(sql, SOLE, "+15125550100");
  });
  afterAll(async () => {
    await sql.end({ timeout: 1 });
    await host.drop();
  });

  const todos = async () => {
    await work(sql);
    return await sql`with gone as (delete from public.todos returning *) select contact_id, title from gone order by title`;
  };
  const say = (what: string): [string, object][] => [
    ["create_task", { title: `${what} {{contact.first_name}}` }],
  ];

  it("has it in a run that a write starts, one or a whole statement", async () => {
    await publish(sql, SOLE, "invoice_created", [["send_sms", {
      body: "Your invoice, {{contact.first_name}}",
    }]]);
    await publish(sql, SOLE, "permit_created", say("Permit of"));
    await publish(sql, SOLE, "job_updated", say("Job of"));
    await sql`insert into public.invoices (job) values (1)`;
    expect((await work(sql)).map(({ payload }) => [payload.to, payload.body])).toEqual([
      ["+15125550142", "Your invoice, Rosa"],
    ]);
    await sql`insert into public.permits (deal) values (1), (2)`;
    await sql`update public.jobs set done = true`;
    expect(await todos()).toEqual([
      { contact_id: 1, title: "Job of Rosa" },
      { contact_id: 2, title: "Job of Theo" },
      { contact_id: 1, title: "Permit of Rosa" },
      { contact_id: 2, title: "Permit of Theo" },
    ]);
  });

  it("in one that a day starts, or a person: alone, in a list, or on paper", async () => {
    await sql`select automation.set_clock('2026-06-01 15:00+00')`;
    await publish(sql, SOLE, "time_elapsed", say("Due by"), {
      trigger_config: {
        entity: "invoice",
        field: "due_on",
        offset: "0 days",
        at: "09:00",
        zone: "contact",
      },
    });
    await sql`update public.clients set timezone = 'America/Denver' where id = 2`;
    await sql`insert into public.invoices (job, due_on) values (2, '2026-06-02')`;
    await work(sql);
    await sql`select automation.set_clock('2026-06-02 14:30+00')`;
    expect(await todos()).toEqual([]);
    await sql`select automation.set_clock('2026-06-02 15:00+00')`;
    expect(await todos()).toEqual([{ contact_id: 2, title: "Due by Theo" }]);
    await sql`select automation.reset_clock()`;

    const call = await publish(sql, SOLE, "manual", say("Call"));
    for (
      const data of [{ invoice_id: 2 }, { job_id: 1 }, { permit_id: 2 }, { project_id: 1 }, {
        deal_id: 2,
      }]
    ) {
      await sql`select ridgeline.execute_workflow(${call}, ${sql.json(data)}, ${SOLE})`;
    }
    expect((await todos()).map(({ title }) => title)).toEqual(
      ["Call Rosa", "Call Rosa", "Call Theo", "Call Theo", "Call Theo"],
    );
    const bill = await publish(sql, SOLE, "invoice_updated", say("Bill"));
    await sql`select ridgeline.enroll_records(${bill}, array['1', '2'])`;
    expect((await todos()).map(({ title }) => title)).toEqual(["Bill Rosa", "Bill Theo"]);
    expect(
      await sql`select ridgeline.test_workflow(${bill}, '{"invoice_id": 2}', tenant_id => ${SOLE}) #>> '{path,0,input,title}' as title`,
    ).toEqual([{ title: "Bill Theo" }]);
  });

  it("is another's as soon as the record itself names one, and nobody's where nothing leads to one", async () => {
    await publish(sql, SOLE, "invoice_created", [["create_task", {
      title: "Later {{contact.first_name}}",
    }, 60]]);
    const [{ id }] = await sql<
      [{ id: number }]
    >`insert into public.invoices (job) values (1) returning id`;
    await sql`update public.invoices set payer = 2 where id = ${id}`;
    await work(sql);
    await sql`update ridgeline.scheduled_steps set run_at = now()`;
    expect(await todos()).toEqual([
      { contact_id: 2, title: "Bill Theo" },
      { contact_id: 2, title: "Later Theo" },
    ]);
    await sql`select automation.detach('deal')`;
    await expect(publish(sql, SOLE, "permit_updated", [["add_tag", { tag: "x" }]])).rejects.toThrow(
      /no contact/,
    );
    await publish(sql, SOLE, "job_updated", [["update_contact", {
      fields: { timezone: "America/Chicago" },
    }]]);
  });

  it("has its custom fields in whatever JSON column they are", async () => {
    await sql`update public.clients set extra = '{"roof": "tile", "tree": true}' where id = 1`;
    const learn = await publish(sql, SOLE, "manual", [
      ["update_contact", { fields: { "custom_fields.roof": "slate", "extra.pitch": 5 } }],
      ["create_task", { title: "{{custom.roof}} was, {{contact.custom_fields.roof}} is" }],
    ]);
    const mark = await publish(sql, SOLE, "manual", [
      ["update_field", { entity: "invoice", field: "meta.seen", value: "yes" }],
    ]);
    await sql`select ridgeline.execute_workflow(${learn}, '{"contact_id": 1}', ${SOLE})`;
    await sql`select ridgeline.execute_workflow(${mark}, '{"invoice_id": 1}', ${SOLE})`;
    expect((await todos()).map(({ title }) => title)).toContain("tile was, slate is");
    expect(await sql`select extra from public.clients where id = 1`).toEqual([
      { extra: { roof: "slate", tree: true, pitch: 5 } },
    ]);
    expect(await sql`select meta from public.invoices where id = 1`).toEqual([{
      meta: { seen: "yes" },
    }]);
    await expect(
      publish(sql, SOLE, "manual", [["update_contact", { fields: { "phone.home": "1" } }]]),
    )
      .rejects.toThrow(/contact has no field "phone\.home" to write/);
  });
});

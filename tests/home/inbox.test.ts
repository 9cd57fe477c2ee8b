// A CRM with an inbox of its own: what arrives there counts like what a provider's webhook brings.
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../scripts/lib/scratch.ts";
import { asRole } from "../support/database.ts";
import {
  createHost,
  LAKESIDE,
  MARIA,
  publish,
  SAM,
  speakAs,
  SUMMIT,
  work,
} from "../support/host.ts";

let host: Awaited<ReturnType<typeof createHost>>;
beforeAll(async () => {
  host = await createHost();
  await speakAs(host.sql, SUMMIT, "+15125550100");
  await host.sql.unsafe(`
    update ridgeline.senders set verified_at = now();
    create table public.sms_log (
      id bigint generated always as identity primary key, company_id uuid not null, sender text, message text,
      direction text not null, received_at timestamptz default now());
    select automation.attach_inbox('public.sms_log', '{"tenant": "company_id", "from": "sender", "body": "message"}',
      '{"inbound": "incoming"}')`);
});
afterAll(() => host.drop());

const arrives = (message: string, from = "512.555.0142", direction = "incoming", tenant = SUMMIT) =>
  host.sql`
    insert into public.sms_log (company_id, sender, message, direction)
    values (${tenant}, ${from}, ${message}, ${direction})`;
const kept = () =>
  host.sql<{ body: string; contact_id: string; from_number: string }[]>`
    select body, contact_id, from_number from ridgeline.messages where direction = 'inbound' order by created_at, id`;

test("a text that arrives is the contact's, and starts what listens to texts", async () => {
  await publish(host.sql, SUMMIT, "sms_received", [["create_task", { title: "{{trigger.body}}" }]]);
  await arrives("Is Monday fine?");
  expect(await kept()).toEqual([
    { body: "Is Monday fine?", contact_id: MARIA, from_number: "+15125550142" },
  ]);
  await work(host.sql);
  expect(await host.sql`select title from public.tasks`).toEqual([{ title: "Is Monday fine?" }]);
});

test("what the office wrote there is no text that came", async () => {
  await arrives("Yes, Monday", "512.555.0142", "outgoing");
  expect(await kept()).toHaveLength(1);
});

test("STOP there stops the engine's texts", async () => {
  await arrives("STOP");
  expect(await host.sql`select channel, address, reason from ridgeline.suppressions`).toEqual([
    { channel: "sms", address: "+15125550142", reason: "opt_out" },
  ]);
});

test("and where it stands inside a JSON column", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.chat (id bigint generated always as identity primary key, company_id uuid not null, content jsonb not null);
    select automation.attach_inbox('public.chat', '{"tenant": "company_id", "from": "content.sender.number", "body": "content.text",
      "media": "content.files", "direction": "content.way"}', '{"inbound": "in"}')`);
  const said = (text: string, way: string) =>
    sql`insert into public.chat (company_id, content) values (${SUMMIT}, ${
      sql.json({
        text,
        way,
        sender: { number: "512-555-0177" },
        files: ["https://x.example/1.png"],
      })
    })`;
  await said("Stop it", "out");
  await said("STOP", "in");
  expect(
    await sql`select body, from_number, media_urls from ridgeline.messages where from_number = '+15125550177'`,
  ).toEqual([{
    body: "STOP",
    from_number: "+15125550177",
    media_urls: ["https://x.example/1.png"],
  }]);
  expect(await sql`select reason from ridgeline.suppressions where address = '+15125550177'`)
    .toEqual([{ reason: "opt_out" }]);
  await sql.unsafe("select automation.detach_inbox('public.chat'); drop table public.chat");
});

describe("STOP in JSON of many shapes", () => {
  let number = 5125550300;
  beforeAll(() =>
    host.sql.unsafe(`
      create table public.chats (
        id bigint generated always as identity primary key, company_id uuid not null, sender text, content json, raw json);
      select automation.attach_inbox('public.chats', '{"tenant": "company_id", "from": "sender", "body": "content.text",
        "media": "content.files"}')`)
  );
  afterAll(() =>
    host.sql.unsafe(`
      select automation.detach_inbox('public.chats');
      drop table public.chats;
      delete from automation.inbox_waiting`)
  );

  /** A row from a customer whom nobody knows yet, and what became of it. */
  async function say(content: string | null, raw: string | null = null) {
    const from = `+1${++number}`;
    await host.sql`
      insert into public.chats (company_id, sender, content, raw)
      values (${SUMMIT}, ${from}, ${content}::text::json, ${raw}::text::json)`;
    return { from, ...await became(from) };
  }
  async function became(from: string) {
    const [row] = await host.sql<[{ stopped: boolean; stored: number; waits: string | null }]>`
      select exists (select from ridgeline.suppressions where address = ${from}) as stopped,
        (select count(*)::int from ridgeline.messages where from_number = ${from}) as stored,
        (select error from automation.inbox_waiting where event ->> 'from' = ${from}) as waits`;
    return row;
  }

  test.each<[string, string, string?]>([
    ["beside what is no character", '{"text": "STOP"}', String.raw`{"x": "a\u0000b"}`],
    ["beside a number that is too large", '{"text": "STOP"}', '{"x": 1e200000}'],
    ["beside both in its own column", String.raw`{"text": "STOP", "x": "\u0000", "n": 1e200000}`],
    ["beside half an emoji", String.raw`{"text": "STOP", "name": "Nia \ud83d"}`],
    ["in a text that is JSON", JSON.stringify('{"text": "STOP"}')],
  ])("%s it counts", async (_, content, raw) => {
    expect(await say(content, raw)).toMatchObject({ stopped: true, stored: 1, waits: null });
  });

  test.each([
    ["in a list", '[{"text": "STOP"}]'],
    ["deeper than was said", '{"text": {"body": "STOP"}}'],
    ["under another name", '{"message": "STOP"}'],
    ["in what cannot be read", JSON.stringify("STOP")],
    ["nowhere", null],
  ])("%s it waits for somebody to read it", async (_, content) => {
    const { from, ...said } = await say(content);
    expect(said).toEqual({
      stopped: false,
      stored: 0,
      waits: expect.stringMatching(
        /^body: row \d+ has nothing that can be read at "content.text"$/,
      ),
    });
    await host.sql`select automation.take_waiting(100)`;
    expect(await became(from)).toEqual(said);
    await host.sql`
      update automation.inbox_waiting set event = event - 'unread' || '{"body": "STOP"}' where event ->> 'from' = ${from}`;
    await host.sql`select automation.take_waiting(100)`;
    expect(await became(from)).toEqual({ stopped: true, stored: 1, waits: null });
  });

  test("a picture without words, and words that are empty, are taken", async () => {
    for (const content of ['{"files": ["https://x.example/1.png"]}', '{"text": null}']) {
      expect(await say(content)).toMatchObject({ stopped: false, stored: 1, waits: null });
    }
  });

  test("what cannot be read at all waits too", async () => {
    const { sql } = host;
    const [{ columns }] = await sql<[{ columns: object }]>`
      select columns from automation.inboxes where relation = 'public.chats'`;
    await sql`update automation.inboxes set columns = '[]' where relation = 'public.chats'`;
    await sql`insert into public.chats (company_id, sender) values (${SUMMIT}, '5125550142')`;
    await sql`update automation.inboxes set columns = ${
      sql.json(columns as never)
    } where relation = 'public.chats'`;
    const [{ id }] = await sql<[{ id: string }]>`select max(id)::text as id from public.chats`;
    expect(
      await sql`
        select kind, event ? 'unread' as unread, event -> 'row' as row from automation.inbox_waiting
        where event ->> 'from' is null`,
    )
      .toEqual([{ kind: "sms", unread: true, row: { relation: "public.chats", key: { id } } }]);
  });
});

test("a column that is called as a path would be comes before it", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.flat (
      id bigint generated always as identity primary key, company_id uuid not null, "in" text, "in.from" text, "in.body" text);
    select automation.attach_inbox('public.flat', '{"tenant": "company_id", "from": "in.from", "body": "in.body"}');
    insert into public.flat (company_id, "in", "in.from", "in.body") values ('${SUMMIT}', 'x', '+15125550290', 'Monday?')`);
  expect(await sql`select body from ridgeline.messages where from_number = '+15125550290'`)
    .toEqual([{ body: "Monday?" }]);
  await sql.unsafe("select automation.detach_inbox('public.flat'); drop table public.flat");
});

test("what cannot be taken costs the writer nothing, and is taken when it can", async () => {
  const { sql } = host;
  await arrives("Hello?", "312.555.0142", "incoming", LAKESIDE);
  expect(await sql`select count(*)::int as rows from public.sms_log`).toEqual([{ rows: 4 }]);
  const [waiting] = await sql<[{ error: string }]>`select error from automation.inbox_waiting`;
  expect(waiting.error).toContain("no number of this tenant's senders");
  await speakAs(sql, LAKESIDE, "+13125550100");
  await sql`update ridgeline.senders set verified_at = now()`;
  await sql`update automation.inbox_waiting set event = event || '{"to": "+13125550100"}'`;
  expect(await sql`select automation.take_waiting() as taken`).toEqual([{ taken: 1 }]);
  expect((await kept()).map(({ body }) => body)).toContain("Hello?");
});

test("what nobody can read takes no turn from a STOP that waits", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.lines (
      id bigint generated always as identity primary key, company_id uuid not null, sender text, line text, content json);
    select automation.attach_inbox('public.lines',
      '{"tenant": "company_id", "from": "sender", "to": "line", "body": "content.text"}');
    insert into public.lines (company_id, sender, line, content)
    select '${SUMMIT}', '+15125550600', '+15125550100', '{}' from generate_series(1, 30);
    insert into public.lines (company_id, sender, line, content)
    values ('${SUMMIT}', '+15125550601', '+15125550602', '{"text": "STOP"}')`);
  const stopped = () =>
    sql`select reason from ridgeline.suppressions where address = '+15125550601'`;
  expect(await stopped()).toEqual([]);
  await sql`
    insert into ridgeline.senders (tenant_id, channel, provider, kind, address, limits)
    values (${SUMMIT}, 'sms', 'twilio', 'number', '+15125550602', '{}')`;
  await sql`update ridgeline.senders set verified_at = now()`;
  expect(await sql`select automation.take_waiting() as taken`).toEqual([{ taken: 1 }]);
  expect(await stopped()).toEqual([{ reason: "opt_out" }]);
  expect(
    await sql`select tries, count(*)::int as rows from automation.inbox_waiting where event ? 'unread' group by tries`,
  ).toEqual([{ tries: 1, rows: 30 }]);
  await sql.unsafe(`
    delete from automation.inbox_waiting;
    select automation.detach_inbox('public.lines');
    drop table public.lines;
    delete from ridgeline.senders where address = '+15125550602'`);
});

test("nor does a crowd of what cannot be taken, of another office or of another kind", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.lines (
      id bigint generated always as identity primary key, company_id uuid not null, channel text, sender text,
      line text, said text, state text);
    select automation.attach_inbox('public.lines', '{"tenant": "company_id", "kind": "channel", "from": "sender",
      "to": "line", "body": "said", "status": "state"}');
    insert into public.lines (company_id, channel, sender, line, said)
    select '${LAKESIDE}', 'sms', '+15125550600', '+15125550699', 'STOP' from generate_series(1, 30);
    insert into public.lines (company_id, channel, sender, line, state)
    select '${SUMMIT}', 'call', '+15125550600', '+15125550100', 'odd' from generate_series(1, 30);
    insert into public.lines (company_id, channel, sender, line, said)
    values ('${SUMMIT}', 'sms', '+15125550603', '+15125550604', 'STOP')`);
  await sql`
    insert into ridgeline.senders (tenant_id, channel, provider, kind, address, limits)
    values (${SUMMIT}, 'sms', 'twilio', 'number', '+15125550604', '{}')`;
  await sql`update ridgeline.senders set verified_at = now()`;
  expect(await sql`select automation.take_waiting() as taken`).toEqual([{ taken: 1 }]);
  expect(await sql`select reason from ridgeline.suppressions where address = '+15125550603'`)
    .toEqual([{ reason: "opt_out" }]);
  await sql.unsafe(`
    delete from automation.inbox_waiting;
    select automation.detach_inbox('public.lines');
    drop table public.lines;
    delete from ridgeline.senders where address = '+15125550604'`);
});

test("a crowd of rows that nobody can read is warned of where it is written, and told of once", async () => {
  const warnings: string[] = [];
  const sql = connect(host.url, { onnotice: ({ message }) => warnings.push(message!) });
  const told = async () => {
    warnings.length = 0;
    await sql`select automation.tell_of_engine()`;
    return warnings.filter((said) => said.includes("inbox"));
  };
  try {
    await sql.unsafe(`
      create table public.notes (
        id bigint generated always as identity primary key, company_id uuid not null, sender text, content json);
      select automation.attach_inbox('public.notes', '{"tenant": "company_id", "from": "sender", "body": "content.text"}')`);
    expect(await told()).toEqual([]);
    await sql`
      insert into public.notes (company_id, sender, content)
      select ${SUMMIT}, '+15125550700', '[{"text": "STOP"}]' from generate_series(1, 12)`;
    expect(await sql`select count(*)::int as rows from public.notes`).toEqual([{ rows: 12 }]);
    expect(warnings.filter((said) => said.startsWith("automation:"))).toEqual(
      Array.from(
        { length: 12 },
        (_, i) =>
          `automation: a row of public.notes could not be taken: body: row ${
            i + 1
          } has nothing that can be read at "content.text"`,
      ),
    );
    expect(await told()).toEqual([
      expect.stringMatching(
        /^ridgeline: rows of inboxes wait for somebody to say what they are \(12, since \S.*\): a STOP may be among them/,
      ),
    ]);
    expect(await told()).toEqual([]);
    await sql`update automation.notices set at = at - interval '61 minutes' where kind = 'inbox'`;
    expect(await told()).toHaveLength(1);
    // What the tick still tries is nothing yet, and what it has given up is.
    await sql`
      update automation.inbox_waiting set event = event - 'unread'`;
    await sql`update automation.notices set at = at - interval '61 minutes' where kind = 'inbox'`;
    expect(await told()).toEqual([]);
    await sql`update automation.inbox_waiting set tries = 10 where event ->> 'from' = '+15125550700'`;
    expect(await told()).toHaveLength(1);
  } finally {
    await sql.unsafe(`
      delete from automation.inbox_waiting;
      select automation.detach_inbox('public.notes');
      drop table public.notes`);
    await sql.end({ timeout: 1 });
  }
});

test("garbage in every column costs the writer nothing either", async () => {
  const { sql } = host;
  await sql`
    insert into public.sms_log (company_id, sender, message, direction) values
      (${SUMMIT}, null, null, 'incoming'), (${SUMMIT}, 'nobody', '', 'incoming'),
      (gen_random_uuid(), '+15125550199', 'Who is this?', 'incoming')`;
  expect(await sql`select count(*)::int as rows from public.sms_log`).toEqual([{ rows: 7 }]);
});

test("what attaching cannot know it asks for", async () => {
  const attach = (columns: object, table = "public.sms_log") =>
    host.sql`select automation.attach_inbox(${table}::regclass, ${
      host.sql.json(columns as never)
    })`;
  await expect(attach({ from: "phone" })).rejects.toThrow(/has no column "phone"/);
  await expect(attach({ whom: "sender" })).rejects.toThrow(/"whom" is none of/);
  await expect(attach({ from: "sender", body: "message.text" })).rejects.toThrow(
    /body "message\.text" is inside message, which is no JSON but text/,
  );
  await expect(attach({ tenant: "company_id" })).rejects.toThrow(/which column .* is the from/);
  await expect(attach({ from: "sender", body: "message" })).rejects.toThrow(
    /neither tenant nor to/,
  );
  await expect(
    attach({ from: "from_address", body: "content", tenant: "tenant_id" }, "public.activities"),
  ).rejects.toThrow(/is the timeline/);
});

test("detached, it is an ordinary table again", async () => {
  const { sql } = host;
  await sql`select automation.detach_inbox('public.sms_log')`;
  const before = await kept();
  await arrives("Anybody?");
  expect(await kept()).toEqual(before);
  await expect(sql`select automation.detach_inbox('public.sms_log')`).rejects.toThrow(
    /is no inbox/,
  );
});

// EMAILS, CALLS AND FORMS: each in a table of its own, or all of them in one.

const waiting = () =>
  host.sql<{ kind: string; error: string }[]>`
    select kind, error from automation.inbox_waiting order by created_at, id`;

test("an email that arrives is the contact's, a reply, and no reply when a machine wrote it", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.mail (
      id uuid primary key default gen_random_uuid(), company_id uuid not null, sender text, subject text, body_text text,
      headers jsonb, direction text not null default 'in');
    select automation.attach_inbox('public.mail', '{"tenant": "company_id", "from": "sender"}', '{"inbound": "in"}', 'email')`);
  await publish(sql, SUMMIT, "email_received", [["create_task", { title: "{{email.subject}}" }]]);
  const mail = (subject: string, changes: object = {}) =>
    sql`insert into public.mail ${
      sql({
        company_id: SUMMIT,
        sender: "Maria Lopez <maria@lopez.example>",
        subject,
        body_text: "Thanks",
        ...changes,
      })
    }`;
  await sql`update public.contacts set email = 'maria@lopez.example' where id = ${MARIA}`;
  await mail("Which colour?");
  await mail("Out of office", { headers: sql.json({ "auto-submitted": "auto-replied" }) });
  await mail("Our answer", { direction: "out" });
  expect(
    await sql`select contact_id, subject, is_automatic, provider from ridgeline.emails order by created_at, id`,
  ).toEqual([
    { contact_id: MARIA, subject: "Which colour?", is_automatic: false, provider: "inbox" },
    { contact_id: MARIA, subject: "Out of office", is_automatic: true, provider: "inbox" },
  ]);
  await work(sql);
  const titles =
    await sql`select title from public.tasks where title not in ('Is Monday fine?', 'Monday?', 'STOP')`;
  expect(titles).toEqual([{ title: "Which colour?" }]);
  await mail("unsubscribe");
  expect(await sql`select address from ridgeline.suppressions where channel = 'email'`).toEqual([
    { address: "maria@lopez.example" },
  ]);
  await mail("Hello", { sender: "nobody" });
  expect((await waiting()).at(-1)).toMatchObject({
    kind: "email",
    error: 'from: "nobody" is no email address',
  });
});

test("a call that nobody took is missed, in the words of the CRM, when it has ended", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.phone_calls (
      call_no bigint generated always as identity primary key, company_id uuid not null, caller text, line text,
      outcome text, seconds integer, inbound text not null default 'yes');
    select automation.attach_inbox('public.phone_calls',
      '{"id": "call_no", "tenant": "company_id", "from": "caller", "to": "line", "status": "outcome", "duration": "seconds",
        "direction": "inbound"}',
      '{"inbound": "yes", "missed": ["Voicemail", "No answer"], "completed": "Talked"}', 'call')`);
  await publish(sql, SUMMIT, "call_missed", [["create_task", { title: "Call back" }]]);
  const [{ id }] = await sql<[{ id: string }]>`
    insert into public.phone_calls (company_id, caller, line, outcome)
    values (${SUMMIT}, '(512) 555-0142', '+1 512 555 0777', 'ringing') returning call_no as id`;
  const calls = () =>
    sql`select contact_id, direction, from_number, status, duration_seconds from ridgeline.calls order by created_at, id`;
  const call = { contact_id: MARIA, direction: "inbound", from_number: "+15125550142" };
  expect(await calls()).toEqual([{ ...call, status: "ringing", duration_seconds: null }]);
  await sql`update public.phone_calls set outcome = 'VOICEMAIL', seconds = 12 where call_no = ${id}`;
  expect(await calls()).toEqual([{ ...call, status: "missed", duration_seconds: 12 }]);
  await sql`update public.phone_calls set seconds = 12 where call_no = ${id}`;
  await work(sql);
  const tasks = () =>
    sql`select count(*)::int as tasks from public.tasks where title = 'Call back'`;
  expect(await tasks()).toEqual([{ tasks: 1 }]);
  // The office's own call, and a word that nobody has explained.
  await sql`
    insert into public.phone_calls (company_id, caller, line, outcome, inbound) values
      (${SUMMIT}, '+15125550777', '5125550142', 'Talked', 'no'), (${SUMMIT}, '5125550142', null, 'hung up', 'yes')`;
  expect((await calls()).at(-1)).toMatchObject({ direction: "outbound", status: "completed" });
  await work(sql);
  expect(await tasks()).toEqual([{ tasks: 1 }]);
  expect((await waiting()).at(-1)!.error).toMatch(
    /^status: "hung up" is none of missed, completed/,
  );
});

test("a form that the CRM keeps fires like one that was posted to us", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.web_leads (
      id bigint generated always as identity primary key, company_id uuid not null, page text, name text, email text, phone text);
    insert into ridgeline.forms (tenant_id, name) values ('${SUMMIT}', 'Roof check');
    select automation.attach_inbox('public.web_leads', '{"tenant": "company_id", "form": "page"}', kind => 'form')`);
  await publish(sql, SUMMIT, "form_submitted", [["create_task", {
    title: "Call {{contact.first_name}}",
  }]]);
  await sql`
    insert into public.web_leads (company_id, page, name, email, phone) values
      (${SUMMIT}, 'roof check', 'Nina Park', 'nina@park.example', '512 555 0188'),
      (${SUMMIT}, 'Solar', 'Nina Park', 'nina@park.example', null)`;
  expect(
    await sql`
    select s.form, s.data ->> 'name' as name, c.first_name, s.is_contact_new from ridgeline.form_submissions as s
    join public.contacts as c on c.id::text = s.contact_id`,
  ).toEqual([
    { form: "Roof check", name: "Nina Park", first_name: "Nina", is_contact_new: true },
  ]);
  await work(sql);
  expect(await sql`select count(*)::int as tasks from public.tasks where title = 'Call Nina'`)
    .toEqual([{ tasks: 1 }]);
  expect((await waiting()).at(-1)).toMatchObject({
    kind: "form",
    error: 'form: there is no active form "Solar"',
  });
  expect(
    await sql`
      select w.id from public.web_leads as w
      join automation.inbox_waiting as i on i.event #>> '{row,key,id}' = w.id::text and i.kind = 'form'
      where w.page = 'Solar' and i.event #>> '{row,relation}' = 'public.web_leads'`,
  ).toHaveLength(1);
  await sql`insert into ridgeline.forms (tenant_id, name) values (${SUMMIT}, 'Solar')`;
  const before = (await waiting()).length;
  await sql`select automation.take_waiting(100)`;
  expect(await waiting()).toHaveLength(before - 1);
});

test("one table for all of it, whose column says what a row is", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.communications (
      id bigint generated always as identity primary key, tenant_id uuid not null, channel text, who text, body text,
      subject text, status text, direction text);
    select automation.attach_inbox('public.communications', '{"kind": "channel", "from": "who"}', '{"call": ["phone", "voicemail"]}')`);
  const count = async () => {
    const [row] = await sql<[{ texts: number; emails: number; calls: number }]>`
      select (select count(*)::int from ridgeline.messages where direction = 'inbound') as texts,
        (select count(*)::int from ridgeline.emails) as emails, (select count(*)::int from ridgeline.calls) as calls`;
    return row;
  };
  const before = await count();
  await sql`
    insert into public.communications (tenant_id, channel, who, body, subject, status, direction) values
      (${SUMMIT}, 'SMS', '5125550142', 'On my way', null, null, 'inbound'),
      (${SUMMIT}, 'email', 'maria@lopez.example', 'See you', 'Monday', null, 'inbound'),
      (${SUMMIT}, 'phone', '5125550142', null, null, 'completed', 'inbound'),
      (${SUMMIT}, 'note', '5125550142', 'She has a dog', null, null, 'inbound')`;
  expect(await count()).toEqual({
    texts: before.texts + 1,
    emails: before.emails + 1,
    calls: before.calls + 1,
  });
  expect(await sql`select text from ridgeline.emails where subject = 'Monday'`).toEqual([
    { text: "See you" },
  ]);
  await sql`update public.communications set body = 'She has two dogs'`;
  expect((await count()).texts).toBe(before.texts + 1);
});

test("each kind says what it lacks", async () => {
  const attach = (kind: string, columns: object = {}) =>
    host.sql`select automation.attach_inbox('public.web_leads', ${
      host.sql.json(columns as never)
    }, kind => ${kind})`;
  await expect(attach("fax")).rejects.toThrow(/kind: "fax" is none of sms, email, call, form/);
  await expect(attach("email", { tenant: "company_id" })).rejects.toThrow(/is the from/);
  await expect(attach("call", { tenant: "company_id", from: "phone" })).rejects.toThrow(
    /is the status/,
  );
  await expect(attach("email", { from: "email" })).rejects.toThrow(/no tenant says whose rows/);
  await expect(attach("form", { tenant: "company_id" })).rejects.toThrow(/nothing says which form/);
});

// WHOSE WORD IT IS, where people who sign in may write there as well.

/** Stops that count at each office, by number. */
const stops = async () =>
  (await host.sql`
    select tenant_id, address from ridgeline.suppressions where channel = 'sms' and reason = 'opt_out' order by 1, 2`)
    .map(({ tenant_id, address }) => `${tenant_id === SUMMIT ? "summit" : "lakeside"} ${address}`);

test("somebody who is signed in speaks for no office but their own where only the number says whose a text is", async () => {
  const { sql } = host;
  await sql.unsafe(`
    create table public.texts (id bigint generated always as identity primary key, from_number text, to_number text, body text);
    grant all on public.texts to anon, authenticated, service_role;
    select automation.attach_inbox('public.texts')`);
  const customer = "+13125550188";
  await sql`
    insert into public.contacts (tenant_id, first_name, last_name, phone) values (${LAKESIDE}, 'Nia', 'Cole', ${customer})`;
  await publish(sql, LAKESIDE, "contact_updated", [["send_sms", { body: "See you at nine" }]]);
  await sql`update public.contacts set notes = 'x' where phone = ${customer}`;
  await work(sql);
  // Lakeside has sent from a number that is nobody's any more.
  await sql`
    update ridgeline.workflow_step_executions set input = input || '{"from": "+13125550777"}', result_data = '{}'
    where tenant_id = ${LAKESIDE}`;
  await publish(sql, LAKESIDE, "sms_received", [["create_task", {
    title: "Answer {{trigger.body}}",
  }]]);
  const before = { stops: await stops(), kept: (await kept()).length };
  type Who = { user: string } | "anon" | "service_role";
  const text = (body: string, to: string, who: Who = { user: SAM }) =>
    asRole(
      sql,
      who,
      (sql) =>
        sql`insert into public.texts (from_number, to_number, body) values (${customer}, ${to}, ${body})`,
    );
  await text("STOP", "+13125550777");
  await text("STOP", "+13125550100");
  await text("I cancel it all", "+13125550100");
  await text("Is Sam in?", "+13125550777", "anon");
  await sql`select automation.take_waiting(100)`;
  await work(sql);
  expect({ stops: await stops(), kept: (await kept()).length }).toEqual(before);
  expect(await sql`select from public.tasks where title like 'Answer%'`).toHaveLength(0);
  // A function of the CRM's may have no more than the key that everybody has: a stop is never lost.
  const theirs = [...before.stops, `lakeside ${customer}`];
  await text("STOP", "+13125550100", "anon");
  await text("START", "+13125550100", "anon");
  expect(await stops()).toEqual(theirs);
  // The CRM's own program may both.
  await text("START", "+13125550100", "service_role");
  expect(await stops()).toEqual(before.stops);
  await text("STOP", "+13125550777", "service_role");
  expect(await stops()).toEqual(theirs);
});

test("their STOP there counts, and their START does not, however late it is taken", async () => {
  const { sql } = host;
  const customer = "+15125550189";
  const text = (
    body: string,
    who: { user: string } | "service_role" = { user: SAM },
  ) =>
    asRole(
      sql,
      who,
      (sql) =>
        sql`insert into public.communications (tenant_id, channel, who, body, direction)
        values (${SUMMIT}, 'sms', ${customer}, ${body}, 'inbound')`,
    );
  const starts = async () => (await kept()).filter(({ body }) => body === "START").length;
  const before = await starts();
  await sql`grant all on public.communications to authenticated, service_role`;
  await text("STOP");
  expect(await stops()).toContain(`summit ${customer}`);
  const told = () =>
    sql`select from public.tasks where title = ${`${customer} asks for texts again`}`;
  expect(await told()).toHaveLength(0);
  await text("START");
  expect(await stops()).toContain(`summit ${customer}`);
  expect(await told()).toHaveLength(1);
  // Not taken now, but by the tick.
  await sql`update ridgeline.senders set verified_at = null where tenant_id = ${SUMMIT}`;
  await text("START");
  await sql`update ridgeline.senders set verified_at = now() where tenant_id = ${SUMMIT}`;
  await sql`update automation.inbox_waiting set event = event || '{"to": "+15125550100"}' where event ->> 'from' = ${customer}`;
  expect(await sql`select automation.take_waiting(100) > 0 as taken`).toEqual([{ taken: true }]);
  expect(await starts()).toBe(before + 2);
  expect(await stops()).toContain(`summit ${customer}`);
  await text("START", "service_role");
  expect(await stops()).not.toContain(`summit ${customer}`);
});

// WHICH ROW IT IS: the ids of a table may begin at one again, and a row may be read again.

describe("ids that begin again", () => {
  beforeAll(() =>
    host.sql.unsafe(`
      create table public.again (
        id bigint generated by default as identity primary key, company_id uuid not null default '${SUMMIT}', sender text,
        body text, received_at timestamptz);
      create table public.rings (
        id bigint generated by default as identity primary key, company_id uuid not null default '${SUMMIT}', caller text,
        line text, status text, received_at timestamptz default clock_timestamp());
      select automation.attach_inbox('public.again', '{"tenant": "company_id", "from": "sender"}');
      select automation.attach_inbox('public.rings', '{"tenant": "company_id", "from": "caller", "to": "line"}', kind => 'call')`)
  );
  const anew = (table: string) => host.sql.unsafe(`truncate public.${table} restart identity`);
  const says = (
    sender: string,
    body: string,
    received_at: string | null = "2026-11-02T09:00:00Z",
  ) => host.sql`insert into public.again ${host.sql({ sender, body, received_at })}`;
  const storedOf = async (...numbers: string[]) =>
    (await host.sql`
      select body from ridgeline.messages where from_number = any (${numbers}) order by created_at, id`)
      .map(({ body }) => body);

  test("are other texts, a STOP too", async () => {
    const [first, second] = ["+15125550501", "+15125550502"];
    await says(first, "Yes");
    await anew("again");
    await says(second, "STOP");
    await anew("again");
    await says(first, "Yes", "2026-11-02T09:00:01Z");
    expect(await storedOf(first, second)).toEqual(["Yes", "STOP", "Yes"]);
    expect(await stops()).toContain(`summit ${second}`);
  });

  test("the same row is one text, however often it is read", async () => {
    const { sql } = host;
    const from = "+15125550503";
    await says(from, "On Friday?");
    await sql`update public.again set body = 'On Friday?' where sender = ${from}`;
    await sql.begin((sql) =>
      sql.unsafe(`
        create temporary table dump on commit drop as select * from public.again;
        truncate public.again;
        set local timezone = 'Asia/Kolkata';
        insert into public.again select * from dump`)
    );
    expect(await storedOf(from)).toEqual(["On Friday?"]);
  });

  test("STOP counts where nothing says that it is another one", async () => {
    const { sql } = host;
    const from = "+15125550504";
    await says(from, "STOP", null);
    await sql`select automation.record_consent(${SUMMIT}, 'sms', ${from}, 'granted', 'all', 'keyword')`;
    expect(await stops()).not.toContain(`summit ${from}`);
    const [{ id }] = await sql<
      [{ id: string }]
    >`select id from public.again where sender = ${from}`;
    await sql`delete from public.again where id = ${id}`;
    await sql`insert into public.again (id, sender, body) values (${id}, ${from}, 'STOP')`;
    expect(await storedOf(from)).toEqual(["STOP"]);
    expect(await stops()).toContain(`summit ${from}`);
  });

  test("are other calls, and a call stays one whatever becomes known of it", async () => {
    const { sql } = host;
    const calls = async () =>
      (await sql`
        select from_number, status from ridgeline.calls where provider_id like 'public.rings %' order by created_at, id`)
        .map(({ from_number, status }) => `${from_number} ${status}`);
    await sql`insert into public.rings (status) values ('ringing')`;
    await sql`update public.rings set caller = '+15125550505', line = '+15125550100'`;
    await sql`update public.rings set line = '+15125550101', status = 'completed'`;
    expect(await calls()).toEqual([expect.stringMatching(/ completed$/)]);
    await anew("rings");
    await sql`insert into public.rings (caller, status) values ('+15125550506', 'missed')`;
    expect(await calls()).toEqual([
      expect.stringMatching(/ completed$/),
      "+15125550506 missed",
    ]);
  });
});

test("what waits there is counted for whoever looks after the installation", async () => {
  const status = (who: { user: string } | "service_role") =>
    asRole(host.sql, who, async (sql) => {
      const [row] = await sql`
        select s -> 'inbox_waiting' as rows, s -> 'inbox_oldest' as oldest from ridgeline.engine_status() as s`;
      return row;
    });
  const [{ rows, oldest }] = await host.sql<[{ rows: number; oldest: string }]>`
    select count(*)::int as rows, to_jsonb(min(created_at)) as oldest from automation.inbox_waiting`;
  expect(rows).toBeGreaterThan(0);
  expect(await status("service_role")).toEqual({ rows, oldest });
  expect(await status({ user: SAM })).toEqual({ rows: null, oldest: null });
});

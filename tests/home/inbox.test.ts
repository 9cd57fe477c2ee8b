// A CRM with an inbox of its own: what arrives there counts like what a provider's webhook brings.
import { afterAll, beforeAll, expect, test } from "vitest";
import { createHost, LAKESIDE, MARIA, publish, speakAs, SUMMIT, work } from "../support/host.ts";

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

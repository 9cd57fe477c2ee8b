// The CRM's own timeline shows what Ridgeline sent and received.
import type { Sql } from "postgres";
import { afterAll, beforeAll, expect, it } from "vitest";
import {
  createHost,
  type Host,
  MARIA,
  publish,
  receive,
  send,
  speakAs,
  SUMMIT,
} from "../support/host.ts";

let host: Host & { sql: Sql };
let sql: Sql;
beforeAll(async () => {
  host = await createHost();
  sql = host.sql;
  await speakAs(sql, SUMMIT, "+15125550100");
});
afterAll(() => host.drop());

const call = (status: string, more: object = {}) =>
  sql`select automation.record_call(${
    sql.json({
      call_sid: "CA1",
      direction: "inbound",
      from: "+15125550142",
      to: "+15125550100",
      status,
      ...more,
    })
  })`;

it("what was said, each once, in the CRM's own words", async () => {
  await publish(sql, SUMMIT, "contact_updated", [
    ["send_sms", { body: "Hi {{contact.first_name}}" }],
    ["send_email", {
      subject: "Your roof",
      html: "<style>p {}</style><p>Dear <b>Maria</b>!</p><p>A &amp; B</p>",
    }],
  ]);
  await sql`update public.contacts set notes = 'x' where id = ${MARIA}`;
  const [text, email] = [...await send(sql), ...await send(sql)].map(({ step_id }) =>
    `ID${step_id}`
  );
  await receive(sql, "+15125550142", "Sounds good");
  await sql`update ridgeline.messages set status = 'delivered'`;
  await call("ringing");
  await call("in-progress");
  expect(await sql`select from public.activities where type = 'call'`).toHaveLength(0);
  await call("completed", { duration: 125 });
  await call("completed", { duration: 125 });
  await sql`update ridgeline.calls set status = 'completed', duration_seconds = 126`;

  const shown = await sql`
    select type, direction, subject, content, from_address, to_address, external_id, outcome, contact_id, subtype
    from public.activities order by type, direction`;
  const common = { contact_id: MARIA, subtype: "automation", subject: null };
  const [maria, office] = ["+15125550142", "+15125550100"];
  expect(shown).toEqual([
    {
      ...common,
      type: "call",
      direction: "incoming",
      content: "completed, 125 s",
      from_address: maria,
      to_address: office,
      external_id: "CA1",
      outcome: "completed",
    },
    {
      ...common,
      type: "email",
      direction: "outgoing",
      subject: "Your roof",
      content: "Dear Maria ! A & B",
      from_address: "office@15125550100.example",
      to_address: "maria@example.com",
      external_id: email,
      outcome: "sent",
    },
    {
      ...common,
      type: "sms",
      direction: "incoming",
      content: "Sounds good",
      from_address: maria,
      to_address: office,
      external_id: expect.stringMatching(/^SM/),
      outcome: "received",
    },
    {
      ...common,
      type: "sms",
      direction: "outgoing",
      content: "Hi Maria",
      from_address: office,
      to_address: maria,
      external_id: text,
      outcome: "sent",
    },
  ]);
});

it("of several that are reported together each is shown as its own run's, but the one it does not take", async () => {
  await sql`delete from public.activities`;
  await sql`create table public.noted (external_id text, root text)`;
  await sql`create function public.note_cause() returns trigger language plpgsql as $$ begin
    insert into public.noted values (new.external_id, current_setting('automation.root', true));
    return new; end $$`;
  await sql`create trigger note_cause before insert on public.activities
    for each row execute function public.note_cause()`;
  await sql`insert into public.contacts (tenant_id, first_name, last_name, phone, stage, type)
    values (${SUMMIT}, 'Bad', 'Luck', '(512) 555-0144', 'new', 'lead')`;
  const say = async (more: string) => {
    // The emails that come after the texts before.
    while ((await send(sql)).length > 0);
    await sql`update public.contacts set notes = ${more} where tenant_id = ${SUMMIT}`;
    const claimed = await sql<{ step_id: string }[]>`
      select tenant_id, step_id, attempt_token::text from automation.claim_steps('test', 100)`;
    expect(claimed).toHaveLength(3);
    await sql`select automation.finish_steps(${
      sql.json(claimed.map((step) => ({
        ...step,
        outcome: "succeeded",
        result: { provider_id: `ID${step.step_id}` },
      })))
    })`;
    const shown = await sql`
      select c.first_name, a.content from public.activities as a join public.contacts as c on c.id = a.contact_id
      join ridgeline.messages as m on m.provider_id = a.external_id and m.contact_id = c.id::text
      join public.noted as n on n.external_id = a.external_id and n.root = m.execution_id::text
      where m.provider_id = any (${claimed.map(({ step_id }) => `ID${step_id}`)}) order by 1`;
    return shown.map(({ first_name, content }) => `${first_name}: ${content}`);
  };
  expect(await say("all")).toEqual(["Bad: Hi Bad", "Maria: Hi Maria", "Otto: Hi Otto"]);
  await sql`alter table public.activities add constraint no_bad check (content <> 'Hi Bad') not valid`;
  expect(await say("two")).toEqual(["Maria: Hi Maria", "Otto: Hi Otto"]);
  expect(await sql`select from ridgeline.messages where body = 'Hi Bad'`).toHaveLength(2);
  await sql`alter table public.activities drop constraint no_bad`;
  await sql`drop trigger note_cause on public.activities`;
  await sql`create trigger note_cause after insert on public.activities
    for each row execute function public.note_cause()`;
  expect(await say("after")).toEqual(["Bad: Hi Bad", "Maria: Hi Maria", "Otto: Hi Otto"]);
  await sql`drop trigger note_cause on public.activities`;
});

it("a table that takes no row costs no message", async () => {
  await sql`delete from public.activities`;
  await sql`alter table public.activities add constraint nothing check (false)`;
  await receive(sql, "+15125550142", "Are you there?");
  await sql`update public.contacts set notes = 'y' where id = ${MARIA}`;
  await send(sql);
  expect(await sql`select body from ridgeline.messages order by created_at desc limit 2`)
    .toEqual(expect.arrayContaining([{ body: "Are you there?" }, { body: "Hi Maria" }]));
  expect(await sql`select from ridgeline.workflow_step_executions where warnings is not null`)
    .toHaveLength(0);
  await sql`drop table public.activities`;
  await receive(sql, "+15125550142", "Hello?");
  expect(await sql`select from ridgeline.messages where body = 'Hello?'`).toHaveLength(1);
});

it("a table whose keys are looked at too late to be caught is refused", async () => {
  await sql`create table public.notes (id uuid primary key default gen_random_uuid(),
    contact_id uuid references public.contacts deferrable initially deferred, content text)`;
  await expect(sql`select automation.attach_target('timeline', 'public.notes')`)
    .rejects.toThrow(/notes_contact_id_fkey of .*notes is deferred/);
});

// Text messages as Twilio reports them: coming in, and on their way out.
import type { Sql, TransactionSql } from "postgres";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Receiver, SmsEvent } from "../../functions/_shared/channels/sms/receiver.ts";
import { RequestError } from "../../functions/_shared/runtime/errors.ts";
import { asRole, useDatabase } from "../support/database.ts";
import { waitFor } from "../support/standins.ts";
import {
  type Fields,
  fired,
  type Functions,
  functionsOn,
  listen,
  newNumber,
  newSid,
  type Office,
  openOffice,
  signedForm,
} from "./support.ts";

const database = useDatabase();
let functions: Functions;
beforeAll(() => {
  functions = functionsOn(database());
});
afterAll(() => functions.close());

async function report(fields: Fields): Promise<void> {
  const response = await functions.twilio(signedForm(fields));
  expect(response.status).toBe(200);
}

const textTo = (office: Office, changes: Fields = {}): Fields => ({
  MessageSid: newSid(),
  SmsStatus: "received",
  From: newNumber(),
  To: office.number,
  Body: "Can you come on Friday?",
  NumMedia: "0",
  ...changes,
});

const messagesOf = (office: Office) =>
  database().sql`select * from ridgeline.messages where tenant_id = ${office.tenantId} order by id`;
const contactsOf = (office: Office) =>
  database().sql`select * from contacts where tenant_id = ${office.tenantId} order by created_at`;
const suppressionsOf = (office: Office) =>
  database().sql`
    select address, reason from ridgeline.suppressions where tenant_id = ${office.tenantId} order by address`;

async function contact(office: Office, phone: string): Promise<string> {
  const [row] = await database().sql`
    insert into contacts (tenant_id, first_name, phone)
    values (${office.tenantId}, 'Maria', ${phone}) returning id`;
  return row!.id;
}

describe("an incoming text", () => {
  it("finds the contact, however the office wrote the number, and fires sms_received", async () => {
    const office = await openOffice(database().sql);
    await listen(database().sql, office.tenantId, "sms_received");
    const phone = newNumber();
    const maria = await contact(office, phone.replace(/^\+1(...)(...)/, "($1) $2-"));
    await report(textTo(office, { From: phone }));
    expect(await messagesOf(office)).toMatchObject([{
      contact_id: maria,
      direction: "inbound",
      from_number: phone,
      to_number: office.number,
      body: "Can you come on Friday?",
      status: "received",
    }]);
    expect(await fired(database().sql, office.tenantId)).toEqual(["sms_received"]);
  });

  it.each([
    (number: string) => number,
    (number: string) => number.slice(2),
    (number: string) => `${number.slice(2, 5)}/${number.slice(5, 8)}-${number.slice(8)} x12`,
    (number: string) => `${number};ext=7`,
    (number: string) => `tel:${number}`,
    (number: string) => `011 ${number.slice(1)}`,
    (number: string) =>
      `Cell: ${number.slice(2, 5)}.${number.slice(5, 8)}.${number.slice(8)} (wife)`,
    (number: string) => `\u202A${number.slice(0, 5)}\u00A0${number.slice(5)}\u202C`,
    (number: string) =>
      number.replace(/\d/g, (digit) => String.fromCharCode(0xff10 + Number(digit))),
  ])("is its contact's, however the number is written: %s", async (written) => {
    const office = await openOffice(database().sql, { inbound: { create_contacts: true } });
    const phone = newNumber();
    const maria = await contact(office, written(phone));
    await contact(office, newNumber());
    await report(textTo(office, { From: phone }));
    expect(await messagesOf(office)).toMatchObject([{ contact_id: maria }]);
    expect(await contactsOf(office)).toHaveLength(2);
  });

  it("to a British office is its contact's, whose number has no country code", async () => {
    const office = await openOffice(database().sql);
    await database().sql`update tenants set country = 'GB' where id = ${office.tenantId}`;
    const maria = await contact(office, "(0)7400 123456");
    await report(textTo(office, { From: "+447400123456" }));
    expect(await messagesOf(office)).toMatchObject([{ contact_id: maria }]);
  });

  it("from a number that is newer than any numbering plan is heard", async () => {
    const office = await openOffice(database().sql);
    await report(textTo(office, { From: "+19995550142", Body: "STOP" }));
    expect(await suppressionsOf(office)).toEqual([{ address: "+19995550142", reason: "opt_out" }]);
  });

  it("is the tenant's whose number was texted, whatever else the request says", async () => {
    const [apex, blue] = [await openOffice(database().sql), await openOffice(database().sql)];
    const phone = newNumber();
    await contact(blue, phone);
    await report(textTo(apex, { From: phone, tenant_id: blue.tenantId, TenantId: blue.tenantId }));
    expect(await messagesOf(apex)).toMatchObject([{ contact_id: null }]);
    expect(await messagesOf(blue)).toEqual([]);
  });

  it("to a number that is nobody's is answered and not kept", async () => {
    const office = await openOffice(database().sql);
    const sid = newSid();
    await report(textTo(office, { To: newNumber(), MessageSid: sid }));
    expect(await database().sql`select from ridgeline.messages where provider_id = ${sid}`).toEqual(
      [],
    );
  });

  it("that is delivered again, even at the same time, is one message and one run", async () => {
    const office = await openOffice(database().sql, { inbound: { create_contacts: true } });
    await listen(database().sql, office.tenantId, "sms_received");
    const fields = textTo(office);
    await Promise.all(Array.from({ length: 6 }, () => report(fields)));
    await report(fields);
    expect(await messagesOf(office)).toHaveLength(1);
    expect(await contactsOf(office)).toHaveLength(1);
    expect(await fired(database().sql, office.tenantId)).toEqual(["sms_received"]);
  });

  it("of a stranger makes a contact only where the tenant asks for it", async () => {
    const shy = await openOffice(database().sql);
    await report(textTo(shy));
    expect(await contactsOf(shy)).toEqual([]);
    const keen = await openOffice(database().sql, { inbound: { create_contacts: true } });
    const fields = textTo(keen);
    await report(fields);
    await report(textTo(keen, { From: fields.From! }));
    expect(await contactsOf(keen)).toMatchObject([{ phone: fields.From, source: "inbound_sms" }]);
    // Two texts of one new number at once are one contact too.
    const From = newNumber();
    await Promise.all([1, 2, 3].map(() => report(textTo(keen, { From }))));
    expect(await contactsOf(keen)).toHaveLength(2);
    // And who writes to say stop does not become a lead by it.
    await report(textTo(keen, { Body: "STOP" }));
    expect(await contactsOf(keen)).toHaveLength(2);
  });

  it("may be pictures without words", async () => {
    const office = await openOffice(database().sql);
    await report(textTo(office, {
      Body: "",
      NumMedia: "2",
      MediaUrl0: "https://api.twilio.com/roof.jpg",
      MediaUrl1: "https://api.twilio.com/gutter.jpg",
    }));
    expect((await messagesOf(office))[0]?.media_urls).toEqual([
      "https://api.twilio.com/roof.jpg",
      "https://api.twilio.com/gutter.jpg",
    ]);
  });

  it.each<[string, Fields]>([
    ["no status and no words", { SmsStatus: "", Body: "", NumMedia: "1" }],
    ["nothing but the picture", { SmsStatus: "", NumMedia: "", Body: [] }],
    ["a status on the way", { SmsStatus: "receiving", Body: "" }],
  ])("of a picture is not lost when it has %s", async (_name, changes) => {
    const office = await openOffice(database().sql);
    await listen(database().sql, office.tenantId, "sms_received");
    const MediaUrl0 = "https://api.twilio.com/2010-04-01/Accounts/AC0/Messages/MM0/Media/ME0";
    await report({
      ...textTo(office),
      MessageSid: newSid().replace("SM", "MM"),
      MediaUrl0,
      ...changes,
    });
    expect(await messagesOf(office)).toMatchObject([{
      body: "",
      media_urls: [MediaUrl0],
      channel: "sms",
    }]);
    expect(await fired(database().sql, office.tenantId)).toEqual(["sms_received"]);
  });

  it("that is longer than any text is cut and not lost", async () => {
    const office = await openOffice(database().sql);
    await report(textTo(office, { Body: "x".repeat(12_000), From: "Z".repeat(80) }));
    expect((await messagesOf(office))[0]!.body).toHaveLength(10_000);
  });

  it("on WhatsApp is a message of that contact, and its stop counts", async () => {
    const office = await openOffice(database().sql);
    await listen(database().sql, office.tenantId, "sms_received");
    const phone = newNumber();
    const maria = await contact(office, phone);
    const fields = {
      From: `whatsapp:${phone}`,
      To: `whatsapp:${office.number}`,
      ProfileName: "Maria",
      WaId: phone.slice(1),
    };
    await report(textTo(office, { ...fields, Body: "Can you come?" }));
    await report(
      textTo(office, {
        ...fields,
        Body: "",
        Latitude: "30.26",
        Longitude: "-97.74",
        Address: "12 Main St",
      }),
    );
    await report(textTo(office, { ...fields, Body: "STOP" }));
    expect(await messagesOf(office)).toMatchObject(
      ["Can you come?", "12 Main St (30.26, -97.74)", "STOP"].map((body) => ({
        contact_id: maria,
        channel: "whatsapp",
        from_number: phone,
        to_number: office.number,
        body,
      })),
    );
    expect(await fired(database().sql, office.tenantId)).toHaveLength(3);
    expect(await suppressionsOf(office)).toEqual([{ address: phone, reason: "opt_out" }]);
  });

  it("may hold what Postgres does not", async () => {
    const office = await openOffice(database().sql);
    await report(textTo(office, { Body: "roof\0 leaks 🏠" }));
    expect((await messagesOf(office))[0]?.body).toBe("roof leaks 🏠");
  });
});

describe("opting out and in", () => {
  it.each<[string, Fields, boolean]>([
    ["STOP", { Body: "STOP" }, true],
    ["a stop in other words", { Body: "please stop texting me" }, true],
    ["what Twilio took for a stop", { Body: "ARRET", OptOutType: "STOP" }, true],
    ["a stop that Twilio did not see", { Body: "Opt out", OptOutType: "" }, true],
    ["HELP", { Body: "HELP", OptOutType: "HELP" }, false],
    ["a question", { Body: "Can you stop by on Friday?" }, false],
  ])("%s: suppressed %#", async (_name, fields, suppressed) => {
    const office = await openOffice(database().sql);
    const From = newNumber();
    await report(textTo(office, { From, ...fields }));
    expect(await suppressionsOf(office)).toEqual(
      suppressed ? [{ address: From, reason: "opt_out" }] : [],
    );
  });

  it.each<[string, Fields, boolean]>([
    ["START", { Body: "start" }, true],
    ["UNSTOP", { Body: " Unstop! " }, true],
    ["what Twilio took for a start", { Body: "yes", OptOutType: "START" }, true],
    ["a yes that may answer anything", { Body: "yes" }, false],
    ["HELP", { Body: "START", OptOutType: "HELP" }, false],
    ["a sentence about a start", { Body: "when do you start?" }, false],
  ])("%s: opted in again %#", async (_name, fields, isIn) => {
    const office = await openOffice(database().sql);
    const From = newNumber();
    await report(textTo(office, { From, Body: "STOP" }));
    await report(textTo(office, { From, ...fields }));
    expect(await suppressionsOf(office)).toHaveLength(isIn ? 0 : 1);
  });

  it("in other words than Twilio's is confirmed in the answer to Twilio, once", async () => {
    const office = await openOffice(database().sql);
    await database()
      .sql`update public.tenants set name = 'Lopez & Sons' where id = ${office.tenantId}`;
    const said = textTo(office, { Body: "please stop texting me" });
    const answer = async (fields: Fields) =>
      (await (await functions.twilio(signedForm(fields))).text()).replace(/^.*<Response>/, "");
    expect(await answer(said)).toBe(
      "<Message>Lopez &amp; Sons: You get no more texts from us. Reply START to get them again." +
        "</Message></Response>",
    );
    expect(await answer(said)).toBe("</Response>");
    expect(await answer({ ...said, MessageSid: newSid() })).toBe("</Response>");
    expect((await messagesOf(office)).map(({ direction }) => direction)).toEqual(
      ["inbound", "outbound", "inbound"],
    );
  });

  it("a STOP that is delivered again after a START changes nothing", async () => {
    const office = await openOffice(database().sql);
    const stop = textTo(office, { Body: "STOP" });
    await report(stop);
    await report(textTo(office, { From: stop.From!, Body: "START" }));
    await report(stop);
    expect(await suppressionsOf(office)).toEqual([]);
  });

  it("START does not undo what the office itself decided", async () => {
    const office = await openOffice(database().sql);
    const From = newNumber();
    await database().sql`
      insert into ridgeline.suppressions (tenant_id, channel, address, reason)
      values (${office.tenantId}, 'sms', ${From}, 'manual')`;
    await report(textTo(office, { From, Body: "START" }));
    expect(await suppressionsOf(office)).toEqual([{ address: From, reason: "manual" }]);
  });
});

it("a member speaks for no customer by writing down a STOP or a START", async () => {
  const { sql } = database();
  const office = await openOffice(sql);
  const From = newNumber();
  const user = crypto.randomUUID();
  await sql`insert into tenant_members (tenant_id, user_id) values (${office.tenantId}, ${user})`;
  const write = (body: string) =>
    asRole(sql, { user }, (as) =>
      as`
        insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body)
        values (${office.tenantId}, 'inbound', ${From}, ${office.number}, ${body})`);
  await write("STOP");
  expect(await suppressionsOf(office)).toHaveLength(0);
  await report(textTo(office, { From, Body: "STOP" }));
  await write("START");
  expect(await suppressionsOf(office)).toHaveLength(1);
});

describe("the way of a text that was sent", () => {
  /** A text that a workflow sent, as the dispatcher's report leaves it. */
  async function sent(office: Office, sid = newSid()) {
    const { sql } = database();
    await sql`
      with workflow as (
        insert into ridgeline.workflows (tenant_id, name, trigger_type)
        values (${office.tenantId}, 'Follow up', 'contact_created') returning tenant_id, id
      ), step as (
        insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
        select tenant_id, id, 1, 'send_sms', '{"body": "Hi"}' from workflow
      )
      select from workflow`;
    await sql`
      update ridgeline.workflows set is_active = true
      where tenant_id = ${office.tenantId} and not is_active`;
    const phone = newNumber();
    await contact(office, phone);
    const [claimed] = await sql`select * from automation.claim_steps('test', 10)`;
    const finish = (on: Sql | TransactionSql = sql) =>
      on`select * from automation.finish_steps(${
        sql.json([{
          tenant_id: claimed!.tenant_id,
          step_id: claimed!.step_id,
          attempt_token: claimed!.attempt_token,
          outcome: "succeeded",
          result: { provider_id: sid, http_status: 201 },
        }])
      })`;
    return { sid, phone, finish, stepId: claimed!.step_id as string };
  }

  async function state(office: Office, sid: string) {
    const [row] = await database().sql`
      select m.status, m.error_code, s.result_data
      from ridgeline.messages m join ridgeline.workflow_step_executions s
        on s.tenant_id = m.tenant_id and s.provider_id = m.provider_id
      where m.tenant_id = ${office.tenantId} and m.provider_id = ${sid}`;
    return row;
  }

  const status = (MessageSid: string, MessageStatus: string, ErrorCode?: string) =>
    report({
      MessageSid,
      SmsSid: MessageSid,
      MessageStatus,
      SmsStatus: MessageStatus,
      From: "+15125550000",
      To: "+15125550001",
      ...(ErrorCode ? { ErrorCode } : {}),
    });

  it("is told on the message and on the step, and goes forward only", async () => {
    const office = await openOffice(database().sql);
    const { sid, finish } = await sent(office);
    await finish();
    for (const step of ["delivered", "sent", "queued", "undelivered", "delivered", "nonsense"]) {
      await status(sid, step);
    }
    const now = await state(office, sid);
    expect(now).toMatchObject({ status: "delivered", error_code: null });
    expect(now?.result_data).toMatchObject({
      provider_id: sid,
      delivery: { status: "delivered", at: expect.any(String) },
    });
  });

  it("ends in an error that is kept, which a late 'sent' does not hide", async () => {
    const office = await openOffice(database().sql);
    const { sid, finish } = await sent(office);
    await finish();
    await status(sid, "undelivered", "30007");
    await status(sid, "sent");
    const now = await state(office, sid);
    expect(now).toMatchObject({ status: "undelivered", error_code: "30007" });
    expect(now?.result_data.delivery).toMatchObject({ status: "undelivered", error_code: "30007" });
    expect(await suppressionsOf(office)).toEqual([]);
  });

  it("21610: the number had opted out at Twilio, and is left in peace from now on", async () => {
    const office = await openOffice(database().sql);
    const { sid, phone, finish } = await sent(office);
    await finish();
    await status(sid, "failed", "21610");
    expect(await suppressionsOf(office)).toEqual([{ address: phone, reason: "provider" }]);
  });

  it.each(["30006", "21614"])("%s: a landline, to which no further text is tried", async (code) => {
    const office = await openOffice(database().sql);
    const { sid, phone, finish } = await sent(office);
    await finish();
    await status(sid, "undelivered", code);
    expect(await suppressionsOf(office)).toEqual([{ address: phone, reason: "landline" }]);
  });

  it("may be told before the dispatcher has recorded that it sent anything", async () => {
    const office = await openOffice(database().sql);
    const { sid, finish } = await sent(office);
    await status(sid, "delivered");
    await status(sid, "sent");
    await finish();
    expect(await state(office, sid)).toMatchObject({
      status: "delivered",
      result_data: { delivery: { status: "delivered" } },
    });
    expect(await database().sql`select from automation.early_events where provider_id = ${sid}`)
      .toEqual([]);
  });

  it("may be told while that is being recorded, and is not lost", async () => {
    const office = await openOffice(database().sql);
    const { sid, finish } = await sent(office);
    let reported: Promise<unknown> = Promise.resolve();
    await database().sql.begin(async (transaction) => {
      await finish(transaction);
      let over = false;
      reported = status(sid, "delivered").finally(() => over = true);
      await waitFor("the news to wait for the record", async () => {
        const [row] = await database().sql`
          select exists (
            select from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'
              and query like '%record_message_status%') as waits`;
        return over || row?.waits === true;
      });
    });
    await reported;
    expect(await state(office, sid)).toMatchObject({ status: "delivered" });
  });

  it("that nobody here sent is forgotten after a day", async () => {
    const sid = newSid();
    await status(sid, "delivered");
    const { sql } = database();
    await sql`
      update automation.early_events set received_at = received_at - interval '25 hours'
      where provider_id = ${sid}`;
    await sql`select automation.prune()`;
    expect(await sql`select from automation.early_events where provider_id = ${sid}`).toEqual([]);
  });
});

describe("a provider that the database has never heard of", () => {
  /** It signs with a word, and says what it has to say as it is stored. */
  const pigeon: Receiver = {
    takesReply: true,
    read({ headers, body }) {
      if (headers.get("x-pigeon") !== "coo") throw new RequestError(403, "bad_signature", "no");
      return Promise.resolve({ event: JSON.parse(body) });
    },
    answer: (outcome, reply) => Response.json({ outcome, reply }),
  };
  let loft: Functions;
  beforeAll(() => {
    loft = functionsOn(database(), undefined, { pigeon });
  });
  afterAll(() => loft.close());
  const tell = (kind: SmsEvent["kind"], event: object, word = "coo") =>
    loft.sms(
      new Request("http://edge.internal/sms-webhook/pigeon", {
        method: "POST",
        headers: { "x-pigeon": word },
        body: JSON.stringify({ kind, event }),
      }),
    );
  const told = async (kind: SmsEvent["kind"], event: object) => (await tell(kind, event)).json();
  const letter = (office: Office, body: string, from = newNumber()) => ({
    message_sid: newSid(),
    channel: "sms",
    from,
    to: office.number,
    body,
  });

  it("needs a row of senders: texts come in, a stop counts and is confirmed", async () => {
    const office = await openOffice(database().sql);
    await database().sql`
      update ridgeline.senders set provider = 'pigeon' where tenant_id = ${office.tenantId}`;
    const hello = letter(office, "Hello?");
    expect(await told("sms", hello)).toEqual({ outcome: "stored" });
    expect(await told("sms", hello)).toEqual({ outcome: "duplicate" });
    const stop = letter(office, "pls stop texting me");
    expect(await told("sms", stop)).toEqual({
      outcome: "stored",
      reply: expect.stringContaining("You get no more texts from us"),
    });
    expect(await suppressionsOf(office)).toEqual([{ address: stop.from, reason: "opt_out" }]);
    expect((await messagesOf(office)).map(({ provider }) => provider))
      .toEqual(["pigeon", "pigeon", "pigeon"]);
    expect((await tell("sms", letter(office, "STOP"), "moo")).status).toBe(403);
    const call = {
      call_sid: newSid("CA"),
      from: stop.from,
      to: office.number,
      direction: "inbound",
      status: "no-answer",
    };
    expect(await told("call", call)).toEqual({ outcome: "stored" });
    expect(
      await database().sql`
        select provider, status from ridgeline.calls where tenant_id = ${office.tenantId}`,
    ).toEqual([{ provider: "pigeon", status: "missed" }]);
  });

  it("is understood by what its codes mean, which a setting may say as well", async () => {
    const { sql } = database();
    const office = await openOffice(sql);
    const flown = async (fields: object) => {
      const [message_sid, to] = [newSid(), newNumber()];
      await sql`
        insert into ridgeline.messages (tenant_id, direction, to_number, body, status, provider, provider_id)
        values (${office.tenantId}, 'outbound', ${to}, 'Hi', 'sent', 'pigeon', ${message_sid})`;
      const { outcome } = await told("message_status", {
        message_sid,
        status: "failed",
        error_code: "7",
        ...fields,
      });
      return [
        outcome,
        (await suppressionsOf(office)).filter(({ address }) => address === to)
          .map(({ reason }) => reason),
      ];
    };
    expect(await flown({})).toEqual(["updated", []]);
    expect(await flown({ error_class: "opted_out" })).toEqual(["updated", ["provider"]]);
    expect(await flown({ error_class: "filtered" })).toEqual(["updated", []]);
    const [{ value }] = await sql<[{ value: string }]>`
      select value from automation.settings where name = 'error_classes'`;
    const say = (classes: string) =>
      sql`update automation.settings set value = ${classes} where name = 'error_classes'`;
    await expect(say("landline")).rejects.toThrow("no value for error_classes");
    await say(JSON.stringify({ ...JSON.parse(value), pigeon: { 7: "landline" } }));
    try {
      expect(await flown({})).toEqual(["updated", ["landline"]]);
      expect(await flown({ error_class: "filtered" })).toEqual(["updated", []]);
      expect(await flown({ error_code: "8" })).toEqual(["updated", []]);
    } finally {
      await say(value);
    }
  });
});

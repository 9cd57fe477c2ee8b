// An office with a Twilio account of its own: its texts and calls are signed with its own token, and what that
// token signs is believed of this office alone.
import type { Sql } from "postgres";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { createAccountFinder } from "../../functions/_shared/channels/accounts.ts";
import { createSmsRecorder } from "../../functions/_shared/channels/sms/record.ts";
import { createReceiver } from "../../functions/_shared/channels/sms/twilio/receive.ts";
import {
  parseTwilioAccount,
  readTwilioToken,
} from "../../functions/_shared/channels/sms/twilio/settings.ts";
import { parseTelnyxSigner } from "../../functions/_shared/channels/sms/telnyx/settings.ts";
import { readPublicAddress } from "../../functions/_shared/http/webhook-env.ts";
import { createHandler } from "../../functions/sms-webhook/handler.ts";
import { useDatabase } from "../support/database.ts";
import {
  type Fields,
  type Functions,
  functionsOn,
  newNumber,
  newSid,
  type Office,
  openOffice,
  signedForm,
} from "./support.ts";

const database = useDatabase();
let sql: Sql;
let functions: Functions;
let apex: Office;
let blue: Office;
beforeAll(() => {
  sql = database().sql;
  functions = functionsOn(database());
});
afterAll(() => functions.close());

const APEX = "the token of Apex";

async function ownAccount(office: Office, token: string): Promise<void> {
  const secret = JSON.stringify({
    account_sid: "AC00000000000000000000000000000001",
    auth_token: token,
  });
  await sql`select ridgeline.set_secret('twilio', ${secret}, ${office.tenantId})`;
  await sql`update ridgeline.senders set credentials = 'twilio' where tenant_id = ${office.tenantId}`;
}

beforeEach(async () => {
  [apex, blue] = [await openOffice(sql), await openOffice(sql)];
  await ownAccount(apex, APEX);
});

const textTo = (office: Office, changes: Fields = {}): Fields => ({
  MessageSid: newSid(),
  SmsStatus: "received",
  From: newNumber(),
  To: office.number,
  Body: "Friday is fine",
  ...changes,
});
const callTo = (office: Office): Fields => ({
  CallSid: newSid("CA"),
  CallStatus: "ringing",
  Direction: "inbound",
  From: newNumber(),
  To: office.number,
});
const status = async (fields: Fields, token?: string) =>
  (await functions.twilio(signedForm(fields, token === undefined ? {} : { token }))).status;
const kept = async (office: Office, table = "ridgeline.messages") =>
  (await sql`select from ${sql(table)} where tenant_id = ${office.tenantId}`).length;

/** A text that a step of the office has sent. */
async function sent(office: Office): Promise<string> {
  const sid = newSid();
  await sql`
    insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body, status, provider, provider_id)
    values (${office.tenantId}, 'outbound', ${office.number}, ${newNumber()}, 'Hi', 'sent', 'twilio', ${sid})`;
  return sid;
}
const statusOf = async (sid: string) =>
  (await sql`select status from ridgeline.messages where provider_id = ${sid}`)[0]?.status;

describe("what an office's own account signs", () => {
  it("is taken: texts, calls, and what became of what it sent", async () => {
    expect(await status(textTo(apex), APEX)).toBe(200);
    expect(await status(textTo(apex, { To: `whatsapp:${apex.number}` }), APEX)).toBe(200);
    expect(await status(callTo(apex), APEX)).toBe(200);
    const sid = await sent(apex);
    const news = {
      MessageSid: sid,
      MessageStatus: "delivered",
      From: apex.number,
      To: newNumber(),
    };
    expect(await status(news, APEX)).toBe(200);
    expect([await kept(apex), await kept(apex, "ridgeline.calls"), await statusOf(sid)])
      .toEqual([3, 1, "delivered"]);
  });

  it("is taken of a messaging service that sends from numbers of its own", async () => {
    await sql`
      insert into ridgeline.senders (tenant_id, channel, kind, address, credentials)
      values (${apex.tenantId}, 'sms', 'service', ${`MG${apex.number.slice(1)}`}, 'twilio')`;
    const sid = await sent(apex);
    const news = {
      MessageSid: sid,
      MessageStatus: "delivered",
      From: newNumber(),
      MessagingServiceSid: `MG${apex.number.slice(1)}`,
    };
    expect(await status(news, APEX)).toBe(200);
    expect(await statusOf(sid)).toBe("delivered");
  });

  it("is the customer's STOP at once, and their START for what was said to this office alone", async () => {
    const ours = textTo(apex).From!;
    const reasons = async () =>
      (await sql`
        select coalesce(automation.suppression_of(${apex.tenantId}, 'sms', ${ours}), 'none') as reason`)[
        0
      ]!.reason;
    const say = async (Body: string, token?: string) =>
      expect(await status(textTo(apex, { From: ours, Body }), token)).toBe(200);
    await say("STOP", APEX);
    expect(await reasons()).toBe("opt_out");
    await say("START", APEX);
    expect(await reasons()).toBe("none");
    expect(
      await sql`
        select evidence ->> 'told_by' as told_by from ridgeline.consents
        where tenant_id = ${apex.tenantId} and status = 'granted'`,
    ).toEqual([{ told_by: "account" }]);
    // What the carrier blocks, what the office was told, what remains of somebody who was erased: an owner answers for it.
    const lift = () =>
      sql`select ridgeline.lift_revocation('sms', ${ours}, 'asked for it in writing', ${apex.tenantId})`;
    const block = (reason: string) =>
      sql`select automation.suppress(${apex.tenantId}, 'sms', ${ours}, ${reason})`;
    for (const reason of ["provider", "manual"]) {
      await block(reason);
      await say("START", APEX);
      await say("UNSTOP", APEX);
      expect(await reasons()).toBe(reason);
      await lift();
      expect(await reasons()).toBe("none");
    }
    await say("STOP", APEX);
    await sql`select ridgeline.erase_person(phone => ${ours}, tenant_id => ${apex.tenantId})`;
    await sql`call automation.erase_people('10 seconds')`;
    expect(await reasons()).toBe("opt_out");
    await say("START", APEX);
    expect(await reasons()).toBe("opt_out");
    await lift();
    expect(await reasons()).toBe("none");
    expect(
      await sql`
        select distinct title from public.tasks where tenant_id = ${apex.tenantId} and title like '%asks for texts again'`,
    ).toHaveLength(1);
    // A person whom the carrier blocks at one number is left alone at the others.
    await sql`
      insert into public.contacts (tenant_id, first_name, email, phone) values
        (${apex.tenantId}, 'Mia', 'mia@wood.example', ${ours}), (${apex.tenantId}, 'Mia', 'mia@wood.example', ${newNumber()})`;
    await sql`select automation.revoke_once(${apex.tenantId}, 'sms', ${ours}, 'provider', '{}', '{}')`;
    const people = () =>
      sql`select from automation.revoked_people where tenant_id = ${apex.tenantId}`;
    await say("START", APEX);
    expect([await reasons(), (await people()).length]).toEqual(["provider", 2]);
    await lift();
    expect(await people()).toHaveLength(0);
    // The installation's account is the carrier's own word.
    await sql`update ridgeline.senders set credentials = null where tenant_id = ${apex.tenantId}`;
    await block("provider");
    await say("START");
    expect(await reasons()).toBe("none");
  });

  it("says nothing of another office", async () => {
    expect(await status(textTo(blue), APEX)).toBe(403);
    expect(await status(callTo(blue), APEX)).toBe(403);
    expect([await kept(blue), await kept(blue, "ridgeline.calls")]).toEqual([0, 0]);
  });

  it("is not believed of another's message that it names beside its own number", async () => {
    const sid = await sent(blue);
    const news = {
      MessageSid: sid,
      MessageStatus: "failed",
      ErrorCode: "30006",
      From: apex.number,
    };
    expect(await status(news, APEX)).toBe(200);
    expect(await statusOf(sid)).toBe("sent");
  });

  it("is not believed of it later either, when it came before the message", async () => {
    const sid = newSid();
    const news = {
      MessageSid: sid,
      MessageStatus: "failed",
      ErrorCode: "30006",
      From: apex.number,
    };
    expect(await status(news, APEX)).toBe(200);
    await sql`
      insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body, status, provider, provider_id)
      values (${blue.tenantId}, 'outbound', ${blue.number}, ${newNumber()}, 'Hi', 'sent', 'twilio', ${sid})`;
    expect(await statusOf(sid)).toBe("sent");
    expect(await sql`select from ridgeline.suppressions where tenant_id = ${blue.tenantId}`)
      .toEqual([]);
  });

  it("is refused with another token, with that of a former one, and without its secret", async () => {
    expect(await status(textTo(apex), "a guess")).toBe(403);
    await ownAccount(apex, "a new token");
    expect(await status(textTo(apex), APEX)).toBe(403);
    await sql`select ridgeline.delete_secret('twilio', ${apex.tenantId})`;
    expect(await status(textTo(apex), "a new token")).toBe(403);
    await sql`select ridgeline.set_secret('twilio', 'not what it should be', ${apex.tenantId})`;
    expect(await status(textTo(apex), "not what it should be")).toBe(403);
    expect(await kept(apex)).toBe(0);
  });

  it("is refused from a number that nobody has verified", async () => {
    await sql`update ridgeline.senders set verified_at = null where tenant_id = ${apex.tenantId}`;
    expect(await status(textTo(apex), APEX)).toBe(403);
  });
});

it("the environment's account speaks for everybody", async () => {
  expect(await status(textTo(blue))).toBe(200);
  expect(await status(textTo(apex))).toBe(200);
  expect([await kept(apex), await kept(blue)]).toEqual([1, 1]);
});

it("an installation needs no account of its own", async () => {
  const handler = createHandler({
    name: "twilio-webhook",
    provider: "twilio",
    receivers: { twilio: createReceiver({ authToken: () => readTwilioToken({}) }) },
    findAccounts: (provider) => createAccountFinder(sql, "sms", provider, () => {}),
    address: () => readPublicAddress({ PUBLIC_URL: "https://apex.supabase.example" }),
    record: () => createSmsRecorder(sql),
    log: () => {},
  });
  expect((await handler(signedForm(textTo(apex), { token: APEX }))).status).toBe(200);
  expect((await handler(signedForm(textTo(blue)))).status).toBe(500);
});

it("the secret that is missing is logged with its office, and without its value", async () => {
  const logged: unknown[] = [];
  await sql`select ridgeline.set_secret('twilio', '{"auth_token": "hush"}', ${apex.tenantId})`;
  const find = createAccountFinder(sql, "sms", "twilio", (...line) => void logged.push(line));
  expect(await find({ address: apex.number, service: "" }, parseTwilioAccount)).toEqual([]);
  expect(logged).toEqual([["error", "twilio_account_unusable", { tenant_id: apex.tenantId }]]);
  // One that sends with Telnyx, and was never told what Telnyx signs with.
  await sql`select ridgeline.set_secret('twilio', 'KEY_hush', ${apex.tenantId})`;
  await sql`update ridgeline.senders set provider = 'telnyx' where tenant_id = ${apex.tenantId}`;
  const findTelnyx = createAccountFinder(sql, "sms", "telnyx", (...line) => void logged.push(line));
  expect(await findTelnyx({ tenantId: apex.tenantId }, parseTelnyxSigner)).toEqual([]);
  expect(await findTelnyx({ tenantId: blue.tenantId }, parseTelnyxSigner)).toEqual([]);
  expect(logged.slice(1)).toEqual([
    ["error", "telnyx_account_unusable", { tenant_id: apex.tenantId }],
  ]);
});

describe("an office whose own account says more than it ever sent", () => {
  const early = (office: Office | null, many: number, prefix = "SM-never-") =>
    sql`
      select automation.record_message_status(jsonb_strip_nulls(jsonb_build_object(
        'provider', 'twilio', 'tenant_id', ${office?.tenantId ?? null}::text,
        'message_sid', ${prefix}::text || n, 'status', 'delivered')))
      from generate_series(1, ${many}) as n`;
  const waiting = async (office: Office | null) =>
    (await sql`
      select from automation.early_events
      where event ->> 'tenant_id' is not distinct from ${office?.tenantId ?? null}`).length;
  // What has been locked once says so by its xmax, also after the commit.
  const locked = async (table: string) =>
    (await sql`
      select from ${sql(table)} where account_of = any (${[
      apex.tenantId,
      blue.tenantId,
    ]}) and xmax <> 0`)
      .length;
  async function record(office: Office, sid: string): Promise<void> {
    await sql`
      insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body, status, provider, provider_id)
      values (${office.tenantId}, 'outbound', ${office.number}, ${newNumber()}, 'Hi', 'sent', 'twilio', ${sid})`;
  }

  it("pushes out its own oldest reports, and what is recorded soon is found", async () => {
    await ownAccount(blue, "the token of Blue");
    const shared = await waiting(null);
    await early(blue, 1, "SM-blue-");
    await early(null, 3, "SM-shared-");
    await sql`
      insert into automation.early_events (provider, provider_id, event, received_at, account_of)
      select 'twilio', 'SM-old-' || n, jsonb_build_object('tenant_id', ${apex.tenantId}::text),
        automation.now() - interval '1 hour', ${apex.tenantId}
      from generate_series(1, 2000) as n`;
    await early(apex, 50);
    expect(await waiting(apex)).toBe(2_000);
    expect(await waiting(blue)).toBe(1);
    expect(await waiting(null)).toBe(shared + 3);
    expect(await locked("automation.early_events")).toBe(0);
    for (const [office, sid] of [[apex, "SM-never-50"], [blue, "SM-blue-1"]] as const) {
      await record(office, sid);
      expect(await statusOf(sid)).toBe("delivered");
    }
    expect(await sql`select from automation.early_events where provider_id = 'SM-old-2000'`)
      .toHaveLength(1);
  });

  it("fills no table with ids either, and the last are still known", async () => {
    const say = (id: string, office = apex) =>
      sql`
        select automation.record_email_event(${id}, jsonb_build_object('provider', 'resend',
          'tenant_id', ${office.tenantId}::text, 'email_id', 'never', 'type', 'failed',
          'occurred_at', clock_timestamp())) as became`;
    await say("ours", blue);
    await sql`select automation.forget_events(${blue.tenantId})`;
    await sql`
      insert into automation.provider_events (provider, event_id, received_at, account_of)
      select 'resend', ${`${apex.tenantId} old-`}::text || n, automation.now() - interval '1 hour', ${apex.tenantId}
      from generate_series(1, 101000) as n`;
    // Ids are counted now and then: at the same of them each time.
    await sql.begin(async (session) => {
      await session`select setseed(0.5)`;
      await session`
        select automation.record_email_event('new-' || n, jsonb_build_object('provider', 'resend',
          'tenant_id', ${apex.tenantId}::text, 'email_id', 'never', 'type', 'failed',
          'occurred_at', clock_timestamp()))
        from generate_series(1, 400) as n`;
    });
    const [kept] = await sql`
      select count(*)::int as many from automation.provider_events where account_of = ${apex.tenantId}`;
    expect(kept?.many).toBeLessThan(100_400);
    expect(await locked("automation.provider_events")).toBe(0);
    expect((await say("new-1"))[0]?.became).toBe("duplicate");
    expect((await say("ours", blue))[0]?.became).toBe("duplicate");
  });

  it("is forgotten by the tick, a portion at a time", async () => {
    await early(apex, 30, "SM-late-");
    await sql`update automation.early_events set received_at = received_at - interval '25 hours'`;
    await sql`update automation.provider_events set received_at = received_at - interval '31 days'
      where account_of = ${blue.tenantId}`;
    expect(await waiting(apex)).toBe(30);
    expect((await sql`select automation.prune_events(10) as pruned`)[0]?.pruned)
      .toBeLessThanOrEqual(20);
    for (let n = 0; n < 3; n++) await sql`select automation.prune()`;
    expect(await waiting(apex)).toBe(0);
  });
});

// What an email says, which Resend tells only when asked; and who wrote it: a customer or a machine.
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Sql } from "postgres";
import { readResend } from "../../functions/_shared/channels/email/resend/settings.ts";
import { createEmailRecorder } from "../../functions/_shared/channels/email/record.ts";
import { createContentFetcher } from "../../functions/_shared/channels/email/resend/content.ts";
import { createReceiver } from "../../functions/_shared/channels/email/resend/receive.ts";
import { createHandler } from "../../functions/email-webhook/handler.ts";
import { connect } from "../../functions/_shared/runtime/database.ts";
import type { Log } from "../../functions/_shared/runtime/log.ts";
import { type ResendStandIn, startResend } from "../../scripts/standins/resend.ts";
import { useDatabase } from "../support/database.ts";
import {
  fired,
  type Functions,
  functionsOn,
  listen,
  openOffice,
  SECRET,
  signedEvent,
} from "./support.ts";

const database = useDatabase();
let sql: Sql;
let resend: ResendStandIn;
let functions: Functions;
beforeAll(async () => {
  sql = database().sql;
  resend = await startResend({ port: 0, apiKey: "re_1" });
  functions = functionsOn(
    database(),
    createContentFetcher({ apiKey: "re_1", baseUrl: resend.url }),
  );
});
afterAll(async () => {
  await functions.close();
  await resend.stop();
});

let office: { tenantId: string; address: string; maria: string };
beforeEach(async () => {
  const { tenantId } = await openOffice(sql, { inbound: { create_contacts: true } });
  const address = `office@apex-${randomUUID().slice(0, 8)}.example`;
  await sql`insert into ridgeline.email_addresses (tenant_id, address) values (${tenantId}, ${address})`;
  await listen(sql, tenantId, "email_received");
  const [maria] = await sql`
    insert into contacts (tenant_id, first_name, email) values (${tenantId}, 'Maria', 'maria@example.com') returning id`;
  office = { tenantId, address, maria: maria!.id };
});

const eventOf = (email_id: string, changes: object = {}) => ({
  type: "email.received",
  created_at: new Date().toISOString(),
  data: {
    email_id,
    from: "Maria Lopez <maria@example.com>",
    to: [office.address],
    subject: "Re: Your estimate",
    ...changes,
  },
});
const report = async (event: object, to = functions.resend) => {
  const answer = await to(signedEvent(event));
  return [answer.status, await answer.json()];
};
type Content = Parameters<ResendStandIn["receive"]>[0];
const write = (content: Content, changes: object = {}) =>
  report(eventOf(resend.receive(content), changes));
const kept = () =>
  sql`select text, html, is_automatic, contact_id from ridgeline.emails where tenant_id = ${office.tenantId}`;
const STORED = [200, { result: "stored" }];

describe("the body of an email that comes in", () => {
  it("is fetched, and is there for the workflow that it starts", async () => {
    expect(await write({ text: "Tuesday is fine", html: "<p>Tuesday is fine</p>" })).toEqual(
      STORED,
    );
    expect(await kept()).toMatchObject([{
      text: "Tuesday is fine",
      html: "<p>Tuesday is fine</p>",
    }]);
    const [run] =
      await sql`select trigger_data from ridgeline.workflow_executions where tenant_id = ${office.tenantId}`;
    expect(run!.trigger_data.email.text).toBe("Tuesday is fine");
  });

  it("has words where it is in HTML alone", async () => {
    await write({
      html:
        "<html><head><style>p {color: red}</style></head><p>Tom &amp; Ann:<br>yes&nbsp;please</p>" +
        "<blockquote>Unsubscribe here</blockquote>",
    });
    expect(await kept()).toMatchObject([{ text: "Tom & Ann:\nyes please" }]);
  });

  it("is cut, and never breaks what stores it", async () => {
    await write({ text: "x\0\ud800".repeat(100_000) });
    // In the midst of a character, too.
    await write({ text: `${"x".repeat(99_999)}\u{1f3e0}` });
    const emails = await kept();
    expect(emails.map(({ text }) => text.length)).toEqual([100_000, 100_000]);
  });

  it("is taken from the event where that has it", async () => {
    const before = resend.requests().length;
    await report(eventOf(randomUUID(), { text: "From the event" }));
    expect(await kept()).toMatchObject([{ text: "From the event" }]);
    expect(resend.requests()).toHaveLength(before);
  });

  it.each([
    ["please unsubscribe me", true],
    [
      "STOP\n\nOn Mon, Nov 2, 2026 at 9:30 AM Apex Roofing <office@apex.example>\nwrote:\n> Your estimate",
      true,
    ],
    [
      "Tuesday is fine\n\nOn Mon, Nov 2, 2026 at 9:30 AM Apex Roofing wrote:\n> STOP to opt out\nunsubscribe",
      false,
    ],
    ["Yes!\n> unsubscribe\n", false],
    ["Sounds good\n-----Original Message-----\nunsubscribe", false],
    ["Sounds good\n\nFrom: Apex Roofing <office@apex.example>\nSent: Monday\n\nunsubscribe", false],
    [
      "De acuerdo\n\nEl lun, 2 nov 2026, Apex Roofing <office@apex.example> escribió:\nunsubscribe",
      false,
    ],
    [
      "OK\nOn Monday, November 2, 2026 at 9:30:12 AM Central Standard Time, Apex Roofing and Gutters of " +
      "Austin <office@apex.example> wrote:\nunsubscribe",
      false,
    ],
  ])("that says %j stops what goes out to its writer: %s", async (text, stops) => {
    await write({ text });
    const suppressed =
      await sql`select address from ridgeline.suppressions where tenant_id = ${office.tenantId}`;
    expect(suppressed).toEqual(stops ? [{ address: "maria@example.com" }] : []);
  });
});

describe("what Resend does not tell", () => {
  it("is asked for again when Resend sends the event again, and nothing is lost", async () => {
    const id = resend.receive({ text: "Tuesday is fine" });
    for (
      const fault of [{ kind: "status", status: 500 }, { kind: "status", status: 429 }] as const
    ) {
      resend.fault({ ...fault, match: { path: id } });
      expect((await report(eventOf(id)))[0]).toBe(503);
    }
    expect(await kept()).toEqual([]);
    expect(await report(eventOf(id))).toEqual(STORED);
    expect(await kept()).toMatchObject([{ text: "Tuesday is fine" }]);
  });

  it("and never will is kept without it", async () => {
    expect(await report(eventOf(randomUUID()))).toEqual(STORED);
    expect(await kept()).toEqual([
      { text: null, html: null, is_automatic: false, contact_id: office.maria },
    ]);
    expect(await fired(sql, office.tenantId)).toEqual(["email_received"]);
  });

  it.each([
    [
      "with a key that may not",
      () => createContentFetcher({ apiKey: "re_2", baseUrl: resend.url }),
    ],
    ["without a key", () => createContentFetcher(readResend({}))],
  ])("%s is kept without it, and logged", async (_what, fetchContent) => {
    const own = connect(database().url, 1);
    const logged: unknown[] = [];
    const log: Log = (_level, event) => void logged.push(event);
    const handler = createHandler({
      name: "resend-webhook",
      provider: "resend",
      receivers: { resend: createReceiver({ secret: () => SECRET, fetchContent, log }) },
      findAccounts: () => () => Promise.resolve([]),
      record: () => createEmailRecorder(own),
      log,
    });
    expect(await report(eventOf(resend.receive({ text: "Hi" })), handler)).toEqual(STORED);
    expect(logged).toEqual(["resend_content_missing", "resend_event"]);
    await own.end();
  });
});

describe("what a machine wrote is kept, and is no reply", () => {
  it.each<[string, Content, object?]>([
    ["out of office", { headers: { "Auto-Submitted": "auto-replied" } }],
    ["in any case and with parameters", {
      headers: { "auto-submitted": "Auto-Generated; owner=x" },
    }],
    ["of a mail server", { headers: { "X-Autoreply": "yes" } }],
    ["of another", { headers: { "X-Autorespond": "yes" } }],
    ["of an older one", { headers: { Precedence: "auto_reply" } }],
    ["to a crowd", { headers: { precedence: "Bulk" } }],
    ["that nobody can answer", { headers: { "Return-Path": "<>" } }],
    ["that says so in its subject", {}, { subject: "Automatic reply: Your estimate" }],
    ["in Spanish", {}, { subject: "Respuesta automática: Presupuesto" }],
    ["a bounce", {}, { from: "Mail <MAILER-DAEMON@example.com>" }],
  ])("%s", async (_what, content, changes = {}) => {
    expect(await write({ text: "I am away", ...content }, changes)).toEqual(STORED);
    expect(await kept()).toMatchObject([{ text: "I am away", is_automatic: true }]);
    expect(await fired(sql, office.tenantId)).toEqual([]);
  });

  it("and makes no contact", async () => {
    await write({ headers: { "Auto-Submitted": "auto-replied" } }, { from: "tom@example.com" });
    expect(await kept()).toMatchObject([{ contact_id: null }]);
    expect(await sql`select from contacts where tenant_id = ${office.tenantId}`).toHaveLength(1);
  });

  it.each<[string, Content, object?]>([
    ["a customer's own", {
      headers: { "Auto-Submitted": "no", "Return-Path": "<maria@example.com>" },
    }],
    ["what a group forwards", {
      headers: { Precedence: "list", "List-Id": "<office.apex.example>" },
    }],
    ["a subject that only speaks of it", {}, { subject: "Re: Out of office hours, can you come?" }],
  ])("but %s is", async (_what, content, changes = {}) => {
    await write({ text: "Tuesday", ...content }, changes);
    expect(await fired(sql, office.tenantId)).toEqual(["email_received"]);
  });
});

describe("what names somebody who has not written it", () => {
  const ses = (verdicts: string) => ({
    headers: { "Authentication-Results": `amazonses.com; ${verdicts}` },
  });
  const FORGED = ses(
    "spf=pass smtp.mailfrom=evil.example; dkim=none; dmarc=fail header.from=example.com",
  );

  it.each<[string, Content]>([
    ["by DMARC", FORGED],
    ["though another is signed", ses("spf=fail; dkim=pass header.i=@evil.example; dmarc=fail")],
    ["by SPF, where nothing is signed", ses("spf=fail; dkim=none")],
    ["as another says it", {
      headers: { "Received-SPF": "Fail (not designated) identity=mailfrom" },
    }],
    ["though it says more of itself", {
      headers: { "Received-SPF": "Fail (not designated)", "RECEIVED-SPF": "Pass" },
    }],
    ["though it comes with a verdict that is not the provider's", {
      headers: { "Received-SPF": "Fail (not designated)", "X-Spam-Tests": "DKIM_VALID" },
    }],
  ])("is no reply: %s", async (_what, content) => {
    expect(await write({ text: "Tuesday is fine", ...content })).toEqual(STORED);
    expect(await kept()).toMatchObject([{ is_automatic: true, contact_id: office.maria }]);
    expect(await fired(sql, office.tenantId)).toEqual([]);
  });

  it("is obeyed where it asks to stop, and that is on record", async () => {
    await write({ text: "STOP", ...FORGED });
    const said = await sql`
      select c.status, c.evidence ->> 'unauthenticated' as unauthenticated,
        automation.suppression_of(${office.tenantId}, 'email', c.address) as reason
      from ridgeline.consents as c where c.tenant_id = ${office.tenantId}`;
    expect(said).toMatchObject([{ status: "revoked", unauthenticated: "true", reason: "opt_out" }]);
  });

  it.each<[string, Content]>([
    ["forwarded", ses("spf=fail; dkim=pass header.i=@example.com; dmarc=pass")],
    ["of a domain that asks for nothing", ses("spf=softfail; dkim=none; dmarc=none")],
  ])("is told from what is %s", async (_what, content) => {
    await write({ text: "Tuesday is fine", ...content });
    expect(await fired(sql, office.tenantId)).toEqual(["email_received"]);
  });

  it.each<[string, Record<string, string>, string[]]>([
    ["forwarded", { "X-Spam-Tests": "DKIM_SIGNED,DKIM_VALID,SPF_FAIL" }, ["email_received"]],
    ["no reply", { "RECEIVED-SPF": "Pass" }, []],
  ])("is told from it by another's verdicts: %s", async (_what, more, events) => {
    await sql`select automation.record_email_event(${randomUUID()}, ${
      sql.json({
        provider: "postmark",
        email_id: randomUUID(),
        type: "received",
        from: "maria@example.com",
        to: [office.address],
        text: "Tuesday is fine",
        headers: { "Received-SPF": "Fail", ...more },
      })
    })`;
    expect(await fired(sql, office.tenantId)).toEqual(events);
  });
});

describe("two machines that answer each other by email", () => {
  const ourEmail = async (execution: string) =>
    await sql`
      insert into ridgeline.workflow_step_executions (
        tenant_id, id, execution_id, step_key, step_type, status, recipient, started_at, finished_at)
      values (${office.tenantId}, ${randomUUID()}, ${execution}, ${`step_${
      randomUUID().slice(0, 8)
    }`}, 'send_email',
        'completed', 'maria@example.com', automation.now(), automation.now())`;

  it("are one chain, which ends", async () => {
    await sql`update automation.settings set value = '5' where name = 'max_chain_executions'`;
    const runs = () =>
      sql`
        select id, status, root_id, error ->> 'code' as code from ridgeline.workflow_executions
        where tenant_id = ${office.tenantId} order by seq`;
    for (let round = 0; round < 12; round++) {
      await write({ text: `Answer ${round}` });
      const last = (await runs()).at(-1)!;
      if (last.status !== "failed") await ourEmail(last.id);
    }
    const all = await runs();
    expect(new Set(all.slice(1).map(({ root_id }) => root_id))).toEqual(new Set([all[0]!.id]));
    expect(all.length).toBeLessThanOrEqual(7);
    expect(all.at(-1)).toMatchObject({ status: "failed", code: "chain_budget_exceeded" });
    await sql`update automation.settings set value = '50' where name = 'max_chain_executions'`;
  });
});

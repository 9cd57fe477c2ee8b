// Calls as Twilio reports them: ringing, answered, ended, in whatever order the news comes.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
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

const inbound = (office: Office, From = newNumber()) => ({
  CallSid: newSid("CA"),
  Direction: "inbound",
  From,
  To: office.number,
});

async function report(call: Fields, ...changes: Fields[]): Promise<void> {
  for (const change of changes) {
    const response = await functions.twilio(signedForm({ ...call, ...change }));
    expect(response.status).toBe(200);
    expect(await response.text()).toContain("<Response></Response>");
  }
}

const callsOf = (office: Office) =>
  database().sql`
    select status, direction, from_number, duration_seconds, contact_id from ridgeline.calls
    where tenant_id = ${office.tenantId} order by id`;

async function withListener(settings: object = {}): Promise<Office> {
  const office = await openOffice(database().sql, settings);
  await listen(database().sql, office.tenantId, "call_missed", "call_completed");
  return office;
}

describe("an incoming call", () => {
  it.each(["no-answer", "busy", "failed", "canceled"])(
    "%s: is missed, once",
    async (CallStatus) => {
      const office = await withListener();
      const call = inbound(office);
      await report(call, { CallStatus: "ringing" }, { CallStatus }, { CallStatus });
      expect(await callsOf(office)).toMatchObject([{ status: "missed", from_number: call.From }]);
      expect(await fired(database().sql, office.tenantId)).toEqual(["call_missed"]);
    },
  );

  it("that was answered is completed, with its length", async () => {
    const office = await withListener();
    await report(
      inbound(office),
      { CallStatus: "ringing" },
      { CallStatus: "in-progress" },
      { CallStatus: "completed", CallDuration: "65" },
    );
    expect(await callsOf(office)).toMatchObject([{ status: "completed", duration_seconds: 65 }]);
    expect(await fired(database().sql, office.tenantId)).toEqual(["call_completed"]);
  });

  it("that was passed on and not taken is missed, though the call itself is completed", async () => {
    const office = await withListener();
    await report(
      inbound(office),
      { CallStatus: "ringing" },
      { CallStatus: "in-progress", DialCallStatus: "no-answer" },
      { CallStatus: "completed", CallDuration: "21" },
    );
    expect(await callsOf(office)).toMatchObject([{ status: "missed" }]);
    expect(await fired(database().sql, office.tenantId)).toEqual(["call_missed"]);
  });

  it("keeps to how it ended when older news comes late", async () => {
    const office = await withListener();
    await report(
      inbound(office),
      { CallStatus: "completed", CallDuration: "65" },
      { CallStatus: "ringing" },
      { CallStatus: "in-progress" },
      { CallStatus: "no-answer" },
    );
    expect(await callsOf(office)).toMatchObject([{ status: "completed", duration_seconds: 65 }]);
    expect(await fired(database().sql, office.tenantId)).toEqual(["call_completed"]);
  });

  it("that is reported many times at once is one call and one run", async () => {
    const office = await withListener({ inbound: { create_contacts: true } });
    const call = inbound(office);
    await Promise.all(Array.from({ length: 6 }, () => report(call, { CallStatus: "no-answer" })));
    expect(await callsOf(office)).toHaveLength(1);
    expect(await fired(database().sql, office.tenantId)).toEqual(["call_missed"]);
    expect(await database().sql`select phone, source from contacts`).toEqual([
      { phone: call.From, source: "inbound_call" },
    ]);
  });

  it("to a number that is nobody's, or of a leg of another call, is not kept", async () => {
    const office = await withListener();
    await report({ ...inbound(office), To: newNumber() }, { CallStatus: "no-answer" });
    await report(
      { ...inbound(office), ParentCallSid: newSid("CA") },
      { CallStatus: "no-answer" },
    );
    await report(inbound(office), { CallStatus: "nonsense" });
    expect(await callsOf(office)).toEqual([]);
  });

  it("without a caller's number has no contact", async () => {
    const office = await withListener({ inbound: { create_contacts: true } });
    await report(inbound(office, "anonymous"), { CallStatus: "no-answer" });
    expect(await callsOf(office)).toMatchObject([{ from_number: "anonymous", contact_id: null }]);
  });

  // What providers document for a withheld number, with and without the + they put before it.
  it.each([
    "+266696687",
    "266696687",
    "+7378742833",
    "7378742833",
    "+2562533",
    "+8656696",
    "+86282452253",
    "Restricted",
    "Private",
    "unavailable",
    "unknown",
    "sip:anonymous@anonymous.invalid",
    "+",
    "",
    "27223",
  ])("of a withheld number, %s, is a missed call of nobody", async (From) => {
    const office = await withListener({ inbound: { create_contacts: true } });
    await report(inbound(office, From), { CallStatus: "no-answer" });
    expect(await callsOf(office)).toMatchObject([{ from_number: From, contact_id: null }]);
    expect(await fired(database().sql, office.tenantId)).toEqual(["call_missed"]);
    const contacts = database().sql`select from contacts where tenant_id = ${office.tenantId}`;
    expect(await contacts).toEqual([]);
  });
});

it("an outgoing call is the tenant's it comes from; nobody missed it", async () => {
  const office = await withListener();
  const call = {
    CallSid: newSid("CA"),
    Direction: "outbound-api",
    From: office.number,
    To: newNumber(),
  };
  await report(call, { CallStatus: "ringing" }, { CallStatus: "no-answer" });
  expect(await callsOf(office)).toMatchObject([{ direction: "outbound", status: "no-answer" }]);
  expect(await fired(database().sql, office.tenantId)).toEqual([]);
});

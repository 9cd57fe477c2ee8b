// From the outside through the whole stack and back: what a customer does, and what comes of it.
import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";
import twilio from "twilio";
import { describe, expect, it } from "vitest";
import { waitFor } from "../support/standins.ts";
import { got, newPhone, Office, useStack } from "../stories/support.ts";
import { formOf, newSid } from "./support.ts";

const AUTH_TOKEN = "stack token";
const SECRET = `whsec_${randomBytes(32).toString("base64")}`;
const PUBLIC_URL = "https://ridgeline.example";

const stage = useStack(() => ({
  environment: { TWILIO_AUTH_TOKEN: AUTH_TOKEN, RESEND_WEBHOOK_SECRET: SECRET, PUBLIC_URL },
}));

let offices = 0;

async function openOffice(settings: object = {}): Promise<{ office: Office; number: string }> {
  const office = await Office.open(stage());
  const number = `+1206555${String(1_000 + ++offices)}`;
  const service = stage().service();
  got(
    await service.schema("ridgeline").from("senders")
      .insert({
        tenant_id: office.tenantId,
        channel: "sms",
        kind: "number",
        provider: "twilio",
        address: number,
      })
      .select("id"),
  );
  got(
    await service.from("tenants").update({ settings: JSON.parse(JSON.stringify(settings)) })
      .eq("id", office.tenantId).select("id"),
  );
  return { office, number };
}

/** As Twilio does it: signed for the public address, sent to wherever that leads. */
async function fromTwilio(fields: Record<string, string>): Promise<Response> {
  return await fetch(`${stage().stack.apiUrl}/functions/v1/twilio-webhook`, {
    method: "POST",
    headers: {
      "x-twilio-signature": twilio.getExpectedTwilioSignature(
        AUTH_TOKEN,
        `${PUBLIC_URL}/functions/v1/twilio-webhook`,
        fields,
      ),
    },
    body: formOf(fields),
  });
}

const text = (From: string, To: string, Body: string) => ({
  MessageSid: newSid(),
  SmsStatus: "received",
  NumMedia: "0",
  From,
  To,
  Body,
});

describe("a text from a customer", () => {
  it("gets its answer from a workflow; STOP ends it for good", async () => {
    const { office, number } = await openOffice();
    await office.workflow({
      trigger_type: "sms_received",
      steps: [
        { step_type: "send_sms", step_config: { body: "Thanks {{contact.first_name}}!" } },
        {
          step_type: "send_sms",
          step_config: { body: "Did we answer your question?" },
          delay_minutes: 60,
        },
      ],
    });
    const phone = newPhone();
    await office.lead({ phone });
    const first = text(phone, number, "How much is a new roof?");
    expect((await fromTwilio(first)).status).toBe(200);
    expect((await fromTwilio(first)).status).toBe(200);
    await office.quiet();
    expect(office.texts(phone)).toEqual(["Thanks Maria!"]);
    expect((await fromTwilio(text(phone, number, "Stop please"))).status).toBe(200);
    await office.later("61 minutes");
    expect(office.texts(phone)).toEqual(["Thanks Maria!"]);
    expect((await office.executions()).map(({ trigger_type }) => trigger_type)).toEqual([
      "sms_received",
      "sms_received",
    ]);
  });

  it("that Twilio did not sign is refused, and nothing is written", async () => {
    const { office, number } = await openOffice({ inbound: { create_contacts: true } });
    const answer = await fetch(`${stage().stack.apiUrl}/functions/v1/twilio-webhook`, {
      method: "POST",
      headers: { "x-twilio-signature": "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" },
      body: formOf(text(newPhone(), number, "STOP")),
    });
    expect(answer.status).toBe(403);
    expect(got(await office.client.schema("ridgeline").from("messages").select())).toEqual([]);
    expect(got(await office.client.from("contacts").select())).toEqual([]);
  });
});

it("a missed call of a stranger texts back once, and says what became of the text", async () => {
  const { office, number } = await openOffice({ inbound: { create_contacts: true } });
  await office.workflow({
    trigger_type: "call_missed",
    steps: [{ step_type: "send_sms", step_config: { body: "Sorry we missed you!" } }],
  });
  const From = newPhone();
  const call = { CallSid: newSid("CA"), Direction: "inbound", From, To: number };
  for (const CallStatus of ["ringing", "no-answer", "no-answer"]) {
    expect((await fromTwilio({ ...call, CallStatus })).status).toBe(200);
  }
  await office.quiet();
  expect(office.texts(From)).toEqual(["Sorry we missed you!"]);
  const sent = stage().twilio.messages().find(({ to }) => to === From)!;
  for (const MessageStatus of ["delivered", "sent"]) {
    await fromTwilio({ MessageSid: sent.sid, MessageStatus, To: From, From: number });
  }
  expect(got(await office.client.schema("ridgeline").from("messages").select("status"))).toEqual([
    { status: "delivered" },
  ]);
  expect((await office.steps())[0]?.result_data).toMatchObject({
    delivery: { status: "delivered" },
  });
});

it("a form that is posted twice starts its workflow once, for the one who filled it in", async () => {
  const { office } = await openOffice();
  const site = "https://apexroofing.example";
  await office.workflow({
    trigger_type: "form_submitted",
    trigger_config: { form: "Free estimate" },
    steps: [{
      step_type: "send_sms",
      step_config: {
        body: "Hi {{contact.first_name}}, about your {{trigger.record.data.roof}} roof",
      },
    }],
  });
  const { public_key } = got(
    await office.client.schema("ridgeline").from("forms")
      .insert({ tenant_id: office.tenantId, name: "Free estimate", allowed_origins: [site] })
      .select("public_key").single(),
  );
  const phone = newPhone();
  const post = () =>
    fetch(`${stage().stack.apiUrl}/functions/v1/forms/${public_key}`, {
      method: "POST",
      headers: { "content-type": "application/json", origin: site },
      body: JSON.stringify({ name: "Maria Cruz", phone: phone.slice(2), roof: "metal" }),
    });
  const answers = await Promise.all([post(), post(), post()]);
  for (const answer of answers) {
    expect([answer.status, await answer.json()]).toEqual([202, { received: true }]);
    expect(answer.headers.get("access-control-allow-origin")).toBe(site);
  }
  await waitFor("the text", () => office.texts(phone).length > 0);
  await office.quiet();
  expect(office.texts(phone)).toEqual(["Hi Maria, about your metal roof"]);
  expect(await office.executions()).toHaveLength(1);
});

it("a bounce keeps later emails from the address; a person's click fires, a scanner's does not", async () => {
  const { office } = await openOffice();
  await office.workflow({
    steps: [{ step_type: "send_email", step_config: { subject: "Welcome", html: "<p>Hi</p>" } }],
  });
  await office.workflow({
    trigger_type: "email_clicked",
    steps: [{ step_type: "create_task", step_config: { title: "Call: read the estimate" } }],
  });
  const email = `maria-${randomBytes(4).toString("hex")}@example.com`;
  await office.lead({ email });
  await office.quiet();
  const sent = stage().resend.emails().find(({ to }) => to.includes(email))!;
  const report = async (type: string, at: Date, data: object = {}) => {
    const body = JSON.stringify({
      type: `email.${type}`,
      created_at: at.toISOString(),
      data: { email_id: sent.id, to: [email], ...data },
    });
    const id = `msg_${randomBytes(8).toString("hex")}`;
    const now = new Date();
    const answer = await fetch(`${stage().stack.apiUrl}/functions/v1/resend-webhook`, {
      method: "POST",
      headers: {
        "svix-id": id,
        "svix-timestamp": String(Math.floor(now.getTime() / 1000)),
        "svix-signature": new Webhook(SECRET).sign(id, now, body),
      },
      body,
    });
    expect(answer.status).toBe(200);
  };
  // The test clock of the stack may run ahead: the email's own time is what counts.
  const { created_at } = got(
    await office.client.schema("ridgeline").from("emails").select("created_at").single(),
  );
  const after = (seconds: number) => new Date(Date.parse(created_at) + seconds * 1_000);
  const click = { link: "https://apex.example/estimate", userAgent: "Mozilla/5.0 Chrome/129" };
  const tasks = async () => got(await office.client.from("tasks").select("title"));

  await report("delivered", after(1));
  await report("clicked", after(3), { click });
  await office.quiet();
  expect(await tasks()).toEqual([]);
  await report("clicked", after(300), { click });
  await waitFor("the task", async () => (await tasks()).length > 0);
  expect(await tasks()).toHaveLength(1);

  await report("bounced", after(400), { bounce: { type: "Permanent", subType: "General" } });
  await office.lead({ email });
  await office.quiet();
  expect(stage().resend.emails().filter(({ to }) => to.includes(email))).toHaveLength(1);
});

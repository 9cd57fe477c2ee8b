// Who hears from an office, whatever its leads are called: seen from the mailboxes, and from the
// office's own screen.
import { beforeAll, describe, expect, it } from "vitest";
import { got, newPhone, Office, useStack } from "./support.ts";

const stage = useStack();
let office: Office;

beforeAll(async () => {
  office = await Office.open(stage());
  got(
    await stage().service().schema("ridgeline").from("senders").insert({
      tenant_id: office.tenantId,
      channel: "email",
      kind: "domain",
      address: "apex.example",
      provider: "resend",
    }).select(),
  );
  await office.workflow({
    steps: [
      {
        step_type: "send_email",
        step_config: {
          to: "{{contact.first_name}} <{{contact.email}}>",
          cc: "{{contact.custom_fields.partner}}",
          reply_to: "{{contact.first_name}} at Apex <office@apex.example>",
          from: "{{contact.first_name}} <sender@apex.example>",
          subject: "Hello {{contact.first_name}}",
          headers: { "X-Lead": "{{contact.first_name}}" },
          text: "Thanks for asking.",
        },
      },
      { step_type: "send_sms", step_config: { body: "Thanks for asking." } },
      { step_type: "create_task", step_config: { title: "Call {{contact.email}}" } },
    ],
  });
});

/** The emails that a lead's coming in led to. */
async function emailsFor(lead: Parameters<Office["lead"]>[0]) {
  stage().resend.reset();
  const id = await office.lead(lead);
  await office.quiet();
  return { id, emails: stage().resend.emails(), requests: stage().resend.requests() };
}

describe("an email", () => {
  it.each([
    ["Lopez Roofing, Inc.", '"Lopez Roofing, Inc." <jo@example.com>', "Hello Lopez Roofing, Inc."],
    ["Tom <3 Ann", '"Tom <3 Ann" <jo@example.com>', "Hello Tom <3 Ann"],
    ['The "Roof" Guys', '"The \\"Roof\\" Guys" <jo@example.com>', 'Hello The "Roof" Guys'],
    ["José 🏠", "José 🏠 <jo@example.com>", "Hello José 🏠"],
    [
      "Jo\r\nBcc: eve@evil.example",
      '"Jo Bcc: eve@evil.example" <jo@example.com>',
      "Hello Jo Bcc: eve@evil.example",
    ],
    [
      "eve@evil.example, ann@evil.example",
      '"eve@evil.example, ann@evil.example" <jo@example.com>',
      "Hello eve@evil.example, ann@evil.example",
    ],
  ])(
    "to %j goes to that lead alone, and the provider takes it",
    async (first_name, to, subject) => {
      const { emails, requests } = await emailsFor({
        first_name,
        email: "jo@example.com",
        phone: newPhone(),
      });
      expect(requests.map(({ status }) => status)).toEqual([200]);
      expect(emails).toMatchObject([{
        to: [to],
        cc: [],
        bcc: [],
        subject,
        reply_to: [expect.stringMatching(/<office@apex\.example>$/)],
      }]);
      expect(emails[0]?.headers["X-Lead"]).toBe(subject.replace(/^Hello /, ""));
    },
  );

  it("is not relayed to those whom a visitor types into a field", async () => {
    const { emails, id } = await emailsFor({
      first_name: "Eve",
      email: "eve@evil.example, victim@bank.example",
      custom_fields: { partner: "x@evil.example, y@evil.example" },
      phone: newPhone(),
    });
    expect(emails).toEqual([]);
    const runs = (await office.executions()).filter(({ contact_id }) => contact_id === id);
    expect(runs.map(({ status }) => status)).toEqual(["completed"]);
    const failures = got(
      await office.client.schema("ridgeline").from("automation_failures").select().eq(
        "contact_id",
        id,
      ),
    );
    expect(failures).toMatchObject([{
      code: "invalid_recipient",
      step_key: "step_1",
      message: 'to: "eve@evil.example, victim@bank.example" is not one email address',
    }]);
  });

  it("goes out although a copy could not", async () => {
    const { emails, id } = await emailsFor({
      email: "bo@example.com",
      custom_fields: { partner: "ann at home" },
      phone: newPhone(),
    });
    expect(emails).toMatchObject([{ to: ["Maria <bo@example.com>"], cc: [] }]);
    const run = (await office.executions()).find(({ contact_id }) => contact_id === id);
    const [step] = (await office.steps()).filter(({ execution_id, step_key }) =>
      execution_id === run?.id && step_key === "step_1"
    );
    expect(step).toMatchObject({
      status: "completed",
      recipient: "bo@example.com",
      warnings: [{ path: "cc", code: "invalid_recipient", given: "ann at home" }],
    });
  });

  it("and a text that had nobody to go to are on the office's list", async () => {
    const { id } = await emailsFor({ first_name: "Nobody", email: null, phone: "12" });
    const skipped = got(
      await office.client.schema("ridgeline").from("automation_skipped_sends").select().eq(
        "contact_id",
        id,
      ).order(
        "step_key",
      ),
    );
    expect(skipped).toMatchObject([
      { step_key: "step_1", code: "no_recipient", recipient: null, is_failure: true },
      { step_key: "step_2", code: "invalid_recipient", recipient: "12", is_failure: true },
    ]);
    const other = await Office.open(stage(), "Blue Ridge Solar");
    expect(got(await other.client.schema("ridgeline").from("automation_skipped_sends").select()))
      .toEqual([]);
  });
});

// A lead who left a landline: Twilio refuses the text at once, the office sees it, and no further text is tried
// until one comes from that number.
import { beforeAll, describe, expect, it } from "vitest";
import { got, newPhone, Office, useStack } from "./support.ts";

const stage = useStack();
let office: Office;
beforeAll(async () => {
  office = await Office.open(stage());
  await office.workflow({
    steps: [
      { step_type: "send_sms", step_config: { body: "Thanks for asking, {{contact.first_name}}" } },
      { step_type: "create_task", step_config: { title: "Call {{contact.phone}}" } },
    ],
  });
  await office.workflow({
    name: "Go on regardless",
    trigger_type: "stage_changed",
    steps: [
      { step_type: "send_sms", step_config: { body: "Any questions?" } },
      { step_type: "create_task", step_config: { title: "Ring {{contact.phone}}" } },
    ],
  });
});

const failures = async (contact: string) =>
  got(
    await office.client.schema("ridgeline").from("automation_failures").select(
      "workflow_name, step_key, code, message",
    )
      .eq("contact_id", contact),
  );
const tasks = async () =>
  got(await office.client.from("tasks").select("title")).map(({ title }) => title);
/** Looked for here: the embedded REST reads eq.+1415... as a number. */
const suppressions = async (phone: string) =>
  got(
    await office.client.schema("ridgeline").from("suppressions").select("channel, address, reason"),
  )
    .filter(({ address }) => address === phone)
    .map(({ channel, reason }) => ({ channel, reason }));

describe.each([[21614], [30006]])("a number that Twilio calls a landline (%i)", (code) => {
  it("is texted once, and is a failure that the office sees", async () => {
    const phone = newPhone();
    stage().twilio.fault({ kind: "status", status: 400, code, match: { to: phone }, times: null });
    const maria = await office.lead({ phone });
    await office.quiet();
    const asked = () =>
      stage().twilio.requests().filter(({ method, body }) =>
        method === "POST" && new URLSearchParams(body).get("To") === phone
      ).length;
    expect([asked(), office.texts(phone)]).toEqual([1, []]);
    expect(await failures(maria)).toMatchObject([{
      workflow_name: "Greet",
      step_key: "step_1",
      code: `twilio_${code}`,
    }]);
    expect(await suppressions(phone)).toEqual([{ channel: "sms", reason: "landline" }]);
    // The run ended there: its author had not said to go on.
    expect(await tasks()).not.toContain(`Call ${phone}`);

    // Whatever comes later does not try again, and goes on without the text.
    got(
      await office.client.from("contacts").update({ stage: "quoted" }).eq("id", maria).select("id"),
    );
    await office.quiet();
    expect(asked()).toBe(1);
    expect(await tasks()).toContain(`Ring ${phone}`);
    expect(await failures(maria)).toEqual(expect.arrayContaining([
      expect.objectContaining({
        workflow_name: "Go on regardless",
        code: "not_textable",
        message: "to: the number is a landline, no text reaches it",
      }),
    ]));

    // Who texts has a telephone that texts.
    stage().twilio.reset();
    await stage().sql`
      insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body, provider, provider_id)
      values (${office.tenantId}, ${maria}, 'inbound', ${phone}, 'Hi', 'twilio', ${`SM${maria}`})`;
    expect(await suppressions(phone)).toEqual([]);
    got(await office.client.from("contacts").update({ stage: "new" }).eq("id", maria).select("id"));
    await office.quiet();
    expect(office.texts(phone)).toEqual(["Any questions?"]);
  });
});

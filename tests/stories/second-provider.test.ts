// Two offices on one installation, each with a provider of its own: a row of senders says which.
import { afterAll, describe, expect, it } from "vitest";
import {
  signedByTelnyx,
  startTelnyx,
  telnyxFinalized,
  type TelnyxKeys,
  telnyxKeys,
  telnyxReceived,
  type TelnyxStandIn,
} from "../../scripts/standins/telnyx.ts";
import { got, newPhone, Office, useStack, type Workflow } from "./support.ts";

let telnyx: TelnyxStandIn;
const KEY = "KEY0123_apex";
const stage = useStack(async () => {
  telnyx = await startTelnyx({ apiKeys: [KEY] });
  return {
    environment: { TELNYX_BASE_URL: telnyx.url, TELNYX_PUBLIC_KEY: telnyx.keys.publicKey },
  };
});
afterAll(() => telnyx?.stop());

let numbers = 5_550_500;

const greeting: Workflow = {
  steps: [{ step_type: "send_sms", step_config: { body: "Hello {{contact.first_name}}" } }],
};

/** An office whose texts go through this provider; with Telnyx through an account of its own. */
async function open(provider: "telnyx" | "twilio", workflow = greeting) {
  const office = await Office.open(stage());
  const keys = telnyxKeys();
  if (provider === "telnyx") {
    const { error } = await office.client.schema("ridgeline").rpc("set_secret", {
      name: "telnyx",
      value: JSON.stringify({ api_key: KEY, public_key: keys.publicKey }),
    });
    expect(error).toBeNull();
  }
  const address = await addNumber(office, provider, true);
  await office.workflow(workflow);
  return { office, address, keys };
}

async function addNumber(office: Office, provider: "telnyx" | "twilio", isDefault: boolean) {
  const address = `+1212${++numbers}`;
  got(
    await stage().service().schema("ridgeline").from("senders").insert({
      tenant_id: office.tenantId,
      channel: "sms",
      kind: "number",
      provider,
      address,
      is_default: isDefault,
      ...(provider === "telnyx" ? { credentials: "telnyx" } : {}),
    }).select("id"),
  );
  return address;
}

/** What Telnyx would post: to the office's own address, or to that of the environment's account. */
const call = (path: string, request: RequestInit) =>
  fetch(`${stage().stack.apiUrl}/functions/v1/${path}`, request);
const tell = async (
  event: unknown,
  { office, keys }: { office?: Office; keys: TelnyxKeys },
): Promise<unknown> => {
  const path = `sms-webhook/telnyx${office ? `/${office.tenantId}` : ""}`;
  const answer = await call(path, signedByTelnyx(keys, event));
  expect(answer.status).toBe(200);
  return (await answer.json()).result;
};

const textsTo = (phone: string) => [
  ...telnyx.messages().filter(({ to }) => to === phone).map(({ text }) => text),
  ...stage().twilio.messages().filter(({ to }) => to === phone).map(({ body }) => body),
];
const messagesOf = async (office: Office) =>
  got(
    await office.client.schema("ridgeline").from("messages")
      .select("contact_id, direction, body, status, error_code, provider, provider_id")
      .order("created_at"),
  );
const suppressionsOf = async (office: Office) =>
  got(await office.client.schema("ridgeline").from("suppressions").select("address, reason"));

const ended = (office: Office) =>
  expect.poll(async () => (await office.executions())[0]?.status, { timeout: 20_000 });

describe("an office whose sender is Telnyx's", () => {
  it("texts through it, with its own key, beside one that is Twilio's", async () => {
    const [apex, blue] = [await open("telnyx"), await open("twilio")];
    const [maria, jose] = [newPhone(), newPhone()];
    await apex.office.lead({ phone: maria });
    await blue.office.lead({ phone: jose });
    await ended(apex.office).toBe("completed");
    await ended(blue.office).toBe("completed");
    expect(telnyx.messages().filter(({ to }) => to === maria)).toMatchObject([
      { from: apex.address, text: "Hello Maria", parts: 1 },
    ]);
    expect(telnyx.messages().filter(({ to }) => to === jose)).toEqual([]);
    expect(stage().twilio.messages().filter(({ to }) => [maria, jose].includes(to))).toMatchObject([
      { to: jose, from: blue.address },
    ]);
    const said = await apex.office.client.schema("ridgeline").from("messages")
      .select("provider, provider_id, to_number");
    expect(said.data).toEqual([
      { provider: "telnyx", provider_id: telnyx.messages()[0]?.id, to_number: maria },
    ]);
  });

  it("sends nothing twice when an answer never comes: the list of what was sent is asked", async () => {
    const { office } = await open("telnyx");
    const phone = newPhone();
    telnyx.fault({ kind: "reset_after_accept", match: { to: phone } });
    await office.lead({ phone });
    await ended(office).toBe("completed");
    const accepted = telnyx.messages().filter(({ to }) => to === phone);
    expect(accepted).toHaveLength(1);
    const [step] = await office.steps();
    expect(step).toMatchObject({
      status: "completed",
      provider_id: accepted[0]?.id,
      result_data: { reconciled: true },
    });
  });

  it("tries again what was refused for now, and remembers who wants no texts", async () => {
    const { office } = await open("telnyx");
    const [later, never] = [newPhone(), newPhone()];
    telnyx.fault({ kind: "status", status: 429, code: 10011, match: { to: later } });
    await office.lead({ phone: later });
    await ended(office).toBe("completed");
    expect(telnyx.messages().filter(({ to }) => to === later)).toHaveLength(1);
    telnyx.fault({ kind: "status", status: 400, code: 40300, match: { to: never } });
    await office.lead({ phone: never });
    await expect.poll(
      async () =>
        (await office.client.schema("ridgeline").from("suppressions").select("address, channel"))
          .data,
      { timeout: 20_000 },
    ).toEqual([{ address: never, channel: "sms" }]);
    expect(telnyx.messages().filter(({ to }) => to === never)).toEqual([]);
  });

  it("hears what a customer answers, and the run ends", async () => {
    const { office, address, keys } = await open("telnyx", {
      settings: { exit_events: ["sms_received"] },
      steps: [
        { step_type: "send_sms", step_config: { body: "Hello {{contact.first_name}}" } },
        { step_type: "send_sms", step_config: { body: "Still there?" }, delay_minutes: 1440 },
      ],
    });
    const phone = newPhone();
    const maria = await office.lead({ phone });
    await expect.poll(() => textsTo(phone), { timeout: 20_000 }).toEqual(["Hello Maria"]);
    const event = telnyxReceived({
      from: phone,
      to: address,
      text: "Friday is fine",
      media: [{ url: "https://media.telnyx.example/roof.jpg", content_type: "image/jpeg" }],
    });
    expect(await tell(event, { office, keys })).toBe("stored");
    expect((await messagesOf(office)).at(-1)).toMatchObject({
      contact_id: maria,
      direction: "inbound",
      body: "Friday is fine",
      provider: "telnyx",
      provider_id: event.data.payload.id,
    });
    await ended(office).toBe("cancelled");
    expect((await office.executions())[0]).toMatchObject({ error: { code: "exit_event" } });
    await office.later("2 days");
    expect(textsTo(phone)).toEqual(["Hello Maria"]);
  });

  it("keeps what is delivered several times, and at once, as one message", async () => {
    const { office, address, keys } = await open("telnyx");
    const event = telnyxReceived({ from: newPhone(), to: address, text: "Can you come?" });
    const said = await Promise.all([1, 2, 3, 4].map(() => tell(event, { office, keys })));
    expect(said.sort()).toEqual(["duplicate", "duplicate", "duplicate", "stored"]);
    expect(await messagesOf(office)).toHaveLength(1);
  });

  it("sends no more to who said STOP to its number, with neither provider", async () => {
    const { office, address, keys } = await open("telnyx");
    await addNumber(office, "twilio", false);
    const phone = newPhone();
    await office.lead({ phone });
    await ended(office).toBe("completed");
    const event = telnyxReceived({
      from: phone,
      to: address,
      text: "Pls no more of these",
      autoresponse_type: "STOP",
    });
    expect(await tell(event, { office, keys })).toBe("stored");
    expect(await suppressionsOf(office)).toEqual([{ address: phone, reason: "opt_out" }]);
    await office.lead({ phone, first_name: "Maria again" });
    await office.quiet();
    for (const provider of ["telnyx", "twilio"]) {
      await stage().sql`
        update ridgeline.senders set is_default = ${provider === "twilio"}
        where tenant_id = ${office.tenantId} and provider = ${provider}`;
    }
    await office.lead({ phone, first_name: "And again" });
    await office.quiet();
    expect((await office.steps()).map(({ status }) => status).sort())
      .toEqual(["completed", "skipped", "skipped"]);
    expect(textsTo(phone)).toEqual(["Hello Maria"]);
  });

  it.each([
    [40300, "opted_out", "provider"],
    [40001, "landline", "landline"],
  ])("learns from a delivery that failed (%i) that it is %s", async (code, meaning, reason) => {
    const { office, keys } = await open("telnyx");
    const phone = newPhone();
    await office.lead({ phone });
    await ended(office).toBe("completed");
    const sent = telnyx.messages().find(({ to }) => to === phone)!;
    const event = telnyxFinalized(sent, "delivery_failed", code);
    expect(await tell(event, { office, keys })).toBe("updated");
    expect(await tell(event, { office, keys })).toBe("duplicate");
    expect(await suppressionsOf(office)).toEqual([{ address: phone, reason }]);
    expect((await messagesOf(office)).at(-1)).toMatchObject({
      status: "undelivered",
      error_code: String(code),
    });
    expect((await office.steps())[0]?.result_data).toMatchObject({
      delivery: { status: "undelivered", error_code: String(code), error_class: meaning },
    });
    await office.lead({ phone });
    await office.quiet();
    expect(textsTo(phone)).toEqual(["Hello Maria"]);
  });

  it("sends again the next day what a carrier took no more of that day", async () => {
    const { office, keys } = await open("telnyx");
    const phone = newPhone();
    await office.lead({ phone });
    await ended(office).toBe("completed");
    const sent = telnyx.messages().find(({ to }) => to === phone)!;
    expect(await tell(telnyxFinalized(sent, "delivery_failed", 40016), { office, keys }))
      .toBe("updated");
    expect(await suppressionsOf(office)).toEqual([]);
    await office.quiet();
    expect(textsTo(phone)).toEqual(["Hello Maria"]);
    await office.later("2 days");
    await expect.poll(() => textsTo(phone), { timeout: 20_000 })
      .toEqual(["Hello Maria", "Hello Maria"]);
  });

  it("is told what became of its texts by its own provider alone", async () => {
    const { office, keys } = await open("telnyx");
    const phone = newPhone();
    await office.lead({ phone });
    await ended(office).toBe("completed");
    const sent = telnyx.messages().find(({ to }) => to === phone)!;
    const [said] = await stage().sql`
      select automation.record_message_status(${
      stage().sql.json({
        provider: "twilio",
        message_sid: sent.id,
        status: "undelivered",
        error_code: "21610",
        error_class: "opted_out",
      })
    }) as result`;
    expect(said).toEqual({ result: "early" });
    expect(await suppressionsOf(office)).toEqual([]);
    expect(await messagesOf(office)).toMatchObject([{ status: "sent", error_code: null }]);
    expect((await office.steps())[0]?.result_data).not.toHaveProperty("delivery");
    // Which Telnyx may still say.
    expect(await tell(telnyxFinalized(sent, "delivered"), { office, keys })).toBe("updated");
    expect(await messagesOf(office)).toMatchObject([{ status: "delivered" }]);
  });

  it("has its texts from the environment's account as well, which speaks for everybody", async () => {
    const { office, address } = await open("telnyx");
    const event = telnyxReceived({ from: newPhone(), to: address, text: "Hello?" });
    expect(await tell(event, { keys: telnyx.keys })).toBe("stored");
    expect(await messagesOf(office)).toHaveLength(1);
  });

  it("cannot speak for another office, with its own account", async () => {
    const [apex, blue] = [await open("telnyx"), await open("telnyx")];
    const phone = newPhone();
    const event = telnyxReceived({ from: phone, to: blue.address, text: "STOP" });
    expect(await tell(event, apex)).toBe("unknown_number");
    const forged = await call(
      `sms-webhook/telnyx/${blue.office.tenantId}`,
      signedByTelnyx(apex.keys, event),
    );
    expect(forged.status).toBe(403);
    expect([await messagesOf(blue.office), await suppressionsOf(blue.office)]).toEqual([[], []]);
  });

  it("takes nothing that is forged or replayed, and does not read it", async () => {
    const { office, address, keys } = await open("telnyx");
    const own = `sms-webhook/telnyx/${office.tenantId}`;
    const event = telnyxReceived({ from: newPhone(), to: address, text: "STOP" });
    const good = signedByTelnyx(keys, event);
    const minutes = (by: number) => new Date(Date.now() + by * 60_000);
    const others = signedByTelnyx(telnyxKeys(), event);
    const unsigned = { method: "POST", body: good.body };
    const later = String(Number(good.headers["telnyx-timestamp"]) + 1);
    const calls: [string, string, RequestInit, number][] = [
      ["another's key", own, others, 403],
      ["another's key, to the environment", "sms-webhook/telnyx", others, 403],
      ["of an hour ago", own, signedByTelnyx(keys, event, { at: minutes(-60) }), 403],
      ["of six minutes ago", own, signedByTelnyx(keys, event, { at: minutes(-6) }), 403],
      ["of the future", own, signedByTelnyx(keys, event, { at: minutes(6) }), 403],
      ["with another time than was signed", own, {
        ...good,
        headers: { ...good.headers, "telnyx-timestamp": later },
      }, 403],
      ["one byte more", own, { ...good, body: `${good.body} ` }, 403],
      ["no signature", own, unsigned, 403],
      ["of an office that is none", `sms-webhook/telnyx/${crypto.randomUUID()}`, good, 403],
      ["no JSON, unsigned", own, { ...unsigned, body: "{" }, 403],
      ["no JSON, signed", own, signedByTelnyx(keys, null, { body: "{" }), 400],
      ["a body that is too long", own, { ...good, body: "x".repeat(70_000) }, 413],
      ["to a provider that nobody knows", "sms-webhook/pigeon", good, 404],
      ["to a word of JavaScript", "sms-webhook/constructor", good, 404],
      ["to no provider", "sms-webhook", good, 404],
      ["to no tenant", "sms-webhook/telnyx/apex", good, 404],
      ["with GET", own, {}, 405],
    ];
    const statuses = await Promise.all(
      calls.map(async ([name, path, request]) => [name, (await call(path, request)).status]),
    );
    expect(statuses).toEqual(calls.map(([name, , , status]) => [name, status]));
    expect([await messagesOf(office), await suppressionsOf(office)]).toEqual([[], []]);
    // What Telnyx may say beside, and what is none of ours.
    const other = { data: { event_type: "10dlc.campaign.update", payload: {} } };
    expect(await tell(other, { office, keys })).toBe("ignored");
  });

  it("is told which provider nobody knows", async () => {
    const { office } = await open("telnyx");
    await stage().sql`
      update ridgeline.senders set provider = 'pigeon' where tenant_id = ${office.tenantId}`;
    await office.lead({ phone: newPhone() });
    await ended(office).toBe("failed");
    expect((await office.steps())[0]?.error).toMatchObject({
      code: "invalid_payload",
      message: expect.stringMatching(/"pigeon" is none of telnyx, twilio/),
    });
  });
});

// Two offices on one installation, each with a provider of its own: a row of senders says which.
import { afterAll, describe, expect, it } from "vitest";
import { startTelnyx, type TelnyxStandIn } from "../../scripts/standins/telnyx.ts";
import { got, newPhone, Office, useStack } from "./support.ts";

let telnyx: TelnyxStandIn;
const KEY = "KEY0123_apex";
const stage = useStack(async () => {
  telnyx = await startTelnyx({ apiKeys: [KEY] });
  return { environment: { TELNYX_BASE_URL: telnyx.url } };
});
afterAll(() => telnyx?.stop());

let numbers = 5_550_500;

async function open(provider: "telnyx" | "twilio") {
  const office = await Office.open(stage());
  const address = `+1212${++numbers}`;
  if (provider === "telnyx") {
    const { error } = await office.client.schema("ridgeline").rpc("set_secret", {
      name: "telnyx",
      value: KEY,
    });
    expect(error).toBeNull();
  }
  got(
    await stage().service().schema("ridgeline").from("senders").insert({
      tenant_id: office.tenantId,
      channel: "sms",
      kind: "number",
      provider,
      address,
      is_default: true,
      ...(provider === "telnyx" ? { credentials: "telnyx" } : {}),
    }).select("id"),
  );
  await office.workflow({
    steps: [{ step_type: "send_sms", step_config: { body: "Hello {{contact.first_name}}" } }],
  });
  return { office, address };
}

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

  it("is told which provider nobody knows", async () => {
    const { office } = await open("telnyx");
    await stage().sql`
      update ridgeline.senders set provider = 'pigeon' where tenant_id = ${office.tenantId}`;
    await office.lead({ phone: newPhone() });
    await ended(office).toBe("failed");
    expect((await office.steps())[0]?.error).toMatchObject({
      code: "invalid_payload",
      message: expect.stringMatching(/"pigeon" is none of twilio, telnyx/),
    });
  });
});

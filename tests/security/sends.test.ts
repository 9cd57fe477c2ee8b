// Two tenants on one running stack: what leaves it is each one's own, in their name and with their secrets.
import { randomUUID } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, expect, it } from "vitest";
import { apiOf, caller } from "../api/support.ts";
import { got, newPhone, Office, useStack } from "../stories/support.ts";
import { type StandIn, startWebhookReceiver } from "../support/standins.ts";

let receiver: StandIn;
const stage = useStack(async () => {
  receiver = await startWebhookReceiver();
  return {};
});
afterAll(() => receiver?.stop());

let apex: Office;
let blue: Office;
beforeAll(async () => {
  apex = await Office.open(stage(), "Apex Roofing");
  blue = await Office.open(stage(), "Blue Ridge Solar");
});

const secretOf = (office: Office, name: string, value: string) =>
  office.client.schema("ridgeline").rpc("set_secret", { name, value }).then(({ error }) =>
    expect(error).toBeNull()
  );

it("signs each tenant's webhooks with its own secret, says whose they are, and hands out its own key", async () => {
  const signing = new Map<Office, string>();
  for (const [office, key] of [[apex, "apex-key"], [blue, "blue-key"]] as const) {
    signing.set(
      office,
      got(await office.client.schema("ridgeline").rpc("rotate_webhook_secret")) as string,
    );
    await secretOf(office, "crm", key);
    await office.workflow({
      steps: [{
        step_type: "webhook",
        step_config: {
          url: `${receiver.url}/orders`,
          headers: { authorization: { secret: "crm", prefix: "Bearer " } },
        },
      }],
    });
    await office.lead();
    await office.quiet();
  }
  expect(signing.get(apex)).not.toBe(signing.get(blue));
  const requests = receiver.requests().filter(({ path }) => path === "/orders");
  expect(requests).toHaveLength(2);
  for (
    const [office, other, key] of [[apex, blue, "apex-key"], [blue, apex, "blue-key"]] as const
  ) {
    const own = requests.filter(({ headers }) => headers["ridgeline-tenant"] === office.tenantId);
    expect(own).toHaveLength(1);
    const { headers, body } = own[0]!;
    expect(headers.authorization).toBe(`Bearer ${key}`);
    new Webhook(signing.get(office)!).verify(body, headers);
    expect(() => new Webhook(signing.get(other)!).verify(body, headers))
      .toThrow();
    expect(JSON.stringify(await office.steps())).not.toContain(key);
  }
});

it("calls the providers with the tenant's own account, and a neighbour's with theirs", async () => {
  const account = { account_sid: `AC${"b".repeat(32)}`, auth_token: "blue's own" };
  await secretOf(blue, "twilio", JSON.stringify(account));
  await secretOf(blue, "resend", "re_blue_own");
  await stage().sql`
    insert into ridgeline.senders (tenant_id, channel, address, credentials) values
      (${blue.tenantId}, 'sms', '+15125550161', 'twilio'),
      (${blue.tenantId}, 'email', 'office@blue.example', 'resend')`;
  const phones = new Map([[apex, newPhone()], [blue, newPhone()]]);
  for (const [office, phone] of phones) {
    await office.workflow({
      steps: [
        { step_type: "send_email", step_config: { subject: `To ${phone}`, text: "Hi" } },
        { step_type: "send_sms", step_config: { body: "Hi" } },
      ],
    });
    await office.lead({ phone, email: "maria@example.com" });
  }
  const textTo = (office: Office) =>
    stage().twilio.requests().find(({ method, body }) =>
      method === "POST" && new URLSearchParams(body).get("To") === phones.get(office)
    );
  await expect.poll(() => Boolean(textTo(apex) && textTo(blue)), { timeout: 20_000 }).toBe(true);

  const basic = `Basic ${btoa(`${account.account_sid}:${account.auth_token}`)}`;
  expect(textTo(blue)?.headers.authorization).toBe(basic);
  expect(textTo(blue)?.path).toContain(`/Accounts/${account.account_sid}/`);
  expect(new URLSearchParams(textTo(blue)?.body).get("From")).toBe("+15125550161");
  expect(textTo(apex)?.headers.authorization).not.toBe(basic);
  const mailOf = (office: Office) =>
    stage().resend.requests().find(({ body }) => body.includes(`To ${phones.get(office)}`));
  expect(mailOf(blue)?.headers.authorization).toBe("Bearer re_blue_own");
  expect(mailOf(blue)?.body).toContain("office@blue.example");
  expect(mailOf(apex)?.headers.authorization).not.toBe("Bearer re_blue_own");
});

it("an Idempotency-Key that one user uses in two tenants is two requests", async () => {
  const { data } = await apex.client.auth.getSession();
  const call = caller(apiOf(stage()), {
    token: data.session!.access_token,
    apikey: stage().stack.publishableKey,
  });
  await stage().sql`
    insert into tenant_members (tenant_id, user_id, role)
    values (${blue.tenantId}, ${data.session!.user.id}, 'member')`;
  const key = randomUUID();
  const answers = new Map<Office, string>();
  for (const office of [apex, blue]) {
    const workflow_id = await office.workflow({
      trigger_type: "manual",
      steps: [{ step_type: "create_task", step_config: { title: "Call" } }],
    });
    const request = {
      workflow_id,
      tenant_id: office.tenantId,
      trigger_data: { contact_id: await office.lead() },
    };
    const first = await call<{ executions: { tenant_id: string }[] }>("POST", "/execute", request, {
      key,
    });
    expect([first.status, first.headers.get("idempotency-replayed")]).toEqual([200, null]);
    expect(first.body.executions[0]?.tenant_id).toBe(office.tenantId);
    const again = await call("POST", "/execute", request, { key });
    expect(again.headers.get("idempotency-replayed")).toBe("true");
    answers.set(office, JSON.stringify(again.body));
  }
  expect(answers.get(apex)).not.toBe(answers.get(blue));
});

it("two owners who remove each other at once leave one", async () => {
  const { client, userId } = await stage().signUp();
  const { data } = await apex.client.auth.getUser();
  const first = data.user!.id;
  for (let round = 0; round < 5; round++) {
    await stage().sql`
      insert into tenant_members (tenant_id, user_id, role)
      values (${apex.tenantId}, ${first}, 'owner'), (${apex.tenantId}, ${userId}, 'owner')
      on conflict (tenant_id, user_id) do update set role = 'owner'`;
    const remove = (by: Office["client"], user: string) =>
      by.from("tenant_members").delete().eq("tenant_id", apex.tenantId).eq("user_id", user)
        .select();
    const demote = (by: Office["client"], user: string) =>
      by.from("tenant_members").update({ role: "member" }).eq("tenant_id", apex.tenantId)
        .eq("user_id", user).select();
    await Promise.all([
      round % 2 ? remove(apex.client, userId) : demote(apex.client, userId),
      round < 3 ? remove(client, first) : demote(client, first),
    ]);
    const owners = await stage().sql`
      select user_id from tenant_members where tenant_id = ${apex.tenantId} and role = 'owner'`;
    expect(owners).toHaveLength(1);
  }
});

// A webhook as its receiver sees it.
import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { afterAll, describe, expect, it } from "vitest";
import { type StandIn, startWebhookReceiver } from "../support/standins.ts";
import { Office, useStack } from "./support.ts";

const secret = `whsec_${randomBytes(32).toString("base64")}`;
const partnerSecret = `whsec_${randomBytes(32).toString("base64")}`;
let receiver: StandIn;
const stage = useStack(async () => {
  receiver = await startWebhookReceiver();
  return { environment: { WEBHOOK_SIGNING_SECRET: secret, WEBHOOK_SECRET_PARTNER: partnerSecret } };
});
afterAll(() => receiver?.stop());

describe("an outgoing webhook", () => {
  it("verifies with the standardwebhooks package and keeps its id over retries", async () => {
    const office = await Office.open(stage());
    await office.workflow({
      steps: [{
        step_type: "webhook",
        step_config: {
          url: `${receiver.url}/orders`,
          headers: { "x-office": "Apex", "x-lead": "{{trigger.contact.first_name}}" },
          body: { lead: "{{trigger.contact.first_name}}", score: "{{trigger.contact.lead_score}}" },
        },
      }],
    });
    receiver.fault(
      { kind: "status", status: 500, match: { path: "/orders" }, times: 2 },
      { kind: "reset_after_accept", match: { path: "/orders" } },
    );
    // Nobody reads a line break into a header of its own, or loses the webhook to one.
    await office.lead({ first_name: 'Zoë "Z" <O\'Hara>\r\nX-Admin: 1 🏠', lead_score: 7 });
    await expect.poll(async () => (await office.executions())[0]?.status, { timeout: 20_000 })
      .toBe("completed");

    const requests = receiver.requests().filter(({ path }) => path === "/orders");
    expect(requests).toHaveLength(4);
    for (const { headers, body } of requests) {
      expect(new Webhook(secret).verify(body, headers)).toEqual({
        lead: 'Zoë "Z" <O\'Hara>\r\nX-Admin: 1 🏠',
        score: 7,
      });
      expect(headers).not.toHaveProperty("x-admin");
      expect(Buffer.from(headers["x-lead"] ?? "", "latin1").toString())
        .toBe('Zoë "Z" <O\'Hara> X-Admin: 1 🏠');
      expect(() => new Webhook(partnerSecret).verify(body, headers)).toThrow();
      expect(() => new Webhook(secret).verify(body.replace("7", "8"), headers)).toThrow();
      expect(headers).toMatchObject({ "x-office": "Apex", "content-type": "application/json" });
    }
    const [step] = await office.steps();
    expect(new Set(requests.map(({ headers }) => headers["webhook-id"]))).toEqual(
      new Set([step?.id]),
    );
    expect(step).toMatchObject({
      status: "completed",
      attempts: ["retry", "retry", "retry", "succeeded"].map((outcome) =>
        expect.objectContaining({ outcome })
      ),
    });
  });

  it("is signed with the secret that its step names", async () => {
    const office = await Office.open(stage());
    await office.workflow({
      steps: [{
        step_type: "webhook",
        step_config: { url: `${receiver.url}/partner`, secret_name: "partner" },
      }],
    });
    const contact_id = await office.lead();
    await office.quiet();
    const [request] = receiver.requests().filter(({ path }) => path === "/partner");
    const event = new Webhook(partnerSecret).verify(request?.body ?? "", request?.headers ?? {});
    expect(event).toMatchObject({ type: "contact_created", data: { contact: { id: contact_id } } });
  });

  it.each([410, 404, 302])(
    "that is answered %i fails at once and is not repeated",
    async (status) => {
      const office = await Office.open(stage());
      await office.workflow({
        steps: [{ step_type: "webhook", step_config: { url: `${receiver.url}/gone-${status}` } }],
      });
      receiver.fault({ kind: "status", status, match: { path: `/gone-${status}` }, times: null });
      await office.lead();
      await office.quiet();
      expect(receiver.requests().filter(({ path }) => path === `/gone-${status}`)).toHaveLength(1);
      expect((await office.executions())[0]).toMatchObject({
        status: "failed",
        error: { http_status: status },
      });
    },
  );
});

// A webhook as its receiver sees it.
import { randomBytes } from "node:crypto";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { Webhook } from "standardwebhooks";
import { afterAll, describe, expect, it } from "vitest";
import { type StandIn, startWebhookReceiver } from "../support/standins.ts";
import { got, Office, useStack } from "./support.ts";

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

  it("that is told to come back later holds back what else would call that host", async () => {
    const office = await Office.open(stage());
    const call = (path: string) => ({
      step_type: "webhook",
      step_config: { url: `${receiver.url}${path}` },
    });
    await office.workflow({ steps: [call("/leads")] });
    await office.workflow({ trigger_type: "project_created", steps: [call("/projects")] });
    const requests = (path: string) => receiver.requests().filter((one) => one.path === path);
    receiver.fault({
      kind: "status",
      status: 429,
      headers: { "retry-after": "3" },
      match: { path: "/leads" },
    });
    const contact_id = await office.lead();
    await expect.poll(async () => (await office.steps())[0]?.status).toBe("waiting");
    got(
      await office.client.from("projects")
        .insert({ tenant_id: office.tenantId, contact_id, name: "Roof" }).select("id"),
    );
    await expect.poll(async () =>
      got(
        await office.client.schema("ridgeline").from("scheduled_steps")
          .select("attempt, code:held->>code").not("held", "is", null),
      )
    ).toEqual([{ attempt: 0, code: "receiver_busy" }]);
    expect(requests("/projects")).toHaveLength(0);
    await expect.poll(async () => (await office.executions()).map(({ status }) => status), {
      timeout: 20_000,
    }).toEqual(["completed", "completed"]);
    const [refused, ...again] = requests("/leads");
    const [project, ...more] = requests("/projects");
    expect([again.length, more.length]).toEqual([1, 0]);
    const wait = Date.parse(project?.at ?? "") - Date.parse(refused?.at ?? "");
    expect(wait).toBeGreaterThanOrEqual(2_900);
  });

  it("is answered, and later steps read the answer with every digit", async () => {
    const office = await Office.open(stage());
    const answering = http.createServer((_request, response) => {
      response.writeHead(201, { "content-type": "application/json", "x-request-id": "r-1" });
      response.end(
        '{"lead": {"id": 7615917337495251231, "name": "Zoë"}, "tags": ["roof", "hail"], "due": 1.10}',
      );
    });
    await new Promise<void>((listening) => answering.listen(0, "127.0.0.1", listening));
    try {
      await office.workflow({
        steps: [
          {
            step_type: "webhook",
            step_config: {
              url: `http://127.0.0.1:${(answering.address() as AddressInfo).port}/leads`,
            },
          },
          {
            step_type: "create_task",
            step_config: {
              title: "{{steps.step_1.body.lead.name}} is {{steps.step_1.body.lead.id}}, owes " +
                "{{steps.step_1.body.due}}: {{steps.step_1.body.tags | join: '+'}}",
              description: "{{steps.step_1.http_status}} {{steps.step_1.headers.x-request-id}} " +
                "{{steps.step_1.body.nothing | default: 'none'}}",
            },
            conditions: [{
              field: "steps.step_1.body.lead.name",
              operator: "equals",
              value: "Zoë",
            }],
          },
        ],
      });
      const contact_id = await office.lead();
      await office.quiet();
      const tasks = got(
        await office.client.from("tasks").select("title, description").eq("contact_id", contact_id),
      );
      expect(tasks).toEqual([{
        title: "Zoë is 7615917337495251231, owes 1.10: roof+hail",
        description: "201 r-1 none",
      }]);
    } finally {
      answering.close();
    }
  });

  it("carries what REST was given, to the last digit, and REST gives it back", async () => {
    const office = await Office.open(stage());
    await office.workflow({
      steps: [{
        step_type: "webhook",
        step_config: {
          url: `${receiver.url}/digits`,
          body: { id: "{{contact.custom_fields.id}}", whole: "{{contact.custom_fields}}" },
        },
      }],
    });
    const { apiUrl, secretKey } = stage().stack;
    const kept = '{"id": 7615917337495251231, "price": 1.10, "list": [0.1000000000000000055]}';
    const contacts = `${apiUrl}/rest/v1/contacts`;
    const headers = {
      apikey: secretKey,
      authorization: `Bearer ${secretKey}`,
      "content-type": "application/json",
      prefer: "return=representation",
    };
    const written = await fetch(contacts, {
      method: "POST",
      headers,
      body: `{"tenant_id": "${office.tenantId}", "first_name": "Ann", "custom_fields": ${kept}}`,
    });
    const said = await written.text();
    expect(written.status, said).toBe(201);
    const id = /"id":\s*"([0-9a-f-]{36})"/.exec(said)?.[1];
    const read = await fetch(`${contacts}?id=eq.${id}&select=custom_fields`, { headers });
    for (const text of [said, await read.text()]) {
      for (const digits of ["7615917337495251231", "1.10", "0.1000000000000000055"]) {
        expect(text).toContain(digits);
      }
    }
    await office.quiet();
    const [request] = receiver.requests().filter(({ path }) => path === "/digits");
    expect(request?.body).toMatch(/^\{"id":7615917337495251231,"whole":\{/);
    expect(request?.body).toMatch(/"price":1\.10[,}].*|"list":\[0\.1000000000000000055\]/);
  });
});

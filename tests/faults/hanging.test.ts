// Webhooks of one office that hang: another office's texts leave at once all the same, and so do its own webhooks.
import { afterAll, expect, it } from "vitest";
import { type StandIn, startWebhookReceiver } from "../support/standins.ts";
import { newPhone, Office, useStack } from "../stories/support.ts";

let receiver: StandIn;
const stage = useStack(async () => {
  receiver = await startWebhookReceiver();
  return {};
});
afterAll(() => receiver?.stop());

it("webhooks that hang hold up nobody else's sends", { timeout: 60_000 }, async () => {
  const blue = await Office.open(stage(), "Blue Roofing");
  const apex = await Office.open(stage(), "Apex Roofing");
  receiver.fault({ kind: "timeout_before_accept", match: { path: "/hangs" }, times: null });
  await blue.workflow({
    steps: [{ step_type: "webhook", step_config: { url: `${receiver.url}/hangs` } }],
  });
  await apex.workflow({
    steps: [
      { step_type: "send_sms", step_config: { body: "Thanks!" } },
      { step_type: "webhook", step_config: { url: `${receiver.url}/answers` } },
    ],
  });
  // More than the dispatcher has places for.
  await Promise.all(Array.from({ length: 60 }, () => blue.lead()));
  await expect.poll(() => receiver.requests().filter(({ path }) => path === "/hangs").length, {
    timeout: 20_000,
  }).toBeGreaterThan(0);
  const began = performance.now();
  const phone = newPhone();
  await apex.lead({ phone });
  await expect.poll(async () => (await apex.executions())[0]?.status, { timeout: 20_000 })
    .toBe("completed");
  const took = performance.now() - began;
  // Half of what a webhook may take: no place of theirs had to become free first.
  expect(took).toBeLessThan(5_000);
  expect(stage().twilio.messages().filter(({ to }) => to === phone)).toHaveLength(1);
  expect(receiver.requests().filter(({ path }) => path === "/answers")).toHaveLength(1);
  const hanging = (await blue.executions()).filter(({ status }) => status === "running");
  expect(hanging.length).toBeGreaterThan(0);
  console.log(`apex waited ${Math.round(took)} ms while ${hanging.length} of blue's hung`);
});

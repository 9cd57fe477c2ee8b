import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import { createSender } from "../../functions/_shared/channels/email/postmark/send.ts";
import type { SentMessage } from "../../functions/_shared/channels/sender.ts";
import { type PostmarkStandIn, startPostmark } from "../../scripts/standins/postmark.ts";
import { anEmail, aStep } from "./fakes.ts";

let postmark: PostmarkStandIn;
beforeAll(async () => {
  postmark = await startPostmark({ streams: ["outbound", "broadcast", "news"] });
});
beforeEach(() => postmark.reset());
afterAll(() => postmark.stop());

const through = (messageStream?: string) =>
  createSender({
    settings: () => ({
      serverToken: "token",
      baseUrl: postmark.url,
      from: "Acme <office@example.com>",
      ...(messageStream ? { messageStream } : {}),
    }),
  });
const emailStep = () => aStep({ step_type: "send_email", payload: anEmail });
const found = (step: ReturnType<typeof emailStep>, stream?: string): Promise<SentMessage | null> =>
  through(stream).reconciliation!.findSent(step, new Date(), [], AbortSignal.timeout(30_000));

test.each([
  ["broadcast", undefined],
  [undefined, "broadcast"],
  ["broadcast", "news"],
])("an email that went out in %s is found by who sends in %s today", async (before, today) => {
  const step = emailStep();
  await deliver(step, through(before));
  const [email] = postmark.emails();
  expect(email).toMatchObject({ stream: before ?? "outbound" });
  expect(await found(step, today)).toEqual({ provider_id: email!.id });
  expect(await found(emailStep(), today)).toBeNull();
});

test.each(["message-streams", "messages/outbound"])(
  "where %s cannot be asked nobody knows, and nothing counts as not sent",
  async (path) => {
    postmark.fault({ kind: "status", status: 500, match: { path } });
    await expect(found(emailStep())).rejects.toThrow("answered 500");
  },
);

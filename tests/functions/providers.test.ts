// Several providers of one channel: what may have been accepted is looked up as the one that sent it needs it.
import { expect, test } from "vitest";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import { byProvider } from "../../functions/_shared/channels/mod.ts";
import type { Sender } from "../../functions/_shared/channels/sender.ts";
import { anEmail, aStep, sent } from "./fakes.ts";

const DAY = 86_400_000;

/** What was asked of the providers, in order. */
function office() {
  const asked: string[] = [];
  const provider = (name: string, isNeeded?: (since: Date) => boolean): Sender => ({
    timeoutMs: 1_000,
    send: () => {
      asked.push(`${name} sends`);
      return Promise.resolve(sent);
    },
    ...(isNeeded
      ? {
        reconciliation: {
          isNeeded,
          findSent: () => {
            asked.push(`${name} looks`);
            return Promise.resolve({ provider_id: `${name}-1` });
          },
        },
      }
      : {}),
  });
  const channel = byProvider({
    keeper: provider("keeper", (since) => Date.now() - since.getTime() > DAY),
    keyless: provider("keyless", () => true),
    mute: provider("mute"),
  });
  const again = (named: string | null, agoMs: number) =>
    deliver(
      aStep({
        step_type: "send_email",
        payload: { ...anEmail, sender: named === null ? null : { provider: named } },
        reconcile_since: new Date(Date.now() - agoMs),
      }),
      channel,
    );
  return { asked, again };
}

test.each([
  ["keeper", 60_000, "keeper sends"],
  ["keeper", 2 * DAY, "keeper looks"],
  ["keyless", 60_000, "keyless looks"],
  ["mute", 2 * DAY, "mute sends"],
  [null, 60_000, "keeper sends"],
])("%s, after %i ms: %s", async (named, agoMs, deed) => {
  const { asked, again } = office();
  expect(await again(named, agoMs)).toMatchObject({ outcome: "succeeded" });
  expect(asked).toEqual([deed]);
});

test("one that nobody has is asked nothing", async () => {
  const { asked, again } = office();
  expect(await again("pigeon", 60_000)).toMatchObject({
    outcome: "failed",
    error: { code: "invalid_payload", message: expect.stringContaining("pigeon") },
  });
  expect(asked).toEqual([]);
});

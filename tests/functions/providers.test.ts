// Several providers of one channel: what may have been accepted is looked up as the one that sent it needs it, and the
// database knows none of them.
import fs from "node:fs";
import path from "node:path";
import { expect, test, vi } from "vitest";
import {
  bounces,
  classes as ofPostmark,
} from "../../functions/_shared/channels/email/postmark/codes.ts";
import { classes as ofResend } from "../../functions/_shared/channels/email/resend/codes.ts";
import { classes as ofTelnyx } from "../../functions/_shared/channels/sms/telnyx/codes.ts";
import { classes as ofTwilio } from "../../functions/_shared/channels/sms/twilio/codes.ts";
import {
  channels,
  providersOf,
  receiversSource,
  sendersSource,
} from "../../scripts/lib/providers.ts";
import { schemaFiles } from "../../scripts/lib/schema.ts";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import { byProvider, createSenders } from "../../functions/_shared/channels/mod.ts";
import { API_VERSION } from "../../functions/_shared/engine/version.ts";
import type { Database } from "../../functions/_shared/runtime/database.ts";
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

/** A database whose settings say who carries what the environment's senders say. */
const databaseOf = (providers: { sms: string; email: string }) =>
  (() =>
    Promise.resolve([{
      api: API_VERSION,
      version: "1",
      server: 17,
      ...providers,
    }])) as unknown as Database;

test.each(
  [
    ["sms", undefined, /^TWILIO_ACCOUNT_SID: /],
    ["sms", { sms: "telnyx", email: "resend" }, /^TELNYX_API_KEY: /],
    ["sms", { sms: "pigeon", email: "resend" }, /^the setting sms_provider: .* telnyx, twilio$/],
    ["email", undefined, /^RESEND_API_KEY: /],
    ["email", { sms: "twilio", email: "postmark" }, /^POSTMARK_SERVER_TOKEN: /],
    [
      "email",
      { sms: "twilio", email: "twilio" },
      /^the setting email_provider: .* postmark, resend/,
    ],
    // Settled when it was claimed first: what a dispatcher has read of the settings may be a minute old.
    [
      "email",
      { sms: "twilio", email: "resend" },
      /^POSTMARK_SERVER_TOKEN: /,
      { provider: "postmark" },
    ],
    [
      "sms",
      { sms: "twilio", email: "resend" },
      /^the setting sms_provider: .* telnyx, twilio$/,
      { provider: "pigeon" },
    ],
  ] as const,
)(
  "without a sender of the office, the setting says who carries it: %s, %o",
  async (channel, settings, says, sender: object | undefined = undefined) => {
    const step = channel === "sms"
      ? aStep({ step_type: "send_sms", payload: { to: "+15125550142", body: "Hi", sender } })
      : aStep({
        step_type: "send_email",
        payload: { ...anEmail, from: "office@apex.example", sender },
      });
    for (
      const one of [
        "TWILIO_ACCOUNT_SID",
        "TELNYX_API_KEY",
        "RESEND_API_KEY",
        "POSTMARK_SERVER_TOKEN",
      ]
    ) vi.stubEnv(one, undefined);
    try {
      const senders = createSenders(undefined, settings && databaseOf(settings));
      expect(await deliver(step, senders[channel])).toMatchObject({
        outcome: "retry",
        error: { code: "not_configured", message: expect.stringMatching(says) },
      });
    } finally {
      vi.unstubAllEnvs();
    }
  },
);

const root = path.resolve(import.meta.dirname, "../..");

/** What names a provider, and is data or what functions of the release before call. */
const allowed: [file: string, line: RegExp][] = [
  ["00_foundation/03_settings.sql", /^ {2}\('(sms|email)_provider', '\w+', |^ {3}'\{"twilio": \{/],
  // Of error_classes, in its second line.
  ["00_foundation/03_settings.sql", /^ {3}'"30027": "daily_limit"\}\}',$/],
  [
    "40_people/05_prices.sql",
    /^ {2}\('\w+ (sms|mms|email) [A-Z*]{1,2}', |^ {3}'\w+''s list price /,
  ],
  // One of Postgres's own codes is one of a provider's as well.
  ["45_queue/08_portions.sql", /^ {4}when state in \('55P03', '40P01', '40001'\) then /],
  [
    "90_inbound/02_inbound.sql",
    /\bautomation\.twilio_account\(|\btwilio_account\.(address|service)\b/,
  ],
];

test("no SQL of the engine names a provider, or knows one's codes", () => {
  const names = [...providersOf("sms", "send.ts"), ...providersOf("email", "send.ts"), "vonage"];
  // 10 is a code of Postmark's, and many another thing.
  const codes = [ofTwilio, ofTelnyx, ofPostmark, ofResend, bounces].flatMap(Object.keys)
    .filter((code) => code.length > 2);
  const naming = new RegExp(names.join("|"), "i");
  const coding = new RegExp(`["'](${codes.join("|")})["']`);
  expect(names).toEqual(expect.arrayContaining(["twilio", "telnyx", "resend", "postmark"]));
  const said = schemaFiles("engine").flatMap((file) =>
    fs.readFileSync(path.join(root, file), "utf8").split("\n")
      .filter((line) => naming.test(line) || coding.test(line))
      .map((line) => ({ file, line }))
  );
  const others = said.filter(({ file, line }) =>
    !allowed.some(([of, pattern]) => file.endsWith(of) && pattern.test(line))
  );
  expect(others).toEqual([]);
  expect(said.length).toBeGreaterThan(10);
});

test("every folder of a provider is in the lists of those who send and who tell", () => {
  const read = (name: string) =>
    fs.readFileSync(path.join(root, "functions/_shared/channels", name), "utf8");
  expect(read("providers.ts")).toBe(sendersSource());
  for (const channel of channels) {
    expect(read(`${channel}/receivers.ts`)).toBe(receiversSource(channel));
  }
});

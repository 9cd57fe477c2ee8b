import { describe, expect, test } from "vitest";
import {
  readDatabaseUrl,
  readDispatch,
  readRingKey,
  readSecretKeys,
  readWebhook,
} from "../../functions/_shared/runtime/env.ts";
import {
  parsePostmarkAccount,
  parsePostmarkPassword,
  readPostmark,
  readPostmarkPassword,
} from "../../functions/_shared/channels/email/postmark/settings.ts";
import {
  parseResendAccount,
  parseResendSigner,
  readResend,
} from "../../functions/_shared/channels/email/resend/settings.ts";
import {
  parseTelnyxAccount,
  parseTelnyxSigner,
  readTelnyxPublicKey,
} from "../../functions/_shared/channels/sms/telnyx/settings.ts";
import {
  parseTwilioAccount,
  readTwilio,
} from "../../functions/_shared/channels/sms/twilio/settings.ts";
import { statedAddress } from "../../functions/_shared/http/webhook-env.ts";

describe("the database address", () => {
  test("DATABASE_URL wins over what the platform sets", () => {
    const env = { DATABASE_URL: "postgres://a@b/c", SUPABASE_DB_URL: "postgres://d@e/f" };
    expect(readDatabaseUrl(env)).toBe("postgres://a@b/c");
    expect(readDatabaseUrl({ ...env, DATABASE_URL: " " })).toBe("postgres://d@e/f");
  });

  test("an error names the variable and the fix, never the value", () => {
    expect(() => readDatabaseUrl({})).toThrow(/^DATABASE_URL: set it to the Postgres address/);
    const secret = { SUPABASE_DB_URL: "mysql://root:hunter2@db" };
    expect(() => readDatabaseUrl(secret)).toThrow(/^SUPABASE_DB_URL: .*postgresql:\/\/$/);
    expect(() => readDatabaseUrl(secret)).not.toThrow(/hunter2/);
  });
});

describe("the secret keys", () => {
  test("every named key counts, the legacy key only without them", () => {
    const legacy = { SUPABASE_SERVICE_ROLE_KEY: "eyJ" };
    expect(readSecretKeys({ SUPABASE_SECRET_KEYS: '{"default":"a","cron":"b"}', ...legacy }))
      .toEqual(["a", "b"]);
    expect(readSecretKeys(legacy)).toEqual(["eyJ"]);
  });

  test.each(["sb_secret_plain", "{}", '{"default":""}', "[]", '{"default":1}'])(
    "%s is refused without being repeated",
    (value) => {
      const read = () => readSecretKeys({ SUPABASE_SECRET_KEYS: value });
      expect(read).toThrow(/^SUPABASE_SECRET_KEYS: set it to a JSON object/);
      expect(read).not.toThrow(/plain/);
    },
  );

  test("none at all is an error", () => {
    expect(() => readSecretKeys({})).toThrow(/^SUPABASE_SECRET_KEYS: /);
  });
});

test("the key that rings is none that opens anything else, and not to be guessed", () => {
  const keys = { SUPABASE_SECRET_KEYS: '{"default":"sb_secret_of_apex"}' };
  const read = (key?: string) =>
    readRingKey({ ...keys, ...(key === undefined ? {} : { DISPATCH_RING_KEY: key }) });
  expect(read()).toBeUndefined();
  expect(read(" ")).toBeUndefined();
  expect(read("0123456789abcdef")).toBe("0123456789abcdef");
  expect(() => read("ding")).toThrow(/^DISPATCH_RING_KEY: set it to at least 16/);
  expect(() => read("sb_secret_of_apex")).toThrow(/^DISPATCH_RING_KEY: set it to a key of its own/);
});

test("Twilio and Resend need their credentials, and base addresses are http", () => {
  const twilio = { TWILIO_ACCOUNT_SID: "AC1", TWILIO_AUTH_TOKEN: "t" };
  expect(readTwilio(twilio)).toEqual({
    accountSid: "AC1",
    authToken: "t",
    baseUrl: "https://api.twilio.com",
  });
  expect(readTwilio({ ...twilio, TWILIO_BASE_URL: "http://127.0.0.1:9/" }).baseUrl)
    .toBe("http://127.0.0.1:9");
  expect(() => readTwilio({ ...twilio, TWILIO_ACCOUNT_SID: "SK1" }))
    .toThrow(/^TWILIO_ACCOUNT_SID: .*starts with AC/);
  expect(() => readTwilio({ TWILIO_ACCOUNT_SID: "AC1" })).toThrow(/^TWILIO_AUTH_TOKEN: /);
  expect(() => readResend({})).toThrow(/^RESEND_API_KEY: /);
  expect(() => readResend({ RESEND_API_KEY: "re_1", RESEND_BASE_URL: "file:///etc" }))
    .toThrow(/^RESEND_BASE_URL: /);
});

test("a Twilio account is its SID and its token, as they were pasted", () => {
  const pasted = { account_sid: " AC1\n", auth_token: "hush\n" };
  expect(parseTwilioAccount(`${JSON.stringify(pasted)}\n`))
    .toEqual({ accountSid: "AC1", authToken: "hush" });
  for (const wrong of [{ ...pasted, account_sid: "SK1" }, { ...pasted, auth_token: " " }, "hush"]) {
    expect(() => parseTwilioAccount(JSON.stringify(wrong)))
      .toThrow(/^the secret of the sender: set it to/);
    expect(() => parseTwilioAccount(JSON.stringify(wrong))).not.toThrow(/hush/);
  }
});

test("a Telnyx account is its API key, with or without what it signs with", () => {
  const key = Buffer.alloc(32, 7).toString("base64");
  expect(parseTelnyxAccount("KEY0123_apex\n")).toEqual({ apiKey: "KEY0123_apex" });
  expect(parseTelnyxAccount(JSON.stringify({ api_key: " KEY1\n", public_key: `${key}\n` })))
    .toEqual({ apiKey: "KEY1", publicKey: key });
  for (const secret of ['{"api_key": "hush"', '{"public_key": "hush"}', "", "hush hush"]) {
    expect(() => parseTelnyxAccount(secret)).toThrow(/^the secret of the sender: set it to/);
    expect(() => parseTelnyxAccount(secret)).not.toThrow(/hush/);
  }
  expect(parseTelnyxSigner(JSON.stringify({ api_key: "KEY1", public_key: key }))).toBe(key);
  expect(() => parseTelnyxSigner("hush")).toThrow(/^the secret of the sender: add its public_key/);
  expect(readTelnyxPublicKey({ TELNYX_PUBLIC_KEY: key })).toBe(key);
  for (const wrong of [undefined, "no base64", Buffer.alloc(31).toString("base64")]) {
    expect(() => readTelnyxPublicKey({ TELNYX_PUBLIC_KEY: wrong })).toThrow(/^TELNYX_PUBLIC_KEY: /);
  }
});

test("an account for email is its key, with or without what it tells its news with", () => {
  const webhook_secret = `whsec_${"x".repeat(24)}`;
  // As it is pasted.
  expect(parseResendAccount("re_apex\n")).toEqual({ apiKey: "re_apex" });
  expect(
    parseResendSigner(
      JSON.stringify({ api_key: "re_apex ", webhook_secret: `${webhook_secret}\n` }),
    ),
  )
    .toEqual({ apiKey: "re_apex", webhookSecret: webhook_secret });
  expect(parsePostmarkAccount(" apex-token\n")).toEqual({ serverToken: "apex-token" });
  const own = { server_token: "apex-token", message_stream: "crm" };
  expect(readPostmark({}, parsePostmarkAccount(JSON.stringify(own)))).toEqual({
    serverToken: "apex-token",
    messageStream: "crm",
    baseUrl: "https://api.postmarkapp.com",
  });
  const password = "0123456789abcdef";
  expect(parsePostmarkPassword(JSON.stringify({ ...own, webhook_password: `${password}\n` })))
    .toBe(password);
  for (const parse of [parseResendAccount, parsePostmarkAccount]) {
    for (const secret of ['{"api_key": "hush"', '{"webhook_secret": "hush"}', "", "hush hush"]) {
      expect(() => parse(secret)).toThrow(/^the secret of the sender: set it to/);
      expect(() => parse(secret)).not.toThrow(/hush/);
    }
  }
  expect(() => parsePostmarkAccount(JSON.stringify({ ...own, webhook_password: "short" })))
    .toThrow(/16 characters/);
  expect(() => parseResendSigner("hush")).toThrow(
    /^the secret of the sender: add its webhook_secret/,
  );
  expect(() => parsePostmarkPassword("hush"))
    .toThrow(/^the secret of the sender: add its webhook_password/);
  expect(() => readPostmark({})).toThrow(/^POSTMARK_SERVER_TOKEN: /);
  // A tenant's own server has other streams than the environment's.
  expect(readPostmark({ POSTMARK_MESSAGE_STREAM: "all" }, { serverToken: "t" }))
    .not.toHaveProperty("messageStream");
  expect(readPostmarkPassword({ POSTMARK_WEBHOOK_PASSWORD: password })).toBe(password);
  for (const wrong of [undefined, "short"]) {
    expect(() => readPostmarkPassword({ POSTMARK_WEBHOOK_PASSWORD: wrong }))
      .toThrow(/^POSTMARK_WEBHOOK_PASSWORD: /);
  }
});

test("a webhook secret is found by its name", () => {
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const settings = readWebhook({
    WEBHOOK_SECRET_ZAP_HOOK: secret,
    WEBHOOK_SIGNING_SECRET: "short",
  });
  expect(settings.allowPrivate).toBe(false);
  expect(settings.secret("zap-hook")).toBe(secret);
  expect(() => settings.secret()).toThrow(/^WEBHOOK_SIGNING_SECRET: /);
  expect(() => settings.secret("crm")).toThrow(/^WEBHOOK_SECRET_CRM: /);
  expect(() => settings.secret("../PATH")).toThrow(/^secret_name: /);
  expect(() => readWebhook({ WEBHOOK_ALLOW_PRIVATE: "yes" })).toThrow(/^WEBHOOK_ALLOW_PRIVATE: /);
});

test("the dispatcher's figures have defaults and bounds", () => {
  expect(readDispatch({})).toMatchObject({ budgetMs: 50_000, concurrency: 10 });
  expect(readDispatch({})).not.toHaveProperty("providerTimeoutMs");
  expect(readDispatch({ DISPATCH_CONCURRENCY: "32" }).concurrency).toBe(32);
  expect(() => readDispatch({ DISPATCH_CONCURRENCY: "0" })).toThrow(/^DISPATCH_CONCURRENCY: /);
  expect(() => readDispatch({ DISPATCH_BUDGET_MS: "1e9" })).toThrow(/380000/);
});

test("an address that is not stated, or stated wrongly, is none", () => {
  expect(statedAddress({})).toBeUndefined();
  expect(statedAddress({ PUBLIC_URL: " " })).toBeUndefined();
  expect(statedAddress({ PUBLIC_URL: "ftp://roof.example" })).toBeUndefined();
  expect(statedAddress({ SUPABASE_URL: "https://roof.example/" }))
    .toBe("https://roof.example/functions/v1");
});

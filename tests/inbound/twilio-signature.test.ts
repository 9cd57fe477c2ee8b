// Only what Twilio signed gets through, under whichever of its names Twilio knows the address.
import { describe, expect, it } from "vitest";
import { readPublicAddress } from "../../functions/_shared/http/webhook-env.ts";
import { createReceiver } from "../../functions/_shared/channels/sms/twilio/receive.ts";
import { createHandler } from "../../functions/sms-webhook/handler.ts";
import {
  AUTH_TOKEN,
  type Fields,
  formOf,
  newSid,
  signedForm,
  signedJson,
  TWILIO_URL,
} from "./support.ts";

const text = (changes: Fields = {}): Fields => ({
  MessageSid: newSid(),
  From: "+15125550100",
  To: "+15125550199",
  Body: "Is it 5 o'clock? ünïcode & more=1",
  NumMedia: "0",
  ...changes,
});

function setUp(env: Record<string, string> = { PUBLIC_URL: "https://apex.supabase.example" }) {
  const recorded: unknown[] = [];
  const handler = createHandler({
    name: "twilio-webhook",
    provider: "twilio",
    receivers: { twilio: createReceiver({ authToken: () => AUTH_TOKEN }) },
    findAccounts: () => () => Promise.resolve([]),
    address: () => readPublicAddress(env),
    record: () => (_provider, event) => {
      recorded.push(event);
      return Promise.resolve("stored");
    },
    log: () => {},
  });
  return { handler, recorded };
}

describe("a signed request", () => {
  it.each([
    ["the address as configured", {}],
    ["with the port that https has anyway", {
      url: "https://apex.supabase.example:443/functions/v1/twilio-webhook",
    }],
    ["with a query", {
      url: `${TWILIO_URL}?from=console&x=a%20b`,
      to: "http://edge.internal/twilio-webhook?from=console&x=a%20b",
    }],
    ["behind a prefix of the platform", {
      to: "http://edge.internal/functions/v1/twilio-webhook",
    }],
  ])("%s: is recorded and answered with empty TwiML", async (_name, options) => {
    const { handler, recorded } = setUp();
    const response = await handler(signedForm(text(), options));
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toContain("text/xml");
    expect(await response.text()).toContain("<Response></Response>");
    expect(recorded).toHaveLength(1);
  });

  it("may be JSON, whose digest is signed with the address", async () => {
    const { handler, recorded } = setUp();
    expect((await handler(signedJson(text()))).status).toBe(200);
    expect(recorded).toHaveLength(1);
  });

  it("may be JSON whose numbers have more digits than JavaScript keeps", async () => {
    const { handler, recorded } = setUp();
    const body = JSON.stringify(text({ Body: "@" })).replace('"@"', "7615917337495251231");
    expect((await handler(signedJson(body))).status).toBe(200);
    expect(recorded).toMatchObject([{ event: { body: "7615917337495251231" } }]);
  });

  it("may name a field more than once", async () => {
    const { handler, recorded } = setUp();
    expect((await handler(signedForm(text({ Tag: ["b", "a"] })))).status).toBe(200);
    expect(recorded).toHaveLength(1);
  });

  it("may come to a port of its own, signed with and without it", async () => {
    const { handler, recorded } = setUp({ PUBLIC_URL: "http://127.0.0.1:54321" });
    for (const host of ["127.0.0.1:54321", "127.0.0.1"]) {
      const url = `http://${host}/functions/v1/twilio-webhook`;
      expect((await handler(signedForm(text(), { url }))).status).toBe(200);
    }
    expect(recorded).toHaveLength(2);
  });

  it("is known by the forwarded address only where that is configured", async () => {
    const options = {
      url: "https://hooks.apex.example/functions/v1/twilio-webhook",
      headers: { "x-forwarded-host": "hooks.apex.example", "x-forwarded-proto": "https" },
    };
    expect((await setUp().handler(signedForm(text(), options))).status).toBe(403);
    const trusting = setUp({
      PUBLIC_URL: "https://apex.supabase.example",
      TRUST_FORWARDED_HEADERS: "true",
    });
    expect((await trusting.handler(signedForm(text(), options))).status).toBe(200);
  });
});

describe("a query is checked as it was signed, however it arrives:", () => {
  const SIGNED = "?name=O'Brien,+Ann&list=a,b&q=(x)*!~&quote=%22";
  const ARRIVALS = [
    SIGNED,
    SIGNED.replaceAll("'", "%27"),
    SIGNED.replaceAll(",", "%2C"),
    SIGNED.replaceAll("'", "%27").replaceAll(",", "%2c"),
    SIGNED.replaceAll("+", "%20"),
  ];
  const arrive = (query: string, signed: string) => {
    const request = signedForm(text(), { url: `${TWILIO_URL}${signed}` });
    // As a server hands it on, where nobody has written the address anew.
    const url = `http://edge.internal/twilio-webhook${query}`;
    return new Proxy(request, {
      get: (target, name) => {
        if (name === "url") return url;
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  };

  it.each<[string, string]>([
    ...ARRIVALS.map((query): [string, string] => [query, SIGNED]),
    ["?name=O%27Brien%2C+Ann", "?name=O'Brien,+Ann"],
    ["?name=O'Brien,+Ann", "?name=O%27Brien%2C%20Ann"],
    ["?phone=+15125550100", "?phone=%2B15125550100"],
    ["?phone=%2B15125550100", "?phone=+15125550100"],
    ["?a=%22x%22%3Cb%3E", '?a="x"<b>'],
    ["?a=", "?a="],
    ["?", "?"],
  ])("%s, signed as %s", async (query, signed) => {
    const { handler, recorded } = setUp();
    expect((await handler(arrive(query, signed))).status).toBe(200);
    expect(recorded).toHaveLength(1);
  });

  it("with an apostrophe that the platform's own Request wrote anew", async () => {
    const { handler } = setUp();
    const query = "?name=O'Brien,+Ann";
    const request = signedForm(text(), {
      url: `${TWILIO_URL}${query}`,
      to: `http://edge.internal/twilio-webhook${query}`,
    });
    expect(request.url).toContain("%27");
    expect((await handler(request)).status).toBe(200);
  });

  it("and is refused when it says something else", async () => {
    const { handler, recorded } = setUp();
    for (const query of ["?name=O'Brian", "?name=OBrien", "?name=O'Brien&x=1", ""]) {
      expect((await handler(arrive(query, "?name=O'Brien"))).status).toBe(403);
    }
    expect(recorded).toEqual([]);
  });

  it("at a port that a proxy tells of apart from its name", async () => {
    const options = {
      url: "https://hooks.apex.example:8443/functions/v1/twilio-webhook",
      headers: {
        "x-forwarded-host": "hooks.apex.example",
        "x-forwarded-proto": "https",
        "x-forwarded-port": "8443",
      },
    };
    const { handler } = setUp({ TRUST_FORWARDED_HEADERS: "true" });
    expect((await handler(signedForm(text(), options))).status).toBe(200);
  });
});

describe("refused with 403 before anything is looked at:", () => {
  const changed = (change: (request: Request, fields: Fields) => Request) => () => {
    const fields = text();
    return change(signedForm(fields), fields);
  };
  const withBody = (request: Request, body: BodyInit) =>
    new Request(request.url, { method: "POST", headers: request.headers, body });
  it.each<[string, () => Request]>([
    [
      "no signature",
      changed((request) => {
        request.headers.delete("x-twilio-signature");
        return request;
      }),
    ],
    ["another's token", () => signedForm(text(), { token: "another token" })],
    ["another address", () => signedForm(text(), { url: "https://evil.example/twilio-webhook" })],
    [
      "a field changed",
      changed((request, fields) => withBody(request, formOf({ ...fields, To: "+15125550777" }))),
    ],
    [
      "a field added",
      changed((request, fields) => withBody(request, formOf({ ...fields, OptOutType: "START" }))),
    ],
    [
      "a query added",
      changed((request, fields) =>
        new Request(`${request.url}?x=1`, {
          method: "POST",
          headers: request.headers,
          body: formOf(fields),
        })
      ),
    ],
    ["JSON changed", () => signedJson(text(), JSON.stringify(text()))],
    ["JSON without a digest", () =>
      new Request("http://edge.internal/twilio-webhook", {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "x-twilio-signature": signedForm({}).headers.get("x-twilio-signature")!,
        },
        body: JSON.stringify(text()),
      })],
    [
      "a form sent off as JSON",
      changed((request, fields) => {
        const headers = new Headers(request.headers);
        headers.set("content-type", "application/json");
        return new Request(request.url, { method: "POST", headers, body: JSON.stringify(fields) });
      }),
    ],
  ])("%s", async (_name, request) => {
    const { handler, recorded } = setUp();
    const response = await handler(request());
    expect(response.status).toBe(403);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect(recorded).toEqual([]);
  });
});

describe("other requests", () => {
  it("that are not POST are refused", async () => {
    expect((await setUp().handler(new Request(TWILIO_URL))).status).toBe(405);
  });

  it("that are too large are not read to their end", async () => {
    const { handler, recorded } = setUp();
    expect((await handler(signedForm(text({ Body: "x".repeat(70_000) })))).status).toBe(413);
    let pulled = 0;
    const endless = new ReadableStream<Uint8Array>({
      pull(controller) {
        pulled++;
        controller.enqueue(new Uint8Array(16_384));
      },
    });
    const response = await handler(
      new Request(TWILIO_URL, { method: "POST", body: endless, duplex: "half" } as RequestInit),
    );
    expect(response.status).toBe(413);
    expect(pulled).toBeLessThan(10);
    expect(recorded).toEqual([]);
  });

  it("that report nothing of ours are answered and dropped", async () => {
    const { handler, recorded } = setUp();
    for (const fields of [{ Hello: "there" }, text({ MessageSid: "not a sid" })]) {
      expect((await handler(signedForm(fields))).status).toBe(200);
    }
    expect(recorded).toEqual([]);
  });

  it("are refused as a whole while the configuration is incomplete, which is named", async () => {
    const response = await setUp({}).handler(signedForm(text()));
    expect(response.status).toBe(500);
    expect(await response.json()).toMatchObject({ code: "not_configured" });
  });

  it("get 503 while the database is away", async () => {
    const handler = createHandler({
      name: "twilio-webhook",
      provider: "twilio",
      receivers: { twilio: createReceiver({ authToken: () => AUTH_TOKEN }) },
      findAccounts: () => () => Promise.resolve([]),
      address: () => readPublicAddress({ PUBLIC_URL: "https://apex.supabase.example" }),
      record: () => () => Promise.reject(Object.assign(new Error("no"), { code: "ECONNREFUSED" })),
      log: () => {},
    });
    expect((await handler(signedForm(text()))).status).toBe(503);
  });
});

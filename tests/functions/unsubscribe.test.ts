// The way out of an email: what its headers and footer say, what a scanner may do with it, and what a person may.
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { deliver } from "../../functions/_shared/channels/deliver.ts";
import { createSender as createResendSender } from "../../functions/_shared/channels/email/resend/send.ts";
import { ConfigurationError } from "../../functions/_shared/runtime/errors.ts";
import { createHandler } from "../../functions/unsubscribe/handler.ts";
import { type ResendStandIn, startResend } from "../../scripts/standins/resend.ts";
import { aStep } from "./fakes.ts";

const token = "ab".repeat(32);
const base = "https://apex.supabase.example/functions/v1";
const url = `${base}/unsubscribe?token=${token}`;

describe("an email with a way out", () => {
  let resend: ResendStandIn;
  beforeAll(async () => {
    resend = await startResend({ port: 0, apiKey: "re_1" });
  });
  beforeEach(() => resend.reset());
  afterAll(() => resend.stop());

  async function sent(payload: object, functions: () => string | undefined = () => base) {
    const outcome = await deliver(
      aStep({
        step_type: "send_email",
        payload: { to: ["maria@example.com"], subject: "Offer", ...payload },
      }),
      createResendSender({
        settings: () => ({ apiKey: "re_1", baseUrl: resend.url, from: "office@apex.example" }),
        timeoutMs: 5_000,
        functions,
      }),
    );
    const request = resend.requests().find(({ method }) => method === "POST");
    return { outcome, email: request && JSON.parse(request.body) };
  }

  const unsubscribe = {
    token,
    name: "Lopez & Sons",
    address: "1 Main St, Austin TX",
    required: true,
  };

  it("has the headers that mail programs know, whatever the step wrote there", async () => {
    const { email } = await sent({
      html: "<p>Hi</p>",
      headers: { "list-unsubscribe": "<https://evil.example>", "X-Campaign": "spring" },
      unsubscribe,
    });
    expect(email.headers).toEqual({
      "X-Campaign": "spring",
      "List-Unsubscribe": `<${url}>`,
      "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    });
  });

  it("says whose it is and where they are, in both of its forms", async () => {
    const { email } = await sent({
      html: "<html><body><p>Hi</p></body></html>",
      text: "Hi",
      unsubscribe,
    });
    expect(email.html).toContain("Lopez &amp; Sons, 1 Main St, Austin TX");
    expect(email.html).toMatch(/Unsubscribe<\/a><\/p><\/body><\/html>$/);
    expect(email.text).toBe(
      `Hi\n\n-- \nLopez & Sons, 1 Main St, Austin TX\nUnsubscribe: ${url}\n`,
    );
  });

  it("has its link where the template wants it, and no footer besides", async () => {
    const { email } = await sent({
      html: '<p>Hi</p><a href="{unsubscribe_url}">No more</a>',
      text: "No more: {unsubscribe_url}",
      unsubscribe,
    });
    expect(email.html).toBe(`<p>Hi</p><a href="${url}">No more</a>`);
    expect(email.text).toBe(`No more: ${url}`);
  });

  it("leads where the first attempt led, whichever process repeats it", async () => {
    const first = "https://first.example/functions/v1";
    const { email } = await sent({ text: "Hi", unsubscribe: { ...unsubscribe, functions: first } });
    expect(email.headers["List-Unsubscribe"]).toBe(`<${first}/unsubscribe?token=${token}>`);
  });

  it("is not sent without one: marketing waits for whoever says where the functions are", async () => {
    const nowhere = () => {
      throw new ConfigurationError("PUBLIC_URL", "set it");
    };
    const { outcome, email } = await sent({ text: "Hi", unsubscribe }, nowhere);
    expect(email).toBeUndefined();
    expect(outcome).toMatchObject({ error: { message: expect.stringContaining("PUBLIC_URL") } });
    const unsaid = await sent(
      { text: "Hi", unsubscribe: { ...unsubscribe, required: false } },
      nowhere,
    );
    expect(unsaid.email).toMatchObject({ text: "Hi" });
    expect(unsaid.email.headers).toBeUndefined();
  });

  it("a receipt is sent as it is", async () => {
    const { email } = await sent({ text: "Hi" });
    expect(email.text).toBe("Hi");
    expect(email.headers).toBeUndefined();
  });
});

describe("functions/unsubscribe", () => {
  function setUp(page: string | undefined = "https://apex.example/unsubscribe.html") {
    const posted: [string, string][] = [];
    const handler = createHandler({
      unsubscribe: () => (given, purpose) => {
        posted.push([given, purpose]);
        return Promise.resolve();
      },
      page: () => page,
      address: () => `${base}/unsubscribe`,
      log: () => {},
    });
    const call = (method: string, given = token, init: RequestInit = {}) =>
      handler(new Request(`${base}/unsubscribe?token=${given}`, { method, ...init }));
    return { call, posted };
  }
  const oneClick = {
    headers: { "content-type": "application/x-www-form-urlencoded" },
    body: "List-Unsubscribe=One-Click",
  };

  it.each(["GET", "HEAD"])("%s has no effect: a scanner opens every link", async (method) => {
    const { call, posted } = setUp();
    const answer = await call(method);
    expect(answer.status).toBe(302);
    const location = new URL(answer.headers.get("location")!);
    expect(location.origin + location.pathname).toBe("https://apex.example/unsubscribe.html");
    expect(location.search).toBe("");
    expect(Object.fromEntries(new URLSearchParams(location.hash.slice(1)))).toEqual({
      token,
      post: `${base}/unsubscribe`,
    });
    expect(posted).toEqual([]);
  });

  it("GET without a page says what to do", async () => {
    const { call, posted } = setUp("");
    const answer = await call("GET");
    expect([302, 200]).toContain(answer.status);
    expect(posted).toEqual([]);
  });

  it("one click is answered with nothing: no redirect, no cookie, no body", async () => {
    const { call, posted } = setUp();
    const answer = await call("POST", token, oneClick);
    expect(answer.status).toBe(200);
    expect(await answer.text()).toBe("");
    expect(answer.headers.get("set-cookie")).toBeNull();
    expect(answer.headers.get("location")).toBeNull();
    expect(posted).toEqual([[token, "marketing"]]);
  });

  it("may come as multipart, as mail programs send it, or empty", async () => {
    const { call, posted } = setUp();
    const form = new FormData();
    form.set("List-Unsubscribe", "One-Click");
    await call("POST", token, { body: form });
    await call("POST");
    expect(posted).toEqual([[token, "marketing"], [token, "marketing"]]);
  });

  it("the page may ask for nothing at all", async () => {
    const { call, posted } = setUp();
    const answer = await call("POST", token, { body: new URLSearchParams({ purpose: "all" }) });
    expect(answer.headers.get("access-control-allow-origin")).toBe("*");
    expect(posted).toEqual([[token, "all"]]);
    expect((await call("OPTIONS")).status).toBe(204);
  });

  it.each(["", "x", token.toUpperCase(), `${token}0`, "../../admin"])(
    "a token that cannot be one (%s) gets the same answer",
    async (given) => {
      const { call, posted } = setUp();
      const answer = await call("POST", encodeURIComponent(given), oneClick);
      expect([answer.status, await answer.text()]).toEqual([200, ""]);
      expect(posted).toEqual([]);
    },
  );

  it("takes no other method, and no body without end", async () => {
    const { call, posted } = setUp();
    expect((await call("DELETE")).status).toBe(405);
    expect((await call("POST", token, { body: "x".repeat(20_000) })).status).toBe(413);
    expect(posted).toEqual([]);
  });
});

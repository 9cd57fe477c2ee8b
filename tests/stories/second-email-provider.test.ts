// Two offices on one installation, whose emails go through different providers: a row of senders says which. What became
// of them, and what comes in, is told at email-webhook/<provider>.
import { randomBytes, randomUUID } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { afterAll, describe, expect, it } from "vitest";
import {
  byPostmark,
  postmarkBounce,
  postmarkClick,
  postmarkComplaint,
  postmarkDelivery,
  type PostmarkEmail,
  postmarkInbound,
  postmarkOpen,
  type PostmarkStandIn,
  postmarkSubscription,
  startPostmark,
} from "../../scripts/standins/postmark.ts";
import { got, Office, useStack, type Workflow } from "./support.ts";

let postmark: PostmarkStandIn;
const TOKEN = "token-of-apex";
const TOKEN_OF_ENVIRONMENT = "token-of-the-environment";
const OF_ENVIRONMENT = "password-of-the-environment";
const stage = useStack(async () => {
  postmark = await startPostmark({ tokens: [TOKEN, TOKEN_OF_ENVIRONMENT] });
  return {
    environment: {
      POSTMARK_BASE_URL: postmark.url,
      POSTMARK_SERVER_TOKEN: TOKEN_OF_ENVIRONMENT,
      POSTMARK_WEBHOOK_PASSWORD: OF_ENVIRONMENT,
      RESEND_WEBHOOK_SECRET: `whsec_${randomBytes(24).toString("base64")}`,
    },
  };
});
afterAll(() => postmark?.stop());

type Provider = "postmark" | "resend";
const greeting: Workflow = {
  steps: [{
    step_type: "send_email",
    step_config: { subject: "Hello {{contact.first_name}}", html: "<p>Your roof</p>" },
  }],
};
const waiting: Workflow = {
  settings: { exit_events: ["email_received"] },
  steps: [
    ...greeting.steps,
    {
      step_type: "send_email",
      step_config: { subject: "Still there?", text: "?" },
      delay_minutes: 1440,
    },
  ],
};

interface Open {
  office: Office;
  /** What it writes from, and is written to at. */
  address: string;
  /** What its own account proves itself with. */
  password: string;
  signing: string;
}

/** An office with an account of its own at this provider. */
async function open(provider: Provider, workflow = greeting, more: object = {}): Promise<Open> {
  const office = await Office.open(stage());
  const password = randomBytes(12).toString("hex");
  const signing = `whsec_${randomBytes(24).toString("base64")}`;
  const account = provider === "postmark"
    ? { server_token: TOKEN, webhook_password: password, ...more }
    : { api_key: "re_apex", webhook_secret: signing };
  const { error } = await office.client.schema("ridgeline").rpc("set_secret", {
    name: provider,
    value: JSON.stringify(account),
  });
  expect(error).toBeNull();
  const address = `office@apex-${randomBytes(4).toString("hex")}.example`;
  const service = stage().service().schema("ridgeline");
  got(
    await service.from("senders").insert({
      tenant_id: office.tenantId,
      channel: "email",
      kind: "address",
      provider,
      address,
      is_default: true,
      credentials: provider,
    }).select("id"),
  );
  got(
    await service.from("email_addresses").insert({ tenant_id: office.tenantId, address })
      .select("address"),
  );
  await office.workflow(workflow);
  return { office, address, password, signing };
}

const call = (path: string, request: RequestInit) =>
  fetch(`${stage().stack.apiUrl}/functions/v1/${path}`, request);
const ownAddress = ({ office }: { office: Office }) => `email-webhook/postmark/${office.tenantId}`;

/** What Postmark would post: to the office's own address, or to that of the environment's account. */
async function tell(event: unknown, own?: Open): Promise<unknown> {
  const answer = await call(
    own ? ownAddress(own) : "email-webhook/postmark",
    byPostmark(own?.password ?? OF_ENVIRONMENT, event),
  );
  expect(answer.status).toBe(200);
  return (await answer.json()).result;
}

const newEmail = () => `maria-${randomBytes(4).toString("hex")}@example.com`;
const sentTo = (email: string) => postmark.emails().filter(({ to }) => to.includes(email));
const subjectsTo = (email: string) => sentTo(email).map(({ subject }) => subject);
const suppressionsOf = async ({ office }: Open) =>
  got(await office.client.schema("ridgeline").from("suppressions").select("address, reason"));
const emailsOf = async ({ office }: Open) =>
  got(
    await office.client.schema("ridgeline").from("emails")
      .select(
        "contact_id, direction, text, status, error_code, provider, provider_id, delivered_at, opened_at, clicked_at",
      )
      .order("created_at"),
  );
/** Or how it goes on. */
const ended = ({ office }: Open) =>
  expect.poll(async () => (await office.executions())[0]?.status, { timeout: 20_000 });

/** An email that the office has sent to a new lead, and a moment after it by the office's clock. */
async function sentBy(own: Open) {
  const to = newEmail();
  await own.office.lead({ email: to });
  await ended(own).toBe("completed");
  const email = sentTo(to)[0]!;
  const { created_at } = got(
    await own.office.client.schema("ridgeline").from("emails").select("created_at")
      .eq("provider_id", email.id).single(),
  );
  const after = (seconds: number) => new Date(Date.parse(created_at) + seconds * 1_000);
  return { to, email, after };
}

describe("an office whose sender of email is Postmark's", () => {
  it("writes through it, with its own token, beside one that is Resend's", async () => {
    const [apex, blue] = [await open("postmark"), await open("resend")];
    const [maria, jose] = [newEmail(), newEmail()];
    await apex.office.lead({ email: maria });
    await blue.office.lead({ email: jose });
    await ended(apex).toBe("completed");
    await ended(blue).toBe("completed");
    const [email, ...others] = sentTo(maria);
    expect(others).toEqual([]);
    expect(email).toMatchObject({
      from: expect.stringContaining(apex.address),
      subject: "Hello Maria",
      stream: "outbound",
      // A way out, for mail programs and for people.
      headers: {
        "List-Unsubscribe": expect.stringMatching(/^<http.*\/unsubscribe\?token=[0-9a-f]{64}>$/),
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
      },
      html: expect.stringMatching(/<p>Your roof<\/p>.*unsubscribe\?token=/s),
    });
    expect(sentTo(jose)).toEqual([]);
    const { emails } = stage().resend;
    expect(emails().map(({ to }) => to.join())).not.toContain(maria);
    expect(emails().find(({ to }) => to.includes(jose))?.from).toContain(blue.address);
    expect(await emailsOf(apex)).toMatchObject([{ provider: "postmark", provider_id: email!.id }]);
  });

  it.each([
    ["outbound", {}],
    ["broadcast", { message_stream: "broadcast" }],
  ])(
    "sends nothing twice when an answer never comes: the list of %s is asked",
    async (stream, account) => {
      const own = await open("postmark", greeting, account);
      const to = newEmail();
      postmark.fault({ kind: "reset_after_accept", match: { to } });
      await own.office.lead({ email: to });
      await ended(own).toBe("completed");
      expect(sentTo(to)).toMatchObject([{ stream }]);
      expect((await own.office.steps())[0]).toMatchObject({
        status: "completed",
        provider_id: sentTo(to)[0]!.id,
        result_data: { reconciled: true },
      });
    },
  );

  it("takes no other email of the same words to the same person for its own", async () => {
    const again = { ...greeting.steps[0]!, delay_minutes: 60 };
    const own = await open("postmark", { steps: [...greeting.steps, again] });
    const to = newEmail();
    await own.office.lead({ email: to });
    await ended(own).toBe("waiting");
    // Whether the second has gone nobody knows, for a while.
    postmark.fault({ kind: "status", status: 500, match: { to } });
    await own.office.later("1 hour");
    await ended(own).toBe("completed");
    expect(subjectsTo(to)).toEqual(["Hello Maria", "Hello Maria"]);
    const ids = (await own.office.steps()).map(({ provider_id }) => provider_id);
    expect(ids.toSorted()).toEqual(sentTo(to).map(({ id }) => id).toSorted());
  });

  it("tries again what was refused for now, and remembers to whom nothing goes", async () => {
    const own = await open("postmark");
    const [later, never] = [newEmail(), newEmail()];
    postmark.fault({ kind: "status", status: 429, match: { to: later } });
    await own.office.lead({ email: later });
    await ended(own).toBe("completed");
    expect(sentTo(later)).toHaveLength(1);
    postmark.deactivate(never);
    await own.office.lead({ email: never });
    await expect.poll(() => suppressionsOf(own), { timeout: 20_000 })
      .toEqual([{ address: never, reason: "provider" }]);
    expect(sentTo(never)).toEqual([]);
    await own.office.lead({ email: never });
    await own.office.quiet();
    expect((await own.office.steps()).map(({ status }) => status).toSorted())
      .toEqual(["completed", "failed", "skipped"]);
  });

  it("says nothing of either when it refuses an email to two, and the run goes on", async () => {
    const [one, two] = [newEmail(), newEmail()];
    const own = await open("postmark", {
      steps: [{
        step_type: "send_email",
        step_config: { subject: "Hello", text: "Both", to: [one, two], purpose: "transactional" },
      }],
    });
    for (const address of [one, two]) postmark.deactivate(address);
    await own.office.lead({ email: newEmail() });
    await ended(own).toBe("failed");
    expect((await own.office.steps())[0]).toMatchObject({
      status: "failed",
      error: { code: "postmark_406" },
    });
    expect(await suppressionsOf(own)).toEqual([]);
  });

  it("hears what a customer answers, with the attachments left out, and the run ends", async () => {
    const own = await open("postmark", waiting);
    const to = newEmail();
    const maria = await own.office.lead({ email: to });
    await ended(own).toBe("waiting");
    expect(subjectsTo(to)).toEqual(["Hello Maria"]);
    const away = postmarkInbound({
      from: to,
      to: own.address,
      subject: "Away",
      text: "I am on holiday",
      headers: { "Auto-Submitted": "auto-replied" },
    });
    expect(await tell(away, own)).toBe("stored");
    await own.office.quiet();
    expect((await own.office.executions())[0]?.status).toBe("waiting");
    const roof = { Name: "roof.jpg", Content: "A".repeat(1_000_000), ContentType: "image/jpeg" };
    const event = postmarkInbound({
      from: to,
      name: "Maria Lopez",
      // Copied to the office, which only the envelope says.
      to: "somebody@elsewhere.example",
      OriginalRecipient: own.address,
      subject: "Re: Hello Maria",
      html: "<p>Friday is fine</p>",
      Attachments: [roof],
    });
    expect(await tell(event, own)).toBe("stored");
    expect((await emailsOf(own)).at(-1)).toMatchObject({
      contact_id: maria,
      direction: "inbound",
      text: "Friday is fine",
      provider: "postmark",
      provider_id: event.MessageID,
    });
    await ended(own).toBe("cancelled");
    expect((await own.office.executions())[0]).toMatchObject({ error: { code: "exit_event" } });
    await own.office.later("2 days");
    expect(subjectsTo(to)).toEqual(["Hello Maria"]);
    // What happens in the days to come nobody would believe.
    await stage().sql`select automation.reset_clock()`;
  });

  it("writes no more to who answers that it should not", async () => {
    const own = await open("postmark");
    const from = newEmail();
    const event = postmarkInbound({ from, to: own.address, subject: "Unsubscribe" });
    expect(await tell(event, own)).toBe("stored");
    expect(await suppressionsOf(own)).toEqual([{ address: from, reason: "opt_out" }]);
  });

  it("keeps what is delivered several times, and at once, as one", async () => {
    const own = await open("postmark");
    const { email, after } = await sentBy(own);
    const events = [
      postmarkInbound({ from: newEmail(), to: own.address, subject: "Can you come?" }),
      postmarkDelivery(email, after(2)),
    ];
    for (const event of events) {
      const said = await Promise.all([1, 2, 3, 4].map(() => tell(event, own)));
      expect(said.sort()).toEqual(["duplicate", "duplicate", "duplicate", "stored"]);
    }
    expect(await emailsOf(own)).toHaveLength(2);
  });

  type News = (sent: PostmarkEmail, at: Date) => object;
  it.each<[string, News, string, string | null]>([
    ["bounced for good", (sent, at) => postmarkBounce(sent, "HardBounce", at), "bounced", "bounce"],
    [
      "is no address",
      (sent, at) => postmarkBounce(sent, "BadEmailAddress", at),
      "bounced",
      "bounce",
    ],
    ["complained", (sent, at) => postmarkComplaint(sent, at), "complained", "complaint"],
    [
      "is on the office's list at Postmark",
      (sent, at) => postmarkBounce(sent, "ManuallyDeactivated", at),
      "suppressed",
      "provider",
    ],
    [
      "was put on it by the office",
      (sent, at) => postmarkSubscription(sent, "ManualSuppression", at, { origin: "Customer" }),
      "suppressed",
      "provider",
    ],
    ["was full", (sent, at) => postmarkBounce(sent, "SoftBounce", at), "bounced", null],
    [
      "is slow to answer",
      (sent, at) => postmarkBounce(sent, "Transient", at),
      "delivery_delayed",
      null,
    ],
    ["has a type of next year", (sent, at) => postmarkBounce(sent, "Moon", at), "bounced", null],
  ])("learns that an address %s", async (_what, news, status, reason) => {
    const own = await open("postmark");
    const { to, email, after } = await sentBy(own);
    const event = news(email, after(5));
    expect(await tell(event, own)).toBe("stored");
    expect(await tell(event, own)).toBe("duplicate");
    expect(await suppressionsOf(own)).toEqual(reason === null ? [] : [{ address: to, reason }]);
    expect(await emailsOf(own)).toMatchObject([{ status }]);
    expect((await own.office.steps())[0]?.result_data).toMatchObject({ delivery: { status } });
    await own.office.lead({ email: to });
    await own.office.quiet();
    expect(sentTo(to)).toHaveLength(reason === null ? 2 : 1);
  });

  it.each<[string, (sent: PostmarkEmail, at: Date) => object]>([
    ["Postmark's own link", (sent, at) => postmarkSubscription(sent, "ManualSuppression", at)],
    ["an answer", (sent, at) => postmarkBounce(sent, "Unsubscribe", at)],
  ])("sends receipts and no more offers to who unsubscribes with %s", async (_what, news) => {
    const own = await open("postmark");
    const { to, email, after } = await sentBy(own);
    expect(await tell(postmarkDelivery(email, after(1)), own)).toBe("stored");
    expect(await tell(postmarkOpen(email, after(300)), own)).toBe("stored");
    const unsubscribed = news(email, after(360));
    expect(await tell(unsubscribed, own)).toBe("stored");
    expect(await tell(unsubscribed, own)).toBe("duplicate");
    expect(await suppressionsOf(own)).toEqual([{ address: to, reason: "opt_out" }]);
    expect(await emailsOf(own)).toMatchObject([{ status: "delivered" }]);
    expect((await own.office.steps())[0]?.result_data).toMatchObject({
      delivery: { status: "delivered" },
    });
    await own.office.workflow({
      steps: [{
        step_type: "send_email",
        step_config: { subject: "Receipt", text: "Paid", purpose: "transactional" },
      }],
    });
    await own.office.lead({ email: to });
    await own.office.quiet();
    expect(subjectsTo(to)).toEqual(["Hello Maria", "Receipt"]);
    // Refused where they left, which does not say why: it takes no more from them than they did.
    postmark.deactivate(to);
    await own.office.lead({ email: to });
    await own.office.quiet();
    expect(await own.office.steps()).toContainEqual(
      expect.objectContaining({ error: expect.objectContaining({ code: "postmark_406" }) }),
    );
    expect(await suppressionsOf(own)).toEqual([{ address: to, reason: "opt_out" }]);
  });

  it("counts what people open and click, and no machine", async () => {
    const own = await open("postmark");
    await own.office.workflow({
      trigger_type: "email_clicked",
      steps: [{ step_type: "create_task", step_config: { title: "Call: read the estimate" } }],
    });
    const { email, after } = await sentBy(own);
    const link = "https://apex.example/estimate";
    const tasks = async () => got(await own.office.client.from("tasks").select("title"));
    expect(await tell(postmarkDelivery(email, after(1)), own)).toBe("stored");
    expect(await tell(postmarkClick(email, link, after(3)), own)).toBe("stored");
    await own.office.quiet();
    expect(await tasks()).toEqual([]);
    expect(await emailsOf(own)).toMatchObject([{ opened_at: null, clicked_at: null }]);
    expect(await tell(postmarkOpen(email, after(300)), own)).toBe("stored");
    expect(await tell(postmarkClick(email, link, after(360)), own)).toBe("stored");
    await expect.poll(tasks, { timeout: 20_000 }).toHaveLength(1);
    const moment = (seconds: number) => after(seconds).getTime();
    const [row] = await emailsOf(own);
    expect([row!.delivered_at, row!.opened_at, row!.clicked_at].map((at) => Date.parse(at!)))
      .toEqual([moment(1), moment(300), moment(360)]);
  });

  it("is told what became of its emails by its own provider alone", async () => {
    const own = await open("postmark");
    const { email, after } = await sentBy(own);
    const [said] = await stage().sql`
      select automation.record_email_event(${randomUUID()}, ${
      stage().sql.json({
        provider: "resend",
        email_id: email.id,
        type: "complained",
        occurred_at: after(1).toISOString(),
      })
    }) as result`;
    expect(said).toEqual({ result: "early" });
    expect(await suppressionsOf(own)).toEqual([]);
    // Which Postmark may still say.
    expect(await tell(postmarkComplaint(email, after(1)), own)).toBe("stored");
  });

  it("has its emails from the environment's account as well, which speaks for everybody", async () => {
    const own = await open("postmark");
    const event = postmarkInbound({ from: newEmail(), to: own.address, subject: "Hello?" });
    expect(await tell(event)).toBe("stored");
    const { email, after } = await sentBy(own);
    expect(await tell(postmarkDelivery(email, after(1)))).toBe("stored");
    expect(await emailsOf(own)).toMatchObject([{ direction: "inbound" }, { status: "delivered" }]);
  });

  it("cannot speak for another office, with its own account", async () => {
    const [apex, blue] = [await open("postmark"), await open("postmark")];
    const { email, after } = await sentBy(blue);
    const complaint = postmarkComplaint(email, after(5));
    expect(await tell(complaint, apex)).toBe("unknown_message");
    // Nor of one that is sent later.
    const early = { ...complaint, MessageID: randomUUID() };
    expect(await tell(early, apex)).toBe("early");
    await stage().sql`
      insert into ridgeline.emails (tenant_id, to_address, subject, status, provider, provider_id)
      values (${blue.office.tenantId}, ${newEmail()}, 'Hi', 'sent', 'postmark', ${early.MessageID})`;
    const stop = postmarkInbound({ from: newEmail(), to: blue.address, subject: "Unsubscribe" });
    expect(await tell(stop, apex)).toBe("unknown_address");
    expect(await suppressionsOf(blue)).toEqual([]);
    expect(await emailsOf(blue)).toMatchObject([{ status: "sent" }, { status: "sent" }]);
    const forged = await call(ownAddress(blue), byPostmark(apex.password, complaint));
    expect(forged.status).toBe(401);
    // What it said before its time, blue's own account may say still.
    expect(await tell(complaint, blue)).toBe("stored");
    expect(await tell(stop, blue)).toBe("stored");
  });

  it("takes nothing from who has not the password, and does not read it", async () => {
    const own = await open("postmark");
    const path = ownAddress(own);
    const event = postmarkInbound({ from: newEmail(), to: own.address, subject: "Unsubscribe" });
    const good = byPostmark(own.password, event);
    const others = byPostmark(randomBytes(12).toString("hex"), event);
    const without = { method: "POST", body: good.body };
    const bearer = {
      ...good,
      headers: { ...good.headers, authorization: `Bearer ${own.password}` },
    };
    const calls: [string, string, RequestInit, number][] = [
      ["another's password", path, others, 401],
      ["another's password, to the environment", "email-webhook/postmark", good, 401],
      ["no password", path, without, 401],
      ["an empty password", path, byPostmark("", event), 401],
      ["another scheme", path, bearer, 401],
      ["of an office that is none", `email-webhook/postmark/${randomUUID()}`, good, 401],
      ["to another provider's address", `email-webhook/resend/${own.office.tenantId}`, good, 403],
      ["no JSON, without a password", path, { ...without, body: "{" }, 401],
      ["no JSON", path, byPostmark(own.password, null, { body: "{" }), 400],
      [
        "of a time that cannot be",
        path,
        byPostmark(own.password, {
          RecordType: "Delivery",
          MessageID: randomUUID(),
          DeliveredAt: "tomorrow",
        }),
        400,
      ],
      ["to a provider that nobody knows", "email-webhook/pigeon", good, 404],
      ["to one of texts", "email-webhook/twilio", good, 404],
      ["to a word of JavaScript", "email-webhook/constructor", good, 404],
      ["to no provider", "email-webhook", good, 404],
      ["to no tenant", "email-webhook/postmark/apex", good, 404],
      ["with GET", path, {}, 405],
    ];
    const statuses = await Promise.all(
      calls.map(async ([name, path, request]) => [name, (await call(path, request)).status]),
    );
    expect(statuses).toEqual(calls.map(([name, , , status]) => [name, status]));
    expect([await emailsOf(own), await suppressionsOf(own)]).toEqual([[], []]);
    // What Postmark may say beside, and what is none of ours.
    const { email, after } = await sentBy(own);
    for (
      const other of [
        { RecordType: "SMTPApiLimit", MessageID: randomUUID() },
        postmarkBounce(email, "AutoResponder", after(1)),
        postmarkSubscription(email, "HardBounce", after(1)),
        postmarkSubscription(email, "ManualSuppression", after(1), { suppress: false }),
        { ...postmarkSubscription(email, "ManualSuppression", after(1)), MessageID: null },
        [],
        null,
      ]
    ) expect(await tell(other, own)).toBe("ignored");
    expect(await suppressionsOf(own)).toEqual([]);
  });

  it("is told which provider nobody knows", async () => {
    const own = await open("postmark");
    await stage().sql`
      update ridgeline.senders set provider = 'pigeon' where tenant_id = ${own.office.tenantId}`;
    await own.office.lead({ email: newEmail() });
    await ended(own).toBe("failed");
    expect((await own.office.steps())[0]?.error).toMatchObject({
      code: "invalid_payload",
      message: expect.stringMatching(/"pigeon" is none of postmark, resend/),
    });
  });
});

describe("an office with an account of its own at Resend", () => {
  const signed = (
    secret: string,
    event: object,
    { id = `msg_${randomUUID()}`, at = new Date(), body = JSON.stringify(event) } = {},
  ): RequestInit & { headers: Record<string, string>; body: string } => ({
    method: "POST",
    headers: {
      "svix-id": id,
      "svix-timestamp": String(Math.floor(at.getTime() / 1000)),
      "svix-signature": new Webhook(secret).sign(id, at, body),
    },
    body,
  });
  const received = (to: string, email_id: string) => ({
    type: "email.received",
    created_at: new Date().toISOString(),
    data: { email_id, from: "Maria Lopez <maria@example.com>", to: [to], subject: "Tuesday?" },
  });

  it("hears it at an address of its own, and has the text with its own key", async () => {
    const own = await open("resend");
    const id = stage().resend.receive({ text: "Tuesday is fine" });
    const answer = await call(
      `email-webhook/resend/${own.office.tenantId}`,
      signed(own.signing, received(own.address, id)),
    );
    expect(await answer.json()).toEqual({ result: "stored" });
    expect(await emailsOf(own)).toMatchObject([{ text: "Tuesday is fine", provider: "resend" }]);
    expect(stage().resend.requests().find(({ path }) => path.includes(id))?.headers.authorization)
      .toBe("Bearer re_apex");
  });

  it("takes nothing that is forged, old or replayed", async () => {
    const [own, blue] = [await open("resend"), await open("resend")];
    const path = `email-webhook/resend/${own.office.tenantId}`;
    const event = received(own.address, randomUUID());
    const good = signed(own.signing, event);
    const minutes = (by: number) => new Date(Date.now() + by * 60_000);
    const { "svix-signature": _signature, ...unsigned } = good.headers;
    const calls: [string, string, RequestInit, number][] = [
      ["another's secret", path, signed(blue.signing, event), 403],
      ["its own, to the environment", "email-webhook/resend", good, 403],
      ["its own, to another", `email-webhook/resend/${blue.office.tenantId}`, good, 403],
      ["its own, to the address of before", "resend-webhook", good, 403],
      ["of six minutes ago", path, signed(own.signing, event, { at: minutes(-6) }), 403],
      ["of the future", path, signed(own.signing, event, { at: minutes(6) }), 403],
      ["one byte more", path, { ...good, body: `${good.body} ` }, 403],
      ["no signature", path, { ...good, headers: unsigned }, 403],
      ["no JSON, signed", path, signed(own.signing, {}, { body: "{" }), 400],
      ["too long", path, { ...good, body: "x".repeat(300_000) }, 413],
    ];
    const statuses = await Promise.all(
      calls.map(async ([name, path, request]) => [name, (await call(path, request)).status]),
    );
    expect(statuses).toEqual(calls.map(([name, , , status]) => [name, status]));
    expect(await emailsOf(own)).toEqual([]);
    const told = async () => (await (await call(path, good)).json()).result;
    expect([await told(), await told()]).toEqual(["stored", "duplicate"]);
    // The account of one office says nothing of another's, and uses up none of its events.
    const id = `msg_${randomUUID()}`;
    const theirs = received(blue.address, randomUUID());
    const said = async (own: Open, tenant = own.office.tenantId) =>
      (await (await call(
        `email-webhook/resend/${tenant}`,
        signed(own.signing, theirs, { id }),
      )).json()).result;
    expect([await said(own), await said(blue)]).toEqual(["unknown_address", "stored"]);
    // Nor does another spelling of whose it is make another event of it.
    expect(await said(own, own.office.tenantId.toUpperCase())).toBe("duplicate");
  });
});

it("what the environment's sender says is carried by whom the setting names, and recorded so", async () => {
  const carriedBy = async (provider: Provider) => {
    await stage()
      .sql`update automation.settings set value = ${provider} where name = 'email_provider'`;
    const office = await Office.open(stage());
    await office.workflow(greeting);
    const to = newEmail();
    await office.lead({ email: to });
    await office.quiet();
    const [row] = got(
      await office.client.schema("ridgeline").from("emails").select("provider, provider_id"),
    );
    return { row, to };
  };
  // From one email to the next, whatever a dispatcher has in mind.
  const before = await carriedBy("resend");
  expect(before.row).toMatchObject({ provider: "resend" });
  expect(sentTo(before.to)).toEqual([]);
  const { row, to } = await carriedBy("postmark");
  expect(row).toEqual({ provider: "postmark", provider_id: sentTo(to)[0]?.id });
  const request = postmark.requests().find(({ body }) => body.includes(to));
  expect(request?.headers["x-postmark-server-token"]).toBe(TOKEN_OF_ENVIRONMENT);
  await carriedBy("resend");
});

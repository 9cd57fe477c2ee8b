// What Resend reports about an email, and what of it was a person.
import { createHmac, randomUUID } from "node:crypto";
import { Resend } from "resend";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createReceiver } from "../../functions/_shared/channels/email/resend/receive.ts";
import { createHandler } from "../../functions/email-webhook/handler.ts";
import { asRole, useDatabase } from "../support/database.ts";
import {
  fired,
  type Functions,
  functionsOn,
  listen,
  listenWith,
  type Office,
  openOffice,
  SECRET,
  signedEvent,
} from "./support.ts";

const database = useDatabase();
let functions: Functions;
beforeAll(() => {
  functions = functionsOn(database());
});
afterAll(() => functions.close());

const CHROME = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome/129.0 Safari/537.36";
const minute = 60_000;

interface Sent {
  office: Office;
  id: string;
  emailId: string;
  to: string;
  /** When it was delivered. */
  at: number;
}

async function sent(): Promise<Sent> {
  const office = await openOffice(database().sql);
  const emailId = randomUUID();
  const to = `jo-${emailId.slice(0, 8)}@example.com`;
  const at = Date.now() - 60 * minute;
  await listen(database().sql, office.tenantId, "email_opened", "email_clicked");
  const [row] = await database().sql`
    insert into ridgeline.emails (tenant_id, to_address, subject, provider_id, created_at)
    values (${office.tenantId}, ${to}, 'Your estimate', ${emailId}, ${new Date(at - 2_000)})
    returning id`;
  return { office, id: row!.id, emailId, to, at };
}

function event(type: string, { emailId, to, at }: Sent, after = 0, data: object = {}) {
  const when = new Date(at + after).toISOString();
  return {
    type: `email.${type}`,
    created_at: when,
    data: { email_id: emailId, to: [to], ...data },
  };
}

const opened = (email: Sent, after: number, userAgent = CHROME) =>
  event("opened", email, after, { open: { userAgent } });

const clicked = (email: Sent, after: number, link = "https://apex.example/a", userAgent = CHROME) =>
  event("clicked", email, after, {
    click: { link, userAgent, timestamp: new Date(email.at + after).toISOString() },
  });

async function report(...events: object[]): Promise<string[]> {
  const results = [];
  for (const one of events) {
    const response = await functions.resend(signedEvent(one));
    expect(response.status).toBe(200);
    results.push((await response.json()).result);
  }
  return results;
}

async function state({ office, id }: Sent) {
  const [email] = await database().sql`
    select status, error_code, delivered_at, opened_at, clicked_at from ridgeline.emails
    where tenant_id = ${office.tenantId} and id = ${id}`;
  return email!;
}

const eventsOf = ({ office }: Sent) =>
  database().sql`
    select type, is_machine, machine_reason from ridgeline.email_events
    where tenant_id = ${office.tenantId} order by occurred_at, id`;
const suppressionsOf = ({ office }: Sent) =>
  database().sql`
    select address, reason from ridgeline.suppressions where tenant_id = ${office.tenantId} order by address`;
const firedBy = ({ office }: Sent) => fired(database().sql, office.tenantId);

describe("a signature", () => {
  const body = { type: "email.opened", created_at: new Date().toISOString(), data: {} };
  const counting = () => {
    const recorded: string[] = [];
    const handler = createHandler({
      name: "resend-webhook",
      provider: "resend",
      receivers: {
        resend: createReceiver({
          secret: () => SECRET,
          fetchContent: () => () => Promise.resolve(null),
          log: () => {},
        }),
      },
      findAccounts: () => () => Promise.resolve([]),
      record: () => (_provider, id) => {
        recorded.push(id);
        return Promise.resolve("stored");
      },
      log: () => {},
    });
    return { handler, recorded };
  };
  const real = { ...body, data: { email_id: "e1" } };
  const ago = (milliseconds: number) => new Date(Date.now() - milliseconds);

  it.each<[string, () => Request, number]>([
    ["good", () => signedEvent(real), 200],
    ["four minutes old", () => signedEvent(real, { at: ago(4 * minute) }), 200],
    ["six minutes old", () => signedEvent(real, { at: ago(6 * minute) }), 403],
    ["of the future", () => signedEvent(real, { at: ago(-6 * minute) }), 403],
    [
      "of another secret",
      () => signedEvent(real, { secret: `whsec_${btoa("x".repeat(24))}` }),
      403,
    ],
    ["of another body", () => signedEvent(real, { body: JSON.stringify(body) }), 403],
    [
      "missing",
      () => new Request("http://edge/resend-webhook", { method: "POST", body: "{}" }),
      403,
    ],
    ["of another event's id", () => {
      const request = signedEvent(real);
      request.headers.set("svix-id", "msg_other");
      return request;
    }, 403],
    ["made young again", () => {
      const request = signedEvent(real, { at: ago(60 * minute) });
      request.headers.set("svix-timestamp", String(Math.floor(Date.now() / 1000)));
      return request;
    }, 403],
    ["in the headers of the specification", () => {
      const at = new Date();
      const text = JSON.stringify(real);
      return new Request("http://edge/resend-webhook", {
        method: "POST",
        headers: {
          "webhook-id": "msg_1",
          "webhook-timestamp": String(Math.floor(at.getTime() / 1000)),
          "webhook-signature": `v1,AAAA ${new Webhook(SECRET).sign("msg_1", at, text)}`,
        },
        body: text,
      });
    }, 200],
  ])("%s: %#", async (_name, request, status) => {
    const { handler, recorded } = counting();
    const response = await handler(request());
    expect(response.status).toBe(status);
    expect(recorded).toHaveLength(status === 200 ? 1 : 0);
  });

  it("good here is good to Resend's own package, and tampered is tampered", async () => {
    const { webhooks } = new Resend("re_test");
    const request = signedEvent(real);
    const header = (name: string) => request.headers.get(`svix-${name}`)!;
    const headers = {
      id: header("id"),
      timestamp: header("timestamp"),
      signature: header("signature"),
    };
    const payload = await request.text();
    expect(webhooks.verify({ payload, headers, webhookSecret: SECRET })).toEqual(real);
    expect(() => webhooks.verify({ payload: `${payload} `, headers, webhookSecret: SECRET }))
      .toThrow();
  });

  it("does not make a body of any size welcome, nor a GET", async () => {
    const { handler, recorded } = counting();
    expect((await handler(signedEvent({ ...real, more: "x".repeat(300_000) }))).status).toBe(413);
    expect((await handler(new Request("http://edge/resend-webhook"))).status).toBe(405);
    expect(recorded).toEqual([]);
  });

  // What JavaScript, Postgres or nobody holds to be a date, and what cannot have happened.
  const absurd = [
    "+275760-09-13T00:00:00.000Z",
    "-271821-04-20T00:00:00.000Z",
    "+275761-01-01T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "-000001-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "1970-01-01T00:00:00Z",
    "1999-12-31T23:59:59Z",
    new Date(Date.now() + 48 * 60 * minute).toISOString(),
    "Infinity",
    "-infinity",
    "infinity",
    "now",
    "tomorrow",
    "epoch",
    "",
    " ",
    "2026-02-31T99:00:00Z",
    "NaN",
    null,
    undefined,
    0,
    -1,
    8.64e15,
    1e300,
    [],
    {},
    true,
    `2026-01-01T00:00:00.${"0".repeat(500)}Z`,
  ];
  it.each(absurd)(
    "of an event of %s is a caller's mistake, and keeps nothing",
    async (created_at) => {
      const { handler, recorded } = counting();
      for (const type of ["email.opened", "email.delivered", "email.received"]) {
        const response = await handler(signedEvent({ ...real, type, created_at }));
        expect(response.status).toBe(400);
        expect(await response.json()).toMatchObject({ code: "invalid_date" });
      }
      // Of an event that is not ours to keep nothing is looked at.
      expect((await handler(signedEvent({ ...real, type: "email.sent", created_at }))).status).toBe(
        200,
      );
      expect(recorded).toEqual([]);
    },
  );

  it.each(absurd.filter((at) => at !== undefined && at !== null && at !== ""))(
    "of a click or an open at %s likewise",
    async (timestamp) => {
      const { handler, recorded } = counting();
      const click = { link: "https://apex.example", timestamp };
      for (
        const [type, data] of [["clicked", { click }], ["opened", { open: { timestamp } }]] as const
      ) {
        const event = { ...real, type: `email.${type}`, data: { ...real.data, ...data } };
        expect((await handler(signedEvent(event))).status).toBe(400);
      }
      expect(recorded).toEqual([]);
    },
  );

  it.each([
    "8640000000000",
    "-1",
    "0",
    "Infinity",
    "NaN",
    "",
    "1e9",
    "999999999999",
    "9".repeat(400),
  ])(
    "at the time %s is none",
    async (timestamp) => {
      const { handler, recorded } = counting();
      const body = JSON.stringify(real);
      const key = Buffer.from(SECRET.slice("whsec_".length), "base64");
      const signature = createHmac("sha256", key).update(`msg_1.${timestamp}.${body}`).digest(
        "base64",
      );
      const headers = {
        "svix-id": "msg_1",
        "svix-timestamp": timestamp,
        "svix-signature": `v1,${signature}`,
      };
      const request = new Request("http://edge/resend-webhook", { method: "POST", headers, body });
      expect((await handler(request)).status).toBe(403);
      expect(recorded).toEqual([]);
    },
  );

  it("of an event that is not ours to keep is answered and dropped", async () => {
    const { handler, recorded } = counting();
    for (const type of ["email.sent", "contact.created"]) {
      expect((await handler(signedEvent({ ...real, type }))).status).toBe(200);
    }
    expect(recorded).toEqual([]);
  });
});

it("a call may tell several things, each once", async () => {
  const taken = new Set<string>();
  const told = [1, 2, 1].map((n) => ({
    id: `e${n}`,
    event: { email_id: `e${n}`, type: "delivered" as const, occurred_at: "2026-11-02T09:30:00Z" },
  }));
  const handler = createHandler({
    name: "email-webhook",
    receivers: { pigeon: { read: () => Promise.resolve({ events: told }) } },
    findAccounts: () => () => Promise.resolve([]),
    record: () => (_provider, id) => {
      const isNew = !taken.has(id);
      taken.add(id);
      return Promise.resolve(isNew ? "stored" : "duplicate");
    },
    log: () => {},
  });
  const answer = await handler(new Request("http://edge/email-webhook/pigeon", { method: "POST" }));
  expect(await answer.json()).toEqual({ result: ["stored", "stored", "duplicate"] });
});

it("a replay within the five minutes changes nothing", async () => {
  const email = await sent();
  const request = () => signedEvent(opened(email, 5 * minute), { id: `msg_${email.emailId}` });
  const answers = await Promise.all([1, 2, 3, 4].map(() => functions.resend(request())));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200]);
  const results = await Promise.all(answers.map(async (answer) => (await answer.json()).result));
  expect(results.sort()).toEqual(["duplicate", "duplicate", "duplicate", "stored"]);
  expect(await eventsOf(email)).toHaveLength(1);
  expect(await firedBy(email)).toEqual(["email_opened"]);
});

describe("delivery", () => {
  it("goes forward only, on the email", async () => {
    const email = await sent();
    await report(
      event("delivered", email),
      event("delivery_delayed", email, -minute),
    );
    expect(await state(email)).toMatchObject({
      status: "delivered",
      delivered_at: new Date(email.at),
    });
  });

  it("a hard bounce and a complaint stop the address", async () => {
    const bounced = await sent();
    await report(
      event("bounced", bounced, 0, { bounce: { type: "Permanent", subType: "General" } }),
      event("delivered", bounced),
    );
    expect(await state(bounced)).toMatchObject({ status: "bounced", error_code: "General" });
    expect(await suppressionsOf(bounced)).toEqual([{ address: bounced.to, reason: "bounce" }]);
    const complained = await sent();
    await report(event("delivered", complained), event("complained", complained, 60 * minute));
    expect(await state(complained)).toMatchObject({ status: "complained" });
    expect(await suppressionsOf(complained)).toEqual([
      { address: complained.to, reason: "complaint" },
    ]);
  });

  it("a full mailbox does not, nor a bounce of one among several", async () => {
    const full = await sent();
    await report(
      event("bounced", full, 0, { bounce: { type: "Transient", subType: "MailboxFull" } }),
    );
    expect(await suppressionsOf(full)).toEqual([]);
    const several = await sent();
    await report(event("bounced", several, 0, { to: [several.to, "b@example.com"] }));
    expect(await suppressionsOf(several)).toEqual([]);
  });

  it("may be told before the dispatcher has recorded that it sent anything", async () => {
    const email = await sent();
    await database().sql`delete from ridgeline.emails where id = ${email.id}`;
    expect(await report(opened(email, 5 * minute), event("delivered", email))).toEqual([
      "early",
      "early",
    ]);
    await database().sql`
      insert into ridgeline.emails (tenant_id, id, to_address, provider_id, created_at)
      values (${email.office.tenantId}, ${email.id}, ${email.to}, ${email.emailId},
        ${new Date(email.at)})`;
    expect(await state(email)).toMatchObject({ status: "delivered", opened_at: expect.any(Date) });
  });
});

it("a person who reads it before the dispatcher has recorded it is no machine for that", async () => {
  const email = await sent();
  await database().sql`delete from ridgeline.emails where id = ${email.id}`;
  await report(opened(email, 5 * minute), event("delivered", email));
  await database().sql`
    insert into ridgeline.emails (tenant_id, id, to_address, provider_id)
    values (${email.office.tenantId}, ${email.id}, ${email.to}, ${email.emailId})`;
  expect(await firedBy(email)).toEqual(["email_opened"]);
});

describe("a person", () => {
  it("opens and clicks: each fires once, however often", async () => {
    const email = await sent();
    await report(
      event("delivered", email),
      opened(email, 5 * minute),
      opened(email, 6 * minute),
      clicked(email, 6 * minute),
      clicked(email, 9 * minute),
      clicked(email, 10 * minute, "https://apex.example/b"),
    );
    expect(await state(email)).toMatchObject({
      opened_at: new Date(email.at + 5 * minute),
      clicked_at: new Date(email.at + 6 * minute),
    });
    expect(await firedBy(email)).toEqual(["email_opened", "email_clicked"]);
  });

  it("who clicks has opened", async () => {
    const email = await sent();
    await report(clicked(email, 5 * minute));
    expect((await firedBy(email)).sort()).toEqual(["email_clicked", "email_opened"]);
  });
});

describe("a machine", () => {
  it.each<[string, (email: Sent) => object, string]>([
    ["seconds after the delivery", (email) => opened(email, 3_000), "soon_after_delivery"],
    ["a click as quick", (email) => clicked(email, 3_000), "soon_after_delivery"],
    [
      "a scanner by its name",
      (email) => clicked(email, 5 * minute, "https://apex.example/a", "Barracuda Sentinel (EE)"),
      "known_agent",
    ],
    [
      "a program",
      (email) => clicked(email, 5 * minute, "https://apex.example/a", "python-requests/2.31"),
      "known_agent",
    ],
    ["Apple's prefetch", (email) => opened(email, 5 * minute, "Mozilla/5.0"), "known_agent"],
  ])("%s: is kept and fires nothing", async (_name, what, reason) => {
    const email = await sent();
    await report(event("delivered", email), what(email));
    expect(await state(email)).toMatchObject({ opened_at: null, clicked_at: null });
    expect((await eventsOf(email)).at(-1)).toMatchObject({
      is_machine: true,
      machine_reason: reason,
    });
    expect(await firedBy(email)).toEqual([]);
    // The customer who reads it later is still the first.
    await report(clicked(email, 30 * minute));
    expect((await firedBy(email)).sort()).toEqual(["email_clicked", "email_opened"]);
  });

  it("that follows every link at once: what the first click started is taken back", async () => {
    const email = await sent();
    await report(
      event("delivered", email),
      opened(email, 5 * minute),
      clicked(email, 6 * minute, "https://apex.example/a"),
      clicked(email, 6 * minute + 400, "https://apex.example/b"),
      clicked(email, 6 * minute + 900, "https://apex.example/c"),
    );
    expect(await state(email)).toMatchObject({ opened_at: expect.any(Date), clicked_at: null });
    expect(await firedBy(email)).toEqual(["email_opened"]);
    expect((await eventsOf(email)).map(({ machine_reason }) => machine_reason)).toEqual([
      null,
      null,
      "every_link_at_once",
      "every_link_at_once",
      "every_link_at_once",
    ]);
    await report(clicked(email, 30 * minute));
    expect(await firedBy(email)).toEqual(["email_opened", "email_clicked"]);
  });

  it("is found out when the news of the delivery comes after that of the click", async () => {
    const email = await sent();
    const delivered = 10 * minute;
    await report(clicked(email, delivered + 3_000));
    expect((await firedBy(email)).toSorted()).toEqual(["email_clicked", "email_opened"]);
    await report(event("delivered", email, delivered));
    expect(await state(email)).toMatchObject({ opened_at: null, clicked_at: null });
    expect(await firedBy(email)).toEqual([]);
    expect((await eventsOf(email)).map(({ machine_reason }) => machine_reason)).toEqual([
      null,
      "soon_after_delivery",
    ]);
    await report(opened(email, delivered + 5 * minute));
    expect(await firedBy(email)).toEqual(["email_opened"]);
  });

  it("is found out among people: who came later is the first then, and keeps what they started", async () => {
    const email = await sent();
    const delivered = 10 * minute;
    await report(
      clicked(email, delivered + 3_000),
      opened(email, delivered + 5 * minute),
      event("delivered", email, delivered),
    );
    expect(await state(email)).toMatchObject({
      opened_at: new Date(email.at + delivered + 5 * minute),
      clicked_at: null,
    });
    expect(await firedBy(email)).toEqual(["email_opened"]);
  });

  it("that follows both links of two: nothing is left of it", async () => {
    const email = await sent();
    await report(
      event("delivered", email),
      clicked(email, 6 * minute, "https://apex.example/a"),
      clicked(email, 6 * minute + 400, "https://apex.example/b"),
    );
    expect(await state(email)).toMatchObject({ clicked_at: null });
    expect(await firedBy(email)).toEqual(["email_opened"]);
  });

  it("starts a workflow that asks for events themselves", async () => {
    const email = await sent();
    await listen(database().sql, email.office.tenantId, "email_event_created");
    await report(opened(email, 3_000));
    expect(await firedBy(email)).toEqual(["email_event_created"]);
  });
});

describe("a workflow that asks for machines", () => {
  const asks = (
    email: Sent,
    type: string,
    conditions: { field: string; operator: string; value: string }[] = [],
  ) =>
    listenWith(database().sql, email.office.tenantId, type, { include_machine: true }, conditions);
  const runsOf = async (workflow: string) => {
    const rows = await database().sql`
      select status::text, trigger_data #>> '{email_event,machine_reason}' as reason
      from ridgeline.workflow_executions where workflow_id = ${workflow} order by id`;
    return rows.map(({ status, reason }) => `${status}${reason ? ` ${reason}` : ""}`);
  };

  it("is started by the first scanner's, and by the person's after it; the others by the person's", async () => {
    const email = await sent();
    const eager = await asks(email, "email_clicked");
    await report(
      event("delivered", email),
      clicked(email, 3_000),
      clicked(email, 5 * minute, "https://apex.example/b", "Barracuda Sentinel (EE)"),
    );
    expect(await runsOf(eager)).toEqual(["pending soon_after_delivery"]);
    expect(await state(email)).toMatchObject({ opened_at: null, clicked_at: null });
    expect(await firedBy(email)).toEqual(["email_clicked"]);
    await report(clicked(email, 30 * minute));
    expect(await runsOf(eager)).toEqual(["pending soon_after_delivery", "pending"]);
    expect((await firedBy(email)).toSorted()).toEqual([
      "email_clicked",
      "email_clicked",
      "email_clicked",
      "email_opened",
    ]);
  });

  it("may tell them apart by its conditions", async () => {
    const email = await sent();
    const apple = await asks(email, "email_opened", [
      { field: "email_event.machine_reason", operator: "equals", value: "known_agent" },
    ]);
    await report(event("delivered", email), opened(email, 3_000));
    expect(await runsOf(apple)).toEqual([]);
    const other = await sent();
    const prefetched = await asks(other, "email_opened", [
      { field: "email_event.machine_reason", operator: "equals", value: "known_agent" },
    ]);
    await report(event("delivered", other), opened(other, 5 * minute, "Mozilla/5.0"));
    expect(await runsOf(prefetched)).toEqual(["pending known_agent"]);
  });

  it("keeps its run when every link turns out to be clicked at once, and gets no second", async () => {
    const email = await sent();
    const eager = await asks(email, "email_clicked");
    await report(
      event("delivered", email),
      clicked(email, 6 * minute, "https://apex.example/a"),
      clicked(email, 6 * minute + 400, "https://apex.example/b"),
      clicked(email, 6 * minute + 900, "https://apex.example/c"),
    );
    expect(await runsOf(eager)).toEqual(["pending"]);
    expect((await firedBy(email)).toSorted()).toEqual(["email_clicked", "email_opened"]);
    await report(clicked(email, 30 * minute));
    expect(await runsOf(eager)).toEqual(["pending", "pending"]);
  });

  it("costs the others nothing: a scanner's click does not so much as touch the email", async () => {
    const email = await sent();
    await report(event("delivered", email));
    const version = async () =>
      (await database().sql`select xmin, ctid from ridgeline.emails where id = ${email.id}`)[0];
    const before = await version();
    await report(clicked(email, 3_000), opened(email, 4_000));
    expect(await version()).toEqual(before);
    expect(await firedBy(email)).toEqual([]);
  });

  it("says true or false, on emails alone", async () => {
    const email = await sent();
    const { sql } = database();
    const { tenantId } = email.office;
    await expect(listenWith(sql, tenantId, "email_opened", { include_machine: "yes" })).rejects
      .toThrow(/trigger_config\.include_machine/);
    await expect(listenWith(sql, tenantId, "sms_received", { include_machine: true })).rejects
      .toThrow(/include_machine/);
    const never = await listenWith(sql, tenantId, "email_opened", { include_machine: false });
    await report(opened(email, 3_000));
    expect(await runsOf(never)).toEqual([]);
  });
});

describe("an address that is not to be written to", () => {
  it.each<[string, string, object, string | null]>([
    ["on Resend's own list", "suppressed", { suppressed: { message: "on the list" } }, "provider"],
    [
      "that bounced for good, in another spelling",
      "bounced",
      { bounce: { type: "permanent" } },
      "bounce",
    ],
    [
      "of a full mailbox",
      "bounced",
      { bounce: { type: "Transient", subType: "MailboxFull" } },
      null,
    ],
    ["of nobody knows", "bounced", { bounce: { type: "Undetermined" } }, null],
    ["that failed on our side", "failed", { failed: { reason: "domain_not_verified" } }, null],
    ["whose owner complained", "complained", {}, "complaint"],
  ])("%s", async (_name, type, data, reason) => {
    const email = await sent();
    await report(event(type, email, 1_000, data));
    expect(await suppressionsOf(email)).toEqual(reason ? [{ address: email.to, reason }] : []);
    expect(await state(email)).toMatchObject({ status: type });
  });

  it("is not known when Resend suppressed one of several", async () => {
    const email = await sent();
    await report(event("suppressed", email, 0, { to: [email.to, "tom@example.com"] }));
    expect(await suppressionsOf(email)).toEqual([]);
  });
});

describe("an email that comes in", () => {
  const inbound = (to: string, changes: object = {}) => ({
    type: "email.received",
    created_at: new Date().toISOString(),
    data: {
      email_id: randomUUID(),
      created_at: new Date().toISOString(),
      from: "Maria Lopez <Maria@Example.com>",
      to: [to],
      bcc: [],
      cc: [],
      message_id: "<abc@mail.example.com>",
      subject: "Re: Your estimate",
      attachments: [{ id: randomUUID(), filename: "roof.jpg", content_type: "image/jpeg" }],
      ...changes,
    },
  });

  async function openMailbox(settings: object = {}) {
    const { sql } = database();
    const office = await openOffice(sql, settings);
    const domain = `apex-${randomUUID().slice(0, 8)}.example`;
    await sql`
      insert into ridgeline.email_addresses (tenant_id, address)
      values (${office.tenantId}, ${`Office@${domain.toUpperCase()}`}), (${office.tenantId}, ${`@in.${domain}`})`;
    await listen(sql, office.tenantId, "email_received");
    return { ...office, domain };
  }
  const emailsOf = ({ tenantId }: Office) =>
    database().sql`
      select contact_id, direction, from_address, to_address, subject, text, status from ridgeline.emails
      where tenant_id = ${tenantId} order by created_at`;
  const contact = async ({ tenantId }: Office, email: string) => {
    const [row] = await database().sql`
      insert into contacts (tenant_id, first_name, email) values (${tenantId}, 'Maria', ${email}) returning id`;
    return row!.id as string;
  };

  it("is kept for the contact that wrote it, and fires email_received, once", async () => {
    const office = await openMailbox();
    const maria = await contact(office, "MARIA@example.com");
    const email = inbound(`Apex Roofing <office@${office.domain}>`, { text: "Tuesday is fine" });
    const first = signedEvent(email, { id: "msg_1" + office.domain });
    expect(await (await functions.resend(first)).json()).toEqual({ result: "stored" });
    // Under another id of the event it is the same email.
    expect(await report(email)).toEqual(["duplicate"]);
    expect(await emailsOf(office)).toEqual([{
      contact_id: maria,
      direction: "inbound",
      from_address: "maria@example.com",
      to_address: `office@${office.domain}`,
      subject: "Re: Your estimate",
      text: "Tuesday is fine",
      status: "received",
    }]);
    expect(await fired(database().sql, office.tenantId)).toEqual(["email_received"]);
  });

  it("ends a run that exits on email_received, and wakes one that waits for it", async () => {
    const { sql } = database();
    const office = await openMailbox();
    const maria = await contact(office, "maria@example.com");
    const make = async (name: string, settings: object, steps: [string, object, number][]) => {
      const [row] = await sql`
        insert into ridgeline.workflows (tenant_id, name, trigger_type, settings)
        values (${office.tenantId}, ${name}, 'job_completed', ${
        sql.json(settings as never)
      }) returning id`;
      for (const [i, [type, config, delay]] of steps.entries()) {
        await sql`
          insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config, delay_minutes)
          values (${office.tenantId}, ${row!.id}, ${i + 1}, ${type}, ${
          sql.json(config as never)
        }, ${delay})`;
      }
      await sql`update ridgeline.workflows set is_active = true where id = ${row!.id}`;
      return row!.id as string;
    };
    const ends = await make("Nudge", { exit_events: ["email_received"] }, [["create_task", {
      title: "x",
    }, 60]]);
    const waits = await make("Ask", {}, [
      ["wait", { event: "email_received", timeout: "1 hour" }, 0],
      ["create_task", { title: "Answered" }, 0],
    ]);
    await sql`
      insert into jobs (tenant_id, contact_id, status)
      values (${office.tenantId}, ${maria}, 'scheduled')`;
    await sql`update jobs set status = 'completed' where tenant_id = ${office.tenantId}`;
    await sql`select automation.tick()`;
    await report(inbound(`office@${office.domain}`));
    await sql`select automation.tick()`;
    await sql`select automation.run_signals()`;
    await sql`select automation.tick()`;
    const statuses = await sql`
      select workflow_id, status from ridgeline.workflow_executions
      where tenant_id = ${office.tenantId} and workflow_id in (${ends}, ${waits})`;
    expect(Object.fromEntries(statuses.map((one) => [one.workflow_id, one.status]))).toEqual({
      [ends]: "cancelled",
      [waits]: "completed",
    });
  });

  it("is the tenant's whose address, or whose domain, it was sent to", async () => {
    const office = await openMailbox();
    const neighbour = await openMailbox();
    for (
      const [to, result] of [
        [`office+roof@${office.domain}`, "stored"],
        [`anything@in.${office.domain}`, "stored"],
        [`sales@${office.domain}`, "unknown_address"],
        [`office@${office.domain}.evil.example`, "unknown_address"],
        ["nobody@elsewhere.example", "unknown_address"],
      ]
    ) {
      expect(await report(inbound(to!))).toEqual([result]);
    }
    expect(await emailsOf(office)).toHaveLength(2);
    expect(await emailsOf(neighbour)).toEqual([]);
    expect(await report(inbound(`x@in.${office.domain}`, { cc: [`office@${neighbour.domain}`] })))
      .toEqual(["stored"]);
    expect([await emailsOf(office), await emailsOf(neighbour)].map((all) => all.length)).toEqual([
      3,
      1,
    ]);
  });

  it("of a stranger makes a contact only where the tenant asks for it, and never to say stop", async () => {
    const shy = await openMailbox();
    await report(inbound(`office@${shy.domain}`));
    expect(await emailsOf(shy)).toMatchObject([{ contact_id: null }]);
    const keen = await openMailbox({ inbound: { create_contacts: true } });
    const to = `office@${keen.domain}`;
    for (
      const from of [
        "Lee, Ann <ann@example.com>",
        "MAILER-DAEMON@example.com",
        "no-reply@bank.example",
      ]
    ) {
      await report(inbound(to, { from }));
    }
    await report(inbound(to, { from: "tom@example.com", subject: "unsubscribe" }));
    const contacts = await database().sql`
      select first_name, last_name, email, source from contacts where tenant_id = ${keen.tenantId}`;
    expect(contacts).toEqual([
      { first_name: "Ann", last_name: "Lee", email: "ann@example.com", source: "inbound_email" },
    ]);
    const suppressed = await database().sql`
      select channel, address, reason from ridgeline.suppressions where tenant_id = ${keen.tenantId}`;
    expect(suppressed).toEqual([{
      channel: "email",
      address: "tom@example.com",
      reason: "opt_out",
    }]);
    expect(await emailsOf(keen)).toHaveLength(4);
  });

  it("without a sender that could be answered is not kept, and never fails", async () => {
    const office = await openMailbox();
    for (const from of ["", "undisclosed", "<>", undefined]) {
      expect(await report(inbound(`office@${office.domain}`, { from }))).toEqual([
        "unknown_sender",
      ]);
    }
    const user = randomUUID();
    await database().sql`
      insert into tenant_members (tenant_id, user_id, role) values (${office.tenantId}, ${user}, 'owner')`;
    await expect(
      asRole(
        database().sql,
        { user },
        (as) =>
          as`insert into ridgeline.email_addresses (tenant_id, address) values (${office.tenantId}, 'rival.example')`,
      ),
    )
      .rejects.toThrow(/denied/);
  });
});

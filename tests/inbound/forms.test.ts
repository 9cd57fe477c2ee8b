// A form on a web site: what visitors, robots and impatient fingers send.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createHandler } from "../../functions/forms/handler.ts";
import { asRole, useDatabase } from "../support/database.ts";
import {
  fired,
  formOf,
  type Functions,
  functionsOn,
  listen,
  newNumber,
  type Office,
  openOffice,
} from "./support.ts";

const database = useDatabase();
let functions: Functions;
beforeAll(() => {
  functions = functionsOn(database());
});
afterAll(() => functions.close());

const SITE = "https://apexroofing.example";

interface Form extends Office {
  key: string;
  honeypot: string;
}

async function openForm(changes: Record<string, unknown> = {}): Promise<Form> {
  const { sql } = database();
  const office = await openOffice(sql);
  await listen(sql, office.tenantId, "form_submitted", "contact_created");
  const form = {
    tenant_id: office.tenantId,
    name: "Estimate",
    allowed_origins: [SITE],
    ...changes,
  };
  const [row] = await sql`insert into ridgeline.forms ${sql(form)} returning public_key, honeypot`;
  return { ...office, key: row!.public_key, honeypot: row!.honeypot };
}

interface Options {
  headers?: Record<string, string>;
  peer?: string;
  method?: string;
}

function send(form: Form, body: BodyInit | null, options: Options = {}): Promise<Response> {
  const { headers = {}, peer = "203.0.113.7", method = "POST" } = options;
  const request = new Request(`http://edge.internal/forms/${form.key}`, {
    method,
    headers: { origin: SITE, ...headers },
    body,
  });
  return functions.forms(request, peer);
}

const post = (form: Form, fields: object, { headers = {}, ...options }: Options = {}) =>
  send(form, JSON.stringify(fields), {
    headers: { "content-type": "application/json", ...headers },
    ...options,
  });

const submissionsOf = (form: Form) =>
  database()
    .sql`select * from ridgeline.form_submissions where tenant_id = ${form.tenantId} order by id`;
const contactsOf = (form: Form) =>
  database().sql`select * from contacts where tenant_id = ${form.tenantId} order by created_at`;

async function accepted(answer: Promise<Response>): Promise<void> {
  const response = await answer;
  expect([response.status, await response.json()]).toEqual([202, { received: true }]);
}

const lead = (changes: object = {}) => ({
  name: "Maria de la Cruz",
  email: "Maria@Example.com",
  phone: "(512) 555-0123",
  zip: "78701",
  roof: "metal",
  ...changes,
});

describe("a post", () => {
  it("is a submission, a contact and a run", async () => {
    const form = await openForm();
    await accepted(post(form, lead()));
    const [contact] = await contactsOf(form);
    expect(contact).toMatchObject({
      first_name: "Maria",
      last_name: "de la Cruz",
      email: "maria@example.com",
      phone: "+15125550123",
      postal_code: "78701",
      source: "form",
    });
    expect(await submissionsOf(form)).toMatchObject([
      { form: "Estimate", contact_id: contact?.id, data: lead() },
    ]);
    expect((await fired(database().sql, form.tenantId)).sort()).toEqual([
      "contact_created",
      "form_submitted",
    ]);
  });

  it("may be form-encoded, as a page without JavaScript does it, which is sent on", async () => {
    const form = await openForm({ redirect_url: `${SITE}/thanks` });
    const response = await send(
      form,
      formOf({ email: "jo@example.com", wants: ["roof", "gutters"] }),
      { headers: { accept: "text/html,*/*" } },
    );
    expect(response.status).toBe(303);
    expect(response.headers.get("location")).toBe(`${SITE}/thanks`);
    expect((await submissionsOf(form))[0]?.data).toEqual({
      email: "jo@example.com",
      wants: ["roof", "gutters"],
    });
  });

  it("may be multipart, of text", async () => {
    const form = await openForm();
    const data = new FormData();
    data.set("Your-Email", "jo@example.com");
    await accepted(send(form, data));
    data.set("photo", new Blob(["..."]), "roof.jpg");
    const response = await send(form, data);
    expect(response.status).toBe(422);
    expect((await response.json()).errors).toEqual([
      {
        field: "photo",
        message: "is a file; only text is taken",
        fix: "leave the file out",
      },
    ]);
  });

  it("may have names of its own for what a contact has", async () => {
    const form = await openForm({
      field_map: database().sql.json({ "q1": "email", "q2": "name" }),
    });
    await accepted(post(form, { q1: "jo@example.com", q2: "Jo" }));
    expect(await contactsOf(form)).toMatchObject([{ email: "jo@example.com", first_name: "Jo" }]);
  });

  it("twice, or six times at once, is one submission until the window has passed", async () => {
    const form = await openForm();
    await Promise.all(Array.from({ length: 6 }, () => accepted(post(form, lead()))));
    await accepted(post(form, lead()));
    expect(await submissionsOf(form)).toHaveLength(1);
    expect(await contactsOf(form)).toHaveLength(1);
    await accepted(post(form, lead({ roof: "tile" })));
    expect(await submissionsOf(form)).toHaveLength(2);
    const { sql } = database();
    await sql`
      update automation.form_posts set received_at = received_at - interval '11 minutes'
      where tenant_id = ${form.tenantId}`;
    await accepted(post(form, lead()));
    expect(await submissionsOf(form)).toHaveLength(3);
    expect(await contactsOf(form)).toHaveLength(1);
  });
});

describe("a contact that is known", () => {
  it("is found by email or phone; a trusted form fills blanks and overwrites nothing", async () => {
    const form = await openForm({ trusted: true });
    const phone = newNumber();
    await database().sql`
      insert into contacts (tenant_id, first_name, email) values
        (${form.tenantId}, 'Maria', 'MARIA@example.com')`;
    await accepted(post(form, { name: "Mallory Smith", email: "maria@example.com", phone }));
    expect(await contactsOf(form)).toMatchObject([
      { first_name: "Maria", last_name: "Smith", email: "MARIA@example.com", phone },
    ]);
    await accepted(post(form, { phone: phone.slice(2), email: "other@example.com" }));
    expect(await contactsOf(form)).toMatchObject([{ email: "MARIA@example.com", phone }]);
    expect(new Set((await submissionsOf(form)).map((one) => one.contact_id)).size).toBe(1);
  });

  it("cannot be told from one that is not", async () => {
    const form = await openForm();
    const answers = [];
    for (const roof of ["metal", "tile", "tile"]) {
      const response = await post(form, lead({ roof }));
      answers.push([response.status, await response.text(), [...response.headers]]);
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });
});

describe("what is wrong is named by its field:", () => {
  it.each<[string, object, { field: string; message: string }[]]>([
    ["an email", lead({ email: "maria@" }), [
      { field: "email", message: "is not an email address" },
    ]],
    ["a phone, under the form's own name", { "Your Phone": "12" }, [
      { field: "Your Phone", message: "is not a phone number" },
    ]],
    ["neither of them", { name: "Maria" }, [
      { field: "email", message: "an email address or a phone number is needed" },
    ]],
    ["a field too long", lead({ roof: "x".repeat(5_001) }), [
      { field: "roof", message: "is longer than 5000 characters" },
    ]],
    ["a nested field too long", lead({ roof: { kind: "x".repeat(5_001) } }), [
      { field: "roof.kind", message: "is longer than 5000 characters" },
    ]],
  ])("%s", async (_name, fields, errors) => {
    const form = await openForm();
    const response = await post(form, fields);
    expect(response.status).toBe(422);
    expect(response.headers.get("content-type")).toBe("application/problem+json");
    expect((await response.json()).errors).toEqual(
      errors.map((error) => ({ ...error, fix: expect.stringMatching(/./) })),
    );
    expect(await submissionsOf(form)).toEqual([]);
    expect(await contactsOf(form)).toEqual([]);
  });

  it("a field that the form requires", async () => {
    const form = await openForm({ required_fields: ["roof"] });
    const response = await post(form, lead({ roof: " " }));
    expect((await response.json()).errors).toMatchObject([{
      field: "roof",
      message: "is required",
    }]);
  });

  it.each<[string, (form: Form) => Promise<Response>, number]>([
    ["a body too large", (form) => post(form, { email: "x".repeat(70_000) }), 413],
    [
      "no JSON",
      (form) => send(form, "{", { headers: { "content-type": "application/json" } }),
      400,
    ],
    ["a list", (form) => post(form, [1]), 422],
    [
      "another kind of body",
      (form) => send(form, "hi", { headers: { "content-type": "text/plain" } }),
      415,
    ],
    [
      "a thousand fields",
      (form) =>
        post(form, Object.fromEntries(Array.from({ length: 1_000 }, (_, i) => [`f${i}`, i]))),
      422,
    ],
    ["another method", (form) => send(form, null, { method: "GET" }), 405],
  ])("%s", async (_name, request, status) => {
    const form = await openForm();
    expect((await request(form)).status).toBe(status);
    expect(await submissionsOf(form)).toEqual([]);
  });
});

describe("who may post", () => {
  it("a page of the form's own sites; the browser asks first", async () => {
    const form = await openForm();
    const ask = (origin: string) => send(form, null, { method: "OPTIONS", headers: { origin } });
    const allowed = await ask(SITE);
    expect(allowed.status).toBe(204);
    expect(allowed.headers.get("access-control-allow-origin")).toBe(SITE);
    const refused = await ask("https://evil.example");
    expect(refused.status).toBe(403);
    expect(refused.headers.get("access-control-allow-origin")).toBeNull();
    const posted = await post(form, lead(), { headers: { origin: "https://evil.example" } });
    expect(posted.status).toBe(403);
    expect(await submissionsOf(form)).toEqual([]);
    expect((await post(form, lead())).headers.get("access-control-allow-origin")).toBe(SITE);
  });

  it("nobody without the key of an active form", async () => {
    const form = await openForm({ is_active: false });
    expect((await post(form, lead())).status).toBe(404);
    for (const key of ["form_0000000000000000", "nothing", "form_x' or 1=1"]) {
      expect((await post({ ...form, key }, lead())).status).toBe(404);
    }
  });

  it("no robot: what fills the honeypot is answered like any other and held", async () => {
    const form = await openForm();
    await accepted(post(form, lead({ [form.honeypot]: "https://spam.example" })));
    expect(await submissionsOf(form)).toEqual([]);
    expect(await contactsOf(form)).toEqual([]);
    await accepted(post(form, lead({ [form.honeypot]: "" })));
    expect((await submissionsOf(form))[0]?.data).toEqual(lead());
  });

  it("a source so often an hour, and all of them together", async () => {
    const form = await openForm({ max_per_source_per_hour: 3, max_per_hour: 5 });
    const from = async (peer: string, roof: string) =>
      (await post(form, lead({ roof }), { peer })).status;
    const statuses = [];
    for (const roof of ["a", "b", "c", "d"]) statuses.push(await from("203.0.113.7", roof));
    for (const roof of ["e", "f", "g"]) statuses.push(await from("203.0.113.8", roof));
    expect(statuses).toEqual([202, 202, 202, 429, 202, 202, 429]);
    const limited = await post(form, lead(), { peer: "203.0.113.9" });
    expect(Number(limited.headers.get("retry-after"))).toBeGreaterThan(3_500);
    const { sql } = database();
    const rates = () => sql`select * from automation.form_rates where tenant_id = ${form.tenantId}`;
    // A full form notes no new sources: the table is bounded by what the form takes.
    expect(await rates()).toHaveLength(3);
    await sql`
      update automation.form_rates set window_start = window_start - interval '61 minutes'
      where tenant_id = ${form.tenantId}`;
    expect(await from("203.0.113.7", "h")).toBe(202);
    expect(await rates()).toHaveLength(2);
    const addresses =
      await sql`select from automation.form_rates where source::text like '%203%113%'`;
    expect(addresses).toHaveLength(0);
  });

  it("under the address that our own proxy saw, not the one a client made up", async () => {
    const sources: string[] = [];
    const at = (hops: number) =>
      createHandler({
        forms: () => ({
          accepts: () => Promise.resolve(true),
          submit: ({ source }) => {
            sources.push(source);
            return Promise.resolve({ outcome: "accepted", redirect_url: null });
          },
          keep: () => Promise.resolve("held"),
        }),
        forwardedHops: () => hops,
        log: () => {},
      });
    for (const hops of [0, 1, 2]) {
      const request = new Request("http://edge/forms/form_0000000000000000", {
        method: "POST",
        headers: {
          "content-type": "application/json",
          "x-forwarded-for": "6.6.6.6, 198.51.100.1, 10.0.0.1",
        },
        body: "{}",
      });
      await at(hops)(request, "192.0.2.1");
    }
    expect(sources).toEqual(["192.0.2.1", "10.0.0.1", "198.51.100.1"]);
  });
});

describe("the tables behind it", () => {
  it("are for members to read and for admins to keep; keys are made, not chosen", async () => {
    const { sql } = database();
    const form = await openForm();
    const user = crypto.randomUUID();
    const insert = (columns: object) =>
      asRole(
        sql,
        { user },
        (as) =>
          as`insert into ridgeline.forms ${
            as({ tenant_id: form.tenantId, name: "New", ...columns })
          }`,
      );
    const insertNumber = () =>
      asRole(
        sql,
        { user },
        (as) =>
          as`insert into ridgeline.senders (tenant_id, channel, address) values (${form.tenantId}, 'sms', '+15125550000')`,
      );
    const read = () =>
      asRole(sql, { user }, async (as) => [
        ...await as`select 1 from ridgeline.forms`,
        ...await as`select 1 from ridgeline.senders`,
      ]);
    expect(await read()).toHaveLength(0);
    await sql`
      insert into tenant_members (tenant_id, user_id, role)
      values (${form.tenantId}, ${user}, 'member')`;
    expect(await read()).toHaveLength(2);
    await expect(insert({})).rejects.toThrow(/row-level security/);
    await sql`update tenant_members set role = 'admin' where user_id = ${user}`;
    await insert({});
    await expect(insert({ public_key: "form_chosenchosenchosen" })).rejects.toThrow(/denied/);
    await expect(insertNumber()).rejects.toThrow(/denied/);
  });

  it("hold a number once, in one notation", async () => {
    const { sql } = database();
    const [apex, blue] = [await openOffice(sql), await openOffice(sql)];
    const written = apex.number.replace(/^\+1(...)(...)/, "$1-$2-");
    await expect(sql`
      insert into ridgeline.senders (tenant_id, channel, address) values (${blue.tenantId}, 'sms', ${written})`)
      .rejects.toThrow(/senders_address_unique/);
    await expect(sql`
      insert into ridgeline.senders (tenant_id, channel, kind, address)
      values (${blue.tenantId}, 'sms', 'number', 'front desk')`)
      .rejects.toThrow(/senders_address_is_normal/);
  });

  it("are written by nobody but the service: the functions are not for members", async () => {
    const { sql } = database();
    for (
      const call of [
        "automation.receive_sms('{}')",
        "automation.submit_form('', null, '', '{}')",
        "automation.record_email_event('x', '{\"email_id\": \"x\"}')",
      ]
    ) {
      await expect(asRole(sql, { user: crypto.randomUUID() }, (as) => as.unsafe(`select ${call}`)))
        .rejects.toThrow(/permission denied/);
      await asRole(sql, "service_role", (as) => as.unsafe(`select ${call}`));
    }
  });
});

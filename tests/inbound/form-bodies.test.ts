// What browsers and form builders really send, byte by byte: no lead is lost over the way it is packed.
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { multipartFields, urlEncodedFields } from "../../functions/_shared/http/form-body.ts";
import { useDatabase } from "../support/database.ts";
import {
  accepted,
  contactsOf,
  heldOf,
  openForm,
  type Options,
  postTo,
  sendTo,
  submissionsOf,
  tasksOf,
} from "./form-support.ts";
import { type Functions, functionsOn } from "./support.ts";

const database = useDatabase();
let functions: Functions;
beforeAll(() => {
  functions = functionsOn(database());
});
afterAll(() => functions.close());

/** One byte a character: what is written here as \xe9 is sent as that byte. */
const bytes = (text: string) => Uint8Array.from(text, (one) => one.charCodeAt(0));
const utf8 = (text: string) => String.fromCharCode(...new TextEncoder().encode(text));

const BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW";
const MULTIPART = `multipart/form-data; boundary=${BOUNDARY}`;
const part = (disposition: string, value: string, type?: string) =>
  `--${BOUNDARY}\r\nContent-Disposition: form-data; ${disposition}\r\n` +
  `${type ? `Content-Type: ${type}\r\n` : ""}\r\n${value}\r\n`;
const multipart = (...parts: string[]) => bytes(`${parts.join("")}--${BOUNDARY}--\r\n`);

async function received(body: BodyInit, type: string, changes: object = {}, options: Options = {}) {
  const form = await openForm(database().sql, { ...changes });
  await accepted(sendTo(functions, form, body, { ...options, headers: { "content-type": type } }));
  const [submission] = await submissionsOf(database().sql, form);
  const [contact] = await contactsOf(database().sql, form);
  return { form, data: submission!.data, contact: contact!, submission: submission! };
}

describe("a multipart form", () => {
  it("with its optional parts left empty is taken, an empty upload too", async () => {
    const { data, contact } = await received(
      multipart(
        part('name="name"', "Maria Lopez"),
        part('name="email"', "maria@example.com"),
        part('name="phone"', ""),
        part('name="photo"; filename=""', "", "application/octet-stream"),
        part('name="plans"; filename=""', ""),
        part('name="notes"', ""),
      ),
      MULTIPART,
    );
    expect(data).toEqual({
      name: "Maria Lopez",
      email: "maria@example.com",
      phone: "",
      photo: "",
      plans: "",
      notes: "",
    });
    expect(contact).toMatchObject({ first_name: "Maria", email: "maria@example.com", phone: null });
  });

  it("with a file is told so, and the lead is kept", async () => {
    const form = await openForm(database().sql);
    const photo = "\xff\xd8\xff\xe0\r\n--not the boundary\r\n".repeat(20_000);
    const response = await sendTo(
      functions,
      form,
      multipart(
        part('name="email"', "maria@example.com"),
        part('name="photo"; filename="my roof.jpg"', photo, "image/jpeg"),
        part('name="notes"', utf8("près du café")),
      ),
      { headers: { "content-type": MULTIPART } },
    );
    expect(response.status).toBe(422);
    expect((await response.json()).errors).toEqual([
      {
        field: "photo",
        message: "is a file; only text is taken",
        fix: "leave the file out",
      },
    ]);
    expect(await heldOf(database().sql, form)).toMatchObject([{
      problem: "photo is a file; only text is taken",
      data: {
        email: "maria@example.com",
        photo: `my roof.jpg (a file of ${photo.length} bytes, not taken)`,
        notes: "près du café",
      },
    }]);
    expect(await tasksOf(database().sql, form)).toHaveLength(1);
  });

  it("that was cut off, or is larger than anything that is read, is kept as far as it came", async () => {
    const form = await openForm(database().sql);
    const whole = multipart(
      part('name="email"', "maria@example.com"),
      part('name="notes"', "roof"),
    );
    const cut = await sendTo(functions, form, whole.slice(0, -40), {
      headers: { "content-type": MULTIPART },
    });
    expect(cut.status).toBe(400);
    const huge = await sendTo(
      functions,
      form,
      multipart(
        part('name="email"', "jo@example.com"),
        part('name="photo"; filename="roof.jpg"', "x".repeat(11 * 1024 * 1024)),
      ),
      { headers: { "content-type": MULTIPART } },
    );
    expect(huge.status).toBe(413);
    expect((await heldOf(database().sql, form)).map(({ data }) => data)).toEqual([
      { email: "maria@example.com" },
      { email: "jo@example.com" },
    ]);
  });

  it("reads what a writer writes, whatever is in it", () => {
    const text = fc.string({ unit: "binary", maxLength: 30 }).filter((one) =>
      !/[\r\n"\\%\ufeff]/.test(one)
    );
    fc.assert(fc.property(fc.array(fc.tuple(text, fc.string({ maxLength: 60 }))), (fields) => {
      const body = multipart(
        ...fields.map(([name, value]) => part(`name="${utf8(name)}"`, utf8(value))),
      );
      const read = multipartFields(String.fromCharCode(...body), MULTIPART);
      const expected = fields.filter(([name]) => name !== "_charset_")
        .map(([name, value]) => [name, value.replace(/^\ufeff/, "")]);
      expect(read).toEqual({ pairs: expected });
    }));
  });
});

describe("an é", () => {
  const WESTERN = "application/x-www-form-urlencoded; charset=windows-1252";
  it.each<[string, string, string]>([
    [
      "percent-encoded, with the charset in the header",
      WESTERN,
      "name=Ren%E9e+Lef%E8vre&email=r%40example.com",
    ],
    ["as a byte", WESTERN, "name=Ren\xe9e+Lef\xe8vre&email=r%40example.com"],
    [
      "of iso-8859-1, in another spelling",
      'application/x-www-form-urlencoded;CHARSET="ISO-8859-1"',
      "name=Ren%e9e+Lef%e8vre&email=r%40example.com",
    ],
    [
      "with the charset in a field, at the end",
      "application/x-www-form-urlencoded",
      "name=Ren%E9e+Lef%E8vre&email=r%40example.com&_charset_=windows-1252",
    ],
    [
      "of a page that said nothing",
      "application/x-www-form-urlencoded",
      "name=Ren%E9e+Lef%E8vre&email=r%40example.com",
    ],
    [
      "of a page that said something else",
      "application/x-www-form-urlencoded; charset=utf-8",
      "name=Ren%E9e+Lef%E8vre&email=r%40example.com",
    ],
    [
      "of UTF-8, which most are",
      "application/x-www-form-urlencoded",
      "name=Ren%C3%A9e+Lef%C3%A8vre&email=r%40example.com",
    ],
    [
      "of UTF-8 with a byte order mark",
      "application/x-www-form-urlencoded; charset=no-such-charset",
      "\xef\xbb\xbfname=Ren%C3%A9e+Lef%C3%A8vre&email=r%40example.com",
    ],
    [
      "of JSON",
      "application/json; charset=utf-8",
      `\xef\xbb\xbf${utf8('{"name":"Renée Lefèvre","email":"r@example.com"}')}`,
    ],
    [
      "of JSON in windows-1252",
      "application/json; charset=windows-1252",
      '{"name":"Ren\xe9e Lef\xe8vre","email":"r@example.com"}',
    ],
    [
      "of JSON that says nothing",
      "application/json",
      '{"name":"Ren\xe9e Lef\xe8vre","email":"r@example.com"}',
    ],
    ["of a text", "text/plain", "name=Ren\xe9e Lef\xe8vre\r\nemail=r@example.com\r\n"],
    [
      "of JSON sent as text",
      "text/plain;charset=UTF-8",
      utf8('{"name":"Renée Lefèvre","email":"r@example.com"}'),
    ],
  ])("%s stays one", async (_name, type, body) => {
    const { contact, data } = await received(bytes(body), type);
    expect(contact).toMatchObject({
      first_name: "Renée",
      last_name: "Lefèvre",
      email: "r@example.com",
    });
    expect(data).toEqual({ name: "Renée Lefèvre", email: "r@example.com" });
  });

  it("of a part is read by the part's own charset, else by the form's", async () => {
    const { data } = await received(
      multipart(
        part('name="_charset_"', "iso-8859-1"),
        part('name="email"', "r@example.com"),
        part('name="pr\xe9nom"', "Ren\xe9e"),
        part('name="city"', utf8("Orléans"), "text/plain; charset=utf-8"),
        part('name="price"', "\x80 5", "text/plain; charset=windows-1252"),
      ),
      MULTIPART,
    );
    expect(data).toEqual({
      email: "r@example.com",
      prénom: "Renée",
      city: "Orléans",
      price: "€ 5",
    });
  });

  it("and every other character arrives, whatever the bytes", () => {
    const all = Array.from({ length: 128 }, (_, i) => String.fromCharCode(i)).join("") +
      "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ" +
      Array.from({ length: 96 }, (_, i) => String.fromCharCode(0xa0 + i)).join("");
    fc.assert(fc.property(fc.uint8Array({ maxLength: 40 }), (given) => {
      const escaped = [...given].map((one) => `%${one.toString(16).padStart(2, "0")}`).join("");
      const expected = [...given].map((one) => all[one]).join("");
      for (const label of ["iso-8859-1", "windows-1252", "latin1", "ascii"]) {
        expect(urlEncodedFields(`a=${escaped}`, label)).toEqual([["a", expected]]);
      }
    }));
    fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => {
      const sent = new URLSearchParams([["a", text]]);
      expect(urlEncodedFields(sent.toString())).toEqual([
        ["a", new URLSearchParams(sent.toString()).get("a")!.replace(/^\ufeff/, "")],
      ]);
    }));
  });
});

describe("a lead is read without a field_map, as it comes from", () => {
  const maria = {
    first_name: "Maria",
    last_name: "Lopez",
    email: "maria@example.com",
    phone: "+15125550123",
  };
  const FORM = "application/x-www-form-urlencoded";
  const form = (fields: Record<string, string>) => new URLSearchParams(fields).toString();
  it.each<[string, string, string, object]>([
    [
      "Elementor's form",
      FORM,
      form({
        "post_id": "12",
        "form_id": "3f2a1b",
        "referer_title": "Free estimate",
        "form_fields[name]": "Maria Lopez",
        "form_fields[email]": "maria@example.com",
        "form_fields[field_5c1d]": "(512) 555-0123",
        "form_fields[message]": "Roof leaks",
      }),
      maria,
    ],
    [
      "Elementor's webhook",
      FORM,
      form({
        "form[id]": "3f2a1b",
        "form[name]": "New Form",
        "fields[name][id]": "name",
        "fields[name][type]": "text",
        "fields[name][title]": "Name",
        "fields[name][value]": "Maria Lopez",
        "fields[name][raw_value]": "Maria Lopez",
        "fields[name][required]": "0",
        "fields[email][id]": "email",
        "fields[email][type]": "email",
        "fields[email][title]": "Email",
        "fields[email][value]": "maria@example.com",
        "fields[tel][value]": "512-555-0123",
        "meta[remote_ip][value]": "203.0.113.9",
        "meta[page_url][value]": "https://apexroofing.example/estimate",
      }),
      maria,
    ],
    [
      "Contact Form 7",
      FORM,
      form({
        "_wpcf7": "26",
        "_wpcf7_unit_tag": "wpcf7-f26-p13-o1",
        "your-name": "Maria Lopez",
        "your-email": "maria@example.com",
        "tel-982": "512.555.0123",
        "your-message": "Hi",
      }),
      maria,
    ],
    [
      "Gravity Forms",
      FORM,
      form({
        "input_1.2": "",
        "input_1.3": "Maria",
        "input_1.6": "Lopez",
        "input_2": "maria@example.com",
        "input_3": "(512) 555-0123",
        "input_4.1": "12 Main St",
        "input_4.3": "Austin",
        "input_4.4": "TX",
        "input_4.5": "78701",
        "is_submit_1": "1",
        "gform_submit": "1",
      }),
      { ...maria, address_line1: "12 Main St", city: "Austin", state: "TX", postal_code: "78701" },
    ],
    [
      "WPForms",
      FORM,
      form({
        "wpforms[fields][0][first]": "Maria",
        "wpforms[fields][0][last]": "Lopez",
        "wpforms[fields][1]": "maria@example.com",
        "wpforms[fields][3]": "(512) 555-0123",
        "wpforms[id]": "55",
        "wpforms[submit]": "wpforms-submit",
      }),
      maria,
    ],
    [
      "JotForm's form",
      FORM,
      form({
        "formID": "240011223344",
        "q3_name[first]": "Maria",
        "q3_name[last]": "Lopez",
        "q4_email": "maria@example.com",
        "q5_phoneNumber[area]": "512",
        "q5_phoneNumber[phone]": "5550123",
        "q6_address[addr_line1]": "12 Main St",
        "q6_address[city]": "Austin",
        "q6_address[state]": "TX",
        "q6_address[postal]": "78701",
      }),
      { ...maria, address_line1: "12 Main St", city: "Austin", postal_code: "78701" },
    ],
    [
      "JotForm's webhook",
      FORM,
      form({
        formID: "240011223344",
        submissionID: "5511223344556677889",
        pretty: "Name:Maria Lopez, Email:maria@example.com",
        rawRequest: JSON.stringify({
          slug: "submit/240011223344",
          q3_name: { first: "Maria", last: "Lopez" },
          q4_email: "maria@example.com",
          q5_phoneNumber: { full: "(512) 555-0123" },
        }),
      }),
      maria,
    ],
    [
      "Webflow",
      "application/json",
      JSON.stringify({
        triggerType: "form_submission",
        payload: {
          name: "Contact form",
          siteId: "65427cf400e02b306eaa049c",
          data: {
            "First Name": "Maria",
            "Last Name": "Lopez",
            "Email": "maria@example.com",
            "Phone 1": "512 555 0123",
          },
          submittedAt: "2026-11-26T01:20:00.000Z",
          schema: [{ fieldName: "Email", fieldType: "FormTextInput", fieldElementId: "285042f7" }],
          formElementId: "4e038d2c",
        },
      }),
      maria,
    ],
    [
      "Typeform",
      "application/json",
      JSON.stringify({
        event_id: "01H",
        event_type: "form_response",
        form_response: {
          form_id: "lT4Z3j",
          token: "a3a12ec67a1365927098a606107fac15",
          hidden: { user_id: "abc" },
          definition: {
            fields: [{ id: "1", title: "What's your email?", type: "email", ref: "r1" }],
          },
          answers: [
            {
              type: "text",
              text: "Maria",
              field: { id: "0", type: "short_text", ref: "first_name" },
            },
            {
              type: "text",
              text: "Lopez",
              field: { id: "9", type: "short_text", ref: "last_name" },
            },
            {
              type: "email",
              email: "maria@example.com",
              field: { id: "1", type: "email", ref: "r1" },
            },
            {
              type: "phone_number",
              phone_number: "+15125550123",
              field: { id: "2", type: "phone_number", ref: "r2" },
            },
            {
              type: "choices",
              choices: { labels: ["Roof", "Gutters"] },
              field: { id: "3", type: "multiple_choice", ref: "r3" },
            },
          ],
        },
      }),
      maria,
    ],
    [
      "Tally",
      "application/json",
      JSON.stringify({
        eventId: "a4cb",
        data: {
          formName: "Estimate",
          fields: [
            { key: "question_1", label: "Full name", type: "INPUT_TEXT", value: "Maria Lopez" },
            {
              key: "question_2",
              label: "Where can we write to?",
              type: "INPUT_EMAIL",
              value: "maria@example.com",
            },
            {
              key: "question_3",
              label: "Your number",
              type: "INPUT_PHONE_NUMBER",
              value: "+15125550123",
            },
            { key: "question_4", label: "Photos", type: "FILE_UPLOAD", value: null },
          ],
        },
      }),
      maria,
    ],
    [
      "Facebook's lead ads",
      "application/json",
      JSON.stringify({
        id: "7615917337495251231",
        field_data: [
          { name: "full_name", values: ["Maria Lopez"] },
          { name: "email", values: ["maria@example.com"] },
          { name: "phone_number", values: ["+15125550123"] },
        ],
      }),
      maria,
    ],
    [
      "Google's lead forms",
      "application/json",
      JSON.stringify({
        lead_id: "TeSter",
        user_column_data: [
          { column_name: "User Email", string_value: "maria@example.com", column_id: "EMAIL" },
          { column_name: "Full Name", string_value: "Maria Lopez", column_id: "FULL_NAME" },
          { column_name: "User Phone", string_value: "+15125550123", column_id: "PHONE_NUMBER" },
        ],
        is_test: true,
      }),
      maria,
    ],
    [
      "a list of fields",
      "application/json",
      JSON.stringify([
        { name: "email", value: "maria@example.com" },
        { name: "name", value: "Lopez, Maria" },
        { name: "phone", value: "5125550123" },
      ]),
      maria,
    ],
    [
      "a page in Spanish",
      FORM,
      form({
        "nombre": "Maria Lopez",
        "correo electrónico": "maria@example.com",
        "teléfono": "512 555 0123",
      }),
      maria,
    ],
    [
      "a page with a word more on every label",
      FORM,
      form({
        "Your Full Name *": "Maria Lopez",
        "E-mail (required)": "maria@example.com",
        "Best phone number": "512 555 0123",
      }),
      maria,
    ],
  ])("%s", async (_name, type, body, contact) => {
    const got = await received(body, type);
    expect(got.contact).toMatchObject(contact);
  });

  it("keeps a list, a field that came twice, and every digit", async () => {
    const { data, submission } = await received(
      '{"email":"m@example.com","lead_id":7615917337495251231,"budget":12345678901234567890.12,"wants":["roof",true,1],"nested":{"id":9007199254740993}}',
      "application/json",
    );
    expect(data.wants).toEqual(["roof", true, 1]);
    const [row] = await database().sql`
      select data::text as text from ridgeline.form_submissions where id = ${submission.id}`;
    expect(row!.text).toContain('"lead_id": 7615917337495251231');
    expect(row!.text).toContain("12345678901234567890.12");
    expect(row!.text).toContain('{"id": 9007199254740993}');
    const twice = await received("email=m%40example.com&w%5B%5D=a&w%5B%5D=b&x=1&x=2", FORM);
    expect(twice.data).toEqual({ email: "m@example.com", "w[]": ["a", "b"], x: ["1", "2"] });
  });

  it("is not taken for somebody else's address", async () => {
    const { contact } = await received(
      JSON.stringify({
        email: "maria@example.com",
        referrer_email: "tom@example.com",
        to: "office@example.com",
      }),
      "application/json",
    );
    expect(contact.email).toBe("maria@example.com");
    const form = await openForm(database().sql);
    const response = await postTo(functions, form, {
      friend_email: "tom@example.com",
      recipient: "office@example.com",
    });
    expect(response.status).toBe(422);
  });
});

describe("what cannot be read is kept for the office:", () => {
  it.each<[string, BodyInit, string, number]>([
    ["half a JSON", '{"email": "maria@example.com", "na', "application/json", 400],
    ["a list of nothing", "[1]", "application/json", 422],
    ["words", "please call 512 555 0123", "text/plain", 415],
    [
      "another kind of body",
      "<lead><email>maria@example.com</email></lead>",
      "application/xml",
      415,
    ],
    ["a body too large", `{"notes": "${"x".repeat(70_000)}"}`, "application/json", 413],
    ["a deep one", `{"a":${"[".repeat(5_000)}${"]".repeat(5_000)}}`, "application/json", 422],
  ])("%s", async (_name, body, type, status) => {
    const form = await openForm(database().sql);
    const response = await sendTo(functions, form, body, { headers: { "content-type": type } });
    expect(response.status).toBe(status);
    const [held] = await heldOf(database().sql, form);
    expect(held).toMatchObject({ reason: "unreadable", data: {}, form: "Estimate" });
    expect(held!.raw).toBe(String(body).slice(0, 20_000));
    expect(await tasksOf(database().sql, form)).toMatchObject([
      { title: 'Posts of the form "Estimate" are held', status: "open" },
    ]);
    expect(await submissionsOf(database().sql, form)).toEqual([]);
  });

  it("a form with method=get, which fires nothing", async () => {
    const form = await openForm(database().sql);
    const query = "?email=maria%40example.com&name=Maria";
    expect((await sendTo(functions, form, null, { method: "GET", query })).status).toBe(405);
    expect((await sendTo(functions, form, null, { method: "GET" })).status).toBe(405);
    expect(await heldOf(database().sql, form)).toMatchObject([
      { data: { email: "maria@example.com", name: "Maria" } },
    ]);
  });

  it("too many fields, of which the first hundred are kept", async () => {
    const form = await openForm(database().sql);
    const fields = Object.fromEntries(Array.from({ length: 150 }, (_, i) => [`f${i}`, `${i}`]));
    const response = await sendTo(
      functions,
      form,
      new URLSearchParams({ email: "m@example.com", ...fields }),
    );
    expect(response.status).toBe(422);
    const [held] = await heldOf(database().sql, form);
    expect(Object.keys(held!.data)).toHaveLength(100);
    expect(held!.data.email).toBe("m@example.com");
  });

  it("fields with mistakes, which the office can put right and release", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    expect((await postTo(functions, form, { email: "maria@", name: "Maria" })).status).toBe(422);
    const [held] = await heldOf(sql, form);
    expect(held).toMatchObject({ reason: "invalid", problem: "email is not an email address" });
    const right = { email: "maria@example.com", name: "Maria" };
    for (const _ of [1, 2]) {
      await sql`select ridgeline.release_submission(${held!.id}, ${sql.json(right)})`;
    }
    expect(await submissionsOf(sql, form)).toMatchObject([{
      data: right,
      email: "maria@example.com",
    }]);
    expect(await contactsOf(sql, form)).toHaveLength(1);
  });

  it("not what nobody said anything in, and no more than is worth it", async () => {
    const { sql } = database();
    const form = await openForm(sql, { max_per_hour: 10 });
    await sendTo(functions, form, "", {
      headers: { "content-type": "application/x-www-form-urlencoded" },
    });
    await sendTo(functions, form, "", { headers: { "content-type": "application/json" } });
    expect(await heldOf(sql, form)).toEqual([]);
    for (let i = 0; i < 15; i++) {
      await sendTo(functions, form, `{"${i}`, { headers: { "content-type": "application/json" } });
    }
    expect((await heldOf(sql, form)).length).toBeLessThanOrEqual(10);
    expect(await tasksOf(sql, form)).toHaveLength(1);
  });
});

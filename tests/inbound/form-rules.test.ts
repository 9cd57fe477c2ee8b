// What counts: as a tick, as a robot, as the same post again, as a web site of the form's, as a name.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { useDatabase } from "../support/database.ts";
import {
  accepted,
  anotherForm,
  contactsOf,
  heldOf,
  openForm,
  postTo,
  sendTo,
  SITE,
  submissionsOf,
  tasksOf,
} from "./form-support.ts";
import { type Functions, functionsOn, openOffice } from "./support.ts";

const database = useDatabase();
let functions: Functions;
beforeAll(() => {
  functions = functionsOn(database());
});
afterAll(() => functions.close());

const lead = { name: "Maria Lopez", email: "maria@example.com" };

describe("a consent that the form requires", () => {
  const tick = async (name: string, value: unknown) => {
    const form = await openForm(database().sql, { required_fields: [name] });
    const response = await postTo(functions, form, { ...lead, [name]: value });
    return response.status === 202;
  };
  it.each<[unknown]>([
    [false],
    ["false"],
    ["FALSE"],
    ["off"],
    ["0"],
    [0],
    ["no"],
    ["No"],
    [""],
    [" "],
    [null],
    ["null"],
    [[]],
    [["0"]],
    [["", "false"]],
    ["no thanks"],
    ["I do not agree"],
    ["declined"],
    ["nein"],
    ["unchecked"],
    ["n"],
    [{}],
    ["undefined"],
    ["0.0".slice(0, 1)],
  ])("is not given by %j", async (value) => {
    expect(await tick("sms_consent", value)).toBe(false);
  });
  it.each<[unknown]>([
    [true],
    ["true"],
    ["on"],
    ["1"],
    [1],
    ["yes"],
    ["checked"],
    ["I agree to receive texts"],
    [["0", "1"]],
    ["Acme may text me"],
    ["x"],
    ["notify me"],
    ["OK"],
  ])("is given by %j", async (value) => {
    expect(await tick("sms_consent", value)).toBe(true);
  });
  it.each([
    "terms",
    "agree_to_terms",
    "privacy-policy",
    "acceptance-123",
    "optIn",
    "gdpr",
    "TCPA",
    "marketing_ok",
  ])(
    "may be called %s",
    async (name) => {
      expect(await tick(name, "no")).toBe(false);
      expect(await tick(name, "0")).toBe(false);
      expect(await tick(name, "yes")).toBe(true);
    },
  );
  it("is another thing than a question that no and 0 answer", async () => {
    expect(await tick("has_insurance", "no")).toBe(true);
    expect(await tick("children", 0)).toBe(true);
    expect(await tick("children", "0")).toBe(true);
    // A box is required to be ticked, whatever it is called.
    expect(await tick("mystery", false)).toBe(false);
    expect(await tick("mystery", "off")).toBe(false);
  });
  it("may be nested, or required under the name of what was understood", async () => {
    const form = await openForm(database().sql, {
      required_fields: ["form_fields[consent]", "email"],
    });
    const post = (consent: string) =>
      sendTo(
        functions,
        form,
        new URLSearchParams({
          "form_fields[your-email]": "maria@example.com",
          "form_fields[consent]": consent,
        }),
      );
    expect((await post("off")).status).toBe(422);
    expect((await post("on")).status).toBe(202);
  });
});

describe("the hidden field", () => {
  it.each<[unknown]>([[false], ["false"], [""], [null], [0], ["0"], ["off"], [[]], [[""]], [" "]])(
    "is not filled by %j",
    async (value) => {
      const form = await openForm(database().sql);
      await accepted(postTo(functions, form, { ...lead, [form.honeypot]: value }));
      expect(await submissionsOf(database().sql, form)).toHaveLength(1);
      expect(await heldOf(database().sql, form)).toEqual([]);
    },
  );
  it.each<[unknown]>([["https://spam.example"], ["x"], [true], ["on"], [["", "x"]], [7]])(
    "is filled by %j, which is held",
    async (value) => {
      const form = await openForm(database().sql);
      await accepted(postTo(functions, form, { ...lead, [form.honeypot]: value }));
      expect(await submissionsOf(database().sql, form)).toEqual([]);
      expect(await heldOf(database().sql, form)).toMatchObject([
        { reason: "honeypot", data: { ...lead, [form.honeypot]: value } },
      ]);
    },
  );
  it("has a name that no browser fills by itself", async () => {
    const { honeypot } = await openForm(database().sql);
    // The words that Chromium and Firefox look for in names of fields.
    expect(honeypot).not.toMatch(
      /name|mail|url|web|site|company|business|org|addr|street|city|town|state|zip|post|country|phone|tel|mobile|fax|card|user|pass|code|birth|day|month|year|title|comment|message|subject|contact/i,
    );
  });
  it("that robots fill for hours does not fill the table, nor shut the form", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await sql`
      insert into ridgeline.held_submissions (tenant_id, form_id, form, reason, problem)
      select ${form.tenantId}, ${form.id}, 'Estimate', 'honeypot', 'x' from generate_series(1, 199)`;
    for (const _ of [1, 2, 3]) {
      await accepted(
        postTo(functions, form, { ...lead, [form.honeypot]: "x" }, { peer: "9.9.9.9" }),
      );
    }
    expect(await heldOf(sql, form)).toHaveLength(200);
    await accepted(postTo(functions, form, lead, { peer: "9.9.9.9" }));
    expect(await submissionsOf(sql, form)).toHaveLength(1);
  });
});

describe("a double post is one, though it differs in", () => {
  const token = (i: number) => `03AFcWeA${"Zx9k_-4".repeat(6)}${i}`;
  it.each<[string, (i: number) => object]>([
    ["a reCAPTCHA", (i) => ({ "g-recaptcha-response": token(i) })],
    ["an hCaptcha", (i) => ({ "h-captcha-response": token(i), "g-recaptcha-response": token(i) })],
    ["a Turnstile", (i) => ({ "cf-turnstile-response": `0.${token(i)}` })],
    ["a Friendly Captcha", (i) => ({ "frc-captcha-solution": `${token(i)}.AgAD` })],
    ["an invented token", (i) => ({ security: token(i) })],
    [
      "a nonce",
      (i) => ({
        _wpnonce: `a${i}`,
        _token: `b${i}`,
        csrf_token: `c${i}`,
        authenticity_token: `${i}`,
      }),
    ],
    [
      "a time stamp",
      (i) => ({
        timestamp: 1_764_115_200_000 + i,
        submitted_at: `2026-11-26T00:00:0${i}Z`,
        ak_js: `${i}`,
      }),
    ],
    [
      "what an advertisement added",
      (i) => ({ utm_source: `s${i}`, gclid: `${i}`, fbclid: `${i}` }),
    ],
    ["the spelling of a number and an address", (i) => ({
      phone: ["(512) 555-0123", "512.555.0123"][i],
      email: ["Maria@Example.com ", "maria@example.com"][i],
    })],
    [
      "an id of the builder's",
      (i) => ({
        submissionID: `551122334455667788${i}`,
        event: { id: `${i}`, created_at: `${i}` },
      }),
    ],
    ["blanks", (i) => ({ notes: ["roof  leaks ", "roof leaks"][i] })],
  ])("%s", async (_name, more) => {
    const form = await openForm(database().sql);
    for (const i of [0, 1]) await accepted(postTo(functions, form, { ...lead, ...more(i) }));
    expect(await submissionsOf(database().sql, form)).toHaveLength(1);
  });

  it("and two posts that say something else are two", async () => {
    const form = await openForm(database().sql, { max_per_address_per_hour: 10 });
    for (
      const more of [{}, { notes: "roof" }, { notes: "gutter" }, { phone: "512 555 0123" }, {
        budget: 1,
      }]
    ) {
      await accepted(postTo(functions, form, { ...lead, ...more }));
    }
    expect(await submissionsOf(database().sql, form)).toHaveLength(5);
  });
});

describe("a page that may not post", () => {
  const MOVED = { headers: { origin: "https://new-apex.example" } };

  it("is told so, and what it sent is held: perhaps the office's site has moved", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    const answer = await postTo(functions, form, lead, MOVED);
    expect(answer.status).toBe(403);
    expect(await submissionsOf(sql, form)).toEqual([]);
    expect(await contactsOf(sql, form)).toEqual([]);
    const [held] = await heldOf(sql, form);
    expect(held).toMatchObject({
      reason: "origin",
      problem: "https://new-apex.example is not in allowed_origins",
      data: lead,
    });
    expect(await tasksOf(sql, form)).toMatchObject([{
      title: 'Posts of the form "Estimate" are refused',
    }]);
    await sql`select ridgeline.release_submission(${held!.id})`;
    expect(await submissionsOf(sql, form)).toMatchObject([{ data: lead }]);
    expect(await contactsOf(sql, form)).toHaveLength(1);
  });

  it("tells the office too where its browser asks first and sends nothing", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    for (let asked = 0; asked < 3; asked++) {
      const answer = await sendTo(functions, form, null, { ...MOVED, method: "OPTIONS" });
      expect(answer.status).toBe(403);
    }
    expect(await heldOf(sql, form)).toEqual([]);
    expect(await tasksOf(sql, form)).toHaveLength(1);
  });

  it("is held to twenty an hour, and takes no room and no turn from the office's own page", async () => {
    const { sql } = database();
    const form = await openForm(sql, { max_per_hour: 5 });
    for (let posts = 0; posts < 25; posts++) {
      const origin = `https://evil-${posts}.example`;
      expect((await postTo(functions, form, lead, { headers: { origin } })).status).toBe(403);
    }
    expect(await heldOf(sql, form)).toHaveLength(20);
    expect(await tasksOf(sql, form)).toHaveLength(1);
    await accepted(postTo(functions, form, lead));
    expect(await submissionsOf(sql, form)).toHaveLength(1);
  });

  it("is not held where a robot filled it, nor told of to another office", async () => {
    const { sql } = database();
    const [form, other] = [await openForm(sql), await openForm(sql)];
    await postTo(functions, form, { ...lead, [form.honeypot]: "x" }, MOVED);
    expect([await heldOf(sql, form), await tasksOf(sql, form)]).toEqual([[], []]);
    await postTo(functions, form, lead, MOVED);
    expect([await heldOf(sql, other), await tasksOf(sql, other)]).toEqual([[], []]);
  });

  it("is held as it came where it cannot be read", async () => {
    const { sql } = database();
    const form = await openForm(sql);
    await sendTo(functions, form, "{ not JSON", {
      headers: { origin: "https://new-apex.example", "content-type": "application/json" },
    });
    expect(await heldOf(sql, form)).toMatchObject([{ reason: "origin", raw: "{ not JSON" }]);
  });
});

describe("allowed_origins", () => {
  const asks = async (allowed: string, origin: string) => {
    const form = await openForm(database().sql, { allowed_origins: [allowed] });
    const preflight = await sendTo(functions, form, null, {
      method: "OPTIONS",
      headers: { origin },
    });
    const posted = await postTo(functions, form, lead, { headers: { origin } });
    expect([preflight.status, posted.status]).toEqual(
      preflight.status === 204 ? [204, 202] : [403, 403],
    );
    return preflight.status === 204;
  };
  it.each<[string, string]>([
    ["https://apexroofing.example/", SITE],
    ["https://apexroofing.example/contact?x=1#form", SITE],
    ["apexroofing.example", SITE],
    ["APEXroofing.Example/contact", SITE],
    [" https://apexroofing.example\n", SITE],
    ["https://apexroofing.example:443", SITE],
    ["http://apexroofing.example:80/", "http://apexroofing.example"],
    ["https://apexroofing.example.", SITE],
    ["https://apexroofing.example:8443/x", "https://apexroofing.example:8443"],
    ["localhost:3000", "http://localhost:3000"],
    ["http://[::1]:3000/", "http://[::1]:3000"],
    ["https://*.apexroofing.example", "https://www.apexroofing.example"],
    ["*.apexroofing.example", "https://a.b.apexroofing.example"],
    ["https://a.example, apexroofing.example", SITE],
    ["capacitor://localhost", "capacitor://localhost"],
    ["*", "https://anything.example"],
    ["*", "null"],
    ["https://xn--dcher-hra.example", "https://xn--dcher-hra.example"],
  ])("%j lets %s in", async (allowed, origin) => {
    expect(await asks(allowed, origin)).toBe(true);
  });
  it.each<[string, string]>([
    [SITE, "http://apexroofing.example"],
    [SITE, "https://apexroofing.example:8443"],
    [SITE, "https://www.apexroofing.example"],
    [SITE, "https://apexroofing.example.evil.example"],
    [SITE, "null"],
    ["https://*.apexroofing.example", SITE],
    ["https://*.apexroofing.example", "https://evilapexroofing.example"],
    ["https://*.apex_roofing.example", "https://www.apexxroofing.example"],
    ["https://*.apexroofing.example", "https://*.apexroofing.example"],
    ["", SITE],
  ])("%j keeps %s out", async (allowed, origin) => {
    expect(await asks(allowed, origin)).toBe(false);
  });
  it.each([
    "https://",
    "https:/apexroofing.example",
    "https//apexroofing.example",
    "https://dächer.example",
    "https://user:secret@apexroofing.example",
    "https://*",
    "https://www.*.example",
    "**",
    "https://apex%.example",
    "https://apexroofing.example:port",
    "not'a;site!",
    "file:///home/form.html",
    "//apexroofing.example",
  ])("refuses %j, and says what to write", async (given) => {
    const { sql } = database();
    const office = await openOffice(sql);
    await expect(anotherForm(sql, office as never, { allowed_origins: [SITE, given] }))
      .rejects.toThrow(/allowed_origins: "\S+" is no web site/);
    const form = await openForm(sql);
    await expect(sql`update ridgeline.forms set allowed_origins = ${[given]} where id = ${form.id}`)
      .rejects
      .toThrow(/allowed_origins/);
  });
  it("are kept as browsers write them, each once", async () => {
    const { sql } = database();
    const form = await openForm(sql, {
      allowed_origins: ["", "ApexRoofing.example/a", `${SITE}:443/`, "http://localhost:3000/x"],
    });
    const [row] = await sql`select allowed_origins from ridgeline.forms where id = ${form.id}`;
    expect(row!.allowed_origins).toEqual([SITE, "http://localhost:3000"]);
  });
});

describe("a name", () => {
  it.each<[string, string | null, string | null]>([
    ["Ann Lee", "Ann", "Lee"],
    ["Lee, Ann", "Ann", "Lee"],
    ["LEE, ANN", "ANN", "LEE"],
    ["Lee,Ann", "Ann", "Lee"],
    ["Lee, Ann Marie", "Ann Marie", "Lee"],
    ["García Lopez, Ana María", "Ana María", "García Lopez"],
    ["de la Cruz, Juan", "Juan", "de la Cruz"],
    ["Juan de la Cruz", "Juan", "de la Cruz"],
    ["Maria de la Cruz", "Maria", "de la Cruz"],
    ["Juan Carlos de la Cruz", "Juan Carlos", "de la Cruz"],
    ["Ludwig van Beethoven", "Ludwig", "van Beethoven"],
    ["Vincent van den Berg", "Vincent", "van den Berg"],
    ["Van Morrison", "Van", "Morrison"],
    ["Al Green", "Al", "Green"],
    ["Mary St. John", "Mary", "St. John"],
    ["Dr. Ann Lee Jr.", "Ann", "Lee Jr."],
    ["Ann Lee III", "Ann", "Lee III"],
    ["Ann Lee, Jr.", "Ann", "Lee Jr."],
    ["Ann Lee, MD, PhD", "Ann", "Lee MD PhD"],
    ["Lee Jr., Ann", "Ann", "Lee Jr."],
    ["Lee, Ann, Jr.", "Ann", "Lee Jr."],
    ["Lee, Jr., Ann", "Ann", "Lee Jr."],
    ["Lee, Dr. Ann", "Ann", "Lee"],
    ["Ann Lee, owner", "Ann", "Lee"],
    ["Mary Ann Smith", "Mary Ann", "Smith"],
    ["María-José O'Neil", "María-José", "O'Neil"],
    ["Jean-Luc D’Arc", "Jean-Luc", "D’Arc"],
    ["J. R. R. Tolkien", "J. R. R.", "Tolkien"],
    ["Ann", "Ann", null],
    ["  Ann   Lee \n", "Ann", "Lee"],
    ["Ann\u00a0Lee", "Ann", "Lee"],
    ["Mr. Lee", null, "Lee"],
    ["Mr. & Mrs. Lee", null, "Lee"],
    ["Tom & Ann Lee", "Tom & Ann", "Lee"],
    ["李小龙", "李小龙", null],
    ["Ann Do", "Ann", "Do"],
    ["Lee,", "Lee", null],
    [",", null, null],
    ["Jr.", "Jr.", null],
  ])("%j is %j, %j", async (name, first, last) => {
    const [row] = await database().sql`select automation.split_name(${name}) as split`;
    expect([row!.split.first_name ?? null, row!.split.last_name ?? null]).toEqual([first, last]);
  });
  it.each(["Lopez Roofing, Inc.", "Apex LLC", "Smith & Co.", "Dach GmbH"])(
    "of a company is the company's: %s",
    async (name) => {
      const [row] = await database().sql`select automation.split_name(${name}) as split`;
      expect(row!.split).toEqual({ company: name });
    },
  );
});

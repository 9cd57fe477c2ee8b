// Who gets an email is what its author wrote. Whatever records contain, each template of an address list
// becomes the mailboxes that its own variables name, and an RFC 5322 parser that the engine knows
// nothing of reads exactly those out of what is handed to the provider.
import { domainToUnicode } from "node:url";
import emailAddresses from "email-addresses";
import fc from "fast-check";
import { expect, test } from "vitest";
import { addressesOf, isMailbox } from "../../scripts/standins/mailbox.ts";
import { useDatabase } from "../support/database.ts";

const database = useDatabase();

interface Mailbox {
  name: string | null;
  address: string;
}

/** What a provider would read out of one text; throws when it could be read in no way, or in several. */
function read(text: string): Mailbox {
  const parsed = emailAddresses.parseAddressList({ input: text, rfc6532: true });
  const [only, ...others] = parsed ?? [];
  if (only?.type !== "mailbox" || others.length > 0) throw new Error(`not one mailbox: ${text}`);
  return {
    name: only.name?.replace(/\s+/g, " ").trim() || null,
    address: only.address.toLowerCase(),
  };
}

/** Parts of an author's list with what they become: at most one mailbox for each. */
const office: Mailbox = { name: null, address: "office@apex.example" };
interface Part {
  template: string;
  /** The mailbox, given the values of name and email; null when the email is no address. */
  means: (name: string, email: string) => Mailbox | null;
}
const parts: Part[] = [
  { template: "office@apex.example", means: () => office },
  {
    template: '"Lopez, Inc." <sales@lopez.example>',
    means: () => ({ name: "Lopez, Inc.", address: "sales@lopez.example" }),
  },
  { template: "{{contact.email}}", means: (_name, email) => mailboxOf(null, email) },
  { template: "<{{contact.email}}>", means: (_name, email) => mailboxOf(null, email) },
  { template: "{{contact.first_name}} <{{contact.email}}>", means: mailboxOf },
  { template: '"{{contact.first_name}}" <{{contact.email}}>', means: mailboxOf },
  {
    template: "{{contact.first_name}} <boss@apex.example>",
    means: (name) => ({ name: nameOf(name), address: "boss@apex.example" }),
  },
  {
    template: '"Re; {{contact.first_name}}" <desk@apex.example>',
    means: (name) => ({ name: nameOf(`Re; ${name}`), address: "desk@apex.example" }),
  },
  {
    template: "{{#if contact.email}}{{contact.email}}{{/if}}",
    means: (_name, email) => mailboxOf(null, email),
  },
  { template: "{{contact.first_name}}", means: (name) => mailboxOf(null, name) },
];

const oneLine = (text: string) =>
  text.replace(/[\u202a-\u202e\u2066-\u2069\ufeff]/g, "")
    // deno-lint-ignore no-control-regex
    .replace(/[\u0001-\u001f\u007f-\u009f\u2028\u2029]+/g, " ").replace(/^ +| +$/g, "");
/** The parser makes one blank of several, and none of those at the ends. */
const nameOf = (name: string): string | null =>
  [...oneLine(name)].slice(0, 200).join("").replace(/\s+/g, " ").trim() || null;
/** Only what is an address in the strictest reading is sure to be taken for one; see `unsure`. */
function mailboxOf(name: string | null, email: string): Mailbox | null {
  return /^[a-z0-9_+-]+(\.[a-z0-9_+-]+)*@([a-z0-9-]+\.)+[a-z]+$/i.test(email)
    ? { name: name === null ? null : nameOf(name), address: email.toLowerCase() }
    : null;
}

const address = fc.constantFrom("bo@example.com", "eve@evil.example", "Ann.Lee+x@sub.example.org");
const hostile = fc.constantFrom(
  ", ",
  "; ",
  ",",
  ";",
  "<",
  ">",
  '"',
  "\\",
  "\\\\",
  '\\"',
  "\r\n",
  "\n",
  "\u2028",
  "\u0085",
  "\t",
  "(",
  ")",
  ":",
  "@",
  "Bcc: ",
  "\r\nBcc: eve@evil.example",
  "<eve@evil.example>",
  "eve@evil.example",
  ", eve@evil.example",
  "=?utf-8?q?=2C?=",
  "{{contact.email}}",
  "{{",
  "}}",
  "\\{{",
  "，",
  "；",
  "＜eve@evil.example＞",
  "\u200b",
  "\ufeff",
  "\u202e",
  "%0d%0a",
  "&lt;",
  "undisclosed:;",
  "José",
  "屋根",
  "🏠",
  "Tom",
  "Lopez Roofing, Inc.",
  " ",
  "",
  "[",
  "]",
  ".",
);
const value = fc.oneof(
  { weight: 3, arbitrary: address },
  {
    weight: 4,
    arbitrary: fc.array(fc.oneof(hostile, address), { maxLength: 6 }).map((list) => list.join("")),
  },
  { weight: 1, arbitrary: fc.string({ unit: "grapheme", maxLength: 30 }) },
).map((text) => text.replaceAll("\0", ""));

/** The step as it would be sent for a contact with these values, for many at once. */
async function sent(asked: { config: object; name: string; email: string }[]) {
  return await database().sql<{ input: Record<string, unknown>; code: string | null }[]>`
    select p.input, p.reason ->> 'code' as code
    from jsonb_array_elements(${
    database().sql.json(asked as never)
  }::jsonb) with ordinality as a (a, place)
    cross join lateral automation.compile_addresses(a -> 'config', 'step_config') as c
    cross join lateral automation.compile_template(c.compiled) as t
    cross join lateral automation.render(t.compiled, jsonb_build_object('contact', jsonb_build_object(
      'first_name', a -> 'name', 'email', a -> 'email'))) as r
    cross join lateral automation.address_email(null::ridgeline.workflow_executions,
      row('run', r.rendered, null, null, null, null)::automation.prepared_step) as p
    order by a.place`;
}

/** What an address could be read out of by eye: nothing that separates, unless it is in quotes. */
function plain(text: string): string {
  const seen = text.normalize("NFKC").replace(/[\u200b\ufeff\u202e]/g, "").toLowerCase();
  return /[,;]/.test(seen.replace(/"(?:[^"\\]|\\.)*"/g, "")) ? "" : seen;
}

/** The name system's spelling of a domain, as its owner would write it. */
function readable(address: string): string {
  const at = address.lastIndexOf("@") + 1;
  return address.slice(0, at) + (domainToUnicode(address.slice(at)) || address.slice(at));
}

function checkList(list: Part[], name: string, email: string, found: Mailbox[], said: string) {
  const addresses = found.map(({ address }) => address);
  const sure = list.map(({ means }) => means(name, email)).filter((one) => one !== null);
  const nameAlone = list.some(({ template }) => template === "{{contact.first_name}}");
  // At most one for each part, and no two of one address.
  expect(found.length, said).toBeLessThanOrEqual(list.length);
  expect(new Set(addresses).size, said).toBe(addresses.length);
  for (const { address } of sure) expect(addresses, said).toContain(address);
  for (const mailbox of found) {
    const first = sure.find(({ address }) => address === mailbox.address);
    if (first && !nameAlone) expect(mailbox, said).toEqual(first);
    if (first) continue;
    // Not what anybody wrote outright: then it is what a value is that stands where an address should.
    const asAddress = list.some(({ template }) => template.includes("{{contact.email}}"));
    const values = [...(asAddress ? [email] : []), ...(nameAlone ? [name] : [])];
    expect(values.map(plain).some((text) => text.includes(readable(mailbox.address))), said)
      .toBe(true);
  }
}

const listOf = (input: Record<string, unknown> | undefined, key: string) =>
  (input?.[key] ?? []) as string[];

test("no content of a record changes who is written to", async () => {
  const list = fc.array(fc.constantFrom(...parts), { minLength: 1, maxLength: 4 });
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          list,
          separator: fc.constantFrom(", ", ";", ",\n"),
          asList: fc.boolean(),
          name: value,
          email: value,
          subject: value,
        }),
        { minLength: 15, maxLength: 25 },
      ),
      async (cases) => {
        const rows = await sent(cases.map(({ list, separator, asList, name, email }) => {
          const templates = list.map(({ template }) => template);
          const to = asList ? templates : templates.join(separator);
          return {
            config: {
              to,
              cc: to,
              reply_to: to,
              from: "{{contact.first_name}} <office@apex.example>",
              subject: "Hi {{contact.first_name}}",
              text: "x",
            },
            name,
            email,
          };
        }));
        cases.forEach(({ list, name, email }, index) => {
          const input = rows[index]?.input ?? {};
          const said = JSON.stringify({
            list: list.map((part) => part.template),
            name,
            email,
            input,
          });
          expect(read(String(input.from)), said).toEqual({
            name: nameOf(name),
            address: office.address,
          });
          expect(isMailbox(String(input.from)), said).toBe(true);
          expect(oneLine(String(input.subject)), said).toBe(input.subject);
          for (const key of ["to", "cc", "reply_to"]) {
            const mailboxes = listOf(input, key);
            checkList(list, name, email, mailboxes.map(read), said);
            // A provider that takes one text for all of them finds as many in it, and these.
            if (mailboxes.length > 0) {
              expect(addressesOf(mailboxes.join(", "))?.map((one) => one.toLowerCase()), said)
                .toEqual(mailboxes.map((mailbox) => read(mailbox).address));
            }
          }
        });
      },
    ),
    { numRuns: 10, endOnFailure: true },
  );
}, 120_000);

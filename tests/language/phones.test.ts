// Phone numbers in SQL against the library whose rules they follow.
import fs from "node:fs";
import fc from "fast-check";
import examples from "libphonenumber-js/examples.mobile.json";
import {
  type CountryCode,
  getCountries,
  getExampleNumber,
  parsePhoneNumberFromString,
} from "libphonenumber-js/max";
import metadata from "libphonenumber-js/metadata.max.json";
import { describe, expect, it } from "vitest";
import { phonePlansFile, phonePlansSource } from "../../scripts/lib/phone-metadata.ts";
import { useDatabase } from "../support/database.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const runs = propertyRuns(300);
const countries = getCountries();

interface Case {
  text: string;
  country: CountryCode;
}

type Parsed = NonNullable<ReturnType<typeof parsePhoneNumberFromString>>;

/** Has it the form of the numbers of its country, though the library knows none that begins like it? */
function mayBeNew(parsed: Parsed): boolean {
  const { country_calling_codes, countries, nonGeographic } = metadata as unknown as {
    country_calling_codes: Record<string, string[]>;
    countries: Record<string, [string, string, string]>;
    nonGeographic: Record<string, [string, string, string]>;
  };
  const code = parsed.countryCallingCode;
  const country = parsed.country ?? country_calling_codes[code]?.[0];
  const [, , pattern] = (country ? countries[country] : nonGeographic[code])!;
  return parsed.isPossible() && new RegExp(`^(?:${pattern})$`).test(parsed.nationalNumber);
}

/** What the library says, by its strict measure; what has a + may be newer than the library. */
function expected({ text, country }: Case): string | null {
  const parsed = parsePhoneNumberFromString(text, country);
  if (parsed?.isValid()) return parsed.number;
  const abroad = /^[^0-9]*\+/.test(text);
  if (abroad && parsed && mayBeNew(parsed)) return parsed.number;
  const led = /^[^0-9]*0[^0-9a-z#,;]*0(.*)$/.exec(text)?.[1];
  if (!abroad && led !== undefined) {
    const again = parsePhoneNumberFromString(`+${led}`);
    if (again?.isValid()) return again.number;
  }
  return null;
}

async function inSql(cases: Case[]): Promise<(string | null)[]> {
  const rows = await database().sql<{ number: string | null }[]>`
    select automation.normalize_phone(c.text, c.country) as number
    from unnest(${cases.map((one) => one.text)}::text[], ${cases.map((one) => one.country)}::text[])
      with ordinality as c (text, country, place)
    order by c.place`;
  return rows.map(({ number }) => number);
}

async function agree(cases: Case[]): Promise<void> {
  const numbers = await inSql(cases);
  const differing = cases
    .map((one, index) => ({ ...one, sql: numbers[index], library: expected(one) }))
    .filter(({ sql, library }) => sql !== library);
  expect(differing).toEqual([]);
}

const example = fc.constantFrom(...countries).map((country) =>
  getExampleNumber(country, examples)!
);
const digit = fc.integer({ min: 0, max: 9 }).map(String);

/** Real numbers with some of their digits changed, in the ways people write them. */
const written = fc.record({
  number: example,
  changed: fc.array(fc.record({ place: fc.nat(12), digit }), { maxLength: 4 }),
  form: fc.constantFrom("NATIONAL", "INTERNATIONAL", "E.164", "RFC3966", "IDD", "BARE", "CODE"),
  extension: fc.constantFrom(
    "",
    " x12",
    " ext. 12",
    ";ext=12",
    " #12",
    "x4",
    " extension 123",
    ",,12",
  ),
  separator: fc.constantFrom("", "-", "/", ".", " - ", "\u00A0", "\u2013"),
  reader: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, {
    weight: 1,
    arbitrary: fc.constantFrom<CountryCode>("US", "CA", "GB", "IT", "DE", "AR", "BR", "MX", "RU"),
  }),
}).map(({ number, changed, form, extension, separator, reader }): Case => {
  const digits = [...number.nationalNumber as string];
  for (const { place, digit } of changed) if (place < digits.length) digits[place] = digit;
  const code = number.countryCallingCode;
  const other = parsePhoneNumberFromString(`+${code}${digits.join("")}`) ?? number;
  const country = reader ?? number.country!;
  const texts: Record<string, () => string> = {
    IDD: () => other.format("IDD", { fromCountry: country }) ?? other.number,
    BARE: () => digits.join(separator),
    CODE: () => `${code}${digits.join("")}`,
  };
  const text = texts[form]?.() ?? other.format(form as "NATIONAL");
  const plain = separator && form === "NATIONAL" ? text.replace(/[ -]/g, separator) : text;
  return { text: plain + extension, country };
});

const noise = fc.record({
  text: fc.array(
    fc.oneof(
      { weight: 6, arbitrary: digit },
      { weight: 1, arbitrary: fc.constantFrom(..."+()-/. []~x#,;a*", "ext", "011", "00", "tel:") },
    ),
    { maxLength: 22 },
  ).map((parts) => parts.join("")),
  country: fc.constantFrom(...countries),
});

describe("a phone number in SQL", { timeout: 120_000 }, () => {
  it("has the rules of the library's metadata", () => {
    expect(fs.readFileSync(phonePlansFile, "utf8")).toBe(phonePlansSource());
  });

  it("is read like the library's examples, of every country in every form", async () => {
    await agree(countries.flatMap((country) => {
      const number = getExampleNumber(country, examples)!;
      return [
        number.formatNational(),
        number.formatInternational(),
        number.number,
        number.getURI(),
        number.nationalNumber as string,
        `${number.countryCallingCode}${number.nationalNumber}`,
        `00${number.countryCallingCode}${number.nationalNumber}`,
        `011 ${number.countryCallingCode} ${number.nationalNumber}`,
        `+${number.countryCallingCode} (0)${number.nationalNumber}`,
        `${number.formatNational()} x12`,
      ].flatMap((text): Case[] =>
        /^[+0]/.test(text) ? [{ text, country }, { text, country: "US" }] : [{ text, country }]
      );
    }));
  });

  it("is read as the library reads it, however it is written", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(written, { maxLength: 20 }), agree),
      { numRuns: Math.ceil(runs / 4) },
    );
  });

  it("is found by its key, however it is written", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(written, { maxLength: 20 }), async (cases) => {
        const lost = await database().sql`
          select c.text, c.country
          from unnest(${cases.map((one) => one.text)}::text[],
            ${cases.map((one) => one.country)}::text[]) as c (text, country)
          where not automation.phone_key(c.text)
            = any (automation.phone_keys(automation.normalize_phone(c.text, c.country)))`;
        expect(lost).toEqual([]);
      }),
      { numRuns: Math.ceil(runs / 4) },
    );
  });

  it("is none where the library sees none", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(noise, { maxLength: 20 }), agree),
      { numRuns: Math.ceil(runs / 4) },
    );
  });
});

// No digit of a number is lost: in JSON that is read and written, and on its way to Postgres and back.
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { connect, literal } from "../../functions/_shared/runtime/database.ts";
import { fieldsOf } from "../../functions/_shared/http/inbound-forms.ts";
import {
  NumberTooLargeError,
  parseBody,
  parseJson,
  stringifyJson,
} from "../../functions/_shared/runtime/json.ts";
import { createQueue } from "../../functions/_shared/engine/queue.ts";
import { useDatabase } from "../support/database.ts";

const database = useDatabase();
const open: { end(): Promise<void> }[] = [];
afterAll(() => Promise.all(open.map((sql) => sql.end())));
function connection() {
  const sql = connect(database().url, 1);
  open.push(sql);
  return sql;
}

const digits = fc.array(fc.integer({ min: 0, max: 9 }), { minLength: 1, maxLength: 40 })
  .map((list) => list.join(""));
const whole = digits.map((text) => text.replace(/^0+(?=.)/, ""));
/** Numbers as people and programs write them. */
const number = fc.oneof(
  fc.tuple(fc.constantFrom("", "-"), whole, fc.option(digits)).map(([sign, left, right]) =>
    `${sign}${left}${right === null ? "" : `.${right}`}`
  ),
  fc.constantFrom(
    "7615917337495251231",
    "10000000000000000001",
    "0.1000000000000000055",
    "1.10",
    "1.0",
    "1e3",
    "1E-7",
    "1e400",
    "-0",
    "0.0000001",
    "5",
  ),
);
const text = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 8 }),
  fc.constantFrom("12345678901234567890", "1.10", "__proto__", "isLosslessNumber", '"', "\\"),
);
/** JSON as text, without blanks, so that what is written must be the same. */
const json: fc.Arbitrary<string> = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    { weight: 4, arbitrary: number },
    text.map((one) => JSON.stringify(one)),
    fc.constantFrom("true", "false", "null"),
    fc.array(tie("value"), { maxLength: 4 }).map((list) => `[${list.join(",")}]`),
    fc.uniqueArray(fc.tuple(text, tie("value")), { maxLength: 4, selector: ([key]) => key })
      .map((members) =>
        `{${
          members.filter(([key]) => !/^[0-9]+$/.test(key))
            .map(([key, value]) => `${JSON.stringify(key)}:${value}`).join(",")
        }}`
      ),
  ),
})).value;

test("what is read and written again is the same text", () => {
  fc.assert(fc.property(json, (written) => {
    expect(stringifyJson(parseJson(written))).toBe(written);
    expect(stringifyJson(parseBody(written))).toBe(written);
  }));
});

test("ordinary numbers are numbers, and what is no JSON is refused", () => {
  expect(parseBody('{"a":[1,-2.5,0,1200]}')).toEqual({ a: [1, -2.5, 0, 1200] });
  expect(() => parseBody("{'a': 1.10}")).toThrow(SyntaxError);
  expect(() => parseBody('{"a": 01.10}')).toThrow(SyntaxError);
  expect(() => parseBody('{"a": 1e1000000}')).toThrow(NumberTooLargeError);
  expect(() => parseBody(`{"a": 1${"0".repeat(2_000)}}`)).toThrow(NumberTooLargeError);
  expect(stringifyJson({ a: undefined, b: [undefined], c: new Date(0), d: null })).toBe(
    JSON.stringify({ a: undefined, b: [undefined], c: new Date(0), d: null }),
  );
});

test("Postgres gets every digit, and gives it back", async () => {
  const sql = connection();
  await fc.assert(
    fc.asyncProperty(
      fc.uniqueArray(number, { minLength: 1, maxLength: 6 }),
      async (numbers) => {
        const value = parseBody(`[${numbers.join(",")}]`);
        const [row] = await sql<{ as_text: string; back: unknown; same: boolean }[]>`
          select v.value::text as as_text, v.value as back,
            v.value = ${`[${numbers.join(",")}]`}::text::jsonb as same
          from (select ${sql.json(value as never)}::jsonb as value) as v`;
        expect(row?.same).toBe(true);
        expect(stringifyJson(row?.back).replaceAll(",", ", ")).toBe(row?.as_text);
      },
    ),
    { numRuns: 60 },
  );
});

test("a claimed payload has the digits of its record", async () => {
  const sql = connection();
  const [row] = await sql<{ payload: unknown }[]>`
    select jsonb_build_object('body', '{"id": 7615917337495251231, "price": 1.10}'::jsonb) as payload`;
  expect(stringifyJson(row?.payload)).toBe('{"body":{"id":7615917337495251231,"price":1.10}}');
  // What is reported may hold them too.
  await expect(createQueue(sql).exchange("w", [], {}, 60)).resolves.toMatchObject({ finished: [] });
});

test("the fields of a form keep them", () => {
  const json = '{"id":7615917337495251231,"list":[1.10,2],"n":5}';
  expect(fieldsOf({ json })).toBe(json);
});

test("a text that is written out in a statement arrives as it is, whatever it holds", async () => {
  const sql = connection();
  const texts = fc.array(
    fc.oneof(
      fc.string({ unit: "grapheme", maxLength: 20 }),
      fc.string({
        unit: fc.constantFrom("'", "\\", '"', "\n", "$", "E", "x", ";", "-", "{", "\u2019"),
      }),
    ).map((text) => text.replaceAll("\0", "")),
    { minLength: 1, maxLength: 20 },
  );
  await fc.assert(
    fc.asyncProperty(texts, async (list) => {
      for (const strings of ["on", "off"]) {
        const [row] = await sql.begin(async (transaction) => {
          await transaction.unsafe(`set local standard_conforming_strings = ${strings}`);
          return await transaction.unsafe(
            `select ${list.map((text, n) => `${literal(text)} as t${n}`).join(", ")}`,
          );
        });
        expect(Object.values(row ?? {})).toEqual(list);
      }
    }),
    { numRuns: 50 },
  );
});

test("a text with a zero in it, which would end the statement, is never written out", () => {
  expect(() => literal("a\0'; select 1")).toThrow(/U\+0000/);
});

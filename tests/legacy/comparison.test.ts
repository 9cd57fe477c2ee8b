// "mode": "legacy" says what the old engine said, of any value by any operator.
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { useDatabase } from "../support/database.ts";
import { operators, type Value } from "./comparison.model.ts";
import { propertyRuns } from "../support/runs.ts";

const database = useDatabase();
const runs = propertyRuns(1500);

const texts = fc.oneof(
  fc.constantFrom(
    ...[
      "",
      " ",
      "null",
      "undefined",
      "true",
      "a,b",
      "a",
      "tag",
      "hot-tag",
      "[object Object]",
      "won",
      "Won",
    ],
    ...[
      "5",
      "05",
      " 5 ",
      "5.0",
      "+5",
      "-0",
      "5.",
      ".5",
      ".",
      "1e3",
      "1E-7",
      "1e400",
      "-1e400",
      "1e-400",
      "1_000",
    ],
    ...[
      "0x1F",
      "0X1f",
      "0b101",
      "0o17",
      "-0x1F",
      "0x",
      "Infinity",
      "-Infinity",
      "infinity",
      "NaN",
      "2026-03-08",
    ],
    ...[
      "\u00a05\u3000",
      "\ufeff7",
      "\u180e7",
      "9007199254740993",
      "0.1",
      "123456789012345678901234567890",
      "1e21",
    ],
    ...[
      "0x20000000000001",
      "0x20000000000003",
      "179769313486231570000e289",
      "000000000000.0005e4",
      "e5",
      "--5",
    ],
  ),
  fc.string({ maxLength: 4 }).filter((text) =>
    !text.includes("\0") && Buffer.from(text).toString() === text
  ),
  fc.double({ noNaN: true }).map(String),
  fc.stringMatching(/^[-+]?[0-9]{0,25}\.?[0-9]{0,25}(e[-+]?[0-9]{1,4})?$/),
);
const numbers = fc.oneof(
  fc.constantFrom(
    0,
    1,
    5,
    -3,
    0.5,
    0.1,
    1e21,
    1e-7,
    123456789012345680000,
    9007199254740992,
    5e-324,
    1e300,
  ),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
);
const value: fc.Arbitrary<Value> = fc.letrec<{ value: Value }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small" },
    fc.constant(null),
    fc.constant(undefined),
    fc.boolean(),
    texts,
    numbers,
    fc.array(tie("value"), { maxLength: 3 }),
    fc.dictionary(fc.constantFrom("a", "b"), tie("value"), { maxKeys: 2, noNullPrototype: true }),
  ),
})).value;

// A list that comes by JSON has null where it had undefined.
const byJson = (given: Value): Value =>
  given === undefined ? undefined : JSON.parse(JSON.stringify(given));
interface Encounter {
  operator: string;
  value: Value;
  expected: Value;
}

const verdicts = (cases: Encounter[]) =>
  database().sql<{ holds: boolean; errors: number }[]>`
    select
      automation.evaluate_conditions(c.compiled, s.context) as holds,
      jsonb_array_length(c.problems)::int as errors
    from jsonb_array_elements(${
    JSON.stringify(cases.map((one) => ({
      condition: {
        field: "contact.x",
        operator: one.operator,
        mode: "legacy",
        value: one.expected,
      },
      context: { contact: { x: one.value } },
    })))
  }::text::jsonb) with ordinality as g (given, place)
      cross join lateral automation.compile_conditions(given -> 'condition') as c
      cross join lateral (select given -> 'context') as s (context)
    order by place`;

// What was read from two places was never one object.
const expected = (one: Encounter) =>
  operators[one.operator]!(structuredClone(one.value), one.expected);

async function expectSame(cases: Encounter[]): Promise<void> {
  const found = await verdicts(cases);
  expect(found.map(({ holds, errors }, index) => ({ ...cases[index], holds, errors }))).toEqual(
    cases.map((one) => ({ ...one, holds: expected(one), errors: 0 })),
  );
}

describe("the legacy comparison", () => {
  test("agrees with the old one on every operator and any two values", async () => {
    const encounter = fc.record({
      operator: fc.constantFrom(...Object.keys(operators)),
      value: value.map(byJson),
      expected: fc.oneof(value, fc.array(value, { maxLength: 4 })).map(byJson),
    });
    // As often as not the two are of one kind.
    const alike = fc.tuple(encounter, fc.boolean()).map(([one, same]) =>
      same
        ? { ...one, expected: one.operator.endsWith("in") ? [one.value ?? null] : one.value }
        : one
    );
    const batch = fc.array(fc.oneof(encounter, alike), { minLength: 40, maxLength: 40 });
    await fc.assert(fc.asyncProperty(batch, expectSame), { numRuns: Math.ceil(runs / 10) });
  });

  test("every operator by every type of JSON, each against each", async () => {
    const types: Value[] = [
      undefined,
      null,
      true,
      false,
      0,
      1,
      5,
      -1.5,
      "",
      " ",
      "5",
      "won",
      "Won",
      "null",
      "2026-03-08",
      [],
      [5],
      ["5"],
      [null],
      ["a", "b"],
      [["a"], []],
      {},
      { a: 1 },
    ];
    const cases = Object.keys(operators).flatMap((operator) =>
      types.flatMap((one) => types.map((other) => ({ operator, value: one, expected: other })))
    );
    await expectSame(cases);
  });

  test("as docs/legacy.md has it", async () => {
    const of = async (operator: string, one: Value, expected?: Value) =>
      (await verdicts([{ operator, value: one, expected }]))[0]!.holds;
    expect(await of("not_equals", undefined, null), "a missing field is not null").toBe(true);
    expect(await of("equals", 5, "5"), "5 is not its text").toBe(false);
    expect(await of("contains", ["hot-tag"], "tag"), "part of a tag is in the list").toBe(true);
    expect(await of("contains", undefined, "und"), "missing reads undefined").toBe(true);
    expect(await of("contains", null, null), "null is looked for by its name").toBe(true);
    expect(await of("less_than", null, 1), "null is 0").toBe(true);
    expect(await of("less_than", "2026-03-08", "2026-03-09"), "dates cannot be compared").toBe(
      false,
    );
    expect(await of("in", "a", "a,b"), "a text is no list").toBe(false);
    expect(await of("not_in", "a", "a,b")).toBe(true);
    expect(await of("is_empty", " ")).toBe(false);
  });

  test("what is no legacy condition is refused, with the names there are", async () => {
    const [unknown] = await database().sql<{ problems: { path: string; code: string }[] }[]>`
      select problems from automation.compile_conditions(
        '[{"field": "contact.x", "operator": "starts_with", "value": "a", "mode": "legacy"},
          {"field": "contact.x", "operator": "equals", "value": "a", "mode": "modern"},
          {"operator": "equals", "value": "a", "mode": "legacy"}]')`;
    expect(unknown!.problems.map(({ path, code }) => [path, code])).toEqual([
      ["conditions[0].operator", "unknown_operator"],
      ["conditions[1].mode", "invalid_value"],
      ["conditions[2].field", "invalid_field"],
    ]);
  });

  test("a list nested too deep for anybody raises nothing", async () => {
    const deep = `${"[".repeat(3000)}1${"]".repeat(3000)}`;
    const [row] = await database().sql<{ holds: boolean }[]>`
      select automation.evaluate_conditions(c.compiled, ${`{"contact": {"x": ${deep}}}`}::text::jsonb) as holds
      from automation.compile_conditions(
        '[{"field": "contact.x", "operator": "greater_than", "value": 5, "mode": "legacy"}]') as c`;
    expect(row!.holds).toBe(false);
  });
});

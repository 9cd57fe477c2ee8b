// Records and conditions as customers' data has them: nulls, gaps, text in several scripts, numbers
// and dates that came in as text.
import fc from "fast-check";
import { type Operator, operatorNeeds } from "./reference/language.ts";
import type { Context, Json, Leaf } from "./oracle.ts";

const words = [
  "",
  " ",
  "lead",
  "Lead",
  "LEAD",
  "won",
  "Ünal",
  "ünal",
  "ÉCOLE",
  "école",
  "Straße",
  "日本",
  "naïve 👍🏽",
  "Ω",
  "ω",
  "a",
  "true",
  "No",
  "yes",
  "off",
  'it\'s "quoted" \\ %_',
  "line\nbreak",
];
const numerals = ["0", "5", "05", " 5 ", "5.0", "-3", "+7", ".5", "1e5", "12345"];
const dates = [
  "2026-03-08",
  "2026-03-07",
  "2026-11-01",
  "2024-02-29",
  "2026-02-29",
  "2026-13-01",
  "2026-03-08T06:59:59Z",
  "2026-03-08T07:00:00Z",
  "2026-03-08T02:30:00",
  "2026-11-01T01:30",
  "2026-03-08 12:00:00+00",
  "2026-03-07T23:59:59.5-05:00",
  "2026-03-08T04:59:59.500000+00:00",
  "2026-03-09T09:00:00+0530",
  "1999-12-31T23:59:59Z",
];
const text = fc.constantFrom(...words, ...numerals, ...dates);
const number = fc.constantFrom(0, 1, 5, -3, 0.5, 5.25, 1000, 100000);
const scalar: fc.Arbitrary<Json> = fc.oneof(
  { weight: 5, arbitrary: text },
  { weight: 2, arbitrary: number },
  fc.boolean(),
);
const value: fc.Arbitrary<Json> = fc.oneof(
  { weight: 6, arbitrary: scalar },
  fc.constant(null),
  fc.array(fc.oneof(scalar, fc.constant(null)), { maxLength: 3 }),
  fc.dictionary(fc.constantFrom("a", "A", "b"), scalar, { maxKeys: 2, noNullPrototype: true }),
);

const names = ["stage", "score", "tags", "due", "note"];
const record = fc.dictionary(fc.constantFrom(...names), value, {
  maxKeys: 5,
  noNullPrototype: true,
});
const recordOrNull = fc.option(record, { nil: null, freq: 5 });

export const context: fc.Arbitrary<Context> = fc.record({
  contact: fc.record(
    { ...Object.fromEntries(names.map((n) => [n, value])), custom_fields: record },
    {
      requiredKeys: [],
      noNullPrototype: true,
    },
  ),
  project: recordOrNull,
  job: recordOrNull,
  trigger: fc.record({
    record: recordOrNull,
    contact: record,
    old: recordOrNull,
    changed: fc.array(fc.constantFrom(...names), { maxLength: 2 }),
    entity: fc.constantFrom("contact", "project"),
  }, { requiredKeys: [], noNullPrototype: true }),
  steps: fc.constant({ quote: { items: [{ n: 1 }, { n: "two" }] } }),
}, { requiredKeys: [], noNullPrototype: true }) as fc.Arbitrary<Context>;

export const field = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...names.map((name) => `contact.${name}`)) },
  fc.constantFrom(...names),
  fc.constantFrom(
    "contact.custom_fields.stage",
    "project.score",
    "job.due",
    "trigger.record.stage",
    "trigger.contact.stage",
    "contact.tags[0]",
    "contact.tags.1",
    "custom_fields.stage",
    "steps.quote.items[1].n",
    "nothing.here",
  ),
);

const filled = scalar.filter((one) => one !== "");
const filledText = fc.oneof(text.filter((one) => one !== ""), number);
const patterns = [
  "^le",
  "won$",
  "a|b",
  "[0-9]+",
  "l.*d",
  "\\d{2,4}",
  "^(?:lead|won)$",
  "[^a-z]",
  "ü",
];
const unit = fc.constantFrom("minutes", "hours", "days", "weeks", "months", "years");

const valueFor = {
  any: value.filter((one) => JSON.stringify(one) !== "{}"),
  scalar: filled,
  text: filledText,
  ordered: fc.oneof({ weight: 5, arbitrary: filledText }, field.map((name) => ({ field: name }))),
  range: fc.tuple(filledText, filledText),
  date: fc.oneof(
    fc.constantFrom("now", "Today", "yesterday", "tomorrow"),
    fc.constantFrom(...dates).filter((one) => !["2026-02-29", "2026-13-01"].includes(one)),
    field.map((name) => ({ field: name })),
  ),
  duration: fc.dictionary(unit, fc.integer({ min: 0, max: 60 }), {
    minKeys: 1,
    maxKeys: 3,
    noNullPrototype: true,
  }),
  nothing: fc.constant(null),
  list: fc.array(scalar, { minLength: 1, maxLength: 4 }),
  pattern: fc.constantFrom(...patterns),
} satisfies Record<string, fc.Arbitrary<unknown>>;

const operators = Object.keys(operatorNeeds) as Operator[];

export const leaf: fc.Arbitrary<Leaf> = fc.constantFrom(...operators).chain((operator) =>
  fc.record({
    field,
    operator: fc.constant(operator as string),
    value: valueFor[operatorNeeds[operator]] as fc.Arbitrary<Json>,
    case_sensitive: fc.boolean(),
    logic: fc.constantFrom("and", "OR", null),
  }, { requiredKeys: ["field", "operator", "value"], noNullPrototype: true })
);

const kinds: fc.Arbitrary<Json>[] = [
  fc.constantFrom<Json>(...words, null),
  fc.constantFrom<Json>(0, 5, -3, 5.25, "5", "05", " 5 ", "5.0", "-3", null),
  fc.oneof(
    fc.constantFrom<Json>(...dates, null),
    // Around the night in which New York's clocks change, to the minute.
    fc.integer({ min: -2000, max: 2000 }).map((minutes) =>
      new Date(Date.parse("2026-03-08T09:00:00Z") + minutes * 60_000).toISOString()
    ),
  ),
  fc.array(fc.constantFrom<Json>("lead", "Won", 5, null), { maxLength: 2 }),
  fc.constantFrom<Json>(true, false, 1, 0, "true", "No", "yes"),
];
const dateKind = 2;
const dateOperators: Operator[] = ["before", "after", "within_last", "within_next"];
const shortly = fc.record({
  days: fc.integer({ min: 0, max: 2 }),
  hours: fc.integer({ min: 0, max: 30 }),
}, { requiredKeys: ["hours"], noNullPrototype: true });
const keeping = (wanted: fc.Arbitrary<Json>, sound: (one: Json) => boolean) => wanted.filter(sound);
const isFilled = (one: Json) => ["string", "number"].includes(typeof one) && one !== "";

/** One condition on one field whose values are of a kind with the operand, so that they meet. */
export const encounter: fc.Arbitrary<{ leaf: Leaf; value: Json; old: Json }> = fc
  .tuple(fc.constantFrom(...kinds.keys()), fc.constantFrom(...operators), fc.boolean())
  .map(([index, operator, usual]) =>
    [index, index === dateKind && usual ? dateOperators : [operator]] as const
  )
  .chain(([index, choice]) => fc.tuple(fc.constant(index), fc.constantFrom(...choice)))
  .chain(([index, operator]) => {
    const kind = kinds[index] ?? text;
    const meeting = fc.oneof({ weight: 6, arbitrary: kind }, value);
    const some = fc.oneof(kind, scalar).filter(isFilled);
    const operand: Record<string, fc.Arbitrary<unknown>> = {
      ...valueFor,
      any: kind,
      scalar: keeping(fc.oneof(kind, scalar), (one) => isFilled(one) || typeof one === "boolean"),
      text: some,
      ordered: some,
      range: fc.tuple(some, some),
      date: valueFor.date.filter((one) => typeof one === "string"),
      duration: shortly,
      list: fc.array(
        fc.oneof(kind, scalar).filter((one) => one !== null && typeof one !== "object"),
        {
          minLength: 1,
          maxLength: 3,
        },
      ),
    };
    return fc.record({
      leaf: fc.record({
        field: fc.constantFrom("contact.x", "x"),
        operator: fc.constant(operator as string),
        value: operand[operatorNeeds[operator]] as fc.Arbitrary<Json>,
        case_sensitive: fc.boolean(),
      }, { noNullPrototype: true }),
      value: meeting,
      old: meeting,
    }, { noNullPrototype: true });
  });

/** Patterns put together from what patterns are made of, most of them with something wrong. */
export const pattern = fc.array(
  fc.constantFrom(
    "a",
    "b",
    "a",
    "b",
    "ab",
    ".",
    "|",
    "(",
    "(?:",
    ")",
    "*",
    "+",
    "?",
    "{2}",
    "{1,3}",
    "{2,}",
    "{40}",
    "{0,2}",
    "{3,1}",
    "{",
    "^",
    "$",
    "[ab]",
    "[^a]",
    "[a-c]",
    "[",
    "]",
    "-",
    "\\d",
    "\\w",
    "\\b",
    "\\B",
    "\\.",
    "\\-",
    "\\1",
    "[c-a]",
    "[\\d-]",
    "[\\]a]",
    "[a\\-c]",
    "(?=a)",
    "(a|b)",
    "(ab)+",
    "a{4}",
    "(a{9}){9}",
    "b{200}",
    "b{201}",
    "(a{9}){30}",
  ),
  { maxLength: 8 },
).map((parts) => parts.join(""));

/** Groups in groups, in each of the ways to write them. */
export const document: fc.Arbitrary<unknown> = fc.letrec<{ node: unknown }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, depthSize: "small", withCrossShrink: true },
    { weight: 4, arbitrary: leaf },
    fc.array(leaf, { maxLength: 4 }),
    fc.record({ all: fc.array(tie("node"), { maxLength: 3 }) }, { noNullPrototype: true }),
    fc.record({ any: fc.array(tie("node"), { minLength: 1, maxLength: 3 }) }, {
      noNullPrototype: true,
    }),
    fc.record({ not: tie("node") }, { noNullPrototype: true }),
    fc.record({
      operator: fc.constantFrom("and", "or"),
      conditions: fc.array(tie("node"), { minLength: 1, maxLength: 3 }),
    }, { noNullPrototype: true }),
    fc.constantFrom(null, {}, []),
  ),
})).node;

/** Documents with something wrong, most of them: each part may be replaced by any other value. */
const junk = fc.oneof(
  value,
  fc.constantFrom<Json>("", "contact..stage", "a b", 'x["y"]', "and", "xor", -1, 1.5, [[]]),
  fc.constantFrom(
    "(",
    "a{2,1}",
    "a**",
    "\\1",
    "(?=a)",
    "[z-a]",
    "((a{50}){50})",
    "[]",
    "a|",
    "x{3}?",
  ),
  fc.constantFrom("3 days", "0 weeks", "1 fortnight", "3 ms", "200 years"),
  fc.constantFrom<Json>({ days: -1 }, { days: 1.5 }, { field: "contact.due" }, { field: 7 }),
);

const brokenLeaf = leaf.chain((sound) =>
  fc.subarray(["field", "operator", "value", "case_sensitive", "logic", "extra"], { maxLength: 2 })
    .chain((keys) => fc.record(Object.fromEntries(keys.map((key) => [key, junk]))))
    .chain((changes) =>
      fc.subarray(Object.keys(sound), { minLength: Object.keys(sound).length - 1 }).map((kept) => ({
        ...Object.fromEntries(Object.entries(sound).filter(([key]) => kept.includes(key))),
        ...changes,
      }))
    )
);

export const anyDocument: fc.Arbitrary<unknown> = fc.letrec<{ node: unknown }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, depthSize: "small", withCrossShrink: true },
    { weight: 4, arbitrary: brokenLeaf },
    { weight: 2, arbitrary: leaf },
    fc.array(tie("node"), { maxLength: 3 }),
    fc.dictionary(
      fc.constantFrom("all", "any", "not", "conditions", "operator", "id", "logic"),
      fc.oneof(fc.array(tie("node"), { maxLength: 2 }), tie("node"), fc.constantFrom("and", "OR")),
      { maxKeys: 2, noNullPrototype: true },
    ),
    junk,
  ),
})).node;

export const zone = fc.constantFrom("UTC", "America/New_York", "Asia/Kolkata", "Europe/Berlin");
export const at = fc.constantFrom(
  "2026-03-08T06:59:00Z",
  "2026-03-08T12:00:00Z",
  "2026-11-01T05:30:00Z",
  "2026-03-31T04:00:00Z",
).map((written) => new Date(written));

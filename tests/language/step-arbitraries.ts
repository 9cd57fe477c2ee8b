// Step configurations as people and programs write them: sound ones from the published schemas
// themselves, and the same with any part replaced by something else.
import fc from "fast-check";
import type { Schema, StepType } from "./reference/steps.ts";
import { settingSchemas, stepTypes } from "../../packages/client/step-schemas.ts";
import { anyDocument, document } from "./arbitraries.ts";

type Arbitrary = fc.Arbitrary<unknown>;
type Value = Record<string, unknown>;

const templates = fc.constantFrom(
  "Hi {{contact.first_name}}",
  '{{ contact.first_name | default: "there" }}',
  "{{#if contact.stage equals 'won'}}yes{{else}}no{{/if}}",
  "{{today}}",
);
const brokenTemplates = fc.constantFrom(
  "Hi {{contact.first_name",
  "{{ | upper }}",
  "{{contact.x | shout}}",
  "{{#if contact.x}}",
  "{{/if}}",
);
const texts = fc.oneof(templates, fc.constantFrom("Call", "won", "ÉCOLE 日本", " ", "a\nb"));
const names = fc.constantFrom("hot", "warm", "cold", "a", "b", "c", "long_text", "Z9");
const spans = fc.constantFrom<unknown>(
  "3 days",
  "90 minutes",
  " 2 WEEKS ",
  { days: 3 },
  { hours: 1, minutes: 30 },
);

const formats: Record<string, Arbitrary> = {
  template: texts,
  amount: fc.constantFrom<unknown>(0, 3, 1.5, "2", "0.25", 9999999, "{{contact.days}}", 0.1),
  moment: fc.constantFrom("2026-12-01", "2024-02-29T09:30:00Z", "{{job.scheduled_at}}"),
  id: fc.constantFrom("7F1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11", "{{contact.assigned_to}}"),
  "length-of-time": spans,
  "signed-length-of-time": fc.oneof(spans, fc.constantFrom("-24 hours", "+ 1 day", "- 3 mins")),
  "time-of-day": fc.constantFrom("00:00", "10:00", "23:59"),
  zone: fc.constantFrom("tenant", "contact", "America/Chicago", "europe/berlin", "UTC"),
  conditions: document,
};

const anything: Arbitrary = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }).filter((value) => !JSON.stringify(value).includes("\\u")),
  texts,
);

const patterned = (pattern: string) =>
  pattern.includes("[tT]")
    ? fc.constantFrom(
      "https://example.com/hook",
      "HTTP://x",
      "{{contact.url}}",
    )
    : names;

/** Values that a schema describes, but for what only anyOf and its kind say. */
function valuesOf(schema: Schema): Arbitrary {
  if (schema.enum) return fc.constantFrom(...schema.enum);
  if (schema.anyOf && !schema.properties) return fc.oneof(...schema.anyOf.map(valuesOf));
  if (schema.pattern) return patterned(schema.pattern);
  const format = formats[schema.format ?? ""];
  if (format && schema.format !== "template") return format;
  const types = typeof schema.type === "string" ? [schema.type] : schema.type;
  if (!types) return fc.oneof(texts, anything);
  return fc.oneof(...types.map((type): Arbitrary => {
    switch (type) {
      case "string":
        return texts;
      case "integer":
        return fc.integer({ min: schema.minimum ?? 0, max: schema.maximum ?? 9 });
      case "number":
        return fc.constantFrom(1, 50, 0.5, 1000);
      case "array":
        return fc.array(valuesOf(schema.items ?? {}), {
          minLength: schema.minItems ?? 0,
          maxLength: Math.min(schema.maxItems ?? 3, 4),
        });
      default:
        return objectsOf(schema);
    }
  }));
}

function objectsOf(schema: Schema): fc.Arbitrary<Value> {
  const { properties, required = [], additionalProperties } = schema;
  if (!properties) {
    const member = typeof additionalProperties === "object"
      ? valuesOf(additionalProperties)
      : anything;
    const key = fc.constantFrom("stage", "X-From", "custom_fields.roof");
    return fc.dictionary(key, member, { minKeys: 1, maxKeys: 2, noNullPrototype: true });
  }
  const members = Object.fromEntries(
    Object.entries(properties).map(([key, its]) => [key, valuesOf(its)]),
  );
  // Few keys at a time, so that those that exclude each other often stay apart.
  const all = Object.keys(members);
  return fc.subarray(all, { maxLength: Math.min(all.length, 3) }).chain((keys) =>
    fc.record(
      Object.fromEntries(
        [...new Set([...required, ...keys])].map((key) => [key, members[key] ?? anything]),
      ),
      { noNullPrototype: true },
    )
  );
}

const spellings: Partial<Record<StepType, Arbitrary>> = {
  send_sms: fc.record({ message: texts }),
  send_email: fc.record({ subject: texts, body: texts }),
  webhook: fc.record({ url: fc.constant("https://x"), payload: anything, method: names }),
  create_task: fc.record({ title: texts, due_date_days: fc.constantFrom<unknown>(3, "soon") }),
  update_field: fc.record({ field: texts, value: texts, table: fc.constantFrom("jobs", "s", 5) }),
  add_tag: fc.record({ tag_name: texts }),
  remove_tag: fc.record({ name: texts }),
  update_contact: fc.record({ updates: fc.constantFrom<unknown>({ a: 1 }, {}, null) }),
  wait: fc.oneof(
    fc.record({
      duration: fc.constantFrom<unknown>(5, "5", "3 days", { days: 1 }, null),
      unit: fc.constantFrom("days", "weeks", "moons", null),
    }),
    fc.record({ delay_hours: fc.constantFrom<unknown>(2, "x") }),
  ),
  conditional: fc.oneof(
    fc.record({ condition: anyDocument }),
    anyDocument,
    fc.record({ operator: fc.constantFrom("or", "and", "xor"), conditions: anyDocument }),
  ),
};

const branches = (member: Arbitrary, key: string) =>
  fc.array(fc.tuple(names, member), { minLength: 1, maxLength: 4 }).map((list) => ({
    branches: list.map(([name, value]) => ({ name, [key]: value })),
  }));

/** Sound configurations that a schema alone would seldom hit on. */
const shaped: Partial<Record<StepType, Arbitrary>> = {
  wait: fc.oneof(
    fc.record({ event: fc.constantFrom<unknown>("sms_received", { type: "x" }), timeout: spans }),
    fc.record({ until: formats.moment ?? texts, offset: spans }),
  ),
  conditional: branches(document, "conditions"),
  split: branches(fc.constantFrom(1, 0.5, 50, 1_000_000), "weight"),
};

const odd = fc.oneof(
  anything,
  brokenTemplates,
  anyDocument,
  fc.constantFrom<unknown>(
    null,
    "",
    [],
    {},
    -1,
    0,
    1e7,
    0.0000001,
    1000001,
    "-1",
    "soon",
    "2026-02-30",
    "24:00",
    "Mars/Olympus",
    "200 years",
    { days: -1 },
    "ftp://x",
    "GET",
    "post",
    "else",
    "1st",
    [[]],
    ["mon", "Mon"],
  ),
);

/** One part of a document, wherever it is, replaced, removed or added. */
function mutated(value: unknown): Arbitrary {
  if (Array.isArray(value) && value.length) {
    const inside = fc.nat(value.length - 1).chain((place) =>
      mutated(value[place]).map((part) =>
        value.map((item, n) => n === place ? part : item as unknown)
      )
    );
    return fc.oneof(
      inside,
      odd,
      fc.constant([...value, ...value]),
      fc.constant(value.slice(1)),
    );
  }
  const keys = typeof value === "object" && value !== null ? Object.keys(value) : [];
  if (keys.length === 0) return odd;
  const object = value as Value;
  return fc.constantFrom(...keys).chain((key) =>
    fc.oneof(
      { weight: 4, arbitrary: mutated(object[key]).map((part) => ({ ...object, [key]: part })) },
      fc.constant(Object.fromEntries(Object.entries(object).filter(([name]) => name !== key))),
      fc.tuple(fc.constantFrom("extra", "until", "event", "timeout", "user_id", "branches"), odd)
        .map(([name, part]) => ({ ...object, [name]: part })),
    )
  );
}

const isConfig = (value: unknown): value is Value =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const orMutated = (sound: Arbitrary) => fc.oneof(sound, sound.chain(mutated)).filter(isConfig);

export interface StepDocument {
  type: StepType;
  config: Value;
}

export const stepDocument: fc.Arbitrary<StepDocument> = fc.constantFrom(...stepTypes).chain(
  ({ name: type, config_schema }) => {
    const schema: Schema = config_schema;
    const examples = fc.constantFrom<unknown>(...schema.examples ?? []);
    const sound = fc.oneof(
      examples,
      { weight: 3, arbitrary: objectsOf(schema) },
      shaped[type] ?? examples,
      spellings[type] ?? examples,
    );
    return orMutated(sound).map((config) => ({ type, config }));
  },
);

const settingOf = (schema: Schema) =>
  orMutated(fc.oneof(fc.constantFrom<unknown>(...schema.examples ?? []), objectsOf(schema)));

export const settings = settingOf(settingSchemas.settings.config_schema);
export const retry = settingOf(settingSchemas.retry.config_schema);

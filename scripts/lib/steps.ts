// packages/client/step-schemas.ts and docs/steps.md, from the schemas that the database publishes.
import type { Sql } from "postgres";
import { z } from "zod";
import type { Schema } from "../../tests/language/reference/steps.ts";

const published = z.array(z.object({
  kind: z.enum(["step", "setting"]),
  name: z.string(),
  lane: z.enum(["database", "sms", "email", "webhook"]).nullable(),
  branches: z.array(z.string()).nullable(),
  description: z.string(),
  config_schema: z.custom<Schema>((value) => typeof value === "object" && value !== null),
}));

export type PublishedSchema = z.infer<typeof published>[number];

export async function publishedSchemas(sql: Sql): Promise<PublishedSchema[]> {
  return published.parse(
    await sql`select * from ridgeline.workflow_schemas order by kind desc, name collate "C"`,
  );
}

export function schemasSource(schemas: PublishedSchema[]): string {
  const steps = schemas.filter(({ kind }) => kind === "step").map(({ kind: _, ...step }) => step);
  const settings = schemas.filter(({ kind }) => kind === "setting").map((
    { name, description, config_schema },
  ) => [name, { description, config_schema }]);
  return "// Generated from sql/ by scripts/types. Do not edit.\n\n" +
    `export const stepTypes = ${JSON.stringify(steps, null, 2)} as const;\n\n` +
    `export const settingSchemas = ${
      JSON.stringify(Object.fromEntries(settings), null, 2)
    } as const;\n`;
}

const typeNames: Record<string, string> = {
  string: "text",
  number: "number",
  integer: "whole number",
  array: "list",
  object: "object",
};
const formatNames: Record<string, string> = {
  amount: "amount",
  moment: "date",
  id: "id",
  "length-of-time": "length of time",
  "signed-length-of-time": "length of time with a sign",
  "time-of-day": "time of day",
  zone: "zone",
  html: "HTML",
  conditions: "[conditions](conditions.md)",
};

function bounds({ minItems: least, maxItems: most, ...schema }: Schema): string {
  if (least !== undefined && most !== undefined) return `, ${least} to ${most}`;
  if (most !== undefined) return `, at most ${most}`;
  if (schema.minimum !== undefined) return `, ${schema.minimum} to ${schema.maximum}`;
  return schema.exclusiveMinimum === undefined
    ? ""
    : `, more than ${schema.exclusiveMinimum} and at most ${schema.maximum}`;
}

function typeWords(schema: Schema): string {
  const format = formatNames[schema.format ?? ""];
  if (format) return format;
  if (schema.format === "header") return "text or object";
  if (schema.enum) return schema.enum.map((value) => `\`${value}\``).join(", ");
  if (schema.anyOf) return schema.anyOf.map(typeWords).join(" or ");
  const types = typeof schema.type === "string" ? [schema.type] : schema.type ?? ["any JSON"];
  return types.map((type) => typeNames[type] ?? type).join(" or ") + bounds(schema);
}

const isNeeded = (schema: Schema, key: string) => schema.required?.includes(key) ?? false;

const alternatives = (schema: Schema) =>
  (schema.oneOf ?? schema.anyOf ?? []).flatMap(({ required = [] }) => required);

/** Required keys first, then those of which one is needed; nested ones after the key they are in. */
function keyRows(schema: Schema, prefix = ""): string[] {
  const first = [...schema.required ?? [], ...alternatives(schema)];
  const place = (key: string) => first.includes(key) ? first.indexOf(key) : first.length;
  const entries = Object.entries(schema.properties ?? {})
    .sort(([one], [other]) => place(one) - place(other));
  return entries.flatMap(([key, its]) => {
    const name = `${prefix}${key}`;
    const description = its.description ?? "";
    const row = `| \`${name}\`${isNeeded(schema, key) ? " (needed)" : ""} | ${
      typeWords(its)
    } | ${description} |`;
    const nested = its.items?.properties
      ? keyRows(its.items, `${name}[].`)
      : keyRows(its, `${name}.`);
    const chosen = (its.anyOf ?? []).flatMap((option) => keyRows(option, `${name}.`));
    return [row, ...nested, ...chosen];
  });
}

const coded = (keys: string[]) => keys.map((key) => `\`${key}\``).join(", ");

/** Which keys go together. */
function ruleLines(schema: Schema): string[] {
  const keys = alternatives(schema);
  const lines = keys.length
    ? [`- ${schema.oneOf ? "Exactly" : "At least"} one of ${coded(keys)} is needed.`]
    : [];
  for (const [key, needed] of Object.entries(schema.dependentRequired ?? {})) {
    lines.push(`- ${coded([key])} needs ${coded([...needed])}.`);
  }
  for (const [key, { properties }] of Object.entries(schema.dependentSchemas ?? {})) {
    lines.push(`- ${coded([key])} cannot be combined with ${coded(Object.keys(properties))}.`);
  }
  return lines.length ? [...lines, ""] : [];
}

function branchLine({ name, branches }: PublishedSchema): string[] {
  if (branches === null) return [];
  if (name === "split") return ["Branches: those that `branches` names.", ""];
  if (name === "conditional") {
    return ["Branches: `then` and `else`; with `branches`, those it names and `else`.", ""];
  }
  return [`Branches, with \`event\`: ${branches.map((one) => `\`${one}\``).join(" and ")}.`, ""];
}

function section(published: PublishedSchema): string {
  const { name, lane, description, config_schema: schema } = published;
  const where = lane !== null && lane !== "database" ? " Sent by the dispatcher." : "";
  return [
    `## \`${name}\``,
    "",
    `${description}${where}`,
    "",
    "| key | value | |",
    "|---|---|---|",
    ...keyRows(schema),
    "",
    ...ruleLines(schema),
    ...branchLine(published),
    ...(schema.examples ?? []).flatMap((
      example,
    ) => ["```json", JSON.stringify(example), "```", ""]),
  ].join("\n");
}

const introduction = `<!-- Generated from sql/ by scripts/types. Do not edit. -->

# Steps

What a row of \`workflow_steps\` can be: \`step_type\`, and what its \`step_config\` may hold. The list
is generated from the JSON Schemas that the database publishes and checks by. Programs read them in
\`ridgeline.workflow_schemas\` (\`kind\`, \`name\`, \`lane\`, \`branches\`, \`description\`, \`config_schema\`; any
member may, and the service role), or import [packages/client](../packages/client/README.md), which checks a configuration by them. The names of
tables, columns and events only the database knows: \`ridgeline.validate_workflow\`.

- Publishing refuses a configuration with an error, and says where it is and what would mend it. A
  key that a step does not know is a warning.
- **Every text may hold [variables](variables.md)**, and so may numbers, dates and ids.
- **The schema decides what a variable becomes**, whatever type its value has. Where a text is needed a
  number is written with every digit, a list as \`a, b, c\`, and an object fails the step, which says so. A
  list of texts takes one text, and a number a text that is one. What comes out empty fails the step where
  the key is needed; another key counts as left out, but for \`to\` and \`target\`: then there is nobody to go to, or no other record
  to work on, and the step is skipped.
- In \`fields\` and \`value\` the column decides in the same way; inside a JSON column every value stays
  what it is.
- A key whose value is \`null\` or \`""\` counts as left out, but in \`fields\`, in \`body\` of a webhook and
  in conditions.
- **\`target\`** is the id of another record than the run's own, such as \`{{steps.new.contact_id}}\` or
  \`{{contact.custom_fields.referred_by}}\`; \`entity\` says of what, and where it does not, the name of the variable does (\`contact_id\`,
  \`project_id\`, \`job_id\`, \`project.id\`), else it is a contact's. It has to be a record of the tenant that is not deleted: anything else is not there,
  and fails the step. What is done to another record is nothing that \`{{contact.*}}\` of the run shows.
- **Later steps see what earlier ones did**: records are read anew before each step, so \`{{contact.assigned_to}}\` and \`{{user.*}}\` are
  whom \`assign_user\` has just made responsible. \`{{steps.<key>.*}}\` is what a step says of itself: \`user_id\` (assign_user), \`task_id\`, \`project_id\` and
  \`created\` (create_project), \`contact_id\`, \`created\` and \`found_by\` (find_or_create_contact), \`status\` (all).
- **A run without a contact** (a stranger's call, a schedule) has the one that \`find_or_create_contact\` finds or makes from then on: texts go to it,
  its answers and deletion end the run, the cap counts it. A run that has a contact keeps it. See [attach.md](attach.md#contacts).
- Spellings of the older engines are understood: \`message\` for \`body\` (send_sms), \`body\` for \`html\`,
  or for \`text\` where no tag is in it (send_email), \`type\` for \`project_type\` (create_project), \`payload\` for \`body\` (webhook), \`due_date_days\`, \`table\` for \`entity\`
  (update_field), \`tag_name\` or \`name\` for \`tag\`, \`updates\` or the fields alone (update_contact,
  update_project), \`duration\` with \`unit\`, \`duration_minutes\`, \`delay_hours\` and the like (wait), and
  \`condition\`, or a condition or group written into the configuration itself (conditional).

| format in the schemas | |
|---|---|
| \`template\` | text with [variables](variables.md) in it |
| \`html\` | the same, escaped; an attribute with a variable in it needs quotes, and none may stand in a script, an \`on...\` attribute, \`srcdoc\` or a \`javascript:\` address |
| \`header\` | text with variables, or \`{"secret": "name", "prefix": "Bearer "}\`; a literal that looks like a secret is a warning |
| \`amount\` | at least 0, at most six decimals: \`3\`, \`"1.5"\` or a template |
| \`moment\` | a date, \`"2026-12-01"\`, \`"2026-12-01T09:30:00Z"\`, or a template |
| \`id\` | a member's id or a template |
| \`length-of-time\` | \`"3 days"\`, \`"90 minutes"\`, \`{"days": 1, "hours": 12}\`: whole numbers, at most a century |
| \`signed-length-of-time\` | the same, after a date, or with a minus sign before it: \`"-24 hours"\` |
| \`time-of-day\` | \`"00:00"\` to \`"23:59"\` |
| \`zone\` | \`tenant\`, \`contact\` or an IANA zone |
| \`conditions\` | a document as in [conditions](conditions.md) |

\`uniqueItemProperties\` (no two items alike in these keys) and \`errorMessage\` (what is said when the
value does not fit) are as in ajv's extensions; a validator that does not know them ignores them.

`;

export function stepsDocument(schemas: PublishedSchema[]): string {
  const of = (kind: PublishedSchema["kind"]) =>
    schemas.filter((one) => one.kind === kind).map(section).join("\n");
  return `${introduction}${of("step")}\n# Settings in JSON\n\n${of("setting").trimEnd()}\n`;
}

// The configuration of every step, and the settings of workflows, told a second time for the property
// tests. The published JSON Schemas (step-schemas.ts, generated from sql/) are read
// here as automation.check_schema() reads them: the two accept and refuse the same documents, with
// the same path and message (tests/language). What only a database knows (its tables, its columns,
// its trigger types) is checked there, when a workflow is published.
import { z } from "zod";
import { hazardWords, htmlHazard } from "./html.ts";
import { Conditions, Duration, isDate, isZone, SignedDuration } from "./language.ts";
import { settingSchemas, stepTypes } from "../../../packages/client/step-schemas.ts";
import { templateProblem } from "./template.ts";

/** The part of JSON Schema (draft 2020-12) that the published schemas use. */
export interface Schema {
  title?: string;
  description?: string;
  type?: string | readonly string[];
  enum?: readonly unknown[];
  format?: string;
  pattern?: string;
  minLength?: number;
  maxLength?: number;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  minItems?: number;
  maxItems?: number;
  minProperties?: number;
  maxProperties?: number;
  items?: Schema;
  uniqueItemProperties?: readonly string[];
  properties?: Readonly<Record<string, Schema>>;
  required?: readonly string[];
  additionalProperties?: boolean | Schema;
  dependentRequired?: Readonly<Record<string, readonly string[]>>;
  dependentSchemas?: Readonly<Record<string, { properties: Readonly<Record<string, false>> }>>;
  anyOf?: readonly Schema[];
  oneOf?: readonly Schema[];
  errorMessage?: string;
  examples?: readonly unknown[];
}

export interface Problem {
  path: (string | number)[];
  severity: "error" | "warning";
  code: string;
  message: string;
}

type Path = Problem["path"];
type Value = Record<string, unknown>;

/** As SQL writes a path: branches[0].name */
export function pathText(path: Path): string {
  return path.map((key) => typeof key === "number" ? `[${key}]` : `.${key}`).join("")
    .replace(/^\./, "");
}

const lastOf = (path: Path) => /[^.]*$/.exec(pathText(path))?.[0] ?? "";
const isObject = (value: unknown): value is Value =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const typeOf = (value: unknown) =>
  value === null ? "null" : Array.isArray(value) ? "array" : typeof value;
const listed = (types: Schema["type"]): readonly string[] =>
  typeof types === "string" ? [types] : types ?? [];

const error = (path: Path, code: string, message: string): Problem => ({
  path,
  severity: "error",
  code,
  message,
});
const hasError = (problems: Problem[]) => problems.some(({ severity }) => severity === "error");

function fitsType(type: Schema["type"], value: unknown): boolean {
  return type === undefined ||
    listed(type).some((name) =>
      name === "integer" ? Number.isInteger(value) : name === typeOf(value)
    );
}

const typeNames: Record<string, string> = {
  string: "a text",
  number: "a number",
  integer: "a whole number",
  array: "a list",
  object: "an object",
  boolean: "true or false",
};
const typeCodes: Record<string, string> = {
  string: "not_a_text",
  number: "not_a_number",
  integer: "not_a_number",
  array: "not_a_list",
  object: "not_an_object",
  boolean: "not_a_boolean",
};
const typeWords = (types: readonly string[]) =>
  types.map((type) => typeNames[type] ?? "nothing").join(" or ");

function boundsProblem(schema: Schema, value: unknown): string | undefined {
  const [size, least, most, unit] = typeof value === "string"
    ? [Array.from(value).length, schema.minLength, schema.maxLength, " characters"]
    : Array.isArray(value)
    ? [value.length, schema.minItems, schema.maxItems, " items"]
    : isObject(value)
    ? [Object.keys(value).length, schema.minProperties, schema.maxProperties, " fields"]
    : [Number(value), schema.minimum, schema.maximum, ""];
  const verb = unit ? "have" : "be";
  if (least !== undefined && size < least) {
    return least === 1 && unit ? "must not be empty" : `must ${verb} at least ${least}${unit}`;
  }
  if (most !== undefined && size > most) return `must ${verb} at most ${most}${unit}`;
  const { exclusiveMinimum } = schema;
  if (typeof value === "number" && exclusiveMinimum !== undefined && value <= exclusiveMinimum) {
    return `must be more than ${exclusiveMinimum}`;
  }
  return undefined;
}

/** The value itself: its type, whether it is one of those listed, its bounds and its pattern. */
function checkValue(schema: Schema, value: unknown, path: Path): Problem[] {
  const found = (code: string, message: string) => [
    error(path, code, `${lastOf(path)} ${message}`),
  ];
  if (!fitsType(schema.type, value)) {
    const types = listed(schema.type);
    return found(typeCodes[types[0] ?? ""] ?? "", `must be ${typeWords(types)}`);
  }
  if (schema.enum && !schema.enum.includes(value)) {
    const words = schema.enum.join(", ").replace(/, ([^,]*)$/, " or $1");
    return found("unknown_value", `must be ${words}`);
  }
  if (schema.pattern !== undefined && typeof value === "string") {
    if (!new RegExp(schema.pattern, "u").test(value)) {
      return found("invalid_value", `must match ${schema.pattern}`);
    }
  }
  const bounds = boundsProblem(schema, value);
  return bounds ? found("out_of_range", bounds) : [];
}

/** anyOf and oneOf. When none fits, what is said is what the one of the same type says. */
function checkChoice(schema: Schema, value: unknown, path: Path): Problem[] {
  const options = schema.oneOf ?? schema.anyOf ?? [];
  const results = options.map((option) => ({ option, found: check(option, value, path) }));
  const held = results.filter(({ found }) => !hasError(found)).length;
  if (options.length === 0 || held === 1 || (held > 1 && !schema.oneOf)) return [];
  const keys = options.flatMap(({ type, required = [] }) => type ? [] : required);
  const [first] = keys;
  const subject = schema.title ?? lastOf(path);
  if (first !== undefined && held > 1) {
    const message = `${subject} takes only one of ${keys.join(", ")}`;
    return [error([...path, first], "ambiguous", message)];
  }
  if (first !== undefined) {
    const message = `${subject} needs ${keys.join(" or ")}`;
    return isObject(value) ? [error([...path, first], "missing", message)] : [];
  }
  const nearest = results.find(({ option }) => option.type && fitsType(option.type, value));
  if (nearest) return nearest.found;
  const words = typeWords(options.flatMap(({ type }) => listed(type)));
  return [error(path, "invalid_value", `${lastOf(path)} must be ${words}`)];
}

/** A name without case and separators, and that with each of its letters left out. */
function slips(name: string): string[] {
  const plain = Array.from(
    name.replace(/[_\- ]/g, "").replace(/[A-Z]/g, (one) => one.toLowerCase()),
  );
  if (plain.length < 4 || plain.length > 40) return [plain.join("")];
  return [plain.join(""), ...plain.map((_, place) => plain.toSpliced(place, 1).join(""))];
}

/** Is a key that nobody reads nearly one that is read? */
function isSlip(name: string, properties: object): boolean {
  const given = new Set(slips(name));
  return Object.keys(properties).some((key) => slips(key).some((one) => given.has(one)));
}

/** Which keys an object has. */
function checkKeys(schema: Schema, value: Value, path: Path): Problem[] {
  const has = (key: string) => Object.hasOwn(value, key);
  const subject = schema.title ?? lastOf(path);
  const missing = (needs: string, key: string) =>
    has(key) ? [] : [error([...path, key], "missing", `${needs} needs ${key}`)];
  const problems = (schema.required ?? []).flatMap((key) => missing(subject, key));
  for (const [given, keys] of Object.entries(schema.dependentRequired ?? {})) {
    if (has(given)) problems.push(...keys.flatMap((key) => missing(given, key)));
  }
  for (const [given, { properties }] of Object.entries(schema.dependentSchemas ?? {})) {
    for (const key of has(given) ? Object.keys(properties).filter(has) : []) {
      const message = `${key} cannot be combined with ${given}`;
      problems.push(error([...path, key], "not_allowed", message));
    }
  }
  if (!schema.properties || schema.additionalProperties !== undefined) return problems;
  for (const key of Object.keys(value)) {
    if (Object.hasOwn(schema.properties, key)) continue;
    const message = `${subject} does not know "${key}"`;
    const severity = isSlip(key, schema.properties) ? "error" : "warning";
    problems.push({ path: [...path, key], severity, code: "unknown_key", message });
  }
  return problems;
}

function checkMembers(schema: Schema, value: Value, path: Path): Problem[] {
  return Object.entries(value).flatMap(([key, member]) => {
    const named = Object.hasOwn(schema.properties ?? {}, key)
      ? schema.properties?.[key]
      : undefined;
    const its = named ?? schema.additionalProperties;
    return typeof its === "object" ? check(its, member, [...path, key]) : [];
  });
}

function checkItems(schema: Schema, value: unknown[], path: Path): Problem[] {
  const { items, uniqueItemProperties = [] } = schema;
  const problems = items
    ? value.flatMap((item, place) => check(items, item, [...path, place]))
    : [];
  for (const key of uniqueItemProperties) {
    const seen = new Set<string>();
    value.forEach((item, place) => {
      if (!isObject(item) || !Object.hasOwn(item, key)) return;
      const written = JSON.stringify(item[key]);
      const message = `another one has the ${key} ${written}`;
      if (seen.has(written)) problems.push(error([...path, place, key], "duplicate", message));
      seen.add(written);
    });
  }
  return problems;
}

const holdsTemplate = (value: unknown) => typeof value === "string" && value.includes("{{");
const asText = (value: unknown) => typeof value === "string" ? value : "";

/** At most seven digits, and six after the point; as a number or as text. */
function isAmount(value: unknown): boolean {
  if (typeof value === "string") return /^[0-9]{1,7}(?:\.[0-9]{1,6})?$/.test(value);
  return typeof value === "number" && value >= 0 && value < 1e7 &&
    Number(value.toFixed(6)) === value;
}

const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const formats: Record<string, { words: string; holds: (value: unknown) => boolean }> = {
  amount: {
    words: "a number of at least 0",
    holds: (value) => isAmount(value) || holdsTemplate(value),
  },
  moment: {
    words: "a date",
    holds: (value) => isDate(asText(value)) || holdsTemplate(value),
  },
  id: { words: "an id", holds: (value) => uuid.test(asText(value)) || holdsTemplate(value) },
  "length-of-time": {
    words: "a length of time",
    holds: (value) => Duration.safeParse(value).success,
  },
  "signed-length-of-time": {
    words: "a length of time",
    holds: (value) => SignedDuration.safeParse(value).success,
  },
  "time-of-day": {
    words: "a time of day",
    holds: (value) => /^(?:[01][0-9]|2[0-3]):[0-5][0-9]$/.test(asText(value)),
  },
  zone: {
    words: "tenant, contact or a time zone",
    holds: (value) => value === "tenant" || value === "contact" || isZone(asText(value)),
  },
};

function checkHtml(value: unknown, path: Path): Problem[] {
  const hazard = htmlHazard(asText(value));
  if (!hazard) return [];
  const words = hazardWords(hazard);
  return hazard.place === "unquoted"
    ? [error(path, "invalid_value", `${lastOf(path)} ${words}`)]
    : [error(path, "unsafe_place", `${lastOf(path)}: ${words}`)];
}

/** What is written into a workflow is read by everybody who may read it. */
function checkHeader(value: unknown, path: Path): Problem[] {
  if (typeof value !== "string" || value.includes("{{")) return [];
  const name = lastOf(path);
  const isSecret =
    /^(?:proxy-)?authorization$|^cookie$|api[-_]?key|token|secret|password/i.test(name) ||
    /^(?:bearer|basic|token) [^ ]/i.test(value) ||
    /^(?:sk|pk|rk|whsec|ghp|gho|xox[a-z]|key|eyJ)[-_A-Za-z0-9.]{12,}/.test(value) ||
    /^(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/_=-]{32,}$/.test(value);
  const message = `${name} looks like a secret, and whoever reads the workflow reads it`;
  return isSecret ? [{ path, severity: "warning", code: "literal_secret", message }] : [];
}

function checkFormat(format: string, value: unknown, path: Path): Problem[] {
  if (format === "header") return checkHeader(value, path);
  if (format === "html") return checkHtml(value, path);
  if (format === "conditions") {
    return (Conditions.safeParse(value).error?.issues ?? []).map((issue) =>
      error([...path, ...issue.path as Path], "invalid_condition", issue.message)
    );
  }
  const grammar = formats[format];
  if (!grammar || grammar.holds(value)) return [];
  return [error(path, "invalid_value", `${lastOf(path)} must be ${grammar.words}`)];
}

function check(schema: Schema, value: unknown, path: Path): Problem[] {
  let found = [...checkValue(schema, value, path), ...checkChoice(schema, value, path)];
  if (schema.errorMessage !== undefined && hasError(found)) {
    found = [error(path, found[0]?.code ?? "", schema.errorMessage)];
  }
  if (!fitsType(schema.type, value)) return found;
  if (found.length === 0 && schema.format !== undefined) {
    found = checkFormat(schema.format, value, path);
  }
  if (Array.isArray(value)) return [...found, ...checkItems(schema, value, path)];
  if (!isObject(value)) return found;
  return [...found, ...checkKeys(schema, value, path), ...checkMembers(schema, value, path)];
}

/** Every text in a value is a template, whatever its schema says. */
function checkTemplates(value: unknown, path: Path): Problem[] {
  if (typeof value === "string") {
    const problem = templateProblem(value);
    return problem
      ? [error(path, "invalid_template", `${problem.message} (character ${problem.position})`)]
      : [];
  }
  if (Array.isArray(value)) {
    return value.flatMap((item, place) => checkTemplates(item, [...path, place]));
  }
  return isObject(value)
    ? Object.entries(value).flatMap(([key, member]) => checkTemplates(member, [...path, key]))
    : [];
}

/** What a form leaves empty was not given. */
function withoutBlanks(config: Value, but: string[] = []): Value {
  return Object.fromEntries(
    Object.entries(config).filter(([key, value]) =>
      but.includes(key) || value !== null && value !== ""
    ),
  );
}

function rename(config: Value, name: string, others: string[]): Value {
  const other = others.find((key) => Object.hasOwn(config, key));
  if (Object.hasOwn(config, name) || other === undefined) return config;
  const { [other]: value, ...rest } = config;
  return { ...rest, [name]: value };
}

/** A condition or a group that is written into the configuration itself. */
function gather(config: Value, keys: string[]): Value {
  const entries = Object.entries(config);
  return {
    ...Object.fromEntries(entries.filter(([key]) => !keys.includes(key))),
    conditions: Object.fromEntries(entries.filter(([key]) => keys.includes(key))),
  };
}

function foldConditional(config: Value): Value {
  const has = (key: string) => Object.hasOwn(config, key);
  if (has("branches")) return config;
  if (has("conditions")) {
    return has("operator") ? gather(config, ["operator", "conditions"]) : config;
  }
  if (has("condition")) return rename(config, "conditions", ["condition"]);
  if (has("field")) {
    return gather(config, ["field", "operator", "value", "logic", "case_sensitive"]);
  }
  const groups = ["all", "any", "not"];
  return groups.some(has) ? gather(config, groups) : config;
}

function foldWait(config: Value): Value {
  const lengths = {
    duration_minutes: "minutes",
    delay_minutes: "minutes",
    duration_hours: "hours",
    delay_hours: "hours",
    duration_days: "days",
  };
  for (const [key, unit] of Object.entries(lengths)) {
    if (Object.hasOwn(config, key)) return { [unit]: config[key] };
  }
  const unit = String(config.unit);
  if (Object.hasOwn(config, "duration") && ["minutes", "hours", "days", "weeks"].includes(unit)) {
    return { [unit]: config.duration };
  }
  return typeof config.duration === "number" ? { minutes: config.duration } : config;
}

function foldFields(config: Value): Value {
  if (Object.hasOwn(config, "fields") || Object.keys(config).length === 0) return config;
  return Object.hasOwn(config, "updates")
    ? rename(config, "fields", ["updates"])
    : { fields: config };
}

function foldWebhook(config: Value): Value {
  const folded = rename(config, "body", ["payload"]);
  return typeof folded.method === "string"
    ? { ...folded, method: folded.method.toUpperCase() }
    : folded;
}

function foldField(config: Value): Value {
  if (!Object.hasOwn(config, "table")) return config;
  const { table, ...rest } = config;
  const written = typeof table === "string" ? table : JSON.stringify(table);
  return { ...rest, entity: written.replace(/s$/, "") };
}

function foldText(config: Value): Value {
  const { message: _, ...rest } = rename(config, "body", ["message"]);
  const { media_urls: media } = rest;
  const isOne = typeof media === "string" && !media.replace(/^ +/, "").startsWith("{{");
  return isOne ? { ...rest, media_urls: [media] } : rest;
}

/** A body with a tag in it is HTML; any other keeps its line breaks as plain text. */
function foldEmail(config: Value): Value {
  const { body } = config;
  if (!Object.hasOwn(config, "body") || Object.hasOwn(config, "html")) return config;
  const written = typeof body === "string" ? body : JSON.stringify(body);
  const isHtml = /<(?:[a-z][a-z0-9]*[\s/>]|\/[a-z]|!--|!doctype)/i.test(written);
  return Object.hasOwn(config, "text")
    ? config
    : rename(config, isHtml ? "html" : "text", ["body"]);
}

/** A step_config in the one spelling that its schema describes, as automation.fold_step_config. */
export function foldStepConfig(type: StepType, given: Value): Value {
  const { type: own, ...others } = given;
  // A builder that keeps the type of a step in its configuration too means the step by it.
  const config = own === type ? others : given;
  switch (type) {
    case "update_contact":
    case "update_project":
      return foldFields(config);
    case "webhook":
      return foldWebhook(withoutBlanks(config, ["body", "payload"]));
    case "conditional":
      return foldConditional(withoutBlanks(config, ["value"]));
  }
  const filled = withoutBlanks(config);
  switch (type) {
    case "wait":
      return foldWait(filled);
    case "send_sms":
      return foldText(filled);
    case "send_email":
      return foldEmail(filled);
    case "create_task": {
      const { due_date_days, ...rest } = filled;
      return Object.hasOwn(filled, "due_date_days")
        ? { ...rest, due_in_days: due_date_days }
        : filled;
    }
    case "create_project":
      return rename(filled, "project_type", ["type"]);
    case "update_field":
      return foldField(filled);
    case "add_tag":
    case "remove_tag":
      return rename(filled, "tag", ["tag_name", "name"]);
    default:
      return filled;
  }
}

export type StepType = (typeof stepTypes)[number]["name"];

const configSchemas = Object.fromEntries(
  stepTypes.map(({ name, config_schema }): [string, Schema] => [name, config_schema]),
) as Record<StepType, Schema>;

/** What is wrong with a step_config, and what only looks odd (warnings). */
export function checkStepConfig(type: StepType, config: Value): Problem[] {
  const folded = foldStepConfig(type, config);
  return [
    ...check(configSchemas[type], folded, []),
    // A conditional renders nothing: its conditions have a language of their own.
    ...type === "conditional" ? [] : checkTemplates(folded, []),
  ];
}

/** What is wrong with workflows.settings. */
export function checkSettings(settings: Value): Problem[] {
  return [
    ...check(settingSchemas.settings.config_schema, settings, []),
    ...checkTemplates(settings.dedupe_key, ["dedupe_key"]),
  ];
}

/** What is wrong with workflow_steps.retry. */
export const checkRetry = (retry: Value): Problem[] =>
  check(settingSchemas.retry.config_schema, retry, []);

const document = (problemsOf: (value: Value) => Problem[]) =>
  z.record(z.string(), z.unknown()).superRefine((value, context) => {
    for (const { path, severity, code, message } of problemsOf(value)) {
      if (severity === "error") {
        context.addIssue({ code: "custom", path, message, params: { code } });
      }
    }
  });

type Document = ReturnType<typeof document>;

/** A schema for the step_config of each type; problems name the canonical spelling of a key. */
export const StepConfig = Object.fromEntries(
  stepTypes.map(({ name }) => [name, document((config) => checkStepConfig(name, config))]),
) as Record<StepType, Document>;

export const WorkflowSettings = document(checkSettings);
export const StepRetry = document(checkRetry);

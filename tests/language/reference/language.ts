// The documents of the condition language, told a second time for the property tests.
// These schemas accept and refuse exactly what automation.compile_conditions() accepts and refuses;
// tests/language holds the two together. What is evaluated is evaluated in SQL alone.
import { z } from "zod";

type Needs =
  | "any"
  | "scalar"
  | "text"
  | "ordered"
  | "range"
  | "date"
  | "duration"
  | "nothing"
  | "list"
  | "pattern";

/** Every operator, and what its value has to be. */
export const operatorNeeds = {
  equals: "any",
  not_equals: "any",
  contains: "scalar",
  not_contains: "scalar",
  starts_with: "text",
  ends_with: "text",
  greater_than: "ordered",
  greater_or_equal: "ordered",
  less_than: "ordered",
  less_or_equal: "ordered",
  between: "range",
  before: "date",
  after: "date",
  within_last: "duration",
  within_next: "duration",
  is_empty: "nothing",
  is_not_empty: "nothing",
  is_true: "nothing",
  is_false: "nothing",
  in: "list",
  not_in: "list",
  includes_any: "list",
  includes_all: "list",
  matches: "pattern",
  changed: "nothing",
  changed_from: "any",
  changed_to: "any",
  was: "any",
} as const satisfies Record<string, Needs>;

export type Operator = keyof typeof operatorNeeds;

export const Operator = z.enum(Object.keys(operatorNeeds) as [Operator, ...Operator[]]);

const pathPattern =
  /^[^\][ \t\r\n.{}|"'(),:\\]+(?:\.[^\][ \t\r\n.{}|"'(),:\\]+|\[-?[0-9]{1,6}\]|\["[^"\\]+"\]|\['[^'\\]+'\])*$/;

const characters = (text: string) => Array.from(text);

export const isPath = (path: string) => characters(path).length <= 200 && pathPattern.test(path);

/** contact.custom_fields["Roof type"], trigger.items[0].name */
export const FieldPath = z.string().refine(
  (path) => isPath(path.replace(/^ +| +$/g, "")),
  "this is not a field",
);

/** Whether a text names a time zone; a database may know a few that this runtime does not. */
export function isZone(name: string): boolean {
  try {
    return /^[A-Za-z]/.test(name) && new Intl.DateTimeFormat("en", { timeZone: name }) !== null;
  } catch {
    return false;
  }
}

const datePattern =
  /^[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|[12][0-9]))(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?: ?(?:Z|[-+](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?))?)?$/;

/** Whether a text is an ISO 8601 date or timestamp that exists in the calendar. */
export function isDate(text: string): boolean {
  if (!datePattern.test(text) || text.length > 40) return false;
  if (text.slice(4, 10) !== "-02-29") return true;
  const year = Number(text.slice(0, 4));
  return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0);
}

export const DateOperand = z.string().refine(
  (text) => isDate(text) || /^(?:now|today|yesterday|tomorrow)$/i.test(text),
  "a date is needed",
);

const durationCaps = {
  minutes: 52_560_000,
  hours: 876_000,
  days: 36_500,
  weeks: 5_200,
  months: 1_200,
  years: 100,
} as const;
type Unit = keyof typeof durationCaps;

function unitOf(written: string): Unit {
  const unit = written.toLowerCase();
  if (unit.startsWith("mo")) return "months";
  const units: Unit[] = ["minutes", "hours", "days", "weeks", "years"];
  return units.find((name) => name[0] === unit[0]) ?? "minutes";
}

/** {"days": 3, "hours": 12} or "3 days"; whole numbers, at most a century. */
export const Duration = z.union([
  z.strictObject(
    Object.fromEntries(
      Object.entries(durationCaps).map(([unit, cap]) => [
        unit,
        z.number().int().min(0).max(cap).optional(),
      ]),
    ),
  ).refine((duration) => Object.keys(duration).length > 0, "a length of time is needed"),
  z.string().refine((text) => {
    const written =
      /^ *([0-9]{1,8}) *(minutes?|mins?|m|hours?|h|days?|d|weeks?|w|months?|years?|y) *$/i.exec(
        text,
      );
    return written !== null && Number(written[1]) <= durationCaps[unitOf(written[2] ?? "")];
  }, "a length of time is needed"),
]);

/** A length of time, with a sign when it is text: "-24 hours" is before, "+1 day" after. */
export const SignedDuration = z.preprocess(
  (value) => typeof value === "string" ? value.replace(/^ *[-+] */, "") : value,
  Duration,
);

/** What is wrong with a character class that starts at `start`, and where it ends. */
function checkCharacterClass(pattern: string[], start: number): { next: number; wrong: boolean } {
  const punctuation = /^[!-/:-@[-`{-~]$/;
  let here = start + 1;
  let rangeFrom: string | undefined;
  // The character before, when a range could start with it.
  let previous: string | undefined;
  if (pattern[here] === "^") here += 1;
  const refused = { next: here, wrong: true };
  for (let seen = false;; seen = true) {
    let item = pattern[here];
    if (item === undefined || item === "[") return refused;
    if (item === "]" && rangeFrom === undefined) return { next: here + 1, wrong: !seen };
    if (item === "\\") {
      here += 1;
      item = pattern[here];
      if (item && "dws".includes(item) && rangeFrom === undefined) {
        previous = undefined;
        here += 1;
        continue;
      }
      if (item && "nrt".includes(item)) {
        item = { n: "\n", r: "\r", t: "\t" }[item];
      } else if (!item || !punctuation.test(item)) {
        return refused;
      }
    } else if (item === "-" && rangeFrom === undefined && seen && pattern[here + 1] !== "]") {
      if (previous === undefined) return refused;
      rangeFrom = previous;
      here += 1;
      continue;
    }
    here += 1;
    if (item === undefined) return refused;
    if (rangeFrom === undefined) {
      previous = item;
    } else {
      if ((item.codePointAt(0) ?? 0) < (rangeFrom.codePointAt(0) ?? 0)) return refused;
      rangeFrom = undefined;
      previous = undefined;
    }
  }
}

/** Whether `matches` takes a pattern: see docs/conditions.md for what it takes and why. */
export function isPattern(text: string): boolean {
  const largest = 200;
  const pattern = characters(text);
  if (pattern.length > 200) return false;
  const sizes = [0];
  let last: number | undefined;
  let nothingYet = true;
  let here = 0;
  const add = (size: number) => {
    sizes[sizes.length - 1] = (sizes.at(-1) ?? 0) + size;
  };
  while (here < pattern.length) {
    const item = pattern[here] ?? "";
    const following = pattern[here + 1] ?? "";
    if ("*+?{".includes(item)) {
      const bound = /^\{([0-9]{1,3})(,?)([0-9]{0,3})\}/.exec(pattern.slice(here).join(""));
      if (last === undefined || (item === "{" && !bound)) return false;
      let times = item === "+" ? 2 : 1;
      if (item === "{" && bound) {
        const [whole, low = "", comma, high = ""] = bound;
        if (high !== "" && (comma === "" || Number(high) < Number(low))) return false;
        times = Math.max(Number(low), Number(high), 1);
        here += whole.length;
      } else {
        here += 1;
      }
      if (pattern[here] === "?") here += 1;
      add(last * (times - 1));
      last = undefined;
    } else if (item === "|") {
      if (nothingYet) return false;
      nothingYet = true;
      last = undefined;
      here += 1;
    } else if (item === "(") {
      if ((following === "?" && pattern[here + 2] !== ":") || sizes.length >= 20) return false;
      here += following === "?" ? 3 : 1;
      sizes.push(0);
      nothingYet = true;
      last = undefined;
    } else if (item === ")") {
      if (sizes.length === 1 || nothingYet) return false;
      last = sizes.pop() ?? 0;
      add(last);
      here += 1;
    } else if (item === "^" || item === "$" || (item === "\\" && /^[bB]$/.test(following))) {
      here += item === "\\" ? 2 : 1;
      nothingYet = false;
      last = undefined;
    } else if (item === "]" || item === "}") {
      return false;
    } else {
      if (item === "[") {
        const checked = checkCharacterClass(pattern, here);
        if (checked.wrong) return false;
        here = checked.next;
      } else if (item === "\\") {
        if (!/^[dDwWsSnrt!-/:-@[-`{-~]$/.test(following)) return false;
        here += 2;
      } else {
        here += 1;
      }
      add(1);
      last = 1;
      nothingYet = false;
    }
    if ((sizes.at(-1) ?? 0) > largest) return false;
  }
  return sizes.length === 1 && !nothingYet;
}

const Scalar = z.union([z.string(), z.number(), z.boolean()]);
const NumberOrText = z.union([z.string().min(1), z.number()]);
const FieldReference = z.strictObject({ field: FieldPath });
const refersToField = (value: unknown) =>
  typeof value === "object" && value !== null && !Array.isArray(value) && "field" in value;

const valueSchemas: Record<Exclude<Needs, "any" | "nothing">, z.ZodType> = {
  scalar: z.union([z.string().min(1), z.number(), z.boolean()]),
  text: NumberOrText,
  ordered: z.union([NumberOrText, FieldReference]),
  range: z.tuple([NumberOrText, NumberOrText]),
  date: z.union([DateOperand, FieldReference]),
  duration: Duration,
  list: z.array(Scalar).min(1).max(1000),
  pattern: z.string().refine(isPattern, "this is not a pattern that can be matched safely"),
};

function valueIsWrong(operator: Operator, value: unknown): boolean {
  const needs = operatorNeeds[operator];
  if (needs === "nothing") return false;
  if (value === undefined) return true;
  if (needs !== "any") return !valueSchemas[needs].safeParse(value).success;
  if (!refersToField(value)) return false;
  return operator !== "equals" && operator !== "not_equals" ||
    !FieldReference.safeParse(value).success;
}

/** One condition: a field, an operator and, for most operators, a value. */
export const Condition = z.strictObject({
  field: FieldPath,
  operator: Operator,
  value: z.unknown().optional(),
  case_sensitive: z.boolean().optional(),
  logic: z.unknown().optional(),
  id: z.unknown().optional(),
  label: z.unknown().optional(),
}).superRefine((condition, context) => {
  if (valueIsWrong(condition.operator, condition.value)) {
    context.addIssue({
      code: "custom",
      path: ["value"],
      message: `${condition.operator}: not a value this operator takes`,
    });
  }
});

export type Condition = z.infer<typeof Condition>;

const joins = z.string().regex(/^(?:and|or)$/i);
const deepest = 50;

function isNothing(node: unknown): boolean {
  return node === null || node === undefined ||
    (typeof node === "object" && Object.keys(node).length === 0);
}

type Issue = (path: PropertyKey[], message: string) => void;

function checkMembers(
  members: unknown[],
  path: PropertyKey[],
  depth: number,
  issue: Issue,
): void {
  if (members.length > 500) return issue(path, "a list has more than 500 conditions");
  members.forEach((member, index) => checkNode(member, [...path, index], depth + 1, issue));
}

function checkGroup(
  node: Record<string, unknown>,
  path: PropertyKey[],
  depth: number,
  issue: Issue,
): void {
  const grouped = "conditions" in node;
  const key = grouped ? "conditions" : "all" in node ? "all" : "any" in node ? "any" : "not";
  const others = Object.keys(node).filter((name) => !["id", "label", "logic"].includes(name));
  if (others.length > (grouped ? 2 : 1)) issue(path, "a group has one list of conditions");
  if (grouped && !joins.safeParse(node.operator).success) {
    issue([...path, "operator"], 'a group joins its conditions with "and" or "or"');
  }
  if (key === "not") return checkNode(node.not, [...path, key], depth + 1, issue);
  const members = node[key];
  if (!Array.isArray(members)) return issue([...path, key], "a group is a list of conditions");
  const any = key === "any" || (grouped && String(node.operator).toLowerCase() === "or");
  if (any && members.length === 0) issue([...path, key], "none of no conditions can hold");
  checkMembers(members, [...path, key], depth, issue);
}

function checkNode(node: unknown, path: PropertyKey[], depth: number, issue: Issue): void {
  if (isNothing(node)) return;
  if (depth > deepest) return issue(path, `groups are nested more than ${deepest} deep`);
  if (typeof node !== "object" || node === null) return issue(path, "this is not a condition");
  if (Array.isArray(node)) {
    node.forEach((member: unknown, index) => {
      const logic = typeof member === "object" && member !== null && "logic" in member
        ? member.logic
        : null;
      if (logic !== null && logic !== undefined && !joins.safeParse(logic).success) {
        issue([...path, index, "logic"], 'logic is "and" or "or"');
      }
    });
    return checkMembers(node, path, depth, issue);
  }
  if (["all", "any", "not", "conditions"].some((key) => key in node)) {
    return checkGroup(node as Record<string, unknown>, path, depth, issue);
  }
  for (const problem of Condition.safeParse(node).error?.issues ?? []) {
    issue([...path, ...problem.path], problem.message);
  }
}

export type ConditionNode =
  | Condition
  | ConditionNode[]
  | { all: ConditionNode[] }
  | { any: ConditionNode[] }
  | { not: ConditionNode }
  | { operator: "and" | "or"; conditions: ConditionNode[] }
  | Record<string, never>
  | null;

/** A condition document: groups nested up to 50 deep, or the flat list with `logic`. */
export const Conditions = z.custom<ConditionNode>().superRefine((node, context) => {
  checkNode(node, [], 0, (path, message) => context.addIssue({ code: "custom", path, message }));
});

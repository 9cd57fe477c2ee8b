// Conditions of the browser's engine and of campaigns. A condition's gate joined it to the one AFTER it there, and
// joins it to what stands BEFORE it here: shifted by one.
import type { Condition } from "./definition.ts";
import { type Json, Keys } from "./keys.ts";
import type { Notes } from "./notes.ts";
import { type Resolve, writePath } from "./templates.ts";

const operators = [
  ...["equals", "not_equals", "contains", "not_contains", "greater_than", "less_than"],
  ...["greater_than_or_equal", "less_than_or_equal", "is_empty", "is_not_empty", "in", "not_in"],
];

/** A condition that never holds, in a field that is always there to be asked. */
export const never = (field: string): Condition => ({
  field,
  operator: "in",
  value: [],
  mode: "legacy",
});

export const legacy = (field: string, operator: string, value?: Json): Condition => ({
  field,
  operator,
  ...(value === undefined ? {} : { value }),
  mode: "legacy",
});

/** A field as a condition names it. */
export function fieldOf(written: string, key: string, resolve: Resolve, notes: Notes): string {
  const found = resolve(written.trim().split("."), key);
  if ("path" in found) return writePath(found.path);
  notes.person(key, `nothing here has the field ${written}: name the one that is meant`, written);
  return writePath(["custom", ...written.trim().split(".")]);
}

function pitfalls(operator: string, value: Json | undefined, key: string, notes: Notes): void {
  if (["in", "not_in"].includes(operator) && !Array.isArray(value)) {
    notes.difference(
      key,
      `${JSON.stringify(value)} is no list: in never holds, not_in always does`,
      "kept so; write a list where the values between the commas were meant",
    );
  } else if (
    ["equals", "not_equals"].includes(operator) && typeof value === "string" &&
    value.trim() !== "" &&
    (Number.isFinite(Number(value)) || value === "true" || value === "false")
  ) {
    notes.difference(
      key,
      `the text "${value}" never equals a number or true and false`,
      "kept so; write the value itself where that was meant",
    );
  }
}

export function clientConditions(
  value: Json | undefined,
  key: string,
  resolve: Resolve,
  notes: Notes,
): Condition[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) {
    notes.person(key, "conditions are a list; these could not be read", value);
    return [never("contact.id")];
  }
  let gate = "AND";
  return value.map((item, place) => {
    const keys = new Keys(item, `${key}[${place}]`, notes);
    const operator = keys.text("operator", "operator, compared as before (mode legacy)") ?? "";
    const written = keys.text("field", "field") ?? "";
    const field = fieldOf(
      written === "" ? "contact.id" : written,
      keys.at("field"),
      resolve,
      notes,
    );
    const compared = keys.take("value");
    if (compared !== undefined) notes.translated(keys.at("value"), compared, "value");
    const next = String(keys.move("logic_gate", "logic of the condition after it") ?? "AND")
      .toUpperCase();
    keys.drop("id", "ids of conditions have no use here");
    const known = operators.includes(operator) && written !== "";
    if (known) pitfalls(operator, compared, keys.at("value"), notes);
    else {notes.person(
        keys.at("operator"),
        "no such operator: it never held, and does not here",
        operator,
      );}
    keys.rest();
    const logic = gate === "OR" ? "or" as const : "and" as const;
    gate = next;
    return {
      ...(known ? legacy(field, operator, compared) : never(field)),
      ...(place === 0 ? {} : { logic }),
    };
  });
}

/** Campaigns: texts without case, numbers with numbers, and `is_null`. */
const campaignOperators: Record<string, (value: Json | undefined) => Partial<Condition>> = {
  equals: (value) => ({ operator: "equals", value, mode: "legacy" }),
  not_equals: (value) => ({ operator: "not_equals", value, mode: "legacy" }),
  "=": (value) => ({ operator: "equals", value, mode: "legacy" }),
  "!=": (value) => ({ operator: "not_equals", value, mode: "legacy" }),
  greater_than: (value) => ({ operator: "greater_than", value }),
  less_than: (value) => ({ operator: "less_than", value }),
  ">": (value) => ({ operator: "greater_than", value }),
  "<": (value) => ({ operator: "less_than", value }),
  ">=": (value) => ({ operator: "greater_or_equal", value }),
  "<=": (value) => ({ operator: "less_or_equal", value }),
  contains: (value) => ({ operator: "contains", value }),
  not_contains: (value) => ({ operator: "not_contains", value }),
  is_null: () => ({ operator: "equals", value: null }),
  is_not_null: () => ({ operator: "not_equals", value: null }),
  in: (value) => ({ operator: "in", value: Array.isArray(value) ? value : [] }),
};

export function campaignCondition(keys: Keys, field: string): Condition {
  const operator = keys.text("operator", "operator") ?? "";
  const value = keys.move("value", "value");
  const made = campaignOperators[operator]?.(value);
  if (!made) {
    keys.notes.person(
      keys.at("operator"),
      "no such operator: it never held, and does not here",
      operator,
    );
    return never(field);
  }
  return { field, ...made } as Condition;
}

/** {rules: [{field, operator, value}], logic}: fields are columns of the contact. */
export function campaignRules(keys: Keys): unknown {
  const rules = keys.list("rules", "conditions") ?? [];
  const logic = String(keys.move("logic", "all or any") ?? "AND").toUpperCase();
  const members = rules.map((rule, place) => {
    const one = new Keys(rule, `${keys.at("rules")}[${place}]`, keys.notes);
    const field = one.text("field", "field of the contact") ?? "id";
    const made = campaignCondition(one, `contact.${field.replace(/^contact\./, "")}`);
    one.rest();
    return made;
  });
  keys.rest();
  return members.length === 0 ? [] : { [logic === "OR" ? "any" : "all"]: members };
}

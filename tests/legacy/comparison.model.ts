// How the browser's engine compared, written down from its description (docs/legacy.md) and nothing else. Its
// language was JavaScript, and so is this: what is not there is undefined.
export type Value = undefined | null | boolean | number | string | Value[] | {
  [key: string]: Value;
};

const isEmpty = (value: Value) =>
  value === undefined || value === null || value === "" ||
  (Array.isArray(value) && value.length === 0);
const includes = (list: Value, value: Value) =>
  Array.isArray(list) && list.some((item) => item === value);

export const operators: Record<string, (value: Value, expected: Value) => boolean> = {
  equals: (value, expected) => value === expected,
  not_equals: (value, expected) => value !== expected,
  contains: (value, expected) => String(value).includes(String(expected)),
  not_contains: (value, expected) => !String(value).includes(String(expected)),
  greater_than: (value, expected) => Number(value) > Number(expected),
  less_than: (value, expected) => Number(value) < Number(expected),
  greater_than_or_equal: (value, expected) => Number(value) >= Number(expected),
  less_than_or_equal: (value, expected) => Number(value) <= Number(expected),
  is_empty: (value) => isEmpty(value),
  is_not_empty: (value) => !isEmpty(value),
  in: (value, expected) => includes(expected, value),
  not_in: (value, expected) => !includes(expected, value),
};

export interface Condition {
  field: string;
  operator: string;
  value?: Value;
  logic_gate?: "AND" | "OR";
}

/** From left to right; each gate joins to the condition after it. */
export function evaluate(conditions: Condition[], context: Value): boolean {
  let [verdict, gate] = [true, "AND"];
  for (const { field, operator, value, logic_gate } of conditions) {
    const seen = field.split(".").reduce<Value>(
      (at, key) => at === null || at === undefined ? undefined : (at as Record<string, Value>)[key],
      context,
    );
    const holds = operators[operator]?.(seen, value) ?? false;
    verdict = gate === "OR" ? verdict || holds : verdict && holds;
    gate = logic_gate ?? "AND";
  }
  return verdict;
}

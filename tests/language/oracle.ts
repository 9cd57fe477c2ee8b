// What a condition means, written down a second time and plainly: no compiling, no SQL.
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type Context = { [key: string]: Json };

export interface Moment {
  zone: string;
  at: Date;
}

const isObject = (value: Json | undefined): value is { [key: string]: Json } =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function step(value: Json | undefined, key: string): Json | undefined {
  if (Array.isArray(value)) return /^-?\d+$/.test(key) ? value.at(Number(key)) : undefined;
  return isObject(value) && Object.hasOwn(value, key) ? value[key] : undefined;
}

const keysOf = (field: string) => field.replace(/\[(\d+)\]/g, ".$1").split(".");
const roots = ["trigger", "contact", "project", "job", "user", "tenant", "custom", "steps"];

export function lookUp(field: string, context: Context): Json | undefined {
  const keys = keysOf(field);
  // What an #each calls its items comes before any field.
  const loops = context["@loops"];
  if (isObject(loops) && Object.hasOwn(loops, keys[0] ?? "")) {
    return keys.reduce<Json | undefined>(step, loops);
  }
  if (roots.includes(keys[0] ?? "") && keys.length > 1) {
    return keys.reduce<Json | undefined>(step, context);
  }
  const records = [["trigger", "record"], ["contact"], ["project"], ["job"]];
  return records
    .map((record) => [...record, ...keys].reduce<Json | undefined>(step, context))
    .find((value) => value !== undefined);
}

export function isBlank(value: Json | undefined): boolean {
  if (value === undefined || value === null) return true;
  if (typeof value === "string") return /^[ \t\r\n]*$/.test(value);
  return typeof value === "object" && Object.keys(value).length === 0;
}

function numberOf(value: Json | undefined): number | undefined {
  if (typeof value === "number") return value;
  if (typeof value === "string" && /^ *[-+]?(\d+\.?\d*|\.\d+) *$/.test(value)) return Number(value);
  return undefined;
}

const dateShape =
  /^([1-9]\d{3})-(\d\d)-(\d\d)(?:[T ]([01]\d|2[0-3]):([0-5]\d)(?::([0-5]\d)(\.\d{1,9})?)?(?: ?(Z|[-+](?:0\d|1[0-4])(?::?[0-5]\d)?))?)?$/;

interface ReadDate {
  bare: boolean;
  instant: number;
  day: string;
}

/** How far a zone is ahead of UTC at an instant. */
function offsetAt(zone: string, instant: number): number {
  const parts = Object.fromEntries(
    new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    }).formatToParts(instant).map(({ type, value }) => [type, Number(value)]),
  );
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  const local = Date.UTC(year, month - 1, day, hour, minute, second);
  return local - Math.floor(instant / 1000) * 1000;
}

/** The instant of a wall clock; in a gap the clock has not been moved yet, in an overlap it has. */
export function fromWallClock(wall: number, zone: string): number {
  const before = wall - offsetAt(zone, wall - 86_400_000);
  const after = wall - offsetAt(zone, wall + 86_400_000);
  if (after + offsetAt(zone, after) === wall) return after;
  return before;
}

export const toWallClock = (instant: number, zone: string) => instant + offsetAt(zone, instant);
const dayOf = (wall: number) => new Date(wall).toISOString().slice(0, 10);

export function readDate(text: Json | undefined, zone: string): ReadDate | undefined {
  if (typeof text !== "string") return undefined;
  const match = dateShape.exec(text);
  if (!match) return undefined;
  const [, year, month, day, hour, minute, second, fraction, offset] = match;
  const midnight = Date.UTC(Number(year), Number(month) - 1, Number(day));
  if (dayOf(midnight) !== text.slice(0, 10)) return undefined;
  const wall = midnight + Number(hour ?? 0) * 3_600_000 + Number(minute ?? 0) * 60_000 +
    Number(second ?? 0) * 1000 + Math.round(Number(`0${fraction ?? ""}`) * 1000);
  if (hour === undefined) {
    return { bare: true, day: text, instant: fromWallClock(midnight, zone) };
  }
  if (offset === undefined) {
    return { bare: false, day: dayOf(wall), instant: fromWallClock(wall, zone) };
  }
  const [, sign, hours, minutes] = /^([-+])(\d\d):?(\d\d)?$/.exec(offset) ?? [];
  const ahead = (sign === "-" ? -1 : 1) * (Number(hours ?? 0) * 60 + Number(minutes ?? 0)) * 60_000;
  const instant = wall - ahead;
  return { bare: false, instant, day: dayOf(toWallClock(instant, zone)) };
}

function compareText(a: string, b: string): number {
  return Math.sign(Buffer.compare(Buffer.from(a), Buffer.from(b)));
}

function compareDates(a: ReadDate, b: ReadDate): number {
  return a.bare || b.bare ? compareText(a.day, b.day) : Math.sign(a.instant - b.instant);
}

const folded = (text: string, exact: boolean) => exact ? text : text.toLowerCase();

function compare(a: Json | undefined, b: Json | undefined, exact: boolean, zone: string) {
  const [aNumber, bNumber] = [numberOf(a), numberOf(b)];
  if (aNumber !== undefined && bNumber !== undefined) return Math.sign(aNumber - bNumber);
  if (aNumber !== undefined || bNumber !== undefined) return undefined;
  if (typeof a !== "string" || typeof b !== "string") return undefined;
  const [aDate, bDate] = [readDate(a, zone), readDate(b, zone)];
  if (aDate && bDate) return compareDates(aDate, bDate);
  if (aDate || bDate) return undefined;
  return compareText(folded(a, exact), folded(b, exact));
}

function deepEqual(a: Json, b: Json, exact: boolean): boolean {
  if (typeof a === "string" && typeof b === "string") return folded(a, exact) === folded(b, exact);
  if (Array.isArray(a) && Array.isArray(b)) {
    return a.length === b.length && a.every((item, i) => deepEqual(item, b[i] ?? null, exact));
  }
  if (isObject(a) && isObject(b)) {
    const other = new Map(Object.entries(b).map(([key, value]) => [folded(key, exact), value]));
    return Object.keys(a).length === other.size &&
      Object.entries(a).every(([key, value]) => {
        const there = other.get(folded(key, exact));
        return there !== undefined && deepEqual(value, there, exact);
      });
  }
  return a === b;
}

export function equal(
  a: Json | undefined,
  b: Json | undefined,
  exact: boolean,
  zone: string,
): boolean {
  if (a === undefined || a === null || b === undefined || b === null) {
    return (a ?? null) === (b ?? null);
  }
  if (typeof a === "object" || typeof b === "object") return deepEqual(a, b, exact);
  if (typeof a === "string" && typeof b === "string") {
    if (folded(a, exact) === folded(b, exact)) return true;
    const [aDate, bDate] = [readDate(a, zone), readDate(b, zone)];
    return aDate !== undefined && bDate !== undefined && compareDates(aDate, bDate) === 0;
  }
  if (typeof a === "boolean" || typeof b === "boolean") {
    if (typeof a === "number" || typeof b === "number") return false;
    return String(a).toLowerCase() === String(b).toLowerCase();
  }
  return numberOf(a) !== undefined && numberOf(a) === numberOf(b);
}

export interface Leaf {
  field: string;
  operator: string;
  value?: Json;
  case_sensitive?: boolean;
  logic?: string | null;
}

/** Durations of the tests are objects of whole units. */
function moved(at: Date, duration: Json | undefined, direction: number, zone: string): number {
  const { years = 0, months = 0, weeks = 0, days = 0, hours = 0, minutes = 0 } = duration as Record<
    string,
    number
  >;
  const wall = new Date(toWallClock(at.getTime(), zone));
  const month = wall.getUTCMonth() + direction * (years * 12 + months);
  const lastDay = new Date(Date.UTC(wall.getUTCFullYear(), month + 1, 0)).getUTCDate();
  const day = Math.min(wall.getUTCDate(), lastDay) + direction * (weeks * 7 + days);
  const midnight = Date.UTC(wall.getUTCFullYear(), month, day);
  const shifted = fromWallClock(midnight + wall.getTime() % 86_400_000, zone);
  return shifted + direction * (hours * 60 + minutes) * 60_000;
}

function within(value: Json | undefined, leaf: Leaf, { zone, at }: Moment): boolean {
  const date = readDate(value, zone);
  if (!date) return false;
  const other = moved(at, leaf.value, leaf.operator === "within_last" ? -1 : 1, zone);
  const [from, to] = [Math.min(at.getTime(), other), Math.max(at.getTime(), other)];
  if (!date.bare) return date.instant >= from && date.instant <= to;
  return date.day >= dayOf(toWallClock(from, zone)) && date.day <= dayOf(toWallClock(to, zone));
}

function dateOperand(value: Json | undefined, { zone, at }: Moment): Json | undefined {
  const days = { yesterday: -1, today: 0, tomorrow: 1 }[String(value).toLowerCase()];
  if (typeof value !== "string") return undefined;
  if (days !== undefined) return dayOf(toWallClock(at.getTime(), zone) + days * 86_400_000);
  return value.toLowerCase() === "now" ? at.toISOString() : value;
}

function change(leaf: Leaf, context: Context, value: Json | undefined, zone: string): boolean {
  const keys = keysOf(leaf.field);
  const trigger = context.trigger;
  const rooted = roots.includes(keys[0] ?? "") && keys.length > 1;
  const record = !rooted ? null : keys[0] === "trigger" ? keys[1] : keys[0];
  const named = ["contact", "project", "job"].includes(record ?? "");
  if (named && isObject(trigger) && "entity" in trigger && trigger.entity !== record) return false;
  const nested = keys[0] === "trigger" && (named || keys[1] === "record");
  const inside = !rooted ? keys : nested ? keys.slice(2) : keys.slice(1);
  const before = step(trigger, "old");
  const after = step(trigger, "record");
  const oldValue = inside.reduce<Json | undefined>(step, before) ?? null;
  const newValue = (isObject(after) ? inside.reduce<Json | undefined>(step, after) : value) ?? null;
  const list = step(trigger, "changed");
  const changed = isObject(before)
    ? !deepEqual(oldValue, newValue, true)
    : Array.isArray(list) && list.includes(inside[0] ?? "");
  const exact = leaf.case_sensitive === true;
  switch (leaf.operator) {
    case "changed":
      return changed;
    case "changed_to":
      return changed && equal(newValue, leaf.value, exact, zone);
    case "changed_from":
      return isObject(before) && changed && equal(oldValue, leaf.value, exact, zone);
    default:
      return isObject(before) && equal(oldValue, leaf.value, exact, zone);
  }
}

const negations: Record<string, string> = {
  not_equals: "equals",
  not_contains: "contains",
  not_in: "in",
  is_not_empty: "is_empty",
};

export function leafHolds(leaf: Leaf, context: Context, moment: Moment): boolean {
  const positive = negations[leaf.operator];
  if (positive) return !leafHolds({ ...leaf, operator: positive }, context, moment);
  const { zone } = moment;
  const exact = leaf.case_sensitive === true;
  const value = lookUp(leaf.field, context);
  const expected = isObject(leaf.value) && typeof leaf.value.field === "string"
    ? lookUp(leaf.value.field, context)
    : leaf.value;
  const text = typeof value === "string" || typeof value === "number"
    ? folded(String(value), exact)
    : undefined;
  const wanted = folded(String(expected), exact);
  const items = Array.isArray(value) ? value : [value];
  const list = Array.isArray(expected) ? expected : [];
  const there = (item: Json) => items.some((one) => equal(one, item, exact, zone));
  const order = compare(value, expected, exact, zone);
  const [a, b] = [readDate(value, zone), readDate(dateOperand(expected, moment), zone)];
  switch (leaf.operator) {
    case "is_empty":
      return isBlank(value);
    case "changed":
    case "changed_from":
    case "changed_to":
    case "was":
      return change(leaf, context, value, zone);
    case "equals":
      return equal(value, expected, exact, zone);
  }
  if (value === undefined || value === null) return false;
  switch (leaf.operator) {
    case "contains":
      return Array.isArray(value)
        ? value.some((item) => equal(item, expected, exact, zone))
        : text !== undefined && text.includes(wanted);
    case "starts_with":
      return text !== undefined && text.startsWith(wanted);
    case "ends_with":
      return text !== undefined && text.endsWith(wanted);
    case "matches":
      return text !== undefined && new RegExp(String(expected), exact ? "s" : "is").test(text);
    case "greater_than":
      return order !== undefined && order > 0;
    case "greater_or_equal":
      return order !== undefined && order >= 0;
    case "less_than":
      return order !== undefined && order < 0;
    case "less_or_equal":
      return order !== undefined && order <= 0;
    case "between": {
      const [low, high] = [list[0], list[1]].map((bound) => compare(value, bound, exact, zone));
      return low !== undefined && low >= 0 && high !== undefined && high <= 0;
    }
    case "before":
      return a !== undefined && b !== undefined && compareDates(a, b) < 0;
    case "after":
      return a !== undefined && b !== undefined && compareDates(a, b) > 0;
    case "within_last":
    case "within_next":
      return within(value, leaf, moment);
    case "is_true":
      return value === true || value === 1 ||
        (typeof value === "string" && /^(true|yes|y|on|1)$/i.test(value));
    case "is_false":
      return value === false || value === 0 ||
        (typeof value === "string" && /^(false|no|n|off|0)$/i.test(value));
    case "in":
      return list.some((item) => equal(value, item, exact, zone));
    case "includes_any":
      return list.some(there);
    case "includes_all":
      return list.every(there);
  }
  throw new Error(`The oracle knows no ${leaf.operator}`);
}

export type Document = Json | Leaf | Document[] | { [key: string]: Document };

export function holds(node: unknown, context: Context, moment: Moment): boolean {
  if (node === null || typeof node !== "object" || Object.keys(node).length === 0) return true;
  const holding = (member: unknown) => holds(member, context, moment);
  if (Array.isArray(node)) {
    return node.reduce<boolean>((sofar, member: unknown, index) => {
      const logic = (member as Leaf | null)?.logic;
      if (index === 0) return holding(member);
      return /^or$/i.test(logic ?? "") ? sofar || holding(member) : sofar && holding(member);
    }, true);
  }
  const group = node as Record<string, unknown>;
  if (Array.isArray(group.conditions)) {
    return group.operator === "or"
      ? group.conditions.some(holding)
      : group.conditions.every(holding);
  }
  if (Array.isArray(group.all)) return group.all.every(holding);
  if (Array.isArray(group.any)) return group.any.some(holding);
  if ("not" in group) return !holding(group.not);
  return leafHolds(node as Leaf, context, moment);
}

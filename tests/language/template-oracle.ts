// Templates as trees: printed to the text that SQL parses, and rendered here a second time.
import { parsePhoneNumberFromString } from "libphonenumber-js/max";
import {
  type Context,
  equal,
  fromWallClock,
  isBlank,
  type Json,
  type Leaf,
  leafHolds,
  lookUp,
  readDate,
  toWallClock,
} from "./oracle.ts";

export type Operand = { field: string } | { literal: string | number | boolean | null };
export interface Filter {
  name: string;
  args: Operand[];
}
export interface Value {
  kind: "value";
  operand: Operand;
  filters: Filter[];
  raw: boolean;
}
export type Piece =
  | Value
  | { kind: "text"; text: string }
  | { kind: "comment"; text: string }
  | { kind: "braces" }
  | { kind: "block"; word: "if" | "unless"; test: Test; then: Piece[]; otherwise: Piece[] | null }
  | { kind: "each"; list: string; as: string | null; body: Piece[]; otherwise: Piece[] | null };
export type Test = { truthy: Operand } | { leaf: Leaf };

export interface Options {
  zone: string;
  locale: string;
  currency: string;
  html: boolean;
  now: Date;
}

function printOperand(operand: Operand): string {
  if ("field" in operand) return operand.field;
  if (typeof operand.literal !== "string") return String(operand.literal);
  const escaped = operand.literal.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n");
  return `"${escaped}"`;
}

function printTest(test: Test): string {
  if ("truthy" in test) return printOperand(test.truthy);
  const { field, operator, value } = test.leaf;
  const values = value === undefined ? [] : Array.isArray(value) ? value : [value];
  const written = values.map((one) => printOperand({ literal: one as string }));
  return `${field} ${operator} ${written.join(", ")}`.trim();
}

export function print(pieces: Piece[]): string {
  return pieces.map((piece) => {
    switch (piece.kind) {
      case "text":
        return piece.text;
      case "comment":
        return `{{! ${piece.text} }}`;
      case "braces":
        return "\\{{";
      case "value": {
        const filters = piece.filters.map(({ name, args }) =>
          ` | ${name}${args.length ? `: ${args.map(printOperand).join(", ")}` : ""}`
        );
        const inside = `${printOperand(piece.operand)}${filters.join("")}`;
        return piece.raw ? `{{{ ${inside} }}}` : `{{${inside}}}`;
      }
      case "block": {
        const otherwise = piece.otherwise ? `{{else}}${print(piece.otherwise)}` : "";
        return `{{#${piece.word} ${printTest(piece.test)}}}${
          print(piece.then)
        }${otherwise}{{/${piece.word}}}`;
      }
      case "each": {
        const otherwise = piece.otherwise ? `{{else}}${print(piece.otherwise)}` : "";
        const name = piece.as === null ? "" : ` as ${piece.as}`;
        return `{{#each ${piece.list}${name}}}${print(piece.body)}${otherwise}{{/each}}`;
      }
    }
  }).join("");
}

const numberOf = (value: Json | undefined) =>
  typeof value === "number"
    ? value
    : typeof value === "string" && /^ *[-+]?(\d+\.?\d*|\.\d+) *$/.test(value)
    ? Number(value)
    : undefined;

function evaluate(operand: Operand, context: Context): Json {
  return "field" in operand ? lookUp(operand.field, context) ?? null : operand.literal;
}

/** Postgres' way to write JSON: shorter keys first, blanks after : and , */
function written(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(written).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const keys = Object.keys(value).sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
  return `{${
    keys.map((key) => `${JSON.stringify(key)}: ${written(value[key] ?? null)}`).join(", ")
  }}`;
}

export function textOf(value: Json): string {
  if (value === null) return "";
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value) && value.every((item) => typeof item !== "object" || item === null)) {
    return value.filter((item) => item !== null).map(String).join(", ");
  }
  return written(value);
}

const dateParts: Record<string, (wall: Date) => string> = {
  yyyy: (wall) => String(wall.getUTCFullYear()),
  MMMM: (wall) => wall.toLocaleString("en-US", { month: "long", timeZone: "UTC" }),
  MMM: (wall) => wall.toLocaleString("en-US", { month: "short", timeZone: "UTC" }),
  MM: (wall) => String(wall.getUTCMonth() + 1).padStart(2, "0"),
  M: (wall) => String(wall.getUTCMonth() + 1),
  dd: (wall) => String(wall.getUTCDate()).padStart(2, "0"),
  d: (wall) => String(wall.getUTCDate()),
  EEEE: (wall) => wall.toLocaleString("en-US", { weekday: "long", timeZone: "UTC" }),
  HH: (wall) => String(wall.getUTCHours()).padStart(2, "0"),
  h: (wall) => String(wall.getUTCHours() % 12 || 12),
  mm: (wall) => String(wall.getUTCMinutes()).padStart(2, "0"),
  a: (wall) => wall.getUTCHours() < 12 ? "AM" : "PM",
};

function formatDate(value: Json, pattern: string, zone: string): string | undefined {
  const date = readDate(value, zone);
  if (!date) return undefined;
  const wall = new Date(
    date.bare ? Date.parse(`${date.day}T00:00:00Z`) : toWallClock(date.instant, zone),
  );
  return pattern.replace(
    /'([^']*)'|yyyy|MMMM|MMM|MM|M|dd|d|EEEE|HH|h|mm|a/g,
    (part, quoted: string | undefined) => quoted ?? dateParts[part]?.(wall) ?? part,
  );
}

function formatPhone(value: Json): string | undefined {
  if (typeof value === "object" || typeof value === "boolean") return undefined;
  const number = parsePhoneNumberFromString(String(value), "US");
  if (!number?.isValid()) return undefined;
  return number.countryCallingCode === "1" ? number.formatNational() : number.number;
}

const units: Record<string, number> = { minutes: 60_000, hours: 3_600_000 };

function add(value: Json, amount: Json, direction: number, zone: string): Json | undefined {
  const [a, b] = [numberOf(value), numberOf(amount)];
  if (a !== undefined && b !== undefined) return a + direction * b;
  const date = readDate(value, zone);
  const [, count, unit] = /^(\d+) (days|hours|minutes)$/.exec(String(amount)) ?? [];
  if (!date || !count || !unit) return undefined;
  const by = direction * Number(count);
  if (unit === "days" && date.bare) {
    return new Date(Date.parse(`${date.day}T00:00:00Z`) + by * 86_400_000)
      .toISOString().slice(0, 10);
  }
  const instant = unit === "days"
    ? fromWallClock(toWallClock(date.instant, zone) + by * 86_400_000, zone)
    : date.instant + by * (units[unit] ?? 0);
  return new Date(instant).toISOString().replace(/\.?0*Z$/, "Z");
}

/** As Unicode divides a text into what people count as one character. */
export function characters(text: string): string[] {
  const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });
  return Array.from(segmenter.segment(text), ({ segment }) => segment);
}

/** undefined: the filter has no meaning for the value. */
function filtered(name: string, value: Json, args: Json[], options: Options): Json | undefined {
  if (name === "default") return isBlank(value) ? args[0] ?? null : value;
  if (value === null) return null;
  const list = Array.isArray(value) ? value : undefined;
  const text = typeof value === "object" ? undefined : String(value);
  const number = numberOf(value);
  switch (name) {
    case "upper":
      return text?.toUpperCase();
    case "lower":
      return text?.toLowerCase();
    case "capitalize": {
      const [first = "", ...rest] = text ?? "";
      return text === undefined ? undefined : first.toUpperCase() + rest.join("");
    }
    case "trim":
      return text?.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, "");
    case "truncate": {
      const most = Number(args[0]);
      const ending = args.length > 1 ? textOf(args[1] ?? null) : "…";
      if (text === undefined || characters(text).length <= most) return text;
      const kept = characters(text).slice(0, Math.max(most - characters(ending).length, 0));
      return kept.join("") + characters(ending).slice(0, most).join("");
    }
    case "url_encode":
      return text && encodeURIComponent(text).replace(
        /[!'()*]/g,
        (one) => `%${one.charCodeAt(0).toString(16).toUpperCase()}`,
      );
    case "nl2br":
      return text;
    case "replace":
      return args[0] === "" ? text : text?.replaceAll(String(args[0]), String(args[1]));
    case "join":
      return list?.filter((item) => item !== null)
        .map((item) => typeof item === "object" ? written(item) : String(item))
        .join(args.length ? String(args[0]) : ", ");
    case "first":
      return list && (list[0] ?? null);
    case "last":
      return list && (list.at(-1) ?? null);
    case "plus":
      return add(value, args[0] ?? null, 1, options.zone);
    case "minus":
      return add(value, args[0] ?? null, -1, options.zone);
    case "times": {
      const factor = numberOf(args[0]);
      return number === undefined || factor === undefined ? undefined : number * factor + 0;
    }
    case "formatPhone":
      return formatPhone(value);
    case "formatDate":
      return formatDate(value, String(args[0] ?? "MMM d, yyyy"), String(args[1] ?? options.zone));
    case "formatNumber": {
      const digits = args.length ? Number(args[0]) : undefined;
      return number === undefined ? undefined : Intl.NumberFormat(options.locale, {
        maximumFractionDigits: digits ?? 3,
        minimumFractionDigits: digits ?? 0,
        signDisplay: "negative",
      }).format(number);
    }
    case "formatCurrency":
      return number === undefined ? undefined : Intl.NumberFormat(options.locale, {
        style: "currency",
        currency: args.length ? String(args[0]) : options.currency,
        signDisplay: "negative",
      }).format(number);
  }
  throw new Error(`The oracle knows no ${name}`);
}

function valueOf(piece: Value, context: Context, options: Options, warnings: string[]): Json {
  let value = evaluate(piece.operand, context);
  for (const { name, args } of piece.filters) {
    const next = filtered(name, value, args.map((arg) => evaluate(arg, context)), options);
    if (next === undefined) warnings.push("filter_not_applied");
    else value = next;
  }
  if (value === null) warnings.push("missing_variable");
  return value;
}

export function escapeHtml(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
    "'": "&#39;",
  };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}

function shownText(piece: Value, text: string, { html }: Options): string {
  const shown = html && !piece.raw ? escapeHtml(text) : text;
  const breaks = html && piece.filters.at(-1)?.name === "nl2br";
  return breaks ? shown.replace(/\r\n|\r|\n/g, "<br>") : shown;
}

function testHolds(test: Test, context: Context, options: Options): boolean {
  if ("leaf" in test) {
    return leafHolds(test.leaf, context, { zone: options.zone, at: options.now });
  }
  const value = evaluate(test.truthy, context);
  return !isBlank(value) && value !== false && !equal(value, 0, true, "UTC") || value === "0";
}

function renderText(
  pieces: Piece[],
  context: Context,
  options: Options,
  warnings: string[],
): string {
  return pieces.map((piece) => {
    switch (piece.kind) {
      case "text":
        return piece.text;
      case "comment":
        return "";
      case "braces":
        return "{{";
      case "value": {
        return shownText(piece, textOf(valueOf(piece, context, options, warnings)), options);
      }
      case "each": {
        const list = lookUp(piece.list, context) ?? null;
        const items = isBlank(list) ? [] : Array.isArray(list) ? list : [list];
        if (items.length === 0) {
          return renderText(piece.otherwise ?? [], context, options, warnings);
        }
        return items.map((item, index) => {
          const names = {
            ...context["@loops"] as Record<string, Json>,
            this: item,
            "@index": index,
            "@number": index + 1,
            "@first": index === 0,
            "@last": index === items.length - 1,
            ...piece.as === null ? {} : { [piece.as]: item },
          };
          return renderText(piece.body, { ...context, "@loops": names }, options, warnings);
        }).join("");
      }
      case "block": {
        const holds = testHolds(piece.test, context, options) === (piece.word === "if");
        return renderText(
          holds ? piece.then : piece.otherwise ?? [],
          context,
          options,
          warnings,
        );
      }
    }
  }).join("");
}

export function render(
  pieces: Piece[],
  context: Context,
  options: Options,
): { rendered: Json; warnings: string[] } {
  const warnings: string[] = [];
  const shown = pieces.filter(({ kind }) => kind !== "comment");
  const [only] = shown;
  if (shown.length !== 1 || only?.kind !== "value") {
    return { rendered: renderText(pieces, context, options, warnings), warnings };
  }
  const value = valueOf(only, context, options, warnings);
  const isText = typeof value === "string" || (typeof value === "object" && value !== null);
  if (!options.html || !isText) return { rendered: value, warnings };
  return { rendered: shownText(only, textOf(value), options), warnings };
}

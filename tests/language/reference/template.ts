// Whether a text is a template: what automation.parse_template() accepts and refuses, with the same
// position of what is wrong. tests/language holds the two together; rendering is SQL's alone.
import { Condition, isPath, isZone } from "./language.ts";

export interface TemplateProblem {
  message: string;
  /** In characters, from 1. */
  position: number;
}

type Value = string | number | boolean | null;
interface Lexeme {
  type: "word" | "string" | "number" | "|" | ":" | ",";
  value: string | number;
  at: number;
}
interface Block {
  kind: string;
  at: number;
  hadElse: boolean;
  /** Of an #each: what it calls its items. */
  as?: string | undefined;
}

/** What an operand is known to be before anything is rendered. */
interface Operand {
  problem?: string;
  name?: string;
  field?: true;
  literal?: Value;
}

/** Each filter with the least and the greatest number of its arguments. */
const filters: Record<string, [number, number]> = {
  default: [1, 1],
  formatDate: [0, 2],
  formatCurrency: [0, 2],
  formatPhone: [0, 1],
  formatNumber: [0, 2],
  upper: [0, 0],
  lower: [0, 0],
  capitalize: [0, 0],
  truncate: [1, 2],
  trim: [0, 0],
  replace: [2, 2],
  join: [0, 1],
  first: [0, 0],
  last: [0, 0],
  plus: [1, 1],
  minus: [1, 1],
  times: [1, 1],
  url_encode: [0, 0],
  nl2br: [0, 0],
};

const dateStyles = ["short", "medium", "long", "full", "time", "datetime", "iso"];
const dateParts = new Set(
  ("yyyy y yy YYYY YY MMMM MMM MM M dd d do DD D Do EEEE EEE EE E dddd ddd HH H hh h mm m ss s SSS " +
    "a aa A aaa").split(" "),
);

/** A pattern of letters that all mean something, or the name of a style. */
function isDatePattern(pattern: string): boolean {
  if (dateStyles.includes(pattern)) return true;
  if (Array.from(pattern).length > 100) return false;
  let rest = pattern;
  while (rest !== "") {
    const item = /^(?:'[^']*'|(do|Do|y+|Y+|M+|d+|D+|E+|H+|h+|m+|s+|S+|a+|A)|[^A-Za-z'])/u.exec(
      rest,
    );
    if (!item || item[1] !== undefined && !dateParts.has(item[1])) return false;
    rest = rest.slice(item[0].length);
  }
  return true;
}

const quoted = /^(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')/su;
const word =
  /^[^\][ \t\r\n.{}|"'(),:\\]+(?:\.[^\][ \t\r\n.{}|"'(),:\\]+|\[-?[0-9]+\]|\["[^"\\]+"\]|\['[^'\\]+'\])*/u;

function unquote(text: string): string {
  return text.slice(1, -1).replace(/\\([^n])/gu, "$1").replaceAll("\\n", "\n");
}

function readLexeme(rest: string, at: number): { lexeme: Lexeme; length: number } | undefined {
  const text = quoted.exec(rest)?.[0];
  if (text !== undefined) {
    const lexeme: Lexeme = { type: "string", value: unquote(text), at };
    return { lexeme, length: Array.from(text).length };
  }
  const found = /^[|:,]/.exec(rest)?.[0] ?? /^(?:==|!=|>=|<=|>|<)/.exec(rest)?.[0] ??
    word.exec(rest)?.[0];
  if (found === undefined) return undefined;
  const length = Array.from(found).length;
  if (found === "|" || found === ":" || found === ",") {
    return { lexeme: { type: found, value: found, at }, length };
  }
  const numeric = /^-?[0-9]{1,30}(?:\.[0-9]{1,30})?$/.test(found);
  return {
    lexeme: numeric
      ? { type: "number", value: Number(found), at }
      : { type: "word", value: found, at },
    length,
  };
}

/** A tag's inside; `next` is where it ends, or where its problem is. */
function lexTag(source: string[], start: number, closer: string) {
  const lexemes: Lexeme[] = [];
  let next = start;
  for (;;) {
    const rest = source.slice(next - 1, next + 599).join("");
    if (rest.startsWith(closer)) return { lexemes, next: next + closer.length };
    if (rest === "" || lexemes.length > 60) {
      return { lexemes, next, problem: "this {{ is not closed" };
    }
    const blank = /^[ \t\r\n]+/.exec(rest)?.[0];
    if (blank !== undefined) {
      next += blank.length;
      continue;
    }
    const read = readLexeme(rest, next);
    if (!read) {
      const character = Array.from(rest)[0] ?? "";
      const problem = character === '"' || character === "'"
        ? "this text is not closed"
        : character === "}"
        ? `${closer} is needed here`
        : `${character} is not expected here`;
      return { lexemes, next, problem };
    }
    lexemes.push(read.lexeme);
    next += read.length;
  }
}

const shortened = (text: string) => Array.from(text).slice(0, 60).join("");

/** The names that the #each blocks around a tag give to items; they come before any field. */
type Loops = readonly string[];

function loopNames(blocks: Block[]): Loops {
  const loops = blocks.filter(({ kind }) => kind === "each");
  if (loops.length === 0) return [];
  const own = loops.flatMap(({ as }) => as === undefined ? [] : [as]);
  return ["this", "@index", "@number", "@first", "@last", ...own];
}

/** The first key of a path. */
const firstKey = (path: string) => /^[^.[]*/.exec(path)?.[0] ?? "";

function parseOperand(lexeme: Lexeme | undefined, loops: Loops): Operand {
  if (lexeme?.type === "string" || lexeme?.type === "number") return { literal: lexeme.value };
  if (lexeme?.type !== "word") return { problem: "a value is needed here" };
  const name = String(lexeme.value);
  const constants: Record<string, Value> = { true: true, false: false, null: null };
  if (Object.hasOwn(constants, name)) return { literal: constants[name] ?? null };
  if (name === "now" || name === "today") return { name };
  if (isPath(name) && loops.includes(firstKey(name))) return { name, field: true };
  if (!isPath(name) || /^[#/!@=<>]/.test(name)) {
    return { problem: `${shortened(name)} is not a field` };
  }
  return { name, field: true };
}

function filterProblem(name: string, args: Operand[]): string | undefined {
  const [least, most] = Object.hasOwn(filters, name) ? filters[name] ?? [] : [];
  if (least === undefined || most === undefined) return `there is no filter ${shortened(name)}`;
  if (args.length < least) {
    return `${name} needs ${least === 1 ? "an argument" : `${least} arguments`}`;
  }
  if (args.length > most) return `${name} takes at most ${most}`;
  const [first, second] = args.map(({ literal }) => literal);
  if (name === "formatDate" && first !== undefined && first !== null) {
    if (!isDatePattern(String(first))) return "this is not a date pattern";
  }
  if (name === "formatDate" && second !== undefined) {
    if (second === null || !isZone(String(second))) return "this is not a time zone";
  }
  if (name === "truncate" && first !== undefined && typeof first !== "number") {
    return "truncate needs a number of characters";
  }
  return undefined;
}

type Found = { problem: string; at?: number } | undefined;

/** As automation.limits() has it. */
const MOST_FILTERS = 10;

function parseFilters(lexemes: Lexeme[], loops: Loops): Found {
  let here = 1;
  let before = "";
  let count = 0;
  for (let bar = lexemes[here]; bar; bar = lexemes[here]) {
    const name = lexemes[here + 1];
    if (bar.type !== "|") return { problem: "a | is needed before a filter", at: bar.at };
    if (name?.type !== "word") return { problem: "a filter is needed after |", at: bar.at };
    if (before === "nl2br") return { problem: "nl2br must be the last filter", at: name.at };
    if (++count > MOST_FILTERS) {
      return { problem: `a variable takes at most ${MOST_FILTERS} filters`, at: name.at };
    }
    here += 2;
    const args: Operand[] = [];
    while (lexemes[here]?.type === (args.length ? "," : ":")) {
      const operand = parseOperand(lexemes[here + 1], loops);
      if (operand.problem) {
        return { problem: operand.problem, at: lexemes[here + 1]?.at ?? name.at };
      }
      args.push(operand);
      here += 2;
    }
    const problem = filterProblem(String(name.value), args);
    if (problem) return { problem, at: name.at };
    before = String(name.value);
  }
  return undefined;
}

function parseValue(lexemes: Lexeme[], loops: Loops): Found {
  const [first] = lexemes;
  if (!first) return { problem: "there is nothing between these braces" };
  const { problem } = parseOperand(first, loops);
  return problem ? { problem, at: first.at } : parseFilters(lexemes, loops);
}

const marks: Record<string, string> = {
  "==": "equals",
  "!=": "not_equals",
  ">": "greater_than",
  ">=": "greater_or_equal",
  "<": "less_than",
  "<=": "less_or_equal",
};
const takesList = new Set(["in", "not_in", "includes_any", "includes_all", "between"]);

/** The value that an operator in an #if is given; undefined when there is none. */
function testValue(operator: string, rest: Lexeme[]): unknown {
  const values = rest.filter(({ type }) => type !== ",").map(({ value }) => value);
  if (takesList.has(operator)) return values.length ? values : undefined;
  if (values.length > 1) return undefined;
  const [value] = values;
  if (rest[0]?.type !== "word") return value;
  return value === "true" || value === "false" ? value === "true" : { field: value };
}

/** The test of an #if: a field alone, or field operator value. */
function testProblem(
  [subject, operator, ...rest]: Lexeme[],
  loops: Loops,
): string | undefined {
  const operand = parseOperand(subject, loops);
  if (operand.problem || !operator) return operand.problem;
  if (operand.name === undefined) return "a field is needed before an operator";
  const written = String(operator.value);
  const value = testValue(written, rest);
  const condition = Condition.safeParse({
    field: operand.name,
    operator: Object.hasOwn(marks, written) ? marks[written] : written,
    ...(value === undefined ? {} : { value }),
  });
  return condition.error?.issues[0]?.message;
}

const reserved =
  "trigger contact project job user tenant custom steps this now today true false null else"
    .split(" ");

/** An #each: a list, and what its items are called. */
function eachProblem(lexemes: Lexeme[], loops: Loops): string | undefined {
  const [, list, as, name] = lexemes;
  const operand = parseOperand(list, loops);
  if (operand.problem) return operand.problem;
  if (!operand.field) return "a list is needed after #each";
  if (lexemes.length === 2) return undefined;
  if (as?.value !== "as" || lexemes.length !== 4) {
    return "#each takes a list, and perhaps: as name";
  }
  const written = String(name?.value);
  const isName = name?.type === "word" && /^[A-Za-z_][A-Za-z0-9_]{0,62}$/.test(written);
  return isName && !reserved.includes(written)
    ? undefined
    : `${shortened(written)} cannot be the name of an item`;
}

/** Opens, turns or closes a block. */
function parseBlock(lexemes: Lexeme[], blocks: Block[]): string | undefined {
  const name = String(lexemes[0]?.value);
  const block = blocks.at(-1);
  const opens = name.startsWith("#");
  const loops = loopNames(blocks);
  const hasTest = name === "#if" || name === "#unless" ||
    name !== "#each" && lexemes[1]?.value === "if";
  if (!["#if", "#unless", "#each", "else", "/if", "/unless", "/each"].includes(name)) {
    return `there is no block ${shortened(name)}`;
  }
  if (!opens && !block) return `there is no block open for this ${name}`;
  if (name.startsWith("/") && name.slice(1) !== block?.kind) {
    return `the block that is open is #${block?.kind}`;
  }
  if (name === "else" && block?.hadElse) return "this block has had its else";
  if (name === "else" && hasTest && block?.kind === "each") {
    return "the else of an #each takes no test";
  }
  if (opens && blocks.length >= 20) return "blocks are nested too deeply";
  const isEach = name === "#each";
  if (!isEach && !hasTest && lexemes.length > 1) return `nothing can follow ${name} here`;
  const problem = isEach
    ? eachProblem(lexemes, loops)
    : hasTest
    ? testProblem(lexemes.slice(name === "else" ? 2 : 1), loops)
    : undefined;
  if (problem) return problem;
  if (opens) {
    const as = isEach && lexemes[3] ? String(lexemes[3].value) : undefined;
    blocks.push({ kind: name.slice(1), at: lexemes[0]?.at ?? 0, hadElse: false, as });
  } else if (name === "else" && block) block.hadElse = !hasTest;
  else blocks.pop();
  return undefined;
}

const isBlock = ({ type, value }: Lexeme) =>
  type === "word" && (/^[#/]/.test(String(value)) || value === "else");

/** What is wrong with a text as a template; undefined when nothing is. */
export function templateProblem(text: string): TemplateProblem | undefined {
  const source = Array.from(text);
  const blocks: Block[] = [];
  const find = (braces: string, from: number) => {
    for (let at = from; at < source.length; at++) {
      if (source[at - 1] === braces && source[at] === braces) return at;
    }
    return undefined;
  };
  let here = 1;
  let literal = "";
  for (let at = find("{", here); at !== undefined; at = find("{", here)) {
    literal += source.slice(here - 1, at - 1).join("");
    if (literal.endsWith("\\")) {
      literal = `${literal.slice(0, -1)}{{`;
      here = at + 2;
      continue;
    }
    literal = "";
    if (source[at + 1] === "!") {
      const end = find("}", at);
      if (end === undefined) return { message: "this comment is not closed", position: at };
      here = end + 2;
      continue;
    }
    const raw = source[at + 1] === "{";
    const tag = lexTag(source, at + (raw ? 3 : 2), raw ? "}}}" : "}}");
    if (tag.problem) {
      const position = tag.problem === "this {{ is not closed" ? at : tag.next;
      return { message: tag.problem, position };
    }
    const [first] = tag.lexemes;
    if (!raw && first && isBlock(first)) {
      const message = parseBlock(tag.lexemes, blocks);
      if (message) return { message, position: at };
    } else {
      const found = parseValue(tag.lexemes, loopNames(blocks));
      if (found) return { message: found.problem, position: found.at ?? at };
    }
    here = tag.next;
  }
  const open = blocks.at(-1);
  return open && { message: `this #${open.kind} is not closed`, position: open.at };
}

// Checks sql/, or that of another folder: everything parses, and the house rules that a parser can see are kept.
import fs from "node:fs";
import path from "node:path";
import { loadModule, parsePlPgSQLSync, parseSync, scanSync } from "libpg-query";
import { z } from "zod";
import { schemaFiles } from "./lib/schema.ts";

const root = process.argv[2] ?? path.resolve(import.meta.dirname, "..");
const longestLine = 120;

const Name = z.array(z.object({ String: z.object({ sval: z.string() }) }));
const Option = z.object({ DefElem: z.looseObject({ defname: z.string(), arg: z.unknown() }) });
const CreateFunction = z.object({
  CreateFunctionStmt: z.looseObject({
    replace: z.boolean().optional(),
    funcname: Name,
    options: z.array(Option),
  }),
});
const CreateTable = z.object({
  CreateStmt: z.looseObject({
    relation: z.looseObject({
      schemaname: z.string().optional(),
      relname: z.string(),
      relpersistence: z.string(),
    }),
    partbound: z.unknown().optional(),
  }),
});
const Statement = z.object({
  stmt: z.record(z.string(), z.unknown()),
  stmt_location: z.number().optional(),
  stmt_len: z.number().optional(),
});

interface Complaint {
  file: string;
  line: number;
  message: string;
}

const complaints: Complaint[] = [];
/** Where what schemas automation and ridgeline hold is made, and who names it. */
const made = new Map<string, string>();
const named: { name: string; file: string; line: number; by: string }[] = [];
const tables: { name: string; file: string; line: number }[] = [];

/** The parser counts bytes; a line is what people look for. */
class Source {
  readonly file: string;
  readonly text: string;
  readonly #bytes: Buffer;

  constructor(file: string) {
    this.file = file;
    this.text = fs.readFileSync(path.join(root, file), "utf8");
    this.#bytes = Buffer.from(this.text);
  }

  slice(from: number, length?: number): string {
    return this.#bytes.subarray(from, length === undefined ? undefined : from + length).toString();
  }

  line(byte: number): number {
    return this.slice(0, byte).split("\n").length;
  }

  complain(line: number, message: string): void {
    complaints.push({ file: this.file, line, message });
  }
}

function checkLines(source: Source): void {
  source.text.split("\n").forEach((line, index) => {
    // What is generated from tables of others has their lines.
    if (line.length > longestLine && !source.text.startsWith("-- Generated")) {
      source.complain(index + 1, `longer than ${longestLine} characters`);
    }
    if (line.includes("\t")) source.complain(index + 1, "a tab");
    if (/\s$/.test(line)) source.complain(index + 1, "blanks at the end");
  });
  if (!source.text.endsWith("\n")) source.complain(source.line(Infinity), "no newline at the end");
}

/** Keywords are lower case, inside the bodies of functions too. */
function checkKeywords(source: Source, text: string, firstLine: number): void {
  const bytes = Buffer.from(text);
  for (const token of scanSync(text).tokens) {
    const line = firstLine + bytes.subarray(0, token.start).toString().split("\n").length - 1;
    const body = /^(\$\w*\$)([^]*)\1$/.exec(token.text)?.[2];
    if (body !== undefined && /\s/.test(body)) checkKeywords(source, body, line);
    if (token.keywordKind > 0 && token.text !== token.text.toLowerCase()) {
      source.complain(line, `keyword ${token.text} in upper case`);
    }
  }
}

const WRITES = new Set(["insert", "update", "delete", "merge"]);

/**
 * Whoever reads a statement sees all that it writes: what a CTE writes is named in it, by its count at least. A
 * statement ends with a semicolon, a bracket that was open before it, or the text.
 */
function checkWritingCtes(source: Source, text: string, firstLine: number): void {
  const bytes = Buffer.from(text);
  const tokens = scanSync(text).tokens.filter((token) => !/^(--|\/\*)/.test(token.text));
  const words = tokens.map((token) => token.text);
  /** Behind the bracket that closes what is open at a place, or where the statement ends. */
  const endOf = (place: number) => {
    for (let depth = 0; place < words.length; place++) {
      if (words[place] === "(") depth++;
      else if (words[place] === ")" && --depth < 0) return place + 1;
      else if (words[place] === ";" && depth === 0) return place;
    }
    return place;
  };
  for (const [place, token] of tokens.entries()) {
    const line = firstLine + bytes.subarray(0, token.start).toString().split("\n").length - 1;
    const body = /^(\$\w*\$)([^]*)\1$/.exec(token.text)?.[2];
    if (body !== undefined && /\s/.test(body)) checkWritingCtes(source, body, line);
    if (token.text !== "as") continue;
    const open = words.indexOf("(", place);
    if (open < 0) continue;
    const between = words.slice(place + 1, open).join(" ");
    if (!/^((not )?materialized)?$/.test(between) || !WRITES.has(words[open + 1] ?? "")) continue;
    const name = words[words[place - 1] === ")" ? words.lastIndexOf("(", place) - 1 : place - 1];
    const rest = endOf(open + 1);
    if (!words.slice(rest, endOf(rest)).includes(name ?? "")) {
      source.complain(line, `${name}: a CTE that writes, and that nothing names`);
    }
  }
}

function checkFunction(
  source: Source,
  definition: z.infer<typeof CreateFunction>["CreateFunctionStmt"],
  text: string,
  line: number,
): void {
  const name = definition.funcname.map(({ String }) => String.sval).join(".");
  const option = (wanted: string) =>
    definition.options.filter(({ DefElem }) => DefElem.defname === wanted).map((one) =>
      JSON.stringify(one.DefElem.arg)
    );
  if (!definition.replace) source.complain(line, `${name}: not "create or replace"`);
  if (!name.includes(".")) source.complain(line, `${name}: no schema`);
  const comments = text.split("\n").filter((one) => /^\s*--/.test(one)).join("\n");
  const paths = option("set").filter((one) => one.includes('"search_path"'));
  const setsPath = paths.length > 0;
  // An empty one still looks into the caller's pg_temp first for types.
  if (!paths.every((one) => /"pg_catalog".*"pg_temp"/.test(one))) {
    source.complain(line, `${name}: search_path is not pg_catalog, pg_temp`);
  }
  if (!setsPath && !comments.includes("search_path")) {
    source.complain(line, `${name}: neither sets search_path nor says in a comment why not`);
  }
  // What is switched off counts as dear, and what is dear is compiled: 60 ms, at every call.
  const sets = (setting: string) => option("set").some((one) => one.includes(`"${setting}"`));
  if (sets("enable_seqscan") && !sets("jit") && !/\bjit\b/.test(comments)) {
    source.complain(line, `${name}: sets enable_seqscan and not jit = off`);
  }
  const definer = option("security").some((one) => one.includes("true"));
  if (definer && !/^(automation|ridgeline_crm)\./.test(name)) {
    source.complain(line, `${name}: security definer outside schema automation`);
  }
  if (definer && !setsPath) source.complain(line, `${name}: security definer without search_path`);
  if (option("language").some((one) => one.includes('"plpgsql"'))) {
    checkPlpgsql(source, name, text, line);
  }
}

// The standalone parser knows no tables, so it stumbles over their row types: only what it
// says about syntax counts. plpgsql_check looks at the rest, in a database.
function checkPlpgsql(source: Source, name: string, text: string, line: number): void {
  try {
    parsePlPgSQLSync(text);
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    if (message.includes("syntax error")) source.complain(line, `${name}: ${message}`);
  }
}

function checkFile(file: string): void {
  const source = new Source(file);
  checkLines(source);
  let statements: z.infer<typeof Statement>[];
  try {
    statements = z.array(Statement).parse(parseSync(source.text).stmts ?? []);
    checkKeywords(source, source.text, 1);
    checkWritingCtes(source, source.text, 1);
  } catch (error) {
    const { sqlDetails, message } = error as {
      sqlDetails?: { cursorPosition: number };
      message: string;
    };
    source.complain(source.line(sqlDetails?.cursorPosition ?? 0), message);
    return;
  }
  for (const { stmt, stmt_location: from = 0, stmt_len: length } of statements) {
    const text = source.slice(from, length);
    const lead = /^(\s|--[^\n]*\n)*/.exec(text)?.[0].length ?? 0;
    const line = source.line(from) + text.slice(0, lead).split("\n").length - 1;
    noteNames(source.file, text, line);
    const definition = CreateFunction.safeParse(stmt);
    if (definition.success) {
      checkFunction(source, definition.data.CreateFunctionStmt, text, line);
    }
    const table = CreateTable.safeParse(stmt);
    if (table.success && table.data.CreateStmt.relation.relpersistence !== "t") {
      const { schemaname, relname } = table.data.CreateStmt.relation;
      if (!schemaname) source.complain(line, `table ${relname}: no schema`);
      tables.push({ name: `${schemaname}.${relname}`, file, line });
    }
  }
}

const OURS = String.raw`((?:automation|ridgeline)\.\w+)`;
const MAKES = new RegExp(
  String.raw`^create (?:or replace )?(?:function|procedure|type|table|view|sequence)\s+${OURS}`,
);

/** What a statement makes, and what it names: in code and in statements that are put together, not in words to people. */
function noteNames(file: string, text: string, line: number): void {
  if (!file.includes(`${path.sep}engine${path.sep}`)) return;
  const code = text.split("\n").filter((one) => !/^\s*--/.test(one)).join("\n").trim();
  if (/^comment /.test(code)) return;
  const name = MAKES.exec(code)?.[1];
  if (name && !made.has(name)) made.set(name, file);
  const words = /(hint\s*=\s*(?:format\()?|'[A-Z])(?:'?(?:[^']|'')*')(?:\s*'(?:[^']|'')*')*/g;
  for (const used of new Set(code.replaceAll(words, "").match(new RegExp(OURS, "g")))) {
    named.push({ name: used, file, line, by: name ?? code.slice(0, 40) });
  }
}

const chapterOf = (file: string) => file.split(path.sep)[2] ?? "";

/** A chapter uses what stands before it: an arrow never runs up. And no two files are the third of a chapter. */
function checkChapters(files: string[]): void {
  for (const { name, file, line, by } of named) {
    const home = made.get(name);
    if (home && chapterOf(home) > chapterOf(file)) {
      complaints.push({ file, line, message: `${by} names ${name}, which comes later (${home})` });
    }
  }
  const numbers = new Map<string, string>();
  for (const file of files) {
    const number = path.join(path.dirname(file), path.basename(file).split("_", 1)[0] ?? "");
    const other = numbers.get(number);
    if (other) complaints.push({ file, line: 1, message: `has the number of ${other}` });
    numbers.set(number, file);
  }
}

/** A comment sends its reader to a chapter or a file that is there: numbers change. */
function checkPlaces(files: string[]): void {
  const places = new Set(
    files.flatMap((file) => file.split(path.sep)).map((part) => part.replace(/\.sql$/, "")),
  );
  for (const file of files) {
    const lines = fs.readFileSync(path.join(root, file), "utf8").split("\n");
    for (const [index, line] of lines.entries()) {
      for (const place of line.match(/\b\d\d_[a-z][a-z_]*\b/g) ?? []) {
        if (places.has(place)) continue;
        complaints.push({
          file,
          line: index + 1,
          message: `${place}: there is no such chapter or file`,
        });
      }
    }
  }
}

/** RLS stands in one chapter, where a reader can see that no table was forgotten. */
function checkRowSecurity(files: string[]): void {
  const security = files
    .filter((file) => /99_ops|07_policies/.test(file))
    .map((file) => fs.readFileSync(path.join(root, file), "utf8"))
    .join("\n");
  for (const { name, file, line } of tables) {
    const mentioned = new RegExp(`\\b${name.replace(".", "\\.")}\\b`).test(security);
    if (!mentioned) {
      complaints.push({
        file,
        line,
        message: `${name}: not in 99_ops or crm/07_policies, which enable RLS`,
      });
    }
  }
}

await loadModule();
const files = schemaFiles(undefined, root);
files.forEach(checkFile);
checkRowSecurity(files);
checkChapters(files);
checkPlaces(files);

for (const { file, line, message } of complaints) console.error(`${file}:${line}: ${message}`);
console.log(`SQL lint: ${files.length} files, ${complaints.length} complaints`);
process.exitCode = complaints.length ? 1 : 0;

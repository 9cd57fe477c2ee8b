import { z } from "zod";
import { RequestError } from "../runtime/errors.ts";
import { type FormBody, type Pair, PostedFile } from "./form-body.ts";
import { callFunction, type Database, storableText } from "./inbound.ts";
import type { ProblemDetail } from "./problem.ts";

const MAX_FIELDS = 100;
const MAX_LEAVES = 1_000;
const MAX_DEPTH = 16;
const MAX_NAME = 100;
const MAX_VALUE = 5_000;

/** What a form may hold, as the text of a JSON object: the database reads every digit of it. */
export type Fields = string;

/** Some fields cannot be taken; `fields` are those that can, and what stands for the others. */
export class FieldErrors extends Error {
  constructor(readonly errors: ProblemDetail[], readonly fields: Fields) {
    super("some fields cannot be taken");
  }
}

type Wrong = Omit<ProblemDetail, "field">;

const tooLong: Wrong = {
  message: `is longer than ${MAX_VALUE} characters`,
  fix: `send at most ${MAX_VALUE} characters`,
};
const aFile: Wrong = { message: "is a file; only text is taken", fix: "leave the file out" };
const noName: Wrong = {
  message: "is no name for a field",
  fix: `name it, with at most ${MAX_NAME} characters`,
};
const isNested = (text: string) => /^\s*\{/.test(text);

function problemOf(value: string | PostedFile): Wrong | undefined {
  if (value instanceof PostedFile) return aFile;
  return value.length > MAX_VALUE && !isNested(value) ? tooLong : undefined;
}

/** What is kept of a value that cannot be taken. */
const remnantOf = (value: string | PostedFile) =>
  value instanceof PostedFile
    ? `${value.name.slice(0, 200)} (a file of ${value.bytes} bytes, not taken)`
    : value.slice(0, MAX_VALUE);

const isName = (name: string) => name.trim() !== "" && name.length <= MAX_NAME;

/** A field that comes more than once (checkboxes) is a list. */
function fieldsOfPairs(pairs: readonly Pair[]): Fields {
  const gathered = new Map<string, string[]>();
  const errors: ProblemDetail[] = [];
  for (const [given, value] of pairs) {
    const name = storableText(given).trim();
    // A stray & or a nameless button says nothing.
    if (name === "" && value === "") continue;
    const wrong = isName(name) ? problemOf(value) : noName;
    if (wrong !== undefined) errors.push({ field: name.slice(0, MAX_NAME) || '""', ...wrong });
    const content = storableText(remnantOf(value));
    gathered.set(name, [...(gathered.get(name) ?? []), content]);
  }
  const all = [...gathered].map((
    [name, values],
  ) => [name, values.length === 1 ? values[0] : values]);
  const fields = JSON.stringify(Object.fromEntries(all.slice(0, MAX_FIELDS)));
  if (all.length > MAX_FIELDS) throw new TooManyFields(fields);
  if (errors.length) throw new FieldErrors(errors, fields);
  return fields;
}

/** A refusal that still knows what was posted. */
export class TooManyFields extends RequestError {
  constructor(readonly fields: Fields) {
    super(422, "too_many_fields", `at most ${MAX_FIELDS} fields are taken`);
  }
}

/** Postgres refuses U+0000 and lone surrogates in jsonb; the digits are nobody's business here. */
function storableJson(text: string): string {
  return text.replaceAll("\0", "").replace(/\p{Surrogate}/gu, "\ufffd").replace(
    /\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u([0-9a-fA-F]{4})|\\./g,
    (escape, code?: string) => {
      if (code === undefined) return escape;
      return code === "0000" ? "" : /^d[89a-f]/i.test(code) ? "\\ufffd" : escape;
    },
  );
}

const pairObject = z.looseObject({}).refine((one) => Object.keys(one).length > 0);

/** Nothing is read but the shape. */
function fieldsOfJson(given: string): Fields {
  const text = storableJson(given.replace(/^\ufeff/, ""));
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
  if (z.array(pairObject).nonempty().safeParse(json).success) {
    return fieldsOfJson(`{"fields":${text}}`);
  }
  if (typeof json !== "object" || json === null || Array.isArray(json)) {
    throw new RequestError(422, "invalid_request", "the body must be a JSON object of fields");
  }
  const errors = errorsOf(json);
  if (errors === null) {
    throw new RequestError(422, "too_many_fields", `at most ${MAX_FIELDS} fields are taken`);
  }
  if (errors.length) throw new FieldErrors(errors, text);
  return text;
}

/** All that is wrong, by field; null: it holds too much, or too deep. */
function errorsOf(json: object): ProblemDetail[] | null {
  const errors: ProblemDetail[] = [];
  const left: { field: string; value: unknown; depth: number }[] = [];
  const open = (value: object, prefix: string, depth: number) => {
    for (const [name, one] of Object.entries(value)) {
      const field = prefix === "" ? name : `${prefix}.${name}`;
      if (!isName(name)) {
        errors.push({ field: field.slice(0, MAX_NAME) || '""', ...noName });
      }
      left.push({ field, value: one, depth });
    }
  };
  open(json, "", 1);
  if (left.length > MAX_FIELDS) return null;
  for (let seen = 0; left.length > 0; seen++) {
    const { field, value, depth } = left.pop()!;
    if (seen > MAX_LEAVES || depth > MAX_DEPTH) return null;
    if (typeof value === "object" && value !== null) open(value, field, depth + 1);
    else if (typeof value === "string" && value.length > MAX_VALUE && !isNested(value)) {
      errors.push({ field: field.slice(0, 200), ...tooLong });
    }
  }
  return errors;
}

/** The fields of a post, all of them checked; all that is wrong is told at once. */
export const fieldsOf = (body: FormBody): Fields =>
  "json" in body ? fieldsOfJson(body.json) : fieldsOfPairs(body.pairs);

const outcome = z.discriminatedUnion("outcome", [
  z.object({ outcome: z.literal("accepted"), redirect_url: z.string().nullable() }),
  z.object({
    outcome: z.literal("invalid"),
    // What a form's rules find says by itself what is wanted.
    errors: z.array(z.object({
      field: z.string(),
      message: z.string(),
      fix: z.string().default("correct the field and send the form again"),
    })),
  }),
  z.object({ outcome: z.literal("rate_limited"), retry_after_seconds: z.number() }),
  z.object({ outcome: z.literal("unknown_form") }),
  z.object({ outcome: z.literal("origin_not_allowed") }),
]);
export type Outcome = z.infer<typeof outcome>;

interface Sender {
  publicKey: string;
  origin: string | null;
  source: string;
}

export interface Post extends Sender {
  fields: Fields;
}

export interface Unreadable extends Sender {
  problem: string;
  /** What could be read of it all the same. */
  fields: Fields | null;
  raw: string | null;
}

export interface Forms {
  /** May a page of this origin post to this form? */
  accepts(publicKey: string, origin: string): Promise<boolean>;
  submit(post: Post): Promise<Outcome>;
  /** Keeps what cannot be taken where the office can look; answers what became of it. */
  keep(post: Unreadable): Promise<string>;
}

export function createForms(sql: Database): Forms {
  return {
    accepts: (publicKey, origin) =>
      callFunction(
        "form_accepts",
        z.boolean().nullable().transform((may) => may === true),
        sql`select automation.form_accepts(${publicKey}::text, ${origin}::text) as result`,
      ),
    submit: ({ publicKey, origin, source, fields }) =>
      callFunction(
        "submit_form",
        outcome,
        sql`select automation.submit_form(
              ${publicKey}::text, ${origin}::text, ${source}::text,
              ${fields}::text::jsonb) as result`,
      ),
    keep: ({ publicKey, origin, source, problem, fields, raw }) =>
      callFunction(
        "keep_unreadable",
        z.string(),
        sql`select automation.keep_unreadable(
              ${publicKey}::text, ${origin}::text, ${source}::text, ${problem}::text,
              ${fields}::text::jsonb, ${raw}::text) as result`,
      ),
  };
}

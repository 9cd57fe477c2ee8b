import { z } from "zod";
import { RequestError } from "./errors.ts";
import { LosslessNumber } from "./json.ts";
import {
  callFunction,
  type Database,
  type FieldError,
  type JSONValue,
  storableText,
} from "./inbound.ts";

const MAX_FIELDS = 100;
const MAX_NAME = 100;
const MAX_VALUE = 5_000;

type Value = string | number | LosslessNumber | boolean | null;
export type Fields = Record<string, Value | Value[]>;

export class FieldErrors extends Error {
  constructor(readonly errors: FieldError[]) {
    super("some fields cannot be taken");
  }
}

const value = z.union([
  z.string().max(MAX_VALUE, `is longer than ${MAX_VALUE} characters`).transform(storableText),
  z.number(),
  z.instanceof(LosslessNumber),
  z.boolean(),
  z.null(),
], { error: "must be text, a number, true or false" });
const field = z.union([value, z.array(value).max(50, "has more than 50 values")]);

/** The fields of a post, every value checked; all that is wrong is told at once. */
export function fieldsOf(entries: Iterable<readonly [string, unknown]>): Fields {
  const fields = new Map<string, Value | Value[]>();
  const errors: FieldError[] = [];
  for (const [given, content] of entries) {
    const name = storableText(given);
    if (fields.size >= MAX_FIELDS) {
      throw new RequestError(422, "too_many_fields", `at most ${MAX_FIELDS} fields are taken`);
    }
    if (name.trim() === "" || name.length > MAX_NAME) {
      errors.push({ field: name.slice(0, MAX_NAME), message: "is no name for a field" });
      continue;
    }
    const parsed = field.safeParse(content);
    if (parsed.success) fields.set(name, parsed.data);
    else errors.push({ field: name, message: messageOf(content) });
  }
  if (errors.length) throw new FieldErrors(errors);
  return Object.fromEntries(fields);
}

function messageOf(content: unknown): string {
  if (content instanceof Blob) return "is a file; only text is taken";
  const single = value.safeParse(content);
  if (typeof content === "string" && !single.success) {
    return `is longer than ${MAX_VALUE} characters`;
  }
  return "must be text, a number, true or false, or a list of these";
}

/** A field that comes more than once (checkboxes) is a list. */
export function gather(
  pairs: Iterable<readonly [string, FormDataEntryValue]>,
): [string, unknown][] {
  const gathered = new Map<string, unknown[]>();
  for (const [name, content] of pairs) {
    gathered.set(name, [...(gathered.get(name) ?? []), content]);
  }
  return [...gathered].map(([name, contents]) => [
    name,
    contents.length === 1 ? contents[0] : contents,
  ]);
}

const outcome = z.discriminatedUnion("outcome", [
  z.object({ outcome: z.literal("accepted"), redirect_url: z.string().nullable() }),
  z.object({
    outcome: z.literal("invalid"),
    errors: z.array(z.object({ field: z.string(), message: z.string() })),
  }),
  z.object({ outcome: z.literal("rate_limited"), retry_after_seconds: z.number() }),
  z.object({ outcome: z.literal("unknown_form") }),
  z.object({ outcome: z.literal("origin_not_allowed") }),
]);
export type Outcome = z.infer<typeof outcome>;

export interface Post {
  publicKey: string;
  origin: string | null;
  source: string;
  fields: Fields;
}

export interface Forms {
  /** May a page of this origin post to this form? */
  accepts(publicKey: string, origin: string): Promise<boolean>;
  submit(post: Post): Promise<Outcome>;
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
              ${sql.json(fields as JSONValue)}::jsonb) as result`,
      ),
  };
}

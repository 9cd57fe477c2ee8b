// An object of an old definition, read key by key. What nobody took at the end is reported, so that no key goes
// missing without a word.
import type { Notes } from "./notes.ts";

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

export const isObject = (value: unknown): value is JsonObject =>
  typeof value === "object" && value !== null && !Array.isArray(value);
export const isAbsent = (value: unknown): value is null | undefined | "" =>
  value === undefined || value === null || value === "";

export const looksSecret =
  /^(?:authorization|proxy-authorization|cookie|x-api-key|api[-_]?key|apikey|x-auth-token|x-access-token)$|secret|token|password/i;

/** A value without what may be secret in it: for metadata, reports and whoever else reads them. */
export function redacted(value: Json, key = ""): Json {
  if (Array.isArray(value)) return value.map((item) => redacted(item, key));
  if (isObject(value)) {
    return Object.fromEntries(
      Object.entries(value).map((
        [name, item],
      ) => [name, name === "auth" ? "***" : redacted(item, name)]),
    );
  }
  return typeof value === "string" && value !== "" && looksSecret.test(key) ? "***" : value;
}

export class Keys {
  private readonly taken = new Set<string>();
  /** What nobody had taken when the rest was asked for, as it stands there. */
  readonly unread: JsonObject = {};
  private readonly value: JsonObject;

  constructor(value: unknown, readonly path: string, readonly notes: Notes) {
    this.value = isObject(value) ? value : {};
    if (!isObject(value) && value !== undefined && value !== null) {
      notes.person(path, "this should be an object; nothing could be read from it", value);
    }
  }

  at(key: string): string {
    return this.path ? `${this.path}.${key}` : key;
  }

  has(key: string): boolean {
    return !isAbsent(this.value[key]);
  }

  /** There, and nobody has taken it. */
  isLeft(key: string): boolean {
    return this.has(key) && !this.taken.has(key);
  }

  peek(key: string): Json | undefined {
    return this.value[key];
  }

  /** Takes a key without a word: whoever takes it says what becomes of it. */
  take(key: string): Json | undefined {
    this.taken.add(key);
    return this.value[key];
  }

  /** Takes a key and says where it went; absent ones are nothing to talk about. */
  move(key: string, becomes: string): Json | undefined {
    const value = this.take(key);
    if (!isAbsent(value)) this.notes.translated(this.at(key), value, becomes);
    return value;
  }

  /** A text; anything else is turned into one, as the old engines did, and said. */
  text(key: string, becomes: string): string | undefined {
    const value = this.move(key, becomes);
    if (isAbsent(value)) return undefined;
    if (typeof value === "string") return value;
    if (typeof value === "object") {
      this.notes.person(this.at(key), "a text is needed here", value);
      return undefined;
    }
    return String(value);
  }

  /** A JSON number; a text that is one counts, and that is said. */
  number(key: string, becomes: string): number | undefined {
    const value = this.move(key, becomes);
    if (isAbsent(value)) return undefined;
    if (typeof value === "number" && Number.isFinite(value)) return value;
    const read = typeof value === "string" ? Number(value) : Number.NaN;
    if (!Number.isFinite(read)) {
      this.notes.person(this.at(key), "a number is needed here", value);
      return undefined;
    }
    this.notes.difference(
      this.at(key),
      "a text, which is no number to the old engine",
      `the number ${read}`,
    );
    return read;
  }

  /** A list of what the old engines took for one; a single value counts as a list of one. */
  list(key: string, becomes: string): Json[] | undefined {
    const value = this.move(key, becomes);
    if (value === undefined || value === null) return undefined;
    return Array.isArray(value) ? value : [value];
  }

  isAny(): boolean {
    return Object.keys(this.value).length > 0;
  }

  /** All of it, as it is written. */
  all(): JsonObject {
    for (const key of Object.keys(this.value)) this.taken.add(key);
    return { ...this.value };
  }

  object(key: string): Keys {
    return new Keys(this.take(key), this.at(key), this.notes);
  }

  /** Keys that repeat what is said elsewhere. */
  drop(key: string, why: string): void {
    const value = this.take(key);
    if (!isAbsent(value)) this.notes.kept(this.at(key), value, why);
  }

  /** What nobody has taken, for metadata.legacy; each is said. */
  rest(why?: string): JsonObject {
    const untaken = Object.entries(this.value).filter(([key]) => !this.taken.has(key));
    Object.assign(this.unread, Object.fromEntries(untaken));
    // Of a column that is empty there is nothing to say, and nothing to keep.
    const left = untaken.filter(([, value]) => !isAbsent(value))
      .map(([key, value]): [string, Json] => [key, redacted(value, key)]);
    for (const [key, value] of left) {
      this.taken.add(key);
      this.notes.kept(this.at(key), value, why);
    }
    return Object.fromEntries(left);
  }
}

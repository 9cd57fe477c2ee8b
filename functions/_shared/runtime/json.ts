// JSON that keeps every digit: an id such as 7615917337495251231, 1.10 or 1e400 is a LosslessNumber, which
// stringifyJson() writes as it was. Every other number is a number. JavaScript's own JSON rounds them.
import { LosslessNumber, parse } from "lossless-json";

export { LosslessNumber };

const numberOf = (text: string): unknown =>
  String(Number(text)) === text ? Number(text) : new LosslessNumber(text);

const QUOTE = '"';
const BACKSLASH = 92;

function isEscaped(text: string, quote: number): boolean {
  let before = quote;
  while (text.charCodeAt(before - 1) === BACKSLASH) before--;
  return (quote - before) % 2 === 1;
}

/** Where a text of JSON ends that begins at `quote`. */
function afterText(text: string, quote: number): number {
  let end = text.indexOf(QUOTE, quote + 1);
  while (end >= 0 && isEscaped(text, end)) end = text.indexOf(QUOTE, end + 1);
  return end < 0 ? text.length : end + 1;
}

const NUMBER = /-?[0-9][-+.0-9eE]*/y;

/**
 * Whether JavaScript would write any number of this JSON differently. Texts are stepped over and not searched: they are
 * most of it, and ids and times in them look odd.
 */
function hasOddNumber(text: string): boolean {
  for (let at = 0; at < text.length;) {
    const quote = text.indexOf(QUOTE, at);
    const end = quote < 0 ? text.length : quote;
    for (; at < end; at++) {
      const code = text.charCodeAt(at);
      // A minus or a digit.
      if (code !== 45 && (code < 48 || code > 57)) continue;
      NUMBER.lastIndex = at;
      const number = NUMBER.exec(text)?.[0] ?? "";
      if (String(Number(number)) !== number) return true;
      at += number.length;
    }
    at = quote < 0 ? end : afterText(text, quote);
  }
  return false;
}

export class NumberTooLargeError extends Error {
  override readonly name = "NumberTooLargeError";
}

/** Written out, 1e9999 has ten thousand digits, and ten letters of a body would be a page in the database. */
const MOST_DIGITS = 1_000;

function boundedNumber(text: string): unknown {
  const exponent = Math.abs(Number(/[eE](.+)$/.exec(text)?.[1] ?? 0));
  if (text.length + exponent > MOST_DIGITS) {
    throw new NumberTooLargeError(`a number has more than ${MOST_DIGITS} digits`);
  }
  return numberOf(text);
}

const onDuplicateKey = ({ newValue }: { newValue: unknown }) => newValue;

/** What the database says: its numbers are its own. */
export function parseJson(text: string): unknown {
  if (!hasOddNumber(text)) return JSON.parse(text);
  return parse(text, null, { parseNumber: numberOf, onDuplicateKey });
}

/** What a stranger sends. Throws NumberTooLargeError, or SyntaxError where it is not JSON. */
export function parseBody(text: string): unknown {
  // As it goes through every value, JavaScript's own parser is asked first whether it is JSON at all.
  const plain: unknown = JSON.parse(text);
  if (!hasOddNumber(text)) return plain;
  return parse(text, null, { parseNumber: boundedNumber, onDuplicateKey });
}

function write(value: unknown): string | undefined {
  // By its class: an object that only says of itself that it is a number is an object.
  if (value instanceof LosslessNumber) return value.value;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if ("toJSON" in value && typeof value.toJSON === "function") return write(value.toJSON());
  if (Array.isArray(value)) return `[${value.map((item) => write(item) ?? "null").join(",")}]`;
  const members = Object.entries(value).flatMap(([key, member]) => {
    const written = write(member);
    return written === undefined ? [] : [`${JSON.stringify(key)}:${written}`];
  });
  return `{${members.join(",")}}`;
}

/** A member of every LosslessNumber, which JSON.stringify() would write out. */
const LOSSLESS = '"isLosslessNumber"';

export function stringifyJson(value: unknown): string {
  const plain = JSON.stringify(value) ?? "null";
  return plain.includes(LOSSLESS) ? write(value) ?? "null" : plain;
}

/** The number as JavaScript has it, where it has to count. */
export const plainNumber = (value: unknown): unknown =>
  value instanceof LosslessNumber ? Number(value.value) : value;

export function jsonResponse(value: unknown, init: ResponseInit = {}): Response {
  const headers = new Headers(init.headers);
  headers.set("content-type", "application/json");
  return new Response(stringifyJson(value), { ...init, headers });
}

// The body of a form post, as browsers and form builders send it, into fields. Bytes are decoded field
// by field: the platform's own parsers read everything as UTF-8, and an é of windows-1252 is then gone
// for good.
import { Buffer } from "node:buffer";
import { RequestError } from "../runtime/errors.ts";

/** A file that was posted; what it holds is not read. */
export class PostedFile {
  constructor(readonly name: string, readonly bytes: number) {}
}

export type Pair = readonly [name: string, value: string | PostedFile];

/** JSON as it came, so that no digit passes through a JavaScript number; or pairs of text. */
export type FormBody = { json: string } | { pairs: Pair[]; problem?: RequestError };

const UTF8 = new TextDecoder("utf-8", { fatal: true });

// Where windows-1252 is not latin1; Node's own decoder takes the one for the other.
const WESTERN = "€\x81‚ƒ„…†‡ˆ‰Š‹Œ\x8dŽ\x8f\x90‘’“”•–—˜™š›œ\x9džŸ";

const decodeWestern = (bytes: Uint8Array) =>
  Buffer.from(bytes).toString("latin1").replace(
    /[\x80-\x9f]/g,
    (one) => WESTERN[one.charCodeAt(0) - 0x80]!,
  );

function decoderOf(label: string | undefined): TextDecoder | undefined {
  try {
    const decoder = label ? new TextDecoder(label.trim()) : undefined;
    return decoder?.encoding === "utf-8" ? undefined : decoder;
  } catch {
    return undefined;
  }
}

/** In the encoding that is declared, else UTF-8, and what is none is windows-1252: all bytes are. */
export function decode(bytes: Uint8Array, label?: string): string {
  const declared = decoderOf(label) ?? markOf(bytes);
  if (declared?.encoding === "windows-1252") return decodeWestern(bytes);
  if (declared) return declared.decode(bytes);
  try {
    return UTF8.decode(bytes);
  } catch {
    return decodeWestern(bytes);
  }
}

function markOf(bytes: Uint8Array): TextDecoder | undefined {
  if (bytes[0] === 0xff && bytes[1] === 0xfe) return new TextDecoder("utf-16le");
  if (bytes[0] === 0xfe && bytes[1] === 0xff) return new TextDecoder("utf-16be");
  return undefined;
}

// One character a byte, to cut bodies up in; nothing is decoded yet.
const toBinary = (bytes: Uint8Array) => Buffer.from(bytes).toString("latin1");
const decodeBinary = (text: string, label?: string) => decode(Buffer.from(text, "latin1"), label);

/** The value of a parameter in a header: charset=..., boundary="...". */
export function parameterOf(header: string, name: string): string | undefined {
  const found = new RegExp(`;\\s*${name}\\s*=\\s*(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]*))`, "i")
    .exec(header);
  return found?.[1]?.replace(/\\(["\\])/g, "$1") ?? found?.[2];
}

interface RawField {
  name: string;
  value: string;
  charset?: string;
  file?: { name: string };
}

/** The encoding that a hidden field _charset_ names is that of the whole form. */
function decodeFields(fields: RawField[], charset: string | undefined): Pair[] {
  const named = fields.find(({ name, value }) => name === "_charset_" && value !== "")?.value;
  return fields.filter(({ name }) => name !== "_charset_").map(({ name, value, ...one }): Pair => {
    const label = one.charset ?? named ?? charset;
    // An upload that was left empty is an empty field.
    if (one.file && (one.file.name !== "" || value !== "")) {
      const file = new PostedFile(decodeBinary(one.file.name, named ?? charset), value.length);
      return [decodeBinary(name, named ?? charset), file];
    }
    return [decodeBinary(name, named ?? charset), decodeBinary(value, label)];
  });
}

const unescape = (text: string) =>
  text.replaceAll("+", " ").replace(
    /%([0-9a-f]{2})/gi,
    (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)),
  );

export function urlEncodedFields(body: string, charset?: string): Pair[] {
  const fields = body.replace(/^\xef\xbb\xbf/, "").split("&").filter(Boolean).map((pair) => {
    const at = pair.indexOf("=");
    return at < 0
      ? { name: unescape(pair), value: "" }
      : { name: unescape(pair.slice(0, at)), value: unescape(pair.slice(at + 1)) };
  });
  return decodeFields(fields, charset);
}

/** enctype="text/plain": a line a field. Null: this is something else. */
function plainFields(body: string, charset?: string): Pair[] | null {
  const lines = body.replace(/^\xef\xbb\xbf/, "").split(/\r?\n/).filter((line) => line !== "");
  if (lines.length === 0 || !/^[^=\r\n]{1,100}=/.test(lines[0]!)) return null;
  const fields: RawField[] = [];
  for (const line of lines) {
    const at = line.search(/^[\w\[\].-]{1,100}=/) < 0 ? -1 : line.indexOf("=");
    const last = fields.at(-1);
    if (at > 0) fields.push({ name: line.slice(0, at), value: line.slice(at + 1) });
    else if (last) last.value += `\n${line}`;
  }
  return fields.length ? decodeFields(fields, charset) : null;
}

function partOf(part: string): RawField | null {
  const end = /\r?\n\r?\n/.exec(part);
  if (!end) return null;
  const headers = new Map(
    part.slice(0, end.index).split(/\r?\n/).map((line): [string, string] => {
      const at = line.indexOf(":");
      return [line.slice(0, at).trim().toLowerCase(), line.slice(at)];
    }),
  );
  const disposition = headers.get("content-disposition") ?? "";
  const name = parameterOf(disposition, "name");
  if (name === undefined) return null;
  const charset = parameterOf(headers.get("content-type") ?? "", "charset");
  const file = parameterOf(disposition, "filename") ?? parameterOf(disposition, "filename\\*");
  const named = (text: string) => text.replaceAll("%22", '"').replace(/%0[ad]/gi, " ");
  return {
    name: named(name),
    value: part.slice(end.index + end[0].length),
    ...(charset ? { charset } : {}),
    ...(file === undefined ? {} : { file: { name: named(file) } }),
  };
}

/** Of a body that was cut off, the parts that are whole. */
export function multipartFields(body: string, contentType: string, charset?: string): FormBody {
  const boundary = parameterOf(contentType, "boundary");
  const parts = boundary ? `\r\n${body}`.split(`\n--${boundary}`) : [];
  const fields = parts.slice(1, -1).map((part) =>
    partOf(part.replace(/^[ \t]*\r?\n/, "").replace(/\r$/, ""))
  )
    .filter((part) => part !== null);
  const pairs = decodeFields(fields, charset);
  const isWhole = parts.length > 1 && /^--/.test(parts.at(-1)!);
  return isWhole ? { pairs } : {
    pairs,
    problem: new RequestError(400, "invalid_form", "the body is not multipart/form-data"),
  };
}

const isJson = (text: string) => /^[\s\ufeff]*[{[]/.test(text);

/** The fields of a body; a problem beside them says that they are not all. */
export function formBodyOf(bytes: Uint8Array, contentType: string): FormBody {
  const type = contentType.split(";")[0]!.trim().toLowerCase();
  const charset = parameterOf(contentType, "charset");
  if (/^(application|text)\/([\w.-]+\+|x-)?json$/.test(type)) {
    return { json: decode(bytes, charset) };
  }
  const body = toBinary(bytes);
  if (type === "multipart/form-data") return multipartFields(body, contentType, charset);
  if (type === "application/x-www-form-urlencoded") {
    // Some builders say form and send JSON.
    return isJson(body)
      ? { json: decode(bytes, charset) }
      : { pairs: urlEncodedFields(body, charset) };
  }
  // What fetch() calls a text when nobody told it better.
  if (type === "text/plain" || type === "") {
    if (isJson(body)) return { json: decode(bytes, charset) };
    const pairs = plainFields(body, charset);
    if (pairs) return { pairs };
  }
  throw new RequestError(
    415,
    "unsupported_media_type",
    "send application/json, application/x-www-form-urlencoded or multipart/form-data",
  );
}

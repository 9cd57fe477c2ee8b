import { z } from "zod";
import type { JSONValue } from "postgres";
import type { Database } from "../runtime/database.ts";
import { ContractError, RequestError } from "../runtime/errors.ts";
import { parseBody } from "../runtime/json.ts";
import { withTimeout } from "../runtime/timeout.ts";

/** Holds what was read of the body till it was too much. */
export class BodyTooLarge extends RequestError {
  constructor(maxBytes: number, readonly begun: Uint8Array) {
    super(413, "too_large", `the body exceeds ${maxBytes} bytes`);
  }
}

function joined(chunks: readonly Uint8Array[]): Uint8Array {
  const body = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.byteLength, 0));
  let offset = 0;
  for (const chunk of chunks) {
    body.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return body;
}

/**
 * The body, and not a byte more than `maxBytes` of it: a length that lies or is missing is found
 * out while reading.
 */
export async function readBody(request: Request, maxBytes: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = request.body?.getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    length += part.value.byteLength;
    if (length > maxBytes) {
      await reader?.cancel();
      const fits = part.value.subarray(0, maxBytes - (length - part.value.byteLength));
      throw new BodyTooLarge(maxBytes, joined([...chunks, fits]));
    }
    chunks.push(part.value);
  }
  return joined(chunks);
}

export const decodeText = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The media type alone, in lower case. */
export function mediaType(request: Request): string {
  return (request.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
}

/** Postgres refuses U+0000 and lone surrogates in text and jsonb. */
export function storableText(text: string): string {
  return text.replaceAll("\0", "").replace(/\p{Surrogate}/gu, "\ufffd");
}

/** The same of at most so many characters, of which the last may be half of one that was cut. */
export function cutText(text: string, length: number): string {
  const storable = storableText(text);
  return storable.length <= length ? storable : storableText(storable.slice(0, length));
}

/** What a provider posts, once it is known who it is. */
export function parseJsonBody(text: string): unknown {
  try {
    return parseBody(text);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
}

export function requireMethod(request: Request, method: string): void {
  if (request.method !== method) {
    throw new RequestError(405, "method_not_allowed", `use ${method}`);
  }
}

const ANSWER_WITHIN_MS = 10_000;

/** One row with the column `result`, within the time that a provider waits for an answer. */
export async function callFunction<T>(
  name: string,
  schema: z.ZodType<T>,
  query: Promise<readonly unknown[]> & { cancel(): void },
): Promise<T> {
  const rows = await withTimeout(name, ANSWER_WITHIN_MS, (signal) => {
    signal.addEventListener("abort", () => query.cancel(), { once: true });
    return query;
  });
  const parsed = z.object({ result: schema }).safeParse(rows[0]);
  if (parsed.success) return parsed.data.result;
  throw new ContractError(`automation.${name}: ${z.prettifyError(parsed.error)}`);
}

export type { Database, JSONValue };

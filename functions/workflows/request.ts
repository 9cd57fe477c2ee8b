// What a request holds, before anybody asks the database: its body, its key, and the tenant that it names.
import type { JSONValue } from "postgres";
import { z } from "zod";
import type { Caller } from "../_shared/http/caller.ts";
import { decodeText, mediaType, readBody as readBytes } from "../_shared/http/inbound.ts";
import { Problem } from "../_shared/http/problem.ts";
import { NumberTooLargeError, parseBody, stringifyJson } from "../_shared/runtime/json.ts";

export const MAX_BODY_BYTES = 1_048_576;

const NOT_STORABLE = /\\u0000|\\ud[89a-f]/i;

interface BodyOptions {
  /** The clients of the old application do not all say that it is JSON. */
  anyType?: boolean;
  mayBeEmpty?: boolean;
}

export async function readBody(
  request: Request,
  { anyType = false, mayBeEmpty = false }: BodyOptions = {},
): Promise<JSONValue> {
  if (!anyType && mediaType(request) !== "application/json") {
    throw new Problem(415, "unsupported_media_type", "send application/json");
  }
  const text = decodeText(await readBytes(request, MAX_BODY_BYTES));
  if (mayBeEmpty && text.trim() === "") return {};
  let body: JSONValue;
  try {
    body = parseBody(text) as JSONValue;
  } catch (error) {
    if (error instanceof NumberTooLargeError) {
      throw new Problem(422, "invalid_request", error.message);
    }
    throw new Problem(400, "invalid_json", "the body is not JSON");
  }
  // JSON writes exactly what Postgres refuses as an escape: U+0000 and half a surrogate.
  if (NOT_STORABLE.test(text) && NOT_STORABLE.test(stringifyJson(body).replaceAll("\\\\", ""))) {
    throw new Problem(
      422,
      "invalid_request",
      "the body holds U+0000 or half a surrogate, which Postgres stores in no text",
    );
  }
  return body;
}

/** The draft of the header's standard puts the value in quotes; most clients do not. */
export function idempotencyKey(request: Request): string | undefined {
  const header = request.headers.get("idempotency-key");
  if (header === null) return undefined;
  const key = /^"(.*)"$/.exec(header.trim())?.[1] ?? header.trim();
  if (/^[\x21-\x7e]{1,255}$/.test(key)) return key;
  throw new Problem(422, "invalid_request", "Idempotency-Key: 1 to 255 printable characters", {
    errors: [{
      field: "Idempotency-Key",
      message: "is empty, too long or not printable ASCII",
      fix: "send a UUID",
    }],
  });
}

const tenantId = z.guid();

/** The tenant that the request names: in its header, or in what it asks for. */
export function namedTenant(request: Request, named: string | undefined): Pick<Caller, "tenantId"> {
  const header = request.headers.get("x-tenant-id")?.trim() || undefined;
  const given = named ?? header;
  if (given === undefined) return {};
  const parsed = tenantId.safeParse(given);
  if (
    parsed.success && (header === undefined || header.toLowerCase() === parsed.data.toLowerCase())
  ) {
    return { tenantId: parsed.data.toLowerCase() };
  }
  throw new Problem(422, "invalid_request", "x-tenant-id: is not the id of the tenant meant", {
    errors: [{
      field: "x-tenant-id",
      message: "is not the id of the tenant meant",
      fix: "send the tenant's id, here or as tenant_id, and the same in both",
    }],
  });
}

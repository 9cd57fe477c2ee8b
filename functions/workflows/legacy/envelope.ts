// How the old application answered: since February 2026 in an envelope that its browser unwraps, before that bare.
import type { JSONValue } from "postgres";
import type { z } from "zod";
import { Problem } from "../../_shared/http/problem.ts";

/** `data`: {success, data, pagination?} and {success, error: {code, message, details?}}. `bare`: the data, and {error}. */
export type Envelope = "data" | "bare";

export interface Pagination {
  page: number;
  limit: number;
  total: number;
}

export interface Answered {
  status?: number;
  data: JSONValue;
  pagination?: Pagination;
}

export function bodyOf(envelope: Envelope, { data, pagination }: Answered): JSONValue {
  if (envelope === "bare") return data ?? { success: true };
  if (!pagination) return { success: true, data };
  const { page, limit, total } = pagination;
  return {
    success: true,
    data,
    pagination: { page, limit, total, hasMore: page * limit < total },
  };
}

/** An answer that the old application would not have given in other words. */
export class OldError extends Error {
  override readonly name = "OldError";
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    readonly details?: JSONValue,
    /** What the bare envelope said of the same. */
    readonly bare: { status?: number; message?: string } = {},
  ) {
    super(message);
  }
}

export const notFound = (what: string) =>
  // "not found" twice: its helper added the words to messages that had them already, and clients compare.
  new OldError(404, "NOT_FOUND", `${what} not found not found`, undefined, {
    message: `${what} not found`,
  });

export const invalid = (message: string, details?: JSONValue) =>
  new OldError(400, "VALIDATION_ERROR", message, details);

/** As its own checks with zod told. */
const invalidShape = (error: z.ZodError) =>
  invalid("Validation failed", {
    issues: error.issues.map(({ path, message, code }) => ({
      path: path.map(String),
      message,
      code: String(code),
    })),
  });

/** What a request sends, or its own words about what is wrong with that. */
export function asked<T extends z.ZodType>(schema: T, raw: unknown): z.output<T> {
  const parsed = schema.safeParse(raw);
  if (parsed.success) return parsed.data;
  throw invalidShape(parsed.error);
}

const CODES: readonly [number, string, number][] = [
  [401, "UNAUTHORIZED", 401],
  [403, "FORBIDDEN", 403],
  [404, "NOT_FOUND", 404],
  [409, "ALREADY_EXISTS", 409],
  [429, "RATE_LIMIT_EXCEEDED", 429],
];

/** Any problem of ours in its words: what is wrong with a request was 400 to it, whatever we call it. */
function oldErrorOf(problem: Problem): OldError {
  const known = CODES.find(([status]) => status === problem.status);
  const details: JSONValue | undefined = problem.errors.length > 0
    ? { issues: problem.errors.map((one) => ({ ...one, path: one.field.split(".") })) }
    : undefined;
  if (known) return new OldError(known[2], known[1], problem.message, details);
  if (problem.status >= 500) {
    return new OldError(problem.status, "INTERNAL_ERROR", problem.message);
  }
  return new OldError(
    problem.status === 405 ? 405 : 400,
    "VALIDATION_ERROR",
    problem.message,
    details,
  );
}

export function refusal(
  envelope: Envelope,
  error: OldError | Problem,
): { status: number; body: JSONValue } {
  const told = error instanceof OldError ? error : oldErrorOf(error);
  if (envelope === "bare") {
    return {
      status: told.bare.status ?? told.status,
      body: { error: told.bare.message ?? told.message },
    };
  }
  return {
    status: told.status,
    body: {
      success: false,
      error: {
        code: told.code,
        message: told.message,
        ...(told.details === undefined ? {} : { details: told.details }),
      },
    },
  };
}

// The one shape of every answer that is not the one asked for, of every function (RFC 9457).
import type { z } from "zod";
import { isTransient } from "../runtime/database.ts";
import {
  codeOf,
  ConfigurationError,
  messageOf,
  RequestError,
  VersionError,
} from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";

/** One thing that is wrong with a request, and how to mend it. */
export interface ProblemDetail {
  field: string;
  message: string;
  fix: string;
}

interface More {
  errors?: readonly ProblemDetail[];
  headers?: Readonly<Record<string, string>>;
  /** Members of the answer besides those of every problem. */
  extra?: Readonly<Record<string, unknown>>;
}

/** An answer other than the one asked for. Everything in it is shown to the caller. */
export class Problem extends Error {
  override readonly name = "Problem";
  readonly errors: readonly ProblemDetail[];
  readonly headers: Readonly<Record<string, string>>;
  readonly extra: Readonly<Record<string, unknown>>;

  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    { errors = [], headers = {}, extra = {} }: More = {},
  ) {
    super(detail);
    this.errors = errors;
    this.headers = headers;
    this.extra = extra;
  }
}

const TITLES: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
};

/** The members of a problem document. `about:blank`: the title is the status, `code` says more. */
export function problemDocument(problem: Problem, instance: string) {
  return {
    type: "about:blank",
    title: TITLES[problem.status] ?? "Error",
    status: problem.status,
    code: problem.code,
    detail: problem.message,
    instance,
    ...(problem.errors.length > 0 ? { errors: problem.errors } : {}),
    ...problem.extra,
  };
}

/** The answer itself. `request` names it in the log. */
export function problemResponse(problem: Problem, request: string, more: object = {}): Response {
  return new Response(
    JSON.stringify({ ...problemDocument(problem, `urn:uuid:${request}`), ...more }),
    {
      status: problem.status,
      headers: {
        "content-type": "application/problem+json",
        "cache-control": "no-store",
        ...problem.headers,
      },
    },
  );
}

type Issue = z.core.$ZodIssue;

function fixOf(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return `send ${/^[aeio]/.test(issue.expected) ? "an" : "a"} ${issue.expected}`;
    case "unrecognized_keys":
      return "leave it out";
    case "invalid_format":
      return issue.format === "guid"
        ? "send a UUID, such as 6f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11"
        : "send it in the documented format";
    case "invalid_value":
      return `send one of: ${issue.values.map(String).join(", ")}`;
    case "too_big":
      return `send at most ${issue.maximum}`;
    case "too_small":
      return `send at least ${issue.minimum}`;
    case "custom":
      return typeof issue.params?.fix === "string" ? issue.params.fix : "see the documentation";
    default:
      return "see the documentation";
  }
}

function detailsOf(issue: Issue): ProblemDetail[] {
  const path = issue.path.map(String);
  const fix = fixOf(issue);
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => ({
      field: [...path, key].join("."),
      message: "is not a member of this request",
      fix,
    }));
  }
  return [{ field: path.join(".") || "body", message: issue.message, fix }];
}

/** What a schema finds wrong with a request. */
export function invalidRequest(error: z.ZodError): Problem {
  const errors = error.issues.flatMap(detailsOf);
  return new Problem(
    422,
    "invalid_request",
    errors.map(({ field, message }) => `${field}: ${message}`).join("; ").slice(0, 1_000),
    { errors },
  );
}

/** SQLSTATEs that are the caller's doing. Any other is ours, and its words stay in the log. */
const SQLSTATES: readonly [RegExp, number, string, string][] = [
  [/^(PT404|P0002)$/, 404, "not_found", "something that the request names was not found"],
  [/^42501$/, 403, "forbidden", "you may not do this"],
  [/^(PT409|55000|55006)$/, 409, "conflict", "this cannot be done in the present state"],
  [/^23(001|503|505|P01)$/, 409, "conflict", "the request contradicts other rows"],
  [/^(PT429|53400)$/, 429, "too_many_requests", "too many such calls of this tenant are under way"],
  [/^(PT413|54...)$/, 413, "too_large", "the request is too large"],
  [/^(22...|23502|23514)$/, 422, "invalid_request", "a value of the request cannot be taken"],
  [/^(42883|3F000|0A000)$/, 501, "not_implemented", "this database does not have it; migrate it"],
];

/** The engine's own messages start with the parameter they are about; Postgres's do not. */
const OWN_MESSAGE = /^([a-z_]+(?:\.[a-z0-9_]+)*): (.{1,500})$/s;

function textOf(error: Error, member: "detail" | "hint"): string | undefined {
  const value = (error as { detail?: unknown; hint?: unknown })[member];
  return typeof value === "string" ? value : undefined;
}

interface Finding {
  path: string;
  message: string;
  hint?: string | null;
  severity?: string;
}

/** A definition that cannot be published comes with everything that is wrong, as JSON in detail. */
function findingsOf(error: Error): Finding[] {
  try {
    const parsed: unknown = JSON.parse(textOf(error, "detail") ?? "");
    if (!Array.isArray(parsed)) return [];
    return parsed.filter((one): one is Finding =>
      typeof one?.path === "string" && typeof one?.message === "string" &&
      one?.severity !== "warning"
    );
  } catch {
    return [];
  }
}

/** What an error of the database means to the caller; undefined when it is none of their doing. */
export function problemOfDatabase(error: unknown): Problem | undefined {
  const state = codeOf(error);
  const known = SQLSTATES.find(([pattern]) => state !== undefined && pattern.test(state));
  if (!known || !(error instanceof Error)) return undefined;
  const [, status, code, general] = known;
  const fix = textOf(error, "hint") ?? "see the documentation";
  const findings = findingsOf(error);
  if (findings.length > 0) {
    const ofWorkflow = error.message.includes("cannot be published");
    const detail = ofWorkflow ? "the workflow cannot be published" : error.message.split(":", 1)[0];
    return new Problem(status, ofWorkflow ? "invalid_workflow" : code, detail ?? general, {
      errors: findings.map((one) => ({
        field: one.path,
        message: one.message,
        fix: one.hint ?? "see the documentation",
      })),
    });
  }
  const own = OWN_MESSAGE.exec(error.message);
  if (!own?.[1] || !own[2]) return new Problem(status, code, general);
  return new Problem(status, code, error.message, {
    ...(status === 429 ? { headers: { "retry-after": "1" } } : {}),
    errors: [{ field: own[1], message: own[2], fix }],
  });
}

export interface Failing {
  /** Of the function, with which the events in its log begin. */
  name: string;
  /** The id of the request. */
  request: string;
  log: Log;
  /** The caller speaks to the database: what it refuses is told, in its own words. */
  tellsDatabase?: boolean;
}

/** What any exception answers; only a caller's own mistakes are told in words. */
export function problemOf(
  error: unknown,
  { name, request, log, tellsDatabase = false }: Failing,
): Problem {
  if (error instanceof Problem) return error;
  if (error instanceof RequestError) return new Problem(error.status, error.code, error.message);
  if (error instanceof ConfigurationError) {
    log("error", `${name}_not_configured`, { request, variable: error.variable });
    return new Problem(500, "not_configured", error.message);
  }
  if (error instanceof VersionError) {
    log("error", `${name}_incompatible`, { request, message: error.message });
    return new Problem(503, "incompatible_version", error.message);
  }
  if (isTransient(error)) {
    log("warn", `${name}_unavailable`, { request, code: codeOf(error) });
    return new Problem(503, "unavailable", "try again in a moment", {
      headers: { "retry-after": "5" },
    });
  }
  const known = tellsDatabase ? problemOfDatabase(error) : undefined;
  if (known && known.status !== 501) return known;
  log("error", `${name}_failed`, {
    request,
    code: codeOf(error),
    message: messageOf(error).slice(0, 500),
  });
  return known ?? new Problem(500, "internal_error", "the log says why, under this instance");
}

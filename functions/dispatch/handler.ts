import { z } from "zod";
import { hasKey, requireSecretKey } from "../_shared/http/auth.ts";
import { type Dispatcher, DispatchError } from "../_shared/engine/dispatcher.ts";
import { LONGEST_BUDGET_MS } from "../_shared/runtime/env.ts";
import {
  ConfigurationError,
  messageOf,
  RequestError,
  VersionError,
} from "../_shared/runtime/errors.ts";
import { logToConsole } from "../_shared/runtime/log.ts";
import type { Shutdown } from "../_shared/runtime/shutdown.ts";

export interface Dependencies {
  secretKeys: () => readonly string[];
  /** A key that can do nothing but ring; none where nobody rings. */
  ringKey?: () => string | undefined;
  /** Made at the first authorised call, so that a missing variable is an answer, not a crash. */
  dispatcher: () => Dispatcher;
  budgetMs: () => number;
  shutdown?: Shutdown;
}

const body = z.strictObject({
  budget_ms: z.int().min(100).max(LONGEST_BUDGET_MS).optional(),
});

const emptyBody = z.strictObject({});

const MAX_BODY_BYTES = 10_000;

async function readBody<T>(request: Request, schema: z.ZodType<T>): Promise<T> {
  const text = await request.text();
  if (text.length > MAX_BODY_BYTES) {
    throw new RequestError(413, "too_large", "the body is too long");
  }
  let json: unknown = {};
  try {
    if (text.trim() !== "") json = JSON.parse(text);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(({ path, message }) =>
    `${path.join(".") || "body"}: ${message}`
  );
  throw new RequestError(400, "invalid_request", issues.join("; "));
}

function problem(status: number, code: string, message: string, more: object = {}): Response {
  return Response.json({ error: { code, message }, ...more }, { status });
}

function answer(error: unknown): Response {
  if (error instanceof RequestError) return problem(error.status, error.code, error.message);
  if (error instanceof ConfigurationError) return problem(500, "not_configured", error.message);
  if (error instanceof DispatchError && error.cause instanceof VersionError) {
    return problem(503, "incompatible_version", error.cause.message);
  }
  if (error instanceof DispatchError) {
    return problem(503, "database_unavailable", error.message, { summary: error.summary });
  }
  logToConsole("error", "dispatch_crashed", { message: messageOf(error) });
  return problem(500, "internal_error", "the dispatch failed; its log says why");
}

/**
 * A secret key waits for the run and gets its counts. A ring is answered at once, 202, and the run
 * goes on: pg_net has one worker, which sends nothing else until it has its answer. Neither run ends
 * with the caller's connection.
 */
export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { secretKeys, ringKey, dispatcher, budgetMs, shutdown } = dependencies;

  function start(budget: number): Promise<unknown> {
    const work = dispatcher().dispatch({
      budgetMs: budget,
      ...(shutdown ? { until: shutdown.signal } : {}),
    });
    return shutdown ? shutdown.track(work) : work;
  }

  async function ring(request: Request): Promise<Response> {
    await readBody(request, emptyBody);
    start(budgetMs()).catch((error: unknown) => {
      logToConsole("error", "ring_failed", { message: messageOf(error) });
    });
    return Response.json({ ringing: true }, { status: 202 });
  }

  return async (request) => {
    try {
      if (request.method !== "POST") {
        throw new RequestError(405, "method_not_allowed", "use POST");
      }
      const key = ringKey?.();
      if (key !== undefined && hasKey(request, [key])) return await ring(request);
      requireSecretKey(request, secretKeys());
      const { budget_ms } = await readBody(request, body);
      return Response.json(await start(budget_ms ?? budgetMs()));
    } catch (error) {
      return answer(error);
    }
  };
}

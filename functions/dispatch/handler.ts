import { z } from "zod";
import { hasKey, requireSecretKey } from "../_shared/http/auth.ts";
import { type Dispatcher, DispatchError } from "../_shared/engine/dispatcher.ts";
import { LONGEST_BUDGET_MS } from "../_shared/runtime/env.ts";
import { messageOf, RequestError, VersionError } from "../_shared/runtime/errors.ts";
import { decodeText, readBody as readBytes, requireMethod } from "../_shared/http/inbound.ts";
import { invalidRequest, Problem, problemOf, problemResponse } from "../_shared/http/problem.ts";
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
  const text = decodeText(await readBytes(request, MAX_BODY_BYTES));
  let json: unknown = {};
  try {
    if (text.trim() !== "") json = JSON.parse(text);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  throw invalidRequest(parsed.error);
}

/** A run that broke off says what it had done by then. */
function problemOfRun(error: unknown, request: string): Problem {
  if (!(error instanceof DispatchError) || error.cause instanceof VersionError) {
    const cause = error instanceof DispatchError ? error.cause : error;
    return problemOf(cause, { name: "dispatch", request, log: logToConsole });
  }
  logToConsole("error", "dispatch_unavailable", { request, message: messageOf(error.cause) });
  return new Problem(503, "unavailable", error.message, {
    headers: { "retry-after": "5" },
    extra: { summary: error.summary },
  });
}

function refuse(error: unknown): Response {
  const request = crypto.randomUUID();
  return problemResponse(problemOfRun(error, request), request);
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
      requireMethod(request, "POST");
      const key = ringKey?.();
      if (key !== undefined && hasKey(request, [key])) return await ring(request);
      requireSecretKey(request, secretKeys());
      const { budget_ms } = await readBody(request, body);
      return Response.json(await start(budget_ms ?? budgetMs()));
    } catch (error) {
      return refuse(error);
    }
  };
}

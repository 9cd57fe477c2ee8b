import { z } from "zod";
import { requireSecretKey } from "../_shared/auth.ts";
import { type Dispatcher, DispatchError } from "../_shared/dispatcher.ts";
import { LONGEST_BUDGET_MS } from "../_shared/env.ts";
import { ConfigurationError, messageOf, RequestError } from "../_shared/errors.ts";
import { logToConsole } from "../_shared/log.ts";
import type { Shutdown } from "../_shared/shutdown.ts";

export interface Dependencies {
  secretKeys: () => readonly string[];
  /** Made at the first authorised call, so that a missing variable is an answer, not a crash. */
  dispatcher: () => Dispatcher;
  budgetMs: () => number;
  shutdown?: Shutdown;
}

const body = z.strictObject({
  budget_ms: z.int().min(100).max(LONGEST_BUDGET_MS).optional(),
});

const MAX_BODY_BYTES = 10_000;

async function readBody(request: Request): Promise<z.infer<typeof body>> {
  const text = await request.text();
  if (text.length > MAX_BODY_BYTES) {
    throw new RequestError(413, "too_large", "the body is too long");
  }
  if (text.trim() === "") return {};
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
  const parsed = body.safeParse(json);
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
  if (error instanceof DispatchError) {
    return problem(503, "database_unavailable", error.message, { summary: error.summary });
  }
  logToConsole("error", "dispatch_crashed", { message: messageOf(error) });
  return problem(500, "internal_error", "the dispatch failed; its log says why");
}

/** The run does not end with the caller's connection: pg_net hangs up after five seconds. */
export function createHandler(dependencies: Dependencies): (request: Request) => Promise<Response> {
  const { secretKeys, dispatcher, budgetMs, shutdown } = dependencies;
  return async (request) => {
    try {
      if (request.method !== "POST") {
        throw new RequestError(405, "method_not_allowed", "use POST");
      }
      requireSecretKey(request, secretKeys());
      const { budget_ms } = await readBody(request);
      const work = dispatcher().dispatch({
        budgetMs: budget_ms ?? budgetMs(),
        ...(shutdown ? { until: shutdown.signal } : {}),
      });
      return Response.json(await (shutdown ? shutdown.track(work) : work));
    } catch (error) {
      return answer(error);
    }
  };
}

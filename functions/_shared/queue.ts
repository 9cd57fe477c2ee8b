import { z } from "zod";
import type { JSONValue } from "postgres";
import type { Database } from "./database.ts";
import { ContractError } from "./errors.ts";
import type { Outcome } from "./outcome.ts";
import { withTimeout } from "./timeout.ts";

/** Ids come from Postgres, whose uuid type takes any 128 bits: hence guid, not the stricter uuid. */
const claimedStep = z.object({
  tenant_id: z.guid(),
  step_id: z.guid(),
  attempt_token: z.guid(),
  attempt: z.int(),
  step_type: z.enum(["send_sms", "send_email", "webhook"]),
  /** Checked by the provider that sends it: a malformed payload fails its own step, not the batch. */
  payload: z.unknown(),
  idempotency_key: z.string().min(1),
  reconcile_since: z.date().nullable(),
  known_provider_ids: z.array(z.string()).nullable().transform((ids) => ids ?? []),
});
export type ClaimedStep = z.infer<typeof claimedStep>;
export type StepType = ClaimedStep["step_type"];

/** What holds a lease: without the token of the running attempt the database changes nothing. */
export type LeaseHolder = Pick<ClaimedStep, "tenant_id" | "step_id" | "attempt_token">;
export type FinishedStep = LeaseHolder & Outcome;

const finishedRow = z.object({
  step_id: z.guid(),
  accepted: z.boolean(),
  status: z.string().nullable(),
  /** Work of any kind is due now and nobody's. */
  due_now: z.boolean(),
});
export type FinishedRow = z.infer<typeof finishedRow>;

const count = z.object({ count: z.int() });

export interface Queue {
  /** Fewer than asked for: nothing more is due that nobody holds. */
  claim(worker: string, maxSteps: number, leaseSeconds: number): Promise<ClaimedStep[]>;
  finish(results: readonly FinishedStep[]): Promise<FinishedRow[]>;
  release(steps: readonly LeaseHolder[]): Promise<number>;
  runDatabaseSteps(maxSteps: number): Promise<number>;
  reapExpiredLeases(maxSteps: number): Promise<number>;
}

function parseRows<T>(name: string, schema: z.ZodType<T>, rows: readonly unknown[]): T[] {
  const parsed = z.array(schema).safeParse(rows);
  if (parsed.success) return parsed.data;
  throw new ContractError(`automation.${name}: ${z.prettifyError(parsed.error)}`);
}

/**
 * Postgres refuses U+0000 and lone surrogates in jsonb, and providers' messages may carry either.
 * One such message must not keep a whole batch from being recorded.
 */
function storable(value: unknown): JSONValue {
  return JSON.parse(
    JSON.stringify(value),
    (_key, entry) =>
      typeof entry === "string"
        ? entry.replaceAll("\0", "").replace(/\p{Surrogate}/gu, "\ufffd")
        : entry,
  );
}

function holder({ tenant_id, step_id, attempt_token }: LeaseHolder) {
  return { tenant_id, step_id, attempt_token };
}

/** The queue functions of the database. A statement that hangs is given up after `timeoutMs`. */
export function createQueue(sql: Database, timeoutMs = 20_000): Queue {
  type Rows = readonly unknown[];
  async function rows(what: string, query: Promise<Rows> & { cancel(): void }): Promise<Rows> {
    return await withTimeout(what, timeoutMs, (signal) => {
      signal.addEventListener("abort", () => query.cancel(), { once: true });
      return query;
    });
  }
  async function counted(what: string, query: Promise<Rows> & { cancel(): void }) {
    return parseRows(what, count, await rows(what, query))[0]?.count ?? 0;
  }

  return {
    async claim(worker, maxSteps, leaseSeconds) {
      const query = sql`
        select tenant_id, step_id, attempt_token, attempt, step_type, payload, idempotency_key,
               reconcile_since, to_jsonb(known_provider_ids) as known_provider_ids
        from automation.claim_steps(
          ${worker}::text, ${maxSteps}::int, make_interval(secs => ${leaseSeconds}::float8))`;
      return parseRows("claim_steps", claimedStep, await rows("claim_steps", query));
    },
    async finish(results) {
      const query = sql`
        select step_id, accepted, status, due_now
        from automation.finish_steps(${sql.json(storable(results))}::jsonb)`;
      return parseRows("finish_steps", finishedRow, await rows("finish_steps", query));
    },
    release(steps) {
      const held = sql.json(steps.map(holder));
      return counted(
        "release_steps",
        sql`select automation.release_steps(${held}::jsonb) as count`,
      );
    },
    runDatabaseSteps(maxSteps) {
      return counted(
        "run_database_steps",
        sql`select automation.run_database_steps(${maxSteps}::int) as count`,
      );
    },
    reapExpiredLeases(maxSteps) {
      return counted(
        "reap_expired_leases",
        sql`select automation.reap_expired_leases(${maxSteps}::int) as count`,
      );
    },
  };
}

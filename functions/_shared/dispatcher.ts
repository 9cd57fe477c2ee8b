import { Bell } from "./bell.ts";
import { isTransient } from "./database.ts";
import { codeOf, messageOf } from "./errors.ts";
import type { Log } from "./log.ts";
import type { Outcome } from "./outcome.ts";
import { deliver, worstCaseMs } from "./providers/deliver.ts";
import type { Senders } from "./providers/sender.ts";
import type { ClaimedStep, FinishedRow, FinishedStep, Queue } from "./queue.ts";
import { withRetries } from "./retry.ts";

export interface DispatcherOptions {
  queue: Queue;
  senders: Senders;
  log: Log;
  worker: string;
  /** Sends under way at once. */
  concurrency?: number;
  /** Sends claimed in one run: keeps a run within the CPU time of an Edge request. */
  maxSteps?: number;
  leaseSeconds?: number;
  /** How long a lost database is tried again before a bounded run gives up. */
  databasePatienceMs?: number;
  /** How often an idle or waiting run looks for work that nothing announced. */
  pollMs?: number;
}

export interface RunOptions {
  /** Ends when nothing is due or this much time is used. Without it, runs until `until`. */
  budgetMs?: number;
  until?: AbortSignal;
}

export type Stop = "idle" | "budget" | "limit" | "aborted" | "error";

export interface Summary {
  database_steps: number;
  claimed: number;
  succeeded: number;
  failed: number;
  retried: number;
  ambiguous: number;
  released: number;
  /** Results that came after their lease had been reaped: the database refused them. */
  late: number;
  /** Results that could not be recorded: their leases expire and they are looked up. */
  unrecorded: number;
  elapsed_ms: number;
  stopped: Stop;
}

export interface Dispatcher {
  /** Joins the bounded run under way, if there is one, and makes it look again. */
  dispatch(options: { budgetMs: number; until?: AbortSignal }): Promise<Summary>;
  run(options: RunOptions): Promise<Summary>;
  /** There may be new work: wakes every run. */
  ring(): void;
}

/** The run's database calls failed for good; what had been done until then is in the summary. */
export class DispatchError extends Error {
  override readonly name = "DispatchError";
  constructor(readonly summary: Summary, cause: unknown) {
    super("the database could not be used", { cause });
  }
}

type Settings = Required<DispatcherOptions>;

export function createDispatcher(options: DispatcherOptions): Dispatcher {
  const settings: Settings = {
    concurrency: 10,
    maxSteps: Infinity,
    leaseSeconds: 60,
    databasePatienceMs: 10_000,
    pollMs: 500,
    ...options,
  };
  const longest = longestSendMs(settings.senders) + MARGIN_MS;
  if (settings.leaseSeconds * 1000 <= longest) {
    throw new RangeError(`leaseSeconds must be longer than the longest send, ${longest} ms`);
  }
  const runs = new Set<Run>();
  let joined: { run: Run; summary: Promise<Summary> } | undefined;

  async function start(run: Run): Promise<Summary> {
    runs.add(run);
    try {
      return await run.execute();
    } finally {
      runs.delete(run);
    }
  }

  return {
    dispatch(runOptions) {
      if (joined?.run.lookAgain()) return joined.summary;
      const run = new Run(settings, runOptions);
      joined = { run, summary: start(run) };
      return joined.summary;
    },
    run: (runOptions) => start(new Run(settings, runOptions)),
    ring() {
      for (const run of runs) run.lookAgain();
    },
  };
}

interface Held {
  step: ClaimedStep;
  /** When the lease ends, on this process's monotonic clock and counted from before the claim. */
  leaseEndsAt: number;
}

interface Result {
  finished: FinishedStep;
  leaseEndsAt: number;
}

const MARGIN_MS = 2_000;
const DATABASE_BATCH = 200;
const REAP_BATCH = 500;
const FINISH_BATCH = 500;
/** Claimed ahead: what will be started within this time at the present speed. */
const AHEAD_MS = 50;
const AHEAD_ROUNDS = 20;
/** claim_steps takes no more at once. */
const CLAIM_BATCH = 1_000;
/** Between two claims that found nothing, while other work keeps announcing more. */
const DRY_PAUSE_MS = 5;

const now = () => performance.now();

function longestSendMs(senders: Senders): number {
  const times = Object.values(senders).map(({ timeoutMs, reconciliation }) =>
    reconciliation ? 2 * timeoutMs : timeoutMs
  );
  return Math.max(...times);
}

/**
 * Three loops share one state and one bell: claim, run database steps, record. Sends start
 * whenever a slot is free. `work` counts events that may have made something due; a loop that
 * found nothing remembers the count, and when nothing has happened since, the run is idle.
 */
class Run {
  readonly #settings: Settings;
  readonly #standing: boolean;
  readonly #budgetMs: number;
  readonly #until: AbortSignal | undefined;
  readonly #bell = new Bell();
  readonly #startedAt = now();
  readonly #waiting: Held[] = [];
  readonly #unstarted: Held[] = [];
  readonly #results: Result[] = [];
  readonly #totals = {
    database_steps: 0,
    claimed: 0,
    succeeded: 0,
    failed: 0,
    retried: 0,
    ambiguous: 0,
    released: 0,
    late: 0,
    unrecorded: 0,
  };
  #work = 0;
  #rings = 0;
  #claimDry = -1;
  #databaseDry = -1;
  #inFlight = 0;
  #claiming = false;
  #recording = false;
  #sendMs = 100;
  #stopped: Stop | undefined;
  #done = false;
  #error: unknown;

  constructor(settings: Settings, { budgetMs, until }: RunOptions) {
    this.#settings = settings;
    this.#standing = budgetMs === undefined;
    this.#budgetMs = budgetMs ?? Infinity;
    this.#until = until;
  }

  /** False when the run has already decided to end: whoever asks must start another. */
  lookAgain(): boolean {
    if (this.#stopped || this.#done) return false;
    this.#work++;
    this.#rings++;
    this.#bell.ring();
    return true;
  }

  async execute(): Promise<Summary> {
    const budget = this.#standing
      ? undefined
      : setTimeout(() => this.#stop("budget"), this.#budgetMs - this.#reserveMs());
    const abort = () => this.#stop("aborted");
    if (this.#until?.aborted) abort();
    this.#until?.addEventListener("abort", abort, { once: true });
    try {
      await Promise.all([this.#claimLoop(), this.#databaseLoop(), this.#recordLoop()]);
    } finally {
      clearTimeout(budget);
      this.#until?.removeEventListener("abort", abort);
    }
    const summary = this.#summary();
    if (this.#stopped === "error") throw new DispatchError(summary, this.#error);
    return summary;
  }

  /**
   * The tail of the budget in which nothing new starts: the longest a send can take. A short
   * budget keeps half of itself for work instead; its answer may come late by one such send.
   */
  #reserveMs(): number {
    return Math.min(longestSendMs(this.#settings.senders) + MARGIN_MS, this.#budgetMs / 2);
  }

  #summary(): Summary {
    const elapsed_ms = Math.round(now() - this.#startedAt);
    return { ...this.#totals, elapsed_ms, stopped: this.#stopped ?? "idle" };
  }

  #stop(reason: Stop): void {
    this.#stopped ??= reason;
    this.#unstarted.push(...this.#waiting.splice(0));
    this.#changed();
  }

  #fail(error: unknown): void {
    this.#error ??= error;
    this.#settings.log("error", "dispatch_failed", {
      code: codeOf(error) ?? null,
      message: messageOf(error),
    });
    this.#stopped = undefined;
    this.#stop("error");
  }

  /** Called after every event: starts what can start, and ends the run when nothing is left. */
  #changed(): void {
    this.#startSends();
    const quiet = this.#inFlight === 0 && this.#waiting.length === 0 &&
      this.#unstarted.length === 0 && this.#results.length === 0 && !this.#recording;
    if (quiet && !this.#claiming) {
      const dry = this.#claimDry === this.#work && this.#databaseDry === this.#work;
      if (dry && !this.#standing) this.#stopped ??= "idle";
      if (this.#stopped) this.#done = true;
    }
    this.#bell.ring();
  }

  // Claiming -------------------------------------------------------------------------------------

  async #claimLoop(): Promise<void> {
    const { maxSteps, pollMs } = this.#settings;
    if (!this.#done) await this.#reap();
    while (!this.#done) {
      const room = Math.min(this.#target() - this.#waiting.length, maxSteps - this.#totals.claimed);
      if (this.#stopped) await this.#bell.wait();
      else if (maxSteps <= this.#totals.claimed) this.#stop("limit");
      else if (room * 2 < Math.min(this.#target(), maxSteps - this.#totals.claimed)) {
        await this.#bell.wait();
      } else if (this.#claimDry === this.#work) await this.#poll(pollMs);
      else await this.#claim(Math.min(room, CLAIM_BATCH));
    }
  }

  /** How many steps may wait for a slot: few when sends are slow, more when they are quick. */
  #target(): number {
    const { concurrency } = this.#settings;
    const rounds = Math.ceil(AHEAD_MS / this.#sendMs);
    return concurrency * Math.min(Math.max(rounds, 1), AHEAD_ROUNDS);
  }

  async #claim(room: number): Promise<void> {
    const { queue, worker, leaseSeconds } = this.#settings;
    const work = this.#work;
    let leaseEndsAt = 0;
    this.#claiming = true;
    const steps = await this.#call("claim", () => {
      leaseEndsAt = now() + leaseSeconds * 1000;
      return queue.claim(worker, room, leaseSeconds);
    });
    this.#claiming = false;
    if (steps && steps.length < room) this.#claimDry = work;
    const held = (steps ?? []).map((step) => ({ step, leaseEndsAt }));
    this.#totals.claimed += held.length;
    (this.#stopped ? this.#unstarted : this.#waiting).push(...held);
    this.#changed();
    if (steps?.length === 0) await this.#restUnlessRung();
  }

  async #reap(): Promise<void> {
    const reaped = await this.#call(
      "reap",
      () => this.#settings.queue.reapExpiredLeases(REAP_BATCH),
    );
    if (reaped) this.#settings.log("warn", "leases_reaped", { count: reaped });
  }

  /** Waits for a ring; when none comes, looks once all the same. */
  async #poll(milliseconds: number): Promise<void> {
    const work = this.#work;
    await this.#pause(milliseconds, () => this.#work !== work);
    if (this.#work === work && !this.#stopped) this.#work++;
  }

  /** What the run announces itself can wait a moment; a ring cannot. */
  #restUnlessRung(): Promise<void> {
    const rings = this.#rings;
    return this.#pause(DRY_PAUSE_MS, () => this.#rings !== rings);
  }

  async #pause(milliseconds: number, enough: () => boolean = () => false): Promise<void> {
    const end = now() + milliseconds;
    while (!this.#done && !this.#stopped && !enough() && now() < end) {
      await this.#bell.wait(Math.max(end - now(), 1));
    }
  }

  // Database steps -------------------------------------------------------------------------------

  async #databaseLoop(): Promise<void> {
    while (!this.#done) {
      if (this.#stopped || this.#databaseDry === this.#work) await this.#bell.wait();
      else await this.#runDatabaseSteps();
    }
  }

  async #runDatabaseSteps(): Promise<void> {
    const work = this.#work;
    const run = () => this.#settings.queue.runDatabaseSteps(DATABASE_BATCH);
    const count = await this.#call("run_database_steps", run);
    if (count) {
      this.#totals.database_steps += count;
      this.#work++;
    } else if (count === 0) this.#databaseDry = work;
    this.#changed();
    if (count === 0) await this.#restUnlessRung();
  }

  // Sending --------------------------------------------------------------------------------------

  #startSends(): void {
    while (!this.#stopped && this.#inFlight < this.#settings.concurrency) {
      const held = this.#waiting.shift();
      if (!held) return;
      const sender = this.#settings.senders[held.step.step_type];
      const latestEnd = now() + worstCaseMs(held.step, sender) + MARGIN_MS;
      // Started now, it might still be on its way when its lease ends and another worker sends it.
      if (latestEnd > held.leaseEndsAt) this.#unstarted.push(held);
      else void this.#send(held);
    }
  }

  async #send({ step, leaseEndsAt }: Held): Promise<void> {
    this.#inFlight++;
    const startedAt = now();
    const outcome = await deliver(step, this.#settings.senders[step.step_type]);
    this.#sendMs += (now() - startedAt - this.#sendMs) / 16;
    this.#inFlight--;
    const { tenant_id, step_id, attempt_token } = step;
    this.#results.push({
      finished: { tenant_id, step_id, attempt_token, ...outcome },
      leaseEndsAt,
    });
    this.#report(step, outcome);
    this.#changed();
  }

  #report(step: ClaimedStep, outcome: Outcome): void {
    if (outcome.outcome === "succeeded" && !outcome.result.reconciled) return;
    const { tenant_id, step_id, step_type, attempt } = step;
    const event = outcome.outcome === "succeeded" ? "step_reconciled" : `step_${outcome.outcome}`;
    const { code, http_status } = outcome.outcome === "succeeded"
      ? { code: undefined, http_status: undefined }
      : outcome.error;
    const level = outcome.outcome === "succeeded" ? "info" : "warn";
    this.#settings.log(level, event, {
      tenant_id,
      step_id,
      step_type,
      attempt,
      code,
      http_status,
    });
  }

  // Recording ------------------------------------------------------------------------------------

  /** One statement at a time: results that arrive meanwhile make the next batch. */
  async #recordLoop(): Promise<void> {
    while (!this.#done) {
      this.#recording = true;
      if (this.#results.length > 0) await this.#record(this.#results.splice(0, FINISH_BATCH));
      if (this.#unstarted.length > 0) await this.#release(this.#unstarted.splice(0));
      this.#recording = false;
      this.#changed();
      const more = this.#results.length > 0 || this.#unstarted.length > 0;
      if (!more && !this.#done) await this.#bell.wait();
    }
  }

  async #record(batch: Result[]): Promise<void> {
    try {
      const rows = await withRetries(
        () => this.#settings.queue.finish(batch.map(({ finished }) => finished)),
        this.#bell,
        this.#untilLeaseEnds("finish", batch),
      );
      this.#count(batch, rows);
      if (rows.some(({ due_now }) => due_now)) this.#work++;
    } catch (error) {
      await this.#recordApart(batch, error);
    }
  }

  /** A refused statement is split until the result that it was refused for stands alone. */
  async #recordApart(batch: Result[], error: unknown): Promise<void> {
    const [first] = batch;
    if (isTransient(error)) {
      this.#totals.unrecorded += batch.length;
      for (const { finished } of batch) this.#unrecorded(finished, error);
      if (!this.#standing) this.#fail(error);
    } else if (first && batch.length === 1) {
      this.#totals.unrecorded++;
      this.#unrecorded(first.finished, error);
    } else {
      const middle = Math.ceil(batch.length / 2);
      await this.#record(batch.slice(0, middle));
      await this.#record(batch.slice(middle));
    }
  }

  #unrecorded({ tenant_id, step_id, outcome }: FinishedStep, error: unknown): void {
    const code = codeOf(error) ?? null;
    this.#settings.log("error", "result_unrecorded", { tenant_id, step_id, outcome, code });
  }

  #count(batch: Result[], rows: FinishedRow[]): void {
    const byStep = new Map(rows.map((row) => [row.step_id, row]));
    for (const { finished: { tenant_id, step_id, outcome } } of batch) {
      const row = byStep.get(step_id);
      if (!row?.accepted) {
        this.#totals.late++;
        this.#settings.log("warn", "result_late", { tenant_id, step_id, outcome });
      } else if (outcome === "succeeded") this.#totals.succeeded++;
      else if (outcome === "failed" || row.status === "failed") this.#totals.failed++;
      else if (outcome === "retry") this.#totals.retried++;
      else this.#totals.ambiguous++;
    }
  }

  async #release(batch: Held[]): Promise<void> {
    try {
      this.#totals.released += await withRetries(
        () => this.#settings.queue.release(batch.map(({ step }) => step)),
        this.#bell,
        this.#untilLeaseEnds("release", batch),
      );
    } catch (error) {
      const code = codeOf(error) ?? null;
      this.#settings.log("error", "release_failed", { count: batch.length, code });
      if (!this.#standing) this.#fail(error);
    }
  }

  // Database calls -------------------------------------------------------------------------------

  /** After the last lease of a batch has ended there is nothing left to record. */
  #untilLeaseEnds(call: string, batch: readonly { leaseEndsAt: number }[]) {
    const end = Math.max(...batch.map(({ leaseEndsAt }) => leaseEndsAt));
    return { now, until: () => end, onRetry: this.#onRetry(call) };
  }

  #onRetry(call: string) {
    return (error: unknown, attempt: number) =>
      this.#settings.log("warn", "database_retry", {
        call,
        attempt,
        code: codeOf(error) ?? null,
      });
  }

  /** Undefined when the run is over: the database is gone for good, or it stopped meanwhile. */
  async #call<T>(name: string, call: () => Promise<T>): Promise<T | undefined> {
    const patience = this.#standing ? Infinity : now() + this.#settings.databasePatienceMs;
    try {
      return await withRetries(call, this.#bell, {
        now,
        until: () => this.#stopped ? -Infinity : patience,
        onRetry: this.#onRetry(name),
      });
    } catch (error) {
      // Out of time while the database was away is a failure too, not an empty success.
      if (!this.#stopped || this.#stopped === "budget") this.#fail(error);
      return undefined;
    }
  }
}

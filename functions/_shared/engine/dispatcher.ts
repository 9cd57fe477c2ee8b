import { Bell } from "../runtime/bell.ts";
import { isCutOff, isTransient } from "../runtime/database.ts";
import { codeOf, messageOf } from "../runtime/errors.ts";
import type { Log } from "../runtime/log.ts";
import type { Outcome } from "./outcome.ts";
import { deliver, worstCaseMs } from "../channels/deliver.ts";
import type { Senders } from "../channels/sender.ts";
import {
  type Channel,
  channelOf,
  CHANNELS,
  type ClaimedStep,
  type Exchange,
  type FinishedRow,
  type FinishedStep,
  type Lane,
  LANES,
  type Queue,
  type Wanted,
} from "./queue.ts";
import { Slots } from "./slots.ts";
import { withRetries } from "../runtime/retry.ts";

export interface DispatcherOptions {
  queue: Queue;
  senders: Senders;
  log: Log;
  worker: string;
  /** Sends of a tenant under way at once on a channel; all tenants together have less than twice as many. */
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
  /** There may be new work, of these lanes or of any: wakes every run. */
  ring(lanes?: readonly Lane[]): void;
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
    ring(lanes) {
      for (const run of runs) run.lookAgain(lanes);
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
  endedAt: number;
}

/** Results that were cut off in company; or one alone, which is not tried again before then. */
interface Apart {
  batch: Result[];
  notBefore: number;
}

const MARGIN_MS = 2_000;
const DATABASE_BATCH = 200;
const REAP_BATCH = 500;
const FINISH_BATCH = 500;
/** So many results are recorded beside a claim, in a session of their own, and not before it. */
const MANY_RESULTS = 40;
/** While sends wait for a place, results gather: up to so many, or for so long. A set costs little more than one does. */
const GATHERED = 100;
const GATHER_MS = 50;
/** Sessions that run database steps while there is a backlog. */
const DATABASE_SESSIONS = 2;
/** Between two looks for a step that has to be tried alone. */
const TRIAL_PAUSE_MS = 2_000;
/** So many results are recorded at once after a trip that was cut off: if none was, one of these is to blame. */
const FIRST_SLICE = 10;
/** Between two tries of a result that was cut off alone. */
const APART_PAUSE_MS = 1_000;

const now = () => performance.now();

function longestSendMs(senders: Senders): number {
  const times = Object.values(senders).map(({ timeoutMs, reconciliation }) =>
    reconciliation ? 2 * timeoutMs : timeoutMs
  );
  return Math.max(...times);
}

/**
 * Loops share one state and one bell: claim, run database steps (a second one where many wait), record. Sends start
 * whenever a slot is free. `news` counts, for each lane, events that may have made something of it
 * due; a loop that found nothing remembers the count, and when nothing has happened since, the run
 * is idle. Nothing else makes a loop rest: from news to a claim there is only the trip itself.
 */
class Run {
  readonly #settings: Settings;
  readonly #standing: boolean;
  readonly #budgetMs: number;
  readonly #until: AbortSignal | undefined;
  readonly #bell = new Bell();
  readonly #startedAt = now();
  readonly #slots: Record<Channel, Slots<Held>>;
  readonly #allSlots: readonly Slots<Held>[];
  readonly #unstarted: Held[] = [];
  readonly #results: Result[] = [];
  /** Went along with a claim that failed, or there was no time for them: recorded by themselves. */
  readonly #returned: Result[] = [];
  readonly #apart: Apart[] = [];
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
  readonly #news: Record<Lane, number> = { sms: 0, email: 0, webhook: 0, database: 0 };
  #databaseDry = -1;
  #databaseCalls = 0;
  /** The last look for database steps ended at its limit. */
  #hasBacklog = false;
  #lookedAt = now();
  #claiming = false;
  #trying = false;
  #recording = false;
  #stopped: Stop | undefined;
  #done = false;
  #error: unknown;

  constructor(settings: Settings, { budgetMs, until }: RunOptions) {
    this.#settings = settings;
    this.#standing = budgetMs === undefined;
    this.#budgetMs = budgetMs ?? Infinity;
    this.#until = until;
    const slots = () => new Slots<Held>(settings.concurrency, ({ step }) => step.tenant_id);
    this.#slots = { sms: slots(), email: slots(), webhook: slots() };
    this.#allSlots = Object.values(this.#slots);
  }

  /** False when the run has already decided to end: whoever asks must start another. */
  lookAgain(lanes: readonly Lane[] = LANES): boolean {
    if (this.#stopped || this.#done) return false;
    this.#announce(lanes);
    this.#bell.ring();
    return true;
  }

  #announce(lanes: readonly Lane[]): void {
    for (const lane of lanes) this.#news[lane]++;
  }

  async execute(): Promise<Summary> {
    const budget = this.#standing
      ? undefined
      : setTimeout(() => this.#stop("budget"), this.#budgetMs - this.#reserveMs());
    const abort = () => this.#stop("aborted");
    if (this.#until?.aborted) abort();
    this.#until?.addEventListener("abort", abort, { once: true });
    try {
      await Promise.all([
        this.#claimLoop(),
        this.#reap(),
        this.#trialLoop(),
        ...Array.from({ length: DATABASE_SESSIONS }, (_, n) => this.#databaseLoop(n > 0)),
        this.#recordLoop(),
      ]);
    } finally {
      clearTimeout(budget);
      this.#bell.end();
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
    for (const slots of this.#allSlots) this.#unstarted.push(...slots.empty());
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
    const quiet = this.#allSlots.every((slots) => slots.isQuiet) &&
      this.#unstarted.length + this.#results.length + this.#returned.length === 0 &&
      this.#apart.length === 0 && !this.#recording;
    if (quiet && !this.#claiming && !this.#trying && this.#databaseCalls === 0) {
      const dry = CHANNELS.every((channel) => this.#slots[channel].isDry(this.#news[channel])) &&
        this.#databaseDry === this.#news.database;
      if (dry && !this.#standing) this.#stopped ??= "idle";
      if (this.#stopped) this.#done = true;
    }
    this.#bell.ring();
  }

  // Claiming -------------------------------------------------------------------------------------

  async #claimLoop(): Promise<void> {
    const { maxSteps, pollMs } = this.#settings;
    while (!this.#done) {
      const wanted = this.#wanted();
      if (this.#stopped) await this.#bell.wait();
      else if (maxSteps <= this.#totals.claimed) this.#stop("limit");
      else if (Object.keys(wanted).length > 0) await this.#claim(wanted);
      else await this.#waitToLook(pollMs);
    }
  }

  /** Until something happens; when nothing has announced work for long enough, looks all the same. */
  async #waitToLook(milliseconds: number): Promise<void> {
    const left = milliseconds - (now() - this.#lookedAt);
    if (left > 0) await this.#bell.wait(left);
    else {
      this.#lookedAt = now();
      this.#announce(LANES);
    }
  }

  /** Will the claim loop, once it comes to it, claim? */
  get #claimIsNext(): boolean {
    return !this.#claiming && !this.#stopped && !this.#done &&
      this.#totals.claimed < this.#settings.maxSteps && Object.keys(this.#wanted()).length > 0;
  }

  /** Of each channel that is not known to be dry, what there is room for. */
  #wanted(): Wanted {
    const wanted: Wanted = {};
    let left = this.#settings.maxSteps - this.#totals.claimed;
    for (const channel of CHANNELS) {
      const slots = this.#slots[channel];
      const most = Math.min(slots.room, left);
      if (
        most <= 0 || slots.isDry(this.#news[channel]) ||
        most * 2 < Math.min(slots.batch, left)
      ) {
        continue;
      }
      wanted[channel] = { most, but: slots.crowded };
      left -= most;
    }
    return wanted;
  }

  async #claim(wanted: Wanted): Promise<void> {
    const news = { ...this.#news };
    this.#lookedAt = now();
    this.#claiming = true;
    let dry: readonly Channel[] = [];
    await this.#lease("claim", async () => {
      const answer = await this.#exchange(wanted);
      dry = answer?.dry ?? [];
      return answer?.claimed ?? [];
    });
    this.#claiming = false;
    for (const channel of dry) {
      this.#slots[channel].noteDry(news[channel], wanted[channel]?.but ?? []);
    }
    this.#changed();
  }

  /** Takes the results along that are waiting. Undefined: that failed, and they are recorded by themselves. */
  async #exchange(wanted: Wanted): Promise<Exchange | undefined> {
    const { queue, worker, leaseSeconds } = this.#settings;
    const batch = this.#results.length < MANY_RESULTS ? this.#results.splice(0) : [];
    const results = batch.map(({ finished }) => finished);
    try {
      const answer = await queue.exchange(worker, results, wanted, leaseSeconds);
      this.#recorded(batch, answer);
      return answer;
    } catch (error) {
      if (batch.length === 0) throw error;
      this.#returned.push(...batch);
      this.#bell.ring();
      return undefined;
    }
  }

  /** Steps that are leased wait for a place, or go back when the run has stopped meanwhile. */
  async #lease(
    name: string,
    claim: () => Promise<ClaimedStep[]>,
  ): Promise<ClaimedStep[] | undefined> {
    let leaseEndsAt = 0;
    const steps = await this.#call(name, () => {
      leaseEndsAt = now() + this.#settings.leaseSeconds * 1000;
      return claim();
    });
    for (const step of steps ?? []) {
      const held = { step, leaseEndsAt };
      if (this.#stopped) this.#unstarted.push(held);
      else this.#slots[channelOf(step)].wait(held);
    }
    this.#totals.claimed += steps?.length ?? 0;
    return steps;
  }

  /** Steps during which a claim was cut off are claimed one at a time, and nobody waits for them. */
  async #trialLoop(): Promise<void> {
    const { queue, worker, leaseSeconds } = this.#settings;
    while (!this.#done) {
      if (this.#stopped) {
        await this.#bell.wait();
        continue;
      }
      this.#trying = true;
      const steps = await this.#lease(
        "claim_suspect",
        () => queue.claimSuspect(worker, leaseSeconds),
      );
      this.#trying = false;
      this.#changed();
      if (!steps?.length) await this.#pause(TRIAL_PAUSE_MS);
    }
  }

  /** Nobody waits for it: what it takes back is not due for a while. So nothing that fails in it ends the run. */
  async #reap(): Promise<void> {
    const { queue, log, databasePatienceMs } = this.#settings;
    const end = now() + databasePatienceMs;
    const until = () => this.#stopped || this.#done ? -Infinity : end;
    let reaped = 1;
    while (reaped > 0 && !this.#stopped && !this.#done) {
      try {
        reaped = await withRetries(
          () => queue.reapExpiredLeases(REAP_BATCH),
          this.#bell,
          { now, until, onRetry: this.#onRetry("reap") },
        );
      } catch (error) {
        log("error", "reap_failed", { code: codeOf(error) ?? null, message: messageOf(error) });
        return;
      }
      if (reaped > 0) log("warn", "leases_reaped", { count: reaped });
    }
  }

  async #pause(milliseconds: number): Promise<void> {
    const end = now() + milliseconds;
    while (!this.#done && !this.#stopped && now() < end) {
      await this.#bell.wait(Math.max(end - now(), 1));
    }
  }

  // Database steps -------------------------------------------------------------------------------

  async #databaseLoop(isHelper: boolean): Promise<void> {
    while (!this.#done) {
      const isNeeded = !isHelper || this.#hasBacklog;
      if (this.#stopped || !isNeeded || this.#databaseDry === this.#news.database) {
        await this.#bell.wait();
      } else await this.#runDatabaseSteps();
    }
  }

  async #runDatabaseSteps(): Promise<void> {
    const news = this.#news.database;
    const run = () => this.#settings.queue.runDatabaseSteps(DATABASE_BATCH);
    this.#databaseCalls++;
    const count = await this.#call("run_database_steps", run);
    this.#databaseCalls--;
    this.#hasBacklog = (count ?? 0) >= DATABASE_BATCH;
    if (count) {
      this.#totals.database_steps += count;
      this.#announce(LANES);
    } else if (count === 0) this.#databaseDry = news;
    this.#changed();
  }

  // Sending --------------------------------------------------------------------------------------

  #startSends(): void {
    for (const slots of this.#allSlots) {
      while (!this.#stopped) {
        const held = slots.next();
        if (!held) break;
        const sender = this.#settings.senders[channelOf(held.step)];
        const latestEnd = now() + worstCaseMs(held.step, sender) + MARGIN_MS;
        // Started now, it might still be on its way when its lease ends and another worker sends it.
        if (latestEnd > held.leaseEndsAt) this.#unstarted.push(held);
        else void this.#send(held, slots);
      }
    }
  }

  async #send(held: Held, slots: Slots<Held>): Promise<void> {
    const { step, leaseEndsAt } = held;
    slots.start(held);
    const startedAt = now();
    const outcome = await deliver(step, this.#settings.senders[channelOf(step)]);
    const endedAt = now();
    slots.end(held, endedAt - startedAt);
    const { tenant_id, step_id, attempt_token } = step;
    this.#results.push({
      finished: { tenant_id, step_id, attempt_token, ...outcome },
      leaseEndsAt,
      endedAt,
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
      const batch = this.#toRecord?.splice(0, FINISH_BATCH);
      if (batch) await this.#record(batch);
      const apart = this.#apartForMs === 0 ? this.#apart.shift() : undefined;
      if (apart) await this.#record(apart.batch);
      if (this.#unstarted.length > 0) await this.#release(this.#unstarted.splice(0));
      this.#recording = false;
      this.#changed();
      const more = this.#toRecord || this.#apartForMs === 0 || this.#unstarted.length > 0;
      const waits = [this.#gathersForMs, this.#apartForMs].filter((ms) => ms !== undefined);
      if (!more && !this.#done) {
        await this.#bell.wait(waits.length > 0 ? Math.min(...waits) : undefined);
      }
    }
  }

  /** How long what was cut off rests: parts, which come first, do not. */
  get #apartForMs(): number | undefined {
    const [first] = this.#apart;
    return first && Math.max(first.notBefore - now(), 0);
  }

  /** What a claim is about to take along is left to it. */
  get #toRecord(): Result[] | undefined {
    if (this.#returned.length > 0) return this.#returned;
    const [oldest] = this.#results;
    if (!oldest || this.#gathersForMs !== undefined) return undefined;
    const isLeft = this.#results.length < MANY_RESULTS && this.#claimIsNext;
    return isLeft ? undefined : this.#results;
  }

  /** How long the results that are there wait for others. */
  get #gathersForMs(): number | undefined {
    const [oldest] = this.#results;
    if (!oldest || this.#stopped || this.#results.length >= GATHERED) return undefined;
    const left = oldest.endedAt + GATHER_MS - now();
    return left > 0 && this.#allSlots.some((slots) => slots.someWait) ? left : undefined;
  }

  async #record(batch: Result[]): Promise<void> {
    const { queue, worker, leaseSeconds } = this.#settings;
    const results = batch.map(({ finished }) => finished);
    try {
      const answer = await withRetries(
        () => queue.exchange(worker, results, {}, leaseSeconds),
        this.#bell,
        { ...this.#untilLeaseEnds("finish", batch), butFor: isCutOff },
      );
      this.#recorded(batch, answer);
    } catch (error) {
      if (isCutOff(error) && batch.some(({ leaseEndsAt }) => leaseEndsAt > now())) {
        this.#split(batch, error);
      } else await this.#recordApart(batch, error);
    }
  }

  /** The whole would only be cut off again: a part is not, and nobody waits behind the other. */
  #split(batch: Result[], error: unknown): void {
    this.#onRetry("finish")(error, 1);
    const middle = Math.min(Math.ceil(batch.length / 2), FIRST_SLICE);
    if (batch.length === 1) this.#apart.push({ batch, notBefore: now() + APART_PAUSE_MS });
    else {
      for (const part of [batch.slice(0, middle), batch.slice(middle)]) {
        this.#apart.push({ batch: part, notBefore: 0 });
      }
    }
    this.#apart.sort((one, other) => one.notBefore - other.notBefore);
  }

  /** A refused statement is split until the result that it was refused for stands alone. */
  async #recordApart(batch: Result[], error: unknown): Promise<void> {
    const [first] = batch;
    if (isTransient(error)) {
      this.#totals.unrecorded += batch.length;
      for (const { finished } of batch) this.#unrecorded(finished, error);
      // What somebody holds till its lease ends says nothing of the database, which goes on with the others.
      if (!this.#standing && !isCutOff(error)) this.#fail(error);
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

  /** By their places: two tenants' steps may have one id, and one step two results, of two leases. */
  #recorded(batch: Result[], { finished, due }: Exchange): void {
    if (batch.length === 0) return;
    for (const [place, result] of batch.entries()) {
      const row = finished[place];
      if (row) this.#count(result, row);
      else this.#returned.push(result);
    }
    this.#announce(due);
  }

  #count({ finished: { tenant_id, step_id, outcome } }: Result, row: FinishedRow): void {
    if (!row.accepted) {
      this.#totals.late++;
      this.#settings.log("warn", "result_late", { tenant_id, step_id, outcome });
    } else if (outcome === "succeeded") this.#totals.succeeded++;
    else if (outcome === "failed" || row.status === "failed") this.#totals.failed++;
    else if (outcome === "retry") this.#totals.retried++;
    else this.#totals.ambiguous++;
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

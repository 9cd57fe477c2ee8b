import { randomUUID } from "node:crypto";
import { TimeoutError } from "../../functions/_shared/runtime/errors.ts";
import { waitFor } from "../../scripts/lib/process.ts";
import type { Log } from "../../functions/_shared/runtime/log.ts";
import type { Outcome } from "../../functions/_shared/engine/outcome.ts";
import type { Sender, Senders } from "../../functions/_shared/channels/sender.ts";
import {
  channelOf,
  CHANNELS,
  type ClaimedStep,
  type Exchange,
  type FinishedStep,
  LANES,
  type LeaseHolder,
  type Queue,
  type Wanted,
} from "../../functions/_shared/engine/queue.ts";

export const TENANT = randomUUID();

export function aStep(changes: Partial<ClaimedStep> = {}): ClaimedStep {
  const step_id = changes.step_id ?? randomUUID();
  return {
    tenant_id: TENANT,
    step_id,
    attempt_token: randomUUID(),
    attempt: 1,
    step_type: "send_sms",
    payload: { to: "+15550001111", body: "Your estimate is ready" },
    idempotency_key: step_id,
    reconcile_since: null,
    known_provider_ids: [],
    ...changes,
  };
}

export const anEmail = {
  to: ["Jo Rivera <jo@example.com>"],
  subject: "Welcome",
  html: "<p>Hi Jo</p>",
};

/** The queue in memory: leases are held until they are finished or released. */
export class FakeQueue implements Queue {
  readonly due: ClaimedStep[];
  readonly leased = new Map<string, ClaimedStep>();
  readonly finished: FinishedStep[] = [];
  readonly released: string[] = [];
  readonly calls = { claim: 0, finish: 0, release: 0, database: 0, reap: 0 };
  readonly claimSizes: number[] = [];
  databaseSteps = 0;
  /** What the next calls of that name throw, one each. */
  readonly faults: { [call in "claim" | "finish" | "release" | "database"]?: unknown[] } = {};
  /** The contract's accepted = false for these steps. */
  readonly reaped = new Set<string>();
  onFinish: (results: readonly FinishedStep[]) => void = () => {};

  constructor(due: ClaimedStep[] = []) {
    this.due = due;
  }

  #fault(call: keyof FakeQueue["faults"]): void {
    const error = this.faults[call]?.shift();
    if (error) throw error;
  }

  async exchange(
    _worker: string,
    results: readonly FinishedStep[],
    wanted: Wanted,
  ): Promise<Exchange> {
    const done = results.length > 0 ? await this.finish(results) : [];
    const isWanted = Object.keys(wanted).length > 0;
    const claimed = isWanted ? await this.claim(wanted) : [];
    const dry = CHANNELS.filter((channel) =>
      claimed.filter((step) => channelOf(step) === channel).length < (wanted[channel]?.most ?? 0)
    );
    return { claimed, dry, finished: done, due: done.some(({ due_now }) => due_now) ? LANES : [] };
  }

  async claim(wanted: Wanted): Promise<ClaimedStep[]> {
    this.calls.claim++;
    this.claimSizes.push(Math.max(...Object.values(wanted).map(({ most }) => most)));
    await Promise.resolve();
    this.#fault("claim");
    const steps = CHANNELS.flatMap((channel) => {
      const { most, but } = wanted[channel] ?? { most: 0, but: [] };
      return this.due
        .filter((step) => channelOf(step) === channel && !but.includes(step.tenant_id))
        .slice(0, most);
    });
    for (const step of steps) {
      this.due.splice(this.due.indexOf(step), 1);
      this.leased.set(step.step_id, step);
    }
    return steps;
  }

  /** Claimed one at a time, beside the others. */
  readonly suspects: ClaimedStep[] = [];
  async claimSuspect(): Promise<ClaimedStep[]> {
    await Promise.resolve();
    const steps = this.suspects.splice(0, 1);
    for (const step of steps) this.leased.set(step.step_id, step);
    return steps;
  }

  async finish(results: readonly FinishedStep[]) {
    this.calls.finish++;
    await Promise.resolve();
    this.#fault("finish");
    this.onFinish(results);
    return results.map((result) => {
      const accepted = !this.reaped.has(result.step_id) &&
        this.leased.get(result.step_id)?.attempt_token === result.attempt_token;
      if (accepted) {
        this.leased.delete(result.step_id);
        this.finished.push(result);
      }
      const due_now = this.due.length + this.databaseSteps > 0;
      const status = accepted ? "completed" : null;
      return { step_id: result.step_id, accepted, status, due_now };
    });
  }

  async release(steps: readonly LeaseHolder[]): Promise<number> {
    this.calls.release++;
    await Promise.resolve();
    this.#fault("release");
    for (const { step_id } of steps) {
      this.leased.delete(step_id);
      this.released.push(step_id);
    }
    return steps.length;
  }

  async runDatabaseSteps(maxSteps: number): Promise<number> {
    this.calls.database++;
    await Promise.resolve();
    this.#fault("database");
    const count = Math.min(maxSteps, this.databaseSteps);
    this.databaseSteps -= count;
    return count;
  }

  reapExpiredLeases(): Promise<number> {
    this.calls.reap++;
    return Promise.resolve(0);
  }
}

export const sent: Outcome = { outcome: "succeeded", result: { provider_id: "SM1" } };

/** One sender for all three kinds. */
export function sendersOf(send: Sender["send"], timeoutMs = 1_000): Senders {
  const sender: Sender = { timeoutMs, send };
  return {
    sms: sender,
    email: sender,
    webhook: sender,
    ...{ send_sms: sender, send_email: sender },
  };
}

/** Gives up, as after its timeout, as soon as something has happened: however long that takes on this machine. */
export function impatientOnce(happened: () => boolean, patient: Sender): Sender {
  const enough = new AbortController();
  return {
    ...patient,
    send(step, signal) {
      void waitFor("what the sender gives up after", happened)
        .then(() => enough.abort(new TimeoutError(step.step_type, patient.timeoutMs)));
      return patient.send(step, AbortSignal.any([signal, enough.signal]));
    },
  };
}

export function recordingLog() {
  const lines: { level: string; event: string; [field: string]: unknown }[] = [];
  const log: Log = (level, event, fields) => {
    lines.push({ level, event, ...fields });
  };
  return { lines, log };
}

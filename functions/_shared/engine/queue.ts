import { z } from "zod";
import type { JSONValue, UnsafeQueryOptions } from "postgres";
import { type Database, literal } from "../runtime/database.ts";
import { ContractError } from "../runtime/errors.ts";
import { LosslessNumber, stringifyJson } from "../runtime/json.ts";
import { statedAddress } from "../http/webhook-env.ts";
import type { Outcome } from "./outcome.ts";
import { withTimeout } from "../runtime/timeout.ts";
import { type Offer, requireVersion } from "./version.ts";

/** What a step goes out by: the lanes of the queue that the dispatcher works on. */
export const CHANNELS = ["sms", "email", "webhook"] as const;

/** Ids come from Postgres, whose uuid type takes any 128 bits: hence guid, not the stricter uuid. */
const claimedStep = z.object({
  tenant_id: z.guid(),
  step_id: z.guid(),
  attempt_token: z.guid(),
  attempt: z.int(),
  step_type: z.string().min(1),
  /** Checked by the provider that sends it: a malformed payload fails its own step, not the batch. */
  payload: z.unknown(),
  idempotency_key: z.string().min(1),
  /** A text inside of JSON, a date from a column. */
  reconcile_since: z.union([z.date(), z.iso.datetime({ offset: true })]).nullable()
    .transform((at) => typeof at === "string" ? new Date(at) : at),
  known_provider_ids: z.array(z.string()).nullable().transform((ids) => ids ?? []),
  /** A database that is one version older does not say it. */
  channel: z.enum(CHANNELS).nullish(),
});
export type ClaimedStep = z.infer<typeof claimedStep>;

export type Channel = typeof CHANNELS[number];
export const LANES = [...CHANNELS, "database"] as const;
export type Lane = typeof LANES[number];

/** What the doorbell says it rings for (the payload of ridgeline_doorbell): nothing that is known is all of them. */
export function lanesOf(ring: string): readonly Lane[] {
  const lane = LANES.find((name) => name === ring);
  return lane ? [lane] : LANES;
}

export function channelOf(
  { channel, step_type }: Pick<ClaimedStep, "channel" | "step_type">,
): Channel {
  if (channel) return channel;
  return step_type === "webhook" ? "webhook" : step_type === "send_sms" ? "sms" : "email";
}

/** How many steps of a channel are wanted, and the tenants that have enough of them already. */
export interface Room {
  most: number;
  but: readonly string[];
}
export type Wanted = Partial<Record<Channel, Room>>;

/** What holds a lease: without the token of the running attempt the database changes nothing. */
export type LeaseHolder = Pick<ClaimedStep, "tenant_id" | "step_id" | "attempt_token">;
export type FinishedStep = LeaseHolder & Outcome;

const finishedRow = z.object({
  step_id: z.guid(),
  accepted: z.boolean(),
  status: z.string().nullable(),
  /** Work of any kind is due now and nobody's: said where it was a trip of its own. */
  due_now: z.boolean().default(false),
});
export type FinishedRow = z.infer<typeof finishedRow>;

const exchanged = z.object({
  answer: z.object({
    claimed: z.array(claimedStep),
    dry: z.array(z.enum(CHANNELS)),
    finished: z.array(finishedRow).default([]),
    due: z.array(z.enum(LANES)).default([]),
    error: z.object({ code: z.string(), message: z.string() }).optional(),
  }),
});

const count = z.object({ count: z.int() });
const ran = z.object({ ran: z.int() });
const reaped = z.object({ reaped: z.int() });
const portion = z.object({ id: z.guid() });

export interface Exchange {
  claimed: ClaimedStep[];
  /** Channels of which nothing more is due that nobody holds. */
  dry: readonly Channel[];
  /** Of the first results, in their order. The others were not recorded: there was no time, or one met an error. */
  finished: FinishedRow[];
  /** Where there were results: the lanes that have work due now which is nobody's. */
  due: readonly Lane[];
}

export interface Queue {
  /** Results in, due steps out. Either may be empty. */
  exchange(
    worker: string,
    results: readonly FinishedStep[],
    wanted: Wanted,
    leaseSeconds: number,
  ): Promise<Exchange>;
  /** One step during which a claim was cut off before; none when there is no such step now. */
  claimSuspect(worker: string, leaseSeconds: number): Promise<ClaimedStep[]>;
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
function cleaned(value: unknown): unknown {
  if (typeof value === "string") {
    return value.replaceAll("\0", "").replace(/\p{Surrogate}/gu, "\ufffd");
  }
  if (Array.isArray(value)) return value.map(cleaned);
  if (typeof value !== "object" || value === null || value instanceof LosslessNumber) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [cleaned(key), cleaned(entry)]),
  );
}

const UNSTORABLE = /\\u(?:0000|d[89a-f])/;

function storableJson(value: unknown): string {
  const json = stringifyJson(value);
  return UNSTORABLE.test(json) ? stringifyJson(cleaned(value)) : json;
}

function stillWanted(wanted: Wanted, claimed: readonly ClaimedStep[]): Wanted {
  const left: Wanted = {};
  for (const channel of CHANNELS) {
    const room = wanted[channel];
    const most = (room?.most ?? 0) - claimed.filter((step) => channelOf(step) === channel).length;
    if (room && most > 0) left[channel] = { ...room, most };
  }
  return left;
}

function holder({ tenant_id, step_id, attempt_token }: LeaseHolder) {
  return { tenant_id, step_id, attempt_token };
}

/** In the protocol that takes no second statement, whatever a text holds. */
const ONE_STATEMENT = { prepare: false, simple: false } as UnsafeQueryOptions;

/** Before 17 pg_stat_statements takes every call with other values for another statement. */
const WRITES_OUT = 17;

/** The most portions that one claim works through: those whose steps are all closed unsent count too. */
const MOST_PORTIONS = 20;

/**
 * The queue functions of the database. A statement that hangs is given up after `timeoutMs`; one that
 * works on steps after `workTimeoutMs`, which is the longest that work on one step may take.
 * `functionsAddress`: where the outside finds the functions; an email keeps the one it was claimed with.
 */
export function createQueue(
  sql: Database,
  timeoutMs = 20_000,
  workTimeoutMs = 5_000,
  functionsAddress: () => string | undefined = statedAddress,
): Queue {
  type Rows = readonly unknown[];
  let known: Promise<Offer> | undefined;

  /** Mostly known, and then nothing has to be waited for or timed. */
  async function offer(): Promise<Offer> {
    const reading = requireVersion(sql);
    if (reading !== known) await withTimeout("version", timeoutMs, () => reading);
    known = reading;
    return await reading;
  }
  async function rows(
    what: string,
    query: Promise<Rows> & { cancel(): void },
    milliseconds = timeoutMs,
  ): Promise<Rows> {
    await offer();
    return await withTimeout(what, milliseconds, (signal) => {
      signal.addEventListener("abort", () => query.cancel(), { once: true });
      return query;
    });
  }

  // What is going to be worked on is committed before the work begins: a claim that is cut off, by
  // whatever, leaves its steps to be tried one at a time.
  async function begin(query: Promise<Rows> & { cancel(): void }): Promise<string[]> {
    const begun = await rows("begin_portions", query);
    return parseRows("begin_portions", portion, begun).map(({ id }) => id);
  }
  async function claimPortion(id: string, worker: string, leaseSeconds: number, api: number) {
    const address = api < 2 ? sql`` : sql`, ${functionsAddress() ?? null}::text`;
    const query = sql`
      select tenant_id, step_id, attempt_token, attempt, step_type, payload, idempotency_key,
             reconcile_since, to_jsonb(known_provider_ids) as known_provider_ids,
             to_jsonb(c) ->> 'channel' as channel
      from automation.claim_portion(
        ${id}::uuid, ${worker}::text, make_interval(secs => ${leaseSeconds}::float8)${address}) as c`;
    return parseRows("claim_portion", claimedStep, await rows("claim", query, workTimeoutMs));
  }

  /** From a database that is one version older: a trip for what is begun, and one for each portion. */
  async function claimInTrips(worker: string, wanted: Wanted, leaseSeconds: number) {
    const steps: ClaimedStep[] = [];
    let left: Wanted = wanted;
    for (let portions = 0; portions < MOST_PORTIONS && Object.keys(left).length > 0;) {
      const asked = sql.json(left as JSONValue);
      const begun = await begin(sql`select id from automation.begin_portions(${asked}::jsonb)`);
      if (begun.length === 0) break;
      portions += begun.length;
      try {
        for (const id of begun) steps.push(...await claimPortion(id, worker, leaseSeconds, 1));
      } catch (error) {
        // What is leased already is sent; the rest meets its error again at the next claim.
        if (steps.length === 0) throw error;
        break;
      }
      left = stillWanted(wanted, steps);
    }
    return { claimed: steps, dry: CHANNELS.filter((channel) => left[channel]) };
  }
  async function finishAlone(results: readonly FinishedStep[]) {
    const query = sql`
      select step_id, accepted, status, due_now
      from automation.finish_steps(${sql.json(cleaned(results) as JSONValue)}::jsonb)`;
    const finished = parseRows("finish_steps", finishedRow, await rows("finish_steps", query));
    return { finished, due: finished.some(({ due_now }) => due_now) ? LANES : [] };
  }

  async function counted(what: string, query: Promise<Rows> & { cancel(): void }) {
    return parseRows(what, count, await rows(what, query))[0]?.count ?? 0;
  }

  return {
    async exchange(worker, results, wanted, leaseSeconds) {
      const { api, server } = await offer();
      if (api < 2) {
        const none = { claimed: [], dry: [], finished: [], due: [] };
        const finished = results.length > 0 ? await finishAlone(results) : none;
        // What was accepted must be told, whatever becomes of the claim: that is another trip.
        if (results.length > 0) return { ...none, ...finished };
        return { ...none, ...await claimInTrips(worker, wanted, leaseSeconds) };
      }
      const functions = functionsAddress();
      const query = server >= WRITES_OUT
        ? sql.unsafe(
          `call automation.exchange_steps(
            null, ${literal(storableJson(results))}, ${literal(stringifyJson(wanted))}, ${
            literal(worker)
          }, ${literal(`${leaseSeconds} seconds`)}, ${
            functions === undefined ? "null" : literal(functions)
          })`,
          [],
          ONE_STATEMENT,
        )
        : sql`call automation.exchange_steps(
            null, ${sql.json(cleaned(results) as JSONValue)}::jsonb,
            ${sql.json(wanted as JSONValue)}::jsonb, ${worker}::text,
            make_interval(secs => ${leaseSeconds}::float8), ${functions ?? null}::text)`;
      const milliseconds = results.length > 0 ? timeoutMs : 1_000 + workTimeoutMs;
      const [row] = parseRows(
        "exchange_steps",
        exchanged,
        await rows("claim", query, milliseconds),
      );
      if (!row) throw new ContractError("automation.exchange_steps: no row");
      const { error, ...answer } = row.answer;
      // What is leased already is sent; the rest meets its error again at the next claim.
      if (error && answer.claimed.length + answer.finished.length === 0) {
        throw Object.assign(new Error(error.message), { code: error.code });
      }
      if (results.length > 0 && answer.finished.length === 0) {
        throw new ContractError("automation.exchange_steps: says nothing of the results");
      }
      if (answer.finished.some(({ step_id }, place) => step_id !== results[place]?.step_id)) {
        throw new ContractError(
          "automation.exchange_steps: answers in another order than it was asked",
        );
      }
      return answer;
    },
    async claimSuspect(worker, leaseSeconds) {
      const [id] = await begin(
        sql`select t.id from automation.begin_trial() as t where t.id is not null`,
      );
      if (id === undefined) return [];
      const { api } = await offer();
      return await claimPortion(id, worker, leaseSeconds, api);
    },
    release(steps) {
      const held = sql.json(steps.map(holder));
      return counted(
        "release_steps",
        sql`select automation.release_steps(${held}::jsonb) as count`,
      );
    },
    async runDatabaseSteps(maxSteps) {
      const query = sql`call automation.work_database_steps(0, ${maxSteps}::int, '1 second')`;
      const answer = await rows("work_database_steps", query, 1_000 + workTimeoutMs);
      return parseRows("work_database_steps", ran, answer)[0]?.ran ?? 0;
    },
    async reapExpiredLeases(maxSteps) {
      const { api } = await offer();
      if (api < 2) {
        return await counted(
          "reap_expired_leases",
          sql`select automation.reap_expired_leases(${maxSteps}::int) as count`,
        );
      }
      // Where no tick tells anybody of troubles, that the tick stands still among them, a dispatcher does.
      await rows("tell_when_due", sql`select automation.tell_when_due()`);
      const query = sql`call automation.reap_leases(0, ${maxSteps}::int, '1 second')`;
      const answer = await rows("reap_leases", query, 1_000 + workTimeoutMs);
      return parseRows("reap_leases", reaped, answer)[0]?.reaped ?? 0;
    },
  };
}

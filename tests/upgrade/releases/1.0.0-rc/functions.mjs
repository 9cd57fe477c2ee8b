// functions/_shared/database.ts
import postgres2 from "postgres";

// functions/_shared/errors.ts
var ConfigurationError = class extends Error {
  constructor(variable, fix) {
    super(`${variable}: ${fix}`);
    this.variable = variable;
  }
  variable;
  name = "ConfigurationError";
};
var RequestError = class extends Error {
  constructor(status2, code, message) {
    super(message);
    this.status = status2;
    this.code = code;
  }
  status;
  code;
  name = "RequestError";
};
var VersionError = class extends Error {
  name = "VersionError";
};
var SecretMissingError = class extends Error {
  name = "SecretMissingError";
};
var ContractError = class extends Error {
  name = "ContractError";
};
var TimeoutError = class extends Error {
  constructor(what, milliseconds) {
    super(`${what} did not answer within ${milliseconds} ms`);
    this.milliseconds = milliseconds;
  }
  milliseconds;
  name = "TimeoutError";
};
function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
function codeOf(error) {
  for (let cause = error, depth = 0; cause instanceof Error && depth < 4; depth++) {
    if ("code" in cause && typeof cause.code === "string") return cause.code;
    if (cause instanceof AggregateError) cause = cause.errors[0];
    else cause = cause.cause;
  }
  return void 0;
}

// functions/_shared/json.ts
import { LosslessNumber, parse } from "lossless-json";
var ODD_NUMBER = /[0-9.]{16}|[0-9][eE]|\.[0-9]*0(?![0-9])|\.0{6}|-0/;
var numberOf = (text) => String(Number(text)) === text ? Number(text) : new LosslessNumber(text);
var NumberTooLargeError = class extends Error {
  name = "NumberTooLargeError";
};
var MOST_DIGITS = 1e3;
function boundedNumber(text) {
  const exponent = Math.abs(Number(/[eE](.+)$/.exec(text)?.[1] ?? 0));
  if (text.length + exponent > MOST_DIGITS) {
    throw new NumberTooLargeError(`a number has more than ${MOST_DIGITS} digits`);
  }
  return numberOf(text);
}
var onDuplicateKey = ({ newValue }) => newValue;
function parseJson(text) {
  if (!ODD_NUMBER.test(text)) return JSON.parse(text);
  return parse(text, null, { parseNumber: numberOf, onDuplicateKey });
}
function parseBody(text) {
  const plain = JSON.parse(text);
  if (!ODD_NUMBER.test(text)) return plain;
  return parse(text, null, { parseNumber: boundedNumber, onDuplicateKey });
}
function write(value) {
  if (value instanceof LosslessNumber) return value.value;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  if ("toJSON" in value && typeof value.toJSON === "function") return write(value.toJSON());
  if (Array.isArray(value)) return `[${value.map((item) => write(item) ?? "null").join(",")}]`;
  const members = Object.entries(value).flatMap(([key, member]) => {
    const written = write(member);
    return written === void 0 ? [] : [`${JSON.stringify(key)}:${written}`];
  });
  return `{${members.join(",")}}`;
}
function stringifyJson(value) {
  return write(value) ?? "null";
}
var plainNumber = (value) => value instanceof LosslessNumber ? Number(value.value) : value;
function jsonResponse(value, init = {}) {
  const headers = new Headers(init.headers);
  headers.set("content-type", "application/json");
  return new Response(stringifyJson(value), { ...init, headers });
}

// functions/_shared/sessions.ts
import postgres from "postgres";
var IDLE_MS = 2e4;
var LONGEST_LIFE_MS = 30 * 6e4;
var Sessions = class {
  #template;
  #all = /* @__PURE__ */ new Set();
  #idle = [];
  #waiting = [];
  #isEnded = false;
  constructor(template) {
    this.#template = template;
  }
  take() {
    if (this.#isEnded) return Promise.reject(ended());
    const session = this.#idle.pop();
    clearTimeout(session?.idle);
    if (session) return Promise.resolve(session);
    if (this.#all.size < this.#template.options.max) return Promise.resolve(this.#open());
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }
  give(session) {
    if (session.isLost) return;
    session.isUsed = true;
    if (Date.now() - session.born > LONGEST_LIFE_MS) return this.discard(session);
    const next = this.#waiting.shift();
    if (next) return next.resolve(session);
    this.#idle.push(session);
    session.idle = setTimeout(() => this.discard(session), IDLE_MS);
  }
  discard(session) {
    if (session.isLost) return;
    session.isLost = true;
    clearTimeout(session.idle);
    this.#all.delete(session);
    if (this.#idle.includes(session)) this.#idle.splice(this.#idle.indexOf(session), 1);
    session.sql.end({ timeout: 0 }).catch(() => {
    });
    const next = this.#isEnded ? void 0 : this.#waiting.shift();
    next?.resolve(this.#open());
  }
  async end(timeout) {
    this.#isEnded = true;
    for (const { reject } of this.#waiting.splice(0)) reject(ended());
    const all = [...this.#all];
    await Promise.all(all.map(({ sql }) => sql.end(timeout === void 0 ? {} : { timeout })));
    all.forEach((session) => this.discard(session));
  }
  #open() {
    const session = {
      // The client must not close between two statements for being idle or old. A statement that still
      // waited for a connection that was lost is refused before the client could open another.
      sql: another(this.#template, {
        max: 1,
        fetch_types: false,
        max_lifetime: 0,
        idle_timeout: 60,
        onclose: () => this.discard(session),
      }),
      born: Date.now(),
      isUsed: false,
      isLost: false,
    };
    this.#all.add(session);
    return session;
  }
};
var ended = () =>
  Object.assign(new Error("the connections were ended"), { code: "CONNECTION_ENDED" });
function another({ options }, more) {
  const shared = "shared" in options ? options.shared : {};
  return postgres({ ...options, shared: { ...shared, retries: 0 }, ...more });
}
async function begun(sessions, mode) {
  for (;;) {
    const session = await sessions.take();
    try {
      await session.sql.unsafe(`begin ${mode}`);
      return session;
    } catch (error) {
      sessions.discard(session);
      if (!session.isUsed) throw error;
    }
  }
}
async function transact(sessions, mode, work) {
  const session = await begun(sessions, mode);
  try {
    const value = await work(session.sql);
    const { command } = await session.sql.unsafe("commit");
    if (command !== "COMMIT") {
      throw Object.assign(new Error("the transaction was rolled back"), { code: "25P02" });
    }
    sessions.give(session);
    return value;
  } catch (error) {
    if (!session.isLost) {
      await session.sql.unsafe("rollback").then(
        () => sessions.give(session),
        () => sessions.discard(session),
      );
    }
    throw error;
  }
}
async function reserve(sessions) {
  const session = await sessions.take();
  return Object.assign(session.sql, { release: () => sessions.give(session) });
}
function outliving(template) {
  const sessions = new Sessions(template);
  let isEnded = false;
  const open = () => {
    const client = another(template, {
      onclose: () => {
        if (isEnded || client !== current) return;
        current = open();
        client.end({ timeout: 10 }).catch(() => {
        });
      },
    });
    return client;
  };
  let current = open();
  const own = {
    begin: (...given) =>
      given.length === 1
        ? transact(sessions, "", given[0])
        : transact(sessions, given[0], given[1]),
    reserve: () => reserve(sessions),
    end: async (options) => {
      isEnded = true;
      await Promise.all([current.end(options), sessions.end(options?.timeout)]);
    },
  };
  return new Proxy(template, {
    apply: (_, self, given) => Reflect.apply(current, self, given),
    get: (_, name) => own[name] ?? Reflect.get(current, name),
  });
}

// functions/_shared/database.ts
function connect(url, max = 4) {
  const says = /[?&](sslmode|ssl|sslrootcert)=/.test(url);
  return outliving(postgres2(url, {
    ...says ? {} : { ssl: "prefer" },
    max,
    prepare: false,
    fetch_types: false,
    connect_timeout: 10,
    idle_timeout: 20,
    backoff: (attempts) => Math.min(0.05 * 2 ** attempts, 1),
    onnotice: () => {
    },
    // 114 is json, 3802 jsonb: no digit of a number is lost, in either direction.
    types: { json: { to: 114, from: [114, 3802], parse: parseJson, serialize: stringifyJson } },
    connection: { application_name: "ridgeline-dispatch" },
  }));
}
var LOST_CONNECTION = /* @__PURE__ */ new Set([
  "CONNECTION_CLOSED",
  "CONNECTION_ENDED",
  "CONNECTION_DESTROYED",
  "CONNECT_TIMEOUT",
  "ECONNREFUSED",
  "ECONNRESET",
  "ECONNABORTED",
  "EPIPE",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
]);
var TRANSIENT_SQLSTATE = /^(08...|57P0[1-4]|53[0-3]00|40001|40P01|25006|55P03|57014)$/;
function isTransient(error) {
  if (error instanceof TimeoutError) return true;
  const code = codeOf(error);
  return code !== void 0 && (LOST_CONNECTION.has(code) || TRANSIENT_SQLSTATE.test(code));
}

// functions/_shared/bell.ts
var Bell = class {
  #waiting = /* @__PURE__ */ new Set();
  ring() {
    const waiting = this.#waiting;
    this.#waiting = /* @__PURE__ */ new Set();
    for (const wake of waiting) wake();
  }
  /** Until the next ring, or at most so many milliseconds. */
  wait(milliseconds) {
    return new Promise((resolve) => {
      const timer = milliseconds === void 0 ? void 0 : setTimeout(wake, milliseconds);
      const waiting = this.#waiting;
      function wake() {
        clearTimeout(timer);
        waiting.delete(wake);
        resolve();
      }
      waiting.add(wake);
    });
  }
};

// functions/_shared/outcome.ts
var OPERATOR_DELAY_SECONDS = 600;
function failed(code, message, status2) {
  return { outcome: "failed", error: stepError(code, message, status2) };
}
function retry(error, seconds) {
  return seconds === void 0
    ? { outcome: "retry", error }
    : { outcome: "retry", error, retry_after_seconds: seconds };
}
function ambiguous(error, seconds) {
  return seconds === void 0
    ? { outcome: "ambiguous", error }
    : { outcome: "ambiguous", error, retry_after_seconds: seconds };
}
function stepError(code, message, status2) {
  const error = { code, message: message.slice(0, 500) };
  return status2 === void 0 ? error : { ...error, http_status: status2 };
}

// functions/_shared/timeout.ts
var GRACE_MS = 500;
async function withTimeout(what, milliseconds, work) {
  const controller = new AbortController();
  const timeout = new TimeoutError(what, milliseconds);
  const timer = setTimeout(() => controller.abort(timeout), milliseconds);
  let lastTimer;
  const abandoned = new Promise((_resolve, reject) => {
    lastTimer = setTimeout(() => reject(timeout), milliseconds + GRACE_MS);
  });
  try {
    return await Promise.race([work(controller.signal), abandoned]);
  } finally {
    clearTimeout(timer);
    clearTimeout(lastTimer);
  }
}

// functions/_shared/providers/sender.ts
import { z as z2 } from "zod";

// functions/_shared/secrets.ts
import { z } from "zod";
var signing = z.object({ secrets: z.array(z.string()), environment_serves: z.boolean() });
var one = z.object({ secret: z.string().nullable() });

// functions/_shared/providers/sender.ts
var InvalidPayloadError = class extends Error {
  name = "InvalidPayloadError";
};
var sender = z2.object({
  sender: z2.object({ provider: z2.string(), credentials: z2.string().nullish() }).nullish(),
});
function invalidPayload(error) {
  return failed("invalid_payload", error.message);
}

// functions/_shared/providers/deliver.ts
function worstCaseMs(step, sender2) {
  return step.reconcile_since && sender2.reconciliation ? 2 * sender2.timeoutMs : sender2.timeoutMs;
}
async function deliver(step, sender2) {
  try {
    return await reconcile(step, sender2) ??
      await withTimeout(step.step_type, sender2.timeoutMs, (signal) => sender2.send(step, signal));
  } catch (error) {
    if (error instanceof InvalidPayloadError) return invalidPayload(error);
    if (error instanceof SecretMissingError) {
      return retry(stepError("secret_missing", error.message), OPERATOR_DELAY_SECONDS);
    }
    if (error instanceof ConfigurationError) {
      return retry(stepError("not_configured", error.message), OPERATOR_DELAY_SECONDS);
    }
    if (error instanceof TimeoutError) {
      return ambiguous(stepError("timeout", error.message));
    }
    return ambiguous(stepError("internal_error", messageOf(error)));
  }
}
async function reconcile(step, sender2) {
  const { reconciliation, timeoutMs } = sender2;
  const since = step.reconcile_since;
  if (!reconciliation || !since || !reconciliation.isNeeded(since)) return null;
  try {
    const found = await withTimeout(
      "the lookup",
      timeoutMs,
      (signal) => reconciliation.findSent(step, since, step.known_provider_ids, signal),
    );
    return found && { outcome: "succeeded", result: { ...found, reconciled: true } };
  } catch (error) {
    if (
      error instanceof InvalidPayloadError || error instanceof ConfigurationError ||
      error instanceof SecretMissingError
    ) throw error;
    return ambiguous(
      stepError("reconcile_failed", `the earlier attempt was not looked up: ${messageOf(error)}`),
    );
  }
}

// functions/_shared/queue.ts
import { z as z4 } from "zod";

// functions/_shared/version.ts
import { z as z3 } from "zod";
var API_VERSION = 1;
var READ_AGAIN_MS = 6e4;
var row = z3.object({ api: z3.int(), version: z3.string() });
function checkVersion(api, version, ours = API_VERSION) {
  if (Math.abs(api - ours) <= 1) return;
  const both =
    `the database has Ridgeline ${version} (API version ${api}), these functions speak API version ${ours}`;
  throw new VersionError(
    api > ours
      ? `${both}: deploy the functions of that release (supabase functions deploy)`
      : `${both}: apply the migrations of their release (supabase db push)`,
  );
}
async function readVersion(sql) {
  try {
    const rows = await sql`
      select automation.api_version() as api, automation.version() as version`;
    return row.parse(rows[0]);
  } catch (error) {
    if (!["42883", "3F000"].includes(codeOf(error) ?? "")) throw error;
    throw new VersionError(
      "the database has no release of Ridgeline: apply its migrations (supabase db push)",
    );
  }
}
var checks = /* @__PURE__ */ new WeakMap();
function requireVersion(database, sql = database) {
  let check = checks.get(database);
  if (!check) checks.set(database, check = versionCheck());
  return check(sql);
}
function versionCheck(ours = API_VERSION) {
  let reading;
  let until = 0;
  return (sql) => {
    if (reading === void 0 || performance.now() > until) {
      until = performance.now() + READ_AGAIN_MS;
      reading = readVersion(sql).then(({ api, version }) => checkVersion(api, version, ours));
      reading.catch(() => reading = void 0);
    }
    return reading;
  };
}

// functions/_shared/queue.ts
var claimedStep = z4.object({
  tenant_id: z4.guid(),
  step_id: z4.guid(),
  attempt_token: z4.guid(),
  attempt: z4.int(),
  step_type: z4.enum(["send_sms", "send_email", "webhook"]),
  /** Checked by the provider that sends it: a malformed payload fails its own step, not the batch. */
  payload: z4.unknown(),
  idempotency_key: z4.string().min(1),
  reconcile_since: z4.date().nullable(),
  known_provider_ids: z4.array(z4.string()).nullable().transform((ids) => ids ?? []),
});
var CHANNELS = ["sms", "email", "webhook"];
function channelOf({ step_type }) {
  return step_type === "webhook" ? "webhook" : step_type === "send_sms" ? "sms" : "email";
}
var finishedRow = z4.object({
  step_id: z4.guid(),
  accepted: z4.boolean(),
  status: z4.string().nullable(),
  /** Work of any kind is due now and nobody's. */
  due_now: z4.boolean(),
});
var count = z4.object({ count: z4.int() });
var ran = z4.object({ ran: z4.int() });
var portion = z4.object({ id: z4.guid() });
function parseRows(name, schema, rows) {
  const parsed = z4.array(schema).safeParse(rows);
  if (parsed.success) return parsed.data;
  throw new ContractError(`automation.${name}: ${z4.prettifyError(parsed.error)}`);
}
function storable(value) {
  if (typeof value === "string") {
    return value.replaceAll("\0", "").replace(/\p{Surrogate}/gu, "\uFFFD");
  }
  if (Array.isArray(value)) return value.map(storable);
  if (typeof value !== "object" || value === null || value instanceof LosslessNumber) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, entry]) => [storable(key), storable(entry)]),
  );
}
function stillWanted(wanted, claimed) {
  const left = {};
  for (const channel of CHANNELS) {
    const room = wanted[channel];
    const most = (room?.most ?? 0) - claimed.filter((step) => channelOf(step) === channel).length;
    if (room && most > 0) left[channel] = { ...room, most };
  }
  return left;
}
function holder({ tenant_id, step_id, attempt_token }) {
  return { tenant_id, step_id, attempt_token };
}
var MOST_PORTIONS = 20;
function createQueue(sql, timeoutMs = 2e4, workTimeoutMs = 5e3) {
  async function rows(what, query, milliseconds = timeoutMs) {
    await withTimeout("version", timeoutMs, () => requireVersion(sql));
    return await withTimeout(what, milliseconds, (signal) => {
      signal.addEventListener("abort", () => query.cancel(), { once: true });
      return query;
    });
  }
  async function begin2(query) {
    const begun3 = await rows("begin_portions", query);
    return parseRows("begin_portions", portion, begun3).map(({ id: id2 }) => id2);
  }
  async function claimPortion(id2, worker, leaseSeconds) {
    const query = sql`
      select tenant_id, step_id, attempt_token, attempt, step_type, payload, idempotency_key,
             reconcile_since, to_jsonb(known_provider_ids) as known_provider_ids
      from automation.claim_portion(
        ${id2}::uuid, ${worker}::text, make_interval(secs => ${leaseSeconds}::float8))`;
    return parseRows("claim_portion", claimedStep, await rows("claim", query, workTimeoutMs));
  }
  async function counted(what, query) {
    return parseRows(what, count, await rows(what, query))[0]?.count ?? 0;
  }
  return {
    async claim(worker, wanted, leaseSeconds) {
      const steps = [];
      let left = wanted;
      for (let portions = 0; portions < MOST_PORTIONS && Object.keys(left).length > 0;) {
        const asked = sql.json(storable(left));
        const begun3 = await begin2(sql`select id from automation.begin_portions(${asked}::jsonb)`);
        if (begun3.length === 0) break;
        portions += begun3.length;
        try {
          for (const id2 of begun3) steps.push(...await claimPortion(id2, worker, leaseSeconds));
        } catch (error) {
          if (steps.length === 0) throw error;
          break;
        }
        left = stillWanted(wanted, steps);
      }
      return steps;
    },
    async claimSuspect(worker, leaseSeconds) {
      const [id2] = await begin2(
        sql`select t.id from automation.begin_trial() as t where t.id is not null`,
      );
      return id2 === void 0 ? [] : await claimPortion(id2, worker, leaseSeconds);
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
    async runDatabaseSteps(maxSteps) {
      const query = sql`call automation.work_database_steps(0, ${maxSteps}::int, '1 second')`;
      const answer2 = await rows("work_database_steps", query, 1e3 + workTimeoutMs);
      return parseRows("work_database_steps", ran, answer2)[0]?.ran ?? 0;
    },
    reapExpiredLeases(maxSteps) {
      return counted(
        "reap_expired_leases",
        sql`select automation.reap_expired_leases(${maxSteps}::int) as count`,
      );
    },
  };
}

// functions/_shared/slots.ts
var AHEAD_MS = 50;
var AHEAD_ROUNDS = 20;
var CLAIM_BATCH = 1e3;
var Slots = class {
  #concurrency;
  #tenantOf;
  #waiting = /* @__PURE__ */ new Map();
  #underWay = /* @__PURE__ */ new Map();
  #total = 0;
  #sendMs = 100;
  /** The count of events at which nothing more was due. */
  dryAt = -1;
  constructor(concurrency, tenantOf) {
    this.#concurrency = concurrency;
    this.#tenantOf = tenantOf;
  }
  get isQuiet() {
    return this.#total === 0 && this.#waiting.size === 0;
  }
  /** How many steps may wait for a place: few when sends are slow, more when they are quick. */
  get target() {
    const rounds = Math.ceil(AHEAD_MS / this.#sendMs);
    return this.#concurrency * Math.min(Math.max(rounds, 1), AHEAD_ROUNDS);
  }
  /** Tenants of whom enough is waiting: no more of theirs is claimed. */
  get crowded() {
    const enough = this.target;
    return [...this.#waiting].filter(([, waiting]) => waiting.length >= enough).map(([tenant]) =>
      tenant
    );
  }
  /** What waits because its tenant has all the places it may have takes no room from others. */
  get room() {
    let waiting = 0;
    for (const [tenant, held] of this.#waiting) if (this.#mayStart(tenant)) waiting += held.length;
    return Math.min(this.target - waiting, CLAIM_BATCH);
  }
  wait(held) {
    const tenant = this.#tenantOf(held);
    const waiting = this.#waiting.get(tenant);
    if (waiting) waiting.push(held);
    else this.#waiting.set(tenant, [held]);
  }
  empty() {
    const all = [...this.#waiting.values()].flat();
    this.#waiting.clear();
    return all;
  }
  /** The next that may start: the tenants take turns. */
  next() {
    for (const [tenant, waiting] of this.#waiting) {
      if (!this.#mayStart(tenant)) continue;
      const held = waiting.shift();
      this.#waiting.delete(tenant);
      if (waiting.length > 0) this.#waiting.set(tenant, waiting);
      return held;
    }
    return void 0;
  }
  start(held) {
    const tenant = this.#tenantOf(held);
    this.#total++;
    this.#underWay.set(tenant, (this.#underWay.get(tenant) ?? 0) + 1);
  }
  /** True when its tenant was crowded, so that more of its steps may be due. */
  end(held, milliseconds) {
    const tenant = this.#tenantOf(held);
    const wasCrowded = (this.#waiting.get(tenant)?.length ?? 0) >= this.target;
    this.#sendMs += (milliseconds - this.#sendMs) / 16;
    this.#total--;
    const left = (this.#underWay.get(tenant) ?? 1) - 1;
    if (left > 0) this.#underWay.set(tenant, left);
    else this.#underWay.delete(tenant);
    return wasCrowded;
  }
  #mayStart(tenant) {
    const own = this.#underWay.get(tenant) ?? 0;
    return own < (2 * this.#concurrency - (this.#total - own)) / 2;
  }
};

// functions/_shared/retry.ts
var FIRST_DELAY_MS = 50;
var LONGEST_DELAY_MS = 2e3;
async function withRetries(call, bell, { until, now: now2, onRetry }) {
  for (let attempt = 1;; attempt++) {
    try {
      return await call();
    } catch (error) {
      const ceiling = Math.min(FIRST_DELAY_MS * 2 ** attempt, LONGEST_DELAY_MS);
      const wakeAt = now2() + Math.max(Math.random() * ceiling, 20);
      if (!isTransient(error) || wakeAt >= until()) throw error;
      onRetry(error, attempt);
      while (now2() < wakeAt && now2() < until()) await bell.wait(wakeAt - now2());
    }
  }
}

// functions/_shared/dispatcher.ts
var DispatchError = class extends Error {
  constructor(summary, cause) {
    super("the database could not be used", { cause });
    this.summary = summary;
  }
  summary;
  name = "DispatchError";
};
function createDispatcher(options) {
  const settings = {
    concurrency: 10,
    maxSteps: Infinity,
    leaseSeconds: 60,
    databasePatienceMs: 1e4,
    pollMs: 500,
    ...options,
  };
  const longest = longestSendMs(settings.senders) + MARGIN_MS;
  if (settings.leaseSeconds * 1e3 <= longest) {
    throw new RangeError(`leaseSeconds must be longer than the longest send, ${longest} ms`);
  }
  const runs = /* @__PURE__ */ new Set();
  let joined2;
  async function start2(run) {
    runs.add(run);
    try {
      return await run.execute();
    } finally {
      runs.delete(run);
    }
  }
  return {
    dispatch(runOptions) {
      if (joined2?.run.lookAgain()) return joined2.summary;
      const run = new Run(settings, runOptions);
      joined2 = { run, summary: start2(run) };
      return joined2.summary;
    },
    run: (runOptions) => start2(new Run(settings, runOptions)),
    ring() {
      for (const run of runs) run.lookAgain();
    },
  };
}
var MARGIN_MS = 2e3;
var DATABASE_BATCH = 200;
var REAP_BATCH = 500;
var FINISH_BATCH = 500;
var TRIAL_PAUSE_MS = 2e3;
var DRY_PAUSE_MS = 5;
var now = () => performance.now();
function longestSendMs(senders) {
  const times = Object.values(senders).map(
    ({ timeoutMs, reconciliation }) => reconciliation ? 2 * timeoutMs : timeoutMs,
  );
  return Math.max(...times);
}
var Run = class {
  #settings;
  #standing;
  #budgetMs;
  #until;
  #bell = new Bell();
  #startedAt = now();
  #slots;
  #unstarted = [];
  #results = [];
  #totals = {
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
  #databaseDry = -1;
  #lookedAt = now();
  #claiming = false;
  #trying = false;
  #recording = false;
  #stopped;
  #done = false;
  #error;
  constructor(settings, { budgetMs, until }) {
    this.#settings = settings;
    this.#standing = budgetMs === void 0;
    this.#budgetMs = budgetMs ?? Infinity;
    this.#until = until;
    const slots = () => new Slots(settings.concurrency, ({ step }) => step.tenant_id);
    this.#slots = { sms: slots(), email: slots(), webhook: slots() };
  }
  /** False when the run has already decided to end: whoever asks must start another. */
  lookAgain() {
    if (this.#stopped || this.#done) return false;
    this.#work++;
    this.#rings++;
    this.#bell.ring();
    return true;
  }
  async execute() {
    const budget = this.#standing
      ? void 0
      : setTimeout(() => this.#stop("budget"), this.#budgetMs - this.#reserveMs());
    const abort = () => this.#stop("aborted");
    if (this.#until?.aborted) abort();
    this.#until?.addEventListener("abort", abort, { once: true });
    try {
      await Promise.all([
        this.#claimLoop(),
        this.#trialLoop(),
        this.#databaseLoop(),
        this.#recordLoop(),
      ]);
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
  #reserveMs() {
    return Math.min(longestSendMs(this.#settings.senders) + MARGIN_MS, this.#budgetMs / 2);
  }
  #summary() {
    const elapsed_ms = Math.round(now() - this.#startedAt);
    return { ...this.#totals, elapsed_ms, stopped: this.#stopped ?? "idle" };
  }
  #stop(reason) {
    this.#stopped ??= reason;
    for (const slots of Object.values(this.#slots)) this.#unstarted.push(...slots.empty());
    this.#changed();
  }
  #fail(error) {
    this.#error ??= error;
    this.#settings.log("error", "dispatch_failed", {
      code: codeOf(error) ?? null,
      message: messageOf(error),
    });
    this.#stopped = void 0;
    this.#stop("error");
  }
  /** Called after every event: starts what can start, and ends the run when nothing is left. */
  #changed() {
    this.#startSends();
    const slots = Object.values(this.#slots);
    const quiet = slots.every((channel) => channel.isQuiet) && this.#unstarted.length === 0 &&
      this.#results.length === 0 && !this.#recording;
    if (quiet && !this.#claiming && !this.#trying) {
      const dry = slots.every((channel) => channel.dryAt === this.#work) &&
        this.#databaseDry === this.#work;
      if (dry && !this.#standing) this.#stopped ??= "idle";
      if (this.#stopped) this.#done = true;
    }
    this.#bell.ring();
  }
  // Claiming -------------------------------------------------------------------------------------
  async #claimLoop() {
    const { maxSteps, pollMs } = this.#settings;
    if (!this.#done) await this.#reap();
    while (!this.#done) {
      const wanted = this.#wanted();
      if (this.#stopped) await this.#bell.wait();
      else if (maxSteps <= this.#totals.claimed) this.#stop("limit");
      else if (Object.keys(wanted).length > 0) await this.#claim(wanted);
      else await this.#waitToLook(pollMs);
    }
  }
  /** Until something happens; when nothing has announced work for long enough, looks all the same. */
  async #waitToLook(milliseconds) {
    const left = milliseconds - (now() - this.#lookedAt);
    if (left > 0) await this.#bell.wait(left);
    else {
      this.#lookedAt = now();
      this.#work++;
    }
  }
  /** Of each channel that is not known to be dry, what there is room for. */
  #wanted() {
    const wanted = {};
    let left = this.#settings.maxSteps - this.#totals.claimed;
    for (const channel of CHANNELS) {
      const slots = this.#slots[channel];
      const most = Math.min(slots.room, left);
      if (most <= 0 || slots.dryAt === this.#work || most * 2 < Math.min(slots.target, left)) {
        continue;
      }
      wanted[channel] = { most, but: slots.crowded };
      left -= most;
    }
    return wanted;
  }
  async #claim(wanted) {
    const { queue, worker, leaseSeconds } = this.#settings;
    const work = this.#work;
    this.#lookedAt = now();
    this.#claiming = true;
    const steps = await this.#lease("claim", () => queue.claim(worker, wanted, leaseSeconds));
    this.#claiming = false;
    for (const channel of CHANNELS) {
      const asked = wanted[channel]?.most ?? Infinity;
      const got = steps?.filter((step) => channelOf(step) === channel).length ?? Infinity;
      if (got < asked && asked < Infinity) this.#slots[channel].dryAt = work;
    }
    this.#changed();
    if (steps?.length === 0) await this.#restUnlessRung();
  }
  /** Steps that are leased wait for a place, or go back when the run has stopped meanwhile. */
  async #lease(name, claim) {
    let leaseEndsAt = 0;
    const steps = await this.#call(name, () => {
      leaseEndsAt = now() + this.#settings.leaseSeconds * 1e3;
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
  async #trialLoop() {
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
  async #reap() {
    const reaped = await this.#call(
      "reap",
      () => this.#settings.queue.reapExpiredLeases(REAP_BATCH),
    );
    if (reaped) this.#settings.log("warn", "leases_reaped", { count: reaped });
  }
  /** What the run announces itself can wait a moment; a ring cannot. */
  #restUnlessRung() {
    const rings = this.#rings;
    return this.#pause(DRY_PAUSE_MS, () => this.#rings !== rings);
  }
  async #pause(milliseconds, enough = () => false) {
    const end = now() + milliseconds;
    while (!this.#done && !this.#stopped && !enough() && now() < end) {
      await this.#bell.wait(Math.max(end - now(), 1));
    }
  }
  // Database steps -------------------------------------------------------------------------------
  async #databaseLoop() {
    while (!this.#done) {
      if (this.#stopped || this.#databaseDry === this.#work) await this.#bell.wait();
      else await this.#runDatabaseSteps();
    }
  }
  async #runDatabaseSteps() {
    const work = this.#work;
    const run = () => this.#settings.queue.runDatabaseSteps(DATABASE_BATCH);
    const count2 = await this.#call("run_database_steps", run);
    if (count2) {
      this.#totals.database_steps += count2;
      this.#work++;
    } else if (count2 === 0) this.#databaseDry = work;
    this.#changed();
    if (count2 === 0) await this.#restUnlessRung();
  }
  // Sending --------------------------------------------------------------------------------------
  #startSends() {
    for (const slots of Object.values(this.#slots)) {
      while (!this.#stopped) {
        const held = slots.next();
        if (!held) break;
        const sender2 = this.#settings.senders[held.step.step_type];
        const latestEnd = now() + worstCaseMs(held.step, sender2) + MARGIN_MS;
        if (latestEnd > held.leaseEndsAt) this.#unstarted.push(held);
        else void this.#send(held, slots);
      }
    }
  }
  async #send(held, slots) {
    const { step, leaseEndsAt } = held;
    slots.start(held);
    const startedAt = now();
    const outcome = await deliver(step, this.#settings.senders[step.step_type]);
    if (slots.end(held, now() - startedAt)) this.#work++;
    const { tenant_id, step_id, attempt_token } = step;
    this.#results.push({
      finished: { tenant_id, step_id, attempt_token, ...outcome },
      leaseEndsAt,
    });
    this.#report(step, outcome);
    this.#changed();
  }
  #report(step, outcome) {
    if (outcome.outcome === "succeeded" && !outcome.result.reconciled) return;
    const { tenant_id, step_id, step_type, attempt } = step;
    const event = outcome.outcome === "succeeded" ? "step_reconciled" : `step_${outcome.outcome}`;
    const { code, http_status } = outcome.outcome === "succeeded"
      ? { code: void 0, http_status: void 0 }
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
  async #recordLoop() {
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
  async #record(batch) {
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
  async #recordApart(batch, error) {
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
  #unrecorded({ tenant_id, step_id, outcome }, error) {
    const code = codeOf(error) ?? null;
    this.#settings.log("error", "result_unrecorded", { tenant_id, step_id, outcome, code });
  }
  #count(batch, rows) {
    const byStep = new Map(rows.map((row2) => [row2.step_id, row2]));
    for (const { finished: { tenant_id, step_id, outcome } } of batch) {
      const row2 = byStep.get(step_id);
      if (!row2?.accepted) {
        this.#totals.late++;
        this.#settings.log("warn", "result_late", { tenant_id, step_id, outcome });
      } else if (outcome === "succeeded") this.#totals.succeeded++;
      else if (outcome === "failed" || row2.status === "failed") this.#totals.failed++;
      else if (outcome === "retry") this.#totals.retried++;
      else this.#totals.ambiguous++;
    }
  }
  async #release(batch) {
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
  #untilLeaseEnds(call, batch) {
    const end = Math.max(...batch.map(({ leaseEndsAt }) => leaseEndsAt));
    return { now, until: () => end, onRetry: this.#onRetry(call) };
  }
  #onRetry(call) {
    return (error, attempt) =>
      this.#settings.log("warn", "database_retry", {
        call,
        attempt,
        code: codeOf(error) ?? null,
      });
  }
  /** Undefined when the run is over: the database is gone for good, or it stopped meanwhile. */
  async #call(name, call) {
    const patience = this.#standing ? Infinity : now() + this.#settings.databasePatienceMs;
    try {
      return await withRetries(call, this.#bell, {
        now,
        until: () => this.#stopped ? -Infinity : patience,
        onRetry: this.#onRetry(name),
      });
    } catch (error) {
      if (!this.#stopped || this.#stopped === "budget") this.#fail(error);
      return void 0;
    }
  }
};

// functions/dispatch/handler.ts
import { z as z6 } from "zod";

// functions/_shared/auth.ts
import { createHash, timingSafeEqual } from "node:crypto";
function digest(key) {
  return createHash("sha256").update(key).digest();
}
function hasKey(request2, keys) {
  const given = digest(request2.headers.get("apikey") ?? "");
  let known = false;
  for (const key of keys) {
    if (timingSafeEqual(given, digest(key))) known = true;
  }
  return known;
}
function requireSecretKey(request2, secretKeys) {
  if (!hasKey(request2, secretKeys)) {
    throw new RequestError(
      401,
      "unauthorized",
      "this function needs a secret key (sb_secret_...) in the apikey header",
    );
  }
}

// functions/_shared/env.ts
import { z as z5 } from "zod";
var httpUrl = z5.url({ protocol: /^https?$/ }).transform((url) => url.replace(/\/+$/, ""));
var keyring = z5.record(z5.string(), z5.string().min(1)).refine(
  (keys) => Object.keys(keys).length > 0,
);
function parseJson2(text) {
  try {
    return JSON.parse(text);
  } catch {
    return void 0;
  }
}
var twilioAccount = z5.string().transform(parseJson2).pipe(z5.object({
  account_sid: z5.string().regex(/^AC[0-9A-Za-z]+$/),
  auth_token: z5.string().min(1),
}));
var secretName = z5.string().regex(/^[A-Za-z][A-Za-z0-9_-]*$/);
var signingSecret = z5.string().regex(/^(whsec_)?[A-Za-z0-9+/]{16,}={0,2}$/);
var LONGEST_BUDGET_MS = 38e4;
var MAX_STEPS = "EdgeRuntime" in globalThis ? 1e3 : 1e6;

// functions/_shared/log.ts
var logToConsole = (level, event, fields = {}) => {
  const line = JSON.stringify({
    time: (/* @__PURE__ */ new Date()).toISOString(),
    level,
    event,
    ...fields,
  });
  console[level](line.replace(/:\/\/[^@\s"/]+@/g, "://***@"));
};

// functions/dispatch/handler.ts
var body = z6.strictObject({
  budget_ms: z6.int().min(100).max(LONGEST_BUDGET_MS).optional(),
});
var emptyBody = z6.strictObject({});
var MAX_BODY_BYTES = 1e4;
async function readBody(request2, schema) {
  const text = await request2.text();
  if (text.length > MAX_BODY_BYTES) {
    throw new RequestError(413, "too_large", "the body is too long");
  }
  let json2 = {};
  try {
    if (text.trim() !== "") json2 = JSON.parse(text);
  } catch {
    throw new RequestError(400, "invalid_json", "the body is not JSON");
  }
  const parsed = schema.safeParse(json2);
  if (parsed.success) return parsed.data;
  const issues = parsed.error.issues.map(
    ({ path, message }) => `${path.join(".") || "body"}: ${message}`,
  );
  throw new RequestError(400, "invalid_request", issues.join("; "));
}
function problem(status2, code, message, more = {}) {
  return Response.json({ error: { code, message }, ...more }, { status: status2 });
}
function answer(error) {
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
function createHandler(dependencies) {
  const { secretKeys, ringKey, dispatcher, budgetMs, shutdown } = dependencies;
  function start2(budget) {
    const work = dispatcher().dispatch({
      budgetMs: budget,
      ...shutdown ? { until: shutdown.signal } : {},
    });
    return shutdown ? shutdown.track(work) : work;
  }
  async function ring(request2) {
    await readBody(request2, emptyBody);
    start2(budgetMs()).catch((error) => {
      logToConsole("error", "ring_failed", { message: messageOf(error) });
    });
    return Response.json({ ringing: true }, { status: 202 });
  }
  return async (request2) => {
    try {
      if (request2.method !== "POST") {
        throw new RequestError(405, "method_not_allowed", "use POST");
      }
      const key = ringKey?.();
      if (key !== void 0 && hasKey(request2, [key])) return await ring(request2);
      requireSecretKey(request2, secretKeys());
      const { budget_ms } = await readBody(request2, body);
      return Response.json(await start2(budget_ms ?? budgetMs()));
    } catch (error) {
      return answer(error);
    }
  };
}

// functions/workflows/handler.ts
import { z as z14 } from "zod";

// functions/_shared/caller.ts
import { z as z7 } from "zod";

// functions/_shared/problem.ts
var Problem = class extends Error {
  constructor(status2, code, detail, { errors = [], headers = {} } = {}) {
    super(detail);
    this.status = status2;
    this.code = code;
    this.errors = errors;
    this.headers = headers;
  }
  status;
  code;
  name = "Problem";
  errors;
  headers;
};
var TITLES = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  500: "Internal Server Error",
  501: "Not Implemented",
  503: "Service Unavailable",
};
function problemDocument(problem3, instance) {
  return {
    type: "about:blank",
    title: TITLES[problem3.status] ?? "Error",
    status: problem3.status,
    code: problem3.code,
    detail: problem3.message,
    instance,
    ...problem3.errors.length > 0 ? { errors: problem3.errors } : {},
  };
}
function fixOf(issue) {
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
function detailsOf(issue) {
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
function invalidRequest(error) {
  const errors = error.issues.flatMap(detailsOf);
  return new Problem(
    422,
    "invalid_request",
    errors.map(({ field, message }) => `${field}: ${message}`).join("; ").slice(0, 1e3),
    { errors },
  );
}
var SQLSTATES = [
  [/^(PT404|P0002)$/, 404, "not_found", "something that the request names was not found"],
  [/^42501$/, 403, "forbidden", "you may not do this"],
  [/^(PT409|55000|55006)$/, 409, "conflict", "this cannot be done in the present state"],
  [/^23(001|503|505|P01)$/, 409, "conflict", "the request contradicts other rows"],
  [/^(PT429|53400)$/, 429, "too_many_requests", "too many such calls of this tenant are under way"],
  [/^(PT413|54...)$/, 413, "too_large", "the request is too large"],
  [/^(22...|23502|23514)$/, 422, "invalid_request", "a value of the request cannot be taken"],
  [/^(42883|3F000|0A000)$/, 501, "not_implemented", "this database does not have it; migrate it"],
];
var OWN_MESSAGE = /^([a-z_]+(?:\.[a-z0-9_]+)*): (.{1,500})$/s;
function textOf(error, member) {
  const value = error[member];
  return typeof value === "string" ? value : void 0;
}
function findingsOf(error) {
  try {
    const parsed = JSON.parse(textOf(error, "detail") ?? "");
    if (!Array.isArray(parsed)) return [];
    return parsed.filter(
      (one2) =>
        typeof one2?.path === "string" && typeof one2?.message === "string" &&
        one2?.severity !== "warning",
    );
  } catch {
    return [];
  }
}
function problemOfDatabase(error) {
  const state = codeOf(error);
  const known = SQLSTATES.find(([pattern]) => state !== void 0 && pattern.test(state));
  if (!known || !(error instanceof Error)) return void 0;
  const [, status2, code, general] = known;
  const fix = textOf(error, "hint") ?? "see the documentation";
  const findings = findingsOf(error);
  if (findings.length > 0) {
    const ofWorkflow2 = error.message.includes("cannot be published");
    const detail = ofWorkflow2
      ? "the workflow cannot be published"
      : error.message.split(":", 1)[0];
    return new Problem(status2, ofWorkflow2 ? "invalid_workflow" : code, detail ?? general, {
      errors: findings.map((one2) => ({
        field: one2.path,
        message: one2.message,
        fix: one2.hint ?? "see the documentation",
      })),
    });
  }
  const own = OWN_MESSAGE.exec(error.message);
  if (!own?.[1] || !own[2]) return new Problem(status2, code, general);
  return new Problem(status2, code, error.message, {
    ...status2 === 429 ? { headers: { "retry-after": "1" } } : {},
    errors: [{ field: own[1], message: own[2], fix }],
  });
}
function problemOf(error, log, request2) {
  if (error instanceof Problem) return error;
  if (error instanceof RequestError) return new Problem(error.status, error.code, error.message);
  if (error instanceof ConfigurationError) {
    log("error", "workflows_not_configured", { request: request2, variable: error.variable });
    return new Problem(500, "not_configured", `${error.variable} is missing or malformed`);
  }
  if (error instanceof VersionError) {
    log("error", "workflows_incompatible", { request: request2, message: error.message });
    return new Problem(503, "incompatible_version", error.message);
  }
  if (isTransient(error)) {
    log("warn", "workflows_unavailable", { request: request2, code: codeOf(error) });
    return new Problem(503, "unavailable", "try again in a moment", {
      headers: { "retry-after": "5" },
    });
  }
  const known = problemOfDatabase(error);
  if (known && known.status !== 501) return known;
  log("error", "workflows_failed", {
    request: request2,
    code: codeOf(error),
    message: messageOf(error).slice(0, 500),
  });
  return known ?? new Problem(500, "internal_error", "the log says why, under this instance");
}

// functions/_shared/caller.ts
async function identify(request2, credentials) {
  const bearer = /^Bearer\s+(\S+)$/i.exec(request2.headers.get("authorization") ?? "")?.[1];
  const key = request2.headers.get("apikey");
  if (bearer !== void 0 && bearer !== key && !bearer.startsWith("sb_")) {
    return { kind: "user", claims: await credentials.verify(bearer) };
  }
  try {
    requireSecretKey(request2, credentials.secretKeys());
  } catch (error) {
    if (!(error instanceof RequestError)) throw error;
    throw new Problem(
      401,
      "unauthorized",
      "send a user's access token (Authorization: Bearer ...), or a secret key in apikey",
      { headers: { "www-authenticate": "Bearer" } },
    );
  }
  return { kind: "service" };
}
var STATEMENT_TIMEOUT = "8s";
async function become(sql, caller) {
  const role = caller.kind === "user" ? "authenticated" : "service_role";
  const claims = caller.kind === "user" ? caller.claims : { role };
  const headers = caller.tenantId === void 0 ? {} : { "x-tenant-id": caller.tenantId };
  await sql`
    select set_config('statement_timeout', ${STATEMENT_TIMEOUT}, true),
      set_config('request.jwt.claims', ${JSON.stringify(claims)}, true),
      set_config('request.headers', ${JSON.stringify(headers)}, true),
      set_config('role', ${role}, true)`;
}
function look(database, caller, work) {
  return transaction(database, "read only", async (sql) => {
    await become(sql, caller);
    return await work(sql);
  });
}
var begun2 = z7.object({
  verdict: z7.enum(["new", "replay", "mismatch", "in_flight"]),
  status: z7.int().nullable(),
  answer: z7.unknown(),
});
function act(database, caller, request2, work) {
  return transaction(database, "", async (sql) => {
    const scope = request2 ? await scopeOf(sql, caller, request2) : "";
    if (request2) {
      const first = await begin(sql, scope, request2);
      if (first) return { ...first, replayed: true };
    }
    await become(sql, caller);
    const answer2 = await work(sql);
    if (request2) {
      const { key, fingerprint } = request2;
      await sql`select set_config('role', 'none', true)`;
      await sql`
        select automation.keep_answer(
          ${scope}, ${key}, ${sql.json(fingerprint)}, ${answer2.status}, ${
        sql.json(answer2.body)
      })`;
    }
    return { ...answer2, replayed: false };
  });
}
async function scopeOf(sql, caller, { input }) {
  await become(sql, caller);
  const [row2] = await sql`select automation.request_scope(${sql.json(input)}) as scope`;
  await sql`select set_config('role', 'none', true)`;
  return z7.string().parse(row2?.scope);
}
async function begin(sql, scope, request2) {
  const { key, fingerprint } = request2;
  const [row2] = await sql`
    select * from automation.begin_request(${scope}, ${key}, ${sql.json(fingerprint)})`;
  const { verdict, status: status2, answer: answer2 } = begun2.parse(row2);
  switch (verdict) {
    case "new":
      return void 0;
    case "replay":
      return { status: status2 ?? 200, body: answer2 };
    case "mismatch":
      throw new Problem(
        422,
        "idempotency_key_reused",
        "this Idempotency-Key was used for another request",
        {
          errors: [{
            field: "Idempotency-Key",
            message: "was used for another request",
            fix: "make a new key for every new request",
          }],
        },
      );
    case "in_flight":
      throw new Problem(
        409,
        "request_in_flight",
        "the first request with this Idempotency-Key has not been answered yet",
        { headers: { "retry-after": "1" } },
      );
  }
}
async function transaction(database, options, work) {
  const { value } = await database.begin(options, async (sql) => {
    await requireVersion(database, sql);
    return { value: await work(sql) };
  });
  return value;
}

// functions/_shared/inbound.ts
import { z as z8 } from "zod";
var BodyTooLarge = class extends RequestError {
  constructor(maxBytes, begun3) {
    super(413, "too_large", `the body exceeds ${maxBytes} bytes`);
    this.begun = begun3;
  }
  begun;
};
function joined(chunks) {
  const body2 = new Uint8Array(chunks.reduce((length, chunk) => length + chunk.byteLength, 0));
  let offset = 0;
  for (const chunk of chunks) {
    body2.set(chunk, offset);
    offset += chunk.byteLength;
  }
  return body2;
}
async function readBody2(request2, maxBytes) {
  const chunks = [];
  let length = 0;
  const reader = request2.body?.getReader();
  for (let part = await reader?.read(); part && !part.done; part = await reader?.read()) {
    length += part.value.byteLength;
    if (length > maxBytes) {
      await reader?.cancel();
      const fits = part.value.subarray(0, maxBytes - (length - part.value.byteLength));
      throw new BodyTooLarge(maxBytes, joined([...chunks, fits]));
    }
    chunks.push(part.value);
  }
  return joined(chunks);
}
var decodeText = (bytes) => new TextDecoder().decode(bytes);
function mediaType(request2) {
  return (request2.headers.get("content-type") ?? "").split(";")[0]?.trim().toLowerCase() ?? "";
}

// functions/_shared/openapi.ts
import { z as z9 } from "zod";
var Components = class {
  schemas = {};
  of(schema, io) {
    const { $schema: _dialect, $defs = {}, ...body2 } = z9.toJSONSchema(schema, {
      target: "draft-2020-12",
      io,
    });
    for (const [name, { id: _id, ...definition }] of Object.entries($defs)) {
      this.schemas[name] = this.#repoint(definition);
    }
    return this.#repoint(body2);
  }
  #repoint(schema) {
    const text = JSON.stringify(schema).replaceAll('"#/$defs/', '"#/components/schemas/');
    return JSON.parse(text);
  }
};
var json = (schema) => ({ "application/json": { schema } });
function openApiDocument(options) {
  const components = new Components();
  const problem3 = components.of(options.problem, "output");
  const problemAnswer = (description) => ({
    description,
    content: { "application/problem+json": { schema: problem3 } },
  });
  const paths = {};
  for (const operation of options.operations) {
    (paths[operation.path] ??= {})[operation.method.toLowerCase()] = {
      operationId: operation.id,
      summary: operation.summary,
      ...operation.legacy ? { deprecated: true } : {},
      security: [{ user: [] }, { secretKey: [] }],
      ...request(components, operation),
      responses: {
        "200": {
          description: "Done.",
          content: json(components.of(operation.output, "output")),
          ...operation.kind === "act"
            ? { headers: { "idempotency-replayed": { $ref: "#/components/headers/replayed" } } }
            : {},
        },
        "401": { $ref: "#/components/responses/unauthorized" },
        default: { $ref: "#/components/responses/problem" },
      },
    };
  }
  paths["/health"] = {
    get: {
      operationId: "health",
      summary: "Does it answer, and its database?",
      security: [],
      responses: {
        "200": { description: "It does.", content: json(components.of(options.health, "output")) },
        default: { $ref: "#/components/responses/problem" },
      },
    },
  };
  paths["/openapi.json"] = {
    get: {
      operationId: "openapi",
      summary: "This document.",
      security: [],
      responses: { "200": { description: "It.", content: json({ type: "object" }) } },
    },
  };
  return {
    openapi: "3.1.0",
    info: {
      title: options.title,
      version: options.version,
      description: options.description,
    },
    servers: [{ url: options.server }],
    paths,
    components: {
      schemas: components.schemas,
      responses: {
        unauthorized: problemAnswer("Neither a valid token nor a secret key."),
        problem: problemAnswer("What went wrong, and how to mend it."),
      },
      headers: {
        replayed: {
          description: "true: this is the answer of an earlier request with the same key.",
          schema: { type: "string", enum: ["true"] },
        },
      },
      parameters: {
        idempotencyKey: {
          name: "Idempotency-Key",
          in: "header",
          required: false,
          description:
            "A value of your own, such as a UUID. Within a day, the same request with the same key is carried out once and answered the same.",
          schema: { type: "string", minLength: 1, maxLength: 255 },
        },
      },
      securitySchemes: {
        user: { type: "http", scheme: "bearer", bearerFormat: "JWT" },
        secretKey: { type: "apiKey", in: "header", name: "apikey" },
      },
    },
  };
}
function request(components, operation) {
  if (operation.method === "GET") {
    const { properties = {}, required = [] } = components.of(operation.input, "input");
    return {
      parameters: Object.entries(properties).map(([name, schema]) => ({
        name,
        in: "query",
        required: required.includes(name),
        schema,
      })),
    };
  }
  return {
    ...operation.kind === "act"
      ? { parameters: [{ $ref: "#/components/parameters/idempotencyKey" }] }
      : {},
    requestBody: { required: true, content: json(components.of(operation.input, "input")) },
  };
}

// functions/workflows/operations.ts
import { z as z13 } from "zod";

// functions/workflows/history.ts
import { z as z10 } from "zod";
function readCursor(cursor) {
  if (cursor === void 0) return null;
  const parsed = z10.guid().safeParse(cursor);
  if (parsed.success) return parsed.data;
  throw new Problem(422, "invalid_request", "cursor: is none of ours", {
    errors: [{ field: "cursor", message: "is none of ours", fix: "send next_cursor as it came" }],
  });
}
async function readHistory(sql, query) {
  const rows = await sql`
    select to_jsonb(h) as execution
    from ridgeline.get_execution_history(
      workflow_id => ${query.workflow_id ?? null},
      contact_id => ${query.contact_id ?? null},
      execution_id => ${query.execution_id ?? null},
      status => ${query.status ?? null},
      before => ${readCursor(query.cursor)},
      max_rows => ${query.limit + 1},
      tenant_id => ${query.tenant_id ?? null},
      record_id => ${query.record_id ?? null},
      trigger_type => ${query.trigger_type ?? null},
      since => ${query.since ?? null},
      until => ${query.until ?? null}) as h
    order by h.id desc`;
  const page = rows.slice(0, query.limit).map(({ execution: execution2 }) => execution2);
  return {
    executions: page,
    next_cursor: rows.length > query.limit ? page.at(-1)?.id ?? null : null,
  };
}

// functions/workflows/schemas.ts
import { z as z12 } from "zod";

// functions/_shared/moment.ts
import { z as z11 } from "zod";
var EARLIEST = Date.UTC(1900, 0, 1);
var LATEST = Date.UTC(3e3, 0, 1);
var isWritable = (text) => text.length <= 40 && !/[+-](?:1[5-9]|2\d):\d\d$/.test(text);
var moment = z11.iso.datetime({ offset: true, abort: true }).refine((text) => {
  const at = Date.parse(text);
  return at >= EARLIEST && at < LATEST && isWritable(text);
}, {
  error: "is no date between the years 1900 and 3000",
  params: { fix: "send a date such as 2026-11-26T09:30:00Z" },
});

// functions/workflows/schemas.ts
var id = z12.guid();
var moment2 = z12.iso.datetime({ offset: true });
var object = z12.record(z12.string(), z12.unknown());
var status = z12.enum([
  "pending",
  "running",
  "waiting",
  "completed",
  "failed",
  "cancelled",
  "skipped",
]);
var triggerData = object.default({}).meta({
  description:
    "The records it is about, {contact_id?, project_id?, job_id?, ...}, and any other values that templates and conditions read as trigger.*.",
  examples: [{ contact_id: "6f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11" }],
});
var tenantId = id.optional().meta({
  description: "May be left out by a member of one tenant, or where a record tells.",
});
var execute = z12.strictObject({
  workflow_id: id.optional().meta({ description: "Start this workflow, whatever its trigger." }),
  trigger_type: z12.string().min(1).max(63).optional().meta({
    description: "Fire every active workflow that listens to this and matches trigger_data.",
    examples: ["contact_created"],
  }),
  trigger_data: triggerData,
  tenant_id: tenantId,
}).superRefine(({ workflow_id, trigger_type }, context) => {
  if (workflow_id === void 0 !== (trigger_type === void 0)) return;
  context.addIssue({
    code: "custom",
    path: ["workflow_id"],
    message: workflow_id === void 0
      ? "neither workflow_id nor trigger_type is given"
      : "both workflow_id and trigger_type are given",
    params: { fix: "send workflow_id or trigger_type, and not both" },
  });
}).meta({
  id: "Execute",
  oneOf: [{ required: ["workflow_id"] }, { required: ["trigger_type"] }],
});
var test = z12.strictObject({
  workflow_id: id,
  tenant_id: tenantId,
  trigger_data: triggerData,
  options: z12.strictObject({
    version: z12.int().min(1).optional().meta({ description: "A version instead of the draft." }),
    at: moment.optional().meta({ description: "When it begins. Default: now." }),
    events: object.optional().meta({
      description: "What comes for steps that wait for an event, by key; the others time out.",
      examples: [{ reply: { body: "Yes please" } }],
    }),
  }).default({}),
}).meta({ id: "Test" });
var ofExecution = z12.strictObject({ execution_id: id, tenant_id: tenantId }).meta({
  id: "OfExecution",
});
var publish = z12.strictObject({
  workflow_id: id,
  tenant_id: tenantId,
  enroll_existing: z12.strictObject({
    filter: z12.unknown().optional().meta({
      description: "Conditions; all records when left out.",
    }),
    entity: z12.string().min(1).max(63).optional(),
    per_minute: z12.int().min(1).max(1e5).default(600),
  }).optional().meta({ description: "Also enrols records that are there already, throttled." }),
}).meta({ id: "Publish" });
var move = z12.strictObject({
  workflow_id: id,
  tenant_id: tenantId,
  to_version: z12.int().min(1).optional().meta({ description: "Default: the published one." }),
  execution_ids: z12.array(id).min(1).max(1e4).optional().meta({
    description: "Default: all runs in flight, up to 10000.",
  }),
}).meta({ id: "Move" });
var moved = z12.object({
  version: z12.int(),
  moved: z12.int(),
  kept: z12.array(z12.object({ execution_id: id, reason: z12.string() })),
}).meta({ id: "Moved" });
var ofWorkflow = z12.strictObject({ workflow_id: id, tenant_id: tenantId }).meta({
  id: "OfWorkflow",
});
var enroll = z12.strictObject({
  workflow_id: id,
  record_ids: z12.array(z12.union([z12.string().min(1).max(200), z12.int()])).min(1).max(25e3)
    .optional().meta({
      description: "The records' own keys. Up to a hundred are enrolled at once.",
    }),
  filter: z12.union([z12.array(z12.unknown()), object]).optional().meta({
    description:
      "Conditions that the records must meet; [] for every record. With record_ids it narrows the list down.",
    examples: [[{ field: "contact.postal_code", operator: "equals", value: "78701" }]],
  }),
  entity: z12.string().min(1).max(63).optional().meta({
    description: "Whose records they are: without it the workflow's own, or contacts.",
  }),
  per_minute: z12.int().min(1).max(1e5).optional().meta({
    description: "The most that are enrolled in a minute.",
  }),
  data: object.default({}).meta({ description: "Goes into the trigger_data of each." }),
  tenant_id: tenantId,
}).superRefine(({ record_ids, filter }, context) => {
  if (record_ids !== void 0 || filter !== void 0) return;
  context.addIssue({
    code: "custom",
    path: ["record_ids"],
    message: "neither record_ids nor filter is given",
    params: { fix: "send record_ids, or a filter: conditions, [] for every record" },
  });
}).meta({ id: "Enroll", anyOf: [{ required: ["record_ids"] }, { required: ["filter"] }] });
var ofEnrollment = z12.strictObject({ enrollment_id: id, tenant_id: tenantId }).meta({
  id: "OfEnrollment",
});
var historyQuery = z12.strictObject({
  workflow_id: id.optional(),
  contact_id: id.optional(),
  execution_id: id.optional(),
  record_id: z12.string().min(1).max(200).optional(),
  status: status.optional(),
  trigger_type: z12.string().min(1).max(63).optional(),
  since: moment.optional().meta({ description: "Created then or later." }),
  until: moment.optional().meta({ description: "Created before then." }),
  tenant_id: id.optional(),
  limit: z12.coerce.number().int().min(1).max(200).default(50),
  cursor: z12.string().max(500).optional().meta({ description: "next_cursor of the page before." }),
});
var failure = z12.looseObject({ code: z12.string(), message: z12.string() });
var execution = z12.object({
  id,
  tenant_id: id,
  workflow_id: id,
  version: z12.int(),
  status,
  trigger_type: z12.string(),
  entity: z12.string().nullable(),
  record_id: z12.string().nullable(),
  contact_id: id.nullable(),
  current_step: z12.string().nullable(),
  error: failure.nullable(),
  created_at: moment2,
  started_at: moment2.nullable(),
  finished_at: moment2.nullable(),
}).meta({ id: "Execution" });
var executed = z12.object({ execution_ids: z12.array(id), executions: z12.array(execution) }).meta({
  id: "Executed",
});
var oneExecution = z12.object({ execution }).meta({ id: "OneExecution" });
var oneEnrollment = z12.object({
  enrollment: z12.object({
    id,
    tenant_id: id,
    workflow_id: id,
    kind: z12.enum(["manual", "scheduled", "timers"]),
    status: z12.enum(["running", "completed", "cancelled", "failed"]),
    entity: z12.string(),
    total: z12.int().nullable().meta({ description: "How many were listed; null for a filter." }),
    scanned: z12.int(),
    enrolled: z12.int(),
    skipped: z12.int().meta({ description: "Gone, or left out by filter or conditions." }),
    failed: z12.int(),
    per_minute: z12.int().nullable(),
    error: failure.nullable(),
    created_at: moment2,
    finished_at: moment2.nullable(),
  }).meta({ id: "Enrollment" }),
}).meta({ id: "OneEnrollment" });
var finding = z12.object({
  path: z12.string(),
  severity: z12.enum(["error", "warning"]),
  code: z12.string(),
  message: z12.string(),
  hint: z12.string().nullable(),
}).meta({ id: "Finding" });
var published = z12.object({
  workflow_id: id,
  version: z12.int(),
  trigger_type: z12.string(),
  published_at: moment2,
  warnings: z12.array(finding),
}).meta({ id: "Published" });
var validated = z12.object({ valid: z12.boolean(), problems: z12.array(finding) }).meta({
  id: "Validated",
});
var tested = z12.looseObject({
  valid: z12.boolean(),
  problems: z12.array(finding),
  enrolls: z12.boolean().optional(),
  path: z12.array(z12.looseObject({ key: z12.string(), type: z12.string() })).optional(),
  ended: z12.looseObject({ status, at: moment2 }).optional(),
}).meta({ id: "Tested", description: "What would happen, step by step. Nothing did." });
var stepExecution = z12.looseObject({
  id,
  step_key: z12.string(),
  step_type: z12.string(),
  status,
  started_at: moment2,
  finished_at: moment2.nullable(),
}).meta({ id: "StepExecution" });
var history = z12.object({
  executions: z12.array(
    execution.extend({
      workflow_name: z12.string(),
      trigger_data: object,
      next_run_at: moment2.nullable(),
      steps: z12.array(stepExecution),
    }).meta({ id: "PastExecution" }),
  ),
  next_cursor: z12.string().nullable(),
}).meta({ id: "History" });
var health = z12.object({ status: z12.literal("ok") }).meta({ id: "Health" });
var problem2 = z12.object({
  type: z12.string(),
  title: z12.string(),
  status: z12.int(),
  code: z12.string().meta({ description: "For programs." }),
  detail: z12.string(),
  instance: z12.string().meta({ description: "The request, as the log names it." }),
  errors: z12.array(z12.object({ field: z12.string(), message: z12.string(), fix: z12.string() }))
    .optional(),
}).meta({ id: "Problem" });
var legacyTrigger = z12.object({
  trigger_type: z12.string().min(1).max(63),
  trigger_data: triggerData,
}).meta({ id: "LegacyTrigger" });
var legacyExecute = z12.object({ workflow_id: id, trigger_data: triggerData }).meta({
  id: "LegacyExecute",
});
var legacyManual = z12.object({
  workflow_id: id,
  manual_data: object.optional(),
  trigger_data: object.optional(),
}).meta({ id: "LegacyManual" });
var legacyTriggered = z12.object({
  success: z12.literal(true),
  execution_ids: z12.array(id),
}).meta({ id: "LegacyTriggered" });
var legacyExecuted = z12.object({
  success: z12.literal(true),
  execution_id: id,
  execution: z12.object({
    id,
    workflow_id: id,
    status,
    started_at: moment2.nullable(),
    completed_at: moment2.nullable(),
    error: z12.string().nullable(),
  }),
}).meta({ id: "LegacyExecuted" });

// functions/workflows/operations.ts
var namesTenant = z13.object({ tenant_id: z13.string().optional() });
function define({ run, ...rest }) {
  return {
    ...rest,
    tenantOf: (input) => namesTenant.parse(input).tenant_id,
    run: async (sql, input, caller) => {
      const answer2 = rest.output.safeParse(await run(sql, input, caller));
      if (answer2.success) return answer2.data;
      throw new ContractError(`${rest.id}: ${z13.prettifyError(answer2.error)}`);
    },
  };
}
var onlyResult = (rows) => rows[0]?.result;
async function trigger(sql, { trigger_type, trigger_data, tenant_id }) {
  const rows = await sql`
    select to_jsonb(e) as result
    from ridgeline.trigger_workflows(
      ${trigger_type}, ${sql.json(trigger_data)}, ${tenant_id ?? null}) as e`;
  return rows.map(({ result }) => result);
}
async function start(sql, workflowId, data) {
  const rows = await sql`
    select to_jsonb(e) as result
    from ridgeline.execute_workflow(${workflowId}, ${sql.json(data)}) as e`;
  return execution.parse(onlyResult(rows));
}
async function execute2(sql, input) {
  const { workflow_id, trigger_type, trigger_data, tenant_id } = input;
  if (workflow_id === void 0) {
    const rows = await trigger(sql, { trigger_type: trigger_type ?? "", trigger_data, tenant_id });
    const executions = z13.array(execution).parse(rows);
    return { execution_ids: executions.map(({ id: id2 }) => id2), executions };
  }
  const execution2 = await start(sql, workflow_id, trigger_data);
  if (tenant_id !== void 0 && execution2.tenant_id !== tenant_id.toLowerCase()) {
    throw new Problem(404, "not_found", `workflow_id: ${workflow_id} was not found`);
  }
  return { execution_ids: [execution2.id], executions: [execution2] };
}
async function enroll2(sql, input) {
  const { workflow_id, record_ids, filter, entity, per_minute, data, tenant_id } = input;
  const listed = record_ids === void 0
    ? sql`null`
    : sql`array(select jsonb_array_elements_text(${sql.json(record_ids)}))`;
  const rows = await sql`
    select to_jsonb(b) as result
    from ridgeline.enroll_records(
      ${workflow_id}, ${listed},
      ${filter === void 0 ? null : sql.json(filter)}, ${entity ?? null},
      ${per_minute ?? null}, ${sql.json(data)}) as b`;
  const answer2 = oneEnrollment.parse({ enrollment: onlyResult(rows) });
  if (tenant_id !== void 0 && answer2.enrollment.tenant_id !== tenant_id.toLowerCase()) {
    throw new Problem(404, "not_found", `workflow_id: ${workflow_id} was not found`);
  }
  return answer2;
}
async function readEnrollment(sql, id2, { tenantId: tenantId3 }) {
  const rows = await sql`
    select to_jsonb(b) as result
    from automation.visible_tenants() as t (id)
    join ridgeline.bulk_enrollments as b on b.tenant_id = t.id and b.id = ${id2}
    where ${tenantId3 ? sql`t.id = ${tenantId3}` : sql`true`}`;
  if (rows.length === 1) return { enrollment: onlyResult(rows) };
  throw new Problem(404, "not_found", `enrollment_id: ${id2} was not found`, {
    errors: [{
      field: "enrollment_id",
      message: `${id2} was not found`,
      fix: "it does not exist, or it belongs to a tenant you are not a member of",
    }],
  });
}
async function legacyExecute2(sql, workflowId, data) {
  const execution2 = await start(sql, workflowId, data);
  return {
    success: true,
    execution_id: execution2.id,
    execution: {
      id: execution2.id,
      workflow_id: execution2.workflow_id,
      status: execution2.status,
      started_at: execution2.started_at ?? execution2.created_at,
      completed_at: execution2.finished_at,
      error: execution2.error?.message ?? null,
    },
  };
}
function requireTenant(caller, input) {
  if (caller.kind === "user" || caller.tenantId || input.execution_id) return;
  throw new Problem(422, "invalid_request", "tenant_id: which tenant is meant?", {
    errors: [{
      field: "tenant_id",
      message: "which tenant is meant?",
      fix: "a secret key sees every tenant: name one, or an execution_id",
    }],
  });
}
var operations = [
  define({
    method: "POST",
    path: "/execute",
    id: "execute",
    summary: "Start one workflow, or every workflow that listens to a trigger.",
    input: execute,
    output: executed,
    kind: "act",
    run: execute2,
  }),
  define({
    method: "POST",
    path: "/test",
    id: "test",
    summary: "A dry run of the workflow as it is now, or of a version. Nothing is changed or sent.",
    input: test,
    output: tested,
    kind: "look",
    run: async (sql, { workflow_id, trigger_data, options }) =>
      onlyResult(
        await sql`
          select ridgeline.test_workflow(
            ${workflow_id}, ${sql.json(trigger_data)},
            ${sql.json(options)}) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/cancel",
    id: "cancel",
    summary: "Stop an execution. One that has ended is answered as it is.",
    input: ofExecution,
    output: oneExecution,
    kind: "act",
    run: async (sql, { execution_id }) => ({
      execution: onlyResult(
        await sql`
          select to_jsonb(e) as result from ridgeline.cancel_execution(${execution_id}) as e`,
      ),
    }),
  }),
  define({
    method: "POST",
    path: "/retry",
    id: "retry",
    summary: "Run a failed execution again, from the step that failed.",
    input: ofExecution,
    output: oneExecution,
    kind: "act",
    run: async (sql, { execution_id }) => ({
      execution: onlyResult(
        await sql`
          select to_jsonb(e) as result from ridgeline.retry_execution(${execution_id}) as e`,
      ),
    }),
  }),
  define({
    method: "POST",
    path: "/enroll",
    id: "enroll",
    summary: "Enrol many records into an active workflow: a list, a filter, or both.",
    input: enroll,
    output: oneEnrollment,
    kind: "act",
    run: enroll2,
  }),
  define({
    method: "GET",
    path: "/enroll",
    id: "enrollment",
    summary: "How far an enrolment of many records has come.",
    input: ofEnrollment,
    output: oneEnrollment,
    kind: "look",
    run: (sql, { enrollment_id }, caller) => readEnrollment(sql, enrollment_id, caller),
  }),
  define({
    method: "POST",
    path: "/enroll/cancel",
    id: "cancelEnrollment",
    summary: "Stop an enrolment where it stands. What it has started goes on.",
    input: ofEnrollment,
    output: oneEnrollment,
    kind: "act",
    run: async (sql, { enrollment_id }) => ({
      enrollment: onlyResult(
        await sql`
          select to_jsonb(b) as result from ridgeline.cancel_bulk_enrollment(${enrollment_id}) as b`,
      ),
    }),
  }),
  define({
    method: "POST",
    path: "/publish",
    id: "publish",
    summary: "Make the workflow as it is now its new version, and activate it.",
    input: publish,
    output: published,
    kind: "act",
    run: async (sql, { workflow_id, enroll_existing }) =>
      onlyResult(
        await sql`
          select to_jsonb(v) as result
          from ridgeline.publish_workflow(
            ${workflow_id}, ${enroll_existing ? sql.json(enroll_existing) : null}) as v`,
      ),
  }),
  define({
    method: "POST",
    path: "/move",
    id: "move",
    summary: "Move runs in flight to another version, where their next step is there too.",
    input: move,
    output: moved,
    kind: "act",
    run: async (sql, { workflow_id, to_version = null, execution_ids = null }) =>
      onlyResult(
        await sql`
          select ridgeline.move_executions(
            ${workflow_id}, ${to_version}, ${execution_ids}::uuid[]) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/validate",
    id: "validate",
    summary: "Everything that is wrong with the workflow as it is now.",
    input: ofWorkflow,
    output: validated,
    kind: "look",
    run: async (sql, { workflow_id }) =>
      onlyResult(
        await sql`
          select ridgeline.validate_workflow(${workflow_id}) as result`,
      ),
  }),
  define({
    method: "GET",
    path: "/history",
    id: "history",
    summary: "Executions with their steps, newest first.",
    input: historyQuery,
    output: history,
    kind: "look",
    run: async (sql, query, caller) => {
      requireTenant(caller, query);
      return await readHistory(sql, { ...query, tenant_id: caller.tenantId });
    },
  }),
  define({
    method: "POST",
    path: "/api/workflows/trigger",
    id: "legacyTrigger",
    summary: "Of the old server engine. Use /execute.",
    legacy: true,
    input: legacyTrigger,
    output: legacyTriggered,
    kind: "act",
    run: async (sql, input) => ({
      success: true,
      execution_ids: z13.array(execution).parse(await trigger(sql, input)).map(({ id: id2 }) =>
        id2
      ),
    }),
  }),
  define({
    method: "POST",
    path: "/api/automations/execute",
    id: "legacyExecute",
    summary: "Of the old client engine. Use /execute.",
    legacy: true,
    input: legacyExecute,
    output: legacyExecuted,
    kind: "act",
    run: (sql, { workflow_id, trigger_data }) => legacyExecute2(sql, workflow_id, trigger_data),
  }),
  define({
    method: "PUT",
    path: "/api/automations/execute",
    id: "legacyManual",
    summary: "Of the old client engine: a manual trigger. Use /execute.",
    legacy: true,
    input: legacyManual,
    output: legacyExecuted,
    kind: "act",
    run: (sql, { workflow_id, manual_data, trigger_data }) =>
      legacyExecute2(sql, workflow_id, manual_data ?? trigger_data ?? {}),
  }),
];

// functions/workflows/handler.ts
var MAX_BODY_BYTES2 = 1048576;
var CORS = {
  "access-control-allow-origin": "*",
  "access-control-expose-headers": "idempotency-replayed, retry-after, x-request-id",
};
var PREFLIGHT = {
  "access-control-allow-methods": "GET, POST, PUT",
  "access-control-allow-headers":
    "authorization, apikey, content-type, idempotency-key, x-client-info, x-tenant-id",
  "access-control-max-age": "3600",
};
var health2 = { method: "GET", path: "/health" };
var openapi = { method: "GET", path: "/openapi.json" };
var document = JSON.stringify(openApiDocument({
  title: "Ridgeline workflows",
  version: "1",
  description:
    "Starts, stops and explains the workflows of a tenant, with the caller's own rights.",
  server: "/functions/v1/workflows",
  operations,
  problem: problem2,
  health,
}));
function pathOf(request2) {
  const { pathname } = new URL(request2.url);
  const path = pathname.replace(/^(\/functions\/v1)?\/workflows(?=\/|$)/, "");
  return path.replace(/\/+$/, "") || "/";
}
function route(request2, path, all) {
  const here = all.filter((one2) => one2.path === path);
  const found = here.find(({ method }) => method === request2.method);
  if (found) return found;
  if (here.length === 0) throw new Problem(404, "unknown_path", "there is nothing at this path");
  const allow = here.map(({ method }) => method).join(", ");
  throw new Problem(405, "method_not_allowed", `use ${allow}`, { headers: { allow } });
}
var NOT_STORABLE = /\\u0000|\\ud[89a-f]/i;
async function readBody3(request2, operation) {
  if (!operation.legacy && mediaType(request2) !== "application/json") {
    throw new Problem(415, "unsupported_media_type", "send application/json");
  }
  const text = decodeText(await readBody2(request2, MAX_BODY_BYTES2));
  let body2;
  try {
    body2 = parseBody(text);
  } catch (error) {
    if (error instanceof NumberTooLargeError) {
      throw new Problem(422, "invalid_request", error.message);
    }
    throw new Problem(400, "invalid_json", "the body is not JSON");
  }
  if (NOT_STORABLE.test(text) && NOT_STORABLE.test(stringifyJson(body2).replaceAll("\\\\", ""))) {
    throw new Problem(
      422,
      "invalid_request",
      "the body holds U+0000 or half a surrogate, which Postgres stores in no text",
    );
  }
  return body2;
}
function readable(raw) {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return raw;
  const keys = (value) => value instanceof LosslessNumber ? value.value : value;
  return Object.fromEntries(
    Object.entries(raw).map(([name, value]) => [
      name,
      name === "record_ids" && Array.isArray(value) ? value.map(keys) : plainNumber(value),
    ]),
  );
}
function checked(schema, raw) {
  const parsed = schema.safeParse(readable(raw));
  if (parsed.success) return parsed.data;
  throw invalidRequest(parsed.error);
}
function idempotencyKey(request2) {
  const header = request2.headers.get("idempotency-key");
  if (header === null) return void 0;
  const key = /^"(.*)"$/.exec(header.trim())?.[1] ?? header.trim();
  if (/^[\x21-\x7e]{1,255}$/.test(key)) return key;
  throw new Problem(422, "invalid_request", "Idempotency-Key: 1 to 255 printable characters", {
    errors: [{
      field: "Idempotency-Key",
      message: "is empty, too long or not printable ASCII",
      fix: "send a UUID",
    }],
  });
}
var tenantId2 = z14.guid();
function namedTenant(request2, named) {
  const header = request2.headers.get("x-tenant-id")?.trim() || void 0;
  const given = named ?? header;
  if (given === void 0) return {};
  const parsed = tenantId2.safeParse(given);
  if (parsed.success && (header === void 0 || header.toLowerCase() === parsed.data.toLowerCase())) {
    return { tenantId: parsed.data.toLowerCase() };
  }
  throw new Problem(422, "invalid_request", "x-tenant-id: is not the id of the tenant meant", {
    errors: [{
      field: "x-tenant-id",
      message: "is not the id of the tenant meant",
      fix: "send the tenant's id, here or as tenant_id, and the same in both",
    }],
  });
}
async function isHealthy(database) {
  try {
    await withTimeout("health", 3e3, async (signal) => {
      const query = database`select 1`;
      signal.addEventListener("abort", () => query.cancel(), { once: true });
      await query;
    });
  } catch {
    throw new Problem(503, "unavailable", "the database does not answer");
  }
  return Response.json({ status: "ok" });
}
function createHandler2(dependencies) {
  const { database, log } = dependencies;
  async function perform(operation, request2) {
    const identified = await identify(request2, dependencies);
    const { searchParams } = new URL(request2.url);
    const raw = operation.method === "GET"
      ? Object.fromEntries(searchParams)
      : await readBody3(request2, operation);
    const input = checked(operation.input, raw);
    const caller = { ...identified, ...namedTenant(request2, operation.tenantOf(input)) };
    const run = async (sql) => ({
      status: 200,
      body: await operation.run(sql, input, caller),
    });
    if (operation.kind === "look") {
      const { status: status3, body: body3 } = await look(database(), caller, run);
      return jsonResponse(body3, { status: status3 });
    }
    const key = idempotencyKey(request2);
    const fingerprint = { method: operation.method, path: operation.path, body: raw };
    const { status: status2, body: body2, replayed } = await act(
      database(),
      caller,
      key === void 0 ? void 0 : { key, fingerprint, input: raw },
      run,
    );
    const headers = replayed ? { "idempotency-replayed": "true" } : void 0;
    return jsonResponse(body2, { status: status2, ...headers ? { headers } : {} });
  }
  async function answer2(request2, path) {
    if (request2.method === "OPTIONS") {
      return new Response(null, { status: 204, headers: PREFLIGHT });
    }
    const found = route(request2, path, [...operations, health2, openapi]);
    if (found === health2) return await isHealthy(database());
    if (found === openapi) {
      return new Response(document, { headers: { "content-type": "application/json" } });
    }
    return await perform(found, request2);
  }
  function refuse(error, path, id2) {
    const problem3 = problemOf(error, log, id2);
    const legacy = path.startsWith("/api/") ? { error: problem3.message } : {};
    const body2 = { ...problemDocument(problem3, `urn:uuid:${id2}`), ...legacy };
    return new Response(JSON.stringify(body2), {
      status: problem3.status,
      headers: { "content-type": "application/problem+json", ...problem3.headers },
    });
  }
  return async (request2) => {
    const id2 = crypto.randomUUID();
    const started = performance.now();
    const path = pathOf(request2);
    const response = await answer2(request2, path).catch((error) => refuse(error, path, id2));
    for (const [name, value] of Object.entries(CORS)) response.headers.set(name, value);
    response.headers.set("cache-control", "no-store");
    response.headers.set("x-request-id", id2);
    if (path !== "/health") {
      log("info", "workflows_request", {
        request: id2,
        method: request2.method,
        path: path.slice(0, 100),
        status: response.status,
        ms: Math.round(performance.now() - started),
      });
    }
    return response;
  };
}
export {
  connect,
  createDispatcher,
  createHandler as createDispatch,
  createHandler2 as createWorkflows,
  createQueue,
};

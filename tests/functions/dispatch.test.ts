// The whole hand to the outside: real Postgres, the providers' clients, stand-ins for their APIs.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { connect, type Database } from "../../functions/_shared/runtime/database.ts";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { createSender as createResendSender } from "../../functions/_shared/channels/email/resend/send.ts";
import type { Senders } from "../../functions/_shared/channels/sender.ts";
import { createSender as createTwilioSender } from "../../functions/_shared/channels/sms/twilio/send.ts";
import { createWebhookSender } from "../../functions/_shared/channels/webhook/send.ts";
import { createQueue, type Queue } from "../../functions/_shared/engine/queue.ts";
import { type ResendStandIn, startResend } from "../../scripts/standins/resend.ts";
import type { StandIn } from "../../scripts/standins/standin.ts";
import { startTwilio, type TwilioStandIn } from "../../scripts/standins/twilio.ts";
import { startWebhookReceiver } from "../../scripts/standins/webhook.ts";
import { useDatabase } from "../support/database.ts";
import { recordingLog } from "./fakes.ts";

const BUDGET = { budgetMs: 60_000 };
/** The stand-ins share two cores with everybody else's tests: nothing but a provider that hangs takes as long. */
const PATIENT_MS = 20_000;
const database = useDatabase();
let twilio: TwilioStandIn;
let resend: ResendStandIn;
let receiver: StandIn;
let sql: Database;
let queue: Queue;
let tenant: string;

const senders = (timeoutMs = PATIENT_MS): Senders => ({
  sms: createTwilioSender({
    timeoutMs,
    settings: () => ({
      accountSid: "AC1",
      authToken: "t",
      baseUrl: twilio.url,
      from: "+15550009999",
    }),
  }),
  email: createResendSender({
    timeoutMs,
    settings: () => ({ apiKey: "re_1", baseUrl: resend.url, from: "office@example.com" }),
  }),
  webhook: createWebhookSender({
    timeoutMs,
    settings: () => ({
      allowPrivate: true,
      secret: () => "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    }),
  }),
});

function dispatcher(changes: Partial<Queue> = {}, timeoutMs?: number) {
  const { log } = recordingLog();
  return createDispatcher({
    queue: { ...queue, ...changes },
    senders: senders(timeoutMs),
    log,
    worker: "test",
  });
}

beforeAll(async () => {
  [twilio, resend, receiver] = await Promise.all([
    startTwilio({ port: 0 }),
    startResend({ port: 0 }),
    startWebhookReceiver({ port: 0 }),
  ]);
  sql = connect(database().url);
  queue = createQueue(sql);
});
beforeEach(async () => {
  [twilio, resend, receiver].forEach((standIn) => standIn.reset());
  const [row] = await sql`insert into public.tenants (name) values ('Acme Roofing') returning id`;
  tenant = row?.id;
  await sql`select automation.reset_clock()`;
  await sql`delete from ridgeline.scheduled_steps`;
});
afterAll(async () => {
  await sql.end({ timeout: 1 });
  await Promise.all([twilio, resend, receiver].map((standIn) => standIn.stop()));
});

type Step = readonly [type: string, config: object];
const TEXT: Step = ["send_sms", { body: "Hi {{contact.first_name}}" }];

async function workflow(steps: readonly Step[]): Promise<void> {
  const [row] = await sql`
    insert into ridgeline.workflows (tenant_id, name, trigger_type)
    values (${tenant}, 'New lead', 'contact_created') returning id`;
  for (const [index, [type, config]] of steps.entries()) {
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
      values (${tenant}, ${row?.id}, ${index + 1}, ${type}, ${sql.json({ ...config })})`;
  }
  await sql`
    update ridgeline.workflows set is_active = true where tenant_id = ${tenant} and id = ${row?.id}`;
}

async function leads(count: number): Promise<void> {
  await sql`
    insert into public.contacts (tenant_id, type, first_name, email, phone)
    select ${tenant}, 'lead', 'Jo' || n, 'jo' || n || '@example.com', '+1555' || 2000000 + n
    from generate_series(1, ${count}::int) as n`;
}

async function executions(): Promise<Record<string, number>> {
  const rows = await sql`
    select status, count(*)::int as count from ridgeline.workflow_executions
    where tenant_id = ${tenant} group by status`;
  return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
}

async function leased(): Promise<number> {
  const [row] = await sql`
    select count(*)::int as count from ridgeline.scheduled_steps where lease_expires_at is not null`;
  return row?.count;
}

/** Past every backoff, so that what waits for another attempt is due. */
const later = () => sql`select automation.advance_clock('2 hours')`;

const bodies = () => twilio.messages().map(({ body }) => body).sort();

test("dispatchers that are reached at different addresses repeat an email word for word", async () => {
  await sql`update public.tenants set address = '1 Main St, Austin TX' where id = ${tenant}`;
  await workflow([["send_email", { subject: "Offer", html: "<p>Hi</p>", purpose: "marketing" }]]);
  const at = (address: string) => {
    const there = createQueue(sql, 20_000, 5_000, () => `https://${address}.example/functions/v1`);
    return dispatcher(there).dispatch(BUDGET);
  };
  resend.fault({ kind: "status_after_accept", status: 500 });
  await leads(1);
  expect(await at("one")).toMatchObject({ claimed: 1, ambiguous: 1 });
  await later();
  expect(await at("two")).toMatchObject({ claimed: 1, succeeded: 1, failed: 0 });
  expect(resend.emails()).toHaveLength(1);
  expect(JSON.stringify(resend.emails()[0]!.headers)).toContain("<https://one.example/");
  await leads(1);
  expect(await at("two")).toMatchObject({ claimed: 1, succeeded: 1 });
  expect(JSON.stringify(resend.emails()[1]!.headers)).toContain("<https://two.example/");
});

test("a type of step that nobody here has heard of goes out by the channel that it names", async () => {
  await sql.unsafe(`
    create function automation.address_send_note(
      execution ridgeline.workflow_executions, prepared automation.prepared_step, options jsonb,
      known automation.known_records) returns automation.prepared_step language plpgsql stable
      as $$ begin return automation.address_sms(execution, prepared, options, known); end; $$;
    select automation.register_step('send_note', 'sms', null, 'Sends a note.', '{"required": ["body"],
      "properties": {"body": {"type": "string", "format": "template", "description": "The note."}}, "examples": [{"body": "Hi"}]}')`);
  await workflow([["send_note", { body: "Note for {{contact.first_name}}" }]]);
  await leads(2);
  expect(await dispatcher().dispatch(BUDGET)).toMatchObject({ claimed: 2, succeeded: 2 });
  expect(bodies()).toEqual(["Note for Jo1", "Note for Jo2"]);
});

test("new leads become texts, emails, webhooks and tasks, each once", async () => {
  await workflow([
    TEXT,
    ["create_task", { title: "Call {{contact.first_name}}" }],
    ["send_email", { subject: "Welcome", html: "<p>Hi {{contact.first_name}}</p>" }],
    ["webhook", { url: `${receiver.url}/lead`, body: { name: "{{contact.first_name}}" } }],
  ]);
  await leads(30);
  const summary = await dispatcher().dispatch(BUDGET);
  expect(summary).toMatchObject({
    claimed: 90,
    succeeded: 90,
    failed: 0,
    retried: 0,
    ambiguous: 0,
    late: 0,
    stopped: "idle",
  });
  expect(await executions()).toEqual({ completed: 30 });
  expect(new Set(bodies()).size).toBe(30);
  expect(twilio.messages()).toHaveLength(30);
  expect(resend.emails()).toHaveLength(30);
  expect(receiver.requests()).toHaveLength(30);
  const [tasks] = await sql`
    select count(*)::int as count from public.tasks where tenant_id = ${tenant}`;
  expect(tasks?.count).toBe(30);
  const recorded = await sql`
    select provider_id from ridgeline.workflow_step_executions
    where tenant_id = ${tenant} and step_type = 'send_sms'`;
  expect(recorded.map(({ provider_id }) => provider_id).sort())
    .toEqual(twilio.messages().map(({ sid }) => sid).sort());
  expect(await leased()).toBe(0);
});

describe("a provider in trouble", () => {
  test.each(
    [
      "timeout_after_accept",
      "timeout_before_accept",
      "status_after_accept",
      "status",
      "garbage",
      "reset_after_accept",
    ] as const,
  )("%s: every text arrives once", async (kind) => {
    await workflow([TEXT]);
    twilio.fault({ kind, times: 5 });
    await leads(12);
    const impatient = dispatcher({}, kind.startsWith("timeout") ? 3_000 : PATIENT_MS);
    expect(await impatient.dispatch(BUDGET)).toMatchObject({ succeeded: 7, ambiguous: 5 });
    expect(await leased()).toBe(0);
    await later();
    expect(await dispatcher().dispatch(BUDGET)).toMatchObject({ succeeded: 5 });
    expect(await executions()).toEqual({ completed: 12 });
    expect(bodies()).toEqual([...new Set(bodies())]);
    expect(twilio.messages()).toHaveLength(12);
    const [row] = await sql`
      select count(*)::int as count from ridgeline.workflow_step_executions
      where tenant_id = ${tenant} and (result_data ->> 'reconciled')::boolean`;
    expect(row?.count).toBe(kind === "status" || kind === "timeout_before_accept" ? 0 : 5);
  });

  test("429 waits as long as Twilio asks", async () => {
    await workflow([TEXT]);
    twilio.fault({ kind: "status", status: 429, headers: { "retry-after": "900" } });
    await leads(1);
    expect(await dispatcher().dispatch(BUDGET)).toMatchObject({ retried: 1 });
    const [row] = await sql`
      select extract(epoch from run_at - automation.now())::int as seconds
      from ridgeline.scheduled_steps where tenant_id = ${tenant}`;
    expect(row?.seconds).toBeGreaterThan(890);
  });

  test("an opt-out at Twilio suppresses the number", async () => {
    await workflow([TEXT]);
    twilio.fault({ kind: "status", status: 400, code: 21610 });
    await leads(1);
    expect(await dispatcher().dispatch(BUDGET)).toMatchObject({ failed: 1 });
    const [row] = await sql`
      select count(*)::int as count from ridgeline.suppressions where tenant_id = ${tenant}`;
    expect(row?.count).toBe(1);
  });

  test("an error text that Postgres cannot store does not lose the result", async () => {
    await workflow([TEXT]);
    await leads(1);
    const send = () =>
      Promise.resolve(
        { outcome: "failed", error: { code: "x", message: "bad \u0000 \ud800 text" } } as const,
      );
    const sender = { timeoutMs: 2_000, send };
    const all = { sms: sender, email: sender, webhook: sender };
    const { log } = recordingLog();
    const run = createDispatcher({ queue, senders: all, log, worker: "test" });
    expect(await run.dispatch(BUDGET)).toMatchObject({ failed: 1, unrecorded: 0 });
  });
});

test("two dispatchers at once send nothing twice", async () => {
  await workflow([TEXT]);
  await leads(200);
  // Nobody gives up a send, however slow the machine is; what one finds in the other's hands comes a second later.
  const both = [dispatcher(), dispatcher()];
  let succeeded = 0;
  while (Object.keys(await executions()).join() !== "completed") {
    const summaries = await Promise.all(both.map((one) => one.dispatch(BUDGET)));
    for (const summary of summaries) {
      expect(summary).toMatchObject({
        ambiguous: 0,
        retried: 0,
        failed: 0,
        late: 0,
        unrecorded: 0,
      });
      succeeded += summary.succeeded;
    }
  }
  expect(succeeded).toBe(200);
  expect(twilio.messages()).toHaveLength(200);
  expect(await executions()).toEqual({ completed: 200 });
});

test("a dispatcher that dies before it records is reconciled by the next", async () => {
  await workflow([TEXT]);
  await leads(5);
  const dead = dispatcher({
    exchange: (worker, results, ...rest) =>
      results.length > 0
        ? Promise.reject(Object.assign(new Error("killed"), { code: "42501" }))
        : queue.exchange(worker, results, ...rest),
  });
  expect(await dead.dispatch(BUDGET)).toMatchObject({ unrecorded: 5 });
  expect(twilio.messages()).toHaveLength(5);
  await sql`
    update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'
    where tenant_id = ${tenant}`;
  await queue.reapExpiredLeases(100);
  await later();
  expect(await dispatcher().dispatch(BUDGET)).toMatchObject({ succeeded: 5 });
  expect(twilio.messages()).toHaveLength(5);
  expect(await executions()).toEqual({ completed: 5 });
});

const claim = async (worker: string, most: number) =>
  (await queue.exchange(worker, [], { sms: { most, but: [] } }, 60)).claimed;

test("a late result is refused", async () => {
  await workflow([TEXT]);
  await leads(1);
  const [step] = await claim("slow", 1);
  if (!step) throw new Error("nothing was claimed");
  await sql`
    update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'
    where tenant_id = ${tenant}`;
  await queue.reapExpiredLeases(100);
  const { tenant_id, step_id, attempt_token } = step;
  const result = { provider_id: "SMlate" };
  const { finished } = await queue.exchange(
    "slow",
    [{ tenant_id, step_id, attempt_token, outcome: "succeeded", result }],
    {},
    60,
  );
  expect(finished).toMatchObject([{ accepted: false }]);
});

test("what is released was never tried", async () => {
  await workflow([TEXT]);
  await leads(3);
  const steps = await claim("w", 10);
  expect(await queue.release(steps)).toBe(3);
  const [again] = await claim("w", 1);
  expect(again).toMatchObject({ attempt: 1, reconcile_since: null, known_provider_ids: [] });
  await queue.release(again ? [again] : []);
});

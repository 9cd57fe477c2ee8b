// What the fault tests share: a stack with short patience, a workflow with every kind of step,
// and the account of what came of it, drawn up from the database and from the stand-ins.
import type { Sql } from "postgres";
import { expect } from "vitest";
import { EdgeFunction } from "../../scripts/lib/functions.ts";
import type { ResendStandIn } from "../../scripts/standins/resend.ts";
import type { TwilioStandIn } from "../../scripts/standins/twilio.ts";
import { startTestStack, type TestStack } from "../support/stack.ts";
import { type StandIn, startWebhookReceiver, waitFor } from "../support/standins.ts";

/** scripts/test --soak runs the same tests at their larger size. */
export const soak = process.env.RIDGELINE_SOAK === "1";
export const size = (modest: number, large: number) => soak ? large : modest;

export const leaseSeconds = 5;
const environment = {
  DISPATCH_LEASE_SECONDS: String(leaseSeconds),
  DISPATCH_PROVIDER_TIMEOUT_MS: "800",
  // The link by which an email is unsubscribed from is a part of it: repeated by another process it is the same.
  PUBLIC_URL: "https://office.example",
};

/** Retries that take milliseconds, and never run out unless a test says so. */
const settings = {
  retry_base: "100 milliseconds",
  retry_cap: "1 second",
  reconcile_delay: "400 milliseconds",
  max_attempts: "100",
};

export interface FaultStack extends TestStack {
  twilio: TwilioStandIn;
  resend: ResendStandIn;
  receiver: StandIn;
  tenants: string[];
}

export async function startFaultStack(
  { tenants = 2, ...options }: Parameters<typeof startTestStack>[0] & { tenants?: number } = {},
): Promise<FaultStack> {
  const receiver = await startWebhookReceiver();
  let running: TestStack;
  try {
    running = await startTestStack({
      ...options,
      environment: { ...environment, ...options.environment },
    });
  } catch (error) {
    await receiver.stop();
    throw error;
  }
  const stop = async () => {
    await running.stop();
    await receiver.stop();
  };
  const { twilio, resend } = running.stack;
  try {
    if (!twilio || !resend) throw new Error("Unset TWILIO_BASE_URL and RESEND_BASE_URL");
    for (const [name, value] of Object.entries(settings)) await set(running.sql, name, value);
    const ids = await Promise.all(
      Array.from({ length: tenants }, () => addTenant(running.sql, receiver.url)),
    );
    return { ...running, twilio, resend, receiver, tenants: ids, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

export async function set(sql: Sql, name: string, value: string): Promise<void> {
  const changed = await sql`
    update automation.settings set value = ${value} where name = ${name} returning name`;
  if (changed.length === 0) throw new Error(`There is no setting ${name}`);
}

export interface Step {
  step_type: string;
  step_config: Record<string, unknown>;
  delay_minutes?: number;
}

const lead = "{{trigger.contact.first_name}}";
const sends = (receiverUrl: string): Step[] => [
  { step_type: "send_sms", step_config: { body: `Hi ${lead}` } },
  { step_type: "send_email", step_config: { subject: `Hi ${lead}`, html: `<p>Hi ${lead}</p>` } },
  {
    step_type: "webhook",
    step_config: { url: `${receiverUrl}/${lead}`, body: { lead } },
  },
];
/** Each shows if it is done twice: a second task, a higher score. */
const writes: Step[] = [
  { step_type: "create_task", step_config: { title: `Call ${lead}` } },
  {
    step_type: "update_field",
    step_config: { field: "lead_score", value: "{{contact.lead_score | plus: 1}}" },
  },
  { step_type: "add_tag", step_config: { tag: "greeted" } },
];

/** Sends and writes take turns, so that every commit hands over from one to the other. */
const everyKind = (receiverUrl: string): Step[] =>
  sends(receiverUrl).flatMap((send, index) => [send, ...writes.slice(index, index + 1)]);

async function addTenant(sql: Sql, receiverUrl: string): Promise<string> {
  const [tenant] = await sql<[{ id: string }]>`
    insert into tenants (name) values ('Apex Roofing') returning id`;
  await addWorkflow(sql, tenant.id, everyKind(receiverUrl));
  return tenant.id;
}

export async function addWorkflow(sql: Sql, tenantId: string, steps: Step[]): Promise<string> {
  const [workflow] = await sql<[{ id: string }]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, is_active)
    values (${tenantId}, 'Greet', 'contact_created', '{"type": "lead"}', true) returning id`;
  await sql`
    insert into ridgeline.workflow_steps ${
    sql(steps.map((step, index) => ({
      tenant_id: tenantId,
      workflow_id: workflow.id,
      step_order: index,
      step_type: step.step_type,
      step_config: sql.json(step.step_config as Parameters<Sql["json"]>[0]),
      delay_minutes: step.delay_minutes ?? 0,
    })))
  }`;
  return workflow.id;
}

export interface Lead {
  name: string;
  phone: string;
  email: string;
}

let leads = 0;
/** Leads whose names, and with them the words of every message, occur once in the whole run. */
export const newLeads = (count: number): Lead[] =>
  Array.from({ length: count }, () => {
    const number = String(++leads).padStart(5, "0");
    return {
      name: `lead-${number}`,
      phone: `+15125${number.padStart(6, "0")}`,
      email: `lead-${number}@example.com`,
    };
  });

export async function insertLeads(
  sql: Sql,
  tenantId: string,
  given: number | Lead[],
): Promise<Lead[]> {
  const inserted = typeof given === "number" ? newLeads(given) : given;
  await sql`
    insert into contacts ${
    sql(inserted.map(({ name, phone, email }) => ({
      tenant_id: tenantId,
      first_name: name,
      phone,
      email,
      lead_score: 0,
    })))
  }`;
  return inserted;
}

/** Slow enough that whatever strikes finds sends on their way. */
export function slowDown({ twilio, resend, receiver }: FaultStack, delay_ms: number): void {
  for (const standIn of [twilio, resend, receiver]) {
    standIn.fault({ kind: "delay", delay_ms, times: null });
  }
}

export const inFlight = ({ twilio, resend, receiver }: FaultStack): number =>
  [twilio, resend, receiver].reduce(
    (sum, standIn) =>
      sum + standIn.requests().slice(-60).filter((one) => one.status === null).length,
    0,
  );

/** A second dispatcher: a process of its own beside the stack's. */
export async function startDispatcher(
  { stack }: TestStack,
  more: Record<string, string> = {},
): Promise<EdgeFunction & { dispatch: () => Promise<Record<string, unknown>> }> {
  const edge = new EdgeFunction({
    name: "dispatch",
    environment: {
      ...environment,
      DATABASE_URL: stack.databaseUrl,
      SUPABASE_SECRET_KEYS: JSON.stringify({ default: stack.secretKey }),
      TWILIO_ACCOUNT_SID: "AC00000000000000000000000000000000",
      TWILIO_AUTH_TOKEN: "stand-in",
      TWILIO_FROM: "+15005550006",
      TWILIO_BASE_URL: stack.twilioUrl,
      RESEND_API_KEY: "re_standin",
      RESEND_FROM: "Ridgeline <hello@ridgeline.example>",
      RESEND_BASE_URL: stack.resendUrl,
      WEBHOOK_SIGNING_SECRET: `whsec_${Buffer.alloc(32, 7).toString("base64")}`,
      WEBHOOK_ALLOW_PRIVATE: "true",
      ...more,
    },
    mark: "--ridgeline-second-dispatcher",
    log: () => {},
    onSpawn: () => {},
  });
  await edge.start();
  const dispatch = async () => {
    const answer = await fetch(`${edge.url}/dispatch`, {
      method: "POST",
      headers: { apikey: stack.secretKey, "content-type": "application/json" },
      body: "{}",
    });
    return await answer.json() as Record<string, unknown>;
  };
  return Object.assign(edge, { dispatch });
}

/** Waits, over restarts of the database too, until every execution has ended. */
export async function allEnded(sql: Sql, timeout = 60_000): Promise<void> {
  await waitFor("every execution to end", async () => {
    try {
      const [{ left }] = await sql<[{ left: number }]>`
        select count(*)::int as left from ridgeline.workflow_executions where finished_at is null`;
      return left === 0;
    } catch {
      return false;
    }
  }, { timeout: soak ? 5 * timeout : timeout, interval: 100 });
}

export interface Account {
  executions: number;
  attempts: number;
  /** Steps of which an attempt may have been accepted, and what became of them. */
  ambiguous: number;
  reconciled: number;
  sent_again: number;
  webhook_repeats: number;
  workers: number;
}

type Row = Record<string, unknown>;

/** Everything that must hold whatever happened, for leads that went through `everyKind`. */
export async function settle(running: FaultStack, expected: Lead[]): Promise<Account> {
  const { sql, twilio, resend, receiver } = running;
  await allEnded(sql);
  const names = expected.map(({ name }) => name).sort();
  const executions = await sql<Row[]>`
    select status, count(*)::int, min(error::text) as error from ridgeline.workflow_executions group by status`;
  expect(executions).toEqual([{ status: "completed", count: names.length, error: null }]);
  expect(await sql`select * from ridgeline.scheduled_steps`).toEqual([]);
  await expectOneOfEach(sql, names);

  const texts = twilio.messages();
  expect(texts.map(({ body }) => body).sort()).toEqual(names.map((name) => `Hi ${name}`));
  const emails = resend.emails();
  expect(emails.map(({ subject }) => subject).sort()).toEqual(names.map((name) => `Hi ${name}`));
  const delivered = receiver.requests().filter(({ accepted }) => accepted);
  const byId = new Map(delivered.map((one) => [one.headers["webhook-id"], one.path]));
  expect([...byId.values()].sort()).toEqual(names.map((name) => `/${name}`));

  const recorded = await sql<{ provider_id: string }[]>`
    select provider_id from ridgeline.workflow_step_executions where provider_id is not null`;
  expect(recorded.map(({ provider_id }) => provider_id).sort())
    .toEqual([...texts.map(({ sid }) => sid), ...emails.map(({ id }) => id)].sort());

  const counted = await countAttempts(sql);
  return {
    executions: names.length,
    ...counted,
    webhook_repeats: delivered.length - byId.size,
  };
}

async function expectOneOfEach(sql: Sql, names: string[]): Promise<void> {
  const [ledger] = await sql<Row[]>`
    select count(*)::int as steps, count(distinct (execution_id, step_key))::int as different,
      count(*) filter (where status = 'completed')::int as completed
    from ridgeline.workflow_step_executions`;
  const steps = 6 * names.length;
  expect(ledger).toEqual({ steps, different: steps, completed: steps });
  const tasks = await sql<{ title: string }[]>`select title from tasks`;
  expect(tasks.map(({ title }) => title).sort()).toEqual(names.map((name) => `Call ${name}`));
  const scores = await sql`
    select lead_score, count(*)::int from contacts group by lead_score`;
  expect(scores).toEqual([{ lead_score: 1, count: names.length }]);
  for (const table of ["public.contact_tags", "ridgeline.messages", "ridgeline.emails"]) {
    const [row] = await sql<Row[]>`select count(*)::int from ${sql(table)}`;
    expect({ table, ...row }).toEqual({ table, count: names.length });
  }
}

export async function countAttempts(sql: Sql) {
  const [row] = await sql<
    [Pick<Account, "attempts" | "ambiguous" | "reconciled" | "sent_again" | "workers">]
  >`
    with step as (
      select attempts, coalesce((result_data ->> 'reconciled')::boolean, false) as reconciled,
        attempts @> '[{"outcome": "ambiguous"}]' as ambiguous
      from ridgeline.workflow_step_executions
    ), attempt as (
      select a.value ->> 'worker' as worker from step, jsonb_array_elements(attempts) as a
    )
    select
      (select count(*)::int from attempt) as attempts,
      count(*) filter (where ambiguous)::int as ambiguous,
      count(*) filter (where ambiguous and reconciled)::int as reconciled,
      count(*) filter (where ambiguous and not reconciled)::int as sent_again,
      (select count(distinct worker)::int from attempt) as workers
    from step`;
  return row;
}

export function report(what: string, account: Record<string, number>): void {
  const figures = Object.entries(account).map(([name, value]) =>
    `${value} ${name.replaceAll("_", " ")}`
  );
  console.log(`${what}: ${figures.join(", ")}`);
}

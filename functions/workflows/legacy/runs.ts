// Starting, trying and looking at runs, as the old application's routes did.
import type { JSONValue, TransactionSql } from "postgres";
import { z } from "zod";
import type { Caller } from "../../_shared/http/caller.ts";
import { problemOfDatabase } from "../../_shared/http/problem.ts";
import { codeOf } from "../../_shared/runtime/errors.ts";
import { find, postedOf, type Room } from "./definitions.ts";
import { type Answered, asked, type Envelope, invalid, OldError } from "./envelope.ts";
import * as schemas from "./schemas.ts";

type Json = Record<string, unknown>;

const started = z.object({
  id: z.string(),
  workflow_id: z.string(),
  status: z.string(),
  created_at: z.string(),
  started_at: z.string().nullable(),
  finished_at: z.string().nullable(),
  error: z.looseObject({ code: z.string().optional(), message: z.string().optional() }).nullable(),
});
type Started = z.infer<typeof started>;

/** Neither engine had a word for waiting, and what did not meet its conditions was done. */
export function runStatus(status: string, code?: string): string {
  if (status === "waiting") return "running";
  if (status === "skipped") return code === "conditions_not_met" ? "completed" : "cancelled";
  return status;
}

/** To a step that is held back nothing has happened yet. */
const stepStatus = (status: string) =>
  status === "waiting" ? "pending" : status === "cancelled" ? "skipped" : status;

export async function trigger(sql: TransactionSql, body: unknown): Promise<Answered> {
  const { trigger_type, trigger_data } = asked(schemas.fire, body);
  const none = invalid("No workflows found for this trigger type", { trigger_type });
  let rows: readonly { id: string }[];
  try {
    rows = await sql<{ id: string }[]>`
      select e.id from ridgeline.trigger_workflows(
        ${trigger_type}, ${sql.json(trigger_data as JSONValue)}) as e`;
  } catch (error) {
    const field = problemOfDatabase(error)?.errors[0]?.field;
    if (codeOf(error) === "22023" && field === "trigger_type") throw none;
    throw error;
  }
  if (rows.length === 0) throw none;
  const ids = rows.map(({ id }) => id);
  return {
    data: {
      message: "Workflows triggered successfully",
      execution_ids: ids,
      count: ids.length,
    },
  };
}

const asObject = (value: unknown): Json =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? value as Json : {};

const callerId = (caller: Caller): string | undefined =>
  caller.kind === "user" ? z.string().safeParse(caller.claims.sub).data : undefined;

/** What it called the user: the caller, under whatever the request says of them. */
function withUser(data: Json, caller: Caller): Json {
  const id = callerId(caller);
  const user = { ...(id === undefined ? {} : { id }), ...asObject(data.user) };
  return Object.keys(user).length > 0 ? { ...data, user } : data;
}

/** Unknown, inactive and deleted were one to it. */
const notActive = () =>
  new OldError(404, "NOT_FOUND", "Workflow not found or not active not found", undefined, {
    message: "Workflow not found",
  });

async function start(sql: TransactionSql, workflowId: unknown, data: Json): Promise<Started> {
  const id = schemas.id.safeParse(workflowId);
  if (!id.success) throw notActive();
  try {
    const rows = await sql<{ run: unknown }[]>`
      select to_jsonb(e) as run
      from ridgeline.execute_workflow(${id.data}, ${sql.json(data as JSONValue)}) as e`;
    return started.parse(rows[0]?.run);
  } catch (error) {
    const field = problemOfDatabase(error)?.errors[0]?.field;
    if (field === "workflow_id" && /^PT40[49]$/.test(codeOf(error) ?? "")) throw notActive();
    throw error;
  }
}

function summary(run: Started, envelope: Envelope, message: string): JSONValue {
  const status = runStatus(run.status, run.error?.code);
  if (envelope === "data") return { execution_id: run.id, status, message };
  return {
    execution_id: run.id,
    status,
    started_at: run.started_at ?? run.created_at,
    completed_at: run.finished_at,
    // It used to wait for those that were due at once; here they are carried out after the answer.
    executed_actions: 0,
    error_message: run.error?.message ?? null,
  };
}

const missing = (names: string, plural: boolean) =>
  invalid(`Missing required field${plural ? "s" : ""}: ${names}`);

export async function execute(
  sql: TransactionSql,
  body: unknown,
  caller: Caller,
  envelope: Envelope,
): Promise<Answered> {
  const { workflow_id, trigger_data, context } = asObject(body);
  if (!workflow_id || typeof trigger_data !== "object" || trigger_data === null) {
    throw missing("workflow_id, trigger_data", true);
  }
  const laid = envelope === "bare" ? asObject(context) : {};
  const run = await start(
    sql,
    workflow_id,
    withUser({ ...asObject(trigger_data), ...laid }, caller),
  );
  return { data: summary(run, envelope, "Workflow execution started") };
}

export async function manual(
  sql: TransactionSql,
  body: unknown,
  caller: Caller,
  envelope: Envelope,
): Promise<Answered> {
  const { workflow_id, manual_data } = asObject(body);
  if (!workflow_id) throw missing("workflow_id", false);
  if (envelope === "bare") await checkManual(sql, workflow_id);
  const [now] = await sql<{ now: Date }[]>`select automation.now() as now`;
  const data = {
    ...withUser(asObject(manual_data), caller),
    triggered_manually: true,
    triggered_at: now!.now.toISOString(),
  };
  const run = await start(sql, workflow_id, data);
  const message = "Manual workflow triggered successfully";
  return { data: envelope === "bare" ? { message } : { execution_id: run.id, message } };
}

/** Before February 2026 it started by hand what says so, and told everything else as its own failure. */
async function checkManual(sql: TransactionSql, workflowId: unknown): Promise<void> {
  const id = schemas.id.safeParse(workflowId);
  const [found] = id.success
    ? await sql<{ name: string; trigger_type: string }[]>`
      select name, trigger_type from ridgeline.workflows where id = ${id.data}`
    : [];
  const reason = found === undefined
    ? `Workflow ${String(workflowId).slice(0, 100)} not found`
    : found.trigger_type === "manual"
    ? undefined
    : `Workflow ${found.name} is not configured for manual triggering`;
  if (reason !== undefined) {
    throw new OldError(400, "VALIDATION_ERROR", reason, undefined, { status: 500 });
  }
}

// LOOKING BACK

const pastStep = z.looseObject({
  id: z.string(),
  step_key: z.string(),
  step_type: z.string(),
  status: z.string(),
  started_at: z.string(),
  finished_at: z.string().nullable(),
  result_data: z.unknown(),
  error: z.looseObject({ message: z.string().optional() }).nullable(),
});
const past = started.extend({
  tenant_id: z.string(),
  trigger_data: z.record(z.string(), z.unknown()),
  steps: z.array(pastStep),
});
type Past = z.infer<typeof past>;

/** The old words for statuses that are several here. */
const STATUSES: Readonly<Record<string, readonly string[]>> = {
  running: ["running", "waiting"],
  cancelled: ["cancelled", "skipped"],
};

interface Page {
  runs: Past[];
  page: number;
  limit: number;
  total: number;
}

async function read({ sql, tenantId }: Room, query: unknown, id?: string): Promise<Page> {
  const { status, workflow_id, page, limit } = asked(schemas.runList, query);
  const of = id ?? workflow_id;
  const known = z.array(
    z.enum(["pending", "running", "waiting", "completed", "failed", "cancelled", "skipped"]),
  ).safeParse(status?.flatMap((one) => STATUSES[one] ?? [one]) ?? []);
  if (!known.success) {
    throw invalid("Validation failed", {
      issues: [{
        path: ["status"],
        message: "is none of pending, running, completed, failed, cancelled",
      }],
    });
  }
  const where = sql`
    e.tenant_id = ${tenantId} and e.mode <> 'shadow'
    and ${of === undefined ? sql`true` : sql`e.workflow_id = ${of}`}
    and ${known.data.length === 0 ? sql`true` : sql`e.status::text in ${sql(known.data)}`}`;
  const rows = await sql<{ run: unknown }[]>`
    select to_jsonb(e) || jsonb_build_object('steps', coalesce((
        select jsonb_agg(to_jsonb(s) order by s.started_at, s.id)
        from ridgeline.workflow_step_executions as s
        where s.tenant_id = e.tenant_id and s.execution_id = e.id), '[]')) as run
    from (
      select e.* from ridgeline.workflow_executions as e
      where ${where}
      order by e.id desc
      limit ${limit} offset ${(page - 1) * limit}
    ) as e
    order by e.id desc`;
  const [counted] = await sql<{ total: string }[]>`
    select count(*) as total from ridgeline.workflow_executions as e where ${where}`;
  return {
    runs: rows.map(({ run }) => past.parse(run)),
    page,
    limit,
    total: Number(counted?.total ?? 0),
  };
}

const listing = ({ page, limit, total }: Page, executions: JSONValue): Answered => ({
  data: { executions, total, page, limit, has_more: page * limit < total },
  pagination: { page, limit, total },
});

const base = (run: Past) => ({
  id: run.id,
  workflow_id: run.workflow_id,
  tenant_id: run.tenant_id,
  trigger_data: run.trigger_data as JSONValue,
  status: runStatus(run.status, run.error?.code),
  started_at: run.started_at ?? run.created_at,
  completed_at: run.finished_at,
  error_message: run.status === "skipped" ? null : run.error?.message ?? null,
});

/** The rows as the server's tables had them. */
export async function serverExecutions(room: Room, id: string, query: unknown): Promise<Answered> {
  await find(room, id);
  const page = await read(room, query, id);
  return listing(page, page.runs.map((run) => ({ ...base(run), created_at: run.created_at })));
}

export async function clientExecutions(
  room: Room,
  id: string | undefined,
  query: unknown,
): Promise<Answered> {
  const actions = id === undefined ? {} : await actionIds(room, id);
  const page = await read(room, query, id);
  return listing(
    page,
    page.runs.map((run) => ({
      ...base(run),
      executed_actions: run.steps.map((one) => ({
        id: one.id,
        action_id: actions[one.step_key] ?? one.step_key,
        status: stepStatus(one.status),
        started_at: one.started_at,
        completed_at: one.finished_at,
        error_message: one.error?.message ?? null,
        output: (one.result_data ?? null) as JSONValue,
      })),
    })),
  );
}

async function actionIds(room: Room, id: string): Promise<Record<string, string>> {
  const { workflow, steps } = await find(room, id);
  const own = Object.fromEntries(
    steps.map((one, place) => [one.step_key ?? `step_${place + 1}`, one.id]),
  );
  return { ...own, ...postedOf(workflow, steps)?.step_keys };
}

const tried = z.looseObject({
  valid: z.boolean(),
  problems: z.array(z.looseObject({ severity: z.string(), path: z.string(), message: z.string() })),
  enrolls: z.boolean().optional(),
  path: z.array(z.looseObject({
    key: z.string(),
    type: z.string(),
    at: z.string(),
    verdict: z.string(),
    input: z.unknown(),
    reason: z.looseObject({ message: z.string().optional() }).nullish(),
  })).default([]),
  ended: z.looseObject({ status: z.string(), at: z.string() }).optional(),
});

const VERDICTS: Readonly<Record<string, string>> = {
  run: "completed",
  skip: "skipped",
  fail: "failed",
};

/** "Test" used to carry everything out. This one tells what would happen, and nothing does. */
export async function test(room: Room, id: string, body: unknown): Promise<Answered> {
  const { sql, tenantId } = room;
  const { workflow } = await find(room, id);
  const { trigger_data, context } = asked(schemas.dryRun, body ?? {});
  const rows = await sql<{ result: unknown }[]>`
    select ridgeline.test_workflow(
      ${workflow.id}, ${sql.json({ ...trigger_data, ...context } as JSONValue)}, '{}',
      ${tenantId}) as result`;
  const result = tried.parse(rows[0]?.result);
  const wrong = result.problems.filter(({ severity }) => severity === "error");
  if (!result.valid) {
    throw invalid("The workflow cannot run as it is", {
      issues: wrong.map(({ path, message }) => ({ path: path.split("."), message })),
    });
  }
  const actions = await actionIds(room, id);
  return {
    data: {
      dry_run: true,
      workflow_id: workflow.id,
      conditions_met: result.enrolls ?? true,
      status: runStatus(result.ended?.status ?? "completed"),
      completed_at: result.ended?.at ?? null,
      executed_actions: result.path.map((one, place) => ({
        id: `dry_${place + 1}`,
        action_id: actions[one.key] ?? one.key,
        type: one.type,
        status: VERDICTS[one.verdict] ?? one.verdict,
        started_at: one.at,
        completed_at: one.at,
        error_message: one.reason?.message ?? null,
        output: (one.input ?? null) as JSONValue,
      })),
      warnings: result.problems.map(({ path, message }) => `${path}: ${message}`),
    },
  };
}

export async function stats(room: Room, id: string): Promise<Answered> {
  const { sql, tenantId } = room;
  const { workflow } = await find(room, id);
  const [counted] = await sql<Record<string, string | null>[]>`
    select coalesce(sum(s.entered), 0) as total, coalesce(sum(s.completed), 0) as completed,
      coalesce(sum(s.failed), 0) as failed, coalesce(sum(s.exited) + sum(s.skipped), 0) as cancelled,
      coalesce(sum(s.waiting), 0) as running
    from ridgeline.workflow_statistics as s
    where s.tenant_id = ${tenantId} and s.workflow_id = ${workflow.id} and s.step_key = ''
      and s.mode <> 'shadow'`;
  const [messages] = await sql<Record<string, string>[]>`
    select coalesce(sum(s.sent), 0) as sent, coalesce(sum(s.delivered), 0) as delivered,
      coalesce(sum(s.opened), 0) as opened, coalesce(sum(s.clicked), 0) as clicked,
      coalesce(sum(s.replied), 0) as replied
    from ridgeline.workflow_statistics as s
    where s.tenant_id = ${tenantId} and s.workflow_id = ${workflow.id} and s.step_key <> ''
      and s.mode <> 'shadow'`;
  const [last] = await sql<{ at: Date | null }[]>`
    select max(e.created_at) as at from ridgeline.workflow_executions as e
    where e.tenant_id = ${tenantId} and e.workflow_id = ${workflow.id} and e.mode <> 'shadow'`;
  const number = (name: string) => Number(counted?.[name] ?? 0);
  const ended = number("completed") + number("failed");
  return {
    data: {
      workflow_id: workflow.id,
      total_executions: number("total"),
      successful_executions: number("completed"),
      failed_executions: number("failed"),
      cancelled_executions: number("cancelled"),
      running_executions: number("running"),
      success_rate: ended === 0 ? 0 : Math.round(1000 * number("completed") / ended) / 10,
      last_executed_at: last?.at ? new Date(last.at).toISOString() : null,
      messages: Object.fromEntries(
        Object.entries(messages ?? {}).map(([name, value]) => [name, Number(value)]),
      ),
    },
  };
}

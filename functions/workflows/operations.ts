// Every operation of the API: how it is called, what it does, what it answers.
import type { JSONValue, TransactionSql } from "postgres";
import { z } from "zod";
import type { Caller } from "../_shared/http/caller.ts";
import { ContractError } from "../_shared/runtime/errors.ts";
import { Problem } from "../_shared/http/problem.ts";
import { readHistory } from "./history.ts";
import * as schemas from "./schemas.ts";

export interface Operation {
  method: "GET" | "POST";
  /** Below /functions/v1/workflows. */
  path: string;
  id: string;
  summary: string;
  input: z.ZodType;
  output: z.ZodType;
  /** Looks, in a read-only transaction; or acts, and honours an Idempotency-Key. */
  kind: "look" | "act";
  /** The tenant that the request names. */
  tenantOf: (input: unknown) => string | undefined;
  run: (sql: TransactionSql, input: unknown, caller: Caller) => Promise<JSONValue>;
}

interface Definition<Input extends z.ZodType, Output extends z.ZodType>
  extends Omit<Operation, "input" | "output" | "run" | "tenantOf"> {
  input: Input;
  output: Output;
  run: (sql: TransactionSql, input: z.infer<Input>, caller: Caller) => Promise<unknown>;
}

const namesTenant = z.object({ tenant_id: z.string().optional() });

/** The input has been checked by the handler; the answer is checked here, on its way out. */
function define<Input extends z.ZodType, Output extends z.ZodType>(
  { run, ...rest }: Definition<Input, Output>,
): Operation {
  return {
    ...rest,
    tenantOf: (input) => namesTenant.parse(input).tenant_id,
    run: async (sql, input, caller) => {
      const answer = rest.output.safeParse(await run(sql, input as z.infer<Input>, caller));
      if (answer.success) return answer.data as JSONValue;
      throw new ContractError(`${rest.id}: ${z.prettifyError(answer.error)}`);
    },
  };
}

const onlyResult = (rows: readonly { result: unknown }[]): unknown => rows[0]?.result;

async function trigger(
  sql: TransactionSql,
  { trigger_type, trigger_data, tenant_id }: {
    trigger_type: string;
    trigger_data: Record<string, unknown>;
    tenant_id?: string | undefined;
  },
): Promise<unknown[]> {
  const rows = await sql<{ result: unknown }[]>`
    select to_jsonb(e) as result
    from ridgeline.trigger_workflows(
      ${trigger_type}, ${sql.json(trigger_data as JSONValue)}, ${tenant_id ?? null}) as e`;
  return rows.map(({ result }) => result);
}

async function start(
  sql: TransactionSql,
  workflowId: string,
  data: Record<string, unknown>,
): Promise<z.infer<typeof schemas.execution>> {
  const rows = await sql<{ result: unknown }[]>`
    select to_jsonb(e) as result
    from ridgeline.execute_workflow(${workflowId}, ${sql.json(data as JSONValue)}) as e`;
  return schemas.execution.parse(onlyResult(rows));
}

async function execute(sql: TransactionSql, input: z.infer<typeof schemas.execute>) {
  const { workflow_id, trigger_type, trigger_data, tenant_id } = input;
  if (workflow_id === undefined) {
    const rows = await trigger(sql, { trigger_type: trigger_type ?? "", trigger_data, tenant_id });
    const executions = z.array(schemas.execution).parse(rows);
    return { execution_ids: executions.map(({ id }) => id), executions };
  }
  const execution = await start(sql, workflow_id, trigger_data);
  if (tenant_id !== undefined && execution.tenant_id !== tenant_id.toLowerCase()) {
    // Thrown within the transaction: what was started is undone.
    throw new Problem(404, "not_found", `workflow_id: ${workflow_id} was not found`);
  }
  return { execution_ids: [execution.id], executions: [execution] };
}

async function enroll(sql: TransactionSql, input: z.infer<typeof schemas.enroll>) {
  const { workflow_id, record_ids, filter, entity, per_minute, data, tenant_id } = input;
  // As JSON: the connection does not ask the server about its array types.
  const listed = record_ids === undefined
    ? sql`null`
    : sql`array(select jsonb_array_elements_text(${sql.json(record_ids)}))`;
  const rows = await sql<{ result: unknown }[]>`
    select to_jsonb(b) as result
    from ridgeline.enroll_records(
      ${workflow_id}, ${listed},
      ${filter === undefined ? null : sql.json(filter as JSONValue)}, ${entity ?? null},
      ${per_minute ?? null}, ${sql.json(data as JSONValue)}) as b`;
  const answer = schemas.oneEnrollment.parse({ enrollment: onlyResult(rows) });
  if (tenant_id !== undefined && answer.enrollment.tenant_id !== tenant_id.toLowerCase()) {
    throw new Problem(404, "not_found", `workflow_id: ${workflow_id} was not found`);
  }
  return answer;
}

/** Tenant by tenant: their own keys are probed. */
async function readEnrollment(
  sql: TransactionSql,
  id: string,
  { tenantId }: Caller,
): Promise<unknown> {
  const rows = await sql<{ result: unknown }[]>`
    select to_jsonb(b) as result
    from automation.visible_tenants() as t (id)
    join ridgeline.bulk_enrollments as b on b.tenant_id = t.id and b.id = ${id}
    where ${tenantId ? sql`t.id = ${tenantId}` : sql`true`}`;
  if (rows.length === 1) return { enrollment: onlyResult(rows) };
  throw new Problem(404, "not_found", `enrollment_id: ${id} was not found`, {
    errors: [{
      field: "enrollment_id",
      message: `${id} was not found`,
      fix: "it does not exist, or it belongs to a tenant you are not a member of",
    }],
  });
}

function requireTenant(caller: Caller, input: z.infer<typeof schemas.historyQuery>): void {
  if (caller.kind === "user" || caller.tenantId || input.execution_id) return;
  throw new Problem(422, "invalid_request", "tenant_id: which tenant is meant?", {
    errors: [{
      field: "tenant_id",
      message: "which tenant is meant?",
      fix: "a secret key sees every tenant: name one, or an execution_id",
    }],
  });
}

export const operations: readonly Operation[] = [
  define({
    method: "POST",
    path: "/execute",
    id: "execute",
    summary: "Start one workflow, or every workflow that listens to a trigger.",
    input: schemas.execute,
    output: schemas.executed,
    kind: "act",
    run: execute,
  }),
  define({
    method: "POST",
    path: "/test",
    id: "test",
    summary: "A dry run of the workflow as it is now, or of a version. Nothing is changed or sent.",
    input: schemas.test,
    output: schemas.tested,
    kind: "look",
    run: async (sql, { workflow_id, trigger_data, options }) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.test_workflow(
            ${workflow_id}, ${sql.json(trigger_data as JSONValue)},
            ${sql.json(options as JSONValue)}) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/cancel",
    id: "cancel",
    summary: "Stop an execution. One that has ended is answered as it is.",
    input: schemas.ofExecution,
    output: schemas.oneExecution,
    kind: "act",
    run: async (sql, { execution_id }) => ({
      execution: onlyResult(
        await sql<{ result: unknown }[]>`
          select to_jsonb(e) as result from ridgeline.cancel_execution(${execution_id}) as e`,
      ),
    }),
  }),
  define({
    method: "POST",
    path: "/retry",
    id: "retry",
    summary: "Run a failed execution again, from the step that failed.",
    input: schemas.ofExecution,
    output: schemas.oneExecution,
    kind: "act",
    run: async (sql, { execution_id }) => ({
      execution: onlyResult(
        await sql<{ result: unknown }[]>`
          select to_jsonb(e) as result from ridgeline.retry_execution(${execution_id}) as e`,
      ),
    }),
  }),
  define({
    method: "POST",
    path: "/enroll",
    id: "enroll",
    summary: "Enrol many records into an active workflow: a list, a filter, or both.",
    input: schemas.enroll,
    output: schemas.oneEnrollment,
    kind: "act",
    run: enroll,
  }),
  define({
    method: "GET",
    path: "/enroll",
    id: "enrollment",
    summary: "How far an enrolment of many records has come.",
    input: schemas.ofEnrollment,
    output: schemas.oneEnrollment,
    kind: "look",
    run: (sql, { enrollment_id }, caller) => readEnrollment(sql, enrollment_id, caller),
  }),
  define({
    method: "POST",
    path: "/enroll/cancel",
    id: "cancelEnrollment",
    summary: "Stop an enrolment where it stands. What it has started goes on.",
    input: schemas.ofEnrollment,
    output: schemas.oneEnrollment,
    kind: "act",
    run: async (sql, { enrollment_id }) => ({
      enrollment: onlyResult(
        await sql<{ result: unknown }[]>`
          select to_jsonb(b) as result from ridgeline.cancel_bulk_enrollment(${enrollment_id}) as b`,
      ),
    }),
  }),
  define({
    method: "POST",
    path: "/publish",
    id: "publish",
    summary: "Make the workflow as it is now its new version, and activate it.",
    input: schemas.publish,
    output: schemas.published,
    kind: "act",
    run: async (sql, { workflow_id, enroll_existing }) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select to_jsonb(v) as result
          from ridgeline.publish_workflow(
            ${workflow_id}, ${
          enroll_existing ? sql.json(enroll_existing as JSONValue) : null
        }) as v`,
      ),
  }),
  define({
    method: "POST",
    path: "/mode",
    id: "mode",
    summary: "Switch a workflow between live and shadow. Going live cancels its shadow runs.",
    input: schemas.setMode,
    output: schemas.modeSet,
    kind: "act",
    run: async (sql, { workflow_id, mode }) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.set_workflow_mode(${workflow_id}, ${mode}) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/engine",
    id: "setEngine",
    summary: "Say which engine works for a tenant. Runs in flight go over, or back.",
    input: schemas.setEngine,
    output: schemas.engineSet,
    kind: "act",
    run: async (sql, { engine, tenant_id }, caller) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.set_engine(${engine}, ${
          tenant_id ?? caller.tenantId ?? null
        }) as result`,
      ),
  }),
  define({
    method: "GET",
    path: "/engine",
    id: "engine",
    summary: "Which engine works for a tenant, and whether the old one is still called.",
    input: schemas.ofTenant,
    output: schemas.engineReport,
    kind: "look",
    run: async (sql, { tenant_id }, caller) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.engine_report(${tenant_id ?? caller.tenantId ?? null}) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/compare",
    id: "compare",
    summary: "Compare what the old engine did with what the shadows beside it would have done.",
    input: schemas.compare,
    output: schemas.compared,
    kind: "act",
    run: async (sql, { since, until, tolerance_minutes, tenant_id }, caller) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.compare_engines(
            coalesce(${since ?? null}::timestamptz, automation.now() - interval '7 days'),
            coalesce(${until ?? null}::timestamptz, automation.now()),
            make_interval(secs => 60.0 * ${tolerance_minutes}::float8),
            ${tenant_id ?? caller.tenantId ?? null}) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/move",
    id: "move",
    summary: "Move runs in flight to another version, where their next step is there too.",
    input: schemas.move,
    output: schemas.moved,
    kind: "act",
    run: async (sql, { workflow_id, to_version = null, execution_ids = null }) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.move_executions(
            ${workflow_id}, ${to_version}, ${execution_ids}::uuid[]) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/validate",
    id: "validate",
    summary: "Everything that is wrong with the workflow as it is now.",
    input: schemas.ofWorkflow,
    output: schemas.validated,
    kind: "look",
    run: async (sql, { workflow_id }) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.validate_workflow(${workflow_id}) as result`,
      ),
  }),
  define({
    method: "GET",
    path: "/recipes",
    id: "recipes",
    summary: "The recipes that can be installed, with what they need and ask.",
    input: schemas.listRecipes,
    output: schemas.recipes,
    kind: "look",
    run: async (sql, { recipe = null }) => ({
      recipes: (await sql<{ result: unknown }[]>`
        select to_jsonb(r) as result from ridgeline.recipes as r
        where r.name = coalesce(${recipe}, r.name)`).map(({ result }) => result),
    }),
  }),
  define({
    method: "POST",
    path: "/recipes/install",
    id: "installRecipe",
    summary: "Write the workflows of a recipe as drafts, all of them or nothing.",
    input: schemas.installRecipe,
    output: schemas.recipeInstalled,
    kind: "act",
    run: async (sql, { recipe, answers, tenant_id }, caller) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.install_recipe(
            ${sql.json(recipe as JSONValue)}, ${sql.json(answers as JSONValue)},
            ${tenant_id ?? caller.tenantId ?? null}) as result`,
      ),
  }),
  define({
    method: "GET",
    path: "/export",
    id: "export",
    summary: "The draft of a workflow as a document that can be imported, here or elsewhere.",
    input: schemas.ofWorkflow,
    output: schemas.exported,
    kind: "look",
    run: async (sql, { workflow_id }) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.export_workflow(${workflow_id}) as result`,
      ),
  }),
  define({
    method: "POST",
    path: "/import",
    id: "import",
    summary: "Write an exported workflow as a new draft, if it could be published.",
    input: schemas.importWorkflow,
    output: schemas.imported,
    kind: "act",
    run: async (sql, { document, answers, tenant_id }, caller) =>
      onlyResult(
        await sql<{ result: unknown }[]>`
          select ridgeline.import_workflow(
            ${sql.json(document as JSONValue)}, ${sql.json(answers as JSONValue)},
            ${tenant_id ?? caller.tenantId ?? null}) as result`,
      ),
  }),
  define({
    method: "GET",
    path: "/history",
    id: "history",
    summary: "Executions with their steps, newest first.",
    input: schemas.historyQuery,
    output: schemas.history,
    kind: "look",
    run: async (sql, query, caller) => {
      requireTenant(caller, query);
      return await readHistory(sql, { ...query, tenant_id: caller.tenantId });
    },
  }),
];

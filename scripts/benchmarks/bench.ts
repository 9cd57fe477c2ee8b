// What every benchmark gets: databases on one server, tenants with workflows, and the sizes.
import { randomUUID } from "node:crypto";
import type { JSONValue, Sql } from "postgres";
import { cloneDatabase, connect, dropDatabase } from "../lib/scratch.ts";

export interface Sizes {
  singleRounds: number;
  singleBlock: number;
  bulkRounds: number;
  bulkRows: number;
  burstRounds: number;
  burst: number;
  paceRounds: number;
  pacePerSecond: number;
  paceSeconds: number;
  stepRounds: number;
  steps: number;
  claimRounds: number;
  delayed: readonly number[];
  backlog: number;
  documentRounds: number;
  delayedActions: number;
  concurrency: number;
  history: number;
  sends: number;
  pruneRounds: number;
  strangers: number;
  strangerSteps: number;
  waiting: number;
}

export const full: Sizes = {
  singleRounds: 40,
  singleBlock: 100,
  bulkRounds: 5,
  bulkRows: 100_000,
  burstRounds: 5,
  burst: 5_000,
  paceRounds: 3,
  pacePerSecond: 100,
  paceSeconds: 10,
  stepRounds: 5,
  steps: 10_000,
  claimRounds: 40,
  delayed: [10_000, 1_000_000],
  backlog: 100_000,
  documentRounds: 9,
  delayedActions: 1_000,
  concurrency: 10,
  history: 1_000_000,
  sends: 10_000,
  pruneRounds: 5,
  strangers: 500,
  strangerSteps: 4,
  waiting: 10_000,
};

/** Shows that every row can be produced; its figures mean nothing. */
export const quick: Sizes = {
  singleRounds: 2,
  singleBlock: 10,
  bulkRounds: 1,
  bulkRows: 1_000,
  burstRounds: 1,
  burst: 50,
  paceRounds: 1,
  pacePerSecond: 50,
  paceSeconds: 0.4,
  stepRounds: 1,
  steps: 100,
  claimRounds: 3,
  delayed: [1_000, 10_000],
  backlog: 2_000,
  documentRounds: 1,
  delayedActions: 100,
  concurrency: 10,
  history: 2_000,
  sends: 100,
  pruneRounds: 1,
  strangers: 10,
  strangerSteps: 2,
  waiting: 200,
};

export interface Bench {
  sizes: Sizes;
  say: (line: string) => void;
  /** A new database with the schema of sql/, dropped at the end. */
  database: (name: string) => Promise<Database>;
  onStop: (undo: () => Promise<unknown> | unknown) => void;
}

export interface Database {
  url: string;
  sql: Sql;
  /** One more connection, closed at the end. */
  session: () => Sql;
  drop: () => Promise<void>;
}

export async function openDatabase(
  adminUrl: string,
  name: string,
  onStop: Bench["onStop"],
): Promise<Database> {
  const url = await cloneDatabase(adminUrl, name);
  const opened: Sql[] = [];
  const session = () => {
    const sql = connect(url, { max: 1 });
    opened.push(sql);
    return sql;
  };
  const close = async () => {
    await Promise.all(opened.splice(0).map((sql) => sql.end({ timeout: 1 })));
  };
  onStop(close);
  return {
    url,
    sql: session(),
    session,
    drop: async () => {
      await close();
      await dropDatabase(adminUrl, name);
    },
  };
}

export interface Step {
  step_type: string;
  step_config: { [key: string]: JSONValue };
  delay_minutes?: number;
}
export interface Workflow {
  trigger_type: string;
  trigger_config?: { [key: string]: JSONValue };
  conditions?: JSONValue;
  steps: Step[];
}

/** A tenant whose workflows are published. */
export async function createTenant(sql: Sql, workflows: readonly Workflow[]): Promise<string> {
  const tenant = randomUUID();
  await sql`insert into public.tenants (id, name) values (${tenant}, 'Bench Roofing')`;
  for (const [index, { steps, ...definition }] of workflows.entries()) {
    const [workflow] = await sql<[{ id: string }]>`
      insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config, conditions)
      values (${tenant}, ${`Workflow ${index + 1}`}, ${definition.trigger_type},
        ${sql.json(definition.trigger_config ?? {})}, ${sql.json(definition.conditions ?? [])})
      returning id`;
    for (const [order, step] of steps.entries()) {
      await sql`
        insert into ridgeline.workflow_steps
          (tenant_id, workflow_id, step_order, step_type, step_config, delay_minutes)
        values (${tenant}, ${workflow.id}, ${order + 1}, ${step.step_type},
          ${sql.json(step.step_config)}, ${step.delay_minutes ?? 0})`;
    }
    await sql`
      update ridgeline.workflows set is_active = true
      where tenant_id = ${tenant} and id = ${workflow.id}`;
  }
  return tenant;
}

export const followUp: Step = {
  step_type: "create_task",
  step_config: { title: "Call {{trigger.contact.first_name}}", due_in_days: 1 },
};

export async function setDoorbell(sql: Sql, value: "none" | "notify"): Promise<void> {
  await sql`update automation.settings set value = ${value} where name = 'doorbell'`;
}

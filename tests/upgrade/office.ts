// A contractor's office and what it does, on whatever release its database is.
import { randomUUID } from "node:crypto";
import type { Sql } from "postgres";
import { connect } from "../../functions/_shared/runtime/database.ts";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { createQueue, type Queue } from "../../functions/_shared/engine/queue.ts";
import { createHandler as createDispatch } from "../../functions/dispatch/handler.ts";
import { createHandler as createWorkflows } from "../../functions/workflows/handler.ts";
import { enableTestClock, settleForDevelopment } from "../../scripts/lib/schema.ts";
import { recordingLog, sendersOf, sent } from "../functions/fakes.ts";
import { scratchDatabase } from "./releases.ts";

const KEY = "sb_secret_one";
/** The functions as they are now. */
export const now = { connect, createDispatcher, createQueue, createDispatch, createWorkflows };
export type Functions = typeof now;

export interface Step {
  type: string;
  config: Record<string, unknown>;
  delay?: number;
}
export const text: Step = { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } };
export const task = (title: string, delay = 0): Step => ({
  type: "create_task",
  config: { title },
  delay,
});

export class Office {
  readonly sends: string[] = [];
  constructor(
    readonly sql: Sql,
    readonly url: string,
    readonly tenant: string = randomUUID(),
  ) {}

  static async open(
    scripts: readonly string[],
    adminUrl?: string,
  ): Promise<Office & { drop: () => Promise<void> }> {
    const { sql, url, drop } = await scratchDatabase(scripts, adminUrl);
    await settleForDevelopment(sql);
    await enableTestClock(sql);
    // The setting holds for sessions that begin after it.
    await sql.end({ timeout: 1 });
    const fresh = connect(url);
    const office = new Office(fresh, url);
    await fresh`insert into public.tenants (id, name) values (${office.tenant}, 'Apex Roofing')`;
    return Object.assign(office, {
      drop: async () => {
        await fresh.end({ timeout: 1 });
        await drop();
      },
    });
  }

  async workflow(trigger: string, steps: Step[], config: object = {}): Promise<string> {
    const { sql, tenant } = this;
    const id = randomUUID();
    await sql`
      insert into ridgeline.workflows (tenant_id, id, name, trigger_type, trigger_config)
      values (${tenant}, ${id}, ${trigger}, ${trigger}, ${sql.json({ ...config })})`;
    for (const [place, step] of steps.entries()) {
      await sql`
        insert into ridgeline.workflow_steps
          (tenant_id, workflow_id, step_order, step_type, step_config, delay_minutes)
        values (${tenant}, ${id}, ${place}, ${step.type}, ${sql.json(step.config as never)},
          ${step.delay ?? 0})`;
    }
    await sql`
      update ridgeline.workflows set is_active = true where tenant_id = ${tenant} and id = ${id}`;
    return id;
  }

  async lead(name: string, type = "lead"): Promise<string> {
    const [row] = await this.sql`
      insert into public.contacts (tenant_id, first_name, phone, type)
      values (${this.tenant}, ${name}, '+14155550142', ${type}) returning id`;
    return row!.id;
  }

  queue(functions: Functions): Queue {
    return functions.createQueue(this.sql);
  }

  /** One run of the dispatcher, until nothing is due. */
  async dispatch(functions: Functions): Promise<void> {
    const dispatcher = functions.createDispatcher({
      queue: this.queue(functions),
      senders: sendersOf((step) => {
        this.sends.push(step.idempotency_key);
        return Promise.resolve({ ...sent, result: { provider_id: `SM${step.idempotency_key}` } });
      }),
      log: recordingLog().log,
      worker: "w",
    });
    await dispatcher.dispatch({ budgetMs: 20_000 });
  }

  async execute(functions: Functions, workflow: string, contact: string): Promise<Response> {
    const handler = functions.createWorkflows({
      secretKeys: () => [KEY],
      verify: () => Promise.reject(new Error("no token is expected here")),
      database: () => this.sql,
      log: recordingLog().log,
    });
    return await handler(
      new Request("http://127.0.0.1/workflows/execute", {
        method: "POST",
        headers: { apikey: KEY, "content-type": "application/json", "x-tenant-id": this.tenant },
        body: JSON.stringify({ workflow_id: workflow, trigger_data: { contact_id: contact } }),
      }),
    );
  }

  async later(by: string): Promise<void> {
    await this.sql`select automation.advance_clock(${by}::interval)`;
    await this.sql`select automation.tick()`;
    await this.sql`select automation.tick()`;
  }

  async tasks(): Promise<Record<string, number>> {
    const rows = await this.sql<{ title: string; count: number }[]>`
      select title, count(*)::int as count from public.tasks
      where tenant_id = ${this.tenant} group by title`;
    return Object.fromEntries(rows.map(({ title, count }) => [title, count]));
  }

  async statuses(): Promise<Record<string, number>> {
    const rows = await this.sql<{ status: string; count: number }[]>`
      select status::text, count(*)::int as count from ridgeline.workflow_executions
      where tenant_id = ${this.tenant} group by status`;
    return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
  }
}

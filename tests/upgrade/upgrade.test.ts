// A contractor's database is upgraded in the middle of its work: runs wait, are leased, have timers, schedules and
// a bulk enrolment under way. Nothing is lost, nothing happens twice, and functions of either release go on.
import { randomUUID } from "node:crypto";
import type { Sql } from "postgres";
import { afterAll, beforeAll, expect, it } from "vitest";
import { connect } from "../../functions/_shared/runtime/database.ts";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import { createQueue, type Queue } from "../../functions/_shared/engine/queue.ts";
import { createHandler as createDispatch } from "../../functions/dispatch/handler.ts";
import { createHandler as createWorkflows } from "../../functions/workflows/handler.ts";
import { enableTestClock, runScript, serveEveryTenant } from "../../scripts/lib/schema.ts";
import { recordingLog, sendersOf, sent } from "../functions/fakes.ts";
import { nextMigration, oldFunctions, previousScripts, scratchDatabase } from "./releases.ts";

const KEY = "sb_secret_one";
const now = { connect, createDispatcher, createQueue, createDispatch, createWorkflows };
type Functions = typeof now;

let old: Functions;
let migration: string;
beforeAll(async () => {
  old = await oldFunctions<Functions>();
  migration = (await nextMigration()).script;
});

interface Step {
  type: string;
  config: Record<string, unknown>;
  delay?: number;
}
const text: Step = { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } };
const task = (title: string, delay = 0): Step => ({
  type: "create_task",
  config: { title },
  delay,
});

class Office {
  readonly tenant = randomUUID();
  readonly sends: string[] = [];
  constructor(readonly sql: Sql, readonly url: string) {}

  static async open(): Promise<Office & { drop: () => Promise<void> }> {
    const { sql, url, drop } = await scratchDatabase(previousScripts);
    await serveEveryTenant(sql);
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

const offices: { drop: () => Promise<void> }[] = [];
async function openOffice() {
  const office = await Office.open();
  offices.push(office);
  return office;
}
afterAll(() => Promise.all(offices.map((office) => office.drop())));

it("runs under way are finished by the release after", { timeout: 240_000 }, async () => {
  const office = await openOffice();
  const { sql, tenant } = office;
  // One that waits three days, one that waits for a reply, one whose text is with a dispatcher.
  await office.workflow("contact_created", [task("Call"), task("Ask for a review", 3 * 1440)], {
    type: "lead",
  });
  await office.workflow("contact_created", [
    text,
    { type: "wait", config: { event: "sms_received", timeout: "1 day" } },
    task("No answer"),
  ]);
  await office.workflow("scheduled", [task("Monday meeting")], { cron: "0 9 * * *" });
  await office.workflow("time_elapsed", [task("Anniversary")], {
    entity: "contact",
    field: "created_at",
    offset: "5 days",
  });
  const bulk = await office.workflow("manual", [task("Newsletter")]);
  await office.lead("Maria");
  await office.lead("Bob");
  await sql`select automation.tick()`;
  const leased = await office.queue(old).claim("old", { sms: { most: 10, but: [] } }, 60);
  expect(leased.length).toBe(2);
  await sql`
    select ridgeline.enroll_records(${bulk}, null, '[]', 'contact', 1, '{}', ${tenant})`;
  expect(await office.tasks()).toEqual({ Call: 2 });

  await runScript(sql, migration);

  // The dispatcher that was in the middle of its sends reports to the new database.
  const reported = await office.queue(old).finish(
    leased.map(({ tenant_id, step_id, attempt_token }) => ({
      tenant_id,
      step_id,
      attempt_token,
      outcome: "succeeded",
      result: { provider_id: `SM${step_id}` },
    })),
  );
  expect(reported.map(({ accepted }) => accepted)).toEqual([true, true]);
  for (let day = 0; day < 6; day++) {
    await office.later("1 day");
    await office.dispatch(now);
  }
  const tasks = await office.tasks();
  expect(tasks).toEqual({
    Call: 2,
    "Ask for a review": 2,
    "No answer": 2,
    "Monday meeting": 6,
    Anniversary: 2,
    Newsletter: 2,
  });
  expect(office.sends).toEqual([]);
  expect(Object.keys(await office.statuses())).toEqual(["completed"]);
  // And what is written from now on fires as before.
  await office.lead("Zoe");
  await office.dispatch(now);
  expect((await office.tasks()).Call).toBe(3);
  expect(office.sends.length).toBe(1);
});

it.each([
  ["functions of the release before on the new database", true],
  ["new functions on the database of the release before", false],
])("%s work", { timeout: 240_000 }, async (_name, isNewDatabase) => {
  const office = await openOffice();
  if (isNewDatabase) await runScript(office.sql, migration);
  const functions = isNewDatabase ? old : now;
  const flow = await office.workflow("contact_created", [task("Call"), text, task("Sent")]);
  const maria = await office.lead("Maria");
  await office.dispatch(functions);
  expect(await office.tasks()).toEqual({ Call: 1, Sent: 1 });
  expect(office.sends.length).toBe(1);
  const executed = await office.execute(functions, flow, maria);
  expect([executed.status, await executed.text()]).toEqual([
    200,
    expect.stringContaining("execution"),
  ]);
  await office.dispatch(functions);
  expect(await office.tasks()).toEqual({ Call: 2, Sent: 2 });
  expect(office.sends.length).toBe(2);
  expect(await office.statuses()).toEqual({ completed: 2 });
});

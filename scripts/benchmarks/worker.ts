// The other side: the same jobs as graphile-worker tasks, written by hand, run by Node.
import process from "node:process";
import { Logger, run, type TaskList } from "graphile-worker";
import { Webhook } from "standardwebhooks";
import { z } from "zod";
import { createTask } from "./task.ts";

const payload = z.object({
  tenant_id: z.string(),
  execution_id: z.string(),
  contact: z.object({ id: z.string(), first_name: z.string(), phone: z.string() }),
  url: z.string().optional(),
  step: z.int().default(1),
});

const signer = new Webhook(process.env.WEBHOOK_SIGNING_SECRET ?? "");
const concurrency = Number(process.env.CONCURRENCY ?? 10);

const recordResult = `insert into bench.ledger
  (tenant_id, id, execution_id, step_key, step_type, status, input, result_data, started_at,
   finished_at, duration_ms)
  values ($1, automation.new_id(), $2, $3, 'webhook', 'completed', $4, $5,
   now() - make_interval(secs => $6 / 1000.0), now(), $6)`;

const addNext = `select graphile_worker.add_job('chain', $1::json)`;

const tasks: TaskList = {
  async post(job, { withPgClient }) {
    const { tenant_id, execution_id, contact, url } = payload.parse(job);
    const body = JSON.stringify({
      event: "contact_created",
      contact_id: contact.id,
      first_name: contact.first_name,
      phone: contact.phone,
    });
    const startedAt = performance.now();
    const now = new Date();
    const response = await fetch(url!, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "user-agent": "by-hand",
        "webhook-id": execution_id,
        "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
        "webhook-signature": signer.sign(execution_id, now, body),
      },
      body,
    });
    await response.text();
    if (!response.ok) throw new Error(`the receiver answered ${response.status}`);
    await withPgClient((client) =>
      client.query({
        name: "record",
        text: recordResult,
        values: [tenant_id, execution_id, "step_1", { url, body }, {
          http_status: response.status,
        }, Math.round(performance.now() - startedAt)],
      })
    );
  },
  async create_task(job, { withPgClient }) {
    const { tenant_id, execution_id, contact, step } = payload.parse(job);
    const title = `Call ${contact.first_name}`;
    await withPgClient((client) =>
      client.query({
        name: "task",
        text: createTask,
        values: [tenant_id, contact.id, title, execution_id, `step_${step}`],
      })
    );
  },
  // Five steps, a job each: the next one is added in the transaction that records this one.
  async chain(job, { withPgClient }) {
    const step = payload.parse(job);
    const { tenant_id, execution_id, contact } = step;
    await withPgClient(async (client) => {
      await client.query("begin");
      try {
        await client.query({
          name: "task",
          text: createTask,
          values: [
            tenant_id,
            contact.id,
            `Call ${contact.first_name}`,
            execution_id,
            `step_${step.step}`,
          ],
        });
        if (step.step < 5) {
          const next = JSON.stringify({ ...step, step: step.step + 1 });
          await client.query({ name: "next", text: addNext, values: [next] });
        }
        await client.query("commit");
      } catch (error) {
        await client.query("rollback");
        throw error;
      }
    });
  },
  // Five steps in one job and one transaction.
  async five(job, { withPgClient }) {
    const { tenant_id, execution_id, contact } = payload.parse(job);
    await withPgClient(async (client) => {
      await client.query("begin");
      try {
        for (let step = 1; step <= 5; step++) {
          await client.query({
            name: "task",
            text: createTask,
            values: [
              tenant_id,
              contact.id,
              `Call ${contact.first_name}`,
              execution_id,
              `step_${step}`,
            ],
          });
        }
        await client.query("commit");
      } catch (error) {
        await client.query("rollback");
        throw error;
      }
    });
  },
};

const quiet = new Logger(() => (level, message) => {
  if (level === "error" || level === "warning") console.error(message);
});

const runner = await run({
  connectionString: process.env.DATABASE_URL!,
  concurrency,
  maxPoolSize: concurrency + 2,
  pollInterval: 500,
  noHandleSignals: true,
  logger: quiet,
  taskList: tasks,
  preset: {
    worker: {
      // A refetch delay was tried and cost it both throughput and latency here.
      localQueue: { size: 100 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
    },
  },
});
process.once("SIGTERM", () => void runner.stop().then(() => process.exit(0)));
console.log(JSON.stringify({ ready: true }));
await runner.promise;

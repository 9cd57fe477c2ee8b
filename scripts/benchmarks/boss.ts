// A second opinion: the same task by pg-boss, written by hand, run by Node. Its own loop, work(), looks every half a
// second at most; this one fetches again as soon as it is done, a hundred jobs at a time.
import process from "node:process";
import pg from "pg";
import PgBoss from "pg-boss";
import { z } from "zod";
import { sleep } from "../lib/process.ts";
import { createTask } from "./task.ts";

const QUEUE = "create_task";
const BATCH = 100;
const payload = z.object({
  tenant_id: z.string(),
  execution_id: z.string(),
  contact: z.object({ id: z.string(), first_name: z.string() }),
});

const connectionString = process.env.DATABASE_URL!;
const pool = new pg.Pool({ connectionString, max: Number(process.env.CONCURRENCY ?? 10) });
const boss = new PgBoss({ connectionString, schedule: false });
boss.on("error", (error) => console.error(error));
await boss.start();
await boss.createQueue(QUEUE);

let stopping = false;
process.once("SIGTERM", () => stopping = true);
console.log(JSON.stringify({ ready: true }));
while (!stopping) {
  const jobs = await boss.fetch(QUEUE, { batchSize: BATCH });
  if (jobs.length === 0) {
    await sleep(5);
    continue;
  }
  await Promise.all(jobs.map(({ data }) => {
    const { tenant_id, execution_id, contact } = payload.parse(data);
    return pool.query({
      name: "task",
      text: createTask,
      values: [tenant_id, contact.id, `Call ${contact.first_name}`, execution_id, "step_1"],
    });
  }));
  await boss.complete(QUEUE, jobs.map(({ id }) => id));
}
process.exit(0);

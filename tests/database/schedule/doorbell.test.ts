// The doorbell and the long tick: what only shows between transactions.
import fs from "node:fs";
import path from "node:path";
import { expect, it } from "vitest";
import { useDatabase } from "../../support/database.ts";
import { waitFor } from "../../support/standins.ts";

const database = useDatabase();

it("rings once for a transaction, after its commit, and not for one that is undone", async () => {
  const { sql } = database();
  await sql`update automation.settings set value = 'notify' where name = 'doorbell'`;
  const [tenant] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
  const [workflow] = await sql`insert into ridgeline.workflows (tenant_id, name, trigger_type)
    values (${tenant?.id}, 'Welcome', 'contact_created') returning id`;
  await sql`insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
    values (${tenant?.id}, ${workflow?.id}, 'create_task', '{"title": "Call"}')`;
  await sql`update ridgeline.workflows set is_active = true`;
  const rings: string[] = [];
  let end = () => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  const listener = database().connect({ max: 1 });
  await listener.listen("ridgeline_doorbell", (lane) => rings.push(lane));
  await listener.listen("the_end", () => end());

  const leads = (session: typeof sql, count: number) =>
    session`insert into contacts (tenant_id)
      select ${tenant?.id} from generate_series(1, ${count}::int)`;
  await sql.begin(async (transaction) => {
    await leads(transaction as unknown as typeof sql, 500);
    await leads(transaction as unknown as typeof sql, 500);
  });
  await leads(sql, 1);
  await sql.begin(async (transaction) => {
    await leads(transaction as unknown as typeof sql, 1);
    throw new Error("undone");
  }).catch(() => {});
  await sql`update ridgeline.workflows set is_active = false`;
  await leads(sql, 1);
  await sql`select pg_notify('the_end', '')`;
  await ended;
  expect(rings).toEqual(["database", "database"]);
});

it("ticks on for as long as it is told, each tick a transaction of its own", async () => {
  const { sql } = database();
  await sql`delete from ridgeline.scheduled_steps`.catch(() => {});
  await sql`update ridgeline.workflows set is_active = true`;
  const lead = () => sql`insert into contacts (tenant_id) select id from tenants`;
  await lead();
  const ticker = database().connect({ max: 1 });
  let over = false;
  const ticking = ticker`call automation.tick_for('1 hour')`.execute();
  const ended = ticking.catch((error: Error) => error.message).finally(() => over = true);
  const tasks = (expected: number) =>
    waitFor(`task ${expected}`, async () => {
      const [now] = await sql`select count(*)::int from tasks`;
      return now?.count === expected;
    });
  // Nothing but the commit of a tick makes a task visible while it is still ticking.
  await tasks(1);
  await lead();
  await tasks(2);
  expect(over).toBe(false);
  ticking.cancel();
  expect(await ended).toContain("canceling statement");
  await lead();
  await ticker`call automation.tick_for('0 seconds')`;
  expect(await sql`select count(*)::int from tasks`).toEqual([{ count: 3 }]);
});

it("queues one ring for a crowd of commits, and another once pg_net has taken it", async () => {
  const { sql } = database();
  const foundation = path.resolve(import.meta.dirname, "../foundation/net.psql");
  await sql.unsafe(fs.readFileSync(foundation, "utf8")).simple();
  await sql`select vault.create_secret(s.secret, s.name) from (values
    ('ridgeline_dispatch_url', 'https://apex.example.com/functions/v1/dispatch'),
    ('ridgeline_ring_key', 'a key that can only ring')) as s (name, secret)`;
  await sql`update automation.settings set value = 'pg_net' where name = 'doorbell'`;
  await sql`update ridgeline.workflows set is_active = true`;
  const lead = () => sql`insert into contacts (tenant_id) select id from tenants limit 1`;
  const rings = async () => (await sql`select id from net.http_request_queue`).length;

  for (let count = 0; count < 20; count++) await lead();
  expect(await rings()).toBe(1);

  // pg_net's worker: what it sends is deleted, and that is committed once it is answered.
  const worker = await database().connect({ max: 1 }).reserve();
  await worker`begin`;
  await worker`delete from net.http_request_queue`;
  await lead();
  expect(await rings(), "the one being sent, and one for what came since").toBe(2);
  await lead();
  expect(await rings()).toBe(2);
  await worker`commit`;
  expect(await rings()).toBe(1);
  worker.release();
});

it("says which lanes have work, each once, and says nothing for what is delayed", async () => {
  const { sql } = database();
  await sql`update automation.settings set value = 'notify' where name = 'doorbell'`;
  const [tenant] = await sql`insert into tenants (name) values ('Summit Roofing') returning id`;
  const workflow = async (step: string, config: Record<string, string>, minutes = 0) => {
    const [made] = await sql`insert into ridgeline.workflows (tenant_id, name, trigger_type)
      values (${tenant?.id}, ${step}, 'contact_created') returning id`;
    await sql`insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config, delay_minutes)
      values (${tenant?.id}, ${made?.id}, ${step}, ${sql.json(config)}, ${minutes})`;
    await sql`update ridgeline.workflows set is_active = true where id = ${made?.id}`;
    return made?.id as string;
  };
  const rings: string[] = [];
  const listener = database().connect({ max: 1 });
  await listener.listen("ridgeline_doorbell", (lane) => rings.push(lane));
  const lead = () =>
    sql.begin(async (transaction) => {
      for (let n = 0; n < 3; n++) {
        await transaction`insert into contacts (tenant_id, phone) values (${tenant?.id}, '+15125550100')`;
      }
    });
  const rung = async () => {
    let end = () => {};
    const ended = new Promise<void>((resolve) => end = resolve);
    const { unlisten } = await listener.listen("the_end", () => end());
    await sql`select pg_notify('the_end', '')`;
    await ended;
    await unlisten();
    return rings.splice(0).sort();
  };
  await workflow("create_task", { title: "Call" }, 60);
  await lead();
  expect(await rung()).toEqual([]);
  const webhook = await workflow("webhook", { url: "https://example.com/" });
  await lead();
  expect(await rung()).toEqual(["webhook"]);
  await workflow("send_sms", { body: "Hello" });
  await workflow("create_task", { title: "Call" });
  await lead();
  expect(await rung()).toEqual(["database", "sms", "webhook"]);
  // Many at once, as a list enrols them; and what is let go after a pause may be anything.
  await sql`select ridgeline.enroll_records(${webhook}, (
    select array_agg(id::text) from contacts where tenant_id = ${tenant?.id}))`;
  await sql`select automation.run_bulk()`;
  expect(await rung()).toEqual(["webhook"]);
  await sql`select automation.release_held(${tenant?.id}, '{sending_paused}')`;
  expect(await rung()).toEqual([""]);
  await sql`delete from ridgeline.scheduled_steps where tenant_id = ${tenant?.id}`;
  await sql`update ridgeline.workflows set is_active = false where tenant_id = ${tenant?.id}`;
});

it("rings for the run that is to end because a later one took its place", async () => {
  const { sql } = database();
  await sql`update automation.settings set value = 'notify' where name = 'doorbell'`;
  const [tenant] = await sql`insert into tenants (name) values ('Bluff Roofing') returning id`;
  const [workflow] =
    await sql`insert into ridgeline.workflows (tenant_id, name, trigger_type, settings)
    values (${tenant?.id}, 'Anew', 'manual', '{"reentry": "restart", "dedupe_key": "one"}') returning id`;
  await sql`insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
    values (${tenant?.id}, ${workflow?.id}, 1, 'wait', '{"days": 1}'),
      (${tenant?.id}, ${workflow?.id}, 2, 'stop', '{}')`;
  await sql`update ridgeline.workflows set is_active = true where id = ${workflow?.id as string}`;
  const start = () => sql`select ridgeline.execute_workflow(${workflow?.id as string})`;
  const rings: string[] = [];
  const listener = database().connect({ max: 1 });
  const waiting = (runs: number) =>
    waitFor(`${runs} under way`, async () => {
      await sql`select automation.run_database_steps()`;
      return (await sql`select from ridgeline.workflow_executions
        where tenant_id = ${tenant?.id as string} and status = 'waiting'`).length === runs;
    });
  await start();
  await waiting(1);
  await start();
  await listener.listen("ridgeline_doorbell", (lane) => rings.push(lane));
  await waiting(2);
  await waitFor("the ring", () => rings.length > 0);
  expect(rings).toEqual(["database"]);
});

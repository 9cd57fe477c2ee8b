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
  let rings = 0;
  let end = () => {};
  const ended = new Promise<void>((resolve) => end = resolve);
  const listener = database().connect({ max: 1 });
  await listener.listen("ridgeline_doorbell", () => rings++);
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
  expect(rings).toBe(2);
});

it("ticks on for as long as it is told, each tick a transaction of its own", async () => {
  const { sql } = database();
  await sql`delete from ridgeline.scheduled_steps`.catch(() => {});
  await sql`update ridgeline.workflows set is_active = true`;
  const lead = () => sql`insert into contacts (tenant_id) select id from tenants`;
  await lead();
  const ticking = database().connect({ max: 1 })`call automation.tick_for('3 seconds')`
    .execute();
  const started = Date.now();
  // Nothing but the commit of a tick makes the first task visible while it is still ticking.
  await waitFor("the first task", async () => {
    const [now] = await sql`select count(*)::int from tasks`;
    return now?.count === 1;
  }, { timeout: 10_000 });
  expect(Date.now() - started).toBeLessThan(3000);
  await lead();
  await ticking;
  expect(await sql`select count(*)::int from tasks`).toEqual([{ count: 2 }]);
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

// (j): sending while old history is pruned, as a tick does it, against sending alone.
import type { Sql } from "postgres";
import { type Bench, createTenant, type Workflow } from "./bench.ts";
import { alternate, median, milliseconds, ratio } from "./measure.ts";
import { atMost, perSecond, type Row } from "./report.ts";

const workflow: Workflow = {
  trigger_type: "contact_created",
  steps: [{
    step_type: "webhook",
    step_config: { url: "https://example.com/", body: { name: "{{trigger.contact.first_name}}" } },
  }],
};

/** Runs of two steps that ended fifteen months ago and later, with ids of their time. */
async function addHistory(sql: Sql, tenant: string, rows: number): Promise<void> {
  await sql.begin(async (transaction) => {
    await transaction`set local session_replication_role = replica`;
    await transaction`
      with runs as (
        insert into ridgeline.workflow_executions (tenant_id, id, workflow_id, version, status, trigger_type,
          trigger_data, entity, record_id, created_at, started_at, finished_at)
        select w.tenant_id,
          (left(automation.first_id(t.at)::text, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid,
          w.id, 1, 'completed', 'contact_created', jsonb_build_object('contact', jsonb_build_object(
            'first_name', 'Maria', 'phone', '+15125550100', 'note', repeat('x', 300))),
          'contact', n, t.at, t.at, t.at
        from ridgeline.workflows as w, generate_series(1, ${rows}::integer) as n,
          lateral (select now() - interval '15 months' + n * interval '1 second' as at) as t
        where w.tenant_id = ${tenant}
        returning tenant_id, id, created_at
      )
      insert into ridgeline.workflow_step_executions (tenant_id, id, execution_id, step_key, step_type, status, input,
        started_at, finished_at)
      select r.tenant_id,
        (left(automation.first_id(r.created_at)::text, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid,
        r.id, 'step_' || k, 'webhook', 'completed', jsonb_build_object('body', repeat('x', 300)),
        r.created_at, r.created_at
      from runs as r, generate_series(1, 2) as k`;
  });
  await sql.unsafe(
    "vacuum analyze ridgeline.workflow_executions, ridgeline.workflow_step_executions",
  );
}

async function send(sql: Sql, tenant: string, steps: number): Promise<number> {
  await sql`
    insert into public.contacts (tenant_id, first_name)
    select ${tenant}, 'Maria' from generate_series(1, ${steps}::integer)`;
  return await milliseconds(async () => {
    for (;;) {
      const claimed = await sql`
        select tenant_id, step_id, attempt_token from automation.claim_steps('bench', 50)`;
      if (claimed.length === 0) return;
      await sql`select count(*) from automation.finish_steps(${
        sql.json(
          claimed.map((step) => ({ ...step, outcome: "succeeded", result: { status: 200 } })),
        )
      })`;
    }
  });
}

/** A tick every five seconds, each pruning as long as a tick may. */
function pruneEveryTick(sql: Sql): () => Promise<void> {
  let over = false;
  let wake = () => {};
  const work = (async () => {
    while (!over) {
      await sql`call automation.prune_history(automation.setting('prune_time')::interval)`;
      if (!over) {
        await new Promise<void>((resolve) => {
          wake = resolve;
          setTimeout(resolve, 4750);
        });
      }
    }
  })();
  return async () => {
    over = true;
    wake();
    await work;
  };
}

export async function pruning(bench: Bench): Promise<Row[]> {
  const { sizes, say } = bench;
  const { sql, session, drop } = await bench.database("bench_prune");
  const tenant = await createTenant(sql, [workflow]);
  say(`  ${sizes.history.toLocaleString("en-US")} old runs ...`);
  await addHistory(sql, tenant, sizes.history);
  const [sender, pruner] = [session(), session()];
  const count = async () =>
    (await sql<[{ runs: number }]>`
      select count(*)::int as runs from ridgeline.workflow_executions where created_at < now() - interval '1 year'`)[
      0
    ]
      .runs;
  const before = await count();
  const { alone, pruning } = await alternate({
    alone: () => send(sender, tenant, sizes.sends),
    pruning: async () => {
      const stop = pruneEveryTick(pruner);
      const time = await send(sender, tenant, sizes.sends);
      await stop();
      return time;
    },
  }, sizes.pruneRounds);
  const left = await count();
  const [{ forgotten }] = await sql<[{ forgotten: number }]>`
    select count(*)::int as forgotten from ridgeline.workflow_step_executions
    where step_type = 'webhook' and step_key in ('step_1', 'step_2') and input is null
      and started_at < now() - interval '1 year'`;
  await drop();
  return [{
    row: "j",
    what: `sending while history is pruned, ${(before - left).toLocaleString("en-US")} of ${
      before.toLocaleString("en-US")
    } runs went, ${forgotten.toLocaleString("en-US")} inputs of the others`,
    ours: perSecond(sizes.sends / median(pruning) * 1000),
    against: `${perSecond(sizes.sends / median(alone) * 1000)}, alone`,
    ratio: ratio(pruning, alone),
    aim: atMost(1.1),
  }];
}

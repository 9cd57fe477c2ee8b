// Pruning and everybody else: it waits for nobody, nobody waits for it long, and what is being worked on stays.
import type { Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { type Step, useSessions } from "../executions/support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(async () => {
  sql = sessions.sql;
  await sql`update automation.settings set value = '10 seconds' where name = 'prune_time'`;
});

const task: Step = { type: "create_task", config: { title: "Call" } };
const text: Step = { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } };

/** Everything is looked at again, and old; without a wait. */
async function prune(session: Sql = sql): Promise<number> {
  await sql`
    update automation.retention_places
    set next_at = '-infinity', began_at = case when kind = 'tenants' then began_at else '-infinity' end`;
  const [done] = await session`call automation.prune_history('10 seconds')`;
  return done?.pruned as number;
}

async function runs(): Promise<string[]> {
  const found = await sql<{ status: string }[]>`
    select status::text from ridgeline.workflow_executions order by created_at, id`;
  return found.map(({ status }) => status);
}

async function age(months = 14): Promise<void> {
  await sql`select automation.advance_clock(make_interval(months => ${months}))`;
}

describe("history that has had its time", () => {
  it("leaves what somebody holds for the next time, and does not wait", async () => {
    const { tenantId } = await sessions.office([task]);
    for (let n = 0; n < 5; n++) await sessions.lead(tenantId);
    await sql`select automation.tick()`;
    await age();
    const reader = await sessions.begin();
    await reader`select id from ridgeline.workflow_executions order by id limit 1 for update`;
    const reporter = await sessions.begin();
    await reporter`
      select id from ridgeline.workflow_step_executions
      where execution_id = (select id from ridgeline.workflow_executions order by id desc limit 1) for update`;
    await prune();
    expect(await runs()).toEqual(["completed", "completed"]);
    await reader`rollback`;
    await reporter`rollback`;
    await prune();
    expect(await runs()).toEqual([]);
  });

  it("does not take what a dispatcher has under its lease, nor its input, however old", async () => {
    const { tenantId } = await sessions.office([text]);
    await sessions.lead(tenantId);
    const [claimed] = await sql`
      select tenant_id, step_id, attempt_token, payload from automation.claim_steps('w', 1, '1 hour')`;
    await sql`select ridgeline.cancel_execution(id) from ridgeline.workflow_executions`;
    await age();
    await prune();
    expect(await runs()).toEqual(["cancelled"]);
    const [kept] = await sql`select input from ridgeline.workflow_step_executions`;
    expect(kept?.input).toEqual(claimed?.payload);
    const [finished] = await sql`
      select accepted, status from automation.finish_steps(${
      sql.json([{
        tenant_id: claimed?.tenant_id,
        step_id: claimed?.step_id,
        attempt_token: claimed?.attempt_token,
        outcome: "succeeded",
        result: { provider_id: "SM1" },
      }])
    })`;
    expect(finished).toEqual({ accepted: true, status: "completed" });
    const [sent] = await sql`select body from ridgeline.messages where provider_id = 'SM1'`;
    expect(sent?.body).toMatch(/^Hi /);
    await prune();
    expect(await runs()).toEqual([]);
  });

  it("is pruned while claims and reports go on, and loses none of them", async () => {
    const { tenantId } = await sessions.office([text, task]);
    for (let n = 0; n < 60; n++) await sessions.lead(tenantId);
    const work = async (session: Sql) => {
      for (;;) {
        const claimed = await session`
          select tenant_id, step_id, attempt_token from automation.claim_steps('w', 10)`;
        await session`select automation.finish_steps(${
          session.json(claimed.map((step) => ({
            ...step,
            outcome: "succeeded",
            result: { provider_id: step.step_id },
          })))
        })`;
        const [ran] = await session`select automation.run_database_steps() as ran`;
        if (claimed.length === 0 && ran?.ran === 0) return;
      }
    };
    await work(sql);
    await age();
    for (let n = 0; n < 60; n++) await sessions.lead(tenantId);
    await Promise.all([
      work(sessions.connect()),
      work(sessions.connect()),
      prune(sessions.connect()),
      prune(sessions.connect()),
    ]);
    await work(sql);
    await prune();
    expect(await runs()).toEqual(Array.from({ length: 60 }, () => "completed"));
    const [counts] = await sql`
      select (select count(*)::int from tasks) as tasks,
        (select count(*)::int from ridgeline.messages) as texts,
        (select count(*)::int from ridgeline.workflow_step_executions) as steps,
        (select count(*)::int from ridgeline.scheduled_steps) as left`;
    expect(counts).toEqual({ tasks: 120, texts: 120, steps: 120, left: 0 });
  });

  it("comes again, in smaller portions, when its session dies", async () => {
    const { tenantId } = await sessions.office([task]);
    for (let n = 0; n < 5; n++) await sessions.lead(tenantId);
    await sql`select automation.tick()`;
    await age();
    await prune();
    for (let n = 0; n < 5; n++) await sessions.lead(tenantId);
    await sql`select automation.tick()`;
    await age();
    await sql`
      update automation.retention_places set portion = 200, began_at = '-infinity', next_at = case
        kind when 'runs' then '-infinity'::timestamptz else 'infinity' end`;
    const dying = sessions.connect();
    const [place] = await dying`select p.* from automation.begin_retention() as p`;
    expect(place).toMatchObject({ kind: "runs", portion: 100 });
    const doomed = await sessions.begin();
    await doomed`
      select automation.run_retention(p) from automation.retention_places as p where p.kind = 'runs'`;
    const [{ pid } = { pid: 0 }] = await doomed<{ pid: number }[]>`select pg_backend_pid() as pid`;
    await sql`select pg_terminate_backend(${pid})`;
    expect(await runs()).toHaveLength(5);
    const [next] = await sql`
      select next_at > clock_timestamp() as rests, portion from automation.retention_places
      where kind = 'runs'`;
    expect(next).toEqual({ rests: true, portion: 100 });
    await prune();
    expect(await runs()).toEqual([]);
  });

  it("ends with the tick, and a tick prunes", async () => {
    const { tenantId } = await sessions.office([task]);
    await sessions.lead(tenantId);
    await sql`select automation.tick()`;
    await age();
    await sql`call automation.tick_for('10 milliseconds')`;
    expect(await runs()).toEqual([]);
  });
});

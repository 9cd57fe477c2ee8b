// What an office sees of its workflows is what happened: whatever happens, in whatever order, folded or not, and when
// the runs themselves are long gone. Counted beside it from history, a copy of which is kept before it is pruned.
import fc from "fast-check";
import type { Sql } from "postgres";
import "../../support/properties.ts";
import { describe, expect, it } from "vitest";
import { asRole, useDatabase, withDatabase } from "../../support/database.ts";

const database = useDatabase();

interface Office {
  sql: Sql;
  tenant: string;
  workflow: string;
  contacts: number;
}

const steps = [
  { key: "hello", type: "send_sms", config: { body: "Hi" } },
  {
    key: "vip",
    type: "create_task",
    config: { title: "VIP" },
    conditions: [{ field: "contact.type", operator: "equals", value: "customer" }],
  },
  { key: "mail", type: "send_email", config: { subject: "Hi", text: "Hi" }, error: true },
  { key: "reply", type: "wait", config: { event: "sms_received", timeout: "2 days" } },
  { key: "later", type: "create_task", config: { title: "Later" }, delay: 60 * 36 },
];

async function open(sql: Sql): Promise<Office> {
  const [tenant] = await sql<{ id: string }[]>`
    insert into public.tenants (name, timezone) values ('Apex', 'America/Los_Angeles') returning id`;
  const [workflow] = await sql<{ id: string }[]>`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, settings)
    values (${tenant!.id}, 'Welcome', 'contact_created',
      '{"exit_events": [{"type": "stage_changed"}], "reentry": "never", "dedupe_key": "{{contact.first_name}}"}')
    returning id`;
  for (const [n, { key, type, config, conditions, delay, error }] of steps.entries()) {
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_key, step_type,
        step_config, conditions, delay_minutes, continue_on_error)
      values (${tenant!.id}, ${workflow!.id}, ${n}, ${key}, ${type}, ${sql.json(config)},
        ${sql.json(conditions ?? [])}, ${delay ?? 0}, ${error ?? false})`;
  }
  await sql`update ridgeline.workflows set is_active = true where id = ${workflow!.id}`;
  await sql`
    insert into ridgeline.senders (tenant_id, channel, kind, provider, limits, address, is_default)
    values (${tenant!.id}, 'sms', 'number', 'twilio', '{"per_second": 0}', ${
    "+1512" + String(Date.now()).slice(-4) + String(Math.floor(Math.random() * 900) + 100)
  }, true)`;
  await sql`
    create table if not exists public.copied_runs as select * from ridgeline.workflow_executions limit 0`;
  await sql`
    create table if not exists public.copied_steps as
      select s.*, null::uuid as workflow_id, null::integer as version
      from ridgeline.workflow_step_executions as s limit 0`;
  return { sql, tenant: tenant!.id, workflow: workflow!.id, contacts: 0 };
}

/** What is in history now replaces what was copied of it before. */
async function copy({ sql, tenant }: Office): Promise<void> {
  await sql`delete from public.copied_runs where id in (select id from ridgeline.workflow_executions)`;
  await sql`
    delete from public.copied_steps
    where execution_id in (select id from ridgeline.workflow_executions)`;
  await sql`
    insert into public.copied_runs
    select * from ridgeline.workflow_executions where tenant_id = ${tenant}`;
  await sql`
    insert into public.copied_steps
    select s.*, e.workflow_id, e.version from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.id = s.execution_id where e.tenant_id = ${tenant}`;
}

/** Counted one by one. */
async function counted(office: Office) {
  await copy(office);
  return await office.sql`
    with facts (version, step_key, at, fact) as (
      select version, '', created_at, 'entered' from copied_runs where tenant_id = ${office.tenant}
      union all
      select version, '', finished_at, case status when 'cancelled' then 'exited' else status::text end
      from copied_runs where tenant_id = ${office.tenant} and finished_at is not null
      union all
      select version, '', created_at, 'waiting'
      from copied_runs where tenant_id = ${office.tenant} and finished_at is null
      union all
      select e.version, q.step_key, e.created_at, 'waiting'
      from ridgeline.scheduled_steps as q join ridgeline.workflow_executions as e on e.id = q.execution_id
      where q.tenant_id = ${office.tenant} and e.finished_at is null
      union all
      select version, step_key, started_at, 'entered' from copied_steps where tenant_id = ${office.tenant}
      union all
      select version, step_key, finished_at, case status when 'cancelled' then 'exited' else status::text end
      from copied_steps where tenant_id = ${office.tenant} and finished_at is not null
      union all
      select s.version, s.step_key, f.at, f.fact from copied_steps as s
      cross join lateral (values
        (case when s.status = 'completed' and s.step_type in ('send_sms', 'send_email') then s.finished_at end, 'sent'),
        (s.delivered_at, 'delivered'), (s.opened_at, 'opened'), (s.clicked_at, 'clicked'),
        (s.replied_at, 'replied')) as f (at, fact)
      where s.tenant_id = ${office.tenant} and f.at is not null
    )
    select version, step_key, (at at time zone 'America/Los_Angeles')::date::text as day, fact, count(*)::int as n
    from facts group by 1, 2, 3, 4 order by 1, 2, 3, 4`;
}

/** What the view says, in the same form; its zeros left out. */
async function told({ sql, tenant }: Pick<Office, "sql" | "tenant">) {
  return await sql`
    select s.version, s.step_key, s.day::text, f.key as fact, f.value::int as n
    from ridgeline.workflow_statistics as s
    cross join lateral jsonb_each_text(to_jsonb(s)
      - array['tenant_id', 'workflow_id', 'version', 'step_key', 'day', 'mode', 'cost']) as f
    where s.tenant_id = ${tenant} and f.value <> '0' order by 1, 2, 3, 4`;
}

type Happening =
  | { what: "lead"; kind: string; again: boolean }
  | { what: "claim"; outcomes: string[] }
  | { what: "news"; news: string }
  | { what: "pass"; hours: number }
  | {
    what:
      | "work"
      | "reply"
      | "stop"
      | "cancel"
      | "retry"
      | "publish"
      | "move"
      | "stage"
      | "fold"
      | "prune";
  };

const happening: fc.Arbitrary<Happening> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      what: fc.constant("lead" as const),
      kind: fc.constantFrom("lead", "customer"),
      again: fc.boolean(),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      what: fc.constant("claim" as const),
      outcomes: fc.array(
        fc.constantFrom("succeeded", "succeeded", "failed", "retry", "ambiguous", "none"),
        { minLength: 1, maxLength: 4 },
      ),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant("news" as const),
      news: fc.constantFrom("delivered", "opened", "clicked", "bounced"),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      what: fc.constant("pass" as const),
      hours: fc.constantFrom(1, 9, 30, 60, 24 * 100, 24 * 420),
    }),
  },
  { weight: 6, arbitrary: fc.record({ what: fc.constant("work" as const) }) },
  {
    weight: 9,
    arbitrary: fc.record({
      what: fc.constantFrom(
        "reply",
        "stop",
        "cancel",
        "retry",
        "publish",
        "move",
        "stage",
        "fold",
        "prune",
      ),
    }) as fc.Arbitrary<Happening>,
  },
);

const lead: Happening = { what: "lead", kind: "lead", again: false };
const claim = (...outcomes: string[]): Happening => ({ what: "claim", outcomes });
const simply = (
  what: "work" | "retry" | "publish" | "move" | "fold" | "prune" | "cancel",
): Happening => ({ what });

/** What chance would seldom bring together: always tried, first. */
const examples: [Happening[]][] = [
  // A run that failed is taken up again the day after, and succeeds.
  [[
    lead,
    claim("failed"),
    { what: "pass", hours: 30 },
    simply("fold"),
    simply("retry"),
    claim("succeeded"),
    simply("work"),
  ]],
  // One in flight moves to another version, and its steps with it.
  [[
    lead,
    claim("succeeded"),
    simply("work"),
    { what: "news", news: "delivered" },
    simply("fold"),
    simply("publish"),
    simply("move"),
    claim("succeeded"),
    simply("work"),
  ]],
  // An email is opened and clicked; a customer gets a task besides.
  [[
    { what: "lead", kind: "customer", again: false },
    claim("succeeded"),
    simply("work"),
    claim("succeeded"),
    { what: "news", news: "opened" },
    simply("fold"),
    { what: "news", news: "clicked" },
  ]],
  // One is cancelled while a dispatcher has its step.
  [[
    lead,
    claim("none"),
    simply("cancel"),
    { what: "pass", hours: 30 },
    simply("work"),
    simply("fold"),
    { what: "pass", hours: 24 * 420 },
    simply("prune"),
  ]],
];

let ids = 0;

async function happens(office: Office, event: Happening): Promise<void> {
  const { sql, tenant, workflow } = office;
  switch (event.what) {
    case "lead": {
      const n = event.again ? Math.max(1, office.contacts) : ++office.contacts;
      await sql`
        insert into public.contacts (tenant_id, first_name, phone, email, type)
        values (${tenant}, ${"N" + n}, ${
        "+1415555" + (1000 + n)
      }, ${`n${n}@example.com`}, ${event.kind})`;
      break;
    }
    case "claim": {
      const claimed = await sql`
        select tenant_id, step_id, attempt_token from automation.claim_steps('w', ${event.outcomes.length})`;
      const reports = claimed.map((step, n) => ({
        ...step,
        outcome: event.outcomes[n]!,
        result: { provider_id: `P${++ids}` },
        error: { code: "x", message: "x" },
      })).filter(({ outcome }) => outcome !== "none");
      await sql`select * from automation.finish_steps(${sql.json(reports)})`;
      break;
    }
    case "news": {
      const sent = await sql`
        select provider_id, step_type from ridgeline.workflow_step_executions
        where tenant_id = ${tenant} and provider_id is not null order by id desc limit 2`;
      for (const { provider_id, step_type } of sent) {
        if (step_type === "send_sms") {
          await sql`select automation.record_message_status(${
            sql.json({
              message_sid: provider_id,
              status: event.news === "bounced" ? "failed" : "delivered",
            })
          })`;
        } else {
          await sql`
            select automation.record_email_event(${`E${++ids}`}, jsonb_build_object('email_id', ${provider_id}::text,
              'type', ${event.news}::text, 'occurred_at', automation.now() + interval '1 minute', 'link', 'https://a.example'))`;
        }
      }
      break;
    }
    case "pass":
      await sql`select automation.advance_clock(make_interval(hours => ${event.hours}))`;
      await sql`update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 s'
        where lease_expires_at is not null`;
      break;
    case "work":
      await sql`select automation.tick()`;
      break;
    case "reply":
    case "stop":
      await sql`
        select automation.receive_sms(jsonb_build_object('message_sid', ${`S${++ids}`}::text, 'from', ${
        "+1415555" + (1000 + Math.max(1, office.contacts))
      }::text,
          'to', s.address, 'body', ${event.what === "stop" ? "STOP" : "Yes, please"}::text))
        from ridgeline.senders as s where s.tenant_id = ${tenant}`;
      break;
    case "cancel":
      await sql`
        select ridgeline.cancel_execution(e.id, ${tenant}) from (
          select id from ridgeline.workflow_executions
          where tenant_id = ${tenant} and finished_at is null order by id limit 1) as e`;
      break;
    case "retry":
      await sql`
        select ridgeline.retry_execution(e.id, ${tenant}) from (
          select id from ridgeline.workflow_executions
          where tenant_id = ${tenant} and status = 'failed' order by id limit 1) as e`;
      break;
    case "publish":
      await sql`update ridgeline.workflow_steps set name = ${`Named ${++ids}`} where workflow_id = ${workflow}`;
      await sql`select ridgeline.publish_workflow(${workflow}, tenant_id => ${tenant})`;
      break;
    case "move":
      await sql`select ridgeline.move_executions(${workflow}, tenant_id => ${tenant})`;
      break;
    case "stage":
      await sql`
        update public.contacts set stage = ${`S${++ids}`} where id = (
          select id from public.contacts where tenant_id = ${tenant} order by created_at desc limit 1)`;
      break;
    case "fold":
      await sql`select automation.fold_statistics(3)`;
      break;
    case "prune":
      await copy(office);
      await sql`
        update automation.retention_places
        set next_at = '-infinity', began_at = case when kind = 'tenants' then began_at else '-infinity' end`;
      await sql`call automation.prune_history('2 seconds')`;
      break;
  }
}

describe("the statistics of an office", () => {
  it("are what happened", async () => {
    const { sql } = database();
    await sql`update automation.settings set value = '0' where name in ('retry_base', 'retry_cap', 'reconcile_delay')`;
    const seen = new Set<string>();
    await fc.assert(
      fc.asyncProperty(fc.array(happening, { minLength: 15, maxLength: 45 }), async (events) => {
        const office = await open(sql);
        for (const event of events) await happens(office, event);
        const expected = await counted(office);
        expect(await told(office)).toEqual(expected);
        await sql`select automation.fold_statistics()`;
        expect(await told(office)).toEqual(expected);
        for (const { fact } of expected) seen.add(fact as string);
        await sql`update ridgeline.workflows set is_active = false where tenant_id = ${office.tenant}`;
        await sql`delete from ridgeline.scheduled_steps where tenant_id = ${office.tenant}`;
      }),
      { numRuns: Number(process.env.RIDGELINE_PROPERTY_RUNS ?? 25), examples },
    );
    expect([...seen].sort()).toEqual([
      "clicked",
      "completed",
      "delivered",
      "entered",
      "exited",
      "failed",
      "opened",
      "replied",
      "sent",
      "skipped",
      "waiting",
    ]);
  }, 300_000);

  it("are those of its members' tenants alone", async () => {
    await withDatabase(async ({ sql }) => {
      const [apex, blue] = [await open(sql), await open(sql)];
      const [member] = await sql<{ user_id: string }[]>`
        insert into public.tenant_members (tenant_id, user_id, role)
        values (${apex.tenant}, gen_random_uuid(), 'member') returning user_id`;
      for (const office of [apex, blue]) {
        await happens(office, { what: "lead", kind: "lead", again: false });
        await happens(office, { what: "claim", outcomes: ["failed"] });
      }
      const rows = "select distinct tenant_id from ridgeline.workflow_statistics order by 1";
      const both = [apex.tenant, blue.tenant].sort().map((tenant_id) => ({ tenant_id }));
      for (const fold of [false, true]) {
        if (fold) await sql`select automation.fold_statistics()`;
        const mine = await asRole(sql, { user: member!.user_id }, (as) => as.unsafe(rows));
        expect([...mine]).toEqual([{ tenant_id: apex.tenant }]);
        const all = await asRole(sql, "service_role", (as) => as.unsafe(rows));
        expect([...all]).toEqual(both);
        await expect(asRole(sql, "anon", (as) => as.unsafe(rows))).rejects.toThrow(
          /permission denied/,
        );
      }
    });
  });

  it("are folded by one at a time, and by nobody twice", async () => {
    await withDatabase(async ({ sql, connect }) => {
      const office = await open(sql);
      for (let n = 0; n < 20; n++) {
        await happens(office, { what: "lead", kind: "lead", again: false });
        await happens(office, { what: "claim", outcomes: ["failed"] });
      }
      const expected = await told(office);
      const session = await connect({ max: 1 }).reserve();
      await session`begin`;
      expect((await session`select automation.fold_statistics(7) as n`)[0]?.n).toBe(7);
      expect((await sql`select automation.fold_statistics(7) as n`)[0]?.n).toBe(0);
      expect(await told(office)).toEqual(expected);
      const [{ pid } = { pid: 0 }] = await session<
        { pid: number }[]
      >`select pg_backend_pid() as pid`;
      await sql`select pg_terminate_backend(${pid})`;
      await expect.poll(async () => (await sql`select automation.fold_statistics() as n`)[0]?.n)
        .toBeGreaterThan(7);
      expect(await told(office)).toEqual(expected);
    });
  });
});

// What a set costs is what is in it: neither the history and the backlog of its tenant, nor the statistics of another
// day, nor a session that made its plans when all was empty, nor ten thousand tenants who wait. Counted in pages,
// which no other load of the machine disturbs.
import type { Sql } from "postgres";
import { describe, expect, it } from "vitest";
import { type TestDatabase, withDatabase } from "../support/database.ts";
import { pagesOf } from "../support/pages.ts";

const FEW = 300;
const MANY = 30_000;
/** In a set. */
const SET = 20;
/** Levels of indexes, and dead entries not cleared yet, that each element of a set may meet on tables a hundred times as large. */
const MORE_PAGES_EACH = 30;

/** Of an idle call the least of a few: what is done once a minute, and what autovacuum has not seen yet, is not of it. */
async function idlePagesOf(sql: Sql, statement: string): Promise<number> {
  const pages: number[] = [];
  for (let times = 0; times < 4; times++) pages.push(await pagesOf(sql, statement));
  return Math.min(...pages);
}

/** For contacts that come from such a source; without one, for those that are enrolled by hand. */
async function workflow(
  sql: Sql,
  tenant: string,
  source: string | undefined,
  steps: object[],
): Promise<void> {
  const [flow] = await sql`
    insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config)
    values (${tenant}, ${source ?? "bulk"}, ${source ? "contact_created" : "manual"}, ${
    sql.json(source ? { source } : {})
  }) returning id`;
  for (const [place, step] of steps.entries()) {
    await sql`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config, delay_minutes)
      select ${tenant}, ${flow!.id}, ${place}, s.type, s.config, coalesce(s.delay, 0)
      from jsonb_to_record(${sql.json(step as never)}) as s (type text, config jsonb, delay int)`;
  }
  await sql`update ridgeline.workflows set is_active = true where id = ${flow!.id}`;
}

/** Sets are as large whatever the machine is at. */
async function keepSets(sql: Sql): Promise<void> {
  await sql.unsafe(`
    create or replace function automation.portion_length() returns interval language sql immutable
      as $$ select interval '1 hour' $$;
    create or replace function automation.grown(size integer, took interval) returns integer language sql immutable
      as $$ select 200 $$`);
}

async function open({ sql }: TestDatabase): Promise<string> {
  const [tenant] = await sql`insert into tenants (name) values ('Apex Roofing') returning id`;
  const task = { type: "create_task", config: { title: "Call {{contact.first_name}}" } };
  await workflow(sql, tenant!.id, "chain", Array(5).fill(task));
  await workflow(sql, tenant!.id, "email", [
    { type: "send_email", config: { subject: "Hi", text: "Hi {{contact.first_name}}" } },
  ]);
  await workflow(sql, tenant!.id, "sms", [
    { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } },
  ]);
  await workflow(sql, tenant!.id, "webhook", [
    { type: "webhook", config: { url: "https://example.com/{{contact.id}}" } },
  ]);
  await workflow(sql, tenant!.id, undefined, [{ ...task, delay: 3_000 }]);
  await keepSets(sql);
  // Statistics are taken here when a test says so: a session that hears of others plans anew, and reads for that.
  const tables = await sql<{ name: string }[]>`
    select c.oid::regclass::text as name from pg_class as c
    where c.relkind = 'r' and c.relnamespace::regnamespace::text in ('automation', 'public', 'ridgeline')`;
  for (const { name } of tables) {
    await sql.unsafe(`alter table ${name} set (autovacuum_enabled = off)`);
  }
  return tenant!.id;
}

/** Contacts, what they were sent, runs that have ended, and as many that wait for another day, of the tenant itself. */
async function fill({ sql }: TestDatabase, tenant: string, rows: number): Promise<void> {
  await sql.begin(async (transaction) => {
    await transaction`set local session_replication_role = replica`;
    await transaction`
      with people as (
        insert into contacts (tenant_id, first_name, email, phone)
        select ${tenant}, 'Zoe', 'zoe' || n || '@example.com', '+1737' || 5550000 + n
        from generate_series(1, ${rows}::int) as n
        returning tenant_id, id, phone
      ), texts as (
        insert into ridgeline.messages (
          tenant_id, contact_id, direction, from_number, to_number, body, status, provider_id)
        select p.tenant_id, p.id, d.direction, p.phone, p.phone, 'Hi', 'sent', d.direction || p.id
        from people as p, (values ('inbound'), ('outbound')) as d (direction)
      )
      insert into automation.marketing_sent (tenant_id, person, step_id, at)
      select p.tenant_id, w.person, gen_random_uuid(), now()
      from people as p, unnest(array[p.phone, 'contact ' || p.id]) as w (person)`;
    await transaction`
      with runs as (
        insert into ridgeline.workflow_executions (tenant_id, workflow_id, version, status, trigger_type,
          trigger_data, entity, record_id, finished_at)
        select w.tenant_id, w.id, 1, 'completed', 'contact_created', '{}', 'contact', n::text, now()
        from ridgeline.workflows as w, generate_series(1, ${rows}::int) as n
        where w.tenant_id = ${tenant} and w.name = 'email'
        returning tenant_id, id
      ), ledger as (
        insert into ridgeline.workflow_step_executions (tenant_id, execution_id, step_key, step_type, status,
          input, provider_id, recipient, finished_at)
        select r.tenant_id, r.id, 'step_1', 'send_email', 'completed', '{}', 'EM' || r.id, 'maria@example.com', now()
        from runs as r
      )
      insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
      select r.tenant_id, r.id, 'step_1', l.lane, now() + interval '1 day'
      from runs as r, (values ('email'::ridgeline.automation_lane), ('database')) as l (lane)`;
  });
}

const STATEMENTS = [
  "claim of emails",
  "finish of emails",
  "claim of texts",
  "try texts again",
  "second claim of texts",
  "finish of texts",
  "claim of webhooks",
  "finish of webhooks",
  "bulk enrolment",
  "stop",
  "chain",
  "idle claim",
  "idle tick",
  "reap",
] as const;
type Pages = Record<typeof STATEMENTS[number], number>;

/** A set of messages of each kind, of records enrolled and of chains of five, from due to done, in one session. */
async function measure(sql: Sql, tenant: string, set = SET): Promise<Pages> {
  // An address of its own for each: nobody is written to twice in a minute.
  const insert = (source: string) =>
    sql<{ id: string }[]>`
      insert into contacts (tenant_id, source, first_name, email, phone)
      select ${tenant}, ${source}, 'Maria', c.all + n || '@example.com', '+1512' || 5550000 + c.all + n
      from generate_series(1, ${set}::int) as n, (select count(*) as all from contacts) as c
      returning id::text`;
  const claimed = async (channel: string) => {
    const wanted = { [channel]: { most: 1000, but: [] } };
    const [portion] = await sql`select id from automation.begin_portions(${sql.json(wanted)})`;
    const read = await pagesOf(
      sql,
      `select * from automation.claim_portion('${portion!.id}', 'w')`,
    );
    const steps = await sql`
      select tenant_id, id as step_id, attempt_token from ridgeline.scheduled_steps where leased_by = 'w'`;
    expect(steps).toHaveLength(set);
    return { read, steps };
  };
  const finish = async (steps: readonly object[], outcome: string) => {
    const results = steps.map((step) => ({
      ...step,
      outcome,
      result: { provider_id: `ID${(step as { step_id: string }).step_id}` },
    }));
    return await pagesOf(sql, "select * from automation.finish_steps($1::text::jsonb)", [
      JSON.stringify(results),
    ]);
  };
  const pages = {} as Pages;
  for (const [channel, kind] of [["email", "emails"], ["webhook", "webhooks"]] as const) {
    await insert(channel);
    const { read, steps } = await claimed(channel);
    pages[`claim of ${kind}`] = read;
    pages[`finish of ${kind}`] = await finish(steps, "succeeded");
  }
  await insert("sms");
  const texts = await claimed("sms");
  pages["claim of texts"] = texts.read;
  pages["try texts again"] = await finish(texts.steps, "retry");
  await sql`update ridgeline.scheduled_steps set run_at = now() where attempt = 1 and lane = 'sms'`;
  const again = await claimed("sms");
  pages["second claim of texts"] = again.read;
  pages["finish of texts"] = await finish(again.steps, "succeeded");
  await insert("email");
  await claimed("email");
  await sql`
    update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'
    where leased_by = 'w'`;
  pages.reap = await pagesOf(sql, `select automation.reap_expired_leases(${set})`);
  const records = (await insert("nowhere")).map(({ id }) => id);
  pages["bulk enrolment"] = await pagesOf(
    sql,
    `select ridgeline.enroll_records(w.id, record_ids => $1::text::text[], entity => 'contact')
    from ridgeline.workflows as w where w.name = 'bulk'`,
    [`{${records}}`],
  );
  const enrolled = await sql`
    select from ridgeline.workflow_executions
    where entity = 'contact' and record_id = any (${records}::text[])`;
  expect(enrolled).toHaveLength(set);
  pages.stop = await pagesOf(
    sql,
    `select automation.stop_executions(array_agg(e.run), array_agg('cancelled'::ridgeline.automation_status),
      array_agg('{"code": "stopped"}'::jsonb))
    from unnest($1::text::text[]) as r (id)
    cross join lateral (
      select x as run from ridgeline.workflow_executions as x where x.record_id = r.id offset 0) as e`,
    [`{${records}}`],
  );
  await sql`update ridgeline.scheduled_steps set run_at = now() + interval '1 day' where run_at < now() + interval '1 hour'`;
  await insert("chain");
  const [portion] = await sql`select id from automation.begin_portion('database', 200)`;
  pages.chain = await pagesOf(sql, `select automation.run_portion('${portion!.id}', 1, 200)`);
  await sql`select automation.end_portion(${portion!.id})`;
  const [tasks] = await sql`select count(*)::int as n from tasks`;
  expect(tasks).toEqual({ n: 5 * set });
  await sql`delete from tasks`;
  pages["idle claim"] = await idlePagesOf(sql, "select * from automation.claim_steps('w', 50)");
  pages["idle tick"] = await idlePagesOf(sql, "select automation.tick()");
  return pages;
}

type Regime = "plans made when all was empty" | "statistics of then" | "statistics of now";

async function pagesWith(rows: number): Promise<Record<Regime, Pages>> {
  return await withDatabase(async (database) => {
    const tenant = await open(database);
    const { sql } = database;
    const old = database.connect({ max: 1 });
    for (let times = 0; times < 6; times++) await measure(old, tenant, 1);
    await sql`analyze`;
    await fill(database, tenant, rows);
    const regimes = {} as Record<Regime, Pages>;
    regimes["plans made when all was empty"] = await measure(old, tenant);
    const stale = database.connect({ max: 1 });
    await measure(stale, tenant, 1);
    regimes["statistics of then"] = await measure(stale, tenant);
    await sql`vacuum analyze`;
    const fresh = database.connect({ max: 1 });
    await measure(fresh, tenant, 1);
    regimes["statistics of now"] = await measure(fresh, tenant);
    return regimes;
  });
}

describe("a set", () => {
  it("reads as many pages while a hundred times as many rows are there", async () => {
    const [small, large] = [await pagesWith(FEW), await pagesWith(MANY)];
    const more: string[] = [];
    for (const [regime, pages] of Object.entries(large)) {
      for (const statement of STATEMENTS) {
        const each = statement === "chain" ? 5 * SET : statement.startsWith("idle") ? 3 : SET;
        const before = small[regime as Regime][statement];
        if (pages[statement] > before + each * MORE_PAGES_EACH) {
          more.push(`${statement}, ${regime}: ${pages[statement]} pages, ${before} with few rows`);
        }
      }
    }
    expect(more).toEqual([]);
  }, 300_000);
});

describe("ten thousand tenants who wait", () => {
  /** Of each tenant a step for another day; of the first so many one that is due. */
  const pagesFor = (tenants: number, due: number, each: number) =>
    withDatabase(async ({ sql, connect }) => {
      await sql.begin(async (transaction) => {
        await transaction`set local session_replication_role = replica`;
        await transaction`
          insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
          select md5('tenant ' || n)::uuid, gen_random_uuid(), 'step_1', 'sms'::ridgeline.automation_lane,
            now() + interval '1 day'
          from generate_series(1, ${tenants}::int) as n
          union all
          select md5('tenant ' || n)::uuid, gen_random_uuid(), 'step_1', 'sms', now() - interval '1 hour'
          from generate_series(1, ${due}::int) as n, generate_series(1, ${each}::int)`;
      });
      await sql`vacuum analyze ridgeline.scheduled_steps`;
      const one = connect({ max: 1 });
      await one`select automation.due_tenants('sms', 50)`;
      const [found] = await one`select cardinality(automation.due_tenants('sms', 50)) as n`;
      return {
        found: found!.n as number | null,
        pages: await idlePagesOf(one, "select automation.due_tenants('sms', 50)"),
        tick: await idlePagesOf(one, "select automation.tick()"),
      };
    });

  it.each([["nobody", 0, 1, null], ["twenty", 20, 1, 20], ["one with a flood", 1, 2_000, 1]])(
    "cost nothing while %s has work",
    async (_who, due, each, found) => {
      const [few, many] = [await pagesFor(1_000, due, each), await pagesFor(10_000, due, each)];
      expect([few.found, many.found]).toEqual([found, found]);
      // 500 hops along an index that is a level higher.
      expect(many.pages).toBeLessThan(few.pages + (each > 1 ? 1_500 : 20));
      expect(many.tick).toBeLessThan(few.tick + 20);
    },
    120_000,
  );

  it("and all are due cost a claim no more than a thousand of them", async () => {
    const [few, many] = [await pagesFor(1_000, 1_000, 1), await pagesFor(10_000, 10_000, 1)];
    expect([few.found, many.found]).toEqual([50, 50]);
    expect(many.pages).toBeLessThan(few.pages + 1_500);
  }, 120_000);
});

describe("a portion of a backlog that is due", () => {
  /** Pages that a session reads to take up twenty, having planned when so many were due and nobody had counted them. */
  const pagesBehind = (due: number) =>
    withDatabase(async ({ sql, connect }) => {
      await sql`alter table ridgeline.scheduled_steps set (autovacuum_enabled = off)`;
      await sql`vacuum analyze ridgeline.scheduled_steps`;
      await sql.begin(async (transaction) => {
        await transaction`set local session_replication_role = replica`;
        await transaction`
          insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
          select md5('tenant')::uuid, gen_random_uuid(), 'step_1', 'sms', now() - interval '1 hour'
          from generate_series(1, ${due}::int)`;
      });
      const one = connect({ max: 1 });
      await one`select from automation.begin_portions('{"sms": {"most": 20, "but": []}}')`;
      const lock = "select cardinality(automation.lock_portion(p)) from automation.portions as p";
      const [found] = await one.unsafe(lock);
      return { found: found!.cardinality as number, pages: await pagesOf(one, lock) };
    });

  it("reads as many pages behind a hundred steps as behind a thousand", async () => {
    const [few, many] = [await pagesBehind(100), await pagesBehind(1_000)];
    expect([few.found, many.found]).toEqual([20, 20]);
    expect(many.pages).toBeLessThan(few.pages + 20 * MORE_PAGES_EACH);
  }, 120_000);
});

describe("what fifty runs ask of tables", () => {
  const greeting =
    "Hi {{contact.first_name}}, {{user.full_name | default: 'all'}} of {{tenant.name}} here";
  const kinds = [
    ["database", "create_task", { title: greeting }],
    ["sms", "send_sms", {
      body: `${greeting}: {{tenant.website}}/offer https://apex.example/terms`,
      purpose: "transactional",
      track_links: true,
    }],
    ["email", "send_email", { subject: "Offer", text: greeting, purpose: "marketing" }],
    ["webhook", "webhook", { url: "https://example.com/{{contact.id}}?by={{user.full_name}}" }],
  ] as const;
  /** Each ends early for a reason of the contact's, its user's or its office's, and lets nobody in twice. */
  const rules = {
    reentry: "never",
    dedupe_key: "{{contact.email}} {{tenant.name}}",
    exit_conditions: {
      operator: "and",
      conditions: [
        { field: "contact.company", operator: "equals", value: "Gone" },
        { field: "user.full_name", operator: "equals", value: "Nobody" },
      ],
    },
  };
  const sam = "00000000-0000-4000-8000-0000000000aa";
  /** They read a row of a small table for each message: its sender, how numbers of a country are written, settings. */
  const known = [
    "default_sender",
    "environment_serves",
    "mapped_value",
    "phone_abroad",
    "read_phone",
    "setting",
    "test_now",
    // Nothing but for shadows, and but for forms that strangers posted.
    "as_if",
    "speaking_execution",
  ];

  async function office(sql: Sql): Promise<string> {
    const [tenant] = await sql`
      insert into tenants (name, address, website)
      values ('Apex Roofing', '1 Main St, Austin TX 78701', 'https://apex.example') returning id`;
    await sql`
      insert into tenant_members (tenant_id, user_id, role, full_name)
      values (${tenant!.id}, ${sam}, 'owner', 'Sam')`;
    for (const [, type, config] of kinds) await workflow(sql, tenant!.id, type, [{ type, config }]);
    await sql`update ridgeline.workflows set settings = ${sql.json(rules)}`;
    // Besides: a run of these takes the place of another of its record.
    await workflow(sql, tenant!.id, "restart", [{
      type: "create_task",
      config: { title: greeting },
    }]);
    await sql`update ridgeline.workflows set settings = '{"reentry": "restart"}' where name = 'restart'`;
    await sql`select ridgeline.publish_workflow(id) from ridgeline.workflows`;
    // An event that is none of theirs has not been acted on.
    await sql`
      insert into automation.signals (tenant_id, role, entity, record_id) values (${
      tenant!.id
    }, 'deleted', 'job', '1')`;
    return tenant!.id;
  }

  /** How often each function that names a table was called while so many steps were worked on. */
  async function callsFor(sql: Sql, tenant: string, lane: string, type: string, set: number) {
    await sql`
      insert into contacts (tenant_id, source, first_name, email, phone, assigned_to)
      select ${tenant}, ${type}, 'Maria', c.all + n || '@example.com', '+1512' || 5550000 + c.all + n, ${sam}
      from generate_series(1, ${set}::int) as n, (select count(*) as all from contacts) as c`;
    return await sql.begin(async (transaction) => {
      // A session's counts are its own for a while after a commit.
      const counted = async () => {
        const rows = await transaction<{ name: string; calls: number }[]>`
          select f.funcname as name, sum(f.calls)::int as calls
          from pg_stat_xact_user_functions as f join pg_proc as p on p.oid = f.funcid
          where p.prosrc ~ '(from|into|update|join) (automation|ridgeline|public|vault)[.][a-z_]+( as|\\s|$)'
          group by 1`;
        return new Map(rows.map(({ name, calls }) => [name, calls]));
      };
      const dues =
        `array(select s from ridgeline.scheduled_steps as s where s.lane = '${lane}' and s.attempt = 0)`;
      await transaction`set local track_functions = 'all'`;
      await transaction`set local automation.functions_address = 'https://apex.example/functions'`;
      const before = await counted();
      const [did] = await transaction.unsafe(
        lane === "database"
          ? `select (automation.run_batch(${dues})).ran as steps`
          : `select cardinality((automation.claim_batch(${dues}, 'w', '60 seconds')).claimed) as steps`,
      );
      expect(did).toEqual({ steps: set });
      const calls = [...await counted()];
      return new Map(calls.map(([name, after]) => [name, after - (before.get(name) ?? 0)]));
    });
  }

  it(
    "five ask as well: whom they speak of, whether they go on and come in, their links",
    async () => {
      await withDatabase(async ({ sql, connect }) => {
        const tenant = await office(sql);
        await keepSets(sql);
        const one = connect({ max: 1 });
        const more: string[] = [];
        for (const [lane, type] of [...kinds, ["database", "restart"] as const]) {
          await callsFor(one, tenant, lane, type, 2);
          const few = await callsFor(one, tenant, lane, type, 5);
          const many = await callsFor(one, tenant, lane, type, 50);
          for (const [name, calls] of many) {
            if (calls > (few.get(name) ?? 0) && !known.includes(name)) {
              more.push(`${type}: ${name} ${few.get(name)} and ${calls} times`);
            }
          }
        }
        expect(more).toEqual([]);
      });
    },
    60_000,
  );
});

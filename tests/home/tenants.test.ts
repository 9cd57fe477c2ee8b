// A tenant that the CRM deletes goes with all it has here, a portion at a time, and takes nobody else's with it.
import type { Sql } from "postgres";
import { afterEach, beforeEach, expect, it } from "vitest";
import {
  type Host,
  LAKESIDE,
  LENA,
  MARIA,
  OLIVIA,
  OWNER,
  publish,
  receive,
  send,
  speakAs,
  SUMMIT,
  useCopies,
  work,
} from "../support/host.ts";

const copyHost = useCopies();
let host: Host & { sql: Sql };
let sql: Sql;
beforeEach(async () => {
  host = await copyHost();
  sql = host.sql;
});
afterEach(() => host.drop());

/** How many rows each of our tables holds of a tenant; tables that hold none are left out. */
async function rowsOf(tenant: string): Promise<Record<string, number>> {
  const tables = await sql<{ name: string; column: string }[]>`
    select c.oid::regclass::text as name, a.attname as column from pg_class as c
    join pg_attribute as a on a.attrelid = c.oid and a.attname in ('tenant_id', 'account_of')
    where c.relnamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace) and c.relkind = 'r'
      and c.relname <> 'tenant_erasures'
    order by 1`;
  const counts: Record<string, number> = {};
  for (const { name, column } of tables) {
    const [{ n }] = await sql.unsafe<[{ n: number }]>(
      `select count(*)::int as n from ${name} where ${column} = $1`,
      [tenant],
    );
    if (n > 0) counts[name] = n;
  }
  return counts;
}

interface Entry {
  id: string;
  tenant_id: string;
  cause: string;
  status: string;
  requested_as: string | null;
  erased: Record<string, number>;
}
const entries = () => sql<Entry[]>`select * from ridgeline.tenant_erasures order by requested_at`;
const total = (erased: Record<string, number>) =>
  Object.values(erased).reduce((sum, rows) => sum + rows, 0);

/** A tenant that has used everything. */
async function fill(tenant: string, number: string, user: string): Promise<void> {
  await speakAs(sql, tenant, number);
  await sql`insert into ridgeline.tenant_settings (tenant_id, settings) values (${tenant}, '{"locale": "en"}')`;
  await publish(sql, tenant, "contact_created", [
    ["send_sms", { body: "Hi" }],
    ["send_email", { subject: "Hi", html: "<p>Hi</p>" }],
    ["assign_user", { user_ids: [user] }],
    ["create_task", { title: "Call" }, 1440],
  ], { settings: { exit_events: [{ type: "sms_received" }], reentry: { once_in: "1 day" } } });
  await publish(sql, tenant, "time_elapsed", [["create_task", { title: "Tomorrow" }]], {
    trigger_config: { entity: "appointment", field: "starts_at", offset: "-1 day" },
  });
  await publish(sql, tenant, "scheduled", [["create_task", { title: "Monthly" }]], {
    trigger_config: { cron: "0 9 1 * *", for_each: { entity: "contact" } },
  });
  const manual = await publish(sql, tenant, "manual", [["create_task", { title: "Now" }, 60]]);
  const contacts = await sql<{ id: string }[]>`
    insert into public.contacts (tenant_id, first_name, last_name, email, mobile_phone)
    select ${tenant}, 'Lead', n::text, n || '@example.com', '212555' || (2000 + n) from generate_series(1, 30) as n
    returning id`;
  await sql`
    insert into public.appointments (tenant_id, contact_id, starts_at)
    select ${tenant}, id, now() + interval '3 days' from public.contacts where tenant_id = ${tenant}`;
  await work(sql);
  await sql`select ridgeline.enroll_records(${manual}, ${
    contacts.map(({ id }) => id)
  }, tenant_id => ${tenant})`;
  await receive(sql, "+12125552001", "STOP", number);
  await receive(sql, "+12125552002", "Hello", number);
  await sql`
    insert into ridgeline.forms (tenant_id, name) values (${tenant}, 'Estimate')`;
  await sql`select automation.set_secret(${tenant}, 'twilio', 'shh')`;
  // What its own account at a provider tells, of a message that nobody knows yet.
  await sql`select automation.record_email_event(${"news of " + tenant}, ${
    sql.json({ type: "delivered", provider: "resend", email_id: "early", tenant_id: tenant })
  })`;
}

const secrets = async (tenant: string) =>
  (await sql`select from automation.list_secrets(${tenant})`).length;

it("every row of it, in portions, and none of anybody else's", async () => {
  await fill(SUMMIT, "+15125550100", "0b000000-0000-4000-8000-000000000003");
  await fill(LAKESIDE, "+13125550100", LENA);
  const others = await rowsOf(LAKESIDE);
  const before = await rowsOf(SUMMIT);
  expect(Object.keys(before).length).toBeGreaterThan(18);
  expect(before).toMatchObject({ "automation.early_events": 1, "automation.provider_events": 1 });

  await sql`delete from public.tenants where id = ${SUMMIT}`;
  // In the same commit: nothing starts any more, and nothing goes out.
  expect(await rowsOf(SUMMIT)).not.toHaveProperty("ridgeline.scheduled_steps");
  expect(await rowsOf(SUMMIT)).not.toHaveProperty("automation.active_triggers");

  const portions: number[] = [];
  for (let erased = 1; erased > 0;) {
    [{ erased }] = await sql<[{ erased: number }]>`select automation.erase_tenants(30) as erased`;
    portions.push(erased);
  }
  expect(portions.length).toBeGreaterThan(5);
  expect(Math.max(...portions)).toBeLessThanOrEqual(30);
  expect(await rowsOf(SUMMIT)).toEqual({ "automation.gone_tenants": 1 });
  expect(await rowsOf(LAKESIDE)).toEqual(others);
  expect([await secrets(SUMMIT), await secrets(LAKESIDE)]).toEqual([0, 1]);

  await sql`select automation.advance_clock('2 hours')`;
  await sql`select automation.tick()`;
  expect(await rowsOf(SUMMIT)).toEqual({});
  // What remains says so, and nothing else.
  const [entry] = await entries();
  expect(entry).toMatchObject({
    tenant_id: SUMMIT,
    cause: "deleted",
    status: "completed",
    requested_as: OWNER,
  });
  expect(Object.keys(entry!.erased).length).toBeGreaterThan(18);
  expect(total(entry!.erased)).toBe(portions.reduce((sum, portion) => sum + portion));
}, 120_000);

it(
  "where the CRM has no tenants it is asked for, by nobody but who runs the installation",
  async () => {
    await sql`select automation.detach_tenants()`;
    await fill(SUMMIT, "+15125550100", "0b000000-0000-4000-8000-000000000003");
    await fill(LAKESIDE, "+13125550100", LENA);
    const before = await rowsOf(SUMMIT);
    const ask = (role: string, tenant: string, sub?: string) =>
      sql.begin(async (transaction) => {
        await transaction`
        select set_config('request.jwt.claims', ${JSON.stringify({ role, sub })}, true),
          set_config('role', ${role}, true)`;
        return await transaction`select * from ridgeline.erase_tenant(${tenant})`;
      });
    await expect(ask("authenticated", SUMMIT, OLIVIA)).rejects.toThrow("permission denied");
    await expect(ask("anon", SUMMIT)).rejects.toThrow("permission denied");
    await expect(ask("service_role", "0a000000-0000-4000-8000-00000000000f")).rejects.toThrow(
      "was not found",
    );
    await expect(ask("service_role", "00000000-0000-0000-0000-000000000000")).rejects.toThrow(
      "was not found",
    );
    expect(await rowsOf(SUMMIT)).toEqual(before);

    const [asked] = await ask("service_role", SUMMIT);
    expect(asked).toMatchObject({ status: "running", requested_as: "service_role" });
    expect(await rowsOf(SUMMIT)).not.toHaveProperty("ridgeline.scheduled_steps");
    // Asked again: the same one.
    expect((await ask("service_role", SUMMIT))[0]).toEqual(asked);
    await sql`
    insert into public.contacts (tenant_id, first_name, last_name, phone) values (${SUMMIT}, 'A', 'B', '2125550142')`;
    expect((await work(sql)).filter(({ tenant_id }) => tenant_id === SUMMIT)).toEqual([]);
    const others = await rowsOf(LAKESIDE);
    const portions: number[] = [];
    for (let erased = 1; erased > 0;) {
      [{ erased }] = await sql<[{ erased: number }]>`select automation.erase_tenants(30) as erased`;
      portions.push(erased);
    }
    expect(Math.max(...portions)).toBeLessThanOrEqual(30);
    expect(await rowsOf(SUMMIT)).toEqual({ "automation.gone_tenants": 1 });
    expect(await rowsOf(LAKESIDE)).toEqual(others);
    expect([await secrets(SUMMIT), await secrets(LAKESIDE)]).toEqual([0, 1]);

    await sql`select automation.advance_clock('2 hours')`;
    await sql`select automation.tick()`;
    expect(await rowsOf(SUMMIT)).toEqual({});
    const [entry] = await entries();
    expect(entry).toMatchObject({ id: asked!.id, cause: "asked", status: "completed" });
    expect(total(entry!.erased)).toBeGreaterThan(100);
    // It is none of the other offices' business.
    const seenBy = (sub: string) =>
      sql.begin(async (transaction) => {
        const claims = JSON.stringify({ role: "authenticated", sub });
        await transaction`
        select set_config('request.jwt.claims', ${claims}, true), set_config('role', 'authenticated', true)`;
        return await transaction`select from ridgeline.tenant_erasures`;
      });
    expect([(await seenBy(OLIVIA)).length, (await seenBy(LENA)).length]).toEqual([1, 0]);
  },
  120_000,
);

it("one that the CRM still has is not forgotten, and one that it marks as deleted is", async () => {
  await speakAs(sql, SUMMIT, "+15125550100");
  await publish(sql, SUMMIT, "contact_updated", [["send_sms", { body: "Hi" }]]);
  await expect(sql`select ridgeline.erase_tenant(${SUMMIT})`).rejects.toThrow("the CRM still has");
  await sql`update public.tenants set is_deleted = true where id = ${SUMMIT}`;
  await sql`select ridgeline.erase_tenant(${SUMMIT})`;
  await sql`select automation.tick()`;
  expect(await rowsOf(SUMMIT)).toEqual({ "automation.gone_tenants": 1 });

  // Somebody takes it back, too late for what it had.
  await sql`update public.tenants set is_deleted = false where id = ${SUMMIT}`;
  await sql`select automation.tick()`;
  expect(await rowsOf(SUMMIT)).toEqual({});
  expect(await entries()).toMatchObject([{ cause: "asked", status: "withdrawn" }]);
});

it("what comes in late for it is nobody's", async () => {
  await fill(SUMMIT, "+15125550100", "0b000000-0000-4000-8000-000000000003");
  await sql`delete from public.tenants where id = ${SUMMIT}`;
  await receive(sql, "+12125552002", "Anybody there?");
  await sql`select automation.tick()`;
  for (let n = 0; n < 5; n++) await sql`select automation.tick()`;
  expect(await send(sql)).toEqual([]);
  expect(await rowsOf(SUMMIT)).toEqual({ "automation.gone_tenants": 1 });
}, 120_000);

it("one that is only marked as deleted is kept, and its runs end before their next step", async () => {
  await speakAs(sql, SUMMIT, "+15125550100");
  await publish(sql, SUMMIT, "contact_updated", [["send_sms", { body: "Hi" }, 60]]);
  await sql`update public.contacts set notes = 'x' where id = ${MARIA}`;
  await sql`update public.tenants set is_deleted = true where id = ${SUMMIT}`;
  await sql`select automation.advance_clock('2 hours')`;
  expect(await work(sql)).toEqual([]);
  expect(await sql`select status, error ->> 'code' as code from ridgeline.workflow_executions`)
    .toEqual([{ status: "cancelled", code: "tenant_deleted" }]);
  expect(await sql`select from automation.gone_tenants`).toHaveLength(0);

  await sql`update public.tenants set is_deleted = false where id = ${SUMMIT}`;
  await sql`update public.contacts set notes = 'y' where id = ${MARIA}`;
  await sql`select automation.advance_clock('2 hours')`;
  expect(await work(sql)).toHaveLength(1);
});

it("one that a restored backup brings back is heard again", async () => {
  await speakAs(sql, LAKESIDE, "+13125550100");
  await publish(sql, LAKESIDE, "contact_created", [["send_sms", { body: "Hi" }]]);
  await publish(sql, LAKESIDE, "scheduled", [["create_task", { title: "Monthly" }]], {
    trigger_config: { cron: "0 9 1 * *", for_each: { entity: "contact" } },
  });
  await sql`delete from public.tenants where id = ${LAKESIDE}`;
  await sql`insert into public.tenants (id, name) values (${LAKESIDE}, 'lakeside')`;
  await sql`select automation.tick()`;
  expect(await sql`select from ridgeline.workflow_schedules where next_run_at > now()`)
    .toHaveLength(1);
  await sql`
    insert into public.contacts (tenant_id, first_name, last_name, phone) values (${LAKESIDE}, 'A', 'B', '3125550142')`;
  expect((await work(sql)).map(({ payload }) => payload.to)).toEqual(["+13125550142"]);
});

it("of one that is brought back, what was under way has ended, and hangs nowhere", async () => {
  await speakAs(sql, SUMMIT, "+15125550100");
  await publish(sql, SUMMIT, "contact_updated", [["send_sms", { body: "Hi" }, 60]], {
    settings: { reentry: "not_while_open" },
  });
  await sql`update public.contacts set notes = 'x' where id = ${MARIA}`;
  // Its contacts stay, as where no key leads from them to it.
  await sql`alter table public.contacts drop constraint contacts_tenant_id_fkey`;
  await sql`delete from public.tenants where id = ${SUMMIT}`;
  await sql`insert into public.tenants (id, name) values (${SUMMIT}, 'summit')`;
  await sql`select automation.tick()`;
  const runs = () =>
    sql`select status, error ->> 'code' as code from ridgeline.workflow_executions order by seq`;
  expect(await runs()).toEqual([{ status: "cancelled", code: "tenant_deleted" }]);
  await sql`update public.contacts set notes = 'y' where id = ${MARIA}`;
  expect(await runs()).toMatchObject([{ status: "cancelled" }, { status: "waiting" }]);
});

it("a table of tenants that cannot be read ends nobody's runs", async () => {
  await speakAs(sql, SUMMIT, "+15125550100");
  await sql`update automation.settings set value = 'every_tenant' where name = 'environment_serves'`;
  await sql`insert into ridgeline.tenant_settings (tenant_id) values (${SUMMIT})`;
  await publish(sql, SUMMIT, "contact_updated", [["send_sms", { body: "Hi" }, 60]]);
  await sql`update public.contacts set notes = 'x' where id = ${MARIA}`;
  await sql`alter table public.tenants rename column is_deleted to hidden`;
  await sql`select automation.advance_clock('2 hours')`;
  expect(await work(sql)).toHaveLength(1);
});

it(
  "forgotten where the CRM has no tenants, it starts nothing and sends nothing, whatever is left of it",
  async () => {
    await sql`select automation.detach_tenants()`;
    await sql`update automation.settings set value = 'every_tenant' where name = 'environment_serves'`;
    await sql`insert into ridgeline.tenant_settings (tenant_id) values (${SUMMIT})`;
    await speakAs(sql, SUMMIT, "+15125550100");
    const cron = await publish(sql, SUMMIT, "scheduled", [["send_sms", { body: "Daily" }]], {
      trigger_config: { cron: "0 * * * *", for_each: { entity: "contact" } },
    });
    await publish(sql, SUMMIT, "time_elapsed", [["send_sms", { body: "Tomorrow" }]], {
      trigger_config: { entity: "appointment", field: "starts_at", offset: "-1 day" },
    });
    const manual = await publish(sql, SUMMIT, "manual", [["send_sms", { body: "News" }]]);
    await publish(sql, SUMMIT, "contact_updated", [["send_sms", { body: "Hi" }, 60]]);
    await sql`
    insert into public.appointments (tenant_id, contact_id, starts_at)
    values (${SUMMIT}, ${MARIA}, now() + interval '25 hours')`;
    await sql`update public.contacts set notes = 'x' where id = ${MARIA}`;
    await work(sql);
    const enrol = () =>
      sql`select ridgeline.enroll_records(${manual}, filter => '[]', per_minute => 1, tenant_id => ${SUMMIT})`;
    await enrol();
    await receive(sql, "+12125552001", "STOP");
    const before = await rowsOf(SUMMIT);
    for (
      const waiting of [
        "workflow_schedules",
        "workflow_timers",
        "bulk_enrollments",
        "scheduled_steps",
      ]
    ) {
      expect(before).toHaveProperty(`ridgeline.${waiting}`);
    }
    const queued = await sql`select * from ridgeline.scheduled_steps where tenant_id = ${SUMMIT}`;

    await sql`select ridgeline.erase_tenant(${SUMMIT})`;
    const after = await rowsOf(SUMMIT);
    for (
      const silenced of [
        "ridgeline.workflow_schedules",
        "automation.timer_listeners",
        "ridgeline.scheduled_steps",
      ]
    ) expect(after).not.toHaveProperty(silenced);
    expect(await sql`select from ridgeline.bulk_enrollments where status = 'running'`)
      .toHaveLength(0);
    const runs = async () =>
      (await sql`select from ridgeline.workflow_executions where tenant_id = ${SUMMIT}`).length;
    const had = await runs();
    // A large tenant keeps its workflows for hours.
    await sql`update ridgeline.workflows set is_active = false where id = ${cron}`;
    for (
      const again of [
        sql`select ridgeline.publish_workflow(${cron}, tenant_id => ${SUMMIT})`,
        sql`select ridgeline.execute_workflow(${manual}, ${
          sql.json({ contact_id: MARIA })
        }, tenant_id => ${SUMMIT})`,
        sql`update ridgeline.workflows set is_active = true where id = ${cron}`,
        enrol(),
        sql`select ridgeline.test_workflow(${manual}, ${
          sql.json({ contact_id: MARIA })
        }, tenant_id => ${SUMMIT})`,
        sql`select ridgeline.save_workflow('{"name": "New", "trigger_type": "manual", "steps": []}', tenant_id => ${SUMMIT})`,
        sql`select ridgeline.set_engine('on', tenant_id => ${SUMMIT})`,
        sql`select automation.take_over_runs(${SUMMIT})`,
      ]
    ) await expect(again).rejects.toThrow("is being forgotten");
    // What ends something may.
    expect(
      await sql`
        select (ridgeline.cancel_execution(id, tenant_id)).id is not null as went from ridgeline.workflow_executions
        where tenant_id = ${SUMMIT} limit 1`,
    ).toEqual([{ went: true }]);
    // One that was put into the queue while it was asked for.
    await sql`insert into ridgeline.scheduled_steps ${sql(queued)}`;
    await sql`update public.contacts set notes = 'y' where id = ${MARIA}`;
    await sql`select automation.advance_clock('2 hours')`;
    expect(await send(sql)).toEqual([]);
    for (const portion of ["run_schedules", "fire_timers", "run_bulk", "run_database_steps"]) {
      await sql.unsafe(`select automation.${portion}()`);
    }
    expect(await send(sql)).toEqual([]);
    expect(await runs()).toBe(had);

    // Who said STOP is known for as long as there is anything else.
    for (let erased = 1, left = await rowsOf(SUMMIT); erased > 0; left = await rowsOf(SUMMIT)) {
      const names = Object.keys(left).filter((name) => name !== "automation.gone_tenants");
      const others = names.filter((name) =>
        !/\.(consents|suppressions|revoked_people|erased_addresses)$/.test(name)
      );
      if (others.length > 0) expect(left["ridgeline.suppressions"]).toBe(1);
      [{ erased }] = await sql<[{ erased: number }]>`select automation.erase_tenants(2) as erased`;
    }
    expect(await rowsOf(SUMMIT)).toEqual({});
    expect(await entries()).toMatchObject([{ cause: "asked", status: "completed" }]);
  },
  120_000,
);

it("nothing of it is tried again, whatever a dispatcher says later, and what comes in is answered with nothing", async () => {
  await sql`
    insert into ridgeline.tenant_settings (tenant_id, settings)
    values (${SUMMIT}, '{"inbound": {"create_contacts": true}}')
    on conflict (tenant_id) do update set settings = excluded.settings`;
  await speakAs(sql, SUMMIT, "+15125550100");
  const [{ public_key: key }] = await sql<[{ public_key: string }]>`
    insert into ridgeline.forms (tenant_id, name) values (${SUMMIT}, 'Free estimate') returning public_key`;
  const post = async (email: string) => {
    const [{ outcome }] = await sql<[{ outcome: string }]>`
      select automation.submit_form(${key}, null, 'someone', ${
      sql.json({ name: "Nina Park", email })
    }) ->> 'outcome' as outcome`;
    return outcome;
  };
  let texts = 0;
  const answer = async (body: string) => {
    const event = { message_sid: `IN${++texts}`, from: "+15125550177", to: "+15125550100", body };
    await sql`select automation.receive_sms(${sql.json(event)})`;
    const [{ said }] = await sql<[{ said: string | null }]>`
      select automation.reply_to_sms(${sql.json(event)}) as said`;
    return said;
  };
  expect(await post("nina@park.example")).toBe("accepted");
  expect(await answer("Help me please!")).toBe(null);
  expect(await answer("ayuda")).toMatch(/STOP/);
  await publish(sql, SUMMIT, "contact_updated", [
    ["send_sms", { body: "Hi", purpose: "transactional" }],
    ["send_sms", { body: "And again", purpose: "transactional" }, 1],
  ]);
  await sql`
    insert into public.contacts (tenant_id, first_name, last_name, phone)
    select ${SUMMIT}, 'C' || n, 'D', '512555018' || n from generate_series(1, 4) as n`;
  await sql`update public.contacts set notes = 'x' where last_name = 'D'`;
  const claim = () =>
    sql<{ tenant_id: string; step_id: string; attempt_token: string }[]>`
      select tenant_id, step_id, attempt_token::text from automation.claim_steps('test', 100)`;
  const finish = (steps: Iterable<object>, outcome: string) =>
    sql`select * from automation.finish_steps(${
      sql.json([...steps].map((step) => ({ ...step, outcome, error: { message: "?" } })) as never)
    })`;
  const [unclear, refused, ...inHand] = await claim();
  expect(inHand).toHaveLength(2);
  await finish([unclear!], "ambiguous");
  await finish([refused!], "retry");
  const queued = await sql`select * from ridgeline.scheduled_steps where tenant_id = ${SUMMIT}`;
  expect(queued).toHaveLength(4);
  await sql`update public.tenants set is_deleted = true where id = ${SUMMIT}`;
  await sql`select ridgeline.erase_tenant(${SUMMIT})`;
  const rows = async () =>
    (await sql`
      select (select count(*)::int from public.contacts) as contacts, (select count(*)::int from public.tasks) as tasks,
        (select count(*)::int from ridgeline.messages where direction = 'outbound') as answers`)[0];
  const before = await rows();
  await sql`select automation.advance_clock('2 hours')`;
  expect(await post("paul@park.example")).toBe("unknown_form");
  expect([await answer("ayuda"), await answer("please stop texting me")]).toEqual([null, null]);
  const call = {
    call_sid: "CA1",
    from: "+15125550178",
    to: "+15125550100",
    direction: "inbound",
    status: "no-answer",
  };
  await sql`select automation.record_call(${sql.json(call)})`;
  expect(await rows()).toEqual(before);
  // It may come back.
  expect(await sql`select address from ridgeline.suppressions where tenant_id = ${SUMMIT}`)
    .toEqual([{ address: "+15125550177" }]);
  await finish([inHand[0]!], "ambiguous");
  await finish([inHand[1]!], "succeeded");
  const waiting = () => sql`select from ridgeline.scheduled_steps where tenant_id = ${SUMMIT}`;
  expect(await waiting()).toHaveLength(0);
  // Nor would it be if its row had been written in the same moment.
  await sql`
    insert into ridgeline.scheduled_steps
    ${
    sql(
      queued.map((row) => ({
        ...row,
        lease_expires_at: null,
        leased_at: null,
        attempt_token: null,
        leased_by: null,
      })),
    )
  }`;
  await sql`select automation.advance_clock('2 hours')`;
  expect(await claim()).toHaveLength(0);
  await sql`select automation.tick()`;
  expect(await waiting()).toHaveLength(0);
});

it("nobody is forgotten while the table of tenants cannot be read", async () => {
  await speakAs(sql, SUMMIT, "+15125550100");
  await speakAs(sql, LAKESIDE, "+13125550100");
  await sql`delete from public.tenants where id = ${LAKESIDE}`;
  const before = [await rowsOf(SUMMIT), await rowsOf(LAKESIDE)];
  await sql`alter table public.tenants rename column is_deleted to hidden`;
  await expect(sql`select ridgeline.erase_tenant(${SUMMIT})`).rejects.toMatchObject({
    code: "PT409",
  });
  await sql`select automation.erase_tenants()`;
  expect([await rowsOf(SUMMIT), await rowsOf(LAKESIDE)]).toEqual(before);
  await sql`alter table public.tenants rename column hidden to is_deleted`;
  await sql`select automation.erase_tenants()`;
  expect(await rowsOf(LAKESIDE)).toEqual({ "automation.gone_tenants": 1 });
});

it("one whose row moves to another partition is not gone", async () => {
  await sql`select automation.detach_tenants()`;
  await sql`
    create table public.offices (id uuid, name text, region text, primary key (id, region)) partition by list (region)`;
  await sql`create table public.offices_tx partition of public.offices for values in ('TX')`;
  await sql`create table public.offices_il partition of public.offices for values in ('IL')`;
  await sql`insert into public.offices values (${SUMMIT}, 'Summit', 'TX'), (${LAKESIDE}, 'Lakeside', 'IL')`;
  await sql`select automation.attach_tenants('public.offices')`;
  await speakAs(sql, SUMMIT, "+15125550100");
  await publish(sql, SUMMIT, "contact_updated", [["send_sms", { body: "Hi" }]]);
  await sql`update public.contacts set notes = 'x' where id = ${MARIA}`;
  await sql`update public.offices set region = 'IL' where id = ${SUMMIT}`;
  expect(await sql`select from automation.gone_tenants`).toHaveLength(0);
  expect(await work(sql)).toHaveLength(1);
  await sql`delete from public.offices where id = ${SUMMIT}`;
  expect(await sql`select tenant_id from automation.gone_tenants`).toEqual([{ tenant_id: SUMMIT }]);
});

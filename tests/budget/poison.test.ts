// Work that never comes to its end: it is tried alone, given up with a reason, and costs nobody else their
// turn. The poison is a contact by that name.
import process from "node:process";
import type { Sql } from "postgres";
import { beforeEach, describe, expect, it, test } from "vitest";
import { createQueue } from "../../functions/_shared/engine/queue.ts";
import {
  cloneDatabase,
  connect,
  createTemplate,
  startScratchServer,
} from "../../scripts/lib/scratch.ts";
import { waitFor } from "../support/standins.ts";
import { useSessions } from "../database/executions/support.ts";

const sessions = useSessions();
let sql: Sql;
beforeEach(async () => {
  sql = sessions.sql;
  await sql`update automation.settings set value = '0 seconds' where name = 'cut_off_pause'`;
});

const TASK = { type: "create_task", config: { title: "Call {{contact.first_name}}" } };
const EDIT = { type: "update_contact", config: { city: "Austin" } };
const TEXT = {
  type: "send_sms",
  config: { body: "Hi {{contact.first_name}}{{user.full_name | default: '!'}}" },
};

async function leads(on: Sql, tenantId: string, ...names: string[]): Promise<void> {
  for (const name of names) {
    await on`
      insert into contacts (tenant_id, first_name, phone) values (${tenantId}, ${name}, '+15125550100')`;
  }
}

/** What the office's own trigger does to the poison when a workflow writes to it. */
async function triggerThat(on: Sql, deed: string): Promise<void> {
  await on.unsafe(`
    create function public.office_rule() returns trigger language plpgsql as $$
    declare t text := repeat('x', 1000);
    begin
      if new.first_name = 'Poison' then ${deed} end if;
      return new;
    end $$;
    create trigger office_rule before update on public.contacts
      for each row execute function public.office_rule()`);
}

/** What pg_cron does, in a session of its own, under a timeout; whatever comes of it. */
async function tick(connection: Sql, timeout = "1s"): Promise<void> {
  await connection.unsafe(`set statement_timeout = '${timeout}'`).catch(() => {});
  await connection.unsafe("call automation.tick_for('200 milliseconds')").catch(() => {});
}

/** Until something is so: where the machine is slow a tick may be cut off before it has come to anything. */
async function tickUntil(connection: Sql, isSo: () => Promise<boolean>, most = 30): Promise<void> {
  for (let ticks = 0; ticks < most && !await isSo(); ticks++) await tick(connection);
}
/** How often the one that there is was cut off alone. */
const triesOf = async () => (await sql`select tries from automation.suspects`)[0]?.tries;
const isOver = async () =>
  (await sql`select from ridgeline.workflow_executions where finished_at is null`).length === 0;

/** What somebody's trigger on the history does to the poison's run, whatever is done about it. */
const ruleThat = (deed: string) =>
  sql.unsafe(`
    create function public.office_rule() returns trigger language plpgsql as $$
    begin
      if exists (select from public.contacts as c where c.id::text = new.contact_id and c.first_name = 'Poison')
      then ${deed} end if;
      return new;
    end $$;
    create trigger office_rule before update on ridgeline.workflow_executions
      for each row execute function public.office_rule()`);

/** Portions that were cut off a moment ago are noticed a little later. */
const age = (on: Sql) =>
  on`update automation.portions set started_at = started_at - interval '1 minute'`;

const outcome = (on: Sql) =>
  on`
    select c.first_name as name, e.status, e.error ->> 'code' as code
    from ridgeline.workflow_executions as e join contacts as c on c.id::text = e.contact_id
    order by e.status::text, c.first_name`;

const MARIA = { name: "Maria", status: "completed", code: null };
const ZOE = { name: "Zoe", status: "completed", code: null };
const FAILED = { name: "Poison", status: "failed", code: "step_failed" };
const GIVEN_UP = { name: "Poison", status: "failed", code: "work_cancelled" };

describe.each([
  ["sleeps", "perform pg_sleep(60);"],
  [
    "eats memory",
    "loop t := t || t; if length(t) > 100000000 then t := left(t, 1000); end if; end loop;",
  ],
  ["ends its session", "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1);"],
])("a database step whose record's trigger %s", (_what, deed) => {
  it("is given up after three tries, and nobody waits for it", { timeout: 60_000 }, async () => {
    const { tenantId } = await sessions.office([EDIT]);
    const other = await sessions.office([EDIT]);
    await triggerThat(sql, deed);
    await leads(sql, tenantId, "Poison", "Maria");
    await leads(sql, other.tenantId, "Zoe");
    const connection = sessions.connect();
    for (let ticks = 1; ticks <= 8; ticks++) {
      await tick(connection);
      await age(sql);
      if (ticks === 3) expect(await outcome(sql)).toEqual(expect.arrayContaining([MARIA, ZOE]));
    }
    expect(await outcome(sql)).toEqual([MARIA, ZOE, GIVEN_UP]);
    expect(await sql`select from automation.suspects`).toHaveLength(0);
    expect(await sql`select from ridgeline.scheduled_steps`).toHaveLength(0);
  });
});

describe.each([
  ["raises", "raise exception 'not this one';", "is not counted, and done when that is over"],
  [
    "is cut off",
    "perform pg_cancel_backend(pg_backend_pid()); perform pg_sleep(60);",
    "is not to be given up either",
  ],
])("a step whose run's trigger %s whatever is done about it", (what, deed, becomes) => {
  it(`${becomes}, and stands in nobody's way`, { timeout: 60_000 }, async () => {
    const isCounted = what === "is cut off";
    const { tenantId } = await sessions.office([EDIT]);
    const other = await sessions.office([EDIT]);
    await leads(sql, tenantId, "Poison", "Maria");
    await ruleThat(deed);
    const connection = sessions.connect();
    for (let ticks = 0; ticks < 8; ticks++) {
      await tick(connection);
      await age(sql);
    }
    const [poison] = await sql`select tries from automation.suspects`;
    expect(poison?.tries >= 3).toBe(isCounted);
    await leads(sql, other.tenantId, "Zoe");
    await tick(connection);
    expect(await outcome(sql)).toEqual([
      MARIA,
      ZOE,
      { name: "Poison", status: "pending", code: null },
    ]);
    // What a tick does at its end.
    expect(await sql`select from automation.statistic_changes`).toHaveLength(0);
    await sql`drop trigger office_rule on ridgeline.workflow_executions`;
    await tick(connection);
    expect(await outcome(sql)).toEqual(
      isCounted ? [MARIA, ZOE, GIVEN_UP] : [MARIA, { ...MARIA, name: "Poison" }, ZOE],
    );
    expect(await sql`select from automation.suspects`).toHaveLength(0);
  });
});

describe.each([
  ["the server has no memory for", "53200"],
  ["meets a deadlock", "40P01"],
])("what %s once", (_what, state) => {
  // No rollback takes a number back.
  const once =
    `if nextval('public.times') = 1 then raise exception 'not now' using errcode = '${state}'; end if;`;
  beforeEach(async () => {
    await sql`create sequence public.times`;
    await sql`grant usage on public.times to public`;
  });
  const later = () => sql`select automation.advance_clock('1 minute')`;

  it.each([
    ["as its run goes on", ruleThat],
    ["as its record is written", (deed: string) => triggerThat(sql, deed)],
  ])("%s is done then", async (_when, rule) => {
    const { tenantId } = await sessions.office([EDIT]);
    await leads(sql, tenantId, "Poison");
    await rule(once);
    const connection = sessions.connect();
    await tick(connection, "10s");
    expect(await outcome(sql)).toEqual([{ name: "Poison", status: "pending", code: null }]);
    await later();
    await tick(connection, "10s");
    expect(await outcome(sql)).toEqual([{ ...MARIA, name: "Poison" }]);
  });

  it("as it is claimed is claimed then", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    await leads(sql, tenantId, "Poison");
    await ruleThat(once);
    const queue = createQueue(sessions.connect());
    const claim = async () =>
      (await queue.exchange("w", [], { sms: { most: 10, but: [] } }, 60)).claimed.length;
    expect(await claim()).toBe(0);
    await later();
    expect(await claim()).toBe(1);
  });
});

describe("a step whose giving up ends the session", { timeout: 60_000 }, () => {
  const DIES = "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1);";
  const tries = async () => (await sql`select tries from automation.suspects`)[0]?.tries ?? 0;
  /** Until it was tried as often as anything is; then what is cut off is left alone for an hour. */
  async function triedOften(attempt: () => Promise<unknown>): Promise<number> {
    for (let times = 0; times < 30 && await tries() < 3; times++) {
      await attempt();
      await age(sql);
    }
    await sql`update automation.settings set value = '1 hour' where name = 'cut_off_pause'`;
    return await tries();
  }

  it("is counted, and the next tick comes to its end", async () => {
    const { tenantId } = await sessions.office([EDIT]);
    await ruleThat(DIES);
    await leads(sql, tenantId, "Poison");
    const connection = sessions.connect();
    const before = await triedOften(() => tick(connection));
    expect(before).toBe(3);
    await tick(connection);
    await age(sql);
    await leads(sql, tenantId, "Zoe");
    await tick(connection);
    await tick(connection);
    expect(await tries()).toBe(before + 1);
    expect(await outcome(sql)).toEqual([ZOE, { name: "Poison", status: "pending", code: null }]);
    // What a tick does at its end.
    expect(await sql`select from automation.statistic_changes`).toHaveLength(0);
  });

  it("is counted by a dispatcher as well, which tries others meanwhile", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    await ruleThat(DIES);
    await leads(sql, tenantId, "Poison");
    const queue = createQueue(sessions.connect());
    const wanted = { sms: { most: 10, but: [] } };
    const suspect = () => queue.claimSuspect("w", 60);
    const before = await triedOften(async () => {
      await queue.exchange("w", [], wanted, 60).catch(() => {});
      await suspect().catch(() => {});
    });
    expect(before).toBe(3);
    await expect(suspect()).rejects.toThrow();
    await age(sql);
    // Cut off in company once, and to be tried alone.
    await leads(sql, tenantId, "Maria");
    await sql`
      insert into automation.suspects (tenant_id, kind, key)
      select s.tenant_id, 'sms', s.id from ridgeline.scheduled_steps as s
      where not exists (select from automation.suspects as o where o.key = s.id::text)`;
    expect(await suspect()).toHaveLength(1);
    expect(await suspect()).toHaveLength(0);
    expect(await sql`select max(tries) as tries from automation.suspects`).toEqual([{ tries: 4 }]);
  });
});

it("a step whose run cannot go on is left by ticks that do the others, and fails a day later", async () => {
  const { tenantId } = await sessions.office([TASK, { ...TASK, delay: 60 }]);
  await ruleThat("if new.status <> 'failed' then raise exception 'not this one'; end if;");
  await leads(sql, tenantId, "Maria", "Ann", "Poison", "Zoe");
  const connection = sessions.connect();
  for (let ticks = 0; ticks < 4; ticks++) await tick(connection, "10s");
  const others = ["Ann", "Maria", "Zoe"].map((name) => ({ name, status: "waiting", code: null }));
  expect(await outcome(sql)).toEqual([
    { name: "Poison", status: "pending", code: null },
    ...others,
  ]);
  expect((await sql`select title from tasks order by 1`).map(({ title }) => title))
    .toEqual(["Call Ann", "Call Maria", "Call Zoe"]);
  // What a tick does at its end.
  expect(await sql`select from automation.statistic_changes`).toHaveLength(0);
  await sql`update ridgeline.scheduled_steps
    set held = held || jsonb_build_object('since', automation.now() - interval '1 day')
    where run_at <= automation.now()`;
  await tick(connection, "10s");
  expect(await outcome(sql)).toEqual([FAILED, ...others]);
  expect(await sql`select from automation.suspects`).toHaveLength(0);
});

describe("a step that cannot be worked on", () => {
  const RAISES = "if new.status <> 'failed' then raise exception 'not this one'; end if;";
  const held = async () =>
    (await sql`select held ->> 'code' as code from ridgeline.scheduled_steps`).map(({ code }) =>
      code
    );
  /** Time goes by, and suspects are not left alone meanwhile. */
  async function later(time: string): Promise<void> {
    await sql`select automation.advance_clock(${time})`;
    await sql`update automation.suspects set next_try_at = clock_timestamp()`;
  }
  /** Tried each five hours, for longer than a day; says after how many tries it had ended. */
  async function triesUntilFailed(attempt: () => Promise<unknown>): Promise<number> {
    for (let tries = 1; tries <= 8; tries++) {
      await attempt();
      if ((await outcome(sql))[0]?.status === "failed") return tries;
      expect(await held()).toEqual(["failing"]);
      await later("5 hours");
    }
    return 0;
  }

  it.each([
    ["its record", "the server has no memory", "53200", triggerThat],
    ["its record", "there is a deadlock", "40P01", triggerThat],
    ["its run", "the server has no memory", "53200", (_: Sql, deed: string) => ruleThat(deed)],
  ])(
    "since a trigger on %s says each time that %s, fails after a day",
    async (_on, _why, state, rule) => {
      const { tenantId } = await sessions.office([EDIT]);
      await leads(sql, tenantId, "Poison");
      await rule(
        sql,
        `if coalesce(to_jsonb(new) ->> 'status', '') <> 'failed' then
        raise exception 'not now' using errcode = '${state}'; end if;`,
      );
      const connection = sessions.connect();
      expect(await triesUntilFailed(() => tick(connection, "10s"))).toBe(6);
      expect(await outcome(sql)).toEqual([FAILED]);
      expect(await sql`select from ridgeline.scheduled_steps`).toHaveLength(0);
    },
  );

  it("as it is claimed, time after time, fails after a day", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    await leads(sql, tenantId, "Poison");
    await ruleThat(`if new.status <> 'failed' then
      raise exception 'not now' using errcode = '53200'; end if;`);
    const queue = createQueue(sessions.connect());
    const wanted = { sms: { most: 10, but: [] } };
    expect(await triesUntilFailed(() => queue.exchange("w", [], wanted, 60))).toBe(6);
    expect(await outcome(sql)).toEqual([FAILED]);
  });

  it("within a limit that its own trigger exceeds fails at once", async () => {
    const { tenantId } = await sessions.office([EDIT]);
    await leads(sql, tenantId, "Poison");
    await triggerThat(sql, "raise exception 'temp_file_limit' using errcode = '53400';");
    await tick(sessions.connect(), "10s");
    expect(await outcome(sql)).toEqual([FAILED]);
  });

  it("has its day from when that began, not from when it was due, and anew after a pause", async () => {
    const { tenantId } = await sessions.office([EDIT]);
    await leads(sql, tenantId, "Poison");
    await later("2 days");
    await ruleThat(RAISES);
    const connection = sessions.connect();
    for (let pauses = 0; pauses < 2; pauses++) {
      await tick(connection, "10s");
      expect(await outcome(sql)).toEqual([{ name: "Poison", status: "pending", code: null }]);
      expect(await held()).toEqual(["failing"]);
      await later("2 days");
    }
    await sql`drop trigger office_rule on ridgeline.workflow_executions`;
    await tick(connection, "10s");
    expect(await outcome(sql)).toEqual([{ ...MARIA, name: "Poison" }]);
  });

  it("has no longer than its day, though somebody holds its run now and then", async () => {
    const { tenantId } = await sessions.office([EDIT]);
    await leads(sql, tenantId, "Poison");
    await ruleThat(RAISES);
    const connection = sessions.connect();
    const attempt = async () => {
      await tick(connection, "10s");
      const user = await sessions.begin();
      await user`select from ridgeline.workflow_executions for update`;
      await later("1 second");
      await tick(connection, "10s");
      await user`rollback`;
    };
    expect(await triesUntilFailed(attempt)).toBe(6);
  });
});

describe("a step whose books somebody's trigger does not let be kept", () => {
  /** What it says of the poison's row of the queue, or of the ledger, as that is written. */
  const booksThat = (event: string, table: string, when: string) =>
    sql.unsafe(`
      create function public.office_rule() returns trigger language plpgsql as $$
      begin
        if (${when}) and exists (
          select from ridgeline.workflow_executions as e join public.contacts as c on c.id::text = e.contact_id
          where e.id = new.execution_id and c.first_name = 'Poison')
        then raise exception 'not in these books'; end if;
        return new;
      end $$;
      create trigger office_rule before ${event} on ridgeline.${table}
        for each row execute function public.office_rule()`);
  const allowed = (table: string) => sql.unsafe(`drop trigger office_rule on ridgeline.${table}`);
  const held = () =>
    sql`
      select s.held ->> 'code' as code, s.held ->> 'why' as why
      from ridgeline.scheduled_steps as s where s.lease_expires_at is null`;
  const LEFT = { code: "failing", why: "not in these books" };
  const PENDING = { name: "Poison", status: "pending", code: null };
  const ALL = [MARIA, { ...MARIA, name: "Poison" }, ZOE];
  const later = async () => {
    await sql`select automation.advance_clock('1 hour')`;
    await sql`update automation.suspects set next_try_at = clock_timestamp()`;
  };
  const LEDGER = "workflow_step_executions";

  it.each([
    ["begun", "insert", LEDGER, "new.status = 'running'"],
    ["leased", "update", "scheduled_steps", "new.attempt_token is not null"],
  ])("as it is %s is left by a claim that brings the others, and claimed later", async (
    _,
    event,
    table,
    when,
  ) => {
    const { tenantId } = await sessions.office([TEXT]);
    await leads(sql, tenantId, "Maria", "Poison", "Zoe");
    await booksThat(event, table, when);
    const queue = createQueue(sessions.connect());
    const claim = async () => {
      const { claimed } = await queue.exchange("w", [], { sms: { most: 10, but: [] } }, 60);
      const alone = await queue.claimSuspect("w", 60);
      return [...claimed, ...alone].map(({ payload }) => (payload as { body: string }).body).sort();
    };
    expect(await claim()).toEqual(["Hi Maria!", "Hi Zoe!"]);
    expect(await held()).toEqual([LEFT]);
    await later();
    expect(await claim()).toEqual([]);
    expect(await outcome(sql)).toContainEqual(PENDING);
    await allowed(table);
    await later();
    expect(await claim()).toEqual(["Hi Poison!"]);
  });

  it("as it is closed unsent is left, and closed later", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    await leads(sql, tenantId, "Poison", "Zoe");
    await sql`update contacts set phone = null`;
    await booksThat("insert", LEDGER, "new.status = 'skipped'");
    const queue = createQueue(sessions.connect());
    const claim = async () => {
      await queue.exchange("w", [], { sms: { most: 10, but: [] } }, 60);
      await queue.claimSuspect("w", 60);
    };
    await claim();
    expect(await held()).toEqual([LEFT]);
    expect(await outcome(sql)).toEqual([ZOE, PENDING]);
    await allowed(LEDGER);
    await later();
    await claim();
    expect(await outcome(sql)).toEqual([{ ...MARIA, name: "Poison" }, ZOE]);
  });

  it("in the database is left by a tick that does the others, and done once", async () => {
    const { tenantId } = await sessions.office([TASK]);
    await leads(sql, tenantId, "Maria", "Poison", "Zoe");
    await booksThat("insert", LEDGER, "new.status = 'completed'");
    const connection = sessions.connect();
    await tick(connection, "10s");
    await tick(connection, "10s");
    expect(await outcome(sql)).toEqual([MARIA, ZOE, PENDING]);
    expect(await held()).toEqual([LEFT]);
    await allowed(LEDGER);
    await later();
    await tick(connection, "10s");
    expect(await outcome(sql)).toEqual(ALL);
    expect((await sql`select title from tasks order by 1`).map(({ title }) => title))
      .toEqual(["Call Maria", "Call Poison", "Call Zoe"]);
  });

  it("further down a run is left there, and what came before it stays done once", async () => {
    const { tenantId } = await sessions.office([TASK, EDIT]);
    await leads(sql, tenantId, "Poison", "Zoe");
    await booksThat("insert", LEDGER, "new.step_key = 'step_2' and new.status = 'completed'");
    const connection = sessions.connect();
    await tick(connection, "10s");
    await tick(connection, "10s");
    expect(await held()).toEqual([LEFT]);
    await allowed(LEDGER);
    await later();
    await tick(connection, "10s");
    expect(await outcome(sql)).toEqual([{ ...MARIA, name: "Poison" }, ZOE]);
    expect((await sql`select title from tasks order by 1`).map(({ title }) => title))
      .toEqual(["Call Poison", "Call Zoe"]);
  });

  it("is not in the way of others meanwhile, for half as long as that was so, and for an hour at most", async () => {
    await sql`update automation.settings set value = '5 seconds' where name = 'cut_off_pause'`;
    const { tenantId } = await sessions.office([TASK]);
    await leads(sql, tenantId, "Poison");
    await booksThat("insert", LEDGER, "new.status = 'completed'");
    const connection = sessions.connect();
    const waits = async (since: string) => {
      await sql`
        update ridgeline.scheduled_steps
        set held = held || jsonb_build_object('since', automation.now() - ${since}::interval),
          run_at = automation.now()`;
      await sql`update automation.suspects set next_try_at = clock_timestamp()`;
      await tick(connection);
      const [step] = await sql`
        select date_trunc('minute', (held ->> 'until')::timestamptz - automation.now() + interval '10 seconds')::text as long,
          run_at = (held ->> 'until')::timestamptz as is_due_then,
          automation.next_due_at() > automation.now() as is_aside
        from ridgeline.scheduled_steps`;
      return step;
    };
    const aside = { is_due_then: true, is_aside: true };
    await tick(connection);
    expect(await waits("0 minutes")).toEqual({ long: "00:00:00", ...aside });
    expect(await waits("20 minutes")).toEqual({ long: "00:10:00", ...aside });
    expect(await waits("12 hours")).toEqual({ long: "01:00:00", ...aside });
  });

  it("fails after a day of that", async () => {
    const { tenantId } = await sessions.office([TASK]);
    await leads(sql, tenantId, "Poison");
    await booksThat("insert", LEDGER, "new.status = 'completed'");
    const connection = sessions.connect();
    await tick(connection);
    expect(await outcome(sql)).toEqual([PENDING]);
    await sql`
      update ridgeline.scheduled_steps
      set held = held || jsonb_build_object('since', automation.now() - interval '1 day')`;
    await later();
    await tick(connection);
    expect(await outcome(sql)).toEqual([FAILED]);
  });
});

it("a tick in one transaction that is cancelled keeps what it had done", async () => {
  const { tenantId } = await sessions.office([EDIT]);
  await triggerThat(sql, "perform pg_sleep(60);");
  await leads(sql, tenantId, "Maria", "Poison", "Zoe");
  const connection = sessions.connect();
  await connection`set statement_timeout = '1s'`;
  for (let ticks = 0; ticks < 30 && !await isOver(); ticks++) {
    await connection`select automation.tick()`.catch(() => {});
  }
  expect(await outcome(sql)).toEqual([MARIA, ZOE, GIVEN_UP]);
});

it("a step that is only slow once is done once, and its count forgotten", async () => {
  const { tenantId } = await sessions.office([EDIT, TASK]);
  await sql`create table public.slow_once (n int)`;
  await sql`insert into public.slow_once values (1)`;
  await triggerThat(
    sql,
    "if exists (select from public.slow_once) then perform pg_sleep(60); end if;",
  );
  await leads(sql, tenantId, "Poison");
  const connection = sessions.connect();
  await tickUntil(connection, async () => await triesOf() === 1);
  expect(await triesOf()).toBe(1);
  await sql`truncate public.slow_once`;
  await tickUntil(connection, isOver);
  expect(await outcome(sql)).toEqual([{ ...MARIA, name: "Poison" }]);
  expect(await sql`select from automation.suspects`).toHaveLength(0);
  expect(await sql`select title from tasks`).toEqual([{ title: "Call Poison" }]);
});

it("a step of a workflow that is paused is given up when that goes on, and not tried anew", async () => {
  const { tenantId, workflowId } = await sessions.office([EDIT]);
  await triggerThat(sql, "perform pg_sleep(60);");
  await leads(sql, tenantId, "Poison");
  const connection = sessions.connect();
  const tries = () => sql`select tries from automation.suspects`;
  await tickUntil(connection, async () => await triesOf() === 3);
  expect(await tries()).toEqual([{ tries: 3 }]);
  const isActive = (is: boolean) =>
    sql`update ridgeline.workflows set is_active = ${is} where id = ${workflowId}`;
  await isActive(false);
  await tick(connection);
  expect(await tries()).toEqual([{ tries: 3 }]);
  await isActive(true);
  // Tried anew it would take three.
  await tickUntil(connection, isOver, 2);
  expect(await outcome(sql)).toEqual([GIVEN_UP]);
  expect(await tries()).toEqual([]);
});

it("a step that was cut off once and waits for its workflow keeps its count", async () => {
  const { tenantId, workflowId } = await sessions.office([EDIT]);
  await triggerThat(sql, "perform pg_sleep(60);");
  await leads(sql, tenantId, "Poison");
  const connection = sessions.connect();
  const tries = () => sql`select tries from automation.suspects`;
  const isActive = (is: boolean) =>
    sql`update ridgeline.workflows set is_active = ${is} where id = ${workflowId}`;
  await tickUntil(connection, async () => await triesOf() === 1);
  await isActive(false);
  await tick(connection);
  expect(await tries()).toEqual([{ tries: 1 }]);
  await isActive(true);
  await tickUntil(connection, async () => await triesOf() === 2);
  expect(await tries()).toEqual([{ tries: 2 }]);
});

it("a step further down a run is the one that fails, and what came before it stays done once", async () => {
  const { tenantId } = await sessions.office([TASK, EDIT]);
  await triggerThat(sql, "perform pg_sleep(60);");
  await leads(sql, tenantId, "Poison");
  const connection = sessions.connect();
  await tickUntil(connection, isOver);
  expect(await sql`select title from tasks`).toEqual([{ title: "Call Poison" }]);
  expect(await sql`select step_key, status from ridgeline.workflow_step_executions order by id`)
    .toEqual([
      { step_key: "step_1", status: "completed" },
      { step_key: "step_2", status: "failed" },
    ]);
});

describe("a claim", () => {
  /** Looking at what the poison is told does something to the claim. */
  const claimThat = (deed: string) =>
    sql.unsafe(`
      create or replace function automation.oversize(step_type text, input jsonb) returns jsonb
        language plpgsql as $$
      begin
        if input ->> 'body' like 'Hi Poison%' then ${deed} end if;
        return null;
      end $$`);
  const wanted = { sms: { most: 10, but: [] } };

  it("of a step that neither goes out nor fails brings the others", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    await claimThat("raise exception 'not this one';");
    await ruleThat("raise exception 'nor this';");
    await leads(sql, tenantId, "Maria", "Poison", "Zoe");
    const queue = createQueue(sessions.connect());
    const { claimed } = await queue.exchange("w", [], wanted, 60);
    expect(claimed.map(({ payload }) => (payload as { body: string }).body).sort())
      .toEqual(["Hi Maria!", "Hi Zoe!"]);
    expect(await sql`select tries from automation.suspects`).toEqual([{ tries: 0 }]);
  });

  it.each([
    ["that hangs", "perform pg_sleep(60);"],
    [
      "that ends its session",
      "perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(1);",
    ],
  ])(
    "%s leaves the others to be claimed, and fails its own step",
    { timeout: 60_000 },
    async (_, deed) => {
      const { tenantId } = await sessions.office([TEXT]);
      const other = await sessions.office([TEXT]);
      await claimThat(deed);
      await leads(sql, tenantId, "Poison", "Maria");
      await leads(sql, other.tenantId, "Zoe");
      const queue = createQueue(sessions.connect(), 2_000, 500);
      const claimed: unknown[] = [];
      for (let round = 0; round < 8; round++) {
        const ordinary = queue.exchange("w", [], wanted, 60).then((answer) => answer.claimed);
        for (const claim of [ordinary, queue.claimSuspect("w", 60)]) {
          claimed.push(...await claim.catch(() => []));
        }
        for (let suspects = 0; suspects < 3; suspects++) {
          claimed.push(...await queue.claimSuspect("w", 60).catch(() => []));
        }
        await age(sql);
      }
      const bodies = claimed.map((step) => (step as { payload: { body: string } }).payload.body);
      expect(bodies.sort()).toEqual(["Hi Maria!", "Hi Zoe!"]);
      expect(await outcome(sql)).toContainEqual(GIVEN_UP);
    },
  );

  it("that meets somebody as it tries one alone tries it alone again, and counts on", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    await leads(sql, tenantId, "Maria");
    await sql`
      insert into automation.suspects (tenant_id, kind, key, tries)
      select tenant_id, lane, id, 2 from ridgeline.scheduled_steps`;
    const user = await sessions.begin();
    await user`select from ridgeline.workflow_executions for update`;
    const queue = createQueue(sessions.connect());
    expect(await queue.claimSuspect("w", 60)).toEqual([]);
    expect(await sql`select tries from automation.suspects`).toEqual([{ tries: 2 }]);
    await user`rollback`;
    await sql`update automation.suspects set next_try_at = clock_timestamp()`;
    await sql`select automation.advance_clock('2 seconds')`;
    expect(await queue.claimSuspect("w", 60)).toHaveLength(1);
  });
});

test(
  "a backend that is killed in the middle of a step: the server comes back, and so does the rest",
  { timeout: 120_000 },
  async () => {
    const { server, stop } = await startScratchServer({
      settings: { restart_after_crash: "on", synchronous_commit: "on" },
    });
    try {
      await createTemplate(server.url());
      const url = await cloneDatabase(server.url(), "crashing");
      const open = () => connect(url, { max: 1 });
      let on = open();
      await on`update automation.settings set value = '0 seconds' where name = 'cut_off_pause'`;
      const [tenant] = await on`insert into tenants (name) values ('Apex Roofing') returning id`;
      const [workflow] = await on`
      insert into ridgeline.workflows (tenant_id, name, trigger_type, is_active)
      values (${tenant?.id}, 'Welcome', 'contact_created', true) returning id`;
      await on`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
      values (${tenant?.id}, ${workflow?.id}, 1, ${EDIT.type}, ${on.json(EDIT.config)})`;
      await triggerThat(on, "perform pg_sleep(60);");
      await leads(on, tenant?.id, "Maria", "Poison", "Zoe");
      for (let crashes = 0; crashes < 3; crashes++) {
        const ticking = open();
        const [{ pid } = { pid: 0 }] = await ticking<
          { pid: number }[]
        >`select pg_backend_pid() as pid`;
        const ticked = ticking.unsafe("call automation.tick_for('1 second')").catch(() => {});
        await waitFor("the step to hang", async () => {
          const [hangs] = await on`select pid from pg_stat_activity where wait_event = 'PgSleep'`;
          return hangs;
        }, { timeout: 20_000 });
        process.kill(pid, "SIGKILL");
        await ticked;
        await ticking.end({ timeout: 1 });
        on = await waitFor("the server to come back", async () => {
          const again = open();
          return await again`select 1`.then(() => again, () => undefined);
        }, { timeout: 20_000 });
        await age(on);
      }
      const last = open();
      for (let ticks = 0; ticks < 5; ticks++) await tick(last);
      expect(await outcome(on)).toEqual([MARIA, ZOE, GIVEN_UP]);
      await Promise.all([on.end({ timeout: 1 }), last.end({ timeout: 1 })]);
    } finally {
      await stop();
    }
  },
);

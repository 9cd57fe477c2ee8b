// One round trip of a dispatcher: what it brings is kept and what it gets reaches it, whatever else breaks in it.
import { randomUUID } from "node:crypto";
import fc from "fast-check";
import type { Sql } from "postgres";
import { beforeEach, describe, expect, it } from "vitest";
import { createDispatcher } from "../../functions/_shared/engine/dispatcher.ts";
import {
  type ClaimedStep,
  createQueue,
  type Queue,
  type Wanted,
} from "../../functions/_shared/engine/queue.ts";
import { useSessions } from "../database/executions/support.ts";
import { waitFor } from "../support/standins.ts";
import { recordingLog, sendersOf, sent } from "../functions/fakes.ts";

const sessions = useSessions();
let queue: Queue;
beforeEach(() => queue = createQueue(sessions.connect(), 3_000, 1_500));

const TEXT = { type: "send_sms", config: { body: "Hi {{contact.first_name}}" } };
const EMAIL = { type: "send_email", config: { subject: "Hi", text: "{{user.full_name}}" } };
const ten: Wanted = { sms: { most: 10, but: [] }, email: { most: 10, but: [] } };

async function lead(tenantId: string, name: string, phone = "+15125550100"): Promise<void> {
  await sessions.sql`
    insert into contacts (tenant_id, first_name, phone, email)
    values (${tenantId}, ${name}, ${phone}, 'maria@example.com')`;
}

/** The claim of an email, and nothing else, does something when it reads who looks after the lead. */
const emailThat = (deed: string) =>
  sessions.sql.unsafe(`
    create or replace function automation.find_obstacles(
      works automation.work[], plans automation.running_plan[], until timestamptz) returns automation.work[]
      language plpgsql as $$
    begin
      if (works[1].due).lane = 'email' then ${deed} end if;
      return works;
    end $$`);

const reported = ({ tenant_id, step_id, attempt_token }: {
  tenant_id: string;
  step_id: string;
  attempt_token: string;
}) => ({
  tenant_id,
  step_id,
  attempt_token,
  outcome: "succeeded" as const,
  result: { provider_id: `SM${step_id}` },
});

const statuses = () =>
  sessions
    .sql`select step_type, status from ridgeline.workflow_step_executions order by step_type, status`;

describe("an exchange", () => {
  it("takes results and brings what is due, in one call", async () => {
    const { tenantId } = await sessions.office([TEXT, TEXT]);
    await lead(tenantId, "Maria");
    const first = await queue.exchange("w", [], ten, 60);
    expect(first).toMatchObject({ claimed: [{ attempt: 1 }], dry: ["sms", "email"], finished: [] });
    // The second text is due as soon as the first one is recorded.
    const next = await queue.exchange("w", first.claimed.map(reported), ten, 60);
    expect(next.finished).toMatchObject([{ accepted: true, status: "completed" }]);
    expect(next.claimed).toMatchObject([{ payload: { body: "Hi Maria" } }]);
    expect(next.claimed[0]?.step_id).not.toBe(first.claimed[0]?.step_id);
  });

  it("says which lanes have work now that a result is in", async () => {
    const { tenantId } = await sessions.office([TEXT, {
      type: "create_task",
      config: { title: "Call" },
    }]);
    await lead(tenantId, "Maria");
    const { claimed } = await queue.exchange("w", [], ten, 60);
    expect(await queue.exchange("w", claimed.map(reported), {}, 60))
      .toMatchObject({ due: ["database"], claimed: [], dry: [] });
  });

  it("does not call a channel dry of which it got as many as it asked for, or closed some unsent", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    const { sql } = sessions;
    for (let n = 0; n < 25; n++) await lead(tenantId, `Lead ${n}`, `+1512555${1000 + n}`);
    await sql`
      insert into ridgeline.suppressions (tenant_id, channel, address, reason)
      select ${tenantId}, 'sms', phone, 'opt_out' from contacts`;
    await lead(tenantId, "Maria");
    await lead(tenantId, "Zoe");
    // An exchange has a second: on a busy machine all of it may go to those that are closed.
    const one = await waitFor("Maria", async () => {
      const answer = await queue.exchange("w", [], { sms: { most: 1, but: [] } }, 60);
      expect(answer.dry).toEqual([]);
      return answer.claimed.length > 0 && answer;
    });
    expect(one.claimed).toMatchObject([{ payload: { body: "Hi Maria" } }]);
    const rest = await queue.exchange("w", [], { sms: { most: 5, but: [] } }, 60);
    expect(rest.claimed).toMatchObject([{ payload: { body: "Hi Zoe" } }]);
    expect(rest.dry).toEqual(["sms"]);
  });

  it("whose claim of one channel breaks brings the others, and keeps the results", async () => {
    const { tenantId } = await sessions.office([TEXT, TEXT]);
    const mail = await sessions.office([EMAIL]);
    await lead(tenantId, "Maria");
    const first = await queue.exchange("w", [], ten, 60);
    await lead(mail.tenantId, "Zoe");
    await sessions.sql.unsafe(`
      create or replace function automation.take_work(
        dues ridgeline.scheduled_steps[], out works automation.work[], out plans automation.running_plan[])
        language plpgsql as $$
      begin
        if dues[1].lane = 'email' then raise exception 'broken' using errcode = 'XX000'; end if;
        works := automation.lock_runs(dues);
        plans := automation.read_plans(works, automation.now());
        for i in 1 .. cardinality(works) loop
          works[i].step := (plans[works[i].plan]).steps -> (works[i].due).step_key;
        end loop;
      end $$`);
    const answer = await queue.exchange("w", first.claimed.map(reported), ten, 60);
    expect(answer.finished).toMatchObject([{ accepted: true }]);
    // The channel that broke is not dry: it is looked at again.
    expect(answer.dry).not.toContain("email");
    const texts = [
      ...answer.claimed,
      ...(await queue.exchange("w", [], {
        sms: { most: 10, but: [] },
      }, 60)).claimed,
    ];
    expect(texts).toMatchObject([{ step_type: "send_sms" }]);
    // Alone, it says why.
    await sessions.sql`delete from automation.portions`;
    await expect(queue.exchange("w", [], { email: { most: 10, but: [] } }, 60))
      .rejects.toMatchObject({ code: "XX000", message: "broken" });
  });

  it("that is cut off in the middle has its results recorded, and takes the culprit apart", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    const mail = await sessions.office([EMAIL]);
    await lead(tenantId, "Maria");
    const { claimed } = await queue.exchange("w", [], ten, 60);
    await lead(mail.tenantId, "Zoe");
    await emailThat("perform pg_sleep(60);");
    await queue.exchange("w", claimed.map(reported), ten, 60).catch(() => {});
    expect(await statuses()).toMatchObject([{ step_type: "send_sms", status: "completed" }]);
    const [left] = await sessions.sql`
      select (select count(*)::int from automation.suspects) as suspects,
        (select count(*)::int from automation.portions) as portions`;
    expect(left?.suspects + left?.portions).toBeGreaterThan(0);
  });

  it("leaves what is due to the next one where its results took half of its time", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    const text = "Hi {{contact.first_name}}{{user.full_name | default: '!'}}";
    const mail = await sessions.office([{ type: "send_email", config: { subject: "Hi", text } }]);
    await lead(tenantId, "Maria");
    const { claimed } = await queue.exchange("w", [], ten, 60);
    await lead(mail.tenantId, "Zoe");
    await sessions.sql.unsafe(`
      create function public.office_rule() returns trigger language plpgsql as $$
      begin if new.status = 'completed' then perform pg_sleep(1.1); end if; return new; end $$;
      create trigger office_rule before update on ridgeline.workflow_step_executions
        for each row execute function public.office_rule()`);
    await sessions.sql.unsafe(`
      create or replace function automation.oversize(step_type text, input jsonb) returns jsonb language plpgsql as
        $$ begin if step_type = 'send_email' then perform pg_sleep(1); end if; return null; end $$`);
    const on = sessions.connect();
    await on`set statement_timeout = '2s'`;
    const timed = createQueue(on, 10_000, 5_000);
    // What there is left of it is no time for a claim, which would be told that it was cut off.
    expect(await timed.exchange("w", claimed.map(reported), ten, 60))
      .toMatchObject({ finished: [{ accepted: true }], claimed: [] });
    expect(await sessions.sql`select from automation.suspects`).toHaveLength(0);
    await on`set statement_timeout = 0`;
    expect((await timed.exchange("w", [], ten, 60)).claimed).toMatchObject([{ channel: "email" }]);
  });

  it("writes down what a provider said, whatever that is", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    const part = fc.oneof(
      fc.string({ unit: "binary", maxLength: 20 }),
      fc.constantFrom(
        ...String.raw`' '' \ \' E' $$ $1 $x$ -- /* */ ; \0 \u0000 " ::int ');--`.split(" "),
      ),
      fc.constantFrom("\0", "\ud800", "\udc00x", "\ud83d\ude00", "\n", "\r", "\u2028", "\u00bf\\"),
    );
    const said = fc.sample(fc.array(part, { maxLength: 12 }).map((parts) => parts.join("")), 100);
    said.push("'\\\"$".repeat(100_000));
    await sessions.sql`
      insert into contacts (tenant_id, first_name, phone)
      select ${tenantId}, 'Maria', '+1512555' || 1000 + n from generate_series(1, ${said.length}) as n`;
    const claimed: ClaimedStep[] = [];
    await waitFor("all texts", async () => {
      const wanted = { sms: { most: said.length, but: [] } };
      claimed.push(...(await queue.exchange("o'w\\", [], wanted, 60)).claimed);
      return claimed.length === said.length;
    });
    const results = claimed.map((step, n) => {
      const result = { body: said[n], headers: { [`x${said[n]}`]: said[n] ?? "" } };
      return { ...reported(step), result };
    });
    const { finished } = await queue.exchange("w", results, {}, 60);
    expect(finished.filter(({ accepted }) => !accepted)).toEqual([]);
    const kept = await sessions.sql<{ id: string; result: unknown }[]>`
      select id, result_data as result from ridgeline.workflow_step_executions where step_type = 'send_sms'`;
    const of = new Map(kept.map(({ id, result }) => [id, result]));
    for (const [n, { step_id }] of claimed.entries()) {
      // Neither a zero nor half a character can be in a text of Postgres.
      const text = Buffer.from(said[n]?.replaceAll("\0", "") ?? "").toString();
      expect(of.get(step_id)).toMatchObject({ body: text, headers: { [`x${text}`]: text } });
    }
  });

  it("with a result that cannot be, or a lease, is refused whole", async () => {
    const { tenantId } = await sessions.office([TEXT]);
    await lead(tenantId, "Maria");
    const bad = {
      ...reported({ tenant_id: tenantId, step_id: randomUUID(), attempt_token: "no" }),
    };
    await expect(queue.exchange("w", [bad], ten, 60)).rejects.toThrow(/attempt_token: a UUID/);
    await expect(queue.exchange("w", [], ten, 0)).rejects.toThrow(/lease/);
    expect(await statuses()).toEqual([]);
    expect((await queue.exchange("w", [], ten, 60)).claimed).toHaveLength(1);
  });
});

describe("results that take long to record", { timeout: 120_000 }, () => {
  /** So many texts are due, and the CRM's timeline has a trigger that takes its time. */
  async function timelineThat(deed: string, many: number, timeout: string): Promise<Sql> {
    const { sql } = sessions;
    await sql.unsafe(`
      create table public.activities (
        id uuid primary key default gen_random_uuid(), tenant_id uuid, contact_id uuid, type text, content text,
        direction text, external_id text);
      select automation.attach_target('timeline', 'public.activities');
      create function public.office_rule() returns trigger language plpgsql as $$ begin ${deed} return new; end $$;
      create trigger office_rule before insert on public.activities
        for each row execute function public.office_rule()`);
    const { tenantId } = await sessions.office([TEXT]);
    await sql`
      insert into contacts (tenant_id, first_name, phone)
      select ${tenantId}, 'Lead ' || n, '+1512555' || 1000 + n from generate_series(1, ${many}::int) as n`;
    const [name] = await sql`select current_database() as name`;
    await sql.unsafe(`alter database "${name!.name}" set statement_timeout = '${timeout}'`);
    return sessions.database.connect({ max: 4 });
  }
  /** All sends come back at once. */
  async function dispatchAll(on: Sql, many: number) {
    let back = () => {};
    const all = new Promise<void>((resolve) => back = resolve);
    let started = 0;
    const { lines, log } = recordingLog();
    const dispatcher = createDispatcher({
      queue: createQueue(on, 10_000, 3_000),
      senders: sendersOf(async (step) => {
        if (++started === many) back();
        await all;
        return { ...sent, result: { provider_id: `SM${step.step_id}` } };
      }, 30_000),
      log,
      worker: "w",
      // So many that the last few are not left for later.
      concurrency: 5 * many,
      leaseSeconds: 120,
    });
    return { summary: await dispatcher.dispatch({ budgetMs: 100_000 }), lines };
  }
  const recorded = async () =>
    (await sessions.sql`
      select sum(p.n)::int as shown, max(p.n)::int as at_once, (select count(*)::int from ridgeline.messages) as kept
      from (select count(*) as n from public.activities group by xmin) as p`)[0];

  it("are recorded in slices, each once, under a timeout that all of them together exceed", async () => {
    const many = 400;
    const on = await timelineThat("perform pg_sleep(0.008);", many, "3s");
    const { summary } = await dispatchAll(on, many);
    expect(summary).toMatchObject({ succeeded: many, late: 0, unrecorded: 0 });
    const kept = await recorded();
    expect(kept).toMatchObject({ shown: many, kept: many });
    // A quarter of a second of them at most.
    expect(kept!.at_once).toBeLessThanOrEqual(32);
  });

  it("are as few at once as that needs, also where there are no more than ten", async () => {
    const many = 10;
    const on = await timelineThat("perform pg_sleep(0.05);", many, "30s");
    const { summary } = await dispatchAll(on, many);
    expect(summary).toMatchObject({ succeeded: many, late: 0, unrecorded: 0 });
    const kept = await recorded();
    expect(kept).toMatchObject({ shown: many, kept: many });
    expect(kept!.at_once).toBeLessThanOrEqual(4);
  });

  it("are taken apart where one of them hangs, and that one is tried again alone", async () => {
    const many = 60;
    const hangs = "if new.content = 'Hi Lead 42' then perform pg_sleep(60); end if;";
    const run = dispatchAll(await timelineThat(hangs, many, "1s"), many);
    await waitFor("all but one recorded", async () => (await recorded())?.shown === many - 1);
    await sessions.sql`drop trigger office_rule on public.activities`;
    const { summary, lines } = await run;
    expect(summary).toMatchObject({ succeeded: many, late: 0, unrecorded: 0 });
    expect(await recorded()).toMatchObject({ shown: many, kept: many });
    expect(lines.filter(({ event }) => event === "result_late")).toEqual([]);
  });
});

it.each([["a few", 6], ["many", 30]])(
  "of %s results the one whose run somebody holds waits for them, and no other does",
  async (_what, many) => {
    const { tenantId } = await sessions.office([TEXT]);
    for (let n = 0; n < many; n++) await lead(tenantId, `Lead ${n}`, `+1512555${1000 + n}`);
    let under = 0;
    let back = () => {};
    const held = new Promise<void>((resolve) => back = resolve);
    const dispatcher = createDispatcher({
      queue: createQueue(sessions.database.connect({ max: 4 })),
      senders: sendersOf(async (step) => {
        under++;
        await held;
        return { ...sent, result: { provider_id: `SM${step.step_id}` } };
      }, 20_000),
      log: recordingLog().log,
      worker: "w",
      concurrency: 5 * many,
    });
    const run = dispatcher.dispatch({ budgetMs: 60_000 });
    await waitFor("all under way", () => under === many);
    const user = await sessions.begin();
    await user`
      select from ridgeline.workflow_executions as e
      where e.contact_id = (select c.id::text from contacts as c where c.first_name = 'Lead 3') for update`;
    back();
    const completed = async () =>
      (await sessions.sql`
        select from ridgeline.workflow_step_executions where status = 'completed'`).length;
    await waitFor("the others recorded", async () => await completed() === many - 1);
    await user`rollback`;
    expect(await run).toMatchObject({ succeeded: many, late: 0, unrecorded: 0, stopped: "idle" });
    expect(await completed()).toBe(many);
  },
  60_000,
);

it("of a database that is one version older takes more trips, and does the same", async () => {
  const { sql } = sessions;
  await sql.unsafe(`
    create or replace function automation.api_version() returns integer language sql immutable as 'select 1';
    drop procedure automation.exchange_steps`);
  const { tenantId } = await sessions.office([TEXT, TEXT]);
  for (let n = 0; n < 30; n++) await lead(tenantId, `Lead ${n}`);
  const dispatcher = createDispatcher({
    queue,
    senders: sendersOf((step) =>
      Promise.resolve({ ...sent, result: { provider_id: `SM${step.step_id}` } })
    ),
    log: recordingLog().log,
    worker: "w",
  });
  expect(await dispatcher.dispatch({ budgetMs: 20_000 }))
    .toMatchObject({ claimed: 60, succeeded: 60, stopped: "idle" });
});

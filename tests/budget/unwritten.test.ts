// A claim that comes to its end leaves no trace. One that does not makes those after it say first what they claim.
import process from "node:process";
import type { Sql } from "postgres";
import { beforeEach, expect, it } from "vitest";
import { createQueue, type Wanted } from "../../functions/_shared/engine/queue.ts";
import {
  cloneDatabase,
  connect,
  createTemplate,
  startScratchServer,
} from "../../scripts/lib/scratch.ts";
import { useSessions } from "../database/executions/support.ts";
import { waitFor } from "../support/standins.ts";

const TEXT = {
  type: "send_sms",
  config: { body: "Hi {{contact.first_name}}{{user.full_name | default: '!'}}" },
};
const wanted: Wanted = { sms: { most: 10, but: [] } };

const sessions = useSessions();
let sql: Sql;
beforeEach(() => {
  sql = sessions.sql;
});

/** Looking at what a lead is told waits as long as its name is in the list. */
const holdClaims = async (on: Sql) => {
  await on.unsafe(`
    create table public.held (name text);
    create or replace function automation.oversize(step_type text, input jsonb) returns jsonb
      language plpgsql volatile as $$
    begin
      while exists (select from public.held as h where input ->> 'body' = 'Hi ' || h.name || '!') loop
        perform pg_sleep(0.01);
      end loop;
      return null;
    end $$`);
};
const hold = async (on: Sql, name: string) => {
  await on`insert into public.held values (${name})`;
};
const letGo = async (on: Sql) => {
  await on`delete from public.held`;
};

let number = 0;
const lead = async (on: Sql, tenantId: string, name: string) => {
  await on`
    insert into contacts (tenant_id, first_name, phone)
    values (${tenantId}, ${name}, ${`+1512555${1000 + number++}`})`;
};

/** A claim that stops at a lead, and what it wrote down before; `until` says how it goes on. */
async function claimAt(
  on: Sql,
  session: Sql,
  name: string,
  until: (pid: number) => Promise<unknown>,
): Promise<{ written: string[]; bodies: string[] }> {
  await hold(on, name);
  const [{ pid } = { pid: 0 }] = await session<{ pid: number }[]>`select pg_backend_pid() as pid`;
  const claimed = createQueue(session, 20_000, 20_000).exchange("w", [], wanted, 60)
    .then(({ claimed }) => claimed).catch(() => []);
  await waitFor("the claim to stop", async () => {
    const [stops] = await on`
      select pid from pg_stat_activity where pid = ${pid} and wait_event = 'PgSleep'`;
    return stops;
  }, { timeout: 20_000 });
  const written = await on<{ name: string }[]>`
    select c.first_name as name
    from automation.portions as p cross join unnest(p.step_ids) as i (id)
    join ridgeline.scheduled_steps as s on s.id = i.id
    join ridgeline.workflow_executions as e on e.id = s.execution_id
    join contacts as c on c.id::text = e.contact_id order by 1`;
  await until(pid);
  const bodies = (await claimed).map(({ payload }) => (payload as { body: string }).body);
  return { written: written.map(({ name }) => name), bodies: bodies.sort() };
}

const ended = (on: Sql) => () => letGo(on);
const killed = (on: Sql) => (pid: number) => on`select pg_terminate_backend(${pid}, 10000)`;

/** As if whatever has happened had happened so long ago. */
const age = (on: Sql) =>
  on`select setval('automation.claiming_sms', last_value - 601000) from automation.claiming_sms`;

it("a claim that ends well has written down nothing, time after time", async () => {
  const { tenantId } = await sessions.office([TEXT]);
  await holdClaims(sql);
  const worker = sessions.connect();
  for (const name of ["Ann", "Bo", "Cy"]) {
    await lead(sql, tenantId, name);
    expect(await claimAt(sql, worker, name, ended(sql)))
      .toEqual({ written: [], bodies: [`Hi ${name}!`] });
  }
});

it("after one whose session died the next ones say whom they claim, for ten minutes", async () => {
  const { tenantId } = await sessions.office([TEXT]);
  await holdClaims(sql);
  await lead(sql, tenantId, "Ann");
  const first = await claimAt(sql, sessions.connect(), "Ann", killed(sql));
  expect(first).toEqual({ written: [], bodies: [] });
  await letGo(sql);
  const worker = sessions.connect();
  expect(await claimAt(sql, worker, "Ann", ended(sql)))
    .toEqual({ written: ["Ann"], bodies: ["Hi Ann!"] });
  await lead(sql, tenantId, "Bo");
  expect(await claimAt(sql, worker, "Bo", ended(sql)))
    .toEqual({ written: ["Bo"], bodies: ["Hi Bo!"] });
  await age(sql);
  // The time alone does not tell that all is well: a portion that comes to its end does.
  await lead(sql, tenantId, "Cy");
  expect(await claimAt(sql, worker, "Cy", ended(sql)))
    .toEqual({ written: ["Cy"], bodies: ["Hi Cy!"] });
  await lead(sql, tenantId, "Di");
  expect(await claimAt(sql, worker, "Di", ended(sql)))
    .toEqual({ written: [], bodies: ["Hi Di!"] });
});

it("beside one that writes down nothing another one does, and neither waits", async () => {
  const { tenantId } = await sessions.office([TEXT]);
  await holdClaims(sql);
  await lead(sql, tenantId, "Ann");
  const other = sessions.connect();
  let beside: unknown;
  const first = await claimAt(sql, sessions.connect(), "Ann", async () => {
    await lead(sql, tenantId, "Bo");
    beside = await claimAt(sql, other, "Bo", async () => {
      await sql`delete from public.held where name = 'Bo'`;
      await waitFor("Bo to be claimed", async () => {
        const [leased] = await sql`select from ridgeline.scheduled_steps where leased_by = 'w'`;
        return leased !== undefined;
      });
    });
    await letGo(sql);
  });
  expect(beside).toEqual({ written: ["Bo"], bodies: ["Hi Bo!"] });
  expect(first).toEqual({ written: [], bodies: ["Hi Ann!"] });
});

it("one that is cancelled says whom it was working on", async () => {
  const { tenantId } = await sessions.office([TEXT]);
  await lead(sql, tenantId, "Ann");
  await sql.unsafe(`
    create or replace function automation.lock_runs(dues ridgeline.scheduled_steps[]) returns automation.work[]
      language plpgsql as $$ begin perform pg_sleep(60); end $$`);
  const worker = sessions.connect();
  await worker`set statement_timeout = '500ms'`;
  await createQueue(worker).exchange("w", [], wanted, 60).catch(() => {});
  const written = await sql`select cardinality(step_ids) as steps from automation.portions`;
  expect(written).toEqual([{ steps: 1 }]);
});

it("after a server has crashed claims say whom they claim", { timeout: 120_000 }, async () => {
  const { server, stop } = await startScratchServer({ settings: { restart_after_crash: "on" } });
  try {
    await createTemplate(server.url());
    const url = await cloneDatabase(server.url(), "crashing");
    const open = () => connect(url, { max: 1 });
    let on = open();
    await holdClaims(on);
    const [tenant] = await on`insert into tenants (name) values ('Apex Roofing') returning id`;
    const [workflow] = await on`
      insert into ridgeline.workflows (tenant_id, name, trigger_type)
      values (${tenant?.id}, 'Welcome', 'contact_created') returning id`;
    await on`
      insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
      values (${tenant?.id}, ${workflow?.id}, 1, ${TEXT.type}, ${on.json(TEXT.config)})`;
    await on`update ridgeline.workflows set is_active = true`;
    await lead(on, tenant?.id, "Ann");
    await on`checkpoint`;
    const worker = open();
    const before = await claimAt(on, worker, "Ann", (pid) => {
      process.kill(pid, "SIGKILL");
      return Promise.resolve();
    });
    expect(before).toEqual({ written: [], bodies: [] });
    await worker.end({ timeout: 1 });
    await on.end({ timeout: 1 });
    on = await waitFor("the server to come back", async () => {
      const again = open();
      return await again`select 1`.then(() => again, () => undefined);
    }, { timeout: 20_000 });
    await letGo(on);
    const last = open();
    expect(await claimAt(on, last, "Ann", ended(on)))
      .toEqual({ written: ["Ann"], bodies: ["Hi Ann!"] });
    await Promise.all([on.end({ timeout: 1 }), last.end({ timeout: 1 })]);
  } finally {
    await stop();
  }
});

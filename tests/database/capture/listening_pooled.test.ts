// Offices switch workflows on and off while their CRM is written by sessions that many share, and each session keeps in
// mind who listens. An oracle beside it asks the listeners themselves, just before and just after.
import { randomUUID } from "node:crypto";
import type { Sql } from "postgres";
import { beforeAll, expect, it } from "vitest";
import { connect } from "../../../scripts/lib/scratch.ts";
import { useDatabase } from "../../support/database.ts";
import { startPooler, withoutPooler } from "../../support/pooler.ts";

const database = useDatabase();
const seconds = process.env.RIDGELINE_SOAK === "1" ? 120 : 4;
const WRITERS = 8;
const tenants = ["0a", "1a", "2b", "3a"].map((end) => `00000000-0000-4000-8000-0000000000${end}`);

// Certain: what was asked before and after is the same, and nobody has taken a number in between.
const oracle = `
create table public.heard (tenant_id uuid, id uuid, number bigint, listened boolean, after boolean);
create function public.ask() returns trigger language plpgsql as $$
begin
  insert into public.heard values (new.tenant_id, new.id, pg_sequence_last_value('automation.listening'), exists (
    select from automation.active_triggers as t where t.tenant_id = new.tenant_id and t.event = 'contact_created'
      and (t.match_value is null or t.match_value = new.source)), tg_argv[0] = 'after');
  return null;
end $$;
create trigger a_before after insert on public.contacts for each row execute function public.ask('before');
create trigger z_after after insert on public.contacts for each row execute function public.ask('after');
grant insert on public.heard to authenticated, service_role;
grant usage on schema automation to authenticated, service_role;
grant select on automation.active_triggers, automation.listening to authenticated, service_role;`;

const pick = <T>(of: readonly T[]): T => of[Math.floor(Math.random() * of.length)]!;

/** What a session that is shared meets: other offices, roles, transactions of all kinds, and forgetting. */
async function writeOnce(sql: Sql): Promise<void> {
  if (Math.random() < 0.05) await sql.unsafe("discard all");
  const one = `insert into public.contacts (tenant_id, first_name, source)
    values ('${pick(tenants)}', 'Lead', '${pick(["web", "angi"])}')`;
  const many = `insert into public.contacts (tenant_id, first_name, source)
    select t::uuid, 'Lead', 'web' from unnest('{${
    tenants.join(",")
  }}'::text[]) as t, generate_series(1, 5)`;
  await sql.unsafe(pick([
    one,
    one,
    one,
    many,
    `begin; ${one}; savepoint a; ${many}; rollback to a; ${one}; commit`,
    `begin; ${many}; rollback`,
    `begin; set local role service_role; ${one}; commit`,
    `begin isolation level repeatable read; select 1 from public.contacts limit 1; ${one}; commit`,
    `reset all; ${one}`,
  ])).simple();
}

/** Writes and publishes for a while, and counts what was certain by the oracle and what became of it. */
async function soak(open: () => Sql): Promise<Record<string, number>> {
  const owner = database().sql;
  await owner`update ridgeline.workflows set is_active = false`;
  await owner`truncate public.heard`;
  const flows: string[] = [];
  for (const tenant of tenants) {
    for (const config of [{}, { source: "angi" }]) {
      const id = randomUUID();
      flows.push(id);
      await owner`
        insert into ridgeline.workflows (tenant_id, id, name, trigger_type, trigger_config)
        values (${tenant}, ${id}, 'Call', 'contact_created', ${owner.json(config)})`;
      await owner`
        insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
        values (${tenant}, ${id}, 'stop', '{}')`;
    }
  }
  const until = performance.now() + seconds * 1000;
  const keep = async (work: (sql: Sql) => Promise<unknown>, rest: number) => {
    const sql = open();
    while (performance.now() < until) {
      await work(sql);
      await new Promise((resolve) => setTimeout(resolve, rest * Math.random()));
    }
    await sql.end({ timeout: 1 });
  };
  await Promise.all([
    ...Array.from({ length: WRITERS }, () => keep(writeOnce, 4)),
    ...[0, 1].map((which) =>
      keep((sql) => {
        const change = (on: boolean) =>
          sql.unsafe(`begin;
          update ridgeline.workflows set is_active = ${on} where id = '${
            pick(flows.filter((_, n) => n % 2 === which))
          }';
          ${pick(["commit", "commit", "rollback"])}`).simple();
        return change(Math.random() < 0.5);
      }, 60)
    ),
  ]);
  const [counts] = await owner<[Record<string, number>]>`
    select count(*)::int as written, count(*) filter (where listened)::int as heard,
      count(*) filter (where listened and runs = 0)::int as missed,
      count(*) filter (where not listened and runs > 0)::int as invented
    from (
      select b.listened, (select count(*) from ridgeline.workflow_executions as e
        where e.tenant_id = b.tenant_id and e.record_id = b.id::text) as runs
      from public.heard as b join public.heard as a using (tenant_id, id)
      where not b.after and a.after and a.listened = b.listened and a.number = b.number
    ) as certain`;
  return counts;
}

const patience = { timeout: 60_000 + seconds * 1000 };

function expectAll({ written, heard, missed, invented }: Record<string, number>): void {
  expect(heard).toBeGreaterThan(100);
  expect(written! - heard!).toBeGreaterThan(100);
  expect([missed, invented]).toEqual([0, 0]);
}

beforeAll(async () => {
  const { sql } = database();
  await sql.unsafe(oracle).simple();
  for (const id of tenants) await sql`insert into public.tenants (id, name) values (${id}, 'Apex')`;
});

it("no write is missed, and none fires that nobody listens to", patience, async () => {
  expectAll(await soak(() => database().connect({ max: 1 })));
});

it.skipIf(withoutPooler)(
  "nor behind a pooler that hands three sessions around",
  patience,
  async () => {
    const url = await startPooler(database().url, 3);
    expectAll(await soak(() => connect(url, { max: 1, prepare: false })));
  },
);

// What Postgres itself has to say about the functions of the schema.
import type { Sql } from "postgres";

/**
 * The schema is applied with check_function_bodies off, because functions name what later
 * chapters create. Now that everything is there, Postgres checks each body after all.
 */
export async function validateRoutines(sql: Sql): Promise<{ checked: number; problems: string[] }> {
  const routines = await sql<{ oid: number; name: string; validator: string }[]>`
    select p.oid, p.oid::regprocedure::text as name, l.lanvalidator::regproc::text as validator
    from pg_proc p join pg_language l on l.oid = p.prolang
    where p.pronamespace in (select oid from pg_namespace where nspname in ('automation', 'ridgeline', 'public', 'ridgeline_crm'))
      and l.lanvalidator <> 0
    order by 2`;
  const problems: string[] = [];
  for (const { oid, name, validator } of routines) {
    try {
      await sql.unsafe(`select ${validator}(${oid})`);
    } catch (error) {
      problems.push(`${name}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  return { checked: routines.length, problems };
}

// What functions call only where the platform or the CRM has it: its shape, for plpgsql_check to look at.
const platform = `
create schema if not exists net;
create or replace function net.http_post(
  url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{}',
  timeout_milliseconds integer default 5000
) returns bigint language sql as 'select 1::bigint';
create table public.checked_timeline (id bigint, tenant_id uuid, contact_id uuid, content text);
select automation.attach_target('timeline', 'public.checked_timeline');
create table public.checked_inbox (id bigint, tenant_id uuid, from_number text, body text);
select automation.attach_inbox('public.checked_inbox');
`;

/** plpgsql_check over every function, trigger functions once for each of their triggers. */
export async function checkRoutines(sql: Sql): Promise<{ checked: number; problems: string[] }> {
  await sql.unsafe(platform).simple();
  const routines = await sql<{ name: string; relation: string | null; found: string[] }[]>`
    select p.oid::regprocedure::text as name, t.tgrelid::regclass::text as relation,
      array(
        select concat_ws(': ', 'line ' || c.lineno, c.level, c.message, c.detail, c.hint)
        from plpgsql_check_function_tb(
          p.oid, coalesce(t.tgrelid, 0), fatal_errors => false,
          oldtable => t.tgoldtable, newtable => t.tgnewtable
        ) as c
        -- Capture assigns what it calls: that costs a write less than perform does.
        where (p.proname not like 'capture\_%' or c.message <> 'never read variable "written"')
        -- What is asked of every type of step is more than one of them needs.
        and (c.message not like 'unused parameter%' or not exists (
          select from automation.step_questions() as q, automation.step_types as s
          where p.proname in (q.name || '_' || s.name, 'step_' || q.name)))
      ) as found
    from pg_proc p
    join pg_language l on l.oid = p.prolang and l.lanname = 'plpgsql'
    left join pg_trigger t on t.tgfoid = p.oid and not t.tgisinternal
    where p.pronamespace in (select oid from pg_namespace where nspname in ('automation', 'ridgeline', 'public', 'ridgeline_crm'))
      and (p.prorettype <> 'trigger'::regtype or t.oid is not null)
      and p.prorettype <> 'event_trigger'::regtype
    order by 1, 2`;
  const unattached = await sql<{ name: string }[]>`
    select p.oid::regprocedure::text as name from pg_proc p
    where p.prorettype = 'trigger'::regtype
      and p.pronamespace in (select oid from pg_namespace where nspname in ('automation', 'ridgeline', 'public', 'ridgeline_crm'))
      and not exists (select from pg_trigger t where t.tgfoid = p.oid)`;
  const problems = routines.flatMap(({ name, relation, found }) =>
    found.map((one) => `${name}${relation ? ` on ${relation}` : ""}: ${one}`)
  );
  problems.push(...unattached.map(({ name }) => `${name}: no trigger runs it`));
  return { checked: routines.length, problems };
}

-- Ledger and events refer to runs. How Postgres looks for the run is planned once a session, often while there is none:
-- an import of 100,000 contacts must not read every run of the tenant for every row that it writes.
begin;
select plan(4);

analyze ridgeline.workflow_executions;

create function pg_temp.index_of(statement text) returns text language plpgsql as $$
declare
  plan jsonb;
begin
  execute 'explain (format json) ' || statement into plan;
  return jsonb_path_query_first(plan, 'strict $.**."Index Name"') #>> '{}';
end;
$$;

-- As the check of a foreign key asks.
prepare look(uuid, uuid) as
  select 1 from only ridgeline.workflow_executions as x
  where x.tenant_id operator(pg_catalog.=) $1 and x.id operator(pg_catalog.=) $2 for key share of x;

set local plan_cache_mode = force_generic_plan;
set local enable_seqscan = off;

select is(pg_temp.index_of(format('execute look(%L, %L)', gen_random_uuid(), gen_random_uuid())),
  'workflow_executions_pkey', 'in an empty table a run is looked for by its whole key');

select set_eq($$
    select c.conrelid::regclass::text from pg_constraint as c
    where c.contype = 'f' and c.confrelid = 'ridgeline.workflow_executions'::regclass$$,
  '{ridgeline.workflow_step_executions,automation.run_events}'::text[],
  'ledger and events refer to runs');

select is_empty($$
    select c.conrelid::regclass, c.conname from pg_constraint as c
    where c.contype = 'f' and c.conrelid in (
      'ridgeline.workflow_executions'::regclass, 'ridgeline.scheduled_steps'::regclass,
      'automation.signals'::regclass, 'ridgeline.stage_changes'::regclass, 'ridgeline.workflow_timers'::regclass,
      'ridgeline.messages'::regclass, 'ridgeline.emails'::regclass, 'ridgeline.calls'::regclass)$$,
  'what capture writes refers to nothing: no lead waits for whoever deletes that, nor fails when it is gone');

select is_empty($$
    select p.oid::regprocedure from pg_proc as p
    where p.pronamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace)
      and p.prosrc ~ 'insert into (ridgeline\.workflow_step_executions|automation\.run_events)\M'
      and not coalesce('enable_seqscan=off' = any (p.proconfig), false)$$,
  'and whatever writes there does not let it read the whole table');

select * from finish();
rollback;

-- Pruning costs what it prunes: not what is kept, not what others have, and not what the statistics of an empty
-- table once said.
begin;
\ir ../foundation/story.psql
select plan(6);

analyze ridgeline.scheduled_steps, ridgeline.workflow_executions, ridgeline.workflow_step_executions, automation.entries;
select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar', '00000000-0000-0000-0000-00000000000b') as blue \gset
select pg_temp.workflow(:'apex', 'manual', settings => '{"reentry": "never"}') as flow \gset
select pg_temp.workflow(:'blue', 'manual', settings => '{"reentry": "never"}') as other \gset

-- An id of that time.
create function pg_temp.id_at(at timestamptz) returns uuid
  language sql volatile
  as $$ select (left(automation.first_id(at)::text, 14) || '7' || substr(gen_random_uuid()::text, 16))::uuid $$;
create function pg_temp.history(tenant uuid, flow uuid, runs integer, age interval) returns void
  language sql
  as $$
    with e as (
      insert into ridgeline.workflow_executions (tenant_id, id, workflow_id, version, status, trigger_type, entity,
        record_id, created_at, started_at, finished_at)
      select tenant, pg_temp.id_at(at), flow, 1, 'completed', 'manual', 'contact', n, at, at, at
      from generate_series(1, runs) as n, lateral (select automation.now() - age + n * interval '1 second' as at) as a
      returning *
    )
    insert into ridgeline.workflow_step_executions (tenant_id, id, execution_id, step_key, step_type, status, input, started_at, finished_at)
    select e.tenant_id, pg_temp.id_at(e.created_at), e.id, 'step_' || k, 'create_task', 'completed', '{"title": "Call"}', e.created_at, e.created_at
    from e, generate_series(1, 2) as k
  $$;

-- Rows read of a table, by any index, and sequential scans made of it.
create function pg_temp.reads() returns bigint
  language sql volatile
  as $$
    select sum(coalesce(idx_tup_fetch, 0) + seq_tup_read)
    from pg_stat_xact_user_tables
    where relname in ('workflow_executions', 'workflow_step_executions', 'scheduled_steps', 'entries', 'run_events')
  $$;
create function pg_temp.cost_of(statement text) returns bigint
  language plpgsql
  as $$
declare
  before constant bigint := pg_temp.reads();
begin
  execute statement;
  return pg_temp.reads() - before;
end;
$$;
create function pg_temp.place(tenant uuid, kind text, most integer) returns automation.retention_places
  language sql
  as $$ select row(tenant, kind, '00000000-0000-0000-0000-000000000000', clock_timestamp(), clock_timestamp(), most / 2)::automation.retention_places $$;
\set runs 'select automation.run_retention(pg_temp.place(''00000000-0000-0000-0000-00000000000a'', ''runs'', 200))'
\set inputs 'select automation.run_retention(pg_temp.place(''00000000-0000-0000-0000-00000000000a'', ''inputs'', 200))'

-- A session that planned everything while there was nothing keeps those plans.
select count(*) from generate_series(1, 7) as n, lateral automation.run_retention(pg_temp.place(:'apex', 'runs', 10 + n * 0));
select count(*) from generate_series(1, 7) as n, lateral automation.run_retention(pg_temp.place(:'apex', 'inputs', 10 + n * 0));

select pg_temp.history(:'blue', :'other', 15000, '15 months'), pg_temp.history(:'apex', :'flow', 15000, '1 month'), pg_temp.history(:'apex', :'flow', 1000, '14 months');
-- Before 17 a list of ids is not looked up in an index that has other columns before it: there, and only while statistics
-- say that a table is empty, a portion may read what the tenant has, a few times.
select current_setting('server_version_num')::integer < 170000 as is_old \gset
select cmp_ok(pg_temp.cost_of(:'runs'), '<', case when :'is_old' then 16000 * 5 else 200 * 40 end::bigint, 'a portion of runs');
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'flow'), 15800::bigint, 'which is two hundred');
select cmp_ok(pg_temp.cost_of(:'inputs'), '<', case when :'is_old' then 32000 * 5 else 200 * 10 end::bigint, 'a portion of inputs');
select is((select count(*) from ridgeline.workflow_step_executions where input is null), 200::bigint, 'which is two hundred');
analyze ridgeline.workflow_executions, ridgeline.workflow_step_executions;
select cmp_ok(pg_temp.cost_of(:'runs'), '<', 200 * 40::bigint, 'the same when the statistics are true');
select is((select count(*) from automation.entries), 400::bigint, 'who had entered is remembered');
select * from finish();
rollback;

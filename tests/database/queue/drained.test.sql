-- A burst after a quiet night: the queue was drained, and analyzed while its pages still stood, so that to every plan
-- made now it is empty, however it is read.
begin;
\ir ../foundation/story.psql
\ir backlog.psql
select plan(8);
-- These steps name a number, which is no contact's.
alter table public.tenants alter column text_strangers set default true;
select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset

-- Rows that a statement reads of the queue, by any index, and sequential scans it makes.
create function pg_temp.reads() returns bigint
  language sql volatile
  as $$
    select coalesce(idx_tup_fetch, 0) + 1000000 * seq_scan
    from pg_stat_xact_user_tables where relname = 'scheduled_steps'
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
select pg_temp.backlog(:'apex', :'sms', 5000, '1 day');
delete from ridgeline.scheduled_steps;
analyze ridgeline.scheduled_steps;
select ok(c.relpages > 50 and c.reltuples = 0, 'many pages, and nothing in them')
from pg_class as c where c.oid = 'ridgeline.scheduled_steps'::regclass;

select pg_temp.backlog(:'apex', :'sms', 20000, '1 day');
select pg_temp.backlog(:'apex', :'sms', 50, '-1 hour');
select pg_temp.backlog(:'apex', :'task', 50, '-1 hour');
select cmp_ok(pg_temp.cost_of('select automation.claim_steps(''w'', 50)'), '<', 1000::bigint,
  'a claim of fifty reads a few rows for each');
select cmp_ok(pg_temp.cost_of('select automation.run_database_steps(50)'), '<', 2000::bigint, 'fifty database steps do');
update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'
where attempt_token is not null and id in (
  select id from ridgeline.scheduled_steps where attempt_token is not null order by id limit 10);
select cmp_ok(pg_temp.cost_of('select automation.reap_expired_leases(10)'), '<', 100::bigint, 'reaping ten does');
create temp table leaving as
  select s.execution_id as id from ridgeline.scheduled_steps as s where s.run_at > now() limit 50;
select cmp_ok(pg_temp.cost_of('delete from ridgeline.workflow_executions as e using leaving as l where e.id = l.id'), '<',
  1000::bigint, 'fifty runs that are deleted take along what waits of them');
create temp table claimed as
  select jsonb_build_object('tenant_id', s.tenant_id, 'step_id', s.id, 'attempt_token', s.attempt_token,
    'outcome', 'succeeded', 'result', jsonb_build_object('provider_id', s.id)) as result
  from ridgeline.scheduled_steps as s where s.attempt_token is not null;
select is((select count(*) from claimed), 40::bigint, 'forty are out');
select cmp_ok(pg_temp.cost_of('select automation.finish_steps((select jsonb_agg(result) from pg_temp.claimed))'), '<',
  1000::bigint, 'forty results do');
-- Before 17 a list of ids is not looked up in an index that has other columns before it.
select cmp_ok(pg_temp.cost_of(format('select ridgeline.cancel_execution(%L)', (
    select s.execution_id from ridgeline.scheduled_steps as s where s.lane = 'sms' and s.attempt = 0 limit 1))), '<',
  case when current_setting('server_version_num')::integer < 170000 then 25000 else 100 end::bigint, 'whoever calls one run off does');
select * from finish();
rollback;

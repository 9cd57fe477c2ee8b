-- What REST embeds: the run of what is queued, the version of a run, and back; as far as whoever asks may see it.
begin;
\ir ../foundation/story.psql
select plan(7);

select pg_temp.tenant() as apex \gset
select pg_temp.tenant() as summit \gset
select pg_temp.workflow(t, 'contact_created', '{}', '[{"type": "create_task", "delay": 60, "config": {"title": "Call"}}]')
from unnest(array[:'apex', :'summit']::uuid[]) as t;
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'summit', 'Jose') as jose \gset
select pg_temp.member(:'apex') as ann \gset

select results_eq(
  'select e.record_id from ridgeline.scheduled_steps as s, ridgeline.workflow_executions(s) as e order by 1',
  format('select unnest(array[%L, %L]) order by 1', :'maria', :'jose'), 'each step has its run');
select results_eq(
  'select s.step_key, s.tenant_id from ridgeline.workflow_executions as e, ridgeline.scheduled_steps(e) as s order by 2',
  'select s.step_key, s.tenant_id from ridgeline.scheduled_steps as s order by 2', 'each run its step');
select results_eq(
  'select v.tenant_id, v.version from ridgeline.workflow_executions as e, ridgeline.workflow_versions(e) as v order by 1',
  'select v.tenant_id, 1 from ridgeline.workflow_versions as v order by 1', 'each run its version');
select results_eq(
  'select e.record_id from ridgeline.workflow_versions as v, ridgeline.workflow_executions(v) as e order by 1',
  format('select unnest(array[%L, %L]) order by 1', :'maria', :'jose'), 'each version its runs');

select e.id as joses from ridgeline.workflow_executions as e where e.record_id = :'jose' \gset
select pg_temp.sign_in(:'ann');
select results_eq(
  'select e.record_id from ridgeline.scheduled_steps as s, ridgeline.workflow_executions(s) as e',
  format('values (%L)', :'maria'), 'a member sees the run of what their own office has queued');
select is_empty(
  format('select e.id from ridgeline.workflow_executions(jsonb_populate_record(null::ridgeline.scheduled_steps, %L)) as e',
    jsonb_build_object('tenant_id', :'summit'::uuid, 'execution_id', :'joses'::uuid)),
  'and nothing of another, whatever row they make up');
select pg_temp.act_as('anon');
select throws_ok('select from ridgeline.workflow_executions(null::ridgeline.scheduled_steps)', '42501', null,
  'nobody else is told anything');
select * from finish();
rollback;

-- Plans of other releases: an older one runs on, a newer one fails its runs and says why.
begin;
\ir ../foundation/story.psql
select plan(29);

select pg_temp.tenant() as apex \gset
create function pg_temp.replan(workflow uuid, change text) returns void
  language plpgsql
  as $$
begin
  alter table ridgeline.workflow_versions disable trigger user;
  execute format('update ridgeline.workflow_versions set plan = %s where workflow_id = %L', change, workflow);
  alter table ridgeline.workflow_versions enable trigger user;
end;
$$;
create function pg_temp.ending(workflow uuid) returns text
  language sql
  as $$
    select concat_ws(' ', e.status, e.error ->> 'code') from ridgeline.workflow_executions as e
    where e.workflow_id = workflow order by e.created_at desc, e.id desc limit 1
  $$;

-- A release that is newer than this database published it: restored from a dump, say.
select pg_temp.workflow(:'apex', 'contact_created') as task \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "send_sms", "config": {"body": "Hi"}}]') as text \gset
select is(plan -> 'format', '1', 'a plan says its format')
from ridgeline.workflow_versions where workflow_id = :'task';
select pg_temp.replan(:'task', $$jsonb_set(plan, '{format}', '2')$$);
select pg_temp.replan(:'text', $$jsonb_set(plan, '{format}', '2')$$);
select pg_temp.contact(:'apex') as maria \gset
select pg_temp.settle();
select claimed from (select count(*) as claimed from automation.claim_steps('w', 10, '1 minute')) as c \gset
select is(:claimed, 0, 'nothing of a plan that cannot be read is sent');
select is(pg_temp.ending(:'task'), 'failed plan_too_new', 'its run inside Postgres fails');
select is(pg_temp.ending(:'text'), 'failed plan_too_new', 'and so does one that would send');
select alike(error ->> 'message', '%has format 2, and % reads up to format 1. Apply the newer migrations%',
  'and says what to do') from ridgeline.workflow_executions where workflow_id = :'task';
select is((select count(*) from ridgeline.scheduled_steps), 0::bigint, 'and nothing is left behind');
select id as run from ridgeline.workflow_executions where workflow_id = :'task' \gset
select alike(pg_temp.error_of(format('select ridgeline.retry_execution(%L)', :'run')),
  'PT409 execution_id: version 1 cannot be run by this release | %Apply the newer migrations%',
  'nor can it be retried before that');

-- The newer migrations came.
select pg_temp.replan(:'task', $$jsonb_set(plan, '{format}', '1')$$);
select lives_ok(format('select ridgeline.retry_execution(%L)', :'run'), 'then it can');
select pg_temp.settle();
select is(pg_temp.ending(:'task'), 'completed', 'and ends well');

-- A plan from before plans had a format.
select pg_temp.replan(:'task', $$plan - 'format'$$);
select pg_temp.contact(:'apex', 'Bob');
select pg_temp.settle();
select is(pg_temp.ending(:'task'), 'completed', 'an older plan runs on');
select ok(not ridgeline.has_unpublished_changes(w), 'and is not taken for an edit')
from ridgeline.workflows as w where id = :'task';

-- What the generator writes is written again by the migration that changes it.
select to_jsonb(array_agg(e order by e.name)) as before from automation.entities as e \gset
drop trigger automation_capture_insert on public.contacts;
select pg_temp.contact(:'apex', 'Eve');
select is(pg_temp.runs(:'task'), 2::bigint, 'without its trigger a table fires nothing');
select ok(automation.regenerate_captures() @> '{contact,job,project}', 'captures are generated again');
select is(to_jsonb(array_agg(e order by e.name)), :'before'::jsonb, 'with the mapping they had')
from automation.entities as e;
select pg_temp.contact(:'apex', 'Zoe');
select is(pg_temp.runs(:'task'), 3::bigint, 'and workflows that were on hear it');

-- A release whose plans look otherwise brings an upgrader, at the place that readable_plan() names. Of the plans from
-- before nothing stands where this release looks for it, so that whoever reads one without the upgrader finds nothing.
create function pg_temp.as_of_old(plan text) returns text
  language sql
  as $$ select format('jsonb_build_object(''format'', 1, ''first'', ''"?"''::jsonb, ''steps'', ''{}''::jsonb, ''old'', %s - ''format'')', plan) $$;
update ridgeline.workflows set is_active = false where id in (:'task', :'text');
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"key": "pause", "type": "wait", "config": {"hours": 1}},
  {"key": "ask", "type": "conditional", "config": {"conditions": [{"field": "contact.first_name", "operator": "equals", "value": "Gus"}]},
    "on": {"then": [{"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}", "purpose": "transactional"}}]}},
  {"key": "call", "type": "create_task", "config": {"title": "Call {{contact.first_name}}"}},
  {"key": "roof", "type": "create_project", "config": {"name": "Roof"}}]', settings =>
  '{"exit_conditions": [{"field": "contact.stage", "operator": "equals", "value": "lost"}]}') as journey \gset
insert into ridgeline.senders (tenant_id, channel, address, limits) values (:'apex', 'sms', '+15125550900', '{"per_second": 0}');
select pg_temp.contact(:'apex', 'Gus', '+15125550141') as gus \gset
select pg_temp.contact(:'apex', 'Ida', '+15125550142') as ida \gset
select pg_temp.settle();
select pg_temp.replan(:'journey', pg_temp.as_of_old('plan'));
create function automation.plan_2_of_1(plan jsonb) returns jsonb
  language sql immutable
  as $$ select case when plan ? 'old' then plan -> 'old' else plan end || '{"format": 2}' $$;
create or replace function automation.plan_format() returns integer language sql immutable as 'select 2';
do $$
declare
  source text := pg_get_functiondef('automation.readable_plan(jsonb)'::regprocedure);
begin
  source := replace(source, 'format constant integer', 'format integer');
  source := replace(source, '  return plan;', '  if format = 1 then plan := automation.plan_2_of_1(plan); format := 2; end if; return plan;');
  execute source;
end;
$$;
update public.contacts set stage = 'lost' where id = :'ida';
select pg_temp.contact(:'apex', 'Hal', '+15125550143') as hal \gset
select pg_temp.settle();
select automation.advance_clock('2 hours');
select pg_temp.settle();
select is((select string_agg(c.payload ->> 'body', ', ') from automation.claim_steps('w', 10) as c), 'Hi Gus', 'a run of an old plan sends its text');
select automation.finish_steps(jsonb_build_array(jsonb_build_object('tenant_id', s.tenant_id, 'step_id', s.id, 'attempt_token', q.attempt_token,
  'outcome', 'succeeded', 'result', '{"provider_id": "SM1"}'::jsonb)))
from ridgeline.workflow_step_executions as s join ridgeline.scheduled_steps as q on q.tenant_id = s.tenant_id and q.id = s.id
where s.step_key = 'text';
select pg_temp.settle();
create function pg_temp.ended_as(contact uuid, workflow uuid) returns text
  language sql
  as $$ select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.id) from ridgeline.workflow_executions as e
    where e.record_id = contact::text and e.workflow_id = workflow $$;
select is(pg_temp.ended_as(:'gus', :'journey'), 'completed', 'and comes to its end');
select ok(exists (select from public.tasks where title = 'Call Gus'), 'with its task');
select is(pg_temp.ended_as(:'ida', :'journey'), 'cancelled exit_conditions', 'one that is to end by its old conditions ends');
select is(pg_temp.ended_as(:'hal', :'journey'), 'completed', 'one that began afterwards goes the old plan''s way');
select is((ridgeline.execute_workflow(:'journey', jsonb_build_object('contact_id', :'gus'))).status::text, 'pending', 'it is started by hand');
select ok(not ridgeline.has_unpublished_changes(w), 'nobody has edited it') from ridgeline.workflows as w where id = :'journey';
update ridgeline.workflows set is_active = false where id = :'journey';
update ridgeline.workflows set is_active = true where id = :'journey';
select is((select string_agg(distinct v.plan ->> 'format', ',') from ridgeline.workflow_versions as v where v.workflow_id = :'journey'), '1', 'switched on again it is what it was');
select is(ridgeline.test_workflow(:'journey', jsonb_build_object('contact_id', :'hal'), '{"version": 1}') #>> '{path,2,key}', 'call', 'a dry run of it goes the same way');
update ridgeline.workflow_executions set status = 'failed', error = '{"code": "plan_too_new"}', finished_at = automation.now()
where workflow_id = :'journey' and record_id = :'gus' and finished_at is null returning id as broken \gset
select is((ridgeline.retry_execution(:'broken')).status::text, 'pending', 'a run that never began is tried again from its first step');
-- Its steps say what it is about, too.
update automation.entities set authors = 'admins' where name = 'project';
select pg_temp.member(:'apex', 'member') as vic \gset
select pg_temp.sign_in(:'vic');
select alike(pg_temp.error_of(format('select ridgeline.execute_workflow(%L, jsonb_build_object(''contact_id'', %L))', :'journey', :'gus')), '42501 %', 'who may not make workflows about projects does not start it');
select pg_temp.sign_out();
update ridgeline.workflows set is_active = false where id = :'journey';
select pg_temp.sign_in(:'vic');
select alike(pg_temp.error_of(format('update ridgeline.workflows set is_active = true where id = %L', :'journey')), '42501 %', 'nor switch it on');
select pg_temp.sign_out();
update ridgeline.workflow_steps set step_config = '{"title": "Ring"}' where workflow_id = :'journey' and step_key = 'call';
select ridgeline.publish_workflow(:'journey');
select is((select string_agg(v.plan ->> 'format', ',' order by v.version) from ridgeline.workflow_versions as v where v.workflow_id = :'journey'), '1,2', 'published anew it has today''s format');

select is((select string_agg(p.proname, ', ' order by p.proname) from pg_proc as p
  where p.pronamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace) and p.prosrc ~ 'workflow_versions' and p.prosrc ~ '\m(v|version|latest|published|target)\.plan\M'
    and p.prosrc !~ 'readable_plan'), null, 'nobody reads a plan past its upgrader');

select * from finish();
rollback;

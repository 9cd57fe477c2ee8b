-- Runs in flight finish on the version they started with, or are moved to another on request.
begin;
\ir ../foundation/story.psql
select plan(15);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"type": "create_task", "key": "first", "config": {"title": "First"}},
  {"type": "wait", "key": "wait", "config": {"days": 3}},
  {"type": "create_task", "key": "call", "config": {"title": "Old words"}}]') as flow \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'apex', 'Ann') as ann \gset
select pg_temp.contact(:'apex', 'Bob') as bob \gset
select pg_temp.settle();
create function pg_temp.run_of(contact text) returns uuid
  language sql
  as $$ select e.id from ridgeline.workflow_executions as e where e.record_id = contact $$;

update ridgeline.workflow_steps set step_config = '{"title": "New words"}' where workflow_id = :'flow' and step_key = 'call';
select (ridgeline.publish_workflow(:'flow')).version \gset
select is(ridgeline.move_executions(:'flow', null, array[pg_temp.run_of(:'maria')]), '{"version": 2, "moved": 1, "kept": []}',
  'one run is moved to what is published now');
select is((select array_agg(e.version order by e.id) from ridgeline.workflow_executions as e), '{2,1,1}', 'and no other');
select is((select run_at - automation.now() from ridgeline.scheduled_steps where execution_id = pg_temp.run_of(:'maria')), interval '3 days',
  'when it is due does not change');
select pg_temp.later('3 days 1 minute');
select is((select string_agg(t.title, ' / ' order by t.contact_id = :'maria', t.contact_id = :'ann', t.id) from public.tasks as t where t.title <> 'First'),
  'Old words / Old words / New words', 'who was moved gets the new words');

-- What has changed too much stays.
select pg_temp.contact(:'apex', 'Cy') as cy \gset
select pg_temp.contact(:'apex', 'Di') as di \gset
select pg_temp.settle();
delete from ridgeline.workflow_steps where workflow_id = :'flow' and step_key = 'call';
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_key, step_type, step_config)
values (:'apex', :'flow', 3, 'text', 'send_sms', '{"body": "Hi"}');
select (ridgeline.publish_workflow(:'flow')).version \gset
select is(ridgeline.move_executions(:'flow'), '{"version": 3, "moved": 0, "kept": []}'::jsonb
  || jsonb_build_object('kept', ridgeline.move_executions(:'flow') -> 'kept'), 'a run whose next step is gone');
select is(ridgeline.move_executions(:'flow') #>> '{kept,0,reason}', 'version 3 has no step "call"', 'says why it stays');
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_key, step_type, step_config)
values (:'apex', :'flow', 4, 'call', 'add_tag', '{"tag": "called"}');
select (ridgeline.publish_workflow(:'flow')).version \gset
select is(ridgeline.move_executions(:'flow') #>> '{kept,0,reason}', 'step "call" is a add_tag there', 'nor does one go on with another kind of step');
select is((ridgeline.move_executions(:'flow') ->> 'moved')::integer, 0, 'both stay');
select is((ridgeline.move_executions(:'flow', 2) ->> 'moved')::integer, 0, 'those of the version itself are not moved');
select is((ridgeline.move_executions(:'flow', 1) ->> 'moved')::integer, 2, 'back to an older one they can go');
select pg_temp.later('3 days 1 minute');
select is((select count(*) from ridgeline.workflow_executions where status <> 'completed'), 0::bigint, 'all come to their end');
select is((ridgeline.move_executions(:'flow') ->> 'moved')::integer, 0, 'what is over is not moved');

select throws_ok(format('select ridgeline.move_executions(%L, 9)', :'flow'), 'PT404', 'to_version: there is no version 9', 'a version that there is not');
-- While its step is being sent a run stays.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "key": "sms", "config": {"body": "Hi"}}]') as sending \gset
select (ridgeline.execute_workflow(:'sending', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select count(*) from automation.claim_steps('w', 10) \gset
update ridgeline.workflow_steps set step_config = '{"body": "Ho"}' where workflow_id = :'sending';
select (ridgeline.publish_workflow(:'sending')).version \gset
select is(ridgeline.move_executions(:'sending') #>> '{kept,0,reason}', 'its step is being carried out right now', 'nobody is moved in the middle of a send');

select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(pg_temp.tenant('Blue Ridge Solar')) as stranger \gset
select pg_temp.sign_in(:'stranger');
select throws_ok(format('select ridgeline.move_executions(%L)', :'flow'), 'PT404', null, 'others'' runs are not theirs to move');
select * from finish();
rollback;

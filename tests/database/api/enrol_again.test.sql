-- An enrolment that broke before it had read its conditions is retried with everything it missed.
begin;
\ir ../foundation/story.psql
select plan(5);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "create_task", "config": {"title": "Call {{trigger.contact.first_name}}"}}]',
  '[{"field": "contact.stage", "operator": "matches", "value": "^new$"}]') as flow \gset
savepoint sound;
create or replace function automation.try_conditions(conditions jsonb, tenant_id uuid, data jsonb)
  returns jsonb language sql as $$ select automation.engine_error('conditions_failed', 'XX000', 'broken') $$;
select pg_temp.contact(:'apex', 'Maria') as maria, pg_temp.contact(:'apex', 'Pat') as pat \gset
select is((select count(*) from ridgeline.workflow_executions where status = 'failed'), 2::bigint, 'two enrolments broke');
update public.contacts set stage = 'won' where id = :'pat';
select ridgeline.retry_execution(e.id) from ridgeline.workflow_executions as e;
select pg_temp.settle();
select is((select status::text from ridgeline.workflow_executions where record_id = :'maria'), 'completed', 'Maria''s runs');
select is((select string_agg(title, ', ') from public.tasks), 'Call Maria', 'with her name in it');
select is((select status::text from ridgeline.workflow_executions where record_id = :'pat'), 'skipped', 'Pat is no longer new');
select is((select error ->> 'code' from ridgeline.workflow_executions where record_id = :'pat'), 'conditions_not_met', 'and the run says so');
select * from finish();
rollback;

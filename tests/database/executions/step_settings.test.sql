-- What every step has of its own: how often it is tried, and what a variable without a value does.
begin;
\ir ../foundation/story.psql
select plan(16);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
create function pg_temp.starts(workflow uuid) returns uuid
  language sql
  as $$ select (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', c.id))).id from public.contacts as c limit 1 $$;
create function pg_temp.claim_and(outcome text) returns text
  language sql
  as $$ select pg_temp.finish(c, outcome) from automation.claim_steps('w', 1) as c $$;

-- Outbound: three attempts instead of eight, an hour apart at most.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "key": "sms", "config": {"body": "Hi"},
  "retry": {"max_attempts": 3, "delay": "30 minutes", "max_delay": "1 hour"}}]') as sending \gset
select pg_temp.starts(:'sending') as run \gset
select is(pg_temp.claim_and('retry'), 'waiting', 'the first attempt');
select ok((select run_at <= automation.now() + interval '30 minutes' from ridgeline.scheduled_steps), 'the next comes within its own delay');
select automation.advance_clock('31 minutes');
select is(pg_temp.claim_and('retry'), 'waiting', 'the second');
select ok((select run_at <= automation.now() + interval '1 hour' from ridgeline.scheduled_steps), 'later, but within its own limit');
select automation.advance_clock('61 minutes');
select is(pg_temp.claim_and('retry'), 'failed', 'the third is the last');
select is((pg_temp.only_run(:'sending')).error ->> 'code', 'attempts_exhausted', 'and the run says so');
select ok((select bool_and(automation.backoff(n, null, false, '{"base": "1 day"}') <= interval '1 day') from generate_series(1, 50) as n),
  'a delay of its own is its own cap where none is given');

-- In the database: once, unless the step says otherwise.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "assign_user", "key": "rep", "config": {"user_id": "{{tenant.settings.rep}}"},
  "retry": {"max_attempts": 3, "delay": "10 minutes"}}]') as assigning \gset
select pg_temp.starts(:'assigning') as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'rep waiting', 'nobody to assign yet');
select pg_temp.member(:'apex') as sam \gset
update public.tenants set settings = jsonb_build_object('rep', :'sam') where id = :'apex';
select pg_temp.later('11 minutes');
select is(pg_temp.way(:'run'), 'rep', 'at the second attempt there is');
select is((select jsonb_array_length(s.attempts) from ridgeline.workflow_step_executions as s where s.execution_id = :'run'), 1, 'the first one is on record');
update public.tenants set settings = '{}' where id = :'apex';
select pg_temp.starts(:'assigning') as run \gset
select pg_temp.settle();
select pg_temp.later('11 minutes');
select is(pg_temp.way(:'run'), 'rep waiting', 'tried twice');
select pg_temp.later('21 minutes');
select is(pg_temp.way(:'run'), 'rep failed', 'three times, and no more');

-- A variable without a value.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "key": "task", "config": {"title": "Call {{contact.last_name}} {{contact.company}}"}}]') as lenient \gset
select pg_temp.starts(:'lenient') as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'task', 'is nothing');
select is((select jsonb_path_query_array(s.warnings, '$[*].variable') from ridgeline.workflow_step_executions as s where s.execution_id = :'run'),
  '["contact.last_name", "contact.company"]'::jsonb, 'with a warning on the step');
update ridgeline.workflows set settings = '{"on_missing": "fail"}' where id = :'lenient';
select (ridgeline.publish_workflow(:'lenient')).version \gset
select pg_temp.starts(:'lenient') as run \gset
select pg_temp.settle();
select is((pg_temp.only_run(:'lenient')).error - 'warnings',
  '{"code": "missing_variable", "step": "task", "message": "no value for contact.last_name (title), contact.company (title); the workflow asks for failure then"}'::jsonb,
  'or a failure that names them, where the workflow asks for it');
select is((select count(*) from public.tasks where execution_id = :'run'), 0::bigint, 'and nothing was done');
select * from finish();
rollback;

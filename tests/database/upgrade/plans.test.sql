-- Plans of other releases: an older one runs on, a newer one fails its runs and says why.
begin;
\ir ../foundation/story.psql
select plan(15);

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

select * from finish();
rollback;

-- A screen that shows runs asks again what has changed since it last asked: every write of a run and of its steps
-- says when it was, whoever makes it.
begin;
\ir ../foundation/story.psql
select plan(8);

-- Nobody writes these rows without saying so: read from what the functions say.
select is(string_agg(p.oid::regprocedure::text, ', '), null, 'every function that changes them says when')
from pg_proc as p
cross join lateral regexp_matches(p.prosrc,
  '(?:update ridgeline\.workflow_(?:step_)?executions as|on conflict on constraint workflow_step_executions_once do update)([^;]*)', 'g')
  as w (said)
where p.pronamespace = 'automation'::regnamespace and w.said[1] !~ 'set\s+changed_at = ';
select cmp_ok(count(*), '>', 15::bigint, 'of which there are some')
from pg_proc as p
cross join lateral regexp_matches(p.prosrc, 'changed_at = automation.now\(\)', 'g') as w
where p.pronamespace = 'automation'::regnamespace;

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"type": "create_task", "config": {"title": "Call"}},
  {"type": "wait", "config": {"hours": 1}},
  {"type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]') as flow \gset
select pg_temp.contact(:'apex') as maria \gset
create function pg_temp.changed() returns interval language sql
  as $$ select max(e.changed_at) - automation.now() from ridgeline.workflow_executions as e $$;
create function pg_temp.step_changed() returns interval language sql
  as $$ select max(s.changed_at) - automation.now() from ridgeline.workflow_step_executions as s $$;
select is(pg_temp.changed(), interval '0', 'it is enrolled');
select automation.advance_clock('5 minutes') \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.changed(), interval '0', 'its first steps run five minutes later');
select is(pg_temp.step_changed(), interval '0', 'and they say so too');
select automation.advance_clock('2 minutes') \g /dev/null
select is(pg_temp.changed(), interval '-2 minutes', 'nothing happens, and nothing changes');
select automation.advance_clock('58 minutes') \g /dev/null
select automation.claim_steps('w', 10) \g /dev/null
select is(pg_temp.changed(), interval '0', 'the text is claimed an hour later');
select ridgeline.cancel_execution(e.id) from ridgeline.workflow_executions as e limit 1 \g /dev/null
select is((select count(*) from ridgeline.workflow_executions as e where e.status = 'cancelled' and e.changed_at = automation.now()), 1::bigint,
  'and it is cancelled');

select * from finish();
rollback;

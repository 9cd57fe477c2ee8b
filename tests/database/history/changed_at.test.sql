-- A screen that shows runs asks again what has changed since it last asked: every write of a run and of its steps
-- says when it was, whoever makes it.
begin;
\ir ../foundation/story.psql
select plan(16);

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

-- Whatever else people look at says when it was last written, too.
select is(string_agg(c.relname, ', ' order by c.relname), null, 'every table of the face says when its rows were written')
from pg_class as c
where c.relnamespace = 'ridgeline'::regnamespace and c.relkind = 'r'
  -- The queue is read as a whole, and timers through their workflow; the comparison keeps its own time.
  and c.relname not in ('scheduled_steps', 'workflow_timers', 'legacy_discrepancies')
  and not exists (
    select from pg_attribute as a where a.attrelid = c.oid and a.attname in ('changed_at', 'updated_at') and not a.attisdropped)
  -- These never change.
  and c.relname not in ('workflow_versions', 'form_submissions', 'email_events', 'consents', 'email_addresses');
select is(string_agg(c.relname, ', ' order by c.relname), null, 'and is found by it')
from pg_class as c
join pg_attribute as a on a.attrelid = c.oid and a.attname = 'changed_at'
where c.relnamespace = 'ridgeline'::regnamespace and c.relkind = 'r'
  -- Runs and steps are written again and again, past every index; stages are read with their record (docs/http-api.md).
  and c.relname not in ('workflow_executions', 'workflow_step_executions', 'stage_changes')
  and not exists (select from pg_index as i where i.indrelid = c.oid and i.indkey[0] = a.attnum);

select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]') as called \gset
select pg_temp.contact(:'apex', 'Ann', '+15125550111') as ann \gset
select ridgeline.enroll_records(:'called', record_ids => array[:'maria', :'ann'], per_minute => 1) \g /dev/null
create function pg_temp.bulk_changed() returns interval language sql
  as $$ select b.changed_at - automation.now() from ridgeline.bulk_enrollments as b $$;
select automation.advance_clock('1 minute') \g /dev/null
select is(pg_temp.bulk_changed(), interval '-1 minute', 'an enrolment of many is asked for');
select automation.tick() \g /dev/null
select is(pg_temp.bulk_changed(), interval '0', 'and gets on a minute later');
select pg_temp.workflow(:'apex', 'scheduled', '{"cron": "0 9 * * *"}', '[{"type": "create_task", "config": {"title": "Call"}}]') as daily \gset
select automation.advance_clock('1 day') \g /dev/null
select is((select s.changed_at - automation.now() from ridgeline.workflow_schedules as s), interval '-1 day', 'a schedule waits');
select automation.tick() \g /dev/null
select is((select s.changed_at - automation.now() from ridgeline.workflow_schedules as s), interval '0', 'and has run');
select ridgeline.pause_sending('storm', :'apex') \g /dev/null
select is((select p.changed_at from ridgeline.sending_pauses as p), automation.now(), 'a pause');
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (:'apex', 'sms', '+15125550100', 'manual');
select is((select s.changed_at from ridgeline.suppressions as s), automation.now(), 'and who is left alone');

select * from finish();
rollback;

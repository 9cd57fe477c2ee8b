-- What ends a run early: an event, a condition that has come true, or that its record is gone. Even one that
-- waits for days; and before the next message, whoever is faster.
begin;
\ir ../foundation/story.psql
select plan(41);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
insert into public.projects (tenant_id, id, contact_id, name)
values (:'apex', '00000000-0000-4000-8000-0000000000e1', :'maria', 'Roof'), (:'apex', '00000000-0000-4000-8000-0000000000e2', :'maria', 'Gutter');
create function pg_temp.says(body text) returns void
  language sql
  as $$
    insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
    select c.tenant_id, c.id, 'inbound', c.phone, body from public.contacts as c where c.first_name = 'Maria'
  $$;
create function pg_temp.status(workflow uuid) returns text
  language sql
  as $$ select concat_ws(' ', (r).status, (r).error ->> 'code') from pg_temp.only_run(workflow) as r $$;

-- Estimate follow-up: a text on day 2, an email on day 4; a reply, Won or Lost ends it.
select pg_temp.workflow(:'apex', 'pipeline_stage_changed', '{"to": "estimate_sent"}', '[
  {"type": "send_sms", "key": "day_2", "delay": 2880, "config": {"body": "Any questions?"}},
  {"type": "send_email", "key": "day_4", "delay": 2880, "config": {"subject": "Your estimate", "text": "Still good"}}]', '[]',
  '{"exit_events": ["sms_received", {"type": "pipeline_stage_changed", "config": {"to": ["won", "lost"]}}]}') as follow_up \gset
create function pg_temp.sends(stage text default 'estimate_sent', project text default 'Roof') returns void
  language sql
  as $$
    select automation.advance_clock('1 second');
    update public.projects set pipeline_stage = stage where name = project
  $$;
select pg_temp.sends();
select is(pg_temp.status(:'follow_up'), 'waiting', 'the estimate is out');
select automation.advance_clock('1 day');
select pg_temp.says('Looks good');
select pg_temp.settle();
select is(pg_temp.status(:'follow_up'), 'cancelled exit_event', 'a reply ends it, while it waits');
select is((pg_temp.only_run(:'follow_up')).error ->> 'event', 'sms_received', 'and says at what');
select is((select count(*) from ridgeline.scheduled_steps), 0::bigint, 'nothing is left to be sent');

select pg_temp.sends('new'), pg_temp.sends();
select pg_temp.sends('won', 'Gutter');
select pg_temp.settle();
select is(pg_temp.status(:'follow_up'), 'waiting', 'that the other project was won is nothing to this one');
select pg_temp.sends('won');
select pg_temp.settle();
select is(pg_temp.status(:'follow_up'), 'cancelled exit_event', 'that this one was is');

-- A record that was just created is nobody's own yet: it concerns every run of its contact, whichever project that is about.
select pg_temp.contact(:'apex', 'Ann', '+15125550133') as ann \gset
select pg_temp.workflow(:'apex', 'pipeline_stage_changed', '{"to": "cold"}', '[{"type": "send_sms", "delay": 60, "config": {"body": "Still thinking about it?"}}]', '[]',
  '{"exit_events": ["project_created"]}') as warm_up \gset
select pg_temp.sends('cold');
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'ann', 'Shed');
select pg_temp.settle();
select is(pg_temp.status(:'warm_up'), 'waiting', 'what another customer begins is nothing to this one');
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Porch');
select pg_temp.settle();
select is(pg_temp.status(:'warm_up'), 'cancelled exit_event', 'another project that the customer begins ends it');
select pg_temp.sends('new'), pg_temp.sends('cold');
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Carport');
select automation.advance_clock('61 minutes');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'and keeps its text from going out before it is read');
select is(pg_temp.status(:'warm_up'), 'cancelled exit_event', 'by ending the run');
update ridgeline.workflows set is_active = false where id = :'warm_up';
select pg_temp.settle();

-- Won on day 3 at 23:59 sends nothing on day 4: no tick has run in between.
select pg_temp.sends('new'), pg_temp.sends();
select automation.advance_clock('2 days 1 minute');
select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM1"}}') from automation.claim_steps('w', 10) as c;
select automation.advance_clock('1 day 23 hours 59 minutes');
select pg_temp.sends('won');
select automation.advance_clock('10 minutes');
select is((select count(*) from automation.signals where kept_for is null), 1::bigint, 'the signal has not been read');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'and yet nothing goes out');
select is(pg_temp.status(:'follow_up'), 'cancelled exit_event', 'the run has ended');
select pg_temp.settle();
select is((select count(*) from automation.signals where kept_for is null), 0::bigint, 'the signal is read when its turn comes');

-- The very event that starts a run does not end it.
select pg_temp.workflow(:'apex', 'sms_received', '{}', '[{"type": "create_task", "delay": 60, "config": {"title": "Answer"}}]', '[]',
  '{"exit_events": ["sms_received"]}') as answering \gset
select automation.advance_clock('1 second');
select pg_temp.says('One');
select pg_temp.settle();
select is(pg_temp.status(:'answering'), 'waiting', 'the text that starts a run does not end it');
select automation.advance_clock('1 second');
select pg_temp.says('Two');
select pg_temp.settle();
select is((select string_agg(e.status::text, ', ' order by e.id) from ridgeline.workflow_executions as e where e.workflow_id = :'answering'),
  'cancelled, waiting', 'the next one ends that run and starts its own');

-- A step that is being sent right now is let finish.
select pg_temp.sends('new'), pg_temp.sends();
select automation.advance_clock('2 days 1 minute');
create temp table claimed as select c from automation.claim_steps('w', 10) as c;
select pg_temp.says('Stop that');
select pg_temp.settle();
select is(pg_temp.status(:'follow_up'), 'cancelled exit_event', 'the run ends while its text is under way');
select is(pg_temp.finish(c.c, 'succeeded', '{"result": {"provider_id": "SM2"}}'), 'completed', 'what was sent is on record')
from claimed as c;
select is((select count(*) from ridgeline.scheduled_steps where execution_id = (pg_temp.only_run(:'follow_up')).id), 0::bigint, 'and nothing follows');

-- CONDITIONS
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "create_task", "key": "first", "config": {"title": "First"}},
  {"type": "wait", "key": "wait", "config": {"days": 3}},
  {"type": "send_sms", "key": "sms", "config": {"body": "Hi"}}]', '[]',
  '{"exit_conditions": [{"field": "contact.stage", "operator": "in", "value": ["won", "lost"]}]}') as nurture \gset
select (ridgeline.execute_workflow(:'nurture', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'first, wait', 'no stage of these yet');
update public.contacts set stage = 'Lost' where id = :'maria';
select automation.advance_clock('3 days 1 minute');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'the stage was reached while it waited: no text');
select is(pg_temp.status(:'nurture'), 'cancelled exit_conditions', 'the run has ended');
select is(jsonb_path_query_first((pg_temp.only_run(:'nurture')).error, '$.conditions.**.actual') #>> '{}', 'Lost', 'and says what it saw');
select (ridgeline.execute_workflow(:'nurture', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), null, 'who meets them from the start is spared the first step too');
select is(pg_temp.status(:'nurture'), 'cancelled exit_conditions', 'and told so');
update public.contacts set stage = 'new' where id = :'maria';

-- Between two steps of one transaction.
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "change_stage", "key": "stage", "config": {"stage": "won"}},
  {"type": "create_task", "key": "never", "config": {"title": "Never"}}]', '[]',
  '{"exit_conditions": [{"field": "contact.stage", "operator": "equals", "value": "won"}]}') as own \gset
select (ridgeline.execute_workflow(:'own', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'stage', 'what a step of its own brought about counts before the next');

-- DELETED
update public.contacts set stage = 'new' where id = :'maria';
select pg_temp.contact(:'apex', 'Bob', '+15125550122') as bob \gset
insert into public.projects (tenant_id, id, contact_id, name) values (:'apex', '00000000-0000-4000-8000-0000000000e3', :'bob', 'Barn');
select (ridgeline.execute_workflow(:'nurture', jsonb_build_object('contact_id', :'bob'))).id as bobs \gset
select (ridgeline.execute_workflow(:'nurture', '{"project_id": "00000000-0000-4000-8000-0000000000e3"}')).id as barns \gset
select (ridgeline.execute_workflow(:'nurture', jsonb_build_object('contact_id', :'maria'))).id as marias \gset
select pg_temp.settle();
delete from public.contacts where id = :'bob';
select is((select count(*) from automation.signals where role = 'deleted' and kept_for is null), 1::bigint, 'a contact that is deleted');
select pg_temp.settle();
select is((select e.status::text || ' ' || (e.error ->> 'message') from ridgeline.workflow_executions as e where e.id = :'bobs'),
  'cancelled the contact was deleted', 'ends its runs');
select is((select e.error ->> 'code' from ridgeline.workflow_executions as e where e.id = :'barns'), 'record_deleted', 'those of its projects as well');
select is((select e.status::text from ridgeline.workflow_executions as e where e.id = :'marias'), 'waiting', 'and nobody else''s');
select is((select count(*) from ridgeline.scheduled_steps where execution_id in (:'bobs', :'barns')), 0::bigint, 'nothing is left to do for it');
delete from public.contacts where id = (select pg_temp.contact(:'apex', 'Passer-by'));
delete from ridgeline.messages;
select is((select count(*) from automation.signals where kept_for is null), 0::bigint, 'a record without runs leaves no trace, nor do messages');
select pg_temp.sends('new'), pg_temp.sends();
delete from public.projects where name = 'Roof';
select pg_temp.settle();
select is(pg_temp.status(:'follow_up'), 'cancelled record_deleted', 'a project that is deleted ends its own');

-- A tenant goes with all it has, whatever is running.
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.workflow(:'blue', 'contact_created', '{}', '[{"type": "wait", "config": {"days": 1}}]') as theirs \gset
select pg_temp.contact(:'blue', 'Cy') as cy \gset
select pg_temp.settle();
select lives_ok(format('delete from public.tenants where id = %L', :'blue'), 'a tenant with runs in flight can be deleted');
select lives_ok('select automation.run_signals()', 'and the engine goes on');
select is((select count(*) from automation.signals where kept_for is null), 0::bigint, 'with nothing left of it');

-- Two events come before anybody has read one: it is the first that ends a run.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "delay": 1440, "config": {"title": "Call"}}]', '[]',
  '{"exit_events": ["project_created", "sms_received"]}') as twice \gset
select (ridgeline.execute_workflow(:'twice', jsonb_build_object('contact_id', :'maria'))).status \gset
select automation.advance_clock('1 day');
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Porch');
select pg_temp.says('Yes please');
update automation.signals set next_try_at = clock_timestamp() + interval '1 hour';
select automation.run_database_steps();
select is((pg_temp.only_run(:'twice')).error ->> 'event', 'project_created', 'of two events that nobody has read the first ends a run');
update automation.signals set next_try_at = clock_timestamp();
select pg_temp.settle();

-- A pause keeps the exits of runs in flight; history tells.
update ridgeline.workflows set is_active = false where id = :'follow_up';
select is((select count(*) from automation.active_triggers where workflow_id = :'follow_up' and role = 'enrol'), 0::bigint, 'a paused workflow takes nobody');
select is((select count(*) from automation.active_triggers where workflow_id = :'follow_up' and role = 'exit'), 2::bigint, 'but still hears who replies');
select ok(automation.forget_listeners() >= 2, 'until its last run is over');
select is(
  (select p.value ->> 'path' from jsonb_array_elements(ridgeline.validate_workflow(:'follow_up') -> 'problems') as p where p.value ->> 'severity' = 'error'),
  null, 'the definition is sound');
select * from finish();
rollback;

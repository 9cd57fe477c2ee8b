-- Waiting: for a length, a date, a time of day, office hours - in somebody's zone - or for something to happen.
begin;
\ir ../foundation/story.psql
select plan(70);

insert into public.tenants (id, name, timezone) values ('00000000-0000-0000-0000-00000000000a', 'Apex Roofing', 'America/Chicago');
\set apex '00000000-0000-0000-0000-00000000000a'
insert into public.contacts (tenant_id, id, first_name, phone, timezone, custom_fields)
values (:'apex', '00000000-0000-0000-0000-0000000000c1', 'Maria', '+15125550100', 'America/Los_Angeles', '{"inspection": "2026-06-10"}');
\set maria '00000000-0000-0000-0000-0000000000c1'
insert into public.jobs (tenant_id, id, contact_id, scheduled_at)
values (:'apex', '00000000-0000-0000-0000-0000000000d1', :'maria', '2026-06-10 15:00:00+00');
\set job '00000000-0000-0000-0000-0000000000d1'

-- When a wait that begins at some time ends, in UTC.
create function pg_temp.waits_until(began text, config text) returns text
  language plpgsql
  as $$
declare
  execution ridgeline.workflow_executions;
begin
  execution.tenant_id := '00000000-0000-0000-0000-00000000000a';
  execution.version := 1;
  execution.entity := 'job';
  execution.trigger_data := '{"job_id": "00000000-0000-0000-0000-0000000000d1", "contact_id": "00000000-0000-0000-0000-0000000000c1"}';
  return to_char((automation.wait_for_time(execution, config::jsonb, began::timestamptz) ->> 'wait_until')::timestamptz at time zone 'UTC',
    'YYYY-MM-DD HH24:MI');
exception when others then
  return sqlerrm;
end;
$$;

select is(pg_temp.waits_until(began, config), until, what)
from (values
  ('2026-06-01 12:00Z', '{"minutes": 90}', '2026-06-01 13:30', 'minutes'),
  ('2026-06-01 12:00Z', '{"hours": 1.5}', '2026-06-01 13:30', 'half hours'),
  ('2026-06-01 12:00Z', '{"days": 1, "hours": 2}', '2026-06-02 14:00', 'days and hours'),
  ('2026-06-01 12:00Z', '{"days": 0.5}', '2026-06-02 00:00', 'half a day is twelve hours'),
  ('2026-06-01 12:00Z', '{"weeks": 2}', '2026-06-15 12:00', 'weeks'),
  ('2026-06-01 12:00Z', '{"duration": "3 days"}', '2026-06-04 12:00', 'in words'),
  ('2026-06-01 12:00Z', '{"duration": {"months": 1, "hours": 1}}', '2026-07-01 13:00', 'as an object'),
  -- Chicago springs forward on 2026-03-08 at 2:00 and falls back on 2026-11-01.
  ('2026-03-07 18:00Z', '{"days": 1}', '2026-03-08 17:00', 'a day later the clock on the wall shows the same'),
  ('2026-03-07 18:00Z', '{"hours": 24}', '2026-03-08 18:00', '24 hours are 24 hours'),
  ('2026-10-31 17:00Z', '{"days": 1}', '2026-11-01 18:00', 'in autumn too'),
  -- A time of day.
  ('2026-06-01 12:00Z', '{"at": "10:00"}', '2026-06-01 15:00', 'at ten, today if that is still to come'),
  ('2026-06-01 15:00Z', '{"at": "10:00"}', '2026-06-01 15:00', 'at ten, when it is ten'),
  ('2026-06-01 15:01Z', '{"at": "10:00"}', '2026-06-02 15:00', 'at ten, tomorrow if it has passed'),
  ('2026-06-01 20:00Z', '{"days": 1, "at": "10:00"}', '2026-06-02 15:00', 'a day, and then ten of that day'),
  ('2026-06-01 20:00Z', '{"hours": 2, "at": "10:00"}', '2026-06-02 15:00', 'two hours, and then the next ten o''clock'),
  ('2026-06-01 12:00Z', '{"at": "10:00", "zone": "contact"}', '2026-06-01 17:00', 'ten where the contact lives'),
  ('2026-06-01 12:00Z', '{"at": "10:00", "zone": "Europe/Berlin"}', '2026-06-02 08:00', 'ten in Berlin'),
  ('2026-03-08 06:00Z', '{"at": "02:30"}', '2026-03-08 08:00', 'a time that the clock skips is when it has skipped'),
  ('2026-11-01 05:00Z', '{"at": "01:30"}', '2026-11-01 06:30', 'of a time that comes twice, the first'),
  -- A date.
  ('2026-06-01 12:00Z', '{"until": "2026-06-05"}', '2026-06-05 05:00', 'a date begins at midnight in the office'),
  ('2026-06-01 12:00Z', '{"until": "2026-06-05T09:30:00Z"}', '2026-06-05 09:30', 'a moment'),
  ('2026-06-01 12:00Z', '{"until": "2026-06-05T09:30"}', '2026-06-05 14:30', 'a wall clock time'),
  ('2026-06-01 12:00Z', '{"until": "2026-06-10", "offset": "-1 day", "at": "18:00"}', '2026-06-09 23:00', 'the evening before'),
  ('2026-06-01 12:00Z', '{"until": "2026-06-10T15:00:00Z", "offset": "-24 hours"}', '2026-06-09 15:00', 'a day before an appointment'),
  ('2026-06-01 12:00Z', '{"until": "2026-06-10", "offset": {"days": 2}}', '2026-06-12 05:00', 'two days after'),
  ('2026-06-20 12:00Z', '{"until": "2026-06-10"}', '2026-06-20 12:00', 'a date that has passed is no wait'),
  ('2026-06-20 12:00Z', '{"until": "2026-06-10", "if_past": "fail"}', 'until: the date to wait for has passed', 'or a mistake'),
  ('2026-06-20 12:00Z', '{"until": "", "if_missing": "continue"}', '2026-06-20 12:00', 'no date, and the office said: go on'),
  ('2026-06-20 12:00Z', '{"until": null}', 'until: there is no date to wait for', 'no date is never "now" by itself'),
  ('2026-06-20 12:00Z', '{"until": "soon"}', 'until: "soon" is not a time', 'what is no date'),
  -- Office hours.
  ('2026-06-01 16:00Z', '{"window": {"days": ["mon","tue","wed","thu","fri"], "from": "09:00", "to": "17:00"}}', '2026-06-01 16:00', 'within the window at once'),
  ('2026-06-01 23:00Z', '{"window": {"days": ["mon","tue","wed","thu","fri"], "from": "09:00", "to": "17:00"}}', '2026-06-02 14:00', 'in the evening, the next morning'),
  ('2026-06-05 22:00Z', '{"window": {"days": ["mon","tue","wed","thu","fri"], "from": "09:00", "to": "17:00"}}', '2026-06-08 14:00', 'at five on Friday, Monday: it closes at five'),
  ('2026-06-06 15:00Z', '{"window": {"days": ["sat"]}}', '2026-06-06 15:00', 'all of a Saturday'),
  ('2026-06-07 15:00Z', '{"window": {"days": ["sat"]}}', '2026-06-13 05:00', 'the next one'),
  ('2026-06-01 23:00Z', '{"window": {"from": "09:00", "to": "17:00"}, "zone": "contact"}', '2026-06-01 23:00', 'four in the afternoon where the contact lives'),
  ('2026-06-02 04:30Z', '{"window": {"days": ["mon"], "from": "22:00", "to": "02:00"}}', '2026-06-02 04:30', 'a window past midnight, before it'),
  ('2026-06-02 06:30Z', '{"window": {"days": ["mon"], "from": "22:00", "to": "02:00"}}', '2026-06-02 06:30', 'and after it, Monday''s still'),
  ('2026-06-02 07:30Z', '{"window": {"days": ["mon"], "from": "22:00", "to": "02:00"}}', '2026-06-09 03:00', 'and after it closed'),
  ('2026-06-05 12:00Z', '{"days": 1, "window": {"days": ["mon","fri"], "from": "09:00", "to": "17:00"}}', '2026-06-08 14:00', 'a day, and then office hours'),
  ('2026-06-01 12:00Z', '{"until": "2026-06-06", "window": {"days": ["mon"], "from": "10:00", "to": "11:00"}}', '2026-06-08 15:00', 'a date, and then a Monday')
) as v (began, config, until, what);

-- In a run.
select automation.set_clock('2026-06-01 12:00:00+00');
create function pg_temp.settled(run uuid) returns text
  language sql
  as $$ select pg_temp.settle(); select pg_temp.way(run) || ' -> ' || (select e.status from ridgeline.workflow_executions as e where e.id = run) $$;

select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "wait", "key": "day_before", "config": {"until": "{{job.scheduled_at}}", "offset": "-24 hours", "if_missing": "stop", "if_past": "continue"}},
  {"type": "create_task", "key": "remind", "config": {"title": "Remind"}, "conditions": [{"field": "steps.day_before.result", "operator": "equals", "value": "waited"}]},
  {"type": "wait", "key": "two_hours", "config": {"until": "{{job.scheduled_at}}", "offset": "-2 hours", "if_missing": "continue", "if_past": "continue"}},
  {"type": "create_task", "key": "soon", "config": {"title": "Soon"}, "conditions": [{"field": "steps.two_hours.result", "operator": "equals", "value": "waited"}]}]') as reminding \gset
select (ridgeline.execute_workflow(:'reminding', jsonb_build_object('job_id', :'job'))).id as run \gset
select is(pg_temp.settled(:'run'), 'day_before -> waiting', 'an appointment in nine days');
select is((select run_at from ridgeline.scheduled_steps where execution_id = :'run'), '2026-06-09 15:00+00'::timestamptz, 'its reminder waits until the day before');
select automation.set_clock('2026-06-09 15:00:01+00');
select is(pg_temp.settled(:'run'), 'day_before, remind, two_hours -> waiting', 'and comes then');
select automation.set_clock('2026-06-10 13:00:01+00');
select is(pg_temp.settled(:'run'), 'day_before, remind, two_hours, soon -> completed', 'the second two hours before');
-- Booked ninety minutes ahead: neither reminder makes sense.
update public.jobs set scheduled_at = automation.now() + interval '90 minutes' where id = :'job';
select (ridgeline.execute_workflow(:'reminding', jsonb_build_object('job_id', :'job'))).id as run \gset
select is(pg_temp.settled(:'run'), 'day_before, remind skipped, two_hours, soon skipped -> completed', 'booked ninety minutes ahead skips both');
update public.jobs set scheduled_at = null where id = :'job';
select (ridgeline.execute_workflow(:'reminding', jsonb_build_object('job_id', :'job'))).id as run \gset
select is(pg_temp.settled(:'run'), 'day_before -> completed', 'without an appointment there is nothing to remind of');

-- FOR SOMETHING TO HAPPEN
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "create_task", "key": "first", "config": {"title": "First"}},
  {"type": "wait", "key": "reply", "config": {"event": "sms_received", "timeout": "2 days"},
    "on": {"event": [{"type": "create_task", "key": "answer", "config": {"title": "Answer: {{steps.reply.event.record.body}}"}}],
           "timeout": [{"type": "create_task", "key": "chase", "config": {"title": "Chase"}}]}},
  {"type": "create_task", "key": "last", "config": {"title": "Last ({{steps.reply.result}})"}}]') as asking \gset
create function pg_temp.says(contact uuid, body text, number text default '+15125550100') returns void
  language sql
  as $$
    insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
    values ('00000000-0000-0000-0000-00000000000a', contact, 'inbound', number, body)
  $$;
create function pg_temp.asks(workflow uuid, contact uuid) returns uuid
  language sql
  as $$ select (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact))).id $$;

select pg_temp.says(:'maria', 'long before');
select automation.advance_clock('1 second');
select pg_temp.asks(:'asking', :'maria') as run \gset
select is(pg_temp.settled(:'run'), 'first, reply waiting -> waiting', 'it waits; what was said before does not count');
select is((select run_at from ridgeline.scheduled_steps where execution_id = :'run'), automation.now() + interval '2 days', 'at most two days');
select pg_temp.contact(:'apex', 'Ann', '+15125550111') as ann \gset
select automation.advance_clock('1 minute');
select pg_temp.says(:'ann', 'not me', '+15125550111');
select is(pg_temp.settled(:'run'), 'first, reply waiting -> waiting', 'somebody else''s reply is somebody else''s');
select automation.advance_clock('1 minute');
select pg_temp.says(:'maria', 'Yes please');
select is(pg_temp.settled(:'run'), 'first, reply, answer, last -> completed', 'hers goes the way of the event');
select is((select string_agg(title, ' / ' order by id) from public.tasks where execution_id = :'run'),
  'First / Answer: Yes please / Last (event)', 'and what she said is there to use');
select is((select count(*) from automation.signals where kept_for is null), 0::bigint, 'every signal was read');

select pg_temp.asks(:'asking', :'maria') as run \gset
select pg_temp.settled(:'run');
select automation.advance_clock('47 hours');
select is(pg_temp.settled(:'run'), 'first, reply waiting -> waiting', 'not two days yet');
select automation.advance_clock('61 minutes');
select is(pg_temp.settled(:'run'), 'first, reply, chase, last -> completed', 'nobody answers in two days');
select automation.advance_clock('1 minute');
select pg_temp.says(:'maria', 'too late');
select is(pg_temp.settled(:'run'), 'first, reply, chase, last -> completed', 'a reply after that changes nothing');

-- A reply can be quicker than the report that its question was sent.
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "send_sms", "key": "question", "config": {"body": "Shall we come?"}},
  {"type": "wait", "key": "reply", "config": {"event": "sms_received", "timeout": "1 hour"},
    "on": {"event": [{"type": "create_task", "key": "answer", "config": {"title": "Go"}}]}}]') as texting \gset
select pg_temp.asks(:'texting', :'maria') as run \gset
select automation.advance_clock('1 second');
create temp table sent as select c from automation.claim_steps('w', 10) as c;
select automation.advance_clock('1 second');
select pg_temp.says(:'maria', 'Yes');
select automation.run_signals();
select automation.advance_clock('1 second');
select pg_temp.finish(s.c, 'succeeded', '{"result": {"provider_id": "SM7"}}') from sent as s;
select is(pg_temp.settled(:'run'), 'question, reply, answer -> completed', 'a reply before the report of the send counts');

-- The reply and the timeout at once: what has been said but not read yet is found all the same.
select pg_temp.asks(:'asking', :'maria') as run \gset
select pg_temp.settled(:'run');
select automation.advance_clock('2 days');
select pg_temp.says(:'maria', 'just in time');
update automation.signals set next_try_at = 'infinity';
select is(pg_temp.settled(:'run'), 'first, reply, answer, last -> completed', 'a reply that was not read yet beats the timeout');
delete from automation.signals;

-- An event of the record itself, narrowed, and with nothing on the branches.
insert into public.projects (tenant_id, id, contact_id, name)
values (:'apex', '00000000-0000-0000-0000-0000000000e1', :'maria', 'Roof'), (:'apex', '00000000-0000-0000-0000-0000000000e2', :'maria', 'Gutter');
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "wait", "key": "won", "config": {"event": {"type": "pipeline_stage_changed", "config": {"to": "won"}}, "timeout": "30 days"}},
  {"type": "create_task", "key": "then", "config": {"title": "{{steps.won.result}}"}}]') as winning \gset
select (ridgeline.execute_workflow(:'winning', '{"project_id": "00000000-0000-0000-0000-0000000000e1"}')).id as run \gset
select pg_temp.settled(:'run');
select automation.advance_clock('1 minute');
update public.projects set pipeline_stage = 'sent' where name = 'Roof';
select is(pg_temp.settled(:'run'), 'won waiting -> waiting', 'another stage');
update public.projects set pipeline_stage = 'won' where name = 'Gutter';
select is(pg_temp.settled(:'run'), 'won waiting -> waiting', 'the customer''s other project');
update public.projects set pipeline_stage = 'won' where name = 'Roof';
select is(pg_temp.settled(:'run'), 'won, then -> completed', 'this one');

-- The office switches the workflow off: who waits still hears the reply, and goes on when it is on again.
select pg_temp.asks(:'asking', :'maria') as run \gset
select pg_temp.settled(:'run');
update ridgeline.workflows set is_active = false where id = :'asking';
select automation.advance_clock('1 minute');
select pg_temp.says(:'maria', 'Still here');
select is(pg_temp.settled(:'run'), 'first, reply waiting -> waiting', 'a run in flight goes no further in a paused workflow');
update ridgeline.workflows set is_active = true where id = :'asking';
select is(pg_temp.settled(:'run'), 'first, reply, answer, last -> completed', 'what it heard meanwhile counts');
update ridgeline.workflows set is_active = false where id = :'asking';
select ok(automation.forget_listeners() > 0, 'when no such run is left');
select is((select count(*) from automation.active_triggers where workflow_id = :'asking'), 0::bigint, 'nobody listens any more');

-- Cancelled while it waits.
select pg_temp.asks(:'winning', :'maria') as run \gset
select pg_temp.settled(:'run');
select is((ridgeline.cancel_execution(:'run')).status::text, 'cancelled', 'a run that waits can be cancelled');
select is(pg_temp.way(:'run'), 'won cancelled', 'and its step says so');

-- What cannot be waited for.
create function pg_temp.first_error(config jsonb) returns text
  language plpgsql
  as $$
declare
  draft constant uuid := pg_temp.draft('00000000-0000-0000-0000-00000000000a', 'manual', '{}',
    jsonb_build_array(jsonb_build_object('type', 'wait', 'config', config)));
begin
  return (select p.value ->> 'path' from jsonb_array_elements(ridgeline.validate_workflow(draft) -> 'problems') as p
    where p.value ->> 'severity' = 'error' limit 1);
end;
$$;
select is(pg_temp.first_error(config::jsonb), 'steps[0].step_config' || path, what)
from (values
  ('{"event": "rain", "timeout": "1 day"}', '.event', 'an event that there is not'),
  ('{"event": "scheduled", "timeout": "1 day"}', '.event', 'a time is no event'),
  ('{"event": {"type": "stage_changed", "config": {"colour": "red"}}, "timeout": "1 day"}', '.event.config.colour', 'a column that there is not')
) as v (config, path, what);
select * from finish();
rollback;

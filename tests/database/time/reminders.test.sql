-- Reminders of one date in one workflow: they move with the date while they wait, and those whose time has passed are
-- left out.
begin;
\ir ../foundation/story.psql
select plan(59);

insert into public.tenants (id, name, timezone) values ('00000000-0000-0000-0000-00000000000a', 'Apex Roofing', 'America/Chicago');
\set apex '00000000-0000-0000-0000-00000000000a'
insert into ridgeline.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550199', 'registered');
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select automation.set_clock('2026-10-28T18:00:00Z');

create function pg_temp.said() returns text
  language sql
  as $$ select string_agg(t.title, ', ' order by t.id) from public.tasks as t $$;
create function pg_temp.until(appointment uuid) returns text
  language sql
  as $$
    select string_agg(coalesce(to_char(s.run_at at time zone 'America/Chicago', 'MM-DD HH24:MI'), s.run_at::text) || ' ' || s.step_key, ', ')
    from ridgeline.workflow_executions as e join ridgeline.scheduled_steps as s on s.execution_id = e.id and s.tenant_id = e.tenant_id
    where e.record_id = appointment::text
  $$;
create function pg_temp.book(at text) returns uuid
  language sql
  as $$
    insert into public.appointments (tenant_id, contact_id, starts_at)
    select '00000000-0000-0000-0000-00000000000a', c.id, at::timestamp at time zone 'America/Chicago' from public.contacts as c returning id
  $$;
create function pg_temp.move(appointment uuid, at text) returns void
  language sql
  as $$ update public.appointments set starts_at = at::timestamp at time zone 'America/Chicago' where id = appointment; select pg_temp.settle() $$;
create function pg_temp.clock_is(at text) returns void
  language sql
  as $$ select automation.set_clock(at::timestamp at time zone 'America/Chicago'); select pg_temp.settle() $$;

-- A reminder is a task here, so that its time is what is told; texts come below.
select pg_temp.workflow(:'apex', 'appointment_booked', '{}', '[
  {"type": "create_task", "config": {"title": "booked"}},
  {"key": "day", "type": "wait", "config": {"until": "{{appointment.starts_at}}", "offset": "-1 day", "follow": true, "if_missing": "wait", "if_past": "skip"}},
  {"key": "say_day", "type": "create_task", "config": {"title": "tomorrow"}},
  {"key": "hours", "type": "wait", "config": {"until": "{{appointment.starts_at}}", "offset": "-2 hours", "follow": true, "if_missing": "wait", "if_past": "skip"}},
  {"key": "say_hours", "type": "create_task", "config": {"title": "in two hours"}}]', '[]',
  '{"exit_events": ["appointment_cancelled"], "exit_conditions": [{"field": "appointment.status", "operator": "equals", "value": "cancelled"}]}') as reminders \gset

-- Booked two days ahead, over the night in which the clocks go back: the clock on the wall holds.
select pg_temp.book('2026-11-01 15:00') as a \gset
select pg_temp.settle();
select is(pg_temp.until(:'a'), '10-31 15:00 day', 'a day before, by the clock on the wall');
select pg_temp.clock_is('2026-10-31 14:59');
select is(pg_temp.said(), 'booked', 'nothing is said before');
select pg_temp.clock_is('2026-10-31 15:00');
select is(pg_temp.said(), 'booked, tomorrow', 'then the first reminder');
select is(pg_temp.until(:'a'), '11-01 13:00 hours', 'and two hours before');
select pg_temp.clock_is('2026-11-01 13:00');
select is(pg_temp.said(), 'booked, tomorrow, in two hours', 'the second');
select is((pg_temp.only_run(:'reminders')).status::text, 'completed', 'that is all');
delete from public.tasks;

-- Booked ninety minutes ahead: both are left out.
select pg_temp.clock_is('2026-11-03 09:00');
select pg_temp.book('2026-11-03 10:30') as b \gset
select pg_temp.settle();
select is(pg_temp.said(), 'booked', 'an appointment in ninety minutes is only confirmed');
select is(pg_temp.way((pg_temp.only_run(:'reminders')).id), 'step_1, day, say_day skipped, hours, say_hours skipped', 'what is left out is on record');
select is((select string_agg(s.error ->> 'code', ', ' order by s.seq) from ridgeline.workflow_step_executions as s
  where s.execution_id = (pg_temp.only_run(:'reminders')).id and s.status = 'skipped'), 'too_late, too_late', 'and why');
select is((pg_temp.only_run(:'reminders')).status::text, 'completed', 'which is no failure');
select is((select count(*) from ridgeline.automation_failures), 0::bigint, 'nor counted as one');
-- Booked three hours ahead: one of them.
select pg_temp.book('2026-11-03 12:00') as b2 \gset
select pg_temp.settle();
select is(pg_temp.until(:'b2'), '11-03 10:00 hours', 'three hours ahead: the second is still to come');
-- Booked a minute too late for it, which the time that a booking takes may be.
select pg_temp.book('2026-11-03 10:58') as b3 \gset
select pg_temp.settle();
select is((select string_agg(s.status::text, ', ') from ridgeline.workflow_step_executions as s join ridgeline.workflow_executions as e on e.id = s.execution_id
  where e.record_id = :'b3' and s.step_key = 'say_hours'), 'completed', 'two minutes late is not too late');
delete from public.appointments;
select pg_temp.settle();
delete from public.tasks;

-- Moved while it waits: later, earlier, into the past, away and back.
select pg_temp.clock_is('2026-11-05 09:00');
select pg_temp.book('2026-11-09 09:00') as c \gset
select pg_temp.settle();
select is(pg_temp.until(:'c'), '11-08 09:00 day', 'it waits');
select pg_temp.move(:'c', '2026-11-12 11:00');
select is(pg_temp.until(:'c'), '11-11 11:00 day', 'moved back three days it waits longer');
select pg_temp.move(:'c', '2026-11-07 11:00');
select is(pg_temp.until(:'c'), '11-06 11:00 day', 'moved forward, shorter');
update public.appointments set location = 'Gate code 4711', name = 'Roof' where id = :'c';
select is((select count(*) from automation.signals where kept_for is null), 0::bigint, 'what does not concern the date wakes nobody');
update public.appointments set starts_at = null where id = :'c';
select pg_temp.settle();
select is((select s.run_at from ridgeline.scheduled_steps as s join ridgeline.workflow_executions as e on e.id = s.execution_id where e.record_id = :'c'), 'infinity', 'without a date it waits for one');
select pg_temp.later('3 days');
select is(pg_temp.said(), 'booked', 'and says nothing meanwhile');
select pg_temp.move(:'c', '2026-11-10 11:00');
select is(pg_temp.until(:'c'), '11-09 11:00 day', 'a date again');
select pg_temp.move(:'c', '2026-11-09 08:00');
select is(pg_temp.until(:'c'), '11-09 06:00 hours', 'moved so that the first reminder would have been an hour ago: it is left out, the second is to come');
select is(pg_temp.said(), 'booked', 'not said at once');
select pg_temp.move(:'c', '2026-11-20 09:00');
select is(pg_temp.until(:'c'), '11-20 07:00 hours', 'moved again, later: the first is not brought back');
select pg_temp.move(:'c', '2026-11-01 09:00');
select is((select e.status::text from ridgeline.workflow_executions as e where e.record_id = :'c'), 'completed', 'moved into the past there is nothing more to say');
select is(pg_temp.said(), 'booked', 'and nothing is said');
delete from public.tasks;

-- Nobody looked for an hour: what has not moved has come, late rather than never.
select pg_temp.clock_is('2026-11-10 09:00');
select pg_temp.book('2026-11-12 09:00') as d \gset
select pg_temp.settle();
select automation.set_clock('2026-11-11T17:00:00Z');
select pg_temp.settle();
select is(pg_temp.said(), 'booked, tomorrow', 'two hours late, after an outage');
-- Moved at the very moment at which it comes due, unread: it goes by the date as it is now.
update public.appointments set starts_at = '2026-11-14 15:00:00Z' where id = :'d';
select automation.set_clock('2026-11-12T14:00:00Z');
delete from automation.signals;
select pg_temp.settle();
select is(pg_temp.said(), 'booked, tomorrow', 'a date that moved unseen is read when the time comes');
select is(pg_temp.until(:'d'), '11-14 07:00 hours', 'and waited for');
-- A paused workflow.
update ridgeline.workflows set is_active = false where id = :'reminders';
select pg_temp.clock_is('2026-11-14 08:00');
select is(pg_temp.said(), 'booked, tomorrow', 'paused: nothing');
update ridgeline.workflows set is_active = true where id = :'reminders';
select automation.advance_clock('15 minutes');
select pg_temp.settle();
select is(pg_temp.said(), 'booked, tomorrow, in two hours', 'resumed before the appointment: late rather than never');
delete from public.tasks;

-- Exits.
select pg_temp.clock_is('2026-11-16 09:00');
select pg_temp.book('2026-11-18 09:00') as f \gset
select pg_temp.settle();
update public.appointments set status = 'cancelled' where id = :'f';
select pg_temp.clock_is('2026-11-18 09:00');
select is(pg_temp.said(), 'booked', 'a cancelled appointment is not reminded of');
delete from public.tasks;

-- Whoever moved it is told again: the field that moves is what starts the workflow, which begins anew.
update ridgeline.workflows set is_active = false where id = :'reminders';
select pg_temp.workflow(:'apex', 'field_changed', '{"entity": "appointment", "field": "starts_at", "on_insert": true, "status": "booked"}', '[
  {"type": "create_task", "config": {"title": "{{appointment.starts_at | formatDate: \"d MMM HH:mm\"}}"}},
  {"type": "wait", "config": {"until": "{{appointment.starts_at}}", "offset": "-1 day", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "tomorrow"}},
  {"type": "wait", "config": {"until": "{{appointment.starts_at}}", "offset": "-2 hours", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "in two hours"}}]', '[]', '{"reentry": "restart", "exit_events": ["appointment_cancelled"]}') as told_again \gset
select pg_temp.clock_is('2026-11-20 09:00');
select pg_temp.book('2026-11-22 09:00') as g \gset
select pg_temp.clock_is('2026-11-21 09:00');
select is(pg_temp.said(), '22 Nov 09:00, tomorrow', 'booked, and reminded');
update ridgeline.workflow_executions set written_by = '3' where workflow_id = :'told_again';
select pg_temp.move(:'g', '2026-11-25 14:00');
select is(pg_temp.until(:'g'), '11-24 14:00 step_2', 'moved: from the beginning, with the new date');
select is(pg_temp.said(), '22 Nov 09:00, tomorrow, 25 Nov 14:00', 'which is confirmed');
select pg_temp.clock_is('2026-11-25 12:00');
select is(pg_temp.said(), '22 Nov 09:00, tomorrow, 25 Nov 14:00, tomorrow, in two hours', 'and reminded of again');
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e where e.workflow_id = :'told_again'),
  'cancelled restarted, completed', 'two runs, one after the other');
delete from public.tasks;

-- An invoice: five reminders around a date without a time, the balance as it is then.
select pg_temp.workflow(:'apex', 'field_changed', '{"entity": "invoice", "field": "due_on", "on_insert": true}', '[
  {"key": "w1", "type": "wait", "config": {"until": "{{invoice.due_on}}", "offset": "-3 days", "at": "10:00", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "soon {{invoice.balance}}"}},
  {"key": "w2", "type": "wait", "config": {"until": "{{invoice.due_on}}", "at": "10:00", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "today {{invoice.balance}}"}},
  {"key": "w3", "type": "wait", "config": {"until": "{{invoice.due_on}}", "offset": "3 days", "at": "10:00", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "overdue {{invoice.balance}}"}},
  {"key": "w4", "type": "wait", "config": {"until": "{{invoice.due_on}}", "offset": "14 days", "at": "10:00", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "escalate {{invoice.balance}}"}}]', '[]',
  '{"reentry": "restart", "exit_events": ["invoice_paid"], "exit_conditions": [{"field": "invoice.status", "operator": "in", "value": ["paid", "void"]}]}') as dunning \gset
select pg_temp.clock_is('2026-12-01 09:00');
insert into public.invoices (tenant_id, contact_id, number, amount, balance, due_on) values (:'apex', :'maria', '1', 900, 900, '2026-12-05') returning id as bill \gset
select pg_temp.settle();
select is(pg_temp.until(:'bill'), '12-02 10:00 w1', 'three days before, at ten');
select pg_temp.clock_is('2026-12-02 10:00');
update public.invoices set balance = 400 where id = :'bill';
select pg_temp.clock_is('2026-12-05 10:00');
select is(pg_temp.said(), 'soon 900.00, today 400.00', 'a partial payment is in what is said next');
update ridgeline.workflow_executions set written_by = '3' where workflow_id = :'dunning';
update public.invoices set due_on = '2026-12-20' where id = :'bill';
select pg_temp.settle();
select is(pg_temp.until(:'bill'), '12-17 10:00 w1', 'another due date begins anew');
select pg_temp.clock_is('2026-12-20 10:00');
select is(pg_temp.said(), 'soon 900.00, today 400.00, soon 400.00, today 400.00', 'before it and on it');
update public.invoices set balance = 0, status = 'paid' where id = :'bill';
select pg_temp.clock_is('2027-01-10 10:00');
select is(pg_temp.said(), 'soon 900.00, today 400.00, soon 400.00, today 400.00', 'and once it is paid nothing more');
-- Entered after it was due: what has passed is left out, what is to come is not.
insert into public.invoices (tenant_id, contact_id, number, amount, balance, due_on) values (:'apex', :'maria', '2', 50, 50, '2027-01-08') returning id as late \gset
select pg_temp.settle();
select is(pg_temp.until(:'late'), '01-11 10:00 w3', 'an invoice that is entered two days after it was due');
delete from public.tasks;

-- Moved when the text is on its way or held: it is not taken back, and says the date as it is then.
select pg_temp.workflow(:'apex', 'appointment_booked', '{}', '[
  {"key": "day", "type": "wait", "config": {"until": "{{appointment.starts_at}}", "offset": "-1 day", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"key": "text", "type": "send_sms", "config": {"purpose": "transactional", "body": "See you {{appointment.starts_at | formatDate: \"d MMM HH:mm\"}}"}},
  {"key": "hours", "type": "wait", "config": {"until": "{{appointment.starts_at}}", "offset": "-2 hours", "follow": true, "if_missing": "stop", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "soon"}}]') as texts \gset
update ridgeline.workflows set is_active = false where id = :'told_again';
select pg_temp.clock_is('2027-01-12 11:00');
select pg_temp.book('2027-01-14 11:00') as t \gset
select pg_temp.settle();
select pg_temp.clock_is('2027-01-13 11:00');
create temp table sent as select c as claimed from automation.claim_steps('w', 10) as c;
select is((select (s.claimed).payload ->> 'body' from sent as s), 'See you 14 Jan 11:00', 'the text is leased');
select pg_temp.move(:'t', '2027-01-20 11:00');
select is((select pg_temp.finish(s.claimed, 'succeeded', '{"result": {"provider_id": "SM9"}}') from sent as s), 'completed', 'what is on its way goes');
select pg_temp.settle();
select is(pg_temp.until(:'t'), '01-20 09:00 hours', 'and the next reminder goes by the new date');
select is((select count(*) from automation.signals where kept_for is null), 0::bigint, 'no signal is left');

-- Another appointment of hers, and another office.
select pg_temp.book('2027-01-28 11:00') as other \gset
select pg_temp.settle();
select pg_temp.move(:'t', '2027-01-21 11:00');
select is(pg_temp.until(:'other'), '01-27 11:00 day', 'one that moves leaves the others alone');

-- What a dry run tells, and what publishing says.
select is(ridgeline.test_workflow(:'texts', jsonb_build_object('appointment_id', :'other'), '{"at": "2027-01-28T16:00:00Z"}') #>> '{path,1,reason,code}', 'too_late', 'a dry run leaves out what it would be too late for');
select is(ridgeline.test_workflow(:'texts', jsonb_build_object('appointment_id', :'other'), '{"at": "2027-01-20T16:00:00Z"}') #>> '{path,0,until}' is not null, true, 'and knows until when it would wait');
create function pg_temp.finds(wait jsonb, trigger_type text default 'appointment_booked', more jsonb default '[{"type": "create_task", "config": {"title": "x"}}]') returns text
  language sql
  as $$ select pg_temp.findings('00000000-0000-0000-0000-00000000000a', trigger_type, '{}', jsonb_build_array(jsonb_build_object('type', 'wait', 'config', wait)) || more) $$;
select is(pg_temp.finds('{"until": "{{appointment.starts_at}}", "follow": true, "if_missing": "wait", "if_past": "skip"}'), null, 'a field of the record');
select is(pg_temp.finds('{"until": "{{ appointment.custom_fields.arrives }}", "offset": "-1 day", "follow": true, "if_missing": "wait"}'), null, 'one inside a column');
select is(pg_temp.finds('{"until": "{{trigger.appointment.starts_at}}", "follow": true, "if_missing": "stop"}'), 'error nothing_to_follow steps[0].step_config.follow', 'what fired never changes');
select is(pg_temp.finds('{"until": "2026-12-24", "follow": true}'), 'error nothing_to_follow steps[0].step_config.follow', 'nor does a day in the calendar');
select is(pg_temp.finds('{"days": 2, "follow": true}'), 'error missing steps[0].step_config.until', 'a length follows nothing');
select is(pg_temp.finds('{"until": "{{appointment.starts_at}}", "if_missing": "wait"}'), 'error not_allowed steps[0].step_config.if_missing', 'who waits for a date has to follow it');
select is(pg_temp.finds('{"until": "{{appointment.starts_at}}", "if_missing": "stop", "if_past": "skip"}', more => '[]'), 'error nothing_to_skip steps[0].step_config.if_past', 'there has to be something to leave out');
select is(pg_temp.finds('{"until": "{{appointment.starts_at}}", "if_missing": "skip"}', more => '[{"type": "create_task", "config": {"title": "x"}, "enabled": false}]'), 'error nothing_to_skip steps[0].step_config.if_missing', 'and it has to be switched on');
select is(pg_temp.finds('{"until": "{{project.appointment_at}}", "follow": true, "if_missing": "wait"}'), null, 'a field of the record that it belongs to');
select is(pg_temp.finds('{"event": "sms_received", "timeout": "1 day", "follow": true}') like '%follow%', true, 'an event is no date');
select * from finish();
rollback;

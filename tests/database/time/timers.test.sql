-- A time before or after a date of a record: appointments that move, records that go, and dates that
-- are past.
begin;
\ir ../foundation/story.psql
select plan(49);

select automation.set_clock('2026-03-02 12:00:00+00');
select pg_temp.tenant() as apex \gset
select pg_temp.tenant('Bolt Roofing') as bolt \gset
create function pg_temp.at(moment timestamptz) returns text
  language sql as $$ select automation.set_clock(moment); select automation.tick() ->> 'timers' $$;
create function pg_temp.due(record text) returns text
  language sql
  as $$
    select string_agg(to_char(t.due_at at time zone 'UTC', 'MM-DD HH24:MI'), ', ' order by t.due_at)
    from ridgeline.workflow_timers as t where t.record_id = due.record
  $$;
create function pg_temp.project(tenant uuid, appointment timestamptz) returns uuid
  language sql
  as $$
    insert into public.projects (tenant_id, name, appointment_at, contact_id)
    values (tenant, 'New roof', appointment, pg_temp.contact(tenant)) returning id
  $$;

select results_eq($$select tgrelid::regclass::text collate "C" from pg_trigger where tgname = 'automation_capture_update' order by 1$$,
  $$select regexp_replace(relation, '^public\.', '') collate "C" from automation.entities order by 1$$,
  'every attached table has what a timer may need');

-- Reminders before an appointment.
select pg_temp.project(:'apex', '2026-03-10 15:00:00+00') as early \gset
select pg_temp.workflow(:'apex', 'time_elapsed',
  '{"entity": "project", "field": "appointment_at", "offset": "-24 hours"}') as day_before \gset
select pg_temp.workflow(:'apex', 'time_elapsed',
  '{"entity": "project", "field": "appointment_at", "offset": "-2 hours"}') as hours_before \gset
select is((select mode from pg_locks where pid = pg_backend_pid() and relation = 'public.projects'::regclass
    and mode not in ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock') limit 1), null,
  'publishing takes no lock that a writer of the table would wait for');
select automation.tick();
select is(pg_temp.due(:'early'), '03-09 15:00, 03-10 13:00', 'an appointment that was there before gets its reminders');
select is((select array_agg(array[kind, status, enrolled::text]) from ridgeline.bulk_enrollments),
  array[array['timers', 'completed', '1'], array['timers', 'completed', '1']], 'from a bulk job for each workflow');
select pg_temp.project(:'apex', '2026-03-08 15:00:00+00') as roof \gset
select is(pg_temp.due(:'roof'), '03-07 15:00, 03-08 13:00', 'a new one gets them as it is booked');
update public.projects set name = 'Newer roof' where id = :'roof';
select is(pg_temp.due(:'roof'), '03-07 15:00, 03-08 13:00', 'another field moves nothing');
update public.projects set appointment_at = '2026-03-09 15:00:00+00' where id = :'roof';
select is(pg_temp.due(:'roof'), '03-08 15:00, 03-09 13:00', 'the appointment moves and the reminders with it');
update public.projects set appointment_at = null where id = :'roof';
select is(pg_temp.due(:'roof'), null, 'it is called off and so are they');
update public.projects set appointment_at = '2026-03-05 15:00:00+00' where id = :'roof';
select is(pg_temp.due(:'roof'), '03-04 15:00, 03-05 13:00', 'a new date brings them back');
select is(pg_temp.at('2026-03-04 14:59:00+00'), '0', 'before its time nothing fires');
select is(pg_temp.at('2026-03-04 15:00:01+00'), '1', 'a day before, one does');
select is(pg_temp.at('2026-03-04 15:00:02+00'), '0', 'once');
select is((pg_temp.only_run(:'day_before')).trigger_data - '{contact,project}'::text[], jsonb_build_object('entity', 'project',
  'project_id', :'roof', 'user_id', null, 'contact_id', (select contact_id from public.projects where id = :'roof'),
  'timer', jsonb_build_object('field', 'appointment_at', 'value', '2026-03-05T15:00:00+00:00',
    'due_at', '2026-03-04T15:00:00+00:00'::timestamptz)), 'with the record, its customer and why')
  from (select set_config('timezone', 'UTC', true)) as z;
update public.projects set appointment_at = '2026-03-06 15:00:00+00' where id = :'roof';
select is(pg_temp.due(:'roof'), '03-05 15:00, 03-06 13:00', 'one that fired already fires again for the new date');
delete from public.projects where id = :'roof';
select is(pg_temp.due(:'roof'), null, 'a deleted record takes its timers along');
select is(pg_temp.at('2026-03-06 16:00:00+00'), '0', 'nothing fires for it');

-- Booked ninety minutes ahead: both reminders are late already.
select pg_temp.project(:'apex', '2026-03-06 17:30:00+00') as short_notice \gset
select is(pg_temp.due(:'short_notice'), null, 'booked ninety minutes ahead, there is no reminder');
select pg_temp.project(:'apex', '2026-03-06 17:58:00+00') as grace \gset
select is(pg_temp.due(:'grace'), '03-06 15:58', 'two minutes late is on time');
update public.projects set appointment_at = '2026-03-06 17:20:00+00' where id = :'grace';
select is(pg_temp.due(:'grace'), null, 'until it moves into the past');

-- A stack that was down.
select is(pg_temp.at('2026-03-10 14:00:00+00'), '2', 'both reminders are late, and fire while the appointment is ahead');
select is(pg_temp.runs(:'hours_before'), 1::bigint, 'the one two hours before an hour late');
select pg_temp.project(:'apex', '2026-03-20 15:00:00+00') as missed \gset
select pg_temp.at('2026-03-21 12:00:00+00');
select is(pg_temp.runs(:'hours_before'), 1::bigint, 'a reminder of what is over is not sent');
select is(pg_temp.due(:'missed'), null, 'nor kept');

-- Days after, at a time of day; conditions are asked when it fires.
select pg_temp.at('2026-03-21 16:00:00+00');
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "job", "field": "completed_at", "offset": "1 day", "at": "10:00"}',
  '[{"type": "create_task", "config": {"title": "Review"}}]', '[{"field": "job.status", "operator": "equals", "value": "completed"}]') as review \gset
insert into public.jobs (tenant_id, id, status, completed_at) values
  (:'apex', '00000000-0000-0000-0000-0000000000b1', 'completed', automation.now()),
  (:'apex', '00000000-0000-0000-0000-0000000000b2', 'completed', automation.now());
select is(pg_temp.due('00000000-0000-0000-0000-0000000000b1'), '03-22 14:00', 'the day after at ten o''clock here');
update public.jobs set status = 'complaint' where id = '00000000-0000-0000-0000-0000000000b2';
select is(pg_temp.at('2026-03-22 14:00:00+00'), '2', 'both are looked at');
select is((select array_agg(record_id) from ridgeline.workflow_executions where workflow_id = :'review'),
  '{00000000-0000-0000-0000-0000000000b1}', 'but the one with a complaint since then is left alone');

-- The night the clocks change.
select pg_temp.at('2026-10-28 12:00:00+00');
select pg_temp.workflow(:'bolt', 'time_elapsed', '{"entity": "project", "field": "appointment_at", "offset": "-1 day"}') as calendar \gset
select pg_temp.project(:'bolt', '2026-11-01 15:00:00+00') as sunday \gset
select is(pg_temp.due(:'sunday'), '10-31 14:00', 'a day before ten is ten, on a night of twenty-five hours too');

-- Records wait apart from each other.
select is((select count(*) from ridgeline.workflow_timers where tenant_id = :'apex' and record_id = :'sunday'), 0::bigint,
  'no tenant waits on another''s records');
select pg_temp.sign_in(pg_temp.member(:'apex'));
select is((select count(*) from ridgeline.workflow_timers), 0::bigint, 'nor sees them');
select is(left(pg_temp.error_of('delete from ridgeline.workflow_timers'), 5), '42501', 'and nobody writes them by hand');
select pg_temp.sign_out();
update public.projects set id = '00000000-0000-0000-0000-0000000000c1' where id = :'sunday';
select is(pg_temp.due(:'sunday'), null, 'a record with a new key leaves no timer under the old one');

-- Edits, pauses and switching off.
select pg_temp.project(:'bolt', '2026-11-10 15:00:00+00') as later \gset
update ridgeline.workflows set trigger_config = '{"entity": "project", "field": "appointment_at", "offset": "-3 days"}' where id = :'calendar';
select ridgeline.publish_workflow(:'calendar');
select automation.tick();
select is(pg_temp.due(:'later'), '11-07 15:00', 'a new offset moves those that wait');
update ridgeline.workflows set is_active = false where id = :'calendar';
select is(pg_temp.at('2026-11-07 15:00:01+00'), '0', 'a workflow that is switched off fires nothing');
select is(pg_temp.due(:'later'), null, 'and its timers are dropped when they are due');
select is(pg_temp.runs(:'calendar'), 0::bigint, 'without a run');

-- Counted from a change: nobody has moved the stage for three days.
select pg_temp.at('2026-11-07 16:00:00+00');
select pg_temp.workflow(:'bolt', 'time_elapsed', '{"changed": "stage", "offset": "3 days"}') as stalled \gset
select pg_temp.contact(:'bolt') as lead \gset
select is(pg_temp.due(:'lead'), '11-10 16:00', 'a new lead is given three days');
select pg_temp.at('2026-11-09 16:00:00+00');
update public.contacts set stage = 'quoted' where id = :'lead';
select is(pg_temp.due(:'lead'), '11-12 16:00', 'a move starts them anew');
select is(pg_temp.at('2026-11-12 16:00:01+00'), '1', 'and then the nudge comes');

-- A workflow that sets its own timer again and again.
update ridgeline.workflows set is_active = false;
select pg_temp.workflow(:'bolt', 'time_elapsed', '{"field": "last_contacted_at", "offset": "0 minutes"}',
  '[{"type": "update_contact", "config": {"fields": {"company": "{{trigger.timer.due_at}}"}}}]') as loop \gset
create function pg_temp.contacted() returns trigger language plpgsql
  as $$ begin new.last_contacted_at := automation.now(); return new; end; $$;
create trigger contacted before update on public.contacts for each row execute function pg_temp.contacted();
update public.contacts set company = 'x' where id = :'lead';
select automation.advance_clock('1 minute'), automation.tick() from generate_series(1, 40);
select is((select array_agg(n order by status) from (
    select status, count(*) as n from ridgeline.workflow_executions where workflow_id = :'loop' group by status) as s),
  '{25,1}', 'a loop runs until the limit of an hour is reached, and says so once');
drop trigger contacted on public.contacts;

-- What cannot be published names its field.
select is((select string_agg(substring(pg_temp.error_of(format('select pg_temp.workflow(%L, ''time_elapsed'', %L)', :'bolt', config))
  from 'trigger_config[.a-z_]*'), ' ' order by place)
from unnest(array['{}', '{"offset": "soon"}', '{"offset": "1 day", "field": "roofed_at"}', '{"offset": "1 day", "entity": "roof"}',
  '{"offset": "1 day", "at": "25:00"}', '{"offset": "-1 day", "changed": "stage"}', '{"offset": "1 day", "missed": "catch_up"}'])
  with ordinality as c (config, place)),
  'trigger_config.offset trigger_config.offset trigger_config.field trigger_config.entity trigger_config.at '
  'trigger_config.offset trigger_config.missed', 'errors name their field');

-- Another table, and its end.
create table public.permits (company uuid, number integer, due date, customer uuid, primary key (company, number));
select automation.attach('public.permits', 'permit', '{"tenant": "company", "id": "number", "contact": "customer"}');
select pg_temp.workflow(:'bolt', 'time_elapsed', '{"entity": "permit", "field": "due", "offset": "3 days", "at": "09:00"}') as dunning \gset
insert into public.permits values (:'bolt', 7, '2026-12-01', :'lead');
select is(pg_temp.due('7'), '12-04 14:00', 'an attached table with other names has timers too');
select automation.detach('permit');
insert into public.permits values (:'bolt', 8, '2026-12-01', :'lead');
select is(array[pg_temp.due('8'), (select count(*)::text from automation.timer_listeners where entity = 'permit')], array[null, '0'],
  'detached, it has none');

-- A reminder that the carrier refused for a while is not sent after the appointment.
select automation.set_clock('2027-03-01 12:00:00+00');
update ridgeline.workflows set is_active = false where is_active;
select pg_temp.workflow(:'apex', 'time_elapsed',
  '{"entity": "project", "field": "appointment_at", "offset": "-2 hours"}',
  '[{"type": "send_sms", "key": "remind", "config": {"body": "See you at {{project.appointment_at | formatDate: \"h:mm a\"}}"}},
    {"type": "create_task", "key": "prepare", "config": {"title": "Pack"}}]') as reminder \gset
select pg_temp.project(:'apex', '2027-03-02 15:00:00+00') as visit \gset
select is(pg_temp.at('2027-03-02 13:00:01+00'), '1', 'two hours before, a reminder is due');
select pg_temp.finish(c, 'retry', '{"error": {"code": "twilio_429", "message": "slow down"}, "retry_after_seconds": 7200}')
from automation.claim_steps('w', 10) as c;
select is((select expires_at from ridgeline.scheduled_steps where tenant_id = :'apex'), '2027-03-02 15:00:00+00'::timestamptz,
  'it is put off, and expires with the appointment');
select automation.set_clock('2027-03-02 15:00:30+00');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'after it nothing is sent');
select pg_temp.settle();
select is((select string_agg(concat_ws(' ', s.step_key, s.status, s.error ->> 'code'), ', ' order by s.step_key desc)
  from ridgeline.workflow_step_executions as s
  where s.execution_id = (pg_temp.only_run(:'reminder')).id),
  'remind skipped expired, prepare completed', 'the office is told so, and the run goes on');

-- What can never be a date.
select is(pg_temp.findings(:'apex', 'time_elapsed', '{"field": "lead_score", "offset": "1 day"}', mended => true),
  'contact.lead_score is a number, and no date | Where it counts seconds since 1970, attach a column that is a time: timestamptz generated always as (to_timestamp(lead_score)) stored.',
  'a timer on a number would never be due, and is refused');
select is(pg_temp.findings(:'apex', 'time_elapsed', '{"changed": "lead_score", "offset": "1 day"}'), null, 'one on when that changes is not');
select is(pg_temp.findings(:'apex', 'time_elapsed', '{"field": "source", "offset": "1 day"}'), null, 'nor one on a text, which may hold a date');

select * from finish();
rollback;

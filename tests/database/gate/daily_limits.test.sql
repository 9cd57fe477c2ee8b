-- How fast a number may send where nobody says, how much in a day, and what becomes of the rest.
begin;
\ir ../foundation/story.psql
select plan(51);
set client_min_messages = error;
select automation.set_clock('2026-06-03 17:00+00');

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing", "expires_after": "30 days"}}]') as offer \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Your visit", "purpose": "transactional"}}]') as visit \gset
insert into public.contacts (tenant_id, phone) select :'apex', '+1512555' || lpad(n::text, 4, '0') from generate_series(2000, 2099) as n;
create function pg_temp.start(workflow uuid, number integer) returns bigint
  language sql
  as $$ select count(ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', c.id))) from (select id from public.contacts order by phone limit number) as c $$;
create function pg_temp.sent() returns bigint
  language sql
  as $$ select count(*) from automation.claim_steps('w', 1000) $$;
create function pg_temp.waiting() returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', w.code, w.number, w.first), ', ' order by w.code)
    from (select q.held ->> 'code' as code, count(*) as number, to_char(min(q.run_at) at time zone 'America/Los_Angeles', 'Dy HH24') as first
      from ridgeline.scheduled_steps as q where q.held is not null and q.lease_expires_at is null group by 1) as w
  $$;
create function pg_temp.speak_as(address text, limits jsonb default '{}') returns void
  language sql
  as $$
    delete from ridgeline.scheduled_steps;
    delete from ridgeline.senders;
    delete from automation.sender_slots;
    insert into ridgeline.senders (tenant_id, channel, address, limits, kind)
    select id, 'sms', speak_as.address, speak_as.limits, null from public.tenants where name = 'Apex Roofing';
  $$;

-- HOW FAST WHERE NOBODY SAYS
select is(automation.usual_rate(kind, address), rate::numeric, kind || ' ' || address)
from (values ('number', '+15125550900', 1), ('number', '+18885550900', 3), ('number', '+18445550900', 3), ('number', '88788', 100), ('service', 'MG1', 1), ('name', 'APEX', 10), ('number', '+447911123456', 10)) as v (kind, address, rate);
select is(automation.rate_in(limits::jsonb, 1), rate::numeric, limits) from (values ('{}', 1), ('{"per_second": 4.5}', 4.5), ('{"per_second": 0}', null), ('{"per_second": "fast"}', null), ('{"per_day": 5}', 1)) as v (limits, rate);
select pg_temp.speak_as('+15125550900');
select pg_temp.start(:'visit', 10) \g /dev/null
select is(pg_temp.sent(), 2::bigint, 'a number of ten digits sends one a second, the next one in a moment');
select is(pg_temp.waiting(), 'rate 8 Wed 10', 'the others have places of their own');
select automation.advance_clock('10 seconds');
select is(pg_temp.sent(), 8::bigint, 'and go in them');
select pg_temp.speak_as('+15125550900', '{"per_second": 0}');
select pg_temp.start(:'visit', 50) \g /dev/null
select is(pg_temp.sent(), 50::bigint, 'who says that it is as fast as the provider likes has it so');
-- The environment's number is one too.
delete from ridgeline.senders;
update automation.settings set value = '1' where name = 'environment_per_second';
select pg_temp.start(:'visit', 5) \g /dev/null
select is(pg_temp.sent(), 2::bigint, 'the sender of the environment is a number like any other');
update automation.settings set value = '0' where name = 'environment_per_second';

-- A DAY'S WORTH
select pg_temp.speak_as('+15125550900', '{"per_second": 0, "per_day": 50}');
select pg_temp.start(:'offer', 60) \g /dev/null
select is(pg_temp.sent(), 40::bigint, 'offers have four fifths of the day');
select is(pg_temp.waiting(), 'daily_limit 20 Thu 00', 'the rest waits for midnight Pacific');
select is((select count(distinct run_at) > 10 from ridgeline.scheduled_steps where held ->> 'code' = 'daily_limit'), true, 'a little apart');
select pg_temp.start(:'visit', 12) \g /dev/null
select is(pg_temp.sent(), 10::bigint, 'who has just asked has the last fifth');
select is(pg_temp.waiting(), 'daily_limit 22 Thu 00', 'and no more than it');
select automation.set_clock('2026-06-04 06:59+00');
select is(pg_temp.sent(), 0::bigint, 'a minute to midnight nothing goes');
select automation.set_clock('2026-06-04 07:30+00');
select is(pg_temp.sent(), 22::bigint, 'the next day it does');
select is((select array_agg(segments order by day) from automation.sender_days), '{50,22}', 'counted by the carrier''s day');
-- Segments count, not texts.
select pg_temp.workflow(:'apex', 'manual', '{}', jsonb_build_array(jsonb_build_object('key', 'text', 'type', 'send_sms', 'config', jsonb_build_object('body', repeat('a', 161), 'purpose', 'transactional')))) as long \gset
select pg_temp.start(:'long', 20) \g /dev/null
select is(pg_temp.sent(), 14::bigint, 'a text of two segments is two of them');
select pg_temp.speak_as('+15125550900', '{"per_second": 0, "per_day": "many"}');
select pg_temp.start(:'visit', 60) \g /dev/null
select is(pg_temp.sent(), 60::bigint, 'a limit that cannot be read is none');
-- All senders of an office together.
insert into ridgeline.tenant_settings (tenant_id, settings) values (:'apex', '{"segments_per_day": 30}');
select pg_temp.speak_as('+15125550900', '{"per_second": 0}');
select pg_temp.start(:'visit', 31) \g /dev/null
select is(pg_temp.sent(), 30::bigint, 'an office has a day of its own');
delete from ridgeline.tenant_settings;
-- At the turn to winter time the day has twenty-five hours.
select is((automation.carrier_day('2026-11-01 12:00+00')).ends_at, '2026-11-02 08:00+00'::timestamptz, 'midnight is midnight in winter too');

-- 30023: T-MOBILE SAYS NO MORE
select pg_temp.speak_as('+15125550900', '{"per_second": 0}');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "first", "type": "create_task", "config": {"title": "Visit {{contact.first_name}}"}},
  {"key": "text", "type": "send_sms", "config": {"body": "Your visit, {{contact.first_name}}: {{steps.first.task_id}}", "purpose": "transactional"}}, {"key": "after", "type": "create_task", "config": {"title": "After"}}]', '[]', '{"exit_events": ["sms_received"]}') as told_first \gset
update public.contacts set first_name = 'Maria' where phone = '+15125552000';
select pg_temp.start(:'told_first', 1) \g /dev/null
select pg_temp.settle() \g /dev/null
create temp table told as select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM30023", "from": "+15125550900"}}'), c.payload ->> 'body' as body from automation.claim_steps('w', 1) as c;
select pg_temp.settle() \g /dev/null
select is((select count(*) from public.tasks where title = 'After'), 1::bigint, 'the run has gone on');
select automation.record_message_status('{"message_sid": "SM30023", "status": "undelivered", "error_code": "30023"}');
select is((select count(*) from public.tasks where title = 'T-Mobile takes no more texts today'), 1::bigint, 'the office is told');
select is(pg_temp.waiting(), 'daily_limit 1 Fri 00', 'what was refused is held for the next day');
select automation.record_message_status('{"message_sid": "SM30023", "status": "undelivered", "error_code": "30023"}');
select automation.record_message_status('{"message_sid": "SM30023", "status": "failed", "error_code": "30023"}');
select is(pg_temp.waiting(), 'daily_limit 1 Fri 00', 'once, however often that is told');
select pg_temp.start(:'offer', 3) \g /dev/null
select is(pg_temp.sent(), 0::bigint, 'offers wait');
select is(pg_temp.waiting(), 'daily_limit 4 Fri 00', 'until midnight Pacific');
select pg_temp.start(:'visit', 3) \g /dev/null
select is(pg_temp.sent(), 2::bigint, 'what serves somebody goes, but not to whom T-Mobile refused');
select is(pg_temp.waiting(), 'daily_limit 5 Fri 00', 'who waits as well');
select is((select state || ' ' || steps || ' ' || held_by from ridgeline.automation_queue where tenant_id = :'apex' and state = 'held'), 'held 5 daily_limit', 'the queue shows it');
update public.contacts set first_name = 'Mary' where phone = '+15125552000';
delete from ridgeline.scheduled_steps where lease_expires_at is not null;
select automation.set_clock('2026-06-05 07:30+00');
create temp table next_day as select c, c.payload ->> 'body' as body from automation.claim_steps('w', 1000) as c;
select is((select count(*) from next_day), 5::bigint, 'and after it all of them go');
select is((select string_agg(body, '; ') from next_day where body like 'Your visit, %'), (select replace(body, 'Maria', 'Mary') from told), 'with the words of then, and what the steps before it had come to');
-- Its run has that step alone.
select pg_temp.finish(n.c, 'succeeded', '{"result": {"provider_id": "SM30023b", "from": "+15125550900"}}') from next_day as n where n.body like 'Your visit, %' \g /dev/null
select pg_temp.settle() \g /dev/null
select is((select count(*) from public.tasks where title = 'After'), 1::bigint, 'what comes after it is not done twice');
select is((select string_agg(e.status || ' ' || (e.trigger_data ? 'sent_again_for'), ', ' order by e.seq) from ridgeline.workflow_executions as e where e.workflow_id = :'told_first'), 'completed false, completed true', 'as a run of its own');
select is((select string_agg((s.result_data ->> 'sent_again' = e.id::text)::text, '') from ridgeline.workflow_step_executions as s join ridgeline.workflow_executions as e on e.trigger_data ->> 'sent_again_for' = s.execution_id::text where s.provider_id = 'SM30023'), 'true', 'which the first one names');
select is((select count(*) from public.tasks where title = 'T-Mobile takes no more texts today'), 1::bigint, 'told once');
-- Refused each day: three times, and no more.
create function pg_temp.refused(sid text) returns text
  language plpgsql
  as $$
  declare
    c automation.claimed_step;
  begin
    perform automation.record_message_status(jsonb_build_object('message_sid', sid, 'status', 'undelivered', 'error_code', '30027'));
    perform automation.advance_clock('1 day');
    select s.* into c from automation.claim_steps('w', 1) as s;
    if c.step_id is null then
      return 'nothing';
    end if;
    perform pg_temp.finish(c, 'succeeded', jsonb_build_object('result', jsonb_build_object('provider_id', sid || 'x', 'from', '+15125550900')));
    return 'sent';
  end;
  $$;
delete from ridgeline.scheduled_steps;
select is(pg_temp.refused('SM30023b') || ', ' || pg_temp.refused('SM30023bx') || ', ' || pg_temp.refused('SM30023bxx'), 'sent, sent, nothing', 'three days, and then it is given up');
-- What happens while it waits.
select pg_temp.start(:'told_first', 1) \g /dev/null
select pg_temp.settle() \g /dev/null
create temp table told_again as select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM30023c", "from": "+15125550900"}}') from automation.claim_steps('w', 1) as c;
select pg_temp.settle() \g /dev/null
select automation.record_message_status('{"message_sid": "SM30023c", "status": "undelivered", "error_code": "30023"}');
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body) select :'apex', id, 'inbound', '+15125552000', '+15125550900', 'Never mind' from public.contacts where phone = '+15125552000' and tenant_id = :'apex';
select pg_temp.settle() \g /dev/null
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e where e.workflow_id = :'told_first' and e.seq > (select max(seq) from ridgeline.workflow_executions where workflow_id = :'visit') and e.trigger_data ? 'sent_again_for' and e.finished_at is not null and e.status = 'cancelled'), 'cancelled exit_event', 'an answer ends it as it would have ended the other');
-- Said at once, by the provider's answer: in its step, without an attempt.
delete from ridgeline.scheduled_steps;
delete from automation.sender_blocks;
select automation.set_clock('2026-06-10 17:00+00');
select pg_temp.start(:'told_first', 1) \g /dev/null
select pg_temp.settle() \g /dev/null
select is((select pg_temp.finish(c, 'retry', '{"retry_after_seconds": 60, "error": {"code": "telnyx_40016", "message": "no more today", "holds": "daily_limit"}}') from automation.claim_steps('w', 1) as c), 'waiting', 'it waits');
select is(pg_temp.waiting(), 'daily_limit 1 Thu 00', 'for the next day');
select is((select attempt from ridgeline.scheduled_steps), 0::smallint, 'as if it had not been tried');
select pg_temp.start(:'offer', 3) \g /dev/null
select is(pg_temp.sent(), 0::bigint, 'and so does marketing, which nobody has to be refused for');
select automation.set_clock('2026-06-11 07:30+00');
select is(pg_temp.sent(), 4::bigint, 'and the next day they go');
select * from finish();
rollback;

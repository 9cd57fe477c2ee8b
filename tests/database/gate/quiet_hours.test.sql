-- Nobody is texted at night where they are, by their number and by their address; what waits goes at the opening.
begin;
\ir ../foundation/story.psql
select plan(82);
set automation.quiet_hours = on;

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
update public.tenants set timezone = 'America/Chicago', address = '1 Main St, Austin' where id = :'apex';
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}", "purpose": "marketing", "expires_after": "30 days"}}]') as offer \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]') as reply \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Your code is 1234", "purpose": "transactional", "urgent": true}}]') as code \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"to": "{{tenant.phone}}", "body": "A new lead"}}]') as alert \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi", "purpose": "marketing"}}]') as mail \gset

-- What becomes of a text that is due at a moment: "sent", or when it goes, by the clock in a zone.
create function pg_temp.at(workflow uuid, moment text, phone text, zone text default 'America/Chicago', state text default null, contact_zone text default null) returns text
  language plpgsql
  as $$
declare
  contact uuid;
  run uuid;
  answer text;
begin
  perform automation.set_clock(moment::timestamptz);
  insert into public.contacts (tenant_id, first_name, phone, email, state, timezone)
  values ('00000000-0000-0000-0000-00000000000a', 'Maria', phone, 'maria@example.com', state, contact_zone) returning id into contact;
  run := (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact))).id;
  if exists (select from automation.claim_steps('w', 100)) then
    answer := 'sent';
  else
    select concat_ws(' ', e.status, e.error ->> 'code') into answer from ridgeline.workflow_step_executions as e where e.execution_id = run;
    select coalesce(answer, to_char(date_trunc('minute', s.run_at) at time zone zone, 'Dy HH24:MI'), '') || case when s.held ->> 'code' <> 'quiet_hours' then ' ' || (s.held ->> 'code') else '' end into answer
    from ridgeline.scheduled_steps as s where s.execution_id = run;
  end if;
  delete from ridgeline.scheduled_steps;
  return answer;
end;
$$;
-- The first ten minutes after an opening are marketing's to be spread over.
create function pg_temp.about(answer text) returns text
  language sql
  as $$ select regexp_replace(answer, '(\d\d):0\d', '\1:00') $$;

-- EVERYWHERE: 8 TO 21. Austin, a Wednesday.
select is(pg_temp.at(:'reply', '2026-06-03 12:59:59+00', '+15125550100'), 'Wed 08:00', 'a second before eight it waits for eight');
select is(pg_temp.at(:'reply', '2026-06-03 13:00:00+00', '+15125550100'), 'sent', 'at eight it goes');
select is(pg_temp.at(:'reply', '2026-06-04 01:58:59+00', '+15125550100'), 'sent', 'before nine in the evening too');
select is(pg_temp.at(:'reply', '2026-06-04 01:59:59+00', '+15125550100'), 'Thu 08:00', 'a second before nine is closing time: it would arrive after it');
select is(pg_temp.at(:'reply', '2026-06-04 02:00:00+00', '+15125550100'), 'Thu 08:00', 'so is nine');
select is(pg_temp.at(:'reply', '2026-06-04 03:30:00+00', '+15125550100'), 'Thu 08:00', 'a lead of half past ten is texted at eight');
select is(pg_temp.at(:'mail', '2026-06-04 03:30:00+00', '+15125550100'), 'sent', 'an email rings nobody''s bell');

-- STATES: Texas from nine, on Sundays from noon; Florida and Oklahoma until eight. Of marketing.
select is(pg_temp.about(pg_temp.at(:'offer', '2026-06-03 13:30+00', '+15125550100')), 'Wed 09:00', 'Texas opens at nine');
select is(pg_temp.at(:'offer', '2026-06-03 14:00+00', '+15125550100'), 'sent', 'then it goes');
select is(pg_temp.about(pg_temp.at(:'offer', '2026-06-07 02:30+00', '+15125550100')), 'Sun 12:00', 'on a Sunday at noon');
select is(pg_temp.about(pg_temp.at(:'offer', '2026-06-07 16:59+00', '+15125550100')), 'Sun 12:00', 'not a minute before');
select is(pg_temp.at(:'offer', '2026-06-07 17:00+00', '+15125550100'), 'sent', 'and not a minute later');
select is(pg_temp.at(:'reply', '2026-06-07 14:00+00', '+15125550100'), 'sent', 'what serves somebody goes on a Sunday morning');
select is(pg_temp.about(pg_temp.at(:'offer', '2026-06-04 00:30+00', '+13055550100', 'America/New_York')), 'Thu 08:00', 'Miami closes at eight');
select is(pg_temp.at(:'offer', '2026-06-03 23:30+00', '+13055550100', 'America/New_York'), 'sent', 'half an hour before it does not');
select is(pg_temp.about(pg_temp.at(:'offer', '2026-06-04 01:15+00', '+14055550100')), 'Thu 08:00', 'so does Oklahoma City');
select is(pg_temp.at(:'offer', '2026-06-04 00:30+00', '+12125550100', 'America/New_York'), 'sent', 'New York at half past eight is open');

-- NUMBER AGAINST ADDRESS: both must be open.
select is(pg_temp.at(:'reply', '2026-06-03 13:00+00', '+15125550100', 'America/Los_Angeles', 'CA'), 'Wed 08:00', 'a number of Austin that was ported to California: not before eight there');
select is(pg_temp.at(:'reply', '2026-06-04 03:00+00', '+15125550100', 'America/Los_Angeles', 'CA'), 'Thu 08:00', 'nor after nine in Austin');
select is(pg_temp.at(:'reply', '2026-06-04 01:00+00', '+15125550100', 'America/Los_Angeles', 'California'), 'sent', 'where both are open it goes');
select is(pg_temp.at(:'reply', '2026-06-03 13:30+00', '+13125550100', 'America/New_York', null, 'America/Los_Angeles'), 'Wed 11:00', 'a zone of the contact''s own counts as the address');
select is(pg_temp.about(pg_temp.at(:'offer', '2026-06-03 13:30+00', '+12125550100', 'America/Chicago', 'tx')), 'Wed 10:00', 'a New Yorker in Texas has the hours of Texas, which is open everywhere when El Paso is');
select is(pg_temp.at(:'reply', '2026-06-03 13:00+00', '+15125550100', 'America/Chicago', 'Nowhere', 'Mars/Olympus'), 'sent', 'an address that nobody understands says nothing');
select is(pg_temp.at(:'reply', '2026-06-03 12:30+00', '+18505550100', 'America/New_York'), 'sent', 'the most of an area code is in its zone');
select is(pg_temp.at(:'reply', '2026-06-03 12:30+00', '+18502350100', 'America/Chicago'), 'Wed 08:00', 'Panama City, of the same, an hour later');
select is(pg_temp.at(:'reply', '2026-06-03 14:30+00', '+12085550100', 'America/Los_Angeles'), 'Wed 08:00', 'Idaho has two zones: both must be open');

-- NOBODY KNOWS WHERE: all of the country, which is eleven to nine in the East.
select is(pg_temp.at(:'reply', '2026-06-03 14:59+00', '+18885550100', 'America/New_York'), 'Wed 11:00', 'a freephone number: when it is eight in the West');
select is(pg_temp.at(:'reply', '2026-06-03 15:00+00', '+18885550100', 'America/New_York'), 'sent', 'from eleven in the East');
select is(pg_temp.at(:'reply', '2026-06-04 00:58+00', '+18885550100', 'America/New_York'), 'sent', 'to nine in the East');
select is(pg_temp.at(:'reply', '2026-06-04 01:00+00', '+18885550100', 'America/New_York'), 'Thu 11:00', 'and no later');
select is(pg_temp.at(:'reply', '2026-06-03 14:59+00', '+18885550100', 'America/Chicago', 'TX'), 'sent', 'an address is enough');
update public.tenants set country = 'CA' where id = :'apex';
select is(pg_temp.at(:'reply', '2026-06-03 14:00+00', '+18885550100', 'America/Vancouver'), 'Wed 08:00', 'of an office in Canada all of Canada');
select is(pg_temp.at(:'reply', '2026-06-03 23:30+00', '+18885550100', 'America/St_Johns'), 'Thu 12:30', 'which is large');
update public.tenants set country = 'US' where id = :'apex';
update public.tenants set text_countries = '{GB}' where id = :'apex';
select is(pg_temp.at(:'reply', '2026-06-03 20:30+00', '+447911123456', 'Europe/London'), 'Thu 08:00', 'abroad it is night when it is night there');
select is(automation.country_zones('GB', 'Europe/London') @> '{Europe/London}', true, 'an office in Britain knows Britain''s zones');
select is(automation.country_zones('XX', 'Asia/Tokyo'), '{Asia/Tokyo}', 'and one that nothing is known of its own');

-- THE NIGHTS IN WHICH THE CLOCKS CHANGE: 8 March and 1 November 2026.
select is(pg_temp.at(:'reply', '2026-03-08 04:30+00', '+15125550100'), 'Sun 08:00', 'in the short night it waits for eight by the new clock');
select is((select a.opens_at from automation.next_open('{America/Chicago}', array[row('*', '{1,2,3,4,5,6,7}', '08:00', '21:00')::automation.hours_rule], '2026-03-08 04:30+00') as a),
  '2026-03-08 13:00+00', 'which is an hour earlier');
select is(pg_temp.at(:'reply', '2026-03-08 12:59+00', '+15125550100'), 'Sun 08:00', 'a minute before it is still quiet');
select is(pg_temp.at(:'reply', '2026-03-08 13:00+00', '+15125550100'), 'sent', 'then it goes');
select is((select a.opens_at from automation.next_open('{America/Chicago}', array[row('*', '{1,2,3,4,5,6,7}', '08:00', '21:00')::automation.hours_rule], '2026-11-01 03:30+00') as a),
  '2026-11-01 14:00+00', 'in the long night an hour later');
select is(pg_temp.at(:'reply', '2026-11-01 13:00+00', '+15125550100'), 'Sun 08:00', 'when it would have been eight the day before');
select is(pg_temp.at(:'reply', '2026-03-08 13:00+00', '+16025550100', 'America/Phoenix'), 'Sun 08:00', 'Phoenix changes no clocks');

select is(pg_temp.at(:'reply', '2026-03-08 02:30+00', '+15125550100'), 'sent', 'the evening before the short night is as long as ever');
select is(pg_temp.at(:'reply', '2026-03-09 02:30+00', '+15125550100'), 'Mon 08:00', 'the evening after it is over at nine by the new clock');
select is(pg_temp.at(:'reply', '2026-11-01 02:30+00', '+15125550100'), 'Sun 08:00', 'the evening before the long night is over at nine by the old clock');
select is(pg_temp.at(:'reply', '2026-11-02 02:30+00', '+15125550100'), 'sent', 'the evening after it an hour later');
select is(pg_temp.about(pg_temp.at(:'offer', '2026-03-08 16:30+00', '+15125550100')), 'Sun 12:00', 'noon of the Sundays of Texas is the new clock''s');
select is(pg_temp.at(:'offer', '2026-03-08 17:00+00', '+15125550100'), 'sent', 'in spring');
select is(pg_temp.about(pg_temp.at(:'offer', '2026-11-01 17:30+00', '+15125550100')), 'Sun 12:00', 'and in autumn');
select is(pg_temp.at(:'offer', '2026-11-01 18:00+00', '+15125550100'), 'sent', 'then it goes');

-- THE OFFICE'S OWN HOURS, within them.
update public.tenants set settings = '{"open_hours": {"from": "10:00", "to": "18:00", "days": ["mon", "tue", "wed", "thu", "fri"]}}' where id = :'apex';
select is(pg_temp.at(:'reply', '2026-06-05 23:30+00', '+15125550100'), 'Mon 10:00', 'an office may say that nothing goes at the week''s end');
select is(pg_temp.at(:'reply', '2026-06-03 15:00+00', '+15125550100'), 'sent', 'in its hours it goes');
update public.tenants set settings = '{"open_hours": {"from": "05:00", "to": "23:00"}}' where id = :'apex';
select is(pg_temp.at(:'reply', '2026-06-03 12:00+00', '+15125550100'), 'Wed 08:00', 'longer ones than are allowed change nothing');
update public.tenants set settings = '{"open_hours": {"from": "20:00", "to": "22:00", "days": ["sun"]}}' where id = :'apex';
select is(pg_temp.about(pg_temp.at(:'offer', '2026-06-03 13:00+00', '+13055550100', 'America/New_York')), ' no_open_hour', 'what leaves no hour waits until somebody changes it');
update public.tenants set settings = '{"open_hours": {"from": "noon", "to": 5, "days": "all"}}' where id = :'apex';
select is(pg_temp.at(:'reply', '2026-06-03 13:00+00', '+15125550100'), 'sent', 'what cannot be read is no hours');
update public.tenants set settings = '{}', phone = '+12125550199' where id = :'apex';

-- FOR THE OFFICE ITSELF, where the office is.
select is(pg_temp.at(:'alert', '2026-06-03 11:30+00', '+12125550100'), 'Wed 07:00', 'the office is woken at seven of its own clock, wherever its telephone was bought');
select is(pg_temp.at(:'alert', '2026-06-03 12:00+00', '+12125550100'), 'sent', 'not later');

-- A CODE THAT SOMEBODY WAITS FOR
select is(pg_temp.at(:'code', '2026-06-04 03:30+00', '+15125550161'), 'Thu 08:00', 'urgent alone wakes nobody');
select automation.set_clock('2026-06-04 03:25+00');
insert into ridgeline.messages (tenant_id, direction, from_number, body) values (:'apex', 'inbound', '+15125550162', 'Send me a code');
select is(pg_temp.at(:'code', '2026-06-04 03:30+00', '+15125550162'), 'sent', 'who asked for it five minutes ago gets it at night');
select is(pg_temp.at(:'code', '2026-06-04 03:36+00', '+15125550162'), 'Thu 08:00', 'who asked longer ago has gone to bed');
select is(pg_temp.at(:'reply', '2026-06-04 03:30+00', '+15125550162'), 'Thu 08:00', 'another text waits all the same');

-- WHAT IS OF NO USE IN THE MORNING
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Tonight only", "purpose": "transactional", "expires_after": "2 hours"}}, {"type": "create_task", "config": {"title": "Call"}}]') as tonight \gset
select is(pg_temp.at(:'tonight', '2026-06-04 03:30+00', '+15125550100'), 'skipped expired', 'is skipped now, not in the morning');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "See you", "purpose": "transactional", "expires_at": "{{contact.custom_fields.visit}}"}}]') as visit \gset
select is(pg_temp.at(:'visit', '2026-06-03 15:00+00', '+15125550100'), 'sent', 'without a date it is of use for ever');

-- THE PROVIDER is told how long it has.
create function pg_temp.validity(workflow uuid, moment text) returns text
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
  contact constant uuid := pg_temp.contact('00000000-0000-0000-0000-00000000000a');
begin
  perform automation.set_clock(moment::timestamptz);
  perform ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact));
  select * into claimed from automation.claim_steps('w', 10);
  delete from ridgeline.scheduled_steps;
  return claimed.payload ->> 'validity_seconds';
end;
$$;
select is(pg_temp.validity(:'reply', '2026-06-04 01:00+00'), '3600', 'an hour before closing, an hour');
select is(pg_temp.validity(:'tonight', '2026-06-03 15:00+00'), '7200', 'as long as it is of use');
select is(pg_temp.validity(:'reply', '2026-06-03 14:00+00'), null, 'longer than the provider would keep it anyway: nothing');

-- A RETRY THAT CROSSES CLOSING TIME
select automation.set_clock('2026-06-04 01:50+00');
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Maria', '+15125550100') returning id as maria \gset
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'maria'))).id as run \gset
create temp table refused as select pg_temp.finish(c, 'retry', '{"retry_after_seconds": 900, "error": {"code": "429"}}') as status from automation.claim_steps('w', 10) as c;
select is((select status from refused), 'waiting', 'refused ten minutes before closing');
select automation.set_clock('2026-06-04 02:10+00');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'the second attempt comes too late for the evening');
select is((select pg_temp.about(to_char(run_at at time zone 'America/Chicago', 'Dy HH24:MI')) from ridgeline.scheduled_steps where execution_id = :'run'), 'Thu 09:00', 'and waits for the morning');
select is((select array[status::text, input ->> 'body'] from ridgeline.workflow_step_executions where execution_id = :'run'), '{waiting,NULL}', 'without its text');
update public.contacts set first_name = 'Mary' where id = :'maria';
select automation.set_clock('2026-06-04 14:10+00');
select is(array[payload ->> 'body', attempt::text, right(idempotency_key, 2)], '{Hi Mary,2,-1}', 'in the morning it is written anew, under a key of its own') from automation.claim_steps('w', 10);
delete from ridgeline.scheduled_steps;
-- One that may have been accepted keeps its words and its key.
select automation.set_clock('2026-06-04 01:50+00');
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'maria'))).id as run \gset
create temp table unclear as select pg_temp.finish(c, 'ambiguous', '{"error": {"code": "timeout"}}') as status from automation.claim_steps('w', 10) as c;
select automation.set_clock('2026-06-04 02:10+00');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'an unclear one waits too');
update public.contacts set first_name = 'May' where id = :'maria';
select automation.set_clock('2026-06-04 14:10+00');
select is(array[payload ->> 'body', (idempotency_key = step_id::text)::text, (reconcile_since is not null)::text], '{Hi Mary,true,true}', 'with its words, its key and the question whether it went out')
from automation.claim_steps('w', 10);
delete from ridgeline.scheduled_steps;

-- GIVEN BACK by a dispatcher that stopped, before closing: whoever takes it up asks what time it is.
select automation.set_clock('2026-06-04 01:50+00');
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'maria'))).id as run \gset
create temp table given_back as select automation.release_steps(jsonb_agg(jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id, 'attempt_token', c.attempt_token))) as number from automation.claim_steps('w', 10) as c;
select is((select number from given_back), 1, 'one is given back ten minutes before closing');
select automation.set_clock('2026-06-04 02:10+00');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'the next dispatcher comes after it');
select is((select held ->> 'code' || ' ' || pg_temp.about(to_char(run_at at time zone 'America/Chicago', 'Dy HH24:MI')) from ridgeline.scheduled_steps where execution_id = :'run'), 'quiet_hours Thu 09:00', 'and it waits for the morning');
select automation.set_clock('2026-06-04 14:10+00');
select is((select count(*) from automation.claim_steps('w', 10)), 1::bigint, 'then it goes');
delete from ridgeline.scheduled_steps;

-- NO STAMPEDE: marketing that waited for an opening is spread over ten minutes.
select automation.set_clock('2026-06-04 03:30+00');
insert into public.contacts (tenant_id, phone) select :'apex', '+1512555' || lpad(n::text, 4, '0') from generate_series(3000, 3199) as n;
select count(ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', c.id))) from public.contacts as c where c.phone like '+15125553%' \g /dev/null
select is((select count(*) from automation.claim_steps('w', 1000)), 0::bigint, 'two hundred wait for the morning');
select is((select count(distinct date_trunc('minute', run_at)) from ridgeline.scheduled_steps), 10::bigint, 'spread over ten minutes');
select is((select array[state, steps::text, held_by, (held_why like '%America/Chicago%')::text] from ridgeline.automation_queue where tenant_id = :'apex'), '{held,200,quiet_hours,true}', 'the queue says why');
select automation.set_clock('2026-06-04 14:10+00');
select is((select count(*) from automation.claim_steps('w', 1000)), 200::bigint, 'after which all of them have gone');

select * from finish();
rollback;

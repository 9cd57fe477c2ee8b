-- Nobody gets more marketing in a day than the office said, and no number sends faster than it may; who asked does not wait behind a storm.
begin;
\ir ../foundation/story.psql
select plan(37);
set client_min_messages = error;

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing", "expires_after": "30 days"}}]') as spring \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Another", "purpose": "marketing", "expires_after": "30 days"}}]') as storm \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Skip me", "purpose": "marketing", "over_cap": "skip"}}]') as lesser \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Your visit", "purpose": "transactional"}}]') as visit \gset
create function pg_temp.start(workflow uuid, contact uuid) returns uuid
  language sql
  as $$ select (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact))).id $$;
create function pg_temp.sent() returns bigint
  language sql
  as $$ select count(*) from automation.claim_steps('w', 1000) $$;
create function pg_temp.held(run uuid) returns text
  language sql
  as $$ select coalesce((select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = run),
    (select concat_ws(' ', q.held ->> 'code', extract(epoch from q.run_at - automation.now())::integer) from ridgeline.scheduled_steps as q where q.execution_id = run)) $$;

-- WITHOUT A CAP
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select pg_temp.start(w.id, :'maria') from (values (:'spring'::uuid), (:'storm'), (:'spring'), (:'storm')) as w (id) \g /dev/null
select is(pg_temp.sent(), 4::bigint, 'an office that says nothing has no cap');
update public.tenants set settings = '{"marketing_cap": {"per_day": "many"}}' where id = :'apex';
select pg_temp.start(:'spring', :'maria') \g /dev/null
select is(pg_temp.sent(), 1::bigint, 'nor one that says nothing that can be read');
delete from ridgeline.scheduled_steps;

-- TWO A DAY, ACROSS WORKFLOWS
update public.tenants set settings = '{"marketing_cap": {"per_day": 2}}' where id = :'apex';
select pg_temp.contact(:'apex', 'Bob', '+15125550102') as bob \gset
select pg_temp.start(:'spring', :'bob') as one \gset
select pg_temp.start(:'storm', :'bob') as two \gset
select pg_temp.start(:'spring', :'bob') as three \gset
select is(pg_temp.sent(), 2::bigint, 'of three that are claimed together two go');
select is((select count(*) from (values (pg_temp.held(:'one')), (pg_temp.held(:'two')), (pg_temp.held(:'three'))) as v (s) where s = 'cap 86400'), 1::bigint, 'the third waits for a day');
select pg_temp.start(:'lesser', :'bob') as lesser_run \gset
select pg_temp.start(:'visit', :'bob') as visit_run \gset
select is(pg_temp.sent(), 1::bigint, 'of two more one goes');
select is(pg_temp.held(:'visit_run'), 'running', 'what serves him is not counted');
select is(pg_temp.held(:'lesser_run'), 'skipped over_cap', 'what says so is skipped, and says why');
select is((select counts_as from automation.skip_codes where code = 'over_cap'), 'refusal', 'which is no failure');
select automation.advance_clock('23 hours');
select is(pg_temp.sent(), 0::bigint, 'the next morning there is no room yet');
select automation.advance_clock('2 hours');
select is(pg_temp.sent(), 1::bigint, 'after a day there is');
select pg_temp.start(:'storm', :'bob') as four \gset
select pg_temp.start(:'storm', :'bob') as five \gset
select is(pg_temp.sent(), 1::bigint, 'the day goes on from there');
-- The cap changes while something is held.
update public.tenants set settings = '{"marketing_cap": {"per_day": 5}}' where id = :'apex';
select automation.advance_clock('24 hours');
select is(pg_temp.sent(), 1::bigint, 'a cap that is raised while it waits counts when it comes back');
update public.tenants set settings = '{"marketing_cap": {"per_day": 0}}' where id = :'apex';
select pg_temp.start(:'storm', :'bob') as none \gset
select is(pg_temp.sent(), 0::bigint, 'none a day is none');
select is(pg_temp.held(:'none'), 'cap 86400', 'and waits');
select pg_temp.contact(:'apex', 'New', '+15125550177') as newcomer \gset
select pg_temp.start(:'storm', :'newcomer') as not_even \gset
select is(pg_temp.sent(), 0::bigint, 'not even to somebody who has had nothing');
select is(pg_temp.held(:'not_even'), 'cap 86400', 'who waits like the others');
delete from ridgeline.scheduled_steps;
update public.tenants set settings = '{"marketing_cap": {"per_day": 1}}' where id = :'apex';
select pg_temp.contact(:'apex', 'Cy', '+15125550103') as cy \gset
select pg_temp.start(:'spring', :'cy') as cy_run \gset
create temp table tried as select pg_temp.finish(c, 'retry', '{"error": {"code": "429"}}') as status from automation.claim_steps('w', 10) as c;
select automation.advance_clock('1 hour');
select is(pg_temp.sent(), 1::bigint, 'an attempt that is repeated is not another message');
select pg_temp.contact(:'apex', 'Di', '+15125550104') as di \gset
select pg_temp.start(:'spring', :'di') \g /dev/null
select is(pg_temp.sent(), 1::bigint, 'somebody else is somebody else');
select is((ridgeline.test_workflow(:'spring', jsonb_build_object('contact_id', :'di')) #>> '{path,0,verdict}'), 'run', 'a dry run counts nobody');
select is((select count(*) from automation.marketing_sent where person = :'di'), 1::bigint, 'and is not counted');
delete from ridgeline.scheduled_steps;
update public.tenants set settings = '{}' where id = :'apex';

-- SEGMENTS
select is(automation.sms_segments(body), n, left(body, 12) || ' ' || length(body))
from (values (repeat('a', 160), 1), (repeat('a', 161), 2), (repeat('a', 306), 2), (repeat('a', 307), 3), (repeat('a', 159) || '€', 2), (repeat('a', 158) || '€', 1),
  (repeat('a', 69) || '’', 1), (repeat('a', 70) || '’', 2), (repeat('a', 69) || '🏠', 2), (repeat('a', 68) || '🏠', 1)) as v (body, n);

-- ONE SEGMENT A SECOND: a storm of three hundred, and a lead.
insert into ridgeline.senders (tenant_id, channel, address, limits, is_default) values (:'apex', 'sms', '+15125550900', '{"per_second": 1}', true);
insert into public.contacts (tenant_id, phone) select :'apex', '+1512555' || lpad(n::text, 4, '0') from generate_series(2000, 2299) as n;
select count(pg_temp.start(:'storm', c.id)) from public.contacts as c where c.phone like '+15125552%' \g /dev/null
select cmp_ok(pg_temp.sent(), '<=', 2::bigint, 'one goes at once');
select is((select count(distinct date_trunc('second', run_at)) from ridgeline.scheduled_steps where held ->> 'code' = 'rate') > 290, true, 'each of the others has its own place');
select is((select round(extract(epoch from max(run_at) - automation.now())) between 370 and 376 from ridgeline.scheduled_steps), true, 'three hundred at four fifths of a second take six minutes and a quarter');
select pg_temp.start(:'visit', :'maria') as lead \gset
select is(pg_temp.sent(), 1::bigint, 'a lead who asks now is answered now');
select pg_temp.start(:'visit', :'bob') as second_lead \gset
select is(pg_temp.sent(), 0::bigint, 'the next one');
select is((select extract(epoch from run_at - automation.now()) <= 6 from ridgeline.scheduled_steps where execution_id = :'second_lead'), true, 'within seconds');
select automation.advance_clock('10 minutes');
select cmp_ok(pg_temp.sent(), '>', 297::bigint, 'and all of them go in their places, without being asked again');
select * from finish();
rollback;

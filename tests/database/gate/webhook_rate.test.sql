-- An office's own n8n takes ten calls a second. Whatever is imported, no more reach it, none is lost, and a lead who has just come in is not behind them.
begin;
\ir ../foundation/story.psql
select plan(57);
set client_min_messages = error;
select automation.set_clock('2026-06-03 17:00+00');

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "call", "type": "webhook", "config": {"url": "https://N8N.apex.example:8443/hook?lead={{contact.id}}"}}]') as tell \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "call", "type": "webhook", "config": {"url": "https://hooks.zapier.example/1"}}]') as zap \gset
select pg_temp.workflow(:'blue', 'manual', '{}', '[{"key": "call", "type": "webhook", "config": {"url": "https://n8n.apex.example/hook"}}]') as blues \gset
insert into public.contacts (tenant_id, phone) select t.id, '+1512555' || lpad(n::text, 4, '0') from generate_series(2000, 2299) as n cross join (values (:'apex'::uuid), (:'blue')) as t (id);
create function pg_temp.start(workflow uuid, number integer) returns bigint
  language sql
  as $$ select count(ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', c.id)))
    from (select c.id from public.contacts as c join ridgeline.workflows as w on w.tenant_id = c.tenant_id where w.id = workflow order by phone limit number) as c $$;
create function pg_temp.sent() returns bigint
  language sql
  as $$ select count(*) from automation.claim_steps('w', 1000) $$;
create function pg_temp.waiting() returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', w.code, w.number, w.last), ', ' order by w.code)
    from (select q.held ->> 'code' as code, count(*) as number, ceil(extract(epoch from max(q.run_at) - automation.now())) as last
      from ridgeline.scheduled_steps as q where q.lease_expires_at is null group by 1) as w
  $$;
create function pg_temp.say(settings jsonb) returns void
  language sql
  as $$
    delete from ridgeline.scheduled_steps;
    delete from automation.sender_slots;
    delete from automation.sender_days;
    insert into ridgeline.tenant_settings (tenant_id, settings) select id, say.settings from public.tenants where name = 'Apex Roofing'
    on conflict on constraint tenant_settings_pkey do update set settings = excluded.settings;
  $$;

-- WHOM A URL CALLS
select is(automation.receiver_of(url), host, url)
from (values ('https://Hooks.Zapier.Example/1', 'hooks.zapier.example'), ('https://n8n.apex.example:8443', 'n8n.apex.example'), ('HTTPS://a.example.?x=/@b.example', 'a.example'),
  ('https://user:pw@a.example/x', 'a.example'), ('https://a.example#@b.example', 'a.example'), ('https://[::1]:80/x', '[::1]'), ('https://b.example/@a.example', 'b.example'), ('nowhere', null), (null, null)) as v (url, host);
select is(automation.receiver_limits(settings::jsonb, 'a.example') - 'hosts', limits::jsonb, settings)
from (values ('{}', '{}'), ('{"webhooks": {"per_second": 4}}', '{"per_second": 4}'), ('{"webhooks": {"per_second": 4, "per_day": 9, "hosts": {"A.example": {"per_second": 1}}}}', '{"per_second": 1, "per_day": 9}'),
  ('{"webhooks": {"per_second": 4, "hosts": {"a.example": 7, "b.example": {"per_second": 1}}}}', '{"per_second": 4}'), ('{"webhooks": 7}', '{}'), ('{"webhooks": {"hosts": [1]}}', '{}'), ('{"webhooks": null}', '{}')) as v (settings, limits);

-- WHERE NOBODY SAYS
select pg_temp.start(:'tell', 100) \g /dev/null
select is(pg_temp.sent(), 100::bigint, 'an office that says nothing calls as fast as it can');
select is((select count(*) from automation.sender_slots), 0::bigint, 'and nothing is written of it');
select pg_temp.say('{"marketing_cap": {"per_day": 0}, "webhooks": {"per_second": "fast", "per_day": "many"}}');
select pg_temp.start(:'tell', 100) \g /dev/null
select is(pg_temp.sent(), 100::bigint, 'nor has one a limit that says nothing that can be read');

-- A STORM, AND A LEAD
select pg_temp.say('{"webhooks": {"per_second": 10}}');
select pg_temp.start(:'tell', 300) \g /dev/null
select cmp_ok(pg_temp.sent(), '<=', 9::bigint, 'of three hundred those of this second go');
select is(pg_temp.waiting(), 'rate 291 38', 'each of the others has its own place at four fifths of ten a second');
select is((select count(distinct run_at) from ridgeline.scheduled_steps where held ->> 'code' = 'rate'), 291::bigint, 'of its own');
select is((select held ->> 'why' from ridgeline.scheduled_steps where held is not null limit 1), 'n8n.apex.example is called as often as it may be', 'and says why');
select is((select sum(attempt) from ridgeline.scheduled_steps where held is not null), 0::bigint, 'without an attempt');
select pg_temp.start(:'zap', 30) \g /dev/null
select is(pg_temp.sent(), 9::bigint, 'another receiver has places of its own');
select pg_temp.start(:'blues', 50) \g /dev/null
select is(pg_temp.sent(), 50::bigint, 'another office has them too');
select automation.advance_clock('2 seconds');
select pg_temp.sent() \g /dev/null
select pg_temp.start(:'tell', 1) \g /dev/null
select is(pg_temp.sent(), 1::bigint, 'a lead who comes in now is told of now, by the same workflow');
select pg_temp.start(:'tell', 1) \g /dev/null
select pg_temp.start(:'tell', 1) \g /dev/null
select pg_temp.start(:'tell', 1) \g /dev/null
select pg_temp.sent() \g /dev/null
select is((select max(run_at) - automation.now() <= interval '3 seconds' from ridgeline.scheduled_steps join ridgeline.workflow_executions as e on e.id = execution_id
  where held is not null and e.created_at = automation.now()), true, 'and the next ones within seconds');
select automation.advance_clock('1 minute');
select count(*) as places from ridgeline.scheduled_steps where held ->> 'code' = 'rate' \gset
select is(pg_temp.sent(), :'places'::bigint, 'all of them go in their places');
select is(pg_temp.waiting(), null, 'without being asked again, and none is left');

-- WHAT HAPPENS MEANWHILE
select pg_temp.say('{"webhooks": {"per_second": 1}}');
select pg_temp.start(:'tell', 3) \g /dev/null
select is(pg_temp.sent(), 2::bigint, 'one waits');
select ridgeline.cancel_execution(q.execution_id) from ridgeline.scheduled_steps as q where q.held ->> 'code' = 'rate' \g /dev/null
select automation.advance_clock('10 seconds');
select is(pg_temp.sent(), 0::bigint, 'a run that was cancelled meanwhile calls nobody');
-- What its receiver may have acted on keeps its id and its words, however often it is held.
select pg_temp.say('{}');
select pg_temp.start(:'tell', 1) \g /dev/null
create temp table first as select c.idempotency_key, c.payload, pg_temp.finish(c, 'retry', '{"error": {"code": "webhook_500"}}') from automation.claim_steps('w', 1000) as c;
update ridgeline.tenant_settings set settings = '{"webhooks": {"per_second": 1}}' where tenant_id = :'apex';
select pg_temp.start(:'tell', 3) \g /dev/null
select pg_temp.sent() \g /dev/null
delete from ridgeline.scheduled_steps where attempt = 0 or lease_expires_at is not null;
select automation.advance_clock('1 minute');
update automation.sender_slots set free_at = automation.now() + interval '5 seconds';
select is(pg_temp.sent(), 0::bigint, 'an attempt that is repeated needs room like any other');
select is(pg_temp.waiting(), 'rate 1 5', 'and waits for it');
select automation.advance_clock('6 seconds');
select is((select row(c.idempotency_key, c.payload)::text from automation.claim_steps('w', 1000) as c), (select row(f.idempotency_key, f.payload)::text from first as f), 'under the id it had, with the words it had');
-- Another claim counts this receiver right now: nobody waits for it (two sessions: sessions.test.ts).

-- A DAY'S WORTH
select pg_temp.say('{"webhooks": {"per_day": 20, "hosts": {"n8n.APEX.example": {"per_day": 40}}}}');
select automation.set_clock('2026-06-04 17:00+00');
select pg_temp.start(:'tell', 50) \g /dev/null
select is(pg_temp.sent(), 32::bigint, 'a storm has four fifths of the day');
select is((select min(to_char(run_at at time zone 'America/Los_Angeles', 'Dy HH24')) from ridgeline.scheduled_steps where held ->> 'code' = 'daily_limit'), 'Fri 00', 'the rest waits for the next one');
select automation.advance_clock('1 minute');
select pg_temp.start(:'tell', 10) \g /dev/null
select is(pg_temp.sent(), 8::bigint, 'leads have the rest');
select pg_temp.start(:'zap', 20) \g /dev/null
select is(pg_temp.sent(), 16::bigint, 'a host that is not named has what is said of all');
select automation.set_clock('2026-06-05 07:30+00');
select is(pg_temp.sent(), 24::bigint, 'the next day those go');

-- A RECEIVER THAT WANTS NO MORE FOR A WHILE
select pg_temp.say('{}');
select automation.set_clock('2026-06-08 17:00+00');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "call", "type": "webhook", "config": {"url": "https://n8n.apex.example/other"}}]') as other \gset
create function pg_temp.refused(more jsonb) returns bigint
  language sql
  as $$
    select count(pg_temp.finish(c, 'retry', jsonb_build_object('error', '{"code": "webhook_http_429", "message": "", "holds": "receiver"}'::jsonb) || more))
    from automation.claim_steps('w', 1000) as c
  $$;
select pg_temp.start(:'tell', 1) \g /dev/null
select is(pg_temp.refused('{"retry_after_seconds": 30}'), 1::bigint, 'a receiver asks to be left alone for half a minute');
insert into automation.receiver_rests values (:'apex', 'hooks.zapier.example', automation.now() - interval '1 second');
select pg_temp.start(:'other', 200), pg_temp.start(:'zap', 5), pg_temp.start(:'blues', 5) \g /dev/null
select is(pg_temp.sent(), 10::bigint, 'no workflow of the office calls it; others are called, and by others it is');
select is((select count(*) from ridgeline.scheduled_steps where held ->> 'code' = 'receiver_busy' and attempt = 0), 200::bigint, 'what waits has made no attempt');
select is((select held ->> 'why' from ridgeline.scheduled_steps where held is not null limit 1), 'n8n.apex.example asked not to be called for a while (429)', 'and says why');
select is((select min(run_at) - automation.now() >= '30 seconds' and max(run_at) - automation.now() between '50 seconds' and '60 seconds' from ridgeline.scheduled_steps where held is not null),
  true, 'it comes back spread over as long again');
select is(ridgeline.test_workflow(:'other', jsonb_build_object('contact_id', (select id from public.contacts where tenant_id = :'apex' limit 1))) #>> '{path,0,verdict}', 'run', 'a dry run is not held');
select automation.advance_clock('31 seconds');
select cmp_ok(pg_temp.sent(), '<', 100::bigint, 'a second later some go');
select automation.advance_clock('30 seconds');
select pg_temp.sent() \g /dev/null
select is(pg_temp.waiting(), null, 'then all have gone');
select pg_temp.start(:'tell', 1) \g /dev/null
select pg_temp.refused('{"retry_after_seconds": 86400}'), automation.advance_clock('61 minutes') \g /dev/null
select pg_temp.start(:'other', 1) \g /dev/null
select is(pg_temp.sent(), 1::bigint, 'others wait for an hour at most');
delete from ridgeline.scheduled_steps;
select pg_temp.start(:'tell', 1) \g /dev/null
select pg_temp.refused('{}') \g /dev/null
select pg_temp.start(:'other', 1) \g /dev/null
select is(pg_temp.sent(), 1::bigint, 'one that does not say how long holds up nobody else');
select pg_temp.start(:'tell', 1) \g /dev/null
select pg_temp.refused('{"retry_after_seconds": 30, "error": {"code": "webhook_http_503", "message": ""}}') \g /dev/null
select pg_temp.start(:'other', 1) \g /dev/null
select is(pg_temp.sent(), 1::bigint, 'nor does what is wrong with one address');
-- Its rate is asked for as well, when it has rested.
select pg_temp.say('{"webhooks": {"per_second": 2}}');
select pg_temp.start(:'tell', 1) \g /dev/null
select pg_temp.refused('{"retry_after_seconds": 10}') \g /dev/null
select pg_temp.start(:'other', 40) \g /dev/null
select pg_temp.sent() \g /dev/null
select is((select max(free_at) <= automation.now() + interval '1 second' from automation.sender_slots), true, 'what waits takes no place meanwhile');
select automation.advance_clock('21 seconds');
select cmp_ok(pg_temp.sent(), '<=', 3::bigint, 'what has waited has no more room than its rate');
select is((select count(distinct code) || ' ' || min(code) from (select held ->> 'code' as code from ridgeline.scheduled_steps where held is not null) as h), '1 rate', 'and its own place from then on');
select pg_temp.say('{}');
select pg_temp.start(:'tell', 1) \g /dev/null
insert into automation.receiver_rests values (:'apex', 'gone.example', automation.now() - interval '1 second');
select pg_temp.refused('{"retry_after_seconds": 5}') \g /dev/null
select is((select count(*) from automation.receiver_rests where tenant_id = :'apex'), 1::bigint, 'and what is over is forgotten');
-- A dry run asks nobody for a place.
select is(ridgeline.test_workflow(:'tell', jsonb_build_object('contact_id', (select id from public.contacts where tenant_id = :'apex' limit 1))) #>> '{path,0,verdict}', 'run', 'a dry run is not held');
-- Rows of an office that is gone go as well.
select is((select array_agg(t.relation::text) @> '{automation.sender_slots,automation.sender_days}' from automation.tenant_tables() as t), true, 'and what was counted goes with the office');
select * from finish();
rollback;

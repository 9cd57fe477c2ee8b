-- A new office is asked whom its offers may go to; till it has said, they wait. Who sent before there was the question goes on.
begin;
\ir ../foundation/story.psql
select plan(26);
set client_min_messages = error;
update automation.settings set value = '-infinity' where name = 'consent_asked_since';

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex', 'owner') as olga \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
insert into ridgeline.senders (tenant_id, channel, address, registration, limits) values (:'apex', 'sms', '+15125550900', 'registered', '{"per_second": 0}');
create function pg_temp.start(workflow uuid) returns uuid
  language sql
  as $$ select (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', (select id from public.contacts where first_name = 'Maria')))).id $$;
create function pg_temp.claimed() returns bigint
  language sql
  as $$ select count(*) from automation.claim_steps('w', 100) $$;
create function pg_temp.state(run uuid) returns text
  language sql
  as $$ select coalesce((select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = run and s.step_key = 'text'),
    (select concat_ws(' ', 'held', q.held ->> 'code', q.run_at) from ridgeline.scheduled_steps as q where q.execution_id = run)) $$;

-- ASKED AT PUBLISHING
select is(pg_temp.findings(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing"}}]'), 'warning consent_unsaid steps[0]', 'an offer is published with a word about it');
select is(pg_temp.findings(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]'), null, 'what serves somebody needs no answer');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing"}}]') as offer \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Your visit", "purpose": "transactional"}}]') as visit \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hello"}}]') as unsaid \gset

-- IT WAITS
select pg_temp.start(:'offer') as offer_run \gset
select pg_temp.start(:'unsaid') as unsaid_run \gset
select pg_temp.start(:'visit') as visit_run \gset
select is(pg_temp.claimed(), 1::bigint, 'one of three goes');
select is(pg_temp.state(:'visit_run'), 'running', 'what she asked for');
select is(pg_temp.state(:'offer_run'), 'held consent_unsaid infinity', 'an offer waits without a date');
select is(pg_temp.state(:'unsaid_run'), 'held consent_unsaid infinity', 'so does what does not say what it is');
select is((select count(*) from public.tasks where tenant_id = :'apex' and title = 'Offers wait: who may get them?'), 1::bigint, 'the office is asked, once');
select is(ridgeline.test_workflow(:'offer', jsonb_build_object('contact_id', :'maria')) #>> '{path,0,held,code}', 'consent_unsaid', 'a dry run says that it would wait');

-- WHO ANSWERS
select pg_temp.sign_in(:'sam');
select alike(pg_temp.error_of($$select ridgeline.decide_consent('recorded_optout_only')$$), '42501 %', 'not every member');
select pg_temp.sign_in(:'olga');
select alike(pg_temp.error_of($$select ridgeline.decide_consent('yes')$$), '22023 policy: %', 'not with anything');
select alike(pg_temp.error_of(format($$select ridgeline.decide_consent('required', %L)$$, :'blue')), 'PT404 %', 'not for another office');
select is(ridgeline.decide_consent('required'), 2, 'the owner says that consent is needed, and two go on');
select pg_temp.sign_out();
select automation.advance_clock('5 seconds');
select is(pg_temp.claimed(), 0::bigint, 'to nobody who has not agreed');
select is(pg_temp.state(:'offer_run'), 'skipped no_consent', 'which is said');
select pg_temp.sign_in(:'olga');
select is(ridgeline.decide_consent('recorded_optout_only'), 0, 'she may say it again');
select pg_temp.sign_out();
select is((select settings ->> 'consent' from ridgeline.tenant_settings where tenant_id = :'apex'), 'recorded_optout_only', 'it is a setting like any other');
select pg_temp.start(:'offer') as later \gset
select is(pg_temp.claimed(), 1::bigint, 'from now on offers go to whoever has not opted out');
select is(pg_temp.findings(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing"}}]'), null, 'and publishing says nothing more');
delete from ridgeline.scheduled_steps;

-- SAID IN THE CRM'S OWN SETTINGS, which nobody tells the engine of: the tick finds it.
delete from ridgeline.tenant_settings;
select pg_temp.start(:'offer') as waiting \gset
select is(pg_temp.claimed(), 0::bigint, 'asked again');
select automation.tick() \g /dev/null
select is(pg_temp.state(:'waiting'), 'held consent_unsaid infinity', 'a tick alone answers nothing');
update public.tenants set settings = '{"consent": "recorded_optout_only"}' where id = :'apex';
select automation.tick() \g /dev/null
select is(pg_temp.claimed(), 1::bigint, 'once it is said there it goes');
select is((select count(*) from automation.undecided), 0::bigint, 'and nobody is asked any more');
delete from ridgeline.scheduled_steps;

-- AN UPGRADE: who had workflows on before there was the question goes on; who comes later is asked.
update public.tenants set settings = '{}' where id = :'apex';
update automation.settings set value = (automation.now() + interval '1 hour')::text where name = 'consent_asked_since';
select automation.advance_clock('2 hours');
select pg_temp.start(:'offer') as upgraded \gset
select is(pg_temp.claimed(), 1::bigint, 'nothing falls silent');
select pg_temp.contact(:'blue', 'Ann', '+15125550102') as ann \gset
select pg_temp.workflow(:'blue', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing"}}]') as blue_offer \gset
select (ridgeline.execute_workflow(:'blue_offer', jsonb_build_object('contact_id', :'ann'))).id as blue_run \gset
select is(pg_temp.claimed(), 0::bigint, 'the new office');
select is(pg_temp.state(:'blue_run'), 'held consent_unsaid infinity', 'is asked');
select is(automation.consent_policy(:'apex', '{"consent": "whatever"}'), 'required', 'what nobody understands is taken for the stricter');
select * from finish();
rollback;

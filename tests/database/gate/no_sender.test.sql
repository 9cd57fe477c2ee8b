-- Who has nobody to speak as fails nothing: messages wait, somebody is told, and they go when there is a sender.
begin;
\ir ../foundation/story.psql
select plan(24);
set client_min_messages = error;
update automation.settings set value = 'single_tenant' where name = 'environment_serves';

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}", "purpose": "marketing"}},
  {"key": "call", "type": "create_task", "config": {"title": "Call"}}]') as greet \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "mail", "type": "send_email", "config": {"subject": "Hi", "text": "Hi", "purpose": "transactional"}}]') as mail \gset
create function pg_temp.start(workflow uuid) returns uuid
  language sql
  as $$ select (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', (select id from public.contacts where first_name in ('Maria', 'Mary'))))).id $$;
create function pg_temp.held(run uuid) returns text
  language sql
  as $$ select concat_ws(' ', q.held ->> 'code', q.run_at, q.attempt) from ridgeline.scheduled_steps as q where q.execution_id = run $$;
create function pg_temp.claimed() returns text
  language sql
  as $$ select string_agg(coalesce(c.payload ->> 'body', c.payload ->> 'subject'), ', ' order by c.step_type) from automation.claim_steps('w', 100) as c $$;

-- PUBLISHING SAYS IT
select alike(pg_temp.findings(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]'), '%warning no_sender steps[0]%', 'of texts');
select alike(pg_temp.findings(:'apex', 'manual', '{}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi", "purpose": "transactional"}}]'), '%warning no_sender steps[0]%', 'and of emails');

-- IT WAITS
select pg_temp.start(:'greet') as run \gset
select is(pg_temp.claimed(), null, 'without a sender nothing goes');
select is(pg_temp.held(:'run'), 'no_sender infinity 0', 'it waits without a date and without an attempt');
select is((pg_temp.only_run(:'greet')).status, 'waiting', 'its run has not failed');
select is((select array[state, held_by] from ridgeline.automation_queue where tenant_id = :'apex'), '{held,no_sender}', 'the queue says for what');
select is((select count(*) from public.tasks where tenant_id = :'apex' and title = 'Messages wait: there is no sender for sms'), 1::bigint, 'and the office is told');
select pg_temp.start(:'greet') as second \gset
select is(pg_temp.claimed(), null, 'the next');
select is((select count(*) from public.tasks where tenant_id = :'apex'), 1::bigint, 'is told no second time that day');
select is(array[d ->> 'status', d ->> 'step'], '{waiting,text}', 'a dry run says that it would wait') from (select ridgeline.test_workflow(:'greet', jsonb_build_object('contact_id', :'maria')) -> 'ended' as d) as t;

-- ONE THAT IS NOT IN USE, OF ANOTHER, OR UNPROVEN
insert into ridgeline.senders (tenant_id, channel, address, is_active) values (:'apex', 'sms', '+15125550901', false);
insert into ridgeline.senders (tenant_id, channel, address, verified_at) values (:'apex', 'sms', '+15125550902', null);
insert into ridgeline.senders (tenant_id, channel, address) values (:'blue', 'sms', '+15125550903');
select is(pg_temp.claimed(), null, 'a sender that is nobody''s yet changes nothing');
select is(pg_temp.held(:'run'), 'no_sender infinity 0', 'it goes on waiting');

-- WHAT HAPPENED MEANWHILE COUNTS
select pg_temp.start(:'greet') as stopped \gset
select pg_temp.claimed() \g /dev/null
update public.contacts set first_name = 'Mary' where id = :'maria';
select automation.cancel_execution(:'stopped');
insert into ridgeline.senders (tenant_id, channel, address, limits) values (:'apex', 'sms', '+15125550900', '{"per_second": 0}');
select is(pg_temp.claimed(), 'Hi Mary', 'a sender: the first goes at once, written as things are now');
select automation.advance_clock('5 seconds');
select is(pg_temp.claimed(), 'Hi Mary', 'the second a second later, the cancelled one not at all');
select is((select count(*) from ridgeline.scheduled_steps where tenant_id = :'apex' and lease_expires_at is null), 0::bigint, 'nothing is left behind');
delete from ridgeline.scheduled_steps;

-- BEFORE ITS SECOND ATTEMPT THE SENDER IS GONE
select pg_temp.start(:'greet') as again \gset
create temp table refused as select pg_temp.finish(c, 'retry', '{"error": {"code": "429"}}') as status from automation.claim_steps('w', 10) as c;
delete from ridgeline.senders where tenant_id = :'apex' and is_active and verified_at is not null;
select automation.advance_clock('1 hour');
select is(pg_temp.claimed(), null, 'a retry without a sender');
select is(pg_temp.held(:'again'), 'no_sender infinity 1', 'waits too');
select automation.advance_clock('4 days');
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900');
select is(pg_temp.claimed(), null, 'four days later it is of no use');
select is((select concat_ws(' ', status, error ->> 'code') from ridgeline.workflow_step_executions where execution_id = :'again' and step_key = 'text'), 'skipped expired', 'and says so');

-- THE OTHER CHANNEL; AND THE ENVIRONMENT'S
select pg_temp.start(:'mail') as mail_run \gset
select is(pg_temp.claimed(), null, 'an email waits for an address, though there is a number');
select is(pg_temp.held(:'mail_run'), 'no_sender infinity 0', 'as it says');
update automation.settings set value = 'every_tenant' where name = 'environment_serves';
select is(pg_temp.claimed(), 'Hi', 'the environment''s serves from now on');

-- ONE THAT A STEP NAMES AND IS NOT THEIRS is no matter of waiting.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi", "from": "{{custom.number}}", "purpose": "transactional"}}]') as named \gset
select (ridgeline.execute_workflow(:'named', jsonb_build_object('contact_id', :'maria', 'custom', '{"number": "+15125550903"}'::jsonb))).id as named_run \gset
select is(pg_temp.claimed(), null, 'another office''s number');
select is((pg_temp.only_run(:'named')).error ->> 'code', 'sender_not_yours', 'is refused');
select * from finish();
rollback;

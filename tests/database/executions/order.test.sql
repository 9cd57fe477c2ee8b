-- What comes first is what was written first, in one transaction as between two: a lead that moves on while
-- its follow-up is being set up is not followed up.
begin;
\ir ../foundation/story.psql
select plan(9);

select pg_temp.tenant() as apex \gset

-- A lead is qualified at once by one workflow, and another follows up on those that were contacted.
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"type": "change_stage", "config": {"stage": "contacted"}}, {"type": "change_stage", "config": {"stage": "won"}}]') as qualify \gset
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "contacted"}', '[
  {"type": "send_sms", "delay": 60, "config": {"body": "Still interested?"}}]', '[]',
  '{"exit_events": [{"type": "stage_changed", "config": {"to": "won"}}]}') as follow_up \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.settle();
select pg_temp.settle();
select is((select stage from public.contacts where id = :'maria'), 'won', 'the lead was won by the time it was contacted');
select is((pg_temp.only_run(:'follow_up')).error ->> 'code', 'exit_event', 'what came after it had entered ends the follow-up');
select automation.advance_clock('2 hours');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'no text goes out');

-- The other way round it is a follow-up like any other.
update public.contacts set stage = 'won' where id = :'maria';
update public.contacts set stage = 'contacted' where id = :'maria';
select pg_temp.settle();
select is((pg_temp.only_run(:'follow_up')).status, 'waiting', 'what came before it had entered does not end it');

-- Two texts in one statement: the second ends what the first one started, and each does not end its own.
select pg_temp.workflow(:'apex', 'sms_received', '{}', '[{"type": "create_task", "delay": 60, "config": {"title": "Answer"}}]', '[]',
  '{"exit_events": ["sms_received"]}') as answering \gset
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
select :'apex', :'maria', 'inbound', '+15125550100', t from unnest('{One,Two}'::text[]) as t;
select pg_temp.settle();
select is((select string_agg(e.status::text, ', ' order by e.id) from ridgeline.workflow_executions as e where e.workflow_id = :'answering'),
  'cancelled, waiting', 'the second of two texts ends the run of the first, and its own goes on');

-- A wait hears what came since the step before it, and nothing older.
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "wait", "key": "first", "config": {"event": "call_missed", "timeout": "1 day"}},
  {"type": "create_task", "key": "task", "config": {"title": "Rang"}},
  {"type": "wait", "key": "second", "config": {"event": "call_missed", "timeout": "1 day"}}]') as ringing \gset
select (ridgeline.execute_workflow(:'ringing', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select pg_temp.settle();
insert into ridgeline.calls (tenant_id, contact_id, direction, from_number, status)
values (:'apex', :'maria', 'inbound', '+15125550100', 'missed');
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'first, task, second waiting', 'one call is not two: the second wait waits for another');
insert into ridgeline.calls (tenant_id, contact_id, direction, from_number, status)
values (:'apex', :'maria', 'inbound', '+15125550100', 'missed');
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'first, task, second', 'which comes');

-- A call from before the run is none of its business.
insert into ridgeline.calls (tenant_id, contact_id, direction, from_number, status)
values (:'apex', :'maria', 'inbound', '+15125550100', 'missed');
select (ridgeline.execute_workflow(:'ringing', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'first waiting', 'an event that was written before the run, and not read yet, is not waited for');

-- A contact that was deleted and is there again under its id starts afresh.
insert into public.contacts (tenant_id, id, first_name) values (:'apex', '00000000-0000-4000-8000-00000000c0de', 'Ann');
update public.contacts set stage = 'contacted' where first_name = 'Ann';
delete from public.contacts where first_name = 'Ann';
insert into public.contacts (tenant_id, id, first_name) values (:'apex', '00000000-0000-4000-8000-00000000c0de', 'Ann');
update ridgeline.workflows set is_active = false where id = :'qualify';
update public.contacts set stage = 'contacted' where first_name = 'Ann';
select automation.run_signals();
select is((select string_agg(e.status::text, ', ' order by e.id) from ridgeline.workflow_executions as e
  where e.workflow_id = :'follow_up' and e.record_id = '00000000-0000-4000-8000-00000000c0de'), 'cancelled, waiting',
  'its deletion ends the runs from before, not those from after');
select * from finish();
rollback;

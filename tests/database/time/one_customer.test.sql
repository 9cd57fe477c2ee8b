-- A customer with many visits: when they are moved, each run is told of its own visit and of no other.
begin;
\ir ../foundation/story.psql
select plan(9);

insert into public.tenants (id, name, timezone) values ('00000000-0000-0000-0000-00000000000a', 'Apex Roofing', 'America/Chicago');
\set apex '00000000-0000-0000-0000-00000000000a'
select automation.set_clock('2026-05-01T12:00:00Z');

select pg_temp.workflow(:'apex', 'project_created', '{}', '[
  {"key": "day", "type": "wait", "config": {"until": "{{project.appointment_at}}", "offset": "-1 day", "follow": true, "if_missing": "wait", "if_past": "skip"}},
  {"type": "create_task", "config": {"title": "tomorrow"}}]', '[]', '{"exit_events": ["project_won"]}') as visits \gset
-- About the customer and none of the projects: any of them ends it.
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "wait", "config": {"days": 30}}, {"type": "create_task", "config": {"title": "Still there?"}}]', '[]',
  '{"exit_events": ["project_won"]}') as welcome \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
insert into public.projects (tenant_id, contact_id, name, appointment_at)
select :'apex', :'maria', 'Unit ' || n, '2026-05-20T15:00:00Z' from generate_series(1, 30) as n;
select pg_temp.settle();

create function pg_temp.waiting(day text) returns bigint
  language sql
  as $$ select count(*) from ridgeline.scheduled_steps as s where s.step_key = 'day' and s.run_at::date = day::date $$;
select is(pg_temp.waiting('2026-05-19'), 30::bigint, 'thirty visits of one customer');

update public.projects set appointment_at = '2026-05-25T15:00:00Z' where name like 'Unit 1%';
select is((select count(*) from automation.signals), 11::bigint, 'eleven of them are moved');
select is(
  (select max((select count(*) from automation.open_runs(s))) from automation.signals as s), 1::bigint,
  'each is asked of one run, not of all that the customer has');
select is(
  (select max((select count(*) from automation.unread_signals(e))) from ridgeline.workflow_executions as e), 1::bigint,
  'and a run is told of one');
select pg_temp.settle();
select is(array[pg_temp.waiting('2026-05-19'), pg_temp.waiting('2026-05-24')], array[19, 11]::bigint[], 'those wait for their new day');

-- One is won: its run ends, and the one about the customer; the other visits are still to come.
update public.projects set status = 'won', pipeline_stage = 'won' where name = 'Unit 30';
select pg_temp.settle();
select is((select status::text from pg_temp.only_run(:'welcome')), 'cancelled', 'a run about the customer ends with any project of theirs');
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'visits' and status = 'cancelled'), 1::bigint, 'and the run of that project');
select is((select count(*) from ridgeline.scheduled_steps), 29::bigint, 'those of the others wait on');

-- What a customer writes concerns every run of theirs, one about an earlier text as well.
select pg_temp.workflow(:'apex', 'sms_received', '{}', '[{"type": "wait", "config": {"days": 1}}, {"type": "create_task", "config": {"title": "Answer"}}]',
  '[]', '{"exit_events": ["sms_received"]}') as answering \gset
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body)
values (:'apex', :'maria', 'inbound', '+15125550100', '+15125550199', 'Hello?');
select pg_temp.settle();
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body)
values (:'apex', :'maria', 'inbound', '+15125550100', '+15125550199', 'Anybody there?');
select pg_temp.settle();
select is((select string_agg(e.status::text || ' ' || e.entity, ', ' order by e.seq) from ridgeline.workflow_executions as e
  where e.workflow_id = :'answering'), 'cancelled message, waiting message', 'the second text ends the run of the first');

select * from finish();
rollback;

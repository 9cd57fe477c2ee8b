-- Loops that make new records, and machines that answer each other, come to an end early; somebody is told, and what
-- people and imports do is not slowed.
begin;
\ir ../foundation/story.psql
select plan(36);

select pg_temp.tenant() as apex \gset
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900');
update ridgeline.senders set limits = '{"per_second": 0}';
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
create function pg_temp.text_from(number text, body text default 'Hello') returns text
  language sql
  as $$
    select automation.receive_sms(jsonb_build_object(
      'message_sid', 'SM' || replace(gen_random_uuid()::text, '-', ''), 'from', number, 'to', '+15125550900', 'body', body))
  $$;
create function pg_temp.send_all() returns bigint
  language sql
  as $$
    with claimed as (select c from automation.claim_steps('w', 100) as c), finished as (
      select pg_temp.finish(c, 'succeeded', jsonb_build_object('result', jsonb_build_object('provider_id', gen_random_uuid()))) from claimed)
    select count(*) from finished
  $$;
create function pg_temp.failures(code text) returns bigint
  language sql
  as $$ select count(*) from ridgeline.automation_failures as f where f.code = failures.code $$;

-- A PROJECT THAT MAKES PROJECTS
select pg_temp.workflow(:'apex', 'project_created', '{}', '[
  {"type": "create_project", "config": {"name": "{{project.name}}a"}}, {"type": "create_project", "config": {"name": "{{project.name}}b"}}]') as rabbits \gset
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'p');
select pg_temp.settle();
select is((select count(*) from public.projects), 103::bigint, 'one project makes no more than its chain may: 51 runs of two each, and itself');
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'rabbits' and status = 'completed'), 51::bigint, 'fifty effects, and the first');
select is(pg_temp.failures('chain_budget_exceeded'), 1::bigint, 'the refusal is told once');
select is((select count(distinct root_id) from ridgeline.workflow_executions where root_id is not null), 1::bigint, 'they are one chain');
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'q');
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'rabbits' and status = 'completed'), 102::bigint, 'the next project is another');
update automation.settings set value = '3' where name = 'max_chain_executions';
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'r');
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'rabbits' and status = 'completed'), 106::bigint, 'the budget is a setting');
update automation.settings set value = '50' where name = 'max_chain_executions';

-- It comes round to itself in chain after chain: the fuse.
update automation.settings set value = '160' where name = 'workflow_fuse_per_hour';
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 's'), (:'apex', :'maria', 't'), (:'apex', :'maria', 'u');
select pg_temp.settle();
select cmp_ok((select count(*) from ridgeline.workflow_executions where workflow_id = :'rabbits' and fused and started_at is not null), '<=', 160::bigint,
  'above the fuse no run begins');
select cmp_ok((select count(*) from ridgeline.workflow_executions where workflow_id = :'rabbits' and fused and started_at is not null), '>', 120::bigint,
  'up to it they do');
select is(pg_temp.failures('workflow_held'), 1::bigint, 'which is a failure');
select is((select count(*) from public.tasks where title = 'Workflow "project_created" was stopped'), 1::bigint, 'and a task for the office, once');
select cmp_ok((select count(*) from ridgeline.scheduled_steps), '>', 0::bigint, 'the others wait');
select is(pg_temp.settle(), 0, 'whatever the tick does');
select is((select array_agg(distinct status::text) from ridgeline.workflow_executions where workflow_id = :'rabbits' and started_at is null and status <> 'failed'), '{pending}', 'as they are');
delete from automation.active_triggers where workflow_id = :'rabbits';
select cmp_ok(ridgeline.release_workflow(:'rabbits'), '>', 0, 'a person lets them go on');
select pg_temp.settle();
select is((select count(*) from ridgeline.scheduled_steps), 0::bigint, 'and none is lost');
select is(pg_temp.failures('workflow_held'), 0::bigint, 'the failure is over');

-- MACHINES THAT ANSWER
select pg_temp.workflow(:'apex', 'sms_received', '{}', '[{"type": "send_sms", "config": {"to": "{{trigger.record.from_number}}", "body": "Thanks, we will call you"}}]') as auto_reply \gset
create function pg_temp.machine(number text, times integer) returns bigint
  language plpgsql
  as $$
declare
  sent bigint := 0;
begin
  for n in 1..times loop
    perform pg_temp.text_from(number, 'I am driving');
    perform automation.advance_clock('2 seconds');
    sent := sent + pg_temp.send_all();
  end loop;
  return sent;
end;
$$;
select is(pg_temp.machine('+15125550177', 25), 3::bigint, 'a machine that answers gets three texts');
select is((select count(*) from public.tasks where title = 'Automatic answers to +15125550177 were stopped'), 1::bigint, 'the office is told, once');
select cmp_ok(pg_temp.failures('conversation_brake'), '>', 0::bigint, 'what was not sent is a failure');
select is(pg_temp.machine('+15125550178', 2), 2::bigint, 'somebody else is answered');
select automation.advance_clock('11 minutes');
select is(pg_temp.machine('+15125550177', 5), 3::bigint, 'later it is answered again');
select automation.advance_clock('11 minutes');
select pg_temp.machine('+15125550177', 5);
select automation.advance_clock('11 minutes');
select is(pg_temp.machine('+15125550177', 5), 1::bigint, 'up to ten a day');
select automation.advance_clock('25 hours');
update public.tenants set settings = '{"conversation_brake": {"texts": 5, "minutes": 60}}' where id = :'apex';
select is(pg_temp.machine('+15125550177', 8), 5::bigint, 'an office may say how many');
select automation.advance_clock('25 hours');
update public.tenants set settings = '{"conversation_brake": false}' where id = :'apex';
select is(pg_temp.machine('+15125550177', 12), 12::bigint, 'or none');
update public.tenants set settings = '{"conversation_brake": {"texts": "many", "minutes": null}}' where id = :'apex';
select automation.advance_clock('25 hours');
select is(pg_temp.machine('+15125550177', 5), 3::bigint, 'what is no number is no setting');

-- What has another reason goes out: a reminder, in the middle of it.
update public.tenants set text_strangers = true where id = :'apex';
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"to": "+15125550177", "body": "See you tomorrow"}}]') as reminder \gset
select ridgeline.execute_workflow(:'reminder', jsonb_build_object('contact_id', :'maria'));
select is(pg_temp.send_all(), 1::bigint, 'a reminder is no answer');

-- Robots that ring.
select pg_temp.workflow(:'apex', 'call_missed', '{}', '[{"type": "send_sms", "config": {"to": "{{trigger.record.from_number}}", "body": "Sorry we missed you"}}]') as text_back \gset
create function pg_temp.rings(number text, times integer) returns bigint
  language plpgsql
  as $$
declare
  sent bigint := 0;
begin
  for n in 1..times loop
    perform automation.record_call(jsonb_build_object('call_sid', 'CA' || gen_random_uuid(), 'from', number, 'to', '+15125550900', 'direction', 'inbound', 'status', 'no-answer'));
    perform automation.advance_clock('2 seconds');
    sent := sent + pg_temp.send_all();
  end loop;
  return sent;
end;
$$;
select is(pg_temp.rings('+15125550179', 9), 3::bigint, 'who rings again and again is texted three times');

-- A flood of strangers holds the workflow, and no lead is lost.
select pg_temp.workflow(:'apex', 'form_submitted', '{}', '[{"type": "create_task", "config": {"title": "Lead"}}]') as leads \gset
update automation.settings set value = '20' where name = 'workflow_fuse_per_hour';
insert into ridgeline.form_submissions (tenant_id, form) select :'apex', 'Free estimate' from generate_series(1, 30);
select pg_temp.settle();
select cmp_ok((select count(*) from public.tasks where title = 'Lead'), '<=', 20::bigint, 'a flood stops at the fuse');
select is((select count(*) from ridgeline.scheduled_steps as s join ridgeline.workflow_executions as e on e.id = s.execution_id where e.workflow_id = :'leads')
  + (select count(*) from public.tasks where title = 'Lead'), 30::bigint, 'nothing is lost');
select ridgeline.release_workflow(:'leads');
select pg_temp.settle();
select is((select count(*) from public.tasks where title = 'Lead'), 30::bigint, 'and goes on when somebody says so');

-- What people do is none of that.
update public.tenants set settings = '{}' where id = :'apex';
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "change_stage", "config": {"stage": "contacted"}}]') as welcome \gset
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "contacted"}', '[{"type": "create_task", "config": {"title": "Follow up"}}]') as follow_up \gset
insert into public.contacts (tenant_id) select :'apex' from generate_series(1, 100);
select pg_temp.settle();
select is((select count(*) from public.tasks where title = 'Follow up'), 100::bigint, 'an import whose workflow starts another goes through');
select is((select count(*) from ridgeline.workflow_executions where workflow_id in (:'welcome', :'follow_up') and fused), 0::bigint, 'and counts against no fuse');

-- An answer that comes at once goes on with the chain.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"to": "+15125550188", "body": "Hi"}}]') as first \gset
select (ridgeline.execute_workflow(:'first', jsonb_build_object('contact_id', :'maria'))).id as root \gset
select pg_temp.send_all();
update automation.settings set value = '2000' where name = 'workflow_fuse_per_hour';
select pg_temp.text_from('+15125550188');
select is((pg_temp.only_run(:'auto_reply')).root_id, :'root'::uuid, 'a quick answer belongs to the chain of what it answers');
select automation.advance_clock('1 hour');
select pg_temp.text_from('+15125550188');
select is((pg_temp.only_run(:'auto_reply')).root_id, null, 'a slow one begins its own');
select is(current_setting('automation.root', true), '', 'which does not outlive it');

-- PUBLISHING knows these shapes.
select alike(pg_temp.findings(:'apex', 'project_created', '{}', '[{"type": "create_project", "config": {"name": "{{project.name}}+"}}]'),
  '%warning cycle steps[0]%', 'a project that makes projects is told as a cycle');
select * from finish();
rollback;

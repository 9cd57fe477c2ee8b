-- One record's way through a workflow: order, delays, waits, skips, failures, and what messages say.
begin;
\ir ../foundation/story.psql
select plan(44);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
create function pg_temp.ledger(workflow uuid) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', s.step_key, s.status, s.error ->> 'code'), ', ' order by s.started_at, s.id)
    from ridgeline.workflow_step_executions as s
    where s.execution_id = (pg_temp.only_run(workflow)).id
  $$;
create function pg_temp.status(workflow uuid) returns text
  language sql
  as $$ select concat_ws(' ', e.status, e.current_step, e.error ->> 'step') from pg_temp.only_run(workflow) as e $$;

-- A failing step ends the run.
select pg_temp.workflow(:'apex', 'contact_created', '{"source": "bad"}',
  '[{"key": "first", "type": "create_task", "config": {"title": "Call"}},
    {"key": "breaks", "type": "assign_user", "config": {"user_id": "00000000-0000-4000-8000-0000000000ff"}},
    {"key": "never", "type": "create_task", "config": {"title": "Never"}}]') as failing \gset
insert into public.contacts (tenant_id, source) values (:'apex', 'bad');
select is(pg_temp.settle(), 2, 'two steps run');
select is(pg_temp.status(:'failing'), 'failed breaks', 'a failed step fails the execution, which says where');
select is(pg_temp.ledger(:'failing'), 'first completed, breaks failed step_failed', 'what ran before it stays done');
select is((select count(*) from public.tasks), 1::bigint, 'what comes after it does not run');
select is((select count(*) from ridgeline.scheduled_steps), 0::bigint, 'and nothing is left in the queue');
select is((ridgeline.retry_execution((pg_temp.only_run(:'failing')).id)).status::text, 'pending', 'it can be run again');
select pg_temp.settle();
select is((select count(*) from public.tasks), 1::bigint, 'from where it failed, not from the start');
update ridgeline.workflow_steps set continue_on_error = true where step_key = 'breaks';
select ridgeline.publish_workflow(:'failing');
insert into public.contacts (tenant_id, source) values (:'apex', 'bad');
select pg_temp.settle();
select is(pg_temp.ledger(:'failing'), 'first completed, breaks failed step_failed, never completed',
  'a step that may fail lets the next one run');
select is(pg_temp.status(:'failing'), 'completed', 'and the execution completes');
select is((select error -> 'message' from ridgeline.workflow_step_executions where status = 'failed'
  order by started_at desc limit 1), '"user_id: \"00000000-0000-4000-8000-0000000000ff\" is not a member of the tenant"', 'the ledger keeps why');
update ridgeline.workflows set is_active = false;

-- A half-done effect does not survive its step.
create function pg_temp.half() returns trigger language plpgsql
  as $$ begin raise exception 'the tag table is broken'; end; $$;
create trigger half after insert on public.contact_tags for each row execute function pg_temp.half();
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "add_tag", "config": {"tag": "half"}}]') as half \gset
select pg_temp.contact(:'apex', 'Half');
select pg_temp.settle();
select is(pg_temp.ledger(:'half'), 'step_1 failed step_failed', 'a step that fails halfway');
select is((select count(*) from public.tags), 0::bigint, 'leaves no half behind');
drop trigger half on public.contact_tags;
update ridgeline.workflows set is_active = false;

-- Order, delays, switched-off steps.
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"key": "now", "type": "create_task", "config": {"title": "now"}},
    {"key": "off", "type": "create_task", "config": {"title": "off"}, "enabled": false},
    {"key": "later", "type": "create_task", "config": {"title": "later"}, "delay": 60},
    {"key": "pause", "type": "wait", "config": {"days": 2}},
    {"key": "last", "type": "create_task", "config": {"title": "last"}, "delay": 30}]') as paced \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select is(pg_temp.status(:'paced'), 'pending now', 'enrolled, nothing has run');
select is(pg_temp.settle(), 1, 'the first step');
select is(pg_temp.status(:'paced'), 'waiting later', 'then it waits for the next; the one that is off is no step');
select is((select run_at - automation.now() from ridgeline.scheduled_steps), interval '60 minutes', 'for its delay');
select automation.advance_clock('59 minutes 59 seconds');
select is(pg_temp.settle(), 0, 'a second too early');
select automation.advance_clock('1 second');
select is(pg_temp.settle(), 2, 'on time: the step, and the start of the wait');
select is((select run_at - automation.now() from ridgeline.scheduled_steps), interval '2 days 30 minutes',
  'the delay counts from the end of the wait');
select automation.advance_clock('2 days 30 minutes');
select is(pg_temp.settle(), 1, 'the last');
select is(pg_temp.status(:'paced'), 'completed', 'the end');
select is(pg_temp.ledger(:'paced'), 'now completed, later completed, pause completed, last completed', 'the whole way');
select is((select finished_at - created_at from pg_temp.only_run(:'paced')), interval '2 days 01:30:00',
  'took as long as it should');
update ridgeline.workflows set is_active = false;

-- Waiting until a date.
select pg_temp.workflow(:'apex', 'project_created', '{}',
  '[{"type": "wait", "config": {"until": "{{project.appointment_at}}"}}, {"type": "create_task", "config": {"title": "met"}}]') as until \gset
insert into public.projects (tenant_id, appointment_at) values (:'apex', automation.now() + interval '3 days');
select pg_temp.settle();
select is((select run_at - automation.now() from ridgeline.scheduled_steps), interval '3 days', 'until an appointment');
insert into public.projects (tenant_id, appointment_at) values (:'apex', automation.now() - interval '3 days');
select pg_temp.settle();
select is(pg_temp.status(:'until'), 'completed', 'one that has passed is not waited for');
insert into public.projects (tenant_id, appointment_at) values (:'apex', null);
select pg_temp.settle();
select alike(error ->> 'message', 'until: there is no date to wait for', 'one that is missing does not mean now')
from pg_temp.only_run(:'until');
update ridgeline.workflows set is_active = false;

-- Conditions of a step.
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"key": "vip", "type": "create_task", "config": {"title": "vip"},
     "conditions": [{"field": "contact.lead_score", "operator": "greater_than", "value": 50}]},
    {"key": "all", "type": "create_task", "config": {"title": "all"}}]') as judged \gset
select pg_temp.contact(:'apex', 'Cold');
select pg_temp.settle();
select is(pg_temp.ledger(:'judged'), 'vip skipped conditions_not_met, all completed',
  'a step whose conditions do not hold is skipped, and says so');
select is(pg_temp.status(:'judged'), 'completed', 'which is no failure');
insert into public.contacts (tenant_id, lead_score) values (:'apex', 51);
select pg_temp.settle();
select is(pg_temp.ledger(:'judged'), 'vip completed, all completed', 'one whose conditions hold runs');
update ridgeline.workflows set is_active = false;

-- Snapshot and live.
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"key": "wait_a_day", "type": "create_task", "delay": 1440, "config": {
      "title": "{{trigger.contact.first_name}} is now {{contact.first_name}}",
      "description": "{{custom.roof}} {{tenant.name}} {{user.full_name}}"}},
    {"type": "create_task", "config": {"title": "{{steps.wait_a_day.status}} {{steps.wait_a_day.task_id}}"}}]') as views \gset
select pg_temp.member(:'apex') as sam \gset
insert into public.contacts (tenant_id, id, first_name, custom_fields, assigned_to)
values (:'apex', '00000000-0000-0000-0000-0000000000c1', 'Liz', '{"roof": "tile"}', :'sam');
update public.contacts set first_name = 'Elizabeth', custom_fields = '{"roof": "slate"}'
where id = '00000000-0000-0000-0000-0000000000c1';
update public.tenants set name = 'Apex & Sons';
select automation.advance_clock('1 day');
select pg_temp.settle();
select is(array[title, btrim(description)], array['Liz is now Elizabeth', 'tile Apex & Sons Sam Ortiz'],
  'trigger and custom are as they were; contact, tenant and user as they are')
from public.tasks where title like 'Liz%';
select is((select count(*) from public.tasks where title like 'completed ________-%'), 1::bigint,
  'a step can say what an earlier one did');
update ridgeline.workflows set is_active = false;

-- What goes out.
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "send_email", "config": {"purpose": "transactional", "subject": "For {{contact.first_name}}", "html": "<p>{{contact.first_name}}</p>{{{contact.first_name}}}", "text": "{{contact.first_name}}"}},
    {"type": "send_sms", "config": {"message": "Hi {{contact.first_name}} <3"}},
    {"type": "webhook", "config": {"url": "https://hooks.example/{{contact.id}}", "headers": {"x-name": "{{contact.first_name}}"}, "body": {"n": "{{contact.lead_score}}"}}},
    {"type": "webhook", "config": {"url": "https://hooks.example/", "method": "put"}}]') as sends \gset
insert into public.contacts (tenant_id, id, first_name, email, phone, lead_score)
values (:'apex', '00000000-0000-0000-0000-0000000000c2', '<b>Bo</b>', 'Bo Lee <bo@Example.com>', '(512) 555-0199', 7);
select is(payload, '{"to": ["Bo Lee <bo@Example.com>"], "subject": "For <b>Bo</b>", "text": "<b>Bo</b>",
    "html": "<p>&lt;b&gt;Bo&lt;/b&gt;</p><b>Bo</b>", "sender": {"provider": "resend"}}', 'HTML is escaped, subjects and texts are not')
from automation.claim_steps('w', 10) as c, lateral (select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "e1", "from": "us@apex.example"}}')) as f;
select is(array[direction, to_address, from_address, subject, status, provider_id, contact_id::text],
  array['outbound', 'bo@example.com', 'us@apex.example', 'For <b>Bo</b>', 'sent', 'e1', '00000000-0000-0000-0000-0000000000c2'],
  'the CRM shows the email') from ridgeline.emails;
select is(payload, '{"to": "+15125550199", "body": "Hi <b>Bo</b> <3", "sender": {"provider": "twilio"}}', 'a text to the normalised number')
from automation.claim_steps('w', 10) as c, lateral (select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM1"}}')) as f;
select is(array[direction, to_number, body, status, provider_id, execution_id::text],
  array['outbound', '+15125550199', 'Hi <b>Bo</b> <3', 'sent', 'SM1', (pg_temp.only_run(:'sends')).id::text],
  'the CRM shows the text') from ridgeline.messages;
select is(payload, '{"url": "https://hooks.example/00000000-0000-0000-0000-0000000000c2", "method": "POST", "headers": {"x-name": "<b>Bo</b>"}, "body": {"n": 7}}',
  'a webhook')
from automation.claim_steps('w', 10) as c, lateral (select pg_temp.finish(c, 'succeeded', '{"result": {"http_status": 200}}')) as f;
select is(array[payload ->> 'method', payload #>> '{body,type}', payload #>> '{body,data,contact,id}'],
  array['PUT', 'contact_created', '00000000-0000-0000-0000-0000000000c2'], 'one without a body sends the record')
from automation.claim_steps('w', 10) as c, lateral (select pg_temp.finish(c, 'succeeded')) as f;
select is(pg_temp.status(:'sends'), 'completed', 'all four were sent');
select is((select count(*) from ridgeline.workflow_step_executions where execution_id = (pg_temp.only_run(:'sends')).id
  and result_data is null and step_key <> 'step_4' or duration_ms < 0), 0::bigint, 'with their results');

-- Nobody to send to.
create function pg_temp.cannot(config text, phone text, email text) returns text
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'contact_created', '{}',
    ('[' || config || ', {"key": "after", "type": "create_task", "config": {"title": "after"}}]')::jsonb);
begin
  insert into public.contacts (tenant_id, phone, email)
  values ('00000000-0000-0000-0000-00000000000a', phone, email);
  perform automation.claim_steps('w', 10);
  perform pg_temp.settle();
  update ridgeline.workflows as w set is_active = false where w.id = workflow;
  return pg_temp.ledger(workflow);
end;
$$;
update ridgeline.workflows set is_active = false;
select is(pg_temp.cannot(config, phone, email), expected, expected || ' ' || config)
from (values
  ('{"type": "send_sms", "config": {"body": "x"}}', null, null, 'step_1 skipped no_recipient, after completed'),
  ('{"type": "send_sms", "config": {"body": "x"}}', '12', null, 'step_1 skipped invalid_recipient, after completed'),
  ('{"type": "send_email", "config": {"subject": "x", "text": "x"}}', null, ' ', 'step_1 skipped no_recipient, after completed'),
  ('{"type": "send_email", "config": {"subject": "x", "text": "x"}}', null, 'bo at home', 'step_1 skipped invalid_recipient, after completed'),
  ('{"type": "send_sms", "config": {"body": "{{contact.last_name}}"}}', '+15125550100', null, 'step_1 failed empty_body')
) as v (config, phone, email, expected);

select * from finish();
rollback;

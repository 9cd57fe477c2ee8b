-- The office's own people are told: by text or email, whoever is responsible for the contact by then. It is nobody's
-- marketing, and stands in no customer's history.
begin;
\ir ../foundation/story.psql
select plan(35);
set client_min_messages = error;

insert into public.tenants (id, name, timezone) values ('00000000-0000-0000-0000-00000000000a', 'Apex Roofing', 'America/Chicago');
select '00000000-0000-0000-0000-00000000000a' as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
insert into public.tenant_members (tenant_id, user_id, role, full_name, phone, email) values
  (:'apex', '0b000000-0000-4000-8000-000000000001', 'owner', 'Olivia "O" <Owner>', '(512) 555-0101', 'olivia@apex.example'),
  (:'apex', '0b000000-0000-4000-8000-000000000002', 'admin', 'Manuel', '512-555-0102', 'manuel@apex.example'),
  (:'apex', '0b000000-0000-4000-8000-000000000003', 'member', 'Sam Ortiz', '+1 512 555 0103', 'sam@apex.example'),
  (:'apex', '0b000000-0000-4000-8000-000000000004', 'member', 'Cory', null, '  '),
  (:'blue', '0b000000-0000-4000-8000-000000000005', 'owner', 'Lena', '+15125550105', 'lena@blue.example');
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900'), (:'apex', 'email', 'office@apex.example');
update ridgeline.senders set limits = '{"per_second": 0}';
insert into ridgeline.tenant_settings (tenant_id, settings) values (:'apex', '{"consent": "required", "marketing_cap": {"per_day": 1}}');
insert into public.contacts (tenant_id, id, first_name, phone, email, assigned_to)
values (:'apex', '0c000000-0000-4000-8000-000000000001', 'Maria', '+15125550142', 'maria@example.com', '0b000000-0000-4000-8000-000000000003');

-- What goes out, or why it does not.
create function pg_temp.tells(config text, more jsonb default '{}') returns text
  language plpgsql
  as $$
declare
  run uuid := (ridgeline.execute_workflow(
    pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'manual', '{}', jsonb_build_array(
      jsonb_build_object('key', 'tell', 'type', 'notify_member', 'config', '{"channel": "sms", "body": "Hi {{user.full_name}}: {{contact.first_name}}"}'::jsonb || config::jsonb))),
    '{"contact_id": "0c000000-0000-4000-8000-000000000001"}'::jsonb || more)).id;
  went text;
begin
  perform pg_temp.settle();
  select string_agg(concat_ws(' ', (c.claimed).step_type, (c.claimed).payload ->> 'to', (c.claimed).payload ->> 'subject',
      coalesce((c.claimed).payload ->> 'html', (c.claimed).payload ->> 'text', (c.claimed).payload ->> 'body'), (c.claimed).payload ->> 'unsubscribe'), ', ')
    into went
  from (select x as claimed, pg_temp.finish(x, 'succeeded') from automation.claim_steps('w', 10) as x offset 0) as c;
  return coalesce(went, (
    select concat_ws(' ', s.status, s.error ->> 'code', s.error ->> 'message') from ridgeline.workflow_step_executions as s where s.execution_id = run),
    (select q.held ->> 'code' || ' ' || to_char(q.run_at at time zone 'America/Chicago', 'HH24:MI') from ridgeline.scheduled_steps as q where q.execution_id = run));
end;
$$;
select automation.set_clock('2026-06-01 14:00 America/Chicago');

-- NOBODY IS TOLD
select is(pg_temp.tells(config), said, config)
from (values
  ('{"user_id": "{{contact.custom_fields.who}}"}', 'skipped no_member user_id: it is empty; there is nobody to tell'),
  ('{"user_id": "{{contact.first_name}}"}', 'skipped no_member user_id: "Maria" is not a member of the office'),
  ('{"user_id": "{{trigger.custom.who}}"}', 'skipped no_member user_id: it is empty; there is nobody to tell')) as v (config, said);
select is(pg_temp.tells('{"user_id": "{{custom.who}}"}', '{"custom": {"who": "0b000000-0000-4000-8000-000000000005"}}'),
  'skipped no_member user_id: "0b000000-0000-4000-8000-000000000005" is not a member of the office', 'another tenant''s owner');
select is(pg_temp.tells('{"user_id": "0b000000-0000-4000-8000-000000000004"}'), 'skipped no_recipient user_id: Cory has no phone', 'who has no number');
select is(pg_temp.tells('{"user_id": "0b000000-0000-4000-8000-000000000004", "channel": "email", "subject": "x"}'), 'skipped no_recipient user_id: Cory has no email', 'or no address');
select is((select count(*) from ridgeline.automation_failures where code in ('no_member', 'no_recipient')), 6::bigint, 'the office sees each of them');

-- SOMEBODY IS
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'send_sms +15125550103 Hi Sam Ortiz: Maria', 'whoever is responsible for the contact');
select is(pg_temp.tells('{"user_id": "{{user.id}}"}'), 'send_sms +15125550103 Hi Sam Ortiz: Maria', 'or for the run');
select is(pg_temp.tells('{"user_id": "0b000000-0000-4000-8000-000000000002"}'), 'send_sms +15125550102 Hi Manuel: Maria', 'somebody else, who is meant by user then');
select is(pg_temp.tells('{"user_id": " Owner "}'), 'send_sms +15125550101 Hi Olivia "O" <Owner>: Maria', 'the owner');
select is(pg_temp.tells('{"user_id": "admin", "channel": "email", "subject": "A lead, {{contact.first_name}}"}'), 'send_email ["manuel@apex.example"] A lead, Maria Hi Manuel: Maria', 'an admin, by email');
select is(pg_temp.tells('{"user_id": "owner", "channel": "email", "subject": "x", "body": "<p>{{user.full_name}} {{contact.first_name}}</p>"}'),
  'send_email ["olivia@apex.example"] x <p>Olivia &quot;O&quot; &lt;Owner&gt; Maria</p>', 'HTML is escaped, and nothing is added to it');
update public.tenant_members set phone = null where full_name = 'Manuel';
select is(pg_temp.tells('{"user_id": "admin"}'), 'send_sms +15125550101 Hi Olivia "O" <Owner>: Maria', 'where no admin can be reached, an owner');
select is((select count(*) from ridgeline.messages where contact_id is not null) + (select count(*) from ridgeline.emails where contact_id is not null), 0::bigint, 'none of it is in the customer''s history');
select is((select count(*) from ridgeline.messages) + (select count(*) from ridgeline.emails), 7::bigint, 'though it is on record');
select is((select count(*) from ridgeline.workflow_step_executions where input ->> 'member' = '0b000000-0000-4000-8000-000000000001' and status = 'completed'), 3::bigint, 'and who was told');

-- WHOSE WORD IT GOES BY: not the customer's.
select ridgeline.record_revocation('sms', '+15125550142', 'told us', tenant_id => :'apex') \g /dev/null
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'send_sms +15125550103 Hi Sam Ortiz: Maria', 'that the customer said stop is no reason');
select is((select count(*) from automation.marketing_sent), 0::bigint, 'nor is it counted for the cap');
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (:'apex', 'sms', '+15125550103', 'opt_out');
select alike(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'skipped suppressed%', 'but that Sam said it is one');
delete from ridgeline.suppressions where address = '+15125550103';

-- QUIET HOURS of the office's own.
set automation.quiet_hours = 'on';
select automation.set_clock('2026-06-01 22:30 America/Chicago');
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'quiet_hours 07:00', 'at night it waits until seven');
update ridgeline.tenant_settings set settings = settings || '{"internal_hours": {"from": "06:00", "to": "23:00"}}';
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'send_sms +15125550103 Hi Sam Ortiz: Maria', 'unless the office says otherwise');
select automation.set_clock('2026-06-01 23:30 America/Chicago');
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'quiet_hours 06:00', 'within what it says');
update ridgeline.tenant_settings set settings = settings || '{"internal_hours": {}}';
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'send_sms +15125550103 Hi Sam Ortiz: Maria', 'or at any hour');
update ridgeline.tenant_settings set settings = settings - 'internal_hours' || '{"open_hours": {"from": "09:00", "to": "10:00"}}';
delete from ridgeline.scheduled_steps;
select automation.set_clock('2026-06-02 14:00 America/Chicago');
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}'), 'send_sms +15125550103 Hi Sam Ortiz: Maria', 'hours for customers are not theirs');

-- A WORKFLOW SEES IT: skipped, it may leave a task instead.
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"key": "tell", "type": "notify_member", "config": {"user_id": "{{custom.who}}", "channel": "sms", "body": "x"}},
  {"key": "task", "type": "create_task", "config": {"title": "Nobody was told"}, "conditions": [{"field": "steps.tell.status", "operator": "equals", "value": "skipped"}]}]') as fallback \gset
select ridgeline.execute_workflow(:'fallback', '{"contact_id": "0c000000-0000-4000-8000-000000000001", "custom": {"who": "gone"}}') \g /dev/null
select pg_temp.settle();
select count(*) from automation.claim_steps('w', 10);
select pg_temp.settle();
select is((select count(*) from public.tasks where title = 'Nobody was told'), 1::bigint, 'a task, where nobody could be told');

-- DRY AND AS A SHADOW
select ridgeline.test_workflow(:'fallback', '{"contact_id": "0c000000-0000-4000-8000-000000000001", "custom": {"who": "owner"}}') as tried \gset
select is(array[:'tried'::jsonb #>> '{path,0,type}', :'tried'::jsonb #>> '{path,0,verdict}', :'tried'::jsonb #>> '{path,0,input,to}', :'tried'::jsonb #>> '{path,1,verdict}'],
  array['notify_member', 'run', '+15125550101', 'skip'], 'a dry run says who would be told');
update ridgeline.workflows set mode = 'shadow' where id = :'fallback';
select ridgeline.execute_workflow(:'fallback', '{"contact_id": "0c000000-0000-4000-8000-000000000001", "custom": {"who": "owner"}}') \g /dev/null
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'a shadow tells nobody');
select is((select concat_ws(' ', s.error ->> 'code', s.error #>> '{would,to}') from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(:'fallback')).id and s.step_key = 'tell'), 'shadow +15125550101', 'and says whom it would have');
update ridgeline.workflows set is_active = false;

-- ASSIGNMENT THAT LATER STEPS SEE, in one portion of work: by turns, by name, by whatever field.
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"key": "turn", "type": "assign_user", "config": {"user_ids": ["0b000000-0000-4000-8000-000000000003", "0b000000-0000-4000-8000-000000000001"]}},
  {"key": "task", "type": "create_task", "config": {"title": "{{user.full_name}} calls {{contact.first_name}}", "assigned_to": "{{contact.assigned_to}}", "description": "{{steps.turn.user_id}}"}},
  {"key": "tell", "type": "notify_member", "config": {"user_id": "{{contact.assigned_to}}", "channel": "sms", "body": "{{user.full_name}}: {{contact.first_name}}"}},
  {"key": "stage", "type": "change_stage", "config": {"stage": "called", "entity": "contact"}},
  {"key": "check", "type": "create_task", "config": {"title": "{{contact.stage}} by {{user.full_name}}"}, "conditions": [{"field": "contact.stage", "operator": "equals", "value": "called"}]}]') as turns \gset
insert into public.contacts (tenant_id, first_name, phone) select :'apex', 'Lead ' || n, '+151255502' || n from generate_series(10, 13) as n;
select pg_temp.settle();
select is((select array_agg(title || ' ' || (assigned_to::text = description)::text order by title) from public.tasks where title like '% calls %'),
  array['Olivia "O" <Owner> calls Lead 11 true', 'Olivia "O" <Owner> calls Lead 13 true', 'Sam Ortiz calls Lead 10 true', 'Sam Ortiz calls Lead 12 true'], 'each task is of whose turn it was');
select is((select array_agg(c.payload ->> 'to' || ' ' || (c.payload ->> 'body') order by c.payload ->> 'body') from (select (x.claimed).payload from (select c as claimed, pg_temp.finish(c, 'succeeded') from automation.claim_steps('w', 10) as c offset 0) as x) as c),
  array['+15125550101 Olivia "O" <Owner>: Lead 11', '+15125550101 Olivia "O" <Owner>: Lead 13', '+15125550103 Sam Ortiz: Lead 10', '+15125550103 Sam Ortiz: Lead 12'], 'and that one is told');
select pg_temp.settle();
select is((select count(*) from public.tasks where title ~ '^called by (Sam|Olivia)'), 4::bigint, 'later steps see the stage, too');
-- Dry: whoever would be first.
select is(ridgeline.test_workflow(:'turns', '{"contact": {"first_name": "Ann"}}') #>> '{path,1,input,title}', 'Sam Ortiz calls Ann', 'a dry run shows the first');
select is(ridgeline.test_workflow(:'turns', '{"contact": {"first_name": "Ann"}}') #>> '{path,1,input,description}', '0b000000-0000-4000-8000-000000000003', 'whom it would have assigned');
-- Whoever leaves is nobody's.
update ridgeline.workflows set is_active = false where id = :'turns';
delete from public.tenant_members where full_name = 'Sam Ortiz';
insert into public.contacts (tenant_id, id, first_name, phone, assigned_to) values (:'apex', '0c000000-0000-4000-8000-000000000009', 'Zoe', '+15125550299', '0b000000-0000-4000-8000-000000000003');
update ridgeline.workflows set is_active = true where id = :'fallback';
update ridgeline.workflows set mode = 'live' where id = :'fallback';
select is(pg_temp.tells('{"user_id": "{{contact.assigned_to}}"}', '{"contact_id": "0c000000-0000-4000-8000-000000000009"}') like '%is not a member of the office', true, 'who has left is told nothing');

select * from finish();
rollback;

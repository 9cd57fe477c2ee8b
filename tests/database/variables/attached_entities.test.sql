-- Every attached table is a root of its own: a reply's text, a call's length, a form's answers.
begin;
\ir ../foundation/story.psql
select plan(6);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex') as maria \gset
select pg_temp.workflow(:'apex', 'sms_received', '{}',
  '[{"type": "create_task", "config": {"title": "{{contact.first_name}}: {{message.body}} ({{message.from_number}})"},
     "conditions": [{"field": "message.body", "operator": "not_contains", "value": "spam"}]}]',
  '[{"field": "message.body", "operator": "contains", "value": "roof"}]') as replies \gset
insert into ridgeline.messages (tenant_id, contact_id, direction, body, from_number)
values (:'apex', :'maria', 'inbound', 'My gutter leaks', '+15125550100');
select is(pg_temp.runs(:'replies'), 0::bigint, 'a workflow can ask what a message says');
insert into ridgeline.messages (tenant_id, contact_id, direction, body, from_number)
values (:'apex', :'maria', 'inbound', 'My roof leaks', '+15125550100');
select is(pg_temp.runs(:'replies'), 1::bigint, 'and starts for one that says it');
update ridgeline.messages set body = 'My roof leaks badly' where body = 'My roof leaks';
select pg_temp.settle();
select is((select string_agg(title, ', ') from public.tasks), 'Maria: My roof leaks badly (+15125550100)',
  'its text is read live');
insert into ridgeline.messages (tenant_id, contact_id, direction, body)
values (:'apex', :'maria', 'inbound', 'roof spam');
select pg_temp.settle();
select is((select count(*) from public.tasks), 1::bigint, 'a step can ask too');

-- What changed in such a record.
select pg_temp.workflow(:'apex', 'email_updated', '{}',
  conditions => '[{"field": "email.status", "operator": "changed_to", "value": "delivered"}]') as mails \gset
select pg_temp.workflow(:'apex', 'email_updated', '{}',
  conditions => '[{"field": "trigger.email.status", "operator": "changed_from", "value": "sent"}]') as left_sent \gset
insert into ridgeline.emails (tenant_id, contact_id, subject) values (:'apex', :'maria', 'Your quote');
update ridgeline.emails set subject = 'Your new quote';
update ridgeline.emails set status = 'delivered';
select is(pg_temp.runs(:'mails'), 1::bigint, 'changed_to on an entity of its own');
select is(pg_temp.runs(:'left_sent'), 1::bigint, 'and changed_from in its snapshot');

select * from finish();
rollback;

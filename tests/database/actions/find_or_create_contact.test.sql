-- A stranger calls, and nobody answers: they become a contact once, however the number is written and however often they
-- call, and the run goes on with them. Somebody the office knows stays as they are.
begin;
\ir ../foundation/story.psql
select plan(43);
set client_min_messages = error;

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar', '00000000-0000-0000-0000-00000000000b') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'blue') as stranger \gset
insert into ridgeline.senders (tenant_id, channel, address) values
  (:'apex', 'sms', '+15125550900'), (:'blue', 'sms', '+15125550901');

-- What a step was and said: "completed {...}", "skipped code message".
create function pg_temp.came_of(config text, data text default '{}', of_tenant text default '00000000-0000-0000-0000-00000000000a') returns jsonb
  language plpgsql
  as $$
declare
  execution uuid := (ridgeline.execute_workflow(
    pg_temp.workflow(of_tenant::uuid, 'manual', '{}', jsonb_build_array(
      jsonb_build_object('key', 'find', 'type', 'find_or_create_contact', 'config', config::jsonb))), data::jsonb)).id;
begin
  perform pg_temp.settle();
  return (
    select jsonb_strip_nulls(jsonb_build_object('status', s.status, 'result', s.result_data, 'code', s.error -> 'code',
      'message', s.error -> 'message', 'warnings', s.warnings))
    from ridgeline.workflow_step_executions as s where s.execution_id = execution);
end;
$$;
create function pg_temp.calls(caller text, called text default '+15125550900') returns text
  language sql
  as $$
    select automation.record_call(jsonb_build_object('call_sid', 'CA' || md5(random()::text), 'from', caller, 'to', called,
      'direction', 'inbound', 'status', 'no-answer'))
  $$;

-- THE MISSED CALL OF A STRANGER
select pg_temp.workflow(:'apex', 'call_missed', '{}', '[
  {"key": "who", "type": "find_or_create_contact", "config": {"phone": "{{call.from_number}}",
    "fields": {"first_name": "Caller", "source": "missed_call", "custom_fields.heard": "{{call.status}}"}}},
  {"key": "tag", "type": "add_tag", "config": {"tag": "missed {{steps.who.created}}"}},
  {"key": "task", "type": "create_task", "config": {"title": "Call back {{contact.phone}}"}},
  {"key": "text", "type": "send_sms", "config": {"body": "Sorry we missed you, {{contact.first_name}}", "purpose": "transactional"}},
  {"key": "wait", "type": "wait", "config": {"hours": 2}},
  {"key": "last", "type": "create_task", "config": {"title": "Still nothing from {{contact.first_name}}"}}]',
  '[]', '{"exit_events": ["sms_received"]}') as missed \gset
select is(pg_temp.calls('(512) 555-0177'), 'stored', 'a stranger calls');
select is(pg_temp.calls('(512) 555-0188'), 'stored', 'and another one');
select pg_temp.settle();
select is((select count(*) from public.contacts), 2::bigint, 'each is a contact now');
select id as caller from public.contacts where phone = '+15125550177' \gset
select is((select jsonb_build_array(first_name, source, custom_fields) from public.contacts where id = :'caller'),
  '["Caller", "missed_call", {"heard": "missed"}]'::jsonb, 'as the step says');
select is((select string_agg(title, ', ') from public.tasks where contact_id = :'caller'), 'Call back +15125550177', 'whom the tasks are about');
select is((select t.name from public.contact_tags as l join public.tags as t on t.id = l.tag_id where l.contact_id = :'caller'), 'missed true', 'and the tags');
select is((select array_agg(e.contact_id order by e.contact_id) from ridgeline.workflow_executions as e where e.workflow_id = :'missed'),
  (select array_agg(c.id::text order by c.id::text) from public.contacts as c), 'each run is about its own');
select is((select e.trigger_data -> 'contact' from ridgeline.workflow_executions as e where e.contact_id = :'caller'), 'null', 'what was known when it fired is left as it was');
select is((select array_agg(c.payload ->> 'to' order by c.payload ->> 'to') from (select (x.claimed).payload from (select c as claimed, pg_temp.finish(c, 'succeeded') from automation.claim_steps('w', 10) as c offset 0) as x) as c),
  array['+15125550177', '+15125550188'], 'and the texts go to them');
select is((select count(*) from ridgeline.messages where contact_id = :'caller'), 1::bigint, 'in whose history they stand');
select is((select count(*) from ridgeline.consents), 0::bigint, 'nobody has agreed to anything by calling');

select pg_temp.settle();
-- They answer, and the run ends; the other one goes on.
select is(automation.receive_sms('{"message_sid": "SM1", "from": "+15125550177", "to": "+15125550900", "body": "Yes please"}'), 'stored', 'the first one answers');
select pg_temp.later('3 hours');
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.status desc) from ridgeline.workflow_executions as e where e.workflow_id = :'missed'),
  'cancelled exit_event, completed', 'which ends their run, and nobody else''s');

-- The same number once more, written otherwise: nobody is made.
select pg_temp.calls('512.555.0177');
select pg_temp.settle();
select is((select count(*) from public.contacts where automation.normal_number(phone) = '+15125550177'), 1::bigint, 'a second call makes no second contact');
update ridgeline.workflows set is_active = false where id = :'missed';

-- FOUND, HOWEVER IT IS WRITTEN
insert into public.contacts (tenant_id, id, first_name, phone, email)
values (:'apex', '00000000-0000-4000-8000-0000000000c1', 'Maria', '(512) 555-0142', 'Maria.Lopez@Example.com'),
  (:'apex', '00000000-0000-4000-8000-0000000000c2', 'Otto', '512-555-0143', null),
  (:'apex', '00000000-0000-4000-8000-0000000000c4', 'Ann', '+1 512 555 0142', 'ann@example.com');
insert into public.contacts (tenant_id, id, first_name, phone, email)
values (:'blue', '00000000-0000-4000-8000-0000000000c3', 'Not yours', '+15125550155', 'theirs@example.com');
select is(pg_temp.came_of(config) #>> '{result,contact_id}', '00000000-0000-4000-8000-0000000000c' || who, config)
from (values
  ('{"phone": "1 (512) 555-0143"}', '2'), ('{"phone": "+1 512.555.0143 "}', '2'), ('{"phone": "５１２５５５０１４３"}', '2'),
  ('{"phone": "tel:+1-512-555-0143"}', '2'), ('{"phone": 5125550143}', '2'),
  ('{"email": " MARIA.LOPEZ@example.COM "}', '1'),
  ('{"phone": "5125550142", "email": "maria.lopez@example.com"}', '1'),
  ('{"phone": "5125550142", "email": "ann@example.com"}', '4'),
  ('{"phone": "5125550143", "email": "maria.lopez@example.com"}', '2'),
  ('{"phone": "not one", "email": "ann@example.com"}', '4')) as v (config, who);
select is(pg_temp.came_of('{"phone": "not one", "email": "ann@example.com"}') #>> '{warnings,0,message}', 'phone: "not one" is not a phone number', 'what is no number is told');
select is(pg_temp.came_of('{"phone": "5125550143", "fields": {"first_name": "Otto II", "stage": "won"}}') -> 'result' ->> 'created', 'false', 'who is found is not made');
select is((select jsonb_build_array(first_name, stage) from public.contacts where id = '00000000-0000-4000-8000-0000000000c2'), '["Otto", "new"]'::jsonb, 'nor changed');

-- Whose number it is at another tenant is nobody's business here.
select pg_temp.came_of('{"phone": "5125550155"}') -> 'result' as made \gset
select is(:'made'::jsonb ->> 'created', 'true', 'another tenant''s contact is not found');
select is((select tenant_id from public.contacts where id = (:'made'::jsonb ->> 'contact_id')::uuid), :'apex'::uuid, 'a new one is one''s own');

-- NOBODY TO FIND
select is(pg_temp.came_of(config, data) - 'warnings', jsonb_build_object('status', 'skipped', 'code', 'no_address', 'message', said), config || data)
from (values
  ('{"phone": "{{custom.who}}"}', '{"custom": {}}', 'phone: there is no phone number or email address to find a contact by'),
  ('{"phone": "{{custom.who}}"}', '{"custom": {"who": "anonymous"}}', 'phone: "anonymous" is not a phone number'),
  ('{"phone": "+266696687"}', '{}', 'phone: "+266696687" is not a phone number'),
  ('{"email": "{{custom.who}}"}', '{"custom": {"who": "a@b@c"}}', 'email: "a@b@c" is not an email address')) as v (config, data, said);

-- WHAT PEOPLE ARE CALLED
select is(pg_temp.came_of(format('{"phone": "5125550160", "fields": {"first_name": %s}}', to_json(repeat('Ñ', 9990) || '''; drop table public.contacts; --'))) ->> 'status', 'completed', 'ten thousand letters and SQL in a name');
select is((select right(first_name, 33) from public.contacts where phone = '+15125550160'), '''; drop table public.contacts; --', 'are a name');
select is(pg_temp.came_of('{"phone": "5125550161", "fields": {"first_name": "{{custom.name}}", "last_name": "👷🏽‍♀️ O''Neil"}}', '{"custom": {"name": "{{tenant.name}}"}}') ->> 'status', 'completed', 'a name of braces and emoji');
select is((select first_name || last_name from public.contacts where phone = '+15125550161'), '{{tenant.name}}👷🏽‍♀️ O''Neil', 'is one, too');

-- WHAT CANNOT BE
select is(pg_temp.came_of(config) ->> 'message', said, config)
from (values
  ('{"phone": "5125550170", "fields": {"lead_score": "many"}}', 'fields.lead_score: invalid input syntax for type integer: "many"'),
  ('{"phone": "5125550170", "fields": {"assigned_to": "{{tenant.settings.x}}", "stage": "new", "custom_fields": "x"}}', 'fields.custom_fields: "x" is refused by the check contacts_custom_fields_is_object')) as v (config, said);
select is(pg_temp.came_of(format('{"phone": "5125550170", "fields": {"assigned_to": "%s"}}', :'stranger')) ->> 'message',
  format('fields.assigned_to: "%s" is not a member of the tenant', :'stranger'), 'another tenant''s member');
select is((select count(*) from public.contacts where phone = '+15125550170'), 0::bigint, 'and nobody was made');

-- A host that keeps one row a number, and a deleted one that has it.
create unique index contacts_one_number on public.contacts (tenant_id, automation.phone_key(phone)) where first_name = 'Uno';
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Uno', '5125550199');
select automation.attach('public.contacts', 'contact', '{"tags": {"links": "public.contact_tags", "tags": "public.tags"}, "deleted": "last_contacted_at"}',
  '[{"type": "stage_changed", "column": "stage"}]', authors => 'members');
update public.contacts set last_contacted_at = now() where first_name = 'Uno';
select is(pg_temp.came_of('{"phone": "5125550199", "fields": {"first_name": "Uno"}}') ->> 'message',
  'contact: the table has one like it already, which may be deleted (contacts_one_number)', 'which the table says');
select is(pg_temp.came_of('{"phone": "5125550199", "fields": {"first_name": "Due"}}') #>> '{result,created}', 'true', 'where it does not, who was deleted is not found again');

select * from finish();
rollback;

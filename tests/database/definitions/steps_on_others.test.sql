-- What publishing says of steps that find or make a contact, work on another record than the run's, or tell a member.
begin;
\ir ../foundation/story.psql
select plan(33);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
insert into ridgeline.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550900', 'registered');
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.contact(:'blue', 'Theirs') as theirs \gset

create function pg_temp.says(steps text, trigger_type text default 'sms_received', config text default '{}', mended boolean default true) returns text
  language sql
  as $$
    select pg_temp.findings((select t.id from public.tenants as t where t.name = 'Apex Roofing'), trigger_type, config::jsonb, steps::jsonb, '[]', mended)
  $$;
create function pg_temp.one(step_type text, config text) returns text
  language sql
  as $$
    select pg_temp.says(jsonb_build_array(
      jsonb_build_object('key', 'new', 'type', 'find_or_create_contact', 'config', '{"phone": "{{contact.phone}}"}'::jsonb),
      jsonb_build_object('key', 'project', 'type', 'create_project', 'config', '{"name": "Roof"}'::jsonb),
      jsonb_build_object('type', step_type, 'config', config::jsonb))::text)
  $$;

-- GOOD
select is(pg_temp.one(step_type, config), null, step_type || ' ' || config)
from (values
  ('find_or_create_contact', '{"email": "{{contact.custom_fields.friend}}", "fields": {"first_name": "Ann"}}'),
  ('add_tag', '{"tag": "hot", "target": "{{steps.new.contact_id}}"}'),
  ('create_task', '{"title": "x", "target": "{{steps.project.project_id}}"}'),
  ('assign_user', '{"user_id": "{{contact.assigned_to}}", "target": "{{steps.project.project_id}}"}'),
  ('change_stage', '{"stage": "won", "target": "{{ steps.project.project_id }}"}'),
  ('update_field', '{"field": "project.value", "value": 1, "target": "{{steps.project.project_id}}"}'),
  ('update_contact', '{"fields": {"stage": "won"}, "target": "{{contact.custom_fields.referrer}}"}'),
  ('create_project', '{"name": "Porch", "target": "{{steps.new.contact_id}}"}'),
  ('notify_member', '{"user_id": "{{contact.assigned_to}}", "channel": "sms", "body": "{{user.full_name}}: {{contact.first_name}}"}'),
  ('notify_member', '{"user_id": "Owner", "channel": "email", "subject": "x", "body": "<p>{{contact.first_name}}</p>"}')) as v (step_type, config);

-- NOT GOOD: which field, and what mends it.
select is(pg_temp.one(step_type, config), said, step_type || ' ' || config)
from (values
  ('find_or_create_contact', '{}', 'find_or_create_contact needs phone or email | For example {"phone": "{{call.from_number}}"}.'),
  ('find_or_create_contact', '{"phone": ["5125550100"]}', 'phone must be a text or a number'),
  ('find_or_create_contact', '{"phon": "5125550100"}', E'find_or_create_contact does not know "phon" | Did you mean phone?\nfind_or_create_contact needs phone or email | For example {"phone": "{{call.from_number}}"}.'),
  ('find_or_create_contact', '{"phone": "5125550100", "fields": {"frist_name": "x"}}', 'contact has no field "frist_name" to write | Writable: type, stage, first_name, last_name, company, email, phone, address_line1, city, state, postal_code, timezone, source, assigned_to, lead_score, custom_fields, last_contacted_at'),
  ('add_tag', '{"tag": "hot", "target": "{{steps.project.project_id}}"}', 'target: the id of a contact is needed, and this is that of a project | Name the id of a contact, such as "{{steps.new.contact_id}}".'),
  ('add_tag', '{"tag": "hot", "target": ["a"]}', 'target must be a text or a number'),
  ('add_tag', '{"tag": "hot", "targt": "{{steps.new.contact_id}}"}', 'add_tag does not know "targt" | Did you mean target?'),
  ('add_tag', '{"tag": "hot", "target": "{{steps.nwe.contact_id}}"}', 'there is no step "nwe" | Did you mean new?'),
  ('change_stage', '{"stage": "won", "entity": "contact", "target": "{{steps.project.project_id}}"}', 'target: the id of a contact is needed, and this is that of a project | Name the id of a contact, such as "{{steps.new.contact_id}}".'),
  ('create_task', '{"title": "x", "entity": "project"}', 'entity needs target'),
  ('update_contact', '{"stage": "won", "target": "{{steps.new.contact_id}}"}', 'contact has no field "target" to write | Beside "target" the fields stand in "fields". Writable: type, stage, first_name, last_name, company, email, phone, address_line1, city, state, postal_code, timezone, source, assigned_to, lead_score, custom_fields, last_contacted_at'),
  ('notify_member', '{"user_id": "{{contact.assigned_to}}", "channel": "fax", "body": "x"}', 'channel must be sms or email'),
  ('notify_member', '{"user_id": "onwer", "channel": "sms", "body": "x"}', 'user_id: "onwer" is no member | Did you mean owner?'),
  ('notify_member', '{"user_id": "owner", "channel": "email", "body": "x"}', 'notify_member needs subject: an email has one | For example {"subject": "{{contact.first_name}} has answered"}.'),
  ('notify_member', '{"user_id": "owner", "channel": "sms", "body": "{{user.fullname}}"}', 'user.fullname: user has no field "fullname" | Did you mean full_name?'),
  ('notify_member', '{"user_id": "{{contact.assigned}}", "channel": "sms", "body": "x"}', 'contact.assigned: contact has no field "assigned" | Did you mean assigned_to?'),
  ('notify_member', '{"user_id": "owner", "channel": "sms", "body": "x", "purpose": "marketing"}', 'purpose must be internal')) as v (step_type, config, said);

-- An id that is written out has to be one of the tenant's.
select is(pg_temp.one('add_tag', format('{"tag": "hot", "target": "%s"}', :'maria')), null, 'one''s own contact');
select is(pg_temp.one('add_tag', format('{"tag": "hot", "target": "%s"}', :'theirs')),
  format('target: there is no contact "%s" | Write the id of one of your contacts, or a variable such as "{{steps.new.contact_id}}".', :'theirs'), 'another tenant''s is none');
select alike(pg_temp.one('notify_member', '{"user_id": "7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11", "channel": "sms", "body": "x"}'),
  'user_id: "7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11" is not a member of the office%', 'nor somebody who is no member');

-- What a step brings, those after it have; those before it do not.
select is(pg_temp.says('[{"key": "new", "type": "find_or_create_contact", "config": {"phone": "5125550100"}}, {"type": "send_sms", "config": {"body": "Hi {{contact.first_name}}"}}]', 'scheduled', '{"cron": "0 9 * * *"}', false), null, 'a run without a contact has one then');
select is(pg_temp.says('[{"type": "send_sms", "config": {"body": "Hi"}}, {"key": "new", "type": "find_or_create_contact", "config": {"phone": "5125550100"}}]', 'scheduled', '{"cron": "0 9 * * *"}', false), 'error no_recipient steps[0].step_config.to', 'but not before');

-- A contact that it makes starts what listens to new contacts.
select alike(pg_temp.says('[{"type": "find_or_create_contact", "config": {"phone": "{{contact.custom_fields.friend}}"}}]', 'contact_created', '{}', false), '%cycle steps[0]%', 'and what it makes may start the workflow again');

select * from finish();
rollback;

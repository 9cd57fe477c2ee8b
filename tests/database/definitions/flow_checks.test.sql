-- Steps that no run reaches, and steps that lack a record, a recipient or a date to do what they say.
begin;
\ir ../foundation/story.psql
select plan(80);

select pg_temp.tenant() as apex \gset
insert into public.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550199', 'registered');

-- Who it goes to, and what it changes.
select is(pg_temp.findings(:'apex', event, config::jsonb, steps::jsonb), said, concat_ws(' ', event, config, steps))
from (values
  ('scheduled', '{"every": "1 day"}', '[{"type": "send_sms", "config": {"body": "Hi"}}]',
    'error no_recipient steps[0].step_config.to'),
  ('scheduled', '{"every": "1 day"}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]',
    'error no_recipient steps[0].step_config.to'),
  ('scheduled', '{"every": "1 day"}', '[{"type": "send_sms", "config": {"body": "Hi", "to": " "}}]',
    'error no_recipient steps[0].step_config.to'),
  ('scheduled', '{"every": "1 day"}', '[{"type": "send_sms", "config": {"body": "Hi", "to": "{{tenant.phone}}"}}]', null),
  ('scheduled', '{"every": "1 day", "for_each": {"entity": "contact"}}', '[{"type": "send_sms", "config": {"body": "Hi"}}]', null),
  ('scheduled', '{"every": "1 day", "for_each": {"entity": "project"}}', '[{"type": "send_sms", "config": {"body": "Hi"}}]', null),
  ('contact_created', '{}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]', null),
  ('form_submitted', '{}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]', null),
  ('job_completed', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]', null),
  ('manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]', null),
  ('scheduled', '{"every": "1 day"}', '[{"type": "update_contact", "config": {"fields": {"stage": "won"}}}]',
    'error no_record steps[0].step_config'),
  ('scheduled', '{"every": "1 day"}', '[{"type": "add_tag", "config": {"tag": "x"}}]', 'error no_record steps[0].step_config'),
  ('scheduled', '{"every": "1 day"}', '[{"type": "remove_tag", "config": {"tag": "x"}}]', 'error no_record steps[0].step_config'),
  ('scheduled', '{"every": "1 day"}', '[{"type": "change_stage", "config": {"stage": "x"}}]', 'error no_record steps[0].step_config'),
  ('scheduled', '{"every": "1 day"}', '[{"type": "create_task", "config": {"title": "Count the shingles"}}]', null),
  ('scheduled', '{"every": "1 day"}', '[{"type": "create_project", "config": {"name": "Spring"}}]', null),
  ('contact_created', '{}', '[{"type": "update_project", "config": {"fields": {"status": "x"}}}]', 'error no_record steps[0].step_config'),
  ('contact_created', '{}', '[{"type": "update_field", "config": {"field": "job.status", "value": 1}}]', 'error no_record steps[0].step_config'),
  ('contact_created', '{}', '[{"type": "update_field", "config": {"entity": "project", "field": "value", "value": 1}}]',
    'error no_record steps[0].step_config'),
  ('contact_created', '{}', '[{"type": "assign_user", "config": {"entity": "job", "user_id": "{{user.id}}"}}]',
    'error no_record steps[0].step_config'),
  ('contact_created', '{}', '[{"type": "change_stage", "config": {"entity": "project", "stage": "x"}}]',
    'error no_record steps[0].step_config'),
  ('sms_received', '{}', '[{"type": "change_stage", "config": {"stage": "replied"}}]', null),
  ('sms_received', '{}', '[{"type": "update_field", "config": {"entity": "message", "field": "status", "value": "read"}}]',
    'error unknown_field steps[0].step_config.field'),
  ('project_created', '{}', '[{"type": "change_stage", "config": {"entity": "contact", "stage": "x"}},
    {"type": "update_project", "config": {"fields": {"value": 1}}}]', null),
  ('job_completed', '{}', '[{"type": "update_project", "config": {"fields": {"status": "done"}}}]', null),
  ('project_created', '{}', '[{"type": "assign_user", "config": {"entity": "project", "user_id": "{{user.id}}"}}]', null),
  ('email_opened', '{}', '[{"type": "assign_user", "config": {"entity": "email", "user_id": "{{user.id}}"}}]',
    'error unknown_field steps[0].step_config.entity'),
  ('manual', '{}', '[{"type": "update_project", "config": {"fields": {"status": "x"}}}]', null),
  -- Dates that may be missing.
  ('project_created', '{}', '[{"type": "wait", "config": {"until": "{{project.appointment_at}}"}}]',
    'warning no_date_policy steps[0].step_config.until'),
  ('project_created', '{}', '[{"type": "wait", "config": {"until": "{{project.appointment_at | minus: \"1 day\"}}"}}]',
    'warning no_date_policy steps[0].step_config.until'),
  ('project_created', '{}', '[{"type": "wait", "config": {"until": "{{project.appointment_at | default: today}}"}}]', null),
  ('project_created', '{}', '[{"type": "wait", "config": {"until": "2026-12-01"}}]', null),
  ('project_created', '{}', '[{"type": "wait", "config": {"days": "{{project.custom_fields.days}}"}}]', null)
) as v (event, config, steps, said);
select is(pg_temp.findings(:'apex', 'project_created', steps => '[{"type": "wait", "config": {
    "until": "{{project.appointment_at}}", "if_missing": "continue"}}]'), null, 'if_missing is a policy');
select alike(pg_temp.findings(:'apex', 'contact_created', mended => true,
    steps => '[{"type": "update_project", "config": {"fields": {"status": "x"}}}]'),
  'update_project has no project to work on: this trigger brings none | It brings: contact.', 'in words');
select alike(pg_temp.findings(:'apex', 'scheduled', '{"every": "1 day"}', mended => true,
    steps => '[{"type": "send_sms", "config": {"body": "Hi"}}]'),
  'send_sms has nobody to go to: this trigger brings no contact | Write who it goes to into "to". %for_each%', 'and how to mend it');

-- Whose number it comes from.
select pg_temp.tenant('Blue Ridge') as blue \gset
select is(pg_temp.findings(:'blue', 'contact_created', steps => steps::jsonb), said, steps)
from (values
  ('[{"type": "create_task", "config": {"title": "x"}}, {"type": "send_sms", "config": {"body": "Hi"}},
     {"type": "send_sms", "config": {"body": "Hi again"}}]', 'warning no_registered_sender steps[1]'),
  ('[{"type": "send_sms", "config": {"body": "Hi", "messaging_service_sid": "MG1"}}]',
    E'warning no_registered_sender steps[0]\nerror sender_not_yours steps[0].step_config.messaging_service_sid'),
  ('[{"type": "send_sms", "config": {"body": "Hi", "from": "+15125550199"}}]',
    E'warning no_registered_sender steps[0]\nerror sender_not_yours steps[0].step_config.from'),
  ('[{"type": "send_sms", "config": {"body": "Hi", "from": "{{tenant.phone}}"}}]', 'warning no_registered_sender steps[0]'),
  ('[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi", "from": "Apex <office@apex.example>"}}]',
    'error sender_not_yours steps[0].step_config.from'),
  ('[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]', null)
) as v (steps, said);
insert into public.senders (tenant_id, channel, kind, address, registration) values (:'blue', 'sms', 'service', 'MG1', 'registered');
select is(pg_temp.findings(:'blue', 'contact_created', steps => '[{"type": "send_sms", "config": {"body": "Hi"}}]'),
  null, 'a messaging service of the tenant');

-- A number that is written out, to and from.
insert into public.contacts (tenant_id, id, first_name, phone)
values (:'apex', gen_random_uuid(), 'Ann', '(512) 555-0142'), (:'blue', gen_random_uuid(), 'Bo', '+15125550143');
update public.tenants set phone = '512-555-0150' where id = :'apex';
select pg_temp.member(:'apex') as sam \gset
update public.tenant_members set phone = '+1 512 555 0151' where user_id = :'sam';
select is(pg_temp.findings(:'apex', 'contact_created', steps => jsonb_build_array(jsonb_build_object('type', 'send_sms',
    'config', '{"body": "Hi"}'::jsonb || config::jsonb))), said, config)
from (values
  ('{"to": "+15125550142"}', null), ('{"to": "tel:512.555.0142"}', null), ('{"to": " 512-555-0142 x12"}', null),
  ('{"to": "+15125550150"}', null), ('{"to": "5125550151"}', null), ('{"to": "{{contact.phone}}"}', null),
  ('{"to": "{{contact.phone | default: \"555\"}}"}', null),
  ('{"to": "555-0142"}', 'error invalid_phone steps[0].step_config.to'),
  ('{"to": "ann@example.com"}', 'error invalid_phone steps[0].step_config.to'),
  ('{"to": "+15125550142, +15125550150"}', 'error invalid_phone steps[0].step_config.to'),
  ('{"to": "contact.phone"}', 'error invalid_phone steps[0].step_config.to'),
  ('{"to": "+15125550143"}', 'warning stranger_not_allowed steps[0].step_config.to'),
  ('{"to": "+4915112345678"}', 'warning country_not_allowed steps[0].step_config.to'),
  ('{"to": "+15125550142", "from": "the office of Apex Roofing"}', 'error invalid_phone steps[0].step_config.from'),
  ('{"from": "555-0199"}', 'error invalid_phone steps[0].step_config.from'),
  ('{"from": "(512) 555-0199"}', null)
) as v (config, said);
update public.tenants set text_strangers = true where id = :'apex';
select is(pg_temp.findings(:'apex', 'contact_created', steps => '[{"type": "send_sms", "config": {"body": "Hi", "to": "+15125550143"}}]'),
  null, 'an office that texts strangers is told nothing');

-- A contact whose table has other columns.
create table public.people (
  tenant_id uuid not null references public.tenants (id), id uuid primary key, mobile text, email text);
select automation.detach('contact');
select automation.attach('public.people', 'contact');
select is(pg_temp.findings(:'apex', 'contact_created', steps => steps::jsonb), said, steps)
from (values
  ('[{"type": "send_sms", "config": {"body": "Hi"}}]', 'error no_recipient steps[0].step_config.to'),
  ('[{"type": "send_sms", "config": {"body": "Hi", "to": "{{contact.mobile}}"}}]', null),
  ('[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]', null),
  ('[{"type": "change_stage", "config": {"stage": "won"}}]', 'error unknown_field steps[0].step_config.entity'),
  ('[{"type": "create_task", "config": {"title": "{{contact.phone}}"}}]', 'error unknown_field steps[0].step_config.title')
) as v (steps, said);
select is(pg_temp.findings(:'apex', 'manual', steps => '[{"type": "send_sms", "config": {"body": "Hi"}}]'),
  'warning no_recipient steps[0].step_config.to', 'a manual run may bring a number along');

-- The way through a plan. steps: {key: {type?, next?, branches?, cases?, conditions?}}, the first is "a".
create function pg_temp.lost(steps jsonb) returns text
  language sql
  as $$
    with plan as (
      select jsonb_build_object('first', 'a', 'steps', jsonb_object_agg(s.key,
        jsonb_build_object('key', s.key, 'at', s.key, 'type', 'create_task', 'next', null) || s.value
        || jsonb_strip_nulls(jsonb_build_object('conditions',
          (automation.compile_conditions(s.value -> 'conditions', s.key || '.conditions')).compiled,
          'cases', (select jsonb_agg(jsonb_build_object('name', c ->> 'name', 'conditions',
            (automation.compile_conditions(c -> 'conditions', s.key || '.' || (c ->> 'name'))).compiled))
            from jsonb_array_elements(s.value -> 'cases') as c))))) as plan
      from jsonb_each(steps) as s
    )
    select string_agg(p ->> 'path', ' ' order by p ->> 'path')
    from plan as n, jsonb_array_elements(automation.check_flow(n.plan, (automation.check_conditions(
      automation.condition_documents(null, null, n.plan), '[]', '{"columns": {}}')).verdicts)) as p
  $$;
create function pg_temp.never() returns jsonb language sql as $$
  select '[{"field": "stage", "operator": "is_empty"}, {"field": "stage", "operator": "is_not_empty"}]'::jsonb $$;
create function pg_temp.sometimes() returns jsonb language sql as $$
  select '[{"field": "stage", "operator": "is_empty"}]'::jsonb $$;
create function pg_temp.always() returns jsonb language sql as $$
  select '{"any": [{"field": "stage", "operator": "is_empty"}, {"field": "stage", "operator": "is_not_empty"}]}'::jsonb $$;
create function pg_temp.asked(
  yes jsonb, maybe jsonb default null, branches text default '{"yes": "b", "maybe": "c", "else": "d"}')
  returns jsonb
  language sql
  as $$
    select jsonb_build_object(
      'a', jsonb_build_object('type', 'conditional', 'next', 'e', 'branches', branches::jsonb, 'cases',
        jsonb_build_array(jsonb_build_object('name', 'yes', 'conditions', yes),
          jsonb_build_object('name', 'maybe', 'conditions', coalesce(maybe, pg_temp.sometimes())))),
      'b', '{"next": "e"}'::jsonb, 'c', '{"next": "e"}'::jsonb, 'd', '{"next": "e"}'::jsonb, 'e', '{}'::jsonb)
  $$;
select is(pg_temp.lost(steps), said, why)
from (values
  ('{"a": {"next": "b"}, "b": {"type": "stop", "next": "c"}, "c": {"next": "d"}, "d": {}}'::jsonb, 'c',
    'nothing comes after a stop; where it begins is said once'),
  ('{"a": {"next": "b"}, "b": {"type": "stop", "next": "c"}, "c": {}}'::jsonb
    || jsonb_build_object('b', jsonb_build_object('type', 'stop', 'next', 'c', 'conditions', pg_temp.sometimes())), null,
    'a stop with conditions may be passed'),
  ('{"a": {"next": "b"}, "c": {}}'::jsonb
    || jsonb_build_object('b', jsonb_build_object('type', 'stop', 'next', 'c', 'conditions', pg_temp.always())), 'c',
    'unless they always hold'),
  (pg_temp.asked(pg_temp.sometimes()), null, 'three ways, all open'),
  (pg_temp.asked(pg_temp.never()), 'b', 'a branch whose conditions never hold'),
  (pg_temp.asked(pg_temp.always()), 'c d', 'a branch that always holds closes the ones after it'),
  (pg_temp.asked(pg_temp.sometimes(), pg_temp.always()), 'd', 'but not the one before'),
  (pg_temp.asked(pg_temp.sometimes()) || '{"b": {"type": "stop", "next": "e"}}', null, 'a stop on one branch'),
  (pg_temp.asked(pg_temp.sometimes()) || '{"b": {"type": "stop", "next": "e"}, "c": {"type": "stop", "next": "e"},
    "d": {"type": "stop", "next": "e"}}', 'e', 'a stop on each'),
  (pg_temp.asked(pg_temp.always(), branches => '{"yes": null, "maybe": "c", "else": "d"}') - 'b', 'c d',
    'an empty branch goes on behind'),
  (jsonb_set(pg_temp.asked(pg_temp.sometimes()), '{a,conditions}', pg_temp.never()), 'b c d',
    'a step that never runs never branches'),
  ('{"a": {"type": "wait", "next": "d", "branches": {"event": "b", "timeout": "c"}},
    "b": {"type": "stop", "next": "d"}, "c": {"type": "stop", "next": "d"}, "d": {}}', 'd', 'waiting for an event'),
  ('{"a": {"type": "split", "next": "d", "branches": {"A": "b", "B": null}}, "b": {"type": "stop", "next": "d"}, "d": {}}',
    null, 'a split')
) as v (steps, said, why);

-- In words.
select is((select string_agg(p ->> 'message', ' ') from jsonb_array_elements(automation.check_flow(
    '{"first": "a", "steps": {"a": {"key": "a", "at": "steps[0]", "type": "stop", "next": "b"},
      "b": {"key": "b", "at": "steps[1]", "type": "create_task"}}}', '{}')) as p),
  'no run reaches this step: steps[0] ends the run before it', 'in words');

select * from finish();
rollback;

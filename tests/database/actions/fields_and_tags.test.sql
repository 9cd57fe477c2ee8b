-- Fields that are added to, taken from and appended to; tags of a contact whose table has a list of its own;
-- the type that a builder leaves in a step's configuration.
begin;
\ir ../foundation/story.psql
select plan(38);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset

create function pg_temp.does(step_type text, config jsonb) returns text
  language plpgsql
  as $$
declare
  execution uuid;
begin
  execution := (ridgeline.execute_workflow(
    pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'manual', '{}',
      jsonb_build_array(jsonb_build_object('type', step_type, 'config', config))),
    (select jsonb_build_object('contact_id', c.id) from public.contacts as c where c.first_name = 'Maria'))).id;
  perform pg_temp.settle();
  return (select concat_ws(' ', s.status, s.error ->> 'message') from ridgeline.workflow_step_executions as s
    where s.execution_id = execution);
end;
$$;
-- What a field is after a change, or why it did not change.
create function pg_temp.changed(field text, operator text, value jsonb, start jsonb) returns text
  language plpgsql
  as $$
declare
  said text;
  record jsonb;
begin
  update public.contacts as c
  set lead_score = (start ->> 'lead_score')::int, company = start ->> 'company',
    last_contacted_at = (start ->> 'last_contacted_at')::timestamptz,
    custom_fields = coalesce(start -> 'custom_fields', '{}')
  where c.first_name = 'Maria';
  said := pg_temp.does('update_field', jsonb_build_object('field', field, 'operator', operator, 'value', value));
  select to_jsonb(c) into record from public.contacts as c where c.first_name = 'Maria';
  return case when said = 'completed'
    then coalesce((record #> string_to_array(field, '.'))::text, 'nothing') else said end;
end;
$$;

select is(pg_temp.changed(field, operator, value, start), expected, format('%s %s %s to %s', operator, value, field, start))
from (values
  ('lead_score', 'add', '5'::jsonb, '{"lead_score": 10}'::jsonb, '15'),
  ('lead_score', 'add', '"5"', '{"lead_score": 10}', '15'),
  ('lead_score', 'subtract', '3', '{"lead_score": 10}', '7'),
  ('lead_score', 'add', '5', '{}', '5'),
  ('lead_score', 'subtract', '5', '{}', '-5'),
  ('lead_score', 'add', '"{{contact.company}}"', '{"lead_score": 10}', '10'),
  ('lead_score', 'set', '5', '{"lead_score": 10}', '5'),
  ('lead_score', 'add', '"{{contact.first_name}}"', '{"lead_score": 10}',
    'failed value: cannot add "Maria" to lead_score, which is "10"'),
  ('company', 'append', '" & Sons"', '{"company": "Lopez"}', '"Lopez & Sons"'),
  ('company', 'append', '"Lopez"', '{}', '"Lopez"'),
  ('company', 'append', '5', '{"company": "Unit "}', '"Unit 5"'),
  ('company', 'append', '"{{contact.source}}"', '{"company": "Lopez"}', '"Lopez"'),
  ('custom_fields.n', 'add', '1', '{"custom_fields": {"n": 7615917337495251231}}', '7615917337495251232'),
  ('custom_fields.n', 'add', '0.1', '{"custom_fields": {"n": "2.5"}}', '2.6'),
  ('custom_fields.n', 'add', '1', '{"custom_fields": {"n": "many"}}',
    'failed value: cannot add "1" to custom_fields.n, which is "many"'),
  ('custom_fields.list', 'add', '"c"', '{"custom_fields": {"list": ["a", "b"]}}', '["a", "b", "c"]'),
  ('custom_fields.list', 'append', '["c", "d"]', '{"custom_fields": {"list": ["a"]}}', '["a", "c", "d"]'),
  ('custom_fields.list', 'subtract', '"B"', '{"custom_fields": {"list": ["a", "b", "b"]}}', '["a"]'),
  ('custom_fields.list', 'append', '["c"]', '{}', '["c"]'),
  ('custom_fields.day', 'add', '"3 days"', '{"custom_fields": {"day": "2026-03-01"}}', '"2026-03-04"'),
  ('custom_fields.day', 'subtract', '"1 month"', '{"custom_fields": {"day": "2026-03-01"}}', '"2026-02-01"')
) as v (field, operator, value, start, expected);

-- What never fits is refused when it is published, and a dry run does the same sums.
create function pg_temp.problems(config jsonb) returns text
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'contact_created', '{}',
    '[{"type": "stop"}]');
begin
  update ridgeline.workflow_steps as s set step_type = 'update_field', step_config = config where s.workflow_id = workflow;
  return (select string_agg(p ->> 'code', ', ') from jsonb_array_elements(
    (select w.problems from ridgeline.workflows as x, automation.compile_workflow(x) as w where x.id = workflow)) as p
    where p ->> 'severity' = 'error');
end;
$$;
select is(pg_temp.problems(config), expected, config::text)
from (values
  ('{"field": "company", "operator": "add", "value": 1}'::jsonb, 'operator_type_mismatch'),
  ('{"field": "assigned_to", "operator": "append", "value": 1}', 'operator_type_mismatch'),
  ('{"field": "lead_score", "operator": "append", "value": 1}', 'operator_type_mismatch'),
  ('{"field": "lead_score", "operator": "multiply", "value": 1}', 'unknown_value'),
  ('{"field": "lead_score", "operator": "add", "value": 1}', null),
  ('{"field": "custom_fields.n", "operator": "append", "value": 1}', null)
) as v (config, expected);
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "update_field", "config": {"field": "lead_score",
  "operator": "add", "value": 5}}, {"type": "create_task", "config": {"title": "{{contact.lead_score}}"}}]') as sums \gset
select is(ridgeline.test_workflow(:'sums', '{"contact": {"lead_score": 10}}') #>> '{path,1,input,title}', '15',
  'a dry run adds as well');

-- The step's own type in its configuration.
select is(pg_temp.does('create_project', '{"type": "create_project", "name": "Roof"}'), 'completed', 'its own type');
select is((select type from public.projects where name = 'Roof'), null, 'is not the project''s');
select is(pg_temp.does('create_project', '{"project_type": "metal", "name": "Barn"}'), 'completed', 'a project of a type');
select is((select type from public.projects where name = 'Barn'), 'metal', 'has it');
select is(automation.fold_step_config('send_email', config), expected, config::text)
from (values
  ('{"subject": "x", "body": "Hi,\nthere"}'::jsonb, '{"subject": "x", "text": "Hi,\nthere"}'::jsonb),
  ('{"subject": "x", "body": "<p>Hi</p>"}', '{"subject": "x", "html": "<p>Hi</p>"}'),
  ('{"subject": "x", "body": "Hi <maria@example.com>, 3 < 5"}', '{"subject": "x", "text": "Hi <maria@example.com>, 3 < 5"}')
) as v (config, expected);

-- A contact's own list of tags.
alter table public.contacts add column tags text[];
select automation.attach('public.contacts', 'contact', '{}', '[{"type": "stage_changed", "column": "stage"}]');
update public.contacts set tags = '{roof}' where id = :'maria';
select pg_temp.does('add_tag', '{"tag": " Hot "}') as added \gset
select is(array[:'added', (select tags::text from public.contacts where id = :'maria')], '{completed,"{roof,Hot}"}',
  'a tag goes into the contact''s own list');
select pg_temp.does('remove_tag', '{"tag": "ROOF"}') as removed \gset
select is(array[:'removed', (select tags::text from public.contacts where id = :'maria')], '{completed,"{Hot}"}',
  'and out of it, in any case');
select pg_temp.does('create_task', '{"title": "{{contact.tags}}"}') as seen \gset
select is((select title from public.tasks where title like '%Hot%'), 'Hot', 'and is what later steps read');

select * from finish();
rollback;

-- What each database step does to the CRM, and how it fails: naming the field, and nothing else.
begin;
\ir ../foundation/story.psql
select plan(58);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'blue') as stranger \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
insert into public.projects (tenant_id, id, contact_id, name)
values (:'apex', '00000000-0000-0000-0000-0000000000e1', :'maria', 'Roof');
insert into public.jobs (tenant_id, id, contact_id, project_id, name)
values (:'apex', '00000000-0000-0000-0000-0000000000d1', :'maria', '00000000-0000-0000-0000-0000000000e1', 'Tear-off');

-- Runs one step for some records and tells what came of it: "completed", or the reason it failed.
create function pg_temp.does(step_type text, config text, data jsonb) returns text
  language plpgsql
  as $$
declare
  execution uuid;
  came_of_it text;
begin
  execution := (ridgeline.execute_workflow(
    pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'manual', '{}',
      jsonb_build_array(jsonb_build_object('type', step_type, 'config', config::jsonb))),
    data)).id;
  perform pg_temp.settle();
  select concat_ws(' ', s.status, s.error ->> 'message') into came_of_it
  from ridgeline.workflow_step_executions as s where s.execution_id = execution;
  return came_of_it;
end;
$$;
create function pg_temp.result() returns jsonb
  language sql
  as $$
    select s.result_data from ridgeline.workflow_step_executions as s
    order by s.started_at desc, s.id desc limit 1
  $$;
select jsonb_build_object('contact_id', :'maria') as for_maria \gset
select jsonb_build_object('project_id', '00000000-0000-0000-0000-0000000000e1') as for_project \gset
select jsonb_build_object('job_id', '00000000-0000-0000-0000-0000000000d1') as for_job \gset

-- What cannot be done says which field is to blame.
select alike(pg_temp.does(step_type, config, data::jsonb), 'failed ' || message, step_type || ': ' || message)
from (values
  ('create_task', '{"title": "x", "due_in_days": "{{contact.first_name}}"}', :'for_maria', 'due_in_days: "Maria" is not a number'),
  ('create_task', '{"title": "{{contact.last_name}}"}', :'for_maria', '%title%'),
  ('update_contact', '{"fields": {"city": "Austin"}}', '{}', 'contact: the execution has no contact to work on'),
  ('update_project', '{"fields": {"name": "x"}}', :'for_maria', 'project: the execution has no project to work on'),
  ('update_contact', '{"fields": {"stage": null}}', :'for_maria', '%stage%'),
  ('change_stage', '{"entity": "project", "stage": "won"}', :'for_maria', 'project: the execution has no project to work on'),
  ('assign_user', '{"user_id": "{{contact.first_name}}"}', :'for_maria', 'user_id: "Maria" is not a member of the tenant'),
  ('wait', '{"until": "{{contact.last_name}}"}', :'for_maria', 'until: there is no date to wait for'),
  ('wait', '{"hours": "{{contact.first_name}}"}', :'for_maria', 'hours: "Maria" is not a number'),
  ('create_project', '{"name": "Roof", "value": "a lot"}', :'for_maria', 'value: "a lot" is not a number')
) as v (step_type, config, data, message);
select is(pg_temp.does('assign_user', jsonb_build_object('user_id', :'stranger')::text, :'for_maria'),
  format('failed user_id: "%s" is not a member of the tenant', :'stranger'), 'nor can another tenant''s member be assigned');
select alike(pg_temp.does(step_type, config, :'for_maria'), 'failed ' || message, step_type || ': ' || message)
from (values
  ('create_task', '{"title": "x", "due_at": "{{contact.first_name}}"}', 'due_at: %'),
  ('wait', '{"until": "{{contact.first_name}}"}', 'until: %'),
  ('update_contact', '{"fields": {"lead_score": "many"}}', '%lead_score%'),
  ('update_field', '{"field": "assigned_to", "value": "Sam"}', '%assigned_to%'),
  ('create_task', '{"title": "x", "assigned_to": "{{contact.first_name}}"}', 'assigned_to: %')
) as v (step_type, config, message);
select alike(pg_temp.does(step_type, '{"tag": "hot"}', '{}'), 'skipped contact: the execution has no contact to work on',
  step_type || ' passes over a run without a contact')
from unnest('{add_tag,remove_tag}'::text[]) as step_type;
select is((select count(*) from ridgeline.automation_failures where code = 'no_contact'), 2::bigint, 'and the office sees it');
delete from public.contacts where first_name = 'Gone';
select pg_temp.contact(:'apex', 'Gone') as gone \gset
select pg_temp.workflow(:'apex', 'stage_changed', '{}', '[{"type": "update_contact", "config": {"fields": {"city": "x"}}}]') as late \gset
update public.contacts set stage = 'won' where id = :'gone';
delete from public.contacts where id = :'gone';
select pg_temp.settle();
select is(error ->> 'message', 'the contact was deleted', 'a contact that is gone meanwhile')
from pg_temp.only_run(:'late');
update ridgeline.workflows set is_active = false where id = :'late';

-- create_task.
select is(pg_temp.does('create_task', '{"title": "Call {{contact.first_name}}", "description": "now", "priority": "high", "due_in_days": 2, "due_in_hours": "1"}', :'for_maria'),
  'completed', 'create_task');
select is(array[title, description, priority, status, contact_id::text, (due_at - automation.now())::text],
  array['Call Maria', 'now', 'high', 'open', :'maria', '2 days 01:00:00'], 'the task as configured')
from public.tasks where title like 'Call%';
select isnt(execution_id, null, 'it names the execution that made it') from public.tasks where title like 'Call%';
select is(pg_temp.result() ->> 'task_id', (select id::text from public.tasks where title like 'Call%'), 'and the step names the task');
select is(pg_temp.does('create_task', '{"title": "No date"}', :'for_maria'), 'completed', 'a task without a date');
select is((select due_at from public.tasks where title = 'No date'), null, 'has none');
select is(pg_temp.does('create_task', '{"title": "Dated", "due_at": "2030-01-02T03:04:05Z"}', :'for_maria'), 'completed', 'a task with a date');
select is((select due_at from public.tasks where title = 'Dated'), '2030-01-02T03:04:05Z'::timestamptz, 'has that');
select is(pg_temp.does('create_task', '{"title": "Nobody"}', '{}'), 'completed', 'a task may be about nobody');
select is(pg_temp.does('create_task', '{"title": "For the project"}', :'for_project'), 'completed', 'a task for a project');
select is(array[project_id::text, contact_id::text],
  array['00000000-0000-0000-0000-0000000000e1', :'maria'], 'is the contact''s too')
from public.tasks where title = 'For the project';

-- Fields.
select is(pg_temp.does('update_contact', '{"fields": {"city": "Austin", "lead_score": 42, "assigned_to": null}}', :'for_maria'), 'completed', 'update_contact');
select is(pg_temp.does('update_contact', '{"lead_score": "43", "company": "{{contact.first_name}} & Co"}', :'for_maria'), 'completed', 'without "fields"');
select is(array[city, lead_score::text, company, first_name], array['Austin', '43', 'Maria & Co', 'Maria'],
  'those fields and no others') from public.contacts where id = :'maria';
select is(pg_temp.does('update_field', '{"field": "custom_fields.roof", "value": {"pitch": 8}}', :'for_maria'), 'completed', 'a custom field');
select is(pg_temp.does('update_contact', '{"fields": {"custom_fields.age": 20, "custom_fields.tile": true}}', :'for_maria'), 'completed', 'two more');
select is(custom_fields, '{"roof": {"pitch": 8}, "age": 20, "tile": true}', 'leave the others as they were')
from public.contacts where id = :'maria';
select is(pg_temp.does('update_field', '{"entity": "contact", "field": "custom_fields", "value": {"only": 1}}', :'for_maria'), 'completed', 'or all at once');
select is((select custom_fields from public.contacts where id = :'maria'), '{"only": 1}', 'are replaced');
select is(pg_temp.does('update_field', '{"table": "jobs", "field": "name", "value": "Clean-up"}', :'for_job'), 'completed', 'a field of a job');
select is((select name from public.jobs), 'Clean-up', 'is set');
select is(pg_temp.does('update_project', '{"fields": {"value": 12000.50, "appointment_at": "2030-01-02 09:00Z"}}', :'for_project'), 'completed', 'update_project');
select is((select value from public.projects), 12000.50, 'is set');

-- Stages and people.
select is(pg_temp.does('change_stage', '{"stage": "quoted"}', :'for_maria'), 'completed', 'a contact''s stage');
select is(pg_temp.does('change_stage', '{"stage": "won", "entity": "project"}', :'for_project'), 'completed', 'a project''s');
select is(array[(select stage from public.contacts where id = :'maria'), (select pipeline_stage from public.projects)],
  array['quoted', 'won'], 'are what they were set to');
select is(pg_temp.does('assign_user', jsonb_build_object('user_id', :'sam')::text, :'for_maria'), 'completed', 'assign_user');
select is((select assigned_to::text from public.contacts where id = :'maria'), :'sam', 'it is Sam''s');

-- Tags.
select is(array[pg_temp.does('add_tag', '{"tag": " Hot "}', :'for_maria'), pg_temp.result() ->> 'added'],
  array['completed', 'true'], 'a tag');
select is(array[pg_temp.does('add_tag', '{"tag_name": "hot"}', :'for_maria'), pg_temp.result() ->> 'added'],
  array['completed', 'false'], 'twice is once, in any case');
select is((select string_agg(t.name, ',') from public.contact_tags as ct join public.tags as t on t.id = ct.tag_id), 'Hot', 'as first spelt');
select is(array[pg_temp.does('remove_tag', '{"tag": "HOT"}', :'for_maria'), pg_temp.result() ->> 'removed'],
  array['completed', 'true'], 'taken off');
select is(array[pg_temp.does('remove_tag', '{"tag": "hot"}', :'for_maria'), pg_temp.result() ->> 'removed'],
  array['completed', 'false'], 'which was off already');

-- create_project.
select is(array[pg_temp.does('create_project', '{"name": "Gutters", "value": "900", "type": "gutter"}', :'for_maria'), pg_temp.result() ->> 'created'],
  array['completed', 'true'], 'a project');
select is(array[pg_temp.does('create_project', '{"name": "Gutters"}', :'for_maria'), pg_temp.result() ->> 'created'],
  array['completed', 'false'], 'once for a name');
select is(array[pg_temp.does('create_project', '{"name": "Gutters", "key": "2030"}', :'for_maria'), pg_temp.result() ->> 'created'],
  array['completed', 'true'], 'or for a key');
select is((select count(*) from public.projects where name = 'Gutters' and contact_id = :'maria'), 2::bigint, 'that makes two');
select pg_temp.does('create_project', '{"name": "Orphan"}', '{}');
select pg_temp.does('create_project', '{"name": "Orphan"}', '{}');
select cmp_ok((select count(*) from public.projects where name = 'Orphan'), '<', 2::bigint, 'and never a second one without a contact');

select * from finish();
rollback;

-- Steps that work on another record than the run's: the friend whom a customer recommended, the project that was just
-- made. Never one of another tenant, never one that is gone, and never the run's own because nothing said which.
begin;
\ir ../foundation/story.psql
select plan(37);
set client_min_messages = error;

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'apex', 'Otto', '+15125550143') as otto \gset
select pg_temp.contact(:'blue', 'Theirs', '+15125550155') as theirs \gset
insert into public.projects (tenant_id, id, contact_id, name) values
  (:'apex', '00000000-0000-0000-0000-0000000000e1', :'maria', 'Roof'), (:'apex', '00000000-0000-0000-0000-0000000000e2', :'otto', 'Porch'),
  (:'blue', '00000000-0000-0000-0000-0000000000e3', :'theirs', 'Panels');
insert into public.jobs (tenant_id, id, project_id, name)
values (:'apex', '00000000-0000-0000-0000-0000000000d1', '00000000-0000-0000-0000-0000000000e2', 'Tear-off');

create function pg_temp.does(step_type text, config text, target text) returns text
  language plpgsql
  as $$
declare
  execution uuid;
begin
  execution := (ridgeline.execute_workflow(
    pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'manual', '{}',
      jsonb_build_array(jsonb_build_object('type', step_type, 'config', config::jsonb || '{"target": "{{custom.target}}"}'))),
    jsonb_build_object('contact_id', (select c.id from public.contacts as c where c.first_name = 'Maria'),
      'custom', jsonb_build_object('target', target)))).id;
  perform pg_temp.settle();
  return (select concat_ws(' ', s.status, s.error ->> 'message') from ridgeline.workflow_step_executions as s where s.execution_id = execution);
end;
$$;
create temporary table kinds (step_type text, config text, entity text);
insert into kinds values
  ('add_tag', '{"tag": "hot"}', 'contact'), ('remove_tag', '{"tag": "hot"}', 'contact'), ('create_task', '{"title": "Call"}', 'contact'),
  ('create_task', '{"title": "Order", "entity": "project"}', 'project'), ('update_contact', '{"fields": {"city": "Austin"}}', 'contact'),
  ('update_project', '{"fields": {"value": 5}}', 'project'), ('update_field', '{"field": "lead_score", "value": 3, "operator": "add"}', 'contact'),
  ('update_field', '{"field": "project.value", "value": 7}', 'project'), ('change_stage', '{"stage": "won", "entity": "project"}', 'project'),
  ('create_project', '{"name": "Gutter"}', 'contact');
insert into kinds select 'assign_user', jsonb_build_object('user_id', :'sam')::text, 'contact';
select to_jsonb(c) as maria_before from public.contacts as c where c.id = :'maria' \gset

-- NOT THERE: in the same words, whose-ever it is.
select is((select string_agg(distinct k.step_type || ' ' || replace(d.said, t.id, '?'), E'\n') from kinds as k
  cross join lateral (values (case k.entity when 'contact' then :'theirs' else '00000000-0000-0000-0000-0000000000e3' end),
    ('7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11'), ('no id'), (''' or true --'), (repeat('9', 60)), ('(new ' || k.entity || ')')) as t (id)
  cross join lateral (select pg_temp.does(k.step_type, k.config, t.id) as said) as d
  where d.said <> format('failed target: there is no %s "%s"', k.entity, t.id)), null, 'another tenant''s, one that never was and what is no id are not there');
-- NOTHING SAYS WHICH
select is((select string_agg(distinct d.said, E'\n') from kinds as k cross join (values (null), (''), ('  ')) as t (id)
  cross join lateral (select pg_temp.does(k.step_type, k.config, t.id) as said) as d),
  'skipped target: it is empty; there is no other record to work on', 'an empty target is nobody');
select is((select count(*) from ridgeline.automation_failures where code = 'no_target') > 0, true, 'which the office sees');
select is((select to_jsonb(c) from public.contacts as c where c.id = :'maria'), :'maria_before'::jsonb, 'and never the run''s own contact');
select is((select count(*) from public.tasks) + (select count(*) from public.tags) + (select count(*) from public.projects where name = 'Gutter'), 0::bigint, 'nor is anything made');
select is((select jsonb_agg(to_jsonb(p) -> 'value') from public.projects as p), '[null, null, null]', 'nor any project touched');

-- IT IS DONE
select is((select string_agg(d.said, ', ') from kinds as k
  cross join lateral (select pg_temp.does(k.step_type, k.config, case k.entity when 'contact' then ' ' || :'otto' || ' ' else '00000000-0000-0000-0000-0000000000e2' end) as said) as d
  where d.said <> 'completed'), null, 'a record of one''s own is worked on');
select is((select to_jsonb(c) from public.contacts as c where c.id = :'maria'), :'maria_before'::jsonb, 'the run''s own contact is as it was');
select is((select jsonb_build_array(city, lead_score, assigned_to) from public.contacts where id = :'otto'), jsonb_build_array('Austin', 3, :'sam'), 'the other one is changed');
select is((select jsonb_build_array(value, pipeline_stage) from public.projects where name = 'Porch'), '[7, "won"]', 'the other project');
select is((select contact_id from public.projects where name = 'Gutter'), :'otto'::uuid, 'the new project is the other contact''s');
select is((select jsonb_object_agg(title, jsonb_build_array(contact_id, project_id)) from public.tasks),
  jsonb_build_object('Call', jsonb_build_array(:'otto', null), 'Order', jsonb_build_array(:'otto', '00000000-0000-0000-0000-0000000000e2')), 'a task about a project is its contact''s too');
select is((select count(*) from public.contact_tags), 0::bigint, 'a tag put on and taken off');
select is(pg_temp.does('create_task', '{"title": "Sweep", "entity": "job"}', '00000000-0000-0000-0000-0000000000d1'), 'completed', 'a job');
select is((select jsonb_build_array(contact_id, project_id, job_id) from public.tasks where title = 'Sweep'),
  jsonb_build_array(:'otto', '00000000-0000-0000-0000-0000000000e2', '00000000-0000-0000-0000-0000000000d1'), 'knows its project and its contact');
select is((select pg_temp.error_of(format('select pg_temp.does(''assign_user'', ''{"user_id": "%s", "entity": "invoice"}'', ''1'')', :'sam'))) like '%entity%', true, 'and so is an entity that is not there');

-- A REFERRAL: who was recommended is made, both are tagged, and the next step reads what was made.
select pg_temp.workflow(:'apex', 'job_completed', '{}', '[
  {"key": "friend", "type": "find_or_create_contact", "config": {"phone": "{{contact.custom_fields.friend}}", "fields": {"first_name": "Friend"}}},
  {"key": "theirs", "type": "add_tag", "config": {"tag": "referred", "target": "{{steps.friend.contact_id}}"}},
  {"key": "own", "type": "add_tag", "config": {"tag": "referrer"}},
  {"key": "by", "type": "update_contact", "config": {"target": "{{steps.friend.contact_id}}", "fields": {"custom_fields.referred_by": "{{contact.id}}"}}},
  {"key": "task", "type": "create_task", "config": {"title": "Welcome {{steps.friend.created}}", "target": "{{steps.friend.contact_id}}"}},
  {"key": "thanks", "type": "create_task", "config": {"title": "Thank {{contact.first_name}}"}}]') as referral \gset
update public.contacts set custom_fields = '{"friend": "512 555 0166"}' where id = :'otto';
update public.jobs set status = 'completed';
select pg_temp.settle();
select id as friend from public.contacts where first_name = 'Friend' \gset
select is((select string_agg(c.first_name || ': ' || t.name, ', ' order by c.first_name) from public.contact_tags as l join public.tags as t on t.id = l.tag_id join public.contacts as c on c.id = l.contact_id),
  'Friend: referred, Otto: referrer', 'both are tagged');
select is((select custom_fields ->> 'referred_by' from public.contacts where id = :'friend'), :'otto', 'who sent them is noted');
select is((select jsonb_object_agg(title, contact_id) from public.tasks where title ~ 'Welcome|Thank'), jsonb_build_object('Welcome true', :'friend', 'Thank Otto', :'otto'), 'each task is about whom it says');
select is((select e.contact_id from ridgeline.workflow_executions as e where e.workflow_id = :'referral'), :'otto', 'and the run stays about who it was about');
-- Recommended once more by somebody else, they are no second contact, and who sent them is thanked.
update public.contacts set custom_fields = '{"friend": "(512) 555-0166"}' where id = :'maria';
insert into public.jobs (tenant_id, contact_id, name, status) values (:'apex', :'maria', 'Flashing', 'scheduled');
update public.jobs set status = 'completed' where name = 'Flashing';
select pg_temp.settle();
select is((select count(*) from public.contacts where first_name = 'Friend'), 1::bigint, 'recommended twice is one friend');
select is((select count(*) from public.tasks where title like 'Thank %'), 2::bigint, 'and two who are thanked');

-- WON, LOST, WON AGAIN: one project, assigned and with a task of its own.
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "won"}', format('[
  {"key": "project", "type": "create_project", "config": {"name": "Roof of {{contact.first_name}}", "key": "roof"}},
  {"key": "who", "type": "assign_user", "config": {"user_ids": ["%s"], "target": "{{steps.project.project_id}}"}},
  {"key": "stage", "type": "change_stage", "config": {"stage": "in production", "target": "{{steps.project.project_id}}"}},
  {"key": "task", "type": "create_task", "config": {"title": "Deposit ({{steps.project.created}})", "target": "{{steps.project.project_id}}", "assigned_to": "{{steps.who.user_id}}"}}]', :'sam')::jsonb) as won \gset
update public.contacts set stage = 'won' where id = :'maria';
select pg_temp.settle();
update public.contacts set stage = 'lost' where id = :'maria';
select pg_temp.settle();
update public.contacts set stage = 'won' where id = :'maria';
select pg_temp.settle();
select is((select count(*) from public.projects where name = 'Roof of Maria'), 1::bigint, 'one project');
select is((select jsonb_build_array(assigned_to, pipeline_stage, contact_id) from public.projects where name = 'Roof of Maria'), jsonb_build_array(:'sam', 'in production', :'maria'), 'assigned and moved in the run that made it');
select is((select string_agg(t.title || ' ' || (t.project_id = p.id)::text || ' ' || (t.assigned_to = :'sam')::text, ', ' order by t.title desc) from public.tasks as t, public.projects as p where p.name = 'Roof of Maria' and t.title like 'Deposit%'),
  'Deposit (true) true true, Deposit (false) true true', 'with a task each time');
delete from public.projects where name = 'Roof of Maria';
update public.contacts set stage = 'lost' where id = :'maria';
select pg_temp.settle();
update public.contacts set stage = 'won' where id = :'maria';
select pg_temp.settle();
select alike((select e.error ->> 'message' from pg_temp.only_run(:'won') as e), 'target: there is no project "%"', 'what a person has deleted is not worked on');
update ridgeline.workflows set is_active = false where id in (:'won', :'referral');

-- DRY: what would be done, to whom; nothing is.
select pg_temp.workflow(:'apex', 'manual', '{}', format('[
  {"key": "new", "type": "find_or_create_contact", "config": {"phone": "5125550171", "fields": {"first_name": "Nu"}}},
  {"key": "tag", "type": "add_tag", "config": {"tag": "x", "target": "{{steps.new.contact_id}}"}},
  {"key": "who", "type": "assign_user", "config": {"user_id": "%s", "target": "{{steps.new.contact_id}}"}},
  {"key": "up", "type": "update_contact", "config": {"fields": {"city": "Austin"}, "target": "{{steps.new.contact_id}}"}},
  {"key": "roof", "type": "create_project", "config": {"name": "Roof", "target": "{{steps.new.contact_id}}"}},
  {"key": "stage", "type": "change_stage", "config": {"stage": "won", "target": "{{steps.roof.project_id}}"}},
  {"key": "task", "type": "create_task", "config": {"title": "{{contact.first_name}} {{contact.city}} {{contact.assigned_to}} {{steps.who.user_id}}", "target": "{{steps.roof.project_id}}"}}]', :'sam')::jsonb) as dry \gset
select ridgeline.test_workflow(:'dry', jsonb_build_object('contact_id', :'maria')) as tried \gset
select is((select string_agg(p ->> 'verdict', ' ' order by n) from jsonb_array_elements(:'tried'::jsonb -> 'path') with ordinality as p (p, n)), 'run run run run run run run', 'a dry run goes on with what it would make');
select is(:'tried'::jsonb #>> '{path,6,input,title}', 'Maria   ' || :'sam', 'and the run''s own contact is untouched by it');
select is(ridgeline.test_workflow(:'dry', '{}') #>> '{path,6,input,title}', format('Nu Austin %s %s', :'sam', :'sam'), 'where there was none, the new one is it');
select is((select count(*) from public.contacts where phone like '%5550171'), 0::bigint, 'nobody was made');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "add_tag", "config": {"tag": "x", "target": "{{custom.target}}"}}]') as tags \gset
select is(ridgeline.test_workflow(:'tags',
  jsonb_build_object('contact_id', :'maria', 'custom', jsonb_build_object('target', :'theirs'))) #>> '{path,0,reason,message}', format('target: there is no contact "%s"', :'theirs'), 'it fails as the run would');

-- A SHADOW the same, and what it would have done to others is nothing that it reads of its own.
update ridgeline.workflows set mode = 'shadow' where id = :'dry';
select (ridgeline.execute_workflow(:'dry', jsonb_build_object('contact_id', :'maria'))).id as shadowed \gset
select (ridgeline.execute_workflow(:'dry', '{}')).id as alone \gset
select pg_temp.settle();
select is((select string_agg(concat_ws(' ', s.step_key, s.error ->> 'code', s.error #>> '{would,target}'), ', ' order by s.seq) from ridgeline.workflow_step_executions as s where s.execution_id = :'shadowed'),
  'new shadow, tag shadow (new contact), who shadow (new contact), up shadow (new contact), roof shadow, stage shadow (new project), task shadow', 'a shadow says whom it would have worked on');
select is((select s.input ->> 'title' from ridgeline.workflow_step_executions as s where s.execution_id = :'shadowed' and s.step_key = 'task'), 'Maria   ' || :'sam', 'its own contact is as it is');
select is((select s.input ->> 'title' from ridgeline.workflow_step_executions as s where s.execution_id = :'alone' and s.step_key = 'task'), format('Nu Austin %s %s', :'sam', :'sam'), 'and the contact that it would have made is as it would be');
select is((select count(*) from public.contacts where phone like '%5550171'), 0::bigint, 'still nobody was made');
select is((select status::text from ridgeline.workflow_executions where id = :'alone'), 'completed', 'it goes to its end');
update ridgeline.workflows set mode = 'live' where id = :'dry';
select (ridgeline.execute_workflow(:'dry', '{}')).id as live \gset
select pg_temp.settle();
select is((select s.input ->> 'title' from ridgeline.workflow_step_executions as s where s.execution_id = :'live' and s.step_key = 'task'), format('Nu Austin %s %s', :'sam', :'sam'), 'which is what a live run reads');

select * from finish();
rollback;

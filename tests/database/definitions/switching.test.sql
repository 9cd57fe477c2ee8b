-- Pausing and resuming is a switch and no publication: an office that is half way through an edit can turn
-- the workflow off over the holidays and on again.
begin;
\ir ../foundation/story.psql
select plan(25);

select pg_temp.tenant() as apex \gset
create function pg_temp.titles(contact uuid) returns text
  language sql
  as $$ select string_agg(t.title, ', ' order by t.title) from public.tasks as t where t.contact_id = contact $$;
create function pg_temp.lead(tenant uuid, name text) returns text
  language plpgsql
  as $$
declare
  lead constant uuid := pg_temp.contact(tenant, name);
begin
  perform pg_temp.settle();
  return coalesce(pg_temp.titles(lead), 'nothing');
end;
$$;
create function pg_temp.draft_differs(flow uuid) returns boolean
  language sql
  as $$ select ridgeline.has_unpublished_changes(w) from ridgeline.workflows as w where w.id = flow $$;

select pg_temp.draft(:'apex', 'contact_created', steps => '[{"type": "create_task", "config": {"title": "Call"}}]') as flow \gset
select is(pg_temp.draft_differs(:'flow'), null, 'a draft differs from nothing');
update ridgeline.workflows set is_active = true where id = :'flow';
select is(pg_temp.draft_differs(:'flow'), false, 'switched on for the first time, it is published');

-- Each way to switch, each kind of edit that is not done yet.
create function pg_temp.round(flow uuid, off text, change text, back text) returns text
  language plpgsql
  as $$
begin
  execute format('update ridgeline.workflows set %s where id = %L', off, flow);
  execute format(change, flow);
  execute format('update ridgeline.workflows set %s where id = %L', back, flow);
  return concat_ws(' ', pg_temp.lead((select t.id from public.tenants as t), 'Maria'),
    (select count(*) from ridgeline.workflow_versions as v where v.workflow_id = flow),
    pg_temp.draft_differs(flow));
end;
$$;
select is(pg_temp.round(:'flow', off, change, back), 'Call 1 t', format('%s, %s, %s', off, change, back))
from (values
  ('is_active = false', 'update ridgeline.workflow_steps set step_config = ''{"title": "Half an edi"}'' where workflow_id = %L', 'is_active = true'),
  ('status = ''paused''', 'update ridgeline.workflow_steps set step_config = ''{}'' where workflow_id = %L', 'status = ''active'''),
  ('status = ''archived''', 'insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
     select w.tenant_id, w.id, 9, ''create_task'', ''{"title": "New"}'' from ridgeline.workflows as w where w.id = %L', 'is_active = true'),
  ('status = ''draft''', 'update ridgeline.workflows set trigger_config = ''{"type": "customer"}'' where id = %L', 'is_active = true'),
  ('is_active = false', 'update ridgeline.workflows set trigger_type = ''project_created'' where id = %L', 'status = ''active'''),
  ('is_active = false', 'update ridgeline.workflows set conditions = ''[{"field": "contact.city", "operator": "equals", "value": "x"}]'' where id = %L',
   'is_active = true, settings = ''{"reentry": "never"}''')
) as v (off, change, back);
select alike(pg_temp.error_of(format('select ridgeline.publish_workflow(%L)', :'flow')), '22023 %', 'an edit that is wrong is found when it is published');
update ridgeline.workflow_steps set step_config = '{"title": "Ring"}' where workflow_id = :'flow' and step_order = 1;
update ridgeline.workflows set trigger_type = 'contact_created', trigger_config = '{}', conditions = '[]' where id = :'flow';
select is((ridgeline.publish_workflow(:'flow')).version, 2, 'publishing is asked for');
select is(pg_temp.lead(:'apex', 'Ann'), 'New, Ring', 'and changes what runs');
select is(pg_temp.draft_differs(:'flow'), false, 'then nothing is unpublished');

-- What ends a run is a part of the version, and heard again after a pause.
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "wait", "config": {"days": 1}}, {"type": "create_task", "config": {"title": "Late"}}]',
  '[]', '{"exit_events": ["project_won"]}') as chase \gset
update ridgeline.workflows set is_active = false where id = :'chase';
select pg_temp.settle() \g /dev/null
update ridgeline.workflows set settings = '{}' where id = :'chase';
select automation.forget_listeners() \g /dev/null
update ridgeline.workflows set is_active = true where id = :'chase';
select is((select array_agg(t.role order by t.role) from automation.active_triggers as t where t.workflow_id = :'chase'), '{enrol,exit}',
  'what ends its runs is listened for again');
update ridgeline.workflows set settings = '{"exit_events": ["project_won", "call_missed"]}' where id = :'chase';
select is(pg_temp.draft_differs(:'chase'), true, 'another event to end at is a change');
select is((ridgeline.publish_workflow(:'chase')).version, 2, 'and a version');

-- Imported as active, before its steps; after a pause it follows its steps no longer.
insert into ridgeline.workflows (tenant_id, id, name, trigger_type, is_active)
values (:'apex', '00000000-0000-4000-8000-0000000000f1', 'Imported', 'project_created', true);
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
values (:'apex', '00000000-0000-4000-8000-0000000000f1', 1, 'create_task', '{"title": "One"}');
update ridgeline.workflows set is_active = false where id = '00000000-0000-4000-8000-0000000000f1';
update ridgeline.workflows set is_active = true where id = '00000000-0000-4000-8000-0000000000f1';
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
values (:'apex', '00000000-0000-4000-8000-0000000000f1', 2, 'create_task', '{"title": "Two"}');
select is((select count(*) from ridgeline.workflow_versions as v where v.workflow_id = '00000000-0000-4000-8000-0000000000f1'), 1::bigint,
  'a step that is added later waits to be published');

-- What is doubtful is told where it was published.
select pg_temp.draft(:'apex', 'contact_created', steps => '[{"type": "create_task", "config": {"title": "Call", "colour": "red"}}]') as doubtful \gset
select is((ridgeline.publish_workflow(:'doubtful')).warnings #>> '{0,code}', 'unknown_key', 'publish_workflow returns the warnings');
select is((ridgeline.publish_workflow(:'doubtful')).warnings #>> '{0,path}', 'steps[0].step_config.colour', 'also when nothing changed');
select pg_temp.draft(:'apex', 'contact_created', steps => '[{"type": "create_task", "config": {"title": "Call", "colour": "red"}}]') as switched \gset
update ridgeline.workflows set is_active = true where id = :'switched';
select is((select v.warnings #>> '{0,path}' from ridgeline.workflow_versions as v where v.workflow_id = :'switched'),
  'steps[0].step_config.colour', 'and the switch leaves them on the version');
select is((select v.warnings from ridgeline.workflow_versions as v where v.workflow_id = :'flow' and v.version = 1), '[]', 'no doubts, no warnings');
select pg_temp.member(:'apex') as sam \gset
select set_config('request.jwt.claims', jsonb_build_object('sub', :'sam', 'role', 'authenticated')::text, true) \g /dev/null
set local role authenticated;
select is((select count(*) from ridgeline.workflows as w where ridgeline.has_unpublished_changes(w)), 1::bigint, 'a member can ask for the column');
select is((select count(*) from ridgeline.workflows as w), 5::bigint, 'of every workflow');
reset role;
select set_config('request.jwt.claims', '', true) \g /dev/null

-- Published while a key that nobody knows was a warning: it runs on, is switched off and on, and is told when it is
-- published again.
select pg_temp.draft(:'apex', 'scheduled', '{"cron": "0 9 * * *", "for_each": {"entity": "contact",
  "conditions": [{"field": "contact.type", "operator": "equals", "value": "lead"}]}}',
  '[{"type": "create_task", "config": {"title": "Morning"}}]') as older \gset
update ridgeline.workflows set is_active = true where id = :'older';
alter table ridgeline.workflow_versions disable trigger workflow_versions_immutable;
update ridgeline.workflow_versions
set trigger_config = jsonb_set(trigger_config, '{for_each,conditions,0,weight}', '3') where workflow_id = :'older';
alter table ridgeline.workflow_versions enable trigger workflow_versions_immutable;
update ridgeline.workflows
set trigger_config = jsonb_set(trigger_config, '{for_each,conditions,0,weight}', '3'), is_active = false where id = :'older';
select lives_ok(format('update ridgeline.workflows set is_active = true where id = %L', :'older'), 'it is switched on again');
select is((select w.is_active from ridgeline.workflows as w where w.id = :'older'), true, 'and runs');
select alike(pg_temp.error_of(format('select ridgeline.publish_workflow(%L)', :'older')),
  '22023 %for_each.conditions[0].weight: a condition does not know "weight" | It knows: %', 'until it is published anew');

select * from finish();
rollback;

-- Who wrote {{trigger.project_name}} for years goes on writing it, in what was imported and in what is new.
begin;
\ir ../foundation/story.psql
select plan(13);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex') as maria \gset
select pg_temp.member(:'apex') as sam \gset

-- In templates, after a change of stage.
select pg_temp.workflow(:'apex', 'pipeline_stage_changed', '{"to": "won"}', jsonb_build_array(jsonb_build_object(
  'type', 'create_task', 'config', jsonb_build_object('title',
    '{{trigger.project_name}}: {{trigger.previous_stage}} > {{trigger.new_stage}}',
    'description', '{{trigger.changed_by}} {{trigger.changes}} {{trigger.old_status}} {{trigger.nonsense}}')))) as moved \gset
insert into public.projects (tenant_id, id, contact_id, name, pipeline_stage)
values (:'apex', gen_random_uuid(), :'maria', 'Lopez roof', 'new') returning id as roof \gset
select set_config('request.jwt.claims', json_build_object('role', 'authenticated', 'sub', :'sam')::text, true) is not null as t \gset
update public.projects set pipeline_stage = 'won' where id = :'roof';
select pg_temp.sign_out() is not null as t \gset
select pg_temp.settle() as did \gset
select is(t.title, 'Lopez roof: new > won', 'the names of the old snapshot have their values')
from public.tasks as t where t.tenant_id = :'apex';
select is(t.description, :'sam' || ' pipeline_stage open ', 'who did it, what changed, and nothing for what nobody has')
from public.tasks as t where t.tenant_id = :'apex';

-- In conditions, those of the workflow and those of a step.
select pg_temp.workflow(:'apex', 'pipeline_stage_changed', '{}', '[{"type": "create_task", "config": {"title": "Lost it"},
    "conditions": [{"field": "trigger.project_name", "operator": "equals", "value": "Lopez roof"}]}]',
  '[{"field": "trigger.previous_stage", "operator": "equals", "value": "won"},
    {"field": "trigger.new_stage", "operator": "equals", "value": "lost", "mode": "legacy"}]') as lost \gset
update public.projects set pipeline_stage = 'new' where id = :'roof';
update public.projects set pipeline_stage = 'won' where id = :'roof';
select is(pg_temp.runs(:'lost'), 0::bigint, 'not from won to new, nor from new to won');
update public.projects set pipeline_stage = 'won' where id = :'roof';
update public.projects set pipeline_stage = 'lost' where id = :'roof';
select is(pg_temp.runs(:'lost'), 1::bigint, 'but from won to lost');
select pg_temp.settle() as did \gset
select is(count(*), 1::bigint, 'and its step found the name')
from public.tasks as t where t.title = 'Lost it';

-- What a program sends under such a name comes before what it would be.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "{{trigger.project_name}}"}}]')
  as by_hand \gset
select ridgeline.execute_workflow(:'by_hand', jsonb_build_object(
  'project_id', :'roof', 'project_name', 'What they call it', 'tenant_id', :'apex')) is not null as started \gset
select pg_temp.settle() as did \gset
select is(count(*), 1::bigint, 'what was sent is what is said') from public.tasks as t where t.title = 'What they call it';

-- What no event of that type has is pointed out, and published all the same.
select is(pg_temp.findings(:'apex', event, '{}', jsonb_build_array(jsonb_build_object(
    'type', 'create_task', 'config', jsonb_build_object('title', title)))), expected, event || ' ' || title)
from (values
  ('pipeline_stage_changed', '{{trigger.project_name}} {{trigger.changed_at}}', null),
  ('contact_created', '{{trigger.project_name}}', 'warning unknown_variable steps[0].step_config.title'),
  ('project_created', '{{trigger.previous_stage}}', 'warning unknown_variable steps[0].step_config.title'),
  ('job_completed', '{{trigger.job_number}} {{trigger.contact_id}} {{trigger.custom.x}} {{trigger.user_id}}', null),
  ('contact_created', '{{trigger.anything}}', 'warning unknown_variable steps[0].step_config.title'),
  ('manual', '{{trigger.anything}}', null)
) as cases (event, title, expected);

select is(pg_temp.findings(:'apex', 'pipeline_stage_changed', '{}', '[{"type": "create_task", "config": {"title": "{{trigger.projet_name}}"}}]', '[]', true),
  'trigger.projet_name: no event of this type has "projet_name" | Did you mean project_name?', 'with the name that was meant');

select * from finish();
rollback;

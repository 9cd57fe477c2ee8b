-- A workflow with branches, as the office draws it, becomes a plan of pointers; what cannot is refused
-- with the path of what is wrong.
begin;
\ir ../foundation/story.psql
select plan(22);

select pg_temp.tenant() as apex \gset
create function pg_temp.plan(workflow uuid) returns jsonb
  language sql
  as $$ select (automation.compile_workflow(w)).plan from ridgeline.workflows as w where w.id = workflow $$;
create function pg_temp.next(plan jsonb, key text) returns text
  language sql
  as $$ select plan #>> array['steps', key, 'next'] $$;

select pg_temp.draft(:'apex', 'contact_created', '{}', '[
  {"type": "add_tag", "config": {"tag": "seen"}, "key": "seen"},
  {"type": "conditional", "key": "size", "config": {"conditions": [
      {"field": "contact.lead_score", "operator": "greater_than", "value": 50}]},
    "on": {
      "then": [
        {"type": "conditional", "key": "source", "config": {"branches": [
            {"name": "web", "conditions": [{"field": "contact.source", "operator": "equals", "value": "web"}]},
            {"name": "storm", "conditions": [{"field": "contact.source", "operator": "equals", "value": "storm"}]}]},
          "on": {
            "web": [{"type": "create_task", "key": "web_task", "config": {"title": "Web"}}],
            "else": [{"type": "create_task", "key": "other_task", "config": {"title": "Other"}},
                     {"type": "create_task", "key": "other_again", "config": {"title": "Again"}}]}},
        {"type": "create_task", "key": "big", "config": {"title": "Big"}}],
      "else": [{"type": "create_task", "key": "off", "config": {"title": "Off"}, "enabled": false}]}},
  {"type": "create_task", "key": "last", "config": {"title": "Last"}}]') as flow \gset
select pg_temp.plan(:'flow') as plan \gset

select is(:'plan'::jsonb ->> 'first', 'seen', 'it starts with the first step');
select is(pg_temp.next(:'plan', 'seen'), 'size', 'goes on to the next');
select is(:'plan'::jsonb #> '{steps,size,branches}', '{"then": "source", "else": "last"}'::jsonb,
  'a branch leads to its first step; one with none that is switched on, to what follows');
select is(:'plan'::jsonb #> '{steps,source,branches}',
  '{"web": "web_task", "storm": "big", "else": "other_task"}'::jsonb,
  'each way of a multi-way branch leads somewhere, the empty one to what follows the branch');
select is(pg_temp.next(:'plan', 'web_task'), 'big', 'the end of a branch leads on in the branch around it');
select is(pg_temp.next(:'plan', 'other_task'), 'other_again', 'steps on a branch follow each other');
select is(pg_temp.next(:'plan', 'big'), 'last', 'and from there back to the trunk');
select is(pg_temp.next(:'plan', 'last'), null, 'where it ends');
select ok(not :'plan'::jsonb -> 'steps' ? 'off', 'what is switched off is left out');
select is(:'plan'::jsonb #>> '{steps,web_task,at}', 'steps[1].then[0].web[0]',
  'every step knows where it was written');

select pg_temp.draft(:'apex', 'contact_created', '{}', '[
  {"type": "conditional", "config": {"conditions": []}, "enabled": false,
    "on": {"then": [{"type": "create_task", "config": {"title": "x"}}]}},
  {"type": "create_task", "config": {"title": "y"}}]') as off \gset
select is(pg_temp.plan(:'off') #>> '{steps,step_2,config,base,title}', 'y', 'steps without a key are numbered');
select is((select count(*) from jsonb_object_keys(pg_temp.plan(:'off') -> 'steps')), 1::bigint,
  'a branching step that is switched off takes its branches with it');

-- The unhappy half.
create function pg_temp.first_problem(workflow uuid) returns text
  language sql
  as $$
    select concat_ws(' ', p.value ->> 'path', p.value ->> 'code')
    from jsonb_array_elements(ridgeline.validate_workflow(workflow) -> 'problems') as p
    where p.value ->> 'severity' = 'error' limit 1
  $$;
select is(pg_temp.first_problem(pg_temp.draft(:'apex', 'contact_created', '{}', steps::jsonb)), problem, what)
from (values
  ('[{"type": "conditional", "config": {"conditions": []}, "on": {"maybe": [{"type": "add_tag", "config": {"tag": "x"}}]}}]',
   'steps unknown_branch', 'a branch that the step does not have'),
  ('[{"type": "add_tag", "config": {"tag": "x"}, "on": {"then": [{"type": "add_tag", "config": {"tag": "y"}}]}}]',
   'steps unknown_branch', 'a branch of a step that has none'),
  ('[{"type": "conditional", "config": {"conditions": []}, "on": {"then": [{"type": "add_tag"}]}}]',
   'steps[0].then[0].step_config.tag missing', 'a mistake on a branch is found there'),
  ('[{"type": "conditional", "config": {"conditions": []}, "on": {"then": [{"type": "add_tag", "key": "a", "config": {"tag": "x"}}],
     "else": [{"type": "add_tag", "key": "b", "config": {"tag": "x"}}]}}, {"type": "add_tag", "key": "step_1_then_2", "config": {"tag": "x"}},
     {"type": "conditional", "config": {"branches": [{"name": "a", "conditions": [{"field": "x", "operator": "resembles"}]},
       {"name": "b", "conditions": []}]}}]',
   'steps[2].step_config.branches[0].conditions[0].operator unknown_operator', 'a mistake in the second conditional''s first question')
) as v (steps, problem, what);

select pg_temp.draft(:'apex', 'contact_created') as one \gset
select pg_temp.draft(:'apex', 'contact_created') as two \gset
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config, parent_step_id, branch)
select :'apex', :'one', 2, 'add_tag', '{"tag": "x"}', s.id, 'then' from ridgeline.workflow_steps as s where s.workflow_id = :'two';
select is(pg_temp.first_problem(:'one'), 'steps unknown_branch', 'a parent in another workflow');

select pg_temp.draft(:'apex', 'contact_created') as round \gset
insert into ridgeline.workflow_steps (tenant_id, id, workflow_id, step_order, step_type, step_config)
values (:'apex', '00000000-0000-4000-8000-0000000000c1', :'round', 2, 'conditional', '{"conditions": []}');
insert into ridgeline.workflow_steps (tenant_id, id, workflow_id, step_order, step_type, step_config, parent_step_id, branch)
values (:'apex', '00000000-0000-4000-8000-0000000000c2', :'round', 1, 'conditional', '{"conditions": []}',
  '00000000-0000-4000-8000-0000000000c1', 'then');
update ridgeline.workflow_steps set parent_step_id = '00000000-0000-4000-8000-0000000000c2', branch = 'then'
where id = '00000000-0000-4000-8000-0000000000c1';
select is(pg_temp.first_problem(:'round'), 'steps unknown_branch', 'steps that are each other''s parents');
select alike((select string_agg(p ->> 'hint', ' ') from jsonb_array_elements(ridgeline.validate_workflow(:'round') -> 'problems') as p),
  '%its own parent%', 'and the hint says so');

-- Twenty levels are enough for anybody; the twenty-first is refused, not followed for ever.
create function pg_temp.nested(depth integer) returns jsonb
  language sql
  as $$
    select case when depth = 0 then '[{"type": "add_tag", "config": {"tag": "x"}}]'
      else jsonb_build_array(jsonb_build_object(
        'type', 'conditional', 'config', '{"conditions": []}'::jsonb,
        'on', jsonb_build_object('then', pg_temp.nested(depth - 1)))) end
  $$;
select is(pg_temp.first_problem(pg_temp.draft(:'apex', 'contact_created', '{}', pg_temp.nested(20))), null, 'twenty levels');
select alike(pg_temp.first_problem(pg_temp.draft(:'apex', 'contact_created', '{}', pg_temp.nested(22))), '%too_deep', 'twenty-two');
select throws_ok(
  format('insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, branch) values (%L, %L, ''stop'', ''then'')',
    :'apex', :'one'), '23514', null, 'a branch without a parent is no branch');

select * from finish();
rollback;

-- A step that was skipped says why, with the values that it saw: bounded, for a record may hold anything.
begin;
\ir ../foundation/story.psql
select plan(9);

select pg_temp.tenant() as apex \gset
create function pg_temp.reason(flow uuid) returns jsonb
  language sql
  as $$
    select s.error from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
    where e.workflow_id = flow and s.status = 'skipped'
  $$;
select pg_temp.contact(:'apex', 'Maria') as maria \gset
update public.contacts set city = 'Austin', company = repeat('very long ', 400) where id = :'maria';
select pg_temp.workflow(:'apex', 'manual', steps => '[{"type": "create_task", "config": {"title": "x"}, "conditions":
  {"all": [{"field": "contact.city", "operator": "equals", "value": "Waco"},
           {"field": "contact.company", "operator": "contains", "value": "roof"}]}}]') as flow \gset
select ridgeline.execute_workflow(:'flow', jsonb_build_object('contact_id', :'maria')) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reason(:'flow') ->> 'code', 'conditions_not_met', 'the code is as it was');
select is(pg_temp.reason(:'flow') #> '{conditions,all,0}',
  '{"path": "steps[0].conditions.all[0]", "field": "contact.city", "operator": "equals", "expected": "Waco", "actual": "Austin", "verdict": false}'::jsonb,
  'each test with its field, what was expected and what was found');
select ok(length(pg_temp.reason(:'flow') #>> '{conditions,all,1,actual}') between 200 and 210, 'a long value is cut');

-- Hundreds of tests do not fit a reason: those that decided do.
select pg_temp.workflow(:'apex', 'manual', steps => jsonb_build_array(jsonb_build_object('type', 'create_task', 'config', '{"title": "x"}'::jsonb,
  'conditions', jsonb_build_object('all', (select jsonb_agg(jsonb_build_object('field', 'contact.company', 'operator', 'contains', 'value', 'x' || n))
    from generate_series(1, 400) as n))))) as many \gset
select ridgeline.execute_workflow(:'many', jsonb_build_object('contact_id', :'maria')) \g /dev/null
select pg_temp.settle() \g /dev/null
select ok(length(pg_temp.reason(:'many')::text) < 40000, 'a reason stays readable');
select is(jsonb_array_length(pg_temp.reason(:'many') #> '{conditions,all}'), 20, 'with the first tests that failed');
select is(pg_temp.reason(:'many') #> '{conditions,shortened}', 'true', 'and says that there are more');

-- Exits and branches tell as much.
select pg_temp.workflow(:'apex', 'manual', settings => '{"exit_conditions": [{"field": "contact.city", "operator": "equals", "value": "Austin"}]}') as left_early \gset
select ridgeline.execute_workflow(:'left_early', jsonb_build_object('contact_id', :'maria')) \g /dev/null
select pg_temp.settle() \g /dev/null
select is((pg_temp.only_run(:'left_early')).error #>> '{conditions,actual}', 'Austin', 'an exit');
select pg_temp.workflow(:'apex', 'manual', steps => '[{"type": "conditional", "key": "ask", "config": {"conditions":
  [{"field": "contact.company", "operator": "equals", "value": "x"}]}}]') as asked \gset
select ridgeline.execute_workflow(:'asked', jsonb_build_object('contact_id', :'maria')) \g /dev/null
select pg_temp.settle() \g /dev/null
select is((select s.result_data #>> '{cases,0,expected}' from ridgeline.workflow_step_executions as s
  where s.execution_id = (pg_temp.only_run(:'asked')).id), 'x', 'a branch');
select ok((select length(s.result_data::text) < 1000 from ridgeline.workflow_step_executions as s
  where s.execution_id = (pg_temp.only_run(:'asked')).id), 'and both are bounded');

select * from finish();
rollback;

-- Which way a run goes: by what the record is, by weight, or no further.
begin;
\ir ../foundation/story.psql
select plan(33);

select pg_temp.tenant('Apex Roofing') as apex \gset

-- A big lead from the web, a small one, and one that nobody knows anything about.
select pg_temp.workflow(:'apex', 'contact_created', '{"type": "lead"}', '[
  {"type": "conditional", "key": "size", "config": {"conditions": [
      {"field": "contact.lead_score", "operator": "greater_than", "value": 50}]},
    "on": {
      "then": [
        {"type": "conditional", "key": "source", "config": {"branches": [
            {"name": "web", "conditions": [{"field": "contact.source", "operator": "equals", "value": "web"}]},
            {"name": "storm", "conditions": [{"field": "contact.source", "operator": "starts_with", "value": "st"}]}]},
          "on": {
            "web": [{"type": "create_task", "key": "web", "config": {"title": "Web"}}],
            "storm": [{"type": "conditional", "key": "deep", "config": {"conditions": [
                {"field": "contact.city", "operator": "is_not_empty"}]},
              "on": {"then": [{"type": "create_task", "key": "drive", "config": {"title": "Drive to {{contact.city}}"}}]}}],
            "else": [{"type": "create_task", "key": "ask", "config": {"title": "Ask"}}]}},
        {"type": "create_task", "key": "big", "config": {"title": "Big"}}],
      "else": [{"type": "create_task", "key": "small", "config": {"title": "Small"}}]}},
  {"type": "create_task", "key": "last", "config": {"title": "Last: {{steps.size.branch}}"}}]') as flow \gset

create function pg_temp.lead(fields jsonb) returns uuid
  language plpgsql
  as $$
declare
  lead_id uuid;
begin
  insert into public.contacts (tenant_id, first_name, lead_score, source, city)
  select t.id, 'Maria', (fields ->> 'score')::integer, fields ->> 'source', fields ->> 'city'
  from public.tenants as t where t.name = 'Apex Roofing'
  returning contacts.id into lead_id;
  perform pg_temp.settle();
  return (select e.id from ridgeline.workflow_executions as e where e.record_id = lead_id::text);
end;
$$;
select is(pg_temp.way(pg_temp.lead(fields::jsonb)), way, what)
from (values
  ('{"score": 90, "source": "web"}', 'size, source, web, big, last', 'a big lead from the web'),
  ('{"score": 90, "source": "Storm", "city": "Austin"}', 'size, source, deep, drive, big, last', 'three levels down and back'),
  ('{"score": 90, "source": "storm"}', 'size, source, deep, big, last', 'a branch with nothing on it is no dead end'),
  ('{"score": 90}', 'size, source, ask, big, last', 'else'),
  ('{"score": 10}', 'size, small, last', 'a small one'),
  ('{}', 'size, small, last', 'a score that nobody knows is not above 50')
) as v (fields, way, what);
select is((select title from public.tasks where title like 'Last%' order by id desc limit 1), 'Last: else',
  'later steps can read which way it went');
select is(
  (select jsonb_path_query_array(s.result_data, '$.cases[*].verdict') from ridgeline.workflow_step_executions as s
   where s.step_key = 'source' and s.result_data ->> 'branch' = 'storm' limit 1),
  '[false, true]'::jsonb, 'the ledger says what each question came to');
select is(
  (select jsonb_path_query_first(s.result_data, '$.cases[1].**.actual') #>> '{}' from ridgeline.workflow_step_executions as s
   where s.step_key = 'source' and s.result_data ->> 'branch' = 'storm' limit 1),
  'Storm', 'and what it saw');
select is((select count(*) from ridgeline.workflow_executions where status <> 'completed'), 0::bigint, 'all of them came to the end');

-- Branches on an outbound step's way, with a delay, and a question that is asked when it comes to it.
select pg_temp.workflow(:'apex', 'contact_created', '{"type": "customer"}', '[
  {"type": "conditional", "key": "asked_later", "delay": 1440, "config": {"conditions": [
      {"field": "contact.stage", "operator": "equals", "value": "won"}]},
    "on": {"then": [{"type": "send_sms", "key": "thanks", "delay": 60, "config": {"body": "Thanks"}}]}},
  {"type": "create_task", "key": "after", "config": {"title": "After"}}]') as later \gset
select pg_temp.contact(:'apex', 'Ann', '+15125550111', 'customer') as ann \gset
select (pg_temp.only_run(:'later')).id as run \gset
update public.contacts set stage = 'won' where id = :'ann';
select is((pg_temp.only_run(:'later')).status::text, 'waiting', 'a branch can be a day away');
select pg_temp.later('1 day');
select is(pg_temp.way(:'run'), 'asked_later', 'the question is asked of the record as it is then');
select is((pg_temp.only_run(:'later')).current_step, 'thanks', 'and the branch starts with its own delay');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'before the hour nothing goes out');
select pg_temp.later('61 minutes');
select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM1"}}') from automation.claim_steps('w', 10) as c;
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'asked_later, thanks, after', 'from a send on a branch the run goes on to the trunk');

-- A conditional that is itself skipped goes neither way.
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "conditional", "key": "c", "conditions": [{"field": "custom.ask", "operator": "is_true"}],
    "config": {"conditions": []},
    "on": {"then": [{"type": "create_task", "key": "t", "config": {"title": "T"}}], "else": [{"type": "create_task", "key": "e", "config": {"title": "E"}}]}},
  {"type": "create_task", "key": "after", "config": {"title": "After"}}]') as skipping \gset
select (ridgeline.execute_workflow(:'skipping', '{"custom": {"ask": false}}')).id as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'c skipped, after', 'a conditional that is skipped goes neither way');
select (ridgeline.execute_workflow(:'skipping', '{"custom": {"ask": true}}')).id as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'c, t, after', 'no conditions always hold');

-- STOP
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "conditional", "key": "c", "config": {"conditions": [{"field": "custom.n", "operator": "less_than", "value": 2}]},
    "on": {"then": [{"type": "stop", "key": "enough", "config": {"reason": "only {{custom.n}}", "outcome": "cancelled"}}]}},
  {"type": "stop", "key": "done", "config": {"reason": "all done"}},
  {"type": "create_task", "key": "never", "config": {"title": "Never"}}]') as stopping \gset
select (ridgeline.execute_workflow(:'stopping', '{"custom": {"n": 1}}')).id as run \gset
select pg_temp.settle();
select is(pg_temp.way(:'run'), 'c, enough', 'a stop on a branch ends the whole run');
select is((pg_temp.only_run(:'stopping')).status::text, 'cancelled', 'as what it says');
select is((pg_temp.only_run(:'stopping')).error, '{"code": "stopped", "message": "only 1", "step": "enough"}'::jsonb, 'and why');
select (ridgeline.execute_workflow(:'stopping', '{"custom": {"n": 2}}')).id as run \gset
select pg_temp.settle();
select is((select e.status::text from ridgeline.workflow_executions as e where e.id = :'run'), 'completed', 'or as completed');
select is((select count(*) from ridgeline.scheduled_steps where execution_id = :'run'), 0::bigint, 'with nothing left to do');

-- SPLIT
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "split", "key": "ab", "config": {"branches": [{"name": "a", "weight": 70}, {"name": "b", "weight": 30}]},
    "on": {"a": [{"type": "add_tag", "key": "a", "config": {"tag": "a"}}], "b": [{"type": "add_tag", "key": "b", "config": {"tag": "b"}}]}}]')
  as splitting \gset
create temp table crowd as
  select gen_random_uuid() as id from generate_series(1, 600);
insert into public.contacts (tenant_id, id, first_name, type) select :'apex', c.id, 'N', 'crowd' from crowd as c;
select count(ridgeline.execute_workflow(:'splitting', jsonb_build_object('contact_id', c.id))) from crowd as c \gset
select pg_temp.settle();
select ok((select count(*) filter (where s.result_data ->> 'branch' = 'a') / 600.0 between 0.62 and 0.78
  from ridgeline.workflow_step_executions as s where s.step_key = 'ab'), 'seven of ten go the way of weight 70');
select is((select count(*) from public.contact_tags as ct join crowd as c on c.id = ct.contact_id), 600::bigint,
  'each goes one way');
create temp table first_time as
  select s.result_data ->> 'branch' as branch, e.contact_id from ridgeline.workflow_step_executions as s
  join ridgeline.workflow_executions as e on e.id = s.execution_id where s.step_key = 'ab';
select is(automation.draw_branch('[{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]', 'x'),
  automation.draw_branch('[{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]', 'x'), 'the lot is the same for the same seed');
-- The office finds that b does better.
update ridgeline.workflow_steps set step_config = '{"branches": [{"name": "a", "weight": 1}, {"name": "b", "weight": 99}]}'
where workflow_id = :'splitting' and step_key = 'ab';
select (ridgeline.publish_workflow(:'splitting')).version as version \gset
select count(ridgeline.execute_workflow(:'splitting', jsonb_build_object('contact_id', c.id))) from crowd as c \gset
select pg_temp.settle();
select is((
  select count(*) from ridgeline.workflow_step_executions as s
  join ridgeline.workflow_executions as e on e.id = s.execution_id
  join first_time as f on f.contact_id = e.contact_id and f.branch = s.result_data ->> 'branch'
  where s.step_key = 'ab' and e.version = :version), 600::bigint, 'who went one way goes it again, whatever the weights are now');
insert into public.contacts (tenant_id, id, first_name, type)
select :'apex', gen_random_uuid(), 'New', 'new crowd' from generate_series(1, 100);
select count(ridgeline.execute_workflow(:'splitting', jsonb_build_object('contact_id', c.id)))
from public.contacts as c where c.type = 'new crowd' \gset
select pg_temp.settle();
select ok((
  select count(*) filter (where s.result_data ->> 'branch' = 'b') >= 90
  from ridgeline.workflow_step_executions as s
  join ridgeline.workflow_executions as e on e.id = s.execution_id
  join public.contacts as c on c.id::text = e.contact_id and c.type = 'new crowd'
  where s.step_key = 'ab'), 'new ones go by the new weights');
-- And then drops a.
update ridgeline.workflow_steps set enabled = false where workflow_id = :'splitting' and step_key = 'a';
update ridgeline.workflow_steps set step_config = '{"branches": [{"name": "b", "weight": 1}, {"name": "c", "weight": 1}]}'
where workflow_id = :'splitting' and step_key = 'ab';
delete from ridgeline.workflow_steps where workflow_id = :'splitting' and step_key = 'a';
select (ridgeline.publish_workflow(:'splitting')).version as version \gset
select count(ridgeline.execute_workflow(:'splitting', jsonb_build_object('contact_id', c.id))) from crowd as c \gset
select pg_temp.settle();
select is((
  select count(*) from ridgeline.workflow_step_executions as s join ridgeline.workflow_executions as e on e.id = s.execution_id
  where s.step_key = 'ab' and e.version = :version and s.result_data ->> 'branch' not in ('b', 'c')), 0::bigint,
  'a branch that is gone is drawn anew');
select is((
  select count(*) from ridgeline.workflow_step_executions as s
  join ridgeline.workflow_executions as e on e.id = s.execution_id
  join first_time as f on f.contact_id = e.contact_id
  where s.step_key = 'ab' and e.version = :version and f.branch = 'b' and s.result_data ->> 'branch' <> 'b'), 0::bigint,
  'and nobody else is moved');

-- ROUND ROBIN
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'apex') as kim \gset
select pg_temp.member(:'apex') as lee \gset
select pg_temp.workflow(:'apex', 'manual', '{}', jsonb_build_array(jsonb_build_object('type', 'assign_user', 'key', 'rep',
  'config', jsonb_build_object('user_ids', jsonb_build_array(:'sam', :'kim', gen_random_uuid(), :'lee'))))) as rota \gset
create function pg_temp.turns(workflow uuid, times integer) returns setof uuid
  language plpgsql
  as $$
declare
  run uuid;
begin
  for i in 1..times loop
    run := (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id',
      (select c.id from public.contacts as c where c.type = 'new crowd' order by c.id offset i limit 1)))).id;
    perform pg_temp.settle();
    return query select (s.result_data ->> 'user_id')::uuid from ridgeline.workflow_step_executions as s where s.execution_id = run;
  end loop;
end;
$$;
select is(array(select t from pg_temp.turns(:'rota', 4) as t), array[:'sam', :'kim', :'lee', :'sam']::uuid[],
  'each has a turn; who is no member has none');
delete from public.tenant_members where user_id = :'kim';
select is(array(select t from pg_temp.turns(:'rota', 2) as t), array[:'lee', :'sam']::uuid[], 'who leaves is passed over');
delete from public.tenant_members where tenant_id = :'apex';
select is((ridgeline.execute_workflow(:'rota', jsonb_build_object('contact_id', :'ann'))).status::text, 'pending', 'with nobody left');
select pg_temp.settle();
select is((pg_temp.only_run(:'rota')).error ->> 'message', 'user_ids: none of them is a member of the tenant', 'the step fails and says so');

select * from finish();
rollback;

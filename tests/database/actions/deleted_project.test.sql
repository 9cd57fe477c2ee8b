-- Won, Lost, Won again is one project; and one that the office threw away stays away.
begin;
\ir ../foundation/story.psql
select plan(6);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'apex', 'Ann', '+15125550111') as ann \gset
select pg_temp.workflow(:'apex', 'manual', steps =>
  '[{"type": "create_project", "key": "make", "config": {"name": "Roof of {{contact.first_name}}", "key": "won"}}]') as flow \gset
create function pg_temp.wins(flow uuid, contact uuid) returns jsonb
  language plpgsql
  as $$
declare
  run constant uuid := (ridgeline.execute_workflow(flow, jsonb_build_object('contact_id', contact))).id;
begin
  perform pg_temp.settle();
  return (select s.result_data from ridgeline.workflow_step_executions as s where s.execution_id = run);
end;
$$;
select is(pg_temp.wins(:'flow', :'maria') ->> 'created', 'true', 'won: a project');
select is(pg_temp.wins(:'flow', :'maria') ->> 'created', 'false', 'won again: the same');
delete from public.projects where contact_id = :'maria';
select is(pg_temp.wins(:'flow', :'maria') - 'project_id', '{"created": false, "deleted": true}', 'deleted by a person: not made again, and the step says so');
select is((select count(*) from public.projects where contact_id = :'maria'), 0::bigint, 'there is none');
select is(pg_temp.wins(:'flow', :'ann') ->> 'created', 'true', 'somebody else gets their own');
select is((select count(*) from public.projects where contact_id = :'ann'), 1::bigint, 'one');

select * from finish();
rollback;

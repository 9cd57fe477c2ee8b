-- An office imports its winter campaign, hundreds of steps long: publishing takes as long for each step as
-- it does for a short one.
begin;
\ir ../foundation/story.psql
select plan(3);

select pg_temp.tenant() as apex \gset
-- Each text looks back at the one before, asks two questions first, and every third stands on a branch.
create function pg_temp.long_draft(tenant uuid, length integer) returns uuid
  language sql
  as $$
    select pg_temp.draft(tenant, 'contact_created', steps => (
      select jsonb_agg(jsonb_build_object('type', 'conditional', 'key', 'ask' || n,
        'config', '{"conditions": [{"field": "contact.type", "operator": "equals", "value": "lead"}]}'::jsonb,
        'on', jsonb_build_object(
          'then', jsonb_build_array(jsonb_build_object('type', 'create_task', 'key', 'yes' || n,
            'config', jsonb_build_object('title', format('{{contact.first_name}} {{steps.ask%s.branch}}', n)))),
          'else', jsonb_build_array(jsonb_build_object('type', 'update_contact',
            'config', jsonb_build_object('fields', jsonb_build_object('stage', 'stage ' || n)))))) order by n)
      from generate_series(1, length / 3) as n))
  $$;

-- How many functions were called for it; what each of them takes is scripts/bench-publish.ts's.
set local track_functions = 'all';
create function pg_temp.calls() returns numeric
  language sql
  as $$ select coalesce(sum(f.calls), 0) from pg_stat_xact_user_functions as f $$;
create function pg_temp.cost(workflow uuid) returns numeric
  language plpgsql
  as $$
declare
  before constant numeric := pg_temp.calls();
begin
  perform ridgeline.validate_workflow(workflow);
  return pg_temp.calls() - before;
end;
$$;

select pg_temp.long_draft(:'apex', 90) as short \gset
select pg_temp.long_draft(:'apex', 540) as long \gset
select is(ridgeline.validate_workflow(:'long'), '{"valid": true, "problems": []}', 'nothing is wrong with it');
select pg_temp.cost(:'short') as few, pg_temp.cost(:'long') as many \gset
select ok(:few > 1000 and :many < 7 * :few, 'six times as many steps cost six times as much, not thirty-six');
update ridgeline.workflows as w set is_active = true where w.id = :'long';
select is((select count(*) from jsonb_object_keys((
    select v.plan -> 'steps' from ridgeline.workflow_versions as v where v.workflow_id = :'long'))), 540::bigint,
  'and all of them are published');

select * from finish();
rollback;

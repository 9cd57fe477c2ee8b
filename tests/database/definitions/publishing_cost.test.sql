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

-- The best of three, in milliseconds.
create function pg_temp.cost(workflow uuid) returns numeric
  language plpgsql
  as $$
declare
  began timestamptz;
  best numeric;
begin
  for n in 1 .. 3 loop
    began := clock_timestamp();
    perform ridgeline.validate_workflow(workflow);
    best := least(best, extract(epoch from clock_timestamp() - began) * 1000);
  end loop;
  return best;
end;
$$;

select pg_temp.long_draft(:'apex', 90) as short \gset
select pg_temp.long_draft(:'apex', 540) as long \gset
select is(ridgeline.validate_workflow(:'long'), '{"valid": true, "problems": []}', 'nothing is wrong with it');
select ok(pg_temp.cost(:'long') < 14 * pg_temp.cost(:'short'),
  'six times as many steps cost about six times as much, not thirty-six');
update ridgeline.workflows as w set is_active = true where w.id = :'long';
select is((select count(*) from jsonb_object_keys((
    select v.plan -> 'steps' from ridgeline.workflow_versions as v where v.workflow_id = :'long'))), 540::bigint,
  'and all of them are published');

select * from finish();
rollback;

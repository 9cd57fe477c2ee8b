-- A draft is written step by step, beside thousands of workflows that are on; statistics are of a night when none was.
begin;
\ir ../foundation/story.psql
select plan(4);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Prairie Gutters') as prairie \gset
create function pg_temp.many_that_are_on(of uuid) returns void
  language sql
  as $$
    alter table ridgeline.workflows disable trigger user;
    insert into ridgeline.workflows (tenant_id, name, trigger_type, is_active, status)
    select of, 'many', 'manual', true, 'active' from generate_series(1, 3000);
    alter table ridgeline.workflows enable trigger user;
  $$;
select pg_temp.many_that_are_on(:'prairie');
delete from ridgeline.workflows;
analyze ridgeline.workflows, ridgeline.workflow_versions, ridgeline.workflow_steps, automation.activations;
select ok(c.relpages > 20 and c.reltuples = 0, 'many pages, and nothing in them')
from pg_class as c where c.oid = 'ridgeline.workflows'::regclass;
select pg_temp.many_that_are_on(:'prairie');

create function pg_temp.reads() returns bigint
  language sql volatile
  as $$
    select sum(coalesce(idx_tup_fetch, 0) + seq_tup_read)::bigint from pg_stat_xact_user_tables
    where relname in ('workflows', 'workflow_versions', 'workflow_steps', 'activations')
  $$;
create function pg_temp.add_step(workflow uuid) returns bigint
  language plpgsql
  as $$
declare
  before constant bigint := pg_temp.reads();
begin
  insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config)
  select w.tenant_id, w.id, 'create_task', '{"title": "Call"}' from ridgeline.workflows as w where w.id = workflow;
  return pg_temp.reads() - before;
end;
$$;
select pg_temp.draft(:'apex', 'manual') as draft \gset
select cmp_ok(pg_temp.add_step(:'draft'), '<', 100::bigint, 'a step of a draft is written without reading those that are on');

-- What is on without any step is published with its first.
insert into ridgeline.workflows (tenant_id, name, trigger_type, is_active) values (:'apex', 'On', 'manual', true) returning id as awaited \gset
select is((select published_version from ridgeline.workflows where id = :'awaited'), null, 'without a step there is nothing to publish');
select pg_temp.add_step(:'awaited');
select is((select published_version from ridgeline.workflows where id = :'awaited'), 1, 'and one is enough');
select * from finish();
rollback;

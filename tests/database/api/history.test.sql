-- The office looks back: page by page, every run once, whatever was written at the same moment or meanwhile.
begin;
\ir ../foundation/story.psql
select plan(19);

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as flow \gset
select pg_temp.workflow(:'apex', 'manual', conditions => '[{"field": "contact.city", "operator": "equals", "value": "Waco"}]') as waco \gset

-- Ninety leads in one import: one moment, ninety runs.
insert into public.contacts (tenant_id, first_name) select :'apex', 'Lead ' || n from generate_series(1, 90) as n;
select is((select count(distinct e.created_at) from ridgeline.workflow_executions as e), 1::bigint, 'an import is one moment');

-- Reads to the end, while new leads come in between the pages.
create function pg_temp.pages(page integer, flow uuid) returns uuid[]
  language plpgsql
  as $$
declare
  seen uuid[] := '{}';
  here uuid[];
begin
  loop
    here := array(select h.id from ridgeline.get_execution_history(
      workflow_id => flow, before => seen[cardinality(seen)], max_rows => page) as h);
    exit when here = '{}';
    seen := seen || here;
    insert into public.contacts (tenant_id, first_name) select t.id, 'Meanwhile' from public.tenants as t;
  end loop;
  return seen;
end;
$$;
create temp table existing as select e.id from ridgeline.workflow_executions as e;
select is(
  (select array[count(*), count(distinct p), count(*) filter (where p in (select x.id from existing as x))]
   from unnest(pg_temp.pages(page, :'flow')) as p),
  array[90, 90, 90]::bigint[], format('pages of %s show each of the ninety once', page))
from (values (25)) as v (page);
create temp table again as select e.id from ridgeline.workflow_executions as e;
select is((select array[count(*), count(distinct p)] from unnest(pg_temp.pages(7, :'flow')) as p),
  (select array[count(*), count(*)] from again), 'and smaller ones each of what there is by then');
select is((select array_agg(h.id) from ridgeline.get_execution_history(max_rows => 500) as h),
  (select array_agg(e.id order by e.id desc) from ridgeline.workflow_executions as e), 'newest first');

-- What can be asked for.
select (array_agg(c.id order by c.id))[1] as lead from public.contacts as c where c.first_name = 'Lead 1' \gset
select ridgeline.execute_workflow(:'waco', jsonb_build_object('contact_id', :'lead')) \g /dev/null
select is((select count(*) from ridgeline.get_execution_history(record_id => :'lead') as h), 2::bigint, 'by record');
select is((select count(*) from ridgeline.get_execution_history(contact_id => :'lead') as h), 2::bigint, 'by contact');
select is((select array_agg(h.workflow_name) from ridgeline.get_execution_history(status => 'skipped') as h), '{manual}', 'by status');
select is((select array_agg(h.record_id) from ridgeline.get_execution_history(trigger_type => 'manual') as h), array[:'lead'], 'by trigger');
select is((select count(*) from ridgeline.get_execution_history(workflow_id => :'waco') as h), 1::bigint, 'by workflow');
select is((select count(*) from ridgeline.get_execution_history(since => automation.now() + interval '1 hour') as h), 0::bigint, 'since');
select is((select count(*) from ridgeline.get_execution_history(until => automation.now() - interval '1 hour') as h), 0::bigint, 'until');
select is((select count(*) from ridgeline.get_execution_history(
  since => automation.now() - interval '1 hour', until => automation.now() + interval '1 hour', max_rows => 3) as h), 3::bigint,
  'between, and no more than asked for');
select is((select h.tenant_id from ridgeline.get_execution_history(max_rows => 1, tenant_id => :'apex') as h), :'apex'::uuid, 'of a tenant');
select is((select count(*) from ridgeline.get_execution_history(tenant_id => gen_random_uuid()) as h), 0::bigint, 'of nobody''s');
select is((select count(*) from ridgeline.get_execution_history(max_rows => -4) as h), 1::bigint, 'a page has one row at least');

-- What cannot.
select alike(pg_temp.error_of(format('select ridgeline.get_execution_history(status => %L)', status)),
  format('22023 status: there is no status "%s" | Known: pending, running, %%, skipped', status), 'a misspelt status: ' || status)
from (values ('complete'), ('FAILED'), ('')) as v (status);
select alike(pg_temp.error_of($$select ridgeline.get_execution_history(trigger_type => 'contact_create')$$),
  '22023 trigger_type: there is no trigger "contact_create" | Known: %contact_created%', 'a misspelt trigger');

select * from finish();
rollback;

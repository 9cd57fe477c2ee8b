-- 00 FOUNDATION
--
-- What every later chapter stands on: the private schema, identifiers, the clock, settings and
-- the way errors are raised. Nothing here knows about a CRM or a workflow, and nothing here
-- takes a row lock that a later chapter could wait for.

create schema if not exists automation;
create schema if not exists ridgeline;

comment on schema automation is
  'Ridgeline''s engine. Not exposed through the Data API; clients use schema ridgeline.';

comment on schema ridgeline is
  'Ridgeline: workflows, what they did and will do, and the functions that clients call. Add it to the schemas of '
  'the Data API.';

-- What attaching generates is nobody's to call, and no default privilege of a schema can say so: whoever makes a
-- function closes it.
create or replace function automation.close_functions() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  open regprocedure;
begin
  for open in
    select p.oid::regprocedure from pg_catalog.pg_proc as p
    where p.pronamespace = 'automation'::regnamespace and p.prokind = 'f'
      and (p.proacl is null or exists (
        select from aclexplode(p.proacl) as a where a.grantee = 0))
      and p.proname ~ ('^(capture|read|has|write|in_host|link|linked|unlink'
        '|step|fold|check|compile|branches|place|needs|writes|address|imagine|perform)_')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', open);
    execute format('grant execute on function %s to service_role', open);
  end loop;
end;
$$;

revoke all on schema automation from public;
revoke all on schema ridgeline from public;

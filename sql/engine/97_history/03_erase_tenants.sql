-- A tenant that was deleted in the CRM goes with all it has here, a portion a tick.

-- The tables that hold a tenant's rows, each before those that it refers to, so that no key cascades over more than
-- a portion. Versions go with their workflow: each refers to the other.
create or replace function automation.tenant_tables() returns table (relation regclass)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with recursive owned as (
      select c.oid::regclass as relation
      from pg_catalog.pg_class as c
      join pg_catalog.pg_attribute as a
        on a.attrelid = c.oid and a.attname = 'tenant_id' and a.atttypid = 'pg_catalog.uuid'::regtype
        and not a.attisdropped
      where c.relnamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace) and c.relkind in ('r', 'p')
        and not c.relispartition and c.oid <> 'automation.gone_tenants'::regclass
    ), below (relation, depth) as (
      select o.relation, 0 from owned as o
      union
      select k.conrelid::regclass, b.depth + 1
      from below as b
      join pg_catalog.pg_constraint as k
        on k.confrelid = b.relation and k.contype = 'f' and k.confdeltype = 'c' and k.conrelid <> k.confrelid
      where b.depth < 20
    )
    select b.relation from below as b join owned as o on o.relation = b.relation
    where b.relation <> 'ridgeline.workflow_versions'::regclass
    group by b.relation order by max(b.depth) desc, b.relation::text
  $$;

-- What somebody works on right now is left for the next portion.
create or replace function automation.erase_rows(relation regclass, gone uuid, at_most integer) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  erased integer;
begin
  execute format(
    'delete from %1$s as t where t.ctid = any (array('
    'select r.ctid from %1$s as r where r.tenant_id = $1 limit $2 for update skip locked))', relation)
    using gone, at_most;
  get diagnostics erased = row_count;
  return erased;
end;
$$;

create or replace function automation.erase_tenant(gone uuid, at_most integer) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  erased integer := 0;
  relation regclass;
begin
  for relation in select t.relation from automation.tenant_tables() as t loop
    erased := erased + automation.erase_rows(relation, gone, at_most - erased);
    exit when erased >= at_most;
  end loop;
  if erased < at_most then
    perform automation.delete_secret(gone, s.name) from automation.list_secrets(gone) as s;
  end if;
  return erased;
end;
$$;

-- Is there anything left of it? What is held right now counts too.
create or replace function automation.has_rows(gone uuid) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  relation regclass;
  found_one boolean;
begin
  for relation in select t.relation from automation.tenant_tables() as t loop
    execute format('select exists (select from %s as r where r.tenant_id = $1)', relation) into found_one using gone;
    if found_one then
      return true;
    end if;
  end loop;
  return false;
end;
$$;

-- A restored backup may bring a tenant back. What has not been erased by then is its own again.
create or replace function automation.welcome_back(tenant_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.gone_tenants as g where g.tenant_id = welcome_back.tenant_id;
  perform automation.listen_again(e.name) from automation.entities as e;
  raise warning 'automation: tenant % is there again; what was erased of it, its runs in flight first, is not',
    tenant_id;
end;
$$;

create or replace function automation.erase_tenants(at_most integer default 2000) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gone automation.gone_tenants;
  erased integer := 0;
begin
  for gone in
    select g.* from automation.gone_tenants as g order by g.gone_at limit 50 for update skip locked
  loop
    -- One that cannot be erased keeps none of the others.
    begin
      if automation.tenant_state(gone.tenant_id) in ('here', 'deleted') then
        perform automation.welcome_back(gone.tenant_id);
      else
        erased := erased + automation.erase_tenant(gone.tenant_id, at_most - erased);
        -- Late reports about its messages may still come in for a while.
        if erased < at_most and gone.gone_at < automation.now() - interval '1 hour'
          and not automation.has_rows(gone.tenant_id) then
          delete from automation.gone_tenants as g where g.tenant_id = gone.tenant_id;
        end if;
      end if;
    exception when others then
      raise warning 'automation: the rows of tenant %, which is gone, stay for now: %', gone.tenant_id, sqlerrm;
    end;
    exit when erased >= at_most;
  end loop;
  return erased;
end;
$$;

comment on function automation.erase_tenants(integer) is
  'Deletes the next rows of tenants that were deleted in the CRM (automation.gone_tenants), at most so many, and says '
  'how many. The tick calls it. Never raises.';

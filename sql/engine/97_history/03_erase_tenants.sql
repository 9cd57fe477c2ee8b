-- A tenant that was deleted in the CRM, or that somebody asks to have forgotten, goes with all it has here, a portion a
-- tick. What stays is an entry that says so.

create table ridgeline.tenant_erasures (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  cause text not null
    constraint tenant_erasures_cause_known check (cause in ('asked', 'deleted')),
  status text not null default 'running'
    constraint tenant_erasures_status_known check (status in ('running', 'completed', 'withdrawn')),
  requested_by uuid,
  requested_as text,
  requested_at timestamptz not null default automation.now(),
  finished_at timestamptz,
  erased jsonb not null default '{}',
  changed_at timestamptz not null default automation.now(),
  constraint tenant_erasures_pkey primary key (tenant_id, id),
  constraint tenant_erasures_finished_matches_status check ((finished_at is null) = (status = 'running'))
);

select automation.keep_changed_at('ridgeline.tenant_erasures');

comment on table ridgeline.tenant_erasures is
  'That a tenant was erased: why, who asked for it, when, and how many rows that took. Outlives the tenant.';
comment on column ridgeline.tenant_erasures.cause is
  'asked: ridgeline.erase_tenant() was called; deleted: the CRM deleted it.';
comment on column ridgeline.tenant_erasures.status is
  'withdrawn: the CRM had the tenant again before all was erased; what was erased by then is gone.';
comment on column ridgeline.tenant_erasures.requested_by is
  'The signed-in user; null: the service role, or SQL. requested_as: the role.';
comment on column ridgeline.tenant_erasures.erased is '{table: rows deleted}.';

-- The tables that hold a tenant's rows, each before those that it refers to, so that no key cascades over more than
-- a portion. Versions go with their workflow: each refers to the other. Who must not be written to is forgotten last.
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
        and not c.relispartition
        and c.oid not in ('automation.gone_tenants'::regclass, 'ridgeline.tenant_erasures'::regclass)
    ), below (relation, depth) as (
      select o.relation, 0 from owned as o
      union
      select k.relation, b.depth + 1
      from below as b
      join (
        select c.confrelid::regclass as refers_to, c.conrelid::regclass as relation
        from pg_catalog.pg_constraint as c
        where c.contype = 'f' and c.confdeltype = 'c' and c.conrelid <> c.confrelid
        -- By triggers, and not by keys.
        union all values
          ('ridgeline.workflows'::regclass, 'ridgeline.workflow_timers'::regclass),
          ('ridgeline.workflow_versions'::regclass, 'ridgeline.workflow_executions'::regclass),
          ('ridgeline.workflow_executions'::regclass, 'ridgeline.scheduled_steps'::regclass)
      ) as k on k.refers_to = b.relation
      where b.depth < 20
    )
    select b.relation from below as b join owned as o on o.relation = b.relation
    where b.relation <> 'ridgeline.workflow_versions'::regclass
    group by b.relation
    order by b.relation in ('ridgeline.consents'::regclass, 'ridgeline.suppressions'::regclass,
        'automation.revoked_people'::regclass, 'automation.erased_addresses'::regclass),
      max(b.depth) desc, b.relation::text
  $$;

-- And those of what its own account at a provider told, which name it otherwise. First: nothing refers to them.
create or replace function automation.erased_tables() returns table (relation regclass, tenant_column text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.oid::regclass, a.attname::text
    from pg_catalog.pg_class as c
    join pg_catalog.pg_attribute as a on a.attrelid = c.oid and a.attname = 'account_of' and not a.attisdropped
    where c.relnamespace in ('automation'::regnamespace, 'ridgeline'::regnamespace) and c.relkind in ('r', 'p')
      and not c.relispartition
    union all
    select t.relation, 'tenant_id' from automation.tenant_tables() as t
  $$;

-- What somebody works on right now is left for the next portion.
create or replace function automation.erase_rows(
  relation regclass, gone uuid, at_most integer, tenant_column text)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  erased integer;
begin
  execute format(
    'delete from %1$s as t where t.%2$I = $1 and t.ctid = any (array('
    'select r.ctid from %1$s as r where r.%2$I = $1 limit $2 for update skip locked))', relation, tenant_column)
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
  here integer;
  counts jsonb := '{}'::jsonb;
  relation regclass;
  tenant_column text;
begin
  for relation, tenant_column in select t.relation, t.tenant_column from automation.erased_tables() as t loop
    here := automation.erase_rows(relation, gone, at_most - erased, tenant_column);
    if here > 0 then
      counts := counts || jsonb_build_object(relation::text, here);
    end if;
    erased := erased + here;
    exit when erased >= at_most;
  end loop;
  if erased < at_most then
    perform automation.delete_secret(gone, s.name) from automation.list_secrets(gone) as s;
  end if;
  if erased > 0 then
    update ridgeline.tenant_erasures as e
    set erased = e.erased || (
      select jsonb_object_agg(c.key, c.value::bigint + coalesce((e.erased ->> c.key)::bigint, 0))
      from jsonb_each_text(counts) as c)
    where e.tenant_id = gone and e.status = 'running';
  end if;
  return erased;
end;
$$;

-- Called with the row of gone_tenants locked, so that there is one.
create or replace function automation.begin_tenant_erasure(gone automation.gone_tenants)
  returns ridgeline.tenant_erasures
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  erasure ridgeline.tenant_erasures;
begin
  select e.* into erasure from ridgeline.tenant_erasures as e
  where e.tenant_id = gone.tenant_id and e.status = 'running';
  if not found then
    insert into ridgeline.tenant_erasures (tenant_id, cause, requested_by, requested_as, requested_at)
    values (gone.tenant_id, case when gone.is_asked then 'asked' else 'deleted' end, gone.gone_by, gone.gone_as,
      gone.gone_at)
    returning * into erasure;
  end if;
  return erasure;
end;
$$;

create or replace function automation.end_tenant_erasure(gone uuid, status text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.tenant_erasures as e
    set status = end_tenant_erasure.status, finished_at = automation.now()
    where e.tenant_id = gone and e.status = 'running';
    delete from automation.gone_tenants as g where g.tenant_id = gone;
  $$;

-- Is there anything left of it? What is held right now counts too.
create or replace function automation.has_rows(gone uuid) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  relation regclass;
  tenant_column text;
  found_one boolean;
begin
  for relation, tenant_column in select t.relation, t.tenant_column from automation.erased_tables() as t loop
    execute format('select exists (select from %s as r where r.%I = $1)', relation, tenant_column)
      into found_one using gone;
    if found_one then
      return true;
    end if;
  end loop;
  return false;
end;
$$;

-- Does the CRM work with it? One that is only marked as deleted there may be forgotten here; of one that is all there
-- is, the CRM can say neither. Null: it has a table of tenants, and that cannot be read.
create or replace function automation.is_in_use(tenant_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (select from automation.tenancy as y where y.sole is null)
      and automation.tenant_state(tenant_id) = 'here'
  $$;

-- Null, too: nobody can tell.
create or replace function automation.is_back(gone automation.gone_tenants) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when gone.is_asked then automation.is_in_use(gone.tenant_id)
      else coalesce(automation.tenant_state(gone.tenant_id) in ('here', 'deleted'),
        case when not exists (select from automation.tenancy as y where y.sole is null) then false end) end
  $$;

-- The steps of its runs went when it was deleted, and nothing else ends one that has none. Says how many
-- there were.
create or replace function automation.end_silenced_runs(tenant_id uuid, at_most integer) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
declare
  silenced constant ridgeline.workflow_executions[] := array(
    select e from ridgeline.workflow_executions as e
    where e.tenant_id = end_silenced_runs.tenant_id and e.finished_at is null and e.mode <> 'imported'
      and not exists (
        select from ridgeline.scheduled_steps as s
        where s.execution_id = e.id and s.tenant_id is not distinct from e.tenant_id)
    limit at_most
    for no key update of e);
  reason constant jsonb := '{"code": "tenant_deleted", "message": "the tenant was deleted, and is there again"}'::jsonb;
begin
  perform automation.stop_executions(silenced, array_fill('cancelled'::ridgeline.automation_status, array[at_most]),
    array_fill(reason, array[at_most]));
  return cardinality(silenced);
end;
$$;

-- A restored backup may bring a tenant back. What has not been erased by then is its own again.
create or replace function automation.welcome_back(tenant_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.end_tenant_erasure(tenant_id, 'withdrawn');
  perform automation.listen_again(e.name) from automation.entities as e;
  perform automation.start_waiting(v)
  from ridgeline.workflows as w
  join ridgeline.workflow_versions as v
    on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
  where w.tenant_id = welcome_back.tenant_id and w.is_active and v.trigger_type = 'scheduled';
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
  is_back boolean;
  portion integer;
  ended integer;
  erased integer := 0;
begin
  for gone in
    select g.* from automation.gone_tenants as g order by g.gone_at limit 50 for update skip locked
  loop
    -- One that cannot be erased keeps none of the others.
    begin
      perform automation.begin_tenant_erasure(gone);
      is_back := automation.is_back(gone);
      if is_back then
        portion := least(at_most - erased, 500);
        ended := automation.end_silenced_runs(gone.tenant_id, portion);
        erased := erased + ended;
        if ended < portion then
          perform automation.welcome_back(gone.tenant_id);
        end if;
      elsif is_back is null then
        raise warning 'automation: the rows of tenant %, which is gone, stay for now: the tenants cannot be read',
          gone.tenant_id;
      else
        -- Once more: what was being published when it went has committed since.
        perform automation.silence_tenant(gone.tenant_id);
        erased := erased + automation.erase_tenant(gone.tenant_id, at_most - erased);
        -- Late reports about its messages may still come in for a while.
        if erased < at_most and gone.gone_at < automation.now() - interval '1 hour'
          and not automation.has_rows(gone.tenant_id) then
          perform automation.end_tenant_erasure(gone.tenant_id, 'completed');
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
  'Deletes the next rows of tenants that are to be erased (automation.gone_tenants), at most so many, and says how '
  'many. The tick calls it. Never raises.';

create or replace function automation.forget_tenant(tenant_id uuid) returns ridgeline.tenant_erasures
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gone automation.gone_tenants;
  is_in_use constant boolean := automation.is_in_use(tenant_id);
begin
  if is_in_use is null then
    raise exception 'tenant_id: the tenants cannot be read, and the CRM may still have tenant %', tenant_id
      using errcode = 'PT409',
        hint = 'The table was altered after it was attached: call automation.attach_tenants() again.';
  elsif is_in_use then
    raise exception 'tenant_id: the CRM still has tenant %', tenant_id using errcode = 'PT409',
      hint = 'Delete it there first, or mark it as deleted: it is the CRM''s.';
  end if;
  insert into automation.gone_tenants (tenant_id, is_asked, gone_by, gone_as)
  select forget_tenant.tenant_id, true, automation.current_user_id(), automation.change_source() ->> 'role'
  -- What is nobody's is the installation's own.
  where forget_tenant.tenant_id <> '00000000-0000-0000-0000-000000000000'
    and automation.has_rows(forget_tenant.tenant_id)
  on conflict do nothing;
  -- Marked as deleted and erased before: asked for now.
  update automation.gone_tenants as g set is_asked = true
  where g.tenant_id = forget_tenant.tenant_id
  returning g.* into gone;
  if not found then
    perform automation.raise_not_found('tenant_id', tenant_id);
  end if;
  perform automation.silence_tenant(tenant_id);
  return automation.begin_tenant_erasure(gone);
end;
$$;

create or replace function ridgeline.erase_tenant(tenant_id uuid) returns ridgeline.tenant_erasures
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.forget_tenant(tenant_id) $$;

comment on function ridgeline.erase_tenant(uuid) is
  'Forgets a tenant: nothing of it starts or is sent from the moment this commits, and the tick deletes all that the '
  'engine has of it, a portion a time. Delete it in the CRM first, or mark it as deleted there; where the CRM has no '
  'table of tenants, this is the way. ridgeline.tenant_of(): by its key in the CRM. The owner of the database and the '
  'service role.';

-- 11 API
--
-- What clients call: thin functions in public that run with the caller's rights, each handing over
-- to one in automation that checks the caller first.
--
-- Errors: 22023 a parameter is wrong (the message starts with its name), P0002 not found,
-- 42501 not allowed.

-- The roles that see every tenant: the service role and whoever may act as it. Inside a SECURITY
-- DEFINER function current_user is the owner; the role that PostgREST switched to is in "role".
create or replace function automation.is_service() returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select caller.name <> 'authenticator' and pg_has_role(caller.name, 'service_role', 'usage')
    from (
      select coalesce(nullif(current_setting('role', true), 'none'), session_user)::name as name
    ) as caller
  $$;

comment on function automation.is_service() is
  'Is the caller the service role or an administrator, rather than a signed-in user?';

create or replace function automation.member_tenants() returns uuid[]
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(m.tenant_id), '{}')
    from public.tenant_members as m
    where m.user_id = automation.current_user_id()
  $$;

comment on function automation.member_tenants() is
  'The tenants that the signed-in user belongs to. Policies call it once a statement.';

create or replace function automation.admin_tenants() returns uuid[]
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(m.tenant_id), '{}')
    from public.tenant_members as m
    where m.user_id = automation.current_user_id() and m.role in ('owner', 'admin')
  $$;

create or replace function automation.may_use(tenant_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.is_service() or tenant_id = any (automation.member_tenants()) $$;

-- A caller names a row by its id alone. Keys lead with the tenant, so it is looked for in each
-- tenant the caller may use: a few probes for a member, one for each tenant for the service role,
-- and no index on the bare id for every insert to pay for.
create or replace function automation.usable_tenants() returns setof uuid
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.is_service() then
    return query select t.id from public.tenants as t;
  else
    return query select m from unnest(automation.member_tenants()) as m;
  end if;
end;
$$;

-- Not found and not allowed look alike, so that nobody learns other tenants' ids by asking.
create or replace function automation.raise_not_found(parameter text, id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise exception '%: % was not found', parameter, coalesce(id::text, 'null')
    using errcode = 'no_data_found',
      hint = 'It does not exist, or it belongs to a tenant you are not a member of.';
end;
$$;

create or replace function automation.find_workflow(workflow_id uuid) returns public.workflows
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found_workflow public.workflows;
begin
  select w.* into found_workflow
  from automation.usable_tenants() as t (id)
  join public.workflows as w on w.tenant_id = t.id and w.id = find_workflow.workflow_id;
  if not found then
    perform automation.raise_not_found('workflow_id', workflow_id);
  end if;
  return found_workflow;
end;
$$;

create or replace function automation.find_execution(execution_id uuid)
  returns public.workflow_executions
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found_execution public.workflow_executions;
begin
  select e.* into found_execution
  from automation.usable_tenants() as t (id)
  join public.workflow_executions as e
    on e.tenant_id = t.id and e.id = find_execution.execution_id;
  if not found then
    perform automation.raise_not_found('execution_id', execution_id);
  end if;
  return found_execution;
end;
$$;

-- The tenant a call is about: named, or the only one the caller belongs to, or the one that owns the
-- records in the data.
create or replace function automation.resolve_tenant(tenant_id uuid, data jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  mine constant uuid[] := automation.member_tenants();
  named constant uuid := coalesce(tenant_id, automation.as_uuid(data ->> 'tenant_id'));
begin
  if named is not null then
    if not exists (select from public.tenants as t where t.id = named)
      or not automation.may_use(named) then
      perform automation.raise_not_found('tenant_id', named);
    end if;
    return named;
  elsif not automation.is_service() and cardinality(mine) = 1 then
    return mine[1];
  end if;
  return automation.tenant_of_records(data);
end;
$$;

create or replace function automation.tenant_of_records(data jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner uuid;
begin
  select r.tenant_id into owner
  from (
    select t.id as tenant_id
    from automation.usable_tenants() as t (id)
    where automation.read_record('contact', t.id, data ->> 'contact_id') is not null
      or automation.read_record('project', t.id, data ->> 'project_id') is not null
      or automation.read_record('job', t.id, data ->> 'job_id') is not null
    limit 1
  ) as r;
  if owner is null then
    raise exception 'tenant_id: which tenant is meant?'
      using errcode = 'invalid_parameter_value',
        hint = 'Pass tenant_id, or a contact_id, project_id or job_id in trigger_data.';
  end if;
  return owner;
end;
$$;

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

-- THE TENANT OF A CALL
--
-- Ids are a tenant's own: two tenants may hold the same one, and whoever writes rows may choose it. So a
-- call says whose row it means: by the parameter tenant_id, the header x-tenant-id, or a claim of its
-- token. What says nothing is looked for wherever the caller may look, and an id that is found twice is
-- an error, never somebody's guess.

-- For the rest of the transaction, or until the next call says otherwise.
create or replace function automation.in_tenant(tenant_id uuid) returns boolean
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select set_config('ridgeline.tenant', coalesce(tenant_id::text, ''), true) is not null $$;

comment on function automation.in_tenant(uuid) is
  'The calls that follow mean this tenant; null: the one that header or token name.';

-- PostgREST hands over the headers as JSON; what is no JSON was not put there by it.
create or replace function automation.request_setting(name text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(nullif(current_setting(name, true), ''), '{}')::jsonb;
exception when invalid_text_representation then
  return '{}'::jsonb;
end;
$$;

create or replace function automation.named_tenant() returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  claims constant jsonb := automation.request_setting('request.jwt.claims');
  named constant text := coalesce(
    nullif(current_setting('ridgeline.tenant', true), ''),
    nullif(automation.request_setting('request.headers') ->> 'x-tenant-id', ''),
    nullif(claims #>> '{app_metadata,tenant_id}', ''));
begin
  if named is not null and automation.as_uuid(named) is null then
    raise exception 'tenant_id: "%" is not an id', left(named, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return automation.as_uuid(named);
end;
$$;

comment on function automation.named_tenant() is
  'The tenant that the call names: in_tenant() (the parameter tenant_id), else the header x-tenant-id, '
  'else app_metadata.tenant_id of the token, which only the service role can write. Null: it names none.';

-- A caller names a row by its id. Keys lead with the tenant, so it is looked for in each tenant the
-- caller may use: one probe where the tenant is named, a few for a member, one for each tenant for
-- the service role, and no index on the bare id for every insert to pay for.
create or replace function automation.usable_tenants() returns setof uuid
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  named constant uuid := automation.named_tenant();
begin
  if automation.is_service() then
    return query select t.id from public.tenants as t where named is null or t.id = named;
  else
    return query
      select m from unnest(automation.member_tenants()) as m where named is null or m = named;
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

-- The one of them; an error when there is none, or more than one.
create or replace function automation.only_tenant(tenants uuid[], parameter text, id uuid)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if cardinality(tenants) > 1 then
    raise exception '%: % is an id of more than one tenant', parameter, id
      using errcode = 'invalid_parameter_value',
        hint = 'Name the tenant: the parameter tenant_id, or the header x-tenant-id.';
  elsif cardinality(tenants) = 0 then
    perform automation.raise_not_found(parameter, id);
  end if;
  return tenants[1];
end;
$$;

create or replace function automation.find_workflow(workflow_id uuid) returns public.workflows
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.only_tenant(array(
    select w.tenant_id
    from automation.usable_tenants() as t (id)
    join public.workflows as w on w.tenant_id = t.id and w.id = find_workflow.workflow_id
    limit 2), 'workflow_id', workflow_id);
  found_workflow public.workflows;
begin
  select w.* into found_workflow from public.workflows as w
  where w.tenant_id = owner and w.id = find_workflow.workflow_id;
  return found_workflow;
end;
$$;

create or replace function automation.find_execution(execution_id uuid)
  returns public.workflow_executions
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.only_tenant(array(
    select e.tenant_id
    from automation.usable_tenants() as t (id)
    join public.workflow_executions as e
      on e.tenant_id = t.id and e.id = find_execution.execution_id
    limit 2), 'execution_id', execution_id);
  found_execution public.workflow_executions;
begin
  select e.* into found_execution from public.workflow_executions as e
  where e.tenant_id = owner and e.id = find_execution.execution_id;
  return found_execution;
end;
$$;

-- The tenant a call is about: named, or the only one the caller belongs to, or the one that owns the
-- records in the data. Who joins a second one has to say from then on which is meant.
create or replace function automation.resolve_tenant(tenant_id uuid, data jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  named constant uuid := coalesce(
    tenant_id, automation.as_uuid(data ->> 'tenant_id'), automation.named_tenant());
  mine constant uuid[] := automation.member_tenants();
  owner uuid;
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
  owner := automation.tenant_of_records(data);
  if owner is null then
    raise exception 'tenant_id: which tenant is meant?'
      using errcode = 'invalid_parameter_value',
        hint = 'Pass tenant_id, or a contact_id, project_id or job_id in trigger_data.';
  end if;
  return owner;
end;
$$;

-- Where a call is about a tenant and nothing else.
create or replace function automation.own_tenant(tenant_id uuid) returns uuid
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.in_tenant(tenant_id);
  return automation.resolve_tenant(tenant_id, '{}');
end;
$$;

-- Null when no record of the data is known.
create or replace function automation.tenant_of_records(data jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
  owners uuid[];
begin
  foreach key in array '{contact,project,job}'::text[] loop
    continue when data ->> (key || '_id') is null;
    owners := array(
      select t.id from automation.usable_tenants() as t (id)
      where automation.read_record(key, t.id, data ->> (key || '_id')) is not null
      limit 2);
    if cardinality(owners) = 1 then
      return owners[1];
    elsif cardinality(owners) > 1 then
      raise exception '%_id: "%" is an id of more than one tenant', key, left(data ->> (key || '_id'), 60)
        using errcode = 'invalid_parameter_value',
          hint = 'Name the tenant: the parameter tenant_id, or the header x-tenant-id.';
    end if;
  end loop;
  return null;
end;
$$;

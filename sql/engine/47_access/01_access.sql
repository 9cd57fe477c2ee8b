-- 47 ACCESS
--
-- Who calls, whose tenant is meant, and may they? What clients call are thin functions in ridgeline (chapter 95) that
-- run with the caller's rights, each handing over to one in automation that asks here first.
--
-- Errors: 22023 a parameter is wrong (the message starts with its name), PT404 not found, PT409 not in this
-- state, PT413 too large, PT429 too many at once (PTnnn is how PostgREST is told the status; it answers 500 to
-- Postgres's own codes), 42501 not allowed.

create or replace function automation.member_tenants() returns uuid[]
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(distinct m.tenant_id), '{}')
    from automation.current_user_id() as me (id)
    cross join lateral automation.read_signed_in(me.id) as m
    where me.id is not null
  $$;

comment on function automation.member_tenants() is
  'The tenants that the signed-in user belongs to. Policies call it once a statement.';

create or replace function automation.admin_tenants() returns uuid[]
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(m.tenant_id), '{}')
    from automation.current_user_id() as me (id)
    cross join lateral automation.read_signed_in(me.id) as m
    where me.id is not null and m.role in ('owner', 'admin')
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

-- A caller may know the tenant by the uuid that it has here, or by the key that it has in the CRM.
create or replace function automation.named_key(named text) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(automation.as_uuid(named),
    case when named is not null and automation.tenancy_type() <> 'uuid' then automation.key_uuid(named) end);
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
  if automation.named_key(named) is null and named is not null then
    raise exception 'tenant_id: "%" is not an id', left(named, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return automation.named_key(named);
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
    return query select t.id from automation.read_tenants(case when named is not null then array[named] end) as t;
  else
    return query
      select m from unnest(automation.member_tenants()) as m where named is null or m = named;
  end if;
end;
$$;

-- Whose rows a caller may read, of one tenant or of all.
create or replace function automation.visible_tenants(of_tenant uuid default null) returns setof uuid
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.is_service() then
    return query
      select t.id from automation.read_tenants(case when of_tenant is not null then array[of_tenant] end) as t;
  else
    return query select m from unnest(automation.member_tenants()) as m where of_tenant is null or m = of_tenant;
  end if;
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
    if automation.is_service() and automation.named_tenant() is not null
      and not exists (select from automation.read_tenants(array[automation.named_tenant()])) then
      raise exception '%: % was not found', parameter, id
        using errcode = 'PT404', hint = format('No tenant %s is known: automation.attach_tenants() is told where they '
          'are; where no table has them, each is a row of ridgeline.tenant_settings.', automation.named_tenant());
    end if;
    perform automation.raise_not_found(parameter, id);
  end if;
  return tenants[1];
end;
$$;

create or replace function automation.find_workflow(workflow_id uuid) returns ridgeline.workflows
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.only_tenant(array(
    select w.tenant_id
    from automation.usable_tenants() as t (id)
    join ridgeline.workflows as w on w.tenant_id = t.id and w.id = find_workflow.workflow_id
    limit 2), 'workflow_id', workflow_id);
  found_workflow ridgeline.workflows;
begin
  select w.* into found_workflow from ridgeline.workflows as w
  where w.tenant_id = owner and w.id = find_workflow.workflow_id;
  return found_workflow;
end;
$$;

create or replace function automation.study_workflow(workflow_id uuid) returns ridgeline.workflows
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found_workflow constant ridgeline.workflows := automation.find_workflow(workflow_id);
begin
  perform automation.take_place(found_workflow.tenant_id);
  return found_workflow;
end;
$$;

comment on function automation.study_workflow(uuid) is
  'find_workflow() for a call that is going to compile it; PT429 when the tenant has enough such calls.';

create or replace function automation.find_execution(execution_id uuid)
  returns ridgeline.workflow_executions
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.only_tenant(array(
    select e.tenant_id
    from automation.usable_tenants() as t (id)
    join ridgeline.workflow_executions as e
      on e.tenant_id = t.id and e.id = find_execution.execution_id
    limit 2), 'execution_id', execution_id);
  found_execution ridgeline.workflow_executions;
begin
  select e.* into found_execution from ridgeline.workflow_executions as e
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
    tenant_id, automation.named_key(data ->> 'tenant_id'), automation.named_tenant());
  mine constant uuid[] := automation.member_tenants();
  owner uuid;
begin
  if named is not null then
    if not automation.tenant_exists(named)
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

-- RECORDS THAT NOT EVERY MEMBER MAY SEE
--
-- A workflow reads and writes with the engine's rights. Where row level security keeps rows from some
-- members, attach() leaves making, trying and starting workflows about them to owners and admins; and
-- what somebody asks for by hand is read as they themselves could read it.

-- Does it matter which records a workflow of theirs reads? Asked before its plan is, at each start.
create or replace function automation.may_author_any(tenant_id uuid) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return not exists (select from automation.entities as e where e.authors = 'admins')
    or automation.is_service() or coalesce(tenant_id = any (automation.admin_tenants()), false);
end;
$$;

create or replace function automation.check_author(tenant_id uuid, entities text[]) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kept text;
begin
  if automation.may_author_any(tenant_id) then
    return;
  end if;
  select e.name into kept from automation.entities as e
  where e.name = any (entities) and e.authors = 'admins'
  order by e.name limit 1;
  if found then
    raise exception 'entity: only owners and admins make, try and start workflows about "%"', kept
      using errcode = 'insufficient_privilege',
        hint = 'Not every member may see these records. The owner of the database may allow it: '
          'automation.attach(..., authors => ''members'').';
  end if;
end;
$$;

-- The statement with which a caller looks for a record with their own rights; null where every member sees all.
create or replace function automation.look_up(entity text) returns text
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select format('select exists (select from %s as r where r.%I::text = $1)', e.relation, e.id_column)
    from automation.entities as e
    where e.name = look_up.entity and e.authors = 'admins'
  $$;

-- Those that a record belongs to, which come with it into a run; of the caller's own tenants alone.
create or replace function automation.related_records(entity text, id text)
  returns table (related text, related_id text)
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
begin
  select e.* into attached from automation.entities as e where e.name = related_records.entity;
  if not found or attached.related = '{}' then
    return;
  end if;
  for related, related_id in execute format(
    'select k.key, to_jsonb(r.*) ->> k.value from %s as r, jsonb_each_text($1) as k '
    'where r.%I::text = $2 and %s = any ($3) and to_jsonb(r.*) ->> k.value is not null',
    attached.relation, attached.id_column,
    automation.tenant_expression(attached, 'r'))
    using attached.related, id, automation.member_tenants()
  loop
    return next;
  end loop;
end;
$$;

-- By which of its columns a record of an entity names others: {entity: {other entity: column}}.
create or replace function automation.naming_columns() returns jsonb
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(jsonb_object_agg(e.name, e.related), '{}') from automation.entities as e $$;

-- However deep inside: a template, a condition or the record that a call brings along may lead to any of it. What does
-- not exist is refused like what is hidden (check_seen): who could tell them apart would learn which ids there are.
create or replace function automation.named_records(data jsonb) returns table (entity text, id text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    with recursive inside (key, value) as materialized (
      select k.key, v.value
      from jsonb_path_query(data, 'strict $.**{0 to 20} ? (@.type() == "object")') as o (object)
      cross join lateral jsonb_each(o.object) as k (key, value)
      cross join lateral jsonb_array_elements(case jsonb_typeof(k.value)
        when 'array' then k.value else jsonb_build_array(k.value) end) as v (value)
    ), named (entity, id, far) as (
      select n.entity, n.id, 0
      from (
        select left(i.key, -3), i.value #>> '{}' from inside as i
        where i.key like '%\_id' and jsonb_typeof(i.value) in ('string', 'number')
        union
        select i.key, i.value ->> 'id' from inside as i where jsonb_typeof(i.value) = 'object'
        union
        select c.key, i.value ->> c.value
        from automation.naming_columns() as columns
        cross join inside as i
        cross join lateral jsonb_each_text(columns -> i.key) as c
        where jsonb_typeof(i.value) = 'object'
      ) as n (entity, id)
      where n.id is not null
      union
      select r.related, r.related_id, n.far + 1
      from named as n
      cross join lateral automation.related_records(n.entity, n.id) as r
      where n.far < 4
    )
    select distinct n.entity, n.id from named as n
  $$;

comment on function automation.named_records(jsonb) is
  'The records that trigger_data names, at whatever depth, and those that come with them because they belong to them.';

-- Runs with the rights of whoever calls: a row that their policies hide is not found.
create or replace function automation.check_seen(data jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  named record;
  statement text;
  seen boolean;
begin
  if current_user <> 'authenticated' or jsonb_typeof(data) is distinct from 'object' then
    return data;
  end if;
  for named in select * from automation.named_records(data) loop
    statement := automation.look_up(named.entity);
    continue when statement is null;
    begin
      execute statement into seen using named.id;
    exception when insufficient_privilege then
      seen := false;
    end;
    if not seen then
      raise exception '%_id: % was not found', named.entity, left(named.id, 60)
        using errcode = 'PT404', hint = format('It must be a record of the same tenant that you may see. Where it is '
          'none of this CRM''s, call it otherwise than "%s" in the data.', named.entity);
    end if;
  end loop;
  return data;
end;
$$;

-- Those of the records listed, or of all, that the caller may see; null where everybody sees all there is.
create or replace function automation.seen_records(workflow_id uuid, entity text, record_ids text[])
  returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  statement constant text := automation.list_records(workflow_id, entity);
  listed text[];
begin
  if current_user <> 'authenticated' or statement is null then
    return record_ids;
  end if;
  execute statement into listed using record_ids;
  return listed;
exception when insufficient_privilege then
  return array[]::text[];
end;
$$;

create or replace function automation.list_records(workflow_id uuid, entity text) returns text
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant ridgeline.workflows := automation.find_workflow(workflow_id);
  attached automation.entities;
begin
  select e.* into attached from automation.entities as e
  where e.authors = 'admins' and e.name = coalesce(entity, workflow.trigger_config ->> 'entity',
    (select t.entity from automation.trigger_types as t where t.name = workflow.trigger_type), 'contact');
  if not found then
    return null;
  end if;
  return format(
    'select array(select r.%1$I::text from %2$s as r where %3$s = %4$L and ($1 is null or r.%1$I::text = any ($1)) '
    'order by r.%1$I limit 100001)',
    attached.id_column, attached.relation,
    automation.tenant_expression(attached, 'r'), workflow.tenant_id);
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

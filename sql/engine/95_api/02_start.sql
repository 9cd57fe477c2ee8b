-- 95 API
--
-- What clients call.

-- Starting workflows by hand or from another program.

-- Which record a call means: {"entity": "invoice", "invoice_id": "12"}, or by its id alone where it names no contact,
-- project or job; of those three the one that the others come with.
create or replace function automation.record_meant(data jsonb) returns automation.entities
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  meant automation.entities;
begin
  select e.* into meant
  from automation.entities as e
  cross join lateral (select array_position('{job,project,contact}', e.name) as number) as place
  where (data ? (e.name || '_id') or place.number is not null and jsonb_typeof(data -> e.name) = 'object')
    and (place.number is not null or data ->> 'entity' = e.name
      or not data ?| '{entity,contact,contact_id,project,project_id,job,job_id}')
  order by data ->> 'entity' is not distinct from e.name desc, place.number, e.name
  limit 1;
  return meant;
end;
$$;

-- The one that it means, those that it belongs to, and the three that a call may name besides; the contact last, whom
-- the others may lead to.
create or replace function automation.records_to_complete(meant automation.entities) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select n.name
    from unnest(
      meant.name || array(select jsonb_object_keys(meant.related - 'contact')) || '{job,project,contact}'::text[])
      with ordinality as n (name, place)
    where n.name is not null
    group by n.name
    order by min(n.place));
end;
$$;

-- The id of a record, as another one in the data has it in the column that it is mapped to.
create or replace function automation.id_in_others(data jsonb, entity text, meant text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select data -> n.name ->> c.column_name
    from unnest(array[meant, 'job', 'project']) with ordinality as n (name, place)
    left join automation.entities as e on e.name = n.name
    cross join lateral (
      select case when e.name is null then entity || '_id' else e.related ->> entity end as column_name) as c
    where n.name <> entity and jsonb_typeof(data -> n.name) = 'object' and data -> n.name ->> c.column_name is not null
    order by n.place
    limit 1);
end;
$$;

-- Whom a call names as the user is a member of the tenant: {{user.*}} is told to customers.
create or replace function automation.check_user(tenant_id uuid, data jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(data ->> 'user_id', '') <> ''
    and not automation.is_member(tenant_id, data ->> 'user_id') then
    raise exception 'user_id: "%" is not a member of the tenant', left(data ->> 'user_id', 60)
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

-- The records named in the data, and what they belong to, read live, unless the data brings them along.
create or replace function automation.complete_trigger_data(tenant_id uuid, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  complete jsonb := data - 'tenant_id';
  meant constant automation.entities := automation.record_meant(complete);
  entity text;
  is_usual boolean;
  id text;
  live jsonb;
begin
  perform automation.check_user(tenant_id, data);
  foreach entity in array automation.records_to_complete(meant) loop
    is_usual := entity in ('job', 'project', 'contact');
    if jsonb_typeof(complete -> entity) <> 'object' and (is_usual or complete -> entity <> 'null') then
      continue when not is_usual;
      raise exception '%: an object is needed', entity using errcode = 'invalid_parameter_value';
    end if;
    id := coalesce(
      complete ->> (entity || '_id'), complete #>> array[entity, 'id'],
      automation.id_in_others(complete, entity, meant.name),
      case entity when 'contact' then automation.contact_through(
        tenant_id, complete, meant.contact_way, meant.contact_ways) end);
    continue when id is null;
    live := automation.read_record(entity, tenant_id, id);
    if live is not null then
      complete := complete || jsonb_build_object(
        entity || '_id', case when is_usual or entity <> meant.name then to_jsonb(id) else live -> meant.id_column end,
        entity, live || coalesce(nullif(complete -> entity, 'null'), '{}'));
    elsif is_usual then
      raise exception '%_id: % was not found', entity, left(id, 60)
        using errcode = 'PT404', hint = 'It must be a record of the same tenant.';
    end if;
  end loop;
  complete := jsonb_build_object('entity', case
    when meant.name not in ('job', 'project', 'contact') then meant.name
    else (select e from unnest('{job,project,contact}'::text[]) as e where complete ? e limit 1) end) || complete;
  return complete || jsonb_build_object(
    'user_id', coalesce(complete ->> 'user_id', automation.current_user_id()::text));
end;
$$;

create or replace function automation.conditions_met(
  version ridgeline.workflow_versions, data jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select version.conditions is null or automation.evaluate_conditions(
      version.conditions, automation.trigger_context(version.tenant_id, data),
      automation.tenant_zone(version.tenant_id))
  $$;

create or replace function automation.unmet_conditions(
  version ridgeline.workflow_versions, data jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.unmet('the conditions of the workflow were not met', automation.explain_conditions(
      version.conditions, automation.trigger_context(version.tenant_id, data),
      automation.tenant_zone(version.tenant_id)))
  $$;

create or replace function automation.start_version(
  version ridgeline.workflow_versions, trigger_type text, data jsonb)
  returns ridgeline.workflow_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  mode constant ridgeline.execution_mode := automation.mode_of(version.tenant_id, version.workflow_id);
  execution_id uuid;
  started ridgeline.workflow_executions;
begin
  perform automation.check_starter(version, data);
  if mode is null then
    perform automation.check_not_forgotten(version.tenant_id);
    raise exception 'workflow_id: the engine is off for this tenant' using errcode = 'PT409',
      hint = 'unified_engine in ridgeline.tenant_settings says so; ridgeline.set_engine() switches it to shadow or on.';
  end if;
  if not automation.conditions_met(version, data) then
    insert into ridgeline.workflow_executions (
      tenant_id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
      contact_id, error, finished_at, mode)
    values (
      version.tenant_id, version.workflow_id, version.version, 'skipped', trigger_type, data,
      data ->> 'entity', data ->> ((data ->> 'entity') || '_id'),
      automation.as_key(data ->> 'contact_id'),
      automation.unmet_conditions(version, data),
      automation.now(), mode)
    returning * into started;
    return started;
  end if;
  execution_id := automation.enrol(
    version.tenant_id, data ->> 'entity', data ->> ((data ->> 'entity') || '_id'), data,
    automation.enrolment_of(version, trigger_type));
  select e.* into started from ridgeline.workflow_executions as e
  where e.tenant_id = version.tenant_id and e.id = execution_id;
  return started;
end;
$$;

create or replace function automation.execute_workflow(workflow_id uuid, trigger_data jsonb)
  returns ridgeline.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow ridgeline.workflows := automation.find_workflow(workflow_id);
  version ridgeline.workflow_versions;
  data jsonb;
begin
  perform automation.check_editor(workflow.tenant_id, 'starting a workflow');
  perform automation.check_not_forgotten(workflow.tenant_id);
  perform automation.check_object(trigger_data, 'trigger_data');
  if workflow.published_version is null or not workflow.is_active then
    raise exception 'workflow_id: workflow "%" is not active', workflow.name
      using errcode = 'PT409',
        hint = 'Set is_active to true, which publishes it.';
  end if;
  data := automation.complete_trigger_data(workflow.tenant_id, trigger_data);
  select v.* into version from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
    and v.version = workflow.published_version;
  return automation.start_version(version, 'manual', data);
end;
$$;

create or replace function automation.trigger_workflows(
  trigger_type text, trigger_data jsonb, tenant_id uuid)
  returns setof ridgeline.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant uuid;
  data jsonb;
  fired jsonb;
  version ridgeline.workflow_versions;
begin
  if not exists (select from automation.trigger_types as t where t.name = trigger_workflows.trigger_type) then
    raise exception 'trigger_type: there is no trigger "%"', left(trigger_type, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || (select string_agg(t.name, ', ' order by t.name)
                             from automation.trigger_types as t);
  end if;
  perform automation.check_object(trigger_data, 'trigger_data');
  tenant := automation.resolve_tenant(tenant_id, trigger_data);
  perform automation.check_editor(tenant, 'starting workflows');
  perform automation.check_not_forgotten(tenant);
  data := automation.complete_trigger_data(tenant, trigger_data);
  fired := coalesce(
    data -> (select t.entity from automation.trigger_types as t
             where t.name = trigger_workflows.trigger_type),
    data -> (data ->> 'entity'), '{}'::jsonb) || data;
  for version in
    select v.*
    from automation.active_triggers as t
    join ridgeline.workflow_versions as v
      on v.tenant_id = t.tenant_id and v.workflow_id = t.workflow_id and v.version = t.version
    where t.tenant_id = tenant
      and t.event = trigger_workflows.trigger_type and t.role = 'enrol' and t.mode is not null
      and not coalesce(t.on_insert ? 'as', false)
      and automation.matches(fired, t.match, t.match_any)
      and (t.to_values is null or t.to_values @> (fired -> t.field))
    order by v.workflow_id
  loop
    return next automation.start_version(version, trigger_type, data);
  end loop;
end;
$$;

create or replace function ridgeline.trigger_workflows(
  trigger_type text, trigger_data jsonb default '{}', tenant_id uuid default null)
  returns setof ridgeline.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select w.*
    from automation.in_tenant(tenant_id) as named
    cross join lateral automation.trigger_workflows(
      trigger_type, automation.check_seen(trigger_data), tenant_id) as w
  $$;

comment on function ridgeline.trigger_workflows(text, jsonb, uuid) is
  'Fires every active workflow of a tenant that listens to trigger_type and matches trigger_data: '
  '{contact_id?, project_id?, job_id?, ...}. Returns the executions started. tenant_id may be left '
  'out by a member of one tenant, or when trigger_data names a record.';

create or replace function ridgeline.execute_workflow(
  workflow_id uuid, trigger_data jsonb default '{}', tenant_id uuid default null)
  returns ridgeline.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.execute_workflow(workflow_id, automation.check_seen(trigger_data))
    from automation.in_tenant(coalesce(tenant_id, automation.as_uuid(trigger_data ->> 'tenant_id')))
  $$;

comment on function ridgeline.execute_workflow(uuid, jsonb, uuid) is
  'Starts one active workflow, whatever its trigger, for the records in trigger_data. When its '
  'conditions are not met the execution is returned as skipped and says so. tenant_id: whose workflow; '
  'needed where several tenants may hold the id.';

-- 95 API
--
-- What clients call.

-- Starting workflows by hand or from another program.

-- A record of another attached table, {"entity": "invoice", "invoice_id": "12"}, and what it belongs to.
create or replace function automation.complete_attached(tenant_id uuid, data jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  live jsonb;
begin
  select e.* into attached from automation.entities as e
  where e.name not in ('contact', 'project', 'job') and data ? (e.name || '_id')
    and (data ->> 'entity' = e.name
      or not data ?| '{entity,contact,contact_id,project,project_id,job,job_id}')
  order by e.name
  limit 1;
  live := automation.read_record(attached.name, tenant_id, data ->> (attached.name || '_id'));
  if live is null then
    return data;
  end if;
  return (
    select jsonb_object_agg(f.key, f.value)
    from jsonb_each(
      automation.add_related('{}', tenant_id, live, attached.related) || data || jsonb_build_object(
        'entity', attached.name, attached.name || '_id', live -> attached.id_column,
        attached.name, live || coalesce(nullif(data -> attached.name, 'null'), '{}'))) as f
    where f.value <> 'null');
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

-- The records named in the data, read live, unless the data brings them along.
create or replace function automation.complete_trigger_data(tenant_id uuid, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity text;
  id text;
  live jsonb;
  complete jsonb := automation.complete_attached(tenant_id, data - 'tenant_id');
begin
  perform automation.check_user(tenant_id, data);
  foreach entity in array array['job', 'project', 'contact'] loop
    if jsonb_typeof(complete -> entity) <> 'object' then
      raise exception '%: an object is needed', entity using errcode = 'invalid_parameter_value';
    end if;
    id := coalesce(
      complete ->> (entity || '_id'), complete #>> array[entity, 'id'],
      complete #>> array['job', entity || '_id'], complete #>> array['project', entity || '_id']);
    continue when id is null;
    live := automation.read_record(entity, tenant_id, id);
    if live is null then
      raise exception '%_id: % was not found', entity, left(id, 60)
        using errcode = 'PT404', hint = 'It must be a record of the same tenant.';
    end if;
    complete := complete || jsonb_build_object(
      entity || '_id', id, entity, live || coalesce(complete -> entity, '{}'));
  end loop;
  complete := jsonb_build_object('entity', (
    select e from unnest('{job,project,contact}'::text[]) as e where complete ? e limit 1)) || complete;
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

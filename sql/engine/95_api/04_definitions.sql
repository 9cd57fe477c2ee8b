-- Publishing and checking definitions.

create or replace function automation.check_enroll_existing(asked jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown text;
begin
  perform automation.check_object(asked, 'enroll_existing');
  select k into unknown from jsonb_object_keys(asked) as k
  where k not in ('filter', 'entity', 'per_minute') limit 1;
  if unknown is not null then
    raise exception 'enroll_existing.%: there is no such setting', unknown
      using errcode = 'invalid_parameter_value', hint = 'filter, entity and per_minute are known.';
  elsif asked ? 'per_minute' and asked ->> 'per_minute' !~ '^\d{1,6}$' then
    raise exception 'enroll_existing.per_minute: a whole number is needed'
      using errcode = 'invalid_parameter_value', hint = 'From 1 to 100000.';
  end if;
end;
$$;

create or replace function automation.publish_workflow(workflow_id uuid, enroll_existing jsonb, note text default null)
  returns ridgeline.workflow_versions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant ridgeline.workflows := automation.study_workflow(workflow_id);
  published ridgeline.workflow_versions;
begin
  if enroll_existing is not null then
    perform automation.check_enroll_existing(enroll_existing);
  end if;
  published := automation.publish(workflow.tenant_id, workflow.id, 'publish', note);
  if enroll_existing is not null then
    perform automation.enroll_records(
      workflow_id, null, coalesce(enroll_existing -> 'filter', '[]'), enroll_existing ->> 'entity',
      coalesce((enroll_existing ->> 'per_minute')::integer, 600), '{}');
  end if;
  return published;
end;
$$;

create or replace function automation.validate_workflow(workflow_id uuid) returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb;
begin
  select c.problems into problems
  from automation.compile_workflow(automation.study_workflow(workflow_id)) as c;
  return jsonb_build_object(
    'valid', not problems @> '[{"severity": "error"}]', 'problems', problems);
end;
$$;

create or replace function ridgeline.publish_workflow(
  workflow_id uuid, enroll_existing jsonb default null, tenant_id uuid default null, note text default null)
  returns ridgeline.workflow_versions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.publish_workflow(workflow_id, enroll_existing, note) from automation.in_tenant(tenant_id)
  $$;

comment on function ridgeline.publish_workflow(uuid, jsonb, uuid, text) is
  'Compiles the workflow as it is now into a new version and activates it. Errors block: 22023, '
  'with all problems as JSON in detail. enroll_existing: {filter?, entity?, per_minute?} also enrols the '
  'records that are there already and meet filter (conditions; all when left out), at most per_minute '
  'of them a minute (600 when left out); ridgeline.bulk_enrollments shows how far it has come. note: what '
  'the version says about itself.';

create or replace function ridgeline.validate_workflow(workflow_id uuid, tenant_id uuid default null)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.validate_workflow(workflow_id) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.validate_workflow(uuid, uuid) is
  'Every problem of the workflow as it is now: {valid, problems: [{path, severity, code, message, hint}]}.';

-- A column that PostgREST computes: select=*,has_unpublished_changes.
create or replace function automation.has_unpublished_changes(workflow ridgeline.workflows) returns boolean
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ select automation.has_changes(workflow) where automation.may_use(workflow.tenant_id) $$;

create or replace function ridgeline.has_unpublished_changes(workflow ridgeline.workflows) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.has_unpublished_changes(workflow) $$;

comment on function ridgeline.has_unpublished_changes(ridgeline.workflows) is
  'Whether the workflow as it is now differs from its published version; null: it was never published.';

-- MOVING RUNS TO ANOTHER VERSION

-- One run, if nobody is working on it and its next step is the same kind of step there; otherwise why not.
create or replace function automation.move_execution(
  tenant_id uuid, execution_id uuid, target ridgeline.workflow_versions)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
  execution ridgeline.workflow_executions;
  here jsonb;
  there jsonb;
begin
  select s.* into due from ridgeline.scheduled_steps as s
  where s.execution_id = move_execution.execution_id and s.tenant_id is not distinct from move_execution.tenant_id
    and s.lease_expires_at is null
  for update skip locked;
  if not found then
    return 'its step is being carried out right now';
  end if;
  execution := automation.lock_execution(tenant_id, execution_id);
  here := automation.plan_step(execution, due.step_key);
  there := automation.readable_plan(target.plan) -> 'steps' -> due.step_key;
  if there is null then
    return format('version %s has no step "%s"', target.version, due.step_key);
  elsif here ->> 'type' is distinct from there ->> 'type' then
    return format('step "%s" is a %s there', due.step_key, there ->> 'type');
  end if;
  update ridgeline.workflow_executions as e set changed_at = automation.now(), version = target.version
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return null;
end;
$$;

create or replace function automation.move_executions(
  workflow_id uuid, to_version integer, execution_ids uuid[])
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant ridgeline.workflows := automation.find_workflow(workflow_id);
  target ridgeline.workflow_versions;
  run record;
  moved integer := 0;
  kept jsonb := '[]'::jsonb;
begin
  perform automation.check_publisher(workflow.tenant_id, 'moving runs');
  select v.* into target from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
    and v.version = coalesce(to_version, workflow.published_version);
  if not found then
    raise exception 'to_version: there is no version %',
      coalesce(to_version::text, 'yet: the workflow was never published')
      using errcode = 'PT404';
  end if;
  for run in
    select e.id, automation.move_execution(e.tenant_id, e.id, target) as obstacle
    from ridgeline.workflow_executions as e
    where e.tenant_id = workflow.tenant_id and e.workflow_id = workflow.id
      and e.version <> target.version and e.finished_at is null
      and (execution_ids is null or e.id = any (execution_ids))
    limit 10000
  loop
    if run.obstacle is null then
      moved := moved + 1;
    elsif jsonb_array_length(kept) < 1000 then
      kept := kept || jsonb_build_object('execution_id', run.id, 'reason', run.obstacle);
    end if;
  end loop;
  return jsonb_build_object('version', target.version, 'moved', moved, 'kept', kept);
end;
$$;

create or replace function ridgeline.move_executions(
  workflow_id uuid, to_version integer default null, execution_ids uuid[] default null,
  tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.move_executions(workflow_id, to_version, execution_ids)
    from automation.in_tenant(tenant_id)
  $$;

comment on function ridgeline.move_executions(uuid, integer, uuid[], uuid) is
  'Moves runs in flight to another version of their workflow (the published one when left out), those '
  'listed or up to 10000 of all, where the step they come to is there too and of the same type: '
  '{version, moved, kept: [{execution_id, reason}]}. When it is due does not change.';

-- A definition as one document: what save_workflow() writes, a version keeps and a revision is made of.

create or replace function automation.steps_source(tenant_id uuid, workflow_id uuid, parent uuid, branch text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
begin
  return coalesce((
    select jsonb_agg(
      jsonb_strip_nulls(jsonb_build_object(
        'step_key', s.step_key, 'name', s.name, 'step_type', s.step_type, 'delay_minutes', s.delay_minutes))
      || jsonb_build_object(
        'step_config', s.step_config, 'enabled', s.enabled, 'conditions', s.conditions,
        'continue_on_error', s.continue_on_error, 'retry', s.retry)
      || case when b.steps is null then '{}' else jsonb_build_object('branches', b.steps) end
      order by s.step_order, s.created_at, s.id)
    from ridgeline.workflow_steps as s
    left join lateral (
      select jsonb_object_agg(n.branch, automation.steps_source(
        steps_source.tenant_id, steps_source.workflow_id, s.id, n.branch)) as steps
      from (
        select distinct c.branch from ridgeline.workflow_steps as c
        where c.tenant_id = steps_source.tenant_id and c.parent_step_id = s.id
      ) as n
    ) as b on true
    where s.tenant_id = steps_source.tenant_id and s.workflow_id = steps_source.workflow_id
      and s.parent_step_id is not distinct from parent and s.branch is not distinct from steps_source.branch), '[]');
end;
$$;

create or replace function automation.workflow_source(workflow ridgeline.workflows) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'id', workflow.id, 'name', workflow.name, 'description', workflow.description,
      'trigger_type', workflow.trigger_type, 'trigger_config', workflow.trigger_config,
      'conditions', workflow.conditions, 'settings', workflow.settings, 'metadata', workflow.metadata,
      'steps', automation.steps_source(workflow.tenant_id, workflow.id, null, null))
  $$;

comment on function automation.workflow_source(ridgeline.workflows) is
  'The whole definition as it is now: {id, name, description, trigger_type, trigger_config, conditions, settings, '
  'metadata, steps: [{step_key, step_type, step_config, ..., branches: {name: [steps]}}]}.';

-- Made of what is written, so that it knows every writer: nothing has to be counted up.
create or replace function automation.revision_of(workflow ridgeline.workflows) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select md5(automation.workflow_source(workflow)::text) $$;

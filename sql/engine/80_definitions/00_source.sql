-- A definition as one document: what save_workflow() writes, a version keeps and a revision is made of.

-- Level by level, a set at a time: the steps on the branches of these parents, and all below them. Null: the first.
create or replace function automation.steps_below(tenant_id uuid, workflow_id uuid, parents uuid[])
  returns table (parent_id uuid, branch text, steps jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
begin
  if parents = '{}' then
    return;
  end if;
  return query
    with step as materialized (
      select s.* from ridgeline.workflow_steps as s
      where s.tenant_id = steps_below.tenant_id and s.workflow_id = steps_below.workflow_id
        and case when parents is null then s.parent_step_id is null else s.parent_step_id = any (parents) end
    ), branches as (
      select b.parent_id as id, jsonb_object_agg(b.branch, b.steps) as lists
      from automation.steps_below(
        steps_below.tenant_id, steps_below.workflow_id, array(select s.id from step as s)) as b
      group by 1
    )
    select s.parent_step_id, s.branch, jsonb_agg(
      jsonb_strip_nulls(jsonb_build_object(
        'step_key', s.step_key, 'name', s.name, 'step_type', s.step_type, 'delay_minutes', s.delay_minutes))
      || jsonb_build_object(
        'step_config', s.step_config, 'enabled', s.enabled, 'conditions', s.conditions,
        'continue_on_error', s.continue_on_error, 'retry', s.retry)
      || case when b.lists is null then '{}' else jsonb_build_object('branches', b.lists) end
      order by s.step_order, s.created_at, s.id)
    from step as s left join branches as b on b.id = s.id
    group by 1, 2;
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
      'steps', coalesce((
        select b.steps from automation.steps_below(workflow.tenant_id, workflow.id, null) as b), '[]'))
  $$;

comment on function automation.workflow_source(ridgeline.workflows) is
  'The whole definition as it is now: {id, name, description, trigger_type, trigger_config, conditions, settings, '
  'metadata, steps: [{step_key, step_type, step_config, ..., branches: {name: [steps]}}]}.';

-- Made of what is written, so that it knows every writer: nothing has to be counted up.
create or replace function automation.revision_of(workflow ridgeline.workflows) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select md5(automation.workflow_source(workflow)::text) $$;

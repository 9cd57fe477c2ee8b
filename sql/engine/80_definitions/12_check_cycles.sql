-- Workflows that start each other: what a step writes is what a trigger listens to. The engine ends
-- such a loop (50_executions/01_cause), but not before customers have had the same message a few
-- times.
--
-- Only what could happen counts: the event, the field, the values that a trigger_config and
-- conditions ask for, as far as what is written is known beforehand. Timers and schedules are left
-- out: time lies between.

-- Could this write start a workflow with this trigger?
create or replace function automation.could_start(
  entity text, is_insert boolean, fields jsonb, event text, listener automation.compiled_trigger,
  conditions jsonb, scope jsonb)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.trigger_types;
  facts jsonb;
begin
  if entity is distinct from listener.entity then
    return false;
  end if;
  select t.* into known from automation.trigger_types as t where t.name = event;
  if not (case known.kind
    when 'created' then is_insert
    when 'updated' then not is_insert
    when 'changed' then case when is_insert then known.on_insert else fields ? listener.field end
    when 'becomes' then case when is_insert then known.on_insert else fields ? known.column_name end
    else false end) then
    return false;
  end if;
  if exists (
    select from (
      select m.key, jsonb_build_array(m.value) as allowed from jsonb_each(listener.match) as m
      union all select m.key, m.value from jsonb_each(listener.match_any) as m
      union all select listener.field, listener.to_values where listener.to_values is not null
      union all select known.column_name, jsonb_build_array(known.becomes)
      where known.kind = 'becomes'
    ) as asked
    where fields -> asked.key -> 0 is not null
      and not exists (
        select from jsonb_array_elements(asked.allowed) as a
        where automation.values_equal(fields -> asked.key -> 0, a.value, false, scope ->> 'zone'))
  ) then
    return false;
  elsif jsonb_typeof(conditions) is distinct from 'object' or conditions -> 'tree' = 'false' then
    return true;
  end if;
  select coalesce(jsonb_agg(automation.fact(f.key, 'equals', f.value -> 0, '')), '[]') into facts
  from jsonb_each(fields) as f where f.value <> '[]';
  return (automation.weigh_all(
    conditions -> 'tree', conditions -> 'code', false,
    scope || jsonb_build_object('entity', entity, 'kind', known.kind, 'lenient', true), true, 0,
    facts)).verdict is distinct from 'never';
end;
$$;

-- The active workflows of the tenant that what a plan writes could start: {id, name, step: the path
-- of the step that writes, plan, entity}.
create or replace function automation.started_by(
  workflow ridgeline.workflows, plan jsonb, fired text, seen uuid[], scope jsonb)
  returns table (workflow_id uuid, name text, step text, plan jsonb, entity text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select distinct on (l.workflow_id) l.workflow_id, w.name, automation.step_path(s.value),
      automation.readable_plan(v.plan), l.entity
    from jsonb_each(started_by.plan -> 'steps') as s
    cross join lateral unnest(automation.step_writes(s.value ->> 'type', s.value, fired)) as write
    join lateral (
      select t.* from automation.active_triggers as t
      where t.tenant_id = workflow.tenant_id and t.entity = write.entity and t.role = 'enrol'
        and not t.workflow_id = any (seen)
      order by t.workflow_id
      limit automation.cycle_limit() + 1
    ) as l on automation.could_start(
      write.entity, write.is_insert, write.fields, l.event,
      row(l.entity, l.match, l.match_any, null, null, l.field, l.from_values,
        coalesce(l.to_values, automation.as_list(l.on_insert -> 'becomes')), null
        )::automation.compiled_trigger, l.conditions, scope)
    join ridgeline.workflows as w on w.tenant_id = l.tenant_id and w.id = l.workflow_id
    join ridgeline.workflow_versions as v on v.tenant_id = l.tenant_id
      and v.workflow_id = l.workflow_id and v.version = l.version
    order by l.workflow_id, automation.step_path(s.value)
  $$;

create or replace function automation.cycle_limit() returns integer
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return 300;

comment on function automation.cycle_limit() is
  'How many workflows the search for cycles looks at.';

-- The step of a plan whose writes could start the workflow itself.
create or replace function automation.closing_step(
  workflow ridgeline.workflows, listener automation.compiled_trigger, conditions jsonb, plan jsonb,
  fired text, scope jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.step_path(s.value)
    from jsonb_each(plan -> 'steps') as s
    cross join lateral unnest(automation.step_writes(s.value ->> 'type', s.value, fired)) as write
    cross join automation.heard_events(workflow.trigger_type, workflow.trigger_config, listener.entity) as heard
    where automation.could_start(write.entity, write.is_insert, write.fields, heard.event,
      row(listener.entity, listener.match, listener.match_any, null, null, listener.field, listener.from_values,
        coalesce(listener.to_values, automation.as_list(heard.on_insert -> 'becomes')), null
        )::automation.compiled_trigger, conditions, scope)
    order by 1
    limit 1
  $$;

create or replace function automation.cycle_problem(step text, names text[]) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      step, 'cycle',
      case cardinality(names)
        when 2 then 'what this step writes can start this workflow again'
        else format('what this step writes can start this workflow again: %s',
          array_to_string(names, ' -> '))
      end,
      'Narrow the trigger (from, to, a field that must match), or add a condition that no longer '
      'holds once the step has run.', 'warning')
  $$;

-- Breadth first from the draft. Each workflow that leads back to it is reported with the shortest way
-- there, so that no loop goes unnamed and none is told twice.
create or replace function automation.check_cycles(
  workflow ridgeline.workflows, listener automation.compiled_trigger, conditions jsonb, plan jsonb,
  scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb := '[]'::jsonb;
  closing text := automation.closing_step(
    workflow, listener, conditions, plan, scope ->> 'entity', scope);
  seen uuid[] := array[workflow.id];
  queue jsonb := jsonb_build_array(jsonb_build_object(
    'plan', plan, 'entity', scope -> 'entity', 'names', jsonb_build_array(workflow.name)));
  here jsonb;
  started record;
  names jsonb;
begin
  if scope ->> 'kind' not in ('created', 'updated', 'changed', 'becomes') then
    return problems;
  end if;
  if closing is not null then
    problems := problems || automation.cycle_problem(closing, array[workflow.name, workflow.name]);
  end if;
  while queue <> '[]' loop
    here := queue -> 0;
    queue := queue - 0;
    for started in
      select * from automation.started_by(
        workflow, here -> 'plan', here ->> 'entity', seen, scope)
    loop
      if cardinality(seen) > automation.cycle_limit() or jsonb_array_length(problems) >= 20 then
        return problems || automation.problem(
          'steps', 'cycles_not_checked', case
            when jsonb_array_length(problems) >= 20 then 'there are more cycles than these'
            else format('only %s workflows were searched for cycles', automation.cycle_limit()) end,
          'Narrow the triggers of workflows that listen to every change.', 'warning');
      end if;
      seen := seen || started.workflow_id;
      names := (here -> 'names') || to_jsonb(started.name);
      if automation.closing_step(workflow, listener, conditions, started.plan, started.entity, scope)
        is not null then
        problems := problems || automation.cycle_problem(
          coalesce(here ->> 'step', started.step),
          array(select jsonb_array_elements_text(names)) || workflow.name);
      end if;
      queue := queue || jsonb_build_array(jsonb_build_object(
        'plan', started.plan, 'entity', started.entity, 'names', names,
        'step', coalesce(here ->> 'step', started.step)));
    end loop;
  end loop;
  return problems;
end;
$$;

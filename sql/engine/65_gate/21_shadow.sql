-- SHADOWS
--
-- A run in mode shadow waits, branches, exits and renders like any other, and no step of it has an effect. The one
-- place that sees to it is automation.prepare_step (70_dispatch), where both lanes come by: what would be done ends
-- as skipped with code "shadow", the rendered input and the recipient stay in the ledger, and "would" says what it
-- comes to. What the live step would refuse fails here with the same words. What a later step of the same run
-- reads is what it would read had the effect happened (automation.as_if in 50_executions).

-- What a step that only decides how its own run goes on may do in a shadow as well.
create or replace function automation.has_effect(step_type text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select step_type not in ('wait', 'conditional', 'split', 'stop') $$;

-- The fields as the table would hold them, and what is there now: {entity, id, fields, was}.
create or replace function automation.would_write(
  execution ridgeline.workflow_executions, entity text, fields jsonb, operator text default 'set')
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  id constant text := automation.target_id(execution, entity);
  present jsonb;
  whole jsonb;
begin
  select e.* into attached from automation.entities as e where e.name = entity;
  perform automation.check_writable(attached, fields);
  fields := automation.own_names(attached, fields);
  present := automation.read_root(execution, entity);
  if present is null then
    raise exception '%: it was deleted', entity using errcode = 'no_data_found';
  elsif operator <> 'set' then
    fields := automation.combine_fields(present, fields, operator, automation.tenant_zone(execution.tenant_id));
  end if;
  fields := automation.fit_fields(attached, fields);
  perform automation.check_assignee(execution.tenant_id, 'assigned_to',
    fields ->> coalesce(attached.mapped ->> 'assigned_to', 'assigned_to'));
  execute format('select to_jsonb(jsonb_populate_record(null::%s, $1))', attached.relation) into whole using fields;
  return jsonb_build_object('entity', entity, 'id', id)
    || (select jsonb_build_object(
        'fields', jsonb_object_agg(f.key, coalesce(whole -> f.key, f.value)),
        'was', jsonb_object_agg(f.key, present #> string_to_array(f.key, '.')))
      from jsonb_each(fields) as f);
exception when data_exception then
  raise exception 'fields.%: %', automation.misfit(attached, fields), sqlerrm using errcode = sqlstate;
end;
$$;

create or replace function automation.would_assign(execution ridgeline.workflow_executions, input jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity constant text := automation.assigned_entity(execution, input);
  user_column constant text := automation.mapped_column(entity, 'assigned_to');
  user_id uuid;
begin
  if user_column is null then
    raise exception 'entity: "%" has no assigned_to', left(entity, 60) using errcode = 'undefined_column';
  -- A shadow takes nobody's turn, and so cannot know whose it would be.
  elsif input ? 'user_ids' then
    return jsonb_build_object('one_of', input -> 'user_ids');
  end if;
  select m.user_id into user_id
  from automation.read_members(array[execution.tenant_id], array[automation.as_uuid(input ->> 'user_id')]) as m;
  if not found then
    raise exception 'user_id: "%" is not a member of the tenant', left(input ->> 'user_id', 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return jsonb_build_object('user_id', user_id)
    || automation.would_write(execution, entity, jsonb_build_object(user_column, user_id));
end;
$$;

create or replace function automation.would_create_task(execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.check_assignee(execution.tenant_id, 'assigned_to', input ->> 'assigned_to');
  perform automation.check_target('task', 'create_task');
  return jsonb_strip_nulls(jsonb_build_object('due', coalesce(
    automation.as_time(execution, input, 'due_at'),
    case when input ?| '{due_in_days,due_in_hours,due_in_minutes}' then automation.now()
      + coalesce(automation.as_number(input, 'due_in_days'), 0) * interval '1 day'
      + coalesce(automation.as_number(input, 'due_in_hours'), 0) * interval '1 hour'
      + coalesce(automation.as_number(input, 'due_in_minutes'), 0) * interval '1 minute' end)));
end;
$$;

-- What one step comes to. A type of step that says nothing of itself here is skipped all the same.
create or replace function automation.would_do(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  input constant jsonb := prepared.input;
begin
  return jsonb_build_object('action', step -> 'type') || case step ->> 'type'
    when 'send_sms' then jsonb_build_object('to', prepared.recipient)
    when 'send_email' then jsonb_build_object('to', input -> 'to')
    when 'webhook' then jsonb_build_object('method', input -> 'method', 'url', input -> 'url',
      -- The answer that a dry run imagines too.
      'result', '{"http_status": 200, "headers": {}, "body": {}}'::jsonb)
    when 'create_task' then automation.would_create_task(execution, input)
    when 'update_contact' then automation.would_write(execution, 'contact', input -> 'fields')
    when 'update_project' then automation.would_write(execution, 'project', input -> 'fields')
    when 'update_field' then (
      select automation.would_write(
        execution, f.entity, jsonb_build_object(f.field, input -> 'value'), coalesce(input ->> 'operator', 'set'))
      from automation.written_field(input) as f)
    when 'change_stage' then automation.would_write(execution, automation.stage_entity(execution, input),
      jsonb_build_object(
        coalesce(automation.stage_column(automation.stage_entity(execution, input)), ''), input -> 'stage'))
    when 'assign_user' then automation.would_assign(execution, input)
    when 'add_tag' then jsonb_build_object('tag', btrim(input ->> 'tag'), 'added', true)
    when 'remove_tag' then jsonb_build_object('tag', btrim(input ->> 'tag'), 'removed', true)
    when 'create_project' then jsonb_build_object('name', input -> 'name')
    else '{}'
  end;
end;
$$;

comment on function automation.would_do(ridgeline.workflow_executions, jsonb, automation.prepared_step) is
  'What a step of a shadow would have done: {action, ...}. Raises what the step itself would raise. Writes nothing.';

create or replace function automation.skip_in_shadow(
  execution ridgeline.workflow_executions, step jsonb, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  gated automation.send_verdict;
begin
  if prepared.verdict = 'run' and step ->> 'lane' <> 'database' then
    gated := automation.foresee(execution, step, prepared, automation.now());
    prepared := gated.prepared;
    -- What follows is as much later as it would be live.
    if gated.verdict = 'hold' then
      prepared.verdict := 'hold';
      prepared.reason := to_jsonb(gated) - 'prepared';
      return prepared;
    end if;
  end if;
  if prepared.verdict = 'run' and automation.has_effect(step ->> 'type') then
    prepared.verdict := 'skip';
    prepared.reason := jsonb_build_object(
      'code', 'shadow', 'message', 'a shadow has no effect; "would" says what was left out',
      'would', automation.would_do(execution, step, prepared));
  end if;
  return prepared;
end;
$$;

comment on function automation.skip_in_shadow(ridgeline.workflow_executions, jsonb, automation.prepared_step) is
  'Turns whatever has an effect outside its own run into a skip that says what would have been done; verdict hold: it '
  'would have to wait now (reason: the send_verdict).';

-- Who is responsible for a record.

-- Whom assign_user makes responsible when it does not say for what: see automation.assigned_entity().
create or replace function automation.assignable(fired text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.mapped_column(fired, 'assigned_to') is not null and not exists (
        select from automation.entities as e
        where e.name = assignable.fired and (e.name = 'contact' or automation.leads_to_contact(e)))
      then fired else 'contact' end
  $$;

create or replace function automation.fold_assign_user(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.fold_target(automation.without_blanks(config));
end;
$$;

create or replace function automation.check_assign_user(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.check_target_of(config, config ->> 'entity', path);
end;
$$;

create or replace function automation.writes_assign_user(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  config constant jsonb := step #> '{config,base}';
  entity constant text := coalesce(config ->> 'entity', automation.assignable(fired));
begin
  return array[row(entity, false, jsonb_build_object(
    coalesce(automation.mapped_column(entity, 'assigned_to'), 'assigned_to'),
    automation.written_value(config -> 'user_id')))::automation.step_write];
end;
$$;

create or replace function automation.needs_assign_user(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_column(step, scope, (automation.writes_assign_user(step, scope ->> 'entity'))[1])
    || automation.needs_target(workflow, step, step #>> '{config,base,entity}');
end;
$$;

-- Of several the first that is there: whose turn it is, is known when the step runs.
create or replace function automation.likely_member(execution ridgeline.workflow_executions, input jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found text := (
    select m.record ->> 'id'
    from jsonb_array_elements_text(coalesce(input -> 'user_ids', jsonb_build_array(input -> 'user_id')))
      with ordinality as u (id, place)
    join automation.read_members(array[execution.tenant_id], null) as m on m.user_id = automation.key_uuid(u.id)
    order by u.place limit 1);
begin
  if found is null and input ? 'user_ids' then
    raise exception 'user_ids: none of them is a member of the tenant' using errcode = 'invalid_parameter_value';
  elsif found is null then
    raise exception 'user_id: "%" is not a member of the tenant', left(input ->> 'user_id', 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return found;
end;
$$;

create or replace function automation.imagine_assign_user(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity constant text := automation.assigned_entity(execution, input);
  user_column constant text := automation.mapped_column(entity, 'assigned_to');
  user_id text;
  imagined automation.imagined;
begin
  if user_column is null then
    raise exception 'entity: "%" has no assigned_to', left(entity, 60)
      using errcode = 'undefined_column', hint = 'automation.attach() maps it: {"assigned_to": "<column>"}.';
  end if;
  user_id := automation.likely_member(execution, input);
  imagined := automation.imagine_write(execution, entity, jsonb_build_object(user_column, user_id), input => input);
  imagined.result := jsonb_build_object('user_id', user_id);
  return imagined;
end;
$$;

create or replace function automation.perform_assign_user(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.assign_user(execution, step ->> 'key', input);
end;
$$;

create or replace function automation.holds_assign_user(step jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return true;
end;
$$;

create or replace function automation.would_assign_user(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  input constant jsonb := prepared.input;
  entity constant text := automation.assigned_entity(execution, input);
  user_column constant text := automation.mapped_column(entity, 'assigned_to');
  user_id text;
begin
  if user_column is null then
    raise exception 'entity: "%" has no assigned_to', left(entity, 60) using errcode = 'undefined_column';
  end if;
  user_id := automation.likely_member(execution, input);
  -- A shadow takes nobody's turn, and so cannot know whose it would be.
  return jsonb_strip_nulls(jsonb_build_object('user_id', user_id, 'one_of', input -> 'user_ids'))
    || automation.would_write(execution, entity, jsonb_build_object(user_column, user_id), input => input);
end;
$$;

select automation.register_step('assign_user', 'database', null,
  'Makes a user responsible for the contact, project or job.', $schema${
  "oneOf": [{"required": ["user_id"]}, {"required": ["user_ids"]}],
  "properties": {
    "user_id": {"type": "string", "format": "id", "description": "Who."},
    "user_ids": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string", "format": "id"},
      "description": "Several, who take turns."},
    "entity": {"type": "string", "format": "template",
      "description": "Of what. Default: contact, or as the variable in target says."},
    "target": {"type": ["string", "number"], "format": "template",
      "description": "The id of another record than the run's."}
  },
  "examples": [
    {"user_id": "{{project.assigned_to}}"},
    {"user_ids": ["7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11", "0b6e3d52-91c4-4c0b-8f2e-5d3a7c1e9f20"]}
  ]
}$schema$);

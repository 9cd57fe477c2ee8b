-- The stage of a record.

create or replace function automation.fold_change_stage(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.fold_target(automation.without_blanks(config));
end;
$$;

create or replace function automation.check_change_stage(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.check_target_of(config, config ->> 'entity', path);
end;
$$;

create or replace function automation.writes_change_stage(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  config constant jsonb := step #> '{config,base}';
  entity constant text := coalesce(config ->> 'entity',
    case when automation.stage_column(fired) is not null then fired else 'contact' end);
begin
  return array[row(entity, false, jsonb_build_object(
    coalesce(automation.stage_column(entity), 'stage'), automation.written_value(config -> 'stage'))
    )::automation.step_write];
end;
$$;

create or replace function automation.needs_change_stage(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_column(step, scope, (automation.writes_change_stage(step, scope ->> 'entity'))[1])
    || automation.needs_target(workflow, step, step #>> '{config,base,entity}');
end;
$$;

create or replace function automation.imagine_change_stage(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity constant text := automation.stage_entity(execution, input);
  stage_column constant text := automation.stage_column(entity);
begin
  if stage_column is null then
    raise exception 'entity: "%" has neither a stage nor a status', left(entity, 60)
      using errcode = 'undefined_column', hint = 'automation.attach() maps them: {"stage": "<column>"}.';
  end if;
  return automation.imagine_write(
    execution, entity, jsonb_build_object(stage_column, input -> 'stage'), input => input);
end;
$$;

create or replace function automation.perform_change_stage(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.change_stage(execution, input);
end;
$$;

create or replace function automation.holds_change_stage(step jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return true;
end;
$$;

create or replace function automation.would_change_stage(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity constant text := automation.stage_entity(execution, prepared.input);
begin
  return automation.would_write(execution, entity, jsonb_build_object(
    coalesce(automation.stage_column(entity), ''), prepared.input -> 'stage'), input => prepared.input);
end;
$$;

select automation.register_step('change_stage', 'database', null,
  'Moves the contact, project or job to another stage.', $schema${
  "required": ["stage"],
  "properties": {
    "stage": {"type": ["string", "number"], "minLength": 1, "format": "template",
      "description": "Where to."},
    "entity": {"type": "string", "format": "template",
      "description": "contact, project or job. Default: what the run is about, or as the variable in target says."},
    "target": {"type": ["string", "number"], "format": "template",
      "description": "The id of another record than the run's."}
  },
  "examples": [{"stage": "estimate_sent", "entity": "project"}]
}$schema$);

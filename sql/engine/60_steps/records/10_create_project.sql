-- A project of the contact, once for a key.

create or replace function automation.fold_create_project(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  config := automation.without_blanks(config);
  return automation.fold_key(config, 'project_type', '{type}');
end;
$$;

create or replace function automation.check_create_project(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.check_target_of(config, 'contact', path);
end;
$$;

create or replace function automation.needs_create_project(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_target(workflow, step, 'contact');
end;
$$;

create or replace function automation.writes_create_project(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.writes_target(
    (select t.relation from automation.targets as t where t.name = 'project'),
    automation.target_fields('project', '{"status": ["open"], "stage": ["new"]}'::jsonb || (
      select coalesce(jsonb_object_agg(case f.key when 'project_type' then 'type'
        when 'pipeline_stage' then 'stage' else f.key end, automation.written_value(f.value)), '{}')
      from jsonb_each(step #> '{config,base}') as f where f.key <> 'key')));
end;
$$;

create or replace function automation.imagine_create_project(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contact constant text := automation.project_contact(execution, input);
  made constant text := automation.made_project(execution, contact, input);
begin
  -- One that was made under this key is not made again.
  if made is null then
    perform automation.rehearse_target(execution, 'project', 'create_project', jsonb_build_object(
      'tenant', execution.tenant_id,
      'contact', case when not automation.is_imagined(execution, contact) then contact end, 'name', input ->> 'name',
      'type', input ->> 'project_type', 'status', coalesce(input ->> 'status', 'open'),
      'stage', coalesce(input ->> 'pipeline_stage', 'new'), 'value', automation.as_number(input, 'value'),
      'description', input ->> 'description'));
  end if;
  return row(execution.trigger_data, jsonb_build_object('project_id',
    coalesce(made, automation.imagined_id('project')), 'created', made is null))::automation.imagined;
end;
$$;

create or replace function automation.perform_create_project(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.create_project(execution, input);
end;
$$;

create or replace function automation.would_create_project(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('name', prepared.input -> 'name', 'result', (
    select (automation.imagine_create_project(execution, null, prepared.input, null, null)).result));
end;
$$;

select automation.register_step('create_project', 'database', null,
  'Creates a project for the contact, once for a key.', $schema${
  "required": ["name"],
  "properties": {
    "name": {"type": "string", "format": "template", "minLength": 1, "description": "Its name."},
    "key": {"type": ["string", "number"], "format": "template", "minLength": 1,
      "description": "Which project it is: a contact never gets a second one of this key. Default: the name."},
    "project_type": {"type": "string", "format": "template", "minLength": 1,
      "description": "Of any kind you keep."},
    "status": {"type": "string", "format": "template", "minLength": 1, "description": "Default: open."},
    "pipeline_stage": {"type": "string", "format": "template", "minLength": 1,
      "description": "Default: new."},
    "value": {"type": ["number", "string"], "format": "template", "description": "In the tenant's currency."},
    "description": {"type": "string", "format": "template", "minLength": 1, "description": "More about it."},
    "target": {"type": ["string", "number"], "format": "template",
      "description": "The id of another contact whose project it is."}
  },
  "examples": [{"name": "Roof of {{contact.last_name}}", "key": "roof"}]
}$schema$);

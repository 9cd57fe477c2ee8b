-- Fields of the contact.

create or replace function automation.fold_update_contact(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.fold_fields(config);
end;
$$;

create or replace function automation.check_update_contact(config jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.check_fields(
      'contact', automation.names_in(config -> 'fields'), path || '.fields.')
    || automation.check_target_of(config, 'contact', path);
end;
$$;

create or replace function automation.needs_update_contact(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_record(step, scope, 'contact') || automation.needs_target(workflow, step, 'contact');
end;
$$;

create or replace function automation.writes_update_contact(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array[row('contact', false,
    automation.written_fields(step #> '{config,base,fields}'))::automation.step_write];
end;
$$;

create or replace function automation.imagine_update_contact(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.imagine_write(execution, 'contact', input -> 'fields', input => input);
end;
$$;

create or replace function automation.perform_update_contact(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.update_fields(execution, 'contact', input -> 'fields', input => input);
end;
$$;

create or replace function automation.holds_update_contact(step jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return true;
end;
$$;

create or replace function automation.would_update_contact(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.would_write(execution, 'contact', prepared.input -> 'fields', input => prepared.input);
end;
$$;

select automation.register_step('update_contact', 'database', null,
  'Sets fields of the contact.', $schema${
  "required": ["fields"],
  "properties": {
    "fields": {"type": "object", "minProperties": 1, "additionalProperties": true, "format": "template",
      "errorMessage": "fields must be an object of at least one field",
      "description": "Values by column; custom_fields.roof_type sets one custom field."},
    "target": {"type": ["string", "number"], "format": "template",
      "description": "The id of another contact."}
  },
  "examples": [{"fields": {"stage": "contacted", "custom_fields.reached_on": "{{today}}"}}]
}$schema$);

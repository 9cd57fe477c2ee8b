-- The end of a run.

create or replace function automation.imagine_stop(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(execution.trigger_data, automation.stop(input))::automation.imagined;
end;
$$;

create or replace function automation.perform_stop(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.stop(input);
end;
$$;

select automation.register_step('stop', 'database', null,
  'Ends the run.', $schema${
  "properties": {
    "reason": {"type": "string", "format": "template", "minLength": 1, "description": "Why, for the history."},
    "outcome": {"enum": ["completed", "cancelled"], "description": "Default: completed."}
  },
  "examples": [{"reason": "Not in our service area", "outcome": "cancelled"}]
}$schema$, ends_run => true, has_effect => false);

-- A branch by chance.

create or replace function automation.branches_split(config jsonb)
  returns text[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.branch_names(config);
end;
$$;

create or replace function automation.imagine_split(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(execution.trigger_data, jsonb_build_object('branch', coalesce(
    (select s.branch from automation.split_assignments as s
     where s.tenant_id = execution.tenant_id and s.workflow_id = execution.workflow_id
       and s.step_key = step ->> 'key' and s.subject = automation.split_subject(execution)
       and automation.branch_names(input) @> array[s.branch]),
    automation.draw_branch(input -> 'branches', automation.split_seed(execution, step ->> 'key'))))
    )::automation.imagined;
end;
$$;

create or replace function automation.perform_split(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.split(execution, step ->> 'key', input);
end;
$$;

select automation.register_step('split', 'database', '{}',
  'Takes a branch by chance, in proportion to weights; a contact always takes the same one.', $schema${
  "required": ["branches"],
  "properties": {
    "branches": {"type": "array", "minItems": 2, "maxItems": 10, "uniqueItemProperties": ["name"],
      "description": "What it chooses from.",
      "items": {"type": "object", "title": "a branch", "required": ["name", "weight"],
        "properties": {
          "name": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,40}$",
            "errorMessage": "name must be a letter and at most 40 letters, digits or _",
            "description": "What steps on this branch have in branch."},
          "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000,
            "description": "Its share, as compared with the others'."}
        }}}
  },
  "examples": [{"branches": [{"name": "short_text", "weight": 50}, {"name": "long_text", "weight": 50}]}]
}$schema$, has_effect => false);

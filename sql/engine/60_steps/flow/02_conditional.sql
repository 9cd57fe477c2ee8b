-- A branch by conditions.

-- {condition}, or one condition or group that is written into the configuration itself.
create or replace function automation.fold_conditional(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- The value of a condition may be empty.
  config := automation.without_blanks(config, '{value}');
  return case
    when config ? 'branches' then config
    when config ? 'conditions' and config ? 'operator'
      then automation.fold_document(config, '{operator,conditions}')
    when config ? 'conditions' then config
    when config ? 'condition' then automation.fold_key(config, 'conditions', '{condition}')
    when config ? 'field'
      then automation.fold_document(config, '{field,operator,value,logic,case_sensitive}')
    when config ?| '{all,any,not}' then automation.fold_document(config, '{all,any,not}')
    else config
  end;
end;
$$;

create or replace function automation.fold_document(config jsonb, keys text[]) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select config - keys || jsonb_build_object('conditions', (
      select jsonb_object_agg(k.key, k.value) from jsonb_each(config) as k where k.key = any (keys)))
  $$;

-- A conditional's questions in the order they are asked, each with its branch: [{name, conditions}].
create or replace function automation.compile_cases(
  config jsonb, known jsonb, out cases jsonb, out roots text[], out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked jsonb;
  compiled record;
begin
  cases := '[]';
  roots := '{}';
  problems := '[]';
  for asked in
    select jsonb_build_object('name', 'then', 'conditions', config -> 'conditions') where config ? 'conditions'
    union all
    select b from jsonb_array_elements(
      case jsonb_typeof(config -> 'branches') when 'array' then config -> 'branches' else '[]' end) as b
  loop
    compiled := automation.place_conditions(asked -> 'conditions', 'conditions', known);
    cases := cases || jsonb_build_object('name', asked -> 'name', 'conditions', compiled.compiled);
    roots := roots || automation.condition_roots(compiled.compiled);
    problems := problems || compiled.problems;
  end loop;
end;
$$;

-- Conditions that compiled without a word need not be compiled once more to be checked.
create or replace function automation.without_cases(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if config ? 'conditions' then
    return config || '{"conditions": []}';
  elsif jsonb_typeof(config -> 'branches') <> 'array' then
    return config;
  end if;
  return config || jsonb_build_object('branches', (
    select coalesce(jsonb_agg(
      case when b.value ? 'conditions' and jsonb_typeof(b.value) = 'object'
        then b.value || '{"conditions": []}' else b.value end order by b.place), '[]')
    from jsonb_array_elements(config -> 'branches') with ordinality as b (value, place)));
end;
$$;

-- What is wrong with its conditions is told by their format.
create or replace function automation.compile_conditional(config jsonb, path text, shared jsonb)
  returns automation.compiled_config
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked constant record := automation.compile_cases(config, shared -> 'documents');
begin
  return row('{}',
    case when asked.problems = '[]' then automation.without_cases(config) else config end,
    jsonb_build_object('cases', asked.cases), asked.roots, '[]')::automation.compiled_config;
end;
$$;

create or replace function automation.branches_conditional(config jsonb)
  returns text[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when config ? 'branches' then automation.branch_names(config) || 'else'::text
    else '{then,else}' end;
end;
$$;

create or replace function automation.imagine_conditional(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(execution.trigger_data, automation.choose(execution, step, at))::automation.imagined;
end;
$$;

create or replace function automation.perform_conditional(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.choose(execution, step);
end;
$$;

select automation.register_step('conditional', 'database', '{then,else}',
  'Takes a branch: then or else, or the first of several whose conditions hold.', $schema${
  "oneOf": [{"required": ["conditions"]}, {"required": ["branches"]}],
  "properties": {
    "conditions": {"format": "conditions",
      "description": "When they hold the branch then is taken, otherwise else."},
    "branches": {"type": "array", "minItems": 1, "maxItems": 20, "uniqueItemProperties": ["name"],
      "description": "The first whose conditions hold is taken, and else when none do.",
      "items": {"type": "object", "title": "a branch", "required": ["name", "conditions"],
        "properties": {
          "name": {"type": "string", "pattern": "^(?!else$)[A-Za-z][A-Za-z0-9_]{0,40}$",
            "errorMessage": "name must be a letter and at most 40 letters, digits or _, and not else",
            "description": "What steps on this branch have in branch."},
          "conditions": {"format": "conditions", "description": "When it is taken."}
        }}}
  },
  "examples": [
    {"conditions": [{"field": "project.value", "operator": "greater_than", "value": 10000}]},
    {"branches": [
      {"name": "hot", "conditions": {"field": "contact.lead_score", "operator": "greater_or_equal", "value": 80}},
      {"name": "warm", "conditions": {"field": "contact.lead_score", "operator": "greater_or_equal", "value": 40}}
    ]}
  ]
}$schema$, has_effect => false);

-- One field of any record: set, added to, taken from, appended to.

create or replace function automation.fold_update_field(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  config := automation.without_blanks(config);
  config := case when config ? 'table'
    then config - 'table' || jsonb_build_object('entity', regexp_replace(config ->> 'table', 's$', ''))
    else config end;
  return case when config ? 'entity' or config ->> 'field' ~ '^(contact|project|job)\.'
    then config else automation.fold_target(config) end;
end;
$$;

-- Only a number, a date or a list can be added to or taken from, only a text or a list appended to.
create or replace function automation.check_field_operator(config jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(path || '.operator', 'operator_type_mismatch',
      format('%s cannot be used on %s: it is %s', config ->> 'operator', f.field, automation.kind_name(k.kind)),
      'Use set, or a field of another type.')), '[]')
    from automation.written_field(config) as f
    cross join lateral (
      select automation.value_kind(a.atttypid) as kind
      from automation.entities as e
      join pg_catalog.pg_attribute as a on a.attrelid = to_regclass(e.relation) and not a.attisdropped
        and a.attname = coalesce(automation.aliases(e) ->> f.field, f.field)
      where e.name = f.entity
    ) as k
    where config ->> 'operator' in ('add', 'subtract', 'append')
      and not k.kind = any (case config ->> 'operator'
        when 'append' then '{text,list,json,other}'::text[] else '{number,date,list,json,other}' end)
  $$;

create or replace function automation.check_update_field(config jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant record := automation.written_field(config);
begin
  return (
      select coalesce(jsonb_agg(p || jsonb_build_object('path', path || '.field')), '[]')
      from jsonb_array_elements(automation.check_fields(written.entity, array[written.field], '')) as p)
    || automation.check_field_operator(config, path)
    || automation.check_target_of(config, written.entity, path);
end;
$$;

create or replace function automation.writes_update_field(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  config constant jsonb := step #> '{config,base}';
  written constant record := automation.written_field(config);
begin
  if written.field is null then
    return '{}'::automation.step_write[];
  end if;
  return array[row(written.entity, false, jsonb_build_object(split_part(written.field, '.', 1), case
    when written.field like '%.%' or coalesce(config ->> 'operator', 'set') <> 'set' then '[]'
    else automation.written_value(config -> 'value') end))::automation.step_write];
end;
$$;

create or replace function automation.needs_update_field(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_record(step, scope, (automation.written_field(step #> '{config,base}')).entity)
    || automation.needs_target(workflow, step, (automation.written_field(step #> '{config,base}')).entity);
end;
$$;

create or replace function automation.imagine_update_field(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant record := automation.written_field(input);
begin
  return automation.imagine_write(execution, written.entity,
    jsonb_build_object(written.field, input -> 'value'), coalesce(input ->> 'operator', 'set'), input);
end;
$$;

create or replace function automation.perform_update_field(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.update_one_field(execution, input);
end;
$$;

create or replace function automation.holds_update_field(step jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return true;
end;
$$;

create or replace function automation.would_update_field(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select automation.would_write(execution, f.entity, jsonb_build_object(f.field, prepared.input -> 'value'),
      coalesce(prepared.input ->> 'operator', 'set'), prepared.input)
    from automation.written_field(prepared.input) as f);
end;
$$;

select automation.register_step('update_field', 'database', null,
  'Sets one field of the contact, project or job.', $schema${
  "required": ["field", "value"],
  "properties": {
    "field": {"type": "string", "minLength": 1, "format": "template",
      "description": "A column, such as lead_score, project.value or custom_fields.roof_type."},
    "value": {"format": "template", "description": "What to set it to, to add, to take away or to append."},
    "operator": {"enum": ["set", "add", "subtract", "append"],
      "description": "add and subtract take a number, a length of time or an item of a list. Default: set."},
    "entity": {"type": "string", "format": "template",
      "description": "Whose field. Default: contact, or as field begins, or as the variable in target says."},
    "target": {"type": ["string", "number"], "format": "template",
      "description": "The id of another record than the run's."}
  },
  "examples": [{"field": "lead_score", "value": "{{ contact.lead_score | plus: 10 }}"}]
}$schema$);

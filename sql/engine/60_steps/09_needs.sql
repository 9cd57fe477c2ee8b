-- What steps need, and what they write, as their types say it (08_types).

-- A step that works on a record needs one: the run's, or the one that it names.
create or replace function automation.needs_record(step jsonb, scope jsonb, entity text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if step #> '{config,base}' ? 'target' or entity like '%{{%' or (scope ->> 'lenient')::boolean
    or scope -> 'records' ? entity or not exists (select from automation.entities as e where e.name = entity) then
    return '[]'::jsonb;
  end if;
  return jsonb_build_array(automation.problem(
    automation.step_path(step) || '.step_config', 'no_record',
    format('%s has no %s to work on: this trigger brings none', step ->> 'type', entity),
    automation.records_hint(scope)));
end;
$$;

-- A step that changes one column needs a record that has it.
create or replace function automation.needs_column(step jsonb, scope jsonb, write automation.step_write) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  missing constant jsonb := automation.needs_record(step, scope, write.entity);
begin
  if missing <> '[]' or write.entity like '%{{%' then
    return missing;
  end if;
  return (
    select coalesce(jsonb_agg(automation.problem(
      automation.step_path(step) || '.step_config.entity', 'unknown_field',
      format('%s has no field "%s" to write', e.name, f),
      format('Use update_field with one of: %s', array_to_string(e.writable_columns, ', ')))), '[]')
    from automation.entities as e, jsonb_object_keys(write.fields) as f
    where e.name = write.entity and not f = any (e.writable_columns));
end;
$$;

-- Whom a message goes to that does not say it: the contact, by the mapped name (phone, email).
create or replace function automation.needs_recipient(step jsonb, scope jsonb, name text, noun text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant text := automation.step_path(step) || '.step_config.to';
begin
  if not automation.is_blank(step #> '{config,base,to}')
    or automation.mapped_column(scope ->> 'entity', name) is not null then
    return '[]'::jsonb;
  elsif automation.mapped_column('contact', name) is null then
    return jsonb_build_array(automation.problem(
      at, 'no_recipient',
      format('%s has nobody to go to: contacts have no field "%s"', step ->> 'type', name),
      format('Write the field that holds the %s into "to", such as "{{contact.mobile}}".', noun),
      case when (scope ->> 'lenient')::boolean then 'warning' else 'error' end));
  elsif not (scope ->> 'lenient')::boolean and not scope -> 'records' ? 'contact' then
    return jsonb_build_array(automation.problem(
      at, 'no_recipient', format('%s has nobody to go to: this trigger brings no contact', step ->> 'type'),
      'Write who it goes to into "to". ' || automation.records_hint(scope)));
  end if;
  return '[]'::jsonb;
end;
$$;

create or replace function automation.written_value(value jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when value is null or jsonb_typeof(value) in ('object', 'array')
        or value #>> '{}' like '%{{%' then '[]'
      else jsonb_build_array(value)
    end
  $$;

-- {field: [value]}, as automation.step_write has them.
create or replace function automation.written_fields(fields jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_object_agg(split_part(f.key, '.', 1), case
      when f.key like '%.%' then '[]' else automation.written_value(f.value) end), '{}')
    from jsonb_each(case jsonb_typeof(fields) when 'object' then fields else '{}' end) as f);
end;
$$;

-- A step that makes a row of a target, in the table that is attached as an entity too: its writing starts others.
create or replace function automation.writes_target(relation text, fields jsonb) returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select row(e.name, true, fields)::automation.step_write from automation.entities as e
    where e.relation = writes_target.relation);
end;
$$;

-- Fields of the contact, of the project, or one of any record.

create or replace function automation.fold_fields(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when config ? 'fields' then config - case when config -> 'target' in ('null', '""') then 'target' else '' end
    when config ? 'updates' then
      config - 'updates' || jsonb_build_object('fields', config -> 'updates')
    when config = '{}' then config
    else jsonb_build_object('fields', config)
  end;
end;
$$;

-- The fields that a step writes are checked against the live table. "custom_fields.roof_type" is a key of a JSON
-- column, whatever that is called.
create or replace function automation.check_fields(entity text, fields text[], path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_agg(automation.problem(
        path || f.name, 'unknown_field', format('%s has no field "%s" to write', e.name, f.name),
        case when f.name = 'target' then 'Beside "target" the fields stand in "fields". ' else '' end
          || 'Writable: ' || array_to_string(e.writable_columns, ', ')) order by f.name), '[]')
    from unnest(fields) as f (name)
    join automation.entities as e on e.name = check_fields.entity
    where not (f.name = any (e.writable_columns)
      or strpos(f.name, '.') > 1 and split_part(f.name, '.', 1) = any (e.writable_columns)
        and automation.holds_json(e, automation.own_name(e, split_part(f.name, '.', 1)))));
end;
$$;

create or replace function automation.names_in(fields jsonb) returns text[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(select jsonb_object_keys(case jsonb_typeof(fields) when 'object' then fields else '{}' end));
end;
$$;

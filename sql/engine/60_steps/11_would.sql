-- What a shadow (65_gate/21_shadow) says that a step that writes would have written: it raises what the step itself
-- would raise, and writes nothing.

-- The fields as the table would hold them, and what is there now: {entity, id, fields, was}.
create or replace function automation.would_write(
  execution ridgeline.workflow_executions, entity text, fields jsonb, operator text default 'set',
  input jsonb default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  id constant text := automation.target_id(execution, entity, input);
  present jsonb;
  whole jsonb;
begin
  select e.* into attached from automation.entities as e where e.name = entity;
  perform automation.check_writable(attached, fields);
  fields := automation.own_names(attached, fields);
  present := case
    when not automation.is_of_another(execution, entity, input) then automation.read_root(execution, entity)
    when automation.is_imagined(execution, id) then '{}'
    else automation.read_record(entity, execution.tenant_id, id) end;
  if present is null then
    raise exception '%: it was deleted', entity using errcode = 'no_data_found';
  elsif operator <> 'set' then
    fields := automation.combine_fields(present, fields, operator, automation.tenant_zone(execution.tenant_id));
  end if;
  fields := automation.fit_fields(attached, fields, execution.tenant_id);
  perform automation.check_assignee(execution.tenant_id, 'assigned_to',
    fields ->> coalesce(attached.mapped ->> 'assigned_to', 'assigned_to'));
  execute format('select to_jsonb(jsonb_populate_record(null::%s, $1))', attached.relation) into whole using fields;
  return jsonb_build_object('entity', entity, 'id', id) || automation.would_target(execution, entity, input)
    || (select jsonb_build_object(
        'fields', jsonb_object_agg(f.key, coalesce(whole -> f.key, f.value)),
        'was', jsonb_object_agg(f.key, present #> string_to_array(f.key, '.')))
      from jsonb_each(fields) as f);
exception when data_exception then
  raise exception 'fields.%: %', automation.misfit(attached, fields), sqlerrm using errcode = sqlstate;
end;
$$;

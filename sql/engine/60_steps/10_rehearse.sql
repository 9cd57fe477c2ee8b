-- What a step that writes would do, with nothing written: it raises what the step would raise, as far as that can be
-- known beforehand (15_entities/09_judge).

-- A record as the run has it, under the names of its table: the row, with what earlier steps would have changed.
create or replace function automation.present_record(
  execution ridgeline.workflow_executions, attached automation.entities, input jsonb default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_another constant boolean := automation.is_of_another(execution, attached.name, input);
  id constant text := case when is_another then automation.target_id(execution, attached.name, input)
    else execution.trigger_data ->> (attached.name || '_id') end;
  brought constant jsonb := case when is_another then '{}' else execution.trigger_data -> attached.name end;
  stored jsonb;
begin
  if id is not null then
    execute format('select to_jsonb(r) from %s as r where %s = $1 and r.%I = $2::%s', attached.relation,
      automation.tenant_expression(attached, 'r'), attached.id_column,
      automation.key_type(attached))
      into stored using execution.tenant_id, id;
    stored := automation.timed_record(attached, stored);
  end if;
  if stored is null and jsonb_typeof(brought) is distinct from 'object' then
    raise exception '%: the execution has no % to work on', attached.name, attached.name
      using errcode = 'no_data_found';
  end if;
  return coalesce(stored, '{}') || coalesce((
    select jsonb_object_agg(b.key, b.value)
    from jsonb_each(case jsonb_typeof(brought) when 'object' then brought else '{}' end) as b
    join automation.relation_columns(to_regclass(attached.relation)) as c on c.name = b.key), '{}');
exception when data_exception then
  return '{}'::jsonb;
end;
$$;

-- "custom_fields.x" sets one key of a column.
create or replace function automation.with_fields(record jsonb, fields jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field record;
begin
  for field in select f.key, f.value, split_part(f.key, '.', 1) as name from jsonb_each(fields) as f loop
    record := record || jsonb_build_object(field.name, case
      when field.key = field.name then field.value
      else coalesce(nullif(record -> field.name, 'null'), '{}')
        || jsonb_build_object(substr(field.key, length(field.name) + 2), field.value) end);
  end loop;
  return record;
end;
$$;

create or replace function automation.refuse_misfit(said text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if said is not null then
    raise exception '%', said using errcode = 'check_violation';
  end if;
end;
$$;

-- Fields of an attached record as update_fields() would write them: {field: value}, under the names that were given.
create or replace function automation.rehearse_fields(
  execution ridgeline.workflow_executions, entity text, fields jsonb, operator text default 'set',
  input jsonb default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  present jsonb;
  combined jsonb := fields;
  own jsonb;
begin
  select e.* into attached from automation.entities as e where e.name = entity;
  if not found then
    raise exception 'entity: there is no entity "%"', left(entity, 60) using errcode = 'invalid_parameter_value';
  end if;
  present := automation.present_record(execution, attached, input);
  perform automation.check_writable(attached, fields);
  if operator <> 'set' then
    combined := automation.combine_fields(
      present || case when automation.is_of_another(execution, entity, input) then '{}'
        else coalesce(execution.trigger_data -> entity, '{}') end, fields, operator,
      automation.tenant_zone(execution.tenant_id));
  end if;
  own := automation.fit_fields(attached, automation.own_names(attached, combined), execution.tenant_id);
  perform automation.check_assignee(execution.tenant_id, 'assigned_to',
    own ->> coalesce(attached.mapped ->> 'assigned_to', 'assigned_to'));
  perform automation.refuse_misfit('fields.' || automation.judge_row(
    to_regclass(attached.relation), automation.with_fields(present, own),
    array(select distinct split_part(k, '.', 1) from jsonb_object_keys(own) as k)));
  return combined;
end;
$$;

comment on function automation.rehearse_fields(ridgeline.workflow_executions, text, jsonb, text, jsonb) is
  'What a step would write into a record of the run, or into the one that its input names. Raises, naming the '
  'field, what its table would refuse.';

create or replace function automation.rehearse_target(
  execution ridgeline.workflow_executions, target text, step_type text, given jsonb)
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.check_target(target, step_type);
  perform automation.refuse_misfit(
    automation.judge_target(target, given, automation.tenant_zone(execution.tenant_id)));
end;
$$;

-- Sets fields of a record that the dry run brought along; "custom_fields.x" one key of a column.
create or replace function automation.imagine_fields(data jsonb, entity text, fields jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field record;
  record jsonb := coalesce(nullif(data -> entity, 'null'), '{}');
begin
  -- Whose field, or which, may be what a record says: the run fails at what is none, and changes nothing.
  if entity is null or fields ? '' then
    return data;
  end if;
  fields := coalesce(
    (select automation.both_names(e, automation.fit_fields(e, fields, null))
     from automation.entities as e where e.name = entity),
    fields);
  for field in select f.key, f.value, string_to_array(f.key, '.') as at from jsonb_each(fields) as f loop
    record := case cardinality(field.at)
      when 1 then record || jsonb_build_object(field.key, field.value)
      else record || jsonb_build_object(field.at[1],
        coalesce(nullif(record -> field.at[1], 'null'), '{}')
          || jsonb_build_object(array_to_string(field.at[2:], '.'), field.value))
    end;
  end loop;
  return data || jsonb_build_object(entity, record);
end;
$$;

create or replace function automation.imagine_write(
  execution ridgeline.workflow_executions, entity text, fields jsonb, operator text default 'set',
  input jsonb default null)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant jsonb := automation.rehearse_fields(execution, entity, fields, operator, input);
begin
  -- What is done to another record is nothing that this run reads.
  return row(
    case when automation.is_of_another(execution, entity, input) then execution.trigger_data
      else automation.imagine_fields(execution.trigger_data, entity, written) end,
    '{}')::automation.imagined;
end;
$$;

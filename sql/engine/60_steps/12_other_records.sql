-- A record other than the run's own: `target`, its id, in steps that write to a record. `entity` says of what; where
-- nobody says it, the variable does ({{steps.new.contact_id}}, {{project.id}}), and else it is a contact.

create or replace function automation.entity_of_target(target jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      substring(target #>> '{}' from '^\s*\{\{\s*(?:steps\.[^.\s}|]+|trigger)\.(contact|project|job)_id\s*[|}]'),
      substring(target #>> '{}' from '^\s*\{\{\s*(?:trigger\.)?([a-z][a-z0-9_]*)\.id\s*[|}]'))
  $$;

comment on function automation.entity_of_target(jsonb) is
  'Of what the id in a target is, as far as its variable says so by its name: {{steps.new.contact_id}} -> contact.';

-- A blank that was written, and not rendered, was not given.
create or replace function automation.fold_target(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if config -> 'target' in ('null', '""') then
    config := config - 'target';
  end if;
  if config ? 'target' and not config ? 'entity' then
    config := config || jsonb_build_object(
      'entity', coalesce(automation.entity_of_target(config -> 'target'), 'contact'));
  end if;
  return config;
end;
$$;

-- entity: of what the step takes an id.
create or replace function automation.check_target_of(config jsonb, entity text, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  said constant text := case when jsonb_typeof(config -> 'target') = 'string'
    then automation.entity_of_target(config -> 'target') end;
begin
  if said is null or entity is null or entity like '%{{%' or said = entity then
    return '[]'::jsonb;
  end if;
  return jsonb_build_array(automation.problem(
    path || '.target', 'wrong_entity',
    format('target: the id of a %s is needed, and this is that of a %s', entity, said),
    format('Name the id of a %s, such as "{{steps.new.%1$s_id}}".', entity)));
end;
$$;

-- An id that is written out is the same in every run.
create or replace function automation.needs_target(workflow ridgeline.workflows, step jsonb, entity text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  target constant text := case when jsonb_typeof(step #> '{config,base,target}') in ('string', 'number')
    then step #>> '{config,base,target}' end;
begin
  if target is null or entity is null or target like '%{{%' or entity like '%{{%'
    or not exists (select from automation.entities as e where e.name = entity)
    or automation.has_record(entity, workflow.tenant_id, btrim(target)) then
    return '[]'::jsonb;
  end if;
  return jsonb_build_array(automation.problem(
    automation.step_path(step) || '.step_config.target', 'no_record',
    format('target: there is no %s "%s"', entity, left(target, 60)),
    format('Write the id of one of your %ss, or a variable such as "{{steps.new.%1$s_id}}".', entity)));
end;
$$;

-- What a task is about: the records of the run, or the other one with those that it belongs to.
create or replace function automation.task_records(
  execution ridgeline.workflow_executions, known automation.known_records, input jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity constant text := input ->> 'entity';
  id constant text := case when input ? 'target' then automation.other_id(execution, entity, input ->> 'target') end;
  record jsonb;
  data jsonb;
begin
  if id is null then
    return jsonb_build_object('contact', automation.contact_key(execution, known),
      'project', execution.trigger_data ->> 'project_id', 'job', execution.trigger_data ->> 'job_id');
  elsif automation.is_imagined(execution, id) then
    return '{}'::jsonb;
  end if;
  record := automation.read_record(entity, execution.tenant_id, id);
  data := (
    select automation.add_related(
      jsonb_build_object(entity || '_id', id, entity, record), execution.tenant_id, record, e.related, e.contact_way,
      e.contact_ways)
    from automation.entities as e where e.name = entity);
  return jsonb_build_object(
    'contact', data ->> 'contact_id', 'project', data ->> 'project_id', 'job', data ->> 'job_id');
end;
$$;

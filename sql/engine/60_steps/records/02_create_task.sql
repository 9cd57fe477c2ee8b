-- A task for the office.

create or replace function automation.fold_create_task(config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  config := automation.without_blanks(config);
  return automation.fold_target(case when config ? 'due_date_days'
    then config - 'due_date_days' || jsonb_build_object('due_in_days', config -> 'due_date_days')
    else config end);
end;
$$;

create or replace function automation.check_create_task(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.check_target_of(config, config ->> 'entity', path);
end;
$$;

create or replace function automation.needs_create_task(workflow ridgeline.workflows, step jsonb, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.needs_target(workflow, step, step #>> '{config,base,entity}')
    || automation.needs_task_columns(step);
end;
$$;

-- What the step says and no column of the tasks takes is lost, and what they need and it does not say fails it.
create or replace function automation.needs_task_columns(step jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(case when t.columns ? f.field then automation.problem(
        at.path || f.keys[1], 'missing',
        format('%s of %s must not be empty, and this task would have none', t.columns ->> f.field, t.relation),
        format('Say it here, or what it is unless a step says it: automation.attach_target(''task'', ..., '
          'defaults => ''{"%s": "..."}'').', t.columns ->> f.field))
      else automation.problem(
        at.path || f.said, 'no_column', format('%s is written nowhere: no column of %s is known as %s', f.said,
          t.relation, f.field),
        format('Say which it is: automation.attach_target(''task'', ..., ''{"%s": "<column>"}'').', f.field),
        'warning') end order by f.place), '[]')
    from automation.targets as t
    cross join (select automation.step_path(step) || '.step_config.' as path) as at
    cross join lateral (
      select f.*, (
        select k from unnest(f.keys) as k where not automation.is_blank(step #> array['config', 'base', k]) limit 1)
          as said
      from automation.told_of_task() as f) as f
    where t.name = 'task' and case when t.columns ? f.field
      then f.said is null and automation.must_be_said(t, f.field)
      else f.said is not null end
  $$;

create or replace function automation.writes_create_task(step jsonb, fired text)
  returns automation.step_write[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.writes_target(
    (select t.relation from automation.targets as t where t.name = 'task'),
    automation.target_fields('task', '{"status": ["open"]}'));
end;
$$;

create or replace function automation.imagine_create_task(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.rehearse_target(execution, 'task', 'create_task', automation.task_row(
    execution, null, input, automation.tenant_zone(execution.tenant_id)));
  return row(execution.trigger_data, '{}')::automation.imagined;
end;
$$;

create or replace function automation.perform_create_task(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.check_target('task', 'create_task');
  return jsonb_build_object('task_id', (automation.write_tasks(array[automation.task_row(
    execution, null, input, automation.tenant_zone(execution.tenant_id))]))[1]);
end;
$$;

create or replace function automation.perform_all_create_task(works automation.work[], zones text[]) returns jsonb[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.create_tasks(works, zones);
end;
$$;

create or replace function automation.would_create_task(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  input constant jsonb := prepared.input;
begin
  perform automation.check_assignee(execution.tenant_id, 'assigned_to', input ->> 'assigned_to');
  perform automation.check_target('task', 'create_task');
  return jsonb_strip_nulls(jsonb_build_object('due', coalesce(
    automation.as_time(execution, input, 'due_at'),
    case when input ?| '{due_in_days,due_in_hours,due_in_minutes}' then automation.now()
      + coalesce(automation.as_number(input, 'due_in_days'), 0) * interval '1 day'
      + coalesce(automation.as_number(input, 'due_in_hours'), 0) * interval '1 hour'
      + coalesce(automation.as_number(input, 'due_in_minutes'), 0) * interval '1 minute' end)));
end;
$$;

select automation.register_step('create_task', 'database', null,
  'Creates a task for the office.', $schema${
  "required": ["title"],
  "properties": {
    "title": {"type": "string", "format": "template", "minLength": 1, "description": "What is to do."},
    "description": {"type": "string", "format": "template", "minLength": 1, "description": "More about it."},
    "priority": {"type": "string", "format": "template", "minLength": 1, "description": "Default: normal."},
    "assigned_to": {"type": "string", "format": "id", "minLength": 1,
      "description": "The user who is to do it."},
    "due_at": {"type": "string", "format": "moment", "minLength": 1,
      "description": "When it is due; a time without a zone is the tenant's."},
    "due_in_days": {"type": ["number", "string"], "format": "amount", "description": "Or how much later."},
    "due_in_hours": {"type": ["number", "string"], "format": "amount", "description": "Or how much later."},
    "due_in_minutes": {"type": ["number", "string"], "format": "amount",
      "description": "Or how much later."},
    "target": {"type": ["string", "number"], "format": "template",
      "description": "The id of another record that it is about."},
    "entity": {"type": "string", "format": "template",
      "description": "Of what target is. Default: as its variable says (contact_id, project.id), else contact."}
  },
  "dependentRequired": {"entity": ["target"]},
  "examples": [{"title": "Call {{contact.first_name}}", "due_in_minutes": 5},
    {"title": "Thank {{contact.first_name}}", "target": "{{contact.custom_fields.referred_by}}"}]
}$schema$);

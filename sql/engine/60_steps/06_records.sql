-- Database actions. Each takes the execution and its rendered input and returns what it did; what
-- it cannot do it raises, naming the field, and the step fails with that message.

create or replace function automation.perform(
  execution ridgeline.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  result constant jsonb := automation.step_perform(step ->> 'type', execution, step, input);
begin
  if result is null then
    raise exception 'step_type: "%" is not a step that runs in the database', step ->> 'type'
      using errcode = 'invalid_parameter_value';
  end if;
  return result;
end;
$$;

comment on function automation.perform(ridgeline.workflow_executions, jsonb, jsonb) is
  'Carries out one database step and returns its result. Raises, naming the field, when it cannot.';

-- One after the other, each under its own cause.
create or replace function automation.perform_each(works automation.work[]) returns jsonb[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  work automation.work;
  results jsonb[] := '{}'::jsonb[];
begin
  foreach work in array works loop
    exit when cardinality(results) > 0 and automation.is_over(began);
    perform automation.cause_of(work.execution);
    results := results || automation.perform(work.execution, work.step, (work.prepared).input);
  end loop;
  return results;
end;
$$;

-- What a dry run or a shadow would have made has no id yet; this stands for it.
create or replace function automation.imagined_id(entity text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select format('(new %s)', entity) $$;

create or replace function automation.is_imagined(execution ridgeline.workflow_executions, id text) returns boolean
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (execution.version = 0 or execution.mode = 'shadow') and coalesce(id ~ '^\(new [a-z0-9_]+\)$', false);
end;
$$;

-- A record other than the run's own: of the same tenant, and not deleted. What is another tenant's is not there.
create or replace function automation.other_id(
  execution ridgeline.workflow_executions, entity text, target text)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  id constant text := btrim(target);
begin
  if not exists (select from automation.entities as e where e.name = other_id.entity) then
    raise exception 'entity: there is no entity "%"', left(entity, 60) using errcode = 'invalid_parameter_value';
  elsif not automation.is_imagined(execution, id)
    and not automation.has_record(entity, execution.tenant_id, id) then
    raise exception 'target: there is no % "%"', entity, left(id, 60) using errcode = 'no_data_found';
  end if;
  return id;
end;
$$;

-- What would be a step on another record is not done to the run's own because nothing says which.
create or replace function automation.skip_targetless(prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if prepared.input ? 'target' and btrim(coalesce(prepared.input ->> 'target', '')) = '' then
    prepared.verdict := 'skip';
    prepared.reason := '{"code": "no_target", "message": "target: it is empty; there is no other record to work on"}';
  end if;
  return prepared;
end;
$$;

-- The id of the record a step is about; every action goes through here, so the error is the same. input: of the step,
-- where it may name another record.
create or replace function automation.target_id(
  execution ridgeline.workflow_executions, entity text, input jsonb default null)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  id text;
begin
  if input ? 'target' then
    return automation.other_id(execution, entity, input ->> 'target');
  end if;
  id := case entity when 'contact' then automation.contact_key(execution)
    else execution.trigger_data ->> (entity || '_id') end;
  if id is null and execution.mode = 'shadow' and jsonb_typeof(execution.trigger_data -> entity) = 'object'
    and not execution.trigger_data ? (entity || '_id') then
    return automation.imagined_id(entity);
  elsif id is null then
    raise exception '%: the execution has no % to work on', entity, entity
      using errcode = 'no_data_found';
  end if;
  return id;
end;
$$;

-- A target that is the run's own record after all is read by later steps.
create or replace function automation.is_of_another(
  execution ridgeline.workflow_executions, entity text, input jsonb)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(input ? 'target', false) and btrim(input ->> 'target') is distinct from coalesce(case entity
    when 'contact' then automation.contact_key(execution)
    else execution.trigger_data ->> (entity || '_id') end,
    case when jsonb_typeof(execution.trigger_data -> entity) = 'object' then automation.imagined_id(entity) end);
end;
$$;

-- What a shadow notes of whom a step would have worked on, where that is not the run's own record: {target}.
create or replace function automation.would_target(
  execution ridgeline.workflow_executions, entity text, input jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when automation.is_of_another(execution, entity, input)
    then jsonb_build_object('target', automation.target_id(execution, entity, input)) else '{}' end;
end;
$$;

create or replace function automation.as_number(input jsonb, key text) returns numeric
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not input ? key or coalesce(input ->> key, '') = '' then
    return null;
  elsif automation.number_in(input ->> key) is null then
    raise exception '%: "%" is not a number', key, left(input ->> key, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return automation.number_in(input ->> key);
end;
$$;

-- A time without a zone is the tenant's wall clock.
create or replace function automation.as_time(
  execution ridgeline.workflow_executions, input jsonb, key text)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(input ->> key, '') = '' then
    return null;
  elsif not automation.is_date(input ->> key) then
    raise exception '%: "%" is not a time', key, left(input ->> key, 60)
      using errcode = 'invalid_parameter_value', hint = 'Such as 2026-12-01 or 2026-12-01T09:30:00Z.';
  end if;
  return automation.instant_in(input ->> key, automation.tenant_zone(execution.tenant_id));
end;
$$;

create or replace function automation.as_id(input jsonb, key text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(input ->> key, '') <> '' and not automation.is_member_key(input ->> key) then
    raise exception '%: "%" is not an id', key, left(input ->> key, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return nullif(automation.as_key(input ->> key), '');
end;
$$;

-- Who is made responsible is a member of the tenant, whichever step says so. A CRM that counts its
-- people otherwise than by uuid has nobody here to compare with.
create or replace function automation.check_assignee(tenant_id uuid, field text, user_id text)
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if user_id <> '' and (automation.as_uuid(user_id) is not null or automation.membership_type('user') <> 'uuid')
    and not automation.is_member(tenant_id, user_id) then
    raise exception '%: "%" is not a member of the tenant', field, left(user_id, 60)
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

-- A task as write_tasks() takes it, with the zone in which its day is meant and what caused it; records: what it is
-- about.
create or replace function automation.task_values(
  execution ridgeline.workflow_executions, input jsonb, zone text, due timestamptz, assignee text, records jsonb)
  returns jsonb
  language sql stable
  -- No search_path: this is inlined.
  as $$
    select pg_catalog.jsonb_build_object(
        'cause', pg_catalog.jsonb_build_object('depth', execution.depth operator(pg_catalog.+) 1,
          'root', coalesce(execution.root_id, execution.id), 'fused', execution.fused),
        'tenant', execution.tenant_id, 'title', input operator(pg_catalog.->) 'title',
        'description', input operator(pg_catalog.->) 'description', 'status', 'open',
        'priority', coalesce(input operator(pg_catalog.->>) 'priority', 'normal'), 'due', due,
        'assigned_to', assignee, 'execution', execution.id, 'zone', zone) operator(pg_catalog.||) records
  $$;

create or replace function automation.task_row(
  execution ridgeline.workflow_executions, known automation.known_records, input jsonb, zone text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due timestamptz;
  assignee text;
begin
  -- Most tasks say one of these, if any.
  if input ?| '{due_at,due_in_days,due_in_hours,due_in_minutes}' then
    due := automation.as_time(execution, input, 'due_at');
    if due is null then
      due := automation.now()
        + case when input ? 'due_in_days' then coalesce(automation.as_number(input, 'due_in_days'), 0) else 0 end
          * interval '1 day'
        + case when input ? 'due_in_hours' then coalesce(automation.as_number(input, 'due_in_hours'), 0) else 0 end
          * interval '1 hour'
        + case when input ? 'due_in_minutes' then coalesce(automation.as_number(input, 'due_in_minutes'), 0) else 0 end
          * interval '1 minute';
    end if;
  end if;
  if input ? 'assigned_to' then
    perform automation.check_assignee(execution.tenant_id, 'assigned_to', input ->> 'assigned_to');
    assignee := automation.as_id(input, 'assigned_to');
  end if;
  return automation.task_values(
    execution, input, zone, due, assignee, automation.task_records(execution, known, input));
end;
$$;

-- One that is nobody's, about the run's own records, and due never or so much later, as a number, is known without
-- being asked any further.
create or replace function automation.task_rows(works automation.work[], zones text[]) returns jsonb[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
begin
  return array(
    select case
        when w.contact_id is null or w.input ?| '{due_at,assigned_to,target}' or not w.is_number then
          automation.task_row(w.execution, w.known, w.input, zones[w.i])
        else automation.task_values(w.execution, w.input, zones[w.i],
          case when w.later then at + coalesce((w.days #>> '{}')::numeric, 0) * interval '1 day'
            + coalesce((w.hours #>> '{}')::numeric, 0) * interval '1 hour'
            + coalesce((w.minutes #>> '{}')::numeric, 0) * interval '1 minute' end,
          null, jsonb_build_object(
            'contact', w.contact_id, 'project', (w.execution).trigger_data -> 'project_id',
            'job', (w.execution).trigger_data -> 'job_id')) end
    from (
      select v.*, v.input ?| '{due_in_days,due_in_hours,due_in_minutes}' as later,
        coalesce(jsonb_typeof(v.days), 'number') = 'number' and coalesce(jsonb_typeof(v.hours), 'number') = 'number'
          and coalesce(jsonb_typeof(v.minutes), 'number') = 'number' as is_number
      from (
        select i, (works[i]).execution as execution, (works[i]).known as known,
          ((works[i]).prepared).input as input, ((works[i]).known).contact_id as contact_id,
          ((works[i]).prepared).input -> 'due_in_days' as days,
          ((works[i]).prepared).input -> 'due_in_hours' as hours,
          ((works[i]).prepared).input -> 'due_in_minutes' as minutes
        from generate_subscripts(works, 1) as i
        offset 0
      ) as v
      offset 0
    ) as w
    order by w.i);
end;
$$;

create or replace function automation.create_tasks(works automation.work[], zones text[]) returns jsonb[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  rows constant jsonb[] := automation.task_rows(works, zones);
  began constant timestamptz := clock_timestamp();
  tried integer := cardinality(rows);
  ids text[];
begin
  perform automation.check_target('task', 'create_task');
  if cardinality(rows) > 1 and not automation.takes_sets('task') then
    ids := '{}'::text[];
    for i in 1 .. cardinality(rows) loop
      ids := ids || automation.write_tasks(rows[i:i]);
      tried := i;
      exit when automation.is_over(began);
    end loop;
  else
    ids := automation.write_tasks(rows);
  end if;
  -- A trigger of the table's own kept one out: which one is found when they are written alone.
  if cardinality(rows) > 1 and cardinality(ids) is distinct from tried then
    raise exception 'create_task: % of % tasks were written', coalesce(cardinality(ids), 0), tried;
  end if;
  return array(select jsonb_build_object('task_id', ids[i]) from generate_series(1, tried) as i order by i);
end;
$$;

comment on function automation.create_tasks(automation.work[], text[]) is
  'Writes one task for each run, in one statement, and returns their results in the same order; one by one, where the '
  'table asks for that, those of the first, for which there was time. zones: of the tenants.';

-- Writes fields of one attached record, in one statement that names only those columns. Locks the
-- row without waiting: a user who is editing it right now is not kept waiting by us, nor we by them.
-- operator: set, or what is done to the value that is there. input: of the step, where it may name another record.
create or replace function automation.update_fields(
  execution ridgeline.workflow_executions, entity text, fields jsonb, operator text default 'set',
  input jsonb default null)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  id constant text := automation.target_id(execution, entity, input);
  present jsonb;
  written jsonb;
begin
  select e.* into attached from automation.entities as e where e.name = entity;
  perform automation.check_writable(attached, fields);
  fields := automation.own_names(attached, fields);
  execute automation.lock_record_statement(attached) into present using execution.tenant_id, id;
  -- Deleted while it was being looked for.
  if input ? 'target' and automation.is_marked_deleted(attached, present) then
    raise exception 'target: there is no % "%"', entity, left(id, 60) using errcode = 'no_data_found';
  end if;
  if operator <> 'set' then
    fields := automation.combine_fields(automation.timed_record(attached, present), fields, operator,
      automation.tenant_zone(execution.tenant_id));
  end if;
  fields := automation.fit_fields(attached, fields, execution.tenant_id);
  perform automation.check_assignee(execution.tenant_id, 'assigned_to',
    fields ->> coalesce(attached.mapped ->> 'assigned_to', 'assigned_to'));
  written := automation.in_host_path(
    automation.update_statement(attached, fields), execution.tenant_id, id, fields);
  if written is null then
    raise exception '%: it was deleted', entity using errcode = 'no_data_found';
  end if;
  return jsonb_build_object('entity', entity, 'id', id, 'fields', fields);
exception when data_exception then
  raise exception 'fields.%: %', automation.misfit(attached, fields), sqlerrm using errcode = sqlstate;
end;
$$;

-- What is written into a column that knows no zone is the day or the hour there is in the one that it counts in, not
-- what was written before the offset.
create or replace function automation.fit_time(type oid, value text, zone text, times_zone text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when type = 'pg_catalog.date'::regtype then automation.day_in(value, zone)::text
      when type = 'pg_catalog.timestamp'::regtype and (times_zone is not null or substr(value, 17) ~ '[-Z+]')
        then (automation.instant_in(value, zone) at time zone coalesce(times_zone, zone))::text
      else value end
  $$;

-- A column decides what a value becomes, as a step's schema does: a list reads a, b, c in a text, one
-- value is a list of one. Inside a JSON column a value stays what it is.
create or replace function automation.fit_fields(attached automation.entities, fields jsonb, tenant_id uuid)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field record;
begin
  for field in
    select f.key, f.value, jsonb_typeof(f.value) as type, automation.value_kind(a.atttypid) as kind, a.atttypid as of
    from jsonb_each(fields) as f
    join pg_catalog.pg_attribute as a
      on a.attrelid = to_regclass(attached.relation) and a.attname = f.key and not a.attisdropped
  loop
    if field.kind in ('text', 'enum') and field.type in ('array', 'object') then
      if automation.plain_text(field.value) is null then
        raise exception 'fields.%: a text is needed, and this is %', field.key,
          automation.type_words(to_jsonb(field.type)) using errcode = 'datatype_mismatch';
      end if;
      fields := fields || jsonb_build_object(field.key, automation.plain_text(field.value));
    elsif field.kind = 'list' and field.type in ('string', 'number', 'boolean') then
      fields := fields || jsonb_build_object(field.key, jsonb_build_array(field.value));
    elsif field.kind = 'date' and field.type = 'string' and field.of <> 'pg_catalog.timestamptz'::regtype
      and tenant_id is not null and automation.is_date(field.value #>> '{}') then
      fields := fields || jsonb_build_object(field.key, automation.fit_time(
        field.of, field.value #>> '{}', coalesce(automation.tenant_zone(tenant_id), 'UTC'), attached.times_zone));
    end if;
  end loop;
  return fields;
end;
$$;

-- Fields as they become when something is added, taken away or appended. "custom_fields.x" is a key of
-- a JSON column.
create or replace function automation.combine_fields(present jsonb, fields jsonb, operator text, zone text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_object_agg(f.key, automation.combine(
      f.key, case when f.key like '%.%'
        then present #> array[split_part(f.key, '.', 1), substr(f.key, strpos(f.key, '.') + 1)]
        else present -> f.key end,
      f.value, operator, zone))
    from jsonb_each(fields) as f
  $$;

-- Nothing there counts as 0, as an empty text or list; nothing to add changes nothing.
create or replace function automation.combine(name text, old jsonb, value jsonb, operator text, zone text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  result jsonb;
begin
  if automation.is_blank(value) then
    return coalesce(old, 'null');
  elsif jsonb_typeof(old) = 'array' and operator = 'subtract' then
    return (
      select coalesce(jsonb_agg(o.item order by o.place), '[]')
      from jsonb_array_elements(old) with ordinality as o (item, place)
      where not exists (
        select from jsonb_array_elements(automation.as_list(combine.value)) as v (item)
        where automation.values_equal(o.item, v.item, false, zone)));
  elsif jsonb_typeof(old) = 'array' then
    return old || automation.as_list(value);
  elsif operator = 'append' then
    if jsonb_typeof(value) = 'array' and automation.is_blank(old) then
      return value;
    end if;
    result := to_jsonb(automation.plain_text(coalesce(old, 'null')) || automation.plain_text(value));
  else
    result := automation.add_values(
      case when automation.is_blank(old) and automation.number_of(value) is not null then '0' else old end,
      value, case operator when 'add' then 1 else -1 end, jsonb_build_object('zone', zone));
  end if;
  if result is null then
    raise exception 'value: cannot % "%" %', operator, left(automation.text_of(value), 60),
      format(case operator when 'subtract' then 'from %s, which is "%s"' else 'to %s, which is "%s"' end,
        name, left(automation.text_of(coalesce(old, 'null')), 60))
      using errcode = 'datatype_mismatch';
  end if;
  return result;
end;
$$;

-- Which of the fields does not fit its column? Asked only after an update has failed.
create or replace function automation.misfit(attached automation.entities, fields jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field record;
begin
  for field in select f.key, f.value from jsonb_each(fields) as f loop
    begin
      execute format('select jsonb_populate_record(null::%s, $1)', attached.relation)
        using jsonb_build_object(field.key, field.value);
    exception when data_exception then
      return field.key;
    end;
  end loop;
  return array_to_string(array(select k from jsonb_object_keys(fields) as k), ', ');
end;
$$;

create or replace function automation.check_writable(attached automation.entities, fields jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong text;
begin
  if jsonb_typeof(fields) is distinct from 'object' or fields = '{}' then
    raise exception 'fields: an object of at least one field is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  select f into wrong from jsonb_object_keys(fields) as f
  where not (split_part(f, '.', 1) = any (attached.writable_columns)) limit 1;
  if wrong is not null then
    raise exception 'fields.%: % has no such field to write', wrong, attached.name
      using errcode = 'undefined_column';
  end if;
end;
$$;

create or replace function automation.lock_record_statement(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      'select to_jsonb(r) from %s as r where %s = $1 and r.%I = $2::%s for no key update nowait',
      attached.relation, automation.tenant_expression(attached, 'r'),
      attached.id_column, automation.key_type(attached))
  $$;

-- When a record was changed, where neither a trigger of its table's keeps that nor the step says it: its program does.
create or replace function automation.touched_column(attached automation.entities, fields jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  touched constant text := attached.mapped ->> 'updated_at';
  type oid;
begin
  if touched is null or fields ? touched or not touched = any (attached.ignored_columns) then
    return '';
  end if;
  select a.atttypid into type
  from pg_catalog.pg_attribute as a
  where a.attrelid = attached.relation::regclass and a.attname = touched and a.attgenerated = ''
    and (a.atttypid = 'pg_catalog.timestamptz'::regtype
      or a.atttypid = 'pg_catalog.timestamp'::regtype and attached.times_zone is not null)
    and not exists (
      select from pg_catalog.pg_trigger as g
      where g.tgrelid = a.attrelid and not g.tgisinternal and g.tgenabled <> 'D' and g.tgtype & 19 = 19);
  return case type when 'pg_catalog.timestamptz'::regtype then format(', %I = automation.now()', touched)
    when 'pg_catalog.timestamp'::regtype
      then format(', %I = automation.now() at time zone %L', touched, attached.times_zone)
    else '' end;
end;
$$;

-- "custom_fields.roof_type" sets one key of a JSON column; other names set the whole column.
create or replace function automation.update_statement(attached automation.entities, fields jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      'update %1$s as r set %2$s from pg_catalog.jsonb_populate_record(null::%1$s, $3) as v '
      'where %3$s operator(pg_catalog.=) $1 and r.%4$I operator(pg_catalog.=) $2::%5$s '
      'returning pg_catalog.to_jsonb(r.*)',
      attached.relation,
      string_agg(
        case when c.keys is null then format('%1$I = v.%1$I', c.name)
          else format('%1$I = coalesce(nullif(pg_catalog.to_jsonb(r.%1$I), ''null''), ''{}'') '
            'operator(pg_catalog.||) %2$L::jsonb', c.name, c.keys) end,
        ', ') || automation.touched_column(attached, fields),
      automation.tenant_expression(attached, 'r'),
      attached.id_column, automation.key_type(attached))
    from (
      select split_part(f.key, '.', 1) as name,
        jsonb_object_agg(substr(f.key, strpos(f.key, '.') + 1), f.value)
          filter (where f.key like '%.%') as keys
      from jsonb_each(fields) as f
      group by 1
    ) as c
  $$;

create or replace function automation.update_one_field(
  execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.update_fields(
      execution, f.entity, jsonb_build_object(f.field, input -> 'value'), coalesce(input ->> 'operator', 'set'), input)
    from automation.written_field(input) as f
  $$;

create or replace function automation.stage_entity(
  execution ridgeline.workflow_executions, input jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(input ->> 'entity', case
      when automation.stage_column(execution.entity) is not null then execution.entity else 'contact' end)
  $$;

create or replace function automation.change_stage(
  execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity constant text := automation.stage_entity(execution, input);
  stage_column constant text := automation.stage_column(entity);
begin
  if stage_column is null then
    raise exception 'entity: "%" has neither a stage nor a status', left(entity, 60)
      using errcode = 'undefined_column',
        hint = 'automation.attach() maps them: {"stage": "<column>"}.';
  end if;
  return automation.update_fields(
    execution, entity, jsonb_build_object(stage_column, input -> 'stage'), input => input);
end;
$$;

create or replace function automation.assigned_entity(
  execution ridgeline.workflow_executions, input jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(input ->> 'entity', case
      when execution.trigger_data ->> 'contact_id' is null
        and automation.mapped_column(execution.entity, 'assigned_to') is not null
      then execution.entity else 'contact' end)
  $$;

-- A member's own id, as the CRM has it.
create or replace function automation.member_key(tenant_id uuid, user_id uuid) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select m.record ->> 'id'
    from automation.read_members(array[member_key.tenant_id], array[member_key.user_id]) as m limit 1);
end;
$$;

create or replace function automation.assign_user(
  execution ridgeline.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  user_id text;
  entity constant text := automation.assigned_entity(execution, input);
  user_column constant text := automation.mapped_column(entity, 'assigned_to');
begin
  if user_column is null then
    raise exception 'entity: "%" has no assigned_to', left(entity, 60)
      using errcode = 'undefined_column',
        hint = 'automation.attach() maps it: {"assigned_to": "<column>"}.';
  elsif input ? 'user_ids' then
    user_id := automation.member_key(
      execution.tenant_id, automation.next_in_turn(execution, step_key, input -> 'user_ids'));
  else
    select m.record ->> 'id' into user_id
    from automation.read_members(array[execution.tenant_id], array[automation.key_uuid(input ->> 'user_id')]) as m;
    if not found then
      raise exception 'user_id: "%" is not a member of the tenant', left(input ->> 'user_id', 60)
        using errcode = 'invalid_parameter_value';
    end if;
  end if;
  return jsonb_build_object('user_id', user_id)
    || automation.update_fields(execution, entity, jsonb_build_object(user_column, user_id), input => input);
end;
$$;

-- Whose turn it is, of each step that takes turns. Read and moved on in the transaction of the step, so
-- that a step that is undone takes nobody's turn.
create table automation.rotations (
  tenant_id uuid not null,
  workflow_id uuid not null,
  step_key text not null,
  last_user_id uuid not null,
  turns bigint not null default 1,
  constraint rotations_pkey primary key (tenant_id, workflow_id, step_key),
  constraint rotations_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade
);

comment on table automation.rotations is 'Who was assigned last by a step that goes round a list.';

-- The one after the last one, in the order of the list; who has left the tenant is passed over.
create or replace function automation.next_in_turn(
  execution ridgeline.workflow_executions, step_key text, user_ids jsonb)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  present constant uuid[] := array(
    select m.user_id
    from jsonb_array_elements_text(user_ids) with ordinality as u (id, place)
    join automation.read_members(array[execution.tenant_id], null) as m on m.user_id = automation.key_uuid(u.id)
    group by m.user_id order by min(u.place));
  last constant uuid := (
    select r.last_user_id from automation.rotations as r
    where r.tenant_id = execution.tenant_id and r.workflow_id = execution.workflow_id
      and r.step_key = next_in_turn.step_key
    for update nowait);
  chosen uuid;
begin
  if present = '{}' then
    raise exception 'user_ids: none of them is a member of the tenant'
      using errcode = 'invalid_parameter_value';
  end if;
  chosen := present[coalesce(array_position(present, last), 0) % cardinality(present) + 1];
  insert into automation.rotations (tenant_id, workflow_id, step_key, last_user_id)
  values (execution.tenant_id, execution.workflow_id, next_in_turn.step_key, chosen)
  on conflict on constraint rotations_pkey do update
    set last_user_id = excluded.last_user_id, turns = automation.rotations.turns + 1;
  return chosen;
end;
$$;

-- Nobody to tag is no reason to end the run: what comes after may need no contact.
create or replace function automation.skip_untaggable(
  execution ridgeline.workflow_executions, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if prepared.input ? 'target' then
    return automation.skip_targetless(prepared);
  elsif execution.trigger_data ->> 'contact_id' is null
    and (execution.version > 0 and execution.mode <> 'shadow'
      or jsonb_typeof(execution.trigger_data -> 'contact') is distinct from 'object') then
    prepared.verdict := 'skip';
    prepared.reason := '{"code": "no_contact", "message": "contact: the execution has no contact to work on"}';
  end if;
  return prepared;
end;
$$;

-- A column of JSON may hold anything.
create or replace function automation.list_of_tags(tags jsonb) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if jsonb_typeof(tags) <> 'array' then
    raise exception 'contact.tags: the contact has % there, and a list of texts is needed', case jsonb_typeof(tags)
        when 'object' then 'an object' else format('a %s', jsonb_typeof(tags)) end
      using errcode = 'invalid_parameter_value', hint = 'Such as ["vip", "roof"], or null where there are none.';
  end if;
  return coalesce(nullif(tags, 'null'), '[]');
end;
$$;

-- A contact whose table keeps its tags in a list of its own has them there and nowhere else.
create or replace function automation.tag_in_record(
  execution ridgeline.workflow_executions, input jsonb, is_on boolean)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  tag constant text := btrim(input ->> 'tag');
  present jsonb;
  tags jsonb;
  had boolean;
begin
  select e.* into attached from automation.entities as e where e.name = 'contact';
  execute automation.lock_record_statement(attached)
    into present using execution.tenant_id, automation.target_id(execution, 'contact', input);
  tags := automation.list_of_tags(nullif(present -> (attached.mapped ->> 'tags'), 'null'));
  had := exists (
    select from jsonb_array_elements_text(tags) as t (name) where lower(btrim(t.name)) = lower(tag));
  if had <> is_on then
    perform automation.update_fields(execution, 'contact', jsonb_build_object('tags', case
      when is_on then tags || to_jsonb(tag)
      else automation.without_tag(tags, tag) end), input => input);
  end if;
  return jsonb_build_object('tag', tag, case when is_on then 'added' else 'removed' end, had <> is_on);
end;
$$;

-- The tags of the contact, or of the one that is named.
create or replace function automation.present_tags(execution ridgeline.workflow_executions, input jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  id text;
begin
  if not automation.is_of_another(execution, 'contact', input) then
    return automation.list_of_tags(nullif(automation.read_root(execution, 'contact.tags'), 'null'));
  end if;
  id := automation.target_id(execution, 'contact', input);
  return case when automation.is_imagined(execution, id) then '[]'
    else automation.list_of_tags(automation.contact_tags(execution.tenant_id, id)) end;
end;
$$;

create or replace function automation.without_tag(tags jsonb, tag text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(t.value order by t.place), '[]')
    from jsonb_array_elements(tags) with ordinality as t (value, place)
    where lower(btrim(t.value #>> '{}')) is distinct from lower(btrim(tag))
  $$;

create or replace function automation.add_tag(
  execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tag constant text := btrim(input ->> 'tag');
begin
  if automation.has_own_tags() then
    return automation.tag_in_record(execution, input, true);
  end if;
  return jsonb_build_object('tag', tag, 'added', automation.link_tag(
    execution.tenant_id, automation.target_id(execution, 'contact', input), tag));
end;
$$;

create or replace function automation.remove_tag(
  execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tag constant text := btrim(input ->> 'tag');
begin
  if automation.has_own_tags() then
    return automation.tag_in_record(execution, input, false);
  end if;
  return jsonb_build_object('tag', tag, 'removed', automation.unlink_tag(
    execution.tenant_id, automation.target_id(execution, 'contact', input), tag));
end;
$$;

-- What was made under a key. A project that a person has deleted is not made again: its row stays here.
create table automation.created_projects (
  tenant_id uuid not null,
  contact_id text not null,
  key bytea not null,
  project_id text not null,
  constraint created_projects_pkey primary key (tenant_id, contact_id, key)
);

comment on table automation.created_projects is
  'The project that create_project made for a contact (empty: for nobody) under a key, kept as its digest.';

-- Whose project it becomes: the run's contact's, while there is one, or another's.
create or replace function automation.project_contact(execution ridgeline.workflow_executions, input jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when input ? 'target' then automation.target_id(execution, 'contact', input)
    else automation.existing_contact(execution) end;
end;
$$;

create or replace function automation.project_key(input jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(nullif(input ->> 'key', ''), input ->> 'name') $$;

create or replace function automation.made_project(
  execution ridgeline.workflow_executions, contact text, input jsonb)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select c.project_id from automation.created_projects as c
    where c.tenant_id = execution.tenant_id and c.contact_id = coalesce(contact, '')
      and c.key = sha256(convert_to(automation.project_key(input), 'UTF8')));
end;
$$;

-- The same key never makes a second project: Won, Lost, Won again stays one.
create or replace function automation.create_project(
  execution ridgeline.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contact constant text := automation.project_contact(execution, input);
  key constant text := automation.project_key(input);
  project_id text;
begin
  perform automation.check_target('project', 'create_project');
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', execution.tenant_id, contact, key), 0));
  project_id := automation.made_project(execution, contact, input);
  if project_id is not null then
    return jsonb_build_object('project_id', project_id, 'created', false)
      || case when automation.has_target_row('project', execution.tenant_id, project_id)
          and automation.has_record('project', execution.tenant_id, project_id) then '{}'
        else '{"deleted": true}'::jsonb end;
  end if;
  project_id := automation.write_project(jsonb_build_object(
      'tenant', execution.tenant_id, 'contact', contact, 'name', input ->> 'name',
      'type', input ->> 'project_type', 'status', coalesce(input ->> 'status', 'open'),
      'stage', coalesce(input ->> 'pipeline_stage', 'new'), 'value', automation.as_number(input, 'value'),
      'description', input ->> 'description'),
    automation.tenant_zone(execution.tenant_id));
  if key is not null then
    insert into automation.created_projects (tenant_id, contact_id, key, project_id)
    values (execution.tenant_id, coalesce(contact, ''), sha256(convert_to(key, 'UTF8')), project_id);
  end if;
  return jsonb_build_object('project_id', project_id, 'created', true);
end;
$$;

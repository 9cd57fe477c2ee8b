-- 80 DEFINITIONS
--
-- From what the office wrote to what runs: compiling, checking, publishing.

-- trigger_config -> a listener. A key that names a column must equal the record's value, a list
-- means any of its values; field, from and to narrow a change.

-- The engines that this one replaces wrote {"stage": "won"} and {"from_stage": ...} for changes.
create or replace function automation.change_config(
  known automation.trigger_types, trigger_config jsonb)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'field', coalesce(to_jsonb(known.column_name), trigger_config -> 'field'),
      'from', automation.as_list(coalesce(
        trigger_config -> 'from', trigger_config -> 'from_stage', trigger_config -> 'from_status')),
      'to', automation.as_list(coalesce(
        trigger_config -> 'to', trigger_config -> 'to_stage', trigger_config -> 'to_status',
        case when known.column_name in ('stage', 'pipeline_stage') then trigger_config -> 'stage' end,
        case when known.column_name = 'status' then trigger_config -> 'status' end))))
  $$;

-- What a customer answers is compared by its words: "Yes!" is YES. What has none (an emoji) as it is.
create or replace function automation.match_keywords(columns text[], match jsonb)
  returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when 'keyword' = any (columns) and w.words <> '[]' and not w.words @> '[""]'
        then match - 'body' || jsonb_build_object('keyword', w.words)
      else match
    end
    from (
      select coalesce(jsonb_agg(automation.keyword_of(v.value #>> '{}')), '[]') as words
      from jsonb_array_elements(automation.as_list(coalesce(match -> 'keyword', match -> 'body'))) as v
      where match ? 'keyword' or match ? 'body'
    ) as w
  $$;

create or replace function automation.check_trigger_config(
  known automation.trigger_types, entity text, change jsonb, match jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  table_columns text[];
  problems jsonb;
begin
  if known.kind not in ('created', 'updated', 'changed', 'becomes') then
    return '[]'::jsonb;
  end if;
  select e.columns into table_columns
  from automation.entities as e where e.name = check_trigger_config.entity;
  if not found then
    return jsonb_build_array(automation.problem(
      path || '.entity', 'unknown_entity', format('there is no entity "%s"', entity),
      'Known: ' || (select string_agg(e.name, ', ' order by e.name) from automation.entities as e)));
  end if;
  if known.kind = 'changed' and change ->> 'field' is null then
    return jsonb_build_array(automation.problem(
      path || '.field', 'missing', known.name || ' needs the field to watch',
      'For example {"field": "assigned_to"}.'));
  end if;
  select jsonb_agg(automation.problem(
      path || '.' || k.key, 'unknown_field', format('%s has no column "%s"', entity, k.name),
      'Its columns: ' || array_to_string(table_columns, ', ')))
    into problems
  from (
    select m.key, m.key as name from jsonb_object_keys(match) as m (key)
    union all
    select 'field', change ->> 'field' where change ? 'field'
  ) as k
  where not k.name = any (table_columns);
  return coalesce(problems, '[]'::jsonb);
end;
$$;

-- Opens and clicks of machines are asked for, see chapter 90; the listener is the same either way.
create or replace function automation.check_include_machine(
  trigger_type text, trigger_config jsonb, path text)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when trigger_type in ('email_opened', 'email_clicked')
        and jsonb_typeof(trigger_config -> 'include_machine') <> 'boolean'
      then jsonb_build_array(automation.problem(
        path || '.include_machine', 'invalid_value',
        format('include_machine cannot be %s', trigger_config -> 'include_machine'),
        'true: opens and clicks of security scanners start it as well; false or left out: people''s alone.'))
      else '[]'
    end
  $$;

-- "on_insert": a record that is inserted with the value has come to it. Some events always count that
-- (automation.attach()): a missed call is written once, as missed.
create or replace function automation.check_on_insert(
  known automation.trigger_types, trigger_config jsonb, change jsonb, path text)
  returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when not trigger_config ? 'on_insert' or known.kind not in ('changed', 'becomes') then '[]'
      when jsonb_typeof(trigger_config -> 'on_insert') <> 'boolean' then jsonb_build_array(automation.problem(
        path || '.on_insert', 'invalid_value', format('on_insert cannot be %s', trigger_config -> 'on_insert'),
        'true: a record that is inserted with the value counts too; false or left out: only one that changes.'))
      when known.on_insert and trigger_config -> 'on_insert' = 'false' then jsonb_build_array(automation.problem(
        path || '.on_insert', 'invalid_value', format('%s counts what is inserted, always', known.name),
        format('Leave on_insert out, or listen to {"type": "field_changed", "field": "%s"}.', known.column_name)))
      when trigger_config -> 'on_insert' = 'true' and change ? 'from' and not change -> 'from' @> 'null' then
        jsonb_build_array(automation.problem(
          path || '.on_insert', 'not_allowed', 'what is inserted comes from nothing, and from asks for a value before',
          'Leave out on_insert, or from.'))
      else '[]'
    end
  $$;

-- Under which events a trigger is heard: its own, and with on_insert that of an insert as well.
create or replace function automation.heard_events(trigger_type text, trigger_config jsonb, entity text)
  returns table (event text, on_insert jsonb)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select trigger_type, case when automation.hears_inserts(trigger_type, trigger_config) then '{}'::jsonb end
    union all
    select heard_events.entity || '_created', jsonb_strip_nulls(jsonb_build_object(
      'as', t.name, 'becomes', lower(t.becomes), 'unless', t.unless_column))
    from automation.trigger_types as t
    where t.name = trigger_type and automation.hears_inserts(trigger_type, trigger_config)
  $$;

create or replace function automation.hears_inserts(trigger_type text, trigger_config jsonb) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(trigger_config -> 'on_insert' = 'true', false) and exists (
      select from automation.trigger_types as t
      where t.name = trigger_type and t.kind in ('changed', 'becomes') and not t.on_insert)
  $$;

comment on function automation.hears_inserts(text, jsonb) is
  'Does a trigger_config make a change count that comes as an insert, where its type alone would not?';

create or replace function automation.compile_trigger(
  trigger_type text, trigger_config jsonb, path text default 'trigger_config')
  returns automation.compiled_trigger
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.trigger_types;
  compiled automation.compiled_trigger;
  attached automation.entities;
  change jsonb := '{}'::jsonb;
  match jsonb := trigger_config;
begin
  select t.* into known from automation.trigger_types as t where t.name = trigger_type;
  if known.kind = 'time' then
    return automation.compile_time_trigger(trigger_type, trigger_config, path);
  end if;
  compiled.entity := coalesce(
    known.entity, case when known.kind = 'changed' then trigger_config ->> 'entity' end,
    case when known.kind = 'changed' then 'contact' else '' end);
  if known.kind in ('changed', 'becomes') then
    change := automation.change_config(known, trigger_config);
    match := trigger_config - array[
      'on_insert', 'entity', 'field', 'from', 'to', 'from_stage', 'to_stage', 'from_status', 'to_status',
      case when known.column_name in ('stage', 'pipeline_stage') then 'stage' else 'from' end,
      case when known.column_name = 'status' then 'status' else 'from' end];
  end if;
  -- The first time is from nothing; a click that is taken back is no event.
  if trigger_type in ('email_opened', 'email_clicked', 'sms_clicked') then
    match := case when trigger_type <> 'sms_clicked' then match - 'include_machine' else match end;
    change := change || '{"from": [null]}';
  end if;
  select e.* into attached from automation.entities as e where e.name = compiled.entity;
  match := automation.own_names(attached, match);
  if compiled.entity = 'message' then
    match := automation.match_keywords(attached.columns, match);
  end if;
  if change ? 'field' then
    change := change || jsonb_build_object('field', automation.own_name(attached, change ->> 'field'));
  end if;
  compiled.problems :=
    automation.check_trigger_config(known, compiled.entity, change, match, path)
    || automation.check_include_machine(trigger_type, trigger_config, path)
    || automation.check_on_insert(known, trigger_config, change, path);
  compiled.field := change ->> 'field';
  compiled.from_values := change -> 'from';
  compiled.to_values := change -> 'to';
  select
    coalesce(jsonb_object_agg(m.key, m.value) filter (where jsonb_typeof(m.value) <> 'array'), '{}'),
    jsonb_object_agg(m.key, m.value) filter (where jsonb_typeof(m.value) = 'array')
    into compiled.match, compiled.match_any
  from jsonb_each(match) as m;
  select m.key, m.value #>> '{}' into compiled.match_column, compiled.match_value
  from jsonb_each(compiled.match) as m
  join automation.entities as e
    on e.name = compiled.entity and m.key = any (e.match_columns)
  where jsonb_typeof(m.value) = 'string'
  order by m.key
  limit 1;
  return compiled;
end;
$$;

comment on function automation.compile_trigger(text, jsonb, text) is
  'Compiles a trigger_config; problems lists what is wrong with it.';

create or replace function automation.matches_any(record jsonb, match_any jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(bool_and(coalesce(m.value @> (record -> m.key), false)), true)
    from jsonb_each(match_any) as m
  $$;

-- Without a search_path setting, so that it is inlined into the statements that capture runs.
create or replace function automation.matches(record jsonb, match jsonb, match_any jsonb)
  returns boolean
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select record operator(pg_catalog.@>) match
      and (match_any is null or automation.matches_any(record, match_any))
  $$;

comment on function automation.matches_any(jsonb, jsonb) is
  'Does each field of match_any hold one of its values in the record?';

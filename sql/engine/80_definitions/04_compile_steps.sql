-- step_config -> the configuration a step runs with: other spellings folded into one, and that
-- checked against the step's schema, the grammars it names, and the names in the database.

-- A builder that keeps the type of a step in its configuration too means the step by it.
create or replace function automation.without_own_type(step_type text, config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when config -> 'type' = to_jsonb(step_type) then config - 'type' else config end;
end;
$$;

-- What a form leaves empty was not given; but the fields of a record, a webhook's body and the value
-- of a condition may be empty.
create or replace function automation.fold_step_config(step_type text, config jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select case step_type
      when 'update_contact' then automation.fold_fields(c.config)
      when 'update_project' then automation.fold_fields(c.config)
      when 'webhook' then automation.fold_webhook(automation.without_blanks(c.config, '{body,payload}'))
      when 'conditional' then automation.fold_conditional(automation.without_blanks(c.config, '{value}'))
      when 'wait' then automation.fold_wait(automation.without_blanks(c.config))
      else automation.fold_names(step_type, automation.without_blanks(c.config))
    end
    from (select automation.without_own_type(step_type, fold_step_config.config) as config) as c);
end;
$$;

comment on function automation.fold_step_config(text, jsonb) is
  'A step_config in the one spelling that its schema describes; the older engines had others.';

create or replace function automation.without_blanks(config jsonb, but text[] default '{}') returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_object_agg(k.key, k.value), '{}')
    from jsonb_each(config) as k
    where k.value not in ('null', '""') or k.key = any (but));
end;
$$;

create or replace function automation.fold_names(step_type text, config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case step_type
    when 'send_sms' then
      case when config ? 'message' and not config ? 'body'
        then config - 'message' || jsonb_build_object('body', config -> 'message')
        else config - 'message' end
        || case when jsonb_typeof(config -> 'media_urls') = 'string'
          and not starts_with(btrim(config ->> 'media_urls'), '{{')
          then jsonb_build_object('media_urls', jsonb_build_array(config -> 'media_urls')) else '{}' end
    when 'send_email' then
      case when config ? 'body' and not config ?| '{html,text}'
        then config - 'body'
          || jsonb_build_object(automation.body_kind(config -> 'body'), config -> 'body')
        else config end
    when 'create_task' then
      case when config ? 'due_date_days'
        then config - 'due_date_days' || jsonb_build_object('due_in_days', config -> 'due_date_days')
        else config end
    when 'update_field' then
      case when config ? 'table'
        then config - 'table'
          || jsonb_build_object('entity', regexp_replace(config ->> 'table', 's$', ''))
        else config end
    when 'create_project' then automation.fold_key(config, 'project_type', '{type}')
    when 'add_tag' then automation.fold_key(config, 'tag', '{tag_name,name}')
    when 'remove_tag' then automation.fold_key(config, 'tag', '{tag_name,name}')
    else config
  end;
end;
$$;

-- A body with a tag in it is HTML; any other keeps its line breaks as plain text.
create or replace function automation.body_kind(body jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when body #>> '{}' ~* '<(?:[a-z][a-z0-9]*[[:space:]/>]|/[a-z]|!--|!doctype)' then 'html' else 'text' end
  $$;

create or replace function automation.fold_webhook(config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.fold_key(config, 'body', '{payload}')
      || case when jsonb_typeof(config -> 'method') = 'string'
        then jsonb_build_object('method', upper(config ->> 'method' collate "C")) else '{}' end
  $$;

-- {condition}, or one condition or group that is written into the configuration itself.
create or replace function automation.fold_conditional(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
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

create or replace function automation.fold_key(config jsonb, key text, other_names text[])
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when config ? key then config
      else coalesce(
        (select config - n || jsonb_build_object(key, config -> n)
         from unnest(other_names) as n where config ? n limit 1),
        config)
    end
  $$;

create or replace function automation.fold_fields(config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when config ? 'fields' then config
    when config ? 'updates' then
      config - 'updates' || jsonb_build_object('fields', config -> 'updates')
    when config = '{}' then config
    else jsonb_build_object('fields', config)
  end;
end;
$$;

create or replace function automation.fold_wait(config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when config ? 'duration_minutes' then jsonb_build_object('minutes', config -> 'duration_minutes')
      when config ? 'delay_minutes' then jsonb_build_object('minutes', config -> 'delay_minutes')
      when config ? 'duration_hours' then jsonb_build_object('hours', config -> 'duration_hours')
      when config ? 'delay_hours' then jsonb_build_object('hours', config -> 'delay_hours')
      when config ? 'duration_days' then jsonb_build_object('days', config -> 'duration_days')
      when config ? 'duration' and config ->> 'unit' in ('minutes', 'hours', 'days', 'weeks') then
        jsonb_build_object(config ->> 'unit', config -> 'duration')
      when jsonb_typeof(config -> 'duration') = 'number' then
        jsonb_build_object('minutes', config -> 'duration')
      else config
    end
  $$;

-- What the schema and its grammars say, and then whether what it names is there.
create or replace function automation.check_step_config(step_type text, config jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select automation.check_schema(t.config_schema, config, path)
      || automation.check_step_entity(config, path)
      || case when step_type in ('update_contact', 'update_project', 'update_field')
        then automation.check_step_fields(step_type, config, path) else '[]' end
      || case when step_type = 'update_field' then automation.check_field_operator(config, path) else '[]' end
      || case when step_type = 'webhook'
        then automation.check_webhook_headers(config -> 'headers', path || '.headers') else '[]' end
      || case when step_type = 'wait' and config ? 'event'
        then automation.check_event(config -> 'event', path || '.event') else '[]' end
    from automation.step_types as t
    where t.name = step_type);
end;
$$;

comment on function automation.check_step_config(text, jsonb, text) is
  'What is wrong with a folded step_config, apart from its templates.';

create or replace function automation.check_step_entity(config jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when jsonb_typeof(config -> 'entity') = 'string' and config ->> 'entity' not like '%{{%'
      then automation.check_entity(config ->> 'entity', path || '.entity')
    else '[]'
  end;
end;
$$;

-- What is wrong with an event that has the shape of one; its schema says whether it has.
create or replace function automation.check_event(event jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(event) = 'string' or jsonb_typeof(event -> 'type') = 'string'
          and coalesce(jsonb_typeof(event -> 'config'), 'object') = 'object'
        then (automation.compile_event(event, path)).problems
      else '[]'
    end
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

-- The fields that update steps write are checked against the live table.
create or replace function automation.check_step_fields(step_type text, config jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_agg(automation.problem(
        path || w.at, 'unknown_field', format('%s has no field "%s" to write', w.entity, w.field),
        'Writable: ' || array_to_string(e.writable_columns, ', '))), '[]')
    from (
      select case step_type when 'update_contact' then 'contact' else 'project' end as entity,
        f.key as field, '.fields.' || f.key as at
      from jsonb_each(
        case when jsonb_typeof(config -> 'fields') = 'object' then config -> 'fields' else '{}' end)
        as f
      where step_type in ('update_contact', 'update_project')
      union all
      select f.entity, f.field, '.field' from automation.written_field(config) as f
      where step_type = 'update_field'
    ) as w
    join automation.entities as e on e.name = w.entity
    where not (w.field = any (e.writable_columns)
      or split_part(w.field, '.', 1) = 'custom_fields' and 'custom_fields' = any (e.writable_columns)));
end;
$$;

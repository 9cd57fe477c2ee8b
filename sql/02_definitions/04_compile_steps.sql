-- step_config -> the configuration a step runs with: other spellings folded into one, required
-- keys checked, templates parsed.

create or replace function automation.fold_step_config(step_type text, config jsonb)
  returns jsonb
  language sql immutable parallel safe
  set search_path = ''
  as $$
    select case step_type
      when 'send_sms' then
        case when config ? 'message' and not config ? 'body'
          then config - 'message' || jsonb_build_object('body', config -> 'message')
          else config - 'message' end
      when 'send_email' then
        case when config ? 'body' and not config ?| '{html,text}'
          then config - 'body' || jsonb_build_object('html', config -> 'body')
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
      when 'add_tag' then automation.fold_key(config, 'tag', '{tag_name,name}')
      when 'remove_tag' then automation.fold_key(config, 'tag', '{tag_name,name}')
      when 'update_contact' then automation.fold_fields(config)
      when 'update_project' then automation.fold_fields(config)
      when 'wait' then automation.fold_wait(config)
      when 'webhook' then
        case when config ? 'payload' and not config ? 'body'
          then config - 'payload' || jsonb_build_object('body', config -> 'payload')
          else config end
      else config
    end
  $$;

create or replace function automation.fold_key(config jsonb, key text, other_names text[])
  returns jsonb
  language sql immutable parallel safe
  set search_path = ''
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
  language sql immutable parallel safe
  set search_path = ''
  as $$
    select case
      when config ? 'fields' then config
      when config ? 'updates' then
        config - 'updates' || jsonb_build_object('fields', config -> 'updates')
      when config = '{}' then config
      else jsonb_build_object('fields', config)
    end
  $$;

create or replace function automation.fold_wait(config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = ''
  as $$
    select case
      when config ? 'duration_minutes' then jsonb_build_object('minutes', config -> 'duration_minutes')
      when config ? 'delay_minutes' then jsonb_build_object('minutes', config -> 'delay_minutes')
      when config ? 'duration_hours' then jsonb_build_object('hours', config -> 'duration_hours')
      when config ? 'delay_hours' then jsonb_build_object('hours', config -> 'delay_hours')
      when config ? 'duration_days' then jsonb_build_object('days', config -> 'duration_days')
      when config ? 'duration' and config ->> 'unit' in ('minutes', 'hours', 'days') then
        jsonb_build_object(config ->> 'unit', config -> 'duration')
      when jsonb_typeof(config -> 'duration') = 'number' then
        jsonb_build_object('minutes', config -> 'duration')
      else config
    end
  $$;

-- A key that is missing, and a key that nobody reads, are both mistakes the office should see
-- before a customer does.
create or replace function automation.check_step_keys(known automation.step_types, config jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = ''
  as $$
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select automation.problem(
          path || '.' || split_part(r.names, '|', 1), 'missing',
          format('%s needs %s', known.name, replace(r.names, '|', ' or ')))
      from unnest(known.required) as r (names)
      where not exists (
        select from unnest(string_to_array(r.names, '|')) as n
        where jsonb_typeof(config -> n) <> 'null' and config ->> n <> '')
      union all
      select automation.problem(
          path || '.' || k.key, 'unknown_key', format('%s does not know "%s"', known.name, k.key),
          'It knows: ' || replace(array_to_string(known.required || known.optional, ', '), '|', ', '),
          'warning')
      from jsonb_object_keys(config) as k (key)
      where not k.key = any (known.optional)
        and not k.key = any (string_to_array(array_to_string(known.required, '|'), '|'))
    ) as found (problem)
  $$;

create or replace function automation.check_step_values(step_type text, config jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = ''
  as $$
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select automation.problem(
          path || '.' || k.key, 'not_a_number', format('%s must be a number of at least 0', k.key))
      from jsonb_each(config) as k
      where k.key in ('due_in_days', 'due_in_hours', 'due_in_minutes', 'minutes', 'hours', 'days')
        and not (k.value #>> '{}' ~ '^\d{1,7}(\.\d{1,6})?$' or k.value #>> '{}' like '%{{%')
      union all
      select automation.problem(path || '.' || k.key, 'not_a_text', format('%s must be a text', k.key))
      from jsonb_each(config) as k
      where k.key in ('subject', 'html', 'text', 'title', 'description', 'tag', 'name', 'url')
          and jsonb_typeof(k.value) in ('object', 'array')
        or k.key = 'body' and step_type = 'send_sms' and jsonb_typeof(k.value) <> 'string'
      union all
      select automation.problem(path, 'missing', 'wait needs minutes, hours, days or until')
      where step_type = 'wait' and not config ?| '{minutes,hours,days,weeks,duration,until,event,at,window}'
      union all
      select automation.problem(path || '.fields', 'not_an_object', 'fields must be an object of at least one field')
      where step_type in ('update_contact', 'update_project') and config ? 'fields'
        and (jsonb_typeof(config -> 'fields') <> 'object' or config -> 'fields' = '{}')
      union all
      select automation.problem(path || '.method', 'unknown_value', 'method must be POST, PUT or PATCH')
      where step_type = 'webhook' and config ? 'method'
        and upper(config ->> 'method') not in ('POST', 'PUT', 'PATCH')
      union all
      select automation.problem(path || '.url', 'not_a_url', 'url must start with https:// or http://')
      where step_type = 'webhook' and config ->> 'url' !~* '^https?://'
        and config ->> 'url' not like '{{%'
      union all
      select automation.problem(
          path || '.entity', 'unknown_entity', format('there is no entity "%s"', config ->> 'entity'),
          'Known: ' || (select string_agg(e.name, ', ' order by e.name) from automation.entities as e))
      where config ->> 'entity' not like '%{{%'
        and not exists (select from automation.entities as e where e.name = config ->> 'entity')
      union all
      select automation.problem(path || '.headers', 'not_an_object', 'headers must be an object')
      where config ? 'headers' and jsonb_typeof(config -> 'headers') <> 'object'
    ) as found (problem)
  $$;

-- The fields that update steps write are checked against the live table.
create or replace function automation.check_step_fields(step_type text, config jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = ''
  as $$
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
      select coalesce(config ->> 'entity',
          substring(config ->> 'field' from '^(contact|project|job)\.'), 'contact'),
        regexp_replace(config ->> 'field', '^(contact|project|job)\.', ''), '.field'
      where step_type = 'update_field'
    ) as w
    join automation.entities as e on e.name = w.entity
    where not (w.field = any (e.writable_columns)
      or split_part(w.field, '.', 1) = 'custom_fields' and 'custom_fields' = any (e.writable_columns))
  $$;

-- SCHEMAS: what a step's configuration may look like, and what is wrong with one that does not.

-- JSON Schema, as much of it as the published schemas use: type, enum, properties, required,
-- additionalProperties, dependentRequired, dependentSchemas (of properties that are false), items,
-- anyOf, oneOf, bounds and pattern. Each finding says where, what and how to mend it.
-- tests/language/reference/steps.ts says the same in TypeScript; tests/language holds the two together.

create or replace function automation.check_schema(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found jsonb := automation.check_value(schema, value, path);
begin
  if schema ?| '{anyOf,oneOf}' then
    found := found || automation.check_choice(schema, value, path);
  end if;
  if schema ? 'errorMessage' and automation.has_error(found) then
    found := jsonb_build_array(automation.problem(
      path, found #>> '{0,code}', schema ->> 'errorMessage', automation.schema_hint(schema)));
  end if;
  if schema ->> 'type' is distinct from jsonb_typeof(value)
    and not automation.fits_type(schema -> 'type', value) then
    return found;
  elsif found = '[]' and schema ? 'format' then
    found := automation.check_format(schema ->> 'format', value, path);
  end if;
  return found || case jsonb_typeof(value)
    when 'object' then automation.check_keys(schema, value, path)
      || case when schema ?| '{properties,additionalProperties}'
        then automation.check_members(schema, value, path) else '[]' end
    when 'array' then automation.check_items(schema, value, path)
    else '[]'
  end;
end;
$$;

comment on function automation.check_schema(jsonb, jsonb, text) is
  'What is wrong with a value according to a JSON Schema: a list of {path, severity, code, message, '
  'hint}. A key that an object''s schema does not name is a warning.';

create or replace function automation.schema_hint(schema jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select 'For example ' || (schema #> '{examples,0}')::text || '.' $$;

-- contact.tags[0] -> tags[0]
create or replace function automation.last_of_path(path text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select substring(path from '[^.]*$') $$;

create or replace function automation.fits_type(type jsonb, value jsonb) returns boolean
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return type is null or type #>> '{}' = jsonb_typeof(value) or exists (
    select from jsonb_array_elements_text(automation.as_list(type)) as t (name)
    where case
      when t.name = 'integer' and jsonb_typeof(value) = 'number'
      then value::numeric = trunc(value::numeric)
      else t.name = jsonb_typeof(value)
    end);
end;
$$;

-- ["POST", "PUT", "PATCH"] -> POST, PUT or PATCH
create or replace function automation.choice_words(choices jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select regexp_replace(string_agg(c.word, ', ' order by c.place), ', ([^,]*)$', ' or \1')
    from jsonb_array_elements_text(choices) with ordinality as c (word, place)
  $$;

-- The value itself: its type, whether it is one of those listed, its bounds and its pattern.
create or replace function automation.check_value(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  type constant text := jsonb_typeof(value);
  found record;
begin
  if coalesce(schema ->> 'type', type) = type and not schema ?| '{enum,pattern,minLength,maxLength,minItems,maxItems,
    minProperties,maxProperties,minimum,maximum,exclusiveMinimum}' then
    return '[]'::jsonb;
  -- Most texts are of the right length, and nothing else is asked of them.
  elsif type = 'string' and (schema ->> 'type' = 'string' or schema -> 'type' ? 'string')
    and not schema ?| '{enum,pattern}'
    and length(value #>> '{}') >= coalesce((schema ->> 'minLength')::numeric, 0)
    and length(value #>> '{}') <= coalesce((schema ->> 'maxLength')::numeric, 'infinity') then
    return '[]'::jsonb;
  elsif not automation.fits_type(schema -> 'type', value) then
    select case t.name
        when 'string' then 'not_a_text' when 'array' then 'not_a_list' when 'object' then 'not_an_object'
        when 'boolean' then 'not_a_boolean' else 'not_a_number' end as code,
      'must be ' || automation.type_words(schema -> 'type') as message
      into found
    from (select automation.as_list(schema -> 'type') ->> 0 as name) as t;
  elsif schema ? 'enum' and not exists (
    select from jsonb_array_elements(schema -> 'enum') as e (choice) where e.choice = value) then
    select 'unknown_value' as code, 'must be ' || automation.choice_words(schema -> 'enum') as message
      into found;
  elsif type = 'string' and value #>> '{}' !~ (schema ->> 'pattern') then
    select 'invalid_value' as code, 'must match ' || (schema ->> 'pattern') as message into found;
  else
    select 'out_of_range' as code, automation.bounds_words(schema, value, type) as message into found;
  end if;
  if found.message is null then
    return '[]'::jsonb;
  end if;
  return jsonb_build_array(automation.problem(
    path, found.code, format('%s %s', automation.last_of_path(path), found.message),
    automation.schema_hint(schema)));
end;
$$;

-- Which bound a value breaks; null: none.
create or replace function automation.bounds_words(schema jsonb, value jsonb, type text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select case
      when size < least and least = 1 and unit is not null then 'must not be empty'
      when size < least then concat_ws(' ', 'must', verb, 'at least', least, unit)
      when size > most then concat_ws(' ', 'must', verb, 'at most', most, unit)
      when type = 'number' and size <= (schema ->> 'exclusiveMinimum')::numeric
        then format('must be more than %s', schema ->> 'exclusiveMinimum')
    end
    from (
      select
        case type when 'string' then length(value #>> '{}') when 'array' then jsonb_array_length(value)
          when 'object' then (select count(*) from jsonb_object_keys(value))
          when 'number' then value::numeric end as size,
        (schema ->> names.least)::numeric as least, (schema ->> names.most)::numeric as most,
        names.unit, case when names.unit is null then 'be' else 'have' end as verb
      from (values
        ('string', 'minLength', 'maxLength', 'characters'), ('array', 'minItems', 'maxItems', 'items'),
        ('object', 'minProperties', 'maxProperties', 'fields'), ('number', 'minimum', 'maximum', null)
      ) as names (of, least, most, unit)
      where names.of = type
    ) as bounds);
end;
$$;

-- anyOf and oneOf. When none fits, what is said is what the one of the same type says.
create or replace function automation.check_choice(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  options constant jsonb := coalesce(schema -> 'oneOf', schema -> 'anyOf', '[]');
  keys constant text[] := array(
    select k.key from jsonb_array_elements(options) with ordinality as o (option, place),
      jsonb_array_elements_text(o.option -> 'required') as k (key)
    where not o.option ? 'type' order by o.place);
  subject constant text := coalesce(schema ->> 'title', automation.last_of_path(path));
  option jsonb;
  found jsonb;
  nearest jsonb;
  held integer := 0;
begin
  for option in select * from jsonb_array_elements(options) loop
    exit when held > 0 and not schema ? 'oneOf';
    found := automation.check_schema(option, value, path);
    if not automation.has_error(found) then
      held := held + 1;
    elsif nearest is null and option ? 'type' and automation.fits_type(option -> 'type', value) then
      nearest := found;
    end if;
  end loop;
  return case
    when options = '[]' or held = 1 or held > 1 and not schema ? 'oneOf' then '[]'
    when held > 1 then jsonb_build_array(automation.problem(
      format('%s.%s', path, keys[1]), 'ambiguous',
      format('%s takes only one of %s', subject, array_to_string(keys, ', '))))
    when cardinality(keys) > 0 and jsonb_typeof(value) = 'object' then jsonb_build_array(automation.problem(
      format('%s.%s', path, keys[1]), 'missing',
      format('%s needs %s', subject, array_to_string(keys, ' or ')), automation.schema_hint(schema)))
    when nearest is not null then nearest
    when cardinality(keys) > 0 then '[]'
    else jsonb_build_array(automation.problem(path, 'invalid_value',
      format('%s must be %s', automation.last_of_path(path),
        automation.type_words(jsonb_path_query_array(options, '$[*].type'))),
      automation.schema_hint(schema)))
  end;
end;
$$;

-- Which keys an object has: a key that is missing, and a key that nobody reads, are both mistakes the office
-- should see before a customer does. One that is nearly another is a setting that would be ignored: an error.
create or replace function automation.check_keys(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  subject constant text := coalesce(schema ->> 'title', automation.last_of_path(path));
  problems jsonb := '[]'::jsonb;
  key text;
  meant text;
begin
  for key in select * from jsonb_array_elements_text(schema -> 'required') loop
    continue when value ? key;
    problems := problems || automation.problem(
      path || '.' || key, 'missing', format('%s needs %s', subject, key));
  end loop;
  if schema ?| '{dependentRequired,dependentSchemas}' then
    problems := problems || automation.check_dependent_keys(schema, value, path);
  end if;
  if not schema ? 'properties' or schema ? 'additionalProperties' then
    return problems;
  end if;
  for key in select * from jsonb_object_keys(value) loop
    continue when schema -> 'properties' ? key;
    meant := automation.meant_key(key, array(select jsonb_object_keys(schema -> 'properties')));
    problems := problems || automation.problem(
      path || '.' || key, 'unknown_key', format('%s does not know "%s"', subject, key), coalesce(
        'Did you mean ' || meant || '?',
        'It knows: ' || (select string_agg(p, ', ') from jsonb_object_keys(schema -> 'properties') as p)),
      case when meant is null then 'warning' else 'error' end);
  end loop;
  return problems;
end;
$$;

create or replace function automation.check_dependent_keys(schema jsonb, value jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select automation.problem(path || '.' || r.key, 'missing', format('%s needs %s', d.key, r.key))
      from jsonb_each(schema -> 'dependentRequired') as d,
        jsonb_array_elements_text(d.value) as r (key)
      where check_dependent_keys.value ? d.key and not check_dependent_keys.value ? r.key
      union all
      select automation.problem(path || '.' || p.key, 'not_allowed',
        format('%s cannot be combined with %s', p.key, d.key))
      from jsonb_each(schema -> 'dependentSchemas') as d, jsonb_each(d.value -> 'properties') as p
      where check_dependent_keys.value ? d.key and check_dependent_keys.value ? p.key and p.value = 'false'
    ) as found (problem)
  $$;

create or replace function automation.check_members(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb := '[]'::jsonb;
  member record;
  its jsonb;
begin
  for member in select m.key, m.value from jsonb_each(value) as m loop
    its := coalesce(schema -> 'properties' -> member.key, schema -> 'additionalProperties');
    if jsonb_typeof(its) = 'object' then
      problems := problems || automation.check_schema(its, member.value, path || '.' || member.key);
    end if;
  end loop;
  return problems;
end;
$$;

create or replace function automation.check_items(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    with item as (
      select i.value, i.place, format('%s[%s]', path, i.place - 1) as at
      from jsonb_array_elements(value) with ordinality as i (value, place)
    )
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select problem from item, jsonb_array_elements(
        case when schema ? 'items' then automation.check_schema(schema -> 'items', item.value, item.at)
          else '[]' end) as problem
      union all
      select automation.problem(format('%s.%s', item.at, u.key), 'duplicate',
        format('another one has the %s %s', u.key, item.value -> u.key))
      from item, jsonb_array_elements_text(schema -> 'uniqueItemProperties') as u (key)
      where exists (
        select from item as earlier
        where earlier.place < item.place and earlier.value -> u.key = item.value -> u.key)
    ) as found (problem));
end;
$$;

-- What a grammar checks. The templates of a configuration are parsed together, where it is compiled.
create or replace function automation.check_format(format text, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if format = 'template' then
    return '[]'::jsonb;
  elsif format = 'conditions' then
    return (automation.compile_conditions(value, path)).problems;
  elsif format = 'header' then
    return automation.check_header(value, path);
  elsif format = 'html' then
    return automation.check_html(value #>> '{}', path);
  elsif automation.format_holds(format, value) then
    return '[]'::jsonb;
  end if;
  return (
    select jsonb_build_array(automation.problem(path, 'invalid_value',
      pg_catalog.format('%s must be %s', automation.last_of_path(path), w.words), w.hint))
    from automation.format_words(format) as w);
end;
$$;

-- What is written into a workflow is read by everybody who may read it, and stands in its history.
create or replace function automation.check_header(value jsonb, path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(value) = 'string' and value #>> '{}' not like '%{{%'
        and (automation.last_of_path(path) ~* '^(proxy-)?authorization$|^cookie$|api[-_]?key|token|secret|password'
          or value #>> '{}' ~* '^(bearer|basic|token) [^ ]'
          or value #>> '{}' ~ '^(sk|pk|rk|whsec|ghp|gho|xox[a-z]|key|eyJ)[-_A-Za-z0-9.]{12,}'
          or value #>> '{}' ~ '^(?=.*[0-9])(?=.*[A-Za-z])[A-Za-z0-9+/_=-]{32,}$')
        then jsonb_build_array(automation.problem(path, 'literal_secret',
          format('%s looks like a secret, and whoever reads the workflow reads it', automation.last_of_path(path)),
          'Keep it among your secrets and name it: {"secret": "crm_api_key", "prefix": "Bearer "}.', 'warning'))
      else '[]'
    end
  $$;

create or replace function automation.format_holds(format text, value jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(case format
    when 'amount' then value #>> '{}' ~ '^[0-9]{1,7}([.][0-9]{1,6})?$' or value #>> '{}' like '%{{%'
    when 'moment' then automation.is_date(value #>> '{}') or value #>> '{}' like '%{{%'
    when 'id' then automation.is_member_key(value #>> '{}') or value #>> '{}' like '%{{%'
    when 'length-of-time' then automation.duration_in(value) is not null
    when 'signed-length-of-time' then automation.signed_duration(value) is not null
    when 'time-of-day' then value #>> '{}' ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
    when 'zone' then value #>> '{}' in ('tenant', 'contact')
      or automation.known_zone(value #>> '{}') is not null
    else true
  end, false);
end;
$$;

comment on function automation.format_holds(text, jsonb) is
  'Whether a value is what a format of the published schemas asks for. docs/steps.md lists them.';

create or replace function automation.format_words(format text, out words text, out hint text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select f.words, f.hint
    from (values
      ('amount', 'a number of at least 0', 'For example 3, 1.5 or "{{ contact.custom_fields.days }}".'),
      ('moment', 'a date', 'For example "2026-12-01", "2026-12-01T09:30:00Z" or "{{ job.scheduled_at }}".'),
      ('id', 'an id', 'A member''s id, or a template such as "{{ contact.assigned_to }}".'),
      ('length-of-time', 'a length of time', 'For example "3 days", "90 minutes" or {"days": 1, "hours": 12}.'),
      ('signed-length-of-time', 'a length of time',
        'For example "1 day" (after), "-24 hours" (before) or {"days": 3}.'),
      ('time-of-day', 'a time of day', 'From "00:00" to "23:59".'),
      ('zone', 'tenant, contact or a time zone', 'For example "contact" or "America/Chicago".')
    ) as f (name, words, hint)
    where f.name = format
  $$;

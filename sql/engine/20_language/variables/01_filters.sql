-- VARIABLES
--
-- The template language of a step's configuration: {{ contact.first_name | default: "there" }}.
-- docs/variables.md has the filters; paths and values mean what they mean in conditions.
-- Rendering never raises: what cannot be rendered renders as nothing, or as it was, and leaves a
-- warning on the step.
--
--   01_filters  what stands after a |
--   02_parse    a text -> tokens, or the position of the error
--   03_compile  a step's configuration -> where its templates are, and their tokens
--   04_render   tokens and a context -> the configuration as it is written
--   05_fit      that -> what the step takes, by the types of its schema
--
-- Takes no locks and writes nothing.

-- A filter takes a value and gives a value. It gives SQL null for a value it has no meaning for;
-- the renderer then leaves a warning and passes the value on.

-- Each filter with the least and the greatest number of its arguments.
create or replace function automation.filter_arguments(
  name text, out least_count int, out most_count int
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  select filters.least_count, filters.most_count into least_count, most_count
  from (values
    ('default', 1, 1), ('formatDate', 0, 2), ('formatCurrency', 0, 2), ('formatPhone', 0, 1),
    ('formatNumber', 0, 2), ('upper', 0, 0), ('lower', 0, 0), ('capitalize', 0, 0),
    ('truncate', 1, 2), ('trim', 0, 0), ('replace', 2, 2), ('join', 0, 1), ('first', 0, 0),
    ('last', 0, 0), ('plus', 1, 1), ('minus', 1, 1), ('times', 1, 1), ('url_encode', 0, 0),
    ('nl2br', 0, 0)
  ) as filters (name, least_count, most_count)
  where filters.name = filter_arguments.name;
end;
$$;

comment on function automation.filter_arguments(text) is
  'How many arguments a filter takes; nulls when there is no filter of that name.';

create or replace function automation.join_list(value jsonb, separator text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(item, separator order by position), '')
    from jsonb_array_elements_text(value) with ordinality as items (item, position)
    where item is not null
  $$;

-- A value as it reads in a text: nothing for null, a list of simple values joined by commas.
create or replace function automation.text_of(value jsonb) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'string' then value #>> '{}'
    when 'null' then ''
    when 'array' then case
      when jsonb_path_exists(value, 'strict $[*] ? (@.type() == "object" || @.type() == "array")')
      then value::text
      else automation.join_list(value, ', ')
    end
    else value #>> '{}'
  end;

-- A number and a number, or a date and a length of time.
create or replace function automation.add_values(
  value jsonb, amount jsonb, direction int, options jsonb
) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  a numeric := automation.number_of(value);
  b numeric := automation.number_of(amount);
  duration interval;
  zone text;
  moment timestamptz;
begin
  if a is not null and b is not null then
    return case
      when abs(a) < 1e50 and abs(b) < 1e50 then to_jsonb(trim_scale(a + b * direction)) end;
  end if;
  duration := automation.duration_in(amount);
  if duration is null or jsonb_typeof(value) is distinct from 'string'
    or not automation.is_date(value #>> '{}') then
    return null;
  end if;
  zone := coalesce(automation.known_zone(options ->> 'zone'), 'UTC');
  if length(value #>> '{}') = 10
    and extract(hour from duration) = 0 and extract(minute from duration) = 0 then
    return automation.calendar_value(
      to_char((value #>> '{}')::date + duration * direction, 'YYYY-MM-DD'));
  end if;
  moment := automation.moment_from(
    automation.instant_in(value #>> '{}', zone),
    (extract(year from duration) * 12 + extract(month from duration)) || ' months '
      || extract(day from duration) || ' days',
    (extract(hour from duration) * 3600 + extract(minute from duration) * 60)::text,
    direction, zone);
  return automation.calendar_value(automation.iso_instant(moment));
end;
$$;

-- A date that was computed, unless it left the years that dates have here.
create or replace function automation.calendar_value(value text) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case when automation.is_date(value) then to_jsonb(value) end;

create or replace function automation.multiply_values(value jsonb, factor jsonb) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when abs(automation.number_of(value)) < 1e50 and abs(automation.number_of(factor)) < 1e50
    then to_jsonb(trim_scale(automation.number_of(value) * automation.number_of(factor)))
  end;

create or replace function automation.truncate_text(value text, most numeric, ending text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  room int;
  closing record;
begin
  if most is null or most not between 0 and 100000 then
    return null;
  elsif length(value) <= most then
    return value;
  end if;
  room := trunc(most)::int;
  if not (automation.first_characters(value, room)).has_more then
    return value;
  end if;
  closing := automation.first_characters(ending, room);
  return (automation.first_characters(value, room - automation.count_characters(closing.kept))).kept
    || closing.kept;
end;
$$;

create or replace function automation.count_characters(value text) returns int
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when octet_length(value) = length(value) and strpos(value, E'\r') = 0 then length(value)
    else (select count(*)::int from regexp_matches(value, automation.one_character(), 'g'))
  end;

-- RFC 3986: what may stand in any part of a URL stays as it is.
create or replace function automation.url_encode(value text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(case
      when c.character ~ '[A-Za-z0-9_.~-]' then c.character
      else regexp_replace(
        upper(encode(convert_to(c.character, 'UTF8'), 'hex')), '(..)', '%\1', 'g')
    end, '' order by c.place), '')
    from regexp_split_to_table(value, '') with ordinality as c (character, place)
  $$;

create or replace function automation.filter_text(name text, value text, arguments jsonb)
  returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case name
    when 'upper' then upper(value collate automation.case_rules)
    when 'lower' then automation.fold(value)
    when 'capitalize'
      then upper(left(value, 1) collate automation.case_rules) || substr(value, 2)
    when 'trim' then btrim(value, E' \t\r\n')
    when 'truncate' then automation.truncate_text(
      value, automation.number_of(arguments -> 0), coalesce(arguments ->> 1, '…'))
    when 'replace' then replace(value, arguments ->> 0, arguments ->> 1)
    when 'url_encode' then automation.url_encode(value)
    -- What it does to line breaks is done where the text has been escaped.
    when 'nl2br' then value
  end;

create or replace function automation.filter_number(
  name text, value numeric, arguments jsonb, options jsonb
) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case name
    when 'formatCurrency' then automation.format_currency(
      value, coalesce(arguments ->> 0, options ->> 'currency', 'USD'),
      coalesce(arguments ->> 1, options ->> 'locale', 'en-US'))
    when 'formatNumber' then automation.format_number(
      value,
      case when automation.number_of(arguments -> 0) between 0 and 10
        then automation.number_of(arguments -> 0)::int end,
      coalesce(arguments ->> 1, options ->> 'locale', 'en-US'))
  end;

create or replace function automation.filter_value(
  filter jsonb, value jsonb, arguments jsonb, options jsonb
) returns jsonb
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  name constant text := filter ->> 'n';
  type constant text := jsonb_typeof(value);
begin
  return case
    when name = 'default'
      then case when automation.is_blank(value) then arguments -> 0 else value end
    when value is null or type = 'null' then value
    when name in ('plus', 'minus') then automation.add_values(
      value, arguments -> 0, case name when 'plus' then 1 else -1 end, options)
    when name = 'times' then automation.multiply_values(value, arguments -> 0)
    when name = 'formatDate' then to_jsonb(automation.format_date(
      case type when 'string' then value #>> '{}' end,
      coalesce(filter ->> 'x', automation.date_format(arguments ->> 0)),
      coalesce(
        automation.known_zone(arguments ->> 1), automation.known_zone(options ->> 'zone'), 'UTC')))
    when name in ('formatCurrency', 'formatNumber') then to_jsonb(automation.filter_number(
      name, automation.number_of(value), arguments, options))
    when name in ('join', 'first', 'last') then case
      when type <> 'array' then null
      when name = 'join' then to_jsonb(automation.join_list(value, coalesce(arguments ->> 0, ', ')))
      else coalesce(value -> case name when 'first' then 0 else -1 end, 'null')
    end
    when type in ('array', 'object') then null
    when name = 'formatPhone' then to_jsonb(automation.format_phone(
      value #>> '{}', arguments ->> 0, coalesce(options ->> 'country', 'US')))
    else to_jsonb(automation.filter_text(name, value #>> '{}', arguments))
  end;
end;
$$;

comment on function automation.filter_value(jsonb, jsonb, jsonb, jsonb) is
  'A compiled filter applied to a value; SQL null when it has no meaning for that value.';

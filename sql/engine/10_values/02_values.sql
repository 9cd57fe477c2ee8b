-- Text is compared by the rules of Unicode on every server, not by whatever locale a database was
-- created in: with the C locale, lower('É') would be 'É'. A server built without ICU uses its own
-- Unicode rules.
do $$
begin
  if to_regcollation('automation.case_rules') is not null then
    return;
  elsif exists (select from pg_collation where collname = 'und-x-icu') then
    create collation automation.case_rules from pg_catalog."und-x-icu";
  elsif exists (select from pg_collation where collname = 'pg_c_utf8') then
    create collation automation.case_rules from pg_catalog.pg_c_utf8;
  else
    create collation automation.case_rules from pg_catalog."C.utf8";
  end if;
end;
$$;

create or replace function automation.fold(value text) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return lower(value collate automation.case_rules);

comment on function automation.fold(text) is 'Text as conditions compare it: without case.';

-- The zones this server knows. pg_timezone_names reads hundreds of files a call, and an unknown
-- name raises where it is used; a lookup here does neither.
create table automation.time_zones (
  key text constraint time_zones_pkey primary key,
  name text not null
);

comment on table automation.time_zones is
  'Time zone names of this server by their lower-case form, copied from pg_timezone_names.';

create or replace function automation.refresh_time_zones() returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.time_zones (key, name)
    select distinct on (lower(z.name)) lower(z.name), z.name
    from pg_catalog.pg_timezone_names as z
    where z.name !~ '^(posix|right)/' and z.name <> 'localtime'
    order by lower(z.name), z.name
    on conflict on constraint time_zones_pkey do update set name = excluded.name
  $$;

comment on function automation.refresh_time_zones() is
  'Copies the server''s time zone names; worth calling after an update of tzdata.';

select automation.refresh_time_zones();

create or replace function automation.known_zone(zone text) returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if zone is null or zone = 'UTC' then
    return zone;
  end if;
  return (select z.name from automation.time_zones as z where z.key = lower(known_zone.zone));
end;
$$;

comment on function automation.known_zone(text) is
  'The zone''s name as this server spells it; null when it knows no such zone.';

-- Only plain decimals are numbers in disguise: '0x10', '1e5' and 'Infinity' are text.
create or replace function automation.number_in(value text) returns numeric
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when length(value) <= 60 and value ~ '^ *[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+) *$'
    then value::numeric
  end;

create or replace function automation.number_of(value jsonb) returns numeric
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'number' then value::numeric
    when 'string' then automation.number_in(value #>> '{}')
  end;

comment on function automation.number_of(jsonb) is
  'A JSON number, or text that is a plain decimal; otherwise null. null is not 0.';

-- ISO 8601 calendar dates and timestamps of the years 1000 to 9999, as to_jsonb(row) writes them
-- and as browsers send them. Whatever passes can be cast without an error.
create or replace function automation.is_date(value text) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return coalesce(
    case
      when length(value) not between 10 and 40 or substr(value, 5, 1) <> '-' then false
      when value !~ (
        '^[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])'
        || '|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|[12][0-9]))'
        || '(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?'
        || '(?: ?(?:Z|[-+](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?))?)?$'
      ) then false
      when substr(value, 5, 6) <> '-02-29' then true
      else substr(value, 1, 4)::int % 4 = 0
        and (substr(value, 1, 4)::int % 100 <> 0 or substr(value, 1, 4)::int % 400 = 0)
    end,
    false);

comment on function automation.is_date(text) is
  'Whether a text is an ISO 8601 date or timestamp that exists in the calendar.';

-- The next two take only what is_date() accepts and a zone that known_zone() returned.
create or replace function automation.instant_in(value text, zone text) returns timestamptz
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when substr(value, 17) ~ '[-Z+]' then value::timestamptz
    else value::timestamp at time zone zone
  end;

create or replace function automation.day_in(value text, zone text) returns date
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when substr(value, 17) ~ '[-Z+]' then (value::timestamptz at time zone zone)::date
    else value::timestamp::date
  end;

-- -1, 0 or 1; days when either side is a bare date, otherwise instants.
create or replace function automation.compare_dates(a text, b text, zone text) returns int
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when length(a) = 10 or length(b) = 10
    then sign(automation.day_in(a, zone) - automation.day_in(b, zone))::int
    when automation.instant_in(a, zone) < automation.instant_in(b, zone) then -1
    when automation.instant_in(a, zone) > automation.instant_in(b, zone) then 1
    else 0
  end;

create or replace function automation.compare_text(a text, b text) returns int
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case when a = b then 0 when a collate "C" < b collate "C" then -1 else 1 end;

-- Numbers with numbers, dates with dates, other text with other text; null when they are of
-- different kinds, so that 'N/A' is neither above nor below 100.
create or replace function automation.compare_values(
  a jsonb, b jsonb, case_sensitive boolean, zone text
) returns int
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_text text := a #>> '{}';
  b_text text := b #>> '{}';
  a_number numeric := automation.number_of(a);
  b_number numeric := automation.number_of(b);
  a_is_date boolean;
begin
  if a_number is not null or b_number is not null then
    return sign(a_number - b_number)::int;
  end if;
  if jsonb_typeof(a) is distinct from 'string'
    or jsonb_typeof(b) is distinct from 'string' then
    return null;
  end if;
  a_is_date := automation.is_date(a_text);
  if a_is_date <> automation.is_date(b_text) then
    return null;
  elsif a_is_date then
    return automation.compare_dates(a_text, b_text, coalesce(automation.known_zone(zone), 'UTC'));
  elsif case_sensitive then
    return automation.compare_text(a_text, b_text);
  else
    return automation.compare_text(automation.fold(a_text), automation.fold(b_text));
  end if;
end;
$$;

comment on function automation.compare_values(jsonb, jsonb, boolean, text) is
  'How two values of a kind are ordered: -1, 0, 1, or null when they cannot be compared.';

-- Text equals text without case, or the same moment written differently; a number or a boolean
-- also equals its text. Postal codes stay text: "01234" is not "1234".
create or replace function automation.values_equal(
  a jsonb, b jsonb, case_sensitive boolean, zone text
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_type text := coalesce(jsonb_typeof(a), 'null');
  b_type text := coalesce(jsonb_typeof(b), 'null');
  a_text text := a #>> '{}';
  b_text text := b #>> '{}';
begin
  if a_type = 'null' or b_type = 'null' then
    return a_type = b_type;
  elsif a = b then
    return true;
  elsif a_type = 'string' and b_type = 'string' then
    if not case_sensitive
      and automation.fold(a_text) = automation.fold(b_text) then
      return true;
    end if;
    return case
      when automation.is_date(a_text) and automation.is_date(b_text)
      then automation.compare_dates(a_text, b_text, coalesce(automation.known_zone(zone), 'UTC'))
        = 0
      else false
    end;
  elsif a_type = any ('{array,object}')
    or b_type = any ('{array,object}') then
    -- Lower-casing the text of a JSON value gives the text of a JSON value.
    return not case_sensitive and a_type = b_type
      and automation.fold(a_text)::jsonb = automation.fold(b_text)::jsonb;
  elsif a_type = 'boolean' or b_type = 'boolean' then
    return a_type <> 'number' and b_type <> 'number'
      and automation.fold(a_text) = automation.fold(b_text);
  else
    return coalesce(automation.number_of(a) = automation.number_of(b), false);
  end if;
end;
$$;

comment on function automation.values_equal(jsonb, jsonb, boolean, text) is
  'Whether two JSON values are the same to a reader. A missing value equals null only.';

create or replace function automation.is_blank(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case coalesce(jsonb_typeof(value), 'null')
    when 'null' then true
    when 'string' then btrim(value #>> '{}', E' \t\r\n') = ''
    when 'array' then value = '[]'
    when 'object' then value = '{}'
    else false
  end;

comment on function automation.is_blank(jsonb) is
  'Missing, null, text of nothing but spaces, an empty list or object. 0 and false are values.';

-- A length of time: {"days": 3, "hours": 12} or "3 days". Null when it is neither. Bounded to a
-- century, so that adding it to a date never leaves the calendar.
create or replace function automation.duration_in(value jsonb) returns interval
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  caps constant jsonb := '{"minutes": 52560000, "hours": 876000, "days": 36500, "weeks": 5200,
    "months": 1200, "years": 100}'::jsonb;
  written text[];
begin
  if jsonb_typeof(value) = 'string' then
    written := regexp_match(
      lower(value #>> '{}' collate "C"),
      '^ *([0-9]{1,8}) *(minutes?|mins?|m|hours?|h|days?|d|weeks?|w|months?|years?|y) *$');
    if written is null then
      return null;
    end if;
    value := jsonb_build_object(
      case
        when written[2] like 'mo%' then 'months' when written[2] like 'm%' then 'minutes'
        when written[2] like 'h%' then 'hours' when written[2] like 'd%' then 'days'
        when written[2] like 'w%' then 'weeks' else 'years'
      end,
      written[1]::int);
  end if;
  if jsonb_typeof(value) is distinct from 'object' or value = '{}' then
    return null;
  end if;
  if exists (
    select from jsonb_each(value) as part
    where not caps ? part.key
      or jsonb_typeof(part.value) <> 'number'
      or (part.value #>> '{}') !~ '^[0-9]{1,8}$'
  ) then
    return null;
  end if;
  if exists (
    select from jsonb_each_text(value) as part
    where part.value::int > (caps ->> part.key)::int
  ) then
    return null;
  end if;
  return make_interval(
    years => coalesce((value ->> 'years')::int, 0),
    months => coalesce((value ->> 'months')::int, 0),
    weeks => coalesce((value ->> 'weeks')::int, 0),
    days => coalesce((value ->> 'days')::int, 0),
    hours => coalesce((value ->> 'hours')::int, 0),
    mins => coalesce((value ->> 'minutes')::int, 0));
end;
$$;

comment on function automation.duration_in(jsonb) is
  'The interval that {"days": 3} or "3 days" stands for; null when it is no duration.';

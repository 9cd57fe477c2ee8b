-- Cron expressions: five fields, read into sets of minutes, hours and days; and the next moment a
-- schedule fires. The rules are those of croner (with fixedTimeRule "no-wildcard"), which a property
-- test holds this to; docs/time.md has them in words.

create type automation.cron as (
  minutes integer[],
  hours integer[],
  days integer[],
  months integer[],
  weekdays integer[],
  last_day boolean,
  any_day boolean,
  any_weekday boolean,
  fixed_time boolean,
  problems jsonb
);

comment on type automation.cron is
  'A cron expression, read. weekdays: for Sunday to Saturday, which of them in a month: bits 1 to 16 '
  'are the first to the fifth, 32 is the last, 63 is every one. fixed_time: no * and no step in the '
  'minute and the hour.';

-- MON -> 1 and JAN -> 1, where the name stands alone. Sunday ends a range as 7.
create or replace function automation.cron_names(field text, names text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  name text;
  number integer;
  plain text := regexp_replace(upper(field), '-SUN(?![A-KM-Z0-9])', '-7', 'g');
begin
  for name, number in
    select n.name, n.number from unnest(string_to_array(names, ' ')) with ordinality as n (name, number)
  loop
    plain := regexp_replace(
      plain, '(?<![A-Z0-9/#])' || name || '(?![A-KM-Z0-9])',
      (case when names like 'SUN%' then number - 1 else number end)::text, 'g');
  end loop;
  return plain;
end;
$$;

-- One part of a list: *, 5, 1-5, */15, 1-30/5; for weekdays also 5L, 5#2 and 1-5#L.
create or replace function automation.cron_part(
  part text, lowest integer, highest integer,
  out numbers integer[], out nth integer, out problem text, out hint text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_weekday constant boolean := highest = 7;
  read constant text[] := regexp_match(part,
    '^(?:([*])|([0-9]{1,4})(?:-([0-9]{1,4}))?)(?:/([0-9]{1,4}))?(?:#([1-5L])|(L))?$');
  from_number constant integer := coalesce(read[2]::integer, lowest);
  to_number constant integer := coalesce(
    read[3]::integer, read[2]::integer, case when is_weekday then 6 else highest end);
  step constant integer := coalesce(read[4]::integer, 1);
begin
  if read is null
    or coalesce(read[5], read[6]) is not null and not (is_weekday and read[1] is null) then
    problem := format('"%s" cannot be read', part);
    hint := 'A part is *, a number, a range such as 1-5, or a step such as */15 or 8-18/2'
      || case when is_weekday then '; or 5L (the last Friday) or 2#1 (the first Tuesday).' else '.' end;
  elsif read[4] is not null and read[1] is null and read[3] is null then
    problem := format('"%s" has a step without a range', part);
    hint := format('Write %s-%s/%s.', read[2], highest, read[4]);
  elsif from_number < lowest or to_number > highest then
    problem := format('"%s" is not from %s to %s', part, lowest, highest);
  elsif from_number > to_number then
    problem := format('"%s" runs backwards', part);
    hint := format('Write %s-%s,%s-%s.',
      from_number, case when is_weekday then 6 else highest end, lowest, to_number);
  elsif not step between 1 and (case when is_weekday then 7 else highest - lowest + 1 end) then
    problem := format('"%s" has a step that never comes up', part);
  end if;
  numbers := array(select g from generate_series(from_number, to_number, greatest(step, 1)) as g
    where problem is null);
  nth := case
    when read[6] is not null or read[5] = 'L' then 32
    when read[5] is not null then 1 << (read[5]::integer - 1)
    else 63
  end;
end;
$$;

create or replace function automation.cron_field(
  field text, name text, lowest integer, highest integer,
  out numbers integer[], out masks integer[], out problems jsonb)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part record;
begin
  numbers := '{}';
  masks := '{0,0,0,0,0,0,0}';
  problems := '[]';
  for part in
    select p.* from unnest(string_to_array(field, ',')) as f (written),
      automation.cron_part(f.written, lowest, highest) as p
  loop
    if part.problem is not null then
      problems := problems || automation.problem(
        '', 'invalid_cron', format('%s: %s', name, part.problem), part.hint);
    end if;
    numbers := numbers || part.numbers;
    masks := array(
      select m.mask | case when (m.place - 1)::integer = any (
        array(select n % 7 from unnest(part.numbers) as n)) then part.nth else 0 end
      from unnest(masks) with ordinality as m (mask, place) order by m.place);
  end loop;
  numbers := array(select distinct n from unnest(numbers) as n order by n);
end;
$$;

create or replace function automation.cron_fields(expression text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case lower(btrim(expression, E' \t\r\n'))
      when '@yearly' then '{0,0,1,1,*}'::text[]
      when '@annually' then '{0,0,1,1,*}'
      when '@monthly' then '{0,0,1,*,*}'
      when '@weekly' then '{0,0,*,*,0}'
      when '@daily' then '{0,0,*,*,*}'
      when '@midnight' then '{0,0,*,*,*}'
      when '@hourly' then '{0,*,*,*,*}'
      else regexp_split_to_array(
        replace(upper(btrim(expression, E' \t\r\n')), '?', '*'), '[ \t\r\n]+')
    end
  $$;

create or replace function automation.compile_cron(expression text, path text default 'cron')
  returns automation.cron
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  fields text[] := automation.cron_fields(left(expression, 400));
  minute record;
  hour record;
  day record;
  month record;
  weekday record;
  days_only text;
  compiled automation.cron;
begin
  if coalesce(cardinality(fields), 0) <> 5 then
    compiled.problems := jsonb_build_array(automation.problem(
      path, 'invalid_cron', format('"%s" has %s fields, not five', left(expression, 60),
        coalesce(cardinality(fields), 0)),
      'minute hour day-of-month month day-of-week, such as "0 9 * * MON"; or @daily.'));
    return compiled;
  end if;
  -- L, the last day of the month, is a part of its own.
  days_only := array_to_string(array_remove(string_to_array(fields[3], ','), 'L'), ',');
  select f.* into minute from automation.cron_field(fields[1], 'minute', 0, 59) as f;
  select f.* into hour from automation.cron_field(fields[2], 'hour', 0, 23) as f;
  select f.* into day from automation.cron_field(days_only, 'day of month', 1, 31) as f;
  select f.* into month from automation.cron_field(automation.cron_names(
    fields[4], 'JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC'), 'month', 1, 12) as f;
  select f.* into weekday from automation.cron_field(automation.cron_names(
    fields[5], 'SUN MON TUE WED THU FRI SAT'), 'day of week', 0, 7) as f;
  compiled := row(
    minute.numbers, hour.numbers, day.numbers, month.numbers, weekday.masks,
    fields[3] ~ '(^|,)L(,|$)', days_only = '*', fields[5] = '*',
    fields[1] || fields[2] !~ '[*/]',
    (select coalesce(jsonb_agg(p || jsonb_build_object('path', path)), '[]')
     from jsonb_array_elements(
       minute.problems || hour.problems || day.problems || month.problems || weekday.problems) as p)
    )::automation.cron;
  return compiled;
end;
$$;

comment on function automation.compile_cron(text, text) is
  'Reads a cron expression; problems lists what is wrong with it, each with a hint.';

-- The days of a month that an expression names. A day of the month and a day of the week that are
-- both given mean either, as in every cron since Vixie's.
create or replace function automation.cron_days(cron automation.cron, month date) returns integer[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select d.day
      from (
        select (month + interval '1 month')::date - month as days,
          extract(dow from month)::integer as first_weekday
      ) as m
      cross join lateral (
        select g as day,
          g = any (cron.days) or cron.last_day and g = m.days as by_day,
          cron.weekdays[(m.first_weekday + g - 1) % 7 + 1] as mask,
          1 << ((g - 1) / 7) | case when g + 7 > m.days then 32 else 0 end as which
        from generate_series(1, m.days) as g
      ) as d
      where case
        when cron.any_weekday then d.by_day
        when cron.any_day then d.mask & d.which <> 0
        else d.by_day or d.mask & d.which <> 0
      end
      order by d.day)
  $$;

-- The first minute of the wall clock after a given one. Fifty years cover every date there is (the
-- rarest, a fifth Monday in February, comes every forty years at the latest): beyond them, never.
create or replace function automation.next_wall(cron automation.cron, after timestamp)
  returns timestamp
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  start constant timestamp := date_trunc('minute', after) + interval '1 minute';
  month date := date_trunc('month', start);
  at_hour constant integer := extract(hour from start);
  at_minute constant integer := extract(minute from start);
  day integer := extract(day from start);
  hour integer;
  minute integer;
begin
  if day = any (automation.cron_days(cron, month))
    and extract(month from start) = any (cron.months) then
    minute := (select min(m) from unnest(cron.minutes) as m where m >= at_minute);
    hour := (select min(h) from unnest(cron.hours) as h
      where h > at_hour or h = at_hour and minute is not null);
    if hour is not null then
      return month + (day - 1) + make_interval(hours => hour,
        mins => case when hour = at_hour then minute else cron.minutes[1] end);
    end if;
  end if;
  for months in 1..601 loop
    if extract(month from month) = any (cron.months) then
      day := (select min(d) from unnest(automation.cron_days(cron, month)) as d where d > day);
      if day is not null then
        return month + (day - 1) + make_interval(hours => cron.hours[1], mins => cron.minutes[1]);
      end if;
    end if;
    month := month + interval '1 month';
    day := 0;
  end loop;
  return null;
end;
$$;

-- The instants a wall clock time stands for: one, two where the clock was put back, none where it
-- was put forward; then `gap_end` is the first instant after the gap.
create or replace function automation.wall_instants(
  wall timestamp, zone text, out earlier timestamptz, out later timestamptz, out gap_end timestamptz)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found constant timestamptz := wall at time zone zone;
  shown constant timestamp := found at time zone zone;
  reach constant interval := interval '3 hours';
  other timestamptz;
  low timestamptz;
begin
  if shown = wall then
    earlier := found;
    -- Had the clock not changed in these hours, the same time would be found at another instant.
    other := found - (((found - reach) at time zone zone) - (shown - reach));
    if other < found and other at time zone zone = wall then
      earlier := other;
      later := found;
      return;
    end if;
    other := found - (((found + reach) at time zone zone) - (shown + reach));
    if other > found and other at time zone zone = wall then
      later := other;
    end if;
    return;
  end if;
  -- Both sides of the change: the offset before it is still that of `low`.
  low := least(found, found - (shown - wall));
  gap_end := greatest(found, found - (shown - wall));
  while gap_end - low > interval '1 second' loop
    other := date_trunc('second', low + (gap_end - low) / 2);
    if (other at time zone zone) - (other at time zone 'UTC')
      = (low at time zone zone) - (low at time zone 'UTC') then
      low := other;
    else
      gap_end := other;
    end if;
  end loop;
end;
$$;

-- Walks the wall clock on from a moment. Where the clock is put back, a fixed time counts once, the
-- first time; an interval goes on through both hours. Where it is put forward, a fixed time fires
-- as soon as the gap has passed, on the same day, and an interval leaves the gap out.
create or replace function automation.walk_cron(
  cron automation.cron, zone text, start timestamp, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wall timestamp := automation.next_wall(cron, start);
  instants record;
begin
  while wall is not null loop
    select i.* into instants from automation.wall_instants(wall, zone) as i;
    if instants.earlier > after then
      return instants.earlier;
    elsif instants.later > after and not cron.fixed_time then
      return instants.later;
    elsif instants.gap_end > after and cron.fixed_time
      and (instants.gap_end at time zone zone)::date = wall::date then
      return instants.gap_end;
    end if;
    wall := automation.next_wall(cron,
      case when instants.gap_end is null or cron.fixed_time then wall
        else (instants.gap_end at time zone zone) - interval '1 minute' end);
  end loop;
  return null;
end;
$$;

-- In the first of two passes through an hour, the second is ahead although its wall clock is not.
create or replace function automation.second_pass(at timestamptz, zone text) returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  instants record;
  low timestamptz := date_trunc('second', at);
  high timestamptz;
  middle timestamptz;
begin
  select i.* into instants from automation.wall_instants(low at time zone zone, zone) as i;
  if instants.later is null or low >= instants.later then
    return null;
  end if;
  high := instants.later;
  while high - low > interval '1 second' loop
    middle := date_trunc('second', low + (high - low) / 2);
    if (middle at time zone zone) - (middle at time zone 'UTC')
      = (low at time zone zone) - (low at time zone 'UTC') then
      low := middle;
    else
      high := middle;
    end if;
  end loop;
  return high;
end;
$$;

create or replace function automation.next_cron(
  cron automation.cron, zone text, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ahead constant timestamptz :=
    automation.walk_cron(cron, zone, after at time zone zone, after);
  repeated timestamptz;
begin
  if not cron.fixed_time then
    repeated := automation.second_pass(after, zone);
    if repeated is not null then
      return least(ahead, automation.walk_cron(
        cron, zone, (repeated at time zone zone) - interval '1 minute', repeated - interval '1 second'));
    end if;
  end if;
  return ahead;
end;
$$;

create or replace function automation.next_fire(expression text, zone text, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  read constant automation.cron := automation.compile_cron(expression);
  known constant text := automation.known_zone(zone);
begin
  perform automation.raise_problems(read.problems, 'this schedule cannot be read');
  if known is null and zone is not null then
    raise exception 'zone: "%" is not a time zone', left(zone, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Use an IANA name such as America/Chicago.';
  end if;
  return automation.next_cron(read, known, after);
end;
$$;

comment on function automation.next_fire(text, text, timestamptz) is
  'The first moment after another at which a cron expression fires in a time zone; null when it '
  'never does, such as on 30 February.';

-- Years, months, weeks and days by the calendar of the zone, so that three days from ten o'clock is
-- ten o'clock; hours and minutes by the clock.
create or replace function automation.add_length(at timestamptz, length interval, zone text)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  calendar constant interval := make_interval(
    years => extract(year from length)::integer, months => extract(month from length)::integer,
    days => extract(day from length)::integer);
begin
  if calendar = interval '0' then
    return at + length;
  end if;
  return (((at at time zone zone) + calendar) at time zone zone) + (length - calendar);
end;
$$;

-- The first multiple of `every` from an anchor that lies after a moment. The first guess is never
-- too late, because no month is longer than 31 days and no day longer than 25 hours.
create or replace function automation.next_every(
  anchor timestamptz, every interval, zone text, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  longest constant numeric := (extract(year from every) * 12 + extract(month from every)) * 31 * 90000
    + extract(day from every) * 90000
    + extract(hour from every) * 3600 + extract(minute from every) * 60;
  times integer := greatest(1, floor(extract(epoch from after - anchor) / longest));
  fires timestamptz;
begin
  loop
    fires := automation.add_length(anchor, every * times, zone);
    exit when fires > after;
    times := times + 1;
  end loop;
  return fires;
end;
$$;

comment on function automation.next_every(timestamptz, interval, text, timestamptz) is
  'When something that happens every so often, counted from an anchor, happens next.';

-- "-24 hours" -> a negative interval. The older engines wrote {"days": 3}.
create or replace function automation.signed_duration(value jsonb) returns interval
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(value) = 'string' and value #>> '{}' ~ '^ *-'
        then - automation.duration_in(to_jsonb(regexp_replace(value #>> '{}', '^ *- *', '')))
      when jsonb_typeof(value) = 'string'
        then automation.duration_in(to_jsonb(regexp_replace(value #>> '{}', '^ *[+] *', '')))
      else automation.duration_in(value)
    end
  $$;

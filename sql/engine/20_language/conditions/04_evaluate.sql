-- Evaluating is a loop over the compiled tests; this is the part that runs once a record, and it says what a
-- condition means. Where a record is asked while somebody writes it, a path that is quicker goes first and
-- leaves to the loop what it is not sure of (06_quick).

-- What a test looks at. A bare field is looked up in the record that fired, then in the contact,
-- the project and the job; a key that is there with null counts as there. A longer path may also start
-- with the name of another attached record: work_order.total.
create or replace function automation.test_value(reference jsonb, context jsonb) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when reference ? 'p' then context #> (reference ->> 'p')::text[]
    else coalesce(
      context -> 'trigger' -> 'record' #> (reference ->> 'b')::text[],
      context -> 'contact' #> (reference ->> 'b')::text[],
      context -> 'project' #> (reference ->> 'b')::text[],
      context -> 'job' #> (reference ->> 'b')::text[],
      case when cardinality((reference ->> 'b')::text[]) > 1
        then context #> (reference ->> 'b')::text[] end)
  end;

-- The date a value of `before` or `after` stands for.
create or replace function automation.date_operand(value text, zone text, at timestamptz)
  returns text
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case lower(value collate "C")
    when 'now' then to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    when 'today' then to_char(at at time zone zone, 'YYYY-MM-DD')
    when 'yesterday' then to_char((at at time zone zone) - interval '1 day', 'YYYY-MM-DD')
    when 'tomorrow' then to_char((at at time zone zone) + interval '1 day', 'YYYY-MM-DD')
    else value
  end;

-- A moment a length of time from `at`: months and days by the calendar of the zone, so that three
-- days are three days over a change of clocks too; hours and minutes by the clock.
create or replace function automation.moment_from(
  at timestamptz, days text, seconds text, direction int, zone text
) returns timestamptz
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return (((at at time zone zone) + days::interval * direction) at time zone zone)
    + make_interval(secs => seconds::double precision * direction);

create or replace function automation.within_holds(
  value text, test jsonb, zone text, at timestamptz
) returns boolean
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_zone text := coalesce(automation.known_zone(zone), 'UTC');
  direction int := case test ->> 'k' when 'last' then -1 else 1 end;
  moment timestamptz := automation.moment_from(at, test ->> 'x', test ->> 's', direction, a_zone);
begin
  if length(value) = 10 then
    return automation.day_in(value, a_zone) between
      (least(at, moment) at time zone a_zone)::date
      and (greatest(at, moment) at time zone a_zone)::date;
  end if;
  return automation.instant_in(value, a_zone) between least(at, moment) and greatest(at, moment);
end;
$$;

create or replace function automation.text_holds(kind text, value text, test jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case kind
    when 'contains' then strpos(
      case when test ? 'c' then value else automation.fold(value) end, test ->> 'x') > 0
    when 'starts' then starts_with(
      case when test ? 'c' then value else automation.fold(value) end, test ->> 'x')
    when 'ends' then right(
      case when test ? 'c' then value else automation.fold(value) end, length(test ->> 'x'))
      = test ->> 'x'
    -- The text is cut, so that the time a pattern takes is bounded.
    when 'matches' then case
      when test ? 'c' then left(value, 2000) collate automation.case_rules ~ (test ->> 'x')
      else left(value, 2000) collate automation.case_rules ~* (test ->> 'x')
    end
  end;

create or replace function automation.order_holds(
  kind text, value jsonb, expected jsonb, case_sensitive boolean, zone text
) returns boolean
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return coalesce(case kind
    when 'above' then automation.compare_values(value, expected, case_sensitive, zone) > 0
    when 'not_below' then automation.compare_values(value, expected, case_sensitive, zone) >= 0
    when 'below' then automation.compare_values(value, expected, case_sensitive, zone) < 0
    when 'not_above' then automation.compare_values(value, expected, case_sensitive, zone) <= 0
    when 'between' then
      automation.compare_values(value, expected -> 0, case_sensitive, zone) >= 0
      and automation.compare_values(value, expected -> 1, case_sensitive, zone) <= 0
  end, false);

-- Conditions that take long are refused and not waited for.
create or replace function automation.refuse_after(until timestamptz) returns void
  language plpgsql volatile parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if clock_timestamp() > until then
    raise exception 'too_expensive: these conditions take more than % milliseconds',
      automation.at_most('conditions_ms')
      using errcode = 'program_limit_exceeded', hint = 'Ask fewer questions, of shorter texts and lists.';
  end if;
end;
$$;

-- What a condition looks at: the beginning of a long text and of a long list.
create or replace function automation.compared_part(value jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if pg_column_size(value) <= 4000 then
    return value;
  elsif jsonb_typeof(value) = 'string' and octet_length(value #>> '{}') > automation.at_most('compared') then
    return to_jsonb(left(value #>> '{}', automation.at_most('compared') / 4));
  elsif jsonb_typeof(value) = 'array' and jsonb_array_length(value) > automation.at_most('compared_list') then
    return jsonb_path_query_array(value, '$[0 to 999]');
  end if;
  return value;
end;
$$;

create or replace function automation.list_holds(
  kind text, value jsonb, expected jsonb, case_sensitive boolean, zone text
) returns boolean
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  values_there jsonb := case
    when kind <> 'in' and jsonb_typeof(value) = 'array' then value
    else jsonb_build_array(value)
  end;
  until constant timestamptz := clock_timestamp()
    + automation.at_most('conditions_ms') * interval '1 millisecond';
  item jsonb;
  found_item boolean;
begin
  -- A thousand by a thousand is too many to look at in somebody's write.
  for item in select e from jsonb_array_elements(expected) as e loop
    found_item := exists (
      select from jsonb_array_elements(values_there) as v
      where automation.values_equal(v, item, case_sensitive, zone));
    if found_item <> (kind = 'all') then
      return found_item;
    end if;
    perform automation.refuse_after(until);
  end loop;
  return kind = 'all';
end;
$$;

-- `before` and `after` compare dates only; a number or any other text is neither.
create or replace function automation.date_holds(
  kind text, value jsonb, expected jsonb, zone text, at timestamptz
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_zone constant text := coalesce(automation.known_zone(zone), 'UTC');
  operand constant text := automation.date_operand(expected #>> '{}', a_zone, at);
begin
  if jsonb_typeof(value) <> 'string' or jsonb_typeof(expected) is distinct from 'string'
    or not automation.is_date(value #>> '{}') or not automation.is_date(operand) then
    return false;
  end if;
  return automation.compare_dates(value #>> '{}', operand, a_zone)
    = case kind when 'before' then -1 else 1 end;
end;
$$;

-- What a field was before the write that fired, and what it is after it. A record that was just
-- created has no before, and neither has another record than the one that fired
-- (trigger.entity says which).
create or replace function automation.change_holds(
  kind text, value jsonb, test jsonb, context jsonb, zone text
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  fired jsonb := context -> 'trigger';
  field text[] := coalesce(test ->> 'q', test ->> 'b')::text[];
  has_old boolean := coalesce(jsonb_typeof(fired -> 'old') = 'object', false);
  old_value jsonb := coalesce(fired -> 'old' #> field, 'null');
  new_value jsonb := coalesce(
    case jsonb_typeof(fired -> 'record')
      when 'object' then fired -> 'record' #> field else value end,
    'null');
  case_sensitive boolean := test ? 'c';
  is_changed boolean;
begin
  if test ? 'w' and fired ? 'entity'
    and fired ->> 'entity' is distinct from test ->> 'w' then
    return false;
  end if;
  is_changed := case
    when has_old then old_value <> new_value
    else coalesce(fired -> 'changed' ? field[1], false)
  end;
  return case kind
    when 'changed' then is_changed
    when 'changed_to' then
      is_changed and automation.values_equal(new_value, test -> 'v', case_sensitive, zone)
    when 'changed_from' then has_old and is_changed
      and automation.values_equal(old_value, test -> 'v', case_sensitive, zone)
    else has_old and automation.values_equal(old_value, test -> 'v', case_sensitive, zone)
  end;
end;
$$;

create or replace function automation.means_true(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'boolean' then value::boolean
    when 'number' then value::numeric = 1
    when 'string' then lower(value #>> '{}' collate "C") in ('true', 'yes', 'y', 'on', '1')
    else false
  end;

create or replace function automation.means_false(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'boolean' then not value::boolean
    when 'number' then value::numeric = 0
    when 'string' then lower(value #>> '{}' collate "C") in ('false', 'no', 'n', 'off', '0')
    else false
  end;

-- What is no list has nothing in it, the text "a,b" neither.
create or replace function automation.legacy_lists(list jsonb, value jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from jsonb_array_elements(case jsonb_typeof(list) when 'array' then list else '[]' end) as e (item)
      where automation.javascript_equal(legacy_lists.value, e.item))
  $$;

-- The operators of the engines that this one replaces, exactly (docs/legacy.md): by JavaScript's rules, with case,
-- and null is 0 where numbers are compared. expected: null where the condition had no value.
create or replace function automation.legacy_holds(operator text, value jsonb, expected jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(case operator
      when 'equals' then automation.javascript_equal(value, expected)
      when 'not_equals' then not automation.javascript_equal(value, expected)
      when 'contains' then strpos(automation.javascript_text(value), automation.javascript_text(expected)) > 0
      when 'not_contains' then strpos(automation.javascript_text(value), automation.javascript_text(expected)) = 0
      when 'greater_than' then automation.javascript_number(value) > automation.javascript_number(expected)
      when 'less_than' then automation.javascript_number(value) < automation.javascript_number(expected)
      when 'greater_than_or_equal' then automation.javascript_number(value) >= automation.javascript_number(expected)
      when 'less_than_or_equal' then automation.javascript_number(value) <= automation.javascript_number(expected)
      when 'is_empty' then value is null or value in ('null', '""', '[]')
      when 'is_not_empty' then value not in ('null', '""', '[]')
      when 'in' then automation.legacy_lists(expected, value)
      when 'not_in' then not automation.legacy_lists(expected, value)
    end, false)
  $$;

-- One test, before its negation. Null is never 0 or '': a missing value satisfies only `empty`,
-- and `equals` null.
create or replace function automation.test_holds(
  test jsonb, context jsonb, zone text, at timestamptz
) returns boolean
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind constant text := test ->> 'k';
  value constant jsonb := automation.compared_part(automation.test_value(test, context));
  type text;
  expected jsonb;
begin
  if kind = 'text' then
    return coalesce(
      automation.fold(value #>> '{}') = test ->> 'x' and jsonb_typeof(value) = 'string', false);
  elsif kind = 'text_in' then
    return coalesce(
      test -> 'x' ? automation.fold(value #>> '{}') and jsonb_typeof(value) = 'string', false);
  elsif kind = 'legacy' then
    return automation.legacy_holds(test ->> 'o', value, test -> 'v');
  elsif kind = 'empty' then
    return automation.is_blank(value);
  elsif kind in ('changed', 'changed_from', 'changed_to', 'was') then
    return automation.change_holds(kind, value, test, context, zone);
  end if;
  type := coalesce(jsonb_typeof(value), 'null');
  expected := case
    when test ? 'r' then automation.compared_part(automation.test_value(test -> 'r', context))
    else test -> 'v' end;
  if kind = 'equals' then
    return automation.values_equal(value, expected, test ? 'c', zone);
  elsif type = 'null' then
    return false;
  end if;
  return coalesce(case
    when kind in ('above', 'not_below', 'below', 'not_above', 'between')
      then automation.order_holds(kind, value, expected, test ? 'c', zone)
    when kind = 'contains' and type = 'array'
      then automation.list_holds('any', value, jsonb_build_array(expected), test ? 'c', zone)
    when kind in ('contains', 'starts', 'ends', 'matches')
      then type in ('string', 'number') and automation.text_holds(kind, value #>> '{}', test)
    when kind = 'true' then automation.means_true(value)
    when kind = 'false' then automation.means_false(value)
    when kind in ('in', 'any', 'all')
      then automation.list_holds(kind, value, expected, test ? 'c', zone)
    when kind in ('before', 'after') then automation.date_holds(kind, value, expected, zone, at)
    when kind in ('last', 'next') then type = 'string' and automation.is_date(value #>> '{}')
      and automation.within_holds(value #>> '{}', test, zone, at)
  end, false);
end;
$$;

create or replace function automation.evaluate_conditions(
  compiled jsonb, context jsonb, zone text default 'UTC', at timestamptz default automation.now()
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  code constant jsonb := compiled -> 'code';
  until constant timestamptz := clock_timestamp()
    + automation.at_most('conditions_ms') * interval '1 millisecond';
  test jsonb;
  holds boolean;
  here int := coalesce((compiled ->> 'start')::int, -1);
begin
  while here >= 0 loop
    test := code -> here;
    if clock_timestamp() > until then
      perform automation.refuse_after(until);
    end if;
    -- By far the most common test is worth saving a call.
    if test ->> 'k' = 'text' and test ? 'p' then
      holds := coalesce(
        automation.fold(left(context #>> (test ->> 'p')::text[], 65536)) = test ->> 'x'
        and jsonb_typeof(context #> (test ->> 'p')::text[]) = 'string', false);
    else
      holds := automation.test_holds(test, context, zone, at);
    end if;
    here := case when holds then (test ->> 't')::int else (test ->> 'f')::int end;
  end loop;
  return here = -1;
end;
$$;

comment on function automation.evaluate_conditions(jsonb, jsonb, text, timestamptz) is
  'Whether compiled conditions hold for a context: {trigger, contact, project, job, user, tenant, '
  'custom, steps}. Null conditions always do. Raises nothing but 54000, when they take too long.';

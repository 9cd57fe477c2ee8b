-- Operators and values against the type of the column they are about. The table of
-- docs/conditions.md decides: what never holds there for a type is an error here, its negation
-- (which always holds) and what may hold for some texts are warnings.

create or replace function automation.operator_family(name text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when name in ('before', 'after', 'within_last', 'within_next') then 'time'
      when name in ('greater_than', 'greater_or_equal', 'less_than', 'less_or_equal', 'between')
        then 'order'
      when name in ('starts_with', 'ends_with', 'matches') then 'text'
      when name in ('contains', 'not_contains') then 'part'
      when name in ('is_true', 'is_false') then 'truth'
      when name in ('equals', 'not_equals', 'changed_from', 'changed_to', 'was') then 'same'
      when name in ('in', 'not_in') then 'in'
      when name in ('includes_any', 'includes_all') then 'includes'
    end
  $$;

-- Can operators of a family hold for a kind of value at all? never, doubtful, or null: they can.
create or replace function automation.family_fit(family text, kind text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when family = 'time' and kind in ('number', 'boolean', 'uuid', 'list') then 'never'
      when family = 'time' and kind in ('text', 'enum', 'json') then 'doubtful'
      when family = 'order' and kind in ('boolean', 'list') then 'never'
      when family in ('order', 'text') and kind = 'json' then 'doubtful'
      when family = 'text' and kind in ('boolean', 'list') then 'never'
      when family = 'part' and kind = 'boolean' then 'never'
      when family = 'truth' and kind in ('date', 'uuid', 'list') then 'never'
    end
  $$;

create or replace function automation.kind_hint(kind text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case kind
      when 'number' then 'For numbers: equals, greater_than, less_than, between, in.'
      when 'boolean' then 'For true or false: is_true, is_false, equals.'
      when 'date' then 'For dates: before, after, between, within_last, within_next.'
      when 'list' then 'For lists: contains, includes_any, includes_all, is_empty.'
      when 'uuid' then 'For ids: equals, in, is_empty.'
      when 'json' then 'Name a field inside it, such as contact.custom_fields.roof_type.'
      else 'For texts: equals, contains, starts_with, in. A text that holds a date is compared as one '
        'only when it is written like 2026-03-01.'
    end
  $$;

create or replace function automation.is_label(value text, record text, column_name text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from automation.entities as e
      join pg_catalog.pg_attribute as a
        on a.attrelid = to_regclass(e.relation) and a.attname = is_label.column_name
      join pg_catalog.pg_enum as l on l.enumtypid = a.atttypid
      where e.name = is_label.record and automation.fold(l.enumlabel) = automation.fold(value))
      or not exists (
        select from automation.entities as e
        join pg_catalog.pg_attribute as a
          on a.attrelid = to_regclass(e.relation) and a.attname = is_label.column_name
        join pg_catalog.pg_enum as l on l.enumtypid = a.atttypid
        where e.name = is_label.record)
  $$;

comment on function automation.is_label(text, text, text) is
  'Whether an enum column can have a value. A domain over an enum has any.';

-- Can a column of a kind ever equal a value, or be compared with it?
create or replace function automation.value_fits(
  value jsonb, kind text, record text, column_name text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(value) = 'null' or kind in ('json', 'other') then true
      when jsonb_typeof(value) in ('array', 'object') then kind = 'list'
      when kind = 'number' then automation.number_of(value) is not null
      when kind = 'boolean' then jsonb_typeof(value) = 'boolean'
        or jsonb_typeof(value) = 'string' and automation.fold(value #>> '{}') in ('true', 'false')
      when kind = 'date' then jsonb_typeof(value) = 'string' and automation.is_date(value #>> '{}')
      when kind = 'uuid'
        then jsonb_typeof(value) = 'string' and automation.as_uuid(value #>> '{}') is not null
      when kind = 'enum' then automation.is_label(value #>> '{}', record, column_name)
      else kind <> 'list'
    end
  $$;

-- Every condition that is asked: in condition documents, and in the blocks of templates.
create or replace function automation.asked_tests(documents jsonb, plan jsonb)
  returns table (test jsonb, at_operator text, at_value text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select t.test, (t.test ->> 'at') || '.operator', (t.test ->> 'at') || '.value'
    from jsonb_array_elements(documents) as d,
      jsonb_array_elements(d -> 'compiled' -> 'code') as t (test)
    union
    select t.test, a.at, a.at
    from jsonb_each(plan -> 'steps') as s,
      jsonb_array_elements(s.value -> 'config' -> 'slots') as slot,
      jsonb_path_query(slot.value, '$.s[*].if.test') as t (test),
      lateral (select automation.slot_path(automation.step_path(s.value),
        coalesce(s.value ->> 'as', s.value ->> 'type'), slot.value) as at) as a
  $$;

create or replace function automation.check_operators(documents jsonb, plan jsonb, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with asked as materialized (
      select t.test - '{at,t,f}'::text[] as test, t.at_operator, t.at_value
      from automation.asked_tests(documents, plan) as t
      -- Those compare whatever there is.
      where t.test ->> 'k' <> 'legacy'
    ), wrong as materialized (
      -- The same is asked in many places: what is wrong with it is found once.
      select d.test, p.of_operator, p.problem
      from (select distinct a.test from asked as a) as d
      cross join lateral automation.resolve_reference(d.test, scope) as r
      cross join lateral (
        select case when cardinality(r.keys) = 1 then scope -> 'columns' -> r.record ->> r.keys[1] end
          as kind
      ) as k
      cross join lateral (
        select o.problem is not null as of_operator, coalesce(
          o.problem, automation.operand_problem(d.test, k.kind, r.record, r.keys[1], '', scope)) as problem
        from automation.operator_problem(d.test, k.kind, '', scope) as o (problem)
      ) as p
      where k.kind is not null and p.problem is not null
    )
    select coalesce(jsonb_agg(p.problem order by p.problem ->> 'path', p.problem ->> 'message'), '[]')
    from (
      select distinct w.problem || jsonb_build_object(
        'path', case when w.of_operator then a.at_operator else a.at_value end) as problem
      from asked as a
      join wrong as w on w.test = a.test
    ) as p
  $$;

create or replace function automation.operator_problem(test jsonb, kind text, at text, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      at, 'operator_type_mismatch',
      format('%s is %s: %s %s holds', automation.reference_name(test), automation.kind_name(kind),
        test ->> 'o', case
          when f.fit = 'doubtful' then 'rarely' when test ? 'n' then 'always' else 'never' end),
      automation.kind_hint(kind),
      case when f.fit = 'doubtful' or test ? 'n' or (scope ->> 'lenient')::boolean
        then 'warning' else 'error' end)
    from automation.family_fit(automation.operator_family(test ->> 'o'), kind) as f (fit)
    where f.fit is not null
  $$;

-- The values an operator compares with, none of which, or with includes_all and between one of
-- which, can be the column's.
create or replace function automation.operand_problem(
  test jsonb, kind text, record text, column_name text, at text, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      at, 'operator_type_mismatch',
      case when test ? 'r'
        then format('%s is %s and %s is %s: they are never comparable',
          automation.reference_name(test), automation.kind_name(kind),
          automation.reference_name(test -> 'r'), automation.kind_name(o.other))
        else format('%s is %s: %s %s %s holds', automation.reference_name(test),
          automation.kind_name(kind), test ->> 'o', test -> 'v',
          case when test ? 'n' then 'always' else 'never' end)
      end,
      case when o.family in ('same', 'in') and kind = 'list' then automation.kind_hint(kind)
        when test ? 'r' then 'Compare fields of one type.'
        when kind = 'enum' then 'Write one of the values that the column can have.'
        when o.family = 'same' and jsonb_typeof(test -> 'v') in ('array', 'object')
          then 'Write a single value, or use in.'
        else format('Write %s.', case kind
          when 'number' then 'a number, such as 5'
          when 'date' then 'a date, such as "2026-03-01"'
          when 'boolean' then 'true or false' else 'an id' end)
      end,
      case when test ? 'n' or (scope ->> 'lenient')::boolean then 'warning' else 'error' end)
    from (
      select automation.operator_family(test ->> 'o') as family,
        automation.reference_kind(test -> 'r', scope) as other
    ) as o
    where case
      when test ? 'r' then
        o.other <> kind and kind in ('number', 'boolean', 'date', 'uuid', 'list')
          and o.other in ('number', 'boolean', 'date', 'uuid', 'list')
        or o.family = 'time' and o.other in ('number', 'boolean', 'uuid', 'list')
      when o.family in ('same', 'order') and test ->> 'o' <> 'between' and kind <> 'uuid'
        or o.family = 'same'
        then not automation.value_fits(test -> 'v', kind, record, column_name)
      when o.family = 'in' and kind = 'list' then true
      when o.family in ('in', 'includes') or test ->> 'o' = 'between' then (
        select case
          when test ->> 'o' in ('includes_all', 'between') then bool_or(not f.fits)
          else bool_and(not f.fits) end
        from (
          select kind = 'list' or automation.value_fits(v, kind, record, column_name) as fits
          from jsonb_array_elements(test -> 'v') as v
        ) as f)
    end
  $$;

-- A variable that is a whole setting has the type of its column, and the setting may want another.
create or replace function automation.check_typed_values(plan jsonb, scope jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem || jsonb_build_object('path', w.at) order by w.at), '[]')
    from jsonb_each(plan -> 'steps') as s
    join automation.step_types as t on t.name = s.value ->> 'type'
    cross join lateral jsonb_array_elements(s.value -> 'config' -> 'slots') as slot
    cross join lateral automation.schema_at(t.config_schema, (slot ->> 'at')::text[]) as a
    cross join lateral automation.resolve_reference(slot -> 'w', scope) as r
    cross join lateral automation.typed_value_problem(
      a.wanted, scope -> 'columns' -> r.record ->> r.keys[1], automation.reference_name(slot -> 'w'), '')
      as p (problem)
    cross join lateral (
      select automation.slot_path(automation.step_path(s.value),
        coalesce(s.value ->> 'as', s.value ->> 'type'), slot) as at) as w
    where slot ? 'w' and slot -> 'w' ?| '{p,b}' and not slot -> 'w' ?| '{f,loop}'
      and cardinality(r.keys) = 1 and p.problem is not null
  $$;

create or replace function automation.typed_value_problem(wanted jsonb, kind text, name text, at text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when wanted ->> 'format' in ('amount', 'moment', 'id') then case
        when not kind = any (case wanted ->> 'format' when 'amount' then '{number,text,enum,other}'::text[]
            when 'moment' then '{date,text,other}'
            -- A member's, which may be a number.
            else '{uuid,text,other}' || case when automation.is_member_key('1') then '{number}' else '{}' end::text[]
          end)
          then automation.problem(at, 'value_type_mismatch', format('%s is %s, and %s is needed', name,
            automation.kind_name(kind), (automation.format_words(wanted ->> 'format')).words),
            (automation.format_words(wanted ->> 'format')).hint, 'warning')
        end
      when not automation.as_list(wanted -> 'type') ? 'string' then null
      when kind = 'list' and not automation.as_list(wanted -> 'type') ? 'array' then automation.problem(
        at, 'value_type_mismatch', format('%s is a list, and a text is needed: it will read a, b, c', name),
        'Take one of them with "| first", join them with "| join: ...", or go through them with {{#each}}.',
        'warning')
      when kind = 'json' then automation.problem(
        at, 'value_type_mismatch', format('%s is JSON, and a text is needed: an object fails the step', name),
        format('Name what is in it, such as %s.roof_type.', name), 'warning')
    end
  $$;

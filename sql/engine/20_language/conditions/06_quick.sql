-- Conditions as one SQL/JSON path, for capture: it asks them in somebody's write, of a record that was just
-- turned into JSON. A path takes a tenth of what the loop takes in a transaction that has evaluated nothing yet.
--
-- The loop says what a condition means. A path answers true or false where it is sure to say the same, and
-- nothing (null) where it is not: a number against a text that looks like one, a key that is missing, dates,
-- patterns, changes, fields of other records. Null joins by the rules of AND, OR and NOT for an unknown, so that one
-- false condition settles a document whatever the others are. For null the loop is asked.
--
-- Text is compared without case by lowering the whole record once: the path of such conditions is asked of
-- automation.folded(record), and its own texts are lowered as well.

-- Null: lowering the whole is not lowering each of its texts. A key that is not in lower case already would become
-- another, and a final sigma is lowered by what stands around it, which in JSON is not what stands around it in
-- the text.
create or replace function automation.folded(data jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant text := data::text;
begin
  return case
    -- Plain letters are the same by all rules, and by these in a tenth of the time.
    when written !~ '[^ -~]|[A-Z][^"]*": ' then lower(written collate "C")::jsonb
    when strpos(written, 'Σ') = 0 and written !~ '[^ -@[-~][^"]*": ' then automation.fold(written)::jsonb end;
end;
$$;

comment on function automation.folded(jsonb) is
  'A record with its texts in lower case; null where it has keys that are not, or a Σ.';

create or replace function automation.quick_unknown() returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '(1 == "a")' $$;

-- $."contact"."stage", from the data of an enrolment; null: what is asked of is not in there.
create or replace function automation.quick_reference(test jsonb, entity text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  keys text[] := coalesce(test ->> 'p', test ->> 'b')::text[];
begin
  if test ? 'b' then
    keys := entity || keys;
  elsif keys[1] = 'trigger' then
    keys := case keys[2] when 'record' then entity || keys[3:] else keys[2:] end;
  elsif keys[1] in ('user', 'tenant', 'custom', 'steps') then
    return null;
  end if;
  -- Tags are not always in the record, and a whole record is nothing to compare.
  if cardinality(keys) < 2 or keys[2] = 'tags' then
    return null;
  end if;
  return (
    select '$' || string_agg('.' || to_jsonb(k.key)::text, '' order by k.place)
    from unnest(keys) with ordinality as k (key, place));
end;
$$;

-- Equal to a value as values_equal() has it; null: not sure.
create or replace function automation.quick_equals(
  reference text, value jsonb, case_sensitive boolean, folds boolean)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(value) in ('number', 'boolean', 'null') then format('(%s == %s)', reference, value)
      when jsonb_typeof(value) <> 'string' or automation.is_date(value #>> '{}') or case_sensitive = folds
        then null
      when folds then format('(%s == %s)', reference, to_jsonb(automation.fold(value #>> '{}')))
      else format('(%s == %s)', reference, value)
    end
  $$;

create or replace function automation.quick_test(test jsonb, entity text, folds boolean) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind constant text := test ->> 'k';
  p constant text := automation.quick_reference(test, entity);
  case_sensitive constant boolean := test ? 'c';
  written constant text := to_jsonb(test ->> 'x')::text;
  numbers constant numeric[] := array(
    select automation.number_of(v) from jsonb_array_elements(automation.as_list(test -> 'v')) as v);
begin
  if p is null or test ? 'r' then
    return null;
  end if;
  return case
    when kind = 'equals' then automation.quick_equals(p, test -> 'v', case_sensitive, folds)
    when kind = 'text' then automation.quick_equals(p, test -> 'v', false, folds)
    when kind in ('in', 'text_in') then (
      select '(' || string_agg(coalesce(
        automation.quick_equals(p, v, case_sensitive, folds), automation.quick_unknown()), ' || ') || ')'
      from jsonb_array_elements(test -> 'v') as v)
    when kind in ('contains', 'starts') and case_sensitive = folds then null
    when kind = 'contains' then format('(%1$s != null && %1$s like_regex %2$s flag "q")', p, written)
    when kind = 'starts' then format('(%1$s != null && %1$s starts with %2$s)', p, written)
    when kind = 'empty' then format(
      '(%1$s == null || (%1$s.type() == "string" && %1$s like_regex "^[ \\t\\r\\n]*$") '
      '|| (%1$s.type() == "array" && %1$s.size() == 0) || (%1$s.type() == "object" && %2$s))',
      p, automation.quick_unknown())
    when kind in ('true', 'false') then format('(%s == %s)', p, kind)
    when array_position(numbers, null) is not null then null
    when kind = 'above' then format('(%s > %s)', p, numbers[1])
    when kind = 'not_below' then format('(%s >= %s)', p, numbers[1])
    when kind = 'below' then format('(%s < %s)', p, numbers[1])
    when kind = 'not_above' then format('(%s <= %s)', p, numbers[1])
    when kind = 'between' then format('(%1$s >= %2$s && %1$s <= %3$s)', p, numbers[1], numbers[2])
  end;
end;
$$;

create or replace function automation.quick_tree(tree jsonb, tests text[]) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if jsonb_typeof(tree) = 'boolean' then
    return case when tree::boolean then '(1 == 1)' else '(1 == 2)' end;
  elsif tree ? 'test' then
    return tests[(tree ->> 'test')::integer + 1];
  elsif tree ? 'not' then
    return '(!' || automation.quick_tree(tree -> 'not', tests) || ')';
  end if;
  return (
    select '(' || string_agg(automation.quick_tree(m.member, tests),
      case when tree ? 'all' then ' && ' else ' || ' end order by m.place) || ')'
    from jsonb_array_elements(coalesce(tree -> 'all', tree -> 'any')) with ordinality as m (member, place));
end;
$$;

-- So many conditions, and values of their lists, at most: they are read anew for each write.
create or replace function automation.quick_conditions(
  compiled jsonb, entity text, out path jsonpath, out folds boolean)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  code constant jsonb := compiled -> 'code';
  tests text[];
begin
  if jsonb_array_length(code) > 60 or octet_length(code::text) > 20000 then
    return;
  end if;
  folds := exists (
    select from jsonb_array_elements(code) as c (test)
    where not c.test ? 'c' and (c.test ->> 'k' in ('text', 'text_in', 'contains', 'starts')
      or c.test ->> 'k' in ('equals', 'in') and exists (
        select from jsonb_array_elements(automation.as_list(c.test -> 'v')) as v
        where jsonb_typeof(v) = 'string')));
  tests := array(
    select automation.quick_test(c.test, entity, folds)
    from jsonb_array_elements(code) with ordinality as c (test, place) order by c.place);
  -- Where it would mostly not be sure, it is not asked.
  if cardinality(array_positions(tests, null)) * 2 > cardinality(tests) then
    return;
  end if;
  tests := array(
    select case when c.test ? 'n' then format('(!%s)', t.quick) else t.quick end
    from jsonb_array_elements(code) with ordinality as c (test, place)
    cross join lateral (select coalesce(tests[c.place], automation.quick_unknown()) as quick) as t
    order by c.place);
  path := ('strict ' || automation.quick_tree(compiled -> 'tree', tests))::jsonpath;
end;
$$;

comment on function automation.quick_conditions(jsonb, text) is
  'Compiled conditions as a path over the data of an enrolment of an entity; null: ask the loop alone. folds: over '
  'automation.folded(data). What the path says, true or false, is what automation.evaluate_conditions() says.';

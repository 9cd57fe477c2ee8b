-- Would a table take a row? Judged from its catalog, with nothing written: the types of its columns with their
-- lengths, labels and domains, not null, CHECKs and foreign keys. What a trigger of the table's own would do,
-- and what is unique, only the write itself can tell.

create or replace function automation.misfit_of(relation regclass, column_name text, value jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.in_host_path(
    format('select pg_catalog.to_jsonb((pg_catalog.jsonb_populate_record(null::%s, $3)).%I)', relation, column_name),
    null, null, jsonb_build_object(column_name, value));
  return null;
exception when data_exception or integrity_constraint_violation then
  return sqlerrm;
end;
$$;

comment on function automation.misfit_of(regclass, text, jsonb) is
  'Why a column cannot hold a value, by its type: in the words of the database; null: it can.';

-- Of a constraint that is told by an expression over some columns: does the row hold it?
create or replace function automation.holds_check(relation regclass, expression text, record jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.in_host_path(
    format('select pg_catalog.to_jsonb((%s) is not false) from pg_catalog.jsonb_populate_record(null::%s, $3)',
      expression, relation),
    null, null, record)::boolean;
exception when others then
  -- An expression that cannot be asked of a part of a row says nothing about it.
  return true;
end;
$$;

create or replace function automation.holds_reference(bound pg_constraint, record jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  there boolean;
begin
  execute (
    select format('select exists (select from %s as there, jsonb_populate_record(null::%s, $1) as here where %s)',
      bound.confrelid::regclass, bound.conrelid::regclass, string_agg(
        format('there.%I operator(%I.%s) here.%I', f.attname, n.nspname, o.oprname, h.attname), ' and '))
    from unnest(bound.conkey, bound.confkey, bound.conpfeqop) as k (own, other, operator)
    join pg_catalog.pg_attribute as h on h.attrelid = bound.conrelid and h.attnum = k.own
    join pg_catalog.pg_attribute as f on f.attrelid = bound.confrelid and f.attnum = k.other
    join pg_catalog.pg_operator as o on o.oid = k.operator
    join pg_catalog.pg_namespace as n on n.oid = o.oprnamespace)
    into there using record;
  return there;
exception when insufficient_privilege then
  return true;
end;
$$;

-- record: the row as it would be, under the table's own names. written: the columns that are set. A constraint is
-- asked when it is about one of them, and all that it is about is in the record.
create or replace function automation.judge_row(relation regclass, record jsonb, written text[]) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known constant text[] := array(select jsonb_object_keys(record));
  bound record;
  said text;
begin
  for bound in
    select a.attname as name, a.attnotnull as needed from pg_catalog.pg_attribute as a
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and a.attname = any (written)
    order by a.attnum
  loop
    if bound.needed and coalesce(record -> bound.name, 'null') = 'null' then
      return format('%s: it must have a value', bound.name);
    end if;
    said := automation.misfit_of(relation, bound.name, record -> bound.name);
    if said is not null then
      return format('%s: %s', bound.name, said);
    end if;
  end loop;
  for bound in
    select c as constr, c.conname as name, c.contype as kind, pg_catalog.pg_get_expr(c.conbin, c.conrelid) as told,
      k.columns
    from pg_catalog.pg_constraint as c
    cross join lateral (
      select array_agg(a.attname::text order by u.place) as columns
      from unnest(c.conkey) with ordinality as u (number, place)
      join pg_catalog.pg_attribute as a on a.attrelid = c.conrelid and a.attnum = u.number
    ) as k
    -- Postgres 18 knows constraints that nobody enforces.
    where c.conrelid = relation and c.contype in ('c', 'f') and to_jsonb(c) ->> 'conenforced' is distinct from 'false'
      and k.columns && written and k.columns <@ known
    order by c.contype, c.conname
  loop
    if bound.kind = 'c' and not automation.holds_check(
      relation, bound.told, (select jsonb_object_agg(n, record -> n) from unnest(bound.columns) as n)) then
      return format('%s: "%s" is refused by the check %s', bound.columns[1],
        left(record ->> bound.columns[1], 60), bound.name);
    elsif bound.kind = 'f' and not exists (
        select from unnest(bound.columns) as n where coalesce(record -> n, 'null') = 'null')
      and not automation.holds_reference(bound.constr,
        (select jsonb_object_agg(n, record -> n) from unnest(bound.columns) as n)) then
      return format('%s: there is no %s "%s" (%s)', bound.columns[cardinality(bound.columns)],
        (bound.constr).confrelid::regclass, left(record ->> bound.columns[cardinality(bound.columns)], 60), bound.name);
    end if;
  end loop;
  return null;
end;
$$;

comment on function automation.judge_row(regclass, jsonb, text[]) is
  'Why a table would refuse a row with these columns written: "column: reason"; null: nothing that its catalog tells.';

-- A new row of a target as its columns would get it, in the types that they have; what the table sets by itself is
-- left out.
create or replace function automation.target_row(target text, given jsonb, zone text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.in_host_path((
    select format('select pg_catalog.jsonb_build_object(%s) from (select $3 as given) as g', string_agg(w.pair, ', '))
    from automation.targets as t
    cross join lateral (
      select format('%L, %s', c.value, automation.target_value(
        c.key, automation.column_type(to_regclass(t.relation), c.value), t.words, t.times_zone)) as pair
      from jsonb_each_text(t.columns) as c
      union all
      select format('%L, %L::%s', d.key, d.value, automation.column_type(to_regclass(t.relation), d.key))
      from jsonb_each_text(t.defaults) as d
      union all
      select format('%L, %s', f.name, f.value) from automation.filled_of_target(t) as f
    ) as w
    where t.name = target), null, null, given || jsonb_build_object('zone', zone));
end;
$$;

-- Why a target would refuse a new row; null: nothing that is known. A column that nobody sets may be set by a
-- trigger.
create or replace function automation.judge_target(target text, given jsonb, zone text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  relation constant regclass := (select to_regclass(t.relation) from automation.targets as t where t.name = target);
  record constant jsonb := automation.target_row(target, given, zone);
  unset constant text[] := array(
    select a.attname from pg_catalog.pg_attribute as a
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped and not a.atthasdef and a.attidentity = ''
      and a.attgenerated = '' and not exists (
        select from pg_catalog.pg_trigger as g
        where g.tgrelid = relation and not g.tgisinternal and g.tgenabled <> 'D' and g.tgtype & 7 = 7));
begin
  return automation.judge_row(
    relation,
    (select coalesce(jsonb_object_agg(n, null), '{}') from unnest(unset) as n) || jsonb_strip_nulls(record),
    unset || array(select jsonb_object_keys(jsonb_strip_nulls(record))));
end;
$$;

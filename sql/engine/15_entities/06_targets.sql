-- Where steps write what is no field of an attached record: tasks, projects, and the timeline on which the CRM
-- shows what was said. automation.attach_target() says which table, what its columns and words are.

create table automation.targets (
  name text not null constraint targets_pkey primary key
    constraint targets_name_known check (name in ('task', 'project', 'timeline')),
  relation text not null,
  columns jsonb not null,
  words jsonb not null,
  defaults jsonb not null,
  id_column text not null,
  times_zone text
);

comment on table automation.targets is 'Tables that steps insert into: {field: column}, {field: {our word: its word}}.';

-- What the engine can tell, and the columns it looks for where nobody says otherwise.
create or replace function automation.target_names(target text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '{
      "task": {"tenant": ["tenant_id"], "contact": ["contact_id"], "project": ["project_id"], "job": ["job_id"],
        "title": ["title"], "description": ["description"], "status": ["status"], "priority": ["priority"],
        "due": ["due_at", "due_date"], "assigned_to": ["assigned_to"], "execution": ["execution_id"]},
      "project": {"tenant": ["tenant_id"], "contact": ["contact_id"], "name": ["name"], "type": ["type"],
        "status": ["status"], "stage": ["pipeline_stage", "stage"], "value": ["value", "estimated_value"],
        "description": ["description"]},
      "timeline": {"tenant": ["tenant_id"], "contact": ["contact_id"], "type": ["type"], "direction": ["direction"],
        "subject": ["subject"], "content": ["content"], "from": ["from_address"], "to": ["to_address"],
        "outcome": ["outcome"], "external": ["external_id"], "execution": ["execution_id"], "at": ["created_at"]}
    }'::jsonb -> target
  $$;

create or replace function automation.target_columns(target text, relation regclass, columns jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(f.key, f.path) filter (where f.path is not null), '{}')
    from (
      select n.key, case when columns ? n.key then columns ->> n.key else (
        select automation.named_column(relation, variadic array(select jsonb_array_elements_text(n.value)))) end as path
      from jsonb_each(automation.target_names(target)) as n
    ) as f
  $$;

-- What nobody said is what the table itself says for a row that says nothing.
create or replace function automation.or_default(relation regclass, column_name text, value text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((
      select format('coalesce(%s, %s)', value, pg_catalog.pg_get_expr(d.adbin, d.adrelid))
      from pg_catalog.pg_attribute as a
      join pg_catalog.pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
      where a.attrelid = relation and a.attname = column_name and a.attgenerated = ''), value)
  $$;

-- A value as its column takes it. A time is one of the tenant's days where the column is a date.
create or replace function automation.target_value(field text, type text, words jsonb, times_zone text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when type = 'date' or type like 'timestamp%without time zone'
        then format('((given operator(pg_catalog.->>) %L)::timestamptz at time zone %s)::%s', field,
          case when type = 'date' then '(given operator(pg_catalog.->>) ''zone'')'
            else coalesce(quote_literal(times_zone), '(given operator(pg_catalog.->>) ''zone'')') end, type)
      when field = 'tenant' then automation.tenant_value('given operator(pg_catalog.->>) ''tenant''', type)
      when words ? field then format(
        'coalesce(%L::jsonb operator(pg_catalog.->>) (given operator(pg_catalog.->>) %L), '
        'given operator(pg_catalog.->>) %2$L)::%s',
        words -> field, field, type)
      else format('(given operator(pg_catalog.->>) %L)::%s', field, type) end
  $$;

create or replace function automation.target_function(target automation.targets) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.write_%1$s(given jsonb, zone text) returns text
  language plpgsql
  set search_path = %6$s
  as $writer$
declare
  made text;
begin
  given := given operator(pg_catalog.||) pg_catalog.jsonb_build_object('zone', zone);
  insert into %2$s as written (%3$s)
  values (%4$s)
  returning written.%5$I::text into made;
  return made;
end;
$writer$;

create or replace function automation.write_%1$ss(rows jsonb[]) returns text[]
  language plpgsql
  set search_path = %6$s
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $writer$
declare
  made text[];
begin
  with written as (
    insert into %2$s as written (%3$s)
    select %4$s
    from pg_catalog.unnest(rows) as u (row)
    -- One at a time, each written before the next: the row's own cause is set while its triggers run.
    cross join lateral (
      select u.row operator(pg_catalog.-) 'cause'::text as given,
        pg_catalog.set_config('automation.depth', u.row operator(pg_catalog.#>>) '{cause,depth}', true),
        pg_catalog.set_config('automation.root', u.row operator(pg_catalog.#>>) '{cause,root}', true),
        pg_catalog.set_config('automation.fused', u.row operator(pg_catalog.#>>) '{cause,fused}', true)) as g
    returning written.%5$I::text as id
  )
  select pg_catalog.array_agg(w.id) into made from written as w;
  return made;
end;
$writer$
$template$,
      target.name, target.relation, string_agg(quote_ident(w.name), ', ' order by w.name),
      string_agg(w.value, ', ' order by w.name), target.id_column, automation.host_path())
    from (
      select c.value as name, case
          when d.value is null then automation.or_default(target.relation::regclass, c.value, v.said)
          else format('coalesce(%s, %L::%s)', v.said, d.value, k.type) end as value
      from jsonb_each_text(target.columns) as c
      cross join lateral automation.column_type(target.relation::regclass, c.value) as k (type)
      cross join lateral automation.target_value(c.key, k.type, target.words, target.times_zone) as v (said)
      left join jsonb_each_text(target.defaults) as d on d.key = c.value
      union all
      select d.key, format('%L::%s', d.value, automation.column_type(target.relation::regclass, d.key))
      from jsonb_each_text(target.defaults) as d
      where d.key not in (select c.value from jsonb_each_text(target.columns) as c)
      union all
      select f.name, f.value from automation.filled_of_target(target) as f
    ) as w
  $$;

-- What a step may say of a task that the office misses, and the keys that say it; in which order it is told of.
create or replace function automation.told_of_task() returns table (field text, keys text[], place integer)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select f.field, f.keys::text[], f.place
    from (values ('due', '{due_at,due_in_days,due_in_hours,due_in_minutes}', 1), ('assigned_to', '{assigned_to}', 2),
      ('description', '{description}', 3)) as f (field, keys, place)
  $$;

-- A column of a target that must hold something, and holds nothing unless a step says it, or a trigger of the table's.
create or replace function automation.must_be_said(target automation.targets, field text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from pg_catalog.pg_attribute as a
      where a.attrelid = to_regclass(target.relation) and a.attname = target.columns ->> field and not a.attisdropped
        and a.attnotnull and not a.atthasdef and a.attidentity = '' and target.defaults ->> a.attname is null
        and not exists (
          select from automation.filled_of_target(target) as f where f.name = a.attname)
        and not exists (
          select from pg_catalog.pg_trigger as g
          where g.tgrelid = a.attrelid and not g.tgisinternal and g.tgenabled <> 'D' and g.tgtype & 7 = 7))
  $$;

create or replace function automation.filled_of_target(target automation.targets)
  returns table (name text, value text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select f.name, f.value
    from automation.filled_columns(to_regclass(target.relation), target.id_column,
      array(select c.value from jsonb_each_text(target.columns) as c
        union all select jsonb_object_keys(target.defaults)),
      coalesce(quote_literal(target.times_zone), '(given operator(pg_catalog.->>) ''zone'')')) as f
  $$;

comment on function automation.target_function(automation.targets) is
  'automation.write_<target>() writes one row, automation.write_<target>s() several, each with its zone and its cause '
  'as keys; it returns their ids in the order given, and fewer where a trigger of the table left one out.';

-- What a trigger that runs after the insert writes would all have the cause of the last row: those are written one at
-- a time.
create or replace function automation.takes_sets(target text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return not exists (
    select from automation.targets as t
    join pg_catalog.pg_trigger as g on g.tgrelid = to_regclass(t.relation)
    where t.name = target and not g.tgisinternal and g.tgenabled <> 'D' and g.tgtype & 2 = 0 and g.tgtype & 4 <> 0);
end;
$$;

create or replace function automation.check_target(target text, step_type text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (select from automation.targets as t where t.name = target) then
    raise exception 'step_type: % has nowhere to write: no table of %s is attached', step_type, target
      using errcode = 'feature_not_supported',
        hint = format('automation.attach_target(''%s'', ''<table>'') says where they are.', target);
  end if;
end;
$$;

-- What a new row of a target will hold, under its own names and words; a field without a column is left out.
create or replace function automation.target_fields(target text, fields jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(t.columns ->> f.key, coalesce((
        select jsonb_agg(coalesce(t.words #> array[f.key, v #>> '{}'], v)) from jsonb_array_elements(f.value) as v),
      '[]')), '{}')
    from automation.targets as t
    cross join lateral jsonb_each(fields) as f
    where t.name = target_fields.target and t.columns ? f.key
  $$;

create or replace function automation.has_target_row(target text, tenant_id uuid, id text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found boolean;
begin
  execute (
    select format('select exists (select from %s as t where t.%I::text = $1%s)', t.relation, t.id_column,
      coalesce(' and ' || automation.tenant_expression('t', t.columns ->> 'tenant', null,
        automation.column_type(to_regclass(t.relation), t.columns ->> 'tenant')) || ' = $2', ''))
    from automation.targets as t where t.name = target)
    into found using id, tenant_id;
  return found;
end;
$$;

-- Fields and variables against the live schema. What a record may hold inside a JSON column, what a
-- form or a program sends as custom.* and trigger.*, is nobody's to know.

create type automation.read_reference as (
  reference jsonb,
  at text,
  step text
);

comment on type automation.read_reference is
  'A field that is read: the compiled reference, with the path of its keys in p, or in b for a bare name; '
  'where; and by which step (null: by the workflow itself).';

-- Where the configuration of a step of a type has a slot.
create or replace function automation.slot_path(step_path text, step_type text, slot jsonb) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return step_path || '.step_config'
    || coalesce('.' || nullif(automation.step_place(
      step_type, array_to_string((slot ->> 'at')::text[], '.')), ''), '');
end;
$$;

create or replace function automation.read_references(documents jsonb, plan jsonb)
  returns setof automation.read_reference
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select distinct jsonb_strip_nulls(jsonb_build_object(
        'p', f.found -> 'p', 'b', f.found -> 'b', 'name', f.found -> 'name', 'field', f.found -> 'field')),
      f.at, f.step
    from (
      select t.test as found, (t.test ->> 'at') || '.field' as at, d ->> 'step' as step
      from jsonb_array_elements(documents) as d, jsonb_array_elements(d -> 'compiled' -> 'code') as t (test)
      union all
      select t.test -> 'r', (t.test ->> 'at') || '.value.field', d ->> 'step'
      from jsonb_array_elements(documents) as d, jsonb_array_elements(d -> 'compiled' -> 'code') as t (test)
      where t.test ? 'r'
      union all
      select r.reference, slot.at, slot.step
      from (
        select s.key as step, automation.slot_path(automation.step_path(s.value),
            coalesce(s.value ->> 'as', s.value ->> 'type'), f.value) as at, f.value as tokens
        from jsonb_each(plan -> 'steps') as s,
          jsonb_array_elements((s.value #> '{config,slots}') || coalesce(s.value #> '{member,slots}', '[]')) as f
        offset 0
      ) as slot
      cross join lateral jsonb_path_query(
        jsonb_build_array(slot.tokens -> 'w', slot.tokens -> 's'),
        'strict $.** ? (exists (@.p) || exists (@.b))') as r (reference)
      -- What an #each calls its items is no field.
      where not r.reference ? 'loop'
    ) as f
  $$;

create or replace function automation.reference_name(reference jsonb) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(reference ->> 'name', reference ->> 'field',
    array_to_string(coalesce(reference ->> 'p', reference ->> 'b')::text[], '.'));
end;
$$;

-- Whose value a reference is: the record, and the keys in it. record null: nobody's that is known
-- here; a bare name that no record has keeps its keys.
create or replace function automation.resolve_reference(
  reference jsonb, scope jsonb, out record text, out keys text[])
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  path constant text[] := coalesce(reference ->> 'p', reference ->> 'b')::text[];
begin
  if reference ? 'b' then
    keys := path;
    select c.name into record
    from unnest(array[scope ->> 'entity', 'contact', 'project', 'job']) with ordinality
      as c (name, place)
    where scope -> 'columns' -> c.name ? path[1]
    order by scope -> 'records' ? c.name desc, c.place
    limit 1;
  elsif path[1] = 'trigger' and path[2] in ('record', 'old') then
    record := scope ->> 'entity';
    keys := path[3:];
  elsif path[1] = 'trigger' and scope -> 'columns' ? path[2] and path[2] not in ('user', 'tenant')
    then
    record := path[2];
    keys := path[3:];
  elsif path[1] not in ('trigger', 'custom', 'steps') then
    record := path[1];
    keys := path[2:];
  end if;
end;
$$;

-- The kind of a reference's value: null when it lies inside JSON, or cannot be known.
create or replace function automation.reference_kind(reference jsonb, scope jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when cardinality(r.keys) = 1 then scope -> 'columns' -> r.record ->> r.keys[1] end
    from automation.resolve_reference(reference, scope) as r
  $$;

-- The same field is read in many places: what is wrong with it is found once.
create or replace function automation.check_references(read automation.read_reference[], scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with wrong as materialized (
      select d.reference, coalesce(
        automation.unknown_reference(d.reference, '', scope),
        automation.absent_reference(d.reference, '', scope)) as problem
      from (select distinct r.reference from unnest(read) as r) as d
    )
    select coalesce(jsonb_agg(p.problem order by p.in_step, p.problem ->> 'path', p.problem ->> 'severity',
      p.problem ->> 'message'), '[]')
    from (
      select distinct w.problem || jsonb_build_object('path', r.at) as problem, r.step is not null as in_step
      from unnest(read) as r
      join wrong as w on w.reference = r.reference
      where w.problem is not null
    ) as p
  $$;

create or replace function automation.unknown_reference(reference jsonb, at text, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  severity constant text := case when (scope ->> 'lenient')::boolean then 'warning' else 'error' end;
  name constant text := automation.reference_name(reference);
  resolved constant record := automation.resolve_reference(reference, scope);
  columns constant jsonb := scope -> 'columns' -> resolved.record;
  kind constant text := columns ->> resolved.keys[1];
begin
  if resolved.record is null then
    return case when reference ? 'b'
      then automation.unknown_bare_name(resolved.keys, at, scope, severity)
      else automation.unknown_in_snapshot(reference, at, scope) end;
  elsif jsonb_typeof(columns) is distinct from 'object' or cardinality(resolved.keys) = 0 then
    return null;
  elsif kind is null then
    return automation.problem(
      at, 'unknown_field', format('%s: %s has no field "%s"', name, resolved.record, resolved.keys[1]),
      automation.suggestion(resolved.keys[1], array(select jsonb_object_keys(columns)), 'Its fields: '),
      case when resolved.record in ('user', 'tenant') then 'error' else severity end);
  elsif cardinality(resolved.keys) > 1 and kind not in ('json', 'list', 'other') then
    return automation.problem(
      at, 'unknown_field',
      format('%s: there is nothing inside %s.%s, %s', name, resolved.record, resolved.keys[1],
        automation.kind_name(kind)),
      'Only JSON columns such as custom_fields have fields inside them.', severity);
  end if;
  return null;
end;
$$;

-- What snapshots of this kind hold, beside the records: {{trigger.<name>}}.
create or replace function automation.names_in_snapshot(scope jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '{entity,user_id,record,custom}'::text[]
      || array(select r || '_id' from jsonb_array_elements_text(scope -> 'records') as r)
      || array(select r from jsonb_array_elements_text(scope -> 'records') as r)
      || case when scope ->> 'kind' in ('updated', 'changed', 'becomes') then '{old,changed}'::text[] else '{}' end
      || case when scope ->> 'kind' = 'time' then '{timer,scheduled_at}'::text[] else '{}' end
      || case when scope -> 'records' ? 'email' then '{email_event}'::text[] else '{}' end
      || array(
        select n.name from automation.snapshot_names() as n
        where (n.records is null or scope -> 'records' ?| n.records)
          and scope -> 'records' <> '[]'
          and (not n.is_change or scope ->> 'kind' in ('updated', 'changed', 'becomes')))
  $$;

-- A program that starts runs may send more than events have: a doubt, and no error.
create or replace function automation.unknown_in_snapshot(reference jsonb, at text, scope jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      at, 'unknown_variable', format('%s: no event of this type has "%s"', automation.reference_name(reference),
        p.path[2]),
      automation.suggestion(p.path[2], automation.names_in_snapshot(scope), 'Under trigger: '), 'warning')
    from (select (reference ->> 'p')::text[] as path) as p
    where p.path[1] = 'trigger' and not (scope ->> 'lenient')::boolean
      and not p.path[2] = any (automation.names_in_snapshot(scope))
  $$;

-- A name that is no column of anything: a root that does not exist, a record without its field, or
-- a field that is misspelt.
create or replace function automation.unknown_bare_name(
  keys text[], at text, scope jsonb, severity text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when keys[1] = any (r.roots) then automation.problem(
        at, 'unknown_variable', format('%s is no value by itself', keys[1]),
        format('Name what is in it, such as %s.%s.', keys[1], case
          when keys[1] = 'custom' then 'roof_type' when keys[1] = 'steps' then 'step_1.status'
          when keys[1] = 'trigger' then 'record' when keys[1] = 'contact' then 'first_name'
          else 'id' end))
      when cardinality(keys) > 1 then automation.problem(
        at, 'unknown_variable', format('%s: there is no "%s" here', array_to_string(keys, '.'), keys[1]),
        'A variable begins with one of: ' || array_to_string(r.roots, ', '), severity)
      else automation.problem(
        at, 'unknown_field', format('no record here has a field "%s"', keys[1]),
        automation.suggestion(keys[1], array(
          select distinct c
          from jsonb_array_elements_text(scope -> 'records' || '["contact", "project", "job"]') as n,
            jsonb_object_keys(case jsonb_typeof(scope -> 'columns' -> n)
              when 'object' then scope -> 'columns' -> n else '{}' end) as c
          order by c), 'Fields: '), severity)
    end
    from (
      select array(
        select unnest(automation.context_roots()) union select jsonb_object_keys(scope -> 'columns')
        order by 1) as roots
    ) as r
  $$;

-- A field that exists, of a record that no run of this workflow has.
create or replace function automation.absent_reference(reference jsonb, at text, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when (scope ->> 'lenient')::boolean then null
      when p.path[1] = 'trigger' and p.path[2] = 'old' and scope ->> 'kind' in ('created', 'time')
        then automation.problem(
          at, 'missing_record', format('"%s" has no value: nothing has changed when this trigger fires',
            automation.reference_name(reference)),
          'Only triggers that follow a change have trigger.old.', 'warning')
      when r.record in ('user', 'tenant') or scope -> 'records' ? r.record then null
      when r.record is not null or p.path[1] = 'trigger' and p.path[2] in ('record', 'old')
        then automation.problem(
          at, 'missing_record', format('"%s" has no value: this trigger brings no %s',
            automation.reference_name(reference), coalesce(r.record, 'record')),
          automation.records_hint(scope), 'warning')
    end
    from automation.resolve_reference(reference, scope) as r
    cross join (select (reference ->> 'p')::text[] as path) as p
  $$;

-- {{steps.<key>.*}}: the step has to have run by then.
create or replace function automation.check_step_references(
  workflow ridgeline.workflows, read automation.read_reference[], plan jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with placed as materialized (
      select s.key, (s.value ->> 'place')::integer[] as place from jsonb_each(plan -> 'steps') as s
    ), wanted as materialized (
      select distinct r.step, r.at, ((r.reference ->> 'p')::text[])[2] as key
      from unnest(read) as r
      where ((r.reference ->> 'p')::text[])[1] = 'steps'
    )
    select coalesce(jsonb_agg(p.problem order by p.problem ->> 'path', p.problem ->> 'message'), '[]')
    from (
      select case
          when w.step is null then automation.problem(
            w.at, 'unknown_step', format('steps.%s: no step has run when these conditions are asked', w.key),
            'Move the condition to a step.')
          when there.key is null then automation.missing_step(workflow, plan, w.key, w.at)
          else automation.step_order_problem(here.place, there.place, w.key, w.at)
        end as problem
      from wanted as w
      left join placed as here on here.key = w.step
      left join placed as there on there.key = w.key
    ) as p
    where p.problem is not null
  $$;

create or replace function automation.missing_step(
  workflow ridgeline.workflows, plan jsonb, wanted text, at text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when exists (
        select from ridgeline.workflow_steps as s
        where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id and s.step_key = wanted)
        then automation.problem(
          at, 'unknown_step', format('the step "%s" is switched off and has no result', wanted),
          'Switch it on, or remove what refers to it.', 'warning')
      else automation.problem(
        at, 'unknown_step', format('there is no step "%s"', wanted), automation.suggestion(
          wanted, array(select jsonb_object_keys(plan -> 'steps') limit 200), 'Steps: '))
    end
  $$;

-- A step can be read by what is written after it, unless the two are on different branches of one step.
create or replace function automation.step_order_problem(
  reader integer[], wanted integer[], key text, at text)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when reader <= wanted and not f.apart then automation.problem(
        at, 'unknown_step', format('the step "%s" has not run by then', key),
        'A step can read the results of steps before it.')
      when f.apart then automation.problem(
        at, 'step_on_other_branch', format('the step "%s" is on another branch and does not run on this one', key),
        'Read a step before the branches, or give the value a default.', 'warning')
    end
    from (
      -- Every second number of a place is that of a branch.
      select coalesce((
        select n % 2 = 0
        from generate_series(1, least(cardinality(reader), cardinality(wanted))) as n
        where reader[n] <> wanted[n]
        order by n limit 1), false) as apart
    ) as f
  $$;

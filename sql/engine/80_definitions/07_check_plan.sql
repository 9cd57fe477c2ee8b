-- What only the whole can tell: a compiled workflow against the live schema, against itself, and
-- against the tenant's other workflows. docs/validation.md lists what is found.
--
--   07_check_plan        the entry, and what a workflow may refer to (its scope)
--   08_check_references  fields, variables and earlier steps that are not there
--   09_check_operators   operators and values that do not fit a column's type
--   10_check_conditions  conditions that contradict each other, or that say nothing
--   11_check_flow        steps that are never reached, or that lack what they need
--   12_check_cycles      workflows that start each other
--   15_check_reviews     who is asked for a review only when they are pleased
--   16_check_clicks      clicks that are waited for and cannot come
--
-- A scope: {kind: of the trigger, entity: whose record fires (null: none), records: that a run can
-- have, lenient: a manual run may bring anything, zone, columns: {record: {column: kind}}}.

-- Records that steps bring, such as a contact that one of them finds or makes: at_first says without which a run
-- begins, brought_at where the first of those steps is.
create or replace function automation.with_brought(scope jsonb, plan jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when b.records is null or scope -> 'records' @> b.records then scope
      else scope || jsonb_build_object('records', (scope -> 'records') || b.records, 'at_first', scope -> 'records',
        'brought_at', b.place) end
    from (
      select jsonb_agg(distinct r.name) as records, min((s.value ->> 'place')::integer[])::text as place
      from jsonb_each(plan -> 'steps') as s
      cross join lateral unnest(automation.step_brings(s.value ->> 'type', s.value)) as r (name)
    ) as b
  $$;

create or replace function automation.check_plan(
  workflow ridgeline.workflows, listener automation.compiled_trigger, conditions jsonb, plan jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  scope constant jsonb := automation.with_brought(automation.check_scope(workflow, listener), plan);
  documents constant jsonb := automation.condition_documents(workflow, conditions, plan);
  weighed constant record := automation.check_conditions(
    documents, automation.trigger_facts(workflow, listener, scope), scope);
  read constant automation.read_reference[] := array(
    select r from automation.read_references(documents, plan) as r);
begin
  return automation.check_references(read, scope)
    || automation.check_step_references(workflow, read, plan)
    || automation.check_operators(documents, plan, scope)
    || automation.check_typed_values(plan, scope)
    || weighed.problems
    || automation.check_flow(plan, weighed.verdicts)
    || automation.check_entry(workflow, listener, plan)
    || automation.check_needs(workflow, plan, scope)
    || automation.check_reviews(documents, plan)
    || automation.check_clicks(plan)
    || automation.check_cycles(workflow, listener, conditions, plan, scope);
end;
$$;

comment on function automation.check_plan(
  ridgeline.workflows, automation.compiled_trigger, jsonb, jsonb) is
  'Problems of a compiled workflow that its parts alone do not show. Writes nothing.';

-- From the catalog, not from automation.entities: a column that was added since is read as well. A
-- table that is gone has null, about which nothing is said.
create or replace function automation.known_columns() returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    -- A kind is asked for once a type: there are hundreds of columns, and a dozen types.
    with kind as materialized (
      select x.type, automation.value_kind(x.type) as kind
      from (
        select distinct a.atttypid as type
        from automation.entities as e
        join pg_catalog.pg_attribute as a
          on a.attrelid = to_regclass(e.relation) and a.attnum > 0 and not a.attisdropped
        offset 0
      ) as x
    )
    select jsonb_object_agg(r.name, r.columns)
    from (
      select k.name, k.more || coalesce(jsonb_object_agg(a.attname, t.kind)
        filter (where a.attname is not null), case when k.name in ('tenant', 'user') then '{}'::jsonb end) as columns
      from (
        select e.name, to_regclass(e.relation) as relation,
          case e.name when 'contact' then '{"tags": "list"}'::jsonb else '{}' end
            -- The names that the engine knows columns by, whatever they are called in the table.
            || coalesce((
              select jsonb_object_agg(m.key, t.kind)
              from jsonb_each_text(e.mapped) as m
              join pg_catalog.pg_attribute as a
                on a.attrelid = to_regclass(e.relation) and a.attname = m.value and not a.attisdropped
              join kind as t on t.type = a.atttypid), '{}')
            || case when automation.name_column(e) is null then '{}'
              else '{"first_name": "text", "last_name": "text"}'::jsonb end as more
        from automation.entities as e
        union all
        select 'tenant', null, jsonb_build_object('id', case when automation.tenancy_type() <> 'uuid' then 'text'
            else 'uuid' end, 'settings', 'json') || automation.people_columns(
          '{name,timezone,country,phone,email,website,address}', t.relation, t.visible)
        from (values (1)) as always (here) left join automation.tenancy as t on true
        union all
        select 'user', null, jsonb_build_object('id', case when automation.membership_type('user') <> 'uuid' then 'text'
            else 'uuid' end) || automation.people_columns(
          '{role,full_name,email,phone}', m.relation, m.visible)
        from (values (1)) as always (here) left join automation.membership as m on true
      ) as k
      left join pg_catalog.pg_attribute as a
        on a.attrelid = k.relation and a.attnum > 0 and not a.attisdropped
      left join kind as t on t.type = a.atttypid
      group by k.name, k.more
    ) as r
  $$;

comment on function automation.known_columns() is
  '{record: {column: kind}}: what variables and conditions can read.';

create or replace function automation.fired_entity(
  workflow ridgeline.workflows, listener automation.compiled_trigger)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select nullif(case workflow.trigger_type
      when 'time_elapsed' then coalesce(workflow.trigger_config ->> 'entity', 'contact')
      when 'scheduled' then workflow.trigger_config #>> '{for_each,entity}'
      else listener.entity
    end, '')
  $$;

comment on function automation.fired_entity(ridgeline.workflows, automation.compiled_trigger) is
  'Whose record a workflow runs for; null: none, or any.';

-- A run has the record that fired and those it belongs to, and its contact, also where only those know it
-- (automation.add_related).
create or replace function automation.check_scope(
  workflow ridgeline.workflows, listener automation.compiled_trigger)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'kind', t.kind,
      'entity', e.name,
      'lenient', t.kind = 'manual' or f.entity is not null and e.name is null,
      'records', to_jsonb(case
        when e.name is null then '{}'
        else array[e.name] || array(select jsonb_object_keys(e.related))
          || case when automation.leads_to_contact(e) then '{contact}'::text[] else '{}' end
      end),
      'zone', automation.tenant_zone(workflow.tenant_id),
      'columns', automation.known_columns())
    from automation.trigger_types as t
    cross join lateral (select automation.fired_entity(workflow, listener) as entity) as f
    left join automation.entities as e on e.name = f.entity
    where t.name = workflow.trigger_type
  $$;

-- Every condition document of a workflow. step: whose it is (null: the workflow's own); branch: of a
-- conditional's case, or exit for what ends a run.
create or replace function automation.condition_documents(
  workflow ridgeline.workflows, conditions jsonb, plan jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(jsonb_build_object(
      'step', d.step, 'branch', d.branch, 'compiled', d.compiled)), '[]')
    from (
      select null::text as step, null::text as branch, conditions as compiled
      union all
      select null, null, (select c.compiled from automation.compile_conditions(
        workflow.trigger_config #> '{for_each,conditions}',
        'trigger_config.for_each.conditions') as c)
      where workflow.trigger_type = 'scheduled'
      union all
      select null, 'exit', plan #> '{lifecycle,exit}'
      union all
      select s.key, null, s.value -> 'conditions' from jsonb_each(plan -> 'steps') as s
      union all
      select s.key, c.value ->> 'name', c.value -> 'conditions'
      from jsonb_each(plan -> 'steps') as s,
        jsonb_array_elements(case jsonb_typeof(s.value -> 'cases')
          when 'array' then s.value -> 'cases' else '[]' end) as c
    ) as d
    where jsonb_typeof(d.compiled) = 'object'
  $$;

-- The names that look most like a word: by the letters and the pairs of letters that they share,
-- without case and underscores, so that firstName finds first_name and tpye finds type.
create or replace function automation.nearest(word text, names text[]) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    with given (name, letters) as (
      select n, replace(lower(left(coalesce(n, word), 60) collate "C"), '_', '')
      from unnest(array[null] || names) as n
    ), parts as (
      select g.name, array_agg(distinct p.part) as found
      from given as g
      cross join generate_series(1, length(g.letters) + 1) as i
      cross join lateral (values
        (substr('^' || g.letters || '$', i, 2)), (nullif(substr(g.letters, i, 1), ''))) as p (part)
      where p.part is not null
      group by g.name
    ), alike as (
      select p.name, 2.0 * (select count(*) from unnest(p.found) as f where f = any (w.found))
        / (cardinality(p.found) + cardinality(w.found)) as degree
      from parts as p join parts as w on w.name is null
      where p.name is not null
    )
    select coalesce(array_agg(a.name order by a.degree desc, a.name), '{}')
    from (
      select a.name, a.degree from alike as a
      where a.degree >= 0.55 and a.degree >= (select max(b.degree) - 0.15 from alike as b)
      order by a.degree desc, a.name
      limit 3
    ) as a
  $$;

comment on function automation.nearest(text, text[]) is
  'Up to three of the names that a word may have been meant for, the likeliest first.';

create or replace function automation.suggestion(word text, names text[], otherwise text)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when n = '{}' then otherwise || (select string_agg(u, ', ' order by u) from unnest(names) as u)
      else format('Did you mean %s?', array_to_string(n, ', '))
    end
    from automation.nearest(word, names) as n
  $$;

-- Authoring rows -> a plan. Everything that can be decided before a customer is involved is
-- decided here: order, branches, names, defaults, templates, conditions.

-- shared: what other steps hold too, parsed and compiled already ({texts, documents, addresses}).
create or replace function automation.compile_step(
  step ridgeline.workflow_steps, key text, path text,
  shared jsonb default '{"texts": {}, "documents": {}, "addresses": {}}')
  returns table (compiled jsonb, problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.step_types;
  runs_as automation.step_types;
  written constant jsonb := automation.fold_step_config(step.step_type, step.step_config);
  config constant automation.compiled_config := automation.step_compile(
    step.step_type, written, path || '.step_config', shared);
  sending constant jsonb := automation.sending_of(step.step_type, written);
  template record;
  condition record;
  fitted jsonb;
begin
  select t.* into known from automation.step_types as t where t.name = step.step_type;
  runs_as := known;
  if config.more ? 'as' then
    select t.* into runs_as from automation.step_types as t where t.name = config.more ->> 'type';
  end if;
  template := automation.compile_template(
    config.template - automation.sending_keys(step.step_type), path || '.step_config', shared -> 'texts');
  condition := automation.place_conditions(step.conditions, path || '.conditions', shared -> 'documents');
  fitted := template.compiled || jsonb_build_object(
    'fits', case template.compiled -> 'slots' when '[]' then '[]'
      else automation.compile_fits(runs_as.config_schema, template.compiled, known.lane in ('sms', 'email')) end);
  compiled := jsonb_build_object(
    'key', key,
    'at', path,
    'name', coalesce(step.name, step.step_type),
    'type', step.step_type,
    'lane', known.lane,
    'delay_seconds', step.delay_minutes * 60,
    'config', fitted,
    'conditions', condition.compiled,
    'roots', to_jsonb(
      automation.template_roots(template.compiled) || automation.condition_roots(condition.compiled)
      || config.roots),
    'continue_on_error', step.continue_on_error)
    || config.more || case when sending is null then '{}' else jsonb_build_object('sending', sending) end
    || automation.compile_retry(step.retry);
  if automation.may_be_plain(compiled) then
    compiled := compiled || jsonb_strip_nulls(jsonb_build_object(
      'plain', automation.compile_plain(automation.step_plain(step.step_type, compiled -> 'config'))));
  end if;
  problems := template.problems || config.problems || condition.problems
    || automation.check_step_config(step.step_type, config.checked, path || '.step_config')
    || case step.retry when '{}' then '[]' else automation.check_retry(step.retry, path || '.retry') end;
  return next;
end;
$$;

-- Is there nothing to decide before a step but what its texts are? One that is left out by the step before it says so
-- later; a shadow leaves everything out.
create or replace function automation.may_be_plain(step jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return not step ?| '{member,sending}'
    and jsonb_typeof(step -> 'conditions') is distinct from 'object' and not exists (
      select from pg_catalog.pg_proc as p
      where p.pronamespace = 'automation'::regnamespace and p.proname = 'ready_' || (step ->> 'type'));
end;
$$;

-- {max_attempts, delay, max_delay} -> {retry: {max_attempts, base, cap}}, lengths as intervals.
create or replace function automation.compile_retry(retry jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when retry = '{}' then '{}'
      else jsonb_build_object('retry', jsonb_strip_nulls(jsonb_build_object(
        'max_attempts', retry -> 'max_attempts',
        'base', automation.duration_in(retry -> 'delay'),
        'cap', automation.duration_in(retry -> 'max_delay'))))
    end
  $$;

create type automation.placed_step as (
  step ridgeline.workflow_steps,
  key text,
  path text,
  place integer[],
  is_on boolean,
  branches text[],
  next_id uuid
);

comment on type automation.placed_step is
  'A step with its place: among its siblings, then the number of the branch below it, the place there, and '
  'so on, which is the order of the document. is_on: it and all above it are switched on. next_id: the step '
  'that comes next.';

create or replace function automation.step_key(
  step ridgeline.workflow_steps, parent_key text, place bigint)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      step.step_key,
      case when parent_key is null then 'step_' || place
        else format('%s_%s_%s', parent_key, step.branch, place) end)
  $$;

create or replace function automation.branches_of(step ridgeline.workflow_steps) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if exists (select from automation.step_types as t where t.name = step.step_type and t.branches is not null) then
    return automation.step_branches(
      step.step_type, automation.fold_step_config(step.step_type, step.step_config));
  end if;
  return '{}'::text[];
end;
$$;

create or replace function automation.is_too_deep(place integer[]) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select cardinality(place) > 40 $$;

comment on function automation.is_too_deep(integer[]) is
  'Whether a step in this place may not have branches: twenty lie above it.';

-- From the workflow's own steps down, branch by branch. What comes next is the next sibling that is
-- switched on, or else what comes after the parent. Steps that no parent of theirs leads to are not here.
create or replace function automation.place_steps(workflow ridgeline.workflows)
  returns setof automation.placed_step
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive numbered as (
      select s as step, concat_ws('/', s.parent_step_id, s.branch) as chain, s.enabled,
        row_number() over (partition by s.parent_step_id, s.branch order by s.step_order, s.created_at, s.id)
          as place
      from ridgeline.workflow_steps as s
      where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
    ), listed as (
      -- The least place with its id behind it: nothing to be joined.
      select n.step, n.chain, n.place::integer as place, n.enabled, substr(
          min((lpad(n.place::text, 9, '0') || (n.step).id) collate "C") filter (where n.enabled) over (
            partition by n.chain order by n.place desc rows between unbounded preceding and 1 preceding),
          10)::uuid as next_id
      from numbered as n
    ), placed (step, key, path, place, is_on, branches, next_id) as (
      select l.step, automation.step_key(l.step, null, l.place), format('steps[%s]', l.place - 1),
        array[l.place], l.enabled, automation.branches_of(l.step), l.next_id
      from listed as l
      where l.chain = ''
      union all
      select l.step, automation.step_key(l.step, p.key, l.place),
        format('%s.%s[%s]', p.path, b.name, l.place - 1), p.place || b.number::integer || l.place,
        p.is_on and l.enabled, automation.branches_of(l.step), coalesce(l.next_id, p.next_id)
      from placed as p
      cross join lateral unnest(p.branches) with ordinality as b (name, number)
      join listed as l on l.chain = concat_ws('/', (p.step).id, b.name)
      where not automation.is_too_deep(p.place)
    )
    select p.step, p.key, p.path, p.place, p.is_on, p.branches, p.next_id from placed as p
  $$;

-- A parent that is its own descendant.
create or replace function automation.is_circular(step ridgeline.workflow_steps) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive up (id, parent_step_id, seen) as (
      select step.id, step.parent_step_id, array[step.id]
      union all
      select s.id, s.parent_step_id, up.seen || s.id
      from up join ridgeline.workflow_steps as s on s.tenant_id = step.tenant_id and s.id = up.parent_step_id
      where s.id <> all (up.seen)
    )
    select exists (select from up where up.parent_step_id = step.id)
  $$;

-- Steps that are not where they say they are.
create or replace function automation.check_strays(
  workflow ridgeline.workflows, placed automation.placed_step[])
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with seen as (
      select (p.step).id as id from unnest(placed) as p
    ), strays as (
      select s as step, p as parent, automation.is_circular(s) as circular
      from ridgeline.workflow_steps as s
      left join ridgeline.workflow_steps as p
        on p.tenant_id = s.tenant_id and p.id = s.parent_step_id and p.workflow_id = s.workflow_id
      where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
        and s.id not in (select n.id from seen as n)
    )
    select coalesce(jsonb_agg(automation.problem(
        'steps', 'unknown_branch',
        format('step "%s" is on branch "%s" of a step that has no such branch',
          coalesce((s.step).step_key, (s.step).name, (s.step).step_type), (s.step).branch),
        case
          when (s.parent).id is null then 'parent_step_id must be a step of the same workflow.'
          when s.circular then 'It is its own parent, directly or through others.'
          else coalesce(
            'Its branches: ' || nullif(array_to_string(automation.branches_of(s.parent), ', '), ''),
            format('%s has no branches.', (s.parent).step_type))
        end)), '[]')
    from strays as s
    where s.circular or (s.parent).id is null or (s.parent).id in (select n.id from seen as n)
  $$;

create or replace function automation.check_places(
  workflow ridgeline.workflows, placed automation.placed_step[])
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((
        select jsonb_agg(automation.problem(
          d.at || '.step_key', 'duplicate', format('two steps are called "%s"', d.key),
          'Give each a step_key of its own; a step without one is called step_<n>.') order by d.at)
        from (
          select p.key, max(p.path) as at from unnest(placed) as p group by 1 having count(*) > 1
        ) as d), '[]')
      || automation.check_strays(workflow, placed)
      || case when exists (select from unnest(placed) as p where p.is_on) then '[]'
        else jsonb_build_array(automation.problem(
          'steps', 'missing', 'the workflow has no enabled step',
          'Add a row to workflow_steps, then set is_active.')) end
  $$;

-- The address lists that more than one step holds, taken apart: {key and list: {compiled, problems}}, with
-- paths that begin in the list.
create or replace function automation.shared_addresses(placed automation.placed_step[]) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(l.key || l.list::text, to_jsonb(c)), '{}')
    from (
      select k.key, k.value as list
      from unnest(placed) as p
      cross join lateral jsonb_each((p.step).step_config) as k
      where k.key = any (automation.address_keys())
      group by 1, 2
      having count(*) > 1
    ) as l
    cross join lateral automation.compile_address_key(l.key, l.list, '') as c
  $$;

-- The texts with variables that more than one step holds, and those of their addresses, parsed.
create or replace function automation.shared_texts(placed automation.placed_step[], addresses jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.parse_templates(array(
      select t.value #>> '{}'
      from unnest(placed) as p
      cross join lateral jsonb_path_query((p.step).step_config, 'strict $.** ? (@.type() == "string")') as t (value)
      where strpos(t.value #>> '{}', '{{') > 0 and length(t.value #>> '{}') < 10000
      group by 1
      having count(*) > 1
      union
      select t.value #>> '{}'
      from jsonb_path_query(addresses, 'strict $.*.compiled.** ? (@.type() == "string")') as t (value)
      where strpos(t.value #>> '{}', '{{') > 0))
  $$;

-- The conditions that more than one step asks, compiled.
create or replace function automation.shared_documents(placed automation.placed_step[]) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.compile_documents(array(
      select d.document
      from unnest(placed) as p
      cross join lateral (
        select (p.step).conditions
        union all
        select q.value from jsonb_path_query((p.step).step_config, '$.conditions') as q (value)
      ) as d (document)
      where d.document not in ('[]', 'null', '{}')
      group by 1
      having count(*) > 1))
  $$;

-- The plan points each step to the next, and each of its branches to the first step on it, or to what comes
-- next where there is none. A step that is switched off is checked, and left out with all that branches
-- off it.
create or replace function automation.compile_steps(
  workflow ridgeline.workflows, out plan jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  placed constant automation.placed_step[] := array(
    select p from automation.place_steps(workflow) as p order by p.place);
  addresses constant jsonb := automation.shared_addresses(placed);
  shared constant jsonb := jsonb_build_object(
    'texts', automation.shared_texts(placed, addresses), 'documents', automation.shared_documents(placed),
    'addresses', addresses);
  -- By its id, since a join of a list with itself is guessed to be short, and made row by row.
  keys constant jsonb := (select jsonb_object_agg((p.step).id, p.key) from unnest(placed) as p);
begin
  with given as (
    select p.*, (p.step).id as id, p.place[cardinality(p.place)] as position,
      (p.step).parent_step_id as parent_id, (p.step).branch as branch
    from unnest(placed) as p
  ), firsts as (
    select distinct on (g.parent_id, g.branch) g.parent_id, g.branch, g.key
    from given as g where g.is_on
    order by g.parent_id, g.branch, g.position
  ), compiled as materialized (
    select g.*, keys ->> g.next_id::text as next, c.compiled, c.problems
    from given as g
    cross join lateral automation.compile_step(g.step, g.key, g.path, shared) as c
  ), leaving_out as (
    -- What comes next on its own branch; what comes after the branch is not its own to leave out.
    select c.id, c.key, n.id as next_id
    from compiled as c
    left join compiled as n on n.id = c.next_id and (n.parent_id, n.branch) is not distinct from (c.parent_id, c.branch)
    where c.is_on and c.compiled ? 'leaves_out'
  ), branches as (
    select c.id, jsonb_object_agg(b.name, coalesce(f.key, c.next)) as targets
    from compiled as c
    cross join lateral unnest(c.branches) as b (name)
    left join firsts as f on f.parent_id = c.id and f.branch = b.name
    group by c.id
  )
  select
    jsonb_build_object(
      'format', automation.plan_format(), 'first', (select f.key from firsts as f where f.parent_id is null),
      'steps', coalesce(jsonb_object_agg(c.key, c.compiled
          || jsonb_build_object('next', c.next, 'place', c.place::text)
          || case when workflow.settings ->> 'on_missing' = 'fail' then '{"on_missing": "fail"}' else '{}' end::jsonb
          || case when l.key is not null then jsonb_build_object('left_out_by', l.key) else '{}' end
          || case when b.targets is not null then jsonb_build_object('branches', b.targets) else '{}' end)
        filter (where c.is_on), '{}')),
    coalesce(jsonb_agg(p.problem order by c.place, p.number) filter (where p.problem is not null), '[]')
    into plan, problems
  from compiled as c
  left join branches as b on b.id = c.id
  left join leaving_out as l on l.next_id = c.id
  left join lateral jsonb_array_elements(c.problems || case
    when exists (select from leaving_out as o where o.id = c.id and o.next_id is null)
    then jsonb_build_array(automation.problem(
      c.path || '.step_config.' || (c.compiled ->> 'leaves_out'),
      'nothing_to_skip', 'there is no step after it on its branch that could be left out',
      'Put the step that it waits for behind it, or say continue or stop.')) else '[]' end || case
    when c.branches <> '{}' and automation.is_too_deep(c.place) then jsonb_build_array(automation.problem(
      c.path, 'too_deep', 'branches are nested more than 20 deep',
      'Move the inner steps to a workflow of their own.')) else '[]' end)
    with ordinality as p (problem, number) on true;
  problems := problems || automation.check_places(workflow, placed);
end;
$$;

-- What is too much to be compiled at all: looked at first.
create or replace function automation.size_problems(
  workflow ridgeline.workflows, listener automation.compiled_trigger)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with step as (
      select octet_length(s.step_config::text) + octet_length(s.conditions::text) as bytes,
        automation.occurrences('"operator"', s.step_config::text)
          + automation.occurrences('"operator"', s.conditions::text) as conditions
      from ridgeline.workflow_steps as s
      where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
      limit automation.at_most('steps') + 1
    ), found (path, name, size) as (
      select 'steps', 'steps', count(*) from step
      union all
      select 'steps', 'definition', sum(step.bytes) from step
      union all
      select 'steps', 'all_conditions', sum(step.conditions) from step
      union all
      select 'trigger_type', 'listeners', 1 + (
        select count(distinct t.workflow_id) from automation.active_triggers as t
        where t.tenant_id = workflow.tenant_id and t.entity = listener.entity
          and t.event = workflow.trigger_type and t.role = 'enrol' and t.workflow_id <> workflow.id)
      union all
      select 'is_active', 'active_workflows', 1 + (
        select count(*) from ridgeline.workflows as w
        where w.tenant_id = workflow.tenant_id and w.is_active and w.id <> workflow.id)
    )
    select coalesce(jsonb_agg(automation.problem(f.path, 'too_many', format(
        'more than %s %s %s', l.most, l.unit, l.what),
      'Divide the workflow, or merge small ones into one with branches.')), '[]')
    from found as f
    join automation.limits() as l on l.name = f.name
    where f.size > l.most
  $$;

create type automation.compiled_workflow as (
  listener automation.compiled_trigger,
  conditions jsonb,
  plan jsonb,
  problems jsonb
);

-- Checking reads many small things through functions whose cost Postgres overrates: it would compile
-- their plans at every call (measured on 15: a second a workflow instead of 15 ms), hence jit = off; and it
-- would start workers for a few thousand rows, which costs more than they save.
create or replace function automation.compile_workflow(workflow ridgeline.workflows)
  returns automation.compiled_workflow
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  set max_parallel_workers_per_gather = 0
  as $$
declare
  listener constant automation.compiled_trigger :=
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config);
  condition record;
  steps record;
  lifecycle record;
  too_much constant jsonb := automation.size_problems(workflow, listener);
begin
  if too_much <> '[]' then
    return row(listener, null, null, too_much)::automation.compiled_workflow;
  end if;
  select c.* into condition
  from automation.compile_conditions(workflow.conditions, 'conditions') as c;
  select s.* into steps from automation.compile_steps(workflow) as s;
  select l.* into lifecycle from automation.compile_lifecycle(workflow.settings, 'settings') as l;
  return row(
    listener, condition.compiled, steps.plan || lifecycle.compiled,
    listener.problems || condition.problems || steps.problems || lifecycle.problems
      || automation.check_plan(
        workflow, listener, condition.compiled, steps.plan || lifecycle.compiled)
  )::automation.compiled_workflow;
end;
$$;

comment on function automation.compile_workflow(ridgeline.workflows) is
  'Compiles the authoring rows of a workflow. Writes nothing; problems says what is wrong.';

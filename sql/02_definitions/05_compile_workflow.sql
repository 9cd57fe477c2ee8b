-- Authoring rows -> a plan. Everything that can be decided before a customer is involved is
-- decided here: order, branches, names, defaults, templates, conditions.

-- The ways on from a step that branches; none from any other.
create or replace function automation.step_branches(step_type text, config jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when step_type = 'conditional' and config ? 'branches' then automation.branch_names(config) || 'else'::text
      when step_type = 'conditional' then '{then,else}'
      when step_type = 'split' then automation.branch_names(config)
      when step_type = 'wait' and config ? 'event' then '{event,timeout}'
      else '{}'
    end
  $$;

create or replace function automation.branch_names(config jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(b.value ->> 'name' order by b.place), '{}')
    from jsonb_array_elements(
      case jsonb_typeof(config -> 'branches') when 'array' then config -> 'branches' else '[]' end)
      with ordinality as b (value, place)
    where b.value ->> 'name' is not null
  $$;

create or replace function automation.compile_step(step public.workflow_steps, key text, path text)
  returns table (compiled jsonb, problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.step_types;
  config jsonb := automation.fold_step_config(step.step_type, step.step_config);
  addressed record;
  template record;
  condition record;
  asked record;
begin
  select t.* into known from automation.step_types as t where t.name = step.step_type;
  select a.* into addressed from automation.compile_recipients(
    step.step_type, config, path || '.step_config') as a;
  select t.* into template from automation.compile_template(
    case step.step_type when 'conditional' then '{}' else addressed.compiled end, path || '.step_config') as t;
  select c.* into condition
  from automation.compile_conditions(step.conditions, path || '.conditions') as c;
  select c.* into asked
  from automation.compile_cases(case step.step_type when 'conditional' then config else '{}' end) as c;
  compiled := jsonb_build_object(
    'key', key,
    'at', path,
    'name', coalesce(step.name, step.step_type),
    'type', step.step_type,
    'lane', known.lane,
    'delay_seconds', step.delay_minutes * 60,
    'config', template.compiled || jsonb_build_object(
      'fits', automation.compile_fits(known.config_schema, template.compiled)),
    'conditions', condition.compiled,
    'roots', to_jsonb(
      automation.template_roots(template.compiled) || automation.condition_roots(condition.compiled)
      || asked.roots),
    'continue_on_error', step.continue_on_error)
    || case step.step_type when 'conditional' then jsonb_build_object('cases', asked.cases) else '{}' end
    || automation.compile_retry(step.retry);
  problems := template.problems || addressed.problems || condition.problems
    || automation.check_step_config(step.step_type, config, path || '.step_config')
    || automation.check_retry(step.retry, path || '.retry');
  return next;
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

create type automation.compiled_chain as (
  first text,
  steps jsonb,
  found jsonb,
  seen uuid[],
  problems jsonb
);

comment on type automation.compiled_chain is
  'Steps that follow each other, with all that branches off them. found: {key, at} of each, for finding '
  'two of the same key; seen: the rows they were made of.';

create or replace function automation.step_key(
  step public.workflow_steps, parent_key text, place bigint)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      step.step_key,
      case when parent_key is null then 'step_' || place
        else format('%s_%s_%s', parent_key, step.branch, place) end)
  $$;

-- The steps on one branch of a parent (of none: the workflow's own), each pointing to the next; the
-- last one points to `after`. Worked out from the end, so that what comes next is known. A step that is
-- switched off is checked, and left out with all that branches off it.
create or replace function automation.compile_chain(
  workflow public.workflows, parent public.workflow_steps, parent_key text, branch text, after text,
  path text, depth integer)
  returns automation.compiled_chain
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  chain automation.compiled_chain := row(after, '{}', '[]', '{}', '[]');
  part automation.compiled_chain;
  member record;
  compiled record;
begin
  for member in
    select s as step, row_number() over w as place
    from public.workflow_steps as s
    where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
      and s.parent_step_id is not distinct from parent.id and s.branch is not distinct from compile_chain.branch
    window w as (order by s.step_order, s.created_at, s.id)
    order by 2 desc
  loop
    select c.* into compiled from automation.compile_step(
      member.step, automation.step_key(member.step, parent_key, member.place),
      format('%s[%s]', path, member.place - 1)) as c;
    part := automation.compile_branches(workflow, member.step, compiled.compiled, chain.first, depth);
    if (member.step).enabled then
      chain.steps := chain.steps || part.steps;
      chain.first := part.first;
    end if;
    chain.found := part.found || chain.found;
    chain.seen := part.seen || chain.seen;
    chain.problems := compiled.problems || part.problems || chain.problems;
  end loop;
  return chain;
end;
$$;

-- One step with all that branches off it.
create or replace function automation.compile_branches(
  workflow public.workflows, step public.workflow_steps, compiled jsonb, after text, depth integer)
  returns automation.compiled_chain
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key constant text := compiled ->> 'key';
  names text[] := automation.step_branches(
    step.step_type, automation.fold_step_config(step.step_type, step.step_config));
  whole automation.compiled_chain := row(
    key, '{}', jsonb_build_array(jsonb_build_object('key', key, 'at', compiled -> 'at')),
    array[step.id], '[]');
  part automation.compiled_chain;
  branches jsonb := '{}'::jsonb;
  name text;
begin
  compiled := compiled || jsonb_build_object('next', after) || case
    when workflow.settings ->> 'on_missing' = 'fail' then '{"on_missing": "fail"}' else '{}' end::jsonb;
  if names <> '{}' and depth >= 20 then
    whole.problems := automation.as_list(automation.problem(
      compiled ->> 'at', 'too_deep', 'branches are nested more than 20 deep',
      'Move the inner steps to a workflow of their own.'));
    names := '{}';
  end if;
  foreach name in array names loop
    part := automation.compile_chain(
      workflow, step, key, name, after, format('%s.%s', compiled ->> 'at', name), depth + 1);
    branches := branches || jsonb_build_object(name, part.first);
    whole.steps := whole.steps || part.steps;
    whole.found := whole.found || part.found;
    whole.seen := whole.seen || part.seen;
    whole.problems := whole.problems || part.problems;
  end loop;
  if names <> '{}' then
    compiled := compiled || jsonb_build_object('branches', branches);
  end if;
  whole.steps := whole.steps || jsonb_build_object(key, compiled);
  return whole;
end;
$$;

-- A parent that is its own descendant.
create or replace function automation.is_circular(step public.workflow_steps) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive up (id, parent_step_id, seen) as (
      select step.id, step.parent_step_id, array[step.id]
      union all
      select s.id, s.parent_step_id, up.seen || s.id
      from up join public.workflow_steps as s on s.tenant_id = step.tenant_id and s.id = up.parent_step_id
      where s.id <> all (up.seen)
    )
    select exists (select from up where up.parent_step_id = step.id)
  $$;

create or replace function automation.check_chain(
  workflow public.workflows, chain automation.compiled_chain)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select automation.problem(
          d.at || '.step_key', 'duplicate', format('two steps are called "%s"', d.key),
          'Give each a step_key of its own; a step without one is called step_<n>.')
      from (
        select f ->> 'key' as key, max(f ->> 'at') as at
        from jsonb_array_elements(chain.found) as f group by 1 having count(*) > 1
      ) as d
      union all
      select automation.problem(
          'steps', 'unknown_branch',
          format('step "%s" is on branch "%s" of a step that has no such branch',
            coalesce(s.step_key, s.name, s.step_type), s.branch),
          case
            when p.id is null then 'parent_step_id must be a step of the same workflow.'
            when automation.is_circular(s) then 'It is its own parent, directly or through others.'
            else coalesce(
              'Its branches: ' || nullif(array_to_string(automation.step_branches(
                p.step_type, automation.fold_step_config(p.step_type, p.step_config)), ', '), ''),
              format('%s has no branches.', p.step_type))
          end)
      from public.workflow_steps as s
      left join public.workflow_steps as p
        on p.tenant_id = s.tenant_id and p.id = s.parent_step_id and p.workflow_id = s.workflow_id
      where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
        and s.id <> all (chain.seen)
        and (p.id is null or p.id = any (chain.seen) or automation.is_circular(s))
      union all
      select automation.problem(
        'steps', 'missing', 'the workflow has no enabled step',
        'Add a row to workflow_steps, then set is_active.')
      where chain.first is null
    ) as found (problem)
  $$;

create or replace function automation.compile_steps(
  workflow public.workflows, out plan jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  chain constant automation.compiled_chain :=
    automation.compile_chain(workflow, null, null, null, null, 'steps', 0);
begin
  plan := jsonb_build_object('first', chain.first, 'steps', chain.steps);
  problems := chain.problems || automation.check_chain(workflow, chain);
end;
$$;

-- What is too much to be compiled at all: looked at first.
create or replace function automation.size_problems(
  workflow public.workflows, listener automation.compiled_trigger)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with step as (
      select octet_length(s.step_config::text) + octet_length(s.conditions::text) as bytes,
        automation.occurrences('"operator"', s.step_config::text)
          + automation.occurrences('"operator"', s.conditions::text) as conditions
      from public.workflow_steps as s
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
    )
    select coalesce(jsonb_agg(automation.problem(f.path, 'too_many', format(
        'more than %s %s %s', l.most, l.unit, l.what),
      'Divide the workflow, or merge small ones into one with branches.')), '[]')
    from found as f
    join automation.limits() as l on l.name = f.name
    where f.size > l.most
  $$;

create or replace function automation.occurrences(part text, whole text) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select (length(whole) - length(replace(whole, part, ''))) / length(part) $$;

create type automation.compiled_workflow as (
  listener automation.compiled_trigger,
  conditions jsonb,
  plan jsonb,
  problems jsonb
);

-- Checking reads many small things through functions whose cost Postgres overrates: it would compile
-- their plans at every call (measured on 15: a second a workflow instead of 15 ms), hence jit = off.
create or replace function automation.compile_workflow(workflow public.workflows)
  returns automation.compiled_workflow
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
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

comment on function automation.compile_workflow(public.workflows) is
  'Compiles the authoring rows of a workflow. Writes nothing; problems says what is wrong.';

-- Authoring rows -> a plan. Everything that can be decided before a customer is involved is
-- decided here: order, names, defaults, templates, conditions.

create or replace function automation.compile_step(step public.workflow_steps, key text, path text)
  returns table (compiled jsonb, problems jsonb)
  language plpgsql stable
  set search_path = ''
  as $$
declare
  known automation.step_types;
  config jsonb := automation.fold_step_config(step.step_type, step.step_config);
  template record;
  condition record;
  asked record;
begin
  select t.* into known from automation.step_types as t where t.name = step.step_type;
  select t.* into template from automation.compile_template(
    case step.step_type when 'conditional' then '{}' else config end, path || '.step_config') as t;
  select c.* into condition
  from automation.compile_conditions(step.conditions, path || '.conditions') as c;
  select c.* into asked
  from automation.compile_cases(case step.step_type when 'conditional' then config else '{}' end) as c;
  compiled := jsonb_build_object(
    'key', key,
    'name', coalesce(step.name, step.step_type),
    'type', step.step_type,
    'lane', known.lane,
    'delay_seconds', step.delay_minutes * 60,
    'config', template.compiled,
    'conditions', condition.compiled,
    'roots', to_jsonb(
      automation.template_roots(template.compiled) || automation.condition_roots(condition.compiled)
      || asked.roots),
    'continue_on_error', step.continue_on_error)
    || case step.step_type when 'conditional' then jsonb_build_object('cases', asked.cases) else '{}' end;
  problems := template.problems || condition.problems
    || automation.check_step_config(step.step_type, config, path || '.step_config');
  return next;
end;
$$;

create or replace function automation.compile_steps(
  tenant_id uuid, workflow_id uuid, out plan jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = ''
  as $$
begin
  with ordered as (
    select s as step,
      row_number() over (order by s.step_order, s.created_at, s.id) as place
    from public.workflow_steps as s
    where s.tenant_id = compile_steps.tenant_id
      and s.workflow_id = compile_steps.workflow_id
      and s.parent_step_id is null
  ), named as (
    select o.step, o.place, coalesce((o.step).step_key, 'step_' || o.place) as key,
      c.compiled, c.problems
    from ordered as o
    cross join lateral automation.compile_step(
      o.step, coalesce((o.step).step_key, 'step_' || o.place), format('steps[%s]', o.place - 1)) as c
  ), linked as (
    -- A step that is switched off is checked but left out of the chain.
    select n.key,
      n.compiled || jsonb_build_object('next', lead(n.key) over (order by n.place)) as compiled,
      n.place
    from named as n where (n.step).enabled
  )
  select
    jsonb_build_object(
      'first', (select l.key from linked as l order by l.place limit 1),
      'steps', coalesce((select jsonb_object_agg(l.key, l.compiled) from linked as l), '{}')),
    coalesce((select jsonb_agg(p.problem order by n.place)
      from named as n, jsonb_array_elements(n.problems) as p (problem)), '[]')
    || coalesce((select jsonb_agg(automation.problem(
        format('steps[%s].step_key', d.place - 1), 'duplicate',
        format('two steps are called "%s"', d.key), 'Steps without a step_key are called step_<n>.'))
      from (select n.key, max(n.place) as place from named as n group by 1 having count(*) > 1) as d),
      '[]')
    into compile_steps.plan, compile_steps.problems;
  if plan ->> 'first' is null then
    problems := problems || automation.problem(
      'steps', 'missing', 'the workflow has no enabled step',
      'Add a row to workflow_steps, then set is_active.');
  end if;
end;
$$;

create type automation.compiled_workflow as (
  listener automation.compiled_trigger,
  conditions jsonb,
  plan jsonb,
  problems jsonb
);

create or replace function automation.compile_workflow(workflow public.workflows)
  returns automation.compiled_workflow
  language plpgsql stable
  set search_path = ''
  as $$
declare
  listener constant automation.compiled_trigger :=
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config);
  condition record;
  steps record;
begin
  select c.* into condition
  from automation.compile_conditions(workflow.conditions, 'conditions') as c;
  select s.* into steps from automation.compile_steps(workflow.tenant_id, workflow.id) as s;
  return row(
    listener, condition.compiled, steps.plan,
    listener.problems || condition.problems || steps.problems)::automation.compiled_workflow;
end;
$$;

comment on function automation.compile_workflow(public.workflows) is
  'Compiles the authoring rows of a workflow. Writes nothing; problems says what is wrong.';

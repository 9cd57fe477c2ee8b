-- Looking before leaping: what a workflow would do, and why it did or did not fire. Nothing here
-- writes a row.

create or replace function automation.explain_listener(
  workflow public.workflows, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = ''
  as $$
declare
  listener constant automation.compiled_trigger :=
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config);
  record constant jsonb := coalesce(data -> listener.entity, data);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'field', wanted.key, 'expected', wanted.value, 'actual', record -> wanted.key,
      'passed', case jsonb_typeof(wanted.value)
        when 'array' then coalesce(wanted.value @> (record -> wanted.key), false)
        else record @> jsonb_build_object(wanted.key, wanted.value)
      end) order by wanted.key), '[]')
    from jsonb_each(listener.match || coalesce(listener.match_any, '{}')) as wanted);
end;
$$;

comment on function automation.explain_listener(public.workflows, jsonb) is
  'Each equality of the trigger_config, with what the record has.';

create or replace function automation.explain_conditions_of(
  workflow public.workflows, data jsonb)
  returns jsonb
  language sql stable
  set search_path = ''
  as $$
    select case
      when c.compiled is null then null
      else automation.explain_conditions(
        c.compiled, automation.trigger_context(workflow.tenant_id, data),
        automation.tenant_zone(workflow.tenant_id), automation.now())
    end
    from automation.compile_conditions(workflow.conditions, 'conditions') as c
  $$;

create or replace function automation.explain_enrollment(workflow_id uuid, record jsonb)
  returns jsonb
  language plpgsql stable
  security definer
  set search_path = ''
  as $$
declare
  workflow constant public.workflows := automation.find_workflow(workflow_id);
  data jsonb;
  fired_id text;
  trigger_checks jsonb;
  conditions jsonb;
  recent integer;
begin
  perform automation.check_object(record, 'record');
  data := automation.complete_trigger_data(workflow.tenant_id, record);
  fired_id := data ->> ((data ->> 'entity') || '_id');
  trigger_checks := automation.explain_listener(workflow, data);
  conditions := automation.explain_conditions_of(workflow, data);
  recent := automation.count_enrolments(
    workflow.tenant_id, workflow.id, fired_id,
    automation.now() - automation.setting('enrollment_window')::interval, 10001);
  return jsonb_build_object(
    'would_enroll',
      workflow.is_active and workflow.published_version is not null
      and not trigger_checks @> '[{"passed": false}]'
      and coalesce((conditions ->> 'verdict')::boolean, true)
      and recent < automation.setting('max_enrollments')::integer,
    'workflow', jsonb_build_object(
      'is_active', workflow.is_active, 'published_version', workflow.published_version,
      'trigger_type', workflow.trigger_type),
    'trigger', trigger_checks,
    'conditions', conditions,
    'recent_enrollments', jsonb_build_object(
      'count', recent, 'limit', automation.setting('max_enrollments')::integer,
      'window', automation.setting('enrollment_window')),
    'executions', (
      select coalesce(jsonb_agg(to_jsonb(e) order by e.created_at desc), '[]')
      from (
        select x.id, x.status, x.version, x.error, x.created_at
        from public.workflow_executions as x
        where x.tenant_id = workflow.tenant_id and x.record_id = fired_id
          and x.workflow_id = workflow.id
        order by x.created_at desc
        limit 10
      ) as e));
end;
$$;

-- The execution that a dry run pretends to be in: a row that is never written.
create or replace function automation.imagine_execution(
  workflow public.workflows, data jsonb)
  returns public.workflow_executions
  language sql stable
  set search_path = ''
  as $$
    select jsonb_populate_record(null::public.workflow_executions, jsonb_build_object(
      'tenant_id', workflow.tenant_id, 'id', gen_random_uuid(), 'workflow_id', workflow.id,
      'version', 0, 'status', 'running', 'trigger_type', workflow.trigger_type,
      'trigger_data', data, 'entity', data -> 'entity',
      'record_id', data -> ((data ->> 'entity') || '_id'), 'contact_id', data -> 'contact_id',
      'depth', 0, 'created_at', automation.now()))
  $$;

create or replace function automation.imagine_step(
  execution public.workflow_executions, step jsonb, zone text)
  returns jsonb
  language plpgsql stable
  set search_path = ''
  as $$
declare
  prepared automation.prepared_step := automation.prepare_step(execution, step);
begin
  if prepared.verdict = 'run' then
    prepared := automation.ask_consent(execution, step ->> 'type', prepared);
  end if;
  return jsonb_build_object(
    'key', step -> 'key', 'type', step -> 'type',
    'verdict', prepared.verdict, 'reason', prepared.reason, 'input', prepared.input,
    'warnings', prepared.warnings,
    'conditions', case when jsonb_typeof(step -> 'conditions') = 'object' then
      automation.explain_conditions(
        step -> 'conditions', automation.execution_context(execution, step -> 'roots'), zone,
        automation.now())
      end);
end;
$$;

create or replace function automation.imagine_path(
  execution public.workflow_executions, plan jsonb, zone text)
  returns jsonb
  language plpgsql stable
  set search_path = ''
  as $$
declare
  step jsonb := plan -> 'steps' -> (plan ->> 'first');
  at timestamptz := automation.now();
  taken jsonb;
  path jsonb := '[]'::jsonb;
begin
  while step is not null loop
    at := at + make_interval(secs => (step ->> 'delay_seconds')::double precision);
    taken := automation.imagine_step(execution, step, zone) || jsonb_build_object('at', at);
    if step ->> 'type' = 'wait' and taken ->> 'verdict' = 'run' then
      at := at + ((automation.wait(execution, taken -> 'input') ->> 'wait_until')::timestamptz - automation.now());
      taken := taken || jsonb_build_object('until', at);
    end if;
    path := path || taken;
    exit when taken ->> 'verdict' = 'fail' and not (step ->> 'continue_on_error')::boolean;
    step := plan -> 'steps' -> (step ->> 'next');
  end loop;
  return path;
end;
$$;

create or replace function automation.test_workflow(workflow_id uuid, trigger_data jsonb)
  returns jsonb
  language plpgsql stable
  security definer
  set search_path = ''
  as $$
declare
  workflow constant public.workflows := automation.find_workflow(workflow_id);
  compiled automation.compiled_workflow;
  data jsonb;
  conditions jsonb;
begin
  perform automation.check_object(trigger_data, 'trigger_data');
  compiled := automation.compile_workflow(workflow);
  if compiled.problems @> '[{"severity": "error"}]' then
    return jsonb_build_object('valid', false, 'problems', compiled.problems);
  end if;
  data := automation.complete_trigger_data(workflow.tenant_id, trigger_data);
  conditions := automation.explain_conditions_of(workflow, data);
  return jsonb_build_object(
    'valid', true, 'problems', compiled.problems,
    'trigger', automation.explain_listener(workflow, data),
    'conditions', conditions,
    'enrolls', coalesce((conditions ->> 'verdict')::boolean, true),
    'path', case when coalesce((conditions ->> 'verdict')::boolean, true) then
      automation.imagine_path(
        automation.imagine_execution(workflow, data), compiled.plan,
        automation.tenant_zone(workflow.tenant_id))
      else '[]' end);
end;
$$;

create or replace function public.test_workflow(workflow_id uuid, trigger_data jsonb default '{}')
  returns jsonb
  language sql stable
  set search_path = ''
  as $$ select automation.test_workflow(workflow_id, trigger_data) $$;

comment on function public.test_workflow(uuid, jsonb) is
  'A dry run of the workflow as it is now, published or not, for records of the tenant '
  '({"contact_id": ...}) or made-up ones ({"contact": {...}}), with no effect whatsoever: {valid, '
  'problems, trigger, conditions, enrolls, path: [{key, type, at, verdict, reason, input, ...}]}. '
  'Waits are followed on a virtual clock; results of earlier steps are empty.';

create or replace function public.explain_enrollment(workflow_id uuid, record jsonb)
  returns jsonb
  language sql stable
  set search_path = ''
  as $$ select automation.explain_enrollment(workflow_id, record) $$;

comment on function public.explain_enrollment(uuid, jsonb) is
  'Why did, or did not, this record enter this workflow? record: {"contact_id": ...} and the like. '
  'Each check with what it expected and found, and the executions there were.';

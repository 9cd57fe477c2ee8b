-- Looking before leaping: what a workflow would do, and why it did or did not fire. Nothing here
-- writes a row.

create or replace function automation.explain_listener(
  workflow ridgeline.workflows, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listener constant automation.compiled_trigger :=
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config);
  record constant jsonb := coalesce(data -> listener.entity, data);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'field', w.field, 'expected', w.value, 'actual', record -> w.field,
      'passed', coalesce(w.passed, false)) order by w.field), '[]')
    from (
      select m.key as field, m.value, record @> jsonb_build_object(m.key, m.value) as passed
      from jsonb_each(listener.match) as m
      union all
      select m.key, m.value, m.value @> (record -> m.key) from jsonb_each(listener.match_any) as m
      union all
      -- What a change has to lead to.
      select listener.field, listener.to_values, listener.to_values @> (record -> listener.field)
      where listener.to_values is not null
      union all
      select t.column_name, to_jsonb(t.becomes), lower(record ->> t.column_name) = lower(t.becomes)
      from automation.trigger_types as t
      where t.name = workflow.trigger_type and t.becomes is not null
    ) as w);
end;
$$;

comment on function automation.explain_listener(ridgeline.workflows, jsonb) is
  'Each equality of the trigger_config, and the values a change has to lead to, with what the record has.';

-- Time and people start some; the others need a listener, which detaching takes away.
create or replace function automation.is_listening(workflow ridgeline.workflows) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from automation.active_triggers as t
      where t.tenant_id = workflow.tenant_id and t.workflow_id = workflow.id
        and t.version = workflow.published_version and t.role = 'enrol')
  $$;

-- When did the thing happen that would have started the workflow: the record was made, or last changed?
create or replace function automation.moment_of(workflow ridgeline.workflows, data jsonb) returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.instant_in(coalesce(
        case when t.kind <> 'created' then coalesce(
          r.record ->> automation.mapped_column(r.entity, 'updated_at'), r.record ->> 'updated_at') end,
        r.record ->> automation.mapped_column(r.entity, 'created_at'), r.record ->> 'created_at'),
      automation.tenant_zone(workflow.tenant_id))
    from automation.trigger_types as t
    cross join (select data ->> 'entity' as entity, data -> (data ->> 'entity') as record) as r
    where t.name = workflow.trigger_type and t.kind in ('created', 'updated', 'changed', 'becomes')
  $$;

-- {listening, happened_at, periods, reason}: was anybody listening when it happened? periods: the last ones
-- in which the workflow was on.
create or replace function automation.explain_activity(workflow ridgeline.workflows, data jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listening constant boolean := automation.is_listening(workflow);
  happened constant timestamptz := automation.moment_of(workflow, data);
  periods constant jsonb := (
    select coalesce(jsonb_agg(jsonb_build_object(
      'version', a.version, 'from', a.active_from, 'until', a.active_until, 'ended_by', a.ended_by)
      order by a.active_from, a.id), '[]')
    from (
      select p.* from automation.activations as p
      where p.tenant_id = workflow.tenant_id and p.workflow_id = workflow.id
      order by p.active_from desc, p.id desc limit 50
    ) as a);
begin
  return jsonb_build_object(
    'listening', listening, 'happened_at', happened, 'periods', periods,
    'reason', automation.missed_because(workflow, happened, listening));
end;
$$;

create or replace function automation.missed_because(
  workflow ridgeline.workflows, happened timestamptz, listening boolean)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when workflow.published_version is null then 'the workflow was never published'
      when happened < p.first then format(
        'it happened at %s, before the workflow was first published at %s', happened, p.first)
      when happened is not null and not p.covered then format(
        'it happened at %s, while %s: it listened until %s%s', happened,
        case p.ended_by when 'detach' then 'the table was detached' else 'the workflow was off' end,
        p.until, coalesce(' and again from ' || p.again, ''))
      when not workflow.is_active then format('the workflow is off since %s', p.last_until)
      when not listening then format('nothing starts it: %s is not attached', coalesce((
        select nullif(t.entity, '') from automation.trigger_types as t where t.name = workflow.trigger_type),
        'its table'))
    end
    from (
      select min(a.active_from) as first, max(a.active_until) as last_until,
        coalesce(bool_or(happened >= a.active_from and happened < coalesce(a.active_until, 'infinity')), false)
          as covered,
        max(a.active_until) filter (where a.active_until <= happened) as until,
        min(a.active_from) filter (where a.active_from > happened) as again,
        (array_agg(a.ended_by order by a.active_until desc) filter (where a.active_until <= happened))[1]
          as ended_by
      from automation.activations as a
      where a.tenant_id = workflow.tenant_id and a.workflow_id = workflow.id
    ) as p
  $$;

-- What new runs start with: the published version, or the draft while there is none.
create or replace function automation.explain_enrollment(workflow_id uuid, record jsonb)
  returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant ridgeline.workflows := automation.study_workflow(workflow_id);
  tested constant automation.tested_workflow :=
    automation.compile_tested(written, written.published_version);
  workflow constant ridgeline.workflows := tested.workflow;
  lifecycle constant jsonb := (tested.compiled).plan -> 'lifecycle';
  mode constant ridgeline.execution_mode := automation.mode_of(written.tenant_id, written.id);
  data jsonb;
  fired_id text;
  trigger_checks jsonb;
  conditions jsonb;
  recent integer;
  earlier automation.entries;
begin
  perform automation.check_object(record, 'record');
  perform automation.check_author(workflow.tenant_id, automation.entities_of(
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config), (tested.compiled).plan));
  data := automation.complete_trigger_data(workflow.tenant_id, record);
  fired_id := data ->> ((data ->> 'entity') || '_id');
  trigger_checks := automation.explain_listener(workflow, data);
  if (tested.compiled).conditions is not null then
    conditions := automation.explain_conditions(
      (tested.compiled).conditions, automation.trigger_context(workflow.tenant_id, data),
      automation.tenant_zone(workflow.tenant_id), automation.now());
  end if;
  recent := automation.count_enrolments(
    workflow.tenant_id, workflow.id, fired_id,
    automation.now() - automation.setting('enrollment_window')::interval, 10001, coalesce(mode, 'live'));
  if lifecycle ? 'reentry' then
    earlier := automation.last_entry(
      workflow.tenant_id, workflow.id,
      automation.entry_key_in(mode, automation.entry_key(automation.imagine_execution(workflow, data), lifecycle)),
      fired_id);
  end if;
  return jsonb_build_object(
    'would_enroll',
      workflow.is_active and workflow.published_version is not null and mode is not null
      and automation.is_listening(written)
      and not trigger_checks @> '[{"passed": false}]'
      and coalesce((conditions ->> 'verdict')::boolean, true)
      and recent < automation.setting('max_enrollments')::integer
      and automation.may_enter(lifecycle -> 'reentry', earlier),
    'workflow', jsonb_build_object(
      'is_active', workflow.is_active, 'mode', coalesce(mode::text, 'off'),
      'published_version', workflow.published_version,
      'has_unpublished_changes', automation.has_changes(written),
      'trigger_type', workflow.trigger_type),
    'trigger', trigger_checks,
    'conditions', conditions,
    'reentry', case when lifecycle ? 'reentry' then lifecycle -> 'reentry' || jsonb_build_object(
      'last_entered_at', earlier.entered_at, 'last_execution_id', earlier.execution_id,
      'passed', automation.may_enter(lifecycle -> 'reentry', earlier)) end,
    'recent_enrollments', jsonb_build_object(
      'count', recent, 'limit', automation.setting('max_enrollments')::integer,
      'window', automation.setting('enrollment_window')),
    'activity', automation.explain_activity(written, data),
    'executions', (
      select coalesce(jsonb_agg(to_jsonb(e) order by e.created_at desc), '[]')
      from (
        select x.id, x.status, x.version, x.error, x.created_at
        from ridgeline.workflow_executions as x
        where x.tenant_id = workflow.tenant_id and x.record_id = fired_id
          and x.workflow_id = workflow.id
        order by x.created_at desc
        limit 10
      ) as e));
end;
$$;

-- The execution that a dry run pretends to be in: a row that is never written. Its version is 0, which
-- tells automation.read_root() that its records are the ones it brings along.
create or replace function automation.imagine_execution(
  workflow ridgeline.workflows, data jsonb)
  returns ridgeline.workflow_executions
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_populate_record(null::ridgeline.workflow_executions, jsonb_build_object(
      'tenant_id', workflow.tenant_id, 'id', gen_random_uuid(), 'workflow_id', workflow.id,
      'version', 0, 'status', 'running', 'trigger_type', workflow.trigger_type,
      'trigger_data', data, 'entity', data -> 'entity',
      'record_id', data -> ((data ->> 'entity') || '_id'), 'contact_id', data -> 'contact_id',
      'depth', 0, 'created_at', automation.now(), 'started_at', automation.now()))
  $$;

create type automation.imagined_step as (shown jsonb, data jsonb);

-- One step, as of a time. shown: {key, type, at, verdict, reason, input, warnings, conditions, result}; data: the
-- records as it would leave them.
create or replace function automation.imagine_step(
  execution ridgeline.workflow_executions, step jsonb, zone text, at timestamptz, events jsonb)
  returns automation.imagined_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  prepared automation.prepared_step;
  imagined automation.imagined;
  gated automation.send_verdict;
  result jsonb;
  cost automation.message_cost;
begin
  begin
    prepared := automation.prepare_step(execution, step, at);
    -- Nobody to send as: it would wait for a sender, and the steps after it with it.
    if prepared.verdict = 'hold' then
      gated.verdict := 'hold';
      gated.held := prepared.reason -> 'held';
      gated.until := 'infinity';
      prepared.reason := null;
    end if;
    if prepared.verdict = 'run' and automation.channel_of(step ->> 'type') is distinct from 'database' then
      gated := automation.foresee(execution, step, prepared, at);
      prepared := gated.prepared;
    end if;
    if prepared.verdict = 'run' then
      cost := (automation.costs_of(array[execution.tenant_id], array[automation.channel_of(step ->> 'type')],
        array[prepared.input], array[prepared.recipient], array[prepared.country]))[1];
      imagined := automation.step_imagine(step ->> 'type', execution, step, prepared.input, at, events);
      result := imagined.result;
    end if;
  exception when others then
    prepared.verdict := 'fail';
    prepared.reason := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  return row(jsonb_build_object(
    'key', step -> 'key', 'type', coalesce(step -> 'as', step -> 'type'), 'at', at,
    'verdict', case prepared.verdict when 'hold' then 'run' else prepared.verdict end, 'reason', prepared.reason,
    'input', prepared.input,
    'warnings', prepared.warnings,
    'conditions', case when jsonb_typeof(step -> 'conditions') = 'object' then
      automation.explain_conditions(
        step -> 'conditions', automation.execution_context(execution, step -> 'roots'), zone, at)
      end)
    || case when result <> '{}' then jsonb_build_object('result', result) else '{}' end
    || case when result ? 'wait_until' then jsonb_build_object('until', result -> 'wait_until') else '{}' end
    || jsonb_strip_nulls(jsonb_build_object('segments', cost.segments, 'cost', cost.cost))
    || case when gated.verdict = 'hold' then jsonb_build_object('held', gated.held, 'until', gated.until) else '{}' end,
    coalesce(imagined.data, execution.trigger_data))::automation.imagined_step;
end;
$$;

create or replace function automation.imagine_exit(
  execution ridgeline.workflow_executions, lifecycle jsonb, zone text, at timestamptz)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('status', 'cancelled', 'at', at, 'code', 'exit_conditions', 'conditions', e.why)
    from (
      select automation.explain_conditions(
        lifecycle -> 'exit', automation.execution_context(execution, lifecycle #> '{exit,roots}'), zone, at) as why
      where lifecycle ? 'exit'
    ) as e
    where (e.why ->> 'verdict')::boolean
  $$;

-- The way a run would take, on a clock of its own: {path, cost, ended}. Where it leads, when, and how it ends is asked
-- of what moves a run (50_executions/04_transitions).
create or replace function automation.imagine_path(
  execution ridgeline.workflow_executions, plan jsonb, zone text, at timestamptz, events jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  step jsonb := plan -> 'steps' -> (plan ->> 'first');
  next_step jsonb;
  imagined automation.imagined_step;
  taken jsonb;
  status ridgeline.automation_status;
  ends_as ridgeline.automation_status;
  path jsonb := '[]'::jsonb;
  ended jsonb;
begin
  at := automation.due_after(step, null, at);
  while step is not null and ended is null loop
    ended := automation.imagine_exit(execution, plan -> 'lifecycle', zone, at);
    exit when ended is not null;
    imagined := automation.imagine_step(execution, step, zone, at, events);
    taken := imagined.shown;
    path := path || taken;
    status := case taken ->> 'verdict'
      when 'run' then 'completed' when 'skip' then 'skipped' else 'failed' end::ridgeline.automation_status;
    execution.trigger_data := imagined.data || jsonb_build_object(
      'steps', coalesce(execution.trigger_data -> 'steps', '{}') || jsonb_build_object(
        step ->> 'key', coalesce(taken -> 'result', '{}') || jsonb_build_object('status', status)));
    at := greatest(at, (taken ->> 'until')::timestamptz);
    next_step := plan -> 'steps' -> automation.next_key(step, taken -> 'result');
    ends_as := automation.ends_as(status, step, taken -> 'result', next_step);
    if at = 'infinity' then
      -- It stays where it is.
      ended := jsonb_build_object('status', 'waiting', 'at', taken -> 'at', 'step', step -> 'key');
    elsif ends_as is not null then
      ended := jsonb_build_object('status', ends_as, 'at', at, 'step', step -> 'key');
    else
      at := greatest(at, automation.due_after(next_step, taken -> 'result', at));
    end if;
    step := next_step;
  end loop;
  return jsonb_build_object('path', path,
    'cost', (select coalesce(sum((p ->> 'cost')::numeric), 0) from jsonb_array_elements(path) as p),
    'ended', coalesce(ended, jsonb_build_object('status', 'completed', 'at', at)));
end;
$$;

create type automation.tested_workflow as (
  workflow ridgeline.workflows,
  compiled automation.compiled_workflow
);

-- What is tested: the draft as it is now, or a version.
create or replace function automation.compile_tested(workflow ridgeline.workflows, version_asked integer)
  returns automation.tested_workflow
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version ridgeline.workflow_versions;
begin
  if version_asked is null then
    return row(workflow, automation.compile_workflow(workflow))::automation.tested_workflow;
  end if;
  select v.* into version from ridgeline.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id and v.version = version_asked;
  if not found then
    raise exception 'options.version: there is no version %', version_asked using errcode = 'PT404';
  end if;
  workflow.trigger_type := version.trigger_type;
  workflow.trigger_config := version.trigger_config;
  return row(workflow, row(
    automation.compile_trigger(version.trigger_type, version.trigger_config),
    version.conditions, automation.readable_plan(version.plan),
    '[]')::automation.compiled_workflow)::automation.tested_workflow;
end;
$$;

create or replace function automation.test_options(options jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown text;
begin
  perform automation.check_object(options, 'options');
  select k into unknown from jsonb_object_keys(options) as k where k not in ('version', 'at', 'events') limit 1;
  if unknown is not null then
    raise exception 'options.%: there is no such option', unknown using errcode = 'invalid_parameter_value',
      hint = 'version, at and events are known.';
  elsif options ? 'version' and options ->> 'version' !~ '^\d{1,9}$' then
    raise exception 'options.version: a version number is needed' using errcode = 'invalid_parameter_value';
  elsif options ? 'at' and not automation.is_date(options ->> 'at') then
    raise exception 'options.at: a time is needed' using errcode = 'invalid_parameter_value',
      hint = 'Such as 2026-12-01T09:30:00Z.';
  elsif options ? 'events' and jsonb_typeof(options -> 'events') <> 'object' then
    raise exception 'options.events: an object is needed' using errcode = 'invalid_parameter_value',
      hint = 'The key of each step whose event comes, such as {"wait_for_reply": {"body": "Yes"}}.';
  end if;
  return options;
end;
$$;

create or replace function automation.test_workflow(workflow_id uuid, trigger_data jsonb, options jsonb)
  returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked constant jsonb := automation.test_options(options);
  tested automation.tested_workflow;
  workflow ridgeline.workflows := automation.study_workflow(workflow_id);
  zone constant text := automation.tenant_zone(workflow.tenant_id);
  at constant timestamptz := coalesce(
    automation.instant_in(asked ->> 'at', zone), automation.now());
  data jsonb;
  conditions jsonb;
begin
  perform automation.check_editor(workflow.tenant_id, 'trying a workflow');
  perform automation.check_not_forgotten(workflow.tenant_id);
  perform automation.check_object(trigger_data, 'trigger_data');
  tested := automation.compile_tested(workflow, (asked ->> 'version')::integer);
  workflow := tested.workflow;
  if (tested.compiled).problems @> '[{"severity": "error"}]' then
    return jsonb_build_object('valid', false, 'problems', (tested.compiled).problems);
  end if;
  perform automation.check_author(workflow.tenant_id, automation.entities_of(
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config), (tested.compiled).plan));
  data := automation.complete_trigger_data(workflow.tenant_id, trigger_data);
  conditions := case when (tested.compiled).conditions is not null then automation.explain_conditions(
    (tested.compiled).conditions, automation.trigger_context(workflow.tenant_id, data), zone, at) end;
  return jsonb_build_object(
      'valid', true, 'problems', (tested.compiled).problems,
      'trigger', automation.explain_listener(workflow, data),
      'conditions', conditions,
      'enrolls', coalesce((conditions ->> 'verdict')::boolean, true))
    || case when coalesce((conditions ->> 'verdict')::boolean, true) then
      automation.imagine_path(
        automation.imagine_execution(workflow, data), (tested.compiled).plan, zone, at,
        coalesce(asked -> 'events', '{}'))
      else '{"path": []}' end;
end;
$$;

create or replace function ridgeline.test_workflow(
  workflow_id uuid, trigger_data jsonb default '{}', options jsonb default '{}',
  tenant_id uuid default null)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.test_workflow(workflow_id, automation.check_seen(trigger_data), options)
    from automation.in_tenant(coalesce(tenant_id, automation.as_uuid(trigger_data ->> 'tenant_id')))
  $$;

comment on function ridgeline.test_workflow(uuid, jsonb, jsonb, uuid) is
  'A dry run for records of the tenant ({"contact_id": ...}) or made-up ones ({"contact": {...}}), with no '
  'effect whatsoever: {valid, problems, trigger, conditions, enrolls, path: [{key, type, at, verdict, '
  'reason, input, conditions, result, until, held, segments, cost}], cost, ended: {status, at}}. It follows branches, '
  'and waits on a clock of its own; what a step would change is seen by the steps after it. options: version (the '
  'draft when left out), at (when it begins), events ({<step key>: {...}}: what comes for steps that wait for an '
  'event; the others time out).';

create or replace function ridgeline.explain_enrollment(
  workflow_id uuid, record jsonb, tenant_id uuid default null)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.explain_enrollment(workflow_id, automation.check_seen(record))
    from automation.in_tenant(coalesce(tenant_id, automation.as_uuid(record ->> 'tenant_id')))
  $$;

comment on function ridgeline.explain_enrollment(uuid, jsonb, uuid) is
  'Why did, or did not, this record enter this workflow? record: {"contact_id": ...} and the like. '
  'Each check with what it expected and found, and the executions there were.';

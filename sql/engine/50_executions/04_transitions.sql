-- The state machine of an execution (drawn in sql/README.md). Every change of status is one of
-- these functions, each called with the execution row locked.

create or replace function automation.lock_execution(tenant_id uuid, id uuid)
  returns ridgeline.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select e from ridgeline.workflow_executions as e
    where e.tenant_id = lock_execution.tenant_id and e.id = lock_execution.id
    for no key update
  $$;

create or replace function automation.is_finished(execution ridgeline.workflow_executions)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select execution.finished_at is not null $$;

create or replace function automation.end_execution(
  execution ridgeline.workflow_executions, status ridgeline.automation_status,
  error jsonb default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.workflow_executions as e
    set changed_at = automation.now(), status = end_execution.status, error = end_execution.error, current_step = null,
      started_at = coalesce(e.started_at, automation.now()), finished_at = automation.now()
    where e.tenant_id = execution.tenant_id and e.id = execution.id
  $$;

create or replace function automation.schedule_step(
  execution ridgeline.workflow_executions, step jsonb, run_at timestamptz)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  scheduled_id uuid;
begin
  insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at, expires_at)
  values (execution.tenant_id, execution.id, step ->> 'key',
    (step ->> 'lane')::ridgeline.automation_lane, run_at,
    case when run_at < execution.expires_at then execution.expires_at end)
  returning id into scheduled_id;
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(), status = case
      when run_at > automation.now() then 'waiting' else 'running'
    end::ridgeline.automation_status,
    current_step = step ->> 'key', expires_at = execution.expires_at,
    started_at = coalesce(e.started_at, automation.now())
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return scheduled_id;
end;
$$;

create or replace function automation.plan_of(execution ridgeline.workflow_executions) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.readable_plan(v.plan)
    from ridgeline.workflow_versions as v
    where v.tenant_id = execution.tenant_id
      and v.workflow_id = execution.workflow_id
      and v.version = execution.version
  $$;

create or replace function automation.plan_step(
  execution ridgeline.workflow_executions, step_key text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.plan_of(execution) -> 'steps' -> plan_step.step_key;
end;
$$;

-- Where a step leads: to what its result chose, or else to what comes after it.
create or replace function automation.next_key(step jsonb, result jsonb) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when step -> 'branches' ? (result ->> 'branch') then step -> 'branches' ->> (result ->> 'branch')
    else step ->> 'next'
  end;
end;
$$;

-- How a run ends with a step that has ended; null: it goes on with the next one. A failure ends it unless the step says
-- continue_on_error, a stop as it says, and so does the end of the way. The dry run asks this as well.
create or replace function automation.ends_as(
  status ridgeline.automation_status, step jsonb, result jsonb, next_step jsonb)
  returns ridgeline.automation_status
  language sql stable
  -- Bound when created: no search_path to set, and it is inlined.
  return case
    when status = 'failed' and not coalesce((step ->> 'continue_on_error')::boolean, false)
      then 'failed'::ridgeline.automation_status
    when result ? 'stop' then (result ->> 'outcome')::ridgeline.automation_status
    when next_step is null then 'completed'::ridgeline.automation_status end;

-- When the step after one that ended at a time is due: its own delay, after whatever that one waited for.
create or replace function automation.due_after(next_step jsonb, result jsonb, ended_at timestamptz)
  returns timestamptz
  language sql stable
  -- Bound when created: no search_path to set, and it is inlined.
  return coalesce((result ->> 'wait_until')::timestamptz, ended_at)
    + make_interval(secs => (next_step ->> 'delay_seconds')::double precision);

-- After steps have ended: the next one of each run, or its end.

create type automation.transition as (
  tenant_id uuid,
  execution_id uuid,
  queue_id uuid,
  ended ridgeline.automation_status,
  error jsonb,
  step_key text,
  lane ridgeline.automation_lane,
  run_at timestamptz,
  expires_at timestamptz
);

comment on type automation.transition is 'Where a run goes: it has ended, or its next step is due at run_at.';

create or replace function automation.transition_to(
  execution ridgeline.workflow_executions, step jsonb, run_at timestamptz, expires_at timestamptz)
  returns automation.transition
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(execution.tenant_id, execution.id, automation.new_id(), null, null, step ->> 'key', step ->> 'lane',
    run_at, expires_at)::automation.transition;
end;
$$;

create or replace function automation.transition_after(done automation.work) returns automation.transition
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ended ridgeline.automation_status := automation.ends_as(done.status, done.step, done.result, done.next_step);
  why jsonb;
begin
  -- What is only sent again has been followed by what comes next.
  if ended is null and (done.execution).trigger_data ? 'sent_again_for' then
    ended := 'completed';
  end if;
  if ended is null then
    return automation.transition_to(done.execution, done.next_step,
      automation.due_after(done.next_step, done.result, automation.now()),
      coalesce((done.result ->> 'expires_at')::timestamptz, (done.execution).expires_at));
  elsif ended = 'failed' then
    why := done.error || jsonb_build_object('step', done.step ->> 'key');
  elsif ended = 'cancelled' then
    why := jsonb_build_object(
      'code', 'stopped', 'message', coalesce(done.result ->> 'reason', 'a stop step ended the run'),
      'step', done.step -> 'key');
  end if;
  return row((done.execution).tenant_id, (done.execution).id, null, ended, why, null, null, null, null
    )::automation.transition;
end;
$$;

comment on function automation.transition_after(automation.work) is
  'The end of the run that ends_as() says, or else the next step on the branch that the result chose, when due_after() '
  'says.';

-- Asked within what it does for: an expression costs a tenth of a statement that is performed. So it says how many.
create or replace function automation.go_on(transitions automation.transition[]) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
declare
  at constant timestamptz := automation.now();
  transition automation.transition;
  any_goes_on boolean := false;
  counting text;
begin
  if cardinality(transitions) = 0 then
    return 0;
  end if;
  foreach transition in array transitions loop
    any_goes_on := any_goes_on or transition.ended is null;
  end loop;
  if any_goes_on then
    insert into ridgeline.scheduled_steps (tenant_id, id, execution_id, step_key, lane, run_at, expires_at)
    select t.tenant_id, t.queue_id, t.execution_id, t.step_key, t.lane, t.run_at,
      case when t.run_at < t.expires_at then t.expires_at end
    from unnest(transitions) as t
    where t.ended is null;
  end if;
  counting := set_config('automation.counting', 'runs', true);
  with moved as (
    update ridgeline.workflow_executions as e
    set changed_at = at, status = coalesce(
        t.ended, case when t.run_at > at then 'waiting' else 'running' end::ridgeline.automation_status),
      current_step = t.step_key, started_at = coalesce(e.started_at, at),
      error = case when t.ended is null then e.error else t.error end,
      expires_at = case when t.ended is null then t.expires_at else e.expires_at end,
      finished_at = case when t.ended is not null then at end
    from (
      select u.*, q.ctid as place, q.finished_at as was
      from unnest(transitions) as u
      cross join lateral (
        select x.ctid, x.finished_at from ridgeline.workflow_executions as x
        where x.tenant_id = u.tenant_id and x.id between u.execution_id and u.execution_id order by x.id limit 1) as q
    ) as t
    where e.ctid = t.place
    returning e.tenant_id, e.workflow_id, e.version, e.created_at, e.finished_at, e.status, e.mode, t.was
  )
  insert into automation.statistic_changes (
    tenant_id, workflow_id, version, step_key, entered_at, at, outcome, mode)
  select m.tenant_id, m.workflow_id, m.version, '', m.created_at, m.finished_at, m.status, m.mode
  from moved as m
  where m.finished_at is not null and m.was is null;
  counting := set_config('automation.counting', left(counting, 0), true);
  return cardinality(transitions);
end;
$$;

create or replace function automation.advance(done automation.work[]) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  transitions automation.transition[] := '{}'::automation.transition[];
begin
  foreach work in array done loop
    if (work.execution).finished_at is null then
      transitions := transitions || automation.transition_after(work);
    end if;
  end loop;
  return automation.go_on(transitions);
end;
$$;

comment on function automation.advance(automation.work[]) is
  'Moves runs on after a step of theirs, as transition_after() says; those that have ended meanwhile stay so.';

-- Everything that has not been claimed is stopped. Lock order: queue rows first, as in a claim; a
-- claim that is under way is waited for and then left alone. Once the execution is locked no queue row
-- is waited for. Nobody is asked: what comes in may show that a run should not have begun, whoever reports it.
create or replace function automation.cancel_run(tenant_id uuid, execution_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions;
begin
  delete from ridgeline.scheduled_steps as s
  where s.execution_id = cancel_run.execution_id and s.tenant_id = cancel_run.tenant_id and s.lease_expires_at is null;
  execution := automation.lock_execution(tenant_id, execution_id);
  -- A step that advanced while we waited for the lock has queued the next one.
  if execution.id is not null and not automation.is_finished(execution) then
    perform automation.stop_execution(execution, 'cancelled', null);
  end if;
end;
$$;

create or replace function automation.cancel_execution(execution_id uuid)
  returns ridgeline.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution constant ridgeline.workflow_executions := automation.find_execution(execution_id);
begin
  perform automation.check_editor(execution.tenant_id, 'cancelling a run');
  perform automation.cancel_run(execution.tenant_id, execution.id);
  return automation.find_execution(execution_id);
end;
$$;

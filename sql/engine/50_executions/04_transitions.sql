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
    set status = end_execution.status, error = end_execution.error, current_step = null,
      started_at = coalesce(e.started_at, automation.now()), finished_at = automation.now()
    where e.tenant_id = execution.tenant_id and e.id = execution.id
  $$;

create or replace function automation.mark_running(
  execution ridgeline.workflow_executions, step_key text)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.workflow_executions as e
    set status = 'running', current_step = mark_running.step_key,
      started_at = coalesce(e.started_at, automation.now())
    where e.tenant_id = execution.tenant_id and e.id = execution.id
      and (e.status <> 'running' or e.current_step is distinct from mark_running.step_key)
  $$;

create or replace function automation.schedule_step(
  execution ridgeline.workflow_executions, step jsonb, run_at timestamptz)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
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
  set status = case
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
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.plan_of(execution) -> 'steps' -> plan_step.step_key $$;

-- Where a step leads: to what its result chose, or else to what comes after it.
create or replace function automation.next_key(step jsonb, result jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when step -> 'branches' ? (result ->> 'branch') then step -> 'branches' ->> (result ->> 'branch')
      else step ->> 'next'
    end
  $$;

-- When the step after this one is due: its own delay, after whatever this one waited for.
create or replace function automation.next_run_at(next_step jsonb, result jsonb)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((result ->> 'wait_until')::timestamptz, automation.now())
      + make_interval(secs => (next_step ->> 'delay_seconds')::double precision)
  $$;

-- After a step has ended: the next one, or the end.
create or replace function automation.advance(
  execution ridgeline.workflow_executions, step jsonb, outcome ridgeline.automation_status,
  result jsonb, error jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  next_step jsonb;
begin
  if automation.is_finished(execution) then
    return;
  elsif outcome = 'failed' and not coalesce((step ->> 'continue_on_error')::boolean, false) then
    perform automation.end_execution(
      execution, 'failed', error || jsonb_build_object('step', step ->> 'key'));
    return;
  end if;
  if result ? 'stop' then
    perform automation.end_execution(
      execution, (result ->> 'outcome')::ridgeline.automation_status, case result ->> 'outcome'
        when 'cancelled' then jsonb_build_object(
          'code', 'stopped', 'message', coalesce(result ->> 'reason', 'a stop step ended the run'),
          'step', step -> 'key') end);
    return;
  end if;
  execution.expires_at := coalesce((result ->> 'expires_at')::timestamptz, execution.expires_at);
  next_step := automation.plan_step(execution, automation.next_key(step, result));
  if next_step is null then
    perform automation.end_execution(execution, 'completed');
  else
    perform automation.schedule_step(
      execution, next_step, automation.next_run_at(next_step, result));
  end if;
end;
$$;

comment on function automation.advance(
  ridgeline.workflow_executions, jsonb, ridgeline.automation_status, jsonb, jsonb) is
  'Moves an execution on after a step: a failure ends it unless the step says continue_on_error; '
  'otherwise the next step on the branch that the result chose is scheduled, or the execution '
  'completes, as it does at a stop.';

-- Everything that has not been claimed is stopped. Lock order: queue rows first, as in a claim; a
-- claim that is under way is waited for and then left alone. Once the execution is locked no queue row
-- is waited for.
create or replace function automation.cancel_execution(execution_id uuid)
  returns ridgeline.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions := automation.find_execution(execution_id);
begin
  perform automation.check_editor(execution.tenant_id, 'cancelling a run');
  delete from ridgeline.scheduled_steps as s
  where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
    and s.lease_expires_at is null;
  execution := automation.lock_execution(execution.tenant_id, execution.id);
  if automation.is_finished(execution) then
    return execution;
  end if;
  -- A step that advanced while we waited for the lock has queued the next one.
  perform automation.stop_execution(execution, 'cancelled', null);
  return automation.find_execution(execution_id);
end;
$$;

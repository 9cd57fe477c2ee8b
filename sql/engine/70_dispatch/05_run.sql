-- Running database steps. The effect and its ledger row are one transaction: a crash undoes both,
-- and the step is run again as if it had never been tried.

create or replace function automation.run_database_steps(max_steps integer default 200)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- Shorter than deadlock_timeout (1 s by default): should a user's transaction and this one ever
  -- wait for each other, this one gives way before Postgres picks a victim.
  set lock_timeout = '100ms'
  as $$
declare
  due ridgeline.scheduled_steps;
  done record;
  found_any boolean := false;
  ran integer := 0;
begin
  perform automation.run_signals();
  if automation.time_is_up() then
    return 0;
  end if;
  for due in select * from automation.lock_due('database', max_steps) loop
    found_any := true;
    done := automation.run_due_step(due);
    ran := ran + done.ran;
    exit when done.cut_off;
  end loop;
  -- What cut others off is tried when there is nothing else.
  if not found_any then
    for due in select * from automation.lock_suspect('database') loop
      ran := automation.try_suspect(due);
    end loop;
  end if;
  perform automation.clear_cause();
  return ran;
end;
$$;

comment on function automation.run_database_steps(integer) is
  'Runs due database steps, those of up to max_steps executions, each exactly once, in one transaction, which '
  'holds what they wrote to until it ends: work_database_steps() commits after each. Returns how many ran.';

create or replace function automation.try_suspect(due ridgeline.scheduled_steps) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  done constant record := automation.run_due_step(due);
begin
  if not done.cut_off then
    perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
  end if;
  return done.ran;
end;
$$;

-- From a due step to the first one that has to wait or to leave Postgres, or whose turn comes when the
-- portion has had its time. cut_off: the statement was cancelled during the last one.
create or replace function automation.run_due_step(
  due ridgeline.scheduled_steps, out ran integer, out cut_off boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  execution ridgeline.workflow_executions := automation.lock_execution(due.tenant_id, due.execution_id);
  plan jsonb;
  steps jsonb;
  step jsonb;
  step_id uuid := due.id;
  run record;
begin
  ran := 0;
  cut_off := false;
  if automation.is_finished(execution) then
    perform automation.unschedule(due);
    return;
  elsif automation.is_held(execution) then
    perform automation.hold_step(due);
    return;
  end if;
  perform automation.cause_of(execution);
  plan := automation.plan_of(execution);
  steps := plan -> 'steps';
  step := coalesce(steps -> due.step_key, jsonb_build_object('key', due.step_key, 'type', 'unknown'));
  loop
    run := automation.run_database_step(execution, step, plan, step_id);
    exit when run.outcome in ('busy', 'cut off');
    ran := ran + 1;
    exit when run.outcome <> 'go on';
    step := steps -> run.next_key;
    step_id := automation.new_id();
    execution.started_at := coalesce(execution.started_at, automation.now());
    exit when automation.is_over(began);
  end loop;
  cut_off := run.outcome = 'cut off';
  if ran = 0 then
    if not cut_off then
      perform automation.yield_step(due);
    end if;
  else
    perform automation.unschedule(due);
    if run.outcome <> 'done' then
      due.step_key := step ->> 'key';
      due.id := automation.schedule_step(execution, step, automation.now()
        + case run.outcome when 'busy' then interval '1 second' else interval '0' end);
    end if;
  end if;
  if cut_off then
    perform automation.note_cut_off(due);
  end if;
end;
$$;

create or replace function automation.yield_step(due ridgeline.scheduled_steps) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.scheduled_steps as s
    set run_at = automation.now() + interval '1 second'
    where s.tenant_id = due.tenant_id and s.id = due.id
  $$;

-- One step. 'go on': the next one is a database step and due now; 'busy': something it needs is locked by
-- somebody else, nothing happened; 'cut off': the statement was cancelled during it, nothing happened;
-- 'done': the execution was advanced, put off or ended.
create or replace function automation.run_database_step(
  execution ridgeline.workflow_executions, step jsonb, plan jsonb, step_id uuid,
  out outcome text, out next_key text)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  obstacle automation.obstacle;
  prepared automation.prepared_step;
  started constant timestamptz := clock_timestamp();
  began constant bigint := nextval('automation.write_order');
  status ridgeline.automation_status;
  result jsonb;
  error jsonb;
begin
  begin
    obstacle := automation.find_obstacle(execution, plan -> 'lifecycle');
    if obstacle.status is null then
      prepared := automation.prepare_step(execution, step);
      case prepared.verdict
        when 'run' then
          result := automation.perform(execution, step, prepared.input);
          status := 'completed';
        when 'skip' then
          status := 'skipped';
          error := prepared.reason;
        else
          status := 'failed';
          error := prepared.reason;
      end case;
    end if;
  exception
    when lock_not_available or deadlock_detected or serialization_failure then
      outcome := 'busy';
      return;
    when query_canceled then
      outcome := 'cut off';
      return;
    when foreign_key_violation then
      status := 'failed';
      error := automation.engine_error(
        'record_deleted', sqlstate, 'the record that the step is about was deleted');
    when others then
      status := 'failed';
      error := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  outcome := 'done';
  if obstacle.status is not null then
    perform automation.stop_execution(execution, obstacle.status, obstacle.reason);
    return;
  elsif result ? 'waiting' or status = 'failed' and automation.may_try_again(execution, step) then
    perform automation.put_off(execution, step, step_id, prepared, result, error, began);
    return;
  end if;
  perform automation.record_step_end(
    execution, step, step_id, status, prepared, result, error, automation.now(),
    (extract(epoch from clock_timestamp() - started) * 1000)::integer, began);
  next_key := automation.next_key(step, result);
  if automation.goes_on(status, result, plan -> 'steps' -> next_key) then
    outcome := 'go on';
  else
    perform automation.advance(execution, step, status, result, error);
  end if;
end;
$$;

create or replace function automation.goes_on(
  status ridgeline.automation_status, result jsonb, next_step jsonb)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      status <> 'failed' and not coalesce(result ?| '{wait_until,stop}', false)
      and next_step ->> 'lane' = 'database' and (next_step ->> 'delay_seconds')::numeric = 0,
      false)
  $$;

comment on function automation.goes_on(ridgeline.automation_status, jsonb, jsonb) is
  'May the next step run at once, in the same transaction?';

-- Steps inside Postgres fail for reasons that time alone seldom mends: they are tried again only where
-- the step says how often.
create or replace function automation.may_try_again(
  execution ridgeline.workflow_executions, step jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((step #>> '{retry,max_attempts}')::integer, 1) > 1 + coalesce((
      select jsonb_array_length(s.attempts)
      from ridgeline.workflow_step_executions as s
      where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
        and s.step_key = step ->> 'key'), 0)
  $$;

-- The step stays open and comes back: when what it waits for may be there, or to be tried again.
create or replace function automation.put_off(
  execution ridgeline.workflow_executions, step jsonb, step_id uuid,
  prepared automation.prepared_step, result jsonb, error jsonb, seq bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attempt constant jsonb := case when error is not null then jsonb_build_array(jsonb_build_object(
    'at', automation.now(), 'outcome', 'retry', 'error', error)) else '[]' end;
  tried integer;
begin
  insert into ridgeline.workflow_step_executions as s (
    tenant_id, id, execution_id, step_key, step_type, status, input, result_data, error, warnings,
    attempts, started_at, seq)
  values (
    execution.tenant_id, step_id, execution.id, step ->> 'key', step ->> 'type', 'waiting',
    prepared.input, result, error, prepared.warnings, attempt, automation.now(), put_off.seq)
  on conflict on constraint workflow_step_executions_once do update
    set status = 'waiting', input = excluded.input, result_data = excluded.result_data,
      error = excluded.error, warnings = excluded.warnings, attempts = s.attempts || attempt,
      finished_at = null
  returning jsonb_array_length(s.attempts) into tried;
  perform automation.schedule_step(execution, step, coalesce(
    (result ->> 'wait_until')::timestamptz,
    automation.now() + automation.backoff(tried, null, false, step -> 'retry')));
end;
$$;

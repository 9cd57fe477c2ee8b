-- Running database steps. The effect and its ledger row are one transaction: a crash undoes both,
-- and the step is run again as if it had never been tried.

create or replace function automation.run_database_steps(max_steps integer default 200)
  returns integer
  language plpgsql
  security definer
  set search_path = ''
  -- Shorter than deadlock_timeout (1 s by default): should a user's transaction and this one ever
  -- wait for each other, this one gives way before Postgres picks a victim.
  set lock_timeout = '100ms'
  as $$
declare
  due public.scheduled_steps;
  ran integer := 0;
begin
  for due in select * from automation.lock_due('database', max_steps) loop
    ran := ran + automation.run_due_step(due);
  end loop;
  perform set_config('automation.depth', '', true);
  return ran;
end;
$$;

comment on function automation.run_database_steps(integer) is
  'Runs due database steps, those of up to max_steps executions, each exactly once. Returns how many steps ran.';

-- From a due step to the first one that has to wait or to leave Postgres.
create or replace function automation.run_due_step(due public.scheduled_steps) returns integer
  language plpgsql
  set search_path = ''
  as $$
declare
  execution public.workflow_executions := automation.lock_execution(due.tenant_id, due.execution_id);
  steps jsonb;
  step jsonb;
  step_id uuid := due.id;
  outcome text;
  ran integer := 0;
begin
  if automation.is_finished(execution) then
    perform automation.unschedule(due);
    return 0;
  end if;
  perform set_config('automation.depth', (execution.depth + 1)::text, true);
  select v.plan -> 'steps' into steps from public.workflow_versions as v
  where v.tenant_id = execution.tenant_id and v.workflow_id = execution.workflow_id
    and v.version = execution.version;
  step := coalesce(steps -> due.step_key, jsonb_build_object('key', due.step_key, 'type', 'unknown'));
  loop
    outcome := automation.run_database_step(execution, step, steps -> (step ->> 'next'), step_id);
    exit when outcome = 'busy';
    ran := ran + 1;
    exit when outcome <> 'go on';
    step := steps -> (step ->> 'next');
    step_id := automation.new_id();
  end loop;
  if ran = 0 then
    perform automation.yield_step(due);
  else
    perform automation.unschedule(due);
    if outcome = 'busy' then
      perform automation.schedule_step(execution, step, automation.now() + interval '1 second');
    end if;
  end if;
  return ran;
end;
$$;

create or replace function automation.yield_step(due public.scheduled_steps) returns void
  language sql
  set search_path = ''
  as $$
    update public.scheduled_steps as s
    set run_at = automation.now() + interval '1 second'
    where s.tenant_id = due.tenant_id and s.id = due.id
  $$;

-- One step. 'go on': the next step is a database step and due now; 'busy': a record it needs is
-- locked by somebody else, nothing happened; 'done': the execution was advanced.
create or replace function automation.run_database_step(
  execution public.workflow_executions, step jsonb, next_step jsonb, step_id uuid)
  returns text
  language plpgsql
  set search_path = ''
  as $$
declare
  prepared automation.prepared_step;
  started constant timestamptz := clock_timestamp();
  status public.automation_status;
  result jsonb;
  error jsonb;
begin
  begin
    prepared := automation.prepare_step(execution, step);
    case prepared.verdict
      when 'run' then
        result := automation.perform(execution, step ->> 'type', prepared.input);
        status := 'completed';
      when 'skip' then
        status := 'skipped';
        error := prepared.reason;
      else
        status := 'failed';
        error := prepared.reason;
    end case;
  exception
    when lock_not_available or deadlock_detected or serialization_failure then
      return 'busy';
    when foreign_key_violation then
      status := 'failed';
      error := automation.engine_error(
        'record_deleted', sqlstate, 'the record that the step is about was deleted');
    when others then
      status := 'failed';
      error := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  perform automation.record_step_end(
    execution, step, step_id, status, prepared, result, error, automation.now(),
    (extract(epoch from clock_timestamp() - started) * 1000)::integer);
  if status <> 'failed' and next_step ->> 'lane' = 'database'
    and (next_step ->> 'delay_seconds')::numeric = 0
    and not coalesce(result ? 'wait_until', false) then
    return 'go on';
  end if;
  perform automation.advance(execution, step, status, result, error);
  return 'done';
end;
$$;

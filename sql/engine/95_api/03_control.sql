-- Stopping and redriving executions.

-- Runs a failed execution again from the step that failed. A message that may have been sent is
-- looked up first; one that certainly was not is rendered anew, from the records as they are now.
-- An enrolment that failed before it had looked at its conditions looks at them now, with the records
-- as they are now; it ends as skipped when they do not hold.
create or replace function automation.enrol_again(execution ridgeline.workflow_executions)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  data constant jsonb := automation.complete_trigger_data(
    execution.tenant_id,
    execution.trigger_data - (array['contact', 'project', 'job', 'user_id', execution.entity] || array(
      select jsonb_object_keys(e.related) from automation.entities as e where e.name = execution.entity)))
    || jsonb_build_object('user_id', execution.trigger_data -> 'user_id');
  version ridgeline.workflow_versions;
begin
  select v.* into version from ridgeline.workflow_versions as v
  where v.tenant_id = execution.tenant_id and v.workflow_id = execution.workflow_id
    and v.version = execution.version;
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(), trigger_data = data, contact_id = automation.as_key(data ->> 'contact_id')
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  if automation.conditions_met(version, data) then
    return true;
  end if;
  perform automation.end_execution(
    execution, 'skipped', automation.unmet_conditions(version, data));
  return false;
end;
$$;

create or replace function automation.retry_execution(execution_id uuid)
  returns ridgeline.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  execution ridgeline.workflow_executions := automation.find_execution(execution_id);
  failed ridgeline.workflow_step_executions;
  step jsonb;
  does_nothing_yet boolean;
  other uuid;
begin
  perform automation.check_editor(execution.tenant_id, 'retrying a run');
  perform automation.check_not_forgotten(execution.tenant_id);
  execution := automation.lock_execution(execution.tenant_id, execution.id);
  if execution.id is null then
    -- Pruned or erased while we waited: not found, in the same words.
    return automation.find_execution(execution_id);
  elsif execution.mode = 'imported' then
    raise exception 'execution_id: this run is history of another system' using errcode = 'PT409';
  elsif execution.status <> 'failed' then
    raise exception 'execution_id: only a failed execution can be retried; this one is %',
      execution.status
      using errcode = 'PT409';
  end if;
  if execution.error ->> 'code' in ('conditions_failed', 'capture_failed')
    and not automation.enrol_again(execution) then
    return automation.find_execution(execution_id);
  end if;
  select s.* into failed from ridgeline.workflow_step_executions as s
  where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
    and s.step_key = execution.error ->> 'step';
  step := automation.plan_step(execution, coalesce(failed.step_key, (
    select automation.readable_plan(v.plan) ->> 'first' from ridgeline.workflow_versions as v
    where v.tenant_id = execution.tenant_id and v.workflow_id = execution.workflow_id
      and v.version = execution.version)));
  if step is null then
    raise exception 'execution_id: version % cannot be run by this release', execution.version
      using errcode = 'PT409', hint = coalesce(
        automation.plan_of(execution) #>> '{lifecycle,unreadable}', 'Its plan has no such step.');
  end if;
  -- While it had done nothing another may have entered: it is asked once more.
  does_nothing_yet := automation.has_done_nothing(execution.tenant_id, execution.id);
  if not does_nothing_yet then
    other := automation.come_back(execution, automation.plan_of(execution) -> 'lifecycle');
    if other is not null then
      raise exception 'execution_id: run % has entered since, and re-entry lets only one be in at a time', other
        using errcode = 'PT409', hint = 'Cancel that one first, or let it end.';
    end if;
  end if;
  update ridgeline.workflow_executions as e
  set changed_at = automation.now(),
    status = 'pending', error = null, finished_at = null, current_step = step ->> 'key',
    started_at = case when not does_nothing_yet then e.started_at end
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  insert into ridgeline.scheduled_steps (
    tenant_id, id, execution_id, step_key, lane, run_at, reconcile_since)
  values (
    execution.tenant_id, coalesce(failed.id, automation.new_id()), execution.id, step ->> 'key',
    (step ->> 'lane')::ridgeline.automation_lane, automation.now(),
    case when (failed.error ->> 'may_have_been_sent')::boolean then
      -- The provider's clock is the real one, as that of leases is.
      failed.started_at - (automation.now() - transaction_timestamp()) end);
  update ridgeline.workflow_step_executions as s
  set changed_at = automation.now(), status = 'pending', finished_at = null, error = null,
    render_again = not coalesce((failed.error ->> 'may_have_been_sent')::boolean, false)
  where s.tenant_id = failed.tenant_id and s.id = failed.id;
  perform automation.ring_once();
  return automation.find_execution(execution_id);
end;
$$;

create or replace function ridgeline.cancel_execution(execution_id uuid, tenant_id uuid default null)
  returns ridgeline.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.cancel_execution(execution_id) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.cancel_execution(uuid, uuid) is
  'Stops an execution. What a dispatcher holds already is let finish; nothing after it runs. An '
  'execution that has ended is returned as it is.';

create or replace function ridgeline.retry_execution(execution_id uuid, tenant_id uuid default null)
  returns ridgeline.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.retry_execution(execution_id) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.retry_execution(uuid, uuid) is
  'Runs a failed execution again from the step that failed, with fresh attempts. PT409: it has not failed, or '
  'another one is in the workflow by now that re-entry (not_while_open, restart) allows only one of.';

-- A workflow that was held goes on, and is counted afresh.
create or replace function automation.release_workflow(workflow_id uuid) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant ridgeline.workflows := automation.find_workflow(workflow_id);
  released integer;
begin
  perform automation.check_publisher(workflow.tenant_id, 'releasing a workflow');
  update ridgeline.workflow_holds as h
  set released_at = automation.now(), released_by = automation.current_user_id()
  where h.tenant_id = workflow.tenant_id and h.workflow_id = workflow.id and h.released_at is null;
  released := automation.release_held(workflow.tenant_id, '{workflow_held}', workflow.id);
  return released;
end;
$$;

create or replace function ridgeline.release_workflow(workflow_id uuid) returns integer
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.release_workflow(workflow_id) $$;

comment on function ridgeline.release_workflow(uuid) is
  'Lets the runs of a workflow that was held (ridgeline.workflow_holds) go on, and says how many waited.';

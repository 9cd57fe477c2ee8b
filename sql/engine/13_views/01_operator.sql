-- 13 VIEWS
--
-- For the operator at 2 a.m. Each view runs with the rights of whoever reads it, so a member sees
-- their tenant and the service role sees everything.

create view ridgeline.automation_queue with (security_invoker = true) as
  select s.tenant_id, s.lane,
    case
      when s.lease_expires_at is null and s.run_at > automation.now() then 'delayed'
      when s.lease_expires_at is null then 'due'
      when s.lease_expires_at > clock_timestamp() then 'claimed'
      else 'expired'
    end as state,
    count(*) as steps,
    min(s.run_at) as oldest_run_at,
    max(s.attempt) as most_attempts
  from ridgeline.scheduled_steps as s
  group by 1, 2, 3;

comment on view ridgeline.automation_queue is
  'What is ahead, by tenant and lane: delayed, due, claimed, expired (its worker stopped).';

-- A skip whose code nobody has explained counts as a failure rather than as nothing.
create view ridgeline.automation_skipped_sends with (security_invoker = true) as
  select s.tenant_id, s.execution_id, e.workflow_id, w.name as workflow_name, e.version, e.contact_id,
    e.trigger_type, s.step_key, s.step_type, coalesce(s.recipient, s.error ->> 'given') as recipient,
    s.error ->> 'code' as code, s.error ->> 'message' as message,
    coalesce(c.counts_as, 'failure') = 'failure' as is_failure, s.error, s.finished_at
  from ridgeline.workflow_step_executions as s
  join automation.step_types as t on t.name = s.step_type and t.lane <> 'database'
  join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  left join automation.skip_codes as c on c.code = s.error ->> 'code'
  where s.status = 'skipped' and c.counts_as is distinct from 'choice';

comment on view ridgeline.automation_skipped_sends is
  'Messages that did not go out though the run went on, and why. recipient: who was to get it, or what '
  'stood where the recipient should. is_failure: nobody could be written to (as opposed to: they had opted out).';

-- An execution, or a step that its execution went on without.
create view ridgeline.automation_failures with (security_invoker = true) as
  select e.tenant_id, e.id as execution_id, w.name as workflow_name, e.version, e.contact_id,
    e.trigger_type, f.error ->> 'step' as step_key, f.error ->> 'code' as code,
    f.error ->> 'message' as message, f.error, f.finished_at, e.status as execution_status
  from (
    select e.tenant_id, e.id, e.error, e.finished_at
    from ridgeline.workflow_executions as e
    where e.status = 'failed'
    union all
    select s.tenant_id, s.execution_id, s.error || jsonb_build_object('step', s.step_key), s.finished_at
    from ridgeline.automation_skipped_sends as s
    where s.is_failure
    union all
    select s.tenant_id, s.execution_id, s.error || jsonb_build_object('step', s.step_key), s.finished_at
    from ridgeline.workflow_step_executions as s
    join automation.step_types as t on t.name = s.step_type and t.lane = 'database'
    left join automation.skip_codes as c on c.code = s.error ->> 'code'
    where s.status = 'skipped' and coalesce(c.counts_as, 'failure') = 'failure'
    union all
    select s.tenant_id, s.execution_id, s.error || jsonb_build_object('step', s.step_key), s.finished_at
    from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
    where s.status = 'failed' and not (e.status = 'failed' and e.error ->> 'step' = s.step_key)
  ) as f (tenant_id, execution_id, error, finished_at)
  join ridgeline.workflow_executions as e on e.tenant_id = f.tenant_id and e.id = f.execution_id
  join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  union all
  select h.tenant_id, null, w.name, w.published_version, null, w.trigger_type, null, h.reason ->> 'code',
    h.reason ->> 'message', h.reason, h.held_at, null
  from ridgeline.workflow_holds as h
  join ridgeline.workflows as w on w.tenant_id = h.tenant_id and w.id = h.workflow_id
  where h.released_at is null;

comment on view ridgeline.automation_failures is
  'What failed, and why: executions (ridgeline.retry_execution() runs one again from where it failed), steps '
  'that their execution went on without, sends that found nobody to go to, tags that found no contact. '
  'execution_status: failed for the first. A workflow that is held (ridgeline.workflow_holds) is a row without an '
  'execution.';

-- The platform opens what is made in public to every role of the API: each view is closed first.
revoke all on ridgeline.automation_queue, ridgeline.automation_skipped_sends, ridgeline.automation_failures
  from anon, authenticated, service_role;
grant select on ridgeline.automation_queue, ridgeline.automation_skipped_sends, ridgeline.automation_failures
  to authenticated, service_role;

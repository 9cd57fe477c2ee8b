-- 13 VIEWS
--
-- For the operator at 2 a.m. Each view runs with the rights of whoever reads it, so a member sees
-- their tenant and the service role sees everything.

create view public.automation_queue with (security_invoker = true) as
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
  from public.scheduled_steps as s
  group by 1, 2, 3;

comment on view public.automation_queue is
  'What is ahead, by tenant and lane: delayed, due, claimed, expired (its worker stopped).';

create view public.automation_failures with (security_invoker = true) as
  select e.tenant_id, e.id as execution_id, w.name as workflow_name, e.version, e.contact_id,
    e.trigger_type, e.error ->> 'step' as step_key, e.error ->> 'code' as code,
    e.error ->> 'message' as message, e.error, e.finished_at
  from public.workflow_executions as e
  join public.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  where e.status = 'failed';

comment on view public.automation_failures is
  'Executions that failed, and why. public.retry_execution() runs one again from where it failed.';

grant select on public.automation_queue, public.automation_failures to authenticated, service_role;

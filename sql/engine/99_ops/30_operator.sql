-- VIEWS
--
-- For the operator at 2 a.m. Each view runs with the rights of whoever reads it, so a member sees
-- their tenant and the service role sees everything.

create view ridgeline.automation_queue with (security_invoker = true) as
  select s.tenant_id, s.lane,
    case
      when s.lease_expires_at is null and s.held ? 'code' and s.run_at > automation.now() then 'held'
      when s.lease_expires_at is null and s.run_at > automation.now() then 'delayed'
      when s.lease_expires_at is null then 'due'
      when s.lease_expires_at > clock_timestamp() then 'claimed'
      else 'expired'
    end as state,
    count(*) as steps,
    min(s.run_at) as oldest_run_at,
    max(s.attempt) as most_attempts,
    case when s.lease_expires_at is null and s.run_at > automation.now() then s.held ->> 'code' end as held_by,
    min((s.held ->> 'since')::timestamptz) as held_since,
    min(s.held ->> 'why') as held_why
  from ridgeline.scheduled_steps as s
  group by 1, 2, 3, 7;

comment on view ridgeline.automation_queue is
  'What is ahead, by tenant and lane: delayed, due, claimed, expired (its worker stopped), or held though its turn had '
  'come: held_by says by what, held_why in words, held_since since when the first waits; oldest_run_at until when '
  '(infinity: until it is let go).';

-- A skip whose code nobody has explained counts as a failure rather than as nothing.
create view ridgeline.automation_skipped_sends with (security_invoker = true) as
  select s.tenant_id, s.execution_id, e.workflow_id, w.name as workflow_name, e.version, e.contact_id,
    e.trigger_type, s.step_key, s.step_type, coalesce(s.recipient, s.error ->> 'given') as recipient,
    s.error ->> 'code' as code, s.error ->> 'message' as message,
    coalesce(c.counts_as, 'failure') = 'failure' as is_failure, s.error, s.finished_at, e.mode
  from ridgeline.workflow_step_executions as s
  join automation.step_types as t on t.name = s.step_type and t.lane <> 'database'
  join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  join ridgeline.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  left join automation.skip_codes as c on c.code = s.error ->> 'code'
  where s.status = 'skipped' and c.counts_as is distinct from 'choice';

comment on view ridgeline.automation_skipped_sends is
  'Messages that did not go out though the run went on, and why. recipient: who was to get it, or what '
  'stood where the recipient should. is_failure: nobody could be written to (as opposed to: they had opted out). '
  'mode: shadow, where a shadow came to that.';

-- Switched on, and hears nothing: its table is detached, gone, made anew without the triggers, or has lost what
-- the workflow asks for. Of the caller's own tenants.
create or replace function automation.deaf_workflows()
  returns table (tenant_id uuid, workflow_id uuid, code text, message text, since timestamptz)
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
    select d.tenant_id, d.id, d.code,
      case d.code
        when 'table_detached' then format(
          '%s is not attached any more, so that nobody enters: call automation.attach() for it, or switch the '
          'workflow off', d.entity)
        when 'table_missing' then format(
          'the table of %s is gone, so that nobody enters: attach it under its new name, or switch the workflow off',
          d.entity)
        when 'triggers_missing' then format(
          'the table of %s has lost the triggers of automation.attach(), so that nobody enters: call it again',
          d.entity)
        else format('%s does not have what the trigger asks for any more, so that nobody enters: validate the '
          'workflow', d.entity)
      end,
      coalesce(
        (select max(a.active_until) from automation.activations as a
         where a.tenant_id = d.tenant_id and a.workflow_id = d.id and a.ended_by = 'detach'), automation.now())
    from (
      select w.tenant_id, w.id, n.entity,
        case
          when e.name is null then 'table_detached'
          when automation.relation_of(e) is null then 'table_missing'
          when not exists (
            select from pg_trigger as g
            where g.tgrelid = automation.relation_of(e) and g.tgname = 'automation_capture_insert'
              and g.tgenabled <> 'D') then 'triggers_missing'
          when y.kind <> 'time' and not exists (
            select from automation.active_triggers as t
            where t.tenant_id = w.tenant_id and t.workflow_id = w.id and t.role = 'enrol') then 'trigger_unfit'
        end as code
      from automation.usable_tenants() as u (id)
      join ridgeline.workflows as w on w.tenant_id = u.id and w.is_active
      join ridgeline.workflow_versions as v
        on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
      join automation.trigger_types as y on y.name = v.trigger_type and y.kind <> 'manual'
      cross join lateral (select coalesce(v.trigger_config ->> 'entity', y.entity) as entity) as n
      left join automation.entities as e on e.name = n.entity
      where n.entity is not null
    ) as d
    where d.code is not null
  $$;

comment on function automation.deaf_workflows() is
  'Active workflows that no write can start, and why: table_detached, table_missing, triggers_missing or '
  'trigger_unfit.';

-- An execution, or a step that its execution went on without.
create view ridgeline.automation_failures with (security_invoker = true) as
  select e.tenant_id, e.id as execution_id, w.name as workflow_name, e.version, e.contact_id,
    e.trigger_type, f.error ->> 'step' as step_key, f.error ->> 'code' as code,
    f.error ->> 'message' as message, f.error, f.finished_at, e.status as execution_status, e.mode
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
    h.reason ->> 'message', h.reason, h.held_at, null, null
  from ridgeline.workflow_holds as h
  join ridgeline.workflows as w on w.tenant_id = h.tenant_id and w.id = h.workflow_id
  where h.released_at is null
  union all
  select w.tenant_id, null, w.name, w.published_version, null, w.trigger_type, null, d.code, d.message,
    jsonb_build_object('code', d.code, 'message', d.message), d.since, null, null
  from automation.deaf_workflows() as d
  join ridgeline.workflows as w on w.tenant_id = d.tenant_id and w.id = d.workflow_id;

comment on view ridgeline.automation_failures is
  'What failed, and why: executions (ridgeline.retry_execution() runs one again from where it failed), steps '
  'that their execution went on without, sends that found nobody to go to, tags that found no contact. '
  'execution_status: failed for the first. A workflow that is held (ridgeline.workflow_holds), or that '
  'is on and hears nothing because its table is detached or has lost its triggers, is a row without an execution. '
  'mode: shadow, where it is a shadow''s: nobody missed anything.';

-- The platform opens what is made in public to every role of the API: each view is closed first.
revoke all on ridgeline.automation_queue, ridgeline.automation_skipped_sends, ridgeline.automation_failures
  from anon, authenticated, service_role;
grant select on ridgeline.automation_queue, ridgeline.automation_skipped_sends, ridgeline.automation_failures
  to authenticated, service_role;
revoke execute on function automation.deaf_workflows() from public, anon;
grant execute on function automation.deaf_workflows() to authenticated, service_role;

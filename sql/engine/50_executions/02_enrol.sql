-- An enrolment becomes an execution and its first scheduled step: one statement, in
-- the transaction of whoever enrolled it. It cannot raise: every value was computed before, and the rows they
-- refer to are never deleted while the tenant exists.

create or replace function automation.enrol(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment,
  seq bigint default nextval('automation.write_order'), from_outside boolean default false)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  depth constant integer := automation.causation_depth();
  root constant uuid := automation.causation_root();
  fused boolean := from_outside or coalesce(current_setting('automation.fused', true), '') = 'true';
  at constant timestamptz := automation.now();
  execution_id constant uuid := automation.new_id();
  failure jsonb := enrolment.failure;
  admission record;
begin
  -- A record is created once: only repeatable events and chains can loop.
  if depth > 0 or root is not null or data ? 'old' then
    admission := automation.admit(tenant_id, enrolment.workflow_id, record_id, depth, root);
    if not admission.admitted then
      return null;
    end if;
    failure := coalesce(failure, admission.refusal);
    fused := fused or admission.comes_round;
  end if;
  with enrolled as (
    insert into ridgeline.workflow_executions (
      tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
      contact_id, depth, root_id, fused, current_step, error, created_at, finished_at, seq)
    values (
      tenant_id, execution_id, enrolment.workflow_id, enrolment.version,
      case
        when failure is not null then 'failed'
        when enrolment.first_delay > interval '0' then 'waiting'
        else 'pending'
      end::ridgeline.automation_status,
      enrolment.trigger_type, data, entity, record_id, automation.as_key(data ->> 'contact_id'),
      depth, root, fused, enrolment.first_step, failure, at, case when failure is not null then at end, seq)
    returning workflow_executions.tenant_id, workflow_executions.id
  )
  insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
  select e.tenant_id, e.id, enrolment.first_step, enrolment.first_lane, at + enrolment.first_delay
  from enrolled as e
  where failure is null;
  if found and current_setting('automation.rung', true) is distinct from 'yes' then
    perform automation.ring_once();
  end if;
  return execution_id;
end;
$$;

comment on function automation.enrol(uuid, text, text, jsonb, automation.enrolment, bigint, boolean) is
  'Starts an execution, or records the failed one that explains why it could not start; null when '
  'a loop was refused and that is on record already.';

create or replace function automation.enrolment_of(
  version ridgeline.workflow_versions, trigger_type text)
  returns automation.enrolment
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select row(
      version.workflow_id, version.version, trigger_type, first.step ->> 'key',
      (first.step ->> 'lane')::ridgeline.automation_lane,
      make_interval(secs => (first.step ->> 'delay_seconds')::double precision),
      null, 'enrol', '', null)::automation.enrolment
    from (
      select automation.readable_plan(version.plan) -> 'steps' -> (version.plan ->> 'first') as step
    ) as first
  $$;

-- An enrolment becomes an execution and its first scheduled step: two plain inserts, in the transaction of
-- whoever enrolled it. They cannot raise: every value was computed before, and the rows they refer to are
-- never deleted while the tenant exists.

create or replace function automation.start_execution(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment, seq bigint)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution_id constant uuid := automation.new_id();
  at constant timestamptz := automation.now();
begin
  insert into ridgeline.workflow_executions (
    tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
    contact_id, depth, root_id, fused, current_step, error, created_at, finished_at, seq)
  values (
    tenant_id, execution_id, enrolment.workflow_id, enrolment.version,
    case
      when enrolment.failure is not null then 'failed'
      when enrolment.first_delay > interval '0' then 'waiting'
      else 'pending'
    end::ridgeline.automation_status,
    enrolment.trigger_type, data, entity, record_id, automation.as_key(data ->> 'contact_id'),
    automation.causation_depth(), automation.causation_root(),
    enrolment.fused is true or coalesce(current_setting('automation.fused', true), '') = 'true',
    enrolment.first_step, enrolment.failure, at, case when enrolment.failure is not null then at end, seq);
  if enrolment.failure is not null then
    return execution_id;
  end if;
  insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
  values (tenant_id, execution_id, enrolment.first_step, enrolment.first_lane, at + enrolment.first_delay);
  if current_setting('automation.rung', true) is distinct from 'yes' then
    perform automation.ring_once();
  end if;
  return execution_id;
end;
$$;

comment on function automation.start_execution(uuid, text, text, jsonb, automation.enrolment, bigint) is
  'Writes an execution that was admitted down, or the failed one that explains why it could not start.';

create or replace function automation.enrol(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment,
  seq bigint default nextval('automation.write_order'))
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  admitted automation.enrolment[] := array[enrolment];
begin
  if data ? 'old' or automation.has_cause() then
    admitted := automation.admit_all(tenant_id, record_id, admitted);
  end if;
  if cardinality(admitted) = 1 then
    return automation.start_execution(tenant_id, entity, record_id, data, admitted[1], seq);
  end if;
  return null;
end;
$$;

comment on function automation.enrol(uuid, text, text, jsonb, automation.enrolment, bigint) is
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
      null, 'enrol', '', null, false)::automation.enrolment
    from (
      select automation.readable_plan(version.plan) -> 'steps' -> (version.plan ->> 'first') as step
    ) as first
  $$;

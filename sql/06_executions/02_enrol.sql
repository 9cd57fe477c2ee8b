-- An enrolment becomes an execution and its first scheduled step: two inserts, in the transaction
-- of whoever enrolled it.

create or replace function automation.enrol(
  tenant_id uuid, entity text, record_id text, enrolment automation.enrolment)
  returns uuid
  language plpgsql
  set search_path = ''
  as $$
declare
  depth constant integer := automation.causation_depth();
  admission record;
  execution_id constant uuid := automation.new_id();
  at constant timestamptz := automation.now();
begin
  -- A record is created once: only repeatable events and chains can loop.
  if depth > 0 or enrolment.trigger_data ? 'old' then
    admission := automation.admit(tenant_id, enrolment.workflow_id, record_id, depth);
    if not admission.admitted then
      return null;
    end if;
    enrolment.failure := coalesce(enrolment.failure, admission.refusal);
  end if;
  insert into public.workflow_executions (
    tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
    contact_id, depth, current_step, error, created_at, finished_at)
  values (
    tenant_id, execution_id, enrolment.workflow_id, enrolment.version,
    case
      when enrolment.failure is not null then 'failed'
      when enrolment.first_delay > interval '0' then 'waiting'
      else 'pending'
    end,
    enrolment.trigger_type, enrolment.trigger_data, entity, record_id, enrolment.contact_id,
    depth, enrolment.first_step, enrolment.failure, at,
    case when enrolment.failure is not null then at end);
  if enrolment.failure is null then
    insert into public.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
    values (tenant_id, execution_id, enrolment.first_step, enrolment.first_lane,
      at + enrolment.first_delay);
    perform automation.ring_once();
  end if;
  return execution_id;
end;
$$;

comment on function automation.enrol(uuid, text, text, automation.enrolment) is
  'Starts an execution, or records the failed one that explains why it could not start; null when '
  'a loop was refused and that is on record already.';

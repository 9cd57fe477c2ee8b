-- Claiming: a dispatcher takes due steps of a channel under a lease. The gate is asked here, in the
-- transaction that claims: once a STOP has committed, nothing unclaimed goes out.

create type automation.claimed_step as (
  tenant_id uuid,
  step_id uuid,
  attempt_token uuid,
  attempt integer,
  step_type text,
  payload jsonb,
  idempotency_key text,
  lease_expires_at timestamptz,
  reconcile_since timestamptz,
  known_provider_ids text[]
);

create or replace function automation.check_lease(lease interval) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if lease is null or lease < interval '1 second' or lease > interval '1 hour' then
    raise exception 'lease: an interval from 1 second to 1 hour is needed'
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

create or replace function automation.claim_steps(
  worker text, max_steps integer, lease interval default '60 seconds')
  returns setof automation.claimed_step
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  channel ridgeline.automation_lane;
  due ridgeline.scheduled_steps;
  attempt record;
  claimed automation.claimed_step;
  found_any boolean := false;
  taken integer := 0;
  closed integer;
  rounds integer := 0;
begin
  if max_steps is null or max_steps not between 1 and 1000 then
    raise exception 'max_steps: a number from 1 to 1000 is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  perform automation.check_lease(lease);
  -- An equal share for each channel first. Steps that are closed unsent (an opt-out, a cancelled run) make
  -- room for others.
  loop
    closed := 0;
    foreach channel in array automation.channels() loop
      for due in select * from automation.lock_due(channel, case rounds
        when 0 then least(greatest(max_steps / 3, 1), max_steps - taken) else max_steps - taken end) loop
        found_any := true;
        attempt := automation.claim_or_close(due, worker, lease);
        claimed := attempt.claimed;
        if claimed.step_id is null then
          closed := closed + 1;
        else
          taken := taken + 1;
          return next claimed;
        end if;
        if attempt.cut_off then
          return;
        end if;
      end loop;
    end loop;
    rounds := rounds + 1;
    exit when taken = max_steps or rounds = 10 or rounds > 1 and closed = 0;
  end loop;
  -- What cut others off is tried when there is nothing else.
  if not found_any then
    for due in select s.* from unnest(automation.channels()) as c, automation.lock_suspect(c) as s loop
      attempt := automation.claim_or_close(due, worker, lease);
      claimed := attempt.claimed;
      if claimed.step_id is not null then
        return next claimed;
      end if;
      exit when attempt.cut_off;
      perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
    end loop;
  end if;
end;
$$;

comment on function automation.claim_steps(text, integer, interval) is
  'Claims up to max_steps due sends and webhooks, fairly between tenants, rendered and ready to '
  'go. lease (1 second to 1 hour): how long the caller has to report with finish_steps. Fewer than '
  'asked for: nothing more is due that nobody holds.';

create type automation.claim_attempt as (
  claimed automation.claimed_step,
  cut_off boolean
);

-- One due step: claimed, or closed unsent. One that is broken must not keep the others from being claimed.
create or replace function automation.claim_or_close(
  due ridgeline.scheduled_steps, worker text, lease interval)
  returns automation.claim_attempt
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attempt automation.claim_attempt;
begin
  attempt.cut_off := false;
  begin
    attempt.claimed := automation.claim_step(due, worker, lease);
    return attempt;
  exception
    when lock_not_available then
      perform automation.yield_step(due);
    when query_canceled then
      attempt.cut_off := true;
      perform automation.note_cut_off(due);
    when others then
      perform automation.fail_step(due, automation.engine_error('step_failed', sqlstate, sqlerrm));
  end;
  attempt.claimed := null;
  return attempt;
end;
$$;

create or replace function automation.claim_step(
  due ridgeline.scheduled_steps, worker text, lease interval)
  returns automation.claimed_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions := automation.lock_execution(due.tenant_id, due.execution_id);
  plan jsonb;
  step jsonb;
  obstacle automation.obstacle;
  ledger ridgeline.workflow_step_executions;
begin
  if automation.is_finished(execution) then
    perform automation.unschedule(due);
    return null;
  elsif automation.is_held(execution, true) then
    perform automation.hold_step(due);
    return null;
  end if;
  plan := automation.plan_of(execution);
  obstacle := automation.find_obstacle(execution, plan -> 'lifecycle');
  if obstacle.status is not null then
    perform automation.stop_execution(execution, obstacle.status, obstacle.reason);
    return null;
  end if;
  step := plan -> 'steps' -> due.step_key;
  ledger := automation.open_ledger(due, execution, step);
  if ledger.status <> 'running' then
    return null;
  end if;
  perform automation.mark_running(execution, due.step_key);
  return automation.lease_step(due, ledger, worker, lease);
end;
$$;

-- The ledger row of an outbound step. Rendered on the first attempt, and anew after one that was certainly
-- refused; what may have been accepted is sent again as it was. Every attempt passes the gate.
create or replace function automation.open_ledger(
  due ridgeline.scheduled_steps, execution ridgeline.workflow_executions, step jsonb)
  returns ridgeline.workflow_step_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ledger ridgeline.workflow_step_executions;
  prepared automation.prepared_step;
  verdict automation.send_verdict;
begin
  select s.* into ledger from ridgeline.workflow_step_executions as s
  where s.tenant_id = due.tenant_id and s.id = due.id
  for update;
  if due.expires_at <= automation.now() then
    prepared := automation.skip_unaddressed(prepared, 'expired', format(
      'it was planned before %s, and is not sent after it', automation.date_text(due.tenant_id, due.expires_at)));
  elsif ledger.input is not null and not ledger.render_again then
    prepared := automation.recheck_recipient(execution, step, automation.recheck_sender(
      due.tenant_id, step ->> 'type', row('run', ledger.input, null, ledger.warnings, ledger.recipient)));
  else
    prepared := automation.prepare_step(execution, step);
  end if;
  if prepared.verdict = 'run' then
    select g.* into verdict from automation.gate(array[
      row(1, due, execution, step, prepared, ledger.started_at)::automation.send_question]) as g;
    if verdict.verdict = 'hold' then
      perform automation.hold_sends(array[verdict]);
      ledger.status := 'waiting';
      return ledger;
    end if;
    prepared := verdict.prepared;
  end if;
  if prepared.verdict <> 'run' then
    return automation.close_unsent(due, execution, step, prepared);
  end if;
  insert into ridgeline.workflow_step_executions as s (
    tenant_id, id, execution_id, step_key, step_type, status, input, warnings, recipient,
    started_at)
  values (
    due.tenant_id, due.id, due.execution_id, due.step_key, step ->> 'type', 'running',
    prepared.input, prepared.warnings, prepared.recipient, automation.now())
  on conflict on constraint workflow_step_executions_pkey do update
    set status = 'running', input = excluded.input, warnings = excluded.warnings,
      recipient = excluded.recipient, error = null, finished_at = null,
      rendition = s.rendition + s.render_again::integer, render_again = false
  returning * into ledger;
  return ledger;
end;
$$;

create or replace function automation.close_unsent(
  due ridgeline.scheduled_steps, execution ridgeline.workflow_executions, step jsonb,
  prepared automation.prepared_step)
  returns ridgeline.workflow_step_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  status constant ridgeline.automation_status :=
    case prepared.verdict when 'skip' then 'skipped' else 'failed' end::ridgeline.automation_status;
  ledger ridgeline.workflow_step_executions;
begin
  perform automation.unschedule(due);
  perform automation.record_step_end(
    execution, step, due.id, status, prepared, null, prepared.reason, automation.now());
  perform automation.advance(execution, step, status, null, prepared.reason);
  ledger.status := status;
  return ledger;
end;
$$;

create or replace function automation.lease_step(
  due ridgeline.scheduled_steps, ledger ridgeline.workflow_step_executions, worker text, lease interval)
  returns automation.claimed_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  claimed automation.claimed_step;
begin
  update ridgeline.scheduled_steps as s
  set attempt = s.attempt + 1, attempt_token = gen_random_uuid(), leased_by = left(worker, 200),
    leased_at = clock_timestamp(), lease_expires_at = clock_timestamp() + lease, held = null
  where s.tenant_id = due.tenant_id and s.id = due.id
  returning s.tenant_id, s.id, s.attempt_token, s.attempt, ledger.step_type, ledger.input,
    s.id || case when ledger.rendition > 0 then '-' || ledger.rendition else '' end,
    s.lease_expires_at, s.reconcile_since
    into claimed.tenant_id, claimed.step_id, claimed.attempt_token, claimed.attempt,
    claimed.step_type, claimed.payload, claimed.idempotency_key, claimed.lease_expires_at,
    claimed.reconcile_since;
  if claimed.reconcile_since is not null then
    claimed.known_provider_ids := automation.known_provider_ids(ledger, claimed.reconcile_since);
  end if;
  return claimed;
end;
$$;

-- Two workflows may send the same words to the same person: what another step sent is not ours.
create or replace function automation.known_provider_ids(
  ledger ridgeline.workflow_step_executions, since timestamptz)
  returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(s.provider_id), '{}')
    from ridgeline.workflow_step_executions as s
    where s.tenant_id = ledger.tenant_id and s.recipient = ledger.recipient
      and s.id <> ledger.id and s.provider_id is not null
  $$;

create or replace function automation.fail_step(due ridgeline.scheduled_steps, error jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution ridgeline.workflow_executions := automation.lock_execution(due.tenant_id, due.execution_id);
  step constant jsonb := coalesce(
    automation.plan_step(execution, due.step_key),
    jsonb_build_object('key', due.step_key, 'type', 'unknown'));
begin
  perform automation.unschedule(due);
  perform automation.record_step_end(
    execution, step, due.id, 'failed', null, null, error, automation.now());
  perform automation.advance(execution, step, 'failed', null, error);
end;
$$;

comment on function automation.fail_step(ridgeline.scheduled_steps, jsonb) is
  'Ends a step that could not be worked on, for a reason.';

-- Reporting: what came of a claimed step. The token of the attempt is the fence.

create or replace function automation.finish_steps(results jsonb)
  returns table (step_id uuid, accepted boolean, status text, due_now boolean)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  report jsonb;
  ids uuid[];
  statuses text[];
begin
  if jsonb_typeof(results) is distinct from 'array' then
    raise exception 'results: a JSON array is needed' using errcode = 'invalid_parameter_value';
  end if;
  for report in select r.value from jsonb_array_elements(results) as r loop
    perform automation.check_report(report);
    ids := ids || (report ->> 'step_id')::uuid;
    statuses := statuses || automation.finish_step(report);
  end loop;
  return query
    select f.id, f.status is not null, f.status,
      coalesce(automation.next_due_at() <= automation.now(), false)
    from unnest(ids, statuses) with ordinality as f (id, status, place)
    order by f.place;
end;
$$;

comment on function automation.finish_steps(jsonb) is
  'Reports outcomes: [{tenant_id, step_id, attempt_token, outcome, result?, error?, '
  'retry_after_seconds?, suppress?: true or landline}], outcome one of succeeded, failed, retry, ambiguous. '
  'accepted is false when the token no longer holds the lease; nothing was changed then. '
  'due_now: work of any kind is due now and nobody''s.';

create or replace function automation.check_report(report jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  foreach key in array array['tenant_id', 'step_id', 'attempt_token'] loop
    if automation.as_uuid(report ->> key) is null then
      raise exception 'results[].%: a UUID is needed', key
        using errcode = 'invalid_parameter_value';
    end if;
  end loop;
  if coalesce(report ->> 'outcome', '') not in ('succeeded', 'failed', 'retry', 'ambiguous') then
    raise exception 'results[].outcome: succeeded, failed, retry or ambiguous is needed'
      using errcode = 'invalid_parameter_value';
  elsif report ? 'retry_after_seconds'
    and jsonb_typeof(report -> 'retry_after_seconds') not in ('number', 'null') then
    raise exception 'results[].retry_after_seconds: a number is needed'
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

create or replace function automation.finish_step(report jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
  execution ridgeline.workflow_executions;
  step jsonb;
begin
  select s.* into due
  from ridgeline.scheduled_steps as s
  where s.tenant_id = (report ->> 'tenant_id')::uuid
    and s.id = (report ->> 'step_id')::uuid
    and s.attempt_token = (report ->> 'attempt_token')::uuid
  for update;
  if not found then
    return null;
  end if;
  execution := automation.lock_execution(due.tenant_id, due.execution_id);
  step := automation.plan_step(execution, due.step_key);
  if automation.is_taken(due, report #>> '{result,provider_id}') then
    report := report || '{"outcome": "ambiguous", "error": {"code": "provider_id_taken",
      "message": "this message belongs to another step"}}';
  end if;
  if report ->> 'suppress' in ('true', 'landline') then
    perform automation.suppress_recipient(due, step ->> 'type',
      case report ->> 'suppress' when 'landline' then 'landline' else 'provider' end, report -> 'error');
  end if;
  return case
    when report ->> 'outcome' = 'succeeded' then
      automation.close_step(due, execution, step, 'completed', report)
    when report ->> 'outcome' = 'failed' then
      automation.close_step(due, execution, step, 'failed', report)
    when automation.is_finished(execution) then
      automation.close_step(due, execution, step, 'cancelled', report)
    else automation.try_again(due, execution, step, report)
  end;
end;
$$;

-- Two workers that look the same words up at the same time may find the same message. The second
-- one's step has not been sent then.
create or replace function automation.is_taken(due ridgeline.scheduled_steps, provider_id text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from ridgeline.workflow_step_executions as s
      where s.tenant_id = due.tenant_id and s.provider_id = is_taken.provider_id
        and s.id <> due.id)
  $$;

create or replace function automation.attempt_entry(due ridgeline.scheduled_steps, report jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'attempt', due.attempt, 'at', automation.now(), 'outcome', report -> 'outcome',
      'error', report -> 'error', 'worker', due.leased_by))
  $$;

create or replace function automation.close_step(
  due ridgeline.scheduled_steps, execution ridgeline.workflow_executions, step jsonb,
  status ridgeline.automation_status, report jsonb)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ledger ridgeline.workflow_step_executions;
  why constant jsonb := coalesce(
    nullif(report -> 'error', 'null'),
    case status when 'failed' then '{"code": "failed", "message": "no reason was given"}'::jsonb end);
begin
  update ridgeline.workflow_step_executions as s
  set status = close_step.status, result_data = report -> 'result', error = why,
    attempts = s.attempts || automation.attempt_entry(due, report),
    provider_id = coalesce(report #>> '{result,provider_id}', s.provider_id),
    finished_at = automation.now(),
    duration_ms = extract(epoch from clock_timestamp() - due.leased_at) * 1000
  where s.tenant_id = due.tenant_id and s.id = due.id
  returning * into ledger;
  perform automation.unschedule(due);
  if status = 'completed' then
    perform automation.record_sent(execution, ledger);
  end if;
  perform automation.advance(execution, step, status, ledger.result_data, why);
  return status;
end;
$$;

-- After an attempt that did not get through: another one later, or the end of the step.
create or replace function automation.try_again(
  due ridgeline.scheduled_steps, execution ridgeline.workflow_executions, step jsonb, report jsonb)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_ambiguous constant boolean := report ->> 'outcome' = 'ambiguous';
  wait constant interval := automation.backoff(
    due.attempt, (report ->> 'retry_after_seconds')::numeric, is_ambiguous, step -> 'retry');
begin
  if due.attempt >= coalesce(
    (step #>> '{retry,max_attempts}')::integer, automation.setting('max_attempts')::integer) then
    return automation.close_step(
      due, execution, step, 'failed', report || jsonb_build_object('error', jsonb_build_object(
        'code', 'attempts_exhausted',
        'message', format('gave up after %s attempts', due.attempt),
        'may_have_been_sent', is_ambiguous or due.reconcile_since is not null,
        'last_error', report -> 'error')));
  end if;
  update ridgeline.scheduled_steps as s
  set run_at = automation.now() + wait, attempt_token = null, leased_by = null, leased_at = null,
    lease_expires_at = null,
    reconcile_since = case when is_ambiguous
      then coalesce(s.reconcile_since, s.leased_at) else s.reconcile_since end
  where s.tenant_id = due.tenant_id and s.id = due.id;
  update ridgeline.workflow_step_executions as s
  set status = 'waiting', error = report -> 'error',
    render_again = automation.may_render_again(step, report ->> 'outcome', due.reconcile_since),
    attempts = s.attempts || automation.attempt_entry(due, report)
  where s.tenant_id = due.tenant_id and s.id = due.id;
  update ridgeline.workflow_executions as e
  set status = 'waiting'
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return 'waiting';
end;
$$;

-- Certainly not accepted, this time and before: a message says next time what is true then. A webhook keeps its
-- id and what it says, since its receiver may have acted on what it did not acknowledge.
create or replace function automation.may_render_again(
  step jsonb, outcome text, reconcile_since timestamptz)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select outcome = 'retry' and reconcile_since is null
      and coalesce(automation.channel_of(step ->> 'type') in ('sms', 'email'), false)
  $$;

create or replace function automation.backoff(
  attempt integer, retry_after_seconds numeric, is_ambiguous boolean, retry jsonb default null)
  returns interval
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select greatest(
      random() * least(
        coalesce((retry ->> 'base')::interval, automation.setting('retry_base')::interval)
          * power(2, least(attempt, 30) - 1),
        coalesce((retry ->> 'cap')::interval, greatest(
          automation.setting('retry_cap')::interval, (retry ->> 'base')::interval))),
      case when retry_after_seconds is not null
        then make_interval(secs => least(retry_after_seconds, 86400)::double precision) end,
      case when is_ambiguous then automation.setting('reconcile_delay')::interval end)
  $$;

comment on function automation.backoff(integer, numeric, boolean, jsonb) is
  'How long to wait before the next attempt: exponential with full jitter and a cap; never less '
  'than the provider''s Retry-After (up to a day), nor, after an attempt that may have been '
  'accepted, than the provider needs to list it. retry: what the step itself says of base and cap.';

create or replace function automation.release_steps(steps jsonb) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  released integer;
begin
  if jsonb_typeof(steps) is distinct from 'array' then
    raise exception 'steps: a JSON array is needed' using errcode = 'invalid_parameter_value';
  end if;
  update ridgeline.scheduled_steps as s
  set attempt = s.attempt - 1, attempt_token = null, leased_by = null, leased_at = null,
    lease_expires_at = null
  from jsonb_to_recordset(steps) as r (tenant_id uuid, step_id uuid, attempt_token uuid)
  where s.tenant_id = r.tenant_id and s.id = r.step_id and s.attempt_token = r.attempt_token;
  get diagnostics released = row_count;
  update ridgeline.workflow_step_executions as s
  set status = 'pending', render_again = automation.may_render_again(
    jsonb_build_object('type', s.step_type), 'retry', q.reconcile_since)
  from jsonb_to_recordset(steps) as r (tenant_id uuid, step_id uuid)
  join ridgeline.scheduled_steps as q on q.tenant_id = r.tenant_id and q.id = r.step_id
  where s.tenant_id = r.tenant_id and s.id = r.step_id and s.status = 'running' and q.attempt_token is null;
  return released;
end;
$$;

comment on function automation.release_steps(jsonb) is
  'Hands back claimed steps that were never sent: [{tenant_id, step_id, attempt_token}]. The '
  'attempt does not count.';

-- Expired leases, few at a time and apart from claiming. What the lost worker was about to send may
-- have been accepted, so it is looked up before it is sent again.
create or replace function automation.reap_expired_leases(max_steps integer default 100)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
declare
  due ridgeline.scheduled_steps;
  reaped integer := 0;
begin
  for due in
    select s.* from ridgeline.scheduled_steps as s
    where s.lease_expires_at < clock_timestamp()
    order by s.lease_expires_at
    limit max_steps
    for update skip locked
  loop
    perform automation.finish_step(jsonb_build_object(
      'tenant_id', due.tenant_id, 'step_id', due.id, 'attempt_token', due.attempt_token,
      'outcome', 'ambiguous',
      'error', jsonb_build_object(
        'code', 'lease_expired',
        'message', 'the worker stopped before it reported an outcome')));
    reaped := reaped + 1;
  end loop;
  return reaped;
end;
$$;

comment on function automation.reap_expired_leases(integer) is
  'Takes steps back from workers that stopped reporting. Returns how many.';

-- Reporting: what came of a claimed step. The token of the attempt is the fence.

create type automation.report as (
  outcome text,
  result jsonb,
  error jsonb,
  retry_after_seconds numeric,
  suppress text
);

comment on type automation.report is 'What came of an attempt: succeeded, failed, retry or ambiguous.';

-- What became of each result, in their order: the status in which its step was left, or null where its token holds the
-- lease no longer.
create or replace function automation.finish_reported(results jsonb) returns text[]
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  left_as text[] := '{}'::text[];
begin
  if jsonb_typeof(results) is distinct from 'array' then
    raise exception 'results: a JSON array is needed' using errcode = 'invalid_parameter_value';
  end if;
  for i in 0 .. jsonb_array_length(results) - 1 loop
    left_as := left_as || automation.check_report(results -> i);
  end loop;
  foreach work in array automation.finish_works(results) loop
    left_as[work.plan] := work.outcome;
  end loop;
  return left_as;
end;
$$;

create or replace function automation.finish_steps(results jsonb)
  returns table (step_id uuid, accepted boolean, status text, due_now boolean)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  left_as constant text[] := automation.finish_reported(results);
  more constant boolean := coalesce(automation.next_due_at() <= automation.now(), false);
begin
  for i in 1 .. cardinality(left_as) loop
    step_id := (results -> (i - 1) ->> 'step_id')::uuid;
    accepted := left_as[i] is not null;
    status := left_as[i];
    due_now := more;
    return next;
  end loop;
end;
$$;

comment on function automation.finish_steps(jsonb) is
  'Reports outcomes: [{tenant_id, step_id, attempt_token, outcome, result?, error?, '
  'retry_after_seconds?, suppress?: true or landline}], outcome one of succeeded, failed, retry, ambiguous. '
  'error.holds of a retry: daily_limit, a carrier takes no more today, it is held till its day is over; receiver, what '
  'else would call that host waits for retry_after_seconds too. '
  'accepted is false when the token no longer holds the lease; nothing was changed then. '
  'due_now: work of any kind is due now and nobody''s.';

-- What became of it so far, which is nothing, if it is one.
create or replace function automation.check_report(report jsonb) returns text
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
  return null;
end;
$$;

-- The leased steps that results speak of, under their tokens, with their runs: locked in the one order there is. plan:
-- the place of the result; prepared: what was sent, and to whom. queue_rows: where they stand in the queue.
create or replace function automation.lock_leased(
  results jsonb, out works automation.work[], out queue_rows tid[])
  language plpgsql
  -- The settings are those of finish_works(), which alone calls it.
  set search_path = pg_catalog, pg_temp
  as $$
begin
  select coalesce(array_agg(row(w.due, e.execution, w.place, null, null, null, (w.due).id,
      row(null, l.input, null, null, l.recipient, l.country)::automation.prepared_step, null, null, null, null, null, 0,
      null, null)::automation.work), '{}'), coalesce(array_agg(w.queue_row), '{}')
    into works, queue_rows
  from (
    -- A result that is there twice counts once. That they are sorted also says that every row of the queue is locked
    -- before the first run.
    select distinct on ((q.due).tenant_id, (q.due).execution_id, (q.due).id) q.due, q.queue_row, r.place
    from (
      select (e.value ->> 'tenant_id')::uuid as tenant_id, (e.value ->> 'step_id')::uuid as id,
        (e.value ->> 'attempt_token')::uuid as token, e.place
      from jsonb_array_elements(results) with ordinality as e (value, place)
      order by 1, 2
    ) as r
    -- The token is looked at afterwards: with it, a plan made on an empty table takes another index.
    cross join lateral (
      select s as due, s.ctid as queue_row from ridgeline.scheduled_steps as s
      where s.tenant_id = r.tenant_id and s.id between r.id and r.id
      order by s.id
      limit 1
      for update
    ) as q
    where (q.due).attempt_token = r.token
    order by (q.due).tenant_id, (q.due).execution_id, (q.due).id, r.place
  ) as w
  cross join lateral (
    select x as execution from ridgeline.workflow_executions as x
    where x.tenant_id = (w.due).tenant_id and x.id between (w.due).execution_id and (w.due).execution_id
    order by x.id
    limit 1
    for no key update
  ) as e
  left join lateral (
    select x.input, x.recipient, x.country from ridgeline.workflow_step_executions as x
    where x.tenant_id = (w.due).tenant_id and x.id between (w.due).id and (w.due).id
    order by x.id
    limit 1
  ) as l on true;
end;
$$;

-- Two workers that look the same words up at the same time may find the same message, of two tenants where they send
-- with one account. The second one's step has not been sent then; nor has one that found what another has just sent,
-- wherever in the report they stand. Where it was told of before and its run has gone on, the one that sent it sends
-- another: that makes as many texts as there are steps, and what becomes of each is one step's news.
create or replace function automation.taken_ids(works automation.work[], reports automation.report[])
  returns boolean[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select p.id is not null and (
      row_number() over (partition by p.tenant_id, p.id order by p.was_found, p.place) > 1
      or p.was_found and row_number() over (partition by p.id order by p.was_found, p.place) > 1
      or exists (
        select from ridgeline.workflow_step_executions as s
        where s.provider_id = p.id and (s.id <> p.step_id or s.tenant_id <> p.tenant_id)
          and (s.tenant_id = p.tenant_id or p.was_found or s.result_data ? 'reconciled')))
    from (
      select ((works[i]).due).tenant_id, ((works[i]).due).id as step_id, (reports[i]).result ->> 'provider_id' as id,
        (reports[i]).result ? 'reconciled' as was_found, i as place
      from generate_subscripts(works, 1) as i
    ) as p
    order by p.place);
end;
$$;

-- The place of each one's version among what read_plans() gives.
create or replace function automation.plan_numbers(works automation.work[]) returns integer[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select n.number
    from (
      select dense_rank() over (
          order by (w.execution).tenant_id, (w.execution).workflow_id, (w.execution).version) as number, w.place
      from unnest(works) with ordinality as w (due, execution, plan, known, obstacle, step, step_id, prepared, status,
        result, error, next_step, outcome, ran, seq, began, place)
    ) as n
    order by n.place);
end;
$$;

-- outcome of what is returned: the status in which a step was left.
create or replace function automation.finish_works(results jsonb) returns automation.work[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  -- Of the statements of lock_leased(), taken_ids() and close_steps(): each setting of each function costs a call.
  set plan_cache_mode = force_generic_plan
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_seqscan = off
  set enable_sort = off
  set jit = off
  as $$
declare
  works automation.work[];
  queue_rows tid[];
  closed_rows tid[] := '{}'::tid[];
  plans automation.running_plan[];
  numbers integer[];
  reports automation.report[] := '{}'::automation.report[];
  names_ids boolean := false;
  taken boolean[];
  given_up boolean;
  refused_by uuid[] := '{}'::uuid[];
  refused uuid[] := '{}'::uuid[];
  work automation.work;
  report automation.report;
  closed automation.work[] := '{}'::automation.work[];
  closed_reports automation.report[] := '{}'::automation.report[];
  again automation.work[] := '{}'::automation.work[];
  again_reports automation.report[] := '{}'::automation.report[];
  again_rows tid[] := '{}'::tid[];
begin
  select l.works, l.queue_rows into works, queue_rows from automation.lock_leased(results) as l;
  if cardinality(works) = 0 then
    return works;
  end if;
  plans := automation.read_plans(works, null);
  numbers := case cardinality(plans) when 1 then array_fill(1, array[cardinality(works)])
    else automation.plan_numbers(works) end;
  foreach work in array works loop
    report := automation.report_in(results -> (work.plan - 1));
    reports := reports || report;
    names_ids := names_ids or report.result ? 'provider_id' is true;
  end loop;
  if names_ids then
    taken := automation.taken_ids(works, reports);
  end if;
  for i in 1 .. cardinality(works) loop
    work := works[i];
    report := reports[i];
    work.step := (plans[numbers[i]]).steps -> (work.due).step_key;
    work.next_step := (plans[numbers[i]]).steps -> (work.step ->> 'next');
    if taken[i] then
      report.outcome := 'ambiguous';
      report.error := '{"code": "provider_id_taken", "message": "this message belongs to another step"}';
      report.result := report.result - 'provider_id';
    end if;
    if report.suppress in ('true', 'landline') then
      perform automation.suppress_recipient(work.due, work.step ->> 'type',
        case report.suppress when 'landline' then 'landline' else 'provider' end, report.error);
    end if;
    if automation.waits_for_carrier(report) then
      refused_by := refused_by || (work.due).tenant_id;
      refused := refused || (work.due).id;
    end if;
    given_up := automation.is_given_up(work, report);
    if given_up then
      report.error := automation.exhausted_reason(work.due, report);
    end if;
    work.status := case
      when report.outcome = 'succeeded' then 'completed'
      when report.outcome = 'failed' or given_up then 'failed'
      when (work.execution).finished_at is not null then 'cancelled'
      else 'waiting' end::ridgeline.automation_status;
    work.outcome := work.status;
    if work.status = 'waiting' then
      again := again || work;
      again_reports := again_reports || report;
      again_rows := again_rows || queue_rows[i];
    else
      work.result := report.result;
      work.error := coalesce(nullif(report.error, 'null'), case work.status when 'failed'
        then '{"code": "failed", "message": "no reason was given"}'::jsonb end);
      closed := closed || work;
      closed_reports := closed_reports || report;
      closed_rows := closed_rows || queue_rows[i];
    end if;
    works[i] := work;
  end loop;
  if cardinality(refused) > 0 then
    perform automation.block_recipients(refused_by, refused);
  end if;
  if cardinality(closed) > 0 then
    perform automation.close_steps(closed, closed_reports, closed_rows);
  end if;
  if cardinality(again) > 0 then
    perform automation.try_again(again, again_reports, again_rows);
    perform automation.note_rests(again, again_reports);
  end if;
  return works;
end;
$$;

create or replace function automation.report_in(reported jsonb) returns automation.report
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(reported ->> 'outcome', reported -> 'result', reported -> 'error',
    (reported ->> 'retry_after_seconds')::numeric, reported ->> 'suppress')::automation.report;
end;
$$;

-- Whom a webhook called wants no more for a while.
create or replace function automation.note_rests(works automation.work[], reports automation.report[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant_ids uuid[] := '{}'::uuid[];
  step_ids uuid[] := '{}'::uuid[];
  seconds numeric[] := '{}'::numeric[];
begin
  for i in 1 .. cardinality(works) loop
    if (reports[i]).outcome = 'retry' and (reports[i]).error ->> 'holds' = 'receiver' then
      tenant_ids := tenant_ids || ((works[i]).due).tenant_id;
      step_ids := step_ids || ((works[i]).due).id;
      seconds := seconds || (reports[i]).retry_after_seconds;
    end if;
  end loop;
  if cardinality(step_ids) > 0 then
    perform automation.let_receivers_rest(tenant_ids, step_ids, seconds);
  end if;
end;
$$;

-- Certainly not sent, and not before a carrier's day is over: it is held till then, without an attempt.
create or replace function automation.waits_for_carrier(report automation.report) returns boolean
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return report.outcome = 'retry' and coalesce(report.error ->> 'holds' = 'daily_limit', false);
end;
$$;

-- Has a step that would be tried again had all its attempts?
create or replace function automation.is_given_up(work automation.work, report automation.report) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return report.outcome in ('retry', 'ambiguous') and (work.execution).finished_at is null
    and not automation.waits_for_carrier(report)
    and (work.due).attempt >= coalesce(
      (work.step #>> '{retry,max_attempts}')::integer, automation.setting('max_attempts')::integer);
end;
$$;

create or replace function automation.exhausted_reason(due ridgeline.scheduled_steps, report automation.report)
  returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object(
    'code', 'attempts_exhausted',
    'message', format('gave up after %s attempts', due.attempt),
    'may_have_been_sent', report.outcome = 'ambiguous' or due.reconcile_since is not null,
    'last_error', report.error);
end;
$$;

create or replace function automation.attempt_entry(
  due ridgeline.scheduled_steps, outcome text, error jsonb, at timestamptz)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_strip_nulls(jsonb_build_object(
    'attempt', due.attempt, 'at', at, 'outcome', outcome, 'error', error, 'worker', due.leased_by));
end;
$$;

-- A type that has no log of its own is not asked for it.
create or replace function automation.is_logged(step_type text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return to_regproc('automation.' || quote_ident('log_' || step_type)) is not null
    or to_regproc('automation.' || quote_ident('log_all_' || step_type)) is not null;
end;
$$;

-- What those of some steps cost that were sent, in their order.
create or replace function automation.costs_of_works(works automation.work[]) returns automation.message_cost[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  tenant_ids uuid[] := '{}'::uuid[];
  step_ids uuid[] := '{}'::uuid[];
  channels text[] := '{}'::text[];
  inputs jsonb[] := '{}'::jsonb[];
  recipients text[] := '{}'::text[];
  countries text[] := '{}'::text[];
begin
  foreach work in array works loop
    tenant_ids := tenant_ids || (work.due).tenant_id;
    step_ids := step_ids || (work.due).id;
    channels := channels || case when work.status = 'completed' and work.result ->> 'provider_id' is not null
      then (work.due).lane::text end;
    inputs := inputs || (work.prepared).input;
    recipients := recipients || (work.prepared).recipient;
    countries := countries || (work.prepared).country;
  end loop;
  return automation.costs_of_sent(tenant_ids, step_ids, channels, inputs, recipients, countries);
end;
$$;

create or replace function automation.close_steps(
  works automation.work[], reports automation.report[], queue_rows tid[])
  returns integer
  language plpgsql
  -- The settings are those of finish_works(), which alone calls it.
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
  costs constant automation.message_cost[] := automation.costs_of_works(works);
  entries jsonb[] := '{}'::jsonb[];
  places integer[] := '{}'::integer[];
  sent ridgeline.workflow_executions[] := '{}'::ridgeline.workflow_executions[];
  ledgers ridgeline.workflow_step_executions[];
  type text;
  asked text;
  is_logged boolean := false;
  counting text;
  ended integer;
  gone integer;
  news integer;
begin
  for i in 1 .. cardinality(works) loop
    entries := entries || automation.attempt_entry((works[i]).due, (reports[i]).outcome, (reports[i]).error, at);
    type := (works[i]).step ->> 'type';
    if type is distinct from asked then
      asked := type;
      is_logged := automation.is_logged(type);
    end if;
    if is_logged and (works[i]).status = 'completed' then
      places := places || i;
    end if;
  end loop;
  counting := set_config('automation.counting', 'steps', true);
  with closed as (
    update ridgeline.workflow_step_executions as s
    set changed_at = at,
      status = w.status, result_data = w.result, error = w.error, attempts = s.attempts || w.entry,
      provider_id = coalesce(w.result ->> 'provider_id', s.provider_id), finished_at = at,
      duration_ms = extract(epoch from clock_timestamp() - (w.due).leased_at) * 1000,
      segments = (w.price).segments, cost = (w.price).cost
    from (
      select (works[i]).due, (works[i]).status, (works[i]).result, (works[i]).error, entries[i] as entry,
        costs[i] as price, q.ctid as row, q.finished_at as was, i as place
      from generate_subscripts(works, 1) as i
      cross join lateral (
        select x.ctid, x.finished_at from ridgeline.workflow_step_executions as x
        where x.tenant_id = ((works[i]).due).tenant_id and x.id between ((works[i]).due).id and ((works[i]).due).id
        order by x.id limit 1) as q
    ) as w
    where s.ctid = w.row
    returning s as ledger, w.place, w.was
  ), unscheduled as (
    -- Locked, so that none has moved.
    delete from ridgeline.scheduled_steps as q where q.ctid = any (queue_rows)
    returning q.id
  ), counted as (
    insert into automation.statistic_changes (
      tenant_id, workflow_id, version, step_key, entered_at, at, outcome, mode, cost)
    select (c.ledger).tenant_id, ((works[c.place]).execution).workflow_id, ((works[c.place]).execution).version,
      (c.ledger).step_key, (c.ledger).started_at, (c.ledger).finished_at,
      automation.step_outcome((c.ledger).status, (c.ledger).step_type), ((works[c.place]).execution).mode,
      (c.ledger).cost
    from closed as c
    where c.was is null
    returning outcome
  )
  select array_agg(c.ledger order by c.place) filter (where c.place = any (places)),
    array_agg(c.place order by c.place) filter (where c.place = any (places)),
    count(*), (select count(*) from unscheduled), (select count(*) from counted)
    into ledgers, places, ended, gone, news
  from closed as c;
  if gone <> cardinality(queue_rows) or news > ended then
    raise exception '% steps have ended, and % of % left the queue', ended, gone, cardinality(queue_rows);
  end if;
  counting := set_config('automation.counting', left(counting, 0), true);
  if cardinality(places) > 0 then
    for i in 1 .. cardinality(places) loop
      sent := sent || (works[places[i]]).execution;
    end loop;
    perform automation.record_sent(sent, ledgers);
  end if;
  return automation.advance(works);
end;
$$;

-- After attempts that did not get through: another one later. Asked within what it does for, it says how many.
create or replace function automation.try_again(
  works automation.work[], reports automation.report[], queue_rows tid[])
  returns integer
  language plpgsql
  -- The settings are those of finish_works(), which alone calls it.
  set search_path = pg_catalog, pg_temp
  as $$
declare
  work automation.work;
  report automation.report;
  due ridgeline.scheduled_steps;
  at constant timestamptz := automation.now();
  places integer[] := '{}'::integer[];
  run_ats timestamptz[] := '{}'::timestamptz[];
  holds jsonb[] := '{}'::jsonb[];
  entries jsonb[] := '{}'::jsonb[];
  render_again boolean[] := '{}'::boolean[];
  run_at timestamptz;
  left_over integer;
  told integer;
  waiting integer;
begin
  for i in 1 .. cardinality(works) loop
    work := works[i];
    report := reports[i];
    due := work.due;
    places := places || i;
    if automation.waits_for_carrier(report) then
      run_at := automation.carrier_reopens(due.id, at);
      holds := holds || automation.carrier_hold(at, run_at);
    else
      run_at := at + automation.backoff(
        due.attempt, report.retry_after_seconds, report.outcome = 'ambiguous', work.step -> 'retry');
      holds := holds || null::jsonb;
    end if;
    run_ats := run_ats || run_at;
    entries := entries || automation.attempt_entry(due, report.outcome, report.error, at);
    render_again := render_again
      || automation.may_render_again(work.step, report.outcome, due.reconcile_since);
  end loop;
  with tried as materialized (
    select r.place, r.run_at, r.held, r.entry, r.render_again, (reports[r.place]).outcome = 'ambiguous' as is_unclear,
      (reports[r.place]).error, queue_rows[r.place] as queued, l.ctid as ledger, e.ctid as run
    from unnest(places, run_ats, holds, entries, render_again) as r (place, run_at, held, entry, render_again)
    cross join lateral (
      select x.ctid from ridgeline.workflow_step_executions as x
      where x.tenant_id = ((works[r.place]).due).tenant_id
        and x.id between ((works[r.place]).due).id and ((works[r.place]).due).id
      order by x.id limit 1) as l
    cross join lateral (
      select x.ctid from ridgeline.workflow_executions as x
      where x.tenant_id = ((works[r.place]).due).tenant_id
        and x.id between ((works[r.place]).due).execution_id and ((works[r.place]).due).execution_id
      order by x.id limit 1) as e
  ), queued as (
    -- What a carrier refused for the day was no attempt.
    update ridgeline.scheduled_steps as s
    set run_at = t.run_at, attempt = s.attempt - (t.held is not null)::integer, held = coalesce(t.held, s.held),
      attempt_token = null, leased_by = null, leased_at = null, lease_expires_at = null,
      reconcile_since = case when t.is_unclear then coalesce(s.reconcile_since, s.leased_at) else s.reconcile_since end
    from tried as t
    where s.ctid = t.queued
    returning s.id
  ), logged as (
    update ridgeline.workflow_step_executions as s
    set changed_at = at, status = 'waiting', error = t.error, render_again = t.render_again,
      attempts = s.attempts || t.entry
    from tried as t
    where s.ctid = t.ledger
    returning s.id
  ), runs as (
    update ridgeline.workflow_executions as e
    set changed_at = at, status = 'waiting'
    from tried as t
    where e.ctid = t.run
    returning e.id
  )
  select (select count(*) from queued), (select count(*) from logged), (select count(*) from runs)
    into left_over, told, waiting;
  if (left_over, told, waiting) is distinct from (cardinality(works), cardinality(works), cardinality(works)) then
    raise exception '% of % steps are tried again, % in the ledger, of % runs',
      left_over, cardinality(works), told, waiting;
  end if;
  return left_over;
end;
$$;

-- Certainly not accepted, this time and before: a message says next time what is true then. A webhook keeps its
-- id and what it says, since its receiver may have acted on what it did not acknowledge.
create or replace function automation.may_render_again(
  step jsonb, outcome text, reconcile_since timestamptz)
  returns boolean
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return outcome = 'retry' and reconcile_since is null
    and coalesce(automation.channel_of(step ->> 'type') in ('sms', 'email'), false);
end;
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
  set changed_at = automation.now(), status = 'pending', render_again = automation.may_render_again(
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

-- Steps that decide how a run goes on. Each returns what it decided; automation.advance() acts on it:
--
--   branch      the branch to go on with
--   wait_until  the next step is not due before then
--   waiting     the step itself is not done: it comes back at wait_until, or when its event has come, or its date moved
--   skips       the step that comes next is left out (automation.left_out())
--   stop        the run ends, with outcome as its status

-- The first case that holds, and what each one that was looked at saw: the answer to "why that way?".
create or replace function automation.choose_from(
  cases jsonb, context jsonb, zone text, at timestamptz)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked jsonb;
  looked_at jsonb := '[]'::jsonb;
begin
  for asked in select c.value from jsonb_array_elements(cases) as c loop
    looked_at := looked_at || (jsonb_build_object('branch', asked -> 'name')
      || automation.explain_conditions(nullif(asked -> 'conditions', 'null'), context, zone, at));
    if automation.evaluate_conditions(nullif(asked -> 'conditions', 'null'), context, zone, at) then
      return jsonb_build_object('branch', asked -> 'name', 'cases', looked_at);
    end if;
  end loop;
  return jsonb_build_object('branch', 'else', 'cases', looked_at);
end;
$$;

create or replace function automation.choose(
  execution ridgeline.workflow_executions, step jsonb, at timestamptz default automation.now())
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.choose_from(
      step -> 'cases', automation.execution_context(execution, step -> 'roots'),
      automation.tenant_zone(execution.tenant_id), at)
  $$;

-- Who was sent which way, so that it stays that way for the contact when weights change.
create table automation.split_assignments (
  tenant_id uuid not null,
  workflow_id uuid not null,
  step_key text not null,
  subject text not null,
  branch text not null,
  constraint split_assignments_pkey primary key (tenant_id, workflow_id, step_key, subject),
  constraint split_assignments_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade
);

comment on table automation.split_assignments is
  'The branch of a split that a contact (without one: a record) was given, for good.';

create or replace function automation.split_subject(execution ridgeline.workflow_executions) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      'contact ' || execution.contact_id, execution.entity || ' ' || execution.record_id,
      'run ' || execution.id)
  $$;

-- A place between 0 and 1 that looks drawn by lot and is always the same for the same contact and step.
create or replace function automation.lot(seed text) returns double precision
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select ('x' || encode(substr(sha256(convert_to(seed, 'UTF8')), 1, 6), 'hex'))::bit(48)::bigint
      / power(2::double precision, 48)
  $$;

create or replace function automation.draw_branch(branches jsonb, seed text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select w.name
    from (
      select b.value ->> 'name' as name,
        sum((b.value ->> 'weight')::numeric) over (order by b.place) as upto,
        sum((b.value ->> 'weight')::numeric) over () as total, b.place
      from jsonb_array_elements(branches) with ordinality as b (value, place)
    ) as w
    where automation.lot(seed) * w.total < w.upto
    order by w.place
    limit 1
  $$;

comment on function automation.draw_branch(jsonb, text) is
  'One of [{name, weight}], by weight; the same for the same seed.';

create or replace function automation.split_seed(
  execution ridgeline.workflow_executions, step_key text)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select concat_ws('/', execution.workflow_id, step_key, automation.split_subject(execution)) $$;

create or replace function automation.split(
  execution ridgeline.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  drawn constant text := automation.draw_branch(
    input -> 'branches', automation.split_seed(execution, step_key));
  given text;
begin
  insert into automation.split_assignments as s (tenant_id, workflow_id, step_key, subject, branch)
  values (execution.tenant_id, execution.workflow_id, split.step_key,
    automation.entry_key_in(execution.mode, automation.split_subject(execution)), drawn)
  on conflict on constraint split_assignments_pkey do update
    -- A branch that is gone from the workflow is nobody's any more.
    set branch = case when automation.branch_names(input) @> array[s.branch] then s.branch else drawn end
  returning s.branch into given;
  return jsonb_build_object('branch', given);
end;
$$;

create or replace function automation.stop(input jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'stop', true, 'outcome', coalesce(input ->> 'outcome', 'completed'), 'reason', input -> 'reason')
  $$;

-- WAITING

-- tenant (the default), contact, or the zone by name.
create or replace function automation.wait_zone(
  execution ridgeline.workflow_executions, input jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      case input ->> 'zone'
        when 'contact' then automation.known_zone(
          automation.read_root(execution, 'contact') ->> automation.mapped_column('contact', 'timezone'))
        when 'tenant' then null
        else automation.known_zone(input ->> 'zone')
      end,
      automation.tenant_zone(execution.tenant_id), 'UTC')
  $$;

-- A wall clock time as an instant; one that a change of clocks leaves out is when the clocks have changed.
create or replace function automation.instant_of(wall timestamp, zone text) returns timestamptz
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(i.earlier, i.gap_end) from automation.wall_instants(wall, zone) as i $$;

-- The length that a wait names; null when it names none. Whole days follow the calendar, so that the
-- clock on the wall shows the same time; what is left goes by the clock.
create or replace function automation.wait_length(input jsonb) returns interval
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when input ? 'duration' then automation.duration_in(input -> 'duration')
      when input ?| '{minutes,hours,days,weeks}' then
        make_interval(days => trunc(d.days)::integer)
          + ((d.days - trunc(d.days)) * 24 + coalesce(automation.as_number(input, 'hours'), 0)) * interval '1 hour'
          + coalesce(automation.as_number(input, 'minutes'), 0) * interval '1 minute'
    end
    from (
      select coalesce(automation.as_number(input, 'days'), 0)
        + 7 * coalesce(automation.as_number(input, 'weeks'), 0) as days
    ) as d
  $$;

-- The next time the clock shows `time`, not before `from`.
create or replace function automation.next_time_of_day(from_at timestamptz, "time" time, zone text)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select min(i.at)
    from generate_series(0, 2) as day,
      lateral (
        select automation.instant_of((from_at at time zone zone)::date + day + "time", zone) as at
      ) as i
    where i.at >= from_at
  $$;

create or replace function automation.is_open_day(day date, days jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select days is null
      or days ? ('{mon,tue,wed,thu,fri,sat,sun}'::text[])[extract(isodow from day)::integer]
  $$;

-- The first moment from `from_at` on that lies within a window of hours and weekdays; a window that
-- closes before it opens goes on past midnight and belongs to the day it opens.
create or replace function automation.next_open(from_at timestamptz, "window" jsonb, zone text)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select min(greatest(from_at, w.opens))
    from generate_series(-1, 8) as ahead,
      lateral (select (from_at at time zone zone)::date + ahead as day) as d,
      lateral (
        select automation.instant_of(d.day + coalesce("window" ->> 'from', '00:00')::time, zone) as opens,
          automation.instant_of(
            d.day + coalesce("window" ->> 'to', '24:00')::time
              + case when coalesce("window" ->> 'to', '24:00')::time
                <= coalesce("window" ->> 'from', '00:00')::time then interval '1 day' else interval '0' end,
            zone) as closes
      ) as w
    where automation.is_open_day(d.day, "window" -> 'days') and w.closes > from_at and w.closes > w.opens
  $$;

-- What a wait for a length, a date, a time of day or a window comes to, as of `now`.
--   outcome  waited, past (the date had passed already) or missing (there was no date)
create or replace function automation.plan_wait(
  execution ridgeline.workflow_executions, input jsonb, now timestamptz,
  out until timestamptz, out outcome text, out expires_at timestamptz, out late interval)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  zone constant text := automation.wait_zone(execution, input);
  length constant interval := automation.wait_length(input);
  by_day constant boolean := input ? 'until' or extract(day from length) > 0 or extract(month from length) > 0;
begin
  outcome := 'waited';
  until := case
    when input ? 'until' then automation.add_length(
      automation.as_time(execution, input, 'until'),
      coalesce(automation.signed_duration(input -> 'offset'), interval '0'), zone)
    else automation.add_length(now, coalesce(length, interval '0'), zone)
  end;
  if until is null then
    outcome := 'missing';
    return;
  end if;
  -- With days or a date, `at` is a time of that day; otherwise the next such time.
  if input ? 'at' and by_day then
    until := automation.instant_of((until at time zone zone)::date + (input ->> 'at')::time, zone);
  elsif input ? 'at' then
    until := automation.next_time_of_day(until, (input ->> 'at')::time, zone);
  end if;
  -- A reminder: what it is planned before.
  expires_at := automation.as_time(execution, input, 'until');
  expires_at := case when expires_at > until and expires_at > now then expires_at end;
  if input ? 'until' and until < now then
    outcome := 'past';
    late := now - until;
  end if;
  until := greatest(until, now);
  if input ? 'window' then
    until := automation.next_open(until, input -> 'window', zone);
  end if;
end;
$$;

comment on function automation.plan_wait(ridgeline.workflow_executions, jsonb, timestamptz) is
  'Until when a wait lasts. A length counts from now; until is a date, moved by offset; at is a time of '
  'day; window the hours and weekdays that it may end in, in the zone. late: by how much the time has passed.';

-- A date that has not changed since the wait began has come, however late that is noticed: the tick was away, or the
-- workflow paused. One that was moved into the past has passed.
create or replace function automation.has_come(
  execution ridgeline.workflow_executions, step_key text, input jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(bool_or(s.result_data ->> 'date' = has_come.input ->> 'until'), false)
    from ridgeline.workflow_step_executions as s
    where s.tenant_id = execution.tenant_id and s.execution_id = execution.id and s.step_key = has_come.step_key
      and s.status = 'waiting'
  $$;

-- step_key: of a wait that may have begun before; null: one that has not.
create or replace function automation.wait_for_time(
  execution ridgeline.workflow_executions, input jsonb, now timestamptz default automation.now(),
  step_key text default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  planned record := automation.plan_wait(execution, input, now);
  follows constant boolean := coalesce(input -> 'follow' = 'true', false);
  policy text;
  said text;
begin
  if planned.outcome = 'past' and (
    follows and step_key is not null and automation.has_come(execution, step_key, input)
    or input ->> 'if_past' = 'skip' and planned.late <= automation.setting('time_grace')::interval) then
    planned.outcome := 'waited';
  end if;
  policy := case planned.outcome
    when 'missing' then coalesce(input ->> 'if_missing', 'fail')
    when 'past' then coalesce(input ->> 'if_past', 'continue')
    else 'continue' end;
  said := case planned.outcome
    when 'missing' then 'there is no date to wait for' else 'the date to wait for has passed' end;
  if policy = 'fail' then
    raise exception 'until: %', said using errcode = 'invalid_parameter_value',
      hint = 'if_missing and if_past say what happens then: continue, skip, stop or fail.';
  elsif policy = 'stop' then
    return automation.stop(jsonb_build_object('reason', said)) || jsonb_build_object('result', planned.outcome);
  elsif policy = 'wait' then
    return jsonb_build_object('wait_until', 'infinity', 'waiting', true, 'result', 'missing');
  end if;
  return jsonb_build_object('wait_until', coalesce(planned.until, now), 'result', planned.outcome)
    || case when policy = 'skip' then '{"skips": true}' else '{}' end::jsonb
    || case when follows and planned.until > now
      then jsonb_build_object('waiting', true, 'date', input -> 'until') else '{}' end
    || case when planned.expires_at is null then '{}'
      else jsonb_build_object('expires_at', planned.expires_at) end;
end;
$$;

-- Why a step is left out: the wait before it says so. Null: it is not.
create or replace function automation.left_out(execution ridgeline.workflow_executions, wait_key text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  waited constant jsonb := coalesce((
    select s.result_data from ridgeline.workflow_step_executions as s
    where s.tenant_id = execution.tenant_id and s.execution_id = execution.id and s.step_key = wait_key
      and s.status = 'completed'), execution.trigger_data -> 'steps' -> wait_key);
begin
  if not coalesce((waited ->> 'skips')::boolean, false) then
    return null;
  elsif waited ->> 'result' = 'missing' then
    return jsonb_build_object('code', 'no_date', 'message', 'there is no date to be before or after', 'wait', wait_key);
  end if;
  return jsonb_build_object(
    'code', 'too_late', 'message', 'its time had passed when its turn came', 'wait', wait_key);
end;
$$;

-- Where a wait begins to listen: where the step before it began, for a reply can be quicker than the report
-- that its question was sent; without one, where the run did.
create or replace function automation.listens_since(
  execution ridgeline.workflow_executions, step_key text,
  out seq bigint, out written_by xid8, out seen pg_snapshot)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select m.seq, m.written_by, m.seen
    from (
      select s.seq, s.written_by, s.seen from ridgeline.workflow_step_executions as s
      where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
        and s.step_key <> listens_since.step_key
      union all
      select execution.seq, execution.written_by, execution.seen
    ) as m
    order by m.seq desc
    limit 1
  $$;

create or replace function automation.received_event(
  execution ridgeline.workflow_executions, step_key text)
  returns jsonb
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('type', r.event, 'record', r.record, 'at', r.at)
    from automation.listens_since(execution, step_key) as m
    cross join (
      select e.event, e.record, e.at, e.seq, e.written_by from automation.run_events as e
      where e.tenant_id = execution.tenant_id and e.execution_id = execution.id
        and e.step_key = received_event.step_key
      union all
      select s.event, s.record, s.at, s.seq, s.written_by from automation.unread_signals(execution) as s
      where s.role = 'wait' and s.listener = received_event.step_key
    ) as r
    where automation.came_after(r.seq, r.written_by, m.seq, m.written_by, m.seen)
    order by r.seq
    limit 1
  $$;

create or replace function automation.wait_for_event(
  execution ridgeline.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  received constant jsonb := automation.received_event(execution, step_key);
  deadline timestamptz;
begin
  if received is not null then
    return jsonb_build_object('branch', 'event', 'result', 'event', 'event', received);
  end if;
  select (s.result_data ->> 'wait_until')::timestamptz into deadline
  from ridgeline.workflow_step_executions as s
  where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
    and s.step_key = wait_for_event.step_key and s.status = 'waiting';
  deadline := coalesce(deadline, automation.add_length(
    automation.now(), automation.duration_in(input -> 'timeout'), automation.wait_zone(execution, input)));
  if deadline <= automation.now() then
    return jsonb_build_object('branch', 'timeout', 'result', 'timeout');
  end if;
  return jsonb_build_object('wait_until', deadline, 'waiting', true);
end;
$$;

create or replace function automation.wait(
  execution ridgeline.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when input ? 'event' then automation.wait_for_event(execution, step_key, input)
      else automation.wait_for_time(execution, input, automation.now(), step_key)
    end
  $$;

-- 68 TIME
--
-- What time starts: schedules, timers, enrolments of many records, and events that runs wait for.

-- Scheduled workflows: one row each, found by when it runs next, moved on by the tick.

create table ridgeline.workflow_schedules (
  tenant_id uuid not null,
  workflow_id uuid not null,
  version integer not null,
  config jsonb not null,
  cron text,
  every interval,
  zone text,
  missed text not null
    constraint workflow_schedules_missed_known check (missed in ('once', 'skip', 'catch_up')),
  entity text,
  conditions jsonb,
  anchor_at timestamptz not null default automation.now(),
  next_run_at timestamptz,
  last_run_at timestamptz,
  error jsonb,
  changed_at timestamptz not null default automation.now(),
  constraint workflow_schedules_pkey primary key (tenant_id, workflow_id),
  constraint workflow_schedules_version_fk foreign key (tenant_id, workflow_id, version)
    references ridgeline.workflow_versions (tenant_id, workflow_id, version) on delete cascade,
  constraint workflow_schedules_cron_or_every check ((cron is null) <> (every is null))
);

select automation.keep_changed_at('ridgeline.workflow_schedules');

comment on table ridgeline.workflow_schedules is
  'When each active scheduled workflow runs next. The engine writes it; people read it.';
comment on column ridgeline.workflow_schedules.zone is 'Null: the tenant''s zone, as it is at each run.';
comment on column ridgeline.workflow_schedules.entity is
  'Runs once for each record of it that meets conditions; null: once for the tenant.';
comment on column ridgeline.workflow_schedules.anchor_at is 'What `every` is counted from.';

create index workflow_schedules_due
  on ridgeline.workflow_schedules (next_run_at, tenant_id) where next_run_at is not null;
create index workflow_schedules_by_version
  on ridgeline.workflow_schedules (workflow_id, tenant_id, version);

insert into automation.settings (name, value, description) values
  ('time_grace', '5 minutes',
   'How late a timer or a run of a schedule may be without counting as missed.'),
  ('catch_up_window', '7 days',
   'How far back a schedule that catches up goes.')
on conflict on constraint settings_pkey do update set description = excluded.description;

create or replace function automation.next_run(
  schedule ridgeline.workflow_schedules, after timestamptz)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  zone constant text := coalesce(schedule.zone, automation.tenant_zone(schedule.tenant_id), 'UTC');
begin
  return case
    when schedule.cron is not null then automation.next_fire(schedule.cron, zone, after)
    else automation.next_every(schedule.anchor_at, schedule.every, zone, after)
  end;
end;
$$;

create or replace function automation.start_schedule(version ridgeline.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  started ridgeline.workflow_schedules;
  compiled jsonb;
begin
  update ridgeline.workflow_schedules as s set version = start_schedule.version.version
  where s.tenant_id = start_schedule.version.tenant_id
    and s.workflow_id = start_schedule.version.workflow_id
    and s.config = start_schedule.version.trigger_config;
  if found then
    return;
  end if;
  compiled := (select c.compiled
    from automation.compile_schedule(version.trigger_config, 'trigger_config') as c);
  started := jsonb_populate_record(null::ridgeline.workflow_schedules, compiled);
  started.tenant_id := version.tenant_id;
  started.workflow_id := version.workflow_id;
  started.version := version.version;
  started.config := version.trigger_config;
  started.anchor_at := automation.now();
  started.changed_at := automation.now();
  started.next_run_at := automation.next_run(started, automation.now());
  delete from ridgeline.workflow_schedules as s
  where s.tenant_id = started.tenant_id and s.workflow_id = started.workflow_id;
  insert into ridgeline.workflow_schedules select started.*;
end;
$$;

-- One run. For each record: a bulk enrolment does it, a batch at a time.
create or replace function automation.run_occurrence(
  schedule ridgeline.workflow_schedules, scheduled_at timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version ridgeline.workflow_versions;
  data constant jsonb := jsonb_build_object('scheduled_at', scheduled_at);
begin
  if schedule.entity is not null then
    insert into ridgeline.bulk_enrollments (tenant_id, workflow_id, kind, entity, conditions, data)
    values (schedule.tenant_id, schedule.workflow_id, 'scheduled', schedule.entity,
      schedule.conditions, data);
    return;
  end if;
  select v.* into version from ridgeline.workflow_versions as v
  where v.tenant_id = schedule.tenant_id and v.workflow_id = schedule.workflow_id
    and v.version = schedule.version;
  perform automation.enrol_if_met(version, 'scheduled', data);
end;
$$;

-- Runs what is due of one schedule, at most so many times and for so long, and says how often. What was missed (more
-- than time_grace ago): once runs one time for all of it, skip not at all, catch_up each one,
-- oldest first, over as many ticks as it takes.
create or replace function automation.run_schedule(
  schedule ridgeline.workflow_schedules, at_most integer, until timestamptz)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
  oldest constant timestamptz := case schedule.missed
    when 'skip' then at - automation.setting('time_grace')::interval
    when 'catch_up' then at - automation.setting('catch_up_window')::interval
  end;
  due timestamptz := schedule.next_run_at;
  ran integer := 0;
begin
  if due < oldest then
    due := automation.next_run(schedule, oldest);
  end if;
  while due <= at and ran < at_most and not automation.is_sweeping(schedule) loop
    perform automation.run_occurrence(schedule, due);
    ran := ran + 1;
    due := automation.next_run(schedule, case schedule.missed when 'once' then at else due end);
    exit when clock_timestamp() >= until;
  end loop;
  update ridgeline.workflow_schedules as s
  set next_run_at = due, error = null, last_run_at = case when ran > 0 then at else s.last_run_at end
  where s.tenant_id = schedule.tenant_id and s.workflow_id = schedule.workflow_id;
  return ran;
end;
$$;

-- A run over many records that is still going on is not overtaken by the next.
create or replace function automation.is_sweeping(schedule ridgeline.workflow_schedules) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select schedule.entity is not null and exists (
      select from ridgeline.bulk_enrollments as b
      where b.tenant_id = schedule.tenant_id and b.workflow_id = schedule.workflow_id
        and b.kind = 'scheduled' and b.status = 'running')
  $$;

-- A schedule during which the statement was cancelled, or the server died, is put off further each time. It
-- is never given up: its workflow's people see the error.
create or replace function automation.cut_off_schedule(schedule ridgeline.workflow_schedules, began timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tried constant integer :=
    automation.suspect(schedule.tenant_id, 'schedule', schedule.workflow_id::text, began);
begin
  update ridgeline.workflow_schedules as s
  set next_run_at = automation.now() + interval '1 minute' * power(4, least(tried, 6)),
    error = automation.cut_off_error(greatest(tried, 1))
  where s.tenant_id = schedule.tenant_id and s.workflow_id = schedule.workflow_id;
end;
$$;

-- One broken schedule does not hold up the others: it is tried again in a minute.
create or replace function automation.fail_schedule(
  schedule ridgeline.workflow_schedules, state text, message text)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.workflow_schedules as s
    set next_run_at = automation.now() + interval '1 minute',
      error = automation.engine_error('schedule_failed', state, message)
    where s.tenant_id = schedule.tenant_id and s.workflow_id = schedule.workflow_id
  $$;

create or replace function automation.due_schedules(at_most integer, aside text[])
  returns table (tenant_id uuid, key text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select s.tenant_id, s.workflow_id::text from ridgeline.workflow_schedules as s
    where s.next_run_at <= automation.now() and concat_ws('/', s.tenant_id, s.workflow_id) <> all (aside)
    order by row_number() over (partition by s.tenant_id order by s.next_run_at), s.next_run_at
    limit at_most
  $$;

-- By their whole primary key, one after the other: see 70_dispatch/00_work.
create or replace function automation.lock_schedules(tenant_ids uuid[], keys text[])
  returns setof ridgeline.workflow_schedules
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_sort = off
  set jit = off
  as $$
begin
  return query
    select s.*
    from unnest(tenant_ids, keys) as k (tenant_id, key)
    cross join lateral (
      select q.* from ridgeline.workflow_schedules as q
      where q.tenant_id = k.tenant_id and q.workflow_id between k.key::uuid and k.key::uuid
        and q.next_run_at <= automation.now()
      order by q.workflow_id
      limit 1
      for update skip locked
    ) as s;
end;
$$;

create or replace function automation.run_these_schedules(tenant_ids uuid[], keys text[], until timestamptz)
  returns integer
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(sum(automation.run_schedule(s, 20, until)), 0)::integer
    from automation.lock_schedules(tenant_ids, keys) as s
  $$;

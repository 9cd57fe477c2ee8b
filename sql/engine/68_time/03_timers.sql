-- Timers: a time before or after a date of a record. One row for each record that waits, found by
-- when it is due; nothing ever scans the records for it.
--
-- Lock order: a writer holds its record and then writes timers; the tick holds timers and reads
-- records without locking them.

create table automation.timer_listeners (
  tenant_id uuid not null,
  workflow_id uuid not null,
  version integer not null,
  config jsonb not null,
  generation uuid not null default automation.new_id(),
  entity text not null,
  field text not null,
  follows text not null
    constraint timer_listeners_follows_known check (follows in ('value', 'change')),
  "offset" interval not null,
  business_days integer,
  at time,
  zone text,
  missed text not null constraint timer_listeners_missed_known check (missed in ('once', 'skip')),
  by_people boolean not null default false,
  constraint timer_listeners_pkey primary key (tenant_id, workflow_id),
  constraint timer_listeners_version_fk foreign key (tenant_id, workflow_id, version)
    references ridgeline.workflow_versions (tenant_id, workflow_id, version) on delete cascade
);

comment on table automation.timer_listeners is
  'What each active time_elapsed workflow waits for.';
comment on column automation.timer_listeners.generation is
  'New whenever what is waited for changes; timers of an older one are dropped when they are due.';

comment on column automation.timer_listeners.business_days is
  'Instead of an offset: so many days from Monday to Friday that are no holiday of the tenant.';
comment on column automation.timer_listeners.by_people is
  'Of a change: what an automation writes does not count as one.';
comment on column automation.timer_listeners.zone is
  'An IANA name, or contact: the zone of the record''s contact. Null: the tenant''s.';

create trigger timer_listeners_note_listening after insert or update or delete on automation.timer_listeners
  for each statement execute function automation.note_listening();
alter table automation.timer_listeners enable always trigger timer_listeners_note_listening;
create trigger timer_listeners_replicated after insert or update or delete on automation.timer_listeners
  for each row execute function automation.note_listening();
alter table automation.timer_listeners enable replica trigger timer_listeners_replicated;

create index timer_listeners_by_entity on automation.timer_listeners (entity, tenant_id);
create index timer_listeners_by_version
  on automation.timer_listeners (workflow_id, tenant_id, version);

create table ridgeline.workflow_timers (
  tenant_id uuid not null,
  workflow_id uuid not null,
  record_id text not null,
  due_at timestamptz not null,
  generation uuid not null,
  depth smallint not null default 0,
  constraint workflow_timers_pkey primary key (tenant_id, workflow_id, record_id)
);

comment on table ridgeline.workflow_timers is
  'Records that wait for a time_elapsed workflow, and until when.';
comment on column ridgeline.workflow_timers.depth is
  '1 when an automation''s own write set the timer, so that a loop meets the limits of 50_executions/01_cause.';

create index workflow_timers_due on ridgeline.workflow_timers (due_at, tenant_id);
create index workflow_timers_due_by_workflow
  on ridgeline.workflow_timers (workflow_id, tenant_id, due_at);

-- No foreign key leads from a timer to its workflow: whoever writes a record would wait where somebody deletes it, and
-- fail when it is gone. What is deleted takes its timers along here; one that was set meanwhile goes when it is due.
create or replace function automation.delete_timers_of_workflows() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_sort = off
  set jit = off
  as $$
declare
  places constant tid[] := array(
    select x.ctid from gone as w
    cross join lateral (
      select r.ctid from ridgeline.workflow_timers as r
      where r.tenant_id = w.tenant_id and r.workflow_id = w.id
      offset 0 for update) as x);
begin
  delete from ridgeline.workflow_timers as t where t.ctid = any (places);
  return null;
end;
$$;

create trigger workflows_delete_timers after delete on ridgeline.workflows
  referencing old table as gone
  for each statement execute function automation.delete_timers_of_workflows();

-- Null: there is no contact, or it does not say, or says no zone.
create or replace function automation.contact_zone(entity text, tenant_id uuid, record jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.known_zone(c.contact ->> automation.mapped_column('contact', 'timezone'))
    from automation.entities as e
    cross join lateral (
      select case e.name
        when 'contact' then record
        else automation.add_related(
          '{}', contact_zone.tenant_id, record, e.related, e.contact_way, e.contact_ways) -> 'contact'
      end as contact
    ) as c
    where e.name = contact_zone.entity
  $$;

create or replace function automation.timer_zone(listener automation.timer_listeners, record jsonb)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    case listener.zone
      when 'contact' then automation.contact_zone(listener.entity, listener.tenant_id, record)
      else listener.zone
    end,
    automation.tenant_zone(listener.tenant_id), 'UTC');
end;
$$;

-- Could an update have changed the zone that a timer goes by? A contact that moves is seen here; the
-- timers of its appointments find out when they are due.
create or replace function automation.zone_moved(
  listener automation.timer_listeners, old jsonb, new jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select listener.zone = 'contact' and listener.follows = 'value' and exists (
      select from automation.entities as e
      cross join lateral unnest(case e.name
        when 'contact' then array[e.mapped ->> 'timezone']
        else array(select r.value from jsonb_each_text(e.related) as r) end) as c (name)
      where e.name = listener.entity and old ->> c.name is distinct from new ->> c.name)
  $$;

-- Settings of a tenant: {"holidays": ["2026-12-25", ...]}. What is no date there is passed over.
create or replace function automation.tenant_holidays(tenant_id uuid) returns date[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select left(h.day, 10)::date
      from automation.tenant_setting(tenant_holidays.tenant_id, 'holidays') as t (days)
      cross join lateral jsonb_array_elements_text(case jsonb_typeof(t.days)
        when 'array' then t.days else '[]' end) as h (day)
      where automation.is_date(left(h.day, 10)))
  $$;

comment on function automation.tenant_holidays(uuid) is
  'The days besides Saturdays and Sundays that are no business days of a tenant.';

-- The nth business day after a day, or before it; the day itself is not counted.
create or replace function automation.business_day(day date, days integer, holidays date[])
  returns date
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select d.day
    from generate_series(1, ((abs(days) + cardinality(holidays)) / 5 + 2) * 7) as n (far)
    cross join lateral (select business_day.day + sign(days)::integer * n.far as day) as d
    where extract(isodow from d.day) < 6 and not d.day = any (holidays)
    order by n.far
    offset abs(days) - 1
    limit 1
  $$;

-- When a date makes a timer due; null when it is no date.
create or replace function automation.timer_due(
  listener automation.timer_listeners, value text, zone text)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due timestamptz;
  wall timestamp;
begin
  if not automation.is_date(value) then
    return null;
  end if;
  due := automation.add_length(automation.instant_in(value, zone), listener."offset", zone);
  if listener.business_days is not null then
    wall := due at time zone zone;
    wall := automation.business_day(
      wall::date, listener.business_days, automation.tenant_holidays(listener.tenant_id)) + wall::time;
  end if;
  if listener.at is not null then
    wall := coalesce(wall, due at time zone zone)::date + listener.at;
  end if;
  if wall is not null then
    due := (select coalesce(i.earlier, i.gap_end) from automation.wall_instants(wall, zone) as i);
  end if;
  return due;
end;
$$;

create or replace function automation.field_text(record jsonb, field text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return record #>> string_to_array(field, '.');
end;
$$;

-- Sets, moves or drops the timer of one record for one workflow.
create or replace function automation.set_timer(
  listener automation.timer_listeners, record_id text, due timestamptz, oldest timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if due is null or due < oldest then
    delete from ridgeline.workflow_timers as t
    where t.tenant_id = listener.tenant_id and t.workflow_id = listener.workflow_id
      and t.record_id = set_timer.record_id;
    return;
  end if;
  insert into ridgeline.workflow_timers (tenant_id, workflow_id, record_id, due_at, generation, depth)
  values (listener.tenant_id, listener.workflow_id, set_timer.record_id, due, listener.generation,
    least(automation.causation_depth(), 1))
  on conflict on constraint workflow_timers_pkey do update set
    due_at = excluded.due_at, generation = excluded.generation, depth = excluded.depth;
end;
$$;

-- Called by the trigger on an attached table. What could raise writes nothing, and the other way
-- round: the write that brought it here never fails on its account.
create or replace function automation.follow_timers(
  entity text, tenant_id uuid, record_id text, old jsonb, new jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listener automation.timer_listeners;
  at constant timestamptz := automation.now();
  zone text;
  due timestamptz;
begin
  for listener in
    select t.* from automation.timer_listeners as t
    where t.entity = follow_timers.entity and t.tenant_id = follow_timers.tenant_id
  loop
    continue when old is not null
      and automation.field_text(old, listener.field)
        is not distinct from automation.field_text(new, listener.field)
      and not coalesce(automation.zone_moved(listener, old, new), false);
    continue when listener.by_people and old is not null and automation.has_cause();
    begin
      zone := automation.timer_zone(listener, new);
      due := automation.timer_due(listener,
        case listener.follows
          when 'change' then to_json(at) #>> '{}'
          else automation.field_text(new, listener.field) end, zone);
    exception when others then
      continue;
    end;
    perform automation.set_timer(
      listener, record_id, due, at - automation.setting('time_grace')::interval);
  end loop;
end;
$$;

create or replace function automation.drop_timers(entity text, tenant_id uuid, record_id text)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from ridgeline.workflow_timers as t
    using automation.timer_listeners as l
    where l.entity = drop_timers.entity and l.tenant_id = drop_timers.tenant_id
      and t.tenant_id = l.tenant_id and t.workflow_id = l.workflow_id
      and t.record_id = drop_timers.record_id
  $$;

-- Records that are there already get their timers from a bulk job, which leaves out what is past.
create or replace function automation.start_timers(version ridgeline.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  compiled jsonb;
  started automation.timer_listeners;
begin
  update automation.timer_listeners as t set version = start_timers.version.version
  where t.tenant_id = start_timers.version.tenant_id
    and t.workflow_id = start_timers.version.workflow_id
    and t.config = start_timers.version.trigger_config;
  if found then
    return;
  end if;
  compiled := (select c.compiled
    from automation.compile_timer(version.trigger_config, 'trigger_config') as c);
  started := jsonb_populate_record(null::automation.timer_listeners, compiled);
  started.tenant_id := version.tenant_id;
  started.workflow_id := version.workflow_id;
  started.version := version.version;
  started.config := version.trigger_config;
  started.generation := automation.new_id();
  delete from automation.timer_listeners as t
  where t.tenant_id = started.tenant_id and t.workflow_id = started.workflow_id;
  insert into automation.timer_listeners select started.*;
  if (compiled ->> 'existing')::boolean then
    insert into ridgeline.bulk_enrollments (tenant_id, workflow_id, kind, entity, generation, data, per_minute)
    values (started.tenant_id, started.workflow_id, 'timers', started.entity, started.generation,
      coalesce(nullif(compiled -> 'backfill', 'null'), '{}'), (compiled #>> '{backfill,per_minute}')::integer);
  end if;
end;
$$;

-- What a timer of a record that was there before is counted from: its date; or when it was last changed, as far as
-- anybody knows. The stage has its own record of that; of another field, or of a stage that has not changed since the
-- table was attached, it is the last change of anything, which is later if it is not the same.
create or replace function automation.counted_from(
  listener automation.timer_listeners, record_id text, record jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case listener.follows
      when 'value' then automation.field_text(record, listener.field)
      else coalesce(
        (select to_json(s.changed_at) #>> '{}' from ridgeline.stage_changes as s
         where s.tenant_id = listener.tenant_id and s.entity = listener.entity
           and s.record_id = counted_from.record_id
           and listener.field = coalesce(e.mapped ->> 'stage', e.mapped ->> 'status')),
        record ->> (e.mapped ->> 'updated_at'), record ->> (e.mapped ->> 'created_at'),
        to_json(automation.now()) #>> '{}')
    end
    from automation.entities as e
    where e.name = listener.entity
  $$;

create or replace function automation.timer_key(timer ridgeline.workflow_timers) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select timer.workflow_id || '/' || timer.record_id $$;

-- Half from the oldest there are; and when those are too many, the other half from workflows drawn
-- by lot, so that one tenant's million does not keep the others waiting.
create or replace function automation.due_timers(at_most integer, aside text[])
  returns table (tenant_id uuid, key text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
declare
  half constant integer := greatest(1, at_most / 2);
  at constant timestamptz := automation.now();
  waiting record;
  found_so_far integer;
begin
  return query
    select t.tenant_id, automation.timer_key(t) from ridgeline.workflow_timers as t
    where t.due_at <= at and concat_ws('/', t.tenant_id, automation.timer_key(t)) <> all (aside)
    order by t.due_at, t.tenant_id
    limit half;
  get diagnostics found_so_far = row_count;
  if found_so_far < half then
    return;
  end if;
  for waiting in
    select l.tenant_id, l.workflow_id
    from (select t.tenant_id, t.workflow_id from automation.timer_listeners as t order by random()) as l
    where exists (
      select from ridgeline.workflow_timers as t
      where t.workflow_id = l.workflow_id and t.tenant_id = l.tenant_id and t.due_at <= at)
    limit 20
  loop
    return query
      select t.tenant_id, automation.timer_key(t) from ridgeline.workflow_timers as t
      where t.workflow_id = waiting.workflow_id and t.tenant_id = waiting.tenant_id
        and t.due_at <= at and concat_ws('/', t.tenant_id, automation.timer_key(t)) <> all (aside)
      order by t.due_at
      limit greatest(1, half / 20);
  end loop;
end;
$$;

-- By their whole primary key, one after the other: see 70_dispatch/00_work.
create or replace function automation.lock_timers(tenant_ids uuid[], keys text[])
  returns setof ridgeline.workflow_timers
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
    select t.*
    from unnest(tenant_ids, keys) as k (tenant_id, key)
    cross join lateral (
      select q.* from ridgeline.workflow_timers as q
      where q.tenant_id = k.tenant_id and q.workflow_id = left(k.key, 36)::uuid
        and q.record_id between substr(k.key, 38) and substr(k.key, 38) and q.due_at <= automation.now()
      order by q.record_id
      limit 1
      for update skip locked
    ) as t;
end;
$$;

-- Of a timer that was due: did it fire (1 or 0), and what is to be written down.
create type automation.fired_timer as (fired integer, entry automation.entry);

-- The record is read as it is now. A date that moved without the trigger seeing it (another zone of
-- the tenant) moves the timer; a reminder before a date says nothing once the date has passed.
-- What it starts before a date is a reminder: its messages do not go out after that date.
create or replace function automation.fire_timer(waiting ridgeline.workflow_timers) returns automation.fired_timer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listener automation.timer_listeners;
  version ridgeline.workflow_versions;
  record jsonb;
  zone text;
  value text;
  due timestamptz := waiting.due_at;
  at constant timestamptz := automation.now();
begin
  select l.* into listener from automation.timer_listeners as l
  where l.tenant_id = waiting.tenant_id and l.workflow_id = waiting.workflow_id
    and l.generation = waiting.generation;
  record := automation.read_record(listener.entity, waiting.tenant_id, waiting.record_id);
  value := automation.field_text(record, listener.field);
  if listener.follows = 'value' then
    zone := automation.timer_zone(listener, record);
    due := automation.timer_due(listener, value, zone);
  end if;
  if due > at then
    update ridgeline.workflow_timers as t set due_at = due
    where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
      and t.record_id = waiting.record_id;
    return row(0, null::automation.entry);
  end if;
  delete from ridgeline.workflow_timers as t
  where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
    and t.record_id = waiting.record_id;
  if not found or record is null or due is null
    or listener.missed = 'skip' and due < at - automation.setting('time_grace')::interval
    or coalesce(listener."offset" < interval '0' or listener.business_days < 0, false)
      and automation.instant_in(value, zone) <= at then
    return row(0, null::automation.entry);
  end if;
  select v.* into version from ridgeline.workflow_versions as v
  where v.tenant_id = listener.tenant_id and v.workflow_id = listener.workflow_id
    and v.version = listener.version;
  perform set_config('automation.depth', case when waiting.depth > 0 then '1' else '' end, true);
  return row(1, automation.entry_if_met(version, automation.enrolment_of(version, 'time_elapsed'), automation.snapshot(
      listener.entity, waiting.tenant_id, record,
      jsonb_build_object('timer', jsonb_build_object(
        'field', listener.field, 'value', value, 'due_at', due))),
    case when listener."offset" < interval '0' or listener.business_days < 0
      then automation.instant_in(value, zone) end));
end;
$$;

-- A timer during which the statement was cancelled is put off.
create or replace function automation.cut_off_timer(waiting ridgeline.workflow_timers, began timestamptz) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key constant text := automation.timer_key(waiting);
  tried constant integer := automation.suspect(waiting.tenant_id, 'timer', key, began);
begin
  update ridgeline.workflow_timers as t set due_at = automation.now() + interval '1 minute' * greatest(tried, 1)
  where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
    and t.record_id = waiting.record_id;
end;
$$;

-- After a few times it is given up: with an execution that says why.
create or replace function automation.give_up_timer(waiting ridgeline.workflow_timers, error jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listener automation.timer_listeners;
begin
  delete from ridgeline.workflow_timers as t
  where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
    and t.record_id = waiting.record_id;
  select l.* into listener from automation.timer_listeners as l
  where l.tenant_id = waiting.tenant_id and l.workflow_id = waiting.workflow_id;
  if found then
    perform automation.enrol(waiting.tenant_id, listener.entity, waiting.record_id,
      jsonb_build_object('entity', listener.entity, listener.entity || '_id', waiting.record_id),
      row(waiting.workflow_id, listener.version, 'time_elapsed', null, null, null,
        error, 'enrol', '', null, false,
        automation.mode_of(waiting.tenant_id, waiting.workflow_id))::automation.enrolment);
  end if;
end;
$$;

-- One timer that cannot be fired does not hold up the others: it is tried again in an hour.
create or replace function automation.fail_timer(waiting ridgeline.workflow_timers, message text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise warning 'timer of record % for workflow %: %', waiting.record_id, waiting.workflow_id, message;
  update ridgeline.workflow_timers as t set due_at = automation.now() + interval '1 hour'
  where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
    and t.record_id = waiting.record_id;
end;
$$;

-- Together, which costs least.
create or replace function automation.fire_these_timers(tenant_ids uuid[], keys text[]) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  waiting ridgeline.workflow_timers;
  one automation.fired_timer;
  entries automation.entry[] := '{}'::automation.entry[];
  fired integer := 0;
begin
  for waiting in select * from automation.lock_timers(tenant_ids, keys) loop
    one := automation.fire_timer(waiting);
    fired := fired + one.fired;
    if (one.entry).id is not null then
      entries := entries || one.entry;
    end if;
  end loop;
  if cardinality(entries) > 0 then
    perform automation.enter(entries);
  end if;
  perform automation.clear_cause();
  return fired;
end;
$$;

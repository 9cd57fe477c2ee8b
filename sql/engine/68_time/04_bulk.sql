-- Bulk enrolment: many records into one workflow, a batch at a time, from a list or by walking the
-- primary key of their table. The tick does it; a row here says how far it has come. Three things
-- are made of it: enrolment by hand, a schedule that runs for each record, and the timers of records
-- that were there before their workflow.

create table ridgeline.bulk_enrollments (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  kind text not null
    constraint bulk_enrollments_kind_known check (kind in ('manual', 'scheduled', 'timers')),
  status text not null default 'running'
    constraint bulk_enrollments_status_known
    check (status in ('running', 'completed', 'cancelled', 'failed')),
  entity text not null,
  conditions jsonb,
  record_ids text[],
  data jsonb not null default '{}',
  generation uuid,
  per_minute integer constraint bulk_enrollments_per_minute_positive check (per_minute > 0),
  total integer,
  scanned integer not null default 0,
  enrolled integer not null default 0,
  skipped integer not null default 0,
  failed integer not null default 0,
  last_record_id text,
  next_batch_at timestamptz not null default automation.now(),
  error jsonb,
  created_by uuid,
  created_at timestamptz not null default automation.now(),
  finished_at timestamptz,
  changed_at timestamptz not null default automation.now(),
  constraint bulk_enrollments_pkey primary key (tenant_id, id),
  constraint bulk_enrollments_workflow_fk foreign key (tenant_id, workflow_id)
    references ridgeline.workflows (tenant_id, id) on delete cascade,
  constraint bulk_enrollments_finished_matches_status
    check ((finished_at is not null) = (status <> 'running'))
);

select automation.keep_changed_at('ridgeline.bulk_enrollments');

comment on table ridgeline.bulk_enrollments is
  'Enrolments of many records: what was asked for, how far it has come, and what came of it.';
comment on column ridgeline.bulk_enrollments.total is
  'How many records were listed; null for a filter, which counts as it goes.';
comment on column ridgeline.bulk_enrollments.skipped is
  'Records that are gone, or that the filter or the workflow''s own conditions left out.';
comment on column ridgeline.bulk_enrollments.last_record_id is
  'A filter has walked the table up to here.';
comment on column ridgeline.bulk_enrollments.per_minute is
  'The most enrolments in a minute; null: as fast as it goes.';

create index bulk_enrollments_due
  on ridgeline.bulk_enrollments (next_batch_at, tenant_id) where status = 'running';
create index bulk_enrollments_by_workflow
  on ridgeline.bulk_enrollments (workflow_id, tenant_id, created_at);

-- The next records of a job, in its order. A record of the list that is gone comes as null.
create or replace function automation.bulk_records(job ridgeline.bulk_enrollments, at_most integer)
  returns table (id text, record jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  id_type text;
begin
  if job.record_ids is not null then
    return query
      select listed.id, automation.read_record(job.entity, job.tenant_id, listed.id)
      from unnest(job.record_ids[job.scanned + 1:job.scanned + at_most]) with ordinality
        as listed (id, place)
      order by listed.place;
    return;
  end if;
  select e.* into attached from automation.entities as e where e.name = job.entity;
  if not found then
    raise exception 'entity: "%" is not attached', job.entity
      using errcode = 'invalid_parameter_value', hint = 'Attach its table, or enrol records of another entity.';
  end if;
  select pg_catalog.format_type(a.atttypid, a.atttypmod) into id_type
  from pg_catalog.pg_attribute as a
  where a.attrelid = attached.relation::regclass and a.attname = attached.id_column;
  -- Whatever is read to find them, no more of them than that become JSON.
  return query execute format(
    'select r.%1$I::text, %5$s from (select r.* from %2$s as r where %3$s = $1 %4$s and not (%6$s) '
    'order by r.%1$I limit $3) as r order by r.%1$I',
    attached.id_column, attached.relation,
    automation.tenant_expression(attached, 'r'),
    case when job.last_record_id is not null
      then format('and r.%I > $2::%s', attached.id_column, id_type) else '' end,
    automation.record_expression(attached, 'r'), automation.deleted_expression(attached, 'r'))
    using job.tenant_id, job.last_record_id, at_most;
end;
$$;

-- What becomes of a record: enrolled, skipped or failed; and the execution that is to be written down.
create type automation.taken_record as (became text, entry automation.entry);

-- The timer of a record that was there before its workflow. One whose time has come already starts its run, where the
-- workflow asks for that (existing: {overdue}), but for what was started since, and no more than so many.
create or replace function automation.take_timer(
  job ridgeline.bulk_enrollments, version ridgeline.workflow_versions, enrolment automation.enrolment,
  listener automation.timer_listeners, record_id text, record jsonb)
  returns automation.taken_record
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
  zone constant text := automation.timer_zone(listener, record);
  value constant text := automation.counted_from(listener, record_id, record);
  due constant timestamptz := automation.timer_due(listener, value, zone);
  before_it constant boolean := listener."offset" < interval '0' or coalesce(listener.business_days < 0, false);
  entry automation.entry;
begin
  if due > at then
    perform automation.set_timer(listener, record_id, due, due);
    return row('enrolled'::text, null::automation.entry);
  elsif due is null or not coalesce((job.data ->> 'overdue')::boolean, false)
    or coalesce((job.data ->> 'started')::integer, 0) >= (job.data ->> 'at_most')::integer
    or before_it and automation.instant_in(value, zone) <= at
    or exists (
      select from ridgeline.workflow_timers as t
      where t.tenant_id = job.tenant_id and t.workflow_id = job.workflow_id and t.record_id = take_timer.record_id)
    or exists (
      select from ridgeline.workflow_executions as e
      where e.tenant_id = job.tenant_id and e.record_id = take_timer.record_id and e.workflow_id = job.workflow_id
        and e.created_at >= automation.instant_in(value, zone)) then
    return row('skipped'::text, null::automation.entry);
  end if;
  enrolment.trigger_type := 'time_elapsed';
  entry := automation.entry_if_met(version, enrolment, automation.snapshot(
      job.entity, job.tenant_id, record, jsonb_build_object('timer', jsonb_build_object(
        'field', listener.field, 'value', value, 'due_at', due, 'overdue', true))),
    case when before_it then automation.instant_in(value, zone) end);
  return row(case when entry.id is null then 'skipped' when (entry.enrolment).failure is null then 'enrolled'
    else 'failed' end::text, entry);
end;
$$;

create or replace function automation.take_record(
  job ridgeline.bulk_enrollments, version ridgeline.workflow_versions, enrolment automation.enrolment,
  listener automation.timer_listeners, record_id text, record jsonb)
  returns automation.taken_record
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  data jsonb;
  entry automation.entry;
begin
  if record is null then
    return row('skipped'::text, null::automation.entry);
  elsif job.kind = 'timers' then
    return automation.take_timer(job, version, enrolment, listener, record_id, record);
  end if;
  data := automation.snapshot(job.entity, job.tenant_id, record, job.data);
  if job.conditions is not null and not automation.evaluate_conditions(
    job.conditions, automation.trigger_context(job.tenant_id, data),
    automation.tenant_zone(job.tenant_id)) then
    return row('skipped'::text, null::automation.entry);
  end if;
  entry := automation.entry_if_met(version, enrolment, data);
  return row(case when entry.id is null then 'skipped' when (entry.enrolment).failure is null then 'enrolled'
    else 'failed' end::text, entry);
end;
$$;

-- A workflow that was switched off takes nobody any more; null when the job may go on.
create or replace function automation.bulk_obstacle(
  job ridgeline.bulk_enrollments, version ridgeline.workflow_versions,
  listener automation.timer_listeners)
  returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when version.version is null then 'the workflow is not active any more'
      when job.kind = 'timers' and job.generation is distinct from listener.generation
        then 'the workflow waits for something else now'
    end
  $$;

create or replace function automation.finish_bulk(
  job ridgeline.bulk_enrollments, status text, error jsonb default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update ridgeline.bulk_enrollments as b
    set status = finish_bulk.status, error = finish_bulk.error, finished_at = automation.now()
    where b.tenant_id = job.tenant_id and b.id = job.id
  $$;

-- A record that breaks is a failed run that says why.
create or replace function automation.try_record(
  job ridgeline.bulk_enrollments, version ridgeline.workflow_versions, enrolment automation.enrolment,
  listener automation.timer_listeners, record_id text, record jsonb)
  returns automation.taken_record
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  taken automation.taken_record;
begin
  taken := automation.take_record(job, version, enrolment, listener, record_id, record);
  perform automation.enter(array[taken.entry]);
  return taken;
exception
  when lock_not_available or deadlock_detected then
    raise;
  when others then
    begin
      perform automation.enrol(job.tenant_id, job.entity, record_id,
        jsonb_build_object('entity', job.entity, job.entity || '_id', record_id, job.entity, record),
        row(version.workflow_id, version.version, job.kind, null, null, null,
          automation.engine_error('enrollment_failed', sqlstate, sqlerrm), 'enrol', '', null, false,
          automation.mode_of(job.tenant_id, job.workflow_id)
          )::automation.enrolment);
    exception when others then
      raise warning 'record % of enrollment %: %', record_id, job.id, sqlerrm;
    end;
    return row('failed'::text, null::automation.entry);
end;
$$;

-- What became of a set: the job with its counts, how many count against what is allowed, and whether it waited for
-- somebody (then nothing happened).
create type automation.taken_set as (job ridgeline.bulk_enrollments, taken integer, is_busy boolean);

create or replace function automation.count_record(
  inout counted automation.taken_set, became automation.taken_record, record_id text)
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  job ridgeline.bulk_enrollments := counted.job;
begin
  case became.became
    when 'enrolled' then
      job.enrolled := job.enrolled + 1;
      -- A timer costs nobody anything until it is due.
      if (became.entry).id is not null then
        counted.taken := counted.taken + 1;
        if job.kind = 'timers' then
          job.data := job.data || jsonb_build_object('started', coalesce((job.data ->> 'started')::integer, 0) + 1);
        end if;
      end if;
    when 'failed' then
      job.failed := job.failed + 1;
      counted.taken := counted.taken + 1;
    else
      job.skipped := job.skipped + 1;
  end case;
  job.scanned := job.scanned + 1;
  job.last_record_id := record_id;
  counted.job := job;
end;
$$;

-- Together, which costs least; and what one record has broken, record by record. One whose timer somebody is moving is
-- not waited for long, while others wait for those of the set.
create or replace function automation.take_set(
  job ridgeline.bulk_enrollments, version ridgeline.workflow_versions, enrolment automation.enrolment,
  listener automation.timer_listeners, ids text[], records jsonb[])
  returns automation.taken_set
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  so_far automation.taken_set := row(job, 0, false);
  became automation.taken_record;
  entries automation.entry[] := '{}'::automation.entry[];
begin
  for i in 1 .. cardinality(ids) loop
    became := automation.take_record(so_far.job, version, enrolment, listener, ids[i], records[i]);
    if (became.entry).id is not null then
      entries := entries || became.entry;
    end if;
    so_far := automation.count_record(so_far, became, ids[i]);
  end loop;
  if cardinality(entries) > 0 then
    perform automation.enter(entries);
  end if;
  return so_far;
exception
  when lock_not_available or deadlock_detected then
    return row(job, 0, true);
  when others then
    so_far := row(job, 0, false);
    for i in 1 .. cardinality(ids) loop
      became := automation.try_record(so_far.job, version, enrolment, listener, ids[i], records[i]);
      so_far := automation.count_record(so_far, became, ids[i]);
    end loop;
    return so_far;
end;
$$;

-- In sets that grow as long as they are quick, of records that are read two hundred at a time. A throttled job takes a
-- twelfth of a minute's worth at a time. seen: how many records it looked at; is_held: it waited for somebody.
create or replace function automation.run_batch(
  job ridgeline.bulk_enrollments, at_most integer, until timestamptz, out seen integer, out is_held boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version ridgeline.workflow_versions;
  listener automation.timer_listeners;
  enrolment automation.enrolment;
  -- What is read from: the list is long, and this is what of it may be taken now.
  page ridgeline.bulk_enrollments := job;
  ids text[] := '{}'::text[];
  records jsonb[];
  place integer := 1;
  became automation.taken_set;
  size integer := 1;
  count integer;
  set_began timestamptz;
  is_through boolean := false;
  allowed constant integer := coalesce(ceil(job.per_minute / 12.0)::integer, at_most);
  before constant integer := job.scanned;
  taken integer := 0;
begin
  seen := 0;
  is_held := false;
  select v.* into version
  from ridgeline.workflows as w
  join ridgeline.workflow_versions as v
    on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
  where w.tenant_id = job.tenant_id and w.id = job.workflow_id and w.is_active;
  select l.* into listener from automation.timer_listeners as l
  where l.tenant_id = job.tenant_id and l.workflow_id = job.workflow_id;
  if automation.bulk_obstacle(job, version, listener) is not null then
    perform automation.finish_bulk(job, 'cancelled', jsonb_build_object(
      'code', 'not_active', 'message', automation.bulk_obstacle(job, version, listener)));
    return;
  end if;
  enrolment := automation.enrolment_of(version, job.kind);
  page.record_ids := job.record_ids[job.scanned + 1:job.scanned + at_most];
  loop
    set_began := clock_timestamp();
    if place > cardinality(ids) then
      exit when is_through or job.scanned - before >= at_most;
      count := least(200, at_most - (job.scanned - before));
      page.scanned := job.scanned - before;
      page.last_record_id := job.last_record_id;
      select coalesce(array_agg(r.id order by r.place), '{}'), array_agg(r.record order by r.place) into ids, records
      from automation.bulk_records(page, count) with ordinality as r (id, record, place);
      is_through := cardinality(ids) < count;
      place := 1;
    end if;
    count := least(size, cardinality(ids) - place + 1, allowed - taken);
    exit when count <= 0;
    became := automation.take_set(
      job, version, enrolment, listener, ids[place:place + count - 1], records[place:place + count - 1]);
    is_held := became.is_busy;
    exit when is_held;
    job := became.job;
    taken := taken + became.taken;
    place := place + count;
    exit when clock_timestamp() >= until;
    size := automation.grown(size, count, clock_timestamp() - set_began);
  end loop;
  is_through := is_through and place > cardinality(ids);
  update ridgeline.bulk_enrollments as b
  set scanned = job.scanned, enrolled = job.enrolled, skipped = job.skipped, failed = job.failed,
    last_record_id = job.last_record_id, data = job.data,
    next_batch_at = automation.now() + greatest(case when is_held then interval '1 second' else interval '0' end,
      make_interval(secs => 60.0 * taken / job.per_minute))
  where b.tenant_id = job.tenant_id and b.id = job.id;
  if is_through or job.scanned >= job.total then
    perform automation.finish_bulk(job, 'completed');
  end if;
  seen := job.scanned - before;
end;
$$;

-- A batch during which the statement was cancelled is taken again later.
create or replace function automation.cut_off_bulk(job ridgeline.bulk_enrollments, began timestamptz) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tried constant integer := automation.suspect(job.tenant_id, 'bulk', job.id::text, began);
begin
  update ridgeline.bulk_enrollments as b
  set next_batch_at = automation.now() + interval '30 seconds' * greatest(tried, 1)
  where b.tenant_id = job.tenant_id and b.id = job.id;
end;
$$;

-- One job of each tenant before the second of any.
create or replace function automation.due_bulk(at_most integer, aside text[])
  returns table (tenant_id uuid, key text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select b.tenant_id, b.id::text from ridgeline.bulk_enrollments as b
    where b.status = 'running' and b.next_batch_at <= automation.now()
      and concat_ws('/', b.tenant_id, b.id) <> all (aside)
    order by row_number() over (partition by b.tenant_id order by b.next_batch_at), b.next_batch_at
    limit least(at_most, 20)
  $$;

-- By their whole primary key, one after the other: see 70_dispatch/00_work.
create or replace function automation.lock_bulk(tenant_ids uuid[], keys text[])
  returns setof ridgeline.bulk_enrollments
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
    select b.*
    from unnest(tenant_ids, keys) as k (tenant_id, key)
    cross join lateral (
      select q.* from ridgeline.bulk_enrollments as q
      where q.tenant_id = k.tenant_id and q.id between k.key::uuid and k.key::uuid
        and q.status = 'running' and q.next_batch_at <= automation.now()
      order by q.id
      limit 1
      for update skip locked
    ) as b;
end;
$$;

-- became: stopped, when it was the time that ended it; held, when it waited for somebody.
create or replace function automation.run_this_bulk(
  tenant_id uuid, key text, max_records integer, until timestamptz, out did integer, out became text)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  job ridgeline.bulk_enrollments;
  is_held boolean;
begin
  select b.* into job from automation.lock_bulk(array[tenant_id], array[key]) as b;
  select r.seen, r.is_held into did, is_held from automation.run_batch(job, max_records, until) as r;
  became := case
    when is_held then 'held'
    when did between 1 and max_records - 1
      and exists (select from automation.lock_bulk(array[tenant_id], array[key])) then 'stopped'
    else 'done'
  end;
end;
$$;

create or replace function automation.enroll_records(
  workflow_id uuid, record_ids text[], filter jsonb, entity text, per_minute integer, data jsonb)
  returns ridgeline.bulk_enrollments
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow ridgeline.workflows := automation.find_workflow(workflow_id);
  into_entity constant text := coalesce(entity, workflow.trigger_config ->> 'entity',
    (select t.entity from automation.trigger_types as t where t.name = workflow.trigger_type), 'contact');
  compiled record;
  listed constant text[] := array(
    select automation.as_key(r.id)
    from unnest(record_ids) with ordinality as r (id, place)
    where r.id is not null group by 1 order by min(r.place));
  job ridgeline.bulk_enrollments;
begin
  perform automation.check_publisher(workflow.tenant_id, 'enrolling many');
  perform automation.check_not_forgotten(workflow.tenant_id);
  perform automation.check_object(data, 'data');
  perform automation.check_author(workflow.tenant_id, automation.with_related(array[into_entity]));
  if not workflow.is_active then
    raise exception 'workflow_id: workflow "%" is not active', workflow.name
      using errcode = 'PT409',
        hint = 'Set is_active to true, which publishes it.';
  elsif record_ids is null and filter is null then
    raise exception 'record_ids: which records?' using errcode = 'invalid_parameter_value',
      hint = 'Pass record_ids, or a filter: conditions, [] for every record.';
  elsif cardinality(listed) > 100000 then
    raise exception 'record_ids: at most 100000 are taken' using errcode = 'PT413',
      hint = 'Use a filter.';
  elsif per_minute not between 1 and 100000 then
    raise exception 'per_minute: from 1 to 100000' using errcode = 'invalid_parameter_value';
  end if;
  select c.* into compiled from automation.compile_conditions(filter, 'filter') as c;
  perform automation.raise_problems(
    automation.check_entity(into_entity, 'entity') || compiled.problems, 'these records cannot be enrolled');
  insert into ridgeline.bulk_enrollments (
    tenant_id, workflow_id, kind, entity, conditions, record_ids, data, per_minute, total, created_by)
  values (
    workflow.tenant_id, workflow.id, 'manual', into_entity, compiled.compiled,
    case when record_ids is not null then listed end, data, per_minute,
    case when record_ids is not null then cardinality(listed) end, automation.current_user_id())
  returning * into job;
  -- A few are not kept waiting for the tick.
  if job.total <= 100 then
    perform automation.run_batch(job, 100, clock_timestamp() + automation.allowed_time(interval '2 seconds'));
    select b.* into job from ridgeline.bulk_enrollments as b
    where b.tenant_id = job.tenant_id and b.id = job.id;
  end if;
  return job;
end;
$$;

create or replace function ridgeline.enroll_records(
  workflow_id uuid, record_ids text[] default null, filter jsonb default null,
  entity text default null, per_minute integer default null, data jsonb default '{}',
  tenant_id uuid default null)
  returns ridgeline.bulk_enrollments
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.enroll_records(
      workflow_id, automation.seen_records(workflow_id, entity, record_ids), filter, entity, per_minute,
      automation.check_seen(data))
    from automation.in_tenant(tenant_id)
  $$;

comment on function ridgeline.enroll_records(uuid, text[], jsonb, text, integer, jsonb, uuid) is
  'Enrols many records into an active workflow: those listed, or those that meet a filter '
  '(conditions; [] for all), or both; of an entity, contact unless the workflow''s trigger says '
  'otherwise. Returns the row of bulk_enrollments that shows how far it has come; per_minute '
  'throttles it.';

create or replace function automation.cancel_bulk_enrollment(id uuid)
  returns ridgeline.bulk_enrollments
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  job ridgeline.bulk_enrollments;
begin
  select b.* into job
  from automation.usable_tenants() as t (id)
  join ridgeline.bulk_enrollments as b on b.tenant_id = t.id and b.id = cancel_bulk_enrollment.id
  for no key update of b;
  if not found then
    perform automation.raise_not_found('enrollment_id', id);
  end if;
  perform automation.check_editor(job.tenant_id, 'stopping an enrolment');
  if job.status = 'running' then
    perform automation.finish_bulk(job, 'cancelled', jsonb_build_object(
      'code', 'cancelled', 'message', 'cancelled by hand'));
    select b.* into job from ridgeline.bulk_enrollments as b
    where b.tenant_id = job.tenant_id and b.id = job.id;
  end if;
  return job;
end;
$$;

create or replace function ridgeline.cancel_bulk_enrollment(id uuid, tenant_id uuid default null)
  returns ridgeline.bulk_enrollments
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.cancel_bulk_enrollment(id) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.cancel_bulk_enrollment(uuid, uuid) is
  'Stops a bulk enrolment where it stands. Executions it has started go on; cancel those themselves.';

-- 97 HISTORY
--
-- History ends: what is kept how long, what is counted of it for good, and how a person is forgotten.

-- RETENTION
--
-- Ended runs go thirteen months after they ended, what their steps were told (rendered messages) after ninety days,
-- unless the tenant says otherwise. What has not ended stays whole, whatever its age. What must outlive runs stands in
-- tables of its own: entries of re-entry, keys of created projects, branches of splits, suppressions, statistics.
--
-- Ids are in the order of time, so that a walk along the primary key finds what is old and no index has to be paid for
-- by every write. Each tenant and kind has a place where its walk stands. What was passed because it had not ended
-- is met again on the next walk, which begins a week after the last one.

create or replace function automation.first_id(at timestamptz) returns uuid
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select rpad(lpad(to_hex(greatest(0, floor(extract(epoch from at) * 1000))::bigint), 12, '0'), 32, '0')::uuid
  $$;

comment on function automation.first_id(timestamptz) is
  'No id that automation.new_id() made at this time or later comes before it.';

create table automation.retention_places (
  tenant_id uuid not null,
  kind text not null constraint retention_places_kind_known check (kind in ('tenants', 'runs', 'inputs')),
  up_to uuid not null default '00000000-0000-0000-0000-000000000000',
  began_at timestamptz not null default clock_timestamp(),
  next_at timestamptz not null default clock_timestamp(),
  portion integer not null default 200
    constraint retention_places_portion_in_range check (portion between 1 and 1000),
  constraint retention_places_pkey primary key (tenant_id, kind)
);

comment on table automation.retention_places is
  'How far the history of a tenant has been pruned, of each kind, and when it is looked at again.';
comment on column automation.retention_places.portion is
  'How many rows are looked at next: fewer after a portion that was cut off, more after each that was not.';

create index retention_places_next on automation.retention_places (next_at);

-- Nobody's: who has history is looked for as well.
insert into automation.retention_places (tenant_id, kind) values ('00000000-0000-0000-0000-000000000000', 'tenants');

-- Null: for good. What cannot be read as a length keeps what the installation keeps: a slip deletes nothing.
create or replace function automation.retention_of(tenant_id uuid, kind text) returns interval
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked constant text := automation.tenant_setting(retention_of.tenant_id, 'retention', kind) #>> '{}';
  usual constant text := automation.setting('keep_' || kind);
begin
  return automation.kept_for(asked);
exception when others then
  return automation.kept_for(usual);
end;
$$;

comment on function automation.retention_of(uuid, text) is
  'How long runs or inputs of a tenant are kept. Settings of the tenant: {"retention": {"runs": "13 months", '
  '"inputs": "90 days"}}; forever: for good; else automation.settings keep_runs and keep_inputs.';

create or replace function automation.check_retention() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked record;
begin
  if jsonb_typeof(new.settings -> 'retention') is distinct from 'object' then
    if new.settings ? 'retention' then
      raise exception 'settings: retention must be an object' using errcode = 'invalid_parameter_value',
        hint = 'Such as {"retention": {"runs": "13 months", "inputs": "90 days"}}.';
    end if;
    return new;
  end if;
  for asked in select * from jsonb_each_text(new.settings -> 'retention') loop
    if asked.key not in ('runs', 'inputs') then
      raise exception 'settings: retention.% is not kept apart', left(asked.key, 60)
        using errcode = 'invalid_parameter_value', hint = 'There are runs and inputs.';
    end if;
    begin
      perform automation.kept_for(asked.value);
    exception when others then
      raise exception 'settings: retention.% cannot be "%"', asked.key, left(asked.value, 60)
        using errcode = 'invalid_parameter_value',
          hint = 'Write a length of 7 days at least, such as "13 months", or "forever".';
    end;
  end loop;
  return new;
end;
$$;

create trigger tenant_settings_check_retention
  before insert or update of settings on ridgeline.tenant_settings
  for each row execute function automation.check_retention();

-- An entry that a run left behind though it had done nothing lets its record in again; one that history has
-- forgotten would not. Runs from before their workflow had a rule leave an entry where they can be found by it.
create or replace function automation.settle_entries(tenant_id uuid, execution_ids uuid[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set plan_cache_mode = force_generic_plan
  as $$
declare
  vain constant uuid[] := array(
    select e.id from ridgeline.workflow_executions as e
    where e.tenant_id = settle_entries.tenant_id and e.id = any (execution_ids)
      and e.status in ('failed', 'cancelled', 'skipped') and automation.has_done_nothing(e.tenant_id, e.id));
begin
  delete from automation.entries as e
  where e.execution_id = any (vain) and e.tenant_id = settle_entries.tenant_id;
  -- Materialized, or the order asked for would choose the index.
  with x as materialized (
    select e.* from ridgeline.workflow_executions as e
    where e.tenant_id = settle_entries.tenant_id and e.id = any (execution_ids) and e.id <> all (vain)
      and e.record_id is not null and e.started_at is not null and e.mode <> 'shadow'
  )
  insert into automation.entries (tenant_id, workflow_id, key, execution_id, entered_at)
  select distinct on (x.workflow_id, x.entity, x.record_id)
    x.tenant_id, x.workflow_id, automation.record_key(x.entity, x.record_id), x.id, x.created_at
  from x
  join lateral (
    select p.plan #> '{lifecycle,reentry}' is not null and not p.plan -> 'lifecycle' ? 'key' as goes_by_record
    from ridgeline.workflows as w
    join ridgeline.workflow_versions as v
      on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
    cross join lateral (select automation.readable_plan(v.plan) as plan) as p
    where w.tenant_id = settle_entries.tenant_id and w.id = x.workflow_id
    limit 1) as r on r.goes_by_record
  order by x.workflow_id, x.entity, x.record_id, x.created_at desc
  on conflict on constraint entries_pkey do nothing;
end;
$$;

-- Runs that ended before a time, of those with ids above one: nothing that somebody holds, and nothing that
-- still has something to do.
create or replace function automation.prune_executions(
  tenant_id uuid, before timestamptz, above uuid, portion integer,
  out looked integer, out pruned integer, out up_to uuid)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set plan_cache_mode = force_generic_plan
  set lock_timeout = '100ms'
  as $$
declare
  below constant uuid := automation.first_id(before);
  ids uuid[];
  steps uuid[];
begin
  select count(*), (array_agg(w.id order by w.id desc))[1],
      coalesce(array_agg(w.id) filter (where w.finished_at < before), '{}')
    into looked, up_to, ids
  from (
    select e.id, e.finished_at from ridgeline.workflow_executions as e
    where e.tenant_id = prune_executions.tenant_id and e.id > above and e.id < below
    order by e.id
    limit portion
  ) as w;
  ids := array(
    select e.id from ridgeline.workflow_executions as e
    where e.tenant_id = prune_executions.tenant_id and e.id = any (ids) and e.finished_at < before
      and (
        select q.id from ridgeline.scheduled_steps as q
        where q.execution_id = e.id and q.tenant_id = prune_executions.tenant_id
        limit 1) is null
    for update of e skip locked);
  -- One probe for each: as a join this would read the whole tenant where statistics say that it is small.
  steps := array(
    select s.id
    from unnest(ids) as i (id)
    cross join lateral (
      select k.id from ridgeline.workflow_step_executions as k
      where k.execution_id = i.id and k.tenant_id = prune_executions.tenant_id
      for update skip locked) as s);
  -- Of the others somebody holds a step: news of a message is being written down.
  ids := array(
    select i.id from unnest(ids) as i (id)
    where (
      select coalesce(bool_and(s.id = any (steps)), true) from ridgeline.workflow_step_executions as s
      where s.execution_id = i.id and s.tenant_id = prune_executions.tenant_id));
  perform automation.settle_entries(tenant_id, ids);
  delete from ridgeline.workflow_executions as e
  where e.tenant_id = prune_executions.tenant_id and e.id = any (ids);
  get diagnostics pruned = row_count;
end;
$$;

comment on function automation.prune_executions(uuid, timestamptz, uuid, integer) is
  'Deletes the runs that ended before a time, among the next so many. looked: how many it looked at; up_to: the '
  'last one of them.';

-- A step that may have been sent is looked up by its words before it is tried again, however late.
create or replace function automation.prune_inputs(
  tenant_id uuid, before timestamptz, above uuid, portion integer,
  out looked integer, out pruned integer, out up_to uuid)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set plan_cache_mode = force_generic_plan
  set lock_timeout = '100ms'
  as $$
declare
  below constant uuid := automation.first_id(before);
  ids uuid[];
begin
  select count(*), (array_agg(w.id order by w.id desc))[1],
      coalesce(array_agg(w.id) filter (where w.is_old), '{}')
    into looked, up_to, ids
  from (
    select s.id, s.finished_at < before and s.input is not null as is_old
    from ridgeline.workflow_step_executions as s
    where s.tenant_id = prune_inputs.tenant_id and s.id > above and s.id < below
    order by s.id
    limit portion
  ) as w;
  ids := array(
    select s.id from ridgeline.workflow_step_executions as s
    where s.tenant_id = prune_inputs.tenant_id and s.id = any (ids) and s.finished_at < before
      and not (s.status = 'failed' and coalesce((s.error ->> 'may_have_been_sent')::boolean, false))
    for no key update skip locked);
  update ridgeline.workflow_step_executions as s set changed_at = automation.now(), input = null
  where s.tenant_id = prune_inputs.tenant_id and s.id = any (ids);
  get diagnostics pruned = row_count;
end;
$$;

comment on function automation.prune_inputs(uuid, timestamptz, uuid, integer) is
  'Forgets what the steps that ended before a time were told, among the next so many; as prune_executions().';

-- Who may have history at all: one probe a tenant, once an hour.
create or replace function automation.find_histories() returns void
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    with recursive hop (tenant_id) as (
      (select w.tenant_id from ridgeline.workflows as w order by w.tenant_id limit 1)
      union all
      select (select w.tenant_id from ridgeline.workflows as w
        where w.tenant_id > h.tenant_id order by w.tenant_id limit 1)
      from hop as h where h.tenant_id is not null
    )
    insert into automation.retention_places (tenant_id, kind)
    select h.tenant_id, k.kind from hop as h cross join unnest('{runs,inputs}'::text[]) as k (kind)
    where h.tenant_id is not null
    on conflict on constraint retention_places_pkey do nothing
  $$;

-- Written down before it is worked on: a portion that is cut off comes again in a minute, and smaller.
create or replace function automation.begin_retention() returns automation.retention_places
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  place automation.retention_places;
begin
  -- Materialized: asked for each row, the limit would be one for each.
  with first as materialized (
    select q.tenant_id, q.kind from automation.retention_places as q
    where q.next_at <= clock_timestamp()
    order by q.next_at
    limit 1
    for update skip locked
  )
  update automation.retention_places as p
  set next_at = clock_timestamp() + interval '1 minute', portion = greatest(1, p.portion / 2)
  from first as d
  where p.tenant_id = d.tenant_id and p.kind = d.kind
  returning p.* into place;
  return place;
end;
$$;

-- Everybody's turn comes: a tenant with much to prune goes to the end of the line after each portion.
create or replace function automation.run_retention(place automation.retention_places) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  asked constant integer := least(1000, place.portion * 2);
  before constant timestamptz := case when place.kind <> 'tenants'
    then automation.now() - automation.retention_of(place.tenant_id, place.kind) end;
  done record;
begin
  if place.began_at < clock_timestamp() - interval '7 days' then
    place.up_to := '00000000-0000-0000-0000-000000000000';
    place.began_at := clock_timestamp();
  end if;
  if place.kind = 'tenants' then
    perform automation.find_histories();
  end if;
  if before is null then
    select 0 as looked, 0 as pruned, null::uuid as up_to into done;
  elsif place.kind = 'runs' then
    done := automation.prune_executions(place.tenant_id, before, place.up_to, asked);
  else
    done := automation.prune_inputs(place.tenant_id, before, place.up_to, asked);
  end if;
  update automation.retention_places as p
  set up_to = coalesce(done.up_to, place.up_to), began_at = place.began_at,
    portion = case when clock_timestamp() > began + interval '200 milliseconds' then greatest(10, asked / 2)
      else least(1000, asked + asked / 4 + 1) end,
    next_at = clock_timestamp() + case when done.looked < asked then interval '1 hour' else interval '0' end
  where p.tenant_id = place.tenant_id and p.kind = place.kind;
  return done.pruned;
exception
  when lock_not_available then
    return 0;
  when others then
    raise warning 'automation: history of tenant % could not be pruned: %', place.tenant_id, sqlerrm;
    return 0;
end;
$$;

-- What comes last in a tick. A portion is a transaction of its own and as long as those who hold rows let it be:
-- it waits for nobody.
create or replace procedure automation.prune_history(duration interval, inout pruned integer default 0)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time(duration);
  place automation.retention_places;
begin
  pruned := 0;
  loop
    place := automation.begin_retention();
    commit;
    exit when place.tenant_id is null;
    pruned := pruned + automation.run_retention(place);
    commit;
    exit when pg_catalog.clock_timestamp() >= until;
  end loop;
end;
$$;

comment on procedure automation.prune_history(interval, integer) is
  'Prunes history that has had its time, for so long (half of statement_timeout at most), a portion a transaction; '
  'pruned: how many runs went and how many inputs.';

-- The other work that has a budget: schedules, timers, bulk enrolments and signals.
--
-- The same as for steps (70_dispatch/04_portions): what is going to be worked on is written down and committed, then
-- worked on in a transaction of its own. What was cut off in company is tried alone; cut off alone, it is
-- counted and put off, and a timer or a bulk enrolment is given up after max_cut_offs times. One tenant's
-- never comes before another's first.

-- Whoever works beside somebody who has not committed leaves the row to them: nobody waits for a note.
create or replace function automation.begin_part(part text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update automation.tick_parts as p set begun_at = clock_timestamp()
    from (
      select q.part from automation.tick_parts as q
      where q.part = begin_part.part for no key update skip locked) as free
    where p.part = free.part
  $$;

-- Who has caught the end of its time has not ended.
create or replace function automation.end_part(part text) returns void
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    update automation.tick_parts as p set ended_at = clock_timestamp()
    from (
      select q.part from automation.tick_parts as q
      where q.part = end_part.part for no key update skip locked) as free
    where p.part = free.part and p.begun_at > p.ended_at and not automation.time_is_up()
  $$;

-- What is tried alone, and what somebody is about to work on.
create or replace function automation.work_aside(kind text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select concat_ws('/', s.tenant_id, s.key) from automation.suspects as s
      where s.kind = work_aside.kind
      union all
      select concat_ws('/', k.tenant_id, k.key) from automation.tick_portions as p
      cross join lateral unnest(p.tenant_ids, p.keys) as k (tenant_id, key)
      where p.kind = work_aside.kind)
  $$;

create or replace function automation.due_work(kind text, at_most integer)
  returns table (tenant_id uuid, key text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  aside constant text[] := automation.work_aside(kind);
begin
  case kind
    when 'schedule' then return query select * from automation.due_schedules(at_most, aside);
    when 'timer' then return query select * from automation.due_timers(at_most, aside);
    when 'bulk' then return query select * from automation.due_bulk(at_most, aside);
    when 'signal' then return query select * from automation.due_signals(at_most, aside);
  end case;
end;
$$;

create or replace function automation.is_due_work(kind text, tenant_id uuid, key text) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case kind
    when 'schedule' then perform automation.lock_schedules(array[tenant_id], array[key]);
    when 'timer' then perform automation.lock_timers(array[tenant_id], array[key]);
    when 'bulk' then perform automation.lock_bulk(array[tenant_id], array[key]);
    when 'signal' then perform automation.lock_signals(array[tenant_id], array[key]);
  end case;
  return found;
end;
$$;

comment on function automation.is_due_work(text, uuid, text) is
  'Is it due, and nobody else working on it? Locks it.';

create or replace function automation.cut_off_work(kind text, tenant_id uuid, key text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case kind
    when 'schedule' then
      perform automation.cut_off_schedule(s) from automation.lock_schedules(array[tenant_id], array[key]) as s;
    when 'timer' then
      perform automation.cut_off_timer(t) from automation.lock_timers(array[tenant_id], array[key]) as t;
    when 'bulk' then
      perform automation.cut_off_bulk(b) from automation.lock_bulk(array[tenant_id], array[key]) as b;
    when 'signal' then
      perform automation.cut_off_signal(s) from automation.lock_signals(array[tenant_id], array[key]) as s;
  end case;
end;
$$;

create or replace function automation.has_work(kind text, tenant_id uuid, key text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case kind
      when 'schedule' then exists (
        select from ridgeline.workflow_schedules as s
        where s.tenant_id = has_work.tenant_id and s.workflow_id = key::uuid)
      when 'timer' then exists (
        select from ridgeline.workflow_timers as t
        where t.tenant_id = has_work.tenant_id and t.workflow_id = left(key, 36)::uuid
          and t.record_id = substr(key, 38))
      when 'bulk' then exists (
        select from ridgeline.bulk_enrollments as b
        where b.tenant_id = has_work.tenant_id and b.id = key::uuid and b.status = 'running')
      when 'signal' then exists (
        select from automation.signals as s where s.tenant_id = has_work.tenant_id and s.id = key::uuid)
    end
  $$;

-- Portions that nobody holds and nobody is about to take up.
create or replace function automation.sweep_work(kind text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  portion automation.tick_portions;
begin
  for portion in
    select p.* from automation.tick_portions as p
    where p.kind = sweep_work.kind and p.started_at < clock_timestamp() - interval '5 seconds'
    for update skip locked
  loop
    if cardinality(portion.keys) = 1 then
      perform automation.cut_off_work(portion.kind, portion.tenant_ids[1], portion.keys[1]);
    else
      insert into automation.suspects (tenant_id, kind, key)
      select k.tenant_id, portion.kind, k.key from unnest(portion.tenant_ids, portion.keys) as k (tenant_id, key)
      on conflict on constraint suspects_pkey do nothing;
    end if;
    delete from automation.tick_portions as p where p.id = portion.id;
  end loop;
  delete from automation.suspects as s
  where s.kind = sweep_work.kind and not automation.has_work(s.kind, s.tenant_id, s.key);
end;
$$;

-- The next that has to be tried alone and whose time has come.
create or replace function automation.suspect_work(kind text)
  returns table (tenant_id uuid, key text)
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select s.tenant_id, s.key from automation.suspects as s
    where s.kind = suspect_work.kind and s.next_try_at <= clock_timestamp()
      and not exists (
        select from automation.tick_portions as p
        cross join lateral unnest(p.tenant_ids, p.keys) as k (tenant_id, key)
        where p.kind = s.kind and k.tenant_id = s.tenant_id and k.key = s.key)
      and automation.is_due_work(s.kind, s.tenant_id, s.key)
    order by s.tries, s.next_try_at
    limit 1
  $$;

-- Each tenant's first before anybody's second.
create or replace function automation.begin_work(kind text, at_most integer, is_trial boolean default false)
  returns automation.tick_portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  portion automation.tick_portions;
begin
  if not is_trial then
    perform automation.sweep_work(kind);
  end if;
  insert into automation.tick_portions (kind, tenant_ids, keys)
  select begin_work.kind, array_agg(t.tenant_id order by t.turn, t.place), array_agg(t.key order by t.turn, t.place)
  from (
    select d.*, row_number() over (partition by d.tenant_id order by d.place) as turn
    from (
      select w.tenant_id, w.key, min(w.place) as place
      from (
        select s.*, 1 as place from automation.suspect_work(kind) as s where is_trial
        union all
        select * from automation.due_work(kind, at_most) with ordinality where not is_trial
      ) as w (tenant_id, key, place)
      group by w.tenant_id, w.key
    ) as d
  ) as t
  having count(*) > 0
  returning * into portion;
  if found then
    perform automation.begin_part(kind);
  end if;
  return portion;
end;
$$;

comment on function automation.begin_work(text, integer, boolean) is
  'Writes down what of a kind is going to be worked on, fairly between tenants; as a trial, one alone that was '
  'cut off before. Null when nothing is due. Commit, then run_work().';

-- What of a portion may be done before its locks are let go. Committed, it is called again for the rest, until it says
-- that it is done. Nobody is waited for longer than a step waits (70_dispatch).
create or replace function automation.run_work(
  portion_id uuid, at_most integer, until timestamptz, out did integer, out is_done boolean)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set lock_timeout = '100ms'
  as $$
declare
  began constant timestamptz := clock_timestamp();
  portion automation.tick_portions;
  ran record;
begin
  did := 0;
  is_done := true;
  select p.* into portion from automation.tick_portions as p where p.id = portion_id for update skip locked;
  if not found then
    return;
  end if;
  case portion.kind
    when 'schedule' then ran := automation.run_these_schedules(portion.tenant_ids, portion.keys);
    when 'timer' then ran := automation.fire_these_timers(portion.tenant_ids, portion.keys);
    when 'bulk' then ran := automation.run_these_bulk(portion.tenant_ids, portion.keys, at_most);
    when 'signal' then ran := automation.run_these_signals(portion.tenant_ids, portion.keys);
  end case;
  did := ran.did;
  -- One that was tried alone and not cut off again is a suspect no more.
  delete from automation.suspects as s
  where cardinality(portion.keys) = 1 and s.tenant_id = portion.tenant_ids[1] and s.kind = portion.kind
    and s.key = portion.keys[1] and s.next_try_at <= began;
  is_done := ran.rest = '{}' or portion.kind = 'bulk' and did >= at_most or clock_timestamp() >= until
    or automation.time_is_up();
  if is_done then
    delete from automation.tick_portions as p where p.id = portion_id;
    perform automation.end_part(portion.kind);
  else
    update automation.tick_portions as p
    set started_at = clock_timestamp(), tenant_ids = array(select p.tenant_ids[r] from unnest(ran.rest) as r),
      keys = array(select p.keys[r] from unnest(ran.rest) as r)
    where p.id = portion_id;
  end if;
end;
$$;

-- A portion, and then those that are tried alone; a transaction for each piece of it.
create or replace procedure automation.work_on(kind text, inout did integer, until timestamptz)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  most constant integer := case kind when 'timer' then 500 when 'bulk' then 1000 else 200 end;
  -- Then another part of the tick has its turn.
  ends constant timestamptz := least(pg_catalog.clock_timestamp() + interval '2 seconds',
    pg_catalog.statement_timestamp() + automation.allowed_time('1 day'));
  portion automation.tick_portions;
  piece record;
  so_far integer;
  is_trial boolean := false;
begin
  did := 0;
  loop
    portion := automation.begin_work(kind, most, is_trial);
    commit;
    exit when is_trial and portion.id is null;
    so_far := 0;
    while portion.id is not null loop
      piece := automation.run_work(portion.id, most - so_far, ends);
      commit;
      so_far := so_far + piece.did;
      exit when piece.is_done;
    end loop;
    did := did + so_far;
    exit when automation.time_is_up() or is_trial and pg_catalog.clock_timestamp() >= until;
    is_trial := true;
  end loop;
end;
$$;

comment on procedure automation.work_on(text, integer, timestamptz) is
  'Works on what is due of schedules, timers, bulk enrolments or signals, and says how many that were.';

-- The same in one transaction.
create or replace function automation.work_off(kind text, at_most integer) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  began constant timestamptz := clock_timestamp();
  ends constant timestamptz := began + automation.allowed_time(interval '2 seconds');
  portion automation.tick_portions;
  piece record;
  so_far integer;
  did integer := 0;
begin
  for is_trial in 0 .. 1 loop
    loop
      exit when automation.time_is_up();
      portion := automation.begin_work(kind, at_most, is_trial = 1);
      exit when portion.id is null;
      so_far := 0;
      loop
        piece := automation.run_work(portion.id, at_most - so_far, ends);
        so_far := so_far + piece.did;
        exit when piece.is_done;
      end loop;
      did := did + so_far;
      exit when is_trial = 0 or automation.is_late(began);
    end loop;
  end loop;
  return did;
end;
$$;

-- The other work that has a budget: schedules, timers, bulk enrolments, signals and expired leases.
--
-- One mechanism for these kinds, as for steps (04_portions): what is going to be worked on is written down and
-- committed, then worked on in transactions of its own, a set at a time, so that nobody waits long for what one locks.
-- Its own file says of a kind which is due, how it is locked, what is done about a set of it, and what becomes of one
-- that fails or is cut off. What stands in a set's way is told apart here:
--
--   failed    in company, halves of the set are tried until whatever fails stands alone, and that is its own failure
--   held      somebody has what it needs: the same, but the halves wait for moments only, and it comes again alone
--   cut off   in company, each is tried alone, after the others; alone, it is counted and put off, and a timer, a bulk
--             enrolment, a lease or a step is given up after max_cut_offs times, when its turn comes
--
-- One tenant's never comes before another's first.

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
    when 'lease' then return query select * from automation.due_leases(at_most, aside);
  end case;
end;
$$;

create or replace function automation.lock_work(kind text, tenant_ids uuid[], keys text[]) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case kind
    when 'schedule' then perform automation.lock_schedules(tenant_ids, keys);
    when 'timer' then perform automation.lock_timers(tenant_ids, keys);
    when 'bulk' then perform automation.lock_bulk(tenant_ids, keys);
    when 'signal' then perform automation.lock_signals(tenant_ids, keys);
    when 'lease' then perform automation.lock_leases(tenant_ids, keys);
  end case;
  return found;
end;
$$;

comment on function automation.lock_work(text, uuid[], text[]) is
  'Is any of it due, and nobody else working on it? Locks that.';

-- One that was cut off with nothing else in its transaction. Whatever stands in the way of its being put off, it is
-- counted; false where that is not to be had now.
create or replace function automation.count_work(kind text, tenant_id uuid, key text, began timestamptz)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
begin
  case kind
    when 'schedule' then
      perform automation.cut_off_schedule(s, began) from automation.lock_schedules(array[tenant_id], array[key]) as s;
    when 'timer' then
      perform automation.cut_off_timer(t, began) from automation.lock_timers(array[tenant_id], array[key]) as t;
    when 'bulk' then
      perform automation.cut_off_bulk(b, began) from automation.lock_bulk(array[tenant_id], array[key]) as b;
    when 'signal' then
      perform automation.cut_off_signal(s, began) from automation.lock_signals(array[tenant_id], array[key]) as s;
    when 'lease' then perform automation.suspect(tenant_id, 'lease', key, began);
  end case;
  return true;
exception when query_canceled or others then
  return automation.suspected(tenant_id, kind, key, began);
end;
$$;

-- One that was cut off too often, as its next try: that has a statement's time, may be cut off or fail like any other
-- (somebody's trigger is asked about its end as well), and keeps nobody waiting.
create or replace function automation.gave_up_work(kind text, tenant_id uuid, key text) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tried constant integer := case when kind in ('timer', 'bulk', 'lease')
    then automation.tries_of(tenant_id, kind, key) else 0 end;
  why constant jsonb := automation.cut_off_error(tried);
begin
  if tried < automation.setting('max_cut_offs')::integer then
    return false;
  end if;
  case kind
    when 'timer' then
      perform automation.give_up_timer(t, why) from automation.lock_timers(array[tenant_id], array[key]) as t;
    when 'bulk' then
      perform automation.finish_bulk(b, 'failed', why) from automation.lock_bulk(array[tenant_id], array[key]) as b;
    when 'lease' then
      perform automation.fail_lost(l, why) from automation.lock_leases(array[tenant_id], array[key]) as l;
  end case;
  return true;
end;
$$;

-- One that somebody keeps waiting. An event is tried again in a second, as is a bulk enrolment; others alone, so that
-- nobody waits behind them. Where somebody is noting the same, nothing is: it is due still.
create or replace function automation.hold_work(kind text, tenant_id uuid, key text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case kind
    when 'bulk' then
      update ridgeline.bulk_enrollments as b set next_batch_at = automation.now() + interval '1 second'
      where b.tenant_id = hold_work.tenant_id and b.id = key::uuid;
    when 'signal' then
      perform automation.put_off_signal(s, interval '1 second')
      from automation.lock_signals(array[tenant_id], array[key]) as s;
    else
      perform automation.try_alone(array[tenant_id], kind, array[key], clock_timestamp() + interval '5 seconds');
  end case;
exception
  when lock_not_available or deadlock_detected then
    null;
end;
$$;

-- One that raises. Where its failure is not to be had either, it is left for a while, and not counted; so is a timer
-- that raises as it is given up, which stays: were its count forgotten, it would be cut off anew each hour. Where
-- somebody is noting the same, it is due still.
create or replace function automation.fail_work(
  kind text, tenant_id uuid, key text, state text, message text, began timestamptz)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case kind
    when 'schedule' then
      perform automation.fail_schedule(s, state, message)
      from automation.lock_schedules(array[tenant_id], array[key]) as s;
    when 'timer' then
      perform automation.fail_timer(t, message) from automation.lock_timers(array[tenant_id], array[key]) as t;
      if automation.tries_of(tenant_id, kind, key) >= automation.setting('max_cut_offs')::integer then
        perform automation.suspect(tenant_id, kind, key, began);
      end if;
    when 'bulk' then
      perform automation.finish_bulk(b, 'failed', automation.engine_error('bulk_failed', state, message))
      from automation.lock_bulk(array[tenant_id], array[key]) as b;
    when 'signal' then
      perform automation.fail_signal(s, message) from automation.lock_signals(array[tenant_id], array[key]) as s;
    when 'lease' then
      perform automation.fail_lease(l, state, message) from automation.lock_leases(array[tenant_id], array[key]) as l;
  end case;
  return 'failed';
exception
  when query_canceled then
    return case when automation.suspected(tenant_id, kind, key, began) then 'cut off' else 'uncounted' end;
  when others then
    if automation.passing(sqlstate) is null then
      return case when automation.set_apart(array[tenant_id], kind, array[key],
        clock_timestamp() + 12 * automation.setting('cut_off_pause')::interval) then 'failed' else 'held' end;
    end if;
    perform automation.hold_work(kind, tenant_id, key);
    return 'held';
end;
$$;

-- A kind that is not told of here raises.
create or replace function automation.has_work(kind text, tenant_id uuid, key text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  has boolean;
begin
  case kind
    when 'schedule' then
      has := exists (
        select from ridgeline.workflow_schedules as s
        where s.tenant_id = has_work.tenant_id and s.workflow_id = key::uuid);
    when 'timer' then
      has := exists (
        select from ridgeline.workflow_timers as t
        where t.tenant_id = has_work.tenant_id and t.workflow_id = left(key, 36)::uuid
          and t.record_id = substr(key, 38));
    when 'bulk' then
      has := exists (
        select from ridgeline.bulk_enrollments as b
        where b.tenant_id = has_work.tenant_id and b.id = key::uuid and b.status = 'running');
    when 'signal' then
      has := exists (
        select from automation.signals as s where s.tenant_id = has_work.tenant_id and s.id = key::uuid);
    when 'lease' then
      has := exists (
        select from ridgeline.scheduled_steps as q
        where q.tenant_id = has_work.tenant_id and q.id = key::uuid and q.lease_expires_at < clock_timestamp());
  end case;
  return has;
end;
$$;

-- Portions that nobody holds and nobody is about to take up. Nobody is waited for but for moments: where somebody is
-- noting the same, a portion is left for the next time, and so is a note that somebody holds.
create or replace function automation.sweep_work(kind text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  portion automation.tick_portions;
  is_noted boolean;
begin
  for portion in
    select p.* from automation.tick_portions as p
    where p.kind = sweep_work.kind and p.started_at < clock_timestamp() - interval '5 seconds'
    for update skip locked
  loop
    is_noted := case cardinality(portion.keys)
      when 1 then automation.count_work(portion.kind, portion.tenant_ids[1], portion.keys[1], null)
      else automation.set_apart(portion.tenant_ids, portion.kind, portion.keys) end;
    if is_noted then
      delete from automation.tick_portions as p where p.id = portion.id;
    end if;
    exit when automation.is_over(began);
  end loop;
  delete from automation.suspects as s
  using (
    select q.tenant_id, q.key from automation.suspects as q
    where q.kind = sweep_work.kind and not automation.has_work(q.kind, q.tenant_id, q.key)
    for update skip locked
  ) as idle
  where s.tenant_id = idle.tenant_id and s.kind = sweep_work.kind and s.key = idle.key;
end;
$$;

-- One that cannot be tried now. Whoever holds its note is not waited for.
create or replace function automation.put_off_trial(tenant_id uuid, kind text, key text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update automation.suspects as s
    set next_try_at = greatest(s.next_try_at, clock_timestamp() + interval '5 seconds')
    from (
      select q.tenant_id, q.kind, q.key from automation.suspects as q
      where q.tenant_id = put_off_trial.tenant_id and q.kind = put_off_trial.kind and q.key = put_off_trial.key
      for no key update skip locked) as free
    where s.tenant_id = free.tenant_id and s.kind = free.kind and s.key = free.key
  $$;

-- The next that has to be tried alone and whose time has come. One that cannot be locked (somebody has it, or it is
-- not due) is asked again in a while: were it asked each time, many of them would take the time of the others.
create or replace function automation.suspect_work(kind text)
  returns table (tenant_id uuid, key text)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  suspect record;
begin
  for suspect in
    select s.tenant_id, s.key from automation.suspects as s
    where s.kind = suspect_work.kind and s.next_try_at <= clock_timestamp()
      and not exists (
        select from automation.tick_portions as p
        cross join lateral unnest(p.tenant_ids, p.keys) as k (tenant_id, key)
        where p.kind = s.kind and k.tenant_id = s.tenant_id and k.key = s.key)
    order by s.tries, s.next_try_at
  loop
    if automation.lock_work(kind, array[suspect.tenant_id], array[suspect.key]) then
      return query select suspect.tenant_id, suspect.key;
      return;
    end if;
    perform automation.put_off_trial(suspect.tenant_id, kind, suspect.key);
  end loop;
end;
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

-- A set, as a whole or not at all. became:
--   done      and did says how much that was
--   stopped   its time was over, and there is more
--   left      somebody else has it, or it is not due any more
--   held, failed, cut off   as above; of one alone, what follows from that was done
--   uncounted   cut off as well, and somebody is noting the same
create or replace function automation.try_work(
  kind text, tenant_ids uuid[], keys text[], at_most integer, until timestamptz, out did integer, out became text)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  state text;
  message text;
begin
  did := 0;
  became := 'left';
  if not automation.lock_work(kind, tenant_ids, keys) then
    if kind = 'lease' then
      perform automation.leave_leases(tenant_ids, keys, '{}');
    end if;
    return;
  end if;
  begin
    became := 'done';
    if cardinality(keys) = 1 and automation.gave_up_work(kind, tenant_ids[1], keys[1]) then
      did := (kind = 'lease')::integer;
      return;
    end if;
    case kind
      when 'schedule' then did := automation.run_these_schedules(tenant_ids, keys, until);
      when 'timer' then did := automation.fire_these_timers(tenant_ids, keys);
      when 'bulk' then
        select b.did, b.became into did, became
        from automation.run_this_bulk(tenant_ids[1], keys[1], at_most, until) as b;
      when 'signal' then did := automation.run_these_signals(tenant_ids, keys);
      when 'lease' then did := automation.take_back_leases(tenant_ids, keys);
    end case;
    return;
  exception
    when query_canceled then
      became := 'cut off';
    when others then
      became := case when automation.passing(sqlstate) is null then 'failed' else 'held' end;
      state := sqlstate;
      message := sqlerrm;
  end;
  did := 0;
  if became = 'cut off' then
    became := case when case cardinality(keys)
      when 1 then automation.count_work(kind, tenant_ids[1], keys[1], began)
      else automation.set_apart(tenant_ids, kind, keys) end then 'cut off' else 'uncounted' end;
  elsif became = 'held' and cardinality(keys) = 1 then
    perform automation.hold_work(kind, tenant_ids[1], keys[1]);
  elsif cardinality(keys) = 1 then
    became := automation.fail_work(kind, tenant_ids[1], keys[1], state, message, began);
    -- A lease that has ended so is done with as well: whoever asks whether there are more counts on it.
    did := (kind = 'lease' and became = 'failed')::integer;
  end if;
end;
$$;

-- What of a portion may be done before its locks are let go, in sets that grow as long as they are quick: what writing
-- them costs is not known, and cannot be cut short. Each set is locked when its turn comes. Committed, it is called
-- again for the rest, until it says that it is done. Nobody is waited for longer than a step waits.
create or replace function automation.run_work(
  portion_id uuid, at_most integer, until timestamptz, out did integer, out is_done boolean, out is_cut_off boolean)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set lock_timeout = '100ms'
  as $$
declare
  began constant timestamptz := clock_timestamp();
  ends constant timestamptz := began + automation.portion_length();
  set_began timestamptz;
  portion automation.tick_portions;
  many integer;
  each_time interval;
  one record;
  place integer := 1;
  upto integer;
  size integer := 1;
  -- Up to there is something in the way.
  broken_upto integer := 0;
  rest integer[] := '{}'::integer[];
begin
  did := 0;
  is_done := true;
  is_cut_off := false;
  select p.* into portion from automation.tick_portions as p where p.id = portion_id for update skip locked;
  if not found then
    return;
  end if;
  many := cardinality(portion.keys);
  -- Each bulk enrolment has an equal share of the records, and of the time.
  each_time := case portion.kind when 'bulk' then automation.allowed_time(interval '2 seconds') / many end;
  while place <= many loop
    set_began := clock_timestamp();
    upto := case
      when portion.kind in ('schedule', 'bulk', 'signal') then place
      when place <= broken_upto then greatest(place, (place + broken_upto - 1) / 2)
      else least(many, place + size - 1)
    end;
    perform set_config('lock_timeout', case when place <= broken_upto then '10ms' else '100ms' end, true);
    one := automation.try_work(portion.kind, portion.tenant_ids[place:upto], portion.keys[place:upto],
      greatest(1, at_most / many), least(ends, set_began + each_time));
    did := did + one.did;
    is_cut_off := one.became in ('cut off', 'uncounted');
    exit when is_cut_off;
    if one.became in ('held', 'failed') and upto > place then
      broken_upto := upto;
      size := 1;
    else
      if one.became = 'stopped' then
        rest := rest || place;
      end if;
      size := automation.grown(size, upto - place + 1, clock_timestamp() - set_began);
      place := upto + 1;
    end if;
    exit when clock_timestamp() >= ends;
  end loop;
  -- One that was tried alone is a suspect no more, unless it was cut off again, or somebody held it.
  if many = 1 and one.became in ('done', 'stopped', 'failed') then
    perform automation.clear_suspect(portion.tenant_ids[1], portion.kind, portion.keys[1], began);
  end if;
  -- What could not be counted stays written down: it is, when the portion is swept.
  if one.became = 'uncounted' then
    update automation.tick_portions as p
    set started_at = clock_timestamp(), tenant_ids = portion.tenant_ids[place:upto], keys = portion.keys[place:upto]
    where p.id = portion_id;
    return;
  end if;
  -- Where one was cut off the statement has had its time: the others are due still, and have the next one.
  rest := case when is_cut_off then '{}'::integer[] else array(select generate_series(place, many)) || rest end;
  is_done := rest = '{}' or portion.kind = 'bulk' and did >= at_most or clock_timestamp() >= until
    or automation.time_is_up();
  if not is_done then
    update automation.tick_portions as p
    set started_at = clock_timestamp(), tenant_ids = array(select p.tenant_ids[r] from unnest(rest) as r),
      keys = array(select p.keys[r] from unnest(rest) as r)
    where p.id = portion_id;
    return;
  end if;
  delete from automation.tick_portions as p where p.id = portion_id;
  if not is_cut_off then
    perform automation.end_part(portion.kind);
  end if;
end;
$$;

-- A portion, and then those that are tried alone; a transaction for each piece of it.
create or replace procedure automation.work_on(
  kind text, inout did integer, until timestamptz, at_most integer default null)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  most constant integer := coalesce(at_most, case kind when 'timer' then 500 when 'bulk' then 1000 else 200 end);
  -- Then another part of the tick has its turn. One that is tried alone is tried all the same, once.
  ends constant timestamptz := least(until, pg_catalog.clock_timestamp() + interval '2 seconds',
    pg_catalog.statement_timestamp() + automation.allowed_time('1 day'));
  portion automation.tick_portions;
  piece record;
  so_far integer;
  is_trial boolean := false;
  is_cut_off boolean := false;
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
      is_cut_off := piece.is_cut_off;
      exit when piece.is_done;
    end loop;
    did := did + so_far;
    exit when is_cut_off or automation.time_is_up() or is_trial and pg_catalog.clock_timestamp() >= ends;
    is_trial := true;
  end loop;
end;
$$;

comment on procedure automation.work_on(text, integer, timestamptz, integer) is
  'Works on what is due of schedules, timers, bulk enrolments, signals or expired leases, and says how many that were. '
  'One that work was cut off at is tried alone, after the others.';

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
      if automation.time_is_up() then
        return did;
      end if;
      portion := automation.begin_work(kind, at_most, is_trial = 1);
      exit when portion.id is null;
      so_far := 0;
      loop
        piece := automation.run_work(portion.id, at_most - so_far, ends);
        so_far := so_far + piece.did;
        exit when piece.is_done;
      end loop;
      did := did + so_far;
      if piece.is_cut_off then
        return did;
      end if;
      exit when is_trial = 0 or automation.is_late(began);
    end loop;
  end loop;
  return did;
end;
$$;

-- EACH BY ITS NAME

create or replace function automation.run_schedules(max_schedules integer default 200)
  returns integer
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ select automation.work_off('schedule', max_schedules) $$;

comment on function automation.run_schedules(integer) is
  'Runs the scheduled workflows that are due and says how many runs that were. The tick calls it.';

create or replace function automation.fire_timers(max_timers integer default 500) returns integer
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ select automation.work_off('timer', max_timers) $$;

comment on function automation.fire_timers(integer) is
  'Enrols the records whose timers are due and says how many. The tick calls it.';

create or replace function automation.run_bulk(max_records integer default 1000) returns integer
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ select automation.work_off('bulk', max_records) $$;

comment on function automation.run_bulk(integer) is
  'Takes the next records of running bulk enrolments, an equal share of each job, and says how many '
  'records it looked at. The tick calls it.';

create or replace function automation.run_signals(max_signals integer default 200) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.work_off('signal', max_signals);
end;
$$;

comment on function automation.run_signals(integer) is
  'Ends the runs that an event or a deletion ends, and wakes those that waited for it. Returns how many '
  'signals were read. Called before database steps are run.';

create or replace function automation.reap_expired_leases(max_steps integer default 100) returns integer
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ select automation.work_off('lease', max_steps) $$;

comment on function automation.reap_expired_leases(integer) is
  'reap_leases() in one transaction. Returns how many.';

create or replace procedure automation.reap_leases(
  inout reaped integer, max_steps integer default 100, duration interval default '1 second')
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
begin
  call automation.work_on('lease', reaped, pg_catalog.clock_timestamp() + automation.allowed_time(duration), max_steps);
end;
$$;

comment on procedure automation.reap_leases(integer, integer, interval) is
  'Takes steps back from workers that stopped reporting, with a commit after each portion, for so long at most (half '
  'of statement_timeout). One that work was cut off at is tried alone, after the others. reaped: how many.';

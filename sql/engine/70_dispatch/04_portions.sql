-- Portions: work that has a budget.
--
-- Whatever is done for many at once is done in portions, each its own transaction, short enough that no
-- user waits for one. What a portion is about to do is committed first (automation.portions), so that a
-- transaction that never ends well, whatever stopped it, leaves the names of those it was working on:
--
--   cut off in company   a portion of several: each of those left is tried alone, next
--   cut off alone        counted, left alone for a while, and after max_cut_offs times failed when its turn comes
--
-- A statement that is cancelled (statement_timeout, a dispatcher that gave up) is caught where the step is
-- run, which tells the culprit at once and lets what was done before it commit. Catching one uses the
-- timeout up: whoever catches it stops working.

-- The functions that read the queue are held to its indexes, as in 45_queue/05_due: a session keeps the plan that it
-- made while the queue was empty.

-- Work on these steps was cut off; it began then, if that is known. One of them is counted, of several each is tried
-- alone, next. May be called with the steps locked. Where somebody is noting the same, they are due still.
create or replace function automation.note_cut_offs(dues ridgeline.scheduled_steps[], began timestamptz) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
begin
  if cardinality(dues) = 1 then
    due := dues[1];
    perform automation.suspected(due.tenant_id, due.lane::text, due.id::text, began);
  elsif cardinality(dues) > 1 then
    perform automation.set_apart(array(select d.tenant_id from unnest(dues) as d), (dues[1]).lane::text,
      array(select d.id::text from unnest(dues) as d));
  end if;
end;
$$;

-- It comes again after a pause, and is not in the way of others until then. Where even that raises (somebody's trigger
-- on the queue), it is not known since when.
create or replace function automation.mark_failing(due ridgeline.scheduled_steps, pause interval, why text)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  update ridgeline.scheduled_steps as s
  set run_at = automation.now() + pause, held = automation.failing(s.held, pause, why)
  where s.tenant_id = due.tenant_id and s.id = due.id;
exception
  when others then
    raise warning 'step % of tenant % cannot be marked: %', due.id, due.tenant_id, sqlerrm;
end;
$$;

-- What stands in the way of a step is not its own work (somebody's trigger on the run raises, whatever is done about
-- that): it is neither failed nor counted, but tried alone, less often as time goes on, down to once an hour: there may
-- be thousands. It goes on when that is over.
create or replace function automation.leave_step(due ridgeline.scheduled_steps, message text) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  first constant interval := automation.setting('cut_off_pause')::interval;
  pause constant interval := greatest(first,
    least(720 * first, (automation.now() - automation.failing_since(due.held)) / 2));
begin
  perform automation.mark_failing(due, pause, message);
  if not automation.set_apart(
    array[due.tenant_id], due.lane::text, array[due.id::text], clock_timestamp() + pause) then
    perform automation.yield_steps(array[due]);
  end if;
  raise warning 'step % of tenant % can neither go on nor end: %', due.id, due.tenant_id, message;
  return 'left';
end;
$$;

-- A step fails for a reason, and this says what became of it: ended; left, where even that is not to be had (somebody's
-- trigger on the run raises); cut off, where that hangs: then it is counted. began: when the work on it did.
create or replace function automation.end_step(due ridgeline.scheduled_steps, error jsonb, began timestamptz)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  -- What holds the run is waited for no longer than by a step.
  set lock_timeout = '100ms'
  as $$
begin
  perform automation.fail_step(due, error);
  return 'ended';
exception
  when query_canceled then
    perform automation.note_cut_offs(array[due], began);
    raise warning 'step % of tenant % cannot be ended: %', due.id, due.tenant_id, sqlerrm;
    return 'cut off';
  when others then
    if automation.passing(sqlstate) is null then
      return automation.leave_step(due, sqlerrm);
    end if;
    perform automation.yield_steps(array[due], automation.pause_of(automation.passing(sqlstate)), sqlerrm);
    return 'left';
end;
$$;

-- What is not the work of the steps is waited for: what passes by itself (busy, short), and what else stands in their
-- way (left). Where it is still there after a day, they fail. Says what became of the last of them that was not merely
-- left, as end_step() does.
create or replace function automation.wait_out(
  dues ridgeline.scheduled_steps[], met text, why jsonb, began timestamptz)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
  waiting ridgeline.scheduled_steps[] := '{}'::ridgeline.scheduled_steps[];
  became text := 'left';
begin
  foreach due in array dues loop
    if became <> 'cut off' and automation.is_failing_for_good(due.held) then
      became := automation.end_step(due, why, began);
    elsif met = 'left' then
      perform automation.leave_step(due, why ->> 'message');
    else
      waiting := waiting || due;
    end if;
  end loop;
  if cardinality(waiting) > 0 then
    perform automation.yield_steps(waiting, automation.pause_of(met), why ->> 'message');
  end if;
  return became;
end;
$$;

-- They came to an end, after they were begun then, but for those that were noted since, and those that were not tried:
-- that somebody held (yield_steps), or that wait until somebody lets them go on (hold_steps). Whoever holds a note is
-- not waited for, which would undo what was done: it is swept when there is nothing of it.
create or replace function automation.clear_suspects(dues ridgeline.scheduled_steps[], began timestamptz) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  delete from automation.suspects as s
  using (
    select n.tenant_id, n.kind, n.key
    from unnest(dues) as d
    join automation.suspects as n on n.tenant_id = d.tenant_id and n.kind = d.lane::text and n.key = d.id::text
    where n.next_try_at <= began and not exists (
      select from ridgeline.scheduled_steps as q
      where q.tenant_id = d.tenant_id and q.id = d.id and q.run_at = 'infinity')
    for update of n skip locked
  ) as idle
  where s.tenant_id = idle.tenant_id and s.kind = idle.kind and s.key = idle.key;
end;
$$;

-- The steps of a portion that are still to be done; those that somebody holds are left to them. Read by their
-- primary key: a session that plans while many are due, and statistics say that none are, would else read all that are
-- due for each of them.
create or replace function automation.lock_portion(portion automation.portions)
  returns ridgeline.scheduled_steps[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  set enable_bitmapscan = off
  set enable_sort = off
  as $$
begin
  return array(
    select s.due
    from unnest(portion.tenant_ids[portion.place:], portion.step_ids[portion.place:]) as i (tenant_id, id)
    cross join lateral (
      select q as due from ridgeline.scheduled_steps as q
      where q.tenant_id = i.tenant_id and q.id between i.id and i.id and q.lease_expires_at is null
        and q.run_at <= automation.now()
      order by q.id
      limit 1
      for update skip locked
    ) as s);
end;
$$;

create or replace function automation.is_gone(tenant_id uuid, step_id uuid) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return (
    select not exists (
      select from ridgeline.scheduled_steps as s
      where s.tenant_id = is_gone.tenant_id and s.id = is_gone.step_id));
end;
$$;

-- A portion that nobody is about to take up. Mostly there is none, and one look tells.
create or replace function automation.has_lost_portion() returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return exists (select from automation.portions as p where p.started_at < clock_timestamp() - interval '5 seconds');
end;
$$;

create or replace function automation.is_left_over() returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return automation.has_lost_portion() or exists (select from automation.suspects);
end;
$$;

-- Portions that nobody holds and nobody is about to take up. Nobody is waited for but for moments, and not in all of
-- them: what somebody is noting meanwhile is left for the next time, when others come first.
create or replace function automation.sweep_portions() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $$
declare
  began constant timestamptz := clock_timestamp();
  portion automation.portions;
  due ridgeline.scheduled_steps;
  is_noted boolean;
begin
  if not automation.has_lost_portion() then
    return;
  end if;
  for portion in
    select p.* from automation.portions as p
    where p.started_at < clock_timestamp() - interval '5 seconds'
    for update skip locked
  loop
    exit when automation.is_over(began);
    is_noted := true;
    foreach due in array automation.lock_portion(portion) loop
      exit when not is_noted and automation.is_over(began);
      is_noted := is_noted and case cardinality(portion.step_ids)
        when 1 then automation.suspected(due.tenant_id, due.lane::text, due.id::text)
        -- The one that was being worked on is tried after the others.
        else automation.set_apart(array[due.tenant_id], due.lane::text, array[due.id::text], case
          when due.id = portion.step_ids[portion.place] then clock_timestamp() else portion.started_at end) end;
    end loop;
    if is_noted then
      delete from automation.portions as p where p.id = portion.id;
    else
      update automation.portions as p set started_at = clock_timestamp() where p.id = portion.id;
    end if;
  end loop;
end;
$$;

-- Notes of which there is nothing any more, among the two hundred of each lane whose turns come next.
create or replace function automation.sweep_suspects() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $$
begin
  if not exists (select from automation.suspects) then
    return;
  end if;
  delete from automation.suspects as s
  using (
    select q.tenant_id, q.kind, q.key
    from unnest(enum_range(null::ridgeline.automation_lane)) as l (lane)
    cross join lateral (
      select n.* from automation.suspects as n where n.kind = l.lane::text order by n.tries, n.next_try_at limit 200
    ) as first
    join automation.suspects as q
      on q.tenant_id = first.tenant_id and q.kind = first.kind and q.key = first.key
    where not exists (
      select from ridgeline.scheduled_steps as x
      where x.tenant_id = first.tenant_id and x.id = automation.as_uuid(first.key))
    for update of q skip locked
  ) as idle
  where s.tenant_id = idle.tenant_id and s.kind = idle.kind and s.key = idle.key;
end;
$$;

-- Due steps of a lane, fairly between tenants but for some. is_calm: none are set aside. A portion that was left over
-- sets its steps aside: where none are, nobody looks for one.
create or replace function automation.lock_next(
  lane ridgeline.automation_lane, at_most integer, but uuid[], out dues ridgeline.scheduled_steps[],
  out is_calm boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenants constant uuid[] := automation.next_tenants(lane, at_most, but);
  aside uuid[];
begin
  dues := '{}'::ridgeline.scheduled_steps[];
  if tenants is null then
    return;
  end if;
  aside := automation.set_aside(lane);
  is_calm := aside = '{}';
  if not is_calm and automation.has_lost_portion() then
    perform automation.sweep_portions();
    aside := automation.set_aside(lane);
  end if;
  dues := automation.lock_shares(lane, tenants, at_most, aside);
end;
$$;

create or replace function automation.write_down(
  lane ridgeline.automation_lane, dues ridgeline.scheduled_steps[])
  returns automation.portions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
  tenant_ids uuid[] := '{}'::uuid[];
  step_ids uuid[] := '{}'::uuid[];
  portion automation.portions;
begin
  foreach due in array dues loop
    tenant_ids := tenant_ids || due.tenant_id;
    step_ids := step_ids || due.id;
  end loop;
  insert into automation.portions (lane, tenant_ids, step_ids) values (lane, tenant_ids, step_ids)
  returning * into portion;
  return portion;
end;
$$;

create or replace function automation.write_portion(
  lane ridgeline.automation_lane, at_most integer, but uuid[])
  returns automation.portions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  next constant record := automation.lock_next(lane, at_most, but);
begin
  if next.dues = '{}' then
    return null;
  end if;
  return automation.write_down(lane, next.dues);
end;
$$;

-- Takes due steps of a lane to be worked on. Committed before the work begins; null when nothing is due.
create or replace function automation.begin_portion(
  lane ridgeline.automation_lane, at_most integer, but uuid[] default '{}')
  returns automation.portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.sweep_portions();
  perform automation.sweep_suspects();
  return automation.write_portion(lane, at_most, but);
end;
$$;

comment on function automation.begin_portion(ridgeline.automation_lane, integer, uuid[]) is
  'Writes down which due steps of a lane are going to be worked on, fairly between tenants but for some. '
  'Call it in a transaction of its own, then claim_portion() or run_portion().';

-- The same for several channels at once: {"sms": {"most": 10, "but": [tenants]}, ...}.
create or replace function automation.write_portions(wanted jsonb) returns automation.portions[]
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  name text;
  room jsonb;
  but uuid[];
  portion automation.portions;
  begun automation.portions[] := '{}'::automation.portions[];
begin
  for name in select jsonb_object_keys(wanted) loop
    room := wanted -> name;
    but := '{}'::uuid[];
    for i in 0 .. coalesce(jsonb_array_length(room -> 'but'), 0) - 1 loop
      but := but || (room -> 'but' ->> i)::uuid;
    end loop;
    portion := automation.write_portion(
      name::ridgeline.automation_lane, least((room ->> 'most')::integer, 1000), but);
    if portion.id is not null then
      begun := begun || portion;
    end if;
  end loop;
  return begun;
end;
$$;

create or replace function automation.begin_portions(wanted jsonb) returns setof automation.portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return query select p.* from unnest(automation.write_portions(wanted)) as p;
end;
$$;

-- The next step that has to be tried alone and whose time has come.
create or replace function automation.lock_suspect(lane ridgeline.automation_lane)
  returns setof ridgeline.scheduled_steps
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $$
begin
  return query
  select due.*
  from (
    select s.tenant_id, s.key from automation.suspects as s
    where s.kind = lock_suspect.lane::text and s.next_try_at <= clock_timestamp()
    order by s.tries, s.next_try_at
  ) as suspect
  cross join lateral (
    select q.* from ridgeline.scheduled_steps as q
    where q.tenant_id = suspect.tenant_id and q.id = automation.as_uuid(suspect.key)
      and q.lease_expires_at is null and q.run_at <= automation.now()
      and not exists (select from automation.portions as p where q.id = any (p.step_ids))
    for update skip locked
  ) as due
  limit 1;
end;
$$;

-- A step that was cut off too often fails, if that is its turn: then this was it. Says what became of it: null, it is
-- not its turn. One that waits (its workflow is paused, its records are being merged) keeps its count.
create or replace function automation.give_up_step(due ridgeline.scheduled_steps) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tried constant integer := automation.tries_of(due.tenant_id, due.lane::text, due.id::text);
  became text;
begin
  if tried < automation.setting('max_cut_offs')::integer then
    return null;
  end if;
  became := automation.end_step(due, automation.cut_off_error(tried), clock_timestamp());
  if became <> 'ended' then
    return became;
  elsif not automation.is_gone(due.tenant_id, due.id) then
    return 'left';
  end if;
  perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
  return became;
end;
$$;

-- The next that is to be tried, if there is one, in one transaction with its try. Those that were cut off too often
-- come last, and are given up: here, in a statement that has time left, and not where the last try was caught, after
-- which nothing ends it.
create or replace function automation.lock_trial(lane ridgeline.automation_lane)
  returns ridgeline.scheduled_steps[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  due ridgeline.scheduled_steps;
  became text;
begin
  loop
    select d.* into due from automation.lock_suspect(lane) as d;
    if not found then
      return '{}'::ridgeline.scheduled_steps[];
    end if;
    became := automation.give_up_step(due);
    if became is null then
      return array[due];
    end if;
    exit when became = 'cut off' or automation.is_over(began) or automation.time_is_up();
  end loop;
  return '{}'::ridgeline.scheduled_steps[];
end;
$$;

create or replace function automation.begin_trial(lane ridgeline.automation_lane)
  returns automation.portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  dues ridgeline.scheduled_steps[];
begin
  if not automation.is_left_over() then
    return null;
  end if;
  perform automation.sweep_portions();
  dues := array(select d from automation.lock_suspect(lane) as d);
  if dues = '{}' then
    return null;
  end if;
  return automation.write_down(lane, dues);
end;
$$;

create or replace function automation.begin_trial() returns automation.portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  channel ridgeline.automation_lane;
  portion automation.portions;
begin
  if not automation.is_left_over() then
    return null;
  end if;
  foreach channel in array automation.channels() loop
    portion := automation.begin_trial(channel);
    exit when portion.id is not null;
  end loop;
  return portion;
end;
$$;

comment on function automation.begin_trial() is 'begin_trial() on any channel.';
comment on function automation.begin_trial(ridgeline.automation_lane) is
  'begin_portion() for one step during which work was cut off before; null when there is none whose time has '
  'come.';

-- What is left of a portion of one, if it is to be given up: written down like any other try, so that whatever ends the
-- session then is counted.
create or replace function automation.give_up_alone(
  portion automation.portions, dues ridgeline.scheduled_steps[])
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if cardinality(portion.step_ids) <> 1 or cardinality(dues) <> 1
    or not exists (select from automation.suspects) then
    return null;
  end if;
  return automation.give_up_step(dues[1]);
end;
$$;

create or replace function automation.end_portion(portion_id uuid) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.portions as p where p.id = portion_id;
end;
$$;

-- One, while it is not known what work costs; a session begins with a quarter of what it last went up to.
create or replace function automation.first_size() returns integer
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return greatest(1, coalesce(
    substring(current_setting('automation.portion_size', true) from '^\d{1,3}$'), '1')::integer / 4);
end;
$$;

create or replace function automation.keep_size(size integer) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform set_config('automation.portion_size', size::text, false);
end;
$$;

create or replace function automation.size_setting(step_type text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return 'automation.size_of_' || regexp_replace(step_type, '\W', '_', 'g');
end;
$$;

-- What a session keeps in mind is a size, and when that was. After ten seconds it is twenty-five at most: somebody may
-- have added a trigger meanwhile that takes long.
create or replace function automation.kept_size(setting text, otherwise integer) returns integer
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kept constant text[] := regexp_match(current_setting(setting, true), '^([1-9]\d{0,2})(?: (\d{1,12}))?$');
begin
  return case
    when kept is null then otherwise
    when kept[2]::bigint < extract(epoch from clock_timestamp()) - 10 then least(kept[1]::integer, 25)
    else kept[1]::integer end;
end;
$$;

create or replace function automation.keep_in_mind(setting text, size integer) returns void
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform set_config(setting, concat_ws(' ', size, extract(epoch from clock_timestamp())::bigint), false);
end;
$$;

-- How many steps of a type are performed at once, which is where the triggers of its table take their time: one, until
-- the session has seen what that type costs.
create or replace function automation.known_size(step_type text) returns integer
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.kept_size(automation.size_setting(step_type), 1);
end;
$$;

create or replace function automation.keep_size(step_type text, size integer) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.keep_in_mind(automation.size_setting(step_type), size);
end;
$$;

-- How many steps of a channel a claim renders at once: ten, until the session has seen what they cost. One that was cut
-- off begins with ten again.
create or replace function automation.first_claim(channel text) returns integer
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    substring(current_setting('automation.claim_size_' || channel, true) from '^[1-9]\d{0,2}$'), '10')::integer;
end;
$$;

create or replace function automation.keep_claim(channel text, size integer) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform set_config('automation.claim_size_' || channel, size::text, false);
end;
$$;

create type automation.portion_report as (
  claimed automation.claimed_step[],
  done boolean
);

comment on type automation.portion_report is 'done: there was time for all of the portion, and nothing was cut off.';

-- Some due steps, in sets of a size that follows what the last one took, for as long as a portion may.
create or replace function automation.claim_dues(dues ridgeline.scheduled_steps[], worker text, lease interval)
  returns automation.portion_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  set_began timestamptz;
  report automation.claim_report;
  claimed automation.claimed_step[] := '{}'::automation.claimed_step[];
  known constant integer := automation.first_claim(dues[1].lane::text);
  size integer := known;
  count integer;
  place integer := 1;
begin
  while place <= cardinality(dues) loop
    set_began := clock_timestamp();
    count := least(size, cardinality(dues) - place + 1);
    report := automation.claim_batch(dues[place:place + count - 1], worker, lease);
    claimed := claimed || report.claimed;
    if report.cut_off then
      size := 10;
      exit;
    end if;
    place := place + count;
    -- A small set says nothing of a large one, unless it took long.
    if count = size or count > 1 and clock_timestamp() > set_began + automation.portion_length() / 2 then
      size := automation.grown(count, clock_timestamp() - set_began);
    end if;
    exit when place > cardinality(dues) or automation.is_over(began);
  end loop;
  if size <> known then
    perform automation.keep_claim(dues[1].lane::text, size);
  end if;
  return row(claimed, place > cardinality(dues));
end;
$$;

create or replace function automation.claim_of_portion(portion_id uuid, worker text, lease interval)
  returns automation.portion_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  portion automation.portions;
  dues ridgeline.scheduled_steps[];
  report automation.portion_report;
  became text;
begin
  -- Gone with what becomes of its steps, in one transaction; until then it is held.
  delete from automation.portions as p where p.id = portion_id returning p.* into portion;
  dues := automation.lock_portion(portion);
  became := automation.give_up_alone(portion, dues);
  if became is not null then
    return row('{}'::automation.claimed_step[], became <> 'cut off');
  end if;
  report := automation.claim_dues(dues, worker, lease);
  if report.done and cardinality(report.claimed) = 0 and cardinality(dues) = 1 then
    perform automation.clear_suspects(dues, began);
  end if;
  if report.done and portion.lane = any (automation.channels()) then
    perform automation.calm_down(automation.claim_mark(portion.lane));
  end if;
  return report;
end;
$$;

create or replace function automation.claim_portion(
  portion_id uuid, worker text, lease interval default '60 seconds', functions text default null)
  returns setof automation.claimed_step
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform set_config('automation.functions_address', functions, true);
  perform automation.check_lease(lease);
  return query select * from unnest((automation.claim_of_portion(portion_id, worker, lease)).claimed);
end;
$$;

comment on function automation.claim_portion(uuid, text, interval, text) is
  'claim_steps() for what begin_portion() or begin_trial() wrote down; what it does not get to in its time '
  'is left for the next portion. functions: as exchange_steps() has it.';

-- CLAIMS THAT ARE NOT WRITTEN DOWN
--
-- A claim mostly comes to its end, and then the portion it wrote down and committed first was of use to nobody. So as
-- long as nothing went wrong a channel's claims leave a mark alone (automation.claiming_*), which costs no transaction
-- and outlives one. It does not say whom they were working on: where a session ended in the middle, portions are
-- written again, and the next time that happens says whom. What is caught (a statement that is cancelled, an error)
-- says it at once.

create or replace function automation.claim_mark(lane ridgeline.automation_lane) returns regclass
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return ('automation.claiming_' || lane)::regclass;
end;
$$;

-- Where it may, it has begun: whoever asked sets the mark to 1 when it has come to its end, in the same transaction.
-- One at a time: of two it could not be told which of them did. A mark that is null was lost when the server crashed.
create or replace function automation.begin_unwritten(mark regclass) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  last bigint;
  since bigint;
begin
  if not pg_try_advisory_xact_lock(hashoidextended(mark, 18)) then
    return false;
  end if;
  last := pg_sequence_last_value(mark);
  if last > 1 then
    return false;
  end if;
  since := setval(mark, (extract(epoch from clock_timestamp()) * 1000)::bigint);
  return last < since;
end;
$$;

-- A portion has come to its end. Ten minutes after something went wrong no more are written.
create or replace function automation.calm_down(mark regclass) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if pg_sequence_last_value(mark) between 2 and (extract(epoch from clock_timestamp()) * 1000)::bigint - 600000
    and pg_try_advisory_xact_lock(hashoidextended(mark, 18)) then
    perform setval(mark, 1);
  end if;
end;
$$;

-- Some steps of a portion, with the database steps after them that are due at once. Its commit does not wait
-- for the disk: should the server lose it, effect and ledger are lost together, and the steps are run again
-- as if they had never been tried.
create or replace function automation.run_portion(portion_id uuid, place integer, upto integer)
  returns automation.batch_report
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
declare
  began constant timestamptz := clock_timestamp();
  portion automation.portions;
  dues ridgeline.scheduled_steps[];
  report automation.batch_report;
  became text;
begin
  perform set_config('synchronous_commit', 'off', true);
  update automation.portions as p
  set place = run_portion.place, started_at = clock_timestamp()
  where p.id = portion_id
  returning * into portion;
  portion.tenant_ids := portion.tenant_ids[:upto];
  portion.step_ids := portion.step_ids[:upto];
  dues := automation.lock_portion(portion);
  became := automation.give_up_alone(portion, dues);
  if became is not null then
    perform automation.clear_cause();
    return row((became = 'ended')::integer, became = 'cut off', '{}'::uuid[]);
  end if;
  report := automation.run_batch(dues, true);
  if not report.cut_off and exists (select from automation.suspects) then
    perform automation.clear_suspects(dues, began);
  end if;
  perform automation.clear_cause();
  return report;
end;
$$;

-- Is there anything that a look for database steps would find? Most rings and polls find nothing, and this is all they
-- cost. Events and portions of others that are under way are told as work: the look itself knows better.
create or replace function automation.has_database_work() returns boolean
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
begin
  return exists (select from automation.signals)
    or exists (select from automation.merges_due)
    or exists (
      select from ridgeline.scheduled_steps as s
      where s.lane = 'database' and s.lease_expires_at is null and s.run_at <= automation.now())
    or exists (select from automation.suspects as s where s.kind in ('database', 'signal'))
    or exists (select from automation.portions as p where p.started_at < clock_timestamp() - interval '5 seconds')
    or exists (select from automation.tick_portions as p where p.kind = 'signal');
end;
$$;

create or replace procedure automation.work_database_steps(
  inout ran integer, max_steps integer default 200, duration interval default '1 second')
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time(duration);
  portion automation.portions;
  report automation.batch_report;
  is_trial boolean := false;
  place integer;
  id uuid;
  alone uuid[];
  size integer := automation.first_size();
  began timestamptz;
begin
  ran := 0;
  if not automation.has_database_work() then
    return;
  end if;
  while automation.run_merges() > 0 loop
    commit;
    exit when pg_catalog.clock_timestamp() >= until;
  end loop;
  commit;
  call automation.work_on('signal', ran, until);
  ran := 0;
  if automation.time_is_up() then
    return;
  end if;
  loop
    portion := case when is_trial then automation.begin_trial('database')
      else automation.begin_portion('database', 200) end;
    commit;
    if portion.id is not null then
      place := 1;
      alone := '{}'::pg_catalog.uuid[];
      while place <= pg_catalog.cardinality(portion.step_ids) loop
        began := pg_catalog.clock_timestamp();
        report := automation.run_portion(portion.id, place, place + size - 1);
        commit;
        ran := ran + report.ran;
        alone := pg_catalog.array_cat(alone, report.alone);
        exit when report.cut_off or ran >= max_steps or pg_catalog.clock_timestamp() >= until;
        place := place + size;
        size := automation.grown(size, pg_catalog.clock_timestamp() - began);
      end loop;
      perform automation.keep_size(case when report.cut_off then 1 else size end);
      foreach id in array alone loop
        exit when report.cut_off or ran >= max_steps or pg_catalog.clock_timestamp() >= until;
        place := pg_catalog.array_position(portion.step_ids, id);
        report := automation.run_portion(portion.id, place, place);
        commit;
        ran := ran + report.ran;
      end loop;
      perform automation.end_portion(portion.id);
      commit;
      exit when report.cut_off;
    end if;
    exit when is_trial and (portion.id is null or pg_catalog.clock_timestamp() >= until);
    -- Those that are tried alone come last: nobody waits behind them.
    is_trial := is_trial or portion.id is null or ran >= max_steps
      or pg_catalog.clock_timestamp() >= until;
  end loop;
end;
$$;

comment on procedure automation.work_database_steps(integer, integer, interval) is
  'run_database_steps() with a commit after every few steps, for so long at most (half of statement_timeout). '
  'A step during which a transaction was cut off is tried alone, after the others. ran: how many steps.';

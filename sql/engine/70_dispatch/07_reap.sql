-- Reaping: steps whose lease ran out, apart from claiming. What the lost worker was about to send may have been
-- accepted, so it is looked up before it is sent again.
--
-- Somebody's trigger on the run may raise, or hang. So it goes as with the other work of a tick (68_time/06_work): what
-- is going to be taken back is written down and committed, then taken back, as a whole or in halves. Cut off in
-- company, each is tried alone; cut off alone, it is counted and left for a while, and after max_cut_offs times its
-- step fails.

-- Portions that nobody holds and nobody is about to take up, and suspects that somebody has reported on since.
create or replace function automation.sweep_leases() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  portion automation.tick_portions;
begin
  for portion in
    select p.* from automation.tick_portions as p
    where p.kind = 'lease' and p.started_at < clock_timestamp() - interval '5 seconds'
    for update skip locked
  loop
    perform automation.note_cut_off_leases(portion.tenant_ids, portion.keys);
    delete from automation.tick_portions as p where p.id = portion.id;
  end loop;
  delete from automation.suspects as s
  where s.kind = 'lease' and not exists (
    select from ridgeline.scheduled_steps as q
    where q.tenant_id = s.tenant_id and q.id = automation.as_uuid(s.key) and q.lease_expires_at < clock_timestamp());
end;
$$;

create or replace function automation.note_cut_off_leases(tenant_ids uuid[], keys text[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if cardinality(keys) = 1 then
    perform automation.suspect(tenant_ids[1], 'lease', keys[1]);
  else
    insert into automation.suspects (tenant_id, kind, key)
    select k.tenant_id, 'lease', k.key from unnest(tenant_ids, keys) as k (tenant_id, key)
    on conflict on constraint suspects_pkey do nothing;
  end if;
end;
$$;

-- Writes down which expired leases are going to be taken back, those that ran out first; as a trial, one that was cut
-- off before. Null: there is none. Commit, then reap_portion().
create or replace function automation.begin_reaping(max_steps integer, is_trial boolean default false)
  returns automation.tick_portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
declare
  aside text[];
  portion automation.tick_portions;
begin
  if exists (select from automation.suspects as s where s.kind = 'lease')
    or exists (select from automation.tick_portions as p where p.kind = 'lease') then
    perform automation.sweep_leases();
  end if;
  if not exists (select from ridgeline.scheduled_steps as s where s.lease_expires_at < clock_timestamp()) then
    return null;
  end if;
  aside := automation.work_aside('lease');
  insert into automation.tick_portions (kind, tenant_ids, keys)
  select 'lease', array_agg(l.tenant_id), array_agg(l.key)
  from (
    (select s.tenant_id, s.id::text as key from ridgeline.scheduled_steps as s
    where not is_trial and s.lease_expires_at < clock_timestamp()
      and concat_ws('/', s.tenant_id, s.id) <> all (aside)
    order by s.lease_expires_at
    limit max_steps)
    union all
    (select s.tenant_id, s.key from automation.suspects as s
    where is_trial and s.kind = 'lease' and s.next_try_at <= clock_timestamp() and not exists (
      select from automation.tick_portions as p where p.kind = 'lease' and s.key = any (p.keys))
    order by s.tries, s.next_try_at
    limit 1)
  ) as l
  having count(*) > 0
  returning * into portion;
  if found then
    perform automation.begin_part('lease');
  end if;
  return portion;
end;
$$;

-- The steps of a portion whose lease is nobody's still, and whose run nobody holds right now.
create or replace function automation.lock_expired(portion automation.tick_portions)
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
    select q.due
    from unnest(portion.tenant_ids, portion.keys) as k (tenant_id, key)
    cross join lateral (
      select s as due from ridgeline.scheduled_steps as s
      where s.tenant_id = k.tenant_id and s.id between k.key::uuid and k.key::uuid
        and s.lease_expires_at < clock_timestamp()
      order by s.id
      limit 1
      for update skip locked
    ) as q
    cross join lateral (
      select x.id from ridgeline.workflow_executions as x
      where x.tenant_id = (q.due).tenant_id and x.id between (q.due).execution_id and (q.due).execution_id
      order by x.id
      limit 1
      for no key update skip locked
    ) as e);
end;
$$;

create or replace function automation.finish_lost(dues ridgeline.scheduled_steps[], outcome text, error jsonb)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due ridgeline.scheduled_steps;
  reports jsonb[] := '{}'::jsonb[];
begin
  foreach due in array dues loop
    reports := reports || jsonb_build_object('tenant_id', due.tenant_id, 'step_id', due.id,
      'attempt_token', due.attempt_token, 'outcome', outcome, 'error', error);
  end loop;
  return cardinality(automation.finish_works(to_jsonb(reports)));
end;
$$;

-- Its step fails; where that is not to be had either, it is left for a while.
create or replace function automation.give_up_lease(due ridgeline.scheduled_steps, why jsonb)
  returns automation.batch_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return row(automation.finish_lost(array[due], 'failed', why || '{"may_have_been_sent": true}'), false, '{}'::uuid[]);
exception
  when query_canceled then
    perform automation.suspect(due.tenant_id, 'lease', due.id::text);
    return row(0, true, '{}'::uuid[]);
  when others then
    perform automation.suspect(due.tenant_id, 'lease', due.id::text);
    return row(0, false, '{}'::uuid[]);
end;
$$;

-- As a whole, or, where that fails, as halves, until whatever breaks it stands alone.
create or replace function automation.reap_steps(dues ridgeline.scheduled_steps[]) returns automation.batch_report
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  middle constant integer := cardinality(dues) / 2;
  caught text;
  why jsonb;
  report automation.batch_report;
  rest automation.batch_report;
begin
  begin
    return row(automation.finish_lost(dues, 'ambiguous',
      '{"code": "lease_expired", "message": "the worker stopped before it reported an outcome"}'), false, '{}'::uuid[]);
  exception
    -- What passes by itself says nothing about the lease.
    when lock_not_available or deadlock_detected or serialization_failure or insufficient_resources
      or read_only_sql_transaction then
      caught := 'busy';
    when query_canceled then
      caught := 'cut off';
    when others then
      caught := 'failed';
      why := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  if caught = 'cut off' then
    perform automation.note_cut_off_leases(
      array(select d.tenant_id from unnest(dues) as d), array(select d.id::text from unnest(dues) as d));
    return row(0, true, '{}'::uuid[]);
  elsif middle > 0 then
    report := automation.reap_steps(dues[:middle]);
    if not report.cut_off then
      rest := automation.reap_steps(dues[middle + 1:]);
      report := row(report.ran + rest.ran, rest.cut_off, '{}'::uuid[]);
    end if;
    return report;
  elsif caught = 'failed' then
    return automation.give_up_lease(dues[1], why);
  end if;
  return row(0, false, '{}'::uuid[]);
end;
$$;

-- In sets of a size that follows what the last one took, for so long at most; what is left is for the next portion.
create or replace function automation.reap_portion(
  portion_id uuid, duration interval default automation.portion_length())
  returns automation.batch_report
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
declare
  began constant timestamptz := clock_timestamp();
  set_began timestamptz;
  portion automation.tick_portions;
  dues ridgeline.scheduled_steps[];
  report automation.batch_report;
  reaped integer := 0;
  tried integer;
  size integer := 10;
  count integer;
  place integer := 1;
begin
  select p.* into portion from automation.tick_portions as p where p.id = portion_id for update;
  if not found then
    return row(0, false, '{}'::uuid[]);
  end if;
  dues := automation.lock_expired(portion);
  if cardinality(portion.keys) = 1 then
    select s.tries into tried from automation.suspects as s
    where s.tenant_id = portion.tenant_ids[1] and s.kind = 'lease' and s.key = portion.keys[1];
  end if;
  while place <= cardinality(dues) loop
    set_began := clock_timestamp();
    count := least(size, cardinality(dues) - place + 1);
    report := case when tried >= automation.setting('max_cut_offs')::integer
      then automation.give_up_lease(dues[1], automation.cut_off_error(tried))
      else automation.reap_steps(dues[place:place + count - 1]) end;
    reaped := reaped + report.ran;
    exit when report.cut_off or clock_timestamp() > began + duration;
    place := place + count;
    size := automation.grown(count, clock_timestamp() - set_began);
  end loop;
  if tried is not null and report.ran = 1 then
    perform automation.clear_suspect(portion.tenant_ids[1], 'lease', portion.keys[1]);
  elsif tried is not null and report.cut_off is not true then
    -- Somebody holds it: others are tried meanwhile.
    update automation.suspects as s set next_try_at = clock_timestamp() + interval '5 seconds'
    where s.tenant_id = portion.tenant_ids[1] and s.kind = 'lease' and s.key = portion.keys[1];
  end if;
  delete from automation.tick_portions as p where p.id = portion_id;
  perform automation.end_part('lease');
  return row(reaped, coalesce(report.cut_off, false), '{}'::uuid[]);
end;
$$;

create or replace procedure automation.reap_leases(
  inout reaped integer, max_steps integer default 100, duration interval default '1 second')
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time(duration);
  is_trial boolean := false;
  portion automation.tick_portions;
  report automation.batch_report;
begin
  reaped := 0;
  loop
    portion := automation.begin_reaping(greatest(max_steps - reaped, 1), is_trial);
    commit;
    report := null;
    if portion.id is not null then
      report := automation.reap_portion(portion.id);
      commit;
      reaped := reaped + report.ran;
    end if;
    -- Those that somebody holds, or that are left for a while, are there next time. One is tried alone however much
    -- there is to do.
    exit when report.cut_off or is_trial and (coalesce(report.ran, 0) = 0 or reaped >= max_steps
      or pg_catalog.clock_timestamp() >= until);
    is_trial := is_trial or coalesce(report.ran, 0) = 0 or reaped >= max_steps
      or pg_catalog.clock_timestamp() >= until;
  end loop;
end;
$$;

comment on procedure automation.reap_leases(integer, integer, interval) is
  'Takes steps back from workers that stopped reporting, with a commit after each portion, for so long at most (half '
  'of statement_timeout). One that work was cut off at is tried alone, after the others. reaped: how many.';

create or replace function automation.reap_expired_leases(max_steps integer default 100) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  portion automation.tick_portions;
  report automation.batch_report;
  reaped integer := 0;
begin
  for is_trial in 0 .. 1 loop
    loop
      exit when automation.time_is_up() or reaped >= max_steps or automation.is_late(began);
      portion := automation.begin_reaping(max_steps - reaped, is_trial = 1);
      exit when portion.id is null;
      report := automation.reap_portion(portion.id, interval '2 seconds');
      reaped := reaped + report.ran;
      exit when report.ran = 0;
    end loop;
    exit when report.cut_off;
  end loop;
  return reaped;
end;
$$;

comment on function automation.reap_expired_leases(integer) is
  'reap_leases() in one transaction. Returns how many.';

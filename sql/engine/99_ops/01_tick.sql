-- 99 OPS
--
-- What keeps it going, what operators look at, and who may do what.

-- One tick: expired leases back into the queue, schedules and timers fired, records of bulk
-- enrolments taken, database steps run, the dispatcher called when there is something to send.
-- Bounded, idempotent and safe to run from several places at once.

-- Calls the dispatcher when there is something to send.
create or replace function automation.ring_when_due() returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_due constant boolean := coalesce((
    select min(automation.next_due_at(l)) <= automation.now()
    from unnest(automation.channels()) as l), false);
begin
  if is_due then
    perform automation.ring_once();
  end if;
  return is_due;
end;
$$;

create or replace function automation.tick(max_steps integer default 200) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  reaped constant integer := automation.reap_expired_leases();
  scheduled constant integer := automation.run_schedules();
  timers constant integer := automation.fire_timers();
  bulk constant integer := automation.run_bulk();
  ran constant integer := automation.run_database_steps(max_steps);
begin
  perform automation.beat('tick');
  perform automation.erase_tenants();
  perform automation.settle_doubts();
  perform automation.release_decided();
  return jsonb_build_object(
    'reaped', reaped, 'scheduled', scheduled, 'timers', timers, 'bulk', bulk,
    'database_steps', ran, 'outbound_due', automation.ring_when_due());
end;
$$;

comment on function automation.tick(integer) is
  'A whole tick in one transaction: {reaped, scheduled, timers, bulk, database_steps, outbound_due}. '
  'For tests and by hand; tick_for() does the same in short ones.';

-- What a tick does, in order; what another one is doing, or was cut off at, comes last.
create or replace function automation.tick_order() returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(p.part order by
      case when p.begun_at > p.ended_at then p.begun_at end nulls first, p.place)
    from automation.tick_parts as p
  $$;

-- Written down before database steps begin; for the rest of a tick begin_work() does it.
create or replace function automation.begin_steps() returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(automation.next_due_at('database') <= automation.now(), false) then
    perform automation.begin_part('step');
  end if;
end;
$$;

-- What pg_cron calls. Every part commits in portions (automation.portion_length()), so that nobody who wants a row
-- that it holds waits for more than one of them. A part that was cut off ends the tick, and comes last in the next. A
-- procedure that commits cannot carry a search_path setting; every name in it is qualified instead.
create or replace procedure automation.tick_for(duration interval)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time(duration);
  part text;
  did integer;
  ran integer;
begin
  perform automation.prune();
  commit;
  perform automation.erase_tenants();
  commit;
  perform automation.compare_next();
  commit;
  loop
    did := 0;
    perform automation.beat('tick');
    commit;
    foreach part in array automation.tick_order() loop
      if part = 'step' then
        perform automation.ring_when_due();
        perform automation.begin_steps();
        commit;
        -- Each part has a portion's time at least, whatever those before it took.
        call automation.work_database_steps(
          ran, 200, greatest(until - pg_catalog.clock_timestamp(), automation.portion_length()));
        perform automation.end_part('step');
        commit;
      else
        call automation.work_on(part, ran, until);
      end if;
      if automation.time_is_up() then
        return;
      end if;
      did := did + ran;
    end loop;
    perform automation.ring_when_due();
    commit;
    exit when pg_catalog.clock_timestamp() >= until;
    if did = 0 then
      perform pg_catalog.pg_sleep(least(
        2, extract(epoch from until - pg_catalog.clock_timestamp())));
      commit;
    end if;
  end loop;
  loop
    did := automation.fold_statistics();
    commit;
    exit when did < 5000 or automation.time_is_up();
  end loop;
  perform automation.tell_when_due();
  commit;
  perform automation.settle_doubts();
  perform automation.release_decided();
  commit;
  call automation.erase_people(automation.setting('prune_time')::interval, did);
  call automation.prune_history(automation.setting('prune_time')::interval, did);
end;
$$;

comment on procedure automation.tick_for(interval) is
  'Ticks for so long, every two seconds while there is nothing to do; for half of statement_timeout at most. '
  'Commits as it goes.';

-- One tick: expired leases back into the queue, schedules and timers fired, records of bulk
-- enrolments taken, database steps run, the dispatcher called when there is something to send.
-- Bounded, idempotent and safe to run from several places at once.

-- Each of these is work of its own: what one of them cannot do does not keep the next from being done.
create or replace function automation.tick_part(part text) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return case part
    when 'reaped' then automation.reap_expired_leases()
    when 'scheduled' then automation.run_schedules()
    when 'timers' then automation.fire_timers()
    when 'bulk' then automation.run_bulk()
  end;
end;
$$;

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
  reaped constant integer := automation.tick_part('reaped');
  scheduled constant integer := automation.tick_part('scheduled');
  timers constant integer := automation.tick_part('timers');
  bulk constant integer := automation.tick_part('bulk');
  ran constant integer := automation.run_database_steps(max_steps);
begin
  return jsonb_build_object(
    'reaped', reaped, 'scheduled', scheduled, 'timers', timers, 'bulk', bulk,
    'database_steps', ran, 'outbound_due', automation.ring_when_due());
end;
$$;

comment on function automation.tick(integer) is
  'A whole tick in one transaction: {reaped, scheduled, timers, bulk, database_steps, outbound_due}. '
  'For tests and by hand; tick_for() does the same in short ones.';

-- What pg_cron calls. Every part is a transaction of its own, and every database step, so that nobody who
-- wants a record that a workflow changes waits for more than that. A procedure that commits cannot carry a
-- search_path setting; every name in it is qualified instead.
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
  loop
    did := 0;
    foreach part in array array['reaped', 'scheduled', 'timers', 'bulk'] loop
      did := did + automation.tick_part(part);
      commit;
    end loop;
    perform automation.ring_when_due();
    commit;
    call automation.work_database_steps(ran, 200, until - pg_catalog.clock_timestamp());
    perform automation.ring_when_due();
    commit;
    exit when pg_catalog.clock_timestamp() >= until;
    if did + ran = 0 then
      perform pg_catalog.pg_sleep(least(
        2, extract(epoch from until - pg_catalog.clock_timestamp())));
      commit;
    end if;
  end loop;
end;
$$;

comment on procedure automation.tick_for(interval) is
  'Ticks for so long, every two seconds while there is nothing to do; for half of statement_timeout at most. '
  'Commits as it goes.';

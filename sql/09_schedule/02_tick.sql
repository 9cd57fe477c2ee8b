-- One tick: expired leases back into the queue, schedules and timers fired, records of bulk
-- enrolments taken, database steps run, the dispatcher called when there is something to send.
-- Bounded, idempotent and safe to run from several places at once.

create or replace function automation.tick(max_steps integer default 200) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  reaped constant integer := automation.reap_expired_leases();
  scheduled constant integer := automation.run_schedules();
  timers constant integer := automation.fire_timers();
  bulk constant integer := automation.run_bulk();
  ran constant integer := automation.run_database_steps(max_steps);
  outbound constant boolean := exists (
    select from public.scheduled_steps as s
    where s.lane = 'outbound' and s.lease_expires_at is null and s.run_at <= automation.now());
begin
  if outbound then
    perform automation.ring_once();
  end if;
  return jsonb_build_object(
    'reaped', reaped, 'scheduled', scheduled, 'timers', timers, 'bulk', bulk,
    'database_steps', ran, 'outbound_due', outbound);
end;
$$;

comment on function automation.tick(integer) is
  'What pg_cron calls. Returns {reaped, scheduled, timers, bulk, database_steps, outbound_due}.';

-- For pg_cron without seconds: keeps ticking for most of the minute between two calls, each tick
-- its own transaction. A procedure that commits cannot carry a search_path setting; every name in
-- it is qualified instead.
create or replace procedure automation.tick_for(duration interval)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it.
  as $$
declare
  until constant timestamptz := clock_timestamp() + duration;
  ticked jsonb;
begin
  loop
    ticked := automation.tick();
    commit;
    exit when clock_timestamp() >= until;
    if ticked @> '{"database_steps": 0, "timers": 0, "bulk": 0}' then
      perform pg_catalog.pg_sleep(2);
      commit;
    end if;
  end loop;
end;
$$;

comment on procedure automation.tick_for(interval) is
  'Ticks for so long, every two seconds while there is nothing to do.';

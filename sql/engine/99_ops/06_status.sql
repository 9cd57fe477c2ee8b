-- Is it alive? For a screen, a monitor, and whoever is called at night.

-- tenants: whose work counts; null: everybody's.
create or replace function automation.engine_state(tenants uuid[]) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  last_tick constant timestamptz := (
    select nullif(h.at, '-infinity') from automation.heartbeats as h where h.name = 'tick');
  due record;
begin
  select min(s.run_at) as oldest, count(*) as steps into due
  from (
    select s.run_at from ridgeline.scheduled_steps as s
    where s.lease_expires_at is null and s.run_at <= automation.now()
      and (tenants is null or s.tenant_id = any (tenants))
    limit 10000
  ) as s;
  return jsonb_build_object(
    'version', automation.version(), 'api_version', automation.api_version(),
    'now', automation.now(), 'ahead_by', automation.now() - transaction_timestamp(),
    'last_tick', last_tick, 'oldest_due', due.oldest, 'due', due.steps,
    'doorbell', automation.setting('doorbell'),
    'is_alive', coalesce(last_tick > clock_timestamp() - interval '2 minutes', false)
      and coalesce(due.oldest > automation.now() - interval '5 minutes', true))
    || case when tenants is not null then '{}' else (
      select jsonb_build_object('deaf', automation.deaf_tables(), 'misread', automation.misread_tables(),
        'inbox_waiting', count(*), 'inbox_oldest', min(w.created_at))
      from automation.inbox_waiting as w) end;
end;
$$;

create or replace function automation.engine_status() returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.engine_state(case when not automation.is_service() then automation.member_tenants() end);
end;
$$;

create or replace function ridgeline.engine_status() returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.engine_status() $$;

comment on function ridgeline.engine_status() is
  '{version, api_version, now (the engine''s clock), ahead_by (of the real one), last_tick (real time; null: none '
  'yet), oldest_due, due (of the tenants you see, counted up to 10,000), doorbell, is_alive: a tick within two '
  'minutes, and nothing due for more than five}; for who sees all tenants also deaf: attached tables whose writes are '
  'not captured, misread: those that are read otherwise than when they were attached, inbox_waiting and inbox_oldest: '
  'how many rows of inboxes could not be taken, and since when.';

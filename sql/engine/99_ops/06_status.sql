-- Is it alive? For a screen, a monitor, and whoever is called at night.

-- Steps that can neither go on nor end, each of which has a note of its own (70_dispatch/04_portions): how many, of ten
-- thousand, and since when.
create or replace function automation.left_steps(out steps bigint, out since timestamptz)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    select count(*), min((q.held ->> 'since')::timestamptz)
    from (
      select s.tenant_id, s.key from automation.suspects as s
      where s.kind = any (enum_range(null::ridgeline.automation_lane)::text[])
      limit 10000
    ) as s
    cross join lateral (
      select q.held from ridgeline.scheduled_steps as q
      where q.tenant_id = s.tenant_id and q.id = automation.as_uuid(s.key) and q.held ->> 'code' = 'failing'
      offset 0
    ) as q
  $$;

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
        'left', l.steps, 'left_since', l.since, 'inbox_waiting', w.rows, 'inbox_oldest', w.oldest)
      from automation.left_steps() as l
      cross join (select count(*) as rows, min(i.created_at) as oldest from automation.inbox_waiting as i) as w) end;
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
  'not captured, misread: those that are read otherwise than when they were attached, left and left_since: how '
  'many steps something stands in the way of (their held says what), and since when, inbox_waiting and inbox_oldest: '
  'how many rows of inboxes could not be taken, and since when.';

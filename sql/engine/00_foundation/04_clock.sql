-- Business time. Every "when" that a workflow can see (due times, backoff, timestamps in history)
-- comes from automation.now(), so that a ten-day workflow runs in milliseconds in a test. Leases
-- are about real processes and use the real clock instead.
--
-- The test clock is an offset from the real one: it keeps ticking from where it was set, and it
-- stands still within a transaction, as now() does.

create table automation.clock (
  singleton boolean not null default true
    constraint clock_pkey primary key
    constraint clock_has_one_row check (singleton),
  ahead_by interval not null
);

comment on table automation.clock is
  'How far the test clock runs ahead of the real one. Empty: it does not.';

-- In plpgsql, which keeps its plan: before Postgres 18 one in SQL is parsed in every transaction again, wherever it is
-- asked (measured: 23 us and 5).
create or replace function automation.test_now() returns timestamptz
  language plpgsql stable parallel safe
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return transaction_timestamp() + coalesce((select c.ahead_by from automation.clock as c), interval '0');
end;
$$;

-- No search_path setting: it would forbid inlining, and this runs in column defaults and in every
-- claim. Every name and operator is qualified instead.
create or replace function automation.now() returns timestamptz
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('automation.test_clock', true) operator(pg_catalog.=) 'on'
      then automation.test_now()
      else pg_catalog.transaction_timestamp()
    end
  $$;

comment on function automation.now() is
  'The engine''s time: transaction_timestamp(), or the test clock where automation.test_clock is on.';

create or replace function automation.require_test_clock() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_setting('automation.test_clock', true) is distinct from 'on' then
    raise exception 'the test clock is off in this database'
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'Test databases turn it on with: alter database ... set automation.test_clock = on';
  end if;
end;
$$;

create or replace function automation.set_clock(to_time timestamptz) returns timestamptz
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.require_test_clock();
  if to_time is null or not isfinite(to_time) then
    raise exception 'to_time: a finite timestamp is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into automation.clock (ahead_by)
  values (to_time - transaction_timestamp())
  on conflict on constraint clock_pkey do update set ahead_by = excluded.ahead_by;
  return automation.now();
end;
$$;

comment on function automation.set_clock(timestamptz) is
  'Sets the test clock; it ticks on from there. Refused unless automation.test_clock is on.';

create or replace function automation.advance_clock(by_interval interval) returns timestamptz
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.require_test_clock();
  if by_interval is null then
    raise exception 'by_interval: an interval such as ''24 hours'' is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into automation.clock (ahead_by)
  values (by_interval)
  on conflict on constraint clock_pkey
    do update set ahead_by = automation.clock.ahead_by + excluded.ahead_by;
  return automation.now();
end;
$$;

comment on function automation.advance_clock(interval) is
  'Moves the test clock forward (or back, with a negative interval) and returns the new time.';

create or replace function automation.reset_clock() returns timestamptz
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.require_test_clock();
  delete from automation.clock;
  return automation.now();
end;
$$;

comment on function automation.reset_clock() is 'Puts the test clock back on the real time.';

-- updated_at follows every real change and no other.
create or replace function automation.touch_updated_at() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.updated_at := automation.now();
  return new;
end;
$$;

-- changed_at is the same of rows that only the engine writes.
create or replace function automation.touch_changed_at() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.changed_at := automation.now();
  return new;
end;
$$;

create or replace function automation.keep_changed_at(relation regclass) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  name constant text := (select c.relname from pg_catalog.pg_class as c where c.oid = relation);
begin
  execute format('create trigger %I before update on %s for each row '
    'when (old.* is distinct from new.*) execute function automation.touch_changed_at()', name || '_changed', relation);
  execute format('create index %I on %s (changed_at, tenant_id)', name || '_by_change', relation);
  execute format('comment on column %s.changed_at is %L', relation,
    'When it was last written, for a screen that asks again: see docs/http-api.md.');
end;
$$;

comment on function automation.keep_changed_at(regclass) is
  'Keeps changed_at of a table that a screen asks again, and makes the index that it asks by.';

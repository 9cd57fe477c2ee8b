-- Within a statement that is timed, half its time.
create or replace function automation.allowed_time(asked interval) returns interval
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return least(asked, nullif(current_setting('statement_timeout')::interval, interval '0') / 2);
end;
$$;

create or replace function automation.is_late(since timestamptz) returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return clock_timestamp() > since + automation.allowed_time(interval '2 seconds');
end;
$$;

comment on function automation.is_late(timestamptz) is
  'Has work that began then, and that nobody waits for, had its time?';

-- How long a portion may work before it commits. A user who wants a row that it holds
-- waits for that, and for the set that it was at.
create or replace function automation.portion_length() returns interval
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.at_most('portion_ms') * interval '1 millisecond';
end;
$$;

create or replace function automation.is_over(since timestamptz) returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return clock_timestamp() > since + automation.portion_length();
end;
$$;

comment on function automation.is_over(timestamptz) is 'Has a portion that began then had its time?';

-- A cancelled statement that was caught goes on without a limit.
create or replace function automation.time_is_up() returns boolean
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    clock_timestamp() >= statement_timestamp() - interval '20 milliseconds'
      + nullif(current_setting('statement_timeout')::interval, interval '0'),
    false);
end;
$$;

comment on function automation.time_is_up() is
  'Has the statement had its statement_timeout? Whoever has caught that ends now.';

-- What passes by itself says nothing about the work that met it, and is asked here wherever work is caught: busy,
-- somebody held something; short, the server lacked something (memory, room on its disk) or had become a standby; null:
-- anything else. A limit that is configured (53400: temp_file_limit) does not pass.
create or replace function automation.passing(state text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    -- lock_not_available, deadlock_detected, serialization_failure
    when state in ('55P03', '40P01', '40001') then 'busy'
    -- insufficient_resources, disk_full, out_of_memory, too_many_connections, read_only_sql_transaction
    when state in ('53000', '53100', '53200', '53300', '25006') then 'short' end;
end;
$$;

create or replace function automation.pause_of(passing text) returns interval
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case passing when 'busy' then interval '1 second' when 'short' then interval '10 seconds' end;
end;
$$;

-- What is held of a step that could not be worked on, and is asked again after a pause. Its time runs while it is
-- tried: where nobody did for hours (it was paused, the project slept), it begins anew.
create or replace function automation.failing_since(held jsonb) returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when held ->> 'code' = 'failing' and (held ->> 'until')::timestamptz > automation.now() - interval '6 hours'
      then (held ->> 'since')::timestamptz
    else automation.now() end;
end;
$$;

create or replace function automation.failing(held jsonb, pause interval, why text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('code', 'failing', 'since', automation.failing_since(held),
    'until', automation.now() + pause, 'why', left(why, 2000));
end;
$$;

create or replace function automation.is_failing_for_good(held jsonb) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.failing_since(held) <= automation.now() - interval '1 day';
end;
$$;

comment on function automation.is_failing_for_good(jsonb) is
  'Could a step not be worked on for a day, by what is held of it? Then it fails when that is so once more.';

create or replace function automation.cut_off_error(tries integer) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'code', 'work_cancelled', 'tries', tries,
      'message', format(
        'the work was cut off %s times (it took too long, or the database server crashed), and was given up; '
        'look at what triggers on its tables do, and at the size of what it renders', tries))
  $$;

-- How much of a try it was that work which began then was cut off: a whole one, but where the statement's time was
-- used up by others before it. An eighth of that time is a fair share; and ten of the least are one, so that what never
-- comes to its end is counted in the end, however late its turn is.
create or replace function automation.share_of_try(began timestamptz) returns numeric
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if began is null or not automation.time_is_up() then
    return 1;
  end if;
  return round(least(1, greatest(0.1, 8 * extract(epoch from clock_timestamp() - began)
    / extract(epoch from current_setting('statement_timeout')::interval))), 2);
end;
$$;

-- How often that was, with this time. began: when the work on it did, where that is known.
create or replace function automation.suspect(tenant_id uuid, kind text, key text, began timestamptz default null)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pause constant interval := automation.setting('cut_off_pause')::interval;
  share constant numeric := automation.share_of_try(began);
  tried integer;
begin
  insert into automation.suspects as s (tenant_id, kind, key, tries, part, next_try_at)
  values (tenant_id, kind, key, floor(share), share % 1, clock_timestamp() + pause)
  on conflict on constraint suspects_pkey do update
    set tries = s.tries + floor(s.part + share), part = (s.part + share) % 1,
      next_try_at = clock_timestamp() + pause * power(4, least(s.tries, 6))
  returning s.tries into tried;
  return tried;
end;
$$;

-- The same, waited for no longer than moments: false where somebody is noting the same, and has not committed that.
create or replace function automation.suspected(tenant_id uuid, kind text, key text, began timestamptz default null)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
begin
  perform automation.suspect(tenant_id, kind, key, began);
  return true;
exception
  when lock_not_available or deadlock_detected then
    return false;
end;
$$;

create or replace function automation.tries_of(tenant_id uuid, kind text, key text) returns integer
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce((
    select s.tries from automation.suspects as s
    where s.tenant_id = tries_of.tenant_id and s.kind = tries_of.kind and s.key = tries_of.key), 0);
end;
$$;

-- It was on while others were, or somebody holds what it needs: it is tried alone, then.
create or replace function automation.try_alone(
  tenant_ids uuid[], kind text, keys text[], next_try_at timestamptz default clock_timestamp())
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.suspects as s (tenant_id, kind, key, next_try_at)
    select k.tenant_id, try_alone.kind, k.key, try_alone.next_try_at from unnest(tenant_ids, keys) as k (tenant_id, key)
    on conflict on constraint suspects_pkey do update
      set next_try_at = greatest(s.next_try_at, excluded.next_try_at)
  $$;

-- As suspected().
create or replace function automation.set_apart(
  tenant_ids uuid[], kind text, keys text[], next_try_at timestamptz default clock_timestamp())
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
begin
  perform automation.try_alone(tenant_ids, kind, keys, next_try_at);
  return true;
exception
  when lock_not_available or deadlock_detected then
    return false;
end;
$$;

-- Whoever holds the note is not waited for: it is swept when there is nothing of it. What was noted after the work
-- began stands.
create or replace function automation.clear_suspect(
  tenant_id uuid, kind text, key text, began timestamptz default 'infinity')
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.suspects as s
    using (
      select q.tenant_id, q.kind, q.key from automation.suspects as q
      where q.tenant_id = clear_suspect.tenant_id and q.kind = clear_suspect.kind and q.key = clear_suspect.key
        and q.next_try_at <= began
      for update skip locked) as idle
    where s.tenant_id = idle.tenant_id and s.kind = idle.kind and s.key = idle.key
  $$;

create table automation.portions (
  id uuid not null default automation.new_id() constraint portions_pkey primary key,
  lane ridgeline.automation_lane not null,
  tenant_ids uuid[] not null,
  step_ids uuid[] not null,
  place integer not null default 1,
  started_at timestamptz not null default clock_timestamp(),
  constraint portions_is_whole check (cardinality(tenant_ids) = cardinality(step_ids))
);

comment on table automation.portions is
  'Scheduled steps that somebody is working on or is about to. Whoever works on one holds its row; a row '
  'that nobody holds is of work that was cut off.';

comment on column automation.portions.place is
  'The steps before this one are done. Those that are left when the work is cut off are tried alone.';

-- What a channel's claims are that were not written down as a portion (70_dispatch/04_portions): 1, all of them came to
-- their end; else the one that began then (milliseconds since 1970) did not. No rollback takes that back, and a server
-- that crashed has forgotten it, which counts as one that did not.
create unlogged sequence automation.claiming_sms;
create unlogged sequence automation.claiming_email;
create unlogged sequence automation.claiming_webhook;
select setval('automation.claiming_sms', 1), setval('automation.claiming_email', 1),
  setval('automation.claiming_webhook', 1);

create table automation.suspects (
  tenant_id uuid not null,
  kind text not null
    constraint suspects_kind_known
    check (kind in ('database', 'sms', 'email', 'webhook', 'timer', 'schedule', 'bulk', 'signal', 'lease')),
  key text not null,
  tries integer not null default 0,
  part numeric(3, 2) not null default 0,
  next_try_at timestamptz not null default clock_timestamp(),
  constraint suspects_pkey primary key (tenant_id, kind, key)
);

-- Whose turn it is, where there are thousands.
create index suspects_by_turn on automation.suspects (kind, tries, next_try_at);

comment on table automation.suspects is
  'Work during which a transaction was cut off, so that it is tried alone and not for ever.';

comment on column automation.suspects.tries is
  'How often it was cut off with nothing else in its transaction; 0: it was only in the company.';
comment on column automation.suspects.part is
  'Of one more: it was cut off by the end of a statement whose time others had used up.';

-- How many to write at once, so that the next set takes about half a portion's time: known from what the last one took.
-- It grows fourfold at most, since a statement cannot be ended early.
create or replace function automation.grown(size integer, took interval) returns integer
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return greatest(1, least(4 * size, 200,
    size * automation.at_most('portion_ms') / 2 / greatest(1, extract(epoch from took) * 1000)))::integer;
end;
$$;

-- The same where no more than so many were there: a small set tells that a large one would take too long, and not that
-- a larger one would not.
create or replace function automation.grown(size integer, count integer, took interval) returns integer
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if count = size then
    return automation.grown(size, took);
  end if;
  return least(size, automation.grown(size, took * size / count));
end;
$$;

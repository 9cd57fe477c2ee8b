-- Many failed runs again, a few a minute: what failed together would otherwise be sent together.

-- Where a call goes on: <created_at>/<id> of the last run that the one before it looked at, which may be pruned
-- meanwhile. The id of a run that is there says the same.
create or replace function automation.is_retry_place(after text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when after like '%/%' then
      automation.is_date(split_part(after, '/', 1))
        and automation.as_uuid(substr(after, strpos(after, '/') + 1)) is not null
      else after is null or automation.as_uuid(after) is not null end
  $$;

create or replace function automation.retry_place(after text, out created_at timestamptz, out id uuid)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if after like '%/%' then
    created_at := automation.instant_in(split_part(after, '/', 1), 'UTC');
    id := split_part(after, '/', 2)::uuid;
  elsif after is not null then
    select e.created_at, e.id into created_at, id from automation.find_execution(after::uuid) as e;
  end if;
end;
$$;

create or replace function automation.check_retry_filter(filter jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb;
begin
  perform automation.check_object(filter, 'filter');
  problems := automation.known_keys(filter, '{workflow_id,version,code,since,until,limit,after}', 'filter');
  if filter ->> 'workflow_id' is not null and automation.as_uuid(filter ->> 'workflow_id') is null then
    problems := problems || automation.problem('filter.workflow_id', 'wrong_type', 'a UUID is needed');
  end if;
  if not automation.is_retry_place(filter ->> 'after') then
    problems := problems || automation.problem('filter.after', 'wrong_type',
      'what a call before this one answered as after is needed', 'Or the id of a run.');
  end if;
  select problems || coalesce(jsonb_agg(automation.problem(
    'filter.' || k, 'wrong_type', 'a whole number is needed')), '[]') into problems
  from unnest('{version,limit}'::text[]) as k
  where filter ->> k is not null and filter ->> k !~ '^\d{1,6}$';
  select problems || coalesce(jsonb_agg(automation.problem(
    'filter.' || k, 'wrong_type', 'a time is needed', 'Such as 2026-12-01T09:30:00Z.')), '[]') into problems
  from unnest('{since,until}'::text[]) as k
  where filter ->> k is not null and not automation.is_date(filter ->> k);
  perform automation.raise_problems(problems, 'filter');
end;
$$;

-- What calls have put off, and until when: the next one goes on behind it. The queue has no index for it, which each
-- write that starts a run would pay for.
create table automation.retries (
  tenant_id uuid not null,
  step_id uuid not null,
  workflow_id uuid,
  run_at timestamptz not null,
  constraint retries_pkey primary key (tenant_id, step_id)
);

create index retries_by_turn on automation.retries (tenant_id, run_at);
create index retries_by_time on automation.retries (run_at);

comment on table automation.retries is
  'The turn of each failed run that retry_executions() runs again; a call an hour after it, or later, drops it.';

-- Where the row ends of those that calls before this one have put off. One that waits no more, as it was cancelled, has
-- given up its turn; one that has just had it counts, whatever came of it.
create or replace function automation.last_retry(tenant_id uuid, workflow_id uuid) returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set jit = off
  as $$
begin
  return (
    select r.run_at from automation.retries as r
    left join lateral (
      select s.run_at, s.held ->> 'code' as held_by from ridgeline.scheduled_steps as s
      where s.tenant_id = r.tenant_id and s.id between r.step_id and r.step_id
      order by s.id
      limit 1
    ) as q on true
    where r.tenant_id = last_retry.tenant_id
      and (last_retry.workflow_id is null or r.workflow_id = last_retry.workflow_id)
      and (r.run_at <= automation.now() or q.run_at = r.run_at and q.held_by = 'retry')
    order by r.run_at desc
    limit 1);
end;
$$;

-- The turn of the next one. Two calls at once stand in one row.
create or replace function automation.next_turn(tenant_id uuid, workflow_id uuid, every interval) returns timestamptz
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform pg_advisory_xact_lock(hashtextextended('retry ' || tenant_id, 0));
  delete from automation.retries as r
  where r.ctid = any (array(
    select o.ctid from automation.retries as o
    where o.run_at < automation.now() - interval '1 hour'
    order by o.run_at limit 2000 for update skip locked));
  return greatest(automation.now(), automation.last_retry(tenant_id, workflow_id) + every);
end;
$$;

-- A failed run again, when its turn comes. One that somebody holds keeps the others from theirs no longer than that.
create or replace function automation.retry_at(failed uuid, tenant uuid, turn timestamptz, per_minute integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  set enable_seqscan = off
  set jit = off
  as $$
begin
  perform automation.retry_execution(failed);
  with put_off as (
    update ridgeline.scheduled_steps as s
    set run_at = turn,
      held = case when turn > automation.now() then jsonb_build_object('code', 'retry', 'until', turn,
        'since', automation.now(), 'why', format('failed runs are run again, %s a minute', per_minute)) end
    where s.execution_id = failed and s.tenant_id is not distinct from tenant
    returning s.id
  )
  insert into automation.retries as r (tenant_id, step_id, workflow_id, run_at)
  select tenant, p.id, (
      select e.workflow_id from ridgeline.workflow_executions as e where e.tenant_id = tenant and e.id = failed), turn
  from put_off as p
  on conflict on constraint retries_pkey do update set run_at = excluded.run_at;
end;
$$;

-- null: it has its turn. Else why not, and whether that passes by itself.
create or replace function automation.try_retry(failed uuid, tenant uuid, turn timestamptz, per_minute integer)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.retry_at(failed, tenant, turn, per_minute);
  return null;
exception when others then
  return jsonb_build_object('execution_id', failed, 'message', sqlerrm, 'passing', automation.passing(sqlstate));
end;
$$;

-- The next failed runs behind a place. No index has them in this order: of what is read so many are kept, and the
-- rest is not sorted. What that costs, and why one on their status would cost every run more: docs/limits.md.
create or replace function automation.failed_runs(
  tenant uuid, filter jsonb, behind_at timestamptz, behind uuid, most integer)
  returns table (created_at timestamptz, id uuid)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_custom_plan
  set jit = off
  as $$
begin
  return query
    select e.created_at, e.id from ridgeline.workflow_executions as e
    where e.tenant_id = tenant and e.status = 'failed' and e.mode <> 'imported'
      and (filter ->> 'workflow_id' is null or e.workflow_id = (filter ->> 'workflow_id')::uuid)
      and (filter ->> 'version' is null or e.version = (filter ->> 'version')::integer)
      and (filter ->> 'code' is null or e.error ->> 'code' = filter ->> 'code')
      and (filter ->> 'since' is null or e.finished_at >= automation.instant_in(filter ->> 'since', 'UTC'))
      and (filter ->> 'until' is null or e.finished_at < automation.instant_in(filter ->> 'until', 'UTC'))
      and (behind is null or (e.created_at, e.id) > (behind_at, behind))
    order by e.created_at, e.id
    limit most;
end;
$$;

-- Until when a call begins on another run, asked when it has its first one: it may have waited for another call, and
-- read long, within the time that the API gives a statement.
create or replace function automation.retries_end_at() returns timestamptz
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select least(
      clock_timestamp() + interval '4 seconds',
      statement_timestamp() + 0.6 * nullif(current_setting('statement_timeout')::interval, interval '0'))
  $$;

create or replace function automation.retry_executions(tenant_id uuid, filter jsonb, per_minute integer) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.resolve_tenant(tenant_id, '{}');
  most integer;
  every interval;
  next_at timestamptz;
  ends_at timestamptz;
  failed record;
  place record;
  slice integer := 500;
  in_slice integer;
  goes_on boolean := false;
  retried integer := 0;
  told jsonb;
  held jsonb := '[]'::jsonb;
  refused jsonb := '[]'::jsonb;
begin
  perform automation.check_publisher(tenant, 'retrying many runs');
  perform automation.check_retry_filter(filter);
  if per_minute is null or per_minute not between 1 and 100000 then
    raise exception 'per_minute: from 1 to 100000' using errcode = 'invalid_parameter_value';
  end if;
  perform automation.in_tenant(tenant);
  most := least(coalesce((filter ->> 'limit')::integer, 500), 500);
  every := interval '1 minute' / per_minute;
  select p.created_at, p.id into place from automation.retry_place(filter ->> 'after') as p;
  next_at := automation.next_turn(tenant, (filter ->> 'workflow_id')::uuid, every);
  loop
    in_slice := 0;
    for failed in
      select f.created_at, f.id from automation.failed_runs(tenant, filter, place.created_at, place.id, slice) as f
    loop
      -- Whatever the time, one is tried: else the call after this would do the same.
      goes_on := retried + jsonb_array_length(held) >= most or jsonb_array_length(held) >= 10
        or clock_timestamp() > ends_at;
      exit when goes_on;
      ends_at := coalesce(ends_at, automation.retries_end_at());
      in_slice := in_slice + 1;
      place := failed;
      told := automation.try_retry(failed.id, tenant, next_at, per_minute);
      if told is null then
        next_at := next_at + every;
        retried := retried + 1;
      elsif told ->> 'passing' is not null then
        held := held || told;
      -- Those that are refused keep no others from their turn; some are told.
      elsif jsonb_array_length(refused) < 500 then
        refused := refused || (told - 'passing');
      end if;
    end loop;
    exit when goes_on or in_slice < slice;
    goes_on := clock_timestamp() > ends_at;
    exit when goes_on;
    slice := slice * 2;
  end loop;
  -- What somebody held a moment ago, once more.
  for failed in select (h ->> 'execution_id')::uuid as id from jsonb_array_elements(held) as h loop
    told := automation.try_retry(failed.id, tenant, next_at, per_minute);
    if told is null then
      next_at := next_at + every;
      retried := retried + 1;
    else
      refused := refused || (told - 'passing');
    end if;
  end loop;
  return jsonb_build_object('retried', retried, 'refused', refused)
    || case when goes_on then jsonb_build_object('after', coalesce(
      automation.iso_instant(place.created_at) || '/' || place.id, filter ->> 'after')) else '{}' end;
end;
$$;

create or replace function ridgeline.retry_executions(
  filter jsonb default '{}', per_minute integer default 60, tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.retry_executions(tenant_id, filter, per_minute) from automation.in_tenant(tenant_id) $$;

comment on function ridgeline.retry_executions(jsonb, integer, uuid) is
  'Runs failed executions again, the oldest first, at most per_minute of them a minute and 500 a call; the next call '
  'goes on where this one ends. filter: {workflow_id, version, code (of error), since, until (of finished_at), limit, '
  'after}, each optional. Answers {retried, refused: [{execution_id, message}], after}, of those that were looked at; '
  'after: there are more, call it again with this in the filter.';

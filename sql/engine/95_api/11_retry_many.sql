-- Many failed runs again, a few a minute: what failed together would otherwise be sent together.

create or replace function automation.check_retry_filter(filter jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb;
begin
  perform automation.check_object(filter, 'filter');
  problems := automation.known_keys(filter, '{workflow_id,version,code,since,until,limit,after}', 'filter');
  select problems || coalesce(jsonb_agg(automation.problem(
    'filter.' || k, 'wrong_type', 'a UUID is needed')), '[]') into problems
  from unnest('{workflow_id,after}'::text[]) as k
  where filter ->> k is not null and automation.as_uuid(filter ->> k) is null;
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

create index retries_by_time on automation.retries (run_at, tenant_id);

comment on table automation.retries is
  'The turn of each failed run that retry_executions() runs again; dropped an hour after it.';

-- Where the row ends of those that calls before this one have put off. One that waits no more, as it was cancelled, has
-- given up its turn; one that has just had it counts, whatever came of it.
create or replace function automation.last_retry(tenant_id uuid, workflow_id uuid) returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
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

-- A failed run again, when its turn comes.
create or replace function automation.retry_at(failed uuid, tenant uuid, turn timestamptz, per_minute integer)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
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

create or replace function automation.retry_executions(tenant_id uuid, filter jsonb, per_minute integer) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant constant uuid := automation.resolve_tenant(tenant_id, '{}');
  -- Within the time that the API gives a statement.
  ends_at constant timestamptz := clock_timestamp() + interval '4 seconds';
  most integer;
  every interval;
  next_at timestamptz;
  failed record;
  after ridgeline.workflow_executions;
  looked_at uuid;
  goes_on boolean := false;
  retried integer := 0;
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
  if filter ->> 'after' is not null then
    after := automation.find_execution((filter ->> 'after')::uuid);
  end if;
  -- Two calls at once stand in one row.
  perform pg_advisory_xact_lock(hashtextextended('retry ' || tenant, 0));
  delete from automation.retries as r
  where r.ctid = any (array(
    select o.ctid from automation.retries as o
    where o.run_at < automation.now() - interval '1 hour'
    order by o.run_at limit 2000 for update skip locked));
  next_at := greatest(
    automation.now(), automation.last_retry(tenant, (filter ->> 'workflow_id')::uuid) + every);
  for failed in
    select e.id from ridgeline.workflow_executions as e
    where e.tenant_id = tenant and e.status = 'failed' and e.mode <> 'imported'
      and (filter ->> 'workflow_id' is null or e.workflow_id = (filter ->> 'workflow_id')::uuid)
      and (filter ->> 'version' is null or e.version = (filter ->> 'version')::integer)
      and (filter ->> 'code' is null or e.error ->> 'code' = filter ->> 'code')
      and (filter ->> 'since' is null or e.finished_at >= automation.instant_in(filter ->> 'since', 'UTC'))
      and (filter ->> 'until' is null or e.finished_at < automation.instant_in(filter ->> 'until', 'UTC'))
      and (after.id is null or (e.created_at, e.id) > (after.created_at, after.id))
    order by e.created_at, e.id
  loop
    goes_on := retried >= most or clock_timestamp() > ends_at;
    exit when goes_on;
    looked_at := failed.id;
    begin
      perform automation.retry_at(failed.id, tenant, next_at, per_minute);
      next_at := next_at + every;
      retried := retried + 1;
    exception when others then
      -- Those that are refused keep no others from their turn; some are told.
      if jsonb_array_length(refused) < 500 then
        refused := refused || jsonb_build_object('execution_id', failed.id, 'message', sqlerrm);
      end if;
    end;
  end loop;
  return jsonb_build_object('retried', retried, 'refused', refused)
    || case when goes_on then jsonb_build_object('after', looked_at) else '{}' end;
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

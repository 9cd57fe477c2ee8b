-- Many failed runs again, a few a minute: what failed together would otherwise be sent together.

create or replace function automation.check_retry_filter(filter jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb;
begin
  perform automation.check_object(filter, 'filter');
  problems := automation.known_keys(filter, '{workflow_id,version,code,since,until,limit}', 'filter');
  if filter ->> 'workflow_id' is not null and automation.as_uuid(filter ->> 'workflow_id') is null then
    problems := problems || automation.problem('filter.workflow_id', 'wrong_type', 'a UUID is needed');
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

-- Where the row ends of those that calls before this one have put off.
create or replace function automation.last_retry(tenant_id uuid, workflow_id uuid) returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select max(s.run_at) from ridgeline.scheduled_steps as s
    where s.tenant_id = last_retry.tenant_id and s.held ->> 'code' = 'retry' and s.run_at < 'infinity'
      and (last_retry.workflow_id is null or exists (
        select from ridgeline.workflow_executions as e
        where e.tenant_id = s.tenant_id and e.id = s.execution_id and e.workflow_id = last_retry.workflow_id))
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
  failed record;
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
    order by e.created_at, e.id
    -- Those that are refused keep no others from their turn.
    limit most + 500
  loop
    exit when retried >= most or jsonb_array_length(refused) >= 500;
    begin
      perform automation.retry_execution(failed.id);
      update ridgeline.scheduled_steps as s
      set run_at = next_at,
        held = case when next_at > automation.now() then jsonb_build_object('code', 'retry', 'until', next_at,
          'since', automation.now(), 'why', format('failed runs are run again, %s a minute', per_minute)) end
      where s.execution_id = failed.id and s.tenant_id is not distinct from tenant;
      next_at := next_at + every;
      retried := retried + 1;
    exception when others then
      refused := refused || jsonb_build_object('execution_id', failed.id, 'message', sqlerrm);
    end;
  end loop;
  return jsonb_build_object('retried', retried, 'refused', refused);
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
  'goes on where this one ends. filter: {workflow_id, version, code (of error), since, until (of finished_at), limit}, '
  'each optional. Answers {retried, refused: [{execution_id, message}]}, of those that were looked at; call it again '
  'until retried is 0.';

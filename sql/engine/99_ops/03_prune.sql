-- What pg_cron and pg_net keep of the engine's own runs and rings: a tick every five seconds is 17,000 rows
-- a day. Those of the host's other jobs and calls are not ours to delete; so that they are not read again
-- and again either, each log is read once from end to end, a portion a tick.

create table automation.pruned (
  log text constraint pruned_pkey primary key,
  up_to_id bigint not null default 0,
  up_to_time timestamptz not null default '-infinity'
);

comment on table automation.pruned is
  'How far each log has been pruned: cron.job_run_details by its runid, net._http_response by its time.';

insert into automation.pruned (log) values ('cron.job_run_details'), ('net._http_response')
on conflict on constraint pruned_pkey do nothing;

-- The runs that are older than a week, at most `portion` looked at. pg_cron writes a run down before it
-- starts, and its end not at all when the server went down: a run without any time counts as old when a
-- later one is.
create or replace function automation.prune_runs(portion integer default 500) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  seen bigint;
  pruned integer;
begin
  if to_regclass('cron.job_run_details') is null then
    return 0;
  end if;
  select p.up_to_id into seen from automation.pruned as p
  where p.log = 'cron.job_run_details'
  for update skip locked;
  if not found then
    return 0;
  end if;
  execute $runs$
    with looked as (
      select d.runid, coalesce(d.end_time, d.start_time) as at,
        d.database = current_database()
          and (d.command like 'call automation.tick_for(%'
            or d.command like 'select automation.forget_listeners(%') as is_ours
      from cron.job_run_details as d where d.runid > $1 order by d.runid limit $2
    ), reached as (
      select max(l.runid) as runid from looked as l where l.at < clock_timestamp() - interval '7 days'
    ), gone as (
      delete from cron.job_run_details as d using looked as l, reached as r
      where d.runid = l.runid and l.runid <= r.runid and l.is_ours
        and coalesce(l.at, '-infinity') < clock_timestamp() - interval '7 days'
      returning 1
    )
    update automation.pruned as p set up_to_id = r.runid
    from reached as r where p.log = 'cron.job_run_details' and r.runid is not null
    returning (select count(*) from gone)$runs$
    into pruned using seen, portion;
  return coalesce(pruned, 0);
end;
$$;

comment on function automation.prune_runs(integer) is
  'Deletes the engine''s own runs that are older than a week from cron.job_run_details, in the next portion of it; '
  'returns how many.';

-- The answers to rings that are older than an hour. What failed stays for pg_net.ttl, to be looked at.
create or replace function automation.prune_responses(portion integer default 500) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  responses constant regclass := to_regclass('net._http_response');
  seen timestamptz;
  pruned integer;
begin
  if responses is null then
    return 0;
  end if;
  select p.up_to_time into seen from automation.pruned as p
  where p.log = 'net._http_response'
  for update skip locked;
  if not found then
    return 0;
  end if;
  -- With ties: what was answered in one go has one time.
  execute format($responses$
    with looked as (
      select r.ctid as place, r.created, r.content = '{"ringing":true}' as is_ours
      from %1$s as r
      where r.created > $1 and r.created < clock_timestamp() - interval '1 hour'
      order by r.created fetch first ($2) rows with ties
    ), gone as (
      delete from %1$s as r using looked as l
      where r.ctid = l.place and r.created = l.created and l.is_ours
      returning 1
    )
    update automation.pruned as p set up_to_time = (select max(l.created) from looked as l)
    where p.log = 'net._http_response' and exists (select from looked)
    returning (select count(*) from gone)$responses$, responses)
    into pruned using seen, portion;
  return coalesce(pruned, 0);
end;
$$;

comment on function automation.prune_responses(integer) is
  'Deletes the answers to rings that are older than an hour from net._http_response, in the next portion of it; '
  'returns how many.';

-- What cannot be pruned costs room, never a tick, nor the other log.
create or replace function automation.prune_changes(portion integer default 500) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pruned integer;
begin
  delete from ridgeline.changes as c
  where c.ctid = any (array(
    select o.ctid from ridgeline.changes as o
    where o.changed_at < automation.now() - automation.kept_for(automation.setting('keep_changes'))
    order by o.changed_at limit portion for update skip locked));
  get diagnostics pruned = row_count;
  return pruned;
end;
$$;

comment on function automation.prune_changes(integer) is
  'One portion of what was changed longer ago than the setting keep_changes.';

-- Runs of versions that were deleted while they began, once nobody can begin another: those that have come due by then
-- are gone already.
create or replace function automation.prune_strays(portion integer default 200) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  gone automation.gone_versions;
  pruned integer := 0;
begin
  select v.* into gone from automation.gone_versions as v
  where v.gone_at < automation.now() - interval '1 day'
  order by v.gone_at
  limit 1
  for update skip locked;
  if gone.workflow_id is null then
    return 0;
  end if;
  -- As long as it is not there again: a dump brings runs before their versions.
  if not exists (
    select from ridgeline.workflow_versions as v
    where v.tenant_id = gone.tenant_id and v.workflow_id = gone.workflow_id and v.version = gone.version)
    and exists (
    select from ridgeline.workflow_executions as r
    where r.workflow_id = gone.workflow_id and r.tenant_id = gone.tenant_id and r.version = gone.version) then
    -- What cannot go now is looked at again in an hour, behind the others.
    update automation.gone_versions as v set gone_at = v.gone_at + interval '1 hour'
    where v.tenant_id = gone.tenant_id and v.workflow_id = gone.workflow_id and v.version = gone.version;
    begin
      delete from ridgeline.workflow_executions as e
      where e.ctid = any (array(
        select r.ctid from ridgeline.workflow_executions as r
        where r.workflow_id = gone.workflow_id and r.tenant_id is not distinct from gone.tenant_id
          and r.version is not distinct from gone.version
        limit portion for update skip locked));
      get diagnostics pruned = row_count;
    exception when others then
      raise warning 'automation: runs of a version that was deleted could not be: %', sqlerrm;
    end;
  else
    delete from automation.gone_versions as v
    where v.tenant_id = gone.tenant_id and v.workflow_id = gone.workflow_id and v.version = gone.version;
  end if;
  return pruned;
end;
$$;

comment on function automation.prune_strays(integer) is
  'One portion of the runs that began while their workflow was deleted, a day later; how many went.';

create or replace function automation.prune_links(portion integer default 500) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pruned integer;
begin
  delete from automation.links as l
  where l.ctid = any (array(
    select o.ctid from automation.links as o
    where o.created_at < automation.now() - automation.kept_for(automation.setting('keep_links'))
    order by o.created_at limit portion for update skip locked));
  get diagnostics pruned = row_count;
  return pruned;
end;
$$;

comment on function automation.prune_links(integer) is
  'One portion of the links of texts that are older than the setting keep_links.';

-- What is matched is matched long before, and no provider repeats an event for so long.
create or replace function automation.prune_events(portion integer default 500) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  early integer;
  known integer;
begin
  delete from automation.early_events as e
  where e.ctid = any (array(
    select o.ctid from automation.early_events as o
    where o.received_at < automation.now() - interval '1 day'
    order by o.received_at limit portion for update skip locked));
  get diagnostics early = row_count;
  delete from automation.provider_events as e
  where e.ctid = any (array(
    select o.ctid from automation.provider_events as o
    where o.received_at < automation.now() - interval '30 days'
    order by o.received_at limit portion for update skip locked));
  get diagnostics known = row_count;
  return early + known;
end;
$$;

comment on function automation.prune_events(integer) is
  'One portion of the reports that found no message within a day, and of the events that were taken in more than '
  'thirty days ago.';

create or replace function automation.prune() returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind text;
  pruned integer := 0;
begin
  foreach kind in array '{runs,responses,changes,strays,links,events}'::text[] loop
    begin
      pruned := pruned + case kind
        when 'runs' then automation.prune_runs()
        when 'responses' then automation.prune_responses()
        when 'changes' then automation.prune_changes()
        when 'strays' then automation.prune_strays()
        when 'links' then automation.prune_links()
        when 'events' then automation.prune_events(2000) end;
    exception when others then
      -- The others are pruned all the same.
      null;
    end;
  end loop;
  begin
    perform automation.guard_host_path();
  exception when others then
    raise warning 'automation: the path under which steps write could not be checked: %', sqlerrm;
  end;
  return pruned;
end;
$$;

comment on function automation.prune() is
  'One portion of the engine''s own rows in the logs of pg_cron and pg_net, of ridgeline.changes, of '
  'automation.links, of events of providers and of runs without a version. Looks once whether the path of the CRM is '
  'still nobody else''s. Never raises.';

-- pg_cron, where it is installed: one job for each concern, never one for a workflow.

create or replace function automation.has_seconds() returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      (select regexp_match(e.extversion, '^(\d+)\.(\d+)')::integer[] >= array[1, 5]
       from pg_catalog.pg_extension as e where e.extname = 'pg_cron'),
      false)
  $$;

comment on function automation.has_seconds() is
  'Does this server''s pg_cron take "5 seconds" as a schedule? From 1.5 it does.';

-- pg_cron knows a job by its name and the role that made it: after a role was renamed, or another one has
-- installed the schedule, the former job stays, and either fails every few seconds or ticks twice.
create or replace function automation.forget_former_jobs() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  former text;
begin
  execute $job$select string_agg(format('%s of %s', j.jobname, j.username), ', ') from cron.job as j
      where j.jobname in ('ridgeline-tick', 'ridgeline-prune') and j.database = current_database()
        and j.username <> current_user$job$
    into former;
  if former is null then
    return;
  end if;
  execute $job$select cron.unschedule(j.jobid) from cron.job as j
      where j.jobname in ('ridgeline-tick', 'ridgeline-prune') and j.database = current_database()
        and j.username <> current_user$job$;
exception when insufficient_privilege then
  raise warning 'jobs of another role stay: %', former
    using hint = 'As a superuser: select cron.unschedule(jobid) from cron.job where jobname like ''ridgeline-%''.';
end;
$$;

create or replace function automation.install_schedule() returns text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_cron') then
    return array[]::text[];
  end if;
  if exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_net') then
    update automation.settings as s set value = 'pg_net' where s.name = 'doorbell';
  end if;
  perform automation.forget_former_jobs();
  if automation.has_seconds() then
    execute 'select cron.schedule($1, $2, $3)'
      using 'ridgeline-tick', '5 seconds', $job$call automation.tick_for('1 second')$job$;
  else
    execute 'select cron.schedule($1, $2, $3)'
      using 'ridgeline-tick', '* * * * *', $job$call automation.tick_for('50 seconds')$job$;
  end if;
  execute 'select cron.schedule($1, $2, $3)'
    using 'ridgeline-prune', '17 3 * * *', 'select automation.forget_listeners()';
  return array['ridgeline-tick', 'ridgeline-prune'];
end;
$$;

comment on function automation.install_schedule() is
  'Creates or updates the cron jobs and turns the doorbell to pg_net where it is installed. '
  'Returns the names of the jobs; none where there is no pg_cron. Safe to call again.';

create or replace function automation.remove_schedule() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_cron') then
    perform automation.forget_former_jobs();
    -- One of a name for each role, whichever database pg_cron has written down for it.
    execute $job$select cron.unschedule(j.jobname) from cron.job as j
      where j.jobname in ('ridgeline-tick', 'ridgeline-prune') and j.username = current_user$job$;
  end if;
end;
$$;

select automation.install_schedule();

-- What makes the engine move, and what it says when it does.
begin;
\ir ../foundation/story.psql
select plan(32);

select pg_temp.tenant() as apex \gset
select ok(automation.tick() @> '{"reaped": 0, "outbound_due": false, "database_steps": 0}', 'nothing to do');
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "create_task", "config": {"title": "Call"}}, {"type": "send_sms", "config": {"body": "Hi"}}]') as flow \gset
select pg_temp.contact(:'apex') from generate_series(1, 3);
select ok(automation.tick(2) @> '{"reaped": 0, "outbound_due": true, "database_steps": 2}', 'no more than asked for, and what the dispatcher has to do');
select ok(automation.tick() @> '{"reaped": 0, "outbound_due": true, "database_steps": 1}', 'the rest');
select is((select count(*) from public.tasks), 3::bigint, 'each once');
select is((select count(*) from automation.claim_steps('w', 10)), 3::bigint, 'the dispatcher takes the texts');
select ok(automation.tick() @> '{"reaped": 0, "outbound_due": false, "database_steps": 0}', 'so there is nothing to send');
update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second';
select is(automation.tick() ->> 'reaped', '3', 'a dispatcher that died is noticed');
select is(automation.tick() ->> 'outbound_due', 'false', 'what it had waits for its turn');
select is(current_setting('lock_timeout'), '0', 'the caller''s own settings are as they were');
select is(current_setting('automation.depth', true), '', 'nor does the caller become an automation');

-- The doorbell.
create table public.rings (at timestamptz default clock_timestamp());
create function pg_temp.count_rings() returns bigint language sql as $$ select count(*) from public.rings $$;
create or replace function automation.call_dispatch() returns bigint language sql security definer as $$ insert into public.rings default values returning 1::bigint $$;
update automation.settings set value = 'pg_net' where name = 'doorbell';
select set_config('automation.rung', '', true);
delete from public.rings;
insert into public.contacts (tenant_id) select :'apex' from generate_series(1, 100);
select is(pg_temp.count_rings(), 1::bigint, 'a hundred leads ring once');
select pg_temp.contact(:'apex');
select is(pg_temp.count_rings(), 1::bigint, 'and once a transaction');
select automation.tick(), automation.tick();
select is(pg_temp.count_rings(), 2::bigint, 'once more for what the tick has made due, in another lane');
select set_config('automation.rung', '', true);
update ridgeline.workflows set is_active = false;
delete from public.rings;
select pg_temp.contact(:'apex');
select is(pg_temp.count_rings(), 0::bigint, 'a lead that starts nothing rings nothing');
savepoint undone;
update ridgeline.workflows set is_active = true;
select pg_temp.contact(:'apex');
rollback to savepoint undone;
update ridgeline.workflows set is_active = true;
select pg_temp.contact(:'apex');
select is(pg_temp.count_rings(), 1::bigint, 'a ring that was rolled back is rung again');
select is((select value from automation.settings where name = 'doorbell'), 'pg_net', 'a setting is a row');

-- pg_cron, where there is one.
select is(automation.has_seconds(), false, 'this pg_cron, if any, knows no seconds');
select is(automation.install_schedule(), case when to_regclass('cron.job') is null then '{}' else '{ridgeline-tick,ridgeline-prune}' end::text[], 'one job for each concern');
select is(automation.install_schedule(), case when to_regclass('cron.job') is null then '{}' else '{ridgeline-tick,ridgeline-prune}' end::text[], 'installing again is no error');
create function pg_temp.jobs() returns text
  language plpgsql
  as $$
declare
  jobs text := '';
begin
  if to_regclass('cron.job') is not null then
    execute 'select coalesce(string_agg(jobname, '','' order by jobname), '''') from cron.job' into jobs;
  end if;
  return jobs;
end;
$$;
select is(pg_temp.jobs(), case when to_regclass('cron.job') is null then '' else 'ridgeline-prune,ridgeline-tick' end, 'nor a second job');
select automation.remove_schedule();
select is(pg_temp.jobs(), '', 'and they can be removed');

-- pg_cron stood in for by what its documentation promises, version for version: each knows its own schedules.
drop extension if exists pg_cron;
create schema cron;
create table cron.job (
  jobid bigserial, schedule text not null, command text not null, database text not null default current_database(),
  username text not null default current_user, active boolean not null default true, jobname text,
  constraint jobname_username_uniq unique (jobname, username));
create function cron.schedule(job_name text, schedule text, command text) returns bigint
  language plpgsql
  as $$
declare
  had_seconds constant boolean := (select regexp_match(extversion, '^(\d+)\.(\d+)')::integer[] >= '{1,5}' from pg_extension where extname = 'pg_cron');
  id bigint;
begin
  if schedule !~ '^([0-9*/,-]+ ){4}[0-9*/,-]+$' and not (had_seconds and schedule ~ '^([1-9]|[1-5][0-9]) seconds?$') then
    raise exception 'invalid schedule: %', schedule;
  end if;
  insert into cron.job as j (jobname, schedule, command) values (job_name, schedule, command)
  on conflict on constraint jobname_username_uniq do update set (schedule, command, active) = row (excluded.schedule, excluded.command, true)
  returning j.jobid into id;
  return id;
end;
$$;
create function cron.unschedule(job_name text) returns boolean
  language plpgsql
  as $$
begin
  delete from cron.job as j where j.jobname = job_name and j.username = current_user;
  if not found then
    raise exception 'could not find valid entry for job ''%''', job_name;
  end if;
  return true;
end;
$$;
create function cron.unschedule(job_id bigint) returns boolean
  language plpgsql
  as $$
begin
  delete from cron.job as j where j.jobid = job_id;
  return found;
end;
$$;
create function pg_temp.all_jobs() returns text
  language sql
  as $$ select string_agg(concat_ws(' | ', j.jobname, j.schedule, j.command), '; ' order by j.jobname) from cron.job as j $$;
create function pg_temp.has_cron(version text) returns void
  language sql
  as $$
    delete from pg_extension where extname = 'pg_cron';
    insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    values (999999, 'pg_cron', (select oid from pg_roles where rolname = current_user), 'cron'::regnamespace, false, version);
  $$;
select pg_temp.has_cron('1.4-1');
select is(automation.install_schedule(), '{ridgeline-tick,ridgeline-prune}', 'before 1.5 pg_cron knows minutes');
select is(pg_temp.all_jobs(), 'ridgeline-prune | 17 3 * * * | select automation.forget_listeners(); '
  'ridgeline-tick | * * * * * | call automation.tick_for(''50 seconds'')', 'and a tick works for most of one');
select jobid as ticking from cron.job where jobname = 'ridgeline-tick' \gset
select pg_temp.has_cron('1.6');
select is(automation.install_schedule(), '{ridgeline-tick,ridgeline-prune}', 'the platform''s knows seconds');
select is(pg_temp.all_jobs(), 'ridgeline-prune | 17 3 * * * | select automation.forget_listeners(); '
  'ridgeline-tick | 5 seconds | call automation.tick_for(''1 second'')', 'and a tick is short');
select is((select jobid from cron.job where jobname = 'ridgeline-tick'), :ticking::bigint, 'it is the same job');
select is((select string_agg(distinct p.prokind::text, ',') from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
  where n.nspname = 'automation' and p.proname in ('tick_for', 'forget_listeners')), 'f,p', 'what the jobs call is there to be called');
update automation.settings set value = 'notify' where name = 'doorbell';
create function pg_temp.knows_seconds(version text) returns boolean
  language sql
  as $$ select pg_temp.has_cron(version); select automation.has_seconds() $$;
select is((select string_agg(v, ' ') from unnest(array['1.3', '1.4-1', '1.4.2', '1.5', '1.6.4', '1.10', '2.0']) as v where pg_temp.knows_seconds(v)),
  '1.5 1.6.4 1.10 2.0', 'versions are numbers, not words');
-- A job of the host's, and one that another role left.
select cron.schedule('nightly', '0 2 * * *', 'select 1');
update cron.job set username = 'former_owner' where jobname = 'ridgeline-tick';
select automation.install_schedule();
select is((select string_agg(concat_ws(' ', j.jobname, j.username = current_user), ', ' order by j.jobname) from cron.job as j),
  'nightly t, ridgeline-prune t, ridgeline-tick t', 'a job of another role is forgotten: two would tick');
insert into pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
values (999998, 'pg_net', (select oid from pg_roles where rolname = current_user), 'cron'::regnamespace, false, '0.14.0');
select is((select value from automation.settings where name = 'doorbell'), 'notify', 'without pg_net the doorbell stays what it was');
select automation.install_schedule();
select is((select value from automation.settings where name = 'doorbell'), 'pg_net', 'with it, it rings');
select automation.remove_schedule();
select is(pg_temp.all_jobs(), 'nightly | 0 2 * * * | select 1', 'and it leaves the host''s alone');

select * from finish();
rollback;

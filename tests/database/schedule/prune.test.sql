-- What a tick deletes from the logs of pg_cron and pg_net: the engine's own rows that are old, and nothing
-- of the host's. Where they are not installed, tables of the same columns stand in.
begin;
select plan(14);

do $$
begin
  if to_regclass('cron.job_run_details') is null then
    create schema cron;
    create table cron.job_run_details (
      jobid bigint, runid bigserial primary key, job_pid integer, database text, username text, command text,
      status text, return_message text, start_time timestamptz, end_time timestamptz);
  end if;
end
$$;
select lives_ok('select automation.prune()', 'a server without pg_net prunes what there is');
\ir ../foundation/net.psql

create function pg_temp.ran(runid bigint, command text, started interval, ended interval default null,
  database text default current_database())
  returns void
  language sql
  as $$
    insert into cron.job_run_details (jobid, runid, database, username, command, start_time, end_time)
    values (1, runid, database, current_user, command, now() - started, now() - ended)
  $$;
create function pg_temp.left_of_runs() returns bigint[]
  language sql as 'select array_agg(d.runid order by d.runid) from cron.job_run_details as d';

select pg_temp.ran(1, 'call automation.tick_for(''1 second'')', '9 days', '9 days'),
  pg_temp.ran(2, 'call automation.tick_for(''1 second'')', '9 days'),
  pg_temp.ran(3, 'call automation.tick_for(''1 second'')', null),
  pg_temp.ran(4, 'select public.nightly_report()', '9 days', '9 days'),
  pg_temp.ran(5, 'call automation.tick_for(''1 second'')', '9 days', '9 days', 'somebody_elses'),
  pg_temp.ran(6, 'select automation.forget_listeners()', '8 days', '8 days'),
  pg_temp.ran(7, 'call automation.tick_for(''1 second'')', '6 days', '6 days'),
  pg_temp.ran(8, 'call automation.tick_for(''1 second'')', null);
select is(automation.prune_runs(2), 2, 'a portion: a run that ended, and one that never did because the server went down');
select is(pg_temp.left_of_runs(), array[3, 4, 5, 6, 7, 8]::bigint[], 'nothing else is gone');
select is(automation.prune_runs(2), 1, 'one without any time is old when a later one is');
select is(automation.prune_runs(2), 1, 'the next portion goes on behind what is the host''s');
select is(automation.prune_runs(), 0, 'what is younger than a week stays');
select is(pg_temp.left_of_runs(), array[4, 5, 7, 8]::bigint[], 'and so does what may be about to start');

insert into net._http_response (id, status_code, content, created)
select r.id, r.status, r.content, now() - r.age
from (values
  (1, 202, '{"ringing":true}', interval '3 hours'), (2, 200, '{"ok":true}', interval '3 hours'),
  (3, 202, '{"ringing":true}', interval '3 hours'), (4, 401, '{"error":{}}', interval '2 hours'),
  (5, 202, '{"ringing":true}', interval '2 hours'), (6, 202, '{"ringing":true}', interval '1 minute'),
  (7, null, null, interval '2 hours')) as r (id, status, content, age);
create function pg_temp.left_of_responses() returns bigint[]
  language sql as 'select array_agg(r.id order by r.id) from net._http_response as r';
select is(automation.prune_responses(1), 2, 'a portion is all that was answered at once');
select is(pg_temp.left_of_responses(), array[2, 4, 5, 6, 7]::bigint[], 'and of it only the answers to rings');
select is(automation.prune_responses(1), 1, 'the next portion goes on behind what is the host''s');
select is(automation.prune_responses(), 0, 'what is younger than an hour stays');
select is(pg_temp.left_of_responses(), array[2, 4, 6, 7]::bigint[], 'and what failed, for pg_net to forget');

-- A log that cannot be pruned.
alter table net._http_response rename column content to body;
select pg_temp.ran(9, 'call automation.tick_for(''1 second'')', '9 days', '9 days');
select is(automation.prune(), 2, 'costs room: the other log is pruned all the same');
alter table cron.job_run_details rename column command to did;
select is(automation.prune(), 0, 'and never a tick');
select * from finish();
rollback;

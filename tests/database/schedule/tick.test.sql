-- What makes the engine move, and what it says when it does.
begin;
\ir ../foundation/story.psql
select plan(21);

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

select * from finish();
rollback;

-- A workflow that does much more in a day than it ever did is held, and a task says so; what it is used to is no surprise.
begin;
\ir ../foundation/story.psql
select plan(16);
set client_min_messages = error;
update automation.settings set value = '20' where name = 'workflow_fuse_at_least';

select pg_temp.tenant('Apex Roofing') as apex \gset
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900');
select pg_temp.workflow(:'apex', 'sms_received', '{}', '[{"key": "task", "type": "create_task", "config": {"title": "Answer"}}]') as answer \gset
create function pg_temp.texts_from(first integer, number integer) returns bigint
  language sql
  as $$
    select count(automation.receive_sms(jsonb_build_object('message_sid', 'SM' || replace(gen_random_uuid()::text, '-', ''),
      'from', '+1512' || lpad(n::text, 7, '0'), 'to', '+15125550900', 'body', 'Hello')))
    from generate_series(first + 2000000, first + 2000000 + number - 1) as n
  $$;
create function pg_temp.begun() returns bigint
  language sql
  as $$ select count(*) from public.tasks where title = 'Answer' $$;
create function pg_temp.stops() returns bigint
  language sql
  as $$ select count(*) from public.tasks where title = 'Workflow "sms_received" was stopped' $$;

-- A NEW ONE has the least there is.
select pg_temp.texts_from(0, 20) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.begun(), 20::bigint, 'twenty strangers a day are nothing special');
select pg_temp.texts_from(100, 3) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.begun(), 20::bigint, 'the next is one too many');
select is((select concat_ws(' ', reason ->> 'limit', reason ->> 'per') from ridgeline.workflow_holds where workflow_id = :'answer'), '20 day', 'it is held, and says why');
select is(pg_temp.stops(), 1::bigint, 'a task says so');
select is((select count(*) from ridgeline.scheduled_steps), 3::bigint, 'nobody who wrote is lost');
select is(ridgeline.release_workflow(:'answer'), 3, 'a person lets them go on');
select pg_temp.settle() \g /dev/null
select is(pg_temp.begun(), 23::bigint, 'they do');

-- WHAT IT IS USED TO: five times its busiest day.
select automation.advance_clock('2 days');
select is(automation.daily_fuse(:'apex', :'answer'), 115, 'after a day of twenty-three it may have five times as many');
select pg_temp.texts_from(1000, 60) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.begun(), 83::bigint, 'sixty on a day after a storm are no surprise');
select pg_temp.texts_from(2000, 60) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.begun(), 138::bigint, 'a hundred and sixteen are');
select is(pg_temp.stops(), 2::bigint, 'and a task says so again');
delete from ridgeline.workflow_holds;
delete from ridgeline.scheduled_steps;
-- What the fuse held has not made it used to more.
select automation.advance_clock('2 days');
select is(automation.daily_fuse(:'apex', :'answer'), 5 * 115, 'what was held is nothing it is used to');
select automation.advance_clock('40 days');
select is(automation.daily_fuse(:'apex', :'answer'), 20, 'after a quiet month it is as a new one');

-- WHAT AN OFFICE SAYS, and what nothing exceeds
update public.tenants set settings = '{"workflow_fuse": {"per_day": 300}}' where id = :'apex';
select is(automation.daily_fuse(:'apex', :'answer'), 300, 'an office that expects a storm says so');
update public.tenants set settings = '{"workflow_fuse": {"per_day": "many"}}' where id = :'apex';
update automation.settings set value = '15' where name = 'workflow_fuse_per_day';
select is(automation.daily_fuse(:'apex', :'answer'), 15, 'what cannot be read is not said, and no workflow has more than the installation allows');
-- What the office itself writes or imports is never counted.
update automation.settings set value = '2' where name = 'workflow_fuse_at_least';
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"key": "task", "type": "create_task", "config": {"title": "Imported"}}]') as import \gset
insert into public.contacts (tenant_id, phone) select :'apex', '+1512666' || lpad(n::text, 4, '0') from generate_series(2000, 2049) as n;
select pg_temp.settle() \g /dev/null
select is((select count(*) from public.tasks where title = 'Imported'), 50::bigint, 'an import of fifty is fifty tasks');
select * from finish();
rollback;

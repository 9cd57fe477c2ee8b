-- A workflow that does much more in a day than it ever did is held, and a task says so; what it is used to is no surprise.
begin;
\ir ../foundation/story.psql
select plan(29);
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
-- OLD RECORDS that are loaded: a workflow that takes those that are inserted as won for won.
update public.tenants set settings = '{}' where id = :'apex';
update automation.settings set value = '1000' where name = 'workflow_fuse_at_least';
update automation.settings set value = '10000' where name = 'workflow_fuse_per_day';
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select pg_temp.workflow(:'apex', 'project_won', '{"on_insert": true}', '[{"key": "task", "type": "create_task", "config": {"title": "Review {{project.name}}"}}]') as review \gset
select pg_temp.workflow(:'apex', 'project_won', '{}', '[{"key": "task", "type": "create_task", "config": {"title": "Won {{project.name}}"}}]') as won_only \gset
create function pg_temp.load(number integer) returns bigint
  language sql
  as $$
    with loaded as (
      insert into public.projects (tenant_id, contact_id, name, pipeline_stage)
      select c.tenant_id, c.id, 'Roof ' || n, 'won' from public.contacts as c cross join generate_series(1, number) as n where c.first_name = 'Maria'
      returning id)
    select count(*) from loaded
  $$;
create function pg_temp.reviews() returns bigint
  language sql
  as $$ select count(*) from public.tasks where title like 'Review %' $$;
select automation.advance_clock('1 day');
select pg_temp.load(25) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 25::bigint, 'twenty-five that are inserted as won are won');
delete from ridgeline.workflow_executions where workflow_id = :'review';
delete from public.tasks;
select automation.advance_clock('1 hour');
select pg_temp.load(180) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 0::bigint, 'of a hundred and eighty that are loaded none has done anything');
select is((select count(*) from ridgeline.scheduled_steps as s join ridgeline.workflow_executions as e on e.id = s.execution_id where e.workflow_id = :'review' and s.held ->> 'code' = 'workflow_held'), 180::bigint, 'all of them wait');
select is((select count(*) from public.tasks where title like 'Workflow "project_won" was stopped'), 1::bigint, 'a task says so, once');
select is((select count(*) from public.tasks where title like 'Won %'), 0::bigint, 'one that does not count inserts was not asked at all');
-- The office does not want them: cancelled, and the workflow goes on.
select count(ridgeline.cancel_execution(e.id)) from ridgeline.workflow_executions as e where e.workflow_id = :'review' and e.finished_at is null \g /dev/null
select ridgeline.release_workflow(:'review') \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 0::bigint, 'cancelled, none of them ever does anything');
select automation.advance_clock('1 hour');
select pg_temp.load(3) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 3::bigint, 'and three the next hour are three');
-- Or it does.
select automation.advance_clock('1 hour');
select pg_temp.load(40) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 3::bigint, 'forty are held again');
select automation.advance_clock('1 minute');
select is(ridgeline.release_workflow(:'review'), 40, 'released');
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 43::bigint, 'they go');
-- What it is used to is no surprise.
select automation.advance_clock('2 days');
select pg_temp.load(180) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 223::bigint, 'a hundred and eighty are less than five times its busiest day');
update public.tenants set settings = '{"workflow_fuse": {"per_day": 1000}}' where id = :'apex';
select automation.advance_clock('1 hour');
select pg_temp.load(500) \g /dev/null
select pg_temp.settle() \g /dev/null
select is(pg_temp.reviews(), 723::bigint, 'nor is what an office says that it expects');
select is((select count(*) from ridgeline.workflow_holds where workflow_id = :'won_only'), 0::bigint, 'the other workflow was never held');
select * from finish();
rollback;

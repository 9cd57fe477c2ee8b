-- Enrolling by hand: one record, a list, a filter; at a rate; and what can be seen of it.
begin;
\ir ../foundation/story.psql
select plan(25);

select automation.set_clock('2026-03-02 12:00:00+00');
select pg_temp.tenant() as apex \gset
select pg_temp.tenant('Bolt Roofing') as bolt \gset
insert into public.contacts (tenant_id, first_name, postal_code)
select :'apex', 'Contact ' || n, case when n % 2 = 0 then '78701' else '78702' end
from generate_series(1, 3000) as n;
select pg_temp.contact(:'bolt') as theirs \gset
select pg_temp.workflow(:'apex', 'manual') as storm \gset
create function pg_temp.job(id uuid) returns text
  language sql
  as $$
    select concat_ws(' ', b.status, b.scanned, b.enrolled, b.skipped, b.failed)
    from ridgeline.bulk_enrollments as b where b.id = job.id
  $$;

-- A list.
select array_agg(id) as some from (select id from public.contacts where tenant_id = :'apex' limit 5) as c \gset
select id as listed from ridgeline.enroll_records(:'storm', array_cat(:'some'::text[], array[:'theirs', null])) \gset
select is(pg_temp.job(:'listed'), 'completed 6 5 1 0', 'a short list is enrolled at once; who is not ours is left out');
select is((select count(distinct contact_id) from ridgeline.workflow_executions where workflow_id = :'storm'
  and trigger_type = 'manual' and entity = 'contact'), 5::bigint, 'each with a run of their own');
select is((select (ridgeline.enroll_records(:'storm', array[(:'some'::text[])[1], (:'some'::text[])[1]])).enrolled), 1,
  'named twice is meant once');
delete from ridgeline.workflow_executions;

-- A filter, in batches.
select id as by_zip from ridgeline.enroll_records(:'storm',
  filter => '[{"field": "contact.postal_code", "operator": "equals", "value": "78701"}]', data => '{"storm": "hail"}') \gset
select is(pg_temp.job(:'by_zip'), 'running 0 0 0 0', 'a filter is left to the tick');
select automation.tick();
-- On a machine that is busy fewer, for it commits in time.
select ok((select scanned between 1 and 1000 and scanned = enrolled + skipped from ridgeline.bulk_enrollments where id = :'by_zip'),
  'which takes a thousand records at most');
create function pg_temp.tick_until(id uuid, far integer) returns void
  language plpgsql
  as $$
begin
  while (select b.scanned from ridgeline.bulk_enrollments as b where b.id = tick_until.id) < far loop
    perform automation.tick();
  end loop;
end;
$$;
select pg_temp.tick_until(:'by_zip', 3000);
select alike(pg_temp.job(:'by_zip'), '% 3000 1500 1500 0', 'and remembers how far it came');
select automation.tick();
select is(pg_temp.job(:'by_zip'), 'completed 3000 1500 1500 0', 'until there are no more');
select is((select count(distinct contact_id) from ridgeline.workflow_executions where trigger_data ->> 'storm' = 'hail'
  and trigger_data #>> '{contact,postal_code}' = '78701'), 1500::bigint, 'nobody twice, nobody else');
delete from ridgeline.workflow_executions;

-- At a rate.
select id as slow from ridgeline.enroll_records(:'storm', filter => '[]', per_minute => 120) \gset
select automation.tick();
select automation.tick();
select is(pg_temp.job(:'slow'), 'running 10 10 0 0', 'at 120 a minute ten come at once');
select automation.advance_clock('4 seconds');
select automation.tick();
select is(pg_temp.job(:'slow'), 'running 10 10 0 0', 'the next not before');
select automation.advance_clock('1 second'), automation.tick();
select is(pg_temp.job(:'slow'), 'running 20 20 0 0', 'five seconds have passed');
select automation.advance_clock('5 seconds'), automation.tick() from generate_series(1, 12);
select is(pg_temp.job(:'slow'), 'running 140 140 0 0', 'a minute brings 120');
select ridgeline.cancel_bulk_enrollment(:'slow');
select automation.advance_clock('1 hour'), automation.tick();
select is(pg_temp.job(:'slow'), 'cancelled 140 140 0 0', 'it can be stopped where it stands');

-- Two at once share the tick.
select id as first from ridgeline.enroll_records(:'storm', filter => '[]') \gset
select id as second from ridgeline.enroll_records(:'storm', filter => '[]') \gset
select automation.tick();
select is(array[pg_temp.job(:'first'), pg_temp.job(:'second')], '{running 500 500 0 0,running 500 500 0 0}', 'two jobs share a tick');
update ridgeline.workflows set is_active = false where id = :'storm';
select automation.tick();
select is((select array_agg(status || ' ' || (error ->> 'code')) from ridgeline.bulk_enrollments where id in (:'first', :'second')),
  '{cancelled not_active,cancelled not_active}', 'a workflow that is switched off takes nobody any more');

-- The workflow's own conditions hold too; another entity.
update public.contacts set assigned_to = null, stage = 'won' where id = (:'some'::uuid[])[1];
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]',
  '[{"field": "contact.stage", "operator": "equals", "value": "won"}]') as won_only \gset
select is(pg_temp.job((ridgeline.enroll_records(:'won_only', :'some')).id), 'completed 5 1 4 0', 'its own conditions hold as well');
insert into public.projects (tenant_id, id, name) values (:'apex', '00000000-0000-0000-0000-0000000000a1', 'Roof');
select pg_temp.workflow(:'apex', 'project_created') as projects \gset
select is((select entity from ridgeline.enroll_records(:'projects', '{00000000-0000-0000-0000-0000000000a1}')), 'project',
  'the records are those of the trigger');
select is((pg_temp.only_run(:'projects')).trigger_data #>> '{project,name}', 'Roof', 'and come with what they are');

-- Who may.
select pg_temp.sign_in(pg_temp.member(:'apex'));
select is((ridgeline.enroll_records(:'won_only', :'some')).enrolled, 1, 'a member may');
select is((select count(*) > 3 from ridgeline.bulk_enrollments), true, 'and sees how it goes');
select pg_temp.sign_out();
select pg_temp.sign_in(pg_temp.member(:'bolt'));
select is(left(pg_temp.error_of(format('select ridgeline.enroll_records(%L, %L)', :'won_only', :'some')), 5), 'PT404', 'another tenant''s may not');
select is((select count(*) from ridgeline.bulk_enrollments), 0::bigint, 'nor see it');
select is(left(pg_temp.error_of(format('select ridgeline.cancel_bulk_enrollment(%L)', :'first')), 5), 'PT404', 'nor stop it');
select pg_temp.sign_out();

-- What is refused.
select is(left(pg_temp.error_of(format('select ridgeline.enroll_records(%L)', :'won_only')), 16), '22023 record_ids', 'records or a filter');
select is((select string_agg(substring(pg_temp.error_of(format('select ridgeline.enroll_records(%L, %s)', :'won_only', arguments))
  from '(per_minute|filter|entity|data)'), ' ' order by place)
from unnest(array['filter => ''[]'', per_minute => 0', 'filter => ''[{"field": "x", "operator": "like"}]''', 'filter => ''[]'', entity => ''roof''',
  'filter => ''[]'', data => ''[]''']) with ordinality as a (arguments, place)), 'per_minute filter entity data', 'errors name the parameter');

select * from finish();
rollback;

-- What the operator sees at 2 a.m.
begin;
\ir ../foundation/story.psql
select plan(11);

select pg_temp.tenant() as apex \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
create function pg_temp.queue() returns text
  language sql
  as $$
    select string_agg(format('%s %s %s', q.steps, q.lane, q.state), ', ' order by q.lane::text, q.state)
    from ridgeline.automation_queue as q
  $$;
select is(pg_temp.queue(), null, 'an empty queue');
select pg_temp.workflow(t.id, 'contact_created', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]') from public.tenants as t;
select pg_temp.workflow(:'apex', 'project_created', '{}', '[{"type": "assign_user", "config": {"user_id": "00000000-0000-4000-8000-0000000000ff"}}]') as failing \gset
select pg_temp.workflow(:'apex', 'project_created', '{}', '[{"type": "create_task", "config": {"title": "x"}, "delay": 60}]');
insert into public.projects (tenant_id) values (:'apex');
select pg_temp.contact(:'apex') from generate_series(1, 4);
select is(pg_temp.queue(), '1 database delayed, 1 database due, 4 sms due', 'delayed and due, by lane');
select count(*) from automation.claim_steps('w', 3);
select is(pg_temp.queue(), '1 database delayed, 1 database due, 3 sms claimed, 1 sms due', 'claimed');
update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second'
where id = (select id from ridgeline.scheduled_steps where attempt_token is not null limit 1);
select is(pg_temp.queue(), '1 database delayed, 1 database due, 2 sms claimed, 1 sms due, 1 sms expired', 'a worker stopped');
select is(most_attempts, 1::smallint, 'and how often it was tried') from ridgeline.automation_queue where state = 'expired';
select is((select count(*) from ridgeline.automation_failures), 0::bigint, 'nothing has failed');
select pg_temp.settle();
select is(array[workflow_name, step_key, code, message, trigger_type],
  array['project_created', 'step_1', 'step_failed', 'user_id: "00000000-0000-4000-8000-0000000000ff" is not a member of the tenant', 'project_created'],
  'what failed says where and why') from ridgeline.automation_failures;
select pg_temp.contact(:'blue');
select is((select count(distinct tenant_id) from ridgeline.automation_queue), 2::bigint, 'the owner sees every tenant');
select pg_temp.sign_in(:'sam');
select is((select array_agg(distinct tenant_id) from ridgeline.automation_queue), array[:'apex']::uuid[], 'a member sees their own');
select is((select count(*) from ridgeline.automation_failures), 1::bigint, 'failures too');
select pg_temp.sign_out();
select pg_temp.act_as('anon');
select alike(pg_temp.error_of('select * from ridgeline.automation_queue'), '42501 %', 'anon sees none');
select pg_temp.sign_out();

select * from finish();
rollback;

-- What the operator sees at 2 a.m.
begin;
\ir ../foundation/story.psql
select plan(23);

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

select pg_temp.sign_out();

-- Workflows that are on and hear nothing.
create table public.permits (tenant_id uuid not null references public.tenants (id), id uuid primary key default gen_random_uuid(), due_on date, state text);
select automation.attach('public.permits', 'permit', '{}', '[{"type": "permit_paid", "column": "state", "becomes": "paid"}]', authors => 'members');
create function pg_temp.deaf() returns text
  language sql
  as $$
    select string_agg(f.workflow_name || ' ' || f.code, ', ' order by f.workflow_name)
    from ridgeline.automation_failures as f where f.execution_id is null
  $$;
select pg_temp.workflow(:'apex', 'permit_paid') as paid \gset
select pg_temp.workflow(:'apex', 'field_changed', '{"entity": "permit", "field": "state"}');
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "permit", "field": "due_on", "offset": "1 day"}');
select pg_temp.workflow(:'apex', 'manual');
select pg_temp.workflow(:'blue', 'permit_paid');
select is(pg_temp.deaf(), null, 'all of them hear');
select automation.detach('permit');
select is(pg_temp.deaf(), 'field_changed table_detached, permit_paid table_detached, permit_paid table_detached, time_elapsed table_detached',
  'whose table is detached they hear nothing');
select is(f.message, 'permit is not attached any more, so that nobody enters: call automation.attach() for it, or switch the workflow off', 'and it says what to do')
from ridgeline.automation_failures as f where f.workflow_name = 'time_elapsed';
select is(f.finished_at, (select max(a.active_until) from automation.activations as a where a.workflow_id = :'paid'), 'and since when')
from ridgeline.automation_failures as f where f.workflow_name = 'permit_paid' and f.tenant_id = :'apex';
select pg_temp.sign_in(:'sam');
select is(pg_temp.deaf(), 'field_changed table_detached, permit_paid table_detached, time_elapsed table_detached', 'a member sees their own');
select is((select count(*) from automation.deaf_workflows() as d where d.tenant_id <> :'apex'), 0::bigint, 'and no other is told');
select pg_temp.sign_out();
select automation.attach('public.permits', 'permit', '{}', '[{"type": "permit_paid", "column": "state", "becomes": "paid"}]', authors => 'members');
select is(pg_temp.deaf(), null, 'attached again they hear again');
update ridgeline.workflows set is_active = false where id = :'paid';
drop trigger automation_capture_insert on public.permits;
drop trigger automation_capture_update on public.permits;
drop trigger automation_capture_delete on public.permits;
select is(pg_temp.deaf(), 'field_changed triggers_missing, permit_paid triggers_missing, time_elapsed triggers_missing',
  'a table that lost its triggers hears nothing');
drop trigger automation_capture_truncate on public.permits;
select is(pg_temp.deaf(), 'field_changed triggers_missing, permit_paid triggers_missing, time_elapsed triggers_missing',
  'a table that was made anew hears nothing either; one that is off is asked for nothing');
alter table public.permits rename to licences;
select is(pg_temp.deaf(), 'field_changed table_missing, permit_paid table_missing, time_elapsed table_missing', 'nor one that is called otherwise');
alter table public.licences rename to permits;
select automation.attach('public.permits', 'permit', '{}', '[]', authors => 'members');
select is(pg_temp.deaf(), null, 'attached once more they are well');
select automation.detach('permit');
alter table public.permits drop column state;
select automation.attach('public.permits', 'permit', '{}', '[]', authors => 'members');
select alike(pg_temp.deaf(), 'field_changed trigger_unfit%', 'what its table does not have any more starts nothing');

select * from finish();
rollback;

-- Days lie between two steps. What is sent is about the records as they are by then: who looks after them,
-- whose they are, what they say, and whether they are there at all.
begin;
\ir ../foundation/story.psql
select plan(38);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select pg_temp.contact(:'apex', 'Bob', '+15125550102') as bob \gset
insert into public.tenant_members (tenant_id, user_id, full_name) values
  (:'apex', '00000000-0000-4000-8000-00000000aaaa', 'Sam'), (:'apex', '00000000-0000-4000-8000-00000000bbbb', 'Ann');
create function pg_temp.sent() returns text
  language sql
  as $$ select string_agg((c.payload ->> 'to') || ' ' || (c.payload ->> 'body'), ', ') from automation.claim_steps('w', 10) as c $$;
create function pg_temp.ended(run uuid) returns text
  language sql
  as $$ select concat_ws(' ', e.status, e.error ->> 'code') from ridgeline.workflow_executions as e where e.id = run $$;

-- WHO LOOKS AFTER IT
update public.contacts set assigned_to = '00000000-0000-4000-8000-00000000aaaa' where id = :'maria';
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "delay": 60, "config": {"body": "{{user.full_name}} calls {{contact.first_name}}"}}]') as text \gset
select (ridgeline.execute_workflow(:'text', jsonb_build_object('contact_id', :'maria'))).id as run \gset
update public.contacts set assigned_to = '00000000-0000-4000-8000-00000000bbbb' where id = :'maria';
select automation.advance_clock('61 minutes');
select is(pg_temp.sent(), '+15125550101 Ann calls Maria', 'the user is who is responsible when the message goes out');
insert into public.projects (tenant_id, id, contact_id, name) values (:'apex', '00000000-0000-4000-8000-0000000000e1', :'maria', 'Roof');
select (ridgeline.execute_workflow(:'text', '{"project_id": "00000000-0000-4000-8000-0000000000e1"}')).id as run \gset
update public.contacts set assigned_to = '00000000-0000-4000-8000-00000000aaaa' where id = :'maria';
select automation.advance_clock('61 minutes');
select is(pg_temp.sent(), '+15125550101 Sam calls Maria', 'of a project, who is responsible for its contact');

-- WHOSE IT IS
-- One that was started for a project of nobody's follows it, too, and takes no first contact for one that was given.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "key": "task", "config": {"title": "For {{contact.first_name}}"}},
  {"type": "send_sms", "key": "sms", "delay": 60, "config": {"body": "Hi {{contact.first_name}}"}}]') as shed \gset
insert into public.projects (tenant_id, id, name) values (:'apex', '00000000-0000-4000-8000-0000000000e9', 'Shed');
select (ridgeline.execute_workflow(:'shed', '{"project_id": "00000000-0000-4000-8000-0000000000e9"}')).id as run \gset
update public.projects set contact_id = :'maria' where name = 'Shed';
select pg_temp.settle();
select is((pg_temp.only_run(:'shed')).contact_id, :'maria', 'a project of nobody''s, that somebody has by the first step');
update public.projects set contact_id = :'bob' where name = 'Shed';
select pg_temp.settle();
select automation.advance_clock('61 minutes');
create temp table for_shed as select c from automation.claim_steps('w', 10) as c;
select is(array_agg((c.c).payload ->> 'to' || ' ' || ((c.c).payload ->> 'body')), '{+15125550102 Hi Bob}', 'is written about to whose it is by the next') from for_shed as c;
select pg_temp.finish(c.c, 'succeeded', '{"result": {"provider_id": "SM9"}}') from for_shed as c;
select pg_temp.settle();
delete from ridgeline.messages where provider_id = 'SM9';

select pg_temp.workflow(:'apex', 'project_created', '{}', '[{"type": "send_sms", "key": "sms", "delay": 60, "config": {"body": "Hi {{contact.first_name}}"}},
  {"type": "create_task", "key": "task", "config": {"title": "Visit"}}, {"type": "add_tag", "key": "tag", "config": {"tag": "owner"}}]', '[]', '{"exit_events": ["sms_received"]}') as welcome \gset
insert into public.projects (tenant_id, id, contact_id, name) values (:'apex', '00000000-0000-4000-8000-0000000000e2', :'maria', 'Gutter');
update public.projects set contact_id = :'bob' where name = 'Gutter';
select pg_temp.settle();
select is((pg_temp.only_run(:'welcome')).contact_id, :'bob', 'a project that moves to another contact takes its run along');
select automation.advance_clock('61 minutes');
create temp table claimed as select c from automation.claim_steps('w', 10) as c;
select is((c.c).payload ->> 'to' || ' ' || ((c.c).payload ->> 'body'), '+15125550102 Hi Bob', 'and the text goes to that one') from claimed as c;
select pg_temp.finish(c.c, 'succeeded', '{"result": {"provider_id": "SM1"}}') from claimed as c;
select pg_temp.settle();
select is((select contact_id from ridgeline.messages), :'bob', 'as does its copy in the CRM');
select is((select contact_id from public.tasks where title = 'Visit'), :'bob', 'and a task');
select is((select contact_id from public.contact_tags), :'bob', 'and a tag');

create function pg_temp.says(first_name text) returns void
  language sql
  as $$
    insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
    select c.tenant_id, c.id, 'inbound', c.phone, 'Hi' from public.contacts as c where c.first_name = says.first_name
  $$;
insert into public.projects (tenant_id, id, contact_id, name) values (:'apex', '00000000-0000-4000-8000-0000000000e3', :'maria', 'Deck');
update public.projects set contact_id = :'bob' where name = 'Deck';
select pg_temp.says('Maria');
select pg_temp.settle();
select is((pg_temp.only_run(:'welcome')).status, 'waiting', 'what the former contact says is nothing to it any more');
select pg_temp.says('Bob');
select pg_temp.settle();
select is((pg_temp.only_run(:'welcome')).error ->> 'code', 'exit_event', 'what the new one says ends it');
insert into public.projects (tenant_id, id, contact_id, name) values (:'apex', '00000000-0000-4000-8000-0000000000e4', :'maria', 'Barn');
update public.projects set contact_id = :'bob' where name = 'Barn';
select pg_temp.says('Bob');
select pg_temp.settle();
select is((pg_temp.only_run(:'welcome')).error ->> 'code', 'exit_event', 'also when nobody has looked in between');
insert into public.projects (tenant_id, id, contact_id, name) values (:'apex', '00000000-0000-4000-8000-0000000000e5', :'maria', 'Shed');
update public.projects set contact_id = null where name = 'Shed';
select automation.advance_clock('61 minutes');
select is(pg_temp.sent(), null, 'a project that is nobody''s any more texts nobody');
select is((select s.status::text || ' ' || (s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(:'welcome')).id and s.step_key = 'sms'),
  'skipped no_recipient', 'and says so');
select (ridgeline.execute_workflow(:'text', jsonb_build_object('project_id', '00000000-0000-4000-8000-0000000000e5', 'contact_id', :'maria'))).id as run \gset
select automation.advance_clock('61 minutes');
select is(pg_temp.sent(), '+15125550101 Sam calls Maria', 'a contact that was named by hand stays');

-- WHETHER IT IS THERE
create function pg_temp.started(project text) returns uuid
  language sql
  as $$
    insert into public.projects (tenant_id, contact_id, name)
    select c.tenant_id, c.id, project from public.contacts as c where c.first_name = 'Maria';
    select e.id from ridgeline.workflow_executions as e join public.projects as p on p.id::text = e.record_id
    where p.name = project
  $$;
select pg_temp.started('Fence') as fence \gset
set local session_replication_role = replica;
delete from public.projects where name = 'Fence';
set local session_replication_role = origin;
select is((select count(*) from automation.signals where role = 'deleted' and record_id = (select record_id from ridgeline.workflow_executions where id = :'fence')), 0::bigint, 'no trigger saw it go');
select automation.advance_clock('61 minutes');
select is(pg_temp.sent(), null, 'no text about a record that was deleted as a replica');
select is(pg_temp.ended(:'fence'), 'cancelled record_deleted', 'its run has ended');
select pg_temp.started('Porch') as porch \gset
update public.projects set id = gen_random_uuid() where name = 'Porch';
select pg_temp.settle();
select is(pg_temp.ended(:'porch'), 'cancelled record_deleted', 'one whose id was changed ends while it waits');
select pg_temp.workflow(:'apex', 'project_created', '{}', '[{"type": "wait", "config": {"hours": 1}}, {"type": "create_task", "key": "late", "config": {"title": "Late"}}]') as slow \gset
select pg_temp.started('Roof 2');
select pg_temp.settle();
truncate public.projects cascade;
select automation.advance_clock('2 hours');
select pg_temp.settle();
select is((pg_temp.only_run(:'slow')).error ->> 'code', 'record_deleted', 'a table that is emptied at once ends its runs in the database as well');
select is((select count(*) from public.tasks where title = 'Late'), 0::bigint, 'and nothing more is done for them');
update ridgeline.workflows set is_active = false where id in (:'slow', :'welcome');

-- Tables of one's own: partitions that are taken away, and records that are only marked.
create schema crm;
create table crm.leads (tenant_id uuid not null, id bigint not null, phone text, note text, deleted_at timestamptz, primary key (tenant_id, id)) partition by range (id);
create table crm.leads_old partition of crm.leads for values from (0) to (100);
create table crm.leads_new partition of crm.leads for values from (100) to (1000);
select automation.attach('crm.leads', 'lead', '{"deleted": "deleted_at"}');
create table crm.orders (tenant_id uuid not null, id uuid primary key default gen_random_uuid(), phone text, is_deleted boolean not null default false);
select automation.attach('crm.orders', 'order', '{"deleted": "is_deleted"}');
select pg_temp.workflow(:'apex', 'lead_created', '{}', '[{"type": "send_sms", "delay": 60, "config": {"body": "Hi"}}]') as hello \gset
select pg_temp.workflow(:'apex', 'order_created', '{}', '[{"type": "send_sms", "delay": 60, "config": {"body": "Hi"}}]') as order_hello \gset
create function pg_temp.ends(workflow uuid) returns text
  language sql
  as $$ select string_agg(concat_ws(' ', e.record_id, e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e where e.workflow_id = workflow $$;
insert into crm.leads values (:'apex', 1, '+15125550111'), (:'apex', 101, '+15125550112'), (:'apex', 102, '+15125550113');
alter table crm.leads detach partition crm.leads_old;
update crm.leads set deleted_at = now() where id = 102;
select pg_temp.settle();
select is(pg_temp.ends(:'hello'), '1 waiting, 101 waiting, 102 cancelled record_deleted', 'a record that is marked as deleted ends a run that waits');
select automation.advance_clock('61 minutes');
select is(pg_temp.sent(), '+15125550112 Hi', 'a record in a partition that was taken away is texted no more');
select is(pg_temp.ends(:'hello'), '1 cancelled record_deleted, 101 running, 102 cancelled record_deleted', 'and its run has ended');
update crm.leads set note = 'x' where id = 101;
insert into crm.orders (tenant_id, phone) values (:'apex', '+15125550114'), (:'apex', '+15125550115');
set local session_replication_role = replica;
update crm.orders set is_deleted = true where phone = '+15125550114';
set local session_replication_role = origin;
select automation.advance_clock('61 minutes');
select is(pg_temp.sent(), '+15125550115 Hi', 'a boolean does as well');
select is((ridgeline.enroll_records(:'order_hello', null, '[]', 'order')).tenant_id, :'apex', 'everybody is enrolled');
select automation.run_bulk();
select is((select enrolled from ridgeline.bulk_enrollments), 1, 'except who was deleted');
create table crm.notes (tenant_id uuid not null, id uuid primary key, body text, gone text);
select is(pg_temp.error_of($$select automation.attach('crm.notes', 'note', '{"deleted": "gone"}')$$),
  '22023 columns: deleted "gone" is text; it must be boolean, a date or a timestamp', 'a column that cannot say so is refused');
select automation.detach('lead');
insert into crm.orders (tenant_id, phone) values (:'apex', '+15125550116');
select automation.detach('order');
alter table crm.orders rename to orders_2;
select automation.advance_clock('61 minutes');
select is((select status::text from ridgeline.workflow_executions where workflow_id = :'order_hello' order by seq desc limit 1), 'waiting', 'a table that is detached is not judged');

-- WHAT IT SAYS
select (ridgeline.execute_workflow(:'text', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select automation.advance_clock('61 minutes');
delete from claimed;
insert into claimed select c from automation.claim_steps('w', 10) as c where (c).payload ->> 'to' = '+15125550101';
select (c.c).idempotency_key as first_key from claimed as c \gset
select pg_temp.finish(c.c, 'retry', '{"error": {"code": "twilio_http_429", "message": "too many"}, "retry_after_seconds": 600}') from claimed as c;
update public.contacts set first_name = 'Mary', phone = '+15125550199' where id = :'maria';
select automation.advance_clock('2 hours');
delete from claimed;
insert into claimed select c from automation.claim_steps('w', 10) as c where (c).payload ->> 'body' like '%Mar%';
select is((c.c).payload ->> 'to' || ' ' || ((c.c).payload ->> 'body'), '+15125550199 Sam calls Mary', 'after a refusal it is said anew') from claimed as c;
select isnt((c.c).idempotency_key, :'first_key', 'under a key of its own') from claimed as c;
select (c.c).idempotency_key as second_key from claimed as c \gset
select pg_temp.finish(c.c, 'ambiguous', '{"error": {"code": "timeout", "message": "no answer"}}') from claimed as c;
update public.contacts set first_name = 'Marie' where id = :'maria';
select automation.advance_clock('2 hours');
delete from claimed;
insert into claimed select c from automation.claim_steps('w', 10) as c where (c).payload ->> 'body' like '%Mar%';
select is((c.c).payload ->> 'body', 'Sam calls Mary', 'what may have been sent is repeated word for word') from claimed as c;
select is((c.c).idempotency_key, :'second_key', 'under the same key') from claimed as c;
select pg_temp.finish(c.c, 'retry', '{"error": {"code": "twilio_http_429", "message": "too many"}}') from claimed as c;
select automation.advance_clock('2 hours');
delete from claimed;
insert into claimed select c from automation.claim_steps('w', 10) as c where (c).payload ->> 'body' like '%Mar%';
select is((c.c).payload ->> 'body' || ((c.c).idempotency_key = :'second_key'), 'Sam calls Marytrue', 'also after a later refusal') from claimed as c;
select pg_temp.finish(c.c, 'succeeded', '{"result": {"provider_id": "SM9"}}') from claimed as c;

-- WHEN IT IS TOO LATE
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"type": "wait", "config": {"until": "{{custom.visit}}", "offset": "-1 day"}},
  {"type": "create_task", "config": {"title": "Confirm"}},
  {"type": "send_sms", "key": "reminder", "config": {"body": "See you tomorrow"}},
  {"type": "send_sms", "key": "after", "delay": 4320, "config": {"body": "How was it?"}}]') as reminder \gset
select automation.set_clock('2027-03-01 12:00:00+00');
select (ridgeline.execute_workflow(:'reminder', jsonb_build_object('contact_id', :'maria', 'custom', '{"visit": "2027-03-05T15:00:00Z"}'::jsonb))).id as run \gset
select pg_temp.settle();
select automation.set_clock('2027-03-04 15:01:00+00');
select pg_temp.settle();
delete from claimed;
insert into claimed select c from automation.claim_steps('w', 10) as c;
select is(count(*), 1::bigint, 'a reminder is due the day before') from claimed;
select pg_temp.finish(c.c, 'retry', '{"error": {"code": "twilio_http_429", "message": "busy"}, "retry_after_seconds": 86400}') from claimed as c;
select automation.set_clock('2027-03-05 16:00:00+00');
select is(pg_temp.sent(), null, 'it does not go out after the visit');
select is((select s.status::text || ' ' || (s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = :'run' and s.step_key = 'reminder'),
  'skipped expired', 'and says why');
select automation.set_clock('2027-03-08 17:00:00+00');
select is(pg_temp.sent(), '+15125550199 How was it?', 'what was planned for afterwards does go out');
select * from finish();
rollback;

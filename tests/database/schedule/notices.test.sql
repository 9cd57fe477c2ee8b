-- An office that asked for it is told when its automations fail, or when nothing happens any more: once, by whom and how
-- it said, and a notice is never the cause of another.
begin;
\ir ../foundation/story.psql
select plan(67);

select pg_temp.tenant() as apex \gset
select pg_temp.member(:'apex') as sam \gset
create function pg_temp.ask(setting text) returns text language sql
  as $$
    select pg_temp.error_of(format($ask$
      insert into ridgeline.tenant_settings (tenant_id, settings) select t.id, jsonb_build_object('notices', %L::jsonb) from public.tenants as t
      on conflict on constraint tenant_settings_pkey do update set settings = excluded.settings$ask$, setting))
  $$;

-- What is asked for is checked when it is written.
select alike(pg_temp.ask(setting), '22023 settings.notices' || refusal, setting)
from (values
  ('"me"', ': an object is needed%'), ('{"whom": "me"}', '.whom: there is no such setting%'),
  ('{"by": "webhook"}', '.to: the URL that is told%'), ('{"by": "webhook", "to": "boss@apex.example"}', '.to: the URL%'),
  ('{"overdue_after": "1 minute"}', '.overdue_after: a length of time of at least 5 minutes%'), ('{"overdue_after": true}', '.overdue_after: %'),
  ('{"held_after": "soon"}', '.held_after: a length of time of at least an hour%'),
  ('{"by": "fax"}', '.by: task, email or webhook%'), ('{"by": "email"}', '.to: the email address that is told%'),
  ('{"by": "email", "to": "nobody"}', '.to: the email address%'), ('{"to": "nobody"}', '.to: the id of the member%'),
  ('{"every": "1 minute"}', '.every: a length of time of at least 5 minutes%'),
  ('{"silence_after": "soon"}', '.silence_after: a length of time of at least an hour%'),
  ('{"failures": "yes"}', '.failures: true or false%')
) as w (setting, refusal);

select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"type": "update_field", "config": {"field": "lead_score", "value": "{{contact.last_name}}"}}]') as flow \gset
create function pg_temp.look() returns bigint language sql as $$
  select automation.fold_statistics(); select automation.tell_troubles(); select count(*) from public.tasks
$$;
create function pg_temp.fail_once() returns void language plpgsql as $$
begin
  insert into public.contacts (tenant_id, first_name, last_name) select t.id, 'Zoe', 'no number' from public.tenants as t;
  perform pg_temp.settle();
end;
$$;

-- Nobody asked: nobody is told, and nothing piles up.
select pg_temp.fail_once() \g /dev/null
select is(pg_temp.look(), 0::bigint, 'who did not ask is not told');
select is((select count(*) from automation.troubles), 0::bigint, 'and nothing is kept for them');

-- By a task, for Sam.
select is(pg_temp.ask(jsonb_build_object('to', :'sam')::text), null, 'Sam is to be told');
select pg_temp.fail_once() \g /dev/null
select pg_temp.fail_once() \g /dev/null
select is(pg_temp.look(), 1::bigint, 'two failures are one task');
select is((select t.assigned_to from public.tasks as t), :'sam'::uuid, 'Sam''s');
select is((select t.title from public.tasks as t), '2 automations failed', 'that says how many');
select alike((select t.description from public.tasks as t), 'contact_created: 2 since %automation_failures says why.', 'and which');
select pg_temp.fail_once() \g /dev/null
select is(pg_temp.look(), 1::bigint, 'within the hour nothing more is said');
select automation.advance_clock('2 hours') \g /dev/null
select is(pg_temp.look(), 1::bigint, 'and of the same trouble nothing within the day');
select automation.advance_clock('1 day') \g /dev/null
select pg_temp.fail_once() \g /dev/null
select is(pg_temp.look(), 2::bigint, 'the next day it is said again');
select pg_temp.workflow(:'apex', 'contact_updated', '{}', '[
  {"type": "update_field", "config": {"field": "lead_score", "value": "{{contact.last_name}}"}}]') as other \gset
select automation.advance_clock('2 hours') \g /dev/null
update public.contacts set city = 'Austin' where first_name = 'Zoe';
select pg_temp.settle() \g /dev/null
select is(pg_temp.look(), 3::bigint, 'other trouble is news after an hour');

-- By email, through the engine''s own steps.
select is(pg_temp.ask('{"by": "email", "to": "boss@apex.example"}'), null, 'the boss wants an email');
insert into ridgeline.senders (tenant_id, channel, provider, kind, address, is_default)
values (:'apex', 'email', 'resend', 'address', 'office@apex.example', true);
select automation.advance_clock('2 days') \g /dev/null
select pg_temp.fail_once() \g /dev/null
select is(pg_temp.look(), 3::bigint, 'no task this time');
select is((select string_agg(c.payload ->> 'to', ', ') from automation.claim_steps('w', 10) as c), '["boss@apex.example"]',
  'but an email that the dispatcher is given');
-- It fails: that is told by nobody.
select automation.finish_steps(jsonb_agg(jsonb_build_object('tenant_id', q.tenant_id, 'step_id', q.id,
  'attempt_token', q.attempt_token, 'outcome', 'failed', 'error', '{"code": "x", "message": "refused"}'::jsonb)))
from ridgeline.scheduled_steps as q where q.lane = 'email' \g /dev/null
select automation.advance_clock('2 days') \g /dev/null
select pg_temp.look() \g /dev/null
select is((select count(*) from ridgeline.workflow_executions as e join ridgeline.workflows as w on w.id = e.workflow_id
  where automation.is_notice_workflow(w.metadata)), 1::bigint, 'a notice that failed is no news');

-- Silence, once.
select is(pg_temp.ask('{"silence_after": "3 days"}'), null, 'silence is to be told of');
select is(pg_temp.look(), 3::bigint, 'two days are none');
select automation.advance_clock('2 days') \g /dev/null
select is(pg_temp.look(), 4::bigint, 'after three days it is told');
select automation.advance_clock('9 days') \g /dev/null
select is(pg_temp.look(), 4::bigint, 'once');
select is((select t.title from public.tasks as t order by t.created_at desc limit 1), 'No automation has begun for a while', 'as what it is');

-- Nobody does what is due: the dispatcher stands still. Nothing that it would have to carry is of use.
update ridgeline.workflows set is_active = false;
delete from ridgeline.scheduled_steps;
delete from public.tasks;
create function pg_temp.told() returns text language sql
  as $$ select string_agg(t.title, ', ' order by t.created_at, t.title) from public.tasks as t $$;
create function pg_temp.hooks() returns text language sql
  as $$ select string_agg(concat_ws(' ', e.trigger_data #>> '{notice,kind}', e.trigger_data #>> '{notice,to}'), ', ' order by e.seq)
    from ridgeline.workflow_executions as e where e.trigger_data -> 'notice' ->> 'to' like 'https:%' $$;
insert into ridgeline.senders (tenant_id, channel, address, is_default) values (:'apex', 'sms', '+15125550900', true);
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]') as text \gset
select is(pg_temp.ask('{"by": "webhook", "to": "https://boss.example/hook"}'), null, 'a program is to be told');
select pg_temp.contact(:'apex', 'Ann', '+15125550101') as ann \gset
select ridgeline.execute_workflow(:'text', jsonb_build_object('contact_id', :'ann')) \g /dev/null
select automation.advance_clock('14 minutes') \g /dev/null
select pg_temp.look() \g /dev/null
select is(pg_temp.hooks(), null, 'a text that has been due for a quarter of an hour');
select automation.advance_clock('2 minutes') \g /dev/null
select pg_temp.look() \g /dev/null
select is(pg_temp.hooks(), 'overdue https://boss.example/hook', 'is news: webhooks still go out');
select is((select e.trigger_data #>> '{notice,title}' from ridgeline.workflow_executions as e where e.trigger_data ? 'notice' order by e.seq desc limit 1),
  'Automations stand still', 'as what it is');
select pg_temp.look() \g /dev/null
select is(pg_temp.hooks(), 'overdue https://boss.example/hook', 'and is told once');
select automation.advance_clock('20 minutes') \g /dev/null
select pg_temp.look() \g /dev/null
select is(pg_temp.told(), 'Automations stand still', 'that webhook has not gone out either: now it is a task');
select is(pg_temp.ask('{"overdue_after": false}'), null, 'who does not want to hear of it');
select automation.advance_clock('2 days') \g /dev/null
select pg_temp.look() \g /dev/null
select is(pg_temp.told(), 'Automations stand still', 'does not');
-- Whoever looks after the installation is told by the database itself, tasks or no tasks.
select is((select count(*) from automation.notices as n where n.kind = 'no_tick' and n.tenant_id = '00000000-0000-0000-0000-000000000000'), 1::bigint,
  'nothing has ever ticked here: that is one notice');
create schema net;
create table net.posted (url text, body jsonb);
create function net.http_post(url text, body jsonb default '{}', params jsonb default '{}', headers jsonb default '{}', timeout_milliseconds integer default 1000)
  returns bigint language sql as $$ insert into net.posted select url, body; select 1::bigint $$;
select vault.create_secret('https://operator.example/hook', 'ridgeline_notice_url') \g /dev/null
select automation.beat('tick') \g /dev/null
select automation.tell_of_engine() \g /dev/null
select is((select concat_ws(' ', p.url, p.body ->> 'kind') from net.posted as p), 'https://operator.example/hook overdue', 'a tick that works, and a text that is due: the dispatcher');
select alike((select p.body ->> 'text' from net.posted as p), 'steps are due since %dispatcher%', 'in words');
select is((select p.body #>> '{status,is_alive}' from net.posted as p), 'false', 'and with the state of the engine');
select automation.tell_of_engine() \g /dev/null
select is((select count(*) from net.posted), 1::bigint, 'once an hour');
-- What something stands in the way of is due no more, and somebody is told all the same.
delete from automation.notices;
delete from net.posted;
select count(automation.leave_step(s, 'no such table: audit')) from ridgeline.scheduled_steps as s \g /dev/null
select automation.tell_of_engine() \g /dev/null
select is((select count(*) from net.posted), 0::bigint, 'a step that could not go on a moment ago may yet');
select automation.advance_clock('6 minutes') \g /dev/null
update ridgeline.scheduled_steps set run_at = automation.now() + interval '1 minute';
select automation.tell_of_engine() \g /dev/null
select alike((select (p.body ->> 'kind') || ' ' || (p.body ->> 'text') from net.posted as p), 'left _ steps wait since %', 'six minutes on it is told of');
delete from net.posted;
insert into net.posted (body) values ('{"kind": "overdue"}');
delete from ridgeline.scheduled_steps;
update automation.heartbeats set at = clock_timestamp() - interval '6 minutes' where name = 'tick';
delete from automation.notices;
select automation.tell_when_due() \g /dev/null
select is((select string_agg(p.body ->> 'kind', ' ' order by p.body ->> 'kind') from net.posted as p), 'no_tick overdue',
  'and who calls instead of the tick, a dispatcher, tells of the tick');
delete from net.posted;
select automation.beat('tick') \g /dev/null
select automation.tell_of_engine() \g /dev/null
select is((select count(*) from net.posted), 0::bigint, 'a tick that works and nothing that is due: all is well');
alter table public.jobs disable trigger all;
select automation.tell_of_engine() \g /dev/null
select is((select p.body ->> 'kind' || ': ' || (p.body ->> 'text') from net.posted as p),
  'deaf: what is written to public.jobs starts nothing (job: its triggers are disabled). Call automation.attach() again, or detach() it.',
  'a table whose triggers somebody switched off starts nothing, and that is told');
alter table public.jobs enable trigger all;
alter function net.http_post(text, jsonb, jsonb, jsonb, integer) rename to gone;
delete from automation.notices;
select lives_ok('select automation.tell_of_engine()', 'where there is no pg_net the log has it');
create or replace view vault.decrypted_secrets as
  select id, name, description, secret, secret::integer::text as decrypted_secret, key_id, nonce, created_at, updated_at from vault.secrets;
update automation.heartbeats set at = clock_timestamp() - interval '6 minutes' where name = 'tick';
select lives_ok('select automation.tell_of_engine()', 'and so it does where the Vault cannot decrypt whom to tell');
delete from public.tasks;

-- What waits for a person.
select is(pg_temp.ask('{"held_after": "2 hours"}'), null, 'what is held is to be told of');
select ridgeline.execute_workflow(:'text', jsonb_build_object('contact_id', :'ann')) \g /dev/null
select ridgeline.pause_sending('the storm', :'apex') \g /dev/null
select count(*) from automation.claim_steps('w', 10) \g /dev/null
select pg_temp.look() \g /dev/null
select is(pg_temp.told(), null, 'a pause is nothing by itself');
select automation.advance_clock('3 hours') \g /dev/null
select pg_temp.look() \g /dev/null
select is(pg_temp.told(), 'A step waits until somebody lets it go', 'that it is forgotten is');
select alike((select t.description from public.tasks as t), 'sending_paused: 1 since %the storm%', 'with why');
select is(pg_temp.ask('{"by": "email", "to": "boss@apex.example", "held_after": "2 hours"}'), null, 'the boss wants an email again');
select automation.advance_clock('25 hours') \g /dev/null
select pg_temp.look() \g /dev/null
select is(pg_temp.told(), 'A step waits until somebody lets it go, A step waits until somebody lets it go', 'which a pause would hold as well: a task');
select ridgeline.resume_sending(:'apex') \g /dev/null
delete from ridgeline.scheduled_steps;
delete from public.tasks;

-- What cannot be started.
select is(pg_temp.ask('{}'), null, 'whoever is told of failures');
insert into ridgeline.bulk_enrollments (tenant_id, workflow_id, kind, status, entity, error, finished_at)
values (:'apex', :'text', 'manual', 'failed', 'contact', '{"code": "work_cancelled", "message": "it took too long"}', automation.now());
select pg_temp.look() \g /dev/null
select is((select concat_ws(': ', t.title, t.description) from public.tasks as t),
  'An automation could not be started: manual: the enrolment of many was given up: it took too long', 'is told of an enrolment that was given up');

-- The mark of the workflow that tells is not a member's to give, or to take away.
select w.id as tells from ridgeline.workflows as w where automation.is_notice_workflow(w.metadata) and w.metadata ->> 'by' = 'email' \gset
select pg_temp.sign_in(:'sam') \g /dev/null
insert into ridgeline.workflows (tenant_id, name, trigger_type, metadata)
values (:'apex', 'My own', 'manual', '{"ridgeline": "notices", "colour": "red"}') returning id as mine, metadata as said \gset
select is(:'said'::jsonb, '{"colour": "red"}', 'a member''s workflow is no notice, whatever it says of itself');
update ridgeline.workflows set metadata = '{"ridgeline": "notices", "by": "email"}' where id = :'mine' returning metadata as said \gset
select is(:'said'::jsonb, '{"by": "email"}', 'nor does it become one');
update ridgeline.workflows set metadata = '{"by": "webhook", "colour": "red"}' where id = :'tells' returning metadata as said \gset
select is(:'said'::jsonb, '{"ridgeline": "notices", "by": "email", "colour": "red"}', 'and the one that is stays it');
select ridgeline.save_workflow(d -> 'definition' || '{"metadata": {}, "description": "Ours"}', d ->> 'revision') ->> 'saved' as saved
from ridgeline.get_definition(:'tells') as d \gset
select pg_temp.sign_out() \g /dev/null
select is((select concat_ws(' ', :'saved'::text, w.description, w.metadata) from ridgeline.workflows as w where w.id = :'tells'),
  'true Ours {"by": "email", "ridgeline": "notices"}', 'written as a whole, too');
select automation.notice_workflow(:'apex', 'email') as told_by \gset
select is(:'told_by'::text, :'tells', 'and tells as ever');

select * from finish();
rollback;

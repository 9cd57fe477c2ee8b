-- An office that asked for it is told when its automations fail, or when nothing happens any more: once, by whom and how
-- it said, and a notice is never the cause of another.
begin;
\ir ../foundation/story.psql
select plan(29);

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
  ('{"by": "fax"}', '.by: task or email%'), ('{"by": "email"}', '.to: the email address that is told%'),
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

select * from finish();
rollback;

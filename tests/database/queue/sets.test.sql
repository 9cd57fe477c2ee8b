-- Due steps are worked on a set at a time. What one of them breaks, leaves out or holds is its own affair, and each of
-- the others is done once, for its own run.
begin;
\ir ../foundation/story.psql
select plan(30);
-- A set at once, whatever the session did before.
select set_config('automation.portion_size', '800', true);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
create function pg_temp.leads(tenant uuid, variadic names text[]) returns void
  language sql
  as $$
    insert into public.contacts (tenant_id, first_name, phone)
    select tenant, n.name, '+1512555' || (1000 + n.place) from unnest(names) with ordinality as n (name, place)
  $$;
create function pg_temp.outcome(workflow uuid) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', c.first_name, e.status, e.error ->> 'message', r.tasks), ', ' order by c.first_name)
    from ridgeline.workflow_executions as e
    join public.contacts as c on c.id::text = e.record_id
    cross join lateral (select count(*) as tasks from public.tasks as t where t.execution_id = e.id) as r
    where e.workflow_id = outcome.workflow
  $$;

-- ONE BREAKS
create function public.office_rule() returns trigger
  language plpgsql
  as $$ begin if new.title = 'Call Poison' then raise exception 'no such customer'; end if; return new; end $$;
create trigger office_rule before insert on public.tasks for each row execute function public.office_rule();
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "create_task", "config": {"title": "Call {{contact.first_name}}"}}]') as calls \gset
select pg_temp.leads(:'apex', 'Ann', 'Bo', 'Cy', 'Poison', 'Di', 'Eve', 'Flo');
select is(automation.run_database_steps(), 7, 'seven leads at once, one of whom the CRM refuses');
select is(pg_temp.outcome(:'calls'),
  'Ann completed 1, Bo completed 1, Cy completed 1, Di completed 1, Eve completed 1, Flo completed 1, '
  'Poison failed no such customer 0', 'it fails alone, and the others have one task each');
select is((select count(*) from public.tasks as t
  join ridgeline.workflow_step_executions as s on s.result_data ->> 'task_id' = t.id::text and s.execution_id = t.execution_id
  join ridgeline.workflow_executions as e on e.id = t.execution_id and e.contact_id = t.contact_id::text), 6::bigint,
  'what a step says it made is what its run made, for its contact');
select is((select count(*) from ridgeline.scheduled_steps), 0::bigint, 'and nothing is left in the queue');

-- ONE IS LEFT OUT by a trigger of the CRM's own.
create or replace function public.office_rule() returns trigger
  language plpgsql
  as $$ begin if new.title = 'Call Ghost' then return null; end if; return new; end $$;
select pg_temp.leads(:'apex', 'Gil', 'Ghost', 'Hal');
select is(automation.run_database_steps(), 3, 'three more, one of whom the CRM does not write down');
select is(
  (select string_agg(concat_ws(' ', c.first_name, coalesce(t.title, '-')), ', ' order by c.first_name)
   from ridgeline.workflow_step_executions as s
   join ridgeline.workflow_executions as e on e.id = s.execution_id
   join public.contacts as c on c.id::text = e.record_id and c.first_name in ('Gil', 'Ghost', 'Hal')
   left join public.tasks as t on t.id::text = s.result_data ->> 'task_id'),
  'Ghost -, Gil Call Gil, Hal Call Hal', 'nobody is told of another''s task');

-- WHAT FOLLOWS FROM A TASK knows whose it was, though a trigger that runs afterwards writes it.
create function public.note_task() returns trigger
  language plpgsql
  as $$
  begin
    insert into public.projects (tenant_id, contact_id, name) values (new.tenant_id, new.contact_id, new.title);
    return null;
  end $$;
create trigger note_task after insert on public.tasks for each row execute function public.note_task();
select pg_temp.workflow(:'apex', 'project_created', '{}', '[{"type": "stop"}]') as noted \gset
select pg_temp.leads(:'apex', 'Ida', 'Jo', 'Kim');
select is(automation.run_database_steps(), 3, 'three tasks that are projects as well');
select is(
  (select count(*) from ridgeline.workflow_executions as e
   join ridgeline.workflow_executions as first on first.id = e.root_id and first.contact_id = e.contact_id
   where e.workflow_id = :'noted' and e.depth = 1), 3::bigint, 'each is the effect of its own run');
drop trigger note_task on public.tasks;
drop trigger office_rule on public.tasks;
select pg_temp.settle();

-- WAVES: steps follow each other, whatever others of the set do.
update ridgeline.workflows set is_active = false where tenant_id = :'apex';
select pg_temp.workflow(:'blue', 'contact_created', '{}', '[
  {"key": "first", "type": "create_task", "config": {"title": "First {{contact.first_name}}"}},
  {"key": "which", "type": "conditional", "config": {"conditions": [{"field": "contact.first_name", "operator": "equals", "value": "Ann"}]},
    "on": {"then": [{"key": "mark", "type": "update_contact", "config": {"fields": {"source": "seen"}}},
      {"key": "nap", "type": "wait", "config": {"days": 1}}],
     "else": [{"key": "other", "type": "create_task", "config": {"title": "Other {{contact.first_name}}"}}]}},
  {"key": "last", "type": "create_task", "config": {"title": "Last {{contact.first_name}} {{contact.source}}"}}]') as flow \gset
select pg_temp.leads(:'blue', 'Ann', 'Bo');
select is(automation.run_database_steps(), 8, 'as many steps as can be run at once');
create function pg_temp.told(name text) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', s.step_key, s.status), ', ' order by s.seq) from ridgeline.workflow_step_executions as s
    join ridgeline.workflow_executions as e on e.id = s.execution_id
    join public.contacts as c on c.id::text = e.record_id and c.first_name = told.name
    join ridgeline.workflows as w on w.id = e.workflow_id and w.name = 'contact_created' and w.is_active
  $$;
select is(pg_temp.told('Bo'), 'first completed, which completed, other completed, last completed', 'one goes on to its end');
select is(pg_temp.told('Ann'), 'first completed, which completed, mark completed, nap completed', 'the other waits on its way');
select is((select array_agg(s.step_key || ' ' || s.lane) from ridgeline.scheduled_steps as s), '{last database}', 'for the step that comes next');
select automation.advance_clock('1 day');
select is(automation.run_database_steps(), 1, 'a day later it goes on');
select is((select array_agg(title order by id) from public.tasks where tenant_id = :'blue'),
  '{First Ann,First Bo,Other Bo,"Last Bo ","Last Ann seen"}', 'and sees what the step before it has written');
select is((select count(*) from ridgeline.workflow_step_executions as s where tenant_id = :'blue' group by execution_id, step_key order by 1 desc limit 1),
  1::bigint, 'nothing was done twice');

-- A CLAIM of many, and what it leaves.
update ridgeline.workflows set is_active = false where tenant_id = :'blue';
select pg_temp.workflow(:'blue', 'contact_created', '{}', '[
  {"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}", "to": "{{contact.phone}}", "purpose": "transactional"}}]') as texts \gset
insert into public.contacts (tenant_id, first_name, phone)
values (:'blue', 'Lee', '+15125552001'), (:'blue', 'Mo', 'call the office'), (:'blue', 'Ned', '+15125552003'), (:'blue', 'Opt', '+15125552004');
select automation.suppress(:'blue', 'sms', '+15125552004', 'opt_out');
create temp table claims as select * from automation.claim_steps('w', 100);
select is((select array_agg(c.payload ->> 'body' order by c.payload ->> 'body') from claims as c), '{"Hi Lee","Hi Ned"}',
  'those that can be sent are claimed');
select is(
  (select string_agg(concat_ws(' ', c.first_name, s.error ->> 'code'), ', ' order by c.first_name) from ridgeline.workflow_step_executions as s
   join ridgeline.workflow_executions as e on e.id = s.execution_id join public.contacts as c on c.id::text = e.record_id
   where s.status = 'skipped' and e.workflow_id = :'texts'),
  'Mo invalid_recipient, Opt suppressed', 'the others are closed, each with its reason');
select is((select count(distinct attempt_token) from ridgeline.scheduled_steps), 2::bigint, 'every lease has a token of its own');

-- RESULTS of many: one that is there twice, one of another token, two that name one message.
create function pg_temp.report(c claims, more jsonb) returns jsonb
  language sql
  as $$ select jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id, 'attempt_token', c.attempt_token,
    'outcome', 'succeeded') || more $$;
create temp table finished as
select f.* from automation.finish_steps((
  select jsonb_agg(pg_temp.report(c, '{"result": {"provider_id": "SM1"}}') order by c.payload ->> 'body')
    || jsonb_agg(pg_temp.report(c, '{"result": {"provider_id": "SM9"}}') order by c.payload ->> 'body')
    || jsonb_agg(pg_temp.report(c, jsonb_build_object('attempt_token', gen_random_uuid())))
  from claims as c)) as f;
select is((select count(*) from finished), 6::bigint, 'each report is answered');
select is((select array_agg(f.accepted order by n) from (select f.*, row_number() over () as n from finished as f) as f),
  '{t,t,f,f,f,f}', 'the first of each step counts, under its own token');
select is((select array_agg(f.status order by n) from (select f.*, row_number() over () as n from finished as f) as f where f.accepted),
  '{completed,waiting}', 'a message belongs to one step only; the other one is looked up');
select is((select count(*) from ridgeline.workflow_step_executions where provider_id = 'SM1'), 1::bigint, 'and is recorded once');
select is((select array_agg(m.body) from ridgeline.messages as m where m.tenant_id = :'blue'), '{"Hi Lee"}', 'the CRM shows what was sent');

-- ANSWERS to one number are not claimed together: the second one is counted against the first.
delete from ridgeline.scheduled_steps;
select pg_temp.workflow(:'apex', 'sms_received', '{}', '[{"type": "send_sms", "config": {"body": "Hello", "to": "+15125553001", "purpose": "transactional"}}]');
select pg_temp.workflow(:'apex', 'sms_received', '{}', '[{"type": "send_sms", "config": {"body": "Again", "to": "+15125553001", "purpose": "transactional"}}]');
update ridgeline.tenant_settings set settings = '{"conversation_brake": {"texts": 1}}' where tenant_id = :'apex';
insert into ridgeline.tenant_settings (tenant_id, settings) values (:'apex', '{"conversation_brake": {"texts": 1}}') on conflict do nothing;
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Pat', '+15125553001');
insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body, status, provider, provider_id)
values (:'apex', 'inbound', '+15125553001', '+15125550000', 'Hi', 'received', 'twilio', 'SMin');
select is((select count(*) from ridgeline.scheduled_steps where lane = 'sms'), 2::bigint, 'two workflows answer one text');
select is((select count(*) from automation.claim_steps('w', 10)), 1::bigint, 'one answer goes out, where one is allowed');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'the other one does not');
select is((select array_agg(s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.status = 'skipped' and s.tenant_id = :'apex'),
  '{conversation_brake}', 'and says why');

-- WHOM THEY SPEAK OF
-- Two offices have the same person, who is called otherwise in each.
insert into public.tenant_members (tenant_id, user_id, role, full_name) values
  (:'apex', '00000000-0000-4000-8000-00000000000a', 'owner', 'Sam'), (:'apex', '00000000-0000-4000-8000-00000000000b', 'member', 'Lee'),
  (:'blue', '00000000-0000-4000-8000-00000000000a', 'member', 'Samuel');
select pg_temp.workflow(t.id, 'contact_created', '{"source": "fair"}',
  '[{"type": "create_task", "config": {"title": "{{contact.first_name}}: {{user.full_name | default: \"nobody\"}} of {{tenant.name}}"}}]')
from public.tenants as t;
insert into public.contacts (tenant_id, first_name, source, assigned_to) values
  (:'apex', 'Uma', 'fair', '00000000-0000-4000-8000-00000000000b'), (:'blue', 'Vic', 'fair', '00000000-0000-4000-8000-00000000000a'),
  (:'apex', 'Wes', 'fair', null), (:'apex', 'Xia', 'fair', '00000000-0000-4000-8000-00000000000a'),
  (:'blue', 'Yul', 'fair', '00000000-0000-4000-8000-00000000000b');
select automation.run_database_steps();
select is((select array_agg(t.title order by t.title) from public.tasks as t where t.title like '%: % of %'),
  '{Uma: Lee of Apex Roofing,Vic: Samuel of Blue Ridge Solar,Wes: nobody of Apex Roofing,Xia: Sam of Apex Roofing,Yul: nobody of Blue Ridge Solar}',
  'each task names the user of its own record, in its own office');

-- A host whose people sign in by another id than the one they are known by: who wrote it, where nobody is responsible.
alter table public.tenant_members add column login uuid;
insert into public.tenant_members (tenant_id, user_id, login, role, full_name)
values (:'apex', gen_random_uuid(), '00000000-0000-4000-8000-0000000000ff', 'member', 'Dee');
select automation.attach_members('public.tenant_members', '{"login": "login"}');
select set_config('request.jwt.claims', '{"sub": "00000000-0000-4000-8000-0000000000ff", "role": "authenticated"}', true);
insert into public.contacts (tenant_id, first_name, source, assigned_to) values
  (:'apex', 'Zed', 'fair', '00000000-0000-4000-8000-00000000dead'), (:'apex', 'Zip', 'fair', '00000000-0000-4000-8000-00000000000b'),
  (:'apex', 'Zoe', 'fair', null);
select set_config('request.jwt.claims', '', true);
select automation.run_database_steps();
select is((select array_agg(t.title order by t.title) from public.tasks as t where t.title like 'Z%: % of %'),
  '{Zed: nobody of Apex Roofing,Zip: Lee of Apex Roofing,Zoe: Dee of Apex Roofing}',
  'who signed in is found by their own run alone, after one whose responsible person has left');

-- ONE THAT HAS NOTHING TO DO comes first: the others are done with it, in one wave, and not one by one.
select pg_temp.workflow(:'apex', 'contact_created', '{"source": "show"}',
  '[{"type": "create_task", "config": {"title": "Call"}, "conditions": [{"field": "contact.lead_score", "operator": "greater_than", "value": 0}]}]') as shown \gset
create function pg_temp.no_halves() returns void
  language plpgsql
  as $$
  begin
    execute replace(pg_get_functiondef('automation.run_halves'::regproc), 'begin', $b$begin raise exception 'taken apart';$b$);
  end $$;
select pg_temp.no_halves();
insert into public.contacts (tenant_id, first_name, source, lead_score)
select :'apex', n.name, 'show', n.score from (values ('Abe', 0), ('Bea', 1), ('Cal', 2)) as n (name, score);
select automation.run_database_steps();
select is(pg_temp.outcome(:'shown'), 'Abe completed 0, Bea completed 1, Cal completed 1', 'a set that one who is skipped begins');

select * from finish();
rollback;

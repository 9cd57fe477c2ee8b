-- Two records of one person become one: what the engine keeps of the one that goes moves along, and nobody hears a
-- thing twice.
begin;
\ir ../foundation/story.psql
select plan(58);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Bluff Roofing') as bluff \gset
insert into ridgeline.senders (tenant_id, channel, address, registration, limits)
values (:'apex', 'sms', '+15125550199', 'registered', '{"per_second": 0}');
select automation.set_clock('2026-11-24T18:00:00Z');
create function pg_temp.fate(execution uuid) returns text
  language sql
  as $$ select concat_ws(' ', e.status, e.error ->> 'code', case e.contact_id when e.trigger_data ->> 'contact_id' then null else 'torn' end)
    from ridgeline.workflow_executions as e where e.id = execution $$;
create function pg_temp.run_of(workflow uuid, record text) returns uuid
  language sql
  as $$ select e.id from ridgeline.workflow_executions as e where e.workflow_id = workflow and e.record_id = record order by e.seq desc limit 1 $$;

select pg_temp.contact(:'apex', 'Maria', '+15125550101') as loser \gset
select pg_temp.contact(:'apex', 'Maria', '+15125550102') as winner \gset
update public.contacts set email = 'old@example.com' where id = :'loser';
update public.contacts set email = 'new@example.com' where id = :'winner';

-- A run of the one that goes, at its second step; nothing of the other in that workflow.
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "quoted"}', '[
  {"type": "create_task", "config": {"title": "First"}},
  {"type": "wait", "config": {"days": 2}},
  {"type": "send_sms", "config": {"purpose": "transactional", "body": "Still there, {{contact.first_name}}?"}}]', '[]',
  '{"reentry": "never", "exit_events": ["sms_received"]}') as chase \gset
-- One that both are in.
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "quoted"}', '[
  {"type": "wait", "config": {"days": 1}}, {"type": "create_task", "config": {"title": "Both"}}]') as both_in \gset
-- One about projects: theirs stay two.
select pg_temp.workflow(:'apex', 'project_created', '{}', '[
  {"type": "wait", "config": {"days": 1}}, {"type": "create_task", "config": {"title": "About {{project.name}} of {{contact.phone}}"}}]') as projects \gset
-- One about projects that takes each customer once.
select pg_temp.workflow(:'apex', 'project_created', '{}', '[
  {"type": "wait", "config": {"days": 1}}, {"type": "create_task", "config": {"title": "Once a customer"}}]', '[]',
  '{"reentry": "not_while_open", "dedupe_key": "{{contact.id}}"}') as once_each \gset
update public.contacts set stage = 'quoted' where id = :'loser';
select pg_temp.settle();
select automation.advance_clock('1 hour');
update ridgeline.workflows set is_active = false where id = :'chase';
update public.contacts set stage = 'quoted' where id = :'winner';
update ridgeline.workflows set is_active = true where id = :'chase';
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'loser', 'Roof'), (:'apex', :'winner', 'Shed');
select pg_temp.settle();
select pg_temp.run_of(:'chase', :'loser') as chasing \gset
select pg_temp.run_of(:'both_in', :'loser') as both_first \gset
select pg_temp.run_of(:'both_in', :'winner') as both_second \gset
select is(pg_temp.fate(:'chasing') || ', ' || pg_temp.fate(:'both_first') || ', ' || pg_temp.fate(:'both_second'), 'waiting, waiting, waiting', 'runs of both');

-- What else there is of the one that goes.
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body) values (:'apex', :'loser', 'outbound', '+15125550199', '+15125550101', 'Hello');
insert into ridgeline.calls (tenant_id, contact_id, direction, from_number, to_number, status) values (:'apex', :'loser', 'inbound', '+15125550101', '+15125550199', 'completed');
insert into automation.marketing_sent (tenant_id, person, step_id, at) values (:'apex', :'loser', gen_random_uuid(), automation.now()), (:'apex', :'winner', gen_random_uuid(), automation.now());
select pg_temp.workflow(:'apex', 'time_elapsed', '{"field": "custom_fields.inspected_on", "offset": "9 days"}') as timed \gset
update public.contacts set custom_fields = '{"inspected_on": "2026-11-24"}' where id = :'loser';
select is((select count(*) from ridgeline.workflow_timers where record_id = :'loser'), 1::bigint, 'a timer of the one that goes');
-- And of another person, whom all this is no business of.
select pg_temp.contact(:'apex', 'Ann', '+15125550103') as ann \gset
update public.contacts set stage = 'quoted' where id = :'ann';
select pg_temp.settle();

-- What cannot be.
select is(pg_temp.error_of(format('select ridgeline.merge_contacts(%L, %L, %L)', :'winner', :'winner', :'apex')), '22023 into_contact: a contact is not merged into itself', 'into itself');
select is(left(pg_temp.error_of(format('select ridgeline.merge_contacts(%L, %L, %L)', :'loser', gen_random_uuid(), :'apex')), 19), 'PT404 into_contact:', 'into nobody');
select is(left(pg_temp.error_of(format('select ridgeline.merge_contacts(%L, %L, %L)', :'loser', :'winner', :'bluff')), 19), 'PT404 into_contact:', 'in another office');
select is(pg_temp.error_of(format('select ridgeline.merge_contacts(%L, null, %L)', :'loser', :'apex')), '22023 from_contact: both contacts are needed', 'with one of them');
select pg_temp.member(:'bluff') as stranger \gset
select pg_temp.sign_in(:'stranger');
select is(pg_temp.error_of(format('select ridgeline.merge_contacts(%L, %L)', :'loser', :'winner')) like 'PT404 into_contact%', true, 'a member of another office finds nobody');
select is(pg_temp.error_of(format('select ridgeline.merge_contacts(%L, %L, %L)', :'loser', :'winner', :'apex')) like 'PT404 tenant_id%', true, 'nor this office');
select is(pg_temp.error_of(format('select automation.merge_contacts(%L, %L, %L)', :'apex', :'loser', :'winner')) like '42501 role:%', true, 'nor by the way behind');
select pg_temp.sign_out();
select is(pg_temp.fate(:'chasing'), 'waiting', 'none of which did anything');

-- The merge, by somebody of the office; the CRM moves its own rows first and deletes the loser after.
select pg_temp.member(:'apex') as sam \gset
select pg_temp.sign_in(:'sam');
select ridgeline.merge_contacts(:'loser', :'winner') as merged \gset
select pg_temp.sign_out();
select is(:'merged'::jsonb - 'merged' - 'into', '{"moved_runs": 4, "ended_runs": 2, "revocations": 0}'::jsonb, 'what was done');
update public.projects set contact_id = :'winner' where contact_id = :'loser';
delete from public.contacts where id = :'loser';
select pg_temp.settle();
select is(pg_temp.fate(:'chasing'), 'waiting', 'the run goes on');
select is((select e.record_id || ' ' || e.contact_id from ridgeline.workflow_executions as e where e.id = :'chasing'), :'winner' || ' ' || :'winner', 'about the one that stays');
select is(pg_temp.fate(:'both_first') || ', ' || pg_temp.fate(:'both_second'), 'waiting, cancelled merged', 'of two the one that began first');
select is((select e.error ->> 'execution_id' from ridgeline.workflow_executions as e where e.id = :'both_second'), :'both_first', 'which the other names');
select is((select count(*) from ridgeline.workflow_executions as e where e.workflow_id = :'projects' and e.finished_at is null and e.contact_id = :'winner'), 2::bigint, 'two projects stay two');
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e where e.workflow_id = :'once_each'), 'waiting, cancelled merged', 'but for a workflow that takes a customer once');
select is((select string_agg(m.body, ', ') from ridgeline.messages as m where m.contact_id = :'winner'), 'Hello', 'what was written');
select is((select count(*) from ridgeline.calls as c where c.contact_id = :'winner'), 1::bigint, 'and said');
select is((select count(*) from automation.marketing_sent as m where m.person = :'winner'), 2::bigint, 'the count of marketing is of both');
select is((select count(*) from ridgeline.workflow_timers where record_id = :'loser'), 0::bigint, 'a timer goes with its record');
select is((select count(*) from ridgeline.workflow_executions as e where e.contact_id = :'ann' and e.status = 'waiting'), 2::bigint, 'nobody else''s runs are touched');

-- Again, and the other way round.
select is(ridgeline.merge_contacts(:'loser', :'winner', :'apex') - 'merged' - 'into', '{"moved_runs": 0, "ended_runs": 0, "revocations": 0}'::jsonb, 'called again it finds nothing more to do');
select is(pg_temp.error_of(format('select ridgeline.merge_contacts(%L, %L, %L)', :'winner', :'loser', :'apex')) like 'PT404 into_contact%', true, 'back into the one that is gone');

-- What comes then, comes once, to the number of the one that stays.
select automation.advance_clock('25 hours');
select pg_temp.settle();
select is((select string_agg(t.title, ', ' order by t.title) from public.tasks as t where t.contact_id = :'winner'),
  'About Roof of +15125550102, About Shed of +15125550102, Both, Once a customer', 'each thing once');
select automation.advance_clock('1 day');
select pg_temp.settle();
create temp table sent as select c as claimed from automation.claim_steps('w', 10) as c;
select is((select string_agg((s.claimed).payload ->> 'to' || ' ' || ((s.claimed).payload ->> 'body'), '; ') from sent as s where (s.claimed).payload ->> 'to' <> '+15125550103'), '+15125550102 Still there, Maria?', 'the text goes to the number that she has now');
-- An answer from there ends it.
select pg_temp.finish(s.claimed, 'succeeded', jsonb_build_object('result', jsonb_build_object('provider_id', (s.claimed).step_id))) from sent as s;
-- Re-entry remembers her under the new name.
update public.contacts set stage = 'new' where id = :'winner';
update public.contacts set stage = 'quoted' where id = :'winner';
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions as e where e.workflow_id = :'chase' and e.record_id = :'winner'), 1::bigint, 'who was in it does not enter again under another name');
select is(ridgeline.explain_enrollment(:'chase', jsonb_build_object('contact_id', :'winner')) #>> '{reentry,last_execution_id}', :'chasing', 'explain_enrollment knows why');

-- The loser is deleted first, in the same transaction.
select pg_temp.contact(:'apex', 'Otto', '+15125550111') as otto \gset
select pg_temp.contact(:'apex', 'Otto', '+15125550112') as otto2 \gset
update public.contacts set stage = 'quoted' where id = :'otto';
select pg_temp.settle();
select pg_temp.run_of(:'both_in', :'otto') as otto_run \gset
delete from public.contacts where id = :'otto';
select is((select count(*) from automation.signals where record_id = :'otto' and role = 'deleted'), 1::bigint, 'deleted, its runs would end');
select (ridgeline.merge_contacts(:'otto', :'otto2', :'apex') ->> 'moved_runs')::integer as moved \gset
select pg_temp.settle();
select is(pg_temp.fate(:'otto_run'), 'waiting', 'merged afterwards they go on');
select is((select e.record_id from ridgeline.workflow_executions as e where e.id = :'otto_run'), :'otto2', 'about the other');

-- Events on their way.
select pg_temp.contact(:'apex', 'Pia', '+15125550121') as pia \gset
select pg_temp.contact(:'apex', 'Pia', '+15125550122') as pia2 \gset
update public.contacts set stage = 'quoted' where id = :'pia';
select pg_temp.settle();
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body) values (:'apex', :'pia', 'inbound', '+15125550121', '+15125550199', 'Stop by on Friday');
select ridgeline.merge_contacts(:'pia', :'pia2', :'apex') is not null as done \gset
delete from public.contacts where id = :'pia';
select pg_temp.settle();
select is((pg_temp.fate(pg_temp.run_of(:'chase', :'pia2'))), 'cancelled exit_event', 'a reply that was not read yet still ends the run');

-- A run that nobody could see when it was merged: it follows at its next step.
select pg_temp.contact(:'apex', 'Lea', '+15125550131') as lea \gset
select pg_temp.contact(:'apex', 'Lea', '+15125550132') as lea2 \gset
select ridgeline.merge_contacts(:'lea', :'lea2', :'apex') is not null as done \gset
update public.contacts set stage = 'quoted' where id = :'lea';
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'lea', 'Porch');
delete from automation.signals;
alter table public.contacts disable trigger automation_capture_delete;
delete from public.contacts where id = :'lea';
alter table public.contacts enable trigger automation_capture_delete;
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions as e where e.record_id = :'lea2' and e.workflow_id in (:'chase', :'both_in') and e.status = 'waiting'), 2::bigint, 'late runs follow');

-- A chain of merges.
select pg_temp.contact(:'apex', 'Lea', '+15125550133') as lea3 \gset
select ridgeline.merge_contacts(:'lea2', :'lea3', :'apex') is not null as done \gset
delete from public.contacts where id = :'lea2';
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions as e where e.record_id = :'lea3' and e.workflow_id in (:'chase', :'both_in') and e.status = 'waiting'), 2::bigint, 'merged once more they follow once more');
select is(automation.merged_into(:'apex', :'lea'), :'lea3', 'and the first name leads to the last');

-- CONSENT
select pg_temp.contact(:'apex', 'Quinn', '+15125550141') as quinn \gset
select pg_temp.contact(:'apex', 'Quinn', '+15125550142') as quinn2 \gset
update public.contacts set email = 'q1@example.com' where id = :'quinn';
update public.contacts set email = 'q2@example.com' where id = :'quinn2';
select (ridgeline.record_revocation('sms', '+15125550141', 'on the phone', tenant_id => :'apex')).status \gset
select (ridgeline.record_revocation('email', 'q1@example.com', 'on the phone', 'marketing', :'apex')).status \gset
select is((ridgeline.merge_contacts(:'quinn', :'quinn2', :'apex') ->> 'revocations')::integer, 2, 'what she took back under one name');
delete from public.contacts where id = :'quinn';
select is((select string_agg(s.channel || ' ' || s.address || ' ' || s.purpose, ', ' order by s.channel, s.address) from ridgeline.suppressions as s where s.address in ('+15125550142', 'q2@example.com')),
  'email q2@example.com marketing, sms +15125550142 all', 'she has taken back under the other, each for what it was');
select is((select string_agg(c.method || ' ' || (c.evidence ->> 'merged'), ', ') from ridgeline.consents as c where c.address = '+15125550142'), 'merge ' || :'quinn', 'with the evidence');
select is((select count(*) from automation.revoked_people as p where p.contact_id = :'quinn2' and p.address = '+15125550141'), 1::bigint, 'and at any number she may get');
select is(ridgeline.merge_contacts(:'quinn', :'quinn2', :'apex') ->> 'revocations', '0', 'once');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"purpose": "transactional", "body": "Hi"}}]') as texting \gset
select (ridgeline.execute_workflow(:'texting', jsonb_build_object('contact_id', :'quinn2'))).id as quiet \gset
select is((select count(*) from automation.claim_steps('w', 10) as c where c.payload ->> 'to' = '+15125550142'), 0::bigint, 'nothing goes to her');
-- The other way round: who stays had said stop.
select pg_temp.contact(:'apex', 'Rob', '+15125550151') as rob \gset
select pg_temp.contact(:'apex', 'Rob', '+15125550152') as rob2 \gset
select (ridgeline.record_revocation('sms', '+15125550152', 'at the door', tenant_id => :'apex')).status \gset
select ridgeline.merge_contacts(:'rob', :'rob2', :'apex') is not null as done \gset
delete from public.contacts where id = :'rob';
select is((select count(*) from automation.revoked_people as p where p.contact_id = :'rob2'), 1::bigint, 'stays stopped');
-- A family's number says nothing about who it was.
select pg_temp.contact(:'apex', 'Sue', '+15125550161') as sue \gset
select pg_temp.contact(:'apex', 'Sam', '+15125550161') as sam_too \gset
select pg_temp.contact(:'apex', 'Sue', '+15125550162') as sue2 \gset
select (ridgeline.record_revocation('sms', '+15125550161', 'somebody there', tenant_id => :'apex')).status \gset
select is((ridgeline.merge_contacts(:'sue', :'sue2', :'apex') ->> 'revocations')::integer, 0, 'a number that others have too');
select is((select count(*) from ridgeline.suppressions as s where s.address = '+15125550162'), 0::bigint, 'silences none of her own');
select is((select count(*) from ridgeline.suppressions as s where s.address = '+15125550161'), 1::bigint, 'but stays silenced itself');
-- A mailbox of an office.
select pg_temp.contact(:'apex', 'Tom', '+15125550171') as tom \gset
select pg_temp.contact(:'apex', 'Tom', '+15125550172') as tom2 \gset
update public.contacts set email = 'office@tom.example' where id = :'tom2';
update public.contacts set email = 'tom@tom.example' where id = :'tom';
select (ridgeline.record_revocation('email', 'tom@tom.example', 'wrote', tenant_id => :'apex')).status \gset
select is((ridgeline.merge_contacts(:'tom', :'tom2', :'apex') ->> 'revocations')::integer, 0, 'an office''s mailbox is not silenced for one who worked there');
-- A bounce is of a mailbox and not of a person.
select pg_temp.contact(:'apex', 'Uma', '+15125550181') as uma \gset
select pg_temp.contact(:'apex', 'Uma', '+15125550182') as uma2 \gset
update public.contacts set email = 'u1@example.com' where id = :'uma';
update public.contacts set email = 'u2@example.com' where id = :'uma2';
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (:'apex', 'email', 'u1@example.com', 'bounce');
select is((ridgeline.merge_contacts(:'uma', :'uma2', :'apex') ->> 'revocations')::integer, 0, 'a mailbox that is full is no word of hers');
-- Both have one number: it is one number.
select pg_temp.contact(:'apex', 'Vic', '+15125550191') as vic \gset
select pg_temp.contact(:'apex', 'Victor', '+15125550191') as vic2 \gset
select (ridgeline.record_revocation('sms', '+15125550191', 'wrote', tenant_id => :'apex')).status \gset
select is((ridgeline.merge_contacts(:'vic', :'vic2', :'apex') ->> 'revocations')::integer, 0, 'with one number there is nothing to add');

-- While one office's merge waits, what is due beside it is done by its own workflow, whichever office comes first.
select set_config('automation.portion_size', '800', true);
create temp table offices as
  select pg_temp.tenant(n) as id, n as name from unnest('{Cedar,Dune,Elm}'::text[]) as n;
select pg_temp.workflow(o.id, 'contact_created', '{"source": "fair"}',
  jsonb_build_array(jsonb_build_object('type', 'create_task', 'config', jsonb_build_object('title', 'Call for ' || o.name))))
from offices as o;
insert into public.contacts (tenant_id, first_name, source) select o.id, o.name, 'fair' from offices as o;
insert into automation.merges_due (tenant_id, contact_id, into_contact_id, next_try_at)
select c.tenant_id, c.id, gen_random_uuid(), clock_timestamp() + interval '1 hour'
from public.contacts as c where c.tenant_id = (select min(o.id::text)::uuid from offices as o);
select automation.run_database_steps();
select is(
  (select array_agg(o.name || ': ' || t.title order by o.id) from public.tasks as t join offices as o on o.id = t.tenant_id),
  (select array_agg(o.name || ': Call for ' || o.name order by o.id) from offices as o
    where o.id > (select min(m.id::text)::uuid from offices as m)), 'each of the others has the task of its own office');
delete from automation.merges_due;

-- A text that is on its way when they are merged.
select pg_temp.contact(:'apex', 'Wim', '+15125550193') as wim \gset
select pg_temp.contact(:'apex', 'Wim', '+15125550194') as wim2 \gset
select (ridgeline.execute_workflow(:'texting', jsonb_build_object('contact_id', :'wim'))).id as wims \gset
select (ridgeline.execute_workflow(:'texting', jsonb_build_object('contact_id', :'wim2'))).id as wims2 \gset
delete from sent;
insert into sent select c from automation.claim_steps('w', 1) as c where c.payload ->> 'to' = '+15125550193';
select is((select count(*) from sent), 1::bigint, 'the text to one of them is leased');
select ridgeline.merge_contacts(:'wim', :'wim2', :'apex') is not null as done \gset
select is(pg_temp.fate(:'wims') || ', ' || pg_temp.fate(:'wims2'), 'running, cancelled merged', 'the other run ends');
select is((select count(*) from automation.claim_steps('w', 10) as c), 0::bigint, 'and no second text goes out');
select is((select pg_temp.finish(s.claimed, 'succeeded', '{"result": {"provider_id": "SMW"}}') from sent as s), 'completed', 'the first is written down');
select is(pg_temp.fate(:'wims'), 'completed', 'and its run goes on');

-- A viewer only looks.
update public.tenant_members set role = 'member' where user_id = :'sam';
select is(has_function_privilege('anon', 'ridgeline.merge_contacts(text, text, uuid)', 'execute'), false, 'anon merges nobody');
select is(has_table_privilege('authenticated', 'automation.merged_contacts', 'select'), false, 'and members do not read who was who');
select is((select count(*) from automation.signals where kept_for is null), 0::bigint, 'no signal is left');
select is((select count(*) from ridgeline.automation_failures), 0::bigint, 'and nothing failed');
select * from finish();
rollback;

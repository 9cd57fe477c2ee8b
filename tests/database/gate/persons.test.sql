-- A person is one person, however many rows and addresses they have: the office's cap counts them once, and so does the law where they live.
begin;
\ir ../foundation/story.psql
select plan(27);
set client_min_messages = error;
set automation.quiet_hours = on;
select automation.set_clock('2026-06-03 17:00+00');

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing", "expires_after": "30 days"}}]') as offer \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Skip me", "purpose": "marketing", "over_cap": "skip"}}]') as lesser \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Your visit", "purpose": "transactional"}}]') as visit \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_email", "config": {"subject": "An offer", "text": "Hi", "purpose": "transactional"}}]') as receipt \gset
update public.tenants set address = '1 Main St' where id = :'apex';
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_email", "config": {"subject": "An offer", "text": "Hi", "purpose": "marketing", "expires_after": "30 days"}}]') as mail \gset
create function pg_temp.sent(workflow uuid, contact uuid) returns text
  language plpgsql
  as $$
declare
  run constant uuid := (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact))).id;
begin
  perform automation.claim_steps('w', 100);
  return coalesce((select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = run),
    (select concat_ws(' ', 'held', q.held ->> 'code', round(extract(epoch from q.run_at - automation.now()) / 3600)) from ridgeline.scheduled_steps as q where q.execution_id = run));
end;
$$;

-- ONE A DAY
update public.tenants set settings = '{"marketing_cap": {"per_day": 1}}' where id = :'apex';
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Maria', '+15125550101', 'maria@example.com') returning id as maria \gset
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Maria', '+15125550101', 'maria@work.example') returning id as same_number \gset
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Maria', '+15125550102', 'maria@work.example') returning id as same_email \gset
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Bob', '+15125550103', 'bob@example.com') returning id as bob \gset
select is(pg_temp.sent(:'offer', :'maria'), 'running', 'her first offer goes');
select is(pg_temp.sent(:'offer', :'same_number'), 'held cap 24', 'another row with her number is she');
select is(pg_temp.sent(:'mail', :'maria'), 'held cap 24', 'so is her email');
select is(pg_temp.sent(:'mail', :'same_email'), 'running', 'an address that nothing went to yet has its own');
select is(pg_temp.sent(:'offer', :'same_email'), 'held cap 24', 'and its row with it');
select is(pg_temp.sent(:'offer', :'bob'), 'running', 'somebody else is somebody else');
select is(pg_temp.sent(:'visit', :'maria'), 'running', 'what serves her is not counted');
delete from ridgeline.scheduled_steps;
-- A family's telephone: two people, one number that rings.
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Ann', '+15125550110') returning id as ann \gset
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Cy', '+15125550110') returning id as cy \gset
select is(pg_temp.sent(:'offer', :'ann'), 'running', 'the first of a family');
select is(pg_temp.sent(:'offer', :'cy'), 'held cap 24', 'the second waits: it is one telephone');
delete from ridgeline.scheduled_steps;
-- Together in one claim.
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Di', '+15125550120') returning id as di \gset
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Di', '+15125550120') returning id as di_again \gset
select count(ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', v.id))) from (values (:'di'::uuid), (:'di_again'), (:'bob')) as v (id) \g /dev/null
select is((select count(*) from automation.claim_steps('w', 100)), 1::bigint, 'of two that are claimed together one goes');
delete from ridgeline.scheduled_steps;
-- What was certainly not sent does not count.
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Eve', '+15125550130') returning id as eve \gset
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'eve'))).id as eve_run \gset
create temp table refused as select pg_temp.finish(c, 'failed', '{"error": {"code": "30007", "message": "filtered"}}') from automation.claim_steps('w', 10) as c;
select is(pg_temp.sent(:'offer', :'eve'), 'running', 'one that was refused for good is not one that she got');
-- Given back unsent, and sent later: once.
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Flo', '+15125550140') returning id as flo \gset
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'flo'))).id as flo_run \gset
create temp table given_back as select automation.release_steps(jsonb_agg(jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id, 'attempt_token', c.attempt_token))) as number from automation.claim_steps('w', 10) as c;
select is((select number from given_back), 1, 'a dispatcher that stops gives its text back');
select is((select count(*) from automation.claim_steps('w', 10)), 1::bigint, 'it goes with the next, and is no second one');
-- Given back, and she said stop before it went.
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Gus', '+15125550150') returning id as gus \gset
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'gus'))).id as gus_run \gset
create temp table back_again as select automation.release_steps(jsonb_agg(jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id, 'attempt_token', c.attempt_token))) from automation.claim_steps('w', 10) as c;
select automation.record_consent(:'apex', 'sms', '+15125550150', 'revoked', 'all', 'message') \g /dev/null
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'what was given back asks everything again');
select is((select error ->> 'code' from ridgeline.workflow_step_executions where execution_id = :'gus_run'), 'suppressed', 'a stop meanwhile counts');
delete from ridgeline.scheduled_steps;

-- THREE A DAY IN FLORIDA AND OKLAHOMA, whatever the office says.
update public.tenants set settings = '{}' where id = :'apex';
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Hal', '+13055550100') returning id as hal \gset
insert into public.contacts (tenant_id, first_name, phone, state) values (:'apex', 'Ida', '+15125550160', 'OK') returning id as ida \gset
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Jo', '+15125550170') returning id as jo \gset
select is(array(select pg_temp.sent(:'offer', :'hal') from generate_series(1, 4)), '{running,running,running,"held cap 24"}', 'the fourth to Miami waits a day');
select is(array(select pg_temp.sent(:'offer', :'ida') from generate_series(1, 4)), '{running,running,running,"held cap 24"}', 'an address in Oklahoma counts, wherever the number is from');
select is(array(select pg_temp.sent(:'offer', :'jo') from generate_series(1, 5)), '{running,running,running,running,running}', 'in Texas there is no such law');
select is(pg_temp.sent(:'lesser', :'hal'), 'skipped over_cap', 'what says so is skipped');
select is(pg_temp.sent(:'visit', :'hal'), 'running', 'his appointment is none of it');
select is(pg_temp.sent(:'mail', :'hal'), 'skipped no_recipient', 'nor is an email');
update public.tenants set settings = '{"marketing_cap": {"per_day": 10}}' where id = :'apex';
select is(pg_temp.sent(:'offer', :'hal'), 'held cap 24', 'an office that allows ten does not allow it there');
update public.tenants set settings = '{"marketing_cap": {"per_day": 2}}' where id = :'apex';
insert into public.contacts (tenant_id, first_name, phone) values (:'apex', 'Kit', '+13055550101') returning id as kit \gset
select is(array(select pg_temp.sent(:'offer', :'kit') from generate_series(1, 3)), '{running,running,"held cap 24"}', 'one that allows two has its two');
select is((select held ->> 'why' from ridgeline.scheduled_steps as q join ridgeline.workflow_executions as e on e.id = q.execution_id where e.contact_id = :'hal' and held is not null limit 1), '3 marketing messages went to this person within a day', 'the queue says why');
select is((select count(*) from automation.daily_caps where source = ''), 0::bigint, 'a law has a source');
-- Another office's messages are another office's.
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
insert into public.contacts (tenant_id, first_name, phone) values (:'blue', 'Hal', '+13055550100') returning id as blue_hal \gset
select pg_temp.workflow(:'blue', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing"}}]') as blue_offer \gset
select is(pg_temp.sent(:'blue_offer', :'blue_hal'), 'running', 'another office has its own three');
select is(pg_temp.sent(:'receipt', :'bob'), 'running', 'and a receipt goes');
select * from finish();
rollback;

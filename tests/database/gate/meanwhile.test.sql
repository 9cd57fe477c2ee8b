-- What becomes known while a text is held counts when it comes back, for it and against it.
begin;
\ir ../foundation/story.psql
select plan(14);
set client_min_messages = error;
set automation.quiet_hours = on;
select automation.set_clock('2026-06-04 03:30+00');

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
insert into ridgeline.senders (tenant_id, channel, address, limits) values (:'apex', 'sms', '+15125550900', '{"per_second": 0}');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Your visit", "purpose": "transactional"}}]') as visit \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing"}}]') as offer \gset
create function pg_temp.text_from(number text, body text) returns text
  language sql
  as $$ select automation.receive_sms(jsonb_build_object('message_sid', 'SM' || md5(number || body || clock_timestamp()), 'from', number, 'to', '+15125550900', 'body', body)) $$;
create function pg_temp.held(workflow uuid, phone text) returns uuid
  language plpgsql
  as $$
declare
  run uuid;
begin
  run := (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', pg_temp.contact('00000000-0000-0000-0000-00000000000a', 'M' || right(phone, 4), phone)))).id;
  perform automation.claim_steps('w', 100);
  return run;
end;
$$;
create function pg_temp.state(run uuid) returns text
  language sql
  as $$ select coalesce((select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = run),
    (select 'held ' || (q.held ->> 'code') from ridgeline.scheduled_steps as q where q.execution_id = run)) $$;

select pg_temp.held(:'visit', '+15125550101') as kept \gset
select pg_temp.held(:'visit', '+15125550102') as stopped \gset
select pg_temp.held(:'visit', '+15125550103') as back \gset
select pg_temp.held(:'visit', '+15125550104') as moved \gset
select pg_temp.held(:'offer', '+15125550105') as agreed \gset
select pg_temp.held(:'offer', '+15125550106') as silent \gset
select pg_temp.held(:'offer', '+15125550107') as unwanted \gset
select is(pg_temp.state(:'kept'), 'held quiet_hours', 'they wait for the morning');
select pg_temp.text_from('+15125550102', 'STOP');
select pg_temp.text_from('+15125550103', 'STOP');
select pg_temp.text_from('+15125550107', 'STOP');
select pg_temp.text_from('+15125550103', 'START');
update public.contacts set state = 'CA', phone = '+13105550104' where phone = '+15125550104';
update public.tenants set settings = '{"consent": "required"}' where id = :'apex';
select automation.grant_consent(:'apex', 'sms', '+15125550105', 'Yes, text me', 'marketing', 'written') \g /dev/null
select automation.set_clock('2026-06-04 14:30+00');
select count(*) from automation.claim_steps('w', 100) \g /dev/null
select is(pg_temp.state(:'kept'), 'running', 'in the morning it goes');
select is(pg_temp.state(:'stopped'), 'skipped suppressed', 'not to who said stop at night');
select is(pg_temp.state(:'back'), 'running', 'but to who took it back before the morning');
select is(pg_temp.state(:'moved'), 'held quiet_hours', 'nor yet to who has moved to where it is still early');
select is(pg_temp.state(:'agreed'), 'running', 'who agreed meanwhile gets the offer');
select is(pg_temp.state(:'silent'), 'skipped no_consent', 'who did not when it became needed does not');
select is((select string_agg(concat_ws(' ', s.status, s.error ->> 'code'), ', ') from ridgeline.workflow_step_executions as s where s.execution_id = :'unwanted'),
  'skipped suppressed', 'of who said stop it is not asked, once is enough');
select automation.set_clock('2026-06-04 15:30+00');
select count(*) from automation.claim_steps('w', 100) \g /dev/null
select is(pg_temp.state(:'moved'), 'running', 'an hour later it is eight there as well');
delete from ridgeline.scheduled_steps;

-- A DOUBT that nobody answered is a stop, for what serves them too, and whether anything is sent or not.
update public.tenants set settings = '{}' where id = :'apex';
select pg_temp.text_from('+15125550201', 'why do you spam me') \g /dev/null
select pg_temp.text_from('+15125550202', 'why do you spam me') \g /dev/null
select is(pg_temp.state(pg_temp.held(:'visit', '+15125550201')), 'running', 'within the day her appointment is told');
select automation.advance_clock('25 hours');
select is(pg_temp.state(pg_temp.held(:'visit', '+15125550201')), 'skipped suppressed', 'after it nothing is');
select is((select count(*) from ridgeline.suppressions where address = '+15125550202'), 0::bigint, 'another, to whom nothing was sent');
select automation.tick() \g /dev/null
select is((select reason from ridgeline.suppressions where address = '+15125550202'), 'opt_out', 'is found by the tick');
select is((select array_agg(distinct method) from ridgeline.consents where address like '+1512555020%'), '{silence}', 'both are on record as that');
select * from finish();
rollback;

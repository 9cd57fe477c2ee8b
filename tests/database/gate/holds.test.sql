-- What may not go out now waits where it is, says why, and is asked everything again when it comes back.
begin;
\ir ../foundation/story.psql
select plan(44);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex', 'owner') as olga \gset
select pg_temp.member(:'apex') as sam \gset
create function pg_temp.claimed() returns bigint
  language sql
  as $$ select count(*) from automation.claim_steps('w', 100) $$;
create function pg_temp.queue(tenant uuid) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', q.lane, q.state, q.steps, q.held_by), ', ' order by q.lane, q.state)
    from ridgeline.automation_queue as q where q.tenant_id = queue.tenant
  $$;
create function pg_temp.text_step(execution uuid) returns text
  language sql
  as $$ select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s
    where s.execution_id = execution and s.step_type = 'send_sms' $$;
create function pg_temp.status(execution uuid) returns text
  language sql
  as $$ select e.status::text from ridgeline.workflow_executions as e where e.id = execution $$;

select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}"}},
  {"key": "call", "type": "create_task", "config": {"title": "Call"}}]', '[]', '{"exit_events": ["sms_received"]}') as greet \gset
select pg_temp.workflow(:'blue', 'contact_created', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]') as other \gset

-- PAUSING ALL THAT A TENANT SENDS
select pg_temp.sign_in(:'sam');
select alike(pg_temp.error_of($$select ridgeline.pause_sending(' ')$$), '22023 reason: %', 'a pause without a reason is refused');
select lives_ok($$select ridgeline.pause_sending('The price list was wrong')$$, 'whoever may publish may pause');
select pg_temp.sign_out();
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select (pg_temp.only_run(:'greet')).id as run \gset
select is(pg_temp.claimed(), 0::bigint, 'nothing goes out');
select is(pg_temp.queue(:'apex'), 'sms held 1 sending_paused', 'the queue shows what waits, and for what');
select is(held_why, 'The price list was wrong', 'in the words of whoever paused it') from ridgeline.automation_queue where tenant_id = :'apex';
select is((select array[attempt::text, attempt_token::text, run_at::text] from ridgeline.scheduled_steps where execution_id = :'run'), '{0,NULL,infinity}',
  'without an attempt, a lease or a date');
select is(pg_temp.text_step(:'run'), null, 'and no text was rendered');
select pg_temp.contact(:'blue', 'Ann', '+15125550102');
select is(pg_temp.claimed(), 1::bigint, 'another tenant sends');
update public.contacts set first_name = 'Mary' where id = :'maria';
select pg_temp.sign_in(:'sam');
select is(ridgeline.resume_sending(), 1, 'letting it go on says how many waited');
select pg_temp.sign_out();
select is(payload ->> 'body', 'Hi Mary', 'what was held is written when it goes') from automation.claim_steps('w', 100);
select is(pg_temp.queue(:'apex'), 'sms claimed 1', 'and is held no more');
delete from ridgeline.scheduled_steps;

-- What happened meanwhile counts.
create function pg_temp.waiting_text(tenant uuid, phone text) returns uuid
  language plpgsql
  as $$
declare
  contact uuid;
begin
  contact := pg_temp.contact(tenant, 'Lee', phone);
  perform pg_temp.claimed();
  return (select e.id from ridgeline.workflow_executions as e where e.contact_id = contact::text);
end;
$$;
select automation.pause_sending(:'apex', 'A storm');
select pg_temp.waiting_text(:'apex', '+15125550111') as stopped \gset
select pg_temp.waiting_text(:'apex', '+15125550112') as answered \gset
select pg_temp.waiting_text(:'apex', '+15125550113') as cancelled \gset
select pg_temp.waiting_text(:'apex', '+15125550114') as deleted \gset
select pg_temp.waiting_text(:'apex', '+15125550115') as kept \gset
select is(pg_temp.queue(:'apex'), 'sms held 5 sending_paused', 'five wait');
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (:'apex', 'sms', '+15125550111', 'opt_out');
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, body)
select tenant_id, contact_id, 'inbound', '+15125550112', 'Yes please' from ridgeline.workflow_executions where id = :'answered';
select automation.run_signals();
select automation.cancel_execution(:'cancelled');
delete from public.contacts where id = (select contact_id::uuid from ridgeline.workflow_executions where id = :'deleted');
select automation.run_signals();
select is(pg_temp.status(:'answered'), 'cancelled', 'an answer ends a run whose text is held');
select is(pg_temp.status(:'deleted'), 'cancelled', 'so does the deletion of whom it is about');
select automation.resume_sending(:'apex');
select automation.advance_clock('1 minute');
select is(pg_temp.claimed(), 1::bigint, 'of five that were held one goes out');
select is(pg_temp.text_step(:'stopped'), 'skipped suppressed', 'a stop while it was held is honoured');
select is(pg_temp.text_step(:'cancelled'), null, 'a run that was cancelled sends nothing');
select is(pg_temp.text_step(:'kept'), 'running', 'the one that may go has gone');
select is(pg_temp.queue(:'apex'), 'database due 1, sms claimed 1', 'nothing is left behind');
delete from ridgeline.scheduled_steps;

-- What is held too long is of no use: marketing three days from when its turn had come.
select automation.pause_sending(:'apex', 'Holidays');
select pg_temp.waiting_text(:'apex', '+15125550121') as late \gset
select automation.advance_clock('2 days 23 hours');
select pg_temp.waiting_text(:'apex', '+15125550122') as young \gset
select automation.advance_clock('2 hours');
select automation.resume_sending(:'apex');
select automation.advance_clock('1 minute');
select is(pg_temp.claimed(), 1::bigint, 'the younger of two goes');
select is(pg_temp.text_step(:'late'), 'skipped expired', 'the older is not sent any more');
select is((select status::text from ridgeline.workflow_step_executions where execution_id = :'late' and step_key = 'call'), null, 'and its run');
select pg_temp.settle();
select is((select status::text from ridgeline.workflow_step_executions where execution_id = :'late' and step_key = 'call'), 'completed', 'goes on');
select is((select counts_as from automation.skip_codes where code = 'expired'), 'failure', 'which somebody is told');
delete from ridgeline.scheduled_steps;

-- Released as a set, apart from each other.
select automation.pause_sending(:'apex', 'Again');
insert into public.contacts (tenant_id, phone) select :'apex', '+1512555' || lpad(n::text, 4, '0') from generate_series(2000, 2099) as n;
select is(pg_temp.claimed(), 0::bigint, 'a hundred wait');
select is(automation.resume_sending(:'apex'), 100, 'a hundred go on');
select is(pg_temp.claimed(), 1::bigint, 'not as one');
select automation.advance_clock('9 seconds');
select is(pg_temp.claimed(), 9::bigint, 'a second apart');
select automation.advance_clock('90 seconds');
select is(pg_temp.claimed(), 90::bigint, 'until all have gone');
select is(automation.release_spread(10000, 10000) < interval '30 minutes', true, 'in half an hour at most');
delete from ridgeline.scheduled_steps;

-- Paused comes first: whom it could not reach meanwhile it reaches once it goes on, if there is a number by then.
select automation.pause_sending(:'apex', 'New numbers come on Monday');
select pg_temp.contact(:'apex', 'Nora', null) as nora \gset
select pg_temp.contact(:'apex', 'Nils', null) as nils \gset
select is(pg_temp.claimed(), 0::bigint, 'two without a number');
select is(pg_temp.queue(:'apex'), 'sms held 2 sending_paused', 'wait as the others do, and are no failures');
update public.contacts set phone = '+15125550141' where id = :'nora';
select automation.resume_sending(:'apex');
select automation.advance_clock('1 minute');
select is(pg_temp.claimed(), 1::bigint, 'who has one by then is texted');
select is((select string_agg(pg_temp.text_step(e.id), ', ' order by e.contact_id = :'nils') from ridgeline.workflow_executions as e where e.contact_id in (:'nora', :'nils')), 'running, skipped no_recipient', 'who has not is not, which is said then');
delete from ridgeline.scheduled_steps;

-- PAUSING ONE WORKFLOW
select pg_temp.workflow(:'apex', 'manual', '{}', '[
  {"key": "wait", "type": "wait", "config": {"days": 1}},
  {"key": "tag", "type": "add_tag", "config": {"tag": "waited"}},
  {"key": "hook", "type": "webhook", "config": {"url": "https://hooks.example"}}]') as waiting \gset
select (ridgeline.execute_workflow(:'waiting', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select pg_temp.settle();
update ridgeline.workflows set is_active = false where id = :'waiting';
select automation.advance_clock('25 hours');
select is(pg_temp.settle(), 0, 'a workflow that is switched off does nothing more');
select is(pg_temp.queue(:'apex'), 'database held 1 workflow_paused', 'what it has in flight waits');
update ridgeline.workflows set is_active = true where id = :'waiting';
select is(pg_temp.settle(), 1, 'and goes on when it is switched on, at once');
update ridgeline.workflows set status = 'paused' where id = :'waiting';
select is(pg_temp.claimed(), 0::bigint, 'its webhooks wait too');
select is(pg_temp.queue(:'apex'), 'webhook held 1 workflow_paused', 'and say so');
update ridgeline.workflows set status = 'active' where id = :'waiting';
select is(pg_temp.claimed(), 1::bigint, 'until it is on');
select ridgeline.execute_workflow(:'waiting', jsonb_build_object('contact_id', :'maria'));
select pg_temp.settle();
update ridgeline.workflows set is_active = false where id = :'waiting';
select automation.advance_clock('25 hours');
select pg_temp.settle();
update ridgeline.workflow_steps set step_config = '{"url": "https://hooks.example/edited"}' where workflow_id = :'waiting' and step_key = 'hook';
select ridgeline.publish_workflow(:'waiting');
select is(pg_temp.settle(), 1, 'switched on by publishing an edit, it goes on as well');
select pg_temp.claimed();

-- Nobody's business.
select pg_temp.sign_in(:'olga');
select is(pg_temp.error_of(format('select ridgeline.pause_sending(''x'', %L)', :'blue')) is not null, true, 'another tenant is not paused');
select is((select count(*) from ridgeline.sending_pauses), 0::bigint, 'who may read sees whether something is paused');
select pg_temp.act_as('anon');
select alike(pg_temp.error_of($$select ridgeline.pause_sending('x')$$), '42501 %', 'a stranger pauses nothing');
select pg_temp.sign_out();
select * from finish();
rollback;

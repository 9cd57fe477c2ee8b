-- A customer who says stop gets nothing more, whatever is already on its way to them.
begin;
\ir ../foundation/story.psql
select plan(30);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex') as sam \gset
create function pg_temp.said(body text, from_number text default '+15125550100', direction text default 'inbound') returns boolean
  language plpgsql
  as $$
declare
  suppressed boolean;
begin
  insert into ridgeline.messages (tenant_id, direction, from_number, body)
  values ('00000000-0000-0000-0000-00000000000a', direction, from_number, body);
  suppressed := exists (select from ridgeline.suppressions);
  delete from ridgeline.suppressions;
  return suppressed;
end;
$$;

-- What counts as stop is told in stop_wording.test.sql.
select ok(not pg_temp.said('STOP', direction => 'outbound'), 'our own words are not the customer''s');
select ok(not pg_temp.said('STOP', 'anonymous'), 'a sender without a number suppresses nothing');
select ok(pg_temp.said('STOP', '(512) 555-0100'), 'a number in any form');
select pg_temp.sign_in(:'sam');
select is(pg_temp.error_of($$insert into ridgeline.messages (tenant_id, direction, from_number, body)
  values ('00000000-0000-0000-0000-00000000000a', 'inbound', '+15125550100', 'STOP')$$), null, 'a member may note down what was said');
select pg_temp.sign_out();
select is((select count(*) from ridgeline.suppressions), 0::bigint, 'which is their word and no customer''s');
insert into ridgeline.messages (tenant_id, direction, from_number, body) values (:'apex', 'inbound', '+15125550100', 'STOP');
select is(array[reason, detail ->> 'message_id'], array['opt_out', m.id::text], 'the suppression names the message')
from ridgeline.suppressions, lateral (select id from ridgeline.messages order by created_at desc, id desc limit 1) as m;
delete from ridgeline.suppressions;

-- Suppressed before the claim.
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"key": "text", "type": "send_sms", "config": {"body": "Hi"}}, {"key": "call", "type": "create_task", "config": {"title": "Call"}}]') as flow \gset
create function pg_temp.text_step() returns text
  language sql
  as $$
    select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s
    where s.step_key = 'text' and s.execution_id = (select (pg_temp.only_run(w.id)).id from ridgeline.workflows as w where w.is_active and w.tenant_id = '00000000-0000-0000-0000-00000000000a')
  $$;
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (:'apex', 'sms', '(512) 555-0100', 'manual');
select is((select address from ridgeline.suppressions), '+15125550100', 'kept in the form that sends use');
select pg_temp.contact(:'apex');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'nothing to send');
select is(pg_temp.text_step(), 'skipped suppressed', 'the text is skipped, and says why');
select is(pg_temp.settle(), 1, 'the rest of the workflow goes on');
select is((select count(*) from ridgeline.messages where direction = 'outbound' and status = 'sent'), 0::bigint, 'the CRM shows no text');
select pg_temp.workflow(:'blue', 'contact_created', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]');
select pg_temp.contact(:'blue');
select is((select count(*) from automation.claim_steps('w', 10)), 1::bigint, 'another tenant may still write');
delete from ridgeline.suppressions;
delete from ridgeline.scheduled_steps;

-- Said while the text waits.
select pg_temp.contact(:'apex');
insert into ridgeline.messages (tenant_id, direction, from_number, body) values (:'apex', 'inbound', '+1 512 555 0100', 'Stop');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'stop between scheduling and claim');
select is(pg_temp.text_step(), 'skipped suppressed', 'is honoured');
delete from ridgeline.suppressions;
delete from ridgeline.scheduled_steps;

-- Said between two attempts.
select pg_temp.contact(:'apex');
select count(pg_temp.finish(c, 'retry')) from automation.claim_steps('w', 10) as c;
insert into ridgeline.messages (tenant_id, direction, from_number, body) values (:'apex', 'inbound', '+15125550100', 'STOP');
select automation.advance_clock('1 day');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'stop between two attempts');
select is(pg_temp.text_step(), 'skipped suppressed', 'is honoured too');
select is((select jsonb_array_length(attempts) from ridgeline.workflow_step_executions where step_key = 'text' order by id desc limit 1), 1,
  'the ledger keeps the attempt that was made');
delete from ridgeline.suppressions;
delete from ridgeline.scheduled_steps;

-- The provider knows more than we do.
select pg_temp.contact(:'apex');
select count(pg_temp.finish(c, 'failed', '{"suppress": true, "error": {"code": "21610", "message": "unsubscribed"}}')) from automation.claim_steps('w', 10) as c;
select is(array[channel, address, reason, detail ->> 'code'], array['sms', '+15125550100', 'provider', '21610'], 'an opt-out at the provider is ours')
from ridgeline.suppressions;
select pg_temp.contact(:'apex');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'from now on');
select lives_ok($$select automation.suppress('00000000-0000-0000-0000-00000000000a', 'sms', '+15125550100', 'manual')$$, 'again is no error');
select is((select reason from ridgeline.suppressions), 'provider', 'and keeps the first reason');

-- Email: each address for itself.
delete from ridgeline.suppressions;
update ridgeline.workflows set is_active = false;
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"key": "text", "type": "send_email", "config": {"to": ["Ann <ann@Example.com>", "bob@example.com, cy@example.com"], "cc": "dee@example.com", "bcc": ["eve@example.com"], "subject": "Hi", "text": "Hi"}}]');
insert into ridgeline.suppressions (tenant_id, channel, address, reason)
values (:'apex', 'email', ' ANN@example.COM ', 'bounce'), (:'apex', 'email', 'dee@example.com', 'complaint'), (:'apex', 'sms', '+15125550100', 'opt_out');
select pg_temp.contact(:'apex');
select is(array[payload -> 'to', payload -> 'cc', payload -> 'bcc'],
  array['["bob@example.com", "cy@example.com"]', '[]', '["eve@example.com"]']::jsonb[], 'who opted out is left out')
from automation.claim_steps('w', 10);
select pg_temp.contact(:'apex');
select count(pg_temp.finish(c, 'failed', '{"suppress": true, "error": {"code": "refused", "message": "refused"}}')) from automation.claim_steps('w', 10) as c;
select is((select count(*) from ridgeline.suppressions), 3::bigint, 'whom of several its provider refuses nobody can say');
insert into ridgeline.suppressions (tenant_id, channel, address, reason)
values (:'apex', 'email', 'bob@example.com', 'opt_out'), (:'apex', 'email', 'cy@example.com', 'opt_out');
select pg_temp.contact(:'apex');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'when all did nothing is sent');
select is(pg_temp.text_step(), 'skipped suppressed', 'to the copies neither');
update ridgeline.workflows set is_active = false;

-- A channel is not the other, and a webhook is nobody.
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "webhook", "config": {"url": "https://hooks.example"}}]');
select pg_temp.contact(:'apex');
select is((select count(*) from automation.claim_steps('w', 10)), 1::bigint, 'a webhook asks nobody');

-- Bad suppressions.
select alike(pg_temp.error_of(format($$insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (%L, %s)$$, :'apex', v)), e, v)
from (values ($$'fax', 'x', 'manual'$$, '23514 %suppressions_channel_known%'), ($$'sms', ' ', 'manual'$$, '23514 %suppressions_address_not_blank%'),
  ($$'sms', '+15125550100', 'because'$$, '23514 %suppressions_reason_known%'), ($$'email', 'bob@EXAMPLE.com', 'manual'$$, '23505 %suppressions_address_unique%')) as v (v, e);

select * from finish();
rollback;

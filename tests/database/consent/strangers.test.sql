-- A workflow texts whom the office knows. A number that somebody wrote into a step, or handed to a run, is
-- nobody's until the office's setting allows it.
begin;
\ir ../foundation/story.psql
select plan(32);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
update public.tenants set phone = '(512) 555-0190' where id = :'apex';
select pg_temp.member(:'apex', 'admin') as admin \gset
select pg_temp.member(:'apex') as member \gset
update public.tenant_members set phone = '512.555.0191' where user_id = :'admin';

-- What a text says that a run of this office begins with: "sent +1..." or the code of the skip.
create function pg_temp.outcome() returns text
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
begin
  select c.* into claimed from automation.claim_steps('w', 10) as c;
  if found then
    perform pg_temp.finish(claimed, 'succeeded');
    return 'sent ' || (claimed.payload ->> 'to');
  end if;
  return (select s.error ->> 'code' from ridgeline.workflow_step_executions as s where s.step_type = 'send_sms' order by s.id desc limit 1);
end;
$$;
-- The same of a workflow that is started by hand for a contact.
create function pg_temp.text_to(written text, data jsonb default '{}', tenant uuid default '00000000-0000-0000-0000-00000000000a') returns text
  language plpgsql
  as $$
declare
  contact constant uuid := pg_temp.contact(tenant, phone => '+15125550100');
  workflow constant uuid := pg_temp.workflow(tenant, 'manual', '{}',
    jsonb_build_array(jsonb_build_object('type', 'send_sms', 'config', jsonb_build_object('to', written, 'body', 'Hi'))));
  outcome text;
begin
  perform ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact) || data);
  outcome := pg_temp.outcome();
  update ridgeline.workflows set is_active = false where id = workflow;
  return outcome;
end;
$$;

select is((select text_strangers from public.tenants where id = :'apex'), false, 'an office does not text strangers unless it says so');

-- Nobody the office knows, however the number came in.
select is(pg_temp.text_to('+1 512 555 0177'), 'stranger_not_allowed', 'a number that an author wrote');
select is(pg_temp.text_to('512-555-0177'), 'stranger_not_allowed', 'in any notation');
select is(pg_temp.text_to('{{trigger.number}}', '{"number": "+15125550177"}'), 'stranger_not_allowed', 'a number handed to the run');
select is(pg_temp.text_to('{{custom.phone}}', '{"custom": {"phone": "+15125550177"}}'), 'stranger_not_allowed', 'or to its custom values');
select is(pg_temp.text_to('{{trigger.contact.phone}}', '{"contact": {"phone": "+15125550177"}}'), 'stranger_not_allowed', 'or that calls itself the contact');
select is(pg_temp.text_to('{{trigger.record.phone}}', '{"record": {"phone": "+15125550177"}}'), 'sent +15125550100', 'the record is read, not handed over');
select pg_temp.contact(:'blue', phone => '+15125550178');
select is(pg_temp.text_to('+15125550178'), 'stranger_not_allowed', 'a contact of another office is a stranger here');
update public.tenants set phone = '+15125550179' where id = :'blue';
select is(pg_temp.text_to('+15125550179'), 'stranger_not_allowed', 'and so is that office');

-- The office is told.
select is((select counts_as from automation.skip_codes where code = 'stranger_not_allowed'), 'failure', 'somebody should have got something and could not');
select is((select message from ridgeline.automation_skipped_sends where tenant_id = :'apex' and code = 'stranger_not_allowed' order by message limit 1),
  'to: +15125550177 is no contact; tenants.text_strangers would allow it', 'what to do about it, where the office looks');
select is((select count(*) from ridgeline.automation_skipped_sends where tenant_id = :'apex' and code = 'stranger_not_allowed'), 7::bigint, 'of each');

-- Whom it knows.
select pg_temp.contact(:'apex', 'Bo', '(512) 555-0142');
select is(pg_temp.text_to('+15125550142'), 'sent +15125550142', 'another contact, in whatever notation');
select is(pg_temp.text_to('512.555.0142 x7'), 'sent +15125550142', 'on either side');
select is(pg_temp.text_to('{{contact.phone}}'), 'sent +15125550100', 'its own contact');
select is(pg_temp.text_to('{{tenant.phone}}'), 'sent +15125550190', 'the office itself');
select is(pg_temp.text_to('+15125550191'), 'sent +15125550191', 'who works there');
update public.contacts set custom_fields = '{"mobile": "512 555 0143"}' where first_name = 'Maria';
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "send_sms", "config": {"to": "{{contact.custom_fields.mobile}}", "body": "Hi"}}]') as mobile \gset
insert into public.contacts (tenant_id, phone, custom_fields) values (:'apex', '+15125550100', '{"mobile": "512 555 0143"}');
select is(pg_temp.outcome(), 'sent +15125550143', 'the second number of the contact that the run is about');
update ridgeline.workflows set is_active = false where id = :'mobile';
select is(pg_temp.text_to('5125550143'), 'stranger_not_allowed', 'which is no other run''s');

-- Whoever calls or writes is answered, contact or not.
select pg_temp.workflow(:'apex', 'call_missed', '{}', '[{"type": "send_sms", "config": {"to": "{{trigger.record.from_number}}", "body": "Sorry we missed you"}}]') as missed \gset
insert into ridgeline.calls (tenant_id, direction, from_number, to_number, status) values (:'apex', 'inbound', '+15125550144', '+15125550900', 'missed');
select is(pg_temp.outcome(), 'sent +15125550144', 'a caller whom nobody knows');
update ridgeline.workflows set is_active = false where id = :'missed';
select pg_temp.workflow(:'apex', 'call_missed', '{}', '[{"type": "send_sms", "config": {"to": "+15125550145", "body": "Sorry we missed you"}}]') as elsewhere \gset
insert into ridgeline.calls (tenant_id, direction, from_number, to_number, status) values (:'apex', 'inbound', '+15125550144', '+15125550900', 'missed');
select is(pg_temp.outcome(), 'stranger_not_allowed', 'and nobody else in their name');
update ridgeline.workflows set is_active = false where id = :'elsewhere';

-- Who may allow it.
select pg_temp.sign_in(:'member');
update public.tenants set text_strangers = true where id = :'apex';
select pg_temp.sign_out();
select is((select text_strangers from public.tenants where id = :'apex'), false, 'a member does not');
select is(pg_temp.text_to('+15125550177'), 'stranger_not_allowed', 'so nothing changes');
select pg_temp.sign_in(:'admin');
update public.tenants set text_strangers = true where id = :'apex';
select pg_temp.sign_out();
select is((select text_strangers from public.tenants where id = :'apex'), true, 'an admin does');
select is(pg_temp.text_to('+15125550177'), 'sent +15125550177', 'and then they are texted');
select is(pg_temp.text_to('{{custom.phone}}', '{"custom": {"phone": "+15125550146"}}'), 'sent +15125550146', 'all of them');
select is(pg_temp.text_to('+15125550177', tenant => :'blue'), 'stranger_not_allowed', 'by this office alone');

-- A permission that is taken back counts for what waits to be tried again, word for word.
create function pg_temp.again(change text) returns text
  language plpgsql
  as $$
declare
  apex constant uuid := '00000000-0000-0000-0000-00000000000a';
  claimed automation.claimed_step;
  workflow uuid;
begin
  update public.tenants set text_strangers = true, text_countries = '{US,CA,GB}' where id = apex;
  workflow := pg_temp.workflow(apex, 'manual', '{}', '[{"type": "send_sms", "config": {"to": "{{custom.to}}", "body": "Hi"}}]');
  perform ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', pg_temp.contact(apex, phone => '+15125550111'),
    'custom', jsonb_build_object('to', case when change like '%countries%' then '+447400123456' else '+15125550177' end)));
  select c.* into claimed from automation.claim_steps('w', 10) as c;
  -- Nobody knows whether it went out.
  perform pg_temp.finish(claimed, 'ambiguous');
  execute change using apex;
  perform automation.advance_clock('2 hours');
  select c.* into claimed from automation.claim_steps('w', 10) as c;
  if found then
    perform pg_temp.finish(claimed, 'succeeded');
    return 'sent';
  end if;
  return (select s.error ->> 'code' from ridgeline.workflow_step_executions as s where s.step_type = 'send_sms' order by s.id desc limit 1);
end;
$$;
select is(pg_temp.again('select $1'), 'sent', 'what may have gone out is tried again');
select is(pg_temp.again('update public.tenants set text_strangers = false where id = $1'), 'stranger_not_allowed', 'not to strangers any more');
select is(pg_temp.again('update public.tenants set text_countries = ''{US}'' where id = $1'), 'country_not_allowed', 'nor abroad any more');
select is((select count(*) from ridgeline.automation_skipped_sends where tenant_id = :'apex' and code = 'country_not_allowed'), 1::bigint, 'and the office sees it');
select is(pg_temp.again('delete from public.contacts where tenant_id = $1 and phone = ''none'''), 'sent', 'what has nothing to do with it changes nothing');

select * from finish();
rollback;

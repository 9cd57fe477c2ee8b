-- STOP is confirmed once and HELP answered once an hour, where the provider has not done it already.
begin;
\ir ../foundation/story.psql
select plan(16);

select pg_temp.tenant('Apex Roofing') as apex \gset
update public.tenants set phone = '+15125550990' where id = :'apex';
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900');
update ridgeline.senders set limits = '{"per_second": 0}';
create function pg_temp.answer(number text, body text, more jsonb default '{}') returns text
  language plpgsql
  as $$
declare
  event constant jsonb := jsonb_build_object('message_sid', 'SM' || md5(number || body || clock_timestamp()), 'from', number, 'to', '+15125550900', 'body', body) || more;
begin
  perform automation.receive_sms(event);
  return automation.reply_to_sms(event);
end;
$$;
select is(pg_temp.answer('+15125550101', 'STOP'), null, 'Twilio answers its own word itself');
select is(pg_temp.answer('+15125550102', 'Stopp', '{"opt_out_type": "STOP"}'), null, 'and what it took for a stop');
select is(pg_temp.answer('+15125550103', 'When can you come?'), null, 'to anything else nothing is said');
select is(pg_temp.answer('+15125550104', 'please stop texting me', '{"channel": "whatsapp"}'), null, 'on another channel it would not arrive');
select is(pg_temp.answer('+15125550105', 'please stop texting me'), 'Apex Roofing: You get no more texts from us. Reply START to get them again.', 'a stop in other words is confirmed');
select is(pg_temp.answer('+15125550105', 'stop texting me!!'), null, 'once');
select is(pg_temp.answer('+15125550105', 'START'), null, 'a start is Twilio''s to answer');
select is(pg_temp.answer('+15125550105', 'stop texting me now'), 'Apex Roofing: You get no more texts from us. Reply START to get them again.', 'after which a stop is a new one');
select is(pg_temp.answer('+15125550106', 'HELP'), null, 'help in Twilio''s word is Twilio''s to give');
select is(pg_temp.answer('+15125550106', 'Ayuda'), 'Apex Roofing: texts about your request. Call +15125550990. Reply STOP to get no more.', 'in another word it is ours');
select is(pg_temp.answer('+15125550106', 'ayuda!'), null, 'once an hour');
select is(pg_temp.answer('+15125550107', 'ayuda'), 'Apex Roofing: texts about your request. Call +15125550990. Reply STOP to get no more.', 'to everybody');
select automation.advance_clock('61 minutes');
update public.tenants set settings = '{"replies": {"help": "Apex: call us."}}' where id = :'apex';
select is(pg_temp.answer('+15125550106', 'ayuda'), 'Apex: call us.', 'later again, in the office''s own words');
select is((select count(*) from ridgeline.messages where direction = 'outbound'), 5::bigint, 'what was said back is on record');
select is((select count(*) from ridgeline.messages where direction = 'outbound' and to_number = '+15125550105' and from_number = '+15125550900'), 2::bigint, 'to whom, from where');
select is(automation.reply_to_sms('{"message_sid": "SM0", "to": "+15125550900"}'), null, 'a text that was not stored is not answered');
select * from finish();
rollback;

-- Who is not to be written to is not, however the number or the address was written anywhere; and no text
-- goes where the office has never meant to send one.
begin;
\ir ../foundation/story.psql
select plan(89);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Thames Roofing') as thames \gset
update public.tenants set country = 'gb' where id = :'thames';

-- What is told a text to a contact with this number: "sent +1..." or the code of the skip.
create function pg_temp.text_to(phone text, tenant uuid default '00000000-0000-0000-0000-00000000000a') returns text
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
begin
  perform pg_temp.contact(tenant, phone => phone);
  select c.* into claimed from automation.claim_steps('w', 10) as c;
  if found then
    perform pg_temp.finish(claimed, 'succeeded');
    return 'sent ' || (claimed.payload ->> 'to');
  end if;
  return (select s.error ->> 'code' from ridgeline.workflow_step_executions as s where s.step_type = 'send_sms' order by s.id desc limit 1);
end;
$$;
create function pg_temp.mail_to(email text) returns text
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
begin
  insert into public.contacts (tenant_id, email) values ('00000000-0000-0000-0000-00000000000a', mail_to.email);
  select c.* into claimed from automation.claim_steps('w', 10) as c;
  if found then
    perform pg_temp.finish(claimed, 'succeeded');
    return 'sent';
  end if;
  return (select s.error ->> 'code' from ridgeline.workflow_step_executions as s where s.step_type = 'send_email' order by s.id desc limit 1);
end;
$$;
create function pg_temp.suppress(channel text, address text, tenant uuid default '00000000-0000-0000-0000-00000000000a') returns text
  language sql
  as $$ insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (tenant, channel, address, 'manual') returning address $$;
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]') as texts \gset
select pg_temp.workflow(:'thames', 'contact_created', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]');

-- A suppression, in whatever notation, stops a contact in whatever other.
select is(pg_temp.text_to('512/555-0142 x12'), 'sent +15125550142', 'an extension is not dialled');
create temporary table spelt (n int, number text);
insert into spelt
select ordinality, v from unnest(array['+15125550142', '(512) 555-0142', '512/555-0142', '512-555-0142 x12', '+1 512 555 0142 ext. 7', '5125550142;ext=12', '512-555-0142 #12',
  E'\u202A+1 (512) 555\u20110142\u202C', E'512\u00A0555\u202F0142', E'\uFEFF512.555.0142\u200B', '＋１５１２５５５０１４２', '٥١٢٥٥٥٠١٤٢', 'tel:+1-512-555-0142', '011 1 512 555 0142',
  'whatsapp:+15125550142', E'512-555-0142\r\n']) with ordinality as v;
create function pg_temp.stops(suppressed text, written text) returns text
  language plpgsql
  as $$
declare
  stored text;
begin
  stored := pg_temp.suppress('sms', suppressed);
  written := pg_temp.text_to(written);
  delete from ridgeline.suppressions;
  return stored || ' ' || written;
end;
$$;
select is(pg_temp.stops(s.number, o.number), '+15125550142 suppressed', format('%L stops %L', s.number, o.number))
from spelt as s join spelt as o on o.n = 1 + (s.n + 6) % 16;

create function pg_temp.stops_mail(suppressed text, written text) returns text
  language plpgsql
  as $$
declare
  stored text;
begin
  stored := pg_temp.suppress('email', suppressed);
  written := pg_temp.mail_to(written);
  delete from ridgeline.suppressions;
  return stored || ' ' || written;
end;
$$;
update ridgeline.workflows set is_active = false where id = :'texts';
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]') as mails \gset
select is(pg_temp.stops_mail(suppressed, written), 'ann@example.com suppressed', format('%L stops %L', suppressed, written))
from (values ('ann@example.com', ' Ann@Example.com'), (E'ann@example.com\n', 'ann@example.com'), (E'\uFEFFann@example.com', 'ANN@EXAMPLE.COM'), (E'ann@example.com\u200B', 'ann@example.com '),
  ('mailto:ann@example.com', 'ann@example.com'), ('Ann <ann@example.com>', 'ann@example.com'), ('"Ann, of Apex" <Ann@example.com>', 'ann@example.com')) as v (suppressed, written);
update ridgeline.workflows set is_active = false where id = :'mails';
update ridgeline.workflows set is_active = true where id = :'texts';

-- What would stop nothing is refused, and says so.
select alike(pg_temp.error_of(format('select pg_temp.suppress(%L, %L)', channel, address)), '22023 address: "' || left(address, 20) || '%" is not a%', 'refused: ' || address)
from (values ('sms', '555-0142'), ('sms', '12345'), ('sms', 'Maria'), ('sms', '98765 43210'), ('sms', '+266696687'), ('sms', '512-555-0142 or 512-555-0143'), ('sms', 'ann@example.com'),
  ('email', 'ann'), ('email', 'ann@example'), ('email', 'ann@example.com, bob@example.com'), ('email', '+15125550142')) as v (channel, address);
select alike(pg_temp.error_of(format($$select ridgeline.suppress_address('sms', '555-0142', %L)$$, :'apex')), '22023 address: %', 'an admin is told too');
select is((select count(*) from ridgeline.suppressions), 0::bigint, 'and nothing is kept that would stop nothing');

-- Read in the country of the office, and in no other.
select is(pg_temp.suppress('sms', '07911 123456', :'thames'), '+447911123456', 'a British office means a British number');
select is(pg_temp.text_to('+44 (0)7911 123456', :'thames'), 'suppressed', 'however it is written');
delete from ridgeline.suppressions;
select is(pg_temp.text_to('07911 123456', :'thames'), 'sent +447911123456', 'and texts it');
select is(pg_temp.text_to('07911 123456'), 'invalid_recipient', 'an American office does not guess');
select is(pg_temp.text_to('98765 43210'), 'invalid_recipient', 'nor takes a number of India for one of its own');
select is(pg_temp.text_to('(512) 555-0142', :'thames'), 'invalid_recipient', 'nor the other way');
select is(pg_temp.text_to('+1 512 555 0142', :'thames'), 'sent +15125550142', 'America is on the list unless it is taken off');
select alike(pg_temp.error_of(format('update public.tenants set country = %L where id = %L', given, :'apex')), '22023 country: "%" is not a country%', 'no country: ' || given)
from (values ('XX'), ('USA'), (''), ('881'), ('1')) as v (given);
select alike(pg_temp.error_of(format('update public.tenants set text_countries = %L where id = %L', '{US,Mexico}', :'apex')), '22023 text_countries: "Mexico"%', 'nor in the list');

-- Where texts go.
select is(pg_temp.text_to(number), outcome, format('%s: %s', number, who))
from (values
  ('+1 416 555 0142', 'sent +14165550142', 'Canada'), ('+1 800 555 0142', 'sent +18005550142', 'freephone'), ('+1 876 555 0142', 'country_not_allowed', 'Jamaica is not the US'),
  ('876-555-0142', 'country_not_allowed', 'nor without its country code'), ('+1 242 555 0142', 'country_not_allowed', 'the Bahamas'), ('+1 809 555 0142', 'country_not_allowed', 'Dominican Republic'),
  ('+1 284 555 0142', 'country_not_allowed', 'British Virgin Islands'), ('+1 900 555 0142', 'country_not_allowed', 'premium rate'), ('900-555-0142', 'country_not_allowed', 'premium rate at home'),
  ('+881 612 345 678', 'country_not_allowed', 'a satellite'), ('011 881 612 345 678', 'country_not_allowed', 'a satellite, dialled'), ('+870 773 111 632', 'country_not_allowed', 'a ship'),
  ('+882 16 5560 0000', 'country_not_allowed', 'international networks'), ('+979 123 456 789', 'country_not_allowed', 'international premium rate'), ('+44 7911 123456', 'country_not_allowed', 'Britain'),
  ('+52 55 1234 5678', 'country_not_allowed', 'Mexico'), ('+7 701 234 5678', 'country_not_allowed', 'Kazakhstan'), ('+266696687', 'invalid_recipient', 'anonymous'), ('+7378742833', 'invalid_recipient', 'restricted'), ('+86282452253', 'invalid_recipient', 'unavailable'),
  ('+8656696', 'invalid_recipient', 'unknown'), ('+2562533', 'invalid_recipient', 'blocked'), ('+', 'invalid_recipient', 'a plus'), ('12345', 'invalid_recipient', 'a short code'),
  ('anonymous', 'invalid_recipient', 'a word'), ('(737) 874-2833', 'sent +17378742833', 'a person in Austin')) as v (number, outcome, who);
update public.tenants set text_countries = '{us,Mx}' where id = :'apex';
select is(pg_temp.text_to('+52 55 1234 5678'), 'sent +525512345678', 'Mexico, once the office lists it');
select is(pg_temp.text_to('+1 416 555 0142'), 'country_not_allowed', 'and no Canada, once it does not');
select is((select counts_as from automation.skip_codes where code = 'country_not_allowed'), 'failure', 'somebody should have got something and could not');
select alike((select message from ridgeline.automation_skipped_sends where code = 'country_not_allowed' order by message limit 1), 'to: +%', 'the office reads which number');

-- A landline: no text reaches it, until one comes from it.
select is(pg_temp.text_to('+1 512 555 0177'), 'sent +15125550177', 'to what turns out to be a landline');
select automation.suppress(:'apex', 'sms', '+15125550177', 'landline');
select is(pg_temp.text_to('512-555-0177'), 'not_textable', 'from then on it says so');
select is((select counts_as from automation.skip_codes where code = 'not_textable'), 'failure', 'which the office should know');
insert into ridgeline.messages (tenant_id, direction, from_number, body) values (:'apex', 'inbound', '(512) 555-0177', 'Can you text me here?');
select is(pg_temp.text_to('512-555-0177'), 'sent +15125550177', 'what texts is no landline');
select automation.suppress(:'apex', 'sms', '+15125550177', 'landline');
insert into ridgeline.messages (tenant_id, direction, from_number, body) values (:'apex', 'inbound', '(512) 555-0177', 'STOP');
select automation.suppress(:'apex', 'sms', '+15125550177', 'landline');
insert into ridgeline.messages (tenant_id, direction, from_number, body) values (:'apex', 'inbound', '(512) 555-0177', 'Hello?');
select is(pg_temp.text_to('512-555-0177'), 'suppressed', 'an opt-out is no landline and stays');
select automation.suppress(:'apex', 'sms', '+15125550178', 'landline');
select automation.suppress(:'apex', 'sms', '+15125550178', 'opt_out');
select is((select reason from ridgeline.suppressions where address = '+15125550178'), 'opt_out', 'an opt-out weighs more than a landline');

-- Rows of what was said hold numbers as they compare; what is none stays as it came.
insert into ridgeline.messages (tenant_id, direction, from_number, to_number) values (:'thames', 'inbound', '07911 123456', '(020) 7946 0958');
insert into ridgeline.calls (tenant_id, from_number, to_number, status) values (:'apex', 'anonymous', '512.555.0101 x3', 'missed'), (:'apex', '+266696687', '12345', 'missed');
insert into ridgeline.emails (tenant_id, to_address) values (:'apex', ' Ann@Example.com');
select is((select array[from_number, to_number] from ridgeline.messages where tenant_id = :'thames' and direction = 'inbound'), '{+447911123456,+442079460958}', 'messages');
select results_eq($$select from_number, to_number from ridgeline.calls order by from_number$$, $$values ('+266696687', '12345'), ('anonymous', '+15125550101')$$, 'calls');
select is((select to_address from ridgeline.emails where tenant_id = :'apex' order by id desc limit 1), 'ann@example.com', 'emails');

select * from finish();
rollback;

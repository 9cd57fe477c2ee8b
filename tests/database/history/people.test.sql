-- A customer is on the telephone: the office wants to know what they were told, and why they were not.
begin;
\ir ../foundation/story.psql
select plan(17);

select pg_temp.tenant() as apex \gset
select pg_temp.tenant('Rival Roofing') as rival \gset
select pg_temp.member(:'apex') as ann \gset
select pg_temp.member(:'rival') as bob \gset
insert into ridgeline.senders (tenant_id, channel, address, limits, is_default)
values (:'apex', 'sms', '+15125550900', '{"per_second": 0}', true);
select pg_temp.workflow(:'apex', 'contact_created', '{"type": "lead"}', jsonb_build_array(
  jsonb_build_object('type', 'send_sms', 'key', 'hello', 'config', jsonb_build_object(
    'body', 'Hi {{contact.first_name}}', 'purpose', 'transactional')),
  jsonb_build_object('type', 'send_sms', 'key', 'offer', 'delay', 60, 'config', jsonb_build_object(
    'body', 'An offer for {{contact.first_name}}', 'purpose', 'transactional')))) as flow \gset
insert into public.contacts (tenant_id, type, first_name, phone, email)
values (:'apex', 'lead', 'Maria', '+14155550142', 'Maria@Example.com') returning id as maria \gset
insert into public.contacts (tenant_id, type, first_name, phone) values (:'apex', 'lead', 'Sam', '+14155550143');

create function pg_temp.history(
  contact text default null, phone text default null, email text default null, tenant uuid default null)
  returns text[] language sql as $$
    select array_agg(h.what || coalesce(' ' || h.step_key, '') || coalesce(': ' || h.says, ''))
    from ridgeline.get_person_history(contact, phone, email, tenant_id => tenant) as h
  $$;

select pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM1"}}') from automation.claim_steps('office', 1) as c
where c.payload ->> 'body' = 'Hi Maria' \g /dev/null
select is(pg_temp.history(:'maria', tenant => :'apex'),
  array['due offer', 'send_sms completed hello: Hi Maria', 'text sent: Hi Maria', 'run started: contact_created'],
  'what was sent, and what comes, the newest first');

select pg_temp.later('10 minutes') \g /dev/null
select ridgeline.pause_sending('the wrong offer', :'apex') \g /dev/null
select pg_temp.later('1 hour') \g /dev/null
select from automation.claim_steps('office', 5) \g /dev/null
select is((select array[h.what, h.step_key, h.why ->> 'code', h.why ->> 'why', h.at::text]
  from ridgeline.get_person_history(:'maria', tenant_id => :'apex') as h limit 1),
  '{held,offer,sending_paused,"the wrong offer",infinity}', 'what is held stands at the top, and says why');
select ridgeline.record_revocation('sms', '+14155550142', 'on the telephone', tenant_id => :'apex') \g /dev/null
select ridgeline.resume_sending(:'apex') \g /dev/null
select pg_temp.later('1 hour') \g /dev/null
select from automation.claim_steps('office', 5) \g /dev/null
select results_eq(
  format($$ select h.what, h.says, coalesce(h.why ->> 'code', h.why ->> 'method')
    from ridgeline.get_person_history(%L, tenant_id => %L) as h
    where h.what in ('send_sms skipped', 'run completed', 'consent revoked') $$, :'maria', :'apex'),
  $$ values ('run completed', null, null), ('send_sms skipped', 'An offer for Maria', 'suppressed'),
    ('consent revoked', 'sms +14155550142', 'verbal') $$,
  'their stop, and what it kept from them');

-- However they are written down.
select is(pg_temp.history(phone => '(415) 555-0142', tenant => :'apex'), pg_temp.history(:'maria', tenant => :'apex'), 'by a number in any notation');
select is(pg_temp.history(email => 'maria@example.com', tenant => :'apex'), pg_temp.history(:'maria', tenant => :'apex'), 'by email');
select is(pg_temp.history(phone => '+1 415 555 0143', tenant => :'apex') && '{"text sent: Hi Maria"}', false, 'and nobody else''s');

-- A stranger has written, whom no contact is known for.
insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body)
values (:'apex', 'inbound', '+14155550177', '+15125550900', 'Who is this?');
select is(pg_temp.history(phone => '+14155550177', tenant => :'apex'), '{"text received: Who is this?"}', 'a stranger''s words');
select is(pg_temp.history(phone => '+14155550178', tenant => :'apex'), null, 'of nobody there is nothing');

-- Who asks.
select pg_temp.sign_in(:'ann') \g /dev/null
select ok('text sent: Hi Maria' = any (pg_temp.history(phone => '+14155550142')), 'a member asks for the own office without naming it');
select ok('consent revoked: sms +14155550142' = any (pg_temp.history(:'maria')), 'and reads who stopped');
select pg_temp.sign_in(:'bob') \g /dev/null
select is(pg_temp.history(phone => '+14155550142'), null, 'another office knows nothing of them');
select is(pg_temp.history(:'maria'), null, 'by their id neither');
select matches(pg_temp.error_of(format('select * from ridgeline.get_person_history(%L, tenant_id => %L)', :'maria', :'apex')),
  '^22023 tenant_id|^P0002|^02000|tenant_id', 'nor by naming the office');
select pg_temp.act_as('anon') \g /dev/null
select matches(pg_temp.error_of('select * from ridgeline.get_person_history(phone => ''+14155550142'')'), '42501', 'nobody else asks at all');
select pg_temp.sign_out() \g /dev/null

select is(pg_temp.error_of(format('select * from ridgeline.get_person_history(tenant_id => %L)', :'apex')),
  '22023 contact_id: a contact, a phone number or an email address is needed', 'somebody has to be meant');
select is(pg_temp.error_of(format('select * from ridgeline.get_person_history(phone => ''call me'', tenant_id => %L)', :'apex')),
  '22023 phone: "call me" is not a phone number | Write it with its country code, such as +1 512 555 0100.', 'by a number that is one');
select is((select count(*) from ridgeline.get_person_history(:'maria', max_rows => -1, tenant_id => :'apex')), 1::bigint, 'a page has one row at least');

select * from finish();
rollback;

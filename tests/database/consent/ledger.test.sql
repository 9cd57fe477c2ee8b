-- Who agreed, and who took it back: kept for good, counted at once, for the person at every number, and lifted by nobody without a reason.
begin;
\ir ../foundation/story.psql
select plan(58);
set client_min_messages = error;

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex', 'owner') as olga \gset
select pg_temp.member(:'apex') as vera \gset
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900'), (:'blue', 'sms', '+15125550901');
update ridgeline.senders set limits = '{"per_second": 0}';
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing"}}]') as offer \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Your visit", "purpose": "transactional"}}]') as visit \gset
create function pg_temp.text_from(number text, body text, to_number text default '+15125550900') returns text
  language sql
  as $$
    select automation.receive_sms(jsonb_build_object('message_sid', 'SM' || md5(number || body || clock_timestamp()), 'from', number, 'to', to_number, 'body', body))
  $$;
-- What becomes of a text to a contact.
create function pg_temp.texted(contact uuid, workflow uuid) returns text
  language plpgsql
  as $$
declare
  run constant uuid := (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact))).id;
  claimed constant bigint := (select count(*) from automation.claim_steps('w', 10));
  answer text;
begin
  select coalesce((select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = run),
    (select 'held ' || (q.held ->> 'code') from ridgeline.scheduled_steps as q where q.execution_id = run)) into answer;
  delete from ridgeline.scheduled_steps as q where q.execution_id = run;
  return answer;
end;
$$;
create function pg_temp.ledger(given text) returns text
  language sql
  as $$ select string_agg(concat_ws(' ', c.status, c.method, c.purpose), ', ' order by c.seq) from ridgeline.consents as c where c.address = given $$;

-- A MEMBER WAS TOLD
select pg_temp.contact(:'apex', 'Maria', '+15125550101') as maria \gset
select pg_temp.sign_in(:'vera');
select alike(pg_temp.error_of($$select ridgeline.record_revocation('sms', '+15125550101', ' ')$$), '22023 note: %', 'a revocation says how it was said');
select alike(pg_temp.error_of($$select ridgeline.record_revocation('sms', '555', 'on the phone')$$), '22023 address: %', 'of a number that is one');
select alike(pg_temp.error_of($$select ridgeline.record_revocation('fax', '555', 'on the phone')$$), '22023 channel: %', 'by a channel there is');
select alike(pg_temp.error_of(format($$select ridgeline.record_revocation('sms', '+15125550101', 'x', 'all', %L)$$, :'blue')), 'PT404 %', 'of their own office');
select is((ridgeline.record_revocation('sms', '(512) 555-0101', 'on the phone, 3 June')).recorded_by, :'vera'::uuid, 'whoever works there records what they were told');
select alike(pg_temp.error_of('delete from ridgeline.consents'), '42501 %', 'and cannot delete it');
select alike(pg_temp.error_of($$update ridgeline.consents set status = 'granted'$$), '42501 %', 'nor change it');
select alike(pg_temp.error_of($$select ridgeline.lift_revocation('sms', '+15125550101', 'sorry')$$), '42501 %', 'nor take it back');
select alike(pg_temp.error_of('delete from ridgeline.suppressions'), '42501 %', 'by no other way');
select pg_temp.act_as('service_role');
select alike(pg_temp.error_of('delete from ridgeline.suppressions'), '42501 %', 'the office''s own server neither');
select alike(pg_temp.error_of('delete from ridgeline.consents'), '42501 %', 'nor the evidence');
select pg_temp.sign_out();
select is(pg_temp.texted(:'maria', :'visit'), 'skipped suppressed', 'nothing is sent to her');
select pg_temp.sign_in(:'olga');
select alike(pg_temp.error_of($$select ridgeline.lift_revocation('sms', '+15125550101', '')$$), '22023 reason: %', 'an owner lifts it only with a reason');
select is((ridgeline.lift_revocation('sms', '+15125550101', 'asked for it in writing')).evidence ->> 'reason', 'asked for it in writing', 'which is kept');
select pg_temp.sign_out();
select is(pg_temp.ledger('+15125550101'), 'revoked verbal all, granted lifted all', 'with what it lifted');
select is(pg_temp.texted(:'maria', :'visit'), 'running', 'she is written to again');
select pg_temp.sign_in(:'olga');
select is((ridgeline.record_revocation('sms', '+15125550101', 'no offers please', 'marketing')).purpose, 'marketing', 'only offers may be declined');
select pg_temp.sign_out();
select is(pg_temp.texted(:'maria', :'offer'), 'skipped suppressed', 'she gets none');
select is(pg_temp.texted(:'maria', :'visit'), 'running', 'her appointment is told');
select pg_temp.text_from('+15125550101', 'STOP');
select is(pg_temp.texted(:'maria', :'visit'), 'skipped suppressed', 'until she says stop');
select is((select count(*) from ridgeline.suppressions where tenant_id = :'blue'), 0::bigint, 'to nobody else');

-- FOR THE PERSON
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Bob', '+15125550201', 'bob@example.com') returning id as bob \gset
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Bob', '+15125550202', 'bob@example.com') returning id as bob_again \gset
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Eve', '+15125550203', 'bob@example.com') returning id as eve \gset
select pg_temp.text_from('+15125550201', 'please stop texting me');
select is(pg_temp.texted(:'bob', :'visit'), 'skipped suppressed', 'the number that said it');
select is(pg_temp.texted(:'bob_again', :'visit'), 'skipped suppressed', 'another row of the same person, by the email');
select is(pg_temp.texted(:'eve', :'visit'), 'running', 'somebody else with that email is not he');
update public.contacts set phone = '+15125550299' where id = :'bob';
select is(pg_temp.texted(:'bob', :'visit'), 'skipped suppressed', 'a number that is entered later');
select pg_temp.text_from('+15125550201', 'START');
select is(pg_temp.texted(:'bob', :'visit'), 'running', 'who says start is written to again');
select is(pg_temp.ledger('+15125550201'), 'revoked message all, granted keyword all', 'and the history is kept');

-- A family's telephone: nobody knows who it was, so a person is asked.
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Ann', '+15125550301', 'ann@example.com'), (:'apex', 'Cy', '+15125550301', 'cy@example.com');
insert into public.contacts (tenant_id, first_name, phone, email) values (:'apex', 'Ann', '+15125550302', 'ann@example.com') returning id as ann \gset
select pg_temp.text_from('+15125550301', 'STOP');
select is((select count(*) from ridgeline.suppressions where address = '+15125550301'), 1::bigint, 'the number itself gets nothing more');
select is(pg_temp.texted(:'ann', :'visit'), 'running', 'her own number does');
select is((select count(*) from public.tasks where title = 'Who said stop at +15125550301?'), 1::bigint, 'and the office is asked');
select is((automation.person_at(:'apex', 'info@example.com')).is_shared, true, 'an office''s address is nobody''s own');

-- ANOTHER TENANT whose last text to her came from the number she answered.
select pg_temp.contact(:'blue', 'Dee', '+15125550401') as blue_dee \gset
select pg_temp.workflow(:'blue', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]') as blue_visit \gset
create function pg_temp.sent_from(number text) returns void
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
begin
  select * into claimed from automation.claim_steps('w', 1);
  perform pg_temp.finish(claimed, 'succeeded', jsonb_build_object('result', jsonb_build_object('provider_id', gen_random_uuid(), 'from', number)));
end;
$$;
select (ridgeline.execute_workflow(:'blue_visit', jsonb_build_object('contact_id', :'blue_dee'))).id as run \gset
select pg_temp.sent_from('+15125550999');
select pg_temp.text_from('+15125550401', 'STOP', '+15125550901');
select is((select count(*) from ridgeline.suppressions where tenant_id = :'blue' and address = '+15125550401'), 1::bigint, 'who is answered is meant');
select pg_temp.contact(:'blue', 'Flo', '+15125550402') as flo \gset
select (ridgeline.execute_workflow(:'blue_visit', jsonb_build_object('contact_id', :'flo'))).id as run \gset
select pg_temp.sent_from('+15125550999');
select pg_temp.contact(:'apex', 'Flo', '+15125550402') as apex_flo \gset
select (ridgeline.execute_workflow(:'visit', jsonb_build_object('contact_id', :'apex_flo'))).id as run \gset
select pg_temp.sent_from('+15125550900');
select is(pg_temp.text_from('+15125550402', 'STOP', '+15125550999'), 'unknown_number', 'a number that belongs to no tenant, but that one has sent from');
select is((select count(*) from ridgeline.suppressions where tenant_id = :'blue' and address = '+15125550402'), 1::bigint, 'is a stop for that one');
select is((select count(*) from ridgeline.suppressions where tenant_id = :'apex' and address = '+15125550402'), 0::bigint, 'and for no other, though it has written to her from its own');

-- DOUBTFUL: a person decides; marketing waits a day.
select pg_temp.contact(:'apex', 'Gus', '+15125550501') as gus \gset
select pg_temp.text_from('+15125550501', 'I wish you people would stop with these messages ok?');
select is(pg_temp.ledger('+15125550501'), null, 'what is not beyond doubt is no revocation');
select is(pg_temp.texted(:'gus', :'visit'), 'running', 'what serves him goes');
select is((select count(*) from public.tasks where title = 'Did +15125550501 ask for no more texts?'), 1::bigint, 'somebody is asked');
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'gus'))).id as run \gset
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'an offer waits');
select is((select held ->> 'code' from ridgeline.scheduled_steps where execution_id = :'run'), 'doubtful_stop', 'and says for what');
select pg_temp.sign_in(:'olga');
select alike(pg_temp.error_of($$select ridgeline.answer_doubt('+15125550999', true)$$), 'PT404 %', 'about a number that nobody is asked about there is no answer');
select is(ridgeline.answer_doubt('(512) 555-0501', false), 1, 'they say it was none, and one text goes on');
select pg_temp.sign_out();
select is((select count(*) from automation.claim_steps('w', 10)), 1::bigint, 'at once');
select pg_temp.contact(:'apex', 'Hal', '+15125550502') as hal \gset
select pg_temp.text_from('+15125550502', 'why do you spam me');
select is(pg_temp.texted(:'hal', :'offer'), 'held doubtful_stop', 'another');
select (ridgeline.execute_workflow(:'offer', jsonb_build_object('contact_id', :'hal'))).id as run \gset
select count(*) from automation.claim_steps('w', 10) \g /dev/null
select automation.advance_clock('25 hours');
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'whom nobody answered for a day');
select is((select error ->> 'code' from ridgeline.workflow_step_executions where execution_id = :'run'), 'suppressed', 'has said stop');
select is(pg_temp.ledger('+15125550502'), 'revoked silence all', 'which is on record');
select is((select count(*) from (values ('Can you stop by tomorrow?'), ('Do not forget the ladder'), ('Yes please'), ('Stop and see the gutter on the left')) as v (b) where automation.is_doubtful_stop(b)), 0::bigint, 'what plainly means something else is no doubt');

-- A TENANT THAT ASKS FOR CONSENT
update public.tenants set settings = '{"consent": "required"}' where id = :'apex';
select pg_temp.contact(:'apex', 'Ida', '+15125550601') as ida \gset
select is(pg_temp.texted(:'ida', :'offer'), 'skipped no_consent', 'who has not agreed gets no offer');
select is(pg_temp.texted(:'ida', :'visit'), 'running', 'but what she asked for');
select pg_temp.sign_in(:'olga');
select alike(pg_temp.error_of($$select ridgeline.grant_consent('sms', '+15125550601', ' ')$$), '22023 wording: %', 'consent has words');
select alike(pg_temp.error_of($$select ridgeline.grant_consent('sms', '+15125550502', 'I agree')$$), 'PT409 %', 'of who said stop nobody else records consent');
select is((ridgeline.grant_consent('sms', '+15125550601', 'I agree to get offers by text')).status, 'granted', 'she signed');
select pg_temp.sign_out();
select is(pg_temp.texted(:'ida', :'offer'), 'running', 'and gets them');

-- A FORM keeps the words that were shown; with double opt-in the number itself has to say yes.
insert into ridgeline.forms (tenant_id, name, public_key, allowed_origins, consent) values (:'apex', 'Estimate', 'form_0123456789abcdef', '{*}',
  '{"field": "agree", "wording": "Yes, text me offers. Reply STOP to end.", "channels": ["sms"], "double_opt_in": true}');
select automation.submit_form('form_0123456789abcdef', 'https://apex.example', '1.2.3.4', '{"first_name": "Jo", "phone": "+15125550701", "agree": ""}') \g /dev/null
select is(pg_temp.ledger('+15125550701'), null, 'a box that was not ticked is no consent');
select automation.submit_form('form_0123456789abcdef', 'https://apex.example', '1.2.3.4', '{"first_name": "Jo", "phone": "+15125550701", "agree": "on"}') \g /dev/null
select is((select array[status, evidence ->> 'wording'] from ridgeline.consents where address = '+15125550701'), '{pending,"Yes, text me offers. Reply STOP to end."}', 'one that was, with its words, and to be confirmed');
select pg_temp.contact(:'apex', 'Jo', '+15125550701') as jo \gset
select is(pg_temp.texted(:'jo', :'offer'), 'skipped no_consent', 'until then it is none');
select pg_temp.text_from('+15125550701', 'Yes!');
select is(pg_temp.texted(:'jo', :'offer'), 'running', 'her yes is');
select * from finish();
rollback;

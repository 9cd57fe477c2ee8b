-- Every marketing email has a way out that works for whoever holds its link, and for nobody else.
begin;
\ir ../foundation/story.psql
select plan(39);
set client_min_messages = error;

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
create function pg_temp.mail(workflow uuid, contact uuid) returns automation.claimed_step
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
begin
  perform ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact));
  select * into claimed from automation.claim_steps('w', 1);
  return claimed;
end;
$$;
create function pg_temp.outcome(workflow uuid) returns text
  language sql
  as $$ select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(workflow)).id $$;

-- PUBLISHING
create function pg_temp.said_of(config jsonb) returns text
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.draft((select id from public.tenants where name = 'Apex Roofing'), 'contact_created', '{}', jsonb_build_array(jsonb_build_object('type', 'send_email', 'config', '{"subject": "Hi", "text": "Hi"}'::jsonb || config)));
begin
  return (select string_agg(concat_ws(' ', p ->> 'severity', p ->> 'code', p ->> 'path'), ', ') from jsonb_array_elements(ridgeline.validate_workflow(workflow) -> 'problems') as p);
end;
$$;
select is(pg_temp.said_of('{"purpose": "marketing"}'), 'error no_postal_address steps[0]', 'marketing of an office without an address is not published');
select is(pg_temp.said_of('{"purpose": "transactional"}'), null, 'a receipt is');
select is(pg_temp.said_of('{"purpose": "transactional", "headers": {"List-Unsubscribe": "<https://elsewhere.example>"}}'), 'error invalid_header steps[0].step_config.headers.List-Unsubscribe', 'no step names another way out');
update public.tenants set address = '1 Main St, Austin TX 78701' where id = :'apex';
select is(pg_temp.said_of('{"purpose": "marketing"}'), null, 'with an address it is');

-- THE LINK
-- The secret of an installation that was there before its Vault.
select automation.kept_unsubscribe_secret() as kept \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "mail", "type": "send_email", "config": {"subject": "Offer", "html": "<p>Hi</p>", "purpose": "marketing"}}]') as offer \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "mail", "type": "send_email", "config": {"subject": "Receipt", "text": "Hi", "purpose": "transactional"}}]') as receipt \gset
select pg_temp.mail(:'offer', :'maria') as mail \gset
select (:'mail'::automation.claimed_step).payload #>> '{unsubscribe,token}' as token, (:'mail'::automation.claimed_step).step_id as step \gset
select matches(:'token'::text, '^[0-9a-f]{64}$', 'an offer comes with a token of 32 bytes');
select is(((:'mail'::automation.claimed_step).payload -> 'unsubscribe') - 'token', '{"name": "Apex Roofing", "address": "1 Main St, Austin TX 78701", "required": true}', 'and with whose it is and where they are');
select is((select count(*) from ridgeline.workflow_step_executions where input::text like '%' || :'token' || '%') + (select count(*) from automation.unsubscribe_tokens where digest::text like '%' || :'token' || '%'), 0::bigint, 'which no row holds');
select is((select addresses from automation.unsubscribe_tokens where digest = sha256(convert_to(:'token', 'UTF8'))), '{maria@example.com}', 'but its digest');
select is((pg_temp.mail(:'receipt', :'maria')).payload ? 'unsubscribe', false, 'a receipt has none');
-- The same email again has the same link, another one another.
create temp table again as select pg_temp.finish(:'mail'::automation.claimed_step, 'ambiguous', '{"error": {"code": "timeout"}}') as status;
select automation.advance_clock('2 hours');
select is((select c.payload #>> '{unsubscribe,token}' from automation.claim_steps('w', 10) as c where c.step_id = :'step'), :'token'::text, 'a repeated attempt says the same');
select isnt((pg_temp.mail(:'offer', :'maria')).payload #>> '{unsubscribe,token}', :'token'::text, 'the next offer has a link of its own');
select isnt(automation.unsubscribe_token(:'blue', :'step'), automation.unsubscribe_token(:'apex', :'step'), 'so has another tenant''s');
select is((select count(*) from automation.unsubscribe_secret), 0::bigint, 'what tokens are made with stands in no row');
select is((select s.decrypted_secret from vault.decrypted_secrets as s where s.name = 'ridgeline/unsubscribe'), encode(:'kept'::bytea, 'hex'), 'it was taken along into the Vault');
savepoint closed;
alter view vault.decrypted_secrets rename column decrypted_secret to closed;
select matches(automation.unsubscribe_token(:'apex', :'step'), '^[0-9a-f]{64}$', 'a Vault that cannot be read keeps no email back');
rollback to closed;
alter schema vault rename to elsewhere;
select matches(automation.unsubscribe_token(:'apex', :'step'), '^[0-9a-f]{64}$', 'nor does a server without one');
select is(automation.unsubscribe_token(:'apex', :'step'), automation.unsubscribe_token(:'apex', :'step'), 'which keeps its secret, in a row that nobody may read');
rollback to closed;
delete from ridgeline.scheduled_steps;

-- WHERE IT LEADS: dispatchers of two addresses repeat an email word for word.
insert into public.contacts (tenant_id, first_name, email) values (:'apex', 'Lea', 'lea@example.com') returning id as lea \gset
insert into public.contacts (tenant_id, first_name, email) values (:'apex', 'Leo', 'leo@example.com') returning id as leo \gset
select set_config('automation.functions_address', 'https://one.example/functions/v1', true) \g /dev/null
select pg_temp.mail(:'offer', :'lea') as led \gset
select is((:'led'::automation.claimed_step).payload #>> '{unsubscribe,functions}', 'https://one.example/functions/v1', 'an offer leads where the dispatcher that claims it is reached');
create temp table unclear as select pg_temp.finish(:'led'::automation.claimed_step, 'ambiguous', '{"error": {"code": "timeout"}}') as status;
select automation.advance_clock('2 hours');
select set_config('automation.functions_address', 'https://two.example/functions/v1', true) \g /dev/null
select is((select c.payload -> 'unsubscribe' from automation.claim_steps('other', 10) as c where c.step_id = (:'led'::automation.claimed_step).step_id),
  (:'led'::automation.claimed_step).payload -> 'unsubscribe', 'and still does when another one repeats it');
select is((pg_temp.mail(:'offer', :'leo')).payload #>> '{unsubscribe,functions}', 'https://two.example/functions/v1', 'whose own offers lead to its own');
select set_config('automation.functions_address', 'https://one.example/"><script>', true) \g /dev/null
select is((pg_temp.mail(:'offer', :'leo')).payload #>> '{unsubscribe,functions}', null, 'what is no address is none');
select set_config('automation.functions_address', '', true) \g /dev/null
delete from ridgeline.scheduled_steps;

-- FORGED, FOREIGN, OLD
select automation.unsubscribe(repeat('0', 64), 'marketing');
select automation.unsubscribe('', 'marketing');
select automation.unsubscribe(null, null);
select automation.unsubscribe(:'token' || '0', 'all');
select is((select count(*) from ridgeline.suppressions), 0::bigint, 'a token that nobody made does nothing');
select pg_temp.act_as('anon');
select alike(pg_temp.error_of(format('select automation.unsubscribe(%L, ''all'')', :'token')), '42501 %', 'past the function nobody posts');
select pg_temp.sign_out();
select pg_temp.act_as('service_role');
select alike(pg_temp.error_of('select * from automation.unsubscribe_secret'), '42501 %', 'and nobody reads what tokens are made with');
select pg_temp.sign_out();
update automation.unsubscribe_tokens set created_at = created_at - interval '2 years 1 day';
select automation.unsubscribe(:'token', 'marketing');
select is((select count(*) from ridgeline.suppressions), 0::bigint, 'after two years it is over');
update automation.unsubscribe_tokens set created_at = created_at + interval '2 years';

-- POSTED
select automation.unsubscribe(:'token', 'marketing');
select is((select array[address, channel, purpose, reason] from ridgeline.suppressions where tenant_id = :'apex'), '{maria@example.com,email,marketing,opt_out}', 'one click ends offers');
select is((select array[method, purpose, status, evidence ->> 'step_id'] from ridgeline.consents), array['unsubscribe', 'marketing', 'revoked', :'step'], 'on record with the email it came from');
select automation.unsubscribe(:'token', 'marketing') from generate_series(1, 5) \g /dev/null
select is((select count(*) from ridgeline.consents), 1::bigint, 'posted again by scanners it is one revocation');
select pg_temp.mail(:'offer', :'maria') \g /dev/null
select is(pg_temp.outcome(:'offer'), 'skipped suppressed', 'she gets no offer');
select is((pg_temp.mail(:'receipt', :'maria')).step_type, 'send_email', 'her receipt comes');
select is((select count(*) from ridgeline.suppressions where tenant_id <> :'apex'), 0::bigint, 'another office is not told');
select automation.unsubscribe(:'token', 'all');
select pg_temp.mail(:'receipt', :'maria') \g /dev/null
select is(pg_temp.outcome(:'receipt'), 'skipped suppressed', 'who wants nothing at all gets nothing at all');
select automation.unsubscribe(:'token', 'marketing');
select is((select count(*) from ridgeline.consents), 2::bigint, 'which the smaller wish does not undo');
-- The text channel is another.
select is((select count(*) from ridgeline.suppressions where channel = 'sms'), 0::bigint, 'her texts are another matter');

-- While the next one is claimed: what a dispatcher holds is let go, what comes after is not.
insert into public.contacts (tenant_id, first_name, email) values (:'apex', 'Bob', 'bob@example.com') returning id as bob \gset
select pg_temp.mail(:'offer', :'bob') as first \gset
select pg_temp.mail(:'offer', :'bob') as second \gset
select automation.unsubscribe((:'first'::automation.claimed_step).payload #>> '{unsubscribe,token}', 'marketing');
select is(pg_temp.finish(:'second'::automation.claimed_step, 'retry', '{"error": {"code": "429"}}'), 'waiting', 'a post while the send is claimed: the provider refuses the second');
select automation.advance_clock('1 day');
select is((select count(*) from automation.claim_steps('w', 10) as c where c.step_id = (:'second'::automation.claimed_step).step_id), 0::bigint, 'and it is not tried again');

-- To several: whoever clicks, all of them are left alone.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_email", "config": {"to": ["ann@example.com", "{{contact.email}}"], "subject": "Offer", "text": "Hi", "purpose": "marketing"}}]') as two \gset
insert into public.contacts (tenant_id, first_name, email) values (:'apex', 'Cy', 'cy@example.com') returning id as cy \gset
select automation.unsubscribe((pg_temp.mail(:'two', :'cy')).payload #>> '{unsubscribe,token}', 'marketing');
select is((select count(*) from ridgeline.suppressions where address in ('ann@example.com', 'cy@example.com')), 2::bigint, 'an email to two is a link for both');

-- Unsaid is marketing, as far as the office can.
update public.tenants set address = ' ' where id = :'apex';
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]') as unsaid \gset
insert into public.contacts (tenant_id, first_name, email) values (:'apex', 'Di', 'di@example.com') returning id as di \gset
select is(((pg_temp.mail(:'unsaid', :'di')).payload -> 'unsubscribe') - 'token', '{"name": "Apex Roofing", "required": false}', 'an email that does not say what it is has a link too');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_email", "config": {"to": "office@apex.example", "subject": "Hi", "text": "Hi"}}]') as internal \gset
select is((pg_temp.mail(:'internal', :'di')).payload ? 'unsubscribe', false, 'one to the office itself does not');
select * from finish();
rollback;

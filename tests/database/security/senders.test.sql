-- A tenant speaks as its own senders and keeps its own secrets.
begin;
\ir ../foundation/story.psql
select plan(71);

update automation.settings set value = 'single_tenant' where name = 'environment_serves';
select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar', '00000000-0000-0000-0000-00000000000b') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'apex', 'admin') as ada \gset
select pg_temp.member(:'blue', 'owner') as rival \gset
create function pg_temp.outcome(statement text) returns text
  language plpgsql
  as $$
declare
  n integer;
begin
  execute statement;
  get diagnostics n = row_count;
  return n || ' rows';
exception when others then
  return sqlstate || ' ' || sqlerrm;
end;
$$;

-- What a send comes from: "from", the code it failed with, or "environment".
create function pg_temp.sent_from(tenant uuid, type text, config text) returns text
  language plpgsql
  as $$
declare
  flow uuid;
  claimed automation.claimed_step;
  answer text;
begin
  begin
    flow := pg_temp.workflow(tenant, 'manual', '{}', jsonb_build_array(jsonb_build_object('key', 's', 'type', type,
      'config', jsonb_build_object('body', 'Hi', 'subject', 'Hi', 'text', 'Hi') - case type when 'send_sms' then '{subject,text}' else '{body}' end::text[]
        || config::jsonb)));
  exception when others then
    return 'unpublished';
  end;
  perform ridgeline.execute_workflow(flow, jsonb_build_object('custom', jsonb_build_object('mine', '+1 512 555 0111',
    'theirs', '+15125550222', 'us', 'Apex <office@apex.example>', 'them', 'Apex <office@blue.example>', 'none', ''),
    'contact_id', pg_temp.contact(tenant)), tenant);
  select c.* into claimed from automation.claim_steps('w', 1) as c;
  answer := coalesce(claimed.payload ->> 'from', claimed.payload ->> 'messaging_service_sid',
    (pg_temp.only_run(flow)).error ->> 'code',
    (select q.held ->> 'code' from ridgeline.scheduled_steps as q where q.execution_id = (pg_temp.only_run(flow)).id), 'environment');
  delete from ridgeline.scheduled_steps as q where q.execution_id = (pg_temp.only_run(flow)).id;
  return answer;
end;
$$;

-- Nobody's yet.
select is(pg_temp.sent_from(:'apex', 'send_sms', '{}'), 'no_sender', 'the environment''s number is not one tenant''s of two');
select is(pg_temp.sent_from(:'apex', 'send_email', '{}'), 'no_sender', 'nor is its address');
insert into ridgeline.senders (tenant_id, channel, kind, address) values (:'apex', 'sms', 'environment', '');
select is(pg_temp.sent_from(:'apex', 'send_sms', '{}'), 'environment', 'unless whoever runs it says so');
select is(pg_temp.sent_from(:'blue', 'send_sms', '{}'), 'no_sender', 'of this one');
select is(pg_temp.sent_from(:'apex', 'send_email', '{}'), 'no_sender', 'and this channel');
-- Who carries it is settled at the first attempt.
savepoint carriers;
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "s", "type": "send_sms", "config": {"body": "Hi"}}]') as flow \gset
select count(ridgeline.execute_workflow(:'flow', jsonb_build_object('contact_id', pg_temp.contact(:'apex')), :'apex')) from generate_series(1, 2) \gset
select count(pg_temp.finish(c, 'ambiguous')) from automation.claim_steps('w', 1) as c \gset
select count(pg_temp.finish(c, 'retry')) from automation.claim_steps('w', 1) as c \gset
update automation.settings set value = 'telnyx' where name = 'sms_provider';
select automation.advance_clock('1 hour');
select set_eq($$ select case when c.reconcile_since is null then 'refused' else 'unclear' end, c.payload #>> '{sender,provider}', pg_temp.finish(c, 'succeeded', jsonb_build_object('result', jsonb_build_object('provider_id', c.step_id))) from automation.claim_steps('w', 10) as c $$,
  $$ values ('unclear', 'twilio', 'completed'), ('refused', 'telnyx', 'completed') $$, 'what may be out is asked of whom it was given to; what is not goes where the setting says');
select set_eq($$ select m.provider, automation.sent_by('ridgeline.messages', m.provider, m.provider_id) from ridgeline.messages as m $$,
  format($$ values ('twilio', %L::uuid), ('telnyx', %1$L) $$, :'apex'), 'and is recorded, and told of, so');
rollback to carriers;
delete from ridgeline.senders;

insert into ridgeline.senders (tenant_id, channel, address, is_default) values
  (:'apex', 'sms', '(512) 555-0111', true), (:'apex', 'sms', 'MG1', false), (:'apex', 'email', 'Apex.example', false),
  (:'apex', 'email', 'office@roofs.example', true), (:'blue', 'sms', '+15125550222', true), (:'blue', 'email', 'office@blue.example', true);
update ridgeline.senders set display_name = 'Apex Roofing' where address = 'office@roofs.example';
update ridgeline.senders set limits = '{"per_second": 0}';
insert into ridgeline.senders (tenant_id, channel, address, is_active, verified_at) values
  (:'apex', 'sms', '+15125550333', false, now()), (:'apex', 'email', 'office@unproven.example', true, null);
select is((select string_agg(kind || ' ' || address || ' ' || provider, ', ' order by kind, address) from ridgeline.senders where tenant_id = :'apex'),
  'address office@roofs.example resend, address office@unproven.example resend, domain apex.example resend, number +15125550111 twilio, number +15125550333 twilio, service MG1 twilio',
  'a sender is kept in one notation');
select is(pg_temp.sent_from(:'apex', type, config), expected, type || ' ' || config)
from (values
  ('send_sms', '{}', '+15125550111'),
  ('send_sms', '{"from": "512-555-0111"}', '+15125550111'),
  ('send_sms', '{"from": "{{custom.mine}}"}', '+15125550111'),
  ('send_sms', '{"messaging_service_sid": "MG1"}', 'MG1'),
  ('send_sms', '{"from": "{{custom.none}}"}', '+15125550111'),
  ('send_sms', '{"from": "+15125550222"}', 'unpublished'),
  ('send_sms', '{"from": "{{custom.theirs}}"}', 'sender_not_yours'),
  ('send_sms', '{"messaging_service_sid": "{{custom.theirs}}"}', 'sender_not_yours'),
  ('send_sms', '{"messaging_service_sid": "MG2"}', 'unpublished'),
  ('send_sms', '{"from": "+15125550333"}', 'unpublished'),
  ('send_sms', '{"from": "office@apex.example"}', 'unpublished'),
  ('send_email', '{}', 'Apex Roofing <office@roofs.example>'),
  ('send_email', '{"from": "Zoe at Apex <zoe@APEX.example>"}', 'Zoe at Apex <zoe@APEX.example>'),
  ('send_email', '{"from": "office@roofs.example"}', 'office@roofs.example'),
  ('send_email', '{"from": "{{custom.us}}"}', 'Apex <office@apex.example>'),
  ('send_email', '{"from": "{{custom.them}}"}', 'sender_not_yours'),
  ('send_email', '{"from": "office@blue.example"}', 'unpublished'),
  ('send_email', '{"from": "else@roofs.example"}', 'unpublished'),
  ('send_email', '{"from": "x@evil.apex.example"}', 'unpublished'),
  ('send_email', '{"from": "x@apex.example.evil.example"}', 'unpublished'),
  ('send_email', '{"from": "x@apex.example, x@blue.example"}', 'unpublished'),
  ('send_email', '{"from": "x@apex.example <office@blue.example>"}', 'unpublished'),
  ('send_email', '{"from": "<x@apex.example> <office@blue.example>"}', 'unpublished'),
  ('send_email', '{"from": "office@unproven.example"}', 'unpublished'),
  ('send_email', '{"headers": {"From": "office@blue.example"}}', 'unpublished'),
  ('send_email', '{"headers": {"bcc": "all@blue.example"}}', 'unpublished'),
  ('send_email', '{"headers": {"Resent-From": "office@blue.example"}}', 'unpublished')
) as v (type, config, expected);

-- A sender that is gone between two attempts.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "s", "type": "send_sms", "config": {"body": "Hi"}}]') as flow \gset
select (ridgeline.execute_workflow(:'flow', jsonb_build_object('contact_id', pg_temp.contact(:'apex')), :'apex')).id as run \gset
select pg_temp.finish(c, 'ambiguous') from automation.claim_steps('w', 1) as c;
update ridgeline.senders set is_active = false where tenant_id = :'apex' and channel = 'sms';
select automation.advance_clock('1 hour');
select is((select count(*) from automation.claim_steps('w', 1)), 0::bigint, 'is not sent from any more');
select is((pg_temp.only_run(:'flow')).error ->> 'code', 'sender_not_yours', 'and the run says so');

-- Whose a number is, is not for members to say.
select alike(pg_temp.outcome(format('insert into ridgeline.senders (tenant_id, channel, address) values (%L, ''sms'', ''512 555 0111'')', :'blue')), '23505 %', 'one number, one tenant');
select is(pg_temp.outcome(format('insert into ridgeline.senders (tenant_id, channel, address, verified_at) values (%L, ''sms'', ''512 555 0111'', null)', :'blue')), '1 rows', 'a claim alone is nothing');
select is(automation.tenant_of_number('+15125550111'), :'apex'::uuid, 'and takes nobody''s texts');
savepoint providers;
select is(automation.tenant_of_number('+15125550111', 'telnyx'), :'apex'::uuid, 'it is theirs whichever provider tells');
insert into ridgeline.senders (tenant_id, channel, provider, address) values (:'apex', 'sms', 'telnyx', '512 555 0111');
select is(automation.tenant_of_number('+15125550111', 'vonage'), :'apex'::uuid, 'also with two of them');
update ridgeline.senders set tenant_id = :'blue' where provider = 'telnyx' and address = '+15125550111';
select is((select array_agg(automation.tenant_of_number('+15125550111', p) order by p) from unnest('{telnyx,twilio,vonage}'::text[]) as p),
  array[:'blue', :'apex', null]::uuid[], 'two tenants with two providers have what their own tells, and nobody what another does');
rollback to providers;
select pg_temp.sign_in(:'rival');
select alike(pg_temp.outcome(statement), outcome, 'a rival: ' || statement)
from (values
  ('insert into ridgeline.senders (tenant_id, channel, address) values (''00000000-0000-0000-0000-00000000000b'', ''sms'', ''+15125550999'')', '42501 %'),
  ('update ridgeline.senders set verified_at = now()', '42501 %'),
  ('update ridgeline.senders set address = ''+15125550111''', '42501 %'),
  ('update ridgeline.senders set credentials = ''twilio''', '42501 %'),
  ('update ridgeline.senders set is_default = false where tenant_id = ''00000000-0000-0000-0000-00000000000a''', '0 rows'),
  ('update ridgeline.senders set label = ''Front desk'' where channel = ''email''', '1 rows'),
  ('select automation.read_secret(''00000000-0000-0000-0000-00000000000a'', ''crm'')', '42501 %'),
  ('select automation.signing_secrets(''00000000-0000-0000-0000-00000000000a'')', '42501 %'),
  ('select * from vault.decrypted_secrets', '42501 %'),
  ('select ridgeline.set_secret(''crm'', ''x'', ''00000000-0000-0000-0000-00000000000a'')', 'PT404 %')
) as v (statement, outcome);
select is(pg_temp.outcome('select ridgeline.set_secret(''crm'', ''of blue'')'), '1 rows', 'keeps secrets of its own');
select is((select string_agg(name, ', ') from ridgeline.list_secrets()), 'crm', 'and lists their names');
select pg_temp.sign_out();
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome('select ridgeline.set_secret(''crm'', ''x'')'), '42501 %', 'a member keeps none');
select pg_temp.sign_out();
select pg_temp.sign_in(:'ada');
select is(pg_temp.outcome('select ridgeline.set_secret(''crm'', ''of apex'')'), '1 rows', 'an admin does');
select alike(pg_temp.outcome('select ridgeline.set_secret(''../b/crm'', ''x'')'), '22023 name: %', 'under a name that leads nowhere else');
select ridgeline.rotate_webhook_secret() as first_secret \gset
select ridgeline.rotate_webhook_secret() as second_secret \gset
select pg_temp.sign_out();
select is(array[automation.read_secret(:'apex', 'crm'), automation.read_secret(:'blue', 'crm')], array['of apex', 'of blue'], 'each has its own');
select is((select secrets from automation.signing_secrets(:'apex')), array[:'second_secret', :'first_secret'], 'while a signing secret is new, the one before it signs too');
select is((select secrets from automation.signing_secrets(:'blue')), '{}', 'another tenant''s is not known by it');

-- The project has moved, and the key of its Vault with it has not.
create function pg_temp.decrypted(secret text) returns text
  language plpgsql
  as $$
begin
  if secret = 'of another project' then
    raise exception 'pgsodium_crypto_aead_det_decrypt_by_id: invalid ciphertext' using errcode = '22000';
  elsif secret = 'in somebody''s hands' then
    raise exception 'canceling statement due to lock timeout' using errcode = '55P03';
  end if;
  return secret;
end;
$$;
create or replace view vault.decrypted_secrets as
select id, name, description, secret, pg_temp.decrypted(secret) as decrypted_secret, key_id, nonce, created_at, updated_at
from vault.secrets;
update vault.secrets set secret = 'of another project' where name like '%/crm';
select pg_temp.sign_in(:'rival');
select is(pg_temp.outcome('select ridgeline.set_secret(''crm'', ''of blue again'')'), '1 rows', 'what cannot be decrypted is replaced');
select pg_temp.sign_out();
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome('select ridgeline.set_secret(''crm'', ''x'')'), '42501 tenant_id: %', 'and a member is told no more of it than of another');
select pg_temp.sign_out();
select is((select string_agg(c.operation, ' ' order by c.id) from ridgeline.changes as c where c.tenant_id = :'blue' and c.record_id = 'crm'), 'insert update',
  'each is on record');
-- Nor what webhooks were signed with, and what that took the place of an hour before.
update vault.secrets set secret = 'of another project' where name like '%/webhook_signing%';
select alike(pg_temp.outcome(format('select automation.signing_secrets(%L)', :'apex')), '55000 the secret "webhook_signing" cannot be read: pgsodium%',
  'a send is told which secret it lacks');
select alike(pg_temp.outcome(format('select automation.first_signing_secret(%L)', :'apex')), '55000 the secret "webhook_signing" cannot be read: %',
  'and makes no other in its place, which nobody would know');
select pg_temp.sign_in(:'ada');
select ridgeline.rotate_webhook_secret() as third_secret \gset
select pg_temp.sign_out();
select is((select secrets from automation.signing_secrets(:'apex')), array[:'third_secret'], 'until somebody asks for a new one, which signs alone');
select is((select string_agg(c.operation, ' ' order by c.id) from ridgeline.changes as c where c.tenant_id = :'apex' and c.record_id = 'webhook_signing'),
  'insert update update', 'on record as what took the place of another');
select is((select count(*) from vault.secrets as s where s.name like '%/webhook_signing_previous'), 0::bigint, 'and what cannot sign is gone');

-- What passes by itself takes no secret's place.
update vault.secrets set secret = 'in somebody''s hands' where name like '%/webhook_signing';
select pg_temp.sign_in(:'ada');
select alike(pg_temp.outcome('select ridgeline.rotate_webhook_secret()'), '55P03 %', 'a moment''s failure is said as it is');
select pg_temp.sign_out();
select is((select count(*) from vault.secrets as s where s.secret = 'in somebody''s hands'), 1::bigint, 'and nothing is replaced for it');

select * from finish();
rollback;

-- Who gets an email: those whom the workflow's author named, whatever a record contains.
begin;
\ir ../foundation/story.psql
select plan(86);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
insert into ridgeline.senders (tenant_id, channel, kind, address) values (:'apex', 'email', 'domain', 'apex.example'),
  (:'apex', 'sms', 'number', '88811'), (:'apex', 'sms', 'name', 'ApexRoofing');
insert into ridgeline.senders (tenant_id, channel, address, is_default) values (:'apex', 'sms', '+15125550177', true);
update ridgeline.senders set limits = '{"per_second": 0}';

-- A lead comes in (fields of the contact) while an email is set up (keys of its step_config): what goes out, as
-- {to, cc, ...}, or how the step ended; with the warnings of the step when there are any.
create function pg_temp.mail(config jsonb, lead jsonb) returns jsonb
  language plpgsql
  as $$
declare
  tenant constant uuid := '00000000-0000-0000-0000-00000000000a';
  workflow constant uuid := pg_temp.workflow(tenant, 'contact_created', '{}', jsonb_build_array(jsonb_build_object(
    'key', 'mail', 'type', 'send_email', 'config', '{"subject": "Hi", "text": "Hello", "purpose": "transactional"}'::jsonb || config)));
  claimed automation.claimed_step;
  ledger ridgeline.workflow_step_executions;
begin
  insert into public.contacts (tenant_id, first_name, last_name, company, email, custom_fields) values (tenant,
    lead ->> 'first_name', lead ->> 'last_name', lead ->> 'company', lead ->> 'email', lead - '{first_name,last_name,company,email}'::text[]);
  select c.* into claimed from automation.claim_steps('w', 1) as c;
  if claimed.step_id is not null then
    perform pg_temp.finish(claimed, 'succeeded', jsonb_build_object('result', jsonb_build_object('provider_id', 'e-' || claimed.step_id)));
  end if;
  select s.* into ledger from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(workflow)).id;
  update ridgeline.workflows as w set is_active = false where w.id = workflow;
  return case
    when claimed.step_id is not null then claimed.payload - '{subject,text,sender}'::text[]
      || case when claimed.payload ->> 'subject' <> 'Hi' then jsonb_build_object('subject', claimed.payload -> 'subject') else '{}' end
    else jsonb_build_object('ended', concat_ws(' ', ledger.status, ledger.error ->> 'code', ledger.error ->> 'message'))
  end || case when ledger.warnings is null then '{}'
    else jsonb_build_object('warnings', (select jsonb_agg(concat_ws(' ', w ->> 'path', w ->> 'code', w ->> 'given')) from jsonb_array_elements(ledger.warnings) as w)) end;
end;
$$;

-- A display name is quoted as it must be.
select is(pg_temp.mail('{"to": "{{contact.company}} <{{contact.email}}>"}', jsonb_build_object('company', v.company, 'email', 'jo@example.com')),
  jsonb_build_object('to', jsonb_build_array(v.mailbox)), v.mailbox)
from (values
  ('Lopez Roofing', 'Lopez Roofing <jo@example.com>'),
  ('Lopez Roofing, Inc.', '"Lopez Roofing, Inc." <jo@example.com>'),
  ('Tom <3 Ann', '"Tom <3 Ann" <jo@example.com>'),
  ('The "Roof" Guys', '"The \"Roof\" Guys" <jo@example.com>'),
  ('Back\slash', '"Back\\slash" <jo@example.com>'),
  ('ends with \', '"ends with \\" <jo@example.com>'),
  ('José Núñez', 'José Núñez <jo@example.com>'),
  ('屋根 & Söhne; GmbH', '"屋根 & Söhne; GmbH" <jo@example.com>'),
  ('eve@evil.example', '"eve@evil.example" <jo@example.com>'),
  ('Eve <eve@evil.example>, Bo', '"Eve <eve@evil.example>, Bo" <jo@example.com>'),
  (E'Bo\r\nBcc: eve@evil.example', '"Bo Bcc: eve@evil.example" <jo@example.com>'),
  (E'Bo\u2028Lee\u0085\u0007', 'Bo Lee <jo@example.com>'),
  ('=?utf-8?q?Bo=2C?=', '"=?utf-8?q?Bo=2C?=" <jo@example.com>'),
  (E' \t', 'jo@example.com'),
  (repeat('x', 300), repeat('x', 200) || ' <jo@example.com>'),
  ('{{contact.email}}, {{trigger.x}}', '"{{contact.email}}, {{trigger.x}}" <jo@example.com>')
) as v (company, mailbox);

-- What stands where an address should is one address, or none.
select is(pg_temp.mail(v.config::jsonb, jsonb_build_object('first_name', 'Bo', 'email', v.email)), v.expected::jsonb, v.config || ' ' || v.email)
from (values
  ('{}', 'Bo@Example.com', '{"to": ["Bo@Example.com"]}'),
  ('{}', E' bo@example.com\u200B\r\n', '{"to": ["bo@example.com"]}'),
  ('{}', 'bo@example.com, eve@evil.example', '{"ended": "skipped invalid_recipient to: \"bo@example.com, eve@evil.example\" is not one email address"}'),
  ('{}', 'bo@example.com;eve@evil.example', '{"ended": "skipped invalid_recipient to: \"bo@example.com;eve@evil.example\" is not one email address"}'),
  ('{}', E'bo@example.com\neve@evil.example', '{"ended": "skipped invalid_recipient to: \"bo@example.com eve@evil.example\" is not an email address"}'),
  ('{}', 'Bo Lee <bo@example.com>', '{"to": ["Bo Lee <bo@example.com>"]}'),
  ('{}', '"Lee, Bo" <bo@example.com>', '{"to": ["\"Lee, Bo\" <bo@example.com>"]}'),
  ('{}', 'Lee, Bo <bo@example.com>', '{"ended": "skipped invalid_recipient to: \"Lee, Bo <bo@example.com>\" is not one email address"}'),
  ('{}', 'bo@example.com <eve@evil.example>', '{"ended": "skipped invalid_recipient to: \"bo@example.com <eve@evil.example>\" is not an email address"}'),
  ('{}', '<bo@example.com> <eve@evil.example>', '{"ended": "skipped invalid_recipient to: \"<bo@example.com> <eve@evil.example>\" is not an email address"}'),
  ('{}', '"bo@example.com, x" <eve@evil.example', '{"ended": "skipped invalid_recipient to: \"\"bo@example.com, x\" <eve@evil.example\" is not one email address"}'),
  ('{}', 'team: bo@example.com, eve@evil.example;', '{"ended": "skipped invalid_recipient to: \"team: bo@example.com, eve@evil.example;\" is not one email address"}'),
  ('{"to": "{{contact.email}}"}', 'bo@example.com, eve@evil.example', '{"ended": "skipped invalid_recipient to: \"bo@example.com, eve@evil.example\" is not one email address"}'),
  ('{"to": "{{contact.first_name}} <{{contact.email}}>"}', 'bo@example.com>, <eve@evil.example', '{"ended": "skipped invalid_recipient to: \"bo@example.com>, <eve@evil.example\" is not one email address"}'),
  ('{"to": "{{contact.first_name}} <{{contact.email}}>"}', 'Lee <bo@example.com>', '{"to": ["Bo <bo@example.com>"]}'),
  ('{"to": "x{{contact.email}}"}', 'bo@example.com, eve@evil.example', '{"ended": "skipped invalid_recipient to: \"xbo@example.com, eve@evil.example\" is not one email address"}'),
  ('{"to": "lead+{{contact.first_name}}@apex.example"}', 'bo@example.com', '{"to": ["lead+Bo@apex.example"]}'),
  ('{"to": "{{#if contact.email}}{{contact.email}}{{else}}office@apex.example{{/if}}"}', 'bo@example.com', '{"to": ["bo@example.com"]}'),
  ('{"to": "{{#if contact.email}}{{contact.email}}{{else}}office@apex.example{{/if}}"}', '', '{"to": ["office@apex.example"]}'),
  ('{"to": "{{ contact.email | default: \"office@apex.example, boss@apex.example\" }}"}', '', '{"ended": "skipped invalid_recipient to: \"office@apex.example, boss@apex.example\" is not one email address"}'),
  ('{"to": ["{{contact.email}}", "office@apex.example"]}', 'bo at home', '{"to": ["office@apex.example"], "warnings": ["to invalid_recipient bo at home"]}'),
  ('{"to": "{{contact.email}}, office@apex.example"}', 'bo@example.com, eve@evil.example', '{"to": ["office@apex.example"], "warnings": ["to invalid_recipient bo@example.com, eve@evil.example"]}'),
  ('{"to": "{{contact.email}}, office@apex.example"}', '', '{"to": ["office@apex.example"]}'),
  ('{"to": "{{contact.email}}, OFFICE@apex.example; office@apex.example"}', 'bo@example.com', '{"to": ["bo@example.com", "OFFICE@apex.example"]}'),
  ('{"to": ""}', 'bo@example.com', '{"to": ["bo@example.com"]}'),
  ('{"to": "  "}', 'bo@example.com', '{"to": ["bo@example.com"]}'),
  ('{"to": "\"Lee, Bo\" <{{contact.email}}>, \"Office \\\"HQ\\\"\" <office@apex.example>"}', 'bo@example.com',
    '{"to": ["\"Lee, Bo\" <bo@example.com>", "\"Office \\\"HQ\\\"\" <office@apex.example>"]}'),
  ('{"to": "\"{{ contact.first_name | default: \"you\" }}\" <{{contact.email}}>"}', 'bo@example.com', '{"to": ["Bo <bo@example.com>"]}'),
  ('{"to": "{{! whom }}{{contact.email}},,"}', 'bo@example.com', '{"to": ["bo@example.com"]}')
) as v (config, email, expected);

-- A list that a record holds is a list; each of its elements is one address.
select is(pg_temp.mail(v.config::jsonb, v.lead::jsonb), v.expected::jsonb, v.lead)
from (values
  ('{"to": "{{contact.custom_fields.all}}"}', '{"all": ["bo@example.com", "Ann <ann@example.com>", " "]}', '{"to": ["bo@example.com", "Ann <ann@example.com>"]}'),
  ('{"to": "{{contact.custom_fields.all}}"}', '{"all": ["bo@example.com, eve@evil.example", "ann@example.com"]}',
    '{"to": ["ann@example.com"], "warnings": ["to invalid_recipient bo@example.com, eve@evil.example"]}'),
  ('{"to": "{{contact.custom_fields.all}}"}', '{"all": [["bo@example.com"], 7, {"address": "eve@evil.example"}]}',
    '{"to": ["bo@example.com"], "warnings": ["to invalid_recipient 7", "to invalid_recipient {\"address\": \"eve@evil.example\"}"]}'),
  ('{"to": "{{contact.custom_fields.all}}"}', '{"all": [["bo@example.com", "eve@evil.example"]]}',
    '{"ended": "skipped invalid_recipient to: \"bo@example.com, eve@evil.example\" is not one email address"}'),
  ('{"to": "{{contact.custom_fields.all}}"}', '{"all": {"address": "eve@evil.example"}}',
    '{"ended": "skipped invalid_recipient to: \"{\"address\": \"eve@evil.example\"}\" is not an email address"}'),
  ('{"to": "{{contact.custom_fields.all}}, office@apex.example"}', '{"all": ["bo@example.com", "ann@example.com"]}',
    '{"to": ["bo@example.com", "ann@example.com", "office@apex.example"]}'),
  ('{"to": "Team <{{contact.custom_fields.all}}>"}', '{"all": ["bo@example.com", "ann@example.com"]}',
    '{"to": ["Team <bo@example.com>", "Team <ann@example.com>"]}')
) as v (config, lead, expected);

-- A bad copy or reply address does not hold up the email.
select is(pg_temp.mail(v.config::jsonb, '{"first_name": "Bo", "email": "bo@example.com", "second": "ann at home, eve@evil.example", "list": ["x", "cy@example.com"]}'), v.expected::jsonb, v.config)
from (values
  ('{"cc": "{{contact.custom_fields.second}}"}', '{"to": ["bo@example.com"], "warnings": ["cc invalid_recipient ann at home, eve@evil.example"]}'),
  ('{"bcc": ["{{contact.custom_fields.second}}", "dee@example.com"]}', '{"to": ["bo@example.com"], "bcc": ["dee@example.com"], "warnings": ["bcc invalid_recipient ann at home, eve@evil.example"]}'),
  ('{"reply_to": "Sales <{{contact.custom_fields.second}}>"}', '{"to": ["bo@example.com"], "warnings": ["reply_to invalid_recipient ann at home, eve@evil.example"]}'),
  ('{"cc": "{{contact.custom_fields.list}}", "reply_to": "{{contact.first_name}}, Apex <office@apex.example>"}',
    '{"to": ["bo@example.com"], "cc": ["cy@example.com"], "reply_to": ["Apex <office@apex.example>"], "warnings": ["cc invalid_recipient x", "reply_to invalid_recipient Bo"]}'),
  ('{"cc": "{{contact.custom_fields.third}}"}', '{"to": ["bo@example.com"], "warnings": ["cc missing_variable"]}'),
  ('{"from": "\"{{contact.custom_fields.second}}\" <office@apex.example>"}', '{"to": ["bo@example.com"], "from": "\"ann at home, eve@evil.example\" <office@apex.example>"}'),
  ('{"from": "{{contact.custom_fields.second}}"}', '{"ended": "failed invalid_sender from: \"ann at home, eve@evil.example\" is not one email address"}'),
  ('{"from": "Apex <{{contact.custom_fields.third}}>"}', '{"to": ["bo@example.com"], "warnings": ["from missing_variable"]}')
) as v (config, expected);

-- Line breaks and headers.
select is(pg_temp.mail(v.config::jsonb, jsonb_build_object('email', 'bo@example.com', 'first_name', E'Bo\r\nBcc: eve@evil.example\r\n\r\nHello')), v.expected::jsonb, v.config)
from (values
  ('{"subject": "Hi {{contact.first_name}}"}', '{"to": ["bo@example.com"], "subject": "Hi Bo Bcc: eve@evil.example Hello"}'),
  ('{"subject": "{{contact.first_name}}"}', '{"to": ["bo@example.com"], "subject": "Bo Bcc: eve@evil.example Hello"}'),
  ('{"subject": "two\nlines"}', '{"to": ["bo@example.com"], "subject": "two lines"}'),
  ('{"subject": "{{contact.last_name}}"}', '{"ended": "failed empty_subject subject: the subject is empty", "warnings": ["subject missing_variable"]}'),
  ('{"text": "{{contact.last_name}}"}', '{"ended": "failed empty_body html: the message is empty", "warnings": ["text missing_variable"]}'),
  ('{"headers": {"X-Lead": "{{contact.first_name}}", "X-Two": "{{contact.last_name}}", "X-Number": "{{ 7 }}"}}',
    '{"to": ["bo@example.com"], "headers": {"X-Lead": "Bo Bcc: eve@evil.example Hello", "X-Number": "7"}, "warnings": ["headers.X-Two missing_variable"]}'),
  ('{"headers": {"List-Id": "<https://apex.example/u>", "In-Reply-To": "<a@b>"}}',
    '{"to": ["bo@example.com"], "headers": {"In-Reply-To": "<a@b>", "List-Id": "<https://apex.example/u>"}}')
) as v (config, expected);
-- Whatever a plan says.
create temp table plan_of on commit drop as
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"key": "mail", "type": "send_email", "config": {"subject": "Hi", "text": "x", "headers": {"X-Ok": "1"}}}]') as id;
alter table ridgeline.workflow_versions disable trigger user;
update ridgeline.workflow_versions as v set plan = jsonb_set(plan, '{steps,mail,config,base,headers}', '{"X-Ok": "1", "Bcc": "eve@evil.example", "a b": "2"}')
from plan_of as p where v.workflow_id = p.id;
alter table ridgeline.workflow_versions enable trigger user;
select pg_temp.contact(:'apex');
select is(payload -> 'headers', '{"X-Ok": "1"}', 'a header that would name recipients is never handed on') from automation.claim_steps('w', 1);
update ridgeline.workflows set is_active = false;

-- The history names those who got it.
select pg_temp.mail('{"to": ["Ann <ann@example.com>", "bob@example.com"], "cc": "cy@example.com"}', '{"email": "bo@example.com"}');
select is((select recipient from ridgeline.workflow_step_executions order by id desc limit 1), 'ann@example.com, bob@example.com', 'all of them');
select is((select to_address from ridgeline.emails order by id desc limit 1), 'ann@example.com, bob@example.com', 'in the CRM too');
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values
  (:'apex', 'email', 'ann@example.com', 'opt_out'), (:'apex', 'email', 'cy@example.com', 'bounce');
select is(pg_temp.mail('{"to": ["\"Tom <3 Ann\" <Ann@example.com>", "bob@example.com"], "cc": "cy@example.com", "bcc": "dee@example.com"}', '{"email": "bo@example.com"}'),
  '{"to": ["bob@example.com"], "cc": [], "bcc": ["dee@example.com"], "warnings": ["to suppressed ann@example.com", "cc suppressed cy@example.com"]}',
  'who opted out is left out, with a warning');
select is((select recipient from ridgeline.workflow_step_executions order by id desc limit 1), 'bob@example.com', 'and the history names the other');
select is((select to_address from ridgeline.emails order by id desc limit 1), 'bob@example.com', 'in the CRM too');
select is(pg_temp.mail('{"to": "Ann <ann@example.com>"}', '{"email": "bo@example.com"}'),
  '{"ended": "skipped suppressed the recipient has opted out of this channel"}', 'nobody is left');
select is((select array[s.recipient, s.input #>> '{to,0}'] from ridgeline.workflow_step_executions as s order by id desc limit 1), array['ann@example.com', 'Ann <ann@example.com>'],
  'the history says who it was');
select ok(pg_temp.mail(jsonb_build_object('to', (select jsonb_agg(repeat('x', 60) || n || '@' || repeat('y', 60) || '.example') from generate_series(1, 40) as n)),
  '{"email": "bo@example.com"}') #>> '{to,39}' like '%40@%', 'forty long addresses are no harm');
select alike((select recipient from ridgeline.workflow_step_executions order by id desc limit 1), '%, % and 33 more', 'and the history has room for them');
select is((select array_length(string_to_array(to_address, ', '), 1) from ridgeline.emails order by id desc limit 1), 40, 'the CRM has all');

-- A text's sender is a number or a name.
create function pg_temp.text_from(sender text) returns text
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.workflow('00000000-0000-0000-0000-00000000000a', 'contact_created', '{}',
    '[{"key": "text", "type": "send_sms", "config": {"body": "Hi", "from": "{{contact.custom_fields.from}}"}}]');
  claimed automation.claimed_step;
begin
  insert into public.contacts (tenant_id, phone, custom_fields)
  values ('00000000-0000-0000-0000-00000000000a', '+15125550100', jsonb_build_object('from', sender));
  select c.* into claimed from automation.claim_steps('w', 1) as c;
  if claimed.step_id is not null then
    perform pg_temp.finish(claimed, 'succeeded');
  end if;
  update ridgeline.workflows as w set is_active = false where w.id = workflow;
  return coalesce(claimed.payload ->> 'from', (pg_temp.only_run(workflow)).error ->> 'code', 'default');
end;
$$;
select is(pg_temp.text_from(v.sender), v.expected, coalesce(v.sender, 'none'))
from (values ('(512) 555-0177', '+15125550177'), ('88811', '88811'), ('ApexRoofing', 'ApexRoofing'), (' ', '+15125550177'), (null, '+15125550177'),
  ('whatsapp:+15125550177', 'invalid_sender'), (E'+15125550177\r\nTo: +1900', 'invalid_sender'), ('Name that is too long', 'invalid_sender')) as v (sender, expected);

select * from finish();
rollback;

-- What publishing knows about an email's addresses before anybody is written to.
begin;
\ir ../foundation/story.psql
select plan(41);

select pg_temp.tenant() as apex \gset
insert into ridgeline.senders (tenant_id, channel, kind, address, verified_at) values (:'apex', 'email', 'domain', 'example.com', now());
create function pg_temp.said(tenant uuid, config text, mended boolean default false) returns text
  language sql
  as $$
    select pg_temp.findings(tenant, 'contact_created', '{}', jsonb_build_array(jsonb_build_object(
      'type', 'send_email', 'config', '{"subject": "Hi", "text": "Hello"}'::jsonb || config::jsonb)), '[]', mended)
  $$;

select is(pg_temp.said(:'apex', v), null, v)
from (values
  ('{"to": "office@example.com"}'), ('{"to": "Office <office@example.com>, boss@example.com"}'), ('{"to": "a@example.com; b@example.com"}'),
  ('{"to": ["a@example.com", "{{contact.email}}"], "cc": [], "bcc": "", "reply_to": " "}'),
  ('{"to": "{{contact.first_name}} of \"Lopez, Inc.\" <{{contact.email}}>"}'),
  ('{"to": "{{#if contact.email}}{{contact.email}}{{else}}office@example.com{{/if}}"}'),
  ('{"to": "{{ contact.email | default: \"office@example.com\" }},"}'),
  ('{"from": "\"{{user.full_name}} (Apex)\" <office@example.com>", "reply_to": "{{user.email}}"}'),
  ('{"to": "ops+{{contact.id}}@example.com"}'), ('{"to": "büro@müller.example"}'),
  ('{"headers": {"X-Campaign": "{{contact.source}}", "X-Entity": "<https://example.com>", "References": "<a@b>"}}')
) as v (v);

select is(pg_temp.said(:'apex', v.config), v.found, v.config)
from (values
  ('{"to": "bo at home"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "office@example"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": ["a@example.com", "b@example.com c@example.com"]}', 'error invalid_address steps[0].step_config.to[1]'),
  ('{"to": "Office office@example.com"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "Lopez Roofing, Inc. <office@example.com>"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "Office <office@example.com"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "Office > office@example.com"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "Office <>"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "<a@example.com> <b@example.com>"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "\"Office"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "\"office@example.com\""}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "Team: a@example.com, b@example.com;"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "{{contact.first_name}} {{contact.email}}"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "{{#if contact.email}}{{contact.email}}, {{/if}}office@example.com"}', 'error invalid_address steps[0].step_config.to'),
  ('{"to": "{{#if contact.email}}Bo <{{/if}}{{contact.email}}>"}', 'error invalid_address steps[0].step_config.to'),
  ('{"cc": "nobody", "bcc": ["x"], "reply_to": "me", "from": "us"}', E'error invalid_address steps[0].step_config.cc\nerror invalid_address steps[0].step_config.bcc[0]\n'
    'error invalid_address steps[0].step_config.reply_to\nerror invalid_address steps[0].step_config.from'),
  ('{"from": "a@example.com, b@example.com"}', 'error out_of_range steps[0].step_config.from'),
  ('{"to": []}', 'error out_of_range steps[0].step_config.to'), ('{"to": ["", " "]}', 'error out_of_range steps[0].step_config.to'), ('{"to": ","}', 'error out_of_range steps[0].step_config.to'),
  ('{"to": "{{contact.emial}}"}', 'error unknown_field steps[0].step_config.to'),
  ('{"to": "{{contact.email | shout}}, a@example.com"}', 'error invalid_template steps[0].step_config.to'),
  ('{"to": "a@example.com, {{contact.email"}', 'error invalid_template steps[0].step_config.to'),
  ('{"to": 5}', 'error not_a_text steps[0].step_config.to'), ('{"to": ["a@example.com", 5]}', 'error not_a_text steps[0].step_config.to[1]'),
  ('{"headers": {"Bcc": "{{contact.email}}", "reply-to": "a@example.com"}}',
    E'error invalid_header steps[0].step_config.headers.Bcc\nerror invalid_header steps[0].step_config.headers.reply-to'),
  ('{"headers": {"X Lead: 1\r\nBcc": "x"}}', E'error invalid_header steps[0].step_config.headers.X Lead: 1\r\nBcc')
) as v (config, found);
select is(pg_temp.said(:'apex', jsonb_build_object('to', (select jsonb_agg(n || '@example.com') from generate_series(1, 51) as n))::text, true),
  'to must have at most 50 addresses', 'as many as an email takes');
select alike(pg_temp.said(:'apex', '{"to": "Lopez Roofing, Inc. <office@example.com>"}', true), 'to: "Lopez Roofing" is not an email address | %A name with a comma goes in quotes%',
  'with what to do about it');
select is((select string_agg(s ->> 'at', ' ') from jsonb_array_elements((select c.compiled -> 'config' -> 'slots' from ridgeline.workflow_steps as w,
    automation.compile_step(w, 'mail', 'steps[0]') as c where w.step_config ->> 'to' = '{{contact.first_name}} of "Lopez, Inc." <{{contact.email}}>' limit 1)) as s),
  '{to,0,address} {to,0,name}', 'each variable has its place');

select * from finish();
rollback;

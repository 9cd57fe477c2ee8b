-- A message says what it is for, or is taken for what needs most care; whoever publishes is told, and a dry run shows when it would go.
begin;
\ir ../foundation/story.psql
select plan(32);
set automation.quiet_hours = on;

select pg_temp.tenant('Apex Roofing') as apex \gset
update public.tenants set timezone = 'America/Chicago' where id = :'apex';
select pg_temp.contact(:'apex') as maria \gset
create function pg_temp.said_of(steps jsonb) returns text
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.draft((select id from public.tenants limit 1), 'contact_created', '{}', steps);
begin
  return (select string_agg(concat_ws(' ', p ->> 'severity', p ->> 'code', p ->> 'path'), ', ') from jsonb_array_elements(ridgeline.validate_workflow(workflow) -> 'problems') as p
    where p ->> 'code' not in ('no_registered_sender', 'stranger_not_allowed'));
end;
$$;

-- UNHAPPY
select is(pg_temp.said_of('[{"type": "send_sms", "config": {"body": "Hi"}}]'), 'warning purpose_unsaid steps[0].step_config.purpose', 'a text that does not say what it is for is told');
select is(pg_temp.said_of('[{"type": "send_email", "config": {"subject": "Hi", "text": "Hi"}}]'), 'warning purpose_unsaid steps[0].step_config.purpose', 'so is an email');
select is(pg_temp.said_of('[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing"}}, {"type": "send_sms", "config": {"body": "Hi"}}, {"type": "send_sms", "config": {"body": "Hi"}}]'),
  'warning purpose_unsaid steps[1].step_config.purpose', 'the first of them, once');
select alike(pg_temp.said_of(s), 'error %_value steps[0].step_config.' || k, s ->> 0)
from (values
  ('[{"type": "send_sms", "config": {"body": "Hi", "purpose": "spam"}}]'::jsonb, 'purpose'),
  ('[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing", "expires_after": "soon"}}]', 'expires_after'),
  ('[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing", "over_cap": "drop"}}]', 'over_cap'),
  ('[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing", "expires_at": "soon"}}]', 'expires_at')) as v (s, k);
select alike(pg_temp.said_of('[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing", "urgent": "yes"}}]'), 'error %steps[0].step_config.urgent%', 'urgent is yes or no');

-- WHAT IT COUNTS AS
create function pg_temp.purpose(config jsonb) returns text
  language sql
  as $$ select automation.sending_of('send_sms', config) ->> 'purpose' $$;
select is(pg_temp.purpose(c::jsonb), p, c)
from (values
  ('{"purpose": "transactional"}', 'transactional'),
  ('{}', null),
  ('{"to": ""}', null),
  ('{"to": "{{contact.phone}}"}', null),
  ('{"to": "{{trigger.contact.phone}}"}', null),
  ('{"to": "+1 512 555 0199"}', 'internal'),
  ('{"to": "{{user.phone}}"}', 'internal'),
  ('{"to": "{{ tenant.phone }}"}', 'internal'),
  ('{"to": "{{{user.phone}}}"}', 'internal'),
  ('{"to": ["office@apex.example", "{{user.email}}"]}', 'internal'),
  ('{"to": ["office@apex.example", "{{contact.email}}"]}', null),
  ('{"to": "{{ user.phone | default: contact.phone }}"}', null),
  ('{"to": "{{#if user.phone}}{{user.phone}}{{/if}}"}', null),
  ('{"to": "+15125550199", "purpose": "marketing"}', 'marketing')) as v (c, p);

-- The provider is told nothing of it.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi", "purpose": "marketing", "expires_after": "2 days", "over_cap": "skip"}}]') as offer \gset
select is((select config -> 'base' from ridgeline.workflow_versions as v, jsonb_path_query(v.plan, '$.steps.*.config') as config where v.workflow_id = :'offer'), '{"body": "Hi"}', 'what it says of itself is not what is sent');
select is((select sending from ridgeline.workflow_versions as v, jsonb_path_query(v.plan, '$.steps.*.sending') as sending where v.workflow_id = :'offer'),
  '{"purpose": "marketing", "over_cap": "skip", "expires_after": "2 days"}', 'and stands in the plan');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]') as unsaid \gset
select is((select count(*) from ridgeline.workflow_versions as v where v.workflow_id = :'unsaid' and v.plan::text like '%sending%'), 0::bigint, 'a plan that says nothing is as it was: an upgrade changes no workflow');

-- A DRY RUN shows when it would go, by a clock of its own.
select automation.set_clock('2026-06-03 17:00+00');
select ridgeline.test_workflow(:'offer', jsonb_build_object('contact_id', :'maria'), '{"at": "2026-06-04T03:30:00Z"}') as night \gset
select is(:'night'::jsonb #>> '{path,0,held,code}', 'quiet_hours', 'a dry run at half past ten says that it would be held');
select is(date_trunc('hour', (:'night'::jsonb #>> '{path,0,until}')::timestamptz), '2026-06-04 14:00+00'::timestamptz, 'until nine in Texas');
select is(:'night'::jsonb #>> '{ended,status}', 'completed', 'and how the run ends');
select is((select count(*) from ridgeline.scheduled_steps) + (select count(*) from public.tasks), 0::bigint, 'nothing is written');
select is(ridgeline.test_workflow(:'offer', jsonb_build_object('contact_id', :'maria')) #> '{path,0,held}', null, 'at noon it would go');
-- What it costs: as many segments as the carriers make of it.
select is(ridgeline.test_workflow(:'offer', jsonb_build_object('contact_id', :'maria')) #> '{path,0,segments}', '1', 'a dry run says how many segments a text is');
select pg_temp.workflow(:'apex', 'manual', '{}', jsonb_build_array(jsonb_build_object('type', 'send_sms', 'config', jsonb_build_object('body', repeat('Don’t miss it. ', 10), 'purpose', 'marketing')))) as curly \gset
select is(ridgeline.test_workflow(:'curly', jsonb_build_object('contact_id', :'maria')) #> '{path,0,segments}', '3', 'one curly quote makes three of what would be one');
select * from finish();
rollback;

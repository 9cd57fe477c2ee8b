-- Everybody is asked for a review with the same link, whatever they think: a branch on a rating before the link is told at publishing.
begin;
\ir ../foundation/story.psql
select plan(17);

select pg_temp.tenant() as apex \gset
insert into ridgeline.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550199', 'registered');
create function pg_temp.said(steps text, conditions text default '[]') returns text
  language sql
  as $$ select pg_temp.findings((select id from public.tenants limit 1), 'job_completed', '{}', steps::jsonb, conditions::jsonb) $$;
\set link '{"type": "send_sms", "config": {"body": "Please review us: https://g.page/r/apex/review", "purpose": "transactional"}}'
\set task '{"type": "create_task", "config": {"title": "Call them"}}'
\set sorry '{"type": "send_sms", "config": {"body": "Sorry to hear that", "purpose": "transactional"}}'
\set pleased '{"key": "pleased", "type": "conditional", "config": {"conditions": [{"field": "job.custom_fields.customer_rating", "operator": "greater_or_equal", "value": 4}]}, "on": '

select is(pg_temp.said(format('[%s]', :'link')), null, 'everybody is asked');
select is(pg_temp.said(format('[%s, %s]', :'pleased' || format('{"then": [%s]}}', :'task'), :'sorry')), null, 'a branch without a link is anybody''s business');
select is(pg_temp.said(format('[%s]', :'pleased' || format('{"then": [%s], "else": [%s]}}', :'link', :'sorry'))), 'warning review_gating steps[0]', 'only who is pleased is asked: that is told');
select is(pg_temp.said(format('[%s]', :'pleased' || format('{"then": [%s]}}', :'link'))), 'warning review_gating steps[0]', 'without an else as well');
select is(pg_temp.said(format('[%s]', :'pleased' || format('{"then": [%s], "else": [%s, %s]}}', :'link', :'task', :'link'))), null, 'both ways with the link, and a task besides, is fine');
select is(pg_temp.said(format('[%s, %s]', :'pleased' || format('{"else": [%s]}}', :'task'), :'link')), null, 'who is not pleased gets a task, and then everybody the link');
select is(pg_temp.said(format('[%s, %s]', :'pleased' || '{"else": [{"type": "stop", "config": {}}]}}', :'link')), 'warning review_gating steps[0]', 'who is not pleased is let go before it');
select is(pg_temp.said(format('[%s]', :'link'), '[{"field": "job.custom_fields.customer_rating", "operator": "greater_or_equal", "value": 4}]'), 'warning review_gating conditions', 'only who is pleased enters');
select is(pg_temp.said('[{"type": "send_sms", "config": {"body": "Review: {{custom.review_link}}", "purpose": "transactional"}, "conditions": [{"field": "job.custom_fields.is_happy", "operator": "equals", "value": true}]}]'), 'warning review_gating steps[0]', 'a condition of the step itself; the link in a variable');
select is(pg_temp.said('[{"type": "send_email", "config": {"subject": "Hi", "html": "<a href=\"https://www.yelp.com/biz/apex\">Tell</a>", "purpose": "transactional"}, "conditions": [{"field": "contact.lead_score", "operator": "greater_than", "value": 4}]}]'), null, 'the score of a lead is no rating');
select alike(pg_temp.said('[
  {"key": "ask", "type": "send_sms", "config": {"body": "How did we do, from 1 to 5?", "purpose": "transactional"}},
  {"key": "wait", "type": "wait", "config": {"event": "sms_received", "timeout": "2 days"}},
  {"key": "pleased", "type": "conditional", "config": {"conditions": [{"field": "steps.wait.event.record.body", "operator": "greater_or_equal", "value": 4}]}, "on": {
    "then": [{"type": "send_sms", "config": {"body": "Then review us: https://search.google.com/local/writereview?placeid=x", "purpose": "transactional"}}]}}]'), '%warning review_gating steps[2]%', 'a number asked for by text is a rating too');
select is(automation.is_rating_name(name), expected, name) from (values ('rating', true), ('customer_rating', true), ('nps_score', true), ('operating', false), ('lead_score', false), ('starts_at', false)) as v (name, expected);
select * from finish();
rollback;

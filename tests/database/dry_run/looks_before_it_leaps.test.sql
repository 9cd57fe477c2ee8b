-- The office asks what a workflow would do, and why it did not fire, and nothing happens meanwhile.
begin;
\ir ../foundation/story.psql
select plan(21);

select pg_temp.tenant() as apex \gset
select pg_temp.draft(:'apex', 'contact_created', '{"type": "lead"}', '[
  {"type": "send_sms", "config": {"body": "Hi {{contact.first_name}}"}},
  {"type": "wait", "config": {"days": 3}, "delay": 60},
  {"type": "send_email", "config": {"subject": "Estimate", "html": "<p>{{contact.first_name}}</p>"}},
  {"type": "add_tag", "config": {"tag": "austin"},
   "conditions": [{"field": "contact.city", "operator": "equals", "value": "Austin"}]}
]', '[{"field": "contact.stage", "operator": "equals", "value": "new"}]') as flow \gset
select pg_temp.contact(:'apex') as maria \gset
update public.contacts set email = null where id = :'maria';

create function pg_temp.rows_written() returns bigint language sql as $$
  select (select count(*) from ridgeline.workflow_executions)
    + (select count(*) from ridgeline.workflow_step_executions)
    + (select count(*) from ridgeline.scheduled_steps) + (select count(*) from public.contact_tags)
    + (select count(*) from ridgeline.workflow_versions) $$;
select pg_temp.rows_written() as before \gset

select ridgeline.test_workflow(:'flow', jsonb_build_object('contact_id', :'maria')) as run \gset
select is(:'run'::jsonb -> 'valid', 'true', 'a draft can be tried before it is published');
select is(:'run'::jsonb #>> '{path,0,input,body}', 'Hi Maria', 'the text is shown as it would be sent');
select is(:'run'::jsonb #>> '{path,0,input,to}', '+15125550100', 'and to whom');
select is((:'run'::jsonb #>> '{path,2,at}')::timestamptz, automation.now() + interval '3 days 1 hour',
  'the email would follow after the delay and the wait');
select is(:'run'::jsonb #>> '{path,2,reason,code}', 'no_recipient', 'but Maria has no email address');
select is(:'run'::jsonb #>> '{path,3,verdict}', 'skip', 'a step whose conditions are not met is skipped');
select is(:'run'::jsonb #>> '{path,3,conditions,verdict}', 'false', 'and says which condition it was');

select is(ridgeline.test_workflow(:'flow', '{"contact": {"first_name": "<Zoe>", "stage": "new", "email": "zoe@example.com"}}')
  #>> '{path,2,input,html}', '<p>&lt;Zoe&gt;</p>', 'made-up records do, and HTML is escaped');
select is(ridgeline.test_workflow(:'flow', '{"contact": {"stage": "won"}}') -> 'enrolls', 'false',
  'a record that does not meet the conditions would not be enrolled');
insert into ridgeline.suppressions (tenant_id, channel, address, reason)
values (:'apex', 'sms', '+15125550100', 'opt_out');
select is(ridgeline.test_workflow(:'flow', jsonb_build_object('contact_id', :'maria')) #>> '{path,0,reason,code}',
  'suppressed', 'consent is asked for too');
update ridgeline.workflow_steps set step_config = '{"body": "Hi {{"}' where workflow_id = :'flow' and step_type = 'send_sms';
select is(ridgeline.test_workflow(:'flow', '{}') -> 'valid', 'false', 'a broken draft says so instead');
update ridgeline.workflow_steps set step_config = '{"body": "Hi"}' where workflow_id = :'flow' and step_type = 'send_sms';

select is(ridgeline.explain_enrollment(:'flow', jsonb_build_object('contact_id', :'maria')) -> 'would_enroll',
  'false', 'a draft enrols nobody');
select is(pg_temp.rows_written(), :before::bigint, 'and all this wrote nothing');

update ridgeline.workflows set is_active = true where id = :'flow';
select is(ridgeline.explain_enrollment(:'flow', jsonb_build_object('contact_id', :'maria')) -> 'would_enroll',
  'true', 'once it is active it would');
update ridgeline.workflows set conditions = '[{"field": "contact.stage", "operator": "equals", "value": "lost"}]' where id = :'flow';
select is(ridgeline.explain_enrollment(:'flow', jsonb_build_object('contact_id', :'maria')) -> 'would_enroll',
  'true', 'what is edited but not published does not count');
select is(
  ridgeline.explain_enrollment(:'flow', '{"contact": {"type": "customer", "stage": "new"}}') -> 'trigger',
  '[{"field": "type", "expected": "lead", "actual": "customer", "passed": false}]'::jsonb,
  'a customer does not match the trigger, and the answer says where');
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": ["won", "lost"]}') as moving \gset
select is(ridgeline.explain_enrollment(:'moving', '{"contact": {"stage": "lead"}}') -> 'trigger',
  '[{"field": "stage", "expected": ["won", "lost"], "actual": "lead", "passed": false}]'::jsonb, 'nor has one that is at another stage moved there');
select is(ridgeline.explain_enrollment(:'moving', '{"contact": {"stage": "lost"}}') -> 'would_enroll', 'true', 'one that is at this stage may have');
select pg_temp.workflow(:'apex', 'project_won') as winning \gset
select is(ridgeline.explain_enrollment(:'winning', '{"project": {"pipeline_stage": "sent"}}') #>> '{trigger,0,expected}', 'won', 'a project that is not won was not');
select throws_ok(
  format('select ridgeline.explain_enrollment(%L, %L)', :'flow', '{"contact_id": "5d1c1b0e-0000-4000-8000-000000000000"}'),
  'PT404', 'contact_id: 5d1c1b0e-0000-4000-8000-000000000000 was not found', 'an unknown contact is named');
select throws_ok(
  format('select ridgeline.test_workflow(%L, %L)', gen_random_uuid(), '{}'), 'PT404', null,
  'so is an unknown workflow');
select * from finish();
rollback;

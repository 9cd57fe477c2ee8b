-- The functions that clients call: what they refuse, and what they do.
begin;
\ir ../foundation/story.psql
select plan(91);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar', '00000000-0000-0000-0000-00000000000b') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'blue') as rival \gset
select pg_temp.member(:'apex') as both \gset
insert into public.tenant_members (tenant_id, user_id) values (:'blue', :'both');
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'blue', 'Bob') as bob \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "Call {{contact.first_name}}"}, "delay": 10}]') as flow \gset
select pg_temp.workflow(:'blue', 'manual') as theirs \gset
select pg_temp.draft(:'apex', 'manual') as draft \gset
insert into public.projects (tenant_id, id, contact_id, name, value) values (:'apex', '00000000-0000-0000-0000-0000000000e1', :'maria', 'Roof', 100);
insert into public.jobs (tenant_id, id, project_id) values (:'apex', '00000000-0000-0000-0000-0000000000d1', '00000000-0000-0000-0000-0000000000e1');
select pg_temp.sign_in(:'rival');
select (ridgeline.execute_workflow(:'theirs')).id as their_run \gset
select pg_temp.sign_out();

-- anon may call nothing.
select pg_temp.act_as('anon');
select alike(pg_temp.error_of(format('select %s', call)), '42501 permission denied %', 'anon: ' || call)
from (values ('ridgeline.trigger_workflows(''manual'')'), ('ridgeline.execute_workflow(gen_random_uuid())'), ('ridgeline.publish_workflow(gen_random_uuid())'),
  ('ridgeline.validate_workflow(gen_random_uuid())'), ('ridgeline.cancel_execution(gen_random_uuid())'), ('ridgeline.retry_execution(gen_random_uuid())'),
  ('ridgeline.get_execution_history()'), ('automation.tick()'), ('automation.member_tenants()')) as v (call);
select pg_temp.sign_out();

-- What is not there, and what is another tenant's, look alike.
select pg_temp.sign_in(:'sam');
select alike(pg_temp.error_of(format('select ridgeline.%s', format(call, id))), format('PT404 %s: %s was not found | It does not exist, or it belongs to%%', parameter, coalesce(id::text, 'null')),
  format(call, coalesce(left(id::text, 8), 'null')))
from (values ('execute_workflow(%L)', 'workflow_id', :'theirs'), ('publish_workflow(%L)', 'workflow_id', :'theirs'), ('validate_workflow(%L)', 'workflow_id', :'theirs'),
  ('cancel_execution(%L)', 'execution_id', :'their_run'), ('retry_execution(%L)', 'execution_id', :'their_run')) as v (call, parameter, other),
  lateral (values (v.other::uuid), ('99999999-9999-9999-9999-999999999999'), (null)) as ids (id);
select alike(pg_temp.error_of(statement), expected, statement)
from (values
  ('select ridgeline.trigger_workflows(''manual'', ''{}'', ''00000000-0000-0000-0000-00000000000b'')', 'PT404 tenant_id: %'),
  ('select ridgeline.trigger_workflows(''manual'', ''{"tenant_id": "00000000-0000-0000-0000-00000000000b"}'')', 'PT404 tenant_id: %'),
  ('select ridgeline.trigger_workflows(''manual'', ''{}'', ''99999999-9999-9999-9999-999999999999'')', 'PT404 tenant_id: %'),
  (format('select ridgeline.trigger_workflows(''manual'', ''{"contact_id": "%s"}'')', :'bob'), format('PT404 contact_id: %s was not found | %%', :'bob')),
  (format('select ridgeline.execute_workflow(''%s'', ''{"contact_id": "%s"}'')', :'flow', :'bob'), format('PT404 contact_id: %s was not found | %%', :'bob')),
  (format('select ridgeline.execute_workflow(''%s'', ''{"project_id": "%s"}'')', :'flow', :'bob'), 'PT404 project_id: %'),
  (format('select ridgeline.execute_workflow(''%s'', ''{"contact": {"id": "%s"}}'')', :'flow', :'bob'), 'PT404 contact_id: %'),
  (format('select ridgeline.execute_workflow(''%s'', ''{"contact_id": "nope"}'')', :'flow'), 'PT404 contact_id: nope was not found | %'),
  (format('select ridgeline.execute_workflow(''%s'', ''{"job_id": 7}'')', :'flow'), 'PT404 job_id: 7 was not found | %'),
  (format('select ridgeline.execute_workflow(''%s'', ''{"contact_id": {"a": 1}}'')', :'flow'), 'PT404 contact_id: %'),
  (format('select ridgeline.execute_workflow(''%s'', ''[]'')', :'flow'), '22023 trigger_data: a JSON object is needed | For example%'),
  (format('select ridgeline.execute_workflow(''%s'', ''"x"'')', :'flow'), '22023 trigger_data: %'),
  (format('select ridgeline.execute_workflow(''%s'', ''null'')', :'flow'), '22023 trigger_data: %'),
  (format('select ridgeline.execute_workflow(''%s'', null)', :'flow'), '22023 trigger_data: %'),
  (format('select ridgeline.execute_workflow(''%s'', jsonb_build_object(''x'', (select string_agg(md5(n::text), '''') from generate_series(1, 40000) as n)))', :'flow'), 'PT413 trigger_data: at most 1 MB is taken'),
  (format('select ridgeline.execute_workflow(''%s'')', :'draft'), 'PT409 workflow_id: workflow "manual" is not active | Set is_active to true%'),
  ('select ridgeline.trigger_workflows(''contact_craeted'')', '22023 trigger_type: there is no trigger "contact_craeted" | Known: appointment_booked,%'),
  ('select ridgeline.trigger_workflows(null)', '22023 trigger_type: %'),
  ('select ridgeline.trigger_workflows(''manual'', ''[1]'')', '22023 trigger_data: %'),
  ('select ridgeline.trigger_workflows(''manual'', null)', '22023 trigger_data: %')
) as v (statement, expected);
select pg_temp.sign_out();
select pg_temp.sign_in(:'both');
select alike(pg_temp.error_of('select ridgeline.trigger_workflows(''manual'')'), '22023 tenant_id: which tenant is meant? | Pass tenant_id, or a contact_id%', 'a member of two tenants must say which');
select alike(pg_temp.error_of('select ridgeline.trigger_workflows(''manual'', ''{"contact_id": "nope"}'')'), '22023 tenant_id: %', 'an id that is none does not say');
select is((select count(*) from ridgeline.trigger_workflows('manual', jsonb_build_object('contact_id', :'bob'))), 1::bigint, 'or name a record');
select is((select count(*) from ridgeline.trigger_workflows('manual', '{}', :'apex')), 1::bigint, 'or name the tenant');
select is((select tenant_id from ridgeline.execute_workflow(:'flow')), :'apex'::uuid, 'a workflow knows its tenant');
select pg_temp.sign_out();
select pg_temp.act_as('service_role');
select alike(pg_temp.error_of('select ridgeline.trigger_workflows(''manual'')'), '22023 tenant_id: %', 'so must the service role');
select is((select count(*) from ridgeline.trigger_workflows('manual', '{"tenant_id": "00000000-0000-0000-0000-00000000000b"}')), 1::bigint, 'in the data, if it likes');
select pg_temp.sign_out();

-- Triggering.
select pg_temp.sign_in(:'sam');
select is(array[e.status::text, e.tenant_id::text, e.trigger_type, e.trigger_data ->> 'user_id', e.trigger_data ->> 'extra', e.contact_id::text, e.record_id],
  array['waiting', :'apex', 'manual', :'sam', 'x', :'maria', :'maria'], 'a run by hand')
from ridgeline.trigger_workflows('manual', jsonb_build_object('contact_id', :'maria', 'extra', 'x')) as e;
select is(array[e.trigger_data #>> '{contact,first_name}', e.trigger_data #>> '{contact,phone}'], array['Marie', '+15125550100'], 'the caller''s values go over the record''s')
from ridgeline.execute_workflow(:'flow', jsonb_build_object('contact', jsonb_build_object('id', :'maria', 'first_name', 'Marie'))) as e;
select is(array[e.trigger_data #>> '{project,name}', e.trigger_data #>> '{contact,first_name}', e.entity], array['Roof', 'Maria', 'project'], 'a project brings its contact')
from ridgeline.execute_workflow(:'flow', '{"project_id": "00000000-0000-0000-0000-0000000000e1"}') as e;
select is(array[e.trigger_data #>> '{project,name}', e.trigger_data #>> '{contact,first_name}', e.entity], array['Roof', 'Maria', 'job'], 'a job brings its project and its contact')
from ridgeline.execute_workflow(:'flow', '{"job_id": "00000000-0000-0000-0000-0000000000d1"}') as e;
select alike(pg_temp.error_of(format('select ridgeline.execute_workflow(%L, ''{"contact_id": "%s", "contact": %s}'')', :'flow', :'maria', odd)), '22023 contact: %', 'a record that is no object: ' || odd)
from (values ('null'), ('"Maria"'), ('[]')) as v (odd);
select is(array[e.status::text, e.record_id], array['waiting', null], 'a run about nobody') from ridgeline.execute_workflow(:'flow') as e;
select is((select count(*) from ridgeline.trigger_workflows('sms_received')), 0::bigint, 'nobody listens: nothing starts, and no error');
select pg_temp.sign_out();
select pg_temp.workflow(:'apex', 'form_submitted', '{"form": "Quote"}') as quote \gset
select pg_temp.workflow(:'apex', 'form_submitted', '{"form": ["Visit", "Quote"]}') as either \gset
select pg_temp.workflow(:'apex', 'form_submitted', conditions => '{"field": "contact.stage", "operator": "equals", "value": "won"}') as judged \gset
select pg_temp.sign_in(:'sam');
select is((select string_agg(w.name || ' ' || e.status, ', ' order by e.status::text) from ridgeline.trigger_workflows('form_submitted', jsonb_build_object('form', 'Visit', 'contact_id', :'maria')) as e join ridgeline.workflows as w on w.id = e.workflow_id),
  'form_submitted pending, form_submitted skipped', 'configuration and conditions narrow calls too');
select is((select error ->> 'code' from pg_temp.only_run(:'judged')), 'conditions_not_met', 'and what did not start says why');
select is(array[pg_temp.runs(:'quote'), pg_temp.runs(:'either')], array[0, 1]::bigint[], 'only those that match');

-- Publishing and checking.
select is((ridgeline.publish_workflow(:'draft')).version, 1, 'a member publishes');
select is(ridgeline.validate_workflow(:'draft'), '{"valid": true, "problems": []}', 'and checks');

-- Cancelling.
select (ridgeline.execute_workflow(:'flow', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select is((ridgeline.cancel_execution(:'run')).status::text, 'cancelled', 'a waiting run is cancelled');
select is((select count(*) from ridgeline.scheduled_steps where execution_id = :'run'), 0::bigint, 'nothing of it is left to happen');
select is((select finished_at from ridgeline.cancel_execution(:'run')), (select finished_at from ridgeline.workflow_executions where id = :'run'), 'cancelling what has ended changes nothing');
select alike(pg_temp.error_of(format('select ridgeline.retry_execution(%L)', :'run')), 'PT409 execution_id: only a failed execution can be retried; this one is cancelled', 'nor can it be retried');
select pg_temp.sign_out();
update ridgeline.workflows set is_active = false where tenant_id = :'apex';
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi"}}, {"type": "create_task", "config": {"title": "After"}}]') as texts \gset
delete from ridgeline.scheduled_steps;
select pg_temp.contact(:'apex');
create temp table held as select c from automation.claim_steps('w', 1) as c;
select is((ridgeline.cancel_execution((pg_temp.only_run(:'texts')).id)).status::text, 'cancelled', 'a run whose text is being sent');
select is(pg_temp.finish(c, 'succeeded', '{"result": {"provider_id": "SM1"}}'), 'completed', 'the text was sent, and is recorded') from held;
select is((select count(*) from ridgeline.messages where provider_id = 'SM1'), 1::bigint, 'in the CRM too');
select is(array[(select count(*) from ridgeline.scheduled_steps), (select count(*) from public.tasks where title = 'After')], array[0, 0]::bigint[], 'nothing comes after it');
select is((pg_temp.only_run(:'texts')).status::text, 'cancelled', 'and the run stays cancelled');
select pg_temp.contact(:'apex');
delete from held;
insert into held select c from automation.claim_steps('w', 1) as c;
select ridgeline.cancel_execution((pg_temp.only_run(:'texts')).id);
select is(pg_temp.finish(c, 'ambiguous'), 'cancelled', 'an attempt that failed meanwhile is not tried again') from held;
select pg_temp.contact(:'apex');
select count(pg_temp.finish(c, 'retry')) from automation.claim_steps('w', 1) as c;
select ridgeline.cancel_execution((pg_temp.only_run(:'texts')).id);
select is((select status::text from ridgeline.workflow_step_executions where execution_id = (pg_temp.only_run(:'texts')).id), 'cancelled', 'a step between two attempts is cancelled with its run');

-- History.
select pg_temp.sign_in(:'sam');
create function pg_temp.history(filter text) returns text
  language plpgsql
  as $$
declare
  n bigint;
begin
  execute format('select count(*) from ridgeline.get_execution_history(%s) as h', filter) into n;
  return n;
end;
$$;
select is(pg_temp.history('max_rows => 500'), (select count(*)::text from ridgeline.workflow_executions), 'all that the member may see');
select is(pg_temp.history(format('execution_id => %L', :'their_run')), '0', 'another tenant''s run is not there');
select is(pg_temp.history('tenant_id => ''00000000-0000-0000-0000-00000000000b'''), '0', 'nor another tenant''s history');
select is(pg_temp.history(format('workflow_id => %L', :'texts')), '3', 'of a workflow');
select is(pg_temp.history(format('workflow_id => %L, status => ''cancelled''', :'texts')), '3', 'and a status');
select is(pg_temp.history(format('workflow_id => %L, status => ''failed''', :'texts')), '0', 'of which there are none');
select is(pg_temp.history(format('contact_id => %L, workflow_id => %L', :'maria', :'either')), '1', 'of a contact');
select is(pg_temp.history('max_rows => 2'), '2', 'a page');
select is(pg_temp.history('max_rows => 0'), '1', 'at least one');
select is(pg_temp.history('max_rows => null, before => ''00000000-0000-0000-0000-000000000000'''), '0', 'before a time');
select is(array[h.workflow_name, h.status::text, h.steps #>> '{0,step_key}', h.steps #>> '{0,input,body}', h.steps #>> '{0,attempts,0,outcome}', h.next_run_at::text],
  array['contact_created', 'cancelled', 'text', 'Hi', 'retry', null], 'each run with its steps')
from ridgeline.get_execution_history(workflow_id => :'texts', max_rows => 1) as h;
select pg_temp.sign_out();
select pg_temp.act_as('service_role');
select cmp_ok(pg_temp.history('tenant_id => ''00000000-0000-0000-0000-00000000000b''')::integer, '>', 0, 'the service role sees any tenant''s');
select pg_temp.sign_out();
-- Retrying.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "assign_user", "config": {"user_id": "00000000-0000-4000-8000-0000000000ff"}}]') as failing \gset
select (ridgeline.execute_workflow(:'failing', jsonb_build_object('contact_id', :'maria'))).id as run \gset
select pg_temp.settle();
select pg_temp.sign_in(:'sam');
select is((ridgeline.retry_execution(:'run')).status::text, 'pending', 'a failed run is taken up again');
select alike(pg_temp.error_of(format('select ridgeline.retry_execution(%L)', :'run')), 'PT409 %this one is pending', 'once');
select pg_temp.sign_out();
select pg_temp.settle();
select is(array[status::text, error ->> 'step'], array['failed', 'step_1'], 'and fails again') from ridgeline.workflow_executions where id = :'run';

select * from finish();
rollback;

-- A shadow waits, branches and renders as if live, and nothing of it happens: what it would have done is on record.
begin;
\ir ../foundation/story.psql
select plan(34);

select pg_temp.tenant() as apex \gset
select pg_temp.member(:'apex', 'admin') as sam \gset
update public.tenant_members set email = 'sam@apex.example';
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900'), (:'apex', 'email', 'office@apex.example');
create function pg_temp.shadow(trigger_type text, steps text, settings text default '{}', conditions text default '[]') returns uuid
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.draft((select t.id from public.tenants as t order by t.created_at limit 1), trigger_type, '{}', steps::jsonb, conditions::jsonb, settings::jsonb);
begin
  update ridgeline.workflows set mode = 'shadow', is_active = true where id = workflow;
  return workflow;
end;
$$;
-- All that is due, sends too; what was claimed is what would reach a provider.
create function pg_temp.work() returns bigint
  language plpgsql
  as $$
declare
  sent bigint := 0;
  now_sent bigint;
begin
  for round in 1..5 loop
    perform pg_temp.settle();
    select count(*) into now_sent from (select pg_temp.finish(c, 'succeeded') from automation.claim_steps('w', 100) as c offset 0) as f;
    sent := sent + now_sent;
  end loop;
  return sent;
end;
$$;
create function pg_temp.said(workflow uuid) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', s.step_key, s.status, s.error ->> 'code', s.recipient, case s.step_type when 'send_sms' then s.input ->> 'body' end, s.error #>> '{would,action}'), E'\n' order by s.seq)
    from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(workflow)).id
  $$;

-- EVERY STEP THERE IS
select pg_temp.shadow('contact_created', format('[
  {"key": "text", "type": "send_sms", "config": {"body": "Hi {{contact.first_name}}"}},
  {"key": "mail", "type": "send_email", "config": {"subject": "Hi", "text": "Hi"}},
  {"key": "hook", "type": "webhook", "config": {"url": "https://example.com/hook"}},
  {"key": "task", "type": "create_task", "config": {"title": "Call {{contact.first_name}}", "due_in_days": 2}},
  {"key": "tag", "type": "add_tag", "config": {"tag": "hot"}},
  {"key": "untag", "type": "remove_tag", "config": {"tag": "cold"}},
  {"key": "stage", "type": "change_stage", "config": {"entity": "contact", "stage": "contacted"}},
  {"key": "field", "type": "update_field", "config": {"field": "lead_score", "value": "5", "operator": "add"}},
  {"key": "contact", "type": "update_contact", "config": {"fields": {"last_name": "Lopez"}}},
  {"key": "assign", "type": "assign_user", "config": {"user_id": "%s"}},
  {"key": "project", "type": "create_project", "config": {"name": "Roof"}},
  {"key": "friend", "type": "find_or_create_contact", "config": {"phone": "+15125550188", "fields": {"first_name": "Friend"}}},
  {"key": "tell", "type": "notify_member", "config": {"user_id": "{{contact.assigned_to}}", "channel": "email", "subject": "x", "body": "{{contact.stage}}"}},
  {"key": "pause", "type": "wait", "config": {"days": 1}},
  {"key": "later", "type": "send_sms", "config": {"body": "{{user.full_name}} {{contact.stage}} {{contact.lead_score}} {{steps.hook.http_status}}"}}]', :'sam')) as everything \gset
select is((select string_agg(name, ', ' order by name) from automation.step_types where automation.has_effect(name)
    and name not in (select s.step_type from ridgeline.workflow_steps as s where s.workflow_id = :'everything') and name <> 'update_project'),
  null, 'the story has every step type that does something');
select count(*) as rows_before from public.tasks \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select to_jsonb(c) as maria_before from public.contacts as c where c.id = :'maria' \gset
select is(pg_temp.work(), 0::bigint, 'nobody is handed anything to send');
select is((pg_temp.only_run(:'everything')).status, 'waiting', 'it waits as if live');
select is((pg_temp.only_run(:'everything')).mode, 'shadow', 'and is a shadow');
select automation.advance_clock('25 hours');
select is(pg_temp.work(), 0::bigint, 'nor later');
select is((pg_temp.only_run(:'everything')).status, 'completed', 'it goes to its end');
select is(pg_temp.said(:'everything'), E'text skipped shadow +15125550100 Hi Maria send_sms\nmail skipped shadow maria@example.com send_email\n'
  || E'hook skipped shadow webhook\ntask skipped shadow create_task\ntag skipped shadow add_tag\nuntag skipped shadow remove_tag\n'
  'stage skipped shadow change_stage\nfield skipped shadow update_field\ncontact skipped shadow update_contact\nassign skipped shadow assign_user\n'
  'project skipped shadow create_project\nfriend skipped shadow find_or_create_contact\ntell skipped shadow sam@apex.example send_email\npause completed\nlater skipped shadow +15125550100 Sam Ortiz contacted 5 200 send_sms',
  'each effect is skipped, with who was to get what; later steps read what earlier ones would have left');
select is((select to_jsonb(c) from public.contacts as c where c.id = :'maria'), :'maria_before'::jsonb, 'the contact is as it was');
select is((select count(*) from public.tasks), 0::bigint, 'no task');
select is((select count(*) from public.projects), 0::bigint, 'no project');
select is((select count(*) from public.contacts), 1::bigint, 'no contact but her');
select is((select count(*) from public.contact_tags) + (select count(*) from public.tags), 0::bigint, 'no tag');
select is((select count(*) from automation.created_projects), 0::bigint, 'no key is used up');
select is((select count(*) from ridgeline.messages) + (select count(*) from ridgeline.emails), 0::bigint, 'no message on record');
select is((select s.error #> '{would,fields}' from ridgeline.workflow_step_executions as s where s.step_key = 'field'), '{"lead_score": 5}', 'would says what the column would hold');
select is((select s.error #>> '{would,due}' is not null from ridgeline.workflow_step_executions as s where s.step_key = 'task'), true, 'and when a task would be due');
select is((select count(*) from ridgeline.automation_failures) + (select count(*) from ridgeline.automation_skipped_sends), 0::bigint, 'none of it counts as a failure');

-- WHAT THE LIVE STEP WOULD REFUSE
select pg_temp.shadow('manual', '[{"key": "who", "type": "assign_user", "config": {"user_id": "{{custom.who}}"}}]') as wrong \gset
select ridgeline.execute_workflow(:'wrong', jsonb_build_object('contact_id', :'maria', 'custom', '{"who": "nobody"}'::jsonb));
select pg_temp.work();
select is((pg_temp.only_run(:'wrong')).error ->> 'message', 'user_id: "nobody" is not a member of the tenant', 'fails as live, in the same words');
insert into ridgeline.suppressions (tenant_id, channel, address, reason) values (:'apex', 'sms', '+15125550100', 'opt_out');
select pg_temp.shadow('manual', '[{"key": "t", "type": "send_sms", "config": {"body": "Hi"}}]') as stopped \gset
select ridgeline.execute_workflow(:'stopped', jsonb_build_object('contact_id', :'maria'));
select pg_temp.work();
select is(pg_temp.said(:'stopped'), 't skipped suppressed +15125550100 Hi', 'who opted out is no send that a shadow left out');
delete from ridgeline.suppressions;

-- AS IF: tags, branches, and what people write meanwhile
select pg_temp.shadow('manual', '[{"key": "tag", "type": "add_tag", "config": {"tag": "VIP"}}, {"key": "stage", "type": "change_stage", "config": {"stage": "won", "entity": "contact"}},
  {"key": "pause", "type": "wait", "config": {"days": 1}},
  {"key": "fork", "type": "conditional", "config": {"conditions": [{"field": "contact.tags", "operator": "contains", "value": "vip"}, {"field": "contact.stage", "operator": "equals", "value": "won"},
    {"field": "steps.tag.status", "operator": "equals", "value": "completed"}]},
   "on": {"then": [{"key": "yes", "type": "stop", "config": {}}], "else": [{"key": "no", "type": "stop", "config": {}}]}}]') as forks \gset
select pg_temp.contact(:'apex', 'Ann', '+15125550111') as ann \gset
select ridgeline.execute_workflow(:'forks', jsonb_build_object('contact_id', :'maria'));
select ridgeline.execute_workflow(:'forks', jsonb_build_object('contact_id', :'ann'));
select pg_temp.work();
update public.contacts set stage = 'lost' where id = :'ann';
select automation.advance_clock('25 hours');
select pg_temp.work();
create function pg_temp.fork_of(contact uuid) returns text
  language sql
  as $$
    select s.result_data ->> 'branch' from ridgeline.workflow_step_executions as s join ridgeline.workflow_executions as e on e.id = s.execution_id
    where e.record_id = contact::text and s.step_key = 'fork'
  $$;
select is(pg_temp.fork_of(:'maria'), 'then', 'a branch sees the tag and the stage that it would have set');
select is(pg_temp.fork_of(:'ann'), 'else', 'but what a person has written since counts more');

-- WITHIN A MODE
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "ab", "type": "split", "config": {"branches": [{"name": "a", "weight": 1}, {"name": "b", "weight": 0.001}]}},
  {"type": "create_task", "config": {"title": "x"}}]', '[]', '{"reentry": "never"}') as once \gset
create function pg_temp.enters(workflow uuid, contact uuid) returns text
  language plpgsql
  as $$
declare
  run uuid := (ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact))).id;
begin
  perform pg_temp.work();
  return (select concat_ws(' ', e.mode, e.status, e.error ->> 'code') from ridgeline.workflow_executions as e where e.id = run);
end;
$$;
select is(pg_temp.enters(:'once', :'maria'), 'live completed', 'Maria enters live');
update ridgeline.workflows set mode = 'shadow' where id = :'once';
select is(pg_temp.enters(:'once', :'maria'), 'shadow completed', 'and again as a shadow: live entries keep no shadow out');
select is(pg_temp.enters(:'once', :'maria'), 'shadow skipped already_entered', 'once only there, too');
select is(pg_temp.enters(:'once', :'ann'), 'shadow completed', 'Ann enters as a shadow');
select is((select count(*) from automation.split_assignments where workflow_id = :'once' and subject like 'shadow %'), 2::bigint, 'a split of a shadow is a shadow''s');
update ridgeline.workflows set mode = 'live' where id = :'once';
select is(pg_temp.enters(:'once', :'ann'), 'live completed', 'which keeps nobody out who is live');
select is(pg_temp.enters(:'once', :'maria'), 'live skipped already_entered', 'while who entered live has entered');

-- SWITCHING ON
select pg_temp.shadow('contact_created', '[{"key": "pause", "type": "wait", "config": {"days": 3}}, {"type": "create_task", "config": {"title": "Call"}}]') as slow \gset
select pg_temp.contact(:'apex', 'Zoe', '+15125550122') as zoe \gset
select pg_temp.work();
select is((select mode::text || status from ridgeline.workflow_executions where workflow_id = :'slow'), 'shadowwaiting', 'Zoe waits in the shadow');
update ridgeline.workflows set mode = 'live' where id = :'slow';
select is((select concat_ws(' ', status, error ->> 'code') from ridgeline.workflow_executions where workflow_id = :'slow'), 'cancelled switched_on', 'switching on ends it, and says why');
select is((select count(*) from ridgeline.scheduled_steps as q join ridgeline.workflow_executions as e on e.id = q.execution_id where e.workflow_id = :'slow'), 0::bigint, 'nothing of it is queued');
select pg_temp.contact(:'apex', 'Kim', '+15125550133') as kim \gset
select is((select mode::text from ridgeline.workflow_executions where workflow_id = :'slow' and record_id = :'kim'), 'live', 'the next lead is live');
update ridgeline.workflows set mode = 'shadow' where id = :'slow';
select is((select mode::text || status from ridgeline.workflow_executions where workflow_id = :'slow' and record_id = :'kim'), 'livepending', 'and stays so when it is a shadow again');
select throws_like($$update ridgeline.workflows set mode = 'test' where name = 'manual'$$, '%workflows_mode_is_live_or_shadow%', 'a workflow is live or a shadow');

select * from finish();
rollback;

-- "on_insert": a record that is inserted with the value has come to it: a project that is entered as won, a job that
-- was done before anybody wrote it down. Nothing changes for who does not say so.
begin;
\ir ../foundation/story.psql
select plan(53);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
create function pg_temp.listen(event text, config jsonb default '{}', settings jsonb default '{}') returns uuid
  language sql
  as $$
    select pg_temp.workflow('00000000-0000-0000-0000-00000000000a', event, config,
      '[{"type": "wait", "config": {"days": 1}}, {"type": "stop"}]', '[]', settings)
  $$;
create function pg_temp.fired(workflow uuid) returns text
  language sql
  as $$
    select string_agg(e.trigger_type || ' ' || (e.trigger_data #>> '{project,name}'), ', ' order by e.seq)
    from ridgeline.workflow_executions as e where e.workflow_id = workflow
  $$;

select pg_temp.listen('project_won') as cautious \gset
select pg_temp.listen('project_won', '{"on_insert": false}') as said_no \gset
select pg_temp.listen('project_won', '{"on_insert": true}') as eager \gset
select pg_temp.listen('project_won', '{"on_insert": true, "type": "roof"}') as roofs \gset
insert into public.projects (tenant_id, contact_id, name, pipeline_stage, type) values
  (:'apex', :'maria', 'new', 'new', 'roof'), (:'apex', :'maria', 'won', 'won', 'roof'), (:'apex', :'maria', 'Won', 'Won', 'shed'), (:'apex', null, 'wonder', 'wonder', 'roof');
select is(pg_temp.fired(:'cautious'), null, 'unsaid: what is inserted has not become it, as ever');
select is(pg_temp.fired(:'said_no'), null, 'nor where it is said');
select is(pg_temp.fired(:'eager'), 'project_won won, project_won Won', 'with on_insert it has, in any case, under the name of the trigger');
select is(pg_temp.fired(:'roofs'), 'project_won won', 'and the rest of the trigger holds');
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'eager' and fused), 2::bigint, 'the fuse of the workflow counts them');
update public.projects set pipeline_stage = 'won' where name = 'new';
select is(pg_temp.fired(:'cautious'), 'project_won new', 'one that becomes it');
select is(pg_temp.fired(:'eager'), 'project_won won, project_won Won, project_won new', 'counts for all, once');
update public.projects set value = 1 where name = 'won';
select is(pg_temp.runs(:'eager'), 3::bigint, 'one that stays won does not');
update public.projects set pipeline_stage = 'lost' where name = 'Won';
update public.projects set pipeline_stage = 'won' where name = 'Won';
select is(pg_temp.runs(:'eager'), 3::bigint, 'an insert and what follows it in one transaction is one');
select is(pg_temp.runs(:'cautious'), 2::bigint, 'for whoever hears updates alone it is an update');

-- Fields.
select pg_temp.listen('field_changed', '{"entity": "project", "field": "assigned_to", "on_insert": true}') as assigned \gset
select pg_temp.listen('field_changed', '{"entity": "project", "field": "value", "to": [100, 200], "on_insert": true}') as worth \gset
select pg_temp.listen('field_changed', '{"entity": "project", "field": "value", "from": [null, 5], "on_insert": true}') as from_nothing \gset
select pg_temp.listen('pipeline_stage_changed', '{"to": ["estimate_sent", "won"], "on_insert": true}') as staged \gset
insert into public.projects (tenant_id, name, pipeline_stage, value, assigned_to) values
  (:'apex', 'a', 'estimate_sent', 100, null), (:'apex', 'b', 'lead', null, gen_random_uuid()), (:'apex', 'c', 'lead', 300, null);
select is(pg_temp.fired(:'assigned'), 'field_changed b', 'a field that is empty has not changed');
select is(pg_temp.fired(:'worth'), 'field_changed a', 'one of the values it has to come to');
select is(pg_temp.fired(:'from_nothing'), 'field_changed a, field_changed c', 'from nothing is what an insert comes from');
select is(pg_temp.fired(:'staged'), 'pipeline_stage_changed a', 'a stage');
select is((pg_temp.only_run(:'staged')).trigger_data ? 'old', false, 'there is nothing it was before');

-- However it is written.
insert into public.projects (tenant_id, id, name, pipeline_stage) values (:'apex', '00000000-0000-4000-8000-0000000000d1', 'upsert', 'won')
  on conflict (tenant_id, id) do update set pipeline_stage = excluded.pipeline_stage;
select is(pg_temp.fired(:'staged'), 'pipeline_stage_changed a, pipeline_stage_changed upsert', 'an upsert that inserts');
insert into public.projects (tenant_id, id, name, pipeline_stage) values (:'apex', '00000000-0000-4000-8000-0000000000d1', 'upsert', 'won')
  on conflict (tenant_id, id) do update set pipeline_stage = excluded.pipeline_stage;
select is(pg_temp.runs(:'staged'), 2::bigint, 'and one that finds it there already');
create function pg_temp.finish_it() returns trigger language plpgsql as $$
begin
  update public.projects set pipeline_stage = 'won' where id = new.id and tenant_id = new.tenant_id;
  return null;
end;
$$;
create trigger zz_finish after insert on public.projects for each row when (new.name = 'quick') execute function pg_temp.finish_it();
create trigger aa_finish after insert on public.projects for each row when (new.name = 'quicker') execute function pg_temp.finish_it();
insert into public.projects (tenant_id, name, pipeline_stage) values (:'apex', 'quick', 'estimate_sent'), (:'apex', 'quicker', 'estimate_sent');
select is((select string_agg(n, ', ' order by n) from (select e.trigger_data #>> '{project,name}' as n from ridgeline.workflow_executions as e
  where e.workflow_id = :'staged' and e.trigger_data #>> '{project,name}' like 'quick%') as s), 'quick, quicker', 'a trigger of the CRM that moves it on in the same statement makes no second run');
drop trigger zz_finish on public.projects;
drop trigger aa_finish on public.projects;

-- A table that was altered since it was attached takes the slow way to the same end.
alter table public.jobs rename column name to label;
select pg_temp.listen('job_completed', '{"on_insert": true}') as done \gset
insert into public.jobs (tenant_id, contact_id, label, status) values (:'apex', :'maria', 'late entry', 'completed'), (:'apex', :'maria', 'to do', 'scheduled');
select is(pg_temp.runs(:'done'), 1::bigint, 'a job that was done before it was entered');
alter table public.jobs rename column label to name;

-- What ends runs, and what they wait for.
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "quoted"}', '[{"type": "wait", "config": {"days": 9}}, {"type": "stop"}]', '[]',
  '{"exit_events": [{"type": "project_won", "config": {"on_insert": true}}]}') as hopeful \gset
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "quoted"}', '[{"type": "wait", "config": {"days": 9}}, {"type": "stop"}]', '[]',
  '{"exit_events": ["project_won"]}') as plain \gset
select pg_temp.workflow(:'apex', 'project_created', '{"name": "Fence"}', '[{"type": "wait", "config": {"days": 9}}, {"type": "stop"}]', '[]',
  '{"exit_events": [{"type": "project_won", "config": {"on_insert": true}}]}') as fence \gset
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "quoted"}',
  '[{"key": "asked", "type": "wait", "config": {"event": {"type": "job_completed", "config": {"on_insert": true}}, "timeout": "9 days"}, "on": {"event": [{"type": "create_task", "config": {"title": "Done"}}]}}]') as waiting \gset
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Fence');
update public.contacts set stage = 'quoted' where id = :'maria';
select pg_temp.settle();
insert into public.projects (tenant_id, contact_id, name, pipeline_stage) values (:'apex', :'maria', 'new', 'lead');
select pg_temp.settle();
select is((pg_temp.only_run(:'hopeful')).status::text, 'waiting', 'a project that is not won ends nothing');
insert into public.projects (tenant_id, contact_id, name, pipeline_stage) values (:'apex', :'maria', 'Gutter', 'won');
insert into public.jobs (tenant_id, contact_id, name, status) values (:'apex', :'maria', 'Visit', 'completed');
select pg_temp.settle();
select is((pg_temp.only_run(:'hopeful')).error ->> 'code', 'exit_event', 'one that is entered as won does');
select is((pg_temp.only_run(:'hopeful')).error ->> 'event', 'project_won', 'by its name');
select is((pg_temp.only_run(:'plain')).status::text, 'waiting', 'where that was asked for');
select is((pg_temp.only_run(:'fence')).status::text, 'waiting', 'a run about another project goes on');
select is((select count(*) from public.tasks where title = 'Done'), 1::bigint, 'what is waited for may be inserted too');

-- A run is not ended by the insert that it begins with.
select pg_temp.workflow(:'apex', 'project_won', '{"on_insert": true, "name": "Self"}', '[{"type": "wait", "config": {"days": 9}}, {"type": "stop"}]', '[]',
  '{"exit_events": [{"type": "project_won", "config": {"on_insert": true}}]}') as itself \gset
insert into public.projects (tenant_id, contact_id, name, pipeline_stage) values (:'apex', :'maria', 'Self', 'won');
select pg_temp.settle();
select is((pg_temp.only_run(:'itself')).status::text, 'waiting', 'it begins and goes on');

-- With the rules of re-entry.
select pg_temp.listen('pipeline_stage_changed', '{"to": "won", "on_insert": true, "type": "once"}', '{"reentry": "never"}') as never \gset
select pg_temp.listen('pipeline_stage_changed', '{"to": "won", "on_insert": true, "type": "anew"}', '{"reentry": "restart"}') as anew \gset
insert into public.projects (tenant_id, name, pipeline_stage, type) values (:'apex', 'n', 'won', 'once'), (:'apex', 'r', 'won', 'anew');
select pg_temp.settle();
-- In a transaction of its own the following would fire: here the insert is told by where it was written.
update ridgeline.workflow_executions set written_by = '3' where workflow_id in (:'never', :'anew');
update public.projects set pipeline_stage = 'lost' where type in ('once', 'anew');
update public.projects set pipeline_stage = 'won' where type in ('once', 'anew');
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions as e where e.workflow_id = :'never' and e.status = 'waiting'), 1::bigint, 'never again is never again');
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e
  where e.workflow_id = :'anew'), 'cancelled restarted, waiting', 'and restart begins anew');

-- An import that nobody thought of: what is too much is held, and somebody is asked.
update automation.settings set value = '20' where name = 'workflow_fuse_per_hour';
select pg_temp.workflow(:'apex', 'project_won', '{"on_insert": true, "type": "old"}', '[{"type": "create_task", "config": {"title": "Welcome"}}]') as welcome \gset
insert into public.projects (tenant_id, contact_id, name, type, pipeline_stage)
select :'apex', :'maria', 'old ' || n, 'old', 'won' from generate_series(1, 300) as n;
select pg_temp.settle();
select ok((select count(*) from public.tasks where title = 'Welcome') <= 20, 'of three hundred old projects at most as many are welcomed as the fuse lets through');
select is((select count(*) from ridgeline.workflow_holds where workflow_id = :'welcome' and released_at is null), 1::bigint, 'then the workflow is held');
select ok(exists (select from public.tasks where title like 'Workflow "%" was stopped'), 'and the office is told');
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'welcome'), 300::bigint, 'nothing is lost');

-- Started by another program it has to come to the value as well, and does not count twice.
select pg_temp.listen('pipeline_stage_changed', '{"to": "won", "on_insert": true, "type": "told"}') as told \gset
insert into public.projects (tenant_id, name, type) values (:'apex', 'told', 'told') returning id as told_project \gset
select is((select count(*) from ridgeline.trigger_workflows('project_created', jsonb_build_object('project_id', :'told_project'), :'apex') as t where t.workflow_id = :'told'), 0::bigint,
  'a program that says created does not mean it');

-- Switched off, and another version.
update ridgeline.workflows set is_active = false where id = :'eager';
select pg_temp.runs(:'eager') as before \gset
insert into public.projects (tenant_id, name, pipeline_stage) values (:'apex', 'off', 'won');
select is(pg_temp.runs(:'eager'), :before::bigint, 'switched off it hears neither');
update ridgeline.workflows set is_active = true where id = :'eager';
insert into public.projects (tenant_id, name, pipeline_stage) values (:'apex', 'on', 'won');
select is(pg_temp.runs(:'eager'), :before::bigint + 1, 'switched on again it does');
update ridgeline.workflows set trigger_config = '{}' where id = :'eager';
select (ridgeline.publish_workflow(:'eager')).version \gset
insert into public.projects (tenant_id, name, pipeline_stage) values (:'apex', 'gone', 'won');
select is(pg_temp.runs(:'eager'), :before::bigint + 1, 'published without on_insert it hears updates alone');

-- Whether it could start itself.
select matches(pg_temp.findings(:'apex', 'pipeline_stage_changed', '{"to": "new", "on_insert": true}', '[{"type": "create_project", "config": {"name": "x"}}]'),
  'warning cycle', 'a step that creates a project in that stage starts it again');
select unalike(coalesce(pg_temp.findings(:'apex', 'project_won', '{"on_insert": true}', '[{"type": "create_project", "config": {"name": "x", "pipeline_stage": "new"}}]'), ''),
  '%cycle%', 'one in another stage does not');

-- What publishing says.
create function pg_temp.said(trigger_type text, config jsonb, settings jsonb default '{}') returns text
  language plpgsql
  as $$
declare
  draft constant uuid := pg_temp.draft('00000000-0000-0000-0000-00000000000a', trigger_type, config,
    '[{"type": "create_task", "config": {"title": "x"}}]', '[]', settings);
begin
  return (
    select string_agg(concat_ws(' ', p ->> 'severity', p ->> 'code', p ->> 'path'), ', ')
    from jsonb_array_elements(ridgeline.validate_workflow(draft) -> 'problems') as p);
end;
$$;
select is(pg_temp.said('project_won', '{}'), null, 'unsaid: nothing');
select is(pg_temp.said('project_won', '{"on_insert": true}'), 'warning imports_start_it trigger_config.on_insert', 'said: that an import starts it too');
select is(pg_temp.said('project_won', '{"on_insert": "yes"}'), 'error invalid_value trigger_config.on_insert', 'yes is no boolean');
select is(pg_temp.said('project_won', '{"on_insert": null}'), 'error invalid_value trigger_config.on_insert', 'nor is null');
select is(pg_temp.said('pipeline_stage_changed', '{"from": "lead", "on_insert": true}'), 'error not_allowed trigger_config.on_insert, warning imports_start_it trigger_config.on_insert', 'what is inserted was nothing before');
select is(pg_temp.said('sms_received', '{"on_insert": false}'), 'error invalid_value trigger_config.on_insert', 'a text that came in is inserted, always');
select is(pg_temp.said('sms_received', '{"on_insert": true}'), null, 'and to say so does no harm');
select is(pg_temp.said('project_created', '{"on_insert": true}'), 'error unknown_field trigger_config.on_insert', 'created is an insert and nothing else');
select is(pg_temp.said('stage_changed', '{}', '{"exit_events": [{"type": "project_won", "config": {"on_insert": 1}}]}'),
  'error invalid_value settings.exit_events[0].config.on_insert', 'an exit is looked at too');
select is(pg_temp.said('stage_changed', '{}', '{"exit_events": [{"type": "project_won", "config": {"on_insert": true}}]}'), null, 'and need not be warned of');

-- A table of the office's own, with an event that leaves some rows out.
create table public.permits (tenant_id uuid not null, id uuid primary key default gen_random_uuid(), contact_id uuid, state text, is_test boolean, on_insert text);
select automation.attach('public.permits', 'permit', '{"contact": "contact_id"}', '[{"type": "permit_granted", "column": "state", "becomes": "granted", "unless": "is_test"}]', authors => 'members');
select pg_temp.listen('permit_granted', '{"on_insert": true}') as granted \gset
insert into public.permits (tenant_id, state, is_test) values (:'apex', 'granted', true), (:'apex', 'granted', null), (:'apex', 'granted', false), (:'apex', 'refused', false), (:'apex', null, null);
select is(pg_temp.runs(:'granted'), 2::bigint, 'what the event leaves out is left out of inserts too');
select is((pg_temp.only_run(:'granted')).trigger_type, 'permit_granted', 'by its name');
-- Two offices.
select pg_temp.tenant('Bluff Roofing') as bluff \gset
insert into public.projects (tenant_id, name, pipeline_stage) values (:'bluff', 'theirs', 'won');
select is((select count(*) from ridgeline.workflow_executions where tenant_id = :'bluff'), 0::bigint, 'another office''s project starts nothing here');
select automation.detach('permit');
select is((select count(*) from automation.active_triggers where entity = 'permit'), 0::bigint, 'nothing is heard of a table that was detached');
select ok(exists (select from automation.activations where workflow_id = :'granted' and ended_by = 'detach'), 'and it is on record');
select * from finish();
rollback;

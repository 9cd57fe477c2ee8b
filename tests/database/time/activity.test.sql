-- What has been lying there: a clock that people's changes reset and automations' do not, for what is there already too.
begin;
\ir ../foundation/story.psql
select plan(46);

insert into public.tenants (id, name, timezone) values ('00000000-0000-0000-0000-00000000000a', 'Apex Roofing', 'America/Chicago');
\set apex '00000000-0000-0000-0000-00000000000a'
select pg_temp.contact(:'apex', 'Maria') as maria \gset
-- Monday.
select automation.set_clock('2026-03-02T16:00:00Z');

create function pg_temp.due(project uuid, flow uuid) returns text
  language sql
  as $$
    select to_char(t.due_at at time zone 'America/Chicago', 'MM-DD HH24:MI') from ridgeline.workflow_timers as t
    where t.record_id = project::text and t.workflow_id = flow
  $$;
create function pg_temp.at(at text) returns void
  language plpgsql
  as $$
begin
  perform automation.set_clock(at::timestamptz);
  perform automation.run_bulk();
  perform automation.fire_timers();
  perform pg_temp.settle();
end;
$$;
create function pg_temp.project(name text, stage text default 'estimate_sent') returns uuid
  language sql
  as $$
    insert into public.projects (tenant_id, contact_id, name, pipeline_stage)
    select '00000000-0000-0000-0000-00000000000a', c.id, project.name, project.stage from public.contacts as c where c.first_name = 'Maria' returning id
  $$;
create function pg_temp.nudged(flow uuid) returns text
  language sql
  as $$ select string_agg(e.trigger_data #>> '{project,name}', ', ' order by e.trigger_data #>> '{project,name}') from ridgeline.workflow_executions as e where e.workflow_id = flow $$;

-- Ten business days without a change of stage.
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "changed": "pipeline_stage", "by": "people", "offset": "10 business days"}',
  '[{"type": "create_task", "config": {"title": "Still interested in {{project.name}}?"}}]',
  '[{"field": "project.pipeline_stage", "operator": "not_in", "value": ["won", "lost"]}]') as nudge \gset
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "changed": "pipeline_stage", "offset": "10 business days"}',
  '[{"type": "wait", "config": {"days": 1}}, {"type": "stop"}]') as anybody \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "update_field", "config": {"entity": "project", "field": "pipeline_stage", "value": "{{custom.stage}}"}}]') as robot \gset
select pg_temp.project('Roof') as roof \gset
select is(pg_temp.due(:'roof', :'nudge'), '03-16 10:00', 'ten business days after it came to its stage');
select pg_temp.at('2026-03-04T16:00:00Z');
update public.projects set pipeline_stage = 'negotiation' where id = :'roof';
select is(pg_temp.due(:'roof', :'nudge'), '03-18 10:00', 'somebody moves it: ten from then');
select pg_temp.at('2026-03-06T16:00:00Z');
select (ridgeline.execute_workflow(:'robot', jsonb_build_object('project_id', :'roof', 'custom', '{"stage": "warm"}'::jsonb))).status \gset
select pg_temp.settle();
select is((select pipeline_stage from public.projects where id = :'roof'), 'warm', 'an automation moves it');
select is(pg_temp.due(:'roof', :'nudge'), '03-18 10:00', 'which is no activity');
select is(pg_temp.due(:'roof', :'anybody'), '03-20 10:00', 'but for whoever counts everybody''s');
update public.projects set value = 9 where id = :'roof';
select is(pg_temp.due(:'roof', :'nudge'), '03-18 10:00', 'another field is not the stage');
select pg_temp.at('2026-03-18T15:00:01Z');
select is((select string_agg(t.title, ', ') from public.tasks as t), 'Still interested in Roof?', 'then somebody is asked');
select (ridgeline.execute_workflow(:'robot', jsonb_build_object('project_id', :'roof', 'custom', '{"stage": "lukewarm"}'::jsonb))).status \gset
select pg_temp.settle();
select is(pg_temp.due(:'roof', :'nudge'), null, 'an automation''s change sets no new clock');
update public.projects set pipeline_stage = 'hot' where id = :'roof';
select is(pg_temp.due(:'roof', :'nudge') is not null, true, 'a person''s does');
-- What an automation makes begins to be counted too.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_project", "config": {"name": "Made"}}]') as maker \gset
select (ridgeline.execute_workflow(:'maker', jsonb_build_object('contact_id', :'maria'))).status \gset
select pg_temp.settle();
select is((select pg_temp.due(p.id, :'nudge') is not null from public.projects as p where p.name = 'Made'), true, 'a project that an automation made may be forgotten as well');
-- A trigger of the CRM's own that follows an automation's write is part of it; one that follows a person's is theirs.
create function pg_temp.echo() returns trigger language plpgsql as $$
begin
  update public.projects set pipeline_stage = 'echoed' where id = new.id and tenant_id = new.tenant_id and new.name = 'Echo' and pipeline_stage <> 'echoed';
  return null;
end;
$$;
create trigger zz_echo after update of value on public.projects for each row execute function pg_temp.echo();
select pg_temp.project('Echo') as echo \gset
select pg_temp.due(:'echo', :'nudge') as echo_due \gset
select automation.advance_clock('2 days');
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "update_field", "config": {"entity": "project", "field": "value", "value": 5}}]') as pricing \gset
select (ridgeline.execute_workflow(:'pricing', jsonb_build_object('project_id', :'echo'))).status \gset
select pg_temp.settle();
select is((select pipeline_stage || ' ' || pg_temp.due(id, :'nudge') from public.projects where id = :'echo'), 'echoed ' || :'echo_due', 'what a trigger makes of an automation''s write is no person''s');
update ridgeline.workflows set is_active = false;
drop trigger zz_echo on public.projects;
delete from public.tasks;

-- WHAT IS THERE ALREADY
delete from public.projects;
select automation.set_clock('2026-04-01T15:00:00Z');
select pg_temp.project('old ' || n) from generate_series(1, 3) as n;
select pg_temp.project('moved', 'new') as moved \gset
select pg_temp.project('won', 'won') as won \gset
select automation.set_clock('2026-04-20T15:00:00Z');
select pg_temp.project('young') as young \gset
update public.projects set pipeline_stage = 'estimate_sent' where id = :'moved';
-- Touched lately, but not in its stage.
update public.projects set pipeline_stage = 'estimate_sent', description = 'x' where name = 'old 3';
select automation.set_clock('2026-04-28T15:00:00Z');
update public.projects set description = 'touched' where name in ('moved', 'old 2');

select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "changed": "pipeline_stage", "offset": "10 business days"}') as silent \gset
select pg_temp.at('2026-04-28T15:00:30Z');
select is((select count(*) from ridgeline.workflow_timers where workflow_id = :'silent'), 0::bigint, 'without a word what was there before is left out');
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "changed": "pipeline_stage", "by": "people", "offset": "10 business days", "existing": true}') as future \gset
select pg_temp.at('2026-04-28T15:01:00Z');
select is((select string_agg(p.name || ' ' || pg_temp.due(p.id, :'future'), ', ' order by p.name) from public.projects as p where pg_temp.due(p.id, :'future') is not null),
  'moved 05-04 10:00, old 2 05-12 10:00, old 3 05-04 10:00, young 05-04 10:00',
  'existing: what is due in the future, from its last change of stage; where that is not known, from when it was last touched');
select is(pg_temp.nudged(:'future'), null, 'and nobody is nudged at once');

select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "changed": "pipeline_stage", "by": "people", "offset": "10 business days", "existing": {"overdue": true}}',
  '[{"type": "create_task", "config": {"title": "Ask about {{project.name}}"}}]', '[{"field": "project.pipeline_stage", "operator": "equals", "value": "estimate_sent"}]') as overdue \gset
select pg_temp.at('2026-04-28T15:02:00Z');
select is(pg_temp.nudged(:'overdue'), 'old 1', 'what has been lying there is nudged when it is published, if it meets the conditions');
select is((select string_agg(p.name, ', ' order by p.name) from public.projects as p where pg_temp.due(p.id, :'overdue') is not null), 'moved, old 2, old 3, young', 'the others when their time comes');
select is((pg_temp.only_run(:'overdue')).trigger_type, 'time_elapsed', 'as by the clock');
select is((pg_temp.only_run(:'overdue')).trigger_data #>> '{timer,overdue}', 'true', 'and it can be told');
select is((select status from ridgeline.bulk_enrollments where workflow_id = :'overdue'), 'completed', 'the job is over');
select is((select data from ridgeline.bulk_enrollments where workflow_id = :'future'), '{}'::jsonb, 'one without a word about what is overdue has nothing to remember');
-- Published again with another offset: who was asked since is not asked again.
update ridgeline.workflows set trigger_config = trigger_config || '{"offset": "8 business days"}' where id = :'overdue';
select (ridgeline.publish_workflow(:'overdue')).version \gset
select pg_temp.at('2026-04-28T15:03:00Z');
select is(pg_temp.nudged(:'overdue'), 'old 1', 'another offset nudges nobody twice');
select pg_temp.at('2026-05-02T15:03:00Z');
select is(pg_temp.nudged(:'overdue'), 'moved, old 1, old 3, young', 'the others in their time');
update public.projects set pipeline_stage = 'negotiation' where name = 'old 1';
update public.projects set pipeline_stage = 'estimate_sent' where name = 'old 1';
select pg_temp.at('2026-05-20T15:03:00Z');
select is((select count(*) from ridgeline.workflow_executions where workflow_id = :'overdue' and trigger_data #>> '{project,name}' = 'old 1'), 2::bigint, 'who moved and stopped again is asked again');
update ridgeline.workflows set is_active = false;

-- Throttled, and no more than so many.
delete from public.projects;
select automation.set_clock('2026-06-01T15:00:00Z');
select pg_temp.project('p' || lpad(n::text, 3, '0')) from generate_series(1, 100) as n;
select automation.set_clock('2026-07-01T15:00:00Z');
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "changed": "pipeline_stage", "offset": "10 business days", "existing": {"overdue": true, "per_minute": 12, "at_most": 30}}',
  '[{"type": "wait", "config": {"days": 1}}, {"type": "stop"}]') as many \gset
select pg_temp.at('2026-07-01T15:00:01Z');
select is(pg_temp.runs(:'many'), 1::bigint, 'a twelfth of a minute''s worth at a time');
create function pg_temp.minute_by_minute(minutes integer) returns void language plpgsql as $$
begin
  for n in 1 .. minutes * 12 loop
    perform automation.advance_clock('5 seconds');
    perform automation.run_bulk();
  end loop;
end;
$$;
select pg_temp.minute_by_minute(1);
select ok(pg_temp.runs(:'many') between 11 and 14, 'about twelve in a minute: ' || pg_temp.runs(:'many'));
select pg_temp.minute_by_minute(5);
select is(pg_temp.runs(:'many'), 30::bigint, 'and no more than it may start');
select is((select status || ' ' || scanned || ' ' || enrolled from ridgeline.bulk_enrollments where workflow_id = :'many'), 'completed 100 30', 'the job says how far it came');
update ridgeline.workflows set is_active = false where id = :'many';

-- Dates.
delete from public.projects;
insert into public.projects (tenant_id, name, appointment_at) values
  (:'apex', 'past', automation.now() - interval '40 days'), (:'apex', 'soon', automation.now() - interval '10 days'), (:'apex', 'ahead', automation.now() + interval '3 days');
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "field": "appointment_at", "offset": "30 days", "existing": {"overdue": true}}') as after_it \gset
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "field": "appointment_at", "offset": "-5 days", "existing": {"overdue": true}}') as before_it \gset
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "field": "appointment_at", "offset": "30 days"}') as plain \gset
select automation.run_bulk();
select is(pg_temp.nudged(:'after_it'), 'past', 'thirty days after: whose thirty days are over');
select is(pg_temp.nudged(:'before_it'), 'ahead', 'five days before: late for one in three days, and not for one that is over');
select is((pg_temp.only_run(:'before_it')).expires_at is not null, true, 'a reminder says nothing after its date');
select is(pg_temp.nudged(:'plain'), null, 'unsaid: as ever');

-- What publishing says.
create function pg_temp.said(config jsonb) returns text
  language plpgsql
  as $$
declare
  draft constant uuid := pg_temp.draft('00000000-0000-0000-0000-00000000000a', 'time_elapsed', '{"entity": "project", "offset": "3 days"}' || config);
begin
  return (
    select string_agg(concat_ws(' ', p ->> 'severity', p ->> 'code', p ->> 'path'), ', ')
    from jsonb_array_elements(ridgeline.validate_workflow(draft) -> 'problems') as p);
end;
$$;
select is(pg_temp.said('{"changed": "pipeline_stage", "by": "people"}'), null, 'by people');
select is(pg_temp.said('{"changed": "pipeline_stage", "by": "anybody", "existing": false}'), null, 'by anybody');
select is(pg_temp.said('{"changed": "pipeline_stage", "by": "robots"}'), 'error invalid_value trigger_config.by', 'robots are not asked for');
select is(pg_temp.said('{"changed": "pipeline_stage", "by": null}'), 'error invalid_value trigger_config.by', 'null says nothing');
select is(pg_temp.said('{"field": "appointment_at", "by": "people"}'), 'error not_allowed trigger_config.by', 'a date is nobody''s change');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": "all"}'), 'error invalid_value trigger_config.existing', 'existing: a word');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": {"overdue": true, "per_hour": 3}}'), 'error unknown_key trigger_config.existing.per_hour', 'a key that is none');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": {"overdue": "yes"}}'), 'error invalid_value trigger_config.existing.overdue', 'yes is no boolean');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": {"overdue": true, "per_minute": 0}}'), 'error out_of_range trigger_config.existing.per_minute', 'none a minute');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": {"overdue": true, "per_minute": "20"}}'), 'error out_of_range trigger_config.existing.per_minute', 'a text');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": {"overdue": true, "at_most": 1000000}}'), 'error out_of_range trigger_config.existing.at_most', 'a million');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": {"overdue": true, "at_most": 1.5}}'), 'error out_of_range trigger_config.existing.at_most', 'one and a half');
select is(pg_temp.said('{"changed": "pipeline_stage", "missed": "skip", "existing": {"overdue": true}}'), 'error not_allowed trigger_config.existing.overdue', 'what is late is left out, or it is not');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": null}') is not null, true, 'null is no answer');
select is(pg_temp.said('{"changed": "pipeline_stage", "existing": {}}'), null, 'an empty object is true');
select * from finish();
rollback;

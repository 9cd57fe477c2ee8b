-- Published versions never change, and runs in flight stay with the one they started on.
begin;
\ir ../foundation/story.psql
select plan(36);

select pg_temp.tenant() as apex \gset
create function pg_temp.versions(workflow uuid) returns text
  language sql
  as $$
    select string_agg(format('%s:%s', v.version, v.published_via), ' ' order by v.version)
    from ridgeline.workflow_versions as v where v.workflow_id = workflow
  $$;

-- The unhappy half: what may not change.
select pg_temp.workflow(:'apex', 'contact_created', '{}',
  '[{"type": "create_task", "config": {"title": "First"}, "delay": 60},
    {"type": "create_task", "config": {"title": "Second"}, "delay": 60}]') as flow \gset
select is(pg_temp.versions(:'flow'), '1:activation', 'switching on publishes');
select alike(pg_temp.error_of($$update ridgeline.workflow_versions set plan = plan$$),
  'PT409 workflow_versions: a published version never changes | Edit %publish again.', 'a version is immutable');
select alike(pg_temp.error_of($$delete from ridgeline.workflows$$),
  'PT409 % was published and keeps its history | Set status to archived instead.',
  'a published workflow cannot be deleted');
select pg_temp.draft(:'apex', 'manual') as draft \gset
select is(pg_temp.error_of(format('delete from ridgeline.workflows where id = %L', :'draft')), null,
  'a draft can');
select is((select count(*) from ridgeline.workflow_steps where workflow_id = :'draft'), 0::bigint,
  'and its steps go with it');
select alike(pg_temp.error_of(format(
    'update ridgeline.workflows set published_version = 99 where id = %L', :'flow')), '23503 %',
  'nor can it point at a version that does not exist');

-- A run in flight, and edits around it.
select pg_temp.contact(:'apex') as maria \gset
update ridgeline.workflow_steps set step_config = '{"title": "Edited"}' where workflow_id = :'flow';
delete from ridgeline.workflow_steps where workflow_id = :'flow' and step_order = 2;
update ridgeline.workflows set trigger_config = '{"type": "customer"}' where id = :'flow';
select is(pg_temp.versions(:'flow'), '1:activation', 'edits alone publish nothing');
select pg_temp.contact(:'apex', 'Bob');
select is(pg_temp.runs(:'flow'), 2::bigint, 'the published trigger still listens');
select is((ridgeline.publish_workflow(:'flow')).version, 2, 'publishing makes the next version');
select is(pg_temp.versions(:'flow'), '1:activation 2:publish', 'and keeps the first');
select pg_temp.contact(:'apex', 'Lead');
select pg_temp.contact(:'apex', 'Ann', type => 'customer') as ann \gset
select is(pg_temp.runs(:'flow'), 3::bigint, 'from now on the new trigger listens');
select automation.advance_clock('61 minutes');
select pg_temp.settle();
select automation.advance_clock('61 minutes');
select pg_temp.settle();
select is(string_agg(title, ', ' order by title), 'First, Second',
  'the run in flight does what was published when it started')
from public.tasks where contact_id = :'maria';
select is(string_agg(title, ', ' order by title), 'Edited', 'the new run does what is published now')
from public.tasks where contact_id = :'ann';
select is(array_agg(distinct version order by version), '{1,2}', 'each execution names its version')
from ridgeline.workflow_executions where workflow_id = :'flow';

-- The switch.
create function pg_temp.state(workflow uuid) returns text
  language sql
  as $$
    select concat_ws(' ', w.is_active, w.status, w.published_version)
    from ridgeline.workflows as w where w.id = workflow
  $$;
select is(pg_temp.state(:'flow'), 't active 2', 'published is active');
update ridgeline.workflows set is_active = false where id = :'flow';
select is(pg_temp.state(:'flow'), 'f paused 2', 'is_active false pauses');
select pg_temp.contact(:'apex', 'Paused', type => 'customer');
select is(pg_temp.runs(:'flow'), 3::bigint, 'a paused workflow does not fire');
update ridgeline.workflows set is_active = true where id = :'flow';
select is(pg_temp.state(:'flow'), 't active 2', 'on again');
select is(pg_temp.versions(:'flow'), '1:activation 2:publish', 'with no new version');
select pg_temp.contact(:'apex', 'Resumed', type => 'customer');
select is(pg_temp.runs(:'flow'), 4::bigint, 'fires again');
update ridgeline.workflows set status = 'paused' where id = :'flow';
select is(pg_temp.state(:'flow'), 'f paused 2', 'status alone pauses too');
update ridgeline.workflows set status = 'active' where id = :'flow';
select is(pg_temp.state(:'flow'), 't active 2', 'and resumes');
update ridgeline.workflows set status = 'archived' where id = :'flow';
select is(pg_temp.state(:'flow'), 'f archived 2', 'archived is off');
select is((select count(*) from automation.active_triggers where workflow_id = :'flow'), 0::bigint,
  'and listens to nothing');
update ridgeline.workflows set name = 'Renamed', metadata = '{"colour": "red"}' where id = :'flow';
select is(pg_temp.state(:'flow'), 'f archived 2', 'a new name switches nothing');
select is((ridgeline.publish_workflow(:'flow')).version, 2, 'publishing what has not changed');
select is(pg_temp.state(:'flow'), 't active 2', 'switches it on');
update ridgeline.workflow_steps set step_config = '{}' where workflow_id = :'flow';
update ridgeline.workflows set is_active = false where id = :'flow';
select is(pg_temp.error_of(format('update ridgeline.workflows set is_active = true where id = %L', :'flow')), null,
  'a draft that was broken meanwhile keeps nobody from switching on what is published');
select is(pg_temp.state(:'flow'), 't active 2', 'which runs as before');
select alike(pg_temp.error_of(format('select ridgeline.publish_workflow(%L)', :'flow')),
  '22023 %steps[0].step_config.title%', 'but it is not published');
select is((select count(*) from ridgeline.workflow_executions where status = 'failed'), 0::bigint,
  'no run was harmed');

-- A client that inserts an active workflow first and its steps after it.
insert into ridgeline.workflows (tenant_id, id, name, trigger_type, is_active)
values (:'apex', '00000000-0000-0000-0000-0000000000f1', 'Imported', 'project_created', true);
select is(pg_temp.state('00000000-0000-0000-0000-0000000000f1'), 't active',
  'active, but with nothing to run yet');
insert into public.projects (tenant_id) values (:'apex');
select is(pg_temp.runs('00000000-0000-0000-0000-0000000000f1'), 0::bigint, 'it does not fire');
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
values (:'apex', '00000000-0000-0000-0000-0000000000f1', 1, 'create_task', '{"title": "One"}');
insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_order, step_type, step_config)
values (:'apex', '00000000-0000-0000-0000-0000000000f1', 2, 'create_task', '{"title": "Two"}'),
  (:'apex', '00000000-0000-0000-0000-0000000000f1', 3, 'create_task', '{"title": "Three"}');
select is(pg_temp.versions('00000000-0000-0000-0000-0000000000f1'), '1:steps 2:steps',
  'each request that brings steps publishes');
insert into public.projects (tenant_id) values (:'apex');
select pg_temp.settle();
-- By where they lie: on Postgres 15 the ids of one millisecond are in no order.
select is(array_agg(t.title order by t.ctid), '{One,Two,Three}', 'and all of them run, in order')
from public.tasks as t join ridgeline.workflow_executions as e on e.id = t.execution_id
where e.workflow_id = '00000000-0000-0000-0000-0000000000f1';

-- What a version does not need.
select is(plan -> 'steps' -> (plan ->> 'first') ->> 'delay_seconds', '90',
  'a fraction of a minute is kept')
from ridgeline.workflow_versions
where workflow_id = pg_temp.workflow(:'apex', 'manual', '{}',
  '[{"type": "create_task", "config": {"title": "x"}, "delay": 1.5}]');
select is(pg_temp.error_of('delete from public.tenants'), null, 'a tenant goes with all its history')
from (select 1) as one;

select * from finish();
rollback;

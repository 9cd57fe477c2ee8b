-- Each of the nine events of the CRM fires the workflows that listen to it, once, and no other.
begin;
\ir ../foundation/story.psql
select plan(32);

select pg_temp.tenant() as apex \gset
create temp table listener (event text primary key, workflow uuid);
insert into listener
select e, pg_temp.workflow(:'apex', e, case e when 'field_changed' then '{"field": "lead_score"}' else '{}' end::jsonb)
from unnest(array['contact_created', 'contact_updated', 'stage_changed', 'field_changed',
  'project_created', 'project_status_changed', 'pipeline_stage_changed', 'project_won',
  'job_completed']) as e;

-- What fired since the last time somebody asked.
create temp table seen (id uuid);
create function pg_temp.fired() returns text
  language sql
  as $$
    with fresh as (
      insert into seen select e.id from ridgeline.workflow_executions as e
      where not exists (select from seen as s where s.id = e.id) returning id
    )
    select string_agg(e.trigger_type, ' ' order by e.trigger_type)
    from ridgeline.workflow_executions as e where e.id in (select f.id from fresh as f)
  $$;

-- What fires nothing.
select is(pg_temp.fired(), null, 'nothing has happened yet');
select pg_temp.contact(:'apex') as maria \gset
select is(pg_temp.fired(), 'contact_created', 'a new contact');
update public.contacts set first_name = first_name, stage = 'new', lead_score = null;
select is(pg_temp.fired(), null, 'an update to the same values fires nothing');
update public.contacts set updated_at = updated_at + interval '1 hour';
select is(pg_temp.fired(), null, 'nor does one that only touches updated_at');
update public.contacts set custom_fields = '{}'::jsonb, last_contacted_at = null;
select is(pg_temp.fired(), null, 'nor an empty object for an empty object');
update public.contacts set id = id where false;
select is(pg_temp.fired(), null, 'nor an update of no row');
delete from public.contacts where first_name = 'nobody';
select is(pg_temp.fired(), null, 'nor a delete');

-- Contacts.
update public.contacts set first_name = 'Mary';
select is(pg_temp.fired(), 'contact_updated', 'a corrected name is an update');
update public.contacts set first_name = 'mary';
select is(pg_temp.fired(), 'contact_updated', 'so is another case');
update public.contacts set company = 'Lee & Sons';
select is(pg_temp.fired(), 'contact_updated', 'null to a value is a change');
update public.contacts set company = null;
select is(pg_temp.fired(), 'contact_updated', 'a value to null is a change');
update public.contacts set company = '';
select is(pg_temp.fired(), 'contact_updated', 'null is not an empty text');
update public.contacts set stage = 'quoted';
select is(pg_temp.fired(), 'contact_updated stage_changed', 'a stage is moved');
update public.contacts set lead_score = 10;
select is(pg_temp.fired(), 'contact_updated field_changed', 'a watched field changes');
update public.contacts set lead_score = 0, stage = 'won';
select is(pg_temp.fired(), 'contact_updated field_changed stage_changed', 'several at once');
update public.contacts set custom_fields = '{"roof": "tile"}';
select is(pg_temp.fired(), 'contact_updated', 'a custom field');

-- Projects.
insert into public.projects (tenant_id, contact_id, name, value)
values (:'apex', :'maria', 'New roof', 12000.50);
select is(pg_temp.fired(), 'project_created', 'a new project');
update public.projects set status = 'in_progress';
select is(pg_temp.fired(), 'project_status_changed', 'its status');
update public.projects set pipeline_stage = 'proposal';
select is(pg_temp.fired(), 'pipeline_stage_changed', 'its pipeline stage');
update public.projects set pipeline_stage = 'won';
select is(pg_temp.fired(), 'pipeline_stage_changed project_won', 'it is won');
update public.projects set value = 13000;
select is(pg_temp.fired(), null, 'a won project that changes is not won again');
update public.projects set value = 13000.00;
select is(pg_temp.fired(), null, '13000 and 13000.00 are one value');
update public.projects set pipeline_stage = 'Won';
select is(pg_temp.fired(), 'pipeline_stage_changed', 'nor is one whose stage is spelt differently');
update public.projects set pipeline_stage = 'lost';
update public.projects set pipeline_stage = 'WON';
select is(pg_temp.fired(), 'pipeline_stage_changed pipeline_stage_changed project_won',
  'lost and won again is won again, in any case');

-- Jobs.
insert into public.jobs (tenant_id, contact_id, status) values (:'apex', :'maria', 'scheduled');
select is(pg_temp.fired(), null, 'a scheduled job is not a completed one');
update public.jobs set status = 'in_progress';
select is(pg_temp.fired(), null, 'nor one under way');
update public.jobs set status = 'completed', completed_at = now();
select is(pg_temp.fired(), 'job_completed', 'a job is completed');
update public.jobs set name = 'Tear-off';
select is(pg_temp.fired(), null, 'a completed job that changes is not completed again');

-- What an execution knows.
select is(trigger_data - '{contact,old}'::text[],
  jsonb_build_object('entity', 'contact', 'contact_id', :'maria', 'user_id', null,
    'changed', '["stage"]'::jsonb), 'the execution knows which fields changed')
from ridgeline.workflow_executions where trigger_type = 'stage_changed'
order by created_at, id limit 1;
select is(array[trigger_data #>> '{old,stage}', trigger_data #>> '{contact,stage}', record_id, entity,
    contact_id::text],
  array['new', 'quoted', :'maria', 'contact', :'maria'], 'the old and the new values')
from ridgeline.workflow_executions where trigger_type = 'stage_changed'
order by created_at, id limit 1;
select is(array[trigger_data #>> '{contact,first_name}', trigger_data #>> '{project,value}'],
  array['mary', '12000.50'], 'a project brings its contact along')
from ridgeline.workflow_executions where trigger_type = 'project_created';
insert into public.projects (tenant_id, contact_id, name, id)
values (:'apex', :'maria', 'Gutters', :'maria');
insert into public.jobs (tenant_id, project_id, id) values (:'apex', :'maria', :'maria');
update public.jobs set status = 'completed' where id = :'maria';
select is(array[trigger_data #>> '{project,name}', trigger_data #>> '{contact,first_name}',
    contact_id::text], array['Gutters', 'mary', :'maria'],
  'a job knows its customer through its project')
from ridgeline.workflow_executions where trigger_type = 'job_completed' and record_id = :'maria';

select * from finish();
rollback;

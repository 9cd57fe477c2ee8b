-- Workflows that set each other off come to an end, and the history says why.
begin;
\ir ../foundation/story.psql
select plan(18);

select pg_temp.tenant() as apex \gset
update automation.settings set value = '5' where name = 'max_enrollments';
update automation.settings set value = '3' where name = 'max_causation_depth';

-- A person edits one record over and over.
select pg_temp.workflow(:'apex', 'contact_updated') as updated \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'apex', 'Bob') as bob \gset
create function pg_temp.edit(contact uuid, times integer) returns void
  language plpgsql
  as $$
begin
  for n in 1 .. times loop
    update public.contacts set lead_score = coalesce(lead_score, 0) + 1 where id = contact;
  end loop;
end;
$$;
create function pg_temp.outcomes(workflow uuid, record text) returns text
  language sql
  as $$
    select string_agg(format('%s %s', count, what), ', ' order by what)
    from (
      select count(*), coalesce(e.error ->> 'code', 'started') as what
      from ridgeline.workflow_executions as e
      where e.workflow_id = workflow and e.record_id = record
      group by 2
    ) as o
  $$;
select pg_temp.edit(:'maria', 5);
select is(pg_temp.outcomes(:'updated', :'maria'), '5 started', 'up to the limit it starts');
select pg_temp.edit(:'maria', 1);
select is(pg_temp.outcomes(:'updated', :'maria'), '1 enrollment_limit_exceeded, 5 started',
  'past it the refusal is recorded');
select alike(error ->> 'message', '%5 times within 01:00:00', 'and says what the limit is')
from pg_temp.only_run(:'updated');
select is(lead_score, 6, 'the edit itself is not refused') from public.contacts where id = :'maria';
select pg_temp.edit(:'maria', 50);
select is(pg_temp.outcomes(:'updated', :'maria'), '1 enrollment_limit_exceeded, 5 started',
  'once a window and not once an edit');
select pg_temp.edit(:'bob', 3);
select is(pg_temp.outcomes(:'updated', :'bob'), '3 started', 'another record has a count of its own');
select pg_temp.workflow(:'apex', 'field_changed', '{"field": "lead_score"}') as other \gset
select pg_temp.edit(:'maria', 2);
select is(pg_temp.outcomes(:'other', :'maria'), '2 started', 'so has another workflow');
select automation.advance_clock('61 minutes');
select pg_temp.edit(:'maria', 7);
select is(pg_temp.outcomes(:'updated', :'maria'), '2 enrollment_limit_exceeded, 10 started',
  'in the next window it starts again');
select automation.reset_clock();

-- A hundred new leads are no loop.
select pg_temp.workflow(:'apex', 'contact_created') as created \gset
insert into public.contacts (tenant_id) select :'apex' from generate_series(1, 100);
select is(pg_temp.runs(:'created'), 100::bigint, 'an import is not limited');
update ridgeline.workflows set is_active = false where tenant_id = :'apex';

-- A workflow that sets itself off.
select pg_temp.workflow(:'apex', 'stage_changed', '{}',
  '[{"type": "change_stage", "config": {"stage": "{{contact.stage}}x"}}]') as self \gset
update automation.settings set value = '1000' where name = 'max_enrollments';
update public.contacts set stage = 'a' where id = :'maria';
select pg_temp.settle();
select is(stage, 'axxxx', 'the chain is cut where it is deeper than the cap')
from public.contacts where id = :'maria';
select is(pg_temp.outcomes(:'self', :'maria'), '1 causation_depth_exceeded, 4 started',
  'and the refusal recorded');
select is(array_agg(depth::integer order by created_at, id), '{0,1,2,3,4}', 'each execution knows its depth')
from ridgeline.workflow_executions where workflow_id = :'self';
select alike(error ->> 'message', '4 automations in a row led to this write; 3 are allowed', 'the reason')
from ridgeline.workflow_executions where workflow_id = :'self' and status = 'failed';
select is(current_setting('automation.depth', true), '', 'the depth does not outlive the engine''s work');
update public.contacts set stage = 'b' where id = :'maria';
select is((pg_temp.only_run(:'self')).depth, 0::smallint, 'so a person''s next edit starts afresh');
update ridgeline.workflows set is_active = false where tenant_id = :'apex';

-- Two that set each other off, over several tables.
select pg_temp.workflow(:'apex', 'project_created', '{}',
  '[{"type": "add_tag", "config": {"tag": "project"}}, {"type": "update_contact", "config": {"fields": {"city": "{{project.name}}"}}}]');
select pg_temp.workflow(:'apex', 'contact_updated', '{}',
  '[{"type": "create_project", "config": {"name": "{{contact.city}}+"}}]') as ping \gset
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'bob', 'p');
select pg_temp.settle();
select is(count(*), 3::bigint, 'a ring of two ends too')
from public.projects where contact_id = :'bob';
select is(pg_temp.settle(), 0, 'with nothing left to do');

-- One write of a chain that several workflows want: no more of them enter than the chain may have.
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
update automation.settings set value = '3' where name = 'max_chain_executions';
select pg_temp.workflow(:'blue', 'contact_updated') from generate_series(1, 6);
select pg_temp.contact(:'blue', 'Ann') as ann \gset
select automation.set_cause(1, gen_random_uuid(), false);
update public.contacts set city = 'Austin' where id = :'ann';
select automation.clear_cause();
select is(array_agg(coalesce(e.error ->> 'code', 'started') order by e.seq, e.id),
  '{started,started,started,chain_budget_exceeded}', 'the limit of a chain holds within one write')
from ridgeline.workflow_executions as e where e.tenant_id = :'blue';

select * from finish();
rollback;

-- "Why did Maria get nothing?": because of when she came, when nobody was listening.
begin;
\ir ../foundation/story.psql
select plan(21);

select pg_temp.tenant() as apex \gset
create function pg_temp.why(flow uuid, contact uuid) returns text
  language sql
  as $$ select ridgeline.explain_enrollment(flow, jsonb_build_object('contact_id', contact)) #>> '{activity,reason}' $$;
create function pg_temp.would(flow uuid, contact uuid) returns text
  language sql
  as $$ select ridgeline.explain_enrollment(flow, jsonb_build_object('contact_id', contact)) ->> 'would_enroll' $$;

select pg_temp.contact(:'apex', 'Early') as early \gset
select pg_temp.draft(:'apex', 'contact_created') as flow \gset
select is(pg_temp.why(:'flow', :'early'), 'the workflow was never published', 'a draft enrols nobody');
select automation.advance_clock('1 day');
update ridgeline.workflows set is_active = true where id = :'flow';
select alike(pg_temp.why(:'flow', :'early'), 'it happened at %, before the workflow was first published at %', 'a contact from before');
select automation.advance_clock('1 day');
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select is(pg_temp.why(:'flow', :'maria'), null, 'somebody in time');
select is(ridgeline.explain_enrollment(:'flow', jsonb_build_object('contact_id', :'maria')) #>> '{activity,listening}', 'true', 'it listens');
select automation.advance_clock('1 day');
update ridgeline.workflows set is_active = false where id = :'flow';
select automation.advance_clock('1 day');
select pg_temp.contact(:'apex', 'Holiday') as holiday \gset
select alike(pg_temp.why(:'flow', :'holiday'), 'it happened at %, while the workflow was off: it listened until %', 'while it was off');
select alike(pg_temp.why(:'flow', :'maria'), 'the workflow is off since %', 'for others, it is off by now');
select automation.advance_clock('1 day');
update ridgeline.workflows set is_active = true where id = :'flow';
select alike(pg_temp.why(:'flow', :'holiday'), 'it happened at %, while the workflow was off: it listened until % and again from %',
  'also when it is on again');
select is(pg_temp.why(:'flow', :'maria'), null, 'and the one from before is not blamed on it');
select is((select string_agg(concat_ws(' ', p ->> 'version', p ->> 'ended_by'), ', ')
  from jsonb_array_elements(ridgeline.explain_enrollment(:'flow', jsonb_build_object('contact_id', :'maria')) #> '{activity,periods}') as p),
  '1 switch, 1', 'the times that it listened are on record');
update ridgeline.workflow_steps set step_config = '{"title": "Ring"}' where workflow_id = :'flow';
select is(ridgeline.explain_enrollment(:'flow', jsonb_build_object('contact_id', :'maria')) #>> '{workflow,has_unpublished_changes}', 'true',
  'and that the draft is not what runs');
select automation.advance_clock('1 day');
select (ridgeline.publish_workflow(:'flow')).version \g /dev/null
select automation.advance_clock('1 day');
select pg_temp.contact(:'apex', 'Late') as late \gset
select is(pg_temp.why(:'flow', :'late'), null, 'another version is no gap');

-- A change, not a birth.
select pg_temp.workflow(:'apex', 'stage_changed') as moved \gset
select alike(pg_temp.why(:'moved', :'maria'), 'it happened at %, before the workflow was first published%', 'a change from before');

-- A table of the host's own is detached for a migration, and attached again.
create table public.permits (id uuid primary key default gen_random_uuid(), tenant_id uuid not null, contact_id uuid,
  amount numeric, created_at timestamptz not null default automation.now());
select automation.attach('public.permits', 'permit', '{"contact": "contact_id"}');
select pg_temp.workflow(:'apex', 'permit_created', steps => '[{"type": "wait", "config": {"event": "permit_updated", "timeout": "9 days"}}]') as billing \gset
select pg_temp.workflow(:'apex', 'permit_created') as sleeping \gset
update ridgeline.workflows set is_active = false where id = :'sleeping';
create function pg_temp.permit(tenant uuid) returns uuid
  language sql
  as $$ insert into public.permits (tenant_id, amount) values (tenant, 5) returning id $$;
create function pg_temp.why_permit(flow uuid, permit uuid) returns text
  language sql
  as $$ select ridgeline.explain_enrollment(flow, jsonb_build_object('entity', 'permit', 'permit_id', permit)) #>> '{activity,reason}' $$;
select automation.advance_clock('1 day');
select pg_temp.permit(:'apex') as before \gset
select is(pg_temp.runs(:'billing'), 1::bigint, 'a permit fires');
select automation.detach('permit');
select automation.advance_clock('1 day');
select pg_temp.permit(:'apex') as between \gset
select is(pg_temp.runs(:'billing'), 1::bigint, 'detached, it does not');
select is(pg_temp.would(:'billing', :'maria'), 'false', 'explain_enrollment does not promise what cannot be');
select automation.advance_clock('1 day');
select automation.attach('public.permits', 'permit', '{"contact": "contact_id"}');
select pg_temp.permit(:'apex') as after \gset
select is(pg_temp.runs(:'billing'), 2::bigint, 'attached again, workflows that are on live again');
select is(pg_temp.runs(:'sleeping'), 0::bigint, 'and those that are off stay off');
select alike(pg_temp.why_permit(:'billing', :'between'), 'it happened at %, while the table was detached: %and again from %', 'the one between is explained');
select is(pg_temp.why_permit(:'billing', :'after'), null, 'the one after needs none');
update public.permits set amount = 7 where id = :'before';
select is((select count(*) from automation.signals as s where s.role = 'wait'), 1::bigint, 'runs in flight hear again what they wait for');
select automation.detach('permit');
select alike(pg_temp.error_of(format('update ridgeline.workflows set is_active = true where id = %L', :'sleeping')), '22023 %permit%',
  'a workflow of a table that is gone is not switched on');

select * from finish();
rollback;

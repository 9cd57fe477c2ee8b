-- A look for database steps that would find nothing is not made: whatever it would find says so.
begin;
\ir ../foundation/story.psql
select plan(10);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]');
select is(automation.has_database_work(), false, 'nobody has written anything yet');

insert into public.contacts (tenant_id, first_name) values (:'apex', 'Maria');
select is(automation.has_database_work(), true, 'a task is due');
update ridgeline.scheduled_steps set run_at = automation.now() + interval '1 minute';
select is(automation.has_database_work(), false, 'in a minute');

savepoint alone;
insert into automation.signals (tenant_id, role, entity, record_id) values (:'apex', 'deleted', 'contact', 'x');
select is(automation.has_database_work(), true, 'an event that may end a run');
rollback to savepoint alone;
insert into automation.suspects (tenant_id, kind, key) values (:'apex', 'lease', gen_random_uuid()::text);
select is(automation.has_database_work(), false, 'a lease is tried alone by whoever reaps');
insert into automation.suspects (tenant_id, kind, key) values (:'apex', 'database', gen_random_uuid()::text);
select is(automation.has_database_work(), true, 'a step that is tried alone');
rollback to savepoint alone;
insert into automation.portions (lane, tenant_ids, step_ids) values ('database', array[:'apex'::uuid], array[gen_random_uuid()]);
select is(automation.has_database_work(), false, 'what somebody is working on');
update automation.portions set started_at = clock_timestamp() - interval '6 seconds';
select is(automation.has_database_work(), true, 'and whom nobody has heard of for a while');
rollback to savepoint alone;
insert into automation.tick_portions (kind, tenant_ids, keys) values ('signal', array[:'apex'::uuid], array['x']);
select is(automation.has_database_work(), true, 'an event that somebody was cut off at');
rollback to savepoint alone;
select is(automation.has_database_work(), false, 'and nothing else');

select * from finish();
rollback;

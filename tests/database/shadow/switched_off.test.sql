-- A workflow that is switched off holds its shadows as it holds its live runs: nothing is done of them until it is
-- switched on again. What holds only what goes out holds no shadow.
begin;
\ir ../foundation/story.psql
select plan(9);

select pg_temp.tenant() as apex \gset
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900');
-- All that is due, sends too.
create function pg_temp.work() returns void
  language plpgsql
  as $$
begin
  for round in 1..4 loop
    perform pg_temp.settle();
    perform automation.claim_steps('w', 100);
  end loop;
end;
$$;
select pg_temp.draft(:'apex', 'contact_created', '{}', '[{"key": "first", "type": "create_task", "config": {"title": "Call"}},
  {"key": "text", "type": "send_sms", "delay": 60, "config": {"body": "Hi {{contact.first_name}}", "purpose": "transactional"}}]') as greet \gset
update ridgeline.workflows set mode = 'shadow', is_active = true where id = :'greet';
select pg_temp.contact(:'apex', 'Maria', '+15125550111') as maria \gset
select pg_temp.work();
create function pg_temp.said(workflow uuid) returns text
  language sql
  as $$
    select string_agg(s.step_key || ' ' || s.status, ', ' order by s.seq)
    from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(workflow)).id
  $$;
select is(pg_temp.said(:'greet'), 'first skipped', 'its first step is what it would have done');

update ridgeline.workflows set is_active = false where id = :'greet';
select automation.advance_clock('2 hours');
select pg_temp.work();
select is(pg_temp.said(:'greet'), 'first skipped', 'off, it goes no further');
select is((select s.held ->> 'code' || ' ' || (s.run_at = 'infinity')::text from ridgeline.scheduled_steps as s where s.execution_id = (pg_temp.only_run(:'greet')).id),
  'workflow_paused true', 'and says what it waits for');
select is((pg_temp.only_run(:'greet')).finished_at, null, 'it has not ended');

update ridgeline.workflows set is_active = true where id = :'greet';
select automation.advance_clock('1 minute');
select pg_temp.work();
select is(pg_temp.said(:'greet'), 'first skipped, text skipped', 'on again, it goes on');
select is((pg_temp.only_run(:'greet')).status, 'completed', 'to its end');

-- Nothing goes out of a shadow: a pause of what goes out holds it no more than a fuse does.
select ridgeline.pause_sending('the office is closed', :'apex');
select pg_temp.draft(:'apex', 'contact_created', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi", "purpose": "transactional"}}]') as other \gset
update ridgeline.workflows set is_active = false where id = :'greet';
update ridgeline.workflows set mode = 'shadow', is_active = true where id = :'other';
select pg_temp.contact(:'apex', 'Ann', '+15125550112') as ann \gset
select pg_temp.work();
select is((pg_temp.only_run(:'other')).status, 'completed', 'sending is paused, and the shadow went through');

-- Off and paused at once: it waits for the switch, and for nothing else.
select pg_temp.draft(:'apex', 'contact_created', '{}', '[{"key": "text", "type": "send_sms", "delay": 60, "config": {"body": "Hi", "purpose": "transactional"}}]') as third \gset
update ridgeline.workflows set is_active = false where id = :'other';
update ridgeline.workflows set mode = 'shadow', is_active = true where id = :'third';
select pg_temp.contact(:'apex', 'Zoe', '+15125550113') as zoe \gset
select pg_temp.work();
update ridgeline.workflows set is_active = false where id = :'third';
select automation.advance_clock('2 hours');
select pg_temp.work();
select is((select s.held ->> 'code' from ridgeline.scheduled_steps as s where s.execution_id = (pg_temp.only_run(:'third')).id),
  'workflow_paused', 'what holds it is that it is off');
update ridgeline.workflows set is_active = true where id = :'third';
select automation.advance_clock('1 hour');
select pg_temp.work();
select is((pg_temp.only_run(:'third')).status, 'completed', 'and on again it goes on, paused or not');

select * from finish();
rollback;

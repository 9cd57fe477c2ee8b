-- However a run begins, it begins in the mode of its workflow; and what is counted and listed tells the modes apart.
begin;
\ir ../foundation/story.psql
select plan(59);

select pg_temp.tenant() as apex \gset
select pg_temp.tenant('Blue Ridge') as blue \gset
select pg_temp.member(:'apex', 'admin') as sam \gset
select pg_temp.member(:'apex', 'member') as guest \gset
select pg_temp.member(:'blue', 'owner') as kim \gset
create function pg_temp.shadow(trigger_type text, config text, steps text default '[{"key": "task", "type": "create_task", "config": {"title": "Call"}}]', settings text default '{}') returns uuid
  language plpgsql
  as $$
declare
  workflow constant uuid := pg_temp.draft((select t.id from public.tenants as t where t.name = 'Apex Roofing'), trigger_type, config::jsonb, steps::jsonb, '[]', settings::jsonb);
begin
  perform ridgeline.set_workflow_mode(workflow, 'shadow');
  update ridgeline.workflows set is_active = true where id = workflow;
  return workflow;
end;
$$;
create function pg_temp.modes(workflow uuid) returns text
  language sql
  as $$ select string_agg(distinct concat_ws(' ', e.mode, e.status), ', ') from ridgeline.workflow_executions as e where e.workflow_id = workflow $$;

-- WAYS IN
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'apex', 'Ann', '+15125550111') as ann \gset
select pg_temp.shadow('manual', '{}') as by_hand \gset
select ridgeline.execute_workflow(:'by_hand', jsonb_build_object('contact_id', :'maria'));
select (ridgeline.enroll_records(:'by_hand', array[:'ann'])).status;
select pg_temp.shadow('contact_created', '{}') as existing \gset
select ridgeline.publish_workflow(:'existing', '{"filter": []}');
select pg_temp.shadow('call_completed', '{}') as fired \gset
select ridgeline.trigger_workflows('call_completed', jsonb_build_object('contact_id', :'maria'), :'apex');
select pg_temp.shadow('time_elapsed', '{"entity": "contact", "field": "created_at", "offset": "2 days"}') as timed \gset
select pg_temp.shadow('scheduled', '{"cron": "0 9 * * *", "for_each": {"entity": "contact"}}') as daily \gset
select automation.tick();
select automation.advance_clock('3 days');
select automation.tick();
select automation.tick();
select pg_temp.settle();
select is(pg_temp.modes(:'by_hand'), 'shadow completed', 'by hand, one and many');
select is(pg_temp.runs(:'by_hand'), 2::bigint, 'two of them');
select is(pg_temp.modes(:'existing'), 'shadow completed', 'who was there already');
select is(pg_temp.modes(:'fired'), 'shadow completed', 'fired by another program');
select is(pg_temp.modes(:'timed'), 'shadow completed', 'a timer');
select is(pg_temp.modes(:'daily'), 'shadow completed', 'a schedule');
select is((select count(*) from public.tasks), 0::bigint, 'and no task is made by any of them');

-- WHAT IS REFUSED WITHOUT HAVING BEGUN
select pg_temp.draft(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "Call"}}]', '[{"field": "contact.type", "operator": "equals", "value": "customer"}]') as picky \gset
update ridgeline.workflows set mode = 'shadow', is_active = true where id = :'picky';
select is((ridgeline.execute_workflow(:'picky', jsonb_build_object('contact_id', :'maria'))).mode, 'shadow', 'one whose conditions are not met is a shadow''s too');

-- CAPS: as often as a record may enter within a window
update automation.settings set value = '3' where name = 'max_enrollments';
select pg_temp.shadow('contact_updated', '{}') as often \gset
update public.contacts set lead_score = 1 where id = :'maria';
update public.contacts set lead_score = 2 where id = :'maria';
update public.contacts set lead_score = 3 where id = :'maria';
update public.contacts set lead_score = 4 where id = :'maria';
update public.contacts set lead_score = 5 where id = :'maria';
select pg_temp.settle();
select is(pg_temp.modes(:'often'), 'shadow completed, shadow failed', 'shadows have a limit of their own');
update ridgeline.workflows set mode = 'live' where id = :'often';
update public.contacts set lead_score = 6 where id = :'maria';
select pg_temp.settle();
select is(pg_temp.modes(:'often'), 'live completed, shadow completed, shadow failed', 'which is not the live ones''');
update ridgeline.workflows set is_active = false where id = :'often';
update automation.settings set value = '100' where name = 'max_enrollments';

-- THE FUSE
update automation.settings set value = '2' where name = 'workflow_fuse_per_hour';
select pg_temp.shadow('sms_received', '{}') as flood \gset
insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body) select :'apex', 'inbound', '+15125550101', '+15125550900', 'x' from generate_series(1, 5);
select pg_temp.settle();
select is(pg_temp.modes(:'flood'), 'shadow completed', 'a flood blows no fuse of a shadow');
select is((select count(*) from ridgeline.workflow_holds), 0::bigint, 'and holds nobody');
update ridgeline.workflows set mode = 'live' where id = :'flood';
insert into ridgeline.messages (tenant_id, direction, from_number, to_number, body) values (:'apex', 'inbound', '+15125550101', '+15125550900', 'x');
select pg_temp.settle();
select is((select count(*) from public.tasks where title = 'Call'), 2::bigint, 'nor is it counted for live ones: the next text is answered');
update automation.settings set value = '500' where name = 'workflow_fuse_per_hour';
update ridgeline.workflows set is_active = false where id = :'flood';

-- EXITS AND REPLIES, by who would have been written to
insert into ridgeline.senders (tenant_id, channel, address) values (:'apex', 'sms', '+15125550900');
update ridgeline.senders set limits = '{"per_second": 0}';
select pg_temp.shadow('manual', '{}', '[{"key": "ask", "type": "send_sms", "config": {"body": "Still interested?"}},
  {"key": "reply", "type": "wait", "config": {"event": "sms_received", "timeout": "2 days"},
   "on": {"event": [{"key": "call", "type": "create_task", "config": {"title": "{{steps.reply.event.record.body}}"}}], "timeout": [{"key": "late", "type": "stop"}]}}]') as asks \gset
select ridgeline.execute_workflow(:'asks', jsonb_build_object('contact_id', :'ann'));
select pg_temp.settle();
select count(*) from automation.claim_steps('w', 10);
select pg_temp.settle();
select automation.receive_sms('{"message_sid": "SM00000000000000000000000000000001", "from": "+15125550111", "to": "+15125550900", "body": "Yes"}');
select pg_temp.settle();
select is((select s.input ->> 'title' from ridgeline.workflow_step_executions as s join ridgeline.workflow_executions as e on e.id = s.execution_id where e.workflow_id = :'asks' and s.step_key = 'call'),
  'Yes', 'an answer to what the other system sent wakes the shadow');

-- QUIET HOURS: what would have to wait waits, and what follows is as much later
select set_config('automation.quiet_hours', 'on', true);
select pg_temp.shadow('manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Hi"}}, {"key": "pause", "type": "wait", "config": {"hours": 1}}, {"key": "task", "type": "create_task", "config": {"title": "Call"}}]') as early \gset
create function pg_temp.at_three() returns timestamptz language sql as $$
  select automation.set_clock(((automation.now() at time zone 'America/Chicago')::date + 1 + time '03:00') at time zone 'America/Chicago'); select automation.now() $$;
select pg_temp.at_three() as three \gset
select ridgeline.execute_workflow(:'early', jsonb_build_object('contact_id', :'maria'));
select is((select count(*) from automation.claim_steps('w', 10)), 0::bigint, 'at three in the morning nothing is claimed');
select is((select q.held ->> 'code' from ridgeline.scheduled_steps as q where q.execution_id = (pg_temp.only_run(:'early')).id), 'quiet_hours', 'and the shadow waits for the morning');
select automation.advance_clock('8 hours');
select count(*) from automation.claim_steps('w', 10);
select is((select s.error ->> 'code' from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(:'early')).id and s.step_key = 'text'), 'shadow', 'when it would be sent');
select is((select count(*) from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(:'early')).id and s.step_key = 'task'), 0::bigint, 'what follows counts from there');

select set_config('automation.quiet_hours', 'off', true);

-- COUNTED AND LISTED APART
select is((select sum(completed) from ridgeline.workflow_statistics where workflow_id = :'by_hand' and step_key = '' and mode = 'shadow'), 2::numeric, 'statistics know the mode');
select is((select count(*) from ridgeline.workflow_statistics where workflow_id = :'by_hand' and mode <> 'shadow'), 0::bigint, 'and have nothing live');
select automation.fold_statistics();
select is((select sum(completed) from ridgeline.workflow_statistics where workflow_id = :'by_hand' and step_key = '' and mode = 'shadow'), 2::numeric, 'folded, too');
select is((select string_agg(distinct mode::text, ',' order by mode::text) from ridgeline.workflow_statistics where workflow_id = :'often'), 'live,shadow', 'of one that was both: a row for each');
select is((select sum(skipped) from ridgeline.workflow_statistics where workflow_id = :'by_hand' and step_key = 'task'), 2::numeric, 'its steps count as skipped');
select pg_temp.shadow('manual', '{}', '[{"type": "send_sms", "config": {"to": "{{custom.a}}", "body": "x"}}, {"type": "update_contact", "config": {"fields": {"lead_score": "{{custom.a}}"}}}]') as wrong \gset
select ridgeline.execute_workflow(:'wrong', jsonb_build_object('contact_id', :'ann', 'custom', '{"a": "many"}'::jsonb));
select pg_temp.settle();
select count(*) from automation.claim_steps('w', 10);
select pg_temp.settle();
select is((select string_agg(concat_ws(' ', code, mode), ', ' order by code) from ridgeline.automation_failures where workflow_name = 'manual'), 'invalid_recipient shadow, step_failed shadow', 'failures say whose they are');
select is((select string_agg(mode::text, ',') from ridgeline.automation_skipped_sends), 'shadow', 'skipped sends, too');
select is((select string_agg(distinct h.mode, ',') from ridgeline.get_execution_history(workflow_id => :'often') as h), 'live,shadow', 'history says the mode');
select is((select count(*) from ridgeline.get_execution_history(workflow_id => :'often', mode => 'live') as h), 1::bigint, 'and narrows to it');
select is(pg_temp.error_of($$select ridgeline.get_execution_history(mode => 'ghost')$$), '22023 mode: there is no mode "ghost" | Known: live, shadow, test, imported', 'a misspelt one is told');
select is(ridgeline.explain_enrollment(:'by_hand', jsonb_build_object('contact_id', :'maria')) #>> '{workflow,mode}', 'shadow', 'explaining says it');

-- A run that is run again stays what it was.
select ridgeline.retry_execution((pg_temp.only_run(:'wrong')).id);
select pg_temp.settle();
select count(*) from automation.claim_steps('w', 10);
select is((pg_temp.only_run(:'wrong')).mode, 'shadow', 'retried it is a shadow still');

-- THE ENGINE OF A TENANT
select pg_temp.workflow(:'apex', 'contact_created') as greet \gset
insert into ridgeline.tenant_settings (tenant_id, unified_engine) values (:'apex', 'shadow')
on conflict (tenant_id) do update set unified_engine = excluded.unified_engine;
select pg_temp.contact(:'apex', 'Zoe', '+15125550122') as zoe \gset
select pg_temp.settle();
select is(pg_temp.modes(:'greet'), 'shadow completed', 'shadow: a live workflow is one, too');
select is(ridgeline.set_workflow_mode(:'greet', 'live') ->> 'in_force', 'shadow', 'which is told when it is switched');
update ridgeline.tenant_settings set unified_engine = 'off' where tenant_id = :'apex';
select pg_temp.contact(:'apex', 'Liz', '+15125550123') as liz \gset
select pg_temp.settle();
select is(pg_temp.runs(:'greet'), 1::bigint, 'off: nothing begins');
select is((select count(*) from public.contacts where id = :'liz'), 1::bigint, 'and the lead is there');
select alike(pg_temp.error_of(format('select ridgeline.execute_workflow(%L, %L)', :'by_hand', jsonb_build_object('contact_id', :'maria'))), 'PT409 workflow_id: the engine is off%', 'by hand it is refused, and said why');
select is((select count(*) from ridgeline.trigger_workflows('call_completed', jsonb_build_object('contact_id', :'maria'), :'apex')), 0::bigint, 'another program fires nothing');
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "create_task", "config": {"title": "Published while off"}}]') as meanwhile \gset
select pg_temp.contact(:'apex', 'Pam', '+15125550124') as pam \gset
select is(pg_temp.runs(:'meanwhile'), 0::bigint, 'nor does what is published meanwhile');
update ridgeline.tenant_settings set unified_engine = 'on' where tenant_id = :'apex';
select pg_temp.contact(:'apex', 'Joy', '+15125550125') as joy \gset
select pg_temp.settle();
select is((select string_agg(e.mode::text, ',') from ridgeline.workflow_executions as e where e.record_id = :'joy' and e.workflow_id in (:'greet', :'meanwhile')), 'live,live', 'on: as each workflow says');
select is((select e.mode::text from ridgeline.workflow_executions as e where e.record_id = :'joy' and e.workflow_id = :'existing'), 'shadow', 'a shadow stays one');

-- THE CAP AND A SENDER'S PLACES: as many as live ones would send go, and neither uses up what is the other's
create function pg_temp.text_of(run uuid) returns text
  language sql
  as $$ select coalesce((select concat_ws(' ', s.status, s.error ->> 'code') from ridgeline.workflow_step_executions as s where s.execution_id = run),
    (select concat_ws(' ', q.held ->> 'code', extract(epoch from q.run_at - automation.now())::integer) from ridgeline.scheduled_steps as q where q.execution_id = run)) $$;
create function pg_temp.texts(workflow uuid) returns text
  language sql
  as $$ select string_agg(pg_temp.text_of(e.id), ', ' order by e.id) from ridgeline.workflow_executions as e where e.workflow_id = workflow $$;
create function pg_temp.start(workflow uuid, contact uuid, times integer) returns void
  language sql
  as $$ select ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact)) from generate_series(1, times) $$;
update public.tenants set settings = settings || '{"marketing_cap": {"per_day": 2}}' where id = :'apex';
select pg_temp.contact(:'apex', 'Bob', '+15125550102') as bob \gset
select automation.claim_steps('w', 100) \g /dev/null
select pg_temp.shadow('manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "An offer", "purpose": "marketing", "expires_after": "30 days"}}]') as offer \gset
select pg_temp.shadow('manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Or else", "purpose": "marketing", "over_cap": "skip"}}]') as lesser \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "For good", "purpose": "marketing", "expires_after": "30 days"}}]') as real \gset
select pg_temp.start(:'offer', :'bob', 2);
select pg_temp.start(:'offer', :'bob', 1);
select is((select count(*) from automation.claim_steps('w', 100)), 0::bigint, 'three offers of a shadow: nothing goes out');
select is(pg_temp.texts(:'offer'), 'skipped shadow, skipped shadow, cap 86400', 'and the third waits as it would live');
select pg_temp.start(:'lesser', :'bob', 1);
select count(*) from automation.claim_steps('w', 100);
select is(pg_temp.texts(:'lesser'), 'skipped over_cap', 'one that rather does not come too late says so');
select pg_temp.start(:'real', :'bob', 3);
select is((select count(*) from automation.claim_steps('w', 100)), 2::bigint, 'a live workflow has its two, whatever shadows did');
select pg_temp.start(:'offer', :'bob', 1);
update ridgeline.scheduled_steps as q set run_at = automation.now() where q.held ->> 'code' = 'cap';
select count(*) from automation.claim_steps('w', 100);
select automation.advance_clock('25 hours');
select count(*) from automation.claim_steps('w', 100);
select is(pg_temp.texts(:'offer'), 'skipped shadow, skipped shadow, skipped shadow, skipped shadow', 'and the shadow another two the next day, whatever live ones sent');

update public.tenants set settings = settings - 'marketing_cap' where id = :'apex';
delete from ridgeline.scheduled_steps;
update ridgeline.senders set limits = '{"per_second": 0.1}' where tenant_id = :'apex';
select pg_temp.shadow('manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "We are coming", "purpose": "transactional"}}]') as coming \gset
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "We are there", "purpose": "transactional"}}]') as there \gset
select pg_temp.start(:'coming', :'bob', 3);
select count(*) from automation.claim_steps('w', 100);
select is(pg_temp.texts(:'coming'), 'skipped shadow, rate 10, rate 20', 'a number that takes one in ten seconds: each shadow has its place');
select pg_temp.start(:'there', :'bob', 1);
select is((select count(*) from automation.claim_steps('w', 100)), 1::bigint, 'none of which is taken from a live one');
select automation.advance_clock('20 seconds');
select count(*) from automation.claim_steps('w', 100);
select is(pg_temp.texts(:'coming'), 'skipped shadow, skipped shadow, skipped shadow', 'and keeps it');
update ridgeline.senders set limits = '{"per_second": 0, "per_day": 2}' where tenant_id = :'apex';
select pg_temp.shadow('manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "We were there", "purpose": "transactional"}}]') as was \gset
select pg_temp.start(:'was', :'bob', 3);
select pg_temp.start(:'there', :'bob', 2);
select is((select count(*) from automation.claim_steps('w', 100)), 2::bigint, 'two a day: of live ones two go');
select matches(pg_temp.texts(:'was'), '^skipped shadow, skipped shadow, daily_limit \d+$', 'and of shadows two would');
update ridgeline.senders set limits = '{"per_second": 0}' where tenant_id = :'apex';
update ridgeline.tenant_settings set settings = settings || '{"segments_per_day": 1}' where tenant_id = :'apex';
select pg_temp.shadow('manual', '{}', '[{"key": "text", "type": "send_sms", "config": {"body": "Once more", "purpose": "transactional"}}]') as once_more \gset
select pg_temp.start(:'once_more', :'bob', 2);
select pg_temp.start(:'there', :'bob', 1);
select is((select count(*) from automation.claim_steps('w', 100)), 1::bigint, 'one a day with all numbers together: a live one goes');
select matches(pg_temp.texts(:'once_more'), '^skipped shadow, daily_limit \d+$', 'and one shadow would');
update ridgeline.tenant_settings set settings = settings - 'segments_per_day' where tenant_id = :'apex';

-- EXITS: a shadow ends where the live run would
select pg_temp.shadow('manual', '{}', '[{"key": "pause", "type": "wait", "config": {"days": 3}}, {"key": "task", "type": "create_task", "config": {"title": "Call"}}]',
  '{"exit_events": [{"type": "sms_received"}], "exit_conditions": [{"field": "contact.stage", "operator": "equals", "value": "won"}]}') as leaving \gset
create function pg_temp.ended() returns text
  language sql
  as $$ select string_agg(concat_ws(' ', c.first_name, e.mode, e.status, e.error ->> 'code'), ', ' order by c.first_name)
    from ridgeline.workflow_executions as e join public.contacts as c on c.id::text = e.record_id
    where e.trigger_type = 'manual' and exists (select from ridgeline.workflow_versions as v where v.workflow_id = e.workflow_id and v.plan #> '{lifecycle}' ? 'exit' ) $$;
select pg_temp.contact(:'apex', 'Abe', '+15125550171') as abe \gset
select pg_temp.contact(:'apex', 'Bea', '+15125550172') as bea \gset
select pg_temp.contact(:'apex', 'Cal', '+15125550173') as cal \gset
select pg_temp.start(:'leaving', c::uuid, 1) from unnest(array[:'abe', :'bea', :'cal']) as c;
select pg_temp.settle();
select automation.receive_sms('{"message_sid": "SM00000000000000000000000000000002", "from": "+15125550171", "to": "+15125550900", "body": "Not any more"}');
select automation.run_signals();
update public.contacts set stage = 'won' where id = :'bea';
select is(pg_temp.ended(), 'Abe shadow cancelled exit_event, Bea shadow waiting, Cal shadow waiting', 'an event ends it at once');
select automation.advance_clock('4 days');
select pg_temp.settle();
select is(pg_temp.ended(), 'Abe shadow cancelled exit_event, Bea shadow cancelled exit_conditions, Cal shadow completed', 'its conditions are asked before the next step, and who stays gets to the end');

-- WHOSE WORD
create function pg_temp.as_user(id uuid) returns void language sql as $$
  select set_config('request.jwt.claims', jsonb_build_object('sub', id, 'role', 'authenticated')::text, true), set_config('role', 'authenticated', true) $$;
update public.tenants set settings = settings || '{"editors_publish": false}' where id = :'apex';
select pg_temp.as_user(:'guest');
select alike(pg_temp.error_of(format('select ridgeline.set_workflow_mode(%L, %L)', :'by_hand', 'live')), '42501 role:%', 'who may not publish does not switch');
select pg_temp.as_user(:'kim');
select alike(pg_temp.error_of(format('select ridgeline.set_workflow_mode(%L, %L)', :'by_hand', 'live')), 'PT404%', 'another office''s workflow is not there');
select pg_temp.as_user(:'sam');
select is(pg_temp.error_of(format('select ridgeline.set_workflow_mode(%L, %L)', :'by_hand', 'loud')), '22023 mode: a workflow is live or shadow, not "loud" | Send "live" or "shadow".', 'live or shadow');
select is(pg_temp.error_of($$update ridgeline.tenant_settings set unified_engine = 'off'$$) like '42501%', true, 'the engine of a tenant is not a column to be written');
select is(pg_temp.error_of(format('insert into ridgeline.tenant_settings (tenant_id, unified_engine) values (%L, ''off'')', :'apex')) like '42501%', true, 'nor with the first row of its settings');
update ridgeline.workflows set mode = 'live' where id = :'by_hand';
reset role;
select is((select mode::text from ridgeline.workflows where id = :'by_hand'), 'live', 'an admin may, by the column as well');

select * from finish();
rollback;

-- Beginning anew: the run in flight ends and another one takes its place, once, whatever started it.
begin;
\ir ../foundation/story.psql
select plan(60);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Bluff Roofing') as bluff \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'bluff', 'Bea', '+15125550120') as bea \gset
insert into ridgeline.senders (tenant_id, channel, address, registration) values
  (:'apex', 'sms', '+15125550199', 'registered'), (:'bluff', 'sms', '+15125550198', 'registered');

-- "status code" of each run of a workflow, the oldest first.
create function pg_temp.fates(workflow uuid) returns text
  language sql
  as $$
    select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq)
    from ridgeline.workflow_executions as e where e.workflow_id = workflow
  $$;
create function pg_temp.titles() returns text
  language sql
  as $$ select string_agg(t.title, ', ' order by t.id) from public.tasks as t $$;
create function pg_temp.move(project uuid, stage text) returns void
  language sql
  as $$ update public.projects set pipeline_stage = stage where id = project $$;
-- Back to the drawing board and out again.
create function pg_temp.send_again(project uuid) returns void
  language sql
  as $$ select pg_temp.move(project, 'negotiation'); select pg_temp.move(project, 'estimate_sent') $$;
create function pg_temp.follow_up(tenant uuid, steps jsonb, more jsonb default '{}') returns uuid
  language sql
  as $$
    select pg_temp.workflow(tenant, 'pipeline_stage_changed', '{"to": "estimate_sent"}', steps, '[]',
      '{"reentry": "restart", "exit_events": [{"type": "pipeline_stage_changed", "config": {"to": ["won", "lost"]}}]}' || more)
  $$;

-- An estimate that is sent again.
select pg_temp.follow_up(:'apex', '[{"type": "wait", "config": {"days": 2}}, {"type": "create_task", "config": {"title": "Ring {{project.name}}"}},
  {"type": "wait", "config": {"days": 2}}, {"type": "create_task", "config": {"title": "Ring {{project.name}} again"}}]') as chase \gset
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Roof') returning id as roof \gset
insert into public.projects (tenant_id, contact_id, name) values (:'apex', :'maria', 'Shed') returning id as shed \gset
select pg_temp.move(:'roof', 'estimate_sent');
select pg_temp.move(:'shed', 'estimate_sent');
select pg_temp.settle();
select is(pg_temp.fates(:'chase'), 'waiting, waiting', 'two estimates of a customer are two runs');
select pg_temp.later('1 day');
select pg_temp.send_again(:'roof');
select is((select count(*) from automation.signals where role = 'restart' and kept_for is null), 1::bigint, 'whoever writes notes it, and ends nothing themselves');
select pg_temp.settle();
select is(pg_temp.fates(:'chase'), 'cancelled restarted, waiting, waiting', 'sent again, it begins anew, and the other estimate goes on');
select is(
  (select e.error ->> 'execution_id' from ridgeline.workflow_executions as e where e.workflow_id = :'chase' order by e.seq limit 1),
  (pg_temp.only_run(:'chase')).id::text, 'the run that ended names the one in its place');
select is((select e.error ->> 'message' from ridgeline.workflow_executions as e where e.workflow_id = :'chase' order by e.seq limit 1),
  'it began anew at pipeline_stage_changed', 'and says why');
select pg_temp.later('1 day 1 hour');
select is(pg_temp.titles(), 'Ring Shed', 'two days after it was first sent nothing is said of it');
select pg_temp.later('1 day');
select is(pg_temp.titles(), 'Ring Shed, Ring Roof', 'two days after it was last sent, once');
select pg_temp.send_again(:'roof');
select pg_temp.send_again(:'roof');
select pg_temp.send_again(:'roof');
select pg_temp.settle();
select is(pg_temp.fates(:'chase'), 'cancelled restarted, waiting, cancelled restarted, cancelled restarted, cancelled restarted, waiting',
  'three times in one transaction leaves one');
select pg_temp.move(:'roof', 'won');
select pg_temp.settle();
select is((pg_temp.only_run(:'chase')).error ->> 'code', 'exit_event', 'what ends a run still ends it');
select pg_temp.move(:'roof', 'estimate_sent');
select pg_temp.settle();
select is((pg_temp.only_run(:'chase')).status::text, 'waiting', 'and then it may enter as ever');
select is(ridgeline.explain_enrollment(:'chase', jsonb_build_object('project_id', :'shed')) #> '{reentry,passed}', 'true', 'explain_enrollment: one that is in it may');

-- What starts it in another way restarts it too: by hand, in a list, by the clock.
select (ridgeline.execute_workflow(:'chase', jsonb_build_object('project_id', :'shed'))).id as by_hand \gset
select pg_temp.settle();
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e
  where e.workflow_id = :'chase' and e.record_id = :'shed'), 'cancelled restarted, waiting', 'by hand');
select (ridgeline.enroll_records(:'chase', array[:'shed'::text, :'shed'::text])).enrolled as listed \gset
select pg_temp.settle();
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e
  where e.workflow_id = :'chase' and e.record_id = :'shed'), 'cancelled restarted, cancelled restarted, waiting', 'in a list');
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "project", "field": "appointment_at", "offset": "-1 hour"}',
  '[{"type": "wait", "config": {"days": 5}}, {"type": "stop"}]', '[]', '{"reentry": "restart"}') as timed \gset
update public.projects set appointment_at = automation.now() + interval '2 hours' where id = :'shed';
select automation.advance_clock('61 minutes');
select automation.fire_timers();
select pg_temp.settle();
update public.projects set appointment_at = automation.now() + interval '2 hours' where id = :'shed';
select automation.advance_clock('61 minutes');
select automation.fire_timers();
select pg_temp.settle();
select is(pg_temp.fates(:'timed'), 'cancelled restarted, waiting', 'by the clock');

-- A first step that is delayed: the run before it must not come to speak meanwhile.
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "quoted"}', '[{"type": "create_task", "config": {"title": "Delayed"}, "delay": 2880}]', '[]', '{"reentry": "restart"}') as delayed \gset
update public.contacts set stage = 'quoted' where id = :'maria';
select pg_temp.later('1 day');
update public.contacts set stage = 'new' where id = :'maria';
update public.contacts set stage = 'quoted' where id = :'maria';
select pg_temp.settle();
select is(pg_temp.fates(:'delayed'), 'cancelled restarted, waiting', 'ended before its first step');
select pg_temp.later('1 day 1 hour');
select is((select count(*) from public.tasks where title = 'Delayed'), 0::bigint, 'which is not done');
select pg_temp.later('1 day');
select is((select count(*) from public.tasks where title = 'Delayed'), 1::bigint, 'but that of the run in its place, once');
update ridgeline.workflows set is_active = false where id = :'delayed';

-- A text that is on its way when it begins anew.
select pg_temp.follow_up(:'bluff', '[{"type": "send_sms", "config": {"purpose": "transactional", "body": "Your estimate for {{project.name}}"}},
  {"type": "wait", "config": {"days": 2}}, {"type": "create_task", "config": {"title": "Ring {{project.name}}"}}]') as texted \gset
select automation.set_clock('2026-11-24T18:00:00Z');
insert into public.projects (tenant_id, contact_id, name) values (:'bluff', :'bea', 'Barn') returning id as barn \gset
select pg_temp.move(:'barn', 'estimate_sent');
select pg_temp.settle();
create temp table sent as select c as claimed, 1 as nth from automation.claim_steps('w', 10) as c;
select is((select count(*) from sent), 1::bigint, 'a text is leased');
select pg_temp.send_again(:'barn');
select pg_temp.settle();
select is(pg_temp.fates(:'texted'), 'cancelled restarted, pending', 'it begins anew meanwhile');
select is((select pg_temp.finish(s.claimed, 'succeeded', '{"result": {"provider_id": "SM1"}}') from sent as s), 'completed', 'what the provider took is written down');
select pg_temp.settle();
select is(pg_temp.fates(:'texted'), 'cancelled restarted, pending', 'and takes the ended run nowhere');
insert into sent select c, 2 from automation.claim_steps('w', 10) as c;
select is((select count(*) from sent where nth = 2), 1::bigint, 'the new run sends its own, once');
-- A refusal for now, which would be tried again.
select pg_temp.send_again(:'barn');
select is((select pg_temp.finish(s.claimed, 'retry', '{"error": {"code": "busy", "message": "busy"}}') from sent as s where nth = 2) is not null, true, 'reported after it began anew');
select pg_temp.settle();
select automation.advance_clock('1 hour');
insert into sent select c, 3 from automation.claim_steps('w', 10) as c;
select is((select count(*) from sent where nth = 3), 1::bigint, 'an attempt of the run before is not made again');
select is(pg_temp.fates(:'texted'), 'cancelled restarted, cancelled restarted, running', 'it has ended');
-- Once it is committed nothing unclaimed of the run before goes out, whether or not the signal was read.
select (pg_temp.finish(s.claimed, 'succeeded', '{"result": {"provider_id": "SM3"}}')) from sent as s where nth = 3;
select pg_temp.follow_up(:'bluff', '[{"type": "send_sms", "config": {"purpose": "transactional", "body": "Later"}, "delay": 60}]') as later \gset
insert into public.projects (tenant_id, contact_id, name) values (:'bluff', :'bea', 'Coop') returning id as coop \gset
select pg_temp.move(:'coop', 'estimate_sent');
select automation.advance_clock('59 minutes');
select pg_temp.send_again(:'coop');
select automation.advance_clock('2 minutes');
select is((select count(*) from automation.claim_steps('w', 10) as c where c.payload ->> 'body' = 'Later'), 0::bigint, 'nothing of a run that was replaced is claimed');
select is(pg_temp.fates(:'later'), 'cancelled restarted, waiting', 'the claim itself ends it');
select automation.advance_clock('1 hour');
select is((select count(*) from automation.claim_steps('w', 10) as c where c.payload ->> 'body' = 'Later'), 1::bigint, 'the one in its place goes out');
select automation.reset_clock();

-- By a key of the office's own: whoever wrote from one number.
select pg_temp.workflow(:'apex', 'call_missed', '{}', '[{"type": "wait", "config": {"hours": 2}}, {"type": "create_task", "config": {"title": "Ring {{call.from_number}}"}}]', '[]',
  '{"reentry": "restart", "dedupe_key": "{{call.from_number}}"}') as callback \gset
insert into ridgeline.calls (tenant_id, direction, from_number, to_number, status) values (:'apex', 'inbound', '+15125550171', '+15125550199', 'missed');
insert into ridgeline.calls (tenant_id, direction, from_number, to_number, status) values (:'apex', 'inbound', '+15125550172', '+15125550199', 'missed');
select pg_temp.settle();
select pg_temp.later('1 hour');
insert into ridgeline.calls (tenant_id, direction, from_number, to_number, status) values (:'apex', 'inbound', '+15125550171', '+15125550199', 'missed');
select pg_temp.settle();
select pg_temp.settle();
select is(pg_temp.fates(:'callback'), 'cancelled restarted, waiting, waiting', 'the second call from a number takes the place of the first');
select pg_temp.later('61 minutes');
select is((select string_agg(t.title, ', ' order by t.id) from public.tasks as t where t.title like 'Ring +%'), 'Ring +15125550172', 'whose two hours are not waited for');
select pg_temp.later('1 hour');
select is((select string_agg(t.title, ', ' order by t.id) from public.tasks as t where t.title like 'Ring +%'), 'Ring +15125550172, Ring +15125550171', 'but those of the second');
-- Two calls from a stranger at the same moment: both runs come to their first step in one batch.
insert into ridgeline.calls (tenant_id, direction, from_number, to_number, status) values
  (:'apex', 'inbound', '+15125550173', '+15125550199', 'missed'), (:'apex', 'inbound', '+15125550173', '+15125550199', 'missed');
select pg_temp.settle();
select pg_temp.later('3 hours');
select is((select count(*) from public.tasks as t where t.title = 'Ring +15125550173'), 1::bigint, 'two at once are one');
select is((select string_agg(concat_ws(' ', e.status, e.error ->> 'code'), ', ' order by e.seq) from ridgeline.workflow_executions as e
  where e.workflow_id = :'callback' and e.trigger_data #>> '{call,from_number}' = '+15125550173'), 'skipped restarted, completed', 'the later of them');
-- A key that renders to nothing is nobody's.
insert into ridgeline.calls (tenant_id, direction, to_number, status) values (:'apex', 'inbound', '+15125550199', 'missed'), (:'apex', 'inbound', '+15125550199', 'missed');
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions as e where e.workflow_id = :'callback' and e.finished_at is null), 2::bigint, 'two without a number are two');

-- Runs about nobody have nothing but their key.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "wait", "config": {"hours": 1}}, {"type": "create_task", "config": {"title": "Storm {{custom.place}}"}}]', '[]',
  '{"reentry": "restart", "dedupe_key": "{{custom.place}}"}') as storm \gset
select (ridgeline.execute_workflow(:'storm', '{"custom": {"place": "Waco"}}', :'apex')).id as first_storm \gset
select pg_temp.settle();
select (ridgeline.execute_workflow(:'storm', '{"custom": {"place": "Waco"}}', :'apex')).id, (ridgeline.execute_workflow(:'storm', '{"custom": {"place": "Hico"}}', :'apex')).id as hico \gset
select pg_temp.settle();
select pg_temp.settle();
select is(pg_temp.fates(:'storm'), 'cancelled restarted, waiting, waiting', 'the second of one place takes the place of the first');
select pg_temp.later('61 minutes');
select is((select string_agg(t.title, ', ' order by t.title) from public.tasks as t where t.title like 'Storm%'), 'Storm Hico, Storm Waco', 'and each place is rung for once');
update ridgeline.workflows set is_active = false where id = :'storm';

-- Two that know nothing of each other (they committed at the same moment) meet at their first step.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "Once"}}, {"type": "wait", "config": {"days": 1}}, {"type": "stop"}]', '[]', '{"reentry": "restart"}') as manual \gset
do $$
begin
  for n in 1 .. 3 loop
    perform ridgeline.execute_workflow((select w.id from ridgeline.workflows as w where w.id = (select max(m.id::text)::uuid from ridgeline.workflows as m where m.trigger_type = 'manual' and m.is_active)),
      jsonb_build_object('contact_id', (select c.id from public.contacts as c where c.first_name = 'Maria')));
  end loop;
end;
$$;
delete from automation.signals where workflow_id = :'manual';
select pg_temp.settle();
select is(pg_temp.fates(:'manual'), 'skipped restarted, skipped restarted, waiting', 'the last one stays');
select is((select count(*) from public.tasks where title = 'Once'), 1::bigint, 'and what it does is done once');
-- One that was in already, unseen.
select (ridgeline.execute_workflow(:'manual', jsonb_build_object('contact_id', :'maria'))).id as fourth \gset
delete from automation.signals where workflow_id = :'manual';
select pg_temp.settle();
select pg_temp.settle();
select is(pg_temp.fates(:'manual'), 'skipped restarted, skipped restarted, cancelled restarted, waiting', 'one that is in is ended where another enters');
-- The loser is not brought back by hand.
select is((select count(*) from ridgeline.workflow_executions as e where e.workflow_id = :'manual' and e.finished_at is null), 1::bigint, 'one is open');

-- What must not restart anything.
update public.contacts set city = 'Waco' where id = :'maria';
select pg_temp.workflow(:'apex', 'field_changed', '{"field": "lead_score"}', '[{"type": "wait", "config": {"days": 9}}, {"type": "stop"}]',
  '[{"field": "contact.city", "operator": "equals", "value": "Waco"}]', '{"reentry": "restart"}') as scored \gset
update public.contacts set lead_score = 1 where id = :'maria';
update public.contacts set city = 'Austin' where id = :'maria';
select pg_temp.settle();
update public.contacts set lead_score = 2 where id = :'maria';
select pg_temp.settle();
select is(pg_temp.fates(:'scored'), 'waiting', 'a record that does not meet the conditions any more');
update public.contacts set city = 'Waco' where id = :'maria';
update ridgeline.workflows set is_active = false where id = :'scored';
update public.contacts set lead_score = 3 where id = :'maria';
select pg_temp.settle();
select is(pg_temp.fates(:'scored'), 'waiting', 'a workflow that is switched off');
update ridgeline.workflows set is_active = true where id = :'scored';
do $$
begin
  for n in 4 .. 40 loop
    update public.contacts set lead_score = n where first_name = 'Maria';
  end loop;
end;
$$;
select pg_temp.settle();
select is((select count(*) from ridgeline.workflow_executions as e where e.workflow_id = :'scored' and e.finished_at is null), 1::bigint, 'a record that flaps ends with one run');
select is((select count(*) from ridgeline.workflow_executions as e where e.workflow_id = :'scored' and e.error ->> 'code' = 'enrollment_limit_exceeded'), 1::bigint, 'and not without limit');

-- A shadow takes no place of a run that counts, nor the other way round.
update ridgeline.workflows set mode = 'shadow' where id = :'chase';
select pg_temp.send_again(:'shed');
select pg_temp.settle();
select is((select string_agg(e.mode || ' ' || e.status, ', ' order by e.seq) from ridgeline.workflow_executions as e
  where e.workflow_id = :'chase' and e.record_id = :'shed' and e.finished_at is null), 'live waiting, shadow waiting', 'a shadow stands beside the run that is live');
select pg_temp.send_again(:'shed');
select pg_temp.settle();
select is((select string_agg(e.mode || ' ' || e.status, ', ' order by e.seq) from ridgeline.workflow_executions as e
  where e.workflow_id = :'chase' and e.record_id = :'shed' and e.finished_at is null), 'live waiting, shadow waiting', 'and takes the place of a shadow');
update ridgeline.workflows set mode = 'live' where id = :'chase';

-- Runs of the version before, and from before there was such a rule.
select pg_temp.workflow(:'apex', 'stage_changed', '{"to": "hot"}', '[{"type": "wait", "config": {"days": 3}}, {"type": "stop"}]') as open_door \gset
select count(*) from (values ('hot'), ('new'), ('hot')) as s (stage), lateral (select pg_temp.error_of(format('update public.contacts set stage = %L where id = %L', stage, :'maria'))) as done (said) \gset
select pg_temp.settle();
select is(pg_temp.fates(:'open_door'), 'waiting, waiting', 'everybody may enter as often as they like');
update ridgeline.workflows set settings = '{"reentry": "restart"}' where id = :'open_door';
select (ridgeline.publish_workflow(:'open_door')).version \gset
update public.contacts set stage = 'new' where id = :'maria';
update public.contacts set stage = 'hot' where id = :'maria';
select pg_temp.settle();
select is(pg_temp.fates(:'open_door'), 'cancelled restarted, cancelled restarted, waiting', 'until it begins anew: then all that are open end');

-- Another tenant's run of the same record id is nobody's business.
insert into public.contacts (tenant_id, id, first_name) values (:'bluff', :'maria', 'Namesake');
select pg_temp.workflow(:'bluff', 'stage_changed', '{"to": "hot"}', '[{"type": "wait", "config": {"days": 3}}, {"type": "stop"}]', '[]', '{"reentry": "restart"}') as theirs \gset
update public.contacts set stage = 'hot' where id = :'maria' and tenant_id = :'bluff';
update public.contacts set stage = 'new' where id = :'maria' and tenant_id = :'apex';
update public.contacts set stage = 'hot' where id = :'maria' and tenant_id = :'apex';
select pg_temp.settle();
select is(pg_temp.fates(:'theirs'), 'waiting', 'the same id in another office');

-- A record that is deleted and one whose run has failed.
select (ridgeline.cancel_execution((pg_temp.only_run(:'theirs')).id)).status \gset
update public.contacts set stage = 'new' where id = :'maria' and tenant_id = :'bluff';
update public.contacts set stage = 'hot' where id = :'maria' and tenant_id = :'bluff';
delete from public.contacts where id = :'maria' and tenant_id = :'bluff';
select pg_temp.settle();
select is(pg_temp.fates(:'theirs'), 'cancelled, cancelled record_deleted', 'begun anew and deleted');
select is((select count(*) from automation.signals where role = 'restart' and kept_for is null), 0::bigint, 'no signal is left');

-- What publishing says.
create function pg_temp.said(trigger_type text, settings jsonb, config jsonb default '{}') returns text
  language plpgsql
  as $$
declare
  draft constant uuid := pg_temp.draft((select t.id from public.tenants as t where t.name = 'Apex Roofing'), trigger_type, config,
    '[{"type": "create_task", "config": {"title": "x"}}]', '[]', settings);
begin
  return (
    select string_agg(concat_ws(' ', p ->> 'severity', p ->> 'code', p ->> 'path'), ', ')
    from jsonb_array_elements(ridgeline.validate_workflow(draft) -> 'problems') as p);
end;
$$;
select is(pg_temp.said('stage_changed', '{"reentry": "restart"}'), null, 'a record that changes restarts without a word');
select is(pg_temp.said('contact_created', '{"reentry": "restart"}'), 'warning never_restarts settings.reentry', 'a record is created once');
select is(pg_temp.said('call_missed', '{"reentry": "restart"}'), 'warning never_restarts settings.reentry', 'each call is a record of its own');
select is(pg_temp.said('call_missed', '{"reentry": "restart", "dedupe_key": "{{call.from_number}}"}'), null, 'unless the office says what makes two the same');
select is(pg_temp.said('scheduled', '{"reentry": "restart"}', '{"every": "1 day"}'), 'warning never_restarts settings.reentry', 'a schedule without records');
select is(pg_temp.said('stage_changed', '{"reentry": {"restart": true}}'), 'error missing settings.reentry.once_in, warning unknown_key settings.reentry.restart', 'restart is a word');
select is(pg_temp.said('stage_changed', '{"reentry": "restarts"}'), 'error unknown_value settings.reentry', 'spelt so');

-- A key that cannot be told fails the run that it is of, and none beside it. Who come next are asked once for a set.
update ridgeline.workflows set is_active = true where id = :'storm';
alter function automation.entry_key(ridgeline.workflow_executions, jsonb, automation.known_records, jsonb) rename to entry_key_of;
create sequence pg_temp.asked;
create function automation.entry_key(
  execution ridgeline.workflow_executions, lifecycle jsonb, known automation.known_records default null, options jsonb default null)
  returns text
  language plpgsql
  as $$
begin
  perform nextval('pg_temp.asked');
  if execution.trigger_data #>> '{custom,place}' = 'Nowhere' then
    raise exception 'there is no such place';
  end if;
  return automation.entry_key_of(execution, lifecycle, known, options);
end;
$$;
select (ridgeline.execute_workflow(:'storm', jsonb_build_object('custom', jsonb_build_object('place', p)), :'apex')).id
from unnest('{Alpine,Nowhere,Marfa}'::text[]) as p;
select pg_temp.settle();
select is((select string_agg(concat_ws(' ', e.trigger_data #>> '{custom,place}', e.status, e.error ->> 'code'), ', ' order by e.seq)
  from ridgeline.workflow_executions as e where e.workflow_id = :'storm' and e.trigger_data #>> '{custom,place}' in ('Alpine', 'Nowhere', 'Marfa')),
  'Alpine waiting, Nowhere failed step_failed, Marfa waiting', 'it keeps no other from its place');
select count((ridgeline.execute_workflow(:'storm', jsonb_build_object('custom', jsonb_build_object('place', 'Place ' || n)), :'apex')).id) as many
from generate_series(1, 60) as n \gset
select set_config('automation.portion_size', '800', false), setval('pg_temp.asked', 1, false);
select pg_temp.settle();
select cmp_ok(nextval('pg_temp.asked'), '<=', 2 * 60 + 1::bigint, 'each key is rendered for its own run and once for those before it');
select * from finish();
rollback;

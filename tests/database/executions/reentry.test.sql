-- Who may enter a workflow again: always, never, once in a while, not while they are in it; by record or
-- by whatever the office says makes two of them the same.
begin;
\ir ../foundation/story.psql
select plan(60);

select pg_temp.tenant() as apex \gset
create function pg_temp.statuses(workflow uuid) returns text
  language sql
  as $$ select string_agg(e.status::text, ', ' order by e.created_at, e.id) from ridgeline.workflow_executions as e where e.workflow_id = workflow $$;
create function pg_temp.enters(workflow uuid, data jsonb) returns text
  language plpgsql
  as $$
declare
  run uuid := (ridgeline.execute_workflow(workflow, data)).id;
begin
  perform pg_temp.settle();
  return (select concat_ws(' ', e.status, e.error ->> 'code') from ridgeline.workflow_executions as e where e.id = run);
end;
$$;
create function pg_temp.with(reentry text, more text default '{}', steps text default '[{"type": "create_task", "config": {"title": "Call"}}]') returns uuid
  language sql
  as $$
    select pg_temp.workflow((select t.id from public.tenants as t), 'manual', '{}', steps::jsonb, '[]',
      jsonb_build_object('reentry', reentry::jsonb) || more::jsonb)
  $$;
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.contact(:'apex', 'Ann', '+15125550111') as ann \gset
select jsonb_build_object('contact_id', :'maria') as for_maria \gset
select jsonb_build_object('contact_id', :'ann') as for_ann \gset

select pg_temp.with('"always"') as always \gset
select is(pg_temp.enters(:'always', :'for_maria'), 'completed', 'always: once');
select is(pg_temp.enters(:'always', :'for_maria'), 'completed', 'and again');

select pg_temp.with('"never"') as never \gset
select is(pg_temp.enters(:'never', :'for_maria'), 'completed', 'never: once');
select is(pg_temp.enters(:'never', :'for_maria'), 'skipped already_entered', 'but not again');
select is(pg_temp.enters(:'never', :'for_ann'), 'completed', 'somebody else may');
select automation.advance_clock('10 years');
select is(pg_temp.enters(:'never', :'for_maria'), 'skipped already_entered', 'never is never');
select is((select count(*) from public.tasks as t join ridgeline.workflow_executions as e on e.id = t.execution_id
  where e.workflow_id = :'never' and t.contact_id = :'maria'), 1::bigint, 'she was called once');
select is(
  (pg_temp.only_run(:'never')).error ->> 'execution_id',
  (select e.id::text from ridgeline.workflow_executions as e where e.workflow_id = :'never' and e.record_id = :'maria' order by e.created_at limit 1),
  'the refusal names the run that she was in');

select pg_temp.with('{"once_in": "30 days"}') as monthly \gset
select is(pg_temp.enters(:'monthly', :'for_maria'), 'completed', 'once in thirty days: once');
select automation.advance_clock('29 days');
select is(pg_temp.enters(:'monthly', :'for_maria'), 'skipped already_entered', 'not within them');
select automation.advance_clock('25 hours');
select is(pg_temp.enters(:'monthly', :'for_maria'), 'completed', 'but after them');
select is(pg_temp.enters(:'monthly', :'for_maria'), 'skipped already_entered', 'and they begin anew');

select pg_temp.with('"not_while_open"', '{}', '[{"type": "wait", "config": {"days": 2}}, {"type": "create_task", "config": {"title": "x"}}]') as one_at_a_time \gset
select is(pg_temp.enters(:'one_at_a_time', :'for_maria'), 'waiting', 'not while open: she is in it');
select is(pg_temp.enters(:'one_at_a_time', :'for_maria'), 'skipped already_entered', 'and cannot enter twice');
select automation.advance_clock('49 hours');
select pg_temp.settle();
select is(pg_temp.enters(:'one_at_a_time', :'for_maria'), 'waiting', 'once she is through she may');
select (pg_temp.only_run(:'one_at_a_time')).id as run \gset
select (ridgeline.cancel_execution(:'run')).status \gset
select is(pg_temp.enters(:'one_at_a_time', :'for_maria'), 'waiting', 'cancelled is through, too');

-- By a key of the office's own.
select pg_temp.with('"never"', '{"dedupe_key": "{{contact.phone | formatPhone: \"e164\"}}"}') as by_phone \gset
select is(pg_temp.enters(:'by_phone', :'for_maria'), 'completed', 'by telephone number: one');
insert into public.contacts (tenant_id, id, first_name, phone) values (:'apex', '00000000-0000-4000-8000-0000000000c2', 'MARIA', '(512) 555-0100');
select is(pg_temp.enters(:'by_phone', '{"contact_id": "00000000-0000-4000-8000-0000000000c2"}'), 'skipped already_entered', 'the same number in another notation is the same person');
insert into public.contacts (tenant_id, id, first_name) values (:'apex', '00000000-0000-4000-8000-0000000000c3', 'No'), (:'apex', '00000000-0000-4000-8000-0000000000c4', 'Phone');
select is(pg_temp.enters(:'by_phone', '{"contact_id": "00000000-0000-4000-8000-0000000000c3"}'), 'completed', 'somebody without a number');
select is(pg_temp.enters(:'by_phone', '{"contact_id": "00000000-0000-4000-8000-0000000000c4"}'), 'completed', 'is not everybody without a number');
select is(pg_temp.enters(:'by_phone', '{"contact_id": "00000000-0000-4000-8000-0000000000c4"}'), 'skipped already_entered', 'but themselves');
select is(pg_temp.enters(:'by_phone', '{"note": "nobody"}'), 'completed', 'a run about nobody always may');
-- All that came over night, in one set: whom we know, a couple with one number, somebody else.
insert into public.contacts (tenant_id, first_name, company, phone) values
  (:'apex', 'Maria', 'night', '+15125550100'), (:'apex', 'Jo', 'night', '+15125550177'), (:'apex', 'Al', 'night', '(512) 555-0177'), (:'apex', 'Zoe', 'night', '+15125550178');
create temp table night as
  select c.first_name as name, (ridgeline.execute_workflow(:'by_phone', jsonb_build_object('contact_id', c.id))).id as run
  from (select * from public.contacts where company = 'night' order by first_name desc) as c;
select pg_temp.settle();
select is(
  (select jsonb_object_agg(n.name, concat_ws(' ', e.status, e.error ->> 'code')) from night as n join ridgeline.workflow_executions as e on e.id = n.run),
  '{"Zoe": "completed", "Maria": "skipped already_entered", "Jo": "completed", "Al": "skipped already_entered"}',
  'of those that come at once each number enters once, whoever came first');
select is(
  (select e.error ->> 'execution_id' from night as n join ridgeline.workflow_executions as e on e.id = n.run where n.name = 'Al'),
  (select run::text from night where name = 'Jo'), 'and the other is told by whom');

-- A double form post that got past the form: two rows, two runs, one text.
select pg_temp.workflow(:'apex', 'form_submitted', '{}', '[{"type": "create_task", "config": {"title": "Ring"}}]', '[]',
  '{"reentry": {"once_in": "1 day"}, "dedupe_key": "{{trigger.record.data.email}}"}') as forms \gset
insert into ridgeline.form_submissions (tenant_id, form, data) values
  (:'apex', 'roof', '{"email": "Pat@example.com"}'), (:'apex', 'roof', '{"email": "pat@example.com "}'), (:'apex', 'roof', '{"email": "kim@example.com"}');
select pg_temp.settle();
select is((select string_agg(e.status::text, ', ' order by e.status) from ridgeline.workflow_executions as e where e.workflow_id = :'forms'),
  'completed, completed, skipped', 'the second of two posts is skipped');

-- A record that changes every night does not fill the history with refusals.
select pg_temp.workflow(:'apex', 'contact_updated', '{}', '[{"type": "create_task", "config": {"title": "Changed"}}]', '[]', '{"reentry": "never"}') as nightly \gset
update public.contacts set city = 'Austin' where id = :'ann';
select pg_temp.settle();
update public.contacts set city = 'Dallas' where id = :'ann';
update public.contacts set city = 'Waco' where id = :'ann';
select is(pg_temp.statuses(:'nightly'), 'completed', 'what is refused on sight leaves no row');
select is(ridgeline.explain_enrollment(:'nightly', :'for_ann') -> 'would_enroll', 'false', 'explain_enrollment knows');
select is(ridgeline.explain_enrollment(:'nightly', :'for_ann') #>> '{reentry,policy}', 'never', 'by which rule');
select is(ridgeline.explain_enrollment(:'nightly', :'for_ann') #>> '{reentry,last_execution_id}', (pg_temp.only_run(:'nightly')).id::text, 'and because of which run');
select is(ridgeline.explain_enrollment(:'nightly', :'for_maria') -> 'would_enroll', 'true', 'somebody else would be enrolled');

-- Runs from before the rule count.
update ridgeline.workflows set settings = '{"reentry": "never"}' where id = :'always';
select (ridgeline.publish_workflow(:'always')).version \gset
select is(pg_temp.enters(:'always', :'for_maria'), 'skipped already_entered', 'she was in it before there was a rule');
select is(pg_temp.enters(:'always', :'for_ann'), 'completed', 'Ann was not');

-- A run that failed may be retried: it is in already.
select pg_temp.with('"never"', '{}', '[{"type": "add_tag", "config": {"tag": "{{custom.tag}}"}}]') as failing \gset
update public.contacts set first_name = 'x' where id = :'maria';
select is(pg_temp.enters(:'failing', '{"custom": {"tag": ""}}'), 'failed empty_tag', 'a run that fails');
select (ridgeline.retry_execution((pg_temp.only_run(:'failing')).id)).status \gset
select pg_temp.settle();
select is((pg_temp.only_run(:'failing')).error ->> 'code', 'empty_tag', 'is not refused when it is retried');

-- Only who was done something for has been in it.
create function pg_temp.last_run(flow uuid) returns uuid
  language sql
  as $$ select e.id from ridgeline.workflow_executions as e where e.workflow_id = flow order by e.id desc limit 1 $$;
select pg_temp.with(policy, more, '[{"type": "wait", "config": {"days": 2}}, {"type": "create_task", "config": {"title": "x"}}]') as flow,
  policy as policy from (values ('"never"', '{"dedupe_key": "{{contact.phone}}"}')) as v (policy, more) \gset
select (ridgeline.execute_workflow(:'flow', :'for_ann')).id as run \gset
select (ridgeline.cancel_execution(:'run')).status \gset
select is(pg_temp.enters(:'flow', :'for_ann'), 'waiting', 'a run that was cancelled before its first step keeps nobody out');
select (ridgeline.cancel_execution(pg_temp.last_run(:'flow'))).status \gset
select is(pg_temp.enters(:'flow', :'for_ann'), 'waiting', 'nor does one that was cancelled while it waited');
select automation.advance_clock('49 hours');
select pg_temp.settle();
select is(pg_temp.enters(:'flow', :'for_ann'), 'skipped already_entered', 'one that came to its end does');

select pg_temp.with('{"once_in": "30 days"}', '{}', '[{"type": "create_task", "config": {"title": "x"}}, {"type": "wait", "config": {"days": 2}}, {"type": "create_task", "config": {"title": "y"}}]') as half \gset
select is(pg_temp.enters(:'half', :'for_ann'), 'waiting', 'a run that has done its first step');
select (ridgeline.cancel_execution(pg_temp.last_run(:'half'))).status \gset
select is(pg_temp.enters(:'half', :'for_ann'), 'skipped already_entered', 'counts, though somebody cancelled the rest');

select pg_temp.with('{"once_in": "30 days"}', '{}', '[{"type": "add_tag", "config": {"tag": "{{contact.custom_fields.tag}}"}}]') as tagged \gset
select is(pg_temp.enters(:'tagged', :'for_ann'), 'failed empty_tag', 'a run whose first step fails');
select pg_temp.last_run(:'tagged') as failed \gset
select is(pg_temp.enters(:'tagged', :'for_ann'), 'failed empty_tag', 'keeps nobody out');
update public.contacts set custom_fields = '{"tag": "vip"}' where id = :'ann';
select is(pg_temp.enters(:'tagged', :'for_ann'), 'completed', 'and once it is mended she is in');
select is(pg_temp.enters(:'tagged', :'for_ann'), 'skipped already_entered', 'once');
select (ridgeline.retry_execution(:'failed')).status \gset
select pg_temp.settle();
select is((select concat_ws(' ', e.status, e.error ->> 'code') from ridgeline.workflow_executions as e where e.id = :'failed'),
  'skipped already_entered', 'a run that is tried again finds that somebody else was let in meanwhile');

-- Refused by its conditions, or as a loop.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "x"}}]',
  '[{"field": "contact.city", "operator": "equals", "value": "Waco"}]', '{"reentry": "never"}') as waco \gset
update public.contacts set city = 'Austin' where id = :'ann';
select is(pg_temp.enters(:'waco', :'for_ann'), 'skipped conditions_not_met', 'who does not meet the conditions');
select is((pg_temp.only_run(:'waco')).error #>> '{conditions,actual}', 'Austin', 'is told what was seen');
update public.contacts set city = 'Waco' where id = :'ann';
select is(pg_temp.enters(:'waco', :'for_ann'), 'completed', 'may enter once they do');

select is(
  pg_temp.error_of(format('update ridgeline.workflows set settings = %L where id = %L', '[]', :'never')),
  '23514 new row for relation "workflows" violates check constraint "workflows_settings_is_object"', 'settings are an object');

-- Where one at a time may be in, a run that failed halfway comes back only when nobody else is in.
create function pg_temp.try_again(run uuid) returns text
  language plpgsql
  as $$
begin
  perform ridgeline.retry_execution(run);
  perform pg_temp.settle();
  return (select concat_ws(' ', e.status, e.error ->> 'code') from ridgeline.workflow_executions as e where e.id = run);
exception when others then
  return sqlstate || ' ' || sqlerrm;
end;
$$;
update public.contacts set custom_fields = '{}' where id = :'ann';
select pg_temp.with('"not_while_open"', '{}', '[{"type": "create_task", "config": {"title": "Begun"}}, {"type": "add_tag", "config": {"tag": "{{contact.custom_fields.tag}}"}},
  {"type": "wait", "config": {"days": 2}}, {"type": "stop"}]') as halfway \gset
select is(pg_temp.enters(:'halfway', :'for_ann'), 'failed empty_tag', 'a run that fails halfway');
select pg_temp.last_run(:'halfway') as failed \gset
update public.contacts set custom_fields = '{"tag": "vip"}' where id = :'ann';
select is(pg_temp.enters(:'halfway', :'for_ann'), 'waiting', 'keeps nobody out, as it is not open');
select pg_temp.last_run(:'halfway') as newer \gset
select is(pg_temp.try_again(:'failed'), format('PT409 execution_id: run %s has entered since, and re-entry lets only one be in at a time', :'newer'),
  'but does not come back beside the one that took its turn');
select is(ridgeline.retry_executions(jsonb_build_object('workflow_id', :'halfway'), tenant_id => :'apex') #>> '{refused,0,execution_id}', :'failed', 'nor among many');
select (ridgeline.cancel_execution(:'newer')).status \gset
select is(pg_temp.try_again(:'failed'), 'waiting', 'once that one is over it does');
select is(pg_temp.enters(:'halfway', :'for_ann'), 'skipped already_entered', 'and then it is the one that is in');
select is((pg_temp.last_run(:'halfway') = :'newer'), false, 'as whoever comes next is told');

update public.contacts set custom_fields = '{}' where id = :'ann';
select pg_temp.with('"restart"', '{"dedupe_key": "{{contact.phone}}"}', '[{"type": "create_task", "config": {"title": "Begun"}}, {"type": "add_tag", "config": {"tag": "{{contact.custom_fields.tag}}"}},
  {"type": "wait", "config": {"days": 2}}, {"type": "stop"}]') as anew \gset
select is(pg_temp.enters(:'anew', :'for_ann'), 'failed empty_tag', 'of those that take each other''s place one fails');
select pg_temp.last_run(:'anew') as failed \gset
update public.contacts set custom_fields = '{"tag": "vip"}' where id = :'ann';
select is(pg_temp.enters(:'anew', :'for_ann'), 'waiting', 'and another has taken it');
select alike(pg_temp.try_again(:'failed'), 'PT409 execution_id: run % has entered since%', 'the older does not come back');
select (ridgeline.cancel_execution(pg_temp.last_run(:'anew'))).status \gset
select pg_temp.try_again(:'failed') \g /dev/null
select pg_temp.enters(:'anew', :'for_ann') \g /dev/null
select is(pg_temp.statuses(:'anew'), 'cancelled, cancelled, waiting', 'and one that came back gives its place to the next');

-- One that takes another's place, and one of the next version, which lets nobody in again, in one set: in their order.
select pg_temp.with('"restart"', '{"dedupe_key": "{{contact.first_name}}"}') as changed \gset
select (ridgeline.execute_workflow(:'changed', :'for_ann')).status \gset
update ridgeline.workflows set settings = settings || '{"reentry": "never"}' where id = :'changed';
select ridgeline.publish_workflow(:'changed') \g /dev/null
select set_config('automation.portion_size', '800', true) \g /dev/null
insert into public.contacts (tenant_id, first_name) values (:'apex', 'Ann') returning jsonb_build_object('contact_id', id) as other_ann \gset
select (ridgeline.execute_workflow(:'changed', :'other_ann')).status \gset
select automation.run_database_steps() \g /dev/null
select is(pg_temp.statuses(:'changed'), 'completed, skipped', 'who came first is in, whatever the rule of the next one');

select * from finish();
rollback;

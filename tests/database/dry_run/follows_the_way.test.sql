-- A dry run goes the way a run would go: branches, waits on a clock of its own, what comes and what does not,
-- what steps would change; and leaves nothing behind.
begin;
\ir ../foundation/story.psql
select plan(37);

insert into public.tenants (id, name, timezone) values ('00000000-0000-4000-8000-00000000000a', 'Apex Roofing', 'America/Chicago');
\set apex '00000000-0000-4000-8000-00000000000a'
select automation.set_clock('2026-06-01 12:00:00+00');
select pg_temp.contact(:'apex') as maria \gset
select pg_temp.draft(:'apex', 'contact_created', '{}', '[
  {"type": "change_stage", "key": "stage", "config": {"stage": "contacted"}},
  {"type": "add_tag", "key": "tag", "config": {"tag": "Storm"}},
  {"type": "update_field", "key": "roof", "config": {"field": "custom_fields.roof", "value": "flat"}},
  {"type": "conditional", "key": "way", "config": {"branches": [
      {"name": "tagged", "conditions": [{"field": "contact.tags", "operator": "includes_any", "value": ["storm"]},
        {"field": "contact.stage", "operator": "equals", "value": "contacted"},
        {"field": "contact.custom_fields.roof", "operator": "equals", "value": "flat"}]}]},
    "on": {
      "tagged": [
        {"type": "wait", "key": "reply", "config": {"event": "sms_received", "timeout": "2 days"},
          "on": {"event": [{"type": "create_task", "key": "answer", "config": {"title": "{{steps.reply.event.record.body}}"}}],
                 "timeout": [{"type": "wait", "key": "till_ten", "config": {"at": "10:00"}},
                             {"type": "send_sms", "key": "nudge", "config": {"body": "Still there, {{contact.first_name}}? {{now | formatDate: \"MMM d, HH:mm\"}}"}}]}},
        {"type": "split", "key": "ab", "config": {"branches": [{"name": "a", "weight": 1}, {"name": "b", "weight": 1}]},
          "on": {"a": [{"type": "create_task", "key": "a", "config": {"title": "a"}}], "b": [{"type": "create_task", "key": "b", "config": {"title": "b"}}]}}],
      "else": [{"type": "stop", "key": "no", "config": {"reason": "not tagged"}}]}},
  {"type": "create_task", "key": "late", "config": {"title": "Late"},
    "conditions": [{"field": "contact.created_at", "operator": "within_last", "value": "1 day"}]}]', '[]',
  '{"exit_conditions": [{"field": "contact.stage", "operator": "equals", "value": "won"}]}') as flow \gset
create function pg_temp.rows_written() returns bigint language sql as $$
  select (select count(*) from ridgeline.workflow_executions) + (select count(*) from ridgeline.workflow_step_executions)
    + (select count(*) from ridgeline.scheduled_steps) + (select count(*) from public.contact_tags)
    + (select count(*) from public.tasks) + (select count(*) from automation.split_assignments)
    + (select count(*) from automation.signals) + (select count(*) from automation.entries)
    + (select count(*) from public.tags) + (select count(*) from automation.rotations) $$;
select pg_temp.rows_written() as before \gset
create function pg_temp.keys(run jsonb) returns text
  language sql
  as $$ select string_agg(p.value ->> 'key', ', ' order by p.place) from jsonb_array_elements(run -> 'path') with ordinality as p (value, place) $$;
create function pg_temp.step(run jsonb, key text) returns jsonb
  language sql
  as $$ select p from jsonb_array_elements(run -> 'path') as p where p ->> 'key' = key $$;
select jsonb_build_object('contact_id', :'maria') as for_maria \gset

select ridgeline.test_workflow(:'flow', :'for_maria') as run \gset
select matches(pg_temp.keys(:'run'), '^stage, tag, roof, way, reply, till_ten, nudge, ab, [ab], late$', 'nobody replies, so the nudge would go');
select is(pg_temp.step(:'run', 'way') #>> '{result,branch}', 'tagged', 'what earlier steps would change is seen by later ones');
select is(pg_temp.step(:'run', 'reply') #>> '{result,result}', 'timeout', 'an event that is not said to come times out');
select is((pg_temp.step(:'run', 'till_ten') ->> 'at')::timestamptz, '2026-06-03 12:00+00'::timestamptz, 'two days later');
select is((pg_temp.step(:'run', 'till_ten') ->> 'until')::timestamptz, '2026-06-03 15:00+00'::timestamptz, 'at ten in Chicago');
select is(pg_temp.step(:'run', 'nudge') #>> '{input,body}', 'Still there, Maria? Jun 3, 10:00', 'the text as it would be sent, then');
select is(pg_temp.step(:'run', 'late') ->> 'verdict', 'skip', 'conditions are asked as of then');
select is(pg_temp.step(:'run', 'late') #>> '{conditions,verdict}', 'false', 'and say what they saw');
select is(:'run'::jsonb #>> '{ended,status}', 'completed', 'it comes to its end');
select is((:'run'::jsonb #>> '{ended,at}')::timestamptz, '2026-06-03 15:00+00'::timestamptz, 'when it would');

select ridgeline.test_workflow(:'flow', :'for_maria', '{"events": {"reply": {"body": "Yes!"}}}') as run \gset
select matches(pg_temp.keys(:'run'), '^stage, tag, roof, way, reply, answer, ab, [ab], late$', 'or she does');
select is(pg_temp.step(:'run', 'answer') #>> '{input,title}', 'Yes!', 'and this is what she says');
select is(pg_temp.step(:'run', 'late') ->> 'verdict', 'run', 'within the day');
select is(pg_temp.step(ridgeline.test_workflow(:'flow', '{"contact": {"first_name": "Zoe", "phone": "+15125550199"}}'), 'nudge') #>> '{input,to}',
  '+15125550199', 'made-up records go the same way');
select is(ridgeline.test_workflow(:'flow', '{"contact": {"stage": "won"}}') #>> '{ended,code}', 'exit_conditions',
  'exit conditions are asked before each step');
select is(ridgeline.test_workflow(:'flow', '{"contact": {"stage": "won"}}') #>> '{ended,status}', 'cancelled', 'and end the run');
select is(ridgeline.test_workflow(:'flow', '{"contact": {"stage": "won"}}') #>> '{path}', '[]', 'before it has done anything');

select is((ridgeline.test_workflow(:'flow', :'for_maria', '{"at": "2026-12-24T09:00:00Z"}') #>> '{path,0,at}')::timestamptz,
  '2026-12-24 09:00+00'::timestamptz, 'it can begin at any time');

-- A version instead of the draft.
update ridgeline.workflows set is_active = true where id = :'flow';
update ridgeline.workflow_steps set step_config = '{"stage": "lost"}' where workflow_id = :'flow' and step_key = 'stage';
select is(pg_temp.step(ridgeline.test_workflow(:'flow', :'for_maria'), 'stage') #>> '{input,stage}', 'lost', 'the draft');
select is(pg_temp.step(ridgeline.test_workflow(:'flow', :'for_maria', '{"version": 1}'), 'stage') #>> '{input,stage}', 'contacted', 'the version');
select matches(pg_temp.keys(ridgeline.test_workflow(:'flow', :'for_maria')), '^stage, tag, roof, way, no$', 'another way');
select is(ridgeline.test_workflow(:'flow', :'for_maria') #>> '{ended,status}', 'completed', 'that ends at the stop');
update ridgeline.workflow_steps set step_type = 'wait', step_config = '{"until": "{{contact.custom_fields.never}}"}' where workflow_id = :'flow' and step_key = 'tag';
select is(ridgeline.test_workflow(:'flow', :'for_maria') #>> '{ended,status}', 'failed', 'a step that would fail is shown to fail');
select is(ridgeline.test_workflow(:'flow', :'for_maria') #>> '{path,1,reason,message}', 'until: there is no date to wait for', 'and why');
select is(ridgeline.test_workflow(:'flow', :'for_maria') #>> '{ended,step}', 'tag', 'and where');

select is((select c.stage from public.contacts as c where c.id = :'maria'), 'new', 'nothing has changed');
update ridgeline.workflows set is_active = false where id = :'flow';
select is(pg_temp.rows_written(), :before::bigint, 'no row was written');

-- Delays, and a wait for what has passed: when a step is due is asked of one place, in a run and dry.
select pg_temp.draft(:'apex', 'manual', '{}', '[
  {"type": "wait", "key": "visit", "config": {"until": "2026-05-31T12:00:00Z"}},
  {"type": "create_task", "key": "after", "config": {"title": "Call"}, "delay": 2880},
  {"type": "create_task", "key": "soon", "config": {"title": "Call"}, "delay": 60}]') as past \gset
select ridgeline.test_workflow(:'past', :'for_maria') as run \gset
update ridgeline.workflows set is_active = true where id = :'past';
select (ridgeline.execute_workflow(:'past', :'for_maria')).id as really \gset
select pg_temp.settle();
select is((select q.run_at from ridgeline.scheduled_steps as q where q.execution_id = :'really'), (pg_temp.step(:'run', 'after') ->> 'at')::timestamptz, 'a wait for what has passed delays what follows as it does for real');
select is((pg_temp.step(:'run', 'after') ->> 'at')::timestamptz, '2026-06-03 12:00+00'::timestamptz, 'by no more than its own delay');
select is((pg_temp.step(:'run', 'soon') ->> 'at')::timestamptz, '2026-06-03 13:00+00'::timestamptz, 'and what comes after that by its own');
update ridgeline.workflows set is_active = false where id = :'past';

-- Bad options name themselves.
select throws_ok(format('select ridgeline.test_workflow(%L, %L, %L)', :'flow', :'for_maria', options), '22023', message, options)
from (values
  ('{"version": "latest"}', 'options.version: a version number is needed'),
  ('{"at": "noon"}', 'options.at: a time is needed'),
  ('{"events": []}', 'options.events: an object is needed'),
  ('{"clock": 1}', 'options.clock: there is no such option')
) as v (options, message);
select throws_ok(format('select ridgeline.test_workflow(%L, %L, %L)', :'flow', :'for_maria', '{"version": 7}'), 'PT404',
  'options.version: there is no version 7', 'a version that there is not');
select pg_temp.sign_in(pg_temp.member(pg_temp.tenant('Blue Ridge Solar')));
select throws_ok(format('select ridgeline.test_workflow(%L)', :'flow'), 'PT404', null, 'others cannot look');
select pg_temp.sign_out();
select pg_temp.sign_in(pg_temp.member(:'apex'));
select lives_ok(format('select ridgeline.test_workflow(%L, %L)', :'flow', :'for_maria'), 'members can');
select * from finish();
rollback;

-- A step of a kind that Ridgeline does not have, added as CONTRIBUTING.md says: one place, a function for each
-- question and the row in the registry. It is then checked, published, tried and run like any other.
begin;
\ir ../foundation/story.psql
select plan(31);

select pg_temp.tenant() as apex \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset

-- It is nobody's yet.
select throws_ok($$select automation.step_fold('rate_lead', '{}')$$, '22023', 'step_type: there is no step "rate_lead"',
  'a type that is not in the registry is refused, not taken for one that does nothing');
select is(count(*), 0::bigint, 'by every question')
from automation.step_questions() as q
where coalesce(pg_temp.error_of(format('select automation.step_%s(''rate_lead'', %s)', q.name, (
    select string_agg('null', ', ') from regexp_split_to_table(q.passed, ',')))), '') not like '%there is no step "rate_lead"%';
select is(automation.channel_of('rate_lead'), null, 'nor has it a channel');

-- The place.
create function automation.fold_rate_lead(config jsonb) returns jsonb
  language plpgsql immutable
  as $$ begin return automation.fold_key(automation.without_blanks(config), 'stars', '{rating}'); end; $$;
create function automation.check_rate_lead(config jsonb, path text) returns jsonb
  language plpgsql stable
  as $$
begin
  return case when config -> 'stars' = '6' then jsonb_build_array(
    automation.problem(path || '.stars', 'out_of_range', 'stars: nobody has six')) else '[]' end;
end;
$$;
create function automation.needs_rate_lead(workflow ridgeline.workflows, step jsonb, scope jsonb) returns jsonb
  language plpgsql stable
  as $$ begin return automation.needs_record(step, scope, 'contact'); end; $$;
create function automation.writes_rate_lead(step jsonb, fired text) returns automation.step_write[]
  language plpgsql stable
  as $$ begin return array[row('contact', false, '{"lead_score": []}')::automation.step_write]; end; $$;
create function automation.imagine_rate_lead(
  execution ridgeline.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns automation.imagined
  language plpgsql stable
  as $$
begin
  return automation.imagine_write(execution, 'contact', jsonb_build_object('lead_score', 20 * (input ->> 'stars')::numeric));
end;
$$;
create function automation.perform_rate_lead(execution ridgeline.workflow_executions, step jsonb, input jsonb) returns jsonb
  language plpgsql
  as $$
begin
  return automation.update_fields(execution, 'contact', jsonb_build_object('lead_score', 20 * (input ->> 'stars')::numeric));
end;
$$;
select automation.register_step('rate_lead', 'database', null, 'Rates the contact.', '{
  "required": ["stars"],
  "properties": {"stars": {"type": ["number", "string"], "format": "amount", "description": "How many."}},
  "examples": [{"stars": 5}]}') \g /dev/null

-- It is published like any other: its own spelling, its schema, its checks, what it needs.
create function pg_temp.refusal(config text, trigger_type text default 'contact_created', given text default '{}') returns text
  language sql
  as $$
    select regexp_replace(pg_temp.error_of(format('select pg_temp.workflow(%L, %L, %L, %L)',
      (select t.id from public.tenants as t limit 1), trigger_type, given, format('[{"type": "rate_lead", "config": %s}]', config))),
      '^22023 workflow ".*" cannot be published: steps\[0\]\.step_config', '')
  $$;
select is(pg_temp.refusal('{}'), '.stars: rate_lead needs stars | detail lists every problem with its path', 'what its schema asks for');
select is(pg_temp.refusal('{"stars": "many"}'), '.stars: stars must be a number of at least 0 | For example 3, 1.5 or "{{ contact.custom_fields.days }}".', 'in the type it says');
select is(pg_temp.refusal('{"stars": 6}'), '.stars: stars: nobody has six | detail lists every problem with its path', 'what it checks itself');
select alike(pg_temp.refusal('{"stars": 5, "star": 5}'), '.star: rate_lead does not know "star" | Did you mean stars?%', 'a slip of the finger');
select alike(pg_temp.refusal('{"stars": 5}', 'scheduled', '{"cron": "0 9 * * *"}'),
  ': rate_lead has no contact to work on: this trigger brings none%', 'and a record to work on');

select pg_temp.workflow(:'apex', 'contact_created', '{}', '[
  {"key": "rate", "type": "rate_lead", "config": {"rating": "{{contact.custom_fields.stars}}"}},
  {"key": "high", "type": "add_tag", "config": {"tag": "hot"},
   "conditions": [{"field": "contact.lead_score", "operator": "greater_than", "value": 50}]}]') as flow \gset
select is((select v.plan #>> '{steps,rate,config,base,stars}' from ridgeline.workflow_versions as v where v.workflow_id = :'flow'),
  '{{contact.custom_fields.stars}}', 'published in the spelling of its schema');
select is((select s.lane from ridgeline.workflow_schemas as s where s.name = 'rate_lead'), 'database', 'programs find its schema');

-- It is tried: what comes after sees what it would have done, and what its table refuses is told.
update public.contacts set custom_fields = '{"stars": 4}' where id = :'maria';
select ridgeline.test_workflow(:'flow', jsonb_build_object('contact_id', :'maria')) as tried \gset
select is(:'tried'::jsonb #>> '{path,0,verdict}', 'run', 'the dry run says what it would do');
select is(:'tried'::jsonb #>> '{path,1,verdict}', 'run', 'and the step after it sees that');
select is(ridgeline.test_workflow(:'flow', '{"contact": {"custom_fields": {"stars": "999999999"}}}') #>> '{path,0,verdict}',
  'fail', 'what the column cannot hold is refused');

-- It runs.
insert into public.contacts (tenant_id, id, first_name, custom_fields)
values (:'apex', '00000000-0000-4000-8000-0000000000c9', 'Otto', '{"stars": 3}');
select pg_temp.settle() \g /dev/null
select is((select c.lead_score from public.contacts as c where c.first_name = 'Otto'), 60, 'and does it');
select is((select string_agg(t.name, ', ') from public.contact_tags as l join public.tags as t on t.id = l.tag_id
  where l.contact_id = '00000000-0000-4000-8000-0000000000c9'), 'hot', 'and the run goes on');

-- What it does is taken out again: a run that comes there fails, and says why. The type itself stays while there is
-- a step of it.
select throws_ok($$delete from automation.step_types where name = 'rate_lead'$$, '23503', null, 'a type that is used is not dropped');
drop function automation.perform_rate_lead(ridgeline.workflow_executions, jsonb, jsonb);
select automation.generate_steps() \g /dev/null
insert into public.contacts (tenant_id, id, first_name, custom_fields)
values (:'apex', '00000000-0000-4000-8000-0000000000ca', 'Zoe', '{"stars": 3}');
select pg_temp.settle() \g /dev/null
select is((select concat_ws(' ', e.status, e.error ->> 'message') from ridgeline.workflow_executions as e
    where e.record_id = '00000000-0000-4000-8000-0000000000ca'),
  'failed step_type: "rate_lead" is not a step that runs in the database', 'a run whose step does nothing fails');

-- A second kind of text: everything that asks for texts asks for it as well, and nothing names it.
insert into ridgeline.senders (tenant_id, channel, address, is_default) values (:'apex', 'sms', '+15125550900', true);
create function automation.address_send_note(
  execution ridgeline.workflow_executions, prepared automation.prepared_step, options jsonb, known automation.known_records)
  returns automation.prepared_step language plpgsql stable
  as $$ begin return automation.address_sms(execution, prepared, options, known); end; $$;
create function automation.limits_send_note(input jsonb) returns jsonb language plpgsql immutable
  as $$ begin return '{"body": "sms"}'::jsonb; end; $$;
create function automation.would_send_note(execution ridgeline.workflow_executions, prepared automation.prepared_step) returns jsonb
  language plpgsql stable as $$ begin return jsonb_build_object('note_to', prepared.recipient); end; $$;
create function automation.log_send_note(
  execution ridgeline.workflow_executions, ledger ridgeline.workflow_step_executions) returns boolean
  language plpgsql as $$ begin return automation.log_send_sms(execution, ledger); end; $$;
select automation.register_step('send_note', 'sms', null, 'Sends a note.', '{
  "required": ["body"], "properties": {"body": {"type": "string", "format": "template", "description": "The note."}},
  "examples": [{"body": "Hi"}]}') \g /dev/null
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "note", "type": "send_note", "config": {"body": "Hi {{custom.more}}"}}]') as note \gset
create function pg_temp.note(workflow uuid, contact uuid, more text default '') returns automation.claimed_step
  language plpgsql
  as $$
declare
  claimed automation.claimed_step;
begin
  perform ridgeline.execute_workflow(workflow, jsonb_build_object('contact_id', contact, 'custom', jsonb_build_object('more', more)));
  select c.* into claimed from automation.claim_steps('w', 10) as c;
  return claimed;
end;
$$;
select pg_temp.note(:'note', :'maria') as claimed \gset
select is((:'claimed'::automation.claimed_step).payload ->> 'to', '+15125550100', 'it is addressed');
select is(pg_temp.finish(:'claimed', 'succeeded', '{"result": {"provider_id": "SM1"}}'), 'completed', 'and sent');
select is((select concat_ws(' ', m.direction, m.to_number, m.body) from ridgeline.messages as m), 'outbound +15125550100 Hi ', 'on record as a message');
select ok(automation.types_on('sms') @> '{send_note,send_sms}', 'one of the texts');
select is(automation.texts_in_answer(:'apex', '+15125550100', interval '1 hour', gen_random_uuid(), 10), 0, 'nobody has written yet');
select automation.advance_clock('1 minute') \g /dev/null
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body, provider_id)
values (:'apex', :'maria', 'inbound', '+15125550100', '+15125550900', 'Thanks!', 'SM2');
select isnt((select s.replied_at from ridgeline.workflow_step_executions as s where s.step_type = 'send_note'), null, 'who writes back has answered it');
select automation.sent_by('ridgeline.messages', 'twilio', 'SM1') as sender \gset
select is(:'sender'::uuid, :'apex'::uuid, 'news of it is the news of who sent it');
select pg_temp.note(:'note', :'maria') as second \gset
select is(automation.texts_in_answer(:'apex', '+15125550100', interval '1 hour', gen_random_uuid(), 10), 1, 'and one in answer to her counts as one');
select pg_temp.note(:'note', :'maria', repeat('x', 2000)) \g /dev/null
select is((pg_temp.only_run(:'note')).error ->> 'message', 'body: has 2003 characters; at most 1600 are possible', 'it is bounded as it says');
update ridgeline.workflows set mode = 'shadow' where id = :'note';
select pg_temp.note(:'note', :'maria') \g /dev/null
select is((select s.error -> 'would' from ridgeline.workflow_step_executions as s where s.execution_id = (pg_temp.only_run(:'note')).id),
  '{"action": "send_note", "note_to": "+15125550100"}', 'a shadow says what it would have sent');

-- And one that only waits: for an event of its own, in a shadow too.
create function automation.hears_listen(step jsonb) returns jsonb language plpgsql immutable
  as $$ begin return step #> '{config,base,for}'; end; $$;
create function automation.perform_listen(execution ridgeline.workflow_executions, step jsonb, input jsonb) returns jsonb
  language plpgsql as $$ begin return automation.wait(execution, step ->> 'key', jsonb_build_object('event', input -> 'for', 'timeout', '2 hours')); end; $$;
select automation.register_step('listen', 'database', '{event,timeout}', 'Listens.', '{
  "required": ["for"], "properties": {"for": {"type": "string", "description": "The event."}}, "examples": [{"for": "sms_received"}]}',
  has_effect => false) \g /dev/null
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"key": "ear", "type": "listen", "config": {"for": "sms_received"}},
  {"key": "tag", "type": "add_tag", "config": {"tag": "heard"}}]') as listener \gset
select is((select array[t.role, t.event, t.listener] from automation.active_triggers as t where t.workflow_id = :'listener' and t.role = 'wait'),
  '{wait,sms_received,ear}', 'what it hears is listened to');
select is(automation.has_effect('listen'), false, 'it does nothing to anybody');
update ridgeline.workflows set mode = 'shadow' where id = :'listener';
select ridgeline.execute_workflow(:'listener', jsonb_build_object('contact_id', :'maria')) \g /dev/null
select pg_temp.settle() \g /dev/null
select is((pg_temp.only_run(:'listener')).status, 'waiting', 'so that a shadow listens as well');
insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body, provider_id)
values (:'apex', :'maria', 'inbound', '+15125550100', '+15125550900', 'Me again', 'SM3');
select automation.run_signals() \g /dev/null
select pg_temp.settle() \g /dev/null
select is((select string_agg(concat_ws(' ', s.step_key, s.status), ', ' order by s.seq) from ridgeline.workflow_step_executions as s
  where s.execution_id = (pg_temp.only_run(:'listener')).id), 'ear completed, tag skipped', 'and hears');

select * from finish();
rollback;

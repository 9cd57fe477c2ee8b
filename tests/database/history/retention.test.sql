-- What an office keeps of its history, and how it goes: a portion at a time, and nothing that is still needed.
begin;
\ir ../foundation/story.psql
select plan(39);
alter table public.tenants alter column text_strangers set default true;

create function pg_temp.passes(length interval) returns void
  language sql as $$ select automation.advance_clock(length) $$;
-- A tick's worth of pruning; in a transaction of the caller's, so without its commits.
create function pg_temp.prune(most integer default 1000) returns integer
  language plpgsql
  as $$
declare
  place automation.retention_places;
  pruned integer := 0;
begin
  update automation.retention_places set next_at = '-infinity';
  update automation.retention_places set next_at = '-infinity', began_at = '-infinity', portion = most
  where kind <> 'tenants';
  for turn in 1 .. 100 loop
    place := automation.begin_retention();
    exit when place.tenant_id is null;
    pruned := pruned + automation.run_retention(place);
  end loop;
  return pruned;
end;
$$;
create function pg_temp.work() returns void
  language plpgsql
  as $$
begin
  for n in 1 .. 3 loop
    perform automation.tick();
    perform automation.finish_steps(coalesce(jsonb_agg(jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id,
      'attempt_token', c.attempt_token, 'outcome', 'succeeded', 'result', jsonb_build_object('provider_id', c.step_id))), '[]'))
    from automation.claim_steps('w', 100) as c;
  end loop;
end;
$$;

-- Bounds that every id keeps.
select ok(automation.first_id(clock_timestamp() - interval '1 second') < automation.new_id(), 'an id comes after the second before it');
select ok(automation.first_id(clock_timestamp() + interval '1 second') > automation.new_id(), 'and before the second after it');
select is(automation.first_id('1900-01-01'), '00000000-0000-0000-0000-000000000000', 'however early the time');

select pg_temp.tenant() as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "send_sms", "key": "hello", "config": {"body": "Hi {{contact.first_name}}"}}, {"type": "create_task", "config": {"title": "Call"}}]', settings => '{"reentry": "never"}') as welcome \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', '[{"type": "wait", "config": {"event": "sms_received", "timeout": "700 days"}}, {"type": "send_sms", "config": {"body": "Two years!"}}]') as years \gset
select pg_temp.workflow(:'blue', 'contact_created', '{}', '[{"type": "send_sms", "config": {"body": "Sun"}}]') as sun \gset
select pg_temp.contact(:'apex') as maria \gset
select pg_temp.contact(:'blue', 'Omar', '+15125550101') as omar \gset
select pg_temp.work();
select is((select array_agg(status::text order by status::text) from ridgeline.workflow_executions), '{completed,completed,waiting}', 'two runs are done, one waits for years');
select is(pg_temp.prune(), 0, 'what is young stays');

select pg_temp.passes('91 days');
select is(pg_temp.prune(), 3, 'after ninety days what the ended steps were told goes');
select is((select count(*) from ridgeline.workflow_step_executions where input is not null), 1::bigint, 'and nothing of a step that has not ended');
select is((select count(*) from ridgeline.messages where body = 'Hi Maria'), 1::bigint, 'what was said is the office''s to keep');
select is((select count(*) from ridgeline.workflow_executions), 3::bigint, 'runs stay');
select is(pg_temp.prune(), 0, 'nothing goes twice');

-- Thirteen months.
select pg_temp.passes('300 days');
select is(pg_temp.prune(), 0, 'a run of twelve months and a half is still there');
select pg_temp.passes('10 days');
select is(pg_temp.prune(1), 2, 'after thirteen months the ended runs go, however small the portions');
select is((select array_agg(status::text) from ridgeline.workflow_executions), '{waiting}', 'and the one that waits does not');
select is((select count(*) from ridgeline.workflow_step_executions s where not exists (select from ridgeline.workflow_executions e where e.id = s.execution_id)), 0::bigint, 'with their steps');
select is((select count(*) from automation.entries), 1::bigint, 'who entered is remembered');
select is((automation.let_in(
    array[jsonb_populate_record(null::ridgeline.workflow_executions, jsonb_build_object('tenant_id', :'apex', 'id', gen_random_uuid(), 'workflow_id', :'welcome', 'entity', 'contact', 'record_id', :'maria'))],
    array[plan -> 'lifecycle'], array[automation.record_key('contact', :'maria')]))[1] ->> 'code', 'already_entered', 'and does not enter again')
from ridgeline.workflow_versions where workflow_id = :'welcome';
select pg_temp.passes('300 days');
select pg_temp.work();
select is((select count(*) from ridgeline.messages where body = 'Two years!'), 1::bigint, 'what waited for years goes on');
select pg_temp.passes('92 days');
select is(pg_temp.prune(), 2, 'and is met on a later walk');

-- A run that had done nothing lets its record in again, now and when history has forgotten it.
select pg_temp.workflow(:'apex', 'manual', '{}', '[{"type": "wait", "config": {"days": 1}}, {"type": "create_task", "config": {"title": "Call"}}]', settings => '{"reentry": "never"}') as once \gset
select (ridgeline.execute_workflow(:'once', jsonb_build_object('contact_id', :'maria'))).id as first \gset
select automation.tick();
select ridgeline.cancel_execution(:'first');
select pg_temp.passes('500 days');
select pg_temp.prune();
select is((select count(*) from ridgeline.workflow_executions where id = :'first'), 0::bigint, 'a run that was cancelled before it did anything is gone');
select (ridgeline.execute_workflow(:'once', jsonb_build_object('contact_id', :'maria'))).id as second \gset
select automation.tick();
select is((select status::text from ridgeline.workflow_executions where id = :'second'), 'waiting', 'and keeps nobody out');
-- Before the workflow had a rule.
select pg_temp.workflow(:'apex', 'manual') as ruled \gset
select ridgeline.execute_workflow(:'ruled', jsonb_build_object('contact_id', :'maria'));
select automation.tick();
update ridgeline.workflows set settings = '{"reentry": "never"}' where id = :'ruled';
select ridgeline.publish_workflow(:'ruled');
select pg_temp.passes('500 days');
select pg_temp.prune();
select (ridgeline.execute_workflow(:'ruled', jsonb_build_object('contact_id', :'maria'))).id as again \gset
select automation.tick();
select is((select error ->> 'code' from ridgeline.workflow_executions where id = :'again'), 'already_entered', 'a run from before the rule counts when it is gone, too');

-- A send that may have gone out keeps its words; retrying what is gone says so.
select pg_temp.contact(:'apex', 'Ann', '+15125550102') as ann \gset
select automation.tick();
select automation.finish_steps(jsonb_agg(jsonb_build_object('tenant_id', c.tenant_id, 'step_id', c.step_id, 'attempt_token', c.attempt_token, 'outcome', 'failed', 'error', '{"code": "x", "message": "x", "may_have_been_sent": true}'::jsonb))) from automation.claim_steps('w', 100) as c;
select pg_temp.passes('100 days');
select pg_temp.prune();
select is((select input ->> 'body' from ridgeline.workflow_step_executions where status = 'failed' and step_key = 'hello'), 'Hi Ann', 'what may have been sent keeps its words, to be looked up by them');
select id as failed from ridgeline.workflow_executions where status = 'failed' \gset
select pg_temp.passes('500 days');
select pg_temp.prune();
select throws_ok(format('select ridgeline.retry_execution(%L)', :'failed'), 'PT404');

-- What outlives a run: the key of the project that it made, what was agreed to, and the way out of its emails.
select pg_temp.tenant('Cedar Fence') as cedar \gset
update public.tenants set address = '1 Main St, Austin TX 78701' where id = :'cedar';
insert into ridgeline.senders (tenant_id, channel, address, is_default) values (:'cedar', 'email', 'office@cedar.example', true);
select pg_temp.workflow(:'cedar', 'manual', '{}', '[{"type": "create_project", "config": {"name": "Fence", "key": "fence"}}, {"type": "send_email", "config": {"subject": "An offer", "text": "Now", "purpose": "marketing"}}]') as fence \gset
select pg_temp.contact(:'cedar', 'Ned', '+15125550103') as ned \gset
update public.contacts set email = 'ned@example.com' where id = :'ned';
select ridgeline.grant_consent('email', 'ned@example.com', 'He asked for offers', tenant_id => :'cedar');
select (ridgeline.execute_workflow(:'fence', jsonb_build_object('contact_id', :'ned'))).id as made \gset
select automation.tick();
select automation.claim_steps('w', 1) as claimed \gset
select (:'claimed'::automation.claimed_step).payload #>> '{unsubscribe,token}' as token \gset
select automation.finish_steps(jsonb_build_array(jsonb_build_object('tenant_id', :'cedar', 'step_id', (:'claimed'::automation.claimed_step).step_id,
  'attempt_token', (:'claimed'::automation.claimed_step).attempt_token, 'outcome', 'succeeded', 'result', '{"provider_id": "em_1"}'::jsonb)));
select is((select status::text from ridgeline.workflow_executions where id = :'made'), 'completed', 'a project and an email');
select pg_temp.passes('500 days');
select pg_temp.prune();
select is((select count(*) from ridgeline.workflow_executions where id = :'made'), 0::bigint, 'are history, and the run is gone');
select is((select count(*) from automation.created_projects where tenant_id = :'cedar'), 1::bigint, 'the key of its project is not');
select is((select string_agg(status, ',') from ridgeline.consents where tenant_id = :'cedar'), 'granted', 'nor what he agreed to');
select ridgeline.execute_workflow(:'fence', jsonb_build_object('contact_id', :'ned'));
select automation.tick();
select is((select count(*) from public.projects where tenant_id = :'cedar'), 1::bigint, 'so the project is not made a second time');
select automation.unsubscribe(:'token', 'marketing');
select ok(exists (select from ridgeline.consents where tenant_id = :'cedar' and address = 'ned@example.com' and status = 'revoked'), 'and the link of his email still leads out');

-- What a tenant keeps.
update ridgeline.tenant_settings set settings = '{"retention": {"runs": "forever", "inputs": "10 days"}}' where tenant_id = :'blue';
insert into ridgeline.tenant_settings (tenant_id, settings) values (:'blue', '{"retention": {"runs": "forever", "inputs": "10 days"}}') on conflict do nothing;
select is(automation.retention_of(:'blue', 'runs'), null, 'for good');
select is(automation.retention_of(:'blue', 'inputs'), interval '10 days', 'a length of its own');
select is(automation.retention_of(:'apex', 'runs'), interval '13 months', 'as the installation does');
select throws_like(format($$update ridgeline.tenant_settings set settings = '{"retention": {"runs": "an hour or so"}}' where tenant_id = %L$$, :'blue'), '%settings: retention.runs%');
select throws_like(format($$update ridgeline.tenant_settings set settings = '{"retention": {"messages": "1 year"}}' where tenant_id = %L$$, :'blue'), '%settings: retention.messages%');
select throws_like($$update automation.settings set value = '1 day' where name = 'keep_runs'$$, '%7 days%');
select lives_ok($$update automation.settings set value = 'forever' where name = 'keep_runs'$$);
select is(automation.retention_of(:'apex', 'runs'), null, 'the installation''s word counts');
update public.tenants set settings = '{"retention": {"runs": "soon"}}' where id = :'apex';
update automation.settings set value = '2 years' where name = 'keep_runs';
select is(automation.retention_of(:'apex', 'runs'), interval '2 years', 'a slip in the CRM''s own settings deletes nothing sooner');

-- The turn of one place comes at a time, though the table was analyzed when there was one.
create temporary table places as select * from automation.retention_places;
delete from automation.retention_places;
insert into automation.retention_places select * from places limit 1;
analyze automation.retention_places;
insert into automation.retention_places select * from places on conflict do nothing;
update automation.retention_places set next_at = '-infinity';
set local enable_indexscan = off;
select lives_ok('select automation.begin_retention()', 'several are due, and one begins');
select * from finish();
rollback;

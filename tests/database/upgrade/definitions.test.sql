-- A definition as one document: saved whole or not at all, tried before it is there, and who changed it is known.
begin;
\ir ../foundation/story.psql
select plan(71);

select pg_temp.tenant() as apex \gset
select pg_temp.tenant('Bolt') as bolt \gset
select pg_temp.member(:'apex', 'admin') as ann \gset
select pg_temp.member(:'apex', 'member') as vic \gset
select pg_temp.member(:'bolt', 'admin') as bob \gset

-- What is refused says which field, and nothing is written.
create function pg_temp.refused(definition text) returns text
  language sql
  as $$ select pg_temp.error_of(format('select ridgeline.save_workflow(%L, null, %L)', definition,
    (select id from public.tenants where name = 'Apex Roofing'))) $$;
select alike(pg_temp.refused('{"trigger_type": "manual"}'), '22023 definition: name: name must be a text%', 'a name is needed');
select alike(pg_temp.refused('{"name": "A", "trigger_type": "manual", "step": []}'),
  '22023 definition: step: "step" is not known here | Known: id, name,%', 'a key that nobody knows');
select alike(pg_temp.refused('{"name": "A", "trigger_type": "manual", "steps": [{"step_type": "wait", "delay_minutes": "5"}]}'),
  '22023 definition: steps[0].delay_minutes: delay_minutes must be a number%', 'a delay that is a text');
select alike(pg_temp.refused('{"name": "A", "trigger_type": "manual", "steps": [
    {"step_type": "conditional", "branches": {"then": [{"step_type": "nap"}]}}]}'),
  '22023 step_type: there is no step "nap"%', 'a step that there is not');
select alike(pg_temp.refused('{"name": "A", "trigger_type": "manual", "steps": [
    {"step_type": "conditional", "branches": {"then": [{"step_type": "wait", "config": {}}]}}]}'),
  '22023 definition: steps[0].then[0].config: "config" is not known here%', 'within a branch too');
select is((select count(*) from ridgeline.workflows), 0::bigint, 'and nothing is left of any of them');

-- Ann saves one.
select pg_temp.sign_in(:'ann');
select ridgeline.save_workflow('{"name": "Welcome", "trigger_type": "contact_created", "settings": {"reentry": "never"},
  "steps": [
    {"step_key": "ask", "step_type": "conditional", "step_config": {"conditions": [
        {"field": "contact.type", "operator": "equals", "value": "lead"}]},
      "branches": {"then": [{"step_type": "create_task", "step_config": {"title": "Call"}}],
        "else": [{"step_type": "create_task", "step_config": {"title": "File"}}]}},
    {"step_type": "create_task", "step_config": {"title": "Done"}, "delay_minutes": 5}]}') as saved \gset
select ok((:'saved'::jsonb ->> 'saved')::boolean, 'a member saves a definition');
select :'saved'::jsonb ->> 'workflow_id' as flow \gset
select :'saved'::jsonb ->> 'revision' as first \gset
select is((select string_agg(step_config ->> 'title', ' ' order by step_config ->> 'title') from ridgeline.workflow_steps
  where workflow_id = :'flow'), 'Call Done File', 'with all steps on their branches');
select is(ridgeline.get_definition(:'flow') ->> 'revision', :'first', 'and reads it with its revision');
select is(ridgeline.get_definition(:'flow') #>> '{definition,steps,0,branches,else,0,step_config,title}', 'File',
  'as it was written');
select ridgeline.get_definition(:'flow') -> 'definition' as doc \gset
select is(ridgeline.save_workflow(:'doc', :'first') ->> 'revision', :'first', 'saved again unchanged it is the same revision');

-- Two people edit.
select ridgeline.save_workflow(jsonb_set(:'doc', '{name}', '"Hello"'), :'first') ->> 'revision' as second \gset
select isnt(:'second'::text, :'first', 'an edit is another revision');
select ridgeline.save_workflow(jsonb_set(:'doc', '{name}', '"Mine"'), :'first') as conflict \gset
select is(:'conflict'::jsonb -> 'saved', 'false', 'who edited the one before is told');
select is(:'conflict'::jsonb #>> '{conflict,definition,name}', 'Hello', 'and gets what is there now');
select is((select name from ridgeline.workflows where id = :'flow'), 'Hello', 'nothing was written');
select alike(pg_temp.error_of(format('select ridgeline.save_workflow(%L)', :'doc')), '22023 base_revision: this workflow exists%',
  'writing over it unseen is refused');
update ridgeline.workflow_steps set enabled = false where workflow_id = :'flow' and delay_minutes = 5;
select is(ridgeline.save_workflow(:'doc', :'second') -> 'saved', 'false', 'an edit of a single row counts too');

-- Checked and tried before it is there.
select is(ridgeline.validate_definition('{"name": "B", "trigger_type": "contact_created", "steps": [
    {"step_type": "send_sms", "step_config": {}}]}') #>> '{problems,0,path}', 'steps[0].step_config.body', 'a draft is checked');
select is(ridgeline.test_definition(:'doc', '{"contact": {"type": "lead"}}') #>> '{path,1,input,title}', 'Call', 'and tried');
select is((select count(*) from ridgeline.workflows), 1::bigint, 'and leaves nothing behind');

-- A version keeps what it was, and who said what.
select is((ridgeline.publish_workflow(:'flow', note => 'Ready for spring')).version, 1, 'it is published');
select is(ridgeline.get_definition(:'flow', 1) #>> '{definition,name}', 'Hello', 'the version keeps its source');
select is(ridgeline.get_definition(:'flow', 1) ->> 'note', 'Ready for spring', 'its note');
select is(ridgeline.get_definition(:'flow', 1) ->> 'author', :'ann', 'and its author');

-- Who changed what.
select is((select string_agg(operation, ' ' order by id) from ridgeline.changes where workflow_id = :'flow'),
  'insert save update save update update', 'each change is on record');
select ok(bool_and(user_id = :'ann'), 'with who made it') from ridgeline.changes where workflow_id = :'flow';
select is(source ->> 'role', 'authenticated', 'and from where') from ridgeline.changes
where workflow_id = :'flow' and operation = 'insert';
select is(after, '{"enabled": false}', 'of an update what changed')
from ridgeline.changes where relation = 'ridgeline.workflow_steps';

-- Others: what the CRM calls a member looks only.
select pg_temp.sign_out();
select automation.attach_members('public.tenant_members', roles => '{"member": "viewer"}');
select pg_temp.sign_in(:'vic');
select alike(pg_temp.error_of(format('select ridgeline.save_workflow(%L, %L)', :'doc', :'second')), '42501 role: %', 'a viewer saves nothing');
select alike(pg_temp.error_of(format('select ridgeline.test_definition(%L)', :'doc')), '42501 role: %', 'and tries nothing');
select is((select count(*) from ridgeline.changes), 0::bigint, 'nor sees who changed what');
select pg_temp.sign_in(:'bob');
select alike(pg_temp.error_of(format('select ridgeline.get_definition(%L)', :'flow')), 'PT404 %', 'another office sees nothing of it');
select alike(pg_temp.error_of(format('select ridgeline.save_workflow(%L, %L, %L)', :'doc', :'second', :'apex')), 'PT404 %', 'nor writes there');
select pg_temp.sign_out();

-- Members are the CRM's rows; who made whom one is on record with us.
select is((select string_agg(concat_ws(' ', c.operation, c.after ->> 'role'), ', ' order by c.id) from ridgeline.changes as c
  where c.relation = 'public.tenant_members' and c.record_id = :'vic'), 'insert member', 'who became a member');
update public.tenant_members set role = 'admin' where user_id = :'vic';
select is((select array[c.before, c.after] from ridgeline.changes as c where c.relation = 'public.tenant_members' and c.operation = 'update'),
  array[jsonb_build_object('user', :'vic', 'role', 'member'), jsonb_build_object('user', :'vic', 'role', 'admin')], 'whose role is another');
update public.tenant_members set full_name = 'Victor' where user_id = :'vic';
delete from public.tenant_members where user_id = :'vic';
select is((select string_agg(c.operation, ' ' order by c.id) from ridgeline.changes as c where c.relation = 'public.tenant_members' and c.record_id = :'vic'),
  'insert update delete', 'and who is one no more: nothing else of them');

-- Who the office speaks as, its forms, its settings.
insert into ridgeline.senders (tenant_id, channel, address) values (:'bolt', 'sms', '+15125550901');
update ridgeline.senders set label = 'Front desk' where tenant_id = :'bolt';
insert into ridgeline.forms (tenant_id, name) values (:'bolt', 'Estimate');
update ridgeline.forms set is_active = false where tenant_id = :'bolt';
delete from ridgeline.forms where tenant_id = :'bolt';
insert into ridgeline.tenant_settings (tenant_id, website) values (:'bolt', 'https://bolt.example');
update ridgeline.tenant_settings set website = 'https://bolt.example/roofs' where tenant_id = :'bolt';
select is((select string_agg(concat_ws(' ', split_part(c.relation, '.', 2), c.operation, c.after ->> 'label', c.after ->> 'is_active', c.before ->> 'website'), ', ' order by c.id)
  from ridgeline.changes as c where c.tenant_id = :'bolt' and c.relation in ('ridgeline.senders', 'ridgeline.forms', 'ridgeline.tenant_settings')),
  'senders insert true, senders update Front desk, forms insert true, forms update false, forms delete, tenant_settings insert, tenant_settings update https://bolt.example',
  'what is changed of senders, forms and settings');

select ridgeline.set_secret('twilio', '{"account_sid": "AC1"}', :'bolt') from generate_series(1, 2) \g /dev/null
select ridgeline.delete_secret('twilio', :'bolt') \g /dev/null
select is((select string_agg(concat_ws(' ', c.operation, c.record_id, c.before, c.after), ', ' order by c.id) from ridgeline.changes as c where c.relation = 'vault.secrets'),
  'insert twilio, update twilio, delete twilio', 'and of secrets, which senders name, that they were');

-- From where: a caller writes the beginning of what it says, and proxies the end.
select set_config('request.headers', jsonb_build_object('x-forwarded-for', repeat('1.1.1.1, ', 25) || '203.0.113.7')::text, true) \g /dev/null
update ridgeline.tenant_settings set website = 'https://bolt.example' where tenant_id = :'bolt';
select set_config('request.headers', '', true) \g /dev/null
select alike((select c.source ->> 'address' from ridgeline.changes as c where c.tenant_id = :'bolt' order by c.id desc limit 1), '%.1, 203.0.113.7',
  'however much a caller says of itself, the address is on record');

-- How the CRM is mapped.
create function pg_temp.mappings() returns text
  language sql
  as $$ select string_agg(concat_ws(' ', c.relation, c.record_id, c.operation, c.before -> 'related', c.after -> 'related'), ', ' order by c.id)
    from ridgeline.changes as c where c.relation ~ '^automation\.(entities|targets|tenancy)$' $$;
select automation.attach('public.jobs', 'job', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]', authors => 'members');
select is(pg_temp.mappings(), null, 'attaching a table again as it is changes nothing');
select automation.attach('public.jobs', 'job', '{"contact": "contact_id", "project": null}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]', authors => 'members');
select is(pg_temp.mappings(), 'automation.entities job update {"contact": "contact_id", "project": "project_id"} {"contact": "contact_id"}', 'another mapping is, with what it was');
select automation.detach('invoice');
select matches(pg_temp.mappings(), ', automation.entities invoice delete ', 'and so is taking a table away');

-- A change that cannot be written down does not fail the write.
update automation.settings set value = '4' where name = 'max_attempts';
select is((select after from ridgeline.changes where record_id = 'max_attempts'), '{"value": "4"}', 'settings are watched');
alter table ridgeline.changes add constraint full_disk check (record_id <> 'max_attempts') not valid;
select lives_ok($$update automation.settings set value = '5' where name = 'max_attempts'$$, 'what cannot be noted is done all the same');

-- It is not kept for good.
select count(*) as kept from ridgeline.changes \gset
insert into ridgeline.changes (tenant_id, changed_at, relation, record_id, operation)
values (:'apex', automation.now() - interval '25 months', 'ridgeline.workflows', 'x', 'update');
select automation.prune();
select is((select count(*) from ridgeline.changes), :kept::bigint, 'what is older than keep_changes goes');

-- Alive?
select is(ridgeline.engine_status() -> 'is_alive', 'false', 'before the first tick the engine is not alive');
select is(ridgeline.engine_status() -> 'last_tick', 'null', 'and there was none');
select clock_timestamp() as before_tick \gset
select automation.tick();
select is(ridgeline.engine_status() -> 'is_alive', 'true', 'after it it is');
select ok((ridgeline.engine_status() ->> 'last_tick')::timestamptz between :'before_tick' and clock_timestamp(), 'and says when that was, by the real clock');
select automation.advance_clock('2 hours');
select ok((ridgeline.engine_status() ->> 'ahead_by')::interval - (automation.now() - now()) = interval '0'
  and (ridgeline.engine_status() ->> 'ahead_by')::interval > interval '1 hour', 'a clock that was put on is seen');
select is(ridgeline.engine_status() -> 'oldest_due', 'null', 'nothing is due');
select pg_temp.workflow(:'bolt', 'manual') as slow \gset
select pg_temp.contact(:'bolt', 'Una') as una \gset
select automation.now() as called \gset
select ridgeline.execute_workflow(:'slow', jsonb_build_object('contact_id', :'una'));
select automation.advance_clock('4 minutes');
select is((ridgeline.engine_status() ->> 'oldest_due')::timestamptz, :'called'::timestamptz, 'then something is, since it was called');
select is(ridgeline.engine_status() -> 'due', '1', 'one step');
select is(ridgeline.engine_status() -> 'is_alive', 'true', 'for four minutes');
select automation.advance_clock('2 minutes');
select is(ridgeline.engine_status() -> 'is_alive', 'false', 'after more than five nobody seems to work');
select pg_temp.sign_in(:'ann');
select is(ridgeline.engine_status() -> 'due', '0', 'another office sees none of it');
select pg_temp.sign_out();
select pg_temp.settle();
select is(ridgeline.engine_status() ->> 'version', automation.version(), 'and says which it is');

-- Many again, a few a minute.
select pg_temp.workflow(:'bolt', 'contact_created', '{}',
  '[{"type": "update_field", "config": {"field": "contact.assigned_to", "value": "nobody"}}]') as broken \gset
select pg_temp.contact(:'bolt', 'C' || n) from generate_series(1, 4) as n;
select pg_temp.settle();
select is(ridgeline.retry_executions('{}', 2, :'bolt'), '{"retried": 4, "refused": []}', 'all that failed are tried again');
select is((select max(run_at) - min(run_at) from ridgeline.scheduled_steps where tenant_id = :'bolt'), interval '90 seconds',
  'two a minute');
select is(string_agg(q.state || ' ' || coalesce(q.held_by, '-') || ' ' || q.steps, ', ' order by q.state), 'due - 1, held retry 3',
  'and the queue says why they wait') from ridgeline.automation_queue as q where q.tenant_id = :'bolt';
-- The next call goes on where that one ended; what is history of another engine, and came first, is nobody's to run again.
insert into ridgeline.workflow_executions (tenant_id, workflow_id, version, mode, trigger_type, trigger_data, status, error, created_at, started_at, finished_at)
select :'bolt', :'broken', 1, 'imported', 'contact_created', '{}', 'failed', '{"code": "old"}', '2020-01-01', '2020-01-01', '2020-01-01' from generate_series(1, 3);
select pg_temp.contact(:'bolt', 'D' || n) from generate_series(1, 2) as n;
select pg_temp.settle();
select is(ridgeline.retry_executions('{"limit": 2}', 2, :'bolt') - 'after', '{"retried": 2, "refused": []}', 'two more have failed since');
select is((select max(run_at) - automation.now() from ridgeline.scheduled_steps where tenant_id = :'bolt'), interval '150 seconds',
  'and wait for their turn');
select alike(pg_temp.error_of(format('select ridgeline.retry_executions(%L, 60, %L)', '{"workflow": 1}', :'bolt')),
  '22023 filter: filter.workflow: "workflow" is not known here%', 'a filter that nobody knows is refused');

-- One of them is cancelled, and the one that was put off longest: its turn is the next one's.
select (ridgeline.cancel_execution((select execution_id from ridgeline.scheduled_steps where tenant_id = :'bolt' order by run_at desc limit 1))).status \gset
-- Many stand before it that no release can run any more.
insert into ridgeline.workflow_executions (tenant_id, workflow_id, version, trigger_type, trigger_data, status, error, created_at, started_at, finished_at)
select :'bolt', :'broken', 99, 'contact_created', '{}', 'failed', '{"code": "old"}', '2020-01-01', '2020-01-01', '2020-01-01' from generate_series(1, 501);
select pg_temp.contact(:'bolt', 'E' || n) from generate_series(1, 2) as n;
select pg_temp.settle();
-- Called as a caller does, since a call that has had its time ends sooner.
create function pg_temp.until_one(office uuid) returns jsonb
  language plpgsql
  as $$
  declare
    told jsonb := '{}';
    refused integer := 0;
  begin
    loop
      told := ridgeline.retry_executions(jsonb_build_object('limit', 1, 'after', told -> 'after'), 2, office);
      refused := refused + jsonb_array_length(told -> 'refused');
      exit when told ->> 'retried' <> '0' or told ->> 'after' is null;
    end loop;
    return told || jsonb_build_object('refused', least(refused, 500));
  end $$;
select pg_temp.until_one(:'bolt') as told \gset
select is(:'told'::jsonb - 'after', '{"retried": 1, "refused": 500}', 'what is refused for good keeps nobody out');
select is((select max(run_at) - automation.now() from ridgeline.scheduled_steps where tenant_id = :'bolt'), interval '150 seconds',
  'nor does what was cancelled');
-- The run that the answer names is pruned before the next call.
delete from ridgeline.workflow_executions as e where position(e.id::text in :'told'::jsonb ->> 'after') > 0;
select is(ridgeline.retry_executions(jsonb_build_object('after', :'told'::jsonb -> 'after', 'limit', 1), 2, :'bolt') - 'after',
  '{"retried": 1, "refused": []}', 'and is not asked again, though the run where that call ended is gone');
select id as before_last from ridgeline.workflow_executions where tenant_id = :'bolt' and mode <> 'imported' order by created_at desc, id desc offset 1 limit 1 \gset
select is(ridgeline.retry_executions(jsonb_build_object('after', :'before_last'), 2, :'bolt'), '{"retried": 1, "refused": []}', 'a run may be named by its id');
select alike(pg_temp.error_of(format('select ridgeline.retry_executions(%L, 60, %L)', '{"after": "2026-11-01/none"}', :'bolt')),
  '22023 filter: filter.after: %', 'but by nothing else');

-- Somebody holds one of them for a moment.
select pg_temp.contact(:'bolt', 'F' || n) from generate_series(1, 2) as n;
select pg_temp.settle();
create sequence pg_temp.tries;
create function pg_temp.hold() returns trigger
  language plpgsql
  as $$
  begin
    if nextval('pg_temp.tries') = 1 then
      raise exception 'somebody holds it' using errcode = 'lock_not_available';
    end if;
    return new;
  end $$;
create trigger hold before update on ridgeline.workflow_executions for each row
  when (old.status = 'failed' and new.status = 'pending') execute function pg_temp.hold();
select is(ridgeline.retry_executions(jsonb_build_object('after', :'before_last', 'limit', 2), 2, :'bolt') - 'after', '{"retried": 2, "refused": []}',
  'it is tried once more before the call ends');

-- Of thousands that are queued, and of those that were put off, only where the row ends is read.
with queued as (
  insert into ridgeline.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at, held)
  select :'bolt', gen_random_uuid(), 'step_1', 'database', automation.now() + interval '1 day' + n * interval '1 second',
    case when n <= 3000 then '{"code": "retry"}'::jsonb end
  from generate_series(1, 6000) as n
  returning *
)
insert into automation.retries (tenant_id, step_id, workflow_id, run_at)
select q.tenant_id, q.id, :'broken', q.run_at from queued as q where q.held is not null;
-- Another office has put off as many, until later.
insert into automation.retries (tenant_id, step_id, run_at)
select :'apex', gen_random_uuid(), automation.now() + interval '2 days' + n * interval '1 second' from generate_series(1, 3000) as n;
create function pg_temp.rows_read() returns bigint
  language sql
  as $$
    select sum(coalesce(t.idx_tup_fetch, 0) + t.seq_tup_read)::bigint from pg_stat_xact_user_tables as t
    where t.relid in ('automation.retries'::regclass, 'ridgeline.scheduled_steps'::regclass)
  $$;
select pg_temp.rows_read() as before \gset
select is(automation.last_retry(:'bolt', :'broken') - automation.now(), interval '1 day 50 minutes', 'the row ends with the last of them');
select cmp_ok(pg_temp.rows_read() - :'before', '<=', 10::bigint, 'and no other is read for that');

select * from finish();
rollback;

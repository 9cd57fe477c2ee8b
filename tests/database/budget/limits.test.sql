-- What is too large or too dear is refused with its name, early, and at nobody else's cost.
begin;
\ir ../foundation/story.psql
\ir ../foundation/work.psql
select * from no_plan();

select pg_temp.tenant('Apex Roofing') as apex \gset
create function pg_temp.milliseconds(statement text) returns integer
  language plpgsql
  as $$
declare
  began constant bigint := pg_temp.worked();
begin
  begin
    execute statement;
  exception when others then
    null;
  end;
  return pg_temp.worked() - began;
end;
$$;
create function pg_temp.reason(workflow uuid) returns text
  language sql
  as $$ select concat_ws(' ', r.status, r.error ->> 'code', r.error ->> 'message') from pg_temp.only_run(workflow) as r $$;
-- What becomes of a step for a contact whose notes are so long.
create function pg_temp.outcome(step jsonb, notes integer) returns text
  language plpgsql
  as $$
declare
  tenant constant uuid := pg_temp.tenant('Blue Ridge Solar');
  workflow constant uuid := pg_temp.workflow(tenant, 'contact_created', '{}', jsonb_build_array(step));
  began bigint;
begin
  insert into public.contacts (tenant_id, first_name, phone, email, custom_fields)
  values (tenant, 'Maria', '+15125550100', 'maria@example.com', jsonb_build_object(
    'notes', repeat('a', notes), 'list', (select jsonb_agg(repeat('b', 10)) from generate_series(1, notes / 10))));
  began := pg_temp.worked();
  perform automation.claim_steps('w', 10);
  perform automation.run_database_steps();
  if pg_temp.worked() > began + 5000 then
    return format('took too long: %s ms', pg_temp.worked() - began);
  end if;
  return pg_temp.reason(workflow);
end;
$$;
create function pg_temp.sms(body text) returns jsonb
  language sql as $$ select jsonb_build_object('type', 'send_sms', 'config', jsonb_build_object('body', body)) $$;

-- Rendering.
select alike(pg_temp.outcome(step, notes), expected, name)
from (values
  ('a chain of filters that blow a text up and cut it again',
    pg_temp.sms('{{custom.notes | replace: "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" | replace: "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" | replace: "a", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" | truncate: 10}}'),
    1000, 'failed too_large body: % by replace'),
  ('a list that is joined by a long text', pg_temp.sms('{{custom.list | join: "' || repeat('x', 500) || '" | truncate: 10}}'),
    10000, 'failed too_large body: % by join'),
  ('a large field mentioned many times', pg_temp.sms(repeat('{{custom.notes}}', 400)), 2000000, 'failed too_large body: is larger than%'),
  ('a large field mentioned many times and filtered', pg_temp.sms(repeat('{{custom.notes | upper}}', 400)), 2000000, 'failed too_%'),
  ('a large list written out', pg_temp.sms('{{custom.list}}'), 5000000, 'failed too_large %'),
  ('a large field that is cut', pg_temp.sms('{{custom.notes | truncate: 10}}'), 2000000, 'running'),
  ('a text message of 1600 characters', pg_temp.sms('{{custom.notes}}'), 1600, 'running'),
  ('and one more', pg_temp.sms('{{custom.notes}}'), 1601, 'failed too_large body: has 1601 characters; at most 1600 %'),
  ('an email of half a megabyte', '{"type": "send_email", "config": {"subject": "Hi", "html": "{{custom.notes}}"}}', 515000, 'failed too_large html: %'),
  ('a subject of a thousand characters', '{"type": "send_email", "config": {"subject": "{{custom.notes}}", "html": "Hi"}}', 1000, 'failed too_large subject: %'),
  ('a webhook', '{"type": "webhook", "config": {"url": "https://example.com", "body": {"all": "{{custom.notes}}"}}}', 300000, 'failed too_large body: %'),
  ('a whole value of megabytes', '{"type": "webhook", "config": {"url": "https://example.com", "body": {"all": "{{custom.list}}"}}}', 2000000, 'failed too_large %'),
  ('a field of a record', '{"type": "update_contact", "config": {"fields": {"city": "{{custom.notes}}"}}}', 70000, 'failed too_large city: %'),
  ('loops within loops', pg_temp.sms(repeat('{{#each custom.list as a}}{{a | upper | lower | upper | lower | upper}}', 3) || repeat('{{/each}}', 3)),
    100000, 'failed too_%')
) as v (name, step, notes, expected);

-- Comparing, in somebody's write.
select pg_temp.workflow(:'apex', 'contact_created', '{}', conditions => jsonb_build_array(jsonb_build_object(
  'field', 'contact.custom_fields.list', 'operator', 'includes_all', 'value',
  (select jsonb_agg(n) from generate_series(1, 1000) as n)))) as long_lists \gset
select pg_temp.workflow(:'apex', 'contact_created', '{}', conditions => (
  select jsonb_agg(jsonb_build_object('field', 'contact.custom_fields.notes', 'operator', 'contains', 'value', 'needle ' || n))
    || '[{"field": "contact.id", "operator": "is_not_empty"}]'
  from generate_series(1, 490) as n)) as long_texts \gset
select cmp_ok(pg_temp.milliseconds(format($$insert into public.contacts (tenant_id, custom_fields)
  select %L, jsonb_build_object('notes', repeat('ä', 300000), 'list', jsonb_agg(1001 - n)) from generate_series(1, 20000) as n$$, :'apex')),
  '<', 4000, 'long lists and long texts do not keep the writer waiting');
select is((select count(*) from public.contacts where tenant_id = :'apex'), 1::bigint, 'who writes all the same');
select ok((select bool_and(e.status = 'failed' and e.error ->> 'message' like '%too_expensive%' or e.error ->> 'code' = 'too_expensive')
  from ridgeline.workflow_executions as e where e.tenant_id = :'apex'), 'what took too long is an execution that says so');
select pg_temp.workflow(:'apex', 'project_created', '{}', conditions => format('[{"field": "project.name", "operator": "equals", "value": "roof %s"}]', n)::jsonb)
from generate_series(1, 20) as n;
insert into public.projects (tenant_id, name) select :'apex', 'roof ' || n from generate_series(1, 300) as n;
select is((select count(*) from ridgeline.workflow_executions where trigger_type = 'project_created' and status = 'pending'), 20::bigint,
  'an honest import is matched row by row');
select is((select count(*) from ridgeline.workflow_executions where trigger_type = 'project_created' and status = 'failed'), 0::bigint, 'with no failure');

-- Four hundred workflows whose conditions are dear, in one write: the writer waits for a part of them only.
select pg_temp.tenant('Summit Exteriors') as summit \gset
select pg_temp.workflow(:'summit', 'contact_created', '{}', conditions => (
  select jsonb_agg(jsonb_build_object('field', 'contact.custom_fields.notes', 'operator', 'not_contains', 'value', 'needle ' || n))
  from generate_series(1, 12) as n)) as dear \gset
create function pg_temp.copies(of uuid, many integer) returns void
  language sql
  as $$
    insert into ridgeline.workflows (tenant_id, id, name, trigger_type)
    select w.tenant_id, md5(w.id::text || n)::uuid, 'copy', w.trigger_type from ridgeline.workflows as w, generate_series(1, many) as n where w.id = of;
    insert into ridgeline.workflow_versions
    select (jsonb_populate_record(v, jsonb_build_object('id', gen_random_uuid(), 'workflow_id', md5(of::text || n)::uuid))).*
    from ridgeline.workflow_versions as v, generate_series(1, many) as n where v.workflow_id = of;
    insert into automation.active_triggers (tenant_id, entity, event, workflow_id, version, match, match_any, match_column, match_value,
      conditions, quick, quick_folds, first_step, first_lane, first_delay)
    select t.tenant_id, t.entity, t.event, md5(of::text || n)::uuid, t.version, t.match, t.match_any, t.match_column, t.match_value,
      t.conditions, t.quick, t.quick_folds, t.first_step, t.first_lane, t.first_delay
    from automation.active_triggers as t, generate_series(1, many) as n where t.workflow_id = of;
  $$;
select pg_temp.copies(:'dear', 400);
insert into public.contacts (tenant_id, custom_fields) values (:'summit', jsonb_build_object('notes', (select string_agg('anna löst ' || n, ' ') from generate_series(1, 5000) as n)));
select cmp_ok((select max(substring(e.error ->> 'message' from 'taken ([0-9.]+) milliseconds')::numeric) from ridgeline.workflow_executions as e
  where e.tenant_id = :'summit' and e.error ->> 'code' = 'too_expensive' and e.error ->> 'message' like 'matching this write%'),
  '<', 1500::numeric, 'a write is not matched against them for longer than its time');

-- So many workflows.
select pg_temp.tenant('Prairie Gutters') as prairie \gset
select pg_temp.workflow(:'prairie', 'job_completed') as listens \gset
select pg_temp.copies(:'listens', 499);
select pg_temp.draft(:'prairie', 'job_completed') as one_more \gset
select alike(pg_temp.error_of(format('update ridgeline.workflows set is_active = true where id = %L', :'one_more')),
  '%trigger_type: more than 500 active workflows of a tenant that listen to one event of one entity%', 'the five hundred and first listener is refused');
delete from automation.active_triggers where workflow_id = md5(:'listens' || '1')::uuid;
update ridgeline.workflows set is_active = true where id = :'one_more';
update ridgeline.workflows set is_active = false where id = :'one_more';
select pg_temp.workflow(:'prairie', 'job_completed') as instead \gset
select alike(pg_temp.error_of(format('update ridgeline.workflows set is_active = true where id = %L', :'one_more')),
  '%trigger_type: more than 500 active workflows%', 'also one that was switched off meanwhile');
select is((select is_active from ridgeline.workflows where id = :'one_more'), false, 'and stays off');
select pg_temp.workflow(pg_temp.tenant('Hill Country Paint'), 'job_completed') as elsewhere \gset
select pg_temp.draft(:'prairie', 'manual', '{}', (select jsonb_agg(jsonb_build_object('type', 'wait', 'config', '{"event": "sms_received", "timeout": "1 day"}'::jsonb)) from generate_series(1, 501))) as waits \gset
update ridgeline.workflows set is_active = true where id = :'waits';
select pg_temp.draft(:'prairie', 'manual', '{}', (select jsonb_agg(jsonb_build_object('type', 'wait', 'config', '{"event": "sms_received", "timeout": "1 day"}'::jsonb)) from generate_series(1, 500))) as more_waits \gset
select alike(pg_temp.error_of(format('update ridgeline.workflows set is_active = true where id = %L', :'more_waits')),
  '%steps: more than 1000 steps and exits of a tenant''s workflows that wait for one event of one entity%', 'a thousand waits for one event are enough');
alter table ridgeline.workflows disable trigger user;
insert into ridgeline.workflows (tenant_id, name, trigger_type, is_active, status) select :'prairie', 'many', 'manual', true, 'active' from generate_series(1, 2000);
alter table ridgeline.workflows enable trigger user;
select alike(pg_temp.findings(:'prairie', 'manual'), '%error too_many is_active%', 'two thousand active workflows are said at validation');
select pg_temp.draft(:'prairie', 'manual') as too_late \gset
select alike(pg_temp.error_of(format('update ridgeline.workflows set is_active = true where id = %L', :'too_late')),
  '%is_active: more than 2000 active workflows of a tenant%', 'and when one is switched on');

-- Publishing.
create function pg_temp.found(steps jsonb, conditions jsonb default '[]') returns text
  language sql
  as $$ select pg_temp.findings((select t.id from public.tenants as t where t.name = 'Apex Roofing'), 'manual', '{}', steps, conditions) $$;
create function pg_temp.nested(depth integer) returns jsonb
  language sql
  as $$ select (repeat('{"all": [', depth) || '{"field": "contact.stage", "operator": "equals", "value": "x"}' || repeat(']}', depth))::jsonb $$;
create function pg_temp.many(count integer) returns jsonb
  language sql
  as $$ select jsonb_agg(jsonb_build_array('{"field": "contact.stage", "operator": "equals", "value": "x"}'::jsonb)) from generate_series(1, count) $$;
\set task '{"type": "create_task", "config": {"title": "Call"}}'
select alike(pg_temp.found(steps, conditions), expected, name)
from (values
  ('a thousand steps and one', (select jsonb_agg(:'task'::jsonb) from generate_series(1, 1001)), '[]'::jsonb, '%error too_many steps%'),
  ('groups sixty deep', jsonb_build_array(:'task'::jsonb), pg_temp.nested(60), '%error too_deep conditions%'),
  ('groups two thousand deep', jsonb_build_array(:'task'::jsonb), pg_temp.nested(2000), '%error too_deep conditions%'),
  ('and one more', jsonb_build_array(:'task'::jsonb), pg_temp.many(501), '%error too_many conditions%'),
  ('three thousand conditions', jsonb_build_array(:'task'::jsonb), jsonb_build_array(pg_temp.many(1000), pg_temp.many(1000), pg_temp.many(1000)), '%error too_many conditions%'),
  ('and one more', jsonb_build_array(pg_temp.sms(repeat('{{contact.city}}', 501))), '[]', '%error too_many steps[0].step_config.body%'),
  ('eleven filters', jsonb_build_array(pg_temp.sms('{{contact.city' || repeat(' | upper', 11) || '}}')), '[]', '%error invalid_template %')
) as v (name, steps, conditions, expected);
select unalike(coalesce(pg_temp.found(steps, conditions), ''), '%error%', name)
from (values
  ('groups fifty deep', jsonb_build_array(:'task'::jsonb), pg_temp.nested(50)),
  ('five hundred variables in a text', jsonb_build_array(pg_temp.sms(repeat('{{contact.city}}', 500))), '[]')
) as v (name, steps, conditions);
select is((select c.problems from automation.compile_conditions(pg_temp.many(500)) as c), '[]', 'five hundred conditions');
select cmp_ok(pg_temp.milliseconds(format('select pg_temp.found(%L, pg_temp.many(400))', jsonb_build_array(:'task'::jsonb))),
  '<', 30000, 'many conditions are checked in seconds');

-- Written down.
select alike(pg_temp.error_of(format(statement, :'apex')), expected, expected)
from (values
  ($$insert into ridgeline.workflows (tenant_id, name, trigger_type, metadata) values (%L, 'x', 'manual', jsonb_build_object('a', repeat('x', 270000)))$$, '23514 %metadata_at_most_256_kb%'),
  ($$insert into ridgeline.workflows (tenant_id, name, trigger_type, trigger_config) values (%L, 'x', 'manual', jsonb_build_object('a', repeat('x', 70000)))$$, '23514 %trigger_config_at_most_64_kb%'),
  ($$insert into ridgeline.workflows (tenant_id, name, trigger_type, conditions) values (%L, 'x', 'manual', to_jsonb(repeat('x', 270000)))$$, '23514 %conditions_at_most_256_kb%'),
  ($$insert into ridgeline.workflows (tenant_id, name, trigger_type, settings) values (%L, 'x', 'manual', jsonb_build_object('a', repeat('x', 70000)))$$, '23514 %settings_at_most_64_kb%'),
  ($$insert into ridgeline.workflow_steps (tenant_id, workflow_id, step_type, step_config) select tenant_id, id, 'send_sms', jsonb_build_object('body', repeat('x', 270000)) from ridgeline.workflows where tenant_id = %L limit 1$$, '23514 %step_config_at_most_256_kb%')
) as v (statement, expected);

-- A tenant's dear calls leave connections for others: tests/budget/sessions.test.ts.
select lives_ok(format('select ridgeline.validate_workflow(%L), ridgeline.validate_workflow(%L), ridgeline.validate_workflow(%L)', :'long_lists', :'long_lists', :'long_lists'),
  'one after the other they are no trouble');

select * from finish();
rollback;

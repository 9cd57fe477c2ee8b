-- Somebody alters an attached table and forgets to attach it again.
begin;
\ir ../foundation/story.psql
select plan(47);
set local client_min_messages = error;

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as flow \gset
select pg_temp.workflow(:'apex', 'contact_updated') as updates \gset
select pg_temp.contact(:'apex') as maria \gset
create function pg_temp.last(workflow uuid) returns jsonb
  language sql as $$ select e.trigger_data from pg_temp.only_run(workflow) as e $$;

-- A column is dropped.
savepoint whole;
alter table public.contacts drop column source;
select lives_ok(format('insert into public.contacts (tenant_id, city) values (%L, ''Austin'')', :'apex'),
  'the office can still add a lead');
select lives_ok(format('update public.contacts set stage = ''won'' where id = %L', :'maria'), 'and change one');
select is(pg_temp.runs(:'flow'), 2::bigint, 'which fires all the same');
select is(pg_temp.last(:'flow') #>> '{contact,city}', 'Austin', 'with the record');
select is(pg_temp.last(:'updates') - 'contact', jsonb_build_object('entity', 'contact', 'contact_id', :'maria',
  'user_id', null, 'changed', '["stage"]'::jsonb, 'old', pg_temp.last(:'updates') -> 'old'), 'and what changed');
select automation.attach('public.contacts', 'contact', '{}', '[{"type": "stage_changed", "column": "stage"}]');
insert into public.contacts (tenant_id) values (:'apex');
update public.contacts set stage = 'lost' where id = :'maria';
select is(array[pg_temp.runs(:'flow'), pg_temp.runs(:'updates')], array[3, 2]::bigint[], 'attached again it does too');
select is((select stage from public.contacts where id = :'maria'), 'lost', 'and nothing was lost');
rollback to savepoint whole;


-- A column is added, and one has another type, in a session that has written before.
savepoint whole;
alter table public.contacts add column roof text default 'tile';
alter table public.contacts alter column lead_score type text using lead_score::text;
insert into public.contacts (tenant_id, lead_score) values (:'apex', 'hot');
select is(array[pg_temp.runs(:'flow')::text, pg_temp.last(:'flow') #>> '{contact,roof}', pg_temp.last(:'flow') #>> '{contact,lead_score}'],
  array['2', 'tile', 'hot'], 'a new column and a new type fire, and are seen');
update public.contacts set lead_score = 'cold' where lead_score = 'hot';
select is(pg_temp.last(:'updates') -> 'changed', '["lead_score"]'::jsonb, 'the new type is compared');
rollback to savepoint whole;

-- The table grows out of its key: the type is a wider one, and a record whose id did not fit before is none that is gone.
savepoint whole;
create table public.leads (tenant_id uuid not null, id integer primary key, name text);
create table public.vans (tenant_id uuid not null, plate varchar(5) primary key, name text);
select automation.attach('public.leads', 'lead', authors => 'members');
select automation.attach('public.vans', 'van', '{"id": "plate"}', authors => 'members');
select pg_temp.workflow(:'apex', 'lead_created', '{}', '[{"type": "update_field", "config": {"entity": "lead", "field": "name", "value": "Seen"}}]') as leads \gset
select pg_temp.workflow(:'apex', 'van_created', '{}', '[{"type": "update_field", "config": {"entity": "van", "field": "name", "value": "Seen"}}]') as vans \gset
alter table public.leads alter column id type bigint;
alter table public.vans alter column plate type text;
insert into public.leads values (:'apex', 3000000000, 'New'), (:'apex', 7, 'New');
insert into public.vans values (:'apex', 'TX-1042', 'New');
select pg_temp.settle();
select is((select array_agg(e.status::text || coalesce(' ' || (e.error ->> 'message'), '')) from ridgeline.workflow_executions as e where e.workflow_id = :'leads'),
  '{completed,completed}', 'a key that became a bigint is found where it is longer, and where it is not');
select is((select array_agg(l.name) from public.leads as l), '{Seen,Seen}', 'and written to');
select is((select e.status::text || coalesce(' ' || (e.error ->> 'message'), '') from pg_temp.only_run(:'vans') as e), 'completed', 'one that lost its length too');
select is((select v.name from public.vans as v), 'Seen', 'whole, and not what it would be cut to');
rollback to savepoint whole;

-- What no write can warn of, for none is captured, the state of the engine tells.
savepoint whole;
create function pg_temp.deaf() returns text language sql
  as $$ select string_agg((d ->> 'relation') || ': ' || (d ->> 'why'), ', ') from jsonb_array_elements(ridgeline.engine_status() -> 'deaf') as d $$;
select is(pg_temp.deaf(), null, 'every table is heard');
alter table public.jobs disable trigger automation_capture_insert;
select is(pg_temp.deaf(), 'public.jobs: its triggers are disabled', 'a table whose trigger was switched off is not');
alter table public.jobs enable trigger automation_capture_insert;
drop trigger automation_capture_delete on public.jobs;
select is(pg_temp.deaf(), 'public.jobs: it lacks some of the triggers that attach() gave it', 'nor one whose trigger was dropped, not whole');
select automation.attach('public.jobs', 'job', '{"contact": "contact_id", "project": "project_id"}', '[{"type": "job_completed", "column": "status", "becomes": "completed"}]');
alter table public.jobs rename to old_jobs;
select is(pg_temp.deaf(), null, 'one that was renamed is');
create table public.jobs (like public.old_jobs including all);
select is(pg_temp.deaf(), 'public.jobs: those triggers are on public.old_jobs', 'not one that has its name now');
drop table public.old_jobs cascade;
select is(pg_temp.deaf(), 'public.jobs: it has none of the triggers that attach() gave it', 'a table that was made anew is not');
drop table public.jobs;
select is(pg_temp.deaf(), 'public.jobs: it is not there any more', 'nor one that is gone');
select pg_temp.member(:'apex') as sam \gset
select pg_temp.sign_in(:'sam');
select ok(not ridgeline.engine_status() ? 'deaf', 'a member of an office is told nothing of tables');
select pg_temp.sign_out();
rollback to savepoint whole;

-- The table is renamed, and moves to another schema.
savepoint whole;
create schema crm;
alter table public.contacts rename to people;
alter table public.people set schema crm;
insert into crm.people (tenant_id, first_name) values (:'apex', 'Moved');
update crm.people set stage = 'won' where id = :'maria';
select is(array[pg_temp.runs(:'flow'), pg_temp.runs(:'updates')], array[2, 1]::bigint[], 'renamed and moved it fires');
select is((automation.read_record('contact', :'apex', :'maria')) ->> 'stage', 'won', 'its records are read where they are');
select ok(automation.has_record('contact', :'apex', :'maria'), 'and found');
select is(automation.read_record('contact', :'apex', 'no id'), null, 'what is no id is no record there either');
select is((select count(*) from ridgeline.automation_failures as f where f.code = 'table_missing'), 0::bigint, 'nobody is told that it is missing');
select lives_ok($$select automation.attach('crm.people', 'contact', '{}', '[{"type": "stage_changed", "column": "stage"}]')$$,
  'it is attached again where it is');
select is((select array_agg(distinct t.relation::text) from automation.capture_triggers('contact') as t), '{crm.people}', 'once');
insert into crm.people (tenant_id, first_name) values (:'apex', 'Attached');
select is(pg_temp.runs(:'flow'), 3::bigint, 'and goes on');
select lives_ok($$select automation.detach('contact')$$, 'detaching works there');
rollback to savepoint whole;
savepoint whole;
alter table public.contacts rename to people;
select lives_ok($$select automation.detach('contact')$$, 'and where it was renamed after it was attached');
select is((select count(*) from pg_trigger where tgrelid = 'public.people'::regclass and tgname like 'automation%'), 0::bigint, 'nothing is left on it');
rollback to savepoint whole;

-- The key itself is renamed: that is more than it can know.
savepoint whole;
alter table public.contacts rename column tenant_id to company_id;
select is(pg_temp.error_of(format('insert into public.contacts (company_id) values (%L)', :'apex')), null,
  'without its tenant column a row is written');
select is(pg_temp.error_of('update public.contacts set stage = ''won'''), null, 'and changed');
select is(pg_temp.error_of('delete from public.contacts'), null, 'and deleted');
select is(pg_temp.runs(:'flow'), 1::bigint, 'and fires nothing');
select alike(pg_temp.error_of(format('select automation.read_record(''contact'', %L, %L)', :'apex', :'maria')),
  '42P01 contact: its table, %attach() for it again%', 'who reads it is told what to do');
select lives_ok($$select automation.attach('public.contacts', 'contact', '{"tenant": "company_id"}', '[{"type": "stage_changed", "column": "stage"}]')$$,
  'attached with its new name');
insert into public.contacts (company_id) values (:'apex');
select is(pg_temp.runs(:'flow'), 2::bigint, 'it fires again');
rollback to savepoint whole;

-- Detached and attached, with workflows that are switched on.
savepoint whole;
select pg_temp.workflow(:'apex', 'time_elapsed', '{"entity": "contact", "field": "last_contacted_at", "offset": "1 day"}') as timer \gset
alter table public.contacts drop column source;
select automation.detach('contact');
insert into public.contacts (tenant_id) values (:'apex');
select is(pg_temp.runs(:'flow'), 1::bigint, 'detached nobody hears');
select automation.attach('public.contacts', 'contact', '{}', '[{"type": "stage_changed", "column": "stage"}]');
select is((select count(*) from ridgeline.workflows where is_active), 3::bigint, 'the workflows stayed switched on');
insert into public.contacts (tenant_id, last_contacted_at) values (:'apex', now());
select is(array[pg_temp.runs(:'flow'), (select count(*) from ridgeline.workflow_timers as t where t.workflow_id = :'timer')],
  array[2, 1]::bigint[], 'and hear again, timers included');
rollback to savepoint whole;

-- A table that workflows see in part: what is added later stays hidden.
savepoint whole;
create table public.vault (tenant_id uuid, id bigint primary key, label text, pin text);
select automation.attach('public.vault', 'vault', '{}', '[]', visible => '{label}', authors => 'members');
select pg_temp.workflow(:'apex', 'vault_created') as vaults \gset
alter table public.vault drop column pin, add column password text;
insert into public.vault values (:'apex', 1, 'Safe', 'hush');
select is(pg_temp.last(:'vaults') #> '{vault}', jsonb_build_object('tenant_id', :'apex', 'id', 1, 'label', 'Safe'), 'a hidden column is dropped and another added: none is seen');
alter table public.vault drop column label;
insert into public.vault values (:'apex', 2, 'hush');
select is(pg_temp.last(:'vaults') #> '{vault}', jsonb_build_object('tenant_id', :'apex', 'id', 2), 'without a visible column the row is still captured');
select is(automation.read_record('vault', :'apex', '2'), jsonb_build_object('tenant_id', :'apex', 'id', 2), 'and read');
-- Why all of that is so: nothing that is generated names a row type, which is looked up before any guard stands. It takes
-- JSON, and columns one by one.
create function pg_temp.row_types() returns text
  language sql
  as $$
    select string_agg(distinct p.proname, ', ' order by p.proname)
    from pg_proc as p
    cross join (select c.oid, c.oid::regclass::text as name, c.relname, c.reltype from automation.entities as e join pg_class as c on c.oid = e.relation::regclass) as t
    where p.pronamespace = 'automation'::regnamespace and p.proname ~ '^(capture_|link_tag|unlink_tag|linked_tags)'
      and (p.prosrc ~* '%\s*rowtype'
        -- A variable of it, a cast to it.
        or p.prosrc ~ ('(\m(declare|constant|out|setof)\s+|\n\s*\w+\s+(constant\s+)?|::\s*)(' || t.name || '|public\.' || t.relname || ')(\[\])?\s*(;|:=|\)|,|default)')
        or t.reltype = any (p.proargtypes::oid[]) or t.reltype = p.prorettype)
  $$;
select is(pg_temp.row_types(), null, 'nothing generated names a row type of a table');
create function automation.capture_contact_carelessly() returns trigger language plpgsql as $$ declare
  lead public.contacts;
begin
  return null;
end $$;
create function automation.capture_lead(lead public.contacts) returns void language sql as 'select';
create function automation.link_tag_carelessly(lead text) returns text language sql as $$ select (lead::public.contacts).first_name $$;
select is(pg_temp.row_types(), 'capture_contact_carelessly, capture_lead, link_tag_carelessly', 'or it would be seen');

select * from finish();
rollback;

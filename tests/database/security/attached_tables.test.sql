-- What attaching a table grants: the columns it says, to whom it says, and never past what a caller sees.
begin;
\ir ../foundation/story.psql
select plan(40);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'apex', 'admin') as ada \gset
create function pg_temp.outcome(statement text) returns text
  language plpgsql
  as $$
begin
  execute statement;
  return 'done';
exception when others then
  return sqlstate || ' ' || sqlerrm;
end;
$$;
-- An admin may see the payroll but for the boss's; a member may see none of it.
create table public.payrolls (tenant_id uuid not null references public.tenants (id), id integer not null, name text,
  salary numeric, api_token text, boss boolean not null default false, note text, primary key (tenant_id, id));
alter table public.payrolls enable row level security;
create policy payrolls_admins on public.payrolls for select to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]) and not boss);
revoke all on public.payrolls from authenticated;
grant select on public.payrolls to authenticated;
grant update (note) on public.payrolls to authenticated;
select automation.attach('public.payrolls', 'payroll');
select is((select authors from automation.entities where name = 'payroll'), 'admins', 'row level security keeps workflows to owners and admins');
select is((select columns from automation.entities where name = 'payroll'), '{tenant_id,id,name,salary,boss,note}', 'what looks like a secret is not seen');
select is((select writable_columns from automation.entities where name = 'payroll'), '{note}', 'what members may not set no step sets');
insert into public.payrolls values (:'apex', 1, 'Sam', 40000, 'hush', false), (:'apex', 2, 'Boss', 400000, 'hush', true);

select pg_temp.draft(:'apex', 'payroll_created') as theirs \gset
select pg_temp.draft(:'apex', 'manual', '{}', '[{"type": "create_task", "config": {"title": "{{payroll.salary}}"}}]') as sneaky \gset
select pg_temp.draft(:'apex', 'manual', '{}', '[{"type": "update_field", "config": {"entity": "payroll", "field": "note", "value": "x"}}]') as writer \gset
select pg_temp.workflow(:'apex', 'manual') as plain \gset
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome(statement), '42501 entity: only owners and admins %', statement)
from (values
  (format('select ridgeline.publish_workflow(%L)', :'theirs')),
  (format('update ridgeline.workflows set is_active = true where id = %L', :'theirs')),
  (format('select ridgeline.publish_workflow(%L)', :'sneaky')),
  (format('select ridgeline.publish_workflow(%L)', :'writer')),
  (format('select ridgeline.test_workflow(%L, ''{"payroll": {}}'')', :'theirs')),
  (format('select ridgeline.explain_enrollment(%L, ''{"payroll": {}}'')', :'theirs')),
  (format('select ridgeline.enroll_records(%L, filter => ''[]'', entity => ''payroll'')', :'plain'))
) as v (statement);
select alike(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, ''{"payroll_id": 1}'')', :'plain')), 'PT404 payroll_id: 1 was not found', 'nor does any other workflow read one for a member');
select alike(pg_temp.outcome(format('select ridgeline.test_workflow(%L, ''{"payroll_id": 1, "entity": "payroll"}'')', :'plain')), 'PT404 payroll_id: 1 was not found', 'not even in a dry run');
select pg_temp.sign_out();
select pg_temp.sign_in(:'ada');
select is(pg_temp.outcome(format('select ridgeline.publish_workflow(%L)', :'theirs')), 'done', 'an admin publishes');
select is(pg_temp.outcome(format('select ridgeline.test_workflow(%L, ''{"payroll_id": 1}'')', :'theirs')), 'done', 'and tries');
select alike(pg_temp.outcome(format('select ridgeline.test_workflow(%L, ''{"payroll_id": 2}'')', :'theirs')), 'PT404 payroll_id: 2 was not found', 'with what they themselves see');
select is((ridgeline.enroll_records(:'theirs', filter => '[]')).total, 1, 'and enrols no more than that');
select is((ridgeline.enroll_records(:'theirs', record_ids => '{1,2}')).total, 1, 'from a list too');
select pg_temp.sign_out();
insert into public.payrolls values (:'apex', 3, 'Kim', 1, 'hush', false);
select is((select (trigger_data -> 'payroll') ? 'api_token' from ridgeline.workflow_executions where workflow_id = :'theirs' and trigger_type = 'payroll_created' limit 1), false, 'what is hidden is in no snapshot');
update public.payrolls set api_token = 'other' where id = 3;
select is((select count(*) from ridgeline.workflow_executions where trigger_type = 'payroll_updated'), 0::bigint, 'nor is its change one');

-- What comes with a record because it belongs to it.
create table public.bonuses (tenant_id uuid not null references public.tenants (id), id integer not null, payroll_id integer, primary key (tenant_id, id));
select automation.attach('public.bonuses', 'bonus', '{"related": {"payroll": "payroll_id"}}', authors => 'members');
insert into public.bonuses values (:'apex', 7, 1), (:'apex', 8, 2), (:'apex', 9, null);
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, ''{"bonus_id": 7}'')', :'plain')), 'PT404 payroll_id: 1 was not found', 'a record that everybody sees brings nobody one that they do not see');
select is(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, ''{"bonus_id": 9}'')', :'plain')), 'done', 'one that belongs to none is free');
select alike(pg_temp.outcome(format('select ridgeline.enroll_records(%L, filter => ''[]'', entity => ''bonus'')', :'plain')), '42501 entity: only owners and admins %', 'many at once neither');
select pg_temp.sign_out();
select pg_temp.sign_in(:'ada');
select alike(pg_temp.outcome(format('select ridgeline.test_workflow(%L, ''{"bonus": {"id": 8}}'')', :'plain')), 'PT404 payroll_id: 2 was not found', 'not the boss''s to an admin, in a dry run either');
select is(pg_temp.outcome(format('select ridgeline.test_workflow(%L, ''{"bonus_id": 7}'')', :'plain')), 'done', 'what they see they may try');
-- Whatever it is wrapped in, and by whichever column a record that is brought along names it.
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, %L)', :'plain', data)), 'PT404 payroll_id: 1 was not found', 'nor ' || data)
from (values ('{"bonus": {"payroll_id": 1}}'), ('{"custom": {"about": [{"payroll": {"id": "1"}}]}}'), ('{"bonus": {"staff": {"payroll_id": "1"}}}'), ('{"payrolls": [[], {"payroll_id": 1}]}')) as v (data);
select alike(pg_temp.outcome(format('select ridgeline.trigger_workflows(''manual'', %L, %L)', '{"project": {"owner": {"payroll": {"id": 1}}}}', :'apex')), 'PT404 payroll_id: 1 was not found', 'whatever is fired');
select is(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, ''{"bonus": {"payroll_id": null}, "notes": ["payroll_id"]}'')', :'plain')), 'done', 'what names nothing is free');
select pg_temp.sign_out();
select automation.attach('public.bonuses', 'bonus', '{"related": {"payroll": "id"}}', authors => 'members');
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome(format('select ridgeline.execute_workflow(%L, ''{"bonus": {"id": 1}}'')', :'plain')), 'PT404 payroll_id: 1 was not found', 'by the column that is mapped, too');
select pg_temp.sign_out();
update ridgeline.tenant_settings set settings = settings || '{"editors_publish": true}' where tenant_id = :'apex';
select pg_temp.workflow(:'apex', 'contact_created') as of_contacts \gset
select pg_temp.contact(:'apex', 'Maria') as maria \gset
select pg_temp.sign_in(:'sam');
select alike(pg_temp.outcome(format('select ridgeline.enroll_records(%L, array[%L], data => ''{"payroll": {"id": 1}}'')', :'of_contacts', :'maria')), 'PT404 payroll_id: 1 was not found', 'nor beside many records');
select is(pg_temp.outcome(format('select ridgeline.enroll_records(%L, array[%L], data => ''{"season": "fall"}'')', :'of_contacts', :'maria')), 'done', 'with anything else they are enrolled');
select pg_temp.sign_out();
select automation.detach('bonus');

-- As attach() is asked.
select automation.attach('public.payrolls', 'payroll', visible => '{name,note}', writable => '{name}', authors => 'members');
select is((select array[authors, columns::text, writable_columns::text] from automation.entities where name = 'payroll'), array['members', '{tenant_id,id,name,note}', '{name}'], 'the one who attaches says otherwise');
select alike(pg_temp.outcome('select automation.attach(''public.payrolls'', ''payroll'', visible => ''{nope}'')'), '42703 columns: % has no column "nope"', 'of columns there are');
select alike(pg_temp.outcome('select automation.attach(''public.payrolls'', ''payroll'', visible => ''{name}'', writable => ''{salary}'')'), '42703 writable: "salary" %', 'and that are seen');

-- What the engine and the providers write.
select is((select string_agg(name, ', ' order by name) from automation.entities where writable_columns <> '{}' and relation ~ '(messages|emails|calls|email_events|form_submissions)'), null, 'no step writes what was said');

-- Columns that are called like something of ours.
create table public."Odd Names" (tenant_id uuid not null references public.tenants (id), id uuid primary key default gen_random_uuid(),
  r text, e text, s text, t text, n text, o text, v text, w text, m text, c text, x text, d text, written text, previous text, record text, data text, events text,
  changed text, listened text, enrolments text, "new" text, "old" text, "user" text, "order" text, entity text, "select" text, "It's ""quoted""" text, "CamelCase" text, "a b" text, seen text, fields text,
  hidden_token text);
select automation.attach('public."Odd Names"', 'odd', authors => 'members');
select pg_temp.workflow(:'apex', 'odd_created', '{}', '[{"type": "update_field", "config": {"entity": "odd", "field": "r", "value": "{{odd.r}}{{odd.data}}!"}},
  {"type": "update_field", "config": {"entity": "odd", "field": "written", "value": "{{odd.new}}{{odd.old}}"}}]', settings => '{"reentry": "never"}') as odd \gset
insert into public."Odd Names" (tenant_id, r, e, s, t, n, data, "new", "old", "user") values (:'apex', 'r', 'e', 's', 't', 'n', 'data', 'new', 'old', 'user');
select pg_temp.settle();
select is((select concat_ws(' ', r, written, data) from public."Odd Names"), 'rdata! newold data', 'are read and written like any other');
select is((pg_temp.only_run(:'odd')).error, null, 'without an error');
update public."Odd Names" set "order" = 'y', "user" = null;
delete from public."Odd Names";
select pass('and go');

select * from finish();
rollback;

-- Who looks after a record is a member of its tenant, whoever writes it down.
begin;
\ir ../foundation/story.psql
select plan(14);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.member(:'apex') as kim \gset
select pg_temp.member(:'blue') as rival \gset
insert into public.contacts (tenant_id, id, first_name) values (:'apex', '00000000-0000-4000-8000-0000000000c1', 'Maria');

select pg_temp.sign_in(:'sam');
select alike(pg_temp.error_of(format(statement, :'apex', :'rival')), format('23514 assigned_to: %s is not a member of the tenant%%', :'rival'), left(statement, 40))
from (values
  ('insert into public.contacts (tenant_id, first_name, assigned_to) values (%L, ''x'', %L)'),
  ('insert into public.projects (tenant_id, name, assigned_to) values (%L, ''x'', %L)'),
  ('insert into public.jobs (tenant_id, assigned_to) values (%L, %L)'),
  ('insert into public.tasks (tenant_id, title, assigned_to) values (%L, ''x'', %L)'),
  ('update public.contacts set assigned_to = %2$L where tenant_id = %1$L'),
  ('update public.contacts set assigned_to = %2$L, company = ''x'' where tenant_id = %1$L')
) as v (statement);
select lives_ok(format(statement, :'apex', :'kim'), statement)
from (values
  ('insert into public.tasks (tenant_id, title, assigned_to) values (%L, ''x'', %L)'),
  ('insert into public.jobs (tenant_id, assigned_to) values (%L, %L)'),
  ('update public.contacts set assigned_to = %2$L where tenant_id = %1$L')
) as v (statement);
select pg_temp.sign_out();

-- A colleague who has left stays on what was theirs until somebody changes it.
delete from public.tenant_members where user_id = :'kim';
select pg_temp.sign_in(:'sam');
select lives_ok('update public.contacts set company = ''Lee'' where first_name = ''Maria''', 'other columns are written as ever');
select lives_ok(format('update public.contacts set assigned_to = %L where first_name = ''Maria''', :'kim'), 'as is what it was');
select lives_ok('update public.contacts set assigned_to = null where first_name = ''Maria''', 'nobody is allowed');
select alike(pg_temp.error_of(format('update public.contacts set assigned_to = %L where first_name = ''Maria''', :'kim')), '23514 assigned_to: %', 'who is no member any more is not given new work');
select pg_temp.sign_out();
select lives_ok(format('insert into public.contacts (tenant_id, first_name, assigned_to) values (%L, ''x'', %L)', :'apex', :'rival'), 'an import comes before its members');

select * from finish();
rollback;

-- Whoever writes, and however: a row that is written is a row that fires.
begin;
\ir ../foundation/story.psql
select plan(22);

select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.member(:'apex') as sam \gset
select pg_temp.workflow(:'apex', 'contact_created', '{"type": "lead"}') as lead \gset
select pg_temp.workflow(:'apex', 'contact_updated') as updated \gset
select pg_temp.workflow(:'blue', 'contact_created') as others \gset

-- Nobody else's workflow.
select pg_temp.contact(:'apex', 'Maria');
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'others')], array[1, 0]::bigint[],
  'the workflows of other tenants do not fire');
select pg_temp.contact(:'blue', 'Bob');
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'others')], array[1, 1]::bigint[],
  'and theirs are not fired by ours');

-- Many rows.
insert into public.contacts (tenant_id, first_name, type)
select :'apex', 'Lead ' || n, case when n % 2 = 0 then 'lead' else 'customer' end
from generate_series(1, 500) as n;
select is(pg_temp.runs(:'lead'), 251::bigint, 'each matching row of a bulk insert fires, once');
update public.contacts set city = 'Austin' where tenant_id = :'apex';
select is(pg_temp.runs(:'updated'), 501::bigint, 'so does each row of a bulk update');
copy public.contacts (tenant_id, first_name, type) from stdin;
00000000-0000-0000-0000-00000000000a	Copied	lead
00000000-0000-0000-0000-00000000000a	Copied too	lead
00000000-0000-0000-0000-00000000000a	Not a lead	customer
\.
select is(pg_temp.runs(:'lead'), 253::bigint, 'so does COPY');

-- One statement that does several things.
insert into public.contacts (tenant_id, id, first_name)
values (:'apex', '00000000-0000-0000-0000-0000000000c1', 'Ann')
on conflict (tenant_id, id) do update set first_name = excluded.first_name;
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'updated')], array[254, 501]::bigint[],
  'an upsert that inserts is a new contact');
insert into public.contacts (tenant_id, id, first_name)
values (:'apex', '00000000-0000-0000-0000-0000000000c1', 'Anna')
on conflict (tenant_id, id) do update set first_name = excluded.first_name;
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'updated')], array[254, 502]::bigint[],
  'one that updates is an update');
insert into public.contacts (tenant_id, id, first_name)
values (:'apex', '00000000-0000-0000-0000-0000000000c1', 'Anna')
on conflict (tenant_id, id) do update set first_name = excluded.first_name;
insert into public.contacts (tenant_id, id, first_name)
values (:'apex', '00000000-0000-0000-0000-0000000000c1', 'Other')
on conflict (tenant_id, id) do nothing;
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'updated')], array[254, 502]::bigint[],
  'one that changes nothing, or does nothing, is neither');
with moved as (
  update public.contacts set stage = 'won' where id = '00000000-0000-0000-0000-0000000000c1'
  returning tenant_id
)
insert into public.contacts (tenant_id, first_name) select m.tenant_id, 'Referred' from moved as m;
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'updated')], array[255, 503]::bigint[],
  'both halves of one statement fire');
merge into public.contacts as c
using (values ('00000000-0000-0000-0000-0000000000c1'::uuid, 'Merged'), (gen_random_uuid(), 'New'))
  as s (id, name) on c.tenant_id = '00000000-0000-0000-0000-00000000000a' and c.id = s.id
when matched then update set first_name = s.name
when not matched then insert (tenant_id, id, first_name)
  values ('00000000-0000-0000-0000-00000000000a', s.id, s.name);
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'updated')], array[256, 504]::bigint[],
  'so do the branches of a merge');
with updates as (
  select set_config('x.y', 'z', true)
)
select count(*) from updates;
savepoint typo;
select pg_temp.contact(:'apex', 'Typo');
rollback to savepoint typo;
select is(pg_temp.runs(:'lead'), 256::bigint, 'a write that is rolled back never happened');

-- Another table's trigger, before and after.
create function pg_temp.contact_of_form() returns trigger
  language plpgsql
  as $$
begin
  insert into public.contacts (tenant_id, first_name, source)
  values (new.tenant_id, new.data ->> 'name', 'web');
  return new;
end;
$$;
create trigger form_makes_contact before insert on ridgeline.form_submissions
  for each row execute function pg_temp.contact_of_form();
insert into ridgeline.form_submissions (tenant_id, form, data)
values (:'apex', 'Quote', '{"name": "Filled in"}');
select is(pg_temp.runs(:'lead'), 257::bigint, 'a contact made by the trigger of another table');

-- A trigger of the same table that changes the row: what is stored is what counts.
create function pg_temp.normalise() returns trigger
  language plpgsql
  as $$ begin new.type := lower(new.type); return new; end; $$;
create trigger a_contacts_normalise before insert or update on public.contacts
  for each row execute function pg_temp.normalise();
insert into public.contacts (tenant_id, type) values (:'apex', 'LEAD');
select is(pg_temp.runs(:'lead'), 258::bigint, 'a row that is normalised on its way in');
select is((select trigger_data #>> '{contact,type}' from pg_temp.only_run(:'lead')), 'lead',
  'is captured as it was stored');

-- A client under row level security.
select pg_temp.sign_in(:'sam');
insert into public.contacts (tenant_id, first_name) values (:'apex', 'By Sam');
update public.contacts set stage = 'quoted' where first_name = 'By Sam';
select pg_temp.sign_out();
select is(array[pg_temp.runs(:'lead'), pg_temp.runs(:'updated')], array[259, 505]::bigint[],
  'a member''s write fires');
select is((select trigger_data ->> 'user_id' from pg_temp.only_run(:'lead')), :'sam',
  'and the execution knows who wrote');
select pg_temp.act_as('service_role');
insert into public.contacts (tenant_id, first_name) values (:'apex', 'By a program');
select pg_temp.sign_out();
select is(pg_temp.runs(:'lead'), 260::bigint, 'a program''s write with the service key fires');
select is((select trigger_data -> 'user_id' from pg_temp.only_run(:'lead')), 'null',
  'and names nobody');
select set_config('request.jwt.claims', '{"sub": not JSON', true);
select pg_temp.contact(:'apex');
select is(pg_temp.runs(:'lead'), 261::bigint, 'claims that are not JSON do not hurt');
select set_config('request.jwt.claims', '', true);

-- A replica's session applies rows that fired where they were written.
set local session_replication_role = replica;
select pg_temp.contact(:'apex', 'Replicated');
set local session_replication_role = origin;
select is(pg_temp.runs(:'lead'), 261::bigint, 'replication does not fire again');

select is((select count(*) from ridgeline.scheduled_steps), (select count(*) from ridgeline.workflow_executions),
  'every execution has its first step queued');
select is((select count(*) from ridgeline.workflow_executions where status <> 'pending'), 0::bigint,
  'and none has failed');

select * from finish();
rollback;

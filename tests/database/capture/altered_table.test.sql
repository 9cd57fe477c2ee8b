-- Somebody drops a column of an attached table and forgets to attach it again.
begin;
\ir ../foundation/story.psql
select plan(6);
set local client_min_messages = error;

select pg_temp.tenant() as apex \gset
select pg_temp.workflow(:'apex', 'contact_created') as flow \gset
select pg_temp.workflow(:'apex', 'contact_updated') as updates \gset
select pg_temp.contact(:'apex') as maria \gset
alter table public.contacts drop column source;

select lives_ok(format('insert into public.contacts (tenant_id) values (%L)', :'apex'), 'the office can still add a lead');
select lives_ok(format('update public.contacts set stage = ''won'' where id = %L', :'maria'), 'and change one');
select is(pg_temp.runs(:'flow'), 1::bigint, 'nothing fires meanwhile');

select automation.attach('public.contacts', 'contact', '{}', '[{"type": "stage_changed", "column": "stage"}]');
insert into public.contacts (tenant_id) values (:'apex');
update public.contacts set stage = 'lost' where id = :'maria';
select is(pg_temp.runs(:'flow'), 2::bigint, 'attached again it does');
select is(pg_temp.runs(:'updates'), 1::bigint, 'changes too');
select is((select stage from public.contacts where id = :'maria'), 'lost', 'and nothing was lost');
select * from finish();
rollback;

-- A platform with more tenants than a claim can visit: one tenant's flood keeps nobody waiting, and a
-- claim never comes back empty beside a full queue.
begin;
\ir ../foundation/story.psql
select plan(3);
-- These steps name a number, which is no contact's.
alter table public.tenants alter column text_strangers set default true;

insert into public.tenants (name) select 'Tenant ' || n from generate_series(1, 900) as n;
select pg_temp.workflow(t.id, 'contact_created', '{}',
  '[{"type": "send_sms", "config": {"to": "+15125550100", "body": "Hi"}, "delay": 600}]')
from public.tenants as t;
insert into public.contacts (tenant_id) select id from public.tenants;

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Zeta Decks') as zeta \gset
select pg_temp.workflow(t.id, 'contact_created', '{}',
  '[{"type": "send_sms", "config": {"to": "+15125550100", "body": "Hi"}}]')
from public.tenants as t where t.id in (:'apex', :'zeta');
insert into public.contacts (tenant_id) select :'apex' from generate_series(1, 3000);
insert into public.contacts (tenant_id) values (:'zeta');

select is((select count(*) from ridgeline.scheduled_steps where run_at > automation.now()), 900::bigint,
  'nine hundred tenants have something delayed');
create temp table claimed as select * from automation.claim_steps('w', 20);
select is((select count(*) from claimed), 20::bigint, 'a claim is filled');
select is((select count(*) from claimed where tenant_id = :'zeta'), 1::bigint, 'and Zeta''s one step is in it');
select * from finish();
rollback;

-- A platform with more tenants than a claim can visit: one tenant's flood keeps nobody waiting, and a
-- claim never comes back empty beside a full queue.
begin;
\ir ../foundation/story.psql
select plan(3);
-- These steps name a number, which is no contact's.
alter table public.tenants alter column text_strangers set default true;

-- Published once, and the same of each: nine hundred would be half a minute of this file.
select pg_temp.tenant('Tenant 1') as first \gset
select pg_temp.workflow(:'first', 'contact_created', '{}',
  '[{"type": "send_sms", "config": {"to": "+15125550100", "body": "Hi"}, "delay": 600}]') as flow \gset
create temp table others as
with made as (
  insert into public.tenants (name) select 'Tenant ' || n from generate_series(2, 900) as n returning id)
select jsonb_build_object('tenant_id', id, 'workflow_id', gen_random_uuid()) as changes from made;
insert into ridgeline.workflows (tenant_id, id, name, trigger_type)
select (changes ->> 'tenant_id')::uuid, (changes ->> 'workflow_id')::uuid, 'copy', 'contact_created' from others;
insert into ridgeline.workflow_versions
select (jsonb_populate_record(v, changes || jsonb_build_object('id', gen_random_uuid()))).*
from ridgeline.workflow_versions as v, others where v.workflow_id = :'flow';
create temp table copies as
select (jsonb_populate_record(t, changes)).* from automation.active_triggers as t, others where t.workflow_id = :'flow';
alter table copies drop column plainly;
insert into automation.active_triggers table copies;
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

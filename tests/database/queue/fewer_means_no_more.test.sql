-- A dispatcher that gets fewer steps than it asked for may rest: nothing more is due.
begin;
\ir ../foundation/story.psql
select plan(5);

select pg_temp.tenant('Apex Roofing') as apex \gset
select pg_temp.tenant('Blue Ridge Solar') as blue \gset
select pg_temp.tenant('Zeta Decks') as zeta \gset
select pg_temp.workflow(t.id, 'contact_created', '{}', '[{"type": "send_sms", "config": {"body": "Hi"}}]')
from public.tenants as t;

-- Thirty-five leads who opted out, and behind them two who did not.
insert into public.contacts (tenant_id, first_name, phone)
select :'apex', 'Lead ' || n, '+1512555' || 1000 + n from generate_series(1, 35) as n;
insert into ridgeline.suppressions (tenant_id, channel, address, reason)
select :'apex', 'sms', phone, 'opt_out' from public.contacts;
insert into public.contacts (tenant_id, first_name, phone)
values (:'apex', 'Maria', '+15125550100'), (:'apex', 'Pat', '+15125550101');
select is(
  (select count(*) from automation.claim_steps('w', 10)), 2::bigint,
  'steps that the claim itself closes do not hide those behind them');
select is(
  (select count(*) from ridgeline.workflow_step_executions where status = 'skipped'), 35::bigint,
  'the others were closed, and say why');

-- Forty of one tenant and one each of two others: shares first, then what is left.
insert into public.contacts (tenant_id, first_name, phone)
select :'apex', 'Lead ' || n, '+1512777' || 1000 + n from generate_series(1, 40) as n;
insert into public.contacts (tenant_id, first_name, phone)
values (:'blue', 'Ana', '+15125550102'), (:'zeta', 'Lou', '+15125550103');
create temp table claimed as select * from automation.claim_steps('w', 30);
select is((select count(*) from claimed), 30::bigint, 'a claim is filled up as long as anything is due');
select is((select count(distinct tenant_id) from claimed), 3::bigint, 'and everybody is in it');
select is(
  (select count(*) from automation.claim_steps('w', 30)), 12::bigint, 'the next one gets the rest, and is short');
select * from finish();
rollback;

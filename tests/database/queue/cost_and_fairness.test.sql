-- A claim costs what it claims: not what is delayed, not what others have waiting, and not what the
-- statistics of an empty table once said.
begin;
\ir ../foundation/story.psql
\ir backlog.psql
select plan(21);
-- These steps name a number, which is no contact's.
alter table public.tenants alter column text_strangers set default true;

analyze ridgeline.scheduled_steps, ridgeline.workflow_executions, automation.active_triggers;
select pg_temp.tenant('Apex Roofing', '00000000-0000-0000-0000-00000000000a') as apex \gset
select pg_temp.tenant('Blue Ridge Solar', '00000000-0000-0000-0000-00000000000b') as blue \gset
select pg_temp.tenant('Zeta Decks', '00000000-0000-0000-0000-00000000000f') as zeta \gset

-- Rows that a statement reads of the queue, by any index, and sequential scans it makes.
create function pg_temp.reads() returns bigint[]
  language sql volatile
  as $$
    select array[coalesce(idx_tup_fetch, 0), seq_scan]
    from pg_stat_xact_user_tables where relname = 'scheduled_steps'
  $$;
create function pg_temp.cost_of(statement text) returns bigint
  language plpgsql
  as $$
declare
  before constant bigint[] := pg_temp.reads();
  after bigint[];
begin
  execute statement;
  after := pg_temp.reads();
  return after[1] - before[1] + 1000000 * (after[2] - before[2]);
end;
$$;

-- A session that planned everything while the queue was empty keeps those plans.
select count(*) from generate_series(1, 7) as n, lateral automation.claim_steps('w', 10 + n * 0);
select count(*) from generate_series(1, 7) as n, lateral automation.run_database_steps(10 + n * 0);
select count(*) from generate_series(1, 7) as n, lateral automation.reap_expired_leases(10 + n * 0);
set local enable_seqscan = on;

-- 30,000 rows delayed.
select pg_temp.backlog(:'apex', :'sms', 20000, '1 day');
select pg_temp.backlog(:'apex', :'task', 10000, '1 day');
select cmp_ok(pg_temp.cost_of(statement), '<=', 4::bigint, 'nothing due behind 30,000 delayed rows: ' || statement)
from (values
  ('select automation.claim_steps(''w'', 50)'), ('select automation.run_database_steps(50)'),
  ('select automation.reap_expired_leases()'), ('select automation.next_due_at()'),
  ('select automation.tick()')
) as v (statement);
select pg_temp.backlog(:'apex', :'sms', 50, '-1 hour');
select cmp_ok(pg_temp.cost_of('select automation.claim_steps(''w'', 50)'), '<', 1000::bigint,
  'a claim of fifty reads a few rows for each');
select is((select count(*) from ridgeline.scheduled_steps where attempt_token is not null), 50::bigint, 'it claimed the fifty');
update ridgeline.scheduled_steps set lease_expires_at = clock_timestamp() - interval '1 second' where attempt_token is not null;
select cmp_ok(pg_temp.cost_of('select automation.reap_expired_leases(10)'), '<', 100::bigint, 'reaping ten reads a few for each');
analyze ridgeline.scheduled_steps;
select cmp_ok(pg_temp.cost_of(statement), '<=', 4::bigint, 'with fresh statistics too: ' || statement)
from (values ('select automation.claim_steps(''w'', 50)'), ('select automation.run_database_steps(50)')) as v (statement);
delete from ridgeline.scheduled_steps where lane = 'sms';

-- A flood, and one lead of somebody else.
select pg_temp.backlog(:'zeta', :'sms', 1, '-1 second');
select pg_temp.backlog(:'apex', :'sms', 20000, '-1 hour');
select cmp_ok(pg_temp.cost_of($$create temp table first_claim as select * from automation.claim_steps('w', 20)$$), '<', 2000::bigint,
  'a claim out of 20,000 due rows reads few of them');
select is(array_agg(distinct tenant_id), array[:'apex', :'zeta']::uuid[],
  'the tenant with one step is in the first claim') from first_claim;
select cmp_ok(count(*), '>=', 10::bigint, 'which is not left half empty') from first_claim;
select pg_temp.backlog(:'blue', :'sms', 3, '-1 second');
select pg_temp.backlog(:'zeta', :'sms', 3, '-1 second');
create temp table second_claim as select * from automation.claim_steps('w', 9);
select is(string_agg(n || ' ' || name, ', ' order by name), '3 Apex Roofing, 3 Blue Ridge Solar, 3 Zeta Decks', 'each gets its share')
from (select count(*) as n, t.name from second_claim as c join public.tenants as t on t.id = c.tenant_id group by 2) as s;

-- Many small tenants, and fewer places than tenants: nobody is left behind for good.
delete from ridgeline.scheduled_steps;
insert into public.tenants (name) select 'Tenant ' || n from generate_series(1, 30) as n;
select pg_temp.backlog(t.id, :'sms', 2000, '-1 hour') from public.tenants as t where t.name = 'Tenant 7';
select pg_temp.backlog(t.id, :'sms', 2, '-1 minute') from public.tenants as t;
create temp table served (round integer, tenant_id uuid);
do $$
begin
  for round in 1 .. 40 loop
    insert into served select round, c.tenant_id from automation.claim_steps('w', 8) as c;
  end loop;
end;
$$;
select is((select count(distinct tenant_id) from served), 33::bigint, 'all thirty-three tenants were served');

-- When there is little to do the oldest goes first.
delete from ridgeline.scheduled_steps;
select pg_temp.backlog(:'apex', :'sms', 2, '-1 minute');
select pg_temp.backlog(:'zeta', :'sms', 1, '-1 hour');
select is((select tenant_id from automation.claim_steps('w', 1)), :'zeta'::uuid, 'the one that has waited longest');
delete from ridgeline.scheduled_steps;
select pg_temp.backlog(:'apex', :'sms', 30, '-2 minutes');
create temp table in_order as select c.step_id, row_number() over () as place from automation.claim_steps('w', 10) as c;
select is(
  (select array_agg(step_id order by place) from in_order),
  (select array_agg(s.id order by s.run_at, s.id) from (
    select id, run_at from ridgeline.scheduled_steps order by run_at, id limit 10) as s),
  'a tenant''s own steps go in the order they are due');

-- The other lane alike.
delete from ridgeline.scheduled_steps;
select pg_temp.backlog(:'apex', :'task', 5000, '-1 hour');
select pg_temp.backlog(:'zeta', :'task', 1, '-1 second');
select cmp_ok(pg_temp.cost_of('select automation.run_database_steps(10)'), '<', 1000::bigint, 'ten database steps out of five thousand');
select is((select count(*) from public.tasks where tenant_id = :'zeta'), 1::bigint, 'Zeta''s is among them');
select cmp_ok((select count(*) from public.tasks), '<=', 10::bigint, 'and no more than ten were run');
delete from ridgeline.scheduled_steps;

-- An action finds its record by its key.
insert into public.contacts (tenant_id, first_name) select :'blue', 'Contact ' || n from generate_series(1, 5000) as n;
delete from ridgeline.scheduled_steps;
select pg_temp.workflow(:'blue', 'stage_changed', '{}', '[{"type": "update_contact", "config": {"fields": {"city": "Austin"}}}]');
update public.contacts set stage = 'won' where first_name = 'Contact 77';
select coalesce(idx_tup_fetch, 0) + seq_tup_read as before from pg_stat_xact_user_tables where relname = 'contacts' \gset
select pg_temp.settle();
select cmp_ok((select coalesce(idx_tup_fetch, 0) + seq_tup_read from pg_stat_xact_user_tables where relname = 'contacts') - :before, '<', 50::bigint,
  'updating one contact of five thousand reads a few rows');

select * from finish();
rollback;

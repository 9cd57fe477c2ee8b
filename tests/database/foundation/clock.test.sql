-- Time that tests may move, and nobody else.
begin;
\ir story.psql
select plan(28);

-- Refused.
select alike(pg_temp.error_of(statement), expected, statement)
from (values
  ('select automation.set_clock(null)', '22023 to_time: %'),
  ('select automation.set_clock(''infinity'')', '22023 to_time: %'),
  ('select automation.advance_clock(null)', '22023 by_interval: %')
) as v (statement, expected);
set local automation.test_clock = 'off';
select alike(pg_temp.error_of(statement), '55000 the test clock is off in this database | %', 'off: ' || statement)
from (values ('select automation.set_clock(now())'), ('select automation.advance_clock(''1 day'')'), ('select automation.reset_clock()')) as v (statement);
set local automation.test_clock = 'on';
select automation.advance_clock('1 day');
set local automation.test_clock = 'off';
select is(automation.now(), now(), 'where it is off a clock that was set once has no effect');
set local automation.test_clock = '';
select is(automation.now(), now(), 'nor where it is empty');
set local automation.test_clock = 'on';
select automation.reset_clock();
select pg_temp.sign_in(gen_random_uuid());
select alike(pg_temp.error_of(statement), '42501 %', 'a member: ' || statement)
from (values ('select automation.set_clock(now())'), ('select automation.advance_clock(''1 day'')'), ('select automation.reset_clock()')) as v (statement);
select is(automation.now(), now(), 'a member may read it');
select pg_temp.sign_out();
select pg_temp.act_as('anon');
select alike(pg_temp.error_of('select automation.now()'), '42501 %', 'anon may not');
select pg_temp.sign_out();

-- Moved.
select is(automation.now(), now(), 'it starts on the real time');
select is(automation.set_clock('2030-01-02T03:04:05Z'), '2030-01-02T03:04:05Z', 'set');
select is(automation.now(), '2030-01-02T03:04:05Z', 'it stands still within a transaction');
select is(automation.advance_clock('24 hours'), '2030-01-03T03:04:05Z', 'forward');
select is(automation.advance_clock('-24 hours'), '2030-01-02T03:04:05Z', 'back');
select pg_temp.tenant() as apex \gset
select is(created_at, '2030-01-02T03:04:05Z', 'rows carry its time') from public.tenants;
update public.tenants set name = 'Apex';
select is(updated_at, automation.now(), 'changes too') from public.tenants;
select is(automation.reset_clock(), now(), 'reset');
select is(automation.advance_clock('1 hour'), now() + interval '1 hour', 'forward from the real time');
select pg_temp.act_as('service_role');
select is(automation.set_clock('2031-01-01Z'), '2031-01-01Z', 'the service role may');
select is(automation.reset_clock(), now(), 'set it back as well');
select pg_temp.sign_out();

-- Identifiers.
select is(substr(automation.new_id()::text, 15, 1), '7', 'identifiers are of version 7');
select matches(substr(automation.new_id()::text, 20, 1), '[89ab]', 'in the variant of the standard');
select is(count(distinct automation.new_id()), 1000::bigint, 'and never the same') from generate_series(1, 1000);
select cmp_ok(abs(extract(epoch from clock_timestamp()) * 1000
  - ('x' || lpad(replace(left(automation.new_id()::text, 13), '-', ''), 16, '0'))::bit(64)::bigint), '<', 2000.0, 'they begin with the time');

select * from finish();
rollback;

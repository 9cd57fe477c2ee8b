-- Identifiers of what is written at a high rate: version 7, in the order they were made, on every server.
begin;
select plan(4);
create temp table made as
  select n, automation.new_id() as id from generate_series(1, 2000) as n;
select is((select count(distinct id) from made), 2000::bigint, 'no two are the same');
select ok((select bool_and(id::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$') from made), 'each is a version 7');
select ok((select bool_and(abs(('x' || substr(replace(id::text, '-', ''), 1, 12))::bit(48)::bigint
  - extract(epoch from clock_timestamp()) * 1000) < 60000) from made), 'made now');
-- Before 18 two of the same microsecond have no order.
select ok((select count(*) from (select id, lag(id) over (order by n) as before from made) as m where m.id < m.before) < 20,
  'and after the one before');
select * from finish();
rollback;

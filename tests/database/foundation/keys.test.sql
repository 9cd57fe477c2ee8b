-- An id of the CRM as the engine keeps it: any text may come, and what is no UUID must never be read as one.
begin;
select plan(4);

create temp table given (value text);
insert into given values
  (null), (''), ('5'), ('00000000-0000-0000-0000-00000000000a'), ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'),
  ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111'),
  ('a0eebc999c0b4ef8bb6d6bb9bd380a11'), ('{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'),
  ('g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g'),
  -- Dashes where digits belong, and digits where dashes do.
  ('------------------------------------'), ('a-eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
  ('a0eebc9-99c0b-4ef8-bb6d-6bb9bd380a11'), ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a--'),
  ('a0eebc9909c0b04ef80bb6d06bb9bd380a11'),
  -- A line that ends, a line before it, and other people's digits.
  (E'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\n'), (E'\na0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
  (E'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1\n'), (E'a0eebc99\n9c0b-4ef8-bb6d-6bb9bd380a11'),
  ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1١'), ('ａ0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'), (repeat('a', 300)), ('%_\');
insert into given
select overlay(u.value placing c.written from place for 1)
from (values ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')) as u (value)
cross join generate_series(1, 36) as place
cross join unnest(array['-', 'F', 'g', '_', ' ', '0', E'\n', 'é', ':', '@', '[', '`', '{', '/']) as c (written);

select is((
    select count(*) from given
    where (value ~* '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$') is distinct from
      case when value is not null then automation.as_uuid(value) is not null end),
  0::bigint, 'what has the shape of a UUID is one, and nothing else');
select cmp_ok((select count(automation.as_uuid(value)) from given), '>', 60::bigint, 'some are');
select is(automation.as_key('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
  'a UUID is kept as Postgres writes it');
select is(automation.as_key(repeat('a', 300)), repeat('a', 200), 'and of any other no more than an index takes');

select * from finish();
rollback;

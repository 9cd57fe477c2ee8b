begin;
select plan(20);

create function pg_temp.holds(document jsonb) returns boolean
  language sql
  as $$
    select automation.evaluate_conditions(
      (automation.compile_conditions(document, 'conditions')).compiled, '{"contact": {"yes": true}}')
  $$;
-- Y holds and N does not.
create function pg_temp.written(document text) returns jsonb
  language sql
  as $$
    select replace(replace(document, 'Y', '{"field": "contact.yes", "operator": "is_true"}'),
      'N', '{"field": "contact.yes", "operator": "is_false"}')::jsonb
  $$;

select is(pg_temp.holds(pg_temp.written(document)), expected, document)
from (values
  ('{"all": [Y, Y]}', true),
  ('{"all": [Y, N]}', false),
  ('{"any": [N, Y]}', true),
  ('{"any": [N, N]}', false),
  ('{"not": Y}', false),
  ('{"not": {"any": [N, {"all": [Y, {"not": Y}]}]}}', true),
  ('{"operator": "OR", "conditions": [N, Y]}', true),
  ('{"operator": "and", "conditions": [N, Y]}', false),
  ('{"all": []}', true),
  ('{"all": [Y, {}, [], null]}', true),
  ('{"not": {}}', false),
  ('[Y, N]', false),
  ('{"any": [{"not": N}, Y]}', true)
) as documents (document, expected);

select is(
  (select compiled from automation.compile_conditions(document::jsonb, 'conditions')),
  null, format('%s holds always and compiles to nothing', document))
from (values ('[]'), ('{}'), ('null')) as empty (document);
select ok(automation.evaluate_conditions(null, '{}'), 'no conditions hold');
select ok(automation.evaluate_conditions(null, null), 'of anything');

-- Nested as deep as is allowed, and one deeper.
create function pg_temp.nested(depth int) returns jsonb
  language sql
  as $$
    select (repeat('{"not": ', depth)
      || '{"field": "contact.yes", "operator": "is_true"}' || repeat('}', depth))::jsonb
  $$;
select ok(pg_temp.holds(pg_temp.nested(50)), 'fifty groups nest');
select is(
  (select problems -> 0 ->> 'code' from automation.compile_conditions(pg_temp.nested(51))),
  'too_deep', 'fifty-one do not');

select * from finish();
rollback;

begin;
select plan(11);

-- A condition's logic joins it to what stands before it, from left to right.
create function pg_temp.holds(list text) returns boolean
  language sql
  as $$
    select automation.evaluate_conditions(
      (automation.compile_conditions((
        select jsonb_agg(jsonb_build_object(
          'field', 'contact.yes',
          'operator', case right(item, 1) when 'Y' then 'is_true' else 'is_false' end,
          'logic', substring(item from '^(\S+) ')) order by position)
        from unnest(string_to_array(list, ', ')) with ordinality as items (item, position)),
        'conditions')).compiled,
      '{"contact": {"yes": true}}')
  $$;

select is(pg_temp.holds(list), expected, list)
from (values
  ('Y', true),
  ('Y, Y', true),
  ('Y, N', false),
  ('N, OR Y', true),
  ('N, or N, or Y', true),
  ('Y, OR N, AND N', false),
  ('N, AND N, OR Y', true),
  ('Y, OR Y, N', false)
) as lists (list, expected);

select is(
  automation.evaluate_conditions(c.compiled, '{"contact": {"stage": "Lead"}}'), true,
  'the list of the legacy manual workflow')
from automation.compile_conditions(
  '[{"field": "contact.stage", "operator": "equals", "value": "lead"}]') as c;
select is(c.problems -> 0 ->> 'code', 'unused_logic',
  'an "or" on the first condition alone is pointed out')
from automation.compile_conditions('[{"field": "a", "operator": "is_true", "logic": "OR"},
  {"field": "b", "operator": "is_true"}]') as c;
select is(c.problems -> 0 ->> 'path', 'conditions[1].logic', 'and a logic that is none is refused')
from automation.compile_conditions('[{"field": "a", "operator": "is_true"},
  {"field": "b", "operator": "is_true", "logic": "xor"}]') as c;

select * from finish();
rollback;

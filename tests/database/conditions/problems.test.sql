begin;
select plan(35);

-- Each kind of bad document is refused with the path of what is wrong.
create function pg_temp.first_problem(document text) returns text
  language sql
  as $$
    select concat_ws(' ', p ->> 'severity', p ->> 'code', p ->> 'path')
    from automation.compile_conditions(document::jsonb, 'steps[2].conditions') as c,
      jsonb_array_elements(c.problems) with ordinality as problems (p, position)
    order by position limit 1
  $$;

select is(pg_temp.first_problem(document), replace(problem, ' $', ' steps[2].conditions'), document)
from (values
  ('7', 'error invalid_condition $'),
  ('"stage"', 'error invalid_condition $'),
  ('{"field": 1, "operator": "is_empty"}', 'error invalid_field $.field'),
  ('{"operator": "is_empty"}', 'error invalid_field $.field'),
  ('{"field": "contact..stage", "operator": "is_empty"}', 'error invalid_field $.field'),
  ('{"field": "contact.stage"}', 'error unknown_operator $.operator'),
  ('{"field": "a", "operator": "is"}', 'error unknown_operator $.operator'),
  ('{"field": "a", "operator": "EQUALS", "value": 1}', 'error unknown_operator $.operator'),
  ('{"field": "a", "operator": "equals"}', 'error missing_value $.value'),
  ('{"field": "a", "operator": "equals", "value": {"field": "b."}}',
    'error invalid_field $.value.field'),
  ('{"field": "a", "operator": "was", "value": {"field": "b"}}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "contains", "value": ""}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "contains", "value": null}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "greater_than", "value": true}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "between", "value": [1]}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "between", "value": 1}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "before", "value": "next week"}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "before", "value": "2026-02-29"}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "within_last", "value": 3}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "within_last", "value": {"days": -1}}',
    'error invalid_value $.value'),
  ('{"field": "a", "operator": "within_last", "value": "200 years"}',
    'error invalid_value $.value'),
  ('{"field": "a", "operator": "in", "value": "a,b"}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "in", "value": []}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "in", "value": ["a", null]}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "matches", "value": "(a"}', 'error invalid_value $.value'),
  ('{"field": "a", "operator": "is_empty", "case_sensitive": "no"}',
    'error invalid_value $.case_sensitive'),
  ('{"any": []}', 'error empty_group $.any'),
  ('{"all": {}}', 'error invalid_group $.all'),
  ('{"all": [], "any": []}', 'error invalid_group $'),
  ('{"conditions": []}', 'error invalid_group $.operator'),
  ('{"all": [{"any": [{"field": "a", "operator": "x"}]}]}',
    'error unknown_operator $.all[0].any[0].operator'),
  ('{"not": {"not": 1}}', 'error invalid_condition $.not.not'),
  ('{"field": "a", "operator": "between", "value": [5, 1]}', 'warning impossible_condition $.value'),
  ('{"field": "a", "operator": "is_empty", "vale": 1}', 'warning unknown_key $.vale')
) as documents (document, problem);

select ok(not automation.evaluate_conditions(c.compiled, '{}'),
  'what does not compile lets nothing through')
from automation.compile_conditions('{"field": "a", "operator": "nope"}') as c;

select * from finish();
rollback;

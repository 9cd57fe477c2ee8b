begin;
select plan(40);

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
  ('{"field": "a", "operator": "is_empty", "vale": 1}', 'error unknown_key $.vale'),
  ('{"field": "a", "operator": "equals", "vale": 1}', 'error unknown_key $.vale'),
  ('{"field": "a", "operator": "is_empty", "logic_gate": "OR"}', 'error unknown_key $.logic_gate')
) as documents (document, problem);

select ok(not automation.evaluate_conditions(c.compiled, '{}'),
  'what does not compile lets nothing through')
from automation.compile_conditions('{"field": "a", "operator": "nope"}') as c;

-- A key that nobody reads: what was meant is told, and what was published while it was a warning runs on as it did.
select is((automation.compile_conditions('{"field": "a", "operator": "equals", "value": "A", "caseSensitive": true}')).problems
  #>> '{0,hint}', 'Did you mean case_sensitive?', 'a setting in camel case');
select is((automation.compile_conditions('{"field": "a", "operator": "is_empty", "logic_gate": "OR"}')).problems
  #>> '{0,hint}', 'It knows: field, operator, value, logic, case_sensitive, mode, id, label.', 'what no name is like');
select ok(automation.evaluate_conditions(c.compiled, '{"contact": {"stage": "lead"}}'), 'the condition itself is asked all the same')
from automation.compile_conditions('[{"field": "contact.stage", "operator": "equals", "value": "lead", "weight": 3}]') as c;

select * from finish();
rollback;

begin;
select plan(3);

select is(
  automation.explain_conditions(c.compiled,
    '{"contact": {"stage": "Lead", "score": 3}, "project": {"score": 5}}'),
  '{"any": [
      {"path": "conditions.any[0]", "field": "contact.stage", "operator": "not_equals",
       "expected": "lead", "actual": "Lead", "verdict": false},
      {"not": {"path": "conditions.any[1].not", "field": "contact.score",
        "operator": "less_than", "expected": 5, "actual": 3, "verdict": true}, "verdict": false}],
    "verdict": false}'::jsonb,
  'every condition says what it saw, although the verdict was clear before')
from automation.compile_conditions('{"any": [
  {"field": "contact.stage", "operator": "not_equals", "value": "lead"},
  {"not": {"field": "contact.score", "operator": "less_than",
    "value": {"field": "project.score"}}}]}') as c;

select is(automation.explain_conditions(null, '{}'), '{"verdict": true}'::jsonb,
  'no conditions: the verdict alone');
select is(
  automation.explain_conditions(c.compiled, '{"trigger": {"record": {"stage": "won"},
    "old": {"stage": "new"}}}') -> 'before', '"new"'::jsonb, 'a change shows what was before')
from automation.compile_conditions(
  '{"field": "stage", "operator": "changed_to", "value": "won"}') as c;

select * from finish();
rollback;

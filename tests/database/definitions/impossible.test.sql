-- Conditions that cannot be true together are allowed, since who writes them may be half way, but are
-- pointed at: a workflow that never fires looks like one that is broken.
begin;
\ir ../foundation/story.psql
select plan(78);

select pg_temp.tenant() as apex \gset
-- The paths that are said to be impossible, or to hold anyway.
create function pg_temp.odd(
  tenant uuid, conditions text, event text default 'contact_updated', config text default '{}')
  returns text
  language sql
  as $$ select pg_temp.findings(tenant, event, config::jsonb, conditions => conditions::jsonb) $$;
-- A list of [operator, value?] about one field, all of which are to hold.
create function pg_temp.all_of(field text, asked jsonb) returns text
  language sql
  as $$
    select jsonb_build_object('all', jsonb_agg(jsonb_strip_nulls(jsonb_build_object(
      'field', field, 'operator', a ->> 0, 'value', a -> 1)) order by position))::text
    from jsonb_array_elements(asked) with ordinality as e (a, position)
  $$;

select is(pg_temp.odd(:'apex', pg_temp.all_of(field, asked::jsonb)),
  case when impossible then 'warning impossible_condition conditions.all[1]' end,
  case when impossible then 'never: ' else 'possible: ' end || field || ' ' || asked)
from (values
  ('contact.stage', '[["equals", "lead"], ["equals", "won"]]', true),
  ('contact.stage', '[["equals", "lead"], ["equals", "LEAD"]]', false),
  ('contact.stage', '[["equals", "lead"], ["not_equals", "lead"]]', true),
  ('contact.stage', '[["equals", "lead"], ["not_equals", "won"]]', false),
  ('contact.stage', '[["not_equals", "lead"], ["not_equals", "won"]]', false),
  ('contact.stage', '[["equals", "lead"], ["in", ["won", "lost"]]]', true),
  ('contact.stage', '[["equals", "lead"], ["in", ["won", "Lead"]]]', false),
  ('contact.stage', '[["equals", "lead"], ["not_in", ["won", "lead"]]]', true),
  ('contact.stage', '[["in", ["a", "b"]], ["in", ["c", "d"]]]', true),
  ('contact.stage', '[["in", ["a", "b"]], ["in", ["b", "c"]]]', false),
  ('contact.stage', '[["in", ["a", "b"]], ["not_in", ["a", "b", "c"]]]', true),
  ('contact.stage', '[["in", ["a", "b"]], ["not_equals", "a"]]', false),
  ('contact.stage', '[["equals", "lead"], ["contains", "won"]]', true),
  ('contact.stage', '[["equals", "lead"], ["starts_with", "LE"]]', false),
  ('contact.stage', '[["equals", "lead"], ["matches", "^w"]]', true),
  ('contact.stage', '[["equals", "lead"], ["is_empty"]]', true),
  ('contact.stage', '[["is_empty"], ["is_not_empty"]]', true),
  ('contact.stage', '[["is_empty"], ["contains", "a"]]', true),
  ('contact.stage', '[["is_empty"], ["not_contains", "a"]]', false),
  ('contact.stage', '[["is_empty"], ["not_equals", "a"]]', false),
  ('contact.stage', '[["greater_than", "m"], ["less_than", "c"]]', true),
  ('contact.lead_score', '[["greater_than", 10], ["less_than", 5]]', true),
  ('contact.lead_score', '[["greater_than", 10], ["less_than", 10]]', true),
  ('contact.lead_score', '[["greater_or_equal", 10], ["less_or_equal", 10]]', false),
  ('contact.lead_score', '[["greater_or_equal", 10], ["less_than", 10]]', true),
  ('contact.lead_score', '[["between", [1, 5]], ["between", [6, 9]]]', true),
  ('contact.lead_score', '[["between", [1, 5]], ["between", [5, 9]]]', false),
  ('contact.lead_score', '[["equals", 5], ["greater_than", 10]]', true),
  ('contact.lead_score', '[["equals", 50], ["greater_than", "10"]]', false),
  ('contact.lead_score', '[["in", [5, 50]], ["greater_than", 10]]', false),
  ('contact.lead_score', '[["is_empty"], ["greater_than", 10]]', true),
  ('contact.lead_score', '[["is_empty"], ["not_equals", 10]]', false),
  ('contact.custom_fields.x', '[["is_true"], ["is_false"]]', true),
  ('contact.custom_fields.x', '[["greater_than", 5], ["before", "2026-01-01"]]', true),
  ('contact.last_contacted_at', '[["after", "2026-03-01"], ["before", "2026-02-01"]]', true),
  ('contact.last_contacted_at', '[["after", "2026-03-01"], ["before", "2026-03-01"]]', true),
  ('contact.last_contacted_at', '[["after", "2026-02-01"], ["before", "2026-03-01"]]', false),
  ('contact.last_contacted_at', '[["equals", "2026-03-08"], ["after", "2026-03-08T12:00:00Z"]]', false),
  ('contact.last_contacted_at', '[["equals", "2026-03-08"], ["equals", "2026-03-09"]]', true),
  ('contact.last_contacted_at', '[["within_last", "3 days"], ["before", "now"]]', false),
  ('contact.last_contacted_at', '[["within_last", "3 days"], ["is_empty"]]', true),
  ('contact.stage', '[["changed_to", "won"], ["changed_to", "lost"]]', true),
  ('contact.stage', '[["changed_to", "won"], ["equals", "lost"]]', true),
  ('contact.stage', '[["changed_from", "won"], ["equals", "lost"]]', false),
  ('contact.stage', '[["was", "won"], ["changed_from", "lost"]]', true),
  ('contact.tags', '[["contains", "vip"], ["contains", "storm"]]', false),
  ('contact.tags', '[["includes_any", ["vip"]], ["includes_any", ["storm"]]]', false)
) as v (field, asked, impossible);

-- The same value under another name, in other groups, negated.
select is(pg_temp.odd(:'apex', conditions), said, conditions)
from (values
  ('[{"field": "stage", "operator": "equals", "value": "lead"},
     {"field": "trigger.contact.stage", "operator": "equals", "value": "won"}]',
   'warning impossible_condition conditions[1]'),
  ('{"all": [{"field": "stage", "operator": "equals", "value": "lead"},
     {"all": [{"all": [{"field": "contact.stage", "operator": "equals", "value": "won"}]}]}]}',
   'warning impossible_condition conditions.all[1].all[0].all[0]'),
  ('{"all": [{"field": "stage", "operator": "equals", "value": "lead"},
     {"not": {"field": "contact.stage", "operator": "not_equals", "value": "won"}}]}',
   'warning impossible_condition conditions.all[1].not'),
  ('{"not": {"any": [{"field": "stage", "operator": "not_equals", "value": "lead"},
     {"field": "stage", "operator": "not_equals", "value": "won"}]}}',
   'warning impossible_condition conditions.not.any[1]'),
  -- In one part of an "any", the other still lets records through.
  ('{"any": [{"all": [{"field": "stage", "operator": "equals", "value": "lead"},
     {"field": "stage", "operator": "equals", "value": "won"}]},
     {"field": "source", "operator": "equals", "value": "web"}]}',
   'warning impossible_condition conditions.any[0].all[1]'),
  ('{"all": [{"any": [{"field": "stage", "operator": "equals", "value": "won"},
     {"field": "stage", "operator": "equals", "value": "lead"}]},
     {"field": "stage", "operator": "equals", "value": "lead"}]}',
   'warning impossible_condition conditions.all[0].any[0]'),
  -- The legacy list, left to right: (a or b) and c.
  ('[{"field": "stage", "operator": "equals", "value": "lead"},
     {"field": "stage", "operator": "equals", "value": "won", "logic": "or"}]', null),
  ('[{"field": "stage", "operator": "equals", "value": "lead"},
     {"field": "project.status", "operator": "equals", "value": "won"}]',
   'warning missing_record conditions[1].field'),
  -- "Not a lead, or not a customer" is true of everybody.
  ('{"any": [{"field": "type", "operator": "not_equals", "value": "lead"},
     {"field": "type", "operator": "not_equals", "value": "customer"}]}',
   'warning constant_condition conditions.any[1]'),
  ('{"any": [{"field": "email", "operator": "is_empty"}, {"field": "email", "operator": "is_not_empty"}]}',
   'warning constant_condition conditions.any[1]'),
  ('{"any": [{"field": "lead_score", "operator": "greater_than", "value": 5},
     {"field": "lead_score", "operator": "less_or_equal", "value": 5}]}', null),
  ('{"any": [{"field": "type", "operator": "not_equals", "value": "lead"},
     {"field": "stage", "operator": "not_equals", "value": "customer"}]}', null),
  -- What was said before is not said again.
  ('{"all": [{"not": {"all": []}}]}', 'warning constant_condition conditions'),
  ('{"all": []}', null)
) as v (conditions, said);

-- What the trigger asks for is true of the record that fired.
select is(pg_temp.odd(:'apex', jsonb_build_array(jsonb_build_object(
    'field', field, 'operator', operator, 'value', value::jsonb))::text, event, config), said,
  concat_ws(' ', event, config, field, operator, value))
from (values
  ('contact_created', '{"type": "lead"}', 'contact.type', 'equals', '"customer"', 'warning impossible_condition conditions[0]'),
  ('contact_created', '{"type": "lead"}', 'contact.type', 'equals', '"Lead"', null),
  ('contact_created', '{"type": "lead"}', 'contact.stage', 'equals', '"customer"', null),
  ('contact_created', '{"type": ["lead", "partner"]}', 'type', 'in', '["customer"]', 'warning impossible_condition conditions[0]'),
  ('contact_created', '{"type": ["lead", "partner"]}', 'type', 'not_equals', '"lead"', null),
  ('contact_created', '{"company": null}', 'contact.company', 'contains', '"Roofing"', null),
  ('stage_changed', '{"to": "won"}', 'trigger.contact.stage', 'equals', '"lost"', 'warning impossible_condition conditions[0]'),
  ('stage_changed', '{"from": "won"}', 'contact.stage', 'equals', '"lost"', null),
  ('project_won', '{}', 'project.pipeline_stage', 'equals', '"lost"', 'warning impossible_condition conditions[0]'),
  ('project_won', '{}', 'project.pipeline_stage', 'equals', '"Won"', null),
  ('contact_created', '{}', 'contact.stage', 'changed_to', '"won"', 'warning impossible_condition conditions[0]'),
  ('project_won', '{}', 'contact.stage', 'changed_to', '"won"', 'warning impossible_condition conditions[0]'),
  ('project_won', '{}', 'project.status', 'changed_to', '"won"', null)
) as v (event, config, field, operator, value, said);

-- When a step runs, the live record may have moved on; the snapshot has not.
select is(pg_temp.findings(:'apex', 'contact_created', '{"type": "lead"}', jsonb_build_array(jsonb_build_object(
    'type', 'create_task', 'config', '{"title": "x"}'::jsonb, 'conditions', jsonb_build_array(jsonb_build_object(
      'field', field, 'operator', 'equals', 'value', 'customer'))))), said, field)
from (values ('contact.type', null),
  ('trigger.contact.type', 'warning impossible_condition steps[0].conditions[0]'),
  ('type', 'warning impossible_condition steps[0].conditions[0]')) as v (field, said);

select is(pg_temp.findings(:'apex', 'contact_created', mended => true, conditions => pg_temp.all_of(
    'stage', '[["equals", "lead"], ["equals", "won"]]')::jsonb),
  'never holds: stage equals won cannot be true together with stage equals lead (conditions.all[0])'
  ' | Remove one of them, or join them with "any".', 'in words');

select * from finish();
rollback;

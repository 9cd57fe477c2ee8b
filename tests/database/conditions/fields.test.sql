begin;
select plan(24);

-- Where a field is looked up.
create function pg_temp.actual(field text, context jsonb) returns jsonb
  language sql
  as $$
    select automation.explain_conditions(c.compiled, context) -> 'actual'
    from automation.compile_conditions(
      jsonb_build_object('field', field, 'operator', 'is_empty')) as c
  $$;

select is(pg_temp.actual(field, '{
  "trigger": {"record": {"status": "won"}, "contact": {"type": "lead"}},
  "contact": {"status": "active", "stage": "new", "tags": ["a", "b"], "source": null,
    "custom_fields": {"source": "Web", "Roof type": "Tile", "a.b": 1}},
  "project": {"value": 5, "source": "Storm"}, "job": {"crew": "B"},
  "steps": {"quote": {"items": [{"n": 1}, {"n": 2}]}}}'), actual::jsonb, field)
from (values
  ('contact.stage', '"new"'),
  ('status', '"won"'),
  ('stage', '"new"'),
  ('value', '5'),
  ('crew', '"B"'),
  ('source', 'null'),
  ('custom_fields.source', '"Web"'),
  ('contact.custom_fields["Roof type"]', '"Tile"'),
  ('contact.custom_fields[''a.b'']', '1'),
  ('trigger.contact.type', '"lead"'),
  ('contact.tags[1]', '"b"'),
  ('contact.tags.0', '"a"'),
  ('contact.tags[-1]', '"b"'),
  ('steps.quote.items[1].n', '2'),
  ('contact.stage.deeper', 'null'),
  ('nowhere.at.all', 'null')
) as fields (field, actual);

select is(automation.parse_path(path), null, format('%s is no path', path))
from (values ('a..b'), ('.a'), ('a.'), ('a b'), ('a[x]'), (repeat('a', 201))) as paths (path);

select is(automation.condition_roots(c.compiled), '{contact,steps}',
  'only the parts of the context that are named are needed')
from automation.compile_conditions('{"any": [
  {"field": "contact.stage", "operator": "is_empty"},
  {"field": "contact.x", "operator": "equals", "value": {"field": "steps.a.b"}}]}') as c;
select is(automation.condition_roots(c.compiled), '{contact,job,project,trigger}',
  'a bare field may be in any record')
from automation.compile_conditions('{"field": "stage", "operator": "is_empty"}') as c;

select * from finish();
rollback;

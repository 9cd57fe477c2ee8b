-- Conditions that are asked in somebody's write: the path says what the loop says, or nothing.
begin;
\ir ../foundation/story.psql
select plan(16);

-- "quick loop" for a contact.
create function pg_temp.both(conditions jsonb, contact jsonb) returns text
  language sql
  as $$
    select format('%s %s',
      coalesce((case when q.folds then automation.folded(d.data) else d.data end @@ q.path)::text, '?'),
      automation.evaluate_conditions(
        c.compiled, d.data || jsonb_build_object('trigger', automation.trigger_root(d.data)), 'UTC')::text)
    from (select jsonb_build_object('entity', 'contact', 'contact', contact) as data) as d
    cross join automation.compile_conditions(conditions) as c
    cross join automation.quick_conditions(c.compiled, 'contact') as q
  $$;
create function pg_temp.asks(field text, operator text, value jsonb) returns jsonb
  language sql as $$ select jsonb_build_array(jsonb_build_object('field', field, 'operator', operator, 'value', value)) $$;

select is(pg_temp.both(pg_temp.asks(field, operator, value::jsonb), contact::jsonb), expected, why)
from (values
  ('contact.stage', 'equals', '"Won"', '{"stage": "WON"}', 'true true', 'text without case'),
  ('contact.stage', 'equals', '"won"', '{"stage": "lost"}', 'false false', 'another text'),
  ('contact.stage', 'equals', '"won"', '{"Stage": "won"}', '? false', 'another key'),
  ('contact.stage', 'equals', '"won"', '{}', '? false', 'no such key'),
  ('contact.note', 'equals', '"A\nΣ"', '{"note": "A\nΣ"}', '? true', 'a sigma that is final in one notation only'),
  ('contact.due', 'equals', '"2026-03-08T00:00:00Z"', '{"due": "2026-03-07T19:00:00-05:00"}', '? true', 'one moment in two zones'),
  ('contact.score', 'greater_than', '10', '{"score": "11"}', '? true', 'a text that is a number'),
  ('contact.score', 'greater_than', '10', '{"score": 11}', 'true true', 'a number'),
  ('contact.score', 'less_than', '10', '{"score": null}', 'false false', 'null is not 0'),
  ('contact.tags', 'contains', '"vip"', '{"tags": ["VIP"]}', '? true', 'a list'),
  ('contact.email', 'not_contains', '"(a.b)"', '{"email": "x(A.B)y"}', 'false false', 'signs that a pattern would read'),
  ('contact.note', 'is_empty', 'null', '{"note": " \n\t"}', 'true true', 'nothing but spaces')
) as v (field, operator, value, contact, expected, why);

-- Which documents need no zone.
select is((automation.compile_conditions(pg_temp.asks('contact.a', operator, value::jsonb))).compiled ? 'timeless', expected, why)
from (values
  ('greater_than', '10', true, 'a number needs no zone'),
  ('in', '["a", "2026-03-08T00:00"]', false, 'a date does'),
  ('less_than', '{"field": "contact.b"}', false, 'and so may another field'),
  ('within_last', '{"days": 3}', false, 'and a length of time')
) as v (operator, value, expected, why);
select * from finish();
rollback;

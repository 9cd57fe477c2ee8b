begin;
select plan(63);

-- What each operator makes of each type. One letter a column: t holds, . does not.
--   T "Lead"   N 5   S "5"   D "2026-03-08"   M "2026-03-08T15:00:00Z" (11:00 in New York)
--   B true     L ["Lead","vip"]   O {"a": 1}   E ""   U null   X missing
-- It is 2026-03-10, 8:00 in New York.
create function pg_temp.verdicts(operator text, value jsonb) returns text
  language sql
  as $$
    select string_agg(case when automation.evaluate_conditions(
        c.compiled, jsonb_build_object('contact', actual.record),
        'America/New_York', '2026-03-10T12:00:00Z') then 't' else '.' end, '' order by position)
    from automation.compile_conditions(jsonb_build_object(
        'field', 'contact.x', 'operator', operator, 'value', value), 'conditions') as c,
      jsonb_array_elements('[{"x": "Lead"}, {"x": 5}, {"x": "5"}, {"x": "2026-03-08"},
        {"x": "2026-03-08T15:00:00Z"}, {"x": true}, {"x": ["Lead", "vip"]}, {"x": {"a": 1}},
        {"x": ""}, {"x": null}, {}]') with ordinality as actual (record, position)
    where c.problems @? '$[*] ? (@.severity == "error")' is false
  $$;

select is(pg_temp.verdicts(operator, value::jsonb), verdicts, format('%s %s', operator, value))
from (values
  --                                          TNSDMBLOEUX
  ('equals', '"lead"',                       't..........'),
  ('equals', '5',                            '.tt........'),
  ('equals', '"5"',                          '.tt........'),
  ('equals', '"5.0"',                        '.t.........'),
  ('equals', '"2026-03-08"',                 '...tt......'),
  ('equals', '"2026-03-08T11:00:00-04:00"',  '...tt......'),
  ('equals', 'true',                         '.....t.....'),
  ('equals', '"TRUE"',                       '.....t.....'),
  ('equals', '["LEAD", "VIP"]',              '......t....'),
  ('equals', '["vip", "lead"]',              '...........'),
  ('equals', '{"a": 1.0}',                   '.......t...'),
  ('equals', '""',                           '........t..'),
  ('equals', 'null',                         '.........tt'),
  ('equals', '0',                            '...........'),
  ('not_equals', '"lead"',                   '.tttttttttt'),
  ('not_equals', 'null',                     'ttttttttt..'),
  ('contains', '"EA"',                       't..........'),
  ('contains', '"vip"',                      '......t....'),
  ('contains', '5',                          '.tt.t......'),
  ('not_contains', '"vip"',                  'tttttt.tttt'),
  ('starts_with', '"le"',                    't..........'),
  ('starts_with', '2026',                    '...tt......'),
  ('ends_with', '"D"',                       't..........'),
  ('ends_with', '5',                         '.tt........'),
  ('greater_than', '4',                      '.tt........'),
  ('greater_than', '5',                      '...........'),
  ('greater_than', '"4.5"',                  '.tt........'),
  ('greater_than', '"apple"',                't..........'),
  ('greater_than', '"2026-03-07"',           '...tt......'),
  ('greater_or_equal', '5',                  '.tt........'),
  ('greater_or_equal', '"2026-03-08"',       '...tt......'),
  ('less_than', '6',                         '.tt........'),
  ('less_than', '"zebra"',                   't.......t..'),
  ('less_or_equal', '5',                     '.tt........'),
  ('less_or_equal', '0',                     '...........'),
  ('between', '[1, 5]',                      '.tt........'),
  ('between', '["1", 4]',                    '...........'),
  ('between', '["a", "m"]',                  't..........'),
  ('between', '["2026-03-08", "2026-03-08"]', '...tt......'),
  ('before', '"2026-03-08"',                 '...........'),
  ('before', '"2026-03-09"',                 '...tt......'),
  ('before', '"today"',                      '...tt......'),
  ('before', '"yesterday"',                  '...tt......'),
  ('after', '"2026-03-07T23:00:00-05:00"',   '...tt......'),
  ('after', '"2026-03-08T15:00:00Z"',        '...........'),
  ('after', '"tomorrow"',                    '...........'),
  ('within_last', '{"days": 3}',             '...tt......'),
  ('within_last', '"36 hours"',              '...t.......'),
  ('within_next', '"1 week"',                '...........'),
  ('is_empty', 'null',                       '........ttt'),
  ('is_not_empty', 'null',                   'tttttttt...'),
  ('is_true', 'null',                        '.....t.....'),
  ('is_false', 'null',                       '...........'),
  ('in', '["lead", 5]',                      'ttt........'),
  ('in', '["2026-03-08", true]',             '...ttt.....'),
  ('not_in', '["lead", 5]',                  '...tttttttt'),
  ('includes_any', '["VIP", "x"]',           '......t....'),
  ('includes_any', '["lead"]',               't.....t....'),
  ('includes_all', '["vip", "lead"]',        '......t....'),
  ('includes_all', '["vip", "x"]',           '...........'),
  ('matches', '"^le"',                       't..........'),
  ('matches', '"^[0-9]+$"',                  '.tt........'),
  ('matches', '"."',                         'ttttt......')
) as operators (operator, value, verdicts);

select * from finish();
rollback;

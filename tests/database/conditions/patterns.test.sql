begin;
\ir ../foundation/work.psql
select plan(41);

-- Patterns as people write them, and whether they match.
select is(automation.text_holds('matches', subject, jsonb_build_object('x', p.compiled)), expected,
  format('%s on %s', pattern, left(subject, 20)))
from (values
  ('^lead$', 'Lead', true),
  ('lead|won', 'Re-won', true),
  ('^(?:\d{3})-\d{4}$', '555-1234', true),
  ('^\+1\d{10}$', '+15551234567', true),
  ('\bcat\b', 'a cat sat', true),
  ('\bcat\b', 'concatenate', false),
  ('[^a-z\]]', 'abc]', false),
  ('[\w.+-]+@[\w-]+\.[a-z]{2,}', 'ann@example.com', true),
  ('[-a]', '-', true),
  ('[a\-z]', 'm', false),
  ('a.*?b', 'axxb', true),
  ('colou?r', 'Color', true),
  ('^.$', E'\n', true),
  ('é', 'É', true),
  ('\$\{\}', 'pay ${}', true)
) as patterns (pattern, subject, expected), automation.compile_pattern(pattern) as p;

-- What is refused, and at which character.
select is(p.position, at, format('%s is refused: %s', left(pattern, 40), p.problem))
from (values
  ('', 1), ('(', 2), (')', 1), ('*a', 1), ('a**', 3), ('a++', 3), ('a{2,1}', 2), ('a{', 2),
  ('a|', 3), ('|a', 1), ('()', 2), ('^*', 2), ('[]', 1), ('[a', 1), ('[z-a]', 4), ('[[:alpha:]]', 2),
  ('\1', 1), ('\k', 1), ('(?=a)', 1), ('(?<n>a)', 1), ('(?i)a', 1), ('a]', 2), (repeat('a', 201), 201),
  ('((a{50}){50})', 9), ('(.*a){150}', 6)
) as refused (pattern, at), automation.compile_pattern(pattern) as p;

-- The classics that hang engines which backtrack, on 5,000 characters, all within a second.
create temp table started on commit drop as select pg_temp.worked() as at;
select count(automation.text_holds('matches', repeat(unit, 5000 / length(unit)),
  jsonb_build_object('x', p.compiled))) as ran
from (values ('(a+)+$'), ('(a|aa)+$'), ('(a*)*b'), ('(.*)*x'), ('^(([a-z])+.)+[A-Z]([a-z])+$'),
    ('(x+x+)+y'), ('(a?){95}a{95}'), ('(a|b)*a(a|b){80}c'), ('(\w+\s?)*$')) as hostile (pattern),
  (values ('a'), ('ab'), ('a '), ('x')) as units (unit), automation.compile_pattern(pattern) as p;
select cmp_ok(pg_temp.worked() - at, '<', 1000::bigint, 'no pattern hangs') from started;

select * from finish();
rollback;

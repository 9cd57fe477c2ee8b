-- A document is compiled once, when a workflow is published, and evaluated for every record.
--
-- Compiled form:
--   roots  the parts of the context it reads
--   start  the first test
--   code   the tests, in the order they are tried; each says where to go next when it holds (t) and
--          when it does not (f). -1 is "the conditions hold", -2 "they do not". AND, OR and NOT are
--          only jumps, so evaluating is one loop and stops as early as possible.
--   tree   the groups as they were written, for explain_conditions
--   timeless  true where no zone is needed
--
-- A test: p or b path from the context, or in the record that fired; o operator; k what is
-- computed; n its negation; v the value as written; x the value as prepared; c case-sensitive;
-- r the path of a field to compare with.

create or replace function automation.condition_problem(
  path text, severity text, code text, message text, hint text
) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return jsonb_build_array(jsonb_build_object(
    'path', path, 'severity', severity, 'code', code, 'message', message, 'hint', hint));

-- What each operator computes, whether it is a negation, and what its value must be.
create or replace function automation.condition_operator(name text)
  returns table (kind text, negated boolean, needs text)
  language sql immutable parallel safe
  -- No search_path of its own, so that Postgres writes it into the query that asks.
  as $$
    select operators.kind, operators.negated, operators.needs
    from (values
      ('equals', 'equals', false, 'any'),
      ('not_equals', 'equals', true, 'any'),
      ('contains', 'contains', false, 'scalar'),
      ('not_contains', 'contains', true, 'scalar'),
      ('starts_with', 'starts', false, 'text'),
      ('ends_with', 'ends', false, 'text'),
      ('greater_than', 'above', false, 'ordered'),
      ('greater_or_equal', 'not_below', false, 'ordered'),
      ('less_than', 'below', false, 'ordered'),
      ('less_or_equal', 'not_above', false, 'ordered'),
      ('between', 'between', false, 'range'),
      ('before', 'before', false, 'date'),
      ('after', 'after', false, 'date'),
      ('within_last', 'last', false, 'duration'),
      ('within_next', 'next', false, 'duration'),
      ('is_empty', 'empty', false, 'nothing'),
      ('is_not_empty', 'empty', true, 'nothing'),
      ('is_true', 'true', false, 'nothing'),
      ('is_false', 'false', false, 'nothing'),
      ('in', 'in', false, 'list'),
      ('not_in', 'in', true, 'list'),
      ('includes_any', 'any', false, 'list'),
      ('includes_all', 'all', false, 'list'),
      ('matches', 'matches', false, 'pattern'),
      ('changed', 'changed', false, 'nothing'),
      ('changed_from', 'changed_from', false, 'any'),
      ('changed_to', 'changed_to', false, 'any'),
      ('was', 'was', false, 'any')
    ) as operators (name, kind, negated, needs)
    where operators.name = condition_operator.name
  $$;

comment on function automation.condition_operator(text) is
  'An operator of the condition language; no row when there is none of that name.';

-- What is wrong with an operator's value: null when nothing is.
create or replace function automation.condition_value_problem(
  needs text, value jsonb, has_value boolean
) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  type text := coalesce(jsonb_typeof(value), 'null');
  blank boolean := value = '""';
begin
  if needs = 'nothing' then
    return null;
  elsif not has_value then
    return 'a value is needed';
  elsif needs = 'any' then
    return case
      when type = 'object' and value ? 'field'
      then 'a comparison with another field is not possible with this operator'
    end;
  end if;
  return case needs
    when 'scalar' then
      case when type not in ('string', 'number', 'boolean') or blank
        then 'a text, a number or a boolean is needed' end
    when 'text' then
      case when type not in ('string', 'number') or blank then 'a text is needed' end
    when 'ordered' then
      case when type not in ('string', 'number') or blank
        then 'a number, a date or a text is needed' end
    when 'range' then
      case when type <> 'array' or jsonb_array_length(value) <> 2 or exists (
        select from jsonb_array_elements(case type when 'array' then value else '[]' end) as bound
        where jsonb_typeof(bound) not in ('string', 'number') or bound = '""')
        then 'a list of two is needed: the lowest and the highest' end
    when 'date' then
      case when type <> 'string' or not (
        automation.is_date(value #>> '{}')
        or lower(value #>> '{}' collate "C") in ('now', 'today', 'yesterday', 'tomorrow'))
        then 'a date is needed' end
    when 'duration' then
      case when automation.duration_in(value) is null then 'a length of time is needed' end
    when 'list' then
      case when type <> 'array' or value = '[]' or jsonb_array_length(value) > 1000 or exists (
        select from jsonb_array_elements(case type when 'array' then value else '[]' end) as item
        where jsonb_typeof(item) not in ('string', 'number', 'boolean'))
        then 'a list of texts, numbers or booleans is needed' end
    when 'pattern' then
      case when type <> 'string' then 'a pattern is needed' end
  end;
end;
$$;

create or replace function automation.condition_value_hint(needs text) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case needs
    when 'range' then 'For example [1000, 5000].'
    when 'date' then 'For example "2026-03-01", "2026-03-01T09:00:00Z", "today" or "now".'
    when 'duration' then 'For example {"days": 3} or "2 weeks"; whole numbers, at most a century.'
    when 'list' then 'For example ["lead", "prospect"], with at most 1000 items.'
    when 'any' then 'null is a value too; is_empty asks whether there is one.'
    else 'To ask whether there is a value at all, use is_empty or is_not_empty.'
  end;

-- Whether only the same text, without case, can equal a text: it is no number, date or boolean.
create or replace function automation.is_plain_text(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return jsonb_typeof(value) = 'string'
    and automation.number_in(value #>> '{}') is null
    and not automation.is_date(value #>> '{}')
    and automation.fold(value #>> '{}') not in ('true', 'false');

-- What evaluating needs of a value, worked out beforehand: members to add to the test.
create or replace function automation.prepare_condition_value(
  kind text, value jsonb, case_sensitive boolean
) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when kind = 'equals' and not case_sensitive and automation.is_plain_text(value)
      then jsonb_build_object('k', 'text', 'x', automation.fold(value #>> '{}'))
      when kind = 'in' and not case_sensitive and not exists (
        select from jsonb_array_elements(value) as item where not automation.is_plain_text(item))
      then jsonb_build_object('k', 'text_in', 'x', (
        select jsonb_agg(automation.fold(item)) from jsonb_array_elements_text(value) as item))
      when kind in ('contains', 'starts', 'ends')
      then jsonb_build_object('x', case
        when case_sensitive then value #>> '{}' else automation.fold(value #>> '{}') end)
      when kind = 'matches'
      then jsonb_build_object('x', (
        select p.compiled from automation.compile_pattern(value #>> '{}') as p))
      when kind in ('last', 'next')
      then (
        select jsonb_build_object(
          'x', format('%s months %s days',
            extract(year from d) * 12 + extract(month from d), extract(day from d)),
          's', extract(hour from d) * 3600 + extract(minute from d) * 60)
        from automation.duration_in(value) as d)
      else '{}'
    end
  $$;

-- A key that nobody reads is a condition that asks something else than was meant: "logic_gate": "OR" would join
-- with "and", "caseSensitive" compare without case.
create or replace function automation.unknown_condition_keys(condition jsonb, at text) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known constant text[] := '{field,operator,value,logic,case_sensitive,mode,id,label}'::text[];
begin
  if condition - known = '{}' then
    return '[]'::jsonb;
  end if;
  return (
    select jsonb_agg(automation.condition_problem(
        at || '.' || k.key, 'error', 'unknown_key', format('a condition does not know "%s"', left(k.key, 60)),
        coalesce('Did you mean ' || automation.meant_key(k.key, known) || '?',
          'It knows: ' || array_to_string(known, ', ') || '.')) -> 0 order by k.key)
    from jsonb_object_keys(condition - known) as k (key));
end;
$$;

create or replace function automation.legacy_operators() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select '{equals,not_equals,contains,not_contains,greater_than,less_than,greater_than_or_equal,'
      'less_than_or_equal,is_empty,is_not_empty,in,not_in}'::text[]
  $$;

-- "mode": "legacy": compares as the engines did that this one replaces, whose operators take any value, or none.
create or replace function automation.compile_legacy_condition(
  condition jsonb, keys text[], at text, out test jsonb, out roots text[], out problems jsonb)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  problems := '[]';
  roots := '{}';
  if condition -> 'mode' <> '"legacy"' then
    problems := automation.condition_problem(at || '.mode', 'error', 'invalid_value',
      'mode is "legacy" or left out', null);
  elsif not coalesce(condition ->> 'operator' = any (automation.legacy_operators()), false) then
    problems := automation.condition_problem(at || '.operator', 'error', 'unknown_operator',
      format('there is no legacy operator %s', left(condition ->> 'operator', 60)),
      'Legacy operators: ' || array_to_string(automation.legacy_operators(), ', ') || '.');
  elsif jsonb_typeof(condition -> 'value') = 'array'
    and jsonb_array_length(condition -> 'value') > 1000 then
    problems := automation.condition_problem(at || '.value', 'error', 'invalid_value',
      'a list has at most 1000 items', null);
  else
    roots := automation.condition_field_roots(keys);
    test := jsonb_build_object(
        'o', condition ->> 'operator', 'k', 'legacy', 'field', btrim(condition ->> 'field'), 'at', at)
      || automation.condition_reference(keys)
      || case when condition ? 'value' then jsonb_build_object('v', condition -> 'value') else '{}' end;
  end if;
end;
$$;

-- One condition: a test, its roots and its problems.
create or replace function automation.compile_condition(
  condition jsonb, at text, out test jsonb, out roots text[], out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field text := condition ->> 'field';
  name text := condition ->> 'operator';
  value jsonb := condition -> 'value';
  keys text[];
  operator record;
  other text[];
  wrong text;
  pattern record;
  unknown constant jsonb := automation.unknown_condition_keys(condition, at);
begin
  problems := '[]';
  roots := '{}';
  if jsonb_typeof(condition -> 'field') = 'string' then
    keys := automation.parse_path(btrim(field));
  end if;
  if keys is null then
    problems := problems || automation.condition_problem(at || '.field', 'error', 'invalid_field',
      case when field is null then 'a condition needs a field' else 'this is not a field' end,
      'Name a field such as contact.stage or contact.custom_fields["Roof type"].');
  end if;
  if condition ? 'mode' and keys is not null then
    select c.test, c.roots, c.problems into test, roots, problems
    from automation.compile_legacy_condition(condition, keys, at) as c;
    problems := unknown || problems;
    return;
  end if;
  select o.* into operator from automation.condition_operator(name) as o
  where jsonb_typeof(condition -> 'operator') = 'string';
  if not found then
    problems := problems || automation.condition_problem(at || '.operator', 'error',
      'unknown_operator',
      case when name is null then 'a condition needs an operator'
        else format('there is no operator %s', left(name, 60)) end,
      'Operators: equals, not_equals, contains, not_contains, starts_with, ends_with, '
      'greater_than, greater_or_equal, less_than, less_or_equal, between, before, after, '
      'within_last, within_next, is_empty, is_not_empty, is_true, is_false, in, not_in, '
      'includes_any, includes_all, matches, changed, changed_from, changed_to, was.');
  elsif value ? 'field' and jsonb_typeof(value) = 'object'
    and (name in ('equals', 'not_equals') or operator.needs in ('ordered', 'date')) then
    other := case when jsonb_typeof(value -> 'field') = 'string'
      then automation.parse_path(btrim(value ->> 'field')) end;
    if other is null or value - 'field' <> '{}' then
      problems := problems || automation.condition_problem(at || '.value.field', 'error',
        'invalid_field', 'this is not a field', 'For example {"field": "project.created_at"}.');
    end if;
  else
    wrong := automation.condition_value_problem(operator.needs, value, condition ? 'value');
    if wrong is null and operator.needs = 'pattern' then
      pattern := automation.compile_pattern(value #>> '{}');
      wrong := pattern.problem || ' (character ' || pattern.position || ')';
    end if;
    if wrong is not null then
      problems := problems || automation.condition_problem(at || '.value', 'error',
        case when condition ? 'value' then 'invalid_value' else 'missing_value' end,
        format('%s: %s', name, wrong), automation.condition_value_hint(operator.needs));
    end if;
  end if;
  if condition ? 'case_sensitive'
    and jsonb_typeof(condition -> 'case_sensitive') is distinct from 'boolean' then
    problems := problems || automation.condition_problem(at || '.case_sensitive', 'error',
      'invalid_value', 'case_sensitive is true or false', null);
  end if;
  if problems <> '[]' then
    problems := unknown || problems;
    return;
  end if;
  problems := unknown || automation.condition_warnings(operator.kind, value, at);
  roots := automation.condition_field_roots(keys) || automation.condition_field_roots(other);
  test := jsonb_strip_nulls(jsonb_build_object(
      'o', name, 'k', operator.kind, 'field', btrim(field), 'at', at,
      'n', nullif(operator.negated, false),
      'c', nullif(coalesce((condition ->> 'case_sensitive')::boolean, false), false),
      'r', automation.condition_reference(other)))
    || automation.condition_reference(keys)
    || case when operator.needs = 'nothing' then '{}' else jsonb_build_object('v', value) end;
  if other is null then
    test := test || automation.prepare_condition_value(operator.kind, value, test ? 'c');
  end if;
end;
$$;

-- {p: path from the context, q: path in the record, w: whose record}, or {b: path in the record}
-- for a bare field.
create or replace function automation.condition_reference(keys text[]) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  name constant text := case keys[1] when 'trigger' then keys[2] else keys[1] end;
  of_record boolean;
begin
  if keys is null then
    return null;
  elsif cardinality(keys) = 1 or not automation.is_root(keys[1]) then
    return jsonb_build_object('b', keys::text);
  end if;
  of_record := automation.is_record(name);
  return jsonb_build_object('p', keys::text, 'q', case
      when keys[1] = 'trigger' and (keys[2] = 'record' or of_record) then keys[3:]
      else keys[2:] end::text)
    || case when of_record then jsonb_build_object('w', name) else '{}' end;
end;
$$;

create or replace function automation.condition_field_roots(keys text[]) returns text[]
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
      when keys is null then '{}'
      when cardinality(keys) > 1 and automation.is_root(keys[1]) then array[keys[1]]
      else array['trigger', 'contact', 'project', 'job']
    end || automation.tag_root(keys) || automation.snapshot_root(keys);
end;
$$;

-- What the snapshots of the engines before this one called things, and which record, if any, has to be there for
-- one to have a value. is_change: only after a change.
create or replace function automation.snapshot_names()
  returns table (name text, records text[], is_change boolean)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select n.name, n.records::text[], n.is_change
    from (values
      ('project_name', '{project}', false), ('estimated_value', '{project}', false),
      ('approved_value', '{project}', false), ('previous_stage', null, true), ('new_stage', null, false),
      ('old_status', null, true), ('new_status', null, false), ('changes', null, true), ('changed_by', null, false),
      ('changed_at', null, false), ('job_number', '{job}', false), ('completion_date', '{job}', false),
      ('completed_by', '{job}', false), ('opened_at', '{email}', false), ('clicked_at', '{email}', false),
      ('link', '{email}', false), ('from', '{message,call}', false), ('to', '{message,call}', false),
      ('body', '{message}', false), ('call_sid', '{call}', false), ('duration', '{call}', false)
    ) as n (name, records, is_change)
  $$;

-- Added to trigger.* for those who ask for one of them, and nobody else: see automation.add_snapshot_names().
create or replace function automation.snapshot_root(keys text[]) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when keys[1] = 'trigger' and exists (
        select from automation.snapshot_names() as n where n.name = keys[2]) then '{trigger.names}'
      else '{}'
    end::text[]
  $$;

-- contact.tags is not a column: see automation.contact_tags().
create or replace function automation.tag_root(keys text[]) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when keys[1] = 'tags' or keys[1] = 'contact' and keys[2] = 'tags' then '{contact.tags}' else '{}'
    end::text[]
  $$;

-- What compiles but can hardly be meant.
create or replace function automation.condition_warnings(kind text, value jsonb, at text)
  returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when kind = 'equals' and value = '""'
      then automation.condition_problem(at || '.value', 'warning', 'empty_text',
        'a missing value does not equal an empty text', 'Use is_empty or is_not_empty.')
      when kind = 'between' and automation.compare_values(value -> 0, value -> 1, false, 'UTC') = 1
      then automation.condition_problem(at || '.value', 'warning', 'impossible_condition',
        'nothing lies between these: the first is above the second', 'Swap the two values.')
      when kind = 'between'
        and automation.compare_values(value -> 0, value -> 1, false, 'UTC') is null
      then automation.condition_problem(at || '.value', 'warning', 'impossible_condition',
        'nothing lies between these: they are of different kinds', 'Use two numbers or two dates.')
      else '[]'
    end
  $$;

-- A group's two parts: how it joins, and its conditions.
create or replace function automation.read_group(
  node jsonb, at text, out joins text, out members jsonb, out members_at text, out problems jsonb
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  others bigint := (
    select count(*) from jsonb_object_keys(node) as k where k not in ('id', 'label', 'logic'));
begin
  problems := '[]';
  if node ? 'conditions' then
    others := others - 1;
    joins := case lower(node ->> 'operator' collate "C")
      when 'and' then 'all' when 'or' then 'any' end;
    members := node -> 'conditions';
    members_at := at || '.conditions';
    if joins is null or jsonb_typeof(node -> 'operator') <> 'string' then
      problems := automation.condition_problem(at || '.operator', 'error', 'invalid_group',
        'a group joins its conditions with "and" or "or"', null);
    end if;
  else
    joins := case when node ? 'all' then 'all' when node ? 'any' then 'any' else 'not' end;
    members := case joins when 'not' then jsonb_build_array(node -> 'not') else node -> joins end;
    members_at := at || '.' || joins;
  end if;
  if jsonb_typeof(members) is distinct from 'array' then
    problems := problems || automation.condition_problem(members_at, 'error', 'invalid_group',
      'a group is a list of conditions', 'For example {"all": [...]} or {"any": [...]}.');
  elsif joins = 'any' and members = '[]' then
    problems := problems || automation.condition_problem(members_at, 'error', 'empty_group',
      'none of no conditions can hold', 'Add a condition, or remove the group.');
  end if;
  if others > 1 then
    problems := problems || automation.condition_problem(at, 'error', 'invalid_group',
      'a group has one list of conditions and nothing else',
      'Nest one group in the other: {"all": [{"any": [...]}, ...]}.');
  end if;
end;
$$;

-- The legacy list: left to right, without precedence. A condition's logic says how it joins what
-- stands before it, so that "a, or b, and c" is (a or b) and c.
create or replace function automation.join_in_list(
  item jsonb, after jsonb, at text, out joins text, out problems jsonb
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  logic jsonb := case jsonb_typeof(item) when 'object' then nullif(item -> 'logic', 'null') end;
begin
  problems := '[]';
  joins := case when lower(logic #>> '{}' collate "C") = 'or' then 'any' else 'all' end;
  if logic is not null
    and (jsonb_typeof(logic) <> 'string'
      or lower(logic #>> '{}' collate "C") not in ('and', 'or')) then
    problems := automation.condition_problem(at || '.logic', 'error', 'invalid_value',
      'logic is "and" or "or"', null);
  elsif at like '%[0]' and joins = 'any' and after is not null
    and lower(after ->> 'logic') is distinct from 'or' then
    problems := automation.condition_problem(at || '.logic', 'warning', 'unused_logic',
      'nothing stands before the first condition, so its logic joins nothing',
      'A condition''s logic joins it to those before it; set it on the second condition.');
  end if;
end;
$$;

-- A document or a part of one, its tests numbered from `first`.
create or replace function automation.compile_node(
  node jsonb, at text, first int, depth int,
  out tree jsonb, out code jsonb, out roots text[], out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members jsonb := node;
  members_at text := at;
  joins text;      -- of the members; null in a list, where each has its own
  joined text;     -- how the tree so far is joined
  step text;
  part record;
begin
  code := '[]';
  roots := '{}';
  problems := '[]';
  tree := 'true';
  if node is null or node in ('null', '[]', '{}') then
    return;
  elsif depth > 50 then
    problems := automation.condition_problem(at, 'error', 'too_deep',
      'groups are nested more than 50 deep', null);
    return;
  elsif jsonb_typeof(node) not in ('object', 'array') then
    problems := automation.condition_problem(at, 'error', 'invalid_condition',
      format('a %s is not a condition', jsonb_typeof(node)),
      'For example {"field": "contact.stage", "operator": "equals", "value": "lead"}.');
    return;
  elsif jsonb_typeof(node) = 'object' and not node ?| '{all,any,not,conditions}' then
    part := automation.compile_condition(node, at);
    roots := part.roots;
    problems := part.problems;
    if part.test is not null then
      code := jsonb_build_array(part.test);
      tree := jsonb_build_object('test', first);
    end if;
    return;
  elsif jsonb_typeof(node) = 'object' then
    part := automation.read_group(node, at);
    problems := part.problems;
    joins := part.joins;
    members := case jsonb_typeof(part.members) when 'array' then part.members else '[]' end;
    members_at := part.members_at;
  end if;
  if jsonb_array_length(members) > 500 then
    problems := problems || automation.condition_problem(members_at, 'error', 'too_many',
      'a list has more than 500 conditions', null);
    return;
  end if;
  for i in 0 .. jsonb_array_length(members) - 1 loop
    step := case joins when 'not' then members_at else format('%s[%s]', members_at, i) end;
    part := automation.compile_node(
      members -> i, step, first + jsonb_array_length(code), depth + 1);
    code := code || part.code;
    roots := roots || part.roots;
    problems := problems || part.problems;
    if joins is null then
      joined := (automation.join_in_list(members -> i, members -> (i + 1), step)).joins;
      problems := problems
        || (automation.join_in_list(members -> i, members -> (i + 1), step)).problems;
    else
      joined := joins;
    end if;
    tree := case
      when joins = 'not' then jsonb_build_object('not', part.tree)
      when i = 0 and joins is null then part.tree
      when i = 0 then jsonb_build_object(joined, jsonb_build_array(part.tree))
      when tree ? joined and (joins is not null or i > 1)
        then jsonb_build_object(joined, (tree -> joined) || jsonb_build_array(part.tree))
      else jsonb_build_object(joined, jsonb_build_array(tree, part.tree))
    end;
  end loop;
end;
$$;

-- Turns groups into jumps: where each test below `tree` leads when it holds (jumps[2n + 1], n counted from 0)
-- and when it does not (the place after that), and returns where to start.
create or replace function automation.link_conditions(
  tree jsonb, on_true int, on_false int, inout jumps int[], out start int
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members jsonb := coalesce(tree -> 'all', tree -> 'any');
  test int := (tree ->> 'test')::int;
  part record;
begin
  if jsonb_typeof(tree) = 'boolean' then
    start := case when tree::boolean then on_true else on_false end;
  elsif test is not null then
    start := test;
    jumps[2 * test + 1] := on_true;
    jumps[2 * test + 2] := on_false;
  elsif tree ? 'not' then
    part := automation.link_conditions(tree -> 'not', on_false, on_true, jumps);
    jumps := part.jumps;
    start := part.start;
  else
    -- From the last to the first, since each jumps to where the next one starts.
    start := case when tree ? 'all' then on_true else on_false end;
    for i in reverse jsonb_array_length(members) - 1 .. 0 loop
      part := automation.link_conditions(members -> i,
        case when tree ? 'all' then start else on_true end,
        case when tree ? 'all' then on_false else start end,
        jumps);
      jumps := part.jumps;
      start := part.start;
    end loop;
  end if;
end;
$$;

create or replace function automation.with_jumps(code jsonb, jumps int[]) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_agg(c.test || case
        when c.test ? 'n'
          then jsonb_build_object('t', jumps[2 * c.place], 'f', jumps[2 * c.place - 1])
        else jsonb_build_object('t', jumps[2 * c.place - 1], 'f', jumps[2 * c.place]) end
      order by c.place), '[]')
    from jsonb_array_elements(code) with ordinality as c (test, place));
end;
$$;

-- How many conditions a document has and how deep its groups are, counted before anything is compiled; no
-- deeper than the limit and one more.
create or replace function automation.measure_conditions(conditions jsonb, out count bigint, out depth int)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive walk (node, depth) as (
      select conditions, 0
      union all
      select child.node, walk.depth + 1
      from walk
      cross join lateral (
        select a as node from jsonb_array_elements(
          case jsonb_typeof(walk.node) when 'array' then walk.node else '[]' end) as a
        union all
        select o.value from jsonb_each(
          case jsonb_typeof(walk.node) when 'object' then walk.node else '{}' end) as o
        where o.key in ('all', 'any', 'not', 'conditions')
      ) as child
      where walk.depth <= 2 * automation.at_most('condition_depth') + 1
    )
    select count(*) filter (where jsonb_typeof(w.node) = 'object' and not w.node ?| '{all,any,not,conditions}'),
      coalesce(max(w.depth), 0)
    from walk as w
  $$;

create or replace function automation.measure_problems(conditions jsonb, path text) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  measured record;
begin
  if conditions is null or pg_column_size(conditions) < 1000 then
    return '[]'::jsonb;
  elsif octet_length(conditions::text) > automation.at_most('conditions') then
    return automation.condition_problem(path, 'error', 'too_large',
      format('these conditions are longer than %s bytes', automation.at_most('conditions')),
      'Shorten their texts and lists.');
  end if;
  measured := automation.measure_conditions(conditions);
  return case
    when measured.depth > 2 * automation.at_most('condition_depth') + 1
      then automation.condition_problem(path, 'error', 'too_deep',
        format('groups are nested more than %s deep', automation.at_most('condition_depth')), null)
    when measured.count > automation.at_most('condition_count')
      then automation.condition_problem(path, 'error', 'too_many', format(
        'there are %s conditions; at most %s are possible', measured.count,
        automation.at_most('condition_count')), 'Move some to the steps, or to a workflow of their own.')
    else '[]'
  end;
end;
$$;

-- Without a date in it, and without another field to compare with, a document has no use for a zone: whoever
-- evaluates it need not read the tenant's.
create or replace function automation.is_timeless(code jsonb) returns boolean
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return not exists (
    select from jsonb_array_elements(code) as c (test)
    where c.test ->> 'k' <> 'legacy' and (
      c.test ->> 'k' in ('before', 'after', 'last', 'next') or c.test ? 'r' or exists (
        select from jsonb_array_elements(automation.as_list(c.test -> 'v')) as v
        where jsonb_typeof(v) in ('array', 'object') or automation.is_date(v #>> '{}'))));
end;
$$;

create or replace function automation.compile_conditions(
  conditions jsonb, path text default 'conditions', out compiled jsonb, out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  node record;
  linked record;
begin
  if conditions is null or conditions in ('[]', 'null', '{}') then
    problems := '[]';
    return;
  end if;
  problems := automation.measure_problems(conditions, coalesce(path, 'conditions'));
  node := automation.compile_node(
    case when problems = '[]' then conditions end, coalesce(path, 'conditions'), 0, 0);
  problems := problems || node.problems;
  -- A key that is not known stops nothing but publishing: what was published while it was a warning runs on.
  if exists (
    select from jsonb_array_elements(problems) as p
    where p ->> 'severity' = 'error' and p ->> 'code' <> 'unknown_key') then
    -- Whoever evaluates this all the same lets nothing through.
    compiled := '{"roots": [], "start": -2, "code": [], "tree": false}';
  elsif node.tree <> 'true' then
    linked := automation.link_conditions(node.tree, -1, -2, '{}');
    compiled := jsonb_build_object(
      'roots', (
        select coalesce(jsonb_agg(distinct r order by r), '[]') from unnest(node.roots) as r),
      'start', linked.start, 'code', automation.with_jumps(node.code, linked.jumps), 'tree', node.tree)
      || case when automation.is_timeless(node.code) then '{"timeless": true}'::jsonb else '{}' end;
    if linked.start < 0 then
      problems := problems || automation.condition_problem(coalesce(path, 'conditions'), 'warning',
        'constant_condition', format('these conditions %s hold',
          case linked.start when -1 then 'always' else 'never' end), null);
    end if;
  end if;
end;
$$;

comment on function automation.compile_conditions(jsonb, text) is
  'A condition document ready to be evaluated (null: always true), and everything wrong with it. '
  'Problems are {path, severity, code, message, hint}; path starts with the given one.';

-- Documents that stand in many steps are compiled once: {document: {compiled, problems}}, with paths that begin
-- in the document.
create or replace function automation.compile_documents(documents jsonb[]) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(d.document::text, to_jsonb(c)), '{}')
    from unnest(documents) as d (document)
    cross join lateral automation.compile_conditions(d.document, '') as c
  $$;

-- Problems whose paths begin in a part, told from where the part stands.
create or replace function automation.place_problems(problems jsonb, path text) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if problems = '[]' then
    return problems;
  end if;
  return (
    select jsonb_agg(p.problem || jsonb_build_object('path', path || (p.problem ->> 'path')) order by p.place)
    from jsonb_array_elements(problems) with ordinality as p (problem, place));
end;
$$;

-- compile_conditions() for a document that compile_documents() may have compiled.
create or replace function automation.place_conditions(
  conditions jsonb, path text, known jsonb, out compiled jsonb, out problems jsonb)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found jsonb;
begin
  problems := '[]';
  if conditions is null or conditions in ('[]', 'null', '{}') then
    return;
  end if;
  found := known -> (conditions::text);
  if found is null then
    select c.compiled, c.problems into compiled, problems
    from automation.compile_conditions(conditions, path) as c;
    return;
  end if;
  compiled := nullif(found -> 'compiled', 'null');
  if compiled -> 'code' <> '[]' then
    compiled := compiled || jsonb_build_object('code', (
      select jsonb_agg(c.test || jsonb_build_object('at', path || (c.test ->> 'at')) order by c.place)
      from jsonb_array_elements(compiled -> 'code') with ordinality as c (test, place)));
  end if;
  problems := automation.place_problems(found -> 'problems', path);
end;
$$;

create or replace function automation.condition_roots(compiled jsonb) returns text[]
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(select r from jsonb_array_elements_text(compiled -> 'roots') as r);
end;
$$;

comment on function automation.condition_roots(jsonb) is
  'The parts of the context (contact, project, ...) that evaluating may read.';

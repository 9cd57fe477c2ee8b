-- Conditions that contradict each other, or that between them say nothing. A warning is only given
-- for what is certain: where a value is wanted, each value that could satisfy one condition is put
-- to the others by the evaluator itself (20_language).
--
-- A literal is a test that is taken for true: the test, with on: what it is about, neg: whether it
-- is its opposite that is true, name: the field as written. The trigger_config gives literals too:
-- what it asks for is true of the record that fired.

-- The value that a test looks at, by one name however it is written. Before a run starts the live
-- record is the one that fired.
create or replace function automation.tested_value(test jsonb, scope jsonb, at_start boolean)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select case
      when test ? 'b' and scope -> 'columns' -> e.name ? p.path[1]
        or at_start and test ? 'p' and p.path[1] = e.name
        then (array['trigger', 'record'] || p.path[case when test ? 'b' then 1 else 2 end:])::text
      when p.path[1] = 'trigger' and p.path[2] = e.name
        then (array['trigger', 'record'] || p.path[3:])::text
      when at_start and p.path[1] = 'trigger' and scope -> 'columns' ? p.path[2]
        then p.path[2:]::text
      when test ? 'b' then (array['?'] || p.path)::text
      else p.path::text
    end
    from (select coalesce(test ->> 'p', test ->> 'b')::text[] as path) as p,
      (select scope ->> 'entity' as name) as e);
end;
$$;

-- null: nothing can be concluded from it. What a field was or became is about the record that fired.
create or replace function automation.literal_of(
  test jsonb, negated boolean, scope jsonb, at_start boolean)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select (test - '{p,b,q,w,t,f,n,field,k}'::text[]) || jsonb_build_object(
      'name', automation.reference_name(test), 'neg', n.neg,
      'k', case when test ->> 'k' in ('changed_to', 'changed_from', 'was') then 'equals'
        else test ->> 'k' end,
      'on', case
        when test ->> 'k' in ('changed_to', 'changed_from', 'was') then (
          array['trigger', case test ->> 'k' when 'changed_to' then 'record' else 'old' end]
          || coalesce(test ->> 'q', test ->> 'b')::text[])::text
        when test ->> 'k' = 'changed'
          then 'changed ' || coalesce(test ->> 'q', test ->> 'b')
        else automation.tested_value(test, scope, at_start)
      end)
    from (select negated <> (test ? 'n') as neg) as n
    where not test ? 'r' and test ->> 'k' <> 'legacy'
      and not (test ->> 'k' in ('changed_to', 'changed_from', 'was') and n.neg)
  $$;

create or replace function automation.fact(
  field text, kind text, value jsonb, at text, exact boolean default true)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'on', array['trigger', 'record', field]::text, 'name', field, 'neg', false, 'k', kind,
      'o', case kind when 'in' then 'in' else 'equals' end, 'v', value, 'at', at)
      || case when exact then '{"c": true}'::jsonb else '{}' end
  $$;

create or replace function automation.trigger_facts(
  workflow ridgeline.workflows, listener automation.compiled_trigger, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(f.fact), '[]')
    from (
      select automation.fact(m.key, 'equals', m.value, 'trigger_config.' || m.key)
      from jsonb_each(listener.match) as m where jsonb_typeof(m.value) <> 'object'
      union all
      select automation.fact(m.key, 'in', m.value, 'trigger_config.' || m.key)
      from jsonb_each(listener.match_any) as m
      union all
      select automation.fact(listener.field, 'in', listener.to_values, 'trigger_config')
      where listener.field is not null and listener.to_values is not null
      union all
      select automation.fact(t.column_name, 'equals', to_jsonb(t.becomes), 'trigger_type', false)
      from automation.trigger_types as t
      where t.name = workflow.trigger_type and t.kind = 'becomes'
    ) as f (fact)
    where scope ->> 'kind' in ('created', 'updated', 'changed', 'becomes')
  $$;

comment on function automation.trigger_facts(
  ridgeline.workflows, automation.compiled_trigger, jsonb) is
  'What is known of the record that fired, because the trigger asks for it: literals.';

-- What a wanted value stands for: 5 is also "5.0", true is also "TRUE", and a day any of its moments.
create or replace function automation.candidate_kind(candidate jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.number_of(candidate) is not null then 'number'
      when automation.fold(candidate #>> '{}') in ('true', 'false') then 'boolean'
      when automation.is_date(candidate #>> '{}') then 'date'
      when jsonb_typeof(candidate) = 'string' then 'text'
      else 'other'
    end
  $$;

-- Would the value, however it is written, satisfy the literal? True also when that is not certain.
create or replace function automation.literal_allows(
  literal jsonb, candidate jsonb, candidate_is_exact boolean, zone text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when l.kind in ('last', 'next', 'changed') then true
      when l.kind in ('before', 'after') and not automation.is_date(literal ->> 'v') then true
      -- Without case, more values are equal.
      when literal ? 'c' and not candidate_is_exact
        then l.neg or l.kind not in ('equals', 'in')
          or automation.literal_allows(literal - 'c', candidate, false, zone)
      when l.form = 'other' and l.kind in ('contains', 'starts', 'ends', 'matches') then true
      when l.form in ('number', 'boolean') and (
        l.kind in ('contains', 'starts', 'ends', 'matches')
        or l.form = 'number' and l.kind in ('true', 'false')
        or l.form = 'boolean' and l.kind in ('above', 'not_below', 'below', 'not_above', 'between')
        or l.neg and l.kind in ('equals', 'in', 'any', 'all') and jsonb_typeof(candidate) <> 'string'
          and jsonb_typeof(literal -> 'v') <> jsonb_typeof(candidate))
        then true
      when l.form = 'date' and l.kind not in ('empty', 'true', 'false') then l.neg or l.holds
        or l.kind not in ('equals', 'in') or automation.test_holds(
          literal || '{"p": "{x}"}', jsonb_build_object('x', automation.day_in(
            candidate #>> '{}', coalesce(automation.known_zone(zone), 'UTC'))), zone, automation.now())
      else l.holds
    end
    from (
      select literal ->> 'k' as kind, (literal ->> 'neg')::boolean as neg,
        automation.candidate_kind(candidate) as form,
        automation.test_holds(
          literal || '{"p": "{x}"}', jsonb_build_object('x', candidate), zone, automation.now())
          <> (literal ->> 'neg')::boolean as holds
    ) as l
  $$;

-- The values that literals ask for outright, and the number or boolean that a text writes:
-- {v: value, c: case counts}. null: they name none.
create or replace function automation.wanted_values(literals jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_agg(distinct jsonb_build_object('v', f.value, 'c', l ? 'c'))
    from jsonb_array_elements(literals) as l
    cross join lateral (
      select l -> 'v' as value where l ->> 'k' in ('equals', 'text')
      union all
      select v from jsonb_array_elements(
        case when l ->> 'k' in ('in', 'text_in') then l -> 'v' else '[]' end) as v
    ) as w
    cross join lateral (
      select w.value
      union all select to_jsonb(automation.number_of(w.value))
      union all select to_jsonb(automation.fold(w.value #>> '{}')::boolean)
      where automation.fold(w.value #>> '{}') in ('true', 'false')
    ) as f
    where not (l ->> 'neg')::boolean and f.value is not null
  $$;

-- The bounds that literals set: {v, upper, open, c, of: which literal}.
create or replace function automation.bounds(literals jsonb)
  returns table (value jsonb, is_upper boolean, is_open boolean, exact boolean, of bigint)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select b.value, b.is_upper, b.is_open, l.literal ? 'c', l.place
    from jsonb_array_elements(literals) with ordinality as l (literal, place)
    cross join lateral (
      select l.literal -> 'v' as value, k in ('below', 'not_above', 'before') as is_upper,
        k in ('above', 'below', 'before', 'after') as is_open
      from (select l.literal ->> 'k' as k) as n
      where k in ('above', 'not_below', 'below', 'not_above')
        or k in ('before', 'after') and automation.is_date(l.literal ->> 'v')
      union all
      select l.literal -> 'v' -> 0, false, false where l.literal ->> 'k' = 'between'
      union all
      select l.literal -> 'v' -> 1, true, false where l.literal ->> 'k' = 'between'
    ) as b
    where not (l.literal ->> 'neg')::boolean
  $$;

-- Is there certainly no value for which all these literals, which are about one, are true?
create or replace function automation.contradict(literals jsonb, zone text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wanted constant jsonb := automation.wanted_values(literals);
begin
  if exists (
    select from jsonb_array_elements(literals) as a, jsonb_array_elements(literals) as b
    where a ->> 'neg' = 'true' and b ->> 'neg' = 'false'
      and a - '{neg,at,name,o}'::text[] = b - '{neg,at,name,o}'::text[]) then
    return true;
  elsif jsonb_array_length(wanted) > 100 then
    return false;
  elsif wanted is not null then
    return not exists (
      select from jsonb_array_elements(wanted) as w
      where not exists (
        select from jsonb_array_elements(literals) as l
        where not automation.literal_allows(l, w -> 'v', (w -> 'c')::boolean, zone)));
  end if;
  return exists (
      select from automation.bounds(literals) as low, automation.bounds(literals) as high
      where high.is_upper and not low.is_upper and low.of <> high.of and low.exact = high.exact
        and coalesce(case
          when low.is_open or high.is_open
          then automation.compare_values(low.value, high.value, low.exact, zone) >= 0
          -- A day lies between two moments of its own, whichever comes first.
          else automation.compare_values(case when automation.is_date(low.value #>> '{}')
              then to_jsonb(automation.day_in(low.value #>> '{}',
                coalesce(automation.known_zone(zone), 'UTC')))
              else low.value end, high.value, low.exact, zone) > 0
          end, true))
    or exists (
      select from jsonb_array_elements(literals) as a, jsonb_array_elements(literals) as b
      where a ->> 'neg' = 'false' and b ->> 'neg' = 'false'
        and (a ->> 'k' = 'true' and b ->> 'k' = 'false'
          or a ->> 'k' = 'empty' and automation.needs_value(b)));
end;
$$;

comment on function automation.contradict(jsonb, text) is
  'Whether literals about one value can certainly not be true together.';

-- Does a literal that is true mean that the value is not blank?
create or replace function automation.needs_value(literal jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when k in ('before', 'after', 'last', 'next', 'true', 'false') then true
      when k in ('above', 'not_below', 'below', 'not_above', 'between') then
        automation.number_of(v) is not null or automation.is_date(v #>> '{}')
      when k in ('contains', 'starts', 'ends') then not automation.is_blank(v)
      else false
    end
    from (
      select literal ->> 'k' as k,
        case literal ->> 'k' when 'between' then literal -> 'v' -> 0 else literal -> 'v' end as v
    ) as l
  $$;

-- The parts of a condition that must all be true: groups of the same sense taken apart, in order.
create or replace function automation.conjuncts(tree jsonb, negated boolean)
  returns table (node jsonb, is_negated boolean)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- Most documents are one condition, or a list of some.
  if jsonb_typeof(tree) = 'boolean' or tree ? 'test' then
    return query values (tree, negated);
    return;
  end if;
  return query
    with recursive part (node, negated, place) as (
      select tree, conjuncts.negated, '{}'::bigint[]
      union all
      select child.node, p.negated <> (p.node ? 'not'), p.place || child.position
      from part as p
      cross join lateral (
        select p.node -> 'not', 1::bigint where p.node ? 'not'
        union all
        select m.value, m.position
        from jsonb_array_elements(
          coalesce(p.node -> case when p.negated then 'any' else 'all' end, '[]'))
          with ordinality as m (value, position)
      ) as child (node, position)
    )
    select p.node, p.negated from part as p
    where not (p.node ? 'not' or p.node ? case when p.negated then 'any' else 'all' end)
    order by p.place;
end;
$$;

create or replace function automation.literal_text(literal jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select concat_ws(' ', literal ->> 'name', literal ->> 'o', literal ->> 'v') $$;

-- A literal against those that are true already: the problem, or null.
create or replace function automation.conflict(literal jsonb, known jsonb, zone text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  about constant jsonb := jsonb_path_query_array(
    known, '$[*] ? (@.on == $on)', jsonb_build_object('on', literal -> 'on'));
  other jsonb;
begin
  if about = '[]' or not automation.contradict(about || literal, zone) then
    return null;
  end if;
  select l into other
  from jsonb_array_elements(about) with ordinality as a (l, place)
  where automation.contradict(jsonb_build_array(l, literal), zone)
  order by place
  limit 1;
  return automation.problem(
    literal ->> 'at', 'impossible_condition',
    format('never holds: %s cannot be true together with %s', automation.literal_text(literal),
      coalesce(format('%s (%s)', automation.literal_text(other), other ->> 'at'),
        'the conditions before it on the same field')),
    'Remove one of them, or join them with "any".', 'warning');
end;
$$;

-- `changed` and its kin where there is nothing to compare with.
create or replace function automation.idle_change(test jsonb, negated boolean, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      test ->> 'at', 'impossible_condition',
      format('never holds: %s', case
        when scope ->> 'kind' in ('created', 'time') then 'nothing has changed when this trigger fires'
        else format('the record that changed is the %s', scope ->> 'entity') end),
      'Only a trigger that follows a change of that record can ask what changed.', 'warning')
    where test ->> 'k' in ('changed', 'changed_from', 'changed_to', 'was')
      and not negated
      and not (scope ->> 'lenient')::boolean
      and (scope ->> 'kind' in ('created', 'time') or test ->> 'w' <> scope ->> 'entity')
  $$;

-- verdict: never or always, where that is certain; known: the literals that are true when it holds.
create or replace function automation.weigh_all(
  tree jsonb, code jsonb, negated boolean, scope jsonb, at_start boolean, depth integer,
  inout known jsonb, out verdict text, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part record;
  test jsonb;
  literal jsonb;
  wrong jsonb;
  weighed record;
  holds_anyway boolean := true;
begin
  problems := '[]';
  for part in
    select c.node, c.is_negated from automation.conjuncts(tree, negated) as c
    where jsonb_typeof(c.node) = 'boolean' or c.node ? 'test'
  loop
    if jsonb_typeof(part.node) = 'boolean' then
      verdict := case when part.node::boolean = part.is_negated then 'never' else verdict end;
      continue;
    end if;
    holds_anyway := false;
    test := code -> (part.node ->> 'test')::integer;
    literal := automation.literal_of(test, part.is_negated, scope, at_start);
    -- Each is held against all before it: the first sixty, or publishing would take minutes.
    continue when literal is null or jsonb_array_length(known) >= 60;
    wrong := coalesce(
      automation.idle_change(test, (literal ->> 'neg')::boolean, scope),
      automation.conflict(literal, known, scope ->> 'zone'));
    if wrong is not null then
      verdict := 'never';
      problems := problems || wrong;
    end if;
    known := known || literal;
  end loop;
  if verdict = 'never' or depth > 30 then
    return;
  end if;
  for part in
    select c.node, c.is_negated from automation.conjuncts(tree, negated) as c
    where jsonb_typeof(c.node) = 'object' and not c.node ? 'test'
  loop
    weighed := automation.weigh_any(
      part.node, code, part.is_negated, known, scope, at_start, depth + 1);
    problems := problems || weighed.problems;
    verdict := case when weighed.verdict = 'never' then 'never' else verdict end;
    holds_anyway := holds_anyway and weighed.verdict is not distinct from 'always';
  end loop;
  verdict := coalesce(verdict, case when holds_anyway then 'always' end);
end;
$$;

-- A group of which one part is enough. It always holds when the opposites of two of its parts
-- cannot both be true: "not a lead, or not a customer".
create or replace function automation.weigh_any(
  node jsonb, code jsonb, negated boolean, known jsonb, scope jsonb, at_start boolean, depth integer,
  out verdict text, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  member jsonb;
  weighed record;
  opposite jsonb;
  opposites jsonb := '[]'::jsonb;
  wrong jsonb;
  never boolean := true;
begin
  problems := '[]';
  for member in select * from jsonb_array_elements(node -> case when negated then 'all' else 'any' end)
  loop
    weighed := automation.weigh_all(member, code, negated, scope, at_start, depth + 1, known);
    problems := problems || weighed.problems;
    never := never and weighed.verdict is not distinct from 'never';
    verdict := case when weighed.verdict = 'always' then 'always' else verdict end;
    opposite := automation.literal_of(
      code -> (member ->> 'test')::integer, not negated, scope, at_start);
    continue when opposite is null or weighed.verdict = 'never' or jsonb_array_length(opposites) >= 60;
    wrong := automation.conflict(opposite, opposites, scope ->> 'zone');
    if wrong is not null then
      verdict := 'always';
      problems := problems || automation.problem(
        opposite ->> 'at', 'constant_condition',
        'this group always holds: whatever the field is, one of its conditions is true',
        'Join them with "all" when both are meant.', 'warning');
      exit;
    end if;
    opposites := opposites || opposite;
  end loop;
  verdict := case when never then 'never' else verdict end;
end;
$$;

-- All documents of a workflow. verdicts: {step or step/branch: never or always}, "" for the workflow.
create or replace function automation.check_conditions(
  documents jsonb, facts jsonb, scope jsonb, out verdicts jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  document jsonb;
  weighed record;
begin
  verdicts := '{}';
  problems := '[]';
  for document in select * from jsonb_array_elements(documents) loop
    -- What could not be compiled has its own problems.
    continue when document -> 'compiled' -> 'tree' = 'false';
    weighed := automation.weigh_all(
      document -> 'compiled' -> 'tree', document -> 'compiled' -> 'code', false, scope,
      document ->> 'step' is null and document ->> 'branch' is null, 0, facts);
    problems := problems || weighed.problems;
    verdicts := verdicts || jsonb_build_object(
      concat_ws('/', document ->> 'step', document ->> 'branch'), weighed.verdict);
  end loop;
end;
$$;

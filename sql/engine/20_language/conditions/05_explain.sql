-- Why did it, or didn't it? The same tests, all of them, in the groups they were written in.

-- A value as a reader needs it: of a long text or document the beginning.
create or replace function automation.brief(value jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when length(value #>> '{}') > 200 then to_jsonb(left(value #>> '{}', 200) || ' ...')
      else value
    end
  $$;

create or replace function automation.explain_test(
  test jsonb, context jsonb, zone text, at timestamptz
) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'path', test -> 'at', 'field', test -> 'field', 'operator', test -> 'o',
      'actual', coalesce(automation.brief(automation.test_value(test, context)), 'null'),
      'verdict', (test ? 'n') <> automation.test_holds(test, context, zone, at))
    || case
      when test ? 'r'
      then jsonb_build_object('expected', automation.brief(automation.test_value(test -> 'r', context)))
      when test ? 'v' then jsonb_build_object('expected', automation.brief(test -> 'v'))
      else '{}'
    end
    || case
      when test ->> 'k' in ('changed', 'changed_from', 'changed_to', 'was')
      then jsonb_build_object('before',
        automation.brief(context -> 'trigger' -> 'old' #> coalesce(test ->> 'q', test ->> 'b')::text[]))
      else '{}'
    end
  $$;

create or replace function automation.explain_node(
  tree jsonb, code jsonb, context jsonb, zone text, at timestamptz
) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  joins text := case when tree ? 'all' then 'all' when tree ? 'any' then 'any' end;
  members jsonb;
begin
  if tree is null or jsonb_typeof(tree) = 'boolean' then
    return jsonb_build_object('verdict', coalesce(tree, 'true'));
  elsif tree ? 'test' then
    return automation.explain_test(code -> (tree ->> 'test')::int, context, zone, at);
  elsif tree ? 'not' then
    members := automation.explain_node(tree -> 'not', code, context, zone, at);
    return jsonb_build_object('not', members, 'verdict', not (members -> 'verdict')::boolean);
  end if;
  select coalesce(jsonb_agg(automation.explain_node(m.node, code, context, zone, at)
    order by m.position), '[]') into members
  from jsonb_array_elements(tree -> joins) with ordinality as m (node, position);
  return jsonb_build_object(joins, members, 'verdict', case joins
    when 'all' then not jsonb_path_exists(members, '$[*] ? (@.verdict == false)')
    else jsonb_path_exists(members, '$[*] ? (@.verdict == true)') end);
end;
$$;

create or replace function automation.explain_conditions(
  compiled jsonb, context jsonb, zone text default 'UTC', at timestamptz default automation.now()
) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when length(e.whole::text) <= 32000 then e.whole
      else jsonb_build_object('verdict', e.whole -> 'verdict', 'shortened', true,
        'all', (
          select jsonb_agg(t.test)
          from (
            select t as test
            from jsonb_path_query(e.whole, 'strict $.** ? (exists (@.operator) && @.verdict == $wanted)',
              jsonb_build_object('wanted', e.whole -> 'verdict'), true) as t
            limit 20
          ) as t))
    end
    from (
      select automation.explain_node(compiled -> 'tree', compiled -> 'code', context, zone, at) as whole
    ) as e
  $$;

-- Why something did not happen, with the values that were seen.
create or replace function automation.unmet(message text, explanation jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'code', 'conditions_not_met', 'message', message, 'conditions', explanation)
  $$;

comment on function automation.explain_conditions(jsonb, jsonb, text, timestamptz) is
  'The verdict of evaluate_conditions with its reasons: groups as {all|any|not, verdict}, '
  'conditions as {path, field, operator, expected, actual, before, verdict}. Long values are cut; of an '
  'explanation that is too long for a row only the first tests that decided remain (shortened).';

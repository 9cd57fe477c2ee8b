-- A tag's inside, as lexemes {t: word, string, number or a mark; v: value; at: position}.
create or replace function automation.lex_tag(
  source text, start int, closer text, out lexemes jsonb, out next int, out problem text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  rest text;
  found_text text;
  type text;
begin
  lexemes := '[]';
  next := start;
  loop
    rest := substr(source, next, 600);
    if starts_with(rest, closer) then
      next := next + length(closer);
      return;
    elsif rest = '' or jsonb_array_length(lexemes) > 60 then
      problem := 'this {{ is not closed';
      return;
    end if;
    found_text := substring(rest from E'^[ \t\r\n]+');
    if found_text is not null then
      next := next + length(found_text);
      continue;
    end if;
    found_text := coalesce(
      substring(rest from E'^"(?:[^"\\\\]|\\\\.)*"'),
      substring(rest from E'^''(?:[^''\\\\]|\\\\.)*'''));
    if found_text is not null then
      lexemes := lexemes || jsonb_build_object('t', 'string', 'at', next, 'v', replace(
        regexp_replace(substr(found_text, 2, length(found_text) - 2), E'\\\\([^n])', '\1', 'g'),
        '\n', E'\n'));
    else
      found_text := coalesce(
        substring(rest from '^[|:,]'), substring(rest from '^(?:==|!=|>=|<=|>|<)'),
        substring(rest from
          E'^[^][ \t\r\n.{}|"''(),:\\\\]+(?:[.][^][ \t\r\n.{}|"''(),:\\\\]+'
          '|\\[-?[0-9]+\\]|\\["[^"\\\\]+"\\]|\\[''[^''\\\\]+''\\])*'));
      if found_text is null then
        problem := case left(rest, 1)
          when '"' then 'this text is not closed' when '''' then 'this text is not closed'
          when '}' then format('%s is needed here', closer)
          else format('%s is not expected here', left(rest, 1)) end;
        return;
      end if;
      type := case
        when found_text in ('|', ':', ',') then found_text
        when found_text ~ '^-?[0-9]{1,30}([.][0-9]{1,30})?$' then 'number'
        else 'word' end;
      lexemes := lexemes || jsonb_build_object('t', type, 'at', next, 'v',
        case type when 'number' then to_jsonb(found_text::numeric) else to_jsonb(found_text) end);
    end if;
    next := next + length(found_text);
  end loop;
end;
$$;

-- A value in a tag: a text, a number, true, false, null, now, today or a field. `loops`: what the #each
-- blocks around it call their items; those names come before any field.
create or replace function automation.parse_operand(
  lexeme jsonb, loops text[], out operand jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  word text := lexeme ->> 'v';
  keys text[];
begin
  roots := '{}';
  if lexeme ->> 't' in ('string', 'number') then
    operand := jsonb_build_object('v', lexeme -> 'v');
  elsif lexeme ->> 't' is distinct from 'word' then
    problem := 'a value is needed here';
  elsif word in ('true', 'false', 'null') then
    operand := jsonb_build_object('v', word::jsonb);
  elsif word in ('now', 'today') then
    operand := jsonb_build_object('now', word, 'name', word);
  else
    keys := automation.parse_path(word);
    if keys[1] = any (loops) then
      operand := jsonb_build_object('p', keys::text, 'loop', true, 'name', word);
      return;
    elsif keys is null or word ~ '^[#/!@=<>]' then
      problem := format('%s is not a field', left(word, 60));
      return;
    end if;
    operand := automation.condition_reference(keys) - 'w' - 'q' || jsonb_build_object('name', word);
    roots := automation.condition_field_roots(keys);
  end if;
end;
$$;

-- The filters of a tag, from the lexeme `here` on.
create or replace function automation.parse_filters(
  lexemes jsonb, here int, loops text[], out filters jsonb, out roots text[], out problem text, out at int
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  name text;
  arguments jsonb;
  part record;
  counts record;
begin
  filters := '[]';
  roots := '{}';
  while lexemes -> here is not null loop
    at := (lexemes -> here ->> 'at')::int;
    name := lexemes -> (here + 1) ->> 'v';
    if lexemes -> here ->> 't' <> '|' then
      problem := 'a | is needed before a filter';
      return;
    elsif lexemes -> (here + 1) ->> 't' is distinct from 'word' then
      problem := 'a filter is needed after |';
      return;
    end if;
    at := (lexemes -> (here + 1) ->> 'at')::int;
    if filters -> -1 ->> 'n' = 'nl2br' then
      problem := 'nl2br must be the last filter';
      return;
    end if;
    if jsonb_array_length(filters) >= automation.at_most('filters') then
      problem := format('a variable takes at most %s filters', automation.at_most('filters'));
      return;
    end if;
    here := here + 2;
    arguments := '[]';
    while lexemes -> here ->> 't' = case when arguments = '[]' then ':' else ',' end loop
      part := automation.parse_operand(lexemes -> (here + 1), loops);
      if part.problem is not null then
        at := coalesce((lexemes -> (here + 1) ->> 'at')::int, at);
        problem := part.problem;
        return;
      end if;
      arguments := arguments || jsonb_build_array(part.operand);
      roots := roots || part.roots;
      here := here + 2;
    end loop;
    select * into counts from automation.filter_arguments(name);
    problem := automation.filter_problem(name, arguments, counts.least_count, counts.most_count);
    if problem is not null then
      return;
    end if;
    filters := filters || jsonb_build_array(jsonb_build_object('n', name)
      || automation.compile_arguments(arguments)
      || case
        when name <> 'formatDate' or arguments -> 0 ? 'name' then '{}'
        else jsonb_build_object(
          'x', automation.date_format(coalesce(arguments -> 0 ->> 'v', 'medium')))
      end);
  end loop;
end;
$$;

-- Arguments that are all literals are worked out here: {c: values}; others at each rendering: {a:}.
create or replace function automation.compile_arguments(arguments jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when arguments = '[]' then '{}'
      when jsonb_path_exists(arguments, '$[*] ? (!exists(@.v))')
        then jsonb_build_object('a', arguments)
      else jsonb_build_object('c', jsonb_path_query_array(arguments, '$[*].v'))
    end
  $$;

create or replace function automation.filter_problem(
  name text, arguments jsonb, least_count int, most_count int
) returns text
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when least_count is null then format('there is no filter %s', left(name, 60))
      when jsonb_array_length(arguments) < least_count
        then format('%s needs %s', name, case least_count when 1 then 'an argument'
          else least_count || ' arguments' end)
      when jsonb_array_length(arguments) > most_count
        then format('%s takes at most %s', name, most_count)
      when name = 'formatDate' and arguments -> 0 ? 'v'
        and automation.date_format(arguments -> 0 ->> 'v') is null
        then 'this is not a date pattern'
      when name = 'formatDate' and arguments -> 1 ? 'v'
        and automation.known_zone(arguments -> 1 ->> 'v') is null
        then 'this is not a time zone'
      when name = 'truncate' and arguments -> 0 ? 'v'
        and coalesce(jsonb_typeof(arguments -> 0 -> 'v') <> 'number', true)
        then 'truncate needs a number of characters'
    end
  $$;

-- The test of an #if: a field alone (is it there and not false or 0), or field operator value.
create or replace function automation.parse_block_test(
  lexemes jsonb, loops text[], out test jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  marks constant jsonb := '{"==": "equals", "!=": "not_equals", ">": "greater_than",
    ">=": "greater_or_equal", "<": "less_than", "<=": "less_or_equal"}'::jsonb;
  word text := lexemes -> 2 ->> 'v';
  operand record := automation.parse_operand(lexemes -> 1, loops);
  arguments jsonb;
  part record;
begin
  roots := operand.roots;
  problem := operand.problem;
  if problem is not null or lexemes -> 2 is null then
    test := operand.operand;
    return;
  elsif not operand.operand ? 'name' then
    problem := 'a field is needed before an operator';
    return;
  end if;
  select jsonb_agg(l.lexeme -> 'v' order by l.position) into arguments
  from jsonb_array_elements(lexemes) with ordinality as l (lexeme, position)
  where l.position > 3 and l.lexeme ->> 't' <> ',';
  part := automation.compile_condition(jsonb_strip_nulls(jsonb_build_object(
    'field', operand.operand -> 'name',
    'operator', coalesce(marks ->> word, word),
    'value', case
      when word in ('in', 'not_in', 'includes_any', 'includes_all', 'between') then arguments
      when jsonb_array_length(arguments) > 1 then null
      when lexemes -> 3 ->> 't' = 'word' and arguments ->> 0 in ('true', 'false')
        then (arguments ->> 0)::jsonb
      when lexemes -> 3 ->> 't' = 'word' then jsonb_build_object('field', arguments -> 0)
      else arguments -> 0 end)), '');
  problem := case when part.test is null then part.problems -> 0 ->> 'message' end;
  test := case when part.test is not null then
    jsonb_build_object('test', automation.in_loops(part.test, loops)
      || case when part.test ? 'r'
        then jsonb_build_object('r', automation.in_loops(part.test -> 'r', loops)) else '{}' end) end;
  roots := case when loops = '{}' then part.roots else automation.test_roots(test -> 'test') end;
end;
$$;

-- The reference of a condition, as what it is inside of these loops.
create or replace function automation.in_loops(reference jsonb, loops text[]) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when (coalesce(reference ->> 'p', reference ->> 'b')::text[])[1] = any (loops)
        then reference - '{b,q,w}'::text[] || jsonb_build_object(
          'p', coalesce(reference ->> 'p', reference ->> 'b'), 'loop', true)
      else reference
    end
  $$;

create or replace function automation.test_roots(test jsonb) returns text[]
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(r.root), '{}')
    from unnest(array[test, test -> 'r']) as f (reference)
    cross join lateral unnest(automation.condition_field_roots(
      coalesce(f.reference ->> 'p', f.reference ->> 'b')::text[])) as r (root)
    where f.reference is not null and not f.reference ? 'loop'
  $$;

-- An #each: a list, and what its items are called: {each: the list, as: the name or null}.
create or replace function automation.parse_each(
  lexemes jsonb, loops text[], out token jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  operand record := automation.parse_operand(lexemes -> 1, loops);
  name text := lexemes -> 3 ->> 'v';
begin
  roots := operand.roots;
  problem := case
    when operand.problem is not null then operand.problem
    when not operand.operand ? 'p' and not operand.operand ? 'b' then 'a list is needed after #each'
    when jsonb_array_length(lexemes) = 2 then null
    when lexemes -> 2 ->> 'v' is distinct from 'as' or jsonb_array_length(lexemes) <> 4
      then '#each takes a list, and perhaps: as name'
    when lexemes -> 3 ->> 't' <> 'word' or name !~ '^[A-Za-z_][A-Za-z0-9_]{0,62}$'
      or name = any ('{trigger,contact,project,job,user,tenant,custom,steps,this,now,today,true,false,null,else}')
      then format('%s cannot be the name of an item', left(name, 60))
  end;
  token := jsonb_build_object('each', operand.operand, 'as', name, 'end', null, 'else', null);
end;
$$;

-- The names that the blocks which are open give to items.
create or replace function automation.loop_names(blocks jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce('{this,@index,@number,@first,@last}'::text[]
      || array_agg(b ->> 'as') filter (where b ? 'as'), '{}')
    from jsonb_array_elements(blocks) as b
    where b ->> 'kind' = 'each'
    having count(*) > 0
  $$;

-- Tokens are in one flat list: a text is itself, an object is a value, and blocks are jumps:
-- {if: test, else: where to go when it does not hold, not: true for unless} and {go: where}. What is said
-- for each item of a list begins with {each: the list, as: what an item is called, end: where its part
-- ends, else: where to go when there is none}. {url: n} and values with u: see automation.url_prefix().
-- `blocks` is the stack of those still open: {kind, at, if: the test whose else is open, ends: the
-- jumps that lead behind the block, as: the name of an item}.
create or replace function automation.parse_block(
  lexemes jsonb, inout tokens jsonb, inout blocks jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  word text := lexemes -> 0 ->> 'v';
  block jsonb := blocks -> -1;
  loops constant text[] := coalesce(automation.loop_names(blocks), '{}');
  test record;
  item record;
  has_test boolean := word in ('#if', '#unless') or word <> '#each' and lexemes -> 1 ->> 'v' = 'if';
  ending jsonb;
begin
  roots := '{}';
  if word not in ('#if', '#unless', '#each', 'else', '/if', '/unless', '/each') then
    problem := format('there is no block %s', left(word, 60));
  elsif word not like '#%' and block is null then
    problem := format('there is no block open for this %s', word);
  elsif word like '/%' and substr(word, 2) <> block ->> 'kind' then
    problem := format('the block that is open is #%s', block ->> 'kind');
  elsif word = 'else' and block -> 'if' = 'null' then
    problem := 'this block has had its else';
  elsif word = 'else' and has_test and block ->> 'kind' = 'each' then
    problem := 'the else of an #each takes no test';
  elsif word like '#%' and jsonb_array_length(blocks) >= 20 then
    problem := 'blocks are nested too deeply';
  elsif word = '#each' then
    item := automation.parse_each(lexemes, loops);
    roots := item.roots;
    problem := item.problem;
  elsif not has_test and jsonb_array_length(lexemes) > 1 then
    problem := format('nothing can follow %s here', word);
  elsif has_test then
    test := automation.parse_block_test(case word when 'else' then lexemes - 0 else lexemes end, loops);
    roots := test.roots;
    problem := test.problem;
  end if;
  if problem is not null then
    return;
  end if;
  if word like '#%' then
    block := jsonb_build_object(
      'kind', substr(word, 2), 'at', lexemes -> 0 -> 'at', 'ends', '[]'::jsonb);
    blocks := blocks || jsonb_build_array(block);
  else
    if block ->> 'kind' = 'each' and block -> 'if' <> 'null' then
      tokens := jsonb_set(
        tokens, array[block ->> 'if', 'end'], to_jsonb(jsonb_array_length(tokens)));
    end if;
    if word = 'else' then
      block := jsonb_set(block, '{ends}', block -> 'ends' || to_jsonb(jsonb_array_length(tokens)));
      tokens := tokens || '[{"go": null}]';
    end if;
    if block -> 'if' <> 'null' then
      tokens := jsonb_set(
        tokens, array[block ->> 'if', 'else'], to_jsonb(jsonb_array_length(tokens)));
    end if;
    block := block || '{"if": null}';
  end if;
  if word = '#each' then
    block := block || jsonb_build_object('if', jsonb_array_length(tokens))
      || case when item.token ->> 'as' is null then '{}' else jsonb_build_object('as', item.token -> 'as') end;
    tokens := tokens || jsonb_build_array(item.token);
  elsif has_test then
    block := block || jsonb_build_object('if', jsonb_array_length(tokens));
    tokens := tokens || jsonb_build_array(jsonb_build_object('if', test.test, 'else', null)
      || case word when '#unless' then '{"not": true}'::jsonb else '{}' end);
  end if;
  if word like '/%' then
    for ending in select * from jsonb_array_elements(block -> 'ends') loop
      tokens := jsonb_set(
        tokens, array[ending #>> '{}', 'go'], to_jsonb(jsonb_array_length(tokens)));
    end loop;
    blocks := blocks - -1;
  else
    blocks := jsonb_set(blocks, '{-1}', block);
  end if;
end;
$$;

create or replace function automation.parse_value(
  lexemes jsonb, raw boolean, loops text[], out token jsonb, out roots text[], out problem text, out at int
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  operand record := automation.parse_operand(lexemes -> 0, loops);
  filters record;
begin
  at := (lexemes -> 0 ->> 'at')::int;
  problem := case when lexemes = '[]' then 'there is nothing between these braces'
    else operand.problem end;
  if problem is not null then
    return;
  end if;
  filters := automation.parse_filters(lexemes, 1, loops);
  at := filters.at;
  problem := filters.problem;
  roots := operand.roots || filters.roots;
  token := operand.operand
    || case when filters.filters = '[]' then '{}' else jsonb_build_object('f', filters.filters) end
    || case when raw then '{"raw": true}'::jsonb else '{}' end
    || case when filters.filters -> -1 ->> 'n' = 'nl2br' then '{"br": true}'::jsonb else '{}' end;
end;
$$;

-- A variable that an address in HTML begins with (<a href="{{contact.website}}">) decides what kind of
-- address it is. What literal text there is of the address so far, while it may still be the beginning
-- of a scheme; null where no address is open. `so_far`: what it was before this text.
create or replace function automation.url_prefix(literal text, so_far text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select p.prefix
    from (
      select case
        when so_far || literal ~ '^[[:space:]]*[A-Za-z0-9+.-]*$' then so_far || literal
        else coalesce(a.part[1], a.part[2], a.part[3])
      end as prefix
      from (
        select regexp_match(literal,
          '[[:space:]"''/](?:href|src|action|formaction|poster|background|cite|data|ping|xlink:href)'
          '[[:space:]]*=[[:space:]]*(?:"([^"<>]*)|''([^''<>]*)|([^[:space:]"''<>]*))$', 'i') as part
      ) as a
    ) as p
    where p.prefix ~ '^[[:space:]]*[A-Za-z0-9+.-]*$'
  $$;

-- {url: how many characters of the address stand before it} goes where an address begins.
create or replace function automation.open_url(literal text, so_far text, out tokens jsonb, out url text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  url := automation.url_prefix(literal, so_far);
  tokens := case
    when url is null or url = so_far || literal then '[]'
    else jsonb_build_array(jsonb_build_object('url', length(url)))
  end;
end;
$$;

create or replace function automation.parse_template(
  source text, out tokens jsonb, out roots text[], out problem text, out "position" int
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  here int := 1;
  tag_at int;
  literal text := '';
  url text;
  found_at int;
  raw boolean;
  tag record;
  part record;
  blocks jsonb := jsonb_build_array();
begin
  tokens := '[]';
  roots := '{}';
  loop
    found_at := strpos(substr(source, here), '{{');
    exit when found_at = 0;
    tag_at := here + found_at - 1;
    literal := literal || substr(source, here, found_at - 1);
    -- \{{ is two braces.
    if literal like E'%\\\\' then
      literal := left(literal, -1) || '{{';
      here := tag_at + 2;
      continue;
    end if;
    if literal <> '' then
      tokens := tokens || to_jsonb(literal);
      part := automation.open_url(literal, url);
      tokens := tokens || part.tokens;
      url := part.url;
      literal := '';
    end if;
    position := tag_at;
    if substr(source, tag_at + 2, 1) = '!' then
      found_at := strpos(substr(source, tag_at), '}}');
      problem := case when found_at = 0 then 'this comment is not closed' end;
      exit when problem is not null;
      here := tag_at + found_at + 1;
      continue;
    end if;
    raw := substr(source, tag_at + 2, 1) = '{';
    tag := automation.lex_tag(source, tag_at + case when raw then 3 else 2 end,
      case when raw then '}}}' else '}}' end);
    problem := tag.problem;
    position := case when problem = 'this {{ is not closed' then tag_at else tag.next end;
    exit when problem is not null;
    if not raw and (tag.lexemes -> 0 ->> 'v' ~ '^[#/]' and tag.lexemes -> 0 ->> 't' = 'word'
      or tag.lexemes -> 0 ->> 'v' = 'else' and tag.lexemes -> 0 ->> 't' = 'word') then
      part := automation.parse_block(tag.lexemes, tokens, blocks);
      tokens := part.tokens;
      blocks := part.blocks;
      position := tag_at;
    else
      part := automation.parse_value(tag.lexemes, raw, coalesce(automation.loop_names(blocks), '{}'));
      tokens := tokens || jsonb_build_array(
        case when url is null then part.token else part.token || '{"u": true}' end);
      position := coalesce(part.at, tag_at);
    end if;
    problem := part.problem;
    exit when problem is not null;
    roots := roots || part.roots;
    here := tag.next;
  end loop;
  if problem is null and blocks <> '[]' then
    problem := format('this #%s is not closed', blocks -> -1 ->> 'kind');
    position := (blocks -> -1 ->> 'at')::int;
  end if;
  literal := literal || substr(source, here);
  if problem is not null then
    tokens := null;
  else
    position := null;
    tokens := tokens || case when literal = '' then '[]' else to_jsonb(literal) end;
  end if;
end;
$$;

comment on function automation.parse_template(text) is
  'A text''s tokens, or what is wrong with it and at which character.';

-- Rendering: the part that runs once a step.

create or replace function automation.escape_html(value text) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return replace(replace(replace(replace(replace(
    value, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');

-- A field, a literal, or now and today.
create or replace function automation.operand_value(operand jsonb, context jsonb, options jsonb)
  returns jsonb
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when operand ? 'p' or operand ? 'b' then automation.test_value(operand, context)
    when operand ? 'v' then operand -> 'v'
    when operand ->> 'now' = 'now'
      then to_jsonb(automation.iso_instant(automation.render_time(options)))
    else to_jsonb(to_char(
      automation.render_time(options)
        at time zone coalesce(automation.known_zone(options ->> 'zone'), 'UTC'),
      'YYYY-MM-DD'))
  end;
end;
$$;

create or replace function automation.render_time(options jsonb) returns timestamptz
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when automation.is_date(options ->> 'now') then automation.instant_in(options ->> 'now', 'UTC')
    else automation.now()
  end;

create or replace function automation.render_warning(at text, code text, token jsonb, message text)
  returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return jsonb_build_array(jsonb_build_object(
    'path', at, 'code', code, 'variable', token -> 'name', 'message', message));

-- The filters that can make much out of little: one that puts a text in place of others or between them.
create or replace function automation.grows_too_large(filter jsonb, value jsonb, arguments jsonb)
  returns boolean
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  text constant text := value #>> '{}';
  growth bigint;
begin
  case filter ->> 'n'
    when 'replace' then
      growth := octet_length(arguments ->> 1)::bigint
        * ((length(text) - length(replace(text, arguments ->> 0, '')))
          / greatest(length(arguments ->> 0), 1));
    when 'join' then
      growth := octet_length(arguments ->> 0)::bigint * case jsonb_typeof(value)
        when 'array' then jsonb_array_length(value) else 0 end;
    when 'url_encode' then
      growth := 2 * octet_length(text)::bigint;
    when 'default' then
      growth := octet_length(arguments ->> 0);
    else
      return false;
  end case;
  return coalesce(growth + octet_length(text) > automation.at_most('value'), false);
end;
$$;

-- A token's value after its filters. Null where there is none, with a warning.
create or replace function automation.token_value(
  token jsonb, context jsonb, options jsonb, at text, out value jsonb, inout warnings jsonb
)
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  filters constant jsonb := token -> 'f';
  filter jsonb;
  arguments jsonb;
  filtered jsonb;
begin
  value := automation.operand_value(token, context, options);
  for i in 0 .. coalesce(jsonb_array_length(filters), 0) - 1 loop
    filter := filters -> i;
    arguments := case
      when filter ? 'a' then automation.argument_values(filter -> 'a', context, options)
      else coalesce(filter -> 'c', '[]')
    end;
    -- A value of megabytes is cut before it is filtered; one that a filter would blow up ends the rendering.
    if octet_length(value #>> '{}') > automation.at_most('value') then
      if jsonb_typeof(value) <> 'string' then
        warnings := warnings || automation.render_warning(at, 'too_large', token,
          format('%s is larger than %s bytes', token ->> 'name', automation.at_most('value')));
        value := 'null';
        return;
      end if;
      value := to_jsonb(left(value #>> '{}', automation.at_most('value') / 4));
      warnings := warnings || automation.render_warning(at, 'value_cut', token,
        format('%s was cut after %s characters', token ->> 'name', automation.at_most('value') / 4));
    end if;
    if automation.grows_too_large(filter, value, arguments) then
      warnings := warnings || automation.render_warning(at, 'too_large', token,
        format('%s would become larger than %s bytes by %s', token ->> 'name', automation.at_most('value'),
          filter ->> 'n'));
      value := 'null';
      return;
    end if;
    filtered := automation.filter_value(filter, value, arguments, options);
    if filtered is not null then
      value := filtered;
    elsif value <> 'null' then
      warnings := warnings || automation.render_warning(at, 'filter_not_applied', token,
        format('%s has no meaning for this value, which was left as it is', filter ->> 'n'));
    end if;
  end loop;
  if coalesce(value, 'null') = 'null' then
    warnings := warnings || automation.render_warning(at, 'missing_variable', token,
      format('%s has no value', token ->> 'name'));
  end if;
end;
$$;

create or replace function automation.argument_values(arguments jsonb, context jsonb, options jsonb)
  returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_agg(
      coalesce(automation.operand_value(a.operand, context, options), 'null') order by a.position)
    from jsonb_array_elements(arguments) with ordinality as a (operand, position)
  $$;

-- An #if: a comparison, or a value that is there and neither false nor 0.
create or replace function automation.block_holds(test jsonb, context jsonb, options jsonb)
  returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  value jsonb;
begin
  if test ? 'test' then
    return (test -> 'test' ? 'n') <> automation.test_holds(
      test -> 'test', context, options ->> 'zone', automation.render_time(options));
  end if;
  value := automation.operand_value(test, context, options);
  return not (automation.is_blank(value) or value in ('false', '0'));
end;
$$;

-- A text that is being written: what there is of it, the warnings so far, how many items of lists went
-- into it, and where in it the address begins that is being written (0: none).
-- over: why it goes no further (too_large, too_expensive; null: it does).
create type automation.rendering as (written text, warnings jsonb, items int, url_at int, over text);

-- An address that a browser would run instead of opening. Browsers pass over blanks and control
-- characters; only what is raw can hold entities.
create or replace function automation.is_script_url(address text) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return regexp_replace(left(address, 4000), '[\x01-\x20\x7F]', '', 'g')
    ~* '^(?:(?:javascript|vbscript|data|livescript|mocha):|[^/?:]*&(?!amp;|#39;|quot;|lt;|gt;)(?:#|colon|tab|newline))';

-- What a token becomes in a text.
create or replace function automation.token_text(value jsonb, token jsonb, html boolean) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written text := coalesce(automation.text_of(value), '');
begin
  if html and not token ? 'raw' then
    written := automation.escape_html(written);
  end if;
  return case when html and token ? 'br' then regexp_replace(written, '\r\n|\r|\n', '<br>', 'g') else written end;
end;
$$;

-- A variable in a link never becomes a script: the address is looked at as a whole, whatever parts it
-- was put together from.
create or replace function automation.guard_url(now automation.rendering, token jsonb, at text)
  returns automation.rendering
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  starts constant int := case when now.url_at = 0 then 1 else now.url_at end;
begin
  if automation.is_script_url(substr(now.written, starts)) then
    now.written := left(now.written, starts - 1) || '#';
    now.warnings := now.warnings || automation.render_warning(at, 'unsafe_link', token,
      format('%s would have made the link a script; it leads nowhere instead', token ->> 'name'));
  end if;
  return now;
end;
$$;

-- The tokens from `here` up to `last`, written behind what there is already.
create or replace function automation.render_tokens(
  tokens jsonb, here int, last int, context jsonb, options jsonb, at text, html boolean,
  so_far automation.rendering)
  returns automation.rendering
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  now automation.rendering := so_far;
  token jsonb;
  value jsonb;
  part record;
begin
  while here < last and now.over is null loop
    token := tokens -> here;
    here := here + 1;
    if jsonb_typeof(token) = 'string' then
      now.written := now.written || (token #>> '{}');
    elsif token ? 'go' then
      here := (token ->> 'go')::int;
    elsif token ? 'if' then
      if (token ? 'not') = automation.block_holds(token -> 'if', context, options) then
        here := (token ->> 'else')::int;
      end if;
    elsif token ? 'each' then
      value := automation.items_of(automation.operand_value(token -> 'each', context, options));
      if value = '[]' then
        here := (token ->> 'else')::int;
      else
        now := automation.render_items(tokens, here, value, context, options, at, html, now);
        here := (token ->> 'end')::int;
      end if;
    elsif token ? 'url' then
      now.url_at := length(now.written) + 1 - (token ->> 'url')::int;
    else
      value := case
        when token ? 'p' and not token ? 'f' then context #> (token ->> 'p')::text[] end;
      if coalesce(jsonb_typeof(value), 'null') = 'null' then
        part := automation.token_value(token, context, options, at, now.warnings);
        now.warnings := part.warnings;
        value := part.value;
      end if;
      if octet_length(now.written) + coalesce(octet_length(value #>> '{}'), 0) <= automation.at_most('text') then
        now.written := now.written || automation.token_text(value, token, html);
      else
        now.over := 'too_large';
      end if;
      if html and token ? 'u' then
        now := automation.guard_url(now, token, at);
      end if;
      now.over := coalesce(now.over, case
        when octet_length(now.written) > automation.at_most('text') then 'too_large'
        when clock_timestamp() > (options ->> 'until')::timestamptz then 'too_expensive'
      end);
    end if;
  end loop;
  return now;
end;
$$;

-- What an #each goes through: a list; anything else that is there is its only item.
create or replace function automation.items_of(value jsonb) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when automation.is_blank(value) then '[]'
    when jsonb_typeof(value) = 'array' then value
    else jsonb_build_array(value)
  end;

-- The part of an #each, whose token stands before `here`, for every item. A text takes a thousand items,
-- and none once it is long; what is left out leaves a warning.
create or replace function automation.render_items(
  tokens jsonb, here int, items jsonb, context jsonb, options jsonb, at text, html boolean,
  so_far automation.rendering)
  returns automation.rendering
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  now automation.rendering := so_far;
  token constant jsonb := tokens -> (here - 1);
  count constant int := jsonb_array_length(items);
  warnings jsonb;
  item jsonb;
  place int := 0;
begin
  for item in select i from jsonb_array_elements(items) as i loop
    if now.items >= 1000 or length(now.written) > 200000 then
      now.warnings := now.warnings || automation.render_warning(at, 'too_many_items', token -> 'each',
        format('%s has too many items for one text: %s of %s are left out',
          token #>> '{each,name}', count - place, count));
      return now;
    end if;
    warnings := now.warnings;
    now.items := now.items + 1;
    now := automation.render_tokens(
      tokens, here, (token ->> 'end')::int,
      context || automation.item_names(token ->> 'as', item, place, count),
      options, at, html, now);
    if now.over is not null then
      return now;
    end if;
    -- What is missing from one item is missing from a thousand.
    if jsonb_array_length(warnings) >= 50 then
      now.warnings := warnings;
    end if;
    place := place + 1;
  end loop;
  return now;
end;
$$;

create or replace function automation.item_names(name text, item jsonb, place int, count int) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('this', item, '@index', place, '@number', place + 1,
        '@first', place = 0, '@last', place = count - 1)
      || case when name is null then '{}' else jsonb_build_object(name, item) end
  $$;

create or replace function automation.render_text(
  tokens jsonb, context jsonb, options jsonb, at text, html boolean,
  out rendered text, inout warnings jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  done constant automation.rendering := automation.render_tokens(
    tokens, 0, jsonb_array_length(tokens), coalesce(context, '{}'), options, at, html,
    row('', warnings, 0, 0, null));
begin
  rendered := done.written;
  warnings := done.warnings || case
    when done.over is null then '[]'
    else automation.render_warning(at, done.over, '{}', case done.over
      when 'too_large' then format('is larger than %s bytes', automation.at_most('text'))
      else format('takes more than %s milliseconds to render', automation.at_most('render_ms')) end)
  end;
end;
$$;

-- A template that is a whole value keeps its type; in HTML it is text, and escaped.
create or replace function automation.render_whole(
  token jsonb, context jsonb, options jsonb, at text, html boolean,
  out rendered jsonb, inout warnings jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part record;
begin
  -- Mostly a value as it stands in the record.
  rendered := case when token ? 'p' and not token ? 'f' then context #> (token ->> 'p')::text[] end;
  if coalesce(jsonb_typeof(rendered), 'null') = 'null' then
    part := automation.token_value(token, context, options, at, warnings);
    warnings := part.warnings;
    rendered := coalesce(part.value, 'null');
  end if;
  if html and jsonb_typeof(rendered) in ('string', 'array', 'object')
    and not (options ? 'typed' and automation.plain_text(rendered) is null) then
    rendered := to_jsonb(automation.token_text(rendered, token, html));
  end if;
end;
$$;

-- What became too large or too dear, as a reason; null when nothing did.
create or replace function automation.size_problem(warnings jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if warnings is null or warnings = '[]' then
    return null;
  end if;
  return (
    select jsonb_build_object('code', w -> 'code', 'message', concat_ws(': ', w ->> 'path', w ->> 'message'))
    from jsonb_array_elements(warnings) as w
    where w ->> 'code' in ('too_large', 'too_expensive')
    limit 1);
end;
$$;

create or replace function automation.render(
  compiled jsonb, context jsonb, options jsonb default '{}', out rendered jsonb, out warnings jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  slots constant jsonb := compiled -> 'slots';
  slot jsonb;
  at text[];
  html boolean;
  name text;
  part record;
  text_part record;
  size bigint := 0;
begin
  rendered := compiled -> 'base';
  warnings := '[]';
  options := coalesce(options, '{}') || jsonb_build_object(
    'until', clock_timestamp() + automation.at_most('render_ms') * interval '1 millisecond');
  for i in 0 .. coalesce(jsonb_array_length(slots), 0) - 1 loop
    slot := slots -> i;
    at := (slot ->> 'at')::text[];
    name := array_to_string(at, '.');
    html := coalesce(options -> 'html_paths' ?| (slot ->> 'pre')::text[], false);
    exit when automation.size_problem(warnings) is not null;
    if clock_timestamp() > (options ->> 'until')::timestamptz then
      warnings := warnings || automation.render_warning(name, 'too_expensive', '{}', format(
        'takes more than %s milliseconds to render', automation.at_most('render_ms')));
      exit;
    end if;
    if slot ? 'w' then
      part := automation.render_whole(slot -> 'w', context, options, name, html, warnings);
      warnings := part.warnings;
      size := size + coalesce(pg_column_size(part.rendered), 0);
      rendered := case when at = '{}' then part.rendered
        else jsonb_set(rendered, at, part.rendered) end;
    else
      text_part := automation.render_text(slot -> 's', context, options, name, html, warnings);
      warnings := text_part.warnings;
      size := size + coalesce(octet_length(text_part.rendered), 0);
      rendered := case when at = '{}' then to_jsonb(text_part.rendered)
        else jsonb_set(rendered, at, to_jsonb(text_part.rendered)) end;
    end if;
    if size > automation.at_most('step') then
      warnings := warnings || automation.render_warning(name, 'too_large', '{}', format(
        'makes more than %s bytes of the step', automation.at_most('step')));
      exit;
    end if;
  end loop;
  if options ->> 'on_missing' = 'fail'
    and jsonb_path_exists(warnings, '$[*] ? (@.code == "missing_variable")')
    or automation.size_problem(warnings) is not null then
    rendered := null;
  end if;
end;
$$;

comment on function automation.render(jsonb, jsonb, jsonb) is
  'A compiled template filled from a context, and what was amiss: {path, code, variable, message}. '
  'options: zone, locale, currency, country, html_paths, on_missing (empty, or fail: rendered is null when '
  'a variable has no value), now, typed (what is no text stays what it is even in HTML, for fit_input to '
  'refuse). rendered is null, too, when something is too large or takes too long. Never raises.';

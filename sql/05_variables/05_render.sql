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

create or replace function automation.render_text(
  tokens jsonb, context jsonb, options jsonb, at text, html boolean,
  out rendered text, inout warnings jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  count constant int := jsonb_array_length(tokens);
  here int := 0;
  token jsonb;
  value jsonb;
  part record;
begin
  rendered := '';
  while here < count loop
    token := tokens -> here;
    here := here + 1;
    if jsonb_typeof(token) = 'string' then
      rendered := rendered || (token #>> '{}');
    elsif token ? 'go' then
      here := (token ->> 'go')::int;
    elsif token ? 'if' then
      if (token ? 'not') = automation.block_holds(token -> 'if', context, options) then
        here := (token ->> 'else')::int;
      end if;
    else
      value := case
        when token ? 'p' and not token ? 'f' then context #> (token ->> 'p')::text[] end;
      if coalesce(jsonb_typeof(value), 'null') = 'null' then
        part := automation.token_value(token, context, options, at, warnings);
        warnings := part.warnings;
        value := part.value;
      end if;
      if html and not token ? 'raw' then
        rendered := rendered || coalesce(automation.escape_html(automation.text_of(value)), '');
      else
        rendered := rendered || coalesce(automation.text_of(value), '');
      end if;
    end if;
  end loop;
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
  part record := automation.token_value(token, context, options, at, warnings);
begin
  warnings := part.warnings;
  rendered := coalesce(part.value, 'null');
  if html and jsonb_typeof(rendered) in ('string', 'array', 'object') then
    rendered := to_jsonb(case when token ? 'raw' then automation.text_of(rendered)
      else automation.escape_html(automation.text_of(rendered)) end);
  end if;
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
begin
  rendered := compiled -> 'base';
  warnings := '[]';
  options := coalesce(options, '{}');
  for i in 0 .. coalesce(jsonb_array_length(slots), 0) - 1 loop
    slot := slots -> i;
    at := (slot ->> 'at')::text[];
    name := array_to_string(at, '.');
    html := coalesce(options -> 'html_paths' ?| (slot ->> 'pre')::text[], false);
    if slot ? 'w' then
      part := automation.render_whole(slot -> 'w', context, options, name, html, warnings);
      warnings := part.warnings;
      rendered := case when at = '{}' then part.rendered
        else jsonb_set(rendered, at, part.rendered) end;
    else
      text_part := automation.render_text(slot -> 's', context, options, name, html, warnings);
      warnings := text_part.warnings;
      rendered := case when at = '{}' then to_jsonb(text_part.rendered)
        else jsonb_set(rendered, at, to_jsonb(text_part.rendered)) end;
    end if;
  end loop;
  if options ->> 'on_missing' = 'fail'
    and jsonb_path_exists(warnings, '$[*] ? (@.code == "missing_variable")') then
    rendered := null;
  end if;
end;
$$;

comment on function automation.render(jsonb, jsonb, jsonb) is
  'A compiled template filled from a context, and what was amiss: {path, code, variable, message}. '
  'options: zone, locale, currency, html_paths, on_missing (empty, or fail: rendered is null when '
  'a variable has no value), now. Never raises.';

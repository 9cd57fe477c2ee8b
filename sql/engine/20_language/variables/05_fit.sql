-- What a template gave -> what the step takes. A template that is a whole value keeps its JSON type, and the
-- step's published schema decides what becomes of it:
--
--   a text     numbers as they are written, true and false, a list as a, b, c; an object is refused
--   a list     one text is a list of one; lists in it are laid open, what is empty is left out
--   a number   of a text that is one
--   nothing    (null, or a text of blanks) is said of a key that is needed; another key is left out as if
--              it had not been written, but where that would choose something else instead (to)
--
-- Which places these are is worked out when a workflow is published: {at, as: the schema, needed}.

-- The schema of a place in a configuration, and the place of the list it stands in, if it does.
create or replace function automation.schema_at(
  schema jsonb, at text[], out place text[], out wanted jsonb, out needed boolean)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  place := '{}';
  wanted := schema;
  needed := true;
  foreach key in array at loop
    exit when wanted -> 'type' ? 'array';
    needed := coalesce(wanted -> 'required' ? key, false);
    wanted := coalesce(wanted -> 'properties' -> key, wanted -> 'additionalProperties');
    if jsonb_typeof(wanted) is distinct from 'object' then
      wanted := null;
      return;
    end if;
    place := place || key;
  end loop;
end;
$$;

-- A text with templates in it is a text: only what else is asked of it has to be looked at. Of several keys
-- of which one is needed, the only one that is there is. is_message: whether there is something to send is said where
-- it is addressed.
create or replace function automation.compile_fits(schema jsonb, compiled jsonb, is_message boolean) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sole text[];
  slot jsonb;
  found record;
  fits jsonb := jsonb_build_array();
begin
  if schema ? 'anyOf' and not is_message then
    sole := array(
      select r.name #>> '{}' from jsonb_path_query(schema, '$.anyOf[*].required[*]') as r (name)
      where compiled -> 'base' ? (r.name #>> '{}'));
  end if;
  for slot in select s from jsonb_array_elements(compiled -> 'slots') as s loop
    -- Addresses have been taken apart, and are put together from what their parts give (60_steps).
    continue when is_message and ((slot ->> 'at')::text[])[1] = any (automation.address_keys())
      and jsonb_typeof(compiled #> array['base', ((slot ->> 'at')::text[])[1]]) = 'array';
    found := automation.schema_at(schema, (slot ->> 'at')::text[]);
    continue when found.wanted is null or not found.wanted ? 'type'
      or not (slot ? 'w' or found.wanted ?| '{minLength,maxLength,pattern,enum}'
        or found.wanted ->> 'format' is not distinct from 'amount');
    fits := fits || jsonb_build_array(jsonb_build_object(
      'at', found.place::text, 'as', found.wanted - '{description,examples,title}'::text[],
      'needed', not is_message and (found.needed or coalesce(cardinality(sole) = 1 and found.place = sole, false))));
  end loop;
  return (select coalesce(jsonb_agg(distinct f), '[]') from jsonb_array_elements(fits) as f);
end;
$$;

create or replace function automation.fit_list(
  schema jsonb, value jsonb, name text, out fitted jsonb, out problem text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  item jsonb;
  part record;
begin
  fitted := '[]';
  for item in select * from automation.laid_open(value) loop
    part := automation.fit_value(schema -> 'items', item, name);
    problem := part.problem;
    exit when problem is not null;
    if not automation.is_blank(part.fitted) then
      fitted := fitted || jsonb_build_array(part.fitted);
    end if;
  end loop;
end;
$$;

-- The items of a list, and of the lists in it.
create or replace function automation.laid_open(list jsonb) returns setof jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(inner_item.value, item.value)
    from jsonb_array_elements(list) with ordinality as item (value, place)
    left join lateral jsonb_array_elements(
      case jsonb_typeof(item.value) when 'array' then item.value else '[]' end)
      with ordinality as inner_item (value, place) on true
    where item.value <> '[]'
    order by item.place, inner_item.place
  $$;

-- A value as a schema wants it; null for nothing. `problem` says why it cannot be.
create or replace function automation.fit_value(
  schema jsonb, value jsonb, name text, out fitted jsonb, out problem text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  types constant jsonb := automation.as_list(schema -> 'type');
  type constant text := jsonb_typeof(value);
  part record;
begin
  if type = 'null' or types is null then
    fitted := value;
  elsif type = 'array' and types ? 'array' or types ->> 0 = 'array' and type <> 'object' then
    part := automation.fit_list(schema, automation.as_list(value), name);
    fitted := part.fitted;
    problem := part.problem;
  elsif schema ->> 'format' = 'amount' then
    part := automation.fit_amount(value, name);
    fitted := part.fitted;
    problem := part.problem;
  elsif types ->> 0 in ('number', 'integer') then
    fitted := case
      when type = 'number' or type = 'string' and automation.is_blank(value) then value
      else to_jsonb(automation.number_of(value)) end;
    if fitted is null or types ->> 0 = 'integer' and not automation.fits_type('"integer"', fitted) then
      problem := format('%s: "%s" is not a number', name, left(automation.text_of(value), 60));
    end if;
  elsif types ->> 0 = 'boolean' then
    fitted := case
      when automation.means_true(value) then 'true'::jsonb when automation.means_false(value) then 'false' end;
    problem := case when fitted is null then format('%s: it is neither true nor false', name) end;
  elsif types ? 'string' then
    fitted := to_jsonb(automation.plain_text(value));
    problem := case when fitted is null then
      format('%s: a text is needed, and this is %s', name, automation.type_words(to_jsonb(type))) end;
  end if;
end;
$$;

-- A value as a text, but what is no text even to a reader: an object, or a list with more than texts.
create or replace function automation.plain_text(value jsonb) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when jsonb_typeof(value) = 'object' then null
    when jsonb_typeof(value) = 'array'
      and jsonb_path_exists(value, 'strict $[*] ? (@.type() == "object" || @.type() == "array")') then null
    else automation.text_of(value)
  end;

-- So many days, hours, minutes: to the millionth, which is what a configuration can say.
create or replace function automation.fit_amount(
  value jsonb, name text, out fitted jsonb, out problem text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  number constant numeric := automation.number_of(value);
begin
  if automation.is_blank(value) then
    fitted := 'null';
  elsif number is null then
    problem := format('%s: "%s" is not a number', name, left(automation.text_of(value), 60));
  elsif number < 0 or number >= 10000000 then
    problem := format('%s: %s is not a number from 0 to 9999999', name, left(number::text, 60));
  else
    fitted := to_jsonb(trim_scale(round(number, 6)));
  end if;
end;
$$;

-- What the schema asks of a text besides being one. Dates and ids are told by the step that reads them, in
-- whose zone and of whom.
create or replace function automation.fit_problem(schema jsonb, value jsonb, name text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if jsonb_typeof(value) <> 'string' or not schema ?| '{pattern,enum,maxLength}' then
    return null;
  end if;
  return (
    select format('%s: %s', name, p ->> 'message')
    from jsonb_array_elements(automation.check_schema(schema - 'format', value, name)) as p
    where p ->> 'severity' = 'error' limit 1);
end;
$$;

-- An input that was rendered, as the step takes it; reason: {code, message} when it cannot be.
create or replace function automation.fit_input(fits jsonb, input jsonb, out fitted jsonb, out reason jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  fit jsonb;
  at text[];
  name text;
  part record;
begin
  fitted := input;
  for i in 0 .. jsonb_array_length(fits) - 1 loop
    fit := fits -> i;
    at := (fit ->> 'at')::text[];
    -- Mostly a text is there and nothing more is asked of it.
    continue when fit #> '{as,type}' = '"string"' and jsonb_typeof(fitted #> at) = 'string'
      and not fit -> 'as' ?| '{pattern,enum,maxLength}' and fit #>> '{as,format}' is distinct from 'amount'
      and not automation.is_blank(fitted #> at);
    name := array_to_string(at, '.');
    part := automation.fit_value(fit -> 'as', fitted #> at, name);
    if part.problem is not null then
      reason := jsonb_build_object('code', 'invalid_input', 'message', part.problem);
      return;
    elsif not automation.is_blank(part.fitted) then
      part.problem := automation.fit_problem(fit -> 'as', part.fitted, name);
      if part.problem is not null then
        reason := jsonb_build_object('code', 'invalid_input', 'message', part.problem);
        return;
      end if;
      fitted := jsonb_set(fitted, at, part.fitted);
    elsif (fit ->> 'needed')::boolean and fit #>> '{as,format}' <> 'moment' then
      reason := jsonb_build_object(
        'code', 'empty_' || at[cardinality(at)], 'message', format('%s: it is empty', name));
      return;
    elsif fit -> 'as' ? 'minLength' or fit #>> '{as,type}' in ('number', 'integer', 'boolean')
      or fit #>> '{as,type,0}' <> 'string' then
      fitted := fitted #- at;
    else
      fitted := jsonb_set(fitted, at, coalesce(nullif(part.fitted, 'null'), '""'));
    end if;
  end loop;
end;
$$;

comment on function automation.fit_input(jsonb, jsonb) is
  'A rendered configuration in the types that the step''s schema asks for. What cannot be one of them, or is '
  'needed and empty, is told in reason: {code, message}.';

-- Plain configurations: each text is made of letters and of variables that are there, which is what most steps are.
-- When a workflow is published such a configuration becomes one text with places for its variables, and a step then
-- fills them in: a few microseconds where the interpreter takes forty (04_render), which knows how to do all else.
--
--   text     the configuration as JSON, as format() takes it: {"title": "Call %1$s"}
--   values   where the variables come from: [root, path]

-- null: something in it is for the interpreter: a filter (default apart, which a value that is there passes), a block,
-- HTML, a type to be made fit.
create or replace function automation.compile_plain(compiled jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  mark constant text := chr(57344);
  written jsonb := compiled -> 'base';
  said jsonb := jsonb_build_array();
  slot jsonb;
  token jsonb;
  text text;
  path text[];
begin
  if compiled is null or compiled -> 'slots' = '[]' or length(compiled::text) > 4000 or strpos(compiled::text, mark) > 0
    or compiled -> 'roots' ?| '{trigger.names,contact.tags}' or written ? 'target'
    or exists (
      select from jsonb_array_elements(compiled -> 'fits') as f
      where f #> '{as,type}' <> '"string"' or f -> 'as' ?| '{pattern,enum,maxLength}'
        or f #>> '{as,format}' is not distinct from 'amount') then
    return null;
  end if;
  for slot in select s from jsonb_array_elements(compiled -> 'slots') as s loop
    text := '';
    for token in
      select t from jsonb_array_elements(coalesce(slot -> 's', jsonb_build_array(slot -> 'w'))) as t
    loop
      if jsonb_typeof(token) = 'string' then
        text := text || (token #>> '{}');
        continue;
      end if;
      path := (token ->> 'p')::text[];
      if token - '{p,name,f}'::text[] <> '{}' or (slot ->> 'pre')::text[] && '{html}' or cardinality(path) < 2
        or path[1] is null or path[1] in ('tenant', 'user', 'custom', 'steps') or path[1:2] = '{trigger,record}'
        or jsonb_path_exists(token, '$.f[*] ? (@.n != "default")') then
        return null;
      end if;
      said := said || jsonb_build_array(jsonb_build_array(path[1], path[2:]::text));
      text := concat(text, mark, jsonb_array_length(said), mark);
    end loop;
    written := jsonb_set(written, (slot ->> 'at')::text[], to_jsonb(text));
  end loop;
  return jsonb_build_object('values', said, 'text',
    regexp_replace(replace(written::text, '%', '%%'), mark || '(\d+)' || mark, '%\1$s', 'g'));
end;
$$;

-- A plain configuration filled in, from the snapshot of a run, its record and its contact's; null: a variable is no
-- text that is there, or there is too much of it, and the interpreter is asked.
create or replace function automation.fill_plain(plain jsonb, data jsonb, entity text, record jsonb, contact jsonb)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  variables constant jsonb := plain -> 'values';
  root text;
  value jsonb;
  said text[] := '{}'::text[];
  filled text;
begin
  for i in 0 .. coalesce(jsonb_array_length(variables), 0) - 1 loop
    root := variables -> i ->> 0;
    value := case root when 'contact' then contact when 'trigger' then data when entity then record end
      #> (variables -> i ->> 1)::text[];
    if jsonb_typeof(value) = 'string' and not automation.is_blank(value) then
      -- As JSON writes it, without its quotes.
      filled := value::text;
      said := said || substr(filled, 2, length(filled) - 2);
    else
      return null;
    end if;
  end loop;
  filled := format(plain ->> 'text', variadic said);
  return case when octet_length(filled) <= 900 then filled::jsonb end;
end;
$$;

comment on function automation.fill_plain(jsonb, jsonb, text, jsonb, jsonb) is
  'What automation.render() and fit_input() make of a configuration that compile_plain() knows, or null.';

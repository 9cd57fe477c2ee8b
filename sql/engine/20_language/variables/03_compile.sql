-- A step's configuration is compiled when its workflow is published, so that rendering touches
-- only the texts that have a template in them.
--
-- Compiled form: base, the configuration; slots, where its templates are: {at: path, pre: the
-- dotted path and those above it, which is what html_paths names, w: the one token of a template
-- that is a whole value, or s: the tokens of a text}; roots, the parts of the context they read.

create or replace function automation.template_texts(source jsonb)
  returns table (at text[], value text)
  language sql immutable parallel safe
  -- No search_path of its own, so that Postgres writes it into the query that asks.
  as $$
    with recursive walk (at, value) as (
      select '{}'::text[], source
      union all
      select walk.at || child.key, child.value
      from walk, lateral (
        select o.key, o.value from jsonb_each(
          case jsonb_typeof(walk.value) when 'object' then walk.value else '{}' end) as o
        union all
        select (a.position - 1)::text, a.value from jsonb_array_elements(
          case jsonb_typeof(walk.value) when 'array' then walk.value else '[]' end)
          with ordinality as a (value, position)
      ) as child
    )
    select walk.at, walk.value #>> '{}' from walk
    where jsonb_typeof(walk.value) = 'string' and strpos(walk.value #>> '{}', '{{') > 0
    order by walk.at
  $$;

create or replace function automation.compile_slot(at text[], tokens jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pre text[] := array[]::text[];
begin
  for n in 1 .. cardinality(at) loop
    pre := pre || array_to_string(at[:n], '.');
  end loop;
  return jsonb_build_object('at', at::text, 'pre', pre::text)
    || case
      when jsonb_array_length(tokens) = 1 and jsonb_typeof(tokens -> 0) = 'object'
        and not tokens -> 0 ?| '{if,each}'
        then jsonb_build_object('w', tokens -> 0)
      else jsonb_build_object('s', tokens)
    end;
end;
$$;

-- How much there is to parse, counted before anything is parsed.
create or replace function automation.template_problems(source jsonb, path text) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    with texts as (
      select t.at, (length(t.value) - length(replace(t.value, '{{', ''))) / 2 as tags
      from automation.template_texts(source) as t
    ), problem as (
      select path || '.' || array_to_string(t.at, '.') as path, t.tags as found, 'tags' as name from texts as t
      union all
      select path, sum(t.tags), 'step_tags' from texts as t
      union all
      select path, count(*), 'templates' from texts as t
    )
    select coalesce(jsonb_agg(jsonb_build_object(
        'path', p.path, 'severity', 'error', 'code', 'too_many', 'message', format(
          'there are %s %s %s; at most %s are possible', p.found, l.unit, l.what, l.most),
        'hint', 'Say it with fewer of them, or in several steps.')), '[]')
    from problem as p
    join automation.limits() as l on l.name = p.name
    where p.found > l.most
  $$;

-- Texts that stand in many steps are parsed once: {text: {tokens, roots, problem, position}}.
create or replace function automation.parse_templates(texts text[]) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(t.value, to_jsonb(p)), '{}')
    from unnest(texts) as t (value)
    cross join lateral automation.parse_template(t.value) as p
  $$;

-- known: texts that were parsed already, as parse_templates() gives them.
create or replace function automation.compile_template(
  source jsonb, path text default 'config', known jsonb default '{}', out compiled jsonb, out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant text := source::text;
  text_found record;
  parsed jsonb;
  slots jsonb := jsonb_build_array();
  roots jsonb := jsonb_build_array();
begin
  problems := '[]';
  if coalesce(strpos(written, '{{'), 0) = 0 then
    compiled := jsonb_build_object('base', source, 'slots', slots, 'roots', roots);
    return;
  elsif automation.occurrences('{{', written) > least(
    automation.at_most('templates'), automation.at_most('tags'), automation.at_most('step_tags')) then
    problems := automation.template_problems(source, coalesce(path, 'config'));
  end if;
  for text_found in select * from automation.template_texts(source) where problems = '[]' loop
    parsed := coalesce(known -> text_found.value, to_jsonb(automation.parse_template(text_found.value)));
    if parsed ->> 'problem' is not null then
      problems := problems || jsonb_build_array(jsonb_build_object(
        'path', array_to_string(coalesce(path, 'config') || text_found.at, '.'),
        'severity', 'error', 'code', 'invalid_template', 'position', parsed -> 'position',
        'message', format('%s (character %s)', parsed ->> 'problem', parsed ->> 'position'),
        'hint', 'For example {{ contact.first_name | default: "there" }}; \{{ is two braces.'));
    else
      slots := slots || jsonb_build_array(automation.compile_slot(text_found.at, parsed -> 'tokens'));
      roots := roots || (parsed -> 'roots');
    end if;
  end loop;
  compiled := jsonb_build_object(
    'base', source, 'slots', slots,
    'roots', (select coalesce(jsonb_agg(distinct r order by r), '[]') from jsonb_array_elements_text(roots) as r));
end;
$$;

comment on function automation.compile_template(jsonb, text, jsonb) is
  'Any JSON with its templates parsed, and what is wrong with them. Problems are {path, position, '
  'severity, code, message, hint}; path starts with the given one, position counts characters.';

create or replace function automation.template_roots(compiled jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(r), '{}') from jsonb_array_elements_text(compiled -> 'roots') as r
  $$;

comment on function automation.template_roots(jsonb) is
  'The parts of the context (contact, project, ...) that rendering may read.';

-- Where a variable may stand in HTML. Escaping makes a text of a value, and only a text: what a record holds
-- must not stand where a mail program or a browser reads a program, a page or an attribute. The place is
-- the author's, so it is told when the workflow is published.
-- functions/_shared/html.ts says the same in TypeScript; tests/language holds the two together.

-- The HTML with every variable written over with U+E000 and what inserts nothing with blanks, so that each
-- character keeps its place. Null when a tag does not end, which compiling the template says.
create or replace function automation.mask_tags(html text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  masked text := '';
  here int := 1;
  ahead int;
  tag text;
begin
  loop
    ahead := strpos(substr(html, here), '{{');
    exit when ahead = 0;
    masked := masked || substr(html, here, ahead - 1);
    here := here + ahead - 1;
    if masked like E'%\\\\' then
      tag := '{{';
    else
      -- Most are plain; what has texts in it is read as the language does.
      tag := coalesce(
        substring(substr(html, here, 200) from '^(?:\{\{[^{}!"'']*\}\}|\{\{\{[^{}"'']*\}\}\})'),
        automation.tag_at(html, here));
    end if;
    if tag is null then
      return null;
    end if;
    masked := masked || repeat(
      case when tag = '{{' or tag ~ '^\{\{(?:!|\s*[#/]|\s*else\M)' then ' ' else U&'\E000' end, length(tag));
    here := here + length(tag);
  end loop;
  return masked || substr(html, here);
end;
$$;

-- Does an attribute's value, as it is read, begin with what a browser runs?
create or replace function automation.is_program(value text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select regexp_replace(regexp_replace(value,
        '&(?:tab|newline);?|&#(?:x0*[9ad]|0*(?:9|10|13)(?![0-9]));?|[\u0001-\u0020"'']', '', 'gi'),
        '&colon;?|&#(?:x0*3a|0*58);?', ':', 'gi')
      ~* ('^(?:(?:javascript|vbscript)[:\uE000]'
        '|data:(?:\uE000|text/html|text/xml|image/svg\+xml|application/(?:xhtml\+)?xml))')
      and value ~ U&'\E000'
  $$;

-- What is wrong with the variables of one tag <a ...>, masked: the kind of place, the attribute's name, and
-- how far into the tag. place null: nothing.
create or replace function automation.tag_hazard(tag text, out place text, out name text, out at int)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attribute constant text := '[^\s"''<>/=]+\s*=\s*(?:"[^"]*"|''[^'']*'')';
  here int := 1;
  written text;
  value text;
begin
  loop
    here := regexp_instr(tag, attribute, here);
    exit when coalesce(here, 0) = 0;
    written := regexp_substr(tag, attribute, here);
    name := lower(substring(written from '^[^\s"''<>/=]+'));
    value := substring(written from '=\s*(.*)$');
    at := here + length(written) - length(value) + strpos(value, U&'\E000') - 1;
    place := case
      when strpos(value, U&'\E000') = 0 then null
      when name ~ '^on' then 'program'
      when name = 'srcdoc' then 'page'
      when automation.is_program(value) then 'address' end;
    if place is not null then
      return;
    end if;
    here := here + length(written);
  end loop;
  place := case
    when regexp_replace(tag, '=\s*(?:"[^"]*"|''[^'']*'')', '=', 'g') ~ U&'\E000' then 'unquoted' end;
end;
$$;

-- The first variable of an HTML text that stands where it must not. at: at which character.
create or replace function automation.html_hazard(html text, out place text, out name text, out at int)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  masked text;
  here int := 1;
  size int;
  part text;
  found record;
begin
  if strpos(html, '{{') = 0 or strpos(html, '<') = 0 then
    return;
  end if;
  masked := automation.mask_tags(html);
  loop
    size := strpos(substr(masked, here), '<');
    exit when coalesce(size, 0) = 0 or place is not null;
    here := here + size - 1;
    part := substr(masked, here);
    if starts_with(part, '<!--') then
      size := coalesce(nullif(strpos(part, '-->'), 0) + 2, length(part));
    else
      part := substring(part from '^</?[A-Za-z](?:[^<>"'']|"[^"]*"|''[^'']*'')*>?');
      size := coalesce(length(part), 1);
      if strpos(part, U&'\E000') > 0 then
        found := automation.tag_hazard(part);
        place := found.place;
        name := found.name;
        at := here + found.at - 1;
      end if;
      if place is null and part ~* '^<script[\s/>]' then
        here := here + size;
        part := substr(masked, here);
        size := coalesce(nullif(strpos(lower(part), '</script'), 0) - 1, length(part));
        at := here + nullif(strpos(left(part, size), U&'\E000'), 0) - 1;
        place := case when at is not null then 'script' end;
      end if;
    end if;
    here := here + size;
  end loop;
end;
$$;

create or replace function automation.check_html(html text, path text) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  hazard constant record := automation.html_hazard(html);
begin
  if hazard.place is null then
    return '[]'::jsonb;
  elsif hazard.place = 'unquoted' then
    return jsonb_build_array(automation.problem(path, 'invalid_value',
      format('%s must be HTML whose attributes with variables are in quotes', automation.last_of_path(path)),
      'For example <a href="{{contact.website}}">: without quotes a blank in the value begins another '
      'attribute.'));
  end if;
  return jsonb_build_array(automation.problem(path, 'unsafe_place',
    format('%s: the variable at character %s stands in %s', automation.last_of_path(path), hazard.at,
      case hazard.place
        when 'script' then '<script> and would be run as a program'
        when 'program' then hazard.name || ' and would be run as a program'
        when 'page' then 'srcdoc and would be read as a page of its own'
        else format('a %s that a browser runs as a program', hazard.name) end),
    'Put it into the text, or into an attribute such as href, title or alt, in quotes.'));
end;
$$;

comment on function automation.check_html(text, text) is
  'Variables of an HTML template that stand where a value is more than a text: in a script, an on... attribute, '
  'srcdoc, a javascript: address, or outside of quotes in a tag.';

-- The {{ }} that begins here, whole; null when it does not end.
create or replace function automation.tag_at(source text, here int) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  opener constant text := substring(substr(source, here, 3) from '^\{\{[{!]?');
  lexed record;
begin
  if opener = '{{!' then
    return substr(source, here, nullif(strpos(substr(source, here), '}}'), 0) + 1);
  end if;
  lexed := automation.lex_tag(
    source, here + length(opener), case opener when '{{{' then '}}}' else '}}' end);
  return case when lexed.problem is null then substr(source, here, lexed.next - here) end;
end;
$$;

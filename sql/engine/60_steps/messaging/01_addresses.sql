-- to, cc, bcc, reply_to and from of an email -> [{name, address}]: the list that the author wrote, taken apart
-- before any value is known. Each part is a template of its own, so that what a record contains fills one
-- place, a display name or an address, and can never become another recipient (chapter 60 puts the
-- parts together again). RFC 5322 without its comments and groups; a semicolon separates as a comma does.

-- The next piece of an address list. kind: a mark (, ; < > "), escape, open and close (of a block), text
-- (which other tags are too), or null for a tag that does not end.
create or replace function automation.address_piece(source text, here int, out kind text, out piece text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  rest constant text := substr(source, here, 400);
begin
  if starts_with(rest, '{{') then
    piece := automation.tag_at(source, here);
    kind := case when piece ~ '^\{\{\s*#' then 'open' when piece ~ '^\{\{\s*/' then 'close'
      when piece is not null then 'text' end;
  elsif starts_with(rest, '\{{') then
    piece := '\{{';
    kind := 'text';
  elsif rest ~ '^\\.' then
    piece := left(rest, 2);
    kind := 'escape';
  elsif left(rest, 1) in (',', ';', '<', '>', '"') then
    piece := left(rest, 1);
    kind := piece;
  else
    piece := coalesce(substring(rest from '^[^\\{",;<>]+'), left(rest, 1));
    kind := 'text';
  end if;
end;
$$;

-- A mailbox as far as it has been read. name: what stood before the <; address: what stood in < >; rest: what
-- is being read; is_open: inside of < >; has_quotes: some of it was in quotes.
create type automation.read_mailbox as (name text, address text, rest text, is_open boolean, has_quotes boolean);

create or replace function automation.mailbox_problem(read automation.read_mailbox) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when read.is_open then 'this < has no > after it'
      when read.name is null and read.has_quotes then 'a name in quotes needs an address in < > after it'
      when read.name is null then null
      when btrim(read.rest, E' \t\r\n') <> '' then 'a comma is needed after >'
      when btrim(read.address, E' \t\r\n') = '' then 'there is no address between < and >'
    end
  $$;

-- {name, address}; null for what stands between two commas with nothing in it.
create or replace function automation.mailbox_of(read automation.read_mailbox) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'name', nullif(btrim(read.name, E' \t\r\n'), ''), 'address', a.address))
    from (select btrim(coalesce(read.address, read.rest), E' \t\r\n') as address) as a
    where a.address <> ''
  $$;

-- mailboxes is null when a template in it is broken, which compiling the template will say.
create or replace function automation.parse_addresses(source text, out mailboxes jsonb, out problem text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  nothing constant automation.read_mailbox := row(null, null, '', false, false);
  read automation.read_mailbox := nothing;
  here int := 1;
  depth int := 0;
  in_quotes boolean := false;
  next record;
begin
  mailboxes := '[]';
  while here <= length(source) and problem is null loop
    next := automation.address_piece(source, here);
    if next.kind is null then
      mailboxes := null;
      return;
    end if;
    here := here + length(next.piece);
    depth := depth + case next.kind when 'open' then 1 when 'close' then -1 else 0 end;
    if in_quotes and next.kind = '"' then
      in_quotes := false;
    elsif in_quotes or next.kind in ('text', 'escape', 'open', 'close') then
      read.rest := read.rest || case next.kind when 'escape' then substr(next.piece, 2) else next.piece end;
    elsif depth > 0 then
      problem := format('a block must stand within one name or one address; it cannot hold a %s', next.kind);
    elsif next.kind = '"' then
      in_quotes := true;
      read.has_quotes := true;
    elsif next.kind = '<' and read.name is null then
      read.name := read.rest;
      read.rest := '';
      read.is_open := true;
    elsif next.kind = '>' and read.is_open then
      read.address := read.rest;
      read.rest := '';
      read.is_open := false;
    elsif next.kind in ('<', '>') then
      problem := format('this %s is not expected here', next.kind);
    else
      problem := automation.mailbox_problem(read);
      mailboxes := mailboxes || automation.as_list(coalesce(automation.mailbox_of(read), '[]'));
      read := nothing;
    end if;
  end loop;
  problem := coalesce(
    problem, case when in_quotes then 'these quotes are not closed' end, automation.mailbox_problem(read));
  mailboxes := mailboxes || automation.as_list(coalesce(automation.mailbox_of(read), '[]'));
end;
$$;

comment on function automation.parse_addresses(text) is
  'An address list, templates in it being opaque, as [{name, address}], or what is wrong with it.';

-- What can be known of an address before it is filled in: all of it, or what stands around its variables.
create or replace function automation.address_problem(address text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when address not like '%{{%' then
        case when automation.normalize_email(address) is null
          then format('"%s" is not an email address', left(address, 80)) end
      when not address ~ '\{\{\s*[#/]' and p.literals ~ '[\s()\[\]\\,;:"]' then
        format('"%s" cannot become one email address', left(address, 80))
    end
    from (
      select string_agg(t.token #>> '{}', '') filter (where jsonb_typeof(t.token) = 'string') as literals
      from jsonb_array_elements((automation.parse_template(address)).tokens) as t (token)
    ) as p
  $$;

-- Where the texts of a key stand: it is one, or a list of them. None when it is anything else, which the
-- schema says.
create or replace function automation.address_texts(value jsonb, path text)
  returns table (place bigint, source text, at text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select t.place, t.value #>> '{}',
      path || case when jsonb_typeof(address_texts.value) = 'array' then format('[%s]', t.place - 1) else '' end
    from jsonb_array_elements(automation.as_list(address_texts.value)) with ordinality as t (value, place)
    where not jsonb_path_exists(automation.as_list(address_texts.value), '$[*] ? (@.type() != "string")')
  $$;

create or replace function automation.address_problems(at text, mailboxes jsonb, problem text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
      at, 'invalid_address', format('%s: %s', automation.last_of_path(at), f.found),
      'For example "{{contact.first_name}} <{{contact.email}}>, office@example.com". A name with a comma goes '
      'in quotes; a variable is one address, or a list of them where it stands alone.')), '[]')
    from (
      select address_problems.problem as found
      union all
      select automation.address_problem(m.mailbox ->> 'address')
      from jsonb_array_elements(mailboxes) as m (mailbox)
      where address_problems.problem is null
    ) as f
    where f.found is not null
  $$;

-- A list that names too many, or nobody where somebody is needed.
create or replace function automation.address_count_problem(key text, found bigint, path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when found > most.count then automation.problem(
        path, 'out_of_range', format('%s must have at most %s', key, most.words))
      when found = 0 and key = 'to' then automation.problem(
        path, 'out_of_range', 'to must not be empty', 'Leave it out to write to the contact.')
    end
    from (
      select case key when 'from' then 1 else 50 end as count,
        case key when 'from' then 'one address' else '50 addresses' end as words
    ) as most
  $$;

-- known: lists that other steps hold too, as automation.shared_addresses() gives them.
create or replace function automation.compile_address_key(
  key text, value jsonb, path text, known jsonb default '{}', out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written record;
  parsed record;
  shared constant jsonb := known -> (key || value::text);
begin
  if shared is not null then
    compiled := nullif(shared -> 'compiled', 'null');
    problems := automation.place_problems(shared -> 'problems', path);
    return;
  end if;
  problems := '[]';
  for written in select t.* from automation.address_texts(value, path) as t order by t.place loop
    parsed := automation.parse_addresses(written.source);
    if parsed.mailboxes is null or (automation.parse_template(written.source)).problem is not null then
      compiled := value;
      return;
    end if;
    problems := problems || automation.address_problems(written.at, parsed.mailboxes, parsed.problem);
    compiled := coalesce(compiled, '[]') || parsed.mailboxes;
  end loop;
  if compiled is null and value <> '[]' or automation.has_error(problems) then
    compiled := value;
    return;
  end if;
  problems := problems || coalesce(automation.as_list(automation.address_count_problem(
    key, coalesce(jsonb_array_length(compiled), 0), path)), '[]');
  compiled := nullif(compiled, '[]');
end;
$$;

comment on function automation.compile_address_key(text, jsonb, text, jsonb) is
  'One of the address keys as [{name, address}], each a template; null when it names nobody.';

create or replace function automation.check_headers(headers jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_agg(p.problem order by h.name), '[]')
    from jsonb_object_keys(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h (name)
    cross join lateral (select automation.header_problem(h.name, path || '.' || h.name) as problem) as p
    where p.problem is not null);
end;
$$;

create or replace function automation.compile_addresses(
  config jsonb, path text, known jsonb default '{}', out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
  part record;
begin
  compiled := config;
  problems := automation.check_headers(config -> 'headers', path || '.headers');
  foreach key in array automation.address_keys() loop
    if config ? key and not automation.is_blank(to_jsonb(config ->> key)) then
      part := automation.compile_address_key(key, config -> key, format('%s.%s', path, key), known);
      compiled := compiled - key
        || case when part.compiled is null then '{}' else jsonb_build_object(key, part.compiled) end;
      problems := problems || part.problems;
    else
      compiled := compiled - key;
    end if;
  end loop;
end;
$$;

comment on function automation.compile_addresses(jsonb, text, jsonb) is
  'The configuration of an email with its address lists taken apart, and what is wrong with them.';

-- An email's addresses from their parts. What fills a part is one display name or one address, whatever it
-- contains; what is no address is left out with a warning, and with nobody left the step is skipped.

-- Line breaks and other control characters could end a header and begin another: they are blanks. What
-- turns the direction of writing round could make one name look like another.
create or replace function automation.one_line(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select btrim(regexp_replace(
      regexp_replace(given, '[\u202A-\u202E\u2066-\u2069\uFEFF]', '', 'g'),
      '[\u0001-\u001F\u007F-\u009F\u2028\u2029]+', ' ', 'g'))
  $$;

-- RFC 5322, 3.2.4: what is more than words goes in quotes. So does what an encoded word (RFC 2047) looks
-- like, which is then not decoded.
create or replace function automation.display_name(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when n.name ~ '[()<>@,;:\\".\[\]]|=\?' then '"' || regexp_replace(n.name, '([\\"])', '\\\1', 'g') || '"'
      else n.name
    end
    from (select btrim(left(automation.one_line(given), 200)) as name) as n
  $$;

create or replace function automation.mailbox(name text, address text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(nullif(automation.display_name(name), '') || format(' <%s>', address), address)
    where address is not null
  $$;

comment on function automation.mailbox(text, text) is
  'Lopez Roofing, Inc. and office@lopez.example -> "Lopez Roofing, Inc." <office@lopez.example>';

-- As it was written where that is the address itself: capitals are kept for whoever reads it.
create or replace function automation.written_address(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when lower(v.shown) = v.address then v.shown else v.address end
    from (select automation.visible_text(given) as shown, automation.normalize_email(given) as address) as v
  $$;

-- A value that stands alone: an address, or a name and an address in < >. What could be read as two (a comma
-- or a semicolon outside of quotes, a second @ or <) is none.
create or replace function automation.value_mailbox(given text, out name text, out address text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  parts text[];
begin
  address := automation.written_address(given);
  if address is null then
    parts := coalesce(
      regexp_match(given, '^\s*([^<>@,;:"\\]*)<([^<>]*)>\s*$'),
      regexp_match(given, '^\s*"((?:[^"\\]|\\.)*)"\s*<([^<>]*)>\s*$'));
    name := regexp_replace(parts[1], '\\(.)', '\1', 'g');
    address := automation.written_address(parts[2]);
  end if;
end;
$$;

-- Each mailbox that a key asks for; a part is {name, address} or a bare value, and a list stands for as many as
-- it has. mailbox is null where there is no address to be had of what was given.
create or replace function automation.mailboxes_of(value jsonb)
  returns table (place bigint, given text, mailbox text, address text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return query
    select row_number() over (order by p.place, a.place), g.given,
      automation.mailbox(coalesce(p.name, v.name), v.address), v.address
    from (
      select l.place, case when l.part ? 'address' then l.part -> 'address' else l.part end as held,
        nullif(automation.one_line(automation.text_of(l.part -> 'name')), '') as name
      from jsonb_array_elements(automation.as_list(value)) with ordinality as l (part, place)
    ) as p
    cross join lateral jsonb_array_elements(automation.as_list(p.held)) with ordinality as a (value, place)
    cross join lateral (select automation.text_of(a.value) as given) as g
    cross join lateral automation.value_mailbox(g.given) as v
    where automation.visible_text(g.given) <> '';
end;
$$;

create or replace function automation.not_an_address(key text, given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select format('%s: "%s" is not %s email address', key, left(automation.one_line(given), 80),
      case when given ~ '[,;]' then 'one' else 'an' end)
  $$;

create or replace function automation.add_warnings(prepared automation.prepared_step, more jsonb)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if more <> '[]' then
    prepared.warnings := coalesce(prepared.warnings, '[]') || more;
  end if;
  return prepared;
end;
$$;

-- One key: the mailboxes that are good, each address once; a warning for each that is not. A key that
-- names nobody is left out, but for `to`, where that is the reason for a skip and not a warning.
create or replace function automation.fill_addresses(prepared automation.prepared_step, key text)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  good jsonb;
  wrong jsonb;
begin
  select coalesce(jsonb_agg(m.mailbox order by m.place) filter (where m.is_first), '[]'),
    coalesce(jsonb_agg(jsonb_build_object('path', key, 'code', 'invalid_recipient',
      'message', automation.not_an_address(key, m.given) || '; it was left out', 'given', left(m.given, 320))
      order by m.place) filter (where m.address is null), '[]')
    into good, wrong
  from (
    select b.*, b.address is not null
      and row_number() over (partition by lower(b.address) order by b.place) = 1 as is_first
    from automation.mailboxes_of(prepared.input -> key) as b
  ) as m;
  prepared.input := prepared.input - key
    || case when good = '[]' and key <> 'to' then '{}' else jsonb_build_object(key, good) end;
  return automation.add_warnings(prepared, case when prepared.input -> 'to' = '[]' then '[]' else wrong end);
end;
$$;

-- A line break in a value would be a header of its own. A header that says who gets the message is not
-- taken even from a plan, and one without a value is left out.
create or replace function automation.fill_headers(prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  good jsonb;
  wrong jsonb;
begin
  if jsonb_typeof(prepared.input -> 'headers') is distinct from 'object' then
    prepared.input := prepared.input - 'headers';
    return prepared;
  end if;
  select coalesce(jsonb_object_agg(h.name, h.value) filter (where h.problem is null and h.value <> ''), '{}'),
    coalesce(jsonb_agg(jsonb_build_object('path', 'headers.' || h.name, 'code', 'invalid_header',
      'message', h.problem ->> 'message')) filter (where h.problem is not null), '[]')
    into good, wrong
  from (
    select e.key as name, automation.one_line(automation.text_of(e.value)) as value,
      automation.header_problem(e.key, 'headers') as problem
    from jsonb_each(prepared.input -> 'headers') as e
  ) as h;
  prepared.input := prepared.input || jsonb_build_object('headers', good);
  return automation.add_warnings(prepared, wrong);
end;
$$;

-- Who the history says got it. An index row has room for about 2,700 bytes.
create or replace function automation.recipients_of(mailboxes jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(a.address, ', ' order by a.place) filter (where a.size <= 1000)
      || coalesce(' and ' || nullif(count(*) filter (where a.size > 1000), 0) || ' more', '')
    from (
      select m.place, automation.bare_address(m.mailbox) as address,
        sum(octet_length(automation.bare_address(m.mailbox)) + 2) over (order by m.place) as size
      from jsonb_array_elements_text(mailboxes) with ordinality as m (mailbox, place)
    ) as a
  $$;

create or replace function automation.address_email(
  execution ridgeline.workflow_executions, prepared automation.prepared_step,
  known automation.known_records default null)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant jsonb := automation.recipient_of(execution, prepared.input, 'email', known);
  sender record;
  key text;
begin
  prepared.warnings := automation.written_paths(prepared.warnings);
  select m.* into sender from automation.mailboxes_of(prepared.input -> 'from') as m order by m.place limit 1;
  prepared.input := prepared.input - 'from'
    || jsonb_strip_nulls(jsonb_build_object('to', given, 'from', coalesce(sender.mailbox, sender.given)))
    || jsonb_build_object('subject', automation.one_line(prepared.input ->> 'subject'));
  foreach key in array '{to,cc,bcc,reply_to}'::text[] loop
    if key = 'to' or prepared.input ? key then
      prepared := automation.fill_addresses(prepared, key);
    end if;
  end loop;
  if prepared.input ? 'headers' then
    prepared := automation.fill_headers(prepared);
  end if;
  prepared.recipient := automation.recipients_of(prepared.input -> 'to');
  return automation.judge_email(prepared, given, sender.given, sender.address);
end;
$$;

-- What can be sent is left as it is.
create or replace function automation.judge_email(
  prepared automation.prepared_step, given jsonb, sender text, sender_address text)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong text;
begin
  if prepared.input -> 'to' = '[]' then
    select string_agg(m.given, ' | ' order by m.place) into wrong from automation.mailboxes_of(given) as m;
    if wrong is null then
      return automation.skip_unaddressed(prepared, 'no_recipient', 'to: there is no email address');
    end if;
    return automation.skip_unaddressed(
      prepared, 'invalid_recipient', automation.not_an_address('to', wrong), wrong);
  elsif sender is not null and sender_address is null then
    return automation.fail_unaddressed(
      prepared, 'invalid_sender', automation.not_an_address('from', sender));
  elsif coalesce(prepared.input ->> 'subject', '') = '' then
    return automation.fail_unaddressed(prepared, 'empty_subject', 'subject: the subject is empty');
  elsif btrim(concat(prepared.input ->> 'html', prepared.input ->> 'text'), E' \t\r\n') = '' then
    return automation.fail_unaddressed(prepared, 'empty_body', 'html: the message is empty');
  end if;
  return prepared;
end;
$$;

create or replace function automation.written_paths(warnings jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_agg(w.value || jsonb_build_object(
      'path', automation.place_send_email(w.value ->> 'path')) order by w.place)
    from jsonb_array_elements(warnings) with ordinality as w (value, place)
  $$;

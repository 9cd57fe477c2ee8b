-- Email addresses and what people and programs leave around a value.

-- Marks of direction, variants, joiners, byte order marks, soft hyphens, tags, fillers and controls are
-- copied along with a number or an address and are never part of it; any kind of blank is a blank.
create or replace function automation.visible_text(given text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return btrim(case
    when given !~ '[^ -~]' then given
    else regexp_replace(
      regexp_replace(given,
        '[\t-\r\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]', ' ', 'g'),
      '[\u0001-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F'
      '\u202A-\u202E\u2060-\u206F\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFC\U000E0000-\U000E0FFF]',
      '', 'g')
  end);
end;
$$;

comment on function automation.visible_text(text) is
  'Without what cannot be seen; every kind of blank and line break is a blank, none at the ends.';

-- What a Japanese keyboard writes for ASCII.
create or replace function automation.half_width(given text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when given !~ '[\uFF01-\uFF5E]' then given else translate(given,
    '！＂＃＄％＆＇（）＊＋，－．／０１２３４５６７８９：；＜＝＞？＠ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ［＼］＾＿｀'
    'ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ｛｜｝～',
    '!"#$%&''()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghijklmnopqrstuvwxyz{|}~') end;
end;
$$;

-- A label of a domain as the name system has it (RFC 3492): bücher is xn--bcher-kva. Providers report
-- addresses in this form, so this is how they compare.
create or replace function automation.punycode(label text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  digits constant text := 'abcdefghijklmnopqrstuvwxyz0123456789';
  codes constant integer[] := array(select ascii(c) from string_to_table(label, null) as c);
  written text := regexp_replace(label, '[^\u0001-\u007F]', '', 'g');
  basic constant integer := length(written);
  handled integer := basic;
  next_code integer := 128;
  delta integer := 0;
  bias integer := 72;
  code integer;
  rest integer;
  threshold integer;
  place integer;
begin
  written := 'xn--' || written || case when basic > 0 then '-' else '' end;
  while handled < cardinality(codes) loop
    select min(c) into code from unnest(codes) as c where c >= next_code;
    delta := delta + (code - next_code) * (handled + 1);
    next_code := code;
    foreach code in array codes loop
      if code < next_code then
        delta := delta + 1;
      elsif code = next_code then
        rest := delta;
        place := 36;
        loop
          threshold := least(greatest(place - bias, 1), 26);
          exit when rest < threshold;
          written := written || substr(digits, threshold + (rest - threshold) % (36 - threshold) + 1, 1);
          rest := (rest - threshold) / (36 - threshold);
          place := place + 36;
        end loop;
        written := written || substr(digits, rest + 1, 1);
        bias := automation.punycode_bias(delta, handled + 1, handled = basic);
        delta := 0;
        handled := handled + 1;
      end if;
    end loop;
    delta := delta + 1;
    next_code := next_code + 1;
  end loop;
  return written;
end;
$$;

create or replace function automation.punycode_bias(delta integer, points integer, is_first boolean)
  returns integer
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  bias integer := 0;
begin
  delta := delta / case when is_first then 700 else 2 end;
  delta := delta + delta / points;
  while delta > 455 loop
    delta := delta / 35;
    bias := bias + 36;
  end loop;
  return bias + 36 * delta / (delta + 38);
end;
$$;

create or replace function automation.ascii_domain(domain text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when domain !~ '[^ -~]' then domain else (
      select string_agg(
        case when l.label ~ '[^ -~]' then automation.punycode(l.label) else l.label end, '.' order by l.place)
      from string_to_table(lower(normalize(domain, nfkc)), '.') with ordinality as l (label, place))
    end
  $$;

-- One bare address. What could hold a second one or end a header (comma, semicolon, quotes, brackets, a
-- blank) is in none; neither are quoted local parts, which the providers refuse.
create or replace function automation.normalize_email(given text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- Most addresses cost one pattern, a part of the one below.
  if octet_length(given) <= 254 and strpos(given, '@') <= 65 and given ~ (
    '^[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+'
    '[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9]$') then
    return lower(given);
  end if;
  return (
    select split_part(a.address, '@', 1) || '@' || automation.ascii_domain(split_part(a.address, '@', 2))
    from (
      -- In the normal form NFC, which is what normalize() makes.
      select lower(normalize(btrim(regexp_replace(
        regexp_replace(translate(automation.half_width(automation.visible_text(given)), U&'\3002\FF61', '..'),
          '^<([^<>]*)>$', '\1'),
        '^\s*mailto:([^?]*)(\?.*)?$', '\1', 'i')))) as address
    ) as a
    where a.address ~ (
        '^[^\s@<>()\[\]\\,;:".]+(\.[^\s@<>()\[\]\\,;:".]+)*@'
        '([^\u0001-,/:-@\[-`{-\u007F\s.-]([^\u0001-,/:-@\[-`{-\u007F\s.]*[^\u0001-,/:-@\[-`{-\u007F\s.-])?\.)+'
        '[^\u0001-@\[-`{-\u007F\s][^\u0001-,/:-@\[-`{-\u007F\s.]*[^\u0001-,/:-@\[-`{-\u007F\s.-]$')
      and octet_length(split_part(a.address, '@', 1)) <= 64 and octet_length(a.address) <= 254);
end;
$$;

comment on function automation.normalize_email(text) is
  'One email address as everything compares it: lower case, without blanks, line breaks and invisible '
  'characters around it, the domain as the name system has it; "mailto:" and angle brackets are dropped. Null '
  'when it is not exactly one.';

-- As normalize_email(), for indexes.
create or replace function automation.email_key(given text) returns text
  language sql immutable parallel safe
  -- No search_path: this is inlined into indexes, and bound when it is created. Most addresses cost one pattern.
  return case
    when given ~ '^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$' then lower(given)
    else automation.normalize_email(given)
  end;

-- The address of a mailbox that mailbox() wrote, or of a bare one.
create or replace function automation.bare_address(mailbox text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(automation.normalize_email(a.address), lower(btrim(a.address)))
    from (select coalesce(substring(mailbox from '<([^<>]*)>\s*$'), mailbox) as address) as a);
end;
$$;

create or replace function automation.address_keys() returns text[]
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return '{to,cc,bcc,reply_to,from}'::text[];

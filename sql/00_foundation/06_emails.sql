-- Email addresses and what people and programs leave around a value.

-- Marks of direction, variants, joiners, byte order marks, soft hyphens, tags, fillers and controls are
-- copied along with a number or an address and are never part of it; any kind of blank is a blank.
create or replace function automation.visible_text(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select btrim(case
      when given !~ '[^ -~]' then given
      else regexp_replace(
        regexp_replace(given,
          '[\t-\r\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]', ' ', 'g'),
        '[\u0001-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F'
        '\u202A-\u202E\u2060-\u206F\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFC\U000E0000-\U000E0FFF]',
        '', 'g')
    end)
  $$;

comment on function automation.visible_text(text) is
  'Without what cannot be seen; every kind of blank and line break is a blank, none at the ends.';

-- What a Japanese keyboard writes for ASCII.
create or replace function automation.half_width(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when given !~ '[\uFF01-\uFF5E]' then given else translate(given,
      '！＂＃＄％＆＇（）＊＋，－．／０１２３４５６７８９：；＜＝＞？＠ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ［＼］＾＿｀'
      'ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ｛｜｝～',
      '!"#$%&''()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghijklmnopqrstuvwxyz{|}~') end
  $$;

-- One bare address. What could hold a second one or end a header (comma, semicolon, quotes, brackets, a
-- blank) is in none; neither are quoted local parts, which the providers refuse.
create or replace function automation.normalize_email(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select a.address
    from (
      -- In the normal form NFC, which is what normalize() makes.
      select lower(normalize(btrim(regexp_replace(
        regexp_replace(automation.half_width(automation.visible_text(given)), '^<([^<>]*)>$', '\1'),
        '^\s*mailto:([^?]*)(\?.*)?$', '\1', 'i')))) as address
    ) as a
    where a.address ~ (
        '^[^\s@<>()\[\]\\,;:".]+(\.[^\s@<>()\[\]\\,;:".]+)*@'
        '([^\u0001-,/:-@\[-`{-\u007F\s.-]([^\u0001-,/:-@\[-`{-\u007F\s.]*[^\u0001-,/:-@\[-`{-\u007F\s.-])?\.)+'
        '[^\u0001-@\[-`{-\u007F\s][^\u0001-,/:-@\[-`{-\u007F\s.]*[^\u0001-,/:-@\[-`{-\u007F\s.-]$')
      and octet_length(split_part(a.address, '@', 1)) <= 64 and octet_length(a.address) <= 254
  $$;

comment on function automation.normalize_email(text) is
  'One email address as everything compares it: lower case, without blanks, line breaks and invisible '
  'characters around it; "mailto:" and angle brackets are dropped. Null when it is not exactly one.';

-- As normalize_email(), for indexes.
create or replace function automation.email_key(given text) returns text
  language sql immutable parallel safe
  -- No search_path: this is inlined into indexes, and bound when it is created. Most addresses cost one pattern.
  return case
    when given ~ '^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$' then lower(given)
    else automation.normalize_email(given)
  end;

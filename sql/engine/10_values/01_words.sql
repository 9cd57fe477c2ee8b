-- 10 VALUES
--
-- What a value means, whoever wrote it: words, numbers, dates in a zone, email addresses, telephone numbers, money,
-- cron expressions. Nothing here knows of a record or a workflow, raises, or writes.

-- What people write in a text message, as it is compared.

-- What a person wrote, in plain letters and a line each: without accents, full-width and ornamental
-- letters, quoted lines, and what their telephone puts under it.
create or replace function automation.spoken_text(body text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select btrim(
      regexp_replace(
        regexp_replace(
          -- The apart form NFD has accents as marks of their own.
          regexp_replace(normalize(normalize(left(coalesce(body, ''), 1000), nfkc), nfd),
            '[\u0300-\u036F\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFE00-\uFE0F\uFEFF\u00AD'
            '''\u2018\u2019\u02BC`\u00B4]',
            '', 'g'),
          '^[ \t]*(>|\|).*$', '', 'gn'),
        '(^|\n)[ \t]*(--|__|sent (from|via|with|using) |get outlook |enviado (desde|con) |from my |'
        'on .{1,80} wrote:).*$',
        '', 'i'),
      E' \t\r\n')
  $$;

-- The words of a text: small letters, one blank between two, as keywords are compared.
create or replace function automation.plain_words(spoken text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select btrim(regexp_replace(lower(spoken), '[^a-z0-9]+', ' ', 'g')) $$;

create or replace function automation.keyword_of(body text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select automation.plain_words(automation.spoken_text(body)) $$;

comment on function automation.keyword_of(text) is
  'A message as keywords compare: small letters and digits, without accents, punctuation, emoji, blanks at '
  'the ends and the signature of a telephone.';

-- What people misspell.

-- A name without case and separators, and that with each of its letters left out: two names of which some
-- are the same are one slip of the finger apart.
create or replace function automation.slips(name text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select overlay(n.plain placing '' from i for 1) from generate_series(1, length(n.plain)) as i
      where length(n.plain) between 4 and 40
      union select n.plain)
    from (select lower(translate(name, '_- ', '') collate "C") as plain) as n
  $$;

-- Which key was meant by one that is no key; null: none that could be told.
create or replace function automation.meant_key(name text, keys text[]) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select p.key from unnest(keys) as p (key)
    where automation.slips(p.key) && automation.slips(name)
    order by p.key collate "C"
    limit 1
  $$;

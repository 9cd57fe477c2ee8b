-- The names of people, as they are written.

-- Cut, on one line, without what cannot be seen.
create or replace function automation.tidy_words(given text, at_most integer) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select nullif(btrim(left(btrim(regexp_replace(regexp_replace(given,
      '[\u00AD\u200B-\u200F\u202A-\u202E\u2060-\u206F\uFEFF]', '', 'g'),
      '[\x01-\x20\x7F-\xA0\u2028\u2029]+', ' ', 'g')), at_most)), '')
  $$;

create or replace function automation.is_name_suffix(word text, after_comma boolean) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select w.plain in ('jr', 'sr', 'jnr', 'snr', 'junior', 'senior', 'ii', 'iii', 'iv', 'esq', 'esquire', 'phd',
        '2nd', '3rd', '4th')
      or (after_comma or word = upper(word)) and w.plain in ('md', 'dds', 'dmd', 'dvm', 'cpa', 'rn', 'pe', 'mba',
        'pmp', 'edd', 'jd', 'llm', 'v')
    from (select replace(lower(word), '.', '') as plain) as w
  $$;

create or replace function automation.is_company_name(given text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select given ~* '(,?\s(inc|llc|l\.l\.c|ltd|corp|gmbh|pllc|llp|plc)|[&,]\s*co)\.?$' $$;

-- {first_name, last_name} of words without commas. A particle begins the last name (Juan de la Cruz), but
-- not as the first word (Van Morrison).
create or replace function automation.split_words(words text[], suffix text) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  titled boolean := false;
  last_from integer;
begin
  while cardinality(words) > 1 and automation.is_name_suffix(words[cardinality(words)], false) loop
    suffix := concat_ws(' ', words[cardinality(words)], suffix);
    words := trim_array(words, 1);
  end loop;
  while cardinality(words) > 1 and (
    words[1] ~* '^(mr|mrs|ms|miss|mx|dr|prof|rev|sra|srta|herr|frau|mme|mlle|sir|madam)\.?$'
    or titled and words[1] ~* '^(&|and|y|und|et)$') loop
    words := words[2:];
    titled := true;
  end loop;
  if cardinality(words) = 1 then
    return case when titled
      then jsonb_build_object('last_name', concat_ws(' ', words[1], suffix))
      else jsonb_build_object('first_name', words[1]) end;
  end if;
  select coalesce(min(w.place), cardinality(words)) into last_from
  from unnest(words) with ordinality as w (word, place)
  where w.place between 2 and cardinality(words) - 1
    and lower(w.word) ~ ('^(de|del|della|delle|di|du|des|da|das|do|dos|van|von|vom|zu|zum|zur|der|den|ter|ten|la|'
      'le|las|los|el|al|bin|ibn|st\.?|san|santa|af|av|y)$');
  return jsonb_build_object(
    'first_name', array_to_string(words[:last_from - 1], ' '),
    'last_name', concat_ws(' ', array_to_string(words[last_from:], ' '), suffix));
end;
$$;

-- Last name first. The suffix belongs to it wherever it stands: "Lee Jr., Ann", "Lee, Ann Jr.".
create or replace function automation.turned_name(last_name text, first_name text, suffix text)
  returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  first_words text[] := regexp_split_to_array(first_name, '\s+');
  last_words text[] := regexp_split_to_array(last_name, '\s+');
begin
  while cardinality(first_words) > 1
    and automation.is_name_suffix(first_words[cardinality(first_words)], false) loop
    suffix := concat_ws(' ', first_words[cardinality(first_words)], suffix);
    first_words := trim_array(first_words, 1);
  end loop;
  while cardinality(last_words) > 1
    and automation.is_name_suffix(last_words[cardinality(last_words)], false) loop
    suffix := concat_ws(' ', last_words[cardinality(last_words)], suffix);
    last_words := trim_array(last_words, 1);
  end loop;
  if cardinality(first_words) > 1 and first_words[1] ~* '^(mr|mrs|ms|miss|mx|dr|prof|rev)\.?$' then
    first_words := first_words[2:];
  end if;
  return jsonb_build_object('first_name', array_to_string(first_words, ' '),
    'last_name', concat_ws(' ', array_to_string(last_words, ' '), suffix));
end;
$$;

create or replace function automation.split_name(given text) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  suffix text;
  parts text[];
begin
  given := automation.tidy_words(given, 100);
  if given is null then
    return jsonb_build_object();
  elsif automation.is_company_name(given) then
    return jsonb_build_object('company', given);
  end if;
  select array_agg(p.part order by p.place) filter (where not (p.place > 1
      and automation.is_name_suffix(p.part, true))),
    string_agg(p.part, ' ' order by p.place) filter (where p.place > 1
      and automation.is_name_suffix(p.part, true))
    into parts, suffix
  from (
    select btrim(s.part) as part, row_number() over (order by s.place) as place
    from string_to_table(given, ',') with ordinality as s (part, place) where btrim(s.part) <> ''
  ) as p;
  if parts is null then
    return jsonb_build_object();
  elsif cardinality(parts) = 1 or parts[1] ~ '\s' and parts[2] !~ '[[:upper:]]' and given ~ '[[:upper:]]' then
    return automation.split_words(regexp_split_to_array(parts[1], '\s+'), suffix);
  end if;
  return automation.turned_name(parts[1], array_to_string(parts[2:], ' '), suffix);
end;
$$;

comment on function automation.split_name(text) is
  '{first_name, last_name} of a full name, also of "Lee, Ann" and with titles and suffixes; {company} of '
  'a company''s.';

-- For a table that has the whole name in one column: the two that it has not. Asked of every row that is captured, so
-- two plain words, as most are, are not taken apart by all the rules for the others (measured: 5 us and 70).
create or replace function automation.parts_of_name(given text) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant integer := strpos(given, ' ');
  parts jsonb;
begin
  if at > 1 and given ~ '^[[:alpha:]''-]+ [[:alpha:]''-]+$'
    and lower(left(given, at - 1)) not in ('mr', 'mrs', 'ms', 'miss', 'mx', 'dr', 'prof', 'rev', 'sra', 'srta', 'herr',
      'frau', 'mme', 'mlle', 'sir', 'madam')
    and lower(substr(given, at + 1)) not in ('jr', 'sr', 'jnr', 'snr', 'junior', 'senior', 'ii', 'iii', 'iv', 'esq',
      'esquire', 'phd', 'md', 'dds', 'dmd', 'dvm', 'cpa', 'rn', 'pe', 'mba', 'pmp', 'edd', 'jd', 'llm', 'v', 'inc',
      'llc', 'ltd', 'corp', 'gmbh', 'pllc', 'llp', 'plc', 'co') then
    return jsonb_build_object('first_name', left(given, at - 1), 'last_name', substr(given, at + 1));
  end if;
  parts := automation.split_name(given);
  return jsonb_build_object('first_name', parts -> 'first_name', 'last_name', parts -> 'last_name');
end;
$$;

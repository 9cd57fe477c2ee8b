-- Phone numbers, read by the rules of libphonenumber (04_phone_plans): what a person, a form or a
-- provider wrote becomes E.164, by which everything compares. A test holds these functions to the library.

-- The digits of the first number in a text, with its + where it has one and without its extension; null
-- when there is none or more than one. Knows no country.
create or replace function automation.phone_digits(given text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if given ~ '^\+?[0-9]{3,17}$' then
    return given;
  end if;
  return (
    select regexp_replace(m.main, '[^0-9+]', '', 'g')
    from (
      -- Digits of other scripts and all that looks like a dash. U+20E3 makes a digit a key.
      select translate(automation.half_width(automation.visible_text(left(given, 300))),
        '٠١٢٣٤٥٦٧٨٩۰۱۲۳۴۵۶۷۸۹' || U&'\2010\2011\2012\2013\2014\2015\2043\2212\30FC\FE58\FE63\2E3A\2E3B\2053\223C\20E3',
        '01234567890123456789-------------~~') as plain
    ) as t
    cross join lateral (
      select case
        -- An address in words: of these only a SIP address begins with the number.
        when t.plain like '%@%' then substring(t.plain from '^(?:sips?:)?(\+?\d+)@')
        when t.plain ~ ';phone-context=\+' then substring(t.plain from ';phone-context=(\+[\d().-]+)')
          || regexp_replace(substring(t.plain from '^(.*?);phone-context'), '^[^0-9+]*', '')
        else regexp_replace(t.plain, ';isub=.*$', '')
      end as one
    ) as o
    -- What stands before and after it is words.
    cross join lateral (
      select regexp_replace(substring(o.one from '[+0-9].*$'), '[^0-9#]+$', '') as number
    ) as n
    cross join lateral (
      select regexp_replace(n.number,
        '(?:;ext=\d{1,20}|'
        '[ \t,]*(?:e?xt(?:ensi(?:o\u0301?|\u00F3))?n?|\u0434\u043E\u0431|anexo)[:.]?[ \t,-]*\d{1,20}#?|'
        '[ \t,]*(?:[x#~]|int)[:.]?[ \t,-]*\d{1,9}#?|'
        '[- ]+\d{1,6}#|'
        '[ \t]*(?:,{2}|;)[:.]?[ \t,-]*\d{1,15}#?|'
        '[ \t]*,+[:.]?[ \t,-]*\d{1,9}#?)$', '', 'i') as main
    ) as m
    where m.main ~ '^\+?(?:[-/. ()\[\]~]*\d){3,}[-/. ()\[\]~]*$');
end;
$$;

comment on function automation.phone_digits(text) is
  'The digits of the one number in a text, with a leading + if it has one, without an extension.';

-- What contacts are looked for by before their numbers are read exactly: the same for every way to write a
-- number, in any country. Of a shorter national number it is the whole, hence two keys.
create or replace function automation.phone_key(given text) returns text
  language sql immutable parallel safe
  -- No search_path: this is inlined into indexes, and bound when it is created. Most numbers cost one pattern.
  return case
    when given ~ '^[-+() .0-9]{0,40}$' then right(regexp_replace(given, '[^0-9]', '', 'g'), 5)
    else right(automation.phone_digits(given), 5)
  end;

create or replace function automation.phone_keys(number text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select array[right(number, 5), right(number, 4)] $$;

-- Which of the countries that share a calling code has this number; null: none of them.
create or replace function automation.phone_plan_of(calling_code text, subscriber text)
  returns automation.phone_plans
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  -- America's has 25 plans, and mostly the first is it: in the order of the index.
  set enable_seqscan = off
  set enable_bitmapscan = off
  set enable_sort = off
  set jit = off
  as $$
declare
  plan automation.phone_plans;
begin
  for plan in
    select p.* from automation.phone_plans as p
    where p.calling_code = phone_plan_of.calling_code order by p.rank
  loop
    if not plan.shared
      or subscriber ~ plan.leading_digits
      or plan.leading_digits is null and length(subscriber) = any (plan.lengths)
        and subscriber ~ plan.pattern and subscriber ~ plan.valid then
      return plan;
    end if;
  end loop;
  return null;
end;
$$;

-- Takes the prefix off that is dialled within the country (0 in Britain, 1 in America), unless the number
-- is none without it.
create or replace function automation.national_number(plan automation.phone_plans, dialled text)
  returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  groups constant text[] := regexp_match(dialled, plan.national_prefix);
  subscriber text;
  lengths smallint[];
begin
  if groups is null then
    return dialled;
  end if;
  subscriber := regexp_replace(dialled, plan.national_prefix,
    case when plan.transform is not null and groups[plan.prefix_groups] <> '' then plan.transform else '' end);
  if dialled ~ plan.pattern and subscriber !~ plan.pattern then
    return dialled;
  end if;
  lengths := coalesce((automation.phone_plan_of(plan.calling_code, subscriber)).lengths, plan.lengths);
  if length(subscriber) = any (lengths) or length(subscriber) > lengths[array_upper(lengths, 1)] then
    return subscriber;
  end if;
  return dialled;
end;
$$;

-- The calling code with which an international number begins; none is the beginning of another.
create or replace function automation.phone_plan_by_code(digits text) returns automation.phone_plans
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select p from automation.phone_plans as p
    where p.calling_code in (left(digits, 1), left(digits, 2), left(digits, 3)) and p.rank = 0);
end;
$$;

-- What providers put for a caller who withholds the number: words, spelt on the keys of a telephone.
create or replace function automation.is_withheld(given text) returns boolean
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(regexp_replace(given, '\D', '', 'g') in (
    '266696687', -- anonymous
    '7378742833', -- restricted
    '2562533', -- blocked
    '8656696', -- unknown
    '86282452253', -- unavailable
    '7748483', -- private
    '7748483686237', -- private number
    '94844353', -- withheld
    '6622553743', -- no caller id
    '688632732', -- out of area
    '662639'), -- nobody
    false);
end;
$$;

create type automation.phone_number as (number text, country text, is_premium boolean);

comment on type automation.phone_number is
  'A phone number: E.164; its country, or the calling code of what belongs to none; does a text to it cost '
  'extra?';

-- dialled: what follows the calling code. may_be_new: takes what has the form of a number there without being
-- in use: with its country code it can be meant in no other way, and an area code may be younger than the plan.
create or replace function automation.phone_in_plan(
  plan automation.phone_plans, dialled text, may_be_new boolean)
  returns automation.phone_number
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  subscriber constant text := automation.national_number(plan, dialled);
  exact constant automation.phone_plans := automation.phone_plan_of(plan.calling_code, subscriber);
begin
  if exact.country is not null then
    plan := exact;
  end if;
  if length(subscriber) = any (plan.lengths) and subscriber ~ plan.pattern
    and (may_be_new or subscriber ~ plan.valid) then
    return row('+' || plan.calling_code || subscriber, plan.country,
      coalesce(subscriber ~ plan.premium, false))::automation.phone_number;
  end if;
  return null;
end;
$$;

-- Mostly it is a number of the main country of its calling code, with no prefix to take off: one look at one plan
-- tells, by what the functions above ask of it. Only where that tells nothing are the others looked through.
create or replace function automation.phone_abroad(digits text, may_be_new boolean)
  returns automation.phone_number
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  plan automation.phone_plans;
  found automation.phone_number := (
    select row('+' || digits, p.country, coalesce(d.dialled ~ p.premium, false))::automation.phone_number
    from automation.phone_plans as p
    cross join lateral (select substr(digits, length(p.calling_code) + 1) as dialled) as d
    where p.calling_code in (left(digits, 1), left(digits, 2), left(digits, 3)) and p.rank = 0
      and length(d.dialled) = any (p.lengths) and d.dialled ~ p.pattern
      and (p.national_prefix is null or d.dialled !~ p.national_prefix)
      and (not p.shared or d.dialled ~ p.leading_digits or p.leading_digits is null and d.dialled ~ p.valid)
      and (may_be_new or d.dialled ~ p.valid));
begin
  if found.number is not null then
    return found;
  end if;
  plan := automation.phone_plan_by_code(digits);
  return automation.phone_in_plan(plan, substr(digits, length(plan.calling_code) + 1), may_be_new);
end;
$$;

-- A national number, or one that has the calling code of its own country without a +.
create or replace function automation.phone_at_home(plan automation.phone_plans, digits text)
  returns automation.phone_number
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  subscriber text;
begin
  if starts_with(digits, plan.calling_code) then
    subscriber := automation.national_number(plan, digits);
    if length(subscriber) > plan.lengths[array_upper(plan.lengths, 1)]
      or subscriber !~ plan.pattern
        and automation.national_number(plan, substr(digits, length(plan.calling_code) + 1)) ~ plan.pattern then
      return automation.phone_abroad(digits, false);
    end if;
  end if;
  return automation.phone_in_plan(plan, digits, false);
end;
$$;

create or replace function automation.read_phone(given text, country text default 'US')
  returns automation.phone_number
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  digits constant text := case when given ~ '^\+[0-9]{3,17}$' then given else automation.phone_digits(given) end;
  home automation.phone_plans;
  abroad text;
  found automation.phone_number;
begin
  if starts_with(digits, '+') then
    -- The key 1 bears no letter, and no word is spelt with it.
    return case when strpos(digits, '1') > 0 or not automation.is_withheld(digits)
      then automation.phone_abroad(substr(digits, 2), true) end;
  end if;
  select p.* into home from automation.phone_plans as p
  where p.country = upper(read_phone.country) and p.country ~ '^[A-Z]';
  abroad := substring(digits from home.international_prefix || '([1-9].*)$');
  found := case when abroad is null then automation.phone_at_home(home, digits)
    else automation.phone_abroad(abroad, false) end;
  -- 00 leads abroad from nearly everywhere; no national number begins with it.
  if found.number is null and digits like '00%' then
    found := automation.phone_abroad(substr(digits, 3), false);
  end if;
  return found;
end;
$$;

comment on function automation.read_phone(text, text) is
  'The number in a text, read in a country when it has no country code; null when it is none.';

create or replace function automation.normalize_phone(given text, country text default 'US') returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (automation.read_phone(given, country)).number;
end;
$$;

comment on function automation.normalize_phone(text, text) is
  'E.164, as in +15125550100, by which everything compares. A number without a country code is read in the '
  'country and never taken for another''s. Null when it is no number.';

-- What providers say in E.164 is who it is, whatever a numbering plan thinks of it: a stop from a number that
-- is newer than the plan is a stop.
create or replace function automation.normal_number(given text, country text default 'US') returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found constant text := (automation.read_phone(given, country)).number;
  digits text;
begin
  if found is not null then
    return found;
  end if;
  digits := automation.phone_digits(given);
  return case when digits ~ '^\+[1-9][0-9]{6,14}$' and not automation.is_withheld(digits) then digits end;
end;
$$;

comment on function automation.normal_number(text, text) is
  'normalize_phone(), or else what is written in E.164 though no numbering plan has it.';

create or replace function automation.normalize_line(given text, country text default 'US') returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(automation.normal_number(given, country), substring(given from '^\s*(\d{4,6})\s*$'));
end;
$$;

comment on function automation.normalize_line(text, text) is
  'E.164, or the digits of a short code; null when it is neither.';

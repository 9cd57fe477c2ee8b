-- A date pattern as people know it from JavaScript (MMM d, yyyy h:mm a; dayjs' YYYY and D as well),
-- or the name of a style, as to_char() takes it. Null when a letter means nothing.
create or replace function automation.date_format(pattern text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  styles constant jsonb := '{"short": "M/d/yyyy", "medium": "MMM d, yyyy", "long": "MMMM d, yyyy",
    "full": "EEEE, MMMM d, yyyy", "time": "h:mm a", "datetime": "MMM d, yyyy, h:mm a",
    "iso": "yyyy-MM-dd''T''HH:mm:ss"}'::jsonb;
  parts constant jsonb := '{"yyyy": "YYYY", "y": "YYYY", "yy": "YY", "YYYY": "YYYY", "YY": "YY",
    "MMMM": "FMMonth", "MMM": "Mon", "MM": "MM", "M": "FMMM",
    "dd": "DD", "d": "FMDD", "do": "FMDDth", "DD": "DD", "D": "FMDD", "Do": "FMDDth",
    "EEEE": "FMDay", "EEE": "Dy", "EE": "Dy", "E": "Dy", "dddd": "FMDay", "ddd": "Dy",
    "HH": "HH24", "H": "FMHH24", "hh": "HH12", "h": "FMHH12", "mm": "MI", "m": "FMMI",
    "ss": "SS", "s": "FMSS", "SSS": "MS", "a": "AM", "aa": "AM", "A": "AM", "aaa": "am"}'::jsonb;
  rest text := coalesce(styles ->> pattern, pattern);
  written text := '';
  item text[];
begin
  if length(rest) > 100 then
    return null;
  end if;
  while rest <> '' loop
    item := regexp_match(rest,
      '^(?:''([^'']*)''|(do|Do|y+|Y+|M+|d+|D+|E+|H+|h+|m+|s+|S+|a+|A)|([^A-Za-z'']))');
    if item is null or item[2] is not null and not parts ? item[2] then
      return null;
    end if;
    written := written || coalesce(
      parts ->> item[2],
      '"' || regexp_replace(coalesce(item[1], item[3]), '(["\\])', '\\\1', 'g') || '"');
    rest := substr(rest, 1 + coalesce(
      length(item[1]) + 2, length(item[2]), length(item[3])));
  end loop;
  return written;
end;
$$;

create or replace function automation.format_date(value text, format text, zone text) returns text
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when format is null or not automation.is_date(value) then null
    when length(value) = 10 then to_char(value::date::timestamp, format)
    else to_char(automation.instant_in(value, zone) at time zone zone, format)
  end;

-- An instant as templates pass it on: in UTC, without idle zeros.
create or replace function automation.iso_instant(at timestamptz) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return regexp_replace(
    to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '[.]?0*$', '') || 'Z';

-- How a locale writes numbers: its group mark, its decimal mark, and where the currency goes.
create or replace function automation.number_marks(
  locale text, out groups text, out decimals text, out currency_first boolean, out space text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tag text := lower(locale collate "C");
  comma boolean := tag ~ '^(de|fr|it|nl|pt|es)([-_]|$)'
    and tag !~ '^(de|fr|it)[-_]ch$|^es[-_](us|mx|pr|gt|hn|ni|pa|do|sv)$';
begin
  groups := case when not comma then ',' when tag like 'fr%' then U&'\202F' else '.' end;
  decimals := case when comma then ',' else '.' end;
  currency_first := not comma or tag like 'nl%' or tag in ('pt-br', 'pt_br');
  space := case when comma then U&'\00A0' else '' end;
end;
$$;

-- null when a number is too large to be laid out.
create or replace function automation.format_number(value numeric, decimals int, locale text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  marks record := automation.number_marks(locale);
  rounded numeric := round(abs(value), coalesce(decimals, 3));
  written text;
begin
  if rounded >= 1e18 then
    return null;
  end if;
  if decimals is null then
    rounded := trim_scale(rounded);
  end if;
  written := to_char(rounded, 'FM999,999,999,999,999,990'
    || case when scale(rounded) > 0 then '.' || repeat('0', scale(rounded)) else '' end);
  -- The marks change places by way of a character that is not in a number.
  written := replace(replace(replace(written, ',', '_'), '.', marks.decimals), '_', marks.groups);
  return case when value < 0 and rounded <> 0 then '-' else '' end || written;
end;
$$;

create or replace function automation.format_currency(value numeric, currency text, locale text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  marks record := automation.number_marks(locale);
  code text := upper(currency collate "C");
  symbol text := case code
    when 'USD' then '$' when 'EUR' then '€' when 'GBP' then '£' when 'JPY' then '¥'
    when 'INR' then '₹' when 'BRL' then 'R$'
    when 'CAD' then case when locale ~* '[-_]CA$' then '$' else 'CA$' end
    when 'AUD' then case when locale ~* '[-_]AU$' then '$' else 'A$' end
    when 'NZD' then case when locale ~* '[-_]NZ$' then '$' else 'NZ$' end
    when 'MXN' then case when locale ~* '[-_]MX$' then '$' else 'MX$' end
    else code
  end;
  written text := automation.format_number(
    abs(value), case when code in ('JPY', 'KRW', 'CLP', 'VND', 'ISK') then 0 else 2 end, locale);
  sign text := case
    when value < 0 and written ~ '[1-9]' then '-' else '' end;
begin
  if code !~ '^[A-Z]{3}$' then
    return null;
  elsif marks.currency_first then
    return sign || symbol
      || case when symbol = code then U&'\00A0' else marks.space end || written;
  else
    return sign || written || U&'\00A0' || symbol;
  end if;
end;
$$;

-- As it is written in North America, where it is from there, and in E.164 otherwise. Read as every number of
-- the tenant is, in its country when it has no country code. null: no telephone number.
create or replace function automation.format_phone(value text, style text, country text) returns text
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when style = 'e164' or n.digits is null then n.number
      when style = 'international'
        then '+1 ' || left(n.digits, 3) || '-' || substr(n.digits, 4, 3) || '-' || right(n.digits, 4)
      else '(' || left(n.digits, 3) || ') ' || substr(n.digits, 4, 3) || '-' || right(n.digits, 4)
    end
    from (
      select p.number, substring(p.number from '^\+1(\d{10})$') as digits
      from automation.read_phone(value, country) as p
    ) as n
  $$;

comment on function automation.format_phone(text, text, text) is
  'A telephone number in a style: national (the default), international or e164; null when it is none.';

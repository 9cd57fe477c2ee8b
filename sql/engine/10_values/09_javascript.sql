-- Values as the engines that this one replaces compared them: by JavaScript's rules. What is not there is SQL's
-- null (their undefined), and JSON's null is a value of its own. What was no number there (NaN) is null here.
-- None of this raises, whatever it is given.

-- JSON has numbers that a double has not: too large is Infinity there, too small is 0.
create or replace function automation.double_of(number numeric) returns double precision
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when abs(number) >= 1.797693134862315807e308 then sign(number)::double precision * 'Infinity'::double precision
    when abs(number) <= 2.4703282292062328e-324 then 0::double precision
    else number::double precision
  end;

-- How a number is written: all digits between a millionth and 10^21, an exponent otherwise.
create or replace function automation.javascript_digits(number double precision) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  set extra_float_digits = 1
  as $$
    select case
      when number = 0 then '0'
      when abs(number) = 'Infinity' then number::text
      when abs(number) >= 1e-6 and abs(number) < 1e21 then trim_scale(number::text::numeric)::text
      else regexp_replace(number::text, 'e([+-])0*', 'e\1')
    end
  $$;

-- A list is its elements between commas, lists in it too; an object says only that it is one.
create or replace function automation.javascript_list(list jsonb) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  flat jsonb := list;
begin
  for depth in 1 .. 50 loop
    exit when not flat @? 'strict $[*] ? (@.type() == "array" && @.size() > 0)';
    select jsonb_agg(coalesce(i.item, e.element) order by e.place, i.place) into flat
    from jsonb_array_elements(flat) with ordinality as e (element, place)
    left join lateral jsonb_array_elements(case jsonb_typeof(e.element) when 'array' then e.element else '[]' end)
      with ordinality as i (item, place) on true;
  end loop;
  return (
    select coalesce(string_agg(case jsonb_typeof(e.element)
        when 'null' then '' when 'array' then '' when 'object' then '[object Object]'
        when 'number' then automation.javascript_digits(automation.double_of(e.element::numeric))
        else e.element #>> '{}' end, ',' order by e.place), '')
    from jsonb_array_elements(flat) with ordinality as e (element, place));
end;
$$;

create or replace function automation.javascript_text(value jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case coalesce(jsonb_typeof(value), 'undefined')
      when 'undefined' then 'undefined'
      when 'null' then 'null'
      when 'number' then automation.javascript_digits(automation.double_of(value::numeric))
      when 'array' then automation.javascript_list(value)
      when 'object' then '[object Object]'
      else value #>> '{}'
    end
  $$;

comment on function automation.javascript_text(jsonb) is 'String(value) of JavaScript; SQL''s null is undefined.';

-- 0x1F, 0b101 and 0o17: JavaScript reads them, without a sign before them.
create or replace function automation.radix_number(digits text, bits integer) returns double precision
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when length(ltrim(digits, '0')) * bits > 1100 then 'Infinity'::double precision
      else automation.double_of(coalesce((
        select sum((strpos('0123456789abcdef', lower(d.digit)) - 1)
          * (2::numeric ^ (bits * (length(ltrim(digits, '0')) - d.place))))
        from regexp_split_to_table(ltrim(digits, '0'), '') with ordinality as d (digit, place)
        where d.digit <> ''), 0))
    end
  $$;

-- Any length, any exponent: the digits and where the point is, and only then a number.
create or replace function automation.decimal_number(written text) returns double precision
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  parts constant text[] := regexp_match(written, '^([+-]?)([0-9]*)[.]?([0-9]*)(?:[eE]([+-]?[0-9]+))?$');
  whole constant text := ltrim(parts[2], '0');
  digits constant text := ltrim(parts[2] || parts[3], '0');
  exponent constant text := regexp_replace(coalesce(parts[4], '0'), '^([+-]?)0+(?=[0-9])', '\1');
  sign constant double precision := case parts[1] when '-' then -1 else 1 end;
  point bigint;
begin
  if digits = '' then
    return 0;
  elsif length(exponent) > 9 then
    return case when starts_with(exponent, '-') then 0 else sign * 'Infinity'::double precision end;
  end if;
  -- 0.<digits> times ten to this.
  point := exponent::bigint + case
    when whole <> '' then length(whole)
    else length(digits) - length(parts[3]) end;
  return case
    when point > 310 then sign * 'Infinity'::double precision
    when point < -330 then 0
    else sign * automation.double_of(format('0.%se%s', left(digits, 800), point)::numeric)
  end;
end;
$$;

create or replace function automation.javascript_number_in(written text) returns double precision
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when t.text = '' then 0::double precision
      when t.text ~ '^[+-]?Infinity$' then t.text::double precision
      when t.text ~ '^0[xX][0-9a-fA-F]+$' then automation.radix_number(substr(t.text, 3), 4)
      when t.text ~ '^0[oO][0-7]+$' then automation.radix_number(substr(t.text, 3), 3)
      when t.text ~ '^0[bB][01]+$' then automation.radix_number(substr(t.text, 3), 1)
      when t.text ~ '^[+-]?(?:[0-9]+[.]?[0-9]*|[.][0-9]+)(?:[eE][+-]?[0-9]+)?$' then automation.decimal_number(t.text)
    end
    -- What JavaScript takes for blanks.
    from (select btrim(written, E'\t\n\x0b\f\r \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008'
      '\u2009\u200a\u2028\u2029\u202f\u205f\u3000\ufeff') as text) as t
  $$;

create or replace function automation.javascript_number(value jsonb) returns double precision
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case jsonb_typeof(value)
      when 'null' then 0
      when 'boolean' then case when value::boolean then 1 else 0 end
      when 'number' then automation.double_of(value::numeric)
      when 'string' then automation.javascript_number_in(value #>> '{}')
      when 'array' then automation.javascript_number_in(automation.javascript_list(value))
    end
  $$;

comment on function automation.javascript_number(jsonb) is
  'Number(value) of JavaScript: null, false, "" and [] are 0, true is 1, [5] is 5. Null where that is no number.';

create or replace function automation.javascript_equal(a jsonb, b jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when a is null or b is null then a is null and b is null
      when jsonb_typeof(a) <> jsonb_typeof(b) or jsonb_typeof(a) in ('array', 'object') then false
      when jsonb_typeof(a) = 'number' then automation.double_of(a::numeric) = automation.double_of(b::numeric)
      else a = b
    end
  $$;

comment on function automation.javascript_equal(jsonb, jsonb) is
  'a === b of JavaScript: of one type and the same; two lists or objects never are. SQL''s null is undefined.';

-- WHAT A TEXT IS SENT AS
--
-- Carriers count segments: GSM-7 160 characters, then 153 each, some characters twice; with any other character UCS-2,
-- 70, then 67 each, in units of UTF-16.

-- One character of GSM-7 (3GPP TS 23.038), its extension included, as a regular expression.
create or replace function automation.gsm_character() returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return '[@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !"#¤%&''()*+,./0-9:;<=>?¡A-ZÄÖÑÜ§¿a-z'
    || 'äöñüà{}\\~|€\f\[\]\^-]';

-- No character is cut in two, so the end of a segment may stay empty.
create or replace function automation.sms_segments(body text) returns integer
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_gsm boolean;
  units integer;
  alone integer;
  joined integer;
  segments integer := 1;
  used integer := 0;
  size integer;
  one text;
begin
  -- So few bytes fit, whatever they are sent as.
  if octet_length(body) <= 70 then
    return 1;
  end if;
  is_gsm := body ~ ('^' || automation.gsm_character() || '*$');
  -- What is sent as two: an extension of GSM-7, or half of what is no character of UCS-2 each.
  units := length(body) + case
    when is_gsm then length(body) - length(translate(body, E'[]\\^{}~|€\f', ''))
    else length(regexp_replace(body, '[^\U00010000-\U0010FFFF]', '', 'g')) end;
  alone := case when is_gsm then 160 else 70 end;
  joined := case when is_gsm then 153 else 67 end;
  if units <= alone then
    return 1;
  elsif units = length(body) then
    return ceil(units::numeric / joined);
  end if;
  foreach one in array string_to_array(body, null) loop
    size := case when is_gsm then 1 + (one ~ '[][\^{}\\~|€\f]')::integer else 1 + (ascii(one) > 65535)::integer end;
    if used + size > joined then
      segments := segments + 1;
      used := 0;
    end if;
    used := used + size;
  end loop;
  return segments;
end;
$$;

comment on function automation.sms_segments(text) is 'How many segments a text is sent, and paid for, as.';

-- Those that make it Unicode, each once, in their order: at most five.
create or replace function automation.unicode_characters(body text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(c.one order by c.first), '{}')
    from (
      select m.one, min(m.place) as first
      from regexp_split_to_table(body, '') with ordinality as m (one, place)
      where m.one <> '' and m.one !~ ('^' || automation.gsm_character() || '$')
      group by m.one
      order by 2
      limit 5
    ) as c
  $$;

comment on function automation.unicode_characters(text) is
  'The characters that are not in GSM-7, for which a text is sent as 70 characters a segment instead of 160.';

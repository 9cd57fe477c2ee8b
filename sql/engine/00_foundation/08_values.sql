create or replace function automation.as_uuid(value text) returns uuid
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      -- Where its dashes are says the first, and that there are no others the second: a pattern that counts digits
      -- costs eight times as much.
      when value operator(pg_catalog.~~) '________-____-____-____-____________' and value operator(pg_catalog.~)
        '^[0-9A-Fa-f]*-[0-9A-Fa-f]*-[0-9A-Fa-f]*-[0-9A-Fa-f]*-[0-9A-Fa-f]*$'
      then value::pg_catalog.uuid
    end
  $$;

comment on function automation.as_uuid(text) is 'The text as a UUID; null when it is none.';

-- Tenants and members are known by a uuid here. A CRM that counts them, or gives them texts, has them under one that
-- their key makes: the same each time, and in every database. It is of version 8, as no library makes them by itself.
create or replace function automation.key_uuid(value text) returns uuid
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select coalesce(automation.as_uuid(value),
      case when value operator(pg_catalog.<>) '' then
        pg_catalog.overlay(pg_catalog.md5(value), '8', 13, 1)::pg_catalog.uuid end)
  $$;

comment on function automation.key_uuid(text) is
  'The uuid by which a tenant or a member is known whose key in the CRM is this: a uuid is itself.';

-- Whoever may choose a key in the CRM, such as the short name of their office, could choose what another's key makes.
create or replace function automation.row_uuid(value text) returns uuid
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case when value operator(pg_catalog.!~~) '________-____-8___-____-____________'
      then automation.key_uuid(value) end
  $$;

comment on function automation.row_uuid(text) is
  'key_uuid() of a key that stands in a row of the CRM; null, so that the row is nobody''s, where a text looks like a '
  'uuid that was made of a key (version 8).';

-- Keys of indexes are not made of whatever a caller sends.
create or replace function automation.as_key(value text) returns text
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$ select pg_catalog.left(coalesce(automation.as_uuid(value)::pg_catalog.text, value), 200) $$;

comment on function automation.as_key(text) is
  'An id of the CRM as the engine keeps it: a UUID in its usual notation, any other as it is.';

create or replace function automation.as_list(value jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when value is null or jsonb_typeof(value) = 'array' then value else jsonb_build_array(value) end;
end;
$$;

-- Of what as_list() makes of it; nothing has none.
create or replace function automation.length_of_list(value jsonb) returns integer
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when value is null then 0 when jsonb_typeof(value) = 'array' then jsonb_array_length(value) else 1 end;
end;
$$;

create or replace function automation.type_words(types jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(
      case t.name when 'string' then 'a text' when 'number' then 'a number'
        when 'integer' then 'a whole number' when 'array' then 'a list' when 'object' then 'an object'
        when 'boolean' then 'true or false' else 'nothing' end,
      ' or ' order by t.place)
    from jsonb_array_elements_text(automation.as_list(types)) with ordinality as t (name, place)
  $$;

create or replace function automation.occurrences(part text, whole text) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select (length(whole) - length(replace(whole, part, ''))) / length(part) $$;

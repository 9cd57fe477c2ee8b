-- 60 STEPS
--
-- What steps do. Sends and webhooks are addressed here and carried out by the dispatcher; everything
-- else happens here, in Postgres, in the transaction that records it.
--
-- Lock order: the queue row and the execution are held already; a CRM row is locked last, and given
-- up rather than waited for when a user holds it.

-- The headers that say where a message comes from and goes to, or how it is put together.
create or replace function automation.is_reserved_header(name text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select lower(btrim(name)) ~ ('^((resent-)?(to|from|cc|bcc|sender|reply-to|date|message-id)|subject|return-path'
      '|(apparently|delivered|errors|envelope|x-original|x-envelope|x-forwarded)-(to|from|cc|bcc)'
      '|received|mime-version|list-unsubscribe(-post)?|content-.*|dkim-signature|arc-.*|authentication-results)$')
  $$;

create or replace function automation.header_problem(name text, path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$' then automation.problem(
        path, 'invalid_header', format('"%s" is not the name of a header', left(name, 60)),
        'Letters, digits and -, such as X-Campaign.')
      when automation.is_reserved_header(name) then automation.problem(
        path, 'invalid_header', format('the header %s is set by the sender', left(name, 60)),
        'Use from, to, cc, bcc, reply_to and subject.')
    end
  $$;

-- Where a step stands in what people edit.
create or replace function automation.step_path(step jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(step ->> 'at', format('steps["%s"]', step ->> 'key')) $$;

create or replace function automation.records_hint(scope jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when scope -> 'records' <> '[]' then format('It brings: %s.', (
        select string_agg(distinct r, ', ') from jsonb_array_elements_text(scope -> 'records') as r))
      else 'A scheduled workflow runs for records when trigger_config has '
        'for_each: {"entity": "contact"}.'
    end
  $$;

-- A builder that keeps the type of a step in its configuration too means the step by it.
create or replace function automation.without_own_type(step_type text, config jsonb) returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case when config -> 'type' = to_jsonb(step_type) then config - 'type' else config end;
end;
$$;

-- Whose field update_field writes, and which.
create or replace function automation.written_field(config jsonb, out entity text, out field text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(config ->> 'entity', substring(config ->> 'field' from '^(contact|project|job)\.'), 'contact'),
      regexp_replace(config ->> 'field', '^(contact|project|job)\.', '')
  $$;

create or replace function automation.branch_names(config jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(b.value ->> 'name' order by b.place), '{}')
    from jsonb_array_elements(
      case jsonb_typeof(config -> 'branches') when 'array' then config -> 'branches' else '[]' end)
      with ordinality as b (value, place)
    where b.value ->> 'name' is not null
  $$;

-- Other spellings of a configuration, folded into one. What a form leaves empty was not given.
create or replace function automation.without_blanks(config jsonb, but text[] default '{}') returns jsonb
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select coalesce(jsonb_object_agg(k.key, k.value), '{}')
    from jsonb_each(config) as k
    where k.value not in ('null', '""') or k.key = any (but));
end;
$$;

create or replace function automation.fold_key(config jsonb, key text, other_names text[])
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when config ? key then config
      else coalesce(
        (select config - n || jsonb_build_object(key, config -> n)
         from unnest(other_names) as n where config ? n limit 1),
        config)
    end
  $$;

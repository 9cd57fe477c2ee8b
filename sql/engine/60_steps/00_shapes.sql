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
      '|received|mime-version|content-.*|dkim-signature|arc-.*|authentication-results)$')
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

-- to.0.address -> to: what a step is told, of what it was compiled into.
create or replace function automation.written_path(step_type text, at text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when step_type = 'send_email' and at ~ '\d\.(name|address)$'
      then regexp_replace(at, '^(to|cc|bcc|reply_to|from)\.\d+\.(name|address)$', '\1')
    else at
  end;
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

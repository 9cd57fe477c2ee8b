-- Parsed, not searched: a user may write any "sub" into their own metadata, which the claims carry.
create or replace function automation.claimed_user_id() returns uuid
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    automation.as_uuid(current_setting('request.jwt.claim.sub', true)),
    automation.as_uuid(current_setting('request.jwt.claims', true)::jsonb ->> 'sub'));
exception when data_exception then
  return null;
end;
$$;

create or replace function automation.current_user_id() returns uuid
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('request.jwt.claims', true) operator(pg_catalog.<>) ''
        or pg_catalog.current_setting('request.jwt.claim.sub', true) operator(pg_catalog.<>) ''
      then automation.claimed_user_id()
    end
  $$;

comment on function automation.current_user_id() is
  'The signed-in user on whose behalf a write is made; null for any other, and for claims that '
  'cannot be read.';

-- PostgREST hands over the headers as JSON; what is no JSON was not put there by it.
create or replace function automation.request_setting(name text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(nullif(current_setting(name, true), ''), '{}')::jsonb;
exception when invalid_text_representation then
  return '{}'::jsonb;
end;
$$;

-- The roles that see every tenant: the service role and whoever may act as it. Inside a SECURITY
-- DEFINER function current_user is the owner; the role that PostgREST switched to is in "role".
create or replace function automation.is_service() returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select caller.name <> 'authenticator' and pg_has_role(caller.name, 'service_role', 'usage')
    from (
      select coalesce(nullif(current_setting('role', true), 'none'), session_user)::name as name
    ) as caller
  $$;

comment on function automation.is_service() is
  'Is the caller the service role or an administrator, rather than a signed-in user?';

-- Not found and not allowed look alike, so that nobody learns other tenants' ids by asking.
create or replace function automation.raise_not_found(parameter text, id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise exception '%: % was not found', parameter, coalesce(id::text, 'null')
    using errcode = 'PT404',
      hint = 'It does not exist, or it belongs to a tenant you are not a member of.';
end;
$$;

-- What the Supabase platform provides before any migration runs, created where it is missing:
-- the three API roles, schema auth with the functions that read a request's claims, and schema vault, of the
-- same shape but without the encryption.
-- Everything here is a no-op on the platform itself.

do $$
declare
  role_name text;
begin
  foreach role_name in array array['anon', 'authenticated', 'service_role'] loop
    begin
      if to_regrole(role_name) is null then
        execute format('create role %I nologin noinherit', role_name);
      end if;
    exception
      -- Roles belong to the whole server: another database may be bootstrapped just now.
      when duplicate_object or unique_violation then null;
    end;
    if not pg_has_role(current_user, role_name, 'member') then
      execute format('grant %I to current_user', role_name);
    end if;
  end loop;
  if not (select rolbypassrls from pg_roles where rolname = 'service_role') then
    alter role service_role bypassrls;
  end if;
end
$$;

create schema if not exists auth;

do $$
begin
  if to_regprocedure('auth.uid()') is null then
    create function auth.uid() returns uuid language sql stable as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim.sub', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub'
      )::uuid
    $body$;
  end if;
  if to_regprocedure('auth.role()') is null then
    create function auth.role() returns text language sql stable as $body$
      select coalesce(
        nullif(current_setting('request.jwt.claim.role', true), ''),
        nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role'
      )
    $body$;
  end if;
  if to_regprocedure('auth.jwt()') is null then
    create function auth.jwt() returns jsonb language sql stable as $body$
      select coalesce(nullif(current_setting('request.jwt.claims', true), ''), '{}')::jsonb
    $body$;
  end if;
end
$$;

grant usage on schema public, auth to anon, authenticated, service_role;
grant execute on function auth.uid(), auth.role(), auth.jwt()
  to anon, authenticated, service_role;

create schema if not exists vault;
revoke all on schema vault from public;

do $$
begin
  if to_regclass('vault.decrypted_secrets') is null then
    create table vault.secrets (
      id uuid primary key default gen_random_uuid(),
      name text unique,
      description text not null default '',
      secret text not null,
      key_id uuid,
      nonce bytea,
      created_at timestamptz not null default now(),
      updated_at timestamptz not null default now()
    );
    create view vault.decrypted_secrets as
      select id, name, description, secret, secret as decrypted_secret, key_id, nonce, created_at,
        updated_at
      from vault.secrets;
    create function vault.create_secret(
      new_secret text, new_name text default null, new_description text default '',
      new_key_id uuid default null)
      returns uuid language sql as $body$
        insert into vault.secrets (secret, name, description)
        values (new_secret, new_name, new_description) returning id
      $body$;
    create function vault.update_secret(
      secret_id uuid, new_secret text default null, new_name text default null,
      new_description text default null, new_key_id uuid default null)
      returns void language plpgsql as $body$
      declare
        -- The platform reads what was there first, and so fails where that cannot be decrypted.
        former text := (select d.decrypted_secret from vault.decrypted_secrets as d where d.id = secret_id);
      begin
        update vault.secrets as s
        set secret = coalesce(new_secret, s.secret), name = coalesce(new_name, s.name),
          description = coalesce(new_description, s.description), updated_at = now()
        where s.id = secret_id;
      end
      $body$;
    revoke all on all tables in schema vault from public;
    revoke all on all functions in schema vault from public;
  end if;
end
$$;

-- What is made in public by whoever sets up a project is open to the API until it is closed.
alter default privileges in schema public
  grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public
  grant all on functions to anon, authenticated, service_role;
alter default privileges in schema public
  grant all on sequences to anon, authenticated, service_role;

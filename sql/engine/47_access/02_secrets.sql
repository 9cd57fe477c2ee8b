-- Secrets have names, and live in Supabase's Vault as ridgeline/<tenant>/<name>. They are written by a
-- tenant's owners and admins, read by the dispatcher at the send, and stand in no row, payload or log.

create or replace function automation.vault_name(tenant_id uuid, name text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if tenant_id is null or coalesce(name, '') !~ '^[a-z][a-z0-9_-]{0,62}$' then
    raise exception 'name: "%" is no name of a secret', left(name, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Use lower-case letters, digits, _ and -, and begin with a letter.';
  end if;
  return format('ridgeline/%s/%s', tenant_id, name);
end;
$$;

-- fresh_for: only if it was written within this time.
create or replace function automation.read_secret(
  tenant_id uuid, name text, fresh_for interval default null)
  returns text
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  secret text;
begin
  if to_regclass('vault.decrypted_secrets') is null then
    return null;
  end if;
  execute 'select s.decrypted_secret from vault.decrypted_secrets as s '
    'where s.name = $1 and ($2 is null or s.updated_at > clock_timestamp() - $2)'
    into secret using automation.vault_name(tenant_id, name), fresh_for;
  return secret;
exception when others then
  if automation.passing(sqlstate) is not null or sqlstate = '42501' then
    raise;
  end if;
  -- As after a move to another project, whose Vault has another key.
  raise exception 'the secret "%" cannot be read: %', name, sqlerrm using errcode = 'object_not_in_prerequisite_state',
    hint = 'Write it again with set_secret(); what webhooks are signed with is made anew by rotate_webhook_secret().';
end;
$$;

comment on function automation.read_secret(uuid, text, interval) is
  'A secret of a tenant, for the dispatcher at the send. Null: there is none of that name. Raises 55000: the Vault '
  'cannot decrypt it.';

create or replace function automation.write_secret(tenant_id uuid, name text, value text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kept constant text := automation.vault_name(tenant_id, name);
  known uuid;
  described text;
begin
  if to_regclass('vault.decrypted_secrets') is null then
    raise exception 'secrets need Supabase''s Vault' using errcode = 'feature_not_supported',
      hint = 'create extension supabase_vault';
  elsif coalesce(value, '') = '' or octet_length(value) > 8192 then
    raise exception 'value: 1 to 8192 bytes are needed' using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtextextended(kept, 0));
  execute 'select s.id from vault.secrets as s where s.name = $1' into known using kept;
  if known is null then
    execute 'select vault.create_secret($1, $2, $3)' using value, kept, 'Ridgeline';
  else
    -- The Vault reads what was there first. What it cannot decrypt, as after a move to another project, is made anew.
    begin
      execute 'select vault.update_secret($1, $2)' using known, value;
    exception when others then
      execute 'delete from vault.secrets as s where s.id = $1 returning s.description' into described using known;
      execute 'select vault.create_secret($1, $2, $3)' using value, kept, coalesce(described, '');
    end;
  end if;
end;
$$;

create or replace function automation.may_use_secrets(tenant_id uuid) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and not coalesce(tenant_id = any (automation.admin_tenants()), false) then
    raise exception 'tenant_id: only owners and admins may do this'
      using errcode = 'insufficient_privilege';
  end if;
end;
$$;

-- Of a secret its name is on record, and who changed it.
create or replace function automation.note_secret(tenant_id uuid, name text, operation text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.note_change(tenant_id, 'vault.secrets', name, null, operation, null, null) $$;

create or replace function automation.set_secret(tenant_id uuid, name text, value text) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_known boolean := false;
begin
  perform automation.may_use_secrets(tenant_id);
  if name like 'webhook_signing%' then
    perform automation.check_signing_secret(value);
  end if;
  if to_regclass('vault.secrets') is not null then
    execute 'select exists (select from vault.secrets as s where s.name = $1)'
      into is_known using automation.vault_name(tenant_id, name);
  end if;
  perform automation.write_secret(tenant_id, name, value);
  perform automation.note_secret(tenant_id, name, case when is_known then 'update' else 'insert' end);
end;
$$;

create or replace function automation.delete_secret(tenant_id uuid, name text) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  deleted integer;
begin
  perform automation.may_use_secrets(tenant_id);
  if to_regclass('vault.secrets') is null then
    return false;
  end if;
  execute 'delete from vault.secrets as s where s.name = $1' using automation.vault_name(tenant_id, name);
  get diagnostics deleted = row_count;
  if deleted > 0 then
    perform automation.note_secret(tenant_id, name, 'delete');
  end if;
  return deleted > 0;
end;
$$;

create or replace function automation.list_secrets(tenant_id uuid)
  returns table (name text, created_at timestamptz, updated_at timestamptz)
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.may_use_secrets(tenant_id);
  if to_regclass('vault.decrypted_secrets') is not null then
    return query execute
      'select substr(s.name, length($1) + 1), s.created_at, s.updated_at from vault.decrypted_secrets as s '
      'where starts_with(s.name, $1) order by 1'
      using format('ridgeline/%s/', tenant_id);
  end if;
end;
$$;

-- WHAT OUTGOING WEBHOOKS ARE SIGNED WITH

create or replace function automation.check_signing_secret(value text) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(value, '') !~ '^whsec_[A-Za-z0-9+/]{32,88}={0,2}$' then
    raise exception 'value: a signing secret is needed' using errcode = 'invalid_parameter_value',
      hint = '"whsec_" followed by base64 of 24 to 64 random bytes.';
  end if;
end;
$$;

-- 244 random bits: two UUIDs.
create or replace function automation.make_signing_secret() returns text
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$ select 'whsec_' || encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'base64') $$;

-- The newest first. While a new one is fresh the one before it signs as well, so that a receiver may
-- change over at its leisure.
create or replace function automation.signing_secrets(tenant_id uuid, name text default null)
  returns table (secrets text[], environment_serves boolean)
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select array_remove(array[
        automation.read_secret(signing_secrets.tenant_id, coalesce(signing_secrets.name, 'webhook_signing')),
        case when signing_secrets.name is null then automation.read_secret(
          signing_secrets.tenant_id, 'webhook_signing_previous', interval '1 day') end], null),
      automation.environment_serves(signing_secrets.tenant_id)
  $$;

comment on function automation.signing_secrets(uuid, text) is
  'What a webhook of the tenant is signed with, for the dispatcher; environment_serves: without any, what '
  'the environment has will do.';

-- The first webhook of a tenant makes its secret; who is to check it asks for one with rotate_webhook_secret.
create or replace function automation.first_signing_secret(tenant_id uuid) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  made text;
begin
  perform pg_advisory_xact_lock(hashtextextended('signing ' || tenant_id, 0));
  made := automation.read_secret(tenant_id, 'webhook_signing');
  if made is null then
    made := automation.make_signing_secret();
    perform automation.write_secret(tenant_id, 'webhook_signing', made);
  end if;
  return made;
end;
$$;

create or replace function automation.rotate_webhook_secret(tenant_id uuid) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  made constant text := automation.make_signing_secret();
  previous text;
  is_known boolean := false;
begin
  perform automation.may_use_secrets(tenant_id);
  perform pg_advisory_xact_lock(hashtextextended('signing ' || tenant_id, 0));
  begin
    previous := automation.read_secret(tenant_id, 'webhook_signing');
    is_known := previous is not null;
  exception when object_not_in_prerequisite_state then
    -- Which stands for its whole class, with what is locked.
    if sqlstate <> '55000' then
      raise;
    end if;
    -- It signs nothing any more, and neither does what it took the place of.
    is_known := true;
    perform automation.delete_secret(tenant_id, 'webhook_signing_previous');
  end;
  if previous is not null then
    perform automation.write_secret(tenant_id, 'webhook_signing_previous', previous);
  end if;
  perform automation.write_secret(tenant_id, 'webhook_signing', made);
  perform automation.note_secret(
    tenant_id, 'webhook_signing', case when is_known then 'update' else 'insert' end);
  return made;
end;
$$;

create or replace function ridgeline.set_secret(name text, value text, tenant_id uuid default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.set_secret(automation.own_tenant(tenant_id), name, value) $$;

comment on function ridgeline.set_secret(text, text, uuid) is
  'Keeps a secret of the tenant in the Vault, for steps and senders to name. Owners and admins; nobody can '
  'read it back.';

create or replace function ridgeline.delete_secret(name text, tenant_id uuid default null) returns boolean
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.delete_secret(automation.own_tenant(tenant_id), name) $$;

comment on function ridgeline.delete_secret(text, uuid) is 'Forgets a secret; false: there was none of that name.';

create or replace function ridgeline.list_secrets(tenant_id uuid default null)
  returns table (name text, created_at timestamptz, updated_at timestamptz)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select l.* from automation.list_secrets(automation.own_tenant(tenant_id)) as l $$;

comment on function ridgeline.list_secrets(uuid) is 'The names of the tenant''s secrets. Owners and admins.';

create or replace function ridgeline.rotate_webhook_secret(tenant_id uuid default null) returns text
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.rotate_webhook_secret(automation.own_tenant(tenant_id)) $$;

comment on function ridgeline.rotate_webhook_secret(uuid) is
  'Makes a new signing secret for the tenant''s webhooks and tells it, here and nowhere else. For a day the '
  'one before it signs too. Owners and admins.';

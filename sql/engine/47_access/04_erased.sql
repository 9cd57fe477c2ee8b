-- Addresses of people who were erased and get nothing more. What remains of an address is a keyed HMAC: a plain hash
-- of a phone number is found by trying all numbers. The key is in the Vault and nowhere else, so that a dump of the
-- database, or whoever may read this table, cannot try either. Whoever may read the Vault can.

create table automation.erased_addresses (
  tenant_id uuid not null,
  channel text not null
    constraint erased_addresses_channel_known check (channel in ('sms', 'email')),
  digest bytea not null,
  reason text not null,
  created_at timestamptz not null default automation.now(),
  constraint erased_addresses_pkey primary key (tenant_id, channel, digest)
);

comment on table automation.erased_addresses is
  'Suppressions of people who were erased, by automation.erased_digest(). Asked for with every suppression.';

-- RFC 2104 with SHA-256.
create or replace function automation.hmac_sha256(key bytea, said bytea) returns bytea
  language plpgsql immutable strict
  set search_path = pg_catalog, pg_temp
  as $$
declare
  inner_key bytea := decode(repeat('36', 64), 'hex');
  outer_key bytea := decode(repeat('5c', 64), 'hex');
begin
  key := case when octet_length(key) > 64 then sha256(key) else key end;
  for n in 0 .. octet_length(key) - 1 loop
    inner_key := set_byte(inner_key, n, get_byte(inner_key, n) # get_byte(key, n));
    outer_key := set_byte(outer_key, n, get_byte(outer_key, n) # get_byte(key, n));
  end loop;
  return sha256(outer_key || sha256(inner_key || said));
end;
$$;

-- One for the installation, under a name that no tenant's secrets have.
create or replace function automation.erasure_key() returns bytea
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  secret text;
begin
  if to_regclass('vault.decrypted_secrets') is not null then
    execute 'select s.decrypted_secret from vault.decrypted_secrets as s where s.name = $1'
      into secret using 'ridgeline/erasure';
  end if;
  return convert_to(secret, 'UTF8');
end;
$$;

create or replace function automation.make_erasure_key() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if to_regclass('vault.decrypted_secrets') is null then
    raise exception 'erasing a person needs Supabase''s Vault, for the key of what stays suppressed'
      using errcode = 'feature_not_supported', hint = 'create extension supabase_vault';
  end if;
  perform pg_advisory_xact_lock(hashtextextended('ridgeline/erasure', 0));
  if automation.erasure_key() is null then
    if exists (select from automation.erased_addresses) then
      raise exception 'the key of erased addresses is gone from the Vault' using errcode = 'PT409',
        hint = 'Restore the secret ridgeline/erasure: without it nobody can tell whom to leave alone.';
    end if;
    execute 'select vault.create_secret($1, $2, $3)'
      using encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'hex'), 'ridgeline/erasure',
        'Ridgeline';
  end if;
end;
$$;

create or replace function automation.erased_digest(tenant_id uuid, channel text, address text) returns bytea
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.hmac_sha256(
      automation.erasure_key(), convert_to(concat_ws('/', tenant_id, channel, address), 'UTF8'))
  $$;

-- Why nothing is sent to an address in its normal form; null: nobody who was erased had it. Without the key
-- everybody may be one of them.
create or replace function automation.erasure_of(tenant_id uuid, channel text, address text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wanted bytea;
begin
  if address is null or not exists (
    select from automation.erased_addresses as a
    where a.tenant_id = erasure_of.tenant_id and a.channel = erasure_of.channel) then
    return null;
  end if;
  wanted := automation.erased_digest(tenant_id, channel, address);
  if wanted is null then
    return 'erasure_key_missing';
  end if;
  return (
    select a.reason from automation.erased_addresses as a
    where a.tenant_id = erasure_of.tenant_id and a.channel = erasure_of.channel and a.digest = wanted);
end;
$$;

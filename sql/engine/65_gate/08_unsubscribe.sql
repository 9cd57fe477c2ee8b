-- UNSUBSCRIBING
--
-- Every marketing email carries a way out that works without signing in (CAN-SPAM, RFC 8058), and says whose it is and
-- where that office is. The link holds a token; what is stored of it is its SHA-256. It is never used up, since
-- scanners open and even post links, and is good for two years. The token is made anew from a secret for every claim
-- of the same email, so that a repeated attempt sends the same words, and stands in no row. The secret is in the Vault
-- where there is one. What was sent does not depend on it: a link that was made with another one goes on working.

create table automation.unsubscribe_secret (
  singleton boolean not null default true
    constraint unsubscribe_secret_pkey primary key
    constraint unsubscribe_secret_has_one_row check (singleton),
  secret bytea not null default
    uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
);

comment on table automation.unsubscribe_secret is
  'What unsubscribe tokens are made with where there is no Vault; nobody''s to read. Moved into the Vault as soon as '
  'there is one.';

create table automation.unsubscribe_tokens (
  tenant_id uuid not null,
  digest bytea not null,
  step_id uuid not null,
  addresses text[] not null,
  created_at timestamptz not null default automation.now(),
  constraint unsubscribe_tokens_pkey primary key (tenant_id, digest)
);

comment on table automation.unsubscribe_tokens is
  'Which addresses an unsubscribe link is of, by the SHA-256 of its token. Kept for two years.';

-- Whoever posts a link does not say whose it is.
create index unsubscribe_tokens_by_digest on automation.unsubscribe_tokens (digest);
create index unsubscribe_tokens_by_age on automation.unsubscribe_tokens (created_at);

-- The row of a server without a Vault, made when it is first needed, so that no two installations have the same.
create or replace function automation.kept_unsubscribe_secret() returns bytea
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  secret bytea := (select s.secret from automation.unsubscribe_secret as s);
begin
  if secret is null then
    insert into automation.unsubscribe_secret default values
    on conflict on constraint unsubscribe_secret_pkey do nothing;
    secret := (select s.secret from automation.unsubscribe_secret as s);
  end if;
  return secret;
end;
$$;

-- In the Vault under a name that no tenant's secrets have. What stood in the row goes there, so that an email that is
-- repeated on either side of that moment has the same link.
create or replace function automation.unsubscribe_secret() returns bytea
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found_secret text;
begin
  if to_regclass('vault.decrypted_secrets') is null then
    return automation.kept_unsubscribe_secret();
  end if;
  execute 'select s.decrypted_secret from vault.decrypted_secrets as s where s.name = $1'
    into found_secret using 'ridgeline/unsubscribe';
  if found_secret is null then
    perform pg_advisory_xact_lock(hashtextextended('ridgeline/unsubscribe', 0));
    execute 'select s.decrypted_secret from vault.decrypted_secrets as s where s.name = $1'
      into found_secret using 'ridgeline/unsubscribe';
  end if;
  if found_secret is null then
    found_secret := encode(automation.kept_unsubscribe_secret(), 'hex');
    execute 'select vault.create_secret($1, $2, $3)' using found_secret, 'ridgeline/unsubscribe', 'Ridgeline';
    delete from automation.unsubscribe_secret;
  end if;
  return decode(found_secret, 'hex');
exception when others then
  -- A Vault that is closed to us, or was restored without its key, must not keep an email from being sent.
  raise warning 'automation: the Vault could not be used for unsubscribe links: %', sqlerrm;
  return automation.kept_unsubscribe_secret();
end;
$$;

-- 32 bytes that nobody guesses who does not know the secret. secret: that one, where it was read for another already.
create or replace function automation.unsubscribe_token(tenant_id uuid, key text, secret bytea default null)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  secret := coalesce(secret, automation.unsubscribe_secret());
  -- An envelope of SHA-256, as HMAC is one.
  return encode(sha256(secret || sha256(secret || convert_to(tenant_id || '/' || key, 'UTF8'))), 'hex');
end;
$$;

-- Under which address the functions are reached, as the dispatcher says that claims; null: it does not say.
create or replace function automation.functions_address() returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return substring(left(current_setting('automation.functions_address', true), 1000)
    from '^https?://[^[:space:]<>"]+$');
end;
$$;

-- Marketing says whose it is; an attempt that is repeated says what it said, and leads where that led.
create or replace function automation.add_footers(
  questions automation.send_question[], tickets automation.ticket[], tenants automation.tenant[])
  returns table (place integer, unsubscribe jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set plan_cache_mode = force_generic_plan
  set jit = off
  as $$
#variable_conflict use_column
begin
  if cardinality(tickets) > 0 is not true then
    return;
  end if;
  return query
    select t.place, coalesce((q.prepared).input -> 'unsubscribe', jsonb_strip_nulls(jsonb_build_object(
      'name', n.name, 'address', nullif(btrim(n.address), ''),
      'required', coalesce(q.step #>> '{sending,purpose}', '') = 'marketing',
      'functions', automation.functions_address())))
    from unnest(tickets) as t
    join unnest(questions) as q on q.place = t.place
    join unnest(tenants) as n on n.id = t.tenant_id
    where t.channel = 'email' and t.purpose = 'marketing';
end;
$$;

-- What is said again and again is one revocation.
create or replace function automation.unsubscribe_address(
  tenant_id uuid, mailbox text, purpose text, evidence jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (
    select from ridgeline.suppressions as s
    where s.tenant_id = unsubscribe_address.tenant_id and s.channel = 'email'
      and s.address = automation.normalize_email(mailbox)
      and s.purpose in ('all', unsubscribe_address.purpose)) then
    perform automation.record_consent(tenant_id, 'email', mailbox, 'revoked', purpose, 'unsubscribe', evidence);
  end if;
end;
$$;

create or replace function automation.unsubscribe(token text, purpose text) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  link automation.unsubscribe_tokens;
  wanted constant text := case unsubscribe.purpose when 'all' then 'all' else 'marketing' end;
  mailbox text;
begin
  select t.* into link from automation.unsubscribe_tokens as t
  where t.digest = sha256(convert_to(coalesce(token, ''), 'UTF8'))
    and t.created_at > automation.now() - interval '2 years';
  if not found then
    return;
  end if;
  foreach mailbox in array link.addresses loop
    perform automation.unsubscribe_address(
      link.tenant_id, mailbox, wanted, jsonb_build_object('step_id', link.step_id));
  end loop;
end;
$$;

comment on function automation.unsubscribe(text, text) is
  'What a posted unsubscribe link does: no more marketing (marketing), or nothing more at all (all). Of a token that '
  'nobody made it does nothing, and says nothing either.';

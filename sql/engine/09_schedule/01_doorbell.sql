-- 09 SCHEDULE
--
-- What makes the engine move: a tick (pg_cron, or any client that calls automation.tick()), and a
-- doorbell that spares the wait for it. The doorbell is never delivery: with every ring lost, the
-- next tick finds the work.

-- At most once a transaction: the mark is a transaction-local setting.
create or replace function automation.ring_once() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_setting('automation.rung', true) = 'yes' then
    return;
  end if;
  perform set_config('automation.rung', 'yes', true);
  perform automation.ring();
end;
$$;

create or replace function automation.ring() returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case automation.setting('doorbell')
    when 'notify' then
      perform pg_notify('ridgeline_doorbell', '');
    when 'pg_net' then
      perform automation.call_dispatch();
    else null;
  end case;
exception when others then
  -- A doorbell that is out of order costs latency, never the write that rang it.
  null;
end;
$$;

comment on function automation.ring() is
  'Tells the dispatcher that work is due, in the way the setting doorbell says. Never raises.';

-- pg_net sends after commit. URL and key come from Vault and are never stored in a row.
create or replace function automation.call_dispatch() returns bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  url constant text := automation.vault_secret('ridgeline_dispatch_url');
  key constant text := automation.vault_secret('ridgeline_secret_key');
  request_id bigint;
begin
  if url is null or key is null then
    return null;
  end if;
  execute 'select net.http_post(url => $1, body => ''{}''::jsonb, headers => $2, '
    'timeout_milliseconds => 5000)'
    into request_id
    using url, jsonb_build_object('content-type', 'application/json', 'apikey', key);
  return request_id;
end;
$$;

create or replace function automation.vault_secret(secret_name text) returns text
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
  execute 'select s.decrypted_secret from vault.decrypted_secrets as s where s.name = $1'
    into secret using secret_name;
  return secret;
end;
$$;

-- THE DOORBELL
--
-- What makes the engine move: a tick (pg_cron, or any client that calls automation.tick()), and a
-- doorbell that spares the wait for it. The doorbell is never delivery: with every ring lost, the
-- next tick finds the work.

-- What a transaction has rung for is a transaction-local setting: the lanes, or yes, for all of them. bell: what the
-- setting says, where that is known; returned for whoever rings again.
create or replace function automation.ring_once(lane text default '', bell text default 'ask') returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  rung text := coalesce(current_setting('automation.rung', true), '');
begin
  if rung = 'yes' or lane <> '' and lane = any (string_to_array(rung, ' ')) then
    return bell;
  end if;
  -- An assignment is no statement of its own, which perform would be.
  rung := set_config('automation.rung', case lane when '' then 'yes' else btrim(rung || ' ' || lane) end, true);
  if bell is distinct from 'notify' then
    bell := (select s.value from automation.settings as s where s.name = 'doorbell');
  end if;
  if bell = 'notify' then
    rung := pg_notify('ridgeline_doorbell', lane);
  elsif bell = 'pg_net' then
    begin
      -- One that waits already is of whichever lane came first: so each is for all of them.
      perform automation.call_dispatch();
    exception when others then
      -- A doorbell that is out of order costs latency, never the write that rang it.
      null;
    end;
  end if;
  return bell;
end;
$$;

comment on function automation.ring_once(text, text) is
  'Rings for a lane (sms, email, webhook; database: its steps, and events that runs wait for or end at), or for all, '
  'once a transaction: tells the dispatcher that work is due, in the way the setting doorbell says. Never raises.';

-- A session that knows who listens knows how to ring as well (85_capture/01_enrol): it is told of either alike.
create trigger settings_note_listening after insert or update or delete on automation.settings
  for each statement execute function automation.note_listening();
alter table automation.settings enable always trigger settings_note_listening;

-- Rings coalesce: pg_net has one worker for everybody, and one ring a commit would keep it busy. While one
-- of ours waits in its queue it will be sent after this commit or just before; in the latter case this
-- commit's work waits for the next tick. pg_net deletes what it is sending, and commits that when it is
-- answered: xmax tells without taking a lock, for which pg_net would have to wait. How far to look is
-- bounded, as the queue is the host's too and has no index for this.
create or replace function automation.is_ringing(address text) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  queue constant regclass := to_regclass('net.http_request_queue');
  waits boolean;
begin
  if queue is null then
    return false;
  end if;
  execute format('select exists (
      select from (select q.url, q.xmax as taken_by from %s as q limit 1000) as q
      where q.url = $1 and q.taken_by = 0)', queue)
    into waits using address;
  return waits;
exception when others then
  -- A queue that cannot be read: a ring too many is better than none.
  return false;
end;
$$;

comment on function automation.is_ringing(text) is
  'Does a ring at this address wait in pg_net''s queue and has not been taken out of it yet?';

-- pg_net sends after commit. Address and key come from Vault. While a ring waits, its headers can be read by
-- every role of the database, so the key is one that can do nothing but ring.
create or replace function automation.call_dispatch() returns bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  url constant text := automation.vault_secret('ridgeline_dispatch_url');
  key text;
  request_id bigint;
begin
  if url is null or automation.is_ringing(url) then
    return null;
  end if;
  key := automation.vault_secret('ridgeline_ring_key');
  if key is null then
    return null;
  end if;
  execute 'select net.http_post(url => $1, body => ''{}''::jsonb, headers => $2, '
    'timeout_milliseconds => 5000)'
    into request_id
    using url, jsonb_build_object('content-type', 'application/json', 'apikey', key);
  return request_id;
end;
$$;

comment on function automation.call_dispatch() is
  'Queues a ring with pg_net and returns its id; null where one is waiting, or where Vault lacks '
  'ridgeline_dispatch_url or ridgeline_ring_key.';

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

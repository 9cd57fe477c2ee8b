-- What the outside tells us. One function an event, called by the Edge Functions once they have
-- verified the sender; the tenant is always looked up, never taken from the request.
--
--   automation.receive_sms            a text message came in
--   automation.record_call            a call rang, was answered or ended
--   automation.record_message_status  what became of a text message
--   automation.record_email_event     what became of an email
--   automation.submit_form            a form was posted
--
-- Every event may come twice, late and in any order. Two reports about one message wait for each
-- other on an advisory lock that is taken first; then the lock order of 45_queue/03_executions holds.

-- Who tells it. An event without a word of that comes from functions that knew one provider a channel.
create or replace function automation.teller(event jsonb, channel text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(nullif(event ->> 'provider', ''), automation.setting(channel || '_provider')) $$;

-- Whichever provider has it: a number may move, or text with one provider and ring with another. Where two have it
-- (which may be two tenants' word against each other) it is that provider's who tells, and of no other nobody's,
-- unless all are one tenant's.
create or replace function automation.tenant_of_number(number text, provider text default null) returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with owners as (
      select s.tenant_id, s.provider
      from ridgeline.senders as s
      where s.address = automation.normalize_line(tenant_of_number.number) and s.channel = 'sms'
        and s.kind = 'number' and s.verified_at is not null
    )
    select coalesce(
      (select o.tenant_id from owners as o where o.provider = tenant_of_number.provider),
      (select min(o.tenant_id::text)::uuid from owners as o having count(distinct o.tenant_id) = 1))
  $$;

comment on function automation.tenant_of_number(text, text) is
  'Whose number it is: whose the provider that tells has it for, else whose all others have it for; null: nobody''s, '
  'or several tenants'' at once.';

-- An event of a tenant's own account is signed with that account's key. It is found by our number in it, by the
-- messaging service, or by the tenant whose address at our side was called, and is then believed of this tenant alone.
create or replace function automation.accounts_of_senders(
  channel text, provider text, tenant_id uuid, address text, service text)
  returns table (owner uuid, account text)
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select a.tenant_id, automation.read_secret(a.tenant_id, a.credentials)
    from (
      select s.tenant_id, s.credentials, min(s.kind) as kind
      from ridgeline.senders as s
      where s.channel = accounts_of_senders.channel and s.provider = accounts_of_senders.provider
        and s.verified_at is not null and s.credentials is not null
        and (s.kind = 'number' and s.address = automation.normalize_line(accounts_of_senders.address)
          or s.kind = 'service' and s.address = btrim(accounts_of_senders.service)
          or s.tenant_id = accounts_of_senders.tenant_id)
      group by s.tenant_id, s.credentials
    ) as a
    order by a.kind, a.credentials
    limit 5
  $$;

comment on function automation.accounts_of_senders(text, text, uuid, text, text) is
  'Whose number, messaging service or tenant that is, and the secrets of their own accounts at this provider; no row: '
  'the environment''s. account is null where the secret is missing.';

-- What the functions of the release before ask.
create or replace function automation.twilio_account(
  address text, service text, out tenant_id uuid, out account text)
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select a.owner, a.account
    from automation.accounts_of_senders(
      'sms', automation.setting('sms_provider'), null, twilio_account.address, twilio_account.service) as a
    limit 1
  $$;

comment on function automation.twilio_account(text, text) is
  'accounts_of_senders() for functions of API 1, which know one provider.';

-- No tenant_id: the installation's own account has said it, and may say it of everybody.
create or replace function automation.may_tell(event jsonb, owner uuid) returns boolean
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce((event ->> 'tenant_id')::uuid = owner, event ->> 'tenant_id' is null) $$;

comment on function automation.may_tell(jsonb, uuid) is
  'May an event, which a tenant''s own account has signed, be about this tenant?';

create or replace function automation.creates_contacts(tenant_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(automation.tenant_setting(creates_contacts.tenant_id, 'inbound', 'create_contacts') = 'true', false)
      and not automation.is_tenant_gone(creates_contacts.tenant_id)
  $$;

comment on function automation.creates_contacts(uuid) is
  'Does an unknown caller become a contact? Settings of the tenant: {"inbound": {"create_contacts": true}}.';

create or replace function automation.contact_of_caller(
  tenant_id uuid, phone text, source text, may_create boolean)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contact text;
begin
  -- A short code, a name or a withheld number is nobody.
  if automation.is_withheld(phone) or automation.normal_number(phone) is null then
    return null;
  end if;
  perform automation.lock_inbound(tenant_id || phone);
  contact := automation.contact_by_phone(tenant_id, phone);
  if contact is null and may_create and automation.creates_contacts(tenant_id) then
    contact := automation.create_contact(
      tenant_id, jsonb_build_object('phone', phone, 'source', source));
  end if;
  return contact;
end;
$$;

-- An answer that comes within two minutes of what a run sent goes on with the chain of that run: machines are quick.
create or replace function automation.continue_chain(tenant_id uuid, sender text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  root uuid;
begin
  select coalesce(e.root_id, e.id) into root
  from ridgeline.workflow_step_executions as s
  join ridgeline.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  where s.recipient = sender and s.tenant_id = continue_chain.tenant_id
    and s.started_at > automation.now() - interval '2 minutes'
  order by s.started_at desc
  limit 1;
  if root is not null then
    perform automation.set_cause(0, root, true);
  end if;
end;
$$;

-- Somebody who writes to say stop does not become a lead by it.
create or replace function automation.receive_sms(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  carrier constant text := automation.teller(event, 'sms');
  owner constant uuid := automation.tenant_of_number(event ->> 'to', carrier);
  sender constant text := automation.line_of(event ->> 'from');
  opt_out constant text := upper(event ->> 'opt_out_type');
  told_by constant text := coalesce(
    event ->> 'told_by', case when event ->> 'tenant_id' is not null then 'account' else 'provider' end);
  known uuid;
begin
  if owner is null or not automation.may_tell(event, owner) then
    -- Nobody's own number, but somebody may have sent from it.
    if owner is null and not event ? 'tenant_id' and told_by = 'provider'
      and (opt_out = 'STOP' or automation.is_stop_request(event ->> 'body'))
      and automation.normal_number(sender) is not null then
      perform automation.stop_at_others(null, sender, automation.normalize_line(event ->> 'to'), event ->> 'body');
    end if;
    return 'unknown_number';
  end if;
  perform automation.lock_inbound(carrier || ' ' || (event ->> 'message_sid'));
  select m.id into known from ridgeline.messages as m
  where m.provider_id = event ->> 'message_sid' and m.tenant_id = owner and m.provider = carrier;
  if found then
    -- A row of an inbox that says no time may be another one with the same words: silence harms nobody.
    if event ? 'told_by' and automation.is_stop_request(event ->> 'body')
      and automation.normal_address(owner, 'sms', sender) is not null then
      perform automation.revoke_once(owner, 'sms', sender, 'message', jsonb_build_object(
          'message_id', known, 'said', left(event ->> 'body', 500), 'told_by', told_by),
        jsonb_build_object('message_id', known));
    end if;
    return 'duplicate';
  end if;
  perform automation.continue_chain(owner, sender);
  perform set_config('automation.told_by', told_by, true);
  insert into ridgeline.messages (tenant_id, contact_id, direction, from_number, to_number, body,
    status, provider, provider_id, opt_out_type, media_urls, channel)
  values (owner,
    automation.contact_of_caller(owner, sender, 'inbound_sms',
      opt_out is distinct from 'STOP' and not automation.is_stop_request(event ->> 'body')),
    'inbound', sender, automation.normalize_line(event ->> 'to'), event ->> 'body',
    'received', carrier, event ->> 'message_sid',
    case when opt_out in ('STOP', 'START', 'HELP') then opt_out end,
    (select array_agg(u) from jsonb_array_elements_text(event -> 'media_urls') as u),
    coalesce(event ->> 'channel', 'sms'));
  perform set_config('automation.told_by', '', true);
  perform automation.clear_cause();
  return 'stored';
end;
$$;

comment on function automation.receive_sms(jsonb) is
  'Stores a text message once: {provider?, message_sid, from, to, body, channel?, opt_out_type?, media_urls?, '
  'tenant_id?, told_by?}; tenant_id: whose own account says so; told_by: writer for a row of the CRM''s inbox that '
  'somebody else than its own program wrote. Returns stored, duplicate or unknown_number.';

-- To an inbound call the office means one thing: was it answered? That is said in two ways: by the
-- status of the call itself, and, when the call was passed on (dial_status), by whether that was
-- answered. The second is the one that counts: the call itself ends as completed either way.
create or replace function automation.call_status(
  direction text, status text, dial_status text, previous text)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when direction = 'inbound' and dial_status in ('no-answer', 'busy', 'failed', 'canceled')
        then 'missed'
      when dial_status in ('completed', 'answered') then 'completed'
      when automation.call_rank(previous) >= automation.call_rank(status) then previous
      when direction = 'inbound' and status in ('no-answer', 'busy', 'failed', 'canceled')
        then 'missed'
      else status
    end
  $$;

create or replace function automation.call_rank(status text) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when status in ('queued', 'initiated') then 1
      when status = 'ringing' then 2
      when status in ('in-progress', 'answered') then 3
      when status in ('completed', 'missed', 'no-answer', 'busy', 'failed', 'canceled') then 4
      else 0
    end
  $$;

create or replace function automation.call_direction(event jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select case when event ->> 'direction' = 'inbound' then 'inbound' else 'outbound' end $$;

create or replace function automation.record_call(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  carrier constant text := automation.teller(event, 'sms');
  owner constant uuid := automation.tenant_of_number(automation.line_of(
    event ->> case automation.call_direction(event) when 'inbound' then 'to' else 'from' end), carrier);
begin
  if automation.call_rank(event ->> 'status') = 0 then
    return 'unknown_status';
  elsif owner is null or not automation.may_tell(event, owner) then
    return 'unknown_number';
  end if;
  return automation.keep_call(owner, carrier, event);
end;
$$;

-- A call of a tenant's, or what became of it.
create or replace function automation.keep_call(owner uuid, carrier text, event jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  direction constant text := automation.call_direction(event);
  caller constant text := automation.line_of(event ->> 'from');
  called constant text := automation.line_of(event ->> 'to');
  known ridgeline.calls;
  next_status text;
begin
  perform automation.lock_inbound(carrier || ' ' || (event ->> 'call_sid'));
  select c.* into known from ridgeline.calls as c
  where c.provider_id = event ->> 'call_sid' and c.tenant_id = owner and c.provider = carrier;
  next_status := automation.call_status(
    coalesce(known.direction, direction), event ->> 'status', event ->> 'dial_status', known.status);
  if known.id is null then
    insert into ridgeline.calls (tenant_id, contact_id, direction, from_number, to_number, status,
      duration_seconds, provider, provider_id)
    values (owner,
      automation.contact_of_caller(owner, case direction when 'inbound' then caller else called end,
        'inbound_call', direction = 'inbound'),
      direction, caller, called, next_status, (event ->> 'duration')::integer, carrier,
      event ->> 'call_sid');
    return 'stored';
  end if;
  update ridgeline.calls as c
  set status = next_status, duration_seconds = greatest(
    c.duration_seconds, (event ->> 'duration')::integer)
  where c.tenant_id = known.tenant_id and c.id = known.id
    and (c.status <> next_status
      or (event ->> 'duration')::integer > coalesce(c.duration_seconds, -1));
  return case when found then 'updated' else 'duplicate' end;
end;
$$;

comment on function automation.record_call(jsonb) is
  'Stores a call, or what became of it: {provider?, call_sid, from, to, direction, status, dial_status?, '
  'duration?, tenant_id?}; status: queued, initiated, ringing, in-progress, answered, completed, no-answer, busy, '
  'failed or canceled. An inbound call that nobody took is missed. Returns stored, updated, duplicate, '
  'unknown_number or unknown_status.';

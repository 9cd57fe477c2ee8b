-- Whom a send comes from: only ever the tenant's own, whatever a step says.

-- The one address in "Apex Roofing <office@apex.example>"; null for anything but one address. The name
-- before it is free, as long as it cannot be taken for another address: in quotes it cannot.
create or replace function automation.mailbox_address(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select lower(coalesce(
      substring(given from '^\s*([^@<>\s,;:"()\\]+@[^@<>\s,;:"()\\]+)\s*$'),
      substring(given from
        '^\s*(?:"(?:[^"\\[:cntrl:]]|\\["\\])*"|[^<>",;\\[:cntrl:]]*?)\s*<([^@<>\s,;:"()\\]+@[^@<>\s,;:"()\\]+)>\s*$')))
  $$;

create or replace function automation.named_sender(tenant_id uuid, channel text, named text)
  returns ridgeline.senders
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select s
    from ridgeline.senders as s
    where s.tenant_id = named_sender.tenant_id and s.channel = named_sender.channel and s.is_active
      and s.verified_at is not null
      and s.address = case s.kind
        when 'number' then coalesce(
          automation.normalize_line(named, automation.country_of(named_sender.tenant_id)), btrim(named))
        when 'service' then btrim(named)
        when 'name' then btrim(named)
        when 'address' then automation.mailbox_address(named)
        when 'domain' then split_part(automation.mailbox_address(named), '@', 2) end
    order by s.kind
    limit 1);
end;
$$;

comment on function automation.named_sender(uuid, text, text) is
  'The tenant''s own sender that a step names, if it is verified and active.';

create or replace function automation.default_sender(tenant_id uuid, channel text)
  returns ridgeline.senders
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select s
    from ridgeline.senders as s
    where s.tenant_id = default_sender.tenant_id and s.channel = default_sender.channel and s.is_active
      and s.verified_at is not null and s.kind in ('number', 'name', 'service', 'address')
    order by s.is_default desc, s.created_at, s.id
    limit 1);
end;
$$;

create or replace function automation.sender_mailbox(sender ridgeline.senders, named text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    nullif(btrim(named), ''),
    case when sender.display_name <> ''
      then format('%s <%s>', sender.display_name, sender.address) else sender.address end);
end;
$$;

-- What the claim carries: who sends it, and under which name the provider's key is kept.
create or replace function automation.sender_payload(sender ridgeline.senders, named text) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('sender', jsonb_strip_nulls(jsonb_build_object(
      'id', sender.id, 'provider', sender.provider, 'kind', sender.kind, 'address', sender.address,
      'credentials', sender.credentials)))
    || case sender.kind
      when 'service' then jsonb_build_object('messaging_service_sid', sender.address)
      when 'address' then jsonb_build_object('from', automation.sender_mailbox(sender, named))
      when 'domain' then jsonb_build_object('from', automation.sender_mailbox(sender, named))
      else jsonb_build_object('from', sender.address)
    end;
end;
$$;

-- Who carries what the environment's sender says is settled with the message: what may have been accepted is asked of
-- that provider, and its news believed, whatever the setting says by then.
create or replace function automation.environment_payload(channel text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return jsonb_build_object('sender', jsonb_build_object('provider', automation.setting(channel || '_provider')));
end;
$$;

create or replace function automation.fail_unaddressed(
  prepared automation.prepared_step, code text, message text)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared.verdict := 'fail';
  prepared.reason := jsonb_build_object('code', code, 'message', message);
  return prepared;
end;
$$;

-- Nobody to speak as is no failure of this run: it waits, without a date, for whoever provisions senders, and
-- everything is asked again then.
create or replace function automation.await_sender(prepared automation.prepared_step, channel text)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared.verdict := 'hold';
  prepared.reason := jsonb_build_object('until', 'infinity', 'held', jsonb_build_object(
    'code', 'no_sender', 'channel', channel,
    'why', format('there is no sender for %s: it goes on when one is added to senders', channel)));
  return prepared;
end;
$$;

comment on function automation.await_sender(automation.prepared_step, text) is
  'Verdict hold: reason is {held, until}, as the gate holds what it holds.';

-- A header is another way to name who writes, and to whom.
create or replace function automation.reserved_email_header(headers jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select h.key
    from jsonb_each(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h
    where lower(btrim(h.key)) ~ (
      '^(from|sender|reply-to|return-path|to|cc|bcc|subject|date|message-id|received|resent-.*|dkim-.*|'
      'arc-.*|authentication-results)$')
    order by h.key
    limit 1
  $$;

create or replace function automation.choose_sender(
  tenant_id uuid, step_type text, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  channel constant text := nullif(nullif(automation.channel_of(step_type), 'webhook'), 'database');
  field constant text := case when coalesce(btrim(prepared.input ->> 'messaging_service_sid'), '') <> ''
    then 'messaging_service_sid' else 'from' end;
  named constant text := btrim(coalesce(prepared.input ->> field, ''));
  reserved constant text := case channel
    when 'email' then automation.reserved_email_header(prepared.input -> 'headers') end;
  sender ridgeline.senders;
begin
  if channel is null then
    return prepared;
  elsif reserved is not null then
    return automation.fail_unaddressed(prepared, 'header_not_allowed', format(
      'headers.%s: it is set from the fields of the step, not as a header', left(reserved, 60)));
  elsif named <> '' then
    sender := automation.named_sender(tenant_id, channel, named);
    if sender.id is null then
      return automation.fail_unaddressed(prepared, 'sender_not_yours', format(
        '%s: "%s" is not a sender of yours', field, left(named, 80)));
    end if;
  else
    sender := automation.default_sender(tenant_id, channel);
  end if;
  if sender.id is null and not automation.environment_serves(tenant_id, channel) then
    return automation.await_sender(prepared, channel);
  end if;
  prepared.input := (prepared.input - '{sender,from,messaging_service_sid}'::text[])
    || case when sender.id is null then automation.environment_payload(channel)
      else automation.sender_payload(sender, named) end;
  return prepared;
end;
$$;

comment on function automation.choose_sender(uuid, text, automation.prepared_step) is
  'Whom a send comes from: the tenant''s own sender that the step names, else its default one, else the '
  'environment''s where that serves the tenant. Nobody at all: it is held until there is one. Anything else is a '
  'failure that says so.';

-- Asked for at every later attempt: what was rendered once names a sender that may be gone since.
create or replace function automation.recheck_sender(
  tenant_id uuid, step_type text, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.channel_of(step_type) not in ('sms', 'email') then
    return prepared;
  elsif prepared.input #> '{sender,id}' is not null then
    if not exists (
      select from ridgeline.senders as s
      where s.tenant_id = recheck_sender.tenant_id
        and s.id = automation.as_uuid(prepared.input #>> '{sender,id}')
        and s.is_active and s.verified_at is not null) then
      return automation.fail_unaddressed(prepared, 'sender_not_yours', format(
        'from: "%s" is not a sender of yours any more', prepared.input #>> '{sender,address}'));
    end if;
  elsif not automation.environment_serves(
    tenant_id, automation.channel_of(step_type)) then
    return automation.await_sender(prepared, automation.channel_of(step_type));
  end if;
  return prepared;
end;
$$;

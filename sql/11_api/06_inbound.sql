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
-- other on an advisory lock that is taken first; then the lock order of chapter 06 holds.

create or replace function automation.lock_inbound(key text) returns void
  language sql
  set search_path = ''
  as $$ select pg_advisory_xact_lock(hashtextextended('inbound ' || key, 0)) $$;

create or replace function automation.tenant_of_number(number text) returns uuid
  language sql stable
  set search_path = ''
  as $$
    select p.tenant_id from public.phone_numbers as p
    where p.number = automation.normalize_line(tenant_of_number.number)
  $$;

-- Several contacts may share a number: the one spoken to last is meant.
create or replace function automation.contact_by_phone(tenant_id uuid, phone text) returns uuid
  language sql stable
  set search_path = ''
  as $$
    select c.id from public.contacts as c
    where c.tenant_id = contact_by_phone.tenant_id
      and right(regexp_replace(c.phone, '\D', '', 'g'), 10)
        = right(regexp_replace(contact_by_phone.phone, '\D', '', 'g'), 10)
      and automation.normalize_phone(c.phone) = contact_by_phone.phone
    order by c.last_contacted_at desc nulls last, c.created_at desc, c.id
    limit 1
  $$;

create or replace function automation.creates_contacts(tenant_id uuid) returns boolean
  language sql stable
  set search_path = ''
  as $$
    select coalesce(t.settings #> '{inbound,create_contacts}' = 'true', false)
    from public.tenants as t where t.id = creates_contacts.tenant_id
  $$;

comment on function automation.creates_contacts(uuid) is
  'Does an unknown caller become a contact? tenants.settings: {"inbound": {"create_contacts": true}}.';

create or replace function automation.contact_of_caller(
  tenant_id uuid, phone text, source text, may_create boolean)
  returns uuid
  language plpgsql
  set search_path = ''
  as $$
declare
  contact uuid;
begin
  if automation.normalize_phone(phone) is null then
    return null;
  end if;
  perform automation.lock_inbound(tenant_id || phone);
  contact := automation.contact_by_phone(tenant_id, phone);
  if contact is null and may_create and automation.creates_contacts(tenant_id) then
    insert into public.contacts (tenant_id, phone, source)
    values (contact_of_caller.tenant_id, contact_of_caller.phone, contact_of_caller.source)
    returning id into contact;
  end if;
  return contact;
end;
$$;

-- Somebody who writes to say stop does not become a lead by it.
create or replace function automation.receive_sms(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = ''
  as $$
declare
  owner constant uuid := automation.tenant_of_number(event ->> 'to');
  sender constant text := coalesce(automation.normalize_line(event ->> 'from'), event ->> 'from');
  opt_out constant text := upper(event ->> 'opt_out_type');
begin
  if owner is null then
    return 'unknown_number';
  end if;
  perform automation.lock_inbound('twilio ' || (event ->> 'message_sid'));
  if exists (
    select from public.messages as m
    where m.provider_id = event ->> 'message_sid' and m.tenant_id = owner and m.provider = 'twilio'
  ) then
    return 'duplicate';
  end if;
  insert into public.messages (tenant_id, contact_id, direction, from_number, to_number, body,
    status, provider, provider_id, opt_out_type, media_urls)
  values (owner,
    automation.contact_of_caller(owner, sender, 'inbound_sms',
      opt_out is distinct from 'STOP' and not automation.is_stop_request(event ->> 'body')),
    'inbound', sender, automation.normalize_line(event ->> 'to'), event ->> 'body',
    'received', 'twilio', event ->> 'message_sid',
    case when opt_out in ('STOP', 'START', 'HELP') then opt_out end,
    (select array_agg(u) from jsonb_array_elements_text(event -> 'media_urls') as u));
  return 'stored';
end;
$$;

comment on function automation.receive_sms(jsonb) is
  'Stores a text message once: {message_sid, from, to, body, opt_out_type?, media_urls?}. Returns '
  'stored, duplicate or unknown_number.';

-- To an inbound call the office means one thing: was it answered? Twilio says so in two ways: the
-- status of the call itself, and, when the call was passed on with <Dial>, whether that was
-- answered. The second is the one that counts: the call itself ends as completed either way.
create or replace function automation.call_status(
  direction text, status text, dial_status text, previous text)
  returns text
  language sql immutable parallel safe
  set search_path = ''
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
  set search_path = ''
  as $$
    select case
      when status in ('queued', 'initiated') then 1
      when status = 'ringing' then 2
      when status in ('in-progress', 'answered') then 3
      when status in ('completed', 'missed', 'no-answer', 'busy', 'failed', 'canceled') then 4
      else 0
    end
  $$;

create or replace function automation.record_call(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = ''
  as $$
declare
  direction constant text :=
    case when event ->> 'direction' = 'inbound' then 'inbound' else 'outbound' end;
  caller constant text := coalesce(automation.normalize_line(event ->> 'from'), event ->> 'from');
  called constant text := coalesce(automation.normalize_line(event ->> 'to'), event ->> 'to');
  owner constant uuid := automation.tenant_of_number(
    case direction when 'inbound' then called else caller end);
  known public.calls;
  next_status text;
begin
  if automation.call_rank(event ->> 'status') = 0 then
    return 'unknown_status';
  elsif owner is null then
    return 'unknown_number';
  end if;
  perform automation.lock_inbound('twilio ' || (event ->> 'call_sid'));
  select c.* into known from public.calls as c
  where c.provider_id = event ->> 'call_sid' and c.tenant_id = owner and c.provider = 'twilio';
  next_status := automation.call_status(
    coalesce(known.direction, direction), event ->> 'status', event ->> 'dial_status', known.status);
  if known.id is null then
    insert into public.calls (tenant_id, contact_id, direction, from_number, to_number, status,
      duration_seconds, provider, provider_id)
    values (owner,
      automation.contact_of_caller(owner, case direction when 'inbound' then caller else called end,
        'inbound_call', direction = 'inbound'),
      direction, caller, called, next_status, (event ->> 'duration')::integer, 'twilio',
      event ->> 'call_sid');
    return 'stored';
  end if;
  update public.calls as c
  set status = next_status, duration_seconds = greatest(
    c.duration_seconds, (event ->> 'duration')::integer)
  where c.tenant_id = known.tenant_id and c.id = known.id
    and (c.status <> next_status
      or (event ->> 'duration')::integer > coalesce(c.duration_seconds, -1));
  return case when found then 'updated' else 'duplicate' end;
end;
$$;

comment on function automation.record_call(jsonb) is
  'Stores a call, or what became of it: {call_sid, from, to, direction, status, dial_status?, '
  'duration?}, the words of Twilio. An inbound call that nobody took is missed. Returns stored, '
  'updated, duplicate, unknown_number or unknown_status.';

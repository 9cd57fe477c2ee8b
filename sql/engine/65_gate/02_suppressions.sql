-- CONSENT
--
-- Who must not be written to. Asked for in the transaction that claims a send, on every attempt:
-- a suppression that has committed stops everything that is not claimed yet.

create table ridgeline.suppressions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  channel text not null
    constraint suppressions_channel_known check (channel in ('sms', 'email')),
  address text not null constraint suppressions_address_not_blank check (btrim(address) <> ''),
  reason text not null
    constraint suppressions_reason_known
    check (reason in ('opt_out', 'provider', 'bounce', 'complaint', 'manual', 'landline')),
  detail jsonb,
  created_at timestamptz not null default automation.now(),
  purpose text not null default 'all'
    constraint suppressions_purpose_known check (purpose in ('marketing', 'all')),
  changed_at timestamptz not null default automation.now(),
  constraint suppressions_pkey primary key (tenant_id, id),
  constraint suppressions_address_unique unique (tenant_id, channel, address)
);

select automation.keep_changed_at('ridgeline.suppressions');

comment on table ridgeline.suppressions is
  'Addresses that get nothing more from this tenant. sms: E.164; email: as normalize_email(). Any notation is '
  'taken and stored this way; what is no number or address is refused, for it would stop nothing.';
comment on column ridgeline.suppressions.purpose is
  'marketing: only that is not sent to it; receipts and reminders are.';
comment on column ridgeline.suppressions.reason is
  'landline: no text reaches it, until one comes from it. The others: nobody may write to it.';

-- The form in which an address of a channel is compared; null when it is none.
create or replace function automation.normal_address(tenant_id uuid, channel text, address text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case channel
      when 'sms' then automation.normal_number(address, automation.country_of(tenant_id))
      when 'email' then automation.normalize_email(automation.bare_address(address))
    end
  $$;

create or replace function automation.normalize_suppression() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  normal constant text := automation.normal_address(new.tenant_id, new.channel, new.address);
begin
  if normal is null and new.channel in ('sms', 'email') and btrim(new.address) <> '' then
    raise exception 'address: "%" is not %', left(new.address, 80),
      case new.channel when 'sms' then 'a phone number' else 'an email address' end
      using errcode = 'invalid_parameter_value', hint = case new.channel
        when 'sms' then 'Write it with its country code, such as +1 512 555 0100.'
        else 'One address, such as ann@example.com.' end;
  end if;
  new.address := coalesce(normal, new.address);
  return new;
end;
$$;

create trigger suppressions_normalize
  before insert or update of address, channel on ridgeline.suppressions
  for each row execute function automation.normalize_suppression();

-- Why nothing is sent to an address, which is in its normal form; null: it may be.
create or replace function automation.suppression_of(tenant_id uuid, channel text, address text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      (select s.reason from ridgeline.suppressions as s
       where s.tenant_id = suppression_of.tenant_id
         and s.channel = suppression_of.channel
         and s.address = suppression_of.address),
      automation.erasure_of(suppression_of.tenant_id, suppression_of.channel, suppression_of.address))
  $$;

create or replace function automation.is_suppressed(tenant_id uuid, channel text, address text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.suppression_of(
      tenant_id, channel, automation.normal_address(tenant_id, channel, address)) is not null
  $$;

-- Of the addresses under a key of an email, those that are not suppressed, and a warning for each that is.
create or replace function automation.drop_suppressed(
  prepared automation.prepared_step, key text, stopped text[])
  returns automation.prepared_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  allowed jsonb;
  dropped jsonb;
begin
  select coalesce(jsonb_agg(m.mailbox order by m.place) filter (where not m.stopped), '[]'),
    coalesce(jsonb_agg(jsonb_build_object('path', key, 'code', 'suppressed', 'given', m.address,
      'message', format('%s: %s has opted out and was left out', key, m.address))
      order by m.place) filter (where m.stopped), '[]')
    into allowed, dropped
  from (
    select l.mailbox, l.place, a.address,
      coalesce(automation.normalize_email(a.address) = any (drop_suppressed.stopped), true) as stopped
    from jsonb_array_elements_text(prepared.input -> key) with ordinality as l (mailbox, place)
    cross join lateral (select automation.bare_address(l.mailbox) as address) as a
  ) as m;
  prepared.input := prepared.input || jsonb_build_object(key, allowed);
  return automation.add_warnings(prepared, dropped);
end;
$$;

create or replace function automation.leave_out_of_email(prepared automation.prepared_step, stopped text[])
  returns automation.prepared_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  foreach key in array '{to,cc,bcc}'::text[] loop
    if prepared.input ? key then
      prepared := automation.drop_suppressed(prepared, key, stopped);
    end if;
  end loop;
  prepared.recipient := automation.recipients_of(prepared.input -> 'to');
  return prepared;
end;
$$;

-- That somebody opted out weighs more than that they cannot be reached: the latter passes.
create or replace function automation.suppress(
  tenant_id uuid, channel text, address text, reason text, detail jsonb default null, purpose text default 'all')
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into ridgeline.suppressions as s (tenant_id, channel, address, reason, detail, purpose)
    values (tenant_id, channel, address, reason, detail, suppress.purpose)
    on conflict on constraint suppressions_address_unique do update
      set reason = excluded.reason, detail = excluded.detail, purpose = excluded.purpose
      where s.reason = 'landline' and excluded.reason <> 'landline'
        or s.purpose = 'marketing' and excluded.purpose = 'all'
  $$;

comment on function automation.suppress(uuid, text, text, text, jsonb, text) is
  'Stops a channel for an address, for marketing or for all; a second call changes nothing. Raises when it is no '
  'address.';

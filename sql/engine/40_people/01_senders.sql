-- 40 PEOPLE
--
-- Whom a tenant speaks as, and what was said: senders, texts, emails, calls, forms.

-- Who a tenant speaks as. A number or an address belongs to one tenant of the installation, and only
-- whoever provisions them (the service role) says whose: it decides both who may write as it, and whose
-- an incoming message is.

create table ridgeline.senders (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  channel text not null constraint senders_channel_known check (channel in ('sms', 'email')),
  kind text not null
    constraint senders_kind_known
    check (kind in ('number', 'name', 'service', 'address', 'domain', 'environment')),
  provider text not null,
  address text not null,
  display_name text,
  label text,
  credentials text
    constraint senders_credentials_shape check (credentials ~ '^[a-z][a-z0-9_-]{0,62}$'),
  registration text not null default 'unregistered'
    constraint senders_registration_known
    check (registration in ('unregistered', 'pending', 'registered', 'exempt', 'rejected')),
  limits jsonb not null default '{}'
    constraint senders_limits_is_object check (jsonb_typeof(limits) = 'object'),
  is_default boolean not null default false,
  is_active boolean not null default true,
  verified_at timestamptz default automation.now(),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint senders_pkey primary key (tenant_id, id),
  constraint senders_kind_of_channel check (
    kind = 'environment' or (channel = 'sms') = (kind in ('number', 'name', 'service'))),
  constraint senders_address_is_normal check (case kind
    when 'number' then address ~ '^(\+[1-9]\d{6,14}|\d{3,8})$'
    when 'name' then address ~ '^[A-Za-z0-9 &_+-]{1,11}$' and address ~ '[A-Za-z]'
    when 'address' then address = lower(address) and address ~ '^[^@<>\s,;"]+@[^@<>\s,;"]+$'
    when 'domain' then address = lower(address) and address ~ '^[^@<>\s,;"]+\.[^@<>\s,;".]+$'
    else btrim(address) <> '' end),
  constraint senders_display_name_is_plain check (display_name !~ '[<>",;[:cntrl:]]')
);

comment on table ridgeline.senders is
  'The numbers, messaging services, addresses and domains that a tenant speaks as and is spoken to on. '
  'A step may name these and no others. Only whoever provisions them (the service role) writes here.';
comment on column ridgeline.senders.kind is
  'number (E.164, or a short code), name (which some carriers show instead), service (which picks the '
  'number itself), address, domain (any address in it), or environment: this tenant may speak as the '
  'sender that the dispatcher''s environment names.';
comment on column ridgeline.senders.address is 'Any notation of a number is taken and stored as E.164.';
comment on column ridgeline.senders.credentials is
  'The name of the tenant''s secret with which the provider is called (ridgeline.set_secret); null: what the '
  'dispatcher''s environment has. The secret itself is read at the send and is in no row.';
comment on column ridgeline.senders.registration is '10DLC, of a number or a service that texts the US.';
comment on column ridgeline.senders.limits is '{per_second?, per_day?}, as the provider grants them.';
comment on column ridgeline.senders.verified_at is
  'Since when it is known to be this tenant''s; null: it is not, and is neither sent from nor listened on.';

-- Only what was verified is anybody's: a claim alone keeps nobody else out.
create unique index senders_address_unique on ridgeline.senders (address, provider, channel)
  where verified_at is not null and kind <> 'environment';
create unique index senders_default_unique on ridgeline.senders (channel, tenant_id) where is_default;

create or replace function automation.normalize_sender() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.channel := coalesce(new.channel, case when new.kind in ('address', 'domain') then 'email' else 'sms' end);
  new.kind := coalesce(new.kind, case
    when new.channel = 'sms' then
      case when automation.normalize_line(new.address, automation.country_of(new.tenant_id)) is null
        then 'service' else 'number' end
    when new.address like '%@%' then 'address' else 'domain' end);
  new.provider := coalesce(new.provider, automation.setting(new.channel || '_provider'));
  new.address := case
    when new.kind = 'environment' then 'environment'
    when new.kind = 'number' then coalesce(
      automation.normalize_line(new.address, automation.country_of(new.tenant_id)), new.address)
    when new.kind in ('service', 'name') then btrim(new.address)
    else lower(btrim(new.address)) end;
  return new;
end;
$$;

create trigger senders_normalize
  before insert or update of channel, kind, provider, address on ridgeline.senders
  for each row execute function automation.normalize_sender();

create trigger senders_touch
  before update on ridgeline.senders
  for each row when (old.* is distinct from new.*)
  execute function automation.touch_updated_at();

-- The sender of the dispatcher's environment is one for all tenants, so it speaks for a tenant only where
-- there is no other, or where whoever runs the installation says so: for this tenant by a row of kind
-- environment, for all by the setting environment_serves.
create or replace function automation.environment_serves(tenant_id uuid, channel text default null)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.setting('environment_serves') = 'every_tenant'
    or exists (
      select from ridgeline.senders as s
      where s.tenant_id = environment_serves.tenant_id and s.kind = 'environment' and s.is_active
        and s.channel = environment_serves.channel)
    or not exists (select from automation.read_tenants(null) as t where t.id <> environment_serves.tenant_id);
end;
$$;

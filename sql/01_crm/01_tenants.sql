-- 01 CRM
--
-- The reference CRM: what a contractor's office writes to. The engine reads these tables through
-- the mapping that automation.attach() records (chapter 03) and knows no column of theirs by
-- heart; a CRM with other tables attaches those instead.
--
-- Tenant first: the primary key of every table is (tenant_id, id) and every reference between two
-- of them carries the tenant, so that Postgres itself refuses a job that points at another
-- tenant's contact.
--
-- Only the primary key leads with tenant_id; every other index names its own column first. A plan
-- that was made while a table was empty costs all indexes that lead with the tenant alike, may
-- pick any of them, and is kept for as long as the session: foreign key checks then read a tenant's
-- whole table for each row (measured: a bulk load became quadratic). This way there is no choice.

create table public.tenants (
  id uuid not null default gen_random_uuid() constraint tenants_pkey primary key,
  name text not null constraint tenants_name_not_blank check (btrim(name) <> ''),
  timezone text not null default 'America/New_York',
  country text not null default 'US',
  text_countries text[] not null default '{US,CA}',
  text_strangers boolean not null default false,
  phone text,
  email text,
  website text,
  address text,
  settings jsonb not null default '{}'
    constraint tenants_settings_is_object check (jsonb_typeof(settings) = 'object'),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now()
);

comment on table public.tenants is 'A contractor: the owner of every other row.';
comment on column public.tenants.timezone is
  'IANA name. Dates in conditions and messages are read and written in this zone.';

comment on column public.tenants.country is
  'Where it is: ISO 3166, two letters. Phone numbers without a country code are read there.';
comment on column public.tenants.text_countries is
  'Where texts may go, besides its own country. Nothing is sent to other countries, satellites or premium-rate '
  'numbers.';
comment on column public.tenants.text_strangers is
  'May workflows text a number that is no contact''s, not of the record that fired and not the office''s own?';

create table public.tenant_members (
  tenant_id uuid not null
    constraint tenant_members_tenant_fk references public.tenants (id) on delete cascade,
  user_id uuid not null,
  role text not null default 'member'
    constraint tenant_members_role_known check (role in ('owner', 'admin', 'member')),
  full_name text,
  email text,
  phone text,
  created_at timestamptz not null default automation.now(),
  constraint tenant_members_pkey primary key (tenant_id, user_id)
);

create index tenant_members_by_user on public.tenant_members (user_id, tenant_id);

comment on table public.tenant_members is
  'Who may see and edit a tenant''s rows. user_id is the id in auth.users. Nobody is added without their '
  'own consent: see tenant_invitations.';

-- Somebody becomes a member by saying yes to this. Only a digest of the secret is kept.
create table public.tenant_invitations (
  tenant_id uuid not null
    constraint tenant_invitations_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  email text not null constraint tenant_invitations_email_not_blank check (btrim(email) <> ''),
  role text not null default 'member'
    constraint tenant_invitations_role_known check (role in ('owner', 'admin', 'member')),
  digest bytea not null,
  invited_by uuid,
  created_at timestamptz not null default automation.now(),
  expires_at timestamptz not null,
  accepted_at timestamptz,
  constraint tenant_invitations_pkey primary key (tenant_id, id),
  constraint tenant_invitations_digest_unique unique (digest)
);

comment on table public.tenant_invitations is
  'Who was asked to join: public.invite_member() writes a row and tells the secret once, '
  'public.accept_invitation() makes the member.';

create or replace function automation.check_timezone() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known text := automation.known_zone(new.timezone);
begin
  if known is null and new.timezone is not null then
    raise exception 'timezone: "%" is not a time zone', new.timezone
      using errcode = 'invalid_parameter_value',
        hint = 'Use an IANA name such as America/Chicago.';
  end if;
  new.timezone := known;
  return new;
end;
$$;

create trigger tenants_check_timezone
  before insert or update of timezone on public.tenants
  for each row execute function automation.check_timezone();

create or replace function automation.known_country(given text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select p.country from automation.phone_plans as p
    where p.country = upper(btrim(known_country.given)) and p.country ~ '^[A-Z]'
  $$;

create or replace function automation.check_countries() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown text;
begin
  select c into unknown from unnest(new.country || new.text_countries) as c
  where automation.known_country(c) is null limit 1;
  if found then
    raise exception '%: "%" is not a country',
      case when automation.known_country(new.country) is null then 'country' else 'text_countries' end, unknown
      using errcode = 'invalid_parameter_value', hint = 'Use two letters of ISO 3166, such as US or CA.';
  end if;
  new.country := automation.known_country(new.country);
  new.text_countries := array(
    select automation.known_country(c.code) from unnest(new.text_countries) with ordinality as c (code, place)
    order by c.place);
  return new;
end;
$$;

create trigger tenants_check_countries
  before insert or update of country, text_countries on public.tenants
  for each row execute function automation.check_countries();

create or replace function automation.country_of(tenant_id uuid) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select t.country from public.tenants as t where t.id = country_of.tenant_id $$;

comment on function automation.country_of(uuid) is
  'The country in which a tenant''s numbers without a country code are read.';

-- THE REFERENCE CRM
--
-- What a contractor's office writes to, for the demo, the tests and whoever begins without a CRM. A project
-- that has its own leaves this package out: the engine knows no table of it but through the mapping that
-- 06_attach.sql tells, as it would of anybody else's.
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

create trigger tenants_check_timezone
  before insert or update of timezone on public.tenants
  for each row execute function automation.check_timezone();

create trigger tenants_check_countries
  before insert or update of country, text_countries on public.tenants
  for each row execute function automation.check_countries();

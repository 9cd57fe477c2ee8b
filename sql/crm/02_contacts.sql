create table public.contacts (
  tenant_id uuid not null
    constraint contacts_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  type text not null default 'lead',
  stage text not null default 'new',
  first_name text,
  last_name text,
  company text,
  email text,
  phone text,
  address_line1 text,
  city text,
  state text,
  postal_code text,
  timezone text,
  source text,
  assigned_to uuid,
  lead_score integer,
  custom_fields jsonb not null default '{}'
    constraint contacts_custom_fields_is_object check (jsonb_typeof(custom_fields) = 'object'),
  last_contacted_at timestamptz,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint contacts_pkey primary key (tenant_id, id)
);

comment on table public.contacts is 'Leads and customers.';
comment on column public.contacts.timezone is
  'IANA name of the zone the contact lives in; null: the tenant''s.';

-- By these the engine finds who called or wrote, in whatever way the office wrote the number or address.
create index contacts_by_phone_key on public.contacts (automation.phone_key(phone), tenant_id);
create index contacts_by_email_key on public.contacts (automation.email_key(email), tenant_id);
create index contacts_by_stage on public.contacts (stage, tenant_id);

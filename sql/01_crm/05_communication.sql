-- What was said, on every channel. The engine writes a row for each message it sent, in the
-- transaction that records the send; webhooks from the providers write the rest. What a member notes
-- down is a record of theirs, with 'manual' for a provider: no customer said it, and no provider reports on it.

create or replace function automation.mark_manual() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.provider := 'manual';
  new.provider_id := null;
  return new;
end;
$$;

create table public.messages (
  tenant_id uuid not null
    constraint messages_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
  contact_id uuid,
  direction text not null
    constraint messages_direction_known check (direction in ('inbound', 'outbound')),
  from_number text,
  to_number text,
  body text,
  status text not null default 'received',
  provider text not null default 'twilio',
  provider_id text,
  error_code text,
  execution_id uuid,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint messages_pkey primary key (tenant_id, id),
  constraint messages_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

comment on table public.messages is 'Text messages, in and out.';

create trigger messages_mark_manual
  before insert on public.messages
  for each row when (current_user = 'authenticated')
  execute function automation.mark_manual();

create index messages_by_contact on public.messages (contact_id, tenant_id, created_at);
create index messages_from_outside
  on public.messages (from_number, tenant_id, created_at) where direction = 'inbound';
create unique index messages_provider_id_unique on public.messages (provider_id, tenant_id, provider);

create table public.emails (
  tenant_id uuid not null
    constraint emails_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
  contact_id uuid,
  direction text not null default 'outbound'
    constraint emails_direction_known check (direction in ('inbound', 'outbound')),
  from_address text,
  to_address text,
  subject text,
  html text,
  text text,
  status text not null default 'sent',
  provider text not null default 'resend',
  provider_id text,
  execution_id uuid,
  opened_at timestamptz,
  clicked_at timestamptz,
  is_automatic boolean not null default false,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint emails_pkey primary key (tenant_id, id),
  constraint emails_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

comment on column public.emails.is_automatic is
  'Of an email that came in: a machine wrote it (out of office, a bounce, a newsletter). It is kept, and is no '
  'reply: email_received does not fire.';

create trigger emails_mark_manual
  before insert on public.emails
  for each row when (current_user = 'authenticated')
  execute function automation.mark_manual();

create index emails_by_contact on public.emails (contact_id, tenant_id, created_at);
create unique index emails_provider_id_unique on public.emails (provider_id, tenant_id, provider);

create table public.calls (
  tenant_id uuid not null
    constraint calls_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
  contact_id uuid,
  direction text not null default 'inbound'
    constraint calls_direction_known check (direction in ('inbound', 'outbound')),
  from_number text,
  to_number text,
  status text not null,
  duration_seconds integer,
  provider text not null default 'twilio',
  provider_id text,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint calls_pkey primary key (tenant_id, id),
  constraint calls_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

create trigger calls_mark_manual
  before insert on public.calls
  for each row when (current_user = 'authenticated')
  execute function automation.mark_manual();

create index calls_by_contact on public.calls (contact_id, tenant_id, created_at);
create index calls_from_outside
  on public.calls (from_number, tenant_id, created_at) where direction = 'inbound';
create unique index calls_provider_id_unique on public.calls (provider_id, tenant_id, provider);

create table public.form_submissions (
  tenant_id uuid not null
    constraint form_submissions_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
  form text not null,
  contact_id uuid,
  data jsonb not null default '{}'
    constraint form_submissions_data_is_object check (jsonb_typeof(data) = 'object'),
  email text,
  phone text,
  understood jsonb not null default '{}'
    constraint form_submissions_understood_is_object check (jsonb_typeof(understood) = 'object'),
  is_trusted boolean not null default true,
  is_contact_new boolean not null default false,
  created_at timestamptz not null default automation.now(),
  constraint form_submissions_pkey primary key (tenant_id, id),
  constraint form_submissions_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

comment on column public.form_submissions.data is 'What was posted, as it was posted.';
comment on column public.form_submissions.understood is
  'What was understood of it, under the names that contacts have: first_name, email, phone, city ...';
comment on column public.form_submissions.is_trusted is
  'False: it came through a public form, so its words are a stranger''s. Messages of its runs carry them '
  'cut and without links, and nothing of a contact that was known before.';
comment on column public.form_submissions.is_contact_new is
  'The contact was made of this submission.';

create index form_submissions_by_contact on public.form_submissions (contact_id, tenant_id);

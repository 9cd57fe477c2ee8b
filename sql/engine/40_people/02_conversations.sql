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

-- Of a row that does not say it. A member's is marked as manual whatever stands here, and members may not read
-- settings: a CASE would ask them for the right to, whichever way it goes.
create or replace function automation.default_provider(channel text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_user = 'authenticated' then
    return 'manual';
  end if;
  return automation.setting(channel || '_provider');
end;
$$;

create table ridgeline.messages (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  contact_id text,
  direction text not null
    constraint messages_direction_known check (direction in ('inbound', 'outbound')),
  from_number text,
  to_number text,
  body text,
  status text not null default 'received',
  provider text not null default automation.default_provider('sms'),
  provider_id text,
  error_code text,
  execution_id uuid,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint messages_pkey primary key (tenant_id, id)
);

comment on table ridgeline.messages is 'Text messages, in and out.';

create trigger messages_mark_manual
  before insert on ridgeline.messages
  for each row when (current_user = 'authenticated')
  execute function automation.mark_manual();

create index messages_by_contact on ridgeline.messages (contact_id, tenant_id, created_at);
create index messages_from_outside
  on ridgeline.messages (from_number, tenant_id, created_at) where direction = 'inbound';
create unique index messages_provider_id_unique on ridgeline.messages (provider_id, tenant_id, provider);

create table ridgeline.emails (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  contact_id text,
  direction text not null default 'outbound'
    constraint emails_direction_known check (direction in ('inbound', 'outbound')),
  from_address text,
  to_address text,
  subject text,
  html text,
  text text,
  status text not null default 'sent',
  provider text not null default automation.default_provider('email'),
  provider_id text,
  execution_id uuid,
  opened_at timestamptz,
  clicked_at timestamptz,
  is_automatic boolean not null default false,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint emails_pkey primary key (tenant_id, id)
);

comment on column ridgeline.emails.is_automatic is
  'Of an email that came in: a machine wrote it (out of office, a bounce, a newsletter), or, by the verdict of the '
  'provider, somebody else than it names. It is kept, and is no reply: email_received does not fire.';

create trigger emails_mark_manual
  before insert on ridgeline.emails
  for each row when (current_user = 'authenticated')
  execute function automation.mark_manual();

create index emails_by_contact on ridgeline.emails (contact_id, tenant_id, created_at);
create unique index emails_provider_id_unique on ridgeline.emails (provider_id, tenant_id, provider);

create table ridgeline.calls (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  contact_id text,
  direction text not null default 'inbound'
    constraint calls_direction_known check (direction in ('inbound', 'outbound')),
  from_number text,
  to_number text,
  status text not null,
  duration_seconds integer,
  provider text not null default automation.default_provider('sms'),
  provider_id text,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint calls_pkey primary key (tenant_id, id)
);

create trigger calls_mark_manual
  before insert on ridgeline.calls
  for each row when (current_user = 'authenticated')
  execute function automation.mark_manual();

create index calls_by_contact on ridgeline.calls (contact_id, tenant_id, created_at);
create index calls_from_outside
  on ridgeline.calls (from_number, tenant_id, created_at) where direction = 'inbound';
create unique index calls_provider_id_unique on ridgeline.calls (provider_id, tenant_id, provider);

create table ridgeline.form_submissions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  form text not null,
  contact_id text,
  data jsonb not null default '{}'
    constraint form_submissions_data_is_object check (jsonb_typeof(data) = 'object'),
  email text,
  phone text,
  understood jsonb not null default '{}'
    constraint form_submissions_understood_is_object check (jsonb_typeof(understood) = 'object'),
  is_trusted boolean not null default true,
  is_contact_new boolean not null default false,
  created_at timestamptz not null default automation.now(),
  constraint form_submissions_pkey primary key (tenant_id, id)
);

comment on column ridgeline.form_submissions.data is 'What was posted, as it was posted.';
comment on column ridgeline.form_submissions.understood is
  'What was understood of it, under the names that contacts have: first_name, email, phone, city ...';
comment on column ridgeline.form_submissions.is_trusted is
  'False: it came through a public form, so its words are a stranger''s. Messages of its runs carry them '
  'cut and without links, and nothing of a contact that was known before.';
comment on column ridgeline.form_submissions.is_contact_new is
  'The contact was made of this submission.';

create index form_submissions_by_contact on ridgeline.form_submissions (contact_id, tenant_id);

do $$
declare
  touched text;
begin
  foreach touched in array '{tenant_settings,messages,emails,calls}'::text[] loop
    execute format(
      'create trigger %I before update on ridgeline.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      touched || '_touch', touched);
  end loop;
end;
$$;

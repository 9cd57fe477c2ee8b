-- Generated from sql/ by scripts/migrations. Edit there.

-- Functions may name what a later chapter creates.
set check_function_bodies = off;

-- sql/00_foundation/01_schema.sql

-- 00 FOUNDATION
--
-- What every later chapter stands on: the private schema, identifiers, the clock, settings and
-- the way errors are raised. Nothing here knows about a CRM or a workflow, and nothing here
-- takes a row lock that a later chapter could wait for.

create schema if not exists automation;

comment on schema automation is
  'Ridgeline''s engine. Not exposed through the Data API; clients call the functions in public.';

revoke all on schema automation from public;

-- sql/00_foundation/02_ids.sql

-- Identifiers of rows that are written at a high rate are time-ordered (UUID version 7, RFC 9562),
-- so that an insert touches the last page of an index and not a random one. Postgres has
-- uuidv7() from 18; before that the same layout is put together from its parts: 48 bits of milliseconds,
-- the version, 12 bits of their fraction (so that what one transaction writes keeps its order), and lot.

do $$
begin
  if current_setting('server_version_num')::int >= 180000 then
    create or replace function automation.new_id() returns uuid
      language sql volatile parallel safe
      return uuidv7();
  else
    create or replace function automation.new_id() returns uuid
      language sql volatile parallel safe
      return (
        overlay(
          lpad(to_hex((extract(epoch from clock_timestamp()) * 4096000)::bigint), 15, '0')
          placing '7' from 13 for 0)
        || substr(gen_random_uuid()::text, 20))::uuid;
  end if;
end;
$$;

comment on function automation.new_id() is
  'A time-ordered UUID (version 7). The body is bound when it is created, so it needs no '
  'search_path of its own and can be inlined into column defaults.';

-- sql/00_foundation/03_settings.sql

-- Settings an operator may change while the engine runs: one row a setting. They are read a few
-- times a transaction, never once a row.

create table automation.settings (
  name text constraint settings_pkey primary key,
  value text not null,
  description text not null
);

comment on table automation.settings is
  'Engine-wide settings. Change one with: update automation.settings set value = ... where name = ...';

insert into automation.settings (name, value, description) values
  ('doorbell', 'none',
   'How a commit tells the dispatcher that work is due: pg_net, notify or none (polling only).'),
  ('max_causation_depth', '10',
   'A write made by an automation may start another automation; a chain deeper than this is refused.'),
  ('max_enrollments', '25',
   'How often one record may enter one workflow within enrollment_window.'),
  ('enrollment_window', '1 hour',
   'The window of max_enrollments, an interval.'),
  ('max_attempts', '8',
   'Attempts at a send or a webhook before its step fails.'),
  ('retry_base', '10 seconds',
   'Backoff before the second attempt; it doubles with every attempt, with full jitter.'),
  ('retry_cap', '1 hour',
   'The longest backoff between two attempts.'),
  ('reconcile_delay', '20 seconds',
   'The least time between an attempt that may have been accepted and looking it up.'),
  ('sms_provider', 'twilio', 'Who carries text messages, where a sender does not say.'),
  ('email_provider', 'resend', 'Who carries email, where a sender does not say.'),
  ('environment_serves', 'single_tenant',
   'Whom the sender and the signing secret in the dispatcher''s environment serve: single_tenant (nobody, '
   'once there is a second tenant) or every_tenant (development, and offices of one company).'),
  ('max_cut_offs', '3',
   'How often work on one step may be cut off (a timeout, a crash) before the step fails.'),
  ('cut_off_pause', '5 seconds',
   'How long such a step is left alone the first time; four times as long each time after that.');

-- A setting that cannot be read would fail the customer's write that reads it, so it is refused here.
create or replace function automation.check_setting() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if new.name in (
    'enrollment_window', 'retry_base', 'retry_cap', 'reconcile_delay', 'cut_off_pause')
    and new.value::interval < interval '0' then
    raise exception 'value: % cannot be negative', new.name;
  elsif new.name in (
    'max_causation_depth', 'max_enrollments', 'max_attempts', 'max_cut_offs')
    and new.value::integer not between 1 and 10000 then
    raise exception 'value: % must be from 1 to 10000', new.name;
  elsif new.name = 'environment_serves' and new.value not in ('single_tenant', 'every_tenant') then
    raise exception 'value: environment_serves must be single_tenant or every_tenant';
  elsif new.name = 'doorbell' and new.value not in ('pg_net', 'notify', 'none') then
    raise exception 'value: doorbell must be pg_net, notify or none';
  end if;
  return new;
exception when others then
  raise exception 'value: "%" is no value for %: %', left(new.value, 60), new.name, sqlerrm
    using errcode = 'invalid_parameter_value';
end;
$$;

create trigger settings_check
  before insert or update on automation.settings
  for each row execute function automation.check_setting();

create or replace function automation.setting(name text) returns text
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select s.value from automation.settings as s where s.name = setting.name $$;

comment on function automation.setting(text) is
  'The value of an engine setting, as text; null when there is no such setting.';

-- sql/00_foundation/04_clock.sql

-- Business time. Every "when" that a workflow can see (due times, backoff, timestamps in history)
-- comes from automation.now(), so that a ten-day workflow runs in milliseconds in a test. Leases
-- are about real processes and use the real clock instead.
--
-- The test clock is an offset from the real one: it keeps ticking from where it was set, and it
-- stands still within a transaction, as now() does.

create table automation.clock (
  singleton boolean not null default true
    constraint clock_pkey primary key
    constraint clock_has_one_row check (singleton),
  ahead_by interval not null
);

comment on table automation.clock is
  'How far the test clock runs ahead of the real one. Empty: it does not.';

create or replace function automation.test_now() returns timestamptz
  language sql stable parallel safe
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select transaction_timestamp()
      + coalesce((select c.ahead_by from automation.clock as c), interval '0')
  $$;

-- No search_path setting: it would forbid inlining, and this runs in column defaults and in every
-- claim. Every name and operator is qualified instead.
create or replace function automation.now() returns timestamptz
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('automation.test_clock', true) operator(pg_catalog.=) 'on'
      then automation.test_now()
      else pg_catalog.transaction_timestamp()
    end
  $$;

comment on function automation.now() is
  'The engine''s time: transaction_timestamp(), or the test clock where automation.test_clock is on.';

create or replace function automation.require_test_clock() returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_setting('automation.test_clock', true) is distinct from 'on' then
    raise exception 'the test clock is off in this database'
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'Test databases turn it on with: alter database ... set automation.test_clock = on';
  end if;
end;
$$;

create or replace function automation.set_clock(to_time timestamptz) returns timestamptz
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.require_test_clock();
  if to_time is null or not isfinite(to_time) then
    raise exception 'to_time: a finite timestamp is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into automation.clock (ahead_by)
  values (to_time - transaction_timestamp())
  on conflict on constraint clock_pkey do update set ahead_by = excluded.ahead_by;
  return automation.now();
end;
$$;

comment on function automation.set_clock(timestamptz) is
  'Sets the test clock; it ticks on from there. Refused unless automation.test_clock is on.';

create or replace function automation.advance_clock(by_interval interval) returns timestamptz
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.require_test_clock();
  if by_interval is null then
    raise exception 'by_interval: an interval such as ''24 hours'' is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  insert into automation.clock (ahead_by)
  values (by_interval)
  on conflict on constraint clock_pkey
    do update set ahead_by = automation.clock.ahead_by + excluded.ahead_by;
  return automation.now();
end;
$$;

comment on function automation.advance_clock(interval) is
  'Moves the test clock forward (or back, with a negative interval) and returns the new time.';

create or replace function automation.reset_clock() returns timestamptz
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.require_test_clock();
  delete from automation.clock;
  return automation.now();
end;
$$;

comment on function automation.reset_clock() is 'Puts the test clock back on the real time.';

-- sql/00_foundation/05_vocabulary.sql

-- The words that several chapters share.

-- In this order on purpose: whatever sorts from 'completed' on has ended.
create type public.automation_status as enum (
  'pending', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'skipped');

comment on type public.automation_status is
  'Status of an execution and of a step; from completed on it has ended.';

create type public.automation_lane as enum ('database', 'sms', 'email', 'webhook');

comment on type public.automation_lane is
  'Where a step runs. database: inside Postgres, exactly once. The channels: claimed by the dispatcher, '
  'at least once, each with places of its own, so that a slow one holds up no other.';

create or replace function automation.channels() returns public.automation_lane[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '{sms,email,webhook}'::public.automation_lane[] $$;

-- sql/00_foundation/06_emails.sql

-- Email addresses and what people and programs leave around a value.

-- Marks of direction, variants, joiners, byte order marks, soft hyphens, tags, fillers and controls are
-- copied along with a number or an address and are never part of it; any kind of blank is a blank.
create or replace function automation.visible_text(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select btrim(case
      when given !~ '[^ -~]' then given
      else regexp_replace(
        regexp_replace(given,
          '[\t-\r\u0085\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]', ' ', 'g'),
        '[\u0001-\u001F\u007F-\u009F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180F\u200B-\u200F'
        '\u202A-\u202E\u2060-\u206F\u3164\uFE00-\uFE0F\uFEFF\uFFA0\uFFF0-\uFFFC\U000E0000-\U000E0FFF]',
        '', 'g')
    end)
  $$;

comment on function automation.visible_text(text) is
  'Without what cannot be seen; every kind of blank and line break is a blank, none at the ends.';

-- What a Japanese keyboard writes for ASCII.
create or replace function automation.half_width(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when given !~ '[\uFF01-\uFF5E]' then given else translate(given,
      '！＂＃＄％＆＇（）＊＋，－．／０１２３４５６７８９：；＜＝＞？＠ＡＢＣＤＥＦＧＨＩＪＫＬＭＮＯＰＱＲＳＴＵＶＷＸＹＺ［＼］＾＿｀'
      'ａｂｃｄｅｆｇｈｉｊｋｌｍｎｏｐｑｒｓｔｕｖｗｘｙｚ｛｜｝～',
      '!"#$%&''()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\]^_`abcdefghijklmnopqrstuvwxyz{|}~') end
  $$;

-- One bare address. What could hold a second one or end a header (comma, semicolon, quotes, brackets, a
-- blank) is in none; neither are quoted local parts, which the providers refuse.
create or replace function automation.normalize_email(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select a.address
    from (
      -- In the normal form NFC, which is what normalize() makes.
      select lower(normalize(btrim(regexp_replace(
        regexp_replace(automation.half_width(automation.visible_text(given)), '^<([^<>]*)>$', '\1'),
        '^\s*mailto:([^?]*)(\?.*)?$', '\1', 'i')))) as address
    ) as a
    where a.address ~ (
        '^[^\s@<>()\[\]\\,;:".]+(\.[^\s@<>()\[\]\\,;:".]+)*@'
        '([^\u0001-,/:-@\[-`{-\u007F\s.-]([^\u0001-,/:-@\[-`{-\u007F\s.]*[^\u0001-,/:-@\[-`{-\u007F\s.-])?\.)+'
        '[^\u0001-@\[-`{-\u007F\s][^\u0001-,/:-@\[-`{-\u007F\s.]*[^\u0001-,/:-@\[-`{-\u007F\s.-]$')
      and octet_length(split_part(a.address, '@', 1)) <= 64 and octet_length(a.address) <= 254
  $$;

comment on function automation.normalize_email(text) is
  'One email address as everything compares it: lower case, without blanks, line breaks and invisible '
  'characters around it; "mailto:" and angle brackets are dropped. Null when it is not exactly one.';

-- sql/00_foundation/06_order.sql

-- Order. An event may end a run, or be what it waits for: which of them came first? now() cannot tell: it is
-- the same for two writes of one transaction, and that of a long transaction lies in the past. So runs, steps
-- and events take a number at the write (seq), and say who wrote them (written_by) and what had committed by
-- then (seen). An event that had not came after, whatever its number: the side that sends nothing wins.
--
-- Never cached: a session would draw its numbers in advance, and late ones would look early.

create sequence automation.write_order cache 1;

create or replace function automation.came_after(
  event_seq bigint, event_by xid8, seq bigint, written_by xid8, seen pg_snapshot)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select event_seq > seq or event_by <> written_by and not pg_visible_in_snapshot(event_by, seen)
  $$;

comment on function automation.came_after(bigint, xid8, bigint, xid8, pg_snapshot) is
  'Did an event come after something that was written with seq by written_by, having seen so much?';

-- sql/01_crm/01_tenants.sql

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

-- sql/01_crm/02_contacts.sql

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

create index contacts_by_phone on public.contacts (phone, tenant_id);
create index contacts_by_email on public.contacts (lower(email), tenant_id);
create index contacts_by_stage on public.contacts (stage, tenant_id);

-- sql/01_crm/03_projects_jobs.sql

create table public.projects (
  tenant_id uuid not null
    constraint projects_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  contact_id uuid,
  name text,
  type text,
  status text not null default 'open',
  pipeline_stage text not null default 'new',
  value numeric(14, 2),
  description text,
  assigned_to uuid,
  appointment_at timestamptz,
  custom_fields jsonb not null default '{}'
    constraint projects_custom_fields_is_object check (jsonb_typeof(custom_fields) = 'object'),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint projects_pkey primary key (tenant_id, id),
  constraint projects_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

comment on table public.projects is 'A sale on its way through the pipeline, and the work it becomes.';

create index projects_by_contact on public.projects (contact_id, tenant_id);
create index projects_by_stage on public.projects (pipeline_stage, tenant_id);

create table public.jobs (
  tenant_id uuid not null
    constraint jobs_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  project_id uuid,
  contact_id uuid,
  name text,
  status text not null default 'scheduled',
  scheduled_at timestamptz,
  completed_at timestamptz,
  assigned_to uuid,
  custom_fields jsonb not null default '{}'
    constraint jobs_custom_fields_is_object check (jsonb_typeof(custom_fields) = 'object'),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint jobs_pkey primary key (tenant_id, id),
  constraint jobs_project_fk foreign key (tenant_id, project_id)
    references public.projects (tenant_id, id) on delete set null (project_id),
  constraint jobs_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

comment on table public.jobs is 'A visit or a piece of work on site.';

create index jobs_by_project on public.jobs (project_id, tenant_id);
create index jobs_by_contact on public.jobs (contact_id, tenant_id);

-- sql/01_crm/04_tasks_tags.sql

create table public.tasks (
  tenant_id uuid not null
    constraint tasks_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  contact_id uuid,
  project_id uuid,
  job_id uuid,
  title text not null constraint tasks_title_not_blank check (btrim(title) <> ''),
  description text,
  status text not null default 'open',
  priority text not null default 'normal',
  due_at timestamptz,
  assigned_to uuid,
  execution_id uuid,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint tasks_pkey primary key (tenant_id, id),
  constraint tasks_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete cascade,
  constraint tasks_project_fk foreign key (tenant_id, project_id)
    references public.projects (tenant_id, id) on delete set null (project_id),
  constraint tasks_job_fk foreign key (tenant_id, job_id)
    references public.jobs (tenant_id, id) on delete set null (job_id)
);

comment on column public.tasks.execution_id is 'The workflow execution that created the task.';

create index tasks_by_contact on public.tasks (contact_id, tenant_id);
create index tasks_by_project on public.tasks (project_id, tenant_id);
create index tasks_by_job on public.tasks (job_id, tenant_id);
create index tasks_by_due on public.tasks (status, tenant_id, due_at);

create table public.tags (
  tenant_id uuid not null
    constraint tags_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null constraint tags_name_not_blank check (btrim(name) <> ''),
  created_at timestamptz not null default automation.now(),
  constraint tags_pkey primary key (tenant_id, id)
);

create unique index tags_name_unique on public.tags (lower(name), tenant_id);

create table public.contact_tags (
  tenant_id uuid not null,
  contact_id uuid not null,
  tag_id uuid not null,
  created_at timestamptz not null default automation.now(),
  constraint contact_tags_pkey primary key (tenant_id, contact_id, tag_id),
  constraint contact_tags_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete cascade,
  constraint contact_tags_tag_fk foreign key (tenant_id, tag_id)
    references public.tags (tenant_id, id) on delete cascade
);

create index contact_tags_by_tag on public.contact_tags (tag_id, tenant_id);

-- sql/01_crm/05_communication.sql

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
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint emails_pkey primary key (tenant_id, id),
  constraint emails_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

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
create unique index calls_provider_id_unique on public.calls (provider_id, tenant_id, provider);

create table public.form_submissions (
  tenant_id uuid not null
    constraint form_submissions_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
  form text not null,
  contact_id uuid,
  data jsonb not null default '{}'
    constraint form_submissions_data_is_object check (jsonb_typeof(data) = 'object'),
  created_at timestamptz not null default automation.now(),
  constraint form_submissions_pkey primary key (tenant_id, id),
  constraint form_submissions_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

create index form_submissions_by_contact on public.form_submissions (contact_id, tenant_id);

-- sql/01_crm/06_touch.sql

-- updated_at follows every real change and no other.

create or replace function automation.touch_updated_at() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.updated_at := automation.now();
  return new;
end;
$$;

do $$
declare
  touched text;
begin
  foreach touched in array array[
    'tenants', 'contacts', 'projects', 'jobs', 'tasks', 'messages', 'emails', 'calls'
  ] loop
    execute format(
      'create trigger %I before update on public.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      touched || '_touch', touched);
  end loop;
end;
$$;

-- sql/01_crm/07_inbound.sql

-- Where words from outside come in: which forms there are, and what providers
-- report about messages that were sent.

create or replace function automation.normalize_line(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(automation.normalize_phone(given), substring(given from '^\s*(\d{4,6})\s*$')) $$;

comment on function automation.normalize_line(text) is
  'E.164, or the digits of a short code; null when it is neither.';

-- A caller is looked for by the last ten digits, in whatever notation the office wrote them.
create index contacts_by_phone_digits on public.contacts (
  (right(regexp_replace(phone, '\D', '', 'g'), 10)), tenant_id) where phone is not null;

alter table public.messages
  add column opt_out_type text
    constraint messages_opt_out_type_known check (opt_out_type in ('STOP', 'START', 'HELP')),
  add column media_urls text[];

comment on column public.messages.opt_out_type is
  'What Twilio''s Advanced Opt-Out took the message for; null: it did not say.';

create table public.forms (
  tenant_id uuid not null
    constraint forms_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  public_key text not null default 'form_' || replace(gen_random_uuid()::text, '-', '')
    constraint forms_public_key_shape check (public_key ~ '^form_[0-9a-z]{16,64}$'),
  name text not null constraint forms_name_not_blank check (btrim(name) <> ''),
  is_active boolean not null default true,
  allowed_origins text[] not null default '{}',
  required_fields text[] not null default '{}',
  field_map jsonb not null default '{}'
    constraint forms_field_map_is_object check (jsonb_typeof(field_map) = 'object'),
  honeypot text not null default 'hp_website'
    constraint forms_honeypot_not_blank check (btrim(honeypot) <> ''),
  redirect_url text
    constraint forms_redirect_url_is_http check (redirect_url ~ '^https?://[^\s]+$'),
  max_per_hour integer not null default 200
    constraint forms_max_per_hour_in_range check (max_per_hour between 1 and 100000),
  max_per_source_per_hour integer not null default 20
    constraint forms_max_per_source_in_range check (max_per_source_per_hour between 1 and 100000),
  duplicate_window interval not null default '10 minutes'
    constraint forms_duplicate_window_in_range
    check (duplicate_window between interval '0' and interval '1 day'),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint forms_pkey primary key (tenant_id, id),
  constraint forms_public_key_unique unique (public_key)
);

comment on table public.forms is
  'Forms on a tenant''s web site. Whoever knows the public key may submit, within the limits.';
comment on column public.forms.allowed_origins is
  'Web sites that may post, such as https://apexroofing.example; * for any. A post without an '
  'Origin header comes from a server and is not held to it.';
comment on column public.forms.field_map is
  'The form''s own field names to columns of contacts, such as {"your-tel": "phone"}. The usual '
  'names (email, phone, first_name, name, zip ...) need no entry.';
comment on column public.forms.honeypot is
  'A field that people do not see. A post that fills it is answered like any other and dropped.';
comment on column public.forms.redirect_url is
  'Where a browser without JavaScript goes after the post.';
comment on column public.forms.duplicate_window is
  'The same content within this time is one submission.';

create trigger forms_touch
  before update on public.forms
  for each row when (old.* is distinct from new.*)
  execute function automation.touch_updated_at();

-- Both tables are about the last hours only; each post deletes a few rows that have served.
create table automation.form_posts (
  tenant_id uuid not null,
  form_id uuid not null,
  digest bytea not null,
  received_at timestamptz not null,
  constraint form_posts_pkey primary key (tenant_id, form_id, digest),
  constraint form_posts_form_fk foreign key (tenant_id, form_id)
    references public.forms (tenant_id, id) on delete cascade
);

create index form_posts_by_age on automation.form_posts (received_at);

comment on table automation.form_posts is
  'Digests of what was posted lately: the same again is a double click.';

create table automation.form_rates (
  tenant_id uuid not null,
  form_id uuid not null,
  source bytea not null,
  window_start timestamptz not null,
  posts integer not null,
  constraint form_rates_pkey primary key (tenant_id, form_id, source),
  constraint form_rates_form_fk foreign key (tenant_id, form_id)
    references public.forms (tenant_id, id) on delete cascade
);

create index form_rates_by_age on automation.form_rates (window_start);

comment on table automation.form_rates is
  'Posts within the current hour, of each source and (source empty) of the form as a whole. Never '
  'more rows than posts that the forms take in an hour, plus what waits to be deleted.';
comment on column automation.form_rates.source is
  'A digest of where the post came from; addresses themselves are not kept.';

alter table public.emails
  add column delivered_at timestamptz,
  add column error_code text;

create table public.email_events (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  email_id uuid not null,
  contact_id uuid,
  type text not null
    constraint email_events_type_known
    check (type in ('delivered', 'delivery_delayed', 'bounced', 'complained', 'failed', 'suppressed',
      'opened', 'clicked')),
  is_machine boolean not null default false,
  machine_reason text,
  link text,
  user_agent text,
  detail jsonb,
  occurred_at timestamptz not null,
  created_at timestamptz not null default automation.now(),
  constraint email_events_pkey primary key (tenant_id, id),
  constraint email_events_email_fk foreign key (tenant_id, email_id)
    references public.emails (tenant_id, id) on delete cascade,
  constraint email_events_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id)
);

comment on table public.email_events is
  'What became of an email, event by event. emails.opened_at and clicked_at follow people only; '
  'here machines are kept too.';
comment on column public.email_events.machine_reason is
  'soon_after_delivery, every_link_at_once or known_agent.';

create index email_events_by_email on public.email_events (email_id, tenant_id, occurred_at);
create index email_events_by_contact on public.email_events (contact_id, tenant_id);

create table automation.provider_events (
  provider text not null,
  event_id text not null,
  received_at timestamptz not null,
  constraint provider_events_pkey primary key (provider, event_id)
);

create index provider_events_by_age on automation.provider_events (received_at);

comment on table automation.provider_events is
  'Events that were taken in already; the same again changes nothing. Kept for thirty days.';

create table automation.early_events (
  id uuid not null default automation.new_id() constraint early_events_pkey primary key,
  provider text not null,
  provider_id text not null,
  event jsonb not null,
  received_at timestamptz not null
);

create index early_events_by_provider_id on automation.early_events (provider_id, provider);
create index early_events_by_age on automation.early_events (received_at);

comment on table automation.early_events is
  'Reports about a message that is not recorded yet: providers can be quicker than the dispatcher. '
  'They are applied when its row is written, and dropped after a day.';

-- sql/01_crm/08_senders.sql

-- Who a tenant speaks as. A number or an address belongs to one tenant of the installation, and only
-- whoever provisions them (the service role) says whose: it decides both who may write as it, and whose
-- an incoming message is.

create table public.senders (
  tenant_id uuid not null
    constraint senders_tenant_fk references public.tenants (id) on delete cascade,
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

comment on table public.senders is
  'The numbers, messaging services, addresses and domains that a tenant speaks as and is spoken to on. '
  'A step may name these and no others. Only whoever provisions them (the service role) writes here.';
comment on column public.senders.kind is
  'number (E.164, or a short code), name (which some carriers show instead), service (which picks the '
  'number itself), address, domain (any address in it), or environment: this tenant may speak as the sender that the dispatcher''s environment names.';
comment on column public.senders.address is 'Any notation of a number is taken and stored as E.164.';
comment on column public.senders.credentials is
  'The name of the tenant''s secret with which the provider is called (public.set_secret); null: what the '
  'dispatcher''s environment has. The secret itself is read at the send and is in no row.';
comment on column public.senders.registration is '10DLC, of a number or a service that texts the US.';
comment on column public.senders.limits is '{per_second?, per_day?}, as the provider grants them.';
comment on column public.senders.verified_at is
  'Since when it is known to be this tenant''s; null: it is not, and is neither sent from nor listened on.';

-- Only what was verified is anybody's: a claim alone keeps nobody else out.
create unique index senders_address_unique on public.senders (address, provider, channel)
  where verified_at is not null and kind <> 'environment';
create unique index senders_default_unique on public.senders (channel, tenant_id) where is_default;

create or replace function automation.normalize_sender() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.channel := coalesce(new.channel, case when new.kind in ('address', 'domain') then 'email' else 'sms' end);
  new.kind := coalesce(new.kind, case
    when new.channel = 'sms' then
      case when automation.normalize_line(new.address) is null then 'service' else 'number' end
    when new.address like '%@%' then 'address' else 'domain' end);
  new.provider := coalesce(new.provider, automation.setting(new.channel || '_provider'));
  new.address := case
    when new.kind = 'environment' then 'environment'
    when new.kind = 'number' then coalesce(automation.normalize_line(new.address), new.address)
    when new.kind in ('service', 'name') then btrim(new.address)
    else lower(btrim(new.address)) end;
  return new;
end;
$$;

create trigger senders_normalize
  before insert or update of channel, kind, provider, address on public.senders
  for each row execute function automation.normalize_sender();

create trigger senders_touch
  before update on public.senders
  for each row when (old.* is distinct from new.*)
  execute function automation.touch_updated_at();

-- sql/02_definitions/01_registry.sql

-- 02 DEFINITIONS
--
-- What the office sets up, and what the engine makes of it.
--
--   workflows, workflow_steps   authoring rows: people edit them, nothing runs from them
--   workflow_versions           a published workflow: validated, compiled, never changed again
--   active_triggers             which published version listens to which event: what capture reads
--
-- Publishing is the only road from the first to the others. Lock order: the workflows row, then
-- inserts. Nothing outside this chapter writes here, and nothing here waits for an execution.

create table automation.trigger_types (
  name text constraint trigger_types_pkey primary key,
  entity text,
  kind text not null
    constraint trigger_types_kind_known
    check (kind in ('created', 'updated', 'changed', 'becomes', 'time', 'manual')),
  column_name text,
  becomes text,
  on_insert boolean not null default false,
  description text not null,
  constraint trigger_types_column_matches_kind check (
    case kind
      when 'becomes' then column_name is not null and becomes is not null
      else becomes is null
    end)
);

comment on table automation.trigger_types is
  'Every event a workflow can listen to. automation.attach() adds those of an attached table.';

insert into automation.trigger_types (name, entity, kind, description) values
  ('field_changed', null, 'changed', 'A named field of a record changed.'),
  ('time_elapsed', null, 'time', 'A time before or after a date of a record.'),
  ('scheduled', null, 'time', 'A time of day, week or month.'),
  ('manual', null, 'manual', 'Started by hand or by another program.');

create table automation.step_types (
  name text constraint step_types_pkey primary key,
  lane public.automation_lane not null,
  branches text[],
  description text not null,
  config_schema jsonb not null
    constraint step_types_schema_is_object check (jsonb_typeof(config_schema) = 'object')
);

comment on table automation.step_types is 'Every step a workflow can take.';
comment on column automation.step_types.branches is
  'The branches that steps can be put on; empty: step_config names them; null: there are none.';
comment on column automation.step_types.config_schema is
  'JSON Schema (draft 2020-12) of step_config in its canonical spelling. automation.check_schema() '
  'reads it when a workflow is published; functions/_shared/steps.ts and docs/steps.md come from it.';

-- A schema says what a reader needs to know, and its formats name the grammars that cannot be said
-- in JSON Schema (automation.format_holds). Two keywords are borrowed from ajv's: errorMessage
-- replaces what would be said of a value, uniqueItemProperties keeps names apart.
insert into automation.step_types (name, lane, branches, description, config_schema)
select s.name, s.lane::public.automation_lane, s.branches::text[], s.description,
  jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema', 'title', s.name, 'type', 'object')
  || s.config_schema::jsonb
from (values
  ('send_sms', 'sms', null, 'Sends a text message through Twilio.', $schema${
    "required": ["body"],
    "properties": {
      "body": {"type": "string", "format": "template", "minLength": 1, "description": "The text."},
      "to": {"type": "string", "format": "template",
        "description": "A phone number. Default: the contact's."},
      "from": {"type": "string", "format": "template",
        "description": "One of your senders' numbers. Default: your default sender."},
      "messaging_service_sid": {"type": "string", "format": "template",
        "description": "One of your senders that picks the number itself."},
      "media_urls": {"type": ["array", "string"], "format": "template",
        "items": {"type": "string", "format": "template"},
        "description": "Pictures to send along: URLs, or a template that gives a list of them."}
    },
    "examples": [{"body": "Hi {{ contact.first_name | default: \"there\" }}, thanks for your call!"}]
  }$schema$),
  ('send_email', 'email', null, 'Sends an email through Resend.', $schema${
    "required": ["subject"],
    "anyOf": [{"required": ["html"]}, {"required": ["text"]}],
    "properties": {
      "subject": {"type": "string", "format": "template", "minLength": 1, "description": "The subject."},
      "html": {"type": "string", "format": "template",
        "description": "The message as HTML; what templates insert is escaped."},
      "text": {"type": "string", "format": "template", "description": "The message as plain text."},
      "to": {"type": ["string", "array"], "format": "template",
        "items": {"type": "string", "format": "template"},
        "description": "Addresses, in a list or between commas; a variable is one. Default: the contact's."},
      "from": {"type": "string", "format": "template",
        "description": "One of your addresses, or any in a domain of yours. Default: your default sender."},
      "reply_to": {"type": ["string", "array"], "format": "template",
        "items": {"type": "string", "format": "template"}, "description": "Where answers go."},
      "cc": {"type": ["string", "array"], "format": "template",
        "items": {"type": "string", "format": "template"}, "description": "Copies."},
      "bcc": {"type": ["string", "array"], "format": "template",
        "items": {"type": "string", "format": "template"}, "description": "Blind copies."},
      "headers": {"type": "object", "additionalProperties": {"type": "string", "format": "template"},
        "description": "Further headers, by name; not those that say who it is from or goes to."}
    },
    "examples": [{"subject": "Your estimate", "html": "<p>Hi {{contact.first_name}}, here it is.</p>"}]
  }$schema$),
  ('webhook', 'webhook', null, 'Calls a URL, signed the Standard Webhooks way.', $schema${
    "required": ["url"],
    "properties": {
      "url": {"type": "string", "format": "template", "pattern": "^[hH][tT][tT][pP][sS]?://|^\\{\\{",
        "errorMessage": "url must start with https:// or http://", "description": "Whom to call.",
        "examples": ["https://example.com/hooks/won"]},
      "method": {"enum": ["POST", "PUT", "PATCH"], "description": "Default: POST."},
      "headers": {"type": "object", "additionalProperties": {"type": "string", "format": "template"},
        "description": "Further headers, by name."},
      "body": {"format": "template",
        "description": "What to send. Default: the event and the records it is about."},
      "secret_name": {"type": "string", "format": "template",
        "description": "Signs with this secret of yours. Default: your signing secret."}
    },
    "examples": [{"url": "https://example.com/hooks/won", "body": {"id": "{{contact.id}}"}}]
  }$schema$),
  ('create_task', 'database', null, 'Creates a task for the office.', $schema${
    "required": ["title"],
    "properties": {
      "title": {"type": "string", "format": "template", "minLength": 1, "description": "What is to do."},
      "description": {"type": "string", "format": "template", "description": "More about it."},
      "priority": {"type": "string", "format": "template", "description": "Default: normal."},
      "assigned_to": {"type": "string", "format": "id", "description": "The user who is to do it."},
      "due_at": {"type": "string", "format": "moment",
        "description": "When it is due; a time without a zone is the tenant's."},
      "due_in_days": {"type": ["number", "string"], "format": "amount", "description": "Or how much later."},
      "due_in_hours": {"type": ["number", "string"], "format": "amount", "description": "Or how much later."},
      "due_in_minutes": {"type": ["number", "string"], "format": "amount",
        "description": "Or how much later."}
    },
    "examples": [{"title": "Call {{contact.first_name}}", "due_in_minutes": 5}]
  }$schema$),
  ('update_contact', 'database', null, 'Sets fields of the contact.', $schema${
    "required": ["fields"],
    "properties": {
      "fields": {"type": "object", "minProperties": 1, "additionalProperties": true, "format": "template",
        "errorMessage": "fields must be an object of at least one field",
        "description": "Values by column; custom_fields.roof_type sets one custom field."}
    },
    "examples": [{"fields": {"stage": "contacted", "custom_fields.reached_on": "{{today}}"}}]
  }$schema$),
  ('update_project', 'database', null, 'Sets fields of the project.', $schema${
    "required": ["fields"],
    "properties": {
      "fields": {"type": "object", "minProperties": 1, "additionalProperties": true, "format": "template",
        "errorMessage": "fields must be an object of at least one field",
        "description": "Values by column; custom_fields.roof_type sets one custom field."}
    },
    "examples": [{"fields": {"status": "on_hold"}}]
  }$schema$),
  ('update_field', 'database', null, 'Sets one field of the contact, project or job.', $schema${
    "required": ["field", "value"],
    "properties": {
      "field": {"type": "string", "minLength": 1, "format": "template",
        "description": "A column, such as lead_score, project.value or custom_fields.roof_type."},
      "value": {"format": "template", "description": "What to set it to."},
      "entity": {"type": "string", "format": "template",
        "description": "Whose field. Default: contact, or as field begins."}
    },
    "examples": [{"field": "lead_score", "value": "{{ contact.lead_score | plus: 10 }}"}]
  }$schema$),
  ('change_stage', 'database', null, 'Moves the contact, project or job to another stage.', $schema${
    "required": ["stage"],
    "properties": {
      "stage": {"type": ["string", "number"], "minLength": 1, "format": "template",
        "description": "Where to."},
      "entity": {"type": "string", "format": "template",
        "description": "contact, project or job. Default: what the run is about."}
    },
    "examples": [{"stage": "estimate_sent", "entity": "project"}]
  }$schema$),
  ('assign_user', 'database', null, 'Makes a user responsible for the contact, project or job.', $schema${
    "oneOf": [{"required": ["user_id"]}, {"required": ["user_ids"]}],
    "properties": {
      "user_id": {"type": "string", "format": "id", "description": "Who."},
      "user_ids": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string", "format": "id"},
        "description": "Several, who take turns."},
      "entity": {"type": "string", "format": "template", "description": "Of what. Default: contact."}
    },
    "examples": [
      {"user_id": "{{project.assigned_to}}"},
      {"user_ids": ["7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11", "0b6e3d52-91c4-4c0b-8f2e-5d3a7c1e9f20"]}
    ]
  }$schema$),
  ('add_tag', 'database', null, 'Tags the contact; a tag that is new is made.', $schema${
    "required": ["tag"],
    "properties": {
      "tag": {"type": ["string", "number"], "minLength": 1, "format": "template", "description": "Its name."}
    },
    "examples": [{"tag": "spring-campaign"}]
  }$schema$),
  ('remove_tag', 'database', null, 'Takes a tag off the contact.', $schema${
    "required": ["tag"],
    "properties": {
      "tag": {"type": ["string", "number"], "minLength": 1, "format": "template", "description": "Its name."}
    },
    "examples": [{"tag": "no-show"}]
  }$schema$),
  ('create_project', 'database', null, 'Creates a project for the contact, once for a key.', $schema${
    "required": ["name"],
    "properties": {
      "name": {"type": "string", "format": "template", "minLength": 1, "description": "Its name."},
      "key": {"type": ["string", "number"], "format": "template",
        "description": "Which project it is: a contact never gets a second one of this key. Default: the name."},
      "type": {"type": "string", "format": "template", "description": "Of any kind you keep."},
      "status": {"type": "string", "format": "template", "description": "Default: open."},
      "pipeline_stage": {"type": "string", "format": "template", "description": "Default: new."},
      "value": {"type": ["number", "string"], "format": "template", "description": "In the tenant's currency."},
      "description": {"type": "string", "format": "template", "description": "More about it."}
    },
    "examples": [{"name": "Roof of {{contact.last_name}}", "key": "roof"}]
  }$schema$),
  ('wait', 'database', '{event,timeout}',
   'Waits: for a length of time, until a date, until a time of day, or for an event.', $schema${
    "anyOf": [{"required": ["minutes"]}, {"required": ["hours"]}, {"required": ["days"]},
      {"required": ["weeks"]}, {"required": ["duration"]}, {"required": ["until"]}, {"required": ["at"]},
      {"required": ["window"]}, {"required": ["event"]}],
    "errorMessage": "wait needs minutes, hours, days or until, or one of weeks, duration, at, window and event",
    "dependentRequired": {"offset": ["until"], "if_missing": ["until"], "if_past": ["until"],
      "event": ["timeout"], "timeout": ["event"]},
    "dependentSchemas": {
      "until": {"properties": {"minutes": false, "hours": false, "days": false, "weeks": false,
        "duration": false}},
      "event": {"properties": {"minutes": false, "hours": false, "days": false, "weeks": false,
        "duration": false, "until": false, "offset": false, "if_missing": false, "if_past": false,
        "at": false, "window": false, "zone": false}}
    },
    "properties": {
      "minutes": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "hours": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "days": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "weeks": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "duration": {"type": ["string", "object"], "format": "length-of-time", "description": "How long."},
      "until": {"type": "string", "format": "moment",
        "description": "Until then; a date without a time is midnight."},
      "offset": {"type": ["string", "object"], "format": "signed-length-of-time",
        "description": "So long after until, or with a minus sign before it."},
      "if_missing": {"enum": ["fail", "continue", "stop"],
        "description": "What happens when until has no value. Default: fail."},
      "if_past": {"enum": ["continue", "stop", "fail"],
        "description": "What happens when the time is over already. Default: continue."},
      "at": {"type": "string", "format": "time-of-day",
        "description": "With days or a date, at this time of that day; otherwise the next time it is this late."},
      "window": {"type": "object", "title": "window", "minProperties": 1,
        "description": "And then until it is between these times, on one of these days.",
        "properties": {
          "from": {"type": "string", "format": "time-of-day", "description": "The earliest. Default: midnight."},
          "to": {"type": "string", "format": "time-of-day", "description": "The latest. Default: midnight."},
          "days": {"type": "array", "minItems": 1, "maxItems": 7,
            "items": {"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]},
            "description": "Default: any day."}
        }},
      "zone": {"type": "string", "format": "zone",
        "description": "Whose clock at and window go by. Default: tenant."},
      "event": {"type": ["string", "object"], "title": "event", "required": ["type"],
        "description": "Until this happens to the contact or record; then the branch event is taken.",
        "properties": {
          "type": {"type": "string", "description": "A trigger type that a write fires."},
          "config": {"type": "object", "additionalProperties": true,
            "description": "As in trigger_config."}
        }},
      "timeout": {"type": ["string", "object"], "format": "length-of-time",
        "description": "How long to wait for the event; then the branch timeout is taken."}
    },
    "examples": [
      {"days": 3},
      {"until": "{{job.scheduled_at}}", "offset": "-24 hours", "if_missing": "stop", "if_past": "stop"},
      {"days": 1, "at": "10:00", "zone": "contact"},
      {"window": {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}},
      {"event": "sms_received", "timeout": "2 hours"},
      {"event": {"type": "stage_changed", "config": {"to": "won"}}, "timeout": {"days": 14}}
    ]
  }$schema$),
  ('conditional', 'database', '{then,else}',
   'Takes a branch: then or else, or the first of several whose conditions hold.', $schema${
    "oneOf": [{"required": ["conditions"]}, {"required": ["branches"]}],
    "properties": {
      "conditions": {"format": "conditions",
        "description": "When they hold the branch then is taken, otherwise else."},
      "branches": {"type": "array", "minItems": 1, "maxItems": 20, "uniqueItemProperties": ["name"],
        "description": "The first whose conditions hold is taken, and else when none do.",
        "items": {"type": "object", "title": "a branch", "required": ["name", "conditions"],
          "properties": {
            "name": {"type": "string", "pattern": "^(?!else$)[A-Za-z][A-Za-z0-9_]{0,40}$",
              "errorMessage": "name must be a letter and at most 40 letters, digits or _, and not else",
              "description": "What steps on this branch have in branch."},
            "conditions": {"format": "conditions", "description": "When it is taken."}
          }}}
    },
    "examples": [
      {"conditions": [{"field": "project.value", "operator": "greater_than", "value": 10000}]},
      {"branches": [
        {"name": "hot", "conditions": {"field": "contact.lead_score", "operator": "greater_or_equal", "value": 80}},
        {"name": "warm", "conditions": {"field": "contact.lead_score", "operator": "greater_or_equal", "value": 40}}
      ]}
    ]
  }$schema$),
  ('split', 'database', '{}',
   'Takes a branch by chance, in proportion to weights; a contact always takes the same one.', $schema${
    "required": ["branches"],
    "properties": {
      "branches": {"type": "array", "minItems": 2, "maxItems": 10, "uniqueItemProperties": ["name"],
        "description": "What it chooses from.",
        "items": {"type": "object", "title": "a branch", "required": ["name", "weight"],
          "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,40}$",
              "errorMessage": "name must be a letter and at most 40 letters, digits or _",
              "description": "What steps on this branch have in branch."},
            "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000,
              "description": "Its share, as compared with the others'."}
          }}}
    },
    "examples": [{"branches": [{"name": "short_text", "weight": 50}, {"name": "long_text", "weight": 50}]}]
  }$schema$),
  ('stop', 'database', null, 'Ends the run.', $schema${
    "properties": {
      "reason": {"type": "string", "format": "template", "description": "Why, for the history."},
      "outcome": {"enum": ["completed", "cancelled"], "description": "Default: completed."}
    },
    "examples": [{"reason": "Not in our service area", "outcome": "cancelled"}]
  }$schema$)
) as s (name, lane, branches, description, config_schema);

create table automation.setting_schemas (
  name text constraint setting_schemas_pkey primary key,
  description text not null,
  config_schema jsonb not null
    constraint setting_schemas_schema_is_object check (jsonb_typeof(config_schema) = 'object')
);

comment on table automation.setting_schemas is
  'JSON Schemas of what else is written in JSON: workflows.settings and workflow_steps.retry.';

insert into automation.setting_schemas (name, description, config_schema)
select s.name, s.description,
  jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema', 'title', s.name, 'type', 'object')
  || s.config_schema::jsonb
from (values
  ('settings', 'workflows.settings: who may enter again, and what ends a run early.', $schema${
    "properties": {
      "reentry": {
        "description": "Whether a record may enter again. Default: always, or never with a dedupe_key.",
        "anyOf": [
          {"type": "string", "enum": ["always", "never", "not_while_open"]},
          {"type": "object", "title": "reentry", "required": ["once_in"],
            "properties": {"once_in": {"type": ["string", "object"], "format": "length-of-time",
              "description": "So long after it last entered."}}}
        ]},
      "dedupe_key": {"type": "string", "minLength": 1, "format": "template",
        "description": "What enters again, in place of the record: reentry is asked for each rendered key."},
      "exit_conditions": {"format": "conditions",
        "description": "A run ends before its next step as soon as these hold."},
      "exit_events": {"type": "array", "maxItems": 20,
        "description": "A run ends before its next step when one of these happens.",
        "items": {"type": ["string", "object"], "title": "event", "required": ["type"],
          "properties": {
            "type": {"type": "string", "description": "A trigger type that a write fires."},
            "config": {"type": "object", "additionalProperties": true,
              "description": "As in trigger_config."}
          }}},
      "on_missing": {"enum": ["empty", "fail"],
        "description": "What a variable without a value does: renders as nothing, or fails its step. Default: empty."}
    },
    "examples": [{"reentry": {"once_in": "30 days"}, "exit_events": ["sms_received",
      {"type": "stage_changed", "config": {"to": ["won", "lost"]}}]}]
  }$schema$),
  ('retry', 'workflow_steps.retry: how often a step is tried, in place of the engine''s settings.', $schema${
    "properties": {
      "max_attempts": {"type": "integer", "minimum": 1, "maximum": 100, "description": "At most so often."},
      "delay": {"type": ["string", "object"], "format": "length-of-time",
        "description": "Before the second attempt; it doubles with every attempt."},
      "max_delay": {"type": ["string", "object"], "format": "length-of-time",
        "description": "The longest there is between two attempts."}
    },
    "examples": [{"max_attempts": 3, "delay": "5 minutes", "max_delay": "1 hour"}]
  }$schema$)
) as s (name, description, config_schema);

create or replace function automation.problem(
  path text, code text, message text, hint text default null, severity text default 'error')
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'path', path, 'severity', severity, 'code', code, 'message', message, 'hint', hint)
  $$;

comment on function automation.problem(text, text, text, text, text) is
  'One finding about a definition: where it is, how bad, what is wrong and how to mend it.';

create or replace function automation.raise_problems(problems jsonb, subject text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  worst jsonb;
begin
  select p.value into worst
  from jsonb_array_elements(problems) with ordinality as p (value, position)
  where p.value ->> 'severity' = 'error'
  order by p.position
  limit 1;
  if worst is not null then
    raise exception '%: %: %', subject, worst ->> 'path', worst ->> 'message'
      using errcode = 'invalid_parameter_value',
        detail = problems::text,
        hint = coalesce(worst ->> 'hint', 'detail lists every problem with its path');
  end if;
end;
$$;

comment on function automation.raise_problems(jsonb, text) is
  'Raises 22023 with the first error as message and all problems as JSON in detail; '
  'warnings alone raise nothing.';

-- sql/02_definitions/02_workflows.sql

create table public.workflows (
  tenant_id uuid not null
    constraint workflows_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  name text not null constraint workflows_name_not_blank check (btrim(name) <> ''),
  description text,
  status text not null default 'draft'
    constraint workflows_status_known check (status in ('draft', 'active', 'paused', 'archived')),
  trigger_type text not null
    constraint workflows_trigger_type_fk references automation.trigger_types (name),
  trigger_config jsonb not null default '{}'
    constraint workflows_trigger_config_is_object check (jsonb_typeof(trigger_config) = 'object'),
  conditions jsonb not null default '[]',
  is_active boolean not null default false,
  settings jsonb not null default '{}'
    constraint workflows_settings_is_object check (jsonb_typeof(settings) = 'object'),
  metadata jsonb not null default '{}'
    constraint workflows_metadata_is_object check (jsonb_typeof(metadata) = 'object'),
  published_version integer,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint workflows_pkey primary key (tenant_id, id),
  constraint workflows_active_matches_status check (is_active = (status = 'active'))
);

comment on table public.workflows is
  'Automations as people edit them. Setting is_active publishes; only published versions run.';
comment on column public.workflows.settings is
  '{reentry, dedupe_key, exit_conditions, exit_events, on_missing}: who may enter again, what ends a '
  'run early, and what a variable without a value does. See docs/lifecycle.md.';
comment on column public.workflows.published_version is
  'The version that new executions start with; null until it is first published.';

create index workflows_by_trigger_type on public.workflows (trigger_type);
create index workflows_by_published_version
  on public.workflows (id, tenant_id, published_version);

create table public.workflow_steps (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  workflow_id uuid not null,
  step_order integer not null default 0,
  step_key text
    constraint workflow_steps_key_is_identifier check (step_key ~ '^[A-Za-z][A-Za-z0-9_]{0,62}$'),
  name text,
  step_type text not null
    constraint workflow_steps_step_type_fk references automation.step_types (name),
  step_config jsonb not null default '{}'
    constraint workflow_steps_config_is_object check (jsonb_typeof(step_config) = 'object'),
  delay_minutes numeric not null default 0
    constraint workflow_steps_delay_in_range check (delay_minutes between 0 and 5256000),
  enabled boolean not null default true,
  conditions jsonb not null default '[]',
  continue_on_error boolean not null default false,
  retry jsonb not null default '{}'
    constraint workflow_steps_retry_is_object check (jsonb_typeof(retry) = 'object'),
  parent_step_id uuid,
  branch text,
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint workflow_steps_pkey primary key (tenant_id, id),
  constraint workflow_steps_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade,
  constraint workflow_steps_parent_fk foreign key (tenant_id, parent_step_id)
    references public.workflow_steps (tenant_id, id) on delete cascade,
  constraint workflow_steps_branch_has_parent check ((parent_step_id is null) = (branch is null)),
  constraint workflow_steps_key_unique unique (tenant_id, workflow_id, step_key)
);

comment on column public.workflow_steps.delay_minutes is
  'How long to wait before this step, counted from the end of the step before it (minutes, up to ten years).';
comment on column public.workflow_steps.step_key is
  'The name other steps use for its result ({{steps.<key>.*}}); step_<n> when empty.';

comment on column public.workflow_steps.retry is
  '{max_attempts, delay, max_delay}: how often this step is attempted and how long it waits in '
  'between; what is left out is as automation.settings says, and a database step is tried once.';
comment on column public.workflow_steps.branch is
  'On which branch of the parent step this one is: then or else, a name, event or timeout.';

create index workflow_steps_in_order
  on public.workflow_steps (workflow_id, tenant_id, step_order, id);
create index workflow_steps_by_parent on public.workflow_steps (parent_step_id, tenant_id);
create index workflow_steps_by_step_type on public.workflow_steps (step_type);

create table public.workflow_versions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  version integer not null constraint workflow_versions_version_positive check (version > 0),
  trigger_type text not null,
  trigger_config jsonb not null,
  conditions jsonb,
  plan jsonb not null,
  published_via text not null
    constraint workflow_versions_via_known check (published_via in ('publish', 'activation', 'steps')),
  published_at timestamptz not null default automation.now(),
  constraint workflow_versions_pkey primary key (tenant_id, id),
  constraint workflow_versions_unique unique (tenant_id, workflow_id, version),
  constraint workflow_versions_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade,
  constraint workflow_versions_plan_has_steps
    check (jsonb_typeof(plan -> 'steps') = 'object' and plan ? 'first')
);

comment on table public.workflow_versions is
  'Published workflows, immutable. Executions are pinned to the version they started with.';
comment on column public.workflow_versions.conditions is
  'Compiled enrolment conditions; null: always.';
comment on column public.workflow_versions.plan is
  '{first: key, steps: {key: {type, lane, delay_seconds, config, conditions, roots, next, branches, '
  '...}}, lifecycle}: templates parsed, defaults filled in, order and branches resolved to pointers.';

alter table public.workflows add constraint workflows_published_version_fk
  foreign key (tenant_id, id, published_version)
  references public.workflow_versions (tenant_id, workflow_id, version);

create table automation.active_triggers (
  tenant_id uuid not null,
  entity text not null,
  event text not null,
  workflow_id uuid not null,
  version integer not null,
  role text not null default 'enrol'
    constraint active_triggers_role_known check (role in ('enrol', 'exit', 'wait')),
  listener text not null default '',
  match jsonb not null,
  match_any jsonb,
  match_column text,
  match_value text,
  field text,
  from_values jsonb,
  to_values jsonb,
  conditions jsonb,
  reentry jsonb,
  first_step text,
  first_lane public.automation_lane,
  first_delay interval,
  constraint active_triggers_pkey
    primary key (tenant_id, entity, event, workflow_id, version, role, listener),
  constraint active_triggers_first_step_matches_role check (
    (role = 'enrol') = (first_step is not null)
    and (first_step is null) = (first_lane is null)
    and (first_step is null) = (first_delay is null)),
  constraint active_triggers_version_fk foreign key (tenant_id, workflow_id, version)
    references public.workflow_versions (tenant_id, workflow_id, version) on delete cascade,
  constraint active_triggers_match_column_has_value
    check ((match_column is null) = (match_value is null))
);

comment on table automation.active_triggers is
  'The listeners: one row for each active workflow, holding all that capture needs to enrol; and one '
  'for each event that runs of a version wait for or end at, as long as there may be such runs.';
comment on column automation.active_triggers.reentry is
  'The rule of re-entry where it goes by record; null: none, or one that is asked before the first step.';
comment on column automation.active_triggers.listener is
  'role wait: the key of the step that waits; exit: which of the exit events. Part of the key.';
comment on column automation.active_triggers.match is
  'The record must contain this (jsonb @>).';
comment on column automation.active_triggers.match_any is
  '{field: [values]}: the record must have one of them in each field.';
comment on column automation.active_triggers.match_column is
  'One equality of match, checked before the record is turned into JSON.';
comment on column automation.active_triggers.field is
  'For changes: the column that must have changed; null: any.';

create index active_triggers_by_version
  on automation.active_triggers (workflow_id, tenant_id, version);

-- sql/02_definitions/03_compile_trigger.sql

-- trigger_config -> a listener. A key that names a column must equal the record's value, a list
-- means any of its values; field, from and to narrow a change.

create type automation.compiled_trigger as (
  entity text,
  match jsonb,
  match_any jsonb,
  match_column text,
  match_value text,
  field text,
  from_values jsonb,
  to_values jsonb,
  problems jsonb
);

create or replace function automation.as_list(value jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when jsonb_typeof(value) = 'array' then value else jsonb_build_array(value) end
    where value is not null
  $$;

-- The engines that this one replaces wrote {"stage": "won"} and {"from_stage": ...} for changes.
create or replace function automation.change_config(
  known automation.trigger_types, trigger_config jsonb)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'field', coalesce(to_jsonb(known.column_name), trigger_config -> 'field'),
      'from', automation.as_list(coalesce(
        trigger_config -> 'from', trigger_config -> 'from_stage', trigger_config -> 'from_status')),
      'to', automation.as_list(coalesce(
        trigger_config -> 'to', trigger_config -> 'to_stage', trigger_config -> 'to_status',
        case when known.column_name in ('stage', 'pipeline_stage') then trigger_config -> 'stage' end,
        case when known.column_name = 'status' then trigger_config -> 'status' end))))
  $$;

create or replace function automation.check_trigger_config(
  known automation.trigger_types, entity text, change jsonb, match jsonb, path text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  table_columns text[];
  problems jsonb;
begin
  if known.kind not in ('created', 'updated', 'changed', 'becomes') then
    return '[]'::jsonb;
  end if;
  select e.columns into table_columns
  from automation.entities as e where e.name = check_trigger_config.entity;
  if not found then
    return jsonb_build_array(automation.problem(
      path || '.entity', 'unknown_entity', format('there is no entity "%s"', entity),
      'Known: ' || (select string_agg(e.name, ', ' order by e.name) from automation.entities as e)));
  end if;
  if known.kind = 'changed' and change ->> 'field' is null then
    return jsonb_build_array(automation.problem(
      path || '.field', 'missing', known.name || ' needs the field to watch',
      'For example {"field": "assigned_to"}.'));
  end if;
  select jsonb_agg(automation.problem(
      path || '.' || k.key, 'unknown_field', format('%s has no column "%s"', entity, k.name),
      'Its columns: ' || array_to_string(table_columns, ', ')))
    into problems
  from (
    select m.key, m.key as name from jsonb_object_keys(match) as m (key)
    union all
    select 'field', change ->> 'field' where change ? 'field'
  ) as k
  where not k.name = any (table_columns);
  return coalesce(problems, '[]'::jsonb);
end;
$$;

-- Opens and clicks of machines are asked for, see chapter 11; the listener is the same either way.
create or replace function automation.check_include_machine(
  trigger_type text, trigger_config jsonb, path text)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when trigger_type in ('email_opened', 'email_clicked')
        and jsonb_typeof(trigger_config -> 'include_machine') <> 'boolean'
      then jsonb_build_array(automation.problem(
        path || '.include_machine', 'invalid_value',
        format('include_machine cannot be %s', trigger_config -> 'include_machine'),
        'true: opens and clicks of security scanners start it as well; false or left out: people''s alone.'))
      else '[]'
    end
  $$;

create or replace function automation.compile_trigger(
  trigger_type text, trigger_config jsonb, path text default 'trigger_config')
  returns automation.compiled_trigger
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.trigger_types;
  compiled automation.compiled_trigger;
  attached automation.entities;
  change jsonb := '{}'::jsonb;
  match jsonb := trigger_config;
begin
  select t.* into known from automation.trigger_types as t where t.name = trigger_type;
  if known.kind = 'time' then
    return automation.compile_time_trigger(trigger_type, trigger_config, path);
  end if;
  compiled.entity := coalesce(
    known.entity, case when known.kind = 'changed' then trigger_config ->> 'entity' end,
    case when known.kind = 'changed' then 'contact' else '' end);
  if known.kind in ('changed', 'becomes') then
    change := automation.change_config(known, trigger_config);
    match := trigger_config - array[
      'entity', 'field', 'from', 'to', 'from_stage', 'to_stage', 'from_status', 'to_status',
      case when known.column_name in ('stage', 'pipeline_stage') then 'stage' else 'from' end,
      case when known.column_name = 'status' then 'status' else 'from' end];
  end if;
  -- The first time is from nothing; a click that is taken back is no event.
  if trigger_type in ('email_opened', 'email_clicked') then
    match := match - 'include_machine';
    change := change || '{"from": [null]}';
  end if;
  select e.* into attached from automation.entities as e where e.name = compiled.entity;
  match := automation.own_names(attached, match);
  if change ? 'field' then
    change := change || jsonb_build_object('field', automation.own_name(attached, change ->> 'field'));
  end if;
  compiled.problems :=
    automation.check_trigger_config(known, compiled.entity, change, match, path)
    || automation.check_include_machine(trigger_type, trigger_config, path);
  compiled.field := change ->> 'field';
  compiled.from_values := change -> 'from';
  compiled.to_values := change -> 'to';
  select
    coalesce(jsonb_object_agg(m.key, m.value) filter (where jsonb_typeof(m.value) <> 'array'), '{}'),
    jsonb_object_agg(m.key, m.value) filter (where jsonb_typeof(m.value) = 'array')
    into compiled.match, compiled.match_any
  from jsonb_each(match) as m;
  select m.key, m.value #>> '{}' into compiled.match_column, compiled.match_value
  from jsonb_each(compiled.match) as m
  join automation.entities as e
    on e.name = compiled.entity and m.key = any (e.match_columns)
  where jsonb_typeof(m.value) = 'string'
  order by m.key
  limit 1;
  return compiled;
end;
$$;

comment on function automation.compile_trigger(text, jsonb, text) is
  'Compiles a trigger_config; problems lists what is wrong with it.';

create or replace function automation.matches_any(record jsonb, match_any jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(bool_and(coalesce(m.value @> (record -> m.key), false)), true)
    from jsonb_each(match_any) as m
  $$;

-- Without a search_path setting, so that it is inlined into the statements that capture runs.
create or replace function automation.matches(record jsonb, match jsonb, match_any jsonb)
  returns boolean
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select record operator(pg_catalog.@>) match
      and (match_any is null or automation.matches_any(record, match_any))
  $$;

comment on function automation.matches_any(jsonb, jsonb) is
  'Does each field of match_any hold one of its values in the record?';

-- sql/02_definitions/04_check_schema.sql

-- JSON Schema, as much of it as the published schemas use: type, enum, properties, required,
-- additionalProperties, dependentRequired, dependentSchemas (of properties that are false), items,
-- anyOf, oneOf, bounds and pattern. Each finding says where, what and how to mend it.
-- functions/_shared/steps.ts says the same in TypeScript; tests/language holds the two together.

create or replace function automation.check_schema(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found jsonb := automation.check_value(schema, value, path) || automation.check_choice(schema, value, path);
begin
  if schema ? 'errorMessage' and automation.has_error(found) then
    found := jsonb_build_array(automation.problem(
      path, found #>> '{0,code}', schema ->> 'errorMessage', automation.schema_hint(schema)));
  end if;
  if not automation.fits_type(schema -> 'type', value) then
    return found;
  elsif found = '[]' and schema ? 'format' then
    found := automation.check_format(schema ->> 'format', value, path);
  end if;
  return found || case jsonb_typeof(value)
    when 'object' then automation.check_keys(schema, value, path)
      || automation.check_members(schema, value, path)
    when 'array' then automation.check_items(schema, value, path)
    else '[]'
  end;
end;
$$;

comment on function automation.check_schema(jsonb, jsonb, text) is
  'What is wrong with a value according to a JSON Schema: a list of {path, severity, code, message, '
  'hint}. A key that an object''s schema does not name is a warning.';

create or replace function automation.has_error(problems jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select jsonb_path_exists(problems, '$[*] ? (@.severity == "error")') $$;

create or replace function automation.schema_hint(schema jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select 'For example ' || (schema #> '{examples,0}')::text || '.' $$;

-- contact.tags[0] -> tags[0]
create or replace function automation.last_of_path(path text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select substring(path from '[^.]*$') $$;

create or replace function automation.fits_type(type jsonb, value jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select type is null or exists (
      select from jsonb_array_elements_text(automation.as_list(type)) as t (name)
      where case
        when t.name = 'integer' and jsonb_typeof(value) = 'number'
        then value::numeric = trunc(value::numeric)
        else t.name = jsonb_typeof(value)
      end)
  $$;

create or replace function automation.type_words(types jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(
      case t.name when 'string' then 'a text' when 'number' then 'a number'
        when 'integer' then 'a whole number' when 'array' then 'a list' when 'object' then 'an object'
        when 'boolean' then 'true or false' else 'nothing' end,
      ' or ' order by t.place)
    from jsonb_array_elements_text(automation.as_list(types)) with ordinality as t (name, place)
  $$;

-- ["POST", "PUT", "PATCH"] -> POST, PUT or PATCH
create or replace function automation.choice_words(choices jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select regexp_replace(string_agg(c.word, ', ' order by c.place), ', ([^,]*)$', ' or \1')
    from jsonb_array_elements_text(choices) with ordinality as c (word, place)
  $$;

-- The value itself: its type, whether it is one of those listed, its bounds and its pattern.
create or replace function automation.check_value(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  type constant text := jsonb_typeof(value);
  found record;
begin
  if not automation.fits_type(schema -> 'type', value) then
    select case t.name
        when 'string' then 'not_a_text' when 'array' then 'not_a_list' when 'object' then 'not_an_object'
        when 'boolean' then 'not_a_boolean' else 'not_a_number' end as code,
      'must be ' || automation.type_words(schema -> 'type') as message
      into found
    from (select automation.as_list(schema -> 'type') ->> 0 as name) as t;
  elsif schema ? 'enum' and not exists (
    select from jsonb_array_elements(schema -> 'enum') as e (choice) where e.choice = value) then
    select 'unknown_value' as code, 'must be ' || automation.choice_words(schema -> 'enum') as message
      into found;
  elsif type = 'string' and value #>> '{}' !~ (schema ->> 'pattern') then
    select 'invalid_value' as code, 'must match ' || (schema ->> 'pattern') as message into found;
  else
    select 'out_of_range' as code, automation.bounds_words(schema, value, type) as message into found;
  end if;
  if found.message is null then
    return '[]'::jsonb;
  end if;
  return jsonb_build_array(automation.problem(
    path, found.code, format('%s %s', automation.last_of_path(path), found.message),
    automation.schema_hint(schema)));
end;
$$;

-- Which bound a value breaks; null: none.
create or replace function automation.bounds_words(schema jsonb, value jsonb, type text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when size < least and least = 1 and unit is not null then 'must not be empty'
      when size < least then concat_ws(' ', 'must', verb, 'at least', least, unit)
      when size > most then concat_ws(' ', 'must', verb, 'at most', most, unit)
      when type = 'number' and size <= (schema ->> 'exclusiveMinimum')::numeric
        then format('must be more than %s', schema ->> 'exclusiveMinimum')
    end
    from (
      select
        case type when 'string' then length(value #>> '{}') when 'array' then jsonb_array_length(value)
          when 'object' then (select count(*) from jsonb_object_keys(value))
          when 'number' then value::numeric end as size,
        (schema ->> names.least)::numeric as least, (schema ->> names.most)::numeric as most,
        names.unit, case when names.unit is null then 'be' else 'have' end as verb
      from (values
        ('string', 'minLength', 'maxLength', 'characters'), ('array', 'minItems', 'maxItems', 'items'),
        ('object', 'minProperties', 'maxProperties', 'fields'), ('number', 'minimum', 'maximum', null)
      ) as names (of, least, most, unit)
      where names.of = type
    ) as bounds
  $$;

-- anyOf and oneOf. When none fits, what is said is what the one of the same type says.
create or replace function automation.check_choice(schema jsonb, value jsonb, path text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  options constant jsonb := coalesce(schema -> 'oneOf', schema -> 'anyOf', '[]');
  keys constant text[] := array(
    select k.key from jsonb_array_elements(options) with ordinality as o (option, place),
      jsonb_array_elements_text(o.option -> 'required') as k (key)
    where not o.option ? 'type' order by o.place);
  subject constant text := coalesce(schema ->> 'title', automation.last_of_path(path));
  option jsonb;
  found jsonb;
  nearest jsonb;
  held integer := 0;
begin
  for option in select * from jsonb_array_elements(options) loop
    found := automation.check_schema(option, value, path);
    if not automation.has_error(found) then
      held := held + 1;
    elsif nearest is null and option ? 'type' and automation.fits_type(option -> 'type', value) then
      nearest := found;
    end if;
  end loop;
  return case
    when options = '[]' or held = 1 or held > 1 and not schema ? 'oneOf' then '[]'
    when held > 1 then jsonb_build_array(automation.problem(
      format('%s.%s', path, keys[1]), 'ambiguous',
      format('%s takes only one of %s', subject, array_to_string(keys, ', '))))
    when cardinality(keys) > 0 and jsonb_typeof(value) = 'object' then jsonb_build_array(automation.problem(
      format('%s.%s', path, keys[1]), 'missing',
      format('%s needs %s', subject, array_to_string(keys, ' or ')), automation.schema_hint(schema)))
    when nearest is not null then nearest
    when cardinality(keys) > 0 then '[]'
    else jsonb_build_array(automation.problem(path, 'invalid_value',
      format('%s must be %s', automation.last_of_path(path),
        automation.type_words(jsonb_path_query_array(options, '$[*].type'))),
      automation.schema_hint(schema)))
  end;
end;
$$;

-- Which keys an object has: a key that is missing, and a key that nobody reads, are both mistakes
-- the office should see before a customer does.
create or replace function automation.check_keys(schema jsonb, value jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select automation.problem(path || '.' || r.key, 'missing',
        format('%s needs %s', coalesce(schema ->> 'title', automation.last_of_path(path)), r.key))
      from jsonb_array_elements_text(schema -> 'required') as r (key)
      where not value ? r.key
      union all
      select automation.problem(path || '.' || r.key, 'missing', format('%s needs %s', d.key, r.key))
      from jsonb_each(schema -> 'dependentRequired') as d,
        jsonb_array_elements_text(d.value) as r (key)
      where check_keys.value ? d.key and not check_keys.value ? r.key
      union all
      select automation.problem(path || '.' || p.key, 'not_allowed',
        format('%s cannot be combined with %s', p.key, d.key))
      from jsonb_each(schema -> 'dependentSchemas') as d, jsonb_each(d.value -> 'properties') as p
      where check_keys.value ? d.key and check_keys.value ? p.key and p.value = 'false'
      union all
      select automation.problem(path || '.' || k.key, 'unknown_key',
        format('%s does not know "%s"', coalesce(schema ->> 'title', automation.last_of_path(path)), k.key),
        'It knows: ' || (select string_agg(p, ', ') from jsonb_object_keys(schema -> 'properties') as p),
        'warning')
      from jsonb_object_keys(value) as k (key)
      where schema ? 'properties' and not schema ? 'additionalProperties'
        and not schema -> 'properties' ? k.key
    ) as found (problem)
  $$;

create or replace function automation.check_members(schema jsonb, value jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(found.problem), '[]')
    from jsonb_each(value) as member
    cross join lateral (
      select coalesce(schema -> 'properties' -> member.key, schema -> 'additionalProperties') as schema
    ) as its
    cross join lateral jsonb_array_elements(
      automation.check_schema(its.schema, member.value, path || '.' || member.key)) as found (problem)
    where jsonb_typeof(its.schema) = 'object'
  $$;

create or replace function automation.check_items(schema jsonb, value jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with item as (
      select i.value, i.place, format('%s[%s]', path, i.place - 1) as at
      from jsonb_array_elements(value) with ordinality as i (value, place)
    )
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select problem from item, jsonb_array_elements(
        case when schema ? 'items' then automation.check_schema(schema -> 'items', item.value, item.at)
          else '[]' end) as problem
      union all
      select automation.problem(format('%s.%s', item.at, u.key), 'duplicate',
        format('another one has the %s %s', u.key, item.value -> u.key))
      from item, jsonb_array_elements_text(schema -> 'uniqueItemProperties') as u (key)
      where exists (
        select from item as earlier
        where earlier.place < item.place and earlier.value -> u.key = item.value -> u.key)
    ) as found (problem)
  $$;

-- What a grammar checks. The templates of a configuration are parsed together, where it is compiled.
create or replace function automation.check_format(format text, value jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when format = 'conditions' then (
        select c.problems from automation.compile_conditions(value, path) as c)
      when automation.format_holds(format, value) then '[]'
      else (
        select jsonb_build_array(automation.problem(path, 'invalid_value',
          pg_catalog.format('%s must be %s', automation.last_of_path(path), w.words), w.hint))
        from automation.format_words(format) as w)
    end
  $$;

create or replace function automation.format_holds(format text, value jsonb) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(case format
      when 'amount' then value #>> '{}' ~ '^[0-9]{1,7}([.][0-9]{1,6})?$' or value #>> '{}' like '%{{%'
      when 'moment' then automation.is_date(value #>> '{}') or value #>> '{}' like '%{{%'
      when 'id' then automation.as_uuid(value #>> '{}') is not null or value #>> '{}' like '%{{%'
      when 'length-of-time' then automation.duration_in(value) is not null
      when 'signed-length-of-time' then automation.signed_duration(value) is not null
      when 'time-of-day' then value #>> '{}' ~ '^([01][0-9]|2[0-3]):[0-5][0-9]$'
      when 'zone' then value #>> '{}' in ('tenant', 'contact')
        or automation.known_zone(value #>> '{}') is not null
      else true
    end, false)
  $$;

comment on function automation.format_holds(text, jsonb) is
  'Whether a value is what a format of the published schemas asks for. docs/steps.md lists them.';

create or replace function automation.format_words(format text, out words text, out hint text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select f.words, f.hint
    from (values
      ('amount', 'a number of at least 0', 'For example 3, 1.5 or "{{ contact.custom_fields.days }}".'),
      ('moment', 'a date', 'For example "2026-12-01", "2026-12-01T09:30:00Z" or "{{ job.scheduled_at }}".'),
      ('id', 'an id', 'A UUID, or a template such as "{{ contact.assigned_to }}".'),
      ('length-of-time', 'a length of time', 'For example "3 days", "90 minutes" or {"days": 1, "hours": 12}.'),
      ('signed-length-of-time', 'a length of time',
        'For example "1 day" (after), "-24 hours" (before) or {"days": 3}.'),
      ('time-of-day', 'a time of day', 'From "00:00" to "23:59".'),
      ('zone', 'tenant, contact or a time zone', 'For example "contact" or "America/Chicago".')
    ) as f (name, words, hint)
    where f.name = format
  $$;

-- sql/02_definitions/04_compile_addresses.sql

-- to, cc, bcc, reply_to and from of an email -> [{name, address}]: the list that the author wrote, taken apart
-- before any value is known. Each part is a template of its own, so that what a record contains fills one
-- place, a display name or an address, and can never become another recipient (chapter 08 puts the
-- parts together again). RFC 5322 without its comments and groups; a semicolon separates as a comma does.

create or replace function automation.address_keys() returns text[]
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return '{to,cc,bcc,reply_to,from}'::text[];

-- The {{ }} that begins here, whole; null when it does not end.
create or replace function automation.tag_at(source text, here int) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  opener constant text := substring(substr(source, here, 3) from '^\{\{[{!]?');
  lexed record;
begin
  if opener = '{{!' then
    return substr(source, here, nullif(strpos(substr(source, here), '}}'), 0) + 1);
  end if;
  lexed := automation.lex_tag(
    source, here + length(opener), case opener when '{{{' then '}}}' else '}}' end);
  return case when lexed.problem is null then substr(source, here, lexed.next - here) end;
end;
$$;

-- The next piece of an address list. kind: a mark (, ; < > "), escape, open and close (of a block), text
-- (which other tags are too), or null for a tag that does not end.
create or replace function automation.address_piece(source text, here int, out kind text, out piece text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  rest constant text := substr(source, here, 400);
begin
  if starts_with(rest, '{{') then
    piece := automation.tag_at(source, here);
    kind := case when piece ~ '^\{\{\s*#' then 'open' when piece ~ '^\{\{\s*/' then 'close'
      when piece is not null then 'text' end;
  elsif starts_with(rest, '\{{') then
    piece := '\{{';
    kind := 'text';
  elsif rest ~ '^\\.' then
    piece := left(rest, 2);
    kind := 'escape';
  elsif left(rest, 1) in (',', ';', '<', '>', '"') then
    piece := left(rest, 1);
    kind := piece;
  else
    piece := coalesce(substring(rest from '^[^\\{",;<>]+'), left(rest, 1));
    kind := 'text';
  end if;
end;
$$;

-- A mailbox as far as it has been read. name: what stood before the <; address: what stood in < >; rest: what
-- is being read; is_open: inside of < >; has_quotes: some of it was in quotes.
create type automation.read_mailbox as (name text, address text, rest text, is_open boolean, has_quotes boolean);

create or replace function automation.mailbox_problem(read automation.read_mailbox) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when read.is_open then 'this < has no > after it'
      when read.name is null and read.has_quotes then 'a name in quotes needs an address in < > after it'
      when read.name is null then null
      when btrim(read.rest, E' \t\r\n') <> '' then 'a comma is needed after >'
      when btrim(read.address, E' \t\r\n') = '' then 'there is no address between < and >'
    end
  $$;

-- {name, address}; null for what stands between two commas with nothing in it.
create or replace function automation.mailbox_of(read automation.read_mailbox) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'name', nullif(btrim(read.name, E' \t\r\n'), ''), 'address', a.address))
    from (select btrim(coalesce(read.address, read.rest), E' \t\r\n') as address) as a
    where a.address <> ''
  $$;

-- mailboxes is null when a template in it is broken, which compiling the template will say.
create or replace function automation.parse_addresses(source text, out mailboxes jsonb, out problem text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  nothing constant automation.read_mailbox := row(null, null, '', false, false);
  read automation.read_mailbox := nothing;
  here int := 1;
  depth int := 0;
  in_quotes boolean := false;
  next record;
begin
  mailboxes := '[]';
  while here <= length(source) and problem is null loop
    next := automation.address_piece(source, here);
    if next.kind is null then
      mailboxes := null;
      return;
    end if;
    here := here + length(next.piece);
    depth := depth + case next.kind when 'open' then 1 when 'close' then -1 else 0 end;
    if in_quotes and next.kind = '"' then
      in_quotes := false;
    elsif in_quotes or next.kind in ('text', 'escape', 'open', 'close') then
      read.rest := read.rest || case next.kind when 'escape' then substr(next.piece, 2) else next.piece end;
    elsif depth > 0 then
      problem := format('a block must stand within one name or one address; it cannot hold a %s', next.kind);
    elsif next.kind = '"' then
      in_quotes := true;
      read.has_quotes := true;
    elsif next.kind = '<' and read.name is null then
      read.name := read.rest;
      read.rest := '';
      read.is_open := true;
    elsif next.kind = '>' and read.is_open then
      read.address := read.rest;
      read.rest := '';
      read.is_open := false;
    elsif next.kind in ('<', '>') then
      problem := format('this %s is not expected here', next.kind);
    else
      problem := automation.mailbox_problem(read);
      mailboxes := mailboxes || automation.as_list(coalesce(automation.mailbox_of(read), '[]'));
      read := nothing;
    end if;
  end loop;
  problem := coalesce(
    problem, case when in_quotes then 'these quotes are not closed' end, automation.mailbox_problem(read));
  mailboxes := mailboxes || automation.as_list(coalesce(automation.mailbox_of(read), '[]'));
end;
$$;

comment on function automation.parse_addresses(text) is
  'An address list, templates in it being opaque, as [{name, address}], or what is wrong with it.';

-- What can be known of an address before it is filled in: all of it, or what stands around its variables.
create or replace function automation.address_problem(address text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when address not like '%{{%' then
        case when automation.normalize_email(address) is null
          then format('"%s" is not an email address', left(address, 80)) end
      when not address ~ '\{\{\s*[#/]' and p.literals ~ '[\s()\[\]\\,;:"]' then
        format('"%s" cannot become one email address', left(address, 80))
    end
    from (
      select string_agg(t.token #>> '{}', '') filter (where jsonb_typeof(t.token) = 'string') as literals
      from jsonb_array_elements((automation.parse_template(address)).tokens) as t (token)
    ) as p
  $$;

-- Where the texts of a key stand: it is one, or a list of them. None when it is anything else, which the
-- schema says.
create or replace function automation.address_texts(value jsonb, path text)
  returns table (place bigint, source text, at text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select t.place, t.value #>> '{}',
      path || case when jsonb_typeof(address_texts.value) = 'array' then format('[%s]', t.place - 1) else '' end
    from jsonb_array_elements(automation.as_list(address_texts.value)) with ordinality as t (value, place)
    where not jsonb_path_exists(automation.as_list(address_texts.value), '$[*] ? (@.type() != "string")')
  $$;

create or replace function automation.address_problems(at text, mailboxes jsonb, problem text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
      at, 'invalid_address', format('%s: %s', automation.last_of_path(at), f.found),
      'For example "{{contact.first_name}} <{{contact.email}}>, office@example.com". A name with a comma goes '
      'in quotes; a variable is one address, or a list of them where it stands alone.')), '[]')
    from (
      select address_problems.problem as found
      union all
      select automation.address_problem(m.mailbox ->> 'address')
      from jsonb_array_elements(mailboxes) as m (mailbox)
      where address_problems.problem is null
    ) as f
    where f.found is not null
  $$;

-- A list that names too many, or nobody where somebody is needed.
create or replace function automation.address_count_problem(key text, found bigint, path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when found > most.count then automation.problem(
        path, 'out_of_range', format('%s must have at most %s', key, most.words))
      when found = 0 and key = 'to' then automation.problem(
        path, 'out_of_range', 'to must not be empty', 'Leave it out to write to the contact.')
    end
    from (
      select case key when 'from' then 1 else 50 end as count,
        case key when 'from' then 'one address' else '50 addresses' end as words
    ) as most
  $$;

create or replace function automation.compile_address_key(
  key text, value jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written record;
  parsed record;
begin
  problems := '[]';
  for written in select t.* from automation.address_texts(value, path) as t order by t.place loop
    parsed := automation.parse_addresses(written.source);
    if parsed.mailboxes is null or (automation.parse_template(written.source)).problem is not null then
      compiled := value;
      return;
    end if;
    problems := problems || automation.address_problems(written.at, parsed.mailboxes, parsed.problem);
    compiled := coalesce(compiled, '[]') || parsed.mailboxes;
  end loop;
  if compiled is null and value <> '[]' or automation.has_error(problems) then
    compiled := value;
    return;
  end if;
  problems := problems || coalesce(automation.as_list(automation.address_count_problem(
    key, coalesce(jsonb_array_length(compiled), 0), path)), '[]');
  compiled := nullif(compiled, '[]');
end;
$$;

comment on function automation.compile_address_key(text, jsonb, text) is
  'One of the address keys as [{name, address}], each a template; null when it names nobody.';

-- The headers that say where a message comes from and goes to, or how it is put together.
create or replace function automation.is_reserved_header(name text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select lower(btrim(name)) ~ ('^((resent-)?(to|from|cc|bcc|sender|reply-to|date|message-id)|subject|return-path'
      '|(apparently|delivered|errors|envelope|x-original|x-envelope|x-forwarded)-(to|from|cc|bcc)'
      '|received|mime-version|content-.*|dkim-signature|arc-.*|authentication-results)$')
  $$;

create or replace function automation.header_problem(name text, path text) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when name !~ '^[!#$%&''*+.^_`|~0-9A-Za-z-]+$' then automation.problem(
        path, 'invalid_header', format('"%s" is not the name of a header', left(name, 60)),
        'Letters, digits and -, such as X-Campaign.')
      when automation.is_reserved_header(name) then automation.problem(
        path, 'invalid_header', format('the header %s is set by the sender', left(name, 60)),
        'Use from, to, cc, bcc, reply_to and subject.')
    end
  $$;

create or replace function automation.check_headers(headers jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem order by h.name), '[]')
    from jsonb_object_keys(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h (name)
    cross join lateral (select automation.header_problem(h.name, path || '.' || h.name) as problem) as p
    where p.problem is not null
  $$;

create or replace function automation.compile_addresses(
  config jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
  part record;
begin
  compiled := config;
  problems := automation.check_headers(config -> 'headers', path || '.headers');
  foreach key in array automation.address_keys() loop
    if config ? key and not automation.is_blank(to_jsonb(config ->> key)) then
      part := automation.compile_address_key(key, config -> key, format('%s.%s', path, key));
      compiled := compiled - key
        || case when part.compiled is null then '{}' else jsonb_build_object(key, part.compiled) end;
      problems := problems || part.problems;
    else
      compiled := compiled - key;
    end if;
  end loop;
end;
$$;

comment on function automation.compile_addresses(jsonb, text) is
  'The configuration of an email with its address lists taken apart, and what is wrong with them.';

create or replace function automation.compile_recipients(
  step_type text, config jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  read record;
begin
  compiled := config;
  problems := '[]';
  if step_type = 'send_email' then
    read := automation.compile_addresses(config, path);
    compiled := read.compiled;
    problems := read.problems;
  end if;
end;
$$;

-- to.0.address -> to: what a step is told, of what it was compiled into.
create or replace function automation.written_path(step_type text, at text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case step_type
      when 'send_email' then regexp_replace(at, '^(to|cc|bcc|reply_to|from)\.\d+\.(name|address)$', '\1')
      else at
    end
  $$;

-- sql/02_definitions/04_compile_steps.sql

-- step_config -> the configuration a step runs with: other spellings folded into one, and that
-- checked against the step's schema, the grammars it names, and the names in the database.

-- What a form leaves empty was not given; but the fields of a record, a webhook's body and the value
-- of a condition may be empty.
create or replace function automation.fold_step_config(step_type text, config jsonb)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case step_type
      when 'update_contact' then automation.fold_fields(config)
      when 'update_project' then automation.fold_fields(config)
      when 'webhook' then automation.fold_webhook(automation.without_blanks(config, '{body,payload}'))
      when 'conditional' then automation.fold_conditional(automation.without_blanks(config, '{value}'))
      when 'wait' then automation.fold_wait(automation.without_blanks(config))
      else automation.fold_names(step_type, automation.without_blanks(config))
    end
  $$;

comment on function automation.fold_step_config(text, jsonb) is
  'A step_config in the one spelling that its schema describes; the older engines had others.';

create or replace function automation.without_blanks(config jsonb, but text[] default '{}') returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(k.key, k.value), '{}')
    from jsonb_each(config) as k
    where k.value not in ('null', '""') or k.key = any (but)
  $$;

create or replace function automation.fold_names(step_type text, config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case step_type
      when 'send_sms' then
        case when config ? 'message' and not config ? 'body'
          then config - 'message' || jsonb_build_object('body', config -> 'message')
          else config - 'message' end
      when 'send_email' then
        case when config ? 'body' and not config ?| '{html,text}'
          then config - 'body' || jsonb_build_object('html', config -> 'body')
          else config end
      when 'create_task' then
        case when config ? 'due_date_days'
          then config - 'due_date_days' || jsonb_build_object('due_in_days', config -> 'due_date_days')
          else config end
      when 'update_field' then
        case when config ? 'table'
          then config - 'table'
            || jsonb_build_object('entity', regexp_replace(config ->> 'table', 's$', ''))
          else config end
      when 'add_tag' then automation.fold_key(config, 'tag', '{tag_name,name}')
      when 'remove_tag' then automation.fold_key(config, 'tag', '{tag_name,name}')
      else config
    end
  $$;

create or replace function automation.fold_webhook(config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.fold_key(config, 'body', '{payload}')
      || case when jsonb_typeof(config -> 'method') = 'string'
        then jsonb_build_object('method', upper(config ->> 'method' collate "C")) else '{}' end
  $$;

-- {condition}, or one condition or group that is written into the configuration itself.
create or replace function automation.fold_conditional(config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when config ? 'branches' then config
      when config ? 'conditions' and config ? 'operator'
        then automation.fold_document(config, '{operator,conditions}')
      when config ? 'conditions' then config
      when config ? 'condition' then automation.fold_key(config, 'conditions', '{condition}')
      when config ? 'field'
        then automation.fold_document(config, '{field,operator,value,logic,case_sensitive}')
      when config ?| '{all,any,not}' then automation.fold_document(config, '{all,any,not}')
      else config
    end
  $$;

create or replace function automation.fold_document(config jsonb, keys text[]) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select config - keys || jsonb_build_object('conditions', (
      select jsonb_object_agg(k.key, k.value) from jsonb_each(config) as k where k.key = any (keys)))
  $$;

create or replace function automation.fold_key(config jsonb, key text, other_names text[])
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when config ? key then config
      else coalesce(
        (select config - n || jsonb_build_object(key, config -> n)
         from unnest(other_names) as n where config ? n limit 1),
        config)
    end
  $$;

create or replace function automation.fold_fields(config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when config ? 'fields' then config
      when config ? 'updates' then
        config - 'updates' || jsonb_build_object('fields', config -> 'updates')
      when config = '{}' then config
      else jsonb_build_object('fields', config)
    end
  $$;

create or replace function automation.fold_wait(config jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when config ? 'duration_minutes' then jsonb_build_object('minutes', config -> 'duration_minutes')
      when config ? 'delay_minutes' then jsonb_build_object('minutes', config -> 'delay_minutes')
      when config ? 'duration_hours' then jsonb_build_object('hours', config -> 'duration_hours')
      when config ? 'delay_hours' then jsonb_build_object('hours', config -> 'delay_hours')
      when config ? 'duration_days' then jsonb_build_object('days', config -> 'duration_days')
      when config ? 'duration' and config ->> 'unit' in ('minutes', 'hours', 'days', 'weeks') then
        jsonb_build_object(config ->> 'unit', config -> 'duration')
      when jsonb_typeof(config -> 'duration') = 'number' then
        jsonb_build_object('minutes', config -> 'duration')
      else config
    end
  $$;

-- What the schema and its grammars say, and then whether what it names is there.
create or replace function automation.check_step_config(step_type text, config jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.check_schema(t.config_schema, config, path)
      || automation.check_step_entity(config, path)
      || automation.check_step_fields(step_type, config, path)
      || case when step_type = 'wait' and config ? 'event'
        then automation.check_event(config -> 'event', path || '.event') else '[]' end
    from automation.step_types as t
    where t.name = step_type
  $$;

comment on function automation.check_step_config(text, jsonb, text) is
  'What is wrong with a folded step_config, apart from its templates.';

create or replace function automation.check_step_entity(config jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(config -> 'entity') = 'string' and config ->> 'entity' not like '%{{%'
        then automation.check_entity(config ->> 'entity', path || '.entity')
      else '[]'
    end
  $$;

-- What is wrong with an event that has the shape of one; its schema says whether it has.
create or replace function automation.check_event(event jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(event) = 'string' or jsonb_typeof(event -> 'type') = 'string'
          and coalesce(jsonb_typeof(event -> 'config'), 'object') = 'object'
        then (automation.compile_event(event, path)).problems
      else '[]'
    end
  $$;

-- A conditional's questions in the order they are asked, each with its branch: [{name, conditions}].
create or replace function automation.compile_cases(config jsonb, out cases jsonb, out roots text[])
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with asked as (
      select 'then' as name, config -> 'conditions' as conditions, 1 as place
      where config ? 'conditions'
      union all
      select b.value ->> 'name', b.value -> 'conditions', b.place
      from jsonb_array_elements(
        case jsonb_typeof(config -> 'branches') when 'array' then config -> 'branches' else '[]' end)
        with ordinality as b (value, place)
    ), compiled as (
      select a.name, a.place, c.compiled
      from asked as a
      cross join lateral automation.compile_conditions(a.conditions) as c
    )
    select
      coalesce(
        (select jsonb_agg(jsonb_build_object('name', c.name, 'conditions', c.compiled) order by c.place)
         from compiled as c), '[]'),
      array(
        select r from compiled as c, unnest(automation.condition_roots(c.compiled)) as r)
  $$;

-- The fields that update steps write are checked against the live table.
create or replace function automation.check_step_fields(step_type text, config jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
        path || w.at, 'unknown_field', format('%s has no field "%s" to write', w.entity, w.field),
        'Writable: ' || array_to_string(e.writable_columns, ', '))), '[]')
    from (
      select case step_type when 'update_contact' then 'contact' else 'project' end as entity,
        f.key as field, '.fields.' || f.key as at
      from jsonb_each(
        case when jsonb_typeof(config -> 'fields') = 'object' then config -> 'fields' else '{}' end)
        as f
      where step_type in ('update_contact', 'update_project')
      union all
      select coalesce(config ->> 'entity',
          substring(config ->> 'field' from '^(contact|project|job)\.'), 'contact'),
        regexp_replace(config ->> 'field', '^(contact|project|job)\.', ''), '.field'
      where step_type = 'update_field'
    ) as w
    join automation.entities as e on e.name = w.entity
    where not (w.field = any (e.writable_columns)
      or split_part(w.field, '.', 1) = 'custom_fields' and 'custom_fields' = any (e.writable_columns))
  $$;

-- sql/02_definitions/05_compile_workflow.sql

-- Authoring rows -> a plan. Everything that can be decided before a customer is involved is
-- decided here: order, branches, names, defaults, templates, conditions.

-- The ways on from a step that branches; none from any other.
create or replace function automation.step_branches(step_type text, config jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when step_type = 'conditional' and config ? 'branches' then automation.branch_names(config) || 'else'::text
      when step_type = 'conditional' then '{then,else}'
      when step_type = 'split' then automation.branch_names(config)
      when step_type = 'wait' and config ? 'event' then '{event,timeout}'
      else '{}'
    end
  $$;

create or replace function automation.branch_names(config jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(b.value ->> 'name' order by b.place), '{}')
    from jsonb_array_elements(
      case jsonb_typeof(config -> 'branches') when 'array' then config -> 'branches' else '[]' end)
      with ordinality as b (value, place)
    where b.value ->> 'name' is not null
  $$;

create or replace function automation.compile_step(step public.workflow_steps, key text, path text)
  returns table (compiled jsonb, problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.step_types;
  config jsonb := automation.fold_step_config(step.step_type, step.step_config);
  addressed record;
  template record;
  condition record;
  asked record;
begin
  select t.* into known from automation.step_types as t where t.name = step.step_type;
  select a.* into addressed from automation.compile_recipients(
    step.step_type, config, path || '.step_config') as a;
  select t.* into template from automation.compile_template(
    case step.step_type when 'conditional' then '{}' else addressed.compiled end, path || '.step_config') as t;
  select c.* into condition
  from automation.compile_conditions(step.conditions, path || '.conditions') as c;
  select c.* into asked
  from automation.compile_cases(case step.step_type when 'conditional' then config else '{}' end) as c;
  compiled := jsonb_build_object(
    'key', key,
    'at', path,
    'name', coalesce(step.name, step.step_type),
    'type', step.step_type,
    'lane', known.lane,
    'delay_seconds', step.delay_minutes * 60,
    'config', template.compiled,
    'conditions', condition.compiled,
    'roots', to_jsonb(
      automation.template_roots(template.compiled) || automation.condition_roots(condition.compiled)
      || asked.roots),
    'continue_on_error', step.continue_on_error)
    || case step.step_type when 'conditional' then jsonb_build_object('cases', asked.cases) else '{}' end
    || automation.compile_retry(step.retry);
  problems := template.problems || addressed.problems || condition.problems
    || automation.check_step_config(step.step_type, config, path || '.step_config')
    || automation.check_retry(step.retry, path || '.retry');
  return next;
end;
$$;

-- {max_attempts, delay, max_delay} -> {retry: {max_attempts, base, cap}}, lengths as intervals.
create or replace function automation.compile_retry(retry jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when retry = '{}' then '{}'
      else jsonb_build_object('retry', jsonb_strip_nulls(jsonb_build_object(
        'max_attempts', retry -> 'max_attempts',
        'base', automation.duration_in(retry -> 'delay'),
        'cap', automation.duration_in(retry -> 'max_delay'))))
    end
  $$;

create type automation.compiled_chain as (
  first text,
  steps jsonb,
  found jsonb,
  seen uuid[],
  problems jsonb
);

comment on type automation.compiled_chain is
  'Steps that follow each other, with all that branches off them. found: {key, at} of each, for finding '
  'two of the same key; seen: the rows they were made of.';

create or replace function automation.step_key(
  step public.workflow_steps, parent_key text, place bigint)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      step.step_key,
      case when parent_key is null then 'step_' || place
        else format('%s_%s_%s', parent_key, step.branch, place) end)
  $$;

-- The steps on one branch of a parent (of none: the workflow's own), each pointing to the next; the
-- last one points to `after`. Worked out from the end, so that what comes next is known. A step that is
-- switched off is checked, and left out with all that branches off it.
create or replace function automation.compile_chain(
  workflow public.workflows, parent public.workflow_steps, parent_key text, branch text, after text,
  path text, depth integer)
  returns automation.compiled_chain
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  chain automation.compiled_chain := row(after, '{}', '[]', '{}', '[]');
  part automation.compiled_chain;
  member record;
  compiled record;
begin
  for member in
    select s as step, row_number() over w as place
    from public.workflow_steps as s
    where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
      and s.parent_step_id is not distinct from parent.id and s.branch is not distinct from compile_chain.branch
    window w as (order by s.step_order, s.created_at, s.id)
    order by 2 desc
  loop
    select c.* into compiled from automation.compile_step(
      member.step, automation.step_key(member.step, parent_key, member.place),
      format('%s[%s]', path, member.place - 1)) as c;
    part := automation.compile_branches(workflow, member.step, compiled.compiled, chain.first, depth);
    if (member.step).enabled then
      chain.steps := chain.steps || part.steps;
      chain.first := part.first;
    end if;
    chain.found := part.found || chain.found;
    chain.seen := part.seen || chain.seen;
    chain.problems := compiled.problems || part.problems || chain.problems;
  end loop;
  return chain;
end;
$$;

-- One step with all that branches off it.
create or replace function automation.compile_branches(
  workflow public.workflows, step public.workflow_steps, compiled jsonb, after text, depth integer)
  returns automation.compiled_chain
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key constant text := compiled ->> 'key';
  names text[] := automation.step_branches(
    step.step_type, automation.fold_step_config(step.step_type, step.step_config));
  whole automation.compiled_chain := row(
    key, '{}', jsonb_build_array(jsonb_build_object('key', key, 'at', compiled -> 'at')),
    array[step.id], '[]');
  part automation.compiled_chain;
  branches jsonb := '{}'::jsonb;
  name text;
begin
  compiled := compiled || jsonb_build_object('next', after) || case
    when workflow.settings ->> 'on_missing' = 'fail' then '{"on_missing": "fail"}' else '{}' end::jsonb;
  if names <> '{}' and depth >= 20 then
    whole.problems := automation.as_list(automation.problem(
      compiled ->> 'at', 'too_deep', 'branches are nested more than 20 deep',
      'Move the inner steps to a workflow of their own.'));
    names := '{}';
  end if;
  foreach name in array names loop
    part := automation.compile_chain(
      workflow, step, key, name, after, format('%s.%s', compiled ->> 'at', name), depth + 1);
    branches := branches || jsonb_build_object(name, part.first);
    whole.steps := whole.steps || part.steps;
    whole.found := whole.found || part.found;
    whole.seen := whole.seen || part.seen;
    whole.problems := whole.problems || part.problems;
  end loop;
  if names <> '{}' then
    compiled := compiled || jsonb_build_object('branches', branches);
  end if;
  whole.steps := whole.steps || jsonb_build_object(key, compiled);
  return whole;
end;
$$;

-- A parent that is its own descendant.
create or replace function automation.is_circular(step public.workflow_steps) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive up (id, parent_step_id, seen) as (
      select step.id, step.parent_step_id, array[step.id]
      union all
      select s.id, s.parent_step_id, up.seen || s.id
      from up join public.workflow_steps as s on s.tenant_id = step.tenant_id and s.id = up.parent_step_id
      where s.id <> all (up.seen)
    )
    select exists (select from up where up.parent_step_id = step.id)
  $$;

create or replace function automation.check_chain(
  workflow public.workflows, chain automation.compiled_chain)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(found.problem), '[]')
    from (
      select automation.problem(
          d.at || '.step_key', 'duplicate', format('two steps are called "%s"', d.key),
          'Give each a step_key of its own; a step without one is called step_<n>.')
      from (
        select f ->> 'key' as key, max(f ->> 'at') as at
        from jsonb_array_elements(chain.found) as f group by 1 having count(*) > 1
      ) as d
      union all
      select automation.problem(
          'steps', 'unknown_branch',
          format('step "%s" is on branch "%s" of a step that has no such branch',
            coalesce(s.step_key, s.name, s.step_type), s.branch),
          case
            when p.id is null then 'parent_step_id must be a step of the same workflow.'
            when automation.is_circular(s) then 'It is its own parent, directly or through others.'
            else coalesce(
              'Its branches: ' || nullif(array_to_string(automation.step_branches(
                p.step_type, automation.fold_step_config(p.step_type, p.step_config)), ', '), ''),
              format('%s has no branches.', p.step_type))
          end)
      from public.workflow_steps as s
      left join public.workflow_steps as p
        on p.tenant_id = s.tenant_id and p.id = s.parent_step_id and p.workflow_id = s.workflow_id
      where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
        and s.id <> all (chain.seen)
        and (p.id is null or p.id = any (chain.seen) or automation.is_circular(s))
      union all
      select automation.problem(
        'steps', 'missing', 'the workflow has no enabled step',
        'Add a row to workflow_steps, then set is_active.')
      where chain.first is null
    ) as found (problem)
  $$;

create or replace function automation.compile_steps(
  workflow public.workflows, out plan jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  chain constant automation.compiled_chain :=
    automation.compile_chain(workflow, null, null, null, null, 'steps', 0);
begin
  plan := jsonb_build_object('first', chain.first, 'steps', chain.steps);
  problems := chain.problems || automation.check_chain(workflow, chain);
end;
$$;

create type automation.compiled_workflow as (
  listener automation.compiled_trigger,
  conditions jsonb,
  plan jsonb,
  problems jsonb
);

-- Checking reads many small things through functions whose cost Postgres overrates: it would compile
-- their plans at every call (measured on 15: a second a workflow instead of 15 ms), hence jit = off.
create or replace function automation.compile_workflow(workflow public.workflows)
  returns automation.compiled_workflow
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  listener constant automation.compiled_trigger :=
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config);
  condition record;
  steps record;
  lifecycle record;
begin
  select c.* into condition
  from automation.compile_conditions(workflow.conditions, 'conditions') as c;
  select s.* into steps from automation.compile_steps(workflow) as s;
  select l.* into lifecycle from automation.compile_lifecycle(workflow.settings, 'settings') as l;
  return row(
    listener, condition.compiled, steps.plan || lifecycle.compiled,
    listener.problems || condition.problems || steps.problems || lifecycle.problems
      || automation.check_plan(
        workflow, listener, condition.compiled, steps.plan || lifecycle.compiled)
  )::automation.compiled_workflow;
end;
$$;

comment on function automation.compile_workflow(public.workflows) is
  'Compiles the authoring rows of a workflow. Writes nothing; problems says what is wrong.';

-- sql/02_definitions/06_compile_settings.sql

-- workflows.settings -> plan.lifecycle: who may enter again, and what ends a run early.

create type automation.compiled_event as (
  type text,
  compiled automation.compiled_trigger,
  problems jsonb
);

-- An event that a run waits for or ends at: a trigger type, alone or with its trigger_config. What is
-- not of that shape is for the schema to say.
create or replace function automation.compile_event(event jsonb, path text)
  returns automation.compiled_event
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  read automation.compiled_event;
  alone constant boolean := jsonb_typeof(event) = 'string';
  config constant jsonb := coalesce(event -> 'config', '{}');
begin
  read.type := case when alone then event #>> '{}' else event ->> 'type' end;
  read.problems := '[]';
  if read.type is null or not alone and jsonb_typeof(event -> 'type') <> 'string'
    or jsonb_typeof(config) <> 'object' then
    return read;
  elsif not exists (
    select from automation.trigger_types as t
    where t.name = read.type and t.kind not in ('time', 'manual')) then
    read.problems := jsonb_build_array(automation.problem(
      path || case when alone then '' else '.type' end, 'unknown_event',
      format('there is no event "%s" to wait for', left(read.type, 60)),
      'Known: ' || (select string_agg(t.name, ', ' order by t.name) from automation.trigger_types as t
                    where t.kind not in ('time', 'manual'))));
    return read;
  end if;
  read.compiled := automation.compile_trigger(read.type, config, path || '.config');
  read.problems := (read.compiled).problems;
  return read;
end;
$$;

-- "always" -> nothing to ask; {"once_in": "30 days"} -> {policy, within}.
create or replace function automation.compile_reentry(settings jsonb) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when r.value is null and not settings ? 'dedupe_key' or r.value = '"always"' then null
      when jsonb_typeof(r.value) = 'object' then jsonb_build_object(
        'policy', 'once_in', 'within', automation.duration_in(r.value -> 'once_in'))
      else jsonb_build_object('policy', coalesce(r.value #>> '{}', 'never'))
    end
    from (select settings -> 'reentry' as value) as r
  $$;

comment on function automation.compile_reentry(jsonb) is
  'What is asked before a run starts; null: nothing. A dedupe_key alone means never again.';

create or replace function automation.compile_lifecycle(
  settings jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set jit = off
  as $$
declare
  exit_conditions record;
  key record;
begin
  select c.* into exit_conditions
  from automation.compile_conditions(settings -> 'exit_conditions', path || '.exit_conditions') as c;
  select t.* into key
  from automation.compile_template(settings -> 'dedupe_key', path || '.dedupe_key') as t;
  problems := automation.check_settings(settings, path);
  select coalesce(jsonb_object_agg(l.key, l.value), '{}') into compiled
  from (values
    ('reentry', automation.compile_reentry(settings)),
    ('key', case when settings ? 'dedupe_key' then key.compiled end),
    ('exit', exit_conditions.compiled)) as l (key, value)
  where l.value is not null;
  compiled := case compiled when '{}' then compiled else jsonb_build_object('lifecycle', compiled) end;
end;
$$;

comment on function automation.compile_lifecycle(jsonb, text) is
  'Compiles the settings of a workflow; problems says what is wrong with them.';

create or replace function automation.check_settings(settings jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.check_schema(s.config_schema, settings, path)
      || (select t.problems
          from automation.compile_template(settings -> 'dedupe_key', path || '.dedupe_key') as t)
      || coalesce((
        select jsonb_agg(p.problem order by e.place)
        from jsonb_array_elements(
            case jsonb_typeof(settings -> 'exit_events') when 'array' then settings -> 'exit_events'
              else '[]' end) with ordinality as e (value, place)
          cross join lateral jsonb_array_elements(automation.check_event(
            e.value, format('%s.exit_events[%s]', path, e.place - 1))) as p (problem)), '[]')
    from automation.setting_schemas as s
    where s.name = 'settings'
  $$;

comment on function automation.check_settings(jsonb, text) is
  'What is wrong with workflows.settings, the conditions, template and events in it included.';

create or replace function automation.check_retry(retry jsonb, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.check_schema(s.config_schema, retry, path)
    from automation.setting_schemas as s
    where s.name = 'retry'
  $$;

comment on function automation.check_retry(jsonb, text) is
  'What is wrong with workflow_steps.retry.';

-- sql/02_definitions/07_publish.sql

-- Publishing, pausing and the is_active switch.

create or replace function automation.publish(tenant_id uuid, workflow_id uuid, via text)
  returns public.workflow_versions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow public.workflows;
  compiled automation.compiled_workflow;
  published public.workflow_versions;
begin
  select w.* into workflow from public.workflows as w
  where w.tenant_id = publish.tenant_id and w.id = publish.workflow_id
  for no key update;
  compiled := automation.compile_workflow(workflow);
  perform automation.raise_problems(
    compiled.problems, format('workflow "%s" cannot be published', workflow.name));
  published := automation.add_version(workflow, compiled.conditions, compiled.plan, via);
  perform automation.stop_listening(workflow.tenant_id, workflow.id);
  perform automation.start_listening(published, compiled.listener);
  perform automation.listen_for_runs(published, workflow.settings);
  perform automation.start_waiting(published);
  update public.workflows as w
  set published_version = published.version, status = 'active', is_active = true
  where w.tenant_id = workflow.tenant_id and w.id = workflow.id;
  return published;
end;
$$;

comment on function automation.publish(uuid, uuid, text) is
  'Compiles a workflow into its next version and makes that version the one that new executions '
  'start with. Raises 22023 naming the field when the definition has an error.';

-- Switching a workflow off and on again is not a new version.
create or replace function automation.add_version(
  workflow public.workflows, conditions jsonb, plan jsonb, via text)
  returns public.workflow_versions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  latest public.workflow_versions;
begin
  select v.* into latest
  from public.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
  order by v.version desc
  limit 1;
  if (latest.trigger_type, latest.trigger_config, latest.conditions, latest.plan)
    is not distinct from
    (workflow.trigger_type, workflow.trigger_config, add_version.conditions, add_version.plan) then
    return latest;
  end if;
  insert into public.workflow_versions
    (tenant_id, workflow_id, version, trigger_type, trigger_config, conditions, plan, published_via)
  values (
    workflow.tenant_id, workflow.id, coalesce(latest.version, 0) + 1, workflow.trigger_type,
    workflow.trigger_config, add_version.conditions, add_version.plan, via)
  returning * into latest;
  return latest;
end;
$$;

create or replace function automation.start_listening(
  version public.workflow_versions, listener automation.compiled_trigger)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.active_triggers (
      tenant_id, entity, event, workflow_id, version, match, match_any, match_column, match_value,
      field, from_values, to_values, conditions, reentry, first_step, first_lane, first_delay)
    select version.tenant_id, listener.entity, version.trigger_type, version.workflow_id,
      version.version, listener.match, listener.match_any, listener.match_column,
      listener.match_value, listener.field, listener.from_values, listener.to_values,
      version.conditions,
      case when not version.plan -> 'lifecycle' ? 'key' then version.plan #> '{lifecycle,reentry}' end,
      first.step ->> 'key',
      (first.step ->> 'lane')::public.automation_lane,
      make_interval(secs => (first.step ->> 'delay_seconds')::double precision)
    from (
      select version.plan -> 'steps' -> (version.plan ->> 'first') as step
    ) as first
  $$;

-- The events that runs of this version end at or wait for. They are listened to for as long as there
-- may be such runs: switching the workflow off does not end them.
create or replace function automation.listen_for_runs(
  version public.workflow_versions, settings jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.active_triggers (
      tenant_id, entity, event, workflow_id, version, role, listener, match, match_any, match_column,
      match_value, field, from_values, to_values)
    select version.tenant_id, (e.compiled).entity, e.type, version.workflow_id, version.version,
      w.role, w.listener, (e.compiled).match, (e.compiled).match_any, (e.compiled).match_column,
      (e.compiled).match_value, (e.compiled).field, (e.compiled).from_values, (e.compiled).to_values
    from (
      select 'exit' as role, (x.place - 1)::text as listener, x.event
      from jsonb_array_elements(settings -> 'exit_events') with ordinality as x (event, place)
      union all
      select 'wait', s.key, s.value #> '{config,base,event}'
      from jsonb_each(version.plan -> 'steps') as s
      where s.value ->> 'type' = 'wait' and s.value #> '{config,base}' ? 'event'
    ) as w
    cross join lateral automation.compile_event(w.event, '') as e
    on conflict on constraint active_triggers_pkey do nothing
  $$;

create or replace function automation.forget_listeners() returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  forgotten integer;
begin
  delete from automation.active_triggers as t
  where t.role <> 'enrol'
    and not exists (
      select from public.workflows as w
      where w.tenant_id = t.tenant_id and w.id = t.workflow_id and w.published_version = t.version
        and w.is_active)
    and not exists (
      select from public.workflow_executions as e
      where e.workflow_id = t.workflow_id and e.tenant_id = t.tenant_id and e.version = t.version
        and e.finished_at is null);
  get diagnostics forgotten = row_count;
  return forgotten;
end;
$$;

comment on function automation.forget_listeners() is
  'Stops listening for runs that are over: events that only runs of older versions, or of workflows that '
  'were switched off, waited for. Called once a day. Returns how many listeners that was.';

create or replace function automation.stop_listening(tenant_id uuid, workflow_id uuid) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.active_triggers as t
    where t.tenant_id = stop_listening.tenant_id and t.workflow_id = stop_listening.workflow_id
      and t.role = 'enrol'
  $$;

comment on function automation.stop_listening(uuid, uuid) is
  'Nobody enters the workflow any more. Its runs in flight go on, and what they wait for still counts.';

-- is_active and status are two views of one switch: whichever the client changed wins.
create or replace function automation.check_workflow() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (select from automation.trigger_types as t where t.name = new.trigger_type) then
    raise exception 'trigger_type: there is no trigger "%"', new.trigger_type
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || (select string_agg(t.name, ', ' order by t.name)
                             from automation.trigger_types as t);
  end if;
  if tg_op = 'INSERT' then
    new.is_active := new.is_active or new.status = 'active';
  elsif new.is_active = old.is_active and new.status is distinct from old.status then
    new.is_active := new.status = 'active';
  end if;
  if new.is_active then
    new.status := 'active';
  elsif new.status = 'active' then
    new.status := 'paused';
  end if;
  return new;
end;
$$;

create trigger workflows_check
  before insert or update on public.workflows
  for each row execute function automation.check_workflow();

-- A workflow that is inserted as active has no steps yet: it is published when they arrive.
create or replace function automation.follow_switch() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if new.is_active and not old.is_active then
    perform automation.publish(new.tenant_id, new.id, 'activation');
  elsif old.is_active and not new.is_active then
    perform automation.stop_listening(new.tenant_id, new.id);
    perform automation.stop_waiting(new.tenant_id, new.id);
  end if;
  return null;
end;
$$;

create trigger workflows_follow_switch
  after update of is_active, status on public.workflows
  for each row
  when (old.is_active <> new.is_active
    and old.published_version is not distinct from new.published_version)
  execute function automation.follow_switch();

create or replace function automation.publish_with_first_steps() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  waiting record;
begin
  for waiting in
    select w.tenant_id, w.id
    from public.workflows as w
    left join public.workflow_versions as v
      on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
    where w.is_active
      and coalesce(v.published_via, 'steps') = 'steps'
      and exists (
        select from public.workflow_steps as s
        where s.tenant_id = w.tenant_id and s.workflow_id = w.id and s.enabled)
      and (w.tenant_id, w.id) in (select a.tenant_id, a.workflow_id from added as a)
    order by w.tenant_id, w.id
  loop
    perform automation.publish(waiting.tenant_id, waiting.id, 'steps');
  end loop;
  return null;
end;
$$;

comment on function automation.publish_with_first_steps() is
  'Clients that insert an active workflow and then its steps need no third request: such a '
  'workflow follows its new steps until it is published by hand for the first time.';

create trigger workflow_steps_publish_first
  after insert on public.workflow_steps
  referencing new table as added
  for each statement execute function automation.publish_with_first_steps();

create or replace function automation.check_step() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (select from automation.step_types as t where t.name = new.step_type) then
    raise exception 'step_type: there is no step "%"', new.step_type
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || (select string_agg(t.name, ', ' order by t.name)
                             from automation.step_types as t);
  end if;
  return new;
end;
$$;

create trigger workflow_steps_check
  before insert or update of step_type on public.workflow_steps
  for each row execute function automation.check_step();

create or replace function automation.refuse_version_change() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise exception 'workflow_versions: a published version never changes'
    using errcode = 'object_not_in_prerequisite_state',
      hint = 'Edit the workflow and publish again.';
end;
$$;

create trigger workflow_versions_immutable
  before update on public.workflow_versions
  for each row execute function automation.refuse_version_change();

-- History outlives a workflow, and a running capture must find the version it enrols into: a
-- workflow that was ever published is archived, not deleted. A tenant goes with all it has.
create or replace function automation.refuse_published_delete() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if old.published_version is not null
    and exists (select from public.tenants as t where t.id = old.tenant_id) then
    raise exception 'workflow "%" was published and keeps its history', old.name
      using errcode = 'object_in_use', hint = 'Set status to archived instead.';
  end if;
  return old;
end;
$$;

create trigger workflows_refuse_published_delete
  before delete on public.workflows
  for each row execute function automation.refuse_published_delete();

do $$
declare
  touched text;
begin
  foreach touched in array array['workflows', 'workflow_steps'] loop
    execute format(
      'create trigger %I before update on public.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      touched || '_touch', touched);
  end loop;
end;
$$;

-- sql/02_definitions/08_check_plan.sql

-- What only the whole can tell: a compiled workflow against the live schema, against itself, and
-- against the tenant's other workflows. docs/validation.md lists what is found.
--
--   08_check_plan        the entry, and what a workflow may refer to (its scope)
--   09_check_references  fields, variables and earlier steps that are not there
--   10_check_operators   operators and values that do not fit a column's type
--   11_check_conditions  conditions that contradict each other, or that say nothing
--   12_check_flow        steps that are never reached, or that lack what they need
--   13_check_cycles      workflows that start each other
--
-- A scope: {kind: of the trigger, entity: whose record fires (null: none), records: that a run can
-- have, lenient: a manual run may bring anything, zone, columns: {record: {column: kind}}}.

create or replace function automation.check_plan(
  workflow public.workflows, listener automation.compiled_trigger, conditions jsonb, plan jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  scope constant jsonb := automation.check_scope(workflow, listener);
  documents constant jsonb := automation.condition_documents(workflow, conditions, plan);
  weighed constant record := automation.check_conditions(
    documents, automation.trigger_facts(workflow, listener, scope), scope);
begin
  return automation.check_references(documents, plan, scope)
    || automation.check_step_references(workflow, documents, plan)
    || automation.check_operators(documents, plan, scope)
    || weighed.problems
    || automation.check_flow(plan, weighed.verdicts)
    || automation.check_needs(workflow, plan, scope)
    || automation.check_cycles(workflow, listener, conditions, plan, scope);
end;
$$;

comment on function automation.check_plan(
  public.workflows, automation.compiled_trigger, jsonb, jsonb) is
  'Problems of a compiled workflow that its parts alone do not show. Writes nothing.';

-- What a value of a type is as JSON.
create or replace function automation.value_kind(type oid) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when t.typtype = 'd' then automation.value_kind(t.typbasetype)
      when t.oid in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype) or t.typtype = 'c'
        then 'json'
      when t.typcategory = 'A' then 'list'
      when t.typtype = 'e' then 'enum'
      when t.typcategory = 'B' then 'boolean'
      when t.typcategory = 'S' then 'text'
      when t.oid = 'pg_catalog.uuid'::regtype then 'uuid'
      when t.oid in ('pg_catalog.date'::regtype, 'pg_catalog.timestamp'::regtype,
        'pg_catalog.timestamptz'::regtype) then 'date'
      when t.oid in ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype,
        'pg_catalog.int8'::regtype, 'pg_catalog.float4'::regtype, 'pg_catalog.float8'::regtype,
        'pg_catalog.numeric'::regtype) then 'number'
      when exists (
        select from pg_catalog.pg_cast as c
        where c.castsource = t.oid
          and c.casttarget in ('pg_catalog.json'::regtype, 'pg_catalog.jsonb'::regtype))
        then 'json'
      else 'other'
    end
    from pg_catalog.pg_type as t
    where t.oid = value_kind.type
  $$;

comment on function automation.value_kind(oid) is
  'text, enum, number, date, boolean, uuid, list, json (anything may be inside) or other.';

-- From the catalog, not from automation.entities: a column that was added since is read as well. A
-- table that is gone has null, about which nothing is said.
-- The names that the engine knows columns by, whatever they are called in the table.
create or replace function automation.mapped_kinds(entity text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(m.key, automation.value_kind(a.atttypid)), '{}')
    from automation.entities as e
    cross join lateral jsonb_each_text(e.mapped) as m
    join pg_catalog.pg_attribute as a
      on a.attrelid = to_regclass(e.relation) and a.attname = m.value and not a.attisdropped
    where e.name = mapped_kinds.entity
  $$;

create or replace function automation.known_columns() returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_object_agg(r.name, r.columns)
    from (
      select k.name, k.more || jsonb_object_agg(a.attname, automation.value_kind(a.atttypid))
        filter (where a.attname is not null) as columns
      from (
        select e.name, to_regclass(e.relation) as relation,
          case e.name when 'contact' then '{"tags": "list"}'::jsonb else '{}' end
            || automation.mapped_kinds(e.name) as more
        from automation.entities as e
        union all values
          ('tenant', 'public.tenants'::regclass, '{}'::jsonb),
          ('user', 'public.tenant_members'::regclass, '{"id": "uuid"}'::jsonb)
      ) as k
      left join pg_catalog.pg_attribute as a
        on a.attrelid = k.relation and a.attnum > 0 and not a.attisdropped
      group by k.name, k.more
    ) as r
  $$;

comment on function automation.known_columns() is
  '{record: {column: kind}}: what variables and conditions can read.';

create or replace function automation.fired_entity(
  workflow public.workflows, listener automation.compiled_trigger)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select nullif(case workflow.trigger_type
      when 'time_elapsed' then coalesce(workflow.trigger_config ->> 'entity', 'contact')
      when 'scheduled' then workflow.trigger_config #>> '{for_each,entity}'
      else listener.entity
    end, '')
  $$;

comment on function automation.fired_entity(public.workflows, automation.compiled_trigger) is
  'Whose record a workflow runs for; null: none, or any.';

-- A run has the record that fired and those it belongs to; a job knows its contact through its
-- project (automation.add_related).
create or replace function automation.check_scope(
  workflow public.workflows, listener automation.compiled_trigger)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'kind', t.kind,
      'entity', e.name,
      'lenient', t.kind = 'manual' or f.entity is not null and e.name is null,
      'records', to_jsonb(case
        when e.name is null then '{}'
        else array[e.name] || array(select jsonb_object_keys(e.related))
          || case when e.related ? 'project' then '{contact}'::text[] else '{}' end
      end),
      'zone', automation.tenant_zone(workflow.tenant_id),
      'columns', automation.known_columns())
    from automation.trigger_types as t
    cross join lateral (select automation.fired_entity(workflow, listener) as entity) as f
    left join automation.entities as e on e.name = f.entity
    where t.name = workflow.trigger_type
  $$;

-- Every condition document of a workflow. step: whose it is (null: the workflow's own); branch: of a
-- conditional's case, or exit for what ends a run.
create or replace function automation.condition_documents(
  workflow public.workflows, conditions jsonb, plan jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(jsonb_build_object(
      'step', d.step, 'branch', d.branch, 'compiled', d.compiled)), '[]')
    from (
      select null::text as step, null::text as branch, conditions as compiled
      union all
      select null, null, (select c.compiled from automation.compile_conditions(
        workflow.trigger_config #> '{for_each,conditions}',
        'trigger_config.for_each.conditions') as c)
      where workflow.trigger_type = 'scheduled'
      union all
      select null, 'exit', plan #> '{lifecycle,exit}'
      union all
      select s.key, null, s.value -> 'conditions' from jsonb_each(plan -> 'steps') as s
      union all
      select s.key, c.value ->> 'name', c.value -> 'conditions'
      from jsonb_each(plan -> 'steps') as s,
        jsonb_array_elements(case jsonb_typeof(s.value -> 'cases')
          when 'array' then s.value -> 'cases' else '[]' end) as c
    ) as d
    where jsonb_typeof(d.compiled) = 'object'
  $$;

-- Where a step stands in what people edit.
create or replace function automation.step_path(step jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(step ->> 'at', format('steps["%s"]', step ->> 'key')) $$;

-- The names that look most like a word: by the letters and the pairs of letters that they share,
-- without case and underscores, so that firstName finds first_name and tpye finds type.
create or replace function automation.nearest(word text, names text[]) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    with given (name, letters) as (
      select n, replace(lower(left(coalesce(n, word), 60) collate "C"), '_', '')
      from unnest(array[null] || names) as n
    ), parts as (
      select g.name, array_agg(distinct p.part) as found
      from given as g
      cross join generate_series(1, length(g.letters) + 1) as i
      cross join lateral (values
        (substr('^' || g.letters || '$', i, 2)), (nullif(substr(g.letters, i, 1), ''))) as p (part)
      where p.part is not null
      group by g.name
    ), alike as (
      select p.name, 2.0 * (select count(*) from unnest(p.found) as f where f = any (w.found))
        / (cardinality(p.found) + cardinality(w.found)) as degree
      from parts as p join parts as w on w.name is null
      where p.name is not null
    )
    select coalesce(array_agg(a.name order by a.degree desc, a.name), '{}')
    from (
      select a.name, a.degree from alike as a
      where a.degree >= 0.55 and a.degree >= (select max(b.degree) - 0.15 from alike as b)
      order by a.degree desc, a.name
      limit 3
    ) as a
  $$;

comment on function automation.nearest(text, text[]) is
  'Up to three of the names that a word may have been meant for, the likeliest first.';

create or replace function automation.suggestion(word text, names text[], otherwise text)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when n = '{}' then otherwise || (select string_agg(u, ', ' order by u) from unnest(names) as u)
      else format('Did you mean %s?', array_to_string(n, ', '))
    end
    from automation.nearest(word, names) as n
  $$;

-- sql/02_definitions/09_check_references.sql

-- Fields and variables against the live schema. What a record may hold inside a JSON column, what a
-- form or a program sends as custom.* and trigger.*, is nobody's to know.

-- Every field that is read: {reference, at, step}. A reference is a compiled one, with the path of
-- its keys in p, or in b for a bare name.
create or replace function automation.read_references(documents jsonb, plan jsonb)
  returns table (reference jsonb, at text, step text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select f.reference, (t.test ->> 'at') || f.suffix, d ->> 'step'
    from jsonb_array_elements(documents) as d,
      jsonb_array_elements(d -> 'compiled' -> 'code') as t (test),
      lateral (values (t.test, '.field'), (t.test -> 'r', '.value.field')) as f (reference, suffix)
    where f.reference is not null
    union
    -- What an #each calls its items is no field.
    select r.reference, automation.slot_path(s.value, slot.value), s.key
    from jsonb_each(plan -> 'steps') as s,
      jsonb_array_elements(s.value -> 'config' -> 'slots') as slot,
      jsonb_path_query(
        jsonb_build_array(slot.value -> 'w', slot.value -> 's'),
        'strict $.** ? (exists (@.p) || exists (@.b))') as r (reference)
    where not r.reference ? 'loop'
  $$;

create or replace function automation.slot_path(step jsonb, slot jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.step_path(step) || '.step_config'
      || coalesce('.' || nullif(automation.written_path(
        step ->> 'type', array_to_string((slot ->> 'at')::text[], '.')), ''), '')
  $$;

create or replace function automation.reference_name(reference jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(reference ->> 'name', reference ->> 'field',
      array_to_string(coalesce(reference ->> 'p', reference ->> 'b')::text[], '.'))
  $$;

-- Whose value a reference is: the record, and the keys in it. record null: nobody's that is known
-- here; a bare name that no record has keeps its keys.
create or replace function automation.resolve_reference(
  reference jsonb, scope jsonb, out record text, out keys text[])
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  path constant text[] := coalesce(reference ->> 'p', reference ->> 'b')::text[];
begin
  if reference ? 'b' then
    keys := path;
    select c.name into record
    from unnest(array[scope ->> 'entity', 'contact', 'project', 'job']) with ordinality
      as c (name, place)
    where scope -> 'columns' -> c.name ? path[1]
    order by scope -> 'records' ? c.name desc, c.place
    limit 1;
  elsif path[1] = 'trigger' and path[2] in ('record', 'old') then
    record := scope ->> 'entity';
    keys := path[3:];
  elsif path[1] = 'trigger' and scope -> 'columns' ? path[2] and path[2] not in ('user', 'tenant')
    then
    record := path[2];
    keys := path[3:];
  elsif path[1] not in ('trigger', 'custom', 'steps') then
    record := path[1];
    keys := path[2:];
  end if;
end;
$$;

-- The kind of a reference's value: null when it lies inside JSON, or cannot be known.
create or replace function automation.reference_kind(reference jsonb, scope jsonb) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case when cardinality(r.keys) = 1 then scope -> 'columns' -> r.record ->> r.keys[1] end
    from automation.resolve_reference(reference, scope) as r
  $$;

create or replace function automation.check_references(documents jsonb, plan jsonb, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem order by p.first, p.problem ->> 'path', p.problem ->> 'severity',
      p.problem ->> 'message'), '[]')
    from (
      select coalesce(
          automation.unknown_reference(r.reference, r.at, scope),
          automation.absent_reference(r.reference, r.at, scope)) as problem,
        r.step is not null as first
      from automation.read_references(documents, plan) as r
      group by 1, 2
    ) as p
    where p.problem is not null
  $$;

create or replace function automation.unknown_reference(reference jsonb, at text, scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  severity constant text := case when (scope ->> 'lenient')::boolean then 'warning' else 'error' end;
  name constant text := automation.reference_name(reference);
  resolved constant record := automation.resolve_reference(reference, scope);
  columns constant jsonb := scope -> 'columns' -> resolved.record;
  kind constant text := columns ->> resolved.keys[1];
begin
  if resolved.record is null then
    return case when reference ? 'b'
      then automation.unknown_bare_name(resolved.keys, at, scope, severity) end;
  elsif jsonb_typeof(columns) is distinct from 'object' or cardinality(resolved.keys) = 0 then
    return null;
  elsif kind is null then
    return automation.problem(
      at, 'unknown_field', format('%s: %s has no field "%s"', name, resolved.record, resolved.keys[1]),
      automation.suggestion(resolved.keys[1], array(select jsonb_object_keys(columns)), 'Its fields: '),
      case when resolved.record in ('user', 'tenant') then 'error' else severity end);
  elsif cardinality(resolved.keys) > 1 and kind not in ('json', 'list', 'other') then
    return automation.problem(
      at, 'unknown_field',
      format('%s: there is nothing inside %s.%s, %s', name, resolved.record, resolved.keys[1],
        automation.kind_name(kind)),
      'Only JSON columns such as custom_fields have fields inside them.', severity);
  end if;
  return null;
end;
$$;

-- A name that is no column of anything: a root that does not exist, a record without its field, or
-- a field that is misspelt.
create or replace function automation.unknown_bare_name(
  keys text[], at text, scope jsonb, severity text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when keys[1] = any (r.roots) then automation.problem(
        at, 'unknown_variable', format('%s is no value by itself', keys[1]),
        format('Name what is in it, such as %s.%s.', keys[1], case
          when keys[1] = 'custom' then 'roof_type' when keys[1] = 'steps' then 'step_1.status'
          when keys[1] = 'trigger' then 'record' when keys[1] = 'contact' then 'first_name'
          else 'id' end))
      when cardinality(keys) > 1 then automation.problem(
        at, 'unknown_variable', format('%s: there is no "%s" here', array_to_string(keys, '.'), keys[1]),
        'A variable begins with one of: ' || array_to_string(r.roots, ', '), severity)
      else automation.problem(
        at, 'unknown_field', format('no record here has a field "%s"', keys[1]),
        automation.suggestion(keys[1], array(
          select distinct c
          from jsonb_array_elements_text(scope -> 'records' || '["contact", "project", "job"]') as n,
            jsonb_object_keys(case jsonb_typeof(scope -> 'columns' -> n)
              when 'object' then scope -> 'columns' -> n else '{}' end) as c
          order by c), 'Fields: '), severity)
    end
    from (
      select array(
        select unnest(automation.context_roots()) union select jsonb_object_keys(scope -> 'columns')
        order by 1) as roots
    ) as r
  $$;

-- A field that exists, of a record that no run of this workflow has.
create or replace function automation.absent_reference(reference jsonb, at text, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when (scope ->> 'lenient')::boolean then null
      when p.path[1] = 'trigger' and p.path[2] = 'old' and scope ->> 'kind' in ('created', 'time')
        then automation.problem(
          at, 'missing_record', format('"%s" has no value: nothing has changed when this trigger fires',
            automation.reference_name(reference)),
          'Only triggers that follow a change have trigger.old.', 'warning')
      when r.record in ('user', 'tenant') or scope -> 'records' ? r.record then null
      when r.record is not null or p.path[1] = 'trigger' and p.path[2] in ('record', 'old')
        then automation.problem(
          at, 'missing_record', format('"%s" has no value: this trigger brings no %s',
            automation.reference_name(reference), coalesce(r.record, 'record')),
          automation.records_hint(scope), 'warning')
    end
    from automation.resolve_reference(reference, scope) as r
    cross join (select (reference ->> 'p')::text[] as path) as p
  $$;

create or replace function automation.records_hint(scope jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when scope -> 'records' <> '[]' then format('It brings: %s.', (
        select string_agg(distinct r, ', ') from jsonb_array_elements_text(scope -> 'records') as r))
      else 'A scheduled workflow runs for records when trigger_config has '
        'for_each: {"entity": "contact"}.'
    end
  $$;

-- {{steps.<key>.*}}: the step has to have run by then.
create or replace function automation.check_step_references(
  workflow public.workflows, documents jsonb, plan jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem order by p.problem ->> 'path', p.problem ->> 'message'), '[]')
    from (
      select automation.step_reference_problem(
        workflow, plan, r.step, ((r.reference ->> 'p')::text[])[2], r.at) as problem
      from automation.read_references(documents, plan) as r
      where ((r.reference ->> 'p')::text[])[1] = 'steps'
      group by 1
    ) as p
    where p.problem is not null
  $$;

create or replace function automation.step_reference_problem(
  workflow public.workflows, plan jsonb, reader text, wanted text, at text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  keys constant text[] := array(select jsonb_object_keys(plan -> 'steps'));
begin
  if reader is null then
    return automation.problem(
      at, 'unknown_step', format('steps.%s: no step has run when these conditions are asked', wanted),
      'Move the condition to a step.');
  elsif not plan -> 'steps' ? wanted then
    if exists (
      select from public.workflow_steps as s
      where s.tenant_id = workflow.tenant_id and s.workflow_id = workflow.id
        and s.step_key = wanted) then
      return automation.problem(
        at, 'unknown_step', format('the step "%s" is switched off and has no result', wanted),
        'Switch it on, or remove what refers to it.', 'warning');
    end if;
    return automation.problem(
      at, 'unknown_step', format('there is no step "%s"', wanted),
      automation.suggestion(wanted, keys, 'Steps: '));
  elsif wanted = reader or wanted = any (automation.steps_after(plan, reader)) then
    return automation.problem(
      at, 'unknown_step', format('the step "%s" has not run by then', wanted),
      'A step can read the results of steps before it.');
  elsif not reader = any (automation.steps_after(plan, wanted)) then
    return automation.problem(
      at, 'step_on_other_branch', format('the step "%s" is on another branch and does not run on this one',
        wanted),
      'Read a step before the branches, or give the value a default.', 'warning');
  end if;
  return null;
end;
$$;

-- Where a step can lead to, whatever conditions say.
create or replace function automation.steps_after(plan jsonb, key text) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive later (key) as (
      select e from automation.step_exits(plan -> 'steps' -> steps_after.key, null) as e
      union
      select e from later as l, automation.step_exits(plan -> 'steps' -> l.key, null) as e
    )
    select coalesce(array_agg(l.key), '{}') from later as l
  $$;

-- sql/02_definitions/10_check_operators.sql

-- Operators and values against the type of the column they are about. The table of
-- docs/conditions.md decides: what never holds there for a type is an error here, its negation
-- (which always holds) and what may hold for some texts are warnings.

create or replace function automation.kind_name(kind text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case kind
      when 'number' then 'a number' when 'date' then 'a date' when 'boolean' then 'true or false'
      when 'uuid' then 'an id' when 'list' then 'a list' when 'enum' then 'one of a few texts'
      when 'json' then 'JSON' else 'a text'
    end
  $$;

create or replace function automation.operator_family(name text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when name in ('before', 'after', 'within_last', 'within_next') then 'time'
      when name in ('greater_than', 'greater_or_equal', 'less_than', 'less_or_equal', 'between')
        then 'order'
      when name in ('starts_with', 'ends_with', 'matches') then 'text'
      when name in ('contains', 'not_contains') then 'part'
      when name in ('is_true', 'is_false') then 'truth'
      when name in ('equals', 'not_equals', 'changed_from', 'changed_to', 'was') then 'same'
      when name in ('in', 'not_in') then 'in'
      when name in ('includes_any', 'includes_all') then 'includes'
    end
  $$;

-- Can operators of a family hold for a kind of value at all? never, doubtful, or null: they can.
create or replace function automation.family_fit(family text, kind text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when family = 'time' and kind in ('number', 'boolean', 'uuid', 'list') then 'never'
      when family = 'time' and kind in ('text', 'enum', 'json') then 'doubtful'
      when family = 'order' and kind in ('boolean', 'list') then 'never'
      when family in ('order', 'text') and kind = 'json' then 'doubtful'
      when family = 'text' and kind in ('boolean', 'list') then 'never'
      when family = 'part' and kind = 'boolean' then 'never'
      when family = 'truth' and kind in ('date', 'uuid', 'list') then 'never'
    end
  $$;

create or replace function automation.kind_hint(kind text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case kind
      when 'number' then 'For numbers: equals, greater_than, less_than, between, in.'
      when 'boolean' then 'For true or false: is_true, is_false, equals.'
      when 'date' then 'For dates: before, after, between, within_last, within_next.'
      when 'list' then 'For lists: contains, includes_any, includes_all, is_empty.'
      when 'uuid' then 'For ids: equals, in, is_empty.'
      when 'json' then 'Name a field inside it, such as contact.custom_fields.roof_type.'
      else 'For texts: equals, contains, starts_with, in. A text that holds a date is compared as one '
        'only when it is written like 2026-03-01.'
    end
  $$;

create or replace function automation.is_label(value text, record text, column_name text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from automation.entities as e
      join pg_catalog.pg_attribute as a
        on a.attrelid = to_regclass(e.relation) and a.attname = is_label.column_name
      join pg_catalog.pg_enum as l on l.enumtypid = a.atttypid
      where e.name = is_label.record and automation.fold(l.enumlabel) = automation.fold(value))
      or not exists (
        select from automation.entities as e
        join pg_catalog.pg_attribute as a
          on a.attrelid = to_regclass(e.relation) and a.attname = is_label.column_name
        join pg_catalog.pg_enum as l on l.enumtypid = a.atttypid
        where e.name = is_label.record)
  $$;

comment on function automation.is_label(text, text, text) is
  'Whether an enum column can have a value. A domain over an enum has any.';

-- Can a column of a kind ever equal a value, or be compared with it?
create or replace function automation.value_fits(
  value jsonb, kind text, record text, column_name text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(value) = 'null' or kind in ('json', 'other') then true
      when jsonb_typeof(value) in ('array', 'object') then kind = 'list'
      when kind = 'number' then automation.number_of(value) is not null
      when kind = 'boolean' then jsonb_typeof(value) = 'boolean'
        or jsonb_typeof(value) = 'string' and automation.fold(value #>> '{}') in ('true', 'false')
      when kind = 'date' then jsonb_typeof(value) = 'string' and automation.is_date(value #>> '{}')
      when kind = 'uuid'
        then jsonb_typeof(value) = 'string' and automation.as_uuid(value #>> '{}') is not null
      when kind = 'enum' then automation.is_label(value #>> '{}', record, column_name)
      else kind <> 'list'
    end
  $$;

-- Every condition that is asked: in condition documents, and in the blocks of templates.
create or replace function automation.asked_tests(documents jsonb, plan jsonb)
  returns table (test jsonb, at_operator text, at_value text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select t.test, (t.test ->> 'at') || '.operator', (t.test ->> 'at') || '.value'
    from jsonb_array_elements(documents) as d,
      jsonb_array_elements(d -> 'compiled' -> 'code') as t (test)
    union
    select t.test, a.at, a.at
    from jsonb_each(plan -> 'steps') as s,
      jsonb_array_elements(s.value -> 'config' -> 'slots') as slot,
      jsonb_path_query(slot.value, '$.s[*].if.test') as t (test),
      lateral (select automation.slot_path(s.value, slot.value) as at) as a
  $$;

create or replace function automation.check_operators(documents jsonb, plan jsonb, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem order by p.problem ->> 'path', p.problem ->> 'message'), '[]')
    from automation.asked_tests(documents, plan) as t
    cross join lateral automation.resolve_reference(t.test, scope) as r
    cross join lateral (
      select case when cardinality(r.keys) = 1 then scope -> 'columns' -> r.record ->> r.keys[1] end
        as kind
    ) as k
    cross join lateral (
      select coalesce(
        automation.operator_problem(t.test, k.kind, t.at_operator, scope),
        automation.operand_problem(t.test, k.kind, r.record, r.keys[1], t.at_value, scope)) as problem
    ) as p
    where k.kind is not null and p.problem is not null
  $$;

create or replace function automation.operator_problem(test jsonb, kind text, at text, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      at, 'operator_type_mismatch',
      format('%s is %s: %s %s holds', automation.reference_name(test), automation.kind_name(kind),
        test ->> 'o', case
          when f.fit = 'doubtful' then 'rarely' when test ? 'n' then 'always' else 'never' end),
      automation.kind_hint(kind),
      case when f.fit = 'doubtful' or test ? 'n' or (scope ->> 'lenient')::boolean
        then 'warning' else 'error' end)
    from automation.family_fit(automation.operator_family(test ->> 'o'), kind) as f (fit)
    where f.fit is not null
  $$;

-- The values an operator compares with, none of which, or with includes_all and between one of
-- which, can be the column's.
create or replace function automation.operand_problem(
  test jsonb, kind text, record text, column_name text, at text, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      at, 'operator_type_mismatch',
      case when test ? 'r'
        then format('%s is %s and %s is %s: they are never comparable',
          automation.reference_name(test), automation.kind_name(kind),
          automation.reference_name(test -> 'r'), automation.kind_name(o.other))
        else format('%s is %s: %s %s %s holds', automation.reference_name(test),
          automation.kind_name(kind), test ->> 'o', test -> 'v',
          case when test ? 'n' then 'always' else 'never' end)
      end,
      case when o.family in ('same', 'in') and kind = 'list' then automation.kind_hint(kind)
        when test ? 'r' then 'Compare fields of one type.'
        when kind = 'enum' then 'Write one of the values that the column can have.'
        when o.family = 'same' and jsonb_typeof(test -> 'v') in ('array', 'object')
          then 'Write a single value, or use in.'
        else format('Write %s.', case kind
          when 'number' then 'a number, such as 5'
          when 'date' then 'a date, such as "2026-03-01"'
          when 'boolean' then 'true or false' else 'an id' end)
      end,
      case when test ? 'n' or (scope ->> 'lenient')::boolean then 'warning' else 'error' end)
    from (
      select automation.operator_family(test ->> 'o') as family,
        automation.reference_kind(test -> 'r', scope) as other
    ) as o
    where case
      when test ? 'r' then
        o.other <> kind and kind in ('number', 'boolean', 'date', 'uuid', 'list')
          and o.other in ('number', 'boolean', 'date', 'uuid', 'list')
        or o.family = 'time' and o.other in ('number', 'boolean', 'uuid', 'list')
      when o.family in ('same', 'order') and test ->> 'o' <> 'between' and kind <> 'uuid'
        or o.family = 'same'
        then not automation.value_fits(test -> 'v', kind, record, column_name)
      when o.family = 'in' and kind = 'list' then true
      when o.family in ('in', 'includes') or test ->> 'o' = 'between' then (
        select case
          when test ->> 'o' in ('includes_all', 'between') then bool_or(not f.fits)
          else bool_and(not f.fits) end
        from (
          select kind = 'list' or automation.value_fits(v, kind, record, column_name) as fits
          from jsonb_array_elements(test -> 'v') as v
        ) as f)
    end
  $$;

-- sql/02_definitions/11_check_conditions.sql

-- Conditions that contradict each other, or that between them say nothing. A warning is only given
-- for what is certain: where a value is wanted, each value that could satisfy one condition is put
-- to the others by the evaluator itself (04_conditions).
--
-- A literal is a test that is taken for true: the test, with on: what it is about, neg: whether it
-- is its opposite that is true, name: the field as written. The trigger_config gives literals too:
-- what it asks for is true of the record that fired.

-- The value that a test looks at, by one name however it is written. Before a run starts the live
-- record is the one that fired.
create or replace function automation.tested_value(test jsonb, scope jsonb, at_start boolean)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when test ? 'b' and scope -> 'columns' -> e.name ? p.path[1]
        or at_start and test ? 'p' and p.path[1] = e.name
        then (array['trigger', 'record'] || p.path[case when test ? 'b' then 1 else 2 end:])::text
      when p.path[1] = 'trigger' and p.path[2] = e.name
        then (array['trigger', 'record'] || p.path[3:])::text
      when at_start and p.path[1] = 'trigger' and scope -> 'columns' ? p.path[2]
        then p.path[2:]::text
      when test ? 'b' then (array['?'] || p.path)::text
      else p.path::text
    end
    from (select coalesce(test ->> 'p', test ->> 'b')::text[] as path) as p,
      (select scope ->> 'entity' as name) as e
  $$;

-- null: nothing can be concluded from it. What a field was or became is about the record that fired.
create or replace function automation.literal_of(
  test jsonb, negated boolean, scope jsonb, at_start boolean)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select (test - '{p,b,q,w,t,f,n,field,k}'::text[]) || jsonb_build_object(
      'name', automation.reference_name(test), 'neg', n.neg,
      'k', case when test ->> 'k' in ('changed_to', 'changed_from', 'was') then 'equals'
        else test ->> 'k' end,
      'on', case
        when test ->> 'k' in ('changed_to', 'changed_from', 'was') then (
          array['trigger', case test ->> 'k' when 'changed_to' then 'record' else 'old' end]
          || coalesce(test ->> 'q', test ->> 'b')::text[])::text
        when test ->> 'k' = 'changed'
          then 'changed ' || coalesce(test ->> 'q', test ->> 'b')
        else automation.tested_value(test, scope, at_start)
      end)
    from (select negated <> (test ? 'n') as neg) as n
    where not test ? 'r'
      and not (test ->> 'k' in ('changed_to', 'changed_from', 'was') and n.neg)
  $$;

create or replace function automation.fact(
  field text, kind text, value jsonb, at text, exact boolean default true)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'on', array['trigger', 'record', field]::text, 'name', field, 'neg', false, 'k', kind,
      'o', case kind when 'in' then 'in' else 'equals' end, 'v', value, 'at', at)
      || case when exact then '{"c": true}'::jsonb else '{}' end
  $$;

create or replace function automation.trigger_facts(
  workflow public.workflows, listener automation.compiled_trigger, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(f.fact), '[]')
    from (
      select automation.fact(m.key, 'equals', m.value, 'trigger_config.' || m.key)
      from jsonb_each(listener.match) as m where jsonb_typeof(m.value) <> 'object'
      union all
      select automation.fact(m.key, 'in', m.value, 'trigger_config.' || m.key)
      from jsonb_each(listener.match_any) as m
      union all
      select automation.fact(listener.field, 'in', listener.to_values, 'trigger_config')
      where listener.field is not null and listener.to_values is not null
      union all
      select automation.fact(t.column_name, 'equals', to_jsonb(t.becomes), 'trigger_type', false)
      from automation.trigger_types as t
      where t.name = workflow.trigger_type and t.kind = 'becomes'
    ) as f (fact)
    where scope ->> 'kind' in ('created', 'updated', 'changed', 'becomes')
  $$;

comment on function automation.trigger_facts(
  public.workflows, automation.compiled_trigger, jsonb) is
  'What is known of the record that fired, because the trigger asks for it: literals.';

-- What a wanted value stands for: 5 is also "5.0", true is also "TRUE", and a day any of its moments.
create or replace function automation.candidate_kind(candidate jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.number_of(candidate) is not null then 'number'
      when automation.fold(candidate #>> '{}') in ('true', 'false') then 'boolean'
      when automation.is_date(candidate #>> '{}') then 'date'
      when jsonb_typeof(candidate) = 'string' then 'text'
      else 'other'
    end
  $$;

-- Would the value, however it is written, satisfy the literal? True also when that is not certain.
create or replace function automation.literal_allows(
  literal jsonb, candidate jsonb, candidate_is_exact boolean, zone text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when l.kind in ('last', 'next', 'changed') then true
      when l.kind in ('before', 'after') and not automation.is_date(literal ->> 'v') then true
      -- Without case, more values are equal.
      when literal ? 'c' and not candidate_is_exact
        then l.neg or l.kind not in ('equals', 'in')
          or automation.literal_allows(literal - 'c', candidate, false, zone)
      when l.form = 'other' and l.kind in ('contains', 'starts', 'ends', 'matches') then true
      when l.form in ('number', 'boolean') and (
        l.kind in ('contains', 'starts', 'ends', 'matches')
        or l.form = 'number' and l.kind in ('true', 'false')
        or l.form = 'boolean' and l.kind in ('above', 'not_below', 'below', 'not_above', 'between')
        or l.neg and l.kind in ('equals', 'in', 'any', 'all') and jsonb_typeof(candidate) <> 'string'
          and jsonb_typeof(literal -> 'v') <> jsonb_typeof(candidate))
        then true
      when l.form = 'date' and l.kind not in ('empty', 'true', 'false') then l.neg or l.holds
        or l.kind not in ('equals', 'in') or automation.test_holds(
          literal || '{"p": "{x}"}', jsonb_build_object('x', automation.day_in(
            candidate #>> '{}', coalesce(automation.known_zone(zone), 'UTC'))), zone, automation.now())
      else l.holds
    end
    from (
      select literal ->> 'k' as kind, (literal ->> 'neg')::boolean as neg,
        automation.candidate_kind(candidate) as form,
        automation.test_holds(
          literal || '{"p": "{x}"}', jsonb_build_object('x', candidate), zone, automation.now())
          <> (literal ->> 'neg')::boolean as holds
    ) as l
  $$;

-- The values that literals ask for outright, and the number or boolean that a text writes:
-- {v: value, c: case counts}. null: they name none.
create or replace function automation.wanted_values(literals jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_agg(distinct jsonb_build_object('v', f.value, 'c', l ? 'c'))
    from jsonb_array_elements(literals) as l
    cross join lateral (
      select l -> 'v' as value where l ->> 'k' in ('equals', 'text')
      union all
      select v from jsonb_array_elements(
        case when l ->> 'k' in ('in', 'text_in') then l -> 'v' else '[]' end) as v
    ) as w
    cross join lateral (
      select w.value
      union all select to_jsonb(automation.number_of(w.value))
      union all select to_jsonb(automation.fold(w.value #>> '{}')::boolean)
      where automation.fold(w.value #>> '{}') in ('true', 'false')
    ) as f
    where not (l ->> 'neg')::boolean and f.value is not null
  $$;

-- The bounds that literals set: {v, upper, open, c, of: which literal}.
create or replace function automation.bounds(literals jsonb)
  returns table (value jsonb, is_upper boolean, is_open boolean, exact boolean, of bigint)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select b.value, b.is_upper, b.is_open, l.literal ? 'c', l.place
    from jsonb_array_elements(literals) with ordinality as l (literal, place)
    cross join lateral (
      select l.literal -> 'v' as value, k in ('below', 'not_above', 'before') as is_upper,
        k in ('above', 'below', 'before', 'after') as is_open
      from (select l.literal ->> 'k' as k) as n
      where k in ('above', 'not_below', 'below', 'not_above')
        or k in ('before', 'after') and automation.is_date(l.literal ->> 'v')
      union all
      select l.literal -> 'v' -> 0, false, false where l.literal ->> 'k' = 'between'
      union all
      select l.literal -> 'v' -> 1, true, false where l.literal ->> 'k' = 'between'
    ) as b
    where not (l.literal ->> 'neg')::boolean
  $$;

-- Is there certainly no value for which all these literals, which are about one, are true?
create or replace function automation.contradict(literals jsonb, zone text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wanted constant jsonb := automation.wanted_values(literals);
begin
  if exists (
    select from jsonb_array_elements(literals) as a, jsonb_array_elements(literals) as b
    where a ->> 'neg' = 'true' and b ->> 'neg' = 'false'
      and a - '{neg,at,name,o}'::text[] = b - '{neg,at,name,o}'::text[]) then
    return true;
  elsif jsonb_array_length(wanted) > 100 then
    return false;
  elsif wanted is not null then
    return not exists (
      select from jsonb_array_elements(wanted) as w
      where not exists (
        select from jsonb_array_elements(literals) as l
        where not automation.literal_allows(l, w -> 'v', (w -> 'c')::boolean, zone)));
  end if;
  return exists (
      select from automation.bounds(literals) as low, automation.bounds(literals) as high
      where high.is_upper and not low.is_upper and low.of <> high.of and low.exact = high.exact
        and coalesce(case
          when low.is_open or high.is_open
          then automation.compare_values(low.value, high.value, low.exact, zone) >= 0
          -- A day lies between two moments of its own, whichever comes first.
          else automation.compare_values(case when automation.is_date(low.value #>> '{}')
              then to_jsonb(automation.day_in(low.value #>> '{}',
                coalesce(automation.known_zone(zone), 'UTC')))
              else low.value end, high.value, low.exact, zone) > 0
          end, true))
    or exists (
      select from jsonb_array_elements(literals) as a, jsonb_array_elements(literals) as b
      where a ->> 'neg' = 'false' and b ->> 'neg' = 'false'
        and (a ->> 'k' = 'true' and b ->> 'k' = 'false'
          or a ->> 'k' = 'empty' and automation.needs_value(b)));
end;
$$;

comment on function automation.contradict(jsonb, text) is
  'Whether literals about one value can certainly not be true together.';

-- Does a literal that is true mean that the value is not blank?
create or replace function automation.needs_value(literal jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when k in ('before', 'after', 'last', 'next', 'true', 'false') then true
      when k in ('above', 'not_below', 'below', 'not_above', 'between') then
        automation.number_of(v) is not null or automation.is_date(v #>> '{}')
      when k in ('contains', 'starts', 'ends') then not automation.is_blank(v)
      else false
    end
    from (
      select literal ->> 'k' as k,
        case literal ->> 'k' when 'between' then literal -> 'v' -> 0 else literal -> 'v' end as v
    ) as l
  $$;

-- The parts of a condition that must all be true: groups of the same sense taken apart, in order.
create or replace function automation.conjuncts(tree jsonb, negated boolean)
  returns table (node jsonb, is_negated boolean)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive part (node, negated, place) as (
      select tree, conjuncts.negated, '{}'::bigint[]
      union all
      select child.node, p.negated <> (p.node ? 'not'), p.place || child.position
      from part as p
      cross join lateral (
        select p.node -> 'not', 1::bigint where p.node ? 'not'
        union all
        select m.value, m.position
        from jsonb_array_elements(
          coalesce(p.node -> case when p.negated then 'any' else 'all' end, '[]'))
          with ordinality as m (value, position)
      ) as child (node, position)
    )
    select p.node, p.negated from part as p
    where not (p.node ? 'not' or p.node ? case when p.negated then 'any' else 'all' end)
    order by p.place
  $$;

create or replace function automation.literal_text(literal jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select concat_ws(' ', literal ->> 'name', literal ->> 'o', literal ->> 'v') $$;

-- A literal against those that are true already: the problem, or null.
create or replace function automation.conflict(literal jsonb, known jsonb, zone text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  about constant jsonb := jsonb_path_query_array(
    known, '$[*] ? (@.on == $on)', jsonb_build_object('on', literal -> 'on'));
  other jsonb;
begin
  if about = '[]' or not automation.contradict(about || literal, zone) then
    return null;
  end if;
  select l into other
  from jsonb_array_elements(about) with ordinality as a (l, place)
  where automation.contradict(jsonb_build_array(l, literal), zone)
  order by place
  limit 1;
  return automation.problem(
    literal ->> 'at', 'impossible_condition',
    format('never holds: %s cannot be true together with %s', automation.literal_text(literal),
      coalesce(format('%s (%s)', automation.literal_text(other), other ->> 'at'),
        'the conditions before it on the same field')),
    'Remove one of them, or join them with "any".', 'warning');
end;
$$;

-- `changed` and its kin where there is nothing to compare with.
create or replace function automation.idle_change(test jsonb, negated boolean, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      test ->> 'at', 'impossible_condition',
      format('never holds: %s', case
        when scope ->> 'kind' in ('created', 'time') then 'nothing has changed when this trigger fires'
        else format('the record that changed is the %s', scope ->> 'entity') end),
      'Only a trigger that follows a change of that record can ask what changed.', 'warning')
    where test ->> 'k' in ('changed', 'changed_from', 'changed_to', 'was')
      and not negated
      and not (scope ->> 'lenient')::boolean
      and (scope ->> 'kind' in ('created', 'time') or test ->> 'w' <> scope ->> 'entity')
  $$;

-- verdict: never or always, where that is certain; known: the literals that are true when it holds.
create or replace function automation.weigh_all(
  tree jsonb, code jsonb, negated boolean, scope jsonb, at_start boolean, depth integer,
  inout known jsonb, out verdict text, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part record;
  test jsonb;
  literal jsonb;
  wrong jsonb;
  weighed record;
  holds_anyway boolean := true;
begin
  problems := '[]';
  for part in
    select c.node, c.is_negated from automation.conjuncts(tree, negated) as c
    where jsonb_typeof(c.node) = 'boolean' or c.node ? 'test'
  loop
    if jsonb_typeof(part.node) = 'boolean' then
      verdict := case when part.node::boolean = part.is_negated then 'never' else verdict end;
      continue;
    end if;
    holds_anyway := false;
    test := code -> (part.node ->> 'test')::integer;
    literal := automation.literal_of(test, part.is_negated, scope, at_start);
    continue when literal is null;
    wrong := coalesce(
      automation.idle_change(test, (literal ->> 'neg')::boolean, scope),
      automation.conflict(literal, known, scope ->> 'zone'));
    if wrong is not null then
      verdict := 'never';
      problems := problems || wrong;
    end if;
    known := known || literal;
  end loop;
  if verdict = 'never' or depth > 30 then
    return;
  end if;
  for part in
    select c.node, c.is_negated from automation.conjuncts(tree, negated) as c
    where jsonb_typeof(c.node) = 'object' and not c.node ? 'test'
  loop
    weighed := automation.weigh_any(
      part.node, code, part.is_negated, known, scope, at_start, depth + 1);
    problems := problems || weighed.problems;
    verdict := case when weighed.verdict = 'never' then 'never' else verdict end;
    holds_anyway := holds_anyway and weighed.verdict is not distinct from 'always';
  end loop;
  verdict := coalesce(verdict, case when holds_anyway then 'always' end);
end;
$$;

-- A group of which one part is enough. It always holds when the opposites of two of its parts
-- cannot both be true: "not a lead, or not a customer".
create or replace function automation.weigh_any(
  node jsonb, code jsonb, negated boolean, known jsonb, scope jsonb, at_start boolean, depth integer,
  out verdict text, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  member jsonb;
  weighed record;
  opposite jsonb;
  opposites jsonb := '[]'::jsonb;
  wrong jsonb;
  never boolean := true;
begin
  problems := '[]';
  for member in select * from jsonb_array_elements(node -> case when negated then 'all' else 'any' end)
  loop
    weighed := automation.weigh_all(member, code, negated, scope, at_start, depth + 1, known);
    problems := problems || weighed.problems;
    never := never and weighed.verdict is not distinct from 'never';
    verdict := case when weighed.verdict = 'always' then 'always' else verdict end;
    opposite := automation.literal_of(
      code -> (member ->> 'test')::integer, not negated, scope, at_start);
    continue when opposite is null or weighed.verdict = 'never';
    wrong := automation.conflict(opposite, opposites, scope ->> 'zone');
    if wrong is not null then
      verdict := 'always';
      problems := problems || automation.problem(
        opposite ->> 'at', 'constant_condition',
        'this group always holds: whatever the field is, one of its conditions is true',
        'Join them with "all" when both are meant.', 'warning');
      exit;
    end if;
    opposites := opposites || opposite;
  end loop;
  verdict := case when never then 'never' else verdict end;
end;
$$;

-- All documents of a workflow. verdicts: {step or step/branch: never or always}, "" for the workflow.
create or replace function automation.check_conditions(
  documents jsonb, facts jsonb, scope jsonb, out verdicts jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  document jsonb;
  weighed record;
begin
  verdicts := '{}';
  problems := '[]';
  for document in select * from jsonb_array_elements(documents) loop
    -- What could not be compiled has its own problems.
    continue when document -> 'compiled' -> 'tree' = 'false';
    weighed := automation.weigh_all(
      document -> 'compiled' -> 'tree', document -> 'compiled' -> 'code', false, scope,
      document ->> 'step' is null and document ->> 'branch' is null, 0, facts);
    problems := problems || weighed.problems;
    verdicts := verdicts || jsonb_build_object(
      concat_ws('/', document ->> 'step', document ->> 'branch'), weighed.verdict);
  end loop;
end;
$$;

-- sql/02_definitions/12_check_flow.sql

-- Steps that no run reaches, and steps that cannot do what they say for want of a record, a
-- recipient or a date.

-- Where a step can lead to. verdicts: what is certain of conditions; null: whatever they say, and
-- past a stop.
create or replace function automation.step_exits(step jsonb, verdicts jsonb) returns setof text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with own as (
      select coalesce(verdicts ->> (step ->> 'key'), case
        when verdicts is null or jsonb_typeof(step -> 'conditions') = 'object' then 'sometimes'
        else 'always' end) as runs
    ), cases as (
      select c.value ->> 'name' as name, c.position, case
          when jsonb_typeof(c.value -> 'conditions') = 'object'
          then verdicts ->> concat_ws('/', step ->> 'key', c.value ->> 'name')
          when verdicts is not null then 'always' end as verdict
      from jsonb_array_elements(case jsonb_typeof(step -> 'cases')
        when 'array' then step -> 'cases' else '[]' end) with ordinality as c (value, position)
    ), branches as (
      select b.key as name, coalesce(b.value, step ->> 'next') as target
      from jsonb_each_text(case jsonb_typeof(step -> 'branches')
        when 'object' then step -> 'branches' else '{}' end) as b
      where not exists (
        select from cases as c
        where c.name = b.key and c.verdict = 'never'
          or c.verdict = 'always' and (
            b.key = 'else' or c.position < (select d.position from cases as d where d.name = b.key)))
    )
    select b.target from branches as b, own as o
    where o.runs <> 'never' and b.target is not null
    union
    select step ->> 'next' from own as o
    where step ->> 'next' is not null
      and (o.runs <> 'always'
        or step ->> 'type' <> 'stop' and not coalesce(step -> 'branches' <> '{}', false)
        or step ? 'cases' and not step -> 'branches' ? 'else'
          and not exists (select from cases as c where c.verdict = 'always'))
  $$;

comment on function automation.step_exits(jsonb, jsonb) is
  'The keys of the steps that can come right after this one.';

create or replace function automation.reachable_steps(plan jsonb, verdicts jsonb) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive reached (key) as (
      select plan ->> 'first' where plan ->> 'first' is not null
      union
      select e from reached as r, automation.step_exits(plan -> 'steps' -> r.key, verdicts) as e
    )
    select coalesce(array_agg(r.key), '{}') from reached as r
  $$;

-- Of what is not reached, only where it begins.
create or replace function automation.check_flow(plan jsonb, verdicts jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with reached as (
      select automation.reachable_steps(plan, verdicts) as keys
    ), lost as (
      select s.key, s.value as step from jsonb_each(plan -> 'steps') as s, reached as r
      where not s.key = any (r.keys)
    ), ways as (
      select s.key as origin, s.value as step, e as target
      from jsonb_each(plan -> 'steps') as s, automation.step_exits(s.value, null) as e
      where exists (select from lost)
    )
    select coalesce(jsonb_agg(automation.problem(
        automation.step_path(l.step), 'unreachable', format('no run reaches this step: %s', coalesce((
          select case w.step ->> 'type'
            when 'stop' then format('%s ends the run before it', automation.step_path(w.step))
            else format('the conditions of %s never lead here', automation.step_path(w.step)) end
          from ways as w where w.target = l.key
          order by w.step ->> 'type' <> 'stop', automation.step_path(w.step) limit 1),
          'nothing leads to it')),
        'Remove it, or mend the conditions that keep runs away from it.', 'warning')
      order by automation.step_path(l.step)), '[]')
    from lost as l
    where not exists (
      select from ways as w where w.target = l.key and w.origin in (select o.key from lost as o))
  $$;

-- Whom assign_user makes responsible when it does not say for what: see automation.assigned_entity().
create or replace function automation.assignable(fired text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.mapped_column(fired, 'assigned_to') is not null and not exists (
        select from automation.entities as e
        where e.name = assignable.fired and (e.name = 'contact' or e.related ?| '{contact,project}'))
      then fired else 'contact' end
  $$;

-- What a step writes to: the entity, whether it makes a new record, and the fields with what they
-- are set to, [value], or [] when that is known only when the step runs.
create or replace function automation.step_writes(step jsonb, fired text)
  returns table (entity text, is_insert boolean, fields jsonb)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with given as (
      select step ->> 'type' as type, step -> 'config' -> 'base' as config
    ), target as (
      select g.type, g.config,
        regexp_replace(g.config ->> 'field', '^(contact|project|job)\.', '') as field, case g.type
          when 'update_contact' then 'contact'
          when 'update_project' then 'project'
          when 'update_field' then coalesce(g.config ->> 'entity',
            substring(g.config ->> 'field' from '^(contact|project|job)\.'), 'contact')
          when 'change_stage' then coalesce(g.config ->> 'entity',
            case when automation.stage_column(fired) is not null then fired else 'contact' end)
          when 'assign_user' then coalesce(g.config ->> 'entity', automation.assignable(fired))
        end as entity
      from given as g
    )
    select t.entity, false, case t.type
        when 'update_field' then jsonb_build_object(split_part(t.field, '.', 1), case
          when t.field like '%.%' then '[]' else automation.written_value(t.config -> 'value') end)
        when 'change_stage' then jsonb_build_object(
          coalesce(automation.stage_column(t.entity), 'stage'),
          automation.written_value(t.config -> 'stage'))
        when 'assign_user' then jsonb_build_object(
          coalesce(automation.mapped_column(t.entity, 'assigned_to'), 'assigned_to'),
          automation.written_value(t.config -> 'user_id'))
        else (
          select coalesce(jsonb_object_agg(split_part(f.key, '.', 1), case
            when f.key like '%.%' then '[]' else automation.written_value(f.value) end), '{}')
          from jsonb_each(case jsonb_typeof(t.config -> 'fields')
            when 'object' then t.config -> 'fields' else '{}' end) as f)
      end
    from target as t
    where t.entity is not null and (t.type <> 'update_field' or t.field is not null)
    union all
    select e.name, true, i.fields
    from (
      select case g.type when 'create_project' then 'public.projects'
          when 'create_task' then 'public.tasks' when 'send_sms' then 'public.messages'
          when 'send_email' then 'public.emails' end as relation,
        case g.type
          when 'create_project' then '{"status": ["open"], "pipeline_stage": ["new"]}'::jsonb || (
            select coalesce(jsonb_object_agg(f.key, automation.written_value(f.value)), '{}')
            from jsonb_each(g.config) as f where f.key <> 'key')
          when 'create_task' then '{"status": ["open"]}'
          else '{"direction": ["outbound"], "status": ["sent"]}'
        end as fields
      from given as g
    ) as i
    join automation.entities as e on e.relation = i.relation
  $$;

create or replace function automation.written_value(value jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when value is null or jsonb_typeof(value) in ('object', 'array')
        or value #>> '{}' like '%{{%' then '[]'
      else jsonb_build_array(value)
    end
  $$;

create or replace function automation.check_needs(
  workflow public.workflows, plan jsonb, scope jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem order by p.problem ->> 'path', p.problem ->> 'message'), '[]')
    from (
      select n.problem
      from jsonb_each(plan -> 'steps') as s
      cross join lateral (
        select automation.record_problem(s.value, scope)
        union all select automation.recipient_problem(s.value, scope)
        union all select automation.foreign_sender_problem(workflow, s.value)
        union all select automation.date_policy_problem(s.value)
      ) as n (problem)
      union all
      select automation.sender_problem(workflow, plan)
    ) as p
    where p.problem is not null
  $$;

-- A step that changes a record needs one, with the column it changes.
create or replace function automation.record_problem(step jsonb, scope jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when not (scope ->> 'lenient')::boolean and not scope -> 'records' ? t.entity
        then automation.problem(
          automation.step_path(step) || '.step_config', 'no_record',
          format('%s has no %s to work on: this trigger brings none', step ->> 'type', t.entity),
          automation.records_hint(scope))
      when step ->> 'type' in ('change_stage', 'assign_user') then (
        select automation.problem(
          automation.step_path(step) || '.step_config.entity', 'unknown_field',
          format('%s has no field "%s" to write', e.name, f),
          format('Use update_field with one of: %s', array_to_string(e.writable_columns, ', ')))
        from automation.entities as e, jsonb_object_keys(t.fields) as f
        where e.name = t.entity and not f = any (e.writable_columns)
        limit 1)
    end
    from (
      select w.entity, w.fields from automation.step_writes(step, scope ->> 'entity') as w
      where not w.is_insert
      union all
      select 'contact', '{}' where step ->> 'type' in ('add_tag', 'remove_tag')
    ) as t
    where t.entity not like '%{{%'
      and exists (select from automation.entities as e where e.name = t.entity)
    limit 1
  $$;

create or replace function automation.recipient_problem(step jsonb, scope jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.mapped_column(scope ->> 'entity', c.name) is not null then null
      when automation.mapped_column('contact', c.name) is null then automation.problem(
        automation.step_path(step) || '.step_config.to', 'no_recipient',
        format('%s has nobody to go to: contacts have no field "%s"', step ->> 'type', c.name),
        format('Write the field that holds the %s into "to", such as "{{contact.mobile}}".', c.noun),
        case when (scope ->> 'lenient')::boolean then 'warning' else 'error' end)
      when not (scope ->> 'lenient')::boolean and not scope -> 'records' ? 'contact'
        then automation.problem(
          automation.step_path(step) || '.step_config.to', 'no_recipient',
          format('%s has nobody to go to: this trigger brings no contact', step ->> 'type'),
          'Write who it goes to into "to". ' || automation.records_hint(scope))
    end
    from (values ('send_sms', 'phone', 'phone number'), ('send_email', 'email', 'address'))
      as c (type, name, noun)
    where c.type = step ->> 'type'
      and automation.is_blank(step -> 'config' -> 'base' -> 'to')
  $$;

-- A date that comes from a record may not be there.
create or replace function automation.date_policy_problem(step jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.until', 'no_date_policy',
      'the date may be missing when the step runs, and the step then fails',
      'Say what happens then with if_missing, or give the date a default: '
      '"{{job.scheduled_at | default: today}}".', 'warning')
    from (select step -> 'config' -> 'base' as config) as c
    where step ->> 'type' = 'wait' and not c.config ? 'if_missing'
      and (jsonb_typeof(c.config -> 'until') = 'object'
        or c.config ->> 'until' like '%{{%' and not exists (
          select from jsonb_array_elements(step -> 'config' -> 'slots') as slot
          where (slot ->> 'at')::text[] = '{until}'
            and jsonb_path_exists(slot, 'strict $.**.f[*] ? (@.n == "default")', '{}', true)))
  $$;

-- What is written out is known to be nobody's of the tenant; what a variable gives is looked at when it
-- is sent.
create or replace function automation.foreign_sender_problem(workflow public.workflows, step jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(step) || '.step_config.' || g.field, 'sender_not_yours',
      format('%s: "%s" is not a sender of yours', g.field, left(g.named, 80)),
      'Name one of your active senders, or leave it out.')
    from (
      select f as field, btrim(step -> 'config' -> 'base' ->> f) as named
      from unnest('{from,messaging_service_sid}'::text[]) as f
    ) as g
    where step ->> 'type' in ('send_sms', 'send_email') and g.named <> '' and g.named not like '%{{%'
      and not exists (
        select from automation.named_sender(
          workflow.tenant_id, case step ->> 'type' when 'send_sms' then 'sms' else 'email' end, g.named) as s
        where s.id is not null)
    order by g.field
    limit 1
  $$;

-- US carriers block text messages from numbers that are not registered (10DLC).
create or replace function automation.sender_problem(workflow public.workflows, plan jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      automation.step_path(s.value), 'no_registered_sender',
      'text messages may not arrive: no number of yours is registered',
      'Register for 10DLC, and have the number or the messaging service added to senders.',
      'warning')
    from jsonb_each(plan -> 'steps') as s
    where s.value ->> 'type' = 'send_sms'
      and not exists (
        select from public.senders as n
        where n.tenant_id = workflow.tenant_id and n.channel = 'sms' and n.is_active
          and n.verified_at is not null and n.registration in ('registered', 'exempt'))
    order by automation.step_path(s.value)
    limit 1
  $$;

-- sql/02_definitions/13_check_cycles.sql

-- Workflows that start each other: what a step writes is what a trigger listens to. The engine ends
-- such a loop (03_capture/05_limits), but not before customers have had the same message a few
-- times.
--
-- Only what could happen counts: the event, the field, the values that a trigger_config and
-- conditions ask for, as far as what is written is known beforehand. Timers and schedules are left
-- out: time lies between.

-- Could this write start a workflow with this trigger?
create or replace function automation.could_start(
  entity text, is_insert boolean, fields jsonb, event text, listener automation.compiled_trigger,
  conditions jsonb, scope jsonb)
  returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  known automation.trigger_types;
  facts jsonb;
begin
  if entity is distinct from listener.entity then
    return false;
  end if;
  select t.* into known from automation.trigger_types as t where t.name = event;
  if not (case known.kind
    when 'created' then is_insert
    when 'updated' then not is_insert
    when 'changed' then case when is_insert then known.on_insert else fields ? listener.field end
    when 'becomes' then case when is_insert then known.on_insert else fields ? known.column_name end
    else false end) then
    return false;
  end if;
  if exists (
    select from (
      select m.key, jsonb_build_array(m.value) as allowed from jsonb_each(listener.match) as m
      union all select m.key, m.value from jsonb_each(listener.match_any) as m
      union all select listener.field, listener.to_values where listener.to_values is not null
      union all select known.column_name, jsonb_build_array(known.becomes)
      where known.kind = 'becomes'
    ) as asked
    where fields -> asked.key -> 0 is not null
      and not exists (
        select from jsonb_array_elements(asked.allowed) as a
        where automation.values_equal(fields -> asked.key -> 0, a.value, false, scope ->> 'zone'))
  ) then
    return false;
  elsif jsonb_typeof(conditions) is distinct from 'object' or conditions -> 'tree' = 'false' then
    return true;
  end if;
  select coalesce(jsonb_agg(automation.fact(f.key, 'equals', f.value -> 0, '')), '[]') into facts
  from jsonb_each(fields) as f where f.value <> '[]';
  return (automation.weigh_all(
    conditions -> 'tree', conditions -> 'code', false,
    scope || jsonb_build_object('entity', entity, 'kind', known.kind, 'lenient', true), true, 0,
    facts)).verdict is distinct from 'never';
end;
$$;

-- The active workflows of the tenant that what a plan writes could start: {id, name, step: the path
-- of the step that writes, plan, entity}.
create or replace function automation.started_by(
  workflow public.workflows, plan jsonb, fired text, seen uuid[], scope jsonb)
  returns table (workflow_id uuid, name text, step text, plan jsonb, entity text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select distinct on (l.workflow_id) l.workflow_id, w.name, automation.step_path(s.value), v.plan,
      l.entity
    from jsonb_each(started_by.plan -> 'steps') as s
    cross join lateral automation.step_writes(s.value, fired) as write
    join lateral (
      select t.* from automation.active_triggers as t
      where t.tenant_id = workflow.tenant_id and t.entity = write.entity and t.role = 'enrol'
        and not t.workflow_id = any (seen)
      order by t.workflow_id
      limit automation.cycle_limit() + 1
    ) as l on automation.could_start(
      write.entity, write.is_insert, write.fields, l.event,
      row(l.entity, l.match, l.match_any, null, null, l.field, l.from_values, l.to_values, null
        )::automation.compiled_trigger, l.conditions, scope)
    join public.workflows as w on w.tenant_id = l.tenant_id and w.id = l.workflow_id
    join public.workflow_versions as v on v.tenant_id = l.tenant_id
      and v.workflow_id = l.workflow_id and v.version = l.version
    order by l.workflow_id, automation.step_path(s.value)
  $$;

create or replace function automation.cycle_limit() returns integer
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return 300;

comment on function automation.cycle_limit() is
  'How many workflows the search for cycles looks at.';

-- The step of a plan whose writes could start the workflow itself.
create or replace function automation.closing_step(
  workflow public.workflows, listener automation.compiled_trigger, conditions jsonb, plan jsonb,
  fired text, scope jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.step_path(s.value)
    from jsonb_each(plan -> 'steps') as s
    cross join lateral automation.step_writes(s.value, fired) as write
    where automation.could_start(write.entity, write.is_insert, write.fields, workflow.trigger_type,
      listener, conditions, scope)
    order by 1
    limit 1
  $$;

create or replace function automation.cycle_problem(step text, names text[]) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.problem(
      step, 'cycle',
      case cardinality(names)
        when 2 then 'what this step writes can start this workflow again'
        else format('what this step writes can start this workflow again: %s',
          array_to_string(names, ' -> '))
      end,
      'Narrow the trigger (from, to, a field that must match), or add a condition that no longer '
      'holds once the step has run.', 'warning')
  $$;

-- Breadth first from the draft. Each workflow that leads back to it is reported with the shortest way
-- there, so that no loop goes unnamed and none is told twice.
create or replace function automation.check_cycles(
  workflow public.workflows, listener automation.compiled_trigger, conditions jsonb, plan jsonb,
  scope jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb := '[]'::jsonb;
  closing text := automation.closing_step(
    workflow, listener, conditions, plan, scope ->> 'entity', scope);
  seen uuid[] := array[workflow.id];
  queue jsonb := jsonb_build_array(jsonb_build_object(
    'plan', plan, 'entity', scope -> 'entity', 'names', jsonb_build_array(workflow.name)));
  here jsonb;
  started record;
  names jsonb;
begin
  if scope ->> 'kind' not in ('created', 'updated', 'changed', 'becomes') then
    return problems;
  end if;
  if closing is not null then
    problems := problems || automation.cycle_problem(closing, array[workflow.name, workflow.name]);
  end if;
  while queue <> '[]' loop
    here := queue -> 0;
    queue := queue - 0;
    for started in
      select * from automation.started_by(
        workflow, here -> 'plan', here ->> 'entity', seen, scope)
    loop
      if cardinality(seen) > automation.cycle_limit() or jsonb_array_length(problems) >= 20 then
        return problems || automation.problem(
          'steps', 'cycles_not_checked', case
            when jsonb_array_length(problems) >= 20 then 'there are more cycles than these'
            else format('only %s workflows were searched for cycles', automation.cycle_limit()) end,
          'Narrow the triggers of workflows that listen to every change.', 'warning');
      end if;
      seen := seen || started.workflow_id;
      names := (here -> 'names') || to_jsonb(started.name);
      if automation.closing_step(workflow, listener, conditions, started.plan, started.entity, scope)
        is not null then
        problems := problems || automation.cycle_problem(
          coalesce(here ->> 'step', started.step),
          array(select jsonb_array_elements_text(names)) || workflow.name);
      end if;
      queue := queue || jsonb_build_array(jsonb_build_object(
        'plan', started.plan, 'entity', started.entity, 'names', names,
        'step', coalesce(here ->> 'step', started.step)));
    end loop;
  end loop;
  return problems;
end;
$$;

-- sql/03_capture/01_entities.sql

-- 03 CAPTURE
--
-- From a committed write to an enrolled execution, inside the writer's own transaction.
--
-- A table is attached once; attaching generates triggers that know the table's columns by name.
-- They ask one question, cheaply: does a tenant of these rows have a listener that could match?
-- Only then is a row turned into JSON, matched exactly and enrolled.
--
-- The writer's transaction must never fail on our account. An insert is captured in one pass, in
-- one block that catches errors; whatever breaks that pass, its rows are taken one by one. There,
-- everything that could raise (turning the row into JSON, conditions) runs in a block that catches
-- errors and writes nothing, and what writes cannot raise. That block takes no transaction id, so
-- that a bulk update does not overflow the subtransaction cache.
--
-- Lock order: capture locks no row that exists already; it only inserts, holding the writer's own
-- CRM row.

create table automation.entities (
  name text constraint entities_pkey primary key
    constraint entities_name_is_identifier check (name ~ '^[a-z][a-z0-9_]{0,40}$'),
  relation text not null constraint entities_relation_unique unique,
  tenant_column text not null,
  id_column text not null,
  id_type text not null,
  related jsonb not null,
  columns text[] not null,
  match_columns text[] not null,
  writable_columns text[] not null,
  ignored_columns text[] not null,
  mapped jsonb not null,
  is_log boolean not null default false,
  constraint entities_related_is_object check (jsonb_typeof(related) = 'object')
);

comment on table automation.entities is
  'Attached tables: which records can start a workflow, and how to read their columns.';
comment on column automation.entities.related is
  '{entity: column}: the records a record belongs to, such as {"contact": "contact_id"}.';
comment on column automation.entities.mapped is
  '{phone: column, email: column, stage: ...}: which column is what the engine knows by these names.';
comment on column automation.entities.writable_columns is
  'What steps may write: columns, and names of mapped for columns that have another name.';
comment on column automation.entities.match_columns is
  'Columns cheap enough to compare before a record is turned into JSON.';
comment on column automation.entities.is_log is
  'Rows are events of a contact (messages, calls), not things with a life of their own: what happens '
  'to one concerns all runs of its contact, and deleting one ends no run.';
comment on column automation.entities.ignored_columns is
  'Columns whose change alone is not an update (updated_at).';

-- sql/03_capture/02_attach.sql

-- automation.attach(): the same capture for the reference tables and for anybody else's.

-- Can values of this type be compared as they are? json, points and whatever holds them inside (a
-- domain, an array, a row) cannot; those are compared as text.
create or replace function automation.has_equality(type oid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when t.typtype = 'd' then automation.has_equality(t.typbasetype)
      when t.typcategory = 'A' then automation.has_equality(t.typelem)
      when t.typtype in ('e', 'r', 'm') then true
      else t.typcategory <> 'G' and exists (
        select from pg_catalog.pg_opclass as o
        where o.opcintype = t.oid and o.opcdefault
          and o.opcmethod in (select m.oid from pg_catalog.pg_am as m where m.amname = 'btree'))
        or t.oid in ('pg_catalog.varchar'::regtype, 'pg_catalog.cidr'::regtype)
    end
    from pg_catalog.pg_type as t
    where t.oid = has_equality.type
  $$;

-- Columns of a relation, in order, with what the generated code needs to know of their type.
create or replace function automation.relation_columns(relation regclass)
  returns table (name text, is_cheap boolean, is_comparable boolean, is_generated boolean)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select a.attname::text,
      t.typcategory in ('S', 'B', 'E') or t.oid = 'pg_catalog.uuid'::regtype,
      automation.has_equality(t.oid),
      a.attgenerated <> ''
    from pg_catalog.pg_attribute as a
    join pg_catalog.pg_type as t on t.oid = a.atttypid
    where a.attrelid = relation and a.attnum > 0 and not a.attisdropped
    order by a.attnum
  $$;

-- What the engine wants to know of a record, whatever its table calls it.
create or replace function automation.mapped_names() returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array['phone', 'email', 'first_name', 'last_name', 'stage', 'status', 'assigned_to',
      'timezone', 'last_contacted_at', 'created_at', 'updated_at']
  $$;

comment on function automation.mapped_names() is
  'The keys that columns of automation.attach() may map to a column; one that is left out means the '
  'column of that name, null means that there is none.';

create or replace function automation.attach(
  relation regclass, entity text, columns jsonb default '{}', events jsonb default '[]')
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
begin
  attached := automation.describe_entity(relation, entity, columns);
  perform automation.check_attachment(attached, events);
  insert into automation.entities
  select attached.*
  on conflict on constraint entities_pkey do update set (
    relation, tenant_column, id_column, id_type, related, columns, match_columns, writable_columns,
    ignored_columns, mapped, is_log) = row (
    excluded.relation, excluded.tenant_column, excluded.id_column, excluded.id_type, excluded.related,
    excluded.columns, excluded.match_columns, excluded.writable_columns, excluded.ignored_columns,
    excluded.mapped, excluded.is_log);
  perform automation.forget_triggers(attached, events);
  perform automation.register_triggers(attached, events);
  execute automation.row_function(attached);
  execute automation.insert_function(attached);
  execute automation.update_function(attached);
  if not attached.is_log then
    execute automation.delete_function(attached);
  end if;
  execute automation.reader_function(attached);
  perform automation.install_triggers(attached);
  perform automation.refresh_timer_trigger(attached);
  perform automation.point_references(attached);
  execute automation.read_record_function();
end;
$$;

comment on function automation.attach(regclass, text, jsonb, jsonb) is
  'Makes a table fire workflows. columns: {tenant, id, phone, email, stage, status, ... (see '
  'automation.mapped_names()), ignore: [..], protect: [..]} where they differ from tenant_id, id and '
  'columns of that name; {<entity>: column}, or {related: {<entity>: column}}, for the records it '
  'belongs to; log: true for a table whose rows are events of a contact. events: [{type, column?, '
  'becomes?, on_insert?, description?}] for writes with a name of their own: a change of column, a '
  'change to the value becomes, with on_insert also an insert with it; without column, any insert. '
  'Call it again after adding columns.';

create or replace function automation.describe_entity(relation regclass, entity text, columns jsonb)
  returns automation.entities
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  described automation.entities;
  missing text;
begin
  described.name := entity;
  described.relation := (
    select format('%I.%I', n.nspname, c.relname)
    from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
    where c.oid = describe_entity.relation);
  described.tenant_column := coalesce(columns ->> 'tenant', 'tenant_id');
  described.id_column := coalesce(columns ->> 'id', 'id');
  described.id_type := (
    select pg_catalog.format_type(a.atttypid, a.atttypmod)
    from pg_catalog.pg_attribute as a
    where a.attrelid = describe_entity.relation and a.attname = described.id_column);
  described.is_log := coalesce((columns -> 'log')::boolean, false);
  described.related := columns - '{tenant,id,ignore,protect,related,log}'::text[]
    - automation.mapped_names() || coalesce(columns -> 'related', '{}');
  described.mapped := automation.map_columns(relation, columns);
  described.ignored_columns := array(select jsonb_array_elements_text(coalesce(
    columns -> 'ignore', jsonb_build_array(coalesce(described.mapped ->> 'updated_at', 'updated_at')))));
  select array_agg(c.name), array_agg(c.name) filter (where c.is_cheap),
    array_agg(c.name) filter (where not c.is_generated and not c.name = any (
      array[described.tenant_column, described.id_column, 'created_at', 'updated_at',
        coalesce(described.mapped ->> 'created_at', ''), coalesce(described.mapped ->> 'updated_at', '')]
      || array(select jsonb_array_elements_text(coalesce(columns -> 'protect', '[]')))))
    into described.columns, described.match_columns, described.writable_columns
  from automation.relation_columns(relation) as c;
  described.writable_columns := coalesce(described.writable_columns, '{}') || array(
    select a.key from jsonb_each_text(automation.aliases(described)) as a
    where a.value = any (described.writable_columns));
  select n into missing
  from unnest(array[described.tenant_column, described.id_column]
    || array(select r.value from jsonb_each_text(described.related || described.mapped) as r)
    || array(select jsonb_array_elements_text(
      coalesce(columns -> 'ignore', '[]') || coalesce(columns -> 'protect', '[]')))) as n
  where not n = any (described.columns)
  limit 1;
  if missing is not null then
    raise exception 'columns: % has no column "%"', described.relation, missing
      using errcode = 'undefined_column',
        hint = 'Name the column in the columns argument, such as {"tenant": "company_id"}.';
  end if;
  return described;
end;
$$;

create or replace function automation.map_columns(relation regclass, columns jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(m.name, m.column_name), '{}')
    from (
      select n.name, case when columns ? n.name then columns ->> n.name else (
        select c.name from automation.relation_columns(relation) as c where c.name = n.name)
        end as column_name
      from unnest(automation.mapped_names()) as n (name)
    ) as m
    where m.column_name is not null
  $$;

-- Names that a record answers to besides those of its columns.
create or replace function automation.aliases(attached automation.entities) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(m.key, m.value), '{}')
    from jsonb_each(attached.mapped) as m
    where not m.key = any (attached.columns)
  $$;

create or replace function automation.own_name(attached automation.entities, name text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(automation.aliases(attached) ->> name, name) $$;

comment on function automation.own_name(automation.entities, text) is
  'What the table itself calls a column: mobile_no for phone. Its own names stay as they are.';

create or replace function automation.own_names(attached automation.entities, fields jsonb)
  returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(coalesce(a.names ->> f.key, f.key), f.value), '{}')
    from jsonb_each(fields) as f
    cross join (select automation.aliases(attached) as names) as a
  $$;

-- The first of several mapped columns that an entity has; null when it has none of them.
create or replace function automation.mapped_column(entity text, variadic names text[]) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select e.mapped ->> n.name
    from automation.entities as e
    cross join unnest(names) with ordinality as n (name, place)
    where e.name = mapped_column.entity and e.mapped ? n.name
    order by n.place
    limit 1
  $$;

-- What would make the generated code wrong is refused before there is any.
create or replace function automation.check_attachment(attached automation.entities, events jsonb)
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problem text;
begin
  select p.message into problem
  from (
    select 1, format('entity: "%s" is no name: use lower-case letters, digits and _', attached.name)
    where attached.name !~ '^[a-z][a-z0-9_]{0,40}$'
    union all
    select 2, format('entity: "%s" is %s already; detach that first', e.name, e.relation)
    from automation.entities as e
    where e.name = attached.name
      and to_regclass(e.relation) is distinct from to_regclass(attached.relation)
    union all
    select 3, format('relation: %s is attached already, as "%s"', e.relation, e.name)
    from automation.entities as e
    where e.relation = attached.relation and e.name <> attached.name
    union all
    select 4, format('columns: the tenant column "%s" is %s; it must be uuid', a.attname,
      format_type(a.atttypid, a.atttypmod))
    from pg_catalog.pg_attribute as a
    where a.attrelid = to_regclass(attached.relation) and a.attname = attached.tenant_column
      and a.atttypid <> 'pg_catalog.uuid'::regtype
    union all
    select 4, format('columns: %s "%s" is %s; it must be text', m.key, m.value,
      format_type(a.atttypid, a.atttypmod))
    from jsonb_each_text(attached.mapped) as m
    join pg_catalog.pg_attribute as a
      on a.attrelid = to_regclass(attached.relation) and a.attname = m.value
    join pg_catalog.pg_type as t on t.oid = a.atttypid
    where m.key in ('phone', 'email', 'timezone') and t.typcategory <> 'S'
      and (t.typname <> 'citext' or t.typtype <> 'b')
    union all
    select 5, format('columns: a name that holds %s cannot be taken: %s', tag, n)
    from unnest('{$capture$,$reader$}'::text[]) as tag
    cross join unnest(attached.columns || attached.relation) as n
    where strpos(n, tag) > 0
    union all
    select 6, format('events: %s has no column "%s"', attached.relation, e ->> 'column')
    from jsonb_array_elements(events) as e
    where not coalesce(e ->> 'column' = any (attached.columns), true)
    union all
    select 7, format('events: "%s" is an event of %s', t.name, coalesce(t.entity, 'the engine'))
    from jsonb_array_elements(events) as e
    join automation.trigger_types as t on t.name = e ->> 'type'
    where t.entity is distinct from attached.name
  ) as p (rank, message)
  order by p.rank
  limit 1;
  if problem is not null then
    raise exception '%', problem using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

-- Events that are not named any more go, unless a workflow was written for them; and one whose
-- column is gone fires no more.
create or replace function automation.forget_triggers(attached automation.entities, events jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.trigger_types as t
    where t.entity = attached.name
      and t.name not in (attached.name || '_created', attached.name || '_updated')
      and not events @> jsonb_build_array(jsonb_build_object('type', t.name))
      and not exists (select from public.workflows as w where w.trigger_type = t.name)
  $$;

create or replace function automation.register_triggers(attached automation.entities, events jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.trigger_types (
      name, entity, kind, column_name, becomes, on_insert, description)
    select * from (
      values
        (attached.name || '_created', attached.name, 'created', null, null, false,
          format('A %s was created.', attached.name)),
        (attached.name || '_updated', attached.name, 'updated', null, null, false,
          format('Any field of a %s changed.', attached.name))
      union all
      select e ->> 'type', attached.name,
        case when e ? 'becomes' then 'becomes' when e ? 'column' then 'changed' else 'created' end,
        e ->> 'column', e ->> 'becomes', coalesce((e ->> 'on_insert')::boolean, not e ? 'column'),
        coalesce(e ->> 'description', format('%s of a %s changed%s.', e ->> 'column', attached.name,
          coalesce(' to ' || (e ->> 'becomes'), '')))
      from jsonb_array_elements(events) as e
    ) as t
    on conflict on constraint trigger_types_pkey do update
      set (entity, kind, column_name, becomes, on_insert, description) = row (
        excluded.entity, excluded.kind, excluded.column_name, excluded.becomes, excluded.on_insert,
        excluded.description)
  $$;

create or replace function automation.install_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.remove_triggers(attached);
  execute format(
    'create trigger automation_capture_insert after insert on %s referencing new table as new_rows '
    'for each statement execute function automation.capture_%s_insert()',
    attached.relation, attached.name);
  execute format(
    'create trigger automation_capture_update after update on %s '
    'for each row execute function automation.capture_%s_update()',
    attached.relation, attached.name);
  if not attached.is_log then
    execute format(
      'create trigger automation_capture_delete after delete on %s referencing old table as old_rows '
      'for each statement execute function automation.capture_%s_delete()',
      attached.relation, attached.name);
  end if;
end;
$$;

-- Found by what they call: the table may have been renamed since.
create or replace function automation.remove_triggers(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  installed record;
begin
  for installed in
    select t.tgname, t.tgrelid::regclass as relation
    from pg_catalog.pg_trigger as t
    join pg_catalog.pg_proc as p on p.oid = t.tgfoid
    where p.pronamespace = 'automation'::regnamespace
      and p.proname in (
        format('capture_%s_insert', attached.name), format('capture_%s_update', attached.name),
        format('capture_%s_delete', attached.name))
      and t.tgparentid = 0
  loop
    execute format('drop trigger %I on %s', installed.tgname, installed.relation);
  end loop;
end;
$$;

-- The key that a foreign key can point at: tenant and id where that is unique, else the id alone.
create or replace function automation.reference_key(attached automation.entities) returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select k.names
    from (values
      (array[attached.tenant_column, attached.id_column]), (array[attached.id_column])) as k (names)
    where attached.id_type = 'uuid' and exists (
      select from pg_catalog.pg_index as i
      where i.indrelid = attached.relation::regclass and i.indisunique and i.indisvalid
        and i.indimmediate and i.indpred is null and i.indexprs is null
        and i.indnkeyatts = cardinality(k.names)
        and (
          select array_agg(a.attname::text order by a.attname) from pg_catalog.pg_attribute as a
          where a.attrelid = i.indrelid and a.attnum = any (i.indkey[0:i.indnkeyatts - 1]))
          = array(select n from unnest(k.names) as n order by n))
    order by cardinality(k.names) desc
    limit 1
  $$;

-- Messages, calls, tags and tasks know their contact by a foreign key. When another table takes its
-- place (or that of projects or jobs), they point there from now on; rows that are there already are
-- left as they are. A table without a unique uuid cannot be pointed at: then the key goes.
create or replace function automation.point_references(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key constant text[] := automation.reference_key(attached);
  reference constant text := attached.name || '_id';
  referring text;
begin
  for referring in
    select t.name
    from unnest('{projects,jobs,tasks,contact_tags,messages,emails,calls,form_submissions,email_events}'::text[])
      as t (name)
    join pg_catalog.pg_attribute as a
      on a.attrelid = to_regclass('public.' || t.name) and a.attname = reference and not a.attisdropped
    left join pg_catalog.pg_constraint as c
      on c.conrelid = a.attrelid and c.conname = format('%s_%s_fk', t.name, attached.name)
    where attached.name in ('contact', 'project', 'job')
      and c.confrelid is distinct from attached.relation::regclass
      and (c.oid is not null or key is not null)
    order by t.name
  loop
    execute format(
      'alter table public.%I drop constraint if exists %I', referring,
      format('%s_%s_fk', referring, attached.name));
    continue when key is null;
    execute format(
      'alter table public.%I add constraint %I foreign key (%s) references %s (%s) on delete %s not valid',
      referring, format('%s_%s_fk', referring, attached.name),
      case when cardinality(key) = 2 then format('tenant_id, %I', reference) else quote_ident(reference) end,
      attached.relation, (select string_agg(quote_ident(k), ', ') from unnest(key) as k),
      case when attached.name = 'contact' and referring in ('tasks', 'contact_tags') then 'cascade'
        else format('set null (%I)', reference) end);
  end loop;
end;
$$;

create or replace function automation.detach(entity text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
begin
  select e.* into attached from automation.entities as e where e.name = detach.entity;
  if not found then
    raise exception 'entity: "%" is not attached', entity using errcode = 'undefined_object';
  end if;
  delete from automation.active_triggers as t where t.entity = attached.name;
  perform automation.remove_triggers(attached);
  perform automation.remove_timer_trigger(attached);
  execute format('drop function if exists automation.capture_%s_insert()', attached.name);
  execute format('drop function if exists automation.capture_%s_update()', attached.name);
  execute format('drop function if exists automation.capture_%s_delete()', attached.name);
  execute format('drop function if exists automation.capture_%s_row', attached.name);
  execute format('drop function if exists automation.read_%s(uuid, text)', attached.name);
  delete from automation.entities as e where e.name = attached.name;
  execute automation.read_record_function();
end;
$$;

comment on function automation.detach(text) is
  'Undoes automation.attach(): the table fires nothing any more. Its trigger types stay known, so '
  'that the workflows that name them can still be read; runs in flight go on.';

-- sql/03_capture/03_generate.sql

-- The code that attach() generates for a table. It names every column, so that Postgres resolves
-- types once and a row that nobody listens for costs next to nothing.
--
--   capture_<entity>_insert   for each statement: all its rows in one pass
--   capture_<entity>_update   for each row that changed
--   capture_<entity>_delete   for each statement: which of its rows have runs that end now
--   capture_<entity>_row      one row, with its own guard: updates, and inserts that cannot be
--                             taken in one pass
--   read_<entity>             the live record
--
-- Inserts are captured a statement at a time because a row at a time was measured against it: for
-- 100,000 matching rows 150 us a row against 63, for rows that match nothing 23 against 14.7, over
-- an insert that takes 14 without any trigger. Either fires for every client and every kind of
-- write.
--
-- The plans are held to index probes: a session keeps the plan it made while there were no
-- workflows, and that one reads all of them. What is switched off counts as dear, so the plans
-- would be compiled at every call (measured on 15: sixty times slower): hence jit = off.

-- 'stage' -> new.stage is distinct from old.stage, for every column that counts as a change.
create or replace function automation.changed_expression(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select 'array_remove(array['
      || string_agg(
        format(
          case when c.is_comparable
            then E'\n    case when new.%1$I is distinct from old.%1$I then %2$L end'
            else E'\n    case when new.%1$I::text is distinct from old.%1$I::text then %2$L end' end,
          c.name, c.name),
        ',')
      || ']::text[], null)'
    from automation.relation_columns(attached.relation::regclass) as c
    where not c.name = any (attached.ignored_columns)
  $$;

-- The names of the events that an update stands for.
create or replace function automation.update_events(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('array[%L, %L]', attached.name || '_updated', 'field_changed')
      || coalesce(string_agg(
        format(
          E'\n    || case when %1$L = any (changed)%2$s then array[%3$L] else array[]::text[] end',
          t.column_name,
          case when t.becomes is not null
            then format(
              ' and lower(new.%1$I::text) = %2$L and lower(old.%1$I::text) is distinct from %2$L',
              t.column_name, lower(t.becomes))
            else '' end,
          t.name),
        '' order by t.name), '')
    from automation.trigger_types as t
    where t.entity = attached.name and t.column_name = any (attached.columns)
  $$;

-- The same for an insert. A record that is inserted with a value has not become it: a migration of
-- old won projects congratulates nobody. Only events that say on_insert fire (a missed call is
-- written once, as missed).
create or replace function automation.insert_events(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format('array[%L]', attached.name || '_created')
      || coalesce(string_agg(
        format(
          E'\n        || case when %1$s then array[%2$L] else array[]::text[] end',
          case when t.column_name is null then 'true'
            when t.becomes is null then format('n.%I is not null', t.column_name)
            else format('lower(n.%I::text) = %L', t.column_name, lower(t.becomes)) end,
          t.name),
        '' order by t.name), '')
    from automation.trigger_types as t
    where t.entity = attached.name and t.on_insert
      and coalesce(t.column_name = any (attached.columns), true)
  $$;

-- Could this listener match this row? Asked before the row is turned into JSON.
create or replace function automation.listens_expression(
  attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      E't.tenant_id = %1$s.%2$I and t.entity = %3$L\n'
      '        and (t.match_column is null or t.match_value = case t.match_column%4$s end)',
      written, attached.tenant_column, attached.name,
      string_agg(format(E'\n          when %1$L then %2$s.%1$I::text', c.name, written), ''))
    from unnest(attached.match_columns) as c (name)
  $$;

-- A row as JSON. Names of mapped that its table does not have come on top, so that {{contact.phone}}
-- is the phone whatever the CRM calls it.
create or replace function automation.record_expression(attached automation.entities, written text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
        format('jsonb_build_object(%s) || ',
          string_agg(format('%L, %s.%I', a.key, written, a.value), ', ' order by a.key)), '')
      || format('to_jsonb(%s.*)', written)
    from jsonb_each_text(automation.aliases(attached)) as a
  $$;

-- trigger_data of one row.
create or replace function automation.snapshot_expression(
  attached automation.entities, tenant text, record text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      case when attached.related = '{}' then '%1$s' else 'automation.add_related(%1$s, %2$s, %3$s, %4$L)' end,
      format(
        'jsonb_build_object(''entity'', %1$L, %1$L, %2$s, %3$L, %2$s -> %4$L, ''user_id'', '
        'automation.current_user_id())',
        attached.name, record, attached.name || '_id', attached.id_column),
      tenant, record, attached.related)
  $$;

comment on function automation.snapshot_expression(automation.entities, text, text) is
  'trigger_data: {entity, <entity>: record, <entity>_id, user_id, <related>: record, <related>_id}.';

-- The generated code names columns. When one of them is gone the write goes through all the same, and
-- the server's log says what to do.
create or replace function automation.warn_altered(entity text, message text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise warning 'automation: a write to % fires nothing: %', entity, message
    using hint = 'The table was altered after it was attached: call automation.attach() again.';
end;
$$;

create or replace function automation.insert_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_insert() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $capture$
declare
  written %2$s;
  listened boolean;
  in_one_pass boolean;
begin
  begin
    listened := exists (
      select from new_rows as n
      join automation.active_triggers as t
        on %3$s
        and t.event = any (%4$s));
    -- Events that runs end at or wait for are taken row by row, in the order of the rows.
    in_one_pass := listened and automation.causation_depth() = 0 and not exists (
      select from new_rows as n
      join automation.active_triggers as t
        on %3$s
        and t.event = any (%4$s) and t.role <> 'enrol');
  exception when others then
    perform automation.warn_altered(%1$L, sqlerrm);
  end;
  if listened is not true then
    return null;
  end if;
  if in_one_pass then
    begin
      with candidates as materialized (
        select t.*, n.%5$I::text as record_id, %7$s as record
        from new_rows as n
        join automation.active_triggers as t
          on %3$s
          and t.event = any (%4$s) and t.role = 'enrol'
      ), matched as materialized (
        select c.*, %6$s as data
        from candidates as c
        where automation.matches(c.record, c.match, c.match_any)
          and (c.to_values is null or c.to_values @> (c.record -> c.field))
          and c.from_values is null
      ), enrolled as (
        insert into public.workflow_executions (
          tenant_id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
          contact_id, current_step, error, created_at, finished_at)
        select m.tenant_id, m.workflow_id, m.version, v.status, m.event, m.data, %1$L, m.record_id,
          automation.as_uuid(m.data ->> 'contact_id'), m.first_step, v.error, automation.now(),
          case when v.status = 'failed' then automation.now() end
        from matched as m
        cross join lateral automation.verdict(m.conditions, m.tenant_id, m.data, m.first_delay) as v
        where v.status is not null
        returning tenant_id, id, workflow_id, trigger_type, status
      )
      insert into public.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
      select e.tenant_id, e.id, t.first_step, t.first_lane, automation.now() + t.first_delay
      from enrolled as e
      join automation.active_triggers as t
        on t.tenant_id = e.tenant_id and t.entity = %1$L and t.event = e.trigger_type
        and t.workflow_id = e.workflow_id and t.role = 'enrol'
      where e.status <> 'failed';
      if found then
        perform automation.ring_once();
      end if;
      return null;
    exception when others then
      null;
    end;
  end if;
  -- Within an automation every row is admitted by itself; and when one row broke the pass, the
  -- others are captured all the same.
  for written in select n.* from new_rows as n loop
    perform automation.capture_%1$s_row(
      written, null, (select %4$s from (select written.*) as n), array[]::text[]);
  end loop;
  return null;
end;
$capture$
$template$,
      attached.name, attached.relation, automation.listens_expression(attached, 'n'),
      automation.insert_events(attached), attached.id_column,
      automation.snapshot_expression(attached, 'c.tenant_id', 'c.record'),
      automation.record_expression(attached, 'n'))
  $$;

create or replace function automation.update_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_update() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $capture$
declare
  changed text[];
  events text[];
  listened boolean;
begin
  begin
    changed := %2$s;
    if cardinality(changed) = 0 then
      return null;
    end if;
    events := %3$s;
    listened := exists (
      select from automation.active_triggers as t
      where %4$s
        and t.event = any (events)
        and (t.field is null or t.field = any (changed)));
  exception when others then
    perform automation.warn_altered(%1$L, sqlerrm);
  end;
  if listened then
    perform automation.capture_%1$s_row(new, old, events, changed);
  end if;
  return null;
end;
$capture$
$template$,
      attached.name, automation.changed_expression(attached), automation.update_events(attached),
      automation.listens_expression(attached, 'new'))
  $$;

create or replace function automation.row_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_row(
  written %2$s, previous %2$s, events text[], changed text[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $capture$
declare
  record jsonb;
  data jsonb;
  enrolments automation.enrolment[];
begin
  begin
    record := %7$s;
    data := %3$s;
    if previous is distinct from null then
      data := data || jsonb_build_object('old', %8$s, 'changed', changed);
    end if;
    enrolments := automation.match_write(%1$L, written.%4$I, events, changed, data);
  exception when others then
    data := jsonb_build_object('entity', %1$L, %5$L, written.%6$I);
    enrolments := automation.match_failed(%1$L, written.%4$I, events, sqlstate, sqlerrm);
  end;
  if enrolments is not null then
    perform automation.enrol_write(written.%4$I, %1$L, written.%6$I::text, data, enrolments);
  end if;
end;
$capture$
$template$,
      attached.name, attached.relation,
      automation.snapshot_expression(attached, format('written.%I', attached.tenant_column), 'record'),
      attached.tenant_column, attached.name || '_id', attached.id_column,
      automation.record_expression(attached, 'written'),
      automation.record_expression(attached, 'previous'))
  $$;

-- Without the record there is nobody to write to: its runs end. Here that is only noted.
create or replace function automation.delete_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_delete() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $capture$
begin
  insert into automation.signals (tenant_id, role, entity, record_id, contact_id)
  select o.%2$I, 'deleted', %1$L, o.%3$I::text, %4$s
  from old_rows as o
  where automation.has_open_runs(o.%2$I, o.%3$I::text, %4$s);
  return null;
exception when others then
  perform automation.warn_altered(%1$L, sqlerrm);
  return null;
end;
$capture$
$template$,
      attached.name, attached.tenant_column, attached.id_column,
      case attached.name
        when 'contact' then format('automation.as_uuid(o.%I::text)', attached.id_column)
        else 'null::uuid' end)
  $$;

create or replace function automation.reader_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.read_%1$s(tenant_id uuid, id text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
  return (
    select %6$s from %2$s as r
    where r.%3$I = read_%1$s.tenant_id and r.%4$I = read_%1$s.id::%5$s);
exception when data_exception then
  return null;
end;
$reader$
$template$,
      attached.name, attached.relation, attached.tenant_column, attached.id_column,
      attached.id_type, automation.record_expression(attached, 'r'))
  $$;

comment on function automation.reader_function(automation.entities) is
  'An id that cannot be one of the table''s reads as no record.';

create or replace function automation.read_record_function() returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.read_record(entity text, tenant_id uuid, id text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $reader$
begin
  case entity%s
    else return null;
  end case;
end;
$reader$
$template$,
      string_agg(format(
        E'\n    when %1$L then return automation.read_%1$s(tenant_id, id);', e.name), ''
        order by e.name))
    from automation.entities as e
  $$;

comment on function automation.read_record_function() is
  'automation.read_record(): the live record of any attached table, by the name of its entity.';

-- sql/03_capture/04_enrol.sql

-- Matching a write against the listeners, and enrolling it.

create type automation.enrolment as (
  workflow_id uuid,
  version integer,
  trigger_type text,
  first_step text,
  first_lane public.automation_lane,
  first_delay interval,
  failure jsonb,
  role text,
  listener text
);

comment on type automation.enrolment is
  'A match between a write and a listener, worked out and ready to be written down: an execution that '
  'starts, or (role exit or wait) a signal to those that run.';

-- The next functions run for every row that matches. They carry no search_path setting, because
-- it would keep them from being inlined (measured: 8 to 12 us a call instead of 1); their names and
-- operators are qualified instead.

create or replace function automation.as_uuid(value text) returns uuid
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when value operator(pg_catalog.~*)
        '^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$'
      then value::pg_catalog.uuid
    end
  $$;

comment on function automation.as_uuid(text) is 'The text as a UUID; null when it is none.';

-- Parsed, not searched: a user may write any "sub" into their own metadata, which the claims carry.
create or replace function automation.claimed_user_id() returns uuid
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(
    automation.as_uuid(current_setting('request.jwt.claim.sub', true)),
    automation.as_uuid(current_setting('request.jwt.claims', true)::jsonb ->> 'sub'));
exception when data_exception then
  return null;
end;
$$;

create or replace function automation.current_user_id() returns uuid
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('request.jwt.claims', true) operator(pg_catalog.<>) ''
        or pg_catalog.current_setting('request.jwt.claim.sub', true) operator(pg_catalog.<>) ''
      then automation.claimed_user_id()
    end
  $$;

comment on function automation.current_user_id() is
  'The signed-in user on whose behalf a write is made; null for any other, and for claims that '
  'cannot be read.';

-- The records that the written one belongs to, as they are now. A job knows its customer through its
-- project.
create or replace function automation.add_related(
  data jsonb, tenant_id uuid, record jsonb, related jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity text;
  id text;
begin
  for entity, id in select r.key, record ->> r.value from jsonb_each_text(related) as r loop
    data := data || jsonb_build_object(
      entity || '_id', id, entity, automation.read_record(entity, tenant_id, id));
  end loop;
  id := data #>> '{project,contact_id}';
  if data ->> 'contact_id' is null and id is not null then
    data := data || jsonb_build_object(
      'contact_id', id, 'contact', automation.read_record('contact', tenant_id, id));
  end if;
  return data;
end;
$$;

create or replace function automation.match_write(
  entity text, tenant_id uuid, events text[], changed text[], data jsonb)
  returns automation.enrolment[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  record constant jsonb := data -> entity;
begin
  return (
    select array_agg(row(
        m.workflow_id, m.version, m.event, m.first_step, m.first_lane, m.first_delay,
        case when m.verdict <> 'true' then m.verdict end, m.role, m.listener)::automation.enrolment)
    from (
      select t.*, case
          when t.conditions is null then 'true'
          else automation.try_conditions(t.conditions, match_write.tenant_id, data)
        end as verdict
      from automation.active_triggers as t
      where t.tenant_id = match_write.tenant_id
        and t.entity = match_write.entity
        and t.event = any (events)
        and automation.matches(record, t.match, t.match_any)
        -- What is inserted has changed from nothing.
        and (t.field is null or t.field = any (changed) or not data ? 'old')
        and (t.from_values is null or t.from_values @> (data -> 'old' -> t.field))
        and (t.to_values is null or t.to_values @> (record -> t.field))
        and (t.reentry is null or automation.may_enter_again(t, data ->> (match_write.entity || '_id')))
    ) as m
    where m.verdict <> 'false');
end;
$$;

comment on function automation.match_write(text, uuid, text[], text[], jsonb) is
  'The listeners that a write matches; null when there is none. Writes nothing.';

-- What a match comes to, for the pass over many rows: the status the execution starts with; none
-- when the conditions are not met. Inlined, so without a search_path setting.
create or replace function automation.verdict(
  conditions jsonb, tenant_id uuid, data jsonb, first_delay interval)
  returns table (status public.automation_status, error jsonb)
  language sql stable
  -- No search_path: this is inlined.
  as $$
    select
      case
        when t.tried operator(pg_catalog.=) 'false' then null
        when t.tried operator(pg_catalog.<>) 'true' then 'failed'
        when first_delay operator(pg_catalog.>) interval '0' then 'waiting'
        else 'pending'
      end::public.automation_status,
      case
        when pg_catalog.jsonb_typeof(t.tried) operator(pg_catalog.=) 'object' then t.tried
      end
    from (
      select case
        when conditions is null then 'true'::pg_catalog.jsonb
        else automation.try_conditions(conditions, tenant_id, data)
      end as tried
      -- Or the conditions would be evaluated once for every mention above.
      offset 0
    ) as t
  $$;

-- An error in one workflow's conditions is that workflow's own failed execution and leaves the
-- others alone.
create or replace function automation.try_conditions(conditions jsonb, tenant_id uuid, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if jsonb_typeof(conditions -> 'code') is distinct from 'array' then
    raise exception 'these are not compiled conditions';
  end if;
  return to_jsonb(automation.evaluate_conditions(
    conditions, automation.trigger_context(tenant_id, data, conditions -> 'roots'),
    automation.tenant_zone(tenant_id)));
exception when others then
  return automation.engine_error('conditions_failed', sqlstate, sqlerrm);
end;
$$;

comment on function automation.try_conditions(jsonb, uuid, jsonb) is
  'true or false, or the error object of conditions that could not be evaluated.';

create or replace function automation.match_failed(
  entity text, tenant_id uuid, events text[], state text, message text)
  returns automation.enrolment[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(row(
      t.workflow_id, t.version, t.event, t.first_step, t.first_lane, t.first_delay,
      automation.engine_error('capture_failed', state, message), t.role, t.listener)::automation.enrolment)
    from automation.active_triggers as t
    where t.tenant_id = match_failed.tenant_id
      and t.entity = match_failed.entity
      and t.event = any (events)
      and t.role = 'enrol'
  $$;

comment on function automation.match_failed(text, uuid, text[], text, text) is
  'What enrols when matching itself broke: every listener gets a failed execution that says why.';

create or replace function automation.engine_error(code text, state text, message text)
  returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('code', code, 'message', left(message, 2000), 'sqlstate', state)
  $$;

create or replace function automation.enrol_write(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolments automation.enrolment[])
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  enrolment automation.enrolment;
  -- One number for all that a write leads to: it does not end the run that it starts.
  seq constant bigint := nextval('automation.write_order');
begin
  foreach enrolment in array enrolments loop
    if enrolment.role = 'enrol' then
      perform automation.enrol(tenant_id, entity, record_id, data, enrolment, seq);
    else
      perform automation.raise_signal(tenant_id, entity, record_id, data, enrolment, seq);
    end if;
  end loop;
end;
$$;

-- sql/03_capture/05_limits.sql

-- Loops. A write made by an automation carries how many automations led to it; and whatever the
-- cause, one record may enter one workflow only so often within a window.

create or replace function automation.causation_depth() returns integer
  language sql stable parallel safe
  -- No search_path: this is inlined.
  as $$
    select case
      when pg_catalog.current_setting('automation.depth', true) operator(pg_catalog.~) '^\d{1,4}$'
      then pg_catalog.current_setting('automation.depth', true)::pg_catalog.int4
      else 0
    end
  $$;

comment on function automation.causation_depth() is
  'How many automations led to the current write: 0 for a person''s or a program''s own.';

create or replace function automation.count_enrolments(
  tenant_id uuid, workflow_id uuid, record_id text, since timestamptz, at_most integer)
  returns integer
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select count(*)
    from (
      select from public.workflow_executions as e
      where e.tenant_id = count_enrolments.tenant_id
        and e.record_id = count_enrolments.record_id
        and e.workflow_id = count_enrolments.workflow_id
        and e.created_at > since
      limit at_most
    ) as e
  $$;

-- A refusal is written down once a window, or a runaway loop would fill the history it is kept
-- out of: the refused row itself is the one past the limit.
create or replace function automation.admit(
  tenant_id uuid, workflow_id uuid, record_id text, depth integer,
  out admitted boolean, out refusal jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  max_depth constant integer := automation.setting('max_causation_depth')::integer;
  max_enrollments constant integer := automation.setting('max_enrollments')::integer;
  recent_window constant interval := automation.setting('enrollment_window')::interval;
  recent integer;
begin
  if depth > max_depth then
    refusal := jsonb_build_object(
      'code', 'causation_depth_exceeded',
      'message', format('%s automations in a row led to this write; %s are allowed', depth, max_depth));
  end if;
  recent := automation.count_enrolments(
    tenant_id, workflow_id, record_id, automation.now() - recent_window, max_enrollments + 1);
  if recent = max_enrollments then
    refusal := jsonb_build_object(
      'code', 'enrollment_limit_exceeded',
      'message', format('this record entered the workflow %s times within %s', recent, recent_window));
  end if;
  admitted := recent <= max_enrollments;
end;
$$;

comment on function automation.admit(uuid, uuid, text, integer) is
  'May this record enter this workflow now? refusal: enrol it as failed, with this reason; '
  'not admitted: it was refused a moment ago already, write nothing.';

-- sql/03_capture/05_timers.sql

-- A third trigger, automation_timers, keeps the timers of chapter 09 in step with the dates they are
-- counted from. A table gets it when the first workflow waits on one of its dates, so that tables
-- without timers pay nothing.

create or replace function automation.timer_function(attached automation.entities) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format($template$
create or replace function automation.capture_%1$s_timers() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $capture$
begin
  if tg_op <> 'INSERT' and (tg_op = 'DELETE'
    or (old.%2$I, old.%3$I) is distinct from (new.%2$I, new.%3$I)) then
    perform automation.drop_timers(%1$L, old.%2$I, old.%3$I::text);
  end if;
  if tg_op <> 'DELETE' and exists (
    select from automation.timer_listeners as t
    where t.entity = %1$L and t.tenant_id = new.%2$I
  ) then
    perform automation.follow_timers(%1$L, new.%2$I, new.%3$I::text,
      case when tg_op = 'UPDATE' then to_jsonb(old) end, to_jsonb(new));
  end if;
  return null;
end;
$capture$
$template$,
      attached.name, attached.tenant_column, attached.id_column)
  $$;

create or replace function automation.has_timer_trigger(relation text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from pg_catalog.pg_trigger as t
      where t.tgrelid = has_timer_trigger.relation::regclass and t.tgname = 'automation_timers')
  $$;

-- Waits for writers of the table, and they for it, but not for long.
create or replace function automation.install_timer_trigger(entity text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  waits constant text := current_setting('lock_timeout');
begin
  select e.* into attached from automation.entities as e where e.name = install_timer_trigger.entity;
  if not found or automation.has_timer_trigger(attached.relation) then
    return;
  end if;
  execute automation.timer_function(attached);
  perform set_config('lock_timeout', '3s', true);
  execute format(
    'create trigger automation_timers after insert or update or delete on %s '
    'for each row execute function automation.capture_%s_timers()',
    attached.relation, attached.name);
  perform set_config('lock_timeout', waits, true);
end;
$$;

comment on function automation.install_timer_trigger(text) is
  'Lets the dates of an attached table set timers. Publishing the first such workflow calls it.';

-- Columns may have other names when a table is attached again.
create or replace function automation.refresh_timer_trigger(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.has_timer_trigger(attached.relation) then
    execute automation.timer_function(attached);
  end if;
end;
$$;

create or replace function automation.remove_timer_trigger(attached automation.entities) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  execute format('drop trigger if exists automation_timers on %s', attached.relation);
  execute format('drop function if exists automation.capture_%s_timers()', attached.name);
  delete from automation.timer_listeners as t where t.entity = attached.name;
end;
$$;

-- sql/03_capture/06_reference_tables.sql

-- The reference CRM, attached like any other.

select automation.attach(
  'public.contacts', 'contact', '{}',
  '[{"type": "stage_changed", "column": "stage"}]');

select automation.attach(
  'public.projects', 'project', '{"contact": "contact_id", "stage": "pipeline_stage"}',
  '[{"type": "project_status_changed", "column": "status"},
    {"type": "pipeline_stage_changed", "column": "pipeline_stage"},
    {"type": "project_won", "column": "pipeline_stage", "becomes": "won"}]');

select automation.attach(
  'public.jobs', 'job', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]');

-- The status of a message or a call is the provider's word; change_stage leaves it alone.
select automation.attach(
  'public.messages', 'message', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "sms_received", "column": "direction", "becomes": "inbound", "on_insert": true,
     "description": "A contact sent a text message."}]');

select automation.attach(
  'public.calls', 'call', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "call_missed", "column": "status", "becomes": "missed", "on_insert": true,
     "description": "A call was not answered."},
    {"type": "call_completed", "column": "status", "becomes": "completed", "on_insert": true,
     "description": "A call was answered and has ended."}]');

select automation.attach(
  'public.emails', 'email', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "email_opened", "column": "opened_at",
     "description": "A contact opened an email for the first time."},
    {"type": "email_clicked", "column": "clicked_at",
     "description": "A contact clicked a link in an email for the first time."}]');

select automation.attach(
  'public.form_submissions', 'form_submission', '{"contact": "contact_id", "log": true}',
  '[{"type": "form_submitted", "description": "A form was submitted."}]');

-- sql/03_capture/07_signals.sql

-- Signals: what happens to a record that has runs in flight. Some of these end at an event (a reply, a
-- stage reached) or wait for one, and a record that is deleted ends its runs. Capture only notes it:
-- whoever writes a row neither waits for an execution nor locks one. Chapter 06 acts on the notes, and
-- no step is run or claimed while one that would end its run is still unread.

create table automation.signals (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  role text not null
    constraint signals_role_known check (role in ('exit', 'wait', 'deleted')),
  workflow_id uuid,
  version integer,
  listener text,
  event text,
  entity text not null,
  record_id text,
  contact_id uuid,
  by_contact boolean not null default false,
  record jsonb,
  at timestamptz not null default automation.now(),
  seq bigint not null default nextval('automation.write_order'),
  written_by xid8 not null default pg_current_xact_id(),
  next_try_at timestamptz not null default clock_timestamp(),
  kept_for xid8,
  constraint signals_pkey primary key (tenant_id, id),
  constraint signals_listener_matches_role check (
    (role = 'deleted') = (workflow_id is null) and (role = 'deleted') = (listener is null))
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

comment on table automation.signals is
  'Events that runs in flight end at or wait for, until they have been acted on. No foreign keys: '
  'nothing here may stand in the way of a delete.';
comment on column automation.signals.by_contact is
  'The event concerns every run of its contact, and not only those about the same record.';
comment on column automation.signals.kept_for is
  'It has been acted on, and stays until every transaction below this one has ended: a run that one of them '
  'has enrolled could not be seen yet.';

create index signals_in_order on automation.signals (next_try_at, tenant_id) where kept_for is null;
create index signals_kept on automation.signals (kept_for) where kept_for is not null;
create index signals_by_contact on automation.signals (contact_id, tenant_id) where contact_id is not null;
create index signals_by_record on automation.signals (record_id, tenant_id);

-- What it computes cannot fail; what it writes has no constraint that it could break.
create or replace function automation.raise_signal(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment, seq bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  insert into automation.signals (
    tenant_id, role, workflow_id, version, listener, event, entity, record_id, contact_id, by_contact,
    record, seq)
  values (
    tenant_id, enrolment.role, enrolment.workflow_id, enrolment.version, enrolment.listener,
    enrolment.trigger_type, entity, record_id, automation.as_uuid(data ->> 'contact_id'),
    not data ? 'old' or exists (
      select from automation.entities as e where e.name = entity and e.is_log),
    data -> entity, seq);
  perform automation.ring_once();
end;
$$;

comment on function automation.raise_signal(uuid, text, text, jsonb, automation.enrolment, bigint) is
  'Notes an event for the runs of a version. A record that was just created is nobody''s own yet, so '
  'that it concerns the runs of its contact.';

create or replace function automation.has_open_runs(tenant_id uuid, record_id text, contact_id uuid)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from public.workflow_executions as e
      where e.tenant_id = has_open_runs.tenant_id and e.record_id = has_open_runs.record_id
        and e.finished_at is null
    ) or exists (
      select from public.workflow_executions as e
      where e.tenant_id = has_open_runs.tenant_id and e.contact_id = has_open_runs.contact_id
        and e.entity <> 'contact' and e.finished_at is null
    )
  $$;

-- sql/04_conditions/01_values.sql

-- 04 CONDITIONS
--
-- The condition language: what a workflow, a step or a branch asks of a record before it runs.
-- docs/conditions.md has the table of operators; this chapter has one rule above all: evaluating
-- never raises, whatever a record holds, because it runs inside somebody's insert into contacts.
-- A value that is not what an operator needs makes the condition false, not an error.
--
--   01_values    what a JSON value means: as text without case, as a number, as a date in a zone
--   02_paths     contact.custom_fields.source -> {contact,custom_fields,source}
--   03_patterns  the regular expressions that `matches` accepts
--   04_compile   a document -> a flat list of tests, each with two jumps
--   05_evaluate  the loop over that list
--   06_explain   the same verdict with its reasons
--
-- Takes no locks and writes nothing, but for the copy of the server's time zones below. Small
-- functions have the form "return expression": their names are bound when they are created, and
-- they are inlined where they are called, which a search_path setting would forbid.

-- Text is compared by the rules of Unicode on every server, not by whatever locale a database was
-- created in: with the C locale, lower('É') would be 'É'. A server built without ICU uses its own
-- Unicode rules.
do $$
begin
  if to_regcollation('automation.case_rules') is not null then
    return;
  elsif exists (select from pg_collation where collname = 'und-x-icu') then
    create collation automation.case_rules from pg_catalog."und-x-icu";
  elsif exists (select from pg_collation where collname = 'pg_c_utf8') then
    create collation automation.case_rules from pg_catalog.pg_c_utf8;
  else
    create collation automation.case_rules from pg_catalog."C.utf8";
  end if;
end;
$$;

create or replace function automation.fold(value text) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return lower(value collate automation.case_rules);

comment on function automation.fold(text) is 'Text as conditions compare it: without case.';

-- The zones this server knows. pg_timezone_names reads hundreds of files a call, and an unknown
-- name raises where it is used; a lookup here does neither.
create table automation.time_zones (
  key text constraint time_zones_pkey primary key,
  name text not null
);

comment on table automation.time_zones is
  'Time zone names of this server by their lower-case form, copied from pg_timezone_names.';

create or replace function automation.refresh_time_zones() returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.time_zones (key, name)
    select distinct on (lower(z.name)) lower(z.name), z.name
    from pg_catalog.pg_timezone_names as z
    where z.name !~ '^(posix|right)/' and z.name <> 'localtime'
    order by lower(z.name), z.name
    on conflict on constraint time_zones_pkey do update set name = excluded.name
  $$;

comment on function automation.refresh_time_zones() is
  'Copies the server''s time zone names; worth calling after an update of tzdata.';

select automation.refresh_time_zones();

create or replace function automation.known_zone(zone text) returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if zone is null or zone = 'UTC' then
    return zone;
  end if;
  return (select z.name from automation.time_zones as z where z.key = lower(known_zone.zone));
end;
$$;

comment on function automation.known_zone(text) is
  'The zone''s name as this server spells it; null when it knows no such zone.';

-- Only plain decimals are numbers in disguise: '0x10', '1e5' and 'Infinity' are text.
create or replace function automation.number_in(value text) returns numeric
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when length(value) <= 60 and value ~ '^ *[-+]?([0-9]+[.]?[0-9]*|[.][0-9]+) *$'
    then value::numeric
  end;

create or replace function automation.number_of(value jsonb) returns numeric
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'number' then value::numeric
    when 'string' then automation.number_in(value #>> '{}')
  end;

comment on function automation.number_of(jsonb) is
  'A JSON number, or text that is a plain decimal; otherwise null. null is not 0.';

-- ISO 8601 calendar dates and timestamps of the years 1000 to 9999, as to_jsonb(row) writes them
-- and as browsers send them. Whatever passes can be cast without an error.
create or replace function automation.is_date(value text) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return coalesce(
    case
      when length(value) not between 10 and 40 or substr(value, 5, 1) <> '-' then false
      when value !~ (
        '^[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])'
        || '|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|[12][0-9]))'
        || '(?:[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:[.][0-9]{1,9})?)?'
        || '(?: ?(?:Z|[-+](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?))?)?$'
      ) then false
      when substr(value, 5, 6) <> '-02-29' then true
      else substr(value, 1, 4)::int % 4 = 0
        and (substr(value, 1, 4)::int % 100 <> 0 or substr(value, 1, 4)::int % 400 = 0)
    end,
    false);

comment on function automation.is_date(text) is
  'Whether a text is an ISO 8601 date or timestamp that exists in the calendar.';

-- The next two take only what is_date() accepts and a zone that known_zone() returned.
create or replace function automation.instant_in(value text, zone text) returns timestamptz
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when substr(value, 17) ~ '[-Z+]' then value::timestamptz
    else value::timestamp at time zone zone
  end;

create or replace function automation.day_in(value text, zone text) returns date
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when substr(value, 17) ~ '[-Z+]' then (value::timestamptz at time zone zone)::date
    else value::timestamp::date
  end;

-- -1, 0 or 1; days when either side is a bare date, otherwise instants.
create or replace function automation.compare_dates(a text, b text, zone text) returns int
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when length(a) = 10 or length(b) = 10
    then sign(automation.day_in(a, zone) - automation.day_in(b, zone))::int
    when automation.instant_in(a, zone) < automation.instant_in(b, zone) then -1
    when automation.instant_in(a, zone) > automation.instant_in(b, zone) then 1
    else 0
  end;

create or replace function automation.compare_text(a text, b text) returns int
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case when a = b then 0 when a collate "C" < b collate "C" then -1 else 1 end;

-- Numbers with numbers, dates with dates, other text with other text; null when they are of
-- different kinds, so that 'N/A' is neither above nor below 100.
create or replace function automation.compare_values(
  a jsonb, b jsonb, case_sensitive boolean, zone text
) returns int
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_text text := a #>> '{}';
  b_text text := b #>> '{}';
  a_number numeric := automation.number_of(a);
  b_number numeric := automation.number_of(b);
  a_is_date boolean;
begin
  if a_number is not null or b_number is not null then
    return sign(a_number - b_number)::int;
  end if;
  if jsonb_typeof(a) is distinct from 'string'
    or jsonb_typeof(b) is distinct from 'string' then
    return null;
  end if;
  a_is_date := automation.is_date(a_text);
  if a_is_date <> automation.is_date(b_text) then
    return null;
  elsif a_is_date then
    return automation.compare_dates(a_text, b_text, coalesce(automation.known_zone(zone), 'UTC'));
  elsif case_sensitive then
    return automation.compare_text(a_text, b_text);
  else
    return automation.compare_text(automation.fold(a_text), automation.fold(b_text));
  end if;
end;
$$;

comment on function automation.compare_values(jsonb, jsonb, boolean, text) is
  'How two values of a kind are ordered: -1, 0, 1, or null when they cannot be compared.';

-- Text equals text without case, or the same moment written differently; a number or a boolean
-- also equals its text. Postal codes stay text: "01234" is not "1234".
create or replace function automation.values_equal(
  a jsonb, b jsonb, case_sensitive boolean, zone text
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_type text := coalesce(jsonb_typeof(a), 'null');
  b_type text := coalesce(jsonb_typeof(b), 'null');
  a_text text := a #>> '{}';
  b_text text := b #>> '{}';
begin
  if a_type = 'null' or b_type = 'null' then
    return a_type = b_type;
  elsif a = b then
    return true;
  elsif a_type = 'string' and b_type = 'string' then
    if not case_sensitive
      and automation.fold(a_text) = automation.fold(b_text) then
      return true;
    end if;
    return case
      when automation.is_date(a_text) and automation.is_date(b_text)
      then automation.compare_dates(a_text, b_text, coalesce(automation.known_zone(zone), 'UTC'))
        = 0
      else false
    end;
  elsif a_type = any ('{array,object}')
    or b_type = any ('{array,object}') then
    -- Lower-casing the text of a JSON value gives the text of a JSON value.
    return not case_sensitive and a_type = b_type
      and automation.fold(a_text)::jsonb = automation.fold(b_text)::jsonb;
  elsif a_type = 'boolean' or b_type = 'boolean' then
    return a_type <> 'number' and b_type <> 'number'
      and automation.fold(a_text) = automation.fold(b_text);
  else
    return coalesce(automation.number_of(a) = automation.number_of(b), false);
  end if;
end;
$$;

comment on function automation.values_equal(jsonb, jsonb, boolean, text) is
  'Whether two JSON values are the same to a reader. A missing value equals null only.';

create or replace function automation.is_blank(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case coalesce(jsonb_typeof(value), 'null')
    when 'null' then true
    when 'string' then btrim(value #>> '{}', E' \t\r\n') = ''
    when 'array' then value = '[]'
    when 'object' then value = '{}'
    else false
  end;

comment on function automation.is_blank(jsonb) is
  'Missing, null, text of nothing but spaces, an empty list or object. 0 and false are values.';

-- A length of time: {"days": 3, "hours": 12} or "3 days". Null when it is neither. Bounded to a
-- century, so that adding it to a date never leaves the calendar.
create or replace function automation.duration_in(value jsonb) returns interval
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  caps constant jsonb := '{"minutes": 52560000, "hours": 876000, "days": 36500, "weeks": 5200,
    "months": 1200, "years": 100}'::jsonb;
  written text[];
begin
  if jsonb_typeof(value) = 'string' then
    written := regexp_match(
      lower(value #>> '{}' collate "C"),
      '^ *([0-9]{1,8}) *(minutes?|mins?|m|hours?|h|days?|d|weeks?|w|months?|years?|y) *$');
    if written is null then
      return null;
    end if;
    value := jsonb_build_object(
      case
        when written[2] like 'mo%' then 'months' when written[2] like 'm%' then 'minutes'
        when written[2] like 'h%' then 'hours' when written[2] like 'd%' then 'days'
        when written[2] like 'w%' then 'weeks' else 'years'
      end,
      written[1]::int);
  end if;
  if jsonb_typeof(value) is distinct from 'object' or value = '{}' then
    return null;
  end if;
  if exists (
    select from jsonb_each(value) as part
    where not caps ? part.key
      or jsonb_typeof(part.value) <> 'number'
      or (part.value #>> '{}') !~ '^[0-9]{1,8}$'
  ) then
    return null;
  end if;
  if exists (
    select from jsonb_each_text(value) as part
    where part.value::int > (caps ->> part.key)::int
  ) then
    return null;
  end if;
  return make_interval(
    years => coalesce((value ->> 'years')::int, 0),
    months => coalesce((value ->> 'months')::int, 0),
    weeks => coalesce((value ->> 'weeks')::int, 0),
    days => coalesce((value ->> 'days')::int, 0),
    hours => coalesce((value ->> 'hours')::int, 0),
    mins => coalesce((value ->> 'minutes')::int, 0));
end;
$$;

comment on function automation.duration_in(jsonb) is
  'The interval that {"days": 3} or "3 days" stands for; null when it is no duration.';

-- sql/04_conditions/02_paths.sql

-- A field's path: names joined by dots, list positions as .0 or [0], and any other key in quotes:
-- contact.custom_fields["Roof type"]. The same in conditions and in templates.

create or replace function automation.parse_path(path text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when length(path) <= 200 and path ~ (
        E'^[^][ \t\r\n.{}|"''(),:\\\\]+'
        || E'(?:[.][^][ \t\r\n.{}|"''(),:\\\\]+|\\[-?[0-9]{1,6}\\]'
        || E'|\\["[^"\\\\]+"\\]|\\[''[^''\\\\]+''\\])*$'
      )
      then (
        select array_agg(coalesce(part[1], part[2], part[3], part[4]) order by position)
        from regexp_matches(
          path,
          E'\\["([^"]+)"\\]|\\[''([^'']+)''\\]|\\[(-?[0-9]+)\\]|([^].[]+)', 'g')
          with ordinality as token (part, position)
      )
    end
  $$;

comment on function automation.parse_path(text) is
  'The keys a path goes through; null when it is not a path.';

create or replace function automation.entity_names() returns text[]
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '{contact,project,job}'::text[] || array(select e.name from automation.entities as e) $$;

comment on function automation.entity_names() is
  'Records that a path can start with: those of the reference CRM, attached or not, and all that are.';

-- What a path can start with. Anything else is a field of the record that fired.
create or replace function automation.context_roots() returns text[]
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select '{trigger,user,tenant,custom,steps}'::text[] || automation.entity_names() $$;

comment on function automation.context_roots() is 'The names that a field''s path can start with.';

create or replace function automation.is_root(name text) returns boolean
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select name = any (automation.context_roots()) $$;

comment on function automation.is_root(text) is
  'Whether a path may start with it: one of context_roots(), or an attached entity.';

-- sql/04_conditions/03_patterns.sql

-- The regular expressions that `matches` accepts: the part of the common syntax that Postgres'
-- engine runs as an automaton, in time proportional to the text. Back references and look-around,
-- which need backtracking, are refused; so are repetitions that unfold into a large automaton.
-- The text is cut as well (see 05_evaluate). Checked here, so that running one never raises.

-- One character class, from its [ at `start`: where it ends and how it is written for Postgres.
create or replace function automation.compile_character_class(
  pattern text, start int, out next int, out written text, out problem text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  here int := start + 1;
  item text;
  range_from text;
  previous text;
begin
  next := start;
  written := '[';
  if substr(pattern, here, 1) = '^' then
    written := '[^';
    here := here + 1;
  end if;
  loop
    item := substr(pattern, here, 1);
    if item = '' then
      problem := 'a character class is not closed';
      return;
    elsif item = ']' and previous is null and range_from is null then
      problem := 'a character class is empty';
      return;
    elsif item = ']' and range_from is null then
      written := written || ']';
      next := here + 1;
      return;
    elsif item = '[' then
      next := here;
      problem := 'write \[ inside a character class';
      return;
    elsif item = '\' then
      here := here + 1;
      item := substr(pattern, here, 1);
      if item in ('d', 'w', 's') and range_from is null then
        written := written || '\' || item;
        previous := 'class';
        here := here + 1;
        continue;
      elsif item in ('n', 'r', 't') then
        item := case item when 'n' then E'\n' when 'r' then E'\r' else E'\t' end;
      elsif item = '' or item !~ '^[!-/:-@[-`{-~]$' then
        next := here - 1;
        problem := 'this escape is not supported in a character class';
        return;
      end if;
    elsif item = '-' and range_from is null
      and previous is not null and substr(pattern, here + 1, 1) <> ']' then
      if length(previous) <> 1 then
        next := here;
        problem := 'write \- for a hyphen here';
        return;
      end if;
      range_from := previous;
      here := here + 1;
      continue;
    end if;
    here := here + 1;
    if range_from is null then
      written := written || case when item ~ '^[][\\^-]$' then '\' || item else item end;
      previous := item;
    elsif item collate "C" < range_from collate "C" then
      next := here - 1;
      problem := 'a range runs backwards';
      return;
    else
      written := written || '-' || case when item ~ '^[][\\^-]$' then '\' || item else item end;
      range_from := null;
      previous := 'range';
    end if;
  end loop;
end;
$$;

create or replace function automation.compile_pattern(
  pattern text, out compiled text, out problem text, out "position" int
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  -- The automaton's size: one for each character it has to tell apart, repetitions unfolded.
  max_size constant bigint := 200;
  sizes bigint[] := array[0];  -- of each group that is open
  last_size bigint;         -- of what a quantifier here would repeat; null: nothing to repeat
  nothing_yet boolean := true;  -- in this alternative
  here int := 1;
  item text;
  bound text[];
  times bigint;
  depth int := 1;
  class record;
begin
  compiled := '';
  if length(pattern) > 200 then
    position := 201;
    problem := 'the pattern is longer than 200 characters';
  end if;
  while problem is null and here <= length(pattern) loop
    position := here;
    item := substr(pattern, here, 1);
    if item in ('*', '+', '?', '{') then
      bound := regexp_match(substr(pattern, here), '^[{]([0-9]{1,3})(,?)([0-9]{0,3})[}]');
      if item = '{' and bound is null then
        problem := 'write \{ for a brace, or {2,5} for a repetition';
      elsif last_size is null then
        problem := 'there is nothing to repeat here';
      elsif item = '{' and bound[3] <> '' and bound[2] = '' then
        problem := 'a repetition is {2}, {2,} or {2,5}';
      elsif item = '{' and bound[3] <> '' and bound[3]::int < bound[1]::int then
        problem := 'a repetition runs backwards';
      else
        if item = '{' then
          item := format('{%s%s%s}', bound[1]::int, bound[2], nullif(bound[3], '')::int);
          here := here + position('}' in substr(pattern, here)) - 1;
          times := greatest(bound[1]::int, coalesce(nullif(bound[3], '')::int, 0), 1);
        else
          times := case item when '+' then 2 else 1 end;
        end if;
        here := here + 1;
        -- How much a repetition takes makes no difference to whether the whole matches.
        if substr(pattern, here, 1) = '?' then
          here := here + 1;
        end if;
        compiled := compiled || item;
        sizes[depth] := sizes[depth] + last_size * (times - 1);
        last_size := null;
      end if;
    elsif item = '|' then
      if nothing_yet then
        problem := 'an alternative is empty';
      end if;
      compiled := compiled || '|';
      nothing_yet := true;
      last_size := null;
      here := here + 1;
    elsif item = '(' then
      if substr(pattern, here + 1, 1) = '?' and substr(pattern, here + 2, 1) <> ':' then
        problem := 'look-around, named groups and inline options are not supported';
      elsif depth >= 20 then
        problem := 'groups are nested too deeply';
      else
        compiled := compiled || '(?:';
        here := here + case when substr(pattern, here + 1, 1) = '?' then 3 else 1 end;
        depth := depth + 1;
        sizes[depth] := 0;
        nothing_yet := true;
        last_size := null;
      end if;
    elsif item = ')' then
      if depth = 1 then
        problem := 'there is no ( for this )';
      elsif nothing_yet then
        problem := 'a group or an alternative is empty';
      else
        compiled := compiled || ')';
        last_size := sizes[depth];
        depth := depth - 1;
        sizes[depth] := sizes[depth] + last_size;
        here := here + 1;
      end if;
    elsif item in ('^', '$') or item = '\' and substr(pattern, here + 1, 1) in ('b', 'B') then
      compiled := compiled || case
        when item <> '\' then item
        when substr(pattern, here + 1, 1) = 'b' then '\y' else '\Y'
      end;
      here := here + case item when '\' then 2 else 1 end;
      nothing_yet := false;
      last_size := null;
    elsif item in (']', '}') then
      problem := format('write \%s for this character', item);
    else
      if item = '[' then
        class := automation.compile_character_class(pattern, here);
        problem := class.problem;
        position := case when problem is null then position else class.next end;
        compiled := compiled || class.written;
        here := class.next;
      elsif item = '\' and substr(pattern, here + 1, 1) ~ '^[0-9]$' then
        problem := 'references to a group are not supported';
      elsif item = '\' and substr(pattern, here + 1, 1) !~ '^[dDwWsSnrt!-/:-@[-`{-~]$' then
        problem := 'this escape is not supported';
      elsif item = '\' then
        compiled := compiled || substr(pattern, here, 2);
        here := here + 2;
      else
        compiled := compiled || item;
        here := here + 1;
      end if;
      sizes[depth] := sizes[depth] + 1;
      last_size := 1;
      nothing_yet := false;
    end if;
    if problem is null and sizes[depth] > max_size then
      problem := 'the pattern repeats too much; use shorter repetitions';
    end if;
  end loop;
  if problem is null then
    position := length(pattern) + 1;
    problem := case
      when depth > 1 then 'a group is not closed'
      when nothing_yet then 'a pattern or an alternative is empty'
    end;
  end if;
  if problem is null then
    position := null;
  else
    compiled := null;
  end if;
end;
$$;

comment on function automation.compile_pattern(text) is
  'A pattern as Postgres runs it, or what is wrong with it and at which character.';

-- sql/04_conditions/04_compile.sql

-- A document is compiled once, when a workflow is published, and evaluated for every record.
--
-- Compiled form:
--   roots  the parts of the context it reads
--   start  the first test
--   code   the tests, in the order they are tried; each says where to go next when it holds (t) and
--          when it does not (f). -1 is "the conditions hold", -2 "they do not". AND, OR and NOT are
--          only jumps, so evaluating is one loop and stops as early as possible.
--   tree   the groups as they were written, for explain_conditions
--
-- A test: p or b path from the context, or in the record that fired; o operator; k what is
-- computed; n its negation; v the value as written; x the value as prepared; c case-sensitive;
-- r the path of a field to compare with.

create or replace function automation.condition_problem(
  path text, severity text, code text, message text, hint text
) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return jsonb_build_array(jsonb_build_object(
    'path', path, 'severity', severity, 'code', code, 'message', message, 'hint', hint));

-- What each operator computes, whether it is a negation, and what its value must be.
create or replace function automation.condition_operator(name text)
  returns table (kind text, negated boolean, needs text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select operators.kind, operators.negated, operators.needs
    from (values
      ('equals', 'equals', false, 'any'),
      ('not_equals', 'equals', true, 'any'),
      ('contains', 'contains', false, 'scalar'),
      ('not_contains', 'contains', true, 'scalar'),
      ('starts_with', 'starts', false, 'text'),
      ('ends_with', 'ends', false, 'text'),
      ('greater_than', 'above', false, 'ordered'),
      ('greater_or_equal', 'not_below', false, 'ordered'),
      ('less_than', 'below', false, 'ordered'),
      ('less_or_equal', 'not_above', false, 'ordered'),
      ('between', 'between', false, 'range'),
      ('before', 'before', false, 'date'),
      ('after', 'after', false, 'date'),
      ('within_last', 'last', false, 'duration'),
      ('within_next', 'next', false, 'duration'),
      ('is_empty', 'empty', false, 'nothing'),
      ('is_not_empty', 'empty', true, 'nothing'),
      ('is_true', 'true', false, 'nothing'),
      ('is_false', 'false', false, 'nothing'),
      ('in', 'in', false, 'list'),
      ('not_in', 'in', true, 'list'),
      ('includes_any', 'any', false, 'list'),
      ('includes_all', 'all', false, 'list'),
      ('matches', 'matches', false, 'pattern'),
      ('changed', 'changed', false, 'nothing'),
      ('changed_from', 'changed_from', false, 'any'),
      ('changed_to', 'changed_to', false, 'any'),
      ('was', 'was', false, 'any')
    ) as operators (name, kind, negated, needs)
    where operators.name = condition_operator.name
  $$;

comment on function automation.condition_operator(text) is
  'An operator of the condition language; no row when there is none of that name.';

-- What is wrong with an operator's value: null when nothing is.
create or replace function automation.condition_value_problem(
  needs text, value jsonb, has_value boolean
) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  type text := coalesce(jsonb_typeof(value), 'null');
  blank boolean := value = '""';
begin
  if needs = 'nothing' then
    return null;
  elsif not has_value then
    return 'a value is needed';
  elsif needs = 'any' then
    return case
      when type = 'object' and value ? 'field'
      then 'a comparison with another field is not possible with this operator'
    end;
  end if;
  return case needs
    when 'scalar' then
      case when type not in ('string', 'number', 'boolean') or blank
        then 'a text, a number or a boolean is needed' end
    when 'text' then
      case when type not in ('string', 'number') or blank then 'a text is needed' end
    when 'ordered' then
      case when type not in ('string', 'number') or blank
        then 'a number, a date or a text is needed' end
    when 'range' then
      case when type <> 'array' or jsonb_array_length(value) <> 2 or exists (
        select from jsonb_array_elements(case type when 'array' then value else '[]' end) as bound
        where jsonb_typeof(bound) not in ('string', 'number') or bound = '""')
        then 'a list of two is needed: the lowest and the highest' end
    when 'date' then
      case when type <> 'string' or not (
        automation.is_date(value #>> '{}')
        or lower(value #>> '{}' collate "C") in ('now', 'today', 'yesterday', 'tomorrow'))
        then 'a date is needed' end
    when 'duration' then
      case when automation.duration_in(value) is null then 'a length of time is needed' end
    when 'list' then
      case when type <> 'array' or value = '[]' or jsonb_array_length(value) > 1000 or exists (
        select from jsonb_array_elements(case type when 'array' then value else '[]' end) as item
        where jsonb_typeof(item) not in ('string', 'number', 'boolean'))
        then 'a list of texts, numbers or booleans is needed' end
    when 'pattern' then
      case when type <> 'string' then 'a pattern is needed' end
  end;
end;
$$;

create or replace function automation.condition_value_hint(needs text) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case needs
    when 'range' then 'For example [1000, 5000].'
    when 'date' then 'For example "2026-03-01", "2026-03-01T09:00:00Z", "today" or "now".'
    when 'duration' then 'For example {"days": 3} or "2 weeks"; whole numbers, at most a century.'
    when 'list' then 'For example ["lead", "prospect"], with at most 1000 items.'
    when 'any' then 'null is a value too; is_empty asks whether there is one.'
    else 'To ask whether there is a value at all, use is_empty or is_not_empty.'
  end;

-- Whether only the same text, without case, can equal a text: it is no number, date or boolean.
create or replace function automation.is_plain_text(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return jsonb_typeof(value) = 'string'
    and automation.number_in(value #>> '{}') is null
    and not automation.is_date(value #>> '{}')
    and automation.fold(value #>> '{}') not in ('true', 'false');

-- What evaluating needs of a value, worked out beforehand: members to add to the test.
create or replace function automation.prepare_condition_value(
  kind text, value jsonb, case_sensitive boolean
) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when kind = 'equals' and not case_sensitive and automation.is_plain_text(value)
      then jsonb_build_object('k', 'text', 'x', automation.fold(value #>> '{}'))
      when kind = 'in' and not case_sensitive and not exists (
        select from jsonb_array_elements(value) as item where not automation.is_plain_text(item))
      then jsonb_build_object('k', 'text_in', 'x', (
        select jsonb_agg(automation.fold(item)) from jsonb_array_elements_text(value) as item))
      when kind in ('contains', 'starts', 'ends')
      then jsonb_build_object('x', case
        when case_sensitive then value #>> '{}' else automation.fold(value #>> '{}') end)
      when kind = 'matches'
      then jsonb_build_object('x', (
        select p.compiled from automation.compile_pattern(value #>> '{}') as p))
      when kind in ('last', 'next')
      then (
        select jsonb_build_object(
          'x', format('%s months %s days',
            extract(year from d) * 12 + extract(month from d), extract(day from d)),
          's', extract(hour from d) * 3600 + extract(minute from d) * 60)
        from automation.duration_in(value) as d)
      else '{}'
    end
  $$;

-- One condition: a test, its roots and its problems.
create or replace function automation.compile_condition(
  condition jsonb, at text, out test jsonb, out roots text[], out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field text := condition ->> 'field';
  name text := condition ->> 'operator';
  value jsonb := condition -> 'value';
  keys text[];
  operator record;
  other text[];
  wrong text;
  pattern record;
  unknown text;
begin
  problems := '[]';
  roots := '{}';
  if jsonb_typeof(condition -> 'field') = 'string' then
    keys := automation.parse_path(btrim(field));
  end if;
  if keys is null then
    problems := problems || automation.condition_problem(at || '.field', 'error', 'invalid_field',
      case when field is null then 'a condition needs a field' else 'this is not a field' end,
      'Name a field such as contact.stage or contact.custom_fields["Roof type"].');
  end if;
  select o.* into operator from automation.condition_operator(name) as o
  where jsonb_typeof(condition -> 'operator') = 'string';
  if not found then
    problems := problems || automation.condition_problem(at || '.operator', 'error',
      'unknown_operator',
      case when name is null then 'a condition needs an operator'
        else format('there is no operator %s', left(name, 60)) end,
      'Operators: equals, not_equals, contains, not_contains, starts_with, ends_with, '
      'greater_than, greater_or_equal, less_than, less_or_equal, between, before, after, '
      'within_last, within_next, is_empty, is_not_empty, is_true, is_false, in, not_in, '
      'includes_any, includes_all, matches, changed, changed_from, changed_to, was.');
  elsif value ? 'field' and jsonb_typeof(value) = 'object'
    and (name in ('equals', 'not_equals') or operator.needs in ('ordered', 'date')) then
    other := case when jsonb_typeof(value -> 'field') = 'string'
      then automation.parse_path(btrim(value ->> 'field')) end;
    if other is null or value - 'field' <> '{}' then
      problems := problems || automation.condition_problem(at || '.value.field', 'error',
        'invalid_field', 'this is not a field', 'For example {"field": "project.created_at"}.');
    end if;
  else
    wrong := automation.condition_value_problem(operator.needs, value, condition ? 'value');
    if wrong is null and operator.needs = 'pattern' then
      pattern := automation.compile_pattern(value #>> '{}');
      wrong := pattern.problem || ' (character ' || pattern.position || ')';
    end if;
    if wrong is not null then
      problems := problems || automation.condition_problem(at || '.value', 'error',
        case when condition ? 'value' then 'invalid_value' else 'missing_value' end,
        format('%s: %s', name, wrong), automation.condition_value_hint(operator.needs));
    end if;
  end if;
  if condition ? 'case_sensitive'
    and jsonb_typeof(condition -> 'case_sensitive') is distinct from 'boolean' then
    problems := problems || automation.condition_problem(at || '.case_sensitive', 'error',
      'invalid_value', 'case_sensitive is true or false', null);
  end if;
  if problems <> '[]' then
    return;
  end if;
  for unknown in
    select k from jsonb_object_keys(condition) as k
    where k not in ('field', 'operator', 'value', 'logic', 'case_sensitive', 'id', 'label')
  loop
    problems := problems || automation.condition_problem(at || '.' || unknown, 'warning',
      'unknown_key', format('%s has no meaning here', left(unknown, 60)), 'It is ignored.');
  end loop;
  problems := problems || automation.condition_warnings(operator.kind, value, at);
  roots := automation.condition_field_roots(keys) || automation.condition_field_roots(other);
  test := jsonb_strip_nulls(jsonb_build_object(
      'o', name, 'k', operator.kind, 'field', btrim(field), 'at', at,
      'n', nullif(operator.negated, false),
      'c', nullif(coalesce((condition ->> 'case_sensitive')::boolean, false), false),
      'r', automation.condition_reference(other)))
    || automation.condition_reference(keys)
    || case when operator.needs = 'nothing' then '{}' else jsonb_build_object('v', value) end;
  if other is null then
    test := test || automation.prepare_condition_value(operator.kind, value, test ? 'c');
  end if;
end;
$$;

-- {p: path from the context, q: path in the record, w: whose record}, or {b: path in the record}
-- for a bare field.
create or replace function automation.condition_reference(keys text[]) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when keys is null then null
      when cardinality(keys) > 1 and automation.is_root(keys[1])
      then jsonb_build_object('p', keys::text, 'q', case
        when keys[1] = 'trigger' and (keys[2] = 'record' or r.is_record) then keys[3:]
        else keys[2:] end::text)
        || case when r.is_record then jsonb_build_object('w', r.name) else '{}' end
      else jsonb_build_object('b', keys::text)
    end
    from (
      select n.name, n.name = any (automation.entity_names()) as is_record
      from (select case keys[1] when 'trigger' then keys[2] else keys[1] end as name) as n
    ) as r
  $$;

create or replace function automation.condition_field_roots(keys text[]) returns text[]
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when keys is null then '{}'
      when cardinality(keys) > 1 and automation.is_root(keys[1])
      then array[keys[1]]
      else array['trigger', 'contact', 'project', 'job']
    end || automation.tag_root(keys)
  $$;

-- contact.tags is not a column: see automation.contact_tags().
create or replace function automation.tag_root(keys text[]) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when keys[1] = 'tags' or keys[1] = 'contact' and keys[2] = 'tags' then '{contact.tags}' else '{}'
    end::text[]
  $$;

-- What compiles but can hardly be meant.
create or replace function automation.condition_warnings(kind text, value jsonb, at text)
  returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when kind = 'equals' and value = '""'
      then automation.condition_problem(at || '.value', 'warning', 'empty_text',
        'a missing value does not equal an empty text', 'Use is_empty or is_not_empty.')
      when kind = 'between' and automation.compare_values(value -> 0, value -> 1, false, 'UTC') = 1
      then automation.condition_problem(at || '.value', 'warning', 'impossible_condition',
        'nothing lies between these: the first is above the second', 'Swap the two values.')
      when kind = 'between'
        and automation.compare_values(value -> 0, value -> 1, false, 'UTC') is null
      then automation.condition_problem(at || '.value', 'warning', 'impossible_condition',
        'nothing lies between these: they are of different kinds', 'Use two numbers or two dates.')
      else '[]'
    end
  $$;

-- A group's two parts: how it joins, and its conditions.
create or replace function automation.read_group(
  node jsonb, at text, out joins text, out members jsonb, out members_at text, out problems jsonb
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  others bigint := (
    select count(*) from jsonb_object_keys(node) as k where k not in ('id', 'label', 'logic'));
begin
  problems := '[]';
  if node ? 'conditions' then
    others := others - 1;
    joins := case lower(node ->> 'operator' collate "C")
      when 'and' then 'all' when 'or' then 'any' end;
    members := node -> 'conditions';
    members_at := at || '.conditions';
    if joins is null or jsonb_typeof(node -> 'operator') <> 'string' then
      problems := automation.condition_problem(at || '.operator', 'error', 'invalid_group',
        'a group joins its conditions with "and" or "or"', null);
    end if;
  else
    joins := case when node ? 'all' then 'all' when node ? 'any' then 'any' else 'not' end;
    members := case joins when 'not' then jsonb_build_array(node -> 'not') else node -> joins end;
    members_at := at || '.' || joins;
  end if;
  if jsonb_typeof(members) is distinct from 'array' then
    problems := problems || automation.condition_problem(members_at, 'error', 'invalid_group',
      'a group is a list of conditions', 'For example {"all": [...]} or {"any": [...]}.');
  elsif joins = 'any' and members = '[]' then
    problems := problems || automation.condition_problem(members_at, 'error', 'empty_group',
      'none of no conditions can hold', 'Add a condition, or remove the group.');
  end if;
  if others > 1 then
    problems := problems || automation.condition_problem(at, 'error', 'invalid_group',
      'a group has one list of conditions and nothing else',
      'Nest one group in the other: {"all": [{"any": [...]}, ...]}.');
  end if;
end;
$$;

-- The legacy list: left to right, without precedence. A condition's logic says how it joins what
-- stands before it, so that "a, or b, and c" is (a or b) and c.
create or replace function automation.join_in_list(
  item jsonb, after jsonb, at text, out joins text, out problems jsonb
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  logic jsonb := case jsonb_typeof(item) when 'object' then nullif(item -> 'logic', 'null') end;
begin
  problems := '[]';
  joins := case when lower(logic #>> '{}' collate "C") = 'or' then 'any' else 'all' end;
  if logic is not null
    and (jsonb_typeof(logic) <> 'string'
      or lower(logic #>> '{}' collate "C") not in ('and', 'or')) then
    problems := automation.condition_problem(at || '.logic', 'error', 'invalid_value',
      'logic is "and" or "or"', null);
  elsif at like '%[0]' and joins = 'any' and after is not null
    and lower(after ->> 'logic') is distinct from 'or' then
    problems := automation.condition_problem(at || '.logic', 'warning', 'unused_logic',
      'nothing stands before the first condition, so its logic joins nothing',
      'A condition''s logic joins it to those before it; set it on the second condition.');
  end if;
end;
$$;

-- A document or a part of one, its tests numbered from `first`.
create or replace function automation.compile_node(
  node jsonb, at text, first int, depth int,
  out tree jsonb, out code jsonb, out roots text[], out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members jsonb := node;
  members_at text := at;
  joins text;      -- of the members; null in a list, where each has its own
  joined text;     -- how the tree so far is joined
  step text;
  part record;
begin
  code := '[]';
  roots := '{}';
  problems := '[]';
  tree := 'true';
  if node is null or node in ('null', '[]', '{}') then
    return;
  elsif depth > 50 then
    problems := automation.condition_problem(at, 'error', 'too_deep',
      'groups are nested more than 50 deep', null);
    return;
  elsif jsonb_typeof(node) not in ('object', 'array') then
    problems := automation.condition_problem(at, 'error', 'invalid_condition',
      format('a %s is not a condition', jsonb_typeof(node)),
      'For example {"field": "contact.stage", "operator": "equals", "value": "lead"}.');
    return;
  elsif jsonb_typeof(node) = 'object' and not node ?| '{all,any,not,conditions}' then
    part := automation.compile_condition(node, at);
    roots := part.roots;
    problems := part.problems;
    if part.test is not null then
      code := jsonb_build_array(part.test);
      tree := jsonb_build_object('test', first);
    end if;
    return;
  elsif jsonb_typeof(node) = 'object' then
    part := automation.read_group(node, at);
    problems := part.problems;
    joins := part.joins;
    members := case jsonb_typeof(part.members) when 'array' then part.members else '[]' end;
    members_at := part.members_at;
  end if;
  if jsonb_array_length(members) > 500 then
    problems := problems || automation.condition_problem(members_at, 'error', 'too_many',
      'a list has more than 500 conditions', null);
    return;
  end if;
  for i in 0 .. jsonb_array_length(members) - 1 loop
    step := case joins when 'not' then members_at else format('%s[%s]', members_at, i) end;
    part := automation.compile_node(
      members -> i, step, first + jsonb_array_length(code), depth + 1);
    code := code || part.code;
    roots := roots || part.roots;
    problems := problems || part.problems;
    if joins is null then
      joined := (automation.join_in_list(members -> i, members -> (i + 1), step)).joins;
      problems := problems
        || (automation.join_in_list(members -> i, members -> (i + 1), step)).problems;
    else
      joined := joins;
    end if;
    tree := case
      when joins = 'not' then jsonb_build_object('not', part.tree)
      when i = 0 and joins is null then part.tree
      when i = 0 then jsonb_build_object(joined, jsonb_build_array(part.tree))
      when tree ? joined and (joins is not null or i > 1)
        then jsonb_build_object(joined, (tree -> joined) || jsonb_build_array(part.tree))
      else jsonb_build_object(joined, jsonb_build_array(tree, part.tree))
    end;
  end loop;
end;
$$;

-- Turns groups into jumps: sets t and f of every test below `tree`, and returns where to start.
create or replace function automation.link_conditions(
  tree jsonb, on_true int, on_false int, inout code jsonb, out start int
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  members jsonb := coalesce(tree -> 'all', tree -> 'any');
  test int := (tree ->> 'test')::int;
  part record;
begin
  if jsonb_typeof(tree) = 'boolean' then
    start := case when tree::boolean then on_true else on_false end;
  elsif test is not null then
    start := test;
    code := jsonb_set(code, array[test::text], code -> test || case
      when code -> test ? 'n' then jsonb_build_object('t', on_false, 'f', on_true)
      else jsonb_build_object('t', on_true, 'f', on_false) end);
  elsif tree ? 'not' then
    part := automation.link_conditions(tree -> 'not', on_false, on_true, code);
    code := part.code;
    start := part.start;
  else
    -- From the last to the first, since each jumps to where the next one starts.
    start := case when tree ? 'all' then on_true else on_false end;
    for i in reverse jsonb_array_length(members) - 1 .. 0 loop
      part := automation.link_conditions(members -> i,
        case when tree ? 'all' then start else on_true end,
        case when tree ? 'all' then on_false else start end,
        code);
      code := part.code;
      start := part.start;
    end loop;
  end if;
end;
$$;

create or replace function automation.compile_conditions(
  conditions jsonb, path text default 'conditions', out compiled jsonb, out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  node record := automation.compile_node(conditions, coalesce(path, 'conditions'), 0, 0);
  linked record;
begin
  problems := node.problems;
  if exists (select from jsonb_array_elements(problems) as p where p ->> 'severity' = 'error') then
    -- Whoever evaluates this all the same lets nothing through.
    compiled := '{"roots": [], "start": -2, "code": [], "tree": false}';
  elsif node.tree <> 'true' then
    linked := automation.link_conditions(node.tree, -1, -2, node.code);
    compiled := jsonb_build_object(
      'roots', (
        select coalesce(jsonb_agg(distinct r order by r), '[]') from unnest(node.roots) as r),
      'start', linked.start, 'code', linked.code, 'tree', node.tree);
    if linked.start < 0 then
      problems := problems || automation.condition_problem(coalesce(path, 'conditions'), 'warning',
        'constant_condition', format('these conditions %s hold',
          case linked.start when -1 then 'always' else 'never' end), null);
    end if;
  end if;
end;
$$;

comment on function automation.compile_conditions(jsonb, text) is
  'A condition document ready to be evaluated (null: always true), and everything wrong with it. '
  'Problems are {path, severity, code, message, hint}; path starts with the given one.';

create or replace function automation.condition_roots(compiled jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(r), '{}') from jsonb_array_elements_text(compiled -> 'roots') as r
  $$;

comment on function automation.condition_roots(jsonb) is
  'The parts of the context (contact, project, ...) that evaluating may read.';

-- sql/04_conditions/05_evaluate.sql

-- Evaluating is a loop over the compiled tests; this is the part that runs once a record.
--
-- Measured by scripts/bench-language.ts: one SQL/JSON path for the whole document takes a third of
-- the time where case counts, and half as much again or more where it does not (like_regex), which
-- is how people compare. A path knows no zones, no changes and no lists without case either, so
-- there would be two evaluators to keep alike. The loop it is.

-- What a test looks at. A bare field is looked up in the record that fired, then in the contact,
-- the project and the job; a key that is there with null counts as there. A longer path may also start
-- with the name of another attached record: work_order.total.
create or replace function automation.test_value(reference jsonb, context jsonb) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when reference ? 'p' then context #> (reference ->> 'p')::text[]
    else coalesce(
      context -> 'trigger' -> 'record' #> (reference ->> 'b')::text[],
      context -> 'contact' #> (reference ->> 'b')::text[],
      context -> 'project' #> (reference ->> 'b')::text[],
      context -> 'job' #> (reference ->> 'b')::text[],
      case when cardinality((reference ->> 'b')::text[]) > 1
        then context #> (reference ->> 'b')::text[] end)
  end;

-- The date a value of `before` or `after` stands for.
create or replace function automation.date_operand(value text, zone text, at timestamptz)
  returns text
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case lower(value collate "C")
    when 'now' then to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
    when 'today' then to_char(at at time zone zone, 'YYYY-MM-DD')
    when 'yesterday' then to_char((at at time zone zone) - interval '1 day', 'YYYY-MM-DD')
    when 'tomorrow' then to_char((at at time zone zone) + interval '1 day', 'YYYY-MM-DD')
    else value
  end;

-- A moment a length of time from `at`: months and days by the calendar of the zone, so that three
-- days are three days over a change of clocks too; hours and minutes by the clock.
create or replace function automation.moment_from(
  at timestamptz, days text, seconds text, direction int, zone text
) returns timestamptz
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return (((at at time zone zone) + days::interval * direction) at time zone zone)
    + make_interval(secs => seconds::double precision * direction);

create or replace function automation.within_holds(
  value text, test jsonb, zone text, at timestamptz
) returns boolean
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_zone text := coalesce(automation.known_zone(zone), 'UTC');
  direction int := case test ->> 'k' when 'last' then -1 else 1 end;
  moment timestamptz := automation.moment_from(at, test ->> 'x', test ->> 's', direction, a_zone);
begin
  if length(value) = 10 then
    return automation.day_in(value, a_zone) between
      (least(at, moment) at time zone a_zone)::date
      and (greatest(at, moment) at time zone a_zone)::date;
  end if;
  return automation.instant_in(value, a_zone) between least(at, moment) and greatest(at, moment);
end;
$$;

create or replace function automation.text_holds(kind text, value text, test jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case kind
    when 'contains' then strpos(
      case when test ? 'c' then value else automation.fold(value) end, test ->> 'x') > 0
    when 'starts' then starts_with(
      case when test ? 'c' then value else automation.fold(value) end, test ->> 'x')
    when 'ends' then right(
      case when test ? 'c' then value else automation.fold(value) end, length(test ->> 'x'))
      = test ->> 'x'
    -- The text is cut, so that the time a pattern takes is bounded.
    when 'matches' then case
      when test ? 'c' then left(value, 2000) collate automation.case_rules ~ (test ->> 'x')
      else left(value, 2000) collate automation.case_rules ~* (test ->> 'x')
    end
  end;

create or replace function automation.order_holds(
  kind text, value jsonb, expected jsonb, case_sensitive boolean, zone text
) returns boolean
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return coalesce(case kind
    when 'above' then automation.compare_values(value, expected, case_sensitive, zone) > 0
    when 'not_below' then automation.compare_values(value, expected, case_sensitive, zone) >= 0
    when 'below' then automation.compare_values(value, expected, case_sensitive, zone) < 0
    when 'not_above' then automation.compare_values(value, expected, case_sensitive, zone) <= 0
    when 'between' then
      automation.compare_values(value, expected -> 0, case_sensitive, zone) >= 0
      and automation.compare_values(value, expected -> 1, case_sensitive, zone) <= 0
  end, false);

create or replace function automation.list_holds(
  kind text, value jsonb, expected jsonb, case_sensitive boolean, zone text
) returns boolean
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  values_there jsonb := case
    when kind <> 'in' and jsonb_typeof(value) = 'array' then value
    else jsonb_build_array(value)
  end;
begin
  if kind = 'all' then
    return not exists (
      select from jsonb_array_elements(expected) as e
      where not exists (
        select from jsonb_array_elements(values_there) as v
        where automation.values_equal(v, e, case_sensitive, zone)));
  end if;
  return exists (
    select from jsonb_array_elements(expected) as e, jsonb_array_elements(values_there) as v
    where automation.values_equal(v, e, case_sensitive, zone));
end;
$$;

-- `before` and `after` compare dates only; a number or any other text is neither.
create or replace function automation.date_holds(
  kind text, value jsonb, expected jsonb, zone text, at timestamptz
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  a_zone constant text := coalesce(automation.known_zone(zone), 'UTC');
  operand constant text := automation.date_operand(expected #>> '{}', a_zone, at);
begin
  if jsonb_typeof(value) <> 'string' or jsonb_typeof(expected) is distinct from 'string'
    or not automation.is_date(value #>> '{}') or not automation.is_date(operand) then
    return false;
  end if;
  return automation.compare_dates(value #>> '{}', operand, a_zone)
    = case kind when 'before' then -1 else 1 end;
end;
$$;

-- What a field was before the write that fired, and what it is after it. A record that was just
-- created has no before, and neither has another record than the one that fired
-- (trigger.entity says which).
create or replace function automation.change_holds(
  kind text, value jsonb, test jsonb, context jsonb, zone text
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  fired jsonb := context -> 'trigger';
  field text[] := coalesce(test ->> 'q', test ->> 'b')::text[];
  has_old boolean := coalesce(jsonb_typeof(fired -> 'old') = 'object', false);
  old_value jsonb := coalesce(fired -> 'old' #> field, 'null');
  new_value jsonb := coalesce(
    case jsonb_typeof(fired -> 'record')
      when 'object' then fired -> 'record' #> field else value end,
    'null');
  case_sensitive boolean := test ? 'c';
  is_changed boolean;
begin
  if test ? 'w' and fired ? 'entity'
    and fired ->> 'entity' is distinct from test ->> 'w' then
    return false;
  end if;
  is_changed := case
    when has_old then old_value <> new_value
    else coalesce(fired -> 'changed' ? field[1], false)
  end;
  return case kind
    when 'changed' then is_changed
    when 'changed_to' then
      is_changed and automation.values_equal(new_value, test -> 'v', case_sensitive, zone)
    when 'changed_from' then has_old and is_changed
      and automation.values_equal(old_value, test -> 'v', case_sensitive, zone)
    else has_old and automation.values_equal(old_value, test -> 'v', case_sensitive, zone)
  end;
end;
$$;

create or replace function automation.means_true(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'boolean' then value::boolean
    when 'number' then value::numeric = 1
    when 'string' then lower(value #>> '{}' collate "C") in ('true', 'yes', 'y', 'on', '1')
    else false
  end;

create or replace function automation.means_false(value jsonb) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'boolean' then not value::boolean
    when 'number' then value::numeric = 0
    when 'string' then lower(value #>> '{}' collate "C") in ('false', 'no', 'n', 'off', '0')
    else false
  end;

-- One test, before its negation. Null is never 0 or '': a missing value satisfies only `empty`,
-- and `equals` null.
create or replace function automation.test_holds(
  test jsonb, context jsonb, zone text, at timestamptz
) returns boolean
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  kind constant text := test ->> 'k';
  value constant jsonb := automation.test_value(test, context);
  type text;
  expected jsonb;
begin
  if kind = 'text' then
    return coalesce(
      automation.fold(value #>> '{}') = test ->> 'x' and jsonb_typeof(value) = 'string', false);
  elsif kind = 'text_in' then
    return coalesce(
      test -> 'x' ? automation.fold(value #>> '{}') and jsonb_typeof(value) = 'string', false);
  elsif kind = 'empty' then
    return automation.is_blank(value);
  elsif kind in ('changed', 'changed_from', 'changed_to', 'was') then
    return automation.change_holds(kind, value, test, context, zone);
  end if;
  type := coalesce(jsonb_typeof(value), 'null');
  expected := case
    when test ? 'r' then automation.test_value(test -> 'r', context) else test -> 'v' end;
  if kind = 'equals' then
    return automation.values_equal(value, expected, test ? 'c', zone);
  elsif type = 'null' then
    return false;
  end if;
  return coalesce(case
    when kind in ('above', 'not_below', 'below', 'not_above', 'between')
      then automation.order_holds(kind, value, expected, test ? 'c', zone)
    when kind = 'contains' and type = 'array'
      then automation.list_holds('any', value, jsonb_build_array(expected), test ? 'c', zone)
    when kind in ('contains', 'starts', 'ends', 'matches')
      then type in ('string', 'number') and automation.text_holds(kind, value #>> '{}', test)
    when kind = 'true' then automation.means_true(value)
    when kind = 'false' then automation.means_false(value)
    when kind in ('in', 'any', 'all')
      then automation.list_holds(kind, value, expected, test ? 'c', zone)
    when kind in ('before', 'after') then automation.date_holds(kind, value, expected, zone, at)
    when kind in ('last', 'next') then type = 'string' and automation.is_date(value #>> '{}')
      and automation.within_holds(value #>> '{}', test, zone, at)
  end, false);
end;
$$;

create or replace function automation.evaluate_conditions(
  compiled jsonb, context jsonb, zone text default 'UTC', at timestamptz default automation.now()
) returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  code constant jsonb := compiled -> 'code';
  test jsonb;
  holds boolean;
  here int := coalesce((compiled ->> 'start')::int, -1);
begin
  while here >= 0 loop
    test := code -> here;
    -- By far the most common test is worth saving a call.
    if test ->> 'k' = 'text' and test ? 'p' then
      holds := coalesce(
        automation.fold(context #>> (test ->> 'p')::text[]) = test ->> 'x'
        and jsonb_typeof(context #> (test ->> 'p')::text[]) = 'string', false);
    else
      holds := automation.test_holds(test, context, zone, at);
    end if;
    here := case when holds then (test ->> 't')::int else (test ->> 'f')::int end;
  end loop;
  return here = -1;
end;
$$;

comment on function automation.evaluate_conditions(jsonb, jsonb, text, timestamptz) is
  'Whether compiled conditions hold for a context: {trigger, contact, project, job, user, tenant, '
  'custom, steps}. Null conditions always do. Never raises.';

-- sql/04_conditions/06_explain.sql

-- Why did it, or didn't it? The same tests, all of them, in the groups they were written in.

create or replace function automation.explain_test(
  test jsonb, context jsonb, zone text, at timestamptz
) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'path', test -> 'at', 'field', test -> 'field', 'operator', test -> 'o',
      'actual', coalesce(automation.test_value(test, context), 'null'),
      'verdict', (test ? 'n') <> automation.test_holds(test, context, zone, at))
    || case
      when test ? 'r'
      then jsonb_build_object('expected', automation.test_value(test -> 'r', context))
      when test ? 'v' then jsonb_build_object('expected', test -> 'v')
      else '{}'
    end
    || case
      when test ->> 'k' in ('changed', 'changed_from', 'changed_to', 'was')
      then jsonb_build_object('before',
        context -> 'trigger' -> 'old' #> coalesce(test ->> 'q', test ->> 'b')::text[])
      else '{}'
    end
  $$;

create or replace function automation.explain_node(
  tree jsonb, code jsonb, context jsonb, zone text, at timestamptz
) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  joins text := case when tree ? 'all' then 'all' when tree ? 'any' then 'any' end;
  members jsonb;
begin
  if tree is null or jsonb_typeof(tree) = 'boolean' then
    return jsonb_build_object('verdict', coalesce(tree, 'true'));
  elsif tree ? 'test' then
    return automation.explain_test(code -> (tree ->> 'test')::int, context, zone, at);
  elsif tree ? 'not' then
    members := automation.explain_node(tree -> 'not', code, context, zone, at);
    return jsonb_build_object('not', members, 'verdict', not (members -> 'verdict')::boolean);
  end if;
  select coalesce(jsonb_agg(automation.explain_node(m.node, code, context, zone, at)
    order by m.position), '[]') into members
  from jsonb_array_elements(tree -> joins) with ordinality as m (node, position);
  return jsonb_build_object(joins, members, 'verdict', case joins
    when 'all' then not jsonb_path_exists(members, '$[*] ? (@.verdict == false)')
    else jsonb_path_exists(members, '$[*] ? (@.verdict == true)') end);
end;
$$;

create or replace function automation.explain_conditions(
  compiled jsonb, context jsonb, zone text default 'UTC', at timestamptz default automation.now()
) returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.explain_node(compiled -> 'tree', compiled -> 'code', context, zone, at)
  $$;

comment on function automation.explain_conditions(jsonb, jsonb, text, timestamptz) is
  'The verdict of evaluate_conditions with its reasons: groups as {all|any|not, verdict}, '
  'conditions as {path, field, operator, expected, actual, before, verdict}.';

-- sql/05_variables/01_formats.sql

-- 05 VARIABLES
--
-- The template language of a step's configuration: {{ contact.first_name | default: "there" }}.
-- docs/variables.md has the filters; paths and values mean what they mean in conditions (04).
-- Rendering never raises: what cannot be rendered renders as nothing, or as it was, and leaves a
-- warning on the step.
--
--   01_formats     dates, numbers, money, telephone numbers
--   02_characters  what people count as one
--   02_filters     what stands after a |
--   03_parse       a text -> tokens, or the position of the error
--   04_compile     a step's configuration -> where its templates are, and their tokens
--   05_render      tokens and a context -> the configuration as the step runs with it
--
-- Takes no locks and writes nothing.

-- A date pattern as people know it from JavaScript (MMM d, yyyy h:mm a; dayjs' YYYY and D as well),
-- or the name of a style, as to_char() takes it. Null when a letter means nothing.
create or replace function automation.date_format(pattern text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  styles constant jsonb := '{"short": "M/d/yyyy", "medium": "MMM d, yyyy", "long": "MMMM d, yyyy",
    "full": "EEEE, MMMM d, yyyy", "time": "h:mm a", "datetime": "MMM d, yyyy, h:mm a",
    "iso": "yyyy-MM-dd''T''HH:mm:ss"}'::jsonb;
  parts constant jsonb := '{"yyyy": "YYYY", "y": "YYYY", "yy": "YY", "YYYY": "YYYY", "YY": "YY",
    "MMMM": "FMMonth", "MMM": "Mon", "MM": "MM", "M": "FMMM",
    "dd": "DD", "d": "FMDD", "do": "FMDDth", "DD": "DD", "D": "FMDD", "Do": "FMDDth",
    "EEEE": "FMDay", "EEE": "Dy", "EE": "Dy", "E": "Dy", "dddd": "FMDay", "ddd": "Dy",
    "HH": "HH24", "H": "FMHH24", "hh": "HH12", "h": "FMHH12", "mm": "MI", "m": "FMMI",
    "ss": "SS", "s": "FMSS", "SSS": "MS", "a": "AM", "aa": "AM", "A": "AM", "aaa": "am"}'::jsonb;
  rest text := coalesce(styles ->> pattern, pattern);
  written text := '';
  item text[];
begin
  if length(rest) > 100 then
    return null;
  end if;
  while rest <> '' loop
    item := regexp_match(rest,
      '^(?:''([^'']*)''|(do|Do|y+|Y+|M+|d+|D+|E+|H+|h+|m+|s+|S+|a+|A)|([^A-Za-z'']))');
    if item is null or item[2] is not null and not parts ? item[2] then
      return null;
    end if;
    written := written || coalesce(
      parts ->> item[2],
      '"' || regexp_replace(coalesce(item[1], item[3]), '(["\\])', '\\\1', 'g') || '"');
    rest := substr(rest, 1 + coalesce(
      length(item[1]) + 2, length(item[2]), length(item[3])));
  end loop;
  return written;
end;
$$;

create or replace function automation.format_date(value text, format text, zone text) returns text
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when format is null or not automation.is_date(value) then null
    when length(value) = 10 then to_char(value::date::timestamp, format)
    else to_char(automation.instant_in(value, zone) at time zone zone, format)
  end;

-- An instant as templates pass it on: in UTC, without idle zeros.
create or replace function automation.iso_instant(at timestamptz) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return regexp_replace(
    to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US'), '[.]?0*$', '') || 'Z';

-- How a locale writes numbers: its group mark, its decimal mark, and where the currency goes.
create or replace function automation.number_marks(
  locale text, out groups text, out decimals text, out currency_first boolean, out space text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tag text := lower(locale collate "C");
  comma boolean := tag ~ '^(de|fr|it|nl|pt|es)([-_]|$)'
    and tag !~ '^(de|fr|it)[-_]ch$|^es[-_](us|mx|pr|gt|hn|ni|pa|do|sv)$';
begin
  groups := case when not comma then ',' when tag like 'fr%' then U&'\202F' else '.' end;
  decimals := case when comma then ',' else '.' end;
  currency_first := not comma or tag like 'nl%' or tag in ('pt-br', 'pt_br');
  space := case when comma then U&'\00A0' else '' end;
end;
$$;

-- null when a number is too large to be laid out.
create or replace function automation.format_number(value numeric, decimals int, locale text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  marks record := automation.number_marks(locale);
  rounded numeric := round(abs(value), coalesce(decimals, 3));
  written text;
begin
  if rounded >= 1e18 then
    return null;
  end if;
  if decimals is null then
    rounded := trim_scale(rounded);
  end if;
  written := to_char(rounded, 'FM999,999,999,999,999,990'
    || case when scale(rounded) > 0 then '.' || repeat('0', scale(rounded)) else '' end);
  -- The marks change places by way of a character that is not in a number.
  written := replace(replace(replace(written, ',', '_'), '.', marks.decimals), '_', marks.groups);
  return case when value < 0 and rounded <> 0 then '-' else '' end || written;
end;
$$;

create or replace function automation.format_currency(value numeric, currency text, locale text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  marks record := automation.number_marks(locale);
  code text := upper(currency collate "C");
  symbol text := case code
    when 'USD' then '$' when 'EUR' then '€' when 'GBP' then '£' when 'JPY' then '¥'
    when 'INR' then '₹' when 'BRL' then 'R$'
    when 'CAD' then case when locale ~* '[-_]CA$' then '$' else 'CA$' end
    when 'AUD' then case when locale ~* '[-_]AU$' then '$' else 'A$' end
    when 'NZD' then case when locale ~* '[-_]NZ$' then '$' else 'NZ$' end
    when 'MXN' then case when locale ~* '[-_]MX$' then '$' else 'MX$' end
    else code
  end;
  written text := automation.format_number(
    abs(value), case when code in ('JPY', 'KRW', 'CLP', 'VND', 'ISK') then 0 else 2 end, locale);
  sign text := case
    when value < 0 and written ~ '[1-9]' then '-' else '' end;
begin
  if code !~ '^[A-Z]{3}$' then
    return null;
  elsif marks.currency_first then
    return sign || symbol
      || case when symbol = code then U&'\00A0' else marks.space end || written;
  else
    return sign || written || U&'\00A0' || symbol;
  end if;
end;
$$;

-- North American numbers as they are written there; others as they are. null: no telephone number.
create or replace function automation.format_phone(value text, style text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  digits text := regexp_replace(left(value, 60), '[^0-9]', '', 'g');
  local text := case
    when length(digits) = 10 and value not like '+%' then digits
    when length(digits) = 11 and digits like '1%' then substr(digits, 2)
  end;
begin
  if length(value) > 40 or value !~ '^[-+() ./0-9]+$' or length(digits) not between 7 and 15 then
    return null;
  elsif local is null then
    return case
      when value not like '+%' then null
      when style = 'e164' then '+' || digits
      else value
    end;
  end if;
  return case style
    when 'e164' then '+1' || local
    when 'international'
      then '+1 ' || left(local, 3) || '-' || substr(local, 4, 3) || '-' || right(local, 4)
    else '(' || left(local, 3) || ') ' || substr(local, 4, 3) || '-' || right(local, 4)
  end;
end;
$$;

-- sql/05_variables/02_characters.sql

-- Characters as people count them: a flag, a family or a letter with its accents is one, though it is
-- several code points. After Unicode's extended grapheme clusters (UAX #29), closely enough that nothing
-- is ever cut in half.

-- What belongs to the character before it: marks, variation selectors, skin tones, joiners, tags. Made of
-- \p{M} with a few more; what is not assigned yet is filled in, so that a newer mark counts as one too.
create or replace function automation.joining_marks() returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return ''
      || '\u0300-\u036F\u0483-\u0489\u0591-\u05BD\u05BF\u05C1-\u05C2\u05C4-\u05C5\u05C7\u0610-\u061A'
      || '\u064B-\u065F\u0670\u06D6-\u06DC\u06DF-\u06E4\u06E7-\u06E8\u06EA-\u06ED\u0711\u0730-\u074A'
      || '\u07A6-\u07B0\u07EB-\u07F3\u07FD\u0816-\u0819\u081B-\u0823\u0825-\u0827\u0829-\u082D\u0859-\u085B'
      || '\u0897-\u089F\u08CA-\u08E1\u08E3-\u0903\u093A-\u093C\u093E-\u094F\u0951-\u0957\u0962-\u0963'
      || '\u0981-\u0983\u09BC\u09BE-\u09CD\u09D7\u09E2-\u09E3\u09FE-\u0A03\u0A3C-\u0A51\u0A70-\u0A71\u0A75'
      || '\u0A81-\u0A83\u0ABC\u0ABE-\u0ACD\u0AE2-\u0AE3\u0AFA-\u0B03\u0B3C\u0B3E-\u0B57\u0B62-\u0B63\u0B82'
      || '\u0BBE-\u0BCD\u0BD7\u0C00-\u0C04\u0C3C\u0C3E-\u0C56\u0C62-\u0C63\u0C81-\u0C83\u0CBC\u0CBE-\u0CD6'
      || '\u0CE2-\u0CE3\u0CF3-\u0D03\u0D3B-\u0D3C\u0D3E-\u0D4D\u0D57\u0D62-\u0D63\u0D81-\u0D83\u0DCA-\u0DDF'
      || '\u0DF2-\u0DF3\u0E31\u0E33-\u0E3A\u0E47-\u0E4E\u0EB1\u0EB3-\u0EBC\u0EC8-\u0ECE\u0F18-\u0F19\u0F35'
      || '\u0F37\u0F39\u0F3E-\u0F3F\u0F71-\u0F84\u0F86-\u0F87\u0F8D-\u0FBC\u0FC6\u102B-\u103E\u1056-\u1059'
      || '\u105E-\u1060\u1062-\u1064\u1067-\u106D\u1071-\u1074\u1082-\u108D\u108F\u109A-\u109D\u1160-\u11FF'
      || '\u135D-\u135F\u1712-\u1715\u1732-\u1734\u1752-\u1753\u1772-\u1773\u17B4-\u17D3\u17DD\u180B-\u180D'
      || '\u180F\u1885-\u1886\u18A9\u1920-\u193B\u1A17-\u1A1B\u1A55-\u1A7F\u1AB0-\u1B04\u1B34-\u1B44'
      || '\u1B6B-\u1B73\u1B80-\u1B82\u1BA1-\u1BAD\u1BE6-\u1BF3\u1C24-\u1C37\u1CD0-\u1CD2\u1CD4-\u1CE8\u1CED'
      || '\u1CF4\u1CF7-\u1CF9\u1DC0-\u1DFF\u200C-\u200D\u20D0-\u20F0\u2CEF-\u2CF1\u2D7F\u2DE0-\u2DFF'
      || '\u302A-\u302F\u3099-\u309A\uA66F-\uA672\uA674-\uA67D\uA69E-\uA69F\uA6F0-\uA6F1\uA802\uA806\uA80B'
      || '\uA823-\uA827\uA82C\uA880-\uA881\uA8B4-\uA8C5\uA8E0-\uA8F1\uA8FF\uA926-\uA92D\uA947-\uA953'
      || '\uA980-\uA983\uA9B3-\uA9C0\uA9E5\uAA29-\uAA36\uAA43\uAA4C-\uAA4D\uAA7B-\uAA7D\uAAB0\uAAB2-\uAAB4'
      || '\uAAB7-\uAAB8\uAABE-\uAABF\uAAC1\uAAEB-\uAAEF\uAAF5-\uAAF6\uABE3-\uABEA\uABEC-\uABED\uFB1E'
      || '\uFE00-\uFE0F\uFE20-\uFE2F\U000101FD\U000102E0\U00010376-\U0001037A\U00010A01-\U00010A0F'
      || '\U00010A38-\U00010A3F\U00010AE5-\U00010AE6\U00010D24-\U00010D27\U00010D69-\U00010D6D'
      || '\U00010EAB-\U00010EAC\U00010EFA-\U00010EFF\U00010F46-\U00010F50\U00010F82-\U00010F85'
      || '\U00011000-\U00011002\U00011038-\U00011046\U00011070\U00011073-\U00011074\U0001107F-\U00011082'
      || '\U000110B0-\U000110BA\U000110C2\U00011100-\U00011102\U00011127-\U00011134\U00011145-\U00011146'
      || '\U00011173\U00011180-\U00011182\U000111B3-\U000111C0\U000111C9-\U000111CC\U000111CE-\U000111CF'
      || '\U0001122C-\U00011237\U0001123E\U00011241\U000112DF-\U000112EA\U00011300-\U00011303'
      || '\U0001133B-\U0001133C\U0001133E-\U0001134D\U00011357\U00011362-\U00011374\U000113B8-\U000113D0'
      || '\U000113D2\U000113E1-\U000113E2\U00011435-\U00011446\U0001145E\U000114B0-\U000114C3'
      || '\U000115AF-\U000115C0\U000115DC-\U000115DD\U00011630-\U00011640\U000116AB-\U000116B7'
      || '\U0001171D-\U0001172B\U0001182C-\U0001183A\U00011930-\U0001193E\U00011940\U00011942-\U00011943'
      || '\U000119D1-\U000119E0\U000119E4\U00011A01-\U00011A0A\U00011A33-\U00011A39\U00011A3B-\U00011A3E'
      || '\U00011A47\U00011A51-\U00011A5B\U00011A8A-\U00011A99\U00011B60-\U00011B67\U00011C2F-\U00011C3F'
      || '\U00011C92-\U00011CB6\U00011D31-\U00011D45\U00011D47\U00011D8A-\U00011D97\U00011EF3-\U00011EF6'
      || '\U00011F00-\U00011F01\U00011F03\U00011F34-\U00011F42\U00011F5A\U00013440\U00013447-\U00013455'
      || '\U0001611E-\U0001612F\U00016AF0-\U00016AF4\U00016B30-\U00016B36\U00016F4F\U00016F51-\U00016F92'
      || '\U00016FE4-\U00016FF1\U0001BC9D-\U0001BC9E\U0001CF00-\U0001CF46\U0001D165-\U0001D169'
      || '\U0001D16D-\U0001D172\U0001D17B-\U0001D182\U0001D185-\U0001D18B\U0001D1AA-\U0001D1AD'
      || '\U0001D242-\U0001D244\U0001DA00-\U0001DA36\U0001DA3B-\U0001DA6C\U0001DA75\U0001DA84'
      || '\U0001DA9B-\U0001DAAF\U0001E000-\U0001E02A\U0001E08F\U0001E130-\U0001E136\U0001E2AE'
      || '\U0001E2EC-\U0001E2EF\U0001E4EC-\U0001E4EF\U0001E5EE-\U0001E5EF\U0001E6E3\U0001E6E6'
      || '\U0001E6EE-\U0001E6EF\U0001E6F5\U0001E8D0-\U0001E8D6\U0001E944-\U0001E94A\U0001F3FB-\U0001F3FF'
      || '\U000E0020-\U000E01EF';

-- One character, as a regular expression: a flag, a line break or anything else, and what belongs to it.
create or replace function automation.one_character() returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return '(?:[\U0001F1E6-\U0001F1FF]{2}|\r\n|.)(?:\u200D[\u00A9\u00AE\u203C-\u3299\U0001F000-\U0001FAFF]|['
    || automation.joining_marks() || '])*';

-- The characters that a text begins with, at most `most`, and whether there are more. What is looked at
-- is bounded: of a text with more than 32 marks to a letter fewer characters may be kept.
create or replace function automation.first_characters(
  value text, most int, out kept text, out has_more boolean)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  seen constant text := left(value, most * 32 + 64);
  parts text[];
begin
  if octet_length(seen) = length(seen) then
    kept := left(value, most);
    has_more := length(value) > most;
    return;
  end if;
  parts := array(select m[1] from regexp_matches(seen, '(' || automation.one_character() || ')', 'g') as m);
  if length(seen) < length(value) then
    parts := parts[:cardinality(parts) - 1];
  end if;
  kept := array_to_string(parts[:most], '');
  has_more := kept <> value;
end;
$$;

comment on function automation.first_characters(text, int) is
  'The beginning of a text, of at most so many characters as people count them; none is cut in half.';

-- sql/05_variables/02_filters.sql

-- A filter takes a value and gives a value. It gives SQL null for a value it has no meaning for;
-- the renderer then leaves a warning and passes the value on.

-- Each filter with the least and the greatest number of its arguments.
create or replace function automation.filter_arguments(
  name text, out least_count int, out most_count int
)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select filters.least_count, filters.most_count
    from (values
      ('default', 1, 1), ('formatDate', 0, 2), ('formatCurrency', 0, 2), ('formatPhone', 0, 1),
      ('formatNumber', 0, 2), ('upper', 0, 0), ('lower', 0, 0), ('capitalize', 0, 0),
      ('truncate', 1, 2), ('trim', 0, 0), ('replace', 2, 2), ('join', 0, 1), ('first', 0, 0),
      ('last', 0, 0), ('plus', 1, 1), ('minus', 1, 1), ('times', 1, 1), ('url_encode', 0, 0),
      ('nl2br', 0, 0)
    ) as filters (name, least_count, most_count)
    where filters.name = filter_arguments.name
  $$;

comment on function automation.filter_arguments(text) is
  'How many arguments a filter takes; nulls when there is no filter of that name.';

create or replace function automation.join_list(value jsonb, separator text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(item, separator order by position), '')
    from jsonb_array_elements_text(value) with ordinality as items (item, position)
    where item is not null
  $$;

-- A value as it reads in a text: nothing for null, a list of simple values joined by commas.
create or replace function automation.text_of(value jsonb) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case jsonb_typeof(value)
    when 'string' then value #>> '{}'
    when 'null' then ''
    when 'array' then case
      when jsonb_path_exists(value, 'strict $[*] ? (@.type() == "object" || @.type() == "array")')
      then value::text
      else automation.join_list(value, ', ')
    end
    else value #>> '{}'
  end;

-- A number and a number, or a date and a length of time.
create or replace function automation.add_values(
  value jsonb, amount jsonb, direction int, options jsonb
) returns jsonb
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  a numeric := automation.number_of(value);
  b numeric := automation.number_of(amount);
  duration interval;
  zone text;
  moment timestamptz;
begin
  if a is not null and b is not null then
    return case
      when abs(a) < 1e50 and abs(b) < 1e50 then to_jsonb(trim_scale(a + b * direction)) end;
  end if;
  duration := automation.duration_in(amount);
  if duration is null or jsonb_typeof(value) is distinct from 'string'
    or not automation.is_date(value #>> '{}') then
    return null;
  end if;
  zone := coalesce(automation.known_zone(options ->> 'zone'), 'UTC');
  if length(value #>> '{}') = 10
    and extract(hour from duration) = 0 and extract(minute from duration) = 0 then
    return automation.calendar_value(
      to_char((value #>> '{}')::date + duration * direction, 'YYYY-MM-DD'));
  end if;
  moment := automation.moment_from(
    automation.instant_in(value #>> '{}', zone),
    (extract(year from duration) * 12 + extract(month from duration)) || ' months '
      || extract(day from duration) || ' days',
    (extract(hour from duration) * 3600 + extract(minute from duration) * 60)::text,
    direction, zone);
  return automation.calendar_value(automation.iso_instant(moment));
end;
$$;

-- A date that was computed, unless it left the years that dates have here.
create or replace function automation.calendar_value(value text) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case when automation.is_date(value) then to_jsonb(value) end;

create or replace function automation.multiply_values(value jsonb, factor jsonb) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when abs(automation.number_of(value)) < 1e50 and abs(automation.number_of(factor)) < 1e50
    then to_jsonb(trim_scale(automation.number_of(value) * automation.number_of(factor)))
  end;

create or replace function automation.truncate_text(value text, most numeric, ending text)
  returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  room int;
  closing record;
begin
  if most is null or most not between 0 and 100000 then
    return null;
  elsif length(value) <= most then
    return value;
  end if;
  room := trunc(most)::int;
  if not (automation.first_characters(value, room)).has_more then
    return value;
  end if;
  closing := automation.first_characters(ending, room);
  return (automation.first_characters(value, room - automation.count_characters(closing.kept))).kept
    || closing.kept;
end;
$$;

create or replace function automation.count_characters(value text) returns int
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when octet_length(value) = length(value) then length(value)
    else (select count(*)::int from regexp_matches(value, automation.one_character(), 'g'))
  end;

-- RFC 3986: what may stand in any part of a URL stays as it is.
create or replace function automation.url_encode(value text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(case
      when c.character ~ '[A-Za-z0-9_.~-]' then c.character
      else regexp_replace(
        upper(encode(convert_to(c.character, 'UTF8'), 'hex')), '(..)', '%\1', 'g')
    end, '' order by c.place), '')
    from regexp_split_to_table(value, '') with ordinality as c (character, place)
  $$;

create or replace function automation.filter_text(name text, value text, arguments jsonb)
  returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case name
    when 'upper' then upper(value collate automation.case_rules)
    when 'lower' then automation.fold(value)
    when 'capitalize'
      then upper(left(value, 1) collate automation.case_rules) || substr(value, 2)
    when 'trim' then btrim(value, E' \t\r\n')
    when 'truncate' then automation.truncate_text(
      value, automation.number_of(arguments -> 0), coalesce(arguments ->> 1, '…'))
    when 'replace' then replace(value, arguments ->> 0, arguments ->> 1)
    when 'formatPhone' then automation.format_phone(value, arguments ->> 0)
    when 'url_encode' then automation.url_encode(value)
    -- What it does to line breaks is done where the text has been escaped.
    when 'nl2br' then value
  end;

create or replace function automation.filter_number(
  name text, value numeric, arguments jsonb, options jsonb
) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case name
    when 'formatCurrency' then automation.format_currency(
      value, coalesce(arguments ->> 0, options ->> 'currency', 'USD'),
      coalesce(arguments ->> 1, options ->> 'locale', 'en-US'))
    when 'formatNumber' then automation.format_number(
      value,
      case when automation.number_of(arguments -> 0) between 0 and 10
        then automation.number_of(arguments -> 0)::int end,
      coalesce(arguments ->> 1, options ->> 'locale', 'en-US'))
  end;

create or replace function automation.filter_value(
  filter jsonb, value jsonb, arguments jsonb, options jsonb
) returns jsonb
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  name constant text := filter ->> 'n';
  type constant text := jsonb_typeof(value);
begin
  return case
    when name = 'default'
      then case when automation.is_blank(value) then arguments -> 0 else value end
    when value is null or type = 'null' then value
    when name in ('plus', 'minus') then automation.add_values(
      value, arguments -> 0, case name when 'plus' then 1 else -1 end, options)
    when name = 'times' then automation.multiply_values(value, arguments -> 0)
    when name = 'formatDate' then to_jsonb(automation.format_date(
      case type when 'string' then value #>> '{}' end,
      coalesce(filter ->> 'x', automation.date_format(arguments ->> 0)),
      coalesce(
        automation.known_zone(arguments ->> 1), automation.known_zone(options ->> 'zone'), 'UTC')))
    when name in ('formatCurrency', 'formatNumber') then to_jsonb(automation.filter_number(
      name, automation.number_of(value), arguments, options))
    when name in ('join', 'first', 'last') then case
      when type <> 'array' then null
      when name = 'join' then to_jsonb(automation.join_list(value, coalesce(arguments ->> 0, ', ')))
      else coalesce(value -> case name when 'first' then 0 else -1 end, 'null')
    end
    when type in ('array', 'object') then null
    else to_jsonb(automation.filter_text(name, value #>> '{}', arguments))
  end;
end;
$$;

comment on function automation.filter_value(jsonb, jsonb, jsonb, jsonb) is
  'A compiled filter applied to a value; SQL null when it has no meaning for that value.';

-- sql/05_variables/03_parse.sql

-- A tag's inside, as lexemes {t: word, string, number or a mark; v: value; at: position}.
create or replace function automation.lex_tag(
  source text, start int, closer text, out lexemes jsonb, out next int, out problem text
)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  rest text;
  found_text text;
  type text;
begin
  lexemes := '[]';
  next := start;
  loop
    rest := substr(source, next, 600);
    if starts_with(rest, closer) then
      next := next + length(closer);
      return;
    elsif rest = '' or jsonb_array_length(lexemes) > 60 then
      problem := 'this {{ is not closed';
      return;
    end if;
    found_text := substring(rest from E'^[ \t\r\n]+');
    if found_text is not null then
      next := next + length(found_text);
      continue;
    end if;
    found_text := coalesce(
      substring(rest from E'^"(?:[^"\\\\]|\\\\.)*"'),
      substring(rest from E'^''(?:[^''\\\\]|\\\\.)*'''));
    if found_text is not null then
      lexemes := lexemes || jsonb_build_object('t', 'string', 'at', next, 'v', replace(
        regexp_replace(substr(found_text, 2, length(found_text) - 2), E'\\\\([^n])', '\1', 'g'),
        '\n', E'\n'));
    else
      found_text := coalesce(
        substring(rest from '^[|:,]'), substring(rest from '^(?:==|!=|>=|<=|>|<)'),
        substring(rest from
          E'^[^][ \t\r\n.{}|"''(),:\\\\]+(?:[.][^][ \t\r\n.{}|"''(),:\\\\]+'
          '|\\[-?[0-9]+\\]|\\["[^"\\\\]+"\\]|\\[''[^''\\\\]+''\\])*'));
      if found_text is null then
        problem := case left(rest, 1)
          when '"' then 'this text is not closed' when '''' then 'this text is not closed'
          when '}' then format('%s is needed here', closer)
          else format('%s is not expected here', left(rest, 1)) end;
        return;
      end if;
      type := case
        when found_text in ('|', ':', ',') then found_text
        when found_text ~ '^-?[0-9]{1,30}([.][0-9]{1,30})?$' then 'number'
        else 'word' end;
      lexemes := lexemes || jsonb_build_object('t', type, 'at', next, 'v',
        case type when 'number' then to_jsonb(found_text::numeric) else to_jsonb(found_text) end);
    end if;
    next := next + length(found_text);
  end loop;
end;
$$;

-- A value in a tag: a text, a number, true, false, null, now, today or a field. `loops`: what the #each
-- blocks around it call their items; those names come before any field.
create or replace function automation.parse_operand(
  lexeme jsonb, loops text[], out operand jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  word text := lexeme ->> 'v';
  keys text[];
begin
  roots := '{}';
  if lexeme ->> 't' in ('string', 'number') then
    operand := jsonb_build_object('v', lexeme -> 'v');
  elsif lexeme ->> 't' is distinct from 'word' then
    problem := 'a value is needed here';
  elsif word in ('true', 'false', 'null') then
    operand := jsonb_build_object('v', word::jsonb);
  elsif word in ('now', 'today') then
    operand := jsonb_build_object('now', word, 'name', word);
  else
    keys := automation.parse_path(word);
    if keys[1] = any (loops) then
      operand := jsonb_build_object('p', keys::text, 'loop', true, 'name', word);
      return;
    elsif keys is null or word ~ '^[#/!@=<>]' then
      problem := format('%s is not a field', left(word, 60));
      return;
    end if;
    operand := automation.condition_reference(keys) - 'w' - 'q' || jsonb_build_object('name', word);
    roots := automation.condition_field_roots(keys);
  end if;
end;
$$;

-- The filters of a tag, from the lexeme `here` on.
create or replace function automation.parse_filters(
  lexemes jsonb, here int, loops text[], out filters jsonb, out roots text[], out problem text, out at int
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  name text;
  arguments jsonb;
  part record;
  counts record;
begin
  filters := '[]';
  roots := '{}';
  while lexemes -> here is not null loop
    at := (lexemes -> here ->> 'at')::int;
    name := lexemes -> (here + 1) ->> 'v';
    if lexemes -> here ->> 't' <> '|' then
      problem := 'a | is needed before a filter';
      return;
    elsif lexemes -> (here + 1) ->> 't' is distinct from 'word' then
      problem := 'a filter is needed after |';
      return;
    end if;
    at := (lexemes -> (here + 1) ->> 'at')::int;
    if filters -> -1 ->> 'n' = 'nl2br' then
      problem := 'nl2br must be the last filter';
      return;
    end if;
    here := here + 2;
    arguments := '[]';
    while lexemes -> here ->> 't' = case when arguments = '[]' then ':' else ',' end loop
      part := automation.parse_operand(lexemes -> (here + 1), loops);
      if part.problem is not null then
        at := coalesce((lexemes -> (here + 1) ->> 'at')::int, at);
        problem := part.problem;
        return;
      end if;
      arguments := arguments || jsonb_build_array(part.operand);
      roots := roots || part.roots;
      here := here + 2;
    end loop;
    select * into counts from automation.filter_arguments(name);
    problem := automation.filter_problem(name, arguments, counts.least_count, counts.most_count);
    if problem is not null then
      return;
    end if;
    filters := filters || jsonb_build_array(jsonb_build_object('n', name)
      || automation.compile_arguments(arguments)
      || case
        when name <> 'formatDate' or arguments -> 0 ? 'name' then '{}'
        else jsonb_build_object(
          'x', automation.date_format(coalesce(arguments -> 0 ->> 'v', 'medium')))
      end);
  end loop;
end;
$$;

-- Arguments that are all literals are worked out here: {c: values}; others at each rendering: {a:}.
create or replace function automation.compile_arguments(arguments jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when arguments = '[]' then '{}'
      when jsonb_path_exists(arguments, '$[*] ? (!exists(@.v))')
        then jsonb_build_object('a', arguments)
      else jsonb_build_object('c', jsonb_path_query_array(arguments, '$[*].v'))
    end
  $$;

create or replace function automation.filter_problem(
  name text, arguments jsonb, least_count int, most_count int
) returns text
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when least_count is null then format('there is no filter %s', left(name, 60))
      when jsonb_array_length(arguments) < least_count
        then format('%s needs %s', name, case least_count when 1 then 'an argument'
          else least_count || ' arguments' end)
      when jsonb_array_length(arguments) > most_count
        then format('%s takes at most %s', name, most_count)
      when name = 'formatDate' and arguments -> 0 ? 'v'
        and automation.date_format(arguments -> 0 ->> 'v') is null
        then 'this is not a date pattern'
      when name = 'formatDate' and arguments -> 1 ? 'v'
        and automation.known_zone(arguments -> 1 ->> 'v') is null
        then 'this is not a time zone'
      when name = 'truncate' and arguments -> 0 ? 'v'
        and coalesce(jsonb_typeof(arguments -> 0 -> 'v') <> 'number', true)
        then 'truncate needs a number of characters'
    end
  $$;

-- The test of an #if: a field alone (is it there and not false or 0), or field operator value.
create or replace function automation.parse_block_test(
  lexemes jsonb, loops text[], out test jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  marks constant jsonb := '{"==": "equals", "!=": "not_equals", ">": "greater_than",
    ">=": "greater_or_equal", "<": "less_than", "<=": "less_or_equal"}'::jsonb;
  word text := lexemes -> 2 ->> 'v';
  operand record := automation.parse_operand(lexemes -> 1, loops);
  arguments jsonb;
  part record;
begin
  roots := operand.roots;
  problem := operand.problem;
  if problem is not null or lexemes -> 2 is null then
    test := operand.operand;
    return;
  elsif not operand.operand ? 'name' then
    problem := 'a field is needed before an operator';
    return;
  end if;
  select jsonb_agg(l.lexeme -> 'v' order by l.position) into arguments
  from jsonb_array_elements(lexemes) with ordinality as l (lexeme, position)
  where l.position > 3 and l.lexeme ->> 't' <> ',';
  part := automation.compile_condition(jsonb_strip_nulls(jsonb_build_object(
    'field', operand.operand -> 'name',
    'operator', coalesce(marks ->> word, word),
    'value', case
      when word in ('in', 'not_in', 'includes_any', 'includes_all', 'between') then arguments
      when jsonb_array_length(arguments) > 1 then null
      when lexemes -> 3 ->> 't' = 'word' and arguments ->> 0 in ('true', 'false')
        then (arguments ->> 0)::jsonb
      when lexemes -> 3 ->> 't' = 'word' then jsonb_build_object('field', arguments -> 0)
      else arguments -> 0 end)), '');
  problem := case when part.test is null then part.problems -> 0 ->> 'message' end;
  test := case when part.test is not null then
    jsonb_build_object('test', automation.in_loops(part.test, loops)
      || case when part.test ? 'r'
        then jsonb_build_object('r', automation.in_loops(part.test -> 'r', loops)) else '{}' end) end;
  roots := case when loops = '{}' then part.roots else automation.test_roots(test -> 'test') end;
end;
$$;

-- The reference of a condition, as what it is inside of these loops.
create or replace function automation.in_loops(reference jsonb, loops text[]) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when (coalesce(reference ->> 'p', reference ->> 'b')::text[])[1] = any (loops)
        then reference - '{b,q,w}'::text[] || jsonb_build_object(
          'p', coalesce(reference ->> 'p', reference ->> 'b'), 'loop', true)
      else reference
    end
  $$;

create or replace function automation.test_roots(test jsonb) returns text[]
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(r.root), '{}')
    from unnest(array[test, test -> 'r']) as f (reference)
    cross join lateral unnest(automation.condition_field_roots(
      coalesce(f.reference ->> 'p', f.reference ->> 'b')::text[])) as r (root)
    where f.reference is not null and not f.reference ? 'loop'
  $$;

-- An #each: a list, and what its items are called: {each: the list, as: the name or null}.
create or replace function automation.parse_each(
  lexemes jsonb, loops text[], out token jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  operand record := automation.parse_operand(lexemes -> 1, loops);
  name text := lexemes -> 3 ->> 'v';
begin
  roots := operand.roots;
  problem := case
    when operand.problem is not null then operand.problem
    when not operand.operand ? 'p' and not operand.operand ? 'b' then 'a list is needed after #each'
    when jsonb_array_length(lexemes) = 2 then null
    when lexemes -> 2 ->> 'v' is distinct from 'as' or jsonb_array_length(lexemes) <> 4
      then '#each takes a list, and perhaps: as name'
    when lexemes -> 3 ->> 't' <> 'word' or name !~ '^[A-Za-z_][A-Za-z0-9_]{0,62}$'
      or name = any ('{trigger,contact,project,job,user,tenant,custom,steps,this,now,today,true,false,null,else}')
      then format('%s cannot be the name of an item', left(name, 60))
  end;
  token := jsonb_build_object('each', operand.operand, 'as', name, 'end', null, 'else', null);
end;
$$;

-- The names that the blocks which are open give to items.
create or replace function automation.loop_names(blocks jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce('{this,@index,@number,@first,@last}'::text[]
      || array_agg(b ->> 'as') filter (where b ? 'as'), '{}')
    from jsonb_array_elements(blocks) as b
    where b ->> 'kind' = 'each'
    having count(*) > 0
  $$;

-- Tokens are in one flat list: a text is itself, an object is a value, and blocks are jumps:
-- {if: test, else: where to go when it does not hold, not: true for unless} and {go: where}. What is said
-- for each item of a list begins with {each: the list, as: what an item is called, end: where its part
-- ends, else: where to go when there is none}. {url: n} and values with u: see automation.url_prefix().
-- `blocks` is the stack of those still open: {kind, at, if: the test whose else is open, ends: the
-- jumps that lead behind the block, as: the name of an item}.
create or replace function automation.parse_block(
  lexemes jsonb, inout tokens jsonb, inout blocks jsonb, out roots text[], out problem text
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  word text := lexemes -> 0 ->> 'v';
  block jsonb := blocks -> -1;
  loops constant text[] := coalesce(automation.loop_names(blocks), '{}');
  test record;
  item record;
  has_test boolean := word in ('#if', '#unless') or word <> '#each' and lexemes -> 1 ->> 'v' = 'if';
  ending jsonb;
begin
  roots := '{}';
  if word not in ('#if', '#unless', '#each', 'else', '/if', '/unless', '/each') then
    problem := format('there is no block %s', left(word, 60));
  elsif word not like '#%' and block is null then
    problem := format('there is no block open for this %s', word);
  elsif word like '/%' and substr(word, 2) <> block ->> 'kind' then
    problem := format('the block that is open is #%s', block ->> 'kind');
  elsif word = 'else' and block -> 'if' = 'null' then
    problem := 'this block has had its else';
  elsif word = 'else' and has_test and block ->> 'kind' = 'each' then
    problem := 'the else of an #each takes no test';
  elsif word like '#%' and jsonb_array_length(blocks) >= 20 then
    problem := 'blocks are nested too deeply';
  elsif word = '#each' then
    item := automation.parse_each(lexemes, loops);
    roots := item.roots;
    problem := item.problem;
  elsif not has_test and jsonb_array_length(lexemes) > 1 then
    problem := format('nothing can follow %s here', word);
  elsif has_test then
    test := automation.parse_block_test(case word when 'else' then lexemes - 0 else lexemes end, loops);
    roots := test.roots;
    problem := test.problem;
  end if;
  if problem is not null then
    return;
  end if;
  if word like '#%' then
    block := jsonb_build_object(
      'kind', substr(word, 2), 'at', lexemes -> 0 -> 'at', 'ends', '[]'::jsonb);
    blocks := blocks || jsonb_build_array(block);
  else
    if block ->> 'kind' = 'each' and block -> 'if' <> 'null' then
      tokens := jsonb_set(
        tokens, array[block ->> 'if', 'end'], to_jsonb(jsonb_array_length(tokens)));
    end if;
    if word = 'else' then
      block := jsonb_set(block, '{ends}', block -> 'ends' || to_jsonb(jsonb_array_length(tokens)));
      tokens := tokens || '[{"go": null}]';
    end if;
    if block -> 'if' <> 'null' then
      tokens := jsonb_set(
        tokens, array[block ->> 'if', 'else'], to_jsonb(jsonb_array_length(tokens)));
    end if;
    block := block || '{"if": null}';
  end if;
  if word = '#each' then
    block := block || jsonb_build_object('if', jsonb_array_length(tokens))
      || case when item.token ->> 'as' is null then '{}' else jsonb_build_object('as', item.token -> 'as') end;
    tokens := tokens || jsonb_build_array(item.token);
  elsif has_test then
    block := block || jsonb_build_object('if', jsonb_array_length(tokens));
    tokens := tokens || jsonb_build_array(jsonb_build_object('if', test.test, 'else', null)
      || case word when '#unless' then '{"not": true}'::jsonb else '{}' end);
  end if;
  if word like '/%' then
    for ending in select * from jsonb_array_elements(block -> 'ends') loop
      tokens := jsonb_set(
        tokens, array[ending #>> '{}', 'go'], to_jsonb(jsonb_array_length(tokens)));
    end loop;
    blocks := blocks - -1;
  else
    blocks := jsonb_set(blocks, '{-1}', block);
  end if;
end;
$$;

create or replace function automation.parse_value(
  lexemes jsonb, raw boolean, loops text[], out token jsonb, out roots text[], out problem text, out at int
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  operand record := automation.parse_operand(lexemes -> 0, loops);
  filters record;
begin
  at := (lexemes -> 0 ->> 'at')::int;
  problem := case when lexemes = '[]' then 'there is nothing between these braces'
    else operand.problem end;
  if problem is not null then
    return;
  end if;
  filters := automation.parse_filters(lexemes, 1, loops);
  at := filters.at;
  problem := filters.problem;
  roots := operand.roots || filters.roots;
  token := operand.operand
    || case when filters.filters = '[]' then '{}' else jsonb_build_object('f', filters.filters) end
    || case when raw then '{"raw": true}'::jsonb else '{}' end
    || case when filters.filters -> -1 ->> 'n' = 'nl2br' then '{"br": true}'::jsonb else '{}' end;
end;
$$;

-- A variable that an address in HTML begins with (<a href="{{contact.website}}">) decides what kind of
-- address it is. What literal text there is of the address so far, while it may still be the beginning
-- of a scheme; null where no address is open. `so_far`: what it was before this text.
create or replace function automation.url_prefix(literal text, so_far text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select p.prefix
    from (
      select case
        when so_far || literal ~ '^[[:space:]]*[A-Za-z0-9+.-]*$' then so_far || literal
        else coalesce(a.part[1], a.part[2], a.part[3])
      end as prefix
      from (
        select regexp_match(literal,
          '[[:space:]"''/](?:href|src|action|formaction|poster|background|cite|data|ping|xlink:href)'
          '[[:space:]]*=[[:space:]]*(?:"([^"<>]*)|''([^''<>]*)|([^[:space:]"''<>]*))$', 'i') as part
      ) as a
    ) as p
    where p.prefix ~ '^[[:space:]]*[A-Za-z0-9+.-]*$'
  $$;

-- {url: how many characters of the address stand before it} goes where an address begins.
create or replace function automation.open_url(literal text, so_far text, out tokens jsonb, out url text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  url := automation.url_prefix(literal, so_far);
  tokens := case
    when url is null or url = so_far || literal then '[]'
    else jsonb_build_array(jsonb_build_object('url', length(url)))
  end;
end;
$$;

create or replace function automation.parse_template(
  source text, out tokens jsonb, out roots text[], out problem text, out "position" int
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  here int := 1;
  tag_at int;
  literal text := '';
  url text;
  found_at int;
  raw boolean;
  tag record;
  part record;
  blocks jsonb := jsonb_build_array();
begin
  tokens := '[]';
  roots := '{}';
  loop
    found_at := strpos(substr(source, here), '{{');
    exit when found_at = 0;
    tag_at := here + found_at - 1;
    literal := literal || substr(source, here, found_at - 1);
    -- \{{ is two braces.
    if literal like E'%\\\\' then
      literal := left(literal, -1) || '{{';
      here := tag_at + 2;
      continue;
    end if;
    if literal <> '' then
      tokens := tokens || to_jsonb(literal);
      part := automation.open_url(literal, url);
      tokens := tokens || part.tokens;
      url := part.url;
      literal := '';
    end if;
    position := tag_at;
    if substr(source, tag_at + 2, 1) = '!' then
      found_at := strpos(substr(source, tag_at), '}}');
      problem := case when found_at = 0 then 'this comment is not closed' end;
      exit when problem is not null;
      here := tag_at + found_at + 1;
      continue;
    end if;
    raw := substr(source, tag_at + 2, 1) = '{';
    tag := automation.lex_tag(source, tag_at + case when raw then 3 else 2 end,
      case when raw then '}}}' else '}}' end);
    problem := tag.problem;
    position := case when problem = 'this {{ is not closed' then tag_at else tag.next end;
    exit when problem is not null;
    if not raw and (tag.lexemes -> 0 ->> 'v' ~ '^[#/]' and tag.lexemes -> 0 ->> 't' = 'word'
      or tag.lexemes -> 0 ->> 'v' = 'else' and tag.lexemes -> 0 ->> 't' = 'word') then
      part := automation.parse_block(tag.lexemes, tokens, blocks);
      tokens := part.tokens;
      blocks := part.blocks;
      position := tag_at;
    else
      part := automation.parse_value(tag.lexemes, raw, coalesce(automation.loop_names(blocks), '{}'));
      tokens := tokens || jsonb_build_array(
        case when url is null then part.token else part.token || '{"u": true}' end);
      position := coalesce(part.at, tag_at);
    end if;
    problem := part.problem;
    exit when problem is not null;
    roots := roots || part.roots;
    here := tag.next;
  end loop;
  if problem is null and blocks <> '[]' then
    problem := format('this #%s is not closed', blocks -> -1 ->> 'kind');
    position := (blocks -> -1 ->> 'at')::int;
  end if;
  literal := literal || substr(source, here);
  if problem is not null then
    tokens := null;
  else
    position := null;
    tokens := tokens || case when literal = '' then '[]' else to_jsonb(literal) end;
  end if;
end;
$$;

comment on function automation.parse_template(text) is
  'A text''s tokens, or what is wrong with it and at which character.';

-- sql/05_variables/04_compile.sql

-- A step's configuration is compiled when its workflow is published, so that rendering touches
-- only the texts that have a template in them.
--
-- Compiled form: base, the configuration; slots, where its templates are: {at: path, pre: the
-- dotted path and those above it, which is what html_paths names, w: the one token of a template
-- that is a whole value, or s: the tokens of a text}; roots, the parts of the context they read.

create or replace function automation.template_texts(source jsonb)
  returns table (at text[], value text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    with recursive walk (at, value) as (
      select '{}'::text[], source
      union all
      select walk.at || child.key, child.value
      from walk, lateral (
        select o.key, o.value from jsonb_each(
          case jsonb_typeof(walk.value) when 'object' then walk.value else '{}' end) as o
        union all
        select (a.position - 1)::text, a.value from jsonb_array_elements(
          case jsonb_typeof(walk.value) when 'array' then walk.value else '[]' end)
          with ordinality as a (value, position)
      ) as child
    )
    select walk.at, walk.value #>> '{}' from walk
    where jsonb_typeof(walk.value) = 'string' and strpos(walk.value #>> '{}', '{{') > 0
    order by walk.at
  $$;

create or replace function automation.compile_slot(at text[], tokens jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'at', at::text,
      'pre', (
        select coalesce(array_agg(array_to_string(at[:n], '.')), '{}')::text
        from generate_series(1, cardinality(at)) as n))
      || case
        when jsonb_array_length(tokens) = 1 and jsonb_typeof(tokens -> 0) = 'object'
          and not tokens -> 0 ? 'if'
          then jsonb_build_object('w', tokens -> 0)
        else jsonb_build_object('s', tokens)
      end
  $$;

create or replace function automation.compile_template(
  source jsonb, path text default 'config', out compiled jsonb, out problems jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  text_found record;
  parsed record;
  slots jsonb := jsonb_build_array();
  roots text[] := array[]::text[];
begin
  problems := '[]';
  for text_found in select * from automation.template_texts(source) loop
    parsed := automation.parse_template(text_found.value);
    if parsed.problem is not null then
      problems := problems || jsonb_build_array(jsonb_build_object(
        'path', array_to_string(coalesce(path, 'config') || text_found.at, '.'),
        'severity', 'error', 'code', 'invalid_template', 'position', parsed.position,
        'message', format('%s (character %s)', parsed.problem, parsed.position),
        'hint', 'For example {{ contact.first_name | default: "there" }}; \{{ is two braces.'));
    else
      slots := slots || jsonb_build_array(automation.compile_slot(text_found.at, parsed.tokens));
      roots := roots || parsed.roots;
    end if;
  end loop;
  compiled := jsonb_build_object(
    'base', source, 'slots', slots,
    'roots', (select coalesce(jsonb_agg(distinct r order by r), '[]') from unnest(roots) as r));
end;
$$;

comment on function automation.compile_template(jsonb, text) is
  'Any JSON with its templates parsed, and what is wrong with them. Problems are {path, position, '
  'severity, code, message, hint}; path starts with the given one, position counts characters.';

create or replace function automation.template_roots(compiled jsonb) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(r), '{}') from jsonb_array_elements_text(compiled -> 'roots') as r
  $$;

comment on function automation.template_roots(jsonb) is
  'The parts of the context (contact, project, ...) that rendering may read.';

-- sql/05_variables/05_render.sql

-- Rendering: the part that runs once a step.

create or replace function automation.escape_html(value text) returns text
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return replace(replace(replace(replace(replace(
    value, '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');

-- A field, a literal, or now and today.
create or replace function automation.operand_value(operand jsonb, context jsonb, options jsonb)
  returns jsonb
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case
    when operand ? 'p' or operand ? 'b' then automation.test_value(operand, context)
    when operand ? 'v' then operand -> 'v'
    when operand ->> 'now' = 'now'
      then to_jsonb(automation.iso_instant(automation.render_time(options)))
    else to_jsonb(to_char(
      automation.render_time(options)
        at time zone coalesce(automation.known_zone(options ->> 'zone'), 'UTC'),
      'YYYY-MM-DD'))
  end;
end;
$$;

create or replace function automation.render_time(options jsonb) returns timestamptz
  language sql stable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when automation.is_date(options ->> 'now') then automation.instant_in(options ->> 'now', 'UTC')
    else automation.now()
  end;

create or replace function automation.render_warning(at text, code text, token jsonb, message text)
  returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return jsonb_build_array(jsonb_build_object(
    'path', at, 'code', code, 'variable', token -> 'name', 'message', message));

-- A token's value after its filters. Null where there is none, with a warning.
create or replace function automation.token_value(
  token jsonb, context jsonb, options jsonb, at text, out value jsonb, inout warnings jsonb
)
  language plpgsql stable parallel safe

  set search_path = pg_catalog, pg_temp
  as $$
declare
  filters constant jsonb := token -> 'f';
  filter jsonb;
  arguments jsonb;
  filtered jsonb;
begin
  value := automation.operand_value(token, context, options);
  for i in 0 .. coalesce(jsonb_array_length(filters), 0) - 1 loop
    filter := filters -> i;
    arguments := case
      when filter ? 'a' then automation.argument_values(filter -> 'a', context, options)
      else coalesce(filter -> 'c', '[]')
    end;
    filtered := automation.filter_value(filter, value, arguments, options);
    if filtered is not null then
      value := filtered;
    elsif value <> 'null' then
      warnings := warnings || automation.render_warning(at, 'filter_not_applied', token,
        format('%s has no meaning for this value, which was left as it is', filter ->> 'n'));
    end if;
  end loop;
  if coalesce(value, 'null') = 'null' then
    warnings := warnings || automation.render_warning(at, 'missing_variable', token,
      format('%s has no value', token ->> 'name'));
  end if;
end;
$$;

create or replace function automation.argument_values(arguments jsonb, context jsonb, options jsonb)
  returns jsonb
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_agg(
      coalesce(automation.operand_value(a.operand, context, options), 'null') order by a.position)
    from jsonb_array_elements(arguments) with ordinality as a (operand, position)
  $$;

-- An #if: a comparison, or a value that is there and neither false nor 0.
create or replace function automation.block_holds(test jsonb, context jsonb, options jsonb)
  returns boolean
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  value jsonb;
begin
  if test ? 'test' then
    return (test -> 'test' ? 'n') <> automation.test_holds(
      test -> 'test', context, options ->> 'zone', automation.render_time(options));
  end if;
  value := automation.operand_value(test, context, options);
  return not (automation.is_blank(value) or value in ('false', '0'));
end;
$$;

-- A text that is being written: what there is of it, the warnings so far, how many items of lists went
-- into it, and where in it the address begins that is being written (0: none).
create type automation.rendering as (written text, warnings jsonb, items int, url_at int);

-- An address that a browser would run instead of opening. Browsers pass over blanks and control
-- characters; only what is raw can hold entities.
create or replace function automation.is_script_url(address text) returns boolean
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return regexp_replace(left(address, 4000), '[\x01-\x20\x7F]', '', 'g')
    ~* '^(?:(?:javascript|vbscript|data|livescript|mocha):|[^/?:]*&(?!amp;|#39;|quot;|lt;|gt;)(?:#|colon|tab|newline))';

-- What a token becomes in a text.
create or replace function automation.token_text(value jsonb, token jsonb, html boolean) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when html and token ? 'br' then regexp_replace(t.text, '\r\n|\r|\n', '<br>', 'g') else t.text end
    from (
      select coalesce(case
        when html and not token ? 'raw' then automation.escape_html(automation.text_of(value))
        else automation.text_of(value) end, '') as text
    ) as t
  $$;

-- A variable in a link never becomes a script: the address is looked at as a whole, whatever parts it
-- was put together from.
create or replace function automation.guard_url(now automation.rendering, token jsonb, at text)
  returns automation.rendering
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  starts constant int := case when now.url_at = 0 then 1 else now.url_at end;
begin
  if automation.is_script_url(substr(now.written, starts)) then
    now.written := left(now.written, starts - 1) || '#';
    now.warnings := now.warnings || automation.render_warning(at, 'unsafe_link', token,
      format('%s would have made the link a script; it leads nowhere instead', token ->> 'name'));
  end if;
  return now;
end;
$$;

-- The tokens from `here` up to `last`, written behind what there is already.
create or replace function automation.render_tokens(
  tokens jsonb, here int, last int, context jsonb, options jsonb, at text, html boolean,
  so_far automation.rendering)
  returns automation.rendering
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  now automation.rendering := so_far;
  token jsonb;
  value jsonb;
  part record;
begin
  while here < last loop
    token := tokens -> here;
    here := here + 1;
    if jsonb_typeof(token) = 'string' then
      now.written := now.written || (token #>> '{}');
    elsif token ? 'go' then
      here := (token ->> 'go')::int;
    elsif token ? 'if' then
      if (token ? 'not') = automation.block_holds(token -> 'if', context, options) then
        here := (token ->> 'else')::int;
      end if;
    elsif token ? 'each' then
      value := automation.items_of(automation.operand_value(token -> 'each', context, options));
      if value = '[]' then
        here := (token ->> 'else')::int;
      else
        now := automation.render_items(tokens, here, value, context, options, at, html, now);
        here := (token ->> 'end')::int;
      end if;
    elsif token ? 'url' then
      now.url_at := length(now.written) + 1 - (token ->> 'url')::int;
    else
      value := case
        when token ? 'p' and not token ? 'f' then context #> (token ->> 'p')::text[] end;
      if coalesce(jsonb_typeof(value), 'null') = 'null' then
        part := automation.token_value(token, context, options, at, now.warnings);
        now.warnings := part.warnings;
        value := part.value;
      end if;
      now.written := now.written || automation.token_text(value, token, html);
      if html and token ? 'u' then
        now := automation.guard_url(now, token, at);
      end if;
    end if;
  end loop;
  return now;
end;
$$;

-- What an #each goes through: a list; anything else that is there is its only item.
create or replace function automation.items_of(value jsonb) returns jsonb
  language sql immutable parallel safe
  -- Bound when created: no search_path to set.
  return case
    when automation.is_blank(value) then '[]'
    when jsonb_typeof(value) = 'array' then value
    else jsonb_build_array(value)
  end;

-- The part of an #each, whose token stands before `here`, for every item. A text takes a thousand items,
-- and none once it is long; what is left out leaves a warning.
create or replace function automation.render_items(
  tokens jsonb, here int, items jsonb, context jsonb, options jsonb, at text, html boolean,
  so_far automation.rendering)
  returns automation.rendering
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  now automation.rendering := so_far;
  token constant jsonb := tokens -> (here - 1);
  count constant int := jsonb_array_length(items);
  warnings jsonb;
  item jsonb;
  place int := 0;
begin
  for item in select i from jsonb_array_elements(items) as i loop
    if now.items >= 1000 or length(now.written) > 200000 then
      now.warnings := now.warnings || automation.render_warning(at, 'too_many_items', token -> 'each',
        format('%s has too many items for one text: %s of %s are left out',
          token #>> '{each,name}', count - place, count));
      return now;
    end if;
    warnings := now.warnings;
    now.items := now.items + 1;
    now := automation.render_tokens(
      tokens, here, (token ->> 'end')::int,
      context || automation.item_names(token ->> 'as', item, place, count),
      options, at, html, now);
    -- What is missing from one item is missing from a thousand.
    if jsonb_array_length(warnings) >= 50 then
      now.warnings := warnings;
    end if;
    place := place + 1;
  end loop;
  return now;
end;
$$;

create or replace function automation.item_names(name text, item jsonb, place int, count int) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('this', item, '@index', place, '@number', place + 1,
        '@first', place = 0, '@last', place = count - 1)
      || case when name is null then '{}' else jsonb_build_object(name, item) end
  $$;

create or replace function automation.render_text(
  tokens jsonb, context jsonb, options jsonb, at text, html boolean,
  out rendered text, inout warnings jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  done constant automation.rendering := automation.render_tokens(
    tokens, 0, jsonb_array_length(tokens), coalesce(context, '{}'), options, at, html,
    row('', warnings, 0, 0));
begin
  rendered := done.written;
  warnings := done.warnings;
end;
$$;

-- A template that is a whole value keeps its type; in HTML it is text, and escaped.
create or replace function automation.render_whole(
  token jsonb, context jsonb, options jsonb, at text, html boolean,
  out rendered jsonb, inout warnings jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part record := automation.token_value(token, context, options, at, warnings);
begin
  warnings := part.warnings;
  rendered := coalesce(part.value, 'null');
  if html and jsonb_typeof(rendered) in ('string', 'array', 'object') then
    rendered := to_jsonb(automation.token_text(rendered, token, html));
  end if;
end;
$$;

create or replace function automation.render(
  compiled jsonb, context jsonb, options jsonb default '{}', out rendered jsonb, out warnings jsonb
)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  slots constant jsonb := compiled -> 'slots';
  slot jsonb;
  at text[];
  html boolean;
  name text;
  part record;
  text_part record;
begin
  rendered := compiled -> 'base';
  warnings := '[]';
  options := coalesce(options, '{}');
  for i in 0 .. coalesce(jsonb_array_length(slots), 0) - 1 loop
    slot := slots -> i;
    at := (slot ->> 'at')::text[];
    name := array_to_string(at, '.');
    html := coalesce(options -> 'html_paths' ?| (slot ->> 'pre')::text[], false);
    if slot ? 'w' then
      part := automation.render_whole(slot -> 'w', context, options, name, html, warnings);
      warnings := part.warnings;
      rendered := case when at = '{}' then part.rendered
        else jsonb_set(rendered, at, part.rendered) end;
    else
      text_part := automation.render_text(slot -> 's', context, options, name, html, warnings);
      warnings := text_part.warnings;
      rendered := case when at = '{}' then to_jsonb(text_part.rendered)
        else jsonb_set(rendered, at, to_jsonb(text_part.rendered)) end;
    end if;
  end loop;
  if options ->> 'on_missing' = 'fail'
    and jsonb_path_exists(warnings, '$[*] ? (@.code == "missing_variable")') then
    rendered := null;
  end if;
end;
$$;

comment on function automation.render(jsonb, jsonb, jsonb) is
  'A compiled template filled from a context, and what was amiss: {path, code, variable, message}. '
  'options: zone, locale, currency, html_paths, on_missing (empty, or fail: rendered is null when '
  'a variable has no value), now. Never raises.';

-- sql/06_executions/01_tables.sql

-- 06 EXECUTIONS
--
-- History: what ran, for whom, and what came of it. Rows are written once and finished once; what
-- is still to happen lives in the queue (chapter 07).
--
-- One execution is one record's way through one version of a workflow. One step execution is one
-- step of it: its rendered input, its attempts, its result. A step of an execution has one row,
-- whatever it took to get it done.
--
-- Lock order, for every function of the engine:
--   1. scheduled_steps   2. workflow_executions   3. workflow_step_executions
--   4. CRM rows, never waited for longer than 100 ms (see automation.run_database_steps)
-- Capture comes from the other side (the writer holds a CRM row) and therefore only inserts.

-- Constraints on the tables that capture writes are kept few and small: Postgres reads the text of
-- every CHECK again for each statement, and capture is a statement a row (measured: the value lists
-- that are enums now cost 50 of 120 us).
create table public.workflow_executions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  version integer not null,
  status public.automation_status not null default 'pending',
  trigger_type text not null,
  trigger_data jsonb not null default '{}',
  entity text,
  record_id text,
  contact_id uuid,
  depth smallint not null default 0,
  current_step text,
  error jsonb,
  created_at timestamptz not null default automation.now(),
  started_at timestamptz,
  finished_at timestamptz,
  seq bigint not null default nextval('automation.write_order'),
  written_by xid8 not null default pg_current_xact_id(),
  seen pg_snapshot not null default pg_current_snapshot(),
  constraint workflow_executions_pkey primary key (tenant_id, id),
  constraint workflow_executions_version_fk foreign key (tenant_id, workflow_id, version)
    references public.workflow_versions (tenant_id, workflow_id, version) on delete cascade,
  constraint workflow_executions_finished_matches_status check (
    (finished_at is not null) = (status >= 'completed')),
  constraint workflow_executions_failed_says_why check (status <> 'failed' or error is not null)
) with (fillfactor = 75);

-- Both tables leave room on their pages: a row is finished soon after it is written, and an update
-- that stays on its page touches no index (no index has status in it).
comment on table public.workflow_executions is
  'One record''s way through one version of a workflow.';
comment on column public.workflow_executions.trigger_data is
  'The records as they were when the workflow fired; {{trigger.*}} reads from here, for good.';
comment on column public.workflow_executions.record_id is
  'The record that fired, as text: tables with other keys than uuid can be attached.';
comment on column public.workflow_executions.depth is
  'How many automations led to the write that fired this one.';
comment on column public.workflow_executions.seq is
  'Its place in the order of writes: an event with a higher number came after it.';
comment on column public.workflow_executions.seen is
  'Which transactions had committed when it was enrolled: an event of any other came after it as well.';

create index workflow_executions_by_workflow
  on public.workflow_executions (workflow_id, tenant_id, version, created_at);
create index workflow_executions_by_record
  on public.workflow_executions (record_id, tenant_id, workflow_id, created_at);
create index workflow_executions_by_contact
  on public.workflow_executions (contact_id, tenant_id, created_at)
  where contact_id is not null and entity <> 'contact';

create table public.workflow_step_executions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  execution_id uuid not null,
  step_key text not null,
  step_type text not null,
  status public.automation_status not null,
  input jsonb,
  result_data jsonb,
  error jsonb,
  warnings jsonb,
  attempts jsonb not null default '[]',
  redrives smallint not null default 0,
  recipient text,
  provider_id text,
  started_at timestamptz not null default automation.now(),
  finished_at timestamptz,
  duration_ms integer,
  seq bigint not null default nextval('automation.write_order'),
  written_by xid8 not null default pg_current_xact_id(),
  seen pg_snapshot not null default pg_current_snapshot(),
  constraint workflow_step_executions_pkey primary key (tenant_id, id),
  constraint workflow_step_executions_execution_fk foreign key (tenant_id, execution_id)
    references public.workflow_executions (tenant_id, id) on delete cascade,
  constraint workflow_step_executions_once unique (execution_id, tenant_id, step_key),
  constraint workflow_step_executions_finished_matches_status check (
    (finished_at is not null) = (status >= 'completed')),
  constraint workflow_step_executions_failed_says_why check (status <> 'failed' or error is not null)
) with (fillfactor = 75);

comment on table public.workflow_step_executions is
  'One step of an execution: what it was about to do, each attempt, and what came of it.';
comment on column public.workflow_step_executions.input is
  'The rendered configuration. Retries send exactly this again.';
comment on column public.workflow_step_executions.attempts is
  '[{attempt, at, outcome, error?, worker?}]: every attempt, and why it was not the last.';
comment on column public.workflow_step_executions.provider_id is
  'The provider''s id of the message: what webhooks refer to, and what reconciliation excludes.';
comment on column public.workflow_step_executions.seq is
  'Where the step began in the order of writes; a wait that comes next hears what came after that.';
comment on column public.workflow_step_executions.duration_ms is
  'Real milliseconds from the start of the last attempt to its end.';

create unique index workflow_step_executions_provider_id_unique
  on public.workflow_step_executions (provider_id, tenant_id) where provider_id is not null;
create index workflow_step_executions_by_recipient
  on public.workflow_step_executions (recipient, tenant_id, started_at)
  where recipient is not null;

-- sql/06_executions/02_enrol.sql

-- An enrolment becomes an execution and its first scheduled step: one statement, in
-- the transaction of whoever enrolled it. It cannot raise: every value was computed before, and the rows they
-- refer to are never deleted while the tenant exists.

create or replace function automation.enrol(
  tenant_id uuid, entity text, record_id text, data jsonb, enrolment automation.enrolment,
  seq bigint default nextval('automation.write_order'))
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  depth constant integer := automation.causation_depth();
  at constant timestamptz := automation.now();
  execution_id constant uuid := automation.new_id();
  failure jsonb := enrolment.failure;
  admission record;
begin
  -- A record is created once: only repeatable events and chains can loop.
  if depth > 0 or data ? 'old' then
    admission := automation.admit(tenant_id, enrolment.workflow_id, record_id, depth);
    if not admission.admitted then
      return null;
    end if;
    failure := coalesce(failure, admission.refusal);
  end if;
  with enrolled as (
    insert into public.workflow_executions (
      tenant_id, id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
      contact_id, depth, current_step, error, created_at, finished_at, seq)
    values (
      tenant_id, execution_id, enrolment.workflow_id, enrolment.version,
      case
        when failure is not null then 'failed'
        when enrolment.first_delay > interval '0' then 'waiting'
        else 'pending'
      end::public.automation_status,
      enrolment.trigger_type, data, entity, record_id, automation.as_uuid(data ->> 'contact_id'),
      depth, enrolment.first_step, failure, at, case when failure is not null then at end, seq)
    returning workflow_executions.tenant_id, workflow_executions.id
  )
  insert into public.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
  select e.tenant_id, e.id, enrolment.first_step, enrolment.first_lane, at + enrolment.first_delay
  from enrolled as e
  where failure is null;
  if found and current_setting('automation.rung', true) is distinct from 'yes' then
    perform automation.ring_once();
  end if;
  return execution_id;
end;
$$;

comment on function automation.enrol(uuid, text, text, jsonb, automation.enrolment, bigint) is
  'Starts an execution, or records the failed one that explains why it could not start; null when '
  'a loop was refused and that is on record already.';

-- sql/06_executions/03_context.sql

-- What variables and conditions see. {{trigger.*}} is the snapshot taken when the workflow fired;
-- every other root is read live, at the moment the step runs, and only when the step asks for it.

create or replace function automation.tenant_zone(tenant_id uuid) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select t.timezone from public.tenants as t where t.id = tenant_zone.tenant_id $$;

create or replace function automation.trigger_root(data jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select data || jsonb_build_object('record', data -> (data ->> 'entity')) $$;

-- At enrolment nothing has happened since: the snapshot is the live record. roots: what is asked for,
-- so that the rest is not read; null: everything.
create or replace function automation.trigger_context(
  tenant_id uuid, data jsonb, roots jsonb default null)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  context jsonb := data || jsonb_build_object('trigger', automation.trigger_root(data));
begin
  if roots is null or roots ? 'user' then
    context := context || jsonb_build_object('user', automation.read_user(tenant_id, data));
  end if;
  if (roots is null or roots ? 'contact.tags') and not coalesce(data -> 'contact' ? 'tags', false) then
    context := automation.add_tags(context, automation.contact_tags(tenant_id, data ->> 'contact_id'));
  end if;
  if roots is null or roots ? 'tenant' then
    context := context || jsonb_build_object('tenant', (
      select to_jsonb(t) from public.tenants as t where t.id = trigger_context.tenant_id));
  end if;
  return context;
end;
$$;

create or replace function automation.is_member(tenant_id uuid, user_id text) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from public.tenant_members as m
      where m.tenant_id = is_member.tenant_id and m.user_id = automation.as_uuid(is_member.user_id))
  $$;

create or replace function automation.read_user(tenant_id uuid, data jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select to_jsonb(m) || jsonb_build_object('id', m.user_id)
    from public.tenant_members as m
    where m.tenant_id = read_user.tenant_id
      and m.user_id = automation.as_uuid(coalesce(
        data #>> array[data ->> 'entity', 'assigned_to'], data #>> '{contact,assigned_to}',
        data ->> 'user_id'))
  $$;

comment on function automation.read_user(uuid, jsonb) is
  '{{user.*}}: who is responsible for the record that fired, else for its contact, else who wrote it.';

-- The tags of a contact are rows of their own; they are read only where somebody asks for contact.tags.
create or replace function automation.contact_tags(tenant_id uuid, contact_id text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(t.name order by lower(t.name)), '[]')
    from public.contact_tags as ct
    join public.tags as t on t.tenant_id = ct.tenant_id and t.id = ct.tag_id
    where ct.tenant_id = contact_tags.tenant_id
      and ct.contact_id = automation.as_uuid(contact_tags.contact_id)
  $$;

create or replace function automation.add_tags(context jsonb, tags jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(context -> 'contact') = 'object'
        then jsonb_set(context, '{contact,tags}', coalesce(tags, '[]'))
      else context
    end
  $$;

create or replace function automation.step_results(tenant_id uuid, execution_id uuid) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(s.step_key,
      coalesce(s.result_data, '{}') || jsonb_build_object('status', s.status)), '{}')
    from public.workflow_step_executions as s
    where s.tenant_id = step_results.tenant_id and s.execution_id = step_results.execution_id
  $$;

create or replace function automation.read_root(execution public.workflow_executions, root text)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return case root
    when 'trigger' then automation.trigger_root(execution.trigger_data)
    when 'tenant' then
      (select to_jsonb(t) from public.tenants as t where t.id = execution.tenant_id)
    when 'user' then automation.read_user(execution.tenant_id, execution.trigger_data)
    when 'custom' then coalesce(
      execution.trigger_data -> 'custom',
      execution.trigger_data #> array[execution.entity, 'custom_fields'])
    when 'steps' then coalesce(execution.trigger_data -> 'steps', '{}')
      || automation.step_results(execution.tenant_id, execution.id)
    when 'contact.tags' then coalesce(
      case when execution.version = 0 then execution.trigger_data #> '{contact,tags}' end,
      automation.contact_tags(execution.tenant_id, execution.trigger_data ->> 'contact_id'))
    else case when execution.trigger_data ? (root || '_id') and execution.version > 0
      then automation.read_record(
        root, execution.tenant_id, execution.trigger_data ->> (root || '_id'))
      else execution.trigger_data -> root end
  end;
end;
$$;

create or replace function automation.execution_context(
  execution public.workflow_executions, roots jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  root text;
  context jsonb := '{}'::jsonb;
begin
  for root in select distinct r from jsonb_array_elements_text(roots) as r order by r loop
    context := case root
      when 'contact.tags' then automation.add_tags(context, automation.read_root(execution, root))
      else context || jsonb_build_object(root, automation.read_root(execution, root))
    end;
  end loop;
  return context;
end;
$$;

comment on function automation.execution_context(public.workflow_executions, jsonb) is
  'The roots that a step asks for. A record with an id is read live; a manual run may bring made-up '
  'ones without.';

-- sql/06_executions/04_transitions.sql

-- The state machine of an execution (drawn in sql/README.md). Every change of status is one of
-- these functions, each called with the execution row locked.

create or replace function automation.lock_execution(tenant_id uuid, id uuid)
  returns public.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select e from public.workflow_executions as e
    where e.tenant_id = lock_execution.tenant_id and e.id = lock_execution.id
    for no key update
  $$;

create or replace function automation.is_finished(execution public.workflow_executions)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select execution.finished_at is not null $$;

create or replace function automation.end_execution(
  execution public.workflow_executions, status public.automation_status,
  error jsonb default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update public.workflow_executions as e
    set status = end_execution.status, error = end_execution.error, current_step = null,
      started_at = coalesce(e.started_at, automation.now()), finished_at = automation.now()
    where e.tenant_id = execution.tenant_id and e.id = execution.id
  $$;

create or replace function automation.mark_running(
  execution public.workflow_executions, step_key text)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update public.workflow_executions as e
    set status = 'running', current_step = mark_running.step_key,
      started_at = coalesce(e.started_at, automation.now())
    where e.tenant_id = execution.tenant_id and e.id = execution.id
      and (e.status <> 'running' or e.current_step is distinct from mark_running.step_key)
  $$;

create or replace function automation.schedule_step(
  execution public.workflow_executions, step jsonb, run_at timestamptz)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  scheduled_id uuid;
begin
  insert into public.scheduled_steps (tenant_id, execution_id, step_key, lane, run_at)
  values (execution.tenant_id, execution.id, step ->> 'key',
    (step ->> 'lane')::public.automation_lane, run_at)
  returning id into scheduled_id;
  update public.workflow_executions as e
  set status = case
      when run_at > automation.now() then 'waiting' else 'running'
    end::public.automation_status,
    current_step = step ->> 'key',
    started_at = coalesce(e.started_at, automation.now())
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return scheduled_id;
end;
$$;

create or replace function automation.plan_of(execution public.workflow_executions) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select v.plan
    from public.workflow_versions as v
    where v.tenant_id = execution.tenant_id
      and v.workflow_id = execution.workflow_id
      and v.version = execution.version
  $$;

create or replace function automation.plan_step(
  execution public.workflow_executions, step_key text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.plan_of(execution) -> 'steps' -> plan_step.step_key $$;

-- Where a step leads: to what its result chose, or else to what comes after it.
create or replace function automation.next_key(step jsonb, result jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when step -> 'branches' ? (result ->> 'branch') then step -> 'branches' ->> (result ->> 'branch')
      else step ->> 'next'
    end
  $$;

-- When the step after this one is due: its own delay, after whatever this one waited for.
create or replace function automation.next_run_at(next_step jsonb, result jsonb)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((result ->> 'wait_until')::timestamptz, automation.now())
      + make_interval(secs => (next_step ->> 'delay_seconds')::double precision)
  $$;

-- After a step has ended: the next one, or the end.
create or replace function automation.advance(
  execution public.workflow_executions, step jsonb, outcome public.automation_status,
  result jsonb, error jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  next_step jsonb;
begin
  if automation.is_finished(execution) then
    return;
  elsif outcome = 'failed' and not coalesce((step ->> 'continue_on_error')::boolean, false) then
    perform automation.end_execution(
      execution, 'failed', error || jsonb_build_object('step', step ->> 'key'));
    return;
  end if;
  if result ? 'stop' then
    perform automation.end_execution(
      execution, (result ->> 'outcome')::public.automation_status, case result ->> 'outcome'
        when 'cancelled' then jsonb_build_object(
          'code', 'stopped', 'message', coalesce(result ->> 'reason', 'a stop step ended the run'),
          'step', step -> 'key') end);
    return;
  end if;
  next_step := automation.plan_step(execution, automation.next_key(step, result));
  if next_step is null then
    perform automation.end_execution(execution, 'completed');
  else
    perform automation.schedule_step(
      execution, next_step, automation.next_run_at(next_step, result));
  end if;
end;
$$;

comment on function automation.advance(
  public.workflow_executions, jsonb, public.automation_status, jsonb, jsonb) is
  'Moves an execution on after a step: a failure ends it unless the step says continue_on_error; '
  'otherwise the next step on the branch that the result chose is scheduled, or the execution '
  'completes, as it does at a stop.';

-- sql/06_executions/05_entry.sql

-- Re-entry: may this record start this workflow again? Decided where the first step is about to run, and
-- not where a write is captured: of two writes at once neither sees the other, and neither may wait.
-- Here the one that comes first is written down, and the other ends as skipped and says why.

create table automation.entries (
  tenant_id uuid not null,
  workflow_id uuid not null,
  key text not null,
  execution_id uuid not null,
  entered_at timestamptz not null,
  constraint entries_pkey primary key (tenant_id, workflow_id, key),
  constraint entries_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade
);

comment on table automation.entries is
  'Who entered a workflow that does not let everybody in again: by its dedupe_key, or by record.';

create or replace function automation.record_key(entity text, record_id text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select format('record %s %s', entity, record_id) where record_id is not null $$;

-- A dedupe_key that renders to nothing (no phone number) says nothing about who it is.
create or replace function automation.entry_key(execution public.workflow_executions, lifecycle jsonb)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  if lifecycle ? 'key' then
    select btrim(automation.fold(automation.text_of(r.rendered))) into key
    from automation.render(
      lifecycle -> 'key', automation.execution_context(execution, lifecycle #> '{key,roots}'),
      automation.render_options(execution.tenant_id)) as r;
  end if;
  return coalesce(
    'key ' || case
      when length(key) > 200 then encode(sha256(convert_to(key, 'UTF8')), 'hex') else nullif(key, '') end,
    automation.record_key(execution.entity, execution.record_id));
end;
$$;

-- The last one that was let in. Runs from before there was a rule count as well, where they can be found
-- by their record.
create or replace function automation.last_entry(
  tenant_id uuid, workflow_id uuid, key text, record_id text, but uuid default null)
  returns automation.entries
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entry automation.entries;
begin
  select e.* into entry from automation.entries as e
  where e.tenant_id = last_entry.tenant_id and e.workflow_id = last_entry.workflow_id
    and e.key = last_entry.key;
  if not found and key like 'record %' then
    select x.tenant_id, x.workflow_id, key, x.id, x.created_at into entry
    from public.workflow_executions as x
    where x.tenant_id = last_entry.tenant_id and x.record_id = last_entry.record_id
      and x.workflow_id = last_entry.workflow_id and x.id is distinct from but
      and x.started_at is not null and x.status <> 'skipped'
    order by x.created_at desc
    limit 1;
  end if;
  return entry;
end;
$$;

create or replace function automation.may_enter(reentry jsonb, entry automation.entries) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when entry.execution_id is null or reentry is null then true
      when reentry ->> 'policy' = 'once_in'
        then entry.entered_at + (reentry ->> 'within')::interval <= automation.now()
      when reentry ->> 'policy' = 'not_while_open' then not exists (
        select from public.workflow_executions as e
        where e.tenant_id = entry.tenant_id and e.id = entry.execution_id and e.finished_at is null)
      else false
    end
  $$;

comment on function automation.may_enter(jsonb, automation.entries) is
  'Does the rule let somebody in who was let in before, then?';

-- Asked by capture of a record that changed, so that a nightly import does not fill the history with
-- refusals; what it lets through is asked again, for good, before the first step.
create or replace function automation.may_enter_again(
  listener automation.active_triggers, record_id text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.may_enter(listener.reentry, automation.last_entry(
      listener.tenant_id, listener.workflow_id,
      automation.record_key(listener.entity, may_enter_again.record_id), may_enter_again.record_id))
  $$;

-- Lets a run in and remembers it, or says why not. Two runs of one key are asked one after the other:
-- while the other's transaction is open this one is put off.
create or replace function automation.refuse_entry(
  execution public.workflow_executions, lifecycle jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key constant text := automation.entry_key(execution, lifecycle);
  entry automation.entries;
begin
  if key is null then
    return null;
  elsif not pg_try_advisory_xact_lock(hashtextextended(
    concat_ws('/', execution.tenant_id, execution.workflow_id, key), 11)) then
    raise exception 'somebody with the same key is entering right now' using errcode = 'lock_not_available';
  end if;
  entry := automation.last_entry(
    execution.tenant_id, execution.workflow_id, key, execution.record_id, execution.id);
  if not automation.may_enter(lifecycle -> 'reentry', entry) then
    return jsonb_build_object(
      'code', 'already_entered', 'policy', lifecycle #> '{reentry,policy}',
      'message', format('entered on %s already; re-entry: %s',
        to_char(entry.entered_at, 'YYYY-MM-DD HH24:MI'), concat_ws(' ',
          lifecycle #>> '{reentry,policy}', lifecycle #>> '{reentry,within}')),
      'execution_id', entry.execution_id);
  end if;
  insert into automation.entries (tenant_id, workflow_id, key, execution_id, entered_at)
  values (execution.tenant_id, execution.workflow_id, key, execution.id, automation.now())
  on conflict on constraint entries_pkey do update
    set execution_id = excluded.execution_id, entered_at = excluded.entered_at;
  return null;
end;
$$;

comment on function automation.refuse_entry(public.workflow_executions, jsonb) is
  'Asked once, before the first step of a run: null lets it in, otherwise the reason it is skipped.';

-- sql/06_executions/06_exits.sql

-- What ends a run early, and what wakes one that waits for an event.
--
-- Lock order: run_signals() reads the queue's and executions' rows from the other end (it starts from
-- an event, not from a queue row). It therefore waits for neither: what somebody else holds is tried again
-- a second later, and until then the unread signal itself keeps the run from going on.

create table automation.run_events (
  tenant_id uuid not null,
  execution_id uuid not null,
  step_key text not null,
  event text not null,
  record jsonb,
  at timestamptz not null,
  seq bigint not null,
  written_by xid8 not null,
  constraint run_events_pkey primary key (tenant_id, execution_id, step_key),
  constraint run_events_execution_fk foreign key (tenant_id, execution_id)
    references public.workflow_executions (tenant_id, id) on delete cascade
);

comment on table automation.run_events is
  'The last event that a run received for a step that waits for one, come or still to come.';

-- Does an event concern a run? One about a record that the run knows as its own must be that one: when
-- the customer's other project is won, this one's follow-up goes on.
create or replace function automation.concerns(
  signal automation.signals, execution public.workflow_executions)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when not automation.came_after(
        signal.seq, signal.written_by, execution.seq, execution.written_by, execution.seen) then false
      when signal.role = 'deleted' then
        execution.entity = signal.entity and execution.record_id = signal.record_id
        or execution.contact_id = signal.contact_id
      when signal.workflow_id <> execution.workflow_id or signal.version <> execution.version then false
      when not signal.by_contact
        and execution.trigger_data ->> (signal.entity || '_id') is not null
        then execution.trigger_data ->> (signal.entity || '_id') = signal.record_id
      else execution.contact_id = signal.contact_id
    end
  $$;

-- Two index probes into a table that is next to empty.
create or replace function automation.unread_signals(execution public.workflow_executions)
  returns setof automation.signals
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
    select s.* from automation.signals as s
    where s.contact_id = execution.contact_id and s.tenant_id = execution.tenant_id
      and automation.concerns(s, execution)
    union all
    select s.* from automation.signals as s
    where s.record_id = execution.record_id and s.tenant_id = execution.tenant_id
      and s.contact_id is distinct from execution.contact_id
      and automation.concerns(s, execution)
  $$;

create or replace function automation.ending_reason(signal automation.signals) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case signal.role
      when 'deleted' then jsonb_build_object(
        'code', 'record_deleted', 'message', format('the %s was deleted', signal.entity))
      else jsonb_build_object(
        'code', 'exit_event', 'message', format('the workflow ends a run at %s', signal.event),
        'event', signal.event, 'entity', signal.entity, 'record_id', signal.record_id)
    end
  $$;

create type automation.obstacle as (
  status public.automation_status,
  reason jsonb
);

comment on type automation.obstacle is 'What keeps a run from going on; nulls: nothing.';

-- Asked with the execution locked, before each of its steps: volatile, so that it sees what has
-- committed up to now.
create or replace function automation.find_obstacle(
  execution public.workflow_executions, lifecycle jsonb)
  returns automation.obstacle
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  signal automation.signals;
  refusal jsonb;
begin
  select s.* into signal from automation.unread_signals(execution) as s where s.role <> 'wait' limit 1;
  if found then
    return row('cancelled', automation.ending_reason(signal))::automation.obstacle;
  elsif lifecycle is null then
    return null;
  elsif lifecycle ? 'exit' and automation.evaluate_conditions(
    lifecycle -> 'exit', automation.execution_context(execution, lifecycle #> '{exit,roots}'),
    automation.tenant_zone(execution.tenant_id)) then
    return row('cancelled', jsonb_build_object(
      'code', 'exit_conditions', 'message', 'the exit conditions of the workflow were met',
      'conditions', automation.explain_conditions(
        lifecycle -> 'exit', automation.execution_context(execution, lifecycle #> '{exit,roots}'),
        automation.tenant_zone(execution.tenant_id))))::automation.obstacle;
  elsif execution.started_at is null and lifecycle ? 'reentry' then
    refusal := automation.refuse_entry(execution, lifecycle);
    if refusal is not null then
      return row('skipped', refusal)::automation.obstacle;
    end if;
  end if;
  return null;
end;
$$;

-- Ends a run that is not being worked on. A queue row that somebody holds is left to them: they wait
-- for the execution, and will find it ended.
create or replace function automation.stop_execution(
  execution public.workflow_executions, status public.automation_status, reason jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from public.scheduled_steps as s
  where s.tenant_id = execution.tenant_id
    and s.id in (
      select q.id from public.scheduled_steps as q
      where q.tenant_id = execution.tenant_id and q.execution_id = execution.id
        and q.lease_expires_at is null
      for update skip locked);
  update public.workflow_step_executions as s
  set status = 'cancelled', finished_at = automation.now()
  where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
    and s.status in ('pending', 'waiting');
  perform automation.end_execution(execution, status, reason);
end;
$$;

create or replace function automation.open_runs(signal automation.signals) returns setof uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select e.id from public.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.record_id = signal.contact_id::text
      and e.entity = 'contact' and e.finished_at is null
    union
    select e.id from public.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.contact_id = signal.contact_id
      and e.entity <> 'contact' and e.finished_at is null
    union
    select e.id from public.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.record_id = signal.record_id
      and e.entity = signal.entity and e.finished_at is null
  $$;

create or replace function automation.note_event(
  signal automation.signals, execution public.workflow_executions)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.run_events as r (
      tenant_id, execution_id, step_key, event, record, at, seq, written_by)
    values (execution.tenant_id, execution.id, signal.listener, signal.event, signal.record, signal.at,
      signal.seq, signal.written_by)
    on conflict on constraint run_events_pkey do update
      set event = excluded.event, record = excluded.record, at = excluded.at, seq = excluded.seq,
        written_by = excluded.written_by
      where r.seq < excluded.seq;
    update public.scheduled_steps as s
    set run_at = least(s.run_at, automation.now())
    where s.tenant_id = execution.tenant_id
      and s.id in (
        select q.id from public.scheduled_steps as q
        where q.tenant_id = execution.tenant_id and q.execution_id = execution.id
          and q.step_key = signal.listener
        for update skip locked);
  $$;

create or replace function automation.act_on(signal automation.signals) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  open_run uuid;
  execution public.workflow_executions;
begin
  for open_run in select r from automation.open_runs(signal) as r loop
    select e.* into strict execution from public.workflow_executions as e
    where e.tenant_id = signal.tenant_id and e.id = open_run
    for no key update nowait;
    if automation.is_finished(execution) or not automation.concerns(signal, execution) then
      continue;
    elsif signal.role = 'wait' then
      perform automation.note_event(signal, execution);
    else
      perform automation.stop_execution(execution, 'cancelled', automation.ending_reason(signal));
    end if;
  end loop;
end;
$$;

-- Acts on an event and lets it go, or keeps it where a transaction that is still open may have enrolled a run
-- without knowing of it. Who is open is asked first: what they have written by then is seen afterwards.
create or replace function automation.read_signal(signal automation.signals) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  present constant pg_snapshot := pg_current_snapshot();
  others_write constant boolean := exists (
    select from pg_snapshot_xip(present) as x (id) where x.id < coalesce(signal.kept_for, pg_snapshot_xmax(present)));
begin
  perform automation.act_on(signal);
  if others_write then
    update automation.signals as s set kept_for = coalesce(s.kept_for, pg_snapshot_xmax(present))
    where s.tenant_id = signal.tenant_id and s.id = signal.id;
  else
    delete from automation.signals as s where s.tenant_id = signal.tenant_id and s.id = signal.id;
  end if;
end;
$$;

create or replace function automation.try_signal(signal automation.signals) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.read_signal(signal);
  return true;
exception
  when lock_not_available then
    update automation.signals as s set next_try_at = clock_timestamp() + interval '1 second', kept_for = null
    where s.tenant_id = signal.tenant_id and s.id = signal.id;
    return false;
  when others then
    raise warning 'signal % of tenant %: %', signal.id, signal.tenant_id, sqlerrm;
    update automation.signals as s set next_try_at = clock_timestamp() + interval '1 minute', kept_for = null
    where s.tenant_id = signal.tenant_id and s.id = signal.id;
    return false;
end;
$$;

create or replace function automation.run_signals(max_signals integer default 200) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
declare
  signal automation.signals;
  ran integer := 0;
begin
  for signal in
    select s.* from automation.signals as s
    where s.kept_for is null and s.next_try_at <= clock_timestamp()
    order by s.next_try_at
    limit max_signals
    for update skip locked
  loop
    ran := ran + automation.try_signal(signal)::integer;
  end loop;
  for signal in
    select s.* from automation.signals as s
    where s.kept_for <= pg_snapshot_xmin(pg_current_snapshot())
    order by s.kept_for
    limit max_signals
    for update skip locked
  loop
    perform automation.try_signal(signal);
  end loop;
  return ran;
end;
$$;

comment on function automation.run_signals(integer) is
  'Ends the runs that an event or a deletion ends, and wakes those that waited for it. Returns how many '
  'signals were read. Called before database steps are run.';

-- sql/06_executions/07_skip_codes.sql

-- Why a step was not carried out though its turn had come, and what that means to the office. A run
-- goes on after a skip and may end as completed, so nobody would ever learn that a message did not go out:
-- public.automation_skipped_sends and public.automation_failures (chapter 13) tell, by these codes.

create table automation.skip_codes (
  code text constraint skip_codes_pkey primary key,
  counts_as text not null
    constraint skip_codes_counts_as_known check (counts_as in ('failure', 'refusal', 'choice')),
  description text not null
);

comment on table automation.skip_codes is
  'The code of every skip. A chapter that skips for a reason of its own adds it here; one that is missing '
  'counts as a failure.';
comment on column automation.skip_codes.counts_as is
  'failure: somebody should have got something and could not. refusal: who was to get it does not want it. '
  'choice: the workflow itself said so.';

insert into automation.skip_codes (code, counts_as, description) values
  ('no_recipient', 'failure', 'There is no phone number or address to send to.'),
  ('invalid_recipient', 'failure', 'What stands where the recipient should is no phone number or address.'),
  ('suppressed', 'refusal', 'The recipient has opted out, or the provider says that nothing reaches them.'),
  ('conditions_not_met', 'choice', 'The conditions of the step did not hold.');

-- sql/07_queue/01_tables.sql

-- 07 QUEUE
--
-- scheduled_steps holds only what is still to happen: one row for the next step of each execution
-- that has one. A row is inserted when a step is scheduled and deleted when the step has ended, so
-- the table stays as small as the work ahead of it.
--
--   due        run_at has come and nobody holds it
--   claimed    a dispatcher holds a lease: attempt_token, lease_expires_at. Whoever reports the
--              outcome must present the token, so a late worker changes nothing.
--   expired    the lease ran out; the reaper hands the row back, marked for reconciliation
--
-- Lanes: steps of 'database' run inside Postgres in one transaction with their ledger row and
-- are never leased; those of a channel (sms, email, webhook) are leased to a dispatcher.
--
-- run_at is business time (automation.now()); leases are real time (clock_timestamp()).

create table public.scheduled_steps (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  execution_id uuid not null,
  step_key text not null,
  lane public.automation_lane not null,
  run_at timestamptz not null,
  attempt smallint not null default 0,
  attempt_token uuid,
  leased_by text,
  leased_at timestamptz,
  lease_expires_at timestamptz,
  reconcile_since timestamptz,
  constraint scheduled_steps_pkey primary key (tenant_id, id),
  constraint scheduled_steps_execution_fk foreign key (tenant_id, execution_id)
    references public.workflow_executions (tenant_id, id) on delete cascade,
  constraint scheduled_steps_lease_is_whole check (
    (attempt_token is null) = (lease_expires_at is null)
    and (attempt_token is null) = (leased_at is null)
    and (attempt_token is null or lane <> 'database'))
) with (
  fillfactor = 80,
  autovacuum_vacuum_scale_factor = 0.02,
  autovacuum_vacuum_threshold = 500,
  autovacuum_vacuum_insert_scale_factor = 0.1,
  autovacuum_analyze_scale_factor = 0.05,
  autovacuum_vacuum_cost_delay = 0
);

comment on table public.scheduled_steps is
  'What is still to happen. A row leaves when its step has ended; history is elsewhere.';
comment on column public.scheduled_steps.id is
  'Becomes the id of the step execution, and with it the idempotency key of every attempt.';
comment on column public.scheduled_steps.attempt_token is
  'The fence: an outcome is accepted only with the token of the attempt that holds the lease.';
comment on column public.scheduled_steps.reconcile_since is
  'An attempt since then may have been accepted by the provider: look it up before sending again.';

-- The claim asks twice, and each question has an index that matches its filter and its order:
-- which tenants have due work (oldest first), and what is due for one tenant.
create index scheduled_steps_due
  on public.scheduled_steps (lane, run_at, tenant_id) where lease_expires_at is null;
create index scheduled_steps_due_by_tenant
  on public.scheduled_steps (lane, tenant_id, run_at, id) where lease_expires_at is null;
create index scheduled_steps_leased
  on public.scheduled_steps (lease_expires_at) where lease_expires_at is not null;
create index scheduled_steps_by_execution
  on public.scheduled_steps (execution_id, tenant_id);

-- WORK UNDER WAY
--
-- What is about to be worked on is written down and committed before it is touched, a set at a time; the
-- row goes in the transaction that did the work. One that stays tells of work that never came to its end: a
-- crash, a lost connection, a timeout. See 06_portions.

create table automation.portions (
  id uuid not null default automation.new_id() constraint portions_pkey primary key,
  lane public.automation_lane not null,
  tenant_ids uuid[] not null,
  step_ids uuid[] not null,
  place integer not null default 1,
  started_at timestamptz not null default clock_timestamp(),
  constraint portions_is_whole check (cardinality(tenant_ids) = cardinality(step_ids))
);

comment on table automation.portions is
  'Scheduled steps that somebody is working on or is about to. Whoever works on one holds its row; a row '
  'that nobody holds is of work that was cut off.';
comment on column automation.portions.place is
  'The steps before this one are done. Those that are left when the work is cut off are tried alone.';

create table automation.suspects (
  tenant_id uuid not null,
  kind text not null
    constraint suspects_kind_known
    check (kind in ('database', 'sms', 'email', 'webhook', 'timer', 'schedule', 'bulk', 'signal')),
  key text not null,
  tries integer not null default 0,
  next_try_at timestamptz not null default clock_timestamp(),
  constraint suspects_pkey primary key (tenant_id, kind, key)
);

comment on table automation.suspects is
  'Work during which a transaction was cut off, so that it is tried alone and not for ever.';
comment on column automation.suspects.tries is
  'How often it was cut off with nothing else in its transaction; 0: it was only in the company.';

-- sql/07_queue/02_due.sql

-- Finding due work: first the tenants, then the rows of each, so that no tenant waits behind
-- another's backlog.
--
-- A session keeps the plan it made while the queue was empty, when reading the whole table looked
-- cheapest. The functions that read the queue by its order therefore rule that plan out.

-- Without a backlog the oldest due rows are all the due rows and name every tenant. With one, a
-- loose index scan hops from tenant to tenant, from a random place on. Where it stops before it has
-- been round (more than 500 tenants have something queued), the tenants of the oldest fifty thousand
-- due rows are looked through too, so that nobody waits behind another's backlog.
--
-- Plans: the functions here are held to the index that each query was given. Switching the other
-- ways of reading off makes them look so costly that Postgres 15 to 18 would compile what is left
-- (measured: 100 ms a call instead of 1), so jit goes off with them.
create or replace function automation.due_tenants(lane public.automation_lane, at_most integer)
  returns uuid[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
declare
  at constant timestamptz := automation.now();
  look_ahead constant integer := 4 * at_most;
  tenants uuid[];
  seen integer;
  hopped record;
begin
  select array_agg(t.tenant_id order by t.oldest), coalesce(sum(t.steps), 0) into tenants, seen
  from (
    select h.tenant_id, min(h.run_at) as oldest, count(*) as steps
    from (
      select s.tenant_id, s.run_at
      from public.scheduled_steps as s
      where s.lane = due_tenants.lane and s.lease_expires_at is null and s.run_at <= at
      order by s.run_at
      limit look_ahead
    ) as h
    group by h.tenant_id
  ) as t;
  if seen < look_ahead then
    return tenants;
  end if;
  hopped := automation.hop_tenants(lane, at, gen_random_uuid(), at_most);
  tenants := automation.merge_tenants(tenants, hopped.tenants, at_most);
  if not hopped.complete and cardinality(tenants) < at_most then
    tenants := automation.merge_tenants(
      tenants, automation.tenants_behind(lane, at, tenants), at_most);
  end if;
  return tenants;
end;
$$;

comment on function automation.due_tenants(public.automation_lane, integer) is
  'Tenants with due work in a lane, those that have waited longest first where that is cheap to '
  'tell; null when there is none.';

-- Those that have waited longest keep their place; when there are more than places, the others take
-- turns by lot.
create or replace function automation.merge_tenants(first uuid[], others uuid[], at_most integer)
  returns uuid[]
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(m.tenant_id order by m.place)
    from (
      select t.tenant_id,
        case when count(*) over () <= at_most then t.place else random() end as place
      from (
        select u.tenant_id, min(u.place)::double precision as place
        from unnest(first || others) with ordinality as u (tenant_id, place)
        group by u.tenant_id
      ) as t
      order by 2
      limit at_most
    ) as m
  $$;

create or replace function automation.tenants_behind(
  lane public.automation_lane, at timestamptz, found uuid[])
  returns uuid[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
    select array_agg(distinct d.tenant_id)
    from (
      select s.tenant_id
      from public.scheduled_steps as s
      where s.lane = tenants_behind.lane and s.lease_expires_at is null and s.run_at <= at
      order by s.run_at
      limit 50000
    ) as d
    where d.tenant_id <> all (found)
  $$;

create or replace function automation.hop_tenants(
  lane public.automation_lane, at timestamptz, start uuid, at_most integer,
  out tenants uuid[], out complete boolean)
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
    with recursive hop as (
      select automation.next_tenant(hop_tenants.lane, start) as tenant_id, 1 as hops, 1 as lap
      union all
      -- Past the last tenant the second lap begins, up to where the first one started.
      select n.tenant_id, h.hops + 1, n.lap
      from hop as h
      cross join lateral (
        select case when h.tenant_id is null then 2 else h.lap end as lap,
          automation.next_tenant(
            hop_tenants.lane,
            coalesce(h.tenant_id, '00000000-0000-0000-0000-000000000000')) as tenant_id
      ) as n
      where h.hops < 500
        and (h.lap = 1 or h.tenant_id is not null)
        and (n.lap = 1 or n.tenant_id <= start)
    )
    select
      (select array_agg(d.tenant_id)
       from (
         select h.tenant_id from hop as h
         where automation.oldest_of(hop_tenants.lane, h.tenant_id) <= at
         order by h.hops
         limit at_most
       ) as d),
      (select max(h.hops) < 500 from hop as h)
  $$;

comment on function automation.hop_tenants(
  public.automation_lane, timestamptz, uuid, integer) is
  'Tenants with due work, found by hopping along the index from start. complete: it has been round.';

create or replace function automation.next_tenant(lane public.automation_lane, after uuid) returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_incremental_sort = off
  as $$
    -- In the order that only scheduled_steps_due_by_tenant has: the primary key leads with the
    -- tenant too, and would read past all that the tenant has in the other lane.
    select s.tenant_id
    from public.scheduled_steps as s
    where s.lane = next_tenant.lane and s.tenant_id > after and s.lease_expires_at is null
    order by s.tenant_id, s.run_at, s.id
    limit 1
  $$;

-- In the order of the same index, for the same reason.
create or replace function automation.oldest_of(lane public.automation_lane, tenant_id uuid)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  set enable_sort = off
  set enable_incremental_sort = off
  as $$
    select s.run_at
    from public.scheduled_steps as s
    where s.lane = oldest_of.lane and s.tenant_id = oldest_of.tenant_id
      and s.lease_expires_at is null
    order by s.run_at, s.id
    limit 1
  $$;

-- Locks due rows of one tenant, skipping what others are working on.
create or replace function automation.lock_due_of(
  lane public.automation_lane, tenant_id uuid, at_most integer, taken uuid[])
  returns setof public.scheduled_steps
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  set enable_sort = off
  as $$
    select s.*
    from public.scheduled_steps as s
    where s.lane = lock_due_of.lane
      and s.tenant_id = lock_due_of.tenant_id
      and s.lease_expires_at is null
      and s.run_at <= automation.now()
      and s.id <> all (taken)
    order by s.run_at, s.id
    limit at_most
    for update skip locked
  $$;

create or replace function automation.without(ids uuid[], but uuid[]) returns uuid[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array_agg(i.id order by i.place)
    from unnest(ids) with ordinality as i (id, place)
    where i.id <> all (but)
  $$;

-- What ordinary work leaves alone: steps that are tried alone, and those somebody is about to work on.
create or replace function automation.set_aside(lane public.automation_lane) returns uuid[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(a.id), '{}')
    from (
      select automation.as_uuid(s.key) as id from automation.suspects as s where s.kind = set_aside.lane::text
      union all
      select i from automation.portions as p cross join unnest(p.step_ids) as i
      where p.lane = set_aside.lane
    ) as a
  $$;

create or replace function automation.lock_due(
  lane public.automation_lane, at_most integer, but uuid[] default '{}')
  returns setof public.scheduled_steps
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenants uuid[] := automation.without(automation.due_tenants(lane, at_most + cardinality(but)), but);
  share integer := greatest(1, at_most / greatest(cardinality(tenants), 1));
  hungry uuid[];
  aside constant uuid[] := automation.set_aside(lane);
  taken uuid[] := array[]::uuid[];
  tenant uuid;
  before integer;
  due public.scheduled_steps;
begin
  -- Equal shares first; what some leave of theirs goes to those who have more.
  while tenants is not null and cardinality(taken) < at_most loop
    hungry := null;
    foreach tenant in array tenants loop
      before := cardinality(taken);
      for due in select * from automation.lock_due_of(
        lane, tenant, least(share, at_most - before), aside || taken) loop
        taken := taken || due.id;
        return next due;
      end loop;
      if cardinality(taken) - before = share then
        hungry := hungry || tenant;
      end if;
      exit when cardinality(taken) = at_most;
    end loop;
    tenants := hungry;
    share := at_most;
  end loop;
end;
$$;

comment on function automation.lock_due(public.automation_lane, integer, uuid[]) is
  'Locks due rows of a lane, an equal share for each tenant that has any (but for some), then what is left '
  'to those that have more. Rows that others hold are skipped. Fewer than asked for: there are no more.';

create or replace function automation.next_due_at(lane public.automation_lane) returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
    select s.run_at from public.scheduled_steps as s
    where s.lane = next_due_at.lane and s.lease_expires_at is null
    order by s.run_at
    limit 1
  $$;

create or replace function automation.next_due_at() returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select min(automation.next_due_at(l))
    from unnest(automation.channels() || 'database'::public.automation_lane) as l
  $$;

comment on function automation.next_due_at() is
  'When the next step is due; null when nothing is scheduled.';

-- sql/07_queue/03_prepare.sql

-- What both lanes do before a step runs: decide whether it runs at all, and render it.

create type automation.prepared_step as (
  verdict text,
  input jsonb,
  reason jsonb,
  warnings jsonb,
  recipient text
);

comment on type automation.prepared_step is
  'verdict: run, skip or fail; reason: {code, message} for the last two.';

-- How this tenant writes times, numbers and money; only what becomes HTML is escaped.
create or replace function automation.render_options(
  tenant_id uuid, at timestamptz default automation.now())
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'zone', t.timezone, 'locale', t.settings -> 'locale', 'currency', t.settings -> 'currency',
      'now', at, 'html_paths', '["html"]'::jsonb))
    from public.tenants as t
    where t.id = render_options.tenant_id
  $$;

create or replace function automation.prepare_step(
  execution public.workflow_executions, step jsonb, at timestamptz default automation.now())
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  prepared automation.prepared_step;
  options constant jsonb := automation.render_options(execution.tenant_id, at)
    || jsonb_build_object('on_missing', step -> 'on_missing');
  context constant jsonb := automation.execution_context(execution, step -> 'roots');
begin
  prepared.verdict := 'run';
  if jsonb_typeof(step -> 'conditions') = 'object' and not automation.evaluate_conditions(
    step -> 'conditions', context, options ->> 'zone', at) then
    prepared.verdict := 'skip';
    prepared.reason := jsonb_build_object(
      'code', 'conditions_not_met', 'message', 'the conditions of the step were not met');
    return prepared;
  end if;
  select r.rendered, nullif(r.warnings, '[]') into prepared.input, prepared.warnings
  from automation.render(step -> 'config', context, options) as r;
  if prepared.input is null and step ? 'on_missing' then
    prepared.verdict := 'fail';
    prepared.reason := automation.missing_reason(prepared.warnings);
    return prepared;
  end if;
  if step ->> 'lane' <> 'database' then
    prepared := automation.address(execution, step ->> 'type', prepared);
  end if;
  return prepared;
end;
$$;

comment on function automation.prepare_step(public.workflow_executions, jsonb, timestamptz) is
  'Evaluates the conditions of a step and renders its configuration, as of a time. Writes nothing.';

create or replace function automation.missing_reason(warnings jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'code', 'missing_variable',
      'message', 'no value for ' || string_agg(
        format('%s (%s)', w ->> 'variable', w ->> 'path'), ', ')
        || '; the workflow asks for failure then')
    from jsonb_array_elements(warnings) as w
    where w ->> 'code' = 'missing_variable'
  $$;

-- A step that did not run leaves its reason in the ledger like one that did.
create or replace function automation.record_step_end(
  execution public.workflow_executions, step jsonb, step_id uuid,
  status public.automation_status, prepared automation.prepared_step, result jsonb, error jsonb,
  started_at timestamptz, duration_ms integer default null,
  seq bigint default nextval('automation.write_order'))
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into public.workflow_step_executions as s (
      tenant_id, id, execution_id, step_key, step_type, status, input, result_data, error,
      warnings, recipient, started_at, finished_at, duration_ms, seq)
    values (
      execution.tenant_id, step_id, execution.id, step ->> 'key', step ->> 'type',
      record_step_end.status, prepared.input, result, record_step_end.error, prepared.warnings,
      prepared.recipient, record_step_end.started_at, automation.now(),
      record_step_end.duration_ms, record_step_end.seq)
    on conflict on constraint workflow_step_executions_once do update
      set status = excluded.status, input = excluded.input, result_data = excluded.result_data,
        error = excluded.error, warnings = excluded.warnings, recipient = excluded.recipient,
        finished_at = excluded.finished_at, duration_ms = excluded.duration_ms
      where s.status not in ('completed', 'skipped', 'cancelled')
  $$;

comment on function automation.record_step_end(
  public.workflow_executions, jsonb, uuid, public.automation_status, automation.prepared_step, jsonb, jsonb,
  timestamptz, integer, bigint) is
  'Writes the ledger row of a step that ended without being leased. A failed one is overwritten '
  'when the step is run again; one that completed never is.';

create or replace function automation.unschedule(due public.scheduled_steps) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from public.scheduled_steps as s
    where s.tenant_id = due.tenant_id and s.id = due.id
  $$;

-- sql/07_queue/04_claim.sql

-- Claiming: a dispatcher takes due steps of a channel under a lease. Consent is checked here, in the
-- transaction that claims: once a STOP has committed, nothing unclaimed goes out.

create type automation.claimed_step as (
  tenant_id uuid,
  step_id uuid,
  attempt_token uuid,
  attempt integer,
  step_type text,
  payload jsonb,
  idempotency_key text,
  lease_expires_at timestamptz,
  reconcile_since timestamptz,
  known_provider_ids text[]
);

create or replace function automation.check_lease(lease interval) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if lease is null or lease < interval '1 second' or lease > interval '1 hour' then
    raise exception 'lease: an interval from 1 second to 1 hour is needed'
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

create or replace function automation.claim_steps(
  worker text, max_steps integer, lease interval default '60 seconds')
  returns setof automation.claimed_step
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  channel public.automation_lane;
  due public.scheduled_steps;
  attempt record;
  claimed automation.claimed_step;
  found_any boolean := false;
  taken integer := 0;
  closed integer;
  rounds integer := 0;
begin
  if max_steps is null or max_steps not between 1 and 1000 then
    raise exception 'max_steps: a number from 1 to 1000 is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  perform automation.check_lease(lease);
  -- An equal share for each channel first. Steps that are closed unsent (an opt-out, a cancelled run) make
  -- room for others.
  loop
    closed := 0;
    foreach channel in array automation.channels() loop
      for due in select * from automation.lock_due(channel, case rounds
        when 0 then least(greatest(max_steps / 3, 1), max_steps - taken) else max_steps - taken end) loop
        found_any := true;
        attempt := automation.claim_or_close(due, worker, lease);
        claimed := attempt.claimed;
        if claimed.step_id is null then
          closed := closed + 1;
        else
          taken := taken + 1;
          return next claimed;
        end if;
        if attempt.cut_off then
          return;
        end if;
      end loop;
    end loop;
    rounds := rounds + 1;
    exit when taken = max_steps or rounds = 10 or rounds > 1 and closed = 0;
  end loop;
  -- What cut others off is tried when there is nothing else.
  if not found_any then
    for due in select s.* from unnest(automation.channels()) as c, automation.lock_suspect(c) as s loop
      attempt := automation.claim_or_close(due, worker, lease);
      claimed := attempt.claimed;
      if claimed.step_id is not null then
        return next claimed;
      end if;
      exit when attempt.cut_off;
      perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
    end loop;
  end if;
end;
$$;

comment on function automation.claim_steps(text, integer, interval) is
  'Claims up to max_steps due sends and webhooks, fairly between tenants, rendered and ready to '
  'go. lease (1 second to 1 hour): how long the caller has to report with finish_steps. Fewer than '
  'asked for: nothing more is due that nobody holds.';

-- One due step: claimed, or closed unsent. One that is broken must not keep the others from being claimed.
create or replace function automation.claim_or_close(
  due public.scheduled_steps, worker text, lease interval,
  out claimed automation.claimed_step, out cut_off boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  cut_off := false;
  begin
    claimed := automation.claim_step(due, worker, lease);
    return;
  exception
    when lock_not_available then
      perform automation.yield_step(due);
    when query_canceled then
      cut_off := true;
      perform automation.note_cut_off(due);
    when others then
      perform automation.fail_step(due, automation.engine_error('step_failed', sqlstate, sqlerrm));
  end;
  claimed := null;
end;
$$;

create or replace function automation.claim_step(
  due public.scheduled_steps, worker text, lease interval)
  returns automation.claimed_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution public.workflow_executions := automation.lock_execution(due.tenant_id, due.execution_id);
  plan jsonb;
  step jsonb;
  obstacle automation.obstacle;
  ledger public.workflow_step_executions;
begin
  if automation.is_finished(execution) then
    perform automation.unschedule(due);
    return null;
  end if;
  plan := automation.plan_of(execution);
  obstacle := automation.find_obstacle(execution, plan -> 'lifecycle');
  if obstacle.status is not null then
    perform automation.stop_execution(execution, obstacle.status, obstacle.reason);
    return null;
  end if;
  step := plan -> 'steps' -> due.step_key;
  ledger := automation.open_ledger(due, execution, step);
  if ledger.status <> 'running' then
    return null;
  end if;
  perform automation.mark_running(execution, due.step_key);
  return automation.lease_step(due, ledger, worker, lease);
end;
$$;

-- The ledger row of an outbound step: rendered once, on the first attempt, and from then on what
-- every attempt sends. Consent is asked for on every attempt.
create or replace function automation.open_ledger(
  due public.scheduled_steps, execution public.workflow_executions, step jsonb)
  returns public.workflow_step_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ledger public.workflow_step_executions;
  prepared automation.prepared_step;
begin
  select s.* into ledger from public.workflow_step_executions as s
  where s.tenant_id = due.tenant_id and s.id = due.id
  for update;
  if ledger.input is not null then
    prepared := automation.recheck_sender(
      due.tenant_id, step ->> 'type', row('run', ledger.input, null, ledger.warnings, ledger.recipient));
  else
    prepared := automation.prepare_step(execution, step);
  end if;
  if prepared.verdict = 'run' then
    prepared := automation.ask_consent(execution, step ->> 'type', prepared);
  end if;
  if prepared.verdict <> 'run' then
    return automation.close_unsent(due, execution, step, prepared);
  end if;
  insert into public.workflow_step_executions as s (
    tenant_id, id, execution_id, step_key, step_type, status, input, warnings, recipient,
    started_at)
  values (
    due.tenant_id, due.id, due.execution_id, due.step_key, step ->> 'type', 'running',
    prepared.input, prepared.warnings, prepared.recipient, automation.now())
  on conflict on constraint workflow_step_executions_pkey do update
    set status = 'running', input = excluded.input, warnings = excluded.warnings,
      recipient = excluded.recipient, error = null, finished_at = null
  returning * into ledger;
  return ledger;
end;
$$;

create or replace function automation.close_unsent(
  due public.scheduled_steps, execution public.workflow_executions, step jsonb,
  prepared automation.prepared_step)
  returns public.workflow_step_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  status constant public.automation_status :=
    case prepared.verdict when 'skip' then 'skipped' else 'failed' end::public.automation_status;
  ledger public.workflow_step_executions;
begin
  perform automation.unschedule(due);
  perform automation.record_step_end(
    execution, step, due.id, status, prepared, null, prepared.reason, automation.now());
  perform automation.advance(execution, step, status, null, prepared.reason);
  ledger.status := status;
  return ledger;
end;
$$;

create or replace function automation.lease_step(
  due public.scheduled_steps, ledger public.workflow_step_executions, worker text, lease interval)
  returns automation.claimed_step
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  claimed automation.claimed_step;
begin
  update public.scheduled_steps as s
  set attempt = s.attempt + 1, attempt_token = gen_random_uuid(), leased_by = left(worker, 200),
    leased_at = clock_timestamp(), lease_expires_at = clock_timestamp() + lease
  where s.tenant_id = due.tenant_id and s.id = due.id
  returning s.tenant_id, s.id, s.attempt_token, s.attempt, ledger.step_type, ledger.input,
    s.id || case when ledger.redrives > 0 then '-' || ledger.redrives else '' end,
    s.lease_expires_at, s.reconcile_since
    into claimed.tenant_id, claimed.step_id, claimed.attempt_token, claimed.attempt,
    claimed.step_type, claimed.payload, claimed.idempotency_key, claimed.lease_expires_at,
    claimed.reconcile_since;
  if claimed.reconcile_since is not null then
    claimed.known_provider_ids := automation.known_provider_ids(ledger, claimed.reconcile_since);
  end if;
  return claimed;
end;
$$;

-- Two workflows may send the same words to the same person: what another step sent is not ours.
create or replace function automation.known_provider_ids(
  ledger public.workflow_step_executions, since timestamptz)
  returns text[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(s.provider_id), '{}')
    from public.workflow_step_executions as s
    where s.tenant_id = ledger.tenant_id and s.recipient = ledger.recipient
      and s.id <> ledger.id and s.provider_id is not null
  $$;

create or replace function automation.fail_step(due public.scheduled_steps, error jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution public.workflow_executions := automation.lock_execution(due.tenant_id, due.execution_id);
  step constant jsonb := coalesce(
    automation.plan_step(execution, due.step_key),
    jsonb_build_object('key', due.step_key, 'type', 'unknown'));
begin
  perform automation.unschedule(due);
  perform automation.record_step_end(
    execution, step, due.id, 'failed', null, null, error, automation.now());
  perform automation.advance(execution, step, 'failed', null, error);
end;
$$;

comment on function automation.fail_step(public.scheduled_steps, jsonb) is
  'Ends a step that could not be worked on, for a reason.';

-- sql/07_queue/05_finish.sql

-- Reporting: what came of a claimed step. The token of the attempt is the fence.

create or replace function automation.finish_steps(results jsonb)
  returns table (step_id uuid, accepted boolean, status text, due_now boolean)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  report jsonb;
  ids uuid[];
  statuses text[];
begin
  if jsonb_typeof(results) is distinct from 'array' then
    raise exception 'results: a JSON array is needed' using errcode = 'invalid_parameter_value';
  end if;
  for report in select r.value from jsonb_array_elements(results) as r loop
    perform automation.check_report(report);
    ids := ids || (report ->> 'step_id')::uuid;
    statuses := statuses || automation.finish_step(report);
  end loop;
  return query
    select f.id, f.status is not null, f.status,
      coalesce(automation.next_due_at() <= automation.now(), false)
    from unnest(ids, statuses) with ordinality as f (id, status, place)
    order by f.place;
end;
$$;

comment on function automation.finish_steps(jsonb) is
  'Reports outcomes: [{tenant_id, step_id, attempt_token, outcome, result?, error?, '
  'retry_after_seconds?, suppress?}], outcome one of succeeded, failed, retry, ambiguous. '
  'accepted is false when the token no longer holds the lease; nothing was changed then. '
  'due_now: work of any kind is due now and nobody''s.';

create or replace function automation.check_report(report jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  foreach key in array array['tenant_id', 'step_id', 'attempt_token'] loop
    if automation.as_uuid(report ->> key) is null then
      raise exception 'results[].%: a UUID is needed', key
        using errcode = 'invalid_parameter_value';
    end if;
  end loop;
  if coalesce(report ->> 'outcome', '') not in ('succeeded', 'failed', 'retry', 'ambiguous') then
    raise exception 'results[].outcome: succeeded, failed, retry or ambiguous is needed'
      using errcode = 'invalid_parameter_value';
  elsif report ? 'retry_after_seconds'
    and jsonb_typeof(report -> 'retry_after_seconds') not in ('number', 'null') then
    raise exception 'results[].retry_after_seconds: a number is needed'
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

create or replace function automation.finish_step(report jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due public.scheduled_steps;
  execution public.workflow_executions;
  step jsonb;
begin
  select s.* into due
  from public.scheduled_steps as s
  where s.tenant_id = (report ->> 'tenant_id')::uuid
    and s.id = (report ->> 'step_id')::uuid
    and s.attempt_token = (report ->> 'attempt_token')::uuid
  for update;
  if not found then
    return null;
  end if;
  execution := automation.lock_execution(due.tenant_id, due.execution_id);
  step := automation.plan_step(execution, due.step_key);
  if automation.is_taken(due, report #>> '{result,provider_id}') then
    report := report || '{"outcome": "ambiguous", "error": {"code": "provider_id_taken",
      "message": "this message belongs to another step"}}';
  end if;
  if (report ->> 'suppress')::boolean then
    perform automation.suppress_recipient(due, step ->> 'type', 'provider', report -> 'error');
  end if;
  return case
    when report ->> 'outcome' = 'succeeded' then
      automation.close_step(due, execution, step, 'completed', report)
    when report ->> 'outcome' = 'failed' then
      automation.close_step(due, execution, step, 'failed', report)
    when automation.is_finished(execution) then
      automation.close_step(due, execution, step, 'cancelled', report)
    else automation.try_again(due, execution, step, report)
  end;
end;
$$;

-- Two workers that look the same words up at the same time may find the same message. The second
-- one's step has not been sent then.
create or replace function automation.is_taken(due public.scheduled_steps, provider_id text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from public.workflow_step_executions as s
      where s.tenant_id = due.tenant_id and s.provider_id = is_taken.provider_id
        and s.id <> due.id)
  $$;

create or replace function automation.attempt_entry(due public.scheduled_steps, report jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
      'attempt', due.attempt, 'at', automation.now(), 'outcome', report -> 'outcome',
      'error', report -> 'error', 'worker', due.leased_by))
  $$;

create or replace function automation.close_step(
  due public.scheduled_steps, execution public.workflow_executions, step jsonb,
  status public.automation_status, report jsonb)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ledger public.workflow_step_executions;
  why constant jsonb := coalesce(
    nullif(report -> 'error', 'null'),
    case status when 'failed' then '{"code": "failed", "message": "no reason was given"}'::jsonb end);
begin
  update public.workflow_step_executions as s
  set status = close_step.status, result_data = report -> 'result', error = why,
    attempts = s.attempts || automation.attempt_entry(due, report),
    provider_id = coalesce(report #>> '{result,provider_id}', s.provider_id),
    finished_at = automation.now(),
    duration_ms = extract(epoch from clock_timestamp() - due.leased_at) * 1000
  where s.tenant_id = due.tenant_id and s.id = due.id
  returning * into ledger;
  perform automation.unschedule(due);
  if status = 'completed' then
    perform automation.record_sent(execution, ledger);
  end if;
  perform automation.advance(execution, step, status, ledger.result_data, why);
  return status;
end;
$$;

-- After an attempt that did not get through: another one later, or the end of the step.
create or replace function automation.try_again(
  due public.scheduled_steps, execution public.workflow_executions, step jsonb, report jsonb)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_ambiguous constant boolean := report ->> 'outcome' = 'ambiguous';
  wait constant interval := automation.backoff(
    due.attempt, (report ->> 'retry_after_seconds')::numeric, is_ambiguous, step -> 'retry');
begin
  if due.attempt >= coalesce(
    (step #>> '{retry,max_attempts}')::integer, automation.setting('max_attempts')::integer) then
    return automation.close_step(
      due, execution, step, 'failed', report || jsonb_build_object('error', jsonb_build_object(
        'code', 'attempts_exhausted',
        'message', format('gave up after %s attempts', due.attempt),
        'may_have_been_sent', is_ambiguous or due.reconcile_since is not null,
        'last_error', report -> 'error')));
  end if;
  update public.scheduled_steps as s
  set run_at = automation.now() + wait, attempt_token = null, leased_by = null, leased_at = null,
    lease_expires_at = null,
    reconcile_since = case when is_ambiguous
      then coalesce(s.reconcile_since, s.leased_at) else s.reconcile_since end
  where s.tenant_id = due.tenant_id and s.id = due.id;
  update public.workflow_step_executions as s
  set status = 'waiting', error = report -> 'error',
    attempts = s.attempts || automation.attempt_entry(due, report)
  where s.tenant_id = due.tenant_id and s.id = due.id;
  update public.workflow_executions as e
  set status = 'waiting'
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return 'waiting';
end;
$$;

create or replace function automation.backoff(
  attempt integer, retry_after_seconds numeric, is_ambiguous boolean, retry jsonb default null)
  returns interval
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select greatest(
      random() * least(
        coalesce((retry ->> 'base')::interval, automation.setting('retry_base')::interval)
          * power(2, least(attempt, 30) - 1),
        coalesce((retry ->> 'cap')::interval, greatest(
          automation.setting('retry_cap')::interval, (retry ->> 'base')::interval))),
      case when retry_after_seconds is not null
        then make_interval(secs => least(retry_after_seconds, 86400)::double precision) end,
      case when is_ambiguous then automation.setting('reconcile_delay')::interval end)
  $$;

comment on function automation.backoff(integer, numeric, boolean, jsonb) is
  'How long to wait before the next attempt: exponential with full jitter and a cap; never less '
  'than the provider''s Retry-After (up to a day), nor, after an attempt that may have been '
  'accepted, than the provider needs to list it. retry: what the step itself says of base and cap.';

create or replace function automation.release_steps(steps jsonb) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  released integer;
begin
  if jsonb_typeof(steps) is distinct from 'array' then
    raise exception 'steps: a JSON array is needed' using errcode = 'invalid_parameter_value';
  end if;
  update public.scheduled_steps as s
  set attempt = s.attempt - 1, attempt_token = null, leased_by = null, leased_at = null,
    lease_expires_at = null
  from jsonb_to_recordset(steps) as r (tenant_id uuid, step_id uuid, attempt_token uuid)
  where s.tenant_id = r.tenant_id and s.id = r.step_id and s.attempt_token = r.attempt_token;
  get diagnostics released = row_count;
  update public.workflow_step_executions as s
  set status = 'pending'
  from jsonb_to_recordset(steps) as r (tenant_id uuid, step_id uuid)
  where s.tenant_id = r.tenant_id and s.id = r.step_id and s.status = 'running'
    and exists (
      select from public.scheduled_steps as q
      where q.tenant_id = s.tenant_id and q.id = s.id and q.attempt_token is null);
  return released;
end;
$$;

comment on function automation.release_steps(jsonb) is
  'Hands back claimed steps that were never sent: [{tenant_id, step_id, attempt_token}]. The '
  'attempt does not count.';

-- Expired leases, few at a time and apart from claiming. What the lost worker was about to send may
-- have been accepted, so it is looked up before it is sent again.
create or replace function automation.reap_expired_leases(max_steps integer default 100)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_bitmapscan = off
  as $$
declare
  due public.scheduled_steps;
  reaped integer := 0;
begin
  for due in
    select s.* from public.scheduled_steps as s
    where s.lease_expires_at < clock_timestamp()
    order by s.lease_expires_at
    limit max_steps
    for update skip locked
  loop
    perform automation.finish_step(jsonb_build_object(
      'tenant_id', due.tenant_id, 'step_id', due.id, 'attempt_token', due.attempt_token,
      'outcome', 'ambiguous',
      'error', jsonb_build_object(
        'code', 'lease_expired',
        'message', 'the worker stopped before it reported an outcome')));
    reaped := reaped + 1;
  end loop;
  return reaped;
end;
$$;

comment on function automation.reap_expired_leases(integer) is
  'Takes steps back from workers that stopped reporting. Returns how many.';

-- sql/07_queue/06_portions.sql

-- Portions: work that has a budget.
--
-- Whatever is done for many at once is done in portions, each its own transaction, short enough that no
-- user waits for one. What a portion is about to do is committed first (automation.portions), so that a
-- transaction that never ends well, whatever stopped it, leaves the names of those it was working on:
--
--   cut off in company   a portion of several: each of those left is tried alone, next
--   cut off alone        counted, left alone for a while, and after max_cut_offs times failed
--
-- A statement that is cancelled (statement_timeout, a dispatcher that gave up) is caught where the step is
-- run, which tells the culprit at once and lets what was done before it commit. Catching one uses the
-- timeout up: whoever catches it stops working.

-- The functions that read the queue are held to its indexes, as in 02_due: a session keeps the plan that it
-- made while the queue was empty.

-- How long a portion may work before it commits. A user who wants a row that it holds waits no longer.
create or replace function automation.portion_length() returns interval
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select interval '200 milliseconds' $$;

create or replace function automation.is_over(since timestamptz) returns boolean
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$ select clock_timestamp() > since + automation.portion_length() $$;

comment on function automation.is_over(timestamptz) is 'Has a portion that began then had its time?';

-- How often that was, with this time.
create or replace function automation.suspect(tenant_id uuid, kind text, key text) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pause constant interval := automation.setting('cut_off_pause')::interval;
  tried integer;
begin
  insert into automation.suspects as s (tenant_id, kind, key, tries, next_try_at)
  values (tenant_id, kind, key, 1, clock_timestamp() + pause)
  on conflict on constraint suspects_pkey do update
    set tries = s.tries + 1, next_try_at = clock_timestamp() + pause * power(4, least(s.tries, 6))
  returning s.tries into tried;
  return tried;
end;
$$;

create or replace function automation.clear_suspect(tenant_id uuid, kind text, key text) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.suspects as s
    where s.tenant_id = clear_suspect.tenant_id and s.kind = clear_suspect.kind
      and s.key = clear_suspect.key
  $$;

create or replace function automation.cut_off_error(tries integer) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'code', 'work_cancelled', 'tries', tries,
      'message', format(
        'the work was cut off %s times (it took too long, or the database server crashed), and was given up; '
        'look at what triggers on its tables do, and at the size of what it renders', tries))
  $$;

-- Working on this step alone was cut off. May be called with the step locked.
create or replace function automation.note_cut_off(due public.scheduled_steps) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tried constant integer := automation.suspect(due.tenant_id, due.lane::text, due.id::text);
begin
  if tried >= automation.setting('max_cut_offs')::integer then
    perform automation.fail_step(due, automation.cut_off_error(tried));
    perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
  end if;
end;
$$;

-- The steps of a portion that are still to be done; those that somebody holds are left to them.
create or replace function automation.lock_portion(portion automation.portions)
  returns setof public.scheduled_steps
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $$
    select s.*
    from unnest(portion.tenant_ids, portion.step_ids) with ordinality as i (tenant_id, id, place)
    cross join lateral (
      select q.* from public.scheduled_steps as q
      where q.tenant_id = i.tenant_id and q.id = i.id and q.lease_expires_at is null
        and q.run_at <= automation.now()
      for update skip locked
    ) as s
    where i.place >= portion.place
    order by i.place
  $$;

create or replace function automation.is_gone(tenant_id uuid, step_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  as $$
    select not exists (
      select from public.scheduled_steps as s
      where s.tenant_id = is_gone.tenant_id and s.id = is_gone.step_id)
  $$;

-- Portions that nobody holds and nobody is about to take up.
create or replace function automation.sweep_portions() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $$
declare
  portion automation.portions;
  due public.scheduled_steps;
begin
  for portion in
    select p.* from automation.portions as p
    where p.started_at < clock_timestamp() - interval '5 seconds'
    for update skip locked
  loop
    for due in select * from automation.lock_portion(portion) loop
      if cardinality(portion.step_ids) = 1 then
        perform automation.note_cut_off(due);
      else
        -- The one that was being worked on is tried after the others.
        insert into automation.suspects (tenant_id, kind, key, next_try_at)
        values (due.tenant_id, due.lane::text, due.id::text, case
          when due.id = portion.step_ids[portion.place] then clock_timestamp() else portion.started_at end)
        on conflict on constraint suspects_pkey do nothing;
      end if;
    end loop;
    delete from automation.portions as p where p.id = portion.id;
  end loop;
  delete from automation.suspects as s
  where automation.as_uuid(s.key) is not null
    and automation.is_gone(s.tenant_id, automation.as_uuid(s.key));
end;
$$;

-- Takes due steps of a lane to be worked on. Committed before the work begins; null when nothing is due.
create or replace function automation.begin_portion(
  lane public.automation_lane, at_most integer, but uuid[] default '{}')
  returns automation.portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  portion automation.portions;
begin
  perform automation.sweep_portions();
  insert into automation.portions (lane, tenant_ids, step_ids)
  select begin_portion.lane, array_agg(d.tenant_id), array_agg(d.id)
  from automation.lock_due(lane, at_most, but) as d
  having count(*) > 0
  returning * into portion;
  return portion;
end;
$$;

comment on function automation.begin_portion(public.automation_lane, integer, uuid[]) is
  'Writes down which due steps of a lane are going to be worked on, fairly between tenants but for some. '
  'Call it in a transaction of its own, then claim_portion() or run_portion_step().';

-- The same for several channels at once: {"sms": {"most": 10, "but": [tenants]}, ...}.
create or replace function automation.begin_portions(wanted jsonb) returns setof automation.portions
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select p.*
    from jsonb_each(wanted) as w
    cross join lateral automation.begin_portion(
      w.key::public.automation_lane, least((w.value ->> 'most')::integer, 1000),
      array(select t::uuid from jsonb_array_elements_text(w.value -> 'but') as t)) as p
    where p.id is not null
  $$;

-- The next step that has to be tried alone and whose time has come.
create or replace function automation.lock_suspect(lane public.automation_lane)
  returns setof public.scheduled_steps
  language sql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  set enable_hashjoin = off
  set enable_mergejoin = off
  as $$
    select due.*
    from (
      select s.tenant_id, automation.as_uuid(s.key) as id from automation.suspects as s
      where s.kind = lock_suspect.lane::text and s.next_try_at <= clock_timestamp()
        and not exists (
          select from automation.portions as p where automation.as_uuid(s.key) = any (p.step_ids))
      order by s.tries, s.next_try_at
      limit 20
    ) as suspect
    cross join lateral (
      select q.* from public.scheduled_steps as q
      where q.tenant_id = suspect.tenant_id and q.id = suspect.id
        and q.lease_expires_at is null and q.run_at <= automation.now()
      for update skip locked
    ) as due
    limit 1
  $$;

create or replace function automation.begin_trial(lane public.automation_lane)
  returns automation.portions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  portion automation.portions;
begin
  perform automation.sweep_portions();
  insert into automation.portions (lane, tenant_ids, step_ids)
  select begin_trial.lane, array[s.tenant_id], array[s.id] from automation.lock_suspect(lane) as s
  returning * into portion;
  return portion;
end;
$$;

create or replace function automation.begin_trial() returns automation.portions
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select t.* from unnest(automation.channels()) as c, automation.begin_trial(c) as t
    where t.id is not null
    limit 1
  $$;

comment on function automation.begin_trial() is 'begin_trial() on any channel.';
comment on function automation.begin_trial(public.automation_lane) is
  'begin_portion() for one step during which work was cut off before; null when there is none whose time has '
  'come.';

create or replace function automation.end_portion(portion_id uuid) returns void
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$ delete from automation.portions as p where p.id = portion_id $$;

create or replace function automation.claim_portion(
  portion_id uuid, worker text, lease interval default '60 seconds')
  returns setof automation.claimed_step
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  portion automation.portions;
  due public.scheduled_steps;
  attempt record;
  claimed automation.claimed_step;
begin
  perform automation.check_lease(lease);
  select p.* into portion from automation.portions as p where p.id = portion_id for update;
  for due in select * from automation.lock_portion(portion) loop
    attempt := automation.claim_or_close(due, worker, lease);
    claimed := attempt.claimed;
    if claimed.step_id is not null then
      return next claimed;
    end if;
    exit when attempt.cut_off;
    perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
    exit when automation.is_over(began);
  end loop;
  perform automation.end_portion(portion_id);
end;
$$;

comment on function automation.claim_portion(uuid, text, interval) is
  'claim_steps() for what begin_portion() or begin_trial() wrote down; what it does not get to in its time '
  'is left for the next portion.';

-- One step of a portion, with the database steps after it that are due at once. Its commit does not wait
-- for the disk: should the server lose it, effect and ledger are lost together, and the step is run again
-- as if it had never been tried.
create or replace function automation.run_portion_step(
  portion_id uuid, place integer, out ran integer, out cut_off boolean)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set lock_timeout = '100ms'
  as $$
declare
  portion automation.portions;
  due public.scheduled_steps;
  done record;
begin
  ran := 0;
  cut_off := false;
  perform set_config('synchronous_commit', 'off', true);
  update automation.portions as p
  set place = run_portion_step.place, started_at = clock_timestamp()
  where p.id = portion_id
  returning * into portion;
  select d.* into due from automation.lock_portion(portion) as d
  where d.id = portion.step_ids[portion.place];
  if not found then
    return;
  end if;
  done := automation.run_due_step(due);
  ran := done.ran;
  cut_off := done.cut_off;
  if not cut_off then
    perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
  end if;
  perform set_config('automation.depth', '', true);
end;
$$;

-- Within a statement that is timed, half its time.
create or replace function automation.allowed_time(asked interval) returns interval
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select least(asked, nullif(current_setting('statement_timeout')::interval, interval '0') / 2)
  $$;

create or replace procedure automation.work_database_steps(
  inout ran integer, max_steps integer default 200, duration interval default '1 second')
  language plpgsql
  -- No search_path: a procedure that commits cannot set it. Every name is qualified.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time(duration);
  portion automation.portions;
  step record;
  is_trial boolean := false;
begin
  ran := 0;
  perform automation.run_signals();
  commit;
  loop
    portion := case when is_trial then automation.begin_trial('database')
      else automation.begin_portion('database', 50) end;
    commit;
    if portion.id is not null then
      for place in 1 .. pg_catalog.cardinality(portion.step_ids) loop
        step := automation.run_portion_step(portion.id, place);
        commit;
        ran := ran + step.ran;
        exit when step.cut_off or ran >= max_steps or pg_catalog.clock_timestamp() >= until;
      end loop;
      perform automation.end_portion(portion.id);
      commit;
      exit when step.cut_off;
    end if;
    exit when is_trial and (portion.id is null or pg_catalog.clock_timestamp() >= until);
    -- Those that are tried alone come last: nobody waits behind them.
    is_trial := is_trial or portion.id is null or ran >= max_steps
      or pg_catalog.clock_timestamp() >= until;
  end loop;
end;
$$;

comment on procedure automation.work_database_steps(integer, integer, interval) is
  'run_database_steps() with a commit after every step, for so long at most (half of statement_timeout). '
  'A step during which a transaction was cut off is tried alone, after the others. ran: how many steps.';

-- sql/08_actions/00_senders.sql

-- Whom a send comes from: only ever the tenant's own, whatever a step says.

-- The sender of the dispatcher's environment is one for all tenants, so it speaks for a tenant only where
-- there is no other, or where whoever runs the installation says so: for this tenant by a row of kind
-- environment, for all by the setting environment_serves.
create or replace function automation.environment_serves(tenant_id uuid, channel text default null)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.setting('environment_serves') = 'every_tenant'
      or not exists (select from public.tenants as t where t.id <> environment_serves.tenant_id)
      or exists (
        select from public.senders as s
        where s.tenant_id = environment_serves.tenant_id and s.kind = 'environment' and s.is_active
          and s.channel = environment_serves.channel)
  $$;

-- The one address in "Apex Roofing <office@apex.example>"; null for anything but one address. The name
-- before it is free, as long as it cannot be taken for another address.
create or replace function automation.mailbox_address(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select lower(coalesce(
      substring(given from '^\s*([^@<>\s,;:"()\\]+@[^@<>\s,;:"()\\]+)\s*$'),
      substring(given from
        '^\s*(?:"[^"\\<>[:cntrl:]]*"|[^<>",;\\[:cntrl:]]*?)\s*<([^@<>\s,;:"()\\]+@[^@<>\s,;:"()\\]+)>\s*$')))
  $$;

create or replace function automation.named_sender(tenant_id uuid, channel text, named text)
  returns public.senders
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select s.*
    from public.senders as s
    where s.tenant_id = named_sender.tenant_id and s.channel = named_sender.channel and s.is_active
      and s.verified_at is not null
      and s.address = case s.kind
        when 'number' then coalesce(automation.normalize_line(named), btrim(named))
        when 'service' then btrim(named)
        when 'name' then btrim(named)
        when 'address' then automation.mailbox_address(named)
        when 'domain' then split_part(automation.mailbox_address(named), '@', 2) end
    order by s.kind
    limit 1
  $$;

comment on function automation.named_sender(uuid, text, text) is
  'The tenant''s own sender that a step names, if it is verified and active.';

create or replace function automation.default_sender(tenant_id uuid, channel text)
  returns public.senders
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select s.*
    from public.senders as s
    where s.tenant_id = default_sender.tenant_id and s.channel = default_sender.channel and s.is_active
      and s.verified_at is not null and s.kind in ('number', 'name', 'service', 'address')
    order by s.is_default desc, s.created_at, s.id
    limit 1
  $$;

create or replace function automation.sender_mailbox(sender public.senders, named text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      nullif(btrim(named), ''),
      case when sender.display_name <> ''
        then format('%s <%s>', sender.display_name, sender.address) else sender.address end)
  $$;

-- What the claim carries: who sends it, and under which name the provider's key is kept.
create or replace function automation.sender_payload(sender public.senders, named text) returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('sender', jsonb_strip_nulls(jsonb_build_object(
        'id', sender.id, 'provider', sender.provider, 'kind', sender.kind, 'address', sender.address,
        'credentials', sender.credentials)))
      || case sender.kind
        when 'service' then jsonb_build_object('messaging_service_sid', sender.address)
        when 'address' then jsonb_build_object('from', automation.sender_mailbox(sender, named))
        when 'domain' then jsonb_build_object('from', automation.sender_mailbox(sender, named))
        else jsonb_build_object('from', sender.address)
      end
  $$;

create or replace function automation.refuse_sender(
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

-- A header is another way to name who writes, and to whom.
create or replace function automation.reserved_email_header(headers jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select h.key
    from jsonb_each(case jsonb_typeof(headers) when 'object' then headers else '{}' end) as h
    where lower(btrim(h.key)) ~ '^(from|sender|reply-to|return-path|to|cc|bcc|subject|date|message-id|received|resent-.*|dkim-.*|arc-.*|authentication-results)$'
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
  channel constant text := case step_type when 'send_sms' then 'sms' when 'send_email' then 'email' end;
  field constant text := case when coalesce(btrim(prepared.input ->> 'messaging_service_sid'), '') <> ''
    then 'messaging_service_sid' else 'from' end;
  named constant text := btrim(coalesce(prepared.input ->> field, ''));
  reserved constant text := case channel
    when 'email' then automation.reserved_email_header(prepared.input -> 'headers') end;
  sender public.senders;
begin
  if channel is null then
    return prepared;
  elsif reserved is not null then
    return automation.refuse_sender(prepared, 'header_not_allowed', format(
      'headers.%s: it is set from the fields of the step, not as a header', left(reserved, 60)));
  elsif named <> '' then
    sender := automation.named_sender(tenant_id, channel, named);
    if sender.id is null then
      return automation.refuse_sender(prepared, 'sender_not_yours', format(
        '%s: "%s" is not a sender of yours', field, left(named, 80)));
    end if;
  else
    sender := automation.default_sender(tenant_id, channel);
  end if;
  if sender.id is null and not automation.environment_serves(tenant_id, channel) then
    return automation.refuse_sender(
      prepared, 'no_sender', format('from: you have no sender for %s', channel));
  end if;
  prepared.input := (prepared.input - '{sender,from,messaging_service_sid}'::text[])
    || case when sender.id is null then '{}' else automation.sender_payload(sender, named) end;
  return prepared;
end;
$$;

comment on function automation.choose_sender(uuid, text, automation.prepared_step) is
  'Whom a send comes from: the tenant''s own sender that the step names, else its default one, else the '
  'environment''s where that serves the tenant. Anything else is a failure that says so.';

-- Asked for at every later attempt: what was rendered once names a sender that may be gone since.
create or replace function automation.recheck_sender(
  tenant_id uuid, step_type text, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if step_type not in ('send_sms', 'send_email') then
    return prepared;
  elsif prepared.input ? 'sender' then
    if not exists (
      select from public.senders as s
      where s.tenant_id = recheck_sender.tenant_id
        and s.id = automation.as_uuid(prepared.input #>> '{sender,id}')
        and s.is_active and s.verified_at is not null) then
      return automation.refuse_sender(prepared, 'sender_not_yours', format(
        'from: "%s" is not a sender of yours any more', prepared.input #>> '{sender,address}'));
    end if;
  elsif not automation.environment_serves(
    tenant_id, case step_type when 'send_sms' then 'sms' else 'email' end) then
    return automation.refuse_sender(prepared, 'no_sender', 'from: you have no sender any more');
  end if;
  return prepared;
end;
$$;

-- sql/08_actions/01_address.sql

-- 08 ACTIONS
--
-- What steps do. Sends and webhooks are addressed here and carried out by the dispatcher; everything
-- else happens here, in Postgres, in the transaction that records it.
--
-- Lock order: the queue row and the execution are held already; a CRM row is locked last, and given
-- up rather than waited for when a user holds it.

-- Completes the rendered configuration of an outbound step into what the dispatcher sends.
create or replace function automation.address(
  execution public.workflow_executions, step_type text, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case step_type
    when 'send_sms' then
      prepared := automation.address_sms(execution, prepared);
    when 'send_email' then
      prepared := automation.address_email(execution, prepared);
    when 'webhook' then
      prepared.input := automation.address_webhook(execution, prepared.input);
  end case;
  if prepared.verdict = 'run' then
    prepared := automation.choose_sender(execution.tenant_id, step_type, prepared);
  end if;
  return prepared;
end;
$$;

-- What a record of the execution has under a mapped name, live; null for nothing and for a blank.
create or replace function automation.mapped_value(
  execution public.workflow_executions, entity text, name text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select v.value
    from automation.entities as e
    cross join lateral (select automation.read_root(execution, e.name) as record) as r
    cross join lateral (
      select coalesce(r.record -> (e.mapped ->> mapped_value.name), r.record -> mapped_value.name) as value
    ) as v
    where e.name = mapped_value.entity and e.mapped ? mapped_value.name
      and btrim(v.value #>> '{}') <> ''
  $$;

-- The configured recipient, else the phone or email of the record that fired, where it has one, else
-- its contact's.
create or replace function automation.recipient_of(
  execution public.workflow_executions, input jsonb, name text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when input ? 'to' then input -> 'to'
      else coalesce(
        automation.mapped_value(execution, execution.entity, recipient_of.name),
        automation.mapped_value(execution, 'contact', recipient_of.name))
    end
  $$;

-- given: what stands where the recipient should, for whoever has to mend it.
create or replace function automation.skip_unaddressed(
  prepared automation.prepared_step, code text, message text, given text default null)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  prepared.verdict := 'skip';
  prepared.reason := jsonb_build_object('code', code, 'message', message)
    || case when given is null then '{}' else jsonb_build_object('given', left(given, 320)) end;
  return prepared;
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

-- A number, a short code or a name that carriers show: nothing else is from anybody, whatever record it was
-- read from.
create or replace function automation.sms_sender(given text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      automation.normalize_phone(given),
      substring(given from '^[0-9]{3,8}$'),
      substring(given from '^(?=.*[A-Za-z])[A-Za-z0-9 &_+-]{1,11}$'))
  $$;

create or replace function automation.address_sms(
  execution public.workflow_executions, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant text := btrim(automation.recipient_of(execution, prepared.input, 'phone') #>> '{}');
  phone constant text := automation.normalize_phone(given);
  sender constant text := automation.visible_text(prepared.input ->> 'from');
begin
  if coalesce(given, '') = '' then
    return automation.skip_unaddressed(prepared, 'no_recipient', 'to: there is no phone number');
  elsif phone is null then
    return automation.skip_unaddressed(
      prepared, 'invalid_recipient', format('to: "%s" is not a phone number', left(given, 40)), given);
  elsif btrim(coalesce(prepared.input ->> 'body', '')) = '' then
    return automation.fail_unaddressed(prepared, 'empty_body', 'body: the message is empty');
  elsif sender <> '' and automation.sms_sender(sender) is null then
    return automation.fail_unaddressed(prepared, 'invalid_sender', format(
      'from: "%s" is neither a phone number nor a name of up to 11 letters and digits', left(sender, 40)));
  end if;
  prepared.recipient := phone;
  prepared.input := prepared.input - 'from' || jsonb_build_object('to', phone)
    || jsonb_strip_nulls(jsonb_build_object('from', automation.sms_sender(sender)));
  return prepared;
end;
$$;

create or replace function automation.normalize_phone(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when given !~ '^[\s+().0-9-]{7,40}$' then null
      when given like '+%' and digits ~ '^[1-9]\d{6,14}$' then '+' || digits
      when digits ~ '^1[2-9]\d{9}$' then '+' || digits
      when digits ~ '^[2-9]\d{9}$' then '+1' || digits
    end
    from (select regexp_replace(given, '\D', '', 'g') as digits) as d
  $$;

comment on function automation.normalize_phone(text) is
  'E.164, as in +15125550100; a number without a country code is read as North American. '
  'Null when it cannot be one (ITU-T E.164: at most 15 digits).';

create or replace function automation.address_webhook(
  execution public.workflow_executions, input jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select input || jsonb_build_object(
      'method', upper(coalesce(input ->> 'method', 'POST')),
      'headers', coalesce(input -> 'headers', '{}'),
      'body', coalesce(input -> 'body', jsonb_build_object(
        'type', execution.trigger_type, 'timestamp', automation.now(),
        'execution_id', execution.id, 'data', execution.trigger_data)))
  $$;

-- The CRM shows what was sent. The message is out already: a CRM row that cannot be written must
-- not lose the result, so the ledger says what happened instead.
create or replace function automation.record_sent(
  execution public.workflow_executions, ledger public.workflow_step_executions)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- A workflow that listens to messages must not be started by its own for ever.
  perform set_config('automation.depth', (execution.depth + 1)::text, true);
  case ledger.step_type
    when 'send_sms' then
      insert into public.messages (tenant_id, contact_id, direction, from_number, to_number, body,
        status, provider, provider_id, execution_id)
      values (ledger.tenant_id, automation.existing_contact(execution), 'outbound',
        coalesce(ledger.result_data ->> 'from', ledger.input ->> 'from'), ledger.recipient,
        ledger.input ->> 'body', 'sent', 'twilio', ledger.provider_id, execution.id);
    when 'send_email' then
      insert into public.emails (tenant_id, contact_id, direction, from_address, to_address, subject,
        html, text, status, provider, provider_id, execution_id)
      values (ledger.tenant_id, automation.existing_contact(execution), 'outbound',
        coalesce(ledger.result_data ->> 'from', ledger.input ->> 'from'),
        (select string_agg(automation.bare_address(m.mailbox), ', ' order by m.place)
         from jsonb_array_elements_text(ledger.input -> 'to') with ordinality as m (mailbox, place)),
        ledger.input ->> 'subject', ledger.input ->> 'html', ledger.input ->> 'text', 'sent',
        'resend', ledger.provider_id, execution.id);
    else null;
  end case;
  perform set_config('automation.depth', '', true);
exception when others then
  update public.workflow_step_executions as s
  set warnings = coalesce(s.warnings, '[]') || automation.engine_error(
    'not_in_crm', sqlstate, sqlerrm)
  where s.tenant_id = ledger.tenant_id and s.id = ledger.id;
end;
$$;

create or replace function automation.existing_contact(execution public.workflow_executions)
  returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select execution.contact_id
    where automation.read_record('contact', execution.tenant_id, execution.contact_id::text) is not null
  $$;

comment on function automation.existing_contact(public.workflow_executions) is
  'The contact of an execution while there is one; null too when its id is no uuid, which is what '
  'messages and tags refer to.';

-- sql/08_actions/01_address_email.sql

-- An email's addresses from their parts. What fills a part is one display name or one address, whatever it
-- contains; what is no address is left out with a warning, and with nobody left the step is skipped.

-- Line breaks and other control characters could end a header and begin another: they are blanks.
create or replace function automation.one_line(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select btrim(regexp_replace(given, '[\u0001-\u001F\u007F-\u009F\u2028\u2029]+', ' ', 'g')) $$;

-- RFC 5322, 3.2.4: what is more than words goes in quotes. So does what an encoded word (RFC 2047) looks
-- like, which is then not decoded.
create or replace function automation.display_name(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when n.name ~ '[()<>@,;:\\".\[\]]|=\?' then '"' || regexp_replace(n.name, '([\\"])', '\\\1', 'g') || '"'
      else n.name
    end
    from (select btrim(left(automation.one_line(given), 200)) as name) as n
  $$;

create or replace function automation.mailbox(name text, address text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(nullif(automation.display_name(name), '') || format(' <%s>', address), address)
    where address is not null
  $$;

comment on function automation.mailbox(text, text) is
  'Lopez Roofing, Inc. and office@lopez.example -> "Lopez Roofing, Inc." <office@lopez.example>';

-- The address of a mailbox that mailbox() wrote, or of a bare one.
create or replace function automation.bare_address(mailbox text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(automation.normalize_email(a.address), lower(btrim(a.address)))
    from (select coalesce(substring(mailbox from '<([^<>]*)>\s*$'), mailbox) as address) as a
  $$;

-- As it was written where that is the address itself: capitals are kept for whoever reads it.
create or replace function automation.written_address(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when lower(v.shown) = v.address then v.shown else v.address end
    from (select automation.visible_text(given) as shown, automation.normalize_email(given) as address) as v
  $$;

-- A value that stands alone: an address, or a name and an address in < >. What could be read as two (a comma
-- or a semicolon outside of quotes, a second @ or <) is none.
create or replace function automation.value_mailbox(given text, out name text, out address text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  parts text[];
begin
  address := automation.written_address(given);
  if address is null then
    parts := coalesce(
      regexp_match(given, '^\s*([^<>@,;:"\\]*)<([^<>]*)>\s*$'),
      regexp_match(given, '^\s*"((?:[^"\\]|\\.)*)"\s*<([^<>]*)>\s*$'));
    name := regexp_replace(parts[1], '\\(.)', '\1', 'g');
    address := automation.written_address(parts[2]);
  end if;
end;
$$;

-- Each mailbox that a key asks for; a part is {name, address} or a bare value, and a list stands for as many as
-- it has. mailbox is null where there is no address to be had of what was given.
create or replace function automation.mailboxes_of(value jsonb)
  returns table (place bigint, given text, mailbox text, address text)
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select row_number() over (order by p.place, a.place), g.given,
      automation.mailbox(coalesce(p.name, v.name), v.address), v.address
    from (
      select l.place, case when l.part ? 'address' then l.part -> 'address' else l.part end as held,
        nullif(automation.one_line(automation.text_of(l.part -> 'name')), '') as name
      from jsonb_array_elements(automation.as_list(value)) with ordinality as l (part, place)
    ) as p
    cross join lateral jsonb_array_elements(automation.as_list(p.held)) with ordinality as a (value, place)
    cross join lateral (select automation.text_of(a.value) as given) as g
    cross join lateral automation.value_mailbox(g.given) as v
    where automation.visible_text(g.given) <> ''
  $$;

create or replace function automation.not_an_address(key text, given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select format('%s: "%s" is not %s email address', key, left(automation.one_line(given), 80),
      case when given ~ '[,;]' then 'one' else 'an' end)
  $$;

create or replace function automation.add_warnings(prepared automation.prepared_step, more jsonb)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if more <> '[]' then
    prepared.warnings := coalesce(prepared.warnings, '[]') || more;
  end if;
  return prepared;
end;
$$;

-- One key: the mailboxes that are good, each address once; a warning for each that is not. A key that
-- names nobody is left out, but for `to`, where that is the reason for a skip and not a warning.
create or replace function automation.fill_addresses(prepared automation.prepared_step, key text)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  good jsonb;
  wrong jsonb;
begin
  select coalesce(jsonb_agg(m.mailbox order by m.place) filter (where m.is_first), '[]'),
    coalesce(jsonb_agg(jsonb_build_object('path', key, 'code', 'invalid_recipient',
      'message', automation.not_an_address(key, m.given) || '; it was left out', 'given', left(m.given, 320))
      order by m.place) filter (where m.address is null), '[]')
    into good, wrong
  from (
    select b.*, b.address is not null
      and row_number() over (partition by lower(b.address) order by b.place) = 1 as is_first
    from automation.mailboxes_of(prepared.input -> key) as b
  ) as m;
  prepared.input := prepared.input - key
    || case when good = '[]' and key <> 'to' then '{}' else jsonb_build_object(key, good) end;
  return automation.add_warnings(prepared, case when prepared.input -> 'to' = '[]' then '[]' else wrong end);
end;
$$;

-- A line break in a value would be a header of its own. A header that says who gets the message is not
-- taken even from a plan, and one without a value is left out.
create or replace function automation.fill_headers(prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  good jsonb;
  wrong jsonb;
begin
  if jsonb_typeof(prepared.input -> 'headers') is distinct from 'object' then
    prepared.input := prepared.input - 'headers';
    return prepared;
  end if;
  select coalesce(jsonb_object_agg(h.name, h.value) filter (where h.problem is null and h.value <> ''), '{}'),
    coalesce(jsonb_agg(jsonb_build_object('path', 'headers.' || h.name, 'code', 'invalid_header',
      'message', h.problem ->> 'message')) filter (where h.problem is not null), '[]')
    into good, wrong
  from (
    select e.key as name, automation.one_line(automation.text_of(e.value)) as value,
      automation.header_problem(e.key, 'headers') as problem
    from jsonb_each(prepared.input -> 'headers') as e
  ) as h;
  prepared.input := prepared.input || jsonb_build_object('headers', good);
  return automation.add_warnings(prepared, wrong);
end;
$$;

-- Who the history says got it. An index row has room for about 2,700 bytes.
create or replace function automation.recipients_of(mailboxes jsonb) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select string_agg(a.address, ', ' order by a.place) filter (where a.size <= 1000)
      || coalesce(' and ' || nullif(count(*) filter (where a.size > 1000), 0) || ' more', '')
    from (
      select m.place, automation.bare_address(m.mailbox) as address,
        sum(octet_length(automation.bare_address(m.mailbox)) + 2) over (order by m.place) as size
      from jsonb_array_elements_text(mailboxes) with ordinality as m (mailbox, place)
    ) as a
  $$;

create or replace function automation.address_email(
  execution public.workflow_executions, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given constant jsonb := automation.recipient_of(execution, prepared.input, 'email');
  sender record;
  key text;
begin
  prepared.warnings := automation.written_paths(prepared.warnings);
  select m.* into sender from automation.mailboxes_of(prepared.input -> 'from') as m order by m.place limit 1;
  prepared.input := prepared.input - 'from'
    || jsonb_strip_nulls(jsonb_build_object('to', given, 'from', coalesce(sender.mailbox, sender.given)))
    || jsonb_build_object('subject', automation.one_line(prepared.input ->> 'subject'));
  foreach key in array '{to,cc,bcc,reply_to}'::text[] loop
    prepared := automation.fill_addresses(prepared, key);
  end loop;
  prepared := automation.fill_headers(prepared);
  prepared.recipient := automation.recipients_of(prepared.input -> 'to');
  return automation.judge_email(prepared, given, sender.given, sender.address);
end;
$$;

-- What can be sent is left as it is.
create or replace function automation.judge_email(
  prepared automation.prepared_step, given jsonb, sender text, sender_address text)
  returns automation.prepared_step
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong text;
begin
  if prepared.input -> 'to' = '[]' then
    select string_agg(m.given, ' | ' order by m.place) into wrong from automation.mailboxes_of(given) as m;
    if wrong is null then
      return automation.skip_unaddressed(prepared, 'no_recipient', 'to: there is no email address');
    end if;
    return automation.skip_unaddressed(
      prepared, 'invalid_recipient', automation.not_an_address('to', wrong), wrong);
  elsif sender is not null and sender_address is null then
    return automation.fail_unaddressed(
      prepared, 'invalid_sender', automation.not_an_address('from', sender));
  elsif coalesce(prepared.input ->> 'subject', '') = '' then
    return automation.fail_unaddressed(prepared, 'empty_subject', 'subject: the subject is empty');
  elsif btrim(concat(prepared.input ->> 'html', prepared.input ->> 'text'), E' \t\r\n') = '' then
    return automation.fail_unaddressed(prepared, 'empty_body', 'html: the message is empty');
  end if;
  return prepared;
end;
$$;

create or replace function automation.written_paths(warnings jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_agg(w.value || jsonb_build_object(
      'path', automation.written_path('send_email', w.value ->> 'path')) order by w.place)
    from jsonb_array_elements(warnings) with ordinality as w (value, place)
  $$;

-- sql/08_actions/02_database_actions.sql

-- Database actions. Each takes the execution and its rendered input and returns what it did; what
-- it cannot do it raises, naming the field, and the step fails with that message.

create or replace function automation.perform(
  execution public.workflow_executions, step jsonb, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  result constant jsonb := case step ->> 'type'
    when 'create_task' then automation.create_task(execution, input)
    when 'update_contact' then automation.update_fields(execution, 'contact', input -> 'fields')
    when 'update_project' then automation.update_fields(execution, 'project', input -> 'fields')
    when 'update_field' then automation.update_one_field(execution, input)
    when 'change_stage' then automation.change_stage(execution, input)
    when 'assign_user' then automation.assign_user(execution, step ->> 'key', input)
    when 'add_tag' then automation.add_tag(execution, input ->> 'tag')
    when 'remove_tag' then automation.remove_tag(execution, input ->> 'tag')
    when 'create_project' then automation.create_project(execution, input)
    when 'wait' then automation.wait(execution, step ->> 'key', input)
    when 'conditional' then automation.choose(execution, step)
    when 'split' then automation.split(execution, step ->> 'key', input)
    when 'stop' then automation.stop(input)
  end;
begin
  if result is null then
    raise exception 'step_type: "%" is not a step that runs in the database', step ->> 'type'
      using errcode = 'invalid_parameter_value';
  end if;
  return result;
end;
$$;

comment on function automation.perform(public.workflow_executions, jsonb, jsonb) is
  'Carries out one database step and returns its result. Raises, naming the field, when it cannot.';

-- The id of the record a step is about; every action goes through here, so the error is the same.
create or replace function automation.target_id(
  execution public.workflow_executions, entity text)
  returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  id constant text := execution.trigger_data ->> (entity || '_id');
begin
  if id is null then
    raise exception '%: the execution has no % to work on', entity, entity
      using errcode = 'no_data_found';
  end if;
  return id;
end;
$$;

create or replace function automation.as_number(input jsonb, key text) returns numeric
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if input ->> key is null or input ->> key = '' then
    return null;
  elsif input ->> key !~ '^\s*-?\d{1,12}(\.\d{1,9})?\s*$' then
    raise exception '%: "%" is not a number', key, left(input ->> key, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return (input ->> key)::numeric;
end;
$$;

-- A time without a zone is the tenant's wall clock.
create or replace function automation.as_time(
  execution public.workflow_executions, input jsonb, key text)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(input ->> key, '') = '' then
    return null;
  elsif not automation.is_date(input ->> key) then
    raise exception '%: "%" is not a time', key, left(input ->> key, 60)
      using errcode = 'invalid_parameter_value', hint = 'Such as 2026-12-01 or 2026-12-01T09:30:00Z.';
  end if;
  return automation.instant_in(input ->> key, automation.tenant_zone(execution.tenant_id));
end;
$$;

create or replace function automation.as_id(input jsonb, key text) returns uuid
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(input ->> key, '') <> '' and automation.as_uuid(input ->> key) is null then
    raise exception '%: "%" is not an id', key, left(input ->> key, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return automation.as_uuid(input ->> key);
end;
$$;

-- Who is made responsible is a member of the tenant, whichever step says so. A CRM that counts its
-- people otherwise than by uuid has nobody here to compare with.
create or replace function automation.check_assignee(tenant_id uuid, field text, user_id text)
  returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.as_uuid(user_id) is not null and not automation.is_member(tenant_id, user_id) then
    raise exception '%: "%" is not a member of the tenant', field, left(user_id, 60)
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

create or replace function automation.create_task(
  execution public.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  task_id constant uuid := automation.new_id();
  due constant timestamptz := coalesce(
    automation.as_time(execution, input, 'due_at'),
    automation.now()
      + coalesce(automation.as_number(input, 'due_in_days'), 0) * interval '1 day'
      + coalesce(automation.as_number(input, 'due_in_hours'), 0) * interval '1 hour'
      + coalesce(automation.as_number(input, 'due_in_minutes'), 0) * interval '1 minute');
begin
  perform automation.check_assignee(execution.tenant_id, 'assigned_to', input ->> 'assigned_to');
  insert into public.tasks (
    tenant_id, id, contact_id, project_id, job_id, title, description, priority, due_at,
    assigned_to, execution_id)
  values (
    execution.tenant_id, task_id,
    automation.as_uuid(execution.trigger_data ->> 'contact_id'),
    automation.as_uuid(execution.trigger_data ->> 'project_id'),
    automation.as_uuid(execution.trigger_data ->> 'job_id'),
    input ->> 'title', input ->> 'description', coalesce(input ->> 'priority', 'normal'),
    case when input ?| '{due_at,due_in_days,due_in_hours,due_in_minutes}' then due end,
    automation.as_id(input, 'assigned_to'), execution.id);
  return jsonb_build_object('task_id', task_id);
end;
$$;

-- Writes fields of one attached record, in one statement that names only those columns. Locks the
-- row without waiting: a user who is editing it right now is not kept waiting by us, nor we by them.
create or replace function automation.update_fields(
  execution public.workflow_executions, entity text, fields jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  id constant text := automation.target_id(execution, entity);
  written jsonb;
begin
  select e.* into attached from automation.entities as e where e.name = entity;
  perform automation.check_writable(attached, fields);
  fields := automation.own_names(attached, fields);
  perform automation.check_assignee(
    execution.tenant_id, 'fields.' || (attached.mapped ->> 'assigned_to'),
    fields ->> (attached.mapped ->> 'assigned_to'));
  execute automation.lock_record_statement(attached) using execution.tenant_id, id;
  execute automation.update_statement(attached, fields)
    into written using execution.tenant_id, id, fields;
  if written is null then
    raise exception '%: it was deleted', entity using errcode = 'no_data_found';
  end if;
  return jsonb_build_object('entity', entity, 'id', id, 'fields', fields);
exception when data_exception then
  raise exception 'fields.%: %', automation.misfit(attached, fields), sqlerrm using errcode = sqlstate;
end;
$$;

-- Which of the fields does not fit its column? Asked only after an update has failed.
create or replace function automation.misfit(attached automation.entities, fields jsonb) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field record;
begin
  for field in select f.key, f.value from jsonb_each(fields) as f loop
    begin
      execute format('select jsonb_populate_record(null::%s, $1)', attached.relation)
        using jsonb_build_object(field.key, field.value);
    exception when data_exception then
      return field.key;
    end;
  end loop;
  return array_to_string(array(select k from jsonb_object_keys(fields) as k), ', ');
end;
$$;

create or replace function automation.check_writable(attached automation.entities, fields jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wrong text;
begin
  if jsonb_typeof(fields) is distinct from 'object' or fields = '{}' then
    raise exception 'fields: an object of at least one field is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  select f into wrong from jsonb_object_keys(fields) as f
  where not (split_part(f, '.', 1) = any (attached.writable_columns)) limit 1;
  if wrong is not null then
    raise exception 'fields.%: % has no such field to write', wrong, attached.name
      using errcode = 'undefined_column';
  end if;
end;
$$;

create or replace function automation.lock_record_statement(attached automation.entities) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      'select from %s as r where r.%I = $1 and r.%I = $2::%s for no key update nowait',
      attached.relation, attached.tenant_column, attached.id_column, attached.id_type)
  $$;

-- "custom_fields.roof_type" sets one key of a JSON column; other names set the whole column.
create or replace function automation.update_statement(attached automation.entities, fields jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select format(
      'update %1$s as r set %2$s from jsonb_populate_record(null::%1$s, $3) as v '
      'where r.%3$I = $1 and r.%4$I = $2::%5$s returning to_jsonb(r)',
      attached.relation,
      string_agg(
        case when c.keys is null then format('%1$I = v.%1$I', c.name)
          else format('%1$I = coalesce(r.%1$I, ''{}'') || %2$L::jsonb', c.name, c.keys) end, ', '),
      attached.tenant_column, attached.id_column, attached.id_type)
    from (
      select split_part(f.key, '.', 1) as name,
        jsonb_object_agg(substr(f.key, strpos(f.key, '.') + 1), f.value)
          filter (where f.key like '%.%') as keys
      from jsonb_each(fields) as f
      group by 1
    ) as c
  $$;

create or replace function automation.update_one_field(
  execution public.workflow_executions, input jsonb)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.update_fields(
      execution,
      coalesce(input ->> 'entity', substring(input ->> 'field' from '^(contact|project|job)\.'),
        'contact'),
      jsonb_build_object(
        regexp_replace(input ->> 'field', '^(contact|project|job)\.', ''), input -> 'value'))
  $$;

create or replace function automation.stage_entity(
  execution public.workflow_executions, input jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(input ->> 'entity', case
      when automation.stage_column(execution.entity) is not null then execution.entity else 'contact' end)
  $$;

create or replace function automation.stage_column(entity text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.mapped_column(entity, 'stage', 'status') $$;

create or replace function automation.change_stage(
  execution public.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity constant text := automation.stage_entity(execution, input);
  stage_column constant text := automation.stage_column(entity);
begin
  if stage_column is null then
    raise exception 'entity: "%" has neither a stage nor a status', left(entity, 60)
      using errcode = 'undefined_column',
        hint = 'automation.attach() maps them: {"stage": "<column>"}.';
  end if;
  return automation.update_fields(execution, entity, jsonb_build_object(stage_column, input -> 'stage'));
end;
$$;

create or replace function automation.assigned_entity(
  execution public.workflow_executions, input jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(input ->> 'entity', case
      when execution.trigger_data ->> 'contact_id' is null
        and automation.mapped_column(execution.entity, 'assigned_to') is not null
      then execution.entity else 'contact' end)
  $$;

create or replace function automation.assign_user(
  execution public.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  user_id uuid;
  entity constant text := automation.assigned_entity(execution, input);
  user_column constant text := automation.mapped_column(entity, 'assigned_to');
begin
  if user_column is null then
    raise exception 'entity: "%" has no assigned_to', left(entity, 60)
      using errcode = 'undefined_column',
        hint = 'automation.attach() maps it: {"assigned_to": "<column>"}.';
  elsif input ? 'user_ids' then
    user_id := automation.next_in_turn(execution, step_key, input -> 'user_ids');
  else
    select m.user_id into user_id from public.tenant_members as m
    where m.tenant_id = execution.tenant_id and m.user_id = automation.as_uuid(input ->> 'user_id');
    if not found then
      raise exception 'user_id: "%" is not a member of the tenant', left(input ->> 'user_id', 60)
        using errcode = 'invalid_parameter_value';
    end if;
  end if;
  return jsonb_build_object('user_id', user_id)
    || automation.update_fields(execution, entity, jsonb_build_object(user_column, user_id));
end;
$$;

-- Whose turn it is, of each step that takes turns. Read and moved on in the transaction of the step, so
-- that a step that is undone takes nobody's turn.
create table automation.rotations (
  tenant_id uuid not null,
  workflow_id uuid not null,
  step_key text not null,
  last_user_id uuid not null,
  turns bigint not null default 1,
  constraint rotations_pkey primary key (tenant_id, workflow_id, step_key),
  constraint rotations_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade
);

comment on table automation.rotations is 'Who was assigned last by a step that goes round a list.';

-- The one after the last one, in the order of the list; who has left the tenant is passed over.
create or replace function automation.next_in_turn(
  execution public.workflow_executions, step_key text, user_ids jsonb)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  present constant uuid[] := array(
    select m.user_id
    from jsonb_array_elements_text(user_ids) with ordinality as u (id, place)
    join public.tenant_members as m
      on m.tenant_id = execution.tenant_id and m.user_id = automation.as_uuid(u.id)
    group by m.user_id order by min(u.place));
  last constant uuid := (
    select r.last_user_id from automation.rotations as r
    where r.tenant_id = execution.tenant_id and r.workflow_id = execution.workflow_id
      and r.step_key = next_in_turn.step_key
    for update nowait);
  chosen uuid;
begin
  if present = '{}' then
    raise exception 'user_ids: none of them is a member of the tenant'
      using errcode = 'invalid_parameter_value';
  end if;
  chosen := present[coalesce(array_position(present, last), 0) % cardinality(present) + 1];
  insert into automation.rotations (tenant_id, workflow_id, step_key, last_user_id)
  values (execution.tenant_id, execution.workflow_id, next_in_turn.step_key, chosen)
  on conflict on constraint rotations_pkey do update
    set last_user_id = excluded.last_user_id, turns = automation.rotations.turns + 1;
  return chosen;
end;
$$;

create or replace function automation.tagged_contact(execution public.workflow_executions)
  returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  id constant text := automation.target_id(execution, 'contact');
begin
  if automation.as_uuid(id) is null then
    raise exception 'contact: only a contact whose id is a uuid can be tagged, "%" is none', left(id, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return id::uuid;
end;
$$;

create or replace function automation.add_tag(
  execution public.workflow_executions, tag text)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tag_id uuid;
begin
  insert into public.tags (tenant_id, name)
  values (execution.tenant_id, btrim(tag))
  on conflict (tenant_id, lower(name)) do nothing;
  select t.id into tag_id from public.tags as t
  where t.tenant_id = execution.tenant_id and lower(t.name) = lower(btrim(tag));
  insert into public.contact_tags (tenant_id, contact_id, tag_id)
  values (execution.tenant_id, automation.tagged_contact(execution), tag_id)
  on conflict on constraint contact_tags_pkey do nothing;
  return jsonb_build_object('tag', btrim(tag), 'tag_id', tag_id, 'added', found);
end;
$$;

create or replace function automation.remove_tag(
  execution public.workflow_executions, tag text)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from public.contact_tags as ct
  using public.tags as t
  where t.tenant_id = execution.tenant_id and lower(t.name) = lower(btrim(tag))
    and ct.tenant_id = execution.tenant_id and ct.tag_id = t.id
    and ct.contact_id = automation.tagged_contact(execution);
  return jsonb_build_object('tag', btrim(tag), 'removed', found);
end;
$$;

-- The same key never makes a second project: Won, Lost, Won again stays one.
create or replace function automation.create_project(
  execution public.workflow_executions, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contact constant uuid := automation.existing_contact(execution);
  key constant text := coalesce(nullif(input ->> 'key', ''), input ->> 'name');
  project_id uuid;
begin
  if exists (
    select from automation.entities as e
    where e.name = 'project' and to_regclass(e.relation) is distinct from to_regclass('public.projects')) then
    raise exception 'step_type: create_project writes public.projects, and "project" is another table here'
      using errcode = 'feature_not_supported', hint = 'Use a webhook step.';
  end if;
  perform pg_advisory_xact_lock(hashtextextended(concat_ws('/', execution.tenant_id, contact, key), 0));
  select p.id into project_id from public.projects as p
  where p.tenant_id = execution.tenant_id and p.contact_id is not distinct from contact
    and p.custom_fields ->> 'automation_key' = key;
  if found then
    return jsonb_build_object('project_id', project_id, 'created', false);
  end if;
  insert into public.projects as p (
    tenant_id, contact_id, name, type, status, pipeline_stage, value, description, custom_fields)
  values (
    execution.tenant_id, contact, input ->> 'name', input ->> 'type',
    coalesce(input ->> 'status', 'open'), coalesce(input ->> 'pipeline_stage', 'new'),
    automation.as_number(input, 'value'), input ->> 'description',
    jsonb_build_object('automation_key', key))
  returning p.id into project_id;
  return jsonb_build_object('project_id', project_id, 'created', true);
end;
$$;

-- sql/08_actions/03_run.sql

-- Running database steps. The effect and its ledger row are one transaction: a crash undoes both,
-- and the step is run again as if it had never been tried.

create or replace function automation.run_database_steps(max_steps integer default 200)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  -- Shorter than deadlock_timeout (1 s by default): should a user's transaction and this one ever
  -- wait for each other, this one gives way before Postgres picks a victim.
  set lock_timeout = '100ms'
  as $$
declare
  due public.scheduled_steps;
  done record;
  found_any boolean := false;
  ran integer := 0;
begin
  perform automation.run_signals();
  for due in select * from automation.lock_due('database', max_steps) loop
    found_any := true;
    done := automation.run_due_step(due);
    ran := ran + done.ran;
    exit when done.cut_off;
  end loop;
  -- What cut others off is tried when there is nothing else.
  if not found_any then
    for due in select * from automation.lock_suspect('database') loop
      ran := automation.try_suspect(due);
    end loop;
  end if;
  perform set_config('automation.depth', '', true);
  return ran;
end;
$$;

comment on function automation.run_database_steps(integer) is
  'Runs due database steps, those of up to max_steps executions, each exactly once, in one transaction, which '
  'holds what they wrote to until it ends: work_database_steps() commits after each. Returns how many ran.';

create or replace function automation.try_suspect(due public.scheduled_steps) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  done constant record := automation.run_due_step(due);
begin
  if not done.cut_off then
    perform automation.clear_suspect(due.tenant_id, due.lane::text, due.id::text);
  end if;
  return done.ran;
end;
$$;

-- From a due step to the first one that has to wait or to leave Postgres, or whose turn comes when the
-- portion has had its time. cut_off: the statement was cancelled during the last one.
create or replace function automation.run_due_step(
  due public.scheduled_steps, out ran integer, out cut_off boolean)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began constant timestamptz := clock_timestamp();
  execution public.workflow_executions := automation.lock_execution(due.tenant_id, due.execution_id);
  plan jsonb;
  steps jsonb;
  step jsonb;
  step_id uuid := due.id;
  run record;
begin
  ran := 0;
  cut_off := false;
  if automation.is_finished(execution) then
    perform automation.unschedule(due);
    return;
  end if;
  perform set_config('automation.depth', (execution.depth + 1)::text, true);
  plan := automation.plan_of(execution);
  steps := plan -> 'steps';
  step := coalesce(steps -> due.step_key, jsonb_build_object('key', due.step_key, 'type', 'unknown'));
  loop
    run := automation.run_database_step(execution, step, plan, step_id);
    exit when run.outcome in ('busy', 'cut off');
    ran := ran + 1;
    exit when run.outcome <> 'go on';
    step := steps -> run.next_key;
    step_id := automation.new_id();
    execution.started_at := coalesce(execution.started_at, automation.now());
    exit when automation.is_over(began);
  end loop;
  cut_off := run.outcome = 'cut off';
  if ran = 0 then
    if not cut_off then
      perform automation.yield_step(due);
    end if;
  else
    perform automation.unschedule(due);
    if run.outcome <> 'done' then
      due.step_key := step ->> 'key';
      due.id := automation.schedule_step(execution, step, automation.now()
        + case run.outcome when 'busy' then interval '1 second' else interval '0' end);
    end if;
  end if;
  if cut_off then
    perform automation.note_cut_off(due);
  end if;
end;
$$;

create or replace function automation.yield_step(due public.scheduled_steps) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update public.scheduled_steps as s
    set run_at = automation.now() + interval '1 second'
    where s.tenant_id = due.tenant_id and s.id = due.id
  $$;

-- One step. 'go on': the next one is a database step and due now; 'busy': something it needs is locked by
-- somebody else, nothing happened; 'cut off': the statement was cancelled during it, nothing happened;
-- 'done': the execution was advanced, put off or ended.
create or replace function automation.run_database_step(
  execution public.workflow_executions, step jsonb, plan jsonb, step_id uuid,
  out outcome text, out next_key text)
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  obstacle automation.obstacle;
  prepared automation.prepared_step;
  started constant timestamptz := clock_timestamp();
  began constant bigint := nextval('automation.write_order');
  status public.automation_status;
  result jsonb;
  error jsonb;
begin
  begin
    obstacle := automation.find_obstacle(execution, plan -> 'lifecycle');
    if obstacle.status is null then
      prepared := automation.prepare_step(execution, step);
      case prepared.verdict
        when 'run' then
          result := automation.perform(execution, step, prepared.input);
          status := 'completed';
        when 'skip' then
          status := 'skipped';
          error := prepared.reason;
        else
          status := 'failed';
          error := prepared.reason;
      end case;
    end if;
  exception
    when lock_not_available or deadlock_detected or serialization_failure then
      outcome := 'busy';
      return;
    when query_canceled then
      outcome := 'cut off';
      return;
    when foreign_key_violation then
      status := 'failed';
      error := automation.engine_error(
        'record_deleted', sqlstate, 'the record that the step is about was deleted');
    when others then
      status := 'failed';
      error := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  outcome := 'done';
  if obstacle.status is not null then
    perform automation.stop_execution(execution, obstacle.status, obstacle.reason);
    return;
  elsif result ? 'waiting' or status = 'failed' and automation.may_try_again(execution, step) then
    perform automation.put_off(execution, step, step_id, prepared, result, error, began);
    return;
  end if;
  perform automation.record_step_end(
    execution, step, step_id, status, prepared, result, error, automation.now(),
    (extract(epoch from clock_timestamp() - started) * 1000)::integer, began);
  next_key := automation.next_key(step, result);
  if automation.goes_on(status, result, plan -> 'steps' -> next_key) then
    outcome := 'go on';
  else
    perform automation.advance(execution, step, status, result, error);
  end if;
end;
$$;

create or replace function automation.goes_on(
  status public.automation_status, result jsonb, next_step jsonb)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      status <> 'failed' and not coalesce(result ?| '{wait_until,stop}', false)
      and next_step ->> 'lane' = 'database' and (next_step ->> 'delay_seconds')::numeric = 0,
      false)
  $$;

comment on function automation.goes_on(public.automation_status, jsonb, jsonb) is
  'May the next step run at once, in the same transaction?';

-- Steps inside Postgres fail for reasons that time alone seldom mends: they are tried again only where
-- the step says how often.
create or replace function automation.may_try_again(
  execution public.workflow_executions, step jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce((step #>> '{retry,max_attempts}')::integer, 1) > 1 + coalesce((
      select jsonb_array_length(s.attempts)
      from public.workflow_step_executions as s
      where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
        and s.step_key = step ->> 'key'), 0)
  $$;

-- The step stays open and comes back: when what it waits for may be there, or to be tried again.
create or replace function automation.put_off(
  execution public.workflow_executions, step jsonb, step_id uuid,
  prepared automation.prepared_step, result jsonb, error jsonb, seq bigint)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attempt constant jsonb := case when error is not null then jsonb_build_array(jsonb_build_object(
    'at', automation.now(), 'outcome', 'retry', 'error', error)) else '[]' end;
  tried integer;
begin
  insert into public.workflow_step_executions as s (
    tenant_id, id, execution_id, step_key, step_type, status, input, result_data, error, warnings,
    attempts, started_at, seq)
  values (
    execution.tenant_id, step_id, execution.id, step ->> 'key', step ->> 'type', 'waiting',
    prepared.input, result, error, prepared.warnings, attempt, automation.now(), put_off.seq)
  on conflict on constraint workflow_step_executions_once do update
    set status = 'waiting', input = excluded.input, result_data = excluded.result_data,
      error = excluded.error, warnings = excluded.warnings, attempts = s.attempts || attempt,
      finished_at = null
  returning jsonb_array_length(s.attempts) into tried;
  perform automation.schedule_step(execution, step, coalesce(
    (result ->> 'wait_until')::timestamptz,
    automation.now() + automation.backoff(tried, null, false, step -> 'retry')));
end;
$$;

-- sql/08_actions/04_flow.sql

-- Steps that decide how a run goes on. Each returns what it decided; automation.advance() acts on it:
--
--   branch      the branch to go on with
--   wait_until  the next step is not due before then
--   waiting     the step itself is not done: it comes back at wait_until, or when its event has come
--   stop        the run ends, with outcome as its status

-- The first case that holds, and what each one that was looked at saw: the answer to "why that way?".
create or replace function automation.choose_from(
  cases jsonb, context jsonb, zone text, at timestamptz)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked jsonb;
  looked_at jsonb := '[]'::jsonb;
begin
  for asked in select c.value from jsonb_array_elements(cases) as c loop
    looked_at := looked_at || (jsonb_build_object('branch', asked -> 'name')
      || automation.explain_conditions(nullif(asked -> 'conditions', 'null'), context, zone, at));
    if automation.evaluate_conditions(nullif(asked -> 'conditions', 'null'), context, zone, at) then
      return jsonb_build_object('branch', asked -> 'name', 'cases', looked_at);
    end if;
  end loop;
  return jsonb_build_object('branch', 'else', 'cases', looked_at);
end;
$$;

create or replace function automation.choose(
  execution public.workflow_executions, step jsonb, at timestamptz default automation.now())
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.choose_from(
      step -> 'cases', automation.execution_context(execution, step -> 'roots'),
      automation.tenant_zone(execution.tenant_id), at)
  $$;

-- Who was sent which way, so that it stays that way for the contact when weights change.
create table automation.split_assignments (
  tenant_id uuid not null,
  workflow_id uuid not null,
  step_key text not null,
  subject text not null,
  branch text not null,
  constraint split_assignments_pkey primary key (tenant_id, workflow_id, step_key, subject),
  constraint split_assignments_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade
);

comment on table automation.split_assignments is
  'The branch of a split that a contact (without one: a record) was given, for good.';

create or replace function automation.split_subject(execution public.workflow_executions) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      'contact ' || execution.contact_id, execution.entity || ' ' || execution.record_id,
      'run ' || execution.id)
  $$;

-- A place between 0 and 1 that looks drawn by lot and is always the same for the same contact and step.
create or replace function automation.lot(seed text) returns double precision
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select ('x' || encode(substr(sha256(convert_to(seed, 'UTF8')), 1, 6), 'hex'))::bit(48)::bigint
      / power(2::double precision, 48)
  $$;

create or replace function automation.draw_branch(branches jsonb, seed text) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select w.name
    from (
      select b.value ->> 'name' as name,
        sum((b.value ->> 'weight')::numeric) over (order by b.place) as upto,
        sum((b.value ->> 'weight')::numeric) over () as total, b.place
      from jsonb_array_elements(branches) with ordinality as b (value, place)
    ) as w
    where automation.lot(seed) * w.total < w.upto
    order by w.place
    limit 1
  $$;

comment on function automation.draw_branch(jsonb, text) is
  'One of [{name, weight}], by weight; the same for the same seed.';

create or replace function automation.split_seed(
  execution public.workflow_executions, step_key text)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select concat_ws('/', execution.workflow_id, step_key, automation.split_subject(execution)) $$;

create or replace function automation.split(
  execution public.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  drawn constant text := automation.draw_branch(
    input -> 'branches', automation.split_seed(execution, step_key));
  given text;
begin
  insert into automation.split_assignments as s (tenant_id, workflow_id, step_key, subject, branch)
  values (execution.tenant_id, execution.workflow_id, split.step_key,
    automation.split_subject(execution), drawn)
  on conflict on constraint split_assignments_pkey do update
    -- A branch that is gone from the workflow is nobody's any more.
    set branch = case when automation.branch_names(input) @> array[s.branch] then s.branch else drawn end
  returning s.branch into given;
  return jsonb_build_object('branch', given);
end;
$$;

create or replace function automation.stop(input jsonb) returns jsonb
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object(
      'stop', true, 'outcome', coalesce(input ->> 'outcome', 'completed'), 'reason', input -> 'reason')
  $$;

-- WAITING

-- tenant (the default), contact, or the zone by name.
create or replace function automation.wait_zone(
  execution public.workflow_executions, input jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      case input ->> 'zone'
        when 'contact' then automation.known_zone(
          automation.read_root(execution, 'contact') ->> automation.mapped_column('contact', 'timezone'))
        when 'tenant' then null
        else automation.known_zone(input ->> 'zone')
      end,
      automation.tenant_zone(execution.tenant_id), 'UTC')
  $$;

-- A wall clock time as an instant; one that a change of clocks leaves out is when the clocks have changed.
create or replace function automation.instant_of(wall timestamp, zone text) returns timestamptz
  language sql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(i.earlier, i.gap_end) from automation.wall_instants(wall, zone) as i $$;

-- The length that a wait names; null when it names none. Whole days follow the calendar, so that the
-- clock on the wall shows the same time; what is left goes by the clock.
create or replace function automation.wait_length(input jsonb) returns interval
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when input ? 'duration' then automation.duration_in(input -> 'duration')
      when input ?| '{minutes,hours,days,weeks}' then
        make_interval(days => trunc(d.days)::integer)
          + ((d.days - trunc(d.days)) * 24 + coalesce(automation.as_number(input, 'hours'), 0)) * interval '1 hour'
          + coalesce(automation.as_number(input, 'minutes'), 0) * interval '1 minute'
    end
    from (
      select coalesce(automation.as_number(input, 'days'), 0)
        + 7 * coalesce(automation.as_number(input, 'weeks'), 0) as days
    ) as d
  $$;

-- The next time the clock shows `time`, not before `from`.
create or replace function automation.next_time_of_day(from_at timestamptz, "time" time, zone text)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select min(i.at)
    from generate_series(0, 2) as day,
      lateral (
        select automation.instant_of((from_at at time zone zone)::date + day + "time", zone) as at
      ) as i
    where i.at >= from_at
  $$;

create or replace function automation.is_open_day(day date, days jsonb) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select days is null
      or days ? ('{mon,tue,wed,thu,fri,sat,sun}'::text[])[extract(isodow from day)::integer]
  $$;

-- The first moment from `from_at` on that lies within a window of hours and weekdays; a window that
-- closes before it opens goes on past midnight and belongs to the day it opens.
create or replace function automation.next_open(from_at timestamptz, "window" jsonb, zone text)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select min(greatest(from_at, w.opens))
    from generate_series(-1, 8) as ahead,
      lateral (select (from_at at time zone zone)::date + ahead as day) as d,
      lateral (
        select automation.instant_of(d.day + coalesce("window" ->> 'from', '00:00')::time, zone) as opens,
          automation.instant_of(
            d.day + coalesce("window" ->> 'to', '24:00')::time
              + case when coalesce("window" ->> 'to', '24:00')::time
                <= coalesce("window" ->> 'from', '00:00')::time then interval '1 day' else interval '0' end,
            zone) as closes
      ) as w
    where automation.is_open_day(d.day, "window" -> 'days') and w.closes > from_at and w.closes > w.opens
  $$;

-- What a wait for a length, a date, a time of day or a window comes to, as of `now`.
--   outcome  waited, past (the date had passed already) or missing (there was no date)
create or replace function automation.plan_wait(
  execution public.workflow_executions, input jsonb, now timestamptz,
  out until timestamptz, out outcome text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  zone constant text := automation.wait_zone(execution, input);
  length constant interval := automation.wait_length(input);
  by_day constant boolean := input ? 'until' or extract(day from length) > 0 or extract(month from length) > 0;
begin
  outcome := 'waited';
  until := case
    when input ? 'until' then automation.add_length(
      automation.as_time(execution, input, 'until'),
      coalesce(automation.signed_duration(input -> 'offset'), interval '0'), zone)
    else automation.add_length(now, coalesce(length, interval '0'), zone)
  end;
  if until is null then
    outcome := 'missing';
    return;
  end if;
  -- With days or a date, `at` is a time of that day; otherwise the next such time.
  if input ? 'at' and by_day then
    until := automation.instant_of((until at time zone zone)::date + (input ->> 'at')::time, zone);
  elsif input ? 'at' then
    until := automation.next_time_of_day(until, (input ->> 'at')::time, zone);
  end if;
  if input ? 'until' and until < now then
    outcome := 'past';
  end if;
  until := greatest(until, now);
  if input ? 'window' then
    until := automation.next_open(until, input -> 'window', zone);
  end if;
end;
$$;

comment on function automation.plan_wait(public.workflow_executions, jsonb, timestamptz) is
  'Until when a wait lasts. A length counts from now; until is a date, moved by offset; at is a time of '
  'day; window the hours and weekdays that it may end in, in the zone.';

create or replace function automation.wait_for_time(
  execution public.workflow_executions, input jsonb, now timestamptz default automation.now())
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  planned constant record := automation.plan_wait(execution, input, now);
  policy constant text := case planned.outcome
    when 'missing' then coalesce(input ->> 'if_missing', 'fail')
    when 'past' then coalesce(input ->> 'if_past', 'continue')
    else 'continue' end;
  said constant text := case planned.outcome
    when 'missing' then 'there is no date to wait for' else 'the date to wait for has passed' end;
begin
  if policy = 'fail' then
    raise exception 'until: %', said using errcode = 'invalid_parameter_value',
      hint = 'if_missing and if_past say what happens then: continue, stop or fail.';
  elsif policy = 'stop' then
    return automation.stop(jsonb_build_object('reason', said)) || jsonb_build_object('result', planned.outcome);
  end if;
  return jsonb_build_object('wait_until', coalesce(planned.until, now), 'result', planned.outcome);
end;
$$;

-- Where a wait begins to listen: where the step before it began, for a reply can be quicker than the report
-- that its question was sent; without one, where the run did.
create or replace function automation.listens_since(
  execution public.workflow_executions, step_key text,
  out seq bigint, out written_by xid8, out seen pg_snapshot)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select m.seq, m.written_by, m.seen
    from (
      select s.seq, s.written_by, s.seen from public.workflow_step_executions as s
      where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
        and s.step_key <> listens_since.step_key
      union all
      select execution.seq, execution.written_by, execution.seen
    ) as m
    order by m.seq desc
    limit 1
  $$;

create or replace function automation.received_event(
  execution public.workflow_executions, step_key text)
  returns jsonb
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('type', r.event, 'record', r.record, 'at', r.at)
    from automation.listens_since(execution, step_key) as m
    cross join (
      select e.event, e.record, e.at, e.seq, e.written_by from automation.run_events as e
      where e.tenant_id = execution.tenant_id and e.execution_id = execution.id
        and e.step_key = received_event.step_key
      union all
      select s.event, s.record, s.at, s.seq, s.written_by from automation.unread_signals(execution) as s
      where s.role = 'wait' and s.listener = received_event.step_key
    ) as r
    where automation.came_after(r.seq, r.written_by, m.seq, m.written_by, m.seen)
    order by r.seq
    limit 1
  $$;

create or replace function automation.wait_for_event(
  execution public.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  received constant jsonb := automation.received_event(execution, step_key);
  deadline timestamptz;
begin
  if received is not null then
    return jsonb_build_object('branch', 'event', 'result', 'event', 'event', received);
  end if;
  select (s.result_data ->> 'wait_until')::timestamptz into deadline
  from public.workflow_step_executions as s
  where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
    and s.step_key = wait_for_event.step_key and s.status = 'waiting';
  deadline := coalesce(deadline, automation.add_length(
    automation.now(), automation.duration_in(input -> 'timeout'), automation.wait_zone(execution, input)));
  if deadline <= automation.now() then
    return jsonb_build_object('branch', 'timeout', 'result', 'timeout');
  end if;
  return jsonb_build_object('wait_until', deadline, 'waiting', true);
end;
$$;

create or replace function automation.wait(
  execution public.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when input ? 'event' then automation.wait_for_event(execution, step_key, input)
      else automation.wait_for_time(execution, input)
    end
  $$;

-- sql/09_schedule/01_doorbell.sql

-- 09 SCHEDULE
--
-- What makes the engine move: a tick (pg_cron, or any client that calls automation.tick()), and a
-- doorbell that spares the wait for it. The doorbell is never delivery: with every ring lost, the
-- next tick finds the work.

-- At most once a transaction: the mark is a transaction-local setting.
create or replace function automation.ring_once() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_setting('automation.rung', true) = 'yes' then
    return;
  end if;
  perform set_config('automation.rung', 'yes', true);
  perform automation.ring();
end;
$$;

create or replace function automation.ring() returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  case automation.setting('doorbell')
    when 'notify' then
      perform pg_notify('ridgeline_doorbell', '');
    when 'pg_net' then
      perform automation.call_dispatch();
    else null;
  end case;
exception when others then
  -- A doorbell that is out of order costs latency, never the write that rang it.
  null;
end;
$$;

comment on function automation.ring() is
  'Tells the dispatcher that work is due, in the way the setting doorbell says. Never raises.';

-- pg_net sends after commit. URL and key come from Vault and are never stored in a row.
create or replace function automation.call_dispatch() returns bigint
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  url constant text := automation.vault_secret('ridgeline_dispatch_url');
  key constant text := automation.vault_secret('ridgeline_secret_key');
  request_id bigint;
begin
  if url is null or key is null then
    return null;
  end if;
  execute 'select net.http_post(url => $1, body => ''{}''::jsonb, headers => $2, '
    'timeout_milliseconds => 5000)'
    into request_id
    using url, jsonb_build_object('content-type', 'application/json', 'apikey', key);
  return request_id;
end;
$$;

create or replace function automation.vault_secret(secret_name text) returns text
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  secret text;
begin
  if to_regclass('vault.decrypted_secrets') is null then
    return null;
  end if;
  execute 'select s.decrypted_secret from vault.decrypted_secrets as s where s.name = $1'
    into secret using secret_name;
  return secret;
end;
$$;

-- sql/09_schedule/02_tick.sql

-- One tick: expired leases back into the queue, schedules and timers fired, records of bulk
-- enrolments taken, database steps run, the dispatcher called when there is something to send.
-- Bounded, idempotent and safe to run from several places at once.

-- Each of these is work of its own: what one of them cannot do does not keep the next from being done.
create or replace function automation.tick_part(part text) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set jit = off
  as $$
begin
  return case part
    when 'reaped' then automation.reap_expired_leases()
    when 'scheduled' then automation.run_schedules()
    when 'timers' then automation.fire_timers()
    when 'bulk' then automation.run_bulk()
  end;
end;
$$;

-- Calls the dispatcher when there is something to send.
create or replace function automation.ring_when_due() returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_due constant boolean := coalesce((
    select min(automation.next_due_at(l)) <= automation.now()
    from unnest(automation.channels()) as l), false);
begin
  if is_due then
    perform automation.ring_once();
  end if;
  return is_due;
end;
$$;

create or replace function automation.tick(max_steps integer default 200) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  reaped constant integer := automation.tick_part('reaped');
  scheduled constant integer := automation.tick_part('scheduled');
  timers constant integer := automation.tick_part('timers');
  bulk constant integer := automation.tick_part('bulk');
  ran constant integer := automation.run_database_steps(max_steps);
begin
  return jsonb_build_object(
    'reaped', reaped, 'scheduled', scheduled, 'timers', timers, 'bulk', bulk,
    'database_steps', ran, 'outbound_due', automation.ring_when_due());
end;
$$;

comment on function automation.tick(integer) is
  'A whole tick in one transaction: {reaped, scheduled, timers, bulk, database_steps, outbound_due}. '
  'For tests and by hand; tick_for() does the same in short ones.';

-- What pg_cron calls. Every part is a transaction of its own, and every database step, so that nobody who
-- wants a record that a workflow changes waits for more than that. A procedure that commits cannot carry a
-- search_path setting; every name in it is qualified instead.
create or replace procedure automation.tick_for(duration interval)
  language plpgsql
  -- No search_path: a procedure that commits cannot set it.
  as $$
declare
  until constant timestamptz := pg_catalog.clock_timestamp() + automation.allowed_time(duration);
  part text;
  did integer;
  ran integer;
begin
  loop
    did := 0;
    foreach part in array array['reaped', 'scheduled', 'timers', 'bulk'] loop
      did := did + automation.tick_part(part);
      commit;
    end loop;
    perform automation.ring_when_due();
    commit;
    call automation.work_database_steps(ran, 200, until - pg_catalog.clock_timestamp());
    perform automation.ring_when_due();
    commit;
    exit when pg_catalog.clock_timestamp() >= until;
    if did + ran = 0 then
      perform pg_catalog.pg_sleep(least(
        2, extract(epoch from until - pg_catalog.clock_timestamp())));
      commit;
    end if;
  end loop;
end;
$$;

comment on procedure automation.tick_for(interval) is
  'Ticks for so long, every two seconds while there is nothing to do; for half of statement_timeout at most. '
  'Commits as it goes.';

-- sql/09_schedule/03_cron.sql

-- pg_cron, where it is installed: one job for each concern, never one for a workflow.

create or replace function automation.has_seconds() returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      (select regexp_match(e.extversion, '^(\d+)\.(\d+)')::integer[] >= array[1, 5]
       from pg_catalog.pg_extension as e where e.extname = 'pg_cron'),
      false)
  $$;

comment on function automation.has_seconds() is
  'Does this server''s pg_cron take "5 seconds" as a schedule? From 1.5 it does.';

create or replace function automation.install_schedule() returns text[]
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_cron') then
    return array[]::text[];
  end if;
  if exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_net') then
    update automation.settings as s set value = 'pg_net' where s.name = 'doorbell';
  end if;
  if automation.has_seconds() then
    execute 'select cron.schedule($1, $2, $3)'
      using 'ridgeline-tick', '5 seconds', $job$call automation.tick_for('1 second')$job$;
  else
    execute 'select cron.schedule($1, $2, $3)'
      using 'ridgeline-tick', '* * * * *', $job$call automation.tick_for('50 seconds')$job$;
  end if;
  -- pg_cron keeps the details of every run for ever.
  execute 'select cron.schedule($1, $2, $3)'
    using 'ridgeline-prune', '17 3 * * *',
    $job$select automation.forget_listeners();
      delete from cron.job_run_details where end_time < now() - interval '7 days'$job$;
  return array['ridgeline-tick', 'ridgeline-prune'];
end;
$$;

comment on function automation.install_schedule() is
  'Creates or updates the cron jobs and turns the doorbell to pg_net where it is installed. '
  'Returns the names of the jobs; none where there is no pg_cron. Safe to call again.';

create or replace function automation.remove_schedule() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if exists (select from pg_catalog.pg_extension as e where e.extname = 'pg_cron') then
    execute $job$select cron.unschedule(j.jobname) from cron.job as j
      where j.jobname in ('ridgeline-tick', 'ridgeline-prune')$job$;
  end if;
end;
$$;

select automation.install_schedule();

-- sql/09_schedule/04_expressions.sql

-- Cron expressions: five fields, read into sets of minutes, hours and days; and the next moment a
-- schedule fires. The rules are those of croner (with fixedTimeRule "no-wildcard"), which a property
-- test holds this to; docs/time.md has them in words.

create type automation.cron as (
  minutes integer[],
  hours integer[],
  days integer[],
  months integer[],
  weekdays integer[],
  last_day boolean,
  any_day boolean,
  any_weekday boolean,
  fixed_time boolean,
  problems jsonb
);

comment on type automation.cron is
  'A cron expression, read. weekdays: for Sunday to Saturday, which of them in a month: bits 1 to 16 '
  'are the first to the fifth, 32 is the last, 63 is every one. fixed_time: no * and no step in the '
  'minute and the hour.';

-- MON -> 1 and JAN -> 1, where the name stands alone. Sunday ends a range as 7.
create or replace function automation.cron_names(field text, names text) returns text
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  name text;
  number integer;
  plain text := regexp_replace(upper(field), '-SUN(?![A-KM-Z0-9])', '-7', 'g');
begin
  for name, number in
    select n.name, n.number from unnest(string_to_array(names, ' ')) with ordinality as n (name, number)
  loop
    plain := regexp_replace(
      plain, '(?<![A-Z0-9/#])' || name || '(?![A-KM-Z0-9])',
      (case when names like 'SUN%' then number - 1 else number end)::text, 'g');
  end loop;
  return plain;
end;
$$;

-- One part of a list: *, 5, 1-5, */15, 1-30/5; for weekdays also 5L, 5#2 and 1-5#L.
create or replace function automation.cron_part(
  part text, lowest integer, highest integer,
  out numbers integer[], out nth integer, out problem text, out hint text)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_weekday constant boolean := highest = 7;
  read constant text[] := regexp_match(part,
    '^(?:([*])|([0-9]{1,4})(?:-([0-9]{1,4}))?)(?:/([0-9]{1,4}))?(?:#([1-5L])|(L))?$');
  from_number constant integer := coalesce(read[2]::integer, lowest);
  to_number constant integer := coalesce(
    read[3]::integer, read[2]::integer, case when is_weekday then 6 else highest end);
  step constant integer := coalesce(read[4]::integer, 1);
begin
  if read is null
    or coalesce(read[5], read[6]) is not null and not (is_weekday and read[1] is null) then
    problem := format('"%s" cannot be read', part);
    hint := 'A part is *, a number, a range such as 1-5, or a step such as */15 or 8-18/2'
      || case when is_weekday then '; or 5L (the last Friday) or 2#1 (the first Tuesday).' else '.' end;
  elsif read[4] is not null and read[1] is null and read[3] is null then
    problem := format('"%s" has a step without a range', part);
    hint := format('Write %s-%s/%s.', read[2], highest, read[4]);
  elsif from_number < lowest or to_number > highest then
    problem := format('"%s" is not from %s to %s', part, lowest, highest);
  elsif from_number > to_number then
    problem := format('"%s" runs backwards', part);
    hint := format('Write %s-%s,%s-%s.',
      from_number, case when is_weekday then 6 else highest end, lowest, to_number);
  elsif not step between 1 and (case when is_weekday then 7 else highest - lowest + 1 end) then
    problem := format('"%s" has a step that never comes up', part);
  end if;
  numbers := array(select g from generate_series(from_number, to_number, greatest(step, 1)) as g
    where problem is null);
  nth := case
    when read[6] is not null or read[5] = 'L' then 32
    when read[5] is not null then 1 << (read[5]::integer - 1)
    else 63
  end;
end;
$$;

create or replace function automation.cron_field(
  field text, name text, lowest integer, highest integer,
  out numbers integer[], out masks integer[], out problems jsonb)
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  part record;
begin
  numbers := '{}';
  masks := '{0,0,0,0,0,0,0}';
  problems := '[]';
  for part in
    select p.* from unnest(string_to_array(field, ',')) as f (written),
      automation.cron_part(f.written, lowest, highest) as p
  loop
    if part.problem is not null then
      problems := problems || automation.problem(
        '', 'invalid_cron', format('%s: %s', name, part.problem), part.hint);
    end if;
    numbers := numbers || part.numbers;
    masks := array(
      select m.mask | case when (m.place - 1)::integer = any (
        array(select n % 7 from unnest(part.numbers) as n)) then part.nth else 0 end
      from unnest(masks) with ordinality as m (mask, place) order by m.place);
  end loop;
  numbers := array(select distinct n from unnest(numbers) as n order by n);
end;
$$;

create or replace function automation.cron_fields(expression text) returns text[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case lower(btrim(expression, E' \t\r\n'))
      when '@yearly' then '{0,0,1,1,*}'::text[]
      when '@annually' then '{0,0,1,1,*}'
      when '@monthly' then '{0,0,1,*,*}'
      when '@weekly' then '{0,0,*,*,0}'
      when '@daily' then '{0,0,*,*,*}'
      when '@midnight' then '{0,0,*,*,*}'
      when '@hourly' then '{0,*,*,*,*}'
      else regexp_split_to_array(
        replace(upper(btrim(expression, E' \t\r\n')), '?', '*'), '[ \t\r\n]+')
    end
  $$;

create or replace function automation.compile_cron(expression text, path text default 'cron')
  returns automation.cron
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  fields text[] := automation.cron_fields(left(expression, 400));
  minute record;
  hour record;
  day record;
  month record;
  weekday record;
  days_only text;
  compiled automation.cron;
begin
  if coalesce(cardinality(fields), 0) <> 5 then
    compiled.problems := jsonb_build_array(automation.problem(
      path, 'invalid_cron', format('"%s" has %s fields, not five', left(expression, 60),
        coalesce(cardinality(fields), 0)),
      'minute hour day-of-month month day-of-week, such as "0 9 * * MON"; or @daily.'));
    return compiled;
  end if;
  -- L, the last day of the month, is a part of its own.
  days_only := array_to_string(array_remove(string_to_array(fields[3], ','), 'L'), ',');
  select f.* into minute from automation.cron_field(fields[1], 'minute', 0, 59) as f;
  select f.* into hour from automation.cron_field(fields[2], 'hour', 0, 23) as f;
  select f.* into day from automation.cron_field(days_only, 'day of month', 1, 31) as f;
  select f.* into month from automation.cron_field(automation.cron_names(
    fields[4], 'JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC'), 'month', 1, 12) as f;
  select f.* into weekday from automation.cron_field(automation.cron_names(
    fields[5], 'SUN MON TUE WED THU FRI SAT'), 'day of week', 0, 7) as f;
  compiled := row(
    minute.numbers, hour.numbers, day.numbers, month.numbers, weekday.masks,
    fields[3] ~ '(^|,)L(,|$)', days_only = '*', fields[5] = '*',
    fields[1] || fields[2] !~ '[*/]',
    (select coalesce(jsonb_agg(p || jsonb_build_object('path', path)), '[]')
     from jsonb_array_elements(
       minute.problems || hour.problems || day.problems || month.problems || weekday.problems) as p)
    )::automation.cron;
  return compiled;
end;
$$;

comment on function automation.compile_cron(text, text) is
  'Reads a cron expression; problems lists what is wrong with it, each with a hint.';

-- The days of a month that an expression names. A day of the month and a day of the week that are
-- both given mean either, as in every cron since Vixie's.
create or replace function automation.cron_days(cron automation.cron, month date) returns integer[]
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select d.day
      from (
        select (month + interval '1 month')::date - month as days,
          extract(dow from month)::integer as first_weekday
      ) as m
      cross join lateral (
        select g as day,
          g = any (cron.days) or cron.last_day and g = m.days as by_day,
          cron.weekdays[(m.first_weekday + g - 1) % 7 + 1] as mask,
          1 << ((g - 1) / 7) | case when g + 7 > m.days then 32 else 0 end as which
        from generate_series(1, m.days) as g
      ) as d
      where case
        when cron.any_weekday then d.by_day
        when cron.any_day then d.mask & d.which <> 0
        else d.by_day or d.mask & d.which <> 0
      end
      order by d.day)
  $$;

-- The first minute of the wall clock after a given one. Fifty years cover every date there is (the
-- rarest, a fifth Monday in February, comes every forty years at the latest): beyond them, never.
create or replace function automation.next_wall(cron automation.cron, after timestamp)
  returns timestamp
  language plpgsql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  start constant timestamp := date_trunc('minute', after) + interval '1 minute';
  month date := date_trunc('month', start);
  at_hour constant integer := extract(hour from start);
  at_minute constant integer := extract(minute from start);
  day integer := extract(day from start);
  hour integer;
  minute integer;
begin
  if day = any (automation.cron_days(cron, month))
    and extract(month from start) = any (cron.months) then
    minute := (select min(m) from unnest(cron.minutes) as m where m >= at_minute);
    hour := (select min(h) from unnest(cron.hours) as h
      where h > at_hour or h = at_hour and minute is not null);
    if hour is not null then
      return month + (day - 1) + make_interval(hours => hour,
        mins => case when hour = at_hour then minute else cron.minutes[1] end);
    end if;
  end if;
  for months in 1..601 loop
    if extract(month from month) = any (cron.months) then
      day := (select min(d) from unnest(automation.cron_days(cron, month)) as d where d > day);
      if day is not null then
        return month + (day - 1) + make_interval(hours => cron.hours[1], mins => cron.minutes[1]);
      end if;
    end if;
    month := month + interval '1 month';
    day := 0;
  end loop;
  return null;
end;
$$;

-- The instants a wall clock time stands for: one, two where the clock was put back, none where it
-- was put forward; then `gap_end` is the first instant after the gap.
create or replace function automation.wall_instants(
  wall timestamp, zone text, out earlier timestamptz, out later timestamptz, out gap_end timestamptz)
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  found constant timestamptz := wall at time zone zone;
  shown constant timestamp := found at time zone zone;
  reach constant interval := interval '3 hours';
  other timestamptz;
  low timestamptz;
begin
  if shown = wall then
    earlier := found;
    -- Had the clock not changed in these hours, the same time would be found at another instant.
    other := found - (((found - reach) at time zone zone) - (shown - reach));
    if other < found and other at time zone zone = wall then
      earlier := other;
      later := found;
      return;
    end if;
    other := found - (((found + reach) at time zone zone) - (shown + reach));
    if other > found and other at time zone zone = wall then
      later := other;
    end if;
    return;
  end if;
  -- Both sides of the change: the offset before it is still that of `low`.
  low := least(found, found - (shown - wall));
  gap_end := greatest(found, found - (shown - wall));
  while gap_end - low > interval '1 second' loop
    other := date_trunc('second', low + (gap_end - low) / 2);
    if (other at time zone zone) - (other at time zone 'UTC')
      = (low at time zone zone) - (low at time zone 'UTC') then
      low := other;
    else
      gap_end := other;
    end if;
  end loop;
end;
$$;

-- Walks the wall clock on from a moment. Where the clock is put back, a fixed time counts once, the
-- first time; an interval goes on through both hours. Where it is put forward, a fixed time fires
-- as soon as the gap has passed, on the same day, and an interval leaves the gap out.
create or replace function automation.walk_cron(
  cron automation.cron, zone text, start timestamp, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  wall timestamp := automation.next_wall(cron, start);
  instants record;
begin
  while wall is not null loop
    select i.* into instants from automation.wall_instants(wall, zone) as i;
    if instants.earlier > after then
      return instants.earlier;
    elsif instants.later > after and not cron.fixed_time then
      return instants.later;
    elsif instants.gap_end > after and cron.fixed_time
      and (instants.gap_end at time zone zone)::date = wall::date then
      return instants.gap_end;
    end if;
    wall := automation.next_wall(cron,
      case when instants.gap_end is null or cron.fixed_time then wall
        else (instants.gap_end at time zone zone) - interval '1 minute' end);
  end loop;
  return null;
end;
$$;

-- In the first of two passes through an hour, the second is ahead although its wall clock is not.
create or replace function automation.second_pass(at timestamptz, zone text) returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  instants record;
  low timestamptz := date_trunc('second', at);
  high timestamptz;
  middle timestamptz;
begin
  select i.* into instants from automation.wall_instants(low at time zone zone, zone) as i;
  if instants.later is null or low >= instants.later then
    return null;
  end if;
  high := instants.later;
  while high - low > interval '1 second' loop
    middle := date_trunc('second', low + (high - low) / 2);
    if (middle at time zone zone) - (middle at time zone 'UTC')
      = (low at time zone zone) - (low at time zone 'UTC') then
      low := middle;
    else
      high := middle;
    end if;
  end loop;
  return high;
end;
$$;

create or replace function automation.next_cron(
  cron automation.cron, zone text, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  ahead constant timestamptz :=
    automation.walk_cron(cron, zone, after at time zone zone, after);
  repeated timestamptz;
begin
  if not cron.fixed_time then
    repeated := automation.second_pass(after, zone);
    if repeated is not null then
      return least(ahead, automation.walk_cron(
        cron, zone, (repeated at time zone zone) - interval '1 minute', repeated - interval '1 second'));
    end if;
  end if;
  return ahead;
end;
$$;

create or replace function automation.next_fire(expression text, zone text, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  read constant automation.cron := automation.compile_cron(expression);
  known constant text := automation.known_zone(zone);
begin
  perform automation.raise_problems(read.problems, 'this schedule cannot be read');
  if known is null and zone is not null then
    raise exception 'zone: "%" is not a time zone', left(zone, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Use an IANA name such as America/Chicago.';
  end if;
  return automation.next_cron(read, known, after);
end;
$$;

comment on function automation.next_fire(text, text, timestamptz) is
  'The first moment after another at which a cron expression fires in a time zone; null when it '
  'never does, such as on 30 February.';

-- Years, months, weeks and days by the calendar of the zone, so that three days from ten o'clock is
-- ten o'clock; hours and minutes by the clock.
create or replace function automation.add_length(at timestamptz, length interval, zone text)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  calendar constant interval := make_interval(
    years => extract(year from length)::integer, months => extract(month from length)::integer,
    days => extract(day from length)::integer);
begin
  if calendar = interval '0' then
    return at + length;
  end if;
  return (((at at time zone zone) + calendar) at time zone zone) + (length - calendar);
end;
$$;

-- The first multiple of `every` from an anchor that lies after a moment. The first guess is never
-- too late, because no month is longer than 31 days and no day longer than 25 hours.
create or replace function automation.next_every(
  anchor timestamptz, every interval, zone text, after timestamptz)
  returns timestamptz
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
declare
  longest constant numeric := (extract(year from every) * 12 + extract(month from every)) * 31 * 90000
    + extract(day from every) * 90000
    + extract(hour from every) * 3600 + extract(minute from every) * 60;
  times integer := greatest(1, floor(extract(epoch from after - anchor) / longest));
  fires timestamptz;
begin
  loop
    fires := automation.add_length(anchor, every * times, zone);
    exit when fires > after;
    times := times + 1;
  end loop;
  return fires;
end;
$$;

comment on function automation.next_every(timestamptz, interval, text, timestamptz) is
  'When something that happens every so often, counted from an anchor, happens next.';

-- sql/09_schedule/05_time_triggers.sql

-- trigger_config of the two triggers that time fires: what it may say, and what it means.

create or replace function automation.config_problems(
  config jsonb, known_keys text[], missed text[], path text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(p.problem), '[]')
    from (
      select automation.problem(path || '.' || k.key, 'unknown_key',
        format('there is no setting "%s" here', k.key),
        'Known: ' || array_to_string(known_keys, ', ')) as problem
      from jsonb_object_keys(config) as k (key)
      where not k.key = any (known_keys)
      union all
      select automation.problem(path || '.zone', 'unknown_zone',
        format('%s is not a time zone', config -> 'zone'), 'Use an IANA name such as America/Chicago.')
      where config ? 'zone' and automation.known_zone(config ->> 'zone') is null
      union all
      select automation.problem(path || '.missed', 'invalid_value',
        format('missed cannot be %s', config -> 'missed'),
        'One of ' || array_to_string(missed, ', ') || '.')
      where config ? 'missed' and not coalesce(config ->> 'missed' = any (missed), false)
    ) as p
  $$;

create or replace function automation.check_entity(entity text, path text) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when exists (select from automation.entities as e where e.name = check_entity.entity) then '[]'
      else jsonb_build_array(automation.problem(
        path, 'unknown_entity', format('there is no entity "%s"', entity),
        'Known: ' || (select string_agg(e.name, ', ' order by e.name) from automation.entities as e)))
    end
  $$;

-- scheduled: {cron | every, zone?, missed?, for_each?: {entity, conditions?}}
create or replace function automation.compile_schedule(
  config jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  expression constant text := config ->> 'cron';
  every constant interval := automation.duration_in(config -> 'every');
  each constant jsonb := config -> 'for_each';
  read automation.cron;
  filter record;
begin
  problems := automation.config_problems(
    config, '{cron,every,zone,missed,for_each}', '{once,skip,catch_up}', path);
  compiled := jsonb_build_object(
    'zone', automation.known_zone(config ->> 'zone'), 'missed', coalesce(config ->> 'missed', 'once'));
  if config ? 'cron' = config ? 'every' then
    problems := problems || automation.problem(
      path || '.cron', 'missing', 'a scheduled workflow needs either cron or every',
      'For example {"cron": "0 9 * * MON"} or {"every": "2 hours"}.');
  elsif config ? 'every' then
    compiled := compiled || jsonb_build_object('every', every);
    if every is null or every < interval '1 minute' then
      problems := problems || automation.problem(
        path || '.every', 'invalid_duration', format('%s is no length of time', config -> 'every'),
        'At least a minute: "15 minutes", "2 hours", "1 day".');
    end if;
  else
    compiled := compiled || jsonb_build_object('cron', expression);
    read := automation.compile_cron(coalesce(expression, ''), path || '.cron');
    problems := problems || read.problems;
    if read.problems = '[]'
      and automation.next_cron(read, 'UTC', automation.now()) is null then
      problems := problems || automation.problem(
        path || '.cron', 'never_fires', format('"%s" names a day that never comes', expression));
    end if;
  end if;
  if config ? 'for_each' then
    problems := problems || automation.check_entity(each ->> 'entity', path || '.for_each.entity');
    select c.* into filter
    from automation.compile_conditions(each -> 'conditions', path || '.for_each.conditions') as c;
    problems := problems || filter.problems;
    compiled := compiled || jsonb_build_object(
      'entity', each -> 'entity', 'conditions', filter.compiled);
  end if;
end;
$$;

-- "-24 hours" -> a negative interval. The older engines wrote {"days": 3}.
create or replace function automation.signed_duration(value jsonb) returns interval
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when jsonb_typeof(value) = 'string' and value #>> '{}' ~ '^ *-'
        then - automation.duration_in(to_jsonb(regexp_replace(value #>> '{}', '^ *- *', '')))
      when jsonb_typeof(value) = 'string'
        then automation.duration_in(to_jsonb(regexp_replace(value #>> '{}', '^ *[+] *', '')))
      else automation.duration_in(value)
    end
  $$;

-- "10 business days", "-2 business days", {"business_days": 10} -> 10, -2, 10; null when it is anything
-- else. A year at most, and not none: which day would that be on a Sunday?
create or replace function automation.business_days_in(value jsonb) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select nullif(n.days, 0)
    from (
      select case jsonb_typeof(value)
        when 'string' then replace(substring(
          lower(value #>> '{}') from '^ *([+-]? *[0-9]{1,3}) *business[ _-]?days? *$'), ' ', '')::integer
        when 'object' then case
          when value - 'business_days' = '{}' and value ->> 'business_days' ~ '^[+-]?[0-9]{1,3}$'
          then (value ->> 'business_days')::integer end
      end as days
    ) as n
    where n.days between -366 and 366
  $$;

-- zone: contact is known to timers alone, and only where there is a contact.
create or replace function automation.check_contact_zone(entity text, config jsonb, path text)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_agg(automation.problem(
      path || '.zone', 'no_contact', format('%s belongs to no contact whose zone it could be', entity),
      'Name a zone, or leave it out for the tenant''s.')), '[]')
    from automation.entities as e
    where config ->> 'zone' = 'contact' and e.name = check_contact_zone.entity and e.name <> 'contact'
      and not e.related ?| '{contact,project}'
  $$;

-- time_elapsed: {entity?, field | changed, offset, at?, zone?, missed?, existing?}
create or replace function automation.compile_timer(
  config jsonb, path text, out compiled jsonb, out problems jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  lengths constant text[] := array['minutes', 'hours', 'days', 'business_days', 'weeks', 'months', 'years'];
  written constant jsonb := coalesce(config -> 'offset', nullif(
    (select jsonb_object_agg(l, config -> l) from unnest(lengths) as l where config ? l), '{}'));
  business_days constant integer := automation.business_days_in(written);
  length constant interval := case
    when business_days is null then automation.signed_duration(written) else interval '0' end;
  zone constant text := config ->> 'zone';
  entity constant text := coalesce(config ->> 'entity', 'contact');
  field text := coalesce(config ->> 'changed', config ->> 'field', 'created_at');
begin
  field := coalesce((
    select automation.own_name(e, field) from automation.entities as e where e.name = entity), field);
  problems := automation.config_problems(
    case zone when 'contact' then config - 'zone' else config end,
    array['entity', 'field', 'changed', 'offset', 'at', 'zone', 'missed', 'existing'] || lengths,
    '{once,skip}', path) || automation.check_entity(entity, path || '.entity')
    || automation.check_contact_zone(entity, config, path);
  if length is null then
    problems := problems || automation.problem(
      path || '.offset', 'invalid_duration',
      case when written is null then 'a timer needs an offset'
        else format('%s is no length of time', written) end,
      'For example "3 days" or "10 business days" (after the date), or "-24 hours" (before it).');
  elsif config ? 'changed' and (length < interval '0' or business_days < 0) then
    problems := problems || automation.problem(
      path || '.offset', 'invalid_duration', 'nothing can be known before a field changes',
      'Leave out the minus sign, or name a date in field.');
  end if;
  if config ? 'at' and coalesce(config ->> 'at', '') !~ '^([01][0-9]|2[0-3]):[0-5][0-9]$' then
    problems := problems || automation.problem(
      path || '.at', 'invalid_value', format('%s is no time of day', config -> 'at'),
      'From "00:00" to "23:59".');
  end if;
  problems := problems || coalesce((
    select automation.problem(
      path || case when config ? 'changed' then '.changed' else '.field' end, 'unknown_field',
      format('%s has no column "%s"', entity, field),
      'Its columns: ' || array_to_string(e.columns, ', '))
    from automation.entities as e
    where e.name = entity and not split_part(field, '.', 1) = any (e.columns)), '[]');
  compiled := jsonb_build_object(
    'entity', entity, 'field', field, 'follows', case when config ? 'changed' then 'change' else 'value' end,
    'offset', length, 'business_days', business_days, 'at', config -> 'at',
    'zone', case zone when 'contact' then zone else automation.known_zone(zone) end,
    'missed', coalesce(config ->> 'missed', 'once'),
    'existing', coalesce(config -> 'existing' <> 'false', true) and not config ? 'changed');
end;
$$;

-- Capture never asks about these triggers, so their listener has no entity and matches anything.
create or replace function automation.compile_time_trigger(
  trigger_type text, config jsonb, path text)
  returns automation.compiled_trigger
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  compiled automation.compiled_trigger;
begin
  compiled.entity := '';
  compiled.match := '{}';
  compiled.problems := case trigger_type
    when 'scheduled' then (select c.problems from automation.compile_schedule(config, path) as c)
    else (select c.problems from automation.compile_timer(config, path) as c)
  end;
  return compiled;
end;
$$;

-- What a published workflow waits for in time, from now on. Publishing it again with the same
-- trigger_config changes no date that is waited for.
create or replace function automation.start_waiting(version public.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if version.trigger_type is distinct from 'scheduled' then
    delete from public.workflow_schedules as s
    where s.tenant_id = version.tenant_id and s.workflow_id = version.workflow_id;
  else
    perform automation.start_schedule(version);
  end if;
  if version.trigger_type is distinct from 'time_elapsed' then
    delete from automation.timer_listeners as t
    where t.tenant_id = version.tenant_id and t.workflow_id = version.workflow_id;
  else
    perform automation.start_timers(version);
  end if;
end;
$$;

create or replace function automation.stop_waiting(tenant_id uuid, workflow_id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from public.workflow_schedules as s
  where s.tenant_id = stop_waiting.tenant_id and s.workflow_id = stop_waiting.workflow_id;
  delete from automation.timer_listeners as t
  where t.tenant_id = stop_waiting.tenant_id and t.workflow_id = stop_waiting.workflow_id;
end;
$$;

comment on function automation.stop_waiting(uuid, uuid) is
  'For a workflow that is switched off. Its timers are not deleted here, there may be a million: '
  'each is dropped when it is due.';

-- trigger_data of a record that no write brought up: what capture makes, with what fired it.
create or replace function automation.snapshot(
  entity text, tenant_id uuid, record jsonb, more jsonb default '{}')
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when e.related = '{}' then d.data
      else automation.add_related(d.data, snapshot.tenant_id, record, e.related)
    end
    from automation.entities as e
    cross join lateral (
      select more || jsonb_build_object(
        'entity', e.name, e.name, record, e.name || '_id', record -> e.id_column,
        'user_id', automation.current_user_id()) as data
    ) as d
    where e.name = snapshot.entity
  $$;

-- enrolled, failed (with an execution that says why) or skipped (its conditions were not met).
create or replace function automation.enrol_if_met(
  version public.workflow_versions, trigger_type text, data jsonb)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  enrolment automation.enrolment := automation.enrolment_of(version, trigger_type);
  verdict constant jsonb := case
    when version.conditions is null then 'true'
    else automation.try_conditions(version.conditions, version.tenant_id, data)
  end;
begin
  if verdict = 'false' then
    return 'skipped';
  elsif verdict <> 'true' then
    enrolment.failure := verdict;
  end if;
  perform automation.enrol(
    version.tenant_id, data ->> 'entity', data ->> ((data ->> 'entity') || '_id'), data, enrolment);
  return case when enrolment.failure is null then 'enrolled' else 'failed' end;
end;
$$;

-- sql/09_schedule/06_schedules.sql

-- Scheduled workflows: one row each, found by when it runs next, moved on by the tick.

create table public.workflow_schedules (
  tenant_id uuid not null,
  workflow_id uuid not null,
  version integer not null,
  config jsonb not null,
  cron text,
  every interval,
  zone text,
  missed text not null
    constraint workflow_schedules_missed_known check (missed in ('once', 'skip', 'catch_up')),
  entity text,
  conditions jsonb,
  anchor_at timestamptz not null default automation.now(),
  next_run_at timestamptz,
  last_run_at timestamptz,
  error jsonb,
  constraint workflow_schedules_pkey primary key (tenant_id, workflow_id),
  constraint workflow_schedules_version_fk foreign key (tenant_id, workflow_id, version)
    references public.workflow_versions (tenant_id, workflow_id, version) on delete cascade,
  constraint workflow_schedules_cron_or_every check ((cron is null) <> (every is null))
);

comment on table public.workflow_schedules is
  'When each active scheduled workflow runs next. The engine writes it; people read it.';
comment on column public.workflow_schedules.zone is 'Null: the tenant''s zone, as it is at each run.';
comment on column public.workflow_schedules.entity is
  'Runs once for each record of it that meets conditions; null: once for the tenant.';
comment on column public.workflow_schedules.anchor_at is 'What `every` is counted from.';

create index workflow_schedules_due
  on public.workflow_schedules (next_run_at, tenant_id) where next_run_at is not null;
create index workflow_schedules_by_version
  on public.workflow_schedules (workflow_id, tenant_id, version);

insert into automation.settings (name, value, description) values
  ('time_grace', '5 minutes',
   'How late a timer or a run of a schedule may be without counting as missed.'),
  ('catch_up_window', '7 days',
   'How far back a schedule that catches up goes.');

create or replace function automation.next_run(
  schedule public.workflow_schedules, after timestamptz)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  zone constant text := coalesce(schedule.zone, automation.tenant_zone(schedule.tenant_id), 'UTC');
begin
  return case
    when schedule.cron is not null then automation.next_fire(schedule.cron, zone, after)
    else automation.next_every(schedule.anchor_at, schedule.every, zone, after)
  end;
end;
$$;

create or replace function automation.start_schedule(version public.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  started public.workflow_schedules;
  compiled jsonb;
begin
  update public.workflow_schedules as s set version = start_schedule.version.version
  where s.tenant_id = start_schedule.version.tenant_id
    and s.workflow_id = start_schedule.version.workflow_id
    and s.config = start_schedule.version.trigger_config;
  if found then
    return;
  end if;
  compiled := (select c.compiled
    from automation.compile_schedule(version.trigger_config, 'trigger_config') as c);
  started := jsonb_populate_record(null::public.workflow_schedules, compiled);
  started.tenant_id := version.tenant_id;
  started.workflow_id := version.workflow_id;
  started.version := version.version;
  started.config := version.trigger_config;
  started.anchor_at := automation.now();
  started.next_run_at := automation.next_run(started, automation.now());
  delete from public.workflow_schedules as s
  where s.tenant_id = started.tenant_id and s.workflow_id = started.workflow_id;
  insert into public.workflow_schedules select started.*;
end;
$$;

-- One run. For each record: a bulk enrolment does it, a batch at a time.
create or replace function automation.run_occurrence(
  schedule public.workflow_schedules, scheduled_at timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version public.workflow_versions;
  data constant jsonb := jsonb_build_object('scheduled_at', scheduled_at);
begin
  if schedule.entity is not null then
    insert into public.bulk_enrollments (tenant_id, workflow_id, kind, entity, conditions, data)
    values (schedule.tenant_id, schedule.workflow_id, 'scheduled', schedule.entity,
      schedule.conditions, data);
    return;
  end if;
  select v.* into version from public.workflow_versions as v
  where v.tenant_id = schedule.tenant_id and v.workflow_id = schedule.workflow_id
    and v.version = schedule.version;
  perform automation.enrol_if_met(version, 'scheduled', data);
end;
$$;

-- Runs what is due of one schedule, at most so many times, and says how often. What was missed (more
-- than time_grace ago): once runs one time for all of it, skip not at all, catch_up each one,
-- oldest first, over as many ticks as it takes.
create or replace function automation.run_schedule(
  schedule public.workflow_schedules, at_most integer)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
  oldest constant timestamptz := case schedule.missed
    when 'skip' then at - automation.setting('time_grace')::interval
    when 'catch_up' then at - automation.setting('catch_up_window')::interval
  end;
  due timestamptz := schedule.next_run_at;
  ran integer := 0;
begin
  if due < oldest then
    due := automation.next_run(schedule, oldest);
  end if;
  while due <= at and ran < at_most and not automation.is_sweeping(schedule) loop
    perform automation.run_occurrence(schedule, due);
    ran := ran + 1;
    due := automation.next_run(schedule, case schedule.missed when 'once' then at else due end);
  end loop;
  update public.workflow_schedules as s
  set next_run_at = due, error = null, last_run_at = case when ran > 0 then at else s.last_run_at end
  where s.tenant_id = schedule.tenant_id and s.workflow_id = schedule.workflow_id;
  return ran;
end;
$$;

-- A run over many records that is still going on is not overtaken by the next.
create or replace function automation.is_sweeping(schedule public.workflow_schedules) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select schedule.entity is not null and exists (
      select from public.bulk_enrollments as b
      where b.tenant_id = schedule.tenant_id and b.workflow_id = schedule.workflow_id
        and b.kind = 'scheduled' and b.status = 'running')
  $$;

create or replace function automation.run_schedules(max_schedules integer default 200)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  schedule public.workflow_schedules;
  ran integer := 0;
begin
  for schedule in
    select s.* from public.workflow_schedules as s
    where s.next_run_at <= automation.now()
    order by s.next_run_at
    limit max_schedules
    for update skip locked
  loop
    -- One broken schedule does not hold up the others: it is tried again in a minute.
    begin
      ran := ran + automation.run_schedule(schedule, 20);
    exception when others then
      update public.workflow_schedules as s
      set next_run_at = automation.now() + interval '1 minute',
        error = automation.engine_error('schedule_failed', sqlstate, sqlerrm)
      where s.tenant_id = schedule.tenant_id and s.workflow_id = schedule.workflow_id;
    end;
  end loop;
  return ran;
end;
$$;

comment on function automation.run_schedules(integer) is
  'Runs the scheduled workflows that are due and says how many runs that were. The tick calls it.';

-- sql/09_schedule/07_timers.sql

-- Timers: a time before or after a date of a record. One row for each record that waits, found by
-- when it is due; nothing ever scans the records for it.
--
-- Lock order: a writer holds its record and then writes timers; the tick holds timers and reads
-- records without locking them.

create table automation.timer_listeners (
  tenant_id uuid not null,
  workflow_id uuid not null,
  version integer not null,
  config jsonb not null,
  generation uuid not null default automation.new_id(),
  entity text not null,
  field text not null,
  follows text not null
    constraint timer_listeners_follows_known check (follows in ('value', 'change')),
  "offset" interval not null,
  business_days integer,
  at time,
  zone text,
  missed text not null constraint timer_listeners_missed_known check (missed in ('once', 'skip')),
  constraint timer_listeners_pkey primary key (tenant_id, workflow_id),
  constraint timer_listeners_version_fk foreign key (tenant_id, workflow_id, version)
    references public.workflow_versions (tenant_id, workflow_id, version) on delete cascade
);

comment on table automation.timer_listeners is
  'What each active time_elapsed workflow waits for.';
comment on column automation.timer_listeners.generation is
  'New whenever what is waited for changes; timers of an older one are dropped when they are due.';

comment on column automation.timer_listeners.business_days is
  'Instead of an offset: so many days from Monday to Friday that are no holiday of the tenant.';
comment on column automation.timer_listeners.zone is
  'An IANA name, or contact: the zone of the record''s contact. Null: the tenant''s.';

create index timer_listeners_by_entity on automation.timer_listeners (entity, tenant_id);
create index timer_listeners_by_version
  on automation.timer_listeners (workflow_id, tenant_id, version);

create table public.workflow_timers (
  tenant_id uuid not null,
  workflow_id uuid not null,
  record_id text not null,
  due_at timestamptz not null,
  generation uuid not null,
  depth smallint not null default 0,
  constraint workflow_timers_pkey primary key (tenant_id, workflow_id, record_id),
  constraint workflow_timers_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade
);

comment on table public.workflow_timers is
  'Records that wait for a time_elapsed workflow, and until when.';
comment on column public.workflow_timers.depth is
  '1 when an automation''s own write set the timer, so that a loop meets the limits of chapter 03.';

create index workflow_timers_due on public.workflow_timers (due_at, tenant_id);
create index workflow_timers_due_by_workflow
  on public.workflow_timers (workflow_id, tenant_id, due_at);

-- Null: there is no contact, or it does not say, or says no zone.
create or replace function automation.contact_zone(entity text, tenant_id uuid, record jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.known_zone(c.contact ->> automation.mapped_column('contact', 'timezone'))
    from automation.entities as e
    cross join lateral (
      select case e.name
        when 'contact' then record
        else automation.add_related('{}', contact_zone.tenant_id, record, e.related) -> 'contact'
      end as contact
    ) as c
    where e.name = contact_zone.entity
  $$;

create or replace function automation.timer_zone(listener automation.timer_listeners, record jsonb)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      case listener.zone
        when 'contact' then automation.contact_zone(listener.entity, listener.tenant_id, record)
        else listener.zone
      end,
      automation.tenant_zone(listener.tenant_id), 'UTC')
  $$;

-- Could an update have changed the zone that a timer goes by? A contact that moves is seen here; the
-- timers of its appointments find out when they are due.
create or replace function automation.zone_moved(
  listener automation.timer_listeners, old jsonb, new jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select listener.zone = 'contact' and listener.follows = 'value' and exists (
      select from automation.entities as e
      cross join lateral unnest(case e.name
        when 'contact' then array[e.mapped ->> 'timezone']
        else array[e.related ->> 'contact', e.related ->> 'project'] end) as c (name)
      where e.name = listener.entity and old ->> c.name is distinct from new ->> c.name)
  $$;

-- tenants.settings: {"holidays": ["2026-12-25", ...]}. What is no date there is passed over.
create or replace function automation.tenant_holidays(tenant_id uuid) returns date[]
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select array(
      select left(h.day, 10)::date
      from public.tenants as t
      cross join lateral jsonb_array_elements_text(case jsonb_typeof(t.settings -> 'holidays')
        when 'array' then t.settings -> 'holidays' else '[]' end) as h (day)
      where t.id = tenant_holidays.tenant_id and automation.is_date(left(h.day, 10)))
  $$;

comment on function automation.tenant_holidays(uuid) is
  'The days besides Saturdays and Sundays that are no business days of a tenant.';

-- The nth business day after a day, or before it; the day itself is not counted.
create or replace function automation.business_day(day date, days integer, holidays date[])
  returns date
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select d.day
    from generate_series(1, ((abs(days) + cardinality(holidays)) / 5 + 2) * 7) as n (far)
    cross join lateral (select business_day.day + sign(days)::integer * n.far as day) as d
    where extract(isodow from d.day) < 6 and not d.day = any (holidays)
    order by n.far
    offset abs(days) - 1
    limit 1
  $$;

-- When a date makes a timer due; null when it is no date.
create or replace function automation.timer_due(
  listener automation.timer_listeners, value text, zone text)
  returns timestamptz
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due timestamptz;
  wall timestamp;
begin
  if not automation.is_date(value) then
    return null;
  end if;
  due := automation.add_length(automation.instant_in(value, zone), listener."offset", zone);
  if listener.business_days is not null then
    wall := due at time zone zone;
    wall := automation.business_day(
      wall::date, listener.business_days, automation.tenant_holidays(listener.tenant_id)) + wall::time;
  end if;
  if listener.at is not null then
    wall := coalesce(wall, due at time zone zone)::date + listener.at;
  end if;
  if wall is not null then
    due := (select coalesce(i.earlier, i.gap_end) from automation.wall_instants(wall, zone) as i);
  end if;
  return due;
end;
$$;

create or replace function automation.field_text(record jsonb, field text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select record #>> string_to_array(field, '.') $$;

-- Sets, moves or drops the timer of one record for one workflow.
create or replace function automation.set_timer(
  listener automation.timer_listeners, record_id text, due timestamptz, oldest timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if due is null or due < oldest then
    delete from public.workflow_timers as t
    where t.tenant_id = listener.tenant_id and t.workflow_id = listener.workflow_id
      and t.record_id = set_timer.record_id;
    return;
  end if;
  insert into public.workflow_timers (tenant_id, workflow_id, record_id, due_at, generation, depth)
  values (listener.tenant_id, listener.workflow_id, set_timer.record_id, due, listener.generation,
    least(automation.causation_depth(), 1))
  on conflict on constraint workflow_timers_pkey do update set
    due_at = excluded.due_at, generation = excluded.generation, depth = excluded.depth;
end;
$$;

-- Called by the trigger on an attached table. What could raise writes nothing, and the other way
-- round: the write that brought it here never fails on its account.
create or replace function automation.follow_timers(
  entity text, tenant_id uuid, record_id text, old jsonb, new jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listener automation.timer_listeners;
  at constant timestamptz := automation.now();
  zone text;
  due timestamptz;
begin
  for listener in
    select t.* from automation.timer_listeners as t
    where t.entity = follow_timers.entity and t.tenant_id = follow_timers.tenant_id
  loop
    continue when old is not null
      and automation.field_text(old, listener.field)
        is not distinct from automation.field_text(new, listener.field)
      and not coalesce(automation.zone_moved(listener, old, new), false);
    begin
      zone := automation.timer_zone(listener, new);
      due := automation.timer_due(listener,
        case listener.follows
          when 'change' then to_json(at) #>> '{}'
          else automation.field_text(new, listener.field) end, zone);
    exception when others then
      continue;
    end;
    perform automation.set_timer(
      listener, record_id, due, at - automation.setting('time_grace')::interval);
  end loop;
end;
$$;

create or replace function automation.drop_timers(entity text, tenant_id uuid, record_id text)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from public.workflow_timers as t
    using automation.timer_listeners as l
    where l.entity = drop_timers.entity and l.tenant_id = drop_timers.tenant_id
      and t.tenant_id = l.tenant_id and t.workflow_id = l.workflow_id
      and t.record_id = drop_timers.record_id
  $$;

-- Records that are there already get their timers from a bulk job, which leaves out what is past.
create or replace function automation.start_timers(version public.workflow_versions) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  compiled jsonb;
  started automation.timer_listeners;
begin
  update automation.timer_listeners as t set version = start_timers.version.version
  where t.tenant_id = start_timers.version.tenant_id
    and t.workflow_id = start_timers.version.workflow_id
    and t.config = start_timers.version.trigger_config;
  if found then
    return;
  end if;
  compiled := (select c.compiled
    from automation.compile_timer(version.trigger_config, 'trigger_config') as c);
  started := jsonb_populate_record(null::automation.timer_listeners, compiled);
  started.tenant_id := version.tenant_id;
  started.workflow_id := version.workflow_id;
  started.version := version.version;
  started.config := version.trigger_config;
  started.generation := automation.new_id();
  delete from automation.timer_listeners as t
  where t.tenant_id = started.tenant_id and t.workflow_id = started.workflow_id;
  insert into automation.timer_listeners select started.*;
  perform automation.install_timer_trigger(started.entity);
  if (compiled ->> 'existing')::boolean then
    insert into public.bulk_enrollments (tenant_id, workflow_id, kind, entity, generation)
    values (started.tenant_id, started.workflow_id, 'timers', started.entity, started.generation);
  end if;
end;
$$;

-- Half from the oldest there are; and when those are too many, the other half from workflows drawn
-- by lot, so that one tenant's million does not keep the others waiting.
create or replace function automation.lock_due_timers(at_most integer)
  returns setof public.workflow_timers
  language plpgsql
  set search_path = pg_catalog, pg_temp
  set enable_seqscan = off
  set enable_bitmapscan = off
  as $$
declare
  half constant integer := greatest(1, at_most / 2);
  at constant timestamptz := automation.now();
  waiting record;
  locked integer;
begin
  return query
    select t.* from public.workflow_timers as t
    where t.due_at <= at
    order by t.due_at, t.tenant_id
    limit half
    for update skip locked;
  get diagnostics locked = row_count;
  if locked < half then
    return;
  end if;
  for waiting in
    select l.tenant_id, l.workflow_id
    from (select t.tenant_id, t.workflow_id from automation.timer_listeners as t order by random()) as l
    where exists (
      select from public.workflow_timers as t
      where t.workflow_id = l.workflow_id and t.tenant_id = l.tenant_id and t.due_at <= at)
    limit 20
  loop
    return query
      select t.* from public.workflow_timers as t
      where t.workflow_id = waiting.workflow_id and t.tenant_id = waiting.tenant_id
        and t.due_at <= at
      order by t.due_at
      limit greatest(1, half / 20)
      for update skip locked;
  end loop;
end;
$$;

-- The record is read as it is now. A date that moved without the trigger seeing it (another zone of
-- the tenant) moves the timer; a reminder before a date says nothing once the date has passed.
create or replace function automation.fire_timer(waiting public.workflow_timers) returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listener automation.timer_listeners;
  version public.workflow_versions;
  record jsonb;
  zone text;
  value text;
  due timestamptz := waiting.due_at;
  at constant timestamptz := automation.now();
begin
  select l.* into listener from automation.timer_listeners as l
  where l.tenant_id = waiting.tenant_id and l.workflow_id = waiting.workflow_id
    and l.generation = waiting.generation;
  record := automation.read_record(listener.entity, waiting.tenant_id, waiting.record_id);
  value := automation.field_text(record, listener.field);
  if listener.follows = 'value' then
    zone := automation.timer_zone(listener, record);
    due := automation.timer_due(listener, value, zone);
  end if;
  if due > at then
    update public.workflow_timers as t set due_at = due
    where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
      and t.record_id = waiting.record_id;
    return 0;
  end if;
  delete from public.workflow_timers as t
  where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
    and t.record_id = waiting.record_id;
  -- Not found: both halves of lock_due_timers() held it, since a transaction does not skip what it has
  -- locked itself, and it has fired.
  if not found or record is null or due is null
    or listener.missed = 'skip' and due < at - automation.setting('time_grace')::interval
    or (listener."offset" < interval '0' or listener.business_days < 0)
      and automation.instant_in(value, zone) <= at then
    return 0;
  end if;
  select v.* into version from public.workflow_versions as v
  where v.tenant_id = listener.tenant_id and v.workflow_id = listener.workflow_id
    and v.version = listener.version;
  perform set_config('automation.depth', case when waiting.depth > 0 then '1' else '' end, true);
  perform automation.enrol_if_met(version, 'time_elapsed', automation.snapshot(
    listener.entity, waiting.tenant_id, record,
    jsonb_build_object('timer', jsonb_build_object(
      'field', listener.field, 'value', value, 'due_at', due))));
  return 1;
end;
$$;

-- One timer that cannot be fired does not hold up the others: it is tried again in an hour.
create or replace function automation.fire_one_by_one(timers public.workflow_timers[])
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  waiting public.workflow_timers;
  fired integer := 0;
begin
  foreach waiting in array timers loop
    begin
      fired := fired + automation.fire_timer(waiting);
    exception when others then
      raise warning 'timer of record % for workflow %: %', waiting.record_id, waiting.workflow_id, sqlerrm;
      update public.workflow_timers as t set due_at = automation.now() + interval '1 hour'
      where t.tenant_id = waiting.tenant_id and t.workflow_id = waiting.workflow_id
        and t.record_id = waiting.record_id;
    end;
  end loop;
  return fired;
end;
$$;

create or replace function automation.fire_timers(max_timers integer default 500) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  timers constant public.workflow_timers[] := array(
    select t from automation.lock_due_timers(max_timers) as t);
  waiting public.workflow_timers;
  fired integer := 0;
begin
  begin
    foreach waiting in array timers loop
      fired := fired + automation.fire_timer(waiting);
    end loop;
  exception when others then
    fired := automation.fire_one_by_one(timers);
  end;
  perform set_config('automation.depth', '', true);
  return fired;
end;
$$;

comment on function automation.fire_timers(integer) is
  'Enrols the records whose timers are due and says how many. The tick calls it.';

-- sql/09_schedule/08_bulk.sql

-- Bulk enrolment: many records into one workflow, a batch at a time, from a list or by walking the
-- primary key of their table. The tick does it; a row here says how far it has come. Three things
-- are made of it: enrolment by hand, a schedule that runs for each record, and the timers of records
-- that were there before their workflow.

create table public.bulk_enrollments (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  workflow_id uuid not null,
  kind text not null
    constraint bulk_enrollments_kind_known check (kind in ('manual', 'scheduled', 'timers')),
  status text not null default 'running'
    constraint bulk_enrollments_status_known
    check (status in ('running', 'completed', 'cancelled', 'failed')),
  entity text not null,
  conditions jsonb,
  record_ids text[],
  data jsonb not null default '{}',
  generation uuid,
  per_minute integer constraint bulk_enrollments_per_minute_positive check (per_minute > 0),
  total integer,
  scanned integer not null default 0,
  enrolled integer not null default 0,
  skipped integer not null default 0,
  failed integer not null default 0,
  last_record_id text,
  next_batch_at timestamptz not null default automation.now(),
  error jsonb,
  created_by uuid,
  created_at timestamptz not null default automation.now(),
  finished_at timestamptz,
  constraint bulk_enrollments_pkey primary key (tenant_id, id),
  constraint bulk_enrollments_workflow_fk foreign key (tenant_id, workflow_id)
    references public.workflows (tenant_id, id) on delete cascade,
  constraint bulk_enrollments_finished_matches_status
    check ((finished_at is not null) = (status <> 'running'))
);

comment on table public.bulk_enrollments is
  'Enrolments of many records: what was asked for, how far it has come, and what came of it.';
comment on column public.bulk_enrollments.total is
  'How many records were listed; null for a filter, which counts as it goes.';
comment on column public.bulk_enrollments.skipped is
  'Records that are gone, or that the filter or the workflow''s own conditions left out.';
comment on column public.bulk_enrollments.last_record_id is
  'A filter has walked the table up to here.';
comment on column public.bulk_enrollments.per_minute is
  'The most enrolments in a minute; null: as fast as it goes.';

create index bulk_enrollments_due
  on public.bulk_enrollments (next_batch_at, tenant_id) where status = 'running';
create index bulk_enrollments_by_workflow
  on public.bulk_enrollments (workflow_id, tenant_id, created_at);

-- The next records of a job, in its order. A record of the list that is gone comes as null.
create or replace function automation.bulk_records(job public.bulk_enrollments, at_most integer)
  returns table (id text, record jsonb)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  id_type text;
begin
  if job.record_ids is not null then
    return query
      select listed.id, automation.read_record(job.entity, job.tenant_id, listed.id)
      from unnest(job.record_ids[job.scanned + 1:job.scanned + at_most]) with ordinality
        as listed (id, place)
      order by listed.place;
    return;
  end if;
  select e.* into attached from automation.entities as e where e.name = job.entity;
  if not found then
    raise exception 'entity: "%" is not attached', job.entity using errcode = 'undefined_object';
  end if;
  select pg_catalog.format_type(a.atttypid, a.atttypmod) into id_type
  from pg_catalog.pg_attribute as a
  where a.attrelid = attached.relation::regclass and a.attname = attached.id_column;
  return query execute format(
    'select r.%1$I::text, %5$s from %2$s as r where r.%3$I = $1 %4$s order by r.%1$I limit $3',
    attached.id_column, attached.relation, attached.tenant_column,
    case when job.last_record_id is not null
      then format('and r.%I > $2::%s', attached.id_column, id_type) else '' end,
    automation.record_expression(attached, 'r'))
    using job.tenant_id, job.last_record_id, at_most;
end;
$$;

-- enrolled, skipped or failed.
create or replace function automation.take_record(
  job public.bulk_enrollments, version public.workflow_versions,
  listener automation.timer_listeners, record_id text, record jsonb)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  data jsonb;
  due timestamptz;
begin
  if record is null then
    return 'skipped';
  elsif job.kind = 'timers' then
    due := automation.timer_due(
      listener, automation.field_text(record, listener.field),
      automation.timer_zone(listener, record));
    if due > automation.now() then
      perform automation.set_timer(listener, record_id, due, due);
      return 'enrolled';
    end if;
    return 'skipped';
  end if;
  data := automation.snapshot(job.entity, job.tenant_id, record, job.data);
  if job.conditions is not null and not automation.evaluate_conditions(
    job.conditions, automation.trigger_context(job.tenant_id, data),
    automation.tenant_zone(job.tenant_id)) then
    return 'skipped';
  end if;
  return automation.enrol_if_met(version, job.kind, data);
end;
$$;

-- A workflow that was switched off takes nobody any more; null when the job may go on.
create or replace function automation.bulk_obstacle(
  job public.bulk_enrollments, version public.workflow_versions,
  listener automation.timer_listeners)
  returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when version.version is null then 'the workflow is not active any more'
      when job.kind = 'timers' and job.generation is distinct from listener.generation
        then 'the workflow waits for something else now'
    end
  $$;

create or replace function automation.finish_bulk(
  job public.bulk_enrollments, status text, error jsonb default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    update public.bulk_enrollments as b
    set status = finish_bulk.status, error = finish_bulk.error, finished_at = automation.now()
    where b.tenant_id = job.tenant_id and b.id = job.id
  $$;

-- A throttled job takes a twelfth of a minute's worth at a time.
create or replace function automation.run_batch(job public.bulk_enrollments, at_most integer)
  returns integer
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version public.workflow_versions;
  listener automation.timer_listeners;
  next record;
  allowed constant integer := coalesce(ceil(job.per_minute / 12.0)::integer, at_most);
  before constant integer := job.scanned;
  taken integer := 0;
begin
  select v.* into version
  from public.workflows as w
  join public.workflow_versions as v
    on v.tenant_id = w.tenant_id and v.workflow_id = w.id and v.version = w.published_version
  where w.tenant_id = job.tenant_id and w.id = job.workflow_id and w.is_active;
  select l.* into listener from automation.timer_listeners as l
  where l.tenant_id = job.tenant_id and l.workflow_id = job.workflow_id;
  if automation.bulk_obstacle(job, version, listener) is not null then
    perform automation.finish_bulk(job, 'cancelled', jsonb_build_object(
      'code', 'not_active', 'message', automation.bulk_obstacle(job, version, listener)));
    return 0;
  end if;
  for next in select r.id, r.record from automation.bulk_records(job, at_most) as r loop
    exit when taken >= allowed;
    case automation.take_record(job, version, listener, next.id, next.record)
      when 'enrolled' then job.enrolled := job.enrolled + 1; taken := taken + 1;
      when 'failed' then job.failed := job.failed + 1; taken := taken + 1;
      else job.skipped := job.skipped + 1;
    end case;
    job.scanned := job.scanned + 1;
    job.last_record_id := next.id;
  end loop;
  update public.bulk_enrollments as b
  set scanned = job.scanned, enrolled = job.enrolled, skipped = job.skipped, failed = job.failed,
    last_record_id = job.last_record_id,
    next_batch_at = automation.now()
      + coalesce(make_interval(secs => 60.0 * taken / job.per_minute), interval '0')
  where b.tenant_id = job.tenant_id and b.id = job.id;
  if taken < allowed and job.scanned - before < at_most or job.scanned >= job.total then
    perform automation.finish_bulk(job, 'completed');
  end if;
  return job.scanned - before;
end;
$$;

create or replace function automation.run_bulk(max_records integer default 1000) returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  jobs constant public.bulk_enrollments[] := array(
    select b from public.bulk_enrollments as b
    where b.status = 'running' and b.next_batch_at <= automation.now()
    order by b.next_batch_at
    limit 20
    for update skip locked);
  job public.bulk_enrollments;
  seen integer := 0;
begin
  foreach job in array jobs loop
    begin
      seen := seen + automation.run_batch(job, greatest(1, max_records / cardinality(jobs)));
    exception when others then
      perform automation.finish_bulk(
        job, 'failed', automation.engine_error('bulk_failed', sqlstate, sqlerrm));
    end;
  end loop;
  return seen;
end;
$$;

comment on function automation.run_bulk(integer) is
  'Takes the next records of running bulk enrolments, an equal share of each job, and says how many '
  'records it looked at. The tick calls it.';

create or replace function automation.enroll_records(
  workflow_id uuid, record_ids text[], filter jsonb, entity text, per_minute integer, data jsonb)
  returns public.bulk_enrollments
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow public.workflows := automation.find_workflow(workflow_id);
  into_entity constant text := coalesce(entity, workflow.trigger_config ->> 'entity',
    (select t.entity from automation.trigger_types as t where t.name = workflow.trigger_type), 'contact');
  compiled record;
  listed constant text[] := array(
    select coalesce(automation.as_uuid(r.id)::text, r.id)
    from unnest(record_ids) with ordinality as r (id, place)
    where r.id is not null group by 1 order by min(r.place));
  job public.bulk_enrollments;
begin
  perform automation.check_object(data, 'data');
  if not workflow.is_active then
    raise exception 'workflow_id: workflow "%" is not active', workflow.name
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'Set is_active to true, which publishes it.';
  elsif record_ids is null and filter is null then
    raise exception 'record_ids: which records?' using errcode = 'invalid_parameter_value',
      hint = 'Pass record_ids, or a filter: conditions, [] for every record.';
  elsif cardinality(listed) > 100000 then
    raise exception 'record_ids: at most 100000 are taken' using errcode = 'program_limit_exceeded',
      hint = 'Use a filter.';
  elsif per_minute not between 1 and 100000 then
    raise exception 'per_minute: from 1 to 100000' using errcode = 'invalid_parameter_value';
  end if;
  select c.* into compiled from automation.compile_conditions(filter, 'filter') as c;
  perform automation.raise_problems(
    automation.check_entity(into_entity, 'entity') || compiled.problems, 'these records cannot be enrolled');
  insert into public.bulk_enrollments (
    tenant_id, workflow_id, kind, entity, conditions, record_ids, data, per_minute, total, created_by)
  values (
    workflow.tenant_id, workflow.id, 'manual', into_entity, compiled.compiled,
    case when record_ids is not null then listed end, data, per_minute,
    case when record_ids is not null then cardinality(listed) end, automation.current_user_id())
  returning * into job;
  -- A few are not kept waiting for the tick.
  if job.total <= 100 then
    perform automation.run_batch(job, 100);
    select b.* into job from public.bulk_enrollments as b
    where b.tenant_id = job.tenant_id and b.id = job.id;
  end if;
  return job;
end;
$$;

create or replace function public.enroll_records(
  workflow_id uuid, record_ids text[] default null, filter jsonb default null,
  entity text default null, per_minute integer default null, data jsonb default '{}',
  tenant_id uuid default null)
  returns public.bulk_enrollments
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.enroll_records(workflow_id, record_ids, filter, entity, per_minute, data)
    from automation.in_tenant(tenant_id)
  $$;

comment on function public.enroll_records(uuid, text[], jsonb, text, integer, jsonb, uuid) is
  'Enrols many records into an active workflow: those listed, or those that meet a filter '
  '(conditions; [] for all), or both; of an entity, contact unless the workflow''s trigger says '
  'otherwise. Returns the row of bulk_enrollments that shows how far it has come; per_minute '
  'throttles it.';

create or replace function automation.cancel_bulk_enrollment(id uuid)
  returns public.bulk_enrollments
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  job public.bulk_enrollments;
begin
  select b.* into job
  from automation.usable_tenants() as t (id)
  join public.bulk_enrollments as b on b.tenant_id = t.id and b.id = cancel_bulk_enrollment.id
  for no key update of b;
  if not found then
    perform automation.raise_not_found('enrollment_id', id);
  elsif job.status = 'running' then
    perform automation.finish_bulk(job, 'cancelled', jsonb_build_object(
      'code', 'cancelled', 'message', 'cancelled by hand'));
    select b.* into job from public.bulk_enrollments as b
    where b.tenant_id = job.tenant_id and b.id = job.id;
  end if;
  return job;
end;
$$;

create or replace function public.cancel_bulk_enrollment(id uuid, tenant_id uuid default null)
  returns public.bulk_enrollments
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.cancel_bulk_enrollment(id) from automation.in_tenant(tenant_id) $$;

comment on function public.cancel_bulk_enrollment(uuid, uuid) is
  'Stops a bulk enrolment where it stands. Executions it has started go on; cancel those themselves.';

-- sql/10_consent/01_suppressions.sql

-- 10 CONSENT
--
-- Who must not be written to. Asked for in the transaction that claims a send, on every attempt:
-- a suppression that has committed stops everything that is not claimed yet.

create table public.suppressions (
  tenant_id uuid not null
    constraint suppressions_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
  channel text not null
    constraint suppressions_channel_known check (channel in ('sms', 'email')),
  address text not null constraint suppressions_address_not_blank check (btrim(address) <> ''),
  reason text not null
    constraint suppressions_reason_known
    check (reason in ('opt_out', 'provider', 'bounce', 'complaint', 'manual')),
  detail jsonb,
  created_at timestamptz not null default automation.now(),
  constraint suppressions_pkey primary key (tenant_id, id),
  constraint suppressions_address_unique unique (tenant_id, channel, address)
);

comment on table public.suppressions is
  'Addresses that get nothing more from this tenant. sms: E.164; email: lower case.';

create or replace function automation.normalize_suppression() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.address := case new.channel
    when 'sms' then coalesce(automation.normalize_phone(new.address), new.address)
    else lower(btrim(new.address))
  end;
  return new;
end;
$$;

create trigger suppressions_normalize
  before insert or update of address, channel on public.suppressions
  for each row execute function automation.normalize_suppression();

create or replace function automation.is_suppressed(tenant_id uuid, channel text, address text)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select exists (
      select from public.suppressions as s
      where s.tenant_id = is_suppressed.tenant_id
        and s.channel = is_suppressed.channel
        and s.address = is_suppressed.address)
  $$;

-- Of the addresses under a key of an email, those that are not suppressed, and a warning for each that is.
create or replace function automation.drop_suppressed(
  tenant_id uuid, prepared automation.prepared_step, key text)
  returns automation.prepared_step
  language plpgsql volatile
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
    select l.mailbox, l.place, a.address, automation.is_suppressed(
      drop_suppressed.tenant_id, 'email', a.address) as stopped
    from jsonb_array_elements_text(prepared.input -> key) with ordinality as l (mailbox, place)
    cross join lateral (select automation.bare_address(l.mailbox) as address) as a
  ) as m;
  prepared.input := prepared.input || jsonb_build_object(key, allowed);
  return automation.add_warnings(prepared, dropped);
end;
$$;

create or replace function automation.ask_email_consent(
  tenant_id uuid, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
begin
  foreach key in array '{to,cc,bcc}'::text[] loop
    if prepared.input ? key then
      prepared := automation.drop_suppressed(tenant_id, prepared, key);
    end if;
  end loop;
  prepared.recipient := automation.recipients_of(prepared.input -> 'to');
  return prepared;
end;
$$;

-- Volatile on purpose: a volatile function sees what has committed up to now, not up to the start
-- of the statement that claims.
create or replace function automation.ask_consent(
  execution public.workflow_executions, step_type text, prepared automation.prepared_step)
  returns automation.prepared_step
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
declare
  allowed automation.prepared_step;
begin
  if step_type = 'send_sms' then
    if not automation.is_suppressed(execution.tenant_id, 'sms', prepared.input ->> 'to') then
      return prepared;
    end if;
  elsif step_type = 'send_email' then
    allowed := automation.ask_email_consent(execution.tenant_id, prepared);
    if allowed.input -> 'to' <> '[]' then
      return allowed;
    end if;
  else
    return prepared;
  end if;
  return automation.skip_unaddressed(
    prepared, 'suppressed', 'the recipient has opted out of this channel');
end;
$$;

comment on function automation.ask_consent(
  public.workflow_executions, text, automation.prepared_step) is
  'Turns a send to somebody who opted out into a skip; of several recipients of an email, drops '
  'those who did.';

create or replace function automation.suppress(
  tenant_id uuid, channel text, address text, reason text, detail jsonb default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    insert into public.suppressions (tenant_id, channel, address, reason, detail)
    values (tenant_id, channel, address, reason, detail)
    on conflict on constraint suppressions_address_unique do nothing
  $$;

comment on function automation.suppress(uuid, text, text, text, jsonb) is
  'Stops a channel for an address; a second call changes nothing.';

create or replace function automation.suppress_recipient(
  due public.scheduled_steps, step_type text, reason text, detail jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.suppress(
      s.tenant_id, case step_type when 'send_sms' then 'sms' else 'email' end, s.recipient,
      reason, detail)
    from public.workflow_step_executions as s
    where s.tenant_id = due.tenant_id and s.id = due.id and s.recipient is not null
  $$;

-- sql/10_consent/02_stop.sql

-- A text message that asks to stop, honoured in the transaction that stores it.
-- 47 CFR 64.1200(a)(10): any reasonable means; stop, quit, end, revoke, opt out, cancel and
-- unsubscribe always count. A sentence that only might mean it is left to a person.

create or replace function automation.is_stop_request(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select words ~ (
      '^(please )?(stop|stopall|stop all|quit|end|revoke|optout|opt out|cancel|unsubscribe)'
      '( (all|now|please|messages|texts|texting|texting me|messaging me|me|sms|thanks|thank you))*$')
    from (
      select btrim(regexp_replace(lower(left(coalesce(body, ''), 400)), '[^a-z]+', ' ', 'g')) as words
    ) as w
  $$;

-- Opting in again takes one of the two words that mean nothing else; a "yes" may answer anything.
create or replace function automation.is_start_request(body text) returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select coalesce(body ~* '^[^a-z]*(start|unstop)[^a-z]*$', false) $$;

-- Where Twilio says what the message was (Advanced Opt-Out, in any language), that counts. What it
-- took for nothing special may still be a stop in other words. Both are believed of what the provider
-- reported alone: what a member types is a note of theirs, and says nothing for the customer. Who was
-- told to stop on the telephone is suppressed by the office's own doing, not by a text nobody sent.
create or replace function automation.honour_stop() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sender constant text := automation.normalize_phone(new.from_number);
begin
  if sender is null or new.opt_out_type = 'HELP' or not automation.is_service() then
    return null;
  elsif new.opt_out_type = 'START'
    or (new.opt_out_type is null and automation.is_start_request(new.body)) then
    delete from public.suppressions as s
    where s.tenant_id = new.tenant_id and s.channel = 'sms' and s.address = sender
      and s.reason in ('opt_out', 'provider');
  elsif new.opt_out_type = 'STOP' or automation.is_stop_request(new.body) then
    perform automation.suppress(
      new.tenant_id, 'sms', sender, 'opt_out', jsonb_build_object('message_id', new.id));
  end if;
  return null;
end;
$$;

-- The words are read inside the function: a condition here runs with the rights of whoever writes.
create trigger messages_honour_stop
  after insert on public.messages
  for each row
  when (new.direction = 'inbound')
  execute function automation.honour_stop();

-- sql/11_api/01_access.sql

-- 11 API
--
-- What clients call: thin functions in public that run with the caller's rights, each handing over
-- to one in automation that checks the caller first.
--
-- Errors: 22023 a parameter is wrong (the message starts with its name), P0002 not found,
-- 42501 not allowed.

-- The roles that see every tenant: the service role and whoever may act as it. Inside a SECURITY
-- DEFINER function current_user is the owner; the role that PostgREST switched to is in "role".
create or replace function automation.is_service() returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select caller.name <> 'authenticator' and pg_has_role(caller.name, 'service_role', 'usage')
    from (
      select coalesce(nullif(current_setting('role', true), 'none'), session_user)::name as name
    ) as caller
  $$;

comment on function automation.is_service() is
  'Is the caller the service role or an administrator, rather than a signed-in user?';

create or replace function automation.member_tenants() returns uuid[]
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(m.tenant_id), '{}')
    from public.tenant_members as m
    where m.user_id = automation.current_user_id()
  $$;

comment on function automation.member_tenants() is
  'The tenants that the signed-in user belongs to. Policies call it once a statement.';

create or replace function automation.admin_tenants() returns uuid[]
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(m.tenant_id), '{}')
    from public.tenant_members as m
    where m.user_id = automation.current_user_id() and m.role in ('owner', 'admin')
  $$;

create or replace function automation.may_use(tenant_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.is_service() or tenant_id = any (automation.member_tenants()) $$;

-- THE TENANT OF A CALL
--
-- Ids are a tenant's own: two tenants may hold the same one, and whoever writes rows may choose it. So a
-- call says whose row it means: by the parameter tenant_id, the header x-tenant-id, or a claim of its
-- token. What says nothing is looked for wherever the caller may look, and an id that is found twice is
-- an error, never somebody's guess.

-- For the rest of the transaction, or until the next call says otherwise.
create or replace function automation.in_tenant(tenant_id uuid) returns boolean
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select set_config('ridgeline.tenant', coalesce(tenant_id::text, ''), true) is not null $$;

comment on function automation.in_tenant(uuid) is
  'The calls that follow mean this tenant; null: the one that header or token name.';

-- PostgREST hands over the headers as JSON; what is no JSON was not put there by it.
create or replace function automation.request_setting(name text) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return coalesce(nullif(current_setting(name, true), ''), '{}')::jsonb;
exception when invalid_text_representation then
  return '{}'::jsonb;
end;
$$;

create or replace function automation.named_tenant() returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  claims constant jsonb := automation.request_setting('request.jwt.claims');
  named constant text := coalesce(
    nullif(current_setting('ridgeline.tenant', true), ''),
    nullif(automation.request_setting('request.headers') ->> 'x-tenant-id', ''),
    nullif(claims #>> '{app_metadata,tenant_id}', ''));
begin
  if named is not null and automation.as_uuid(named) is null then
    raise exception 'tenant_id: "%" is not an id', left(named, 60)
      using errcode = 'invalid_parameter_value';
  end if;
  return automation.as_uuid(named);
end;
$$;

comment on function automation.named_tenant() is
  'The tenant that the call names: in_tenant() (the parameter tenant_id), else the header x-tenant-id, '
  'else app_metadata.tenant_id of the token, which only the service role can write. Null: it names none.';

-- A caller names a row by its id. Keys lead with the tenant, so it is looked for in each tenant the
-- caller may use: one probe where the tenant is named, a few for a member, one for each tenant for
-- the service role, and no index on the bare id for every insert to pay for.
create or replace function automation.usable_tenants() returns setof uuid
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  named constant uuid := automation.named_tenant();
begin
  if automation.is_service() then
    return query select t.id from public.tenants as t where named is null or t.id = named;
  else
    return query
      select m from unnest(automation.member_tenants()) as m where named is null or m = named;
  end if;
end;
$$;

-- Not found and not allowed look alike, so that nobody learns other tenants' ids by asking.
create or replace function automation.raise_not_found(parameter text, id uuid) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  raise exception '%: % was not found', parameter, coalesce(id::text, 'null')
    using errcode = 'no_data_found',
      hint = 'It does not exist, or it belongs to a tenant you are not a member of.';
end;
$$;

-- The one of them; an error when there is none, or more than one.
create or replace function automation.only_tenant(tenants uuid[], parameter text, id uuid)
  returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if cardinality(tenants) > 1 then
    raise exception '%: % is an id of more than one tenant', parameter, id
      using errcode = 'invalid_parameter_value',
        hint = 'Name the tenant: the parameter tenant_id, or the header x-tenant-id.';
  elsif cardinality(tenants) = 0 then
    perform automation.raise_not_found(parameter, id);
  end if;
  return tenants[1];
end;
$$;

create or replace function automation.find_workflow(workflow_id uuid) returns public.workflows
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.only_tenant(array(
    select w.tenant_id
    from automation.usable_tenants() as t (id)
    join public.workflows as w on w.tenant_id = t.id and w.id = find_workflow.workflow_id
    limit 2), 'workflow_id', workflow_id);
  found_workflow public.workflows;
begin
  select w.* into found_workflow from public.workflows as w
  where w.tenant_id = owner and w.id = find_workflow.workflow_id;
  return found_workflow;
end;
$$;

create or replace function automation.find_execution(execution_id uuid)
  returns public.workflow_executions
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.only_tenant(array(
    select e.tenant_id
    from automation.usable_tenants() as t (id)
    join public.workflow_executions as e
      on e.tenant_id = t.id and e.id = find_execution.execution_id
    limit 2), 'execution_id', execution_id);
  found_execution public.workflow_executions;
begin
  select e.* into found_execution from public.workflow_executions as e
  where e.tenant_id = owner and e.id = find_execution.execution_id;
  return found_execution;
end;
$$;

-- The tenant a call is about: named, or the only one the caller belongs to, or the one that owns the
-- records in the data. Who joins a second one has to say from then on which is meant.
create or replace function automation.resolve_tenant(tenant_id uuid, data jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  named constant uuid := coalesce(
    tenant_id, automation.as_uuid(data ->> 'tenant_id'), automation.named_tenant());
  mine constant uuid[] := automation.member_tenants();
  owner uuid;
begin
  if named is not null then
    if not exists (select from public.tenants as t where t.id = named)
      or not automation.may_use(named) then
      perform automation.raise_not_found('tenant_id', named);
    end if;
    return named;
  elsif not automation.is_service() and cardinality(mine) = 1 then
    return mine[1];
  end if;
  owner := automation.tenant_of_records(data);
  if owner is null then
    raise exception 'tenant_id: which tenant is meant?'
      using errcode = 'invalid_parameter_value',
        hint = 'Pass tenant_id, or a contact_id, project_id or job_id in trigger_data.';
  end if;
  return owner;
end;
$$;

-- Where a call is about a tenant and nothing else.
create or replace function automation.own_tenant(tenant_id uuid) returns uuid
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.in_tenant(tenant_id);
  return automation.resolve_tenant(tenant_id, '{}');
end;
$$;

-- Null when no record of the data is known.
create or replace function automation.tenant_of_records(data jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
  owners uuid[];
begin
  foreach key in array '{contact,project,job}'::text[] loop
    continue when data ->> (key || '_id') is null;
    owners := array(
      select t.id from automation.usable_tenants() as t (id)
      where automation.read_record(key, t.id, data ->> (key || '_id')) is not null
      limit 2);
    if cardinality(owners) = 1 then
      return owners[1];
    elsif cardinality(owners) > 1 then
      raise exception '%_id: "%" is an id of more than one tenant', key, left(data ->> (key || '_id'), 60)
        using errcode = 'invalid_parameter_value',
          hint = 'Name the tenant: the parameter tenant_id, or the header x-tenant-id.';
    end if;
  end loop;
  return null;
end;
$$;

-- sql/11_api/02_start.sql

-- Starting workflows by hand or from another program.

create or replace function automation.check_object(data jsonb, parameter text) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if data is null or jsonb_typeof(data) <> 'object' then
    raise exception '%: a JSON object is needed', parameter
      using errcode = 'invalid_parameter_value', hint = 'For example {"contact_id": "..."}.';
  elsif pg_column_size(data) > 1048576 then
    raise exception '%: at most 1 MB is taken', parameter
      using errcode = 'program_limit_exceeded';
  end if;
end;
$$;

-- A record of another attached table, {"entity": "invoice", "invoice_id": "12"}, and what it belongs to.
create or replace function automation.complete_attached(tenant_id uuid, data jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  attached automation.entities;
  live jsonb;
begin
  select e.* into attached from automation.entities as e
  where e.name not in ('contact', 'project', 'job') and data ? (e.name || '_id')
    and (data ->> 'entity' = e.name
      or not data ?| '{entity,contact,contact_id,project,project_id,job,job_id}')
  order by e.name
  limit 1;
  live := automation.read_record(attached.name, tenant_id, data ->> (attached.name || '_id'));
  if live is null then
    return data;
  end if;
  return (
    select jsonb_object_agg(f.key, f.value)
    from jsonb_each(
      automation.add_related('{}', tenant_id, live, attached.related) || data || jsonb_build_object(
        'entity', attached.name, attached.name || '_id', live -> attached.id_column,
        attached.name, live || coalesce(nullif(data -> attached.name, 'null'), '{}'))) as f
    where f.value <> 'null');
end;
$$;

-- Whom a call names as the user is a member of the tenant: {{user.*}} is told to customers.
create or replace function automation.check_user(tenant_id uuid, data jsonb) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(data ->> 'user_id', '') <> ''
    and not automation.is_member(tenant_id, data ->> 'user_id') then
    raise exception 'user_id: "%" is not a member of the tenant', left(data ->> 'user_id', 60)
      using errcode = 'invalid_parameter_value';
  end if;
end;
$$;

-- The records named in the data, read live, unless the data brings them along.
create or replace function automation.complete_trigger_data(tenant_id uuid, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  entity text;
  id text;
  live jsonb;
  complete jsonb := automation.complete_attached(tenant_id, data - 'tenant_id');
begin
  perform automation.check_user(tenant_id, data);
  foreach entity in array array['job', 'project', 'contact'] loop
    if jsonb_typeof(complete -> entity) <> 'object' then
      raise exception '%: an object is needed', entity using errcode = 'invalid_parameter_value';
    end if;
    id := coalesce(
      complete ->> (entity || '_id'), complete #>> array[entity, 'id'],
      complete #>> array['job', entity || '_id'], complete #>> array['project', entity || '_id']);
    continue when id is null;
    live := automation.read_record(entity, tenant_id, id);
    if live is null then
      raise exception '%_id: % was not found', entity, left(id, 60)
        using errcode = 'no_data_found', hint = 'It must be a record of the same tenant.';
    end if;
    complete := complete || jsonb_build_object(
      entity || '_id', id, entity, live || coalesce(complete -> entity, '{}'));
  end loop;
  complete := jsonb_build_object('entity', (
    select e from unnest('{job,project,contact}'::text[]) as e where complete ? e limit 1)) || complete;
  return complete || jsonb_build_object(
    'user_id', coalesce(complete ->> 'user_id', automation.current_user_id()::text));
end;
$$;

create or replace function automation.enrolment_of(
  version public.workflow_versions, trigger_type text)
  returns automation.enrolment
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select row(
      version.workflow_id, version.version, trigger_type, first.step ->> 'key',
      (first.step ->> 'lane')::public.automation_lane,
      make_interval(secs => (first.step ->> 'delay_seconds')::double precision),
      null, 'enrol', '')::automation.enrolment
    from (select version.plan -> 'steps' -> (version.plan ->> 'first') as step) as first
  $$;

create or replace function automation.conditions_met(
  version public.workflow_versions, data jsonb)
  returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select version.conditions is null or automation.evaluate_conditions(
      version.conditions, automation.trigger_context(version.tenant_id, data),
      automation.tenant_zone(version.tenant_id))
  $$;

create or replace function automation.start_version(
  version public.workflow_versions, trigger_type text, data jsonb)
  returns public.workflow_executions
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution_id uuid;
  started public.workflow_executions;
begin
  if not automation.conditions_met(version, data) then
    insert into public.workflow_executions (
      tenant_id, workflow_id, version, status, trigger_type, trigger_data, entity, record_id,
      contact_id, error, finished_at)
    values (
      version.tenant_id, version.workflow_id, version.version, 'skipped', trigger_type, data,
      data ->> 'entity', data ->> ((data ->> 'entity') || '_id'),
      automation.as_uuid(data ->> 'contact_id'),
      '{"code": "conditions_not_met", "message": "the conditions of the workflow were not met"}',
      automation.now())
    returning * into started;
    return started;
  end if;
  execution_id := automation.enrol(
    version.tenant_id, data ->> 'entity', data ->> ((data ->> 'entity') || '_id'), data,
    automation.enrolment_of(version, trigger_type));
  select e.* into started from public.workflow_executions as e
  where e.tenant_id = version.tenant_id and e.id = execution_id;
  return started;
end;
$$;

create or replace function automation.execute_workflow(workflow_id uuid, trigger_data jsonb)
  returns public.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow public.workflows := automation.find_workflow(workflow_id);
  version public.workflow_versions;
  data jsonb;
begin
  perform automation.check_object(trigger_data, 'trigger_data');
  if workflow.published_version is null or not workflow.is_active then
    raise exception 'workflow_id: workflow "%" is not active', workflow.name
      using errcode = 'object_not_in_prerequisite_state',
        hint = 'Set is_active to true, which publishes it.';
  end if;
  data := automation.complete_trigger_data(workflow.tenant_id, trigger_data);
  select v.* into version from public.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
    and v.version = workflow.published_version;
  return automation.start_version(version, 'manual', data);
end;
$$;

create or replace function automation.trigger_workflows(
  trigger_type text, trigger_data jsonb, tenant_id uuid)
  returns setof public.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  tenant uuid;
  data jsonb;
  fired jsonb;
  version public.workflow_versions;
begin
  if not exists (select from automation.trigger_types as t where t.name = trigger_workflows.trigger_type) then
    raise exception 'trigger_type: there is no trigger "%"', left(trigger_type, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Known: ' || (select string_agg(t.name, ', ' order by t.name)
                             from automation.trigger_types as t);
  end if;
  perform automation.check_object(trigger_data, 'trigger_data');
  tenant := automation.resolve_tenant(tenant_id, trigger_data);
  data := automation.complete_trigger_data(tenant, trigger_data);
  fired := coalesce(
    data -> (select t.entity from automation.trigger_types as t
             where t.name = trigger_workflows.trigger_type),
    data -> (data ->> 'entity'), '{}'::jsonb) || data;
  for version in
    select v.*
    from automation.active_triggers as t
    join public.workflow_versions as v
      on v.tenant_id = t.tenant_id and v.workflow_id = t.workflow_id and v.version = t.version
    where t.tenant_id = tenant
      and t.event = trigger_workflows.trigger_type and t.role = 'enrol'
      and automation.matches(fired, t.match, t.match_any)
      and (t.to_values is null or t.to_values @> (fired -> t.field))
    order by v.workflow_id
  loop
    return next automation.start_version(version, trigger_type, data);
  end loop;
end;
$$;

create or replace function public.trigger_workflows(
  trigger_type text, trigger_data jsonb default '{}', tenant_id uuid default null)
  returns setof public.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select w.*
    from automation.in_tenant(tenant_id) as named
    cross join lateral automation.trigger_workflows(trigger_type, trigger_data, tenant_id) as w
  $$;

comment on function public.trigger_workflows(text, jsonb, uuid) is
  'Fires every active workflow of a tenant that listens to trigger_type and matches trigger_data: '
  '{contact_id?, project_id?, job_id?, ...}. Returns the executions started. tenant_id may be left '
  'out by a member of one tenant, or when trigger_data names a record.';

create or replace function public.execute_workflow(
  workflow_id uuid, trigger_data jsonb default '{}', tenant_id uuid default null)
  returns public.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.execute_workflow(workflow_id, trigger_data)
    from automation.in_tenant(coalesce(tenant_id, automation.as_uuid(trigger_data ->> 'tenant_id')))
  $$;

comment on function public.execute_workflow(uuid, jsonb, uuid) is
  'Starts one active workflow, whatever its trigger, for the records in trigger_data. When its '
  'conditions are not met the execution is returned as skipped and says so. tenant_id: whose workflow; '
  'needed where several tenants may hold the id.';

-- sql/11_api/03_control.sql

-- Stopping and redriving executions.

-- Everything that has not been claimed is stopped. Lock order: queue rows first, as in a claim; a
-- claim that is under way is waited for and then left alone. Once the execution is locked no queue row
-- is waited for.
create or replace function automation.cancel_execution(execution_id uuid)
  returns public.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution public.workflow_executions := automation.find_execution(execution_id);
begin
  delete from public.scheduled_steps as s
  where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
    and s.lease_expires_at is null;
  execution := automation.lock_execution(execution.tenant_id, execution.id);
  if automation.is_finished(execution) then
    return execution;
  end if;
  -- A step that advanced while we waited for the lock has queued the next one.
  perform automation.stop_execution(execution, 'cancelled', null);
  return automation.find_execution(execution_id);
end;
$$;

-- Runs a failed execution again from the step that failed. A message that may have been sent is
-- looked up first; one that certainly was not is rendered anew, from the records as they are now.
-- An enrolment that failed before it had looked at its conditions looks at them now, with the records
-- as they are now; it ends as skipped when they do not hold.
create or replace function automation.enrol_again(execution public.workflow_executions)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  data constant jsonb := automation.complete_trigger_data(
    execution.tenant_id,
    execution.trigger_data - array['contact', 'project', 'job', 'user_id', execution.entity])
    || jsonb_build_object('user_id', execution.trigger_data -> 'user_id');
  version public.workflow_versions;
begin
  select v.* into version from public.workflow_versions as v
  where v.tenant_id = execution.tenant_id and v.workflow_id = execution.workflow_id
    and v.version = execution.version;
  update public.workflow_executions as e
  set trigger_data = data, contact_id = automation.as_uuid(data ->> 'contact_id')
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  if automation.conditions_met(version, data) then
    return true;
  end if;
  perform automation.end_execution(
    execution, 'skipped',
    '{"code": "conditions_not_met", "message": "the conditions of the workflow were not met"}');
  return false;
end;
$$;

create or replace function automation.retry_execution(execution_id uuid)
  returns public.workflow_executions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  execution public.workflow_executions := automation.find_execution(execution_id);
  failed public.workflow_step_executions;
  step jsonb;
begin
  execution := automation.lock_execution(execution.tenant_id, execution.id);
  if execution.status <> 'failed' then
    raise exception 'execution_id: only a failed execution can be retried; this one is %',
      execution.status
      using errcode = 'object_not_in_prerequisite_state';
  end if;
  if execution.error ->> 'code' in ('conditions_failed', 'capture_failed')
    and not automation.enrol_again(execution) then
    return automation.find_execution(execution_id);
  end if;
  select s.* into failed from public.workflow_step_executions as s
  where s.tenant_id = execution.tenant_id and s.execution_id = execution.id
    and s.step_key = execution.error ->> 'step';
  step := automation.plan_step(execution, coalesce(failed.step_key, (
    select v.plan ->> 'first' from public.workflow_versions as v
    where v.tenant_id = execution.tenant_id and v.workflow_id = execution.workflow_id
      and v.version = execution.version)));
  update public.workflow_executions as e
  set status = 'pending', error = null, finished_at = null, current_step = step ->> 'key'
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  insert into public.scheduled_steps (
    tenant_id, id, execution_id, step_key, lane, run_at, reconcile_since)
  values (
    execution.tenant_id, coalesce(failed.id, automation.new_id()), execution.id, step ->> 'key',
    (step ->> 'lane')::public.automation_lane, automation.now(),
    case when (failed.error ->> 'may_have_been_sent')::boolean then
      -- The provider's clock is the real one, as that of leases is.
      failed.started_at - (automation.now() - transaction_timestamp()) end);
  update public.workflow_step_executions as s
  set status = 'pending', finished_at = null, error = null,
    redrives = s.redrives + (not coalesce((failed.error ->> 'may_have_been_sent')::boolean, false))::integer,
    input = case when (failed.error ->> 'may_have_been_sent')::boolean then s.input end
  where s.tenant_id = failed.tenant_id and s.id = failed.id;
  perform automation.ring_once();
  return automation.find_execution(execution_id);
end;
$$;

create or replace function public.cancel_execution(execution_id uuid, tenant_id uuid default null)
  returns public.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.cancel_execution(execution_id) from automation.in_tenant(tenant_id) $$;

comment on function public.cancel_execution(uuid, uuid) is
  'Stops an execution. What a dispatcher holds already is let finish; nothing after it runs. An '
  'execution that has ended is returned as it is.';

create or replace function public.retry_execution(execution_id uuid, tenant_id uuid default null)
  returns public.workflow_executions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.retry_execution(execution_id) from automation.in_tenant(tenant_id) $$;

comment on function public.retry_execution(uuid, uuid) is
  'Runs a failed execution again from the step that failed, with fresh attempts.';

-- sql/11_api/04_definitions.sql

-- Publishing and checking definitions.

create or replace function automation.check_enroll_existing(asked jsonb) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown text;
begin
  perform automation.check_object(asked, 'enroll_existing');
  select k into unknown from jsonb_object_keys(asked) as k
  where k not in ('filter', 'entity', 'per_minute') limit 1;
  if unknown is not null then
    raise exception 'enroll_existing.%: there is no such setting', unknown
      using errcode = 'invalid_parameter_value', hint = 'filter, entity and per_minute are known.';
  elsif asked ? 'per_minute' and asked ->> 'per_minute' !~ '^\d{1,6}$' then
    raise exception 'enroll_existing.per_minute: a whole number is needed'
      using errcode = 'invalid_parameter_value', hint = 'From 1 to 100000.';
  end if;
end;
$$;

create or replace function automation.publish_workflow(workflow_id uuid, enroll_existing jsonb)
  returns public.workflow_versions
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant public.workflows := automation.find_workflow(workflow_id);
  published public.workflow_versions;
begin
  if enroll_existing is not null then
    perform automation.check_enroll_existing(enroll_existing);
  end if;
  published := automation.publish(workflow.tenant_id, workflow.id, 'publish');
  if enroll_existing is not null then
    perform automation.enroll_records(
      workflow_id, null, coalesce(enroll_existing -> 'filter', '[]'), enroll_existing ->> 'entity',
      coalesce((enroll_existing ->> 'per_minute')::integer, 600), '{}');
  end if;
  return published;
end;
$$;

create or replace function automation.validate_workflow(workflow_id uuid) returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  problems jsonb;
begin
  select c.problems into problems
  from automation.compile_workflow(automation.find_workflow(workflow_id)) as c;
  return jsonb_build_object(
    'valid', not problems @> '[{"severity": "error"}]', 'problems', problems);
end;
$$;

create or replace function public.publish_workflow(
  workflow_id uuid, enroll_existing jsonb default null, tenant_id uuid default null)
  returns public.workflow_versions
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.publish_workflow(workflow_id, enroll_existing) from automation.in_tenant(tenant_id)
  $$;

comment on function public.publish_workflow(uuid, jsonb, uuid) is
  'Compiles the workflow as it is now into a new version and activates it. Errors block: 22023, '
  'with all problems as JSON in detail. enroll_existing: {filter?, entity?, per_minute?} also enrols the '
  'records that are there already and meet filter (conditions; all when left out), at most per_minute '
  'of them a minute (600 when left out); public.bulk_enrollments shows how far it has come.';

create or replace function public.validate_workflow(workflow_id uuid, tenant_id uuid default null)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.validate_workflow(workflow_id) from automation.in_tenant(tenant_id) $$;

comment on function public.validate_workflow(uuid, uuid) is
  'Every problem of the workflow as it is now: {valid, problems: [{path, severity, code, message, hint}]}.';

-- MOVING RUNS TO ANOTHER VERSION

-- One run, if nobody is working on it and its next step is the same kind of step there; otherwise why not.
create or replace function automation.move_execution(
  tenant_id uuid, execution_id uuid, target public.workflow_versions)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  due public.scheduled_steps;
  execution public.workflow_executions;
  here jsonb;
  there jsonb;
begin
  select s.* into due from public.scheduled_steps as s
  where s.tenant_id = move_execution.tenant_id and s.execution_id = move_execution.execution_id
    and s.lease_expires_at is null
  for update skip locked;
  if not found then
    return 'its step is being carried out right now';
  end if;
  execution := automation.lock_execution(tenant_id, execution_id);
  here := automation.plan_step(execution, due.step_key);
  there := target.plan -> 'steps' -> due.step_key;
  if there is null then
    return format('version %s has no step "%s"', target.version, due.step_key);
  elsif here ->> 'type' is distinct from there ->> 'type' then
    return format('step "%s" is a %s there', due.step_key, there ->> 'type');
  end if;
  update public.workflow_executions as e set version = target.version
  where e.tenant_id = execution.tenant_id and e.id = execution.id;
  return null;
end;
$$;

create or replace function automation.move_executions(
  workflow_id uuid, to_version integer, execution_ids uuid[])
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  workflow constant public.workflows := automation.find_workflow(workflow_id);
  target public.workflow_versions;
  run record;
  moved integer := 0;
  kept jsonb := '[]'::jsonb;
begin
  select v.* into target from public.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id
    and v.version = coalesce(to_version, workflow.published_version);
  if not found then
    raise exception 'to_version: there is no version %',
      coalesce(to_version::text, 'yet: the workflow was never published')
      using errcode = 'no_data_found';
  end if;
  for run in
    select e.id, automation.move_execution(e.tenant_id, e.id, target) as obstacle
    from public.workflow_executions as e
    where e.tenant_id = workflow.tenant_id and e.workflow_id = workflow.id
      and e.version <> target.version and e.finished_at is null
      and (execution_ids is null or e.id = any (execution_ids))
    limit 10000
  loop
    if run.obstacle is null then
      moved := moved + 1;
    elsif jsonb_array_length(kept) < 1000 then
      kept := kept || jsonb_build_object('execution_id', run.id, 'reason', run.obstacle);
    end if;
  end loop;
  return jsonb_build_object('version', target.version, 'moved', moved, 'kept', kept);
end;
$$;

create or replace function public.move_executions(
  workflow_id uuid, to_version integer default null, execution_ids uuid[] default null,
  tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.move_executions(workflow_id, to_version, execution_ids)
    from automation.in_tenant(tenant_id)
  $$;

comment on function public.move_executions(uuid, integer, uuid[], uuid) is
  'Moves runs in flight to another version of their workflow (the published one when left out), those '
  'listed or up to 10000 of all, where the step they come to is there too and of the same type: '
  '{version, moved, kept: [{execution_id, reason}]}. When it is due does not change.';

-- sql/11_api/05_history.sql

-- "What did it do, and why?"

create or replace function public.get_execution_history(
  workflow_id uuid default null,
  contact_id uuid default null,
  execution_id uuid default null,
  status text default null,
  before timestamptz default null,
  max_rows integer default 50,
  tenant_id uuid default null)
  returns table (
    id uuid, workflow_id uuid, workflow_name text, version integer, status text,
    trigger_type text, contact_id uuid, current_step text, created_at timestamptz, started_at timestamptz,
    finished_at timestamptz, next_run_at timestamptz, error jsonb, trigger_data jsonb, steps jsonb)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select e.id, e.workflow_id, w.name, e.version, e.status::text, e.trigger_type, e.contact_id,
      e.current_step, e.created_at, e.started_at, e.finished_at,
      (select min(q.run_at) from public.scheduled_steps as q
       where q.tenant_id = e.tenant_id and q.execution_id = e.id),
      e.error, e.trigger_data,
      (select coalesce(jsonb_agg(to_jsonb(s) - '{tenant_id,execution_id}'::text[]
                order by s.started_at, s.id), '[]')
       from public.workflow_step_executions as s
       where s.tenant_id = e.tenant_id and s.execution_id = e.id)
    from public.workflow_executions as e
    join public.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
    where (get_execution_history.execution_id is null or e.id = get_execution_history.execution_id)
      and (get_execution_history.tenant_id is null or e.tenant_id = get_execution_history.tenant_id)
      and (get_execution_history.workflow_id is null
        or e.workflow_id = get_execution_history.workflow_id)
      and (get_execution_history.contact_id is null
        or e.contact_id = get_execution_history.contact_id)
      and (get_execution_history.status is null or e.status::text = get_execution_history.status)
      and (get_execution_history.before is null or e.created_at < get_execution_history.before)
    order by e.created_at desc, e.id desc
    limit least(greatest(coalesce(max_rows, 50), 1), 500)
  $$;

comment on function public.get_execution_history(
  uuid, uuid, uuid, text, timestamptz, integer, uuid) is
  'Executions that the caller may see, newest first, each with its steps: rendered input, attempts, '
  'result, error and times. All parameters narrow; max_rows: 1 to 500, 50 when left out; page on '
  'with before = the last created_at.';

-- sql/11_api/06_inbound.sql

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
  set search_path = pg_catalog, pg_temp
  as $$ select pg_advisory_xact_lock(hashtextextended('inbound ' || key, 0)) $$;

create or replace function automation.tenant_of_number(number text) returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select s.tenant_id from public.senders as s
    where s.address = automation.normalize_line(tenant_of_number.number) and s.channel = 'sms'
      and s.kind = 'number' and s.verified_at is not null
      and s.provider = automation.setting('sms_provider')
  $$;

-- Several contacts may share a number: the one spoken to last is meant.
create or replace function automation.contact_by_phone(tenant_id uuid, phone text) returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.find_contact(tenant_id, 'phone',
      'right(regexp_replace(%1$s, ''\D'', '''', ''g''), 10) = right(regexp_replace($2, ''\D'', '''', ''g''), 10) '
      'and automation.normalize_phone(%1$s) = $2', phone)
  $$;

create or replace function automation.contact_by_email(tenant_id uuid, email text, phone text)
  returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select automation.find_contact(tenant_id, 'email', 'lower(%1$s) = $2', email, phone) $$;

-- Whatever table the contacts are in, with its own names. test: SQL about %1$s, the column, and $2, what
-- is looked for; of several, one with this phone is preferred.
create or replace function automation.find_contact(
  tenant_id uuid, name text, test text, wanted text, phone text default null)
  returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  found_id text;
begin
  select e.* into contacts from automation.entities as e
  where e.name = 'contact' and e.mapped ? find_contact.name;
  if not found or wanted is null then
    return null;
  end if;
  execute format('select r.%I::text from %s as r where r.%I = $1 and %s order by %s limit 1',
    contacts.id_column, contacts.relation, contacts.tenant_column,
    format(test, format('r.%I::text', contacts.mapped ->> name)), automation.contact_order(contacts))
    into found_id using tenant_id, wanted, phone;
  return automation.as_uuid(found_id);
end;
$$;

create or replace function automation.contact_order(contacts automation.entities) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(format(o.by, contacts.mapped ->> o.name), '' order by o.place), '')
      || format('r.%I', contacts.id_column)
    from (values
      (1, 'phone', 'automation.normalize_phone(r.%I::text) is not distinct from $3 desc, '),
      (2, 'last_contacted_at', 'r.%I desc nulls last, '),
      (3, 'created_at', 'r.%I desc, ')) as o (place, name, by)
    where contacts.mapped ? o.name
  $$;

-- given: {phone, email, first_name, ...}; what the table has no column for is left out.
create or replace function automation.contact_columns(contacts automation.entities, given jsonb)
  returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(f.key, f.value), '{}')
    from jsonb_each(automation.own_names(contacts, given)) as f
    where f.key = any (contacts.columns)
  $$;

-- Null when the table does not take such a row (a column of its own that must not be empty): the
-- message is kept all the same.
create or replace function automation.create_contact(tenant_id uuid, given jsonb) returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  fields jsonb;
  created text;
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  if not found then
    return null;
  end if;
  fields := automation.contact_columns(contacts, given)
    || jsonb_build_object(contacts.tenant_column, tenant_id);
  execute (
    select format('insert into %1$s (%2$s) select %3$s from jsonb_populate_record(null::%1$s, $1) as v '
      'returning %4$I::text', contacts.relation, string_agg(quote_ident(k), ', '),
      string_agg(format('v.%I', k), ', '), contacts.id_column)
    from jsonb_object_keys(fields) as k)
    into created using fields;
  return automation.as_uuid(created);
exception
  when integrity_constraint_violation or data_exception or undefined_column or undefined_table
    or raise_exception then
    raise warning 'automation: no contact was created: %', sqlerrm;
    return null;
end;
$$;

-- Fills what is blank and overwrites nothing.
create or replace function automation.fill_contact(tenant_id uuid, id uuid, given jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  fields jsonb;
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  fields := automation.contact_columns(contacts, given);
  if fields = '{}' then
    return;
  end if;
  execute (
    select format('update %1$s as r set %2$s from jsonb_populate_record(null::%1$s, $3) as v '
      'where r.%3$I = $1 and r.%4$I = $2', contacts.relation,
      string_agg(format('%1$I = coalesce(r.%1$I, v.%1$I)', k), ', '), contacts.tenant_column,
      contacts.id_column)
    from jsonb_object_keys(fields) as k)
    using tenant_id, id, fields;
exception
  when integrity_constraint_violation or data_exception or undefined_column or undefined_table
    or raise_exception then
    raise warning 'automation: a contact was not completed: %', sqlerrm;
end;
$$;

create or replace function automation.creates_contacts(tenant_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
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
  set search_path = pg_catalog, pg_temp
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
    contact := automation.create_contact(
      tenant_id, jsonb_build_object('phone', phone, 'source', source));
  end if;
  return contact;
end;
$$;

-- Somebody who writes to say stop does not become a lead by it.
create or replace function automation.receive_sms(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
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

create or replace function automation.record_call(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
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

-- sql/11_api/06_inbound_delivery.sql

-- What became of a message after the provider took it: on its row in the CRM, and on the step that
-- sent it (result_data.delivery).

-- A report never takes anything back that a later one said. Delivered is proof, whatever was
-- feared before; a bounce or a complaint can still follow.
create or replace function automation.delivery_rank(status text) returns integer
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when status in ('accepted', 'scheduled', 'queued') then 1
      when status = 'sending' then 2
      when status = 'sent' then 3
      when status = 'delivery_delayed' then 4
      when status in ('failed', 'undelivered', 'canceled') then 5
      when status = 'delivered' then 6
      when status = 'read' then 7
      when status in ('bounced', 'suppressed') then 8
      when status = 'complained' then 9
      else 0
    end
  $$;

-- News of a message is the news of whoever sent it. The step that sent it knows; a row that the office's
-- own server wrote counts where no step did, and only while no two tenants claim the same message.
create or replace function automation.sent_by(relation regclass, provider text, provider_id text)
  returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  senders uuid[] := array(
    select s.tenant_id from public.workflow_step_executions as s
    where s.provider_id = sent_by.provider_id
      and s.step_type = case relation when 'public.messages'::regclass then 'send_sms' else 'send_email' end
    limit 2);
begin
  if senders = '{}' then
    execute format('select array(select distinct m.tenant_id from %s as m '
      'where m.provider_id = $1 and m.provider = $2 and m.direction = ''outbound'' limit 2)', relation)
      into senders using provider_id, provider;
  end if;
  return case cardinality(senders) when 1 then senders[1] end;
end;
$$;

create or replace function automation.record_delivery_of_step(
  tenant_id uuid, provider_id text, status text, error_code text, at timestamptz)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sent record;
begin
  select s.tenant_id, s.id into sent
  from public.workflow_step_executions as s
  where s.provider_id = record_delivery_of_step.provider_id
    and s.tenant_id = record_delivery_of_step.tenant_id;
  update public.workflow_step_executions as s
  set result_data = case jsonb_typeof(s.result_data) when 'object' then s.result_data else '{}' end
    || jsonb_build_object('delivery', jsonb_strip_nulls(jsonb_build_object(
      'status', record_delivery_of_step.status, 'at', at,
      'error_code', record_delivery_of_step.error_code)))
  where s.tenant_id = sent.tenant_id and s.id = sent.id
    and automation.delivery_rank(record_delivery_of_step.status)
      > automation.delivery_rank(s.result_data #>> '{delivery,status}');
  return sent.id is not null;
end;
$$;

-- 21610: the number has opted out at Twilio, which is the only place that knew.
create or replace function automation.record_delivery_of_sms(
  message public.messages, status text, error_code text)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if error_code = '21610' then
    perform automation.suppress(message.tenant_id, 'sms', message.to_number, 'provider',
      jsonb_build_object('code', error_code, 'message_id', message.id));
  end if;
  update public.messages as m
  set status = record_delivery_of_sms.status, error_code = record_delivery_of_sms.error_code
  where m.tenant_id = message.tenant_id and m.id = message.id
    and automation.delivery_rank(record_delivery_of_sms.status)
      > automation.delivery_rank(m.status);
  return case when found then 'updated' else 'duplicate' end;
end;
$$;

create or replace function automation.keep_early_event(
  provider text, provider_id text, event jsonb)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    delete from automation.early_events as e
    where e.id in (
      select o.id from automation.early_events as o
      where o.received_at < automation.now() - interval '1 day'
      order by o.received_at limit 20 for update skip locked);
    insert into automation.early_events (provider, provider_id, event, received_at)
    values (keep_early_event.provider, keep_early_event.provider_id, keep_early_event.event,
      automation.now());
  $$;

create or replace function automation.record_message_status(event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  sid constant text := event ->> 'message_sid';
  message public.messages;
  sender uuid;
  outcome text;
begin
  if automation.delivery_rank(event ->> 'status') = 0 then
    return 'unknown_status';
  end if;
  perform automation.lock_inbound('twilio ' || sid);
  sender := automation.sent_by('public.messages', 'twilio', sid);
  if automation.record_delivery_of_step(
    sender, sid, event ->> 'status', event ->> 'error_code', automation.now()) then
    outcome := 'duplicate';
  end if;
  for message in
    select m.* from public.messages as m
    where m.provider_id = sid and m.provider = 'twilio' and m.direction = 'outbound'
      and m.tenant_id = sender
  loop
    outcome := automation.record_delivery_of_sms(
      message, event ->> 'status', event ->> 'error_code');
  end loop;
  if outcome is null then
    perform automation.keep_early_event('twilio', sid, event);
    return 'early';
  end if;
  return outcome;
end;
$$;

comment on function automation.record_message_status(jsonb) is
  'What became of a text message: {message_sid, status, error_code?}. Returns updated, duplicate '
  '(nothing new, or older news), early (kept until the message is recorded) or unknown_status.';

-- The row of a message that was sent is written by the dispatcher's report, which may come after
-- the first news of it.
create or replace function automation.apply_early_events() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  early jsonb;
begin
  perform automation.lock_inbound(new.provider || ' ' || new.provider_id);
  for early in
    with taken as (
      delete from automation.early_events as e
      where e.provider_id = new.provider_id and e.provider = new.provider
      returning e.id, e.event
    )
    select t.event from taken as t order by (t.event ->> 'occurred_at')::timestamptz, t.id
  loop
    if tg_table_name = 'messages' then
      perform automation.record_message_status(early);
    else
      perform automation.apply_email_event(early);
    end if;
  end loop;
  return null;
end;
$$;

create trigger messages_apply_early_events
  after insert on public.messages
  for each row when (new.direction = 'outbound' and new.provider_id is not null)
  execute function automation.apply_early_events();

create trigger emails_apply_early_events
  after insert on public.emails
  for each row when (new.direction = 'outbound' and new.provider_id is not null)
  execute function automation.apply_early_events();

-- sql/11_api/06_inbound_email.sql

-- Events of emails. Opens and clicks of machines (scanners that follow links before the mail is
-- shown, proxies that fetch images ahead) are kept as events and change nothing else; they start the
-- workflows that ask for them with include_machine, and no other.
--
-- email_event_created fires for every event of an email; is_machine is a field of it like any other.
select automation.attach(
  'public.email_events', 'email_event', '{"related": {"contact": "contact_id", "email": "email_id"}}');

create or replace function automation.machine_haste() returns interval
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select interval '10 seconds' $$;

comment on function automation.machine_haste() is 'Nobody reads an email this soon after its delivery.';

create or replace function automation.machine_reason(
  type text, occurred_at timestamptz, delivered_at timestamptz, user_agent text)
  returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when type not in ('opened', 'clicked') then null
      when user_agent ~* (
          '(bot|crawl|spider|scan|preview|headless|phantom|curl|wget|python|java/|go-http|okhttp|'
          'barracuda|mimecast|proofpoint|symantec|messagelabs|trend ?micro|fortinet|sophos|ironport|'
          'forcepoint|zscaler|safelinks|urldefense|cloudmark|vade)')
        or (type = 'opened' and user_agent = 'Mozilla/5.0')
        then 'known_agent'
      when occurred_at < delivered_at + automation.machine_haste() then 'soon_after_delivery'
    end
  $$;

comment on function automation.machine_reason(text, timestamptz, timestamptz, text) is
  'Why an open or a click is taken for a machine''s; null: it is taken for a person''s. A bare '
  'Mozilla/5.0 is Apple''s Mail Privacy Protection, which fetches images of mail nobody has read.';

create or replace function automation.includes_machine(version public.workflow_versions)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select version.trigger_config @> '{"include_machine": true}' $$;

-- The first open or click of machines, for the workflows that ask for it. The email itself is not
-- touched, so that a person's is still the first for everybody, these included.
create or replace function automation.start_for_machine(
  email public.emails, event public.email_events)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  trigger constant text := 'email_' || event.type;
  version public.workflow_versions;
begin
  for version in
    select v.*
    from automation.active_triggers as t
    join public.workflow_versions as v
      on v.tenant_id = t.tenant_id and v.workflow_id = t.workflow_id and v.version = t.version
    where t.tenant_id = email.tenant_id and t.entity = 'email' and t.event = trigger
      and t.role = 'enrol'
      and automation.includes_machine(v)
      and automation.matches(to_jsonb(email), t.match, t.match_any)
      and not exists (
        select from public.email_events as e
        where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type = event.type
          and e.is_machine and e.id <> event.id)
  loop
    perform automation.enrol_if_met(version, trigger, automation.snapshot(
      'email', email.tenant_id, to_jsonb(email), jsonb_build_object('email_event', to_jsonb(event))));
  end loop;
end;
$$;

-- "Every link at once" shows at the second link. What the first click started is cancelled as far
-- as it has not run, and a person's click later on counts as the first one.
create or replace function automation.withdraw_clicks(email public.emails, event public.email_events)
  returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  began timestamptz;
begin
  select min(e.occurred_at) into began from public.email_events as e
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type = 'clicked'
    and e.link <> event.link
    and e.occurred_at between event.occurred_at - interval '2 seconds'
      and event.occurred_at + interval '2 seconds';
  if began is null then
    return false;
  end if;
  perform automation.cancel_execution(x.id)
  from public.workflow_executions as x
  join public.workflow_versions as v
    on v.tenant_id = x.tenant_id and v.workflow_id = x.workflow_id and v.version = x.version
  where x.tenant_id = email.tenant_id and x.record_id = email.id::text
    and x.trigger_type = 'email_clicked' and x.finished_at is null
    and not automation.includes_machine(v);
  update public.email_events as e
  set is_machine = true, machine_reason = coalesce(e.machine_reason, 'every_link_at_once')
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type = 'clicked'
    and e.occurred_at between began and event.occurred_at + interval '2 seconds';
  update public.emails as m
  set clicked_at = null
  where m.tenant_id = email.tenant_id and m.id = email.id and m.clicked_at >= began
    and m.clicked_at <= event.occurred_at + interval '2 seconds';
  return true;
end;
$$;

-- The news of a delivery may come after that of an open seconds later, which was taken for a person's
-- till then. What it started is cancelled as far as it has not run.
create or replace function automation.withdraw_quick_events(email public.emails, delivered timestamptz)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  first_opened timestamptz;
  first_clicked timestamptz;
begin
  update public.email_events as e
  set is_machine = true, machine_reason = 'soon_after_delivery'
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type in ('opened', 'clicked')
    and not e.is_machine and e.occurred_at < delivered + automation.machine_haste();
  if not found then
    return;
  end if;
  select min(e.occurred_at), min(e.occurred_at) filter (where e.type = 'clicked')
    into first_opened, first_clicked
  from public.email_events as e
  where e.email_id = email.id and e.tenant_id = email.tenant_id and e.type in ('opened', 'clicked')
    and not e.is_machine;
  perform automation.cancel_execution(x.id)
  from public.workflow_executions as x
  join public.workflow_versions as v
    on v.tenant_id = x.tenant_id and v.workflow_id = x.workflow_id and v.version = x.version
  where x.tenant_id = email.tenant_id and x.record_id = email.id::text and x.finished_at is null
    and (x.trigger_type = 'email_opened' and first_opened is null
      or x.trigger_type = 'email_clicked' and first_clicked is null)
    and not automation.includes_machine(v);
  update public.emails as m
  set opened_at = first_opened, clicked_at = first_clicked
  where m.tenant_id = email.tenant_id and m.id = email.id;
end;
$$;

create or replace function automation.record_engagement(email public.emails, event public.email_events)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  event.machine_reason := automation.machine_reason(
    event.type, event.occurred_at, coalesce(email.delivered_at, email.created_at), event.user_agent);
  if event.type = 'clicked' and automation.withdraw_clicks(email, event) then
    event.machine_reason := coalesce(event.machine_reason, 'every_link_at_once');
  end if;
  event.is_machine := event.machine_reason is not null;
  insert into public.email_events select event.*;
  if event.is_machine then
    perform automation.start_for_machine(email, event);
  end if;
  if event.is_machine or event.type not in ('opened', 'clicked') then
    return;
  end if;
  -- Who clicks has opened, even where images are off.
  update public.emails as m
  set opened_at = coalesce(m.opened_at, event.occurred_at),
    clicked_at = case when event.type = 'clicked'
      then coalesce(m.clicked_at, event.occurred_at) else m.clicked_at end
  where m.tenant_id = email.tenant_id and m.id = email.id
    and (m.opened_at is null or (event.type = 'clicked' and m.clicked_at is null));
end;
$$;

-- A hard bounce of a mail to one address is that address's; of a mail to several nobody can say
-- whose. A complaint stops all of them.
create or replace function automation.suppress_email(email public.emails, event jsonb) returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.suppress(
      email.tenant_id, 'email', automation.bare_address(a.address),
      case event ->> 'type' when 'bounced' then 'bounce' else 'complaint' end,
      jsonb_strip_nulls(jsonb_build_object('email_id', email.id, 'detail', event -> 'detail')))
    from (
      select t.address, count(*) over () as addresses
      from (
        select e.address from jsonb_array_elements_text(event -> 'to') as e (address)
        union
        select s.address from string_to_table(email.to_address, ', ') as s (address)
        where coalesce(jsonb_array_length(event -> 'to'), 0) = 0
      ) as t
      where coalesce(btrim(t.address), '') <> ''
    ) as a
    where event ->> 'type' = 'complained'
      or event ->> 'type' = 'bounced' and (event ->> 'permanent')::boolean and a.addresses = 1
  $$;

create or replace function automation.record_delivery_of_email(email public.emails, event jsonb)
  returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.suppress_email(email, event);
  update public.emails as m
  set status = event ->> 'type', error_code = event ->> 'error_code'
  where m.tenant_id = email.tenant_id and m.id = email.id
    and automation.delivery_rank(event ->> 'type') > automation.delivery_rank(m.status);
  if event ->> 'type' = 'delivered' then
    update public.emails as m
    set delivered_at = (event ->> 'occurred_at')::timestamptz
    where m.tenant_id = email.tenant_id and m.id = email.id and m.delivered_at is null;
    if found then
      perform automation.withdraw_quick_events(email, (event ->> 'occurred_at')::timestamptz);
    end if;
  end if;
end;
$$;

create or replace function automation.email_event_of(email public.emails, event jsonb)
  returns public.email_events
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$
    select row(
      email.tenant_id, automation.new_id(), email.id, email.contact_id, event ->> 'type', false,
      null, event ->> 'link', event ->> 'user_agent', event -> 'detail',
      (event ->> 'occurred_at')::timestamptz, automation.now())::public.email_events
  $$;

create or replace function automation.apply_email_event(event jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  is_engagement constant boolean := event ->> 'type' in ('opened', 'clicked');
  sender constant uuid := automation.sent_by('public.emails', 'resend', event ->> 'email_id');
  email public.emails;
  outcome text := 'early';
begin
  if not is_engagement and automation.record_delivery_of_step(sender, event ->> 'email_id',
    event ->> 'type', event ->> 'error_code', (event ->> 'occurred_at')::timestamptz) then
    outcome := 'stored';
  end if;
  for email in
    select m.* from public.emails as m
    where m.provider_id = event ->> 'email_id' and m.provider = 'resend'
      and m.direction = 'outbound' and m.tenant_id = sender
  loop
    if not is_engagement then
      perform automation.record_delivery_of_email(email, event);
    end if;
    perform automation.record_engagement(email, automation.email_event_of(email, event));
    outcome := 'stored';
  end loop;
  return outcome;
end;
$$;

create or replace function automation.record_email_event(event_id text, event jsonb) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  outcome text;
begin
  delete from automation.provider_events as e
  where (e.provider, e.event_id) in (
    select o.provider, o.event_id from automation.provider_events as o
    where o.received_at < automation.now() - interval '30 days'
    order by o.received_at limit 20 for update skip locked);
  insert into automation.provider_events (provider, event_id, received_at)
  values ('resend', record_email_event.event_id, automation.now())
  on conflict on constraint provider_events_pkey do nothing;
  if not found then
    return 'duplicate';
  end if;
  perform automation.lock_inbound('resend ' || (event ->> 'email_id'));
  outcome := automation.apply_email_event(event);
  if outcome = 'early' then
    perform automation.keep_early_event('resend', event ->> 'email_id', event);
  end if;
  return outcome;
end;
$$;

comment on function automation.record_email_event(text, jsonb) is
  'What became of an email, once for each event_id: {email_id, type, occurred_at, to?, link?, '
  'user_agent?, permanent?, error_code?, detail?}; type: delivered, delivery_delayed, bounced, '
  'complained, failed, suppressed, opened or clicked. Returns stored, duplicate or early (kept until the email is '
  'recorded).';

-- sql/11_api/06_inbound_forms.sql

-- A form on a tenant's web site. Whoever posts learns one thing: that it was taken, or what is
-- wrong with it. Never whether a contact was known.

create or replace function automation.find_form(public_key text) returns public.forms
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select f from public.forms as f
    where f.public_key = find_form.public_key and f.is_active
  $$;

create or replace function automation.origin_allowed(form public.forms, origin text)
  returns boolean
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select origin is null or '*' = any (form.allowed_origins)
      or lower(rtrim(origin, '/')) in (
        select lower(rtrim(o, '/')) from unnest(form.allowed_origins) as o)
  $$;

create or replace function automation.form_accepts(public_key text, origin text) returns boolean
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select form.id is not null and automation.origin_allowed(form, origin)
    from automation.find_form(public_key) as form
  $$;

comment on function automation.form_accepts(text, text) is
  'May a page of this origin post to this form? What a browser asks before it posts.';

-- One hour at a time, counted from its first post. Returns how long to wait, or null: go on.
create or replace function automation.count_post(form public.forms, source bytea, at_most integer)
  returns interval
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  at constant timestamptz := automation.now();
  counted automation.form_rates;
begin
  insert into automation.form_rates as r (tenant_id, form_id, source, window_start, posts)
  values (form.tenant_id, form.id, count_post.source, at, 1)
  on conflict on constraint form_rates_pkey do update
    set posts = case when r.window_start > at - interval '1 hour' then r.posts + 1 else 1 end,
      window_start = case when r.window_start > at - interval '1 hour' then r.window_start else at end
    where r.posts < at_most or r.window_start <= at - interval '1 hour'
  returning * into counted;
  if counted.form_id is not null then
    return null;
  end if;
  return (
    select r.window_start + interval '1 hour' - at from automation.form_rates as r
    where r.tenant_id = form.tenant_id and r.form_id = form.id and r.source = count_post.source);
end;
$$;

-- The source first, so that one visitor cannot use up the form; but while the form is full no new
-- sources are noted, which is what bounds the table.
create or replace function automation.limit_posts(form public.forms, source text) returns interval
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  whole constant bytea := ''::bytea;
  full_until timestamptz;
  wait interval;
begin
  delete from automation.form_rates as r
  where (r.tenant_id, r.form_id, r.source) in (
    select o.tenant_id, o.form_id, o.source from automation.form_rates as o
    where o.window_start < automation.now() - interval '1 hour'
    order by o.window_start limit 20 for update skip locked);
  select r.window_start + interval '1 hour' into full_until from automation.form_rates as r
  where r.tenant_id = form.tenant_id and r.form_id = form.id and r.source = whole
    and r.posts >= form.max_per_hour;
  if full_until > automation.now() then
    return full_until - automation.now();
  end if;
  wait := automation.count_post(form, sha256(convert_to(
    form.id::text || coalesce(limit_posts.source, ''), 'UTF8')), form.max_per_source_per_hour);
  return coalesce(wait, automation.count_post(form, whole, form.max_per_hour));
end;
$$;

create or replace function automation.is_first_post(form public.forms, fields jsonb) returns boolean
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  delete from automation.form_posts as p
  where (p.tenant_id, p.form_id, p.digest) in (
    select o.tenant_id, o.form_id, o.digest from automation.form_posts as o
    where o.received_at < automation.now() - interval '1 day'
    order by o.received_at limit 20 for update skip locked);
  insert into automation.form_posts as p (tenant_id, form_id, digest, received_at)
  values (form.tenant_id, form.id, sha256(convert_to(fields::text, 'UTF8')), automation.now())
  on conflict on constraint form_posts_pkey do update set received_at = excluded.received_at
    where p.received_at <= excluded.received_at - form.duplicate_window;
  return found;
end;
$$;

-- The names that web forms use for what a contact has.
create or replace function automation.contact_column(field text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when plain in ('email', 'emailaddress', 'youremail', 'mail') then 'email'
      when plain in ('phone', 'phonenumber', 'yourphone', 'tel', 'telephone', 'mobile', 'cell',
        'cellphone', 'mobilephone') then 'phone'
      when plain in ('firstname', 'givenname', 'fname') then 'first_name'
      when plain in ('lastname', 'familyname', 'surname', 'lname') then 'last_name'
      when plain in ('name', 'fullname', 'yourname') then 'name'
      when plain in ('company', 'companyname', 'organization') then 'company'
      when plain in ('address', 'addressline', 'street', 'streetaddress') then 'address_line1'
      when plain = 'city' then 'city'
      when plain in ('state', 'region') then 'state'
      when plain in ('zip', 'zipcode', 'postalcode', 'postcode') then 'postal_code'
    end
    from (select regexp_replace(lower(field), '[^a-z]', '', 'g') as plain) as p
  $$;

create or replace function automation.contact_fields(form public.forms, fields jsonb)
  returns table (field text, target text, value text)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select distinct on (m.target) f.key, m.target, left(btrim(f.value #>> '{}'), 400)
    from jsonb_each(fields) as f
    cross join lateral (
      select coalesce(form.field_map ->> f.key, automation.contact_column(f.key)) as target
    ) as m
    where m.target in ('email', 'phone', 'first_name', 'last_name', 'name', 'company',
        'address_line1', 'city', 'state', 'postal_code')
      and jsonb_typeof(f.value) in ('string', 'number') and btrim(f.value #>> '{}') <> ''
    order by m.target, not (form.field_map ? f.key), f.key
  $$;

create or replace function automation.form_problems(form public.forms, fields jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    with given as (
      select g.* from automation.contact_fields(form, fields) as g
    ), problem as (
      select r.field, 'is required' as message
      from unnest(form.required_fields) as r (field)
      where btrim(coalesce(fields ->> r.field, '')) in ('', '[]')
      union all
      select g.field, 'is not an email address' from given as g
      where g.target = 'email'
        and g.value !~ '^[^@<>\s,;"]{1,64}@[^@<>\s,;"]{1,250}\.[^@<>\s,;".]{2,63}$'
      union all
      select g.field, 'is not a phone number' from given as g
      where g.target = 'phone' and automation.normalize_phone(g.value) is null
      union all
      select 'email', 'an email address or a phone number is needed'
      where not exists (select from given as g where g.target in ('email', 'phone'))
    )
    select jsonb_agg(jsonb_build_object('field', p.field, 'message', p.message) order by p.field)
    from (select distinct on (q.field) q.field, q.message from problem as q order by q.field) as p
  $$;

-- What the columns of contacts get: normalised, and a full name taken apart at its last blank.
create or replace function automation.contact_of_fields(form public.forms, fields jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_strip_nulls(jsonb_build_object(
        'first_name', regexp_replace(given ->> 'name', '\s+\S+$', ''),
        'last_name', substring(given ->> 'name' from '\s(\S+)$')))
      || given - 'name' || jsonb_strip_nulls(jsonb_build_object(
        'email', lower(given ->> 'email'),
        'phone', automation.normalize_phone(given ->> 'phone')))
    from (
      select coalesce(jsonb_object_agg(g.target, g.value), '{}') as given
      from automation.contact_fields(form, fields) as g
    ) as g
  $$;

-- An email address is one person's, a phone may be a household's.
create or replace function automation.match_contact(tenant_id uuid, email text, phone text)
  returns uuid
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      automation.contact_by_email(tenant_id, email, phone),
      automation.contact_by_phone(tenant_id, phone))
  $$;

-- Anybody can post, so what is known of a contact already stays; only blanks are filled.
create or replace function automation.contact_of_form(form public.forms, given jsonb) returns uuid
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  key text;
  contact uuid;
begin
  for key in select k from unnest(array[given ->> 'email', given ->> 'phone']) as k
    where k is not null order by k loop
    perform automation.lock_inbound(form.tenant_id || key);
  end loop;
  contact := automation.match_contact(form.tenant_id, given ->> 'email', given ->> 'phone');
  if contact is null then
    return automation.create_contact(form.tenant_id, given || '{"source": "form"}');
  end if;
  perform automation.fill_contact(form.tenant_id, contact, given);
  return contact;
end;
$$;

create or replace function automation.submit_form(
  public_key text, origin text, source text, fields jsonb)
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  form constant public.forms := automation.find_form(public_key);
  content constant jsonb := fields - form.honeypot;
  accepted constant jsonb := jsonb_build_object(
    'outcome', 'accepted', 'redirect_url', form.redirect_url);
  wait interval;
  problems jsonb;
begin
  if form.id is null then
    return '{"outcome": "unknown_form"}'::jsonb;
  elsif not automation.origin_allowed(form, origin) then
    return '{"outcome": "origin_not_allowed"}'::jsonb;
  elsif btrim(coalesce(fields ->> form.honeypot, '')) <> '' then
    return accepted;
  end if;
  wait := automation.limit_posts(form, source);
  if wait is not null then
    return jsonb_build_object(
      'outcome', 'rate_limited', 'retry_after_seconds', ceil(extract(epoch from wait)));
  end if;
  problems := automation.form_problems(form, content);
  if problems is not null then
    return jsonb_build_object('outcome', 'invalid', 'errors', problems);
  end if;
  if automation.is_first_post(form, content) then
    insert into public.form_submissions (tenant_id, form, contact_id, data)
    values (form.tenant_id, form.name,
      automation.contact_of_form(form, automation.contact_of_fields(form, content)), content);
  end if;
  return accepted;
end;
$$;

comment on function automation.submit_form(text, text, text, jsonb) is
  'Takes a post of a public form: {outcome, redirect_url?, errors?: [{field, message}], '
  'retry_after_seconds?}; outcome: accepted, invalid, rate_limited, unknown_form or '
  'origin_not_allowed. A double post, a filled honeypot and a contact that was known already all '
  'look like any other post.';

-- sql/11_api/07_http.sql

-- Answers given over HTTP under an Idempotency-Key, so that a client that did not hear one may ask
-- again. The answer is kept in the transaction that did the work: there is no moment at which the
-- work is done and the answer unknown, and a call that failed has done nothing and keeps nothing.

create table automation.idempotency_keys (
  caller text not null,
  key text not null constraint idempotency_keys_key_length check (length(key) between 1 and 255),
  fingerprint bytea not null,
  status smallint not null,
  answer jsonb not null,
  expires_at timestamptz not null,
  constraint idempotency_keys_pkey primary key (caller, key)
);

create index idempotency_keys_by_expiry on automation.idempotency_keys (expires_at);

comment on table automation.idempotency_keys is
  'What was answered to a caller under a key, for a day.';
comment on column automation.idempotency_keys.caller is
  'user:<id>, with @<tenant> for who belongs to several, or service:<tenant>: a key belongs to a tenant, '
  'and one caller''s keys say nothing about another''s.';
comment on column automation.idempotency_keys.fingerprint is
  'Digest of the method, path and body that the key was first used with.';

-- Whatever is wrong with the request is said by the operation itself.
create or replace function automation.tenant_of_request(input jsonb) returns uuid
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if input ? 'workflow_id' then
    return (automation.find_workflow(automation.as_uuid(input ->> 'workflow_id'))).tenant_id;
  elsif input ? 'execution_id' then
    return (automation.find_execution(automation.as_uuid(input ->> 'execution_id'))).tenant_id;
  elsif input ? 'enrollment_id' then
    return (select min(t.id::text)::uuid from automation.usable_tenants() as t (id)
      join public.bulk_enrollments as b
        on b.tenant_id = t.id and b.id = automation.as_uuid(input ->> 'enrollment_id')
      having count(*) = 1);
  end if;
  return automation.resolve_tenant(null, coalesce(input -> 'trigger_data', '{}'));
exception when no_data_found or invalid_parameter_value then
  return null;
end;
$$;

create or replace function automation.request_scope(input jsonb) returns text
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when automation.is_service() then 'service:' || coalesce(t.id::text, 'any')
      when cardinality(automation.member_tenants()) > 1
        then format('user:%s@%s', automation.current_user_id(), coalesce(t.id::text, 'any'))
      else format('user:%s', automation.current_user_id())
    end
    from (select coalesce(automation.named_tenant(), automation.tenant_of_request(input)) as id) as t
  $$;

comment on function automation.request_scope(jsonb) is
  'Whose idempotency keys these are: asked for with the rights of the caller.';

create or replace function automation.request_fingerprint(request jsonb) returns bytea
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select sha256(convert_to(request::text, 'UTF8')) $$;

comment on function automation.request_fingerprint(jsonb) is
  'Neither the order of the members of an object nor white space counts.';

create or replace function automation.prune_idempotency_keys(max_rows integer default 100)
  returns integer
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  pruned integer;
begin
  delete from automation.idempotency_keys as k
  where (k.caller, k.key) in (
    select e.caller, e.key from automation.idempotency_keys as e
    where e.expires_at <= automation.now()
    order by e.expires_at
    limit max_rows
    for update skip locked);
  get diagnostics pruned = row_count;
  return pruned;
end;
$$;

comment on function automation.prune_idempotency_keys(integer) is
  'Removes keys that have expired. Every request with a key takes a few along, so the table stays as '
  'large as a day''s requests.';

-- verdict: new, replay (with the answer), mismatch (the key was used for another request) or in_flight
-- (the first request has not been answered yet).
create or replace function automation.begin_request(
  caller text, key text, request jsonb,
  out verdict text, out status integer, out answer jsonb)
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kept automation.idempotency_keys;
begin
  if not pg_try_advisory_xact_lock(hashtextextended(format('%s %s', caller, key), 7)) then
    verdict := 'in_flight';
    return;
  end if;
  perform automation.prune_idempotency_keys();
  select k.* into kept from automation.idempotency_keys as k
  where k.caller = begin_request.caller and k.key = begin_request.key
    and k.expires_at > automation.now();
  if not found then
    verdict := 'new';
  elsif kept.fingerprint <> automation.request_fingerprint(request) then
    verdict := 'mismatch';
  else
    verdict := 'replay';
    status := kept.status;
    answer := kept.answer;
  end if;
end;
$$;

comment on function automation.begin_request(text, text, jsonb) is
  'To be called first in the transaction that does the work; automation.keep_answer() last.';

create or replace function automation.keep_answer(
  caller text, key text, request jsonb, status integer, answer jsonb)
  returns void
  language sql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    insert into automation.idempotency_keys (caller, key, fingerprint, status, answer, expires_at)
    values (caller, key, automation.request_fingerprint(request), status, answer,
      automation.now() + interval '1 day')
    on conflict on constraint idempotency_keys_pkey do update
      set (fingerprint, status, answer, expires_at) =
        row (excluded.fingerprint, excluded.status, excluded.answer, excluded.expires_at)
  $$;

-- sql/11_api/08_dry_run.sql

-- Looking before leaping: what a workflow would do, and why it did or did not fire. Nothing here
-- writes a row.

create or replace function automation.explain_listener(
  workflow public.workflows, data jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  listener constant automation.compiled_trigger :=
    automation.compile_trigger(workflow.trigger_type, workflow.trigger_config);
  record constant jsonb := coalesce(data -> listener.entity, data);
begin
  return (
    select coalesce(jsonb_agg(jsonb_build_object(
      'field', w.field, 'expected', w.value, 'actual', record -> w.field,
      'passed', coalesce(w.passed, false)) order by w.field), '[]')
    from (
      select m.key as field, m.value, record @> jsonb_build_object(m.key, m.value) as passed
      from jsonb_each(listener.match) as m
      union all
      select m.key, m.value, m.value @> (record -> m.key) from jsonb_each(listener.match_any) as m
      union all
      -- What a change has to lead to.
      select listener.field, listener.to_values, listener.to_values @> (record -> listener.field)
      where listener.to_values is not null
      union all
      select t.column_name, to_jsonb(t.becomes), lower(record ->> t.column_name) = lower(t.becomes)
      from automation.trigger_types as t
      where t.name = workflow.trigger_type and t.becomes is not null
    ) as w);
end;
$$;

comment on function automation.explain_listener(public.workflows, jsonb) is
  'Each equality of the trigger_config, and the values a change has to lead to, with what the record has.';

-- What new runs start with: the published version, or the draft while there is none.
create or replace function automation.explain_enrollment(workflow_id uuid, record jsonb)
  returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  written constant public.workflows := automation.find_workflow(workflow_id);
  tested constant automation.tested_workflow :=
    automation.compile_tested(written, written.published_version);
  workflow constant public.workflows := tested.workflow;
  lifecycle constant jsonb := (tested.compiled).plan -> 'lifecycle';
  data jsonb;
  fired_id text;
  trigger_checks jsonb;
  conditions jsonb;
  recent integer;
  earlier automation.entries;
begin
  perform automation.check_object(record, 'record');
  data := automation.complete_trigger_data(workflow.tenant_id, record);
  fired_id := data ->> ((data ->> 'entity') || '_id');
  trigger_checks := automation.explain_listener(workflow, data);
  if (tested.compiled).conditions is not null then
    conditions := automation.explain_conditions(
      (tested.compiled).conditions, automation.trigger_context(workflow.tenant_id, data),
      automation.tenant_zone(workflow.tenant_id), automation.now());
  end if;
  recent := automation.count_enrolments(
    workflow.tenant_id, workflow.id, fired_id,
    automation.now() - automation.setting('enrollment_window')::interval, 10001);
  if lifecycle ? 'reentry' then
    earlier := automation.last_entry(
      workflow.tenant_id, workflow.id,
      automation.entry_key(automation.imagine_execution(workflow, data), lifecycle), fired_id);
  end if;
  return jsonb_build_object(
    'would_enroll',
      workflow.is_active and workflow.published_version is not null
      and not trigger_checks @> '[{"passed": false}]'
      and coalesce((conditions ->> 'verdict')::boolean, true)
      and recent < automation.setting('max_enrollments')::integer
      and automation.may_enter(lifecycle -> 'reentry', earlier),
    'workflow', jsonb_build_object(
      'is_active', workflow.is_active, 'published_version', workflow.published_version,
      'trigger_type', workflow.trigger_type),
    'trigger', trigger_checks,
    'conditions', conditions,
    'reentry', case when lifecycle ? 'reentry' then lifecycle -> 'reentry' || jsonb_build_object(
      'last_entered_at', earlier.entered_at, 'last_execution_id', earlier.execution_id,
      'passed', automation.may_enter(lifecycle -> 'reentry', earlier)) end,
    'recent_enrollments', jsonb_build_object(
      'count', recent, 'limit', automation.setting('max_enrollments')::integer,
      'window', automation.setting('enrollment_window')),
    'executions', (
      select coalesce(jsonb_agg(to_jsonb(e) order by e.created_at desc), '[]')
      from (
        select x.id, x.status, x.version, x.error, x.created_at
        from public.workflow_executions as x
        where x.tenant_id = workflow.tenant_id and x.record_id = fired_id
          and x.workflow_id = workflow.id
        order by x.created_at desc
        limit 10
      ) as e));
end;
$$;

-- The execution that a dry run pretends to be in: a row that is never written. Its version is 0, which
-- tells automation.read_root() that its records are the ones it brings along.
create or replace function automation.imagine_execution(
  workflow public.workflows, data jsonb)
  returns public.workflow_executions
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_populate_record(null::public.workflow_executions, jsonb_build_object(
      'tenant_id', workflow.tenant_id, 'id', gen_random_uuid(), 'workflow_id', workflow.id,
      'version', 0, 'status', 'running', 'trigger_type', workflow.trigger_type,
      'trigger_data', data, 'entity', data -> 'entity',
      'record_id', data -> ((data ->> 'entity') || '_id'), 'contact_id', data -> 'contact_id',
      'depth', 0, 'created_at', automation.now(), 'started_at', automation.now()))
  $$;

-- Sets fields of a record that the dry run brought along; "custom_fields.x" one key of a column.
create or replace function automation.imagine_fields(data jsonb, entity text, fields jsonb) returns jsonb
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  field record;
  record jsonb := coalesce(data -> entity, '{}');
begin
  for field in select f.key, f.value, string_to_array(f.key, '.') as at from jsonb_each(fields) as f loop
    record := case cardinality(field.at)
      when 1 then record || jsonb_build_object(field.key, field.value)
      else record || jsonb_build_object(field.at[1],
        coalesce(record -> field.at[1], '{}')
          || jsonb_build_object(array_to_string(field.at[2:], '.'), field.value))
    end;
  end loop;
  return data || jsonb_build_object(entity, record);
end;
$$;

-- What a database step would change, so that later conditions see it.
create or replace function automation.imagine_effect(
  execution public.workflow_executions, step_type text, input jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case step_type
      when 'update_contact' then automation.imagine_fields(d.data, 'contact', input -> 'fields')
      when 'update_project' then automation.imagine_fields(d.data, 'project', input -> 'fields')
      when 'update_field' then automation.imagine_fields(
        d.data,
        coalesce(input ->> 'entity', substring(input ->> 'field' from '^(contact|project|job)\.'), 'contact'),
        jsonb_build_object(regexp_replace(input ->> 'field', '^(contact|project|job)\.', ''), input -> 'value'))
      when 'change_stage' then automation.imagine_fields(
        d.data, automation.stage_entity(execution, input),
        jsonb_build_object(
          coalesce(automation.stage_column(automation.stage_entity(execution, input)), ''), input -> 'stage'))
      when 'assign_user' then automation.imagine_fields(
        d.data, automation.assigned_entity(execution, input),
        jsonb_build_object(
          coalesce(automation.mapped_column(automation.assigned_entity(execution, input), 'assigned_to'), ''),
          coalesce(input -> 'user_id', input #> '{user_ids,0}')))
      when 'add_tag' then automation.imagine_fields(d.data, 'contact', jsonb_build_object(
        'tags', coalesce(d.tags - (input ->> 'tag'), '[]') || jsonb_build_array(input -> 'tag')))
      when 'remove_tag' then automation.imagine_fields(d.data, 'contact', jsonb_build_object(
        'tags', coalesce(d.tags - (input ->> 'tag'), '[]')))
      else d.data
    end
    from (
      select execution.trigger_data as data,
        automation.read_root(execution, 'contact.tags') as tags
    ) as d
  $$;

-- events: {<step key>: "event" or what comes}; a step that waits for an event that is not in it times out.
create or replace function automation.imagine_wait(
  execution public.workflow_executions, step_key text, input jsonb, at timestamptz, events jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case
      when not input ? 'event' then automation.wait_for_time(execution, input, at)
      when events ? step_key then jsonb_build_object(
        'branch', 'event', 'result', 'event', 'event', jsonb_build_object(
          'type', coalesce(input #> '{event,type}', input -> 'event'), 'at', at,
          'record', case jsonb_typeof(events -> step_key) when 'object' then events -> step_key else '{}' end))
      else jsonb_build_object(
        'branch', 'timeout', 'result', 'timeout', 'wait_until', automation.add_length(
          at, automation.duration_in(input -> 'timeout'), automation.wait_zone(execution, input)))
    end
  $$;

create or replace function automation.imagine_split(
  execution public.workflow_executions, step_key text, input jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('branch', coalesce(
      (select s.branch from automation.split_assignments as s
       where s.tenant_id = execution.tenant_id and s.workflow_id = execution.workflow_id
         and s.step_key = imagine_split.step_key and s.subject = automation.split_subject(execution)
         and automation.branch_names(input) @> array[s.branch]),
      automation.draw_branch(input -> 'branches', automation.split_seed(execution, step_key))))
  $$;

create or replace function automation.imagine_result(
  execution public.workflow_executions, step jsonb, input jsonb, at timestamptz, events jsonb)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select case step ->> 'type'
      when 'wait' then automation.imagine_wait(execution, step ->> 'key', input, at, events)
      when 'conditional' then automation.choose(execution, step, at)
      when 'split' then automation.imagine_split(execution, step ->> 'key', input)
      when 'stop' then automation.stop(input)
      else '{}'
    end
  $$;

-- One step, as of a time: {key, type, at, verdict, reason, input, warnings, conditions, result}.
create or replace function automation.imagine_step(
  execution public.workflow_executions, step jsonb, zone text, at timestamptz, events jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  prepared automation.prepared_step;
  result jsonb;
begin
  begin
    prepared := automation.prepare_step(execution, step, at);
    if prepared.verdict = 'run' then
      prepared := automation.ask_consent(execution, step ->> 'type', prepared);
    end if;
    if prepared.verdict = 'run' then
      result := automation.imagine_result(execution, step, prepared.input, at, events);
    end if;
  exception when others then
    prepared.verdict := 'fail';
    prepared.reason := automation.engine_error('step_failed', sqlstate, sqlerrm);
  end;
  return jsonb_build_object(
    'key', step -> 'key', 'type', step -> 'type', 'at', at,
    'verdict', prepared.verdict, 'reason', prepared.reason, 'input', prepared.input,
    'warnings', prepared.warnings,
    'conditions', case when jsonb_typeof(step -> 'conditions') = 'object' then
      automation.explain_conditions(
        step -> 'conditions', automation.execution_context(execution, step -> 'roots'), zone, at)
      end)
    || case when result <> '{}' then jsonb_build_object('result', result) else '{}' end
    || case when result ? 'wait_until' then jsonb_build_object('until', result -> 'wait_until') else '{}' end;
end;
$$;

create or replace function automation.imagine_exit(
  execution public.workflow_executions, lifecycle jsonb, zone text, at timestamptz)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select jsonb_build_object('status', 'cancelled', 'at', at, 'code', 'exit_conditions', 'conditions', e.why)
    from (
      select automation.explain_conditions(
        lifecycle -> 'exit', automation.execution_context(execution, lifecycle #> '{exit,roots}'), zone, at) as why
      where lifecycle ? 'exit'
    ) as e
    where (e.why ->> 'verdict')::boolean
  $$;

-- The way a run would take, on a clock of its own: {path, ended}.
create or replace function automation.imagine_path(
  execution public.workflow_executions, plan jsonb, zone text, at timestamptz, events jsonb)
  returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  step jsonb := plan -> 'steps' -> (plan ->> 'first');
  taken jsonb;
  path jsonb := '[]'::jsonb;
  ended jsonb;
begin
  while step is not null and ended is null loop
    at := at + make_interval(secs => (step ->> 'delay_seconds')::double precision);
    ended := automation.imagine_exit(execution, plan -> 'lifecycle', zone, at);
    exit when ended is not null;
    taken := automation.imagine_step(execution, step, zone, at, events);
    path := path || taken;
    if taken ->> 'verdict' = 'run' then
      execution.trigger_data := automation.imagine_effect(execution, step ->> 'type', taken -> 'input');
    end if;
    execution.trigger_data := execution.trigger_data || jsonb_build_object(
      'steps', coalesce(execution.trigger_data -> 'steps', '{}') || jsonb_build_object(
        step ->> 'key', coalesce(taken -> 'result', '{}') || jsonb_build_object(
          'status', case taken ->> 'verdict'
            when 'run' then 'completed' when 'skip' then 'skipped' else 'failed' end)));
    at := greatest(at, (taken ->> 'until')::timestamptz);
    ended := case
      when taken ->> 'verdict' = 'fail' and not coalesce((step ->> 'continue_on_error')::boolean, false)
        then jsonb_build_object('status', 'failed', 'at', at, 'step', step -> 'key')
      when taken -> 'result' ? 'stop'
        then jsonb_build_object('status', taken #> '{result,outcome}', 'at', at, 'step', step -> 'key')
    end;
    step := plan -> 'steps' -> automation.next_key(step, taken -> 'result');
  end loop;
  return jsonb_build_object('path', path, 'ended', coalesce(
    ended, jsonb_build_object('status', 'completed', 'at', at)));
end;
$$;

create type automation.tested_workflow as (
  workflow public.workflows,
  compiled automation.compiled_workflow
);

-- What is tested: the draft as it is now, or a version.
create or replace function automation.compile_tested(workflow public.workflows, version_asked integer)
  returns automation.tested_workflow
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  version public.workflow_versions;
begin
  if version_asked is null then
    return row(workflow, automation.compile_workflow(workflow))::automation.tested_workflow;
  end if;
  select v.* into version from public.workflow_versions as v
  where v.tenant_id = workflow.tenant_id and v.workflow_id = workflow.id and v.version = version_asked;
  if not found then
    raise exception 'options.version: there is no version %', version_asked using errcode = 'no_data_found';
  end if;
  workflow.trigger_type := version.trigger_type;
  workflow.trigger_config := version.trigger_config;
  return row(workflow, row(
    automation.compile_trigger(version.trigger_type, version.trigger_config),
    version.conditions, version.plan, '[]')::automation.compiled_workflow)::automation.tested_workflow;
end;
$$;

create or replace function automation.test_options(options jsonb) returns jsonb
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  unknown text;
begin
  perform automation.check_object(options, 'options');
  select k into unknown from jsonb_object_keys(options) as k where k not in ('version', 'at', 'events') limit 1;
  if unknown is not null then
    raise exception 'options.%: there is no such option', unknown using errcode = 'invalid_parameter_value',
      hint = 'version, at and events are known.';
  elsif options ? 'version' and options ->> 'version' !~ '^\d{1,9}$' then
    raise exception 'options.version: a version number is needed' using errcode = 'invalid_parameter_value';
  elsif options ? 'at' and not automation.is_date(options ->> 'at') then
    raise exception 'options.at: a time is needed' using errcode = 'invalid_parameter_value',
      hint = 'Such as 2026-12-01T09:30:00Z.';
  elsif options ? 'events' and jsonb_typeof(options -> 'events') <> 'object' then
    raise exception 'options.events: an object is needed' using errcode = 'invalid_parameter_value',
      hint = 'The key of each step whose event comes, such as {"wait_for_reply": {"body": "Yes"}}.';
  end if;
  return options;
end;
$$;

create or replace function automation.test_workflow(workflow_id uuid, trigger_data jsonb, options jsonb)
  returns jsonb
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  asked constant jsonb := automation.test_options(options);
  tested automation.tested_workflow;
  workflow public.workflows := automation.find_workflow(workflow_id);
  zone constant text := automation.tenant_zone(workflow.tenant_id);
  at constant timestamptz := coalesce(
    automation.instant_in(asked ->> 'at', zone), automation.now());
  data jsonb;
  conditions jsonb;
begin
  perform automation.check_object(trigger_data, 'trigger_data');
  tested := automation.compile_tested(workflow, (asked ->> 'version')::integer);
  workflow := tested.workflow;
  if (tested.compiled).problems @> '[{"severity": "error"}]' then
    return jsonb_build_object('valid', false, 'problems', (tested.compiled).problems);
  end if;
  data := automation.complete_trigger_data(workflow.tenant_id, trigger_data);
  conditions := case when (tested.compiled).conditions is not null then automation.explain_conditions(
    (tested.compiled).conditions, automation.trigger_context(workflow.tenant_id, data), zone, at) end;
  return jsonb_build_object(
      'valid', true, 'problems', (tested.compiled).problems,
      'trigger', automation.explain_listener(workflow, data),
      'conditions', conditions,
      'enrolls', coalesce((conditions ->> 'verdict')::boolean, true))
    || case when coalesce((conditions ->> 'verdict')::boolean, true) then
      automation.imagine_path(
        automation.imagine_execution(workflow, data), (tested.compiled).plan, zone, at,
        coalesce(asked -> 'events', '{}'))
      else '{"path": []}' end;
end;
$$;

create or replace function public.test_workflow(
  workflow_id uuid, trigger_data jsonb default '{}', options jsonb default '{}',
  tenant_id uuid default null)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.test_workflow(workflow_id, trigger_data, options)
    from automation.in_tenant(coalesce(tenant_id, automation.as_uuid(trigger_data ->> 'tenant_id')))
  $$;

comment on function public.test_workflow(uuid, jsonb, jsonb, uuid) is
  'A dry run for records of the tenant ({"contact_id": ...}) or made-up ones ({"contact": {...}}), with no '
  'effect whatsoever: {valid, problems, trigger, conditions, enrolls, path: [{key, type, at, verdict, '
  'reason, input, conditions, result, until}], ended: {status, at}}. It follows branches, and waits on a '
  'clock of its own; what a step would change is seen by the steps after it. options: version (the draft '
  'when left out), at (when it begins), events ({<step key>: {...}}: what comes for steps that wait for an '
  'event; the others time out).';

create or replace function public.explain_enrollment(
  workflow_id uuid, record jsonb, tenant_id uuid default null)
  returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.explain_enrollment(workflow_id, record)
    from automation.in_tenant(coalesce(tenant_id, automation.as_uuid(record ->> 'tenant_id')))
  $$;

comment on function public.explain_enrollment(uuid, jsonb, uuid) is
  'Why did, or did not, this record enter this workflow? record: {"contact_id": ...} and the like. '
  'Each check with what it expected and found, and the executions there were.';

-- sql/12_security/01_roles.sql

-- 12 SECURITY
--
-- Three kinds of caller, named as Supabase names them:
--   anon           sees nothing
--   authenticated  a signed-in user: the rows of the tenants they are a member of
--   service_role   Edge Functions and the office's own servers: everything
--
-- Members edit CRM rows and definitions. What the engine owns (versions, executions, steps, the
-- queue) they read; only functions in automation write it.

revoke all on all functions in schema automation from public;
revoke all on all procedures in schema automation from public;
alter default privileges in schema automation revoke execute on functions from public;

grant usage on schema automation to authenticated, service_role;
grant usage on schema public to anon, authenticated, service_role;

revoke all on all functions in schema public from public, anon;

do $$
declare
  api regprocedure;
begin
  for api in
    select p.oid::regprocedure from pg_catalog.pg_proc as p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in (
        'trigger_workflows', 'execute_workflow', 'cancel_execution', 'retry_execution',
        'publish_workflow', 'validate_workflow', 'get_execution_history', 'test_workflow',
        'explain_enrollment', 'move_executions')
  loop
    execute format('grant execute on function %s to authenticated, service_role', api);
  end loop;
end;
$$;

-- What the API functions and the policies call on behalf of a signed-in user. Each checks the
-- caller itself.
grant execute on function
  automation.member_tenants(), automation.admin_tenants(), automation.now(),
  automation.test_now(), automation.new_id(), automation.as_uuid(text), automation.in_tenant(uuid),
  automation.own_tenant(uuid), automation.request_scope(jsonb),
  automation.trigger_workflows(text, jsonb, uuid), automation.execute_workflow(uuid, jsonb),
  automation.cancel_execution(uuid), automation.retry_execution(uuid),
  automation.publish_workflow(uuid, jsonb), automation.validate_workflow(uuid),
  automation.move_executions(uuid, integer, uuid[]),
  automation.test_workflow(uuid, jsonb, jsonb), automation.explain_enrollment(uuid, jsonb)
  to authenticated;

grant execute on all functions in schema automation to service_role;
grant execute on all procedures in schema automation to service_role;
grant select on all tables in schema automation to service_role;
grant update (value) on automation.settings to service_role;

-- Attaching tables and running SQL by name is for the owner alone.
revoke execute on function
  automation.attach(regclass, text, jsonb, jsonb), automation.detach(text),
  automation.install_schedule(), automation.remove_schedule(),
  automation.vault_secret(text), automation.call_dispatch()
  from service_role;

-- sql/12_security/02_policies.sql

-- Row level security: on for every table, from the first migration. Policies name the tenant with
-- one array, computed once a statement, so that they lead an index scan.

alter table public.tenants enable row level security;
alter table public.tenant_members enable row level security;
alter table public.contacts enable row level security;
alter table public.projects enable row level security;
alter table public.jobs enable row level security;
alter table public.tasks enable row level security;
alter table public.tags enable row level security;
alter table public.contact_tags enable row level security;
alter table public.messages enable row level security;
alter table public.emails enable row level security;
alter table public.calls enable row level security;
alter table public.form_submissions enable row level security;
alter table public.workflows enable row level security;
alter table public.workflow_steps enable row level security;
alter table public.workflow_versions enable row level security;
alter table public.workflow_executions enable row level security;
alter table public.workflow_step_executions enable row level security;
alter table public.scheduled_steps enable row level security;
alter table public.suppressions enable row level security;

alter table automation.settings enable row level security;
alter table automation.clock enable row level security;
alter table automation.time_zones enable row level security;
alter table automation.trigger_types enable row level security;
alter table automation.step_types enable row level security;
alter table automation.setting_schemas enable row level security;
alter table automation.skip_codes enable row level security;
alter table automation.entities enable row level security;
alter table automation.active_triggers enable row level security;

-- The published schemas are no secret, nor is what a code of the history means.
create policy step_types_read on automation.step_types for select to authenticated using (true);
create policy setting_schemas_read on automation.setting_schemas
  for select to authenticated using (true);
create policy skip_codes_read on automation.skip_codes for select to authenticated using (true);

create policy tenants_members_read on public.tenants
  for select to authenticated
  using (id = any ((select automation.member_tenants())::uuid[]));
create policy tenants_admins_edit on public.tenants
  for update to authenticated
  using (id = any ((select automation.admin_tenants())::uuid[]))
  with check (id = any ((select automation.admin_tenants())::uuid[]));

create policy tenant_members_read on public.tenant_members
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy tenant_members_admins_update on public.tenant_members
  for update to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]))
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy tenant_members_admins_delete on public.tenant_members
  for delete to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));

do $$
declare
  edited text;
  read_only text;
begin
  foreach edited in array array[
    'contacts', 'projects', 'jobs', 'tasks', 'tags', 'contact_tags', 'messages', 'emails', 'calls',
    'form_submissions', 'workflows', 'workflow_steps'
  ] loop
    execute format(
      'create policy %I on public.%I for all to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[])) '
      'with check (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      edited || '_members', edited);
  end loop;
  foreach read_only in array array[
    'workflow_versions', 'workflow_executions', 'workflow_step_executions', 'scheduled_steps',
    'suppressions'
  ] loop
    execute format(
      'create policy %I on public.%I for select to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      read_only || '_members_read', read_only);
  end loop;
end;
$$;

-- What comes in. Whose a number is and what providers reported is not for members to write; a
-- tenant's admins look after its forms.
alter table public.senders enable row level security;
alter table public.forms enable row level security;
alter table public.email_events enable row level security;
alter table automation.form_posts enable row level security;
alter table automation.form_rates enable row level security;
alter table automation.provider_events enable row level security;
alter table automation.early_events enable row level security;

create policy senders_members_read on public.senders
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy senders_admins_update on public.senders
  for update to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]))
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy email_events_members_read on public.email_events
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy forms_members_read on public.forms
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy forms_admins_insert on public.forms
  for insert to authenticated
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy forms_admins_update on public.forms
  for update to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]))
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy forms_admins_delete on public.forms
  for delete to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));

-- What was answered over HTTP is asked for through automation.begin_request() alone.
alter table automation.idempotency_keys enable row level security;

-- sql/12_security/03_grants.sql

-- Explicit grants: new tables in public are exposed to nobody until they are listed here.

revoke all on all tables in schema public from anon, authenticated, service_role;

grant select on all tables in schema public to service_role;

grant insert, update, delete on
  public.tenants, public.tenant_members, public.contacts, public.projects, public.jobs,
  public.tasks, public.tags, public.contact_tags, public.messages, public.emails, public.calls,
  public.form_submissions, public.workflows, public.workflow_steps, public.suppressions
  to service_role;

grant select on
  public.tenants, public.tenant_members, public.contacts, public.projects, public.jobs,
  public.tasks, public.tags, public.contact_tags, public.messages, public.emails, public.calls,
  public.form_submissions, public.workflows, public.workflow_steps, public.workflow_versions,
  public.workflow_executions, public.workflow_step_executions, public.scheduled_steps,
  public.suppressions
  to authenticated;

grant insert, update, delete on
  public.contacts, public.projects, public.jobs, public.tasks, public.tags, public.contact_tags,
  public.form_submissions, public.workflow_steps
  to authenticated;

-- What was said, as a member notes it down. The provider's word for it (its name and id, what became
-- of it, who sent it) is the provider's: news of a message is matched by it.
grant delete,
  insert (tenant_id, id, contact_id, direction, from_number, to_number, body, status, media_urls,
    created_at),
  update (contact_id, status)
  on public.messages to authenticated;
grant delete,
  insert (tenant_id, id, contact_id, direction, from_address, to_address, subject, html, text, status,
    created_at),
  update (contact_id, status)
  on public.emails to authenticated;
grant delete,
  insert (tenant_id, id, contact_id, direction, from_number, to_number, status, duration_seconds,
    created_at),
  update (contact_id, status, duration_seconds)
  on public.calls to authenticated;

-- published_version is the engine's to set.
grant delete,
  insert (tenant_id, id, name, description, status, trigger_type, trigger_config, conditions,
    is_active, metadata),
  update (name, description, status, trigger_type, trigger_config, conditions, is_active, metadata)
  on public.workflows to authenticated;

grant update (name, timezone, phone, email, website, address, settings)
  on public.tenants to authenticated;


-- Who joins says so (06_membership).
grant delete, update (role, full_name, email, phone) on public.tenant_members to authenticated;

grant insert, update, delete on public.senders, public.forms to service_role;
grant select on public.senders, public.forms, public.email_events to authenticated;

-- Which of its own a tenant uses; not which are its own.
grant update (label, display_name, is_default, is_active) on public.senders to authenticated;

-- A form's public key is made for it, not chosen.
grant delete,
  insert (tenant_id, id, name, is_active, allowed_origins, required_fields, field_map, honeypot,
    redirect_url, max_per_hour, max_per_source_per_hour, duplicate_window),
  update (name, is_active, allowed_origins, required_fields, field_map, honeypot, redirect_url,
    max_per_hour, max_per_source_per_hour, duplicate_window)
  on public.forms to authenticated;

-- What public.workflow_schemas and public.automation_skipped_sends read.
grant select on automation.step_types, automation.setting_schemas, automation.skip_codes
  to authenticated, service_role;

-- sql/12_security/04_time.sql

-- Schedules, timers and bulk enrolments: members read those of their tenants; only the engine
-- writes them.

alter table public.workflow_schedules enable row level security;
alter table public.workflow_timers enable row level security;
alter table public.bulk_enrollments enable row level security;
alter table automation.timer_listeners enable row level security;

do $$
declare
  read_only text;
begin
  foreach read_only in array array['workflow_schedules', 'workflow_timers', 'bulk_enrollments'] loop
    execute format(
      'create policy %I on public.%I for select to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      read_only || '_members_read', read_only);
  end loop;
end;
$$;

revoke all on public.workflow_schedules, public.workflow_timers, public.bulk_enrollments
  from anon, authenticated, service_role;
grant select on public.workflow_schedules, public.workflow_timers, public.bulk_enrollments
  to authenticated, service_role;
grant select on automation.timer_listeners to service_role;

grant execute on function
  automation.enroll_records(uuid, text[], jsonb, text, integer, jsonb),
  automation.cancel_bulk_enrollment(uuid),
  public.enroll_records(uuid, text[], jsonb, text, integer, jsonb, uuid),
  public.cancel_bulk_enrollment(uuid, uuid)
  to authenticated, service_role;

-- Triggers are made by publishing; asking for one directly is for the owner.
revoke execute on function automation.install_timer_trigger(text) from service_role;

-- sql/12_security/05_lifecycle.sql

-- What the engine remembers of runs in flight: nobody's but its own, and the service role may look.

alter table automation.signals enable row level security;
alter table automation.run_events enable row level security;
alter table automation.entries enable row level security;
alter table automation.rotations enable row level security;
alter table automation.split_assignments enable row level security;

grant select on
  automation.signals, automation.run_events, automation.entries, automation.rotations,
  automation.split_assignments
  to service_role;

grant insert (settings), update (settings) on public.workflows to authenticated;

-- sql/12_security/06_membership.sql

-- Who belongs to a tenant. Members are added by their own consent alone, an owner is made, demoted and
-- removed by owners alone, and there is always one: an admin who could change that would be one.

alter table public.tenant_invitations enable row level security;

create policy tenant_invitations_admins_read on public.tenant_invitations
  for select to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy tenant_invitations_admins_delete on public.tenant_invitations
  for delete to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));

revoke all on public.tenant_invitations from anon, authenticated, service_role;
grant select (tenant_id, id, email, role, invited_by, created_at, expires_at, accepted_at), delete
  on public.tenant_invitations to authenticated, service_role;

create or replace function automation.role_in(tenant_id uuid) returns text
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select m.role from public.tenant_members as m
    where m.tenant_id = role_in.tenant_id and m.user_id = automation.current_user_id()
  $$;

-- The writes of signed-in users; what the service role does is the installation's own doing. The lock
-- makes two owners who remove each other take turns.
create or replace function automation.guard_membership() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  becomes constant text := case tg_op when 'DELETE' then null else new.role end;
begin
  if automation.is_service() or old.role <> 'owner' and becomes is distinct from 'owner' then
    return case tg_op when 'DELETE' then old else new end;
  end if;
  perform pg_advisory_xact_lock(hashtextextended('owners ' || old.tenant_id, 0));
  if automation.role_in(old.tenant_id) is distinct from 'owner' then
    raise exception 'role: only an owner makes, changes or removes an owner'
      using errcode = 'insufficient_privilege';
  elsif becomes is distinct from 'owner' and not exists (
    select from public.tenant_members as m
    where m.tenant_id = old.tenant_id and m.role = 'owner' and m.user_id <> old.user_id) then
    raise exception 'role: a tenant keeps at least one owner'
      using errcode = 'insufficient_privilege', hint = 'Make somebody else an owner first.';
  end if;
  return case tg_op when 'DELETE' then old else new end;
end;
$$;

create trigger tenant_members_guard
  before update or delete on public.tenant_members
  for each row execute function automation.guard_membership();

create or replace function automation.invite_member(tenant_id uuid, email text, role text)
  returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  secret constant text := replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', '');
  mine constant text := automation.role_in(tenant_id);
  invited public.tenant_invitations;
begin
  if not automation.may_use(tenant_id) or not exists (
    select from public.tenants as t where t.id = invite_member.tenant_id) then
    perform automation.raise_not_found('tenant_id', tenant_id);
  elsif not automation.is_service() and (
    coalesce(mine, 'member') = 'member' or role = 'owner' and mine <> 'owner') then
    raise exception 'role: %', case role when 'owner' then 'only an owner makes an owner'
        else 'only owners and admins invite' end
      using errcode = 'insufficient_privilege';
  elsif coalesce(role, '') not in ('owner', 'admin', 'member') then
    raise exception 'role: owner, admin or member is needed' using errcode = 'invalid_parameter_value';
  elsif coalesce(email, '') !~ '^[^@\s]+@[^@\s]+$' then
    raise exception 'email: an address is needed' using errcode = 'invalid_parameter_value';
  end if;
  insert into public.tenant_invitations (tenant_id, email, role, digest, invited_by, expires_at)
  values (tenant_id, lower(email), role, sha256(convert_to(secret, 'UTF8')),
    automation.current_user_id(), automation.now() + interval '7 days')
  returning * into invited;
  return jsonb_build_object('id', invited.id, 'tenant_id', invited.tenant_id, 'email', invited.email,
    'role', invited.role, 'expires_at', invited.expires_at, 'token', secret);
end;
$$;

-- Whoever holds the secret and the address says yes, for themselves. Who invited may have been
-- demoted or have left since: an invitation is worth no more than its inviter.
create or replace function automation.accept_invitation(token text) returns public.tenant_members
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  me constant uuid := automation.current_user_id();
  address constant text := lower(automation.request_setting('request.jwt.claims') ->> 'email');
  invited public.tenant_invitations;
  joined public.tenant_members;
begin
  if me is null then
    raise exception 'token: sign in first, to join as yourself' using errcode = 'insufficient_privilege';
  end if;
  select i.* into invited from public.tenant_invitations as i
  where i.digest = sha256(convert_to(token, 'UTF8')) and i.accepted_at is null
    and i.expires_at > automation.now() and i.email = address
    and (i.invited_by is null or exists (
      select from public.tenant_members as m
      where m.tenant_id = i.tenant_id and m.user_id = i.invited_by
        and (m.role = 'owner' or m.role = 'admin' and i.role <> 'owner')))
  for update;
  if not found then
    raise exception 'token: there is no such invitation' using errcode = 'no_data_found',
      hint = 'It may have expired, been used or taken back, or be for another address than the one you '
        'signed in with.';
  end if;
  update public.tenant_invitations as i set accepted_at = automation.now()
  where i.tenant_id = invited.tenant_id and i.id = invited.id;
  insert into public.tenant_members (tenant_id, user_id, role, email)
  values (invited.tenant_id, me, invited.role, invited.email)
  on conflict on constraint tenant_members_pkey do nothing
  returning * into joined;
  if not found then
    raise exception 'token: you are a member already' using errcode = 'unique_violation';
  end if;
  return joined;
end;
$$;

create or replace function public.invite_member(
  email text, role text default 'member', tenant_id uuid default null)
  returns jsonb
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.invite_member(automation.own_tenant(tenant_id), email, role) $$;

comment on function public.invite_member(text, text, uuid) is
  'Asks somebody to join the tenant: {id, email, role, expires_at, token}. The token is told here and '
  'nowhere else; it goes to that address, whose holder calls accept_invitation within a week.';

create or replace function public.accept_invitation(token text) returns public.tenant_members
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.accept_invitation(token) $$;

comment on function public.accept_invitation(text) is
  'Joins a tenant as the signed-in user, whose address the invitation must be for.';

-- Who said stop to a person, not to a machine, is stopped by that person: the row says by whom.
create or replace function automation.suppress_address(tenant_id uuid, channel text, address text)
  returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and coalesce(automation.role_in(tenant_id), 'member') = 'member' then
    raise exception 'tenant_id: only owners and admins suppress an address'
      using errcode = 'insufficient_privilege';
  elsif coalesce(channel, '') not in ('sms', 'email') then
    raise exception 'channel: sms or email is needed' using errcode = 'invalid_parameter_value';
  elsif btrim(coalesce(address, '')) = '' then
    raise exception 'address: a phone number or an email address is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  perform automation.suppress(tenant_id, channel, address, 'manual',
    jsonb_strip_nulls(jsonb_build_object('user_id', automation.current_user_id())));
end;
$$;

create or replace function public.suppress_address(
  channel text, address text, tenant_id uuid default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.suppress_address(automation.own_tenant(tenant_id), channel, address) $$;

comment on function public.suppress_address(text, text, uuid) is
  'Sends nothing more to this number (sms) or address (email): for somebody who said stop on the '
  'telephone. Owners and admins.';

revoke execute on function
  automation.role_in(uuid), automation.guard_membership(), automation.invite_member(uuid, text, text),
  automation.accept_invitation(text), public.invite_member(text, text, uuid),
  public.accept_invitation(text),
  automation.suppress_address(uuid, text, text), public.suppress_address(text, text, uuid)
  from public, anon, authenticated, service_role;
grant execute on function
  automation.invite_member(uuid, text, text), automation.accept_invitation(text),
  public.invite_member(text, text, uuid), public.accept_invitation(text),
  automation.suppress_address(uuid, text, text), public.suppress_address(text, text, uuid)
  to authenticated, service_role;

-- sql/12_security/06_portions.sql

-- What is being worked on: the engine's own; the service role may look.

alter table automation.portions enable row level security;
alter table automation.suspects enable row level security;

grant select on automation.portions, automation.suspects to service_role;

-- sql/12_security/07_secrets.sql

-- Secrets have names, and live in Supabase's Vault as ridgeline/<tenant>/<name>. They are written by a
-- tenant's owners and admins, read by the dispatcher at the send, and stand in no row, payload or log.

create or replace function automation.vault_name(tenant_id uuid, name text) returns text
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if tenant_id is null or coalesce(name, '') !~ '^[a-z][a-z0-9_-]{0,62}$' then
    raise exception 'name: "%" is no name of a secret', left(name, 60)
      using errcode = 'invalid_parameter_value',
        hint = 'Use lower-case letters, digits, _ and -, and begin with a letter.';
  end if;
  return format('ridgeline/%s/%s', tenant_id, name);
end;
$$;

-- fresh_for: only if it was written within this time.
create or replace function automation.read_secret(
  tenant_id uuid, name text, fresh_for interval default null)
  returns text
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  secret text;
begin
  if to_regclass('vault.decrypted_secrets') is null then
    return null;
  end if;
  execute 'select s.decrypted_secret from vault.decrypted_secrets as s '
    'where s.name = $1 and ($2 is null or s.updated_at > clock_timestamp() - $2)'
    into secret using automation.vault_name(tenant_id, name), fresh_for;
  return secret;
end;
$$;

comment on function automation.read_secret(uuid, text, interval) is
  'A secret of a tenant, for the dispatcher at the send. Null: there is none of that name.';

create or replace function automation.write_secret(tenant_id uuid, name text, value text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  kept constant text := automation.vault_name(tenant_id, name);
  known uuid;
begin
  if to_regclass('vault.decrypted_secrets') is null then
    raise exception 'secrets need Supabase''s Vault' using errcode = 'feature_not_supported',
      hint = 'create extension supabase_vault';
  elsif coalesce(value, '') = '' or octet_length(value) > 8192 then
    raise exception 'value: 1 to 8192 bytes are needed' using errcode = 'invalid_parameter_value';
  end if;
  perform pg_advisory_xact_lock(hashtextextended(kept, 0));
  execute 'select s.id from vault.decrypted_secrets as s where s.name = $1' into known using kept;
  if known is null then
    execute 'select vault.create_secret($1, $2, $3)' using value, kept, 'Ridgeline';
  else
    execute 'select vault.update_secret($1, $2)' using known, value;
  end if;
end;
$$;

create or replace function automation.may_use_secrets(tenant_id uuid) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and not coalesce(tenant_id = any (automation.admin_tenants()), false) then
    raise exception 'tenant_id: only owners and admins may do this'
      using errcode = 'insufficient_privilege';
  end if;
end;
$$;

create or replace function automation.set_secret(tenant_id uuid, name text, value text) returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.may_use_secrets(tenant_id);
  if name like 'webhook_signing%' then
    perform automation.check_signing_secret(value);
  end if;
  perform automation.write_secret(tenant_id, name, value);
end;
$$;

create or replace function automation.delete_secret(tenant_id uuid, name text) returns boolean
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  deleted integer;
begin
  perform automation.may_use_secrets(tenant_id);
  if to_regclass('vault.secrets') is null then
    return false;
  end if;
  execute 'delete from vault.secrets as s where s.name = $1' using automation.vault_name(tenant_id, name);
  get diagnostics deleted = row_count;
  return deleted > 0;
end;
$$;

create or replace function automation.list_secrets(tenant_id uuid)
  returns table (name text, created_at timestamptz, updated_at timestamptz)
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform automation.may_use_secrets(tenant_id);
  if to_regclass('vault.decrypted_secrets') is not null then
    return query execute
      'select substr(s.name, length($1) + 1), s.created_at, s.updated_at from vault.decrypted_secrets as s '
      'where starts_with(s.name, $1) order by 1'
      using format('ridgeline/%s/', tenant_id);
  end if;
end;
$$;

-- WHAT OUTGOING WEBHOOKS ARE SIGNED WITH

create or replace function automation.check_signing_secret(value text) returns void
  language plpgsql immutable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if coalesce(value, '') !~ '^whsec_[A-Za-z0-9+/]{32,88}={0,2}$' then
    raise exception 'value: a signing secret is needed' using errcode = 'invalid_parameter_value',
      hint = '"whsec_" followed by base64 of 24 to 64 random bytes.';
  end if;
end;
$$;

-- 244 random bits: two UUIDs.
create or replace function automation.make_signing_secret() returns text
  language sql volatile
  set search_path = pg_catalog, pg_temp
  as $$ select 'whsec_' || encode(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()), 'base64') $$;

-- The newest first. While a new one is fresh the one before it signs as well, so that a receiver may
-- change over at its leisure.
create or replace function automation.signing_secrets(tenant_id uuid, name text default null)
  returns table (secrets text[], environment_serves boolean)
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select array_remove(array[
        automation.read_secret(signing_secrets.tenant_id, coalesce(signing_secrets.name, 'webhook_signing')),
        case when signing_secrets.name is null then automation.read_secret(
          signing_secrets.tenant_id, 'webhook_signing_previous', interval '1 day') end], null),
      automation.environment_serves(signing_secrets.tenant_id)
  $$;

comment on function automation.signing_secrets(uuid, text) is
  'What a webhook of the tenant is signed with, for the dispatcher; environment_serves: without any, what '
  'the environment has will do.';

-- The first webhook of a tenant makes its secret; who is to check it asks for one with rotate_webhook_secret.
create or replace function automation.first_signing_secret(tenant_id uuid) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  made text;
begin
  perform pg_advisory_xact_lock(hashtextextended('signing ' || tenant_id, 0));
  made := automation.read_secret(tenant_id, 'webhook_signing');
  if made is null then
    made := automation.make_signing_secret();
    perform automation.write_secret(tenant_id, 'webhook_signing', made);
  end if;
  return made;
end;
$$;

create or replace function automation.rotate_webhook_secret(tenant_id uuid) returns text
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  made constant text := automation.make_signing_secret();
  previous text;
begin
  perform automation.may_use_secrets(tenant_id);
  perform pg_advisory_xact_lock(hashtextextended('signing ' || tenant_id, 0));
  previous := automation.read_secret(tenant_id, 'webhook_signing');
  if previous is not null then
    perform automation.write_secret(tenant_id, 'webhook_signing_previous', previous);
  end if;
  perform automation.write_secret(tenant_id, 'webhook_signing', made);
  return made;
end;
$$;

create or replace function public.set_secret(name text, value text, tenant_id uuid default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.set_secret(automation.own_tenant(tenant_id), name, value) $$;

comment on function public.set_secret(text, text, uuid) is
  'Keeps a secret of the tenant in the Vault, for steps and senders to name. Owners and admins; nobody can '
  'read it back.';

create or replace function public.delete_secret(name text, tenant_id uuid default null) returns boolean
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.delete_secret(automation.own_tenant(tenant_id), name) $$;

comment on function public.delete_secret(text, uuid) is 'Forgets a secret; false: there was none of that name.';

create or replace function public.list_secrets(tenant_id uuid default null)
  returns table (name text, created_at timestamptz, updated_at timestamptz)
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select l.* from automation.list_secrets(automation.own_tenant(tenant_id)) as l $$;

comment on function public.list_secrets(uuid) is 'The names of the tenant''s secrets. Owners and admins.';

create or replace function public.rotate_webhook_secret(tenant_id uuid default null) returns text
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.rotate_webhook_secret(automation.own_tenant(tenant_id)) $$;

comment on function public.rotate_webhook_secret(uuid) is
  'Makes a new signing secret for the tenant''s webhooks and tells it, here and nowhere else. For a day the '
  'one before it signs too. Owners and admins.';

revoke execute on function
  automation.vault_name(uuid, text), automation.read_secret(uuid, text, interval),
  automation.write_secret(uuid, text, text), automation.may_use_secrets(uuid),
  automation.set_secret(uuid, text, text), automation.delete_secret(uuid, text),
  automation.list_secrets(uuid), automation.check_signing_secret(text),
  automation.make_signing_secret(), automation.signing_secrets(uuid, text),
  automation.first_signing_secret(uuid), automation.rotate_webhook_secret(uuid),
  public.set_secret(text, text, uuid), public.delete_secret(text, uuid), public.list_secrets(uuid),
  public.rotate_webhook_secret(uuid)
  from public, anon, authenticated, service_role;
grant execute on function
  automation.read_secret(uuid, text, interval), automation.signing_secrets(uuid, text),
  automation.first_signing_secret(uuid)
  to service_role;
grant execute on function
  automation.set_secret(uuid, text, text), automation.delete_secret(uuid, text),
  automation.list_secrets(uuid), automation.rotate_webhook_secret(uuid),
  public.set_secret(text, text, uuid), public.delete_secret(text, uuid), public.list_secrets(uuid),
  public.rotate_webhook_secret(uuid)
  to authenticated, service_role;

-- sql/13_views/01_operator.sql

-- 13 VIEWS
--
-- For the operator at 2 a.m. Each view runs with the rights of whoever reads it, so a member sees
-- their tenant and the service role sees everything.

create view public.automation_queue with (security_invoker = true) as
  select s.tenant_id, s.lane,
    case
      when s.lease_expires_at is null and s.run_at > automation.now() then 'delayed'
      when s.lease_expires_at is null then 'due'
      when s.lease_expires_at > clock_timestamp() then 'claimed'
      else 'expired'
    end as state,
    count(*) as steps,
    min(s.run_at) as oldest_run_at,
    max(s.attempt) as most_attempts
  from public.scheduled_steps as s
  group by 1, 2, 3;

comment on view public.automation_queue is
  'What is ahead, by tenant and lane: delayed, due, claimed, expired (its worker stopped).';

-- A skip whose code nobody has explained counts as a failure rather than as nothing.
create view public.automation_skipped_sends with (security_invoker = true) as
  select s.tenant_id, s.execution_id, e.workflow_id, w.name as workflow_name, e.version, e.contact_id,
    e.trigger_type, s.step_key, s.step_type, coalesce(s.recipient, s.error ->> 'given') as recipient,
    s.error ->> 'code' as code, s.error ->> 'message' as message,
    coalesce(c.counts_as, 'failure') = 'failure' as is_failure, s.error, s.finished_at
  from public.workflow_step_executions as s
  join automation.step_types as t on t.name = s.step_type and t.lane <> 'database'
  join public.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
  join public.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id
  left join automation.skip_codes as c on c.code = s.error ->> 'code'
  where s.status = 'skipped' and c.counts_as is distinct from 'choice';

comment on view public.automation_skipped_sends is
  'Messages that did not go out though the run went on, and why. recipient: who was to get it, or what '
  'stood where the recipient should. is_failure: nobody could be written to (as opposed to: they had opted out).';

-- An execution, or a step that its execution went on without.
create view public.automation_failures with (security_invoker = true) as
  select e.tenant_id, e.id as execution_id, w.name as workflow_name, e.version, e.contact_id,
    e.trigger_type, f.error ->> 'step' as step_key, f.error ->> 'code' as code,
    f.error ->> 'message' as message, f.error, f.finished_at, e.status as execution_status
  from (
    select e.tenant_id, e.id, e.error, e.finished_at
    from public.workflow_executions as e
    where e.status = 'failed'
    union all
    select s.tenant_id, s.execution_id, s.error || jsonb_build_object('step', s.step_key), s.finished_at
    from public.automation_skipped_sends as s
    where s.is_failure
    union all
    select s.tenant_id, s.execution_id, s.error || jsonb_build_object('step', s.step_key), s.finished_at
    from public.workflow_step_executions as s
    join public.workflow_executions as e on e.tenant_id = s.tenant_id and e.id = s.execution_id
    where s.status = 'failed' and not (e.status = 'failed' and e.error ->> 'step' = s.step_key)
  ) as f (tenant_id, execution_id, error, finished_at)
  join public.workflow_executions as e on e.tenant_id = f.tenant_id and e.id = f.execution_id
  join public.workflows as w on w.tenant_id = e.tenant_id and w.id = e.workflow_id;

comment on view public.automation_failures is
  'What failed, and why: executions (public.retry_execution() runs one again from where it failed), steps '
  'that their execution went on without, and sends that found nobody to go to. execution_status: failed '
  'for the first.';

grant select on public.automation_queue, public.automation_skipped_sends, public.automation_failures
  to authenticated, service_role;

-- sql/13_views/02_schemas.sql

-- For programs that make workflows: what each step can be told, as JSON Schema.

create view public.workflow_schemas with (security_invoker = true) as
  select 'step' as kind, t.name, t.lane, t.branches, t.description, t.config_schema
  from automation.step_types as t
  union all
  select 'setting', s.name, null, null, s.description, s.config_schema
  from automation.setting_schemas as s;

comment on view public.workflow_schemas is
  'The published schemas: of step_config for each kind of step, of workflows.settings (settings) and of '
  'workflow_steps.retry (retry).';

grant select on public.workflow_schemas to authenticated, service_role;

reset check_function_bodies;

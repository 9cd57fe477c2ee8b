-- Where words from outside come in: which forms there are, and what providers
-- report about messages that were sent.

-- Whose number it says that it is; a withheld one stays what the provider put for it.
create or replace function automation.line_of(given text, country text default 'US') returns text
  language plpgsql stable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- What a provider writes of most, and what is ours already: America has nothing to take off it.
  if given ~ '^\+1[2-9][0-9]{9}$' then
    return given;
  end if;
  return case when automation.is_withheld(given) then given
    else coalesce(automation.normalize_line(given, country), given) end;
end;
$$;

-- Whoever writes them: everything that looks for the messages of a number finds them. What is no number
-- ("anonymous", a withheld caller) stays as it came.
create or replace function automation.normalize_numbers() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  -- What the engine writes has its country already.
  country constant text := case when new.from_number like '+%' and new.to_number like '+%' then 'US'
    else automation.country_of(new.tenant_id) end;
begin
  new.from_number := automation.line_of(new.from_number, country);
  new.to_number := automation.line_of(new.to_number, country);
  return new;
end;
$$;

create trigger messages_normalize
  before insert or update of from_number, to_number on ridgeline.messages
  for each row execute function automation.normalize_numbers();

create or replace function automation.note_keyword() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.keyword := nullif(automation.keyword_of(new.body), '');
  return new;
end;
$$;

create trigger messages_note_keyword
  before insert or update of body on ridgeline.messages
  for each row when (new.direction = 'inbound')
  execute function automation.note_keyword();

create trigger calls_normalize
  before insert or update of from_number, to_number on ridgeline.calls
  for each row execute function automation.normalize_numbers();

create or replace function automation.normalize_to_address() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.to_address := coalesce(automation.normalize_email(new.to_address), new.to_address);
  return new;
end;
$$;

create trigger emails_normalize
  before insert or update of to_address on ridgeline.emails
  for each row execute function automation.normalize_to_address();

create table ridgeline.email_addresses (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  address text not null
    constraint email_addresses_address_is_normal check (
      address = lower(address) and address ~ '^([^@<>\s,;"]+@)?[^@<>\s,;"]+\.[^@<>\s,;".]+$'),
  label text,
  created_at timestamptz not null default automation.now(),
  constraint email_addresses_pkey primary key (tenant_id, id),
  constraint email_addresses_address_unique unique (address)
);

comment on table ridgeline.email_addresses is
  'The addresses, and the domains as a whole, that a tenant is written to on. Like senders it decides '
  'whose an incoming email is, so only whoever provisions them (the service role) writes it.';
comment on column ridgeline.email_addresses.address is
  'office@apexroofing.example, or apexroofing.example for every address of that domain.';

create or replace function automation.normalize_email_address() returns trigger
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  new.address := lower(ltrim(btrim(new.address), '@'));
  return new;
end;
$$;

create trigger email_addresses_normalize
  before insert or update of address on ridgeline.email_addresses
  for each row execute function automation.normalize_email_address();

alter table ridgeline.messages
  add column opt_out_type text
    constraint messages_opt_out_type_known check (opt_out_type in ('STOP', 'START', 'HELP')),
  add column media_urls text[],
  add column channel text not null default 'sms',
  add column keyword text;

comment on column ridgeline.messages.channel is
  'sms (pictures too), whatsapp, or what else the provider calls it.';

comment on column ridgeline.messages.keyword is
  'The words of an incoming message in small letters, without punctuation: "Yes!" is yes.';
comment on column ridgeline.messages.opt_out_type is
  'What the provider took the message for, where it reads them for that; null: it did not say.';

create table ridgeline.forms (
  tenant_id uuid not null,
  id uuid not null default gen_random_uuid(),
  public_key text not null default 'form_' || replace(gen_random_uuid()::text, '-', '')
    constraint forms_public_key_shape check (public_key ~ '^form_[0-9a-z]{16,64}$'),
  name text not null constraint forms_name_not_blank check (btrim(name) <> ''),
  is_active boolean not null default true,
  allowed_origins text[] not null default '{}',
  required_fields text[] not null default '{}',
  field_map jsonb not null default '{}'
    constraint forms_field_map_is_object check (jsonb_typeof(field_map) = 'object'),
  honeypot text not null default 'hp_leave_blank'
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
  trusted boolean not null default false,
  max_fired_per_hour integer not null default 60
    constraint forms_max_fired_in_range check (max_fired_per_hour between 1 and 100000),
  max_per_address_per_hour integer not null default 3
    constraint forms_max_per_address_in_range check (max_per_address_per_hour between 1 and 1000),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  consent jsonb
    constraint forms_consent_shape check (
      jsonb_typeof(consent) = 'object' and jsonb_typeof(consent -> 'field') = 'string'
      and btrim(consent ->> 'wording') <> '' and octet_length(consent::text) <= 16384
      and jsonb_typeof(coalesce(consent -> 'channels', '[]')) = 'array'),
  constraint forms_pkey primary key (tenant_id, id),
  constraint forms_public_key_unique unique (public_key)
);

comment on table ridgeline.forms is
  'Forms on a tenant''s web site. Whoever knows the public key may submit, within the limits.';
comment on column ridgeline.forms.allowed_origins is
  'Web sites that may post, such as https://apexroofing.example or https://*.apexroofing.example; * for '
  'any. A post without an Origin header comes from a server and is not held to it.';
comment on column ridgeline.forms.field_map is
  'The form''s own field names to columns of contacts, such as {"your-tel": "phone"}. The usual '
  'names (email, phone, first_name, name, zip ...) need no entry.';
comment on column ridgeline.forms.honeypot is
  'A field that people do not see, under a name that browsers fill with nothing. A post that fills it is '
  'answered like any other and held for a month.';
comment on column ridgeline.forms.consent is
  '{field, wording, channels?, double_opt_in?}: ticking that field agrees to marketing by these channels (sms, email; '
  'default both), in these words, which are kept with every consent as they were shown. double_opt_in: it is pending '
  'until the number answers START or YES.';
comment on column ridgeline.forms.redirect_url is
  'Where a browser without JavaScript goes after the post.';
comment on column ridgeline.forms.duplicate_window is
  'The same content within this time is one submission.';
comment on column ridgeline.forms.trusted is
  'Only people of the office, or a server of theirs, post here: a submission may fill what is blank in a '
  'contact that was known, and its runs see that contact.';
comment on column ridgeline.forms.max_fired_per_hour is
  'So many posts an hour fire workflows; the others are held. The tenant as a whole: tenants.settings '
  '{"forms": {"max_fired_per_hour": 200}}.';
comment on column ridgeline.forms.max_per_address_per_hour is
  'So many posts an hour with one email address or phone number fire workflows; the others are held.';

-- An origin as browsers write it: scheme, host, a port other than the scheme's. Null: it is none.
create or replace function automation.normalize_origin(given text) returns text
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$
    select case when o.parts is not null
      then o.parts[1] || '://' || o.parts[2] || case
        when (o.parts[1], o.parts[3]) in (('https', '443'), ('http', '80')) then ''
        else coalesce(':' || o.parts[3], '') end
      end
    from (
      select regexp_match(case
          when g.written ~ '^[a-z][a-z0-9+.-]*://' then g.written
          when g.written ~ '^(localhost|127\.0\.0\.1|\[::1\])(:|/|$)' then 'http://' || g.written
          when g.written ~ '^[^:/?#]+\.[^:/?#]' then 'https://' || g.written
        end,
        '^([a-z][a-z0-9+.-]*)://((?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?'
        '(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*)|\[[0-9a-f:.]+\])\.?(?::(\d{1,5}))?(?:[/?#].*)?$')
        as parts
      from (select lower(btrim(given, E' \t\r\n')) as written) as g
    ) as o
  $$;

-- What no browser would ever send is refused here, and not at every post.
create or replace function automation.normalize_form() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
declare
  given text;
  origin text;
  origins text[] := array[]::text[];
begin
  foreach given in array string_to_array(
    coalesce(regexp_replace(array_to_string(new.allowed_origins, ' '), '[\s,;]+', ' ', 'g'), ''), ' ') loop
    origin := case when given = '*' then '*' else automation.normalize_origin(given) end;
    if given <> '' and origin is null then
      raise exception 'allowed_origins: "%" is no web site', left(given, 100)
        using errcode = 'invalid_parameter_value',
          hint = 'Write it as a browser does, https://apexroofing.example; a name with letters beyond a-z in '
            'its xn-- spelling; https://*.apexroofing.example for all names below one, * for any site.';
    elsif given <> '' and not origin = any (origins) then
      origins := origins || origin;
    end if;
  end loop;
  new.allowed_origins := origins;
  return new;
end;
$$;

create trigger forms_normalize
  before insert or update of allowed_origins on ridgeline.forms
  for each row execute function automation.normalize_form();

create trigger forms_touch
  before update on ridgeline.forms
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
    references ridgeline.forms (tenant_id, id) on delete cascade
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
    references ridgeline.forms (tenant_id, id) on delete cascade
);

create index form_rates_by_age on automation.form_rates (window_start);

comment on table automation.form_rates is
  'Posts within the current hour, of each source and (source empty) of the form as a whole. Never '
  'more rows than posts that the forms take in an hour, plus what waits to be deleted.';
comment on column automation.form_rates.source is
  'A digest of where the post came from; addresses themselves are not kept.';

create table automation.form_reach (
  tenant_id uuid not null,
  scope bytea not null,
  window_start timestamptz not null,
  posts integer not null,
  constraint form_reach_pkey primary key (tenant_id, scope)
);

create index form_reach_by_age on automation.form_reach (window_start);

comment on table automation.form_reach is
  'Posts that fired within the current hour: for each address that was given (a digest of it), each form, '
  'and the tenant.';

create table ridgeline.held_submissions (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  form_id uuid not null,
  form text not null,
  reason text not null
    constraint held_submissions_reason_known
    check (reason in ('honeypot', 'limit', 'invalid', 'unreadable', 'origin')),
  problem text not null,
  data jsonb not null default '{}'
    constraint held_submissions_data_is_object check (jsonb_typeof(data) = 'object'),
  raw text constraint held_submissions_raw_is_bounded check (length(raw) <= 20000),
  created_at timestamptz not null default automation.now(),
  released_at timestamptz,
  submission_id uuid,
  changed_at timestamptz not null default automation.now(),
  constraint held_submissions_pkey primary key (tenant_id, id),
  constraint held_submissions_form_fk foreign key (tenant_id, form_id)
    references ridgeline.forms (tenant_id, id) on delete cascade
);

select automation.keep_changed_at('ridgeline.held_submissions');

comment on table ridgeline.held_submissions is
  'Posts that are no submission (yet): a robot''s, beyond a limit, incomplete, unreadable or from a page that '
  'may not post. They fired nothing. release_submission(id) makes a submission of one; each is kept for thirty days.';
comment on column ridgeline.held_submissions.problem is 'Why it was held, in words.';
comment on column ridgeline.held_submissions.raw is
  'What could not be read as fields at all, cut.';

create index held_submissions_by_age on ridgeline.held_submissions (created_at);
create index held_submissions_by_form on ridgeline.held_submissions (form_id, tenant_id, created_at);

alter table ridgeline.emails
  add column delivered_at timestamptz,
  add column error_code text;

create table ridgeline.email_events (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  email_id uuid not null,
  contact_id text,
  type text not null
    constraint email_events_type_known
    check (type in ('delivered', 'delivery_delayed', 'bounced', 'complained', 'failed', 'suppressed',
      'unsubscribed', 'opened', 'clicked')),
  is_machine boolean not null default false,
  machine_reason text,
  link text,
  user_agent text,
  detail jsonb,
  occurred_at timestamptz not null,
  created_at timestamptz not null default automation.now(),
  constraint email_events_pkey primary key (tenant_id, id),
  constraint email_events_email_fk foreign key (tenant_id, email_id)
    references ridgeline.emails (tenant_id, id) on delete cascade
);

comment on table ridgeline.email_events is
  'What became of an email, event by event. emails.opened_at and clicked_at follow people only; '
  'here machines are kept too.';
comment on column ridgeline.email_events.machine_reason is
  'soon_after_delivery, every_link_at_once or known_agent.';

create index email_events_by_email on ridgeline.email_events (email_id, tenant_id, occurred_at);
create index email_events_by_contact on ridgeline.email_events (contact_id, tenant_id);

create table automation.provider_events (
  provider text not null,
  event_id text not null,
  received_at timestamptz not null,
  account_of uuid,
  constraint provider_events_pkey primary key (provider, event_id)
);

create index provider_events_by_age on automation.provider_events (received_at);
create index provider_events_by_account on automation.provider_events (account_of, received_at)
  where account_of is not null;

comment on table automation.provider_events is
  'Events that were taken in already; the same again changes nothing. Kept for thirty days, and of a tenant''s own '
  'account the last known_events (automation.limits()).';
comment on column automation.provider_events.account_of is
  'The tenant whose own account says so, which signs what it likes.';

create table automation.early_events (
  id uuid not null default automation.new_id() constraint early_events_pkey primary key,
  provider text not null,
  provider_id text not null,
  event jsonb not null,
  received_at timestamptz not null,
  account_of uuid
);

create index early_events_by_provider_id on automation.early_events (provider_id, provider);
create index early_events_by_age on automation.early_events (received_at);
create index early_events_by_account on automation.early_events (account_of, received_at)
  where account_of is not null;

comment on table automation.early_events is
  'Reports about a message that is not recorded yet: providers can be quicker than the dispatcher. '
  'They are applied when its row is written, and dropped after a day; of a tenant''s own account the last early_events '
  '(automation.limits()) are kept.';
comment on column automation.early_events.account_of is
  'The tenant whose own account says so, which signs what it likes.';

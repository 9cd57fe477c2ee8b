-- A contractor's CRM that was there long before Ridgeline: its own tenants, users and settings, keys of one
-- column, soft deletes, enums, dates without a time, its own words, and the four tables of an engine it had
-- before, under the names that ours have. Run by the role that owns the project, which is no superuser.

create type public.pipeline_stage as enum (
  'prospect', 'qualified', 'quote_sent', 'negotiation', 'won', 'production', 'complete', 'lost');
create type public.task_priority as enum ('low', 'medium', 'high');

create sequence public.project_numbers start 1001;

create table public.tenants (
  id uuid primary key default gen_random_uuid(),
  name text not null,
  subdomain text unique,
  phone text,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  is_deleted boolean default false
);

create table public.tenant_settings (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null unique references public.tenants (id) on delete cascade,
  company_name text,
  company_email text,
  company_website text,
  address_line text,
  country char(2) default 'US',
  timezone text default 'America/New_York',
  business_hours jsonb default '{"mon": ["08:00", "17:00"]}',
  currency text default 'USD',
  locale text default 'en-US',
  default_lead_assignee uuid,
  auto_assign_leads boolean default false
);

create table public.profiles (
  id uuid primary key,
  email text unique,
  phone text,
  raw_user_meta_data jsonb default '{}',
  password_hash text
);

create view public.users with (security_barrier) as
  select id, email, phone, raw_user_meta_data from public.profiles;

create table public.tenant_users (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  user_id uuid not null references public.profiles (id),
  role text not null default 'sales'
    check (role in ('owner', 'office_manager', 'sales', 'crew')),
  status text not null default 'active' check (status in ('invited', 'active', 'suspended')),
  joined_at timestamptz default now(),
  unique (tenant_id, user_id)
);

create table public.contacts (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  first_name varchar(100) not null,
  last_name varchar(100) not null,
  email varchar(255),
  phone varchar(20),
  mobile_phone varchar(20),
  company varchar(200),
  contact_category varchar(40) default 'homeowner',
  address_street text,
  address_city text,
  address_state text,
  address_zip text,
  type varchar(20) default 'lead' check (type in ('lead', 'prospect', 'customer')),
  stage varchar(40) default 'new',
  substatus varchar(40),
  source varchar(60),
  assigned_to uuid references public.profiles (id),
  lead_score integer default 0,
  priority varchar(20) default 'normal',
  tags text[],
  custom_fields jsonb default '{}',
  notes text,
  timezone text,
  dnc_status boolean default false,
  sms_opt_in boolean default false,
  sms_opt_in_date timestamptz,
  sms_opt_out boolean default false,
  sms_opt_out_date timestamptz,
  sms_opt_out_reason text,
  email_opt_out boolean default false,
  email_opt_out_date timestamptz,
  text_consent boolean default false,
  is_deleted boolean default false,
  created_by uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create index contacts_by_tenant on public.contacts (tenant_id) where not is_deleted;
create index contacts_by_tags on public.contacts using gin (tags);

create table public.projects (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  contact_id uuid references public.contacts (id),
  adjuster_contact_id uuid references public.contacts (id),
  project_number text not null default 'P-' || nextval('public.project_numbers'),
  name varchar(200) not null,
  type varchar(40),
  status varchar(40) default 'estimate',
  pipeline_stage public.pipeline_stage not null default 'prospect',
  stage_changed_at timestamptz,
  estimated_value numeric(12, 2),
  approved_value numeric(12, 2),
  balance_due numeric(12, 2),
  description text,
  custom_fields jsonb default '{}',
  is_deleted boolean default false,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table public.jobs (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  project_id uuid not null references public.projects (id),
  job_number text not null,
  status varchar(20) default 'scheduled',
  scheduled_date date,
  completion_date date,
  crew_lead uuid,
  notes text,
  is_deleted boolean default false,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table public.tasks (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  title varchar(200) not null,
  description text,
  contact_id uuid references public.contacts (id),
  project_id uuid references public.projects (id),
  assigned_to uuid references public.profiles (id),
  assigned_by uuid,
  task_type text not null,
  due_date date,
  priority public.task_priority not null default 'medium',
  status text not null default 'todo' check (status in ('todo', 'in_progress', 'completed', 'cancelled')),
  tags text[],
  progress integer default 0,
  is_deleted boolean default false,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table public.activities (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  contact_id uuid references public.contacts (id),
  project_id uuid references public.projects (id),
  type text not null check (type in ('sms', 'email', 'call', 'note', 'task')),
  subtype text,
  direction text check (direction in ('incoming', 'outgoing')),
  subject text,
  content text,
  from_address text,
  to_address text,
  external_id text,
  outcome text,
  performed_by uuid,
  created_at timestamptz default now()
);

create table public.invoices (
  id bigint generated always as identity primary key,
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  project_id uuid references public.projects (id),
  customer_id uuid references public.contacts (id),
  number text not null,
  amount numeric(12, 2) not null,
  balance numeric(12, 2) not null,
  due_on date not null,
  state text not null default 'open' check (state in ('open', 'paid', 'void')),
  created_at timestamptz default now()
);

create table public.appointments (
  id bigint generated always as identity primary key,
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  contact_id uuid not null references public.contacts (id),
  starts_at timestamptz not null,
  state text not null default 'booked' check (state in ('booked', 'cancelled', 'done'))
);

-- The engine that it had: the names are those of ours.
create table public.workflows (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  name varchar(200) not null,
  description text,
  trigger_type varchar(50) not null,
  trigger_config jsonb default '{}',
  is_active boolean default true,
  created_by uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  is_deleted boolean default false
);

create table public.workflow_steps (
  id uuid primary key default gen_random_uuid(),
  workflow_id uuid not null references public.workflows (id) on delete cascade,
  step_order integer not null,
  step_type varchar(50) not null,
  step_config jsonb not null,
  delay_minutes integer default 0,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table public.workflow_executions (
  id uuid primary key default gen_random_uuid(),
  workflow_id uuid not null references public.workflows (id) on delete cascade,
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  trigger_data jsonb not null,
  status varchar(20) default 'pending',
  current_step_id uuid references public.workflow_steps (id),
  started_at timestamptz,
  completed_at timestamptz,
  error_message text,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table public.workflow_step_executions (
  id uuid primary key default gen_random_uuid(),
  execution_id uuid not null references public.workflow_executions (id) on delete cascade,
  step_id uuid not null references public.workflow_steps (id) on delete cascade,
  status varchar(20) default 'pending',
  started_at timestamptz,
  completed_at timestamptz,
  result_data jsonb,
  error_message text,
  scheduled_at timestamptz,
  trigger_data jsonb,
  created_at timestamptz default now()
);

create table public.campaigns (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  name varchar(255) not null,
  description text,
  campaign_type text default 'drip',
  status text not null default 'draft' check (status in ('draft', 'active', 'paused', 'archived')),
  goal_type text,
  goal_target integer check (goal_target > 0),
  allow_re_enrollment boolean default false,
  re_enrollment_delay_days integer,
  respect_business_hours boolean default true,
  business_hours jsonb,
  enrollment_type text default 'automatic' check (enrollment_type in ('automatic', 'manual')),
  max_enrollments integer,
  total_enrolled integer default 0,
  total_completed integer default 0,
  total_revenue numeric default 0,
  created_by uuid,
  created_at timestamptz default now(),
  updated_at timestamptz default now(),
  is_deleted boolean default false
);

create table public.campaign_triggers (
  id uuid primary key default gen_random_uuid(),
  campaign_id uuid not null references public.campaigns (id) on delete cascade,
  trigger_type text not null check (trigger_type in ('stage_change', 'time_based', 'event', 'manual')),
  trigger_config jsonb not null,
  enrollment_conditions jsonb,
  exclusion_conditions jsonb,
  priority integer default 0,
  is_active boolean default true,
  created_at timestamptz default now()
);

create table public.campaign_steps (
  id uuid primary key default gen_random_uuid(),
  campaign_id uuid not null references public.campaigns (id) on delete cascade,
  parent_step_id uuid,
  step_order integer not null,
  step_type text not null check (step_type in ('send_email', 'send_sms', 'create_task', 'wait', 'update_field',
    'manage_tags', 'notify', 'webhook', 'conditional', 'exit_campaign')),
  step_config jsonb not null,
  delay_value integer default 0 check (delay_value >= 0),
  delay_unit text default 'days' check (delay_unit in ('hours', 'days', 'weeks')),
  conditions jsonb,
  true_path_step_id uuid,
  false_path_step_id uuid,
  total_executed integer default 0,
  total_succeeded integer default 0,
  total_failed integer default 0,
  is_deleted boolean default false,
  created_at timestamptz default now(),
  updated_at timestamptz default now()
);

create table public.campaign_enrollments (
  id uuid primary key default gen_random_uuid(),
  campaign_id uuid not null references public.campaigns (id) on delete cascade,
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  contact_id uuid not null references public.contacts (id),
  enrollment_source text default 'automatic_trigger',
  enrolled_by uuid,
  enrolled_at timestamptz default now(),
  status text default 'active' check (status in ('active', 'completed', 'exited', 'paused', 'failed')),
  current_step_id uuid,
  current_step_order integer,
  exit_reason text,
  exited_at timestamptz,
  steps_completed integer default 0,
  last_step_executed_at timestamptz,
  next_step_scheduled_at timestamptz,
  completed_at timestamptz,
  unique (campaign_id, contact_id)
);

create table public.campaign_step_executions (
  id uuid primary key default gen_random_uuid(),
  enrollment_id uuid not null references public.campaign_enrollments (id) on delete cascade,
  step_id uuid not null references public.campaign_steps (id) on delete cascade,
  status text default 'pending',
  scheduled_at timestamptz,
  started_at timestamptz,
  completed_at timestamptz,
  result_data jsonb,
  error_message text,
  opened_at timestamptz,
  clicked_at timestamptz,
  replied_at timestamptz,
  created_at timestamptz default now()
);

create table public.automations (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid,
  name text,
  trigger_type text,
  trigger_config jsonb,
  actions jsonb,
  conditions jsonb,
  is_active boolean,
  run_count integer default 0,
  error_count integer default 0,
  last_run_at timestamptz,
  created_by uuid
);

-- Functions and triggers of its own.
create function public.touch() returns trigger language plpgsql as $$
begin
  new.updated_at := now();
  return new;
end;
$$;

create trigger contacts_touch before update on public.contacts
  for each row execute function public.touch();
create trigger projects_touch before update on public.projects
  for each row execute function public.touch();

create function public.note_stage() returns trigger language plpgsql as $$
begin
  if new.pipeline_stage is distinct from old.pipeline_stage then
    new.stage_changed_at := now();
  end if;
  return new;
end;
$$;

create trigger projects_note_stage before update on public.projects
  for each row execute function public.note_stage();

-- As in most CRMs they find their tables by the search_path of whoever writes: what has been done, which number a task
-- gets, and which sources nobody takes.
create table public.activity_log (
  id bigint generated always as identity primary key,
  done text not null,
  record text,
  at timestamptz not null default now()
);

create function public.log_activity() returns trigger language plpgsql as $$
begin
  insert into activity_log (done, record) values (lower(tg_table_name || ' ' || tg_op), to_jsonb(new) ->> 'id');
  return new;
end;
$$;

create trigger contacts_log after insert or update on public.contacts
  for each row execute function public.log_activity();
create trigger tasks_log before insert on public.tasks
  for each row execute function public.log_activity();
create trigger activities_log before insert on public.activities
  for each row execute function public.log_activity();

create sequence public.task_numbers;
create function public.task_number() returns text language plpgsql as $$
begin
  return 'T-' || nextval('task_numbers');
end;
$$;
alter table public.tasks add column number text default public.task_number();

create table public.refused_sources (source text primary key);
create function public.takes_source(source text) returns boolean language plpgsql stable as $$
begin
  return not exists (select from refused_sources as r where r.source = takes_source.source);
end;
$$;
alter table public.contacts add constraint contacts_source_taken check (public.takes_source(source));

create function public.my_tenants() returns setof uuid
  language sql stable security definer set search_path = ''
  as $$
    select tenant_id from public.tenant_users where user_id = auth.uid() and status = 'active'
  $$;
revoke execute on function public.my_tenants() from public, anon;
grant execute on function public.my_tenants() to authenticated;

create function public.open_balance(of_contact uuid) returns numeric
  language sql stable
  as $$ select coalesce(sum(balance), 0) from public.invoices where customer_id = of_contact and state = 'open' $$;

create view public.contact_overview with (security_invoker) as
  select c.id, c.tenant_id, c.first_name || ' ' || c.last_name as full_name, c.stage,
    count(p.id) as projects, public.open_balance(c.id) as balance
  from public.contacts as c left join public.projects as p on p.contact_id = c.id
  where not c.is_deleted
  group by c.id;

create materialized view public.stage_counts as
  select tenant_id, pipeline_stage, count(*) from public.projects group by 1, 2;

comment on table public.contacts is 'Everybody the office knows.';
comment on column public.contacts.mobile_phone is 'Texts go here.';

-- Row level security of its own: everybody sees their tenant's rows, the crew no money.
do $$
declare
  one text;
begin
  foreach one in array '{tenants,tenant_settings,profiles,tenant_users,contacts,projects,jobs,tasks,activities,
    invoices,appointments,workflows,workflow_executions,campaigns}'::text[] loop
    execute format('alter table public.%I enable row level security', one);
  end loop;
  foreach one in array '{tenant_settings,tenant_users,contacts,projects,jobs,tasks,activities,
    appointments,workflows,workflow_executions,campaigns}'::text[] loop
    execute format(
      'create policy "own tenant" on public.%I for all to authenticated '
      'using (tenant_id in (select public.my_tenants())) with check (tenant_id in (select public.my_tenants()))', one);
  end loop;
end;
$$;

create policy "own tenant" on public.tenants for select to authenticated
  using (id in (select public.my_tenants()));
create policy "the office" on public.invoices for all to authenticated
  using (exists (
    select from public.tenant_users as u
    where u.tenant_id = invoices.tenant_id and u.user_id = auth.uid() and u.role in ('owner', 'office_manager')));

-- Grants of its own, beside those that the platform's default privileges gave.
revoke all on public.profiles from anon, authenticated;
grant select (id, email, phone) on public.profiles to authenticated;
revoke all on public.automations from anon;
revoke insert, update, delete on public.contacts from anon;
revoke all on sequence public.project_numbers from anon;

-- Some rows.
insert into public.tenants (id, name, subdomain, phone) values
  ('0a000000-0000-4000-8000-000000000001', 'summit', 'summit', '(512) 555-0100'),
  ('0a000000-0000-4000-8000-000000000002', 'lakeside', 'lakeside', '(312) 555-0100');
insert into public.tenant_settings (tenant_id, company_name, company_email, company_website, timezone) values
  ('0a000000-0000-4000-8000-000000000001', 'Summit Roofing', 'office@summit.example', 'https://summit.example',
    'America/Chicago'),
  ('0a000000-0000-4000-8000-000000000002', 'Lakeside Exteriors', 'hello@lakeside.example', null, 'America/New_York');
insert into public.profiles (id, email, phone, raw_user_meta_data, password_hash) values
  ('0b000000-0000-4000-8000-000000000001', 'olivia@summit.example', '+15125550101', '{"full_name": "Olivia Owner"}', 'x'),
  ('0b000000-0000-4000-8000-000000000002', 'manuel@summit.example', '+15125550102', '{"full_name": "Manuel Manager"}', 'x'),
  ('0b000000-0000-4000-8000-000000000003', 'sam@summit.example', '+15125550103', '{"full_name": "Sam Sales"}', 'x'),
  ('0b000000-0000-4000-8000-000000000004', 'cory@summit.example', '+15125550104', '{"full_name": "Cory Crew"}', 'x'),
  ('0b000000-0000-4000-8000-000000000005', 'lena@lakeside.example', '+13125550101', '{"full_name": "Lena Lake"}', 'x');
insert into public.tenant_users (tenant_id, user_id, role, status) values
  ('0a000000-0000-4000-8000-000000000001', '0b000000-0000-4000-8000-000000000001', 'owner', 'active'),
  ('0a000000-0000-4000-8000-000000000001', '0b000000-0000-4000-8000-000000000002', 'office_manager', 'active'),
  ('0a000000-0000-4000-8000-000000000001', '0b000000-0000-4000-8000-000000000003', 'sales', 'active'),
  ('0a000000-0000-4000-8000-000000000001', '0b000000-0000-4000-8000-000000000004', 'crew', 'active'),
  ('0a000000-0000-4000-8000-000000000001', '0b000000-0000-4000-8000-000000000005', 'owner', 'suspended'),
  ('0a000000-0000-4000-8000-000000000002', '0b000000-0000-4000-8000-000000000005', 'owner', 'active');
insert into public.contacts (id, tenant_id, first_name, last_name, email, phone, mobile_phone, stage, type, tags) values
  ('0c000000-0000-4000-8000-000000000001', '0a000000-0000-4000-8000-000000000001', 'Maria', 'Lopez',
    'maria@example.com', '(512) 555-0199', '512.555.0142', 'qualified', 'prospect', '{hail,insurance}'),
  ('0c000000-0000-4000-8000-000000000002', '0a000000-0000-4000-8000-000000000001', 'Otto', 'Klein',
    'otto@example.com', '(512) 555-0143', null, 'new', 'lead', null);
insert into public.projects (id, tenant_id, contact_id, name, pipeline_stage, estimated_value) values
  ('0d000000-0000-4000-8000-000000000001', '0a000000-0000-4000-8000-000000000001',
    '0c000000-0000-4000-8000-000000000001', 'Lopez roof', 'negotiation', 18400);
insert into public.jobs (id, tenant_id, project_id, job_number, status) values
  ('0e000000-0000-4000-8000-000000000001', '0a000000-0000-4000-8000-000000000001',
    '0d000000-0000-4000-8000-000000000001', 'J-77', 'in_progress');
insert into public.workflows (id, tenant_id, name, trigger_type) values
  ('0f000000-0000-4000-8000-000000000001', '0a000000-0000-4000-8000-000000000001', 'Old welcome', 'contact_created');
insert into public.workflow_steps (workflow_id, step_order, step_type, step_config) values
  ('0f000000-0000-4000-8000-000000000001', 0, 'send_sms', '{"to": "{{trigger.contact.phone}}", "body": "Hi"}');
refresh materialized view public.stage_counts;

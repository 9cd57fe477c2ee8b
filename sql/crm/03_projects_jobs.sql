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

-- What reminders are about.

create table public.appointments (
  tenant_id uuid not null
    constraint appointments_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  contact_id uuid,
  project_id uuid,
  name text,
  status text not null default 'booked',
  starts_at timestamptz,
  ends_at timestamptz,
  location text,
  assigned_to uuid,
  custom_fields jsonb not null default '{}'
    constraint appointments_custom_fields_is_object check (jsonb_typeof(custom_fields) = 'object'),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint appointments_pkey primary key (tenant_id, id),
  constraint appointments_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete cascade,
  constraint appointments_project_fk foreign key (tenant_id, project_id)
    references public.projects (tenant_id, id) on delete set null (project_id)
);

comment on table public.appointments is 'A time that a customer and somebody of the office have agreed on.';
comment on column public.appointments.starts_at is 'Null: it is not settled yet.';

create index appointments_by_contact on public.appointments (contact_id, tenant_id);
create index appointments_by_project on public.appointments (project_id, tenant_id);
create index appointments_by_start on public.appointments (starts_at, tenant_id);

create table public.invoices (
  tenant_id uuid not null
    constraint invoices_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default gen_random_uuid(),
  contact_id uuid,
  project_id uuid,
  number text,
  status text not null default 'open',
  amount numeric(14, 2) not null default 0,
  balance numeric(14, 2) not null default 0,
  due_on date,
  pay_url text,
  custom_fields jsonb not null default '{}'
    constraint invoices_custom_fields_is_object check (jsonb_typeof(custom_fields) = 'object'),
  created_at timestamptz not null default automation.now(),
  updated_at timestamptz not null default automation.now(),
  constraint invoices_pkey primary key (tenant_id, id),
  constraint invoices_contact_fk foreign key (tenant_id, contact_id)
    references public.contacts (tenant_id, id) on delete set null (contact_id),
  constraint invoices_project_fk foreign key (tenant_id, project_id)
    references public.projects (tenant_id, id) on delete set null (project_id)
);

comment on table public.invoices is 'What a customer was billed: balance is what is still to be paid, by due_on.';

create index invoices_by_contact on public.invoices (contact_id, tenant_id);
create index invoices_by_project on public.invoices (project_id, tenant_id);
create index invoices_by_due on public.invoices (due_on, tenant_id);

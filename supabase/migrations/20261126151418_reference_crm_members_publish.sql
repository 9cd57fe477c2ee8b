-- Small offices: whoever is a member publishes, as before there was a setting for it.
update automation.settings set value = 'true' where name = 'editors_publish';

-- What reminders are about: an appointment, and an invoice with what is still to be paid of it.

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

alter table public.appointments enable row level security;
alter table public.invoices enable row level security;

do $$
declare
  edited text;
begin
  foreach edited in array '{appointments,invoices}'::text[] loop
    execute format(
      'create trigger %I before update on public.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      edited || '_touch', edited);
    execute format(
      'create policy %I on public.%I for all to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[])) '
      'with check (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      edited || '_members', edited);
  end loop;
end;
$$;

create trigger appointments_assigned_insert before insert on public.appointments for each row
  when (new.assigned_to is not null) execute function ridgeline_crm.check_assigned();
create trigger appointments_assigned_update before update of assigned_to, tenant_id on public.appointments for each row
  when (new.assigned_to is not null and (new.assigned_to, new.tenant_id) is distinct from
    (old.assigned_to, old.tenant_id)) execute function ridgeline_crm.check_assigned();

revoke all on public.appointments, public.invoices from anon, authenticated, service_role;
grant select, insert, update, delete on public.appointments, public.invoices to authenticated, service_role;

select automation.attach(
  'public.appointments', 'appointment', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "appointment_booked", "column": "status", "becomes": "booked", "on_insert": true},
    {"type": "appointment_cancelled", "column": "status", "becomes": "cancelled"}]', authors => 'members');

select automation.attach(
  'public.invoices', 'invoice', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "invoice_paid", "column": "status", "becomes": "paid"}]', authors => 'members');

-- DRAFTED from sql/ by scripts/migrations: edit there, or above this line.

set check_function_bodies = off;

select automation.regenerate_captures();

reset check_function_bodies;

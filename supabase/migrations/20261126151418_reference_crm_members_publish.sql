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

-- From here on the tables of the engine are in use by nobody else, and those it is attached to are only read.
do $$
declare
  most constant text := current_setting('lock_timeout');
  begun constant timestamptz := clock_timestamp();
  until timestamptz;
  tables record;
begin
  loop
    begin
      until := clock_timestamp() + interval '0.8 seconds';
      for tables in
        select c.oid::regclass as name, n.nspname in ('automation', 'ridgeline') as is_ours,
          lag(n.nspname in ('automation', 'ridgeline'), 1, false) over w as was_ours
        from pg_catalog.pg_class as c
        join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
        where c.relkind in ('r', 'p') and not c.relispartition and pg_has_role(c.relowner, 'usage') and (
          n.nspname in ('automation', 'ridgeline') or c.oid in (
            select to_regclass(e.relation) from automation.entities as e
            union all select to_regclass(t.relation) from automation.tenancy as t
            union all select to_regclass(m.relation) from automation.membership as m))
        window w as (order by n.nspname in ('automation', 'ridgeline'), c.oid)
        order by 2, c.oid
      loop
        if tables.is_ours and not tables.was_ours then
          until := clock_timestamp() + interval '2 seconds';
        end if;
        loop
          begin
            perform set_config('lock_timeout', greatest(1, least(700,
              ceil(extract(epoch from until - clock_timestamp()) * 1000)))::text, true);
            -- Of the CRM: nobody writes, and whoever reads does not wait.
            execute format('lock table %s in %s mode', tables.name,
              case when tables.is_ours then 'access exclusive' else 'share row exclusive' end);
            exit;
          exception when lock_not_available then
            if clock_timestamp() >= until then
              raise;
            end if;
          end;
        end loop;
      end loop;
      exit;
    exception when lock_not_available or deadlock_detected then
      if clock_timestamp() > begun + interval '75 seconds' then
        raise exception '% has been in use for too long: nothing is changed', tables.name
          using errcode = 'lock_not_available',
            hint = 'End transactions that are open for long (pg_stat_activity), and push again.';
      end if;
    end;
    perform pg_sleep(0.5 + random());
  end loop;
  perform set_config('lock_timeout', most, true);
end;
$$;

select automation.regenerate_captures();

reset check_function_bodies;

-- Who sees and edits what: every member of a tenant its records; its admins, the tenant and who belongs to it.

alter table public.tenants enable row level security;
alter table public.tenant_members enable row level security;
alter table public.tenant_invitations enable row level security;
alter table public.contacts enable row level security;
alter table public.projects enable row level security;
alter table public.jobs enable row level security;
alter table public.tasks enable row level security;
alter table public.tags enable row level security;
alter table public.contact_tags enable row level security;
alter table public.appointments enable row level security;
alter table public.invoices enable row level security;

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
begin
  foreach edited in array '{contacts,projects,jobs,tasks,tags,contact_tags,appointments,invoices}'::text[] loop
    execute format(
      'create policy %I on public.%I for all to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[])) '
      'with check (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      edited || '_members', edited);
  end loop;
end;
$$;

-- These tables only: what else is in public is somebody else's.
revoke all on
  public.tenants, public.tenant_members, public.tenant_invitations, public.contacts, public.projects, public.jobs,
  public.tasks, public.tags, public.contact_tags, public.appointments, public.invoices
  from anon, authenticated, service_role;
grant select, insert, update, delete on
  public.tenants, public.tenant_members, public.contacts, public.projects, public.jobs,
  public.tasks, public.tags, public.contact_tags, public.appointments, public.invoices
  to service_role;
grant select on public.tenants, public.tenant_members to authenticated;
grant select, insert, update, delete on
  public.contacts, public.projects, public.jobs, public.tasks, public.tags, public.contact_tags, public.appointments,
  public.invoices
  to authenticated;
grant update (name, timezone, country, text_countries, text_strangers, phone, email, website, address,
    settings)
  on public.tenants to authenticated;

-- Who joins says so (08_membership).
grant delete, update (role, full_name, email, phone) on public.tenant_members to authenticated;

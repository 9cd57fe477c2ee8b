-- Generated from sql/crm by scripts/migrations. Edit there.

-- Functions may name what a later chapter creates.
set check_function_bodies = off;

-- sql/crm/01_tenants.sql

-- THE REFERENCE CRM
--
-- What a contractor's office writes to, for the demo, the tests and whoever begins without a CRM. A project
-- that has its own leaves this package out: the engine knows no table of it but through the mapping that
-- 05_attach.sql tells, as it would of anybody else's.
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
  country text not null default 'US',
  text_countries text[] not null default '{US,CA}',
  text_strangers boolean not null default false,
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

comment on column public.tenants.country is
  'Where it is: ISO 3166, two letters. Phone numbers without a country code are read there.';
comment on column public.tenants.text_countries is
  'Where texts may go, besides its own country. Nothing is sent to other countries, satellites or premium-rate '
  'numbers.';
comment on column public.tenants.text_strangers is
  'May workflows text a number that is no contact''s, not of the record that fired and not the office''s own?';

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

create trigger tenants_check_timezone
  before insert or update of timezone on public.tenants
  for each row execute function automation.check_timezone();

create trigger tenants_check_countries
  before insert or update of country, text_countries on public.tenants
  for each row execute function automation.check_countries();

-- sql/crm/02_contacts.sql

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

-- sql/crm/03_projects_jobs.sql

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

-- sql/crm/04_tasks_tags.sql

create table public.tasks (
  tenant_id uuid not null
    constraint tasks_tenant_fk references public.tenants (id) on delete cascade,
  id uuid not null default automation.new_id(),
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

-- sql/crm/05_touch.sql

-- updated_at follows every real change and no other.

do $$
declare
  touched text;
begin
  foreach touched in array array[
    'tenants', 'contacts', 'projects', 'jobs', 'tasks'
  ] loop
    execute format(
      'create trigger %I before update on public.%I for each row '
      'when (old.* is distinct from new.*) execute function automation.touch_updated_at()',
      touched || '_touch', touched);
  end loop;
end;
$$;

-- sql/crm/06_attach.sql

-- What the engine is told of this CRM: the same calls that anybody makes for their own tables (docs/attach.md).

select automation.attach_tenants('public.tenants');
select automation.attach_members('public.tenant_members');

-- The row level security here lets every member see and edit every record of the tenant, so every member may make
-- workflows about them.

select automation.attach(
  'public.contacts', 'contact', '{"tags": {"links": "public.contact_tags", "tags": "public.tags"}}',
  '[{"type": "stage_changed", "column": "stage"}]', authors => 'members');

select automation.attach(
  'public.projects', 'project', '{"contact": "contact_id", "stage": "pipeline_stage"}',
  '[{"type": "project_status_changed", "column": "status"},
    {"type": "pipeline_stage_changed", "column": "pipeline_stage"},
    {"type": "project_won", "column": "pipeline_stage", "becomes": "won"}]', authors => 'members');

select automation.attach(
  'public.jobs', 'job', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]', authors => 'members');

select automation.attach_target('task', 'public.tasks');
select automation.attach_target('project', 'public.projects');

-- sql/crm/07_policies.sql

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
  foreach edited in array '{contacts,projects,jobs,tasks,tags,contact_tags}'::text[] loop
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
  public.tasks, public.tags, public.contact_tags
  from anon, authenticated, service_role;
grant select, insert, update, delete on
  public.tenants, public.tenant_members, public.contacts, public.projects, public.jobs,
  public.tasks, public.tags, public.contact_tags
  to service_role;
grant select on public.tenants, public.tenant_members to authenticated;
grant select, insert, update, delete on
  public.contacts, public.projects, public.jobs, public.tasks, public.tags, public.contact_tags
  to authenticated;
grant update (name, timezone, country, text_countries, text_strangers, phone, email, website, address,
    settings)
  on public.tenants to authenticated;

-- Who joins says so (08_membership).
grant delete, update (role, full_name, email, phone) on public.tenant_members to authenticated;

-- sql/crm/08_membership.sql

-- Who belongs to a tenant. Members are added by their own consent alone, an owner is made, demoted and
-- removed by owners alone, and there is always one: an admin who could change that would be one.

create policy tenant_invitations_admins_read on public.tenant_invitations
  for select to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy tenant_invitations_admins_delete on public.tenant_invitations
  for delete to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));

grant select (tenant_id, id, email, role, invited_by, created_at, expires_at, accepted_at), delete
  on public.tenant_invitations to authenticated, service_role;

create schema ridgeline_crm;

comment on schema ridgeline_crm is
  'What the reference CRM keeps to itself: functions that act with the rights of their owner.';

grant usage on schema ridgeline_crm to authenticated, service_role;

-- The writes of signed-in users; what the service role does is the installation's own doing. The lock
-- makes two owners who remove each other take turns.
create or replace function ridgeline_crm.guard_membership() returns trigger
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
  for each row execute function ridgeline_crm.guard_membership();

create or replace function ridgeline_crm.invite_member(tenant_id uuid, email text, role text)
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
    coalesce(mine, 'viewer') not in ('owner', 'admin') or role = 'owner' and mine <> 'owner') then
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
create or replace function ridgeline_crm.accept_invitation(token text) returns public.tenant_members
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
    raise exception 'token: there is no such invitation' using errcode = 'PT404',
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
  as $$ select ridgeline_crm.invite_member(automation.own_tenant(tenant_id), email, role) $$;

comment on function public.invite_member(text, text, uuid) is
  'Asks somebody to join the tenant: {id, email, role, expires_at, token}. The token is told here and '
  'nowhere else; it goes to that address, whose holder calls accept_invitation within a week.';

create or replace function public.accept_invitation(token text) returns public.tenant_members
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select ridgeline_crm.accept_invitation(token) $$;

comment on function public.accept_invitation(text) is
  'Joins a tenant as the signed-in user, whose address the invitation must be for.';

revoke execute on function
  ridgeline_crm.guard_membership(), ridgeline_crm.invite_member(uuid, text, text),
  ridgeline_crm.accept_invitation(text),
  public.invite_member(text, text, uuid), public.accept_invitation(text)
  from public, anon, authenticated, service_role;
grant execute on function
  ridgeline_crm.invite_member(uuid, text, text), ridgeline_crm.accept_invitation(text),
  public.invite_member(text, text, uuid), public.accept_invitation(text)
  to authenticated, service_role;

-- sql/crm/09_assignees.sql

-- Who looks after a record is a member of its tenant: the name, email and telephone of {{user.*}} go out in
-- messages, and a stranger's id would be given tasks. A member who writes another id is refused; what the
-- service role imports is taken as it comes, for members may follow.

create or replace function ridgeline_crm.check_assigned() returns trigger
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if current_setting('role') in ('authenticated', 'anon')
    and not automation.is_member(new.tenant_id, new.assigned_to::text) then
    raise exception 'assigned_to: % is not a member of the tenant', new.assigned_to
      using errcode = 'check_violation', hint = 'Use the user_id of a row of tenant_members, or null for nobody.';
  end if;
  return new;
end;
$$;

do $$
declare
  assigned text;
begin
  foreach assigned in array array['contacts', 'projects', 'jobs', 'tasks'] loop
    execute format(
      'create trigger %1$s_assigned_insert before insert on public.%1$I for each row '
      'when (new.assigned_to is not null) execute function ridgeline_crm.check_assigned()', assigned);
    execute format(
      'create trigger %1$s_assigned_update before update of assigned_to, tenant_id on public.%1$I for each row '
      'when (new.assigned_to is not null and (new.assigned_to, new.tenant_id) is distinct from '
      '(old.assigned_to, old.tenant_id)) execute function ridgeline_crm.check_assigned()', assigned);
  end loop;
end;
$$;

revoke execute on function ridgeline_crm.check_assigned() from public, anon, authenticated, service_role;

reset check_function_bodies;

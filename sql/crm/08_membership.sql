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

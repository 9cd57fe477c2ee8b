-- What a member may do by their role: a viewer reads, an editor drafts and tries and starts what runs already, an owner
-- or an admin lets it run. docs/members.md has the table.

-- Of several rows of a member the highest counts, as the policies take all of them together.
create or replace function automation.role_in(tenant_id uuid) returns text
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select m.role
    from automation.current_user_id() as me (id)
    cross join lateral automation.read_signed_in(me.id) as m
    where me.id is not null and m.tenant_id = role_in.tenant_id
    order by array_position(array['owner', 'admin', 'editor', 'viewer'], m.role) limit 1
  $$;

comment on function automation.role_in(uuid) is
  'The role of whoever calls in a tenant: owner, admin, editor or viewer; null: they are no member.';

-- Everybody but those who only look. Policies call it once a statement.
create or replace function automation.editor_tenants() returns uuid[]
  language sql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(array_agg(m.tenant_id), '{}')
    from automation.current_user_id() as me (id)
    cross join lateral automation.read_signed_in(me.id) as m
    where me.id is not null and m.role in ('owner', 'admin', 'editor')
  $$;

create or replace function automation.editors_publish(tenant_id uuid) returns boolean
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(
      automation.tenant_setting(editors_publish.tenant_id, 'editors_publish') = 'true',
      automation.setting('editors_publish') = 'true')
  $$;

comment on function automation.editors_publish(uuid) is
  'Do editors publish in this tenant? Its own setting {"editors_publish": true}, else that of the installation.';

-- Whoever begins or writes something asks check_not_forgotten() too; what ends it is allowed to the last.
create or replace function automation.check_editor(tenant_id uuid, doing text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.is_service() or tenant_id = any (automation.editor_tenants()) then
    return;
  end if;
  raise exception 'role: a viewer only looks; % is for editors', doing
    using errcode = 'insufficient_privilege', hint = 'An owner or an admin gives the role of an editor.';
end;
$$;

create or replace function automation.check_publisher(tenant_id uuid, doing text) returns void
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if automation.is_service() or automation.role_in(tenant_id) in ('owner', 'admin')
    or automation.role_in(tenant_id) = 'editor' and automation.editors_publish(tenant_id) then
    return;
  end if;
  raise exception 'role: % is for owners and admins', doing
    using errcode = 'insufficient_privilege',
      hint = 'The draft is kept: ask one of them to publish it, or to set {"editors_publish": true} for the tenant.';
end;
$$;

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
  foreach assigned in array array['contacts', 'projects', 'jobs', 'tasks', 'appointments'] loop
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

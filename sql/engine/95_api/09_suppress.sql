-- Who said stop to a person, not to a machine, is stopped by that person: the row says by whom.
create or replace function automation.suppress_address(tenant_id uuid, channel text, address text)
  returns void
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if not automation.is_service() and coalesce(automation.role_in(tenant_id), 'viewer') not in ('owner', 'admin') then
    raise exception 'tenant_id: only owners and admins suppress an address'
      using errcode = 'insufficient_privilege';
  elsif coalesce(channel, '') not in ('sms', 'email') then
    raise exception 'channel: sms or email is needed' using errcode = 'invalid_parameter_value';
  elsif btrim(coalesce(address, '')) = '' then
    raise exception 'address: a phone number or an email address is needed'
      using errcode = 'invalid_parameter_value';
  end if;
  perform automation.record_consent(tenant_id, channel, address, 'revoked', 'all', 'verbal', '{}', null,
    jsonb_strip_nulls(jsonb_build_object('user_id', automation.current_user_id())));
end;
$$;

create or replace function ridgeline.suppress_address(
  channel text, address text, tenant_id uuid default null)
  returns void
  language sql
  set search_path = pg_catalog, pg_temp
  as $$ select automation.suppress_address(automation.own_tenant(tenant_id), channel, address) $$;

comment on function ridgeline.suppress_address(text, text, uuid) is
  'Sends nothing more to this number (sms) or address (email): for somebody who said stop on the '
  'telephone. Owners and admins.';

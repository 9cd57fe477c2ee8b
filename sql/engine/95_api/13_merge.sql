-- TWO CONTACTS ARE ONE PERSON
--
-- The CRM says so: ridgeline.merge_contacts(from, into), in the transaction in which it moves what is its own, before
-- or after it deletes the one that goes; or by a column of its own (68_time/08_merges).

create or replace function automation.merge_contacts(tenant_id uuid, from_id text, into_id text) returns jsonb
  language plpgsql
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  from_id := automation.as_key(from_id);
  into_id := automation.as_key(into_id);
  perform automation.check_editor(tenant_id, 'merging contacts');
  perform automation.check_not_forgotten(tenant_id);
  if nullif(from_id, '') is null or nullif(into_id, '') is null then
    raise exception 'from_contact: both contacts are needed' using errcode = 'invalid_parameter_value';
  elsif from_id = into_id then
    raise exception 'into_contact: a contact is not merged into itself' using errcode = 'invalid_parameter_value';
  elsif not automation.has_record('contact', tenant_id, into_id) then
    raise exception 'into_contact: % was not found', left(into_id, 60) using errcode = 'PT404',
      hint = 'It must be the contact that stays, of the same tenant.';
  end if;
  return automation.make_one(tenant_id, from_id, into_id);
end;
$$;

-- For whoever asks may only be told of their own tenant.
create or replace function automation.contact_is_there(tenant_id uuid, contact_id text) returns boolean
  language plpgsql stable
  security definer
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return automation.has_record('contact', automation.own_tenant(tenant_id), contact_is_there.contact_id);
end;
$$;

create or replace function ridgeline.merge_contacts(
  from_contact text, into_contact text, tenant_id uuid default null)
  returns jsonb
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  owner constant uuid := automation.own_tenant(tenant_id);
begin
  perform automation.check_seen(jsonb_build_object('contact_id', into_contact));
  if automation.contact_is_there(owner, from_contact) then
    perform automation.check_seen(jsonb_build_object('contact_id', from_contact));
  end if;
  return automation.merge_contacts(owner, from_contact, into_contact);
end;
$$;

comment on function ridgeline.merge_contacts(text, text, uuid) is
  'Two contacts are one person: what the engine keeps of from_contact moves to into_contact, which must be there; the '
  'other may be deleted already, in the same transaction. Of two runs of one workflow the one that began first goes '
  'on. A revocation counts for both. May be called again. Editors. Returns {merged, into, moved_runs, ended_runs, '
  'revocations}.';

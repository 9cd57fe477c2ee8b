-- Where tenants are no uuids in the CRM, clients know them by its keys.
create or replace function ridgeline.tenant_of(key text) returns uuid
  language sql immutable parallel safe
  set search_path = pg_catalog, pg_temp
  as $$ select automation.key_uuid(key) $$;

comment on function ridgeline.tenant_of(text) is
  'The tenant_id by which a tenant is known here whose key in the CRM is this: a uuid is itself.';

-- All contacts that have a number or an email address.
create or replace function automation.contacts_at(tenant_id uuid, address text) returns setof text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if address like '%@%' then
    return query select f.id from automation.find_contacts(
      contacts_at.tenant_id, 'email', 'automation.email_key(%1$s) = $2', address, null, 100) as f (id)
      where f.id is not null;
  else
    return query select f.id from automation.contacts_by_phone(contacts_at.tenant_id, address) as f (id)
      where f.id is not null;
  end if;
end;
$$;

create or replace function automation.contacts_by_phone(tenant_id uuid, phone text) returns setof text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select automation.find_contacts(tenant_id, 'phone',
      'automation.phone_key(%1$s) = any (automation.phone_keys($2)) '
      'and automation.normal_number(%1$s, automation.country_of($1)) = $2', phone, null, 100)
  $$;

-- Whatever table the contacts are in, with its own names. test: SQL about %1$s, the column, and $2, what
-- is looked for; of several, one with this phone is preferred.
create or replace function automation.find_contacts(
  tenant_id uuid, name text, test text, wanted text, phone text, at_most integer)
  returns setof text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
begin
  select e.* into contacts from automation.entities as e
  where e.name = 'contact' and e.mapped ? find_contacts.name;
  if not found or wanted is null then
    return;
  end if;
  return query execute format(
    'select r.%I::text from %s as r where %s = $1 and not (%s) and (%s) order by %s limit $4',
    contacts.id_column, contacts.relation,
    automation.tenant_expression(contacts, 'r'),
    automation.deleted_expression(contacts, 'r'), (
      select string_agg('(' || format(test, format('r.%I::text', m.column_name)) || ')', ' or ')
      from automation.mapped_columns(contacts, name) as m),
    automation.contact_order(contacts))
    using tenant_id, wanted, phone, at_most;
end;
$$;

create or replace function automation.contact_order(contacts automation.entities) returns text
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(string_agg(format(o.by, m.column_name), '' order by o.place, m.place), '')
      || format('r.%I', contacts.id_column)
    from (values
      (1, 'phone', 'automation.normal_number(r.%I::text, automation.country_of($1)) is not distinct from $3 desc, '),
      (2, 'last_contacted_at', 'r.%I desc nulls last, '),
      (3, 'created_at', 'r.%I desc, ')) as o (place, name, by)
    cross join lateral automation.mapped_columns(contacts, o.name) as m
  $$;

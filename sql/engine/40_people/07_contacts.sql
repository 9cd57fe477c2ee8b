-- Whose a number or an address is, and a contact for one that is nobody's yet, in whatever table the contacts are.

-- Two reports about one message, and two who would make a contact of one number or address, wait for each other.
create or replace function automation.inbound_key(key text) returns bigint
  language sql immutable parallel safe
  -- No search_path: this is inlined.
  as $$ select pg_catalog.hashtextextended('inbound ' operator(pg_catalog.||) key, 0) $$;

create or replace function automation.lock_inbound(key text) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  perform pg_advisory_xact_lock(automation.inbound_key(key));
end;
$$;

-- The same by a run, which waits for nobody: it comes back in a second.
create or replace function automation.try_lock_addresses(tenant_id uuid, addresses text[]) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  address text;
begin
  for address in select distinct a from unnest(addresses) as a where a is not null order by a loop
    if not pg_try_advisory_xact_lock(automation.inbound_key(tenant_id || address)) then
      raise exception 'somebody is making a contact of % right now', address using errcode = 'lock_not_available';
    end if;
  end loop;
end;
$$;

-- When a contact was last written to or called at a number, by us.
create or replace function automation.last_spoken(tenant_id uuid, contact_id text, phone text)
  returns timestamptz
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select greatest(
      (select max(m.created_at) from ridgeline.messages as m
       where m.contact_id = last_spoken.contact_id and m.tenant_id = last_spoken.tenant_id
         and m.direction = 'outbound' and m.to_number = phone),
      (select max(c.created_at) from ridgeline.calls as c
       where c.contact_id = last_spoken.contact_id and c.tenant_id = last_spoken.tenant_id
         and c.direction = 'outbound' and c.to_number = phone))
  $$;

-- Several contacts may share a number: the one spoken to last is meant, as our own messages and calls say.
create or replace function automation.contact_by_phone(tenant_id uuid, phone text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select c.id
    from automation.contacts_by_phone(tenant_id, phone) with ordinality as c (id, place)
    order by automation.last_spoken(contact_by_phone.tenant_id, c.id, phone) desc nulls last, c.place
    limit 1
  $$;

create or replace function automation.contact_by_email(tenant_id uuid, email text, phone text)
  returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select f.id from automation.find_contacts(
      tenant_id, 'email', 'automation.email_key(%1$s) = $2', email, phone, 1) as f (id)
  $$;

-- given: {phone, email, first_name, ...}; what the table has no column for is left out.
create or replace function automation.contact_columns(contacts automation.entities, given jsonb)
  returns jsonb
  language sql immutable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(f.key, f.value), '{}')
    from jsonb_each(automation.own_names(contacts, automation.whole_name(contacts, given))) as f
    where f.key = any (contacts.columns)
  $$;

-- A new row of the table of contacts: {column: value} as the table has them. Raises what the table says.
create or replace function automation.insert_contact(
  contacts automation.entities, tenant_id uuid, fields jsonb)
  returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  fields := fields || case when contacts.tenant_column is null then '{}'
    else jsonb_build_object(contacts.tenant_column, automation.tenant_key(tenant_id)) end;
  return automation.in_host_path((
    select format('insert into %1$s (%2$s) select %3$s from pg_catalog.jsonb_populate_record('
      'null::%1$s, $3) as v returning pg_catalog.to_jsonb(%4$I::text)', contacts.relation,
      string_agg(quote_ident(w.name), ', '), string_agg(w.value, ', '), contacts.id_column)
    from (
      select k as name, format('v.%I', k) as value from jsonb_object_keys(fields) as k
      union all
      select f.name, f.value from automation.filled_columns(contacts.relation::regclass, contacts.id_column,
        array(select jsonb_object_keys(fields)),
        quote_literal(coalesce(contacts.times_zone, automation.tenant_zone(tenant_id), 'UTC'))) as f) as w),
    tenant_id, null, fields) #>> '{}';
end;
$$;

-- The names that the table wants and nobody has given: '', which templates and fill_contact() take for nothing, and
-- not the number, which a text would greet its reader by.
create or replace function automation.blank_names(contacts automation.entities, fields jsonb) returns jsonb
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$
    select coalesce(jsonb_object_agg(a.attname, ''), '{}')
    from pg_attribute as a
    join pg_type as t on t.oid = a.atttypid
    where a.attrelid = contacts.relation::regclass and a.attnum > 0 and not a.attisdropped and a.attnotnull
      and not a.atthasdef and t.typcategory = 'S' and fields ->> a.attname::text is null
      and a.attname = any (array(
        select jsonb_object_keys(
          automation.own_names(contacts, '{"first_name": "", "last_name": "", "full_name": ""}'))))
  $$;

-- Null when the table does not take such a row (a column of its own that must not be empty): the
-- message is kept all the same.
create or replace function automation.create_contact(tenant_id uuid, given jsonb) returns text
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  fields jsonb;
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  if not found then
    return null;
  end if;
  fields := automation.contact_columns(contacts, given);
  return automation.insert_contact(contacts, tenant_id, fields || automation.blank_names(contacts, fields));
exception
  when integrity_constraint_violation or data_exception or undefined_column or undefined_table
    or raise_exception then
    raise warning 'automation: no contact was created: %', sqlerrm;
    return null;
end;
$$;

-- Fills what is blank, null or '', and overwrites nothing.
create or replace function automation.fill_contact(tenant_id uuid, id text, given jsonb) returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
declare
  contacts automation.entities;
  fields jsonb;
begin
  select e.* into contacts from automation.entities as e where e.name = 'contact';
  fields := automation.contact_columns(contacts, given);
  if fields = '{}' then
    return;
  end if;
  perform automation.in_host_path((
    select format('update %1$s as r set %2$s from pg_catalog.jsonb_populate_record(null::%1$s, $3) as v '
      'where %3$s operator(pg_catalog.=) $1 and r.%4$I operator(pg_catalog.=) $2::%5$s returning null::jsonb',
      contacts.relation, string_agg(format(
        '%1$I = case when pg_catalog.btrim(coalesce(r.%1$I::text, '''')) operator(pg_catalog.=) '''' then v.%1$I '
        'else r.%1$I end', k), ', '),
      automation.tenant_expression(contacts, 'r'),
      contacts.id_column, automation.key_type(contacts))
    from jsonb_object_keys(fields) as k), tenant_id, id, fields);
exception
  when integrity_constraint_violation or data_exception or undefined_column or undefined_table
    or raise_exception then
    raise warning 'automation: a contact was not completed: %', sqlerrm;
end;
$$;

-- One that has both, if there is one; else whoever has the number, else whoever has the address.
create or replace function automation.contact_with(
  tenant_id uuid, phone text, email text, out id text, out found_by text)
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  if phone is not null and email is not null then
    id := (
      select p.id
      from automation.contacts_by_phone(contact_with.tenant_id, phone) with ordinality as p (id, place)
      where p.id in (select e.id from automation.contacts_at(contact_with.tenant_id, email) as e (id))
      order by p.place
      limit 1);
  end if;
  id := coalesce(id, automation.contact_by_phone(tenant_id, phone));
  found_by := case when id is not null then 'phone' end;
  if id is null then
    id := automation.contact_by_email(tenant_id, email, phone);
    found_by := case when id is not null then 'email' end;
  end if;
end;
$$;

comment on function automation.contact_with(uuid, text, text) is
  'The contact that has a number (E.164) or an email address, both in their normal form; found_by: phone or email.';

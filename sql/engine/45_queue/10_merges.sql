-- Contacts that have become others: two records of one person, of which one is given up. What belongs to the one that
-- goes moves to the one that stays (95_api/13_merge); this tells those that come late where it went.

create table automation.merged_contacts (
  tenant_id uuid not null,
  contact_id text not null,
  into_contact_id text not null,
  merged_at timestamptz not null default automation.now(),
  constraint merged_contacts_pkey primary key (tenant_id, contact_id)
);

comment on table automation.merged_contacts is
  'Contacts that were merged into another one: for runs that were enrolled while that happened, unseen.';

create index merged_contacts_by_into on automation.merged_contacts (into_contact_id, tenant_id);

-- Null: it was not merged.
create or replace function automation.merged_into(tenant_id uuid, contact_id text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select m.into_contact_id from automation.merged_contacts as m
    where m.tenant_id = merged_into.tenant_id and m.contact_id = merged_into.contact_id);
end;
$$;

create table automation.merges_due (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  contact_id text not null,
  into_contact_id text,
  seq bigint not null default nextval('automation.write_order'),
  tries integer not null default 0,
  next_try_at timestamptz not null default clock_timestamp(),
  constraint merges_due_pkey primary key (tenant_id, id)
);

comment on table automation.merges_due is
  'Contacts whose CRM said by a column of its own that they were merged into another, until that has been done; '
  'into_contact_id null: that they were not.';

-- Are these about to become one with somebody? Their steps wait for that.
create or replace function automation.merging(tenant_ids uuid[], contact_ids text[]) returns boolean[]
  language plpgsql volatile
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(
    select exists (
      select from automation.merges_due as m
      where m.tenant_id = c.tenant_id and c.id in (m.contact_id, m.into_contact_id))
    from unnest(tenant_ids, contact_ids) with ordinality as c (tenant_id, id, place)
    order by c.place);
end;
$$;

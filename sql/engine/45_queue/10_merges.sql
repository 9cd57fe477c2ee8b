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

-- Which tables are attached, what their columns are called.

create table automation.entities (
  name text constraint entities_pkey primary key
    constraint entities_name_is_identifier check (name ~ '^[a-z][a-z0-9_]{0,40}$'),
  relation text not null constraint entities_relation_unique unique,
  tenant_column text,
  sole uuid,
  id_column text not null,
  id_type text not null,
  related jsonb not null,
  columns text[] not null,
  match_columns text[] not null,
  writable_columns text[] not null,
  ignored_columns text[] not null,
  mapped jsonb not null,
  several jsonb not null default '{}',
  tags jsonb,
  is_log boolean not null default false,
  hides_columns boolean not null default false,
  authors text not null default 'members'
    constraint entities_authors_known check (authors in ('members', 'admins')),
  tenant_type text,
  times_zone text,
  contact_way text[],
  contact_ways jsonb,
  constraint entities_related_is_object check (jsonb_typeof(related) = 'object'),
  constraint entities_tenant_is_column_or_constant check ((tenant_column is null) <> (sole is null))
);

comment on table automation.entities is
  'Attached tables: which records can start a workflow, and how to read their columns.';
comment on column automation.entities.related is
  '{entity: column}: the records a record belongs to, such as {"contact": "contact_id"}.';
comment on column automation.entities.contact_way is
  'How it leads to a contact that it does not name itself: {entity, column}, a record it belongs to and which of that '
  'one''s columns names the contact; the nearest where there are several. See automation.ways_to_contact().';
comment on column automation.entities.contact_ways is
  'The other ways, and longer ones, [[entity, column, entity, column, ...], ...], as they are tried.';
comment on column automation.entities.mapped is
  '{phone: column, email: column, stage: ...}: which column is what the engine knows by these names.';
comment on column automation.entities.sole is
  'Whose all its rows are, where the CRM serves one office and has no column that says so.';
comment on column automation.entities.tenant_type is
  'The type of the tenant column, where that is no uuid (automation.key_uuid); null: it is.';
comment on column automation.entities.times_zone is
  'In which zone its timestamps without one are; null: in the tenant''s.';
comment on column automation.entities.several is
  '{phone: [columns], email: [columns]} where there are several, the one to write to first; mapped has the first.';
comment on column automation.entities.tags is
  'Where its tags are, if they are rows of other tables: {links, tags, record, tag, name}; see 05_tags.';
comment on column automation.entities.writable_columns is
  'What steps may write: columns, and names of mapped for columns that have another name.';
comment on column automation.entities.columns is
  'The columns that workflows see. Others are in no snapshot, template, condition or list of changes.';
comment on column automation.entities.authors is
  'Who may make, try and start workflows that see these records: a workflow reads and writes with the '
  'engine''s rights, past row level security.';
comment on column automation.entities.match_columns is
  'Columns cheap enough to compare before a record is turned into JSON.';
comment on column automation.entities.is_log is
  'Rows are events of a contact (messages, calls), not things with a life of their own: what happens '
  'to one concerns all runs of its contact, and deleting one ends no run.';
comment on column automation.entities.ignored_columns is
  'Columns whose change alone is not an update (updated_at).';

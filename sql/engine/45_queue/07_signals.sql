create table automation.signals (
  tenant_id uuid not null,
  id uuid not null default automation.new_id(),
  role text not null
    constraint signals_role_known check (role in ('exit', 'wait', 'deleted', 'moved', 'restart')),
  workflow_id uuid,
  version integer,
  listener text,
  event text,
  entity text not null,
  record_id text,
  contact_id text,
  address text,
  by_contact boolean not null default false,
  record jsonb,
  at timestamptz not null default automation.now(),
  seq bigint not null default nextval('automation.write_order'),
  written_by xid8 not null default pg_current_xact_id(),
  next_try_at timestamptz not null default clock_timestamp(),
  kept_for xid8,
  constraint signals_pkey primary key (tenant_id, id),
  constraint signals_listener_matches_role check (
    (role in ('exit', 'wait', 'restart')) = (workflow_id is not null)
    and (role in ('exit', 'wait', 'restart')) = (listener is not null))
) with (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);

comment on table automation.signals is
  'Events that runs in flight end at or wait for, until they have been acted on. No foreign keys: '
  'nothing here may stand in the way of a delete.';

comment on column automation.signals.role is
  'exit, wait: an event; deleted: the record is gone; moved: it belongs to another contact now (contact_id); restart: '
  'the run that listener names has begun in place of those before it.';

comment on column automation.signals.by_contact is
  'The event concerns every run of its contact, and not only those about the same record.';

comment on column automation.signals.address is
  'A message or a call with this number or address: it concerns every run that speaks with it.';

comment on column automation.signals.kept_for is
  'It has been acted on, and stays until every transaction below this one has ended: a run that one of them '
  'has enrolled could not be seen yet.';

create index signals_in_order on automation.signals (next_try_at, tenant_id) where kept_for is null;

create index signals_kept on automation.signals (kept_for) where kept_for is not null;

create index signals_by_contact on automation.signals (contact_id, tenant_id) where contact_id is not null;

create index signals_by_address on automation.signals (tenant_id) where address is not null;

create index signals_by_record on automation.signals (record_id, tenant_id);

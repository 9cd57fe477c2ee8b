-- Side by side: pairs are the engine's own; what differs is read by members, compared and switched by those who may.
alter table automation.legacy_pairs enable row level security;
alter table automation.comparison_turns enable row level security;
alter table automation.engine_switches enable row level security;
alter table ridgeline.legacy_discrepancies enable row level security;
create policy legacy_discrepancies_members_read on ridgeline.legacy_discrepancies for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
revoke all on ridgeline.legacy_discrepancies, ridgeline.legacy_discrepancies_by_kind
  from anon, authenticated, service_role;
grant select on ridgeline.legacy_discrepancies, ridgeline.legacy_discrepancies_by_kind to authenticated, service_role;
revoke all on function ridgeline.compare_engines(timestamptz, timestamptz, interval, uuid),
  ridgeline.set_engine(text, uuid), ridgeline.engine_report(uuid) from public, anon;
grant execute on function
  automation.compare_engines(uuid, timestamptz, timestamptz, interval),
  automation.set_engine(uuid, text), automation.engine_report(uuid),
  ridgeline.compare_engines(timestamptz, timestamptz, interval, uuid), ridgeline.set_engine(text, uuid),
  ridgeline.engine_report(uuid)
  to authenticated, service_role;

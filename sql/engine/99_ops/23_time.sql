-- Schedules, timers and bulk enrolments: members read those of their tenants; only the engine
-- writes them.

alter table ridgeline.workflow_schedules enable row level security;
alter table ridgeline.workflow_timers enable row level security;
alter table ridgeline.bulk_enrollments enable row level security;
alter table automation.timer_listeners enable row level security;

do $$
declare
  read_only text;
begin
  foreach read_only in array array['workflow_schedules', 'workflow_timers', 'bulk_enrollments'] loop
    execute format(
      'create policy %I on ridgeline.%I for select to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      read_only || '_members_read', read_only);
  end loop;
end;
$$;

revoke all on ridgeline.workflow_schedules, ridgeline.workflow_timers, ridgeline.bulk_enrollments
  from anon, authenticated, service_role;
grant select on ridgeline.workflow_schedules, ridgeline.workflow_timers, ridgeline.bulk_enrollments
  to authenticated, service_role;
grant select on automation.timer_listeners to service_role;

grant execute on function
  automation.enroll_records(uuid, text[], jsonb, text, integer, jsonb),
  automation.cancel_bulk_enrollment(uuid),
  ridgeline.enroll_records(uuid, text[], jsonb, text, integer, jsonb, uuid),
  ridgeline.cancel_bulk_enrollment(uuid, uuid)
  to authenticated, service_role;

-- Triggers are made by attaching.


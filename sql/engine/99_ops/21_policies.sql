-- Row level security: on for every table, from the first migration. Policies name the tenant with
-- one array, computed once a statement, so that they lead an index scan.

alter table ridgeline.tenant_settings enable row level security;
alter table automation.tenancy enable row level security;
alter table automation.membership enable row level security;
alter table automation.targets enable row level security;
alter table automation.gone_tenants enable row level security;
alter table automation.gone_versions enable row level security;
alter table ridgeline.messages enable row level security;
alter table ridgeline.emails enable row level security;
alter table ridgeline.calls enable row level security;
alter table ridgeline.form_submissions enable row level security;
alter table ridgeline.workflows enable row level security;
alter table ridgeline.workflow_steps enable row level security;
alter table ridgeline.workflow_versions enable row level security;
alter table ridgeline.workflow_executions enable row level security;
alter table ridgeline.workflow_step_executions enable row level security;
alter table ridgeline.scheduled_steps enable row level security;
alter table ridgeline.suppressions enable row level security;

alter table automation.settings enable row level security;
alter table automation.phone_plans enable row level security;
alter table automation.clock enable row level security;
alter table automation.time_zones enable row level security;
alter table automation.trigger_types enable row level security;
alter table automation.step_types enable row level security;
alter table automation.setting_schemas enable row level security;
alter table automation.skip_codes enable row level security;
alter table automation.entities enable row level security;
alter table automation.active_triggers enable row level security;

-- The published schemas are no secret, nor is what a code of the history means.
create policy step_types_read on automation.step_types for select to authenticated using (true);
create policy setting_schemas_read on automation.setting_schemas
  for select to authenticated using (true);
create policy skip_codes_read on automation.skip_codes for select to authenticated using (true);

create policy tenant_settings_members_read on ridgeline.tenant_settings
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy tenant_settings_admins_insert on ridgeline.tenant_settings
  for insert to authenticated
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy tenant_settings_admins_update on ridgeline.tenant_settings
  for update to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]))
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));

do $$
declare
  edited text;
  read_only text;
begin
  foreach edited in array array[
    'messages', 'emails', 'calls', 'form_submissions', 'workflows', 'workflow_steps'
  ] loop
    execute format(
      'create policy %I on ridgeline.%I for select to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      edited || '_members_read', edited);
    execute format(
      'create policy %I on ridgeline.%I for insert to authenticated '
      'with check (tenant_id = any ((select automation.editor_tenants())::uuid[]))',
      edited || '_editors_insert', edited);
    execute format(
      'create policy %I on ridgeline.%I for update to authenticated '
      'using (tenant_id = any ((select automation.editor_tenants())::uuid[])) '
      'with check (tenant_id = any ((select automation.editor_tenants())::uuid[]))',
      edited || '_editors_update', edited);
    execute format(
      'create policy %I on ridgeline.%I for delete to authenticated '
      'using (tenant_id = any ((select automation.editor_tenants())::uuid[]))',
      edited || '_editors_delete', edited);
  end loop;
  foreach read_only in array array[
    'workflow_versions', 'workflow_executions', 'workflow_step_executions', 'scheduled_steps',
    'suppressions'
  ] loop
    execute format(
      'create policy %I on ridgeline.%I for select to authenticated '
      'using (tenant_id = any ((select automation.member_tenants())::uuid[]))',
      read_only || '_members_read', read_only);
  end loop;
end;
$$;

-- What comes in. Whose a number is and what providers reported is not for members to write; a
-- tenant's admins look after its forms.
alter table ridgeline.senders enable row level security;
alter table ridgeline.email_addresses enable row level security;
alter table ridgeline.forms enable row level security;
alter table ridgeline.email_events enable row level security;
alter table automation.form_posts enable row level security;
alter table automation.form_rates enable row level security;
alter table automation.form_reach enable row level security;
alter table ridgeline.held_submissions enable row level security;
alter table automation.provider_events enable row level security;
alter table automation.early_events enable row level security;
alter table automation.retries enable row level security;

create policy senders_members_read on ridgeline.senders
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy senders_admins_update on ridgeline.senders
  for update to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]))
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy email_addresses_members_read on ridgeline.email_addresses
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy email_events_members_read on ridgeline.email_events
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy held_submissions_members_read on ridgeline.held_submissions
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy held_submissions_editors_delete on ridgeline.held_submissions
  for delete to authenticated
  using (tenant_id = any ((select automation.editor_tenants())::uuid[]));
create policy forms_members_read on ridgeline.forms
  for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy forms_admins_insert on ridgeline.forms
  for insert to authenticated
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy forms_admins_update on ridgeline.forms
  for update to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]))
  with check (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy forms_admins_delete on ridgeline.forms
  for delete to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));

-- What was answered over HTTP is asked for through automation.begin_request() alone.
alter table automation.idempotency_keys enable row level security;

-- What ridgeline.workflow_statistics adds up.
alter table automation.statistics enable row level security;
alter table automation.statistic_changes enable row level security;
create policy statistics_members_read on automation.statistics for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));
create policy statistic_changes_members_read on automation.statistic_changes for select to authenticated
  using (tenant_id = any ((select automation.member_tenants())::uuid[]));

-- That somebody was erased is for those who may erase; who it is, for nobody.
alter table ridgeline.erasures enable row level security;
alter table ridgeline.tenant_erasures enable row level security;
alter table automation.erasures_under_way enable row level security;
alter table automation.erased_addresses enable row level security;
create policy erasures_admins_read on ridgeline.erasures for select to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));
create policy tenant_erasures_admins_read on ridgeline.tenant_erasures for select to authenticated
  using (tenant_id = any ((select automation.admin_tenants())::uuid[]));

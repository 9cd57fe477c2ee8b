-- What Ridgeline is told of the CRM of host-crm.sql: once, by whoever owns the project.

select automation.attach_tenants('public.tenants', '{"name": null, "deleted": "is_deleted"}', '[
  {"relation": "public.tenant_settings", "key": "tenant_id", "columns": {"name": "company_name",
    "email": "company_email", "website": "company_website", "address": "address_line", "country": "country",
    "timezone": "timezone"}}]');
select automation.attach_members('public.tenant_users', '{"active": "status"}',
  roles => '{"owner": "owner", "office_manager": "admin", "sales": "editor", "crew": "viewer"}',
  further => '[{"relation": "public.users", "key": "id",
    "columns": {"email": "email", "phone": "phone", "full_name": "raw_user_meta_data.full_name"}}]');

select automation.attach('public.contacts', 'contact',
  '{"phone": ["mobile_phone", "phone"], "deleted": "is_deleted"}',
  '[{"type": "stage_changed", "column": "stage"}]', authors => 'members');
select automation.attach('public.projects', 'project',
  '{"contact": "contact_id", "stage": "pipeline_stage", "deleted": "is_deleted"}',
  '[{"type": "project_status_changed", "column": "status"},
    {"type": "pipeline_stage_changed", "column": "pipeline_stage"},
    {"type": "project_won", "column": "pipeline_stage", "becomes": "won"}]', authors => 'members');
select automation.attach('public.jobs', 'job', '{"project": "project_id", "deleted": "is_deleted"}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]', authors => 'members');
select automation.attach('public.invoices', 'invoice',
  '{"contact": "customer_id", "project": "project_id", "status": "state"}',
  '[{"type": "invoice_paid", "column": "state", "becomes": "paid"}]', authors => 'members');
select automation.attach('public.appointments', 'appointment', '{"contact": "contact_id", "status": "state"}',
  '[{"type": "appointment_booked", "column": "state", "becomes": "booked", "on_insert": true},
    {"type": "appointment_cancelled", "column": "state", "becomes": "cancelled"}]', authors => 'members');

select automation.attach_target('task', 'public.tasks',
  words => '{"status": {"open": "todo"}, "priority": {"normal": "medium", "urgent": "high"}}',
  defaults => '{"task_type": "follow_up"}');
select automation.attach_target('project', 'public.projects',
  words => '{"stage": {"new": "prospect"}, "status": {"open": "estimate"}}');
select automation.attach_target('timeline', 'public.activities',
  words => '{"direction": {"inbound": "incoming", "outbound": "outgoing"}}',
  defaults => '{"subtype": "automation"}');

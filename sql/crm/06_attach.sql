-- What the engine is told of this CRM: the same calls that anybody makes for their own tables (docs/attach.md).

select automation.attach_tenants('public.tenants');
select automation.attach_members('public.tenant_members');

-- Small offices: whoever is a member publishes, unless a tenant's settings say {"editors_publish": false}.
update automation.settings set value = 'true' where name = 'editors_publish';

-- The row level security here lets every member see and edit every record of the tenant, so every member may make
-- workflows about them.

select automation.attach(
  'public.contacts', 'contact', '{"tags": {"links": "public.contact_tags", "tags": "public.tags"}}',
  '[{"type": "stage_changed", "column": "stage"}]', authors => 'members');

select automation.attach(
  'public.projects', 'project', '{"contact": "contact_id", "stage": "pipeline_stage"}',
  '[{"type": "project_status_changed", "column": "status"},
    {"type": "pipeline_stage_changed", "column": "pipeline_stage"},
    {"type": "project_won", "column": "pipeline_stage", "becomes": "won"}]', authors => 'members');

select automation.attach(
  'public.jobs', 'job', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]', authors => 'members');

select automation.attach(
  'public.appointments', 'appointment', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "appointment_booked", "column": "status", "becomes": "booked", "on_insert": true},
    {"type": "appointment_cancelled", "column": "status", "becomes": "cancelled"}]', authors => 'members');

select automation.attach(
  'public.invoices', 'invoice', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "invoice_paid", "column": "status", "becomes": "paid"}]', authors => 'members');

select automation.attach_target('task', 'public.tasks');
select automation.attach_target('project', 'public.projects');

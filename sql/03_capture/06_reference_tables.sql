-- The reference CRM, attached like any other.

select automation.attach(
  'public.contacts', 'contact', '{}',
  '[{"type": "stage_changed", "column": "stage"}]');

select automation.attach(
  'public.projects', 'project', '{"contact": "contact_id"}',
  '[{"type": "project_status_changed", "column": "status"},
    {"type": "pipeline_stage_changed", "column": "pipeline_stage"},
    {"type": "project_won", "column": "pipeline_stage", "becomes": "won"}]');

select automation.attach(
  'public.jobs', 'job', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]');

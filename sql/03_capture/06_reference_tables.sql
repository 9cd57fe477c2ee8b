-- The reference CRM, attached like any other. Its row level security lets every member see and edit every
-- record of the tenant, so every member may make workflows about them.

select automation.attach(
  'public.contacts', 'contact', '{}',
  '[{"type": "stage_changed", "column": "stage"}]', authors => 'members');

select automation.attach(
  'public.projects', 'project', '{"contact": "contact_id", "stage": "pipeline_stage"}',
  '[{"type": "project_status_changed", "column": "status"},
    {"type": "pipeline_stage_changed", "column": "pipeline_stage"},
    {"type": "project_won", "column": "pipeline_stage", "becomes": "won"}]', authors => 'members');

select automation.attach(
  'public.jobs', 'job', '{"contact": "contact_id", "project": "project_id"}',
  '[{"type": "job_completed", "column": "status", "becomes": "completed"}]', authors => 'members');

-- The status of a message or a call is the provider's word; change_stage leaves it alone.
select automation.attach(
  'public.messages', 'message', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "sms_received", "column": "direction", "becomes": "inbound", "on_insert": true,
     "unless": "is_tapback", "description": "A contact sent a text message."}]', authors => 'members');

select automation.attach(
  'public.calls', 'call', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "call_missed", "column": "status", "becomes": "missed", "on_insert": true,
     "description": "A call was not answered."},
    {"type": "call_completed", "column": "status", "becomes": "completed", "on_insert": true,
     "description": "A call was answered and has ended."}]', authors => 'members');

select automation.attach(
  'public.emails', 'email', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "email_opened", "column": "opened_at",
     "description": "A contact opened an email for the first time."},
    {"type": "email_clicked", "column": "clicked_at",
     "description": "A contact clicked a link in an email for the first time."},
    {"type": "email_received", "column": "direction", "becomes": "inbound", "on_insert": true,
     "unless": "is_automatic", "description": "A contact sent an email."}]', authors => 'members');

select automation.attach(
  'public.form_submissions', 'form_submission', '{"contact": "contact_id", "log": true}',
  '[{"type": "form_submitted", "description": "A form was submitted."}]', authors => 'members');

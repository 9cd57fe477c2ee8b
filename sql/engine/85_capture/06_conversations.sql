-- What the engine itself writes down of what was said, attached like any table of a CRM.

-- The status of a message or a call is the provider's word; change_stage leaves it alone.
select automation.attach(
  'ridgeline.messages', 'message', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "sms_received", "column": "direction", "becomes": "inbound", "on_insert": true,
     "unless": "is_tapback", "description": "A contact sent a text message."}]', authors => 'members');

select automation.attach(
  'ridgeline.calls', 'call', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "call_missed", "column": "status", "becomes": "missed", "on_insert": true,
     "description": "A call was not answered."},
    {"type": "call_completed", "column": "status", "becomes": "completed", "on_insert": true,
     "description": "A call was answered and has ended."}]', authors => 'members');

select automation.attach(
  'ridgeline.emails', 'email', '{"contact": "contact_id", "status": null, "log": true}',
  '[{"type": "email_opened", "column": "opened_at",
     "description": "A contact opened an email for the first time."},
    {"type": "email_clicked", "column": "clicked_at",
     "description": "A contact clicked a link in an email for the first time."},
    {"type": "email_received", "column": "direction", "becomes": "inbound", "on_insert": true,
     "unless": "is_automatic", "description": "A contact sent an email."}]', authors => 'members');

select automation.attach(
  'ridgeline.form_submissions', 'form_submission', '{"contact": "contact_id", "log": true}',
  '[{"type": "form_submitted", "description": "A form was submitted."}]', authors => 'members');

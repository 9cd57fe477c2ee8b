-- What the engine itself writes down of what was said, attached like any table of a CRM.
-- A release that adds a column or an event to them attaches them again (09_regenerate).
create or replace function automation.attach_conversations() returns void
  language plpgsql
  set search_path = pg_catalog, pg_temp
  as $$
begin
  -- The status of a message or a call is the provider's word; change_stage leaves it alone.
  perform automation.attach(
    'ridgeline.messages', 'message', '{"contact": "contact_id", "status": null, "log": true}',
    '[{"type": "sms_received", "column": "direction", "becomes": "inbound", "on_insert": true,
       "unless": "is_tapback", "description": "A contact sent a text message."},
      {"type": "sms_clicked", "column": "clicked_at",
       "description": "A contact followed a link in a text message for the first time (track_links)."}]',
    authors => 'members');

  perform automation.attach(
    'ridgeline.calls', 'call', '{"contact": "contact_id", "status": null, "log": true}',
    '[{"type": "call_missed", "column": "status", "becomes": "missed", "on_insert": true,
       "description": "A call was not answered."},
      {"type": "call_completed", "column": "status", "becomes": "completed", "on_insert": true,
       "description": "A call was answered and has ended."}]', authors => 'members');

  perform automation.attach(
    'ridgeline.emails', 'email', '{"contact": "contact_id", "status": null, "log": true}',
    '[{"type": "email_opened", "column": "opened_at",
       "description": "A contact opened an email for the first time."},
      {"type": "email_clicked", "column": "clicked_at",
       "description": "A contact clicked a link in an email for the first time."},
      {"type": "email_received", "column": "direction", "becomes": "inbound", "on_insert": true,
       "unless": "is_automatic", "description": "A contact sent an email."}]', authors => 'members');

  perform automation.attach(
    'ridgeline.form_submissions', 'form_submission', '{"contact": "contact_id", "log": true}',
    '[{"type": "form_submitted", "description": "A form was submitted."}]', authors => 'members');
end;
$$;

select automation.attach_conversations();

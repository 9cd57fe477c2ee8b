-- What an office really sets up is published without a word.
begin;
\ir ../foundation/story.psql
select plan(14);

select pg_temp.tenant() as apex \gset
insert into ridgeline.senders (tenant_id, channel, address, registration) values (:'apex', 'sms', '+15125550199', 'registered');
update public.tenants set address = '1 Main St, Austin TX 78701' where id = :'apex';
create temp table good (name text, event text, config jsonb, steps jsonb, conditions jsonb);
insert into good values
  ('the first workflow of the README', 'contact_created', '{"type": "lead"}',
   '[{"type": "send_sms", "config": {"purpose": "transactional", "body": "Thanks for your interest, {{trigger.contact.first_name | default: \"there\"}}!"}},
     {"type": "create_task", "config": {"title": "Call {{contact.first_name}}", "due_in_days": 1}, "delay": 1440}]', '[]'),
  ('the demo: a new lead', 'contact_created', '{"type": "lead"}',
   '[{"type": "send_sms", "config": {"to": "{{trigger.contact.phone}}", "purpose": "transactional", "body": "Thanks, {{trigger.contact.first_name}}!"}},
     {"type": "create_task", "config": {"title": "Follow up with {{trigger.contact.first_name}}", "due_date_days": 1}}]', '[]'),
  ('the demo: a project won', 'project_won', '{}',
   '[{"type": "send_email", "config": {"to": "{{trigger.contact.email}}", "purpose": "transactional", "subject": "Congratulations!", "html": "<p>Hi</p>"}}]', '[]'),
  ('the demo: by hand', 'manual', '{}',
   '[{"type": "send_sms", "config": {"to": "{{contact.phone}}", "purpose": "transactional", "message": "Test message"}}]',
   '[{"field": "contact.stage", "operator": "equals", "value": "lead"}]'),
  ('a review after a job, unless there was a complaint', 'job_completed', '{}',
   '[{"type": "wait", "config": {"days": 3}},
     {"type": "send_sms", "config": {"purpose": "marketing", "body": "How did we do? {{tenant.settings.review_link}}"},
      "conditions": [{"field": "contact.tags", "operator": "not_contains", "value": "complaint"},
        {"field": "job.custom_fields.rating", "operator": "is_empty"}]},
     {"type": "add_tag", "config": {"tag": "asked for a review"}}]', '[]'),
  ('a missed call is texted back', 'call_missed', '{"direction": "inbound"}',
   '[{"key": "reply", "type": "send_sms", "config": {"to": "{{call.from_number}}", "purpose": "transactional", "body": "Sorry we missed you!"}},
     {"type": "create_task", "config": {"title": "Call back {{call.from_number}}", "description": "{{steps.reply.status}}"}}]', '[]'),
  ('a quote that is opened', 'email_opened', '{}',
   '[{"type": "create_task", "config": {"title": "{{contact.first_name}} read {{email.subject}}"}}]',
   '{"all": [{"field": "contact.stage", "operator": "in", "value": ["quoted", "negotiating"]},
     {"any": [{"field": "email.subject", "operator": "contains", "value": "quote"},
       {"field": "contact.lead_score", "operator": "greater_or_equal", "value": 50}]}]}'),
  ('a form with its own fields', 'form_submitted', '{"form": "estimate"}',
   '[{"type": "create_project", "config": {"name": "{{trigger.form_submission.data.roof_type | capitalize}} roof",
       "value": "{{data.budget}}"}},
     {"type": "update_contact", "config": {"fields": {"source": "web form", "custom_fields.roof": "{{data.roof_type}}"}}}]', '[]'),
  ('a stage that moves on, once', 'stage_changed', '{"to": "quoted"}',
   '[{"type": "update_contact", "config": {"fields": {"lead_score": "{{contact.lead_score | plus: 10}}"}}},
     {"type": "change_stage", "config": {"stage": "negotiating"}, "delay": 4320,
      "conditions": [{"field": "contact.stage", "operator": "equals", "value": "quoted"}]}]',
   '[{"field": "stage", "operator": "changed_from", "value": "new"}]'),
  ('a big project goes to its manager', 'project_created', '{}',
   '[{"type": "assign_user", "config": {"entity": "project", "user_id": "00000000-0000-0000-0000-000000000001"}},
     {"type": "webhook", "config": {"url": "https://example.com/big", "body": {"value": "{{project.value}}"}}}]',
   '[{"field": "project.value", "operator": "greater_than", "value": "10000"},
     {"field": "contact.created_at", "operator": "within_last", "value": "2 years"}]'),
  ('a reminder the day before', 'time_elapsed', '{"entity": "project", "field": "appointment_at", "offset": "-1 day", "at": "09:00"}',
   '[{"type": "send_sms", "config": {"purpose": "transactional", "body": "See you {{project.appointment_at | formatDate: \"EEEE h:mm a\"}}"}}]',
   '[{"field": "project.status", "operator": "not_in", "value": ["cancelled", "lost"]}]'),
  ('leads that went quiet, every Monday', 'scheduled',
   '{"cron": "0 9 * * MON", "for_each": {"entity": "contact", "conditions": [
     {"field": "contact.stage", "operator": "equals", "value": "lead"},
     {"any": [{"field": "contact.last_contacted_at", "operator": "is_empty"},
       {"not": {"field": "contact.last_contacted_at", "operator": "within_last", "value": "30 days"}}]}]}}',
   '[{"type": "send_email", "config": {"purpose": "marketing", "subject": "Still thinking about your roof?", "text": "Hi {{first_name}}"}}]', '[]'),
  ('a report of the week', 'scheduled', '{"cron": "0 17 * * FRI"}',
   '[{"type": "send_email", "config": {"to": "{{tenant.email}}", "subject": "Week of {{trigger.scheduled_at | formatDate}}", "text": "x"}}]', '[]'),
  ('a reply to a text', 'sms_received', '{}',
   '[{"type": "create_task", "config": {"title": "{{#if contact.first_name}}{{contact.first_name}}{{else}}{{message.from_number}}{{/if}}: {{message.body | truncate: 80}}"}}]',
   '[{"field": "message.opt_out_type", "operator": "is_empty"}]');
-- All of them active in one office, each beside the others.
alter table good add workflow uuid;
update good as g set workflow = pg_temp.workflow(:'apex', g.event, g.config, g.steps, g.conditions);
select is(ridgeline.validate_workflow(workflow), '{"valid": true, "problems": []}', name) from good;

select * from finish();
rollback;

-- 45 QUEUE
--
-- The tables: definitions, history, and what is still to happen; and what is due.
--
-- What the office sets up, and what the engine makes of it.
--
--   workflows, workflow_steps   authoring rows: people edit them, nothing runs from them
--   workflow_versions           a published workflow: validated, compiled, never changed again
--   active_triggers             which published version listens to which event: what capture reads
--
-- Publishing is the only road from the first to the others. Lock order: the workflows row, then
-- inserts. Nothing outside chapter 80 writes these, and nothing here waits for an execution.

create table automation.trigger_types (
  name text constraint trigger_types_pkey primary key,
  entity text,
  kind text not null
    constraint trigger_types_kind_known
    check (kind in ('created', 'updated', 'changed', 'becomes', 'time', 'manual')),
  column_name text,
  becomes text,
  on_insert boolean not null default false,
  unless_column text,
  description text not null,
  constraint trigger_types_column_matches_kind check (
    case kind
      when 'becomes' then column_name is not null and becomes is not null
      else becomes is null
    end)
);

comment on table automation.trigger_types is
  'Every event a workflow can listen to. automation.attach() adds those of an attached table.';
comment on column automation.trigger_types.unless_column is
  'A boolean of the record: where it is true the event does not count as one.';

insert into automation.trigger_types (name, entity, kind, description) values
  ('field_changed', null, 'changed', 'A named field of a record changed.'),
  ('time_elapsed', null, 'time', 'A time before or after a date of a record.'),
  ('scheduled', null, 'time', 'A time of day, week or month.'),
  ('manual', null, 'manual', 'Started by hand or by another program.')
on conflict on constraint trigger_types_pkey do update set
  (entity, kind, description) = row (excluded.entity, excluded.kind, excluded.description);

create table automation.step_types (
  name text constraint step_types_pkey primary key,
  lane ridgeline.automation_lane not null,
  branches text[],
  description text not null,
  config_schema jsonb not null
    constraint step_types_schema_is_object check (jsonb_typeof(config_schema) = 'object')
);

comment on table automation.step_types is 'Every step a workflow can take.';
comment on column automation.step_types.branches is
  'The branches that steps can be put on; empty: step_config names them; null: there are none.';
comment on column automation.step_types.config_schema is
  'JSON Schema (draft 2020-12) of step_config in its canonical spelling. automation.check_schema() '
  'reads it when a workflow is published; packages/client and docs/steps.md come from it.';

-- A schema says what a reader needs to know, and its formats name the grammars that cannot be said
-- in JSON Schema (automation.format_holds). Two keywords are borrowed from ajv's: errorMessage
-- replaces what would be said of a value, uniqueItemProperties keeps names apart.
insert into automation.step_types (name, lane, branches, description, config_schema)
select s.name, s.lane::ridgeline.automation_lane, s.branches::text[], s.description,
  jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema', 'title', s.name, 'type', 'object')
  || s.config_schema::jsonb
from (values
  ('send_sms', 'sms', null, 'Sends a text message through Twilio.', $schema${
    "required": ["body"],
    "properties": {
      "body": {"type": "string", "format": "template", "minLength": 1, "description": "The text."},
      "to": {"type": "string", "format": "template",
        "description": "A phone number. Default: the contact's."},
      "from": {"type": "string", "format": "template", "minLength": 1,
        "description": "One of your senders' numbers. Default: your default sender."},
      "messaging_service_sid": {"type": "string", "format": "template", "minLength": 1,
        "description": "One of your senders that picks the number itself."},
      "media_urls": {"type": ["array", "string"], "format": "template",
        "items": {"type": "string", "format": "template"},
        "description": "Pictures to send along: URLs, or a template that gives a list of them."},
      "purpose": {"enum": ["marketing", "transactional", "internal"],
        "description": "What it is: see docs/trust.md. Default: marketing, or internal where to is written out."},
      "expires_after": {"type": ["string", "object"], "format": "length-of-time",
        "description": "Not sent when it was held for longer. Default: three days for marketing."},
      "expires_at": {"type": "string", "format": "moment", "minLength": 1, "description": "Not sent after then."},
      "over_cap": {"enum": ["hold", "skip"],
        "description": "What becomes of marketing that is one too many for a person. Default: hold."},
      "urgent": {"type": "boolean",
        "description": "A code somebody waits for: no quiet hours, within ten minutes of something they did."}
    },
    "examples": [{"body": "Hi {{ contact.first_name | default: \"there\" }}, thanks for your call!"}]
  }$schema$),
  ('send_email', 'email', null, 'Sends an email through Resend.', $schema${
    "required": ["subject"],
    "anyOf": [{"required": ["html"]}, {"required": ["text"]}],
    "properties": {
      "subject": {"type": "string", "format": "template", "minLength": 1, "description": "The subject."},
      "html": {"type": "string", "format": "html", "minLength": 1,
        "description": "The message as HTML; what templates insert is escaped."},
      "text": {"type": "string", "format": "template", "minLength": 1,
        "description": "The message as plain text; without html it goes out as that alone."},
      "to": {"type": ["string", "array"], "format": "template",
        "items": {"type": "string", "format": "template"},
        "description": "Addresses, in a list or between commas; a variable is one. Default: the contact's."},
      "from": {"type": "string", "format": "template", "minLength": 1,
        "description": "One of your addresses, or any in a domain of yours. Default: your default sender."},
      "reply_to": {"type": ["string", "array"], "format": "template", "minLength": 1,
        "items": {"type": "string", "format": "template"}, "description": "Where answers go."},
      "cc": {"type": ["string", "array"], "format": "template", "minLength": 1,
        "items": {"type": "string", "format": "template"}, "description": "Copies."},
      "bcc": {"type": ["string", "array"], "format": "template", "minLength": 1,
        "items": {"type": "string", "format": "template"}, "description": "Blind copies."},
      "headers": {"type": "object", "additionalProperties": {"type": "string", "format": "template"},
        "description": "Further headers, by name; not those that say who it is from or goes to."},
      "purpose": {"enum": ["marketing", "transactional", "internal"],
        "description": "What it is: see docs/trust.md. Default: marketing, or internal where to is written out."},
      "expires_after": {"type": ["string", "object"], "format": "length-of-time",
        "description": "Not sent when it was held for longer. Default: three days for marketing."},
      "expires_at": {"type": "string", "format": "moment", "minLength": 1, "description": "Not sent after then."},
      "over_cap": {"enum": ["hold", "skip"],
        "description": "What becomes of marketing that is one too many for a person. Default: hold."}
    },
    "examples": [{"subject": "Your estimate", "html": "<p>Hi {{contact.first_name}}, here it is.</p>"}]
  }$schema$),
  ('webhook', 'webhook', null, 'Calls a URL, signed the Standard Webhooks way.', $schema${
    "required": ["url"],
    "properties": {
      "url": {"type": "string", "format": "template", "pattern": "^[hH][tT][tT][pP][sS]?://|^\\{\\{",
        "errorMessage": "url must start with https:// or http://", "description": "Whom to call.",
        "examples": ["https://example.com/hooks/won"]},
      "method": {"enum": ["POST", "PUT", "PATCH", "GET", "DELETE"], "description": "Default: POST."},
      "headers": {"type": "object",
        "additionalProperties": {"type": ["string", "object"], "format": "header", "title": "a header",
          "required": ["secret"],
          "properties": {
            "secret": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,100}$",
              "errorMessage": "secret must be the name of a secret", "description": "Its name in your secrets."},
            "prefix": {"type": "string", "pattern": "^[^{}\\r\\n]{0,100}$", "description": "Such as \"Bearer \"."}
          }},
        "description": "Further headers, by name: a text, or a secret by its name."},
      "body": {"format": "template",
        "description": "What to send. Default: the event and its records; with GET and DELETE nothing."},
      "secret_name": {"type": "string", "format": "template", "minLength": 1,
        "description": "Signs with this secret of yours. Default: your signing secret."}
    },
    "examples": [{"url": "https://example.com/hooks/won", "body": {"id": "{{contact.id}}"}},
      {"url": "https://api.example.com/jobs?email={{ contact.email | url_encode }}", "method": "GET",
        "headers": {"Authorization": {"secret": "crm_api_key", "prefix": "Bearer "}}}]
  }$schema$),
  ('create_task', 'database', null, 'Creates a task for the office.', $schema${
    "required": ["title"],
    "properties": {
      "title": {"type": "string", "format": "template", "minLength": 1, "description": "What is to do."},
      "description": {"type": "string", "format": "template", "minLength": 1, "description": "More about it."},
      "priority": {"type": "string", "format": "template", "minLength": 1, "description": "Default: normal."},
      "assigned_to": {"type": "string", "format": "id", "minLength": 1,
        "description": "The user who is to do it."},
      "due_at": {"type": "string", "format": "moment", "minLength": 1,
        "description": "When it is due; a time without a zone is the tenant's."},
      "due_in_days": {"type": ["number", "string"], "format": "amount", "description": "Or how much later."},
      "due_in_hours": {"type": ["number", "string"], "format": "amount", "description": "Or how much later."},
      "due_in_minutes": {"type": ["number", "string"], "format": "amount",
        "description": "Or how much later."}
    },
    "examples": [{"title": "Call {{contact.first_name}}", "due_in_minutes": 5}]
  }$schema$),
  ('update_contact', 'database', null, 'Sets fields of the contact.', $schema${
    "required": ["fields"],
    "properties": {
      "fields": {"type": "object", "minProperties": 1, "additionalProperties": true, "format": "template",
        "errorMessage": "fields must be an object of at least one field",
        "description": "Values by column; custom_fields.roof_type sets one custom field."}
    },
    "examples": [{"fields": {"stage": "contacted", "custom_fields.reached_on": "{{today}}"}}]
  }$schema$),
  ('update_project', 'database', null, 'Sets fields of the project.', $schema${
    "required": ["fields"],
    "properties": {
      "fields": {"type": "object", "minProperties": 1, "additionalProperties": true, "format": "template",
        "errorMessage": "fields must be an object of at least one field",
        "description": "Values by column; custom_fields.roof_type sets one custom field."}
    },
    "examples": [{"fields": {"status": "on_hold"}}]
  }$schema$),
  ('update_field', 'database', null, 'Sets one field of the contact, project or job.', $schema${
    "required": ["field", "value"],
    "properties": {
      "field": {"type": "string", "minLength": 1, "format": "template",
        "description": "A column, such as lead_score, project.value or custom_fields.roof_type."},
      "value": {"format": "template", "description": "What to set it to, to add, to take away or to append."},
      "operator": {"enum": ["set", "add", "subtract", "append"],
        "description": "add and subtract take a number, a length of time or an item of a list. Default: set."},
      "entity": {"type": "string", "format": "template",
        "description": "Whose field. Default: contact, or as field begins."}
    },
    "examples": [{"field": "lead_score", "value": "{{ contact.lead_score | plus: 10 }}"}]
  }$schema$),
  ('change_stage', 'database', null, 'Moves the contact, project or job to another stage.', $schema${
    "required": ["stage"],
    "properties": {
      "stage": {"type": ["string", "number"], "minLength": 1, "format": "template",
        "description": "Where to."},
      "entity": {"type": "string", "format": "template",
        "description": "contact, project or job. Default: what the run is about."}
    },
    "examples": [{"stage": "estimate_sent", "entity": "project"}]
  }$schema$),
  ('assign_user', 'database', null, 'Makes a user responsible for the contact, project or job.', $schema${
    "oneOf": [{"required": ["user_id"]}, {"required": ["user_ids"]}],
    "properties": {
      "user_id": {"type": "string", "format": "id", "description": "Who."},
      "user_ids": {"type": "array", "minItems": 1, "maxItems": 100, "items": {"type": "string", "format": "id"},
        "description": "Several, who take turns."},
      "entity": {"type": "string", "format": "template", "description": "Of what. Default: contact."}
    },
    "examples": [
      {"user_id": "{{project.assigned_to}}"},
      {"user_ids": ["7f1c2f0e-6a43-4b6c-9d7e-2f0d0c8a5b11", "0b6e3d52-91c4-4c0b-8f2e-5d3a7c1e9f20"]}
    ]
  }$schema$),
  ('add_tag', 'database', null, 'Tags the contact; a tag that is new is made.', $schema${
    "required": ["tag"],
    "properties": {
      "tag": {"type": ["string", "number"], "minLength": 1, "format": "template", "description": "Its name."}
    },
    "examples": [{"tag": "spring-campaign"}]
  }$schema$),
  ('remove_tag', 'database', null, 'Takes a tag off the contact.', $schema${
    "required": ["tag"],
    "properties": {
      "tag": {"type": ["string", "number"], "minLength": 1, "format": "template", "description": "Its name."}
    },
    "examples": [{"tag": "no-show"}]
  }$schema$),
  ('create_project', 'database', null, 'Creates a project for the contact, once for a key.', $schema${
    "required": ["name"],
    "properties": {
      "name": {"type": "string", "format": "template", "minLength": 1, "description": "Its name."},
      "key": {"type": ["string", "number"], "format": "template", "minLength": 1,
        "description": "Which project it is: a contact never gets a second one of this key. Default: the name."},
      "project_type": {"type": "string", "format": "template", "minLength": 1,
        "description": "Of any kind you keep."},
      "status": {"type": "string", "format": "template", "minLength": 1, "description": "Default: open."},
      "pipeline_stage": {"type": "string", "format": "template", "minLength": 1,
        "description": "Default: new."},
      "value": {"type": ["number", "string"], "format": "template", "description": "In the tenant's currency."},
      "description": {"type": "string", "format": "template", "minLength": 1, "description": "More about it."}
    },
    "examples": [{"name": "Roof of {{contact.last_name}}", "key": "roof"}]
  }$schema$),
  ('wait', 'database', '{event,timeout}',
   'Waits: for a length of time, until a date, until a time of day, or for an event.', $schema${
    "anyOf": [{"required": ["minutes"]}, {"required": ["hours"]}, {"required": ["days"]},
      {"required": ["weeks"]}, {"required": ["duration"]}, {"required": ["until"]}, {"required": ["at"]},
      {"required": ["window"]}, {"required": ["event"]}],
    "errorMessage": "wait needs minutes, hours, days or until, or one of weeks, duration, at, window and event",
    "dependentRequired": {"offset": ["until"], "if_missing": ["until"], "if_past": ["until"],
      "event": ["timeout"], "timeout": ["event"]},
    "dependentSchemas": {
      "until": {"properties": {"minutes": false, "hours": false, "days": false, "weeks": false,
        "duration": false}},
      "event": {"properties": {"minutes": false, "hours": false, "days": false, "weeks": false,
        "duration": false, "until": false, "offset": false, "if_missing": false, "if_past": false,
        "at": false, "window": false, "zone": false}}
    },
    "properties": {
      "minutes": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "hours": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "days": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "weeks": {"type": ["number", "string"], "format": "amount", "description": "How long."},
      "duration": {"type": ["string", "object"], "format": "length-of-time", "description": "How long."},
      "until": {"type": "string", "format": "moment",
        "description": "Until then; a date without a time is midnight."},
      "offset": {"type": ["string", "object"], "format": "signed-length-of-time",
        "description": "So long after until, or with a minus sign before it."},
      "if_missing": {"enum": ["fail", "continue", "stop"],
        "description": "What happens when until has no value. Default: fail."},
      "if_past": {"enum": ["continue", "stop", "fail"],
        "description": "What happens when the time is over already. Default: continue."},
      "at": {"type": "string", "format": "time-of-day",
        "description": "With days or a date, at this time of that day; otherwise the next time it is this late."},
      "window": {"type": "object", "title": "window", "minProperties": 1,
        "description": "And then until it is between these times, on one of these days.",
        "properties": {
          "from": {"type": "string", "format": "time-of-day", "description": "The earliest. Default: midnight."},
          "to": {"type": "string", "format": "time-of-day", "description": "The latest. Default: midnight."},
          "days": {"type": "array", "minItems": 1, "maxItems": 7,
            "items": {"enum": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]},
            "description": "Default: any day."}
        }},
      "zone": {"type": "string", "format": "zone",
        "description": "Whose clock at and window go by. Default: tenant."},
      "event": {"type": ["string", "object"], "title": "event", "required": ["type"],
        "description": "Until this happens to the contact or record; then the branch event is taken.",
        "properties": {
          "type": {"type": "string", "description": "A trigger type that a write fires."},
          "config": {"type": "object", "additionalProperties": true,
            "description": "As in trigger_config."}
        }},
      "timeout": {"type": ["string", "object"], "format": "length-of-time",
        "description": "How long to wait for the event; then the branch timeout is taken."}
    },
    "examples": [
      {"days": 3},
      {"until": "{{job.scheduled_at}}", "offset": "-24 hours", "if_missing": "stop", "if_past": "stop"},
      {"days": 1, "at": "10:00", "zone": "contact"},
      {"window": {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "09:00", "to": "17:00"}},
      {"event": "sms_received", "timeout": "2 hours"},
      {"event": {"type": "stage_changed", "config": {"to": "won"}}, "timeout": {"days": 14}}
    ]
  }$schema$),
  ('conditional', 'database', '{then,else}',
   'Takes a branch: then or else, or the first of several whose conditions hold.', $schema${
    "oneOf": [{"required": ["conditions"]}, {"required": ["branches"]}],
    "properties": {
      "conditions": {"format": "conditions",
        "description": "When they hold the branch then is taken, otherwise else."},
      "branches": {"type": "array", "minItems": 1, "maxItems": 20, "uniqueItemProperties": ["name"],
        "description": "The first whose conditions hold is taken, and else when none do.",
        "items": {"type": "object", "title": "a branch", "required": ["name", "conditions"],
          "properties": {
            "name": {"type": "string", "pattern": "^(?!else$)[A-Za-z][A-Za-z0-9_]{0,40}$",
              "errorMessage": "name must be a letter and at most 40 letters, digits or _, and not else",
              "description": "What steps on this branch have in branch."},
            "conditions": {"format": "conditions", "description": "When it is taken."}
          }}}
    },
    "examples": [
      {"conditions": [{"field": "project.value", "operator": "greater_than", "value": 10000}]},
      {"branches": [
        {"name": "hot", "conditions": {"field": "contact.lead_score", "operator": "greater_or_equal", "value": 80}},
        {"name": "warm", "conditions": {"field": "contact.lead_score", "operator": "greater_or_equal", "value": 40}}
      ]}
    ]
  }$schema$),
  ('split', 'database', '{}',
   'Takes a branch by chance, in proportion to weights; a contact always takes the same one.', $schema${
    "required": ["branches"],
    "properties": {
      "branches": {"type": "array", "minItems": 2, "maxItems": 10, "uniqueItemProperties": ["name"],
        "description": "What it chooses from.",
        "items": {"type": "object", "title": "a branch", "required": ["name", "weight"],
          "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z][A-Za-z0-9_]{0,40}$",
              "errorMessage": "name must be a letter and at most 40 letters, digits or _",
              "description": "What steps on this branch have in branch."},
            "weight": {"type": "number", "exclusiveMinimum": 0, "maximum": 1000000,
              "description": "Its share, as compared with the others'."}
          }}}
    },
    "examples": [{"branches": [{"name": "short_text", "weight": 50}, {"name": "long_text", "weight": 50}]}]
  }$schema$),
  ('stop', 'database', null, 'Ends the run.', $schema${
    "properties": {
      "reason": {"type": "string", "format": "template", "minLength": 1, "description": "Why, for the history."},
      "outcome": {"enum": ["completed", "cancelled"], "description": "Default: completed."}
    },
    "examples": [{"reason": "Not in our service area", "outcome": "cancelled"}]
  }$schema$)
) as s (name, lane, branches, description, config_schema)
on conflict on constraint step_types_pkey do update set
  (lane, branches, description, config_schema) = row (
    excluded.lane, excluded.branches, excluded.description, excluded.config_schema);

create table automation.setting_schemas (
  name text constraint setting_schemas_pkey primary key,
  description text not null,
  config_schema jsonb not null
    constraint setting_schemas_schema_is_object check (jsonb_typeof(config_schema) = 'object')
);

comment on table automation.setting_schemas is
  'JSON Schemas of what else is written in JSON: workflows.settings and workflow_steps.retry.';

insert into automation.setting_schemas (name, description, config_schema)
select s.name, s.description,
  jsonb_build_object(
    '$schema', 'https://json-schema.org/draft/2020-12/schema', 'title', s.name, 'type', 'object')
  || s.config_schema::jsonb
from (values
  ('settings', 'workflows.settings: who may enter again, and what ends a run early.', $schema${
    "properties": {
      "reentry": {
        "description": "Whether a record may enter again. Default: always, or never with a dedupe_key.",
        "anyOf": [
          {"type": "string", "enum": ["always", "never", "not_while_open"]},
          {"type": "object", "title": "reentry", "required": ["once_in"],
            "properties": {"once_in": {"type": ["string", "object"], "format": "length-of-time",
              "description": "So long after it last entered."}}}
        ]},
      "dedupe_key": {"type": "string", "minLength": 1, "format": "template",
        "description": "What enters again, in place of the record: reentry is asked for each rendered key."},
      "exit_conditions": {"format": "conditions",
        "description": "A run ends before its next step as soon as these hold."},
      "exit_events": {"type": "array", "maxItems": 20,
        "description": "A run ends before its next step when one of these happens.",
        "items": {"type": ["string", "object"], "title": "event", "required": ["type"],
          "properties": {
            "type": {"type": "string", "description": "A trigger type that a write fires."},
            "config": {"type": "object", "additionalProperties": true,
              "description": "As in trigger_config."}
          }}},
      "on_missing": {"enum": ["empty", "fail"],
        "description": "What a variable without a value does: renders as nothing, or fails its step. Default: empty."}
    },
    "examples": [{"reentry": {"once_in": "30 days"}, "exit_events": ["sms_received",
      {"type": "stage_changed", "config": {"to": ["won", "lost"]}}]}]
  }$schema$),
  ('retry', 'workflow_steps.retry: how often a step is tried, in place of the engine''s settings.', $schema${
    "properties": {
      "max_attempts": {"type": "integer", "minimum": 1, "maximum": 100, "description": "At most so often."},
      "delay": {"type": ["string", "object"], "format": "length-of-time",
        "description": "Before the second attempt; it doubles with every attempt."},
      "max_delay": {"type": ["string", "object"], "format": "length-of-time",
        "description": "The longest there is between two attempts."}
    },
    "examples": [{"max_attempts": 3, "delay": "5 minutes", "max_delay": "1 hour"}]
  }$schema$)
) as s (name, description, config_schema)
on conflict on constraint setting_schemas_pkey do update set
  (description, config_schema) = row (excluded.description, excluded.config_schema);

create type automation.compiled_trigger as (
  entity text,
  match jsonb,
  match_any jsonb,
  match_column text,
  match_value text,
  field text,
  from_values jsonb,
  to_values jsonb,
  problems jsonb
);

-- The channel of a type of step: the registry says it, and nothing else does.
create or replace function automation.channel_of(step_type text) returns text
  language sql stable
  set search_path = pg_catalog, pg_temp
  as $$ select t.lane::text from automation.step_types as t where t.name = step_type $$;

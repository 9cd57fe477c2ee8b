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
    constraint step_types_schema_is_object check (jsonb_typeof(config_schema) = 'object'),
  ends_run boolean not null default false,
  has_effect boolean not null default true
);

comment on table automation.step_types is 'Every step a workflow can take.';
comment on column automation.step_types.branches is
  'The branches that steps can be put on; empty: step_config names them; null: there are none.';
comment on column automation.step_types.ends_run is 'No step comes after this one.';
comment on column automation.step_types.has_effect is
  'False: it only decides how its own run goes on, which a shadow may do as well.';
comment on column automation.step_types.config_schema is
  'JSON Schema (draft 2020-12) of step_config in its canonical spelling. automation.check_schema() '
  'reads it when a workflow is published; packages/client and docs/steps.md come from it.';

-- A schema says what a reader needs to know, and its formats name the grammars that cannot be said
-- in JSON Schema (automation.format_holds). Two keywords are borrowed from ajv's: errorMessage
-- replaces what would be said of a value, uniqueItemProperties keeps names apart.
-- The rows are written where the steps are: 60_steps, a file for each type.

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
        "description": "May a record enter again? restart: in its run's place. Default: always; by a dedupe_key never.",
        "anyOf": [
          {"type": "string", "enum": ["always", "never", "not_while_open", "restart"]},
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

-- The types that a channel carries: whoever looks for texts looks for all of them.
create or replace function automation.types_on(channel text) returns text[]
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return array(select t.name from automation.step_types as t where t.lane::text = types_on.channel order by t.name);
end;
$$;

-- What nobody has registered counts as one that has.
create or replace function automation.has_effect(step_type text) returns boolean
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return not exists (
    select from automation.step_types as t where t.name = has_effect.step_type and not t.has_effect);
end;
$$;

-- The channel of a type of step: the registry says it, and nothing else does. Asked several times of each message:
-- automation.generate_steps() makes it a list, which costs a tenth of a look.
create or replace function automation.channel_of(step_type text) returns text
  language plpgsql stable
  set search_path = pg_catalog, pg_temp
  as $$
begin
  return (
    select t.lane::text from automation.step_types as t where t.name = step_type);
end;
$$;
